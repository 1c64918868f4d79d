//! One answer of the Messages API: its text, why it stopped, and what it used.
//!
//! The same [`Message`] comes from a stream ([`crate::claude::stream`]) and from a plain body
//! ([`Message::from_json`]). Blocks are told apart by `type` and never by position: a thinking
//! block may come first. Thinking itself is not kept, only counted.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::claude::headers::plain_id;

/// A whole answer. A refusal is one too: HTTP 200 with a stop reason of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// `msg_…`
    pub id: String,
    /// The model that answered, as the API names it.
    pub model: String,
    /// Everything but thinking, in the order of the answer.
    pub content: Vec<Block>,
    pub stop_reason: StopReason,
    /// Set on a refusal, when the API says why.
    pub refusal: Option<Refusal>,
    pub usage: Usage,
    /// The endpoint said how many tokens the answer took. Where it did not, the counts in `usage` are no price.
    pub counted: bool,
    /// After a pause: every block exactly as it came, thinking too, for the model to go on from. Empty otherwise.
    pub turn: Vec<Value>,
}

impl Message {
    /// The text of all text blocks, joined as they came. Structured output stands here.
    #[must_use]
    pub fn text(&self) -> String {
        self.content
            .iter()
            .filter_map(|block| match block {
                Block::Text { text, .. } => Some(text.as_str()),
                Block::ToolUse { .. } | Block::Other(_) => None,
            })
            .collect()
    }

    /// Reads the body of a response that was not streamed.
    ///
    /// # Errors
    /// When the body is no message: not JSON, or without `content`.
    pub fn from_json(body: &[u8]) -> Result<Self, NotAMessage> {
        let value: Value = serde_json::from_slice(body).map_err(|_| NotAMessage)?;
        Self::from_value(&value)
    }

    /// Reads a message that is part of a larger document, as in batch results.
    ///
    /// # Errors
    /// As [`Message::from_json`].
    pub fn from_value(value: &Value) -> Result<Self, NotAMessage> {
        let blocks = value
            .get("content")
            .and_then(Value::as_array)
            .ok_or(NotAMessage)?;
        // Some endpoints report no usage: what was answered is an answer all the same.
        let usage = value.get("usage").filter(|usage| usage.is_object());
        let kind = value.get("type").and_then(Value::as_str);
        if usage.is_none() && kind != Some("message") {
            return Err(NotAMessage);
        }
        let stop_reason = StopReason::from_value(value.get("stop_reason"));
        let output = usage.and_then(|usage| usage.get("output_tokens")?.as_u64());
        let mut message = Self {
            turn: if stop_reason == StopReason::PauseTurn {
                blocks
                    .iter()
                    .filter(|block| !is_empty_text(block))
                    .cloned()
                    .collect()
            } else {
                Vec::new()
            },
            id: id_of(value),
            model: text_of(value, "model"),
            content: blocks.iter().filter_map(Block::from_value).collect(),
            stop_reason,
            refusal: Refusal::from_value(value.get("stop_details")),
            usage: usage.map(Usage::from_value).unwrap_or_default(),
            counted: false,
        };
        message.judge_usage(output);
        Ok(message)
    }

    /// Decides whether the usage can be a count of this answer; `output` is what was reported at its end. Nobody reads a
    /// prompt of no tokens, and no text has none: zeros are what gateways give that do not count. Only a refusal before
    /// any output may cost nothing.
    pub(crate) fn judge_usage(&mut self, output: Option<u64>) {
        let silent = self.content.is_empty();
        let refused = self.stop_reason == StopReason::Refusal && silent;
        let plausible = self.usage.total_input() > 0 && (silent || self.usage.output_tokens > 0);
        self.counted = output.is_some() && (refused || plausible);
        if output.is_none() {
            self.usage.output_tokens = 0;
        }
    }
}

/// The API refuses an empty text block in a turn that it is to go on from.
pub(crate) fn is_empty_text(block: &Value) -> bool {
    block.get("type").and_then(Value::as_str) == Some("text") && text_of(block, "text").is_empty()
}

/// The body of a response with status 200 that is not what the API documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the response is not a message")]
pub struct NotAMessage;

pub(crate) fn id_of(value: &Value) -> String {
    value
        .get("id")
        .and_then(Value::as_str)
        .and_then(plain_id)
        .unwrap_or_default()
}

pub(crate) fn text_of(value: &Value, field: &str) -> String {
    let text = value.get(field).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// A content block that is not thinking.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    Text {
        text: String,
        /// Sources of the text, as the API gives them; empty unless a tool that cites was used.
        citations: Vec<Value>,
    },
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    /// Any other block, whole: server tools and their results, and what the API adds one day.
    Other(Value),
}

