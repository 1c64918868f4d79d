//! How long a result is, as far as its schema tells: at least, at most, and usually.
//!
//! Two upper ends are told apart. What one value may come to is the sum of its longest parts. What the values of many answers come
//! to on average is less: they do not all have every list full and every text as long as texts get, so there the lengths beyond
//! the usual ones are added as independent ones are, by their squares.

use serde_json::Value;

/// How long a text is that nothing bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prose {
    /// A field of a worker's result for one item.
    Brief,
    /// A field of a result for many items together.
    Gathered,
    /// A part of a report.
    Long,
}

impl Prose {
    fn chars(self) -> (u64, u64) {
        match self {
            Prose::Brief => (2, 240),
            Prose::Gathered => (2, 400),
            Prose::Long => (60, 4_000),
        }
    }

    fn usual(self) -> u64 {
        match self {
            Prose::Brief => 70,
            Prose::Gathered => 90,
            Prose::Long => 1_000,
        }
    }

    /// A text that is one of a list is a point, not a part.
    fn listed(self, items: Option<&Value>) -> Prose {
        let text = |items: &Value| items.get("type").is_some_and(|kind| kind == "string");
        match self {
            Prose::Long if items.is_none_or(text) => Prose::Gathered,
            other => other,
        }
    }

    /// Elements of a list that nothing bounds: at most, and usually. Where many items come together, lists gather.
    fn elements(self) -> (u64, u64) {
        match self {
            Prose::Brief => (6, 2),
            Prose::Gathered => (20, 4),
            Prose::Long => (12, 4),
        }
    }
}

/// Schemas within schemas are followed this far.
const DEPTH: u32 = 12;
/// No answer has a thousandth of these characters, and as many in each of a million results can still be counted. Lists of a hundred
/// lists of a hundred lists soon could not.
const MOST_CHARS: u64 = 1_000_000_000;

/// Characters of one value of a schema, at least and at most, as far as the schema tells.
pub fn value_chars(schema: &Value, prose: Prose) -> (u64, u64) {
    chars(schema, prose, DEPTH)
}

fn chars(schema: &Value, prose: Prose, depth: u32) -> (u64, u64) {
    let (least, most) = unbounded_chars(schema, prose, depth);
    (least.min(MOST_CHARS), most.min(MOST_CHARS))
}

