//! Types and shapes of messages, system prompt and tools.

use serde_json::{Map, Value};

use super::{Checks, VERSION_2026, one_of, only, str_of, web_tools};
use crate::error::ApiError;

/// The most messages one request may hold.
const MAX_MESSAGES: usize = 100_000;

/// Per block type: required fields, then optional ones. Blocks that the
/// stand-in never reads (results of server tools) pass with any fields.
fn block_fields(kind: &str) -> Option<(&'static [&'static str], &'static [&'static str])> {
    Some(match kind {
        "text" => (&["text"], &["cache_control", "citations"]),
        "image" => (&["source"], &["cache_control"]),
        "document" => (
            &["source"],
            &["cache_control", "citations", "context", "title"],
        ),
        "search_result" => (
            &["content", "source", "title"],
            &["cache_control", "citations"],
        ),
        "thinking" => (&["thinking", "signature"], &[]),
        "redacted_thinking" => (&["data"], &[]),
        "tool_use" => (&["id", "name", "input"], &["cache_control", "caller"]),
        "tool_result" => (&["tool_use_id"], &["content", "is_error", "cache_control"]),
        "server_tool_use" => (&["id", "name", "input"], &["cache_control", "caller"]),
        _ => return None,
    })
}

/// Every message: role, content, blocks, unknown members.
pub fn messages(value: &Value, version: &str) -> Checks {
    let Some(list) = value.as_array() else {
        return Err(ApiError::at("messages", "Input should be a valid array"));
    };
    if list.is_empty() {
        return Err(ApiError::at("messages", "at least one message is required"));
    }
    if list.len() > MAX_MESSAGES {
        return Err(ApiError::at(
            "messages",
            &format!(
                "List should have at most {MAX_MESSAGES} items after validation, not {}",
                list.len()
            ),
        ));
    }
    for (index, message) in list.iter().enumerate() {
        let path = format!("messages.{index}");
        let Some(map) = message.as_object() else {
            return Err(ApiError::at(&path, "Input should be an object"));
        };
        let Some(role) = map.get("role") else {
            return Err(ApiError::at(&format!("{path}.role"), "Field required"));
        };
        let role = role.as_str().unwrap_or_default();
        if !matches!(role, "user" | "assistant" | "system") {
            return Err(ApiError::at(
                "messages",
                &format!("Unexpected role \"{role}\". Allowed roles are \"user\" or \"assistant\""),
            ));
        }
        let at = format!("{path}.content");
        match map.get("content") {
            None => return Err(ApiError::at(&at, "Field required")),
            Some(Value::String(_)) => {}
            Some(Value::Array(blocks)) => {
                for (n, one) in blocks.iter().enumerate() {
                    block(&format!("{at}.{n}"), one, role, version)?;
                }
            }
            Some(_) => return Err(ApiError::at(&at, "Input should be a valid array")),
        }
        only(map, &path, &["role", "content"])?;
    }
    Ok(())
}

/// One content block at a path such as `messages.0.content.1`.
fn block(path: &str, value: &Value, role: &str, version: &str) -> Checks {
    let Some(map) = value.as_object() else {
        return Err(ApiError::at(path, "Input should be an object"));
    };
    let Some(kind) = map.get("type") else {
        return Err(ApiError::at(&format!("{path}.type"), "Field required"));
    };
    let kind = kind.as_str().unwrap_or_default();
    let Some((required, optional)) = block_fields(kind) else {
        if kind.ends_with("_tool_result") || kind == "container_upload" {
            return Ok(());
        }
        return Err(ApiError::at(
            path,
            &format!(
                "Input tag '{kind}' found using 'type' does not match any of the expected tags: 'document', 'image', 'redacted_thinking', 'search_result', 'server_tool_use', 'text', 'thinking', 'tool_result', 'tool_use'"
            ),
        ));
    };
    let tagged = format!("{path}.{kind}");
    for field in required {
        let Some(given) = map.get(*field) else {
            return Err(ApiError::at(&format!("{tagged}.{field}"), "Field required"));
        };
        let text = matches!(
            *field,
            "text" | "id" | "name" | "tool_use_id" | "thinking" | "signature"
        );
        if text && !given.is_string() {
            return Err(ApiError::at(
                &format!("{tagged}.{field}"),
                "Input should be a valid string",
            ));
        }
    }
    if kind == "server_tool_use" && !str_of(value, "id").starts_with("srvtoolu_") {
        return Err(ApiError::at(
            &format!("{tagged}.id"),
            "String should match pattern '^srvtoolu_[a-zA-Z0-9_]+$'",
        ));
    }
    if let Some(mark) = map.get("cache_control") {
        cache_control(&format!("{tagged}.cache_control"), mark)?;
    }
    if version == VERSION_2026 {
        if kind == "document" && role == "assistant" {
            return Err(ApiError::at(
                path,
                "document blocks are not permitted in assistant messages",
            ));
        }
        let cited = map.get("citations").and_then(Value::as_array);
        if kind == "text" && role == "user" && cited.is_some_and(|c| !c.is_empty()) {
            return Err(ApiError::at(
                &format!("{tagged}.citations"),
                "citations are not permitted on user text blocks",
            ));
        }
    }
    match map.keys().find(|k| {
        *k != "type" && !required.contains(&k.as_str()) && !optional.contains(&k.as_str())
    }) {
        Some(key) => Err(ApiError::at(
            &format!("{tagged}.{key}"),
            "Extra inputs are not permitted",
        )),
        None => Ok(()),
    }
}

