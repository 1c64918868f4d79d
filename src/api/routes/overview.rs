//! `GET /v1/jobs/{id}/states` and `GET /v1/jobs/{id}/timeline`: a whole job at a glance, for who draws it.

use axum::extract::State;
use axum::response::Response;

use crate::api::http::auth::Caller;
use crate::api::http::params::{JobId, NoQuery};
use crate::api::http::problem::ApiError;
use crate::api::http::reply;
use crate::api::http::state::Api;
use crate::app::read::overview;
use crate::app::read::overview::{TaskStates, Timeline};
use crate::ports::Ports;

/// Get the states of all tasks
///
/// The state of every task in one small answer, and why some have no result.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/states",
    operation_id = "getStates",
    tag = "jobs",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    responses((status = 200, description = "The states, as they are now", body = TaskStates)),
)]
pub async fn states<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(job): JobId,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let states = overview::states(&api.app, &caller.tenant, &job).await?;
    Ok(reply::tagged(&states))
}

/// Get a job's calls over time
///
/// How many ended when, what they cost, which faults they met; and the last faults one by one.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/timeline",
    operation_id = "getTimeline",
    tag = "jobs",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    responses((status = 200, description = "The calls so far", body = Timeline)),
)]
pub async fn timeline<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(job): JobId,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let timeline = overview::timeline(&api.app, &caller.tenant, &job).await?;
    Ok(reply::tagged(&timeline))
}
