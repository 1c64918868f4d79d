//! Jobs that extend earlier ones: only what is new or changed is asked, whatever becomes of the earlier job, and the report is
//! over all.

use std::collections::BTreeMap;

use fanwise::app::AppError;
use fanwise::app::job::{commands, remove};
use fanwise::app::submit::submit;
use fanwise::app::view::{JobView, ResultLine};
use serde_json::{Value, json};

use crate::flows::texts;
use crate::stages::Story;
use crate::world::{TENANT, job};

fn plan(per_chunk: u32) -> Value {
    json!([
        {"name": "read", "kind": "map", "instructions": "Say what it is about.", "chunk": {"items": per_chunk}},
        {"name": "report", "kind": "synthesis", "instructions": "Sum up."}
    ])
}

fn begin(texts: &[String], stages: Value) -> Story {
    let story = Story::begin(
        json!({}),
        &[("LEDGER_DAYS", "0")],
        texts,
        json!({"stages": stages}),
    );
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    story
}

/// Another job over the same world, that extends the story's.
fn extending(story: Story, texts: &[String], mut body: Value) -> Story {
    body["extends"] = json!(story.id);
    let id = story.world.submit(&story.app, job(texts, body)).job.id;
    Story { id, ..story }
}

fn refused(story: &Story, texts: &[String], body: Value) -> Vec<(String, String)> {
    let (app, job) = (story.app.clone(), job(texts, body));
    match story
        .world
        .block_on(async move { submit(&app, TENANT, job).await })
    {
        Err(AppError::Invalid(faults)) => faults,
        other => panic!("{other:?}"),
    }
}

fn delete(story: &Story, id: &str) {
    let (app, id) = (story.app.clone(), id.to_owned());
    story
        .world
        .block_on(async move { remove::delete(&app, TENANT, &id).await.unwrap() });
}

fn outputs(story: &Story, stage: &'static str) -> BTreeMap<String, String> {
    let lines = story.results(stage).into_iter();
    lines
        .map(|line| match line {
            ResultLine::Item { id, output, .. } => (id, output.to_string()),
            ResultLine::Chunk { label, output, .. } => (label.unwrap(), output.to_string()),
        })
        .collect()
}

fn map_calls(story: &Story) -> u64 {
    let sql = format!(
        "SELECT COUNT(*) AS n FROM attempts WHERE job = '{}' AND role IN ('worker', 'repair', 'verify')",
        story.id
    );
    story.world.query(&sql)[0]["n"].as_u64().unwrap()
}

fn whole(view: &JobView, items: u64) {
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(
        (view.progress.items.total, view.progress.items.covered),
        (items, items)
    );
}

