//! What goes wrong at the front door, and how it is said.
//!
//! There is one error type, [`ApiError`], and one wire form, [`Problem`] (RFC 9457). How they are kept apart,
//! and why:
//!
//! - A caller gets a status, a stable `code` to branch on, one sentence in `detail` to show to a person,
//!   and, where a request holds several faults, all of them at once with their paths. No more than that: an error
//!   with dozens of codes is an error that nobody handles.
//! - Codes are the variants of [`Code`], and each has exactly one status. `type` is always `about:blank`, since
//!   `code` says the same and there are no pages to link to.
//! - What happened inside (a database's message, a stack of causes) goes into `internal`, which is logged
//!   under the request's id and never sent.
//! - Handlers return `Result<Response, ApiError>` and know nothing of ids: an `ApiError` becomes a bare response
//!   that carries it as an extension, and [`crate::api::http::headers`] writes the document when the request's id is at
//!   hand. So the id in the body and the one in the header cannot differ.
//! - Use cases know nothing of HTTP: [`AppError`] is mapped here and nowhere else.

use std::borrow::Cow;

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::AppError;
use crate::core::value::same_text::visible;
use crate::core::value::token::Scope;

/// The media type of [`Problem`].
pub const CONTENT_TYPE: &str = "application/problem+json";

/// At most so many faults are listed: a person reads fewer, and 100,000 items can have as many.
pub const MAX_LISTED: usize = 100;

/// A little longer than the database takes to come back from a hiccup.
const RETRY_AFTER_SECONDS: u64 = 2;

/// The kind of error. Stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[serde(rename_all = "snake_case")]
pub enum Code {
    InvalidJson,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Conflict,
    IdempotencyKeyReused,
    TooLarge,
    UnsupportedMediaType,
    InvalidRequest,
    RateLimited,
    AuthNotConfigured,
    Misconfigured,
    Unavailable,
    Internal,
    StorageFull,
}

impl Code {
    pub fn status(self) -> StatusCode {
        match self {
            Code::InvalidJson => StatusCode::BAD_REQUEST,
            Code::Unauthorized => StatusCode::UNAUTHORIZED,
            Code::Forbidden => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Code::Conflict | Code::IdempotencyKeyReused => StatusCode::CONFLICT,
            Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::InvalidRequest => StatusCode::UNPROCESSABLE_ENTITY,
            Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Code::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            Code::AuthNotConfigured | Code::Misconfigured | Code::Unavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// One thing that is wrong with a request, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct Fault {
    /// A path into the body (`stages[0].chunk.items`), or the name of a query parameter or header.
    #[schema(examples("input.items[17].id"))]
    pub path: String,
    #[schema(examples("must be at least 1, is 0"))]
    pub message: String,
}

/// The document of an error (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct Problem {
    #[schema(examples("about:blank"))]
    pub r#type: Cow<'static, str>,
    /// The name of the status.
    #[schema(examples("Unprocessable Entity"))]
    pub title: Cow<'static, str>,
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    pub detail: String,
    pub code: Code,
    /// The same as in the header `x-request-id`.
    pub request_id: String,
    /// Every fault that was found, at most 100; empty for most codes.
    pub errors: Vec<Fault>,
}

/// Faults as they are found: all are counted, the first [`MAX_LISTED`] are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    listed: Vec<Fault>,
    total: usize,
}

impl Faults {
    /// The path is only written out where it will be shown.
    pub fn add(&mut self, path: impl std::fmt::Display, message: impl Into<String>) {
        self.total += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(Fault {
                path: visible(&path.to_string()).into_owned(),
                message: visible(&message.into()).into_owned(),
            });
        }
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// More would only be counted.
    pub fn is_full(&self) -> bool {
        self.total >= MAX_LISTED
    }

    /// Whether something is wrong at this path, or below it.
    pub fn names(&self, path: &str) -> bool {
        self.listed.iter().any(|fault| {
            let rest = fault.path.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// So many more are listed.
    pub fn left(&self) -> usize {
        MAX_LISTED.saturating_sub(self.listed.len())
    }

    /// `Ok` where nothing was found.
    pub fn into_result(self) -> Result<(), ApiError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(ApiError::invalid(self))
        }
    }
}

/// An error on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    pub code: Code,
    detail: String,
    errors: Vec<Fault>,
    internal: Option<String>,
    /// What `retry-after` says.
    retry_seconds: Option<u64>,
}

