//! Commands, budgets, faults and the breaker: each promise once, directly.

use fanwise::app::job::commands;
use fanwise::app::read::report;
use fanwise::app::view::{JobView, job as view_job};
use fanwise::app::{App, AppError};
use fanwise::core::plan::spec::Limits;
use fanwise::store::job::commands as rows;
use serde_json::{Value, json};

use crate::flows::{over, stages, texts};
use crate::world::{TENANT, World, job};

const MINUTE: i64 = 60_000;

struct Story {
    world: World,
    app: App<World>,
    id: String,
}

impl Story {
    fn begin(
        claude: standin::Config,
        vars: &[(&str, &str)],
        items: usize,
        chunk: u32,
        limits: Value,
    ) -> Story {
        let world = World::new(7, claude);
        let app = world.app(vars);
        let mut stages = stages(chunk);
        if limits.get("max_cost_usd").is_some() {
            // Dear enough for a budget to matter.
            stages[0]["model"] = json!("sonnet");
        }
        let body = json!({"stages": stages, "limits": limits});
        let id = world.submit(&app, job(&texts(items), body)).job.id;
        Story { world, app, id }
    }

    /// Looks at the rows themselves, so that looking takes no time.
    fn until(&self, done: impl Fn(&str, i64) -> bool) {
        let sql = format!(
            "SELECT state, (SELECT SUM(succeeded) FROM stages WHERE job = id AND kind = 'map') AS succeeded
             FROM jobs WHERE id = '{}'",
            self.id
        );
        self.world.run(&self.app, 10_000, 60 * MINUTE, || {
            let rows = self.world.query(&sql);
            done(
                rows[0]["state"].as_str().unwrap(),
                rows[0]["succeeded"].as_i64().unwrap_or(0),
            )
        });
    }

    fn until_over(&self) -> JobView {
        self.world.run(&self.app, 10_000, 60 * MINUTE, || {
            over(&self.world, &self.id)
        });
        self.view()
    }

    fn view(&self) -> JobView {
        let (app, id) = (self.app.clone(), self.id.clone());
        self.world
            .block_on(async move { view_job::job(&app, TENANT, &id).await.unwrap() })
    }

    fn report(&self) -> fanwise::app::view::Report {
        let (app, id) = (self.app.clone(), self.id.clone());
        self.world
            .block_on(async move { report::report(&app, TENANT, &id).await.unwrap() })
    }

    fn calls(&self) -> u64 {
        self.world.claude().stats().json(0, false)["calls"]["total"]
            .as_u64()
            .unwrap_or(u64::MAX)
    }
}

fn claude(latency_ms: u64) -> standin::Config {
    standin::Config {
        latency_ms,
        ..Default::default()
    }
}

fn with(latency_ms: u64, changes: Value) -> standin::Config {
    claude(latency_ms).with(&changes).unwrap()
}

#[test]
fn after_cancel_no_call_begins_and_every_item_has_its_fate() {
    let story = Story::begin(claude(500), &[], 100, 1, json!({"concurrency": 10}));
    story.until(|_, succeeded| succeeded >= 30);
    let (app, id) = (story.app.clone(), story.id.clone());
    let view = story
        .world
        .block_on(async move { commands::cancel(&app, TENANT, &id).await.unwrap() });
    assert_eq!(view.state, "cancelled");
    let calls = story.calls();
    let settled = story.world.now() + 5 * MINUTE;
    let world = story.world.clone();
    story.world.run(&story.app, 10_000, 60 * MINUTE, move || {
        world.now() > settled
    });
    assert_eq!(story.calls(), calls);
    let view = story.view();
    let tasks = &view.progress.tasks;
    assert_eq!(tasks.succeeded + tasks.cancelled, 100);
    assert_eq!((tasks.pending, tasks.queued, tasks.running), (0, 0, 0));
    let report = story.report();
    assert_eq!(
        report.coverage.missing.len() as u64 + report.coverage.covered,
        100
    );
    assert!(
        report
            .coverage
            .missing
            .iter()
            .all(|m| m.reason == "cancelled")
    );
}

