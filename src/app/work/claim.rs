//! What was admitted is claimed in one guarded transaction, and its calls are made ready.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::FutureExt;

use super::Consumer;
use super::line::{InLine, OPEN_BYTES, unsent};
use crate::app::resolve::{self, Admitted};
use crate::app::{AppError, log};
use crate::core::admit::{Admission, Candidate, Snapshot, Taken};
use crate::core::cache::Mark;
use crate::core::money::Nano;
use crate::core::time::day;
use crate::core::verdict::{FETCH, Form};
use crate::ports::{Db, DbError, Ports};
use crate::store::admission::{self, Claim, Claimed, Read, Take, Waiting};
use crate::store::row::Columns;

impl<P: Ports> Consumer<'_, P> {
    /// Claims what was admitted and begins the calls. False where the claim lost a race: decide again.
    pub(super) async fn claim(
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
        let chosen = self.that_fit(chosen);
        let mut takes = Vec::with_capacity(chosen.len());
        for &(task, candidate, taken) in &chosen {
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
                free: candidate.free,
                reads: task.form == FETCH,
                room: self.room_of(task).map(|(room, _)| room),
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
        let splits: HashSet<i64> = chosen
            .iter()
            .filter(|(task, ..)| self.splits(task))
            .map(|(task, ..)| task.id)
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
        self.begin(
            taken,
            &inputs,
            (&leads, &splits),
            &admitted.rows,
            admission.probe,
        );
        Ok(true)
    }

    /// Those that there is memory for. A large one goes when nothing else is open.
    fn that_fit<'t>(
        &mut self,
        chosen: Vec<(&'t Waiting, &'t Candidate, &'t Taken)>,
    ) -> Vec<(&'t Waiting, &'t Candidate, &'t Taken)> {
        let before = chosen.len();
        let mut bytes = self.open_bytes;
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
        self.crowded = fit.len() < before;
        fit
    }

    /// Starts the calls of what was claimed, in order, each with its place among those that have not gone out.
    pub(super) fn begin(
        &mut self,
        taken: Vec<Claimed>,
        inputs: &HashMap<i64, f64>,
        (leads, splits): (&HashSet<i64>, &HashSet<i64>),
        admitted: &[crate::store::row::Row],
        probe: bool,
    ) {
        for task in &taken {
            let row = admitted.iter().find(|row| row.text("class") == task.class);
            let total = row.map_or([0.0; 2], |row| {
                [row.real("requests_admitted"), row.real("input_admitted")]
            });
            let input = inputs.get(&task.id).copied().unwrap_or(0.0);
            let Some(kit) = self.kits.get(&task.job) else {
                continue;
            };
            let call = resolve::call(
                self.app.clone(),
                Arc::clone(kit),
                task.clone(),
                Admitted {
                    place: task
                        .attempt
                        .map(|attempt| self.places.take(attempt, &task.class, input, total)),
                    input,
                    leads: leads.contains(&task.id),
                    splits: splits.contains(&task.id),
                    probe: probe && task.attempt.is_some(),
                },
                Arc::clone(&self.stop),
                Arc::clone(&self.gate),
            );
            let call = call.boxed();
            if task.attempt.is_some() {
                self.open_bytes = self.open_bytes.saturating_add(task.bytes);
                self.line.push_back(InLine {
                    task: task.clone(),
                    call,
                });
            } else {
                self.calls.push(call.map(|step| unsent(step, 0)).boxed());
            }
        }
        self.open_line();
    }
}
