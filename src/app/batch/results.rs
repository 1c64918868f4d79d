//! The results of a batch that has ended: read line by line, in any order, portion by portion into the settle of every
//! answer.
//!
//! Memory holds one portion. A turn is bounded by time and by statements, and what it leaves goes on with a message: what is
//! still to be read is known by the attempts that are open, so it does not matter where, or whether, an earlier turn broke
//! off.

use std::collections::{HashMap, HashSet};

use super::watch::{Missed, held};
use super::{watch, wire};
use crate::app::attempt::{Resolved, call, log as attempt_log, settle as ended};
use crate::app::stage::runtime::JobRuntime;
use crate::app::support::{db, messages};
use crate::app::{App, AppError, attempt};
use crate::claude::batches::{BATCHES_PATH, Line, Lines, read_custom_id};
use crate::claude::error::CallError;
use crate::core::task::retry_policy::{Wait, wait_ms};
use crate::ports::{Answer, Clock, Db, DbError, Ports, Queue, Statement};
use crate::store::job::jobs as job_jobs;
use crate::store::row::{Columns, Row};
use crate::store::task::admission::Claimed;
use crate::store::task::batches::Batch;
use crate::store::task::settle::ClosedAttempt;
use crate::store::task::{batches as sql, tasks};

/// Results that one transaction settles, and their bytes: its texts are bound values of at most 2 MB, and escaping may
/// double them.
const PORTION: usize = 100;
const PORTION_BYTES: usize = 400_000;
/// A settle that the database did not take is tried again so many times.
const TRIES: u32 = 5;
/// Marked results of one portion that show whether marks pay.
const LEAST_MARKED: usize = 20;
/// Looks in a row at which results are not whole, before what is missing is given up.
const MOST_MISSES: u32 = 10;

/// A turn of reading.
struct Turn<'a, P: Ports> {
    app: &'a App<P>,
    batch: &'a Batch,
    runtime: Option<JobRuntime>,
    /// What has no result yet.
    open: HashSet<(u32, u32)>,
    portion: Vec<((u32, u32), Line)>,
    bytes: usize,
    queries: u32,
}

/// Reads what is still to be read.
pub async fn read<P: Ports>(app: &App<P>, batch: &Batch, remote: &str) -> Result<(), Missed> {
    let begun = app.ports.clock().now_ms();
    let statements = vec![
        sql::read(&batch.id, held(app, begun)),
        sql::open_of(&batch.id),
        job_jobs::specs(std::slice::from_ref(&batch.job)),
    ];
    let answers = app.ports.db().batch(statements).await?;
    let rows = |n: usize| {
        answers
            .get(n)
            .map(|a| a.rows.as_slice())
            .unwrap_or_default()
    };
    let mut turn = Turn {
        app,
        batch,
        // Gone with its job: what it cost is still counted.
        runtime: match rows(2).first().and_then(|row| row.json("spec")) {
            Some(spec) => Some(JobRuntime::new(app, spec)?),
            None => None,
        },
        open: rows(1)
            .iter()
            .map(|row| (row.count("idx"), row.count("n")))
            .collect(),
        portion: Vec::new(),
        bytes: 0,
        queries: 3,
    };
    let work_ms = app.config.intervals.work_ms;
    let mut cut = None;
    if !turn.open.is_empty() {
        let mut response = call::open(app, lines_of(app, batch, remote)).await?;
        let mut lines = Lines::default();
        let mut found: Vec<Vec<u8>> = Vec::new();
        loop {
            match call::piece(app, &mut response).await {
                Ok(Some(bytes)) => {
                    if lines
                        .push(&bytes, |line| found.push(line.to_vec()))
                        .is_err()
                    {
                        cut = Some("a line of the results is too long".to_owned());
                    }
                }
                Ok(None) => {
                    std::mem::take(&mut lines).finish(|line| found.push(line.to_vec()));
                    for line in found.drain(..) {
                        turn.take(&line).await?;
                    }
                    break;
                }
                Err(error) => cut = Some(error.to_string()),
            }
            for line in found.drain(..) {
                turn.take(&line).await?;
            }
            let worked = u64::try_from(app.ports.clock().now_ms() - begun).unwrap_or(0);
            if worked >= work_ms || turn.queries >= app.config.max_d1_queries {
                turn.settle().await?;
                return Ok(go_on_later(app, batch).await?);
            }
            if cut.is_some() {
                break;
            }
        }
        turn.settle().await?;
    }
    let now = app.ports.clock().now_ms();
    if turn.open.is_empty() {
        app.ports
            .db()
            .batch(vec![sql::end(&batch.id, now, None)])
            .await?;
        app.log_job(
            &batch.job,
            "batch_read",
            serde_json::json!({"batch": batch.id}),
        );
    } else if batch.misses + 1 >= MOST_MISSES {
        watch::give_up(app, batch, "its results are not whole", now).await?;
    } else {
        let why = cut.unwrap_or_else(|| "some are missing".to_owned());
        app.log_fault("batch_results", &format!("{}: {why}", batch.id));
        let at = now.saturating_add_unsigned(app.config.batches.poll_ms);
        app.ports
            .db()
            .batch(vec![sql::next(&batch.id, at, true)])
            .await?;
    }
    // What came back unanswered waits for its next call.
    watch::drive(app, &batch.job).await;
    Ok(())
}

