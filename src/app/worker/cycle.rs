//! One transaction that settles what has ended and looks at what waits, and what was read as admission sees it.

use std::collections::HashSet;
use std::sync::Arc;

use super::claim::{Plan, Prepared};
use super::{Consumer, LOOK_TASKS, PASS_ON_MS};
use crate::app::account::tokens;
use crate::app::attempt::step::HeadNote;
use crate::app::attempt::{Resolved, log as attempt_log, settle as ended};
use crate::app::stage::runtime::{JobRuntime, StageRuntime};
use crate::app::support::{log, messages};
use crate::app::{AppError, attempt};
use crate::claude::capabilities::Part;
use crate::core::admission::cache::Entry;
use crate::core::admission::{Admission, Breaker, Candidate, Job, Shared, Snapshot};
use crate::core::task::retry_policy::{FETCH, RequestMode, Wait, wait_ms};
use crate::core::value::money::Nano;
use crate::core::value::time::day;
use crate::ports::{Answer, Clock, Db, DbError, Ports, Queue, Statement};
use crate::store::job::jobs;
use crate::store::row::Columns;
use crate::store::task::admission::{AtWork, Read, Waiting};
use crate::store::task::{admission, settle, tasks};

/// The first waits for a database that is away, or has too much to do; they double up to `AWAY_MS`.
const AWAY_LEAST_MS: u64 = 100;
const OVERLOAD_MS: u64 = 500;
const AWAY_MS: u64 = 3_000;
/// Calls that are longer are not claimed ahead.
const SHORT_CALL_MS: f64 = 2_000.0;
/// Requests of a class differ in how many tokens a byte of theirs takes: so much more than the densest before is reckoned with.
const SIXTH_MORE: f64 = 7.0 / 6.0;
/// Tokens for a byte where nothing is known, and at the least where only a part of a prompt counts.
const DENSE: f64 = 0.5;

/// What one transaction of a consumer did.
#[derive(Default)]
pub(super) struct Turned {
    /// What waits now; `None` where this consumer takes nothing more.
    pub read: Option<Read>,
    /// The claim lost a race, or what became of it is not known and nothing of it is here.
    pub lost: bool,
}

/// What is written without a claim, and where its answers stand.
struct Settling {
    ended: Vec<Resolved>,
    heads: Vec<HeadNote>,
    statements: Vec<Statement>,
    fan_in: Vec<usize>,
    resumed: Option<usize>,
    unwanted: Option<usize>,
    pass_on: Option<usize>,
}

/// What goes with a settle.
#[derive(Debug, Clone, Copy, PartialEq)]
enum With {
    Claim,
    /// What became of a claim whose answer was lost.
    ReadBack,
    Nothing,
}

/// How many tasks of any one job are worth a look: as many as its concurrency lets go. Of a job that has nothing in flight
/// all that a look may bring, so that its budget is not called used up for the sake of the first.
pub(super) fn room(snapshot: &Snapshot) -> u32 {
    let of = |job: &Job| match job.in_flight {
        0 => LOOK_TASKS,
        busy => job.concurrency.saturating_sub(busy),
    };
    snapshot.jobs.iter().map(of).max().unwrap_or(LOOK_TASKS)
}

/// The statements of one transaction, those of the look last.
fn batch(
    settling: &Settling,
    claim: Option<&Prepared>,
    with: With,
    look: &[Statement],
) -> Vec<Statement> {
    let mut statements = settling.statements.clone();
    if let Some(claim) = claim {
        if with == With::Claim {
            statements.extend(claim.claim.iter().cloned());
        }
        if with != With::Nothing {
            statements.extend(claim.read_back.iter().cloned());
        }
    }
    statements.extend(look.iter().cloned());
    statements
}

/// The prefixes of a snapshot: their ids, and what is known of each.
#[derive(Default)]
struct Prefixes {
    ids: Vec<String>,
    entries: Vec<Entry>,
}

