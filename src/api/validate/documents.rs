//! The other kinds of input: one text, documents, addresses. Each becomes items, like those of [`crate::api::validate::items`].

use serde_json::{Map, Value};

use super::entry::{List, default_id, given_id, slice_fault};
use super::json_text::json_len;
use super::schema_check::join;
use crate::api::http::problem::Faults;
use crate::config::Caps;
use crate::core::net::url_guard::MAX_URL;
use crate::core::plan::spec::Item;

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

/// An entry of `input.documents` (objects with a `text` of any length; other fields stay with each slice of it) or `input.urls`
/// (addresses, as they are or in objects with a `url`; whether they may be read, and can be, is each one's own fate), and whether
/// it brought its id.
pub fn entry(
    list: List,
    here: &str,
    position: usize,
    value: Value,
    caps: &Caps,
    faults: &mut Faults,
) -> Option<(Item, bool)> {
    let name = if list == List::Urls { "url" } else { "text" };
    let mut fields = match value {
        Value::Object(fields) => fields,
        // Of an address, or a text, nothing else need be said.
        Value::String(text) => Map::from_iter([(name.to_owned(), Value::String(text))]),
        _ => {
            faults.add(here, "must be a string or an object");
            return None;
        }
    };
    let id = given_id(fields.shift_remove("id")).and_then(|id| {
        let fault = id.as_deref().and_then(slice_fault);
        fault.map_or(Ok(id), Err)
    });
    let said = match list {
        List::Urls => address(here, &mut fields, faults),
        List::Items | List::Documents => words(here, &mut fields, faults),
    };
    let id = id
        .map_err(|message| faults.add(join(here, "id"), message))
        .ok()?;
    let said = said?;
    // They stand in every slice's prompt.
    let size: u64 = fields.values().map(json_len).sum();
    if size > u64::from(caps.item_bytes) {
        let cap = caps.item_bytes;
        let message = format!(
            "has {size} bytes besides `{name}`; at most {cap} are allowed (MAX_ITEM_BYTES)"
        );
        faults.add(here, message);
        return None;
    }
    let given = id.is_some();
    let id = id.unwrap_or_else(|| default_id(position));
    let item = match list {
        List::Urls => {
            fields.shift_insert(0, name.to_owned(), Value::String(said));
            Item { id, fields }
        }
        List::Items | List::Documents => document(id, fields, said),
    };
    Some((item, given))
}

fn words(here: &str, fields: &mut Map<String, Value>, faults: &mut Faults) -> Option<String> {
    let message = match fields.shift_remove("text") {
        Some(Value::String(text)) if !text.trim().is_empty() => return Some(text),
        Some(Value::String(_)) => "is empty",
        Some(_) => "must be a string",
        None => "is required",
    };
    faults.add(join(here, "text"), message);
    None
}

fn address(here: &str, fields: &mut Map<String, Value>, faults: &mut Faults) -> Option<String> {
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
    Some(url.to_owned())
}

fn document(id: String, mut fields: Map<String, Value>, text: String) -> Item {
    fields.insert("text".to_owned(), Value::String(text));
    Item { id, fields }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::http::problem::ApiError;
    use crate::api::validate::items;
    use crate::api::validate::items::Given;
    use crate::config::Config;
    use crate::core::plan::spec::InputKind;

    fn caps() -> Caps {
        let mut caps = Config::from_vars(|_| None).unwrap().caps;
        caps.item_bytes = 100;
        caps.items = 20;
        caps
    }

    /// The items in their wire form, or what is wrong: as a value the same as in a text.
    fn read(input: Value) -> (InputKind, Vec<String>, Vec<String>) {
        let (caps, text) = (caps(), input.to_string());
        let told = |given: Given<'_>| {
            let mut faults = Faults::default();
            let taken = items::read(given, &caps, false, &mut faults);
            let items = taken.items.into_iter();
            let items = items.map(|item| item.into_wire().to_string());
            let items: Vec<String> = if faults.is_empty() {
                items.collect()
            } else {
                Vec::new()
            };
            let lines = ApiError::invalid(faults).into_problem(String::new()).errors;
            let lines = lines.into_iter();
            let lines = lines.map(|f| format!("{}: {}", f.path, f.message));
            (taken.kind, items, lines.collect())
        };
        let of_text = told(Given::Text(&text));
        assert_eq!(told(Given::Value(input)), of_text);
        of_text
    }

    fn wire(input: Value) -> (InputKind, Vec<String>) {
        let (kind, items, faults) = read(input);
        assert_eq!(faults, [""; 0]);
        (kind, items)
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
                    {"id": 1.5, "text": "x"}, {"id": "b", "text": "x", "note": "y".repeat(200)}]}),
                vec![
                    "input.documents[0]: must be a string or an object",
                    "input.documents[1].text: is required",
                    "input.documents[2].text: must be a string",
                    "input.documents[3].text: is empty",
                    "input.documents[4].id: must not end in `#` and a number: slices are named so",
                    "input.documents[5].id: must be a string or a whole number",
                    "input.documents[6]: has 202 bytes besides `text`; at most 100 are allowed (MAX_ITEM_BYTES)",
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
                vec!["input.urls: has 21 items; at most 20 are allowed (MAX_ITEMS)"],
            ),
            (
                json!({"text": "a", "urls": ["u"]}),
                vec![
                    "input: has `text` and `urls`; it must be exactly one of `items`, `text`, `documents`, `urls`",
                ],
            ),
        ];
        for (input, expected) in cases {
            assert_eq!(read(input).2, expected);
        }
    }
}
