//! What was told to a job's webhook: `GET /v1/jobs/{id}/deliveries`, `POST /v1/jobs/{id}/deliveries/{delivery}/redeliver`,
//! and `GET /v1/webhook-secret`, with which receivers check who tells them.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use crate::api::http::auth::Caller;
use crate::api::http::cursor::AfterDelivery;
use crate::api::http::params::{DeliveryPath, JobId, NoQuery, Query};
use crate::api::http::problem::{ApiError, Problem};
use crate::api::http::state::Api;
use crate::api::http::{cursor, reply};
use crate::api::validate::empty_body::{Nothing, nothing};
use crate::app::outbound::webhooks;
use crate::app::view::{DeliveryView, Page, WebhookSecret};
use crate::ports::Ports;

/// List deliveries
///
/// The deliveries of the job's webhook, newest first, with the last tries of each.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/deliveries",
    operation_id = "listDeliveries",
    tag = "webhooks",
    params(
        ("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$"),
        ("limit" = Option<u32>, Query, description = "Entries on a page.", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of deliveries", body = Page<DeliveryView>)),
)]
pub async fn list<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(id): JobId,
    mut query: Query,
) -> Result<Response, ApiError> {
    let limit = query.limit();
    let after = query
        .cursor()
        .map(|AfterDelivery { at_ms, id }| (at_ms, id));
    query.end()?;
    let (data, next) = webhooks::list(&api.app, &caller.tenant, &id, after, limit).await?;
    let next_cursor = next.map(|(at_ms, id)| cursor::write(AfterDelivery { at_ms, id }));
    Ok(reply::ok(&Page { data, next_cursor }))
}

/// Deliver again
///
/// Whatever became of it: the same body with the same `webhook-id` is sent at once, and tried for another day.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/deliveries/{delivery}/redeliver",
    operation_id = "redeliver",
    tag = "webhooks",
    params(
        ("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$"),
        ("delivery" = String, Path, description = "The delivery", pattern = "^msg_[0-9a-z_]{1,100}$"),
    ),
    request_body(content = Nothing, content_type = "application/json"),
    responses(
        (status = 202, description = "The delivery, on its way", body = DeliveryView),
        (status = 429, description = "The token asks too often", body = Problem, content_type = "application/problem+json", headers(("retry-after" = u64, description = "Seconds until it may go on"))),
    ),
)]
pub async fn redeliver<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    DeliveryPath { job, delivery }: DeliveryPath,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    nothing(&api, &headers, body).await?;
    caller.may_submit(&api.app).await?;
    let delivery = webhooks::redeliver(&api.app, &caller.tenant, &job, &delivery).await?;
    Ok(reply::with(StatusCode::ACCEPTED, &delivery))
}

/// Get the webhook secret
///
/// The key with which receivers check the header `webhook-signature` (Standard Webhooks). It follows from the
/// deployment's `WEBHOOK_SIGNING_KEY` and whose token it is; it is stored nowhere.
#[utoipa::path(
    get,
    path = "/v1/webhook-secret",
    operation_id = "getWebhookSecret",
    tag = "webhooks",
    responses(
        (status = 200, description = "The secret", body = WebhookSecret),
        (status = 409, description = "The deployment has no `WEBHOOK_SIGNING_KEY`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn secret<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    _: NoQuery,
) -> Result<Response, ApiError> {
    Ok(reply::ok(&webhooks::secret(&api.app, &caller.tenant)?))
}
