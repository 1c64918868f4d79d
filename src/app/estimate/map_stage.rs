//! A map stage in figures: its tasks, what they read, how long their answers are, and what it hands on.

use super::figures::{SHORT_TEXT, learned, of_request, on_top};
use super::flow::{Flow, groups};
use super::learned::Earlier;
use crate::app::stage::runtime::StageRuntime;
use crate::core::estimate;
use crate::core::estimate::lengths::{Prose, average_chars, value_chars};
use crate::core::estimate::profile::Profile;
use crate::core::estimate::{Figures, Pace, Usual, margin, prompt_tokens_at_most};
use crate::core::plan::spec::{Chunk, Output, ResolvedStage, WebTool};
use crate::core::task::retry_policy::RequestMode;

/// Around one result: `{"id":"…","output":…},`, without the id.
const AROUND_RESULT: u64 = 20;
/// Characters of an id, at least and at most, and as usual.
const ID_CHARS: (u64, u64) = (1, 48);
const USUAL_ID: u64 = 8;
/// Around all results of an answer.
const AROUND_ANSWER: u64 = 14;
/// Of what one use of a tool brings, at most.
const TOOL_BYTES: u64 = 40_000;
/// A text of a worker without a schema, as usual.
const USUAL_TEXT: u64 = 150;

/// What a map stage is reckoned with besides what it reads.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// Of the input, where it is what the stage reads.
    pub(super) profile: Option<&'a Profile>,
    /// Of the input, for what earlier stages took of each of theirs.
    pub(super) items: u64,
    /// The share of results that is asked for once more.
    pub(super) redo: f64,
    pub(super) pace: Pace,
}

/// A map stage over `input`, and what it hands on.
pub(super) fn map(
    runtime: &StageRuntime,
    input: &Flow,
    earlier: Option<&Earlier>,
    place: &Place<'_>,
) -> (Figures, Flow) {
    let stage = &runtime.stage;
    // A judge reads items and results, and what is flagged is asked for once more.
    let checks = stage.verify.map_or(0.0, |verify| verify.sample * 2.0) + place.redo;
    let ((mut tasks, per_call), usual_tasks) = match &stage.group_by {
        Some(field) => {
            let (tasks, usual) = groups(field, input, place.profile);
            ((tasks, input.items.1), usual)
        }
        None => {
            // As far as is known: what is larger than a slice is cut.
            let small = |size: u32| {
                let largest = place.profile.map(|profile| profile.largest);
                largest.is_some_and(|largest| largest <= u64::from(size) * 2)
            };
            let packs = stage.chunk.tokens.is_some_and(small);
            let (tasks, per_call) = chunks(stage.chunk, input, packs);
            ((tasks, per_call), usual_tasks(stage, tasks, input))
        }
    };
    let grouped = stage.group_by.is_some().then_some(earlier).flatten();
    let usual_tasks = match grouped.and_then(Earlier::calls_of_each) {
        Some((share, calls)) if tasks.0 < tasks.1 => {
            let usual = (place.items as f64 * share).ceil();
            // More input has more of the same groups, and some new ones.
            let most = (usual * margin(calls)).ceil() as u64 + 1;
            tasks.1 = tasks.1.min(most).max(tasks.0);
            (usual as u64).clamp(tasks.0, tasks.1)
        }
        _ => usual_tasks,
    };
    // What is cut by tokens has a result for each slice.
    let results = match stage.chunk.tokens {
        Some(_) => (input.items.0, input.items.1.saturating_add(tasks.1)),
        None => input.items,
    };
    let result = result_chars(stage);
    let around = |chars: u64, id: u64| chars + AROUND_RESULT + id;
    let one = (around(result.0, ID_CHARS.0), around(result.2, ID_CHARS.1));
    let usual_one = around(result.1, USUAL_ID);
    let usual_results = match (stage.output, stage.chunk.tokens) {
        (Output::Chunk, _) => usual_tasks,
        (Output::Item, Some(_)) => input.usual.0.max(usual_tasks),
        (Output::Item, None) => input.usual.0,
    };
    let (answer, items, bytes) = match stage.output {
        Output::Item => {
            // A short last chunk makes the average call smaller.
            let each = (input.items.0 / tasks.1.max(1), input.items.1.min(per_call));
            let answer = (
                AROUND_ANSWER + each.0 * one.0,
                AROUND_ANSWER + each.1 * one.1,
            );
            let bytes = (results.0 * one.0, results.1 * one.1);
            (answer, results, bytes)
        }
        Output::Chunk => {
            // Each result names the items it rests on.
            let ids = (ID_CHARS.1 + 3) * input.items.1;
            (
                (result.0, result.2),
                tasks,
                (tasks.0 * one.0, tasks.1 * one.1 + ids),
            )
        }
    };
    let request = runtime.worker_request(RequestMode::FRESH, &[], None);
    let mut figures = Figures {
        tasks,
        usual: Usual {
            tasks: usual_tasks,
            bytes: again(stage.chunk, input.usual.1) + tool_bytes(stage, usual_tasks) / 4,
            chars: AROUND_ANSWER + usual_results * usual_one / usual_tasks.max(1),
        },
        item_bytes: (
            input.bytes.0,
            again(stage.chunk, input.dense()) + tool_bytes(stage, tasks.1),
        ),
        answer_chars: answer,
        more: 1.0 + checks,
        fee_nano: uses(stage).0 * runtime.model.prices.web_search,
        ..of_request(runtime, &request, place.pace)
    };
    let on_top = on_top(runtime, &request);
    figures.learned = earlier.and_then(|earlier| learned(earlier, &figures, on_top, stage.output));
    // Around the answers stand their labels, and the ids that they rest on.
    let around = prompt_tokens_at_most(bytes.1.min(items.1 * (AROUND_RESULT + 2 * ID_CHARS.1)));
    let written = tasks.1.saturating_mul(u64::from(stage.max_tokens));
    let mut out = Flow {
        items,
        bytes,
        usual: (usual_results, usual_results * usual_one),
        written: Some(written.saturating_add(around)),
        schema: stage.output_schema.clone(),
    };
    // A schema may ask for more than an answer can have: then it has no more than that.
    out.bytes.0 = out.bytes.0.min(out.dense());
    if let Some(learned) = figures.learned {
        // As an answer's tokens, thinking apart, which is read by nobody.
        let all = (learned.output * usual_tasks as f64) as u64;
        out.usual.1 = estimate::bytes_of(all).clamp(bytes.0, bytes.1.max(bytes.0));
    }
    (figures, out)
}

