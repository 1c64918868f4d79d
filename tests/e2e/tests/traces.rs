//! Traces in workerd: a collector is told every run, whole and in few requests, and whatever the collector does, jobs do not
//! notice it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use e2e::collector::{self, Collector, Manner, Told, attribute, list, number};
use e2e::{World, id_of};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const KEY: &str = "Bearer collectors-own-key";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const SAID: &str = "was charged twice";

/// One task for each item, and a report.
fn job(items: usize) -> Value {
    let items: Vec<Value> = (0..items)
        .map(|n| json!({"id": format!("T-{n}"), "text": format!("I {SAID} (case {n})")}))
        .collect();
    json!({
        "task": "Find out what customers complain about",
        "input": {"items": items},
        "reuse": false,
        "stages": [
            {"name": "classify", "kind": "map", "instructions": "Classify.", "output": "item", "chunk": {"items": 1}},
            {"name": "report", "kind": "synthesis", "instructions": "Sum up."}
        ]
    })
}

/// All spans that were taken, by id.
fn spans(told: &[Told]) -> BTreeMap<String, Span> {
    let taken = told.iter().filter(|told| told.manner == Manner::Take);
    taken
        .flat_map(Told::spans)
        .map(|span| (hex(&span.span_id), span))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Those whose name begins so.
fn named<'a>(spans: &'a BTreeMap<String, Span>, begins: &str) -> Vec<&'a Span> {
    let all = spans.values();
    all.filter(|span| span.name.starts_with(begins)).collect()
}

/// The span of the job comes last.
fn whole(told: &[Told], jobs: usize) -> bool {
    named(&spans(told), "invoke_workflow").len() == jobs
}

/// What a run came to, without ids and times.
fn came_to(job: &Value) -> Value {
    let mut cost = job["cost"].clone();
    // What the prompt cache saves depends on which job was first.
    cost.as_object_mut().unwrap().remove("cache_saved_usd");
    json!([job["state"], job["progress"], job["usage"]["calls"], cost])
}

#[test]
fn a_collector_is_told_a_job_as_one_tree_by_the_conventions_in_few_requests() {
    const ITEMS: usize = 40;
    let collector = Collector::start(0, &[]);
    let world = World::builder()
        .standin(["--faults", "529=0.1", "--seed", "2"])
        .var("OTLP_ENDPOINT", collector.endpoint())
        .var(
            "OTLP_HEADERS",
            format!("authorization={KEY}, x-team=support"),
        )
        .var("OTLP_TASKS", 15)
        .var("BACKOFF_MS", 20)
        .start()
        .unwrap();
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let headers = [
        ("content-type", "application/json"),
        ("traceparent", parent.as_str()),
    ];
    let body = job(ITEMS).to_string();
    let made = world
        .client
        .send("POST", "/v1/jobs", &headers, body.as_bytes())
        .unwrap();
    let id = id_of(&made.ok().unwrap().json().unwrap()).unwrap();
    let job = world.client.finished(&id, SOON).unwrap();
    assert_eq!(job["state"], "succeeded", "{job}");
    let told = collector.until(SOON, |told| whole(told, 1));
    let all = spans(&told);

    // Every call of the job is a span, those that failed too.
    let calls = usize::try_from(job["usage"]["calls"].as_u64().unwrap()).unwrap();
    let counts = ["invoke_workflow", "stage ", "task classify", "task report"];
    assert_eq!(
        counts.map(|name| named(&all, name).len()),
        [1, 2, ITEMS, 1],
        "{all:?}"
    );
    let failed: Vec<&Span> = named(&all, "chat ")
        .into_iter()
        .filter(|span| attribute(&span.attributes, "error.type").is_some())
        .collect();
    assert!(!failed.is_empty(), "the stand-in failed no call");
    assert_eq!(named(&all, "chat ").len(), calls, "{job}");
    for span in &failed {
        assert_eq!(
            attribute(&span.attributes, "error.type"),
            Some("overloaded")
        );
        assert_eq!(
            number(&span.attributes, "http.response.status_code"),
            Some(529)
        );
        assert_eq!(span.status.as_ref().unwrap().code(), StatusCode::Error);
    }

    // 41 tasks by 15, then stages and job.
    assert_eq!(told.len(), 4);
    for request in &told {
        assert_eq!(request.path, "/v1/traces");
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        assert_eq!(header("content-type"), Some("application/json"));
        assert_eq!(header("authorization"), Some(KEY));
        assert_eq!(header("x-team"), Some("support"));
        assert_eq!(request.resource("service.name").as_deref(), Some("fanwise"));
        assert!(request.resource("service.version").is_some());
    }

    // Job, stage, task, call: each below the one it belongs to, in the trace of whoever submitted.
    let above = |span: &Span| all.get(&hex(&span.parent_span_id));
    for span in all.values() {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert!(
            span.start_time_unix_nano <= span.end_time_unix_nano,
            "{span:?}"
        );
        let wanted = match span.name.split(' ').next().unwrap() {
            "invoke_workflow" => {
                assert_eq!(hex(&span.parent_span_id), SPAN);
                continue;
            }
            "stage" => "invoke_workflow",
            "task" => "stage",
            "chat" => "task",
            other => panic!("a span of no known kind: {other}"),
        };
        let parent = above(span).unwrap_or_else(|| panic!("nothing above {span:?}"));
        assert_eq!(parent.name.split(' ').next(), Some(wanted), "{span:?}");
        if wanted == "task" {
            let index = "fanwise.task.index";
            let (own, its) = (
                number(&span.attributes, index),
                number(&parent.attributes, index),
            );
            assert!(own.is_some() && own == its, "{span:?} below {parent:?}");
            assert_eq!(span.kind(), SpanKind::Client);
        }
        if wanted == "stage" {
            assert_eq!(span.name.replace("task", "stage"), parent.name);
        }
    }

    // The semantic conventions for generative AI.
    let text = |span: &Span, key: &str| attribute(&span.attributes, key).map(str::to_owned);
    let good = named(&all, "chat claude-haiku-5-5")
        .into_iter()
        .find(|span| text(span, "error.type").is_none())
        .unwrap();
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "anthropic"),
        ("gen_ai.request.model", "claude-haiku-5-5"),
        ("fanwise.job.id", &id),
    ] {
        assert_eq!(text(good, key).as_deref(), Some(value), "{key}");
    }
    let reasons = list(&good.attributes, "gen_ai.response.finish_reasons");
    assert_eq!(reasons, ["end_turn"]);
    let total = |key: &str| -> i64 {
        let calls = named(&all, "chat ");
        calls
            .iter()
            .filter_map(|span| number(&span.attributes, key))
            .sum()
    };
    // What each call used comes to what the job says, and so does the span of the job.
    let root = named(&all, "invoke_workflow")[0];
    let used = |key: &str| job["usage"][key].as_i64().unwrap();
    let input = used("input_tokens")
        + used("cache_read_input_tokens")
        + used("cache_creation_input_tokens");
    for (key, of_job) in [
        ("gen_ai.usage.input_tokens", input),
        ("gen_ai.usage.output_tokens", used("output_tokens")),
        (
            "gen_ai.usage.cache_read.input_tokens",
            used("cache_read_input_tokens"),
        ),
    ] {
        assert_eq!(total(key), of_job, "{key}");
        assert_eq!(number(&root.attributes, key), Some(of_job), "{key}");
    }
    assert!(used("output_tokens") > 0);

    // Nothing that was said, no key and no token.
    let token = world.client.token().unwrap();
    for request in &told {
        for secret in [SAID, "collectors-own-key", token, xtask::dev::NO_KEY] {
            assert!(
                !request.body.contains(secret),
                "{secret} in {}",
                request.body
            );
        }
    }
    let log = std::fs::read_to_string(world.worker.log()).unwrap();
    assert!(!log.contains("collectors-own-key"), "the key is in the log");
}

