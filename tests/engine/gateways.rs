//! Endpoints that are not quite Claude's: they report no usage, drop the answer's format, end streams early, refuse what
//! Claude takes. Each test is one deviation that the stand-in plays, and what the job must still keep to.

use fanwise::app::App;
use fanwise::app::account::limits;
use fanwise::app::job::commands;
use fanwise::app::read::jobs::{TasksLike, tasks};
use fanwise::app::submit::submit as submit_job;
use fanwise::app::view::{JobView, LeftOutView, job as view_job};
use serde_json::{Value, json};

use crate::flows::{over, stages, texts};
use crate::world::{TENANT, World, job};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A stand-in in these modes.
fn claude(modes: &[&str]) -> standin::Config {
    standin::Config {
        latency_ms: 200,
        ..Default::default()
    }
    .with(&json!({ "modes": modes }))
    .unwrap()
}

/// One map stage over the items, `chunk` to a call.
fn one_stage(chunk: u32) -> Value {
    let mut plan = stages(chunk);
    plan.as_array_mut().unwrap().truncate(1);
    plan
}

fn submit(world: &World, app: &App<World>, items: usize, chunk: u32, limits: Value) -> String {
    let body = json!({"stages": one_stage(chunk), "limits": limits, "reuse": false});
    world.submit(app, job(&texts(items), body)).job.id
}

fn view(world: &World, app: &App<World>, id: &str) -> JobView {
    let (app, id) = (app.clone(), id.to_owned());
    world.block_on(async move { view_job::job(&app, TENANT, &id).await.unwrap() })
}

fn state(world: &World, id: &str) -> String {
    let rows = world.query(&format!("SELECT state FROM jobs WHERE id = '{id}'"));
    rows[0]["state"].as_str().unwrap().to_owned()
}

fn number(world: &World, sql: &str) -> i64 {
    world.query(sql)[0]["n"].as_i64().unwrap_or(0)
}

/// Runs until the job is over or stands still.
fn settle(world: &World, app: &App<World>, id: &str) -> JobView {
    world.run(app, MINUTE, 6 * HOUR, || {
        over(world, id) || state(world, id) == "paused"
    });
    view(world, app, id)
}

fn charged(world: &World) -> f64 {
    world.claude().stats().json(0, false)["cost_usd"]
        .as_f64()
        .unwrap()
}

#[test]
fn an_answer_whose_usage_is_not_reported_is_not_free() {
    for mode in ["usage_missing", "usage_zero", "usage_start"] {
        let world = World::new(1, claude(&[mode]));
        let app = world.app(&[]);
        let id = submit(
            &world,
            &app,
            80,
            1,
            json!({"max_cost_usd": 0.02, "concurrency": 4}),
        );
        let view = settle(&world, &app, &id);
        assert!(over(&world, &id), "{mode}: {view:?}");
        assert!(view.progress.items.covered < 80, "{mode}: {view:?}");
        assert!(view.progress.items.covered > 0, "{mode}: {view:?}");
        assert!(view.cost.possibly_paid_usd > 0.0, "{mode}: {view:?}");
        assert!(
            view.cost.spent_usd + view.cost.reserved_usd <= 0.02,
            "{mode}: {view:?}"
        );
        assert!(charged(&world) <= 0.02, "{mode}");
        assert_eq!(
            view.cost.uncounted_calls, view.progress.items.covered,
            "{mode}"
        );
    }
}

#[test]
fn an_answer_is_paid_at_the_price_of_the_model_that_gave_it() {
    let claude = claude(&[])
        .with(&json!({"served_model": "claude-sonnet-5-5"}))
        .unwrap();
    let world = World::new(1, claude);
    let app = world.app(&[]);
    let id = submit(&world, &app, 10, 1, json!({}));
    let view = settle(&world, &app, &id);
    assert_eq!(view.state, "succeeded");
    assert!(
        (view.cost.spent_usd - charged(&world)).abs() < 1e-9,
        "{view:?} {}",
        charged(&world)
    );
}

