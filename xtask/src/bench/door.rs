//! The front door under load: two hundred reads a second while a job of 10,000 tasks is at work, and what it costs to stream 100,000
//! results.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use super::CRON;
use super::usage;
use super::world::{Parts, World, id_of, job};
use crate::client::{Client, is_terminal};
use crate::ui;

const TASKS: u32 = 10_000;
const READS_A_SECOND: u64 = 200;
/// So many that the pace is kept while an answer takes up to 120 ms. Many more would only take the job its turn where the machine is slower.
const READERS: u64 = 24;
/// Below this share of the pace it is said that the machine was too slow for it.
const PACE_KEPT: f64 = 0.95;
const RESULTS: u32 = 100_000;
const PATIENCE: Duration = Duration::from_secs(900);

/// What readers saw.
#[derive(Default)]
struct Seen {
    reads: AtomicU64,
    errors: Mutex<Vec<String>>,
    took: Mutex<Vec<Duration>>,
}

pub fn run(parts: &Parts) -> Result<()> {
    let latency = ["--latency-ms".to_owned(), "200".to_owned()];
    let mut world = World::start(parts, "door", &latency, &[], CRON)?;
    let limits = Map::from_iter([("concurrency".to_owned(), json!(50))]);
    let id = id_of(&world.client.submit(&job("load", TASKS, 1, limits)?)?)?;
    let seen = Seen::default();
    let over = AtomicBool::new(false);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..READERS {
            let (client, id, seen, over) = (world.client.clone(), &id, &seen, &over);
            scope.spawn(move || read_on(&client, id, number, seen, over));
        }
        let done = ended(&world.client, &id);
        over.store(true, Ordering::SeqCst);
        done
    })?;
    let elapsed = began.elapsed();
    let reads = seen.reads.into_inner();
    let errors = seen.errors.into_inner().unwrap_or_default();
    let mut took = seen.took.into_inner().unwrap_or_default();
    took.sort();
    let at = |share: usize| {
        took.get(took.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    let rate = reads as f64 / elapsed.as_secs_f64();
    ui::print(format!(
        "{reads} reads in {} ({rate:.0} a second) beside a job of {TASKS} tasks: {} errors; half within {} ms, 95 of 100 within {} ms",
        ui::took(elapsed),
        errors.len(),
        at(50).as_millis(),
        at(95).as_millis(),
    ));
    if rate < READS_A_SECOND as f64 * PACE_KEPT {
        ui::print(format!(
            "  fewer than the {READS_A_SECOND} a second that were to be: this machine, with what else it does, answers no more"
        ));
    }
    ui::print(format!("  {}", memory(&world)));
    for error in errors.iter().take(5) {
        ui::print(format!("  {error}"));
    }
    world.worker.check()?;
    stream(&world)?;
    if !errors.is_empty() {
        bail!("there were errors");
    }
    Ok(())
}

/// One reader's share, at its pace whatever the answers take.
fn read_on(client: &Client, id: &str, number: u64, seen: &Seen, over: &AtomicBool) {
    let paths = [
        format!("/v1/jobs/{id}"),
        "/v1/jobs?limit=20".to_owned(),
        format!("/v1/jobs/{id}/tasks?limit=20"),
        "/v1/limits".to_owned(),
        format!("/v1/jobs/{id}/tasks/0"),
        "/healthz".to_owned(),
    ];
    let pace = Duration::from_micros(1_000_000 * READERS / READS_A_SECOND);
    let mut next = Instant::now();
    for path in paths.iter().cycle().skip(number as usize) {
        if over.load(Ordering::SeqCst) {
            return;
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        next += pace;
        let began = Instant::now();
        let error = match client.get(path) {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(format!("{path}: {} {}", answer.status, answer.body)),
            Err(error) => Some(format!("{path}: {error:#}")),
        };
        seen.reads.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut took) = seen.took.lock() {
            took.push(began.elapsed());
        }
        if let (Some(error), Ok(mut errors)) = (error, seen.errors.lock()) {
            errors.push(error);
        }
    }
}

fn ended(client: &Client, id: &str) -> Result<Value> {
    let until = Instant::now() + PATIENCE;
    loop {
        let job = client.job(id)?;
        if is_terminal(&job) {
            return Ok(job);
        }
        if Instant::now() > until {
            bail!("the job is not over after {} s: {job}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What all results take to go out, in memory.
fn stream(world: &World) -> Result<()> {
    let limits = Map::from_iter([("concurrency".to_owned(), json!(50))]);
    let id = id_of(&world.client.submit(&job("stream", RESULTS, 250, limits)?)?)?;
    let done = ended(&world.client, &id)?;
    ui::print(format!(
        "a job of {RESULTS} items is {}\n  {}",
        done.get("state").and_then(Value::as_str).unwrap_or("?"),
        memory(world),
    ));
    for format in ["jsonl", "csv", "json"] {
        let began = Instant::now();
        let answer = world
            .client
            .get(&format!("/v1/jobs/{id}/results?format={format}"))?
            .ok()?;
        ui::print(format!(
            "its results as {format}: {:.1} MB in {}\n  {}",
            answer.body.len() as f64 / 1e6,
            ui::took(began.elapsed()),
            memory(world),
        ));
    }
    Ok(())
}

/// The Worker's own memory, which never shrinks, and the peak of all of workerd, which holds the database, the queues and
/// whatever JavaScript has not cleared away yet.
fn memory(world: &World) -> String {
    let megabytes = |bytes: Option<u64>| {
        bytes.map_or("n/a".into(), |bytes| {
            format!("{:.0} MB", bytes as f64 / 1e6)
        })
    };
    let group = world.worker.group_id();
    let peak = group.and_then(usage::of_workerd);
    format!(
        "memory at most until now: {} of the Worker's own, {} of all workerd",
        megabytes(world.memory()),
        megabytes(peak.map(|usage| usage.peak_bytes)),
    )
}
