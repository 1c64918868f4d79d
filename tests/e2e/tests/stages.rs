//! Plans of several stages in workerd: judged, followed up, grouped and cited; with tools; waiting for approval, replaced, pinned.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::{World, id_of, plays, tickets};
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(120);

fn schema(field: &str, values: &[&str]) -> Value {
    let mut one = json!({"type": "string"});
    if !values.is_empty() {
        one["enum"] = json!(values);
    }
    json!({"type": "object", "properties": {field: one}, "required": [field], "additionalProperties": false})
}

fn classify(more: Value) -> Value {
    let mut stage = json!({"name": "classify", "kind": "map", "instructions": "Classify each ticket.", "chunk": {"items": 10},
        "output_schema": schema("category", &["billing", "bug", "login", "shipping", "other"]), "merge": {"count_by": ["category"]}});
    let fields = stage.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    stage
}

fn report() -> Value {
    json!({"name": "report", "kind": "synthesis", "instructions": "Sum up.", "citations": true})
}

fn body(count: usize, stages: Value, more: Value) -> Value {
    let mut body = json!({"task": "Find out what customers complain about", "input": {"items": tickets(count)}, "stages": stages});
    let fields = body.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    body
}

fn get(world: &World, path: &str) -> Value {
    world
        .client
        .get(path)
        .unwrap()
        .ok()
        .unwrap()
        .json()
        .unwrap()
}

/// The tasks of a stage that are there for this purpose.
fn tasks(world: &World, job: &str, stage: &str, purpose: &str) -> Vec<Value> {
    let page = get(
        world,
        &format!("/v1/jobs/{job}/tasks?stage={stage}&limit=100"),
    );
    let tasks = page["data"].as_array().unwrap().iter();
    tasks
        .filter(|task| task["purpose"] == purpose)
        .cloned()
        .collect()
}

#[test]
fn results_are_judged_followed_up_grouped_and_cited() {
    let world = World::start().unwrap();
    // One answer names an item that there is not.
    plays(
        &world,
        json!([{"match": {"role": "worker", "text": "Classify"}, "fault": "invented_id", "times": 1}]),
    ).unwrap();
    let stages = json!([
        classify(json!({"verify": {"sample": 0.5}})),
        {"name": "refunds", "kind": "map", "instructions": "Say why a refund was asked for.", "output_schema": schema("why", &[]),
            "of": {"field": "category", "values": ["Billing"]}, "with_input": true},
        {"name": "causes", "kind": "map", "instructions": "Name the cause.", "output": "chunk", "group_by": "category"},
        report(),
    ]);
    let limits = json!({"limits": {"redo_ratio": 0.2}});
    let job = world.run_job(&body(80, stages, limits), WITHIN).unwrap();
    assert_eq!(job["state"], "succeeded", "{job}");
    let id = id_of(&job).unwrap();
    let results = get(&world, &format!("/v1/jobs/{id}/results?stage=refunds"));
    let results = results["data"].as_array().unwrap();
    assert_eq!(results.len(), 80);
    let billing = results
        .iter()
        .filter(|one| one["output"]["category"] == "billing");
    assert!(billing.clone().all(|one| one["output"]["why"].is_string()));
    let followed = results
        .iter()
        .filter(|one| one["output"]["why"].is_string());
    assert_eq!(followed.count(), billing.clone().count());
    // Who followed up saw the tickets themselves.
    let refunds = tasks(&world, &id, "refunds", "work");
    let first = get(
        &world,
        &format!("/v1/jobs/{id}/tasks/{}", refunds[0]["index"]),
    );
    assert!(
        first["input"][0]["input"]["text"]
            .as_str()
            .unwrap()
            .contains("charged twice")
    );
    assert_eq!(first["input"][0]["category"], "billing");
    // About half of the results were judged, and one task has one group.
    let judged = tasks(&world, &id, "classify", "verify");
    let judged: usize = judged
        .iter()
        .map(|task| task["item_ids"].as_array().unwrap().len())
        .sum();
    assert!((25..=55).contains(&judged), "{judged} judged");
    let kinds: BTreeSet<String> = results
        .iter()
        .map(|one| one["output"]["category"].to_string())
        .collect();
    assert_eq!(tasks(&world, &id, "causes", "work").len(), kinds.len());
    let report = world.client.report(&id).unwrap();
    let coverage = &report["coverage"];
    assert_eq!(
        (&coverage["covered"], &coverage["missing"]),
        (&json!(80), &json!([]))
    );
    let flags: Vec<&Value> = coverage["flagged"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["flag"])
        .collect();
    assert!(flags.contains(&&json!("invented_id")), "{coverage}");
    assert!(!flags.contains(&&json!("unknown_citation")), "{coverage}");
    assert!(report["synthesis"].as_str().unwrap().contains("[["));
    let counted = &report["merged"]["stages"]["refunds"]["count_by"]["category"];
    let counted: u64 = counted
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!(counted, 80);
}

