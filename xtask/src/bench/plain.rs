//! The yardstick: a plain client that sends the calls which the Worker sent, so many at a time, each as soon
//! as one has ended, and keeps nothing. No queue, no database, no retries: nothing can be much faster.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Map, Value, json};
use ureq::http::Request;

use crate::client::Client;
use crate::dev::NO_KEY;
use crate::standin::Standin;

/// As many as the stand-in keeps.
const KEPT: usize = 512;
/// Headers that belong to a connection and not to a call.
const OF_THE_CONNECTION: [&str; 7] = [
    "host",
    "content-length",
    "connection",
    "transfer-encoding",
    "accept-encoding",
    "cf-connecting-ip",
    "x-api-key",
];

/// One call, to be sent again.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What the Worker sent last: its calls for items, and the one for the synthesis.
pub struct Recorded {
    workers: Vec<Call>,
    synthesis: Call,
}

impl Recorded {
    pub fn of(standin: &Standin) -> Result<Recorded> {
        let path = format!("/control/calls?limit={KEPT}&bodies=1");
        let calls = Client::new(standin.url(), None).get(&path)?.ok()?.json()?;
        let with_role = |role: &str| -> Vec<Call> {
            let all = calls.as_array().into_iter().flatten();
            all.filter(|call| call.get("role").and_then(Value::as_str) == Some(role))
                .filter_map(read)
                .collect()
        };
        let workers = with_role("worker");
        let synthesis = with_role("synthesis").into_iter().next();
        match (workers.is_empty(), synthesis) {
            (false, Some(synthesis)) => Ok(Recorded { workers, synthesis }),
            _ => bail!("the stand-in kept no calls of the Worker to send again"),
        }
    }
}

impl Recorded {
    /// For a client that is a program of its own.
    pub fn to_json(&self, base: &str) -> Value {
        let call = |call: &Call| {
            let headers: Map<String, Value> = call
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect();
            json!({"path": call.path, "headers": headers, "body": String::from_utf8_lossy(&call.body)})
        };
        let workers: Vec<Value> = self.workers.iter().map(call).collect();
        json!({"base": base, "workers": workers, "synthesis": call(&self.synthesis)})
    }
}

fn read(call: &Value) -> Option<Call> {
    let headers = call.get("headers")?.as_object()?;
    let headers = headers
        .iter()
        .filter(|(name, _)| !OF_THE_CONNECTION.contains(&name.as_str()))
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .chain([("x-api-key".to_owned(), NO_KEY.to_owned())])
        .collect();
    Some(Call {
        path: call.get("path")?.as_str()?.to_owned(),
        headers,
        body: call.get("body")?.to_string().into_bytes(),
    })
}

/// Sends `count` calls for items, `concurrency` at a time, then the synthesis; the time it took.
pub fn run(
    standin: &Standin,
    recorded: &Recorded,
    count: usize,
    concurrency: usize,
) -> Result<Duration> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let fault = Mutex::new(None);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..concurrency {
            scope.spawn(|| {
                let agent = agent(concurrency);
                while !failed.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let call = recorded.workers.get(number % recorded.workers.len().max(1));
                    let (Some(call), true) = (call, number < count) else {
                        return;
                    };
                    if let Err(error) = send(&agent, standin.url(), call) {
                        failed.store(true, Ordering::SeqCst);
                        if let Ok(mut fault) = fault.lock() {
                            fault.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = fault.into_inner().ok().flatten() {
        return Err(error);
    }
    send(&agent(1), standin.url(), &recorded.synthesis)?;
    Ok(began.elapsed())
}

/// One for each thread: a connection that is kept is a thread's own.
fn agent(concurrency: usize) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(60)))
        .http_status_as_error(false)
        .max_idle_connections(concurrency)
        .proxy(None)
        .build()
        .new_agent()
}

/// Reads the stream to its end.
fn send(agent: &ureq::Agent, url: &str, call: &Call) -> Result<()> {
    let mut request = Request::builder()
        .method("POST")
        .uri(format!("{url}{}", call.path));
    for (name, value) in &call.headers {
        request = request.header(name, value);
    }
    let request = request
        .body(call.body.as_slice())
        .context("a recorded call is no request")?;
    let mut response = agent.run(request).context("the plain client's call")?;
    let status = response.status();
    let text = response
        .body_mut()
        .read_to_string()
        .context("the plain client's answer")?;
    if status != 200 {
        return Err(anyhow!("the plain client was answered {status}: {text}"));
    }
    if !text.contains("message_stop") && text.contains("event:") {
        bail!("a stream to the plain client was cut");
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_call_is_sent_as_it_was_with_a_key_of_its_own() {
        let call = read(&json!({
            "path": "/v1/messages", "role": "worker", "body": {"model": "m"},
            "headers": {"host": "x", "anthropic-version": "v", "content-length": "9"},
        }))
        .unwrap();
        let names: Vec<&str> = call.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["anthropic-version", "x-api-key"]);
        assert_eq!(call.body, br#"{"model":"m"}"#);
    }
}
