//! What halts jobs for the account's sake: the day's spending caps, and the breaker's time.

use fanwise::app::App;
use fanwise::app::job::commands;
use fanwise::app::submit::submit;
use fanwise::app::view::{JobView, job as view_job};
use fanwise::core::value::time::rfc3339;
use serde_json::{Value, json};

use crate::flows::{over, stages, texts};
use crate::world::{START, TENANT, World, job};

const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;
/// START is at noon.
const MIDNIGHT: i64 = START + DAY / 2;

fn claude(changes: Value) -> standin::Config {
    standin::Config {
        latency_ms: 200,
        ..Default::default()
    }
    .with(&changes)
    .unwrap()
}

fn begin(world: &World, app: &App<World>, tenant: &'static str, items: usize) -> String {
    let mut plan = stages(1);
    plan[0]["model"] = json!("sonnet");
    plan.as_array_mut().unwrap().truncate(1);
    let body = json!({"stages": plan, "limits": {"concurrency": 5}, "reuse": false});
    let (app, body) = (app.clone(), job(&texts(items), body));
    world.block_on(async move { submit(&app, tenant, body).await.unwrap().job.id })
}

fn view(world: &World, app: &App<World>, tenant: &'static str, id: &str) -> JobView {
    let (app, id) = (app.clone(), id.to_owned());
    world.block_on(async move { view_job::job(&app, tenant, &id).await.unwrap() })
}

fn charged(world: &World) -> f64 {
    world.claude().stats().json(0, false)["cost_usd"]
        .as_f64()
        .unwrap()
}

fn state(world: &World, id: &str) -> String {
    let rows = world.query(&format!("SELECT state FROM jobs WHERE id = '{id}'"));
    rows[0]["state"].as_str().unwrap().to_owned()
}

/// Static seed 6273: such a job paused until the next day, and the next, without an end.
#[test]
fn what_no_day_can_pay_is_given_up_and_says_why() {
    let world = World::new(1, claude(json!({})));
    let app = world.app(&[("ACCOUNT_DAILY_USD", "0.01")]);
    let id = begin(&world, &app, TENANT, 5);
    world.run(&app, MINUTE, 3 * DAY, || over(&world, &id));
    assert_eq!(state(&world, &id), "failed");
    assert_eq!(charged(&world), 0.0);
    let rows = world.query(
        "SELECT DISTINCT state, error->>'$.code' AS code, error->>'$.message' AS why FROM tasks",
    );
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (&rows[0]["state"], &rows[0]["code"]),
        (&json!("skipped"), &json!("budget"))
    );
    assert!(
        rows[0]["why"].as_str().unwrap().contains("whole day"),
        "{rows:?}"
    );
}

/// The same in batches, at their price; and what a day can pay is done.
#[test]
fn a_batch_that_no_day_can_pay_is_given_up_and_the_rest_is_done() {
    for delivery in ["batch", "live"] {
        let world = World::new(1, claude(json!({})));
        let app = world.app(&[("ACCOUNT_DAILY_USD", "0.02")]);
        let mut plan = stages(1);
        plan.as_array_mut().unwrap().truncate(1);
        // More than the first look brings, and one small one behind them.
        let mut texts: Vec<String> = texts(80).iter().map(|text| text.repeat(10_000)).collect();
        texts.push("I was charged twice".to_owned());
        let body = json!({"stages": plan, "delivery": delivery, "reuse": false});
        let id = world.submit(&app, job(&texts, body)).job.id;
        world.run(&app, MINUTE, 5 * DAY, || over(&world, &id));
        assert_eq!(state(&world, &id), "partial", "{delivery}");
        let done =
            world.query("SELECT SUM(covered) AS n, SUM(state = 'skipped') AS skipped FROM tasks");
        assert_eq!(
            (&done[0]["n"], &done[0]["skipped"]),
            (&json!(1), &json!(80)),
            "{delivery}"
        );
    }
}

/// The same for its synthesis, which is cut to what a day has.
#[test]
fn a_synthesis_that_no_day_can_pay_whole_reads_less() {
    let world = World::new(1, claude(json!({})));
    let app = world.app(&[("ACCOUNT_DAILY_USD", "0.25")]);
    let mut plan = stages(1);
    plan[0]["output_schema"] = json!({"type": "object", "properties": {"text": {"type": "string"}},
        "required": ["text"], "additionalProperties": false});
    plan[0]["merge"] = Value::Null;
    let texts: Vec<String> = texts(60).iter().map(|text| text.repeat(20)).collect();
    let body = json!({"stages": plan, "limits": {"concurrency": 5}, "reuse": false});
    let id = world.submit(&app, job(&texts, body)).job.id;
    world.run(&app, MINUTE, 9 * DAY, || over(&world, &id));
    assert_eq!(state(&world, &id), "succeeded");
    let most = world.query("SELECT MAX(reserved_nano) AS n FROM attempts WHERE role = 'synthesis'");
    let most = most[0]["n"].as_f64().unwrap() / 1e9;
    assert!((0.1..=0.25).contains(&most), "{most}");
}