impl ApiError {
    fn new(code: Code, detail: impl Into<String>) -> ApiError {
        ApiError {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            internal: None,
            retry_seconds: None,
        }
    }

    /// The body cannot be read as JSON; `detail` says where.
    pub fn invalid_json(detail: impl Into<String>) -> ApiError {
        ApiError::new(Code::InvalidJson, detail)
    }

    /// The request was understood, and something in it is wrong.
    pub fn invalid(faults: Faults) -> ApiError {
        let detail = match faults.total {
            0 | 1 => "The request has a fault.".to_owned(),
            n if n > faults.listed.len() => {
                format!(
                    "The request has {n} faults; the first {} are listed.",
                    faults.listed.len()
                )
            }
            n => format!("The request has {n} faults."),
        };
        ApiError {
            errors: faults.listed,
            ..ApiError::new(Code::InvalidRequest, detail)
        }
    }

    /// A single fault.
    pub fn fault(path: impl std::fmt::Display, message: impl Into<String>) -> ApiError {
        let mut faults = Faults::default();
        faults.add(path, message);
        ApiError::invalid(faults)
    }

    pub fn unauthorized() -> ApiError {
        ApiError::new(
            Code::Unauthorized,
            "This needs the header `Authorization: Bearer TOKEN` with a token that is known here.",
        )
    }

    /// The token is known, and was not made for this.
    pub fn forbidden(scope: Scope) -> ApiError {
        ApiError::new(
            Code::Forbidden,
            format!("This needs a token with the scope `{}`.", scope.as_str()),
        )
    }

    /// A page of an origin that is not let in.
    pub fn foreign_origin() -> ApiError {
        ApiError::new(
            Code::Forbidden,
            "Pages of this origin may not call this address (CORS_ORIGINS).",
        )
    }

    /// A token with caps asks for work that another token's caps would pay.
    pub fn not_your_budget() -> ApiError {
        ApiError::new(
            Code::Forbidden,
            "This belongs to another token, and your token has caps of its own. Ask with the token that made it, or submit a job of your own.",
        )
    }

    /// The token has used up its submits of this minute.
    pub fn rate_limited(wait_ms: u64) -> ApiError {
        ApiError {
            retry_seconds: Some(wait_ms.div_ceil(1_000)),
            ..ApiError::new(
                Code::RateLimited,
                "This token submits too often (SUBMITS_PER_MINUTE); the header `retry-after` says when to go on.",
            )
        }
    }

    pub fn auth_not_configured() -> ApiError {
        ApiError::new(
            Code::AuthNotConfigured,
            "This service has no API token configured, so it refuses every caller.",
        )
    }

    /// The configured token is easily guessed, so it opens nothing.
    pub fn token_too_short(least: usize) -> ApiError {
        ApiError::new(
            Code::AuthNotConfigured,
            format!(
                "The secret FANWISE_TOKEN has fewer than {least} characters, so it is not accepted. Set a longer one."
            ),
        )
    }

    /// There is no such route.
    pub fn no_such_route() -> ApiError {
        ApiError::new(Code::NotFound, "There is nothing at this address.")
    }

    /// There is no such job, task, … for this caller.
    pub fn no_such(what: &str) -> ApiError {
        ApiError::new(Code::NotFound, format!("There is no such {what}."))
    }

    pub fn method_not_allowed() -> ApiError {
        ApiError::new(
            Code::MethodNotAllowed,
            "This address does not take that method; the header `Allow` names those it takes.",
        )
    }

    /// `variable`: where the cap is from, if it can be set.
    pub fn too_large(cap: u64, variable: Option<&str>) -> ApiError {
        let from = variable.map_or(String::new(), |name| format!(" ({name})"));
        ApiError::new(
            Code::TooLarge,
            format!("The body is larger than {cap} bytes{from}."),
        )
    }

    pub fn unsupported_media_type(detail: impl Into<String>) -> ApiError {
        ApiError::new(Code::UnsupportedMediaType, detail)
    }

    /// A fault of the service that no retry cures; the details go to the log.
    pub fn broken(internal: impl Into<String>) -> ApiError {
        ApiError {
            internal: Some(internal.into()),
            ..ApiError::new(
                Code::Internal,
                "The service cannot read what it has stored. A retry does not help: look up this request id in the log.",
            )
        }
    }

