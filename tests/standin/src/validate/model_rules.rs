//! What one model takes and another refuses: thinking, effort, forced tools,
//! sampling, prefill.

use serde_json::{Map, Value};

use super::{Checks, Thoughts, VERSION_2026, one_of, only, str_of, web_tools};
use crate::{
    error::ApiError,
    models::{Model, Thinking},
};

const EFFORTS: &[&str] = &["low", "medium", "high", "xhigh", "max"];

/// The types inside `thinking`, whatever the model.
pub fn thinking_types(value: &Value) -> Checks {
    let Some(map) = value.as_object() else {
        return Err(ApiError::at("thinking", "Input should be an object"));
    };
    let Some(kind) = map.get("type").and_then(Value::as_str) else {
        return Err(ApiError::at("thinking.type", "Field required"));
    };
    let path = format!("thinking.{kind}");
    match kind {
        "adaptive" => {
            if let Some(display) = map.get("display") {
                one_of(
                    &format!("{path}.display"),
                    display,
                    &["summarized", "omitted"],
                )?;
            }
            only(map, &path, &["type", "display"])
        }
        "disabled" | "between_tools" => only(map, &path, &["type"]),
        "enabled" => {
            let at = format!("{path}.budget_tokens");
            match map.get("budget_tokens") {
                None => return Err(ApiError::at(&at, "Field required")),
                Some(budget) => match budget.as_i64() {
                    None => return Err(ApiError::at(&at, "Input should be a valid integer")),
                    Some(n) if n < 1_024 => {
                        return Err(ApiError::at(
                            &at,
                            "Input should be greater than or equal to 1024",
                        ));
                    }
                    Some(_) => {}
                },
            }
            only(map, &path, &["type", "budget_tokens", "display"])
        }
        other => Err(ApiError::at(
            "thinking",
            &format!(
                "Input tag '{other}' found using 'type' does not match any of the expected tags: 'adaptive', 'between_tools', 'disabled', 'enabled'"
            ),
        )),
    }
}

/// The types inside `output_config`.
pub fn output_config_types(value: &Value) -> Checks {
    let Some(map) = value.as_object() else {
        return Err(ApiError::at(
            "output_config",
            "Input does not match the expected shape.",
        ));
    };
    match map.get("effort") {
        None | Some(Value::Null) => {}
        Some(effort) => one_of("output_config.effort", effort, EFFORTS)?,
    }
    match map.get("format") {
        None | Some(Value::Null) => {}
        Some(Value::Object(format)) => {
            let path = "output_config.format";
            match format.get("type") {
                None => return Err(ApiError::at(&format!("{path}.type"), "Field required")),
                Some(kind) => one_of(&format!("{path}.type"), kind, &["json_schema"])?,
            }
            match format.get("schema") {
                None => return Err(ApiError::at(&format!("{path}.schema"), "Field required")),
                Some(Value::Object(_)) => {}
                Some(_) => {
                    return Err(ApiError::at(
                        &format!("{path}.schema"),
                        "Input should be an object",
                    ));
                }
            }
            only(format, path, &["type", "schema"])?;
        }
        Some(_) => {
            return Err(ApiError::at(
                "output_config.format",
                "Input should be an object",
            ));
        }
    }
    only(map, "output_config", &["effort", "format", "task_budget"])
}

/// Whether this request makes the model call the given tool.
pub fn is_forced(map: &Map<String, Value>, tool: &Value) -> bool {
    let Some(choice) = map.get("tool_choice") else {
        return false;
    };
    match str_of(choice, "type") {
        "any" => true,
        "tool" => str_of(choice, "name") == str_of(tool, "name"),
        _ => false,
    }
}

/// Everything that depends on the model. Answers whether it will think.
pub fn check(map: &Map<String, Value>, model: &Model, version: &str) -> Result<Thoughts, ApiError> {
    tools(map, model)?;
    let thoughts = thinking(map, model)?;
    let config = map.get("output_config");
    let effort = config.map(|c| str_of(c, "effort")).unwrap_or_default();
    if !effort.is_empty() && model.default_effort.is_none() {
        return Err(ApiError::invalid(
            "This model does not support the effort parameter.",
        ));
    }
    if !effort.is_empty() && !model.efforts.contains(&effort) {
        return Err(ApiError::at(
            "output_config.effort",
            &format!(
                "'{effort}' is not supported on this model. Supported: {}",
                model.efforts.join(", ")
            ),
        ));
    }
    if version != VERSION_2026 && model.no_sampling {
        sampling(map)?;
    }
    let last = map
        .get("messages")
        .and_then(Value::as_array)
        .and_then(|list| list.iter().rfind(|m| str_of(m, "role") != "system"));
    let ends_on_assistant = last.is_some_and(|m| str_of(m, "role") == "assistant");
    let formatted = config.is_some_and(|c| c.get("format").is_some_and(|f| !f.is_null()));
    if ends_on_assistant && !last.is_some_and(paused) && (model.no_prefill || formatted) {
        return Err(ApiError::invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ));
    }
    let system_item = map
        .get("messages")
        .and_then(Value::as_array)
        .and_then(|list| list.iter().position(|m| str_of(m, "role") == "system"));
    if let (Some(index), false) = (system_item, model.system_messages) {
        return Err(ApiError::at(
            &format!("messages.{index}"),
            "role 'system' is not supported on this model",
        ));
    }
    Ok(thoughts)
}

