//! `stage-fields.md`: the fields of a stage, by the kinds of stage that take them, and the fields inside of them.

use serde_json::Value;

use super::http::{kind, meaning};
use crate::docs::markdown::{generated, in_cell, paragraph, table};

/// Types that only stages use, in the order in which their fields appear above.
const INNER: [(&str, &str); 7] = [
    ("Chunk", "chunk"),
    ("Merge", "merge"),
    ("Condition", "of and where"),
    ("Verify", "verify"),
    ("Tools", "tools"),
    ("WebTool", "tools.web_search and tools.web_fetch"),
    ("Limits", "limits (of the job)"),
];

pub fn page(document: &Value) -> String {
    let mut text = generated("`src/api/openapi/openapi.json`");
    text.push_str("# Stage fields\n\n");
    text.push_str(&paragraph(
        "A stage is an object in the list `stages` of a submit. `map` stages read items or the results of the stage before. \
         One `synthesis` may come last. A field that is out of range, or that its kind does not take, is refused with its path.",
    ));
    let stage = schema(document, "Stage");
    for (title, words) in [
        ("Every stage", ""),
        ("Only `map`", "`map` only"),
        ("Only `synthesis`", "`synthesis` only"),
    ] {
        let rows = rows(document, stage, |words_of_field| {
            if words.is_empty() {
                !words_of_field.contains("` only")
            } else {
                words_of_field.starts_with(words)
            }
        });
        if !rows.is_empty() {
            text.push_str(&format!("\n## {title}\n\n"));
            text.push_str(&table(&["field", "type", "meaning"], &rows));
        }
    }
    for (name, title) in INNER {
        let rows = rows(document, schema(document, name), |_| true);
        if !rows.is_empty() {
            text.push_str(&format!("\n## Fields of {title}\n\n"));
            text.push_str(&table(&["field", "type", "meaning"], &rows));
        }
    }
    // The types have their own page.
    text.replace("](#", "](http-api.md#")
}

fn schema<'a>(document: &'a Value, name: &str) -> &'a Value {
    document
        .pointer(&format!("/components/schemas/{name}"))
        .unwrap_or(&Value::Null)
}

fn rows(document: &Value, schema: &Value, wanted: impl Fn(&str) -> bool) -> Vec<Vec<String>> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, property)| (name, property, meaning(property)))
        .filter(|(_, _, words)| wanted(words))
        .map(|(name, property, words)| {
            let words = match heading_says(&words) {
                "" => of_its_type(document, property),
                more => more.to_owned(),
            };
            vec![format!("`{name}`"), kind(property), words]
        })
        .collect()
}

/// Without the words that the heading above the table says already.
fn heading_says(words: &str) -> &str {
    let rest = ["`map` only", "`synthesis` only"]
        .iter()
        .find_map(|prefix| words.strip_prefix(prefix));
    rest.map_or(words, |rest| rest.trim_start_matches([':', ',', '.', ' ']))
}

/// A field without words of its own has those of its type.
fn of_its_type(document: &Value, property: &Value) -> String {
    let choices = property.get("oneOf").and_then(Value::as_array);
    let named = choices
        .into_iter()
        .flatten()
        .chain(std::iter::once(property))
        .find_map(|choice| choice.get("$ref")?.as_str());
    named
        .and_then(|reference| document.pointer(reference.trim_start_matches('#')))
        .and_then(|named| named.get("description")?.as_str())
        .map(in_cell)
        .unwrap_or_default()
}
