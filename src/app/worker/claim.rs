//! What was admitted becomes the statements of one guarded claim, and its calls are made ready.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::FutureExt;

use super::Consumer;
use super::window::{InLine, OPEN_BYTES, unsent};
use crate::app::attempt::{Admitted, call};
use crate::core::admission::cache::Mark;
use crate::core::admission::{Admission, Candidate, Snapshot, Taken};
use crate::core::task::retry_policy::{FETCH, RequestMode};
use crate::core::value::money::Nano;
use crate::core::value::time::day;
use crate::ports::{Answer, Ports, Statement};
use crate::store::row::{Columns, Row};
use crate::store::task::admission;
use crate::store::task::admission::{Claim, Claimed, Read, Take, Waiting};

/// What was admitted, and what it was decided on.
pub(super) struct Plan {
    pub admission: Admission,
    pub snapshot: Snapshot,
    pub read: Read,
}

/// A claim that is ready to be sent.
pub(super) struct Prepared {
    /// Guards and changes.
    pub claim: Vec<Statement>,
    /// Reads what this lease holds of it. Alone, it finds out what became of a claim whose answer was lost.
    pub read_back: Vec<Statement>,
    inputs: HashMap<i64, f64>,
    leads: HashSet<i64>,
    splits: HashSet<i64>,
    probe: bool,
}

