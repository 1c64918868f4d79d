//! What map stages have brought, read once from the first result to the last: counted, looked at, and an even sample of it kept.
//!
//! A stage over some results has those of the stages before it, as it has amended them.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::pages;
use super::sample::Sample;
use crate::app::stage::lineage::map_stages;
use crate::app::stage::loaded::Loaded;
use crate::app::stage::runtime::{JobRuntime, StageRuntime};
use crate::app::stage::{choice, lineage};
use crate::app::view::{Merged, Missing, ResultLine, StageMerge};
use crate::app::{App, AppError};
use crate::core::plan::condition::Condition;
use crate::core::plan::selected::{merged_with, over};
use crate::core::plan::spec::Merge;
use crate::core::results::columns::paths;
use crate::core::results::flags;
use crate::core::results::flags::Checker;
use crate::core::results::merge::{Merged as MergedResults, Merger};
use crate::ports::Ports;
use crate::store::stage::flags::Flag;

/// Missing items that the synthesis is told by name.
const MISSING_NAMED: usize = 200;
/// Items that a result for many is said to rest on, by id; beyond them it is said how many they are.
const IDS_NAMED: usize = 50;

/// Results, merged and as the synthesis sees them.
pub struct Gathered {
    pub merged: Merged,
    /// JSON of single results of the last map stage.
    pub sample: Sample,
    pub flags: Vec<(u32, Vec<Flag>)>,
}

impl Gathered {
    /// What follow-ups have not brought.
    pub fn left_note(&self, runtime: &JobRuntime) -> Option<String> {
        let left = |flags: &[Flag]| {
            let name = flags::Flag::NotFollowedUp.as_str();
            flags.iter().filter(|flag| flag.flag == name).count()
        };
        together(self.flags.iter().map(|(stage, flags)| {
            let (count, name) = (left(flags), &runtime.stage(*stage)?.stage.name);
            (count > 0).then(|| format!("{count} results were to be looked at once more in {name:?} and were not: they are as they were before"))
        }))
    }
}

/// The results that tasks of a map stage themselves have brought, to be read page by page.
pub fn own_results(job: &str, stage: u32, runtime: &StageRuntime) -> pages::ResultsOf {
    pages::ResultsOf {
        job: job.to_owned(),
        stage,
        amends: Vec::new(),
        output: runtime.stage.output,
        grouped: runtime.stage.group_by.is_some(),
    }
}

/// The results there are after a map stage: its own, or those of the stages before as it has amended them. `None` where the
/// plan has no such stage.
pub fn results_of(runtime: &JobRuntime, job: &str, stage: u32) -> Option<pages::ResultsOf> {
    let (base, amends) = lineage::lineage(runtime, stage);
    let mut of = own_results(job, base, runtime.stage(base)?);
    of.amends = amends;
    Some(of)
}

/// The fields of such results, each as the path to it: those of the stage's schema, and of the schemas of the stages that amend
/// them. `None` where one of them names no fields.
pub fn columns(
    runtime: &JobRuntime,
    of: &pages::ResultsOf,
    deep: bool,
) -> Option<Vec<Vec<String>>> {
    let mut seen = HashSet::new();
    let mut columns = Vec::new();
    for stage in std::iter::once(&of.stage).chain(&of.amends) {
        let schema = runtime.stage(*stage)?.stage.output_schema.as_ref();
        columns.extend(paths(schema, deep)?);
    }
    columns.retain(|column| seen.insert(column.clone()));
    Some(columns)
}

/// What is counted of the results there are after a map stage.
pub fn merge_of(runtime: &JobRuntime, stage: u32) -> Merge {
    let (base, amends) = lineage::lineage(runtime, stage);
    let mut merges = std::iter::once(base)
        .chain(amends)
        .filter_map(|stage| Some(&runtime.stage(stage)?.stage.merge));
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
    let note = together([gathered.left_note(&loaded.runtime), sample.note("results")]);
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

/// Reads the results of every map stage before `end` once; keeps an even sample of the last stage's of at most `bytes`.
pub async fn gather<P: Ports>(
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
    let mut maps: Vec<(u32, &StageRuntime)> = map_stages(&loaded.runtime);
    maps.retain(|(index, _)| *index < end);
    let last = maps.last().map(|(index, _)| *index);
    for (index, runtime) in maps {
        let Some(of) = results_of(&loaded.runtime, &loaded.job.id, index) else {
            continue;
        };
        let mut pass = Pass::new(&loaded.runtime, index, runtime);
        let mut results = match runtime.stage.amends() {
            true => pages::Results::apart(app.clone(), of),
            false => pages::Results::new(app.clone(), of),
        };
        let mut after = None;
        loop {
            let (lines, next) = results.portion(after).await?;
            pass.look_up(app, &results.of, &lines).await?;
            for line in lines {
                let own = results.brought(named(&line).0);
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
            runtime.stage.name.clone(),
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
    of: Option<&'a Condition>,
    merger: Merger,
    checker: Checker,
    /// Of the portion that is looked at.
    flagged: HashSet<String>,
    left: Vec<String>,
}

impl<'a> Pass<'a> {
    fn new(runtime: &JobRuntime, index: u32, stage: &'a StageRuntime) -> Pass<'a> {
        let merger = Merger::new(&merge_of(runtime, index));
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

    /// Which results of a page were flagged before, where the stage chose by that; `of` is what it chose from.
    async fn look_up<P: Ports>(
        &mut self,
        app: &App<P>,
        of: &pages::ResultsOf,
        lines: &[ResultLine],
    ) -> Result<(), AppError> {
        if !self.of.is_some_and(Condition::asks_flags) {
            return Ok(());
        }
        let mut stages = vec![of.stage];
        stages.extend(&of.amends);
        let ids: Vec<&str> = lines.iter().map(|line| named(line).0).collect();
        self.flagged = choice::flagged(app, &of.job, &stages, &ids).await?;
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
pub fn together(notes: impl IntoIterator<Item = Option<String>>) -> Option<String> {
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

pub fn results_json(
    loaded: &Loaded,
    merged: &Merged,
    sample: &Sample,
    note: Option<&str>,
) -> String {
    let last = map_stages(&loaded.runtime).pop();
    let results = last
        .and_then(|(_, runtime)| merged.stages.get(&runtime.stage.name))
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
pub async fn coverage<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    note: Option<&str>,
    flags: &[(u32, Vec<Flag>)],
) -> Result<String, AppError> {
    let total = u64::from(loaded.job.items_total);
    let missing: Vec<Missing> = crate::app::results::coverage::missing(app, loaded).await?;
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
