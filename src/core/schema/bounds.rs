//! What a schema may not exceed, so that neither compiling nor checking can run away.
//!
//! The checker below us recurses once for every schema it applies, whether further down the value
//! or to the same place (`$ref`, `allOf`, `anyOf`, …). Measured natively with opt-level s, each
//! takes 4 KB of stack, and Wasm has 1 MB: so no more than some 150 may lie one inside the other
//! (in Wasm itself 360 were seen to fit and 700 not to).
//! Bounded too is how large a schema becomes when every reference is written out, which bounds the
//! work at any one place of a value.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::patterns::Budget;
use super::{Fault, MAX_FAULTS, MAX_VALUE_DEPTH};

/// Objects, arrays and scalars in a schema.
const MAX_NODES: usize = 10_000;
/// Levels of JSON in a schema, as written. It is itself checked against the schema of schemas, at
/// up to five applications a level: 32 * 5 = 160.
const MAX_DEPTH: usize = 32;
/// Schemas from the root to a leaf, references followed.
const MAX_PATH: usize = 128;
/// Schemas applied to one place of a value, one inside the other.
const MAX_IN_PLACE: usize = 16;
/// The same where a schema refers to itself, so that the value's depth decides how often it
/// applies: 24 levels * (5 + 1) = 144.
const MAX_IN_PLACE_RECURSIVE: usize = 144 / MAX_VALUE_DEPTH - 1;
/// Schemas in total when references are written out.
const MAX_EXPANDED: u64 = 100_000;

/// Keywords whose value is a schema applied to the same place.
const IN_PLACE: &[&str] = &["not", "if", "then", "else"];
/// The same, as a list.
const IN_PLACE_LISTS: &[&str] = &["allOf", "anyOf", "oneOf"];
/// The same, by name.
const IN_PLACE_MAPS: &[&str] = &["dependentSchemas", "dependencies"];
/// Keywords whose value is a schema for a place further down.
const BELOW: &[&str] = &[
    "items",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "contentSchema",
];
const BELOW_LISTS: &[&str] = &["prefixItems", "items"];
const BELOW_MAPS: &[&str] = &["properties", "patternProperties"];
/// Keywords that hold schemas for others to refer to.
const SHELVES: &[&str] = &["$defs", "definitions"];

/// All reasons why a schema cannot be taken, before anything is compiled; or the schema as it may be compiled, its patterns
/// translated.
pub(super) fn check(schema: &Value) -> Result<Value, Vec<Fault>> {
    let refuse = |message: String| Err(vec![Fault::new("", message)]);
    if !(schema.is_object() || schema.is_boolean()) {
        return refuse("a schema must be a JSON object".to_owned());
    }
    if deeper_than(schema, MAX_DEPTH) {
        return refuse(format!(
            "the schema is nested more than {MAX_DEPTH} levels deep"
        ));
    }
    if larger_than(schema, MAX_NODES) {
        return refuse(format!("the schema has more than {MAX_NODES} parts"));
    }
    let mut survey = Survey::of(schema);
    if !survey.faults.is_empty() {
        return Err(survey.faults);
    }
    survey
        .extent(schema)
        .map_err(|message| vec![Fault::new("", message)])?;
    // What a reference leads to may lie under a name that is no keyword: it is measured, and so it is a schema.
    let mut translation = Translation {
        schemas: &survey.extents,
        budget: Budget::default(),
        faults: Vec::new(),
    };
    let compilable = translation.of(schema, &mut String::new());
    if translation.faults.is_empty() {
        Ok(compilable)
    } else {
        Err(translation.faults)
    }
}

/// Writes a schema out with translated patterns.
struct Translation<'a> {
    /// The places that are schemas; elsewhere a `pattern` is data.
    schemas: &'a HashMap<*const Value, Extent>,
    budget: Budget,
    faults: Vec<Fault>,
}

impl Translation<'_> {
    fn of(&mut self, value: &Value, path: &mut String) -> Value {
        match value {
            Value::Object(map) => {
                let is_schema = self.schemas.contains_key(&std::ptr::from_ref(value));
                let fields = map.iter().map(|(name, child)| {
                    let length = path.len();
                    path.push('/');
                    path.push_str(&super::faults::escape(name));
                    let child = match (is_schema, name.as_str(), child) {
                        (true, "pattern", Value::String(pattern)) => {
                            Value::String(self.pattern(pattern, path))
                        }
                        (true, "patternProperties", Value::Object(by_pattern)) => {
                            self.by_pattern(by_pattern, path)
                        }
                        (true, "format", Value::String(format)) if format == "regex" => {
                            Value::String(super::PATTERN_FORMAT.to_owned())
                        }
                        _ => self.of(child, path),
                    };
                    path.truncate(length);
                    (name.clone(), child)
                });
                Value::Object(fields.collect())
            }
            Value::Array(list) => {
                let entries = list.iter().enumerate().map(|(index, child)| {
                    let length = path.len();
                    path.push_str(&format!("/{index}"));
                    let child = self.of(child, path);
                    path.truncate(length);
                    child
                });
                Value::Array(entries.collect())
            }
            other => other.clone(),
        }
    }

    fn by_pattern(&mut self, map: &Map<String, Value>, path: &mut String) -> Value {
        let mut out = Map::new();
        for (pattern, schema) in map {
            let length = path.len();
            path.push('/');
            path.push_str(&super::faults::escape(pattern));
            let translated = self.pattern(pattern, path);
            let schema = self.of(schema, path);
            if out.insert(translated, schema).is_some() {
                self.fault(
                    path,
                    "another pattern beside this one means the same".to_owned(),
                );
            }
            path.truncate(length);
        }
        Value::Object(out)
    }

    fn pattern(&mut self, pattern: &str, path: &str) -> String {
        match self.budget.translate(pattern) {
            Ok(translated) => translated,
            Err(message) => {
                self.fault(path, message);
                String::new()
            }
        }
    }

    fn fault(&mut self, path: &str, message: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault::new(path, message));
        }
    }
}