#[test]
fn an_answer_that_fills_its_room_is_cut_whatever_it_says() {
    let claude = claude(&[])
        .with(&json!({"rules": [{"match": {"attempt": "1"}, "fault": "silent_cut", "times": 1}]}))
        .unwrap();
    let world = World::new(1, claude);
    let app = world.app(&[]);
    let id = submit(&world, &app, 12, 12, json!({}));
    let view = settle(&world, &app, &id);
    assert_eq!(view.state, "succeeded");
    let first = world.query("SELECT error_class, stop_reason FROM attempts ORDER BY id LIMIT 1");
    assert_eq!(first[0]["stop_reason"], "max_tokens", "{first:?}");
    assert_eq!(first[0]["error_class"], "truncated", "{first:?}");
}

/// The cancel comes when the batch has ended and nobody has looked yet: the API refuses it, and the results are there.
#[test]
fn a_batch_that_ended_before_its_cancel_is_read() {
    for mode in ["cancel_ended_400", "cancel_ended_409"] {
        let mut config = claude(&[mode]);
        config.batch_ms = 10 * MINUTE as u64;
        let world = World::new(1, config);
        let app = world.app(&[
            ("BATCH_POLL_MS", "3600000"),
            ("BATCH_POLL_MAX_MS", "3600000"),
        ]);
        let body = json!({"stages": one_stage(1), "delivery": "batch", "reuse": false});
        let id = world.submit(&app, job(&texts(20), body)).job.id;
        world.run(&app, MINUTE, HOUR, || {
            number(
                &world,
                "SELECT COUNT(*) AS n FROM batches WHERE state = 'sent' OR remote IS NOT NULL",
            ) > 0
        });
        let later = world.now() + 20 * MINUTE;
        world.run(&app, MINUTE, HOUR, || world.now() >= later);
        let (app2, id2) = (app.clone(), id.clone());
        world
            .block_on(async move { commands::cancel(&app2, TENANT, &id2).await.map(|_| ()) })
            .unwrap();
        world.run(&app, MINUTE, 12 * HOUR, || {
            number(
                &world,
                "SELECT COUNT(*) AS n FROM batches WHERE state <> 'ended'",
            ) == 0
        });
        assert_eq!(
            number(
                &world,
                "SELECT COUNT(*) AS n FROM batches WHERE state <> 'ended'"
            ),
            0,
            "{mode}"
        );
        assert_eq!(
            number(&world, "SELECT in_flight AS n FROM jobs"),
            0,
            "{mode}"
        );
        let paid = number(&world, "SELECT spent_nano AS n FROM jobs") as f64 / 1e9;
        assert!(
            (paid - charged(&world)).abs() < 1e-9,
            "{mode}: {paid} {}",
            charged(&world)
        );
    }
}

#[test]
fn a_stage_without_one_valid_result_is_paused_with_its_fault() {
    let world = World::new(1, claude(&["prose"]));
    let app = world.app(&[]);
    let id = submit(&world, &app, 200, 1, json!({"concurrency": 4}));
    let view = settle(&world, &app, &id);
    assert_eq!(view.state, "paused", "{view:?}");
    let halt = view.halt.unwrap();
    assert_eq!(halt.reason, "answers");
    assert!(halt.detail.contains("JSON"), "{}", halt.detail);
    // Those that were under way may still end.
    assert!(
        (20..=30).contains(&view.usage.calls),
        "{}",
        view.usage.calls
    );
    // A caller who resumes it gives it as many again.
    let (app2, id2) = (app.clone(), id.clone());
    world
        .block_on(async move { commands::resume(&app2, TENANT, &id2).await.map(|_| ()) })
        .unwrap();
    let again = settle(&world, &app, &id);
    assert_eq!(again.state, "paused");
    assert!(
        (40..=60).contains(&again.usage.calls),
        "{}",
        again.usage.calls
    );
}

#[test]
fn what_every_answer_lacks_cannot_be_split_away() {
    let claude = claude(&[])
        .with(&json!({"rules": [{"match": {}, "fault": "schema_miss", "for_ms": 86_400_000}]}))
        .unwrap();
    let world = World::new(1, claude);
    let app = world.app(&[]);
    let id = submit(&world, &app, 40, 40, json!({"max_attempts": 5}));
    let view = settle(&world, &app, &id);
    // A call and a repair of the whole, of each half, and one more of each quarter.
    assert!(view.usage.calls <= 10, "{view:?}");
}

