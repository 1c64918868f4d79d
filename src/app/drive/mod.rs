//! A job is moved on: whatever its state asks for is done, until it waits for calls or is over.
//!
//! One function for every control message, the sweep and the callers' commands: it reads where the job stands and
//! takes the next step, each step one guarded transaction. A doubled, late or lost message is therefore harmless: the
//! next one does what is left. What comes after the last map stage, and every way to an end, is in [`ends`].

mod ends;

use serde_json::{Value, json};

pub(super) use self::ends::{fail, write_flags};
use super::kit::{Kit, StageKit};
use super::{
    App, AppError, batch, check, extend, follow, gather, log, message, notify, plan, planning, pump,
};
use crate::core::plan::{PLAN_STAGE, StageKind};
use crate::core::state::{JobEvent, JobState, next_job};
use crate::ports::{Answer, Clock, Db, Ports, Queue};
use crate::store::jobs::{self, JobRow, StageRow};
use crate::store::plans;
use crate::store::row::Columns;

/// A control consumer gives up its turn after this long; what is left goes on with the next message.
const TURN_MS: i64 = 20_000;

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
    loaded(app, &app.ports.db().batch(jobs::load(id)).await?)
}

/// The job in the answers to [`jobs::load`].
pub fn loaded<P: Ports>(app: &App<P>, answers: &[Answer]) -> Result<Option<Loaded>, AppError> {
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
        return ends::expire(app, loaded, now).await;
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
        JobState::Synthesizing => ends::synthesis(app, loaded, now).await,
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
            None => ends::maps_done(app, loaded, now).await,
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
            for (of, found) in gather::flags_before(app, loaded, stage.idx).await? {
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
            None => ends::maps_done(app, loaded, now).await,
        },
    }
}

fn again_or_rest(more: bool) -> Result<Step, AppError> {
    Ok(if more { Step::Again } else { Step::Rest })
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
