//! A consumer at work: tasks are claimed, called for many at a time, and settled as they end.
//!
//! It has three parts and a loop. The [`window`] holds calls under way and in line, and says how many more may be claimed;
//! [`gather`] holds what has ended; [`lease`] knows the invocation's time, statements and way to the database. The loop runs
//! one transaction after the other ([`cycle`]): each settles what has ended, claims in its place what the look before found
//! ([`claim`]), and looks again. Calls go on while the database works, so a slow call never holds back the rest.
//!
//! A consumer claims what it can send soon and wakes others for the rest. After its statements or `work_ms` it claims
//! nothing more: many short invocations let the platform add consumers, and what waits goes on in another one.
//!
//! Why a replay of any await here is harmless:
//! 1. settle: attempts close once, tasks move only under this lease (see [`crate::store::task::settle`]);
//! 2. claim: guarded by everything it relied on; a task that is taken is not waiting any more, and one whose claim was not
//!    answered is read back by its lease;
//! 3. call: its attempt's row stands before it begins, so a call whose end nobody saw is known as possibly paid;
//! 4. control message: [`super::job::driver`] looks where the job stands.

mod claim;
mod cycle;
mod gather;
mod lease;
mod window;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use self::claim::Plan;
use self::cycle::room;
use self::gather::{Gather, SETTLE_STATEMENTS};
use self::lease::Lease;
use self::window::Window;
use crate::app::attempt::fetch_page::Gate;
use crate::app::stage::runtime::JobRuntime;
use crate::app::support::messages;
use crate::app::{App, AppError, attempt};
use crate::core::admission::{Admission, Breaker, Snapshot, admit};
use crate::core::task::retry_policy::FETCH;
use crate::ports::{Clock, Db, Ports, Queue};
use crate::store::task::admission::Read;
use crate::store::task::tasks;

/// Waits up to this are slept through; a longer one costs a message instead of a consumer's time.
const NAP_MS: u64 = 1_000;
/// A consumer with nothing in flight waits this long for places that others hold, and looks this often.
const LINGER_MS: i64 = 600;
const LINGER_LOOK_MS: u64 = 200;
/// A consumer that may send no more while more could go wakes others: all consumers together at most once in this time.
const PASS_ON_MS: i64 = 500;
/// Consumers that one of them wakes at a time.
const MOST_WAKES: u32 = 8;
/// A claim that lost a race is decided again, so many times in a row.
const CLAIM_TRIES: u32 = 4;
/// Waiting tasks of a job that one look brings: each is a row to read and to carry over.
const LOOK_TASKS: u32 = 64;
/// With free slots, new work is looked for so often even if no call ends.
const IDLE_LOOK_MS: u64 = 1_000;
/// What a new version of the Worker leaves to a consumer at work.
const NOTICE_MS: u64 = 30_000;
/// A call may last so many times as long as calls do.
const LONGER_CALL: f64 = 1.5;
/// A place that is free is tried for about so many times by all consumers together at each look.
const TRIES: f64 = 2.0;
/// So many ends, and a quarter of the calls: more are not waited for.
const MANY_ENDED: usize = 8;
/// Statements for settles after a consumer has stopped to claim, where it has that much to settle: 30 calls, each in a
/// transaction of its own.
const SETTLES: u32 = 300;
/// An invocation may send 1,000 statements; a few are kept back for the last renewals.
const STATEMENTS: u32 = 970;

/// Claims, calls and settles until nothing is left that this consumer may do.
pub async fn work<P: Ports>(app: &App<P>) -> Result<(), AppError> {
    let mut consumer = Consumer::new(app);
    let result = consumer.run().await;
    consumer.hand_over(result).await
}

struct Consumer<'a, P: Ports> {
    app: &'a App<P>,
    lease: Lease,
    window: Window,
    gather: Gather,
    runtimes: HashMap<String, Arc<JobRuntime>>,
    /// An answer stopped everything: nothing more is claimed here, and no call begins that was claimed already.
    stopped: bool,
    /// The same, for calls that still read what they ask.
    stop: Arc<AtomicBool>,
    /// Where tasks that read a page wait for their turn.
    gate: Arc<Gate>,
    /// The head of a class that was not seen before, or of a call that others wait for: worth a look at once.
    news: bool,
    seen: Vec<String>,
    looks: Looks,
    wakes: Wakes,
}

/// What is known of the waiting tasks, and how they are looked at.
struct Looks {
    /// When this consumer last looked.
    at: i64,
    /// All tasks that a look may bring are wanted, not only those that could go.
    wide: bool,
    /// The share of each job's waiting tasks that is left to others.
    share: f64,
    /// Tasks of a stage that wait.
    backlog: u32,
    /// What the last look brought and nothing was claimed of.
    known: Option<Read>,
    /// Since when nothing is in flight here.
    idle_since: Option<i64>,
}

