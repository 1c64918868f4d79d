//! The verdict about a task, as rows: its results so far, its next call and what that may cost, the half that goes its own
//! way, and what the ledger keeps.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::answer::{TRUNCATED, prior_of};
use super::{Asked, NOT_YET_MS, Resolved, request};
use crate::app::stage::outputs;
use crate::app::stage::runtime::{Prior, StageRuntime, nano, wire_output};
use crate::app::stage::task_row::new_task;
use crate::app::support::blobs;
use crate::app::{App, AppError};
use crate::claude::request::MessagesRequest;
use crate::core::job::state::TaskState;
use crate::core::plan::spec::{Output, StageKind};
use crate::core::task::retry_policy::{End, Next, RequestMode, Standing, verdict, wait_ms};
use crate::ports::{Clock, Ports};
use crate::store::task::admission::Claimed;
use crate::store::task::settle::{Half, KeptOutput, LedgerEntry, MovedTask};

/// A blob of the ledger outlives the row that names it by this: an entry that can still be found can be read.
const LEDGER_GRACE_S: u64 = 86_400;

/// The verdict, as rows. `above`: who is asked where this model cannot do it.
#[allow(clippy::too_many_arguments)]
pub async fn conclude<P: Ports>(
    app: &App<P>,
    (stage, above): (&StageRuntime, Option<&StageRuntime>),
    task: &Claimed,
    asked: &Asked,
    given: Vec<(String, Value)>,
    end: End,
    problem: Option<(&str, String)>,
    resolved: &mut Resolved,
) {
    let now = app.ports.clock().now_ms();
    let mut results = asked.kept.clone();
    for (id, output) in given {
        // What was valid before stays as it is.
        if !results.iter().any(|(known, _)| *known == id) {
            results.push((id, output));
        }
    }
    let news = results.len() > asked.kept.len();
    let covered: HashSet<&str> = results.iter().map(|(id, _)| id.as_str()).collect();
    let left: Vec<String> = asked
        .ids
        .iter()
        .filter(|id| !covered.contains(id.as_str()))
        .cloned()
        .collect();
    let output = wire_output(&stage.stage);
    let per_item = output == Output::Item;
    let row = &mut resolved.task;
    row.covered = if per_item {
        u32::try_from(covered.len()).unwrap_or(u32::MAX)
    } else if results.is_empty() {
        0
    } else {
        row.items
    };
    if news {
        results.sort_by_key(|(id, _)| task.ids.iter().position(|known| known == id));
        let text = outputs::stored_output(output, results.clone()).to_string();
        let bytes = text.len() as u64;
        match blobs::keep(app, &blobs::job_prefix(&task.job), text).await {
            Ok((body, blob)) => {
                resolved.output = Some(KeptOutput {
                    task: task.id,
                    attempts: task.attempts,
                    body,
                    blob,
                    bytes,
                });
            }
            Err(error) => {
                // Without its results the task is not done: the ledger, or a new call, brings them again.
                row.covered = task_covered(task, asked);
                row.state = TaskState::Pending.as_str();
                row.not_before = now.saturating_add_unsigned(NOT_YET_MS);
                app.log_fault("keep_output", &error.to_string());
                return;
            }
        }
    }
    let standing = Standing {
        form: asked.form,
        tries: task.tries,
        max_attempts: task.max_attempts,
        delays: task.delays,
        // What was cut off is cut off by a dearer model too: fewer items help.
        dearer: above.is_some() && problem.as_ref().is_none_or(|(code, _)| *code != TRUNCATED),
    };
    let mut next_stage = stage;
    // What the next call asks for: what is left; a repair, the same again.
    let mut remaining = left.clone();
    let (form, next_state) = match verdict(standing, end) {
        Next::Done => {
            row.state = TaskState::Succeeded.as_str();
            row.finished_at = Some(now);
            row.wanted = None;
            if task.attempt.is_some() && task.reuse && app.config.ledger_days > 0 {
                for (key, text) in whole_result(stage, task, asked, &results) {
                    if resolved.ledger.iter().all(|entry| entry.key != key) {
                        let entry = ledger_entry(app, task, key, text, resolved.paid).await;
                        resolved.ledger.extend(entry);
                    }
                }
            }
            return;
        }
        Next::Again {
            form,
            tries,
            delays,
            wait,
        } => {
            let intervals = &app.config.intervals;
            let ms = wait_ms(
                wait,
                app.dice(),
                intervals.backoff_ms,
                intervals.backoff_max_ms,
            );
            row.tries = tries;
            row.delays = delays;
            row.not_before = if ms == 0 {
                0
            } else {
                now.saturating_add_unsigned(ms)
            };
            (form, TaskState::Pending)
        }
        Next::Split { tries } if left.len() > 1 => {
            match split(app, stage, task, asked, &left, row).await {
                Ok((mut half, mine)) => {
                    half.tries = tries;
                    if matches!(end, End::Hopeless { .. }) {
                        // First the tasks that were not asked yet: if they are refused alike, no split helps.
                        half.not_before = now;
                        row.not_before = now;
                    }
                    resolved.half = Some(half);
                    remaining = mine;
                    row.tries = tries;
                    row.delays = 0;
                    (asked.form.afresh(), TaskState::Pending)
                }
                Err(error) => {
                    app.log_fault("split", &error.to_string());
                    row.not_before = now.saturating_add_unsigned(NOT_YET_MS);
                    (asked.form, TaskState::Pending)
                }
            }
        }
        // What has its result stays with the model that gave it; the rest is a task of its own, of the next model.
        Next::Up if let Some(above) = above.filter(|_| row.covered > 0) => {
            match half(app, above, task, asked, &left).await {
                Ok(half) => {
                    resolved.half = Some(half);
                    keep(row, task, &left);
                    row.wanted = None;
                    row.state = TaskState::Succeeded.as_str();
                    row.finished_at = Some(now);
                    return;
                }
                Err(error) => {
                    app.log_fault("hand_up", &error.to_string());
                    row.not_before = now.saturating_add_unsigned(NOT_YET_MS);
                    (asked.form, TaskState::Pending)
                }
            }
        }
        Next::Up if let Some(above) = above => {
            row.tier = above.tier;
            row.class = above.model.class.clone();
            row.tries = 0;
            row.delays = 0;
            next_stage = above;
            (asked.form.afresh(), TaskState::Pending)
        }
        Next::Split { .. } | Next::Up | Next::GiveUp => {
            let (code, message) = problem
                .clone()
                .unwrap_or(("invalid_output", "no valid result".to_owned()));
            row.error = Some(json!({"code": code, "message": message}).to_string());
            row.finished_at = Some(now);
            row.tries = 0;
            (asked.form.afresh(), TaskState::Failed)
        }
    };
    if form.repair || form.resume {
        remaining = asked.ids.clone();
    }
    row.state = next_state.as_str();
    row.form = form.as_str().to_owned();
    row.wanted = Some(json!(remaining).to_string());
    // What the next call asks is known now, so what it may cost is too.
    let next = Asked {
        prior: next_prior(stage, form, asked, &remaining, resolved),
        input: asked.input.clone(),
        ids: remaining,
        results: asked.results.clone(),
        coverage: asked.coverage.clone(),
        plan: asked.plan.clone(),
        form,
        kept: Vec::new(),
    };
    let next = request(next_stage, task, &next);
    price(&mut resolved.task, next_stage, &next);
}

