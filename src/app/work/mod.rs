//! A consumer at work: tasks are claimed, called for many at a time, and settled as they end.
//!
//! The loop keeps its slots full. Whenever something has ended, one transaction settles all of it and brings a fresh
//! snapshot; what admission then allows is claimed in a second one, and its calls begin. Calls go on while the
//! database works, so a slow call never holds back the rest. Where calls are short, a few tasks are claimed ahead
//! ([`crate::core::pace`]) and stand in line, so that a place is taken up in the moment in which it becomes free. After
//! `work_ms` nothing more is claimed: the platform ends an invocation after 15 minutes, and what waits goes on in another.
//!
//! Here is the loop; [`look`] settles and reads, [`claim`] takes, [`line`] holds the calls.
//!
//! Why a replay of any await here is harmless:
//! 1. settle: attempts close once, tasks move only under this lease (see [`crate::store::settle`]);
//! 2. claim: guarded by everything it relied on; a task that is taken is not waiting any more;
//! 3. call: its attempt's row stands before it begins, so a call whose end nobody saw is known as possibly paid;
//! 4. control message: [`super::drive`] looks where the job stands.

mod claim;
mod line;
mod look;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde_json::json;

pub use self::line::{HeadNote, PrefixNote, Step};
use self::line::{InLine, Said};
use self::look::room;
use super::fetch::Gate;
use super::kit::Kit;
use super::places::Places;
use super::resolve::{self, Resolved};
use super::{App, AppError, message};
use crate::core::admit::admit;
use crate::core::pace::Pace;
use crate::ports::{Clock, Db, Ports, Queue};
use crate::store::tasks;

/// Waits up to this are slept through; a longer one costs a message instead of a consumer's time.
const NAP_MS: u64 = 1_000;
/// A consumer whose slots are full while more could go wakes another, all of them together one in so long.
const PASS_ON_MS: u64 = 2_000;
/// A claim that lost a race is decided again, so many times in a row.
const CLAIM_TRIES: u32 = 4;
/// Waiting tasks of a job that one look brings: each is a row to read and to carry over.
const LOOK_TASKS: u32 = 64;
/// With free slots, new work is looked for so often even if no call ends.
const IDLE_LOOK_MS: u64 = 2_000;
/// While the line has a successor for each call that ends, what has ended waits so many times as long for others: the
/// fewer transactions, the less each task costs.
const GATHERS_AHEAD: u64 = 10;
/// A consumer that takes nothing more settles in larger portions, to spare its queries.
const DRAIN_PORTION: usize = 10;
const DRAIN_MS: u64 = 2_000;

/// Claims, calls and settles until nothing is left that this consumer may do.
pub async fn work<P: Ports>(app: &App<P>) -> Result<(), AppError> {
    let mut consumer = Consumer::new(app);
    let result = consumer.run().await;
    consumer.hand_over(result).await
}

struct Consumer<'a, P: Ports> {
    app: &'a App<P>,
    lease: String,
    begun: i64,
    renewed: i64,
    kits: HashMap<String, Arc<Kit>>,
    /// Calls that have begun.
    calls: FuturesUnordered<BoxFuture<'static, Said>>,
    /// Claimed, and not begun before one of those ahead has its head or has ended.
    line: VecDeque<InLine>,
    /// Claimed calls that have not gone out.
    places: Places,
    /// Calls that have begun and wait for their heads.
    opening: u32,
    /// Bytes of what the calls ask that have begun or stand in line.
    open_bytes: u64,
    /// Some were not claimed for the sake of memory.
    crowded: bool,
    /// Calls of each job that have begun and not ended.
    running: HashMap<String, u32>,
    /// The most that may run here: the job's concurrency less what others held open at the last look or claim. Since they
    /// go by what is open here, ahead or not, all together never run more than the job may.
    shares: HashMap<String, u32>,
    pace: Pace,
    /// When it was last heard that the calls in line are still wanted.
    heard: i64,
    /// Ended and not settled yet.
    ended: Vec<Resolved>,
    heads: Vec<HeadNote>,
    /// An answer stopped everything: nothing more is claimed here, and no call begins that was claimed already.
    stopped: bool,
    /// The same, for calls that still read what they ask.
    stop: Arc<AtomicBool>,
    /// Where tasks that read a page wait for their turn.
    gate: Arc<Gate>,
    /// The head of a class that was not seen before, or of a call that others wait for: worth a look at once.
    news: bool,
    seen: Vec<String>,
    /// When it last looked at what waits.
    looked: i64,
    /// When the oldest of `ended` ended.
    ended_at: i64,
    /// Calls that the concurrency of any one job still allowed after the last look.
    room: u32,
    /// Statements sent to the database: an invocation may send 1,000.
    queries: u32,
    /// When another was last woken because this one was full.
    passed_on: i64,
    /// Another consumer was asked to go on.
    handed_over: bool,
}