impl<P: Ports> Consumer<'_, P> {
    /// The statements of a claim; `None` where nothing of it can go.
    pub(super) fn prepare(&mut self, plan: &Plan) -> Option<Prepared> {
        let Plan {
            admission,
            snapshot,
            read,
        } = plan;
        let chosen = admission.take.iter().filter_map(|taken| {
            let task = read.waiting.get(taken.task)?;
            Some((task, snapshot.tasks.get(taken.task)?, taken))
        });
        let chosen = self.that_fit(chosen.collect());
        let splits = chosen.iter().filter(|(task, ..)| self.splits(task));
        let splits = splits.map(|(task, ..)| task.id).collect();
        let takes: Vec<Take> = chosen
            .iter()
            .filter_map(|&chosen| self.take_of(chosen, (read, snapshot)))
            .collect();
        if takes.is_empty() {
            return None;
        }
        let now = self.now();
        let config = &self.app.config;
        let cap = |usd: Option<f64>| usd.map(|usd| Nano::from_usd_floor(usd).0);
        let tokens = takes
            .iter()
            .filter_map(|take| read.jobs.iter().find(|job| job.id == take.job))
            .any(|job| job.token.is_some());
        let inputs = takes.iter().map(|take| (take.id, take.input)).collect();
        let leads = takes.iter().filter(|take| take.leads.is_some());
        let leads = leads.map(|take| take.id).collect();
        let claim = Claim {
            lease: &self.lease.id,
            now,
            until: now.saturating_add_unsigned(config.intervals.lease_ms),
            day: &day(now),
            probe: admission.probe,
            governor_start: config.governor_start,
            leads_since: now.saturating_sub_unsigned(config.cache.patience_ms),
            tenant_day_nano: cap(config.tenant_daily_usd),
            account_day_nano: cap(config.account_daily_usd),
            tokens,
            takes,
        };
        let mut statements = admission::claim(&claim);
        let read_back = statements.split_off(statements.len().saturating_sub(2));
        Some(Prepared {
            claim: statements,
            read_back,
            inputs,
            leads,
            splits,
            probe: admission.probe,
        })
    }

    fn take_of(
        &self,
        (task, candidate, taken): (&Waiting, &Candidate, &Taken),
        (read, snapshot): (&Read, &Snapshot),
    ) -> Option<Take> {
        let runtime = self
            .runtimes
            .get(&task.job)
            .and_then(|runtime| runtime.of(task.stage, task.purpose, task.tier))
            .filter(|runtime| runtime.is_usable())?;
        let form = RequestMode::parse(&task.form);
        let job = read.jobs.iter().find(|job| job.id == task.job);
        Some(Take {
            id: task.id,
            job: task.job.clone(),
            class: task.class.clone(),
            role: runtime.role(form).as_str(),
            model: runtime.model.id.clone(),
            input: taken.input,
            output: candidate.output,
            worst_nano: taken.worst,
            held_nano: job.map_or(0, |job| job.held_nano),
            ahead: (snapshot.jobs.get(candidate.job))
                .zip(job)
                .map_or(0, |(wide, job)| {
                    wide.concurrency.saturating_sub(job.concurrency)
                }),
            free: candidate.free,
            reads: task.form == FETCH,
            room: self.room_of(task).map(|(room, _)| room),
            cache: taken.mark.ttl(),
            leads: match taken.mark {
                Mark::Write(_) => runtime.prefix(form).map(|prefix| prefix.id.clone()),
                Mark::Plain | Mark::Read(_) => None,
            },
            lacks: read.capabilities.of(self.app.endpoint(), &runtime.model.id),
        })
    }

    /// Takes up what a claim brought. False where that is nothing.
    pub(super) fn begin_claimed(&mut self, prepared: &Prepared, answers: &[Answer]) -> bool {
        let rows = |at: usize| answers.get(at).map(|answer| answer.rows.as_slice());
        let taken: Vec<Claimed> = rows(0)
            .unwrap_or_default()
            .iter()
            .map(Claimed::read)
            .collect();
        let any = !taken.is_empty();
        let mut jobs: HashMap<&str, (u32, &Claimed)> = HashMap::new();
        for task in taken.iter().filter(|task| task.attempt.is_some()) {
            jobs.entry(&task.job).or_insert((0, task)).0 += 1;
        }
        for (job, (claimed, task)) in jobs {
            self.window
                .claimed(job, claimed, task.in_flight, task.concurrency);
        }
        self.begin(taken, prepared, rows(1).unwrap_or_default());
        any
    }

    /// Those that there is memory for. A large one goes when nothing else is open.
    fn that_fit<'t>(
        &mut self,
        chosen: Vec<(&'t Waiting, &'t Candidate, &'t Taken)>,
    ) -> Vec<(&'t Waiting, &'t Candidate, &'t Taken)> {
        let before = chosen.len();
        let mut bytes = self.window.open_bytes;
        let fit: Vec<_> = chosen
            .into_iter()
            .filter(|(task, candidate, _)| {
                let fits =
                    candidate.free || bytes == 0 || bytes.saturating_add(task.bytes) <= OPEN_BYTES;
                if fits && !candidate.free {
                    bytes = bytes.saturating_add(task.bytes);
                }
                fits
            })
            .collect();
        self.window.crowded = fit.len() < before;
        fit
    }

    /// Makes the calls ready of what was claimed, in order, each with its place among those that have not gone out.
    fn begin(&mut self, taken: Vec<Claimed>, prepared: &Prepared, admitted: &[Row]) {
        for task in &taken {
            let row = admitted.iter().find(|row| row.text("class") == task.class);
            let total = row.map_or([0.0; 2], |row| {
                [row.real("requests_admitted"), row.real("input_admitted")]
            });
            let input = prepared.inputs.get(&task.id).copied().unwrap_or(0.0);
            let Some(runtime) = self.runtimes.get(&task.job) else {
                continue;
            };
            self.window.held.insert(task.id);
            let places = &self.window.places;
            let call = call(
                self.app.clone(),
                Arc::clone(runtime),
                task.clone(),
                Admitted {
                    place: task
                        .attempt
                        .map(|attempt| places.take(attempt, &task.class, input, total)),
                    input,
                    leads: prepared.leads.contains(&task.id),
                    splits: prepared.splits.contains(&task.id),
                    probe: prepared.probe && task.attempt.is_some(),
                },
                Arc::clone(&self.stop),
                Arc::clone(&self.gate),
            );
            let call = call.boxed();
            if task.attempt.is_some() {
                self.window.open_bytes = self.window.open_bytes.saturating_add(task.bytes);
                self.window.line.push_back(InLine {
                    task: task.clone(),
                    call,
                });
            } else {
                let call = call.map(|step| unsent(step, 0));
                self.window.calls.push(call.boxed());
            }
        }
        self.open_line();
    }
}
