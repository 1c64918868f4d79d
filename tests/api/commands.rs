//! What is done to a job that exists: cancel, pause, resume, retry, change.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::fakes::{Fake, Reply, TOKEN, call, send, service, service_over, with_body};

const JOB: &str = "/v1/jobs/job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3";
const ID: &str = "job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3";
const COMMANDS: [&str; 4] = ["cancel", "pause", "resume", "retry"];

/// A database with one job, in that state.
fn holding(state: &str) -> Fake {
    let row = json!({"id": ID, "state": state, "run": 1, "mode": "static", "task": "Sort"});
    Fake {
        rows: [
            ("job_owner", vec![row.clone()]),
            ("job_view", vec![row]),
            ("limits_of_job", vec![json!({"limits": "{}"})]),
        ]
        .into(),
        ..Fake::default()
    }
}

fn to(ports: &Fake, request: Request<Body>) -> Reply {
    send(&service_over(ports.clone(), Some(TOKEN)), request)
}

fn bare(method: &str, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Body::empty())
        .unwrap()
}

fn json_to(method: &str, path: &str, body: &Value) -> Request<Body> {
    with_body(method, path, "application/json", body.to_string())
}

/// The faults of a 422, as `path: message`.
fn faults(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 422, "{}", reply.json());
    let problem = reply.json();
    assert_eq!(problem["code"], "invalid_request");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut faults: Vec<String> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| format!("{}: {}", text(&fault["path"]), text(&fault["message"])))
        .collect();
    faults.sort();
    faults
}

#[test]
fn a_command_takes_no_body_or_an_empty_one() {
    for command in COMMANDS {
        let path = format!("{JOB}/{command}");
        let ports = holding("running");
        for request in [
            bare("POST", &path),
            with_body("POST", &path, "application/json", ""),
            with_body("POST", &path, "text/plain", ""),
            json_to("POST", &path, &json!({})),
        ] {
            let reply = to(&ports, request);
            assert_eq!(reply.status, 200, "{command}: {}", reply.json());
            assert_eq!(reply.json()["id"], ID);
        }
    }
}

#[test]
fn a_body_that_says_something_is_refused_and_nothing_is_done() {
    for command in COMMANDS {
        let path = format!("{JOB}/{command}");
        let ports = holding("running");
        let reply = to(&ports, json_to("POST", &path, &json!({"reason": "x"})));
        assert_eq!(faults(&reply), ["reason: is not a known field"]);
        for (body, kind) in [(json!([]), "an array"), (json!(null), "null")] {
            let reply = to(&ports, json_to("POST", &path, &body));
            assert_eq!(
                faults(&reply),
                [format!("body: must be an object, is {kind}")]
            );
        }
        let reply = to(&ports, with_body("POST", &path, "application/json", "{"));
        assert_eq!(reply.json()["code"], "invalid_json");
        let reply = to(&ports, with_body("POST", &path, "text/plain", "{}"));
        assert_eq!(reply.status, 415);
        let reply = to(&ports, bare("POST", &format!("{path}?force")));
        assert_eq!(
            faults(&reply),
            ["force: is not a parameter of this address"]
        );
        assert!(ports.ran.lock().unwrap().is_empty(), "{command}");
    }
    // Limits are for `retry` alone.
    let body = json!({"limits": {}});
    for command in ["cancel", "pause", "resume"] {
        let reply = send(
            &service(),
            json_to("POST", &format!("{JOB}/{command}"), &body),
        );
        assert_eq!(faults(&reply), ["limits: is not a known field"]);
    }
}

#[test]
fn a_state_that_does_not_allow_it_is_a_conflict() {
    let ports = Fake {
        guarded: true,
        ..holding("succeeded")
    };
    for command in COMMANDS {
        let reply = to(&ports, bare("POST", &format!("{JOB}/{command}")));
        assert_eq!(reply.status, 409, "{command}");
        let problem = reply.json();
        assert_eq!(problem["code"], "conflict");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.to_lowercase().contains("succeeded"), "{detail}");
    }
    let body = json!({"limits": {"concurrency": 2}});
    assert_eq!(to(&ports, json_to("PATCH", JOB, &body)).status, 409);
}

#[test]
fn a_job_that_is_not_there_is_not_found() {
    for command in COMMANDS {
        assert_eq!(call("POST", &format!("{JOB}/{command}")).status, 404);
        assert_eq!(call("POST", &format!("/v1/jobs/7/{command}")).status, 404);
    }
    let body = json!({"metadata": {}});
    assert_eq!(send(&service(), json_to("PATCH", JOB, &body)).status, 404);
}

#[test]
fn limits_are_checked_like_those_of_a_submit_and_all_faults_are_named() {
    let limits = json!({"limits": {"concurrency": 0, "max_attempts": "5", "max_cost_usd": -1, "colour": 1, "on_budget": "stop"}});
    let expected = [
        "limits.colour: is not a known field",
        "limits.concurrency: must be at least 1, is 0",
        "limits.max_attempts: must be a whole number, is a string",
        "limits.max_cost_usd: must be at least 0, is -1",
        "limits.on_budget: must be one of `finish`, `pause`",
    ];
    for (method, path) in [("POST", format!("{JOB}/retry")), ("PATCH", JOB.to_owned())] {
        let reply = send(&service(), json_to(method, &path, &limits));
        assert_eq!(faults(&reply), expected);
    }
    let submit = json!({
        "task": "Sort", "input": {"items": ["one"]}, "limits": limits["limits"],
        "stages": [{"name": "sort", "kind": "map", "instructions": "Sort."}],
    });
    let reply = send(&service(), json_to("POST", "/v1/jobs", &submit));
    assert_eq!(faults(&reply), expected);
}

