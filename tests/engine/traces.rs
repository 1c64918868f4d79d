//! What a collector of traces is told: every run once and whole, whoever dies and whatever the collector does, and nothing
//! where nobody asked for it.

use std::collections::{BTreeMap, BTreeSet};

use fanwise::app::job::commands;
use fanwise::app::submit::{Owner, submit};
use fanwise::ports::WebRequest;
use serde_json::{Value, json};

use crate::flows::{over, stages, texts};
use crate::sites::Site;
use crate::world::{COLLECTOR_KEY, TENANT, World, job};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const COLLECTOR: &str = "http://collector.internal:4318/v1/traces";
const TRACING: (&str, &str) = ("OTLP_ENDPOINT", "http://collector.internal:4318");
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Runs until the collector was told all of so many runs.
fn until_told(world: &World, app: &fanwise::app::App<World>, runs: i64) {
    let seen = world.clone();
    world.run(app, 60 * SECOND, 72 * HOUR, move || {
        let rows = seen.query("SELECT run, next_at FROM traces");
        rows.iter()
            .all(|row| row["run"] == runs && row["next_at"].is_null())
            && !rows.is_empty()
    });
}

/// The spans of one request, checked one by one against the form of OTLP.
fn spans(request: &WebRequest) -> Vec<Value> {
    let body: Value = serde_json::from_str(request.body.as_deref().unwrap()).unwrap();
    let resource = &body["resourceSpans"][0];
    assert_eq!(
        resource["resource"]["attributes"][0],
        json!({"key": "service.name", "value": {"stringValue": "fanwise"}})
    );
    let spans = resource["scopeSpans"][0]["spans"]
        .as_array()
        .unwrap()
        .clone();
    for span in &spans {
        let hex = |key: &str, length: usize| {
            let text = span[key].as_str().unwrap_or_default();
            let digits = text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            assert!(digits && text.len() == length, "{key} of {span}");
        };
        hex("traceId", 32);
        hex("spanId", 16);
        let nano = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(
            nano("startTimeUnixNano") <= nano("endTimeUnixNano"),
            "{span}"
        );
        for attribute in span["attributes"].as_array().unwrap() {
            assert!(attribute["key"].is_string());
            let (kind, value) = attribute["value"]
                .as_object()
                .unwrap()
                .iter()
                .next()
                .unwrap();
            let sound = match kind.as_str() {
                "stringValue" => value.is_string(),
                "intValue" => value
                    .as_str()
                    .is_some_and(|text| text.parse::<i64>().is_ok()),
                "doubleValue" => value.is_number(),
                "arrayValue" => value["values"].is_array(),
                _ => false,
            };
            assert!(sound, "{attribute}");
        }
    }
    spans
}

/// All spans that were taken, by id; the same span twice is one.
fn told(world: &World) -> BTreeMap<String, Value> {
    let asked = world.sites().asked.clone();
    let all = asked.iter().flat_map(spans);
    all.map(|span| (span["spanId"].as_str().unwrap().to_owned(), span))
        .collect()
}

fn attribute<'a>(span: &'a Value, key: &str) -> Option<&'a Value> {
    let mut all = span["attributes"].as_array().unwrap().iter();
    let found = all.find(|attribute| attribute["key"] == key)?;
    found["value"].as_object()?.values().next()
}

fn named(spans: &BTreeMap<String, Value>, begins: &str) -> Vec<Value> {
    let name = |span: &Value| span["name"].as_str().unwrap().to_owned();
    spans
        .values()
        .filter(|span| name(span).starts_with(begins))
        .cloned()
        .collect()
}

