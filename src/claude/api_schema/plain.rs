//! References written out and `allOf` merged, so that the rest need know neither.
//!
//! The API takes references only in some places and closes every object, under which two objects
//! in `allOf` would exclude each other's fields. One object with the fields of both says the same.

use serde_json::{Map, Value, json};

use super::{MAX_DEPTH, MAX_NODES, Unsendable};

/// The same schema without `$ref` and `allOf` wherever the API looks.
pub(super) fn written_out(root: &Value) -> Result<Value, Unsendable> {
    let mut writer = Writer {
        root,
        open: Vec::new(),
        nodes: 0,
    };
    writer.node(root)
}

struct Writer<'a> {
    root: &'a Value,
    /// The schemas we are inside of: one met again is a recursion.
    open: Vec<*const Value>,
    nodes: usize,
}

impl<'a> Writer<'a> {
    fn node(&mut self, schema: &'a Value) -> Result<Value, Unsendable> {
        let Value::Object(keywords) = schema else {
            return Ok(schema.clone());
        };
        let key = std::ptr::from_ref(schema);
        if self.open.contains(&key) {
            return Err(Unsendable::Recursive);
        }
        self.nodes += 1;
        if self.nodes > MAX_NODES || self.open.len() >= MAX_DEPTH {
            return Err(Unsendable::TooLarge);
        }
        self.open.push(key);
        let written = self.keywords(keywords)?;
        self.open.pop();
        Ok(Value::Object(written))
    }

    fn keywords(
        &mut self,
        keywords: &'a Map<String, Value>,
    ) -> Result<Map<String, Value>, Unsendable> {
        let mut out = Map::new();
        let mut others = Vec::new();
        for (keyword, value) in keywords {
            match (keyword.as_str(), value) {
                ("$defs" | "definitions", _) => {}
                ("$dynamicRef" | "$recursiveRef", _) => {
                    return Err(Unsendable::Reference(value.to_string()));
                }
                ("$ref", _) => others.push(self.target(value)?),
                ("allOf", Value::Array(list)) => others.extend(list),
                ("anyOf" | "oneOf" | "prefixItems", Value::Array(list)) => {
                    let list = list.iter().map(|schema| self.node(schema));
                    out.insert(keyword.clone(), list.collect::<Result<Vec<_>, _>>()?.into());
                }
                ("items" | "additionalProperties", _) => {
                    out.insert(keyword.clone(), self.node(value)?);
                }
                ("properties", Value::Object(fields)) => {
                    let mut written = Map::new();
                    for (name, schema) in fields {
                        written.insert(name.clone(), self.node(schema)?);
                    }
                    out.insert(keyword.clone(), Value::Object(written));
                }
                _ => {
                    out.insert(keyword.clone(), value.clone());
                }
            }
        }
        // What stands beside a reference says more about this place than what it refers to.
        for other in others {
            out = match self.node(other)? {
                Value::Object(other) => merged(out, other)?,
                Value::Bool(true) => out,
                _ => return Err(combination()),
            };
        }
        Ok(out)
    }

    fn target(&self, reference: &Value) -> Result<&'a Value, Unsendable> {
        let reference = reference.as_str().unwrap_or_default();
        let pointer = reference.strip_prefix('#');
        pointer
            .and_then(|pointer| self.root.pointer(pointer))
            .ok_or_else(|| Unsendable::Reference(reference.chars().take(100).collect()))
    }
}

fn combination() -> Unsendable {
    Unsendable::Combination("allOf".to_owned())
}

/// One schema that asks for what both ask for.
fn merged(
    mut one: Map<String, Value>,
    other: Map<String, Value>,
) -> Result<Map<String, Value>, Unsendable> {
    // A closed schema beside one with fields it does not name can only be met without them.
    if excludes(&one, &other) || excludes(&other, &one) {
        return Err(combination());
    }
    for (keyword, value) in other {
        match one.get_mut(&keyword) {
            None => {
                one.insert(keyword, value);
            }
            Some(own) if *own == value => {}
            Some(own) => *own = both(&keyword, own.take(), value)?,
        }
    }
    Ok(one)
}

fn excludes(closed: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let fields = |schema: &Map<String, Value>| -> Vec<String> {
        let fields = schema.get("properties").and_then(Value::as_object);
        fields
            .map(|fields| fields.keys().cloned().collect())
            .unwrap_or_default()
    };
    let known = fields(closed);
    closed.get("additionalProperties") == Some(&json!(false))
        && fields(other).iter().any(|name| !known.contains(name))
}

/// Two different values of one keyword, as one that means both.
fn both(keyword: &str, one: Value, other: Value) -> Result<Value, Unsendable> {
    match (keyword, one, other) {
        // The nearer one stands: it speaks of this place.
        ("title" | "description" | "default" | "examples", one, _) => Ok(one),
        ("properties", Value::Object(mut one), Value::Object(other)) => {
            for (name, schema) in other {
                let schema = match (one.shift_remove(&name), schema) {
                    (Some(Value::Object(own)), Value::Object(schema)) => {
                        merged(own, schema)?.into()
                    }
                    (None | Some(Value::Bool(true)), schema) => schema,
                    (Some(own), Value::Bool(true)) => own,
                    _ => return Err(combination()),
                };
                one.insert(name, schema);
            }
            Ok(Value::Object(one))
        }
        ("items", Value::Object(one), Value::Object(other)) => Ok(merged(one, other)?.into()),
        ("additionalProperties", one, Value::Bool(true)) => Ok(one),
        ("additionalProperties", Value::Bool(true), other) => Ok(other),
        ("additionalProperties", _, Value::Bool(false))
        | ("additionalProperties", Value::Bool(false), _) => Ok(json!(false)),
        ("required", Value::Array(mut one), Value::Array(other)) => {
            one.extend(
                other
                    .into_iter()
                    .filter(|name| !one.contains(name))
                    .collect::<Vec<_>>(),
            );
            Ok(Value::Array(one))
        }
        ("enum", Value::Array(mut one), Value::Array(other)) => {
            one.retain(|value| other.contains(value));
            if one.is_empty() {
                Err(combination())
            } else {
                Ok(Value::Array(one))
            }
        }
        ("type", one, other) => shared_type(&one, &other).ok_or_else(combination),
        ("minItems" | "minLength" | "minimum" | "minProperties", one, other) => {
            stricter(one, other, |one, other| one >= other)
        }
        ("maxItems" | "maxLength" | "maximum" | "maxProperties", one, other) => {
            stricter(one, other, |one, other| one <= other)
        }
        _ => Err(combination()),
    }
}

fn stricter(
    one: Value,
    other: Value,
    first_wins: fn(f64, f64) -> bool,
) -> Result<Value, Unsendable> {
    let (Some(left), Some(right)) = (one.as_f64(), other.as_f64()) else {
        return Err(combination());
    };
    Ok(if first_wins(left, right) { one } else { other })
}

/// The types both allow; an integer is a number.
fn shared_type(one: &Value, other: &Value) -> Option<Value> {
    let list = |kinds: &Value| match kinds {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    let (one, other) = (list(one), list(other));
    let allows = |kinds: &[Value], kind: &Value| {
        kinds.contains(kind) || (kind == "integer" && kinds.contains(&json!("number")))
    };
    let mut shared: Vec<Value> = Vec::new();
    for kind in one.iter().chain(&other) {
        if allows(&one, kind) && allows(&other, kind) && !shared.contains(kind) {
            shared.push(kind.clone());
        }
    }
    match shared.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        _ => Some(Value::Array(shared)),
    }
}
