//! `/v1/schedules`: what is taken, and what is said of the rest.

use serde_json::{Value, json};

use crate::fakes::{Fake, Reply, TOKEN, call, post, send, service_over, with_body};

const ID: &str = "sched_0199c1d2e3f47a5b8c6d7e8f90a1b2c3";

fn job() -> Value {
    json!({
        "task": "Sort", "input": {"items": ["x"]},
        "stages": [{"name": "sort", "kind": "map", "instructions": "Sort."}],
    })
}

fn with(changes: Value) -> Value {
    let mut body = json!({"cron": "0 7 * * MON-FRI", "time_zone": "Europe/Berlin", "job": job()});
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn create(body: &Value) -> Reply {
    post("/v1/schedules", "application/json", body.to_string())
}

fn faults(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 422, "{}", reply.json());
    let problem = reply.json();
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
fn all_that_is_wrong_is_named_at_once() {
    let job = json!({
        "task": 5, "input": {"items": ["x", 7]},
        "stages": [{"name": "sort", "kind": "map", "instructions": "Sort.", "model": "gpt", "chunk": {"items": 0}}],
        "webhook": {"url": "http://127.0.0.1/"},
    });
    let found = faults(&create(&json!({
        "name": 1, "cron": "* * * *", "time_zone": "Europe/Atlantis", "overlap": "wait", "every": "day", "input_format": "csv", "job": job,
    })));
    let paths: Vec<&str> = found.iter().map(|f| f.split(':').next().unwrap()).collect();
    // A model is looked up where the job's shape is right; as with a submit.
    let expected = [
        "cron",
        "every",
        "input_format",
        "job.input.items[1]",
        "job.stages[0].chunk.items",
        "job.task",
        "name",
        "overlap",
        "time_zone",
    ];
    assert_eq!(paths, expected, "{found:#?}");
    let found = faults(&create(
        &json!({"cron": 7, "input_url": 5, "job": {"task": "Sort", "approval": true}}),
    ));
    // The job's input would come from that address.
    let expected = [
        "cron: must be a string, is a number",
        "input_url: must be a string, is a number",
    ];
    assert_eq!(found, expected);
    let found = faults(&create(&json!([])));
    assert_eq!(found, ["body: must be an object, is an array"]);
}

#[test]
fn what_is_wrong_is_named_where_it_is() {
    let without_input = {
        let mut job = job();
        job.as_object_mut().unwrap().remove("input");
        job
    };
    let cases = [
        (
            json!({"cron": "* * * *"}),
            "cron: must be a cron expression of five fields: ",
        ),
        (json!({"cron": "0 0 31 2 *"}), "cron: never comes"),
        (json!({"cron": 7}), "cron: must be a string, is a number"),
        (
            json!({"time_zone": "Europe/Atlantis"}),
            "time_zone: is no time zone of the IANA database",
        ),
        (json!({"time_zone": "+02:00"}), "time_zone: must match "),
        (
            json!({"overlap": "wait"}),
            "overlap: must be one of `skip`, `queue`, `parallel`",
        ),
        (json!({"every": "day"}), "every: is not a known field"),
        (
            json!({"input_format": "csv"}),
            "input_format: is for an `input_url`, and there is none",
        ),
        (
            json!({"input_url": "https://acme.dev/a.csv"}),
            "job.input: must be left out: it comes from `input_url`",
        ),
        (
            json!({"input_url": "http://127.0.0.1/a.csv", "job": without_input.clone()}),
            "input_url: names an address that is not public",
        ),
        (json!({"job": without_input}), "job.input: is required"),
        (json!({"job": 7}), "job: must be an object, is a number"),
        (json!({"job": {"task": "x".repeat(600_000)}}), "job: has "),
        (
            json!({"name": "x".repeat(101)}),
            "name: must have at most 100 characters, has 101",
        ),
    ];
    for (changes, expected) in cases {
        let found = faults(&create(&with(changes)));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(expected), "{found:?}");
    }
}

#[test]
fn faults_of_the_job_come_with_those_of_the_schedule() {
    let mut job = job();
    job["stages"][0]["model"] = json!("no-such-model");
    job["webhook"] = json!({"url": "https://localhost/"});
    let found = faults(&create(&with(json!({"cron": "x", "job": job}))));
    let paths: Vec<&str> = found
        .iter()
        .map(|fault| fault.split(':').next().unwrap())
        .collect();
    assert_eq!(paths, ["cron", "job.stages[0].model", "job.webhook.url"]);
    let mut job = crate::schedules::job();
    job["stages"][0]["chunk"] = json!({"items": 0});
    assert_eq!(
        faults(&create(&with(json!({"job": job})))),
        ["job.stages[0].chunk.items: must be at least 1, is 0"]
    );
}