/// The `custom_id` of the first result; `None` where none can be read.
pub async fn first<P: Ports>(
    app: &App<P>,
    batch: &Batch,
    remote: &str,
) -> Result<Option<String>, CallError> {
    let mut response = call::open(app, lines_of(app, batch, remote)).await?;
    let mut lines = Lines::default();
    let mut first = None;
    let now = u64::try_from(app.ports.clock().now_ms()).unwrap_or(0);
    while first.is_none()
        && let Some(bytes) = call::piece(app, &mut response).await?
    {
        let mut see = |line: &[u8]| {
            if first.is_none() {
                first = Line::read(line, now).map(|line| line.custom_id);
            }
        };
        if lines.push(&bytes, &mut see).is_err() {
            break;
        }
    }
    Ok(first)
}

/// The results stand below the batch. Their address, as the API gives it, is not followed: the key goes nowhere but to the
/// configured host.
fn lines_of<P: Ports>(app: &App<P>, batch: &Batch, remote: &str) -> crate::ports::WireRequest {
    let path = format!("{BATCHES_PATH}/{remote}/results");
    wire(app, &batch.job, path, None)
}

/// The turn is over, the batch is not: a message goes on with it at once.
async fn go_on_later<P: Ports>(app: &App<P>, batch: &Batch) -> Result<(), AppError> {
    let now = app.ports.clock().now_ms();
    // It stays the one that is being read.
    app.ports
        .db()
        .batch(vec![sql::read(&batch.id, now)])
        .await?;
    app.ports
        .queue()
        .send(vec![messages::check_batch(&batch.id)])
        .await
        .map_err(|error| AppError::Unavailable(error.to_string()))
}