/// What a day's cap must hold: what Claude charged, by its own count, at the end of each day.
#[test]
fn a_day_s_cap_pauses_until_the_next_utc_day_and_is_never_passed() {
    let world = World::new(1, claude(json!({})));
    let cap = 0.15;
    let app = world.app(&[("ACCOUNT_DAILY_USD", "0.15")]);
    let id = begin(&world, &app, TENANT, 150);
    world.run(&app, MINUTE, DAY, || state(&world, &id) == "paused");
    let halted = view(&world, &app, TENANT, &id);
    let halt = halted.halt.unwrap();
    assert_eq!(halt.reason, "quota");
    assert_eq!(halt.resumes_at, Some(rfc3339(MIDNIGHT)));
    assert!(halted.progress.tasks.succeeded > 0, "the day was used");
    let mut days = vec![0.0];
    let mut before = 0.0;
    while !over(&world, &id) {
        let end = START - DAY / 2 + DAY * days.len() as i64;
        world.run(&app, MINUTE, 2 * DAY, || {
            world.now() >= end || over(&world, &id)
        });
        let so_far = charged(&world);
        *days.last_mut().unwrap() = so_far - before;
        before = so_far;
        days.push(0.0);
        assert!(days.len() < 20, "{days:?}");
    }
    assert_eq!(state(&world, &id), "succeeded");
    assert!(days.len() > 2, "{days:?}");
    assert!(days.iter().all(|spent| *spent <= cap), "{days:?}");
}

#[test]
fn a_token_s_cap_halts_its_own_jobs_alone() {
    let world = World::new(2, claude(json!({})));
    let app = world.app(&[("TENANT_DAILY_USD", "0.15")]);
    let big = begin(&world, &app, TENANT, 150);
    world.run(&app, MINUTE, DAY, || state(&world, &big) == "paused");
    let small = begin(&world, &app, "other", 10);
    world.run(&app, MINUTE, DAY / 4, || over(&world, &small));
    assert_eq!(state(&world, &small), "succeeded");
    assert_eq!(state(&world, &big), "paused");
    // Sent back to work by hand on the same day, it is halted again, and no cap is passed.
    let (resumer, of) = (app.clone(), big.clone());
    world.block_on(async move { commands::resume(&resumer, TENANT, &of).await.unwrap() });
    world.run(&app, MINUTE, DAY / 8, || state(&world, &big) == "paused");
    let spent = world.query("SELECT MAX(spent_nano + reserved_nano) AS most FROM spending");
    assert!(spent[0]["most"].as_i64().unwrap() <= 150_000_000);
}

/// A breaker that trips in a row stays open for twice as long: the jobs it halts say so.
#[test]
fn a_halted_job_says_when_the_breaker_will_really_try_again() {
    let refuse = json!({"rules": [{"match": {}, "fault": "credit_400", "times": 1000}]});
    let world = World::new(3, claude(refuse));
    let app = world.app(&[("BREAKER_MS", "60000")]);
    let id = begin(&world, &app, TENANT, 10);
    let mut waits = Vec::new();
    let mut last = 0;
    while waits.len() < 4 {
        world.run(&app, 10_000, DAY, || {
            let row = &world.query("SELECT state, until FROM breaker")[0];
            row["state"] == "open" && row["until"] != last && state(&world, &id) == "paused"
        });
        let until = world.query("SELECT until FROM breaker")[0]["until"]
            .as_i64()
            .unwrap();
        let halt = view(&world, &app, TENANT, &id).halt.unwrap();
        assert_eq!(halt.resumes_at, Some(rfc3339(until)));
        waits.push(until - world.now());
        last = until;
        // Until then, nothing goes out.
        let calls = world.chaos().calls.len();
        world.run(&app, 10_000, DAY, || world.now() >= until - 1);
        assert_eq!(world.chaos().calls.len(), calls);
    }
    let minutes: Vec<i64> = waits.iter().map(|ms| (ms + 1_000) / MINUTE).collect();
    assert_eq!(minutes, [1, 2, 4, 8]);
}

/// Seed 1877: a job that came in while the breaker was open stood there as `running`, for nine days, and nobody said why.
#[test]
fn a_job_that_meets_an_open_breaker_is_halted_as_those_before_it() {
    let refuse = json!({"rules": [{"match": {}, "fault": "credit_400", "times": 1}]});
    let world = World::new(4, claude(refuse));
    let app = world.app(&[("BREAKER_MS", "3600000")]);
    let first = begin(&world, &app, TENANT, 10);
    world.run(&app, MINUTE, MINUTE, || state(&world, &first) == "paused");
    let second = begin(&world, &app, "other", 10);
    world.run(&app, MINUTE, MINUTE, || state(&world, &second) == "paused");
    let halts = [(TENANT, &first), ("other", &second)]
        .map(|(tenant, id)| view(&world, &app, tenant, id).halt.unwrap());
    assert_eq!(halts[1].reason, "quota");
    assert!(halts[1].resumes_at.is_some());
    assert_eq!(halts[0].resumes_at, halts[1].resumes_at);
    // Both go on when the breaker tries again.
    world.run(&app, MINUTE, 2 * 60 * MINUTE, || {
        over(&world, &first) && over(&world, &second)
    });
    assert_eq!(state(&world, &second), "succeeded");
}
