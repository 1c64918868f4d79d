//! JSON from outside: read with a budget, with no name twice in an object, and without a digit lost.
//!
//! A value takes up to 50 times the bytes that it is written in (`[0,0,…]`), so what becomes values has a budget of them.
//! Parsers differ in what they make of a name that stands twice; here it is refused, by its path. What a 64-bit float cannot
//! hold goes on as the text it was written as ([`exact`]).

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The value in the bytes.
///
/// # Errors
/// Where they are no JSON, have more values than `most`, or an object has a name twice.
pub fn read(bytes: &[u8], most: usize) -> Result<Value, serde_json::Error> {
    run(bytes, most, true)
}

/// The same, and nothing is kept.
///
/// # Errors
/// As of [`read`], without a bound on values.
pub fn check(bytes: &[u8]) -> Result<(), serde_json::Error> {
    run(bytes, usize::MAX, false).map(|_| ())
}

fn run(bytes: &[u8], most: usize, keep: bool) -> Result<Value, serde_json::Error> {
    let mut reading = Reading {
        left: most,
        most,
        keep,
        path: Vec::new(),
    };
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let value = Seed(&mut reading).deserialize(&mut from)?;
    from.end()?;
    Ok(value)
}

struct Reading {
    left: usize,
    most: usize,
    keep: bool,
    path: Vec<Step>,
}

enum Step {
    Name(String),
    Index(usize),
}

impl Reading {
    /// `input.items[3]`, or the whole.
    fn place(&self) -> String {
        let mut place = String::new();
        for step in &self.path {
            match step {
                Step::Index(index) => place.push_str(&format!("[{index}]")),
                Step::Name(name) => {
                    if !place.is_empty() {
                        place.push('.');
                    }
                    place.extend(name.chars().take(64));
                }
            }
        }
        if place.is_empty() {
            "the object".to_owned()
        } else {
            format!("`{}`", place.escape_debug())
        }
    }
}

struct Seed<'a>(&'a mut Reading);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        let Some(left) = self.0.left.checked_sub(1) else {
            let most = self.0.most;
            return Err(D::Error::custom(format!("it has more than {most} values")));
        };
        self.0.left = left;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(if self.0.keep {
            Value::String(text.to_owned())
        } else {
            Value::Null
        })
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        let mut index = 0;
        loop {
            self.0.path.push(Step::Index(index));
            let Some(value) = from.next_element_seed(Seed(self.0))? else {
                break;
            };
            self.0.path.pop();
            index += 1;
            if self.0.keep {
                list.push(value);
            }
        }
        self.0.path.pop();
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut names = Names::default();
        while let Some(name) = from.next_key::<Cow<'_, str>>()? {
            if !names.add(&name) {
                let name: String = name.chars().take(64).collect();
                let place = self.0.place();
                return Err(A::Error::custom(format!("{place} has {name:?} twice")));
            }
            self.0.path.push(Step::Name(name.into_owned()));
            let value = from.next_value_seed(Seed(self.0))?;
            let name = self.0.path.pop();
            if let (true, Some(Step::Name(name))) = (self.0.keep, name) {
                map.insert(name, value);
            }
        }
        Ok(Value::Object(map))
    }
}

/// Names of one object, by their hashes: few are searched, many are looked up.
#[derive(Default)]
struct Names {
    few: Vec<u64>,
    many: HashSet<u64>,
}

impl Names {
    fn add(&mut self, name: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let hash = hasher.finish();
        if self.few.len() < 16 {
            let new = !self.few.contains(&hash);
            self.few.push(hash);
            return new;
        }
        !self.few.contains(&hash) && self.many.insert(hash)
    }
}

/// Half of a pair of surrogates, alone, is no character: `\ud83d` becomes `\ufffd`, in its place. Answers with how many
/// were.
pub fn mend_surrogates(json: &mut [u8]) -> usize {
    let mut mended = 0;
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        if *byte != b'\\' {
            at += 1;
            continue;
        }
        match (escaped(json, at), escaped(json, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(0xd800..=0xdfff), _) => {
                if let Some(place) = json.get_mut(at + 2..at + 6) {
                    place.copy_from_slice(b"fffd");
                }
                mended += 1;
                at += 6;
            }
            (Some(_), _) => at += 6,
            // Whatever is escaped is no backslash that begins something.
            (None, _) => at += 2,
        }
    }
    mended
}

/// The number of a `\uXXXX`.
fn escaped(json: &[u8], at: usize) -> Option<u32> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

