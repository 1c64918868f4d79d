//! What is put right by time alone: leases that ran out, messages that were lost, jobs that should have
//! moved on, a breaker that may try again, what is old.
//!
//! While anything is at work, [`look`] comes every `watch_ms` by a message that it sends to itself; cron begins it anew each
//! minute, should that message be lost. So a crash is noticed after a lease and one such interval, not after a lease and a minute.
//!
//! An outage of the database loses no answer. A living consumer renews its lease after a quarter of it, so a lease that runs
//! out while its consumer lives did so because nobody reached the database for three quarters of it: then the look before
//! is longer ago than seven tenths. Such a lease gets one last term, in which its consumer renews it.

use serde_json::json;

use super::remove;
use crate::app::account::storage;
use crate::app::batch::watch;
use crate::app::outbound::{traces, webhooks};
use crate::app::submit::schedules;
use crate::app::support::{log, messages};
use crate::app::{App, AppError};
use crate::core::value::time::day;
use crate::ports::{Clock, Db, Outgoing, Ports, Queue};
use crate::store::job::sweep as sql;
use crate::store::row::Columns;
use crate::store::task::settle;

/// Days of spending that are kept.
const KEEP_DAYS_MS: i64 = 40 * 86_400_000;

/// What cron does every minute. Two at once are harmless.
pub async fn sweep<P: Ports>(app: &App<P>) -> Result<(), AppError> {
    look(app).await?;
    let now = app.ports.clock().now_ms();
    let statements = sql::forget(now, &day(now - KEEP_DAYS_MS));
    let answers = app.ports.db().batch(statements).await?;
    if let Some(storage) = storage::of(app, &answers).filter(|storage| storage.is_scarce()) {
        app.log(
            json!({"level": "warn", "event": "storage_scarce", "used": storage.used}),
            json!({"capacity": storage.capacity}),
        );
        let expired = sql::forget_expired(now);
        app.ports.db().batch(vec![expired]).await?;
    }
    let found = [
        remove::age(app).await,
        webhooks::due(app).await,
        schedules::due(app).await,
        watch::due(app).await,
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
    let crashed =
        json!({"code": "crashed", "message": "every consumer that took this task went silent"});
    let apart_ms = i64::try_from(intervals.lease_ms / 10 * 7).unwrap_or(i64::MAX);
    let mut statements = sql::look(now, &crashed.to_string(), apart_ms);
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
    let mut messages: Vec<_> = due.iter().map(|job| messages::drive(job, 0)).collect();
    messages.extend(
        answers
            .get(watch)
            .map(|answer| app.watch_messages(answer))
            .unwrap_or_default(),
    );
    send(app, messages).await
}

impl<P: Ports> App<P> {
    /// Sees to it that somebody looks for leases that ran out while anything is at work. Its answer goes to
    /// [`App::watch_messages`].
    pub fn watch(&self, now: i64) -> crate::ports::Statement {
        let seconds = messages::delay_seconds(self.config.intervals.watch_ms);
        sql::watch(now.saturating_add(i64::from(seconds) * 1_000), now)
    }

    /// The messages to send then, unless they are on their way already: the next look, and one after it, should the next one
    /// be lost.
    pub fn watch_messages(&self, answer: &crate::ports::Answer) -> Vec<crate::ports::Outgoing> {
        let seconds = messages::delay_seconds(self.config.intervals.watch_ms);
        if answer.rows.is_empty() {
            return Vec::new();
        }
        vec![
            messages::check_leases(seconds),
            messages::check_leases(seconds.saturating_mul(2)),
        ]
    }
}
