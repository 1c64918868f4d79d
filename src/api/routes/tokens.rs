//! `/v1/tokens`: tokens are made, listed, changed and revoked. For the operator and for admins, who see only their own
//! tenant's ([`Keeper`](crate::app::account::tokens::Keeper)).

use axum::body::Body;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::http::auth::Caller;
use crate::api::http::cursor::AfterToken;
use crate::api::http::params::{NoQuery, Query, TokenId};
use crate::api::http::problem::{ApiError, Faults};
use crate::api::http::state::Api;
use crate::api::http::{body, cursor, reply};
use crate::api::validate::body_check::BodyCheck;
use crate::api::validate::numbers::all_whole;
use crate::api::validate::schema_check::SchemaCheck;
use crate::app::account::tokens;
use crate::app::account::tokens::{Patch, Wanted};
use crate::app::view::{MadeToken, Page, RevokedToken, TokenView};
use crate::core::value::time::parse_rfc3339;
use crate::core::value::token::Scope;
use crate::ports::Ports;

static MAKE: BodyCheck = BodyCheck::of::<MakeBody>();
static CHANGE: BodyCheck = BodyCheck::of::<PatchBody>();

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MakeToken)]
pub struct MakeBody {
    /// A name that says its purpose.
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
    /// Dollars that its jobs may spend in a UTC day; then they pause until the next day.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000)]
    daily_budget_usd: Option<f64>,
    /// Calls in flight of all its jobs together.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000)]
    concurrency: Option<u32>,
}

/// The fields of a token to change. A field that is left out stays; `null` removes a bound.
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
    let value = read(&api, &headers, body, MAKE.schema()?).await?;
    let expires_at = time(&value)?.flatten();
    let body =
        MakeBody::deserialize(value).map_err(|error| ApiError::fault("body", error.to_string()))?;
    let wanted = Wanted {
        tenant: body.tenant,
        name: body.name,
        scopes: body.scopes,
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
    let value = read(&api, &headers, body, CHANGE.schema()?).await?;
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
/// From now on it is refused. Jobs that it submitted go on, under its caps; its schedules stop at their next run. The answer
/// names those, and the tokens that it made.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{id}",
    operation_id = "revokeToken",
    tag = "tokens",
    params(
        ("id" = String, Path, description = "The token's id", pattern = "^tok_[0-9a-f]{32}$"),
        ("descendants" = Option<bool>, Query, description = "`true`: the tokens that it made are revoked too, and those that they made."),
    ),
    responses(
        (status = 204, description = "It is revoked, and nothing depended on it"),
        (status = 200, description = "It is revoked; the body names what depended on it", body = RevokedToken),
    ),
)]
pub async fn revoke<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    TokenId(id): TokenId,
    mut query: Query,
) -> Result<Response, ApiError> {
    let with_descendants = query.flag("descendants");
    query.end()?;
    let revoked = tokens::revoke(&api.app, caller.keeper()?, &id, with_descendants).await?;
    if revoked.revoked.len() == 1 && revoked.descendants.is_empty() && revoked.schedules.is_empty()
    {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(reply::ok(&revoked))
}

/// A body that fits its shape.
async fn read<P: Ports>(
    api: &Api<P>,
    headers: &HeaderMap,
    body: Body,
    schema: &SchemaCheck,
) -> Result<Value, ApiError> {
    let bytes = body::json_bytes(headers, body, body::small(&api.app.config.caps)).await?;
    let mut value = body::parse(&bytes)?;
    if let Some(map) = value.as_object_mut() {
        all_whole(map);
    }
    let mut faults = Faults::default();
    schema.check(&value, &mut faults);
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
