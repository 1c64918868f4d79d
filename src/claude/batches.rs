//! Message Batches: many requests as one, what the API says of a batch, and its results line by line.
//!
//! A batch may be looked at as often as one likes, its results come in any order, and a line may be read twice: what a
//! line belongs to is said by its `custom_id` alone.

use serde_json::Value;

use crate::claude::error::{CallError, ErrorCode, batch_error, not_a_message, not_answered};
use crate::claude::headers::{Headers, rfc3339_ms};
use crate::claude::models::{Model, Nano};
use crate::claude::request::MessagesRequest;
use crate::claude::response::Message;

/// Where batches are created and listed.
pub const BATCHES_PATH: &str = "/v1/messages/batches";
/// The API takes no more in one.
pub const MOST_REQUESTS: u32 = 100_000;
pub const MOST_BYTES: u64 = 256_000_000;
/// The longest line of results taken: as long as the longest event of a stream.
const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// The body that creates a batch, built request by request.
#[derive(Debug, Clone)]
pub struct Body {
    text: String,
    requests: u32,
}

const OPENING: &str = r#"{"requests":["#;
const CLOSING: &str = "]}";

impl Default for Body {
    fn default() -> Self {
        Self {
            text: OPENING.to_owned(),
            requests: 0,
        }
    }
}

impl Body {
    /// Adds a request. `custom_id` is of letters, digits, `_` and `-`, 64 at most, and no other has it.
    pub fn push(&mut self, custom_id: &str, request: &MessagesRequest) {
        if self.requests > 0 {
            self.text.push(',');
        }
        self.text.push_str(r#"{"custom_id":""#);
        self.text.push_str(custom_id);
        self.text.push_str(r#"","params":"#);
        // A batch takes no `stream`.
        let mut request = request.clone();
        request.stream = false;
        self.text
            .push_str(&String::from_utf8(request.body()).unwrap_or_default());
        self.text.push('}');
        self.requests += 1;
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.text.len() + CLOSING.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests == 0
    }

    #[must_use]
    pub fn requests(&self) -> u32 {
        self.requests
    }

    #[must_use]
    pub fn finish(mut self) -> String {
        self.text.push_str(CLOSING);
        self.text
    }
}

impl MessagesRequest {
    /// What must be reserved before this goes out in a batch: no result of it can cost more.
    #[must_use]
    pub fn worst_case_in_batch(&self, model: &Model) -> Nano {
        let live = self.worst_case(model);
        let searches = self.worst_searches(model);
        let tokens = u128::from(live.saturating_sub(searches));
        let half = tokens
            .saturating_mul(u128::from(model.prices.batch_percent))
            .div_ceil(100);
        // Costs are rounded up once for the batch and once for the region: a nano-dollar for each.
        let half = Nano::try_from(half).unwrap_or(Nano::MAX).saturating_add(2);
        half.saturating_add(searches)
    }
}

/// The id of a request in our batch: the batch's own id, the task and which of its attempts.
#[must_use]
pub fn custom_id(batch: &str, task: u32, attempt: u32) -> String {
    format!("{batch}-{task}-{attempt}")
}

/// What a `custom_id` says: batch, task, attempt. `None` for one that is not of ours.
#[must_use]
pub fn read_custom_id(id: &str) -> Option<(&str, u32, u32)> {
    let (rest, attempt) = id.rsplit_once('-')?;
    let (batch, task) = rest.rsplit_once('-')?;
    Some((batch, task.parse().ok()?, attempt.parse().ok()?))
}

/// How far a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    InProgress,
    Canceling,
    Ended,
}

/// A batch as the API describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    pub id: String,
    pub status: Status,
    /// All of its requests, in whatever state.
    pub requests: u64,
    pub created_at_ms: Option<u64>,
}

impl Remote {
    /// `None` for what is no batch, and for an id that cannot stand in a path.
    #[must_use]
    pub fn read(value: &Value) -> Option<Remote> {
        let id = value.get("id")?.as_str()?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if id.is_empty() || id.len() > 128 || !id.bytes().all(plain) {
            return None;
        }
        let counts = value.get("request_counts")?.as_object()?;
        Some(Remote {
            id: id.to_owned(),
            status: match value.get("processing_status")?.as_str()? {
                "ended" => Status::Ended,
                "canceling" => Status::Canceling,
                _ => Status::InProgress,
            },
            requests: counts.values().filter_map(Value::as_u64).sum(),
            created_at_ms: value
                .get("created_at")
                .and_then(Value::as_str)
                .and_then(rfc3339_ms),
        })
    }

    /// Reads a response's body.
    #[must_use]
    pub fn from_json(body: &[u8]) -> Option<Remote> {
        Remote::read(&serde_json::from_slice(body).ok()?)
    }
}

/// One page of the list of batches, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub batches: Vec<Remote>,
    /// Where the next page begins; `None`: this was the last.
    pub after: Option<String>,
}

impl Page {
    #[must_use]
    pub fn from_json(body: &[u8]) -> Option<Page> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let batches: Vec<Remote> = value
            .get("data")?
            .as_array()?
            .iter()
            .filter_map(Remote::read)
            .collect();
        let more = value.get("has_more").and_then(Value::as_bool) == Some(true);
        let after = batches.last().filter(|_| more).map(|last| last.id.clone());
        Some(Page { batches, after })
    }
}

/// One result.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub custom_id: String,
    pub result: Result<Message, CallError>,
}

impl Line {
    /// `None` for what is no result: the request then counts as one that has none yet.
    #[must_use]
    pub fn read(line: &[u8], now_ms: u64) -> Option<Line> {
        let value: Value = serde_json::from_slice(line).ok()?;
        let custom_id = value.get("custom_id")?.as_str()?.to_owned();
        let result = value.get("result")?;
        let result = match result.get("type")?.as_str()? {
            "succeeded" => match Message::from_value(result.get("message")?) {
                Ok(mut message) => {
                    // That it was a batch is known, whether the message says so or a gateway has left it out.
                    message.usage.service_tier = Some("batch".to_owned());
                    Ok(message)
                }
                Err(_) => Err(not_a_message(&Headers::none())),
            },
            "errored" => Err(batch_error(&result.get("error")?.to_string(), now_ms)),
            "expired" => Err(not_answered(ErrorCode::BatchExpired)),
            "canceled" => Err(not_answered(ErrorCode::BatchCanceled)),
            _ => return None,
        };
        Some(Line { custom_id, result })
    }
}

/// A line that is longer than any result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of the results is longer than {MAX_LINE_BYTES} bytes")]
pub struct TooLong;

/// Cuts bytes into lines as they come; what it holds is one line.
#[derive(Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes and hands each line that they complete to `line`.
    ///
    /// # Errors
    /// When a line grows beyond all measure.
    pub fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) -> Result<(), TooLong> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = rest.split_at(end);
            if self.rest.is_empty() {
                line(head);
            } else {
                self.rest.extend_from_slice(head);
                line(&self.rest);
                self.rest.clear();
            }
            rest = tail.get(1..).unwrap_or_default();
        }
        if self.rest.len() + rest.len() > MAX_LINE_BYTES {
            return Err(TooLong);
        }
        self.rest.extend_from_slice(rest);
        Ok(())
    }

    /// The last line, where nothing ended it.
    pub fn finish(self, mut line: impl FnMut(&[u8])) {
        if !self.rest.is_empty() {
            line(&self.rest);
        }
    }
}

#[cfg(test)]
mod tests;