#[test]
fn new_limits_reach_the_job() {
    for (method, path) in [("POST", format!("{JOB}/retry")), ("PATCH", JOB.to_owned())] {
        let ports = holding("running");
        // To JSON Schema this is a whole number.
        let body = json!({"limits": {"concurrency": 7.0, "max_cost_usd": 2.5}});
        let reply = to(&ports, json_to(method, &path, &body));
        assert_eq!(reply.status, 200, "{}", reply.json());
        let ran = ports.ran.lock().unwrap();
        let set: Vec<&Value> = ran.iter().flat_map(|(_, params)| params).collect();
        assert!(set.contains(&&json!(7)), "{method}: {ran:?}");
        assert!(
            set.contains(&&json!(2_500_000_000_i64)),
            "{method}: {ran:?}"
        );
    }
}

#[test]
fn a_change_says_what() {
    let change = |body: Value| faults(&send(&service(), json_to("PATCH", JOB, &body)));
    for nothing in [json!({}), json!({"limits": null, "metadata": null})] {
        assert_eq!(change(nothing), ["body: must have `limits` or `metadata`"]);
    }
    assert_eq!(
        change(json!({"state": "running", "metadata": {}})),
        ["state: is not a known field"]
    );
    assert_eq!(change(json!([])), ["body: must be an object, is an array"]);
    let none = with_body("PATCH", JOB, "application/json", "");
    assert_eq!(send(&service(), none).json()["code"], "invalid_json");
    assert_eq!(call("PATCH", JOB).status, 415);
}

#[test]
fn metadata_has_the_caps_of_a_submit() {
    let many: serde_json::Map<String, Value> = (0..17).map(|n| (n.to_string(), json!(n))).collect();
    let cases = [
        (json!(many), "metadata: must have at most 16 fields, has 17"),
        (
            json!({"note": "x".repeat(4_096)}),
            "metadata: must have at most 4096 bytes as JSON",
        ),
        (json!("x"), "metadata: must be an object, is a string"),
    ];
    for (metadata, fault) in cases {
        let body = json!({ "metadata": metadata });
        let reply = send(&service(), json_to("PATCH", JOB, &body));
        assert_eq!(faults(&reply), [fault]);
    }
    let ports = holding("succeeded");
    let body = json!({"metadata": {"team": "support"}});
    assert_eq!(to(&ports, json_to("PATCH", JOB, &body)).status, 200);
    let ran = ports.ran.lock().unwrap();
    let text = json!("{\"team\":\"support\"}");
    assert!(
        ran.iter().any(|(_, params)| params.contains(&text)),
        "{ran:?}"
    );
}

#[test]
fn a_stage_that_the_job_does_not_have_is_named() {
    let mut ports = holding("running");
    let stage = |name: &str, kind: &str| json!({"name": name, "kind": kind, "instructions": "Sort.", "chunk": {"items": 1}, "model": "claude-haiku-5-5", "max_tokens": 100});
    let spec = json!({
        "task": "Sort", "mode": "static", "limits": {}, "reuse": true,
        "stages": [stage("sort", "map"), stage("report", "synthesis")],
    });
    ports.rows.insert("job", ports.rows["job_owner"].clone());
    ports
        .rows
        .insert("spec", vec![json!({"spec": spec.to_string()})]);
    let tasks = |stage: &str| to(&ports, bare("GET", &format!("{JOB}/tasks?stage={stage}")));
    assert_eq!(
        faults(&tasks("sport")),
        ["stage: is no stage of this job; there are: sort, report"]
    );
    for known in ["sort", "report"] {
        assert_eq!(tasks(known).status, 200);
    }
}

#[test]
fn a_job_that_is_over_is_deleted_and_nothing_is_said() {
    let ports = holding("partial");
    let reply = to(&ports, bare("DELETE", JOB));
    assert_eq!(reply.status, 204);
    assert!(reply.body.is_empty());
    let ran = ports.ran.lock().unwrap();
    let names: Vec<&str> = ran.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "guard_command",
            "remove_job",
            "remove_idempotency",
            "remove_job_row"
        ]
    );
}

#[test]
fn a_job_at_work_is_not_deleted() {
    let ports = Fake {
        guarded: true,
        ..holding("running")
    };
    let mut request = bare("DELETE", JOB);
    request
        .headers_mut()
        .insert("x-request-id", "r1".parse().unwrap());
    assert_eq!(
        to(&ports, request).json(),
        json!({
            "type": "about:blank", "title": "Conflict", "status": 409,
            "detail": "a job that is running cannot be deleted; cancel it first",
            "code": "conflict", "request_id": "r1", "errors": [],
        })
    );
    let gone = Fake {
        guarded: true,
        ..Fake::default()
    };
    assert_eq!(to(&gone, bare("DELETE", JOB)).status, 404);
    assert_eq!(call("DELETE", "/v1/jobs/7").status, 404);
    let reply = call("DELETE", &format!("{JOB}?force=1"));
    assert_eq!(
        faults(&reply),
        ["force: is not a parameter of this address"]
    );
}
