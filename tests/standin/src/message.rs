//! Messages: content cut into blocks and tokens, usage, and the JSON of a plain
//! answer. Thinking comes first and eats `max_tokens`, as in the API.

use serde_json::{Value, json};

use crate::{
    answer::Content,
    faults::{Effects, Fault},
    ids,
    models::{Model, Usage},
    tokens,
    validate::{Checked, Thoughts},
};

/// One content block of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    Thinking {
        text: String,
        signature: String,
    },
    Text(String),
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    /// A use of a tool that runs here, and what it brought: two blocks of the API's own form.
    ServerTool(Value),
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub id: String,
    pub model: &'static Model,
    pub blocks: Vec<Block>,
    pub stop_reason: &'static str,
    pub stop_sequence: Option<String>,
    pub stop_details: Value,
    pub usage: Usage,
    /// Uses of web search and web fetch.
    pub searches: u64,
    pub fetches: u64,
    pub service_tier: &'static str,
    /// What it calls the model that answered.
    pub name: String,
    pub effects: Effects,
    /// Not billed, whatever its usage says.
    pub free: bool,
}

/// What a message is made of, besides the request.
#[derive(Clone, Debug)]
pub struct Draft {
    pub content: Content,
    pub ending: Ending,
    pub effects: Effects,
    pub seed: u64,
    /// The prompt's tokens.
    pub input: Usage,
    pub name: Option<String>,
}

/// How an answer ends other than by being whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Whole,
    /// Stops at half its length as if `max_tokens` were reached.
    Truncated,
    /// Declined after the first token: no content.
    Refused,
    /// Declined before any output.
    RefusedEarly,
    /// Declined after half of the text.
    RefusedMid,
    /// Stops at half its length, and says that it is whole.
    SilentlyCut,
    /// No content, but an ordinary end.
    Empty,
    /// Uses its tools and stops in the middle of the turn.
    Paused,
}

const THOUGHT: &str = "I read what was asked, the form the answer must have and the texts it is about; then I answer each in turn. ";

/// Thinking tokens by effort. Few: the stand-in only shows that they exist.
fn thinking_tokens(effort: &str) -> u64 {
    match effort {
        "low" => 12,
        "medium" => 24,
        "high" => 48,
        "xhigh" => 96,
        _ => 160,
    }
}

const CATEGORIES: &[&str] = &[
    "cyber",
    "bio",
    "frontier_llm",
    "reasoning_extraction",
    "general_harms",
];

fn refusal(seed: u64, named: bool) -> Value {
    let category = CATEGORIES.get(seed as usize % CATEGORIES.len());
    json!({
        "type": "refusal",
        "category": category.filter(|_| named),
        "explanation": "The stand-in was told to refuse this request.",
    })
}

/// Makes a message of an answer.
pub fn compose(request: &Checked<'_>, draft: Draft) -> Message {
    let model = request.model;
    let Draft {
        content,
        ending,
        effects,
        seed,
        input,
        name,
    } = draft;
    let mut message = Message {
        id: ids::message_id(seed),
        model,
        blocks: Vec::new(),
        stop_reason: "end_turn",
        stop_sequence: None,
        stop_details: Value::Null,
        usage: input,
        searches: 0,
        fetches: 0,
        service_tier: "standard",
        name: name.unwrap_or_else(|| model.id.to_owned()),
        effects,
        free: ending == Ending::RefusedEarly,
    };
    if request.max_tokens == 0 {
        message.stop_reason = "max_tokens";
        return message;
    }
    if matches!(ending, Ending::Refused | Ending::RefusedEarly) {
        message.stop_reason = "refusal";
        message.stop_details = refusal(seed, ending == Ending::RefusedEarly);
        message.usage.output = u64::from(ending == Ending::Refused);
        return message;
    }
    let window = request.context.saturating_sub(input.prompt());
    let (mut left, full) = if window < request.max_tokens {
        (window, "model_context_window_exceeded")
    } else {
        (request.max_tokens, "max_tokens")
    };
    if let Thoughts::On { omitted } = request.thoughts {
        let wanted = thinking_tokens(request.effort);
        let spent = wanted.min(left);
        let text = if omitted {
            String::new()
        } else {
            thought(spent, model)
        };
        let signature = format!("standin{}", ids::other_id("", seed));
        message.blocks.push(Block::Thinking { text, signature });
        message.usage.thinking = spent;
        message.usage.output = spent;
        left -= spent;
        if left == 0 {
            message.stop_reason = full;
            return message;
        }
    }
    if !request.resumed || ending == Ending::Paused {
        message.use_tools(request, seed);
    }
    if ending == Ending::RefusedMid {
        message.stop_details = refusal(seed, true);
    }
    match content {
        _ if ending == Ending::Empty => message.usage.output += 1,
        _ if ending == Ending::Paused => {
            message.stop_reason = "pause_turn";
            message.usage.output += 1;
        }
        Content::Tool { name, input } => {
            message.usage.output += tokens::for_model(request.tokenizer.count_json(&input), model);
            message.stop_reason = "tool_use";
            message.blocks.push(Block::ToolUse {
                id: ids::other_id("toolu_01", seed),
                name,
                input,
            });
        }
        Content::Text(text) => message.text(text, request, ending, (left, full)),
        Content::Json(value) => message.text(value.to_string(), request, ending, (left, full)),
    }
    if message.effects.has(Fault::EmptyBlocks) {
        let at = message
            .blocks
            .iter()
            .position(|b| matches!(b, Block::Text(_)));
        if let Some(at) = at {
            message.blocks.insert(at, Block::Text(String::new()));
            message.blocks.push(Block::Text(String::new()));
        }
    }
    message
}

