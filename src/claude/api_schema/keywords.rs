//! What the API takes of each keyword, and what becomes of the rest.

use serde_json::{Map, Value};

/// Formats the API enforces; any other is only described.
const STRING_FORMATS: &[&str] = &[
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
/// Keywords that say nothing about values.
const SILENT: &[&str] = &[
    "$schema",
    "$id",
    "$anchor",
    "$dynamicAnchor",
    "$comment",
    "$defs",
    "definitions",
    "deprecated",
    "readOnly",
    "writeOnly",
];
/// What is left over may be described at this length, not more: it is paid for with every call.
const MAX_DESCRIPTION_BYTES: usize = 2_000;

/// The keywords of one schema that have found no place yet.
pub(super) struct Left(Map<String, Value>);

impl Left {
    pub(super) fn of(keywords: &Map<String, Value>) -> Self {
        let mut left = keywords.clone();
        left.retain(|keyword, _| !SILENT.contains(&keyword.as_str()));
        Self(left)
    }

    pub(super) fn take(&mut self, keyword: &str) -> Option<Value> {
        self.0.shift_remove(keyword)
    }

    /// Everything that says what a value's parts are: it has been passed on to another schema.
    pub(super) fn take_structure(&mut self) {
        self.0.retain(|keyword, _| belongs_to(keyword, None));
    }

    /// Moves `enum` and `const` over, if they can be sent. They say the type as well.
    pub(super) fn literals(&mut self, out: &mut Map<String, Value>) -> bool {
        let scalar = |value: &Value| !value.is_array() && !value.is_object();
        let listed = self.0.get("enum").and_then(Value::as_array);
        if listed.is_some_and(|values| !values.is_empty() && values.iter().all(scalar)) {
            out.extend(self.0.shift_remove_entry("enum"));
        }
        if self.0.get("const").is_some_and(scalar) {
            out.extend(self.0.shift_remove_entry("const"));
        }
        if out.is_empty() {
            return false;
        }
        self.take("type");
        true
    }

    /// Moves over what the API takes of a string.
    pub(super) fn string(&mut self, out: &mut Map<String, Value>) {
        let format = self.0.get("format").and_then(Value::as_str);
        if format.is_some_and(|format| STRING_FORMATS.contains(&format)) {
            out.extend(self.0.shift_remove_entry("format"));
        }
        let pattern = self.0.get("pattern").and_then(Value::as_str);
        if pattern.is_some_and(pattern_is_taken) {
            out.extend(self.0.shift_remove_entry("pattern"));
        }
    }

    /// Title and description, with all that is left over written into the latter.
    pub(super) fn annotate(mut self, out: &mut Map<String, Value>) {
        if let Some(title @ Value::String(_)) = self.take("title") {
            out.insert("title".to_owned(), title);
        }
        let mut description = match self.take("description") {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let rest: Vec<String> = self
            .0
            .iter()
            .map(|(keyword, value)| format!("{keyword}: {value}"))
            .collect();
        if !rest.is_empty() {
            let separator = if description.is_empty() { "" } else { "\n\n" };
            let rest = rest.join(", ");
            if rest.len() <= MAX_DESCRIPTION_BYTES {
                description.push_str(&format!("{separator}{{{rest}}}"));
            }
        }
        if !description.is_empty() {
            out.insert("description".to_owned(), Value::String(description));
        }
    }
}

/// The choice a schema consists of. Where it has fields or entries of its own, a choice only adds
/// conditions to them (`anyOf` of several `required`), and those can merely be described.
pub(super) fn choice(keywords: &Map<String, Value>) -> Option<(&'static str, &[Value])> {
    if keywords.contains_key("properties") || keywords.contains_key("items") {
        return None;
    }
    ["anyOf", "oneOf"].into_iter().find_map(|keyword| {
        let forms = keywords.get(keyword)?.as_array()?;
        (!forms.is_empty()).then_some((keyword, forms.as_slice()))
    })
}

/// The type a schema means without naming it.
pub(super) fn inferred_type(keywords: &Map<String, Value>) -> Option<&'static str> {
    ["object", "array", "string", "number"]
        .into_iter()
        .find(|kind| {
            let own = |keyword: &String| keyword_type(keyword) == Some(kind);
            keywords.keys().any(own)
        })
}

/// Whether a keyword can say anything about a value of this type, or about any where it is `None`.
pub(super) fn belongs_to(keyword: &str, kind: Option<&str>) -> bool {
    match keyword_type(keyword) {
        None => kind.is_none(),
        Some("number") if kind == Some("integer") => true,
        own => own == kind,
    }
}

fn keyword_type(keyword: &str) -> Option<&'static str> {
    Some(match keyword {
        "properties"
        | "required"
        | "additionalProperties"
        | "patternProperties"
        | "propertyNames"
        | "minProperties"
        | "maxProperties"
        | "unevaluatedProperties"
        | "dependentRequired"
        | "dependentSchemas" => "object",
        "items" | "prefixItems" | "minItems" | "maxItems" | "uniqueItems" | "contains"
        | "minContains" | "maxContains" | "unevaluatedItems" | "additionalItems" => "array",
        "minLength" | "maxLength" | "pattern" | "format" | "contentEncoding"
        | "contentMediaType" => "string",
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => "number",
        _ => return None,
    })
}

/// Without look-around, references to groups, and word boundaries.
fn pattern_is_taken(pattern: &str) -> bool {
    let mut escaped = false;
    for character in pattern.chars() {
        if escaped && (matches!(character, 'b' | 'B' | 'k') || character.is_ascii_digit()) {
            return false;
        }
        escaped = !escaped && character == '\\';
    }
    !["(?=", "(?!", "(?<"]
        .iter()
        .any(|group| pattern.contains(group))
}
