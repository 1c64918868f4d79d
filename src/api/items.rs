//! The items of a submit: the one part of the body that can have 100,000 entries, so it is read by hand in one
//! pass, moving what is there instead of copying it.
//!
//! A second, sorted look over the ids finds doubled ones. Sorting needs no hashing, whose keys a caller
//! could choose to collide.

use std::io;

use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
};
use utoipa::{PartialSchema, ToSchema};

use super::documents;
use super::problem::Faults;
use super::shape::join;
use crate::config::Caps;
use crate::core::guard::MAX_URL;
use crate::core::plan::{InputKind, Item};
use crate::core::slice::is_slice_id;

/// The longest id, in characters: it stands in every prompt, row and answer.
const ID_CHARS: usize = 128;

/// What came in, of whatever kind.
#[derive(Debug, Default)]
pub struct Taken {
    pub kind: InputKind,
    pub items: Vec<Item>,
}

const ONE_OF: &str = "exactly one of `items`, `text`, `documents`, `urls`";

/// What stands in `input`; what is wrong with it goes to `faults`. Where texts are split (`splits`), ids must not have the
/// form of a slice's; of documents and pages that goes without saying.
pub fn read(input: Value, caps: &Caps, splits: bool, faults: &mut Faults) -> Taken {
    let Value::Object(input) = input else {
        faults.add("input", format!("must be an object with {ONE_OF}"));
        return Taken::default();
    };
    let mut given: Vec<(String, Value)> = Vec::new();
    for (name, value) in input {
        if !matches!(name.as_str(), "items" | "text" | "documents" | "urls") {
            faults.add(join("input", &name), "is not a known field");
        } else if !value.is_null() {
            given.push((name, value));
        }
    }
    let two = match given.as_slice() {
        [(first, _), (second, _), ..] => Some(format!("has `{first}` and `{second}`")),
        _ => None,
    };
    let Some((name, value)) = given.pop() else {
        faults.add("input", format!("needs {ONE_OF}"));
        return Taken::default();
    };
    if let Some(two) = two {
        faults.add("input", format!("{two}; it must be {ONE_OF}"));
        return Taken::default();
    }
    let (kind, items) = match (name.as_str(), value) {
        ("text", value) => (InputKind::Documents, documents::text(value, faults)),
        ("documents", value) => (
            InputKind::Documents,
            documents::documents(value, caps, faults),
        ),
        ("urls", value) => (InputKind::Urls, documents::urls(value, caps, faults)),
        (_, Value::Array(items)) => (InputKind::Items, read_all(items, caps, splits, faults)),
        _ => {
            faults.add("input.items", "must be an array of strings and objects");
            return Taken::default();
        }
    };
    Taken { kind, items }
}

fn read_all(given: Vec<Value>, caps: &Caps, splits: bool, faults: &mut Faults) -> Vec<Item> {
    let cap = usize::try_from(caps.items).unwrap_or(usize::MAX);
    if given.is_empty() {
        faults.add("input.items", "must not be empty");
    }
    if given.len() > cap {
        let count = given.len();
        faults.add(
            "input.items",
            format!("has {count} items; at most {cap} are taken (MAX_ITEMS)"),
        );
        return Vec::new();
    }
    let mut items = Vec::with_capacity(given.len());
    let mut ids_are_default = true;
    for (position, value) in given.into_iter().enumerate() {
        let here = format_args!("input.items[{position}]").to_string();
        let Some((id, fields)) = read_one(&here, value, caps, splits, faults) else {
            continue;
        };
        ids_are_default &= id.is_none();
        items.push((
            position,
            Item {
                id: id.unwrap_or_else(|| default_id(position)),
                fields,
            },
        ));
    }
    if !ids_are_default {
        find_doubles("input.items", &items, faults);
    }
    items.into_iter().map(|(_, item)| item).collect()
}

pub fn default_id(position: usize) -> String {
    format!("item-{}", position.saturating_add(1))
}

/// The id, where one is given, and the other fields, of the item at the path `here`.
pub fn read_one(
    here: &str,
    value: Value,
    caps: &Caps,
    splits: bool,
    faults: &mut Faults,
) -> Option<(Option<String>, Map<String, Value>)> {
    let size = match &value {
        // Escapes make a character at most six times as long.
        Value::String(text) if text.len() < usize::try_from(caps.item_bytes / 6).unwrap_or(0) => 0,
        other => json_len(other),
    };
    if size > u64::from(caps.item_bytes) {
        let cap = caps.item_bytes;
        faults.add(
            here,
            format!("has {size} bytes as JSON; at most {cap} are taken (MAX_ITEM_BYTES)"),
        );
        return None;
    }
    match value {
        Value::String(text) => {
            if text.trim().is_empty() {
                faults.add(here, "is empty");
                return None;
            }
            let mut fields = Map::with_capacity(1);
            fields.insert("text".to_owned(), Value::String(text));
            Some((None, fields))
        }
        Value::Object(mut fields) => {
            let id = match fields.shift_remove("id") {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(id)) => checked_id(id).and_then(|id| {
                    let fault = slice_fault(&id).filter(|_| splits);
                    fault.map_or(Ok(Some(id)), Err)
                }),
                Some(_) => Err("must be a string"),
            };
            if fields.values().all(says_nothing) {
                faults.add(
                    here,
                    "is empty: it needs a field besides `id` that says something",
                );
                return None;
            }
            match id {
                Ok(id) => Some((id, fields)),
                Err(message) => {
                    faults.add(join(here, "id"), message);
                    None
                }
            }
        }
        _ => {
            faults.add(here, "must be a string or an object");
            None
        }
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        _ => false,
    }
}

