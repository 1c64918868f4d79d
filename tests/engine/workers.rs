//! What workers are given: their chunk and their stage and nothing else, and tools within their limits.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::flows::{over, stages, texts};
use crate::stages::{MINUTE, Story, all_ids, input_ids, two};
use crate::world::{World, job};

#[test]
fn a_request_depends_on_nothing_but_its_chunk_and_its_stage() {
    let bodies = |texts: &[String], from: usize, task: &str, name: &str, others: Value| {
        let mut plan = two(5);
        plan[0]["name"] = json!(name);
        plan[2]["instructions"] = json!(task);
        let mut submit = job(texts, json!({"stages": plan, "limits": others}));
        submit.task = task.to_owned();
        for (n, item) in submit.items.iter_mut().enumerate() {
            item.id = format!("item-{}", from + n);
        }
        let world = World::new(from as u64 + 1, standin::Config::default());
        let app = world.app(&[]);
        let id = world.submit(&app, submit).job.id;
        world.run(&app, 10_000, 60 * MINUTE, || over(&world, &id));
        let calls = world.claude().stats().calls(500, true);
        let bodies: BTreeSet<String> = calls
            .as_array()
            .unwrap()
            .iter()
            .filter(|call| call["role"] == "worker")
            .map(|call| call["body"].to_string())
            .collect();
        bodies
    };
    let all = texts(40);
    let whole = bodies(
        &all,
        0,
        "Find the issues",
        "classify",
        json!({"concurrency": 3}),
    );
    // Another job, another task, another name, other neighbours: what is the same is the chunk and the stage.
    let part = bodies(
        &all[10..20],
        10,
        "Praise the team",
        "sort",
        json!({"concurrency": 50, "max_attempts": 2}),
    );
    assert_eq!((whole.len(), part.len()), (16, 4));
    assert!(part.is_subset(&whole));
}

#[test]
fn workers_search_the_web_within_their_limits_and_go_on_after_a_pause() {
    let mut plan = two(5);
    plan[0]["tools"] = json!({"web_search": {"max_uses": 2}, "web_fetch": {"max_uses": 1, "max_content_tokens": 2_000}});
    let pause = json!({"rules": [{"match": {"role": "worker", "text": "Classify each"}, "fault": "pause", "times": 2}]});
    let story = Story::begin(pause, &[], &texts(20), json!({"stages": plan}));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(all_ids(&story.results("classify")), input_ids(20));
    // Four chunks in each stage, two turns gone on with, one report.
    assert_eq!(view.usage.calls, 4 + 2 + 4 + 1);
    // Each of the first stage's turns searched once, at a cent.
    assert!(
        view.cost.spent_usd > 0.04 && view.cost.spent_usd < 0.09,
        "{:?}",
        view.cost
    );
    let bodies = story.world.claude().stats().calls(100, true);
    let with_tools: Vec<&Value> = bodies
        .as_array()
        .unwrap()
        .iter()
        .filter(|call| call["body"]["tools"].is_array())
        .collect();
    assert_eq!(with_tools.len(), 6);
    for call in &with_tools {
        let tools = &call["body"]["tools"];
        assert_eq!(tools[0]["type"], "web_search_20250305");
        assert_eq!(
            (&tools[0]["max_uses"], &tools[1]["max_uses"]),
            (&json!(2), &json!(1))
        );
        assert!(call["body"]["output_config"].get("format").is_none());
    }
    let resumed = with_tools
        .iter()
        .filter(|call| call["body"]["messages"].as_array().unwrap().len() == 2);
    let ended: Vec<&Value> = resumed
        .map(|call| &call["body"]["messages"][1]["content"][1]["type"])
        .collect();
    assert_eq!(ended, ["web_search_tool_result", "web_search_tool_result"]);
}

#[test]
fn a_search_is_reserved_at_its_worst() {
    let mut plan = two(5);
    plan[0]["tools"] = json!({"web_search": {"max_uses": 3}});
    // A context's worth of input for each search, at the price of long prompts: more than this cap.
    let limits = json!({"max_cost_usd": 1.0});
    let body = json!({"stages": plan, "limits": limits});
    let story = Story::begin(json!({}), &[], &texts(20), body);
    let view = story.until_over();
    assert_eq!((view.state.as_str(), view.usage.calls), ("failed", 0));
    assert!(
        story
            .missing()
            .values()
            .all(|why| why == "budget" || why == "not_started")
    );
}

#[test]
fn a_turn_that_never_ends_is_given_up() {
    let mut plan = two(5);
    plan[0]["tools"] = json!({"web_search": {"max_uses": 1}});
    let pause = json!({"rules": [{"match": {"item_id": "item-1", "text": "Classify each"}, "fault": "pause"}]});
    let limits = json!({"max_attempts": 3});
    let story = Story::begin(
        pause,
        &[],
        &texts(10),
        json!({"stages": plan, "limits": limits}),
    );
    let view = story.until_over();
    assert_eq!(view.state, "partial");
    let missing = story.missing();
    assert_eq!(missing.into_keys().collect::<BTreeSet<_>>(), input_ids(5));
    // Three turns for the first chunk, one for the second, one in the second stage, one report.
    assert_eq!(view.usage.calls, 3 + 1 + 1 + 1);
}

#[test]
fn a_workers_request_depends_on_nothing_but_its_own_chunk_and_stage() {
    let story = Story::begin(
        json!({}),
        &[],
        &texts(20),
        json!({"stages": stages(5), "reuse": false}),
    );
    story.until_over();
    // Another tenant's job with another task, other items but for one chunk, other stages around, other limits; its neighbours
    // fail, are repaired and split meanwhile.
    let faults = json!({"rules": [
        {"match": {"item_id": "item-9"}, "fault": "refusal", "times": 1},
        {"match": {"item_id": "item-12"}, "fault": "malformed", "times": 2},
        {"match": {"item_id": "item-17"}, "fault": "500", "times": 2},
    ]});
    {
        let mut claude = story.world.claude();
        let spoiled = claude.config().with(&faults).unwrap();
        claude.configure(spoiled);
    }
    let mut other: Vec<String> = texts(60).split_off(30);
    other.splice(0..5, texts(5));
    let mut plan = stages(5);
    plan[0]["name"] = json!("sort");
    plan[1]["instructions"] = json!("Write something else.");
    let more =
        json!({"name": "rate", "kind": "map", "instructions": "Rate it.", "chunk": {"items": 3}});
    plan.as_array_mut().unwrap().insert(1, more);
    let body = json!({"stages": plan, "reuse": false, "limits": {"concurrency": 3, "max_attempts": 7, "max_cost_usd": 9.0, "redo_ratio": 0.5}});
    let mut submit = job(&other, body);
    submit.task = "Something else altogether".into();
    submit.metadata.insert("team".into(), json!("other"));
    let app = story.app.clone();
    let id = story.world.block_on(async move {
        let submitted = fanwise::app::submit::submit(&app, "another", submit).await;
        submitted.unwrap().job.id
    });
    story
        .world
        .run(&story.app, 10_000, 240 * MINUTE, || over(&story.world, &id));
    // The stand-in saw one body twice, byte for byte: that of the chunk they share.
    let stats = story.stats();
    assert_eq!(
        stats["paid_twice"]["bodies"].as_array().unwrap().len(),
        1,
        "{stats}"
    );
    assert_eq!(stats["paid_twice"]["bodies"][0]["good"], 2);
}
