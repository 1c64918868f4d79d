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

use super::problem::Faults;
use super::shape::join;
use crate::config::Caps;
use crate::core::plan::Item;

/// The longest id, in characters: it stands in every prompt, row and answer.
const ID_CHARS: usize = 128;

/// Kinds of input that the API knows and this version does not take.
const NOT_YET: [(&str, &str); 3] = [
    ("text", "one long text"),
    ("documents", "documents"),
    ("urls", "URLs"),
];

/// The items in `input`; what is wrong with them goes to `faults`.
pub fn read(input: Value, caps: &Caps, faults: &mut Faults) -> Vec<Item> {
    let Value::Object(mut input) = input else {
        faults.add("input", "must be an object with `items`");
        return Vec::new();
    };
    let items = input.shift_remove("items").unwrap_or_default();
    let mut other_kind = false;
    for (name, value) in &input {
        let path = join("input", name);
        match NOT_YET.iter().find(|(known, _)| known == name) {
            Some(_) if value.is_null() => {}
            Some((_, what)) => {
                other_kind = true;
                faults.add(
                    path,
                    format!("this version does not take {what}; send `items`"),
                );
            }
            None => faults.add(path, "is not a known field"),
        }
    }
    match items {
        Value::Array(items) => read_all(items, caps, faults),
        Value::Null if other_kind => Vec::new(),
        Value::Null => {
            faults.add("input.items", "is required");
            Vec::new()
        }
        _ => {
            faults.add("input.items", "must be an array of strings and objects");
            Vec::new()
        }
    }
}

fn read_all(given: Vec<Value>, caps: &Caps, faults: &mut Faults) -> Vec<Item> {
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
        let Some((id, fields)) = read_one(position, value, caps, faults) else {
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
        find_doubles(&items, faults);
    }
    items.into_iter().map(|(_, item)| item).collect()
}

fn default_id(position: usize) -> String {
    format!("item-{}", position.saturating_add(1))
}

/// The id, where one is given, and the other fields.
fn read_one(
    position: usize,
    value: Value,
    caps: &Caps,
    faults: &mut Faults,
) -> Option<(Option<String>, Map<String, Value>)> {
    let here = format_args!("input.items[{position}]").to_string();
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
                Some(Value::String(id)) => checked_id(id).map(Some),
                Some(_) => Err("must be a string"),
            };
            if fields.values().all(says_nothing) {
                faults.add(
                    &here,
                    "is empty: it needs a field besides `id` that says something",
                );
                return None;
            }
            match id {
                Ok(id) => Some((id, fields)),
                Err(message) => {
                    faults.add(join(&here, "id"), message);
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

fn checked_id(id: String) -> Result<String, &'static str> {
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

/// Names each id that stands at two places, given or default, with both.
fn find_doubles(items: &[(usize, Item)], faults: &mut Faults) {
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
            format_args!("input.items[{position}].id"),
            format!("the id {id} is that of input.items[{first}] too (an item without an id has `item-N` by its place)"),
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
        let object = ObjectBuilder::new()
            .property("id", id)
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
        ObjectBuilder::new()
            .property("items", items)
            .required("items")
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
            .description(Some("What the job works on."))
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
        read(input, &caps(), &mut faults);
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
        let items = read(input, &caps(), &mut faults);
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
            (json!([]), "input: must be an object with `items`"),
            (json!({}), "input.items: is required"),
            (json!({"items": []}), "input.items: must not be empty"),
            (
                json!({"items": "a"}),
                "input.items: must be an array of strings and objects",
            ),
            (
                json!({"text": "long"}),
                "input.text: this version does not take one long text; send `items`",
            ),
            (
                json!({"documents": []}),
                "input.documents: this version does not take documents; send `items`",
            ),
            (
                json!({"items": ["a"], "urls": ["u"]}),
                "input.urls: this version does not take URLs; send `items`",
            ),
        ];
        for (input, expected) in cases {
            assert_eq!(faults_of(input), [expected]);
        }
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
        assert_eq!(read(input, &caps(), &mut faults).len(), 100_000);
        assert!(faults.is_empty());
    }
}