/// Tokens a request may take: as many for each byte as any took before and a sixth more, or half its bytes. An average
/// would let a few dense requests pass the limit together; what is too much here comes back with the first header. A request
/// twice as large as any that is `known` is not reckoned by their share: the fixed part of theirs makes it look thin.
fn expected_input(bytes: u64, known: Option<(f64, f64)>) -> f64 {
    let bytes = bytes as f64;
    let share = match known {
        Some((share, size)) if bytes <= size * 2.0 => share * SIXTH_MORE,
        Some((share, _)) => (share * SIXTH_MORE).max(DENSE),
        None => DENSE,
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

impl<P: Ports> Consumer<'_, P> {
    /// One transaction: what has ended is written, leases are renewed, what was planned is claimed, and what waits is read.
    /// A claim that lost a race is left out; one whose outcome is not known is read back.
    pub(super) async fn turn(&mut self, plan: Option<&Plan>) -> Result<Turned, AppError> {
        let now = self.now();
        self.looks.at = now;
        self.news = false;
        let settling = self.settling(now);
        let claim = plan.and_then(|plan| self.prepare(plan));
        let look = if self.accepting() {
            self.look_statements(now)
        } else {
            Vec::new()
        };
        if settling.statements.is_empty() && claim.is_none() && look.is_empty() {
            return Ok(Turned::default());
        }
        let mut with = match claim {
            Some(_) => With::Claim,
            None => With::Nothing,
        };
        let answers = loop {
            let statements = batch(&settling, claim.as_ref(), with, &look);
            let result = match with {
                With::Claim => self.trip(statements).await,
                With::ReadBack | With::Nothing => self.write(statements).await,
            };
            match (result, with) {
                (Ok(answers), _) => break answers,
                (Err(DbError::Guard(_)), With::Claim) => with = With::Nothing,
                (Err(DbError::Unavailable(_)), With::Claim) => with = With::ReadBack,
                // Less is sent to a database that has too much to do.
                (Err(DbError::Overloaded(_)), With::Claim) => with = With::Nothing,
                (Err(error), _) => {
                    self.gather.put_back(settling.ended, settling.heads);
                    return Err(error.into());
                }
            }
        };
        self.lease.heard = self.now();
        let (settles, more) = answers.split_at(settling.statements.len().min(answers.len()));
        let mut turned = self.settled(settling, settles).await;
        let look_at = answers.len().saturating_sub(look.len());
        if let Some(claim) = claim.filter(|_| with != With::Nothing) {
            log::moved(self.app, more, "claimed");
            let at = look_at.saturating_sub(claim.read_back.len());
            let any = self.begin_claimed(&claim, answers.get(at..look_at).unwrap_or_default());
            turned.lost = !any;
        } else {
            turned.lost = plan.is_some();
        }
        self.open_line();
        turned.read = answers
            .get(look_at..)
            .filter(|rest| rest.len() == admission::SNAPSHOT)
            .map(admission::read);
        for job in turned.read.iter().flat_map(|read| &read.jobs) {
            let ended = self.gather.ended.iter();
            let ended = ended.filter(|one| one.job == job.id && one.attempt.is_some());
            let ended = u32::try_from(ended.count()).unwrap_or(u32::MAX);
            let own = self.window.open(&job.id).saturating_add(ended);
            self.window
                .looked(&job.id, own, job.in_flight, job.concurrency);
        }
        self.open_line();
        Ok(turned)
    }

    /// What must be written whether or not anything is claimed.
    fn settling(&mut self, now: i64) -> Settling {
        let (ended, heads) = self.gather.take(now);
        self.window.give_places();
        let mut statements = ended::statements(self.app, &ended, &heads, &self.lease.id, now);
        let mut fan_in = Vec::new();
        for job in ended::jobs_of(&ended) {
            fan_in.push(statements.len());
            statements.push(tasks::fan_in(&job));
        }
        let resumed = ended.iter().any(|one| one.probe_came_through).then(|| {
            statements.extend(settle::close_breaker(now));
            statements.len() - 1
        });
        if !self.window.held.is_empty() && self.renew_in() == 0 {
            self.lease.renewed = now;
            statements.push(self.renewal(now));
        }
        let line = self.window.line.iter();
        let waiting: Vec<i64> = line.map(|one| one.task.id).collect();
        let unwanted = (!waiting.is_empty()).then(|| {
            statements.push(tasks::unwanted(&waiting, &self.lease.id));
            statements.len() - 1
        });
        let pass_on =
            (self.wakes.wanted > 0 && self.wakes.asked_at + PASS_ON_MS <= now).then(|| {
                self.wakes.asked_at = now;
                statements.push(admission::pass_on(now, now - PASS_ON_MS));
                statements.len() - 1
            });
        Settling {
            ended,
            heads,
            statements,
            fan_in,
            resumed,
            unwanted,
            pass_on,
        }
    }

    /// What follows from a settle that was written: jobs move on, calls in line are dropped, others are woken.
    async fn settled(&mut self, settling: Settling, answers: &[Answer]) -> Turned {
        for one in &settling.ended {
            self.window.held.remove(&one.task.id);
        }
        attempt_log::settled(self.app, &settling.ended, answers);
        let mut moved: Vec<String> = settling
            .fan_in
            .into_iter()
            .chain(settling.resumed)
            .filter_map(|index| answers.get(index))
            .flat_map(|answer| &answer.rows)
            .filter_map(|row| row.maybe_text("job").or_else(|| row.maybe_text("id")))
            .collect();
        moved.sort();
        moved.dedup();
        self.send_drives(&moved).await;
        if let Some(answer) = settling.unwanted.and_then(|index| answers.get(index)) {
            let unwanted: HashSet<i64> = answer.rows.iter().map(|row| row.int("id")).collect();
            self.leave_line(
                |task| unwanted.contains(&task.id),
                "it was halted first",
                attempt::NOT_YET_MS,
            );
        }
        let may = settling.pass_on.and_then(|index| answers.get(index));
        if may.is_some_and(|answer| !answer.rows.is_empty()) {
            self.wake_now(self.wakes.wanted).await;
            self.wakes.wanted = 0;
        }
        Turned::default()
    }

    fn look_statements(&self, now: i64) -> Vec<Statement> {
        let grace = self.app.config.intervals.deadline_grace_ms;
        admission::snapshot(
            now,
            &day(now),
            (self.look_width() + 1, self.looks.share),
            i64::try_from(grace).unwrap_or(i64::MAX),
        )
    }

    /// Tasks of each job that a look brings: those that could go now, and as many as may go with the next settle.
    pub(super) fn look_width(&self) -> u32 {
        let next = self.free_slots().saturating_add(self.connections() * 2);
        if self.looks.wide {
            LOOK_TASKS
        } else {
            next.min(LOOK_TASKS)
        }
    }

    /// The renewal of all that is held here.
    fn renewal(&self, now: i64) -> Statement {
        let until = now.saturating_add_unsigned(self.app.config.intervals.lease_ms);
        tasks::renew(&self.lease.id, until)
    }

    /// One round trip, counted and measured.
    async fn trip(&mut self, statements: Vec<Statement>) -> Result<Vec<Answer>, DbError> {
        self.lease.count(statements.len());
        let db = self.app.ports.db().clone();
        let sent = self.now();
        let result = self.meanwhile(db.batch(statements)).await;
        self.lease.trip.add(self.now() - sent);
        result
    }

    /// A lost connection leaves it unknown whether a batch landed; each is safe to run again. While the database is away only
    /// the renewal of the leases is tried, and calls that end meanwhile are kept: what was paid is not dropped before the
    /// invocation's time is nearly over.
    async fn write(&mut self, statements: Vec<Statement>) -> Result<Vec<Answer>, DbError> {
        let (since, mut step) = (self.now(), 0);
        loop {
            let mut result = self.trip(statements.clone()).await;
            while let Err(DbError::Unavailable(_) | DbError::Overloaded(_)) = &result {
                let holds = !self.window.held.is_empty();
                if !self.lease.may_wait(self.now(), since, holds) {
                    return result;
                }
                let least = match &result {
                    Err(DbError::Overloaded(_)) => OVERLOAD_MS,
                    _ => AWAY_LEAST_MS,
                };
                let ms = wait_ms(Wait::Backoff(step), self.app.dice(), least, AWAY_MS);
                let clock = self.app.ports.clock().clone();
                self.meanwhile(clock.sleep(ms)).await;
                step += 1;
                if step < 2 {
                    break;
                }
                let now = self.now();
                let renewal = self.renewal(now);
                match self.trip(vec![renewal]).await {
                    Ok(_) => {
                        self.lease.renewed = now;
                        break;
                    }
                    Err(error) => result = Err(error),
                }
            }
            if result.is_ok()
                || !matches!(
                    result,
                    Err(DbError::Unavailable(_) | DbError::Overloaded(_))
                )
            {
                return result;
            }
        }
    }

    /// The stages' winners send the message that moves their job on; lost, the sweep sends it.
    pub(super) async fn send_drives(&mut self, moved: &[String]) {
        if moved.is_empty() {
            return;
        }
        let queue = self.app.ports.queue().clone();
        let messages = moved.iter().map(|job| messages::drive(job, 0)).collect();
        if let Err(error) = self.meanwhile(queue.send(messages)).await {
            self.app.log_fault("send_drive", &error.to_string());
        }
    }

    /// Leaves out what this consumer cannot decide about, and sees to it that it knows the plans of the rest.
    pub(super) async fn keep_known(&mut self, read: &mut Read) -> Result<(), AppError> {
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

    /// The plans of jobs with stages that this consumer has not seen yet: a plan may grow while it is carried out.
    async fn load_kits(&mut self, stages: Vec<(String, u32)>) -> Result<(), AppError> {
        let unseen = |(job, stage): &(String, u32)| {
            let known = self
                .runtimes
                .get(job)
                .and_then(|runtime| runtime.stage(*stage));
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
        let answers = self.trip(vec![jobs::specs(&wanted)]).await?;
        for row in answers.iter().flat_map(|answer| &answer.rows) {
            let Some(spec) = row.json("spec") else {
                continue;
            };
            match JobRuntime::kept(self.app, spec) {
                Ok(runtime) => {
                    self.runtimes.insert(row.text("job"), Arc::new(runtime));
                }
                Err(error) => self.app.log_fault("plan", &error.to_string()),
            }
        }
        Ok(())
    }

    /// How a task's prompt begins, and its place among the prefixes of the snapshot.
    fn shared(
        &self,
        task: &Waiting,
        read: &Read,
        prefixes: &mut Prefixes,
        known: Option<(f64, f64)>,
    ) -> Option<Shared> {
        let runtime = self
            .runtimes
            .get(&task.job)?
            .of(task.stage, task.purpose, task.tier)?;
        let lacks = read.capabilities.of(self.app.endpoint(), &runtime.model.id);
        let prefix = runtime
            .prefix(RequestMode::parse(&task.form))
            .filter(|_| !lacks.has(Part::Cache))?;
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

    /// The stage of a task that makes its first call.
    fn first_of(&self, task: &Waiting) -> Option<&StageRuntime> {
        if task.attempts > 0 || task.form == FETCH {
            return None;
        }
        self.runtimes
            .get(&task.job)?
            .of(task.stage, task.purpose, task.tier)
    }

    /// Room for its answer and what that saves of its worst case, where it is less than all it may have.
    pub(super) fn room_of(&self, task: &Waiting) -> Option<(u32, i64)> {
        self.first_of(task)?.room(&task.answers)
    }

    /// More items than fit one answer: nothing is asked before they are fewer.
    pub(super) fn splits(&self, task: &Waiting) -> bool {
        let stage = self.first_of(task).filter(|_| !task.free);
        stage.is_some_and(|stage| stage.splits(&task.answers, task.items))
    }

    /// What was read, as admission sees it.
    pub(super) fn snapshot(&self, read: &Read) -> Snapshot {
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
                let (most, saved) = self.room_of(task).unwrap_or((task.max_tokens, 0));
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
                    output: expected_output(most, task.answers.count, task.answer_tokens),
                    worst: task.worst_nano.saturating_sub(saved),
                    free: task.free || self.splits(task),
                    shared: self.shared(task, read, &mut prefixes, known),
                }
            })
            .collect();
        let (token_budgets, purse_of) = tokens::token_budgets(&read.jobs);
        let mut snapshot = Snapshot {
            now: self.now(),
            token_budgets,
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
                .map(|(job, token_budget)| Job {
                    token_budget,
                    id: job.id.clone(),
                    tenant: job.tenant.clone(),
                    in_flight: job.in_flight,
                    in_batches: job.in_batches > 0,
                    concurrency: job.concurrency,
                    budget: job
                        .limit_nano
                        .map(|limit| limit - job.used_nano - job.held_nano),
                    day: day_cap(config.tenant_daily_usd, job.day_tenant),
                })
                .collect(),
            prefixes: prefixes.entries,
            patience_ms: i64::try_from(config.cache.patience_ms).unwrap_or(i64::MAX),
            tasks,
        };
        let wide: Vec<u32> = (0..)
            .zip(&snapshot.jobs)
            .map(|(index, job)| {
                let mut calls = snapshot.tasks.iter().filter(|task| task.job == index);
                let roomy = calls.all(|task| {
                    let class = snapshot.classes.get(task.class);
                    task.free
                        || class.is_some_and(|class| {
                            class.roomy(snapshot.now, job.concurrency, task.input, task.output)
                        })
                });
                if roomy {
                    self.ahead_of(&job.id).min(job.concurrency / 2)
                } else {
                    0
                }
            })
            .collect();
        for (job, ahead) in snapshot.jobs.iter_mut().zip(wide) {
            job.concurrency = job.concurrency.saturating_add(ahead);
        }
        snapshot
    }

    /// Tasks of a job that may be claimed beyond its concurrency: as many as end here during the two transactions that stand
    /// between the end of a call and the next one, where calls are short, less those in line. Where calls take seconds that is none: a task that is claimed holds money and
    /// permits, and a crash makes it look like a call whose end nobody saw.
    fn ahead_of(&self, job: &str) -> u32 {
        let ends = f64::from(self.window.places_of(job)) * self.turnover();
        let spare = self
            .window
            .open(job)
            .saturating_sub(self.window.running(job));
        (ends.ceil() as u32).saturating_sub(spare)
    }

    /// The share of the calls under way that end while two transactions stand between the end of a call and the next one,
    /// twice over, for ends are not even. None where calls are long.
    pub(super) fn turnover(&self) -> f64 {
        let call = self.gather.call.or(f64::INFINITY);
        if call > SHORT_CALL_MS {
            return 0.0;
        }
        let gather = self.app.config.intervals.gather_ms as f64;
        ((4.0 * self.lease.trip.or(0.0) + 2.0 * gather) / call).min(0.5)
    }

    /// Jobs whose rest does not fit their budget, or the day's cap, end or pause as their caller wished; those that met an
    /// open breaker pause.
    pub(super) async fn exhausted(
        &mut self,
        admission: &Admission,
        read: &Read,
    ) -> Result<(), AppError> {
        let of = |indexes: &[usize]| -> Vec<&AtWork> {
            let jobs = indexes.iter().filter_map(|index| read.jobs.get(*index));
            jobs.collect()
        };
        let halted: Vec<&String> = of(&admission.halted).iter().map(|job| &job.id).collect();
        let now = self.now();
        if !halted.is_empty() {
            ended::halted(self.app, &halted, now).await?;
        }
        let mut moved = Vec::new();
        for row in of(&admission.over_budget) {
            let left = row.limit_nano.unwrap_or(i64::MAX) - row.used_nano - row.held_nano;
            ended::over_budget(self.app, &row.id, row.stage, row.limit_nano, left, now).await?;
            moved.push(row.id.clone());
        }
        for row in of(&admission.over_day) {
            let waiting = read.waiting.iter();
            let least = waiting
                .filter(|task| task.job == row.id && !task.free)
                .map(|task| task.worst_nano - self.room_of(task).map_or(0, |(_, saved)| saved))
                .min();
            if ended::over_day(self.app, row, row.stage, least, now).await? {
                moved.push(row.id.clone());
            }
        }
        self.send_drives(&moved).await;
        Ok(())
    }
}
