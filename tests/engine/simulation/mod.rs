//! The simulation: the whole engine over real SQL on a virtual clock, with everything going wrong that can. One seed
//! is one story; the promises are asserted at every commit and at its end.
//!
//! `FANWISE_SEEDS=N FANWISE_PLANNED_SEEDS=M FANWISE_TIERED_SEEDS=L FANWISE_BATCHED_SEEDS=K FANWISE_CROWDED_SEEDS=J FANWISE_WIDE_SEEDS=I FANWISE_SEED_START=S cargo test --test engine simulation --
//! --nocapture` plays more of them, with given plans, with plans that are made, with cascades of models, with batches, with crowds
//! of consumers and with pages, documents, tools and trees; `SEED=X cargo test --test engine simulation::one -- --nocapture` plays one and prints its transcript
//! (`simulation::planned`, `simulation::tiered`, `simulation::batched`, `simulation::crowded`, `simulation::wide`: of those kinds).

mod check;
mod fates;
mod kinds;
mod run;
mod story;
mod watch;
mod wide;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use run::{Outcome, play};
use story::Story;

/// Seeds of a plain test run.
const SEEDS: u64 = 2_000;
const DYNAMIC_SEEDS: u64 = 200;
const BATCHED_SEEDS: u64 = 200;
const TIERED_SEEDS: u64 = 200;
const CROWDED_SEEDS: u64 = 300;
const WIDE_SEEDS: u64 = 300;
/// So many stories that broke a promise are enough; `FANWISE_FAILURES` says otherwise.
const FAILURES: u64 = 20;
/// Lines of a transcript that are shown of a failure.
const SHOWN: usize = 400;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.trim().parse().ok()
}

/// What a story's jobs are like: by a caller's plan, by the orchestrator's, with a cascade of models, or in batches; or
/// whose consumers are many and meet, or whose input and plan have everything else that a job can.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Static,
    Dynamic,
    Batched,
    Tiered,
    Crowded,
    Wide,
}

impl Kind {
    fn story(self, seed: u64) -> Story {
        match self {
            Kind::Static => Story::of(seed),
            Kind::Dynamic => Story::dynamic(seed),
            Kind::Batched => Story::batched(seed),
            Kind::Tiered => Story::tiered(seed),
            Kind::Crowded => Story::crowded(seed),
            Kind::Wide => Story::wide(seed),
        }
    }
}

/// Plays a story; a panic anywhere in it is a violation too.
fn attempt(seed: u64, kind: Kind, record: bool) -> Result<Outcome, String> {
    catch_unwind(AssertUnwindSafe(|| play(kind.story(seed), record))).map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!("P8: panic: {}", text.unwrap_or_default())
    })
}

#[derive(Default)]
struct Totals {
    calls: usize,
    strikes: u64,
    items: usize,
    states: BTreeMap<String, u64>,
    reached: Vec<u64>,
    pages: usize,
    failed: BTreeMap<u64, String>,
}

#[test]
fn every_seed_keeps_the_promises() {
    keeps_the_promises(Kind::Static, variable("FANWISE_SEEDS").unwrap_or(SEEDS));
}

#[test]
fn every_seed_keeps_the_promises_when_jobs_are_planned() {
    let count = variable("FANWISE_PLANNED_SEEDS").unwrap_or(DYNAMIC_SEEDS);
    keeps_the_promises(Kind::Dynamic, count);
}

#[test]
fn every_seed_keeps_the_promises_when_calls_go_in_batches() {
    let count = variable("FANWISE_BATCHED_SEEDS").unwrap_or(BATCHED_SEEDS);
    keeps_the_promises(Kind::Batched, count);
}

#[test]
fn every_seed_keeps_the_promises_when_models_follow_one_another() {
    let count = variable("FANWISE_TIERED_SEEDS").unwrap_or(TIERED_SEEDS);
    keeps_the_promises(Kind::Tiered, count);
}

#[test]
fn every_seed_keeps_the_promises_when_consumers_meet() {
    let count = variable("FANWISE_CROWDED_SEEDS").unwrap_or(CROWDED_SEEDS);
    keeps_the_promises(Kind::Crowded, count);
}

#[test]
fn every_seed_keeps_the_promises_when_jobs_are_wide() {
    keeps_the_promises(
        Kind::Wide,
        variable("FANWISE_WIDE_SEEDS").unwrap_or(WIDE_SEEDS),
    );
}

