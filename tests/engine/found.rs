//! What the simulation found once, told small.

use fanwise::app::dispatch;
use fanwise::app::dispatch::Settle;
use fanwise::app::job::commands;
use fanwise::app::read::report;
use fanwise::core::plan::spec::Limits;
use fanwise::ports::Clock as _;
use fanwise::store::task::settle::{ClosedAttempt, Lesson, Settlement};
use fanwise::store::task::{settle, tasks};
use serde_json::json;

use crate::flows::{over, stages, texts};
use crate::world::{START, TENANT, World, job};

/// Seed 48: the pump met a job that had just been paused, and its LIMIT was NULL.
#[test]
fn the_pump_finds_nothing_to_queue_in_a_job_that_is_not_at_work() {
    let world = World::new(1, standin::Config::default());
    let app = world.app(&[]);
    let id = world
        .submit(&app, job(&texts(3), json!({"stages": stages(1)})))
        .job
        .id;
    let answers = world.batch_now(vec![tasks::queue(&id, START)]).unwrap();
    assert!(answers[0].rows.is_empty());
}

/// Seed 118: every consumer that found nothing to do sent a successor; doubled deliveries made them grow without end.
#[test]
fn one_message_is_on_its_way_for_all_that_falls_due_later() {
    let world = World::new(1, standin::Config::default());
    let sent = |at: i64, now: i64| {
        let answers = world.batch_now(vec![tasks::alarm(at, now)]).unwrap();
        !answers[0].rows.is_empty()
    };
    assert!(sent(5_000, 0), "nothing was on its way");
    assert!(!sent(5_000, 10), "a doubled consumer sends no second");
    assert!(!sent(60_000, 20), "the one that comes looks further");
    assert!(sent(3_000, 30), "an earlier one is needed");
    assert!(sent(9_000, 3_000), "the last has come, or was lost");
}

/// Seed 20 and its like: an item without a result in both stages was missing twice; and a deadline in the
/// first of two stages was never carried out, for only the last stage was looked at.
#[test]
fn a_deadline_in_the_first_of_two_stages_ends_the_job_with_every_item_missing_once() {
    let world = World::new(
        1,
        standin::Config {
            latency_ms: 5_000,
            ..Default::default()
        },
    );
    let app = world.app(&[]);
    let mut plan = stages(2);
    let mut second = plan[0].clone();
    second["name"] = json!("again");
    plan.as_array_mut().unwrap().insert(1, second);
    let body = json!({"stages": plan, "limits": {"deadline_seconds": 8, "concurrency": 1}});
    let id = world.submit(&app, job(&texts(9), body)).job.id;
    world.run(&app, 1_000, 600_000, || over(&world, &id));
    let (reader, of) = (app.clone(), id.clone());
    let report = world.block_on(async move { report::report(&reader, TENANT, &of).await.unwrap() });
    let mut missing: Vec<_> = report.coverage.missing.iter().map(|m| &m.id).collect();
    missing.dedup();
    assert_eq!(missing.len(), 9);
    assert_eq!(report.coverage.covered, 0);
}

/// A retried job stands in `planning` for a moment on its way back to work. A consumer that came by then took its tasks.
#[test]
fn tasks_of_an_earlier_run_wait_until_the_job_runs_again() {
    let slow = standin::Config {
        latency_ms: 5_000,
        ..Default::default()
    };
    let world = World::new(1, slow);
    let app = world.app(&[]);
    let body = json!({"stages": stages(1), "limits": {"concurrency": 2}});
    let id = world.submit(&app, job(&texts(6), body)).job.id;
    world.run(&app, 60_000, 60_000, || world.now() > START + 2_000);
    let (caller, of) = (app.clone(), id.clone());
    world.block_on(async move {
        commands::cancel(&caller, TENANT, &of).await.unwrap();
        let limits = Limits::default();
        commands::retry(&caller, TENANT, &of, &limits)
            .await
            .unwrap();
    });
    world.execute("UPDATE jobs SET state = 'planning'");
    let calls = || world.query("SELECT COUNT(*) AS n FROM attempts")[0]["n"].clone();
    let before = calls();
    let consumer = app.clone();
    let wake = r#"{"v":1,"kind":"wake"}"#.to_owned();
    let settle = world.block_on(async move { dispatch::tasks(&consumer, vec![wake]).await });
    assert_eq!(settle, Settle::Ack);
    assert_eq!(calls(), before);
    world.run(&app, 1_000, 600_000, || over(&world, &id));
    assert!(calls().as_i64() > before.as_i64());
}

