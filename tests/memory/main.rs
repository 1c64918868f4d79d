//! What is held at once, counted byte by byte: an isolate has 128 MB, so whatever grows with a job must go through in pieces.
//!
//! A program of its own, since it counts every allocation of its thread; what SQLite holds is the database's and not counted. The world
//! is the engine's (`tests/engine`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![allow(dead_code, reason = "the world can do more than is asked of it here")]

#[path = "../engine/chaos.rs"]
mod chaos;
#[path = "../engine/sites.rs"]
mod sites;
#[path = "../engine/world/mod.rs"]
mod world;

use axum::body::{Body, Bytes};
use axum::http::Request;
use fanwise::api::auth::Auth;
use fanwise::api::{Api, router};
use fanwise::app::job::driver;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use world::{World, job};

const SECRET: &str = "the-operators-token";
/// Items of a task: as in a job of many small ones.
const CHUNK: usize = 250;

fn texts() -> Vec<String> {
    (0..CHUNK)
        .map(|n| format!("I was charged twice for plan {n}"))
        .collect()
}

/// The one map stage.
fn read() -> Value {
    json!({
        "name": "read", "kind": "map", "output": "item", "chunk": {"items": CHUNK}, "max_tokens": 32000, "instructions": "Say what it is about.",
        "output_schema": {
            "type": "object", "additionalProperties": false, "required": ["about", "urgent"],
            "properties": {"about": {"type": "string"}, "urgent": {"type": "boolean"}}
        },
        "merge": {"count_by": ["urgent"]}
    })
}

/// A job that is over, and as many results as are asked for in each turn: its one task is copied.
struct Done {
    world: World,
    router: axum::Router,
    job: String,
    tasks: usize,
}

impl Done {
    fn new() -> Done {
        let world = World::new(11, standin::Config::default());
        let app = world.app(&[]);
        let submitted = world.submit(&app, job(&texts(), json!({"stages": [read()]})));
        let id = submitted.job.id;
        let over = |world: &World| {
            let rows = world.query(&format!("SELECT state FROM jobs WHERE id = '{id}'"));
            rows[0]["state"] == "succeeded"
        };
        world.run(&app, 10_000, 3_600_000, || over(&world));
        let router = router(Api {
            app,
            auth: Auth::new(Some(SECRET)),
        });
        Done {
            world,
            router,
            job: id,
            tasks: 1,
        }
    }

    fn grow_to(&mut self, results: usize) {
        grow(&self.world, &self.job, self.tasks, results / CHUNK);
        self.tasks = results / CHUNK;
    }
    /// Reads all results as a client does, piece by piece: how many bytes came, and the most that was held at once.
    fn read(&self, format: &str) -> (usize, u64) {
        let request = Request::get(format!("/v1/jobs/{}/results?format={format}", self.job))
            .header("authorization", format!("Bearer {SECRET}"))
            .body(Body::empty())
            .unwrap();
        let router = self.router.clone();
        let mut came = 0;
        let held = allocation_counter::measure(|| {
            let reading = async {
                let response = router.oneshot(request).await.unwrap();
                assert_eq!(response.status(), 200);
                let mut body = response.into_body();
                let mut came = 0;
                while let Some(frame) = body.frame().await {
                    came += frame.unwrap().into_data().unwrap().len();
                }
                came
            };
            came = self.world.block_on(reading);
        });
        (came, held.bytes_max)
    }
}

/// The first of a job's tasks, `from` in all, is copied until there are `to`.
fn grow(world: &World, job: &str, from: usize, to: usize) {
    let columns = |table: &str, own: &[&str]| -> String {
        let rows = world.query(&format!("SELECT name FROM pragma_table_info('{table}')"));
        let names = rows
            .iter()
            .map(|row| row["name"].as_str().unwrap().to_owned());
        let others: Vec<String> = names.filter(|name| !own.contains(&name.as_str())).collect();
        others.join(", ")
    };
    for (table, own) in [("tasks", &["id", "idx"][..]), ("outputs", &["idx"])] {
        let rest = columns(table, own);
        world.execute(&format!(
                "WITH RECURSIVE n(n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM n WHERE n + 1 < {to})
                 INSERT INTO {table} (idx, {rest}) SELECT n, {rest} FROM n, {table} WHERE job = '{job}' AND idx = 0"
            ));
    }
}

