//! Cross-origin requests, for the web origins in CORS_ORIGINS; none by default.
//!
//! Callers send a bearer token and no cookies, so credentials are never allowed, and an origin that is let in can do no more
//! than the token that its page has.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW,
    ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::Response;

/// What a page may send besides what browsers always allow.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, if-none-match, last-event-id, x-request-id, traceparent, mcp-protocol-version, mcp-method, mcp-name",
);
/// What a page may read.
const RESPONSE_HEADERS: HeaderValue =
    HeaderValue::from_static("allow, etag, location, retry-after, www-authenticate, x-request-id");
/// How long a browser may keep the answer to a preflight: a day, of which browsers take what they like.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// Where a request comes from, and what that means.
pub struct Cors {
    /// What `access-control-allow-origin` says, where the origin is let in.
    allowed: Option<HeaderValue>,
    /// Whether the answer depends on the origin.
    varies: bool,
    preflight: bool,
}

impl Cors {
    pub fn of(origins: &[String], method: &Method, headers: &HeaderMap) -> Cors {
        let origin = headers.get(ORIGIN);
        let all = origins.iter().any(|allowed| allowed == "*");
        let named = origin.filter(|origin| {
            origins
                .iter()
                .any(|allowed| allowed.as_bytes() == origin.as_bytes())
        });
        let allowed = match origin {
            Some(_) if all => Some(HeaderValue::from_static("*")),
            _ => named.cloned(),
        };
        Cors {
            allowed,
            varies: !all && !origins.is_empty(),
            preflight: *method == Method::OPTIONS
                && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD),
        }
    }

    pub fn add_to(self, response: &mut Response) {
        let headers = response.headers_mut();
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        let Some(allowed) = self.allowed else {
            return;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
        if self.preflight {
            if let Some(methods) = headers.get(ALLOW).cloned() {
                headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
            }
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
    }
}
