//! Who is told about a job, and what was told: `webhook` in a submit, deliveries, the secret.

use axum::body::Body;
use axum::http::Request;
use fanwise::api::auth::Auth;
use fanwise::api::{Api, router};
use fanwise::app::App;
use fanwise::claude::models::Catalogue;
use fanwise::config::Config;
use serde_json::{Value, json};

use crate::fakes::{Fake, Reply, TOKEN, call, post, send, service_over, with_body};

const JOB: &str = "/v1/jobs/job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3";
const DELIVERY: &str = "msg_0199c1d2e3f47a5b8c6d7e8f90a1b2c3_1";

fn submit(webhook: Value) -> Reply {
    let body = json!({
        "task": "Sort", "input": {"items": ["x"]},
        "stages": [{"name": "sort", "kind": "map", "instructions": "Sort."}],
        "webhook": webhook,
    });
    post("/v1/jobs", "application/json", body.to_string())
}

#[test]
fn an_address_that_is_not_public_is_refused_with_the_reason() {
    let reply = submit(json!({"url": "http://169.254.169.254/latest"}));
    assert_eq!(
        reply.json(),
        json!({
            "type": "about:blank", "title": "Unprocessable Entity", "status": 422,
            "detail": "The request has a fault.", "code": "invalid_request", "request_id": "r1",
            "errors": [{"path": "webhook.url", "message": "names an address that is not public"}],
        })
    );
    for url in [
        "https://user:pass@acme.dev/",
        "file:///etc/passwd",
        "https://acme.dev:22/",
    ] {
        assert_eq!(submit(json!({"url": url})).status, 422, "{url}");
    }
    // The fakes forget the job at once: past every check.
    assert_eq!(submit(json!({"url": "https://acme.dev/hook"})).status, 404);
}

fn holding() -> Fake {
    Fake {
        rows: [
            (
                "job_owner",
                vec![json!({"id": "job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3", "state": "partial"})],
            ),
            (
                "deliveries_page",
                vec![json!({
                    "id": DELIVERY, "run": 1, "event": "job.finished", "state": "partial", "status": "failed",
                    "at": 1_795_348_800_000_i64, "closed_at": 1_795_435_200_000_i64, "next_at": 1_795_435_200_000_i64,
                    "url": "https://hooks.acme.dev/T0/SECRET?t=SECRET", "format": "standard",
                })],
            ),
            (
                "delivery_tries",
                vec![json!({"delivery": DELIVERY, "n": 9, "at": 1_795_435_190_000_i64, "ms": 10_000, "status": null, "error": "no answer"})],
            ),
        ]
        .into(),
        ..Fake::default()
    }
}

fn get(ports: &Fake, path: &str) -> Reply {
    let request = Request::get(path)
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Body::empty());
    send(&service_over(ports.clone(), Some(TOKEN)), request.unwrap())
}

#[test]
fn deliveries_are_shown_with_their_tries_and_without_the_address() {
    let reply = get(&holding(), &format!("{JOB}/deliveries"));
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json(),
        json!({"data": [{
            "id": DELIVERY, "event": "job.finished", "run": 1, "state": "partial",
            "created_at": "2026-11-22T12:00:00.000Z", "target": "https://hooks.acme.dev", "format": "standard",
            "status": "failed", "next_try_at": null, "delivered_at": null,
            "tries": [{"n": 9, "at": "2026-11-23T11:59:50.000Z", "ms": 10_000, "status": null, "error": "no answer"}],
        }], "next_cursor": null})
    );
    assert_eq!(
        get(&Fake::default(), &format!("{JOB}/deliveries")).status,
        404
    );
    let reply = get(&holding(), &format!("{JOB}/deliveries?limit=0&state=x"));
    let paths: Vec<Value> = reply.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["path"].clone())
        .collect();
    assert_eq!(paths, ["limit", "state"]);
}

#[test]
fn what_is_not_there_is_not_delivered_again() {
    let to = |path: &str, body: &str| {
        let request = with_body("POST", path, "application/json", body.to_owned());
        send(&service_over(holding(), Some(TOKEN)), request)
    };
    for delivery in [DELIVERY, "7", "msg_", "MSG_1"] {
        let reply = to(&format!("{JOB}/deliveries/{delivery}/redeliver"), "");
        assert_eq!(reply.status, 404, "{delivery}");
        assert_eq!(reply.json()["detail"], "There is no such delivery.");
    }
    let reply = to(
        &format!("{JOB}/deliveries/{DELIVERY}/redeliver"),
        r#"{"now":true}"#,
    );
    assert_eq!(reply.status, 422);
}

#[test]
fn the_secret_is_told_to_its_tenant_and_only_if_there_is_one() {
    let reply = call("GET", "/v1/webhook-secret");
    assert_eq!(reply.status, 200);
    let secret = reply.json()["secret"].as_str().unwrap().to_owned();
    assert!(
        secret.starts_with("whsec_") && secret.len() == 6 + 44,
        "{secret}"
    );
    let unsigned = router(Api {
        app: App {
            ports: Fake::default(),
            config: Config::from_vars(|_| None).unwrap().into(),
            models: Catalogue::load(None).unwrap().into(),
            signing: None,
            otlp_headers: Vec::new(),
        },
        auth: Auth::new(Some(TOKEN)),
    });
    let request = Request::get("/v1/webhook-secret")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("x-request-id", "r1")
        .body(Body::empty());
    assert_eq!(
        send(&unsigned, request.unwrap()).json(),
        json!({
            "type": "about:blank", "title": "Conflict", "status": 409,
            "detail": "this deployment has no WEBHOOK_SIGNING_KEY, so nothing is signed",
            "code": "conflict", "request_id": "r1", "errors": [],
        })
    );
}
