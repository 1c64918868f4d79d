//! Plans: what they are expected to take, and their approval.

use fanwise::app::job::commands as job_commands;
use fanwise::app::planning::commands;
use fanwise::app::planning::commands::{EstimateView, PlanView};
use fanwise::app::read::report;
use fanwise::app::view::{JobView, Report, job as view_job};
use fanwise::app::{App, AppError};
use fanwise::core::estimate::Span;
use serde_json::{Value, json};

use crate::flows::{over, stages, texts};
use crate::world::{START, TENANT, World, job};

const MINUTE: i64 = 60_000;

/// A job in a world of its own.
pub struct Story {
    pub world: World,
    pub app: App<World>,
    pub id: String,
}

impl Story {
    pub fn begin(claude: standin::Config, texts: &[String], body: Value) -> Story {
        let world = World::new(11, claude);
        let app = world.app(&[]);
        let id = world.submit(&app, job(texts, body)).job.id;
        Story { world, app, id }
    }

    pub fn until(&self, done: impl Fn(&str) -> bool) {
        let sql = format!("SELECT state FROM jobs WHERE id = '{}'", self.id);
        self.world.run(&self.app, 10_000, 120 * MINUTE, || {
            done(self.world.query(&sql)[0]["state"].as_str().unwrap())
        });
    }

    pub fn until_over(&self) -> JobView {
        self.world.run(&self.app, 10_000, 120 * MINUTE, || {
            over(&self.world, &self.id)
        });
        self.view()
    }

    pub fn view(&self) -> JobView {
        let (app, id) = (self.app.clone(), self.id.clone());
        self.world
            .block_on(async move { view_job::job(&app, TENANT, &id).await.unwrap() })
    }

    pub fn plan(&self) -> PlanView {
        let (app, id) = (self.app.clone(), self.id.clone());
        self.world
            .block_on(async move { commands::plan(&app, TENANT, &id).await.unwrap() })
    }

    pub fn report(&self) -> Report {
        let (app, id) = (self.app.clone(), self.id.clone());
        self.world
            .block_on(async move { report::report(&app, TENANT, &id).await.unwrap() })
    }

    pub fn approve(&self) -> Result<JobView, AppError> {
        let (app, id) = (self.app.clone(), self.id.clone());
        self.world
            .block_on(async move { commands::approve(&app, TENANT, &id).await })
    }

    fn replace(&self, stages: &Value) -> Result<PlanView, AppError> {
        let (app, id) = (self.app.clone(), self.id.clone());
        let stages: Vec<_> = serde_json::from_value(stages.clone()).unwrap();
        self.world
            .block_on(async move { commands::replace(&app, TENANT, &id, &stages).await })
    }

    /// Lets time pass.
    fn wait(&self, ms: i64) {
        let later = self.world.now() + ms;
        let world = self.world.clone();
        self.world
            .run(&self.app, 10_000, ms + MINUTE, move || world.now() > later);
    }

    fn calls(&self) -> u64 {
        self.world.claude().stats().json(0, false)["calls"]["total"]
            .as_u64()
            .unwrap()
    }
}

pub fn claude(changes: Value) -> standin::Config {
    standin::Config {
        latency_ms: 300,
        ..Default::default()
    }
    .with(&changes)
    .unwrap()
}

fn estimate(world: &World, texts: &[String], body: Value) -> EstimateView {
    let app = world.app(&[]);
    let submit = job(texts, body);
    world.block_on(async move { commands::estimate(&app, TENANT, submit).await.unwrap() })
}

#[track_caller]
fn within(what: &str, value: u64, span: Span) {
    assert!(
        (span.low..=span.high).contains(&value),
        "{what}: {value} is not within {span:?}"
    );
}

