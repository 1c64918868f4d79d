//! Checks a body against its schema in the OpenAPI document, and says all that is wrong, path by path.
//!
//! The schema that callers read is the one that decides here, so the two cannot drift apart. Deserialising alone
//! would stop at the first fault.

use boon::{
    Compiler, Draft, ErrorKind, InstanceToken, SchemaIndex, Schemas, Type, ValidationError,
};
use serde_json::{Value, json};

use crate::api::http::problem::Faults;

/// A schema ready to check bodies.
pub struct SchemaCheck {
    schemas: Schemas,
    index: SchemaIndex,
}

/// The schema's own address; nothing is ever loaded from it.
const HOME: &str = "https://schema.invalid/body.json";

impl SchemaCheck {
    /// Takes a schema by name from the components of an OpenAPI document.
    pub fn new(components: &Value, name: &str) -> Result<SchemaCheck, String> {
        let source = json!({
            "$ref": format!("#/components/schemas/{name}"),
            "components": components,
        });
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler
            .add_resource(HOME, source)
            .map_err(|error| error.to_string())?;
        let mut schemas = Schemas::new();
        let index = compiler
            .compile(HOME, &mut schemas)
            .map_err(|error| error.to_string())?;
        Ok(SchemaCheck { schemas, index })
    }

    /// Adds a fault for everything in `body` that does not fit.
    pub fn check(&self, body: &Value, faults: &mut Faults) {
        if let Err(error) = self.schemas.validate(body, self.index) {
            walk(&error, faults);
        }
    }
}

fn walk(error: &ValidationError<'_, '_>, faults: &mut Faults) {
    let path = path(error);
    match &error.kind {
        ErrorKind::Required { want } => {
            for name in want {
                faults.add(join(&path, name), "is required");
            }
        }
        ErrorKind::AdditionalProperties { got } => {
            for name in got {
                faults.add(join(&path, name), "is not a known field");
            }
        }
        ErrorKind::AnyOf | ErrorKind::OneOf(None) => walk_alternatives(error, &path, faults),
        _ if !error.causes.is_empty() => {
            for cause in &error.causes {
                walk(cause, faults);
            }
        }
        kind => faults.add(shown(&path), message(kind)),
    }
}

/// Of several forms, the one that has the right type tells what is wrong (the other is `null`, mostly).
fn walk_alternatives(error: &ValidationError<'_, '_>, path: &str, faults: &mut Faults) {
    let depth = error.instance_location.tokens.len();
    let mut wanted = Vec::new();
    let mut found = None;
    for cause in &error.causes {
        match type_mismatch(cause, depth) {
            Some((got, types)) => {
                found = Some(got);
                wanted.extend(types);
            }
            None => return walk(cause, faults),
        }
    }
    let got = found.unwrap_or(Type::Null);
    faults.add(shown(path), wrong_type(got, &wanted));
}

/// The types a form wants, where it was refused for the type of the value at this very place.
fn type_mismatch(error: &ValidationError<'_, '_>, depth: usize) -> Option<(Type, Vec<Type>)> {
    match (&error.kind, error.causes.as_slice()) {
        (ErrorKind::Type { got, want }, _) if error.instance_location.tokens.len() == depth => {
            Some((*got, want.iter().collect()))
        }
        (_, [cause]) => type_mismatch(cause, depth),
        _ => None,
    }
}

fn wrong_type(got: Type, wanted: &[Type]) -> String {
    let mut names: Vec<&str> = wanted
        .iter()
        .filter(|wanted| **wanted != Type::Null)
        .map(|wanted| article(*wanted))
        .collect();
    names.dedup();
    if names.is_empty() {
        names.push(article(Type::Null));
    }
    format!("must be {}, is {}", names.join(" or "), article(got))
}

fn article(name: Type) -> &'static str {
    match name {
        Type::Null => "null",
        Type::Boolean => "a boolean",
        Type::Number => "a number",
        Type::Integer => "a whole number",
        Type::String => "a string",
        Type::Array => "an array",
        Type::Object => "an object",
    }
}

