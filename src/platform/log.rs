//! The log port: one line of JSON on the console, which Workers Logs takes apart by itself.

use serde_json::Value;
use wasm_bindgen::JsValue;
use worker::web_sys::console;

use crate::ports::Log;

/// `console.log`, or `warn` and `error` where the record's `level` says so.
#[derive(Clone, Copy)]
pub struct Console;

impl Log for Console {
    fn line(&self, record: Value) {
        let line = JsValue::from_str(&record.to_string());
        match record.get("level").and_then(Value::as_str) {
            Some("error") => console::error_1(&line),
            Some("warn") => console::warn_1(&line),
            _ => console::log_1(&line),
        }
    }
}
