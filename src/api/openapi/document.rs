//! The OpenAPI document: it is served, and its schemas are read.
//!
//! `openapi.json` is made by the tests from the handlers and types that serve (`generate.rs`), and a test fails where it differs.

use axum::response::Response;
use serde_json::{Map, Value};

use crate::api::http::reply;

/// The document as it is served.
const TEXT: &str = include_str!("openapi.json");

fn whole() -> Result<Value, serde_json::Error> {
    serde_json::from_str(TEXT)
}

/// The document's `components`, which hold its schemas.
pub fn components() -> Result<Value, serde_json::Error> {
    let document = whole()?;
    Ok(document.get("components").cloned().unwrap_or_default())
}

/// A schema of the document that stands for itself, with what it refers to under `$defs`.
pub fn standalone(name: &str) -> Value {
    let document = whole().unwrap_or_default();
    let schemas = document.pointer("/components/schemas");
    schemas
        .and_then(Value::as_object)
        .map(|schemas| with_definitions(schemas, name))
        .unwrap_or_default()
}

/// A schema of the document that stands for itself: what it refers to is under `$defs`.
fn with_definitions(components: &Map<String, Value>, name: &str) -> Value {
    let mut schema = components.get(name).cloned().unwrap_or_default();
    let mut definitions = Map::new();
    let mut wanted = Vec::new();
    turn_references(&mut schema, &mut wanted);
    while let Some(name) = wanted.pop() {
        if definitions.contains_key(&name) {
            continue;
        }
        let mut definition = components.get(&name).cloned().unwrap_or_default();
        turn_references(&mut definition, &mut wanted);
        definitions.insert(name, definition);
    }
    if let Value::Object(schema) = &mut schema {
        schema.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema
}

fn turn_references(value: &mut Value, wanted: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/components/schemas/")
            {
                wanted.push(name.to_owned());
                *reference = format!("#/$defs/{name}");
            }
            map.values_mut()
                .for_each(|value| turn_references(value, wanted));
        }
        Value::Array(list) => list
            .iter_mut()
            .for_each(|value| turn_references(value, wanted)),
        _ => {}
    }
}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "service",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub async fn document() -> Response {
    reply::tagged_text(reply::JSON, TEXT)
}
