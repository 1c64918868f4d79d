//! A schema as a tree to answer from: references followed, limits gathered
//! (also those that a client moved into descriptions, as the SDKs do), enums
//! given their keyword lists.

use serde_json::{Map, Value};

use super::pattern;
use crate::answer::{
    choice::Choice,
    words::{self, Word},
};

/// Deeper than this, or beyond so many nodes, a schema reads as "anything".
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 8_000;

/// What an answer must look like at one place.
#[derive(Debug)]
pub enum Node {
    Any,
    Null,
    Bool(Hints),
    Integer(Hints),
    Number(Hints),
    Text(Hints, Format),
    Const(Value),
    Enum(Choice),
    Array(Box<Node>, Hints),
    Object(Vec<Prop>),
    AnyOf(Vec<Node>),
}

/// A property; required ones come first, as the API writes them.
#[derive(Debug)]
pub struct Prop {
    pub name: String,
    pub required: bool,
    pub node: Node,
}

/// How a string is bound.
#[derive(Debug, PartialEq, Eq)]
pub enum Format {
    Free,
    Named(String),
    /// A text that matches the pattern.
    Sample(String),
}

/// What a property's name and description say about its value.
#[derive(Debug, Default)]
pub struct Hints {
    /// The property's name in lower case with `_` between its parts.
    pub name: String,
    pub name_words: Vec<Word>,
    pub description: String,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub multiple_of: Option<f64>,
    pub min_length: usize,
    pub max_length: Option<usize>,
    pub min_items: usize,
    pub max_items: Option<usize>,
}

pub fn compile(schema: &Value) -> Node {
    Builder {
        root: schema,
        left: MAX_NODES,
    }
    .node(schema, "", 0)
}

struct Builder<'a> {
    root: &'a Value,
    left: usize,
}

impl Builder<'_> {
    fn node(&mut self, schema: &Value, name: &str, depth: usize) -> Node {
        let Some(map) = schema.as_object() else {
            return Node::Any;
        };
        if depth > MAX_DEPTH || self.left == 0 {
            return Node::Any;
        }
        self.left -= 1;
        if let Some(value) = map.get("const") {
            return Node::Const(value.clone());
        }
        if let Some(values) = map.get("enum").and_then(Value::as_array) {
            return Node::Enum(Choice::new(name, values));
        }
        if let Some(target) = map.get("$ref").and_then(Value::as_str) {
            let root = self.root;
            return match target.strip_prefix('#').and_then(|p| root.pointer(p)) {
                Some(found) => self.node(found, name, depth + 1),
                None => Node::Any,
            };
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(list) = map.get(key).and_then(Value::as_array) {
                return Node::AnyOf(list.iter().map(|s| self.node(s, name, depth + 1)).collect());
            }
        }
        if let Some(list) = map.get("allOf").and_then(Value::as_array) {
            let merged = merge(map, list);
            return self.node(&Value::Object(merged), name, depth + 1);
        }
        match map.get("type") {
            Some(Value::String(kind)) => self.typed(kind, map, name, depth),
            Some(Value::Array(kinds)) => {
                let kinds = kinds.iter().filter_map(Value::as_str);
                Node::AnyOf(kinds.map(|k| self.typed(k, map, name, depth)).collect())
            }
            _ if map.contains_key("properties") => self.typed("object", map, name, depth),
            _ => Node::Any,
        }
    }

    fn typed(&mut self, kind: &str, map: &Map<String, Value>, name: &str, depth: usize) -> Node {
        let hints = Hints::new(map, name);
        match kind {
            "object" => self.object(map, depth),
            "array" => {
                let item = map.get("items").unwrap_or(&Value::Null);
                // The items of `tags` are named as the list is.
                Node::Array(Box::new(self.node(item, name, depth + 1)), hints)
            }
            "string" => Node::Text(hints, format(map)),
            "integer" => Node::Integer(hints),
            "number" => Node::Number(hints),
            "boolean" => Node::Bool(hints),
            "null" => Node::Null,
            _ => Node::Any,
        }
    }

    fn object(&mut self, map: &Map<String, Value>, depth: usize) -> Node {
        let required = map.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|r| r.iter().any(|v| v == name));
        let mut props = Vec::new();
        let given = map.get("properties").and_then(Value::as_object);
        for (name, schema) in given.into_iter().flatten() {
            props.push(Prop {
                name: name.clone(),
                required: is_required(name),
                node: self.node(schema, name, depth + 1),
            });
        }
        props.sort_by_key(|p| !p.required);
        Node::Object(props)
    }
}

