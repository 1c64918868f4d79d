//! A consumer at work: tasks are claimed, called for many at a time, and settled as they end.
//!
//! The loop keeps its slots full. Whenever something has ended, one transaction settles all of it and brings a fresh
//! snapshot; what admission then allows is claimed in a second one, and its calls begin. Calls go on while the
//! database works, so a slow call never holds back the rest. Where calls are short, a few tasks are claimed ahead
//! ([`crate::core::pace`]) and stand in line, so that a place is taken up in the moment in which it becomes free. After `work_ms` nothing more is claimed: the platform ends an
//! invocation after 15 minutes, and what waits goes on in another.
//!
//! Why a replay of any await here is harmless:
//! 1. settle: attempts close once, tasks move only under this lease (see [`crate::store::settle`]);
//! 2. claim: guarded by everything it relied on; a task that is taken is not waiting any more;
//! 3. call: its attempt's row stands before it begins, so a call whose end nobody saw is known as possibly paid;
//! 4. control message: [`super::drive`] looks where the job stands.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use futures::future::{BoxFuture, Either, FutureExt, select};
use futures::stream::FuturesUnordered;
use serde_json::json;

use super::call::Head;
use super::fetch::Gate;
use super::kit::Kit;
use super::resolve::{self, Admitted, Resolved};
use super::settle as ended;
use super::{App, AppError, log, message};
use crate::core::admit::{Admission, Breaker, Candidate, Job, Shared, Snapshot, admit};
use crate::core::cache::{CacheTtl, Entry, Mark};
use crate::core::money::Nano;
use crate::core::pace::Pace;
use crate::core::time::day;
use crate::core::verdict::{FETCH, Form};
use crate::ports::{Clock, Db, DbError, Ports, Queue};
use crate::store::admission::{self, Claim, Claimed, Read, Take, Waiting};
use crate::store::row::Columns;
use crate::store::{jobs, settle, tasks};

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
/// Texts of one settle go in as bound values of at most 2 MB each; what does not fit goes with the next.
const SETTLE_BYTES: usize = 800_000;
/// A call begins if it was heard within this that its task is still to be done: the platform gives an invocation six
/// connections, so one that was claimed may wait in line while its job is cancelled.
const HEARD_MS: i64 = 500;
/// While the line has a successor for each call that ends, what has ended waits so many times as long for others: the
/// fewer transactions, the less each task costs.
const GATHERS_AHEAD: u64 = 10;
/// Tokens for a byte that are reckoned with at least where only a part of a prompt counts.
const DENSE: f64 = 0.5;
/// A consumer that takes nothing more settles in larger portions, to spare its queries.
const DRAIN_PORTION: usize = 10;
const DRAIN_MS: u64 = 2_000;

/// What a call under way says next.
pub enum Step {
    /// The head is there: what it teaches, and the rest of the call.
    Head(HeadNote, BoxFuture<'static, Step>),
    /// Over, with everything that must be written.
    End(Box<Resolved>),
}

/// What a call says, since when it is under way (`None` of what is not sent), and whether it waited for its head.
struct Said {
    since: Option<i64>,
    first: bool,
    step: Step,
}

/// What was never sent has ended.
fn unsent(step: Step) -> Said {
    Said {
        since: None,
        first: false,
        step,
    }
}

/// A call that waits for a connection or for its place: nothing of it is sent yet.
struct InLine {
    task: Claimed,
    call: BoxFuture<'static, Step>,
}

/// What the head of an answer teaches about its class.
pub struct HeadNote {
    pub class: String,
    pub head: Head,
    /// Requests and input tokens admitted up to and with this call.
    pub mark: [f64; 2],
    /// The beginning of its prompt, where it is marked.
    pub prefix: Option<PrefixNote>,
}

/// What a marked call says about its prefix once its answer begins.
#[derive(Debug, Clone, PartialEq)]
pub struct PrefixNote {
    pub id: String,
    pub ttl: CacheTtl,
    pub sent_at: i64,
    /// Others wait for this one.
    pub leads: bool,
}

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
    /// Calls that have begun and wait for their heads.
    opening: u32,
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

/// How many tasks of any one job are worth a look: as many as its concurrency lets go. Of a job that has nothing in flight
/// all that a look may bring, so that its budget is not called used up for the sake of the first.
fn room(snapshot: &Snapshot) -> u32 {
    let of = |job: &Job| match job.in_flight {
        0 => LOOK_TASKS,
        busy => job.concurrency.saturating_sub(busy),
    };
    snapshot.jobs.iter().map(of).max().unwrap_or(LOOK_TASKS)
}

/// The prefixes of a snapshot: their ids, and what is known of each.
#[derive(Default)]
struct Prefixes {
    ids: Vec<String>,
    entries: Vec<Entry>,
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
            opening: 0,
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