/// Results are read from the database in pages of at most 2 MB and a task, so both of these have several.
#[test]
fn a_hundred_thousand_results_take_the_memory_that_fewer_take() {
    let mut done = Done::new();
    let mut most = Vec::new();
    for results in [50_000, 100_000] {
        done.grow_to(results);
        for format in [
            "json",
            "jsonl",
            "csv",
            "jsonl&include=input",
            "csv&include=input",
        ] {
            let (came, held) = done.read(format);
            assert!(came > results * 50, "{results} as {format}: {came} bytes");
            most.push((format, held));
        }
    }
    println!("{most:?}");
    for ((format, fewer), (_, all)) in most.iter().zip(&most[5..]) {
        // A page of 2 MB as it was read, what is taken apart of it, and the world's own notes.
        assert!(*all < 6_000_000, "{format}: {all} bytes are held at once");
        assert!(*all <= fewer + 100_000, "{format}: {fewer}, then {all}");
    }
}

/// A body of so many items, and what is held at most while it is taken in, the body included.
fn taken_in(items: usize) -> (u64, u64) {
    let world = World::new(12, standin::Config::default());
    let app = world.app(&[]);
    world.forget_blobs();
    let auth = Auth::new(Some(SECRET));
    let router = router(Api { app, auth });
    let ticket = |n: usize| {
        json!({
            "id": format!("T-{n}"), "subject": "Charged twice", "plan": "pro", "seats": n, "channel": "mail",
            "text": format!("Case {n}: {}", "I was charged twice for the same month and want one of it back. ".repeat(3)),
        })
    };
    let tickets: Vec<Value> = (0..items).map(ticket).collect();
    let body = json!({"task": "Sort these", "input": {"items": tickets}, "stages": [read()]});
    drop(tickets);
    // Kept to the end, or its going would be counted too.
    let body = Bytes::from(body.to_string());
    let bytes = body.len();
    let request = Request::post("/v1/jobs")
        .header("authorization", format!("Bearer {SECRET}"))
        .header("content-type", "application/json")
        .header("content-length", bytes)
        .body(Body::from_stream(futures::stream::iter(pieces(&body))))
        .unwrap();
    let held = allocation_counter::measure(|| {
        let taking = async {
            let response = router.oneshot(request).await.unwrap();
            let status = response.status();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(status, 202, "{body:?}");
        };
        world.block_on(taking);
    });
    let jobs = world.query("SELECT items_total FROM jobs");
    assert_eq!(jobs[0]["items_total"], items);
    (bytes as u64, held.bytes_max)
}

/// As the network brings it, and without a copy that would be counted.
fn pieces(body: &Bytes) -> Vec<Result<Bytes, std::convert::Infallible>> {
    let places = (0..body.len()).step_by(65_536);
    places
        .map(|at| Ok(body.slice(at..body.len().min(at + 65_536))))
        .collect()
}

/// As values, or as text and rows side by side, a body takes several times its bytes: a second one of 32 MB would not fit.
#[test]
fn a_body_is_held_once_while_it_is_taken_in() {
    let (fewer, held_by_fewer) = taken_in(50_000);
    let (bytes, held) = taken_in(100_000);
    println!("{fewer} {held_by_fewer} {bytes} {held}");
    assert!(bytes > 28_000_000, "{bytes}");
    // Beside the body: the blobs on their way, the page that is being filled, and 16 bytes for each id.
    assert!(held < bytes + 12_000_000, "{held} bytes are held at once");
    assert!(held - bytes <= held_by_fewer - fewer + 2_000_000);
}

