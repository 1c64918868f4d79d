//! Citations: the item ids that a report names, in double square brackets.

use std::collections::HashSet;

use serde_json::Value;

/// No id is longer; what is, is no citation but brackets in a text.
const LONGEST: usize = 300;
/// More than any report names; what a model writes without end is bounded by its tokens anyway.
const MOST: usize = 10_000;

/// The ids named in the texts of a report, each once, in order.
pub fn cited(report: &Value) -> Vec<String> {
    let mut ids = Vec::new();
    let mut seen = HashSet::new();
    walk(report, &mut |text| {
        for id in in_text(text) {
            if ids.len() < MOST && seen.insert(id.to_owned()) {
                ids.push(id.to_owned());
            }
        }
    });
    ids
}

fn walk(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => found(text),
        Value::Array(list) => list.iter().for_each(|one| walk(one, found)),
        Value::Object(map) => map.values().for_each(|one| walk(one, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What stands in `[[…]]`. An id may hold brackets of its own: the first `]]` that is followed by no further `]` ends it.
fn in_text(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let (_, tail) = rest.split_once("[[")?;
            let Some(mut end) = tail.find("]]") else {
                rest = "";
                return None;
            };
            while tail.as_bytes().get(end + 2) == Some(&b']') {
                end += 1;
            }
            let id = tail.get(..end).unwrap_or_default();
            rest = tail.get(end + 2..).unwrap_or_default();
            if !id.is_empty() && id.len() <= LONGEST && !id.contains('\n') {
                return Some(id);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_found_wherever_texts_stand() {
        let report = json!({"summary": "Much is broken [[T-1]][[T-2]]. Again [[T-1]].", "causes": [{"why": "x [[a b]]", "n": 3}]});
        assert_eq!(cited(&report), ["T-1", "T-2", "a b"]);
        assert_eq!(cited(&json!("[[x[1]]] and [[y]]")), ["x[1]", "y"]);
    }

    #[test]
    fn brackets_that_name_nothing_are_no_citations() {
        for text in ["[[", "[[]]", "a [b] c", "[[x", "]] [[", "[[a\nb]]"] {
            assert_eq!(cited(&json!(text)), Vec::<String>::new(), "{text}");
        }
    }
}
