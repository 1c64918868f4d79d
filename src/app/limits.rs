//! What the governor knows: the limits of each model class, what is free of them now, and the breaker.
//!
//! The rows are those that admission decides on, brought forward to this moment by the same arithmetic, so what is shown
//! as free is what the next call finds.

use super::view::{BreakerState, BreakerView, BucketView, ClassView, LimitsView};
use super::{App, AppError};
use crate::core::admit::{Breaker, Bucket};
use crate::core::time::rfc3339;
use crate::ports::{Clock, Db, Ports};
use crate::store::admission::{ClassRow, read_breaker};
use crate::store::row::{Columns, Row};
use crate::store::{listing, settle};

/// All of it, as of now.
pub async fn limits<P: Ports>(app: &App<P>) -> Result<LimitsView, AppError> {
    let statements = vec![listing::limits(), settle::breaker()];
    let mut answers = app.ports.db().batch(statements).await?.into_iter();
    let classes = answers.next().unwrap_or_default().rows;
    let breaker = answers.next().unwrap_or_default().rows;
    let now = app.ports.clock().now_ms();
    Ok(LimitsView {
        classes: classes.iter().map(|row| class_view(row, now)).collect(),
        breaker: breaker_view(breaker.first()),
    })
}

fn class_view(row: &Row, now: i64) -> ClassView {
    let ClassRow { class, refused, .. } = ClassRow::read(row);
    let bucket = |bucket: &Bucket| bucket_view(bucket, class.at, now);
    ClassView {
        requests: bucket(&class.requests),
        input_tokens: bucket(&class.input),
        output_tokens: bucket(&class.output),
        class: class.name,
        seen: class.seen,
        in_flight: class.in_flight,
        window: class.window,
        refused,
        slow_until: (class.slow_until > now).then(|| rfc3339(class.slow_until)),
    }
}

/// A bucket as of `at`, now. Whole requests and tokens: a fraction of one is of no use to anybody. (`as` saturates.)
fn bucket_view(bucket: &Bucket, at: i64, now: i64) -> BucketView {
    if bucket.limit <= 0.0 {
        return BucketView::default();
    }
    let level = bucket.after(now.saturating_sub(at));
    BucketView {
        limit_per_minute: bucket.limit as u64,
        free: level.floor() as i64,
        capacity: bucket.usable() as u64,
        full_at: bucket
            .until_full(level)
            .map(|ms| rfc3339(now.saturating_add_unsigned(ms))),
    }
}

fn breaker_view(row: Option<&Row>) -> BreakerView {
    let breaker = row.map_or(Breaker::Closed, read_breaker);
    let (state, until) = match breaker {
        Breaker::Closed => (BreakerState::Closed, None),
        Breaker::Open { until } => (BreakerState::Open, Some(until)),
        Breaker::HalfOpen { .. } => (BreakerState::HalfOpen, None),
    };
    BreakerView {
        state,
        reason: row.and_then(|row| row.maybe_text("reason")),
        until: until.map(rfc3339),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const AT: i64 = 1_795_348_800_000;

    /// 600 a minute, counted as 9.7 a second; at most 90 of the 100 seen.
    fn bucket(level: f64) -> Bucket {
        Bucket {
            limit: 600.0,
            cap: 100.0,
            level,
        }
    }

    #[test]
    fn a_bucket_fills_until_it_is_full() {
        let view = |level, now| bucket_view(&bucket(level), AT, now);
        assert_eq!(view(10.0, AT).free, 10);
        assert_eq!(view(10.0, AT + 1_000).free, 19);
        assert_eq!(view(10.0, AT + 1_000).capacity, 90);
        assert_eq!(view(10.0, AT + 1_000).limit_per_minute, 600);
        // 80 / 0.0097 a millisecond, from any moment before.
        let full = Some(rfc3339(AT + 8_248));
        assert_eq!(view(10.0, AT).full_at, full);
        let full = view(10.0, AT + 60_000);
        assert_eq!((full.free, full.full_at), (90, None));
    }

    #[test]
    fn a_debt_is_shown_and_a_clock_that_runs_behind_takes_nothing() {
        assert_eq!(bucket_view(&bucket(-5.5), AT, AT).free, -6);
        assert_eq!(bucket_view(&bucket(10.0), AT, AT - 1_000).free, 10);
    }

    #[test]
    fn what_was_never_announced_is_nothing() {
        assert_eq!(
            bucket_view(&Bucket::default(), 0, AT),
            BucketView::default()
        );
    }

    #[test]
    fn the_breaker_says_when_it_is_tried_again() {
        let row = |text: &str| serde_json::from_str::<Row>(text).unwrap();
        let closed = breaker_view(None);
        assert_eq!(closed.state, BreakerState::Closed);
        let open = breaker_view(Some(&row(
            r#"{"state":"open","reason":"spend_limit","until":1795348800000}"#,
        )));
        assert_eq!(open.state, BreakerState::Open);
        assert_eq!(open.reason.as_deref(), Some("spend_limit"));
        assert_eq!(open.until.as_deref(), Some("2026-11-22T12:00:00.000Z"));
        let half_open = breaker_view(Some(&row(
            r#"{"state":"half_open","reason":"spend_limit","until":1795348800000}"#,
        )));
        assert_eq!(half_open.state, BreakerState::HalfOpen);
        assert_eq!(half_open.until, None);
    }
}
