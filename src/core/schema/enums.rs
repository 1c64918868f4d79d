//! Letter case of enum and const strings.
//!
//! The API enforces a schema while it generates, but does not promise the case of enum and const
//! strings. A value that differs from exactly one allowed string by case, or by blanks around it,
//! is that string.

use serde_json::Value;

/// Steps through schema and value together; enough for any real output, and an end for schemas
/// that refer to themselves.
const MAX_STEPS: u32 = 200_000;
/// Schemas inside one another. The value's own depth is bounded elsewhere.
const MAX_DEPTH: u32 = 128;

/// Replaces strings that match an allowed one but for their case. Whether anything changed.
///
/// Only local references (`#`, `#/…`) are followed; where a schema offers several forms, a string
/// that one of them takes as it is stays as it is.
pub fn normalise_enums(schema: &Value, value: &mut Value) -> bool {
    let mut walk = Walk {
        root: schema,
        steps: MAX_STEPS,
        changed: false,
    };
    walk.apply(schema, value, MAX_DEPTH);
    walk.changed
}

struct Walk<'a> {
    root: &'a Value,
    steps: u32,
    changed: bool,
}

impl<'a> Walk<'a> {
    fn apply(&mut self, schema: &'a Value, value: &mut Value, depth: u32) {
        let (Some(steps), Some(depth)) = (self.steps.checked_sub(1), depth.checked_sub(1)) else {
            return;
        };
        self.steps = steps;
        if let Value::String(text) = value {
            if let Some(allowed) = self.mended(schema, text) {
                *text = allowed;
                self.changed = true;
            }
            return;
        }
        if let Some(target) = self.target(schema) {
            self.apply(target, value, depth);
        }
        for form in forms(schema) {
            self.apply(form, value, depth);
        }
        match value {
            Value::Object(fields) => {
                let properties = schema.get("properties");
                let others = schema.get("additionalProperties");
                for (name, field) in fields {
                    let known = properties.and_then(|properties| properties.get(name));
                    if let Some(schema) = known.or(others) {
                        self.apply(schema, field, depth);
                    }
                }
            }
            Value::Array(entries) => {
                let first = schema.get("prefixItems").and_then(Value::as_array);
                let rest = schema.get("items");
                for (index, entry) in entries.iter_mut().enumerate() {
                    let own = first.and_then(|first| first.get(index));
                    if let Some(schema) = own.or(rest) {
                        self.apply(schema, entry, depth);
                    }
                }
            }
            _ => {}
        }
    }

    fn target(&self, schema: &'a Value) -> Option<&'a Value> {
        let reference = schema.get("$ref")?.as_str()?;
        self.root.pointer(reference.strip_prefix('#')?)
    }

    /// What a string should have been, if it is not allowed as it is and one allowed string alone
    /// matches it.
    fn mended(&self, schema: &'a Value, text: &str) -> Option<String> {
        let mut allowed = Vec::new();
        let free = self.strings(schema, &mut allowed, 16);
        if free || allowed.contains(&text) {
            return None;
        }
        let folded = text.trim().to_lowercase();
        allowed.sort_unstable();
        allowed.dedup();
        let mut matches = allowed
            .into_iter()
            .filter(|known| known.to_lowercase() == folded);
        let only = matches.next()?;
        matches.next().is_none().then(|| only.to_owned())
    }

    /// Collects the strings a schema allows by name; true if it takes free strings as well.
    fn strings(&self, schema: &'a Value, allowed: &mut Vec<&'a str>, depth: u32) -> bool {
        let Some(depth) = depth.checked_sub(1) else {
            return true;
        };
        let listed = schema.get("enum").and_then(Value::as_array);
        let single = schema.get("const");
        if listed.is_some() || single.is_some() {
            let values = listed.into_iter().flatten().chain(single);
            allowed.extend(values.filter_map(Value::as_str));
            return false;
        }
        let mut inner = self
            .target(schema)
            .into_iter()
            .chain(forms(schema))
            .peekable();
        if inner.peek().is_some() {
            // `allOf` with a free part and a listed part is listed; `anyOf` with both is free.
            let every = schema
                .get("anyOf")
                .or_else(|| schema.get("oneOf"))
                .is_none();
            let free: Vec<bool> = inner
                .map(|form| self.strings(form, allowed, depth))
                .collect();
            return if every {
                free.iter().all(|free| *free)
            } else {
                free.contains(&true)
            };
        }
        match schema.get("type") {
            None => true,
            Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
            Some(kind) => kind == "string",
        }
    }
}

/// The schemas that apply to the same value.
fn forms(schema: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf", "allOf"]
        .into_iter()
        .filter_map(|keyword| schema.get(keyword)?.as_array())
        .flatten()
}
