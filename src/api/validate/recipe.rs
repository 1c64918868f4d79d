//! A recipe's part in the body of a submit.

use serde_json::{Map, Value};

use crate::api::http::problem::Faults;
use crate::core::plan::recipe;

/// Puts the recipe that a body names into it: its task where the body has none, its stages with the body's laid over
/// them. Gives back its name; what the body has is checked afterwards like any other.
pub fn apply(body: &mut Map<String, Value>, faults: &mut Faults) -> Option<&'static str> {
    // What is no text is named by the body's schema.
    let name = body.get("recipe").and_then(Value::as_str)?.to_owned();
    let Some(recipe) = recipe::find(&name) else {
        let known: Vec<&str> = recipe::all().iter().map(|recipe| recipe.name).collect();
        faults.add(
            "recipe",
            format!("is not known; there are: {}", known.join(", ")),
        );
        // That it would have brought a task need not be told on top of that.
        body.entry("task").or_insert_with(|| name.into());
        return None;
    };
    let task = body.entry("task").or_insert(Value::Null);
    if task.is_null() {
        *task = recipe.task.clone().into();
    }
    let over = match body.get_mut("stages") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(over)) => std::mem::take(over),
        // Named by the body's schema.
        Some(_) => return Some(recipe.name),
    };
    match recipe.with(&over) {
        Ok(stages) => {
            body.insert("stages".to_owned(), stages.into());
        }
        Err(wrong) => {
            for (position, message) in wrong {
                faults.add(format_args!("stages[{position}].name"), message);
            }
            // The rest is checked as if these were not there.
            let stages = recipe.stages.iter().cloned().map(Value::Object);
            body.insert("stages".to_owned(), stages.collect());
        }
    }
    Some(recipe.name)
}
