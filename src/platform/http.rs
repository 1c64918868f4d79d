//! Requests of the runtime become requests of the router.
//!
//! `worker` has a conversion of its own, but it answers 500 to a header that is not plain ASCII, and
//! panics on some protocol names: both come from outside.

use axum::http::{HeaderName, HeaderValue};
use js_sys::Array;
use wasm_bindgen::JsCast;
use worker::web_sys;
use worker::{Body, HttpRequest};

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