    /// Waits for the next thing that a call says, or for the timer.
    async fn next_event(&mut self, timer: impl Future<Output = ()> + Send) {
        let mut timer = std::pin::pin!(timer);
        if self.calls.is_empty() {
            timer.await;
            return;
        }
        if let Either::Left((Some(step), _)) = select(self.calls.next(), timer.as_mut()).await {
            self.take(step);
        }
    }

    /// Takes whatever else has been said meanwhile.
    fn take_ready(&mut self) {
        while let Some(Some(step)) = self.calls.next().now_or_never() {
            self.take(step);
        }
    }

    fn take(&mut self, said: Said) {
        if said.first {
            self.opening = self.opening.saturating_sub(1);
        }
        match said.step {
            Step::Head(note, rest) => {
                if !self.seen.contains(&note.class) {
                    self.seen.push(note.class.clone());
                    self.news = true;
                }
                self.news |= note.prefix.as_ref().is_some_and(|prefix| prefix.leads);
                self.heads.push(note);
                let since = said.since;
                let rest = rest.map(move |step| Said {
                    since,
                    first: false,
                    step,
                });
                self.calls.push(rest.boxed());
            }
            Step::End(resolved) => {
                if let Some(since) = said.since {
                    self.pace
                        .call(u64::try_from(self.now() - since).unwrap_or(0));
                    if let Some(running) = self.running.get_mut(&resolved.job) {
                        *running = running.saturating_sub(1);
                    }
                }
                if resolved.stop.is_some() {
                    self.stopped = true;
                    self.stop.store(true, Ordering::Relaxed);
                }
                if self.ended.is_empty() {
                    self.ended_at = self.now();
                }
                self.ended.push(*resolved);
            }
        }
        self.open_line();
    }

    /// Begins as many calls as there are places and connections for, if it was heard just now that they are still wanted.
    fn open_line(&mut self) {
        while self.now() - self.heard <= HEARD_MS
            && let Some(next) = self.next_in_line().and_then(|at| self.line.remove(at))
        {
            self.opening += 1;
            let since = self.now();
            *self.running.entry(next.task.job).or_default() += 1;
            let call = next.call.map(move |step| Said {
                since: Some(since),
                first: true,
                step,
            });
            self.calls.push(call.boxed());
        }
    }

    /// The first that has a place and a connection. Nothing goes before another of its class: what a header says is left is
    /// read against what was admitted before its call.
    fn next_in_line(&self) -> Option<usize> {
        let slots = usize::try_from(self.app.config.worker_slots).unwrap_or(usize::MAX);
        if self.opening >= self.app.config.connections || self.calls.len() >= slots {
            return None;
        }
        let mut held: Vec<&str> = Vec::new();
        self.line.iter().position(|one| {
            if held.contains(&one.task.class.as_str()) {
                return false;
            }
            let share = self.shares.get(&one.task.job);
            let goes = share.is_none_or(|share| self.running(&one.task.job) < *share);
            if !goes {
                held.push(&one.task.class);
            }
            goes
        })
    }

    /// Calls could begin, once it is known again that they may.
    fn line_waits(&self) -> bool {
        self.next_in_line().is_some()
    }

    /// Calls that have not begun are not sent any more.
    fn leave_line(&mut self, which: impl Fn(&Claimed) -> bool, why: &str, ms: u64) {
        for waiting in std::mem::take(&mut self.line) {
            if which(&waiting.task) {
                let step = resolve::give_back_for(self.app, &waiting.task, why, ms);
                self.take(unsent(step));
            } else {
                self.line.push_back(waiting);
            }
        }
    }

