//! The simulation: the whole engine over real SQL on a virtual clock, with everything going wrong that can. One seed
//! is one story; the promises are asserted at every commit and at its end.
//!
//! - `SIM=kind:seed cargo test --test engine simulation::story -- --exact --nocapture` plays one story and prints its
//!   transcript. The kinds are those of [`Kind::ALL`].
//! - `SIM_STORIES=static:5000,wide:1000` says how many stories of a kind are played, `SIM_START=N` from which seed.
//! - `SIM_FAILURES=N` ends a kind after N broken stories.
//!
//! Each kind prints a fingerprint: a hash over calls, fates and money of its stories. A change that must not alter
//! behaviour leaves it as it is.

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

/// Broken stories after which a kind is not played further.
const FAILURES: u64 = 20;
/// Lines of a transcript that are shown of a failure.
const SHOWN: usize = 400;

/// The kinds of stories.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Jobs with a plan of their caller's.
    Static,
    /// Jobs that the orchestrator plans.
    Dynamic,
    /// Jobs whose calls go in batches.
    Batch,
    /// Stages with a cascade of models.
    Cascade,
    /// Many consumers that meet.
    Crowd,
    /// Pages, documents, tools, trees: all else that a job can have.
    Wide,
}

impl Kind {
    /// Each kind with its name and the number of stories of a plain test run.
    const ALL: [(Kind, &str, u64); 6] = [
        (Kind::Static, "static", 2_000),
        (Kind::Dynamic, "dynamic", 200),
        (Kind::Batch, "batch", 200),
        (Kind::Cascade, "cascade", 200),
        (Kind::Crowd, "crowd", 300),
        (Kind::Wide, "wide", 300),
    ];

    fn story(self, seed: u64) -> Story {
        match self {
            Kind::Static => Story::of(seed),
            Kind::Dynamic => Story::dynamic(seed),
            Kind::Batch => Story::batch(seed),
            Kind::Cascade => Story::cascade(seed),
            Kind::Crowd => Story::crowd(seed),
            Kind::Wide => Story::wide(seed),
        }
    }

    fn name(self) -> &'static str {
        Kind::ALL
            .iter()
            .find_map(|(kind, name, _)| (*kind == self).then_some(*name))
            .unwrap()
    }

    /// How many stories of it a test run plays, and how many it plays by default.
    fn stories(self) -> (u64, u64) {
        let by_default = Kind::ALL
            .iter()
            .find_map(|(kind, _, count)| (*kind == self).then_some(*count))
            .unwrap();
        let wanted = std::env::var("SIM_STORIES").unwrap_or_default();
        let wanted = wanted.split(',').find_map(|part| {
            let (name, count) = part.split_once(':')?;
            (name == self.name()).then(|| count.parse().unwrap())
        });
        (wanted.unwrap_or(by_default), by_default)
    }
}

/// The story that `SIM` names.
fn chosen() -> Option<(Kind, u64)> {
    let chosen = std::env::var("SIM").ok()?;
    let (name, seed) = chosen.split_once(':').expect("SIM is kind:seed");
    let kind = Kind::ALL
        .iter()
        .find_map(|(kind, known, _)| (*known == name).then_some(*kind));
    Some((kind.expect("SIM names no kind"), seed.parse().unwrap()))
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.trim().parse().ok()
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
    fingerprint: u64,
    failed: BTreeMap<u64, String>,
}

#[test]
fn static_jobs_keep_the_promises() {
    keeps_the_promises(Kind::Static);
}

#[test]
fn dynamic_jobs_keep_the_promises() {
    keeps_the_promises(Kind::Dynamic);
}

#[test]
fn batch_jobs_keep_the_promises() {
    keeps_the_promises(Kind::Batch);
}

#[test]
fn cascade_jobs_keep_the_promises() {
    keeps_the_promises(Kind::Cascade);
}

#[test]
fn crowd_jobs_keep_the_promises() {
    keeps_the_promises(Kind::Crowd);
}

#[test]
fn wide_jobs_keep_the_promises() {
    keeps_the_promises(Kind::Wide);
}

fn keeps_the_promises(kind: Kind) {
    let (count, by_default) = kind.stories();
    let first = variable("SIM_START").unwrap_or(1);
    let enough = variable("SIM_FAILURES").unwrap_or(FAILURES);
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
                            // In whatever order stories end.
                            totals.fingerprint =
                                totals.fingerprint.wrapping_add(outcome.fingerprint);
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
    println!(
        "fingerprint of {} {played}: {:016x}",
        kind.name(),
        totals.fingerprint
    );
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
    if kind == Kind::Wide && played >= by_default {
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
    let again = format!(
        "SIM={}:{seed} cargo test --test engine simulation::story -- --exact --nocapture",
        kind.name()
    );
    match outcome {
        Err(panic) => println!("seed {seed}: {panic}\nreplay: {again}"),
        Ok(outcome) => {
            let skip = match chosen() {
                Some(_) => 0,
                None => outcome.transcript.len().saturating_sub(SHOWN),
            };
            for line in outcome.transcript.iter().skip(skip) {
                println!("{line}");
            }
            for violation in &outcome.violations {
                println!("seed {seed}: {violation}");
            }
            println!("replay: {again}");
        }
    }
}

/// The story that `SIM` names, or else the first of each kind.
#[test]
fn story() {
    if let Some((kind, seed)) = chosen() {
        println!("{:#?}", kind.story(seed));
        show(seed, kind);
        repeats(kind, seed);
        return;
    }
    for (kind, _, _) in Kind::ALL {
        repeats(kind, 1);
    }
}

/// The same seed tells the same story, or no failure could be replayed.
fn repeats(kind: Kind, seed: u64) {
    let first = attempt(seed, kind, false).unwrap();
    let second = attempt(seed, kind, false).unwrap();
    assert_eq!(first.violations, Vec::<String>::new());
    assert_eq!(first.fingerprint, second.fingerprint);
}
