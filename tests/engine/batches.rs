//! Jobs whose calls go out as Message Batches: each thing that can become of one.

use fanwise::app::App;
use fanwise::app::job::{commands, remove};
use fanwise::app::planning::commands as planning_commands;
use fanwise::app::read::report;
use fanwise::app::view::job as view_job;
use fanwise::core::job::delivery::Delivery;
use fanwise::core::plan::spec::Limits;
use serde_json::{Value, json};
use standin::Config;
use standin::faults::{Fault, Shares};

use crate::flows::{over, stages, texts};
use crate::world::{TENANT, World, job};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const PATH: &str = "/v1/messages/batches";

/// Batches of a quarter of an hour.
fn config() -> Config {
    Config {
        latency_ms: 200,
        batch_ms: 15 * 60_000,
        batch_cancel_ms: 5_000,
        ..Config::default()
    }
}

fn body(chunk: u32, more: Value) -> Value {
    let mut body = json!({"stages": stages(chunk), "delivery": "batch"});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn start(world: &World, app: &App<World>, items: usize, body: Value) -> String {
    world.submit(app, job(&texts(items), body)).job.id
}

fn run(world: &World, app: &App<World>, id: &str, most: i64) {
    world.run(app, MINUTE, most, || over(world, id));
}

fn one(world: &World, sql: &str) -> i64 {
    world.query(sql)[0]["n"].as_i64().unwrap()
}

fn state(world: &World, id: &str) -> String {
    let rows = world.query(&format!("SELECT state FROM jobs WHERE id = '{id}'"));
    rows[0]["state"].as_str().unwrap().to_owned()
}

fn covered(world: &World, app: &App<World>, id: &str) -> u64 {
    let (app, id) = (app.clone(), id.to_owned());
    world.block_on(async move {
        let report = report::report(&app, TENANT, &id).await.unwrap();
        report.coverage.covered
    })
}

/// What the stand-in counted.
fn stats(world: &World) -> Value {
    let now = world.now() as u64;
    world.claude().stats().json(now, true)
}

fn rule(fault: Fault, path: &str, times: u64) -> Value {
    json!({"match": {"path": path}, "fault": fault, "times": times})
}

fn rules(world: &World, rules: Value) {
    let config = world.claude().config().with(&json!({"rules": rules}));
    world.claude().configure(config.unwrap());
}

/// Until something is true, or it never will be.
fn until(world: &World, app: &App<World>, most: i64, done: impl Fn() -> bool) {
    world.run(app, MINUTE, most, done);
}

/// Until the first batch is known to be made.
fn until_sent(world: &World, app: &App<World>) {
    until(world, app, HOUR, || {
        one(
            world,
            "SELECT COUNT(*) AS n FROM batches WHERE state = 'sent'",
        ) > 0
    });
}

#[test]
fn three_hundred_items_go_out_as_one_batch_and_cost_half() {
    let world = World::new(1, config());
    let app = world.app(&[]);
    let id = start(&world, &app, 300, body(1, json!({})));
    until_sent(&world, &app);
    let (app2, id2) = (app.clone(), id.clone());
    let view = world.block_on(async move { view_job::job(&app2, TENANT, &id2).await.unwrap() });
    // All are under way, and none of them in the place of a live call.
    assert_eq!(view.progress.tasks.running, 300);
    assert!(view.cost.reserved_usd > 0.0);
    run(&world, &app, &id, 2 * HOUR);
    assert_eq!(state(&world, &id), "succeeded");
    assert_eq!(covered(&world, &app, &id), 300);
    let seen = stats(&world);
    assert_eq!(seen["batches"]["created"], 1);
    assert_eq!(seen["batches"]["requests"], 300);
    assert_eq!(seen["batches"]["results"]["succeeded"], 300);
    // The synthesis went live, and nothing else.
    assert_eq!(seen["calls"]["by_path"]["/v1/messages"], 1, "{seen}");
    assert_eq!(seen["paid_twice"]["answers"], 0);
    let spent = one(&world, "SELECT spent_nano AS n FROM jobs");
    assert_eq!(seen["cost_nano_usd"], spent);
    assert_eq!(
        one(&world, "SELECT in_batches + in_flight AS n FROM jobs"),
        0
    );

    let live = World::new(1, config());
    let app = live.app(&[]);
    let mut plain = body(1, json!({}));
    plain["delivery"] = json!("live");
    let id = start(&live, &app, 300, plain);
    run(&live, &app, &id, 2 * HOUR);
    let maps = "SELECT SUM(cost_nano) AS n FROM attempts WHERE role = 'worker'";
    let (half, whole) = (one(&world, maps), one(&live, maps));
    assert!((half * 2 - whole).abs() <= 600, "{half} and {whole}");
}

#[test]
fn looks_come_with_the_sweep_and_grow_further_apart() {
    let world = World::new(
        2,
        Config {
            batch_ms: 8 * HOUR as u64,
            ..config()
        },
    );
    let app = world.app(&[]);
    let id = start(&world, &app, 30, body(1, json!({})));
    run(&world, &app, &id, 24 * HOUR);
    assert_eq!(state(&world, &id), "succeeded");
    let paths = stats(&world)["calls"]["by_path"].clone();
    let polls: u64 = paths
        .as_object()
        .unwrap()
        .iter()
        .filter(|(path, _)| path.starts_with(PATH) && *path != PATH && !path.ends_with("/results"))
        .map(|(_, n)| n.as_u64().unwrap())
        .sum();
    // Every minute it would be 480.
    assert!((40..=90).contains(&polls), "{polls}");
    assert_eq!(stats(&world)["calls"]["by_path"][PATH], 1);
}

#[test]
fn what_is_too_much_for_one_batch_goes_in_several() {
    for (name, value) in [("BATCH_MAX_REQUESTS", "100"), ("BATCH_MAX_BYTES", "150000")] {
        let world = World::new(3, config());
        let app = world.app(&[(name, value)]);
        let id = start(&world, &app, 250, body(1, json!({})));
        run(&world, &app, &id, 2 * HOUR);
        assert_eq!(state(&world, &id), "succeeded");
        let seen = stats(&world);
        let batches = seen["batches"]["created"].as_u64().unwrap();
        assert!((3..=5).contains(&batches), "{name}: {batches}");
        assert_eq!(seen["batches"]["requests"], 250);
        assert_eq!(covered(&world, &app, &id), 250);
    }
}

#[test]
fn what_errored_or_expired_is_asked_again() {
    let world = World::new(
        4,
        Config {
            faults: Shares([(Fault::Overloaded, 0.2), (Fault::Expired, 0.2)].into()),
            ..config()
        },
    );
    let app = world.app(&[]);
    let id = start(&world, &app, 200, body(1, json!({})));
    run(&world, &app, &id, 12 * HOUR);
    assert_eq!(state(&world, &id), "succeeded");
    let seen = stats(&world);
    assert!(seen["batches"]["created"].as_u64().unwrap() >= 2);
    assert!(seen["batches"]["results"]["expired"].as_u64().unwrap() > 10);
    assert!(seen["batches"]["results"]["errored"].as_u64().unwrap() > 10);
    // Refused for load, or never come to: no attempt is used up by it.
    assert_eq!(one(&world, "SELECT MAX(tries) AS n FROM tasks"), 0);
    assert_eq!(seen["paid_twice"]["answers"], 0);
}

#[test]
fn answers_that_must_be_mended_go_in_a_batch_where_they_are_many_and_live_where_they_are_few() {
    for (least, batches) in [("10", 2), ("200", 1)] {
        let world = World::new(
            5,
            Config {
                faults: Shares([(Fault::SchemaMiss, 0.3)].into()),
                ..config()
            },
        );
        let app = world.app(&[("BATCH_LEAST", least)]);
        let id = start(&world, &app, 100, body(1, json!({})));
        run(&world, &app, &id, 12 * HOUR);
        assert_eq!(covered(&world, &app, &id), 100);
        let seen = stats(&world);
        let created = seen["batches"]["created"].as_u64().unwrap();
        if batches == 1 {
            assert_eq!(created, 1);
            assert!(seen["calls"]["by_role"]["repair"].as_u64().unwrap() > 10);
        } else {
            assert!(created >= 2, "{created}");
        }
        assert_eq!(seen["paid_twice"]["answers"], 0);
    }
}

#[test]
fn a_batch_whose_creation_answer_is_lost_is_found_and_not_made_twice() {
    let world = World::new(6, config());
    let app = world.app(&[]);
    // Others of the same account made one of as many requests just before.
    rules(&world, json!([rule(Fault::Reset, PATH, 1)]));
    let other = start(&world, &app, 40, body(1, json!({"reuse": false})));
    let id = start(&world, &app, 40, body(1, json!({"reuse": false})));
    until(&world, &app, 4 * HOUR, || {
        over(&world, &other) && over(&world, &id)
    });
    let seen = stats(&world);
    assert_eq!(seen["batches"]["created"], 2, "{seen}");
    assert_eq!(seen["batches"]["requests"], 80);
    for id in [&other, &id] {
        assert_eq!(state(&world, id), "succeeded");
        assert_eq!(covered(&world, &app, id), 40);
    }
    let found = world
        .log_lines()
        .iter()
        .filter(|line| line["event"] == "batch_found")
        .count();
    assert_eq!(found, 1);
    assert_eq!(
        one(
            &world,
            "SELECT COUNT(*) AS n FROM attempts WHERE state <> 'done'"
        ),
        0
    );
    assert_eq!(
        seen["cost_nano_usd"],
        one(&world, "SELECT SUM(spent_nano) AS n FROM jobs")
    );
}

#[test]
fn a_batch_of_somebody_else_is_not_taken_for_ours() {
    let world = World::new(7, config());
    let app = world.app(&[]);
    // Theirs: as many requests, made at the same time.
    let requests: Vec<Value> = (0..5)
        .map(|n| json!({"custom_id": format!("theirs-{n}"), "params": {"model": "claude-haiku-5-5", "max_tokens": 10,
            "messages": [{"role": "user", "content": "hello"}]}}))
        .collect();
    let theirs = standin::engine::Incoming {
        method: "POST".into(),
        path: PATH.into(),
        headers: vec![
            ("x-api-key".into(), "k".into()),
            ("anthropic-version".into(), "2026-10-21".into()),
        ],
        body: json!({"requests": requests}).to_string().into(),
        ..Default::default()
    };
    let now = world.now() as u64;
    world.claude().handle(&theirs, now);
    // Ours is turned away inside the API, which does not say whether it was made. It was not.
    rules(&world, json!([rule(Fault::Internal, PATH, 1)]));
    let id = start(&world, &app, 5, body(1, json!({})));
    run(&world, &app, &id, 4 * HOUR);
    assert_eq!(state(&world, &id), "succeeded");
    // Theirs and, once theirs was known for what it is, ours.
    assert_eq!(stats(&world)["batches"]["created"], 2);
    assert_eq!(
        one(
            &world,
            "SELECT COUNT(*) AS n FROM attempts WHERE error_class = 'not_sent'"
        ),
        5
    );
    assert_eq!(one(&world, "SELECT SUM(unknown_nano) AS n FROM jobs"), 0);
}

#[test]
fn a_creation_that_is_turned_away_is_tried_again_and_costs_no_attempt() {
    let world = World::new(8, config());
    let app = world.app(&[]);
    rules(&world, json!([rule(Fault::RateLimit, PATH, 3)]));
    let id = start(&world, &app, 5, body(1, json!({})));
    run(&world, &app, &id, 4 * HOUR);
    assert_eq!(state(&world, &id), "succeeded");
    assert_eq!(stats(&world)["batches"]["created"], 1);
    assert_eq!(one(&world, "SELECT MAX(tries) AS n FROM tasks"), 0);
}

#[test]
fn where_batches_are_refused_for_good_work_goes_live() {
    let world = World::new(9, config());
    let app = world.app(&[]);
    rules(&world, json!([rule(Fault::TooLarge, PATH, 1)]));
    let id = start(&world, &app, 20, body(1, json!({})));
    run(&world, &app, &id, HOUR);
    assert_eq!(state(&world, &id), "succeeded");
    assert_eq!(stats(&world)["batches"]["created"], 0);
    // Whoever asked for half the price is told.
    let choice = world.query("SELECT choice->>'$.why' AS why FROM jobs");
    let why = choice[0]["why"].as_str().unwrap();
    let told = "The API refused a batch for good, so its calls go out live, at the full price: ";
    assert_eq!(why.matches(told).count(), 1, "{why}");
}

#[test]
fn a_bad_key_opens_the_breaker_and_a_batch_may_be_the_probe() {
    let world = World::new(10, config());
    let app = world.app(&[]);
    rules(&world, json!([rule(Fault::BadKey, PATH, 1)]));
    let id = start(&world, &app, 20, body(1, json!({})));
    until(&world, &app, HOUR, || state(&world, &id) == "paused");
    let halt = world.query("SELECT halt->>'$.reason' AS reason FROM jobs");
    assert_eq!(halt[0]["reason"], "quota");
    run(&world, &app, &id, 4 * HOUR);
    assert_eq!(state(&world, &id), "succeeded");
    assert_eq!(stats(&world)["batches"]["created"], 1);
    assert_eq!(
        world.query("SELECT state FROM breaker")[0]["state"],
        "closed"
    );
}

/// Batched seed 540: it stood as `running` for as long as the breaker was open, and nobody was told why.
#[test]
fn a_job_that_comes_while_the_breaker_is_open_pauses_like_those_before() {
    let world = World::new(10, config());
    let app = world.app(&[]);
    rules(&world, json!([rule(Fault::BadKey, PATH, 1)]));
    let first = start(&world, &app, 20, body(1, json!({})));
    until(&world, &app, HOUR, || state(&world, &first) == "paused");
    let late = start(&world, &app, 25, body(1, json!({})));
    world.run(&app, 1_000, MINUTE, || state(&world, &late) == "paused");
    let of_late = format!(
        "SELECT halt->>'$.reason' AS reason, halt->>'$.resumes_at' AS at FROM jobs WHERE id = '{late}'"
    );
    let halt = &world.query(&of_late)[0];
    assert_eq!(halt["reason"], "quota");
    assert!(halt["at"].is_string());
    for id in [&first, &late] {
        run(&world, &app, id, 4 * HOUR);
        assert_eq!(state(&world, id), "succeeded");
    }
}

#[test]
fn lost_looks_and_doubled_looks_do_no_harm() {
    let world = World::new(11, config());
    let app = world.app(&[]);
    let id = start(&world, &app, 60, body(1, json!({})));
    until_sent(&world, &app);
    let faults = [
        Fault::Reset,
        Fault::NonJson,
        Fault::Internal,
        Fault::ResetMid,
        Fault::Overloaded,
    ];
    let lost: Vec<Value> = faults
        .iter()
        .map(|fault| rule(*fault, "/v1/messages/batches/*", 2))
        .collect();
    rules(&world, json!(lost));
    // Each message twice, at all times.
    world.chaos().rates.doubled = 1.0;
    run(&world, &app, &id, 6 * HOUR);
    assert_eq!(state(&world, &id), "succeeded");
    assert_eq!(covered(&world, &app, &id), 60);
    let seen = stats(&world);
    assert_eq!(seen["batches"]["created"], 1);
    assert_eq!(
        seen["cost_nano_usd"],
        one(&world, "SELECT spent_nano AS n FROM jobs")
    );
    assert_eq!(one(&world, "SELECT unknown_nano AS n FROM jobs"), 0);
}

#[test]
fn results_that_break_off_are_read_on_from_where_they_are_missing() {
    let world = World::new(12, config());
    // A turn of one portion.
    let app = world.app(&[("MAX_D1_QUERIES", "50")]);
    let id = start(&world, &app, 450, body(1, json!({})));
    until_sent(&world, &app);
    let results = world.query("SELECT remote FROM batches")[0]["remote"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("{PATH}/{results}/results");
    rules(
        &world,
        json!([rule(Fault::ResetMid, &path, 2), rule(Fault::Cut, &path, 1)]),
    );
    run(&world, &app, &id, 6 * HOUR);
    assert_eq!(state(&world, &id), "succeeded");
    assert_eq!(covered(&world, &app, &id), 450);
    let seen = stats(&world);
    assert!(
        seen["calls"]["by_path"][path].as_u64().unwrap() >= 4,
        "{seen}"
    );
    assert_eq!(seen["batches"]["requests"], 450);
    assert_eq!(
        seen["cost_nano_usd"],
        one(&world, "SELECT spent_nano AS n FROM jobs")
    );
}

fn command(world: &World, app: &App<World>, id: &str, what: &str) {
    let (app, id, what) = (app.clone(), id.to_owned(), what.to_owned());
    world.block_on(async move {
        match what.as_str() {
            "cancel" => commands::cancel(&app, TENANT, &id).await.map(|_| ()),
            "pause" => commands::pause(&app, TENANT, &id).await.map(|_| ()),
            "resume" => commands::resume(&app, TENANT, &id).await.map(|_| ()),
            "delete" => remove::delete(&app, TENANT, &id).await,
            _ => commands::retry(&app, TENANT, &id, &Limits::default())
                .await
                .map(|_| ()),
        }
        .unwrap();
    });
}

/// No batch is looked at any more.
fn all_read(world: &World) -> bool {
    one(
        world,
        "SELECT COUNT(*) AS n FROM batches WHERE state <> 'ended'",
    ) == 0
}

#[test]
fn a_cancelled_job_cancels_its_batch_and_what_came_is_paid_and_never_asked_again() {
    let world = World::new(13, config());
    let app = world.app(&[]);
    let id = start(&world, &app, 100, body(1, json!({})));
    until_sent(&world, &app);
    // Half-way.
    let half = world.now() + 7 * MINUTE;
    until(&world, &app, HOUR, || world.now() >= half);
    command(&world, &app, &id, "cancel");
    assert_eq!(state(&world, &id), "cancelled");
    until(&world, &app, HOUR, || all_read(&world));
    let seen = stats(&world);
    let answered = seen["batches"]["results"]["succeeded"].as_u64().unwrap();
    let canceled = seen["batches"]["results"]["canceled"].as_u64().unwrap();
    assert!(answered > 20 && canceled > 20, "{answered} {canceled}");
    assert_eq!(
        seen["cost_nano_usd"],
        one(&world, "SELECT spent_nano AS n FROM jobs")
    );
    assert_eq!(
        one(&world, "SELECT in_flight + reserved_nano AS n FROM jobs"),
        0
    );
    assert_eq!(
        one(&world, "SELECT COUNT(*) AS n FROM ledger"),
        answered as i64
    );
    command(&world, &app, &id, "retry");
    run(&world, &app, &id, 4 * HOUR);
    assert_eq!(state(&world, &id), "succeeded");
    let seen = stats(&world);
    assert_eq!(seen["batches"]["requests"], 100 + canceled);
    assert_eq!(seen["paid_twice"]["answers"], 0);
}

#[test]
fn a_retry_waits_for_what_is_still_in_a_batch() {
    let world = World::new(14, config());
    let app = world.app(&[]);
    let id = start(&world, &app, 50, body(1, json!({})));
    until_sent(&world, &app);
    command(&world, &app, &id, "cancel");
    command(&world, &app, &id, "retry");
    // Nobody has been told to cancel yet, so nothing of it is asked again.
    assert_eq!(
        one(
            &world,
            "SELECT COUNT(*) AS n FROM tasks WHERE state = 'running'"
        ),
        50
    );
    run(&world, &app, &id, 4 * HOUR);
    assert_eq!(state(&world, &id), "succeeded");
    assert_eq!(stats(&world)["paid_twice"]["answers"], 0);
    assert_eq!(
        one(
            &world,
            "SELECT COUNT(*) AS n FROM tasks WHERE state = 'running'"
        ),
        0
    );
}

#[test]
fn a_deleted_job_leaves_its_cost_on_the_day() {
    let world = World::new(15, config());
    let app = world.app(&[]);
    let id = start(&world, &app, 30, body(1, json!({})));
    until_sent(&world, &app);
    let half = world.now() + 7 * MINUTE;
    until(&world, &app, HOUR, || world.now() >= half);
    command(&world, &app, &id, "cancel");
    command(&world, &app, &id, "delete");
    let left = "SELECT (SELECT COUNT(*) FROM batches) + (SELECT COUNT(*) FROM attempts) AS n";
    until(&world, &app, 4 * HOUR, || one(&world, left) == 0);
    let spent = one(&world, "SELECT SUM(spent_nano) AS n FROM spending");
    assert_eq!(stats(&world)["cost_nano_usd"], spent);
    assert!(spent > 0);
    assert_eq!(
        one(&world, "SELECT SUM(reserved_nano) AS n FROM spending"),
        0
    );
}

#[test]
fn a_pause_keeps_what_comes_and_sends_nothing() {
    let world = World::new(16, config());
    let app = world.app(&[("BATCH_MAX_REQUESTS", "20")]);
    let id = start(
        &world,
        &app,
        40,
        body(1, json!({"limits": {"max_cost_usd": 0.02}})),
    );
    until_sent(&world, &app);
    command(&world, &app, &id, "pause");
    until(&world, &app, 2 * HOUR, || all_read(&world));
    let before = stats(&world)["batches"]["created"].clone();
    assert!(
        one(
            &world,
            "SELECT COUNT(*) AS n FROM tasks WHERE state = 'succeeded'"
        ) > 0
    );
    let later = world.now() + HOUR;
    until(&world, &app, 2 * HOUR, || world.now() >= later);
    assert_eq!(stats(&world)["batches"]["created"], before);
    command(&world, &app, &id, "resume");
    run(&world, &app, &id, 4 * HOUR);
    assert_eq!(covered(&world, &app, &id), 40);
}

#[test]
fn the_budget_holds_and_batches_follow_one_another_as_money_comes_back() {
    let world = World::new(17, config());
    let app = world.app(&[]);
    let mut stages = stages(1);
    stages.as_array_mut().unwrap().pop();
    let limit = 0.02;
    let body = json!({"stages": stages, "delivery": "batch", "limits": {"max_cost_usd": limit}});
    let id = start(&world, &app, 60, body);
    let most = std::cell::Cell::new(0);
    until(&world, &app, 12 * HOUR, || {
        let used = one(
            &world,
            "SELECT spent_nano + reserved_nano + unknown_nano AS n FROM jobs",
        );
        most.set(most.get().max(used));
        over(&world, &id)
    });
    assert!(most.get() <= (limit * 1e9) as i64);
    assert!(most.get() > (limit * 8e8) as i64, "{}", most.get());
    assert_eq!(state(&world, &id), "succeeded");
    assert!(stats(&world)["batches"]["created"].as_u64().unwrap() >= 2);
}

#[test]
fn work_that_does_not_fit_the_budget_ends_as_the_caller_wishes() {
    for (on_budget, ends) in [("finish", "partial"), ("pause", "paused")] {
        let world = World::new(18, config());
        let app = world.app(&[]);
        let mut stages = stages(1);
        stages.as_array_mut().unwrap().pop();
        // Two requests fit, and then, of what is left, none.
        let limits = json!({"max_cost_usd": 0.0013, "on_budget": on_budget});
        let body = json!({"stages": stages, "delivery": "batch", "limits": limits});
        let id = start(&world, &app, 60, body);
        until(&world, &app, 24 * HOUR, || state(&world, &id) == ends);
        assert!(one(&world, "SELECT spent_nano AS n FROM jobs") <= 1_300_000);
    }
}

#[test]
fn what_was_paid_before_is_in_no_batch() {
    let world = World::new(19, config());
    let app = world.app(&[]);
    let first = start(&world, &app, 40, body(1, json!({})));
    run(&world, &app, &first, 2 * HOUR);
    let again = start(&world, &app, 40, body(1, json!({})));
    run(&world, &app, &again, 2 * HOUR);
    assert_eq!(state(&world, &again), "succeeded");
    let seen = stats(&world);
    assert_eq!(seen["batches"]["created"], 1);
    assert_eq!(
        one(
            &world,
            &format!("SELECT spent_nano AS n FROM jobs WHERE id = '{again}'")
        ),
        0
    );
}

#[test]
fn stragglers_go_live_before_the_deadline() {
    // Batches that take all day.
    let world = World::new(
        20,
        Config {
            batch_ms: 20 * HOUR as u64,
            ..config()
        },
    );
    let app = world.app(&[]);
    let id = start(
        &world,
        &app,
        200,
        body(1, json!({"limits": {"deadline_seconds": 4 * 3_600}})),
    );
    run(&world, &app, &id, 5 * HOUR);
    assert_eq!(state(&world, &id), "succeeded");
    assert_eq!(covered(&world, &app, &id), 200);
    let seen = stats(&world);
    let answered = seen["batches"]["results"]["succeeded"].as_u64().unwrap();
    assert!((10..100).contains(&answered), "{answered}");
    // The rest went live, and each was paid once.
    let live = one(
        &world,
        "SELECT COUNT(*) AS n FROM attempts WHERE batch IS NULL AND role = 'worker' AND state = 'done'",
    );
    assert_eq!(live as u64, 200 - answered);
    assert_eq!(seen["paid_twice"]["answers"], 0);
    assert_eq!(
        seen["cost_nano_usd"],
        one(&world, "SELECT spent_nano AS n FROM jobs")
    );
}

#[test]
fn a_batch_that_was_lost_holds_its_tasks_no_longer_than_the_deadline() {
    let world = World::new(21, config());
    let app = world.app(&[("BATCH_SEEK_MS", "86400000")]);
    // Made or not, nobody can tell: the list does not answer either.
    rules(&world, json!([rule(Fault::Internal, PATH, 100_000)]));
    let id = start(
        &world,
        &app,
        10,
        body(1, json!({"limits": {"deadline_seconds": 7_200}})),
    );
    run(&world, &app, &id, 3 * HOUR);
    assert_eq!(state(&world, &id), "failed");
    assert_eq!(
        one(
            &world,
            "SELECT COUNT(*) AS n FROM tasks WHERE state = 'skipped'"
        ),
        10
    );
    // Once it can be told, nothing of it is left reserved.
    rules(&world, json!([]));
    until(&world, &app, 48 * HOUR, || all_read(&world));
    assert_eq!(
        one(
            &world,
            "SELECT in_flight + reserved_nano + unknown_nano AS n FROM jobs"
        ),
        0
    );
}

#[test]
fn a_consumer_that_dies_after_the_creation_loses_nothing() {
    let world = World::new(22, config());
    let app = world.app(&[]);
    let id = start(&world, &app, 30, body(1, json!({})));
    // It has been sent, and its answer is on the way.
    until(&world, &app, HOUR, || {
        stats(&world)["batches"]["created"] == 1
    });
    world.kill_consumers();
    assert_eq!(
        one(
            &world,
            "SELECT COUNT(*) AS n FROM batches WHERE state = 'sending'"
        ),
        1
    );
    run(&world, &app, &id, 4 * HOUR);
    assert_eq!(state(&world, &id), "succeeded");
    assert_eq!(stats(&world)["batches"]["created"], 1);
    assert_eq!(stats(&world)["paid_twice"]["answers"], 0);
}

#[test]
fn auto_says_in_the_plan_what_it_chose_and_why() {
    let world = World::new(23, config());
    let app = world.app(&[]);
    let auto = |seconds: Option<u64>| {
        let mut body = body(1, json!({"delivery": "auto"}));
        if let Some(seconds) = seconds {
            body["limits"] = json!({"deadline_seconds": seconds});
        }
        body
    };
    for (seconds, chosen) in [
        (Some(600), Delivery::Live),
        (Some(86_400), Delivery::Batch),
        (None, Delivery::Batch),
    ] {
        let id = start(&world, &app, 40, auto(seconds));
        let plan = |world: &World| {
            let (app, id) = (app.clone(), id.clone());
            world.block_on(async move { planning_commands::plan(&app, TENANT, &id).await.unwrap() })
        };
        // Before the work begins it says what it would choose.
        let before = plan(&world).delivery.unwrap();
        assert_eq!((before.asked, before.chosen), (Delivery::Auto, chosen));
        run(&world, &app, &id, 4 * HOUR);
        assert_eq!(state(&world, &id), "succeeded");
        let after = plan(&world).delivery.unwrap();
        assert_eq!(after.chosen, chosen, "{}", after.why);
        assert!(!after.why.is_empty());
        assert_eq!(json!(after).get("left"), None);
        assert_eq!(
            after.live_from.is_some(),
            chosen == Delivery::Batch && seconds.is_some()
        );
    }
    // The first, live, paid for all three.
    assert_eq!(stats(&world)["batches"]["created"], 0);
}

#[test]
fn a_tree_and_its_readers_go_in_batches_too_and_the_synthesis_does_not() {
    let world = World::new(24, config());
    let app = world.app(&[]);
    let mut body = body(1, json!({}));
    let id = {
        // Long results, so that a synthesis cannot read them at once.
        body["stages"][0]["output_schema"] = Value::Null;
        body["stages"][0].as_object_mut().unwrap().remove("merge");
        body["stages"][1]["model"] = json!("claude-haiku-4-5");
        start(&world, &app, 40, body)
    };
    run(&world, &app, &id, 6 * HOUR);
    assert_eq!(state(&world, &id), "succeeded");
    let live = world.query("SELECT DISTINCT role FROM attempts WHERE batch IS NULL");
    assert_eq!(live.len(), 1);
    assert_eq!(live[0]["role"], "synthesis");
}
