//! Batches and the prompt cache together: what all requests of a batch share is written once where the API lets them find it,
//! and a bet that was lost is not made again. The stand-in runs a batch's requests one after the other, so the first one writes.

use fanwise::app::read::jobs;
use fanwise::app::view::job as view_job;
use serde_json::{Map, Value, json};

use crate::flows::{over, stages, texts};
use crate::world::{TENANT, World, job};

const MINUTE: i64 = 60_000;

/// Some 4,000 tokens.
fn material() -> String {
    "Billing: money. Login: access. Bug: it does not work. Shipping: parcels.\n".repeat(137)
}

/// One item a request, no synthesis.
fn body(limits: Value) -> Value {
    let mut plan = stages(1);
    plan.as_array_mut().unwrap().truncate(1);
    json!({"stages": plan, "context": material(), "delivery": "batch", "limits": limits, "reuse": false})
}

fn world(changes: Value) -> World {
    let config = json!({"latency_ms": 200, "batch_ms": 900_000});
    let config = standin::Config::default().with(&config).unwrap();
    World::new(1, config.with(&changes).unwrap())
}

/// A job of so many items, to its end.
fn run(world: &World, vars: &[(&str, &str)], items: usize, limits: Value) -> String {
    let app = world.app(vars);
    let id = world.submit(&app, job(&texts(items), body(limits))).job.id;
    world.run(&app, MINUTE, 600 * MINUTE, || over(world, &id));
    id
}

/// Requests of a job: all, marked, those that wrote, those that read.
fn counts(world: &World, id: &str) -> Vec<i64> {
    let row: &Map<String, Value> = &world.query(&format!(
        "SELECT COUNT(*) AS n, SUM(cache IS NOT NULL) AS marked, SUM(cache_write_tokens > 0) AS wrote,
           SUM(cache_read_tokens > 0) AS read FROM attempts WHERE job = '{id}'"
    ))[0];
    ["n", "marked", "wrote", "read"]
        .iter()
        .map(|name| row[*name].as_i64().unwrap())
        .collect()
}

#[test]
fn a_batch_writes_once_what_its_requests_share() {
    let world = world(json!({}));
    let id = run(&world, &[], 300, json!({}));
    assert_eq!(counts(&world, &id), [300, 300, 1, 299]);
    let ttl = world.query("SELECT DISTINCT cache FROM attempts");
    assert_eq!(ttl[0]["cache"], "1h");
    let app = world.app(&[]);
    let view = world.block_on(async move { view_job::job(&app, TENANT, &id).await.unwrap() });
    assert_eq!(view.state, "succeeded");
    // Haiku's prices, halved: 50 for plain input, 100 to write it for an hour, 5 to read it; rounded up for each call.
    let written = view.usage.cache_creation_input_tokens as f64;
    assert!(written > 4_000.0, "{written}");
    let saved = (299.0 * 45.0 - 50.0) * written / 1e9;
    assert!(
        (view.cost.cache_saved_usd - saved).abs() < 1e-6,
        "{:?} {saved}",
        view.cost
    );
    let charged = world.claude().stats().json(0, false)["cost_usd"]
        .as_f64()
        .unwrap();
    assert!((charged - view.cost.spent_usd).abs() < 1e-6, "{charged}");
    // What was asked is shown with its mark.
    let app = world.app(&[]);
    let id = view.id;
    let task = world.block_on(async move { jobs::task(&app, TENANT, &id, 7).await.unwrap() });
    let system = task.attempts[0].request["system"].as_array().unwrap();
    assert_eq!(system.last().unwrap()["cache_control"]["ttl"], "1h");
}

#[test]
fn few_requests_and_short_prompts_are_not_marked() {
    let short = world(json!({}));
    let two = run(&short, &[("BATCH_LEAST", "1")], 2, json!({}));
    assert_eq!(counts(&short, &two)[1], 0);
    let off = world(json!({}));
    let id = run(&off, &[("PROMPT_CACHE", "off")], 30, json!({}));
    assert_eq!(counts(&off, &id), [30, 0, 0, 0]);
}

#[test]
fn marks_that_bring_nothing_are_left_out_of_the_next_batch() {
    // The stand-in keeps nothing under what the true model wants; Fanwise is told of less.
    let told = (
        "MODELS_JSON",
        r#"{"models": {"claude-haiku-5-5": {"min_cacheable_tokens": 100}}}"#,
    );
    let world = world(json!({}));
    let app = world.app(&[told]);
    let mut short = body(json!({}));
    short["context"] = Value::Null;
    let begin = || {
        let id = world.submit(&app, job(&texts(40), short.clone())).job.id;
        world.run(&app, MINUTE, 600 * MINUTE, || over(&world, &id));
        counts(&world, &id)
    };
    assert_eq!(begin(), [40, 40, 0, 0]);
    assert_eq!(begin(), [40, 0, 0, 0]);
}

#[test]
fn a_bet_that_was_lost_is_not_made_again() {
    // Each of its requests writes, as where all of them begin together.
    let world = world(json!({"batch_cold": true}));
    let first = run(&world, &[], 40, json!({}));
    assert_eq!(counts(&world, &first), [40, 40, 40, 0]);
    let second = run(&world, &[], 40, json!({}));
    assert_eq!(counts(&world, &second), [40, 0, 0, 0]);
}

#[test]
fn a_cap_holds_with_marks() {
    for cap in [0.02, 0.05, 0.2] {
        let world = world(json!({"batch_cold": true}));
        let id = run(&world, &[], 100, json!({"max_cost_usd": cap}));
        let charged = world.claude().stats().json(0, false)["cost_usd"]
            .as_f64()
            .unwrap();
        assert!(charged <= cap, "{charged} of {cap}");
        assert!(counts(&world, &id)[0] > 0);
    }
}
