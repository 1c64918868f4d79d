//! The log port: one line of JSON on the console, which Workers Logs takes apart by itself.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use wasm_bindgen::JsValue;
use worker::web_sys::console;

use crate::app::support::log_budget::LogBudget;
use crate::ports::Log;

/// `console.log`, or `warn` and `error` where the record's `level` says so.
#[derive(Clone, Default)]
pub struct Console {
    /// Of an invocation that may write many lines; without one, all are written.
    budget: Option<Arc<Mutex<LogBudget>>>,
}

impl Console {
    /// For one invocation that works on jobs; [`Console::end`] ends it.
    pub fn of_invocation() -> Console {
        Console {
            budget: Some(Arc::default()),
        }
    }

    /// Says what was left out.
    pub fn end(&self) {
        let last = self.budget.as_ref().and_then(|budget| {
            let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
            budget.end()
        });
        if let Some(last) = last {
            write(&last, &last.to_string());
        }
    }
}

impl Log for Console {
    fn line(&self, record: Value) {
        let text = record.to_string();
        let admitted = self.budget.as_ref().is_none_or(|budget| {
            let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
            budget.admit(&record, text.len())
        });
        if admitted {
            write(&record, &text);
        }
    }
}

fn write(record: &Value, text: &str) {
    let line = JsValue::from_str(text);
    match record.get("level").and_then(Value::as_str) {
        Some("error") => console::error_1(&line),
        Some("warn") => console::warn_1(&line),
        _ => console::log_1(&line),
    }
}
