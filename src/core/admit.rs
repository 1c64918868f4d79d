//! Admission: which of the waiting tasks may call Claude now.
//!
//! One pure decision over a snapshot: the governor's permits (requests, input and output tokens apart),
//! overload, the breaker, each job's budget and concurrency, the day's caps, fairness between jobs, and who writes a
//! prefix into the prompt cache before others read it ([`super::cache`]).
//! The store then writes the decision guarded by the same conditions, so two consumers that
//! decide at once cannot take the same permit or dollar twice; the loser reads and decides again.

use super::cache::{CacheTtl, Entry, Mark, TokenPrice};

/// Refill is counted a little slower, and a bucket a little smaller, than the API announces: calls reach
/// the API later than they were admitted, and what it refilled beyond its full bucket meanwhile is lost.
const REFILL_SHARE: f64 = 0.97;
const CAP_SHARE: f64 = 0.9;

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
    pub slow_until: i64,
    pub at: i64,
    pub requests: Bucket,
    pub input: Bucket,
    pub output: Bucket,
}

impl Class {
    /// So many calls of that size would leave as much again in each bucket, and nothing was refused. Only then may tasks be
    /// claimed ahead: permits are taken at the claim, the bucket fills up again while a call stands in line, and line and bucket
    /// together could be more than the API has.
    pub fn roomy(&self, now: i64, calls: u32, input: f64, output: f64) -> bool {
        let holds = |bucket: &Bucket, need: f64| {
            bucket.after(now - self.at) >= 2.0 * f64::from(calls) * need
        };
        self.seen
            && self.window.is_none()
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
    /// Index into [`Snapshot::purses`]: the token that submitted it, where that has caps of its own.
    pub purse: Option<usize>,
}

/// What the jobs of one token share.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Purse {
    /// Calls in flight of all its jobs.
    pub in_flight: u32,
    pub concurrency: Option<u32>,
    /// Nano-dollars left of its day.
    pub day: Option<i64>,
}