fn thought(spent: u64, model: &Model) -> String {
    let chars = chars_for(spent, model);
    THOUGHT.chars().cycle().take(chars).collect()
}

fn chars_for(spent: u64, model: &Model) -> usize {
    tokens::chars_for(if model.new_tokenizer {
        spent
    } else {
        spent * 13 / 10
    })
}

impl Message {
    /// One use of each server tool of the request. What a search brings counts as input.
    fn use_tools(&mut self, request: &Checked<'_>, seed: u64) {
        for (n, name) in request.server_tools.iter().enumerate() {
            let id = ids::other_id("srvtoolu_01", seed ^ (n as u64 + 1));
            let failed = self.effects.has(Fault::ToolError);
            let (input, content) = if failed {
                let code = if *name == "web_search" {
                    "max_uses_exceeded"
                } else {
                    "url_not_accessible"
                };
                let error =
                    json!({"type": format!("{name}_tool_result_error"), "error_code": code});
                (json!({}), error)
            } else if *name == "web_search" {
                self.searches += 1;
                let found = json!([{
                    "type": "web_search_result", "url": "https://example.com/", "title": "Example Domain",
                    "encrypted_content": "c3RhbmRpbg==", "page_age": null,
                }]);
                (json!({"query": "what the items are about"}), found)
            } else {
                self.fetches += 1;
                let page = json!({
                    "type": "web_fetch_result", "url": "https://example.com/", "retrieved_at": null,
                    "content": {"type": "document", "title": null, "citations": null, "source": {"type": "text",
                        "media_type": "text/plain", "data": "This domain is for use in examples."}},
                });
                (json!({"url": "https://example.com/"}), page)
            };
            let used = json!({"type": "server_tool_use", "id": id, "name": name, "input": input, "caller": {"type": "direct"}});
            let brought = json!({"type": format!("{name}_tool_result"), "tool_use_id": id, "content": content, "caller": {"type": "direct"}});
            self.usage.output += tokens::for_model(request.tokenizer.count_json(&used), self.model);
            self.usage.input +=
                tokens::for_model(request.tokenizer.count_json(&brought), self.model);
            self.blocks.push(Block::ServerTool(used));
            self.blocks.push(Block::ServerTool(brought));
        }
    }

    /// As the API counts them; null where none was used.
    pub fn server_tool_use(&self) -> Value {
        if self.searches + self.fetches == 0 {
            return Value::Null;
        }
        json!({"web_search_requests": self.searches, "web_fetch_requests": self.fetches})
    }

    fn text(
        &mut self,
        mut text: String,
        request: &Checked<'_>,
        ending: Ending,
        (left, full): (u64, &'static str),
    ) {
        let stops = request
            .stop_sequences
            .iter()
            .filter_map(|s| text.find(s).map(|at| (at, *s)));
        if let Some((at, stop)) = stops.min_by_key(|(at, _)| *at) {
            text.truncate(at);
            self.stop_reason = "stop_sequence";
            self.stop_sequence = Some(stop.to_owned());
        }
        let all = tokens::for_model(request.tokenizer.count(&text), self.model);
        let allowed = match ending {
            Ending::Truncated | Ending::RefusedMid | Ending::SilentlyCut => left.min(all / 2),
            _ => left,
        };
        if all > allowed {
            let fitting = match self.model.new_tokenizer {
                true => allowed,
                false => allowed * 13 / 10,
            };
            text.truncate(request.tokenizer.fitting(&text, fitting));
            self.stop_reason = match ending {
                Ending::Truncated => "max_tokens",
                Ending::RefusedMid => "refusal",
                Ending::SilentlyCut => "end_turn",
                _ => full,
            };
            self.stop_sequence = None;
        }
        self.usage.output += all.min(allowed);
        if ending == Ending::SilentlyCut {
            self.usage.output = request.max_tokens;
        }
        if !text.is_empty() {
            self.blocks.push(Block::Text(text));
        }
    }

    /// Whether the answer ends of its own accord, with something said.
    pub fn is_whole(&self) -> bool {
        let ended = matches!(self.stop_reason, "end_turn" | "stop_sequence" | "tool_use");
        ended && !self.blocks.is_empty()
    }

    /// Usage as written into a message, or into `message_start`; `None` where none is sent.
    pub fn usage_json(&self, output: u64, whole: bool) -> Option<Value> {
        let usage = self.reported(whole)?;
        let mut out = json!({
            "input_tokens": usage.input,
            "cache_creation_input_tokens": usage.write_5m + usage.write_1h,
            "cache_read_input_tokens": usage.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": usage.write_5m,
                "ephemeral_1h_input_tokens": usage.write_1h,
            },
            "output_tokens": output.min(usage.output),
            "service_tier": self.service_tier,
            "speed": "standard",
            "inference_geo": "not_available",
        });
        if let (Some(map), true) = (out.as_object_mut(), whole) {
            map.insert(
                "output_tokens_details".to_owned(),
                json!({ "thinking_tokens": usage.thinking }),
            );
            map.insert("server_tool_use".to_owned(), self.server_tool_use());
        }
        Some(self.nulled(out))
    }

