//! Stages over some of the results before them: who is chosen is asked, all others go on as they are, and whatever becomes of a
//! follow-up, no result is lost and none is pretended.

use std::collections::{BTreeMap, BTreeSet};

use fanwise::app::read::jobs;
use fanwise::app::view::ResultLine;
use fanwise::core::plan::spec::Limits;
use serde_json::{Value, json};

use crate::flows::{stages, texts};
use crate::stages::Story;
use crate::world::{TENANT, job};

fn schema(field: &str) -> Value {
    json!({"type": "object", "properties": {field: {"type": "string"}}, "required": [field], "additionalProperties": false})
}

/// Classify five at a time, look closer at some of the results, three at a time, then a report.
fn plan(of: Value) -> Value {
    let mut stages = stages(5);
    let dig = json!({"name": "dig", "kind": "map", "instructions": "Dig into the cause.", "output": "item",
        "output_schema": schema("cause"), "chunk": {"items": 3}, "of": of});
    stages.as_array_mut().unwrap().insert(1, dig);
    stages
}

fn billing() -> Value {
    json!({"field": "primary_category", "values": ["billing"]})
}

fn outputs(story: &Story, stage: &'static str) -> BTreeMap<String, Value> {
    let lines = story.results(stage);
    let count = lines.len();
    let outputs: BTreeMap<String, Value> = lines
        .into_iter()
        .map(|line| match line {
            ResultLine::Item { id, output, .. } => (id, output),
            ResultLine::Chunk { label, output, .. } => (label.unwrap(), output),
        })
        .collect();
    assert_eq!(outputs.len(), count, "an id has two results");
    outputs
}

/// The ids of results with that category, of the first stage.
fn of_category(story: &Story, category: &str) -> BTreeSet<String> {
    outputs(story, "classify")
        .into_iter()
        .filter(|(_, output)| output["primary_category"] == category)
        .map(|(id, _)| id)
        .collect()
}

fn flagged(story: &Story, flag: &str) -> BTreeSet<String> {
    let flagged = story.report().coverage.flagged;
    flagged
        .into_iter()
        .filter(|one| one.flag == flag)
        .map(|one| one.id)
        .collect()
}

/// What workers of a stage were given, item by item.
fn given(story: &Story, stage: u32) -> Vec<Value> {
    let sql = format!(
        "SELECT i.body FROM inputs i JOIN tasks t USING (job, idx) WHERE t.job = '{}' AND t.stage = {stage}",
        story.id
    );
    let inputs = story.world.query(&sql);
    inputs
        .iter()
        .flat_map(|row| serde_json::from_str::<Vec<Value>>(row["body"].as_str().unwrap()).unwrap())
        .collect()
}

/// Every result of the follow-up is the one before it, and has a cause where it was asked for one.
fn assert_amended(story: &Story, asked: &BTreeSet<String>) {
    let before = outputs(story, "classify");
    let after = outputs(story, "dig");
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    for (id, output) in after {
        assert_eq!(output["primary_category"], before[&id]["primary_category"]);
        assert_eq!(
            output["cause"].is_string(),
            asked.contains(&id),
            "{id}: {output}"
        );
    }
}

#[test]
fn only_what_is_chosen_is_asked_and_all_others_go_on_as_they_are() {
    let story = Story::begin(
        json!({}),
        &[],
        &texts(60),
        json!({"stages": plan(billing())}),
    );
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let chosen = of_category(&story, "billing");
    assert!(chosen.len() >= 10 && chosen.len() < 40, "{}", chosen.len());
    assert_amended(&story, &chosen);
    assert_eq!(view.usage.calls, 12 + chosen.len().div_ceil(3) as u64 + 1);
    assert_eq!(view.progress.items.covered, 60);
    // No row for what was not chosen.
    assert_eq!(
        view.progress.tasks.total,
        12 + chosen.len().div_ceil(3) as u64
    );
    // The last map stage's counts are those of all results, by the fields of the stages before it too.
    let merged = story.report().merged;
    assert_eq!(merged.stages["dig"].results, 60);
    assert_eq!(merged.count_by, merged.stages["classify"].count_by);
    // The report was written from all of them, as they are now.
    let calls = story.world.claude().stats().calls(100, true);
    let synthesis = calls
        .as_array()
        .unwrap()
        .iter()
        .find(|call| call["role"] == "synthesis");
    let asked = synthesis.unwrap()["body"]["messages"].to_string();
    assert_eq!(
        asked.matches("primary_category\\\\\\\":").count()
            + asked.matches("primary_category\\\":").count(),
        60 + 1,
        "{asked}"
    );
    assert_eq!(asked.matches("cause\\\":").count(), chosen.len());
    // A worker is given the result alone.
    let first = given(&story, 1).remove(0);
    assert_eq!(
        first.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["id", "primary_category"]
    );
}

