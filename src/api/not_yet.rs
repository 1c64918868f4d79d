//! Fields that the API documents and this version does not act on.
//!
//! Taking one and ignoring it would be a promise not kept; refusing one that asks for nothing (`null`, or its
//! default) would break clients that write every field. So the harmless values are taken out of the body
//! before it is checked, and anything else is refused in a sentence that says so.

use serde_json::{Map, Value};

use super::problem::Faults;
use super::shape::join;

/// A field with the values that ask for nothing.
struct Field {
    name: &'static str,
    harmless: fn(&Value) -> bool,
    message: &'static str,
}

const BODY: [Field; 2] = [
    Field {
        name: "delivery",
        harmless: |value| value.is_null() || value == "live",
        message: "this version delivers `live` only",
    },
    Field {
        name: "context",
        harmless: Value::is_null,
        message: "this version takes no context",
    },
];

const STAGE: [Field; 1] = [Field {
    name: "context",
    harmless: empty,
    message: "this version takes no context",
}];

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Takes all such fields out of the body of a submit.
pub fn set_aside(body: &mut Map<String, Value>, faults: &mut Faults) {
    take_out(body, "", &BODY, faults);
    set_aside_in_stages(body, faults);
}

/// Takes those of the stages out of a body that has `stages`.
pub fn set_aside_in_stages(body: &mut Map<String, Value>, faults: &mut Faults) {
    let stages = body.get_mut("stages").and_then(Value::as_array_mut);
    for (index, stage) in stages.into_iter().flatten().enumerate() {
        let Some(stage) = stage.as_object_mut() else {
            continue;
        };
        let here = format!("stages[{index}]");
        take_out(stage, &here, &STAGE, faults);
    }
}

fn take_out(map: &mut Map<String, Value>, path: &str, fields: &[Field], faults: &mut Faults) {
    for field in fields {
        if let Some(value) = map.shift_remove(field.name)
            && !(field.harmless)(&value)
        {
            faults.add(join(path, field.name), field.message);
        }
    }
}
