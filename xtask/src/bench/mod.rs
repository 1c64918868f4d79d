//! `bench`: how fast and how heavy it is, on this machine.
//!
//! - [`world`]: what a measurement runs in
//! - [`cost`]: what a workload costs, in money
//! - [`door`]: reads under load, and results as a stream
//! - [`phases`]: where a job's time goes
//! - [`production`]: the engine under a model of production, natively
//! - [`plain`]: a plain client that sends the same calls, for comparison
//! - [`restate`]: Restate, for comparison
//! - [`usage`]: CPU and memory of workerd
//! - [`size`]: the Wasm, by crate
//! - [`tables`]: all of it for people
//!
//! Each number is the median of several rounds. A target that is missed is printed as such and is no
//! failure: timings belong to the machine and to what else it does.

pub mod cost;
pub mod door;
pub mod phases;
pub mod plain;
pub mod production;
pub mod restate;
pub mod size;
pub mod tables;
pub mod usage;
pub mod world;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use crate::client::{Client, is_terminal};
use crate::{build, root, setup, ui};
use phases::Phases;
use plain::Recorded;
use restate::Restate;
use tables::{median, speed, weights};
use usage::Usage;
use world::{Parts, World, id_of, job};

/// As in production.
const CRON: Duration = Duration::from_secs(60);
/// A job that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often the end of a job is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// Items of the job that is only handed in.
const LARGE: u32 = 10_000;
const LARGE_CHUNK: u32 = 25;
/// Requests after the first one, to tell a fresh isolate from a used one.
const LATER: usize = 5;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Items of the job, one per task (1,000)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub items: Option<u32>,
    /// Calls in flight at most (50)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub concurrency: Option<u32>,
    /// How long the stand-in takes for each answer
    #[arg(long, default_value_t = 200)]
    pub latency_ms: u64,
    /// How often everything is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Measure the Worker in build/ as it is, without compiling it
    #[arg(long)]
    pub as_built: bool,
    /// Leave Restate out, which npm brings for the comparison (a download of some 70 MB, once)
    #[arg(long)]
    pub without_restate: bool,
    /// Only what the Worker weighs
    #[arg(long)]
    pub size: bool,
    /// Only the front door: reads under load, and the memory that 100,000 results take
    #[arg(long)]
    pub door: bool,
    /// Only the money: what 10,000 items (or `--items` of them) cost by the price table in every way, natively
    #[arg(long, conflicts_with = "door")]
    pub cost: bool,
    #[command(flatten)]
    pub production: production::Args,
}

impl Args {
    /// Of the job whose speed is measured.
    fn items(&self) -> u32 {
        self.items.unwrap_or(1_000)
    }

    fn concurrency(&self) -> u32 {
        self.concurrency.unwrap_or(50)
    }
}

/// One round's numbers.
struct Round {
    /// From the submit to the time that the job itself gives for its end: asking for it all the while would cost the Worker
    /// some of the time that is measured.
    job: Duration,
    phases: Phases,
    plain: Duration,
    restate: Option<restate::Measured>,
    usage: Option<Usage>,
}

/// All that was measured.
struct Measured {
    rounds: Vec<Round>,
    accepted: Vec<Duration>,
    /// Of the first request and later ones, in milliseconds.
    first: Option<f64>,
    later: Option<f64>,
    /// Before the first job.
    idle: Option<Usage>,
    size: size::Size,
}

pub fn run(args: &Args) -> Result<()> {
    let weigh = || size::of(&root::dir().join("build"), &build::named());
    if args.size {
        if !args.as_built {
            build::worker(&setup::prepare()?)?;
        }
        ui::print(weights(&weigh()?));
        return Ok(());
    }
    if args.production.production {
        return production::run(&args.production, args.items, args.concurrency);
    }
    if args.cost {
        return cost::run(args.items.unwrap_or(LARGE));
    }
    let parts = Parts::prepare(args.as_built)?;
    if args.door {
        return door::run(&parts);
    }
    let size = weigh()?;
    let mut restate = match args.without_restate {
        true => None,
        false => Restate::prepare(parts.tools())
            .inspect_err(restate::left_out)
            .ok(),
    };
    let before = usage::load();
    // A consumer has room for all calls of the job, and a class starts with as many.
    let room = args.concurrency().max(50).to_string();
    let mut world = World::start(
        &parts,
        "bench",
        &["--latency-ms".to_owned(), args.latency_ms.to_string()],
        &[("WORKER_SLOTS", room.clone()), ("GOVERNOR_START", room)],
        CRON,
    )?;
    let (first, later) = start_up(&world)?;
    let idle = world.worker.group_id().and_then(usage::of_workerd);
    let mut measured = Measured {
        rounds: Vec::new(),
        accepted: Vec::new(),
        first,
        later,
        idle,
        size,
    };
    for number in 1..=args.rounds {
        let round = round(&mut world, args, &mut restate, number)?;
        let by_restate = round.restate.as_ref();
        ui::say(format!(
            "  round {number}: job {}, plain client {}{}",
            ui::took(round.job),
            ui::took(round.plain),
            by_restate.map_or(String::new(), |one| format!(
                ", Restate {}",
                ui::took(one.steps)
            )),
        ));
        measured.rounds.push(round);
    }
    // After all rounds, as they leave the database larger and workerd's heap too.
    for number in 1..=args.rounds {
        measured.accepted.push(accept(&world, args, number)?);
    }
    drop(world);
    ui::print(speed(args, &measured));
    ui::print(weights(&measured.size));
    if let (Some(before), Some(after)) = (before, usage::load()) {
        ui::print(format!(
            "Load averages (1, 5, 15 min): {before} before, {after} after."
        ));
    }
    Ok(())
}

