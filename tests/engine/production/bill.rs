//! What a run costs: rows written by [`super::meter`], and dollars by the price list of the platform.

use std::rc::Rc;

use fanwise::app::job::remove;
use serde::Serialize;

use super::cell::{Cell, Played};
use super::meter;
use crate::chaos::live;
use crate::world::{TENANT, World};

/// Dollars for a million (2026-11): rows that D1 writes and reads; operations of a queue (a message has three: written,
/// read, deleted); reads and writes of KV; requests and other invocations; lines of the log. CPU time is not counted:
/// natively it is not that of Wasm, and at $0.02 for a million milliseconds it is less than a cent for 10,000 tasks.
const ROWS_WRITTEN: f64 = 1.00;
const ROWS_READ: f64 = 0.001;
const QUEUE: f64 = 0.40;
const KV_READ: f64 = 0.50;
const KV_WRITE: f64 = 5.00;
const INVOCATION: f64 = 0.30;
const LOG_LINE: f64 = 0.60;
/// Steps of SQLite's machine for a row read: where both were counted, 10,000 tasks read 150 rows each in 39,000 steps.
const STEPS_PER_ROW: f64 = 260.0;
const HOUR_MS: i64 = 3_600_000;

/// What one cell costs.
#[derive(Debug, Clone, Serialize)]
pub struct Bill {
    pub rows_written_per_task: f64,
    /// By the removal of the jobs, which is not part of it.
    pub rows_removed_per_task: f64,
    pub usd_per_10000: f64,
    /// Where the rows go: by table and event, or index; those above 0.05 for a task.
    pub rows: Vec<(String, f64)>,
}

/// Plays a cell again with a meter, then removes its jobs.
pub fn of(cell: &Cell) -> Bill {
    let world = cell.world();
    meter::install(&world);
    let played = cell.play_in(world);
    let tasks = (cell.items * cell.jobs) as f64;
    let written = meter::rows(&played.site.world);
    let rows = meter::by_name(&played.site.world);
    let rows = rows.into_iter().map(|(name, n)| (name, n as f64 / tasks));
    let lines = played.site.world.log_lines().len();
    let counts = played.outcome.counts.clone();
    removed(&played);
    let removed = meter::rows(&played.site.world) - written;
    let steps = (counts.busy_us as f64 - counts.batches as f64 * 300.0) * 1_000.0 / 30.0;
    let million = |count: f64, price: f64| count * price / 1e6;
    let usd = million((written + removed) as f64, ROWS_WRITTEN)
        + million(steps / STEPS_PER_ROW, ROWS_READ)
        + million(counts.sent as f64 * 3.0, QUEUE)
        + million(counts.kv_reads as f64, KV_READ)
        + million(counts.kv_writes as f64, KV_WRITE)
        + million(counts.invocations as f64, INVOCATION)
        + million(lines as f64, LOG_LINE);
    Bill {
        rows_written_per_task: written as f64 / tasks,
        rows_removed_per_task: removed as f64 / tasks,
        usd_per_10000: usd / tasks * 10_000.0,
        rows: rows.filter(|(_, n)| *n >= 0.05).collect(),
    }
}

/// Every job is deleted, and the removals run to their ends.
fn removed(played: &Played) {
    let site = Rc::clone(&played.site);
    let world = site.world.clone();
    let jobs = world.query("SELECT id FROM jobs");
    let jobs: Vec<String> = jobs
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect();
    let delete = {
        let site = Rc::clone(&site);
        async move {
            for id in jobs {
                let (actor, app) = site.invoke("request");
                live(actor, async move {
                    let _ = remove::delete(&app, TENANT, &id).await;
                })
                .await;
            }
        }
    };
    let begun = world.now();
    let gone = |world: &World| {
        world.query("SELECT (SELECT COUNT(*) FROM tasks) + (SELECT COUNT(*) FROM jobs) AS n")[0]["n"]
            == 0
    };
    // A removal that fails under the model must not hide what the job itself wrote.
    let _ = site.run(HOUR_MS, delete, || {
        world.now() > begun && world.now() % 1_000 < 20 && gone(&world)
    });
}
