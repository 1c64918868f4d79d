//! Requests of the runtime become requests of the router.
//!
//! `worker` has a conversion of its own, but it answers 500 to a header that is not plain ASCII, and
//! panics on some protocol names: both come from outside.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use js_sys::Array;
use serde_json::json;
use wasm_bindgen::JsCast;
use worker::web_sys;
use worker::{Body, HttpRequest};

use crate::api::problem::CONTENT_TYPE;
use crate::core::ids;
use crate::ports::{Clock, Entropy};

use super::clock::EdgeClock;
use super::entropy::WebCrypto;

/// In every response, those of the router too.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the router answers.
pub type HttpResponse = axum::http::Response<axum::body::Body>;

/// A request as the router takes it; `None` when it cannot be put as one (a URL beyond 64 KB, say).
pub fn request(raw: &web_sys::Request) -> Option<HttpRequest> {
    let body = raw.body().map_or_else(Body::empty, Body::new);
    let mut request = HttpRequest::new(body);
    *request.method_mut() = raw.method().parse().ok()?;
    *request.uri_mut() = raw.url().parse().ok()?;
    for entry in raw.headers().entries() {
        let entry: Array = entry.ok()?.dyn_into().ok()?;
        let name = HeaderName::from_bytes(entry.get(0).as_string()?.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(entry.get(1).as_string()?.as_bytes()).ok()?;
        request.headers_mut().try_append(name, value).ok()?;
    }
    Some(request)
}

/// The answer to a request that never reached the router, in the form the router would have given it.
pub fn problem(status: StatusCode, code: &str, detail: &str) -> HttpResponse {
    let mut random = [0; 10];
    WebCrypto.fill(&mut random);
    let request_id = ids::id("req", EdgeClock.now_ms(), random);
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
        "request_id": &request_id,
        "errors": [],
    });
    let mut response = HttpResponse::new(body.to_string().into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // An id is plain ASCII, so this always holds.
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}
