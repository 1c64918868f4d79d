//! The items of a submit: the one part of the body that can have 100,000 entries. They are looked at one by one, and a
//! body's own text is what is kept of them: as values all of them would take several times the 32 MB that a body may have, in an
//! isolate of 128 MB. So each is read twice: once for all that may be wrong with it, and once more when it is taken in.
//!
//! Ids are compared by a hash of theirs, sorted: where two have the same, they count as the same.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
};
use utoipa::{PartialSchema, ToSchema};

use super::entry::{ID_CHARS, List, default_id, given_id, slice_fault};
use super::json_text::json_len;
use super::schema_check::join;
use super::{documents, json_text};
use crate::api::http::problem::Faults;
use crate::config::Caps;
use crate::core::net::url_guard::MAX_URL;
use crate::core::plan::spec::{InputKind, Item};

/// Escapes make a text at most so many times as long as the same JSON written plainly (`\\u00e9` for two bytes): what is longer is
/// refused unread, for as values it might take more memory than there is.
const LOOSE: usize = 3;

/// `input` as it comes: in a body's text, or as a value where it is small.
pub enum Given<'a> {
    Value(Value),
    Text(&'a str),
}

impl<'a> Given<'a> {
    fn is_null(&self) -> bool {
        match self {
            Given::Value(value) => value.is_null(),
            Given::Text(text) => text.trim_ascii() == "null",
        }
    }

    fn fields(self) -> Option<Vec<(String, Given<'a>)>> {
        Some(match self {
            Given::Value(Value::Object(map)) => map
                .into_iter()
                .map(|(name, value)| (name, Given::Value(value)))
                .collect(),
            Given::Value(_) => return None,
            Given::Text(text) => json_text::fields(text)?
                .map(|(name, text)| (name, Given::Text(text)))
                .collect(),
        })
    }

    fn count(&self) -> Option<usize> {
        match self {
            Given::Value(value) => value.as_array().map(Vec::len),
            Given::Text(text) => Some(json_text::elements(text)?.count()),
        }
    }

    fn into_value(self) -> Value {
        match self {
            Given::Value(value) => value,
            // A bare number stays one: it is no text, and no item.
            Given::Text(text) if text.trim_start().starts_with('{') => json_text::exact_value(text),
            Given::Text(text) => json_text::value(text),
        }
    }
}

/// What came in, of whatever kind.
#[derive(Default)]
pub struct Taken<'a> {
    pub kind: InputKind,
    pub items: Items<'a>,
}

/// Items with nothing wrong, in their order.
pub enum Items<'a> {
    Read(Vec<Item>),
    /// A list in the text of a body.
    Written {
        list: List,
        text: &'a str,
        caps: &'a Caps,
    },
}

impl Default for Items<'_> {
    fn default() -> Self {
        Items::Read(Vec::new())
    }
}

impl<'a> IntoIterator for Items<'a> {
    type Item = Item;
    type IntoIter = Box<dyn Iterator<Item = Item> + Send + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        match self {
            Items::Read(items) => Box::new(items.into_iter()),
            Items::Written { list, text, caps } => {
                let entries = json_text::elements(text).into_iter().flatten().enumerate();
                Box::new(entries.filter_map(move |(position, text)| {
                    // Their faults were told before.
                    let mut told = Faults::default();
                    let entry = Given::Text(text);
                    read_entry(list, position, entry, caps, false, &mut told).map(|(item, _)| item)
                }))
            }
        }
    }
}

/// An entry as an item, and whether it brought its id; or nothing, and `faults` say why.
fn read_entry(
    list: List,
    position: usize,
    given: Given<'_>,
    caps: &Caps,
    splits: bool,
    faults: &mut Faults,
) -> Option<(Item, bool)> {
    let here = format_args!("{}[{position}]", list.path()).to_string();
    if let Given::Text(text) = given {
        let most = (caps.item_bytes as usize).saturating_mul(LOOSE);
        let bytes = match (list, json_text::fields(text)) {
            // Those are of any length.
            (List::Documents | List::Urls, Some(fields)) => fields
                .filter(|(name, _)| !matches!(name.as_str(), "text" | "url"))
                .map(|(_, text)| text.len())
                .sum(),
            (List::Documents | List::Urls, None) if text.starts_with('"') => 0,
            _ => text.len(),
        };
        if bytes > most {
            let cap = caps.item_bytes;
            let message =
                format!("has {bytes} bytes as JSON; at most {cap} are allowed (MAX_ITEM_BYTES)");
            faults.add(here, message);
            return None;
        }
    }
    let value = given.into_value();
    match list {
        List::Items => {
            let (id, fields) = read_one(&here, value, caps, splits, faults)?;
            let given = id.is_some();
            let id = id.unwrap_or_else(|| default_id(position));
            Some((Item { id, fields }, given))
        }
        List::Documents | List::Urls => {
            documents::entry(list, &here, position, value, caps, faults)
        }
    }
}

const ONE_OF: &str = "exactly one of `items`, `text`, `documents`, `urls`";