/// How other consumers are woken.
#[derive(Default)]
struct Wakes {
    /// So many are wanted.
    wanted: u32,
    /// When this consumer last asked whether it may wake any.
    asked_at: i64,
    /// A successor was sent for.
    succeeded: bool,
}

/// What the last look at the waiting tasks said.
#[derive(Debug, Clone, Copy, Default)]
struct Outlook {
    /// Milliseconds until something may go that may not now.
    wait_ms: Option<u64>,
    /// More could go than this consumer may send.
    more: bool,
    /// Tasks wait that are due.
    waits: bool,
}

impl<'a, P: Ports> Consumer<'a, P> {
    fn new(app: &'a App<P>) -> Self {
        let now = app.ports.clock().now_ms();
        Consumer {
            app,
            lease: Lease::new(app.id("lease"), now),
            window: Window::default(),
            gather: Gather::default(),
            runtimes: HashMap::new(),
            stopped: false,
            stop: Arc::new(AtomicBool::new(false)),
            gate: Arc::new(Gate::new(app.config.fetching.at_once)),
            news: false,
            seen: Vec::new(),
            looks: Looks {
                at: now,
                wide: true,
                share: 0.0,
                backlog: 0,
                known: None,
                idle_since: None,
            },
            wakes: Wakes::default(),
        }
    }

    fn now(&self) -> i64 {
        self.app.ports.clock().now_ms()
    }

    /// How much of its time or statements is used up, in hundredths.
    fn used(&self) -> u64 {
        let worked = u64::try_from(self.now() - self.lease.begun).unwrap_or(0);
        let time = worked * 100 / self.work_ms().max(1);
        // What is open must still be settled: the less that is, the more statements may go before.
        let most = self.app.config.max_d1_queries;
        let held = u32::try_from(self.window.held.len()).unwrap_or(u32::MAX);
        let spare = (most / 2)
            .min(SETTLES)
            .saturating_sub(held.saturating_mul(SETTLE_STATEMENTS));
        let queries = u64::from(self.lease.queries) * 100;
        time.max(queries / u64::from(most.saturating_add(spare).max(1)))
    }

    /// How long new tasks are claimed. A new version of the Worker leaves a consumer 30 s: where calls are short, they end
    /// within that.
    fn work_ms(&self) -> u64 {
        let most = self.app.config.intervals.work_ms;
        let call = (self.gather.call.or(0.0) * LONGER_CALL) as u64;
        if call > NOTICE_MS / 3 {
            return most;
        }
        most.min(NOTICE_MS - call)
    }

    fn accepting(&self) -> bool {
        !self.stopped && self.used() < 100
    }

    fn renew_in(&self) -> u64 {
        let lease_ms = self.app.config.intervals.lease_ms;
        self.lease.renew_in(self.now(), lease_ms)
    }

