//! The fan-in: results are merged deterministically, and the synthesis task is written with what fits.
//!
//! Frequencies are always those of all results. Where the results themselves do not fit the synthesis model's context or what
//! is left of the budget, a tree of readers ([`super::reduce`]) brings them down first. Only where the budget does not
//! allow that either, an even sample stands for them, and both the model and the coverage are told.

use serde_json::{Value, json};

use super::aggregate::{coverage, gather, results_json, together};
use super::reduce_tree;
use super::sample::Sample;
use crate::app::stage::loaded::Loaded;
use crate::app::stage::outputs::BYTES_PER_TOKEN;
use crate::app::stage::runtime::{JobRuntime, StageRuntime, nano};
use crate::app::support::{blobs, db};
use crate::app::view::Merged;
use crate::app::{App, AppError};
use crate::core::plan::spec::StageKind;
use crate::core::task::retry_policy::RequestMode;
use crate::ports::Ports;
use crate::store::job::jobs::StageRow;
use crate::store::read::listing;
use crate::store::row::Columns;
use crate::store::stage::flags::Flag;
use crate::store::task::tasks::NewTask;

/// Kept free of the context for the frame, the coverage and the frequencies: so many tokens, of a small context half.
const CONTEXT_RESERVE: u64 = 8_000;
/// A synthesis that can read no more bytes of results than these reports on nothing.
pub const LEAST_RESULT_BYTES: u64 = 500;
/// A synthesis with less room to answer is not worth its money.
const LEAST_TOKENS: u32 = 256;

/// What came of merging.
pub struct Prepared {
    /// What the report is made of: `{"merged", "note"}`.
    pub merged: Value,
    pub next: Next,
    /// What looks wrong in each map stage; nothing where results were not read.
    pub flags: Vec<(u32, Vec<Flag>)>,
}

/// How the job goes on.
pub enum Next {
    /// No synthesis is wanted.
    Nothing,
    /// With the synthesis.
    Synthesis(Box<SynthesisTask>),
    /// With the first level of a tree, or another one; so much is held back for the synthesis meanwhile.
    Tree { stage: u32, hold: i64 },
    /// There can be no synthesis: a code, and the reason.
    Problem(&'static str, String),
}

pub struct SynthesisTask {
    pub stage: u32,
    pub row: NewTask,
}

/// Merges the results of all map stages; with `wanted`, says how the synthesis is come by.
pub async fn prepare<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    wanted: bool,
) -> Result<Prepared, AppError> {
    let synthesis = stage_of(&loaded.runtime).filter(|_| wanted);
    let room = synthesis.map(|(_, runtime)| Room::of(app, loaded, runtime));
    let gathered = gather(
        app,
        loaded,
        room.as_ref().map_or(0, |room| room.bytes),
        u32::MAX,
    )
    .await?;
    let left = gathered.left_note(&loaded.runtime);
    let plain = json!({"merged": gathered.merged, "note": left});
    let (Some((index, runtime)), Some(room)) = (synthesis, room) else {
        return Ok(Prepared {
            merged: plain,
            next: Next::Nothing,
            flags: gathered.flags,
        });
    };
    if gathered.sample.is_part()
        && let Some(hold) = room.tree(loaded, runtime, gathered.sample.whole)
    {
        return Ok(Prepared {
            merged: plain,
            next: Next::Tree { stage: index, hold },
            flags: gathered.flags,
        });
    }
    let note = together([left, gathered.sample.note("results")]);
    let at = (index, runtime);
    let (merged, next) = write(
        app,
        loaded,
        at,
        &room,
        gathered.merged,
        gathered.sample,
        note,
    )
    .await?;
    Ok(Prepared {
        merged,
        next,
        flags: gathered.flags,
    })
}