impl<P: Ports> Turn<'_, P> {
    /// Takes a line that is still wanted.
    async fn take(&mut self, line: &[u8]) -> Result<(), AppError> {
        let now = u64::try_from(self.app.ports.clock().now_ms()).unwrap_or(0);
        let Some(read) = Line::read(line, now) else {
            return Ok(());
        };
        let wanted = read_custom_id(&read.custom_id)
            .filter(|(batch, _, _)| *batch == self.batch.id)
            .map(|(_, task, attempt)| (task, attempt))
            .filter(|of| self.open.contains(of) && self.portion.iter().all(|(p, _)| p != of));
        let Some(of) = wanted else {
            return Ok(());
        };
        self.bytes += line.len();
        self.portion.push((of, read));
        if self.portion.len() >= PORTION || self.bytes >= PORTION_BYTES {
            self.settle().await?;
        }
        Ok(())
    }

    /// One transaction: what was read is written, as the answers of live calls are.
    async fn settle(&mut self) -> Result<(), AppError> {
        let portion = std::mem::take(&mut self.portion);
        self.bytes = 0;
        if portion.is_empty() {
            return Ok(());
        }
        let app = self.app;
        let wanted: Vec<(u32, u32)> = portion.iter().map(|(of, _)| *of).collect();
        let rows = sql::results(&self.batch.job, &self.batch.id, &wanted);
        let rows = db::rows(app, rows).await?;
        let mut resolved = Vec::new();
        let mut closed = Vec::new();
        let mut known = HashSet::new();
        for (of, line) in portion {
            let row = rows
                .iter()
                .find(|row| (row.count("attempt_idx"), row.count("attempts")) == of);
            match self.resolve(row, line).await {
                Ok(Some(One::Task(one))) => resolved.push(*one),
                Ok(Some(One::Gone(attempt))) => closed.push(*attempt),
                // Closed already, by another who reads.
                Ok(None) => {}
                Err(error) => {
                    // It stays open and is read again.
                    app.log_fault("batch_result", &error.to_string());
                    continue;
                }
            }
            known.insert(of);
        }
        drop_losing_marks(&mut resolved);
        let now = app.ports.clock().now_ms();
        let mut statements = ended::statements(app, &resolved, &[], &self.batch.id, now);
        if !closed.is_empty() {
            statements.push(crate::store::task::settle::close(&closed));
        }
        statements.push(tasks::fan_in(&self.batch.job));
        let fan_in = statements.len() - 1;
        statements.push(sql::read(&self.batch.id, held(app, now)));
        self.queries += 1 + u32::try_from(statements.len()).unwrap_or(u32::MAX / 2);
        let answers = write(app, statements).await?;
        self.open.retain(|of| !known.contains(of));
        attempt_log::settled(app, &resolved, &answers);
        if answers.get(fan_in).is_some_and(|a| !a.rows.is_empty()) {
            watch::drive(app, &self.batch.job).await;
        }
        Ok(())
    }

    async fn resolve(&self, row: Option<&Row>, line: Line) -> Result<Option<One>, AppError> {
        let Some(row) = row else {
            return Ok(None);
        };
        let task = row.maybe_int("id").and(self.runtime.as_ref());
        match task {
            Some(runtime) => {
                let task = Claimed::read(row);
                let resolved = attempt::batched(self.app, runtime, task, line.result).await?;
                Ok(Some(One::Task(Box::new(resolved))))
            }
            None => {
                let (id, model) = (row.int("attempt"), row.text("model"));
                let closed = attempt::paid(self.app, id, &model, &line.result);
                Ok(Some(One::Gone(Box::new(closed))))
            }
        }
    }
}

/// A prefix that cost more to keep than its readers saved is marked no more for a day.
fn drop_losing_marks(resolved: &mut [Resolved]) {
    let mut saved: HashMap<String, (usize, i64)> = HashMap::new();
    for one in resolved.iter() {
        if let (Some(prefix), Some(attempt)) = (&one.marked, &one.attempt) {
            let (count, nano) = saved.entry(prefix.clone()).or_default();
            *count += 1;
            *nano = nano.saturating_add(attempt.cache_saved);
        }
    }
    for one in resolved {
        let of = one.marked.as_ref().and_then(|prefix| saved.get(prefix));
        if of.is_some_and(|(count, nano)| *count >= LEAST_MARKED && *nano < 0) {
            one.uncached = one.marked.clone();
        }
    }
}

/// What a line comes to.
enum One {
    Task(Box<Resolved>),
    /// Its task is gone: what it cost is all that is left to know.
    Gone(Box<ClosedAttempt>),
}

/// Safe to run again: nobody knows whether a batch landed whose connection was lost.
async fn write<P: Ports>(
    app: &App<P>,
    statements: Vec<Statement>,
) -> Result<Vec<Answer>, AppError> {
    let mut step = 0;
    loop {
        match app.ports.db().batch(statements.clone()).await {
            Err(DbError::Unavailable(_) | DbError::Overloaded(_)) if step < TRIES => {
                let ms = wait_ms(Wait::Backoff(step), app.dice(), 100, 3_000);
                app.ports.clock().sleep(ms).await;
                step += 1;
            }
            other => return Ok(other?),
        }
    }
}