/// An id that may stand in prompts and rows.
pub fn checked_id(id: String) -> Result<String, &'static str> {
    if id.is_empty() {
        Err("must not be empty")
    } else if id.chars().nth(ID_CHARS).is_some() {
        Err("must have at most 128 characters")
    } else if id.chars().any(char::is_control) {
        Err("must not hold control characters")
    } else {
        Ok(id)
    }
}

/// What is wrong with an id that a slice could have.
pub fn slice_fault(id: &str) -> Option<&'static str> {
    is_slice_id(id).then_some("must not end in `#` and a number: slices are named so")
}

/// Names each id that stands at two places of the list at `path`, given or default, with both.
pub fn find_doubles(path: &str, items: &[(usize, Item)], faults: &mut Faults) {
    let mut by_id: Vec<(&str, usize)> = items
        .iter()
        .map(|(position, item)| (item.id.as_str(), *position))
        .collect();
    by_id.sort_unstable();
    let mut doubles = Vec::new();
    let mut first: Option<(&str, usize)> = None;
    for (id, position) in by_id {
        match first {
            Some((known, at)) if known == id => doubles.push((position, at, id)),
            _ => first = Some((id, position)),
        }
    }
    doubles.sort_unstable();
    for (position, first, id) in doubles {
        let id = Value::String(id.to_owned());
        faults.add(
            format_args!("{path}[{position}].id"),
            format!("the id {id} is that of {path}[{first}] too (an item without an id has `item-N` by its place)"),
        );
    }
}

/// How long a value is as JSON, without writing it anywhere.
pub fn json_len(value: &Value) -> u64 {
    let mut count = Count(0);
    // A counter takes everything.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

struct Count(u64);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `input` in the OpenAPI document: what [`read`] takes.
pub struct Input;

impl PartialSchema for Input {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"\S"))
            .description(Some("A plain text, as if it were `{\"text\": …}`."));
        let id = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .min_length(Some(1))
            .max_length(Some(ID_CHARS))
            .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]*$"))
            .description(Some(
                "Unique in the job; `item-N` by its place where it is left out.",
            ));
        let id: RefOr<Schema> = id.into();
        let object = ObjectBuilder::new()
            .property("id", id.clone())
            .min_properties(Some(1))
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .description(Some(
                "Any fields; at least one besides `id` that is not empty.",
            ));
        let items = ArrayBuilder::new()
            .items(OneOfBuilder::new().item(text).item(object))
            .min_items(Some(1))
            .max_items(Some(100_000))
            .description(Some("The items, in their order."));
        let word = || {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some(r"\S"))
        };
        let list = |entry: OneOfBuilder, what: &str| {
            ArrayBuilder::new()
                .items(entry)
                .min_items(Some(1))
                .max_items(Some(100_000))
                .description(Some(what))
        };
        let with_id = || {
            ObjectBuilder::new()
                .property("id", id.clone())
                .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        };
        let document = with_id()
            .property("text", word())
            .required("text")
            .description(Some(
                "A text of any length; its other fields stay with each slice.",
            ));
        let page = with_id()
            .property("url", word().max_length(Some(MAX_URL)))
            .required("url")
            .description(Some("A page to be read; its other fields stay with it."));
        let text = word().description(Some("One document, with the id `text`."));
        let documents = list(
            OneOfBuilder::new().item(word()).item(document),
            "Texts of any length: long ones are split at natural boundaries.",
        );
        let urls = list(
            OneOfBuilder::new()
                .item(word().max_length(Some(MAX_URL)))
                .item(page),
            "Pages that the workers read: http or https, public hosts, HTML or text.",
        );
        let only = |name: &str, schema: RefOr<Schema>| {
            ObjectBuilder::new()
                .property(name, schema)
                .required(name)
                .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        };
        OneOfBuilder::new()
            .item(only("items", items.into()))
            .item(only("text", text.into()))
            .item(only("documents", documents.into()))
            .item(only("urls", urls.into()))
            .description(Some("What the job works on: one of four kinds."))
            .into()
    }
}

