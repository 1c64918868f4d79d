//! Requests of the runtime become requests of the router, and its answers are compressed where that pays.
//!
//! `worker` has a conversion of its own, but it answers 500 to a header that is not plain ASCII, and
//! panics on some protocol names: both come from outside.

use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use js_sys::{Array, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use worker::{Body, HttpRequest, web_sys};

use crate::platform::encoding;

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

/// Whether, and how, answers to a request may be compressed.
pub struct Packing(Option<String>);

impl Packing {
    /// What the client itself accepts is in `cf`: the header holds what Cloudflare's edge takes, whoever asks.
    pub fn of(raw: &web_sys::Request) -> Packing {
        let field = |of: &JsValue, name: &str| Reflect::get(of, &JsValue::from_str(name)).ok();
        let accept = field(raw, "cf")
            .filter(JsValue::is_object)
            .and_then(|cf| field(&cf, "clientAcceptEncoding"))
            .and_then(|value| value.as_string());
        // The answer to HEAD has no body to compress.
        Packing(accept.filter(|_| raw.method() != "HEAD"))
    }

    pub fn apply(&self, mut response: HttpResponse) -> HttpResponse {
        let text = |headers: &HeaderMap, name| {
            let value: Option<&HeaderValue> = headers.get(name);
            value
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let headers = response.headers();
        let content_type = text(headers, CONTENT_TYPE).unwrap_or_default();
        let length = text(headers, CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let Some(accept) = &self.0 else {
            return response;
        };
        if response.status() == StatusCode::OK && encoding::pays(accept, &content_type, length) {
            let headers = response.headers_mut();
            headers.remove(CONTENT_LENGTH);
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.append(VARY, HeaderValue::from_static("accept-encoding"));
        }
        response
    }
}
