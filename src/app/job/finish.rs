//! From the last map stage to the end of a run: the merge, the tree, the synthesis; and every way in which a run ends earlier.

use serde_json::{Value, json};

use super::driver::{again_or_rest, last_map, overdue};
use crate::app::expand::enqueue;
use crate::app::outbound::{traces, webhooks};
use crate::app::results::flags::write_flags;
use crate::app::results::synthesis::{Next, SynthesisTask};
use crate::app::results::{citations, coverage, reduce_tree, synthesis};
use crate::app::stage::lineage;
use crate::app::stage::loaded::{Loaded, Step};
use crate::app::support::{blobs, db, log};
use crate::app::{App, AppError, batch};
use crate::core::job::state::{JobEvent, JobState, TaskEvent, next_job};
use crate::core::plan::spec::{OnBudget, ResolvedStage};
use crate::ports::{Db, DbError, Ports, Statement};
use crate::store::job::jobs as job_jobs;
use crate::store::job::jobs::{JobRow, StageRow};
use crate::store::read::{listing, overview};
use crate::store::row::Columns;
use crate::store::stage::{
    from_results as from_results_sql, reduce_tree as reduce_tree_sql, selected as selected_sql,
};
use crate::store::task::admission::Body;
use crate::store::task::{batches, tasks};

/// Reasons that the end of a job names, and letters of the words for each.
const REASONS_NAMED: usize = 3;
const REASON_CHARS: usize = 200;

/// That too few items have a result, and why tasks have none.
async fn too_little<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    covered: u32,
) -> Result<String, AppError> {
    let job = &loaded.job;
    let wanted = match (job.min_success_ratio * 100.0).round() {
        0.0 => "at least one is wanted".to_owned(),
        needed => format!("at least {needed} % are wanted"),
    };
    let total = job.items_total;
    let mut message = format!("{covered} of {total} items have a result; {wanted}");
    let reasons = db::rows(app, overview::reasons(&job.id)).await?;
    for row in reasons.iter().take(REASONS_NAMED) {
        let (code, tasks) = (row.text("code"), row.count("tasks"));
        let words: String = row.text("message").chars().take(REASON_CHARS).collect();
        let of = if tasks == 1 { "task" } else { "tasks" };
        message.push_str(&format!("; {code} in {tasks} {of}"));
        if !words.is_empty() {
            message.push_str(&format!(" ({words})"));
        }
    }
    Ok(message)
}

/// The maps are done: merged, then on to the synthesis, or to the end.
pub async fn maps_done<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    now: i64,
) -> Result<Step, AppError> {
    let job = &loaded.job;
    let covered = coverage::covered(app, loaded).await?;
    let enough = covered > 0
        && f64::from(covered) >= job.min_success_ratio * f64::from(job.items_total) - 1e-9;
    let prepared = synthesis::prepare(app, loaded, enough).await?;
    for (stage, found) in &prepared.flags {
        write_flags(app, &job.id, *stage, found).await?;
    }
    if lineage::map_stages(&loaded.runtime).len() > 1 {
        app.ports
            .db()
            .batch(vec![from_results_sql::covered(&job.id, covered)])
            .await?;
    }
    if !enough {
        app.ports
            .db()
            .batch(vec![job_jobs::keep_merged(&job.id, &prepared.merged)])
            .await?;
        let message = too_little(app, loaded, covered).await?;
        return fail(app, job, "too_little_covered", &message, now).await;
    }
    let guard = vec![job_jobs::guard_at(
        &job.id,
        job.run,
        JobState::Running,
        job.stage,
    )];
    let synthesizing = |stage| {
        let state = JobState::Synthesizing;
        let at = app.drive_at(now);
        job_jobs::advance(&job.id, JobState::Running, state, Some(stage), now, at)
    };
    match prepared.next {
        Next::Nothing => {
            let keep = job_jobs::keep_merged(&job.id, &prepared.merged);
            app.ports.db().batch(vec![keep]).await?;
            end(app, loaded, covered, now).await
        }
        Next::Problem(code, message) => {
            no_synthesis(app, job, &prepared.merged, code, &message, now).await
        }
        Next::Tree { stage, hold } => {
            let mut statements = guard;
            statements.push(job_jobs::keep_merged(&job.id, &prepared.merged));
            statements.push(synthesizing(stage));
            statements.extend(reduce_tree_sql::begin(&job.id, stage, hold));
            move_on(app, statements).await
        }
        Next::Synthesis(task) => {
            let mut statements = guard;
            statements.push(synthesizing(task.stage));
            statements.extend(write_synthesis(app, job, &prepared.merged, *task, now));
            move_on(app, statements).await
        }
    }
}

