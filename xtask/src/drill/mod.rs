//! `drill`: one job in real workerd while everything goes wrong, and the proof of what became of it.
//!
//! The stand-in enforces rate limits, refuses, overloads, answers nonsense and cuts streams; workerd is killed
//! with SIGKILL in the middle and started again on the same state. The stand-in's own counters tell what was
//! lost or paid twice, so that the Worker is not asked about itself. [`tally`] judges them.
//!
//! With `--delivery batch` the calls go out as Message Batches: the answer to the first creation is lost, looks fail and results
//! break off, requests expire, and kills come by the clock, so that they strike between creation and record, looks and results alike.
//!
//! Deliveries are doubled by the Worker itself, for the local queue takes no messages from anybody else: the scheduled handler runs
//! twice a second instead of once a minute, and what has waited for half a second counts as lost and is sent again. The
//! Worker's log tells how many tasks that were.

mod tally;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use crate::bench::usage;
use crate::bench::world::{Parts, World, id_of, job};
use crate::client::is_terminal;
use crate::ui;
use tally::{Evidence, Outage, Tally};

/// Ten in a hundred calls refused or failed, two answered with nonsense, one cut.
const FAULTS: [(&str, f64); 5] = [
    ("429", 0.04),
    ("500", 0.03),
    ("529", 0.03),
    ("malformed", 0.02),
    ("cut", 0.01),
];
/// What else strikes a batch: its requests, and the calls about it.
const EXPIRED: (&str, f64) = ("expired", 0.02);
const BATCHES: &str = "/v1/messages/batches";
const LATENCY_MS: u64 = 1_000;
/// How long a batch is in progress.
const BATCH_MS: u64 = 6_000;
/// So many go out for a job at first.
const BATCHES_AT_FIRST: u32 = 4;
/// Between the kills of a drill with batches, at the least, and by how much more at the most.
const APART_S: u64 = 4;
const SPREAD_S: u64 = 4;
const CONCURRENCY: u64 = 50;
/// Short, so that a crash is noticed within seconds: a drill is no day.
const INTERVALS: [(&str, u64); 5] = [
    ("LEASE_MS", 3_000),
    ("QUEUED_STALE_MS", 500),
    ("DRIVE_STALE_MS", 3_000),
    ("CALL_TIMEOUT_MS", 10_000),
    ("IDLE_TIMEOUT_MS", 10_000),
];
/// The same for batches, which are else looked at once a minute.
const BATCH_INTERVALS: [(&str, u64); 4] = [
    ("BATCH_POLL_MS", 500),
    ("BATCH_POLL_MAX_MS", 2_000),
    ("BATCH_SEEK_MS", 1_000),
    ("BATCH_EXPECTED_MS", 60_000),
];
const CRON: Duration = Duration::from_millis(500);
/// Answers of the last moments before a kill may not have been written down: they are counted apart.
const GRACE_MS: u64 = 2_000;
const LOOK: Duration = Duration::from_millis(200);
/// A call that a kill cut off counts as possibly paid once no consumer can be waiting for it any more: after a
/// time-out and two leases, and the sweep that sees it.
const ORPHANED: Duration = Duration::from_secs(10 + 2 * 3 + 4);
/// Nothing may stand still for so long.
const STANDSTILL: Duration = Duration::from_secs(120);

/// How the calls go out.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Each by itself, at once
    Live,
    /// As Message Batches
    Batch,
}

impl Delivery {
    fn as_str(self) -> &'static str {
        match self {
            Delivery::Live => "live",
            Delivery::Batch => "batch",
        }
    }
}

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Items of the job, one per task
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub items: u32,
    /// Decides which calls are struck, and when workerd is killed
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How often workerd is killed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=50))]
    pub kills: u32,
    /// Requests per minute that the stand-in allows
    #[arg(long, default_value_t = 1_200, value_parser = clap::value_parser!(u64).range(60..=1_000_000))]
    pub rpm: u64,
    /// The job's cap in dollars; by default far above what it needs, lower to see it bind
    #[arg(long, default_value_t = 5.0)]
    pub cap: f64,
    /// How the calls go out
    #[arg(long, value_enum, default_value_t = Delivery::Live)]
    pub delivery: Delivery,
    /// Drill the Worker in build/ as it is, without compiling it
    #[arg(long)]
    pub as_built: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let parts = Parts::prepare(args.as_built)?;
    let mut vars: Vec<(&str, String)> = INTERVALS.map(|(name, ms)| (name, ms.to_string())).to_vec();
    if args.delivery == Delivery::Batch {
        vars.extend(BATCH_INTERVALS.map(|(name, ms)| (name, ms.to_string())));
        let most = args.items.div_ceil(BATCHES_AT_FIRST);
        vars.push(("BATCH_MAX_REQUESTS", most.to_string()));
    }
    let mut world = World::start(&parts, "drill", &[], &vars, CRON)?;
    let settings = settings(args);
    world.control().post("/control/config", &settings)?.ok()?;
    ui::say(format!(
        "  {} items, {}, at {} requests per minute, 13 % of calls struck, {} kills to come",
        args.items,
        args.delivery.as_str(),
        args.rpm,
        args.kills
    ));
    let tally = Tally::of(&drilled(&mut world, args)?);
    drop(world);
    ui::print(format!(
        "\nDrill of {} items, {}, seed {}, {} kills, {} requests per minute\n{}",
        args.items,
        args.delivery.as_str(),
        args.seed,
        args.kills,
        args.rpm,
        tally.table()
    ));
    if let Some(load) = usage::load() {
        ui::print(format!("Load averages (1, 5, 15 min) at the end: {load}."));
    }
    match tally.broken().as_slice() {
        [] => Ok(()),
        broken => bail!("broken: {}", broken.join(", ")),
    }
}

