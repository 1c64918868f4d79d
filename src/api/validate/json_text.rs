//! JSON that stays text: what is in it is found without making values of all of it.
//!
//! As values JSON takes some four times its bytes, so a large body is never all values at once: [`sound`] says that a text is
//! JSON, [`fields`] and [`elements`] then give the texts of what stands in it, one after the other. They rely on a sound text, and of any
//! other give something or nothing, but never fail.

use std::io;

use serde_json::Value;

use crate::api::http::body::not_json;
use crate::api::http::problem::ApiError;
use crate::core::value::strict_json;

/// The text in the bytes, which is JSON to its end; where it is not, the same is said of it as where it is parsed. Halves of
/// surrogate pairs are mended on the way.
pub fn sound(bytes: &mut [u8]) -> Result<&str, ApiError> {
    strict_json::mend_surrogates(bytes);
    strict_json::check(bytes).map_err(|error| not_json(bytes, &error))?;
    std::str::from_utf8(bytes).map_err(|_| ApiError::invalid_json("The body is not UTF-8."))
}

/// About how many values a text has: never fewer than it has.
pub fn values(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut values = 1;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at),
            b',' | b'[' | b'{' => {
                values += 1;
                at += 1;
            }
            _ => at += 1,
        }
    }
    values
}

/// The value of a sound text whose numbers keep their digits: what no float holds becomes a text.
pub fn exact_value(text: &str) -> Value {
    value(&strict_json::exact(text))
}

/// The value of a sound text.
pub fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// The names of an object with the texts of their values; `None` where the text is no object.
pub fn fields(text: &str) -> Option<impl Iterator<Item = (String, &str)>> {
    let mut rest = Walk::into(text, b'{')?;
    Some(std::iter::from_fn(move || {
        let name = rest.next()?;
        let name = serde_json::from_str(name).ok()?;
        Some((name, rest.next()?))
    }))
}

/// The texts of an array's elements; `None` where the text is no array.
pub fn elements(text: &str) -> Option<impl Iterator<Item = &str>> {
    Walk::into(text, b'[')
}

/// Over the values that stand directly in an array or an object, names among them.
struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    /// Behind the bracket with which the text begins.
    fn into(text: &'a str, bracket: u8) -> Option<Walk<'a>> {
        let text = text.trim_ascii_start();
        (text.as_bytes().first() == Some(&bracket)).then_some(Walk { text, at: 1 })
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        let between = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b':');
        while bytes.get(self.at).is_some_and(between) {
            self.at += 1;
        }
        let from = self.at;
        if matches!(bytes.get(from), None | Some(b']' | b'}')) {
            return None;
        }
        self.at = end_of_value(bytes, from);
        self.text.get(from..self.at)
    }
}

/// Behind the value that begins at `from`.
fn end_of_value(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(bytes, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                // Behind a number, the bracket belongs to what it stands in.
                if depth == 0 {
                    return at;
                }
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' if depth == 0 => return at,
            byte if depth == 0 && byte.is_ascii_whitespace() => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Behind the string that begins at `from`.
fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// How long a value is as JSON, without writing it anywhere.
pub fn json_len(value: &Value) -> u64 {
    let mut count = Count(0);
    // A counter takes everything.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

struct Count(u64);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::api::http::body;

    #[test]
    fn what_stands_in_a_text_is_found() {
        let text = " {\"a\" : [1, -2.5e3 ,true,null,\"x\\\"],}\\\\\", {\"b\":[]} ] ,\"\\u0062\":\"é\",\"c\":7}\n";
        let mut text = text.as_bytes().to_vec();
        let text = sound(&mut text).unwrap();
        assert!(values(text) >= 10);
        let found: Vec<(String, &str)> = fields(text).unwrap().collect();
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let first: Vec<&str> = elements(found[0].1).unwrap().collect();
        let expected = [
            "1",
            "-2.5e3",
            "true",
            "null",
            "\"x\\\"],}\\\\\"",
            "{\"b\":[]}",
        ];
        assert_eq!(first, expected);
        assert_eq!((found[1].1, found[2].1), ("\"é\"", "7"));
        assert!(fields("[1]").is_none() && elements(" {} ").is_none() && fields("").is_none());
        assert_eq!(elements("[ ]").unwrap().count(), 0);
    }

    #[test]
    fn what_is_not_json_is_said_as_by_the_parser() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let cases = [
            "",
            " \n",
            "{\n  \"a\": }",
            "{} x",
            "[1e400]",
            "{\"a\":1,\"a\":1}",
            "[01]",
            "[\"\u{1}\"]",
            "{\"a\" 1}",
            deep.as_str(),
        ];
        for text in cases {
            let said = sound(&mut text.as_bytes().to_vec()).map(|_| ());
            let parsed = body::parse(text.as_bytes()).map(|_| ());
            assert!(said.is_err(), "{text}");
            assert_eq!(said, parsed, "{text}");
        }
        assert_eq!(
            sound(&mut b"\"\xff\"".to_vec()).map(|_| ()),
            body::parse(b"\"\xff\"").map(|_| ())
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
            "[\\[\\]{},:\"\\\\ ]*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((".*", inner), 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_added(list in prop::collection::vec(any_json(), 0..6), pretty: bool) {
            let whole = json!(list);
            let text = if pretty { serde_json::to_string_pretty(&whole).unwrap() } else { whole.to_string() };
            let mut text = text.into_bytes();
            let text = sound(&mut text).unwrap();
            let read: Vec<Value> = elements(text).unwrap().map(value).collect();
            prop_assert_eq!(json!(read), value(text));
            let map: serde_json::Map<String, Value> = list.into_iter().enumerate().map(|(n, v)| (format!("{n}\"{{"), v)).collect();
            let text = if pretty { serde_json::to_string_pretty(&map).unwrap() } else { json!(map).to_string() };
            let read: serde_json::Map<String, Value> = fields(&text).unwrap().map(|(name, v)| (name, value(v))).collect();
            prop_assert_eq!(json!(read), value(&text));
        }

        #[test]
        fn no_text_is_too_broken_to_be_walked_over(text in "[\\[\\]{},:\"\\\\ a1é]*") {
            let _ = fields(&text).map(Iterator::count);
            let _ = elements(&text).map(Iterator::count);
        }
    }
}
