//! Refusals of `/v1/messages` and `/v1/messages/count_tokens`, in the order and
//! the words of the API.
//!
//! Phases, as observed there: the type of each known field in a fixed order,
//! then unknown fields, then the shape of the conversation, then the model and
//! what it does not take, then the output schema, then the length of the
//! prompt. The first fault found is the one reported. What is accepted comes
//! out as a [`Checked`] request, which the answerer can trust.

mod content;
mod model_rules;
mod web_tools;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    error::ApiError,
    models::{self, Model},
    prompt::{self, Prompt},
    schema::{self, Cache, Compiled},
    tokens::Tokenizer,
};

type Checks = Result<(), ApiError>;

/// The version that removed the sampling parameters.
pub const VERSION_2026: &str = "2026-10-21";
/// The version before it.
pub const VERSION_2023: &str = "2023-06-01";

/// Which endpoint a body was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Messages,
    CountTokens,
    /// The `params` of one request of a batch.
    BatchItem,
}

/// Whether the model will think before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thoughts {
    Off,
    On { omitted: bool },
}

/// What a check needs to know besides the request.
#[derive(Debug, Default)]
pub struct Terms {
    pub schemas: Cache,
    pub tokenizer: Tokenizer,
    /// No context is larger than this.
    pub context_tokens: Option<u64>,
}

/// An accepted request.
#[derive(Clone, Debug)]
pub struct Checked<'a> {
    pub body: &'a Value,
    pub model: &'static Model,
    pub tokenizer: Tokenizer,
    /// Tokens of prompt and answer together.
    pub context: u64,
    pub max_tokens: u64,
    pub stream: bool,
    pub thoughts: Thoughts,
    pub effort: &'a str,
    /// The schema the answer must follow, made ready for answering.
    pub format: Option<Arc<Compiled>>,
    /// A tool the model must call: its name and input schema.
    pub forced_tool: Option<(&'a str, Arc<Compiled>)>,
    /// Tools that run at the API: `web_search`, `web_fetch`.
    pub server_tools: Vec<&'a str>,
    /// The model goes on with a turn that such a tool had paused.
    pub resumed: bool,
    pub stop_sequences: Vec<&'a str>,
    pub prompt: Prompt<'a>,
}

/// Known top-level fields in the order the API checks them.
const FIELDS: &[&str] = &[
    "model",
    "tool_choice",
    "tools",
    "messages",
    "system",
    "thinking",
    "output_config",
    "cache_control",
    "max_tokens",
    "metadata",
    "stop_sequences",
    "temperature",
    "service_tier",
    "top_k",
    "top_p",
    "stream",
    "container",
    "inference_geo",
    "diagnostics",
    "speed",
];

/// Parses a body; a fault is worded with its line, column and offset.
pub fn parse(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Err(ApiError::invalid(
            "The request body is not valid JSON: unexpected end of data: line 1 column 1 (char 0)",
        ));
    }
    let value: Value = serde_json::from_slice(body).map_err(|fault| not_json(body, &fault))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(ApiError::invalid("Input should be an object"))
    }
}

fn not_json(body: &[u8], fault: &serde_json::Error) -> ApiError {
    let (line, column) = (fault.line(), fault.column());
    let before: usize = body
        .split(|b| *b == b'\n')
        .take(line.saturating_sub(1))
        .map(|l| l.len() + 1)
        .sum();
    let said = fault.to_string();
    let what = if fault.is_eof() {
        "unexpected end of data".to_owned()
    } else if said.contains("surrogate") {
        "no low surrogate in string".to_owned()
    } else {
        said.split(" at line ")
            .next()
            .unwrap_or("unexpected character")
            .to_owned()
    };
    // An end of data is reported after the last character, anything else on it.
    let column = if fault.is_eof() {
        column + 1
    } else {
        column.max(1)
    };
    let at = before + column - 1;
    ApiError::invalid(format!(
        "The request body is not valid JSON: {what}: line {line} column {column} (char {at})"
    ))
}