impl Purse {
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
    pub purses: Vec<Purse>,
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
    let mut purses = snapshot.purses.clone();
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
        let mut purse = job.purse.and_then(|purse| purses.get_mut(purse));
        if seat.in_flight >= job.concurrency || purse.as_ref().is_some_and(|purse| purse.is_full())
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
        let purse_day = purse.as_ref().and_then(|purse| purse.day);
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
        if let Some(purse) = &purse
            && purse.day.is_some_and(|left| worst > left)
        {
            // What another job of the token has in flight may give back what it reserved.
            seat.blocked |= purse.in_flight > 0;
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
        if let Some(purse) = &mut purse {
            purse.in_flight += 1;
            purse.day = purse.day.map(|left| left - worst);
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
    slow_ms: i64,
    requests: f64,
    input: f64,
    output: f64,
}

impl<'a> Room<'a> {
    fn of(class: &'a Class, snapshot: &Snapshot) -> Room<'a> {
        let start = (!class.seen).then_some(snapshot.governor_start);
        let window = class.window.map(|window| window.max(1.0) as u32);
        let bound = match (start, window) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let elapsed = snapshot.now - class.at;
        Room {
            class,
            places: bound.map(|bound| bound.saturating_sub(class.in_flight)),
            in_flight: class.in_flight,
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
                return Err(Some(i64::try_from(wait).unwrap_or(i64::MAX)));
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
mod tests {
    use super::*;

    fn bucket(limit: f64, level: f64) -> Bucket {
        Bucket {
            limit,
            cap: limit,
            level,
        }
    }

    fn class(requests: f64) -> Class {
        Class {
            name: "haiku-5-5".into(),
            seen: true,
            requests: bucket(600.0, requests),
            input: bucket(1e9, 1e9),
            output: bucket(1e9, 1e9),
            ..Class::default()
        }
    }

    #[test]
    fn only_a_class_with_much_to_spare_is_claimed_from_ahead() {
        assert!(class(600.0).roomy(0, 50, 10.0, 10.0));
        assert!(!class(99.0).roomy(0, 50, 10.0, 10.0));
        assert!(!class(600.0).roomy(0, 50, 1e8, 10.0));
        assert!(!class(600.0).roomy(0, 50, 10.0, 1e8));
        let refused = Class {
            window: Some(40.0),
            ..class(600.0)
        };
        assert!(!refused.roomy(0, 1, 1.0, 1.0));
        let unknown = Class {
            seen: false,
            ..class(600.0)
        };
        assert!(!unknown.roomy(0, 1, 1.0, 1.0));
    }

    fn job(id: &str) -> Job {
        Job {
            id: id.into(),
            tenant: "default".into(),
            in_flight: 0,
            in_batches: false,
            concurrency: 50,
            budget: None,
            day: None,
            purse: None,
        }
    }

    fn task(job: usize, idx: u32) -> Candidate {
        Candidate {
            job,
            class: 0,
            idx,
            input: 100.0,
            output: 100.0,
            worst: 10,
            free: false,
            shared: None,
        }
    }

    fn indexes(admission: &Admission) -> Vec<usize> {
        admission.take.iter().map(|taken| taken.task).collect()
    }

    fn snapshot(classes: Vec<Class>, jobs: Vec<Job>, tasks: Vec<Candidate>) -> Snapshot {
        Snapshot {
            now: 0,
            slots: 100,
            governor_start: 50,
            breaker: Breaker::Closed,
            account_day: None,
            classes,
            jobs,
            purses: Vec::new(),
            prefixes: Vec::new(),
            patience_ms: 20_000,
            tasks,
        }
    }

    fn many(job: usize, n: u32) -> Vec<Candidate> {
        (0..n).map(|idx| task(job, idx)).collect()
    }

    #[test]
    fn permits_are_never_overdrawn_and_the_wait_is_what_the_refill_takes() {
        let decided = admit(&snapshot(vec![class(3.0)], vec![job("a")], many(0, 10)));
        assert_eq!(decided.take.len(), 3);
        // 600 a minute is one in 100 ms, counted at 97 %.
        assert_eq!(decided.wait_ms, Some(104));
    }

    #[test]
    fn a_call_larger_than_the_known_bucket_goes_alone() {
        let small = Class {
            input: bucket(60_000.0, 500.0),
            ..class(100.0)
        };
        let large = Candidate {
            input: 700.0,
            ..task(0, 0)
        };
        let tasks = vec![large, task(0, 1)];
        let decided = admit(&snapshot(
            vec![small.clone()],
            vec![job("a")],
            tasks.clone(),
        ));
        assert_eq!(indexes(&decided), vec![1]);
        let full = Class {
            input: Bucket {
                limit: 60_000.0,
                cap: 500.0,
                level: 450.0,
            },
            ..small
        };
        let decided = admit(&snapshot(vec![full.clone()], vec![job("a")], tasks.clone()));
        assert_eq!(indexes(&decided), vec![0]);
        let busy = Class {
            in_flight: 1,
            ..full
        };
        let decided = admit(&snapshot(vec![busy], vec![job("a")], tasks));
        assert_eq!(indexes(&decided), vec![1]);
    }

    /// Or the claim's guard would refuse both, for ever.
    #[test]
    fn the_account_s_day_is_shared_by_tenants() {
        let other = Job {
            tenant: "other".into(),
            ..job("b")
        };
        let tasks = vec![task(0, 0), task(1, 0)];
        let mut both = snapshot(vec![class(100.0)], vec![job("a"), other], tasks);
        both.account_day = Some(15);
        let decided = admit(&both);
        assert_eq!(indexes(&decided), [0]);
        // What the first reserves may come back.
        assert_eq!(decided.over_day, [] as [usize; 0]);
        both.account_day = Some(5);
        assert_eq!(admit(&both).over_day, [0, 1]);
    }

    #[test]
    fn an_open_breaker_halts_what_only_calls_could_bring_on() {
        let free = Candidate {
            free: true,
            ..task(1, 0)
        };
        let jobs = vec![job("a"), job("b"), job("c")];
        let tasks = vec![task(0, 0), free, task(1, 1)];
        let open = Snapshot {
            breaker: Breaker::Open { until: 9_000 },
            ..snapshot(vec![class(100.0)], jobs, tasks)
        };
        let decided = admit(&open);
        assert_eq!((indexes(&decided), decided.halted), (vec![1], vec![0]));
        assert_eq!(decided.wait_ms, Some(9_000));
    }

    #[test]
    fn an_unknown_class_is_bounded_by_calls_in_flight() {
        let unknown = Class {
            in_flight: 45,
            ..Class::default()
        };
        let decided = admit(&snapshot(vec![unknown], vec![job("a")], many(0, 10)));
        assert_eq!(decided.take.len(), 5);
        assert_eq!(decided.wait_ms, None);
    }

    #[test]
    fn the_job_with_the_fewest_calls_goes_first() {
        let busy = Job {
            in_flight: 4,
            ..job("a")
        };
        let tasks = [many(0, 8), many(1, 8)].concat();
        let decided = admit(&snapshot(
            vec![class(6.0)],
            vec![busy, job("b")],
            tasks.clone(),
        ));
        let of = |job| {
            decided
                .take
                .iter()
                .filter(|taken| tasks[taken.task].job == job)
                .count()
        };
        assert_eq!((of(0), of(1)), (1, 5));
    }

    #[test]
    fn concurrency_counts_calls_in_flight() {
        let nearly = Job {
            in_flight: 48,
            ..job("a")
        };
        let decided = admit(&snapshot(vec![class(100.0)], vec![nearly], many(0, 10)));
        assert_eq!(decided.take.len(), 2);
    }

    #[test]
    fn the_budget_is_never_passed_and_exhaustion_is_named_only_when_nothing_can_free_some() {
        let poor = Job {
            budget: Some(25),
            ..job("a")
        };
        let decided = admit(&snapshot(
            vec![class(100.0)],
            vec![poor.clone()],
            many(0, 10),
        ));
        assert_eq!(decided.take.len(), 2);
        assert!(decided.over_budget.is_empty());
        let broke = Job {
            budget: Some(9),
            ..poor
        };
        let decided = admit(&snapshot(
            vec![class(100.0)],
            vec![broke.clone()],
            many(0, 1),
        ));
        assert_eq!((decided.take.len(), decided.over_budget), (0, vec![0]));
        let waiting = Job {
            in_flight: 1,
            ..broke
        };
        let decided = admit(&snapshot(vec![class(100.0)], vec![waiting], many(0, 1)));
        assert!(decided.over_budget.is_empty());
    }

    #[test]
    fn jobs_of_one_tenant_share_its_day() {
        let job = |id: &str| Job {
            day: Some(15),
            ..job(id)
        };
        let mut tasks = many(0, 1);
        tasks.extend(many(1, 1));
        let jobs = vec![job("a"), job("b")];
        let decided = admit(&snapshot(vec![class(100.0)], jobs, tasks));
        assert_eq!(decided.take.len(), 1);
    }

    #[test]
    fn the_day_s_cap_is_told_from_the_budget() {
        let day = Job {
            day: Some(5),
            ..job("a")
        };
        let decided = admit(&snapshot(vec![class(100.0)], vec![day], many(0, 3)));
        assert_eq!((decided.over_budget, decided.over_day), (vec![], vec![0]));
    }

    #[test]
    fn the_jobs_of_a_token_share_its_caps() {
        let of_token = |id: &str| Job {
            purse: Some(0),
            ..job(id)
        };
        let shot = |purse: Purse| Snapshot {
            purses: vec![purse],
            ..snapshot(
                vec![class(100.0)],
                vec![of_token("a"), of_token("b"), job("c")],
                [many(0, 5), many(1, 5), many(2, 5)].concat(),
            )
        };
        let of = |decided: &Admission, jobs: std::ops::Range<usize>| {
            let tasks = jobs.start * 5..jobs.end * 5;
            decided
                .take
                .iter()
                .filter(|taken| tasks.contains(&taken.task))
                .count()
        };
        let narrow = Purse {
            in_flight: 1,
            concurrency: Some(4),
            day: None,
        };
        let decided = admit(&shot(narrow));
        assert_eq!((of(&decided, 0..2), of(&decided, 2..3)), (3, 5));
        let poor = Purse {
            day: Some(45),
            ..Purse::default()
        };
        let decided = admit(&shot(poor));
        assert_eq!((of(&decided, 0..2), of(&decided, 2..3)), (4, 5));
        assert!(decided.over_day.is_empty());
        // What is in flight may give back what it reserved.
        let waiting = Purse {
            in_flight: 1,
            day: Some(9),
            ..Purse::default()
        };
        let decided = admit(&shot(waiting.clone()));
        assert_eq!((of(&decided, 0..2), decided.over_day), (0, vec![]));
        let broke = Purse {
            in_flight: 0,
            ..waiting
        };
        assert_eq!(admit(&shot(broke)).over_day, [0, 1]);
    }

    #[test]
    fn an_open_breaker_lets_nothing_out_but_free_answers() {
        let mut shot = snapshot(vec![class(100.0)], vec![job("a")], many(0, 3));
        shot.breaker = Breaker::Open { until: 5_000 };
        shot.tasks[1].free = true;
        let decided = admit(&shot);
        assert_eq!((indexes(&decided), decided.wait_ms), (vec![1], Some(5_000)));
    }

    #[test]
    fn a_half_open_breaker_lets_one_probe_out() {
        let mut shot = snapshot(
            vec![class(100.0)],
            vec![job("a"), job("b")],
            [many(0, 3), many(1, 3)].concat(),
        );
        shot.breaker = Breaker::HalfOpen { probing: false };
        let decided = admit(&shot);
        assert_eq!((decided.take.len(), decided.probe), (1, true));
        shot.breaker = Breaker::HalfOpen { probing: true };
        assert!(admit(&shot).take.is_empty());
    }

    #[test]
    fn overload_bounds_the_whole_class_but_never_stops_it() {
        let mut slow = class(100.0);
        slow.window = Some(0.3);
        let decided = admit(&snapshot(vec![slow.clone()], vec![job("a")], many(0, 5)));
        assert_eq!(decided.take.len(), 1);
        slow.slow_until = 700;
        let decided = admit(&snapshot(vec![slow], vec![job("a")], many(0, 5)));
        assert_eq!((decided.take.len(), decided.wait_ms), (0, Some(700)));
    }

    #[test]
    fn a_call_larger_than_the_bucket_goes_when_the_bucket_is_full() {
        let mut small = class(100.0);
        small.input = bucket(50.0, 50.0);
        let decided = admit(&snapshot(vec![small], vec![job("a")], many(0, 2)));
        // The other goes when this one has ended: there is nothing to wait for by the clock.
        assert_eq!((decided.take.len(), decided.wait_ms), (1, None));
    }

    #[test]
    fn slots_bound_calls_but_not_free_answers() {
        let mut shot = snapshot(vec![class(100.0)], vec![job("a")], many(0, 10));
        shot.slots = 2;
        for task in &mut shot.tasks[5..] {
            task.free = true;
        }
        assert_eq!(admit(&shot).take.len(), 7);
    }

    const PRICE: TokenPrice = TokenPrice {
        plain: 100,
        write_5m: 125,
        write_1h: 200,
        read: 10,
    };

    fn sharing(mut shot: Snapshot) -> Snapshot {
        shot.prefixes = vec![Entry::default()];
        for task in &mut shot.tasks {
            task.shared = Some(Shared {
                prefix: 0,
                price: PRICE,
                calls: 10,
                input: 20.0,
                extra: [5, 15],
            });
        }
        shot
    }

    #[test]
    fn one_call_writes_a_prefix_and_the_others_go_once_its_head_has_come() {
        let mut shot = sharing(snapshot(vec![class(100.0)], vec![job("a")], many(0, 10)));
        let decided = admit(&shot);
        let short = CacheTtl::FiveMinutes;
        let lead = Taken {
            task: 0,
            mark: Mark::Write(short),
            input: 100.0,
            worst: 15,
        };
        assert_eq!((decided.take, decided.wait_ms), (vec![lead], Some(20_000)));
        // Another consumer sees that it is led; tasks with another beginning do not wait.
        shot.now = 5_000;
        shot.prefixes[0] = shot.prefixes[0].led(0, short);
        shot.tasks[3].shared = None;
        let decided = admit(&shot);
        assert_eq!(
            (indexes(&decided), decided.wait_ms),
            (vec![3], Some(15_000))
        );
        assert!(decided.over_budget.is_empty());
        shot.prefixes[0].warm_until = 10_000;
        let decided = admit(&shot);
        assert_eq!(decided.take.len(), 10);
        let reads = decided
            .take
            .iter()
            .filter(|taken| taken.mark == Mark::Read(short));
        assert!(
            reads
                .clone()
                .all(|taken| (taken.input, taken.worst) == (20.0, 15))
        );
        assert_eq!(reads.count(), 9);
    }

    #[test]
    fn a_prefix_that_one_call_wants_is_not_written() {
        let mut shot = sharing(snapshot(vec![class(100.0)], vec![job("a")], many(0, 1)));
        shot.tasks[0].shared = shot.tasks[0]
            .shared
            .map(|shared| Shared { calls: 1, ..shared });
        assert_eq!(admit(&shot).take[0].mark, Mark::Plain);
    }

    #[test]
    fn what_the_limiter_lets_through_once_in_many_minutes_is_kept_for_an_hour() {
        // 10 tokens of input in a minute, and 100 after what is shared: a call in ten minutes.
        let slow = Class {
            input: bucket(10.0, 1_000.0),
            ..class(100.0)
        };
        let mut shot = sharing(snapshot(vec![slow], vec![job("a")], many(0, 10)));
        for task in &mut shot.tasks {
            task.shared = task.shared.map(|shared| Shared {
                input: 100.0,
                ..shared
            });
        }
        assert_eq!(admit(&shot).take[0].mark, Mark::Write(CacheTtl::OneHour));
    }

    #[test]
    fn a_budget_that_does_for_a_call_without_a_mark_is_spent_on_that() {
        let poor = Job {
            budget: Some(24),
            ..job("a")
        };
        let mut shot = sharing(snapshot(vec![class(100.0)], vec![poor], many(0, 10)));
        shot.prefixes[0].warm_until = 10_000;
        let decided = admit(&shot);
        let marks: Vec<Mark> = decided.take.iter().map(|taken| taken.mark).collect();
        assert_eq!(marks, [Mark::Read(CacheTtl::FiveMinutes)]);
        let poorer = Job {
            budget: Some(14),
            ..job("a")
        };
        shot.jobs = vec![poorer];
        let decided = admit(&shot);
        assert_eq!((decided.take.len(), decided.take[0].mark), (1, Mark::Plain));
    }

    #[test]
    fn reading_takes_fewer_permits() {
        let narrow = Class {
            input: bucket(1_000.0, 250.0),
            ..class(100.0)
        };
        let mut shot = sharing(snapshot(vec![narrow], vec![job("a")], many(0, 20)));
        assert_eq!(admit(&shot).take.len(), 1);
        shot.prefixes[0].warm_until = 10_000;
        assert_eq!(admit(&shot).take.len(), 12);
    }
}
