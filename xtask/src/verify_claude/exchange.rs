//! One call and its answer, recorded.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::client::{Answer, Client};

/// Headers of an answer that are worth keeping; others name the account or change with every call.
const KEPT: &[&str] = &[
    "content-type",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
];
const KEPT_PREFIX: &str = "anthropic-ratelimit-";
/// Of a long body, such as a stream, this much is kept.
const KEPT_BODY: usize = 16 * 1024;

/// A call and what came back.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub what: &'static str,
    pub method: &'static str,
    pub path: String,
    pub sent: Value,
    pub status: u16,
    pub headers: Map<String, Value>,
    pub body: String,
}

impl Exchange {
    /// The body, if it is JSON; else null.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(Value::as_str)
    }

    /// The status, and the words of an error.
    pub fn outcome(&self) -> String {
        let value = self.value();
        let words = value.pointer("/error/message").and_then(Value::as_str);
        let code = value
            .pointer("/error/details/error_code")
            .and_then(Value::as_str);
        let mut out = self.status.to_string();
        for part in [words, code].into_iter().flatten() {
            out.push_str(": ");
            out.extend(part.chars().take(160));
        }
        out
    }

    /// The data of each event of a stream.
    pub fn events(&self) -> Vec<Value> {
        self.body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter_map(|data| serde_json::from_str(data).ok())
            .collect()
    }

    pub fn json(&self) -> Value {
        let body = match serde_json::from_str::<Value>(&self.body) {
            Ok(value) => value,
            Err(_) => self.body.chars().take(KEPT_BODY).collect::<String>().into(),
        };
        json!({
            "what": self.what,
            "request": {"method": self.method, "path": self.path, "body": self.sent},
            "response": {"status": self.status, "headers": self.headers, "body": body},
        })
    }
}

/// All exchanges with one endpoint.
pub struct Session {
    client: Client,
    key: String,
    exchanges: Vec<Exchange>,
}

impl Session {
    pub fn new(url: &str, key: &str) -> Self {
        Self {
            client: Client::new(url.trim_end_matches('/'), None),
            key: key.to_owned(),
            exchanges: Vec::new(),
        }
    }

    pub fn exchanges(&self) -> &[Exchange] {
        &self.exchanges
    }

    /// A call with the key in `x-api-key`.
    pub fn call(&mut self, what: &'static str, path: &str, body: &Value) -> Result<Exchange> {
        let key = self.key.clone();
        self.call_with(what, path, body, &[("x-api-key", key.as_str())])
    }

    /// A call with the key in both headers.
    pub fn call_with_both(
        &mut self,
        what: &'static str,
        path: &str,
        body: &Value,
    ) -> Result<Exchange> {
        let key = self.key.clone();
        let bearer = format!("Bearer {key}");
        let headers = [
            ("x-api-key", key.as_str()),
            ("authorization", bearer.as_str()),
        ];
        self.call_with(what, path, body, &headers)
    }

    /// A call with these headers of authentication; without a body it is a GET, with `{}` an empty POST.
    pub fn call_with(
        &mut self,
        what: &'static str,
        path: &str,
        body: &Value,
        auth: &[(&str, &str)],
    ) -> Result<Exchange> {
        let method = if body.is_null() { "GET" } else { "POST" };
        let empty = body.as_object().is_none_or(Map::is_empty);
        let bytes = if empty {
            String::new()
        } else {
            body.to_string()
        };
        let mut headers = vec![
            ("anthropic-version", "2026-10-21"),
            ("content-type", "application/json"),
        ];
        headers.extend(auth);
        let answer = self.client.send(method, path, &headers, bytes.as_bytes())?;
        let exchange = Exchange {
            what,
            method,
            path: path.to_owned(),
            sent: body.clone(),
            status: answer.status,
            headers: kept(&answer),
            body: answer.body,
        };
        self.exchanges.push(exchange.clone());
        Ok(exchange)
    }
}

fn kept(answer: &Answer) -> Map<String, Value> {
    let wanted = |name: &str| KEPT.contains(&name) || name.starts_with(KEPT_PREFIX);
    answer
        .headers
        .iter()
        .filter(|(name, _)| wanted(name.as_str()))
        .filter_map(|(name, value)| Some((name.to_string(), Value::from(value.to_str().ok()?))))
        .collect()
}
