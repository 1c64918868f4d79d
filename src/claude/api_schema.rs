//! A JSON Schema made fit for `output_config.format`.
//!
//! The API compiles the schema into a grammar and takes only part of JSON Schema. [`adapt`] keeps
//! what it takes, moves what it does not into descriptions (the model reads those), and says when
//! a schema cannot be sent without changing what it means. Such a request goes without a format,
//! with the schema in words ([`crate::claude::worker_schema::in_words`]). Either way the whole
//! schema is checked on our side: an adapted one may be looser than the original, and is narrower
//! only in that objects get no fields beyond those named.
//!
//! Two passes: [`plain`] writes out references and merges `allOf`, then what remains is fitted
//! keyword by keyword. The rules are those of Anthropic's own client libraries, except where
//! these would send a schema that no answer can satisfy.

use serde_json::{Map, Value, json};

mod keywords;
mod plain;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;

use crate::claude::api_schema::keywords::Left;

/// Why a schema cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    #[error("it refers to itself")]
    Recursive,
    #[error("the reference `{0}` leads out of it or nowhere")]
    Reference(String),
    #[error("{0} allows fields that are not named, and only closed objects are taken")]
    OpenObject(String),
    #[error("{0} has no type")]
    Untyped(String),
    #[error("{0} combines schemas in a way that is not taken")]
    Combination(String),
    #[error("{0} optional fields are more than the {MAX_OPTIONAL} that are taken")]
    TooManyOptional(usize),
    #[error("{0} fields of more than one type are more than the {MAX_UNIONS} that are taken")]
    TooManyUnions(usize),
    #[error("it is too large")]
    TooLarge,
}

/// The API's limits per request.
pub const MAX_OPTIONAL: usize = 24;
pub const MAX_UNIONS: usize = 16;

/// Our own limits, with references written out: the text is input that every call pays for, and
/// grammars of a few kilobytes were seen to be refused.
const MAX_NODES: usize = 2_000;
const MAX_DEPTH: usize = 40;

/// The schema as the API takes it.
///
/// # Errors
/// When there is no such form, with the reason.
pub fn adapt(schema: &Value) -> Result<Value, Unsendable> {
    let schema = plain::written_out(schema)?;
    let mut fitting = Fitting::default();
    let fitted = fitting.node(&schema, "", None)?;
    if fitting.optional > MAX_OPTIONAL {
        return Err(Unsendable::TooManyOptional(fitting.optional));
    }
    if fitting.unions > MAX_UNIONS {
        return Err(Unsendable::TooManyUnions(fitting.unions));
    }
    Ok(fitted)
}

/// Counts what the API limits, while fitting.
#[derive(Default)]
struct Fitting {
    optional: usize,
    unions: usize,
}

impl Fitting {
    /// `kind` is the type a schema has if it names none itself: a form of a choice may leave it to
    /// the schema around it.
    fn node(
        &mut self,
        schema: &Value,
        path: &str,
        kind: Option<&str>,
    ) -> Result<Value, Unsendable> {
        let Value::Object(keywords) = schema else {
            return Err(Unsendable::Untyped(place(path)));
        };
        let mut left = Left::of(keywords);
        let mut out = Map::new();
        if !left.literals(&mut out) {
            let choice = keywords::choice(keywords);
            if let Some((keyword, forms)) = choice {
                left.take(keyword);
                left.take("type");
                let kind = keywords.get("type").and_then(Value::as_str).or(kind);
                let forms = self.forms(forms, &format!("{path}/{keyword}"), kind)?;
                out.insert("anyOf".to_owned(), forms);
            } else {
                self.typed(keywords, &mut left, &mut out, path, kind)?;
            }
        }
        left.annotate(&mut out);
        Ok(Value::Object(out))
    }

    fn forms(
        &mut self,
        forms: &[Value],
        path: &str,
        kind: Option<&str>,
    ) -> Result<Value, Unsendable> {
        self.unions += 1;
        let forms = forms.iter().enumerate();
        let fitted = forms.map(|(index, form)| self.node(form, &format!("{path}/{index}"), kind));
        fitted.collect::<Result<Vec<_>, _>>().map(Value::from)
    }

