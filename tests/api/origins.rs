//! Pages of other origins: none by default, those that are named otherwise.

use axum::body::Body;
use axum::http::Request;

use crate::fakes::{Fake, Reply, TOKEN, send, service, service_with};

const APP: &str = "https://app.example.com";

fn ask(method: &str, path: &str, origin: &str, origins: Option<&'static str>) -> Reply {
    let service = match origins {
        Some(origins) => service_with(Fake::default(), Some(TOKEN), &[("CORS_ORIGINS", origins)]),
        None => service(),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("origin", origin);
    if method == "OPTIONS" {
        request = request.header("access-control-request-method", "POST");
    } else {
        request = request.header("authorization", format!("Bearer {TOKEN}"));
    }
    send(&service, request.body(Body::empty()).unwrap())
}

fn named(reply: &Reply) -> Vec<&str> {
    let names = reply.headers.keys().map(|name| name.as_str());
    names
        .filter(|name| name.starts_with("access-control"))
        .collect()
}

#[test]
fn no_origin_is_let_in_unless_it_is_named() {
    for origins in [
        None,
        Some("https://other.example.com"),
        Some("https://app.example.com:8443"),
    ] {
        for (method, path) in [
            ("GET", "/v1/jobs"),
            ("OPTIONS", "/v1/jobs"),
            ("GET", "/nothing"),
        ] {
            let reply = ask(method, path, APP, origins);
            assert!(named(&reply).is_empty(), "{origins:?} {method} {path}");
        }
    }
    // A list is the same for nobody: caches must tell origins apart.
    assert_eq!(
        ask("GET", "/v1/jobs", "https://evil.example", Some(APP)).header("vary"),
        "origin"
    );
    for close in [
        "https://app.example.com.evil.example",
        "http://app.example.com",
        "null",
        "https://APP.example.com",
    ] {
        assert!(
            named(&ask("GET", "/v1/jobs", close, Some(APP))).is_empty(),
            "{close}"
        );
    }
}

#[test]
fn a_page_of_a_named_origin_may_call_and_read_what_it_needs() {
    for (origins, allowed) in [
        (APP, APP),
        ("https://other.example, https://app.example.com", APP),
        ("*", "*"),
    ] {
        let preflight = ask("OPTIONS", "/v1/jobs", APP, Some(origins));
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.header("access-control-allow-origin"), allowed);
        assert_eq!(
            preflight.header("access-control-allow-methods"),
            "GET, HEAD, POST, OPTIONS"
        );
        for header in [
            "authorization",
            "content-type",
            "idempotency-key",
            "last-event-id",
            "traceparent",
        ] {
            assert!(
                preflight
                    .header("access-control-allow-headers")
                    .contains(header),
                "{header}"
            );
        }
        // Tokens are not cookies: a page must have one to use it.
        assert_eq!(preflight.header("access-control-allow-credentials"), "");
        for path in ["/v1/jobs", "/v1/jobs/7", "/nothing", "/openapi.json"] {
            let reply = ask("GET", path, APP, Some(origins));
            assert_eq!(
                reply.header("access-control-allow-origin"),
                allowed,
                "{path}"
            );
            for header in ["x-request-id", "location", "etag", "retry-after"] {
                assert!(
                    reply
                        .header("access-control-expose-headers")
                        .contains(header),
                    "{header}"
                );
            }
        }
    }
}
