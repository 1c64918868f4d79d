//! The fan-in: results are merged deterministically, and the synthesis task is written with what fits.
//!
//! Frequencies are always those of all results. Where the results themselves do not fit the synthesis model's context or what
//! is left of the budget, a tree of readers ([`super::reduce`]) brings them down first. Only where the budget does not
//! allow that either, an even sample stands for them, and both the model and the coverage are told.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::drive::Loaded;
use super::follow::{BYTES_PER_TOKEN, amend};
use super::kit::{Kit, StageKit, nano};
use super::sample::Sample;
use super::view::{Merged, Missing, ResultLine, StageMerge};
use super::{App, AppError, bodies, query, reduce, results};
use crate::core::amend::{Of, merged_with, over};
use crate::core::flags::{self, Checker};
use crate::core::merge::{Merged as MergedResults, Merger};
use crate::core::plan::{Merge, StageKind};
use crate::core::verdict::Form;
use crate::ports::Ports;
use crate::store::flags::Flag;
use crate::store::jobs::StageRow;
use crate::store::listing;
use crate::store::row::Columns;
use crate::store::tasks::NewTask;

/// Kept free of the context for the frame and the coverage.
pub const CONTEXT_RESERVE: u64 = 8_000;
/// Missing items that the synthesis is told by name.
const MISSING_NAMED: usize = 200;
/// Items that a result for many is said to rest on, by id; beyond them it is said how many they are.
const IDS_NAMED: usize = 50;
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
    let synthesis = stage_of(&loaded.kit).filter(|_| wanted);
    let room = synthesis.map(|(_, kit)| Room::of(app, loaded, kit));
    let gathered = gather(
        app,
        loaded,
        room.as_ref().map_or(0, |room| room.bytes),
        u32::MAX,
    )
    .await?;
    let left = gathered.left_note(&loaded.kit);
    let plain = json!({"merged": gathered.merged, "note": left});
    let (Some((index, kit)), Some(room)) = (synthesis, room) else {
        return Ok(Prepared {
            merged: plain,
            next: Next::Nothing,
            flags: gathered.flags,
        });
    };
    if gathered.sample.is_part()
        && let Some(hold) = room.tree(loaded, kit, gathered.sample.whole)
    {
        return Ok(Prepared {
            merged: plain,
            next: Next::Tree { stage: index, hold },
            flags: gathered.flags,
        });
    }
    let note = together([left, gathered.sample.note("results")]);
    let at = (index, kit);
    let (merged, next) = write(
        app,
        loaded,
        at,
        &room,
        gathered.merged,
        &gathered.sample,
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
    let stored = query::rows(app, listing::merged(&loaded.job.id)).await?;
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
    let Some((index, kit)) = stage_of(&loaded.kit) else {
        return problem("the plan has no synthesis");
    };
    let size = reduce::size(app, loaded, stage, stage.level).await?;
    if size.done == 0 {
        return problem("the synthesis failed: no part of the results could be read for it");
    }
    let room = Room::of(app, loaded, kit);
    let shrank = if stage.level == 1 {
        true
    } else {
        let below = reduce::size(app, loaded, stage, stage.level - 1).await?;
        size.bytes.saturating_mul(5) < below.bytes.saturating_mul(4)
    };
    let more = shrank && size.done > 1 && stage.level < reduce::MOST_LEVELS;
    if size.bytes > room.bytes
        && more
        && let Some(hold) = room.tree(loaded, kit, size.bytes)
    {
        return Ok((stored, Next::Tree { stage: index, hold }));
    }
    let mut sample = Sample::of(room.bytes);
    let mut from = stage.look;
    loop {
        let (entries, next) = reduce::outputs(app, loaded, stage, from, stage.level).await?;
        for (_, entry) in entries {
            sample.add(entry.to_string());
        }
        let Some(next) = next else { break };
        from = next;
    }
    let known = stored.get("note").and_then(Value::as_str);
    let mut notes: Vec<String> = Vec::new();
    for level in 1..=stage.level {
        let lost = reduce::size(app, loaded, stage, level).await?.lost;
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
    write(app, loaded, (index, kit), &room, merged, &sample, note).await
}

/// The synthesis of a plan with its index.
pub fn stage_of(kit: &Kit) -> Option<(u32, &StageKit)> {
    (0u32..)
        .zip(&kit.stages)
        .find(|(_, kit)| kit.stage.kind == StageKind::Synthesis)
}

/// The synthesis task over what is shown of the results, if it can be paid.
async fn write<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    (stage, kit): (u32, &StageKit),
    room: &Room,
    merged: Merged,
    sample: &Sample,
    note: Option<String>,
) -> Result<(Value, Next), AppError> {
    let coverage = coverage(app, loaded, note.as_deref(), &[]).await?;
    let results = results_json(loaded, &merged, sample, note.as_deref());
    let merged = json!({"merged": merged, "note": note});
    let request =
        kit.synthesis_request(kit.stage.max_tokens, Form::FRESH, &results, &coverage, None);
    let Some(max_tokens) = room.affordable(kit, &request) else {
        let message = "what is left of the budget does not pay for a synthesis".to_owned();
        return Ok((merged, Next::Problem("budget", message)));
    };
    let request = kit.synthesis_request(max_tokens, Form::FRESH, &results, &coverage, None);
    let input = json!({"results": results, "coverage": coverage}).to_string();
    let (body, blob) = bodies::keep(app, &bodies::job_prefix(&loaded.job.id), input).await?;
    let row = NewTask {
        ids: "[]".to_owned(),
        items: 0,
        class: kit.model.class.clone(),
        key: kit.key(&request),
        bytes: request.input_bound(&kit.model),
        max_tokens,
        worst_nano: nano(request.worst_case(&kit.model)),
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
pub fn context_bytes(kit: &StageKit) -> u64 {
    kit.model
        .context_tokens
        .saturating_sub(u64::from(kit.stage.max_tokens) + CONTEXT_RESERVE)
        .saturating_mul(BYTES_PER_TOKEN)
}

/// What a synthesis costs at worst whatever it reads, and for a million bytes that it reads.
pub fn prices(kit: &StageKit) -> (i64, i64) {
    let empty = kit.synthesis_request(kit.stage.max_tokens, Form::FRESH, "", "", None);
    let per_million = nano(kit.model.prices.worst_case(1_000_000, 0, None)).max(1);
    (nano(empty.worst_case(&kit.model)), per_million)
}

impl Room {
    fn of<P: Ports>(app: &App<P>, loaded: &Loaded, kit: &StageKit) -> Room {
        let job = &loaded.job;
        let context = context_bytes(kit);
        let left = job
            .limit_nano
            .map(|limit| limit - job.spent_nano - job.reserved_nano - job.unknown_nano);
        // More than this no day has.
        let once = left.into_iter().chain(app.config.day_cap()).min();
        let bytes = match once {
            None => context,
            Some(left) => {
                let (fixed, per_million) = prices(kit);
                let affordable = i128::from(left - fixed) * 1_000_000 / i128::from(per_million);
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
    fn tree(&self, loaded: &Loaded, kit: &StageKit, bytes: u64) -> Option<i64> {
        let reader = loaded.kit.reduce.as_ref()?;
        let Some(limit) = loaded.job.limit_nano else {
            return Some(0);
        };
        let (fixed, per_million) = prices(kit);
        // A level leaves an eighth of what it reads at the most.
        let read = i64::try_from(self.context.min(bytes / 8)).unwrap_or(i64::MAX);
        let synthesis = (per_million / 1_000_000 + 1)
            .saturating_mul(read)
            .saturating_add(fixed);
        let tree = reduce::expected_nano(reader, bytes);
        let left = self.left.unwrap_or(i64::MAX);
        (tree.saturating_add(synthesis) <= left).then(|| synthesis.min(limit / 10 * 3))
    }

    /// The most tokens the answer may have, at most what the stage wants; `None` where it is not worth it.
    fn affordable(
        &self,
        kit: &StageKit,
        request: &crate::claude::request::MessagesRequest,
    ) -> Option<u32> {
        let wanted = request.max_tokens;
        let Some(left) = self.once else {
            return Some(wanted);
        };
        let worst = nano(request.worst_case(&kit.model));
        if worst <= left {
            return Some(wanted);
        }
        // Rounded so that too many tokens are cut rather than too few.
        let per_token = (nano(kit.model.prices.worst_case(0, 1_000, None)) / 1_000).max(1);
        let over = worst - left;
        let cut = u32::try_from(over / per_token + 1).unwrap_or(u32::MAX);
        wanted
            .checked_sub(cut)
            .filter(|tokens| *tokens >= LEAST_TOKENS)
    }
}

/// Results, merged and as the synthesis sees them.
struct Gathered {
    merged: Merged,
    /// JSON of single results of the last map stage.
    sample: Sample,
    flags: Vec<(u32, Vec<Flag>)>,
}

impl Gathered {
    /// What follow-ups have not brought.
    fn left_note(&self, kit: &Kit) -> Option<String> {
        let left = |flags: &[Flag]| {
            let name = flags::Flag::NotFollowedUp.as_str();
            flags.iter().filter(|flag| flag.flag == name).count()
        };
        together(self.flags.iter().map(|(stage, flags)| {
            let (count, name) = (left(flags), &kit.stage(*stage)?.stage.name);
            (count > 0).then(|| format!("{count} results were to be looked at once more in {name:?} and were not: they are as they were before"))
        }))
    }
}

/// The results that tasks of a map stage themselves have brought, to be read page by page.
pub fn own_results(job: &str, stage: u32, kit: &StageKit) -> results::ResultsOf {
    results::ResultsOf {
        job: job.to_owned(),
        stage,
        amends: Vec::new(),
        output: kit.stage.output,
        grouped: kit.stage.group_by.is_some(),
        columns: kit.stage.columns(),
    }
}

/// The results there are after a map stage: its own, or those of the stages before as it has amended them. `None` where the
/// plan has no such stage.
pub fn results_of(kit: &Kit, job: &str, stage: u32) -> Option<results::ResultsOf> {
    let (base, amends) = amend::lineage(kit, stage);
    let mut of = own_results(job, base, kit.stage(base)?);
    for stage in &amends {
        let more = kit.stage(*stage)?.stage.columns();
        of.columns = of.columns.zip(more).map(|(mut columns, more)| {
            columns.extend(more);
            let mut seen = HashSet::new();
            columns.retain(|column| seen.insert(column.clone()));
            columns
        });
    }
    of.amends = amends;
    Some(of)
}

/// What is counted of the results there are after a map stage.
pub fn merge_of(kit: &Kit, stage: u32) -> Merge {
    let (base, amends) = amend::lineage(kit, stage);
    let mut merges = std::iter::once(base)
        .chain(amends)
        .filter_map(|stage| Some(&kit.stage(stage)?.stage.merge));
    let first = merges.next().cloned().unwrap_or_default();
    merges.fold(first, |before, own| merged_with(&before, own))
}

/// Results and coverage in the form that a synthesis is told them, of at most about so many bytes.
pub async fn digest<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    bytes: u64,
) -> Result<Digest, AppError> {
    let gathered = gather(app, loaded, bytes, u32::MAX).await?;
    let sample = &gathered.sample;
    let note = together([gathered.left_note(&loaded.kit), sample.note("results")]);
    let coverage = coverage(app, loaded, note.as_deref(), &gathered.flags).await?;
    let results = results_json(loaded, &gathered.merged, sample, note.as_deref());
    Ok(Digest {
        results,
        coverage,
        flags: gathered.flags,
    })
}

/// What came of a plan so far.
pub struct Digest {
    pub results: String,
    pub coverage: String,
    /// What looks wrong in each map stage.
    pub flags: Vec<(u32, Vec<Flag>)>,
}

/// What looks wrong in the map stages before one.
pub async fn flags_before<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: u32,
) -> Result<Vec<(u32, Vec<Flag>)>, AppError> {
    Ok(gather(app, loaded, 0, stage).await?.flags)
}

/// Reads the results of every map stage before `end` once; keeps an even sample of the last stage's of at most `bytes`.
async fn gather<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    bytes: u64,
    end: u32,
) -> Result<Gathered, AppError> {
    let mut gathered = Gathered {
        merged: Merged::default(),
        sample: Sample::of(bytes),
        flags: Vec::new(),
    };
    let mut maps: Vec<(u32, &StageKit)> = map_stages(&loaded.kit);
    maps.retain(|(index, _)| *index < end);
    let last = maps.last().map(|(index, _)| *index);
    for (index, kit) in maps {
        let Some(of) = results_of(&loaded.kit, &loaded.job.id, index) else {
            continue;
        };
        let mut pass = Pass::new(&loaded.kit, index, kit);
        let mut after = None;
        loop {
            let (lines, next) = results::page_apart(app, &of, after).await?;
            pass.look_up(app, &loaded.job.id, &of, &lines).await?;
            for (line, own) in lines {
                if let Some(line) = pass.add(line, own)
                    && Some(index) == last
                {
                    gathered.sample.add(shown(line).to_string());
                }
            }
            let Some(next) = next else { break };
            after = Some(next);
        }
        let (merged, flags) = pass.finish();
        gathered.flags.push((index, flags));
        if Some(index) == last {
            gathered.merged.count_by = merged.count_by.clone();
            gathered.merged.distinct = merged.distinct;
        }
        gathered.merged.stages.insert(
            kit.stage.name.clone(),
            StageMerge {
                count_by: merged.count_by,
                distinct: merged.distinct,
                results: merged.results,
            },
        );
    }
    Ok(gathered)
}

/// One pass over the results there are after a map stage: what is counted, and what looks wrong.
struct Pass<'a> {
    of: Option<&'a Of>,
    merger: Merger,
    checker: Checker,
    /// Of the page that is looked at.
    flagged: HashSet<String>,
    left: Vec<String>,
}

impl<'a> Pass<'a> {
    fn new(kit: &Kit, index: u32, stage: &'a StageKit) -> Pass<'a> {
        let merger = Merger::new(&merge_of(kit, index));
        Pass {
            of: stage.stage.of.as_ref(),
            merger: match stage.stage.amends() {
                true => merger.where_present(&stage.stage.merge.count_by),
                false => merger,
            },
            checker: Checker::of(stage.stage.is_cascade()),
            flagged: HashSet::new(),
            left: Vec::new(),
        }
    }

    /// Which results of a page were flagged before, where the stage chose by that.
    async fn look_up<P: Ports>(
        &mut self,
        app: &App<P>,
        job: &str,
        of: &results::ResultsOf,
        lines: &[(ResultLine, Option<Value>)],
    ) -> Result<(), AppError> {
        if !self.of.is_some_and(|of| of.flagged) {
            return Ok(());
        }
        let mut stages = vec![of.stage];
        stages.extend(&of.amends);
        stages.pop();
        let ids: Vec<&str> = lines.iter().map(|(line, _)| named(line).0).collect();
        self.flagged = amend::flagged(app, job, &stages, &ids).await?;
        Ok(())
    }

    /// Takes a result, and what the stage has brought for it where it amends. It comes back as it is after the stage, unless the same
    /// was there already.
    fn add(&mut self, line: ResultLine, own: Option<Value>) -> Option<ResultLine> {
        let (id, output) = named(&line);
        let line = match (self.of, own) {
            (None, _) => {
                self.checker.add(id, output);
                line
            }
            (Some(_), Some(own)) => {
                self.checker.add(id, &own);
                amended(line, own)
            }
            (Some(of), None) => {
                if of.chooses(output, self.flagged.contains(id)) {
                    self.left.push(id.to_owned());
                }
                line
            }
        };
        self.merger.add(named(&line).1).then_some(line)
    }

    fn finish(self) -> (MergedResults, Vec<Flag>) {
        let left = self
            .left
            .into_iter()
            .map(|id| (id, flags::Flag::NotFollowedUp));
        let found = self.checker.finish().into_iter().chain(left);
        let flags = found.map(|(id, flag)| Flag {
            id,
            flag: flag.as_str().to_owned(),
        });
        (self.merger.finish(), flags.collect())
    }
}

fn amended(line: ResultLine, own: Value) -> ResultLine {
    match line {
        ResultLine::Item { id, output, task } => ResultLine::Item {
            id,
            output: over(output, own),
            task,
        },
        ResultLine::Chunk {
            task,
            label,
            group,
            ids,
            output,
        } => ResultLine::Chunk {
            task,
            label,
            group,
            ids,
            output: over(output, own),
        },
    }
}

/// Several remarks as one.
fn together(notes: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    let notes: Vec<String> = notes.into_iter().flatten().collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// A result with the id it has.
pub fn named(line: &ResultLine) -> (&str, &Value) {
    match line {
        ResultLine::Item { id, output, .. } => (id, output),
        ResultLine::Chunk { label, output, .. } => (label.as_deref().unwrap_or_default(), output),
    }
}

/// The task that gave it.
pub fn task_of(line: &ResultLine) -> u32 {
    match line {
        ResultLine::Item { task, .. } | ResultLine::Chunk { task, .. } => *task,
    }
}

/// A result as the synthesis, or a reader of the tree, sees it.
pub fn shown(line: ResultLine) -> Value {
    match line {
        ResultLine::Item { id, output, .. } => json!({"id": id, "output": output}),
        ResultLine::Chunk {
            label, ids, output, ..
        } => chunk_line(label.as_deref(), &ids, &output),
    }
}

/// One result for many items, as the synthesis sees it.
fn chunk_line(label: Option<&str>, ids: &[String], output: &Value) -> Value {
    let named = ids.get(..IDS_NAMED.min(ids.len())).unwrap_or_default();
    let mut line = json!({"id": label, "ids": named, "output": output});
    if let Value::Object(line) = &mut line {
        if label.is_none() {
            line.shift_remove("id");
        }
        if named.len() < ids.len() {
            line.insert("items".into(), ids.len().into());
        }
    }
    line
}

/// The map stages of a plan with their indexes.
pub fn map_stages(kit: &Kit) -> Vec<(u32, &StageKit)> {
    (0u32..)
        .zip(&kit.stages)
        .filter(|(_, stage)| stage.stage.kind == StageKind::Map)
        .collect()
}

fn results_json(loaded: &Loaded, merged: &Merged, sample: &Sample, note: Option<&str>) -> String {
    let last = map_stages(&loaded.kit).pop();
    let results = last
        .and_then(|(_, kit)| merged.stages.get(&kit.stage.name))
        .map_or(0, |stage| stage.results);
    let total = merged.distinct.unwrap_or(results);
    let mut head = json!({"count_by": merged.count_by, "total": total});
    if let Value::Object(head) = &mut head {
        if let Some(distinct) = merged.distinct {
            head.insert("distinct".into(), distinct.into());
        }
        if let Some(note) = note {
            head.insert("note".into(), note.into());
        }
    }
    let mut text = head.to_string();
    // `{…}` becomes `{…,"results":[…]}` without a second copy of every result as a tree.
    text.pop();
    text.push_str(",\"results\":[");
    text.push_str(&sample.lines.join(","));
    text.push_str("]}");
    text
}

/// The coverage as the synthesis is told.
async fn coverage<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    note: Option<&str>,
    flags: &[(u32, Vec<Flag>)],
) -> Result<String, AppError> {
    let total = u64::from(loaded.job.items_total);
    let missing: Vec<Missing> = super::coverage::missing(app, loaded).await?;
    let named: Vec<&Missing> = missing.iter().take(MISSING_NAMED).collect();
    let mut coverage = json!({
        "total": total,
        "covered": total.saturating_sub(missing.len() as u64),
        "missing_total": missing.len(),
        "missing": named,
        "note": note,
    });
    let mut flagged: BTreeMap<&str, u64> = BTreeMap::new();
    for flag in flags.iter().flat_map(|(_, flags)| flags) {
        *flagged.entry(flag.flag.as_str()).or_default() += 1;
    }
    if let Value::Object(coverage) = &mut coverage
        && !flagged.is_empty()
    {
        coverage.insert("flagged".into(), json!(flagged));
    }
    Ok(coverage.to_string())
}