#[test]
fn a_collector_that_is_away_or_silent_changes_no_job_and_holds_none_up() {
    // A free port on which nobody listens yet.
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let world = World::builder()
        .var("OTLP_ENDPOINT", collector::endpoint(port))
        .var("OTLP_TIMEOUT_MS", 60_000)
        .var("WEBHOOK_BACKOFF_MS", 200)
        .var("WEBHOOK_BACKOFF_MAX_MS", 1_000)
        .cron(Duration::from_secs(1))
        .start()
        .unwrap();
    let away = world.run_job(&job(10), SOON).unwrap();
    assert_eq!(away["state"], "succeeded", "{away}");

    // It comes up, takes what the first job left, and then says nothing any more.
    let collector = Collector::start(port, &[Manner::Take, Manner::Take, Manner::Hold]);
    collector.until(SOON, |told| whole(told, 1));
    let silent = world.run_job(&job(10), SOON).unwrap();
    collector.until(SOON, |told| told.len() == 3);
    // While its first request is held, whole jobs come and go.
    let beside = world.run_job(&job(10), SOON).unwrap();
    let told = collector.told();
    assert!(
        told.iter()
            .all(|told| !told.body.contains(beside["id"].as_str().unwrap()))
            && told.len() == 3,
        "the request was not held any more"
    );
    for job in [&silent, &beside] {
        assert_eq!(came_to(job), came_to(&away));
    }

    // In the end it gets all of it.
    collector.let_go(503);
    let told = collector.until(SOON, |told| whole(told, 3));
    let all = spans(&told);
    for job in [&away, &silent, &beside] {
        let id = job["id"].as_str().unwrap();
        let of_job = |name: &str| {
            let spans = named(&all, name).into_iter();
            spans
                .filter(|span| attribute(&span.attributes, "fanwise.job.id") == Some(id))
                .count()
        };
        let kinds = ["invoke_workflow", "stage ", "task ", "chat "];
        assert_eq!(kinds.map(of_job), [1, 2, 11, 11], "{id}");
    }
}
