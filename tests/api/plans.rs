//! Plans, estimates and recipes over HTTP.

use fanwise::claude::worker_schema::wire_format;
use fanwise::core::plan::spec::Output;
use serde_json::{Value, json};

use crate::fakes::{Fake, Reply, TOKEN, call, post, send, service_over, service_with, with_body};

const JOB: &str = "/v1/jobs/job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3";

fn estimate(body: &Value) -> Reply {
    post("/v1/estimates", "application/json", body.to_string())
}

fn recipes() -> Vec<Value> {
    let reply = call("GET", "/v1/recipes");
    assert_eq!(reply.status, 200);
    reply.json()["data"].as_array().unwrap().clone()
}

#[test]
fn every_recipe_is_a_plan_that_a_submit_takes() {
    let recipes = recipes();
    assert_eq!(recipes.len(), 7);
    for recipe in recipes {
        let name = recipe["name"].as_str().unwrap();
        let alone = call("GET", &format!("/v1/recipes/{name}"));
        assert_eq!((alone.status.as_u16(), alone.json()), (200, recipe.clone()));
        let reply = estimate(&json!({"recipe": name, "input": {"items": ["one", "two"]}}));
        assert_eq!(reply.status, 200, "{name}: {}", reply.json());
        let estimate = reply.json();
        assert_eq!(
            (&estimate["mode"], &estimate["items"]),
            (&json!("static"), &json!(2))
        );
        assert!(estimate["expected"]["cost_usd"]["high"].as_f64().unwrap() > 0.0);
        for stage in recipe["stages"].as_array().unwrap() {
            let words = stage["instructions"]
                .as_str()
                .unwrap()
                .split_whitespace()
                .count();
            assert!(words > 80, "{name}: {words} words are no showpiece");
            // The API enforces the form; it need not be said in words.
            if let Some(schema) = stage.get("output_schema") {
                wire_format(Output::Item, schema).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }
    assert_eq!(call("GET", "/v1/recipes/soup").status, 404);
}

#[test]
fn a_recipe_is_overridden_field_by_field() {
    let body = json!({
        "recipe": "support-tickets",
        "input": {"items": ["one"]},
        "stages": [
            {"name": "report", "instructions": "One line."},
            {"name": "classify", "model": "sonnet", "chunk": {"items": 3}, "effort": null}
        ]
    });
    let stages = estimate(&body).json()["stages"].clone();
    assert_eq!(stages[0]["model"], "claude-sonnet-5-5");
    assert_eq!(stages[0]["chunk"], json!({"items": 3}));
    assert!(stages[0].get("effort").is_none());
    assert_eq!(stages[1]["instructions"], "One line.");
    assert_eq!(stages[1]["max_tokens"], 8_192);
    let wrong = json!({
        "recipe": "support-tickets", "input": {"items": ["one"]},
        "stages": [{"name": "classify", "chunk": {"items": 0}}, {"name": "sort"}]
    });
    let reply = estimate(&wrong);
    assert_eq!(reply.status, 422);
    let errors = reply.json()["errors"].clone();
    assert_eq!(errors[0]["path"], "stages[1].name", "{errors}");
}

#[test]
fn an_estimate_names_every_fault_of_its_body() {
    let reply = estimate(&json!({"task": " ", "input": {"items": []}, "stages": [{"name": "a"}]}));
    assert_eq!(reply.status, 422);
    let errors = reply.json()["errors"].clone();
    let paths: Vec<&str> = errors
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["path"].as_str().unwrap())
        .collect();
    for path in ["task", "input.items", "stages[0].kind"] {
        assert!(paths.contains(&path), "{paths:?}");
    }
}

#[test]
fn a_plan_to_be_put_is_checked_like_a_submit() {
    let put = |body: Value| {
        send(
            &service_over(Fake::default(), Some(TOKEN)),
            with_body(
                "PUT",
                &format!("{JOB}/plan"),
                "application/json",
                body.to_string(),
            ),
        )
    };
    let map = json!({"name": "a", "kind": "map", "instructions": "x"});
    for (body, path) in [
        (json!({}), "stages"),
        (json!({"stages": []}), "stages"),
        (json!({"stages": [map], "task": "x"}), "task"),
        (json!({"stages": [map, map]}), "stages[1].name"),
        (
            json!({"stages": [{"name": "a", "kind": "plan", "instructions": "x"}]}),
            "stages[0].kind",
        ),
    ] {
        let reply = put(body.clone());
        assert_eq!(reply.status, 422, "{body}");
        let errors = reply.json()["errors"].clone();
        assert!(
            errors
                .as_array()
                .unwrap()
                .iter()
                .any(|fault| fault["path"] == path),
            "{body}: {errors}"
        );
    }
    // Sound, but there is no such job.
    assert_eq!(put(json!({"stages": [map]})).status, 404);
    assert_eq!(call("GET", &format!("{JOB}/plan")).status, 404);
    assert_eq!(call("POST", &format!("{JOB}/approve")).status, 404);
    let body = post(&format!("{JOB}/approve"), "application/json", "{\"x\":1}");
    assert_eq!(body.status, 422);
}

#[test]
fn a_job_that_claude_plans_needs_a_cap_or_an_approval() {
    let job = |more: Value| {
        let mut body = json!({"task": "Sort these", "input": {"items": ["one"]}});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let submit = |vars: &[(&str, &str)], body: &Value| {
        let service = service_with(Fake::default(), Some(TOKEN), vars);
        let request = with_body("POST", "/v1/jobs", "application/json", body.to_string());
        send(&service, request)
    };
    for (more, remedy) in [
        (json!({}), "set `approval` to true"),
        (
            json!({"mode": "dynamic", "limits": {}}),
            "set `approval` to true",
        ),
        (
            json!({"approval": true, "limits": {"max_rounds": 1}}),
            "set `max_rounds` to 0",
        ),
    ] {
        let reply = submit(&[], &job(more.clone()));
        assert_eq!(reply.status, 422, "{more}");
        let fault = reply.json()["errors"][0].clone();
        assert_eq!(fault["path"], "limits.max_cost_usd", "{more}");
        assert!(
            fault["message"].as_str().unwrap().contains(remedy),
            "{fault}"
        );
    }
    let bounded = [
        json!({"limits": {"max_cost_usd": 2}}),
        json!({"approval": true}),
        json!({"approval": true, "limits": {"max_rounds": 1, "max_cost_usd": 2}}),
    ];
    for more in &bounded {
        assert_ne!(submit(&[], &job(more.clone())).status, 422, "{more}");
    }
    for allowed in [("PLANS_WITHOUT_CAP", "true"), ("DEFAULT_MAX_COST_USD", "5")] {
        assert_ne!(
            submit(&[allowed], &job(json!({}))).status,
            422,
            "{allowed:?}"
        );
    }
    // A schedule's job is refused when the schedule is made, not every night.
    let schedule = json!({"cron": "@daily", "job": job(json!({}))});
    let reply = post("/v1/schedules", "application/json", schedule.to_string());
    assert_eq!(reply.json()["errors"][0]["path"], "job.limits.max_cost_usd");
}

#[test]
fn who_makes_the_plan_follows_from_what_is_given() {
    let items = json!({"items": [{"text": "one", "plan": "pro"}]});
    let dynamic = estimate(&json!({"task": "Sort these", "input": items}));
    assert_eq!(dynamic.status, 200, "{}", dynamic.json());
    let dynamic = dynamic.json();
    assert_eq!(dynamic["mode"], "dynamic");
    assert_eq!(dynamic["expected"]["stages"][0]["stage"], "plan");
    let stage = json!([{"name": "a", "kind": "map", "instructions": "x"}]);
    for (more, path) in [
        (json!({"mode": "static"}), "stages"),
        (json!({"mode": "dynamic", "stages": stage}), "mode"),
        (json!({"mode": "dynamic", "recipe": "content-qa"}), "mode"),
        (json!({"planning": {"model": "gpt"}}), "planning.model"),
        (json!({"planning": {"style": "bold"}}), "planning.style"),
        (json!({"limits": {"max_rounds": 11}}), "limits.max_rounds"),
    ] {
        let mut body = json!({"task": "Sort these", "input": items});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let reply = estimate(&body);
        assert_eq!(reply.status, 422, "{more}");
        assert_eq!(reply.json()["errors"][0]["path"], path, "{more}");
    }
}