/// What the last look at the waiting tasks said.
#[derive(Debug, Clone, Copy, Default)]
struct Outlook {
    /// Milliseconds until something may go that may not now.
    wait_ms: Option<u64>,
}

impl<'a, P: Ports> Consumer<'a, P> {
    fn new(app: &'a App<P>) -> Self {
        let now = app.ports.clock().now_ms();
        Consumer {
            app,
            lease: app.id("lease"),
            begun: now,
            renewed: now,
            kits: HashMap::new(),
            calls: FuturesUnordered::new(),
            line: VecDeque::new(),
            places: Places::default(),
            opening: 0,
            open_bytes: 0,
            crowded: false,
            running: HashMap::new(),
            shares: HashMap::new(),
            pace: Pace::default(),
            heard: now,
            ended: Vec::new(),
            heads: Vec::new(),
            stopped: false,
            stop: Arc::new(AtomicBool::new(false)),
            gate: Arc::new(Gate::new(app.config.fetching.at_once)),
            news: false,
            seen: Vec::new(),
            looked: now,
            ended_at: now,
            room: LOOK_TASKS,
            queries: 0,
            passed_on: i64::MIN,
            handed_over: false,
        }
    }

    fn now(&self) -> i64 {
        self.app.ports.clock().now_ms()
    }

    fn accepting(&self) -> bool {
        let worked = u64::try_from(self.now() - self.begun).unwrap_or(0);
        !self.stopped
            && worked < self.app.config.intervals.work_ms
            && self.queries < self.app.config.max_d1_queries
    }

    /// Tasks that may be claimed, those ahead of need included.
    fn free_slots(&self) -> u32 {
        let busy = u32::try_from(self.calls.len() + self.line.len()).unwrap_or(u32::MAX);
        let slots = self.app.config.worker_slots;
        slots
            .saturating_add(self.ahead(slots, slots))
            .saturating_sub(busy)
    }

    /// How many tasks may be claimed ahead where so many `places` are kept full, at most half of `most`.
    fn ahead(&self, places: u32, most: u32) -> u32 {
        let wait = self.app.config.intervals.gather_ms * GATHERS_AHEAD;
        self.pace.ends(places, wait).min(most / 2)
    }

    /// The same for a job.
    fn ahead_of(&self, job: &str, concurrency: u32) -> u32 {
        let share = self.shares.get(job).copied().unwrap_or(concurrency);
        self.ahead(share.min(self.app.config.worker_slots), concurrency)
    }

    fn running(&self, job: &str) -> u32 {
        self.running.get(job).copied().unwrap_or(0)
    }

    /// Attempts of a job that are open in the database and belong to this consumer.
    fn open(&self, job: &str) -> u32 {
        let line = self.line.iter().filter(|one| one.task.job == job).count();
        let ended = self.ended.iter();
        let ended = ended.filter(|one| one.job == job && one.attempt.is_some());
        self.running(job) + u32::try_from(line + ended.count()).unwrap_or(u32::MAX)
    }

    /// Takes note of how many attempts of a job are open, `own` of them here.
    fn note_share(&mut self, job: &str, in_flight: u32, concurrency: u32, own: u32) {
        let others = in_flight.saturating_sub(own);
        let share = concurrency.saturating_sub(others);
        self.shares.insert(job.to_owned(), share);
    }

    /// The line holds more than will begin before the next transactions could bring others.
    fn line_feeds(&self) -> bool {
        let running = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        self.line.len() > usize::try_from(self.pace.ends(running, 0)).unwrap_or(usize::MAX)
    }

