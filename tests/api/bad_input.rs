//! Bad input gets the documented problem document, the whole of it.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::fakes::{Reply, TOKEN, call, post, send, service, service_over, with_body};

const JOB: &str = "/v1/jobs/job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3";

fn job() -> Value {
    json!({
        "task": "Sort these",
        "input": {"items": ["one", "two"]},
        "stages": [{"name": "sort", "kind": "map", "instructions": "Sort.", "chunk": {"items": 1}}]
    })
}

fn with(pointer: &str, value: Value) -> Value {
    let mut job = job();
    *job.pointer_mut(pointer).unwrap() = value;
    job
}

fn submit(body: &Value) -> Reply {
    post("/v1/jobs", "application/json", body.to_string())
}

fn assert_problem(reply: &Reply, problem: Value) {
    assert_eq!(reply.json(), problem);
    assert_eq!(reply.status.as_u16(), problem["status"]);
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert_eq!(reply.header("x-request-id"), problem["request_id"]);
}

/// A 422 with these faults.
fn assert_faults(reply: &Reply, detail: &str, faults: &[(&str, &str)]) {
    let errors: Vec<Value> = faults
        .iter()
        .map(|(path, message)| json!({"path": path, "message": message}))
        .collect();
    assert_problem(
        reply,
        json!({
            "type": "about:blank", "title": "Unprocessable Entity", "status": 422, "detail": detail,
            "code": "invalid_request", "request_id": "r1", "errors": errors,
        }),
    );
}

fn assert_fault(reply: &Reply, path: &str, message: &str) {
    assert_faults(reply, "The request has a fault.", &[(path, message)]);
}

#[test]
fn not_json() {
    assert_problem(
        &post("/v1/jobs", "application/json", "{\n\"task\" 1}"),
        json!({
            "type": "about:blank", "title": "Bad Request", "status": 400,
            "detail": "The body is not valid JSON: expected `:` at line 2 column 8.",
            "code": "invalid_json", "request_id": "r1", "errors": [],
        }),
    );
}

#[test]
fn nested_beyond_measure() {
    let reply = post("/v1/jobs", "application/json", "[".repeat(1_000_000));
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["code"], "invalid_json");
}

#[test]
fn wrong_types_and_unknown_fields() {
    let mut body = job();
    body["task"] = json!(7);
    body["stages"][0]["chunk"]["items"] = json!("many");
    body["colour"] = json!("red");
    assert_faults(
        &submit(&body),
        "The request has 3 faults.",
        &[
            ("task", "must be a string, is a number"),
            (
                "stages[0].chunk.items",
                "must be a whole number, is a string",
            ),
            ("colour", "is not a known field"),
        ],
    );
}

#[test]
fn duplicate_item_ids() {
    let items = json!([{"id": "T-1", "text": "a"}, "b", {"id": "T-1", "text": "c"}]);
    assert_fault(
        &submit(&with("/input/items", items)),
        "input.items[2].id",
        "the id \"T-1\" is that of input.items[0] too (an item without an id has `item-N` by its place)",
    );
}

#[test]
fn empty_items() {
    assert_fault(
        &submit(&with("/input/items", json!([]))),
        "input.items",
        "must not be empty",
    );
    assert_faults(
        &submit(&with("/input/items", json!(["", {"id": "a"}, "ok"]))),
        "The request has 2 faults.",
        &[
            ("input.items[0]", "is empty"),
            (
                "input.items[1]",
                "is empty: it needs a field besides `id` that says something",
            ),
        ],
    );
}

#[test]
fn an_item_of_a_megabyte() {
    let items = json!(["x".repeat(1_000_000), "ok"]);
    assert_fault(
        &submit(&with("/input/items", items)),
        "input.items[0]",
        "has 1000002 bytes as JSON; at most 400000 are allowed (MAX_ITEM_BYTES)",
    );
}

#[test]
fn a_hundred_thousand_and_one_items() {
    assert_fault(
        &submit(&with("/input/items", json!(vec!["x"; 100_001]))),
        "input.items",
        "has 100001 items; at most 100000 are allowed (MAX_ITEMS)",
    );
}

#[test]
fn more_faults_than_anybody_reads() {
    let reply = submit(&with("/input/items", json!(vec![""; 100_000])));
    let problem = reply.json();
    assert_eq!(
        problem["detail"],
        "The request has 100000 faults; the first 100 are listed."
    );
    assert_eq!(problem["errors"].as_array().unwrap().len(), 100);
}

