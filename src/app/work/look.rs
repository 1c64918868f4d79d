//! One transaction that settles what has ended and looks at what waits, and what was read as admission sees it.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Consumer, LOOK_TASKS};
use crate::app::kit::{Kit, StageKit};
use crate::app::{AppError, log, message, resolve, settle as ended, tokens};
use crate::core::admit::{Admission, Breaker, Candidate, Job, Shared, Snapshot};
use crate::core::cache::Entry;
use crate::core::money::Nano;
use crate::core::time::day;
use crate::core::verdict::{FETCH, Form};
use crate::ports::{Clock, Db, DbError, Ports, Queue};
use crate::store::admission::{self, AtWork, Read, Waiting};
use crate::store::row::Columns;
use crate::store::{jobs, settle, tasks};

/// Texts of one settle go in as bound values of at most 2 MB each; what does not fit goes with the next.
const SETTLE_BYTES: usize = 800_000;
/// Requests of a class differ in how many tokens a byte of theirs takes: so much more than the densest before is reckoned with.
const SIXTH_MORE: f64 = 7.0 / 6.0;
/// Tokens for a byte where nothing is known, and at the least where only a part of a prompt counts.
const DENSE: f64 = 0.5;

/// How many tasks of any one job are worth a look: as many as its concurrency lets go. Of a job that has nothing in flight
/// all that a look may bring, so that its budget is not called used up for the sake of the first.
pub(super) fn room(snapshot: &Snapshot) -> u32 {
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
    /// One transaction: what has ended is written, leases are renewed, and what waits is read. `None` where this
    /// consumer takes nothing more.
    pub(super) async fn settle_and_look(&mut self) -> Result<Option<Read>, AppError> {
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

    pub(super) fn count_queries(&mut self, statements: usize) {
        let statements = u32::try_from(statements).unwrap_or(u32::MAX);
        self.queries = self.queries.saturating_add(statements);
    }

    /// The stages' winners send the message that moves their job on; lost, the sweep sends it.
    pub(super) async fn send_drives(&mut self, moved: &[String]) {
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

    /// The stage of a task that makes its first call.
    fn first_of(&self, task: &Waiting) -> Option<&StageKit> {
        if task.attempts > 0 || task.form == FETCH {
            return None;
        }
        self.kits
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
        let (purses, purse_of) = tokens::purses(&read.jobs);
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