/// A cache mark: `{"type":"ephemeral","ttl":"5m"|"1h"}`; null is none.
pub fn cache_control(path: &str, value: &Value) -> Checks {
    if value.is_null() && path != "cache_control" {
        return Ok(());
    }
    let Some(map) = value.as_object() else {
        return Err(ApiError::at(path, "Input should be an object"));
    };
    match map.get("type").and_then(Value::as_str) {
        Some("ephemeral") => {}
        Some(other) => {
            return Err(ApiError::at(
                path,
                &format!(
                    "Input tag '{other}' found using 'type' does not match any of the expected tags: 'ephemeral'"
                ),
            ));
        }
        None => return Err(ApiError::at(&format!("{path}.type"), "Field required")),
    }
    let tagged = format!("{path}.ephemeral");
    if let Some(ttl) = map.get("ttl") {
        one_of(&format!("{tagged}.ttl"), ttl, &["5m", "1h"])?;
    }
    only(map, &tagged, &["type", "ttl"])
}

/// The system prompt: a string or text blocks.
pub fn system(value: &Value) -> Checks {
    let blocks = match value {
        Value::String(_) => return Ok(()),
        Value::Array(blocks) => blocks,
        _ => return Err(ApiError::at("system", "Input should be a valid array")),
    };
    for (index, one) in blocks.iter().enumerate() {
        let path = format!("system.{index}");
        let Some(map) = one.as_object() else {
            return Err(ApiError::at(
                &path,
                "Input does not match the expected shape.",
            ));
        };
        match map.get("type") {
            None => return Err(ApiError::at(&format!("{path}.type"), "Field required")),
            Some(kind) => one_of(&format!("{path}.type"), kind, &["text"])?,
        }
        match map.get("text") {
            None => return Err(ApiError::at(&format!("{path}.text"), "Field required")),
            Some(Value::String(text)) if text.is_empty() => {
                return Err(ApiError::at(
                    "system",
                    "text content blocks must be non-empty",
                ));
            }
            Some(Value::String(_)) => {}
            Some(_) => {
                return Err(ApiError::at(
                    &format!("{path}.text"),
                    "Input should be a valid string",
                ));
            }
        }
        if let Some(mark) = map.get("cache_control") {
            cache_control(&format!("{path}.cache_control"), mark)?;
        }
        only(map, &path, &["type", "text", "cache_control", "citations"])?;
    }
    Ok(())
}

/// Tools: the client's own (`custom`) and those of the web.
pub fn tools(value: &Value) -> Checks {
    let Some(list) = value.as_array() else {
        return Err(ApiError::at("tools", "Input should be a valid array"));
    };
    for (index, tool) in list.iter().enumerate() {
        let Some(map) = tool.as_object() else {
            return Err(ApiError::at(
                &format!("tools.{index}"),
                "Input should be an object",
            ));
        };
        match map.get("type") {
            Some(kind) if kind != "custom" => web_tools::check(index, map)?,
            _ => custom_tool(&format!("tools.{index}.custom"), map)?,
        }
    }
    web_tools::distinct(list)
}