    /// How long a call that has ended waits for others.
    fn gather_ms(&self) -> u64 {
        let gather = self.app.config.intervals.gather_ms;
        if self.line_feeds() {
            gather * GATHERS_AHEAD
        } else {
            gather
        }
    }

    /// Ends when nothing is in flight and nothing may begin soon; says what waits.
    async fn run(&mut self) -> Result<Outlook, AppError> {
        let mut outlook = self.cycle().await?;
        loop {
            // Calls also end while a transaction runs, the last one too: settled before this may return.
            if self.settle_is_due() || self.line_waits() {
                outlook = self.cycle().await?;
                continue;
            }
            if self.calls.is_empty() && !self.line.is_empty() {
                // Others run as many as the job may: theirs to do.
                self.leave_line(|_| true, "others have its job's places", 0);
                continue;
            }
            if !self.accepting() && !self.stopped {
                self.ask_another(0).await;
            }
            let timer = if self.calls.is_empty() {
                match outlook.wait_ms {
                    Some(ms) if ms <= NAP_MS && self.accepting() => ms,
                    _ => return Ok(outlook),
                }
            } else {
                self.next_look(&outlook)
            };
            let clock = self.app.ports.clock().clone();
            self.next_event(clock.sleep(timer.max(1))).await;
            self.take_ready();
            if self.news || self.settle_is_due() || self.look_is_due(&outlook) {
                outlook = self.cycle().await?;
            }
        }
    }

    /// How long nothing needs to be looked at, if no call ends.
    fn next_look(&self, outlook: &Outlook) -> u64 {
        let renew = self.renew_in();
        if self.accepting() && !self.ended.is_empty() {
            let since = u64::try_from(self.now() - self.ended_at).unwrap_or(0);
            return self.gather_ms().saturating_sub(since).min(renew);
        }
        if !self.accepting() {
            return renew.min(DRAIN_MS);
        }
        if self.free_slots() == 0 {
            return renew;
        }
        let since = u64::try_from(self.now() - self.looked).unwrap_or(0);
        let wait = outlook.wait_ms.unwrap_or(IDLE_LOOK_MS).min(IDLE_LOOK_MS);
        wait.saturating_sub(since).min(renew)
    }

    fn look_is_due(&self, outlook: &Outlook) -> bool {
        self.calls.is_empty()
            || self.renew_in() == 0
            || (self.accepting() && self.next_look(outlook) == 0)
    }

    /// Calls that began together end together: what has ended is written a moment later, with the others. A consumer
    /// that is on its way out gathers for longer.
    fn settle_is_due(&self) -> bool {
        let since = |at: i64| u64::try_from(self.now() - at).unwrap_or(0);
        let gathered = if self.accepting() {
            since(self.ended_at) >= self.gather_ms()
        } else {
            self.ended.len() >= DRAIN_PORTION || since(self.looked) >= DRAIN_MS
        };
        !self.ended.is_empty() && (gathered || self.calls.is_empty())
    }

    /// Sends for another consumer, once.
    async fn ask_another(&mut self, ms: u64) {
        if !std::mem::replace(&mut self.handed_over, true) {
            self.wake_another(ms).await;
        }
    }

    /// Leases are renewed at a third of their length.
    fn renew_in(&self) -> u64 {
        let third = self.app.config.intervals.lease_ms / 3;
        let since = u64::try_from(self.now() - self.renewed).unwrap_or(0);
        third.saturating_sub(since)
    }

