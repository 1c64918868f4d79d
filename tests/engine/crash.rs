//! A consumer dies, and somebody else goes on within a minute, in the worst case: cron comes once a minute, and what the dead
//! one was at is not delivered again.

use std::cell::Cell;

use serde_json::json;

use crate::flows::{over, stages, texts};
use crate::world::{START, World, job};

const MINUTE: i64 = 60_000;

/// When the first task that a dead consumer held was called for again, in milliseconds after its death.
fn noticed_after(death: i64, vars: &[(&str, &str)]) -> i64 {
    let claude = standin::Config {
        latency_ms: 45_000,
        jitter: 0.5,
        ..Default::default()
    };
    let world = World::new(death as u64, claude);
    let app = world.app(vars);
    let body = json!({"stages": stages(1), "limits": {"concurrency": 4}});
    let id = world.submit(&app, job(&texts(12), body)).job.id;
    let died = Cell::new(None);
    let again = Cell::new(None);
    world.run(&app, MINUTE, 3_600_000, || {
        if died.get().is_none() && world.now() >= START + death {
            world.kill_consumers();
            died.set(Some(world.now()));
        }
        let second = world.query("SELECT MIN(started_at) AS at FROM attempts WHERE n = 2");
        again.set(second[0]["at"].as_i64());
        over(&world, &id)
    });
    let states = world.query("SELECT state FROM jobs");
    assert_eq!(states[0]["state"], "succeeded");
    again.get().expect("nobody went on") - died.get().unwrap()
}

#[test]
fn a_consumer_that_dies_is_noticed_within_a_minute() {
    for death in (1_000..100_000).step_by(3_300) {
        let after = noticed_after(death, &[]);
        assert!(
            after <= MINUTE,
            "dead at {death} ms, noticed {after} ms later"
        );
    }
}

/// Cron alone is too slow for that, or the test above would prove nothing.
#[test]
fn cron_alone_would_take_longer() {
    let slow = (1_000..100_000)
        .step_by(3_300)
        .filter(|death| noticed_after(*death, &[("WATCH_MS", "600000")]) > MINUTE);
    assert!(slow.count() > 0);
}
