//! How calls go out: at once, or many together in a batch that costs half and may take a day; and when what is left of
//! a batch job must go out live, so that it is done by its deadline.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::core::estimate::{Dollars, Expected, Span};
use crate::core::value::time::rfc3339;

/// How the calls of a job go out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
// `Delivery` is what a webhook is told, to callers.
#[schema(as = CallDelivery)]
pub enum Delivery {
    /// One by one, answered at once.
    #[default]
    Live,
    /// As Message Batches: half the price, answers within 24 hours, most within one.
    Batch,
    /// As batches where there is time for them, otherwise live.
    Auto,
}

impl Delivery {
    /// What a job's row says before its work begins.
    pub const UNDECIDED: &'static str = "undecided";

    pub fn as_str(self) -> &'static str {
        match self {
            Delivery::Live => "live",
            Delivery::Batch => "batch",
            Delivery::Auto => "auto",
        }
    }

    pub fn is_live(&self) -> bool {
        *self == Delivery::Live
    }

    /// What a new job's row says: whatever is not plainly live is decided when the work begins.
    pub fn at_first(self) -> &'static str {
        if self.is_live() {
            self.as_str()
        } else {
            Delivery::UNDECIDED
        }
    }
}

/// What is known of the time that things take, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// In which most batches end.
    pub batch_ms: u64,
    /// What it takes at most to cancel one and to have back what it did not do.
    pub cancel_ms: u64,
}

/// What is left to be done, live, at the upper end, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The stages that may go out in batches.
    pub batchable_seconds: u64,
    /// What goes live in any case: the synthesis.
    pub live_seconds: u64,
}

impl Left {
    pub fn is_nothing(&self) -> bool {
        *self == Left::default()
    }
}

/// How a job's calls go out, and why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = DeliveryChoice)]
pub struct Choice {
    /// The way that the job asks for.
    pub asked: Delivery,
    /// `live` or `batch`.
    pub chosen: Delivery,
    /// One sentence.
    pub why: String,
    /// The plan's figures in this way.
    pub live: Option<Way>,
    pub batch: Option<Way>,
    /// From then on what batches have not brought goes out live, so that it is done by the deadline; later, the more
    /// of the work is done by then.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub live_from: Option<String>,
    /// Kept with the job, not shown.
    #[serde(default, skip_serializing_if = "Left::is_nothing")]
    #[schema(ignore)]
    pub left: Left,
}

/// Time and money of one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = DeliveryWay)]
pub struct Way {
    pub seconds: Span,
    pub cost_usd: Dollars,
}

/// Everything that the choice rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Question<'a> {
    pub asked: Delivery,
    pub now: i64,
    pub deadline_at: Option<i64>,
    pub limit_usd: Option<f64>,
    pub expected: &'a Expected,
    /// For each of the expected stages: whether its calls may go out in batches.
    pub batchable: &'a [bool],
    /// What a batch costs, in percent.
    pub percent: u64,
    pub times: Times,
}

/// Within so many seconds a batch ends, whatever becomes of it.
const LONGEST_BATCH_SECONDS: u64 = 86_400;

/// What a plan takes whose stages of such a kind go out in batches. Where what they have not brought `may_go_live`, the upper end is
/// that of going live.
#[must_use]
pub fn in_batches(
    mut expected: Expected,
    batchable: &[bool],
    percent: u64,
    may_go_live: bool,
) -> Expected {
    let share = percent as f64 / 100.0;
    let rounded = |usd: f64| (usd * 1e6).round() / 1e6;
    let batched = batchable.iter().copied().chain(std::iter::repeat(false));
    let mut whole = (Dollars::default(), 0.0, Span::default());
    for (stage, batched) in expected.stages.iter_mut().zip(batched) {
        if batched && stage.tasks.high > 0 {
            stage.cost_usd.low = rounded(stage.cost_usd.low * share);
            if !may_go_live {
                stage.cost_usd.high = rounded(stage.cost_usd.high * share);
            }
            stage.likely_usd = stage.likely_usd.map(|likely| rounded(likely * share));
            stage.seconds = Span {
                low: 60,
                high: stage.seconds.high.saturating_add(LONGEST_BATCH_SECONDS),
            };
        }
        whole.0.low += stage.cost_usd.low;
        whole.0.high += stage.cost_usd.high;
        whole.1 += stage.likely_usd.unwrap_or(0.0);
        whole.2.low += stage.seconds.low;
        whole.2.high = whole.2.high.saturating_add(stage.seconds.high);
    }
    expected.cost_usd = Dollars {
        low: rounded(whole.0.low),
        high: rounded(whole.0.high),
    };
    expected.likely_usd = expected.likely_usd.map(|_| rounded(whole.1));
    expected.seconds = whole.2;
    expected
}

