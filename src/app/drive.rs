//! A job is moved on: whatever its state asks for is done, until it waits for calls or is over.
//!
//! One function for every control message, the sweep and the callers' commands: it reads where the job stands and
//! takes the next step, each step one guarded transaction. A doubled, late or lost message is therefore harmless: the
//! next one does what is left.

use serde_json::{Value, json};

use super::kit::{Kit, StageKit};
use super::synthesise::{Next, SynthesisTask};
use super::{
    App, AppError, batch, bodies, check, cite, coverage, extend, follow, log, message, notify,
    plan, planning, pump, query, reduce, synthesise, traces,
};
use crate::core::flags::Flag;
use crate::core::plan::{OnBudget, PLAN_STAGE, ResolvedStage, StageKind};
use crate::core::purpose::Purpose;
use crate::core::state::{JobEvent, JobState, TaskEvent, next_job};
use crate::ports::{Clock, Db, DbError, Ports, Queue, Statement};
use crate::store::admission::Body;
use crate::store::jobs::{self, JobRow, StageRow};
use crate::store::row::Columns;
use crate::store::{
    amend as amend_sql, batches, flags, follow as follow_sql, listing, plans, reduce as reduce_sql,
    tasks,
};

/// A control consumer gives up its turn after this long; what is left goes on with the next message.
const TURN_MS: i64 = 20_000;
/// Flags in one bound text of at most 2 MB.
const FLAGS_PORTION: usize = 5_000;

/// What a step left behind.
pub(super) enum Step {
    /// The job stands somewhere else now: look again.
    Again,
    /// Nothing to do before a call ends, a caller acts, or time passes.
    Rest,
}

/// A job, its stages and its plan.
pub struct Loaded {
    pub job: JobRow,
    pub stages: Vec<StageRow>,
    pub kit: Kit,
}

/// Moves the job on as far as it goes.
pub async fn drive<P: Ports>(app: &App<P>, id: &str) -> Result<(), AppError> {
    let begun = app.ports.clock().now_ms();
    loop {
        let Some(loaded) = load(app, id).await? else {
            return Ok(());
        };
        match step(app, &loaded).await {
            Ok(Step::Again) | Err(AppError::Conflict(_)) => {}
            Ok(Step::Rest) => return Ok(()),
            Err(error) => return Err(error),
        }
        if app.ports.clock().now_ms() - begun > TURN_MS {
            return app
                .ports
                .queue()
                .send(vec![message::drive(id, 0)])
                .await
                .map_err(|error| AppError::Unavailable(error.to_string()));
        }
    }
}

/// The job as it stands; `None` where there is none.
pub async fn load<P: Ports>(app: &App<P>, id: &str) -> Result<Option<Loaded>, AppError> {
    let answers = app.ports.db().batch(jobs::load(id)).await?;
    let rows = |n: usize| {
        answers
            .get(n)
            .map(|a| a.rows.as_slice())
            .unwrap_or_default()
    };
    let Some(job) = rows(0).first().and_then(JobRow::read) else {
        return Ok(None);
    };
    let kit = rows(2)
        .first()
        .and_then(|row| row.json("spec"))
        .ok_or_else(|| AppError::Unavailable("the job's plan is not readable".into()))
        .and_then(|spec| Kit::kept(app, spec))?;
    Ok(Some(Loaded {
        job,
        stages: rows(1).iter().map(StageRow::read).collect(),
        kit,
    }))
}

async fn step<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<Step, AppError> {
    let now = app.ports.clock().now_ms();
    if overdue(app, &loaded.job, now) {
        return expire(app, loaded, now).await;
    }
    match loaded.job.state {
        JobState::Queued => start(app, loaded, JobEvent::PlanStarted, now).await,
        JobState::Planning if loaded.kit.spec.stages.is_empty() => {
            planning::plan(app, loaded, now).await
        }
        JobState::Planning if loaded.job.needs_approval => ask_approval(app, loaded, now).await,
        // The plan was checked when it came in.
        JobState::Planning => start(app, loaded, JobEvent::PlanReady, now).await,
        JobState::Running => run(app, loaded, now).await,
        JobState::Synthesizing => synthesis(app, loaded, now).await,
        JobState::Paused => rest_or_resume(app, &loaded.job, now).await,
        JobState::AwaitingApproval
        | JobState::Succeeded
        | JobState::Partial
        | JobState::Failed
        | JobState::Cancelled => Ok(Step::Rest),
    }
}

