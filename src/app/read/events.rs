//! How a job stands, for those who watch it: what happened since they last looked, and its progress.
//!
//! What happened is in the table `events`, numbered, so a watcher who was away loses nothing. Progress is the
//! counters of this moment.

use serde::Deserialize;
use serde_json::Value;

use crate::app::support::db::rows;
use crate::app::view::{ProgressEvent, job};
use crate::app::{App, AppError};
use crate::core::job::state::JobState;
use crate::ports::Ports;
use crate::store::read::events as sql;
use crate::store::row::Columns;

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event {
    /// From 1, without gaps.
    pub seq: u64,
    /// `state` or `task_failed`.
    pub kind: String,
    pub body: Value,
}

/// One look at a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulse {
    /// At most a page of them; `more` says whether others follow at once.
    pub events: Vec<Event>,
    pub more: bool,
    /// The newest event there is; 0: none.
    pub last: u64,
    /// The job is terminal.
    pub over: bool,
    pub progress: ProgressEvent,
}

/// The job as it stands, with the events after `after`.
pub async fn pulse<P: Ports>(
    app: &App<P>,
    tenant: &str,
    job: &str,
    after: u64,
) -> Result<Pulse, AppError> {
    let pulse = rows(app, sql::pulse(job, tenant, after)).await?;
    let row = pulse.first().ok_or(AppError::NotFound("job"))?;
    let mut cost = job::cost(row);
    // A job that is over has no costs to come.
    let open = row.maybe_int("finished_at").is_none();
    job::foresee(&mut cost, open.then_some(row));
    let events: Vec<Event> = row.json("events").unwrap_or_default();
    let state = row.text("state");
    let last = row.tokens("last_seq");
    Ok(Pulse {
        more: events.last().is_some_and(|event| event.seq < last),
        last,
        over: JobState::parse(&state).is_some_and(JobState::is_terminal),
        progress: ProgressEvent {
            state,
            run: row.count("run"),
            stage: row.maybe_text("stage_name"),
            progress: job::progress(row),
            calls: row.tokens("calls"),
            usage: job::usage(row),
            cost,
        },
        events,
    })
}