/// A request with `max_tokens: 0` only fills the prompt cache: what asks for an answer is refused.
pub fn warming(map: &Map<String, Value>) -> Checks {
    let choice = map.get("tool_choice").map(|c| str_of(c, "type"));
    let config = map.get("output_config");
    let formatted = config.is_some_and(|c| c.get("format").is_some_and(|f| !f.is_null()));
    let thinking = map.get("thinking").map(|t| str_of(t, "type"));
    let with = [
        (map.get("stream") == Some(&Value::Bool(true)), "stream"),
        (formatted, "output_config.format"),
        (
            matches!(choice, Some("any" | "tool")),
            "a forced tool_choice",
        ),
        (thinking == Some("enabled"), "thinking.type \"enabled\""),
    ];
    match with.into_iter().find(|(found, _)| *found) {
        Some((_, what)) => Err(ApiError::at(
            "max_tokens",
            &format!("0 is not supported together with {what}"),
        )),
        None => Ok(()),
    }
}

/// Whether an assistant's turn is one that a server tool had paused: it may be gone on with.
pub fn paused(message: &Value) -> bool {
    let blocks = message.get("content").and_then(Value::as_array);
    let last = blocks.and_then(|blocks| blocks.last());
    last.is_some_and(|block| {
        let kind = str_of(block, "type");
        kind == "server_tool_use" || kind.ends_with("_tool_result") && kind != "tool_result"
    })
}

/// Sampling parameters under the older version: only their defaults pass.
fn sampling(map: &Map<String, Value>) -> Checks {
    let set = |key: &str, default: Option<f64>| map.get(key).is_some_and(|v| v.as_f64() != default);
    for (key, default) in [
        ("temperature", Some(1.0)),
        ("top_p", Some(1.0)),
        ("top_k", None),
    ] {
        if set(key, default) {
            return Err(ApiError::invalid(format!(
                "`{key}` is deprecated for this model."
            )));
        }
    }
    Ok(())
}

fn tools(map: &Map<String, Value>, model: &Model) -> Checks {
    let all = map.get("tools").and_then(Value::as_array);
    let all = || all.into_iter().flatten().filter_map(Value::as_object);
    let runs_code = |t: &Map<String, Value>| {
        t.get("type")
            .and_then(Value::as_str)
            .is_some_and(|k| k.starts_with("code_execution_"))
    };
    if all().any(web_tools::filters_by_code) && !all().any(runs_code) {
        return Err(ApiError::invalid(
            "tools: this version of the web tools filters results by code: add the code execution tool, or set allowed_callers to [\"direct\"].",
        ));
    }
    let Some(choice) = map.get("tool_choice") else {
        return Ok(());
    };
    let kind = str_of(choice, "type");
    let tools = map.get("tools").and_then(Value::as_array);
    if kind == "any" && tools.is_none_or(Vec::is_empty) {
        return Err(ApiError::invalid(
            "tool_choice.any may only be specified while providing tools",
        ));
    }
    let name = str_of(choice, "name");
    let found = tools
        .into_iter()
        .flatten()
        .any(|t| str_of(t, "name") == name);
    if kind == "tool" && !found {
        return Err(ApiError::invalid(format!(
            "Tool '{name}' not found in provided tools"
        )));
    }
    if matches!(kind, "any" | "tool") && !model.forced_tools {
        return Err(ApiError::invalid(
            "tool_choice: type \"tool\" and \"any\" are not supported for this model.",
        ));
    }
    Ok(())
}

fn thinking(map: &Map<String, Value>, model: &Model) -> Result<Thoughts, ApiError> {
    let on = Thoughts::On {
        omitted: model.omits_thinking(),
    };
    let Some(given) = map.get("thinking") else {
        return Ok(match model.thinking {
            Thinking::OnMayDisable | Thinking::OnBetweenTools | Thinking::Always => on,
            Thinking::OffMayAdapt | Thinking::Budget => Thoughts::Off,
        });
    };
    let effort = map
        .get("output_config")
        .map(|c| str_of(c, "effort"))
        .unwrap_or_default();
    let too_high = matches!(effort, "xhigh" | "max");
    match (str_of(given, "type"), model.thinking) {
        ("adaptive", Thinking::Budget) => Err(ApiError::invalid(
            "adaptive thinking is not supported on this model",
        )),
        ("adaptive", _) => Ok(Thoughts::On {
            omitted: match str_of(given, "display") {
                "omitted" => true,
                "summarized" => false,
                _ => model.omits_thinking(),
            },
        }),
        ("disabled", Thinking::OnBetweenTools) => Err(ApiError::invalid(
            "\"thinking.type.disabled\" is not supported for this model. Use \"thinking.type.between_tools\" to limit thinking.",
        )),
        ("disabled", Thinking::Always) => Err(ApiError::invalid(
            "\"thinking.type.disabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior.",
        )),
        ("disabled", Thinking::OnMayDisable) if too_high && !model.quiet_at_any_effort => {
            Err(ApiError::invalid(format!(
                "\"thinking.type.disabled\" is not supported with effort '{effort}' on this model. Use effort 'high' or lower."
            )))
        }
        ("disabled", _) => Ok(Thoughts::Off),
        ("between_tools", Thinking::OnBetweenTools) if too_high => Err(ApiError::invalid(format!(
            "\"thinking.type.between_tools\" is not supported with effort '{effort}' on this model. Use effort 'high' or lower."
        ))),
        ("between_tools", Thinking::OnBetweenTools) => Ok(Thoughts::Off),
        ("between_tools", _) => Err(ApiError::invalid(
            "\"thinking.type.between_tools\" is not supported for this model.",
        )),
        ("enabled", _) if !model.budget_tokens => Err(ApiError::invalid(
            "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior.",
        )),
        ("enabled", _) => {
            let budget = given.get("budget_tokens").and_then(Value::as_u64);
            let max = map.get("max_tokens").and_then(Value::as_u64);
            match (budget, max) {
                (Some(budget), Some(max)) if budget >= max => Err(ApiError::invalid(
                    "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size",
                )),
                _ => Ok(on),
            }
        }
        _ => Ok(on),
    }
}