/// Claimed calls that wait in line for a connection are not sent once their job is halted, and cost nothing.
#[test]
fn calls_in_line_are_not_sent_after_a_cancel_or_a_pause() {
    for cancelled in [true, false] {
        let limits = json!({"concurrency": 20});
        let slow = with(20_000, json!({"first_byte": 0.5}));
        let story = Story::begin(slow, &[("CONNECTIONS", "2")], 20, 1, limits);
        let held = "SELECT COUNT(*) AS n FROM attempts WHERE state = 'open'";
        // In one run, so that the consumer goes on: one more than has a connection is claimed, a second later the job is
        // halted.
        let claimed = std::cell::Cell::new(i64::MAX);
        let halted = std::cell::Cell::new(false);
        let now = || story.world.now();
        story.world.run(&story.app, 10_000, 10 * MINUTE, || {
            if claimed.get() == i64::MAX && story.world.query(held)[0]["n"] == 3 {
                claimed.set(now());
            }
            if now() >= claimed.get().saturating_add(1_000) && !halted.replace(true) {
                assert_eq!(story.calls(), 2, "the third waits in line");
                let (app, id) = (story.app.clone(), story.id.clone());
                story.world.block_on(async move {
                    match cancelled {
                        true => commands::cancel(&app, TENANT, &id).await.unwrap(),
                        false => commands::pause(&app, TENANT, &id).await.unwrap(),
                    }
                });
            }
            now() >= claimed.get().saturating_add(2 * MINUTE)
        });
        assert_eq!(story.calls(), 2);
        let closed = "SELECT COUNT(*) AS n, SUM(cost_nano) AS nano FROM attempts WHERE error_class = 'not_sent'";
        let closed = &story.world.query(closed)[0];
        assert_eq!((&closed["n"], &closed["nano"]), (&json!(1), &json!(0)));
    }
}

#[test]
fn a_paused_job_makes_no_calls_and_goes_on_where_it_was() {
    let story = Story::begin(claude(200), &[], 60, 1, json!({"concurrency": 5}));
    // In one run, so that the consumer goes on.
    let halted = std::cell::Cell::new(i64::MAX);
    let now = || story.world.now();
    let succeeded = "SELECT SUM(succeeded) AS n FROM stages";
    story.world.run(&story.app, 10_000, 60 * MINUTE, || {
        if halted.get() == i64::MAX && story.world.query(succeeded)[0]["n"].as_i64() >= Some(20) {
            halted.set(now());
            let (app, id) = (story.app.clone(), story.id.clone());
            let view = story
                .world
                .block_on(async move { commands::pause(&app, TENANT, &id).await.unwrap() });
            assert_eq!(
                (view.state.as_str(), view.halt.unwrap().reason.as_str()),
                ("paused", "user")
            );
        }
        now() > halted.get().saturating_add(3 * MINUTE)
    });
    let calls = story.calls();
    assert!(calls < 60);
    let (app, id) = (story.app.clone(), story.id.clone());
    story
        .world
        .block_on(async move { commands::resume(&app, TENANT, &id).await.unwrap() });
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    assert_eq!(view.usage.calls, 61);
}

#[test]
fn a_budget_that_is_too_small_ends_partial_and_is_never_passed() {
    let story = Story::begin(
        claude(100),
        &[],
        200,
        1,
        json!({"max_cost_usd": 0.25, "concurrency": 20}),
    );
    let view = story.until_over();
    assert!(view.cost.spent_usd <= 0.25, "{:?}", view.cost);
    if view.state != "partial" {
        panic!("{view:?}");
    }
    let report = story.report();
    assert!(report.coverage.covered > 0 && !report.coverage.missing.is_empty());
    assert!(report.coverage.missing.iter().all(|m| m.reason == "budget"));
    // With a higher cap the rest is done, and nothing is paid again.
    let (app, id) = (story.app.clone(), story.id.clone());
    let limits = Limits {
        max_cost_usd: Some(50.0),
        ..Limits::default()
    };
    let before = view.usage.calls;
    let view = story
        .world
        .block_on(async move { commands::retry(&app, TENANT, &id, &limits).await.unwrap() });
    assert_eq!((view.state.as_str(), view.run), ("queued", 2));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    assert_eq!(
        view.usage.calls - before,
        report.coverage.missing.len() as u64 + 1
    );
}

#[test]
fn a_budget_may_pause_instead_and_go_on_when_it_is_raised() {
    let limits = json!({"max_cost_usd": 0.25, "on_budget": "pause", "concurrency": 20});
    let story = Story::begin(claude(100), &[], 200, 1, limits);
    story.until(|state, _| state == "paused");
    assert_eq!(story.view().halt.unwrap().reason, "budget");
    let (app, id) = (story.app.clone(), story.id.clone());
    story.world.block_on(async move {
        let limits = Some(Limits {
            max_cost_usd: Some(50.0),
            ..Limits::default()
        });
        commands::patch(
            &app,
            TENANT,
            &id,
            commands::Patch {
                limits,
                metadata: None,
            },
        )
        .await
        .unwrap();
        commands::resume(&app, TENANT, &id).await.unwrap();
    });
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    assert_eq!(view.usage.calls, 201);
}

