//! What the tests share: requests as clients send them, without a socket.
#![allow(dead_code)]

use serde_json::{Value, json};
use standin::{
    Config, Engine,
    engine::{Incoming, Reply},
    stats::Ended,
};

pub const HAIKU: &str = "claude-haiku-5-5";
pub const OPUS: &str = "claude-opus-5-5";

/// An engine with a clock in the test's hand.
pub struct Bench {
    pub engine: Engine,
    pub now_ms: u64,
}

impl Bench {
    pub fn new(config: Config) -> Self {
        Self {
            engine: Engine::new(config, 7, 0),
            now_ms: 1_000,
        }
    }

    /// Sends a request; its reply is played to the end at once.
    pub fn send(&mut self, incoming: &Incoming) -> Reply {
        let reply = self.engine.handle(incoming, self.now_ms);
        let ends_ms = self.now_ms + reply.ends_ms;
        self.engine.ended(reply.number, Ended::Complete, ends_ms);
        reply
    }

    pub fn messages(&mut self, body: &Value) -> Reply {
        self.send(&post("/v1/messages", body))
    }

    pub fn configure(&mut self, changes: Value) {
        let config = self.engine.config().with(&changes).unwrap();
        self.engine.configure(config);
    }

    pub fn stats(&self) -> Value {
        self.engine.stats().json(self.now_ms, true)
    }
}

pub fn bench() -> Bench {
    Bench::new(Config::default())
}

pub fn post(path: &str, body: &Value) -> Incoming {
    raw("POST", path, body.to_string().into_bytes())
}

pub fn get(path: &str) -> Incoming {
    raw("GET", path, Vec::new())
}

pub fn raw(method: &str, path: &str, body: Vec<u8>) -> Incoming {
    let headers = [
        ("x-api-key", "sk-test"),
        ("anthropic-version", "2026-10-21"),
        ("content-type", "application/json"),
        ("host", "127.0.0.1:1"),
    ];
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Incoming {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
        body: body.into(),
        too_large: false,
    }
}

/// The same request with a header changed; an empty value takes it away.
pub fn with_header(mut incoming: Incoming, name: &str, value: &str) -> Incoming {
    incoming.headers.retain(|(k, _)| k != name);
    if !value.is_empty() {
        incoming.headers.push((name.to_owned(), value.to_owned()));
    }
    incoming
}

pub fn hello() -> Value {
    json!({
        "model": HAIKU,
        "max_tokens": 400,
        "messages": [{"role": "user", "content": "Hello, Claude"}],
    })
}

/// `hello` with fields set; null takes one away.
pub fn hello_with(changes: Value) -> Value {
    let mut body = hello();
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            body.as_object_mut().unwrap().remove(key);
        } else {
            body[key] = value.clone();
        }
    }
    body
}

pub fn with_schema(schema: &Value) -> Value {
    hello_with(
        json!({"max_tokens": 8000, "output_config": {"format": {"type": "json_schema", "schema": schema}}}),
    )
}

pub fn text(reply: &Reply) -> String {
    let bytes: Vec<u8> = reply.pieces.iter().flat_map(|(_, p)| p.to_vec()).collect();
    String::from_utf8(bytes).unwrap()
}

pub fn json_of(reply: &Reply) -> Value {
    serde_json::from_str(&text(reply)).unwrap()
}

/// The text blocks of a plain answer.
pub fn said(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", text(reply));
    let message = json_of(reply);
    let blocks = message["content"].as_array().unwrap();
    blocks.iter().filter_map(|b| b["text"].as_str()).collect()
}

/// The JSON that a structured answer holds.
pub fn answered(reply: &Reply) -> Value {
    serde_json::from_str(&said(reply)).unwrap()
}

pub fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    let found = reply.headers.iter().find(|(k, _)| *k == name);
    found.map(|(_, v)| v.as_str()).unwrap_or_default()
}

/// The events of a streamed answer: name and data.
pub fn events(reply: &Reply) -> Vec<(String, Value)> {
    let text = text(reply);
    text.split("\n\n")
        .filter(|e| !e.is_empty())
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let name = name.strip_prefix("event: ").unwrap().to_owned();
            let data = data.strip_prefix("data: ").unwrap();
            (name, serde_json::from_str(data).unwrap())
        })
        .collect()
}

/// The request a worker makes for these items.
pub fn worker(items: &Value, output: &Value) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {"results": {"type": "array", "items": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "output": output},
            "required": ["id", "output"],
            "additionalProperties": false,
        }}},
        "required": ["results"],
        "additionalProperties": false,
    });
    let mut body = with_schema(&schema);
    body["messages"][0]["content"] = json!(format!("Do it.\n<items>\n{items}\n</items>\n"));
    body
}

/// The output schema of the sample's support tickets.
pub fn ticket_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "primary_category": {"type": "string", "enum": ["billing", "login", "bug", "performance", "shipping", "feature_request", "cancellation", "other"]},
            "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative"]},
            "urgency": {"type": "string", "enum": ["low", "medium", "high"]},
            "issue": {"type": "string"},
        },
        "required": ["primary_category", "sentiment", "urgency", "issue"],
        "additionalProperties": false,
    })
}

pub fn tickets() -> Value {
    json!([
        {"id": "T-1", "text": "I was charged twice for my invoice. Refund me today, this is unacceptable!"},
        {"id": "T-2", "subject": "Dark mode", "body": "I love the app. It would be great if you could add a dark mode, no rush."},
        {"id": "T-3", "text": "The password reset link never arrives, I cannot log in."},
    ])
}