/// Whether a value has more than so many levels. Iterative: this is what guards the recursion.
pub(super) fn deeper_than(value: &Value, most: usize) -> bool {
    let mut open = vec![(value, 1)];
    while let Some((value, depth)) = open.pop() {
        if depth > most {
            return true;
        }
        open.extend(children(value).map(|child| (child, depth + 1)));
    }
    false
}

fn larger_than(value: &Value, most: usize) -> bool {
    let mut open = vec![value];
    let mut count = 0;
    while let Some(value) = open.pop() {
        count += 1;
        if count > most {
            return true;
        }
        open.extend(children(value));
    }
    false
}

fn children(value: &Value) -> impl Iterator<Item = &Value> {
    let (list, map) = match value {
        Value::Array(list) => (Some(list), None),
        Value::Object(map) => (None, Some(map)),
        _ => (None, None),
    };
    let list = list.into_iter().flatten();
    list.chain(map.into_iter().flat_map(|map| map.values()))
}

/// How far a schema reaches.
#[derive(Clone, Copy, Default)]
struct Extent {
    /// Schemas one below the other, by whatever keyword.
    path: usize,
    expanded: u64,
}

struct Survey<'a> {
    root: &'a Value,
    anchors: HashMap<&'a str, &'a Value>,
    faults: Vec<Fault>,
    /// Schemas inside one another for the same place, for each schema.
    in_place: HashMap<*const Value, usize>,
    extents: HashMap<*const Value, Extent>,
    open: HashSet<*const Value>,
    recursive: bool,
}

impl<'a> Survey<'a> {
    /// Walks the schemas as written: finds anchors, and references that leave the schema.
    fn of(root: &'a Value) -> Self {
        let mut survey = Self {
            root,
            anchors: HashMap::new(),
            faults: Vec::new(),
            in_place: HashMap::new(),
            extents: HashMap::new(),
            open: HashSet::new(),
            recursive: false,
        };
        let mut open = vec![(root, String::new())];
        while let Some((schema, path)) = open.pop() {
            survey.note(schema, &path);
            for (keyword, child) in subschemas(schema) {
                open.push((child, format!("{path}/{keyword}")));
            }
        }
        survey.faults.truncate(MAX_FAULTS);
        survey
    }

    fn note(&mut self, schema: &'a Value, path: &str) {
        let text = |keyword: &str| schema.get(keyword).and_then(Value::as_str);
        for keyword in ["$anchor", "$dynamicAnchor"] {
            if let Some(name) = text(keyword) {
                self.anchors.entry(name).or_insert(schema);
            }
        }
        for keyword in REFERENCES {
            if text(keyword).is_some_and(|target| !target.starts_with('#')) {
                self.faults.push(Fault::new(
                    format!("{path}/{keyword}"),
                    "a reference must stay inside the schema, as `#/$defs/name`",
                ));
            }
        }
        if !path.is_empty() && (text("$id").is_some() || text("$schema").is_some()) {
            self.faults.push(Fault::new(
                path,
                "`$id` and `$schema` may stand at the root only",
            ));
        }
    }

