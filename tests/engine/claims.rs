//! Claims and drives that come too late: what they saw has changed since they looked, and each guard holds by itself.

use fanwise::claude::capabilities::Lacks;
use fanwise::core::job::state::JobState;
use fanwise::store::job::jobs;
use fanwise::store::task::admission;
use fanwise::store::task::admission::{Claim, Take};
use serde_json::json;

use crate::flows::{stages, texts};
use crate::world::{World, job};

const DAY: &str = "2026-01-01";

/// A job's tasks, made and not claimed yet.
fn waiting(items: usize) -> World {
    let world = World::new(1, standin::Config::default());
    let app = world.app(&[]);
    let body = job(&texts(items), json!({"stages": stages(1)}));
    world.submit(&app, body);
    let queued = format!("SELECT 1 FROM stages WHERE queued = {items}");
    world.run(&app, 1_000, 60_000, || !world.query(&queued).is_empty());
    world
}

/// The task as a consumer saw it.
fn take(world: &World, index: u32) -> Take {
    let task = world
        .query(&format!("SELECT * FROM tasks WHERE idx = {index}"))
        .remove(0);
    let text = |name: &str| task[name].as_str().unwrap().to_owned();
    Take {
        id: task["id"].as_i64().unwrap(),
        job: text("job"),
        class: text("class"),
        role: "worker",
        model: String::new(),
        input: 0.0,
        output: 0.0,
        worst_nano: 0,
        held_nano: 0,
        ahead: 0,
        room: None,
        free: false,
        reads: false,
        cache: None,
        leads: None,
        lacks: Lacks::default(),
    }
}

/// Whether it gets the task.
fn claims(world: &World, lease: &str, take: Take, account_day_nano: Option<i64>) -> bool {
    let id = take.id;
    let claim = Claim {
        lease,
        now: world.now(),
        until: world.now() + 10_000,
        day: DAY,
        takes: vec![take],
        probe: false,
        governor_start: 10,
        tenant_day_nano: None,
        account_day_nano,
        leads_since: 0,
        tokens: false,
    };
    let made = world.batch_now(admission::claim(&claim));
    let held = world.query(&format!(
        "SELECT 1 FROM tasks WHERE id = {id} AND lease = '{lease}'"
    ));
    made.is_ok() && !held.is_empty()
}

/// Wide seed 436: a consumer looked at a task that was to read a page, and claimed it when another one had read it. There was nothing
/// for it to read and no answer to take, and on its way back the task forgot by what the ledger knows its request.
#[test]
fn a_page_that_somebody_else_has_read_meanwhile_is_not_claimed_to_be_read() {
    let world = waiting(1);
    let page = || Take {
        free: true,
        reads: true,
        ..take(&world, 0)
    };
    assert!(!claims(&world, "late", page(), None), "it has been read");
    world.execute("UPDATE tasks SET form = 'fetch'");
    assert!(claims(&world, "first", page(), None), "it has not");
}

/// Consumers that look at the same time see the same tasks first, so no story has two of them come for a day's money by different
/// ones; a batch may.
#[test]
fn two_consumers_that_saw_the_same_money_of_the_day_do_not_both_spend_it() {
    let world = waiting(2);
    let cap = Some(100);
    let dear = |index| Take {
        worst_nano: 60,
        ..take(&world, index)
    };
    let (first, second) = (dear(0), dear(1));
    assert!(claims(&world, "first", first, cap));
    assert!(
        !claims(&world, "second", second.clone(), cap),
        "60 of 100 are reserved"
    );
    assert!(claims(&world, "second", second, Some(120)));
}

/// Two drives of a job in the same moment: the stage after the maps opens once, so that there is one synthesis. The slice that the
/// second one would write has a guard of its own, so no story sees this one fail.
#[test]
fn a_drive_that_finds_its_job_further_on_writes_nothing() {
    let world = waiting(1);
    let job = world.query("SELECT id, run, stage FROM jobs").remove(0);
    let id = job["id"].as_str().unwrap();
    let (run, stage) = (
        job["run"].as_u64().unwrap() as u32,
        job["stage"].as_u64().unwrap() as u32,
    );
    let writes = |run, state, stage| {
        let guarded = vec![
            jobs::guard_at(id, run, state, stage),
            jobs::open_stage(id, stage),
        ];
        world.batch_now(guarded).is_ok()
    };
    assert!(writes(run, JobState::Running, stage));
    assert!(
        !writes(run, JobState::Synthesizing, stage),
        "it is not there yet"
    );
    assert!(!writes(run, JobState::Running, stage + 1), "nor there");
    assert!(
        !writes(run + 1, JobState::Running, stage),
        "that is another run"
    );
}
