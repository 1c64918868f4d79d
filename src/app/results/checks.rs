//! Checks of a map stage's results before anybody builds on them.
//!
//! When a stage is through with its own work, a judge looks at a sample where the stage asks for it (`verify`), and what a
//! check flags is asked for once more where the job allows it (`limits.redo_ratio`). Both are tasks of the stage, with its
//! fan-in; a new answer takes the place of the first one, and where there is none the first one stays. A flag is
//! a remark: it never takes an item out of the coverage.
//!
//! The phases of a stage: `work`, then `verify`, `check` and `redo` as they are wanted, then `checked`. A retry begins with
//! `work` again and goes through the others for what is new.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};

use super::{aggregate, pages};
use crate::app::stage::loaded::Loaded;
use crate::app::stage::runtime::StageRuntime;
use crate::app::stage::{outputs, runtime, task_row};
use crate::app::support::{blobs, db, log};
use crate::app::{App, AppError};
use crate::core::job::stage_step::{StagePhase, StageStep};
use crate::core::plan::spec::Output;
use crate::core::results::flags::{Checker, sampled};
use crate::core::task::kind::TaskKind;
use crate::core::task::retry_policy::RequestMode;
use crate::ports::{Clock, Db, DbError, Ports, Statement};
use crate::store::job::jobs::StageRow;
use crate::store::row::{Columns, Row};
use crate::store::stage::checks::{Asked, Chosen, Replaced};
use crate::store::stage::flags::Flag;
use crate::store::stage::{checks as sql, flags};
use crate::store::task::admission::Body;
use crate::store::task::tasks;
use crate::store::task::tasks::{NewTask, Slice};

/// What a judge found to be wrong.
pub const JUDGED_WRONG: &str = "failed_verification";
/// Tasks whose results one slice reads, and the bytes of results after which it reads no further.
const READ_TASKS: u32 = 200;
const READ_BYTES: u64 = 500_000;
/// Rows of one statement.
const PORTION: usize = 2_000;
const PAGE: u32 = 200;

/// Carries out a step of a stage's checks.
pub async fn carry_out<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
    step: StageStep,
) -> Result<(), AppError> {
    let Some(work) = loaded.runtime.stage(stage.idx) else {
        return Err(AppError::Internal("the plan has no such stage".into()));
    };
    match step {
        StageStep::Begin(phase) => begin(app, loaded, stage, phase).await,
        StageStep::ExpandVerify => verify_slice(app, loaded, stage, work).await,
        StageStep::Choose => look(app, loaded, stage, work).await,
        StageStep::ExpandRedo => redo_slice(app, loaded, stage).await,
        StageStep::Apply => apply(app, loaded, stage, work).await,
        StageStep::Start | StageStep::Expand | StageStep::Call | StageStep::Leave => Ok(()),
    }
}

async fn begin<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
    phase: StagePhase,
) -> Result<(), AppError> {
    let job = &loaded.job.id;
    let statements = vec![
        sql::guard(job, stage.idx, stage.phase),
        sql::begin(job, stage.idx, phase),
    ];
    write(app, statements).await
}

