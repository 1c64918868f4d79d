//! The engine in workerd: killed in the middle, cancelled, out of budget; and what it reads as jobs grow.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e::{Builder, World, id_of};
use serde_json::{Value, json};
use xtask::client::Client;

const WITHIN: Duration = Duration::from_secs(120);
const CRON: Duration = Duration::from_millis(500);

/// One task for each item, and a report.
fn job(items: usize, limits: Value) -> Value {
    let items: Vec<Value> = (0..items)
        .map(|n| json!({"id": format!("T-{n}"), "text": format!("I was charged twice (case {n})")}))
        .collect();
    json!({
        "task": "Find out what customers complain about",
        "input": {"items": items},
        "stages": [
            {"name": "classify", "kind": "map", "instructions": "Classify.", "output": "item", "chunk": {"items": 1}},
            {"name": "report", "kind": "synthesis", "instructions": "Sum up."}
        ],
        "limits": limits
    })
}

/// Intervals so short that a crash is noticed within seconds.
fn hasty() -> Builder {
    World::builder()
        .var("LEASE_MS", 3_000)
        .var("WATCH_MS", 1_000)
        .var("QUEUED_STALE_MS", 2_000)
        .var("DRIVE_STALE_MS", 3_000)
        .var("CALL_TIMEOUT_MS", 10_000)
        .cron(CRON)
}

fn succeeded(job: &Value) -> u64 {
    job["progress"]["tasks"]["succeeded"].as_u64().unwrap()
}

/// Looks until the job is as wanted; the job.
fn until(world: &World, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + WITHIN;
    loop {
        let job = world.client.job(id).unwrap();
        if wanted(&job) {
            return job;
        }
        assert!(Instant::now() < end, "not in time: {job}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn control(world: &World) -> Client {
    Client::new(world.standin.url(), None)
}

fn count(world: &World, path: &str) -> u64 {
    let stats = world.standin.stats().unwrap();
    let found = stats.pointer(path).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("{path} in {stats}"))
}

/// Every item has its result once.
fn assert_whole(world: &World, id: &str, items: usize) {
    let lines = world
        .client
        .get(&format!("/v1/jobs/{id}/results?format=jsonl"))
        .unwrap();
    let ids: Vec<String> = lines
        .body
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].to_string())
        .collect();
    assert_eq!(ids.len(), items);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), items);
    let report = world.client.report(id).unwrap();
    assert_eq!(report["coverage"]["missing"], json!([]));
    assert!(report["synthesis"].is_string());
}

/// The local queue forgets everything with the process, and calls in flight are cut.
#[test]
fn a_job_outlives_kill_minus_nine() {
    let mut world = hasty().standin(["--latency-ms", "700"]).start().unwrap();
    let submitted = world
        .client
        .submit(&job(60, json!({"concurrency": 8})))
        .unwrap();
    let id = id_of(&submitted).unwrap();
    let mut cut = 0;
    for (kill, at) in [10, 30].into_iter().enumerate() {
        until(&world, &id, |job| succeeded(job) >= at);
        let mark = "/control/kill?grace_ms=1500";
        let said = control(&world).post(mark, &Value::Null).unwrap();
        let in_flight = said.ok().unwrap().json().unwrap()["in_flight"]
            .as_u64()
            .unwrap();
        assert!(kill > 0 || in_flight > 0, "nothing was under way");
        world.worker.kill();
        // Calls that began after the mark died with it too.
        control(&world).post(mark, &Value::Null).unwrap();
        cut += in_flight;
        world.worker.restart().unwrap();
    }
    let job = until(&world, &id, |job| !job["finished_at"].is_null());
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_whole(&world, &id, 60);
    assert_eq!(count(&world, "/paid_twice/answers"), 0);
    // Those in flight when it was killed may have been paid and are counted apart. A second or so of answers was not
    // written down yet either.
    let again = count(&world, "/paid_twice/after_kill");
    assert!(again <= cut + 2 * 16, "{again} of {cut} in flight");
    let calls = count(&world, "/calls/total");
    assert!(calls <= 61 + cut + 2 * 16, "{calls} calls");
}