/// What stands in `input`; what is wrong with it goes to `faults`. Where texts are split (`splits`), ids must not have the
/// form of a slice's; of documents and pages that goes without saying.
pub fn read<'a>(input: Given<'a>, caps: &'a Caps, splits: bool, faults: &mut Faults) -> Taken<'a> {
    let Some(input) = input.fields() else {
        faults.add("input", format!("must be an object with {ONE_OF}"));
        return Taken::default();
    };
    // As in every object, the last of doubled names counts.
    let mut given: Vec<(String, Given<'a>)> = Vec::new();
    for (name, value) in input {
        match given.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => given.push((name, value)),
        }
    }
    given.retain(|(name, value)| {
        let known = matches!(name.as_str(), "items" | "text" | "documents" | "urls");
        if !known {
            faults.add(join("input", name), "is not a known field");
        }
        known && !value.is_null()
    });
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
    let list = match name.as_str() {
        "documents" => List::Documents,
        "urls" => List::Urls,
        "items" => List::Items,
        _ => {
            return Taken {
                kind: InputKind::Documents,
                items: Items::Read(documents::text(value.into_value(), faults)),
            };
        }
    };
    match read_list(list, value, caps, splits, faults) {
        Some(items) => Taken {
            kind: list.kind(),
            items,
        },
        None => Taken::default(),
    }
}

/// All entries of a list; `None` where it is none.
fn read_list<'a>(
    list: List,
    given: Given<'a>,
    caps: &'a Caps,
    splits: bool,
    faults: &mut Faults,
) -> Option<Items<'a>> {
    let path = list.path();
    let Some(count) = given.count() else {
        let message = match list {
            List::Items => "must be an array of strings and objects",
            List::Documents | List::Urls => "must be an array",
        };
        faults.add(path, message);
        return None;
    };
    if count == 0 {
        faults.add(path, "must not be empty");
    }
    if count > caps.items as usize {
        let cap = caps.items;
        let message = format!("has {count} items; at most {cap} are allowed (MAX_ITEMS)");
        faults.add(path, message);
        return Some(Items::default());
    }
    let mut ids = Ids::default();
    match given {
        Given::Text(text) => {
            let entries = || json_text::elements(text).into_iter().flatten().enumerate();
            for (position, text) in entries() {
                let entry = Given::Text(text);
                if let Some((item, given)) = read_entry(list, position, entry, caps, splits, faults)
                {
                    ids.add(&item.id, position, given);
                }
            }
            let doubles = ids.doubles();
            // One more look at those that are told by name.
            let named = doubles.get(..faults.left()).unwrap_or(&doubles);
            let mut named = entries().filter(|(n, _)| named.iter().any(|(at, _)| at == n));
            for (position, first) in &doubles {
                let item = named.next().and_then(|(_, text)| {
                    let entry = Given::Text(text);
                    read_entry(list, *position, entry, caps, splits, &mut Faults::default())
                });
                let id = item.map(|(item, _)| item.id).unwrap_or_default();
                told_twice(path, *position, *first, id, faults);
            }
            Some(Items::Written { list, text, caps })
        }
        Given::Value(value) => {
            let Value::Array(values) = value else {
                return None;
            };
            let mut items = Vec::with_capacity(values.len());
            let mut places = Vec::with_capacity(values.len());
            for (position, value) in values.into_iter().enumerate() {
                let entry = Given::Value(value);
                if let Some((item, given)) = read_entry(list, position, entry, caps, splits, faults)
                {
                    ids.add(&item.id, position, given);
                    items.push(item);
                    places.push(position);
                }
            }
            for (position, first) in ids.doubles() {
                let place = places.binary_search(&position).ok();
                let id = place.and_then(|place| items.get(place));
                let id = id.map(|item| item.id.clone()).unwrap_or_default();
                told_twice(path, position, first, id, faults);
            }
            Some(Items::Read(items))
        }
    }
}

/// Ids by hash, with their places.
#[derive(Default)]
struct Ids {
    seen: Vec<(u64, u32)>,
    /// Where there is none, each has its place in it.
    some_given: bool,
}

impl Ids {
    fn add(&mut self, id: &str, position: usize, given: bool) {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        self.seen.push((hasher.finish(), position));
        self.some_given |= given;
    }

    /// The places at which an id stands that stands at another before, each with the first of them.
    fn doubles(mut self) -> Vec<(usize, usize)> {
        if !self.some_given {
            return Vec::new();
        }
        self.seen.sort_unstable();
        let mut doubles = Vec::new();
        let mut first: Option<(u64, u32)> = None;
        for (id, position) in self.seen {
            match first {
                Some((known, at)) if known == id => doubles.push((position as usize, at as usize)),
                _ => first = Some((id, position)),
            }
        }
        doubles.sort_unstable();
        doubles
    }
}

/// An id stands at two places of the list at `path`, given or default.
fn told_twice(path: &str, position: usize, first: usize, id: String, faults: &mut Faults) {
    let id = Value::String(id);
    faults.add(
        format_args!("{path}[{position}].id"),
        format!("the id {id} is that of {path}[{first}] too (an item without an id has `item-N` by its place)"),
    );
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
            format!("has {size} bytes as JSON; at most {cap} are allowed (MAX_ITEM_BYTES)"),
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
            let id = given_id(fields.shift_remove("id")).and_then(|id| {
                let fault = id.as_deref().and_then(slice_fault).filter(|_| splits);
                fault.map_or(Ok(id), Err)
            });
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

/// `input` in the OpenAPI document: what [`read`] takes.
pub struct Input;

impl PartialSchema for Input {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"\S"))
            .description(Some("A plain text, as if it were `{\"text\": …}`."));
        let id = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Integer, Type::Null]))
            .min_length(Some(1))
            .max_length(Some(ID_CHARS))
            .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]*$"))
            .description(Some(
                "Unique in the job; `item-N` by its place where it is left out. A whole number becomes text.",
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
            .description(Some("The input of the job: one of four kinds."))
            .into()
    }
}

impl ToSchema for Input {}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