/// A batch that moves the job on, unless somebody else was faster, or the job was paused or cancelled.
async fn move_on<P: Ports>(app: &App<P>, statements: Vec<Statement>) -> Result<Step, AppError> {
    match app.ports.db().batch(statements).await {
        Ok(answers) => {
            log::moved(app, &answers, "driven");
            Ok(Step::Again)
        }
        Err(DbError::Guard(_)) => Ok(Step::Again),
        Err(error) => Err(error.into()),
    }
}

/// The synthesis becomes the one task of its stage.
fn write_synthesis<P: Ports>(
    app: &App<P>,
    job: &JobRow,
    merged: &Value,
    task: SynthesisTask,
    now: i64,
) -> Vec<Statement> {
    let mut statements = vec![
        job_jobs::keep_merged(&job.id, merged),
        reduce_tree_sql::release(&job.id),
        job_jobs::open_stage(&job.id, task.stage),
    ];
    let at = app.drive_at(now);
    let slice = tasks::Slice::of_one(&job.id, task.stage, job.next_index, now, at);
    statements.extend(tasks::expand(&slice, &[task.row]));
    statements
}

/// There can be no synthesis: the job fails, or waits for money where its caller wishes that.
async fn no_synthesis<P: Ports>(
    app: &App<P>,
    job: &JobRow,
    merged: &Value,
    code: &str,
    message: &str,
    now: i64,
) -> Result<Step, AppError> {
    let mut statements = vec![job_jobs::keep_merged(&job.id, merged)];
    // Beyond its deadline a pause would end at once, and begin again.
    let pause = code == "budget" && job.on_budget == OnBudget::Pause && !overdue(app, job, now);
    if pause {
        let halt = json!({"reason": "budget", "detail": message, "resumes_at": null});
        statements.push(job_jobs::pause(&job.id, &halt, now));
    }
    let answers = app.ports.db().batch(statements).await?;
    log::moved(app, &answers, "over_budget");
    if pause {
        return Ok(Step::Again);
    }
    fail(app, job, code, message, now).await
}

/// The tree before the synthesis: its level is expanded, worked on, or done.
async fn tree<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
    now: i64,
) -> Result<Step, AppError> {
    let job = &loaded.job;
    if !stage.expanded {
        reduce_tree::slice(app, loaded, stage).await?;
        enqueue::pump(app, &job.id).await?;
        return Ok(Step::Again);
    }
    if stage.open() > 0 {
        return again_or_rest(batch::pump(app, loaded, stage).await?);
    }
    let (merged, next) = synthesis::over_tree(app, loaded, stage).await?;
    let mut statements = vec![
        job_jobs::guard_at(&job.id, job.run, JobState::Synthesizing, stage.idx),
        reduce_tree_sql::guard(&job.id, stage.idx, stage.level),
    ];
    match next {
        Next::Problem(code, message) => no_synthesis(app, job, &merged, code, &message, now).await,
        Next::Synthesis(task) => {
            statements.extend(write_synthesis(app, job, &merged, *task, now));
            move_on(app, statements).await
        }
        Next::Tree { .. } | Next::Nothing => {
            statements.push(reduce_tree_sql::next(&job.id, stage.idx));
            move_on(app, statements).await
        }
    }
}

