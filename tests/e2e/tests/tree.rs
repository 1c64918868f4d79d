//! A synthesis of 20,000 results in workerd: a tree of readers brings them down, level by level.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use e2e::{World, id_of};
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(240);
const ITEMS: usize = 20_000;
/// Contexts so small that the results do not fit fifty readers, nor what those say one more.
const SMALL: &str = r#"{"models": {"claude-haiku-5-5": {"context_tokens": 14000}, "claude-opus-5-5": {"context_tokens": 12500}}}"#;

#[test]
fn twenty_thousand_results_by_tree() {
    let world = World::builder().var("MODELS_JSON", SMALL).start().unwrap();
    let kinds = [
        "I was charged twice for my plan",
        "The app crashes when I upload a photo",
        "The password reset mail never comes",
        "My parcel is marked delivered but is not here",
    ];
    let items: Vec<String> = (0..ITEMS)
        .map(|n| format!("{} (case {n})", kinds[n % kinds.len()]))
        .collect();
    let schema = json!({"type": "object", "properties": {"category": {"type": "string", "enum": ["billing", "bug", "login", "shipping", "other"]}},
        "required": ["category"], "additionalProperties": false});
    let job = json!({"task": "Find out what customers complain about", "input": {"items": items},
    "stages": [
        {"name": "classify", "kind": "map", "instructions": "Classify each ticket.", "chunk": {"items": 100},
            "max_tokens": 5_000, "output_schema": schema, "merge": {"count_by": ["category"]}},
        {"name": "report", "kind": "synthesis", "instructions": "Sum up.", "max_tokens": 2_000, "citations": true}
    ]});
    let job = world.run_job(&job, WITHIN).unwrap();
    let id = id_of(&job).unwrap();
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(
        job["progress"]["items"],
        json!({"total": ITEMS, "covered": ITEMS, "missing": 0})
    );

    // The engine's counts are those of the results, one by one.
    let results = format!("/v1/jobs/{id}/results?format=jsonl");
    let results = world.client.get(&results).unwrap().ok().unwrap();
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for line in results.body.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(found.insert(text(&line["id"])), "{line}");
        *counted
            .entry(text(&line["output"]["category"]))
            .or_default() += 1;
    }
    assert_eq!(found.len(), ITEMS);
    let report = world.client.report(&id).unwrap();
    assert_eq!(report["merged"]["count_by"]["category"], json!(counted));
    assert_eq!(
        report["coverage"],
        json!({"total": ITEMS, "covered": ITEMS, "missing": [], "flagged": []})
    );

    // Every result was read by one reader, and every reader by one of the next level, until they were few enough.
    let tasks = tasks(&world, &id);
    let (readers, synthesis) = tasks.split_at(tasks.len() - 1);
    assert!(readers.iter().all(|task| task["purpose"] == "reduce"));
    assert!(readers.iter().all(|task| task["state"] == "succeeded"));
    let first = readers.iter().position(|task| !reads(task, &found));
    let (first, above) = readers.split_at(first.unwrap());
    assert!(first.len() >= 50, "{} readers", first.len());
    assert!(above.len() >= 2, "{} above them", above.len());
    let read: Vec<String> = first.iter().flat_map(ids).collect();
    assert_eq!(read.len(), ITEMS);
    assert_eq!(read.into_iter().collect::<BTreeSet<_>>(), found);
    let read: Vec<String> = above.iter().flat_map(ids).collect();
    assert!(read.len() >= first.len());
    assert_eq!(read.iter().collect::<BTreeSet<_>>().len(), read.len());
    assert_eq!(job["usage"]["calls"], 200 + tasks.len() as u64);

    // The synthesis was told the exact counts, and read what the last level found.
    let [synthesis] = synthesis else { panic!() };
    assert_eq!(synthesis["purpose"], "work");
    let path = format!("/v1/jobs/{id}/tasks/{}", synthesis["index"]);
    let task = world.client.get(&path).unwrap().json().unwrap();
    let asked = task["attempts"][0]["request"]["messages"][0]["content"][0]["text"].as_str();
    let asked = asked.unwrap().split_once("<results>\n").unwrap().1;
    let shown: Value = serde_json::from_str(asked.split_once("\n</results>").unwrap().0).unwrap();
    assert_eq!(shown["count_by"]["category"], json!(counted));
    assert_eq!(shown["total"], ITEMS);
    let results = shown["results"].as_array().unwrap();
    assert!(
        results
            .iter()
            .all(|one| one["output"]["findings"].is_array())
    );
    assert!(results.len() < above.len() + 1, "{} results", results.len());
    // What it names are items, not readers.
    assert!(
        report["synthesis"].as_str().unwrap().contains("[[item-"),
        "{report}"
    );
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn ids(task: &Value) -> Vec<String> {
    task["item_ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect()
}

/// Whether a reader was shown results themselves.
fn reads(task: &Value, results: &BTreeSet<String>) -> bool {
    ids(task).iter().all(|id| results.contains(id))
}

/// The tasks of the synthesis' stage.
fn tasks(world: &World, id: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/jobs/{id}/tasks?stage=report&limit=100{cursor}");
        let page = world.client.get(&path).unwrap().ok().unwrap();
        let page = page.json().unwrap();
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}
