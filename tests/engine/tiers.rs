//! Cascades: the cheap model first, a dearer one only for what it cannot do, is flagged, or says it is unsure of.

use fanwise::core::plan::spec::Limits;
use serde_json::{Value, json};

use crate::flows::texts;
use crate::stages::Story;

const HAIKU: &str = "claude-haiku-5-5";
const SONNET: &str = "claude-sonnet-5-5";

fn plan(models: Value) -> Value {
    json!([
        {"name": "read", "kind": "map", "instructions": "Say what it is about.", "chunk": {"items": 5}, "models": models,
         "output_schema": {"type": "object", "properties": {"kind": {"type": "string", "enum": ["billing", "shipping", "unsure"]}},
            "required": ["kind"], "additionalProperties": false},
         "merge": {"count_by": ["kind"]}},
        {"name": "report", "kind": "synthesis", "instructions": "Sum up."}
    ])
}

/// Twenty tickets; of four of them nobody can tell by their words what they are about.
fn tickets() -> Vec<String> {
    let told = [
        "I was charged twice, refund the invoice",
        "My parcel has not arrived, where is the delivery",
    ];
    (0..20)
        .map(|n| {
            if n % 5 == 2 {
                format!("Hello there, {n}")
            } else {
                format!("{} {n}", told[n % 2])
            }
        })
        .collect()
}

fn calls_of(story: &Story, model: &str) -> u64 {
    let sql = format!(
        "SELECT COUNT(*) AS n FROM attempts WHERE model = '{model}' AND role IN ('worker', 'repair')"
    );
    story.world.query(&sql)[0]["n"].as_u64().unwrap()
}

#[test]
fn what_the_cheap_model_is_unsure_of_goes_to_the_next_one_in_whole_chunks() {
    let body = json!({"stages": plan(json!(["haiku", "sonnet"]))});
    let story = Story::begin(json!({}), &[], &tickets(), body);
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    // Four chunks; the four items of four tasks in one chunk of the dearer model.
    assert_eq!((calls_of(&story, HAIKU), calls_of(&story, SONNET)), (4, 1));
    let report = story.report();
    assert_eq!(
        report.merged.count_by["kind"].get("unsure"),
        None,
        "{report:?}"
    );
    assert_eq!(
        (report.coverage.covered, report.coverage.flagged.len()),
        (20, 0)
    );
    let cascade = &report.cascades[0];
    let shares: Vec<(&str, u64, u64)> = cascade
        .models
        .iter()
        .map(|one| (one.model.as_str(), one.results, one.calls))
        .collect();
    assert_eq!(shares, [(HAIKU, 16, 4), (SONNET, 4, 1)]);
    assert!((cascade.models[1].share - 0.2).abs() < 1e-9);
    assert!(cascade.saved_usd > 0.0);
    // Priced, and drawn on the rate limits, as the model that was called.
    let rows = story.world.query("SELECT model, class, cost_nano, input_tokens, output_tokens FROM attempts WHERE role = 'worker'");
    for row in rows {
        let number = |name: &str| row[name].as_u64().unwrap();
        let (input, output) = if row["model"] == HAIKU {
            (100, 500)
        } else {
            (2_000, 10_000)
        };
        assert_eq!(
            number("cost_nano"),
            number("input_tokens") * input + number("output_tokens") * output
        );
        assert_eq!(
            row["class"] == "haiku-5-5",
            row["model"] == HAIKU,
            "{row:?}"
        );
    }
    assert_eq!(
        story.world.query("SELECT SUM(in_flight) AS n FROM classes")[0]["n"],
        0
    );
}

#[test]
fn the_same_again_costs_nothing() {
    let body = json!({"stages": plan(json!(["haiku", "sonnet"]))});
    let story = Story::begin(json!({}), &[], &tickets(), body.clone());
    let first = story.until_over();
    let again = story
        .world
        .submit(&story.app, crate::world::job(&tickets(), body))
        .job
        .id;
    let story = Story { id: again, ..story };
    let view = story.until_over();
    assert_eq!(
        (view.state.as_str(), view.usage.calls, view.cost.spent_usd),
        ("succeeded", 0, 0.0)
    );
    assert!((view.cost.saved_usd - first.cost.spent_usd).abs() < 1e-9);
}

