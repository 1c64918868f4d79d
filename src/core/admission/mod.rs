//! Admission: which of the waiting tasks may call Claude now.
//!
//! One pure decision over a snapshot: the governor's permits (requests, input and output tokens apart),
//! overload, the breaker, each job's budget and concurrency, the day's caps, fairness between jobs, and who writes a
//! prefix into the prompt cache before others read it ([`super::cache`]).
//! The store then writes the decision guarded by the same conditions, so two consumers that
//! decide at once cannot take the same permit or dollar twice; the loser reads and decides again.

pub mod cache;

use self::cache::{CacheTtl, Entry, Mark, TokenPrice};

/// Refill is counted a little slower, and a bucket a little smaller, than the API announces: calls reach
/// the API later than they were admitted, and what it refilled beyond its full bucket meanwhile is lost.
const REFILL_SHARE: f64 = 0.97;
const CAP_SHARE: f64 = 0.9;
/// A class that had no call for this long sends one whatever its levels say: limits are per minute, so a level that is
/// still short was counted or announced wrongly. The store has the same figure.
pub const PROBE_AFTER_MS: i64 = 300_000;

/// One of a class's three buckets, as of the class's `at`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bucket {
    /// Per minute, as announced.
    pub limit: f64,
    /// The largest `remaining` ever seen: the burst the API allows.
    pub cap: f64,
    pub level: f64,
}

impl Bucket {
    /// The level after `ms` more.
    pub fn after(&self, ms: i64) -> f64 {
        let refilled = self.level + self.per_ms() * ms.max(0) as f64;
        refilled.min(self.usable()).max(self.level.min(0.0))
    }

    /// What the store multiplies elapsed milliseconds by.
    pub fn per_ms(&self) -> f64 {
        self.limit * REFILL_SHARE / 60_000.0
    }

    /// The most this bucket is ever filled to. Never under one request's worth.
    pub fn usable(&self) -> f64 {
        (self.cap * CAP_SHARE).max(1.0)
    }

    /// The least that a bucket holds which such a call was refused by: it goes when that much is there, and not before.
    pub fn cap_for(need: f64) -> f64 {
        need / CAP_SHARE
    }

    /// What a call that wants `need` must find: a call larger than the whole bucket goes when it is full.
    pub fn demand(&self, need: f64) -> f64 {
        need.min(self.usable())
    }

    /// Milliseconds until it is full, from a level of `level`; `None` where it is, or never will be.
    pub fn until_full(&self, level: f64) -> Option<u64> {
        let wait = self.wait_ms(level, self.usable());
        (wait > 0 && self.per_ms() > 0.0).then_some(wait)
    }

    /// Milliseconds until `need` is there, from a level of `level`.
    fn wait_ms(&self, level: f64, need: f64) -> u64 {
        let short = self.demand(need) - level;
        if short <= 0.0 {
            return 0;
        }
        if self.per_ms() <= 0.0 {
            return u64::from(u32::MAX);
        }
        (short / self.per_ms()).ceil().min(f64::from(u32::MAX)) as u64
    }
}

/// The governor's row of one model class.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Class {
    pub name: String,
    /// Its rate headers have been seen.
    pub seen: bool,
    pub in_flight: u32,
    /// Calls in flight that overload leaves; `None` while nothing was refused.
    pub window: Option<f64>,
    /// Its calls get no answer: one goes out at a time, to see.
    pub down: bool,
    pub slow_until: i64,
    pub at: i64,
    pub requests: Bucket,
    pub input: Bucket,
    pub output: Bucket,
}

impl Class {
    /// When one call with that much input may go, all else aside.
    pub fn permit_at(&self, now: i64, input: f64) -> i64 {
        let elapsed = now - self.at;
        let wait = |bucket: &Bucket, need: f64| bucket.wait_ms(bucket.after(elapsed), need);
        let wait = match self.seen {
            true => wait(&self.requests, 1.0)
                .max(wait(&self.input, input))
                .max(wait(&self.output, 1.0)),
            false => 0,
        };
        let by_levels = now.saturating_add_unsigned(wait);
        let by_levels = match self.in_flight {
            0 => by_levels.min(self.at.saturating_add(PROBE_AFTER_MS).max(now)),
            _ => by_levels,
        };
        by_levels.max(self.slow_until)
    }