    fn typed(
        &mut self,
        keywords: &Map<String, Value>,
        left: &mut Left,
        out: &mut Map<String, Value>,
        path: &str,
        kind: Option<&str>,
    ) -> Result<(), Unsendable> {
        left.take("type");
        let declared = match keywords.get("type") {
            Some(Value::Array(kinds)) => match kinds.as_slice() {
                [only] => only.as_str(),
                kinds => return self.several(keywords, kinds, left, out, path),
            },
            declared => declared.and_then(Value::as_str),
        };
        let kind = declared
            .or_else(|| keywords::inferred_type(keywords))
            .or(kind)
            .ok_or_else(|| Unsendable::Untyped(place(path)))?;
        out.insert("type".to_owned(), json!(kind));
        match kind {
            "object" => self.fields(keywords, left, out, path),
            "array" => self.entries(keywords, left, out, path),
            "string" => {
                left.string(out);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A list of types: as it is for plain ones, a choice of schemas where one has parts.
    fn several(
        &mut self,
        keywords: &Map<String, Value>,
        kinds: &[Value],
        left: &mut Left,
        out: &mut Map<String, Value>,
        path: &str,
    ) -> Result<(), Unsendable> {
        if !kinds.iter().any(|kind| kind == "object" || kind == "array") {
            self.unions += 1;
            out.insert("type".to_owned(), Value::from(kinds));
            return Ok(());
        }
        let forms = kinds.iter().map(|kind| {
            let mut form = keywords.clone();
            form.retain(|keyword, _| keywords::belongs_to(keyword, kind.as_str()));
            form.insert("type".to_owned(), kind.clone());
            Value::Object(form)
        });
        let forms: Vec<Value> = forms.collect();
        left.take_structure();
        out.insert("anyOf".to_owned(), self.forms(&forms, path, None)?);
        Ok(())
    }

    /// An object, closed. One that is meant to hold fields nobody named cannot be: closing it
    /// would leave it empty for ever.
    fn fields(
        &mut self,
        keywords: &Map<String, Value>,
        left: &mut Left,
        out: &mut Map<String, Value>,
        path: &str,
    ) -> Result<(), Unsendable> {
        let open = || Unsendable::OpenObject(place(path));
        let additional = left.take("additionalProperties");
        left.take("unevaluatedProperties");
        let named = left.take("properties");
        let named = named.as_ref().and_then(Value::as_object);
        let none_named = named.is_none_or(Map::is_empty);
        let further = additional
            .as_ref()
            .is_some_and(|schema| schema.is_object() && *schema != json!({}));
        if further
            || keywords.contains_key("patternProperties")
            || (none_named && additional != Some(json!(false)))
        {
            return Err(open());
        }
        let required = left.take("required");
        let required = required
            .as_ref()
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let mut properties = Map::new();
        for (name, schema) in named.into_iter().flatten() {
            let below = format!("{path}/properties/{name}");
            properties.insert(name.clone(), self.node(schema, &below, None)?);
        }
        if required.iter().any(|name| {
            !name
                .as_str()
                .is_some_and(|name| properties.contains_key(name))
        }) {
            return Err(open());
        }
        self.optional += properties
            .keys()
            .filter(|name| !required.contains(&json!(name)))
            .count();
        out.insert("properties".to_owned(), Value::Object(properties));
        if !required.is_empty() {
            out.insert("required".to_owned(), Value::Array(required));
        }
        out.insert("additionalProperties".to_owned(), json!(false));
        Ok(())
    }

    fn entries(
        &mut self,
        keywords: &Map<String, Value>,
        left: &mut Left,
        out: &mut Map<String, Value>,
        path: &str,
    ) -> Result<(), Unsendable> {
        if keywords.contains_key("prefixItems") {
            return Err(Unsendable::Combination(place(path)));
        }
        let below = format!("{path}/items");
        let items = left
            .take("items")
            .ok_or_else(|| Unsendable::Untyped(below.clone()))?;
        out.insert("items".to_owned(), self.node(&items, &below, None)?);
        // 0 and 1 are all the API takes; a higher one is still at least 1.
        if let Some(least) = keywords.get("minItems").and_then(Value::as_u64) {
            out.insert("minItems".to_owned(), json!(least.min(1)));
            if least <= 1 {
                left.take("minItems");
            }
        }
        Ok(())
    }
}

fn place(path: &str) -> String {
    if path.is_empty() {
        "the schema".to_owned()
    } else {
        path.to_owned()
    }
}
