//! Calls of the right size: the first answer of a task is given twice the room that its stage's answers needed so far, and
//! a chunk that does not fit one answer is split before it is sent. Neither costs an item, an attempt or the budget's promise.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::stages::Story;

/// Answers that repeat their items: each as long as its item.
fn echo(chunk: u32, max_tokens: u32) -> Value {
    json!([{"name": "repeat", "kind": "map", "instructions": "Repeat each text.", "output": "item",
        "output_schema": {"type": "object", "properties": {"text": {"type": "string"}},
            "required": ["text"], "additionalProperties": false},
        "chunk": {"items": chunk}, "max_tokens": max_tokens}])
}

/// All different; the stand-in has 2.5 letters to a token.
fn texts(count: usize, letters: usize) -> Vec<String> {
    (0..count)
        .map(|n| format!("case {n}: {}", "reads well ".repeat(letters / 11 + 1)))
        .collect()
}

fn calls(story: &Story) -> Vec<Map<String, Value>> {
    story.world.query(
        "SELECT idx, n, max_tokens, stop_reason, error_class, json_array_length(ids) AS items, reserved_nano, output_tokens
         FROM attempts WHERE role IN ('worker', 'repair') ORDER BY started_at, id",
    )
}

fn int(row: &Map<String, Value>, name: &str) -> i64 {
    row[name].as_i64().unwrap()
}

#[test]
fn what_is_cut_off_at_less_room_is_asked_for_with_all_and_costs_no_attempt() {
    let mut texts = texts(80, 20);
    // Some 2,000 tokens, where the others have thirty.
    texts[60] = format!("case 60: {}", "goes on and on ".repeat(330));
    let body = json!({"stages": echo(1, 4_096), "limits": {"concurrency": 5, "max_attempts": 1}});
    let story = Story::begin(json!({}), &[], &texts, body);
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let rows = calls(&story);
    assert_eq!(rows.len(), 81);
    let all = |row: &&Map<String, Value>| row["max_tokens"].is_null();
    // Nothing is known of the first twenty, and calls are under way when they are.
    let known = rows.iter().position(|row| !all(&row)).unwrap();
    assert!((20..40).contains(&known), "{known}");
    let long: Vec<_> = rows.iter().filter(|row| int(row, "idx") == 60).collect();
    assert_eq!(long.len(), 2);
    assert_eq!(
        (
            &long[0]["max_tokens"],
            &long[0]["stop_reason"],
            &long[0]["error_class"]
        ),
        (&json!(256), &json!("max_tokens"), &json!("truncated"))
    );
    assert_eq!(
        (&long[1]["max_tokens"], &long[1]["stop_reason"]),
        (&Value::Null, &json!("end_turn"))
    );
    // Less is held back for it meanwhile: Haiku's output costs 500 a token.
    let saved = int(long[1], "reserved_nano") - int(long[0], "reserved_nano");
    assert!(saved >= (4_096 - 256) * 500, "{saved}");
    // And those after it have more room.
    let last = rows.iter().rfind(|row| int(row, "n") == 1).unwrap();
    assert!(
        last["max_tokens"].is_null() || int(last, "max_tokens") > 256,
        "{last:?}"
    );
    // What was asked is shown as it was.
    let (app, id) = (story.app.clone(), story.id.clone());
    let task = story.world.block_on(async move {
        fanwise::app::read::jobs::task(&app, crate::world::TENANT, &id, 60)
            .await
            .unwrap()
    });
    let shown: Vec<_> = task
        .attempts
        .iter()
        .map(|one| one.request["max_tokens"].clone())
        .collect();
    assert_eq!(shown, [json!(256), json!(4_096)]);
}

#[test]
fn a_budget_goes_further_when_less_is_held_back() {
    let plan = json!({"stages": echo(1, 16_000), "limits": {"concurrency": 2}});
    let free = Story::begin(json!({}), &[], &texts(400, 20), plan.clone());
    let spent = free.until_over().cost.spent_usd;
    let most = free
        .world
        .query("SELECT MAX(reserved_nano) AS most FROM attempts")[0]["most"]
        .as_f64()
        .unwrap()
        / 1e9;
    // One call with all its room would not fit in the end.
    let cap = spent + most / 3.0;
    assert!(cap > most, "{cap} {most}");
    let mut capped = plan;
    capped["limits"]["max_cost_usd"] = json!(cap);
    let story = Story::begin(json!({}), &[], &texts(400, 20), capped);
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert!(view.cost.spent_usd <= cap);
    let charged = story.stats()["cost_usd"].as_f64().unwrap();
    assert!(charged <= cap, "{charged} of {cap}");
}

#[test]
fn chunks_that_do_not_fit_one_answer_are_split_before_they_are_sent() {
    // Twenty items of some 100 tokens, in answers of a thousand.
    let body = json!({"stages": echo(20, 1_000), "limits": {"concurrency": 2}});
    let story = Story::begin(json!({}), &[], &texts(600, 200), body);
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(view.progress.items.covered, 600);
    let results = story.results("repeat");
    let ids: BTreeSet<_> = results
        .iter()
        .map(|line| json!(line)["id"].to_string())
        .collect();
    assert_eq!((results.len(), ids.len()), (600, 600));
    let rows = calls(&story);
    let too_large = rows.iter().filter(|row| int(row, "items") == 20).count();
    // The two that found out, and what was asked again of them.
    assert!(too_large <= 4, "{too_large} of {}", rows.len());
    let cut = rows
        .iter()
        .filter(|row| row["stop_reason"] == "max_tokens")
        .count();
    assert!(cut <= 12, "{cut} of {}", rows.len());
    assert!(rows.len() > 60, "{}", rows.len());
}

#[test]
fn a_chunk_is_split_until_it_fits() {
    // None of forty fits, nor one of twenty or ten; one of five does.
    let body = json!({"stages": echo(40, 700), "limits": {"concurrency": 1}});
    let story = Story::begin(json!({}), &[], &texts(240, 230), body);
    let view = story.until_over();
    assert_eq!(
        (view.state.as_str(), view.progress.items.covered),
        ("succeeded", 240),
        "{view:?}"
    );
    let rows = calls(&story);
    let untouched = rows.iter().filter(|row| int(row, "items") == 40).count();
    assert!(untouched <= 2, "{untouched}");
    let tasks = story.world.query(
        "SELECT COUNT(*) AS n, SUM(items) AS items, COUNT(DISTINCT ids) AS sets FROM tasks WHERE state = 'succeeded'",
    );
    assert_eq!(
        (int(&tasks[0], "items"), &tasks[0]["n"]),
        (240, &tasks[0]["sets"])
    );
}
