//! The front door under load: two hundred reads a second while a job of 10,000 tasks is at work, and what it costs to stream 100,000
//! results.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use super::CRON;
use super::usage;
use super::world::{Parts, World, id_of, job};
use crate::client::{Client, is_terminal};
use crate::ui;

const TASKS: u32 = 10_000;
const READS_A_SECOND: u64 = 200;
const READERS: u64 = 16;
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
    ui::print(format!(
        "{reads} reads in {} ({:.0} a second) beside a job of {TASKS} tasks: {} errors; half within {} ms, 95 of 100 within {} ms",
        ui::took(elapsed),
        reads as f64 / elapsed.as_secs_f64(),
        errors.len(),
        at(50).as_millis(),
        at(95).as_millis(),
    ));
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

/// How much more memory workerd holds at its peak after all results went out.
fn stream(world: &World) -> Result<()> {
    let limits = Map::from_iter([("concurrency".to_owned(), json!(50))]);
    let id = id_of(&world.client.submit(&job("stream", RESULTS, 250, limits)?)?)?;
    let done = ended(&world.client, &id)?;
    let group = world
        .worker
        .group_id()
        .context("the Worker has no process")?;
    let peak = || usage::of_workerd(group).map(|usage| usage.peak_bytes as f64 / 1e6);
    let before = peak();
    for format in ["jsonl", "csv", "json"] {
        let began = Instant::now();
        let answer = world
            .client
            .get(&format!("/v1/jobs/{id}/results?format={format}"))?
            .ok()?;
        ui::print(format!(
            "results as {format}: {:.1} MB in {}, {} lines; the job {}",
            answer.body.len() as f64 / 1e6,
            ui::took(began.elapsed()),
            answer.body.lines().count(),
            done.get("state").and_then(Value::as_str).unwrap_or("?"),
        ));
    }
    if let (Some(before), Some(after)) = (before, peak()) {
        ui::print(format!(
            "peak memory of workerd: {before:.0} MB before, {after:.0} MB after"
        ));
    }
    Ok(())
}