    /// So many calls of that size would leave as much again in each bucket, and nothing was refused. Only then may tasks be
    /// claimed ahead: permits are taken at the claim, the bucket fills up again while a call stands in line, and line and bucket
    /// together could be more than the API has.
    pub fn roomy(&self, now: i64, calls: u32, input: f64, output: f64) -> bool {
        let holds = |bucket: &Bucket, need: f64| {
            bucket.after(now - self.at) >= 2.0 * f64::from(calls) * need
        };
        self.seen
            && self.window.is_none()
            && !self.down
            && holds(&self.requests, 1.0)
            && holds(&self.input, input)
            && holds(&self.output, output)
    }
}

/// Whether calls may go out at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    Closed,
    /// Nothing goes out before `until`.
    Open {
        until: i64,
    },
    /// One probe may go out; nothing else until its end is known.
    HalfOpen {
        probing: bool,
    },
}

/// A job with work.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: String,
    pub tenant: String,
    pub in_flight: u32,
    /// Calls of it are in batches: they may give back what they reserved.
    pub in_batches: bool,
    pub concurrency: u32,
    /// Nano-dollars that calls may still reserve: the cap less what is spent, reserved, possibly paid and held
    /// back for the synthesis. `None`: no cap.
    pub budget: Option<i64>,
    /// Nano-dollars left of the tenant's day.
    pub day: Option<i64>,
    /// Index into [`Snapshot::token_budgets`]: the token that submitted it, where that has caps of its own.
    pub token_budget: Option<usize>,
}

/// What the jobs of one token share.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenBudget {
    /// Calls in flight of all its jobs.
    pub in_flight: u32,
    pub concurrency: Option<u32>,
    /// Nano-dollars left of its day.
    pub day: Option<i64>,
}

impl TokenBudget {
    fn is_full(&self) -> bool {
        self.concurrency.is_some_and(|most| self.in_flight >= most)
    }
}

/// A task that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Index into [`Snapshot::jobs`].
    pub job: usize,
    /// Index into [`Snapshot::classes`].
    pub class: usize,
    pub idx: u32,
    /// Tokens to reserve.
    pub input: f64,
    pub output: f64,
    /// Worst case of its next call in nano-dollars.
    pub worst: i64,
    /// The ledger has its answer: no call, no permit, no money.
    pub free: bool,
    /// How its prompt begins, where the prompt cache would keep that.
    pub shared: Option<Shared>,
}

/// What a candidate has in common with others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shared {
    /// Index into [`Snapshot::prefixes`].
    pub prefix: usize,
    pub price: TokenPrice,
    /// Calls that will want it, this one with them.
    pub calls: u64,
    /// Tokens to reserve where the prefix is read: the limiter does not count those.
    pub input: f64,
    /// What a mark adds to the worst case, by [`CacheTtl`].
    pub extra: [i64; 2],
}

impl Candidate {
    /// Tokens of input and nano-dollars to reserve if it goes so.
    fn needs(&self, mark: Mark) -> (f64, i64) {
        let Some(shared) = &self.shared else {
            return (self.input, self.worst);
        };
        let [short, long] = shared.extra;
        let extra = match mark.ttl() {
            None => 0,
            Some(CacheTtl::FiveMinutes) => short,
            Some(CacheTtl::OneHour) => long,
        };
        let input = match mark {
            Mark::Read(_) => shared.input,
            Mark::Plain | Mark::Write(_) => self.input,
        };
        (input, self.worst.saturating_add(extra))
    }
}

/// A task that was admitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    /// Index into [`Snapshot::tasks`].
    pub task: usize,
    pub mark: Mark,
    /// Tokens of input and nano-dollars that it reserves.
    pub input: f64,
    pub worst: i64,
}