/// What a job took lies within what its plan said, in figures that are worth something.
#[track_caller]
pub fn assert_expected(story: &Story) {
    assert_within(story);
    let cost = story.view().cost.spent_usd;
    let expected = story.plan().expected.unwrap();
    let (range, of) = (expected.cost_usd, &expected.stages);
    let likely = expected.likely_usd.unwrap();
    assert!(
        (range.low..=range.high).contains(&likely),
        "{range:?} {likely}"
    );
    // A plan and a report may be as long as they are allowed to be, and be written twice: half a dollar each and more.
    let strong = of.iter().filter(|s| s.tasks.high == 1).count();
    let most = cost * 12.0 + 0.7 * strong as f64;
    assert!(range.high < most, "{range:?} says little of {cost}: {of:?}");
}

/// What a job took lies within what its plan said.
#[track_caller]
pub fn assert_within(story: &Story) {
    let view = story.view();
    let expected = story.plan().expected.unwrap();
    within("calls", view.usage.calls, expected.calls);
    within("input", view.usage.input_tokens, expected.input_tokens);
    within("output", view.usage.output_tokens, expected.output_tokens);
    let cost = view.cost.spent_usd;
    let range = expected.cost_usd;
    assert!(
        (range.low..=range.high).contains(&cost),
        "cost: {cost} is not within {range:?}"
    );
    let seconds = (story.world.now() - START) as u64 / 1_000;
    // A virtual Claude answers sooner than a real one can.
    assert!(seconds <= expected.seconds.high, "{seconds} {expected:?}");
}

/// The drill's faults: one call in ten fails, one answer in fifty is malformed.
fn a_bad_day() -> Value {
    json!({"faults": {"429": 0.04, "500": 0.03, "529": 0.03, "malformed": 0.02}, "seed": 5})
}

#[test]
fn the_actual_cost_falls_within_the_range() {
    let long: Vec<String> = texts(120)
        .iter()
        .map(|text| {
            format!(
                "{text}. {}",
                "It has been so for two weeks now. ".repeat(60)
            )
        })
        .collect();
    let free_text = json!([
        {"name": "sum_up", "kind": "map", "instructions": "Sum each up in one sentence.", "chunk": {"items": 3}}
    ]);
    let by_chunk = json!([
        {"name": "themes", "kind": "map", "instructions": "Name the themes.", "output": "chunk", "chunk": {"items": 20},
         "output_schema": {"type": "object", "properties": {
            "themes": {"type": "array", "items": {"type": "string"}}, "note": {"type": "string"}},
            "required": ["themes", "note"], "additionalProperties": false}},
        {"name": "report", "kind": "synthesis", "instructions": "Sum up."}
    ]);
    let mut dear = stages(10);
    dear[0]["model"] = json!("sonnet");
    let classify = stages(10)[0].clone();
    let grouped = json!([
        classify,
        {"name": "causes", "kind": "map", "instructions": "Name the causes.", "output": "chunk", "group_by": "primary_category",
         "output_schema": {"type": "object", "properties": {"causes": {"type": "array", "items": {"type": "string"}}},
            "required": ["causes"], "additionalProperties": false}},
        {"name": "report", "kind": "synthesis", "instructions": "Sum up."}
    ]);
    let after_another = json!([
        classify,
        {"name": "again", "kind": "map", "instructions": "Is it so?", "chunk": {"items": 20},
         "output_schema": {"type": "object", "properties": {"sure": {"type": "boolean"}},
            "required": ["sure"], "additionalProperties": false}}
    ]);
    let workloads = [
        ("300 short tickets", texts(300), stages(25)),
        ("one a call", texts(200), stages(1)),
        ("five in all", texts(5), stages(10)),
        ("long texts, free answers", long.clone(), free_text),
        ("themes of a chunk", long, by_chunk),
        ("a dearer model", texts(150), dear),
        ("groups of results", texts(150), grouped),
        ("map after map", texts(150), after_another),
    ];
    for (name, texts, stages) in workloads {
        for faults in [json!({}), a_bad_day()] {
            println!("{name}, {faults}");
            let body = json!({"stages": stages, "limits": {"concurrency": 20, "max_attempts": 10}});
            let story = Story::begin(claude(faults), &texts, body);
            let view = story.until_over();
            assert_eq!(view.state, "succeeded", "{view:?}");
            assert_expected(&story);
        }
    }
}

