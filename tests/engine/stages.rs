//! Map after map: the results of one stage are the items of the next, as they are or grouped; nothing is lost between
//! them, whatever ends a stage early.

use std::collections::{BTreeMap, BTreeSet};

use fanwise::app::App;
use fanwise::app::job::{commands, driver};
use fanwise::app::read::report;
use fanwise::app::results::pages;
use fanwise::app::view::{JobView, Report, ResultLine, job as view_job};
use fanwise::core::plan::spec::Limits;
use serde_json::{Value, json};

use crate::flows::{over, stages, texts};
use crate::world::{TENANT, World, job};

pub const MINUTE: i64 = 60_000;

/// A job in a world of its own.
pub struct Story {
    pub world: World,
    pub app: App<World>,
    pub id: String,
}

impl Story {
    /// `claude`: changes to the stand-in's configuration.
    pub fn begin(claude: Value, vars: &[(&str, &str)], texts: &[String], body: Value) -> Story {
        let config = standin::Config {
            latency_ms: 200,
            ..Default::default()
        };
        let world = World::new(7, config.with(&claude).unwrap());
        let app = world.app(vars);
        let id = world.submit(&app, job(texts, body)).job.id;
        Story { world, app, id }
    }

    /// Until the stage of that index has so many tasks done.
    pub fn until_done(&self, stage: u32, succeeded: i64) {
        let sql = format!(
            "SELECT succeeded FROM stages WHERE job = '{}' AND idx = {stage}",
            self.id
        );
        self.world.run(&self.app, 10_000, 60 * MINUTE, || {
            self.world.query(&sql)[0]["succeeded"].as_i64().unwrap() >= succeeded
        });
    }

    pub fn until_over(&self) -> JobView {
        self.world.run(&self.app, 10_000, 240 * MINUTE, || {
            over(&self.world, &self.id)
        });
        self.view()
    }

    pub fn view(&self) -> JobView {
        let (app, id) = (self.app.clone(), self.id.clone());
        self.world
            .block_on(async move { view_job::job(&app, TENANT, &id).await.unwrap() })
    }

    pub fn report(&self) -> Report {
        let (app, id) = (self.app.clone(), self.id.clone());
        self.world
            .block_on(async move { report::report(&app, TENANT, &id).await.unwrap() })
    }

    pub fn results(&self, stage: &'static str) -> Vec<ResultLine> {
        let (app, id) = (self.app.clone(), self.id.clone());
        self.world.block_on(async move {
            let of = pages::results_of(&app, TENANT, &id, Some(stage))
                .await
                .unwrap();
            let mut results = pages::Results::new(app.clone(), of);
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let (lines, next) = results.portion(after).await.unwrap();
                all.extend(lines);
                if next.is_none() {
                    return all;
                }
                after = next;
            }
        })
    }

    pub fn retry(&self, limits: Limits) -> JobView {
        let (app, id) = (self.app.clone(), self.id.clone());
        self.world
            .block_on(async move { commands::retry(&app, TENANT, &id, &limits).await.unwrap() })
    }

    pub fn cancel(&self) -> JobView {
        let (app, id) = (self.app.clone(), self.id.clone());
        self.world
            .block_on(async move { commands::cancel(&app, TENANT, &id).await.unwrap() })
    }

    /// What a test asks the stand-in about all its calls.
    pub fn stats(&self) -> Value {
        self.world.claude().stats().json(0, false)
    }

    /// The engine's own faults, if there were any.
    pub fn missing(&self) -> BTreeMap<String, String> {
        let missing = self.report().coverage.missing;
        let count = missing.len();
        let map: BTreeMap<String, String> = missing.into_iter().map(|m| (m.id, m.reason)).collect();
        assert_eq!(map.len(), count, "an item is missing twice");
        map
    }
}

