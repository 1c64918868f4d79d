//! The API's rules for schemas as they are documented, written down apart from the code that
//! follows them, to hold that code against.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::{Map, Value, json};

/// Everything in a schema that the API would refuse.
pub(super) fn violations(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let (mut optional, mut unions) = (0, 0);
    judge(schema, "#", &mut found, &mut optional, &mut unions);
    if optional > 24 {
        found.push(format!("{optional} optional"));
    }
    if unions > 16 {
        found.push(format!("{unions} unions"));
    }
    found
}

fn judge(
    schema: &Value,
    at: &str,
    found: &mut Vec<String>,
    optional: &mut usize,
    unions: &mut usize,
) {
    let Some(keywords) = schema.as_object() else {
        found.push(format!("{at}: not an object"));
        return;
    };
    let taken = [
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "minItems",
        "enum",
        "const",
        "anyOf",
        "format",
        "pattern",
        "title",
        "description",
    ];
    found.extend(
        keywords
            .keys()
            .filter(|k| !taken.contains(&k.as_str()))
            .map(|k| format!("{at}: {k}")),
    );
    let kind = keywords.get("type");
    if kind.is_none()
        && !["enum", "const", "anyOf"]
            .iter()
            .any(|k| keywords.contains_key(*k))
    {
        found.push(format!("{at}: no type"));
    }
    let known = [
        "object", "array", "string", "integer", "number", "boolean", "null",
    ];
    match kind {
        Some(Value::String(kind)) if !known.contains(&kind.as_str()) => {
            found.push(format!("{at}: {kind}"))
        }
        Some(Value::Array(kinds)) => {
            *unions += 1;
            if kinds.iter().any(|kind| kind == "object" || kind == "array") {
                found.push(format!("{at}: list of types with parts"));
            }
        }
        _ => {}
    }
    if kind == Some(&json!("object")) {
        if keywords.get("additionalProperties") != Some(&json!(false)) {
            found.push(format!("{at}: not closed"));
        }
        let empty = Map::new();
        let properties = keywords
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let required = keywords
            .get("required")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        for name in &required {
            if !properties.contains_key(name.as_str().unwrap()) {
                found.push(format!("{at}: requires {name}"));
            }
        }
        for (name, schema) in properties {
            if !required.contains(&json!(name)) {
                *optional += 1;
            }
            judge(schema, &format!("{at}/{name}"), found, optional, unions);
        }
    }
    if kind == Some(&json!("array")) {
        match keywords.get("items") {
            Some(items) => judge(items, &format!("{at}/items"), found, optional, unions),
            None => found.push(format!("{at}: no items")),
        }
        if keywords
            .get("minItems")
            .is_some_and(|least| *least != json!(0) && *least != json!(1))
        {
            found.push(format!("{at}: minItems"));
        }
    }
    for value in keywords
        .get("enum")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if value.is_object() || value.is_array() {
            found.push(format!("{at}: enum of parts"));
        }
    }
    if let Some(forms) = keywords.get("anyOf").and_then(Value::as_array) {
        *unions += 1;
        for form in forms {
            judge(form, &format!("{at}/anyOf"), found, optional, unions);
        }
    }
    if let Some(pattern) = keywords.get("pattern").and_then(Value::as_str) {
        for bad in ["(?=", "(?!", "(?<", "\\b", "\\1"] {
            if pattern.contains(bad) {
                found.push(format!("{at}: pattern {bad}"));
            }
        }
    }
}