#[test]
fn workers_see_the_item_beside_its_result_where_that_is_wished() {
    let mut plan = plan(billing());
    plan[1]["with_input"] = json!(true);
    // A third one goes back to the items too, over results that were amended.
    let third = json!({"name": "answer", "kind": "map", "instructions": "Answer.", "chunk": {"items": 4},
        "of": {"field": "primary_category", "values": ["billing", "login"]}, "with_input": true});
    plan.as_array_mut().unwrap().insert(2, third);
    let story = Story::begin(
        json!({}),
        &[("INLINE_BYTES", "256")],
        &texts(40),
        json!({"stages": plan}),
    );
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let of = |category| of_category(&story, category);
    let seen: BTreeMap<String, Value> = story
        .world
        .claude()
        .stats()
        .calls(200, true)
        .as_array()
        .unwrap()
        .iter()
        .filter(|call| call["body"]["system"].to_string().contains("Answer."))
        .flat_map(|call| {
            let text = call["body"]["messages"][0]["content"][0]["text"]
                .as_str()
                .unwrap();
            let items = text.lines().nth(1).unwrap();
            serde_json::from_str::<Vec<Value>>(items).unwrap()
        })
        .map(|item| (item["id"].as_str().unwrap().to_owned(), item))
        .collect();
    let wanted: BTreeSet<String> = &of("billing") | &of("login");
    assert_eq!(seen.keys().cloned().collect::<BTreeSet<_>>(), wanted);
    let texts = texts(40);
    for (id, item) in seen {
        let place: usize = id.strip_prefix("item-").unwrap().parse().unwrap();
        assert_eq!(item["input"], json!({"text": texts[place - 1]}));
        assert_eq!(
            item["cause"].is_string(),
            item["primary_category"] == "billing"
        );
    }
}

#[test]
fn a_follow_up_that_fails_leaves_the_result_as_it_was_and_says_so_and_can_be_had_later() {
    let mut plan = plan(billing());
    plan[1]["chunk"] = json!({"items": 1});
    let rules = json!({"rules": [{"match": {"text": "Dig into the cause", "item_id": "item-5"}, "fault": "empty"}]});
    let limits = json!({"max_attempts": 2});
    let story = Story::begin(
        rules,
        &[],
        &texts(40),
        json!({"stages": plan, "limits": limits}),
    );
    let view = story.until_over();
    // Every item has a result; a stage is not done for one of them.
    assert_eq!(view.state, "partial", "{view:?}");
    assert_eq!(
        (view.progress.items.covered, story.missing().len()),
        (40, 0)
    );
    let mut chosen = of_category(&story, "billing");
    assert!(chosen.remove("item-5"));
    assert_amended(&story, &chosen);
    assert_eq!(
        flagged(&story, "not_followed_up"),
        BTreeSet::from(["item-5".to_owned()])
    );
    let note = story.report().coverage.note.unwrap();
    assert!(
        note.contains("1 results") && note.contains("\"dig\""),
        "{note}"
    );
    let calls = story.world.claude().stats().calls(100, true);
    let synthesis = calls
        .as_array()
        .unwrap()
        .iter()
        .find(|call| call["role"] == "synthesis");
    assert!(
        synthesis.unwrap()["body"]
            .to_string()
            .contains("were not: they are as they were before")
    );
    let before = view.usage.calls;
    story.world.claude().configure(standin::Config::default());
    story.retry(Limits::default());
    let view = story.until_over();
    assert_eq!((view.state.as_str(), view.run), ("succeeded", 2));
    assert_eq!(view.usage.calls, before + 2);
    chosen.insert("item-5".to_owned());
    assert_amended(&story, &chosen);
    assert!(flagged(&story, "not_followed_up").is_empty());
}

