//! Dynamic jobs: the orchestrator's plans, good and bad, and what is added to them.

use fanwise::app::job::commands;
use fanwise::app::planning::commands as planning_commands;
use fanwise::app::read::{jobs, overview, report};
use fanwise::app::view::TaskView;
use fanwise::core::plan::spec::{Limits, Mode, Stage};
use serde_json::{Value, json};

use crate::flows::texts;
use crate::plans::{Story, assert_expected, assert_within, claude};
use crate::world::{TENANT, World, job};

/// A fault for the orchestrator's next calls.
fn rules(fault: &str, times: u32) -> Value {
    json!({"rules": [{"match": {"role": "orchestrator"}, "fault": fault, "times": times}]})
}

/// No rounds of re-planning, so that only the plan itself is looked at.
fn once(more: Value) -> Value {
    let mut body = json!({"limits": {"max_rounds": 0}});
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    body
}

fn names(story: &Story) -> Vec<String> {
    let stages = story.plan().stages;
    stages.into_iter().map(|stage| stage.name).collect()
}

/// The tasks of the planning stage.
fn questions(story: &Story) -> Vec<TaskView> {
    let (app, id) = (story.app.clone(), story.id.clone());
    let listed = story.world.block_on(async move {
        let like = jobs::TasksLike {
            stage: Some("plan"),
            ..Default::default()
        };
        jobs::tasks(&app, TENANT, &id, like, None, 50)
            .await
            .unwrap()
    });
    listed.0
}

fn request_of(story: &Story, index: u32) -> Value {
    let (app, id) = (story.app.clone(), story.id.clone());
    let task = story
        .world
        .block_on(async move { jobs::task(&app, TENANT, &id, index).await.unwrap() });
    assert_eq!(task.attempts.last().unwrap().role, "orchestrator");
    task.attempts.last().unwrap().request.clone()
}

#[test]
fn a_plan_is_made_and_carried_out() {
    let story = Story::begin(claude(json!({})), &texts(120), once(json!({})));
    assert!(story.plan().stages.is_empty() && story.plan().source.is_none());
    let view = story.until_over();
    assert_eq!(
        (view.state.as_str(), view.mode.as_str()),
        ("succeeded", "dynamic")
    );
    // 25 tickets a chunk; planning is no part of the progress.
    assert_eq!((view.progress.tasks.total, view.usage.calls), (5, 7));
    let plan = story.plan();
    assert_eq!(plan.source.as_deref(), Some("orchestrator"));
    assert_eq!(names(&story), ["classify", "report"]);
    assert!(plan.rationale.unwrap().contains("support tickets"));
    assert_eq!((plan.rounds.len(), plan.rounds[0].faults.len()), (1, 0));
    assert_expected(&story);
    let (app, id) = (story.app.clone(), story.id.clone());
    let report = story
        .world
        .block_on(async move { report::report(&app, TENANT, &id).await.unwrap() });
    assert_eq!(report.coverage.covered, 120);
    assert!(report.merged.count_by.contains_key("primary_category"));
    let request = request_of(&story, 0);
    let asked = request["messages"][0]["content"][0]["text"]
        .as_str()
        .unwrap();
    assert!(asked.contains("support tickets") && asked.contains("\"items\":120"));
    assert!(!asked.contains(&story.id));
}

#[test]
fn a_bad_plan_is_corrected_once_with_its_faults() {
    let story = Story::begin(claude(rules("bad_plan", 1)), &texts(60), once(json!({})));
    assert_eq!(story.until_over().state, "succeeded");
    let plan = story.plan();
    assert_eq!(plan.source.as_deref(), Some("orchestrator"));
    let faults = plan.rounds[0].faults.join("\n");
    assert!(
        faults.contains("no_such_field") && faults.contains("at most 200"),
        "{faults}"
    );
    let questions = questions(&story);
    assert_eq!(questions.len(), 2);
    let correction = request_of(&story, questions[1].index);
    let turns = correction["messages"].as_array().unwrap();
    assert_eq!(turns.len(), 3);
    assert!(turns[2].to_string().contains("no_such_field"));
}

#[test]
fn where_no_sound_plan_comes_a_plain_one_stands_in_and_says_so() {
    let story = Story::begin(claude(rules("bad_plan", 2)), &texts(60), json!({}));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    let plan = story.plan();
    assert_eq!(plan.source.as_deref(), Some("default"));
    assert!(plan.rationale.unwrap().contains("could not be used"));
    // Those of both answers.
    let faults = plan.rounds[0].faults.join("\n");
    assert_eq!(faults.matches("no_such_field").count(), 2, "{faults}");
    assert_eq!(names(&story), ["read", "report"]);
    // It is not thought over either.
    assert_eq!((plan.rounds.len(), questions(&story).len()), (1, 2));
}

