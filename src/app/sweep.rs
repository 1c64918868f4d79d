//! What cron puts right, every minute: leases that ran out, messages that were lost, jobs that should have
//! moved on, a breaker that may try again, what is old.

use serde_json::json;

use super::{App, AppError, message, notify, remove, schedules};
use crate::core::time::day;
use crate::ports::{Clock, Db, Ports, Queue};
use crate::store::row::Columns;
use crate::store::{settle, sweep as sql};

/// Days of spending that are kept.
const KEEP_DAYS_MS: i64 = 40 * 86_400_000;

/// One sweep. Two at once are harmless.
pub async fn sweep<P: Ports>(app: &App<P>) -> Result<(), AppError> {
    let now = app.ports.clock().now_ms();
    let intervals = &app.config.intervals;
    let orphaned_before = now
        .saturating_sub_unsigned(intervals.call_timeout_ms)
        .saturating_sub_unsigned(intervals.lease_ms.saturating_mul(2));
    let crashed =
        json!({"code": "crashed", "message": "every consumer that took this task went silent"});
    let mut statements = sql::sweep(
        now,
        orphaned_before,
        &crashed.to_string(),
        &day(now - KEEP_DAYS_MS),
    );
    let resumed = statements.len();
    statements.push(settle::resume_halted(now));
    statements.push(sql::due(now, app.drive_at(now)));
    let answers = app.ports.db().batch(statements).await?;
    let mut due: Vec<String> = answers
        .iter()
        .skip(resumed)
        .flat_map(|answer| &answer.rows)
        .map(|row| row.text("id"))
        .collect();
    due.sort();
    due.dedup();
    let lost = answers.get(2).map_or(0, |answer| answer.rows.len());
    if lost > 0 || !due.is_empty() {
        app.log(
            json!({"event": "sweep", "leases_lost": lost, "jobs": due.len()}),
            json!({}),
        );
    }
    let mut messages = due
        .iter()
        .map(|job| message::drive(job, 0))
        .collect::<Vec<_>>();
    let found = [
        remove::age(app).await,
        notify::due(app).await,
        schedules::due(app).await,
    ];
    for found in found {
        match found {
            Ok(more) => messages.extend(more),
            // Jobs that wait must not wait for this.
            Err(error) => app.log_fault("sweep", &error.to_string()),
        }
    }
    if messages.is_empty() {
        return Ok(());
    }
    app.ports
        .queue()
        .send(messages)
        .await
        .map_err(|error| AppError::Unavailable(error.to_string()))
}
