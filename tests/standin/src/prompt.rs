//! A request's prompt as the ordered list of blocks the model reads: output
//! schema, tools, system, messages. Counts its tokens and finds the marks of
//! prompt caching; who shares a prefix with whom is decided in `cache`.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::{
    error::ApiError,
    models::Model,
    tokens::{self, Tokenizer},
};

/// Tokens that asking for structured output adds besides the schema itself.
const FORMAT_OVERHEAD: u64 = 40;
/// Tokens that the presence of tools adds.
const TOOLS_OVERHEAD: u64 = 290;
/// Tokens of an image or document, whatever its size.
const MEDIA_TOKENS: u64 = 1_500;
/// The most blocks one request may mark.
const MAX_MARKS: usize = 4;

/// How long a cached prefix lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    FiveMinutes,
    OneHour,
}

/// Where a block stands; changes in one part leave the parts before it cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    Format,
    Tools,
    System,
    Messages,
}

/// One block of the prompt.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    pub part: Part,
    pub role: &'a str,
    pub value: &'a Value,
    pub tokens: u64,
    pub mark: Option<Ttl>,
}

/// The prompt as a whole.
#[derive(Clone, Debug, Default)]
pub struct Prompt<'a> {
    pub blocks: Vec<Block<'a>>,
    pub tokens: u64,
}

/// Reads the blocks of a checked body.
pub fn read<'a>(body: &'a Value, model: &Model, tokenizer: Tokenizer) -> Prompt<'a> {
    let mut blocks = Vec::new();
    let format = body
        .pointer("/output_config/format/schema")
        .or_else(|| body.pointer("/output_format/schema"));
    if let Some(value) = format {
        let tokens = tokenizer.count_json(value) + FORMAT_OVERHEAD;
        push(&mut blocks, Part::Format, "", value, tokens, None);
    }
    let tools = body.get("tools").and_then(Value::as_array);
    for (index, tool) in tools.into_iter().flatten().enumerate() {
        let extra = if index == 0 { TOOLS_OVERHEAD } else { 0 };
        let tokens = tokenizer.count_json(tool) + extra;
        push(
            &mut blocks,
            Part::Tools,
            "",
            tool,
            tokens,
            tool.get("cache_control"),
        );
    }
    if let Some(system) = body.get("system") {
        content(&mut blocks, (Part::System, "system"), system, tokenizer);
    }
    let messages = body.get("messages").and_then(Value::as_array);
    for message in messages.into_iter().flatten() {
        let role = message
            .get("role")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if let Some(given) = message.get("content") {
            content(&mut blocks, (Part::Messages, role), given, tokenizer);
        }
    }
    let whole = body.get("cache_control").and_then(ttl);
    if let (Some(ttl), Some(last)) = (whole, blocks.last_mut()) {
        last.mark.get_or_insert(ttl);
    }
    let tokens = blocks.iter().map(|b| b.tokens).sum();
    Prompt {
        blocks,
        tokens: tokens::for_model(tokens, model),
    }
}

fn content<'a>(
    out: &mut Vec<Block<'a>>,
    (part, role): (Part, &'a str),
    value: &'a Value,
    tokenizer: Tokenizer,
) {
    match value {
        Value::String(text) if !text.is_empty() => {
            push(out, part, role, value, tokenizer.count(text), None);
        }
        Value::Array(list) => {
            for block in list {
                push(
                    out,
                    part,
                    role,
                    block,
                    block_tokens(block, tokenizer),
                    block.get("cache_control"),
                );
            }
        }
        _ => {}
    }
}

fn push<'a>(
    out: &mut Vec<Block<'a>>,
    part: Part,
    role: &'a str,
    value: &'a Value,
    tokens: u64,
    mark: Option<&Value>,
) {
    let mark = mark.and_then(ttl);
    out.push(Block {
        part,
        role,
        value,
        tokens,
        mark,
    });
}

fn ttl(mark: &Value) -> Option<Ttl> {
    let map = mark.as_object()?;
    match map.get("ttl").and_then(Value::as_str) {
        Some("1h") => Some(Ttl::OneHour),
        _ => Some(Ttl::FiveMinutes),
    }
}

fn block_tokens(block: &Value, tokenizer: Tokenizer) -> u64 {
    match block.get("type").and_then(Value::as_str) {
        Some("text") => block
            .get("text")
            .and_then(Value::as_str)
            .map_or(0, |text| tokenizer.count(text)),
        Some("image" | "document") => MEDIA_TOKENS,
        _ => tokenizer.count_json(block),
    }
}

/// At most four marks, and one-hour marks before five-minute ones.
pub fn check_marks(prompt: &Prompt<'_>) -> Result<(), ApiError> {
    let marks: Vec<Ttl> = prompt.blocks.iter().filter_map(|b| b.mark).collect();
    if marks.len() > MAX_MARKS {
        return Err(ApiError::invalid(format!(
            "A maximum of {MAX_MARKS} blocks with cache_control may be provided. Found {}.",
            marks.len()
        )));
    }
    let short = marks.iter().position(|m| *m == Ttl::FiveMinutes);
    let long = marks.iter().rposition(|m| *m == Ttl::OneHour);
    match (short, long) {
        (Some(short), Some(long)) if short < long => Err(ApiError::invalid(
            "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are processed in the following order: `tools`, `system`, `messages`.",
        )),
        _ => Ok(()),
    }
}

/// Mixes a block into the running hash of a prefix, its mark left out.
pub fn mix_block(state: &mut DefaultHasher, block: &Block<'_>) {
    block.part.hash(state);
    block.role.hash(state);
    mix_value(state, block.value, true);
}

fn mix_value(state: &mut DefaultHasher, value: &Value, top: bool) {
    match value {
        Value::String(text) => {
            state.write_u8(1);
            text.hash(state);
        }
        // A string content and one text block with the same text are the same.
        Value::Object(map) if top && map.get("type").is_some_and(|t| t == "text") => {
            state.write_u8(1);
            map.get("text")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .hash(state);
        }
        Value::Object(map) => {
            state.write_u8(2);
            for (key, inner) in map.iter().filter(|(k, _)| *k != "cache_control") {
                key.hash(state);
                mix_value(state, inner, false);
            }
        }
        Value::Array(list) => {
            state.write_u8(3);
            list.iter().for_each(|inner| mix_value(state, inner, false));
        }
        other => {
            state.write_u8(4);
            other.to_string().hash(state);
        }
    }
}