#[test]
fn a_refusal_that_has_nothing_to_do_with_the_input_pauses_the_stage() {
    let claude = claude(&[])
        .with(&json!({"rules": [{"match": {}, "fault": "retention_400", "for_ms": 86_400_000}]}))
        .unwrap();
    let world = World::new(1, claude);
    let app = world.app(&[]);
    let id = submit(&world, &app, 200, 10, json!({"concurrency": 4}));
    let view = settle(&world, &app, &id);
    assert_eq!(view.state, "paused", "{view:?}");
    let halt = view.halt.unwrap();
    assert_eq!(halt.reason, "answers");
    assert!(halt.detail.contains("retention"), "{}", halt.detail);
    assert!(view.usage.calls <= 25, "{}", view.usage.calls);
}

/// The endpoint begins to refuse when a part of the stage is done: to split its tasks costs calls and brings nothing.
#[test]
fn the_same_refusal_in_a_row_pauses_a_stage_that_has_results() {
    let world = World::new(1, claude(&[]));
    let app = world.app(&[]);
    let id = submit(&world, &app, 400, 10, json!({"concurrency": 2}));
    world.run(&app, MINUTE, HOUR, || {
        number(&world, "SELECT succeeded AS n FROM stages WHERE idx = 0") >= 4
    });
    let refusing = claude(&[])
        .with(&json!({"rules": [{"match": {}, "fault": "retention_400"}]}))
        .unwrap();
    world.claude().configure(refusing);
    let before = number(&world, "SELECT calls AS n FROM jobs");
    let view = settle(&world, &app, &id);
    assert_eq!(view.state, "paused", "{view:?}");
    let halt = view.halt.unwrap();
    assert_eq!(halt.reason, "answers");
    assert!(halt.detail.contains("retention"), "{}", halt.detail);
    let calls = i64::try_from(view.usage.calls).unwrap() - before;
    assert!(calls <= 40, "{calls}");
    // Set right, the job goes on where it was.
    world.claude().configure(claude(&[]));
    let resumed = app.clone();
    world
        .block_on(async move { commands::resume(&resumed, TENANT, &id).await.map(|_| id) })
        .map(|id| assert_eq!(settle(&world, &app, &id).state, "succeeded"))
        .unwrap();
}

/// One bad item among many: the others are not held up by it.
#[test]
fn a_refusal_of_one_item_pauses_nothing() {
    let claude = claude(&[])
        .with(&json!({"rules": [{"match": {"text": "(case 17)"}, "fault": "retention_400"}]}))
        .unwrap();
    let world = World::new(1, claude);
    let app = world.app(&[]);
    let id = submit(&world, &app, 40, 20, json!({}));
    let view = settle(&world, &app, &id);
    assert_eq!(view.state, "partial", "{view:?}");
    assert_eq!(view.progress.items.missing, 1, "{view:?}");
}

#[test]
fn streams_that_end_early_or_name_things_otherwise_are_read() {
    for mode in [
        "no_last_blank",
        "no_message_stop",
        "done_marker",
        "done_middle",
        "event_message",
        "unknown_events",
        "empty_blocks",
        "cache_grows",
        "nulls",
    ] {
        let world = World::new(1, claude(&[mode]));
        let app = world.app(&[]);
        let id = submit(&world, &app, 8, 4, json!({}));
        let view = settle(&world, &app, &id);
        assert_eq!(view.state, "succeeded", "{mode}: {view:?}");
        assert_eq!(view.usage.calls, 2, "{mode}");
        assert_eq!(view.cost.possibly_paid_usd, 0.0, "{mode}");
        assert!(
            (view.cost.spent_usd - charged(&world)).abs() < 1e-9,
            "{mode}: {view:?}"
        );
    }
}

#[test]
fn an_advice_not_to_retry_ends_no_task_that_was_turned_away_for_load() {
    let claude = claude(&[])
        .with(&json!({"rules": [{"match": {}, "fault": "no_retry", "times": 3}]}))
        .unwrap();
    let world = World::new(1, claude);
    let app = world.app(&[]);
    let id = submit(&world, &app, 4, 1, json!({}));
    let view = settle(&world, &app, &id);
    assert_eq!(view.state, "succeeded", "{view:?}");
}

