//! What comes before and after the maps, in figures: making the plan, the tree that brings results down, and the synthesis.

use serde_json::Value;

use super::Known;
use super::figures::{SHORT_TEXT, learned, of_request, on_top};
use super::flow::Flow;
use super::learned::Earlier;
use crate::app::results::reduce_tree;
use crate::app::results::synthesis::context_bytes;
use crate::app::stage::runtime::{JobRuntime, StageRuntime};
use crate::core::estimate::lengths::{Prose, average_chars, value_chars};
use crate::core::estimate::{Figures, Pace, Usual, margin};
use crate::core::plan::spec::{Limits, Output};
use crate::core::task::retry_policy::RequestMode;

/// Frequencies and coverage, as a synthesis is told them: at least, at most, and for each item that may be missing; and as usual.
const COVERAGE_BYTES: (u64, u64, u64) = (60, 4_000, 100);
const USUAL_COVERAGE: u64 = 400;
/// Missing items that are named.
const NAMED: u64 = 200;
/// A report without a schema usually has so many characters and as many as its instructions, one more for each so many bytes of
/// results, and no more than so many.
const USUAL_REPORT: (u64, u64, u64) = (800, 20, 6_000);
/// A reader's part of one.
const USUAL_PART: u64 = 2_500;
/// A task with its input's profile, and a plan; and as usual.
const PROFILE_BYTES: (u64, u64) = (500, 40_000);
const USUAL_PROFILE: u64 = 5_000;
const PLAN_CHARS: (u64, u64) = (300, 12_000);
const USUAL_PLAN: u64 = 2_500;
/// Results that the orchestrator is shown when the plan is thought over: as usual, and at most.
const DIGEST_BYTES: (u64, u64) = (8_000, 24_000);

/// A synthesis over all results, or the sample of them that fits.
pub(super) fn synthesis(
    runtime: &StageRuntime,
    results: &Flow,
    limits: &Limits,
    earlier: Option<&Earlier>,
    items: u64,
    pace: Pace,
) -> Figures {
    let stage = &runtime.stage;
    let request = runtime.synthesis_request(stage.max_tokens, RequestMode::FRESH, "", "", None);
    let room = context_bytes(runtime);
    // A budget may leave room for a sample only.
    let least = if limits.max_cost_usd.is_some() {
        0
    } else {
        results.bytes.0.min(room)
    };
    let (answer, usual) = match &stage.output_schema {
        Some(schema) => (
            value_chars(schema, Prose::Long),
            average_chars(schema, Prose::Long).0,
        ),
        None => {
            // As long as what is asked for, and as what there is to say.
            let asked = stage.instructions.len() as u64;
            let usual = USUAL_REPORT.0 + asked + results.usual.1 / USUAL_REPORT.1;
            ((SHORT_TEXT, u64::MAX), usual.min(USUAL_REPORT.2))
        }
    };
    let mut figures = Figures {
        tasks: (1, 1),
        usual: Usual {
            tasks: 1,
            bytes: results.usual.1.min(room) + USUAL_COVERAGE,
            chars: usual,
        },
        item_bytes: (
            least + COVERAGE_BYTES.0,
            results.dense().min(room)
                + COVERAGE_BYTES.1
                + COVERAGE_BYTES.2 * results.items.1.min(NAMED),
        ),
        answer_chars: answer,
        ..of_request(runtime, &request, pace)
    };
    let on_top = on_top(runtime, &request);
    let fixed = figures.fixed_bytes + on_top;
    let before = earlier.and_then(|earlier| Some((earlier, earlier.read_of_each(fixed)?)));
    if let Some((earlier, (read, calls))) = before {
        // So many bytes of results for each item of the input there were.
        let own = read * items as f64;
        let (least, most) = figures.item_bytes;
        let within = |bytes: f64| (bytes as u64).clamp(least, most);
        let margin = margin(calls);
        figures.usual.bytes = within(own);
        figures.item_bytes = (within(own / margin), within(own * margin));
        figures.learned = learned(earlier, &figures, on_top, Output::Chunk);
    }
    figures
}

/// The readers that bring results down to what the synthesis can read, where they may be too many.
pub(super) fn tree(
    runtime: &JobRuntime,
    synthesis: &StageRuntime,
    results: &Flow,
    known: &Known,
    concurrency: u32,
    governor_start: u32,
) -> Option<Figures> {
    let reader = runtime.reduce.as_ref()?;
    let room = context_bytes(synthesis);
    if results.bytes.1 <= room {
        return None;
    }
    let request = reader.worker_request(RequestMode::FRESH, &[], None);
    let pace = known.pace(&reader.model.class, concurrency, governor_start);
    // Each level leaves an eighth: all of them read a seventh more than the first.
    let most = results.bytes.1 + results.bytes.1 / 7;
    let dense = results.dense();
    let least = if results.bytes.0 > room {
        results.bytes.0
    } else {
        0
    };
    let part = (reduce_tree::room(reader) as u64).max(1);
    Some(Figures {
        stage: synthesis.stage.name.clone(),
        tasks: (least.div_ceil(part), most.div_ceil(part) + 1),
        usual: match results.usual.1 > room {
            true => Usual {
                tasks: results.usual.1.div_ceil(part),
                bytes: results.usual.1 + results.usual.1 / 7,
                chars: USUAL_PART,
            },
            false => Usual::default(),
        },
        item_bytes: (least, dense + dense / 7),
        answer_chars: (SHORT_TEXT, u64::MAX),
        ..of_request(reader, &request, pace)
    })
}

/// Making the plan: a profile in, a plan out; and thinking it over, when it is shown what came of it.
pub(super) fn planning(
    runtime: &StageRuntime,
    rounds: u64,
    earlier: Option<&Earlier>,
    pace: Pace,
) -> Figures {
    let none = Value::Null;
    let request = runtime.plan_request(runtime.stage.max_tokens, RequestMode::FRESH, &none, None);
    let mut figures = Figures {
        tasks: (1, 1 + rounds),
        usual: Usual {
            tasks: 1 + rounds.min(1),
            bytes: USUAL_PROFILE + rounds.min(1) * (USUAL_PROFILE + DIGEST_BYTES.0),
            chars: USUAL_PLAN,
        },
        item_bytes: (
            PROFILE_BYTES.0,
            PROFILE_BYTES.1 + rounds * (PROFILE_BYTES.1 + DIGEST_BYTES.1),
        ),
        answer_chars: PLAN_CHARS,
        ..of_request(runtime, &request, pace)
    };
    let on_top = on_top(runtime, &request);
    figures.learned = earlier.and_then(|earlier| learned(earlier, &figures, on_top, Output::Chunk));
    figures
}
