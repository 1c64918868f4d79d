//! Answers that went well: JSON, and nothing else to say about it.

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderValue};
use axum::response::Response;
use serde::Serialize;
use sha2::{Digest, Sha256};

pub const JSON: &str = "application/json";

/// 200 with a JSON body.
pub fn ok(value: &impl Serialize) -> Response {
    with(StatusCode::OK, value)
}

/// 200 with a JSON body and its entity tag, so that who has it already need not get it again
/// ([`crate::api::http::conditional`] compares).
pub fn tagged(value: &impl Serialize) -> Response {
    tagged_text(JSON, serde_json::to_vec(value).unwrap_or_default())
}

/// 200 with a text of the given type and its entity tag.
pub fn tagged_text(content_type: &'static str, text: impl Into<Bytes>) -> Response {
    let text = text.into();
    let digest = Sha256::digest(&text);
    // 96 bits: two forms of one thing never share them by chance. Weak, as the bytes may be compressed on the way.
    let tag = digest
        .iter()
        .take(12)
        .fold(String::from("W/\""), |mut tag, byte| {
            tag.push_str(&format!("{byte:02x}"));
            tag
        });
    let mut response = typed(content_type, Body::from(text));
    if let Ok(tag) = HeaderValue::try_from(tag + "\"") {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Marks an answer that is an error by its status and says so in a form of its own: it gets no problem document.
#[derive(Clone)]
pub struct OwnForm;

/// Any status with a JSON body.
pub fn with(status: StatusCode, value: &impl Serialize) -> Response {
    let mut response = typed(JSON, body_of(value));
    *response.status_mut() = status;
    response.extensions_mut().insert(OwnForm);
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