#[test]
fn an_answer_that_fails_the_check_is_mended_once_and_then_goes_up_with_its_items_alone() {
    // The cheap model leaves an item of one chunk out, and has nothing to say when it is asked to mend that.
    let rules = json!({"rules": [
        {"match": {"role": "worker", "model": HAIKU}, "fault": "missing_id", "times": 1},
        {"match": {"role": "repair", "model": HAIKU}, "fault": "empty", "times": 1},
    ]});
    let body = json!({"stages": plan(json!(["haiku", "sonnet"])), "limits": {"redo_ratio": 0.0, "concurrency": 1}});
    let story = Story::begin(rules, &[], &tickets(), body);
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let dear = story
        .world
        .query("SELECT ids, role, idx FROM attempts WHERE model = 'claude-sonnet-5-5'");
    assert_eq!(dear.len(), 1, "{dear:?}");
    let ids: Vec<String> = serde_json::from_str(dear[0]["ids"].as_str().unwrap()).unwrap();
    assert_eq!(ids.len(), 1);
    // With no share named for it, nothing else was asked again: what is unsure is flagged, and counted.
    let report = story.report();
    assert!(
        report
            .coverage
            .flagged
            .iter()
            .all(|one| one.flag == "unsure")
    );
    let cascade = &report.cascades[0];
    assert_eq!(
        (cascade.models[0].results, cascade.models[1].results),
        (19, 1)
    );
}

#[test]
fn a_chunk_of_which_nothing_is_valid_goes_up_whole_under_the_dearer_reservation() {
    let rules = json!({"rules": [{"match": {"model": HAIKU}, "fault": "empty", "times": 2}]});
    let body = json!({"stages": plan(json!(["haiku", "sonnet"])), "limits": {"concurrency": 1, "redo_ratio": 0.0}});
    let story = Story::begin(rules, &[], &tickets()[..5], body);
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let rows = story
        .world
        .query("SELECT model, reserved_nano, form FROM attempts WHERE stage = 0 ORDER BY n");
    let models: Vec<&str> = rows
        .iter()
        .map(|row| row["model"].as_str().unwrap())
        .collect();
    assert_eq!(models, [HAIKU, HAIKU, SONNET]);
    let reserved = |n: usize| rows[n]["reserved_nano"].as_u64().unwrap();
    assert!(reserved(2) > reserved(0) * 10, "{rows:?}");
    assert_eq!(story.report().cascades[0].models[1].results, 5);
}

#[test]
fn a_budget_without_room_for_the_dear_model_keeps_the_cheap_answers() {
    let cheap = json!({"stages": plan(json!(["haiku", "sonnet"]))});
    let story = Story::begin(json!({}), &[], &tickets(), cheap.clone());
    let whole = story.until_over().cost.spent_usd;
    let mut tight = cheap;
    // Room for the cheap calls and the report, and not for one of the dear model's.
    tight["stages"][1]["max_tokens"] = json!(256);
    tight["stages"][1]["model"] = json!("haiku");
    tight["limits"] = json!({"max_cost_usd": 0.02});
    let story = Story::begin(json!({}), &[], &tickets(), tight);
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert!(view.cost.spent_usd <= 0.02 && whole > 0.0);
    assert_eq!(calls_of(&story, SONNET), 0);
    let report = story.report();
    assert_eq!(report.coverage.covered, 20);
    assert_eq!(report.coverage.flagged.len(), 4);
}

#[test]
fn three_models_are_asked_one_after_the_other() {
    let body = json!({"stages": plan(json!(["haiku", "sonnet", "opus"]))});
    let story = Story::begin(json!({}), &[], &tickets(), body);
    // As if the second were not sure either.
    let sql = format!(
        "SELECT COUNT(*) AS n FROM redone WHERE job = '{}' AND answered = 1",
        story.id
    );
    let world = story.world.clone();
    let spoil = "CREATE TRIGGER spoil AFTER UPDATE OF answered ON redone WHEN NEW.answered = 1 BEGIN
        UPDATE outputs SET body = json_replace(body, '$[2].output.kind', 'unsure') WHERE job = NEW.job AND idx = NEW.task; END";
    world.execute(spoil);
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(story.world.query(&sql)[0]["n"], 0);
    let models = &story.report().cascades[0].models;
    assert_eq!(
        (models[0].results, models[1].results, models[2].results),
        (16, 0, 4)
    );
    assert_eq!(story.report().merged.count_by["kind"].get("unsure"), None);
}