#[test]
fn an_estimate_is_the_figures_of_the_plan_and_starts_nothing() {
    let body = json!({"stages": stages(25), "limits": {"max_cost_usd": 3.0}});
    let story = Story::begin(claude(json!({})), &texts(300), body.clone());
    let jobs = story.world.query("SELECT COUNT(*) AS n FROM jobs");
    let estimate = estimate(&story.world, &texts(300), body);
    assert_eq!(story.world.query("SELECT COUNT(*) AS n FROM jobs"), jobs);
    assert_eq!((story.calls(), estimate.items), (0, 300));
    let plan = story.plan();
    assert_eq!(plan.expected, Some(estimate.expected.clone()));
    assert_eq!(plan.stages, estimate.stages);
    assert_eq!(plan.source.as_deref(), Some("caller"));
    assert_eq!(estimate.limit_usd, Some(3.0));
    let calls: Vec<u64> = estimate
        .expected
        .stages
        .iter()
        .map(|s| s.tasks.high)
        .collect();
    assert_eq!(calls, [12, 1]);
    assert!(!estimate.expected.limits_known);
}

#[test]
fn an_estimate_knows_the_limits_that_headers_have_taught() {
    let claude = claude(json!({"limits": {"rpm": 60}}));
    let story = Story::begin(claude, &texts(40), json!({"stages": stages(1)}));
    story.until_over();
    let estimate = estimate(&story.world, &texts(600), json!({"stages": stages(1)}));
    assert!(estimate.expected.limits_known);
    // 600 calls at 60 a minute.
    assert!(
        estimate.expected.seconds.low > 480,
        "{:?}",
        estimate.expected.seconds
    );
}

#[test]
fn a_plan_waits_for_approval_and_its_deadline_waits_too() {
    let body = json!({"stages": stages(10), "approval": true, "limits": {"deadline_seconds": 600}});
    let story = Story::begin(claude(json!({})), &texts(50), body);
    story.until(|state| state == "awaiting_approval");
    let halt = story.view().halt.unwrap();
    assert_eq!(halt.reason, "approval");
    story.wait(60 * MINUTE);
    assert_eq!(story.view().state, "awaiting_approval");
    assert_eq!(story.calls(), 0);
    let view = story.approve().unwrap();
    assert_eq!((view.state.as_str(), &view.halt), ("running", &None));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded", "{view:?}");
    let error = story.approve().unwrap_err();
    assert!(matches!(error, AppError::Conflict(text) if text.contains("succeeded")));
}

#[test]
fn a_plan_that_waits_can_be_replaced() {
    let body = json!({"stages": stages(10), "approval": true});
    let story = Story::begin(claude(json!({})), &texts(50), body);
    story.until(|state| state == "awaiting_approval");
    let before = story.plan();
    let mut other = stages(5);
    other[0]["name"] = json!("sort");
    other.as_array_mut().unwrap().pop();
    let plan = story.replace(&other).unwrap();
    assert_eq!(plan.stages.len(), 1);
    assert_eq!(plan.stages[0].name, "sort");
    assert_ne!(plan.expected, before.expected);
    assert_eq!(plan.expected.as_ref().unwrap().stages[0].tasks.high, 10);
    let wrong = json!([{"name": "x", "kind": "map", "instructions": "x", "model": "gpt"}]);
    let error = story.replace(&wrong).unwrap_err();
    assert!(matches!(error, AppError::Invalid(faults) if faults[0].0 == "stages[0].model"));
    story.approve().unwrap();
    let view = story.until_over();
    assert_eq!((view.state.as_str(), view.usage.calls), ("succeeded", 10));
    assert!(matches!(story.replace(&other), Err(AppError::Conflict(_))));
}

