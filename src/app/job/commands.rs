//! What a caller may do to a job that exists: pause, resume, cancel, retry, change its limits.
//!
//! Each is one guarded transaction: where the job's state does not allow it, nothing is written and the caller is
//! told the state. What must follow is done by [`super::drive`], which a message asks for and the sweep would find.

use serde_json::{Map, Value, json};

use crate::app::outbound::{traces, webhooks};
use crate::app::stage::command::{act, drive_soon};
use crate::app::support::db;
use crate::app::view::{JobView, job};
use crate::app::{App, AppError};
use crate::core::job::state::{JobEvent, JobState, TaskEvent, job_states_that_accept};
use crate::core::plan::spec::Limits;
use crate::core::value::money::Nano;
use crate::ports::{Clock, Db, Ports, Statement};
use crate::store::job::{commands as sql, jobs as job_jobs};
use crate::store::read::listing;
use crate::store::row::Columns;
use crate::store::task::{batches, release as task_release, settle, tasks};

/// Ends the job. From the moment this returns nothing more is claimed for it; a call that was claimed and waits for a
/// connection may still begin for half a second (see [`super::work`]). What is in flight ends unseen, but its cost is
/// counted and its result kept in the ledger.
pub async fn cancel<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<JobView, AppError> {
    let now = app.ports.clock().now_ms();
    let reason = json!({"code": "cancelled", "message": "the job was cancelled"});
    let statements = vec![
        sql::end(id, JobState::Cancelled, now),
        tasks::close_open(id, TaskEvent::Cancelled, &reason, now),
        job_jobs::end_expansion(id),
        batches::cancel(id, now),
        tasks::counts(id),
    ];
    act(
        app,
        tenant,
        id,
        "cancel",
        &job_states_that_accept(JobEvent::Cancelled),
        statements,
    )
    .await?;
    webhooks::tell(app, id).await;
    traces::tell(app, id).await;
    job::job(app, tenant, id).await
}

/// Counts all calls of the job that are possibly paid as not paid. For whoever has looked at the bill.
pub async fn release<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<JobView, AppError> {
    app.ports
        .db()
        .batch(vec![task_release::all(id, tenant)])
        .await?;
    let view = job::job(app, tenant, id).await?;
    app.log_job(id, "released", json!({}));
    Ok(view)
}

/// Halts the job. Calls in flight end and are settled; no new one begins.
pub async fn pause<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<JobView, AppError> {
    let now = app.ports.clock().now_ms();
    let halt = json!({"reason": "user", "detail": "paused by a caller", "resumes_at": null});
    let statements = vec![job_jobs::pause(id, &halt, now)];
    act(
        app,
        tenant,
        id,
        "pause",
        &job_states_that_accept(JobEvent::Paused),
        statements,
    )
    .await?;
    job::job(app, tenant, id).await
}

/// Sends a paused job back to work. Where the account's quota halted it, the breaker half-opens: one probe
/// goes first, and its end decides for all jobs.
pub async fn resume<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<JobView, AppError> {
    let now = app.ports.clock().now_ms();
    let halted_by = db::rows(app, listing::job(id, tenant)).await?;
    let halt: Value = halted_by
        .first()
        .and_then(|row| row.json("halt"))
        .unwrap_or(Value::Null);
    let mut statements = Vec::new();
    if halt.get("cause").and_then(Value::as_str) == Some("breaker") {
        statements.push(settle::half_open());
    }
    statements.push(job_jobs::resume(id, now, now));
    act(
        app,
        tenant,
        id,
        "resume",
        &[JobState::Paused.as_str()],
        statements,
    )
    .await?;
    drive_soon(app, id).await;
    job::job(app, tenant, id).await
}

/// Starts the next run over the same tasks: what has a result stays, the rest is done, and the synthesis is
/// written again.
pub async fn retry<P: Ports>(
    app: &App<P>,
    tenant: &str,
    id: &str,
    limits: &Limits,
) -> Result<JobView, AppError> {
    let now = app.ports.clock().now_ms();
    let before = limits_of(app, tenant, id).await?;
    let limits = before.overlaid(limits);
    let mut statements = vec![
        sql::next_run(id, now),
        sql::reopen_maps(id),
        sql::reopen_synthesis(id),
        batches::undecide(id),
        tasks::revive(id),
        batches::reattach(id),
        tasks::counts(id),
    ];
    statements.extend(limit_statements(
        id,
        &limits,
        limits.deadline_seconds.map(|s| deadline(now, s)),
        now,
    ));
    act(
        app,
        tenant,
        id,
        "retry",
        &job_states_that_accept(JobEvent::Retried),
        statements,
    )
    .await?;
    drive_soon(app, id).await;
    job::job(app, tenant, id).await
}

/// A change by the caller; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patch {
    pub limits: Option<Limits>,
    pub metadata: Option<Map<String, Value>>,
}

/// Changes the limits of a job that is not over, and the metadata of any.
pub async fn patch<P: Ports>(
    app: &App<P>,
    tenant: &str,
    id: &str,
    patch: Patch,
) -> Result<JobView, AppError> {
    let now = app.ports.clock().now_ms();
    let mut statements = Vec::new();
    let mut allowed: Vec<&'static str> = JobState::ALL.iter().map(|s| s.as_str()).collect();
    if let Some(limits) = &patch.limits {
        allowed.retain(|state| JobState::parse(state).is_some_and(|state| !state.is_terminal()));
        let row = db::rows(app, listing::job(id, tenant)).await?;
        let row = row.first().ok_or(AppError::NotFound("job"))?;
        let merged = limits_of(app, tenant, id).await?.overlaid(limits);
        // From the submit on; in a later run, from now on. Other limits leave the deadline as it is.
        let from = if row.count("run") > 1 {
            now
        } else {
            row.int("created_at")
        };
        let at = match limits.deadline_seconds {
            Some(seconds) => Some(deadline(from, seconds)),
            None => row.maybe_int("deadline_at"),
        };
        statements.extend(limit_statements(id, &merged, at, now));
    }
    if let Some(metadata) = patch.metadata {
        statements.push(sql::metadata(id, &metadata));
    }
    act(app, tenant, id, "change", &allowed, statements).await?;
    drive_soon(app, id).await;
    job::job(app, tenant, id).await
}

fn deadline(from: i64, seconds: u64) -> i64 {
    from.saturating_add_unsigned(seconds.saturating_mul(1_000))
}

async fn limits_of<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<Limits, AppError> {
    db::rows(app, sql::limits(id, tenant))
        .await?
        .first()
        .and_then(|row| row.json("limits"))
        .ok_or(AppError::NotFound("job"))
}

fn limit_statements(
    id: &str,
    limits: &Limits,
    deadline_at: Option<i64>,
    now: i64,
) -> Vec<Statement> {
    let nano = limits.max_cost_usd.map(|usd| Nano::from_usd_floor(usd).0);
    vec![
        sql::set_limits(id, limits, nano, deadline_at, now),
        sql::keep_limits(id, limits),
    ]
}
