//! One cell of a table of results, safe to open in a spreadsheet.

use serde_json::Value;

/// Nothing for null, text as it is, numbers as numbers, anything nested as JSON.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => guarded(text),
        other => other.to_string(),
    }
}

/// A spreadsheet takes a cell for a formula that begins with one of these, after white space too, and model text comes from
/// strangers (OWASP: CSV injection). Where semicolons are its list separator, it cuts cells at them. An apostrophe before the
/// cell, or after the semicolon, makes it text. Numbers and phone numbers stay as they are.
pub fn guarded(text: &str) -> String {
    let begins = text.trim_start_matches(|c: char| c.is_whitespace() || INVISIBLE.contains(&c));
    let mut out = match is_formula(begins) || text.starts_with(['\t', '\r', '\n']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    if out.contains(';') {
        let mut parts = out.split(';');
        let mut cut = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            cut.push(';');
            if is_formula(part.trim_start_matches(['"', ' ', '\t', '\r', '\n'])) {
                cut.push('\'');
            }
            cut.push_str(part);
        }
        out = cut;
    }
    out
}

/// What programs may pass over at the beginning of a cell.
const INVISIBLE: [char; 5] = ['\u{0}', '\u{200b}', '\u{2060}', '\u{feff}', '"'];

/// Whether a spreadsheet would calculate this. A sign before nothing but digits and what numbers are written with is a number.
fn is_formula(text: &str) -> bool {
    match text.chars().next() {
        Some('=' | '@' | '\u{ff1d}' | '\u{ff20}' | '\u{ff0b}' | '\u{ff0d}') => true,
        Some('+' | '-') => !is_number(text),
        _ => false,
    }
}

/// `-42`, `-1.5e3`, `+49 170 1234567`, `+1 (555) 010-999`: one sign, then digits in groups; no operation between two numbers.
fn is_number(text: &str) -> bool {
    let rest = text.get(1..).unwrap_or_default();
    let digits = rest.trim_start_matches(['(', ' ']);
    if rest.parse::<f64>().is_ok() && !rest.starts_with(['+', '-']) {
        return digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    }
    // A phone number: `-` between groups would subtract, unless blanks or brackets keep it from being a formula.
    let is_phone = text.starts_with('+') && rest.contains(' ');
    is_phone
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && rest
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, ' ' | '(' | ')' | '-' | '/' | '.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_value_has_its_form() {
        for (value, expected) in [
            (json!(null), ""),
            (json!("a \"b\"\nc"), "a \"b\"\nc"),
            (json!(1.5), "1.5"),
            (json!(-3), "-3"),
            (json!(true), "true"),
            (json!(["=1"]), "[\"=1\"]"),
        ] {
            assert_eq!(cell(&value), expected);
        }
    }

    #[test]
    fn no_text_is_a_formula() {
        for text in [
            "=1+1",
            "+1+1",
            "-1-1",
            "-1+cmd|' /C calc'!A0",
            "@SUM(A1)",
            "\tx",
            "\rx",
            "\nx",
            " =1",
            "\t=1",
            "\n=1",
            "\u{feff}=1",
            "-",
            "+",
            "--1",
            "+SUM(1)",
            "\u{ff1d}1+1",
        ] {
            assert_eq!(cell(&json!(text)), format!("'{text}"));
        }
    }

    #[test]
    fn a_list_separator_begins_no_formula_and_numbers_stay_numbers() {
        for (text, expected) in [
            ("a;=1+1", "a;'=1+1"),
            ("a; =1;b;@x", "a;' =1;b;'@x"),
            ("a;\"=1", "a;'\"=1"),
            ("-42", "-42"),
            ("-1.5e3", "-1.5e3"),
            ("+42", "+42"),
            ("+49 170 1234567", "+49 170 1234567"),
            ("+1 (555) 010-999", "+1 (555) 010-999"),
            ("2026-11-30; yes", "2026-11-30; yes"),
        ] {
            assert_eq!(guarded(text), expected);
        }
    }
}