/// A question to the orchestrator that waited in line for a connection was given back, as if its job had been halted.
#[test]
fn a_question_to_the_orchestrator_waits_in_line_like_any_call() {
    let claude = json!({"latency_ms": 8_000, "first_byte": 0.9});
    let world = World::new(1, standin::Config::default().with(&claude).unwrap());
    let app = world.app(&[("CONNECTIONS", "1")]);
    let first = world.submit(&app, job(&texts(1), json!({"stages": stages(1)})));
    let second = world.submit(&app, job(&texts(1), json!({})));
    world.run(&app, 60_000, 3_600_000, || {
        over(&world, &first.job.id) && over(&world, &second.job.id)
    });
    let unsent = "SELECT job, role, error FROM attempts WHERE error_class = 'not_sent'";
    assert_eq!(world.query(unsent), []);
}

/// Planned seed 89: the first head of a class came together with the ends of its calls. It knew nothing of their output yet,
/// and nothing else was counted, so the next call was refused.
#[test]
fn the_first_head_of_a_class_is_read_less_the_output_that_came_after_it() {
    let world = World::new(1, standin::Config::default());
    world.execute(
        "INSERT INTO classes (class) VALUES ('c');
         INSERT INTO attempts (id, job, idx, n, tenant, stage, lease, form, role, model, class, ids, day, bytes,
           reserved_nano, reserved_input, reserved_output, started_at)
         SELECT value, 'j', value, 1, 't', 0, 'l', 'fresh', 'worker', 'm', 'c', '[]', '2026-11-22', 1, 1, 1, 3000, 0
         FROM json_each('[1, 2, 3]');",
    );
    let closed = |id, state, output_tokens| ClosedAttempt {
        id,
        state,
        output_tokens,
        finished_at: 20,
        ..ClosedAttempt::default()
    };
    // The third was cut off: what it had written is not known.
    let attempts = vec![
        closed(1, "done", 400),
        closed(2, "done", 300),
        closed(3, "unknown", 0),
    ];
    let settlement = Settlement {
        attempts,
        ..Settlement::default()
    };
    let lesson = Lesson {
        class: "c".into(),
        headers_at: 10,
        output: Some((8_000.0, 1_000.0)),
        ended_since: vec![1, 2, 3],
        ..Lesson::default()
    };
    let level =
        || world.query("SELECT output_level AS n FROM classes WHERE class = 'c'")[0]["n"].as_f64();
    let mut statements = settle::settle(&settlement, "l", 10, 10);
    statements.extend(settle::learn(&lesson, 10));
    world.batch_now(statements).unwrap();
    assert_eq!(level(), Some(1_000.0 - 700.0 - 3_000.0));
    // Later heads are held against our own count.
    world
        .batch_now(settle::learn(&lesson, 10).into_iter().collect())
        .unwrap();
    assert_eq!(level(), Some(1_000.0 - 700.0 - 3_000.0));
}

/// Batched seed 573: a consumer that was given up said late that it had never sent its call, and the call stayed counted.
#[test]
fn a_call_that_was_never_sent_is_none_however_late_that_is_said() {
    let world = World::new(1, standin::Config::default());
    let app = world.app(&[]);
    let id = world
        .submit(&app, job(&texts(1), json!({"stages": stages(1)})))
        .job
        .id;
    let calls = || {
        let row = &world.query("SELECT calls, in_flight, unknown_nano FROM jobs")[0];
        ["calls", "in_flight", "unknown_nano"].map(|name| row[name].as_i64().unwrap())
    };
    world.execute(&format!(
        "INSERT INTO classes (class) VALUES ('c');
         INSERT INTO attempts (id, job, idx, n, tenant, stage, lease, form, role, model, class, ids, day, bytes,
           reserved_nano, reserved_input, reserved_output, started_at)
         VALUES (1, '{id}', 0, 1, 't', 0, 'l', 'fresh', 'worker', 'm', 'c', '[]', '2026-11-22', 1, 7, 1, 1, 0);"
    ));
    assert_eq!(calls(), [1, 1, 0]);
    let close = |state, error_class: &str| {
        let attempts = vec![ClosedAttempt {
            id: 1,
            state,
            error_class: Some(error_class.to_owned()),
            finished_at: 20,
            ..ClosedAttempt::default()
        }];
        let settlement = Settlement {
            attempts,
            ..Settlement::default()
        };
        world
            .batch_now(settle::settle(&settlement, "l", 10, 10))
            .unwrap();
    };
    close("unknown", "crashed");
    assert_eq!(calls(), [1, 0, 7]);
    // Said twice, it is counted once.
    close("done", "not_sent");
    close("done", "not_sent");
    assert_eq!(calls(), [0, 0, 0]);
}