#[test]
fn a_limit_of_nothing_is_unreadable() {
    let world = World::new(1, claude(&["zero_rate_limit"]));
    let app = world.app(&[]);
    let id = submit(&world, &app, 12, 1, json!({}));
    let view = settle(&world, &app, &id);
    assert_eq!(view.state, "succeeded", "{view:?}");
}

/// `retry-after: 99999999999` counts as an hour, and the job says what it waits for.
#[test]
fn a_job_that_gets_no_permit_says_so_and_until_when() {
    let claude = claude(&[])
        .with(&json!({"rules": [{"match": {}, "fault": "retry_huge", "times": 1}]}))
        .unwrap();
    let world = World::new(1, claude);
    let app = world.app(&[]);
    let id = submit(&world, &app, 1, 1, json!({}));
    let calls = "SELECT calls - in_flight AS n FROM jobs";
    world.run(&app, MINUTE, HOUR, || number(&world, calls) > 0);
    let waits = view(&world, &app, &id);
    assert_eq!(waits.state, "running");
    let halt = waits.halt.unwrap();
    assert_eq!(halt.reason, "rate_limit");
    let not_before = halt.not_before.unwrap();
    assert!(halt.detail.contains(&not_before), "{}", halt.detail);
    let (list, id2) = (app.clone(), id.clone());
    let tasks = world.block_on(async move {
        tasks(&list, TENANT, &id2, TasksLike::default(), None, 10)
            .await
            .unwrap()
    });
    assert_eq!(tasks.0[0].not_before.as_ref(), Some(&not_before));
    let over = settle(&world, &app, &id);
    assert_eq!(over.state, "succeeded");
    assert_eq!(over.halt, None);
}

/// All calls fail for a quarter of a minute: the class is probed, and no task loses an attempt by it.
#[test]
fn a_short_outage_costs_no_attempt_and_reserves_nothing() {
    for (fault, items, chunk) in [("outage", 1, 1), ("outage", 40, 1), ("reset", 12, 4)] {
        let rule = json!({"rules": [{"match": {}, "fault": fault, "for_ms": 15_000}]});
        let world = World::new(1, claude(&[]).with(&rule).unwrap());
        let app = world.app(&[]);
        let id = submit(
            &world,
            &app,
            items,
            chunk,
            json!({"max_attempts": 1, "max_cost_usd": 1.0}),
        );
        let began = world.now();
        let view = settle(&world, &app, &id);
        assert_eq!(view.state, "succeeded", "{fault} {items}: {view:?}");
        assert!(world.now() - began < 2 * MINUTE, "{fault} {items}");
        let paid = number(&world, "SELECT MAX(tries) AS n FROM tasks");
        assert_eq!(paid, 0, "{fault} {items}");
        // Probes go one at a time.
        let most = items as u64 * 2 + 20;
        assert!(view.usage.calls <= most, "{fault} {items}: {view:?}");
        if fault == "outage" {
            assert_eq!(view.cost.reserved_usd, 0.0, "{view:?}");
            continue;
        }
        // A connection that broke before any answer: released once the job is over and nobody can report its end.
        assert!(view.cost.possibly_paid_usd > 0.0, "{view:?}");
        let later = world.now() + 20 * MINUTE;
        world.run(&app, MINUTE, HOUR, || world.now() >= later);
        let view = self::view(&world, &app, &id);
        assert_eq!(view.cost.reserved_usd, 0.0, "{view:?}");
    }
}

/// One item that no server can answer is no outage: others are answered meanwhile.
#[test]
fn an_item_that_is_never_answered_is_given_up() {
    let rule = json!({"rules": [{"match": {"text": "(case 3)"}, "fault": "500"}]});
    for items in [1, 8] {
        let world = World::new(1, claude(&[]).with(&rule).unwrap());
        let app = world.app(&[]);
        let texts: Vec<String> = (0..items)
            .map(|n| format!("ticket (case {})", n + 3))
            .collect();
        let body = json!({"stages": one_stage(1), "reuse": false, "limits": {"max_attempts": 3}});
        let id = world.submit(&app, job(&texts, body)).job.id;
        let view = settle(&world, &app, &id);
        let (state, most) = if items == 1 {
            ("failed", 25)
        } else {
            ("partial", 25)
        };
        assert_eq!(view.state, state, "{view:?}");
        assert!(view.usage.calls <= most, "{view:?}");
        assert_eq!(view.cost.reserved_usd, 0.0);
    }
}