fn unbounded_chars(schema: &Value, prose: Prose, depth: u32) -> (u64, u64) {
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
            let items = schema.get("items");
            let listed = prose.listed(items);
            let element = items.map_or(listed.chars(), |items| chars(items, listed, depth - 1));
            let most = number("maxItems").unwrap_or(prose.elements().0).min(100);
            let least = number("minItems").unwrap_or(0).min(most);
            (2 + least * (element.0 + 1), 2 + most * (element.1 + 2))
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

/// Characters that one value of a schema usually has, and that the values of many answers have on average at most.
pub fn average_chars(schema: &Value, prose: Prose) -> (u64, u64) {
    let (least, most) = value_chars(schema, prose);
    let (usual, beyond) = usual(schema, prose, DEPTH);
    let usual = (usual as u64).clamp(least, most.max(least));
    let beyond = (usual as f64 + beyond).ceil() as u64;
    (usual, beyond.clamp(usual, most.max(usual)))
}

/// What is usual, and how much more it may be on average.
fn usual(schema: &Value, prose: Prose, depth: u32) -> (f64, f64) {
    let text = |prose: Prose| {
        let usual = prose.usual();
        (usual as f64, (prose.chars().1 - usual) as f64)
    };
    if depth == 0 {
        return text(prose);
    }
    let of = |schema: &Value| usual(schema, prose, depth - 1);
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let lengths = values.iter().map(|value| value.to_string().chars().count());
        let (sum, most) = lengths.fold((0, 0), |(sum, most), length| {
            (sum + length, length.max(most))
        });
        let usual = sum as f64 / (values.len() as f64).max(1.0);
        return (usual, most as f64 - usual);
    }
    if let Some(value) = schema.get("const") {
        return (value.to_string().chars().count() as f64, 0.0);
    }
    let longest = |one: (f64, f64), other: (f64, f64)| match one.0 + one.1 > other.0 + other.1 {
        true => one,
        false => other,
    };
    if let Some(forms) = ["anyOf", "oneOf"]
        .iter()
        .find_map(|name| schema.get(*name)?.as_array())
    {
        return forms.iter().map(of).fold((0.0, 0.0), longest);
    }
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ if schema.get("properties").is_some() => vec!["object"],
        _ => return text(prose),
    };
    let number = |name: &str| schema.get(name).and_then(Value::as_u64);
    let of_kind = |kind: &str| match kind {
        "null" | "boolean" => (5.0, 0.0),
        "integer" => (4.0, 4.0),
        "number" => (4.0, 8.0),
        "array" => {
            let items = schema.get("items");
            let listed = prose.listed(items);
            let element = items.map_or(text(listed), |items| usual(items, listed, depth - 1));
            let (unbounded, some) = prose.elements();
            let most = number("maxItems").unwrap_or(unbounded).min(100);
            let least = number("minItems").unwrap_or(0).min(most);
            let count = some.clamp(least, most) as f64;
            // A full list of usual elements, or a usual list of long ones.
            let longer = (most as f64 - count) * (element.0 + 2.0);
            (
                2.0 + count * (element.0 + 2.0),
                longer.hypot(count * element.1),
            )
        }
        "object" => {
            let named = schema.get("properties").and_then(Value::as_object);
            let mut sum = (2.0, 0.0_f64);
            for (name, schema) in named.into_iter().flatten() {
                let value = of(schema);
                sum.0 += name.chars().count() as f64 + 4.0 + value.0;
                sum.1 = sum.1.hypot(value.1);
            }
            sum
        }
        _ => {
            let (common, beyond) = text(prose);
            let most = number("maxLength")
                .map_or(common + beyond, |most| (most as f64).min(common + beyond));
            let common = common.min(most);
            (common + 2.0, most - common)
        }
    };
    kinds.into_iter().map(of_kind).fold((0.0, 0.0), longest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_within_lists_stay_within_what_can_be_counted() {
        let mut schema = json!({"type": "string", "minLength": u64::MAX, "maxLength": u64::MAX});
        for _ in 0..20 {
            schema =
                json!({"type": "array", "items": schema, "minItems": 1_000, "maxItems": 1_000});
        }
        let wide: Value = (0..50)
            .map(|n| (format!("f{n}"), schema.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let schema = json!({"type": "object", "properties": wide, "required": ["f0", "f1"]});
        for prose in [Prose::Brief, Prose::Gathered, Prose::Long] {
            let (least, most) = value_chars(&schema, prose);
            let (usual, average) = average_chars(&schema, prose);
            assert!(least <= usual && usual <= average && average <= most);
            // An item's worth of it in each of a hundred thousand results can be counted, too.
            assert!(most.checked_mul(1_000_000).is_some());
        }
    }

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
            (object, 2 + (8 + 4) + (7 + 72) + (8 + 2 + 2 * 9)),
            (json!({"type": "string"}), 72),
            (json!({"type": "string", "maxLength": 10}), 12),
            (
                json!({"type": "array", "items": {"type": "boolean"}, "maxItems": 1}),
                9,
            ),
            (json!({}), 70),
        ] {
            let (least, most) = value_chars(&schema, Prose::Brief);
            let (found, average) = average_chars(&schema, Prose::Brief);
            assert!(
                least <= found && found <= average && average <= most.max(found),
                "{schema}"
            );
            assert_eq!(found, usual.clamp(least, most), "{schema}");
        }
    }

    #[test]
    fn answers_do_not_have_everything_at_its_longest_on_average() {
        let texts = |count: usize| {
            let fields = (0..count).map(|n| (format!("f{n}"), json!({"type": "string"})));
            json!({"type": "object", "properties": fields.collect::<serde_json::Map<_, _>>()})
        };
        let beyond = |schema: &Value| {
            let (usual, average) = average_chars(schema, Prose::Brief);
            average - usual
        };
        // One text may always be long; of sixteen, four times as much comes together.
        assert_eq!(beyond(&texts(1)), 170);
        assert_eq!(beyond(&texts(16)), 4 * 170);
        assert_eq!(value_chars(&texts(16), Prose::Brief).1 / 16, 240 + 2 + 7);
        // What is listed is as short as the list says, whatever its texts would be elsewhere.
        let kinds = json!({"type": "array", "items": {"enum": ["ab", "abcd"]}, "maxItems": 3});
        assert_eq!(average_chars(&kinds, Prose::Long).0, 2 + 3 * 7);
        // Where many items come together, lists are longer.
        let list = json!({"type": "array", "items": {"type": "string"}});
        assert!(average_chars(&list, Prose::Gathered).1 > 2 * average_chars(&list, Prose::Brief).1);
    }
}
