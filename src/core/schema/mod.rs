//! JSON Schema: compile one, check a value against it, and say readably what is wrong.
//!
//! This is the check that decides whether a model's output is a result; the API's own schema
//! enforcement is only a help on the way. The whole of JSON Schema counts (draft 2020-12 unless
//! `$schema` says otherwise, formats included), with these bounds, since schemas come from callers
//! and values from a model: nothing is ever loaded from a file or URL, references stay inside the
//! schema, and size and depth are limited so that no schema can exhaust stack or processor time.

use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

mod bounds;
mod enums;
mod faults;
mod patterns;
#[cfg(test)]
mod tests;

pub use self::enums::normalise_enums;

/// What is wrong, and where. The path is a JSON Pointer, empty for the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub path: String,
    pub message: String,
}

impl Fault {
    /// Both parts are cut to a length that fits a prompt or a problem document.
    #[must_use]
    pub fn new(path: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        Self {
            path: cut(path.as_ref(), 200),
            message: cut(message.as_ref(), 300),
        }
    }

    /// The same fault seen from further up.
    #[must_use]
    pub fn below(self, prefix: &str) -> Self {
        Self::new(format!("{prefix}{}", self.path), self.message)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "at {}: {}", self.path, self.message)
        }
    }
}

/// At most so many faults are reported: a model mends the first few, a person reads fewer.
pub const MAX_FAULTS: usize = 20;
/// Values nested deeper are refused unread; see [`bounds`] for the arithmetic.
pub const MAX_VALUE_DEPTH: usize = 24;

/// A schema ready to check values.
pub struct Schema {
    compiled: OnceLock<Compiled>,
    source: Value,
}

struct Compiled {
    schemas: boon::Schemas,
    index: boon::SchemaIndex,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.source).finish()
    }
}

/// The schema's own address: a name that cannot exist, for nothing is ever fetched.
const HOME: &str = "https://schema.invalid/schema.json";

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// When it is no schema, refers outside itself, or is too large; one fault for each reason,
    /// with paths into the schema.
    pub fn compile(source: &Value) -> Result<Self, Vec<Fault>> {
        let schema = Schema::found_sound(source.clone());
        schema.compiled()?;
        Ok(schema)
    }

    /// One that was compiled before: again when it is first used, for whoever moves a job on does not check results, and
    /// compiling was an eighth of all that the engine did.
    #[must_use]
    pub fn found_sound(source: Value) -> Self {
        Self {
            compiled: OnceLock::new(),
            source,
        }
    }

    /// It compiles.
    pub fn is_usable(&self) -> bool {
        self.compiled().is_ok()
    }

    fn compiled(&self) -> Result<&Compiled, Vec<Fault>> {
        if let Some(known) = self.compiled.get() {
            return Ok(known);
        }
        let compiled = compiled(&self.source)?;
        Ok(self.compiled.get_or_init(|| compiled))
    }

    /// Checks a value as it stands.
    ///
    /// # Errors
    /// At most [`MAX_FAULTS`] faults, with paths into the value.
    pub fn check(&self, value: &Value) -> Result<(), Vec<Fault>> {
        if bounds::deeper_than(value, MAX_VALUE_DEPTH) {
            let message = format!("nested more than {MAX_VALUE_DEPTH} levels deep");
            return Err(vec![Fault::new("", message)]);
        }
        let compiled = self.compiled()?;
        compiled
            .schemas
            .validate(value, compiled.index)
            .map_err(|error| faults::of(&error, value))
    }

    /// Checks a model's output, first putting right what the API does not guarantee: the letter
    /// case of enum and const strings. A value that is valid comes back untouched.
    ///
    /// # Errors
    /// The faults that remain after that.
    pub fn admit(&self, mut value: Value) -> Result<Value, Vec<Fault>> {
        let Err(faults) = self.check(&value) else {
            return Ok(value);
        };
        if !normalise_enums(&self.source, &mut value) {
            return Err(faults);
        }
        self.check(&value)?;
        Ok(value)
    }

    /// The schema as it was given.
    #[must_use]
    pub fn source(&self) -> &Value {
        &self.source
    }
}

/// The format `regex` under a name that may be registered: the checker's own work grows with the square of the value.
const PATTERN_FORMAT: &str = "ecma-pattern";

/// What boon makes of a schema.
fn compiled(source: &Value) -> Result<Compiled, Vec<Fault>> {
    let compilable = bounds::check(source)?;
    let mut compiler = boon::Compiler::new();
    compiler.set_default_draft(boon::Draft::V2020_12);
    compiler.enable_format_assertions();
    compiler.register_format(boon::Format {
        name: PATTERN_FORMAT,
        func: patterns::is_pattern,
    });
    compiler.use_loader(Box::new(NoLoader));
    compiler
        .add_resource(HOME, compilable)
        .map_err(|error| vec![faults::of_compilation(&error)])?;
    let mut schemas = boon::Schemas::new();
    let index = compiler
        .compile(HOME, &mut schemas)
        .map_err(|error| match error {
            boon::CompileError::ValidationError { src, .. } => faults::of(&src, source),
            other => vec![faults::of_compilation(&other)],
        })?;
    Ok(Compiled { schemas, index })
}

/// Refuses every reference that would leave the schema.
struct NoLoader;

impl boon::UrlLoader for NoLoader {
    fn load(&self, _url: &str) -> Result<Value, Box<dyn std::error::Error>> {
        Err("nothing outside the schema is loaded".into())
    }
}

/// At most so many characters, with an ellipsis for the rest.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}
