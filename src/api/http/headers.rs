//! What every response has, whatever it answers: a request id, the security headers, what a browser may do with
//! it, and for errors the problem document.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
    REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::conditional::Condition;
use super::cors::Cors;
use super::problem::ApiError;
use super::state::Api;
use super::{problem, reply};
use crate::core::value::ids;
use crate::ports::{Clock, Entropy, Log, Ports};

/// Named in every response, and in the document of every error.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers are data for programs: never sniffed, cached, framed, or a source of anything. Answers to a token
/// must not stay in a cache, and one rule for all is one that nobody can forget.
const SECURITY: [(HeaderName, HeaderValue); 7] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    // Only over TLS does a browser heed it, so it is right on `localhost` too.
    (
        STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=31536000"),
    ),
    // Pages that CORS_ORIGINS lets in ask by CORS, which this does not touch.
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// The outermost layer.
pub async fn complete<P: Ports>(
    State(api): State<Api<P>>,
    request: Request,
    next: Next,
) -> Response {
    let ports = &api.app.ports;
    let id = given_id(request.headers()).unwrap_or_else(|| new_id(ports.clock(), ports.entropy()));
    let origins = &api.app.config.door.cors_origins;
    let cors = Cors::of(origins, request.method(), request.headers());
    let condition = Condition::of(request.method(), request.headers());
    let mut response = next.run(request).await;
    if let Some(condition) = condition {
        response = condition.applied_to(response);
    }
    cors.add_to(&mut response);
    let error = error_of(&mut response);
    if let Some(internal) = error.as_ref().and_then(ApiError::internal) {
        ports.log().line(json!({
            "event": "request_failed",
            "request_id": &id,
            "error": internal,
        }));
    }
    finish(response, error, id)
}

/// The answer to a request that cannot be handed to the router at all: the platform has no engine to give it,
/// or could not read it. The same form as every other.
pub fn unrouted(
    answer: Result<Response, ApiError>,
    clock: &impl Clock,
    entropy: &impl Entropy,
) -> Response {
    let (response, error) = match answer {
        Ok(response) => (response, None),
        Err(error) => (error.clone().into_response(), Some(error)),
    };
    finish(response, error, new_id(clock, entropy))
}

fn finish(mut response: Response, error: Option<ApiError>, id: String) -> Response {
    if let Some(error) = error {
        *response.body_mut() = reply::body_of(&error.into_problem(id.clone()));
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(problem::CONTENT_TYPE),
        );
    }
    let headers = response.headers_mut();
    for (name, value) in SECURITY {
        headers.insert(name, value);
    }
    // Both kinds of id are plain ASCII, so this always holds.
    if let Ok(value) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, value);
    }
    response
}

/// The error a response stands for. One that did not come from us (a layer of the framework answered) gets
/// its document all the same.
fn error_of(response: &mut Response<Body>) -> Option<ApiError> {
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        return Some(error);
    }
    if response.extensions().get::<reply::OwnForm>().is_some() {
        return None;
    }
    let error = match response.status() {
        StatusCode::NOT_FOUND => ApiError::no_such_route(),
        StatusCode::METHOD_NOT_ALLOWED => ApiError::method_not_allowed(),
        status if status.is_client_error() => ApiError::fault("request", "could not be read"),
        status if status.is_server_error() => {
            ApiError::unavailable(format!("a bare response with status {status}"))
        }
        _ => return None,
    };
    *response.status_mut() = error.code.status();
    Some(error)
}

/// The caller's own id, where it is fit for logs and headers.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let sane = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    sane.then(|| text.to_owned())
}

fn new_id(clock: &impl Clock, entropy: &impl Entropy) -> String {
    let mut random = [0; 10];
    entropy.fill(&mut random);
    ids::id("req", clock.now_ms(), random)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sane_id_is_taken_over() {
        let long = "x".repeat(65);
        let cases = [
            ("a", true),
            ("Req-1_2.3", true),
            (&long[..64], true),
            (&long, false),
            ("", false),
            ("a b", false),
            ("a/b", false),
            ("<script>", false),
        ];
        for (text, taken) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(text).unwrap());
            assert_eq!(given_id(&headers).is_some(), taken, "{text:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(given_id(&headers), None);
    }
}
