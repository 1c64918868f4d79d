//! `GET /v1/jobs` and `GET /v1/jobs/{id}`.

use axum::extract::State;
use axum::response::Response;

use crate::api::http::auth::Caller;
use crate::api::http::cursor::AfterJob;
use crate::api::http::params::{JobId, NoQuery, Query};
use crate::api::http::problem::ApiError;
use crate::api::http::state::Api;
use crate::api::http::{cursor, reply};
use crate::app::read::jobs;
use crate::app::view::{JobView, Page, job};
use crate::core::job::state::JobState;
use crate::ports::Ports;

/// List jobs
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    operation_id = "listJobs",
    tag = "jobs",
    params(
        ("state" = Option<JobState>, Query, description = "Only jobs in this state."),
        ("limit" = Option<u32>, Query, description = "Entries on a page.", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of jobs", body = Page<JobView>)),
)]
pub async fn list<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    mut query: Query,
) -> Result<Response, ApiError> {
    let state = query.state(&JobState::ALL.map(JobState::as_str), JobState::parse);
    let limit = query.limit();
    let after = query
        .cursor()
        .map(|AfterJob { created_ms, id }| (created_ms, id));
    query.end()?;
    let (data, next) = jobs::jobs(&api.app, &caller.tenant, state, after, limit).await?;
    let next_cursor = next.map(|(created_ms, id)| cursor::write(AfterJob { created_ms, id }));
    Ok(reply::ok(&Page { data, next_cursor }))
}

/// Get a job
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    operation_id = "getJob",
    tag = "jobs",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    responses((status = 200, description = "The job", body = JobView)),
)]
pub async fn get<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(id): JobId,
    _: NoQuery,
) -> Result<Response, ApiError> {
    Ok(reply::tagged(
        &job::job(&api.app, &caller.tenant, &id).await?,
    ))
}
