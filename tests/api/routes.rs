//! What every response has, and the routes that need no job.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::fakes::{Fake, TOKEN, call, send, service, service_over, with_body};

#[test]
fn every_response_has_an_id_and_the_security_headers() {
    for (method, path) in [
        ("GET", "/healthz"),
        ("HEAD", "/openapi.json"),
        ("OPTIONS", "/v1/jobs"),
        ("GET", "/v1/jobs"),
        ("PUT", "/v1/jobs"),
        ("GET", "/nothing"),
    ] {
        let reply = call(method, path);
        assert!(
            reply.header("x-request-id").starts_with("req_"),
            "{method} {path}"
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
            ),
            ("x-frame-options", "DENY"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(reply.header(name), value, "{method} {path}");
        }
    }
}

#[test]
fn ids_made_here_differ_and_the_callers_own_is_kept() {
    let service = service();
    let id_of = |given: Option<&str>| {
        let mut request = Request::get("/healthz");
        if let Some(given) = given {
            request = request.header("x-request-id", given);
        }
        let reply = send(&service, request.body(Body::empty()).unwrap());
        reply.header("x-request-id").to_owned()
    };
    assert_eq!(id_of(Some("abc-1.2_3")), "abc-1.2_3");
    assert_ne!(id_of(None), id_of(None));
    assert!(id_of(Some("with blanks")).starts_with("req_"));
}

#[test]
fn health_needs_no_token() {
    let request = Request::get("/healthz").body(Body::empty()).unwrap();
    let reply = send(&service_over(Fake::default(), None), request);
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json(),
        json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})
    );
    assert_eq!(reply.header("content-type"), "application/json");
}

#[test]
fn head_is_get_without_the_body() {
    for path in ["/healthz", "/v1/jobs", "/v1/nothing"] {
        let get = call("GET", path);
        let head = call("HEAD", path);
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty());
        for name in ["content-type", "content-length"] {
            assert_eq!(head.header(name), get.header(name), "{path}");
        }
        assert_eq!(
            head.header("content-length"),
            get.body.len().to_string(),
            "{path}"
        );
    }
}

#[test]
fn options_name_the_methods_and_need_no_token() {
    let request = Request::options("/v1/jobs").body(Body::empty()).unwrap();
    let reply = send(&service(), request);
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("allow"), "GET, HEAD, POST, OPTIONS");
    assert!(reply.body.is_empty());
    assert_eq!(call("OPTIONS", "/v1/nothing").status, 404);
}

#[test]
fn a_large_input_is_stored_whole_and_in_its_order() {
    let items: Vec<Value> = (0..1_000)
        .map(|n| json!({"id": format!("T-{n}"), "text": "x".repeat(7_000)}))
        .collect();
    let body = json!({
        "task": "Sort", "input": {"items": items},
        "stages": [{"name": "sort", "kind": "map", "instructions": "Sort."}],
    });
    let ports = Fake::default();
    let request = with_body("POST", "/v1/jobs", "application/json", body.to_string());
    // The fakes forget the job at once.
    assert_eq!(
        send(&service_over(ports.clone(), Some(TOKEN)), request).status,
        404
    );
    let blobs = ports.blobs.lock().unwrap();
    // More than are put at a time, and none over a megabyte.
    assert!(blobs.len() > 6, "{}", blobs.len());
    assert!(blobs.iter().all(|blob| blob.len() <= 1_000_000));
    let stored: Vec<Value> = blobs
        .iter()
        .flat_map(|blob| serde_json::from_str::<Vec<Value>>(blob).unwrap())
        .collect();
    // What comes first stands in the database.
    let first = items.len() - stored.len();
    assert!(first < 100, "{first}");
    assert_eq!(stored, items[first..]);
}

#[test]
fn an_empty_list_is_a_page() {
    let reply = call("GET", "/v1/jobs?limit=1&state=running");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json(), json!({"data": [], "next_cursor": null}));
}

#[test]
fn a_database_that_is_away_is_503_and_its_words_go_to_the_log() {
    let ports = Fake {
        db_is_away: true,
        ..Fake::default()
    };
    let request = Request::get("/v1/jobs")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("x-request-id", "r1")
        .body(Body::empty());
    let reply = send(&service_over(ports.clone(), Some(TOKEN)), request.unwrap());
    assert_eq!(reply.header("retry-after"), "2");
    assert_eq!(
        reply.json(),
        json!({
            "type": "about:blank", "title": "Service Unavailable", "status": 503,
            "detail": "The service cannot answer this at the moment; try again shortly.",
            "code": "unavailable", "request_id": "r1", "errors": [],
        })
    );
    let log = ports.log.lock().unwrap();
    let line = log.last().expect("a line");
    assert_eq!(line["request_id"], "r1");
    assert!(line["error"].as_str().unwrap().contains("secret internals"));
}