fn message(kind: &ErrorKind<'_, '_>) -> String {
    match kind {
        ErrorKind::Type { got, want } => wrong_type(*got, &want.iter().collect::<Vec<_>>()),
        ErrorKind::Enum { want } => {
            let names: Vec<String> = want
                .iter()
                .filter(|value| !value.is_null())
                .map(plain)
                .collect();
            format!("must be one of {}", names.join(", "))
        }
        ErrorKind::Minimum { got, want } => format!("must be at least {want}, is {got}"),
        ErrorKind::Maximum { got, want } => format!("must be at most {want}, is {got}"),
        ErrorKind::MinLength { want: 1, .. } | ErrorKind::MinItems { want: 1, .. } => {
            "must not be empty".to_owned()
        }
        ErrorKind::MinLength { got, want } => {
            format!("must have at least {want} characters, has {got}")
        }
        ErrorKind::MaxLength { got, want } => {
            format!("must have at most {want} characters, has {got}")
        }
        ErrorKind::MinItems { got, want } => {
            format!("must have at least {want} entries, has {got}")
        }
        ErrorKind::MaxItems { got, want } => format!("must have at most {want} entries, has {got}"),
        ErrorKind::MaxProperties { got, want } => {
            format!("must have at most {want} fields, has {got}")
        }
        // Whatever pattern it is, this says more than the pattern would.
        ErrorKind::Pattern { got, .. } if got.trim().is_empty() => "must not be blank".to_owned(),
        ErrorKind::Pattern { want, .. } => format!("must match {want}"),
        other => other.to_string(),
    }
}

fn plain(value: &Value) -> String {
    format!(
        "`{}`",
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    )
}

/// `stages[0].chunk.items`; empty for the whole body.
fn path(error: &ValidationError<'_, '_>) -> String {
    error
        .instance_location
        .tokens
        .iter()
        .fold(String::new(), |path, token| match token {
            InstanceToken::Prop(name) => join(&path, name),
            InstanceToken::Item(index) => format!("{path}[{index}]"),
        })
}

/// A field of what is at `path`. Names that are no plain words stand in brackets and quotes, cut to a length
/// that fits a problem document.
pub fn join(path: &str, name: &str) -> String {
    let word = !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'$'));
    match (word, path.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{path}.{name}"),
        (false, _) => {
            let name: String = name.chars().take(64).collect();
            format!("{path}[{}]", Value::String(name))
        }
    }
}

/// The whole body has a name of its own.
fn shown(path: &str) -> &str {
    if path.is_empty() { "body" } else { path }
}

/// A JSON Pointer as a path below `path`.
pub fn below(path: &str, pointer: &str) -> String {
    pointer
        .split('/')
        .skip(1)
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .fold(path.to_owned(), |path, token| {
            if token.is_empty() || !token.bytes().all(|b| b.is_ascii_digit()) {
                join(&path, &token)
            } else {
                format!("{path}[{token}]")
            }
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn faults_of(schema: Value, body: Value) -> Vec<(String, String)> {
        let schema = SchemaCheck::new(&json!({"schemas": {"Body": schema}}), "Body").unwrap();
        let mut faults = Faults::default();
        schema.check(&body, &mut faults);
        let problem =
            crate::api::http::problem::ApiError::invalid(faults).into_problem(String::new());
        let pairs = problem.errors.into_iter().map(|f| (f.path, f.message));
        pairs.collect()
    }

    #[test]
    fn every_fault_has_its_path_and_a_sentence() {
        let schema = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["name", "list"],
            "properties": {
                "name": {"type": "string"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}},
                "kind": {"oneOf": [{"type": "null"}, {"type": "string", "enum": ["map", "synthesis"]}]},
                "text": {"type": ["string", "null"], "pattern": "\\S"},
            }
        });
        let body = json!({"list": [{"n": 1}, {"n": 0}, {"n": "x"}, {"n": 1.5}], "kind": "fold", "text": " ", "a b": 1});
        let faults = faults_of(schema.clone(), body);
        let expected = [
            ("[\"a b\"]", "is not a known field"),
            ("kind", "must be one of `map`, `synthesis`"),
            ("list[1].n", "must be at least 1, is 0"),
            ("list[2].n", "must be a whole number, is a string"),
            ("list[3].n", "must be a whole number, is a number"),
            ("name", "is required"),
            ("text", "must not be blank"),
        ];
        let mut found: Vec<(&str, &str)> = faults
            .iter()
            .map(|(p, m)| (p.as_str(), m.as_str()))
            .collect();
        found.sort_unstable();
        assert_eq!(found, expected);
        let wrong_kind = faults_of(schema.clone(), json!({"name": "", "list": [], "kind": 5}));
        assert_eq!(
            wrong_kind,
            [(
                "kind".to_owned(),
                "must be a string, is a number".to_owned()
            )]
        );
        let no_object = faults_of(schema, json!([]));
        assert_eq!(
            no_object,
            [(
                "body".to_owned(),
                "must be an object, is an array".to_owned()
            )]
        );
    }

    #[test]
    fn pointers_become_paths() {
        assert_eq!(below("s", ""), "s");
        assert_eq!(below("s", "/allOf/0/a~1b"), "s.allOf[0][\"a/b\"]");
    }
}
