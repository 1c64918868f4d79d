//! The front door in workerd: streams that a browser hears, bodies that an attacker sends, answers that are compressed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use e2e::{World, id_of};
use serde_json::{Value, json};
use xtask::client::Client;

/// A job of so many items, one to a worker.
fn job(items: usize) -> Value {
    let items: Vec<String> = (0..items)
        .map(|n| format!("I was charged twice (case {n})"))
        .collect();
    json!({
        "task": "Find out what customers complain about",
        "input": {"items": items},
        "stages": [
            {"name": "classify", "kind": "map", "instructions": "Classify.", "output": "item", "chunk": {"items": 1}},
            {"name": "report", "kind": "synthesis", "instructions": "Sum up."}
        ],
        "limits": {"concurrency": 5}
    })
}

const PAGE: &str = r#"<!doctype html><title>watch</title><script>
const heard = [];
const source = new EventSource(URL_OF_EVENTS);
const note = (event) => heard.push({ type: event.type, id: event.lastEventId, data: JSON.parse(event.data) });
let opened = 0;
source.addEventListener("open", () => { opened += 1; });
for (const type of ["state", "progress", "task_failed"]) source.addEventListener(type, note);
source.addEventListener("done", (event) => {
  note(event);
  source.close();
  fetch("/heard", { method: "POST", body: JSON.stringify({ heard, opened }) });
});
</script>"#;

/// A page on an origin of its own; what it reports comes out of the channel. A browser opens connections that it then does
/// not use, so each has a thread.
fn serve(listener: TcpListener, page: String) -> Receiver<Value> {
    let (told, hears) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (page, told) = (page.clone(), told.clone());
            std::thread::spawn(move || answer(stream, &page, &told));
        }
    });
    hears
}

/// One request of the page's browser; `None` where it sent none.
fn answer(mut stream: TcpStream, page: &str, told: &Sender<Value>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? <= 2 {
            break;
        }
        let line = line.to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let text = if first.starts_with("GET / ") {
        page
    } else {
        ""
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length:";
    write!(stream, "{head} {}\r\n\r\n{text}", text.len()).ok()?;
    if first.starts_with("POST /heard") {
        told.send(serde_json::from_slice(&body).ok()?).ok()?;
    }
    Some(())
}

#[test]
fn a_browser_hears_a_job_to_its_end_through_lost_streams() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let world = World::builder()
        .standin(["--latency-ms", "300"])
        .var("CORS_ORIGINS", &origin)
        .var("EVENTS_POLL_MS", 500)
        // Streams end long before the job does: the browser connects again by itself.
        .var("EVENTS_MAX_MS", 1_500)
        .start()
        .unwrap();
    let id = id_of(&world.client.submit(&job(60)).unwrap()).unwrap();
    let ticket = world
        .client
        .post(&format!("/v1/jobs/{id}/events"), &json!({}))
        .unwrap();
    let ticket = ticket.ok().unwrap().json().unwrap();
    let url = ticket["url"].as_str().unwrap();
    assert!(url.starts_with(world.client.base()), "{url}");

    let page = PAGE.replace("URL_OF_EVENTS", &json!(url).to_string());
    let hears = serve(listener, page);
    let profile = std::env::temp_dir().join(format!("fanwise-browser-{}", std::process::id()));
    let mut browser = Command::new(xtask::setup::browser().unwrap())
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(&origin)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let report = hears.recv_timeout(Duration::from_secs(90));
    browser.kill().unwrap();
    browser.wait().unwrap();
    let _ = std::fs::remove_dir_all(profile);

    let report = report.expect("the page has not heard `done`");
    assert!(
        report["opened"].as_u64().unwrap() > 1,
        "{}",
        report["opened"]
    );
    let heard = report["heard"].as_array().unwrap();
    let states: Vec<&str> = heard
        .iter()
        .filter(|event| event["type"] == "state")
        .map(|event| event["data"]["state"].as_str().unwrap())
        .collect();
    // Each once, whatever was lost between.
    assert_eq!(
        states,
        ["queued", "planning", "running", "synthesizing", "succeeded"]
    );
    assert!(heard.iter().any(|event| event["type"] == "progress"));
    let done = heard.last().unwrap();
    assert_eq!(
        (&done["type"], &done["data"]["tasks"]["succeeded"]),
        (&json!("done"), &json!(60))
    );
    // The same without a browser: all of it in one answer, as curl would print it.
    let whole = world.client.get(&format!("/v1/jobs/{id}/events")).unwrap();
    assert_eq!(whole.header("content-type"), Some("text/event-stream"));
    assert!(whole.body.contains("event: done\n"), "{}", whole.body);
}

/// Sends bytes as they are, and reads the status of the answer.
fn raw(world: &World, request: &[u8]) -> String {
    let address = world.client.base().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // The Worker may have answered and hung up before all of it was sent.
    let _ = stream.write_all(request);
    let mut answer = String::new();
    let _ = BufReader::new(stream).read_line(&mut answer);
    answer.trim().to_owned()
}

