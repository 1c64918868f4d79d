//! The front door under load: two hundred reads a second while a job of 10,000 tasks is at work, and what it costs to stream 100,000
//! results.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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
/// Who sends them: so many that a read goes out when it is due even while answers take half a second. Those that wait cost nothing.
const READERS: u64 = 128;
/// A read that goes out later than this after it was due was held up by the readers themselves.
const LATE: Duration = Duration::from_millis(20);
/// Tasks of the job that is read while nothing is at work; how often each address is asked, and by how many at a time.
const FEW: u32 = 20;
const READS_ALONE: u64 = 800;
const READERS_ALONE: u64 = 8;
const RESULTS: u32 = 100_000;
const PATIENCE: Duration = Duration::from_secs(900);

/// One read: which address, and when it was due, sent and answered, from the beginning.
struct Read {
    path: usize,
    due: Duration,
    sent: Duration,
    answered: Duration,
}

/// What readers saw.
#[derive(Default)]
struct Seen {
    next: AtomicU64,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    reads: Mutex<Vec<Read>>,
    errors: Mutex<Vec<String>>,
}

pub fn run(parts: &Parts) -> Result<()> {
    let latency = ["--latency-ms".to_owned(), "200".to_owned()];
    let mut world = World::start(parts, "door", &latency, &[], CRON)?;
    let limits = Map::from_iter([("concurrency".to_owned(), json!(50))]);
    let few = id_of(&world.client.submit(&job("few", FEW, 1, limits.clone())?)?)?;
    ended(&world.client, &few)?;
    alone(&world, &paths(&few))?;
    let id = id_of(&world.client.submit(&job("load", TASKS, 1, limits)?)?)?;
    let paths = paths(&id);
    let seen = Seen::default();
    let over = AtomicBool::new(false);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            // Each on connections of its own, as callers are.
            let client = Client::new(world.client.base(), world.client.token());
            let (paths, seen, over) = (&paths, &seen, &over);
            scope.spawn(move || read_on(&client, paths, began, seen, over));
        }
        let done = ended(&world.client, &id);
        over.store(true, Ordering::SeqCst);
        done
    })?;
    let elapsed = began.elapsed();
    let errors = tell(&paths, seen, elapsed);
    ui::print(format!("  {}", memory(&world)));
    world.worker.check()?;
    stream(&world)?;
    if errors > 0 {
        bail!("there were errors");
    }
    Ok(())
}

/// What is read, a sixth of the time each.
fn paths(id: &str) -> [String; 6] {
    [
        format!("/v1/jobs/{id}"),
        "/v1/jobs?limit=20".to_owned(),
        format!("/v1/jobs/{id}/tasks?limit=20"),
        "/v1/limits".to_owned(),
        format!("/v1/jobs/{id}/tasks/0"),
        "/healthz".to_owned(),
    ]
}

/// What a read takes while nothing else is at work: CPU, which does not depend on what else this machine does, and time.
fn alone(world: &World, paths: &[String]) -> Result<()> {
    let group = world.worker.group_id();
    ui::print(
        "one read, with nothing else at work, in CPU of workerd (wrangler's own before the Worker and the database included):",
    );
    for path in paths {
        let before = group.and_then(usage::of_workerd);
        let began = Instant::now();
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..READERS_ALONE)
                .map(|_| {
                    let client = Client::new(world.client.base(), world.client.token());
                    scope.spawn(move || -> Result<()> {
                        for _ in 0..READS_ALONE / READERS_ALONE {
                            client.get(path)?.ok()?;
                        }
                        Ok(())
                    })
                })
                .collect();
            for reader in readers {
                match reader.join() {
                    Ok(outcome) => outcome?,
                    Err(_) => bail!("a reader stopped unexpectedly"),
                }
            }
            Ok(())
        })?;
        let took = began.elapsed();
        let after = group.and_then(usage::of_workerd);
        let cpu = after.zip(before).map_or("n/a".into(), |(after, before)| {
            let cpu = after.since(before).cpu.as_secs_f64() * 1e3;
            format!("{:.2} ms", cpu / READS_ALONE as f64)
        });
        ui::print(format!(
            "  {}: {cpu}; {:.0} a second",
            route(path),
            READS_ALONE as f64 / took.as_secs_f64()
        ));
    }
    Ok(())
}

