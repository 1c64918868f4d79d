//! A synthesis of any size: results that do not fit are brought down by a tree of readers, with its own fan-in, within the
//! budget, and through whatever ends a level early.

use std::collections::BTreeSet;

use fanwise::app::job::{commands, driver};
use fanwise::core::plan::spec::Limits;
use serde_json::{Value, json};

use crate::flows::{stages, texts};
use crate::stages::Story;
use crate::world::TENANT;

/// Contexts so small that a few hundred results need several levels.
const SMALL: (&str, &str) = (
    "MODELS_JSON",
    r#"{"models": {"claude-opus-5-5": {"context_tokens": 16700}, "claude-haiku-5-5": {"context_tokens": 9000}}}"#,
);

fn begin(claude: Value, items: usize, limits: Value) -> Story {
    let mut plan = stages(10);
    plan[0]["max_tokens"] = json!(1_000);
    Story::begin(
        claude,
        &[SMALL],
        &texts(items),
        json!({"stages": plan, "limits": limits}),
    )
}

/// Tasks of the tree by level: how many, and how many of them succeeded.
fn levels(story: &Story) -> Vec<(i64, i64, i64)> {
    let sql = format!(
        "SELECT level, COUNT(*) AS tasks, SUM(state = 'succeeded') AS done FROM tasks
         WHERE job = '{}' AND purpose = 'reduce' GROUP BY level ORDER BY level",
        story.id
    );
    let rows = story.world.query(&sql);
    let of = |row: &serde_json::Map<String, Value>, name: &str| row[name].as_i64().unwrap();
    rows.iter()
        .map(|row| (of(row, "level"), of(row, "tasks"), of(row, "done")))
        .collect()
}

/// What readers and the synthesis were shown.
fn shown(story: &Story, role: &str) -> Vec<Value> {
    let calls = story.world.claude().stats().calls(10_000, true);
    let mut all = Vec::new();
    for call in calls.as_array().unwrap() {
        if call["role"] != role || call["status"] != 200 {
            continue;
        }
        let text = call["body"]["messages"][0]["content"][0]["text"]
            .as_str()
            .unwrap();
        let inside = text
            .split_once("<results>\n")
            .and_then(|(_, rest)| rest.split_once("\n</results>"))
            .unwrap()
            .0;
        all.push(serde_json::from_str(inside).unwrap());
    }
    all
}