/// Batched seed 1354: the half of a task whose schema was refused was known to the ledger by a request that it never makes, so the
/// same half of an identical job was paid for again.
#[test]
fn halves_of_a_task_without_its_schema_are_paid_for_once() {
    let world = World::new(1, standin::Config::default());
    let app = world.app(&[]);
    let body = json!({"stages": stages(4)});
    let mut paid = Vec::new();
    // The first answer and its repair are useless each time, so both jobs split their task.
    for _ in 0..2 {
        let rules = json!({"rules": [
            {"match": {"role": "worker"}, "fault": "schema_refused", "times": 1},
            {"match": {"role": "worker"}, "fault": "malformed", "times": 1},
            {"match": {"role": "repair"}, "fault": "malformed", "times": 1},
        ]});
        let config = world.claude().config().with(&rules).unwrap();
        world.claude().configure(config);
        let id = world.submit(&app, job(&texts(4), body.clone())).job.id;
        world.run(&app, 1_000, 600_000, || over(&world, &id));
        let of_job = format!(
            "SELECT form, error_class FROM attempts WHERE job = '{id}' AND role <> 'synthesis' ORDER BY id"
        );
        paid.push(world.query(&of_job));
    }
    let forms: Vec<_> = paid[0].iter().map(|row| row["form"].as_str()).collect();
    let plain = Some("fresh+plain");
    assert_eq!(
        forms,
        [Some("fresh"), plain, Some("repair+plain"), plain, plain]
    );
    // Of the second job only what had failed in the first one is asked again.
    assert_eq!(paid[1].len(), 3, "{:?}", paid[1]);
}

/// Calls that the limiter refuses of six, each of some 4,300 tokens of input, after faults that drained the bucket. It holds a third
/// of what a minute brings.
fn refused_after(itpm: u64, faults: &serde_json::Value) -> u64 {
    let limits = json!({"rpm": 10_000, "itpm": itpm, "otpm": 1_000_000, "burst": 1.0 / 3.0});
    let config = json!({"limits": limits, "latency_ms": 200, "rules": faults});
    let world = World::new(1, standin::Config::default().with(&config).unwrap());
    let app = world.app(&[("BACKOFF_MS", "10"), ("BACKOFF_MAX_MS", "20")]);
    let mut plan = stages(1);
    plan.as_array_mut().unwrap().truncate(1);
    let material = "Billing: money. Login: access. Bug: it does not work.\n".repeat(190);
    let body = json!({"stages": plan, "context": material, "limits": {"concurrency": 1, "max_attempts": 20}});
    let id = world.submit(&app, job(&texts(6), body)).job.id;
    world.run(&app, 60_000, 3_600_000, || over(&world, &id));

    let covered = world.query("SELECT SUM(covered) AS n FROM tasks");
    assert_eq!(covered[0]["n"], 6);
    let refused = world.query("SELECT COUNT(*) AS n FROM attempts WHERE status = 429");
    refused[0]["n"].as_u64().unwrap()
}

/// Tiered seed 496: the first header of a class came with a refusal, after calls that brought none had drained the bucket.
/// What was left then was taken for all that it holds, and the next call went as soon as that much was there again.
#[test]
fn a_bucket_that_refused_a_call_holds_more_than_was_left_in_it() {
    let lost = json!([{"match": {"role": "worker"}, "fault": "reset", "times": 2}]);
    // Only the first is refused, of which nothing could be known.
    assert_eq!(refused_after(30_000, &lost), 1);
}