/// Classify, then look at each result again, so many at a time, then a report.
pub fn two(chunk: u32) -> Value {
    let mut stages = stages(5);
    let rate = json!({"name": "rate", "kind": "map", "instructions": "Rate what was found.", "output": "item",
        "output_schema": {"type": "object", "properties": {"grade": {"type": "string", "enum": ["low", "high"]}},
            "required": ["grade"], "additionalProperties": false},
        "chunk": {"items": chunk}, "merge": {"count_by": ["grade"]}});
    stages.as_array_mut().unwrap().insert(1, rate);
    stages
}

/// Classify, then one task for each category, then a report.
fn grouped(output: &str) -> Value {
    let mut stages = stages(5);
    let dig = json!({"name": "dig", "kind": "map", "instructions": "Dig into this category.", "output": output,
        "group_by": "primary_category",
        "output_schema": {"type": "object", "properties": {"cause": {"type": "string"}},
            "required": ["cause"], "additionalProperties": false}});
    stages.as_array_mut().unwrap().insert(1, dig);
    stages
}

fn ids_of(line: &ResultLine) -> Vec<String> {
    match line {
        ResultLine::Item { id, .. } => vec![id.clone()],
        ResultLine::Chunk { ids, .. } => ids.clone(),
    }
}

pub fn all_ids(lines: &[ResultLine]) -> BTreeSet<String> {
    let list: Vec<String> = lines.iter().flat_map(ids_of).collect();
    let set: BTreeSet<String> = list.iter().cloned().collect();
    assert_eq!(list.len(), set.len(), "an id has two results");
    set
}

pub fn input_ids(n: usize) -> BTreeSet<String> {
    (1..=n).map(|n| format!("item-{n}")).collect()
}

