//! What jobs were expected to take, against what they took: one table over the shapes that a job can have.

use std::collections::BTreeMap;

use fanwise::api::read_job;
use fanwise::app::App;
use fanwise::app::planning::commands;
use fanwise::app::view::{JobView, job};
use fanwise::core::estimate::{Expected, ExpectedStage};
use serde_json::{Value, json};

use crate::flows::over;
use crate::sites::Site;
use crate::world::{TENANT, World};

/// A job, and the world it is done in.
struct Shape {
    name: &'static str,
    body: Value,
    vars: &'static [(&'static str, &'static str)],
}

/// Contexts so small that some hundred results need a tree.
const SMALL: &[(&str, &str)] = &[(
    "MODELS_JSON",
    r#"{"models": {"claude-opus-5-5": {"context_tokens": 16700}, "claude-haiku-5-5": {"context_tokens": 9000}}}"#,
)];

fn shape(name: &'static str, body: Value) -> Shape {
    Shape {
        name,
        body,
        vars: &[],
    }
}

fn tickets(count: usize) -> Vec<Value> {
    include_str!("../../samples/support-tickets.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .cycle()
        .take(count)
        .enumerate()
        .map(|(n, mut item): (usize, Value)| {
            item["id"] = json!(format!("T-{n}"));
            item
        })
        .collect()
}

/// Prose of many subjects.
fn paragraphs() -> Vec<String> {
    let texts: Vec<String> = tickets(300)
        .iter()
        .map(|ticket| ticket["text"].as_str().unwrap().to_owned())
        .collect();
    texts.chunks(3).map(|texts| texts.join(" ")).collect()
}

/// Texts of so many bytes at least.
fn prose(count: usize, bytes: usize) -> Vec<Value> {
    let mut parts = paragraphs().into_iter().cycle();
    (0..count)
        .map(|n| {
            let mut text = String::new();
            while text.len() < bytes {
                text.push_str(&parts.next().unwrap());
                text.push_str("\n\n");
            }
            json!({"id": format!("doc-{n}"), "text": text})
        })
        .collect()
}

fn code() -> Vec<Value> {
    let names = [
        "order", "refund", "parcel", "invoice", "session", "ticket", "voucher", "stock",
    ];
    let function = |name: &str, n: usize| {
        format!(
            "/// Looks the {name} up, and makes one where there is none.\npub async fn {name}_{n}(db: &Db, id: &str, now: i64) -> Result<Row, Error> {{\n    \
             let rows = db.query(\"SELECT * FROM {name}s WHERE id = ?1 AND at < ?2\", &[id.into(), (now - {n}_000).into()]).await?;\n    \
             if let Some(row) = rows.first() {{\n        return Ok(row.clone());\n    }}\n    \
             let made = Row::new(id, now).with(\"state\", \"open\").with(\"tries\", {n});\n    db.insert(\"{name}s\", &made).await?;\n    Ok(made)\n}}\n\n"
        )
    };
    (0..10)
        .map(|n| {
            let text: String = names
                .iter()
                .cycle()
                .take(12 + n * 2)
                .map(|name| function(name, n))
                .collect();
            json!({"id": format!("src/file{n}.rs"), "text": text})
        })
        .collect()
}

fn products(count: usize) -> Vec<Value> {
    let kinds = [
        "Kettle",
        "Desk lamp",
        "Rain jacket",
        "Running shoe",
        "Notebook",
    ];
    (0..count)
        .map(|n| {
            let kind = kinds[n % kinds.len()];
            json!({"id": format!("SKU-{n}"), "title": format!("{kind} {n}"), "brand": "Nordlys", "price": 19.9 + n as f64,
                "currency": "EUR", "material": "steel, glass", "weight_g": 400 + n,
                "description": format!("The {kind} {n} is made for every day. It is light, lasts long and is easy to clean. Colours: black, white, red.")})
        })
        .collect()
}

fn financial(count: usize) -> Vec<Value> {
    (0..count)
        .map(|n| {
            let company = ["Acme Corp", "Borealis plc", "Cetus AG", "Delphi SE"][n % 4];
            let text = format!("{company}, report for the year {}. Revenue was {}.4 million euros, up 7 % on the year before. \
                Operating profit came to {} million, net income to {} million. Cash at the end of the year: {} million. ",
                2019 + n / 4, 100 + n, 12 + n, 8 + n, 30 + n).repeat(6);
            json!({"id": format!("report-{n}"), "text": text})
        })
        .collect()
}

fn category() -> Value {
    json!({"type": "object", "properties": {
        "category": {"type": "string", "enum": ["billing", "login", "bug", "shipping", "praise", "other"]},
        "urgency": {"type": "string", "enum": ["low", "normal", "high"]}},
        "required": ["category", "urgency"], "additionalProperties": false})
}

fn classify(more: Value) -> Value {
    let mut stage = json!({"name": "classify", "kind": "map", "output": "item", "chunk": {"items": 10},
        "instructions": "Say which category the ticket belongs to, and how urgent it is.",
        "output_schema": category(), "merge": {"count_by": ["category"]}});
    stage
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    stage
}

fn report() -> Value {
    json!({"name": "report", "kind": "synthesis", "instructions": "Write three sentences on what to mend first."})
}

fn of(items: Vec<Value>, stages: Value) -> Value {
    json!({"task": "Find out what our customers complain about", "input": {"items": items}, "stages": stages})
}

fn recipe(name: &str, items: Vec<Value>) -> Value {
    json!({"recipe": name, "input": {"items": items}})
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

fn shapes() -> Vec<Shape> {
    let why = json!({"type": "object", "properties": {"why": {"type": "string"}, "amount": {"type": ["number", "null"]}},
        "required": ["why", "amount"], "additionalProperties": false});
    let themes = json!({"type": "object", "properties": {
        "themes": {"type": "array", "items": {"type": "string"}}, "note": {"type": "string"}},
        "required": ["themes", "note"], "additionalProperties": false});
    let documents: Vec<Value> = prose(4, 60_000);
    let urls: Vec<String> = (0..12).map(|n| format!("https://site{n}.org/")).collect();
    let japanese: Vec<Value> = (0..60)
        .map(|n| json!({"id": format!("j-{n}"), "text": format!("注文番号{n}の荷物がまだ届いていません。配達済みと表示されていますが、受け取っていません。返金をお願いします。")}))
        .collect();
    vec![
        shape("recipe support-tickets", recipe("support-tickets", tickets(300))),
        shape("recipe code-review", recipe("code-review", code())),
        shape("recipe competitor-pages", recipe("competitor-pages", prose(12, 5_000))),
        shape("recipe content-qa", recipe("content-qa", prose(30, 2_500))),
        shape("recipe financial-documents", recipe("financial-documents", financial(24))),
        shape("recipe product-catalog", recipe("product-catalog", products(100))),
        shape("recipe research-papers", recipe("research-papers", prose(10, 20_000))),
        shape("one a call", of(tickets(100), json!([classify(json!({"chunk": {"items": 1}}))]))),
        shape("25 a call", of(tickets(300), json!([classify(json!({"chunk": {"items": 25}})), report()]))),
        shape("100 a call", of(tickets(1000), json!([classify(json!({"chunk": {"items": 100}}))]))),
        shape("five in all", of(tickets(5), json!([classify(json!({})), report()]))),
        shape("free texts", of(tickets(100), json!([{"name": "sum_up", "kind": "map", "instructions": "Sum each up in one sentence.", "chunk": {"items": 5}}]))),
        shape("output chunk", of(tickets(200), json!([{"name": "themes", "kind": "map", "instructions": "Name the themes.",
            "output": "chunk", "chunk": {"items": 20}, "output_schema": themes}, report()]))),
        shape("a dearer model", of(tickets(100), json!([classify(json!({"model": "sonnet"})), report()]))),
        shape("map after map", of(tickets(150), json!([classify(json!({})),
            {"name": "again", "kind": "map", "instructions": "Is it so?", "chunk": {"items": 20}, "with_input": true, "output_schema": why}, report()]))),
        shape("groups of results", of(tickets(200), json!([classify(json!({})),
            {"name": "causes", "kind": "map", "instructions": "Name the causes.", "output": "chunk", "group_by": "category", "output_schema": themes}, report()]))),
        shape("groups of the input", of(tickets(200), json!([
            {"name": "causes", "kind": "map", "instructions": "Name the causes.", "output": "chunk", "group_by": "plan", "output_schema": themes}, report()]))),
        shape("follow-up of values", of(tickets(200), json!([classify(json!({})),
            {"name": "refunds", "kind": "map", "instructions": "Say why.", "of": {"field": "category", "values": ["billing"]},
             "with_input": true, "chunk": {"items": 1}, "output_schema": why}, report()]))),
        shape("follow-up of flags", of(tickets(200), json!([classify(json!({})),
            {"name": "look", "kind": "map", "instructions": "Look again.", "of": {"flagged": true}, "with_input": true,
             "chunk": {"items": 5}, "output_schema": why}, report()]))),
        shape("cascade", of(tickets(200), json!([classify(json!({"models": ["haiku", "sonnet"], "output_schema": {"type": "object", "properties": {
            "category": {"type": "string", "enum": ["billing", "login", "bug", "shipping", "unsure"]}}, "required": ["category"], "additionalProperties": false}})), report()]))),
        shape("a cascade that is no use", of((0..100).map(|n| json!({"id": format!("n-{n}"), "text": format!("Hello there, number {n}")})).collect(),
            json!([classify(json!({"models": ["haiku", "sonnet"], "output_schema": {"type": "object", "properties": {
            "category": {"type": "string", "enum": ["billing", "login", "bug", "shipping", "unsure"]}}, "required": ["category"], "additionalProperties": false}})), report()]))),
        shape("one text", json!({"task": "Find the promises", "input": {"text": documents[0]["text"]}, "stages": [
            {"name": "read", "kind": "map", "instructions": "List the promises.", "output": "chunk", "chunk": {"tokens": 2000}, "output_schema": themes}, report()]})),
        shape("documents", json!({"task": "Find the promises", "input": {"documents": documents}, "stages": [
            {"name": "read", "kind": "map", "instructions": "List the promises.", "chunk": {"tokens": 3000, "overlap": 200}, "output_schema": themes}, report()]})),
        shape("packed by tokens", of(tickets(300), json!([classify(json!({"chunk": {"tokens": 2000}})), report()]))),
        shape("urls", json!({"task": "Compare", "input": {"urls": urls}, "stages": [
            {"name": "read", "kind": "map", "instructions": "Say what is offered.", "chunk": {"tokens": 6000}, "output_schema": themes}, report()]})),
        shape("verified", of(tickets(200), json!([classify(json!({"verify": {"sample": 0.2}})), report()]))),
        shape("verified whole, redone", with(of(tickets(200), json!([classify(json!({"verify": {"sample": 1.0}})), report()])), json!({"limits": {"redo_ratio": 0.2}}))),
        shape("a report in a schema", of(tickets(200), json!([classify(json!({})),
            {"name": "report", "kind": "synthesis", "instructions": "Sum up.", "output_schema": {"type": "object", "properties": {
                "headline": {"type": "string", "maxLength": 100}, "verdict": {"type": "string", "enum": ["good", "bad"]},
                "actions": {"type": "array", "maxItems": 5, "items": {"type": "string"}}},
                "required": ["headline", "verdict", "actions"], "additionalProperties": false}}]))),
        Shape { vars: SMALL, ..shape("a tree", of(tickets(400), json!([classify(json!({"max_tokens": 1000})), report()]))) },
        shape("batches", with(of(tickets(300), json!([classify(json!({})), report()])), json!({"delivery": "batch"}))),
        shape("batches of one stage", with(of(tickets(300), json!([classify(json!({"chunk": {"items": 5}}))])), json!({"delivery": "batch"}))),
        shape("auto", with(of(tickets(300), json!([classify(json!({"chunk": {"items": 5}}))])), json!({"delivery": "auto"}))),
        shape("a context that is cached", with(of(tickets(300), json!([classify(json!({"chunk": {"items": 5}})), report()])),
            json!({"context": paragraphs()[..40].join("\n\n")}))),
        shape("a cached context in batches", with(of(tickets(300), json!([classify(json!({"chunk": {"items": 5}}))])),
            json!({"context": paragraphs()[..40].join("\n\n"), "delivery": "batch"}))),
        shape("dynamic", json!({"task": "Find out what our customers complain about", "input": {"items": tickets(200)}})),
        shape("signs", of(japanese, json!([classify(json!({})), report()]))),
        shape("a follow-up of half", of(tickets(200), json!([classify(json!({})),
            {"name": "look", "kind": "map", "instructions": "Say why.", "of": {"field": "urgency", "values": ["high", "normal"]}, "with_input": true,
             "chunk": {"items": 5}, "output_schema": why}, report()]))),
    ]
}

/// The drill's faults: one call in ten fails, one answer in fifty is malformed.
fn a_bad_day() -> Value {
    json!({"429": 0.04, "500": 0.03, "529": 0.03, "malformed": 0.02})
}

fn world_of(shape: &Shape, faults: &Value) -> (World, App<World>) {
    let claude = standin::Config {
        latency_ms: 300,
        ..Default::default()
    };
    let claude = claude.with(&json!({"faults": faults, "seed": 5})).unwrap();
    let world = World::new(7, claude);
    for (n, page) in prose(12, 9_000).iter().enumerate() {
        let text = page["text"].as_str().unwrap().replace("\n\n", "</p><p>");
        let body = format!("<html><body><h1>Page</h1><p>{text}</p></body></html>");
        let page = Site::page("text/html; charset=utf-8", &body);
        world.sites().set(&format!("https://site{n}.org/"), page);
    }
    let app = world.app(shape.vars);
    (world, app)
}

/// A job done, and what it was expected to take.
struct Done {
    expected: Expected,
    view: JobView,
    /// Dollars by the name of the stage.
    stages: BTreeMap<String, f64>,
}

impl Done {
    fn cost(&self) -> f64 {
        self.view.cost.spent_usd
    }

    fn likely(&self) -> f64 {
        self.expected.likely_usd.unwrap()
    }

    fn is_map(&self, stage: &str) -> bool {
        !["report", "plan", "comparison", "review_report", "synthesis"].contains(&stage)
    }

    /// How many times what the stages took what was likely for them comes to.
    fn likely_of(&self, stage: &str) -> f64 {
        let own = |part: &&ExpectedStage| part.stage.split(" (").next() == Some(stage);
        let parts = self.expected.stages.iter().filter(own);
        parts.map(|part| part.likely_usd.unwrap()).sum::<f64>() / self.stages[stage]
    }

    /// How wide the range is.
    fn wide(&self) -> f64 {
        self.expected.cost_usd.high / self.expected.cost_usd.low
    }

    fn row(&self, name: &str) -> String {
        let (cost, range) = (self.cost(), self.expected.cost_usd);
        let stages = self
            .stages
            .keys()
            .map(|stage| format!("{stage} {:.2}", self.likely_of(stage)));
        format!(
            "{name:32} {:>5} calls, ${cost:.5} of {:.5} {:.5} {:.5}; likely {:.2} times, high {:.1} times; {}",
            self.view.usage.calls,
            range.low,
            self.likely(),
            range.high,
            self.likely() / cost,
            range.high / cost,
            stages.collect::<Vec<_>>().join(", ")
        )
    }

    #[track_caller]
    fn assert_within(&self, name: &str) {
        let usage = &self.view.usage;
        let input =
            usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
        let expected = &self.expected;
        for (what, value, span) in [
            ("calls", usage.calls, expected.calls),
            ("input", input, expected.input_tokens),
            ("output", usage.output_tokens, expected.output_tokens),
        ] {
            assert!(
                (span.low..=span.high).contains(&value),
                "{name}: {what}: {value} {span:?}"
            );
        }
        let (cost, range) = (self.cost(), expected.cost_usd);
        assert!(
            (range.low..=range.high).contains(&cost),
            "{name}: {cost} {range:?}"
        );
        assert!(
            (range.low..=range.high).contains(&self.likely()),
            "{name}: {expected:?}"
        );
    }
}

fn submitted(world: &World, app: &App<World>, body: &Value) -> String {
    world
        .submit(app, read_job(body.clone(), None, &app.config).unwrap())
        .job
        .id
}

fn view(world: &World, app: &App<World>, id: &str) -> JobView {
    let (own, id) = (app.clone(), id.to_owned());
    world.block_on(async move { job::job(&own, TENANT, &id).await.unwrap() })
}

fn estimate(world: &World, app: &App<World>, tenant: &'static str, body: &Value) -> Expected {
    let submit = read_job(body.clone(), None, &app.config).unwrap();
    let own = app.clone();
    world.block_on(async move {
        commands::estimate(&own, tenant, submit)
            .await
            .unwrap()
            .expected
    })
}

fn run(world: &World, app: &App<World>, body: &Value) -> Done {
    let id = submitted(world, app, body);
    world.run(app, 10_000, 72 * 3_600_000, || over(world, &id));
    let view = view(world, app, &id);
    assert_eq!(view.state, "succeeded", "{view:?}");
    let (own, job) = (app.clone(), id.clone());
    let plan = world.block_on(async move { commands::plan(&own, TENANT, &job).await.unwrap() });
    let sql = format!("SELECT name, spent_nano FROM stages WHERE job = '{id}' AND spent_nano > 0");
    let stages = world.query(&sql);
    let stages = stages.iter().map(|row| {
        let nano = row["spent_nano"].as_f64().unwrap();
        (row["name"].as_str().unwrap().to_owned(), nano / 1e9)
    });
    Done {
        expected: plan.expected.unwrap(),
        view,
        stages: stages.collect(),
    }
}

/// The same job asked of Claude once more, through whatever day it is.
fn anew(body: &Value) -> Value {
    let mut limits = json!({"max_attempts": 10});
    if let Some(own) = body.get("limits") {
        limits = with(limits, own.clone());
    }
    with(body.clone(), json!({"reuse": false, "limits": limits}))
}

/// Of what is likely, before anything is known of such a job: at most so many times what it takes, or a part of it. The stand-in
/// hardly thinks, and its reports are shorter than a model's, so it is the upper side that this holds.
const LIKELY: f64 = 2.6;
/// And what its map stages take, where texts are as long as a model's.
const LIKELY_MAP: f64 = 2.2;
/// The upper end of the range, in times of what is likely. One report may be as long as it is allowed to be, and be preceded by as much
/// thinking: for a job of five items that is what it costs.
const HIGH: f64 = 22.0;
/// After four such jobs.
const LIKELY_AFTER: f64 = 1.45;
const HIGH_AFTER: f64 = 7.0;
/// Nobody knows beforehand what a cascade hands on, and nothing is learned of it.
const LIKELY_OF_CASCADE: f64 = 4.5;

#[track_caller]
fn assert_near(name: &str, times: f64, most: f64) {
    assert!(
        times <= most && times >= 1.0 / most,
        "{name}: likely is {times:.2} times the cost"
    );
}

#[test]
fn what_a_job_of_any_shape_takes_is_near_to_what_was_expected() {
    for shape in shapes() {
        let (world, app) = world_of(&shape, &json!({}));
        let name = shape.name;
        let cascade = name.contains("cascade");
        let first = run(&world, &app, &anew(&shape.body));
        println!("{}", first.row(name));
        first.assert_within(name);
        assert_eq!(first.expected.earlier_calls, 0);
        assert_near(name, first.likely() / first.cost(), LIKELY);
        assert!(
            first.expected.cost_usd.high < first.likely() * HIGH,
            "{name}"
        );
        for stage in first.stages.keys().filter(|stage| first.is_map(stage)) {
            let most = if cascade {
                LIKELY_OF_CASCADE
            } else {
                LIKELY_MAP
            };
            assert_near(&format!("{name}, {stage}"), first.likely_of(stage), most);
        }
        for _ in 0..3 {
            run(&world, &app, &anew(&shape.body)).assert_within(name);
        }
        let fifth = run(&world, &app, &anew(&shape.body));
        println!("  {}", fifth.row("after four such jobs"));
        fifth.assert_within(name);
        assert!(fifth.expected.earlier_calls > 0);
        assert!(
            fifth.wide() < first.wide(),
            "{name}: {} {}",
            fifth.wide(),
            first.wide()
        );
        if !cascade {
            assert_near(name, fifth.likely() / fifth.cost(), LIKELY_AFTER);
            assert!(
                fifth.expected.cost_usd.high < fifth.likely() * HIGH_AFTER,
                "{name}"
            );
        }
    }
}

#[test]
fn a_bad_day_is_within_the_range_too() {
    for shape in shapes() {
        let (world, app) = world_of(&shape, &a_bad_day());
        for _ in 0..5 {
            run(&world, &app, &anew(&shape.body)).assert_within(shape.name);
        }
    }
}

fn read_whole(items: Vec<Value>) -> Value {
    let list = json!({"type": "array", "items": {"type": "string"}});
    let text = json!({"type": "string"});
    of(
        items,
        json!([{"name": "read", "kind": "map", "instructions": "Say what stands in it.", "chunk": {"items": 1},
        "output_schema": {"type": "object", "properties": {"points": list, "names": list, "promises": list, "about": text, "tone": text},
            "required": ["points", "names", "promises", "about", "tone"], "additionalProperties": false}}]),
    )
}

#[test]
fn what_is_learned_holds_for_the_same_work_of_the_same_tenant() {
    let short = || read_whole(prose(40, 600));
    let (world, app) = world_of(&shape("", json!({})), &json!({}));
    let before = estimate(&world, &app, TENANT, &short());
    assert_eq!(before.earlier_calls, 0);
    run(&world, &app, &anew(&short()));
    let after = estimate(&world, &app, TENANT, &short());
    assert_eq!(
        (after.earlier_calls, after.stages[0].earlier_calls),
        (40, 40)
    );
    assert_ne!(after.likely_usd, before.likely_usd);
    // Nobody else's.
    let other = estimate(&world, &app, "another", &short());
    assert_eq!((other.earlier_calls, other.cost_usd), (0, before.cost_usd));
    // Not of texts ten times as long, nor told something else.
    let long = read_whole(prose(40, 6_000));
    assert_eq!(estimate(&world, &app, TENANT, &long).earlier_calls, 0);
    let mut told = short();
    told["stages"][0]["instructions"] = json!("Say what is missing.");
    assert_eq!(estimate(&world, &app, TENANT, &told).earlier_calls, 0);
    run(&world, &app, &anew(&long)).assert_within("long texts after short ones");
    // Whatever was answered from the ledger teaches nothing.
    run(&world, &app, &short());
    assert_eq!(run(&world, &app, &short()).view.usage.calls, 0);
    assert!(estimate(&world, &app, TENANT, &short()).earlier_calls > 0);
}

#[test]
fn a_job_at_work_tells_what_it_will_have_cost_by_what_it_took_so_far() {
    let (world, app) = world_of(&shape("", json!({})), &json!({}));
    let body = with(
        read_whole(prose(60, 600)),
        json!({"limits": {"concurrency": 5}}),
    );
    let id = submitted(&world, &app, &body);
    let expected = estimate(&world, &app, TENANT, &body).likely_usd.unwrap();
    let close = |one: f64, other: f64| (one / other - 1.0).abs();
    let at_first = view(&world, &app, &id).cost.likely_usd.unwrap();
    assert!(close(at_first, expected) < 1e-3, "{at_first} {expected}");
    let over_tasks = || {
        let sql = format!("SELECT succeeded FROM stages WHERE job = '{id}'");
        world.query(&sql)[0]["succeeded"].as_u64().unwrap()
    };
    world.run(&app, 10_000, 3_600_000, || over_tasks() >= 20);
    let half = view(&world, &app, &id).cost;
    world.run(&app, 10_000, 3_600_000, || over(&world, &id));
    let end = view(&world, &app, &id).cost;
    assert_eq!(end.likely_usd, None);
    assert!(half.spent_usd < end.spent_usd * 0.9);
    let (then, likely) = (
        close(expected, end.spent_usd),
        close(half.likely_usd.unwrap(), end.spent_usd),
    );
    assert!(likely < 0.15 && likely < then, "{likely} {then}");
}
