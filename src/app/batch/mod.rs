//! Message Batches: the calls of a job that go out many at a time, at half the price.
//!
//! - [`choice`]: whether a job's calls go out in batches, and when what is left goes live
//! - [`send`]: waiting tasks become a batch
//! - [`watch`]: batches are looked at, found again, cancelled
//! - [`results`]: what they bring, line by line, into the settle of every answer
//!
//! A batch is of one job. Its tasks are `running` under a lease that is the batch's id and has no end by the clock, and each
//! has an open attempt; so budget, coverage, fan-in and the pay-once ledger are those of live calls. Live rate limits and
//! the job's concurrency do not count what is in batches: the API has limits of its own for them.

pub mod delivery;

pub mod results;
pub mod send;
pub mod watch;

use std::borrow::Cow;

use crate::app::expand::enqueue;
use crate::app::stage::loaded::Loaded;
use crate::app::{App, AppError};
use crate::claude::request::{Role, Trace, headers};
use crate::ports::{Ports, WireRequest};
use crate::store::job::jobs::StageRow;

/// Sends out what waits in a stage: live by messages for consumers, the rest as batches. True where there is more to do at
/// once.
pub async fn pump<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
) -> Result<bool, AppError> {
    let job = &loaded.job;
    if loaded.runtime.spec.delivery.is_live() {
        enqueue::pump(app, &job.id).await?;
        return Ok(false);
    }
    let moved = delivery::hold(app, loaded).await?;
    let more = !moved && job.delivery == "batch" && send::send(app, loaded, stage).await?;
    enqueue::pump(app, &job.id).await?;
    Ok(moved || more)
}

/// A request about batches: a `POST` where it has a body.
fn wire<P: Ports>(
    app: &App<P>,
    job: &str,
    path: impl Into<Cow<'static, str>>,
    body: Option<String>,
) -> WireRequest {
    let trace = Trace {
        role: Role::Worker,
        job,
        task: None,
        attempt: 1,
    };
    WireRequest {
        path: path.into(),
        headers: headers(app.config.trace_headers.then_some(trace))
            .into_iter()
            .collect(),
        body,
    }
}