/// An answer that broke off was begun: only a person can say that it was not paid.
#[test]
fn what_is_possibly_paid_is_released_by_a_person() {
    let rule = json!({"rules": [{"match": {}, "fault": "reset_mid", "times": 2}]});
    let world = World::new(1, claude(&[]).with(&rule).unwrap());
    let app = world.app(&[]);
    let id = submit(&world, &app, 4, 1, json!({}));
    assert_eq!(settle(&world, &app, &id).state, "succeeded");
    let later = world.now() + HOUR;
    world.run(&app, MINUTE, 2 * HOUR, || world.now() >= later);
    assert!(view(&world, &app, &id).cost.possibly_paid_usd > 0.0);
    let (engine, job) = (app.clone(), id.clone());
    let other = world.block_on(async move {
        let other = commands::release(&engine, "another", &job).await;
        commands::release(&engine, TENANT, &job).await.unwrap();
        other
    });
    assert!(other.is_err());
    assert_eq!(view(&world, &app, &id).cost.reserved_usd, 0.0);
    let day = "SELECT MAX(reserved_nano) AS n FROM spending";
    assert_eq!(number(&world, day), 0);
}

/// Levels that were counted or announced wrongly would hold a class for ever.
#[test]
fn a_class_without_a_call_for_minutes_sends_a_probe() {
    let world = World::new(1, claude(&[]));
    let app = world.app(&[]);
    let first = submit(&world, &app, 3, 1, json!({}));
    assert_eq!(settle(&world, &app, &first).state, "succeeded");
    world.query(
        "UPDATE classes SET input_level = -1e12, requests_level = -1e12, output_level = -1e12 RETURNING 1",
    );
    let second = submit(&world, &app, 3, 1, json!({}));
    let began = world.now();
    let view = settle(&world, &app, &second);
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert!(world.now() - began < 20 * MINUTE, "{}", world.now() - began);
}

#[test]
fn results_as_texts_of_json_are_unwrapped() {
    for mode in ["stringified", "number_strings"] {
        let world = World::new(1, claude(&[mode]));
        let app = world.app(&[]);
        let mut plan = one_stage(5);
        plan[0]["output_schema"] = json!({"type": "object", "properties": {
            "score": {"type": "integer"}, "label": {"type": "string"}},
            "required": ["score", "label"], "additionalProperties": false});
        plan[0]["merge"] = Value::Null;
        let body = json!({"stages": plan, "reuse": false});
        let id = world.submit(&app, job(&texts(10), body)).job.id;
        let view = settle(&world, &app, &id);
        assert_eq!(view.state, "succeeded", "{mode}: {view:?}");
        assert_eq!(view.usage.calls, 2, "{mode}");
    }
}

#[test]
fn a_stage_without_a_schema_takes_plain_prose() {
    let world = World::new(1, claude(&["prose"]));
    let app = world.app(&[]);
    let body = json!({"stages": [{"name": "sum", "kind": "map", "instructions": "Sum up each ticket.",
        "chunk": {"items": 1}}], "reuse": false});
    let id = world.submit(&app, job(&texts(4), body)).job.id;
    let view = settle(&world, &app, &id);
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(view.usage.calls, 4);
}

fn left_out(world: &World, app: &App<World>) -> Vec<LeftOutView> {
    let app = app.clone();
    world.block_on(async move { limits::limits(&app).await.unwrap().left_out })
}

