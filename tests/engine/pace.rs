//! How full the places are kept, and that nobody ever takes more of them than there are.

use serde_json::json;

use crate::flows::{over, stages, texts};
use crate::world::{World, job};

const LATENCY: u64 = 200;
const MINUTE: i64 = 60_000;

/// Plays a job; milliseconds from the first call for an item to the last one's end, and the most calls that Claude was at.
fn play(world: &World, vars: &[(&str, &str)], items: usize, concurrency: u32) -> (u64, u32) {
    let app = world.app(vars);
    let body = json!({"stages": stages(1), "limits": {"concurrency": concurrency}});
    let id = world.submit(&app, job(&texts(items), body)).job.id;
    world.run(&app, 10_000, 60 * MINUTE, || over(world, &id));
    let stats = world.claude().stats().json(0, false);
    let span = &stats["calls"]["spans"]["worker"];
    let took = span["ended_ms"].as_u64().unwrap() - span["first_ms"].as_u64().unwrap();
    (took, world.most_running()[&id])
}

fn world(db_ms: u64) -> World {
    let world = World::new(
        3,
        standin::Config {
            latency_ms: LATENCY,
            ..Default::default()
        },
    );
    world.chaos().rates.latency = db_ms;
    world
}

#[test]
fn short_calls_follow_each_other_without_waiting_for_the_database() {
    // Up to 40 ms for each transaction, and two stand between a call's end and the next one's beginning: without tasks claimed
    // ahead the whole job took 7.2 s.
    let vars = [("CONNECTIONS", "1000"), ("MAX_D1_QUERIES", "1000000")];
    let (took, most) = play(&world(40), &vars, 1_000, 50);
    let ideal = 1_000 / 50 * LATENCY;
    assert_eq!(most, 50);
    assert!(
        took * 100 <= ideal * 110,
        "{took} ms, where {ideal} would be ideal"
    );
}

#[test]
fn many_consumers_together_run_no_more_calls_than_the_job_allows() {
    for (slots, connections) in [("4", "1000"), ("12", "6"), ("50", "1000")] {
        let vars = [
            ("WORKER_SLOTS", slots),
            ("CONNECTIONS", connections),
            ("GATHER_MS", "30"),
        ];
        let world = world(80);
        world.chaos().rates.doubled = 1.0;
        let (_, most) = play(&world, &vars, 300, 20);
        assert!(most <= 20, "{most} calls with {slots} slots each");
    }
}

#[test]
fn long_calls_are_not_claimed_ahead() {
    let world = World::new(
        3,
        standin::Config {
            latency_ms: 20_000,
            ..Default::default()
        },
    );
    let app = world.app(&[("CONNECTIONS", "1000")]);
    let body = json!({"stages": stages(1), "limits": {"concurrency": 20}});
    let id = world.submit(&app, job(&texts(200), body)).job.id;
    let most = std::cell::Cell::new(0);
    world.run(&app, 10_000, 60 * MINUTE, || {
        let rows = world.query("SELECT in_flight FROM jobs");
        most.set(most.get().max(rows[0]["in_flight"].as_i64().unwrap()));
        over(&world, &id)
    });
    assert_eq!(most.get(), 20);
}

/// An isolate has 128 MB, and a call holds several times what it asks.
#[test]
fn large_requests_do_not_all_stand_in_memory_at_once() {
    let world = World::new(
        1,
        standin::Config {
            latency_ms: 5_000,
            ..Default::default()
        },
    );
    let app = world.app(&[]);
    let mut plan = stages(1);
    plan.as_array_mut().unwrap().truncate(1);
    let texts: Vec<String> = (0..60)
        .map(|n| format!("case {n}: {}", "reads well ".repeat(18_000)))
        .collect();
    let body = json!({"stages": plan, "limits": {"concurrency": 50}});
    let id = world.submit(&app, job(&texts, body)).job.id;
    world.run(&app, 10_000, 3_600_000, || over(&world, &id));
    let rows = world.query("SELECT SUM(covered) AS n FROM tasks");
    assert_eq!(rows[0]["n"], 60);
    let most = world.most_running()[&id];
    // 198 KB each, in 4 MB.
    assert!((15..=20).contains(&most), "{most}");
}