/// Everything the decision looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub now: i64,
    /// Calls this consumer can start.
    pub slots: u32,
    /// Calls in flight in a class whose headers were never seen.
    pub governor_start: u32,
    pub breaker: Breaker,
    /// Nano-dollars left of the account's day, which all tenants share.
    pub account_day: Option<i64>,
    pub classes: Vec<Class>,
    pub jobs: Vec<Job>,
    pub token_budgets: Vec<TokenBudget>,
    /// Beginnings of prompts that tasks share.
    pub prefixes: Vec<Entry>,
    /// How long calls wait for the head of the one that writes their prefix.
    pub patience_ms: i64,
    /// In the order in which they should go, for each job.
    pub tasks: Vec<Candidate>,
}

/// What to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Admission {
    pub take: Vec<Taken>,
    /// The one that is taken is the breaker's probe.
    pub probe: bool,
    /// Calls that could go besides, had this consumer the slots.
    pub more: u32,
    /// When something that was held back by permits may go, from `now`.
    pub wait_ms: Option<u64>,
    /// Jobs (indexes) of which no candidate fits the budget and nothing is in flight that could free some.
    pub over_budget: Vec<usize>,
    /// The same for the day's cap.
    pub over_day: Vec<usize>,
    /// Jobs that came to work while the breaker is open, and have nothing that could be done without a call.
    pub halted: Vec<usize>,
}