#[test]
fn only_what_is_new_or_changed_is_asked_and_the_report_is_over_all() {
    let story = begin(&texts(100), plan(10));
    let first = outputs(&story, "read");
    let spent = story.view().cost.spent_usd;
    // Two are changed, three are new, five are gone; the chunks are others.
    let mut now = texts(103);
    now[7].push_str(", and it is urgent");
    now[61].push_str(", and it is urgent");
    now.drain(20..25);
    let story = extending(story, &now, json!({"stages": plan(7)}));
    let view = story.until_over();
    whole(&view, 98);
    assert_eq!(map_calls(&story), 1);
    let asked = story.world.query(&format!(
        "SELECT ids FROM attempts WHERE job = '{}' AND role = 'worker'",
        story.id
    ));
    let ids: Vec<String> = serde_json::from_str(asked[0]["ids"].as_str().unwrap()).unwrap();
    assert_eq!(ids.len(), 5);
    // By content: the ids are those of their new places.
    let second = outputs(&story, "read");
    assert_eq!(second.len(), 98);
    assert_eq!(second["item-1"], first["item-1"]);
    assert_eq!(second["item-30"], first["item-35"]);
    assert_eq!(
        view.extends.as_deref(),
        Some(view.extends.clone().unwrap().as_str())
    );
    // What was taken over had cost its share of the earlier job's calls.
    assert!(
        view.cost.saved_usd > 0.0 && view.cost.saved_usd < spent,
        "{:?}",
        view.cost
    );
    assert!(view.cost.spent_usd < spent);
    let report = story.report();
    assert_eq!((report.coverage.total, report.coverage.covered), (98, 98));
    assert!(
        report
            .synthesis
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
}

#[test]
fn without_stages_those_of_the_earlier_job_are_used() {
    let story = begin(&texts(30), plan(10));
    let story = extending(story, &texts(31), json!({}));
    let view = story.until_over();
    whole(&view, 31);
    assert_eq!(map_calls(&story), 1);
}

#[test]
fn the_earlier_job_may_be_deleted_at_once() {
    let story = begin(&texts(60), plan(10));
    let base = story.id.clone();
    let story = extending(story, &texts(61), json!({"approval": true}));
    delete(&story, &base);
    // Its rows wait for as long as they are still to be copied.
    let until = story.world.now() + 20 * 60_000;
    let clock = story.world.clone();
    story.world.run(&story.app, 10_000, 30 * 60_000, move || {
        clock.now() >= until
    });
    assert_eq!(story.view().state, "awaiting_approval");
    let (app, id) = (story.app.clone(), story.id.clone());
    story.world.block_on(async move {
        fanwise::app::planning::commands::approve(&app, TENANT, &id)
            .await
            .unwrap()
    });
    whole(&story.until_over(), 61);
    assert_eq!(map_calls(&story), 1);
    // And then they go.
    let rows = format!("SELECT COUNT(*) AS n FROM outputs WHERE job = '{base}'");
    let world = story.world.clone();
    story.world.run(&story.app, 10_000, 60 * 60_000, move || {
        world.query(&rows)[0]["n"] == 0
    });
    let later = extending(
        Story {
            id: story.id.clone(),
            ..story
        },
        &texts(62),
        json!({}),
    );
    whole(&later.until_over(), 62);
    // An extension of an extension: what was taken over is taken over again.
    assert_eq!(map_calls(&later), 1);
}

#[test]
fn later_stages_take_over_too_and_groups_only_where_they_are_the_same() {
    let stages = json!([
        {"name": "read", "kind": "map", "instructions": "Say what it is about.", "chunk": {"items": 5},
         "output_schema": {"type": "object", "properties": {"kind": {"type": "string", "enum": ["billing", "shipping", "other"]}},
            "required": ["kind"], "additionalProperties": false}},
        {"name": "rate", "kind": "map", "instructions": "Rate it.", "chunk": {"items": 4}},
        {"name": "report", "kind": "synthesis", "instructions": "Sum up."}
    ]);
    let mut free = stages.clone();
    free[0].as_object_mut().unwrap().remove("output_schema");
    let story = begin(&texts(40), free);
    let story = extending(story, &texts(42), json!({}));
    whole(&story.until_over(), 42);
    assert_eq!(map_calls(&story), 2);

    let mut grouped = stages;
    grouped[1]["group_by"] = json!("kind");
    grouped[1]["output"] = json!("chunk");
    grouped[1].as_object_mut().unwrap().remove("chunk");
    let story = begin(&texts(40), grouped);
    let groups = outputs(&story, "rate").len() as u64;
    assert!(groups > 1);
    let mut now = texts(40);
    now.push("I was charged twice, refund the invoice".to_owned());
    let story = extending(story, &now, json!({}));
    whole(&story.until_over(), 41);
    // One more item, and the one group that it came into.
    assert_eq!(map_calls(&story), 2);
}

#[test]
fn what_was_missing_is_asked_and_what_was_taken_over_is_not_checked_again() {
    let rules =
        json!({"rules": [{"match": {"item_id": "item-3", "role": "worker"}, "fault": "refusal"}]});
    let mut stages = plan(5);
    stages[0]["verify"] = json!({"sample": 1.0});
    let body = json!({"stages": stages, "limits": {"redo_ratio": 0.5}});
    let story = Story::begin(rules, &[("LEDGER_DAYS", "0")], &texts(20), body);
    assert_eq!(story.until_over().state, "partial");
    {
        let mut claude = story.world.claude();
        let calm = claude.config().with(&json!({"rules": []})).unwrap();
        claude.configure(calm);
    }
    let judged = story.stats()["calls"]["by_role"]["verify"]
        .as_u64()
        .unwrap();
    let story = extending(story, &texts(20), json!({"limits": {"redo_ratio": 0.5}}));
    whole(&story.until_over(), 20);
    let sql = format!(
        "SELECT ids FROM attempts WHERE job = '{}' AND role = 'worker'",
        story.id
    );
    assert_eq!(story.world.query(&sql).len(), 1);
    // The new one is judged, alone.
    assert_eq!(
        story.stats()["calls"]["by_role"]["verify"]
            .as_u64()
            .unwrap(),
        judged + 1
    );
}

#[test]
fn a_cancel_while_it_copies_and_a_retry_lose_nothing() {
    let story = begin(&texts(50), plan(5));
    let story = extending(story, &texts(52), json!({}));
    let (app, id) = (story.app.clone(), story.id.clone());
    story
        .world
        .block_on(async move { commands::cancel(&app, TENANT, &id).await.unwrap() });
    story.retry(Default::default());
    whole(&story.until_over(), 52);
    assert_eq!(map_calls(&story), 1);
}

#[test]
fn what_cannot_be_extended_is_said_with_the_reason() {
    let story = begin(&texts(5), plan(5));
    let about = |body: Value| {
        let faults = refused(&story, &texts(6), body);
        (faults[0].0.clone(), faults[0].1.clone())
    };
    let (path, message) = about(json!({"extends": "job_00000000000000000000000000000000"}));
    assert!(
        path == "extends" && message.contains("no job of yours"),
        "{message}"
    );
    let mut other = plan(5);
    other[0]["instructions"] = json!("Something else.");
    let (path, message) = about(json!({"extends": story.id, "stages": other}));
    assert!(
        path == "extends" && message.contains("the same work"),
        "{message}"
    );
    let running = story
        .world
        .submit(&story.app, job(&texts(5), json!({"stages": plan(1)})))
        .job
        .id;
    let (path, message) = about(json!({"extends": running}));
    assert!(
        path == "extends" && message.contains("once it is over"),
        "{message}"
    );
}
