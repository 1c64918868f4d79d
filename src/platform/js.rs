//! What JavaScript threw, as text. Nothing here can throw again or trap.

use js_sys::Error;
use wasm_bindgen::{JsCast, JsValue};

/// The longest text that is taken over from an error; more of it helps nobody who reads a log.
const MAX_TEXT: usize = 500;

/// The message of an error, with its cause's where that says something else. Values that are no errors
/// are described by their debug form.
pub fn text(thrown: &JsValue) -> String {
    let mut text = message(thrown);
    if let Some(error) = thrown.dyn_ref::<Error>() {
        let cause = error.cause();
        if !cause.is_null() && !cause.is_undefined() {
            let cause = message(&cause);
            if !text.contains(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
        }
    }
    bounded(text)
}

/// A value in its debug form: for the record of a message that is no text.
pub fn debug(value: &JsValue) -> String {
    bounded(format!("{value:?}"))
}

fn message(thrown: &JsValue) -> String {
    match thrown.dyn_ref::<Error>() {
        Some(error) => String::from(error.message()),
        None => thrown.as_string().unwrap_or_else(|| format!("{thrown:?}")),
    }
}

fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}
