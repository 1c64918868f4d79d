//! What the same job costs in other ways: its calls at once, with the part that they share cached, as batches at half the price,
//! and with the cheap model asked first. Pure arithmetic over the same figures as [`super::estimate`].

use serde::Serialize;
use utoipa::ToSchema;

use super::{Dollars, Figures, Span, expected};

/// A prefix is kept for so long after it was last read; in a longer run it may have to be written again as often.
const CACHE_SECONDS: u64 = 300;
/// Within which a batch must be done, and a time in which most are.
const BATCH_SECONDS: (u64, u64) = (120, 86_400);

/// A way to do the same work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Each call by itself, at once, in full; where a stage has a cascade, by its last model alone.
    Live,
    /// The same, and what all calls of a stage share is read from the prompt cache.
    Cached,
    /// As Message Batches: half the price of `live`, and up to a day for each stage. What a batch finds in the prompt cache is
    /// not foreseen: the lower end reads from it what all calls of a stage share, the upper one nothing.
    Batch,
    /// As `live`, with the cheap model asked first: by the stages' cascades, or `WORKER_MODEL` before a dearer one.
    Cascade,
}

/// Calls, cost and time of the job, done in one way.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
pub struct Alternative {
    pub way: Way,
    pub calls: Span,
    pub cost_usd: Dollars,
    /// As in what the plan is expected to take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likely_usd: Option<f64>,
    pub seconds: Span,
}

/// The table: `single` are the figures of the plan with one model for each stage, `cascade` those with the cheap model first, where
/// that makes a difference.
pub fn table(single: &[Figures], cascade: Option<&[Figures]>) -> Vec<Alternative> {
    let live = of(Way::Live, single);
    let (cost_usd, likely_usd) = cached(single);
    let cached = Alternative {
        way: Way::Cached,
        cost_usd,
        likely_usd: Some(likely_usd),
        ..live.clone()
    };
    let (cost_usd, likely_usd) = batched(single);
    let batch = Alternative {
        way: Way::Batch,
        calls: live.calls,
        cost_usd,
        likely_usd: Some(likely_usd),
        seconds: Span {
            low: live.seconds.low.max(BATCH_SECONDS.0),
            high: BATCH_SECONDS.1.saturating_mul(single.len() as u64),
        },
    };
    let mut table = vec![live, cached, batch];
    table.extend(cascade.map(|figures| of(Way::Cascade, figures)));
    table
}

fn of(way: Way, figures: &[Figures]) -> Alternative {
    let whole = expected(figures);
    Alternative {
        way,
        calls: whole.calls,
        cost_usd: whole.cost_usd,
        likely_usd: whole.likely_usd,
        seconds: whole.seconds,
    }
}

fn cached(figures: &[Figures]) -> (Dollars, f64) {
    let (mut sum, mut likely) = (Dollars::default(), 0.0);
    for stage in figures {
        let whole = expected(std::slice::from_ref(stage));
        let writes = 1 + whole.seconds.high / CACHE_SECONDS;
        let (low, usual, high) = stage.saved_by_cache(whole.calls, writes);
        // Either end may save more or less than the other: what was cheaper stays the lower one.
        let low = (whole.cost_usd.low - low).max(0.0);
        sum.low += low;
        sum.high += (whole.cost_usd.high - high).max(0.0);
        likely += (whole.likely_usd.unwrap_or(0.0) - usual).max(low);
    }
    (millionths(sum), rounded(likely))
}

fn batched(figures: &[Figures]) -> (Dollars, f64) {
    let (mut sum, mut likely) = (Dollars::default(), 0.0);
    for stage in figures {
        let whole = expected(std::slice::from_ref(stage));
        let share = stage.price.batch_percent as f64 / 100.0;
        let (saved, usual, _) = stage.saved_by_cache(whole.calls, 1);
        let low = (whole.cost_usd.low - saved).max(0.0) * share;
        sum.low += low;
        sum.high += whole.cost_usd.high * share;
        // Some find what others wrote.
        let some = (whole.likely_usd.unwrap_or(0.0) - usual / 2.0) * share;
        likely += some.max(low);
    }
    (millionths(sum), rounded(likely))
}

fn rounded(usd: f64) -> f64 {
    (usd * 1e6).round() / 1e6
}

fn millionths(sum: Dollars) -> Dollars {
    Dollars {
        low: rounded(sum.low),
        high: rounded(sum.high),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::core::estimate::Usual;
    use crate::core::estimate::tests::figures;

    fn stage(tasks: u64, shared_bytes: u64) -> Figures {
        Figures {
            tasks: (tasks, tasks),
            fixed_bytes: shared_bytes + 500,
            shared_bytes,
            item_bytes: (tasks * 500, tasks * 500),
            answer_chars: (60, 120),
            usual: Usual::default(),
            ..figures()
        }
    }

    fn cost(table: &[Alternative], way: Way) -> Dollars {
        table.iter().find(|row| row.way == way).unwrap().cost_usd
    }

    #[test]
    fn what_many_calls_share_is_paid_once_and_read_for_a_tenth() {
        let table = table(&[stage(1_000, 10_000)], None);
        let (live, cached) = (cost(&table, Way::Live), cost(&table, Way::Cached));
        assert!(cached.low < live.low / 2.0 && cached.high < live.high / 2.0);
        assert!(cached.low > 0.0 && cached.low < cached.high);
        let batch = cost(&table, Way::Batch);
        // Half the price, of what is cached at best.
        assert!((batch.low - cached.low / 2.0).abs() < 1e-5);
        assert!(table.iter().all(|row| row.calls == table[0].calls));
        assert_eq!(
            table.iter().filter(|row| row.way == Way::Cascade).count(),
            0
        );
    }

    #[test]
    fn a_prefix_that_is_too_short_saves_nothing_and_one_read_once_only_if_it_is_there_already() {
        for (figures, there) in [(stage(1_000, 500), false), (stage(1, 10_000), true)] {
            let table = table(&[figures], None);
            let row = |way| table.iter().find(|row| row.way == way).unwrap();
            let (live, cached) = (row(Way::Live), row(Way::Cached));
            assert_eq!(cached.cost_usd.low < live.cost_usd.low, there);
            assert_eq!(cached.likely_usd, live.likely_usd);
            assert!(cached.cost_usd.high <= live.cost_usd.high);
        }
    }
}
