//! Response headers as the pure half sees them: names in lower case, values as text.
//!
//! The platform fills this from whatever its `fetch` returns; [`crate::claude::rate`] and
//! [`crate::claude::error`] read it. Times are read here because two headers carry them.

use chrono::DateTime;

/// The headers of one response. Lookups ignore the letter case of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// No headers: for errors that have no response.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The first value of a header, without surrounding blanks.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A header that is a whole number; anything else is as good as absent.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// The id Anthropic gave the request: what their support asks for.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        self.get("request-id").and_then(plain_id)
    }

    /// How long the server asks us to wait, in milliseconds from `now_ms`: `retry-after-ms`, else
    /// `retry-after` in seconds (fractions allowed) or as an HTTP date.
    ///
    /// A wait of zero or one in the past is `Some(0)`. Waits beyond [`MAX_RETRY_AFTER_MS`] are cut
    /// to it, as no limit of the API is longer.
    #[must_use]
    pub fn retry_after_ms(&self, now_ms: u64) -> Option<u64> {
        let wait = self
            .get("retry-after-ms")
            .and_then(|text| millis(text, 1.0))
            .or_else(|| {
                let text = self.get("retry-after")?;
                millis(text, 1_000.0).or_else(|| Some(http_date_ms(text)?.saturating_sub(now_ms)))
            })?;
        Some(wait.min(MAX_RETRY_AFTER_MS))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// 32 days: a monthly limit is the longest there is.
pub const MAX_RETRY_AFTER_MS: u64 = 32 * 24 * 3_600 * 1_000;

/// A non-negative decimal number times `scale`, in whole milliseconds, rounded up so that we never
/// come back too early.
fn millis(text: &str, scale: f64) -> Option<u64> {
    let number: f64 = text.parse().ok()?;
    // The cast saturates; NaN and infinities are refused before it.
    (number.is_finite() && number >= 0.0).then(|| (number * scale).ceil() as u64)
}

/// An RFC 3339 time as Unix milliseconds; times before 1970 do not occur and are refused.
#[must_use]
pub fn rfc3339_ms(text: &str) -> Option<u64> {
    let time = DateTime::parse_from_rfc3339(text.trim()).ok()?;
    u64::try_from(time.timestamp_millis()).ok()
}

/// An HTTP date (`Wed, 21 Oct 2026 07:28:00 GMT`) as Unix milliseconds.
fn http_date_ms(text: &str) -> Option<u64> {
    let time = DateTime::parse_from_rfc2822(text.trim()).ok()?;
    u64::try_from(time.timestamp_millis()).ok()
}

/// An id fit for logs: short, printable, without blanks. Anything else is not an id.
pub(crate) fn plain_id(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-22T12:00:00Z
    const NOW: u64 = 1_795_348_800_000;

    fn one(name: &str, value: &str) -> Headers {
        [(name, value)].into_iter().collect()
    }

    #[test]
    fn names_are_found_in_any_case_and_values_are_trimmed() {
        let headers = one("Request-Id", " req_011 ");
        assert_eq!(headers.request_id().as_deref(), Some("req_011"));
        assert_eq!(headers.get("REQUEST-ID"), Some("req_011"));
        assert_eq!(headers.get("other"), None);
    }

    #[test]
    fn a_request_id_that_is_no_id_is_dropped() {
        assert_eq!(one("request-id", "").request_id(), None);
        assert_eq!(one("request-id", "a b").request_id(), None);
        assert_eq!(one("request-id", &"x".repeat(129)).request_id(), None);
    }

    #[test]
    fn retry_after_in_every_form() {
        let cases = [
            ("retry-after-ms", "1500", Some(1_500)),
            ("retry-after", "7", Some(7_000)),
            ("retry-after", "0.25", Some(250)),
            ("retry-after", "0", Some(0)),
            ("retry-after", "Sun, 22 Nov 2026 12:00:30 GMT", Some(30_000)),
            ("retry-after", "Sun, 22 Nov 2026 11:00:00 GMT", Some(0)),
            ("retry-after", "-3", None),
            ("retry-after", "NaN", None),
            ("retry-after", "soon", None),
            ("retry-after", "1e300", Some(MAX_RETRY_AFTER_MS)),
        ];
        for (name, value, expected) in cases {
            assert_eq!(
                one(name, value).retry_after_ms(NOW),
                expected,
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn milliseconds_win_over_seconds() {
        let headers: Headers = [("retry-after", "9"), ("retry-after-ms", "20")]
            .into_iter()
            .collect();
        assert_eq!(headers.retry_after_ms(NOW), Some(20));
    }

    #[test]
    fn rfc3339_with_and_without_offset() {
        assert_eq!(rfc3339_ms("2026-11-22T12:00:00Z"), Some(NOW));
        assert_eq!(rfc3339_ms("2026-11-22T13:00:00+01:00"), Some(NOW));
        assert_eq!(rfc3339_ms("2026-11-22T12:00:00.250Z"), Some(NOW + 250));
        assert_eq!(rfc3339_ms("1969-12-31T23:59:59Z"), None);
        assert_eq!(rfc3339_ms("tomorrow"), None);
    }

    proptest! {
        #[test]
        fn no_header_value_panics(name in "(?i)retry-after(-ms)?|request-id", value in "\\PC{0,60}") {
            let headers = one(&name, &value);
            let _ = headers.retry_after_ms(NOW);
            let _ = headers.request_id();
            let _ = rfc3339_ms(&value);
        }
    }
}