#[test]
fn an_identical_job_costs_nothing() {
    let story = Story::begin(claude(100), &[], 50, 5, json!({}));
    let first = story.until_over();
    let body = json!({"stages": stages(5)});
    let id = story.world.submit(&story.app, job(&texts(50), body)).job.id;
    let second = Story { id, ..story };
    let view = second.until_over();
    assert_eq!(view.state, "succeeded");
    assert_eq!((view.usage.calls, view.cost.spent_usd), (0, 0.0));
    assert!((view.cost.saved_usd - first.cost.spent_usd).abs() < 1e-9);
}

#[test]
fn a_spend_limit_halts_every_job_and_a_probe_brings_them_back() {
    let rules = json!({"rules": [{"match": {}, "fault": "spend_limit", "times": 60}]});
    let story = Story::begin(
        with(100, rules),
        &[("BREAKER_MS", "60000")],
        30,
        1,
        json!({"concurrency": 5}),
    );
    story.until(|state, _| state == "paused");
    let view = story.view();
    assert_eq!(view.halt.as_ref().unwrap().reason, "quota");
    // Only the calls that were in flight when it tripped.
    assert!(story.calls() <= 5, "{}", story.calls());
    story.world.claude().configure(claude(100));
    let (app, id) = (story.app.clone(), story.id.clone());
    story
        .world
        .block_on(async move { commands::resume(&app, TENANT, &id).await.unwrap() });
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
}

#[test]
fn faults_of_every_kind_lose_nothing() {
    let faults = json!({"faults": {"429": 0.05, "500": 0.03, "529": 0.03, "malformed": 0.05, "cut": 0.02, "truncate": 0.03,
        "schema_miss": 0.05}, "seed": 3});
    let story = Story::begin(
        with(150, faults),
        &[],
        300,
        10,
        json!({"concurrency": 20, "max_attempts": 10}),
    );
    let view = story.until_over();
    assert_eq!(
        view.state,
        "succeeded",
        "{view:?} {:?}",
        story.report().coverage.missing
    );
    assert_eq!(story.report().coverage.covered, 300);
}

#[test]
fn an_item_that_always_fails_sinks_only_itself() {
    let rules = json!({"rules": [{"match": {"text": "(case 7)"}, "fault": "empty"}]});
    let story = Story::begin(with(100, rules), &[], 40, 10, json!({"max_attempts": 3}));
    let view = story.until_over();
    assert_eq!(view.state, "partial");
    let report = story.report();
    let missing: Vec<&str> = report
        .coverage
        .missing
        .iter()
        .map(|m| m.id.as_str())
        .collect();
    assert_eq!(missing, ["item-8"]);
}

#[test]
fn a_deadline_ends_the_job_even_if_claude_never_answers() {
    let faults = json!({"faults": {"500": 1.0}});
    let limits = json!({"deadline_seconds": 120, "max_attempts": 20});
    let story = Story::begin(
        with(100, faults),
        &[("BACKOFF_MAX_MS", "60000")],
        20,
        1,
        limits,
    );
    let view = story.until_over();
    assert_eq!(view.state, "failed");
    assert!(story.world.now() - crate::world::START < 10 * MINUTE);
}

#[test]
fn commands_say_which_state_forbids_them() {
    let story = Story::begin(claude(100), &[], 5, 1, json!({}));
    story.until_over();
    let (app, id) = (story.app.clone(), story.id.clone());
    let error = story
        .world
        .block_on(async move { commands::pause(&app, TENANT, &id).await.unwrap_err() });
    assert!(matches!(error, AppError::Conflict(text) if text.contains("succeeded")));
    let (app, id) = (story.app.clone(), story.id.clone());
    let error = story
        .world
        .block_on(async move { commands::cancel(&app, "other", &id).await.unwrap_err() });
    assert_eq!(error, AppError::NotFound("job"));
}

/// Before a command is carried out its job is looked up among the tenant's own; what is written asks for that once more.
#[test]
fn a_command_holds_for_the_tenant_s_own_job_alone() {
    let story = Story::begin(standin::Config::default(), &[], 1, 1, json!({}));
    let states = ["queued"];
    let holds = |tenant| {
        let guard = rows::guard(&story.id, tenant, &states);
        story.world.batch_now(vec![guard]).is_ok()
    };
    assert!(holds(TENANT));
    assert!(!holds("stranger"));
}
