//! What a caller does to a job that exists: `POST /v1/jobs/{id}/cancel`, `/pause`, `/resume`, `/retry`,
//! `PATCH /v1/jobs/{id}` and `DELETE /v1/jobs/{id}`.
//!
//! The first three have nothing to say, and `retry` little, so their body may be left out. What is sent all the same
//! is checked like that of a submit, limits by the very same schema: a limit misspelt in a `retry` is
//! named, not ignored.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::http::auth::Caller;
use crate::api::http::params::{JobId, NoQuery};
use crate::api::http::problem::{ApiError, Faults, Problem};
use crate::api::http::state::Api;
use crate::api::http::{body, reply};
use crate::api::validate::body_check::{BodyCheck, checked};
use crate::api::validate::empty_body::{Nothing, nothing};
use crate::api::validate::metadata::{check_metadata, metadata_schema};
use crate::app::account::tokens::Spends;
use crate::app::job::commands::Patch;
use crate::app::job::{commands, remove};
use crate::app::view::JobView;
use crate::core::plan::spec::Limits;
use crate::core::value::token::Scope;
use crate::ports::Ports;

static RETRY: BodyCheck = BodyCheck::of::<RetryBody>();
static CHANGE: BodyCheck = BodyCheck::of::<ChangeBody>();

/// How the next run differs; may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Retry)]
pub struct RetryBody {
    /// Limits that are left out stay as they are; the deadline counts from now.
    #[serde(default)]
    limits: Option<Limits>,
}

/// The fields to change: `limits`, `metadata` or both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Change)]
pub struct ChangeBody {
    /// Limits that are left out stay as they are; the deadline counts from the submit.
    #[serde(default)]
    limits: Option<Limits>,
    /// Takes the place of all metadata there was.
    #[serde(default)]
    #[schema(schema_with = metadata_schema)]
    metadata: Option<Map<String, Value>>,
}

/// Delete a job
///
/// Only one that is over. It is not found any more at once; everything of it goes, and so do the paid answers that it
/// brought for reuse, unless another job has used them. Deliveries that are still due are not made.
#[utoipa::path(
    delete,
    path = "/v1/jobs/{id}",
    operation_id = "deleteJob",
    tag = "jobs",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "The job is not over", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn delete<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(id): JobId,
    _: NoQuery,
) -> Result<Response, ApiError> {
    remove::delete(&api.app, &caller.tenant, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Cancel a job
///
/// No new call begins for it; the results that are there stay readable.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/cancel",
    operation_id = "cancelJob",
    tag = "jobs",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    request_body(content = Nothing, content_type = "application/json"),
    responses(
        (status = 200, description = "The job, cancelled", body = JobView),
        (status = 409, description = "The job is over", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn cancel<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(id): JobId,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    nothing(&api, &headers, body).await?;
    let job = commands::cancel(&api.app, &caller.tenant, &id).await?;
    Ok(reply::ok(&job))
}

/// Pause a job
///
/// Calls in flight end and count; no new one begins until `resume`. The deadline runs on.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/pause",
    operation_id = "pauseJob",
    tag = "jobs",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    request_body(content = Nothing, content_type = "application/json"),
    responses(
        (status = 200, description = "The job, paused", body = JobView),
        (status = 409, description = "The job is not at work", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn pause<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(id): JobId,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    nothing(&api, &headers, body).await?;
    let job = commands::pause(&api.app, &caller.tenant, &id).await?;
    Ok(reply::ok(&job))
}

/// Release what is possibly paid
///
/// Calls whose end was not seen count at their worst case, as `cost.possibly_paid_usd`. This counts them as not paid: for
/// an admin who has looked at Claude's bill.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/release",
    operation_id = "releaseJob",
    tag = "jobs",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    request_body(content = Nothing, content_type = "application/json"),
    responses((status = 200, description = "The job; nothing of it is possibly paid", body = JobView)),
)]
pub async fn release<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(id): JobId,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.must(Scope::Admin)?;
    nothing(&api, &headers, body).await?;
    let job = commands::release(&api.app, &caller.tenant, &id).await?;
    Ok(reply::ok(&job))
}

/// Resume a paused job
///
/// Where the account's quota halted it, one call goes first to see whether the account works again.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/resume",
    operation_id = "resumeJob",
    tag = "jobs",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    request_body(content = Nothing, content_type = "application/json"),
    responses(
        (status = 200, description = "The job, at work", body = JobView),
        (status = 409, description = "The job is not paused", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn resume<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(id): JobId,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    nothing(&api, &headers, body).await?;
    caller.may_spend(&api.app, Spends::Job(&id)).await?;
    let job = commands::resume(&api.app, &caller.tenant, &id).await?;
    Ok(reply::ok(&job))
}

/// Retry a job
///
/// Starts the next run of a job that ended `partial`, `failed` or `cancelled`: results that exist stay, what is
/// missing is done, and the synthesis is written again.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/retry",
    operation_id = "retryJob",
    tag = "jobs",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    request_body(content = RetryBody, content_type = "application/json"),
    responses(
        (status = 200, description = "The job in its next run", body = JobView),
        (status = 409, description = "The job is not over, or succeeded", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn retry<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(id): JobId,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let cap = body::small(&api.app.config.caps);
    let retry = match body::optional_json(&headers, body, cap).await? {
        Some(value) => checked(value, RETRY.schema()?, |_, _| ())?,
        None => RetryBody::default(),
    };
    caller.may_spend(&api.app, Spends::Job(&id)).await?;
    let limits = retry.limits.unwrap_or_default();
    let job = commands::retry(&api.app, &caller.tenant, &id, &limits).await?;
    Ok(reply::ok(&job))
}

/// Change a job
///
/// The limits of a job that is not over, and the metadata of any.
#[utoipa::path(
    patch,
    path = "/v1/jobs/{id}",
    operation_id = "changeJob",
    tag = "jobs",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    request_body(content = ChangeBody, content_type = "application/json"),
    responses(
        (status = 200, description = "The job as it is now", body = JobView),
        (status = 409, description = "The job is over, so its limits cannot change", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn change<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(id): JobId,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let bytes = body::json_bytes(&headers, body, body::small(&api.app.config.caps)).await?;
    let value = body::parse(&bytes)?;
    let ChangeBody { limits, metadata } = checked(value, CHANGE.schema()?, change_rules)?;
    if limits.is_some() {
        caller.may_spend(&api.app, Spends::Job(&id)).await?;
    }
    let patch = Patch { limits, metadata };
    let job = commands::patch(&api.app, &caller.tenant, &id, patch).await?;
    Ok(reply::ok(&job))
}

/// What the schema of a change cannot say.
fn change_rules(value: &Value, faults: &mut Faults) {
    check_metadata(value, faults);
    let left_out = |name| value.get(name).is_none_or(Value::is_null);
    if value.is_object() && left_out("limits") && left_out("metadata") {
        faults.add("body", "must have `limits` or `metadata`");
    }
}
