//! What the governor knows: the limits of each model class, what is free of them now, and the breaker.
//!
//! The rows are those that admission decides on, brought forward to this moment by the same arithmetic, so what is shown
//! as free is what the next call finds.

use crate::app::account::storage;
use crate::app::view::{
    BreakerState, BreakerView, BucketView, ClassView, LeftOutView, LimitsView, StorageView,
};
use crate::app::{App, AppError};
use crate::core::admission::{Breaker, Bucket};
use crate::core::value::time::rfc3339;
use crate::ports::{Clock, Db, Ports};
use crate::store::read::listing;
use crate::store::row::{Columns, Row};
use crate::store::task::admission::{ClassRow, read_breaker};
use crate::store::task::{capabilities, settle};

/// All of it, as of now.
pub async fn limits<P: Ports>(app: &App<P>) -> Result<LimitsView, AppError> {
    let now = app.ports.clock().now_ms();
    let statements = vec![
        listing::limits(),
        settle::breaker(),
        capabilities::learned(now),
    ];
    let answers = app.ports.db().batch(statements).await?;
    let storage = storage::of(app, &answers).map(|storage| StorageView {
        used_bytes: storage.used,
        capacity_bytes: storage.capacity,
        takes_jobs: !storage.is_scarce(),
    });
    let mut answers = answers.into_iter();
    let classes = answers.next().unwrap_or_default().rows;
    let breaker = answers.next().unwrap_or_default().rows;
    let learned = answers.next().unwrap_or_default().rows;
    Ok(LimitsView {
        classes: classes.iter().map(|row| class_view(row, now)).collect(),
        breaker: breaker_view(breaker.first()),
        storage,
        left_out: learned.iter().map(left_out).collect(),
    })
}

/// Forgets what was learned of models and endpoints: the next calls ask for everything again.
pub async fn forget_left_out<P: Ports>(app: &App<P>) -> Result<(), AppError> {
    app.ports.db().batch(vec![capabilities::reset()]).await?;
    Ok(())
}

fn left_out(row: &Row) -> LeftOutView {
    LeftOutView {
        endpoint: row.text("endpoint"),
        model: row.text("model"),
        part: row.text("part"),
        reason: row.maybe_text("reason"),
        learned_at: rfc3339(row.int("at")),
        until: rfc3339(row.int("off_until")),
    }
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