/// A batch that somebody else may have been faster with.
async fn write<P: Ports>(app: &App<P>, statements: Vec<Statement>) -> Result<(), AppError> {
    match app.ports.db().batch(statements).await {
        Ok(answers) => {
            log::moved(app, &answers, "checked");
            Ok(())
        }
        Err(DbError::Guard(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A task's results with what they were made of.
struct Seen {
    idx: u32,
    /// All results it can ever have are there.
    whole: bool,
    verified: bool,
    input: Vec<Value>,
    results: Vec<(String, Value)>,
    label: String,
}

async fn seen<P: Ports>(app: &App<P>, row: &Row) -> Result<Seen, AppError> {
    let label = row.text("label");
    let output = blobs::text(app, &Body::read(row, "body", "blob")).await?;
    let input = blobs::text(app, &Body::read(row, "input", "input_blob")).await?;
    Ok(Seen {
        idx: row.count("idx"),
        whole: row.text("state") == "succeeded",
        verified: row.flag("verified"),
        input: db::json_of(input).as_array().cloned().unwrap_or_default(),
        results: outputs::outputs(db::json_of(output), &label),
        label,
    })
}

/// The next page of a stage's results, and from where to read on; `None` at the end.
async fn page<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
) -> Result<(Vec<Seen>, Option<u32>), AppError> {
    let read = sql::to_check(
        &loaded.job.id,
        stage.idx,
        stage.look,
        READ_TASKS,
        READ_BYTES,
    );
    let rows = db::rows(app, read).await?;
    let next = rows.last().map(|row| row.count("idx").saturating_add(1));
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        all.push(seen(app, row).await?);
    }
    Ok((all, next))
}

/// Writes tasks for a judge, for the next results of the sample.
async fn verify_slice<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
    work: &StageRuntime,
) -> Result<(), AppError> {
    let judge = runtime_of(loaded, stage, TaskKind::Verify, 0)?;
    let share = work.stage.verify.map_or(0.0, |verify| verify.sample);
    let (seen, next) = page(app, loaded, stage).await?;
    let mut entries = Vec::new();
    let mut passed = Vec::new();
    for (place, one) in seen.iter().enumerate() {
        for (n, (id, result)) in one.results.iter().enumerate() {
            // The very first result is always looked at: a sample of a small job is not nothing.
            let first = stage.look == 0 && place == 0 && n == 0;
            if one.verified || !(first || sampled(id, share)) {
                continue;
            }
            entries.push(if work.stage.output == Output::Chunk {
                json!({"id": id, "items": one.input, "result": result})
            } else {
                let item = runtime::only(&one.input, std::slice::from_ref(id)).pop();
                json!({"id": id, "item": item, "result": result})
            });
        }
        if one.whole {
            passed.push(one.idx);
        }
    }
    let per_chunk = judge.stage.chunk.most_items() as usize;
    let chunks = outputs::cut(entries, outputs::room(judge), per_chunk);
    let mut rows = Vec::with_capacity(chunks.len());
    for chunk in &chunks {
        rows.push(task_row::new_task(app, judge, &loaded.job.id, RequestMode::FRESH, chunk).await?);
    }
    let more = vec![sql::verified(&loaded.job.id, &passed)];
    slice(app, loaded, stage, TaskKind::Verify, &rows, next, more).await
}

fn runtime_of<'a>(
    loaded: &'a Loaded,
    stage: &StageRow,
    purpose: TaskKind,
    tier: u32,
) -> Result<&'a StageRuntime, AppError> {
    let runtime = loaded.runtime.of(stage.idx, purpose, tier);
    runtime.ok_or_else(|| AppError::Internal("the stage's plan is not readable".into()))
}

/// A slice of tasks around the stage's own work.
async fn slice<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
    purpose: TaskKind,
    rows: &[NewTask],
    next: Option<u32>,
    more: Vec<Statement>,
) -> Result<(), AppError> {
    let job = &loaded.job;
    let now = app.ports.clock().now_ms();
    let slice = Slice {
        job: &job.id,
        stage: stage.idx,
        cursor: stage.cursor,
        next_cursor: stage.cursor,
        next_index: job.next_index,
        last: next.is_none(),
        purpose,
        level: 0,
        now,
        drive_at: app.drive_at(now),
    };
    let mut statements = tasks::expand(&slice, rows);
    if let Some(next) = next {
        statements.push(sql::look(&job.id, stage.idx, next));
    }
    statements.extend(more);
    write(app, statements).await
}