/// The text with each number quoted that would lose digits on its way.
pub fn exact(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut out = String::new();
    let mut done = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let more = bytes.get(at..).unwrap_or_default();
                let number = |b: &&u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let end = at + more.iter().take_while(number).count();
                let token = json.get(at..end).unwrap_or_default();
                if loses_digits(token) {
                    out.push_str(json.get(done..at).unwrap_or_default());
                    out.extend(["\"", token, "\""]);
                    done = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    if done == 0 {
        return Cow::Borrowed(json);
    }
    out.push_str(json.get(done..).unwrap_or_default());
    Cow::Owned(out)
}

fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// Whether a number of JSON comes out of the parser with other digits.
fn loses_digits(token: &str) -> bool {
    // Fifteen digits always fit.
    if token.len() <= 15 && !token.contains(['e', 'E']) {
        return false;
    }
    if serde_json::from_str::<i64>(token).is_ok() || serde_json::from_str::<u64>(token).is_ok() {
        return false;
    }
    // What is no number, or too large for one, the parser will say.
    serde_json::from_str::<f64>(token)
        .is_ok_and(|read| digits(&format!("{read:e}")) != digits(token))
}

/// The digits that count, and the exponent of the first of them.
fn digits(token: &str) -> (String, i64) {
    let token = token.trim_start_matches('-');
    let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let zeros = all.bytes().take_while(|b| *b == b'0').count();
    let counted = all.trim_matches('0').to_owned();
    if counted.is_empty() {
        return (counted, 0);
    }
    let exponent = exponent.parse::<i64>().unwrap_or(i64::MAX / 2);
    let first = i64::try_from(whole.len()).unwrap_or(0) - 1 - i64::try_from(zeros).unwrap_or(0);
    (counted, exponent.saturating_add(first))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_that_is_there_twice_is_refused_by_its_path() {
        let said = |text: &str| read(text.as_bytes(), 100).unwrap_err().to_string();
        assert_eq!(
            said(r#"{"id":"A-2","id":"A-3"}"#),
            r#"the object has "id" twice at line 1 column 16"#
        );
        assert!(
            said(r#"{"input":{"items":[{"a":1},{"b":{"a":1,"a":1}}]}}"#)
                .starts_with(r#"`input.items[1].b` has "a" twice"#)
        );
        let many: Vec<String> = (0..100).map(|n| format!("\"n{n}\":0")).collect();
        let twice = format!("{{{},\"n77\":1}}", many.join(","));
        assert!(
            check(twice.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("\"n77\" twice")
        );
        assert!(check(br#"[{"a":1},{"a":1}]"#).is_ok());
    }

    #[test]
    fn the_budget_counts_values() {
        assert_eq!(
            read(b"[0,0,{\"a\":0}]", 5).unwrap(),
            json!([0, 0, {"a": 0}])
        );
        let error = read(b"[0,0,{\"a\":0}]", 4).unwrap_err().to_string();
        assert!(error.starts_with("it has more than 4 values"), "{error}");
    }

    #[test]
    fn half_a_pair_becomes_the_replacement_character() {
        for (given, expected, count) in [
            (r#""cut \ud83d""#, r#""cut \ufffd""#, 1),
            (
                r#""\ude00\ud83d\ude00 \uDC00x""#,
                r#""\ufffd\ud83d\ude00 \ufffdx""#,
                2,
            ),
            (r#""\\ud83d é \n""#, r#""\\ud83d é \n""#, 0),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#, 1),
            ("\"\\", "\"\\", 0),
        ] {
            let mut bytes = given.as_bytes().to_vec();
            assert_eq!(mend_surrogates(&mut bytes), count, "{given}");
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        for (given, expected) in [
            (
                r#"{"huge":12345678901234567890123,"p":0.12345678901234567891}"#,
                r#"{"huge":"12345678901234567890123","p":"0.12345678901234567891"}"#,
            ),
            (
                r#"[1, -2.50, 1e3, 18446744073709551615]"#,
                r#"[1, -2.50, 1e3, 18446744073709551615]"#,
            ),
            (
                r#"["1234567890123456789012\"3", 0.10000000000000000]"#,
                r#"["1234567890123456789012\"3", 0.10000000000000000]"#,
            ),
            ("-123456789012345678901", "\"-123456789012345678901\""),
        ] {
            assert_eq!(exact(given), expected);
        }
    }

    proptest! {
        #[test]
        fn every_number_comes_out_with_its_digits(whole in "(0|-?[1-9][0-9]{0,25})", fraction in "(|\\.[0-9]{1,25})", exponent in "(|e[0-9]{1,2})") {
            let token = format!("{whole}{fraction}{exponent}");
            let value: Value = serde_json::from_str(&exact(&token)).unwrap();
            match value {
                Value::String(text) => prop_assert_eq!(text, token),
                other => prop_assert_eq!(digits(&other.to_string()), digits(&token)),
            }
        }

        #[test]
        fn nothing_is_too_broken(text in "[\\[\\]{},:\"\\\\ud8cf0-9.eE-]*") {
            let _ = exact(&text);
            let mut bytes = text.clone().into_bytes();
            mend_surrogates(&mut bytes);
            prop_assert_eq!(bytes.len(), text.len());
            let read = read(text.as_bytes(), 1_000);
            prop_assert_eq!(read.is_ok(), check(text.as_bytes()).is_ok());
        }
    }
}