#[test]
fn a_schema_that_is_no_schema() {
    let mut body = job();
    body["stages"][0]["output_schema"] =
        json!({"type": "object", "properties": {"a": {"type": "text"}}});
    let reply = submit(&body);
    assert_eq!(reply.status, 422);
    let problem = reply.json();
    assert_eq!(problem["code"], "invalid_request");
    assert_eq!(
        problem["errors"][0]["path"],
        "stages[0].output_schema.properties.a.type"
    );
    body["stages"][0]["output_schema"] = json!({"$ref": "file:///etc/passwd"});
    let problem = submit(&body).json();
    assert_eq!(problem["errors"][0]["path"], "stages[0].output_schema.$ref");
}

#[test]
fn a_chunk_of_nothing() {
    assert_fault(
        &submit(&with("/stages/0/chunk/items", json!(0))),
        "stages[0].chunk.items",
        "must be at least 1, is 0",
    );
}

#[test]
fn a_body_beyond_the_cap() {
    assert_problem(
        &post("/v1/jobs", "application/json", " ".repeat(8_000_001)),
        json!({
            "type": "about:blank", "title": "Payload Too Large", "status": 413,
            "detail": "The body is larger than 8000000 bytes (MAX_BODY_BYTES).",
            "code": "too_large", "request_id": "r1", "errors": [],
        }),
    );
}

/// As values it would take more memory than there is: whatever is no submit is small.
#[test]
fn a_body_that_becomes_values_has_a_cap_of_its_own() {
    let id = "job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3";
    let many = format!("[{}0]", "0,".repeat(1_000_000));
    for (method, path) in [
        ("PATCH", format!("/v1/jobs/{id}")),
        ("POST", format!("/v1/jobs/{id}/retry")),
        ("PUT", format!("/v1/jobs/{id}/plan")),
        ("POST", "/v1/schedules".to_owned()),
        ("POST", "/v1/tokens".to_owned()),
        ("POST", "/mcp".to_owned()),
    ] {
        let request = with_body(method, &path, "application/json", many.clone());
        let reply = send(&service(), request);
        assert_eq!(reply.status, 413, "{method} {path}");
        assert_eq!(
            reply.json()["detail"],
            "The body is larger than 2000000 bytes."
        );
    }
    // Nor does anything besides the items of a submit become values before its bytes are counted.
    for body in [
        many.clone(),
        format!(
            "{{\"task\":\"Sort\",\"input\":{{\"items\":[{many}]}},\"metadata\":{{\"a\":{many}}}}}"
        ),
    ] {
        assert_eq!(post("/v1/jobs", "application/json", body).status, 422);
    }
}

#[test]
fn a_body_of_another_type() {
    for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
        assert_problem(
            &post("/v1/jobs", content_type, job().to_string()),
            json!({
                "type": "about:blank", "title": "Unsupported Media Type", "status": 415,
                "detail": "The body must have the content type application/json.",
                "code": "unsupported_media_type", "request_id": "r1", "errors": [],
            }),
        );
    }
}

#[test]
fn an_idempotency_key_that_is_none() {
    let request = Request::post("/v1/jobs")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .header("idempotency-key", "two words")
        .header("x-request-id", "r1")
        .body(Body::from(job().to_string()));
    assert_fault(
        &send(&service(), request.unwrap()),
        "Idempotency-Key",
        "must be given once, with 1 to 255 visible ASCII characters",
    );
}

#[test]
fn a_token_that_is_unknown_or_missing() {
    for token in [Some("Bearer other"), Some("Basic dGVzdA=="), None] {
        for path in ["/v1/jobs", JOB, "/v1/nothing", "/v1/jobs/x/y/z", "/v1"] {
            let mut request = Request::get(path).header("x-request-id", "r1");
            if let Some(token) = token {
                request = request.header("authorization", token);
            }
            let reply = send(&service(), request.body(Body::empty()).unwrap());
            assert_eq!(reply.header("www-authenticate"), "Bearer");
            assert_problem(
                &reply,
                json!({
                    "type": "about:blank", "title": "Unauthorized", "status": 401,
                    "detail": "This needs the header `Authorization: Bearer TOKEN` with a token that is known here.",
                    "code": "unauthorized", "request_id": "r1", "errors": [],
                }),
            );
        }
    }
}

#[test]
fn a_token_in_the_query_is_no_token() {
    let request = Request::get(format!("/v1/jobs?token={TOKEN}&access_token={TOKEN}"));
    let reply = send(&service(), request.body(Body::empty()).unwrap());
    assert_eq!(reply.status, 401);
}

