//! `/v1/tokens`: tokens are made, listed, changed and revoked. For the operator and for admins, who see only their own
//! tenant's ([`Keeper`](crate::app::tokens::Keeper)).

use axum::body::Body;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::auth::Caller;
use super::cursor::{self, AfterToken};
use super::params::{NoQuery, Query, TokenId};
use super::problem::{ApiError, Faults};
use super::shape::Shape;
use super::submit::all_whole;
use super::{Api, body, contract, reply};
use crate::app::tokens::{self, Patch, Wanted};
use crate::app::view::{MadeToken, Page, TokenView};
use crate::core::time::parse_rfc3339;
use crate::core::token::Scope;
use crate::ports::Ports;

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MakeToken)]
pub struct MakeBody {
    /// What it is for, to tell it from others.
    #[schema(pattern = r"\S", max_length = 100, examples("nightly import"))]
    name: String,
    /// `read` and `run` if left out.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 3)]
    scopes: Option<Vec<Scope>>,
    /// Whose jobs it reads and submits; the caller's own tenant if left out. Only the operator's token may name another.
    #[serde(default)]
    #[schema(pattern = "^[a-z0-9][a-z0-9_-]{0,62}$")]
    tenant: Option<String>,
    /// From then on it is refused; never, if left out.
    #[serde(default, rename = "expires_at")]
    #[schema(format = DateTime, examples("2030-01-01T00:00:00Z"))]
    _expires_at: Option<String>,
    /// What its jobs may spend in a UTC day; then they pause until the next.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000)]
    daily_budget_usd: Option<f64>,
    /// Calls in flight of all its jobs together.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000)]
    concurrency: Option<u32>,
}

/// What is to change of a token. A field that is left out stays; `null` takes a bound away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChangeToken, min_properties = 1)]
pub struct PatchBody {
    #[serde(default)]
    #[schema(pattern = r"\S", max_length = 100)]
    name: Option<String>,
    #[serde(default)]
    #[schema(min_items = 1, max_items = 3)]
    scopes: Option<Vec<Scope>>,
    #[serde(default, rename = "expires_at")]
    #[schema(format = DateTime)]
    _expires_at: Option<String>,
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000)]
    daily_budget_usd: Option<f64>,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000)]
    concurrency: Option<u32>,
}

/// Make a token
///
/// Its text is in the answer and is never shown again.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    operation_id = "makeToken",
    tag = "tokens",
    request_body(content = MakeBody, content_type = "application/json"),
    responses((status = 201, description = "The token", body = MadeToken, headers(("location" = String, description = "The token's address")))),
)]
pub async fn make<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let keeper = caller.keeper()?;
    let value = read(&api, &headers, body, contract::make_token_shape()?).await?;
    let expires_at = time(&value)?.flatten();
    let body =
        MakeBody::deserialize(value).map_err(|error| ApiError::fault("body", error.to_string()))?;
    let wanted = Wanted {
        tenant: body.tenant,
        name: body.name,
        scopes: body.scopes.unwrap_or_else(|| vec![Scope::Read, Scope::Run]),
        expires_at,
        daily_usd: body.daily_budget_usd,
        concurrency: body.concurrency,
    };
    let made = tokens::make(&api.app, keeper, &caller.tenant, wanted).await?;
    let location = HeaderValue::try_from(format!("/v1/tokens/{}", made.about.id))
        .map_err(|error| ApiError::unavailable(error.to_string()))?;
    let mut response = reply::with(StatusCode::CREATED, &made);
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// List tokens
///
/// Newest first, without their texts; the operator sees those of all tenants. Revoked ones are gone.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    operation_id = "listTokens",
    tag = "tokens",
    params(
        ("limit" = Option<u32>, Query, description = "Entries on a page.", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of tokens", body = Page<TokenView>)),
)]
pub async fn list<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    mut query: Query,
) -> Result<Response, ApiError> {
    let limit = query.limit();
    let after = query
        .cursor()
        .map(|AfterToken { created_ms, id }| (created_ms, id));
    query.end()?;
    let (data, next) = tokens::list(&api.app, caller.keeper()?, after, limit).await?;
    let next_cursor = next.map(|(created_ms, id)| cursor::write(AfterToken { created_ms, id }));
    Ok(reply::ok(&Page { data, next_cursor }))
}

/// Get a token
///
/// Without its text.
#[utoipa::path(
    get,
    path = "/v1/tokens/{id}",
    operation_id = "getToken",
    tag = "tokens",
    params(("id" = String, Path, description = "The token's id", pattern = "^tok_[0-9a-f]{32}$")),
    responses((status = 200, description = "The token", body = TokenView)),
)]
pub async fn get<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    TokenId(id): TokenId,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let token = tokens::one(&api.app, caller.keeper()?, &id).await?;
    Ok(reply::tagged(&token))
}

/// Change a token
///
/// In force at once, for its next request and for the next call of its jobs.
#[utoipa::path(
    patch,
    path = "/v1/tokens/{id}",
    operation_id = "changeToken",
    tag = "tokens",
    params(("id" = String, Path, description = "The token's id", pattern = "^tok_[0-9a-f]{32}$")),
    request_body(content = PatchBody, content_type = "application/json"),
    responses((status = 200, description = "The token as it is now", body = TokenView)),
)]
pub async fn change<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    TokenId(id): TokenId,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let keeper = caller.keeper()?;
    let value = read(&api, &headers, body, contract::change_token_shape()?).await?;
    let expires_at = time(&value)?;
    let named = |field: &str| value.get(field).is_some();
    let (budget, concurrency) = (named("daily_budget_usd"), named("concurrency"));
    let body = PatchBody::deserialize(value)
        .map_err(|error| ApiError::fault("body", error.to_string()))?;
    let patch = Patch {
        name: body.name,
        scopes: body.scopes,
        expires_at,
        daily_usd: budget.then_some(body.daily_budget_usd),
        concurrency: concurrency.then_some(body.concurrency),
    };
    Ok(reply::ok(
        &tokens::change(&api.app, keeper, &id, patch).await?,
    ))
}

/// Revoke a token
///
/// From now on it is refused. Jobs that it submitted go on, under its caps.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{id}",
    operation_id = "revokeToken",
    tag = "tokens",
    params(("id" = String, Path, description = "The token's id", pattern = "^tok_[0-9a-f]{32}$")),
    responses((status = 204, description = "It is revoked")),
)]
pub async fn revoke<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    TokenId(id): TokenId,
    _: NoQuery,
) -> Result<Response, ApiError> {
    tokens::revoke(&api.app, caller.keeper()?, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A body that fits its shape.
async fn read<P: Ports>(
    api: &Api<P>,
    headers: &HeaderMap,
    body: Body,
    shape: &Shape,
) -> Result<Value, ApiError> {
    let bytes = body::json_bytes(headers, body, body::small(&api.app.config.caps)).await?;
    let mut value = body::parse(&bytes)?;
    if let Some(map) = value.as_object_mut() {
        all_whole(map);
    }
    let mut faults = Faults::default();
    shape.check(&value, &mut faults);
    faults.into_result()?;
    Ok(value)
}

/// The field `expires_at`: left out, `null`, or milliseconds since the epoch.
fn time(body: &Value) -> Result<Option<Option<i64>>, ApiError> {
    let wants = || ApiError::fault("expires_at", "must be a time like 2030-01-01T00:00:00Z");
    match body.get("expires_at") {
        None => Ok(None),
        Some(Value::String(text)) => parse_rfc3339(text).map(Some).map(Some).ok_or_else(wants),
        Some(_) => Ok(Some(None)),
    }
}