/// Each span stands below another that was told and does not begin before it, all the way up to `root`.
fn assert_a_tree(spans: &BTreeMap<String, Value>, root: Option<&str>) {
    let nano = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    for span in spans.values() {
        let parent = span.get("parentSpanId").and_then(Value::as_str);
        let Some(above) = parent.and_then(|id| spans.get(id)) else {
            assert_eq!(parent, root, "{span}");
            assert!(
                span["name"]
                    .as_str()
                    .unwrap()
                    .starts_with("invoke_workflow"),
                "{span}"
            );
            continue;
        };
        let key = "startTimeUnixNano";
        assert!(nano(span, key) >= nano(above, key), "{span} in {above}");
        // Calls in flight outlive a cancellation, all else ends within what it belongs to.
        let key = "endTimeUnixNano";
        let call = span["name"].as_str().unwrap().starts_with("chat ");
        assert!(
            call || nano(span, key) <= nano(above, key),
            "{span} in {above}"
        );
    }
}

#[test]
fn job_stages_tasks_and_calls_are_told_as_one_tree_by_the_conventions() {
    let world = World::new(
        5,
        standin::Config {
            latency_ms: 300,
            ..Default::default()
        },
    );
    let app = world.app(&[TRACING, ("OTLP_TASKS", "2")]);
    world.sites().set(COLLECTOR, Site::new(200));
    let owner = Owner {
        tenant: TENANT,
        token: None,
        trace: Some(PARENT),
    };
    let body = job(&texts(6), json!({"stages": stages(2)}));
    let made = {
        let app = app.clone();
        async move { submit(&app, owner, body).await.unwrap() }
    };
    let id = world.block_on(made).job.id;
    until_told(&world, &app, 1);
    let asked = world.sites().asked.clone();
    // Four tasks, two with each request, then stages and job.
    assert_eq!(asked.len(), 3);
    for request in &asked {
        assert_eq!(request.headers.get("authorization"), Some(COLLECTOR_KEY));
        assert_eq!(
            request.headers.get("content-type"),
            Some("application/json")
        );
    }
    let spans = told(&world);
    assert_a_tree(&spans, Some("00f067aa0ba902b7"));
    assert!(
        spans
            .values()
            .all(|span| span["traceId"] == "4bf92f3577b34da6a3ce929d0e0e4736")
    );
    let counts = [
        "invoke_workflow",
        "stage ",
        "task classify",
        "task report",
        "chat ",
    ];
    assert_eq!(
        counts.map(|name| named(&spans, name).len()),
        [1, 2, 3, 1, 4]
    );
    let call = named(&spans, "chat claude-haiku-5-5").remove(0);
    assert_eq!(call["kind"], 3);
    assert_eq!(attribute(&call, "gen_ai.operation.name").unwrap(), "chat");
    assert_eq!(
        attribute(&call, "gen_ai.provider.name").unwrap(),
        "anthropic"
    );
    assert_eq!(
        attribute(&call, "gen_ai.request.model").unwrap(),
        "claude-haiku-5-5"
    );
    assert_eq!(
        attribute(&call, "gen_ai.response.finish_reasons").unwrap(),
        &json!({"values": [{"stringValue": "end_turn"}]})
    );
    for key in ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"] {
        let tokens: i64 = attribute(&call, key)
            .unwrap()
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(tokens > 0, "{key}");
    }
    let job = named(&spans, "invoke_workflow").remove(0);
    assert_eq!(attribute(&job, "fanwise.job.id").unwrap(), id.as_str());
    assert_eq!(attribute(&job, "fanwise.job.state").unwrap(), "succeeded");
    // Neither what was said nor the collector's key is told to anybody.
    let said = format!("{spans:?} {:?}", world.log_lines());
    assert!(
        !said.contains("charged twice") && !said.contains("SECRET"),
        "{said}"
    );
}

