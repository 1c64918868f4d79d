//! The models the stand-in knows: sizes, prices and what each accepts.
//!
//! One table, dated November 2026. Prices are nano-dollars per token, so that a
//! cached Haiku token (0.01 USD per million) is the whole number 10. A rate
//! class is a bucket of its own at the API; some models share one.

use serde_json::{Value, json};

use crate::{error::ApiError, pages::page};

/// What a model does about `thinking`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// Thinks unless told `disabled`.
    OnMayDisable,
    /// Thinks unless told `between_tools`; `disabled` is refused.
    OnBetweenTools,
    /// Always thinks.
    Always,
    /// Thinks only when asked for `adaptive`.
    OffMayAdapt,
    /// Only the old form with `budget_tokens`.
    Budget,
}

/// Price of one token in nano-dollars, by kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    pub input: u64,
    pub output: u64,
    pub write_5m: u64,
    pub write_1h: u64,
    pub read: u64,
}

impl Price {
    /// The usual multiples: writes cost 1.25 (5 minutes) and 2 (1 hour) inputs.
    const fn new(input: u64, output: u64, read: u64) -> Self {
        Self {
            input,
            output,
            write_5m: input + input / 4,
            write_1h: input * 2,
            read,
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    pub id: &'static str,
    /// Another id that names the same model, or an empty string.
    pub alias: &'static str,
    pub name: &'static str,
    pub line: &'static str,
    pub created: &'static str,
    /// Models of one class share their rate limits.
    pub class: &'static str,
    pub context: u64,
    pub max_output: u64,
    pub price: Price,
    /// Prices for prompts above 100,000 tokens, where they differ.
    pub price_long: Option<Price>,
    pub min_cacheable: u64,
    pub thinking: Thinking,
    /// Lowest first; empty where the model has no such parameter.
    pub efforts: &'static [&'static str],
    pub default_effort: Option<&'static str>,
    /// Takes `disabled` with the efforts above `high` too.
    pub quiet_at_any_effort: bool,
    pub forced_tools: bool,
    pub budget_tokens: bool,
    /// Refuses sampling parameters and a last message by the assistant.
    pub no_sampling: bool,
    pub no_prefill: bool,
    /// Accepts `role: "system"` inside `messages`.
    pub system_messages: bool,
    /// The tokenizer of Claude 4.7 and later: about 30 % more tokens.
    pub new_tokenizer: bool,
}

const ALL_EFFORTS: &[&str] = &["low", "medium", "high", "xhigh", "max"];

const BASE: Model = Model {
    id: "",
    alias: "",
    name: "",
    line: "",
    created: "",
    class: "",
    context: 1_000_000,
    max_output: 128_000,
    price: Price::new(0, 0, 0),
    price_long: None,
    min_cacheable: 512,
    thinking: Thinking::OnMayDisable,
    efforts: ALL_EFFORTS,
    default_effort: Some("high"),
    quiet_at_any_effort: false,
    forced_tools: true,
    budget_tokens: false,
    no_sampling: true,
    no_prefill: true,
    system_messages: true,
    new_tokenizer: true,
};

/// Every model, newest first, as `GET /v1/models` lists them.
pub const MODELS: &[Model] = &[
    Model {
        id: "claude-fable-5-2",
        name: "Claude Fable 5.2",
        line: "fable",
        created: "2026-11-09T00:00:00Z",
        class: "fable-5",
        price: Price::new(8_000, 40_000, 200),
        thinking: Thinking::Always,
        forced_tools: false,
        ..BASE
    },
    Model {
        id: "claude-haiku-5-5",
        name: "Claude Haiku 5.5",
        line: "haiku",
        created: "2026-10-07T00:00:00Z",
        class: "haiku-5-5",
        price: Price::new(100, 500, 10),
        price_long: Some(Price::new(500, 2_500, 50)),
        default_effort: Some("medium"),
        system_messages: false,
        ..BASE
    },
    Model {
        id: "claude-sonnet-5-5",
        name: "Claude Sonnet 5.5",
        line: "sonnet",
        created: "2026-09-28T00:00:00Z",
        class: "sonnet-5-5",
        price: Price::new(2_000, 10_000, 100),
        thinking: Thinking::OnBetweenTools,
        forced_tools: false,
        ..BASE
    },
    Model {
        id: "claude-opus-5-5",
        name: "Claude Opus 5.5",
        line: "opus",
        created: "2026-09-22T00:00:00Z",
        class: "opus-5-5",
        price: Price::new(4_000, 20_000, 200),
        thinking: Thinking::Always,
        default_effort: Some("medium"),
        forced_tools: false,
        ..BASE
    },
    Model {
        id: "claude-fable-5-1",
        name: "Claude Fable 5.1",
        line: "fable",
        created: "2026-09-01T00:00:00Z",
        class: "fable-5",
        price: Price::new(10_000, 50_000, 250),
        thinking: Thinking::Always,
        forced_tools: false,
        ..BASE
    },
    Model {
        id: "claude-opus-5",
        name: "Claude Opus 5",
        line: "opus",
        created: "2026-07-24T00:00:00Z",
        class: "opus-5",
        price: Price::new(5_000, 25_000, 500),
        ..BASE
    },
    Model {
        id: "claude-sonnet-5",
        name: "Claude Sonnet 5",
        line: "sonnet",
        created: "2026-06-30T00:00:00Z",
        class: "sonnet-5",
        price: Price::new(2_000, 10_000, 200),
        min_cacheable: 1_024,
        quiet_at_any_effort: true,
        system_messages: false,
        ..BASE
    },
    Model {
        id: "claude-opus-4-8",
        name: "Claude Opus 4.8",
        line: "opus",
        created: "2026-05-28T00:00:00Z",
        class: "opus-4",
        price: Price::new(5_000, 25_000, 500),
        min_cacheable: 1_024,
        thinking: Thinking::OffMayAdapt,
        ..BASE
    },
    Model {
        id: "claude-sonnet-4-6",
        name: "Claude Sonnet 4.6",
        line: "sonnet",
        created: "2026-02-17T00:00:00Z",
        class: "sonnet-4",
        price: Price::new(3_000, 15_000, 300),
        min_cacheable: 1_024,
        thinking: Thinking::OffMayAdapt,
        efforts: &["low", "medium", "high", "max"],
        budget_tokens: true,
        no_sampling: false,
        system_messages: false,
        new_tokenizer: false,
        ..BASE
    },
    Model {
        id: "claude-haiku-4-5-20251001",
        alias: "claude-haiku-4-5",
        name: "Claude Haiku 4.5",
        line: "haiku",
        created: "2025-10-15T00:00:00Z",
        class: "haiku-4-5",
        context: 200_000,
        max_output: 64_000,
        price: Price::new(1_000, 5_000, 100),
        min_cacheable: 4_096,
        thinking: Thinking::Budget,
        efforts: &[],
        default_effort: None,
        budget_tokens: true,
        no_sampling: false,
        no_prefill: false,
        system_messages: false,
        new_tokenizer: false,
        ..BASE
    },
];

/// The model a request names, by id or alias.
pub fn find(id: &str) -> Option<&'static Model> {
    MODELS
        .iter()
        .find(|m| m.id == id || (!m.alias.is_empty() && m.alias == id))
}