/// Decides. Batches are chosen where, should they bring nothing in the time that most take, all of it could still go out
/// live before the deadline; and where there is only time for one of the two, if the budget has room for batches alone.
pub fn choose(question: &Question<'_>) -> Choice {
    let expected = question.expected;
    let batches = |at: usize| question.batchable.get(at).copied().unwrap_or(false);
    let share = question.percent as f64 / 100.0;
    let mut left = Left::default();
    let (mut live, mut batch) = (Way::default(), Way::default());
    for (at, stage) in expected.stages.iter().enumerate() {
        let (seconds, cost) = (stage.seconds, stage.cost_usd);
        live.add(seconds, cost);
        if batches(at) && stage.tasks.high > 0 {
            left.batchable_seconds += seconds.high;
            let half = Dollars {
                low: cost.low * share,
                high: cost.high * share,
            };
            // A small batch may be through in a minute; one of them for each stage.
            let seconds = Span {
                low: 60,
                high: question.times.batch_ms / 1_000,
            };
            batch.add(seconds, half);
        } else {
            left.live_seconds += seconds.high;
            batch.add(seconds, cost);
        }
    }
    let mut choice = Choice {
        asked: question.asked,
        chosen: Delivery::Batch,
        why: String::new(),
        live: Some(live),
        batch: Some(batch),
        live_from: None,
        left,
    };
    let Some(deadline_at) = question.deadline_at else {
        choice.why = match question.asked {
            Delivery::Batch => "the job asks for batches".to_owned(),
            _ => format!(
                "there is no deadline, so it goes out in batches, which cost ${:.4} at most in place of ${:.4}",
                batch.cost_usd.high, live.cost_usd.high
            ),
        };
        return choice;
    };
    let from = live_from(deadline_at, left, 1.0, question.times);
    choice.live_from = Some(rfc3339(from));
    let seconds = |ms: i64| ms.max(0) / 1_000;
    if question.asked == Delivery::Batch {
        choice.why = format!(
            "the job asks for batches; what they have not brought {} before the deadline goes out live",
            length(seconds(deadline_at - from))
        );
        return choice;
    }
    let time = seconds(deadline_at - question.now);
    let both = batch.seconds.high + left.batchable_seconds + question.times.cancel_ms / 1_000;
    if time >= i64::try_from(both).unwrap_or(i64::MAX) {
        choice.why = format!(
            "the deadline is in {}: batches take {} as a rule and cost ${:.4} at most in place of ${:.4}, and \
             {} before the deadline what they have not brought goes out live",
            length(time),
            length(whole(batch.seconds.high)),
            batch.cost_usd.high,
            live.cost_usd.high,
            length(seconds(deadline_at - from))
        );
        return choice;
    }
    let dear = question
        .limit_usd
        .filter(|limit| live.cost_usd.low > *limit && batch.cost_usd.low <= *limit);
    if let Some(limit) = dear
        && time >= i64::try_from(batch.seconds.high).unwrap_or(i64::MAX)
    {
        choice.why = format!(
            "live it would cost ${:.4} at least, which max_cost_usd of ${limit} does not allow; batches cost ${:.4} at \
             least and take {} as a rule, of {} until the deadline",
            live.cost_usd.low,
            batch.cost_usd.low,
            length(whole(batch.seconds.high)),
            length(time)
        );
        return choice;
    }
    choice.chosen = Delivery::Live;
    choice.live_from = None;
    choice.why = format!(
        "the deadline is in {}: batches take {} as a rule, and then {} more should they bring nothing and \
         all go out live; that is too little time, so it goes out live at once",
        length(time),
        length(whole(batch.seconds.high)),
        length(whole(
            left.batchable_seconds + question.times.cancel_ms / 1_000
        ))
    );
    choice
}

