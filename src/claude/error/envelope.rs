//! The API's error envelope, and what can be read out of its wording.

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use serde_json::Value;

use crate::claude::headers::{plain_id, rfc3339_ms};

/// An error body is a few hundred bytes; what is longer is not ours to parse.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// Enough for one sentence of the API's.
const MAX_MESSAGE_CHARS: usize = 300;

/// `{"type":"error","error":{"type","message","details"},"request_id"}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    /// `rate_limit_error` and the like.
    pub kind: String,
    pub message: String,
    /// The machine code, where the API gives one.
    pub error_code: Option<String>,
    pub request_id: Option<String>,
}

impl Envelope {
    /// `None` for a body that is not the API's: HTML, nothing, somebody else's JSON.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let value: Value =
            serde_json::from_slice(body.get(..MAX_ERROR_BYTES).unwrap_or(body)).ok()?;
        let error = value.get("error")?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            kind: text(error.get("type"))?,
            message: text(error.get("message")).unwrap_or_default(),
            error_code: text(error.pointer("/details/error_code")),
            request_id: value
                .get("request_id")
                .and_then(Value::as_str)
                .and_then(plain_id),
        })
    }
}

/// What a body that is not the API's says for people: the words of other servers' errors, a page's title, or the beginning
/// of the text.
pub(super) fn words(body: &[u8]) -> Option<String> {
    const MOST_CHARS: usize = 200;
    let text = String::from_utf8_lossy(body.get(..MAX_ERROR_BYTES).unwrap_or(body));
    let said = match serde_json::from_str::<Value>(&text) {
        Ok(value) => ["detail", "message", "error", "errors"]
            .iter()
            .find_map(|name| said_in(value.get(name)?)),
        Err(_) => title(&text),
    };
    let said = short(said.as_deref().unwrap_or(&text));
    let said: String = said.chars().take(MOST_CHARS).collect();
    (!said.is_empty()).then_some(said)
}

/// The words in an error of some other form: a text, an object that has one, or a list of such.
fn said_in(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => (!text.trim().is_empty()).then(|| text.clone()),
        Value::Array(list) => {
            let said: Vec<String> = list.iter().take(3).filter_map(said_in).collect();
            (!said.is_empty()).then(|| said.join("; "))
        }
        Value::Object(fields) => ["message", "msg", "detail", "error"]
            .iter()
            .find_map(|name| fields.get(*name)?.as_str().map(str::to_owned)),
        _ => None,
    }
}

/// The title of an HTML page.
fn title(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let begin = lower.find("<title")?;
    let begin = begin + lower.get(begin..)?.find('>')? + 1;
    let end = begin + lower.get(begin..)?.find("</title")?;
    text.get(begin..end).map(str::to_owned)
}

impl Envelope {
    /// The status that an error of this kind has where it is a response of its own.
    pub(super) fn status(&self) -> u16 {
        match self.kind.as_str() {
            "invalid_request_error" => 400,
            "authentication_error" => 401,
            "billing_error" => 402,
            "permission_error" => 403,
            "not_found_error" => 404,
            "request_too_large" => 413,
            "rate_limit_error" => 429,
            "timeout_error" => 504,
            "overloaded_error" => 529,
            _ => 500,
        }
    }
}

/// A sentence fit for a row and a log: one line, bounded, without anything shaped like a key.
pub(super) fn short(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let mut line = String::new();
    for word in words.filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(if word.contains("sk-ant-") {
            "[redacted]"
        } else {
            word
        });
        if line.len() > MAX_MESSAGE_CHARS * 4 {
            break;
        }
    }
    if line.chars().count() > MAX_MESSAGE_CHARS {
        line = line.chars().take(MAX_MESSAGE_CHARS - 1).collect();
        line.push('…');
    }
    line
}

/// Midnight UTC of the first of next month: when a tier's monthly cap starts anew.
pub(super) fn next_month_ms(now_ms: u64) -> Option<u64> {
    let now = DateTime::<Utc>::from_timestamp_millis(i64::try_from(now_ms).ok()?)?;
    let (year, month) = match now.month() {
        12 => (now.year().checked_add(1)?, 1),
        month => (now.year(), month + 1),
    };
    let first = NaiveDate::from_ymd_opt(year, month, 1)?.and_hms_opt(0, 0, 0)?;
    u64::try_from(first.and_utc().timestamp_millis()).ok()
}

/// The time in `You will regain access on 2026-12-01 at 00:00 UTC.`
pub(super) fn regained_at_ms(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once("regain access on ")?;
    let date = rest.get(..10)?;
    let time = rest
        .get(10..)
        .and_then(|rest| rest.strip_prefix(" at "))
        .and_then(|rest| rest.get(..5))
        .unwrap_or("00:00");
    rfc3339_ms(&format!("{date}T{time}:00Z"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_of_next_month() {
        // 2026-11-22T12:00Z, and the last millisecond of a year.
        assert_eq!(
            next_month_ms(1_795_348_800_000),
            rfc3339_ms("2026-12-01T00:00:00Z")
        );
        assert_eq!(
            next_month_ms(1_798_761_599_999),
            rfc3339_ms("2027-01-01T00:00:00Z")
        );
        assert_eq!(next_month_ms(u64::MAX), None);
    }

    #[test]
    fn the_date_in_a_usage_limit() {
        let text = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.";
        assert_eq!(regained_at_ms(text), rfc3339_ms("2026-12-01T00:00:00Z"));
        assert_eq!(
            regained_at_ms("You will regain access on 2026-12-01."),
            rfc3339_ms("2026-12-01T00:00:00Z")
        );
        assert_eq!(
            regained_at_ms("You will regain access on Tuésdäy, perhaps"),
            None
        );
        assert_eq!(regained_at_ms(""), None);
    }

    #[test]
    fn messages_are_short_one_line_and_without_keys() {
        assert_eq!(short("a\n\tb\u{0} c"), "a b c");
        assert_eq!(
            short("bad key sk-ant-api03-abc, sorry"),
            "bad key [redacted] sorry"
        );
        let long = short(&"wörter ".repeat(200));
        assert_eq!(long.chars().count(), MAX_MESSAGE_CHARS);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn the_words_of_other_servers_errors() {
        let cases = [
            (
                r#"{"detail":[{"loc":["body"],"msg":"Field required"},{"msg":"Extra"}]}"#,
                "Field required; Extra",
            ),
            (r#"{"message":"model is loading"}"#, "model is loading"),
            (r#"{"error":"no such model"}"#, "no such model"),
            (r#"{"error":{"message":"bad","code":400}}"#, "bad"),
            (
                "<html><head><TITLE>502 Bad\n Gateway</title></head><body>x</body></html>",
                "502 Bad Gateway",
            ),
            ("upstream connect error", "upstream connect error"),
        ];
        for (body, expected) in cases {
            assert_eq!(words(body.as_bytes()).as_deref(), Some(expected), "{body}");
        }
        assert_eq!(words(b" \n"), None);
        assert!(words("é".repeat(500).as_bytes()).is_some_and(|text| text.chars().count() == 200));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,400}", body in prop::collection::vec(any::<u8>(), 0..200), now in any::<u64>()) {
            prop_assert!(short(&text).chars().count() <= MAX_MESSAGE_CHARS);
            let _ = regained_at_ms(&format!("regain access on {text}"));
            let _ = Envelope::read(&body);
            let _ = words(&body);
            let _ = words(text.as_bytes());
            let _ = next_month_ms(now);
        }
    }
}