/// What the next call will show of this one, word for word as that call will work it out from the stored answer: the
/// ledger knows a repair by it too.
pub fn next_prior(
    stage: &StageRuntime,
    form: RequestMode,
    asked: &Asked,
    remaining: &[String],
    resolved: &Resolved,
) -> Option<Prior> {
    match &resolved.response {
        Some((answer, stop)) => prior_of(stage, form, answer.clone(), Some(stop), remaining),
        None => asked.prior.clone().filter(|_| form.repair || form.resume),
    }
}

pub fn task_covered(task: &Claimed, asked: &Asked) -> u32 {
    let kept = u32::try_from(asked.kept.len()).unwrap_or(u32::MAX);
    if task.output.is_none() { 0 } else { kept }
}

/// Half of `ids` go their own way; what the task keeps of them.
pub async fn split<P: Ports>(
    app: &App<P>,
    stage: &StageRuntime,
    task: &Claimed,
    asked: &Asked,
    ids: &[String],
    row: &mut MovedTask,
) -> Result<(Half, Vec<String>), AppError> {
    let (mine, theirs) = ids.split_at(ids.len().div_ceil(2));
    let half = half(app, stage, task, asked, theirs).await?;
    keep(row, task, theirs);
    Ok((half, mine.to_vec()))
}

/// The task is of all its items but these.
fn keep(row: &mut MovedTask, task: &Claimed, gone: &[String]) {
    let gone: HashSet<&String> = gone.iter().collect();
    let ids: Vec<&String> = task.ids.iter().filter(|id| !gone.contains(id)).collect();
    row.items = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    row.ids = json!(ids).to_string();
}