/// The synthesis is being written, or was.
pub async fn synthesis<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    now: i64,
) -> Result<Step, AppError> {
    let job = &loaded.job;
    let Some(stage) = loaded.stages.iter().find(|stage| stage.idx == job.stage) else {
        return fail(app, job, "internal", "the plan has no such stage", now).await;
    };
    if stage.level > 0 {
        return tree(app, loaded, stage, now).await;
    }
    if !stage.is_done() {
        enqueue::pump(app, &job.id).await?;
        return Ok(Step::Rest);
    }
    let answers = app
        .ports
        .db()
        .batch(vec![listing::stage_task(&job.id, stage.idx)])
        .await?;
    let row = answers.first().and_then(|answer| answer.rows.first());
    if let Some(row) = row.filter(|row| row.text("state") == "succeeded") {
        let runtime = loaded.runtime.stage(stage.idx);
        if runtime.is_some_and(|runtime| runtime.stage.citations) {
            let text = blobs::text(app, &Body::read(row, "body", "blob")).await?;
            citations::check(app, &job.id, stage.idx, &db::json_of(text)).await?;
        }
        let covered = coverage::covered(app, loaded).await?;
        return end(app, loaded, covered, now).await;
    }
    let error: Option<Value> = row.and_then(|row| row.json("error"));
    let reason = error
        .as_ref()
        .and_then(|error| error.get("message"))
        .and_then(Value::as_str)
        .unwrap_or("no reason is known");
    fail(
        app,
        job,
        "synthesis_failed",
        &format!("the synthesis failed: {reason}"),
        now,
    )
    .await
}

/// Everything is done: `succeeded` only if nothing is missing.
async fn end<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    covered: u32,
    now: i64,
) -> Result<Step, AppError> {
    let job = &loaded.job;
    let followed = !loaded.runtime.spec.stages.iter().any(ResolvedStage::amends)
        || db::rows(app, selected_sql::left(&job.id))
            .await?
            .iter()
            .all(|row| !row.flag("some_left"));
    let event = if covered >= job.items_total && followed {
        JobEvent::Succeeded
    } else {
        JobEvent::EndedPartial
    };
    finish(app, job, event, None, now).await
}

/// Ends the run: what is there stays readable.
pub async fn fail<P: Ports>(
    app: &App<P>,
    job: &JobRow,
    code: &str,
    message: &str,
    now: i64,
) -> Result<Step, AppError> {
    let error = json!({"code": code, "message": message});
    finish(app, job, JobEvent::Failed, Some(error), now).await
}

async fn finish<P: Ports>(
    app: &App<P>,
    job: &JobRow,
    event: JobEvent,
    error: Option<Value>,
    now: i64,
) -> Result<Step, AppError> {
    let Ok(to) = next_job(job.state, event) else {
        return Ok(Step::Rest);
    };
    let answers = app
        .ports
        .db()
        .batch(vec![job_jobs::finish(job, to, error.clone(), now)])
        .await?;
    log::moved(app, &answers, "over");
    if answers
        .first()
        .is_some_and(|answer| !answer.rows.is_empty())
    {
        webhooks::tell(app, &job.id).await;
        traces::tell(app, &job.id).await;
    }
    Ok(Step::Again)
}

/// The deadline has passed: what is open is skipped, and what is there is synthesised, in the time of grace.
pub async fn expire<P: Ports>(app: &App<P>, loaded: &Loaded, now: i64) -> Result<Step, AppError> {
    let job = &loaded.job;
    let reason = json!({"code": "deadline", "message": "the deadline passed first"});
    if job.state == JobState::Running && last_map(loaded).is_some_and(StageRow::is_done) {
        // What was to be thought over is not any more.
        let close = tasks::close_open(&job.id, TaskEvent::Skipped, &reason, now);
        app.ports.db().batch(vec![close]).await?;
        return maps_done(app, loaded, now).await;
    }
    let mut statements = vec![
        tasks::close_open(&job.id, TaskEvent::Skipped, &reason, now),
        job_jobs::end_expansion(&job.id),
        batches::cancel(&job.id, now),
        tasks::counts(&job.id),
    ];
    let before = match job.state {
        JobState::Synthesizing => Some("the synthesis was done"),
        JobState::Queued | JobState::Planning => Some("the work began"),
        _ => None,
    };
    if job.state == JobState::Paused {
        statements.push(job_jobs::resume(&job.id, now, now));
    }
    let answers = app.ports.db().batch(statements).await?;
    log::moved(app, &answers, "deadline");
    if let Some(before) = before {
        let message = format!("the deadline passed before {before}");
        return fail(app, job, "deadline", &message, now).await;
    }
    // Looked at again: a result may have landed between the reading and the skipping.
    Ok(Step::Again)
}