/// All results are looked at: what judges said is written down, and what is asked again is chosen.
async fn look<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
    work: &StageRuntime,
) -> Result<(), AppError> {
    let job = &loaded.job.id;
    let known = db::rows(app, sql::redone(job, stage.idx)).await?;
    // Which model each of them was asked of already; what a judge said is about first results.
    let redone: HashMap<String, u32> = known
        .iter()
        .map(|row| (row.text("id"), row.count("tier")))
        .collect();
    let wrong = judged_wrong(app, loaded, stage).await?;
    let tiers = work.stage.tiers();
    let mut checker = Checker::of(work.stage.is_cascade());
    let of = aggregate::own_results(job, stage.idx, work);
    let mut results = pages::Results::new(app.clone(), of);
    // What was taken over from an earlier job was checked there.
    let of_others = db::rows(app, sql::taken_over(job, stage.idx)).await?;
    let of_others: HashSet<u32> = of_others.iter().map(|row| row.count("idx")).collect();
    let mut taken: HashSet<String> = HashSet::new();
    let mut after = None;
    loop {
        let (lines, next) = results.portion(after).await?;
        for line in &lines {
            let (id, output) = aggregate::named(line);
            checker.add(id, output);
            if of_others.contains(&aggregate::task_of(line)) {
                taken.insert(id.to_owned());
            }
        }
        let Some(next) = next else { break };
        after = Some(next);
    }
    let share = work.stage.redo_share(&loaded.runtime.spec.limits);
    let most = (share * checker.results() as f64).floor() as usize;
    let mut left = most.saturating_sub(redone.len());
    let mut named = HashSet::new();
    // Once more of the same model where there is no other; in a cascade each time of the next.
    let next = |id: &String| match redone.get(id) {
        None if tiers > 1 => Some(1),
        None => Some(0),
        Some(tier) => Some(tier + 1).filter(|next| *next < tiers),
    };
    let mut chosen: Vec<Chosen> = Vec::new();
    let seen = wrong.iter().filter(|id| !redone.contains_key(*id)).cloned();
    for id in seen.chain(checker.finish().into_iter().map(|(id, _)| id)) {
        let Some(tier) = next(&id) else { continue };
        let again = redone.contains_key(&id);
        if taken.contains(&id) || (left == 0 && !again) || !named.insert(id.clone()) {
            continue;
        }
        left -= usize::from(!again);
        chosen.push(Chosen { id, tier });
    }
    let judged: Vec<Flag> = wrong
        .into_iter()
        .filter(|id| !redone.contains_key(id))
        .map(|id| Flag {
            id,
            flag: JUDGED_WRONG.to_owned(),
        })
        .collect();
    let mut statements = vec![sql::guard(job, stage.idx, StagePhase::Check)];
    for portion in judged.chunks(PORTION) {
        statements.push(flags::keep(job, stage.idx, portion));
    }
    for portion in chosen.chunks(PORTION) {
        statements.push(sql::choose(job, stage.idx, portion));
    }
    // An earlier run may have asked and ended before the answer could take its place.
    let answered = db::rows(app, sql::answers(job, stage.idx, 1)).await?;
    let nothing = chosen.is_empty() && answered.is_empty() && known.iter().all(asked_already);
    statements.push(if nothing {
        sql::end(job, stage.idx)
    } else {
        sql::begin(job, stage.idx, StagePhase::Redo)
    });
    write(app, statements).await
}

fn asked_already(row: &Row) -> bool {
    row.maybe_int("task").is_some()
}

async fn judged_wrong<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
) -> Result<Vec<String>, AppError> {
    let mut wrong = Vec::new();
    let mut after = -1;
    loop {
        let read = sql::verdicts(&loaded.job.id, stage.idx, after, PAGE);
        let rows = db::rows(app, read).await?;
        let Some(last) = rows.last() else {
            return Ok(wrong);
        };
        after = last.int("idx");
        for row in &rows {
            let text = blobs::text(app, &Body::read(row, "body", "blob")).await?;
            for (id, said) in outputs::outputs(db::json_of(text), "") {
                if said.get("verdict").and_then(Value::as_str) == Some("wrong") {
                    wrong.push(id);
                }
            }
        }
    }
}