/// The ideal: rounds of full width, then the synthesis.
fn ideal(items: u32, concurrency: u32, latency_ms: u64) -> Duration {
    let rounds = u64::from(items.div_ceil(concurrency.max(1)));
    Duration::from_millis((rounds + 1) * latency_ms)
}

/// What cannot be measured of Restate once is not tried again.
fn round(
    world: &mut World,
    args: &Args,
    restate: &mut Option<Restate>,
    number: u32,
) -> Result<Round> {
    world.worker.check()?;
    world.standin.reset()?;
    let limits = Map::from_iter([("concurrency".to_owned(), json!(args.concurrency()))]);
    let body = job(&format!("round-{number}"), args.items(), 1, limits)?;
    let group = world
        .worker
        .group_id()
        .context("the Worker has no process")?;
    let before = usage::of_workerd(group);
    let began_ms = phases::now_ms();
    let id = id_of(&world.client.submit(&body)?)?;
    let until = ideal(args.items(), args.concurrency(), args.latency_ms);
    let done = finished(&world.client, &id, until)?;
    let after = usage::of_workerd(group);
    let state = done.get("state").and_then(Value::as_str);
    if state != Some("succeeded") {
        bail!("the job ended as {}: {done}", state.unwrap_or("unknown"));
    }
    let phases = Phases::of(began_ms, &world.standin.stats()?, &done)?;
    let recorded = Recorded::of(&world.standin)?;
    let plain = plain::run(
        &world.standin,
        &recorded,
        args.items() as usize,
        args.concurrency() as usize,
    )?;
    let by_restate = restate
        .as_ref()
        .map(|restate| restate.run(&world.standin, &recorded, args.items(), args.concurrency()));
    let by_restate = match by_restate.transpose() {
        Ok(measured) => measured,
        Err(error) => {
            restate::left_out(&error);
            *restate = None;
            None
        }
    };
    Ok(Round {
        job: phases.whole(),
        phases,
        plain,
        restate: by_restate,
        usage: before.zip(after).map(|(before, after)| after.since(before)),
    })
}

/// Waits for the end of a job without asking while it cannot have come: each question costs the Worker some
/// of the time that is measured.
fn finished(client: &Client, id: &str, not_before: Duration) -> Result<Value> {
    std::thread::sleep(not_before);
    let until = Instant::now() + PATIENCE;
    loop {
        let job = client.job(id)?;
        if is_terminal(&job) {
            return Ok(job);
        }
        if Instant::now() > until {
            bail!(
                "job {id} is not at its end after {}: {job}",
                ui::took(PATIENCE)
            );
        }
        std::thread::sleep(LOOK);
    }
}

/// Hands a large job in: only the answer is measured. It ends before the next round begins.
fn accept(world: &World, args: &Args, number: u32) -> Result<Duration> {
    let limits = Map::from_iter([("concurrency".to_owned(), json!(args.concurrency()))]);
    let body = job(&format!("large-{number}"), LARGE, LARGE_CHUNK, limits)?;
    let began = Instant::now();
    let job = world.client.submit(&body)?;
    let time = began.elapsed();
    world.client.finished(&id_of(&job)?, PATIENCE)?;
    Ok(time)
}

/// Milliseconds of the first request of a fresh isolate and of later ones, as wrangler's log has them.
fn start_up(world: &World) -> Result<(Option<f64>, Option<f64>)> {
    for _ in 0..LATER {
        world.client.get("/healthz")?.ok()?;
    }
    let path = world.worker.log();
    let log = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read {}", path.display()))?;
    let mut times = times_of(&log, "GET /healthz 200 OK").into_iter();
    Ok((times.next(), median(times.collect())))
}

/// From lines such as `[wrangler:info] GET /healthz 200 OK (35ms)`.
fn times_of(log: &str, request: &str) -> Vec<f64> {
    let of_line = |line: &str| {
        let (_, rest) = line.split_once(request)?;
        let (_, rest) = rest.split_once('(')?;
        rest.split_once("ms)")?.0.parse().ok()
    };
    anstream::adapter::strip_str(log)
        .to_string()
        .lines()
        .filter_map(of_line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ideal_is_full_rounds_and_the_synthesis() {
        assert_eq!(ideal(1_000, 50, 200), Duration::from_millis(4_200));
        assert_eq!(ideal(51, 50, 200), Duration::from_millis(600));
    }

    #[test]
    fn times_are_read_from_wranglers_log() {
        let log = "[wrangler:info] GET /healthz 200 OK (35ms)\nGET /v1/jobs 200 OK (9ms)\n\u{1b}[32mGET /healthz 200 OK (2ms)\u{1b}[0m\n";
        assert_eq!(times_of(log, "GET /healthz 200 OK"), [35.0, 2.0]);
    }
}