    /// Settles what has ended, looks at what waits, claims what may go, and begins its calls.
    async fn cycle(&mut self) -> Result<Outlook, AppError> {
        for _ in 0..CLAIM_TRIES {
            let began = self.now();
            let read = self.settle_and_look().await?;
            let Some(read) = read else {
                return Ok(Outlook::default());
            };
            let mut read = read;
            self.keep_known(&mut read).await?;
            let snapshot = self.snapshot(&read);
            let admission = admit(&snapshot);
            let (looked, room) = (self.room, room(&snapshot));
            self.room = room;
            if admission.take.is_empty() && looked < room && !snapshot.tasks.is_empty() {
                continue;
            }
            self.exhausted(&admission, &read).await?;
            let mut outlook = Outlook {
                wait_ms: earliest(admission.wait_ms, read.due, snapshot.now),
            };
            if admission.take.is_empty() {
                return Ok(outlook);
            }
            if self.claim(&admission, &snapshot, &read).await? {
                let turn = u64::try_from(self.now() - began).unwrap_or(0);
                self.pace.turn(turn);
                self.room =
                    room.saturating_sub(u32::try_from(admission.take.len()).unwrap_or(u32::MAX));
                let now = self.now();
                let lately = i64::try_from(PASS_ON_MS).unwrap_or(i64::MAX);
                if self.free_slots() == 0
                    && snapshot.tasks.len() > admission.take.len()
                    && self.passed_on.saturating_add(lately) <= now
                {
                    // Full, and more could go: another consumer has slots of its own.
                    self.passed_on = now;
                    self.wake_another(PASS_ON_MS).await;
                }
                // All that the look brought was taken: there may be more.
                let whole = admission.take.len() >= snapshot.tasks.len() && !self.crowded;
                if whole && self.free_slots() > 0 {
                    self.room = LOOK_TASKS;
                    outlook.wait_ms = Some(1);
                }
                return Ok(outlook);
            }
        }
        Ok(Outlook { wait_ms: Some(20) })
    }

    /// Sends a message for what falls due then, unless one is on its way already. Lost, the sweep finds the work.
    async fn wake_another(&mut self, ms: u64) {
        let delay = message::delay_seconds(ms);
        let now = self.now();
        let at = now.saturating_add(i64::from(delay) * 1_000);
        let db = self.app.ports.db().clone();
        let alarm = self.meanwhile(db.batch(vec![tasks::alarm(at, now)])).await;
        // Where nobody knows, one message too many is better than none.
        if alarm.is_ok_and(|answers| answers.iter().all(|answer| answer.rows.is_empty())) {
            return;
        }
        let queue = self.app.ports.queue().clone();
        let sent = self
            .meanwhile(queue.send(vec![message::wake_later(delay)]))
            .await;
        if let Err(error) = sent {
            self.app.log_fault("send_wake", &error.to_string());
        }
    }

    /// The end of a consumer: what still waits is handed to another by a message, with the delay at which
    /// it falls due.
    async fn hand_over(&mut self, result: Result<Outlook, AppError>) -> Result<(), AppError> {
        let outlook = match result {
            Ok(outlook) => outlook,
            Err(error) => {
                // Calls that go on here are not thrown away: their ends are settled as long as that works.
                self.stopped = true;
                self.leave_line(
                    |_| true,
                    "its consumer can write nothing down",
                    resolve::NOT_YET_MS,
                );
                while !self.calls.is_empty() {
                    let clock = self.app.ports.clock().clone();
                    self.next_event(clock.sleep(self.renew_in().max(1))).await;
                    self.take_ready();
                    if self.renew_in() == 0 {
                        self.renewed = self.now();
                        let until = self
                            .now()
                            .saturating_add_unsigned(self.app.config.intervals.lease_ms);
                        let renewal = vec![tasks::renew(&self.lease, until)];
                        let db = self.app.ports.db().clone();
                        // Best effort: where it fails, the sweep takes the tasks over in the end.
                        let _ = self.meanwhile(db.batch(renewal)).await;
                    }
                }
                while !self.ended.is_empty() {
                    self.settle_and_look().await?;
                }
                return Err(error);
            }
        };
        let wait = if self.accepting() {
            outlook.wait_ms
        } else if self.stopped {
            None
        } else {
            // Time is up; whoever comes next looks for itself.
            Some(0)
        };
        if let Some(ms) = wait {
            self.ask_another(ms).await;
        }
        self.app.log(
            json!({"event": "consumer_done", "lease": self.lease, "ms": self.now() - self.begun}),
            json!({}),
        );
        Ok(())
    }
}

fn earliest(wait_ms: Option<u64>, due: Option<i64>, now: i64) -> Option<u64> {
    let due = due.map(|due| u64::try_from(due - now).unwrap_or(0).max(1));
    match (wait_ms, due) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