#[test]
fn a_cancel_and_a_retry_in_a_cascade_lose_nothing() {
    let body = json!({"stages": plan(json!(["haiku", "sonnet"])), "limits": {"concurrency": 1}});
    let story = Story::begin(json!({}), &[], &tickets(), body);
    story.until_done(0, 3);
    story.cancel();
    story.retry(Limits::default());
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let models = &story.report().cascades[0].models;
    assert_eq!((models[0].results, models[1].results), (16, 4));
}

#[test]
fn a_stage_without_a_cascade_takes_the_word_as_it_is() {
    let mut stages = plan(json!(["haiku"]));
    stages[0].as_object_mut().unwrap().remove("models");
    let story = Story::begin(json!({}), &[], &texts(5), json!({"stages": stages}));
    story.until_over();
    let report = story.report();
    assert!(report.cascades.is_empty());
    assert!(
        report
            .coverage
            .flagged
            .iter()
            .all(|one| one.flag != "unsure")
    );
}

#[test]
fn a_cascade_that_cannot_work_is_refused_with_the_place() {
    use fanwise::app::AppError;
    use fanwise::app::submit::submit;
    let story = Story::begin(
        json!({}),
        &[],
        &texts(1),
        json!({"stages": plan(json!(["haiku", "sonnet"]))}),
    );
    let refused = |models: Value, max_tokens: u32| -> Vec<(String, String)> {
        let mut stages = plan(models);
        stages[0]["max_tokens"] = json!(max_tokens);
        let (app, job) = (
            story.app.clone(),
            crate::world::job(&texts(1), json!({"stages": stages})),
        );
        match story
            .world
            .block_on(async move { submit(&app, crate::world::TENANT, job).await })
        {
            Err(AppError::Invalid(faults)) => faults,
            other => panic!("{other:?}"),
        }
    };
    let has = |faults: Vec<(String, String)>, path: &str, words: &str| {
        assert!(
            faults
                .iter()
                .any(|(at, said)| at == path && said.contains(words)),
            "{faults:?}"
        );
    };
    has(
        refused(json!(["haiku", "gpt"]), 100),
        "stages[0].models[1]",
        "unknown model `gpt`",
    );
    has(
        refused(json!(["sonnet", "haiku"]), 100),
        "stages[0].models[1]",
        "is cheaper than",
    );
    has(
        refused(json!(["haiku", "claude-haiku-5-5"]), 100),
        "stages[0].models[1]",
        "a second time",
    );
    has(
        refused(json!(["haiku", "claude-haiku-4-5"]), 100),
        "stages[0].models[1]",
        "might not fit",
    );
    has(
        refused(json!(["claude-haiku-4-5", "sonnet"]), 100_000),
        "stages[0].max_tokens",
        "at most 64000",
    );
}

#[test]
fn what_a_cancelled_run_had_asked_of_the_dear_model_takes_its_place_in_the_next() {
    let body = json!({"stages": plan(json!(["haiku", "sonnet"])), "limits": {"concurrency": 1}});
    let story = Story::begin(json!({}), &[], &tickets(), body);
    let sql = format!(
        "SELECT COUNT(*) AS n FROM tasks WHERE job = '{}' AND purpose = 'redo'",
        story.id
    );
    let world = story.world.clone();
    story.world.run(&story.app, 10_000, 600_000, move || {
        world.query(&sql)[0]["n"] == 1
    });
    story.cancel();
    story.retry(Limits::default());
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(calls_of(&story, SONNET), 1);
    let report = story.report();
    assert_eq!(report.cascades[0].models[1].results, 4);
    assert!(report.coverage.flagged.is_empty());
}
