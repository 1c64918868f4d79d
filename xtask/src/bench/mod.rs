//! `bench`: how fast and how heavy it is, on this machine.
//!
//! - [`world`]: what a measurement runs in
//! - [`cost`]: what a workload costs, in money
//! - [`door`]: reads under load, and results as a stream
//! - [`phases`]: where a job's time goes
//! - [`plain`]: a plain client that sends the same calls, for comparison
//! - [`usage`]: CPU and memory of workerd
//! - [`size`]: the Wasm, by crate
//!
//! Each number is the median of several rounds. A target that is missed is printed as such and is no
//! failure: timings belong to the machine and to what else it does. Restate and Cloudflare Workflows are not
//! part of it; neither can be had from a package registry alone.

pub mod cost;
pub mod door;
pub mod phases;
pub mod plain;
pub mod size;
pub mod usage;
pub mod world;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde_json::{Map, Value, json};

use crate::client::{Client, is_terminal};
use crate::{build, root, setup, ui};
use phases::Phases;
use plain::Recorded;
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
/// Crates shown one by one.
const CRATES: usize = 15;

const TARGET_RATIO: f64 = 1.2;
const TARGET_ACCEPT_S: f64 = 2.0;
const TARGET_CPU_S: f64 = 3.0;
const TARGET_PEAK_MB: f64 = 400.0;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Items of the job, one per task (1,000)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub items: Option<u32>,
    /// Calls in flight at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub concurrency: u32,
    /// How long the stand-in takes for each answer
    #[arg(long, default_value_t = 200)]
    pub latency_ms: u64,
    /// How often everything is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Measure the Worker in build/ as it is, without compiling it
    #[arg(long)]
    pub as_built: bool,
    /// Only what the Worker weighs
    #[arg(long)]
    pub size: bool,
    /// Only the front door: reads under load, and the memory that 100,000 results take
    #[arg(long)]
    pub door: bool,
    /// Only the money: what 10,000 items (or `--items` of them) cost by the price table in every way, natively
    #[arg(long, conflicts_with = "door")]
    pub cost: bool,
}

impl Args {
    /// Of the job whose speed is measured.
    fn items(&self) -> u32 {
        self.items.unwrap_or(1_000)
    }
}

/// One round's numbers.
struct Round {
    /// From the submit to the time that the job itself gives for its end: asking for it all the while would cost the Worker
    /// some of the time that is measured.
    job: Duration,
    phases: Phases,
    plain: Duration,
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
    if args.cost {
        return cost::run(args.items.unwrap_or(LARGE));
    }
    let parts = Parts::prepare(args.as_built)?;
    if args.door {
        return door::run(&parts);
    }
    let size = weigh()?;
    let before = usage::load();
    // A consumer has room for all calls of the job, and a class starts with as many.
    let room = args.concurrency.max(50).to_string();
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
        let round = round(&mut world, args, number)?;
        ui::say(format!(
            "  round {number}: job {}, plain client {}",
            ui::took(round.job),
            ui::took(round.plain)
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
            "Load averages (1, 5, 15 min): {before} before, {after} after. Restate and Workflows are not included."
        ));
    }
    Ok(())
}

/// The ideal: rounds of full width, then the synthesis.
fn ideal(items: u32, concurrency: u32, latency_ms: u64) -> Duration {
    let rounds = u64::from(items.div_ceil(concurrency.max(1)));
    Duration::from_millis((rounds + 1) * latency_ms)
}

fn round(world: &mut World, args: &Args, number: u32) -> Result<Round> {
    world.worker.check()?;
    world.standin.reset()?;
    let limits = Map::from_iter([("concurrency".to_owned(), json!(args.concurrency))]);
    let body = job(&format!("round-{number}"), args.items(), 1, limits)?;
    let group = world
        .worker
        .group_id()
        .context("the Worker has no process")?;
    let before = usage::of_workerd(group);
    let began_ms = phases::now_ms();
    let id = id_of(&world.client.submit(&body)?)?;
    let until = ideal(args.items(), args.concurrency, args.latency_ms);
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
        args.concurrency as usize,
    )?;
    Ok(Round {
        job: phases.whole(),
        phases,
        plain,
        usage: before.zip(after).map(|(before, after)| Usage {
            cpu: after.cpu.saturating_sub(before.cpu),
            ..after
        }),
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
    let limits = Map::from_iter([("concurrency".to_owned(), json!(args.concurrency))]);
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

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let upper = numbers.get(middle).copied()?;
    if numbers.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*numbers.get(middle - 1)?, upper))
}

/// A row of the table: what, the runs, and the target that its median is held against.
struct Row {
    what: String,
    runs: Vec<f64>,
    unit: &'static str,
    target: Option<f64>,
}

impl Row {
    fn cells(&self) -> [String; 5] {
        let middle = median(self.runs.clone());
        let number = |n: f64| format!("{n:.2}");
        let (target, met) = match (self.target, middle) {
            (Some(target), Some(middle)) => (
                format!("at most {target}"),
                if middle <= target { "met" } else { "missed" },
            ),
            (Some(target), None) => (format!("at most {target}"), "n/a"),
            (None, _) => (String::new(), ""),
        };
        let runs: Vec<String> = self.runs.iter().copied().map(number).collect();
        [
            self.what.clone(),
            middle.map_or_else(|| "n/a".into(), |n| format!("{} {}", number(n), self.unit)),
            if runs.len() > 1 {
                runs.join("  ")
            } else {
                String::new()
            },
            target,
            met.to_owned(),
        ]
    }
}