#[test]
fn a_caller_may_forbid_the_plain_plan_and_try_again() {
    let body = once(json!({"planning": {"fallback": false}}));
    let story = Story::begin(claude(rules("bad_plan", 2)), &texts(60), body);
    let view = story.until_over();
    assert_eq!(view.state, "failed");
    let error = view.error.unwrap();
    assert_eq!(error.code, "planning_failed");
    assert!(error.message.contains("no_such_field"), "{}", error.message);
    assert!(story.plan().stages.is_empty());
    // Nothing was read, and the report does not pretend otherwise.
    let coverage = story.report().coverage;
    assert_eq!((coverage.covered, coverage.missing.len()), (0, 60));
    assert!(
        coverage
            .missing
            .iter()
            .all(|item| item.reason == "not_started")
    );
    let (app, id) = (story.app.clone(), story.id.clone());
    story.world.block_on(async move {
        commands::retry(&app, TENANT, &id, &Limits::default())
            .await
            .unwrap();
    });
    // The bad answers are not used again.
    assert_eq!(story.until_over().state, "succeeded");
    assert_eq!(questions(&story).len(), 3);
}

#[test]
fn an_answer_in_the_wrong_form_is_repaired_like_any_other() {
    for fault in ["schema_miss", "malformed", "truncate", "500", "cut"] {
        let story = Story::begin(claude(rules(fault, 1)), &texts(30), once(json!({})));
        assert_eq!(story.until_over().state, "succeeded", "{fault}");
        assert_eq!(
            story.plan().source.as_deref(),
            Some("orchestrator"),
            "{fault}"
        );
        assert_eq!(
            (questions(&story).len(), questions(&story)[0].attempts),
            (1, 2),
            "{fault}"
        );
    }
}

#[test]
fn a_refused_plan_is_no_plan() {
    let story = Story::begin(claude(rules("refusal", 9)), &texts(30), once(json!({})));
    assert_eq!(story.until_over().state, "succeeded");
    assert_eq!(story.plan().source.as_deref(), Some("default"));
}

#[test]
fn a_plan_over_budget_is_sent_back() {
    let mut body = once(json!({}));
    body["limits"]["max_cost_usd"] = json!(1.5);
    let story = Story::begin(claude(rules("dear_plan", 1)), &texts(300), body);
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert!(view.cost.spent_usd <= 1.5);
    let plan = story.plan();
    assert_eq!(plan.source.as_deref(), Some("orchestrator"));
    assert!(
        plan.rounds[0].faults[0].contains("dollars"),
        "{:?}",
        plan.rounds[0].faults
    );
    assert_eq!(plan.stages[0].model.as_deref(), Some("claude-haiku-5-5"));
}

#[test]
fn a_budget_that_does_not_pay_for_planning_gets_the_plain_plan() {
    let mut body = once(json!({}));
    body["limits"]["max_cost_usd"] = json!(0.05);
    let story = Story::begin(claude(json!({})), &texts(20), body);
    let view = story.until_over();
    assert!(["partial", "succeeded", "failed"].contains(&view.state.as_str()));
    assert!(view.cost.spent_usd <= 0.05);
    let plan = story.plan();
    assert_eq!(plan.source.as_deref(), Some("default"));
    assert!(
        plan.rounds[0].faults[0].contains("max_cost_usd"),
        "{:?}",
        plan.rounds[0].faults
    );
}

#[test]
fn a_planned_job_waits_for_approval_and_its_plan_can_be_replaced() {
    let story = Story::begin(
        claude(json!({})),
        &texts(60),
        once(json!({"approval": true})),
    );
    story.until(|state| state == "awaiting_approval");
    let made = story.plan();
    assert_eq!(made.source.as_deref(), Some("orchestrator"));
    let mut stages = serde_json::to_value(&made.stages).unwrap();
    stages[0]["chunk"] = json!({"items": 10});
    let (app, id) = (story.app.clone(), story.id.clone());
    let replaced = story.world.block_on(async move {
        let stages: Vec<Stage> = serde_json::from_value(stages).unwrap();
        let mut reserved = stages.clone();
        reserved[0].name = "plan".into();
        assert!(
            planning_commands::replace(&app, TENANT, &id, &reserved)
                .await
                .is_err()
        );
        planning_commands::replace(&app, TENANT, &id, &stages)
            .await
            .unwrap()
    });
    assert_eq!(replaced.source.as_deref(), Some("caller"));
    story.approve().unwrap();
    let view = story.until_over();
    assert_eq!(
        (view.state.as_str(), view.progress.tasks.total),
        ("succeeded", 6)
    );
}

