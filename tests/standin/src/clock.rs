//! Times as text. No clock is read here: callers bring the time.

/// Milliseconds since 1970 as `2026-11-22T18:05:00Z`, rounded up to a second:
/// a reset is never announced before it is.
pub fn rfc3339(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Milliseconds since 1970 as `2026-11-22T18:05:00.123Z`, for times that have
/// been.
pub fn rfc3339_ms(ms: u64) -> String {
    let whole = rfc3339(ms / 1_000 * 1_000);
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), ms % 1_000)
}

/// The first of the next month, 00:00 UTC, as `2026-12-01`.
pub fn next_month(ms: u64) -> String {
    let (year, month, _) = date(ms / 86_400_000);
    let (year, month) = if month == 12 {
        (year + 1, 1)
    } else {
        (year, month + 1)
    };
    format!("{year:04}-{month:02}-01")
}

/// Days since 1970 as a date (Howard Hinnant's `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_709_164_800_000), "2024-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_370_699_001), "2026-11-22T18:05:00Z");
        assert_eq!(rfc3339_ms(1_795_370_699_001), "2026-11-22T18:04:59.001Z");
        assert_eq!(next_month(1_795_370_699_001), "2026-12-01");
    }
}