fn ids(results: &Value) -> BTreeSet<String> {
    let list = results["results"].as_array().unwrap();
    list.iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_result_is_read_once_and_the_counts_are_exact() {
    let story = begin(json!({}), 400, json!({}));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let levels = levels(&story);
    assert!(levels.len() >= 2, "{levels:?}");
    assert!(levels.iter().all(|(_, tasks, done)| tasks == done));
    // The first level has read each result once, in parts that fit.
    let mut read = Vec::new();
    for part in shown(&story, "reduce") {
        if part["results"][0]["output"].get("findings").is_none() {
            read.extend(ids(&part));
        }
    }
    assert_eq!(read.len(), 400);
    assert_eq!(read.iter().collect::<BTreeSet<_>>().len(), 400);
    let report = story.report();
    assert_eq!(report.coverage.note, None);
    let counted: u64 = report.merged.count_by["primary_category"].values().sum();
    assert_eq!(counted, 400);
    // The synthesis was told the counts of the merge, and read findings.
    let [told] = shown(&story, "synthesis").try_into().unwrap();
    assert_eq!(told["count_by"], json!(report.merged.count_by));
    assert_eq!(told["total"], 400);
    assert!(told["results"][0]["output"]["findings"].is_array());
    assert_eq!(
        view.usage.calls as i64,
        40 + levels.iter().map(|l| l.1).sum::<i64>() + 1
    );
    // Readers are listed with the synthesis' stage, and are no part of the progress of the maps.
    assert_eq!(view.progress.tasks.total, 40);
}

#[test]
fn twenty_thousand_results_by_tree() {
    let models = r#"{"models": {"claude-opus-5-5": {"context_tokens": 100000}}}"#;
    let vars = [("MODELS_JSON", models), ("WORKER_SLOTS", "200")];
    let limits = json!({"concurrency": 200});
    let body = json!({"stages": stages(200), "limits": limits});
    let story = Story::begin(json!({}), &vars, &texts(20_000), body);
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let levels = levels(&story);
    assert!(levels[0].1 >= 5, "{levels:?}");
    let report = story.report();
    let counted: u64 = report.merged.count_by["primary_category"].values().sum();
    assert_eq!((counted, report.coverage.note), (20_000, None));
}

#[test]
fn a_level_that_is_struck_by_faults_comes_through() {
    let faults = json!({"faults": {"429": 0.05, "500": 0.05, "malformed": 0.1, "cut": 0.05, "truncate": 0.05}, "seed": 5});
    let story = begin(faults, 300, json!({"max_attempts": 10}));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(story.report().coverage.note, None);
}

#[test]
fn what_a_reader_gives_up_is_said() {
    // One result that no reader gets through with.
    let rules =
        json!({"rules": [{"match": {"role": "reduce", "item_id": "item-7"}, "fault": "refusal"}]});
    let story = begin(rules, 300, json!({"max_attempts": 3}));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let note = story.report().coverage.note.unwrap();
    assert!(note.starts_with("1 results could not be read"), "{note}");
    assert_eq!(story.report().coverage.covered, 300);
}

#[test]
fn a_cancel_in_a_level_and_a_retry_pay_for_no_part_twice() {
    let story = begin(json!({}), 400, json!({"concurrency": 2}));
    story.until_done(1, 3);
    let view = story.cancel();
    assert_eq!(view.state, "cancelled");
    let before = levels(&story);
    assert!(before[0].2 >= 3 && before[0].2 < before[0].1, "{before:?}");
    story.retry(Limits::default());
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    let stats = story.stats();
    assert_eq!(stats["paid_twice"].as_u64().unwrap_or(0), 0, "{stats}");
    let counted: u64 = story.report().merged.count_by["primary_category"]
        .values()
        .sum();
    assert_eq!(counted, 400);
}

#[test]
fn a_pause_in_a_level_holds_all_calls() {
    let story = begin(json!({}), 400, json!({"concurrency": 2}));
    story.until_done(1, 2);
    let (app, id) = (story.app.clone(), story.id.clone());
    story
        .world
        .block_on(async move { commands::pause(&app, TENANT, &id).await.unwrap() });
    let until = story.world.now() + 180_000;
    let world = story.world.clone();
    story
        .world
        .run(&story.app, 10_000, 600_000, move || world.now() > until);
    let calls = story.view().usage.calls;
    let (app, id) = (story.app.clone(), story.id.clone());
    story
        .world
        .block_on(async move { commands::resume(&app, TENANT, &id).await.unwrap() });
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    assert!(view.usage.calls > calls);
}

#[test]
fn a_deadline_in_a_level_ends_the_job() {
    let rules = json!({"rules": [{"match": {"role": "reduce"}, "fault": "500"}]});
    let limits = json!({"deadline_seconds": 60, "max_attempts": 20});
    let story = begin(rules, 300, limits);
    let view = story.until_over();
    assert_eq!(view.state, "failed");
    let open = story
        .world
        .query("SELECT COUNT(*) AS n FROM tasks WHERE state IN ('pending', 'queued', 'running')");
    assert_eq!(open[0]["n"], 0);
    // What the workers found is there, and a retry writes the report.
    assert_eq!(story.report().coverage.covered, 300);
    story.world.claude().configure(standin::Config::default());
    let limits = Limits {
        deadline_seconds: Some(3_600),
        ..Limits::default()
    };
    story.retry(limits);
    assert_eq!(story.until_over().state, "succeeded");
}

#[test]
fn a_message_lost_or_doubled_between_levels_changes_nothing() {
    let story = begin(json!({}), 400, json!({"concurrency": 4}));
    let first = format!(
        "SELECT level FROM stages WHERE job = '{}' AND idx = 1",
        story.id
    );
    let world = story.world.clone();
    story.world.run(&story.app, 10_000, 6_000_000, move || {
        world.query(&first)[0]["level"] == 1
    });
    for _ in 0..20 {
        story.world.forget_messages();
        let (app, id) = (story.app.clone(), story.id.clone());
        story.world.block_on(async move {
            let drives = (0..3).map(|_| driver::drive(&app, &id));
            for ended in futures::future::join_all(drives).await {
                ended.unwrap();
            }
        });
        let until = story.world.now() + 3_000;
        let world = story.world.clone();
        story
            .world
            .run(&story.app, 10_000, 600_000, move || world.now() > until);
    }
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    let tree: i64 = levels(&story).iter().map(|level| level.1).sum();
    assert_eq!(view.usage.calls as i64, 40 + tree + 1);
}

#[test]
fn the_cap_holds_through_the_tree_and_a_sample_stands_in_where_it_does_not_allow_one() {
    for (cap, by_tree) in [(0.60, true), (0.16, false)] {
        let story = begin(
            json!({}),
            400,
            json!({"max_cost_usd": cap, "concurrency": 5}),
        );
        let view = story.until_over();
        assert!(view.cost.spent_usd <= cap, "{:?}", view.cost);
        assert_eq!(view.state, "succeeded", "{cap}: {view:?}");
        assert_eq!(!levels(&story).is_empty(), by_tree, "{cap}");
        let note = story.report().coverage.note;
        assert_eq!(note.is_none(), by_tree, "{note:?}");
        let counted: u64 = story.report().merged.count_by["primary_category"]
            .values()
            .sum();
        assert_eq!(counted, 400);
    }
}
