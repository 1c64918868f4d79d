//! Nothing from outside gives a panic or a 500.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use proptest::prelude::*;

use crate::fakes::{Reply, TOKEN, send, service, with_body};

const JOB: &str = "/job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3";
const JOB_CANCEL: &str = "/job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3/cancel";
const JOB_RETRY: &str = "/job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3/retry";

fn segments() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        prop::sample::select(vec![
            "v1",
            "jobs",
            "tasks",
            "results",
            "report",
            "cancel",
            "retry",
            "limits",
            "healthz",
            "openapi.json",
            "..",
            "%2e",
            "%FF",
            "%00",
            "0",
            "-1",
            "job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3",
            "4294967296",
        ])
        .prop_map(str::to_owned),
        "[!-~&&[^?#]]{0,8}",
    ];
    prop::collection::vec(segment, 0..6).prop_map(|list| format!("/{}", list.join("/")))
}

fn query() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["limit", "state", "cursor", "stage", "format", "x", ""]);
    let pair = (name, "[!-~&&[^#]]{0,12}").prop_map(|(name, value)| format!("{name}={value}"));
    prop::collection::vec(pair, 0..4).prop_map(|pairs| pairs.join("&"))
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    let name = prop::sample::select(vec![
        "authorization",
        "content-type",
        "content-length",
        "content-encoding",
        "accept",
        "idempotency-key",
        "x-request-id",
        "expect",
        "range",
        "if-none-match",
    ]);
    let value = prop_oneof![
        prop::collection::vec(prop_oneof![0x20u8..0x7f, 0x80u8..=0xff], 0..24),
        prop::sample::select(vec![
            "application/json",
            "text/markdown;q=2",
            "Bearer the-token-of-tests",
            "99999999999999999999",
            "1"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec((name, value), 0..5)
}

fn assert_whole(reply: &Reply) {
    let status = reply.status.as_u16();
    assert!(status < 500 || status == 503, "{status}");
    assert!(!reply.header("x-request-id").is_empty());
    if status >= 400 && !reply.body.is_empty() {
        assert_eq!(reply.header("content-type"), "application/problem+json");
        let problem = reply.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"], reply.header("x-request-id"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_request_breaks_it(
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]),
        path in segments(),
        query in query(),
        headers in headers(),
        with_token: bool,
        body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let Ok(uri) = format!("{path}?{query}").parse::<Uri>() else {
            return Ok(());
        };
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        *request.uri_mut() = uri;
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                request.headers_mut().append(HeaderName::from_static(name), value);
            }
        }
        if with_token {
            let token = HeaderValue::from_str(&format!("Bearer {TOKEN}")).unwrap();
            request.headers_mut().insert("authorization", token);
        }
        assert_whole(&send(&service(), request));
    }

    #[test]
    fn no_text_as_body_breaks_it(body in "[\\[\\]{}\":,a-z0-9\\\\ ue.+-]{0,80}") {
        for (method, path) in [("POST", ""), ("PATCH", JOB), ("POST", JOB_CANCEL), ("POST", JOB_RETRY)] {
            let request = with_body(method, &format!("/v1/jobs{path}"), "application/json", body.clone());
            assert_whole(&send(&service(), request));
        }
    }
}