fn keeps_the_promises(kind: Kind, count: u64) {
    let first = variable("FANWISE_SEED_START").unwrap_or(1);
    let enough = variable("FANWISE_FAILURES").unwrap_or(FAILURES);
    // This is native: how long it may play is real time.
    #[allow(clippy::disallowed_methods)]
    let begun = Instant::now();
    let next = AtomicU64::new(first);
    let totals = Mutex::new(Totals::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    let failed = totals.lock().unwrap().failed.len() as u64;
                    if seed >= first + count || failed >= enough {
                        return;
                    }
                    let outcome = attempt(seed, kind, false);
                    let mut totals = totals.lock().unwrap();
                    match outcome {
                        Ok(outcome) => {
                            totals.calls += outcome.calls;
                            totals.strikes += outcome.strikes;
                            totals.items += outcome.items;
                            totals.pages += outcome.pages;
                            totals.reached.resize(outcome.reached.len(), 0);
                            for (sum, one) in totals.reached.iter_mut().zip(outcome.reached) {
                                *sum += one;
                            }
                            for state in outcome.states {
                                *totals.states.entry(state).or_default() += 1;
                            }
                            if let Some(first) = outcome.violations.first() {
                                totals.failed.insert(seed, first.clone());
                            }
                        }
                        Err(panic) => {
                            totals.failed.insert(seed, panic);
                        }
                    }
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap();
    let played = (next.into_inner() - first).min(count);
    println!(
        "{played} {kind:?} stories in {:.1} s: {} items, {} calls, {} faults at our own edges, ends {:?}",
        begun.elapsed().as_secs_f64(),
        totals.items,
        totals.calls,
        totals.strikes,
        totals.states
    );
    let names = watch::REACHED.iter().map(|(name, _)| *name);
    let reached: BTreeMap<&str, u64> = names.zip(totals.reached).collect();
    println!("{} pages asked for, {reached:?}", totals.pages);
    for (seed, violation) in &totals.failed {
        println!("seed {seed}: {violation}");
    }
    if let Some((seed, _)) = totals.failed.first_key_value() {
        show(*seed, kind);
        panic!(
            "{} of {played} stories broke a promise",
            totals.failed.len()
        );
    }
    if kind == Kind::Wide && played >= WIDE_SEEDS {
        let never: Vec<_> = reached.iter().filter(|(_, times)| **times == 0).collect();
        assert!(
            never.is_empty() && totals.pages > 0,
            "no story came by {never:?}"
        );
    }
}

/// Plays one story again and prints it.
fn show(seed: u64, kind: Kind) {
    let outcome = attempt(seed, kind, true);
    let test = match kind {
        Kind::Static => "one",
        Kind::Dynamic => "planned",
        Kind::Batched => "batched",
        Kind::Tiered => "tiered",
        Kind::Crowded => "crowded",
        Kind::Wide => "wide",
    };
    let again = format!("SEED={seed} cargo test --test engine simulation::{test} -- --nocapture");
    match outcome {
        Err(panic) => println!("seed {seed}: {panic}\nreplay: {again}"),
        Ok(outcome) => {
            let all = variable("SEED").is_some();
            let skip = outcome.transcript.len().saturating_sub(SHOWN);
            for line in outcome.transcript.iter().skip(if all { 0 } else { skip }) {
                println!("{line}");
            }
            for violation in &outcome.violations {
                println!("seed {seed}: {violation}");
            }
            println!("replay: {again}");
        }
    }
}

#[test]
fn one() {
    repeats(Kind::Static);
}

#[test]
fn planned() {
    repeats(Kind::Dynamic);
}

#[test]
fn batched() {
    repeats(Kind::Batched);
}

#[test]
fn tiered() {
    repeats(Kind::Tiered);
}

#[test]
fn crowded() {
    repeats(Kind::Crowded);
}

#[test]
fn wide() {
    repeats(Kind::Wide);
}

fn repeats(kind: Kind) {
    let seed = variable("SEED").unwrap_or(1);
    if variable("SEED").is_some() {
        println!("{:#?}", kind.story(seed));
        show(seed, kind);
    }
    let first = attempt(seed, kind, false).unwrap();
    let second = attempt(seed, kind, false).unwrap();
    assert_eq!(first.violations, Vec::<String>::new());
    // The same seed tells the same story, or no failure could be replayed.
    assert_eq!(first.fingerprint, second.fingerprint);
}
