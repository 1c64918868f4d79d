//! Webhooks and schedules in workerd: what is sent is verified by the official `standardwebhooks` library, and what a
//! schedule starts comes from a server on the web.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::World;
use serde_json::{Value, json};
use xtask::{root, setup};

const SOON: Duration = Duration::from_secs(60);

/// The receiver, in a process of its own; gone when it is dropped.
struct Receiver {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Receiver {
    fn start() -> Receiver {
        let python = setup::python().unwrap();
        let mut child = Command::new(python)
            .arg(root::dir().join("tests/e2e/receiver/receive.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        Receiver { child, lines, port }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn knows(&mut self, secret: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{secret}").unwrap();
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn world(receiver: &Receiver) -> World {
    World::builder()
        .var("FETCH_ALLOW_HOSTS", format!("127.0.0.1:{}", receiver.port))
        .var("WEBHOOK_BACKOFF_MS", 200)
        .start()
        .unwrap()
}

fn stages() -> Value {
    json!([{"name": "sort", "kind": "map", "instructions": "Sort.", "chunk": {"items": 1}}])
}

#[test]
fn the_official_library_verifies_what_is_sent_and_a_failed_try_comes_again() {
    let mut receiver = Receiver::start();
    let world = world(&receiver);
    let secret = world
        .client
        .get("/v1/webhook-secret")
        .unwrap()
        .ok()
        .unwrap();
    receiver.knows(secret.json().unwrap()["secret"].as_str().unwrap());
    let job = json!({
        "task": "Sort", "input": {"items": ["one", "two"]}, "stages": stages(),
        "webhook": {"url": receiver.url("/hook?of=acme")},
    });
    let job = world.run_job(&job, SOON).unwrap();
    let id = job["id"].as_str().unwrap();
    let (first, second) = (receiver.next(), receiver.next());
    for message in [&first, &second] {
        assert_eq!(message["refused"], Value::Null, "{message}");
        assert_eq!(message["forged"], false);
        assert_eq!(message["path"], "/hook?of=acme");
        assert_eq!(
            message["id"],
            format!("msg_{}_1", id.trim_start_matches("job_"))
        );
        assert_eq!(message["verified"]["type"], "job.finished");
        assert_eq!(message["verified"]["data"]["id"], id);
        assert_eq!(message["verified"]["data"]["state"], "succeeded");
    }
    assert_eq!(first["verified"], second["verified"]);

    let path = format!("/v1/jobs/{id}/deliveries");
    let until = Instant::now() + SOON;
    let delivery = loop {
        let deliveries = world.client.get(&path).unwrap().ok().unwrap();
        let delivery = deliveries.json().unwrap()["data"][0].clone();
        if delivery["status"] == "delivered" {
            break delivery;
        }
        assert!(Instant::now() < until, "{delivery}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let statuses: Vec<&Value> = delivery["tries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["status"])
        .collect();
    assert_eq!(statuses, [500, 204]);
    let again = format!("{path}/{}/redeliver", delivery["id"].as_str().unwrap());
    let answer = world.client.post(&again, &json!({})).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(receiver.next()["verified"], first["verified"]);

    // And then the job goes, with all that was told of it.
    let gone = world
        .client
        .send("DELETE", &format!("/v1/jobs/{id}"), &[], &[])
        .unwrap();
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    assert_eq!(world.client.get(&path).unwrap().status, 404);
}

#[test]
fn a_schedule_starts_a_job_over_what_lies_at_its_address() {
    let receiver = Receiver::start();
    let world = world(&receiver);
    let schedule = json!({
        "cron": "30 2 * * *", "time_zone": "Europe/Berlin",
        "job": {"task": "Sort", "stages": stages()}, "input_url": receiver.url("/today.csv"),
    });
    let answer = world.client.post("/v1/schedules", &schedule).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body);
    let made = answer.json().unwrap();
    // The runtime's own time zones: half past two in Berlin is half past one in winter, half past midnight in summer.
    let next = made["next_runs"].as_array().unwrap();
    assert_eq!(next.len(), 5);
    let ends: Vec<&str> = next.iter().map(|at| &at.as_str().unwrap()[10..]).collect();
    assert!(
        ends.iter()
            .all(|end| ["T01:30:00.000Z", "T00:30:00.000Z", "T01:00:00.000Z"].contains(end)),
        "{ends:?}"
    );
    for (zone, status) in [("Asia/Kathmandu", 201), ("Europe/Atlantis", 422)] {
        let mut other = schedule.clone();
        other["time_zone"] = json!(zone);
        assert_eq!(
            world.client.post("/v1/schedules", &other).unwrap().status,
            status,
            "{zone}"
        );
    }

    let path = format!("/v1/schedules/{}", made["id"].as_str().unwrap());
    let run = world
        .client
        .post(&format!("{path}/run"), &json!({}))
        .unwrap();
    assert_eq!(run.status, 202, "{}", run.body);
    let until = Instant::now() + SOON;
    let job = loop {
        let seen = world
            .client
            .get(&path)
            .unwrap()
            .ok()
            .unwrap()
            .json()
            .unwrap();
        let run = &seen["last_runs"][0];
        match run["job"].as_str() {
            Some(job) => break job.to_owned(),
            None => assert!(
                run["state"] == "waiting" && Instant::now() < until,
                "{seen}"
            ),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let job = world.client.finished(&job, SOON).unwrap();
    assert_eq!(job["state"], "succeeded");
    assert_eq!(job["progress"]["items"]["total"], 3);

    // Due each minute: the cron starts it.
    let every = json!({"cron": "* * * * *", "time_zone": "UTC"});
    let body = every.to_string();
    let headers = [("content-type", "application/json")];
    let changed = world
        .client
        .send("PATCH", &path, &headers, body.as_bytes())
        .unwrap();
    assert_eq!(changed.status, 200, "{}", changed.body);
    let until = Instant::now() + Duration::from_secs(90);
    loop {
        world.cron().unwrap();
        let seen = world
            .client
            .get(&path)
            .unwrap()
            .ok()
            .unwrap()
            .json()
            .unwrap();
        let run = &seen["last_runs"][0];
        if run["cause"] == "cron" && run["state"] == "started" {
            break;
        }
        assert!(Instant::now() < until, "{seen}");
        std::thread::sleep(Duration::from_secs(1));
    }
}