/// Decides.
pub fn admit(snapshot: &Snapshot) -> Admission {
    let mut admission = Admission::default();
    let mut slots = snapshot.slots;
    let mut rooms: Vec<Room> = snapshot
        .classes
        .iter()
        .map(|class| Room::of(class, snapshot))
        .collect();
    let mut jobs: Vec<Seat> = snapshot
        .jobs
        .iter()
        .map(|job| Seat {
            in_flight: job.in_flight,
            budget: job.budget,
            day: job.day,
            blocked: job.in_batches,
            ..Seat::default()
        })
        .collect();
    let mut token_budgets = snapshot.token_budgets.clone();
    let mut prefixes = snapshot.prefixes.clone();
    let mut account_day = snapshot.account_day;
    let mut in_flight = snapshot.jobs.iter().any(|job| job.in_flight > 0);
    let mut waiting: Vec<std::collections::VecDeque<usize>> =
        vec![Default::default(); snapshot.jobs.len()];
    for (index, task) in snapshot.tasks.iter().enumerate() {
        if task.free {
            admission.take.push(Taken {
                task: index,
                mark: Mark::Plain,
                input: task.input,
                worst: task.worst,
            });
        } else if let Some(list) = waiting.get_mut(task.job) {
            list.push_back(index);
        }
    }

    let mut probes = match snapshot.breaker {
        Breaker::Closed => u32::MAX,
        Breaker::HalfOpen { probing: false } => 1,
        Breaker::HalfOpen { probing: true } => 0,
        Breaker::Open { until } => {
            if snapshot.tasks.iter().any(|task| !task.free) {
                admission.hold(until - snapshot.now);
            }
            let of = |job: usize| snapshot.tasks.iter().filter(move |task| task.job == job);
            admission.halted = (0..snapshot.jobs.len())
                .filter(|job| of(*job).next().is_some() && of(*job).all(|task| !task.free))
                .collect();
            0
        }
    };

    // The job with the fewest calls in flight goes next, whoever submitted first.
    while slots > 0 && probes > 0 {
        let next = waiting
            .iter()
            .enumerate()
            .filter(|(_, list)| !list.is_empty())
            .min_by_key(|(job, _)| jobs.get(*job).map_or(u32::MAX, |seat| seat.in_flight))
            .map(|(job, _)| job);
        let Some((job, seat, list)) = next.and_then(|job| {
            Some((
                snapshot.jobs.get(job)?,
                jobs.get_mut(job)?,
                waiting.get_mut(job)?,
            ))
        }) else {
            break;
        };
        let mut token_budget = job
            .token_budget
            .and_then(|token_budget| token_budgets.get_mut(token_budget));
        if seat.in_flight >= job.concurrency
            || token_budget
                .as_ref()
                .is_some_and(|token_budget| token_budget.is_full())
        {
            // Its place frees when a call ends: nothing to wait for by the clock.
            seat.blocked = true;
            list.clear();
            continue;
        }
        let Some(index) = list.pop_front() else {
            continue;
        };
        let Some(task) = snapshot.tasks.get(index) else {
            continue;
        };
        let Some(room) = rooms.get_mut(task.class) else {
            continue;
        };
        let entry = task
            .shared
            .and_then(|shared| prefixes.get_mut(shared.prefix));
        let marked = match (&entry, &task.shared) {
            (Some(entry), Some(shared)) => {
                let worth = shared
                    .price
                    .worth(shared.calls, room.gap_ms(shared.input, task.output));
                entry.next(snapshot.now, worth, snapshot.patience_ms)
            }
            _ => Ok(Mark::Plain),
        };
        let mut mark = match marked {
            Ok(mark) => mark,
            Err(wait) => {
                seat.blocked = true;
                admission.hold(wait);
                continue;
            }
        };
        let purse_day = token_budget
            .as_ref()
            .and_then(|token_budget| token_budget.day);
        let least = [seat.budget, seat.day, purse_day, account_day]
            .into_iter()
            .flatten()
            .min();
        if least.is_some_and(|left| task.needs(mark).1 > left) {
            // What is left may still do for the same call without a mark.
            mark = Mark::Plain;
        }
        let (input, worst) = task.needs(mark);
        if seat.budget.is_some_and(|left| worst > left) {
            seat.short_of_budget = true;
            continue;
        }
        if seat.day.is_some_and(|left| worst > left) {
            seat.short_of_day = true;
            continue;
        }
        if account_day.is_some_and(|left| worst > left) {
            // Whatever is in flight may give back what it reserved.
            seat.blocked |= in_flight;
            seat.short_of_day = true;
            continue;
        }
        if let Some(token_budget) = &token_budget
            && token_budget.day.is_some_and(|left| worst > left)
        {
            // What another job of the token has in flight may give back what it reserved.
            seat.blocked |= token_budget.in_flight > 0;
            seat.short_of_day = true;
            continue;
        }
        if let Err(wait) = room.take(input, task.output) {
            seat.blocked = true;
            if let Some(ms) = wait {
                admission.hold(ms);
            }
            continue;
        }
        if let Some(token_budget) = &mut token_budget {
            token_budget.in_flight += 1;
            token_budget.day = token_budget.day.map(|left| left - worst);
        }
        if let (Some(entry), Mark::Write(ttl)) = (entry, mark) {
            *entry = entry.led(snapshot.now, ttl);
        }
        seat.in_flight += 1;
        seat.budget = seat.budget.map(|left| left - worst);
        account_day = account_day.map(|left| left - worst);
        in_flight = true;
        slots -= 1;
        probes -= 1;
        admission.take.push(Taken {
            task: index,
            mark,
            input,
            worst,
        });
        // A day's cap is shared by all jobs of a tenant.
        let tenant = snapshot.jobs.get(task.job).map(|job| &job.tenant);
        for (seat, job) in jobs.iter_mut().zip(&snapshot.jobs) {
            if Some(&job.tenant) == tenant {
                seat.day = seat.day.map(|left| left - worst);
            }
        }
    }
    if slots == 0 && probes > 0 {
        let could = |(job, list): (usize, &std::collections::VecDeque<usize>)| {
            let task = snapshot.tasks.get(*list.front()?)?;
            let room = rooms.get(task.class)?;
            let left =
                (snapshot.jobs.get(job)?.concurrency).saturating_sub(jobs.get(job)?.in_flight);
            room.would_take(task.input, task.output).then_some(left)
        };
        admission.more = waiting.iter().enumerate().filter_map(could).sum();
    }
    admission.probe = matches!(snapshot.breaker, Breaker::HalfOpen { probing: false })
        && admission.take.iter().any(|taken| {
            snapshot
                .tasks
                .get(taken.task)
                .is_some_and(|task| !task.free)
        });

    for (index, seat) in jobs.iter().enumerate() {
        // A call in flight may give back what it reserved; a blocked one may still fit.
        if seat.in_flight == 0 && !seat.blocked {
            if seat.short_of_budget {
                admission.over_budget.push(index);
            } else if seat.short_of_day {
                admission.over_day.push(index);
            }
        }
    }
    admission
}