#[test]
fn nothing_is_lost_where_deadline_budget_or_caller_end_a_follow_up() {
    let slow = json!({"rules": [{"match": {"text": "Dig into the cause"}, "fault": "slow", "ms": 30_000}]});
    let mut dear = plan(billing());
    dear[1]["chunk"] = json!({"items": 1});
    let mut costly = dear.clone();
    costly[1]["model"] = json!("sonnet");
    let ends = [
        (
            slow.clone(),
            dear.clone(),
            json!({"deadline_seconds": 100, "concurrency": 2}),
        ),
        (
            json!({}),
            costly,
            json!({"max_cost_usd": 0.075, "concurrency": 2}),
        ),
        (slow, dear, json!({"concurrency": 2})),
    ];
    for (place, (claude, plan, limits)) in ends.into_iter().enumerate() {
        let story = Story::begin(
            claude,
            &[],
            &texts(80),
            json!({"stages": plan, "limits": limits}),
        );
        let view = if place == 2 {
            story.until_done(1, 3);
            story.cancel()
        } else {
            story.until_over()
        };
        assert_eq!(
            view.state,
            ["partial", "partial", "cancelled"][place],
            "{view:?}"
        );
        assert_eq!(story.report().coverage.covered, 80);
        assert!(story.missing().is_empty());
        let followed: BTreeSet<String> = outputs(&story, "dig")
            .into_iter()
            .filter(|(_, output)| output["cause"].is_string())
            .map(|(id, _)| id)
            .collect();
        let chosen = of_category(&story, "billing");
        assert!(followed.len() < chosen.len(), "{place}");
        assert_amended(&story, &followed);
        if place < 2 {
            let left: BTreeSet<String> = chosen.difference(&followed).cloned().collect();
            assert_eq!(flagged(&story, "not_followed_up"), left, "{place}");
        }
        story.world.claude().configure(standin::Config::default());
        let more = Limits {
            max_cost_usd: Some(100.0),
            deadline_seconds: Some(36_000),
            ..Limits::default()
        };
        story.retry(more);
        let view = story.until_over();
        assert_eq!(view.state, "succeeded", "{view:?}");
        assert_amended(&story, &chosen);
        // What was done already is not done again.
        let asked = given(&story, 1).len();
        assert_eq!(asked, chosen.len());
    }
}

#[test]
fn what_a_retry_brings_is_followed_up_too() {
    let rules = json!({"rules": [{"match": {"text": "Classify each", "item_id": "item-9"}, "fault": "empty"}]});
    let body = json!({"stages": plan(billing()), "limits": {"max_attempts": 2}, "reuse": false});
    let story = Story::begin(rules, &[], &texts(30), body);
    let view = story.until_over();
    assert_eq!(view.state, "partial");
    assert_eq!(story.missing().keys().collect::<Vec<_>>(), ["item-9"]);
    assert!(flagged(&story, "not_followed_up").is_empty());
    let before = view.usage.calls;
    story.world.claude().configure(standin::Config::default());
    story.retry(Limits::default());
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    // The item, its follow-up (it is one of billing), the report.
    assert_eq!(view.usage.calls, before + 3);
    let chosen = of_category(&story, "billing");
    assert!(chosen.contains("item-9"));
    assert_amended(&story, &chosen);
}

#[test]
fn what_a_check_flagged_is_done_again() {
    let mut plan = stages(5);
    plan[0]["output_schema"] = schema("quote");
    plan[0]["merge"] = json!({});
    let again = json!({"name": "again", "kind": "map", "instructions": "Quote it properly.", "output": "item",
        "output_schema": schema("quote"), "chunk": {"items": 5}, "of": {"flagged": true}, "with_input": true, "model": "sonnet"});
    plan.as_array_mut().unwrap().insert(1, again);
    // Two that say the same at length are flagged; what is different is not.
    let mut texts: Vec<String> = (0..20)
        .map(|n| {
            format!(
                "This is a long and quite different complaint, number {n} of many, about {}",
                n * 7919
            )
        })
        .collect();
    texts[11] = texts[3].clone();
    let story = Story::begin(json!({}), &[], &texts, json!({"stages": plan}));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let flagged = flagged(&story, "same_text");
    assert_eq!(
        flagged,
        BTreeSet::from(["item-4".to_owned(), "item-12".to_owned()])
    );
    let asked: BTreeSet<String> = given(&story, 1)
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(asked, flagged);
    assert_eq!(outputs(&story, "again").len(), 20);
}