fn whole(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// A length of time as a sentence has it: `45 s`, `12 min`, `2 h 30 min`.
fn length(seconds: i64) -> String {
    match (seconds / 3_600, seconds % 3_600 / 60) {
        (0, 0..2) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

impl Choice {
    /// As callers see it.
    pub fn shown(self) -> Choice {
        Choice {
            left: Left::default(),
            ..self
        }
    }
}

impl Way {
    fn add(&mut self, seconds: Span, cost: Dollars) {
        self.seconds.low += seconds.low;
        self.seconds.high += seconds.high;
        self.cost_usd.low += cost.low;
        self.cost_usd.high += cost.high;
    }
}

/// From when on what is left (`open`, a share of the work, 0..1) must go out live to be done by the deadline: its time
/// live, what comes after it, and what cancelling the batches may take.
pub fn live_from(deadline_at: i64, left: Left, open: f64, times: Times) -> i64 {
    let work = (left.batchable_seconds as f64 * open.clamp(0.0, 1.0)).ceil() as u64;
    let reserve = work
        .saturating_add(left.live_seconds)
        .saturating_mul(1_000)
        .saturating_add(times.cancel_ms);
    deadline_at.saturating_sub_unsigned(reserve)
}

/// How long to wait for the next look at a batch of that age: an eighth of it, within bounds. So a short batch is seen
/// soon, and a long one costs few looks: with 1 and 10 minutes some 150 in a day.
pub fn poll_ms(age_ms: i64, least_ms: u64, most_ms: u64) -> u64 {
    let age = u64::try_from(age_ms).unwrap_or(0);
    (age / 8).clamp(least_ms, most_ms.max(least_ms))
}

/// How the tasks of one job that wait for a batch go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// In a batch.
    Batch,
    /// Live: too few of them are worth another batch's wait.
    Live,
    /// Not yet: more may join them.
    Wait,
}

/// A task that waits for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// It was asked before: a repair, a half, or one that came back without an answer.
    pub again: bool,
}

/// A task that so many batches in a row did not answer goes out live: nobody should wait for it day after day.
pub const MOST_DELAYS: u32 = 2;

/// Decides for all that wait together. What was never asked goes in a batch, however few there are: that is what the job
/// asked for. What comes back goes along with it, or in a batch of its own if there are at least `least`; fewer go out
/// live, rather than have the job wait another hour for them. While a batch is still being read more may come.
pub fn go(waiting: &[Waiting], least: u32, reading: bool) -> Go {
    let fresh = waiting.iter().any(|task| !task.again);
    let enough = u32::try_from(waiting.len()).unwrap_or(u32::MAX) >= least;
    if fresh || (enough && !reading) {
        Go::Batch
    } else if reading {
        Go::Wait
    } else {
        Go::Live
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::core::estimate::ExpectedStage;

    const TIMES: Times = Times {
        batch_ms: 3_600_000,
        cancel_ms: 300_000,
    };
    const NOW: i64 = 1_795_348_800_000;

    fn expected() -> Expected {
        let stage = |name: &str, seconds: u64, low: f64, high: f64| ExpectedStage {
            stage: name.to_owned(),
            tasks: Span { low: 1, high: 10 },
            seconds: Span {
                low: 10,
                high: seconds,
            },
            cost_usd: Dollars { low, high },
            ..ExpectedStage::default()
        };
        Expected {
            stages: vec![
                stage("classify", 1_000, 4.0, 8.0),
                stage("report", 100, 1.0, 2.0),
            ],
            ..Expected::default()
        }
    }

    fn asked(asked: Delivery, seconds: Option<i64>, limit: Option<f64>) -> Choice {
        choose(&Question {
            asked,
            now: NOW,
            deadline_at: seconds.map(|seconds| NOW + seconds * 1_000),
            limit_usd: limit,
            expected: &expected(),
            batchable: &[true, false],
            percent: 50,
            times: TIMES,
        })
    }

    #[test]
    fn lengths_of_time_are_told_as_people_read_them() {
        let told = [45, 119, 120, 3_599, 3_600, 8_999].map(length);
        assert_eq!(
            told,
            ["45 s", "119 s", "2 min", "59 min", "1 h", "2 h 29 min"]
        );
    }

    #[test]
    fn a_batch_costs_half_of_what_may_go_in_it() {
        let choice = asked(Delivery::Batch, None, None);
        let (live, batch) = (choice.live.unwrap(), choice.batch.unwrap());
        assert_eq!((live.cost_usd.low, live.cost_usd.high), (5.0, 10.0));
        assert_eq!((batch.cost_usd.low, batch.cost_usd.high), (3.0, 6.0));
        assert_eq!(batch.seconds.high, 3_600 + 100);
        assert_eq!(choice.live_from, None);
    }

    #[test]
    fn auto_goes_in_batches_only_where_all_could_still_go_live_afterwards() {
        // 3,600 for the batch and 100 for the report, then 1,000 live and 300 to cancel.
        let enough = asked(Delivery::Auto, Some(5_000), None);
        assert_eq!(enough.chosen, Delivery::Batch, "{}", enough.why);
        assert!(
            enough
                .why
                .starts_with("the deadline is in 1 h 23 min: batches take 1 h"),
            "{}",
            enough.why
        );
        // 1,000 + 100 + 300 before the deadline.
        assert_eq!(
            enough.live_from.as_deref(),
            Some("2026-11-22T13:00:00.000Z")
        );
        let short = asked(Delivery::Auto, Some(4_999), None);
        assert_eq!(short.chosen, Delivery::Live);
        assert!(short.why.contains("too little time"), "{}", short.why);
        assert_eq!(short.live_from, None);
        assert_eq!(asked(Delivery::Auto, None, None).chosen, Delivery::Batch);
    }

    #[test]
    fn a_budget_that_only_batches_fit_counts_where_there_is_time_for_them_alone() {
        let tight = asked(Delivery::Auto, Some(4_000), Some(4.0));
        assert_eq!(tight.chosen, Delivery::Batch);
        assert!(tight.why.contains("max_cost_usd"), "{}", tight.why);
        assert_eq!(
            asked(Delivery::Auto, Some(3_000), Some(4.0)).chosen,
            Delivery::Live
        );
        // Neither fits, or both do.
        assert_eq!(
            asked(Delivery::Auto, Some(4_000), Some(2.0)).chosen,
            Delivery::Live
        );
        assert_eq!(
            asked(Delivery::Auto, Some(4_000), Some(6.0)).chosen,
            Delivery::Live
        );
    }

    #[test]
    fn what_asks_for_batches_gets_them_whatever_the_time() {
        let choice = asked(Delivery::Batch, Some(10), None);
        assert_eq!(choice.chosen, Delivery::Batch);
        assert!(choice.live_from.is_some());
    }

    #[test]
    fn the_less_is_open_the_later_the_rest_goes_live() {
        let left = Left {
            batchable_seconds: 1_000,
            live_seconds: 100,
        };
        assert_eq!(live_from(NOW, left, 1.0, TIMES), NOW - 1_400_000);
        assert_eq!(live_from(NOW, left, 0.1, TIMES), NOW - 500_000);
        assert_eq!(live_from(NOW, left, 0.0, TIMES), NOW - 400_000);
        assert_eq!(live_from(NOW, left, f64::NAN, TIMES), NOW - 400_000);
    }

    #[test]
    fn looks_grow_further_apart_within_their_bounds() {
        let (least, most) = (60_000, 600_000);
        assert_eq!(poll_ms(0, least, most), least);
        assert_eq!(poll_ms(-5, least, most), least);
        assert_eq!(poll_ms(3_600_000, least, most), 450_000);
        assert_eq!(poll_ms(80_000_000, least, most), most);
        // A ceiling below the floor is no reason to panic.
        assert_eq!(poll_ms(1, 10, 5), 10);
    }

    #[test]
    fn few_that_come_back_go_live_many_in_a_batch_and_new_ones_always_in_a_batch() {
        let again = Waiting { again: true };
        let fresh = Waiting { again: false };
        assert_eq!(go(&[fresh], 20, false), Go::Batch);
        assert_eq!(go(&[fresh, again], 20, true), Go::Batch);
        assert_eq!(go(&[again; 19], 20, false), Go::Live);
        assert_eq!(go(&[again; 20], 20, false), Go::Batch);
        assert_eq!(go(&[again; 20], 20, true), Go::Wait);
        assert_eq!(go(&[again], 20, true), Go::Wait);
    }
}
