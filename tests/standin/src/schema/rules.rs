//! Which output schemas the API refuses, and in which words.
//!
//! The wordings were recorded from the live API by others; the one for external
//! references was not seen and is ours.

use std::collections::HashSet;

use serde_json::{Map, Value};

/// Schemas nested deeper than this, or with more nodes, do not compile there.
const MAX_DEPTH: usize = 60;
const MAX_NODES: usize = 4_000;

const COMMON: &[&str] = &[
    "type",
    "title",
    "description",
    "default",
    "examples",
    "enum",
    "const",
    "anyOf",
    "allOf",
    "$ref",
    "$defs",
    "definitions",
    "$schema",
    "$id",
    "$comment",
];

const FORMATS: &[&str] = &[
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "uri",
    "ipv4",
    "ipv6",
    "uuid",
];

/// What checking found: the first fault, and the counts that are limited.
#[derive(Debug, Default)]
pub struct Outcome {
    pub fault: Option<String>,
    pub optional: usize,
    pub unions: usize,
}

pub fn check(root: &Value) -> Outcome {
    let mut walk = Walk {
        root,
        out: Outcome::default(),
        refs: Vec::new(),
        done: HashSet::new(),
        nodes: 0,
    };
    walk.out.fault = walk.whole().err();
    walk.out
}

struct Walk<'a> {
    root: &'a Value,
    out: Outcome,
    /// References being followed, to find circles.
    refs: Vec<&'a str>,
    /// Definitions already checked and counted.
    done: HashSet<String>,
    nodes: usize,
}

impl<'a> Walk<'a> {
    /// The root, then definitions that nothing refers to.
    fn whole(&mut self) -> Result<(), String> {
        self.node(self.root, 0)?;
        for table in ["$defs", "definitions"] {
            let defined = self.root.get(table).and_then(Value::as_object);
            for (name, inner) in defined.into_iter().flatten() {
                if self.done.insert(format!("#/{table}/{name}")) {
                    self.node(inner, 1)?;
                }
            }
        }
        Ok(())
    }

