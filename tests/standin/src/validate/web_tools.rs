//! The tools that run at the API, web search and web fetch: their versions, names and options.

use serde_json::{Map, Value};

use super::{Checks, content::cache_control, only, str_of};
use crate::error::ApiError;

/// The versions from which on results are filtered by code, unless only direct calls are allowed.
const FILTERS_FROM: &str = "20260209";
const SEARCH_VERSIONS: &[&str] = &["20250305", "20260209", "20260318"];
const FETCH_VERSIONS: &[&str] = &["20250910", "20260209", "20260309", "20260318"];
const COMMON: &[&str] = &[
    "type",
    "name",
    "allowed_callers",
    "allowed_domains",
    "blocked_domains",
    "cache_control",
    "defer_loading",
    "max_uses",
    "strict",
];

/// Checks one tool whose type is not `custom`. Tools that the stand-in does not play pass.
pub fn check(index: usize, map: &Map<String, Value>) -> Checks {
    let kind = map.get("type").and_then(Value::as_str).unwrap_or_default();
    let (name, version, versions) = match kind.rsplit_once('_') {
        Some(("web_search", version)) => ("web_search", version, SEARCH_VERSIONS),
        Some(("web_fetch", version)) => ("web_fetch", version, FETCH_VERSIONS),
        _ => return Ok(()),
    };
    if !versions.contains(&version) {
        let known: Vec<String> = versions.iter().map(|v| format!("'{name}_{v}'")).collect();
        return Err(ApiError::at(
            &format!("tools.{index}"),
            &format!(
                "Input tag '{kind}' found using 'type' does not match any of the expected tags: {}",
                known.join(", ")
            ),
        ));
    }
    let path = format!("tools.{index}.{kind}");
    match map.get("name") {
        None => return Err(ApiError::at(&format!("{path}.name"), "Field required")),
        Some(given) if given != name => {
            return Err(ApiError::at(
                &format!("{path}.name"),
                &format!("Input should be '{name}'"),
            ));
        }
        Some(_) => {}
    }
    numbers(&path, map)?;
    domains(&path, map)?;
    callers(&path, map)?;
    if let Some(mark) = map.get("cache_control") {
        cache_control(&format!("{path}.cache_control"), mark)?;
    }
    let mut known = COMMON.to_vec();
    match name {
        "web_search" => known.push("user_location"),
        _ => known.extend(["citations", "max_content_tokens", "url_sources"]),
    }
    if version >= "20260309" && name == "web_fetch" {
        known.push("use_cache");
    }
    if version >= "20260318" {
        known.push("response_inclusion");
    }
    only(map, &path, &known)
}

/// Whether its results are filtered by code, which needs the code execution tool.
pub fn filters_by_code(map: &Map<String, Value>) -> bool {
    let kind = map.get("type").and_then(Value::as_str).unwrap_or_default();
    let web = kind.starts_with("web_search_") || kind.starts_with("web_fetch_");
    let version = kind.rsplit_once('_').map_or("", |(_, version)| version);
    let callers = map.get("allowed_callers").and_then(Value::as_array);
    let only_direct = callers.is_some_and(|list| list.iter().all(|c| c == "direct"));
    web && version >= FILTERS_FROM && !only_direct
}

fn numbers(path: &str, map: &Map<String, Value>) -> Checks {
    for field in ["max_uses", "max_content_tokens"] {
        let at = format!("{path}.{field}");
        match map.get(field) {
            None | Some(Value::Null) => {}
            Some(value) if value.as_i64().is_none() => {
                return Err(ApiError::at(&at, "Input should be a valid integer"));
            }
            Some(value) if value.as_i64().is_some_and(|n| n < 1) => {
                return Err(ApiError::at(&at, "Input should be greater than 0"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn domains(path: &str, map: &Map<String, Value>) -> Checks {
    let list = |field: &str| map.get(field).and_then(Value::as_array);
    for field in ["allowed_domains", "blocked_domains"] {
        for (n, domain) in list(field).into_iter().flatten().enumerate() {
            let at = format!("{path}.{field}.{n}");
            let text = domain.as_str();
            let text = text.ok_or_else(|| ApiError::at(&at, "Input should be a valid string"))?;
            if text.is_empty() || text.contains("://") {
                return Err(ApiError::at(
                    &at,
                    "domains must not have a scheme, and must not be empty",
                ));
            }
        }
    }
    match (list("allowed_domains"), list("blocked_domains")) {
        (Some(allowed), Some(blocked)) if !allowed.is_empty() && !blocked.is_empty() => {
            Err(ApiError::at(
                path,
                "only one of allowed_domains and blocked_domains may be given",
            ))
        }
        _ => Ok(()),
    }
}

fn callers(path: &str, map: &Map<String, Value>) -> Checks {
    let list = map.get("allowed_callers").and_then(Value::as_array);
    for (n, caller) in list.into_iter().flatten().enumerate() {
        let name = caller.as_str().unwrap_or_default();
        if name != "direct" && !name.starts_with("code_execution_") {
            return Err(ApiError::at(
                &format!("{path}.allowed_callers.{n}"),
                "Input should be 'direct' or a version of 'code_execution'",
            ));
        }
    }
    Ok(())
}

/// Two tools may not have the same name.
pub fn distinct(list: &[Value]) -> Checks {
    for (index, tool) in list.iter().enumerate() {
        let name = str_of(tool, "name");
        if list.iter().take(index).any(|t| str_of(t, "name") == name) {
            return Err(ApiError::invalid("tools: Tool names must be unique."));
        }
    }
    Ok(())
}