fn custom_tool(path: &str, map: &Map<String, Value>) -> Checks {
    let at = format!("{path}.name");
    match map.get("name") {
        None => return Err(ApiError::at(&at, "Field required")),
        Some(Value::String(name)) if name.is_empty() => {
            return Err(ApiError::at(&at, "String should have at least 1 character"));
        }
        Some(Value::String(name)) => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            if name.len() > 128 || !name.chars().all(allowed) {
                return Err(ApiError::at(
                    &at,
                    "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
                ));
            }
        }
        Some(_) => return Err(ApiError::at(&at, "Input should be a valid string")),
    }
    let at = format!("{path}.input_schema");
    match map.get("input_schema") {
        None => return Err(ApiError::at(&at, "Field required")),
        Some(Value::Object(schema)) => {
            if ["anyOf", "allOf", "oneOf"]
                .iter()
                .any(|k| schema.contains_key(*k))
            {
                return Err(ApiError::at(
                    &at,
                    "input_schema does not support oneOf, allOf, or anyOf at the top level",
                ));
            }
            if schema.get("type").is_none() {
                return Err(ApiError::at(&format!("{at}.type"), "Field required"));
            }
        }
        Some(_) => return Err(ApiError::at(&at, "Input should be an object")),
    }
    if let Some(mark) = map.get("cache_control") {
        cache_control(&format!("{path}.cache_control"), mark)?;
    }
    only(
        map,
        path,
        &[
            "type",
            "name",
            "description",
            "input_schema",
            "strict",
            "cache_control",
            "defer_loading",
            "input_examples",
            "allowed_callers",
            "eager_input_streaming",
        ],
    )
}

/// `tool_choice` and its variants.
pub fn tool_choice(value: &Value) -> Checks {
    let Some(map) = value.as_object() else {
        return Err(ApiError::at("tool_choice", "Input should be an object"));
    };
    let Some(kind) = map.get("type").and_then(Value::as_str) else {
        return Err(ApiError::at("tool_choice.type", "Field required"));
    };
    let path = format!("tool_choice.{kind}");
    match kind {
        "auto" | "any" => only(map, &path, &["type", "disable_parallel_tool_use"]),
        "none" => only(map, &path, &["type"]),
        "tool" if !map.contains_key("name") => {
            Err(ApiError::at("tool_choice.tool.name", "Field required"))
        }
        "tool" => only(map, &path, &["type", "name", "disable_parallel_tool_use"]),
        other => Err(ApiError::at(
            "tool_choice",
            &format!(
                "Input tag '{other}' found using 'type' does not match any of the expected tags: 'any', 'auto', 'none', 'tool'"
            ),
        )),
    }
}

/// The conversation as a whole: system items, empty turns, empty texts.
pub fn shape(map: &Map<String, Value>) -> Checks {
    let Some(list) = map.get("messages").and_then(Value::as_array) else {
        return Ok(());
    };
    for (index, message) in list.iter().enumerate() {
        if str_of(message, "role") == "system" {
            system_item(list, index, message)?;
        }
    }
    // A run of user messages is one turn: it needs content somewhere.
    let mut run: Option<(usize, bool)> = None;
    for (index, message) in list.iter().enumerate() {
        if str_of(message, "role") == "user" {
            let (start, filled) = run.unwrap_or((index, false));
            run = Some((start, filled || !is_empty(message)));
        } else {
            empty_turn(run)?;
            run = None;
        }
    }
    empty_turn(run)?;
    list.iter().try_for_each(texts)
}

fn empty_turn(run: Option<(usize, bool)>) -> Checks {
    match run {
        Some((start, false)) => Err(ApiError::at(
            &format!("messages.{start}"),
            "user messages must have non-empty content",
        )),
        _ => Ok(()),
    }
}

fn is_empty(message: &Value) -> bool {
    match message.get("content") {
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(blocks)) => blocks.is_empty(),
        _ => true,
    }
}

fn system_item(list: &[Value], index: usize, message: &Value) -> Checks {
    let path = format!("messages.{index}");
    if matches!(message.get("content"), Some(Value::Array(blocks)) if blocks.is_empty()) {
        return Err(ApiError::at(
            &path,
            "system content must contain at least one block",
        ));
    }
    if index == 0 {
        return Err(ApiError::at(
            &path,
            "use the top-level 'system' parameter for the initial system prompt; the directive-only form (content: [] with output_config) is accepted at any position",
        ));
    }
    match list.get(index + 1).map(|next| str_of(next, "role")) {
        Some("user") => Err(ApiError::at(
            &path,
            "role 'system' must precede an 'assistant' message or end the array; the directive-only form (content: [] with output_config) is accepted at any position",
        )),
        _ => Ok(()),
    }
}

fn texts(message: &Value) -> Checks {
    let blank = |text: &str| -> Checks {
        if text.trim().is_empty() {
            return Err(ApiError::invalid(
                "messages: text content blocks must contain non-whitespace text",
            ));
        }
        Ok(())
    };
    match message.get("content") {
        Some(Value::String(text)) if !text.is_empty() => blank(text),
        Some(Value::Array(blocks)) => {
            for one in blocks.iter().filter(|b| str_of(b, "type") == "text") {
                let text = str_of(one, "text");
                if text.is_empty() {
                    return Err(ApiError::invalid(
                        "messages: text content blocks must be non-empty",
                    ));
                }
                blank(text)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