    fn node(&mut self, schema: &'a Value, depth: usize) -> Result<(), String> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err("Schema is too complex for compilation.".to_owned());
        }
        let map = match schema {
            Value::Object(map) => map,
            Value::Bool(_) => return Err("boolean schemas are not supported".to_owned()),
            _ => return Err("Input should be an object".to_owned()),
        };
        for key in [
            "oneOf",
            "not",
            "if",
            "patternProperties",
            "prefixItems",
            "contains",
        ] {
            if map.contains_key(key) {
                return Err(format!("Schema type '{key}' is not supported"));
            }
        }
        if let Some(target) = map.get("$ref") {
            self.reference(target, depth)?;
        }
        self.values(map)?;
        let kinds = kinds(map)?;
        if kinds.len() > 1 || map.contains_key("anyOf") {
            self.out.unions += 1;
        }
        for kind in &kinds {
            self.by_type(kind, map, depth)?;
        }
        if kinds.is_empty() {
            if map.contains_key("properties") {
                self.by_type("object", map, depth)?;
            }
            let typed = ["anyOf", "allOf", "$ref", "enum", "const", "properties"];
            if !typed.iter().any(|k| map.contains_key(*k)) {
                return Err("Schema type must be specified".to_owned());
            }
        }
        for key in ["anyOf", "allOf"] {
            let Some(list) = map.get(key) else { continue };
            let Some(list) = list.as_array().filter(|l| !l.is_empty()) else {
                return Err(format!("'{key}' must be a non-empty array"));
            };
            for inner in list {
                if key == "allOf" && inner.get("$ref").is_some() {
                    return Err("'allOf' with '$ref' is not supported".to_owned());
                }
                self.node(inner, depth + 1)?;
            }
        }
        Ok(())
    }

    fn reference(&mut self, target: &'a Value, depth: usize) -> Result<(), String> {
        let Some(path) = target.as_str() else {
            return Err("'$ref' must be a string".to_owned());
        };
        let Some(pointer) = path.strip_prefix('#') else {
            return Err(format!("External '$ref' is not supported: {path}"));
        };
        if let Some(from) = self.refs.iter().position(|r| *r == path) {
            let circle: Vec<&str> = self.refs.iter().skip(from).map(|r| short(r)).collect();
            return Err(format!(
                "Circular reference detected in schema definitions: {} -> {}. Self-referencing or mutually-referencing definitions are not supported.",
                circle.join(" -> "),
                short(path)
            ));
        }
        if pointer.is_empty() {
            return Err("Circular reference detected in schema definitions: # -> #. Self-referencing or mutually-referencing definitions are not supported.".to_owned());
        }
        if self.done.contains(path) {
            return Ok(());
        }
        let root = self.root;
        let Some(found) = root.pointer(pointer) else {
            return Err(format!("'$ref' could not be resolved: {path}"));
        };
        self.refs.push(path);
        let checked = self.node(found, depth + 1);
        self.refs.pop();
        self.done.insert(path.to_owned());
        checked
    }

    fn values(&self, map: &Map<String, Value>) -> Result<(), String> {
        match map.get("enum") {
            None => Ok(()),
            Some(Value::Array(list)) if list.is_empty() => {
                Err("'enum' must have at least one value".to_owned())
            }
            Some(Value::Array(list)) if list.iter().any(|v| v.is_object() || v.is_array()) => {
                Err("'enum' values must be primitives".to_owned())
            }
            Some(Value::Array(_)) => Ok(()),
            Some(_) => Err("'enum' must be an array".to_owned()),
        }
    }

    fn by_type(
        &mut self,
        kind: &str,
        map: &'a Map<String, Value>,
        depth: usize,
    ) -> Result<(), String> {
        match kind {
            "object" => self.object(map, depth),
            "array" => self.array(map, depth),
            "string" => {
                self.string(map)?;
                unsupported("string", map, &["format", "pattern"])
            }
            "integer" | "number" => unsupported(kind, map, &[]),
            "boolean" | "null" => Ok(()),
            other => Err(format!("Schema type '{other}' is not supported")),
        }
    }

    fn object(&mut self, map: &'a Map<String, Value>, depth: usize) -> Result<(), String> {
        match map.get("additionalProperties") {
            Some(Value::Bool(false)) => {}
            Some(Value::Object(_)) => {
                return Err("For 'object' type, 'additionalProperties: object' is not supported. Please set 'additionalProperties' to false".to_owned());
            }
            _ => {
                return Err(
                    "For 'object' type, 'additionalProperties' must be explicitly set to false"
                        .to_owned(),
                );
            }
        }
        unsupported(
            "object",
            map,
            &["properties", "required", "additionalProperties"],
        )?;
        let required = match map.get("required") {
            None => &[][..],
            Some(Value::Array(list)) => list.as_slice(),
            Some(_) => return Err("'required' must be an array".to_owned()),
        };
        let properties = match map.get("properties") {
            None => return Ok(()),
            Some(Value::Object(properties)) => properties,
            Some(_) => return Err("'properties' must be an object".to_owned()),
        };
        for (name, inner) in properties {
            if !required.iter().any(|r| r == name) {
                self.out.optional += 1;
            }
            self.node(inner, depth + 1)?;
        }
        match required
            .iter()
            .filter_map(Value::as_str)
            .find(|r| !properties.contains_key(*r))
        {
            Some(missing) => Err(format!(
                "Required property '{missing}' is not defined in 'properties'"
            )),
            None => Ok(()),
        }
    }

    fn array(&mut self, map: &'a Map<String, Value>, depth: usize) -> Result<(), String> {
        unsupported("array", map, &["items", "minItems"])?;
        match map.get("minItems").map(|m| m.as_u64()) {
            None | Some(Some(0 | 1)) => {}
            Some(given) => {
                let got = given.map_or_else(|| "?".to_owned(), |n| n.to_string());
                return Err(format!(
                    "For 'array' type, 'minItems' values other than 0 or 1 are not supported (got: [{got}, ∞])"
                ));
            }
        }
        match map.get("items") {
            Some(inner) => self.node(inner, depth + 1),
            None => Err("For 'array' type, 'items' must be specified".to_owned()),
        }
    }

    fn string(&self, map: &Map<String, Value>) -> Result<(), String> {
        if let Some(format) = map.get("format") {
            let name = format.as_str().unwrap_or_default();
            if !FORMATS.contains(&name) {
                return Err(format!(
                    "For 'string' type, format '{name}' is not supported"
                ));
            }
        }
        let Some(pattern) = map.get("pattern") else {
            return Ok(());
        };
        let Some(pattern) = pattern.as_str() else {
            return Err("For 'string' type, 'pattern' must be a string".to_owned());
        };
        if ["(?=", "(?!", "(?<=", "(?<!"]
            .iter()
            .any(|p| pattern.contains(p))
        {
            return Err("For 'string' type, 'pattern' with lookaround is not supported".to_owned());
        }
        if pattern.contains("\\b") || pattern.contains("\\B") {
            return Err(
                "For 'string' type, 'pattern' with word boundaries is not supported".to_owned(),
            );
        }
        let mut escaped = false;
        for c in pattern.chars() {
            if escaped && c.is_ascii_digit() && c != '0' {
                return Err(
                    "For 'string' type, 'pattern' with backreferences is not supported".to_owned(),
                );
            }
            escaped = c == '\\' && !escaped;
        }
        regex_syntax::parse(pattern).map(|_| ()).map_err(|_| {
            format!("For 'string' type, 'pattern' is not a valid regular expression: {pattern}")
        })
    }
}

/// `type` as a list; an array of types is a union.
fn kinds(map: &Map<String, Value>) -> Result<Vec<&str>, String> {
    match map.get("type") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(list)) if !list.is_empty() => list
            .iter()
            .map(|v| {
                v.as_str()
                    .ok_or_else(|| "'type' must be a string or an array of strings".to_owned())
            })
            .collect(),
        Some(_) => Err("'type' must be a string or an array of strings".to_owned()),
    }
}

/// Keywords outside the common and the given ones are refused by name.
fn unsupported(kind: &str, map: &Map<String, Value>, own: &[&str]) -> Result<(), String> {
    // With several types each sees the others' keywords: only limits on values
    // are refused then, which no type takes.
    let several = matches!(map.get("type"), Some(Value::Array(_)));
    let known = |key: &str| {
        COMMON.contains(&key)
            || own.contains(&key)
            || (several
                && matches!(
                    key,
                    "items"
                        | "minItems"
                        | "properties"
                        | "required"
                        | "additionalProperties"
                        | "format"
                        | "pattern"
                ))
    };
    let mut bad: Vec<&str> = map
        .keys()
        .map(String::as_str)
        .filter(|k| !known(k))
        .collect();
    // The API names `maximum` before `minimum`: alphabetical order.
    bad.sort_unstable();
    match bad.as_slice() {
        [] => Ok(()),
        [one] => Err(format!(
            "For '{kind}' type, property '{one}' is not supported"
        )),
        many => Err(format!(
            "For '{kind}' type, properties {} are not supported",
            many.join(", ")
        )),
    }
}

fn short(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