    /// How long a call that has ended waits for others.
    fn gather_ms(&self) -> u64 {
        let least = self.app.config.intervals.gather_ms;
        if self.accepting() {
            return self.gather.wait_ms(least);
        }
        let left = STATEMENTS.saturating_sub(self.lease.queries);
        let calls = self.window.calls.len();
        self.gather.drain_ms(least, calls, left)
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
            if self.window.calls.is_empty() && !self.window.line.is_empty() {
                // Others run as many as the job may: theirs to do.
                self.leave_line(|_| true, "others have its job's places", 0);
                continue;
            }
            // The successor comes while this one still has its calls: places that become free are taken up at once.
            if self.used() >= 70 && !self.stopped && !self.wakes.succeeded {
                self.wakes.succeeded = true;
                if outlook.waits {
                    self.wake_now(1).await;
                    continue;
                }
            }
            let timer = if self.window.calls.is_empty() {
                match self.nap(&outlook) {
                    Some(ms) => ms,
                    None => return Ok(outlook),
                }
            } else {
                self.looks.idle_since = None;
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

    /// With nothing in flight: how long to wait before the next look, if at all.
    fn nap(&mut self, outlook: &Outlook) -> Option<u64> {
        if !self.accepting() {
            return None;
        }
        if let Some(ms) = outlook.wait_ms {
            return (ms <= NAP_MS).then_some(ms);
        }
        let now = self.now();
        let since = *self.looks.idle_since.get_or_insert(now);
        (outlook.waits && now - since < LINGER_MS).then_some(LINGER_LOOK_MS)
    }

    /// More could go, and enough of it has a place here that a transaction is worth it.
    fn is_hungry(&self, outlook: &Outlook) -> bool {
        let free = self.free_slots();
        let enough = (self.connections() / 2).max(1);
        outlook.more && (free >= enough || (free > 0 && self.window.line.is_empty()))
    }

    /// How long nothing needs to be looked at, if no call ends.
    fn next_look(&self, outlook: &Outlook) -> u64 {
        let renew = self.renew_in();
        if !self.gather.ended.is_empty() {
            let since = u64::try_from(self.now() - self.gather.waits_since()).unwrap_or(0);
            return self.gather_ms().saturating_sub(since).min(renew);
        }
        if !self.accepting() {
            return renew;
        }
        if self.is_hungry(outlook) {
            return 0;
        }
        if self.free_slots() == 0 {
            return renew;
        }
        let since = u64::try_from(self.now() - self.looks.at).unwrap_or(0);
        let wait = outlook.wait_ms.unwrap_or(IDLE_LOOK_MS).min(IDLE_LOOK_MS);
        wait.saturating_sub(since).min(renew)
    }

    fn look_is_due(&self, outlook: &Outlook) -> bool {
        self.window.calls.is_empty()
            || self.renew_in() == 0
            || (self.accepting() && self.next_look(outlook) == 0)
    }

    /// Calls that began together end together: what has ended is written a moment later, with the others.
    fn settle_is_due(&self) -> bool {
        let since = u64::try_from(self.now() - self.gather.waits_since()).unwrap_or(0);
        let ended = self.gather.ended.len();
        let many = ended >= MANY_ENDED && ended * 4 >= self.window.calls.len();
        let gathered = many || since >= self.gather_ms();
        !self.gather.ended.is_empty() && (gathered || self.window.calls.is_empty())
    }

    /// Settles what has ended, looks at what waits, claims what may go, and begins its calls.
    async fn cycle(&mut self) -> Result<Outlook, AppError> {
        let mut plan = self.plan_ahead();
        for _ in 0..CLAIM_TRIES {
            if !self.accepting() && !self.gather.ended.is_empty() {
                self.wakes.wanted = self.wakes.wanted.max(1);
            }
            let turned = self.turn(plan.as_ref()).await?;
            plan = None;
            let Some(mut read) = turned.read else {
                return Ok(Outlook::default());
            };
            if turned.lost {
                self.looks.share = self.share();
            }
            self.keep_known(&mut read).await?;
            let wide = self.looks.wide;
            let snapshot = self.snapshot(&read);
            let mut admission = admit(&snapshot);
            self.note_backlog(&read, &admission);
            if self.looks_again(&admission, &snapshot, wide) {
                (self.looks.wide, self.looks.share) = (true, 0.0);
                continue;
            }
            self.looks.wide = false;
            self.looks.share = self.share();
            self.exhausted(&admission, &read).await?;
            let left = self.leave_last_places(&mut admission, &snapshot);
            let outlook = Outlook {
                wait_ms: earliest(admission.wait_ms, read.due, snapshot.now),
                more: admission.more > 0 && !left,
                waits: read.waiting.iter().any(|task| !task.free),
            };
            if admission.take.is_empty() {
                self.looks.known = Some(read);
                return Ok(outlook);
            }
            plan = Some(Plan {
                admission,
                snapshot,
                read,
            });
        }
        if let Some(plan) = plan {
            let turned = self.turn(Some(&plan)).await?;
            self.looks.known = turned.read;
        }
        Ok(Outlook {
            wait_ms: Some(20),
            more: false,
            waits: true,
        })
    }

    /// The look brought too little to say that nothing may go.
    fn looks_again(&self, admission: &Admission, snapshot: &Snapshot, wide: bool) -> bool {
        let short = !admission.over_budget.is_empty() || !admission.over_day.is_empty();
        if self.looks.share > 0.0 && (short || snapshot.tasks.is_empty()) {
            return true;
        }
        let nothing = admission.take.is_empty() && snapshot.slots > 0;
        !wide && nothing && !snapshot.tasks.is_empty() && self.look_width() < room(snapshot)
    }

    /// How many tasks wait, and how many consumers could send what this one cannot.
    fn note_backlog(&mut self, read: &Read, admission: &Admission) {
        let peers = read.waiting.iter().map(|task| task.peers).max();
        self.looks.backlog = u32::try_from(peers.unwrap_or(0)).unwrap_or(u32::MAX);
        let each = self.app.config.connections.saturating_mul(2).max(1);
        let more = admission.more.min(self.looks.backlog.max(1));
        self.wakes.wanted = more.div_ceil(each).min(MOST_WAKES);
    }

    /// The share of the tasks to leave to others at the next look: none where this consumer could claim all there are.
    fn share(&self) -> f64 {
        if self.looks.backlog <= 4 * self.look_width() {
            return 0.0;
        }
        self.app.dice()
    }

    /// All consumers see the last places of a job, and one can have them: each tries for them as often as it has calls of
    /// the job among all. Says whether it leaves any.
    fn leave_last_places(&self, admission: &mut Admission, snapshot: &Snapshot) -> bool {
        let connections = self.connections();
        // One that was woken for these places, and ends without any.
        let newcomer = self.window.held.is_empty();
        let before = admission.take.len();
        let leaves: Vec<bool> = (snapshot.jobs.iter())
            .map(|job| {
                let room = job.concurrency.saturating_sub(job.in_flight);
                let own = self.window.open(&job.id).max(connections);
                let share = f64::from(own) * TRIES / f64::from(job.in_flight.max(1));
                let share = if newcomer { share.max(0.5) } else { share };
                room < connections * 2 && share < 1.0 && self.app.dice() > share
            })
            .collect();
        admission.take.retain(|taken| {
            let task = snapshot.tasks.get(taken.task);
            task.is_none_or(|task| task.free || leaves.get(task.job) != Some(&true))
        });
        admission.take.len() < before
    }

    /// What may be claimed in the place of what has ended, by the last look. Where a job has little room besides, others
    /// compete for that: it is left to a fresh look.
    fn plan_ahead(&mut self) -> Option<Plan> {
        let mut read = self.looks.known.take()?;
        if !self.accepting() || read.breaker != Breaker::Closed || self.free_slots() == 0 {
            return None;
        }
        // An answer that was cut teaches how many items fit: what the last look knew would ask for as many again.
        let cut = |job: &str| {
            let mut ended = self.gather.ended.iter().filter(|one| one.job == job);
            ended.any(|one| {
                let stop = one.attempt.as_ref().and_then(|a| a.stop_reason.as_deref());
                stop == Some("max_tokens")
            })
        };
        read.waiting
            .retain(|task| !task.free && task.form != FETCH && !cut(&task.job));
        if self.looks.share > 0.0 {
            // The first ones may be claimed by whoever saw them, too.
            let from = (read.waiting.len() as f64 * self.app.dice()) as usize;
            read.waiting.rotate_left(from);
        }
        let ended = |job: &str, class: Option<&str>| {
            let ended = self.gather.ended.iter();
            let ended = ended.filter(|one| one.attempt.is_some());
            let ended =
                ended.filter(|one| class.map_or(one.job == job, |class| one.class == class));
            u32::try_from(ended.count()).unwrap_or(u32::MAX)
        };
        let plenty = self.app.config.connections.saturating_mul(2);
        for job in &mut read.jobs {
            if job.concurrency.saturating_sub(job.in_flight) < plenty {
                job.concurrency = job.concurrency.min(job.in_flight);
            }
            job.in_flight = job.in_flight.saturating_sub(ended(&job.id, None));
        }
        for row in &mut read.classes {
            let class = &mut row.class;
            class.in_flight = class.in_flight.saturating_sub(ended("", Some(&class.name)));
        }
        let snapshot = self.snapshot(&read);
        let admission = admit(&snapshot);
        (!admission.take.is_empty()).then_some(Plan {
            admission,
            snapshot,
            read,
        })
    }

    /// Sends for other consumers. Lost, the sweep finds the work.
    async fn wake_now(&mut self, count: u32) {
        let queue = self.app.ports.queue().clone();
        let wakes = (0..count).map(|_| messages::wake_later(0)).collect();
        if let Err(error) = self.meanwhile(queue.send(wakes)).await {
            self.app.log_fault("send_wake", &error.to_string());
        }
    }

    /// Sends a message for what falls due then, unless one is on its way already. Lost, the sweep finds the work.
    async fn wake_another(&mut self, ms: u64) {
        let delay = messages::delay_seconds(ms);
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
            .meanwhile(queue.send(vec![messages::wake_later(delay)]))
            .await;
        if let Err(error) = sent {
            self.app.log_fault("send_wake", &error.to_string());
        }
    }

    /// Waits for the calls that are under way and writes down all that has ended: nothing that was paid is dropped while
    /// the database takes it.
    async fn drain(&mut self) -> Result<(), AppError> {
        self.leave_line(
            |_| true,
            "its consumer can write nothing down",
            attempt::NOT_YET_MS,
        );
        while !self.window.calls.is_empty() || !self.gather.ended.is_empty() {
            if self.settle_is_due() || self.renew_in() == 0 {
                self.turn(None).await?;
                continue;
            }
            let clock = self.app.ports.clock().clone();
            let wait = self.next_look(&Outlook::default()).max(1);
            self.next_event(clock.sleep(wait)).await;
            self.take_ready();
        }
        Ok(())
    }

    /// The end of a consumer: what still waits is handed to another by a message, with the delay at which
    /// it falls due.
    async fn hand_over(&mut self, result: Result<Outlook, AppError>) -> Result<(), AppError> {
        let outlook = match result {
            Ok(outlook) => outlook,
            Err(error) => {
                self.stopped = true;
                self.drain().await?;
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
            self.wake_another(ms).await;
        }
        self.app.log(
            json!({"event": "consumer_done", "lease": self.lease.id, "ms": self.now() - self.lease.begun}),
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