/// How the stand-in answers.
fn settings(args: &Args) -> Value {
    let mut faults = Map::from_iter(FAULTS.map(|(name, share)| (name.to_owned(), json!(share))));
    let mut rules = json!([]);
    if args.delivery == Delivery::Batch {
        faults.insert(EXPIRED.0.into(), json!(EXPIRED.1));
        let strike = |path: &str, fault: &str, times: u32| json!({"match": {"path": path}, "fault": fault, "times": times});
        rules = json!([
            strike(BATCHES, "reset", 1),
            strike(&format!("{BATCHES}/*/results"), "cut", 2),
            strike(&format!("{BATCHES}/*"), "500", 3),
        ]);
    }
    json!({
        "latency_ms": LATENCY_MS, "jitter": 0.5, "seed": args.seed, "batch_ms": BATCH_MS,
        "limits": {"rpm": args.rpm}, "faults": faults, "rules": rules,
    })
}

/// Runs the job through its kills to its end, and collects what the tally needs.
fn drilled(world: &mut World, args: &Args) -> Result<Evidence> {
    let limits = Map::from_iter([
        ("concurrency".to_owned(), json!(CONCURRENCY)),
        ("max_attempts".to_owned(), json!(10)),
        ("max_cost_usd".to_owned(), json!(args.cap)),
    ]);
    let mut body = job(&format!("drill-{}", args.seed), args.items, 1, limits)?;
    if let Some(body) = body.as_object_mut() {
        body.insert("delivery".into(), json!(args.delivery.as_str()));
    }
    let items = ids_of(&body);
    let estimate = world.client.post("/v1/estimates", &body)?.ok()?.json()?;
    let began_ms = now_ms();
    let began = Instant::now();
    let id = id_of(&world.client.submit(&body)?)?;
    let mut kills = moments(args).into_iter().peekable();
    let mut outages = Vec::new();
    let mut moved = (Value::Null, Instant::now());
    let job = loop {
        world.standin.check()?;
        let job = world.client.job(&id)?;
        if is_terminal(&job) {
            break job;
        }
        let reached = match args.delivery {
            Delivery::Live => settled(&job),
            Delivery::Batch => began.elapsed().as_secs(),
        };
        if let Some(at) = kills.next_if(|at| reached >= *at) {
            match args.delivery {
                Delivery::Live => ui::say(format!("  kill at {at} of {} tasks", args.items)),
                Delivery::Batch => ui::say(format!("  kill after {at} s")),
            }
            outages.push(crash(world)?);
            moved.1 = Instant::now();
        }
        let now = json!([job.get("state"), job.get("progress"), job.get("usage")]);
        if now != moved.0 {
            moved = (now, Instant::now());
        } else if moved.1.elapsed() > STANDSTILL {
            bail!(
                "the job has stood still for {} s: {job}",
                STANDSTILL.as_secs()
            );
        }
        std::thread::sleep(LOOK);
    };
    let (time, ended_ms) = (began.elapsed(), now_ms());
    let job = accounted(world, job, &id)?;
    let control = world.control();
    Ok(Evidence {
        doubled: doubled(&std::fs::read_to_string(world.worker.log()).unwrap_or_default()),
        items,
        estimate,
        began_ms,
        ended_ms,
        time,
        ideal: ideal(args),
        rpm: (args.delivery == Delivery::Live).then_some(args.rpm),
        cap_usd: args.cap,
        outages,
        report: world.client.report(&id).unwrap_or_default(),
        results: world
            .client
            .get(&format!("/v1/jobs/{id}/results?format=jsonl"))?
            .ok()?
            .body,
        job,
        stats: control.get("/control/stats?tasks=0")?.ok()?.json()?,
        timeline: control
            .get("/control/timeline?class=haiku-5-5")?
            .ok()?
            .json()?,
    })
}

/// The job once the calls that kills cut off are on its account: until then it is not known what they cost.
fn accounted(world: &World, job: Value, id: &str) -> Result<Value> {
    let until = Instant::now() + ORPHANED;
    let mut job = job;
    let cost = |job: &Value, name: &str| job.get("cost")?.get(name)?.as_f64();
    let open = |job: &Value| cost(job, "reserved_usd") > cost(job, "possibly_paid_usd");
    while open(&job) && Instant::now() < until {
        std::thread::sleep(LOOK);
        job = world.client.job(id)?;
    }
    Ok(job)
}

