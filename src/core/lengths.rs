//! How long a result is, as far as its schema tells: at least, at most, and usually.

use serde_json::Value;

/// How long a text is that nothing bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prose {
    /// A field of a worker's result.
    Brief,
    /// A part of a report.
    Long,
}

impl Prose {
    fn chars(self) -> (u64, u64) {
        match self {
            Prose::Brief => (2, 240),
            Prose::Long => (60, 4_000),
        }
    }

    fn usual(self) -> u64 {
        match self {
            Prose::Brief => 60,
            Prose::Long => 1_000,
        }
    }
}

/// Elements of a list that nothing bounds.
const ELEMENTS: (u64, u64) = (0, 6);
const USUAL_ELEMENTS: u64 = 2;
/// Schemas within schemas are followed this far.
const DEPTH: u32 = 12;

/// Characters of one value of a schema, at least and at most, as far as the schema tells.
pub fn value_chars(schema: &Value, prose: Prose) -> (u64, u64) {
    chars(schema, prose, DEPTH)
}

fn chars(schema: &Value, prose: Prose, depth: u32) -> (u64, u64) {
    let text = prose.chars();
    if depth == 0 {
        return text;
    }
    let of = |schema: &Value| chars(schema, prose, depth - 1);
    let number = |name: &str| schema.get(name).and_then(Value::as_u64);
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return either(values.iter().map(|value| {
            let length = value.to_string().chars().count() as u64;
            (length, length)
        }));
    }
    if let Some(value) = schema.get("const") {
        let length = value.to_string().chars().count() as u64;
        return (length, length);
    }
    if let Some(forms) = ["anyOf", "oneOf"]
        .iter()
        .find_map(|name| schema.get(*name)?.as_array())
    {
        return either(forms.iter().map(of));
    }
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ if schema.get("properties").is_some() => vec!["object"],
        _ => return text,
    };
    either(kinds.into_iter().map(|kind| match kind {
        "null" => (4, 4),
        "boolean" => (4, 5),
        "integer" => (1, 8),
        "number" => (1, 12),
        "array" => {
            let element = schema.get("items").map_or(text, of);
            let most = number("maxItems").unwrap_or(ELEMENTS.1).min(100);
            let least = number("minItems").unwrap_or(ELEMENTS.0).min(most);
            (
                2 + least * (element.0 + 1),
                2 + most.saturating_mul(element.1 + 2),
            )
        }
        "object" => {
            let named = schema.get("properties").and_then(Value::as_object);
            let required = schema.get("required").and_then(Value::as_array);
            let mut sum = (2, 4);
            for (name, schema) in named.into_iter().flatten() {
                let value = of(schema);
                let key = name.chars().count() as u64 + 3;
                if required.is_some_and(|names| names.iter().any(|n| n == name)) {
                    sum.0 += key + value.0;
                }
                sum.1 += key + value.1 + 2;
            }
            sum
        }
        _ => {
            let most = number("maxLength").map_or(text.1, |most| most.min(text.1));
            let least = number("minLength").unwrap_or(text.0).min(most);
            (least + 2, most + 2)
        }
    }))
}

fn either(forms: impl Iterator<Item = (u64, u64)>) -> (u64, u64) {
    let mut sum: Option<(u64, u64)> = None;
    for (low, high) in forms {
        sum = Some(sum.map_or((low, high), |(least, most)| {
            (least.min(low), most.max(high))
        }));
    }
    sum.unwrap_or((0, 0))
}

/// Characters that one value of a schema usually has.
pub fn usual_chars(schema: &Value, prose: Prose) -> u64 {
    let (least, most) = value_chars(schema, prose);
    usual(schema, prose, DEPTH).clamp(least, most.max(least))
}

fn usual(schema: &Value, prose: Prose, depth: u32) -> u64 {
    if depth == 0 {
        return prose.usual();
    }
    let of = |schema: &Value| usual(schema, prose, depth - 1);
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let sum: usize = values
            .iter()
            .map(|value| value.to_string().chars().count())
            .sum();
        return sum as u64 / (values.len() as u64).max(1);
    }
    if let Some(value) = schema.get("const") {
        return value.to_string().chars().count() as u64;
    }
    if let Some(forms) = ["anyOf", "oneOf"]
        .iter()
        .find_map(|name| schema.get(*name)?.as_array())
    {
        return forms.iter().map(of).max().unwrap_or(0);
    }
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ if schema.get("properties").is_some() => vec!["object"],
        _ => return prose.usual(),
    };
    let of_kind = |kind: &&str| match *kind {
        "null" | "boolean" => 5,
        "integer" | "number" => 4,
        "array" => {
            let element = schema.get("items").map_or(prose.usual(), of);
            let number = |name: &str| schema.get(name).and_then(Value::as_u64);
            let least = number("minItems").unwrap_or(0);
            let most = number("maxItems").unwrap_or(u64::MAX).max(least);
            2 + USUAL_ELEMENTS.clamp(least, most).min(100) * (element + 2)
        }
        "object" => {
            let named = schema.get("properties").and_then(Value::as_object);
            let fields = named.into_iter().flatten();
            2 + fields
                .map(|(name, schema)| name.chars().count() as u64 + 4 + of(schema))
                .sum::<u64>()
        }
        _ => prose.usual() + 2,
    };
    kinds.iter().map(of_kind).max().unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_says_how_long_its_values_are() {
        let chars = |schema| value_chars(&schema, Prose::Brief);
        assert_eq!(chars(json!({"enum": ["a", "bcd", null]})), (3, 5));
        assert_eq!(chars(json!({"type": "boolean"})), (4, 5));
        assert_eq!(chars(json!({"type": "string", "maxLength": 10})), (4, 12));
        assert_eq!(
            chars(json!({"anyOf": [{"type": "string", "maxLength": 8}, {"type": "null"}]})),
            (4, 10)
        );
        let object = json!({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"type": "null"}}, "required": ["a"]});
        assert_eq!(chars(object), (2 + 4 + 4, 4 + (4 + 5 + 2) + (4 + 4 + 2)));
        let list =
            json!({"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2});
        assert_eq!(chars(list), (2 + 5, 2 + 2 * 7));
        // One that refers to itself ends.
        let mut deep = json!({"type": "string"});
        for _ in 0..100 {
            deep = json!({"type": "array", "items": deep, "maxItems": 1});
        }
        assert!(chars(deep).1 < 400);
    }

    #[test]
    fn what_is_usual_lies_between_least_and_most() {
        let object = json!({"type": "object", "required": ["kind", "why"], "properties": {
            "kind": {"enum": ["a", "bcd"]}, "why": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}}}});
        for (schema, usual) in [
            (object, 2 + (8 + 4) + (7 + 62) + (8 + 2 + 2 * 64)),
            (json!({"type": "string"}), 62),
            (json!({"type": "string", "maxLength": 10}), 12),
            (
                json!({"type": "array", "items": {"type": "boolean"}, "maxItems": 1}),
                9,
            ),
            (json!({}), 60),
        ] {
            let (least, most) = value_chars(&schema, Prose::Brief);
            let found = usual_chars(&schema, Prose::Brief);
            assert!((least..=most).contains(&found), "{schema}");
            assert_eq!(found, usual.clamp(least, most), "{schema}");
        }
    }
}