/// Nobody approves what is added later.
#[test]
fn an_approved_plan_without_a_cap_is_not_added_to() {
    for (limits, rounds) in [(json!({}), 1), (json!({"max_cost_usd": 50}), 2)] {
        let world = World::new(11, claude(json!({})));
        let app = world.app(&[("PLANS_WITHOUT_CAP", "false")]);
        let body = json!({"approval": true, "limits": limits});
        let id = world.submit(&app, job(&texts(30), body)).job.id;
        let story = Story { world, app, id };
        story.until(|state| state == "awaiting_approval");
        story.approve().unwrap();
        assert_eq!(story.until_over().state, "succeeded");
        assert_eq!(story.plan().rounds.len(), rounds, "{limits}");
    }
}

#[test]
fn an_estimate_of_a_dynamic_job_calls_nobody() {
    let world = World::new(3, claude(json!({})));
    let app = world.app(&[]);
    let estimate = world.block_on(async move {
        planning_commands::estimate(&app, crate::world::TENANT, job(&texts(300), json!({})))
            .await
            .unwrap()
    });
    assert_eq!(estimate.mode, Mode::Dynamic);
    let stages: Vec<&str> = estimate
        .expected
        .stages
        .iter()
        .map(|s| s.stage.as_str())
        .collect();
    assert_eq!(stages, ["plan", "read", "report"]);
    assert!(estimate.expected.cost_usd.high > estimate.expected.cost_usd.low);
    assert_eq!(world.claude().stats().json(0, false)["calls"]["total"], 0);
}

#[test]
fn a_plan_is_thought_over_and_rounds_are_bounded() {
    for most in [0_u32, 1, 2] {
        let body = json!({"limits": {"max_rounds": most}});
        let story = Story::begin(claude(rules("more_stages", 99)), &texts(60), body);
        let view = story.until_over();
        assert_eq!(view.state, "succeeded", "{view:?}");
        let plan = story.plan();
        assert_eq!(plan.rounds.len() as u32, most + 1);
        assert_eq!(questions(&story).len() as u32, most + 1);
        // The fault gives the plan a stage more too.
        assert_eq!(plan.stages.len() as u32, 3 + most);
        assert_eq!(plan.stages.last().unwrap().name, "report");
        // Who looks at the job sees the same order, with the planning before it.
        let mut order = vec!["plan".to_owned()];
        order.extend(names(&story));
        let (app, id) = (story.app.clone(), story.id.clone());
        let states = story
            .world
            .block_on(async move { overview::states(&app, TENANT, &id).await.unwrap() });
        let seen: Vec<String> = states.stages.into_iter().map(|one| one.stage).collect();
        assert_eq!(seen, order);
        for round in &plan.rounds[1..] {
            assert_eq!(round.stages.len(), 1);
            assert!(round.stages[0].starts_with("closer_"));
            assert!(!round.rationale.as_ref().unwrap().is_empty());
            assert!(round.expected.as_ref().unwrap().cost_usd.high > 0.0);
        }
    }
}

#[test]
fn when_it_is_content_the_work_goes_on() {
    let story = Story::begin(
        claude(json!({})),
        &texts(60),
        json!({"limits": {"max_rounds": 5}}),
    );
    assert_eq!(story.until_over().state, "succeeded");
    let plan = story.plan();
    assert_eq!(plan.rounds.len(), 2);
    assert!(plan.rounds[1].stages.is_empty());
    assert!(
        plan.rounds[1]
            .rationale
            .as_ref()
            .unwrap()
            .contains("enough")
    );
    let again = request_of(&story, questions(&story)[1].index).to_string();
    assert!(again.contains("primary_category") && again.contains("covered"));
}

#[test]
fn an_addition_that_cannot_be_carried_out_is_left_out() {
    let faulty = json!({"rules": [
        {"match": {"role": "orchestrator", "text": "What now"}, "fault": "bad_plan", "times": 2}]});
    let story = Story::begin(
        claude(faulty),
        &texts(60),
        json!({"limits": {"max_rounds": 3}}),
    );
    assert_eq!(story.until_over().state, "succeeded");
    let plan = story.plan();
    assert_eq!(plan.rounds.len(), 2);
    assert!(plan.rounds[1].stages.is_empty());
    assert!(plan.rounds[1].faults.len() >= 2, "{:?}", plan.rounds[1]);
    assert_eq!(names(&story), ["classify", "report"]);
}