/// `allOf` by laying its parts over each other; properties add up.
fn merge(map: &Map<String, Value>, parts: &[Value]) -> Map<String, Value> {
    let mut out = map.clone();
    out.remove("allOf");
    for part in parts.iter().filter_map(Value::as_object) {
        for (key, value) in part {
            match (out.get_mut(key), value) {
                (Some(Value::Object(old)), Value::Object(new)) => {
                    old.extend(new.iter().map(|(k, v)| (k.clone(), v.clone())));
                }
                (Some(Value::Array(old)), Value::Array(new)) if key == "required" => {
                    old.extend(new.iter().cloned());
                }
                _ => {
                    out.insert(key.clone(), value.clone());
                }
            }
        }
    }
    out
}

fn format(map: &Map<String, Value>) -> Format {
    if let Some(sample) = map
        .get("pattern")
        .and_then(Value::as_str)
        .and_then(pattern::sample)
    {
        return Format::Sample(sample);
    }
    match map.get("format").and_then(Value::as_str) {
        Some(name) => Format::Named(name.to_owned()),
        None => described_pattern(map).map_or(Format::Free, Format::Sample),
    }
}

fn described_pattern(map: &Map<String, Value>) -> Option<String> {
    let description = map.get("description")?.as_str()?;
    let (_, rest) = description.split_once("pattern: \"")?;
    let (found, _) = rest.split_once('"')?;
    pattern::sample(&found.replace("\\\\", "\\"))
}

impl Hints {
    fn new(map: &Map<String, Value>, name: &str) -> Self {
        let description = map
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let number = |key: &str| {
            map.get(key)
                .and_then(Value::as_f64)
                .or_else(|| described(description, key))
        };
        let count = |key: &str| number(key).filter(|n| *n >= 0.0).map(|n| n as usize);
        let whole = map.get("type").is_some_and(|t| t == "integer");
        // An exclusive bound of whole numbers lies one further in; of others, a
        // hair further.
        let step = if whole { 1.0 } else { 0.01 };
        let mut hints = Self {
            name: words::snake(name),
            name_words: words::of_name(name),
            description: description.to_lowercase(),
            min: number("minimum").or(number("exclusiveMinimum").map(|n| n + step)),
            max: number("maximum").or(number("exclusiveMaximum").map(|n| n - step)),
            multiple_of: number("multipleOf").filter(|n| *n > 0.0),
            min_length: count("minLength").unwrap_or(0),
            max_length: count("maxLength"),
            min_items: count("minItems").unwrap_or(0),
            max_items: count("maxItems"),
        };
        if hints.min.is_none()
            && hints.max.is_none()
            && let Some((low, high)) = words::range_in(&hints.description)
        {
            hints.min = Some(low);
            hints.max = Some(high);
        }
        hints
    }
}

/// A limit written into a description, as `{minimum: 1, maximum: 5}`.
fn described(description: &str, key: &str) -> Option<f64> {
    let (_, rest) = description.split_once(key)?;
    let rest = rest.trim_start_matches(['"', '\'', ':', '=', ' ']);
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-'))
        .unwrap_or(rest.len());
    rest.get(..end)?.trim_end_matches('.').parse().ok()
}