#[test]
fn no_token_configured() {
    let request = Request::get("/v1/jobs")
        .header("x-request-id", "r1")
        .header("authorization", "Bearer ")
        .body(Body::empty());
    assert_problem(
        &send(&service_over(Default::default(), None), request.unwrap()),
        json!({
            "type": "about:blank", "title": "Service Unavailable", "status": 503,
            "detail": "This service has no API token configured, so it refuses every caller.",
            "code": "auth_not_configured", "request_id": "r1", "errors": [],
        }),
    );
}

#[test]
fn a_job_that_is_unknown_or_no_job() {
    for path in [
        JOB,
        "/v1/jobs/7",
        "/v1/jobs/job_XYZ",
        "/v1/jobs/%FF",
        "/v1/jobs/..%2f..",
        "/v1/jobs/job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3/tasks",
        "/v1/jobs/job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3/results?format=csv",
        "/v1/jobs/job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3/report",
    ] {
        let reply = call("GET", path);
        let problem = reply.json();
        assert_eq!(reply.status, 404, "{path}");
        assert_problem(
            &reply,
            json!({
                "type": "about:blank", "title": "Not Found", "status": 404, "detail": "There is no such job.",
                "code": "not_found", "request_id": problem["request_id"], "errors": [],
            }),
        );
    }
    let reply = call("GET", &format!("{JOB}/tasks/-1"));
    assert_eq!(reply.json()["detail"], "There is no such task.");
}

#[test]
fn parameters_that_are_unknown_or_out_of_range() {
    let cases = [
        (
            "/v1/jobs?limit=0",
            "limit",
            "must be a whole number from 1 to 200",
        ),
        (
            "/v1/jobs?limit=201",
            "limit",
            "must be a whole number from 1 to 200",
        ),
        (
            "/v1/jobs?state=done",
            "state",
            "must be one of `queued`, `planning`, `awaiting_approval`, `running`, `synthesizing`, `paused`, `succeeded`, `partial`, `failed`, `cancelled`",
        ),
        (
            "/v1/jobs?cursor=bm9uc2Vuc2U",
            "cursor",
            "must be a `next_cursor` of this list, unchanged",
        ),
        (
            "/v1/jobs?sort=age",
            "sort",
            "is not a parameter of this address",
        ),
        (
            "/v1/jobs?limit=1&limit=2",
            "limit",
            "is given more than once",
        ),
        (
            "/v1/jobs/job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3?x",
            "x",
            "is not a parameter of this address",
        ),
        (
            "/v1/jobs/job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3/results?format=xml",
            "format",
            "must be `json`, `jsonl`, `csv` or `xlsx`",
        ),
    ];
    for (path, parameter, message) in cases {
        let reply = call("GET", path);
        assert_eq!(reply.status, 422, "{path}");
        let errors = json!([{"path": parameter, "message": message}]);
        assert_eq!(reply.json()["errors"], errors, "{path}");
    }
}

#[test]
fn a_method_that_an_address_does_not_take() {
    for (method, path, allow) in [
        ("DELETE", "/v1/jobs", "GET, HEAD, POST, OPTIONS"),
        ("TRACE", "/v1/jobs", "GET, HEAD, POST, OPTIONS"),
        ("POST", JOB, "GET, HEAD, PATCH, DELETE, OPTIONS"),
        ("GET", &format!("{JOB}/cancel"), "POST, OPTIONS"),
        ("POST", "/v1/limits", "GET, HEAD, OPTIONS"),
        ("BREW", "/healthz", "GET, HEAD, OPTIONS"),
        ("POST", "/openapi.json", "GET, HEAD, OPTIONS"),
    ] {
        let reply = call(method, path);
        assert_eq!(reply.header("allow"), allow);
        let problem = reply.json();
        assert_problem(
            &reply,
            json!({
                "type": "about:blank", "title": "Method Not Allowed", "status": 405,
                "detail": "This address does not take that method; the header `Allow` names those it takes.",
                "code": "method_not_allowed", "request_id": problem["request_id"], "errors": [],
            }),
        );
    }
}

#[test]
fn an_address_with_nothing_behind_it() {
    for path in [
        "/",
        "/v2/jobs",
        "/v1",
        "/v1/",
        "/v1/jobs/",
        "/v1//jobs",
        "/%76%31/jobs",
        "/healthz/",
        "/v1/jobs/a/b",
    ] {
        let reply = call("GET", path);
        let problem = reply.json();
        assert_eq!(reply.status, 404, "{path}");
        assert_problem(
            &reply,
            json!({
                "type": "about:blank", "title": "Not Found", "status": 404, "detail": "There is nothing at this address.",
                "code": "not_found", "request_id": problem["request_id"], "errors": [],
            }),
        );
    }
}
