//! The script of a reply: what goes over the wire and when, faults of the wire
//! included.

use bytes::Bytes;
use serde_json::Value;

use crate::{
    error::ApiError,
    faults::{Fault, Strike},
    limits::Which,
    message::Message,
    models::{Model, Usage},
    stream,
};

/// Lines of JSON that go out together.
const LINES: usize = 256;

/// How a reply ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In good order, though perhaps early.
    Clean,
    /// The connection breaks.
    Reset,
}

/// What goes over the wire, and when: times are milliseconds after the request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Name this number when the reply has ended, see [`Engine::ended`].
    pub number: u64,
    /// 0 where the connection breaks before any answer.
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub opens_ms: u64,
    pub pieces: Vec<(u64, Bytes)>,
    pub end: End,
    pub ends_ms: u64,
}

/// When a reply opens and ends, in milliseconds after the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    pub opens_ms: u64,
    pub ends_ms: u64,
}

impl Timing {
    /// Refusals are quick: a tenth of the time of an answer.
    pub fn quick(self) -> Self {
        let at = self.ends_ms / 10;
        Self {
            opens_ms: at,
            ends_ms: at,
        }
    }
}

/// What a call comes to, before it becomes a script.
pub struct Outcome {
    pub status: u16,
    pub body: Body,
    pub model: Option<&'static Model>,
    /// The rate class whose limits the headers announce.
    pub class: Option<&'static str>,
    pub usage: Usage,
    pub good: bool,
    pub strike: Option<Strike>,
    pub refused: Option<Which>,
    pub retry_after_s: Option<u64>,
    pub should_retry: Option<bool>,
    pub timing: Timing,
    /// Not billed, whatever its usage says.
    pub free: bool,
}

// One of each lives at a time: a box would save nothing.
#[allow(clippy::large_enum_variant)]
pub enum Body {
    Json(Value),
    Html(String),
    Stream(Message),
    /// Lines of JSON.
    Lines(Vec<String>),
    /// The connection breaks instead.
    Nothing,
}

impl Outcome {
    pub fn new(status: u16, body: Body) -> Self {
        Self {
            status,
            body,
            model: None,
            class: None,
            usage: Usage::default(),
            good: false,
            strike: None,
            refused: None,
            retry_after_s: None,
            should_retry: None,
            timing: Timing::default(),
            free: false,
        }
    }

    pub fn json(value: Value) -> Self {
        Self::new(200, Body::Json(value))
    }

    pub fn error(error: &ApiError, request_id: &str) -> Self {
        // Seen on 400s; for other statuses clients go by the status.
        let never = (error.status == 400).then_some(false);
        Self {
            retry_after_s: error.retry_after_s,
            should_retry: error.should_retry.or(never),
            ..Self::new(error.status, Body::Json(error.body(request_id)))
        }
    }

    /// The pieces with their times, and how the reply ends.
    pub fn script(&self, chunks: usize, request_id: &str) -> (Vec<(u64, String)>, End) {
        let fault = self.strike.map(|s| s.fault);
        let Timing { opens_ms, ends_ms } = self.timing;
        match &self.body {
            Body::Stream(message) => {
                let spread = ends_ms.saturating_sub(opens_ms) as f64;
                let timed = stream::pieces(message, chunks)
                    .into_iter()
                    .map(|p| (opens_ms + (spread * p.share).round() as u64, p.data));
                broken(timed.collect(), fault, request_id)
            }
            Body::Json(value) => {
                let text = value.to_string();
                if fault.is_some_and(breaks) && self.status == 200 {
                    let middle = text.char_indices().nth(text.chars().count() / 2);
                    let half = text.get(..middle.map_or(0, |(at, _)| at));
                    (
                        vec![(ends_ms, half.unwrap_or_default().to_owned())],
                        End::Reset,
                    )
                } else {
                    (vec![(ends_ms, text)], End::Clean)
                }
            }
            Body::Html(text) => (vec![(ends_ms, text.clone())], End::Clean),
            Body::Lines(lines) => {
                let mut parts: Vec<(u64, String)> = lines
                    .chunks(LINES)
                    .map(|part| (ends_ms, part.concat()))
                    .collect();
                if !fault.is_some_and(breaks) {
                    return (parts, End::Clean);
                }
                // Half of the parts, and of the last of them half.
                parts.truncate(parts.len().div_ceil(2));
                if let Some((_, last)) = parts.last_mut() {
                    let middle = last.char_indices().nth(last.chars().count() / 2);
                    last.truncate(middle.map_or(0, |(at, _)| at));
                }
                let end = if fault == Some(Fault::Cut) {
                    End::Clean
                } else {
                    End::Reset
                };
                (parts, end)
            }
            Body::Nothing => (Vec::new(), End::Reset),
        }
    }

    pub fn content_type(&self) -> &'static str {
        match self.body {
            Body::Stream(_) => "text/event-stream; charset=utf-8",
            Body::Json(_) | Body::Nothing => "application/json",
            Body::Html(_) => "text/html",
            Body::Lines(_) => "application/x-jsonl",
        }
    }
}

/// Faults that break the wire in the middle of an answer.
pub fn breaks(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Cut | Fault::ResetMid | Fault::ErrorEvent | Fault::Garbage
    )
}

/// A stream with its second half replaced by a fault.
fn broken(
    mut pieces: Vec<(u64, String)>,
    fault: Option<Fault>,
    request_id: &str,
) -> (Vec<(u64, String)>, End) {
    let Some(fault) = fault.filter(|f| breaks(*f)) else {
        return (pieces, End::Clean);
    };
    let kept = (pieces.len() / 2).max(1);
    let at = pieces.get(kept).map_or(0, |p| p.0);
    pieces.truncate(kept);
    match fault {
        Fault::ErrorEvent => {
            pieces.push((
                at,
                stream::error_event(&ApiError::overloaded().body(request_id)),
            ));
            (pieces, End::Clean)
        }
        Fault::Garbage => {
            pieces.push((at, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"ind\n\n\u{0}<html>upstream</html>\n\n".to_owned()));
            (pieces, End::Clean)
        }
        Fault::ResetMid => (pieces, End::Reset),
        _ => (pieces, End::Clean),
    }
}
