//! `http-api.md`: every operation and every type of the OpenAPI document.

use serde_json::{Map, Value};

use crate::docs::markdown::{anchor, generated, in_cell, paragraph, table};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

pub fn page(document: &Value) -> String {
    let mut text = generated("`src/api/openapi/openapi.json`");
    text.push_str("# HTTP API\n\n");
    text.push_str(&paragraph(
        "Every route, parameter and type. The deployment serves the same as OpenAPI 3.1 at `GET /openapi.json`, without a \
         token. All other routes below `/v1`, and `/mcp`, need the header `Authorization: Bearer TOKEN`. Times are RFC 3339 \
         in UTC, money is dollars, and every response has `x-request-id`. Errors are problem documents: see \
         [Errors](errors.md).",
    ));
    let tags = document.get("tags").and_then(Value::as_array);
    for tag in tags.into_iter().flatten() {
        let name = string(tag, "name");
        text.push_str(&format!("\n## {}\n\n", title(name)));
        text.push_str(&paragraph(&format!("{}.", string(tag, "description"))));
        for (method, path, operation) in operations(document) {
            if tag_of(operation) == name {
                text.push_str(&operation_text(method, path, operation, document));
            }
        }
    }
    text.push_str("\n## Types\n");
    for (name, schema) in schemas(document) {
        text.push_str(&type_text(name, schema));
    }
    text
}

fn string<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn title(tag: &str) -> String {
    match tag {
        "mcp" => "MCP".to_owned(),
        other => {
            let mut letters = other.chars();
            let first = letters.next().map(|c| c.to_uppercase().to_string());
            first.unwrap_or_default() + letters.as_str()
        }
    }
}

fn operations(document: &Value) -> Vec<(&'static str, &str, &Value)> {
    let paths = document.get("paths").and_then(Value::as_object);
    let mut found = Vec::new();
    for (path, item) in paths.into_iter().flatten() {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                found.push((method, path.as_str(), operation));
            }
        }
    }
    found
}

fn tag_of(operation: &Value) -> &str {
    operation
        .pointer("/tags/0")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn operation_text(method: &str, path: &str, operation: &Value, document: &Value) -> String {
    let mut text = format!("\n### `{} {path}`\n\n", method.to_uppercase());
    let summary = string(operation, "summary");
    let description = string(operation, "description");
    text.push_str(&paragraph(&sentence(summary)));
    if !description.is_empty() && description != summary {
        text.push('\n');
        text.push_str(&blocks(description));
    }
    let rows: Vec<Vec<String>> = operation
        .get("parameters")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|parameter| parameter_row(parameter, document))
        .collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&["parameter", "in", "type", "meaning"], &rows));
    }
    let bodies: Vec<String> = contents(operation.get("requestBody"));
    if !bodies.is_empty() {
        text.push_str(&format!("\nBody: {}\n", bodies.join(", ")));
    }
    let answers: Vec<String> = operation
        .get("responses")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(status, response)| {
            let of = contents(Some(resolved(response, document)));
            if of.is_empty() || status.starts_with(['4', '5']) {
                format!("`{status}`")
            } else {
                format!("`{status}` {}", of.join(", "))
            }
        })
        .collect();
    text.push_str(&format!("\nAnswers: {}\n", answers.join(" · ")));
    text
}

/// A description's paragraphs, each broken anew.
fn blocks(description: &str) -> String {
    description
        .split("\n\n")
        .map(paragraph)
        .collect::<Vec<_>>()
        .join("\n")
}