#[test]
fn a_job_that_waits_can_be_cancelled_and_asks_again_when_it_is_retried() {
    let body = json!({"stages": stages(10), "approval": true});
    let story = Story::begin(claude(json!({})), &texts(50), body);
    story.until(|state| state == "awaiting_approval");
    let (app, id) = (story.app.clone(), story.id.clone());
    let view = story
        .world
        .block_on(async move { job_commands::cancel(&app, TENANT, &id).await.unwrap() });
    assert_eq!((view.state.as_str(), view.halt), ("cancelled", None));
    assert!(story.approve().is_err());
    let (app, id) = (story.app.clone(), story.id.clone());
    story.world.block_on(async move {
        let limits = fanwise::core::plan::spec::Limits::default();
        job_commands::retry(&app, TENANT, &id, &limits)
            .await
            .unwrap();
    });
    story.until(|state| state == "awaiting_approval");
    story.approve().unwrap();
    assert_eq!(story.until_over().state, "succeeded");
}

#[test]
fn a_finished_job_s_plan_makes_the_same_calls_again() {
    let story = Story::begin(claude(json!({})), &texts(60), json!({"stages": stages(7)}));
    let first = story.until_over();
    let pinned = serde_json::to_value(story.plan().stages).unwrap();
    let again = story
        .world
        .submit(&story.app, job(&texts(60), json!({"stages": pinned})))
        .job
        .id;
    let again = Story { id: again, ..story };
    let view = again.until_over();
    assert_eq!((view.state.as_str(), view.usage.calls), ("succeeded", 0));
    assert!((view.cost.saved_usd - first.cost.spent_usd).abs() < 1e-9);
}

#[test]
fn another_tenant_s_plan_is_not_there() {
    let body = json!({"stages": stages(10), "approval": true});
    let story = Story::begin(claude(json!({})), &texts(5), body);
    story.until(|state| state == "awaiting_approval");
    let (app, id) = (story.app.clone(), story.id.clone());
    story.world.block_on(async move {
        let nothing = AppError::NotFound("job");
        assert_eq!(
            commands::plan(&app, "other", &id).await.unwrap_err(),
            nothing
        );
        assert_eq!(
            commands::approve(&app, "other", &id).await.unwrap_err(),
            nothing
        );
        assert_eq!(
            commands::replace(&app, "other", &id, &[])
                .await
                .unwrap_err(),
            nothing
        );
    });
    assert_eq!(story.view().state, "awaiting_approval");
}

#[test]
fn an_estimate_shows_what_the_same_job_costs_in_other_ways() {
    use fanwise::core::estimate::alternatives::Way;
    let world = World::new(1, claude(json!({})));
    let of = |model: &str| {
        let mut stages = stages(10);
        stages[0]["model"] = json!(model);
        stages[0]["instructions"] = json!("Classify each ticket by the handbook. ".repeat(300));
        estimate(&world, &texts(300), json!({"stages": stages}))
    };
    let cost = |estimate: &EstimateView, way: Way| {
        let row = estimate.alternatives.iter().find(|row| row.way == way);
        row.map(|row| row.cost_usd)
    };
    let haiku = of("haiku");
    let live = cost(&haiku, Way::Live).unwrap();
    let cached = cost(&haiku, Way::Cached).unwrap();
    assert!(cached.high < live.high && cached.low < live.low);
    // The cache is used where it can be, and nobody knows beforehand that it will have been.
    let expected = haiku.expected.cost_usd;
    assert_eq!((expected.low, expected.high), (cached.low, live.high));
    assert!(cost(&haiku, Way::Batch).unwrap().high < live.high * 0.51);
    // There is nothing cheaper to ask first.
    assert_eq!(cost(&haiku, Way::Cascade), None);
    let sonnet = of("sonnet");
    let (live, cascade) = (
        cost(&sonnet, Way::Live).unwrap(),
        cost(&sonnet, Way::Cascade).unwrap(),
    );
    // At worst the cheap model does nothing, and is paid besides.
    assert!(
        cascade.low < live.low && cascade.high > live.high,
        "{cascade:?} {live:?}"
    );
    let likely = |way| {
        let row = sonnet.alternatives.iter().find(|row| row.way == way);
        row.unwrap().likely_usd.unwrap()
    };
    assert!(likely(Way::Cascade) < likely(Way::Live));
    assert!(likely(Way::Batch) < likely(Way::Cached) && likely(Way::Cached) < likely(Way::Live));
}