fn overdue<P: Ports>(app: &App<P>, job: &JobRow, now: i64) -> bool {
    let grace = match job.state {
        JobState::Synthesizing => app.config.intervals.deadline_grace_ms,
        JobState::AwaitingApproval => return false,
        _ => 0,
    };
    !job.state.is_terminal()
        && job
            .deadline_at
            .is_some_and(|at| at.saturating_add_unsigned(grace) <= now)
}

/// `queued → planning → running`.
async fn start<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    event: JobEvent,
    now: i64,
) -> Result<Step, AppError> {
    let job = &loaded.job;
    let Ok(to) = next_job(job.state, event) else {
        return Ok(Step::Rest);
    };
    let first = loaded
        .stages
        .iter()
        .find(|stage| stage.kind == StageKind::Map.as_str() && stage.state != "done")
        .or_else(|| last_map(loaded))
        .or_else(|| loaded.stages.iter().find(|stage| stage.idx == PLAN_STAGE))
        .map_or(0, |stage| stage.idx);
    let mut statements = vec![jobs::advance(
        &job.id,
        job.state,
        to,
        Some(first),
        now,
        app.drive_at(now),
    )];
    if to == JobState::Running {
        statements.push(jobs::start_stage(&job.id, first, JobState::Running));
    }
    let answers = app.ports.db().batch(statements).await?;
    log::moved(app, &answers, "driven");
    Ok(Step::Again)
}

/// `planning → awaiting_approval`.
async fn ask_approval<P: Ports>(app: &App<P>, loaded: &Loaded, now: i64) -> Result<Step, AppError> {
    let job = &loaded.job;
    let halt = plan::halt();
    let statement = plans::await_approval(&job.id, 0, &halt, now, app.drive_at(now));
    app.ports.db().batch(vec![statement]).await?;
    notify::tell(app, &job.id).await;
    app.log_job(
        &job.id,
        "state",
        json!({"state": JobState::AwaitingApproval.as_str(), "run": job.run}),
    );
    Ok(Step::Again)
}

/// The current map stage: expanded, pumped, or left behind.
async fn run<P: Ports>(app: &App<P>, loaded: &Loaded, now: i64) -> Result<Step, AppError> {
    let job = &loaded.job;
    if job.stage == PLAN_STAGE {
        return match planning::again(app, loaded, now).await? {
            Some(step) => Ok(step),
            None => maps_done(app, loaded, now).await,
        };
    }
    let Some(stage) = loaded.stages.iter().find(|stage| stage.idx == job.stage) else {
        return fail(app, job, "internal", "the plan has no such stage", now).await;
    };
    if batch::choice::decide(app, loaded).await? {
        return Ok(Step::Again);
    }
    if stage.state == "waiting" {
        app.ports
            .db()
            .batch(vec![jobs::start_stage(
                &job.id,
                stage.idx,
                JobState::Running,
            )])
            .await?;
        return Ok(Step::Again);
    }
    if !stage.expanded && extend::copy(app, loaded).await? {
        return Ok(Step::Again);
    }
    if stage.phase != "work" && (!stage.expanded || stage.open() == 0) {
        let more = check::step(app, loaded, stage).await?;
        let sent = batch::pump(app, loaded, stage).await?;
        if more || sent {
            return Ok(Step::Again);
        }
    } else if !stage.expanded {
        let before = map_before(loaded, stage.idx);
        let chooses = |kit: &StageKit| kit.stage.of.as_ref().is_some_and(|of| of.flagged);
        if stage.cursor == 0 && loaded.kit.stage(stage.idx).is_some_and(chooses) {
            for (of, found) in synthesise::flags_before(app, loaded, stage.idx).await? {
                write_flags(app, &job.id, of, &found).await?;
            }
        }
        follow::slice(app, &loaded.kit, job, stage, before).await?;
        pump::pump(app, &job.id).await?;
        return Ok(Step::Again);
    }
    if stage.open() > 0 {
        return again_or_rest(batch::pump(app, loaded, stage).await?);
    }
    if check::step(app, loaded, stage).await? {
        return Ok(Step::Again);
    }
    let next = loaded
        .stages
        .iter()
        .find(|next| next.idx > stage.idx && next.kind == StageKind::Map.as_str());
    match next {
        Some(next) => {
            app.ports
                .db()
                .batch(vec![jobs::next_stage(
                    &job.id,
                    stage.idx,
                    next.idx,
                    now,
                    app.drive_at(now),
                )])
                .await?;
            Ok(Step::Again)
        }
        None => match planning::due(app, loaded).await? {
            Some(round) => planning::ask_again(app, loaded, round, now).await,
            None => maps_done(app, loaded, now).await,
        },
    }
}

