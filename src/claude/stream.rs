//! A streamed answer, put together.
//!
//! [`StreamReader`] takes the body's bytes as they come and gives one [`Message`] at the end. An
//! answer counts as whole when `message_stop` was seen, or when a stream ended in order after a stop
//! reason with every block closed: some servers leave the rest out. A connection that ends before is
//! a cut stream, whatever had arrived, because the text may lack its end. Errors that come in the
//! middle of a stream end it. What was counted until then is kept, for the books.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::claude::error::{CallError, ErrorClass, ErrorCode, stream_error};
use crate::claude::headers::Headers;
use crate::claude::response::{
    Block, Message, Refusal, StopReason, Usage, id_of, is_empty_text, text_of,
};
use crate::claude::sse::{SseEvent, SseParser};

/// 128,000 tokens of output are well under a megabyte of text; tools may bring more.
const MAX_CONTENT_BYTES: usize = 32 * 1024 * 1024;
const MAX_BLOCKS: usize = 10_000;

/// Reads the body of one streamed response.
#[derive(Debug)]
pub struct StreamReader {
    headers: Headers,
    parser: SseParser,
    assembler: MessageAssembler,
    failed: Option<CallError>,
}

impl StreamReader {
    /// `headers` are the response's: errors take the request id from them.
    #[must_use]
    pub fn new(headers: Headers) -> Self {
        Self {
            headers,
            parser: SseParser::new(),
            assembler: MessageAssembler::default(),
            failed: None,
        }
    }

    /// Takes the next bytes. Once it has failed or is done, further bytes change nothing, so the
    /// caller may stop reading as soon as this says [`Progress::Done`] or fails.
    ///
    /// # Errors
    /// As soon as the stream cannot become a message any more.
    pub fn push(&mut self, bytes: &[u8], now_ms: u64) -> Result<Progress, CallError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut events = Vec::new();
        let parsed = self.parser.push(bytes, &mut events);
        for event in events {
            if let Err(fault) = self.assembler.push(&event) {
                return Err(self.fail(fault, now_ms));
            }
        }
        if let Err(fault) = parsed {
            return Err(self.fail(StreamFault::Invalid(fault.to_string()), now_ms));
        }
        Ok(if self.assembler.done {
            Progress::Done
        } else {
            Progress::More
        })
    }

    /// The message, once the body is over.
    ///
    /// # Errors
    /// When it had failed before, or the message is not whole.
    pub fn finish(mut self) -> Result<Message, CallError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut last = Vec::new();
        self.parser.finish(&mut last);
        for event in last {
            // An event that was cut in the middle is none: the stop reason decides whether the message is whole.
            let _ = self.assembler.push(&event);
        }
        let usage = self.assembler.usage_so_far();
        let message = self.assembler.finish().ok_or_else(|| {
            let text = "the stream ended before the message did";
            let error = CallError::new(ErrorClass::RetryNow, ErrorCode::StreamCut, text);
            of_stream(error, &self.headers, usage)
        })?;
        Ok(message)
    }

    /// What has been counted so far: for a call that is broken off from our side.
    #[must_use]
    pub fn usage_so_far(&self) -> Option<Usage> {
        self.assembler.usage_so_far()
    }

    fn fail(&mut self, fault: StreamFault, now_ms: u64) -> CallError {
        let error = match fault {
            StreamFault::Reported(data) => stream_error(&data, &self.headers, now_ms),
            StreamFault::Invalid(text) => {
                let class = ErrorClass::RetryAfter { after_ms: None };
                CallError::new(class, ErrorCode::StreamInvalid, text)
            }
        };
        let error = of_stream(error, &self.headers, self.assembler.usage_so_far());
        self.failed = Some(error.clone());
        error
    }
}

fn of_stream(error: CallError, headers: &Headers, usage: Option<Usage>) -> CallError {
    let mut error = error.possibly_paid(usage);
    error.status = Some(200);
    error.request_id = headers.request_id().or(error.request_id);
    error
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    More,
    /// The message is whole; whatever still comes is of no interest.
    Done,
}

/// Why a stream cannot become a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFault {
    /// An `error` event, with its data.
    Reported(String),
    /// Not what the API documents.
    Invalid(String),
}

/// Builds a message from events.
#[derive(Debug, Default)]
pub struct MessageAssembler {
    head: Option<Head>,
    /// By index, as deltas name their block by it.
    blocks: BTreeMap<u64, Building>,
    /// Those of them that were begun and not closed.
    open: BTreeSet<u64>,
    bytes: usize,
    done: bool,
}

