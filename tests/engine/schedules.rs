//! Jobs that come in by themselves: each due time once, whoever sweeps and however often, over what lies on the web then.

use fanwise::api::read_job;
use fanwise::app::job::{remove, sweep};
use fanwise::app::submit::schedules;
use fanwise::app::submit::schedules::Schedule;
use fanwise::app::view::{ScheduleRunView, ScheduleView};
use fanwise::app::{App, AppError};
use fanwise::core::schedule::{InputFormat, Overlap};
use serde_json::{Value, json};

use crate::flows::stages;
use crate::sites::Site;
use crate::world::{START, TENANT, World};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const FILE: &str = "https://files.acme.dev/today.csv";

/// Every ten minutes; the world begins at noon.
fn every_ten() -> Schedule {
    Schedule {
        name: "tickets".into(),
        cron: "*/10 * * * *".into(),
        time_zone: "UTC".into(),
        overlap: Overlap::Skip,
        paused: false,
        job: json!({"task": "Sort", "input": {"items": ["I was charged twice", "The app crashes"]}, "stages": stages(1)}),
        input_url: None,
        input_format: None,
    }
}

struct Plan {
    world: World,
    app: App<World>,
    id: String,
}

impl Plan {
    fn of(schedule: Schedule) -> Plan {
        Plan::in_world(World::new(9, standin::Config::default()), schedule)
    }

    /// Calls take so long that jobs of successive runs overlap.
    fn slow(mut schedule: Schedule) -> Plan {
        // Or the second would be answered from what the first has paid for.
        schedule.job["reuse"] = json!(false);
        let claude = standin::Config {
            latency_ms: 15 * MINUTE as u64 / 2,
            ..Default::default()
        };
        Plan::in_world(World::new(9, claude), schedule)
    }

    fn in_world(world: World, schedule: Schedule) -> Plan {
        let app = world.app(&[("CALL_TIMEOUT_MS", "600000"), ("IDLE_TIMEOUT_MS", "600000")]);
        let app2 = app.clone();
        let made = world.block_on(async move { schedules::create(&app2, TENANT, &schedule).await });
        let id = made.unwrap().id;
        Plan { world, app, id }
    }

    fn pass(&self, ms: i64) {
        let until = self.world.now() + ms;
        let clock = self.world.clone();
        self.world
            .run(&self.app, MINUTE, ms + HOUR, move || clock.now() >= until);
    }

    fn view(&self) -> ScheduleView {
        let (app, id) = (self.app.clone(), self.id.clone());
        self.world
            .block_on(async move { schedules::get(&app, TENANT, &id).await.unwrap() })
    }

    fn change(&self, schedule: Schedule) -> ScheduleView {
        let (app, id) = (self.app.clone(), self.id.clone());
        let changed = async move { schedules::replace(&app, TENANT, &id, &schedule).await };
        self.world.block_on(changed).unwrap()
    }

    fn run_now(&self) -> ScheduleRunView {
        let (app, id) = (self.app.clone(), self.id.clone());
        self.world
            .block_on(async move { schedules::run_now(&app, TENANT, &id).await.unwrap() })
    }

    /// State and due minute (of the hour) of each run, oldest first.
    fn runs(&self) -> Vec<(String, String)> {
        let mut runs: Vec<_> = self
            .view()
            .last_runs
            .into_iter()
            .map(|run| (run.state, run.due_at[11..16].to_owned()))
            .collect();
        runs.reverse();
        runs
    }