/// Tokens of one call, by how they are billed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: u64,
    pub write_5m: u64,
    pub write_1h: u64,
    pub read: u64,
    pub output: u64,
    pub thinking: u64,
}

impl Usage {
    /// The whole prompt.
    pub fn prompt(&self) -> u64 {
        self.input + self.write_5m + self.write_1h + self.read
    }

    /// What input-token limits count: cached reads are free.
    pub fn limited_input(&self) -> u64 {
        self.input + self.write_5m + self.write_1h
    }
}

impl Model {
    /// The model as `GET /v1/models/{id}` shows it.
    pub fn json(&self) -> Value {
        let yes = |supported: bool| json!({ "supported": supported });
        let effort = |name: &str| yes(self.efforts.contains(&name));
        json!({
            "id": self.id,
            "type": "model",
            "display_name": self.name,
            "created_at": self.created,
            "lifecycle": "active",
            "deprecated_at": null,
            "retires_at": null,
            "line": self.line,
            "max_input_tokens": self.context,
            "max_tokens": self.max_output,
            "capabilities": {
                "batch": yes(true),
                "citations": yes(true),
                "code_execution": yes(false),
                "context_management": {
                    "supported": false,
                    "clear_thinking_20251015": null,
                    "clear_tool_uses_20250919": null,
                    "compact_20260112": null,
                },
                "effort": {
                    "supported": !self.efforts.is_empty(),
                    "low": effort("low"),
                    "medium": effort("medium"),
                    "high": effort("high"),
                    "xhigh": effort("xhigh"),
                    "max": effort("max"),
                },
                "image_input": yes(true),
                "pdf_input": yes(true),
                "server_tools": {
                    "supported": true,
                    "code_execution": yes(false),
                    "web_search": yes(true),
                },
                "structured_outputs": yes(true),
                "thinking": {
                    "supported": true,
                    "types": {
                        "adaptive": yes(self.thinking != Thinking::Budget),
                        "between_tools": yes(self.thinking == Thinking::OnBetweenTools),
                        "disabled": yes(matches!(self.thinking, Thinking::OnMayDisable | Thinking::OffMayAdapt | Thinking::Budget)),
                        "enabled": yes(self.budget_tokens),
                    },
                },
            },
        })
    }

    /// Whether thinking comes without its text unless a request asks for a summary: so from Claude 4.7 on, as the newer
    /// tokenizer is.
    pub fn omits_thinking(&self) -> bool {
        self.new_tokenizer
    }

    /// Cost of one call in nano-dollars.
    pub fn cost_nano(&self, usage: &Usage) -> u64 {
        let price = match self.price_long {
            Some(long) if usage.prompt() > 100_000 => long,
            _ => self.price,
        };
        usage.input * price.input
            + usage.write_5m * price.write_5m
            + usage.write_1h * price.write_1h
            + usage.read * price.read
            + usage.output * price.output
    }
}

/// `GET /v1/models` with `limit`, `after_id` and `before_id`.
pub fn list(query: &str) -> Result<Value, ApiError> {
    let page = page(MODELS, query, |m| m.id)?;
    Ok(json!({
        "data": page.list.iter().map(Model::json).collect::<Vec<_>>(),
        "has_more": page.has_more,
        "first_id": page.list.first().map(|m| m.id),
        "last_id": page.list.last().map(|m| m.id),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_haiku_prompt_costs_five_times_as_much() {
        let haiku = find("claude-haiku-5-5").unwrap();
        let short = Usage {
            input: 100_000,
            output: 1_000,
            ..Usage::default()
        };
        let long = Usage {
            input: 100_001,
            ..short
        };
        assert_eq!(haiku.cost_nano(&short), 10_000_000 + 500_000);
        assert_eq!(haiku.cost_nano(&long), 100_001 * 500 + 2_500_000);
    }

    #[test]
    fn aliases_and_ids_name_the_same_model() {
        assert_eq!(find("claude-haiku-4-5"), find("claude-haiku-4-5-20251001"));
        assert!(find("claude-3-opus").is_none());
    }
}
