//! `GET /v1/limits`: what the account allows, and what is left of it.

use axum::extract::State;
use axum::response::Response;

use super::auth::Caller;
use super::params::NoQuery;
use super::problem::ApiError;
use super::{Api, reply};
use crate::app::limits;
use crate::app::view::LimitsView;
use crate::ports::Ports;

/// Get the limits
///
/// What Claude's rate headers have taught so far, by model class, and whether calls may go out at all. It is one account
/// for all tokens, so everybody sees the same.
#[utoipa::path(
    get,
    path = "/v1/limits",
    operation_id = "getLimits",
    tag = "limits",
    responses((status = 200, description = "The limits as they stand", body = LimitsView)),
)]
pub async fn get<P: Ports>(
    State(api): State<Api<P>>,
    _: Caller,
    _: NoQuery,
) -> Result<Response, ApiError> {
    Ok(reply::ok(&limits::limits(&api.app).await?))
}
