//! When a schedule is due: a cron expression on the wall clock of a time zone.
//!
//! Knows no time zones: the offset of a zone at an instant is handed in, so that the platform's own table serves and none
//! is carried along. Where a clock is set forward, a fixed time that does not exist is taken at the first moment after;
//! where it is set back, a fixed time that comes twice is taken once, and an interval goes on through both.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashMap;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::time::{CivilDateTime, CronDateTime, Resolution, Weekday};

const DAY_S: i64 = 86_400;

/// Seconds that local time is ahead of UTC, at an instant in seconds since the epoch.
pub trait Offset: Fn(i64) -> i32 {}
impl<F: Fn(i64) -> i32> Offset for F {}

/// Five fields: minute, hour, day of the month, month, day of the week; `@daily` and its like. The error is a
/// sentence's end: `must be …`.
pub fn parse(text: &str) -> Result<Cron, String> {
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build()
        .parse(text)
        .map_err(|error| {
            format!(
                "must be a cron expression of five fields: {}",
                error.to_string().trim_end_matches('.').to_lowercase()
            )
        })
}

/// The first moment after `after_ms` at which the expression is due, in milliseconds; `None` where it never is.
pub fn next(cron: &Cron, offset: &impl Offset, after_ms: i64) -> Option<i64> {
    let after = Moment {
        utc: after_ms.div_euclid(1_000),
        offset,
    };
    // A search gives up at dates that no calendar holds.
    let today = after.civil()?.date();
    let day = due_day(cron, today.checked_sub_signed(TimeDelta::days(1))?)?;
    // The search below walks through all that lies between, at some milliseconds for a year: what arithmetic can skip it need
    // not walk. Two days are more than any zone is away from UTC.
    let from = day.checked_sub_signed(TimeDelta::days(2))?;
    let from = from.and_time(NaiveTime::MIN).and_utc().timestamp();
    let start = after.at(from.max(after.utc));
    let found = cron.find_next_occurrence(&start, false).ok()?;
    (found.utc > after.utc).then(|| found.utc * 1_000)
}

/// Days in which everything comes that ever does: a 29 February of a given weekday comes every 28 years, or after 40 where
/// a century's year is no leap year.
const SEARCHED_DAYS: usize = 41 * 366;

/// The first day, from this one on, that the expression names.
fn due_day(cron: &Cron, from: NaiveDate) -> Option<NaiveDate> {
    from.iter_days().take(SEARCHED_DAYS).find(|day| {
        let weekday = Weekday::from_days_from_sunday(day.weekday().num_days_from_sunday());
        let named = |matched: Result<bool, CronError>| matched.unwrap_or(false);
        named(cron.pattern.month_match(day.month()))
            && named(
                cron.pattern
                    .day_match(day.year(), day.month(), day.day(), weekday),
            )
    })
}

/// Offsets of a zone, each asked for once: they change only at full quarters of an hour.
pub fn remembered(offset: impl Offset) -> impl Offset {
    let known = RefCell::new(HashMap::new());
    move |utc| {
        let quarter = utc.div_euclid(900);
        let mut known = known.borrow_mut();
        *known.entry(quarter).or_insert_with(|| offset(utc))
    }
}

/// The next `most` moments.
pub fn next_runs(cron: &Cron, offset: &impl Offset, after_ms: i64, most: usize) -> Vec<i64> {
    let mut after = after_ms;
    std::iter::from_fn(|| {
        after = next(cron, offset, after)?;
        Some(after)
    })
    .take(most)
    .collect()
}

/// An instant in a zone.
struct Moment<'a, O> {
    utc: i64,
    offset: &'a O,
}

impl<O> Clone for Moment<'_, O> {
    fn clone(&self) -> Self {
        Moment {
            utc: self.utc,
            offset: self.offset,
        }
    }
}