#[test]
fn nothing_is_told_or_written_unless_somebody_wants_it() {
    let world = World::new(5, standin::Config::default());
    let app = world.app(&[]);
    let id = world
        .submit(&app, job(&texts(4), json!({"stages": stages(2)})))
        .job
        .id;
    world.run(&app, 60 * SECOND, HOUR, || over(&world, &id));
    assert!(world.sites().asked.is_empty());
    assert!(world.query("SELECT * FROM traces").is_empty());
    // Not recorded where it comes from: not recorded here.
    let app = world.app(&[TRACING]);
    let unsampled = PARENT.replace("b7-01", "b7-00");
    let body = job(&texts(4), json!({"stages": stages(2)}));
    let made = {
        let app = app.clone();
        async move {
            let owner = Owner {
                tenant: TENANT,
                token: None,
                trace: Some(&unsampled),
            };
            submit(&app, owner, body).await.unwrap()
        }
    };
    let id = world.block_on(made).job.id;
    world.run(&app, 60 * SECOND, HOUR, || over(&world, &id));
    assert!(world.query("SELECT * FROM traces").is_empty());
}

#[test]
fn a_collector_that_is_away_gets_all_of_it_later_and_one_that_cannot_read_holds_nothing_up() {
    let world = World::new(5, standin::Config::default());
    let app = world.app(&[TRACING, ("OTLP_TASKS", "1")]);
    let answers = [
        Site::new(0),
        Site::new(503),
        Site::new(429).header("retry-after", "30"),
        Site::new(200).after(60_000),
        Site::new(200),
        // The second task's slice will never be taken, the others are.
        Site::new(400),
        Site::new(200),
    ];
    world.sites().set_all(COLLECTOR, answers.to_vec());
    let id = world
        .submit(&app, job(&texts(6), json!({"stages": stages(2)})))
        .job
        .id;
    until_told(&world, &app, 1);
    assert_eq!(world.sites().asked.len(), 9);
    let spans = told(&world);
    assert_eq!(named(&spans, "task ").len(), 4);
    assert!(
        spans
            .values()
            .all(|span| span["traceId"] == id.trim_start_matches("job_"))
    );
    assert_a_tree(&spans, None);
}

#[test]
fn a_later_run_tells_what_is_new_and_a_cancelled_one_waits_for_its_calls() {
    let slow = standin::Config {
        latency_ms: 5_000,
        ..Default::default()
    };
    let world = World::new(5, slow);
    let app = world.app(&[TRACING]);
    world.sites().set(COLLECTOR, Site::new(200));
    let id = world
        .submit(
            &app,
            job(
                &texts(8),
                json!({"stages": stages(1), "limits": {"concurrency": 4}}),
            ),
        )
        .job
        .id;
    // Four calls are done, four in flight.
    let seen = world.clone();
    world.run(&app, 60 * SECOND, HOUR, move || {
        seen.query("SELECT COUNT(*) AS n FROM attempts WHERE state = 'open'")[0]["n"] == 4
            && seen.query("SELECT COUNT(*) AS n FROM attempts WHERE state = 'done'")[0]["n"] == 4
    });
    let act = |retry: bool| {
        let (app, id) = (app.clone(), id.clone());
        world.block_on(async move {
            match retry {
                true => commands::retry(&app, TENANT, &id, &Default::default())
                    .await
                    .unwrap(),
                false => commands::cancel(&app, TENANT, &id).await.unwrap(),
            }
        });
    };
    act(false);
    until_told(&world, &app, 1);
    let first = told(&world);
    let calls = world.query("SELECT state FROM attempts");
    assert!(calls.iter().all(|call| call["state"] != "open"));
    assert_eq!(named(&first, "chat ").len(), calls.len());
    let before: BTreeSet<&String> = first.keys().collect();
    act(true);
    until_told(&world, &app, 2);
    let all = told(&world);
    assert_a_tree(&all, None);
    let new = all.keys().filter(|id| !before.contains(id)).count();
    assert_eq!(named(&all, "invoke_workflow").len(), 2);
    let calls = world.query("SELECT 1 AS one FROM attempts").len();
    assert_eq!(named(&all, "chat ").len(), calls, "each call once: {new}");
}