#[derive(Debug, Default)]
struct Head {
    id: String,
    model: String,
    stop_reason: StopReason,
    refusal: Option<Refusal>,
    usage: Usage,
    /// A stop reason came after the blocks.
    stopped: bool,
    /// Output tokens as reported after the blocks: those in `message_start` are no count.
    output: Option<u64>,
}

/// A block as far as it has come.
#[derive(Debug)]
enum Building {
    Text {
        text: String,
        citations: Vec<Value>,
    },
    /// A block whose `input` arrives as pieces of JSON.
    WithInput {
        start: Value,
        input: String,
    },
    /// A block that comes whole with its start.
    Whole(Value),
    /// Kept only for a turn that was paused: the API wants it back as it was.
    Thinking(Value),
}

impl MessageAssembler {
    /// Takes one event; unknown ones are passed over, as the API asks of its clients.
    ///
    /// # Errors
    /// On an `error` event, and on one that breaks the documented form.
    pub fn push(&mut self, event: &SseEvent) -> Result<(), StreamFault> {
        if self.done {
            return Ok(());
        }
        if event.name == "error" {
            return Err(StreamFault::Reported(event.data.clone()));
        }
        if event.data.trim() == DONE {
            return Ok(());
        }
        // The data says what it is; some gateways name every event `message`.
        let known = event.name.is_empty() || KNOWN.contains(&event.name.as_str());
        let data: Value = match serde_json::from_str(&event.data) {
            Ok(data) => data,
            Err(_) if known => return Err(invalid("an event that is not JSON")),
            Err(_) => return Ok(()),
        };
        match data.get("type").and_then(Value::as_str).unwrap_or_default() {
            "error" => Err(StreamFault::Reported(event.data.clone())),
            "message_start" => self.start(data.get("message").unwrap_or(&Value::Null)),
            "content_block_start" => self.start_block(&data),
            "content_block_delta" => self.delta(&data),
            "content_block_stop" => {
                self.open.remove(&self.index_of(&data));
                Ok(())
            }
            "message_delta" => self.message_delta(&data),
            "message_stop" => {
                self.done = self.head.is_some();
                if self.done {
                    Ok(())
                } else {
                    Err(invalid("an end without a beginning"))
                }
            }
            // `ping`, and what is not known yet.
            _ => Ok(()),
        }
    }

    /// The message, if it is whole.
    #[must_use]
    pub fn finish(self) -> Option<Message> {
        let ended = self.done || self.open.is_empty();
        let head = self
            .head
            .filter(|head| ended && (self.done || head.stopped))?;
        let turn = if head.stop_reason == StopReason::PauseTurn {
            let blocks = self.blocks.values().map(Building::raw);
            blocks.filter(|block| !is_empty_text(block)).collect()
        } else {
            Vec::new()
        };
        let mut message = Message {
            turn,
            id: head.id,
            model: head.model,
            content: self
                .blocks
                .into_values()
                .filter_map(Building::finish)
                .collect(),
            stop_reason: head.stop_reason,
            refusal: head.refusal,
            usage: head.usage,
            counted: false,
        };
        message.judge_usage(head.output);
        Some(message)
    }

    /// What has been counted so far; `None` before the message began.
    #[must_use]
    pub fn usage_so_far(&self) -> Option<Usage> {
        self.head.as_ref().map(|head| head.usage.clone())
    }

    fn start(&mut self, message: &Value) -> Result<(), StreamFault> {
        if self.head.is_some() {
            return Err(invalid("a second beginning"));
        }
        self.head = Some(Head {
            id: id_of(message),
            model: text_of(message, "model"),
            stop_reason: StopReason::from_value(message.get("stop_reason")),
            refusal: Refusal::from_value(message.get("stop_details")),
            usage: message
                .get("usage")
                .map(Usage::from_value)
                .unwrap_or_default(),
            ..Head::default()
        });
        Ok(())
    }

    /// Some servers leave the index out: their blocks come one after the other.
    fn index_of(&self, data: &Value) -> u64 {
        let last = || self.blocks.last_key_value().map_or(0, |(index, _)| *index);
        data.get("index")
            .and_then(Value::as_u64)
            .unwrap_or_else(last)
    }

    fn start_block(&mut self, data: &Value) -> Result<(), StreamFault> {
        let next = self
            .blocks
            .last_key_value()
            .map_or(0, |(index, _)| index.saturating_add(1));
        let index = data.get("index").and_then(Value::as_u64).unwrap_or(next);
        let block = data
            .get("content_block")
            .ok_or_else(|| invalid("a block without content"))?;
        if self.blocks.len() >= MAX_BLOCKS {
            return Err(invalid("too many blocks"));
        }
        let building = match block
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
        {
            "text" => Building::Text {
                text: text_of(block, "text"),
                citations: Vec::new(),
            },
            "thinking" | "redacted_thinking" => Building::Thinking(block.clone()),
            _ if block.get("input").is_some() => Building::WithInput {
                start: block.clone(),
                input: String::new(),
            },
            _ => Building::Whole(block.clone()),
        };
        if self.blocks.insert(index, building).is_some() {
            return Err(invalid("a block begun twice"));
        }
        self.open.insert(index);
        Ok(())
    }