/// Writes tasks for the next results that were chosen.
async fn redo_slice<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
) -> Result<(), AppError> {
    let job = &loaded.job.id;
    let chosen: HashMap<String, u32> = db::rows(app, sql::redone(job, stage.idx))
        .await?
        .iter()
        .filter(|row| !asked_already(row))
        .map(|row| (row.text("id"), row.count("tier")))
        .collect();
    let (seen, next) = page(app, loaded, stage).await?;
    let mut rows = Vec::new();
    let mut asked = Vec::new();
    // By the model that they are asked of: the items of many tasks fill whole chunks of it.
    let mut items: BTreeMap<u32, Vec<Value>> = BTreeMap::new();
    for one in &seen {
        let mut ids: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for (id, _) in &one.results {
            if let Some(tier) = chosen.get(id) {
                ids.entry(*tier).or_default().push(id.clone());
            }
        }
        for (tier, ids) in ids {
            asked.extend(ids.iter().map(|id| Asked {
                id: id.clone(),
                task: one.idx,
            }));
            let again = runtime_of(loaded, stage, TaskKind::Redo, tier)?;
            if again.stage.output == Output::Item {
                let of_tier = items.entry(tier).or_default();
                of_tier.extend(runtime::only(&one.input, &ids));
            } else {
                let mut row =
                    task_row::new_task(app, again, job, RequestMode::FRESH, &one.input).await?;
                row.grp = Some(one.label.clone());
                rows.push(row);
            }
        }
    }
    for (tier, items) in items {
        let again = runtime_of(loaded, stage, TaskKind::Redo, tier)?;
        let per_chunk = again.stage.chunk.most_items() as usize;
        for chunk in outputs::cut(items, outputs::room(again), per_chunk) {
            rows.push(task_row::new_task(app, again, job, RequestMode::FRESH, &chunk).await?);
        }
    }
    let more = vec![sql::asked(job, stage.idx, &asked)];
    slice(app, loaded, stage, TaskKind::Redo, &rows, next, more).await
}

/// New answers take the place of the first ones, task by task; then the stage is through.
async fn apply<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
    work: &StageRuntime,
) -> Result<(), AppError> {
    let job = &loaded.job.id;
    let guard = || sql::guard(job, stage.idx, StagePhase::Redo);
    let answers = db::rows(app, sql::answers(job, stage.idx, PAGE)).await?;
    let known = db::rows(app, sql::redone(job, stage.idx)).await?;
    if answers.is_empty() {
        // What another model answered is looked at like the first, as long as there is a model that was not asked.
        let last = work.stage.tiers().saturating_sub(1);
        let more = |row: &Row| row.maybe_int("answered").is_some() && row.count("tier") < last;
        let next = if known.iter().any(more) {
            sql::begin(job, stage.idx, StagePhase::Check)
        } else {
            sql::end(job, stage.idx)
        };
        return write(app, vec![guard(), next]).await;
    }
    let tasks: HashMap<String, u32> = known
        .iter()
        .filter(|row| asked_already(row))
        .map(|row| (row.text("id"), row.count("task")))
        .collect();
    for answer in &answers {
        let text = blobs::text(app, &Body::read(answer, "body", "blob")).await?;
        let group = answer.text("grp");
        let mut new: BTreeMap<u32, Vec<(String, Value)>> = BTreeMap::new();
        let mut ids = Vec::new();
        for (id, output) in outputs::outputs(db::json_of(text), &group) {
            if let Some(task) = tasks.get(&id) {
                ids.push(id.clone());
                new.entry(*task).or_default().push((id, output));
            }
        }
        let firsts: Vec<u32> = new.keys().copied().collect();
        let mut replaced = Vec::new();
        for first in db::rows(app, sql::first(job, &firsts)).await? {
            let idx = first.count("idx");
            // A half speaks for a part of the items only.
            if work.stage.output == Output::Chunk && first.count("items") != answer.count("items") {
                ids.clear();
                continue;
            }
            let text = blobs::text(app, &Body::read(&first, "body", "blob")).await?;
            let mut results = outputs::outputs(db::json_of(text), &first.text("label"));
            for (id, output) in new.remove(&idx).unwrap_or_default() {
                if let Some(known) = results.iter_mut().find(|(known, _)| *known == id) {
                    known.1 = output;
                }
            }
            let text = outputs::stored_output(work.stage.output, results).to_string();
            let bytes = text.len() as u64;
            let (body, blob) = blobs::keep(app, &blobs::job_prefix(job), text).await?;
            replaced.push(Replaced {
                idx,
                body,
                blob,
                bytes,
            });
        }
        let mut statements = vec![guard()];
        let idx = answer.count("idx");
        statements.extend(sql::replace(
            job,
            stage.idx,
            idx,
            &replaced,
            (JUDGED_WRONG, &ids),
            answer.count("tier"),
        ));
        write(app, statements).await?;
    }
    Ok(())
}