#[test]
fn follow_ups_follow_each_other_and_other_stages_read_what_they_leave() {
    // The cause is free text: the second one chooses by what the first results say, the third stage groups all of them.
    let mut plan = plan(billing());
    let second = json!({"name": "weigh", "kind": "map", "instructions": "Weigh it.", "output": "item", "chunk": {"items": 2},
        "output_schema": {"type": "object", "properties": {"grade": {"type": "string", "enum": ["low", "high"]}},
            "required": ["grade"], "additionalProperties": false},
        "of": {"field": "cause", "values": ["null"]}, "merge": {"count_by": ["grade"]}});
    let third = json!({"name": "sum", "kind": "map", "instructions": "Sum up the group.", "output": "chunk",
        "group_by": "primary_category", "output_schema": schema("gist")});
    plan.as_array_mut().unwrap().insert(2, second);
    plan.as_array_mut().unwrap().insert(3, third);
    let story = Story::begin(json!({}), &[], &texts(40), json!({"stages": plan}));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let chosen = of_category(&story, "billing");
    assert_amended(&story, &chosen);
    for (id, output) in outputs(&story, "weigh") {
        assert_eq!(output["grade"].is_string(), !chosen.contains(&id), "{id}");
    }
    let grades: u64 = story.report().merged.stages["weigh"].count_by["grade"]
        .values()
        .sum();
    assert_eq!(
        grades as usize,
        40 - chosen.len(),
        "nobody asked the others"
    );
    let read: Vec<Value> = given(&story, 3);
    assert_eq!(read.len(), 40);
    for item in read {
        let id = item["id"].as_str().unwrap();
        assert_eq!(item["cause"].is_string(), chosen.contains(id));
        assert_eq!(item["grade"].is_string(), !chosen.contains(id));
    }
}

#[test]
fn results_of_chunks_and_groups_are_followed_up_by_their_own_ids() {
    let mut plan = stages(5);
    let gist = json!({"name": "gist", "kind": "map", "instructions": "Sum up the group.", "output": "chunk",
        "group_by": "primary_category", "output_schema": {"type": "object", "required": ["severity"], "additionalProperties": false,
            "properties": {"severity": {"type": "string", "enum": ["low", "high", "none"]}}}});
    let dig = json!({"name": "dig", "kind": "map", "instructions": "Dig into the cause.",
        "output_schema": schema("cause"), "chunk": {"items": 3},
        "of": {"field": "severity", "values": ["none", "low"]}});
    plan.as_array_mut().unwrap().insert(1, gist);
    plan.as_array_mut().unwrap().insert(2, dig);
    let rules = json!({"rules": [{"match": {"text": "Dig into the cause"}, "fault": "empty"}]});
    for (rules, state) in [(json!({}), "succeeded"), (rules, "partial")] {
        let limits = json!({"max_attempts": 1});
        let story = Story::begin(
            rules,
            &[],
            &texts(40),
            json!({"stages": plan, "limits": limits}),
        );
        let view = story.until_over();
        let before = outputs(&story, "gist");
        let chosen = before
            .values()
            .filter(|output| output["severity"] != "high")
            .count();
        assert!(chosen > 0, "{before:?}");
        assert_eq!(view.state, state, "{view:?}");
        assert_eq!(view.progress.items.covered, 40);
        let after = outputs(&story, "dig");
        assert_eq!(after.len(), before.len());
        let causes = after
            .values()
            .filter(|output| output["cause"].is_string())
            .count();
        assert_eq!(causes, if state == "succeeded" { chosen } else { 0 });
        assert_eq!(flagged(&story, "not_followed_up").len(), chosen - causes);
    }
}

#[test]
fn a_follow_up_whose_chunks_are_split_loses_nothing() {
    let mut plan = plan(
        json!({"field": "primary_category", "values": ["billing", "login", "bug", "shipping", "other"]}),
    );
    plan[1]["chunk"] = json!({"items": 20});
    // Cut answers are halved until they fit.
    let rules = json!({"rules": [{"match": {"text": "Dig into the cause"}, "fault": "truncate", "times": 7}]});
    let limits = json!({"max_attempts": 8});
    let story = Story::begin(
        rules,
        &[],
        &texts(60),
        json!({"stages": plan, "limits": limits}),
    );
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert!(view.progress.tasks.total > 12 + 3, "something was split");
    let all: BTreeSet<String> = (1..=60).map(|n| format!("item-{n}")).collect();
    assert_amended(&story, &all);
}