/// Checks one request body against all that the API is known to refuse.
pub fn check<'a>(
    body: &'a Value,
    version: &str,
    betas: &str,
    kind: Kind,
    terms: &mut Terms,
) -> Result<Checked<'a>, ApiError> {
    let Some(map) = body.as_object() else {
        return Err(ApiError::invalid("Input should be an object"));
    };
    let sampling_allowed = version != VERSION_2026;
    for field in FIELDS {
        check_field(map, field, sampling_allowed, kind, version)?;
    }
    let old_format = betas.contains("structured-outputs-2025-11-13");
    for key in map.keys() {
        let known = FIELDS.contains(&key.as_str()) || (key == "output_format" && old_format);
        let removed =
            matches!(key.as_str(), "temperature" | "top_p" | "top_k") && !sampling_allowed;
        let misplaced =
            kind == Kind::CountTokens && matches!(key.as_str(), "max_tokens" | "stream");
        if !known || removed || misplaced {
            return Err(ApiError::at(key, "Extra inputs are not permitted"));
        }
    }
    content::shape(map)?;
    if map.contains_key("container") {
        return Err(ApiError::at(
            "container",
            "Container identifier can only be provided when using the code execution tool",
        ));
    }
    let asked = map.get("model").and_then(Value::as_str).unwrap_or_default();
    let Some(model) = models::find(asked) else {
        return Err(ApiError::not_found(format!("model: {asked}")));
    };
    let thoughts = model_rules::check(map, model, version)?;
    if kind == Kind::Messages && map.get("max_tokens").and_then(Value::as_u64) == Some(0) {
        model_rules::warming(map)?;
    }
    finish(body, map, (model, thoughts), kind, terms)
}

/// The last phases: schema, cache marks, length; then the request is accepted.
fn finish<'a>(
    body: &'a Value,
    map: &'a Map<String, Value>,
    (model, thoughts): (&'static Model, Thoughts),
    kind: Kind,
    terms: &mut Terms,
) -> Result<Checked<'a>, ApiError> {
    let config = map.get("output_config").and_then(Value::as_object);
    let (path, format) = match config.and_then(|c| c.get("format")) {
        Some(format) => ("output_config.format.schema", Some(format)),
        None => ("output_format.schema", map.get("output_format")),
    };
    let mut limits = schema::Limits::default();
    let mut compiled = None;
    if let Some(wanted) = format.and_then(|f| f.get("schema")) {
        let ready = terms.schemas.get(wanted);
        ready.accept(path, &mut limits)?;
        compiled = Some(ready);
    }
    let mut forced_tool = None;
    let tools = map.get("tools").and_then(Value::as_array);
    let mut strict = 0;
    for (index, tool) in tools.into_iter().flatten().enumerate() {
        let Some(wanted) = tool.get("input_schema") else {
            continue;
        };
        let ready = terms.schemas.get(wanted);
        if tool.get("strict") == Some(&Value::Bool(true)) {
            strict += 1;
            ready.accept(&format!("tools.{index}.custom"), &mut limits)?;
        }
        if model_rules::is_forced(map, tool) && forced_tool.is_none() {
            forced_tool = Some((str_of(tool, "name"), ready));
        }
    }
    if strict > 20 {
        return Err(ApiError::invalid(format!(
            "Too many strict tools ({strict}). The maximum number of strict tools supported is 20."
        )));
    }
    limits.check()?;
    let prompt = prompt::read(body, model, terms.tokenizer);
    prompt::check_marks(&prompt)?;
    let max_tokens = map.get("max_tokens").and_then(Value::as_u64).unwrap_or(0);
    let context = terms.context_tokens.unwrap_or(u64::MAX).min(model.context);
    if kind != Kind::CountTokens {
        if max_tokens > model.max_output {
            return Err(ApiError::invalid(format!(
                "max_tokens: {max_tokens} > {}, which is the maximum allowed number of output tokens for {}",
                model.max_output, model.id
            )));
        }
        if prompt.tokens > context {
            return Err(ApiError::invalid(format!(
                "prompt is too long: {} tokens > {context} maximum",
                prompt.tokens
            )));
        }
    }
    let effort = config
        .and_then(|c| c.get("effort"))
        .and_then(Value::as_str)
        .or(model.default_effort)
        .unwrap_or("high");
    let stops = map.get("stop_sequences").and_then(Value::as_array);
    Ok(Checked {
        body,
        model,
        tokenizer: terms.tokenizer,
        context,
        max_tokens,
        stream: map.get("stream") == Some(&Value::Bool(true)),
        thoughts,
        effort,
        format: compiled,
        forced_tool,
        server_tools: tools
            .into_iter()
            .flatten()
            .map(|tool| str_of(tool, "name"))
            .filter(|name| matches!(*name, "web_search" | "web_fetch"))
            .collect(),
        resumed: map
            .get("messages")
            .and_then(Value::as_array)
            .and_then(|list| list.last())
            .is_some_and(model_rules::paused),
        stop_sequences: stops
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect(),
        prompt,
    })
}

