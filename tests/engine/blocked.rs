//! A 403 `Request not allowed` is said to the place that a call comes from, not to the account.

use fanwise::app::view::job as view_job;
use serde_json::json;

use crate::flows::{over, stages, texts};
use crate::world::{TENANT, World, job};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A world in which the first `times` calls are blocked, and a job of one attempt for each task.
fn begin(times: u32) -> (World, fanwise::app::App<World>, String) {
    let rules = json!({"rules": [{"match": {}, "fault": "not_allowed", "times": times}], "latency_ms": 200});
    let world = World::new(2, standin::Config::default().with(&rules).unwrap());
    let app = world.app(&[]);
    let mut plan = stages(1);
    plan.as_array_mut().unwrap().truncate(1);
    let body = json!({"stages": plan, "limits": {"concurrency": 2, "max_attempts": 1}});
    let id = world.submit(&app, job(&texts(4), body)).job.id;
    (world, app, id)
}

#[test]
fn a_blocked_call_costs_no_attempt() {
    let (world, app, id) = begin(5);
    world.run(&app, MINUTE, HOUR, || over(&world, &id));
    let tasks = world.query("SELECT COUNT(*) AS n FROM tasks WHERE state = 'succeeded'");
    assert_eq!(tasks[0]["n"], 4);
    let blocked =
        world.query("SELECT COUNT(*) AS n FROM attempts WHERE error_class = 'request_blocked'");
    assert_eq!(blocked[0]["n"], 5);
}

#[test]
fn a_job_whose_calls_stay_blocked_says_why() {
    let (world, app, id) = begin(100_000);
    let paused = "SELECT COUNT(*) AS n FROM jobs WHERE state = 'paused'";
    world.run(&app, MINUTE, 12 * HOUR, || world.query(paused)[0]["n"] == 1);
    let view = world.block_on({
        let (app, id) = (app.clone(), id.clone());
        async move { view_job::job(&app, TENANT, &id).await.unwrap() }
    });
    assert_eq!(view.state, "paused", "{view:?}");
    let halt = json!(view.halt);
    assert!(
        halt["detail"].as_str().unwrap().contains("--location"),
        "{halt}"
    );
    let failed = world.query("SELECT COUNT(*) AS n FROM tasks WHERE state = 'failed'");
    assert_eq!(failed[0]["n"], 0);
}