/// SIGKILL to wrangler and workerd, and a start on the same state.
fn crash(world: &mut World) -> Result<Outage> {
    let mark = format!("/control/kill?grace_ms={GRACE_MS}");
    let control = world.control();
    let from_ms = now_ms();
    let said = control.post(&mark, &Value::Null)?.ok()?.json()?;
    world.worker.kill();
    // Calls that began after the mark died with it too.
    control.post(&mark, &Value::Null)?.ok()?;
    world.worker.restart()?;
    Ok(Outage {
        in_flight: said
            .get("in_flight")
            .and_then(Value::as_u64)
            .unwrap_or_default(),
        from_ms,
        to_ms: now_ms(),
    })
}

/// After how many settled tasks each kill comes: spread over the run, each somewhere in its own part. With batches, whose tasks
/// settle hundreds at a time, after how many seconds.
fn moments(args: &Args) -> Vec<u64> {
    let parts = u64::from(args.kills) + 1;
    let width = u64::from(args.items) / parts;
    let somewhere = |number: u64| {
        // One step of SplitMix64 for each kill.
        let mut z = args
            .seed
            .wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    if args.delivery == Delivery::Batch {
        return (1..parts)
            .map(|number| number * (APART_S + SPREAD_S) - APART_S + somewhere(number) % SPREAD_S)
            .collect();
    }
    let somewhere = |number: u64| somewhere(number) % (width / 2).max(1);
    (1..parts)
        .map(|number| number * width - width / 4 + somewhere(number))
        .collect()
}

/// Tasks that have come to their end.
fn settled(job: &Value) -> u64 {
    let of = |state: &str| {
        job.pointer(&format!("/progress/tasks/{state}"))
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    of("succeeded") + of("failed") + of("skipped")
}

/// Without any fault. Of batches: they run side by side. Live: what is in the bucket at the start goes out at once, the rest as it refills; or as
/// fast as the concurrency allows, if that is slower. Then the synthesis.
fn ideal(args: &Args) -> Duration {
    let (items, rpm) = (f64::from(args.items), args.rpm as f64);
    let latency = LATENCY_MS as f64 / 1e3;
    if args.delivery == Delivery::Batch {
        return Duration::from_millis(BATCH_MS + LATENCY_MS);
    }
    let by_limit = (items - rpm / 6.0).max(0.0) / (rpm / 60.0) + latency;
    let by_width = (items / CONCURRENCY as f64).ceil() * latency;
    Duration::from_secs_f64(by_limit.max(by_width) + latency)
}

/// Tasks that were sent for again while their first message was still on its way, as the Worker's log tells it.
fn doubled(log: &str) -> u64 {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.get(line.find('{')?..)?).ok())
        .filter(|line| line.get("event").and_then(Value::as_str) == Some("sent_again"))
        .filter_map(|line| Some(line.get("tasks")?.as_array()?.len() as u64))
        .sum()
}

fn ids_of(body: &Value) -> Vec<String> {
    let items = body.pointer("/input/items").and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(|item| Some(item.get("id")?.as_str()?.to_owned()))
        .collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(items: u32, kills: u32, rpm: u64) -> Args {
        Args {
            items,
            seed: 7,
            kills,
            rpm,
            cap: 5.0,
            delivery: Delivery::Live,
            as_built: true,
        }
    }

    #[test]
    fn what_was_sent_again_is_counted_from_the_log() {
        let log = "[wrangler:info] GET /healthz 200\n{\"event\":\"sent_again\",\"job\":\"j\",\"tasks\":[3,4]}\n  {\"event\":\"tasks\",\"tasks\":[1]}\n{\"event\":\"sent_again\",\"tasks\":[9]}";
        assert_eq!(doubled(log), 3);
    }

    #[test]
    fn kills_come_in_order_before_the_end() {
        for seed in 0..50 {
            let moments = moments(&Args {
                seed,
                ..args(1_000, 4, 600)
            });
            assert_eq!(moments.len(), 4);
            assert!(moments.is_sorted());
            assert!(
                moments.iter().all(|at| (100..900).contains(at)),
                "{moments:?}"
            );
        }
        assert!(moments(&args(1_000, 0, 600)).is_empty());
    }

    #[test]
    fn kills_among_batches_come_by_the_clock() {
        for seed in 0..50 {
            let moments = moments(&Args {
                seed,
                delivery: Delivery::Batch,
                ..args(1_000, 3, 600)
            });
            assert_eq!(moments.len(), 3);
            let later = moments.iter().skip(1);
            let mut pairs = moments.iter().zip(later);
            assert!(pairs.all(|(one, next)| next - one > APART_S), "{moments:?}");
        }
    }

    #[test]
    fn the_ideal_is_bound_by_the_limit_or_by_the_width() {
        // 1,000 items, 100 at once from the bucket, 900 at 10 a second, two latencies.
        assert_eq!(ideal(&args(1_000, 0, 600)), Duration::from_secs(92));
        // 20 rounds of 50.
        assert_eq!(ideal(&args(1_000, 0, 100_000)), Duration::from_secs(21));
    }
}
