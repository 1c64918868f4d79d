//! The other kinds of input: one text, documents, addresses. Each becomes items, like those of [`super::items`].

use serde_json::{Map, Value};

use super::items::{checked_id, default_id, find_doubles, json_len, slice_fault};
use super::problem::Faults;
use super::shape::join;
use crate::config::Caps;
use crate::core::guard::MAX_URL;
use crate::core::plan::Item;

/// The id of the only document of an `input.text`.
pub const TEXT_ID: &str = "text";

/// `input.text`: one document.
pub fn text(value: Value, faults: &mut Faults) -> Vec<Item> {
    let Value::String(text) = value else {
        faults.add("input.text", "must be a string");
        return Vec::new();
    };
    if text.trim().is_empty() {
        faults.add("input.text", "is empty");
        return Vec::new();
    }
    vec![document(TEXT_ID.to_owned(), Map::new(), text)]
}

/// `input.documents`: objects with a `text` of any length; other fields stay with each slice of it.
pub fn documents(value: Value, caps: &Caps, faults: &mut Faults) -> Vec<Item> {
    read(
        value,
        "documents",
        caps,
        faults,
        |here, mut fields, faults| match fields.shift_remove("text") {
            Some(Value::String(text)) if !text.trim().is_empty() => Some((fields, "text", text)),
            Some(Value::String(_)) => {
                faults.add(join(here, "text"), "is empty");
                None
            }
            Some(_) => {
                faults.add(join(here, "text"), "must be a string");
                None
            }
            None => {
                faults.add(join(here, "text"), "is required");
                None
            }
        },
    )
}

/// `input.urls`: addresses, as they are or in objects with a `url`. Whether they may be read, and can be, is each one's own fate.
pub fn urls(value: Value, caps: &Caps, faults: &mut Faults) -> Vec<Item> {
    read(value, "urls", caps, faults, |here, mut fields, faults| {
        let url = match fields.shift_remove("url") {
            Some(Value::String(url)) => url,
            Some(_) => {
                faults.add(join(here, "url"), "must be a string");
                return None;
            }
            None => {
                faults.add(join(here, "url"), "is required");
                return None;
            }
        };
        let url = url.trim();
        if url.is_empty() || url.len() > MAX_URL {
            let message = format!("must be an address of 1 to {MAX_URL} bytes");
            faults.add(join(here, "url"), message);
            return None;
        }
        if fields.contains_key("text") {
            faults.add(
                join(here, "text"),
                "is what the page holds; give it another name",
            );
            return None;
        }
        Some((fields, "url", url.to_owned()))
    })
}

