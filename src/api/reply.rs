//! Answers that went well: JSON, and nothing else to say about it.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use serde::Serialize;

pub const JSON: &str = "application/json";

/// 200 with a JSON body.
pub fn ok(value: &impl Serialize) -> Response {
    with(StatusCode::OK, value)
}

/// Any status with a JSON body.
pub fn with(status: StatusCode, value: &impl Serialize) -> Response {
    let mut response = typed(JSON, body_of(value));
    *response.status_mut() = status;
    response
}

/// 200 with a body of the given type.
pub fn typed(content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Views are structs with text keys, so writing them cannot fail; if it did, the body would be empty and
/// no client could take it for an answer.
pub fn body_of(value: &impl Serialize) -> Body {
    Body::from(serde_json::to_vec(value).unwrap_or_default())
}