/// An address with `ID` for a job's.
fn route(path: &str) -> String {
    let (route, _) = path.split_once('?').unwrap_or((path, ""));
    match route.split_once("job_") {
        Some((before, after)) => format!("{before}ID{}", after.get(32..).unwrap_or_default()),
        None => route.to_owned(),
    }
}

/// Says what came of the reads, and whether it was the readers or the Worker that there were not more. How many errors.
fn tell(paths: &[String], seen: Seen, elapsed: Duration) -> usize {
    let reads = seen.reads.into_inner().unwrap_or_default();
    let errors = seen.errors.into_inner().unwrap_or_default();
    let from_due: Vec<Duration> = reads.iter().map(|read| read.answered - read.due).collect();
    let seconds = elapsed.as_secs_f64();
    ui::print(format!(
        "{READS_A_SECOND} reads a second were offered for {} beside a job of {TASKS} tasks: {} answered, {:.0} a second, {} errors; \
         counted from when each was due, half within {} ms, 95 of 100 within {} ms",
        ui::took(elapsed),
        reads.len(),
        reads.len() as f64 / seconds,
        errors.len(),
        share(&from_due, 50).as_millis(),
        share(&from_due, 95).as_millis(),
    ));
    let late = reads.iter().filter(|read| read.sent - read.due > LATE);
    let (late, most) = (late.count(), seen.most_at_once.into_inner());
    ui::print(format!(
        "  {late} went out more than {} ms late; at most {most} were under way, of {READERS} that there could be: {}",
        LATE.as_millis(),
        if late * 100 < reads.len() {
            "the pace was kept by the readers"
        } else if most as u64 >= READERS {
            "the pace was lost, for answers took longer than all readers could wait for"
        } else {
            "the pace was lost by the readers, for this machine did not give them their turn"
        },
    ));
    for (number, path) in paths.iter().enumerate() {
        let of = reads.iter().filter(|read| read.path == number);
        let took: Vec<Duration> = of.map(|read| read.answered - read.sent).collect();
        ui::print(format!(
            "  {}: half within {} ms, 95 of 100 within {} ms",
            route(path),
            share(&took, 50).as_millis(),
            share(&took, 95).as_millis(),
        ));
    }
    for error in errors.iter().take(5) {
        ui::print(format!("  {error}"));
    }
    errors.len()
}

/// So many of a hundred took no longer.
fn share(took: &[Duration], share: usize) -> Duration {
    let mut took = took.to_vec();
    took.sort_unstable();
    took.get(took.len() * share / 100)
        .copied()
        .unwrap_or_default()
}

/// Sends the read that is due next, and the next, whatever the answers take.
fn read_on(client: &Client, paths: &[String], began: Instant, seen: &Seen, over: &AtomicBool) {
    loop {
        let number = seen.next.fetch_add(1, Ordering::SeqCst);
        let due = Duration::from_micros(1_000_000 * number / READS_A_SECOND);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        if over.load(Ordering::SeqCst) {
            return;
        }
        let path = (number % paths.len() as u64) as usize;
        let Some(address) = paths.get(path) else {
            return;
        };
        let at_once = seen.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        let sent = began.elapsed();
        let error = match client.get(address) {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(format!("{address}: {} {}", answer.status, answer.body)),
            Err(error) => Some(format!("{address}: {error:#}")),
        };
        let answered = began.elapsed();
        seen.at_once.fetch_sub(1, Ordering::SeqCst);
        if let Ok(mut reads) = seen.reads.lock() {
            reads.push(Read {
                path,
                due,
                sent,
                answered,
            });
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
    let body = job("stream", RESULTS, 250, limits)?;
    let bytes = body.to_string().len();
    let id = id_of(&world.client.submit(&body)?)?;
    ui::print(format!(
        "a job of {RESULTS} items, {:.1} MB, is taken in\n  {}",
        bytes as f64 / 1e6,
        memory(world),
    ));
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
