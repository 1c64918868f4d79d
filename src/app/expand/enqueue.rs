//! The pump: as many waiting tasks as the job has places for are marked as queued, and messages go out for them.
//!
//! A message may be lost after its tasks were marked; the same statement then finds them stale and sends again.
//! Permits and money are not taken here but at the claim, so a queued task holds nothing back from other jobs.

use serde_json::json;

use crate::app::support::{log, messages};
use crate::app::{App, AppError};
use crate::ports::{Clock, Db, Ports, Queue};
use crate::store::row::Columns;
use crate::store::task::tasks;

/// Queues what has a place. How many tasks were sent for.
pub async fn pump<P: Ports>(app: &App<P>, job: &str) -> Result<usize, AppError> {
    let now = app.ports.clock().now_ms();
    let stale = now.saturating_sub_unsigned(app.config.intervals.queued_stale_ms);
    let answers = app
        .ports
        .db()
        .batch(vec![
            tasks::requeue_stale(job, now, stale),
            tasks::queue(job, now),
            app.watch(now),
        ])
        .await?;
    log::moved(app, &answers, "pumped");
    let again: Vec<u32> = answers
        .first()
        .map(|answer| answer.rows.iter().map(|row| row.count("idx")).collect())
        .unwrap_or_default();
    if !again.is_empty() {
        app.log_job(job, "sent_again", json!({"tasks": again}));
    }
    let (watch, queued) = answers.split_last().unzip();
    let indexes: Vec<u32> = queued
        .into_iter()
        .flatten()
        .flat_map(|answer| &answer.rows)
        .map(|row| row.count("idx"))
        .collect();
    // Before the tasks are sent for: whoever takes them is watched from the beginning.
    let mut messages: Vec<_> = watch
        .map(|answer| app.watch_messages(answer))
        .unwrap_or_default();
    messages.extend(messages::wake_for(job, &indexes));
    if !messages.is_empty() {
        app.ports
            .queue()
            .send(messages)
            .await
            .map_err(|error| AppError::Unavailable(error.to_string()))?;
    }
    Ok(indexes.len())
}
