//! `GET /v1/limits`: what the account allows, and what is left of it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::api::http::auth::Caller;
use crate::api::http::params::NoQuery;
use crate::api::http::problem::ApiError;
use crate::api::http::reply;
use crate::api::http::state::Api;
use crate::app::account::limits;
use crate::app::view::LimitsView;
use crate::core::value::token::Scope;
use crate::ports::Ports;

/// Get the limits
///
/// The limits learned from Claude's rate headers, by model class, whether calls may go out at all, and the parts of
/// requests that an endpoint does not take. All tokens share one account, so all callers see the same.
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

/// Forget what endpoints do not take
///
/// Calls left out a part of their requests because a model's endpoint refused or ignored it. From now on they try it again.
/// For an admin.
#[utoipa::path(
    delete,
    path = "/v1/limits/left_out",
    operation_id = "forgetLeftOut",
    tag = "limits",
    responses((status = 204, description = "Forgotten")),
)]
pub async fn forget_left_out<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    _: NoQuery,
) -> Result<Response, ApiError> {
    caller.must(Scope::Admin)?;
    limits::forget_left_out(&api.app).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