/// A list whose entries have an id, one field that matters, and others.
fn read(
    value: Value,
    kind: &str,
    caps: &Caps,
    faults: &mut Faults,
    entry: impl Fn(
        &str,
        Map<String, Value>,
        &mut Faults,
    ) -> Option<(Map<String, Value>, &'static str, String)>,
) -> Vec<Item> {
    let path = join("input", kind);
    let Value::Array(given) = value else {
        faults.add(path, "must be an array");
        return Vec::new();
    };
    if given.is_empty() {
        faults.add(&path, "must not be empty");
    }
    if given.len() > caps.items as usize {
        let (count, cap) = (given.len(), caps.items);
        let message = format!("has {count} items; at most {cap} are taken (MAX_ITEMS)");
        faults.add(&path, message);
        return Vec::new();
    }
    let mut items = Vec::with_capacity(given.len());
    for (position, value) in given.into_iter().enumerate() {
        let here = format!("{path}[{position}]");
        let fields = match value {
            Value::Object(fields) => fields,
            // Of an address nothing else need be said.
            Value::String(url) if kind == "urls" => {
                Map::from_iter([("url".to_owned(), Value::String(url))])
            }
            Value::String(text) => Map::from_iter([("text".to_owned(), Value::String(text))]),
            _ => {
                faults.add(here, "must be a string or an object");
                continue;
            }
        };
        let mut fields = fields;
        let id = match fields.shift_remove("id") {
            None | Some(Value::Null) => Ok(default_id(position)),
            Some(Value::String(id)) => checked_id(id),
            Some(_) => Err("must be a string"),
        };
        let id = id.and_then(|id| slice_fault(&id).map_or(Ok(id), Err));
        let entry = entry(&here, fields, faults);
        match (id, entry) {
            (Err(message), _) => faults.add(join(&here, "id"), message),
            (_, None) => {}
            (Ok(id), Some((fields, name, text))) => {
                // They stand in every slice's prompt.
                let size: u64 = fields.values().map(json_len).sum();
                if size > u64::from(caps.item_bytes) {
                    let cap = caps.item_bytes;
                    let message = format!(
                        "has {size} bytes besides `{name}`; at most {cap} are taken (MAX_ITEM_BYTES)"
                    );
                    faults.add(&here, message);
                    continue;
                }
                let mut item = document(id, fields, text);
                if name != "text" {
                    let text = item.fields.shift_remove("text").unwrap_or_default();
                    item.fields.shift_insert(0, name.to_owned(), text);
                }
                items.push((position, item));
            }
        }
    }
    find_doubles(&path, &items, faults);
    items.into_iter().map(|(_, item)| item).collect()
}

fn document(id: String, mut fields: Map<String, Value>, text: String) -> Item {
    fields.insert("text".to_owned(), Value::String(text));
    Item { id, fields }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::super::items::{self, Taken};
    use super::*;
    use crate::api::problem::ApiError;
    use crate::config::Config;
    use crate::core::plan::InputKind;

    fn read(input: Value) -> (Taken, Vec<String>) {
        let mut faults = Faults::default();
        let mut caps = Config::from_vars(|_| None).unwrap().caps;
        caps.item_bytes = 100;
        caps.items = 20;
        let taken = items::read(input, &caps, false, &mut faults);
        let problem = ApiError::invalid(faults).into_problem(String::new());
        let lines = problem.errors.into_iter();
        let lines = lines.map(|f| format!("{}: {}", f.path, f.message));
        (taken, lines.collect())
    }

    fn wire(input: Value) -> (InputKind, Vec<String>) {
        let (taken, faults) = read(input);
        assert_eq!(faults, [""; 0]);
        let items = taken.items.into_iter();
        let items = items.map(|item| item.into_wire().to_string()).collect();
        (taken.kind, items)
    }

    #[test]
    fn every_kind_becomes_items() {
        let long = "x".repeat(1_000);
        let (kind, items) = wire(json!({"text": long, "items": null}));
        assert_eq!(kind, InputKind::Documents);
        assert_eq!(items, [format!(r#"{{"id":"text","text":"{long}"}}"#)]);
        let (kind, items) = wire(json!({"documents": [
            "plain", {"id": "a", "text": long, "title": "T"}, {"id": null, "text": "c"},
        ]}));
        assert_eq!(kind, InputKind::Documents);
        assert_eq!(
            items,
            [
                r#"{"id":"item-1","text":"plain"}"#.to_owned(),
                format!(r#"{{"id":"a","title":"T","text":"{long}"}}"#),
                r#"{"id":"item-3","text":"c"}"#.to_owned(),
            ]
        );
        let (kind, items) = wire(json!({"urls": [
            "https://a.org", {"id": "b", "company": "B", "url": " not a url "}, "http://127.0.0.1/",
        ]}));
        assert_eq!(kind, InputKind::Urls);
        assert_eq!(
            items,
            [
                r#"{"id":"item-1","url":"https://a.org"}"#,
                r#"{"id":"b","url":"not a url","company":"B"}"#,
                r#"{"id":"item-3","url":"http://127.0.0.1/"}"#,
            ]
        );
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let cases = [
            (json!({"text": 5}), vec!["input.text: must be a string"]),
            (json!({"text": " \n"}), vec!["input.text: is empty"]),
            (
                json!({"documents": {}}),
                vec!["input.documents: must be an array"],
            ),
            (json!({"urls": []}), vec!["input.urls: must not be empty"]),
            (
                json!({"documents": [5, {}, {"text": 1}, {"text": ""}, {"id": "a#1", "text": "x"},
                    {"id": 1, "text": "x"}, {"id": "b", "text": "x", "note": "y".repeat(200)}]}),
                vec![
                    "input.documents[0]: must be a string or an object",
                    "input.documents[1].text: is required",
                    "input.documents[2].text: must be a string",
                    "input.documents[3].text: is empty",
                    "input.documents[4].id: must not end in `#` and a number: slices are named so",
                    "input.documents[5].id: must be a string",
                    "input.documents[6]: has 202 bytes besides `text`; at most 100 are taken (MAX_ITEM_BYTES)",
                ],
            ),
            (
                json!({"urls": ["", {"url": 1}, {"id": "x"}, {"url": "https://a.org", "text": "t"}, "u".repeat(2_049)]}),
                vec![
                    "input.urls[0].url: must be an address of 1 to 2048 bytes",
                    "input.urls[1].url: must be a string",
                    "input.urls[2].url: is required",
                    "input.urls[3].text: is what the page holds; give it another name",
                    "input.urls[4].url: must be an address of 1 to 2048 bytes",
                ],
            ),
            (
                json!({"documents": [{"id": "item-2", "text": "x"}, "y"]}),
                vec![
                    "input.documents[1].id: the id \"item-2\" is that of input.documents[0] too (an item without an id has `item-N` by its place)",
                ],
            ),
            (
                json!({"urls": vec!["https://a.org"; 21]}),
                vec!["input.urls: has 21 items; at most 20 are taken (MAX_ITEMS)"],
            ),
            (
                json!({"text": "a", "urls": ["u"]}),
                vec![
                    "input: has `text` and `urls`; it must be exactly one of `items`, `text`, `documents`, `urls`",
                ],
            ),
        ];
        for (input, expected) in cases {
            assert_eq!(read(input).1, expected);
        }
    }
}