    fn target(&self, reference: &str) -> Option<&'a Value> {
        let fragment = reference.strip_prefix('#')?;
        if fragment.is_empty() {
            return Some(self.root);
        }
        if fragment.starts_with('/') {
            return self.root.pointer(&unescape(fragment));
        }
        self.anchors.get(fragment).copied()
    }

    fn extent(&mut self, root: &'a Value) -> Result<(), String> {
        let extent = self.measure(root, 0)?;
        if extent.expanded > MAX_EXPANDED {
            return Err(format!(
                "the schema grows to more than {MAX_EXPANDED} parts when its references are written out"
            ));
        }
        let most = if self.recursive {
            MAX_IN_PLACE_RECURSIVE
        } else {
            MAX_IN_PLACE
        };
        if self.in_place.values().any(|count| *count > most) {
            let whose = if self.recursive {
                " (of a schema that refers to itself)"
            } else {
                ""
            };
            return Err(format!(
                "more than {most} schemas apply to one place{whose}, one inside the other"
            ));
        }
        Ok(())
    }

    /// The extent of a schema `depth` below the root. A reference back to a schema that is still
    /// open ends there: how often it is followed depends on the value, whose depth is bounded.
    fn measure(&mut self, schema: &'a Value, depth: usize) -> Result<Extent, String> {
        let within = |extent: Extent| {
            if depth + extent.path <= MAX_PATH {
                return Ok(extent);
            }
            Err(format!(
                "the schema is more than {MAX_PATH} levels deep when its references are followed"
            ))
        };
        within(Extent::default())?;
        let key = std::ptr::from_ref(schema);
        if let Some(known) = self.extents.get(&key) {
            return within(*known);
        }
        if !self.open.insert(key) {
            self.recursive = true;
            return Ok(Extent::default());
        }
        let here = self.applied_here(schema);
        self.nest(schema, &mut Vec::new())?;
        let mut extent = Extent {
            path: 0,
            expanded: 1,
        };
        for child in here.into_iter().chain(applied_below(schema)) {
            let inner = self.measure(child, depth + 1)?;
            extent.path = extent.path.max(inner.path + 1);
            extent.expanded = extent.expanded.saturating_add(inner.expanded);
        }
        self.open.remove(&key);
        self.extents.insert(key, extent);
        Ok(extent)
    }

    /// How many schemas lie inside this one for the same place. One that comes back to itself
    /// there would never end.
    fn nest(&mut self, schema: &'a Value, open: &mut Vec<*const Value>) -> Result<usize, String> {
        let key = std::ptr::from_ref(schema);
        if let Some(known) = self.in_place.get(&key) {
            return Ok(*known);
        }
        if open.contains(&key) {
            return Err("the schema refers to itself without end".to_owned());
        }
        if open.len() > MAX_PATH {
            return Err(format!("more than {MAX_PATH} references in a row"));
        }
        open.push(key);
        let mut nested = 0;
        for child in self.applied_here(schema) {
            nested = nested.max(self.nest(child, open)? + 1);
        }
        open.pop();
        self.in_place.insert(key, nested);
        Ok(nested)
    }

    /// The schemas that apply to the same place as this one, references resolved.
    fn applied_here(&self, schema: &'a Value) -> Vec<&'a Value> {
        let single = IN_PLACE.iter().filter_map(|keyword| schema.get(keyword));
        let referred = REFERENCES
            .iter()
            .filter_map(|keyword| schema.get(keyword).and_then(Value::as_str))
            .filter_map(|reference| self.target(reference));
        single
            .chain(lists(schema, IN_PLACE_LISTS))
            .chain(maps(schema, IN_PLACE_MAPS))
            .chain(referred)
            .collect()
    }
}

/// Keywords that apply another schema by name.
const REFERENCES: &[&str] = &["$ref", "$dynamicRef", "$recursiveRef"];

fn applied_below(schema: &Value) -> impl Iterator<Item = &Value> {
    let single = BELOW.iter().filter_map(|keyword| schema.get(keyword));
    let lists = lists(schema, BELOW_LISTS);
    single.chain(lists).chain(maps(schema, BELOW_MAPS))
}

fn lists<'a>(schema: &'a Value, keywords: &'static [&str]) -> impl Iterator<Item = &'a Value> {
    keywords
        .iter()
        .filter_map(move |keyword| schema.get(keyword)?.as_array())
        .flatten()
}

fn maps<'a>(schema: &'a Value, keywords: &'static [&str]) -> impl Iterator<Item = &'a Value> {
    keywords
        .iter()
        .filter_map(move |keyword| schema.get(keyword)?.as_object())
        .flat_map(|map| map.values())
}

/// Every schema directly inside this one, with where it stands.
fn subschemas(schema: &Value) -> impl Iterator<Item = (String, &Value)> {
    let singles = IN_PLACE.iter().chain(BELOW);
    let singles = singles.filter_map(|keyword| Some(((*keyword).to_owned(), schema.get(keyword)?)));
    let lists = IN_PLACE_LISTS
        .iter()
        .chain(BELOW_LISTS)
        .flat_map(|keyword| {
            let list = schema.get(keyword).and_then(Value::as_array);
            let entries = list.into_iter().flatten().enumerate();
            entries.map(move |(index, child)| (format!("{keyword}/{index}"), child))
        });
    let maps = IN_PLACE_MAPS
        .iter()
        .chain(BELOW_MAPS)
        .chain(SHELVES)
        .flat_map(|keyword| {
            let map = schema.get(keyword).and_then(Value::as_object);
            let entries = map.into_iter().flatten();
            entries.map(move |(name, child)| {
                (
                    format!("{keyword}/{}", crate::core::schema::faults::escape(name)),
                    child,
                )
            })
        });
    singles.chain(lists).chain(maps)
}

/// A pointer in a URI fragment may be percent-encoded.
fn unescape(fragment: &str) -> String {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let hex = |byte: Option<u8>| char::from(byte?).to_digit(16);
        match (byte, hex(ahead.next()), hex(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                bytes.extend(u8::try_from(high * 16 + low));
                rest = ahead;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
