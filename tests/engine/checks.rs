//! Checks before anybody builds on results: flags, judges, and what is asked for once more.

use std::collections::BTreeSet;

use fanwise::core::plan::spec::Limits;
use serde_json::{Value, json};

use crate::flows::texts;
use crate::stages::Story;

const LONG: &str =
    "The invoice that came on Monday names an amount that nobody here has ever agreed to";

/// Twenty tickets of which three say the same, word for word.
fn alike() -> Vec<String> {
    let mut texts: Vec<String> = texts(20)
        .into_iter()
        .map(|text| format!("{text} and nobody has answered me since then"))
        .collect();
    for n in [3, 9, 15] {
        texts[n] = LONG.to_owned();
    }
    texts
}

fn plan(more: Value) -> Value {
    let mut stage = json!({"name": "read", "kind": "map", "instructions": "Say what it is about.", "chunk": {"items": 4}});
    stage
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!([stage, {"name": "report", "kind": "synthesis", "instructions": "Sum up."}])
}

fn flagged(story: &Story, flag: &str) -> BTreeSet<String> {
    let flagged = story.report().coverage.flagged;
    flagged
        .into_iter()
        .filter(|one| one.flag == flag)
        .map(|one| one.id)
        .collect()
}

fn calls(story: &Story, role: &str) -> u64 {
    story.stats()["calls"]["by_role"][role]
        .as_u64()
        .unwrap_or(0)
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn results_that_look_wrong_are_flagged_and_stay_covered() {
    let story = Story::begin(json!({}), &[], &alike(), json!({"stages": plan(json!({}))}));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    assert_eq!(
        flagged(&story, "same_text"),
        set(&["item-4", "item-10", "item-16"])
    );
    assert_eq!(story.report().coverage.covered, 20);
    assert_eq!(view.usage.calls, 5 + 1);
}

#[test]
fn an_id_that_a_worker_makes_up_is_flagged() {
    let rules =
        json!({"rules": [{"match": {"role": "worker"}, "fault": "invented_id", "times": 1}]});
    let story = Story::begin(rules, &[], &texts(8), json!({"stages": plan(json!({}))}));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(flagged(&story, "invented_id").len(), 1);
    assert_eq!(story.report().coverage.covered, 8);
}

#[test]
fn what_is_flagged_is_asked_for_once_more_and_only_once() {
    let body = json!({"stages": plan(json!({})), "limits": {"redo_ratio": 0.5}});
    let story = Story::begin(json!({}), &[], &alike(), body);
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    // Five chunks, three items again in one, the report.
    assert_eq!(view.usage.calls, 5 + 1 + 1);
    let again = story
        .world
        .query("SELECT ids FROM tasks WHERE purpose = 'redo'");
    assert_eq!(again.len(), 1);
    let ids: Vec<String> = serde_json::from_str(again[0]["ids"].as_str().unwrap()).unwrap();
    assert_eq!(ids, ["item-4", "item-10", "item-16"]);
    assert_eq!(
        (view.progress.items.covered, story.report().coverage.covered),
        (20, 20)
    );
    assert_eq!(story.results("read").len(), 20);
}

#[test]
fn no_more_than_the_share_is_asked_again() {
    let body = json!({"stages": plan(json!({})), "limits": {"redo_ratio": 0.1}});
    let story = Story::begin(json!({}), &[], &alike(), body);
    story.until_over();
    let asked = story
        .world
        .query("SELECT COUNT(*) AS n FROM redone WHERE task IS NOT NULL");
    assert_eq!(asked[0]["n"], 2);
}

#[test]
fn a_judge_looks_at_the_sample_and_what_is_wrong_is_done_again() {
    let verify = plan(json!({"verify": {"sample": 1.0}}));
    let story = Story::begin(
        json!({}),
        &[],
        &texts(20),
        json!({"stages": verify.clone()}),
    );
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(calls(&story, "verify"), 5);
    let wrong = flagged(&story, "failed_verification");
    let said = story.world.query(
        "SELECT COUNT(*) AS n FROM tasks t JOIN outputs o USING (job, idx), json_each(o.body) e
         WHERE t.purpose = 'verify' AND e.value->>'$.output.verdict' = 'wrong'",
    );
    assert_eq!(said[0]["n"], wrong.len() as u64);
    assert_eq!(story.report().coverage.covered, 20);

    let body = json!({"stages": verify, "limits": {"redo_ratio": 1.0}});
    let story = Story::begin(json!({}), &[], &texts(20), body);
    story.until_over();
    let asked = story
        .world
        .query("SELECT COUNT(*) AS n FROM redone WHERE task IS NOT NULL");
    assert_eq!(asked[0]["n"], wrong.len() as u64);
    // What was judged is there no more.
    assert_eq!(flagged(&story, "failed_verification"), set(&[]));
    assert_eq!(story.results("read").len(), 20);
}

#[test]
fn a_new_answer_takes_the_place_of_the_first() {
    let body =
        json!({"stages": plan(json!({"verify": {"sample": 1.0}})), "limits": {"redo_ratio": 1.0}});
    let story = Story::begin(json!({}), &[], &alike(), body);
    // As if the first answers had said something else.
    let sql = format!(
        "SELECT phase FROM stages WHERE job = '{}' AND idx = 0",
        story.id
    );
    let world = story.world.clone();
    story.world.run(&story.app, 10_000, 600_000, move || {
        world.query(&sql)[0]["phase"] == "redo"
    });
    story
        .world
        .execute("UPDATE outputs SET body = replace(body, 'invoice', 'BEFORE')");
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    for line in story.results("read") {
        assert!(!json!(line).to_string().contains("BEFORE"), "{line:?}");
    }
}

#[test]
fn a_cancel_among_judges_and_a_retry_lose_nothing() {
    let body = json!({"stages": plan(json!({"verify": {"sample": 1.0}})), "limits": {"redo_ratio": 1.0, "concurrency": 1}, "reuse": false});
    let story = Story::begin(json!({}), &[], &alike(), body);
    let sql = format!(
        "SELECT COUNT(*) AS n FROM tasks WHERE job = '{}' AND purpose = 'verify' AND state = 'succeeded'",
        story.id
    );
    let world = story.world.clone();
    story.world.run(&story.app, 10_000, 600_000, move || {
        world.query(&sql)[0]["n"] == 2
    });
    story.cancel();
    assert_eq!(story.report().coverage.covered, 20);
    story.retry(Limits::default());
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(calls(&story, "verify"), 5);
    assert_eq!(view.progress.items.covered, 20);
}