    fn jobs(&self) -> Vec<String> {
        let rows = self
            .world
            .query("SELECT id FROM jobs ORDER BY created_at, id");
        rows.iter()
            .map(|row| row["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn pairs(runs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(state, at): &(&str, &str)| ((*state).to_owned(), (*at).to_owned());
    runs.iter().map(owned).collect()
}

#[test]
fn each_due_time_becomes_one_job() {
    let plan = Plan::of(every_ten());
    let next = plan.view().next_runs;
    assert_eq!(next[0], "2026-11-22T12:10:00.000Z");
    assert_eq!(next.len(), 5);
    plan.pass(25 * MINUTE);
    assert_eq!(
        plan.runs(),
        pairs(&[("started", "12:10"), ("started", "12:20")])
    );
    let jobs = plan.jobs();
    assert_eq!(jobs.len(), 2);
    let runs = plan.view().last_runs;
    assert_eq!(runs[1].job.as_deref(), Some(jobs[0].as_str()));
    let states = plan.world.query("SELECT DISTINCT state FROM jobs");
    assert_eq!(states[0]["state"], "succeeded");
}

/// Two sweeps look at the same moment, messages come twice, and one consumer after another takes the same run.
#[test]
fn two_sweeps_at_once_start_a_run_once() {
    let plan = Plan::of(every_ten());
    plan.world.advance_to(START + 10 * MINUTE + 1_000);
    let (app, id) = (plan.app.clone(), plan.id.clone());
    plan.world.block_on(async move {
        let (one, two) = futures::join!(sweep::sweep(&app), sweep::sweep(&app));
        one.unwrap();
        two.unwrap();
        let due_at = START + 10 * MINUTE;
        let start = || schedules::start(&app, &id, due_at, read_job);
        let (one, two) = futures::join!(start(), start());
        one.unwrap();
        two.unwrap();
        start().await.unwrap();
    });
    plan.pass(5 * MINUTE);
    assert_eq!(plan.jobs().len(), 1);
    assert_eq!(plan.runs(), pairs(&[("started", "12:10")]));
}

/// The job was written and its run was not: the next try finds the job by the run's own key.
#[test]
fn a_run_whose_end_was_not_written_down_is_not_started_anew() {
    let plan = Plan::of(every_ten());
    plan.pass(11 * MINUTE);
    let job = plan.jobs();
    plan.world.execute(
        "UPDATE schedule_runs SET state = 'waiting', job_id = NULL, ended_at = NULL, held_until = 0",
    );
    plan.pass(3 * MINUTE);
    assert_eq!(plan.jobs(), job);
    assert_eq!(
        plan.view().last_runs[0].job.as_deref(),
        Some(job[0].as_str())
    );
}

#[test]
fn what_was_missed_is_caught_up_once() {
    let plan = Plan::of(every_ten());
    // Nobody swept for five hours.
    plan.world.advance_to(START + 5 * HOUR + MINUTE);
    plan.pass(15 * MINUTE);
    assert_eq!(
        plan.runs(),
        pairs(&[("started", "12:10"), ("started", "17:10")])
    );
    assert_eq!(plan.jobs().len(), 2);
}

#[test]
fn skip_leaves_out_what_is_due_while_a_job_is_at_work() {
    let plan = Plan::slow(every_ten());
    plan.pass(35 * MINUTE);
    let runs = plan.runs();
    assert_eq!(runs[0].0, "started");
    assert_eq!(runs[1].0, "skipped");
    let run = plan.view().last_runs.pop().unwrap();
    let skipped = &plan.view().last_runs[plan.view().last_runs.len() - 2];
    let reason = skipped.reason.as_ref().unwrap();
    assert_eq!(reason.code, "overlap");
    assert!(reason.message.contains(run.job.as_deref().unwrap()));
}

#[test]
fn queue_starts_one_after_the_other_in_their_order() {
    let plan = Plan::slow(Schedule {
        overlap: Overlap::Queue,
        ..every_ten()
    });
    plan.pass(45 * MINUTE);
    let open = "SELECT COUNT(*) AS n FROM jobs WHERE finished_at IS NULL";
    assert!(plan.world.query(open)[0]["n"].as_i64().unwrap() <= 1);
    let runs = plan.view().last_runs;
    assert!(runs.iter().any(|run| run.state == "waiting"));
    // No new ones; those that wait are worked off.
    plan.change(Schedule {
        overlap: Overlap::Queue,
        paused: true,
        ..every_ten()
    });
    plan.pass(3 * HOUR);
    let runs = plan.view().last_runs;
    assert_eq!(runs.len(), 4);
    assert!(runs.iter().all(|run| run.state == "started"), "{runs:?}");
    let overlapping = "SELECT COUNT(*) AS n FROM jobs a JOIN jobs b ON a.id < b.id
        WHERE a.created_at < b.finished_at AND b.created_at < a.finished_at";
    assert_eq!(plan.world.query(overlapping)[0]["n"], 0);
}

#[test]
fn parallel_starts_beside_what_is_at_work_and_by_hand_always() {
    let plan = Plan::slow(Schedule {
        overlap: Overlap::Parallel,
        ..every_ten()
    });
    plan.pass(21 * MINUTE);
    assert_eq!(
        plan.runs(),
        pairs(&[("started", "12:10"), ("started", "12:20")])
    );
    let plan = Plan::slow(Schedule {
        paused: true,
        ..every_ten()
    });
    for _ in 0..2 {
        let run = plan.run_now();
        assert_eq!(
            (run.cause.as_str(), run.state.as_str()),
            ("caller", "waiting")
        );
        plan.pass(MINUTE);
    }
    plan.pass(20 * MINUTE);
    assert_eq!(plan.jobs().len(), 2);
    assert_eq!(plan.view().next_runs, Vec::<String>::new());
}

#[test]
fn no_more_than_ten_wait() {
    let claude = standin::Config {
        latency_ms: 9 * MINUTE as u64,
        ..Default::default()
    };
    let plan = Plan::in_world(
        World::new(9, claude),
        Schedule {
            overlap: Overlap::Queue,
            cron: "* * * * *".into(),
            ..every_ten()
        },
    );
    plan.pass(16 * MINUTE);
    let runs = plan.view().last_runs;
    let waiting = runs.iter().filter(|run| run.state == "waiting").count();
    assert_eq!(waiting, 10);
    let full = runs.iter().find(|run| run.state == "skipped").unwrap();
    assert_eq!(full.reason.as_ref().unwrap().code, "too_many_waiting");
}

#[test]
fn a_paused_schedule_misses_nothing_that_is_caught_up() {
    let plan = Plan::of(Schedule {
        paused: true,
        ..every_ten()
    });
    plan.pass(2 * HOUR);
    assert!(plan.jobs().is_empty());
    let view = plan.change(every_ten());
    assert_eq!(view.next_runs[0], "2026-11-22T14:10:00.000Z");
    plan.pass(11 * MINUTE);
    assert_eq!(plan.runs(), pairs(&[("started", "14:10")]));
}

fn from_the_web(format: Option<InputFormat>) -> Schedule {
    Schedule {
        job: json!({"task": "Sort", "stages": stages(1)}),
        input_url: Some(FILE.into()),
        input_format: format,
        ..every_ten()
    }
}

/// The items of a job, as workers see them.
fn items(world: &World, job: &str) -> Vec<Value> {
    let pages = world.query(&format!(
        "SELECT body FROM pages WHERE job = '{job}' ORDER BY first"
    ));
    let bodies = pages.iter().map(|page| page["body"].as_str().unwrap());
    bodies
        .flat_map(|body| serde_json::from_str::<Vec<Value>>(body).unwrap())
        .collect()
}

#[test]
fn the_input_is_what_lies_at_the_address_then() {
    let plan = Plan::of(from_the_web(None));
    let csv = "id,text\nT-1,\"charged twice, again\"\nT-2,crash\n";
    let lines = "{\"id\":\"a\",\"text\":\"one\"}\n\n\"two\"\n";
    plan.world.sites().set_all(
        FILE,
        vec![
            Site::page("text/csv; charset=utf-8", csv),
            Site::page("application/x-ndjson", lines),
        ],
    );
    plan.pass(25 * MINUTE);
    let jobs = plan.jobs();
    assert_eq!(
        items(&plan.world, &jobs[0]),
        [
            json!({"id": "T-1", "text": "charged twice, again"}),
            json!({"id": "T-2", "text": "crash"})
        ]
    );
    assert_eq!(
        items(&plan.world, &jobs[1]),
        [
            json!({"id": "a", "text": "one"}),
            json!({"id": "item-2", "text": "two"})
        ]
    );
    let states = plan.world.query("SELECT DISTINCT state FROM jobs");
    assert_eq!(states[0]["state"], "succeeded");
}

#[test]
fn an_input_that_is_away_is_tried_again_and_one_that_is_wrong_is_told() {
    let plan = Plan::of(from_the_web(Some(InputFormat::Csv)));
    let good = Site::page("application/octet-stream", "text\nx\n");
    plan.world
        .sites()
        .set_all(FILE, vec![Site::new(503), Site::new(0), good.clone()]);
    plan.pass(15 * MINUTE);
    assert_eq!(plan.runs(), pairs(&[("started", "12:10")]));
    assert_eq!(plan.world.sites().count(FILE), 3);

    for (site, code) in [
        (Site::new(404), "dead_link"),
        (Site::redirect("http://127.0.0.1/"), "url_refused"),
        (Site::page("text/csv", "text\n\n"), "invalid_request"),
        (Site::page("text/csv", "text\nx,y\n"), "invalid_request"),
        (
            Site::page("text/csv", "id,text\na,x\na,y\n"),
            "invalid_request",
        ),
        // A character that no table holds: the file is binary.
        (Site::page("text/csv", "text\n\u{0}"), "invalid_request"),
    ] {
        plan.world.sites().set(FILE, site);
        let run = plan.run_now();
        plan.pass(2 * MINUTE);
        let runs = plan.view().last_runs;
        let found = runs.iter().find(|one| one.due_at == run.due_at).unwrap();
        let reason = found.reason.as_ref().unwrap();
        assert_eq!(
            (found.state.as_str(), reason.code.as_str()),
            ("failed", code)
        );
    }
}

#[test]
fn after_eight_tries_an_input_is_given_up() {
    let plan = Plan::of(Schedule {
        cron: "0 13 * * *".into(),
        ..from_the_web(None)
    });
    plan.world.sites().set(FILE, Site::new(503));
    plan.pass(5 * HOUR);
    assert_eq!(plan.runs(), pairs(&[("failed", "13:00")]));
    assert_eq!(plan.world.sites().count(FILE), 8);
    let reason = plan.view().last_runs[0].reason.clone().unwrap();
    assert_eq!(reason.code, "site_unavailable");
}

#[test]
fn deleting_a_schedule_leaves_its_jobs_and_deleting_a_job_leaves_the_schedule() {
    let plan = Plan::of(every_ten());
    plan.pass(25 * MINUTE);
    let jobs = plan.jobs();
    let (app, job) = (plan.app.clone(), jobs[0].clone());
    plan.world
        .block_on(async move { remove::delete(&app, TENANT, &job).await.unwrap() });
    plan.pass(MINUTE);
    let runs = plan.view().last_runs;
    assert_eq!(runs.last().unwrap().job, None);
    let (app, id) = (plan.app.clone(), plan.id.clone());
    plan.world.block_on(async move {
        let gone = AppError::NotFound("schedule");
        let other = schedules::delete(&app, "somebody-else", &id).await;
        assert_eq!(other.unwrap_err(), gone);
        schedules::delete(&app, TENANT, &id).await.unwrap();
        assert_eq!(schedules::get(&app, TENANT, &id).await.unwrap_err(), gone);
        assert_eq!(
            schedules::run_now(&app, TENANT, &id).await.unwrap_err(),
            gone
        );
    });
    plan.pass(30 * MINUTE);
    assert_eq!(plan.jobs(), [jobs[1].clone()]);
    assert!(plan.world.query("SELECT 1 FROM schedule_runs").is_empty());
}

#[test]
fn a_night_with_a_change_of_clocks_has_one_run_a_day() {
    // Berlin, 2027-03-28: the clocks go from 02:00 to 03:00.
    let plan = Plan::of(Schedule {
        cron: "30 2 * * *".into(),
        time_zone: "Europe/Berlin".into(),
        paused: true,
        ..every_ten()
    });
    plan.world.advance_to(1_806_019_200_000); // 2027-03-26T00:00Z
    let view = plan.change(Schedule {
        cron: "30 2 * * *".into(),
        time_zone: "Europe/Berlin".into(),
        ..every_ten()
    });
    assert_eq!(
        view.next_runs[..4],
        [
            "2027-03-26T01:30:00.000Z",
            "2027-03-27T01:30:00.000Z",
            "2027-03-28T01:00:00.000Z",
            "2027-03-29T00:30:00.000Z"
        ]
    );
    plan.pass(4 * 24 * HOUR);
    assert_eq!(plan.jobs().len(), 4);
}

#[test]
fn old_runs_are_forgotten_and_the_number_of_schedules_has_a_bound() {
    let plan = Plan::of(Schedule {
        cron: "* * * * *".into(),
        overlap: Overlap::Parallel,
        ..every_ten()
    });
    plan.pass(125 * MINUTE);
    let count = plan.world.query("SELECT COUNT(*) AS n FROM schedule_runs")[0]["n"].clone();
    assert!(count.as_i64().unwrap() <= 101, "{count}");
    assert_eq!(plan.view().last_runs.len(), 20);
    let app = plan.world.app(&[("MAX_SCHEDULES", "1")]);
    let more = plan
        .world
        .block_on(async move { schedules::create(&app, TENANT, &every_ten()).await });
    assert!(matches!(more, Err(AppError::Conflict(text)) if text.contains("MAX_SCHEDULES")));
}