/// Crowded seed 1219: the same where the first header came with a fault of the server's.
#[test]
fn a_bucket_that_a_failed_call_had_drained_holds_more_than_was_left_in_it() {
    let failed = json!([
        {"match": {"role": "worker"}, "fault": "reset", "times": 2},
        {"match": {"role": "worker"}, "fault": "500", "times": 1},
    ]);
    assert_eq!(refused_after(45_000, &failed), 0);
}

/// How many calls of a job and a role were made.
fn calls(world: &World, role: &str) -> u64 {
    let sql = format!("SELECT COUNT(*) AS n FROM attempts WHERE role = '{role}'");
    world.query(&sql)[0]["n"].as_u64().unwrap()
}

/// Four items in one call each of two jobs, of which the first answers lack one.
fn two_repairs(repairs: &serde_json::Value, seed: u64) -> (World, serde_json::Value) {
    let mut rules = vec![json!({"match": {"role": "worker"}, "fault": "missing_id", "times": 2})];
    rules.extend(repairs.as_array().unwrap().iter().cloned());
    let config = json!({"latency_ms": 5_000, "rules": rules, "seed": seed});
    let world = World::new(seed, standin::Config::default().with(&config).unwrap());
    let mut plan = stages(4);
    plan.as_array_mut().unwrap().truncate(1);
    (world, json!({"stages": plan}))
}

/// Crowded seed 9: a repair's answer that lacked what its task had already was kept for nobody, though it made the task whole.
#[test]
fn a_repair_that_makes_a_task_whole_is_paid_for_once() {
    // Both workers must leave out the same item, and the repair another: some seed has that.
    assert!((1..60).any(repaired_by_an_answer_that_lacks_another));
}

fn repaired_by_an_answer_that_lacks_another(seed: u64) -> bool {
    let lacks = json!([{"match": {"role": "repair"}, "fault": "missing_id", "times": 1}]);
    let (world, body) = two_repairs(&lacks, seed);
    let app = world.app(&[]);
    let ids = [0, 1].map(|_| world.submit(&app, job(&texts(4), body.clone())).job.id);
    let (halting, second) = (app.clone(), ids[1].clone());
    let (watched, first) = (world.clone(), ids[0].clone());
    let halt = async move {
        while calls(&watched, "worker") < 2 {
            watched.sleep(100).await;
        }
        commands::pause(&halting, TENANT, &second).await.unwrap();
        while !over(&watched, &first) {
            watched.sleep(100).await;
        }
        commands::resume(&halting, TENANT, &second).await.unwrap();
    };
    let done = || ids.iter().all(|id| over(&world, id));
    world.run_beside(&app, 1_000, 600_000, done, halt);
    let first = |role: &str| {
        world.query(&format!(
            "SELECT error FROM attempts WHERE role = '{role}' AND n <= 2 ORDER BY id"
        ))
    };
    let (workers, repairs) = (first("worker"), first("repair"));
    if workers[0] != workers[1] || !repairs[0]["error"].is_null() {
        return false;
    }
    assert_eq!([calls(&world, "worker"), calls(&world, "repair")], [2, 1]);
    let covered = world.query("SELECT SUM(covered) AS n FROM tasks");
    assert_eq!(covered[0]["n"], 8);
    true
}

/// The same seed: a task that lost its lease while it was repaired found its paid result under the request that had been made, but
/// would have made another one by then, and paid for that.
#[test]
fn a_repair_whose_lease_ran_out_is_paid_for_once() {
    let (world, body) = two_repairs(&json!([]), 1);
    let app = world.app(&[]);
    let id = world.submit(&app, job(&texts(4), body)).job.id;
    let watched = world.clone();
    let expire = async move {
        while calls(&watched, "repair") < 1 {
            watched.sleep(100).await;
        }
        // Nobody comes for it before the answer is there.
        let later = watched.now() + 10_000;
        watched.execute(&format!(
            "UPDATE tasks SET state = 'pending', lease = NULL, not_before = {later} WHERE state = 'running'"
        ));
    };
    world.run_beside(&app, 1_000, 600_000, || over(&world, &id), expire);
    let free = world.query("SELECT saved_nano > 0 AS saved FROM jobs");
    assert_eq!(free[0]["saved"], 1, "the lease was to run out");
    assert_eq!([calls(&world, "worker"), calls(&world, "repair")], [1, 1]);
    let covered = world.query("SELECT SUM(covered) AS n FROM tasks");
    assert_eq!(covered[0]["n"], 4);
}