/// After a level of the tree: the synthesis over what it brought, or another level.
pub async fn over_tree<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
) -> Result<(Value, Next), AppError> {
    let stored = db::rows(app, listing::merged(&loaded.job.id)).await?;
    let stored: Value = stored
        .first()
        .and_then(|row| row.json("merged"))
        .unwrap_or(Value::Null);
    let merged: Merged = stored
        .get("merged")
        .and_then(|merged| serde_json::from_value(merged.clone()).ok())
        .unwrap_or_default();
    let problem = |message: &str| {
        let next = Next::Problem("synthesis_failed", message.to_owned());
        Ok((stored.clone(), next))
    };
    let Some((index, runtime)) = stage_of(&loaded.runtime) else {
        return problem("the plan has no synthesis");
    };
    let size = reduce_tree::size(app, loaded, stage, stage.level).await?;
    if size.done == 0 {
        return problem("the synthesis failed: no part of the results could be read for it");
    }
    let room = Room::of(app, loaded, runtime);
    let shrank = if stage.level == 1 {
        true
    } else {
        let below = reduce_tree::size(app, loaded, stage, stage.level - 1).await?;
        size.bytes.saturating_mul(5) < below.bytes.saturating_mul(4)
    };
    let more = shrank && size.done > 1 && stage.level < reduce_tree::MOST_LEVELS;
    if size.bytes > room.bytes
        && more
        && let Some(hold) = room.tree(loaded, runtime, size.bytes)
    {
        return Ok((stored, Next::Tree { stage: index, hold }));
    }
    let mut sample = Sample::of(room.bytes);
    let mut from = stage.look;
    loop {
        let (entries, next) = reduce_tree::outputs(app, loaded, stage, from, stage.level).await?;
        for (_, entry) in entries {
            sample.add(entry.to_string());
        }
        let Some(next) = next else { break };
        from = next;
    }
    let known = stored.get("note").and_then(Value::as_str);
    let mut notes: Vec<String> = Vec::new();
    for level in 1..=stage.level {
        let lost = reduce_tree::size(app, loaded, stage, level).await?.lost;
        let what = if level == 1 {
            "results"
        } else {
            "summaries of results"
        };
        if lost > 0 {
            notes.push(format!("{lost} {what} could not be read for the synthesis"));
        }
    }
    notes.extend(sample.note("summaries of results"));
    if !notes.is_empty() {
        notes.push("the frequencies are of all results".to_owned());
    }
    let note = together(known.map(str::to_owned).into_iter().chain(notes).map(Some));
    write(app, loaded, (index, runtime), &room, merged, sample, note).await
}

/// The synthesis of a plan with its index.
pub fn stage_of(runtime: &JobRuntime) -> Option<(u32, &StageRuntime)> {
    (0u32..)
        .zip(&runtime.stages)
        .find(|(_, runtime)| runtime.stage.kind == StageKind::Synthesis)
}

/// The synthesis task over what is shown of the results, if it can be paid.
async fn write<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    (stage, runtime): (u32, &StageRuntime),
    room: &Room,
    merged: Merged,
    sample: Sample,
    note: Option<String>,
) -> Result<(Value, Next), AppError> {
    let coverage = coverage(app, loaded, note.as_deref(), &[]).await?;
    if sample.lines.is_empty()
        && sample.seen > 0
        && let Some(problem) = room.sees_nothing(loaded, runtime)
    {
        return Ok((json!({"merged": merged, "note": note}), problem));
    }
    let results = results_json(loaded, &merged, &sample, note.as_deref());
    // What is held from here on is held several times over, and may fill the model's context each time.
    drop(sample);
    let merged = json!({"merged": merged, "note": note});
    let mut request = runtime.synthesis_request(
        runtime.stage.max_tokens,
        RequestMode::FRESH,
        &results,
        &coverage,
        None,
    );
    let Some(max_tokens) = room.affordable(runtime, &request) else {
        let message = "what is left of the budget does not pay for a synthesis".to_owned();
        return Ok((merged, Next::Problem("budget", message)));
    };
    if max_tokens != request.max_tokens {
        drop(request);
        request =
            runtime.synthesis_request(max_tokens, RequestMode::FRESH, &results, &coverage, None);
    }
    let (bytes, worst_nano) = (
        request.input_bound(&runtime.model),
        nano(request.worst_case(&runtime.model)),
    );
    let key = runtime.key(&request);
    drop(request);
    let input = json!({"results": results, "coverage": coverage}).to_string();
    let (body, blob) = blobs::keep(app, &blobs::job_prefix(&loaded.job.id), input).await?;
    let row = NewTask {
        ids: "[]".to_owned(),
        items: 0,
        class: runtime.model.class.clone(),
        key,
        bytes,
        max_tokens,
        worst_nano,
        body,
        blob,
        grp: None,
        labelled: false,
        tier: 0,
        wire: Vec::new(),
        taken: None,
    };
    let task = Box::new(SynthesisTask { stage, row });
    Ok((merged, Next::Synthesis(task)))
}

/// What a synthesis may take.
struct Room {
    /// Of results, by context and budget.
    bytes: u64,
    /// By context alone.
    context: u64,
    /// Nano-dollars left of the job's budget.
    left: Option<i64>,
    /// The same for one call: at most those of a whole day.
    once: Option<i64>,
}

/// Bytes of results that a synthesis' model can read beside its frame.
pub fn context_bytes(runtime: &StageRuntime) -> u64 {
    room_of(
        runtime.model.context_tokens,
        runtime.stage.max_tokens,
        runtime.shown_bytes(),
    )
}