impl Block {
    /// `None` for thinking, which is not kept, and for what is no block.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        match value.get("type").and_then(Value::as_str)? {
            "text" => Some(Self::Text {
                text: text_of(value, "text"),
                citations: value
                    .get("citations")
                    .and_then(Value::as_array)
                    .cloned()
                    .unwrap_or_default(),
            }),
            "tool_use" => Some(Self::ToolUse {
                id: text_of(value, "id"),
                name: text_of(value, "name"),
                input: value.get("input").cloned().unwrap_or_default(),
            }),
            "thinking" | "redacted_thinking" => None,
            _ => Some(Self::Other(value.clone())),
        }
    }
}

/// Why the model stopped. A reason we do not know is kept as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StopReason {
    /// Done.
    #[default]
    EndTurn,
    /// `max_tokens` was reached: the text is cut off.
    MaxTokens,
    StopSequence,
    ToolUse,
    /// A server tool wants another turn.
    PauseTurn,
    Refusal,
    /// The context window was full: the text is cut off.
    ContextFull,
    Other(String),
}

impl StopReason {
    /// As the API spells it; also what an attempt's row stores.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::EndTurn => "end_turn",
            Self::MaxTokens => "max_tokens",
            Self::StopSequence => "stop_sequence",
            Self::ToolUse => "tool_use",
            Self::PauseTurn => "pause_turn",
            Self::Refusal => "refusal",
            Self::ContextFull => "model_context_window_exceeded",
            Self::Other(text) => text,
        }
    }

    /// The inverse of [`StopReason::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "end_turn" => Self::EndTurn,
            "max_tokens" => Self::MaxTokens,
            "stop_sequence" => Self::StopSequence,
            "tool_use" => Self::ToolUse,
            "pause_turn" => Self::PauseTurn,
            "refusal" => Self::Refusal,
            "model_context_window_exceeded" => Self::ContextFull,
            other => Self::Other(other.chars().take(64).collect()),
        }
    }

    pub(crate) fn from_value(value: Option<&Value>) -> Self {
        Self::parse(value.and_then(Value::as_str).unwrap_or_default())
    }

    /// Whether the text ends before the model was done with it.
    #[must_use]
    pub fn cuts_off(&self) -> bool {
        matches!(self, Self::MaxTokens | Self::ContextFull)
    }
}

/// Why the model refused; both fields may be unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    pub category: Option<String>,
    pub explanation: Option<String>,
}

impl Refusal {
    pub(crate) fn from_value(value: Option<&Value>) -> Option<Self> {
        let value = value?;
        if value.get("type").and_then(Value::as_str) != Some("refusal") {
            return None;
        }
        let field = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            category: field("category"),
            explanation: field("explanation"),
        })
    }
}

/// Tokens used by one call, or summed over several.
///
/// Read leniently: a count that is absent, null or no whole number is 0, because a call that was
/// paid for must not be lost to a field we do not understand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Input after the last cache breakpoint; the whole input is the sum of the three.
    #[serde(deserialize_with = "count")]
    pub input_tokens: u64,
    #[serde(deserialize_with = "count")]
    pub cache_creation_input_tokens: u64,
    #[serde(deserialize_with = "count")]
    pub cache_read_input_tokens: u64,
    /// How the cache writes divide by time to live, where the API says so.
    #[serde(deserialize_with = "or_default")]
    pub cache_creation: CacheCreation,
    /// Includes thinking.
    #[serde(deserialize_with = "count")]
    pub output_tokens: u64,
    #[serde(deserialize_with = "or_default")]
    pub output_tokens_details: OutputDetails,
    #[serde(deserialize_with = "or_default")]
    pub server_tool_use: ServerToolUse,
    /// `standard`, `priority` or `batch`.
    #[serde(deserialize_with = "or_default")]
    pub service_tier: Option<String>,
    /// Where the model ran; `us` costs more.
    #[serde(deserialize_with = "or_default")]
    pub inference_geo: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheCreation {
    #[serde(deserialize_with = "count")]
    pub ephemeral_5m_input_tokens: u64,
    #[serde(deserialize_with = "count")]
    pub ephemeral_1h_input_tokens: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputDetails {
    #[serde(deserialize_with = "count")]
    pub thinking_tokens: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerToolUse {
    #[serde(deserialize_with = "count")]
    pub web_search_requests: u64,
    #[serde(deserialize_with = "count")]
    pub web_fetch_requests: u64,
}

impl Usage {
    pub(crate) fn from_value(value: &Value) -> Self {
        Self::deserialize(value).unwrap_or_default()
    }

    /// Input tokens of every kind: what a long prompt's price is decided by.
    #[must_use]
    pub fn total_input(&self) -> u64 {
        self.input_tokens
            .saturating_add(self.cache_creation_input_tokens)
            .saturating_add(self.cache_read_input_tokens)
    }

    /// What the input-token limiter counts: cache reads are free of it.
    #[must_use]
    pub fn limited_input(&self) -> u64 {
        self.input_tokens
            .saturating_add(self.cache_creation_input_tokens)
    }

    /// Takes over what a later event of the same stream says: its counts are cumulative, and those
    /// it leaves out or gives as null stand as they were.
    pub(crate) fn update(&mut self, later: &Value) {
        let Some(fields) = later.as_object() else {
            return;
        };
        let Ok(Value::Object(mut merged)) = serde_json::to_value(&*self) else {
            return;
        };
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            merged.insert(name.clone(), value.clone());
        }
        *self = Self::from_value(&Value::Object(merged));
    }
}

/// A whole number, or 0 for anything else.
fn count<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    Ok(Value::deserialize(input)?.as_u64().unwrap_or(0))
}

