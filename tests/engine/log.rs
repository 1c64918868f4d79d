//! The log: a line for each attempt, and every change of a state in one, as the database saw it happen.

use std::collections::BTreeMap;

use fanwise::app::job::commands;
use serde_json::{Value, json};

use crate::flows::{over, stages, texts};
use crate::world::{TENANT, World, job};

const MINUTE: i64 = 60_000;

/// Notes every change of a state.
const WATCH: &str = "
CREATE TEMP TABLE moves (job TEXT, idx INTEGER, state TEXT);
CREATE TEMP TRIGGER move_task AFTER UPDATE OF state ON tasks WHEN OLD.state <> NEW.state
BEGIN INSERT INTO moves VALUES (NEW.job, NEW.idx, NEW.state); END;
CREATE TEMP TRIGGER move_job AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state
BEGIN INSERT INTO moves VALUES (NEW.id, NULL, NEW.state); END;";

type Moves = BTreeMap<(Option<u64>, String), usize>;

/// How often each task, or the job, came to each state: as the database saw it.
fn seen(world: &World) -> Moves {
    let mut moves = Moves::new();
    for row in world.query("SELECT idx, state FROM moves") {
        let state = row["state"].as_str().unwrap().to_owned();
        *moves.entry((row["idx"].as_u64(), state)).or_default() += 1;
    }
    moves
}

/// The same, as the log tells it.
fn told(world: &World) -> Moves {
    let mut moves = Moves::new();
    for line in world.log_lines() {
        let Some(state) = line["state"].as_str() else {
            continue;
        };
        let whose: Vec<Option<u64>> = match line["event"].as_str() {
            Some("state") => vec![None],
            Some("tasks") => line["tasks"]
                .as_array()
                .unwrap()
                .iter()
                .map(Value::as_u64)
                .collect(),
            _ => continue,
        };
        for idx in whose {
            *moves.entry((idx, state.to_owned())).or_default() += 1;
        }
    }
    moves
}

#[test]
fn every_attempt_and_every_change_of_a_state_has_its_line() {
    let faults = json!({"faults": {"429": 0.1, "500": 0.1, "malformed": 0.2, "cut": 0.1}, "seed": 5, "latency_ms": 500});
    let world = World::new(9, standin::Config::default().with(&faults).unwrap());
    world.execute(WATCH);
    let app = world.app(&[]);
    let body = json!({"stages": stages(4), "limits": {"concurrency": 5}});
    let id = world.submit(&app, job(&texts(60), body)).job.id;
    let start = world.now();
    world.run(&app, MINUTE, MINUTE, || world.now() > start + 1_000);
    for pause in [true, false] {
        let (app, id) = (app.clone(), id.clone());
        world.block_on(async move {
            match pause {
                true => commands::pause(&app, TENANT, &id).await.unwrap(),
                false => commands::resume(&app, TENANT, &id).await.unwrap(),
            }
        });
    }
    // A crash, so that leases run out.
    world.run(&app, MINUTE, MINUTE, || world.now() > start + 2_000);
    world.kill_consumers();
    // Whoever ended it is still to hear that it did.
    let end = std::cell::Cell::new(i64::MAX);
    world.run(&app, MINUTE, 60 * MINUTE, || {
        if over(&world, &id) {
            end.set(end.get().min(world.now() + 1_000));
        }
        world.now() > end.get()
    });
    assert_eq!(told(&world), seen(&world));
    let crashed = world.query("SELECT 1 FROM attempts WHERE error_class = 'unknown_end'");
    assert!(!crashed.is_empty(), "the crash met nobody");
    let closed = world.query("SELECT idx, n, state FROM attempts");
    let lines = world.log_lines();
    let lines: Vec<&Value> = lines
        .iter()
        .filter(|line| line["event"] == "attempt")
        .collect();
    for row in &closed {
        let its = lines.iter().filter(|line| {
            ["n", "state"].iter().all(|name| line[name] == row[*name])
                && line["task"] == row["idx"]
                && line["job"] == id.as_str()
        });
        assert_eq!(its.count(), 1, "{row:?}");
    }
    assert_eq!(lines.len(), closed.len());
}

/// A command that may move a hundred thousand tasks says how many stand where afterwards.
#[test]
fn a_cancel_tells_how_its_tasks_stand() {
    let world = World::new(4, standin::Config::default());
    let app = world.app(&[]);
    let body = json!({"stages": stages(1), "limits": {"concurrency": 3}});
    let id = world.submit(&app, job(&texts(30), body)).job.id;
    let done = "SELECT SUM(succeeded) AS n FROM stages";
    world.run(&app, MINUTE, MINUTE, || {
        world.query(done)[0]["n"].as_i64() >= Some(5)
    });
    let succeeded = world.query(done)[0]["n"].as_i64().unwrap();
    let (canceller, of) = (app.clone(), id.clone());
    world.block_on(async move { commands::cancel(&canceller, TENANT, &of).await.unwrap() });
    let lines = world.log_lines();
    let line = lines
        .iter()
        .find(|line| line["why"] == "cancel" && line["event"] == "tasks");
    let now = &line.unwrap()["now"];
    assert_eq!(now["cancelled"], 30 - succeeded);
    assert_eq!(
        (&now["pending"], &now["queued"], &now["running"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert!(lines.iter().any(|line| line["event"] == "state"
        && line["state"] == "cancelled"
        && line["job"] == id.as_str()));
}
