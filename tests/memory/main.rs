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
#[path = "../engine/world.rs"]
mod world;

use axum::body::Body;
use axum::http::Request;
use fanwise::api::auth::Auth;
use fanwise::api::{Api, router};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use world::{World, job};

const SECRET: &str = "the-operators-token";
/// Items of a task: as in a job of many small ones.
const CHUNK: usize = 250;

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
        let texts: Vec<String> = (0..CHUNK)
            .map(|n| format!("I was charged twice for plan {n}"))
            .collect();
        let stages = json!([{
            "name": "read", "kind": "map", "output": "item", "chunk": {"items": CHUNK}, "max_tokens": 32000, "instructions": "Say what it is about.",
            "output_schema": {
                "type": "object", "additionalProperties": false, "required": ["about", "urgent"],
                "properties": {"about": {"type": "string"}, "urgent": {"type": "boolean"}}
            }
        }]);
        let submitted = world.submit(&app, job(&texts, json!({"stages": stages})));
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
        let columns = |table: &str, own: &[&str]| -> String {
            let rows = self
                .world
                .query(&format!("SELECT name FROM pragma_table_info('{table}')"));
            let names = rows
                .iter()
                .map(|row| row["name"].as_str().unwrap().to_owned());
            let others: Vec<String> = names.filter(|name| !own.contains(&name.as_str())).collect();
            others.join(", ")
        };
        let (job, from, to) = (&self.job, self.tasks, results / CHUNK);
        for (table, own) in [("tasks", &["id", "idx"][..]), ("outputs", &["idx"])] {
            let rest = columns(table, own);
            self.world.execute(&format!(
                "WITH RECURSIVE n(n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM n WHERE n + 1 < {to})
                 INSERT INTO {table} (idx, {rest}) SELECT n, {rest} FROM n, {table} WHERE job = '{job}' AND idx = 0"
            ));
        }
        self.tasks = to;
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

/// Results are read from the database in pages of at most 2 MB and a task, so both of these have several.
#[test]
fn a_hundred_thousand_results_take_the_memory_that_fewer_take() {
    let mut done = Done::new();
    let mut most = Vec::new();
    for results in [50_000, 100_000] {
        done.grow_to(results);
        for format in ["json", "jsonl", "csv"] {
            let (came, held) = done.read(format);
            assert!(came > results * 50, "{results} as {format}: {came} bytes");
            most.push((format, held));
        }
    }
    println!("{most:?}");
    for ((format, fewer), (_, all)) in most.iter().zip(&most[3..]) {
        // A page of 2 MB as it was read, what is taken apart of it, and the world's own notes.
        assert!(*all < 6_000_000, "{format}: {all} bytes are held at once");
        assert!(*all <= fewer + 100_000, "{format}: {fewer}, then {all}");
    }
}