/// Nothing more is claimed once a cancel has been answered, and nothing that waits for a connection is sent half a second later.
#[test]
fn after_a_cancel_no_call_begins() {
    let world = hasty().standin(["--latency-ms", "900"]).start().unwrap();
    let submitted = world
        .client
        .submit(&job(200, json!({"concurrency": 40})))
        .unwrap();
    let id = id_of(&submitted).unwrap();
    until(&world, &id, |job| succeeded(job) >= 20);
    let cancelled = world
        .client
        .post(&format!("/v1/jobs/{id}/cancel"), &json!({}))
        .unwrap();
    assert_eq!(
        cancelled.ok().unwrap().json().unwrap()["state"],
        "cancelled"
    );
    std::thread::sleep(Duration::from_millis(1_000));
    let calls = count(&world, "/calls/total");
    std::thread::sleep(Duration::from_millis(4_000));
    assert_eq!(count(&world, "/calls/total"), calls);
    assert!(calls < 120, "{calls} calls of 200");
    let job = until(&world, &id, |job| {
        job["cost"]["reserved_usd"] == 0.0 && job["progress"]["tasks"]["running"] == 0
    });
    let tasks = &job["progress"]["tasks"];
    assert_eq!(succeeded(&job) + tasks["cancelled"].as_u64().unwrap(), 200);
    // What is missing, and only that, is done by a retry.
    let before = succeeded(&job);
    let retried = world
        .client
        .post(&format!("/v1/jobs/{id}/retry"), &json!({}))
        .unwrap();
    assert_eq!(retried.ok().unwrap().json().unwrap()["run"], 2);
    let job = until(&world, &id, |job| !job["finished_at"].is_null());
    assert_eq!(job["state"], "succeeded", "{job}");
    assert!(before >= 20);
    assert_whole(&world, &id, 200);
    assert_eq!(count(&world, "/paid_twice/answers"), 0);
}

/// A job that its cap halts goes on with a higher one; one that ended `partial` for it is finished by a retry.
#[test]
fn more_budget_brings_the_rest() {
    let world = hasty().standin(["--latency-ms", "100"]).start().unwrap();
    let limits =
        |on_budget: &str| json!({"max_cost_usd": 0.3, "on_budget": on_budget, "concurrency": 10});
    for on_budget in ["pause", "finish"] {
        let mut body = job(150, limits(on_budget));
        body["stages"][0]["model"] = json!("claude-opus-5-5");
        body["reuse"] = json!(false);
        let id = id_of(&world.client.submit(&body).unwrap()).unwrap();
        let path = format!("/v1/jobs/{id}");
        let halted = until(&world, &id, |job| {
            job["state"] == "paused" || !job["finished_at"].is_null()
        });
        assert!(
            halted["cost"]["spent_usd"].as_f64().unwrap() <= 0.3,
            "{halted}"
        );
        let more = json!({"limits": {"max_cost_usd": 50.0}});
        if on_budget == "pause" {
            assert_eq!(halted["halt"]["reason"], "budget", "{halted}");
            let patch = world.client.send(
                "PATCH",
                &path,
                &[("content-type", "application/json")],
                more.to_string().as_bytes(),
            );
            patch.unwrap().ok().unwrap();
            let resumed = world.client.post(&format!("{path}/resume"), &json!({}));
            resumed.unwrap().ok().unwrap();
        } else {
            assert_eq!(halted["state"], "partial", "{halted}");
            let retried = world.client.post(&format!("{path}/retry"), &more);
            retried.unwrap().ok().unwrap();
        }
        let job = until(&world, &id, |job| job["state"] == "succeeded");
        assert_eq!(job["progress"]["items"]["missing"], 0);
        assert_whole(&world, &id, 150);
    }
}

/// What D1 reads for a settle: the same for each task, however large the job.
#[test]
fn rows_read_for_a_task_do_not_grow_with_the_job() {
    let world = hasty().standin(["--latency-ms", "300"]).start().unwrap();
    let sizes: Vec<usize> = match std::env::var("FANWISE_ROWS_ITEMS") {
        Ok(more) => vec![100, 10_000, more.parse().unwrap()],
        Err(_) => vec![100, 10_000],
    };
    let mut per_task = Vec::new();
    for items in sizes {
        let log = std::fs::read_to_string(world.worker.log()).unwrap().len();
        let submitted = world
            .client
            .submit(&job(items, json!({"concurrency": 20})))
            .unwrap();
        let id = id_of(&submitted).unwrap();
        // Expanded whole, and some of it done.
        let all = items as u64;
        until(&world, &id, |job| {
            succeeded(job) >= 90 && job["progress"]["tasks"]["total"] == all
        });
        let from = std::fs::read_to_string(world.worker.log()).unwrap().len();
        let from = if items > 100 { from } else { log };
        let done = succeeded(&world.client.job(&id).unwrap());
        until(&world, &id, |job| succeeded(job) >= (done + 100).min(all));
        let cancel = world
            .client
            .post(&format!("/v1/jobs/{id}/cancel"), &json!({}));
        let _ = cancel.unwrap();
        let text = std::fs::read_to_string(world.worker.log()).unwrap();
        let (mut rows, mut tasks) = (0, 0);
        for line in text[from..].lines() {
            let line = line.find('{').map_or("", |at| &line[at..]);
            let Ok(line) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            if line["event"] == "tasks" && line["why"] == "settled" {
                rows += line["rows_read"].as_u64().unwrap_or(0);
                tasks += line["tasks"].as_array().unwrap().len() as u64;
            }
        }
        assert!(tasks >= 50, "{tasks} of {items}");
        per_task.push(rows as f64 / tasks as f64);
        println!("{items} tasks: {rows} rows read to settle {tasks}");
    }
    let few = per_task[0];
    assert!(
        per_task.iter().all(|many| *many <= few * 1.5 + 20.0),
        "{per_task:?}"
    );
}