impl Admission {
    fn hold(&mut self, ms: i64) {
        let ms = u64::try_from(ms.max(1)).unwrap_or(1);
        self.wait_ms = Some(self.wait_ms.map_or(ms, |known| known.min(ms)));
    }
}

/// What is left of a job while the decision is made.
#[derive(Default)]
struct Seat {
    in_flight: u32,
    budget: Option<i64>,
    day: Option<i64>,
    short_of_budget: bool,
    short_of_day: bool,
    blocked: bool,
}

/// What is left of a class while the decision is made.
struct Room<'a> {
    class: &'a Class,
    /// Calls that may still start; `None`: as many as the buckets allow.
    places: Option<u32>,
    in_flight: u32,
    /// Since the class last had a call.
    idle_ms: i64,
    slow_ms: i64,
    requests: f64,
    input: f64,
    output: f64,
}

impl<'a> Room<'a> {
    fn of(class: &'a Class, snapshot: &Snapshot) -> Room<'a> {
        let start = (!class.seen).then_some(snapshot.governor_start);
        let window = class.window.map(|window| window.max(1.0) as u32);
        let window = if class.down { Some(1) } else { window };
        let bound = match (start, window) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let elapsed = snapshot.now - class.at;
        Room {
            class,
            places: bound.map(|bound| bound.saturating_sub(class.in_flight)),
            in_flight: class.in_flight,
            idle_ms: elapsed,
            slow_ms: class.slow_until - snapshot.now,
            requests: class.requests.after(elapsed),
            input: class.input.after(elapsed),
            output: class.output.after(elapsed),
        }
    }

    /// How far apart calls of that size are once the buckets are empty; 0 while nothing is known of them.
    fn gap_ms(&self, input: f64, output: f64) -> f64 {
        let of = |bucket: &Bucket, need: f64| {
            let per_ms = bucket.per_ms();
            if self.class.seen && per_ms > 0.0 {
                need / per_ms
            } else {
                0.0
            }
        };
        of(&self.class.requests, 1.0)
            .max(of(&self.class.input, input))
            .max(of(&self.class.output, output))
    }

    /// Whether such a call could go now.
    fn would_take(&self, input: f64, output: f64) -> bool {
        let class = self.class;
        let larger = input > class.input.usable() && self.in_flight > 0;
        let short = class.requests.wait_ms(self.requests, 1.0) > 0
            || class.input.wait_ms(self.input, input) > 0
            || class.output.wait_ms(self.output, output) > 0;
        self.slow_ms <= 0 && self.places != Some(0) && !(class.seen && (larger || short))
    }

    /// Takes the permits, or says how long until they are there (`None`: until a call ends).
    fn take(&mut self, input: f64, output: f64) -> Result<(), Option<i64>> {
        if self.slow_ms > 0 {
            return Err(Some(self.slow_ms));
        }
        if self.places == Some(0) {
            return Err(None);
        }
        if self.class.seen {
            // Larger than all that is known of the bucket: it goes alone, for every call that ends tells more of the
            // bucket's size, and beside others it would only be refused.
            if input > self.class.input.usable() && self.in_flight > 0 {
                return Err(None);
            }
            let waits = [
                self.class.requests.wait_ms(self.requests, 1.0),
                self.class.input.wait_ms(self.input, input),
                self.class.output.wait_ms(self.output, output),
            ];
            let wait = waits.into_iter().max().unwrap_or(0);
            if wait > 0 {
                let wait = i64::try_from(wait).unwrap_or(i64::MAX);
                let probe_in = PROBE_AFTER_MS - self.idle_ms;
                match self.in_flight {
                    0 if probe_in <= 0 => {}
                    0 => return Err(Some(wait.min(probe_in))),
                    _ => return Err(Some(wait)),
                }
            }
            self.requests -= 1.0;
            self.input -= input;
            self.output -= output;
        }
        self.places = self.places.map(|places| places - 1);
        self.in_flight += 1;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
