//! The category that a value belongs to where values are counted or grouped.

use serde_json::{Number, Value};

use super::same_text::nfc;

/// What `null`, or a field that is not there, is counted as.
pub const NULL: &str = "null";
/// A value is counted by so many of its characters.
pub const MOST_CHARS: usize = 200;

/// What a value is counted, and grouped, as.
pub fn name(value: &Value) -> String {
    match value {
        Value::Null => NULL.to_owned(),
        Value::String(text) => nfc(text).chars().take(MOST_CHARS).collect(),
        Value::Number(number) => number_name(number),
        other => other.to_string().chars().take(MOST_CHARS).collect(),
    }
}

/// 1 and 1.0 are one number.
fn number_name(number: &Number) -> String {
    /// Up to here every whole double is exactly one integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(value) if number.is_f64() && value.fract() == 0.0 && value.abs() <= EXACT => {
            // `as` is exact here; minus zero is zero.
            (value as i64).to_string()
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_the_same_is_counted_as_one() {
        for same in [
            [json!(1), json!(1.0)],
            [json!(0), json!(-0.0)],
            [json!("Café"), json!("Cafe\u{301}")],
        ] {
            let [one, other] = same;
            assert_eq!(name(&one), name(&other));
        }
        assert_eq!(name(&json!(1.5)), "1.5");
        assert_eq!(name(&json!(1e300)), json!(1e300).to_string());
        assert_ne!(name(&json!("ﬁ")), name(&json!("fi")));
    }
}