    /// Runs a database call while the calls to Claude go on.
    async fn meanwhile<T>(&mut self, future: impl Future<Output = T> + Send) -> T {
        let mut future = std::pin::pin!(future);
        loop {
            if self.calls.is_empty() {
                return future.await;
            }
            match select(future.as_mut(), self.calls.next()).await {
                Either::Left((output, _)) => return output,
                Either::Right((step, _)) => {
                    if let Some(step) = step {
                        self.take(step);
                    }
                }
            }
        }
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
                let whole = admission.take.len() >= snapshot.tasks.len();
                if whole && self.free_slots() > 0 {
                    self.room = LOOK_TASKS;
                    outlook.wait_ms = Some(1);
                }
                return Ok(outlook);
            }
        }
        Ok(Outlook { wait_ms: Some(20) })
    }

    /// One transaction: what has ended is written, leases are renewed, and what waits is read. `None` where this
    /// consumer takes nothing more.
    async fn settle_and_look(&mut self) -> Result<Option<Read>, AppError> {
        let now = self.now();
        self.looked = now;
        let mut bytes = 0;
        let fits = self
            .ended
            .iter()
            .take_while(|one| {
                bytes += one.bytes();
                bytes <= SETTLE_BYTES
            })
            .count()
            .max(1)
            .min(self.ended.len());
        let rest = self.ended.split_off(fits);
        let ended = std::mem::replace(&mut self.ended, rest);
        let heads = std::mem::take(&mut self.heads);
        self.news = false;
        let look = self.accepting() && self.free_slots() > 0;
        let settled = u32::try_from(ended.len()).unwrap_or(u32::MAX);
        let mut statements = ended::statements(self.app, &ended, &heads, &self.lease, now);
        let mut fan_in = Vec::new();
        for job in ended::jobs_of(&ended) {
            fan_in.push(statements.len());
            statements.push(tasks::fan_in(&job));
        }
        let resumed = ended.iter().any(|one| one.probe_came_through).then(|| {
            statements.extend(settle::close_breaker(now));
            statements.len() - 1
        });
        if !self.calls.is_empty() && self.renew_in() == 0 {
            self.renewed = now;
            let until = now.saturating_add_unsigned(self.app.config.intervals.lease_ms);
            statements.push(tasks::renew(&self.lease, until));
        }
        let waiting: Vec<i64> = self.line.iter().map(|one| one.task.id).collect();
        let unwanted = (!waiting.is_empty()).then(|| {
            statements.push(tasks::unwanted(&waiting, &self.lease));
            statements.len() - 1
        });
        let at = statements.len();
        if look {
            let grace = self.app.config.intervals.deadline_grace_ms;
            statements.extend(admission::snapshot(
                now,
                &day(now),
                // One more than could go, which tells whether there are any.
                self.free_slots()
                    .min(LOOK_TASKS)
                    .min(self.room.saturating_add(settled))
                    + 1,
                i64::try_from(grace).unwrap_or(i64::MAX),
            ));
        }
        if statements.is_empty() {
            return Ok(None);
        }
        let db = self.app.ports.db().clone();
        let answers = match self.write(&db, statements).await {
            Ok(answers) => answers,
            Err(error) => {
                // Not lost: tried again with the next cycle, or by the sweep once the lease has run out.
                self.ended.splice(0..0, ended);
                self.heads.splice(0..0, heads);
                return Err(error.into());
            }
        };
        log::settled(self.app, &ended, &answers);
        let mut moved: Vec<String> = fan_in
            .into_iter()
            .chain(resumed)
            .filter_map(|index| answers.get(index))
            .flat_map(|answer| &answer.rows)
            .filter_map(|row| row.maybe_text("job").or_else(|| row.maybe_text("id")))
            .collect();
        moved.sort();
        moved.dedup();
        self.send_drives(&moved).await;
        if let Some(answer) = unwanted.and_then(|index| answers.get(index)) {
            let unwanted: HashSet<i64> = answer.rows.iter().map(|row| row.int("id")).collect();
            self.leave_line(
                |task| unwanted.contains(&task.id),
                "it was halted first",
                resolve::NOT_YET_MS,
            );
            self.heard = now;
            self.open_line();
        }
        let snapshot = answers
            .get(at..)
            .filter(|rest| rest.len() == admission::SNAPSHOT);
        let read = snapshot.map(admission::read);
        for job in read.iter().flat_map(|read| &read.jobs) {
            let own = self.open(&job.id);
            self.note_share(&job.id, job.in_flight, job.concurrency, own);
        }
        self.open_line();
        Ok(read)
    }

    /// A lost connection leaves it unknown whether a batch landed; each is safe to run again.
    async fn write(
        &mut self,
        db: &P::Db,
        statements: Vec<crate::ports::Statement>,
    ) -> Result<Vec<crate::ports::Answer>, DbError> {
        let mut step = 0;
        loop {
            self.count_queries(statements.len());
            let result = self.meanwhile(db.batch(statements.clone())).await;
            match result {
                Err(DbError::Unavailable(_) | DbError::Overloaded(_)) if step < 5 => {
                    let wait = crate::core::verdict::Wait::Backoff(step);
                    let ms = crate::core::verdict::wait_ms(wait, self.app.dice(), 100, 3_000);
                    let clock = self.app.ports.clock().clone();
                    self.meanwhile(clock.sleep(ms)).await;
                    step += 1;
                }
                other => return other,
            }
        }
    }

    fn count_queries(&mut self, statements: usize) {
        let statements = u32::try_from(statements).unwrap_or(u32::MAX);
        self.queries = self.queries.saturating_add(statements);
    }

    /// The stages' winners send the message that moves their job on; lost, the sweep sends it.
    async fn send_drives(&mut self, moved: &[String]) {
        if moved.is_empty() {
            return;
        }
        let queue = self.app.ports.queue().clone();
        let messages = moved.iter().map(|job| message::drive(job, 0)).collect();
        if let Err(error) = self.meanwhile(queue.send(messages)).await {
            self.app.log_fault("send_drive", &error.to_string());
        }
    }

    /// Leaves out what this consumer cannot decide about, and sees to it that it knows the plans of the rest.
    async fn keep_known(&mut self, read: &mut Read) -> Result<(), AppError> {
        // Pages that nobody here would get to are left to others.
        let mut pages = self.gate.room();
        read.waiting.retain(|task| {
            if task.form == FETCH {
                let room = pages > 0;
                pages = pages.saturating_sub(1);
                return room;
            }
            true
        });
        read.waiting.retain(|task| {
            read.jobs.iter().any(|job| job.id == task.job)
                && read.classes.iter().any(|row| row.class.name == task.class)
        });
        let stages = read
            .waiting
            .iter()
            .map(|task| (task.job.clone(), task.stage));
        self.load_kits(stages.collect()).await
    }

    /// How a task's prompt begins, and its place among the prefixes of the snapshot.
    fn shared(
        &self,
        task: &Waiting,
        read: &Read,
        prefixes: &mut Prefixes,
        known: Option<(f64, f64)>,
    ) -> Option<Shared> {
        let kit = self
            .kits
            .get(&task.job)?
            .of(task.stage, task.purpose, task.tier)?;
        let prefix = kit.prefix(Form::parse(&task.form))?;
        let place = prefixes.ids.iter().position(|id| *id == prefix.id);
        let place = place.unwrap_or_else(|| {
            prefixes.ids.push(prefix.id.clone());
            let entry = read.prefixes.get(&prefix.id);
            prefixes.entries.push(entry.copied().unwrap_or_default());
            prefixes.ids.len() - 1
        });
        Some(Shared {
            prefix: place,
            price: prefix.price,
            calls: task.peers,
            // What comes after the prefix may be denser than the whole.
            input: expected_input(
                task.bytes.saturating_sub(prefix.bound),
                known.map(|(share, size)| (share.max(DENSE), size)),
            ),
            extra: prefix.extra,
        })
    }

    /// What was read, as admission sees it.
    fn snapshot(&self, read: &Read) -> Snapshot {
        let config = &self.app.config;
        let day_cap =
            |cap: Option<f64>, used: i64| cap.map(|usd| Nano::from_usd_floor(usd).0 - used);
        let mut prefixes = Prefixes::default();
        let tasks = read
            .waiting
            .iter()
            .map(|task| {
                let class = read
                    .classes
                    .iter()
                    .position(|row| row.class.name == task.class);
                let known = class
                    .and_then(|class| read.classes.get(class))
                    .and_then(|row| Some((row.tokens_per_byte?, row.known_bytes)));
                Candidate {
                    job: read
                        .jobs
                        .iter()
                        .position(|job| job.id == task.job)
                        .unwrap_or(usize::MAX),
                    class: class.unwrap_or(usize::MAX),
                    idx: task.idx,
                    input: expected_input(task.bytes, known),
                    output: expected_output(task.max_tokens, task.answers, task.answer_tokens),
                    worst: task.worst_nano,
                    free: task.free,
                    shared: self.shared(task, read, &mut prefixes, known),
                }
            })
            .collect();
        let (purses, purse_of) = super::tokens::purses(&read.jobs);
        let mut snapshot = Snapshot {
            now: self.now(),
            purses,
            slots: self.free_slots(),
            governor_start: config.governor_start,
            account_day: (read.jobs.first())
                .and_then(|job| day_cap(config.account_daily_usd, job.day_account)),
            breaker: if self.stopped {
                Breaker::Open { until: i64::MAX }
            } else {
                read.breaker
            },
            classes: read.classes.iter().map(|row| row.class.clone()).collect(),
            jobs: read
                .jobs
                .iter()
                .zip(purse_of)
                .map(|(job, purse)| Job {
                    purse,
                    id: job.id.clone(),
                    tenant: job.tenant.clone(),
                    in_flight: job.in_flight,
                    in_batches: job.in_batches > 0,
                    concurrency: job.concurrency,
                    budget: job
                        .limit_nano
                        .map(|limit| limit - job.used_nano - job.held_nano),
                    day: day_cap(config.token_daily_usd, job.day_tenant),
                })
                .collect(),
            prefixes: prefixes.entries,
            patience_ms: i64::try_from(config.cache.patience_ms).unwrap_or(i64::MAX),
            tasks,
        };
        let ahead: Vec<u32> = (0..)
            .zip(&snapshot.jobs)
            .map(|(index, job)| {
                let mut calls = snapshot.tasks.iter().filter(|task| task.job == index);
                let roomy = calls.all(|task| {
                    task.free
                        || snapshot.classes.get(task.class).is_some_and(|class| {
                            class.roomy(snapshot.now, job.concurrency, task.input, task.output)
                        })
                });
                if roomy {
                    self.ahead_of(&job.id, job.concurrency)
                } else {
                    0
                }
            })
            .collect();
        for (job, ahead) in snapshot.jobs.iter_mut().zip(ahead) {
            job.concurrency = job.concurrency.saturating_add(ahead);
        }
        snapshot
    }

    /// Claims what was admitted and begins the calls. False where the claim lost a race: decide again.
    async fn claim(
        &mut self,
        admission: &Admission,
        snapshot: &Snapshot,
        read: &Read,
    ) -> Result<bool, AppError> {
        let chosen: Vec<_> = admission
            .take
            .iter()
            .filter_map(|taken| {
                let task = read.waiting.get(taken.task)?;
                Some((task, snapshot.tasks.get(taken.task)?, taken))
            })
            .collect();
        let mut takes = Vec::with_capacity(chosen.len());
        for (task, candidate, taken) in chosen {
            let Some(kit) = self
                .kits
                .get(&task.job)
                .and_then(|kit| kit.of(task.stage, task.purpose, task.tier))
                .filter(|kit| kit.is_usable())
            else {
                continue;
            };
            let form = Form::parse(&task.form);
            takes.push(Take {
                id: task.id,
                job: task.job.clone(),
                class: task.class.clone(),
                role: kit.role(form).as_str(),
                model: kit.model.id.clone(),
                input: taken.input,
                output: candidate.output,
                worst_nano: taken.worst,
                held_nano: read
                    .jobs
                    .iter()
                    .find(|job| job.id == task.job)
                    .map_or(0, |job| job.held_nano),
                ahead: snapshot
                    .jobs
                    .get(candidate.job)
                    .zip(read.jobs.get(candidate.job))
                    .map_or(0, |(job, row)| job.concurrency - row.concurrency),
                free: task.free,
                cache: taken.mark.ttl(),
                leads: match taken.mark {
                    Mark::Write(_) => kit.prefix(form).map(|prefix| prefix.id.clone()),
                    Mark::Plain | Mark::Read(_) => None,
                },
            });
        }
        if takes.is_empty() {
            return Ok(true);
        }
        let now = self.now();
        let config = &self.app.config;
        let until = now.saturating_add_unsigned(config.intervals.lease_ms);
        let cap = |usd: Option<f64>| usd.map(|usd| Nano::from_usd_floor(usd).0);
        let claim = Claim {
            lease: &self.lease,
            now,
            until,
            day: &day(now),
            probe: admission.probe,
            governor_start: config.governor_start,
            leads_since: now.saturating_sub_unsigned(config.cache.patience_ms),
            tenant_day_nano: cap(config.token_daily_usd),
            account_day_nano: cap(config.account_daily_usd),
            tokens: takes
                .iter()
                .filter_map(|take| read.jobs.iter().find(|job| job.id == take.job))
                .any(|job| job.token.is_some()),
            takes,
        };
        let statements = admission::claim(&claim);
        let inputs: HashMap<i64, f64> = claim.takes.iter().map(|t| (t.id, t.input)).collect();
        let leads: HashSet<i64> = claim
            .takes
            .iter()
            .filter(|take| take.leads.is_some())
            .map(|take| take.id)
            .collect();
        let db = self.app.ports.db().clone();
        self.count_queries(statements.len());
        let answers = match self.meanwhile(db.batch(statements)).await {
            Ok(answers) => answers,
            Err(DbError::Guard(_)) => return Ok(false),
            Err(DbError::Unavailable(_) | DbError::Overloaded(_)) => {
                // If it landed after all, the lease runs out and the sweep gives the tasks back.
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        log::moved(self.app, &answers, "claimed");
        let Some((admitted, rest)) = answers.split_last() else {
            return Ok(true);
        };
        let taken: Vec<Claimed> = rest
            .last()
            .map(|answer| answer.rows.iter().map(Claimed::read).collect())
            .unwrap_or_default();
        self.heard = now;
        for task in &taken {
            let of_job = |other: &&Claimed| other.job == task.job && other.attempt.is_some();
            let new = u32::try_from(taken.iter().filter(of_job).count()).unwrap_or(u32::MAX);
            let own = self.open(&task.job).saturating_add(new);
            self.note_share(&task.job, task.in_flight, task.concurrency, own);
        }
        self.begin(taken, &inputs, &leads, &admitted.rows, admission.probe);
        Ok(true)
    }

    /// Starts the calls of what was claimed, in order, each knowing how much was admitted up to it.
    fn begin(
        &mut self,
        taken: Vec<Claimed>,
        inputs: &HashMap<i64, f64>,
        leads: &HashSet<i64>,
        admitted: &[crate::store::row::Row],
        probe: bool,
    ) {
        for (position, task) in taken.iter().enumerate() {
            let later = |of: &dyn Fn(&Claimed) -> f64| -> f64 {
                taken
                    .iter()
                    .skip(position + 1)
                    .filter(|other| other.class == task.class && other.attempt.is_some())
                    .map(of)
                    .sum()
            };
            let row = admitted.iter().find(|row| row.text("class") == task.class);
            let mark = row.map_or([0.0; 2], |row| {
                [
                    row.real("requests_admitted") - later(&|_| 1.0),
                    row.real("input_admitted")
                        - later(&|other| inputs.get(&other.id).copied().unwrap_or(0.0)),
                ]
            });
            let Some(kit) = self.kits.get(&task.job) else {
                continue;
            };
            let call = resolve::call(
                self.app.clone(),
                Arc::clone(kit),
                task.clone(),
                Admitted {
                    mark,
                    leads: leads.contains(&task.id),
                    probe: probe && task.attempt.is_some(),
                },
                Arc::clone(&self.stop),
                Arc::clone(&self.gate),
            );
            let call = call.boxed();
            if task.attempt.is_some() {
                self.line.push_back(InLine {
                    task: task.clone(),
                    call,
                });
            } else {
                self.calls.push(call.map(unsent).boxed());
            }
        }
        self.open_line();
    }

    /// The plans of jobs with stages that this consumer has not seen yet: a plan may grow while it is carried out.
    async fn load_kits(&mut self, stages: Vec<(String, u32)>) -> Result<(), AppError> {
        let unseen = |(job, stage): &(String, u32)| {
            let known = self.kits.get(job).and_then(|kit| kit.stage(*stage));
            known.is_none()
        };
        let mut wanted: Vec<String> = stages
            .into_iter()
            .filter(unseen)
            .map(|(job, _)| job)
            .collect();
        wanted.sort();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(());
        }
        let db = self.app.ports.db().clone();
        let answers = self.meanwhile(db.batch(vec![jobs::specs(&wanted)])).await?;
        for row in answers.iter().flat_map(|answer| &answer.rows) {
            let Some(spec) = row.json("spec") else {
                continue;
            };
            match Kit::kept(self.app, spec) {
                Ok(kit) => {
                    self.kits.insert(row.text("job"), Arc::new(kit));
                }
                Err(error) => self.app.log_fault("plan", &error.to_string()),
            }
        }
        Ok(())
    }

    /// Jobs whose rest does not fit their budget, or the day's cap, end or pause as their caller wished; those that met an
    /// open breaker pause.
    async fn exhausted(&mut self, admission: &Admission, read: &Read) -> Result<(), AppError> {
        let over: Vec<&String> = admission
            .over_budget
            .iter()
            .filter_map(|index| read.jobs.get(*index))
            .map(|job| &job.id)
            .collect();
        let day: Vec<&String> = admission
            .over_day
            .iter()
            .filter_map(|index| read.jobs.get(*index))
            .map(|job| &job.id)
            .collect();
        let halted: Vec<&String> = admission
            .halted
            .iter()
            .filter_map(|index| read.jobs.get(*index))
            .map(|job| &job.id)
            .collect();
        if !halted.is_empty() {
            ended::halted(self.app, &halted, self.now()).await?;
        }
        if over.is_empty() && day.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let mut moved = Vec::new();
        for job in over {
            let Some(row) = read.jobs.iter().find(|row| row.id == *job) else {
                continue;
            };
            let left = row.limit_nano.unwrap_or(i64::MAX) - row.used_nano - row.held_nano;
            ended::over_budget(self.app, job, row.stage, row.limit_nano, left, now).await?;
            moved.push(job.clone());
        }
        for job in day {
            ended::over_day(self.app, job, now).await?;
        }
        self.send_drives(&moved).await;
        Ok(())
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

/// Tokens a request may take: as many for each byte as any took before and a little more, or half its bytes. An average
/// would let a few dense requests pass the limit together; what is too much here comes back with the first header. A request
/// twice as large as any that is `known` is not reckoned by their share: the fixed part of theirs makes it look thin.
fn expected_input(bytes: u64, known: Option<(f64, f64)>) -> f64 {
    let bytes = bytes as f64;
    let share = match known {
        Some((share, size)) if bytes <= size * 2.0 => share * 1.05,
        Some((share, _)) => (share * 1.05).max(0.5),
        None => 0.5,
    };
    (bytes * share.min(1.0)).ceil().max(1.0)
}

/// Tokens an answer is expected to have: what the stage's answers had and a third more; all it may have before
/// five are known.
fn expected_output(max_tokens: u32, answers: u64, answer_tokens: u64) -> f64 {
    let most = f64::from(max_tokens);
    if answers < 5 {
        return most;
    }
    (answer_tokens as f64 / answers as f64 * 4.0 / 3.0 + 16.0).min(most)
}

fn earliest(wait_ms: Option<u64>, due: Option<i64>, now: i64) -> Option<u64> {
    let due = due.map(|due| u64::try_from(due - now).unwrap_or(0).max(1));
    match (wait_ms, due) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