#[test]
fn results_go_on_as_items_under_their_own_ids() {
    let story = Story::begin(json!({}), &[], &texts(103), json!({"stages": two(7)}));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(all_ids(&story.results("classify")), input_ids(103));
    assert_eq!(all_ids(&story.results("rate")), input_ids(103));
    // 21 chunks of five, 15 of seven, one report.
    assert_eq!(view.usage.calls, 21 + 15 + 1);
    assert_eq!(view.progress.items.covered, 103);
    let merged = story.report().merged;
    assert_eq!(merged.stages.len(), 2);
    assert_eq!(merged.count_by, merged.stages["rate"].count_by);
    let counted: u64 = merged.stages["classify"].count_by["primary_category"]
        .values()
        .sum();
    assert_eq!(counted, 103);
    // What the second stage read is what the first one said.
    let inputs = story
        .world
        .query("SELECT i.body FROM inputs i JOIN tasks t USING (job, idx) WHERE t.stage = 1");
    let items: Vec<Value> = inputs
        .iter()
        .flat_map(|row| serde_json::from_str::<Vec<Value>>(row["body"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(items.len(), 103);
    assert!(items.iter().all(|item| item["primary_category"].is_string()
        && item["id"].is_string()
        && item.as_object().unwrap().len() == 2));
}

#[test]
fn one_task_has_one_group_and_speaks_for_all_of_it() {
    let story = Story::begin(
        json!({}),
        &[],
        &texts(60),
        json!({"stages": grouped("chunk")}),
    );
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let counted = &story.report().merged.stages["classify"].count_by["primary_category"];
    let lines = story.results("dig");
    let sizes: BTreeMap<String, u64> = lines
        .iter()
        .map(|line| match line {
            ResultLine::Chunk { group, ids, .. } => (group.clone().unwrap(), ids.len() as u64),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(&sizes, counted);
    assert!(sizes.len() >= 4, "{sizes:?}");
    assert_eq!(all_ids(&lines), input_ids(60));
    assert_eq!(view.usage.calls, 12 + sizes.len() as u64 + 1);
    assert_eq!(view.progress.items.covered, 60);
    assert!(story.world.query("SELECT * FROM bundles").is_empty());
}

#[test]
fn a_group_that_fails_leaves_out_every_item_behind_it_through_later_stages() {
    let mut plan = grouped("chunk");
    plan.as_array_mut().unwrap().insert(
        2,
        json!({"name": "weigh", "kind": "map", "instructions": "Weigh the causes.", "output": "item", "chunk": {"items": 1}}),
    );
    // The label of the group is the item's id in the third stage; its call never succeeds.
    let rules = json!({"rules": [{"match": {"text": "Weigh the causes", "item_id": "billing#1"}, "fault": "empty"}]});
    let limits = json!({"max_attempts": 2});
    let story = Story::begin(
        rules,
        &[],
        &texts(40),
        json!({"stages": plan, "limits": limits}),
    );
    let view = story.until_over();
    assert_eq!(view.state, "partial");
    let billing: BTreeSet<String> = story
        .results("classify")
        .iter()
        .filter_map(|line| match line {
            ResultLine::Item { id, output, .. } => {
                (output["primary_category"] == "billing").then(|| id.clone())
            }
            ResultLine::Chunk { .. } => None,
        })
        .collect();
    let missing: BTreeSet<String> = story.missing().into_keys().collect();
    assert!(!billing.is_empty());
    assert_eq!(missing, billing);
    assert_eq!(
        view.progress.items.covered as usize,
        40 - billing.len(),
        "the job says what its report says"
    );
    // It can still be had, and nothing else is asked again.
    story.world.claude().configure(standin::Config::default());
    let before = view.usage.calls;
    story.retry(Limits::default());
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    assert_eq!(view.usage.calls, before + 2);
}

#[test]
fn a_group_larger_than_the_context_is_read_in_parts() {
    let models = r#"{"models": {"claude-haiku-5-5": {"context_tokens": 9000}}}"#;
    let long: Vec<String> = texts(80)
        .into_iter()
        .map(|text| {
            format!(
                "{text}. {}",
                "It went on for days and nobody answered. ".repeat(4)
            )
        })
        .collect();
    let mut plan = grouped("chunk");
    plan[0]["output_schema"]["properties"]["quote"] = json!({"type": "string"});
    plan[0]["output_schema"]["required"] = json!(["primary_category", "quote"]);
    plan[1]["max_tokens"] = json!(500);
    let vars = [("MODELS_JSON", models)];
    let story = Story::begin(json!({}), &vars, &long, json!({"stages": plan}));
    story.until_over();
    let lines = story.results("dig");
    assert_eq!(all_ids(&lines), input_ids(80));
    let groups: BTreeSet<Option<String>> = lines
        .iter()
        .map(|line| match line {
            ResultLine::Chunk { group, .. } => group.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    let largest = story.world.query(
        "SELECT MAX(length(body)) AS bytes FROM inputs i JOIN tasks t USING (job, idx) WHERE t.stage = 1",
    )[0]["bytes"]
        .as_i64()
        .unwrap();
    assert!(largest <= 18_000, "{largest}");
    assert!(groups.len() < lines.len() || largest < 9_000, "{groups:?}");
}

#[test]
fn a_first_stage_may_group_the_input_itself() {
    let plan = json!([
        {"name": "each", "kind": "map", "instructions": "Compare.", "output": "chunk", "group_by": "text"},
    ]);
    let texts: Vec<String> = (0..30).map(|n| format!("kind {}", n % 3)).collect();
    let story = Story::begin(json!({}), &[], &texts, json!({"stages": plan}));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    let lines = story.results("each");
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| ids_of(line).len() == 10));
    assert_eq!(all_ids(&lines), input_ids(30));
}

#[test]
fn a_retry_takes_only_what_is_new_and_pays_for_nothing_twice() {
    for plan in [two(7), grouped("item"), grouped("chunk")] {
        let rules = json!({"rules": [{"match": {"text": "(case 7)"}, "fault": "empty"}]});
        // Without the ledger: what is known must be known from the tasks themselves.
        let body = json!({"stages": plan, "limits": {"max_attempts": 2}, "reuse": false});
        let story = Story::begin(rules, &[], &texts(30), body);
        let view = story.until_over();
        assert_eq!(view.state, "partial");
        let missing = story.missing();
        assert_eq!(missing.keys().collect::<Vec<_>>(), ["item-8"]);
        let before = view.usage.calls;
        story.world.claude().configure(standin::Config::default());
        story.retry(Limits::default());
        let view = story.until_over();
        assert_eq!((view.state.as_str(), view.run), ("succeeded", 2));
        // The item in the first stage, its result in the second, the report.
        assert_eq!(view.usage.calls, before + 3);
        let second = ["rate", "dig"]
            .into_iter()
            .find(|name| story.report().merged.stages.contains_key(*name));
        assert_eq!(all_ids(&story.results(second.unwrap())), input_ids(30));
        assert_eq!(
            story.stats()["paid_twice"]["bodies"].as_u64().unwrap_or(0),
            0
        );
    }
}

#[test]
fn a_cancel_in_the_second_stage_gives_every_item_its_fate_and_a_retry_does_the_rest() {
    for plan in [two(1), grouped("chunk")] {
        let limits = json!({"concurrency": 2});
        let story = Story::begin(
            json!({}),
            &[],
            &texts(40),
            json!({"stages": plan, "limits": limits}),
        );
        story.until_done(1, 2);
        let view = story.cancel();
        assert_eq!(view.state, "cancelled");
        let missing = story.missing();
        let covered = story.report().coverage.covered as usize;
        assert!(covered > 0 && !missing.is_empty());
        assert_eq!(missing.len() + covered, 40);
        assert!(
            missing
                .values()
                .all(|why| why == "cancelled" || why == "not_started")
        );
        story.retry(Limits::default());
        let view = story.until_over();
        assert_eq!(view.state, "succeeded", "{view:?} {:?}", story.missing());
        assert_eq!(view.progress.items.covered, 40);
    }
}

#[test]
fn a_deadline_in_the_second_stage_ends_with_what_is_there() {
    let rules = json!({"rules": [{"match": {"text": "Rate what was found"}, "fault": "slow", "ms": 30_000}]});
    let limits = json!({"deadline_seconds": 100, "concurrency": 5});
    let story = Story::begin(
        rules,
        &[],
        &texts(60),
        json!({"stages": two(1), "limits": limits}),
    );
    let view = story.until_over();
    assert_eq!(view.state, "partial", "{view:?}");
    let missing = story.missing();
    assert!(
        missing
            .values()
            .all(|why| why == "deadline" || why == "not_started")
    );
    assert_eq!(missing.len() as u64 + view.progress.items.covered, 60);
    // The first stage is whole.
    assert_eq!(all_ids(&story.results("classify")), input_ids(60));
}

#[test]
fn a_budget_that_ends_in_the_second_stage_ends_partial_and_goes_on_when_it_is_raised() {
    let mut plan = two(1);
    plan[1]["model"] = json!("sonnet");
    let limits = json!({"max_cost_usd": 0.09, "concurrency": 2});
    let story = Story::begin(
        json!({}),
        &[],
        &texts(60),
        json!({"stages": plan, "limits": limits}),
    );
    let view = story.until_over();
    assert_eq!(view.state, "partial", "{view:?}");
    assert!(view.cost.spent_usd <= 0.09);
    let missing = story.missing();
    assert!(!missing.is_empty() && missing.len() < 60);
    assert!(
        missing
            .values()
            .all(|why| why == "budget" || why == "not_started"),
        "{missing:?}"
    );
    let limits = Limits {
        max_cost_usd: Some(100.0),
        ..Limits::default()
    };
    let before = view.usage.calls;
    story.retry(limits);
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    assert_eq!(view.usage.calls - before, missing.len() as u64 + 1);
}

#[test]
fn a_message_lost_or_doubled_between_stages_changes_nothing() {
    let story = Story::begin(
        json!({}),
        &[],
        &texts(50),
        json!({"stages": grouped("chunk")}),
    );
    story.until_done(0, 10);
    assert!(story.world.forget_messages() < 100);
    // Several at once, each of which would expand the second stage by itself.
    for _ in 0..4 {
        let (app, id) = (story.app.clone(), story.id.clone());
        story.world.block_on(async move {
            let drives = (0..3).map(|_| driver::drive(&app, &id));
            for ended in futures::future::join_all(drives).await {
                ended.unwrap();
            }
        });
    }
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    let lines = story.results("dig");
    assert_eq!(all_ids(&lines), input_ids(50));
    assert_eq!(view.usage.calls, 10 + lines.len() as u64 + 1);
}

#[test]
fn a_report_names_what_it_rests_on_and_ids_that_do_not_exist_are_flagged() {
    let mut plan = stages(5);
    plan[0]["output_schema"]["properties"]["quote"] = json!({"type": "string"});
    plan[0]["output_schema"]["required"] = json!(["primary_category", "quote"]);
    plan[1]["citations"] = json!(true);
    // The stand-in quotes what it read: the brackets reach the report as if the model had made the id up.
    let mut texts = texts(12);
    texts[0] = "See [[T-999]] and [[item-3]]".to_owned();
    let story = Story::begin(json!({}), &[], &texts, json!({"stages": plan}));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let report = story.report();
    let text = report.synthesis.as_str().unwrap();
    assert!(
        text.contains("[[item-1]]") && text.contains("[[T-999]]"),
        "{text}"
    );
    let flagged: Vec<(&str, &str)> = report
        .coverage
        .flagged
        .iter()
        .map(|one| (one.id.as_str(), one.flag.as_str()))
        .collect();
    assert_eq!(flagged, [("T-999", "unknown_citation")]);
    assert_eq!(report.coverage.covered, 12);
}

/// The system prompts of all calls in that role.
fn told(story: &Story, role: &str) -> Vec<String> {
    let calls = story.world.claude().stats().calls(100, true);
    let calls = calls.as_array().unwrap().iter();
    let calls = calls.filter(|call| call["role"] == role);
    calls
        .map(|call| call["body"]["system"].to_string())
        .collect()
}

#[test]
fn workers_read_the_task_where_it_is_named_and_where_there_is_nothing_else() {
    let mut plan = stages(30);
    plan[0].as_object_mut().unwrap().remove("instructions");
    plan[0]["verify"] = json!({"sample": 1.0});
    let second = json!({"name": "why", "kind": "map", "instructions": "We want this: {{task}}. Say why.",
        "chunk": {"items": 30}});
    plan.as_array_mut().unwrap().insert(1, second);
    let task = "Find the recurring issues in these support tickets";
    let story = Story::begin(json!({}), &[], &texts(20), json!({"stages": plan}));
    assert_eq!(story.until_over().state, "succeeded");
    let workers = told(&story, "worker");
    assert_eq!(workers.len(), 2);
    assert!(
        workers
            .iter()
            .any(|told| told.contains(&format!("# Your work\\n\\n{task}\\n")))
    );
    assert!(
        workers
            .iter()
            .any(|told| told.contains(&format!("We want this: {task}. Say why.")))
    );
    let judges = told(&story, "verify");
    assert!(!judges.is_empty() && judges.iter().all(|told| told.contains(task)));
    // A caller reads the plan as it was written, and may give it to a job with another task.
    let app = story.app.clone();
    let id = story.id.clone();
    let plan = story.world.block_on(async move {
        fanwise::app::planning::commands::plan(&app, TENANT, &id)
            .await
            .unwrap()
    });
    assert_eq!(plan.stages[0].instructions, "");
    assert!(plan.stages[1].instructions.contains("{{task}}"));
}