#[test]
fn workers_may_search_and_a_turn_that_pauses_is_gone_on_with() {
    let world = World::start().unwrap();
    plays(
        &world,
        json!([{"match": {"role": "worker"}, "fault": "pause", "times": 2}]),
    )
    .unwrap();
    let tools = json!({"web_search": {"max_uses": 2, "allowed_domains": ["example.com"]}, "web_fetch": {"max_uses": 1, "max_content_tokens": 2_000}});
    let job = body(
        40,
        json!([classify(json!({"tools": tools})), report()]),
        json!({}),
    );
    let job = world.run_job(&job, WITHIN).unwrap();
    assert_eq!(
        (&job["state"], &job["usage"]["calls"]),
        (&json!("succeeded"), &json!(4 + 2 + 1))
    );
    let id = id_of(&job).unwrap();
    let mut paused = 0;
    for task in tasks(&world, &id, "classify", "work") {
        let task = get(&world, &format!("/v1/jobs/{id}/tasks/{}", task["index"]));
        let attempts = task["attempts"].as_array().unwrap();
        paused += attempts.len() - 1;
        let sent = &attempts.last().unwrap()["request"];
        assert_eq!(sent["tools"][0]["max_uses"], 2, "{sent}");
        assert_eq!(sent["tools"][0]["allowed_domains"], json!(["example.com"]));
        assert_eq!(sent["tools"][1]["max_content_tokens"], 2_000);
    }
    assert_eq!(paused, 2);
}

#[test]
fn a_plan_waits_is_replaced_approved_and_pinned() {
    let world = World::start().unwrap();
    let waiting = json!({"task": "Find the recurring issues in these support tickets", "input": {"items": tickets(60)},
        "approval": true, "limits": {"max_rounds": 0}});
    let id = id_of(&world.client.submit(&waiting).unwrap()).unwrap();
    let path = format!("/v1/jobs/{id}");
    let until = std::time::Instant::now() + WITHIN;
    while world.client.job(&id).unwrap()["state"] != "awaiting_approval" {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(Duration::from_millis(50));
    }
    // The planning is paid, nothing else.
    assert_eq!(world.client.job(&id).unwrap()["usage"]["calls"], 1);
    let put = |stages: &Value| {
        let kind = [("content-type", "application/json")];
        let body = json!({"stages": stages}).to_string();
        world
            .client
            .send("PUT", &format!("{path}/plan"), &kind, body.as_bytes())
            .unwrap()
    };
    let mut stages = get(&world, &format!("{path}/plan"))["stages"].clone();
    stages[0]["merge"]["count_by"] = json!(["no_such_field"]);
    let refused = put(&stages);
    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.json().unwrap()["errors"][0]["path"],
        "stages[0].merge.count_by[0]"
    );
    stages[0]["merge"]["count_by"] = json!(["urgency"]);
    stages[0]["chunk"] = json!({"items": 20});
    let plan = put(&stages).ok().unwrap().json().unwrap();
    let expected = plan["expected"].clone();
    world
        .client
        .post(&format!("{path}/approve"), &json!({}))
        .unwrap()
        .ok()
        .unwrap();
    let job = world.client.finished(&id, WITHIN).unwrap();
    assert_eq!(
        (&job["state"], &job["usage"]["calls"]),
        (&json!("succeeded"), &json!(1 + 3 + 1))
    );
    let spent = job["cost"]["spent_usd"].as_f64().unwrap();
    let end = |which: &str| expected["cost_usd"][which].as_f64().unwrap();
    assert!(
        (end("low")..=end("high")).contains(&spent),
        "{spent} of {expected}"
    );
    // Pinned, it makes the same calls: all of them are paid.
    let mut pinned = waiting.clone();
    pinned["approval"] = json!(false);
    pinned["stages"] = get(&world, &format!("{path}/plan"))["stages"].clone();
    let again = world.run_job(&pinned, WITHIN).unwrap();
    assert_eq!(
        (&again["state"], &again["usage"]["calls"]),
        (&json!("succeeded"), &json!(0)),
        "{again}"
    );
}