    /// Something that the service needs is away; a later try may succeed.
    pub fn unavailable(internal: impl Into<String>) -> ApiError {
        ApiError {
            internal: Some(internal.into()),
            retry_seconds: Some(RETRY_AFTER_SECONDS),
            ..ApiError::new(
                Code::Unavailable,
                "The service cannot answer this at the moment; try again shortly.",
            )
        }
    }

    /// The deployment cannot work as it is set up. What is wrong is for its operator, who is told where to look; trying again
    /// does not help.
    pub fn misconfigured() -> ApiError {
        ApiError::new(
            Code::Misconfigured,
            "This deployment is not configured rightly; `/healthz?deep=1`, asked with the token in FANWISE_TOKEN, and its log name each fault.",
        )
    }

    /// Every fault with its path; an error of another kind is one of the whole body.
    pub fn into_faults(self) -> Vec<(String, String)> {
        if self.errors.is_empty() {
            return vec![("body".to_owned(), self.detail)];
        }
        let faults = self.errors.into_iter();
        faults.map(|fault| (fault.path, fault.message)).collect()
    }

    /// What happened inside: for the log only.
    pub fn internal(&self) -> Option<&str> {
        self.internal.as_deref()
    }

    /// The wire form.
    pub fn into_problem(self, request_id: String) -> Problem {
        let status = self.code.status();
        Problem {
            r#type: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: self.detail,
            code: self.code,
            request_id,
            errors: self.errors,
        }
    }
}

impl IntoResponse for ApiError {
    /// A response without a body, which [`crate::api::http::headers`] completes.
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        let headers = response.headers_mut();
        if self.code == Code::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AppError> for ApiError {
    fn from(error: AppError) -> ApiError {
        match error {
            AppError::NotFound(what) => ApiError::no_such(what),
            AppError::Conflict(detail) => ApiError::new(Code::Conflict, detail),
            AppError::IdempotencyKeyReused => ApiError::new(
                Code::IdempotencyKeyReused,
                "This Idempotency-Key came with another body before.",
            ),
            AppError::Invalid(list) => {
                let mut faults = Faults::default();
                for (path, message) in list {
                    faults.add(path, message);
                }
                ApiError::invalid(faults)
            }
            AppError::Internal(internal) => ApiError::broken(internal),
            AppError::Unavailable(internal) => ApiError::unavailable(internal),
            full @ AppError::StorageFull { .. } => ApiError::new(
                Code::StorageFull,
                format!("The job cannot be stored: {full}."),
            ),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_exactly_the_documented_one() {
        let problem = ApiError::fault("stages[0].chunk.items", "must be at least 1, is 0")
            .into_problem("req_1".into());
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"The request has a fault.","code":"invalid_request","request_id":"req_1","errors":[{"path":"stages[0].chunk.items","message":"must be at least 1, is 0"}]}"#
        );
    }

    #[test]
    fn all_faults_count_and_the_first_hundred_are_listed() {
        let mut faults = Faults::default();
        for index in 0..312 {
            faults.add(format_args!("items[{index}]"), "is empty");
        }
        let problem = ApiError::invalid(faults).into_problem(String::new());
        assert_eq!(problem.errors.len(), 100);
        assert_eq!(
            problem.detail,
            "The request has 312 faults; the first 100 are listed."
        );
    }

    #[test]
    fn internals_stay_inside() {
        let error = ApiError::from(AppError::Unavailable("D1 said: near \"SELEC\"".into()));
        assert_eq!(error.internal(), Some("D1 said: near \"SELEC\""));
        let text = serde_json::to_string(&error.into_problem("r".into())).unwrap();
        assert!(!text.contains("D1"), "{text}");
    }

    #[test]
    fn every_app_error_has_its_status() {
        let cases = [
            (AppError::NotFound("job"), 404, Code::NotFound),
            (AppError::Conflict("no".into()), 409, Code::Conflict),
            (
                AppError::IdempotencyKeyReused,
                409,
                Code::IdempotencyKeyReused,
            ),
            (
                AppError::Invalid(vec![("a".into(), "b".into())]),
                422,
                Code::InvalidRequest,
            ),
            (AppError::Unavailable("x".into()), 503, Code::Unavailable),
            (AppError::Internal("x".into()), 500, Code::Internal),
        ];
        for (error, status, code) in cases {
            let error = ApiError::from(error);
            assert_eq!((error.code.status().as_u16(), error.code), (status, code));
        }
    }
}