/// 60 calls and no result, before the schema was shown in words.
#[test]
fn a_format_that_is_ignored_is_noticed_and_left_out() {
    let world = World::new(1, claude(&["format_ignored"]));
    let app = world.app(&[]);
    let first = submit(&world, &app, 12, 1, json!({}));
    let view = settle(&world, &app, &first);
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(view.progress.items.covered, 12);
    // Twelve go at once; each repair shows the schema.
    assert!(view.usage.calls <= 24, "{view:?}");
    let learned = left_out(&world, &app);
    assert_eq!(learned.len(), 1, "{learned:?}");
    assert_eq!(learned[0].part, "format");
    assert_eq!(learned[0].model, "claude-haiku-5-5");
    assert_eq!(learned[0].endpoint, "https://api.anthropic.com");
    assert!(learned[0].reason.is_some());
    // Known from then on, for every job.
    let second = submit(&world, &app, 12, 1, json!({}));
    let view = settle(&world, &app, &second);
    assert_eq!(view.usage.calls, 12, "{view:?}");
    // The request is shown as it was sent.
    let sql = format!("SELECT lacks FROM attempts WHERE job = '{second}' GROUP BY lacks");
    assert_eq!(world.query(&sql)[0]["lacks"], "format");
    // Forgotten by an admin, it is asked for again.
    let reset = app.clone();
    world.block_on(async move { limits::forget_left_out(&reset).await.unwrap() });
    assert!(left_out(&world, &app).is_empty());
    let third = submit(&world, &app, 12, 1, json!({}));
    assert!(settle(&world, &app, &third).usage.calls > 12);
    // After a day one call tries again by itself.
    let later = world.now() + 25 * HOUR;
    world.run(&app, MINUTE, 26 * HOUR, || world.now() >= later);
    assert!(left_out(&world, &app).is_empty());
    let fourth = submit(&world, &app, 1, 1, json!({}));
    assert_eq!(settle(&world, &app, &fourth).usage.calls, 2);
    assert_eq!(left_out(&world, &app).len(), 1);
}

#[test]
fn a_part_that_is_refused_is_left_out_by_all_later_calls() {
    for (mode, part) in [
        ("format_refused", "format"),
        ("thinking_refused", "thinking"),
        ("effort_refused", "effort"),
        ("mark_refused", "cache"),
    ] {
        let world = World::new(1, claude(&[mode]));
        let app = world.app(&[]);
        let body = || json!({"stages": one_stage(1), "reuse": false, "context": "Known labels. ".repeat(900)});
        let first = world.submit(&app, job(&texts(12), body())).job.id;
        let view = settle(&world, &app, &first);
        assert_eq!(view.state, "succeeded", "{mode}: {view:?}");
        let learned = left_out(&world, &app);
        assert_eq!(learned.len(), 1, "{mode}: {learned:?}");
        assert_eq!(learned[0].part, part);
        assert!(
            learned[0]
                .reason
                .as_ref()
                .unwrap()
                .contains("not permitted")
        );
        let second = world.submit(&app, job(&texts(12), body())).job.id;
        let view = settle(&world, &app, &second);
        assert_eq!(view.state, "succeeded", "{mode}: {view:?}");
        assert_eq!(view.usage.calls, 12, "{mode}: {view:?}");
    }
}

/// The model that keeps the format gives bad answers now and then: that is no sign that it ignores it.
#[test]
fn a_model_that_keeps_the_format_is_not_doubted_for_a_few_bad_answers() {
    let claude = claude(&[])
        .with(&json!({"faults": "malformed=0.2"}))
        .unwrap();
    let world = World::new(1, claude);
    let app = world.app(&[]);
    let id = submit(&world, &app, 100, 1, json!({"concurrency": 5}));
    let view = settle(&world, &app, &id);
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert!(left_out(&world, &app).is_empty());
}