fn row() -> Value {
    json!({
        "id": ID, "name": "n", "cron": "0 7 * * *", "time_zone": "Europe/Berlin", "overlap": "queue", "paused": 0,
        "body": job().to_string(), "input_url": null, "input_format": null, "next_at": 1_795_413_600_000_i64,
        "created_at": 1_795_348_800_000_i64, "updated_at": 1_795_348_800_000_i64,
    })
}

fn holding() -> Fake {
    Fake {
        rows: [
            ("schedule", vec![row()]),
            ("replace_schedule", vec![json!({"id": ID})]),
            ("delete_schedule", vec![json!({"id": ID})]),
            (
                "runs_of_schedules",
                vec![json!({
                    "schedule": ID, "due_at": 1_795_327_200_000_i64, "cause": "cron", "state": "skipped", "job_id": null,
                    "reason": "{\"code\":\"overlap\",\"message\":\"m\"}", "ended_at": 1_795_327_260_000_i64,
                })],
            ),
        ]
        .into(),
        ..Fake::default()
    }
}

fn to(ports: &Fake, method: &str, path: &str, body: &str) -> Reply {
    let request = with_body(method, path, "application/json", body.to_owned());
    send(&service_over(ports.clone(), Some(TOKEN)), request)
}

#[test]
fn a_schedule_is_shown_with_its_next_times_and_last_runs() {
    let reply = to(&holding(), "GET", &format!("/v1/schedules/{ID}"), "");
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json(),
        json!({
            "id": ID, "name": "n", "cron": "0 7 * * *", "time_zone": "Europe/Berlin", "overlap": "queue",
            "paused": false, "job": job(), "input_url": null, "input_format": null,
            "next_runs": ["2026-11-23T06:00:00.000Z", "2026-11-24T06:00:00.000Z", "2026-11-25T06:00:00.000Z",
                "2026-11-26T06:00:00.000Z", "2026-11-27T06:00:00.000Z"],
            "last_runs": [{"due_at": "2026-11-22T06:00:00.000Z", "cause": "cron", "state": "skipped", "job": null,
                "reason": {"code": "overlap", "message": "m"}, "ended_at": "2026-11-22T06:01:00.000Z"}],
            "created_at": "2026-11-22T12:00:00.000Z", "updated_at": "2026-11-22T12:00:00.000Z",
        })
    );
}

#[test]
fn a_change_leaves_what_it_does_not_name() {
    let ports = holding();
    let path = format!("/v1/schedules/{ID}");
    let reply = to(
        &ports,
        "PATCH",
        &path,
        r#"{"paused": true, "cron": "0 8 * * *"}"#,
    );
    assert_eq!(reply.status, 200, "{}", reply.json());
    let ran = ports.ran.lock().unwrap().clone();
    let (_, values) = ran
        .iter()
        .find(|(name, _)| name == "replace_schedule")
        .unwrap();
    assert_eq!(
        values[2..7],
        [
            json!("n"),
            json!("0 8 * * *"),
            json!("Europe/Berlin"),
            json!("queue"),
            json!(1)
        ]
    );
    for (body, fault) in [
        (
            r#"{"cron": "x"}"#,
            "cron: must be a cron expression of five fields: ",
        ),
        (r#"{"state": "paused"}"#, "state: is not a known field"),
        (
            r#"{"input_url": "https://acme.dev/a.csv"}"#,
            "job.input: must be left out: it comes from `input_url`",
        ),
    ] {
        let found = faults(&to(&ports, "PATCH", &path, body));
        assert!(found[0].starts_with(fault), "{found:?}");
    }
}

#[test]
fn a_schedule_is_made_changed_run_and_deleted_by_its_address_only() {
    // The fakes forget it at once: past every check.
    assert_eq!(create(&with(json!({}))).status, 404);
    assert_eq!(
        to(&holding(), "DELETE", &format!("/v1/schedules/{ID}"), "").status,
        204
    );
    for path in [ID, "7", "job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3"] {
        for (method, end) in [("GET", ""), ("DELETE", ""), ("POST", "/run")] {
            let reply = call(method, &format!("/v1/schedules/{path}{end}"));
            assert_eq!(reply.status, 404, "{method} {path}");
            assert_eq!(reply.json()["detail"], "There is no such schedule.");
        }
    }
    let full = Fake {
        guarded: true,
        ..Fake::default()
    };
    let reply = to(&full, "POST", "/v1/schedules", &with(json!({})).to_string());
    assert_eq!(
        reply.json(),
        json!({
            "type": "about:blank", "title": "Conflict", "status": 409,
            "detail": "there are 100 schedules already, and no more are allowed (MAX_SCHEDULES)",
            "code": "conflict", "request_id": "r1", "errors": [],
        })
    );
}
