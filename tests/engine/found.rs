//! What the simulation found once, told small.

use fanwise::app::report;
use fanwise::store::tasks;
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