    fn delta(&mut self, data: &Value) -> Result<(), StreamFault> {
        let index = self.index_of(data);
        let delta = data.get("delta").unwrap_or(&Value::Null);
        let piece = |field: &str| delta.get(field).and_then(Value::as_str).unwrap_or_default();
        let kind = delta.get("type").and_then(Value::as_str);
        if kind == Some("text_delta") && self.blocks.is_empty() {
            // Some servers begin to write without saying so.
            let (text, citations) = (String::new(), Vec::new());
            self.blocks
                .insert(index, Building::Text { text, citations });
        }
        let block = self
            .blocks
            .get_mut(&index)
            .ok_or_else(|| invalid("a piece of a block that was not begun"))?;
        let grown = match (block, kind.unwrap_or_default()) {
            (Building::Text { text, .. }, "text_delta") => {
                text.push_str(piece("text"));
                piece("text").len()
            }
            (Building::Text { citations, .. }, "citations_delta") => {
                citations.extend(delta.get("citation").cloned());
                // A citation quotes a sentence or two; this keeps their number bounded.
                1_024
            }
            (Building::WithInput { input, .. }, "input_json_delta") => {
                input.push_str(piece("partial_json"));
                piece("partial_json").len()
            }
            (Building::Thinking(block), kind @ ("thinking_delta" | "signature_delta")) => {
                let field = kind.trim_end_matches("_delta");
                let known = block.get(field).and_then(Value::as_str).unwrap_or_default();
                let whole = format!("{known}{}", piece(field));
                if let Some(fields) = block.as_object_mut() {
                    fields.insert(field.to_owned(), Value::String(whole));
                }
                piece(field).len()
            }
            // What is not known yet.
            _ => 0,
        };
        self.bytes += grown;
        if self.bytes > MAX_CONTENT_BYTES {
            return Err(invalid("more content than any answer has"));
        }
        Ok(())
    }

    fn message_delta(&mut self, data: &Value) -> Result<(), StreamFault> {
        let head = self
            .head
            .as_mut()
            .ok_or_else(|| invalid("a piece of a message that was not begun"))?;
        if let Some(delta) = data.get("delta") {
            if let Some(reason) = delta.get("stop_reason").and_then(Value::as_str) {
                head.stop_reason = StopReason::parse(reason);
                head.stopped = true;
            }
            if let Some(refusal) = Refusal::from_value(delta.get("stop_details")) {
                head.refusal = Some(refusal);
            }
        }
        if let Some(usage) = data.get("usage") {
            head.usage.update(usage);
            let output = usage.get("output_tokens").and_then(Value::as_u64);
            head.output = output.or(head.output);
        }
        Ok(())
    }
}

impl Building {
    fn finish(self) -> Option<Block> {
        match self {
            Self::Text { text, citations } => Some(Block::Text { text, citations }),
            Self::Thinking(_) => None,
            Self::Whole(block) => Block::from_value(&block),
            Self::WithInput { start, input } => Block::from_value(&with_input(start, &input)),
        }
    }

    /// The block as the API would give it in an answer that is not streamed.
    fn raw(&self) -> Value {
        match self {
            Self::Text { text, citations } => {
                let mut block = serde_json::json!({"type": "text", "text": text});
                if let Some(fields) = block.as_object_mut().filter(|_| !citations.is_empty()) {
                    fields.insert("citations".to_owned(), Value::Array(citations.clone()));
                }
                block
            }
            Self::Thinking(block) | Self::Whole(block) => block.clone(),
            Self::WithInput { start, input } => with_input(start.clone(), input),
        }
    }
}

/// No pieces, or pieces that make no JSON (the answer was cut): what the block began with stands.
fn with_input(mut start: Value, input: &str) -> Value {
    if let Ok(input) = serde_json::from_str::<Value>(input)
        && let Some(fields) = start.as_object_mut()
    {
        fields.insert("input".to_owned(), input);
    }
    start
}

/// Ends streams of another vendor's form, and is sent by some who translate.
const DONE: &str = "[DONE]";

/// Events that carry something for us: their data must be JSON. What has another name is read where it can be.
const KNOWN: &[&str] = &[
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
];

fn invalid(text: &str) -> StreamFault {
    StreamFault::Invalid(format!("the stream is not as documented: {text}"))
}

#[cfg(test)]
mod tests;