/// How many tasks the chunks of a stage make, and how many items one may have.
fn chunks(chunk: Chunk, input: &Flow, packs: bool) -> ((u64, u64), u64) {
    let per_call = u64::from(chunk.most_items());
    let Some(size) = chunk.size() else {
        let tasks = (
            input.items.0.div_ceil(per_call),
            input.items.1.div_ceil(per_call),
        );
        return (tasks, per_call);
    };
    // A token is reckoned at four letters when texts are cut, or at one sign of a script that writes in signs.
    let whole = u64::from(size.tokens) * 4;
    let step = u64::from(size.tokens - size.overlap.min(size.tokens / 2)) * 2;
    let low = input
        .bytes
        .0
        .div_ceil(whole)
        .max(input.items.0.div_ceil(per_call));
    // Boundaries come before a slice is full, and every item may end with a short one. Items that are smaller than a slice are packed:
    // of any two tasks that follow each other, the second begins where the first had no room left.
    let cut = input.bytes.1.div_ceil(step.max(1));
    let packed = 2 * cut + input.items.1.div_ceil(per_call) + 1;
    let apart = cut + input.items.1;
    (
        (low, if packs { packed.min(apart) } else { apart }),
        per_call,
    )
}

/// Bytes with what slices show again.
fn again(chunk: Chunk, bytes: u64) -> u64 {
    let Some(size) = chunk.size() else {
        return bytes;
    };
    let tokens = u64::from(size.tokens.max(1));
    bytes
        + bytes.saturating_mul(u64::from(size.overlap))
            / (tokens - u64::from(size.overlap.min(size.tokens / 2))).max(1)
}

/// Searches and pages that one call may have.
fn uses(stage: &ResolvedStage) -> (u64, u64) {
    let most = |tool: &Option<WebTool>| tool.as_ref().map_or(0, |tool| u64::from(tool.max_uses));
    let tools = stage.tools.as_ref();
    tools.map_or((0, 0), |tools| {
        (most(&tools.web_search), most(&tools.web_fetch))
    })
}

/// What searches and fetched pages may add to prompts.
fn tool_bytes(stage: &ResolvedStage, tasks: u64) -> u64 {
    let (searches, pages) = uses(stage);
    tasks
        .saturating_mul(searches + pages)
        .saturating_mul(TOOL_BYTES)
}

/// How many tasks a stage usually has: of what is cut by tokens as its bytes come to, of the rest by its items.
fn usual_tasks(stage: &ResolvedStage, tasks: (u64, u64), input: &Flow) -> u64 {
    let packed = input.usual.0.div_ceil(u64::from(stage.chunk.most_items()));
    let usual = match stage.chunk.size() {
        Some(size) => {
            let cut = input.usual.1.div_ceil((u64::from(size.tokens) * 3).max(1));
            cut.max(packed)
        }
        None => packed,
    };
    usual.clamp(tasks.0, tasks.1.max(tasks.0))
}

/// Characters of one result of a map stage: at least, as usual, and on average at most.
fn result_chars(stage: &ResolvedStage) -> (u64, u64, u64) {
    let prose = match stage.output {
        Output::Item => Prose::Brief,
        Output::Chunk => Prose::Gathered,
    };
    match &stage.output_schema {
        Some(schema) => {
            let (usual, most) = average_chars(schema, prose);
            (value_chars(schema, prose).0, usual, most)
        }
        // A text of any length.
        None => {
            let any = serde_json::json!({"type": "string"});
            (SHORT_TEXT, USUAL_TEXT, value_chars(&any, Prose::Long).1)
        }
    }
}
