//! What is put right by time alone: leases that ran out, messages that were lost, jobs that should have
//! moved on, a breaker that may try again, what is old.
//!
//! While anything is at work, [`look`] comes every `watch_ms` by a message that it sends to itself; cron begins it anew each
//! minute, should that message be lost. So a crash is noticed after a lease and one such interval, not after a lease and a minute.

use serde_json::json;

use super::{App, AppError, batch, log, message, notify, remove, schedules, traces};
use crate::core::time::day;
use crate::ports::{Clock, Db, Outgoing, Ports, Queue};
use crate::store::row::Columns;
use crate::store::{settle, sweep as sql};

/// Days of spending that are kept.
const KEEP_DAYS_MS: i64 = 40 * 86_400_000;

/// What cron does every minute. Two at once are harmless.
pub async fn sweep<P: Ports>(app: &App<P>) -> Result<(), AppError> {
    look(app).await?;
    let now = app.ports.clock().now_ms();
    let statements = sql::forget(now, &day(now - KEEP_DAYS_MS));
    app.ports.db().batch(statements).await?;
    let found = [
        remove::age(app).await,
        notify::due(app).await,
        schedules::due(app).await,
        batch::watch::due(app).await,
        traces::due(app).await,
    ];
    let mut messages = Vec::new();
    for found in found {
        match found {
            Ok(more) => messages.extend(more),
            // One of them must not hold back the others.
            Err(error) => app.log_fault("sweep", &error.to_string()),
        }
    }
    send(app, messages).await
}

async fn send<P: Ports>(app: &App<P>, messages: Vec<Outgoing>) -> Result<(), AppError> {
    if messages.is_empty() {
        return Ok(());
    }
    app.ports
        .queue()
        .send(messages)
        .await
        .map_err(|error| AppError::Unavailable(error.to_string()))
}

/// Gives up leases that ran out, and moves on what stands still. Two at once are harmless.
pub async fn look<P: Ports>(app: &App<P>) -> Result<(), AppError> {
    let now = app.ports.clock().now_ms();
    let intervals = &app.config.intervals;
    let orphaned_before = now
        .saturating_sub_unsigned(intervals.call_timeout_ms)
        .saturating_sub_unsigned(intervals.lease_ms.saturating_mul(2));
    let crashed =
        json!({"code": "crashed", "message": "every consumer that took this task went silent"});
    let mut statements = sql::look(now, orphaned_before, &crashed.to_string());
    let resumed = statements.len();
    statements.push(settle::resume_halted(now));
    statements.push(sql::due(now, app.drive_at(now)));
    let watch = statements.len();
    statements.push(app.watch(now));
    let answers = app.ports.db().batch(statements).await?;
    log::moved(app, &answers, "swept");
    let mut due: Vec<String> = answers
        .iter()
        .take(watch)
        .skip(resumed)
        .flat_map(|answer| &answer.rows)
        .map(|row| row.text("id"))
        .collect();
    due.sort();
    due.dedup();
    let mut messages: Vec<_> = due.iter().map(|job| message::drive(job, 0)).collect();
    messages.extend(
        answers
            .get(watch)
            .and_then(|answer| app.watch_message(answer)),
    );
    send(app, messages).await
}

impl<P: Ports> App<P> {
    /// Sees to it that somebody looks for leases that ran out while anything is at work. Its answer goes to
    /// [`App::watch_message`].
    pub fn watch(&self, now: i64) -> crate::ports::Statement {
        let seconds = message::delay_seconds(self.config.intervals.watch_ms);
        sql::watch(now.saturating_add(i64::from(seconds) * 1_000), now)
    }

    /// The message to send then, unless one is on its way already.
    pub fn watch_message(&self, answer: &crate::ports::Answer) -> Option<crate::ports::Outgoing> {
        let seconds = message::delay_seconds(self.config.intervals.watch_ms);
        (!answer.rows.is_empty()).then(|| message::look(seconds))
    }
}