impl<O: Offset> Moment<'_, O> {
    /// What a clock on the wall shows.
    fn civil(&self) -> Option<NaiveDateTime> {
        let local = self.utc.checked_add(i64::from((self.offset)(self.utc)))?;
        Some(DateTime::from_timestamp(local, 0)?.naive_utc())
    }

    fn wall(&self) -> NaiveDateTime {
        self.civil().unwrap_or_default()
    }

    fn at(&self, utc: i64) -> Self {
        Moment {
            utc,
            offset: self.offset,
        }
    }
}

impl<O: Offset> CronDateTime for Moment<'_, O> {
    fn to_civil(&self) -> CivilDateTime {
        let wall = self.wall();
        let date =
            croner::time::CivilDate::from_parts_unchecked(wall.year(), wall.month(), wall.day());
        let time = croner::time::CivilTime::from_parts_unchecked(
            wall.hour(),
            wall.minute(),
            wall.second(),
        );
        CivilDateTime::new(date, time)
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(self.wall().weekday().num_days_from_sunday())
    }

    /// A zone changes its offset at most once in two days: whatever holds at this wall time held a day before or holds a
    /// day after.
    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let date = chrono::NaiveDate::from_ymd_opt(civil.year(), civil.month(), civil.day());
        let local = date
            .and_then(|date| date.and_hms_opt(civil.hour(), civil.minute(), civil.second()))
            .ok_or(CronError::InvalidDate)?
            .and_utc()
            .timestamp();
        let holds = |around: i64| {
            let utc = local - i64::from((self.offset)(around));
            (utc + i64::from((self.offset)(utc)) == local).then_some(utc)
        };
        Ok(match (holds(local - DAY_S), holds(local + DAY_S)) {
            (Some(one), Some(other)) if one != other => {
                Resolution::Ambiguous(self.at(one.min(other)), self.at(one.max(other)))
            }
            (Some(utc), _) | (_, Some(utc)) => Resolution::Single(self.at(utc)),
            (None, None) => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        let moved = self.at(self.utc.checked_add(seconds)?);
        moved.civil().map(|_| moved)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.utc.cmp(&other.utc)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;

    use chrono::{Offset as _, TimeZone};
    use chrono_tz::Tz;
    use proptest::prelude::*;

    use super::*;
    use crate::core::value::time::rfc3339;

    fn in_zone(zone: &str) -> impl Fn(i64) -> i32 {
        let zone: Tz = zone.parse().unwrap();
        move |utc| {
            let at = DateTime::from_timestamp(utc, 0).unwrap_or_default();
            zone.offset_from_utc_datetime(&at.naive_utc())
                .fix()
                .local_minus_utc()
        }
    }

    fn ms(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text)
            .unwrap()
            .timestamp_millis()
    }

    fn runs(cron: &str, zone: &str, after: &str, most: usize) -> Vec<String> {
        let cron = parse(cron).unwrap();
        next_runs(&cron, &in_zone(zone), ms(after), most)
            .into_iter()
            .map(|at| rfc3339(at).replace(":00.000Z", "Z"))
            .collect()
    }

    #[test]
    fn due_times_are_of_the_zone_and_strictly_after() {
        assert_eq!(
            runs(
                "0 9 * * MON-FRI",
                "Europe/Berlin",
                "2026-11-20T08:00:00Z",
                3
            ),
            [
                "2026-11-23T08:00Z",
                "2026-11-24T08:00Z",
                "2026-11-25T08:00Z"
            ]
        );
        assert_eq!(
            runs("30 0 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", 1),
            ["2026-01-01T19:00Z"]
        );
        assert_eq!(
            runs("*/15 * * * *", "UTC", "2026-01-01T00:14:59Z", 2),
            ["2026-01-01T00:15Z", "2026-01-01T00:30Z"]
        );
        assert_eq!(
            runs("@monthly", "America/New_York", "2026-01-01T05:00:00Z", 2),
            ["2026-02-01T05:00Z", "2026-03-01T05:00Z"]
        );
    }

    /// Berlin goes from 02:00 to 03:00 on 29 March 2026, and from 03:00 back to 02:00 on 25 October.
    #[test]
    fn a_clock_set_forward_skips_nothing_and_one_set_back_doubles_nothing() {
        // 02:30 does not exist on the 29th.
        assert_eq!(
            runs("30 2 * * *", "Europe/Berlin", "2026-03-28T02:00:00Z", 3),
            [
                "2026-03-29T01:00Z",
                "2026-03-30T00:30Z",
                "2026-03-31T00:30Z"
            ]
        );
        // It comes twice on 25 October and is taken once.
        assert_eq!(
            runs("30 2 * * *", "Europe/Berlin", "2026-10-24T01:00:00Z", 3),
            [
                "2026-10-25T00:30Z",
                "2026-10-26T01:30Z",
                "2026-10-27T01:30Z"
            ]
        );
        // An interval goes on evenly through both.
        assert_eq!(
            runs("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", 3),
            [
                "2026-03-29T01:00Z",
                "2026-03-29T01:30Z",
                "2026-03-29T02:00Z"
            ]
        );
        assert_eq!(
            runs("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 4),
            [
                "2026-10-25T00:30Z",
                "2026-10-25T01:00Z",
                "2026-10-25T01:30Z",
                "2026-10-25T02:00Z"
            ]
        );
        // Lord Howe moves by half an hour.
        assert_eq!(
            runs(
                "45 1 * * *",
                "Australia/Lord_Howe",
                "2026-04-03T15:00:00Z",
                3
            ),
            [
                "2026-04-04T14:45Z",
                "2026-04-05T15:15Z",
                "2026-04-06T15:15Z"
            ]
        );
    }

    /// A whole year in zones that change: what chrono's own zones say is what is found here.
    #[test]
    fn a_daily_time_comes_once_a_day_all_year() {
        for zone in [
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "UTC",
            "Pacific/Apia",
        ] {
            for hour in [0, 1, 2, 3, 12] {
                let cron = parse(&format!("30 {hour} * * *")).unwrap();
                let runs = next_runs(&cron, &in_zone(zone), ms("2026-01-01T00:00:00Z"), 365);
                let gaps = runs
                    .iter()
                    .zip(runs.iter().skip(1))
                    .map(|(one, next)| next - one);
                for gap in gaps {
                    assert!(
                        (22..=26).contains(&(gap / 3_600_000)),
                        "{zone} {hour}: {gap}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_no_expression_is_said_and_what_never_comes_is_none() {
        for text in [
            "",
            "x",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "0 0 * * 9",
            "@never",
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.starts_with("must be a cron expression of five fields: "),
                "{text}: {error}"
            );
        }
        for never in [
            "0 0 31 2 *",
            "0 0 31 4,6,9,11 *",
            "0 0 30 2 *",
            "0 0 31W 2 *",
        ] {
            let asked = Cell::new(0);
            let offset = |_| {
                asked.set(asked.get() + 1);
                0
            };
            let cron = parse(never).unwrap();
            assert_eq!(
                next(&cron, &offset, ms("2026-01-01T00:00:00Z")),
                None,
                "{never}"
            );
            assert!(asked.get() <= 1, "{never}: searched {} times", asked.get());
        }
        let rare = parse("0 0 * 2 MON#5").unwrap();
        assert_eq!(
            next(&rare, &|_| 0, ms("2026-01-01T00:00:00Z")),
            Some(ms("2044-02-29T00:00:00Z"))
        );
        let leap = parse("0 0 29 2 *").unwrap();
        assert_eq!(
            next(&leap, &|_| 0, ms("2026-01-01T00:00:00Z")),
            Some(ms("2028-02-29T00:00:00Z"))
        );
        for far in [i64::MAX, i64::MIN, i64::MAX / 2] {
            let _ = next(&leap, &|_| 3_600, far);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-0-9*,/?#LW@A-Za-z ]{0,30}", after in 0_i64..4_000_000_000_000) {
            if let Ok(cron) = parse(&text)
                && let Some(at) = next(&cron, &|_| 3_600, after)
            {
                prop_assert!(at > after);
            }
        }
    }
}