/// The half of a task's open items that goes its own way.
pub async fn half<P: Ports>(
    app: &App<P>,
    stage: &StageRuntime,
    task: &Claimed,
    asked: &Asked,
    ids: &[String],
) -> Result<Half, AppError> {
    let items = asked.only(ids);
    let form = asked.form.afresh();
    Ok(Half {
        parent: task.id,
        job: task.job.clone(),
        // Without a call in between a task may be split more than once, each time with fewer items.
        origin: format!("{}:{}:{}", task.idx, task.attempts, task.ids.len()),
        attempts: task.attempts,
        tries: 0,
        not_before: 0,
        form: form.as_str(),
        task: new_task(app, stage, &task.job, form, &items).await?,
    })
}

/// Bytes, worst case and key of the task's next call.
pub fn price(row: &mut MovedTask, stage: &StageRuntime, request: &MessagesRequest) {
    row.bytes = request.usual_input(&stage.model);
    row.max_tokens = request.max_tokens;
    row.worst_nano = nano(request.worst_case(&stage.model));
    row.key = stage.key(request);
}

/// The task's whole result, under what its first request was: whoever asks the same again, from the start, has it
/// however many repairs it took. The half of a task whose schema the API refused begins without the schema, so there are
/// two such starts then. What was asked last is answered by it too: that answer may lack what the task had already.
pub fn whole_result(
    stage: &StageRuntime,
    task: &Claimed,
    asked: &Asked,
    results: &[(String, Value)],
) -> Vec<(String, String)> {
    let start = |form| match stage.stage.kind {
        StageKind::Map => stage.worker_request(form, &asked.only(&task.ids), None),
        StageKind::Synthesis => {
            stage.synthesis_request(task.max_tokens, form, &asked.results, &asked.coverage, None)
        }
        StageKind::Plan => stage.plan_request(task.max_tokens, form, &asked.plan, None),
    };
    let mut starts = vec![RequestMode::FRESH];
    if asked.form.plain {
        starts.push(asked.form.afresh());
    }
    let whole = as_answer(stage, results);
    let starts = starts.into_iter().map(|form| stage.key(&start(form)));
    let mut entries: Vec<_> = starts
        .filter_map(|key| Some((key, whole.clone()?)))
        .collect();
    if asked.form.repair {
        let wanted: Vec<_> = results
            .iter()
            .filter(|(id, _)| asked.ids.contains(id) || id.is_empty())
            .cloned()
            .collect();
        let key = stage.key(&request(stage, task, asked));
        entries.extend(as_answer(stage, &wanted).map(|text| (key, text)));
    }
    entries
}

/// Results as an answer would give them; `None` where they are not those of one answer.
pub fn as_answer(stage: &StageRuntime, results: &[(String, Value)]) -> Option<String> {
    match (wire_output(&stage.stage), results) {
        (Output::Item, results) => {
            let results = outputs::stored_output(Output::Item, results.to_vec());
            Some(json!({ "results": results }).to_string())
        }
        (Output::Chunk, [(_, Value::String(text))]) if stage.schema.is_none() => Some(text.clone()),
        (Output::Chunk, [(_, output)]) => Some(output.to_string()),
        (Output::Chunk, _) => None,
    }
}

pub async fn ledger_entry<P: Ports>(
    app: &App<P>,
    task: &Claimed,
    key: String,
    text: String,
    cost: i64,
) -> Option<LedgerEntry> {
    let prefix = blobs::ledger_prefix(&task.tenant, &task.job);
    // A result that cannot be kept for reuse is still a result.
    let days = i64::from(app.config.ledger_days);
    let seconds = LEDGER_GRACE_S + u64::from(app.config.ledger_days) * 86_400;
    let (body, blob) = blobs::keep_for(app, &prefix, text, seconds).await.ok()?;
    Some(LedgerEntry {
        tenant: task.tenant.clone(),
        key,
        body,
        blob,
        cost,
        job: task.job.clone(),
        expires_at: app.ports.clock().now_ms().saturating_add(days * 86_400_000),
        listed: true,
    })
}

/// How many of these have no result yet.
pub fn lacking(ids: &[String], kept: &[(String, Value)]) -> u32 {
    let known: HashSet<&str> = kept.iter().map(|(id, _)| id.as_str()).collect();
    let count = ids.iter().filter(|id| !known.contains(id.as_str())).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}
