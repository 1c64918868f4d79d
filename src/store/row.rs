//! Reading values out of rows. What a row does not hold as expected reads as nothing or zero: a stored row
//! is outside input too and must never panic.

use serde_json::{Map, Value};

pub type Row = Map<String, Value>;

/// Typed access by column name.
pub trait Columns {
    fn text(&self, name: &str) -> String;
    fn maybe_text(&self, name: &str) -> Option<String>;
    fn int(&self, name: &str) -> i64;
    fn maybe_int(&self, name: &str) -> Option<i64>;
    fn real(&self, name: &str) -> f64;
    fn maybe_real(&self, name: &str) -> Option<f64>;

    fn count(&self, name: &str) -> u32 {
        u32::try_from(self.int(name)).unwrap_or(0)
    }

    fn tokens(&self, name: &str) -> u64 {
        u64::try_from(self.int(name)).unwrap_or(0)
    }

    fn flag(&self, name: &str) -> bool {
        self.int(name) != 0
    }

    /// A column that holds JSON.
    fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(&self.maybe_text(name)?).ok()
    }
}

impl Columns for Row {
    fn text(&self, name: &str) -> String {
        self.maybe_text(name).unwrap_or_default()
    }

    fn maybe_text(&self, name: &str) -> Option<String> {
        match self.get(name)? {
            Value::String(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn int(&self, name: &str) -> i64 {
        self.maybe_int(name).unwrap_or(0)
    }

    fn maybe_int(&self, name: &str) -> Option<i64> {
        let value = self.get(name)?;
        // `as` saturates; a whole number may arrive as a float from JavaScript.
        value
            .as_i64()
            .or_else(|| value.as_f64().map(|real| real as i64))
    }

    fn real(&self, name: &str) -> f64 {
        self.maybe_real(name).unwrap_or(0.0)
    }

    fn maybe_real(&self, name: &str) -> Option<f64> {
        self.get(name)?.as_f64()
    }
}
