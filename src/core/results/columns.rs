//! The columns of a table of results: the fields of a stage's schema, and nested values spread over columns of their own.

use serde_json::{Map, Value};

/// Schemas are bounded where they come in; a reference may still lead back to itself.
const DEPTH: usize = 8;

/// The fields of one result in the order of its schema, each as the path to it; `None` where the schema names none. `deep`: what
/// stands in nested objects is a column too.
pub fn paths(schema: Option<&Value>, deep: bool) -> Option<Vec<Vec<String>>> {
    let Some(schema) = schema else {
        return Some(vec![vec!["text".to_owned()]]);
    };
    let mut paths = Vec::new();
    let levels = if deep { DEPTH } else { 1 };
    walk(schema, schema, levels, &mut Vec::new(), &mut paths);
    (!paths.is_empty()).then_some(paths)
}

fn walk(
    root: &Value,
    schema: &Value,
    levels: usize,
    above: &mut Vec<String>,
    paths: &mut Vec<Vec<String>>,
) {
    for (name, field) in properties(root, schema).into_iter().flatten() {
        above.push(name.clone());
        let before = paths.len();
        if levels > 1 {
            walk(root, field, levels - 1, above, paths);
        }
        if paths.len() == before {
            paths.push(above.clone());
        }
        above.pop();
    }
}

/// The properties of an object, behind a reference or beside null too.
fn properties<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Map<String, Value>> {
    let mut schema = schema;
    for _ in 0..DEPTH {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            return Some(properties);
        }
        schema = if let Some(place) = schema.get("$ref").and_then(Value::as_str) {
            root.pointer(place.strip_prefix('#')?)?
        } else {
            let either = schema.get("anyOf").or_else(|| schema.get("oneOf"))?;
            let is_null = |one: &&Value| one.get("type") == Some(&Value::from("null"));
            let mut others = either.as_array()?.iter().filter(|one| !is_null(one));
            let only = others.next()?;
            if others.next().is_some() {
                return None;
            }
            only
        };
    }
    None
}

/// An object without objects in it: `{"a": {"b": 1}}` is `{"a.b": 1}`. Anything else stays as it is.
pub fn flat(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut out = Map::with_capacity(fields.len());
            spread("", fields, &mut out);
            Value::Object(out)
        }
        other => other,
    }
}

fn spread(above: &str, fields: Map<String, Value>, out: &mut Map<String, Value>) {
    for (name, value) in fields {
        let name = match above {
            "" => name,
            above => format!("{above}.{name}"),
        };
        match value {
            Value::Object(inside) if !inside.is_empty() => spread(&name, inside, out),
            other => {
                out.insert(name, other);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn joined(schema: &Value, deep: bool) -> Vec<String> {
        let paths = paths(Some(schema), deep).unwrap();
        paths.iter().map(|path| path.join(".")).collect()
    }

    #[test]
    fn nested_fields_are_columns_on_request() {
        let schema = json!({
            "$defs": {"place": {"type": "object", "properties": {"city": {}, "zip": {"type": ["string", "null"]}}}},
            "properties": {
                "kind": {"type": "string"},
                "at": {"$ref": "#/$defs/place"},
                "was": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/place"}]},
                "all": {"type": "array", "items": {"$ref": "#/$defs/place"}},
                "any": {"type": "object"},
            },
        });
        assert_eq!(joined(&schema, false), ["kind", "at", "was", "all", "any"]);
        assert_eq!(
            joined(&schema, true),
            [
                "kind", "at.city", "at.zip", "was.city", "was.zip", "all", "any"
            ]
        );
    }

    #[test]
    fn a_schema_that_leads_back_to_itself_ends() {
        let schema = json!({"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#/properties/b"}}});
        assert!(joined(&schema, true).len() < 20);
    }

    #[test]
    fn no_schema_is_a_text_and_no_field_is_one_column() {
        assert_eq!(paths(None, true), Some(vec![vec!["text".to_owned()]]));
        assert_eq!(paths(Some(&json!({"type": "string"})), true), None);
    }

    #[test]
    fn objects_are_spread_and_lists_stay() {
        let value = json!({"a": {"b": {"c": 1}, "d": []}, "e": {}, "f": [{"g": 1}]});
        assert_eq!(
            flat(value),
            json!({"a.b.c": 1, "a.d": [], "e": {}, "f": [{"g": 1}]})
        );
        assert_eq!(flat(json!("text")), json!("text"));
    }
}