fn speed(args: &Args, measured: &Measured) -> String {
    let ideal = ideal(args.items(), args.concurrency, args.latency_ms).as_secs_f64();
    let row = |what: String, unit, target, of: &dyn Fn(&Round) -> Option<f64>| Row {
        what,
        runs: measured.rounds.iter().filter_map(of).collect(),
        unit,
        target,
    };
    let per_thousand = 1_000.0 / f64::from(args.items());
    let rows = [
        row("submit to the end of the job".into(), "s", None, &|r| {
            Some(r.job.as_secs_f64())
        }),
        row(
            format!("  against the ideal {ideal:.1} s"),
            "x",
            Some(TARGET_RATIO),
            &|r| Some(r.job.as_secs_f64() / ideal),
        ),
        row("  of it, to the first call".into(), "s", None, &|r| {
            Some(r.phases.to_first_call)
        }),
        row(
            format!("  calls for items, {} in all", args.items()),
            "s",
            None,
            &|r| Some(r.phases.items),
        ),
        row("  to the synthesis".into(), "s", None, &|r| {
            Some(r.phases.to_synthesis)
        }),
        row("  the synthesis".into(), "s", None, &|r| {
            Some(r.phases.synthesis)
        }),
        row("  to the end".into(), "s", None, &|r| Some(r.phases.to_end)),
        row("the same calls by a plain client".into(), "s", None, &|r| {
            Some(r.plain.as_secs_f64())
        }),
        row(
            format!("  against the ideal {ideal:.1} s"),
            "x",
            None,
            &|r| Some(r.plain.as_secs_f64() / ideal),
        ),
        row(
            "  the job against the plain client".into(),
            "x",
            None,
            &|r| Some(r.job.as_secs_f64() / r.plain.as_secs_f64()),
        ),
        Row {
            what: format!("{LARGE} items accepted"),
            runs: measured
                .accepted
                .iter()
                .map(Duration::as_secs_f64)
                .collect(),
            unit: "s",
            target: Some(TARGET_ACCEPT_S),
        },
        row(
            "CPU of workerd per 1,000 tasks".into(),
            "s",
            Some(TARGET_CPU_S),
            &|r| Some(r.usage?.cpu.as_secs_f64() * per_thousand),
        ),
        row(
            "peak memory of workerd so far".into(),
            "MB",
            Some(TARGET_PEAK_MB),
            &|r| Some(r.usage?.peak_bytes as f64 / 1e6),
        ),
        Row {
            what: "  before the first job".into(),
            runs: measured
                .idle
                .map(|usage| usage.peak_bytes as f64 / 1e6)
                .into_iter()
                .collect(),
            unit: "MB",
            target: None,
        },
        Row {
            what: "first request of a fresh isolate".into(),
            runs: measured.first.into_iter().collect(),
            unit: "ms",
            target: None,
        },
        Row {
            what: "later requests".into(),
            runs: measured.later.into_iter().collect(),
            unit: "ms",
            target: None,
        },
        Row {
            what: "Worker, gzipped".into(),
            runs: vec![measured.size.gzipped as f64 / 1e6],
            unit: "MB",
            target: Some(size::LIMIT_BYTES as f64 / 1e6),
        },
    ];
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["measured", "median", "runs", "target", ""]);
    for row in &rows {
        table.add_row(row.cells());
    }
    right(&mut table, 1);
    format!(
        "\n{} items, one per task, {} ms of latency, {} calls at a time, {} rounds\n{table}",
        args.items(),
        args.latency_ms,
        args.concurrency,
        args.rounds
    )
}

fn weights(size: &size::Size) -> String {
    let code: u64 = size.crates.iter().map(|(_, bytes)| bytes).sum();
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["code of", "kB", "share"]);
    let mut add = |what: String, bytes: u64| {
        let share = 100.0 * bytes as f64 / code.max(1) as f64;
        table.add_row([
            what,
            format!("{:.1}", bytes as f64 / 1e3),
            format!("{share:.1} %"),
        ]);
    };
    for (name, bytes) in size.crates.iter().take(CRATES) {
        add(name.clone(), *bytes);
    }
    let rest: &[(String, u64)] = size.crates.get(CRATES..).unwrap_or_default();
    if !rest.is_empty() {
        let bytes = rest.iter().map(|(_, bytes)| bytes).sum();
        add(format!("{} others", rest.len()), bytes);
    }
    right(&mut table, 1);
    right(&mut table, 2);
    format!(
        "\nThe Worker is {:.2} MB, gzipped {:.3} MB of at most {:.1} MB: code {:.2} MB, data {:.2} MB\n{table}",
        size.raw as f64 / 1e6,
        size.gzipped as f64 / 1e6,
        size::LIMIT_BYTES as f64 / 1e6,
        code as f64 / 1e6,
        size.data as f64 / 1e6,
    )
}

fn right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
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
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn times_are_read_from_wranglers_log() {
        let log = "[wrangler:info] GET /healthz 200 OK (35ms)\nGET /v1/jobs 200 OK (9ms)\n\u{1b}[32mGET /healthz 200 OK (2ms)\u{1b}[0m\n";
        assert_eq!(times_of(log, "GET /healthz 200 OK"), [35.0, 2.0]);
    }

    #[test]
    fn a_missed_target_is_told() {
        let row = Row {
            what: "x".into(),
            runs: vec![1.0, 3.0, 2.0],
            unit: "s",
            target: Some(1.5),
        };
        assert_eq!(
            row.cells(),
            ["x", "2.00 s", "1.00  3.00  2.00", "at most 1.5", "missed"]
        );
    }
}