/// Follow-ups alone, in rounds of thinking over: the plan itself is as ever.
fn follow_ups(times: u32) -> Value {
    json!({"rules": [{"match": {"role": "orchestrator", "text": "What now"}, "fault": "follow_up", "times": times}]})
}

#[test]
fn thinking_over_may_dig_into_one_cluster_and_leaves_the_others_as_they_are() {
    let body = json!({"limits": {"max_rounds": 2}});
    // Which cluster the stand-in digs into follows from the hash of what it is asked; sometimes it is one that is empty.
    let stories = [100, 101, 102, 103].into_iter().map(|count| {
        let story = Story::begin(claude(follow_ups(1)), &texts(count), body.clone());
        let view = story.until_over();
        assert_eq!(view.state, "succeeded", "{view:?}");
        (count, story)
    });
    let mut stories = stories.filter(|(_, story)| !story.plan().rounds[1].stages.is_empty());
    let (count, story) = stories.next().unwrap();
    let plan = story.plan();
    assert_eq!(plan.rounds.len(), 3, "it is asked whether that was enough");
    assert!(plan.rounds[2].stages.is_empty());
    let added = plan.stages[1].clone();
    assert_eq!(plan.rounds[1].stages, std::slice::from_ref(&added.name));
    let of = added.of.unwrap();
    assert_eq!(of.field.as_deref(), Some("primary_category"));
    // How many it has was known, and so what it takes.
    let sql = "SELECT SUM(items) AS items, COUNT(*) AS tasks FROM tasks WHERE stage = 2";
    let chosen = story.world.query(sql)[0].clone();
    let expected = plan.rounds[1].expected.clone().unwrap();
    let calls = expected.stages[0].calls;
    assert_eq!(json!(calls.low), chosen["tasks"]);
    let items = chosen["items"].as_u64().unwrap();
    assert!(items > 0 && items < count as u64);
    // All results are there, and only those that were chosen have more to say.
    let (app, id) = (story.app.clone(), story.id.clone());
    let lines = story.world.block_on(async move {
        let of = fanwise::app::results::pages::results_of(&app, TENANT, &id, None)
            .await
            .unwrap();
        fanwise::app::results::pages::Results::new(app, of)
            .portion(None)
            .await
            .unwrap()
            .0
    });
    assert_eq!(lines.len(), count);
    let mut followed = 0;
    for line in &lines {
        let line = serde_json::to_value(line).unwrap();
        let chosen = of.chooses(&line["output"], false);
        assert_eq!(line["output"]["reason"].is_string(), chosen, "{line}");
        followed += u64::from(chosen);
    }
    assert_eq!(followed, items);
    // The orchestrator was told by what it could choose.
    let again = request_of(&story, questions(&story)[1].index).to_string();
    assert!(again.contains("with_input"), "{again}");
    assert_within(&story);
}

#[test]
fn a_plan_with_follow_ups_makes_the_same_calls_as_stages() {
    let story = Story::begin(
        claude(follow_ups(9)),
        &texts(80),
        json!({"limits": {"max_rounds": 2}}),
    );
    let first = story.until_over();
    assert_eq!(first.state, "succeeded");
    let pinned = serde_json::to_value(story.plan().stages).unwrap();
    assert_eq!(pinned.as_array().unwrap().len(), 4);
    let submit = job(&texts(80), json!({"stages": pinned}));
    let id = story.world.submit(&story.app, submit).job.id;
    let again = Story { id, ..story };
    let view = again.until_over();
    assert_eq!((view.state.as_str(), view.usage.calls), ("succeeded", 0));
}

#[test]
fn a_follow_up_of_nobody_is_sent_back() {
    // Nothing was flagged and no ticket is about what the stand-in asks for, in both of its answers.
    let story = Story::begin(
        claude(follow_ups(2)),
        &["The weather is nice".to_owned(), "Good morning".to_owned()],
        json!({"limits": {"max_rounds": 1}}),
    );
    assert_eq!(story.until_over().state, "succeeded");
    let round = story.plan().rounds[1].clone();
    assert!(round.stages.is_empty());
    assert!(
        round
            .faults
            .iter()
            .all(|fault| fault.contains("not one of the results")),
        "{round:?}"
    );
    assert_eq!(round.faults.len(), 2);
}