    /// Usage as written into `message_delta`.
    pub fn delta_usage_json(&self) -> Option<Value> {
        if self.effects.has(Fault::UsageStart) {
            return None;
        }
        let usage = self.reported(true)?;
        Some(self.nulled(json!({
            "input_tokens": usage.input,
            "cache_creation_input_tokens": usage.write_5m + usage.write_1h,
            "cache_read_input_tokens": usage.read,
            "output_tokens": usage.output,
            "output_tokens_details": { "thinking_tokens": usage.thinking },
            "server_tool_use": self.server_tool_use(),
        })))
    }

    /// The counts that are sent, at the end of an answer or at its start.
    fn reported(&self, at_end: bool) -> Option<Usage> {
        if self.effects.has(Fault::UsageMissing) {
            return None;
        }
        if self.effects.has(Fault::UsageZero) {
            return Some(Usage::default());
        }
        let mut usage = self.usage;
        if self.effects.has(Fault::CacheGrows) && !at_end {
            usage.read /= 2;
            usage.write_5m /= 2;
            usage.write_1h /= 2;
        }
        Some(usage)
    }

    /// With null for all that may be null: of the counts, those that are 0.
    fn nulled(&self, mut usage: Value) -> Value {
        const TEXTS: &[&str] = &["service_tier", "inference_geo", "speed"];
        if let (Some(map), true) = (usage.as_object_mut(), self.effects.has(Fault::Nulls)) {
            for (name, value) in map.iter_mut() {
                let empty = match &*value {
                    Value::Object(counts) => counts.values().all(|n| n == 0),
                    count => count == 0 && name.starts_with("cache_"),
                };
                if empty || TEXTS.contains(&name.as_str()) {
                    *value = Value::Null;
                }
            }
        }
        usage
    }

    /// The message as a plain answer.
    pub fn json(&self) -> Value {
        let mut content: Vec<Value> = self.blocks.iter().map(|b| self.block(b)).collect();
        if self.effects.has(Fault::UnknownEvents) {
            content.push(unknown_block());
        }
        let mut message = json!({
            "model": self.name,
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "container": null,
            "diagnostics": null,
            "stop_reason": self.stop_reason,
            "stop_sequence": self.stop_sequence,
            "stop_details": self.stop_details,
        });
        let usage = self.usage_json(self.usage.output, true);
        if let (Some(map), Some(usage)) = (message.as_object_mut(), usage) {
            map.insert("usage".to_owned(), usage);
        }
        message
    }

    fn block(&self, block: &Block) -> Value {
        let mut json = block.json();
        if let (Block::Text(text), true) = (block, self.effects.has(Fault::Citations))
            && let Some(fields) = json.as_object_mut()
        {
            fields.insert("citations".into(), json!([citation(text)]));
        }
        json
    }
}

/// A source of the given text.
pub fn citation(text: &str) -> Value {
    json!({
        "type": "web_search_result_location", "url": "https://example.com/", "title": "Example Domain",
        "encrypted_index": "c3RhbmRpbg==", "cited_text": text.chars().take(40).collect::<String>(),
    })
}

/// A block of a type that no client knows.
pub fn unknown_block() -> Value {
    json!({"type": "advisor_note", "note": "of a type that came later"})
}

impl Block {
    fn json(&self) -> Value {
        match self {
            Self::Thinking { text, signature } => {
                json!({"type": "thinking", "thinking": text, "signature": signature})
            }
            Self::Text(text) => json!({"type": "text", "text": text, "citations": null}),
            Self::ToolUse { id, name, input } => {
                json!({"type": "tool_use", "id": id, "name": name, "input": input, "caller": {"type": "direct"}})
            }
            Self::ServerTool(block) => block.clone(),
        }
    }
}