#[test]
fn bodies_that_mean_harm_are_refused_by_the_runtime_or_by_us() {
    let world = World::builder()
        .var("MAX_BODY_BYTES", 100_000)
        .var("FANWISE_TOKEN", "a-token-of-tests")
        .start()
        .unwrap();
    let head = "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a-token-of-tests\r\ncontent-type: application/json\r\n";
    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..200 {
        chunked.extend_from_slice(b"1000\r\n");
        chunked.extend_from_slice(&[b' '; 0x1000]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let status = |request: &[u8]| {
        raw(&world, request)
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(status(&chunked), "413");
    let announced = format!("{head}content-length: 90000000\r\n\r\n");
    assert_eq!(status(announced.as_bytes()), "413");
    // Ten bytes that would be ten gigabytes.
    let bomb = format!("{head}content-encoding: gzip\r\ncontent-length: 10\r\n\r\n0123456789");
    assert_eq!(status(bomb.as_bytes()), "415");
    let deep = "[".repeat(90_000);
    let deep = format!("{head}content-length: {}\r\n\r\n{deep}", deep.len());
    assert_eq!(status(deep.as_bytes()), "400");
    // Two lengths, a length and chunks, a header within a header: whoever is in front must not see another request than we do.
    let both = format!("{head}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    let lengths = format!("{head}content-length: 4\r\ncontent-length: 5\r\n\r\nabcde");
    for request in [both, lengths] {
        assert!(
            ["400", "411", "413", "422"].contains(&status(request.as_bytes()).as_str()),
            "{request}"
        );
    }
    assert!(world.client.healthy());
}

#[test]
fn large_answers_are_compressed_for_who_takes_it() {
    let world = World::builder()
        .standin(["--latency-ms", "0"])
        .start()
        .unwrap();
    let done = world.run_job(&job(200), Duration::from_secs(60)).unwrap();
    let id = id_of(&done).unwrap();
    for path in [
        "/results?format=jsonl",
        "/results?format=csv",
        "/results",
        "/tasks?limit=200",
    ] {
        let path = format!("/v1/jobs/{id}{path}");
        let plain = world.client.get(&path).unwrap();
        assert_eq!(plain.header("content-encoding"), None, "{path}");
        let packed = curl(&world.client, &path, &["--compressed"]);
        assert_eq!(packed, plain.body, "{path}");
        let bytes = curl(&world.client, &path, &["-H", "accept-encoding: gzip"]);
        assert!(
            bytes.len() * 2 < plain.body.len(),
            "{path}: {} of {}",
            bytes.len(),
            plain.body.len()
        );
    }
}

/// What curl writes out, read as text whatever it is.
fn curl(client: &Client, path: &str, options: &[&str]) -> String {
    let output = Command::new("curl")
        .args([
            "-sS",
            "--fail",
            "-H",
            &format!("authorization: Bearer {}", client.token().unwrap()),
        ])
        .args(options)
        .arg(format!("{}{path}", client.base()))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{path}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout.iter().map(|byte| char::from(*byte)).collect()
}

#[test]
fn a_deep_look_is_for_admins() {
    let world = World::start().unwrap();
    let healthy = world.client.get("/healthz?deep=1").unwrap();
    assert_eq!(healthy.status, 200, "{}", healthy.body);
    let names = |health: &Value| -> Vec<String> {
        let checks = health["checks"].as_array().unwrap();
        checks
            .iter()
            .map(|check| check["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(&healthy.json().unwrap()),
        // The last one is a warning: the deployment has no cap of a day.
        [
            "configuration",
            "database",
            "storage",
            "blobs",
            "ACCOUNT_DAILY_USD"
        ]
    );
    let nobody = world.client.with_token(None);
    assert_eq!(nobody.get("/healthz?deep=1").unwrap().status, 401);
}

#[test]
fn what_is_configured_wrongly_is_named_at_once_and_to_the_operator_alone() {
    let secrets = [
        ("ANTHROPIC_API_KEY", "sk-ant-hunter2\u{e9}"),
        ("ANTHROPIC_BASE_URL", "https://user:hunter2@example.com"),
        ("WEBHOOK_SIGNING_KEY", "hunter2"),
        ("OTLP_HEADERS", "x-key=a, hunter2"),
        ("OTLP_ENDPOINT", "https://user:hunter2@example.com"),
        ("FETCH_ALLOW_HOSTS", "user:hunter2@example.com:1"),
        ("CORS_ORIGINS", "https://user:hunter2@example.com"),
        // A key in the wrong variable.
        ("WORKER_SLOTS", "sk-ant-hunter2-hunter2"),
    ];
    let mut wrong: Vec<(&str, &str)> = secrets.to_vec();
    wrong.extend([
        ("LEASE_MS", "-1"),
        ("MODELS_JSON", "{"),
        // Wrong only beside another one: 1,800 looks in one stream.
        ("EVENTS_POLL_MS", "500"),
    ]);
    let mut builder = World::builder().unwell();
    for (name, value) in &wrong {
        builder = builder.var(name, value);
    }
    let world = builder.start().unwrap();
    let told = world.client.get("/healthz?deep=1").unwrap();
    assert_eq!(told.status, 503, "{}", told.body);
    let health = told.json().unwrap();
    let checks = health["checks"].as_array().unwrap();
    let problem = |name: &str| {
        let check = checks.iter().find(|check| check["name"] == name);
        check.map(|check| check["problem"].as_str().unwrap())
    };
    for (name, _) in &wrong {
        // The poll is named by what it does not go with.
        let named = problem(
            name.strip_suffix("POLL_MS")
                .map_or(name, |_| "EVENTS_MAX_MS"),
        );
        assert!(
            named.is_some_and(|text| !text.is_empty()),
            "{name}: {health}"
        );
    }
    assert_eq!(checks.len(), wrong.len(), "{health}");
    assert_eq!(
        problem("LEASE_MS").unwrap(),
        "is \"-1\", wants a whole number from 200 to 600000"
    );

    // Everybody else learns that, and where the operator should look.
    let nobody = world.client.with_token(None);
    assert_eq!(nobody.get("/healthz?deep=1").unwrap().status, 401);
    let mut answers = vec![told];
    for client in [&world.client, &nobody] {
        for path in ["/healthz", "/v1/jobs", "/openapi.json"] {
            let answer = client.get(path).unwrap();
            let problem = answer.json().unwrap();
            assert_eq!(
                (answer.status, &problem["code"]),
                (503, &json!("misconfigured"))
            );
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("/healthz?deep=1"), "{detail}");
            assert!(
                wrong.iter().all(|(name, _)| !detail.contains(name)),
                "{detail}"
            );
            answers.push(answer);
        }
    }
    for answer in &answers {
        for name in [
            "content-security-policy",
            "x-content-type-options",
            "x-request-id",
        ] {
            assert!(answer.header(name).is_some(), "{name}: {}", answer.body);
        }
    }
    // Our own lines of the log: wrangler lists variables when it starts, as they are.
    let log = std::fs::read_to_string(world.worker.log()).unwrap();
    let ours: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("\"event\""))
        .collect();
    assert!(
        ours.iter().any(|line| line.contains("LEASE_MS: is")),
        "{log}"
    );
    let said = answers.iter().map(|answer| answer.body.as_str());
    for text in said.chain(ours) {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_start_that_fails_says_which_variable_is_wrong() {
    let started = World::builder().var("EVENTS_POLL_MS", 500).start();
    let error = format!("{:#}", started.err().unwrap());
    assert_eq!(
        error,
        "the Worker is not configured rightly: EVENTS_MAX_MS: is 1800 times EVENTS_POLL_MS, wants less than 1000 times"
    );
}

/// What the instance that answers has needed at most since its start; linear memory never shrinks.
fn memory(world: &World) -> u64 {
    let health = world.client.get("/healthz?deep=1").unwrap();
    health.ok().unwrap().json().unwrap()["memory_bytes"]
        .as_u64()
        .unwrap()
}

#[test]
fn a_hundred_thousand_results_go_out_in_little_memory() {
    const RESULTS: usize = 100_000;
    let mut world = World::builder()
        .standin(["--latency-ms", "0"])
        .start()
        .unwrap();
    let items: Vec<String> = (0..RESULTS)
        .map(|n| format!("I was charged twice (case {n})"))
        .collect();
    let body = json!({
        "task": "Find out what customers complain about",
        "input": {"items": items},
        "stages": [{
            "name": "classify", "kind": "map", "instructions": "Classify.", "output": "item",
            "chunk": {"items": 250}, "max_tokens": 32_000
        }]
    });
    let done = world.run_job(&body, Duration::from_secs(300)).unwrap();
    assert_eq!(done["state"], "succeeded", "{done}");
    let id = id_of(&done).unwrap();
    // What the job itself needed would hide what its results need.
    world.worker.restart().unwrap();
    let before = memory(&world);
    let mut bytes = 0;
    for (format, lines) in [("jsonl", RESULTS), ("csv", RESULTS + 1), ("json", 1)] {
        let path = format!("/v1/jobs/{id}/results?format={format}");
        let answer = world.client.get(&path).unwrap().ok().unwrap();
        assert_eq!(answer.body.lines().count(), lines, "{format}");
        bytes += answer.body.len() as u64;
    }
    let after = memory(&world);
    println!("{bytes} bytes of results; the Worker held {before} bytes before, {after} after");
    assert!(bytes > 20_000_000, "{bytes}");
    assert!(after - before < 8_000_000, "{before}, then {after} bytes");
}
