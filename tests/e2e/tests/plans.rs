//! Planned jobs through workerd: the stand-in plays the orchestrator, well and badly, and adds to its plan what looks at one
//! cluster of the results once more.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use e2e::{World, id_of, plays, tickets};
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(120);

fn dynamic(count: usize, mut limits: Value) -> Value {
    if limits["max_cost_usd"].is_null() {
        limits["max_cost_usd"] = json!(50);
    }
    json!({"task": "Find the recurring issues in these support tickets", "input": {"items": tickets(count)}, "limits": limits})
}

fn plan_of(world: &World, job: &Value) -> Value {
    let path = format!("/v1/jobs/{}/plan", id_of(job).unwrap());
    world.client.get(&path).unwrap().json().unwrap()
}

fn results_of(world: &World, job: &Value) -> Vec<Value> {
    let path = format!("/v1/jobs/{}/results", id_of(job).unwrap());
    let page = world.client.get(&path).unwrap().json().unwrap();
    page["data"].as_array().unwrap().clone()
}

#[test]
fn plans_good_and_bad_are_carried_out_or_sent_back() {
    let world = World::start().unwrap();
    // A bad one is corrected once; one over budget too; where both answers are bad a plain plan stands in.
    let cases = [
        ("bad_plan", 1, 120, "orchestrator", "no_such_field"),
        // A call of the strongest model for each item is likely to cost more than the budget.
        ("dear_plan", 1, 300, "orchestrator", "dollars"),
        ("bad_plan", 2, 122, "default", "no_such_field"),
    ];
    for (fault, times, items, source, told) in cases {
        plays(
            &world,
            json!([{"match": {"role": "orchestrator"}, "fault": fault, "times": times}]),
        )
        .unwrap();
        let limits = json!({"max_rounds": 0, "max_cost_usd": 1.5});
        let job = world.run_job(&dynamic(items, limits), WITHIN).unwrap();
        assert_eq!(job["state"], "succeeded", "{fault}: {job}");
        let plan = plan_of(&world, &job);
        assert_eq!(plan["source"], source, "{plan}");
        assert!(
            plan["rounds"][0]["faults"].to_string().contains(told),
            "{plan}"
        );
        let spent = job["cost"]["spent_usd"].as_f64().unwrap();
        assert!(spent <= 1.5);
    }
}

#[test]
fn a_plan_that_is_thought_over_digs_into_one_cluster() {
    let world = World::start().unwrap();
    plays(
        &world,
        json!([{"match": {"role": "orchestrator", "text": "What now"}, "fault": "follow_up", "times": 1}]),
    ).unwrap();
    let body = dynamic(100, json!({"max_rounds": 2}));
    let job = world.run_job(&body, WITHIN).unwrap();
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(
        job["progress"]["items"],
        json!({"total": 100, "covered": 100, "missing": 0})
    );
    let plan = plan_of(&world, &job);
    let rounds = plan["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 3, "{plan}");
    assert!(
        rounds
            .iter()
            .all(|round| !round["rationale"].as_str().unwrap().is_empty())
    );
    let added = &plan["stages"][1];
    assert_eq!(added["name"], rounds[1]["stages"][0]);
    let values = added["of"]["values"].as_array().unwrap();
    // Everything that was found out before is there; who was chosen has more to say.
    let results = results_of(&world, &job);
    assert_eq!(results.len(), 100);
    let mut chosen = 0;
    for result in &results {
        let output = &result["output"];
        let wanted = values.contains(&output["primary_category"]);
        assert_eq!(output["reason"].is_string(), wanted, "{result}");
        assert!(output["issue"].is_string() || output["issue"].is_null());
        chosen += u64::from(wanted);
    }
    assert!(chosen > 0 && chosen < 100);
    let tasks = format!(
        "/v1/jobs/{}/tasks?stage={}",
        id_of(&job).unwrap(),
        added["name"].as_str().unwrap()
    );
    let tasks = world.client.get(&tasks).unwrap().json().unwrap();
    let asked: usize = tasks["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["item_ids"].as_array().unwrap().len())
        .sum();
    assert_eq!(asked as u64, chosen);
    // The plan as it became, submitted as stages, makes the same calls: all of them are paid already.
    let mut pinned = dynamic(100, json!({}));
    pinned["stages"] = plan["stages"].clone();
    let again = world.run_job(&pinned, WITHIN).unwrap();
    assert_eq!(
        (&again["state"], &again["usage"]["calls"]),
        (&json!("succeeded"), &json!(0)),
        "{again}"
    );
    assert_eq!(results_of(&world, &again).len(), 100);
}
