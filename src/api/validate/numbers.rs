//! Whole numbers that are written as decimals.

use serde_json::{Map, Value};

/// To JSON Schema `5.0` is a whole number, to serde it is not: the fields that want one get `5`.
pub fn whole_numbers(body: &mut Map<String, Value>) {
    let limits = body.get_mut("limits").and_then(Value::as_object_mut);
    limits.into_iter().for_each(all_whole);
    let stages = body.get_mut("stages").and_then(Value::as_array_mut);
    for stage in stages.into_iter().flatten() {
        if let Some(tokens) = stage.get_mut("max_tokens") {
            whole(tokens);
        }
        if let Some(chunk) = stage.get_mut("chunk").and_then(Value::as_object_mut) {
            all_whole(chunk);
        }
    }
}

pub fn all_whole(map: &mut Map<String, Value>) {
    map.values_mut().for_each(whole);
}

fn whole(value: &mut Value) {
    // Exact up to 2^53; every bound lies far below.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(number) = value.as_f64()
        && value.is_f64()
        && number.fract() == 0.0
        && (0.0..EXACT).contains(&number)
    {
        *value = Value::from(number as u64);
    }
}
