//! Stages that read some of the results before them: who is chosen is read, all others stay covered and are absent.

use std::collections::BTreeSet;

use fanwise::app::view::ResultLine;
use fanwise::core::plan::spec::Limits;
use serde_json::{Value, json};

use crate::flows::{stages, texts};
use crate::stages::Story;

/// Classify five at a time, say why of some of them, then a report.
fn plan(by: Value) -> Value {
    let mut stages = stages(5);
    let why = json!({"name": "why", "kind": "map", "instructions": "Say why.", "output": "item", "chunk": {"items": 4},
        "output_schema": {"type": "object", "properties": {"cause": {"type": "string"}}, "required": ["cause"],
            "additionalProperties": false},
        "where": by});
    stages.as_array_mut().unwrap().insert(1, why);
    stages
}

fn begin(count: usize, stages: Value) -> Story {
    Story::begin(json!({}), &[], &texts(count), json!({"stages": stages}))
}

/// The ids of a stage's results, each of which is there once.
fn ids(lines: &[ResultLine]) -> BTreeSet<String> {
    let ids: Vec<String> = lines
        .iter()
        .flat_map(|line| match line {
            ResultLine::Item { id, .. } => vec![id.clone()],
            ResultLine::Chunk { ids, .. } => ids.clone(),
        })
        .collect();
    let set: BTreeSet<String> = ids.iter().cloned().collect();
    assert_eq!(set.len(), ids.len(), "an id has two results");
    set
}

/// Those of the first stage's results with one of these categories.
fn of(story: &Story, categories: &[&str]) -> BTreeSet<String> {
    let lines = story.results("classify");
    let wanted = lines.iter().filter_map(|line| match line {
        ResultLine::Item { id, output, .. } => {
            let category = output["primary_category"].as_str().unwrap();
            categories.contains(&category).then(|| id.clone())
        }
        ResultLine::Chunk { .. } => None,
    });
    wanted.collect()
}

#[test]
fn a_stage_reads_what_its_condition_chooses_and_the_rest_stays_covered() {
    for (by, categories) in [
        (
            json!({"field": "primary_category", "in": ["Billing"]}),
            vec!["billing"],
        ),
        (
            json!({"field": "primary_category", "not_in": ["billing", "bug"]}),
            vec!["login", "shipping", "other"],
        ),
        (
            json!({"any": [{"field": "primary_category", "in": ["bug"]}, {"flagged": true}]}),
            vec!["bug"],
        ),
        (
            json!({"field": "primary_category", "exists": true}),
            vec!["billing", "login", "bug", "shipping", "other"],
        ),
    ] {
        let story = begin(60, plan(by.clone()));
        let view = story.until_over();
        assert_eq!(view.state, "succeeded", "{by}: {view:?}");
        let chosen = of(&story, &categories);
        assert!(!chosen.is_empty(), "{by}");
        let lines = story.results("why");
        assert_eq!(ids(&lines), chosen, "{by}");
        assert_eq!(
            view.usage.calls,
            12 + chosen.len().div_ceil(4) as u64 + 1,
            "{by}"
        );
        let report = story.report();
        assert_eq!(
            (report.coverage.covered, report.coverage.missing.len()),
            (60, 0)
        );
        assert_eq!(report.merged.stages["why"].results, chosen.len() as u64);
        // The results are the stage's own.
        for line in lines {
            let ResultLine::Item { output, .. } = line else {
                panic!("{line:?}")
            };
            assert_eq!(
                output.as_object().unwrap().keys().collect::<Vec<_>>(),
                ["cause"]
            );
        }
    }
}

#[test]
fn a_condition_that_chooses_nothing_ends_well_with_no_results() {
    let by = json!({"all": [{"field": "primary_category", "in": ["billing"]}, {"field": "primary_category", "in": ["bug"]}]});
    let story = begin(20, plan(by));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert!(story.results("why").is_empty());
    assert_eq!((view.usage.calls, story.report().coverage.covered), (5, 20));
}

#[test]
fn groups_are_made_of_what_is_chosen() {
    let mut stages = plan(json!({"field": "primary_category", "not_in": ["billing"]}));
    stages[1]["group_by"] = json!("primary_category");
    stages[1]["output"] = json!("chunk");
    stages[1].as_object_mut().unwrap().remove("chunk");
    let story = begin(60, stages);
    assert_eq!(story.until_over().state, "succeeded");
    let rest = of(&story, &["login", "bug", "shipping", "other"]);
    assert_eq!(ids(&story.results("why")), rest);
    assert_eq!(story.report().coverage.covered, 60);
}

/// A stage over what an amended result says now, and not what it said first.
#[test]
fn a_condition_is_about_results_as_follow_ups_have_amended_them() {
    let mut stages = plan(json!({"field": "act", "exists": true}));
    let closer = json!({"name": "closer", "kind": "map", "instructions": "Look closer.", "output": "item",
        "of": {"field": "primary_category", "in": ["bug"]}, "chunk": {"items": 3},
        "output_schema": {"type": "object", "properties": {"act": {"type": "boolean"}}, "required": ["act"],
            "additionalProperties": false}});
    stages.as_array_mut().unwrap().insert(1, closer);
    let story = begin(40, stages);
    assert_eq!(story.until_over().state, "succeeded");
    assert_eq!(ids(&story.results("why")), of(&story, &["bug"]));
}

#[test]
fn what_was_not_chosen_is_covered_even_where_the_job_ends_early() {
    let story = begin(
        60,
        plan(json!({"field": "primary_category", "in": ["billing"]})),
    );
    story.until_done(0, 12);
    story.cancel();
    assert_eq!(story.until_over().state, "cancelled");
    let chosen = of(&story, &["billing"]);
    let missing: BTreeSet<String> = story.missing().into_keys().collect();
    assert!(missing.is_subset(&chosen), "{missing:?}");
    assert_eq!(story.report().coverage.covered as usize, 60 - missing.len());
    story.retry(Limits::default());
    assert_eq!(story.until_over().state, "succeeded");
    assert_eq!(ids(&story.results("why")), chosen);
    assert!(story.missing().is_empty());
}
