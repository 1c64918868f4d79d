//! A job at a glance says what its tasks and calls say one by one.

use fanwise::app::read::jobs;
use fanwise::app::read::jobs::TasksLike;
use fanwise::app::read::overview::{TaskStates, Timeline, states, timeline};
use fanwise::app::view::job as view_job;
use fanwise::app::{App, AppError};
use serde_json::json;

use crate::flows::{over, stages, texts};
use crate::world::{TENANT, World, job};

fn glance(world: &World, app: &App<World>, id: &str) -> (TaskStates, Timeline) {
    let (app, id) = (app.clone(), id.to_owned());
    world.block_on(async move {
        (
            states(&app, TENANT, &id).await.unwrap(),
            timeline(&app, TENANT, &id).await.unwrap(),
        )
    })
}

/// `4s2f` as `ssssff`.
fn spelt(runs: &str) -> String {
    let mut text = String::new();
    let mut count = 0;
    for letter in runs.chars() {
        match letter.to_digit(10) {
            Some(digit) => count = count * 10 + digit as usize,
            None => {
                text.extend(std::iter::repeat_n(letter, count));
                count = 0;
            }
        }
    }
    text
}

/// Index, stage and state's letter of each task, from the answer; and from the table.
fn told(states: &TaskStates) -> Vec<(u32, String, char)> {
    let mut all = Vec::new();
    for stage in &states.stages {
        for part in &stage.parts {
            let letters = spelt(&part.states);
            all.extend(
                (part.first..)
                    .zip(letters.chars())
                    .map(|(index, letter)| (index, stage.stage.clone(), letter)),
            );
        }
    }
    all.sort();
    all
}

fn stored(world: &World, id: &str) -> Vec<(u32, String, char)> {
    let rows = world.query(&format!(
        "SELECT t.idx, s.name, t.state FROM tasks t JOIN stages s ON s.job = t.job AND s.idx = t.stage
         WHERE t.job = '{id}' ORDER BY t.idx"
    ));
    rows.iter()
        .map(|row| {
            let letter = match row["state"].as_str().unwrap() {
                "skipped" => 'k',
                state => state.chars().next().unwrap(),
            };
            (
                row["idx"].as_u64().unwrap() as u32,
                row["name"].as_str().unwrap().to_owned(),
                letter,
            )
        })
        .collect()
}

#[test]
fn states_and_calls_are_those_of_the_tables_at_any_moment() {
    let faults = json!({"faults": {"500": 0.15, "529": 0.1, "malformed": 0.25}, "seed": 5, "latency_ms": 2_000});
    let world = World::new(5, standin::Config::default().with(&faults).unwrap());
    let app = world.app(&[]);
    let body = json!({"stages": stages(4), "limits": {"concurrency": 7, "max_attempts": 2}});
    let id = world.submit(&app, job(&texts(200), body)).job.id;
    // Nothing yet.
    let (early, calls) = glance(&world, &app, &id);
    assert!(early.stages.iter().all(|stage| stage.parts.is_empty()));
    assert_eq!((calls.from, calls.buckets.len()), (None, 0));
    let some = || {
        world
            .query(&format!(
                "SELECT SUM(state = 'succeeded') >= 20 AND SUM(state = 'running') > 0 AS some FROM tasks WHERE job = '{id}'"
            ))[0]["some"]
            == 1
    };
    world.run(&app, 60_000, 600_000, some);
    let (halfway, _) = glance(&world, &app, &id);
    assert_eq!(told(&halfway), stored(&world, &id));
    assert!(told(&halfway).iter().any(|(_, _, letter)| *letter == 'r'));
    world.run(&app, 60_000, 3_600_000, || over(&world, &id));
    let (end, calls) = glance(&world, &app, &id);
    assert_eq!(told(&end), stored(&world, &id));
    let kinds: Vec<&str> = end.stages.iter().map(|stage| stage.kind.as_str()).collect();
    assert_eq!(kinds, ["map", "synthesis"]);

    let (app2, id2) = (app.clone(), id.clone());
    let (view, report) = world.block_on(async move {
        (
            view_job::job(&app2, TENANT, &id2).await.unwrap(),
            fanwise::app::read::report::report(&app2, TENANT, &id2)
                .await
                .unwrap(),
        )
    });
    // Reasons are those of the coverage.
    let missing = report.coverage.missing.len() as u64;
    assert!(missing > 0, "this seed has failures");
    assert_eq!(
        end.reasons.iter().map(|reason| reason.items).sum::<u64>(),
        missing
    );
    for reason in &end.reasons {
        let named = report
            .coverage
            .missing
            .iter()
            .filter(|item| item.reason == reason.code);
        assert_eq!(named.count() as u64, reason.items, "{}", reason.code);
    }
    // Every call is in a bucket, with its money.
    let ended: u64 = calls.buckets.iter().map(|bucket| bucket.calls).sum();
    assert_eq!(ended, view.usage.calls);
    let spent: f64 = calls.buckets.iter().map(|bucket| bucket.cost_usd).sum();
    assert!((spent - view.cost.spent_usd).abs() < 1e-9);
    let failed: u64 = calls
        .buckets
        .iter()
        .flat_map(|bucket| bucket.faults.values())
        .sum();
    assert_eq!(failed, calls.faults.len() as u64);
    assert!(calls.buckets.len() <= 121 && calls.bucket_ms >= 1_000);
}

#[test]
fn tasks_are_found_by_their_item_and_others_jobs_are_not() {
    let world = World::new(1, standin::Config::default());
    let app = world.app(&[]);
    let id = world
        .submit(&app, job(&texts(30), json!({"stages": stages(10)})))
        .job
        .id;
    world.run(&app, 60_000, 600_000, || over(&world, &id));
    world.block_on(async move {
        let of = |item: &'static str| {
            let like = TasksLike {
                item: Some(item),
                ..Default::default()
            };
            jobs::tasks(&app, TENANT, &id, like, None, 10)
        };
        let indexes = |found: (Vec<fanwise::app::view::TaskView>, Option<u32>)| {
            found.0.iter().map(|task| task.index).collect::<Vec<_>>()
        };
        assert_eq!(indexes(of("item-12").await.unwrap()), [1]);
        // No beginning of an id is that id.
        assert_eq!(indexes(of("item-1").await.unwrap()), [0]);
        assert_eq!(indexes(of("item-").await.unwrap()), [0_u32; 0]);
        let gone = AppError::NotFound("job");
        assert_eq!(states(&app, "other", &id).await.unwrap_err(), gone);
        assert_eq!(timeline(&app, "other", &id).await.unwrap_err(), gone);
    });
}