/// A value of the type, or its default for anything else.
fn or_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + serde::de::DeserializeOwned,
{
    Ok(T::deserialize(Value::deserialize(input)?).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body() -> Value {
        json!({
            "id": "msg_01", "type": "message", "role": "assistant", "model": "claude-haiku-5-5",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "{\"a\":", "citations": null},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
                {"type": "text", "text": "1}"}
            ],
            "stop_reason": "end_turn", "stop_sequence": null, "stop_details": null,
            "usage": {
                "input_tokens": 5, "cache_creation_input_tokens": 10, "cache_read_input_tokens": null,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 10},
                "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 3},
                "server_tool_use": {"web_search_requests": 2}, "service_tier": "standard",
                "inference_geo": "not_available", "new_field": {"x": 1}
            }
        })
    }

    #[test]
    fn text_is_taken_by_type_and_thinking_is_dropped() {
        let message = Message::from_value(&body()).unwrap();
        assert_eq!(message.text(), "{\"a\":1}");
        assert_eq!(message.content.len(), 3);
        assert!(matches!(&message.content[1], Block::Other(v) if v["name"] == "web_search"));
        assert_eq!(message.stop_reason, StopReason::EndTurn);
        assert_eq!(message.usage.output_tokens_details.thinking_tokens, 3);
        assert_eq!(message.usage.cache_creation.ephemeral_1h_input_tokens, 10);
        assert_eq!(message.usage.server_tool_use.web_search_requests, 2);
        assert_eq!(message.usage.total_input(), 15);
    }

    #[test]
    fn counts_of_any_odd_kind_are_zero_and_the_rest_stands() {
        let usage = Usage::from_value(&json!({
            "input_tokens": -5, "output_tokens": 9, "cache_read_input_tokens": "many",
            "cache_creation": 7, "server_tool_use": null, "service_tier": 3
        }));
        assert_eq!(
            usage,
            Usage {
                output_tokens: 9,
                ..Usage::default()
            }
        );
    }

    #[test]
    fn later_usage_replaces_what_it_names_and_keeps_the_rest() {
        let mut usage = Usage::from_value(&body()["usage"]);
        usage.update(&json!({"output_tokens": 90, "input_tokens": null, "server_tool_use": {"web_search_requests": 4}}));
        assert_eq!(usage.output_tokens, 90);
        assert_eq!(usage.input_tokens, 5);
        assert_eq!(usage.cache_creation_input_tokens, 10);
        assert_eq!(usage.server_tool_use.web_search_requests, 4);
        usage.update(&json!("nonsense"));
        assert_eq!(usage.output_tokens, 90);
    }

    #[test]
    fn a_refusal_carries_its_category() {
        let mut value = body();
        value["stop_reason"] = json!("refusal");
        value["stop_details"] = json!({"type": "refusal", "category": "bio", "explanation": null});
        let message = Message::from_value(&value).unwrap();
        assert_eq!(message.stop_reason, StopReason::Refusal);
        assert_eq!(message.refusal.unwrap().category.as_deref(), Some("bio"));
    }

    #[test]
    fn stop_reasons_go_both_ways() {
        for text in [
            "end_turn",
            "max_tokens",
            "stop_sequence",
            "tool_use",
            "pause_turn",
            "refusal",
            "model_context_window_exceeded",
            "something_new",
        ] {
            assert_eq!(StopReason::parse(text).as_str(), text);
        }
        assert!(StopReason::MaxTokens.cuts_off() && StopReason::ContextFull.cuts_off());
        assert!(!StopReason::EndTurn.cuts_off());
    }

    #[test]
    fn what_is_no_message_is_said_to_be_none() {
        for body in [
            "",
            "[]",
            "null",
            "{\"content\":[]}",
            "{\"content\":{},\"usage\":{}}",
            "<html>",
        ] {
            assert_eq!(
                Message::from_json(body.as_bytes()),
                Err(NotAMessage),
                "{body}"
            );
        }
        assert!(
            Message::from_json(br#"{"content":[1,null,{}],"usage":{}}"#)
                .unwrap()
                .content
                .is_empty()
        );
    }
}
