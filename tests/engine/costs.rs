//! What a task costs in the database: rows written and steps of reading, by the native meter.

use serde_json::json;

use crate::flows::{over, stages, texts};
use crate::production::cell::Cell;
use crate::production::meter;
use crate::world::{World, job};

const MINUTE: i64 = 60_000;
/// Rows that one task may write, from its expansion to its result: of long calls as they go out in production, and of calls
/// of 200 ms by a single consumer, whose settles have one or two of them.
const OF_A_LONG_CALL: u64 = 15;
const OF_A_SHORT_CALL: u64 = 17;
/// Rows of a job itself: those of its submit, its states and its consumers, and four for each of the first 50 tasks, which
/// the pump marks as queued.
const OF_A_JOB: u64 = 400;

/// The most for a job of so many tasks.
fn most(items: usize, of_a_task: u64) -> u64 {
    OF_A_JOB + of_a_task * items as u64
}

/// Rows that a job of one map stage writes, by one consumer at a time.
fn rows(items: usize) -> u64 {
    let claude = standin::Config {
        latency_ms: 200,
        ..standin::Config::default()
    };
    let world = World::new(3, claude);
    meter::install(&world);
    let app = world.app(&[]);
    let mut plan = stages(1);
    plan.as_array_mut().unwrap().truncate(1);
    let body = json!({"stages": plan, "limits": {"concurrency": 50}});
    let id = world.submit(&app, job(&texts(items), body)).job.id;
    world.run(&app, MINUTE, 600 * MINUTE, || over(&world, &id));
    let rows = meter::rows(&world);
    let each = rows as f64 / items as f64;
    println!(
        "{items} tasks: {each:.1} rows for each: {:?}",
        meter::by_name(&world)
    );
    rows
}

#[test]
fn a_task_writes_few_rows_however_many_there_are() {
    for items in [100, 10_000] {
        let rows = rows(items);
        assert!(
            rows <= most(items, OF_A_SHORT_CALL),
            "{rows} rows of {items} tasks"
        );
    }
}

/// Long calls end one by one, so a settle has few of them.
#[test]
fn a_task_of_a_long_call_writes_few_rows_under_the_model_of_production() {
    let cell = Cell {
        items: 300,
        ..Cell::default()
    };
    let world = cell.world();
    meter::install(&world);
    let played = cell.play_in(world);
    assert!(played.outcome.finished, "{:#?}", played.outcome);
    let world = &played.site.world;
    let rows = meter::rows(world);
    let names = meter::by_name(world);
    println!("{rows} rows: {names:?}");
    assert!(
        rows <= most(cell.items, OF_A_LONG_CALL),
        "{rows} rows: {names:?}"
    );
    assert!(
        played.outcome.d1_ms_per_task <= 0.8,
        "{:#?}",
        played.outcome
    );
}
