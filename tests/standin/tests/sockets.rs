//! The stand-in on a real socket: broken connections, clients that go away, the
//! control endpoints, and the program's one line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::*;
use serde_json::{Value, json};
use standin::{Config, Standin};

fn request(method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\nanthropic-version: 2026-10-21\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn connect(url: &str) -> TcpStream {
    let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

/// Everything that comes back, as far as it comes.
fn exchange(url: &str, method: &str, path: &str, body: &Value) -> String {
    let mut stream = connect(url);
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    stream
        .write_all(request(method, path, &body).as_bytes())
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn body_of(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn streamed() -> Value {
    hello_with(json!({"stream": true}))
}

/// Waits for a counter to reach a value; the socket's end is noticed in its own
/// time.
fn wait_for(standin: &Standin, pointer: &str, wanted: u64) {
    let start = Instant::now();
    while standin.stats().pointer(pointer).and_then(Value::as_u64) != Some(wanted) {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{pointer}: {}",
            standin.stats()
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_streamed_answer_over_http() {
    let standin = Standin::start(Config {
        latency_ms: 50,
        ..Config::default()
    })
    .unwrap();
    let answer = exchange(&standin.url(), "POST", "/v1/messages", &streamed());
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("transfer-encoding: chunked") && answer.contains("event: message_stop")
    );
    wait_for(&standin, "/answers/good", 1);
}

#[test]
fn connections_that_break() {
    let standin = Standin::start(Config::default()).unwrap();
    let fault = |name: &str| {
        standin
            .configure(&json!({"rules": [{"fault": name, "times": 1}]}))
            .unwrap()
    };
    fault("reset");
    assert_eq!(
        exchange(&standin.url(), "POST", "/v1/messages", &streamed()),
        ""
    );
    fault("reset_mid");
    let broken = exchange(&standin.url(), "POST", "/v1/messages", &streamed());
    assert!(
        broken.contains("message_start") && !broken.ends_with("0\r\n\r\n"),
        "{broken}"
    );
    fault("cut");
    let cut = exchange(&standin.url(), "POST", "/v1/messages", &streamed());
    assert!(
        !cut.contains("message_stop") && cut.ends_with("0\r\n\r\n"),
        "{cut}"
    );
}

#[test]
fn a_client_that_goes_away_is_noticed() {
    let standin = Standin::start(Config {
        latency_ms: 60_000,
        ..Config::default()
    })
    .unwrap();
    let mut waiting = connect(&standin.url());
    waiting
        .write_all(request("POST", "/v1/messages", &hello().to_string()).as_bytes())
        .unwrap();
    wait_for(&standin, "/in_flight", 1);
    drop(waiting);
    wait_for(&standin, "/answers/client_gone", 1);
    // Also in the middle of a stream.
    standin.configure(&json!({"first_byte": 0.0})).unwrap();
    let mut reading = BufReader::new(connect(&standin.url()));
    reading
        .get_mut()
        .write_all(request("POST", "/v1/messages", &streamed().to_string()).as_bytes())
        .unwrap();
    let mut line = String::new();
    while !line.contains("message_start") {
        line.clear();
        reading.read_line(&mut line).unwrap();
    }
    drop(reading);
    wait_for(&standin, "/answers/client_gone", 2);
    assert_eq!(standin.stats()["in_flight"], 0);
}

#[test]
fn control_over_http() {
    let standin = Standin::start(Config::default()).unwrap();
    let url = standin.url();
    let control =
        |method: &str, path: &str, body: Value| body_of(&exchange(&url, method, path, &body));
    exchange(&url, "POST", "/v1/messages", &hello());
    wait_for(&standin, "/answers/good", 1);
    let stats = control("GET", "/control/stats?tasks=0", Value::Null);
    assert_eq!(stats["calls"]["by_status"]["200"], 1);
    assert!(stats.get("tasks").is_none());
    let calls = control("GET", "/control/calls?limit=5", Value::Null);
    assert_eq!(calls[0]["body"]["model"], HAIKU);
    assert!(
        calls[0]["headers"].get("x-api-key").is_none(),
        "keys are not shown"
    );
    let timeline = control("GET", "/control/timeline?class=haiku-5-5", Value::Null);
    assert_eq!(timeline[0][1], 1);
    let changed = control(
        "POST",
        "/control/config",
        json!({"latency_ms": 5, "faults": {"429": 0.5}}),
    );
    assert_eq!(
        (&changed["latency_ms"], &changed["faults"]["429"]),
        (&json!(5), &json!(0.5))
    );
    let refused = exchange(&url, "POST", "/control/config", &json!({"nonsense": 1}));
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("nonsense"));
    assert!(
        control("GET", "/control/faults", Value::Null)
            .get("spend_limit")
            .is_some()
    );
    assert_eq!(
        control("POST", "/control/kill?grace_ms=0", Value::Null)["in_flight"],
        0
    );
    control("POST", "/control/reset", Value::Null);
    assert_eq!(standin.stats()["calls"]["total"], 0);
}

#[test]
fn dropping_it_stops_it() {
    let standin = Standin::start(Config::default()).unwrap();
    let url = standin.url();
    drop(standin);
    assert!(TcpStream::connect(url.strip_prefix("http://").unwrap()).is_err());
}

#[test]
fn the_program_says_where_it_listens() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_standin"))
        .args(["--port", "0", "--latency-ms=1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = line
        .trim()
        .strip_prefix("standin listening on ")
        .unwrap()
        .to_owned();
    let answer = exchange(&url, "GET", "/v1/models/claude-haiku-5-5", &Value::Null);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(body_of(&answer)["max_tokens"], 128_000);
}

#[test]
fn a_wrong_flag_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_standin"))
        .args(["--latncy", "1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--latncy 1: unknown flag"));
}
