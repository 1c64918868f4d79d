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

const BODY: [Field; 1] = [Field {
    name: "delivery",
    harmless: |value| value.is_null() || value == "live",
    message: "this version delivers `live` only",
}];

/// Takes all such fields out of the body of a submit.
pub fn set_aside(body: &mut Map<String, Value>, faults: &mut Faults) {
    take_out(body, "", &BODY, faults);
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