/// A job of which all results are in, so many of them, and that nobody has looked at since.
fn all_in(world: &World, app: &fanwise::app::App<World>, results: usize) -> String {
    let synthesis =
        json!({"name": "report", "kind": "synthesis", "instructions": "Say what recurs."});
    let body = json!({"stages": [read(), synthesis]});
    let id = world.submit(app, job(&texts(), body)).job.id;
    world.run(app, 10_000, 3_600_000, || {
        let rows = world.query(&format!(
            "SELECT succeeded FROM stages WHERE job = '{id}' AND idx = 0"
        ));
        rows[0]["succeeded"] == 1
    });
    grow(world, &id, 1, results / CHUNK);
    let next = format!(
        "UPDATE jobs SET next_index = {} WHERE id = '{id}'",
        results / CHUNK
    );
    world.execute(&next);
    id
}

/// What a control message holds at most while it merges so many results and cuts them into the parts of a tree.
fn merged(results: usize) -> u64 {
    let world = World::new(13, standin::Config::default());
    let app = world.app(&[]);
    let id = all_in(&world, &app, results);
    world.forget_blobs();
    let held = allocation_counter::measure(|| {
        let (app, id) = (app.clone(), id.clone());
        world.block_on(async move { driver::drive(&app, &id).await.unwrap() });
    });
    let rows = world.query(&format!("SELECT state, stage FROM jobs WHERE id = '{id}'"));
    assert_eq!(rows[0]["state"], "synthesizing");
    let parts = world.query(&format!(
        "SELECT COUNT(*) AS n FROM tasks WHERE job = '{id}' AND purpose = 'reduce'"
    ));
    assert!(
        parts[0]["n"].as_i64().unwrap() > results as i64 / 5_000,
        "{parts:?}"
    );
    held.bytes_max
}

#[test]
fn results_are_merged_in_little_memory() {
    let (fewer, all) = (merged(50_000), merged(100_000));
    println!("{fewer} {all}");
    // A page of 2 MB as it was read and as rows, a part of 200 KB as values, and what a synthesis could have been shown.
    assert!(all < 14_000_000, "{all} bytes are held at once");
    // Of each result its id, a length and what it is counted by.
    assert!(all <= fewer + 4_000_000, "{fewer}, then {all}");
}

/// As many calls of a consumer are open at a time as it takes on: each has thousands of small results to read.
#[test]
fn calls_that_wait_hold_little_more_than_what_they_ask() {
    let latency = standin::Config {
        latency_ms: 5_000,
        ..Default::default()
    };
    let world = World::new(14, latency);
    let app = world.app(&[]);
    let id = all_in(&world, &app, 100_000);
    world.block_on({
        let (app, id) = (app.clone(), id.clone());
        async move { driver::drive(&app, &id).await.unwrap() }
    });
    let readers = |state: &str| {
        let counted = format!(
            "SELECT COUNT(*) AS n FROM tasks WHERE job = '{id}' AND purpose = 'reduce' AND state = '{state}'"
        );
        world.query(&counted)[0]["n"].as_i64().unwrap()
    };
    let all = readers("pending") + readers("queued");
    let at_once = std::cell::Cell::new(0);
    let held = allocation_counter::measure(|| {
        world.run(&app, 10_000, 3_600_000, || {
            at_once.set(at_once.get().max(readers("running")));
            readers("succeeded") == all
        });
    });
    println!("{} of {all}, {at_once:?} at once", held.bytes_max);
    assert!(at_once.get() >= 15, "{at_once:?} at once");
    // A reader's 200 KB as they are stored, asked and sent; with its results as values it would be 90 MB.
    let bytes = held.bytes_max;
    assert!(bytes < 35_000_000, "{bytes} bytes are held at once");
}
