//! `POST /v1/jobs`: a body becomes a checked [`Submit`], and the use case does the rest.
//!
//! [`submit_body`](crate::api::validate::submit_body) checks it. A body in parts ([`upload`]) takes the same steps, its input last.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use sha2::{Digest, Sha256};

use super::upload;
use super::upload::Upload;
use crate::api::http::auth::Caller;
use crate::api::http::idempotency::{hex, idempotency_key};
use crate::api::http::params::NoQuery;
use crate::api::http::problem::{ApiError, Problem};
use crate::api::http::state::Api;
use crate::api::http::{body, in_flight, reply};
use crate::api::validate::json_text;
use crate::api::validate::submit_body::{SubmitBody, check_text};
use crate::app::submit;
use crate::app::submit::{Owner, Submit, Submitted};
use crate::app::view::JobView;
use crate::ports::{Clock, Ports};

/// Submit a job
///
/// It is checked and stored, and runs from then on. With an `Idempotency-Key`, sending the same body again
/// answers with the same job.
#[utoipa::path(
    post,
    path = "/v1/jobs",
    operation_id = "submitJob",
    tag = "jobs",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Names this submit: the same key with the same body gives the same job, with another body 409.", min_length = 1, max_length = 255, pattern = "^[!-~]+$"),
        ("traceparent" = Option<String>, Header, description = "The trace that the job becomes part of, as W3C Trace Context writes it. One that is malformed counts as none.", example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ),
    request_body(content((SubmitBody = "application/json"), (Upload = "multipart/form-data"))),
    responses(
        (status = 202, description = "Accepted", body = JobView, headers(("location" = String, description = "The job's address"))),
        (status = 200, description = "The job that this key and body made before", body = JobView, headers(("location" = String, description = "The job's address"))),
        (status = 409, description = "The key came with another body before", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token submits too often", body = Problem, content_type = "application/problem+json", headers(("retry-after" = u64, description = "Seconds until it may go on"))),
    ),
)]
pub async fn submit<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let key = idempotency_key(&headers)?;
    caller.may_submit(&api.app).await?;
    let trace = headers.get("traceparent");
    let owner = Owner {
        trace: trace.and_then(|value| value.to_str().ok()),
        ..caller.owner()
    };
    if upload::is_multipart(&headers) {
        let submitted = upload::submit(&api.app, owner, &headers, body, key).await?;
        return answer(submitted);
    }
    let config = &api.app.config;
    let cap = config.caps.body_bytes;
    let bytes = body::announced(&headers, &body).unwrap_or(cap).min(cap);
    let _room = in_flight::reserve(bytes, api.app.ports.clock().now_ms())?;
    let mut bytes = body::json_bytes(&headers, body, cap).await?;
    let idempotency = key.map(|key| (key, hex(&Sha256::digest(&bytes))));
    let (submit, items) = check_text(json_text::sound(&mut bytes)?, config)?;
    let submit = Submit {
        idempotency,
        ..submit
    };
    answer(submit::submit_items(&api.app, owner, submit, items).await?)
}

fn answer(submitted: Submitted) -> Result<Response, ApiError> {
    let status = if submitted.created {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    let location = HeaderValue::try_from(format!("/v1/jobs/{}", submitted.job.id))
        .map_err(|error| ApiError::unavailable(error.to_string()))?;
    let mut response = reply::with(status, &submitted.job);
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}
