//! Times: milliseconds since the epoch inside, RFC 3339 UTC outside.

use chrono::{DateTime, SecondsFormat, Utc};

/// `2026-11-22T18:00:00.000Z`; a time that no calendar holds is shown as the epoch.
pub fn rfc3339(ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms)
        .unwrap_or(DateTime::UNIX_EPOCH)
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Milliseconds since the epoch of a time in RFC 3339, in any zone.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|time| time.timestamp_millis())
}

/// The UTC day a moment falls in, as `YYYY-MM-DD`: what a day's spending cap counts by.
pub fn day(ms: i64) -> String {
    let mut text = rfc3339(ms);
    text.truncate(10);
    text
}

/// Seconds in an offset as it is written for people: `GMT`, `GMT+05:30`, `GMT-00:44:30`.
pub fn gmt_offset(text: &str) -> Option<i32> {
    let rest = text.strip_prefix("GMT")?;
    if rest.is_empty() {
        return Some(0);
    }
    let (sign, rest) = match (rest.strip_prefix('+'), rest.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (_, Some(rest)) => (-1, rest),
        _ => return None,
    };
    let mut seconds = 0;
    let mut unit = 3_600;
    for part in rest.split(':') {
        seconds += i32::from(part.parse::<u8>().ok()?) * unit;
        unit /= 60;
    }
    Some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_they_are_written() {
        let cases = [
            ("GMT", Some(0)),
            ("GMT+05:30", Some(19_800)),
            ("GMT-03:00", Some(-10_800)),
            ("GMT-00:44:30", Some(-2_670)),
            ("GMT+", None),
            ("UTC+1", None),
            ("GMT 1", None),
            ("", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(gmt_offset(text), seconds, "{text}");
        }
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(rfc3339(1_795_370_400_123), "2026-11-22T18:00:00.123Z");
        assert_eq!(day(1_795_370_400_123), "2026-11-22");
        assert_eq!(rfc3339(i64::MAX), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            parse_rfc3339("2026-11-22T19:00:00.123+01:00"),
            Some(1_795_370_400_123)
        );
        assert_eq!(parse_rfc3339("2026-11-22"), None);
    }
}