/// The same for a context, an answer of that many tokens at most, and a prompt of so many bytes.
pub fn room_of(context_tokens: u64, max_tokens: u32, prompt_bytes: u64) -> u64 {
    let prompt = prompt_bytes / BYTES_PER_TOKEN;
    let reserve = CONTEXT_RESERVE.min(context_tokens / 2);
    context_tokens
        .saturating_sub(u64::from(max_tokens))
        .saturating_sub(reserve.max(prompt.saturating_add(reserve / 2)))
        .saturating_mul(BYTES_PER_TOKEN)
}

/// What a synthesis costs at worst whatever it reads, and for a million bytes that it reads.
pub fn prices(runtime: &StageRuntime) -> (i64, i64) {
    let empty =
        runtime.synthesis_request(runtime.stage.max_tokens, RequestMode::FRESH, "", "", None);
    let per_million = nano(runtime.model.prices.worst_case(1_000_000, 0, None)).max(1);
    (nano(empty.worst_case(&runtime.model)), per_million)
}

impl Room {
    fn of<P: Ports>(app: &App<P>, loaded: &Loaded, runtime: &StageRuntime) -> Room {
        let job = &loaded.job;
        let context = context_bytes(runtime);
        let left = job
            .limit_nano
            .map(|limit| limit - job.spent_nano - job.reserved_nano - job.unknown_nano);
        // More than this no day has.
        let once = left.into_iter().chain(app.config.day_cap()).min();
        let bytes = match once {
            None => context,
            Some(left) => {
                let (fixed, per_million) = prices(runtime);
                let bytes = |nano: i64| i128::from(nano) * 1_000_000 / i128::from(per_million);
                // Where the whole answer would take all that is left, a shorter one over some results is better: a third
                // is for those.
                let affordable = bytes(left - fixed).max(bytes(left / 3));
                // A tenth is kept for the coverage and the frequencies.
                context.min(u64::try_from(affordable * 9 / 10).unwrap_or(0))
            }
        };
        Room {
            bytes,
            context,
            left,
            once,
        }
    }

    /// Whether a tree over so many bytes can be paid, and the synthesis after it: then what is held back for that one.
    fn tree(&self, loaded: &Loaded, runtime: &StageRuntime, bytes: u64) -> Option<i64> {
        let reader = loaded.runtime.reduce.as_ref()?;
        let Some(limit) = loaded.job.limit_nano else {
            return Some(0);
        };
        let (fixed, per_million) = prices(runtime);
        // A level leaves an eighth of what it reads at the most.
        let read = i64::try_from(self.context.min(bytes / 8)).unwrap_or(i64::MAX);
        let synthesis = (per_million / 1_000_000 + 1)
            .saturating_mul(read)
            .saturating_add(fixed);
        let tree = reduce_tree::expected_nano(reader, bytes);
        let left = self.left.unwrap_or(i64::MAX);
        (tree.saturating_add(synthesis) <= left).then(|| synthesis.min(limit / 10 * 3))
    }

    /// A report on frequencies alone must not look like one on the results. `None` where the job ends `partial` anyway: its
    /// budget was used up by the items, and the coverage says so.
    fn sees_nothing(&self, loaded: &Loaded, runtime: &StageRuntime) -> Option<Next> {
        if self.bytes < self.context {
            let mut stages = loaded.stages.iter();
            let whole = stages.all(|stage| stage.failed + stage.skipped + stage.cancelled == 0);
            let message = "what is left of the budget does not pay for a synthesis that reads a single result";
            return whole.then(|| Next::Problem("budget", message.to_owned()));
        }
        let message = format!(
            "no single result fits the context of {} beside the prompt: choose a model with a larger context, or a smaller \
             max_tokens",
            runtime.model.id
        );
        Some(Next::Problem("synthesis_failed", message))
    }

    /// The most tokens the answer may have, at most what the stage wants; `None` where it is not worth it.
    fn affordable(
        &self,
        runtime: &StageRuntime,
        request: &crate::claude::request::MessagesRequest,
    ) -> Option<u32> {
        let wanted = request.max_tokens;
        let Some(left) = self.once else {
            return Some(wanted);
        };
        let worst = nano(request.worst_case(&runtime.model));
        if worst <= left {
            return Some(wanted);
        }
        // Rounded so that too many tokens are cut rather than too few.
        let per_token = (nano(runtime.model.prices.worst_case(0, 1_000, None)) / 1_000).max(1);
        let over = worst - left;
        let cut = u32::try_from(over / per_token + 1).unwrap_or(u32::MAX);
        wanted
            .checked_sub(cut)
            .filter(|tokens| *tokens >= LEAST_TOKENS)
    }
}