#[test]
fn a_dynamic_job_s_plan_makes_the_same_calls_as_stages() {
    let story = Story::begin(claude(json!({})), &texts(80), json!({}));
    let first = story.until_over();
    let pinned = serde_json::to_value(story.plan().stages).unwrap();
    let submit = job(&texts(80), json!({"stages": pinned}));
    let id = story.world.submit(&story.app, submit).job.id;
    let again = Story { id, ..story };
    let view = again.until_over();
    assert_eq!(
        (view.state.as_str(), view.mode.as_str()),
        ("succeeded", "static")
    );
    assert_eq!(view.usage.calls, 0);
    assert!(view.cost.saved_usd > 0.0 && view.cost.saved_usd < first.cost.spent_usd);
}

#[test]
fn an_identical_dynamic_job_costs_nothing() {
    let body = json!({"limits": {"max_cost_usd": 5.0, "max_rounds": 2}});
    let story = Story::begin(claude(rules("more_stages", 2)), &texts(80), body.clone());
    assert_eq!(story.until_over().state, "succeeded");
    let id = story.world.submit(&story.app, job(&texts(80), body)).job.id;
    let rounds = story.plan().rounds.len();
    let again = Story { id, ..story };
    let view = again.until_over();
    assert_eq!((view.state.as_str(), view.usage.calls), ("succeeded", 0));
    assert_eq!(again.plan().rounds.len(), rounds);
}

#[test]
fn planning_can_be_paused_cancelled_and_retried() {
    let slow =
        json!({"rules": [{"match": {"role": "orchestrator"}, "fault": "slow", "ms": 60_000}]});
    let story = Story::begin(claude(slow), &texts(40), once(json!({})));
    story.until(|state| state == "planning");
    let act = |what: &'static str| {
        let (app, id) = (story.app.clone(), story.id.clone());
        story.world.block_on(async move {
            match what {
                "pause" => commands::pause(&app, TENANT, &id).await,
                "resume" => commands::resume(&app, TENANT, &id).await,
                "cancel" => commands::cancel(&app, TENANT, &id).await,
                _ => commands::retry(&app, TENANT, &id, &Limits::default()).await,
            }
            .unwrap()
        })
    };
    assert_eq!(act("pause").state, "paused");
    assert_eq!(act("resume").state, "planning");
    assert_eq!(act("cancel").state, "cancelled");
    assert_eq!(act("retry").state, "queued");
    let view = story.until_over();
    assert_eq!((view.state.as_str(), view.run), ("succeeded", 2));
    assert_eq!(names(&story), ["classify", "report"]);
}

#[test]
fn a_deadline_ends_planning_and_thinking_over() {
    let slow = |text: &str| json!({"rules": [{"match": {"role": "orchestrator", "text": text}, "fault": "slow", "ms": 900_000}]});
    let body = json!({"limits": {"deadline_seconds": 120, "max_rounds": 1}});
    let story = Story::begin(claude(slow("Make the plan")), &texts(40), body.clone());
    let view = story.until_over();
    assert_eq!(
        (view.state.as_str(), view.error.unwrap().code.as_str()),
        ("failed", "deadline")
    );
    // What was done before is brought together all the same.
    let story = Story::begin(claude(slow("What now")), &texts(40), body);
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(story.plan().rounds.len(), 1);
}

#[test]
fn a_bad_day_stops_no_dynamic_job() {
    let faults = json!({"faults": {"429": 0.05, "500": 0.05, "529": 0.03, "malformed": 0.03, "cut": 0.02}, "seed": 9});
    for seed in 0..6 {
        let mut faults = faults.clone();
        faults["seed"] = json!(seed);
        let body = json!({"limits": {"max_attempts": 10, "max_rounds": 2}});
        let story = Story::begin(claude(faults), &texts(100), body);
        let view = story.until_over();
        assert_eq!(view.state, "succeeded", "{view:?}");
        assert_within(&story);
    }
}

#[test]
fn workers_of_a_planned_stage_read_the_task_where_the_plan_names_it() {
    let world = World::new(11, claude(json!({})));
    let app = world.app(&[]);
    let mut submit = job(&texts(20), once(json!({})));
    submit.task = "Say what these notes have in common.".into();
    let id = world.submit(&app, submit).job.id;
    let story = Story { world, app, id };
    assert_eq!(story.until_over().state, "succeeded");
    let calls = story.world.claude().stats().calls(100, true);
    let calls = calls.as_array().unwrap().iter();
    let told: Vec<String> = calls
        .filter(|call| call["role"] == "worker")
        .map(|call| call["body"]["system"].to_string())
        .collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("The task is: Say what these notes have in common. Read each"));
}