impl ToSchema for Input {}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::problem::ApiError;
    use crate::config::Config;

    fn caps() -> Caps {
        let mut caps = Config::from_vars(|_| None).unwrap().caps;
        caps.item_bytes = 1_000;
        caps
    }

    fn faults_of(input: Value) -> Vec<String> {
        let mut faults = Faults::default();
        read(input, &caps(), false, &mut faults);
        let problem = ApiError::invalid(faults).into_problem(String::new());
        let lines = problem.errors.into_iter();
        lines
            .map(|f| format!("{}: {}", f.path, f.message))
            .collect()
    }

    #[test]
    fn strings_and_objects_become_items_in_their_order() {
        let input = json!({"items": ["a", {"id": "T-2", "z": 1, "a": [2]}, {"id": null, "text": "c"}], "text": null});
        let mut faults = Faults::default();
        let items = read(input, &caps(), false, &mut faults).items;
        assert!(faults.is_empty());
        let wire: Vec<String> = items
            .into_iter()
            .map(|item| item.into_wire().to_string())
            .collect();
        assert_eq!(
            wire,
            [
                r#"{"id":"item-1","text":"a"}"#,
                r#"{"id":"T-2","z":1,"a":[2]}"#,
                r#"{"id":"item-3","text":"c"}"#,
            ]
        );
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let input = json!({"items": [
            "", " \n", 5, null, {}, {"id": "x"}, {"id": "y", "text": " ", "note": null},
            {"id": 7, "a": 1}, {"id": "", "a": 1}, {"id": "a\u{7}", "a": 1},
            {"id": "x".repeat(129), "a": 1}, "x".repeat(999), {"a": "x".repeat(999)}, {"id": "ok", "a": false},
        ], "more": 1});
        assert_eq!(
            faults_of(input),
            [
                "input.more: is not a known field",
                "input.items[0]: is empty",
                "input.items[1]: is empty",
                "input.items[2]: must be a string or an object",
                "input.items[3]: must be a string or an object",
                "input.items[4]: is empty: it needs a field besides `id` that says something",
                "input.items[5]: is empty: it needs a field besides `id` that says something",
                "input.items[6]: is empty: it needs a field besides `id` that says something",
                "input.items[7].id: must be a string",
                "input.items[8].id: must not be empty",
                "input.items[9].id: must not hold control characters",
                "input.items[10].id: must have at most 128 characters",
                "input.items[11]: has 1001 bytes as JSON; at most 1000 are taken (MAX_ITEM_BYTES)",
                "input.items[12]: has 1007 bytes as JSON; at most 1000 are taken (MAX_ITEM_BYTES)",
            ]
        );
    }

    #[test]
    fn doubled_ids_are_named_with_both_places_defaults_included() {
        let input = json!({"items": [
            {"id": "T", "a": 1}, {"id": "item-3", "a": 1}, "plain", {"id": "T", "a": 2}, {"id": "T", "a": 3},
        ]});
        let note = "(an item without an id has `item-N` by its place)";
        assert_eq!(
            faults_of(input),
            [
                format!(
                    "input.items[2].id: the id \"item-3\" is that of input.items[1] too {note}"
                ),
                format!("input.items[3].id: the id \"T\" is that of input.items[0] too {note}"),
                format!("input.items[4].id: the id \"T\" is that of input.items[0] too {note}"),
            ]
        );
    }

    #[test]
    fn other_inputs_are_refused_in_words() {
        let cases = [
            (
                json!([]),
                "input: must be an object with exactly one of `items`, `text`, `documents`, `urls`",
            ),
            (
                json!({}),
                "input: needs exactly one of `items`, `text`, `documents`, `urls`",
            ),
            (json!({"items": []}), "input.items: must not be empty"),
            (
                json!({"items": "a"}),
                "input.items: must be an array of strings and objects",
            ),
            (
                json!({"items": ["a"], "urls": ["u"]}),
                "input: has `items` and `urls`; it must be exactly one of `items`, `text`, `documents`, `urls`",
            ),
        ];
        for (input, expected) in cases {
            assert_eq!(faults_of(input), [expected]);
        }
    }

    #[test]
    fn ids_of_slices_are_refused_where_texts_are_split() {
        let input = json!({"items": [{"id": "a#1", "text": "x"}, {"id": "a#b", "text": "x"}]});
        let mut faults = Faults::default();
        let taken = read(input.clone(), &caps(), false, &mut faults);
        assert!(faults.is_empty() && taken.items.len() == 2);
        read(input, &caps(), true, &mut faults);
        let problem = ApiError::invalid(faults).into_problem(String::new());
        let paths: Vec<&str> = problem.errors.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["input.items[0].id"]);
    }

    #[test]
    fn the_cap_on_items_is_in_the_message() {
        let input = json!({"items": vec!["a"; 100_001]});
        assert_eq!(
            faults_of(input),
            ["input.items: has 100001 items; at most 100000 are taken (MAX_ITEMS)"]
        );
    }

    #[test]
    fn a_full_load_is_taken() {
        let input = json!({"items": (0..100_000).map(|n| json!({"id": format!("T-{n}"), "text": "some text"})).collect::<Vec<_>>()});
        let mut faults = Faults::default();
        assert_eq!(
            read(input, &caps(), false, &mut faults).items.len(),
            100_000
        );
        assert!(faults.is_empty());
    }
}
