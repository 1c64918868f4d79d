//! What jobs were expected to take, against what they took: one table over the shapes that a job can have.

use fanwise::api::read_job;
use fanwise::app::plan::{self, EstimateView};
use fanwise::app::view::JobView;
use fanwise::app::{App, query};
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

/// Prose of many subjects: paragraphs of this repository's own documents.
fn paragraphs() -> Vec<&'static str> {
    let all = concat!(
        include_str!("../../README.md"),
        include_str!("../../ARCHITECTURE.md"),
        include_str!("../../SECURITY.md")
    );
    all.split("\n\n").filter(|part| part.len() > 200).collect()
}

/// Texts of so many bytes at least.
fn prose(count: usize, bytes: usize) -> Vec<Value> {
    let mut parts = paragraphs().into_iter().cycle();
    (0..count)
        .map(|n| {
            let mut text = String::new();
            while text.len() < bytes {
                text.push_str(parts.next().unwrap());
                text.push_str("\n\n");
            }
            json!({"id": format!("doc-{n}"), "text": text})
        })
        .collect()
}

fn code() -> Vec<Value> {
    [
        include_str!("bill.rs"),
        include_str!("flows.rs"),
        include_str!("tiers.rs"),
        include_str!("tree.rs"),
        include_str!("web.rs"),
        include_str!("sizes.rs"),
        include_str!("workers.rs"),
        include_str!("quota.rs"),
        include_str!("extend.rs"),
        include_str!("traces.rs"),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, text)| json!({"id": format!("src/file{n}.rs"), "text": text}))
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

/// A job done, what it was expected to take, and what each stage did take.
struct Done {
    estimate: EstimateView,
    view: JobView,
    stages: Vec<(String, u64, f64)>,
}

fn world_of(shape: &Shape) -> (World, App<World>) {
    let claude = standin::Config {
        latency_ms: 300,
        ..Default::default()
    };
    let world = World::new(7, claude);
    for (n, page) in prose(12, 9_000).iter().enumerate() {
        let body = format!(
            "<html><body><h1>Page</h1><p>{}</p></body></html>",
            page["text"].as_str().unwrap().replace("\n\n", "</p><p>")
        );
        world.sites().set(
            &format!("https://site{n}.org/"),
            Site::page("text/html; charset=utf-8", &body),
        );
    }
    let app = world.app(shape.vars);
    (world, app)
}

fn run(world: &World, app: &App<World>, body: &Value) -> Done {
    let read = || read_job(body.clone(), None, &app.config).unwrap();
    let (own, submit) = (app.clone(), read());
    let estimate =
        world.block_on(async move { plan::estimate(&own, TENANT, submit).await.unwrap() });
    let id = world.submit(app, read()).job.id;
    world.run(app, 10_000, 72 * 3_600_000, || over(world, &id));
    let (own, job) = (app.clone(), id.clone());
    let view = world.block_on(async move { query::job(&own, TENANT, &job).await.unwrap() });
    assert_eq!(view.state, "succeeded", "{view:?}");
    let rows = world.query(&format!(
        "SELECT s.name, s.idx, a.role, a.model, COUNT(*) AS calls, SUM(cost_nano) AS nano FROM attempts a JOIN stages s ON s.job = a.job AND s.idx = a.stage
         WHERE a.job = '{id}' GROUP BY 1, 2, 3, 4 ORDER BY 2"));
    let stages = rows
        .iter()
        .map(|row| {
            (
                format!(
                    "{} {} {}",
                    row["name"].as_str().unwrap(),
                    row["role"].as_str().unwrap(),
                    row["model"].as_str().unwrap()
                ),
                row["calls"].as_u64().unwrap(),
                row["nano"].as_f64().unwrap() / 1e9,
            )
        })
        .collect();
    Done {
        estimate,
        view,
        stages,
    }
}

#[test]
fn measured() {
    let only = std::env::var("SHAPE").unwrap_or_default();
    println!(
        "{:32} {:>6} {:>15} | {:>9} {:>9} {:>9} {:>9} | {:>6} {:>6} {:>6}",
        "shape", "calls", "of", "cost", "low", "likely", "high", "act/lo", "lik/ac", "hi/act"
    );
    for shape in shapes().iter().filter(|shape| shape.name.contains(&only)) {
        let (world, app) = world_of(shape);
        let again: usize = std::env::var("AGAIN").map_or(0, |n| n.parse().unwrap());
        for _ in 0..again {
            run(&world, &app, &with(shape.body.clone(), json!({"reuse": false})));
        }
        let Done {
            estimate,
            view,
            stages,
        } = run(&world, &app, &shape.body);
        let (cost, e) = (view.cost.spent_usd, &estimate.expected);
        let (low, high, likely) = (e.cost_usd.low, e.cost_usd.high, e.likely_usd.unwrap());
        let outside = if cost < low || cost > high {
            " OUTSIDE"
        } else {
            ""
        };
        let outcalls = if view.usage.calls < e.calls.low || view.usage.calls > e.calls.high {
            " CALLS"
        } else {
            ""
        };
        println!(
            "{:32} {:>6} {:>7}-{:<7} | {cost:>9.5} {low:>9.5} {likely:>9.5} {high:>9.5} | {:>6.2} {:>6.2} {:>6.2}{outside}{outcalls}",
            shape.name,
            view.usage.calls,
            e.calls.low,
            e.calls.high,
            cost / low,
            likely / cost,
            high / cost
        );
        println!(
            "      in {} of {}-{}, out {} of {}-{}",
            view.usage.input_tokens
                + view.usage.cache_read_input_tokens
                + view.usage.cache_creation_input_tokens,
            e.input_tokens.low,
            e.input_tokens.high,
            view.usage.output_tokens,
            e.output_tokens.low,
            e.output_tokens.high
        );
        if std::env::var("STAGES").is_ok() {
            for s in &e.stages {
                println!(
                    "      {:30} tasks {}-{} cost {:.5} {:.5} {:.5}",
                    s.stage,
                    s.tasks.low,
                    s.tasks.high,
                    s.cost_usd.low,
                    s.likely_usd.unwrap(),
                    s.cost_usd.high
                );
            }
            for (name, calls, usd) in &stages {
                println!("        = {name} {calls} {usd:.5}");
            }
        }
    }
}