/// A model whose context is small, as those of local servers are.
#[test]
fn a_small_context_has_room_for_results_or_is_refused_before_the_job_runs() {
    let world = World::new(1, claude(&[]));
    let small = json!({"models": {"claude-haiku-5-5": {"context_tokens": 8_192, "max_output_tokens": 8_192}}});
    let app = world.app(&[("MODELS_JSON", &small.to_string())]);
    let with = |max_tokens: Value| {
        let mut plan = stages(4);
        plan[1] = json!({"name": "report", "kind": "synthesis", "instructions": "Report.",
            "model": "claude-haiku-5-5", "max_tokens": max_tokens});
        json!({"stages": plan, "reuse": false})
    };
    // 8,192 tokens of answer would leave nothing to read.
    let refused = job(&texts(12), with(json!(8_192)));
    let engine = app.clone();
    let fault = world
        .block_on(async move { submit_job(&engine, TENANT, refused).await.map(|_| ()) })
        .unwrap_err();
    let fault = format!("{fault:?}");
    assert!(fault.contains("stages[1].model"), "{fault}");
    assert!(fault.contains("no room for results"), "{fault}");
    // Without a figure of the caller's it takes a quarter of the context, and reads all results.
    let id = world
        .submit(&app, job(&texts(12), with(Value::Null)))
        .job
        .id;
    let view = settle(&world, &app, &id);
    assert_eq!(view.state, "succeeded", "{view:?}");
    let asked = world.query("SELECT max_tokens FROM tasks WHERE stage = 1");
    assert_eq!(asked[0]["max_tokens"], 2_048);
}

#[test]
fn the_key_goes_in_the_one_header_that_the_endpoint_reads() {
    for (mode, auth, works) in [
        ("bearer_only", "bearer", true),
        ("bearer_only", "x-api-key", false),
        ("key_only", "x-api-key", true),
        ("key_only", "Bearer", false),
        ("two_keys_400", "bearer", true),
        ("two_keys_400", "x-api-key", true),
    ] {
        let world = World::new(1, claude(&[mode]));
        let app = world.app(&[("CLAUDE_AUTH", auth)]);
        let id = submit(&world, &app, 3, 1, json!({}));
        let view = settle(&world, &app, &id);
        let state = if works { "succeeded" } else { "paused" };
        assert_eq!(view.state, state, "{mode} {auth}: {view:?}");
    }
}

/// A router serves hundreds of models: one row stands for those that have none of their own.
#[test]
fn a_job_may_name_any_model_where_one_row_stands_for_all() {
    let served = claude(&[])
        .with(&json!({"served_model": "claude-haiku-5-5"}))
        .unwrap();
    let world = World::new(1, served);
    let any = json!({"models": {"*": {"context_tokens": 100_000, "max_output_tokens": 8_000,
        "usd_per_mtok": {"input": 1, "output": 4}}}});
    let app = world.app(&[("MODELS_JSON", &any.to_string())]);
    let mut plan = one_stage(1);
    plan[0]["model"] = json!("claude-opus-4-8");
    let id = world
        .submit(
            &app,
            job(&texts(3), json!({"stages": plan, "reuse": false})),
        )
        .job
        .id;
    assert_eq!(settle(&world, &app, &id).state, "succeeded");
    // One that no row names is taken as it is written, with limits of its own.
    plan[0]["model"] = json!("vendor/new-model");
    let id = world
        .submit(
            &app,
            job(&texts(3), json!({"stages": plan, "reuse": false})),
        )
        .job
        .id;
    let class = format!("SELECT class FROM tasks WHERE job = '{id}'");
    world.run(&app, MINUTE, HOUR, || !world.query(&class).is_empty());
    assert_eq!(world.query(&class)[0]["class"], "vendor/new-model");
}

/// Some tokenizers normalise a text first: 600 bytes of one character are 3,000 tokens then. No call costs more than was
/// reserved for it, and the cap holds.
#[test]
fn what_normalisation_expands_is_reserved_for() {
    let world = World::new(1, claude(&["tokens_by_class"]));
    let app = world.app(&[]);
    let items = vec!["\u{fdfa}".repeat(2_000); 12];
    let mut plan = one_stage(1);
    plan[0]["max_tokens"] = json!(300);
    let body =
        json!({"stages": plan, "reuse": false, "limits": {"max_cost_usd": 0.04, "concurrency": 4}});
    let id = world.submit(&app, job(&items, body)).job.id;
    settle(&world, &app, &id);
    assert!(charged(&world) <= 0.04, "{}", charged(&world));
    let over =
        "SELECT COUNT(*) AS n FROM attempts WHERE state = 'done' AND cost_nano > reserved_nano";
    assert_eq!(number(&world, over), 0);
    assert!(
        number(
            &world,
            "SELECT COUNT(*) AS n FROM attempts WHERE cost_nano > 0"
        ) > 0
    );
}