fn sentence(text: &str) -> String {
    if text.ends_with(['.', '?', '!']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

/// What a `$ref` to a shared parameter or response refers to.
fn resolved<'a>(value: &'a Value, document: &'a Value) -> &'a Value {
    value
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| document.pointer(reference.trim_start_matches('#')))
        .unwrap_or(value)
}

fn parameter_row(parameter: &Value, document: &Value) -> Vec<String> {
    let parameter = resolved(parameter, document);
    let required = parameter.get("required").and_then(Value::as_bool) == Some(true);
    let schema = parameter.get("schema").unwrap_or(&Value::Null);
    vec![
        format!(
            "`{}`{}",
            string(parameter, "name"),
            if required { " (required)" } else { "" }
        ),
        string(parameter, "in").to_owned(),
        kind(schema),
        string(parameter, "description").to_owned(),
    ]
}

/// Media type and type of each content.
fn contents(holder: Option<&Value>) -> Vec<String> {
    let content = holder
        .and_then(|holder| holder.get("content"))
        .and_then(Value::as_object);
    content
        .into_iter()
        .flatten()
        .map(|(media, content)| {
            let schema = content.get("schema").unwrap_or(&Value::Null);
            match kind(schema).as_str() {
                "" => format!("`{media}`"),
                kind if media == "application/json" => kind.to_owned(),
                kind => format!("{kind} as `{media}`"),
            }
        })
        .collect()
}

fn schemas(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    document
        .pointer("/components/schemas")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

/// A type in a few words, with links to the types it names.
pub fn kind(schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        return format!("[{name}](#{})", anchor(name));
    }
    for words in ["oneOf", "anyOf", "allOf"] {
        if let Some(choices) = schema.get(words).and_then(Value::as_array) {
            let kinds: Vec<String> = choices
                .iter()
                .map(kind)
                .filter(|kind| kind != "null" && !kind.is_empty())
                .collect();
            return kinds.join(" or ");
        }
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<String> = values
            .iter()
            .filter_map(Value::as_str)
            .map(|value| format!("`{value}`"))
            .collect();
        return values.join(", ");
    }
    let names: Vec<&str> = match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => return String::new(),
    };
    let name = names
        .into_iter()
        .find(|name| *name != "null")
        .unwrap_or("null");
    match (name, schema.get("items")) {
        ("array", Some(items)) => match kind(items).as_str() {
            "" => "list".to_owned(),
            of => format!("list of {of}"),
        },
        _ => match string(schema, "format") {
            "date-time" => "time".to_owned(),
            _ => name.to_owned(),
        },
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.rsplit('/').next()
}

/// The bounds of a value in words: `1 to 64 characters`.
pub fn bounds(schema: &Value) -> String {
    let between = |low: &str, high: &str, unit: &str| {
        let (low, high) = (schema.get(low), schema.get(high));
        match (low, high) {
            (Some(low), Some(high)) => Some(format!("{low} to {high}{unit}")),
            (Some(low), None) if low.as_f64() != Some(0.0) => Some(format!("at least {low}{unit}")),
            (None, Some(high)) => Some(format!("at most {high}{unit}")),
            _ => None,
        }
    };
    [
        between("minimum", "maximum", ""),
        between("minLength", "maxLength", " characters"),
        between("minItems", "maxItems", " entries"),
        between("minProperties", "maxProperties", " fields"),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(", ")
}

fn type_text(name: &str, schema: &Value) -> String {
    let mut text = format!("\n### {name}\n");
    let description = string(schema, "description");
    if !description.is_empty() {
        text.push_str(&format!("\n{}", blocks(&sentence(description))));
    }
    for part in parts(schema) {
        if let Some(properties) = part.get("properties").and_then(Value::as_object) {
            text.push_str(&format!("\n{}", properties_table(part, properties)));
        } else {
            let kind = kind(part);
            if !kind.is_empty() && kind != "object" {
                text.push_str(&format!("\n{}", paragraph(&format!("Type: {kind}."))));
            }
        }
    }
    text
}

/// The alternatives of a type; the type itself where it has none.
fn parts(schema: &Value) -> Vec<&Value> {
    match schema
        .get("oneOf")
        .or_else(|| schema.get("anyOf"))
        .and_then(Value::as_array)
    {
        Some(choices) => choices.iter().collect(),
        None => vec![schema],
    }
}

fn properties_table(schema: &Value, properties: &Map<String, Value>) -> String {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let rows: Vec<Vec<String>> = properties
        .iter()
        .map(|(name, property)| {
            let mark = if required.contains(&name.as_str()) {
                " (required)"
            } else {
                ""
            };
            vec![format!("`{name}`{mark}"), kind(property), meaning(property)]
        })
        .collect();
    table(&["field", "type", "meaning"], &rows)
}

/// Description and bounds of a field; of an optional one the description is inside of its choices.
pub fn meaning(property: &Value) -> String {
    let own = string(property, "description");
    let inner = property
        .get("oneOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|choice| string(choice, "description"))
        .find(|text| !text.is_empty())
        .unwrap_or_default();
    let words = if own.is_empty() { inner } else { own };
    let bounds = bounds(property);
    match (words.is_empty(), bounds.is_empty()) {
        (_, true) => in_cell(words),
        (true, false) => bounds,
        (false, false) => format!("{} ({bounds})", in_cell(words).trim_end_matches('.')),
    }
}