/// A stage over all results has results for its items: what follows goes back one step, and further by what that step shows.
#[test]
fn after_a_second_stage_what_that_one_read_is_shown() {
    for between in [false, true] {
        let map = |name: &str, with_input: bool| json!({"name": name, "kind": "map", "instructions": format!("Stage {name}."), "with_input": with_input});
        let plan = json!([
            plan(json!({"flagged": true}))[0],
            map("second", between),
            map("third", true)
        ]);
        let story = Story::begin(json!({}), &[], &texts(4), json!({"stages": plan}));
        assert_eq!(story.until_over().state, "succeeded");
        let (app, id) = (story.app.clone(), story.id.clone());
        let task = story
            .world
            .block_on(async move { jobs::task(&app, TENANT, &id, 2).await.unwrap() });
        assert_eq!(task.stage, "third");
        let shown = &task.input[0];
        assert!(shown["text"].is_string(), "{shown}");
        assert!(shown["input"]["primary_category"].is_string(), "{shown}");
        let item = &shown["input"]["input"]["text"];
        assert_eq!(item.as_str(), between.then_some(texts(4)[0].as_str()));
    }
}

#[test]
fn a_job_that_extends_another_takes_its_follow_ups_over() {
    let vars = [("LEDGER_DAYS", "0")];
    let mut plan = plan(billing());
    plan[1]["with_input"] = json!(true);
    let story = Story::begin(json!({}), &vars, &texts(40), json!({"stages": plan}));
    assert_eq!(story.until_over().state, "succeeded");
    let first = outputs(&story, "dig");
    // Four more items, one of them of each category.
    let body = json!({"extends": story.id, "stages": plan});
    let id = story.world.submit(&story.app, job(&texts(44), body)).job.id;
    let story = Story { id, ..story };
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let after = outputs(&story, "dig");
    assert_eq!(after.len(), 44);
    for (id, output) in first {
        assert_eq!(after[&id], output);
    }
    assert_amended(&story, &of_category(&story, "billing"));
    // The new four, the follow-up of what is of billing among them, the report.
    assert_eq!(view.usage.calls, 3);
}

#[test]
fn a_few_of_many_cost_a_few_rows_and_no_slice_reads_them_all() {
    // Ten thousand results of an earlier stage, one to a task, of which one in a thousand is chosen.
    let many: Vec<String> = (0..10_000)
        .map(|n| match n % 1_000 {
            7 => format!("I was charged twice for my plan (case {n})"),
            _ => format!("The app crashes when I upload a photo (case {n})"),
        })
        .collect();
    let mut plan = plan(billing());
    plan[0]["chunk"] = json!({"items": 25});
    plan.as_array_mut().unwrap().pop();
    let story = Story::begin(
        json!({"latency_ms": 50}),
        &[],
        &many,
        json!({"stages": plan, "limits": {"concurrency": 500}}),
    );
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(view.progress.tasks.total, 400 + 4);
    let rows = story.world.query("SELECT COUNT(*) AS n FROM amended")[0]["n"].as_u64();
    assert_eq!(rows, Some(10));
    let cursor = story.world.query("SELECT SUM(o.bytes) AS bytes FROM outputs o JOIN tasks t USING (job, idx) WHERE t.stage = 1");
    assert!(cursor[0]["bytes"].as_u64().unwrap() < 4_000);
    assert_eq!(outputs(&story, "dig").len(), 10_000);
}

#[test]
fn a_follow_up_goes_out_in_batches_like_any_stage() {
    let body = json!({"stages": plan(billing()), "delivery": "batch"});
    let story = Story::begin(
        json!({"batch_ms": 60_000}),
        &[("BATCH_LEAST", "1")],
        &texts(40),
        body,
    );
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let batches = story
        .world
        .query("SELECT COUNT(DISTINCT id) AS n FROM batches");
    assert!(batches[0]["n"].as_u64().unwrap() >= 2);
    assert_amended(&story, &of_category(&story, "billing"));
}

#[test]
fn a_stage_that_chooses_nobody_is_done_at_once() {
    let of = json!({"field": "primary_category", "values": ["other"]});
    let mut only: Vec<String> = texts(40);
    only.retain(|text| text.contains("charged"));
    let story = Story::begin(json!({}), &[], &only, json!({"stages": plan(of)}));
    let view = story.until_over();
    assert_eq!(
        (view.state.as_str(), view.usage.calls),
        ("succeeded", 2 + 1)
    );
    assert_amended(&story, &BTreeSet::new());
}