fn again_or_rest(more: bool) -> Result<Step, AppError> {
    Ok(if more { Step::Again } else { Step::Rest })
}

/// The maps are done: merged, then on to the synthesis, or to the end.
async fn maps_done<P: Ports>(app: &App<P>, loaded: &Loaded, now: i64) -> Result<Step, AppError> {
    let job = &loaded.job;
    let covered = coverage::covered(app, loaded).await?;
    let enough = covered > 0
        && f64::from(covered) >= job.min_success_ratio * f64::from(job.items_total) - 1e-9;
    let prepared = synthesise::prepare(app, loaded, enough).await?;
    for (stage, found) in &prepared.flags {
        write_flags(app, &job.id, *stage, found).await?;
    }
    if synthesise::map_stages(&loaded.kit).len() > 1 {
        app.ports
            .db()
            .batch(vec![follow_sql::covered(&job.id, covered)])
            .await?;
    }
    if !enough {
        app.ports
            .db()
            .batch(vec![jobs::keep_merged(&job.id, &prepared.merged)])
            .await?;
        let needed = (job.min_success_ratio * 100.0).round();
        let message = format!(
            "{covered} of {} items have a result; at least {needed} % (and one item) are wanted",
            job.items_total
        );
        return fail(app, job, "too_little_covered", &message, now).await;
    }
    let guard = vec![jobs::guard_at(
        &job.id,
        job.run,
        JobState::Running,
        job.stage,
    )];
    let synthesizing = |stage| {
        let state = JobState::Synthesizing;
        let at = app.drive_at(now);
        jobs::advance(&job.id, JobState::Running, state, Some(stage), now, at)
    };
    match prepared.next {
        Next::Nothing => {
            let keep = jobs::keep_merged(&job.id, &prepared.merged);
            app.ports.db().batch(vec![keep]).await?;
            end(app, loaded, covered, now).await
        }
        Next::Problem(code, message) => {
            no_synthesis(app, job, &prepared.merged, code, &message, now).await
        }
        Next::Tree { stage, hold } => {
            let mut statements = guard;
            statements.push(jobs::keep_merged(&job.id, &prepared.merged));
            statements.push(synthesizing(stage));
            statements.extend(reduce_sql::begin(&job.id, stage, hold));
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

/// What the merge saw wrong with results, in the place of what it saw the last time.
pub(super) async fn write_flags<P: Ports>(
    app: &App<P>,
    job: &str,
    stage: u32,
    found: &[flags::Flag],
) -> Result<(), AppError> {
    let kinds = Flag::ALL.map(Flag::as_str);
    let mut statements = vec![flags::forget(job, stage, &kinds)];
    for portion in found.chunks(FLAGS_PORTION) {
        statements.push(flags::keep(job, stage, portion));
    }
    app.ports.db().batch(statements).await?;
    Ok(())
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
        jobs::keep_merged(&job.id, merged),
        reduce_sql::release(&job.id),
        jobs::open_stage(&job.id, task.stage),
    ];
    statements.extend(tasks::expand(
        &tasks::Slice {
            job: &job.id,
            stage: task.stage,
            cursor: 0,
            next_cursor: 1,
            next_index: job.next_index,
            last: true,
            purpose: Purpose::Work,
            level: 0,
            now,
            drive_at: app.drive_at(now),
        },
        &[task.row],
    ));
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
    let mut statements = vec![jobs::keep_merged(&job.id, merged)];
    // Beyond its deadline a pause would end at once, and begin again.
    let pause = code == "budget" && job.on_budget == OnBudget::Pause && !overdue(app, job, now);
    if pause {
        let halt = json!({"reason": "budget", "detail": message, "resumes_at": null});
        statements.push(jobs::pause(&job.id, &halt, now));
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
        reduce::slice(app, loaded, stage).await?;
        pump::pump(app, &job.id).await?;
        return Ok(Step::Again);
    }
    if stage.open() > 0 {
        return again_or_rest(batch::pump(app, loaded, stage).await?);
    }
    let (merged, next) = synthesise::over_tree(app, loaded, stage).await?;
    let mut statements = vec![
        jobs::guard_at(&job.id, job.run, JobState::Synthesizing, stage.idx),
        reduce_sql::guard(&job.id, stage.idx, stage.level),
    ];
    match next {
        Next::Problem(code, message) => no_synthesis(app, job, &merged, code, &message, now).await,
        Next::Synthesis(task) => {
            statements.extend(write_synthesis(app, job, &merged, *task, now));
            move_on(app, statements).await
        }
        Next::Tree { .. } | Next::Nothing => {
            statements.push(reduce_sql::next(&job.id, stage.idx));
            move_on(app, statements).await
        }
    }
}

/// The synthesis is being written, or was.
async fn synthesis<P: Ports>(app: &App<P>, loaded: &Loaded, now: i64) -> Result<Step, AppError> {
    let job = &loaded.job;
    let Some(stage) = loaded.stages.iter().find(|stage| stage.idx == job.stage) else {
        return fail(app, job, "internal", "the plan has no such stage", now).await;
    };
    if stage.level > 0 {
        return tree(app, loaded, stage, now).await;
    }
    if !stage.is_done() {
        pump::pump(app, &job.id).await?;
        return Ok(Step::Rest);
    }
    let answers = app
        .ports
        .db()
        .batch(vec![listing::stage_task(&job.id, stage.idx)])
        .await?;
    let row = answers.first().and_then(|answer| answer.rows.first());
    if let Some(row) = row.filter(|row| row.text("state") == "succeeded") {
        let kit = loaded.kit.stage(stage.idx);
        if kit.is_some_and(|kit| kit.stage.citations) {
            let text = bodies::text(app, &Body::read(row, "body", "blob")).await?;
            cite::check(app, &job.id, stage.idx, &query::json_of(text)).await?;
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

/// The map stage whose results this one reads; `None` for the first.
fn map_before(loaded: &Loaded, idx: u32) -> Option<u32> {
    loaded
        .stages
        .iter()
        .rfind(|stage| stage.idx < idx && stage.kind == StageKind::Map.as_str())
        .map(|stage| stage.idx)
}

fn last_map(loaded: &Loaded) -> Option<&StageRow> {
    loaded
        .stages
        .iter()
        .rfind(|stage| stage.kind == StageKind::Map.as_str())
}

/// Everything is done: `succeeded` only if nothing is missing.
async fn end<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    covered: u32,
    now: i64,
) -> Result<Step, AppError> {
    let job = &loaded.job;
    let followed = !loaded.kit.spec.stages.iter().any(ResolvedStage::amends)
        || query::rows(app, amend_sql::left(&job.id))
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
pub(super) async fn fail<P: Ports>(
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
        .batch(vec![jobs::finish(job, to, error.clone(), now)])
        .await?;
    log::moved(app, &answers, "over");
    if answers
        .first()
        .is_some_and(|answer| !answer.rows.is_empty())
    {
        notify::tell(app, &job.id).await;
        traces::tell(app, &job.id).await;
    }
    Ok(Step::Again)
}

/// The deadline has passed: what is open is skipped, and what is there is synthesised, in the time of grace.
async fn expire<P: Ports>(app: &App<P>, loaded: &Loaded, now: i64) -> Result<Step, AppError> {
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
        jobs::end_expansion(&job.id),
        batches::cancel(&job.id, now),
        tasks::counts(&job.id),
    ];
    match job.state {
        JobState::Synthesizing => {
            let answers = app.ports.db().batch(statements).await?;
            log::moved(app, &answers, "deadline");
            return fail(
                app,
                job,
                "deadline",
                "the deadline passed before the synthesis was done",
                now,
            )
            .await;
        }
        JobState::Paused => statements.push(jobs::resume(&job.id, now, now)),
        JobState::Queued | JobState::Planning => {
            let answers = app.ports.db().batch(statements).await?;
            log::moved(app, &answers, "deadline");
            return fail(
                app,
                job,
                "deadline",
                "the deadline passed before the work began",
                now,
            )
            .await;
        }
        _ => {}
    }
    // Looked at again: a result may have landed between the reading and the skipping.
    let answers = app.ports.db().batch(statements).await?;
    log::moved(app, &answers, "deadline");
    Ok(Step::Again)
}

/// A pause for the day's cap ends by itself.
async fn rest_or_resume<P: Ports>(app: &App<P>, job: &JobRow, now: i64) -> Result<Step, AppError> {
    let due = job
        .halt
        .as_ref()
        .filter(|halt| halt.get("cause").and_then(Value::as_str) == Some("day"))
        .and_then(|halt| halt.get("resumes_at_ms"))
        .and_then(Value::as_i64)
        .is_some_and(|at| at <= now);
    if !due {
        return Ok(Step::Rest);
    }
    let answers = app
        .ports
        .db()
        .batch(vec![jobs::resume(&job.id, now, app.drive_at(now))])
        .await?;
    log::moved(app, &answers, "new_day");
    Ok(Step::Again)
}