/// The type of one known top-level field.
fn check_field(
    map: &Map<String, Value>,
    field: &str,
    sampling_allowed: bool,
    kind: Kind,
    version: &str,
) -> Checks {
    let Some(value) = map.get(field) else {
        let required = match field {
            "model" | "messages" => true,
            "max_tokens" => kind != Kind::CountTokens,
            _ => false,
        };
        return if required {
            Err(ApiError::at(field, "Field required"))
        } else {
            Ok(())
        };
    };
    let fail = |message: &str| Err(ApiError::at(field, message));
    match field {
        "model" => match value.as_str() {
            None => fail("Input should be a valid string"),
            Some("") => fail("String should have at least 1 character"),
            Some(_) => Ok(()),
        },
        "messages" => content::messages(value, version),
        "system" => content::system(value),
        "tools" => content::tools(value),
        "tool_choice" => content::tool_choice(value),
        "thinking" => model_rules::thinking_types(value),
        "output_config" => model_rules::output_config_types(value),
        "cache_control" => content::cache_control("cache_control", value),
        "max_tokens" if kind == Kind::CountTokens => Ok(()),
        "max_tokens" => match value.as_i64() {
            Some(0) if kind == Kind::BatchItem => fail("must be greater than or equal to 1"),
            _ if value.is_u64() => Ok(()),
            Some(_) => fail("must be greater than or equal to 0"),
            None => fail("Input should be a valid integer"),
        },
        "metadata" => metadata(value),
        "stop_sequences" => stop_sequences(value),
        "temperature" | "top_p" if sampling_allowed => match value.as_f64() {
            None => fail("Input should be a valid number"),
            Some(x) if !(0.0..=1.0).contains(&x) => fail("range: 0..1"),
            Some(_) => Ok(()),
        },
        "top_k" if sampling_allowed && value.as_i64().is_none() => {
            fail("Input should be a valid integer")
        }
        "service_tier" => one_of(field, value, &["auto", "standard_only"]),
        "speed" if kind == Kind::BatchItem => fail("Extra inputs are not permitted"),
        "speed" => one_of(field, value, &["standard", "fast"]),
        "stream" if kind == Kind::BatchItem && value == &Value::Bool(true) => {
            fail("streaming is not supported in batches")
        }
        "stream" if kind != Kind::CountTokens && !value.is_boolean() => {
            fail("Input should be a valid boolean")
        }
        "container" if !value.is_string() && !value.is_object() => Err(ApiError::at(
            "container.ContainerParams",
            "Input does not match the expected shape.",
        )),
        "inference_geo" => match value.as_str() {
            None => fail("Input should be a valid string"),
            Some("global" | "us") => Ok(()),
            Some(_) => fail("must be one of ['global', 'us']"),
        },
        "diagnostics" if !value.is_object() => fail("Input should be an object"),
        _ => Ok(()),
    }
}

fn metadata(value: &Value) -> Checks {
    let Some(map) = value.as_object() else {
        return Err(ApiError::at(
            "metadata",
            "Input does not match the expected shape.",
        ));
    };
    match map.get("user_id") {
        None | Some(Value::Null | Value::String(_)) => {}
        Some(_) => {
            return Err(ApiError::at(
                "metadata.user_id",
                "Input should be a valid string",
            ));
        }
    }
    only(map, "metadata", &["user_id"])
}

fn stop_sequences(value: &Value) -> Checks {
    let Some(list) = value.as_array() else {
        return Err(ApiError::at(
            "stop_sequences",
            "Input should be a valid array",
        ));
    };
    for (index, entry) in list.iter().enumerate() {
        match entry.as_str() {
            None => {
                let path = format!("stop_sequences.{index}");
                return Err(ApiError::at(&path, "Input should be a valid string"));
            }
            Some(text) if text.trim().is_empty() => {
                return Err(ApiError::at(
                    "stop_sequences",
                    "each stop sequence must contain non-whitespace",
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// A string out of a fixed list; the message names them as the API does.
fn one_of(path: &str, value: &Value, allowed: &[&str]) -> Checks {
    if value.as_str().is_some_and(|v| allowed.contains(&v)) {
        return Ok(());
    }
    let quoted: Vec<String> = allowed.iter().map(|a| format!("'{a}'")).collect();
    let list = match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    };
    Err(ApiError::at(path, &format!("Input should be {list}")))
}

/// Refuses any key outside the list.
fn only(map: &Map<String, Value>, path: &str, known: &[&str]) -> Checks {
    match map.keys().find(|k| !known.contains(&k.as_str())) {
        Some(key) => Err(ApiError::at(
            &format!("{path}.{key}"),
            "Extra inputs are not permitted",
        )),
        None => Ok(()),
    }
}

/// A string member, empty where there is none.
fn str_of<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
