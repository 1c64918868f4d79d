//! A job is moved on: whatever its state asks for is done, until it waits for calls or is over.
//!
//! One function for every control message, the sweep and the callers' commands: it reads where the job stands and
//! takes the next step, each step one guarded transaction. A doubled, late or lost message is therefore harmless: the
//! next one does what is left. What comes after the last map stage, and every way to an end, is in [`ends`].

use serde_json::{Value, json};

use super::finish;
pub use super::finish::fail;
use crate::app::batch::delivery;
use crate::app::expand::{carry_over, enqueue, from_results};
use crate::app::outbound::webhooks;
use crate::app::planning::{commands, orchestrator};
pub use crate::app::results::flags::write_flags;
use crate::app::results::{checks, flags};
use crate::app::stage::loaded::{Loaded, Step, load};
use crate::app::stage::runtime::StageRuntime;
use crate::app::support::{log, messages};
use crate::app::{App, AppError, batch};
use crate::core::job::stage_step::{StageChecks, StageState, StageStep, next_step};
use crate::core::job::state::{JobEvent, JobState, next_job};
use crate::core::plan::condition::Condition;
use crate::core::plan::spec::{PLAN_STAGE, StageKind};
use crate::ports::{Clock, Db, Ports, Queue};
use crate::store::job::jobs::{JobRow, StageRow};
use crate::store::job::{jobs, plans};

/// A control consumer gives up its turn after this long; what is left goes on with the next message.
const TURN_MS: i64 = 20_000;

/// Moves the job on as far as it goes.
pub async fn drive<P: Ports>(app: &App<P>, id: &str) -> Result<(), AppError> {
    let begun = app.ports.clock().now_ms();
    loop {
        let Some(loaded) = load(app, id).await? else {
            return Ok(());
        };
        let taken = match step(app, &loaded).await {
            Ok(Step::Fail { code, message }) => {
                let now = app.ports.clock().now_ms();
                finish::fail(app, &loaded.job, code, &message, now).await
            }
            taken => taken,
        };
        match taken {
            Ok(Step::Again | Step::Fail { .. }) | Err(AppError::Conflict(_)) => {}
            Ok(Step::Rest) => return Ok(()),
            Err(error) => return Err(error),
        }
        if app.ports.clock().now_ms() - begun > TURN_MS {
            return app
                .ports
                .queue()
                .send(vec![messages::drive(id, 0)])
                .await
                .map_err(|error| AppError::Unavailable(error.to_string()));
        }
    }
}

async fn step<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<Step, AppError> {
    let now = app.ports.clock().now_ms();
    if overdue(app, &loaded.job, now) {
        return finish::expire(app, loaded, now).await;
    }
    match loaded.job.state {
        JobState::Queued => start(app, loaded, JobEvent::PlanStarted, now).await,
        JobState::Planning if loaded.runtime.spec.stages.is_empty() => {
            orchestrator::plan(app, loaded, now).await
        }
        JobState::Planning if loaded.job.needs_approval => ask_approval(app, loaded, now).await,
        // The plan was checked when it came in.
        JobState::Planning => start(app, loaded, JobEvent::PlanReady, now).await,
        JobState::Running => run(app, loaded, now).await,
        JobState::Synthesizing => finish::synthesis(app, loaded, now).await,
        JobState::Paused => rest_or_resume(app, &loaded.job, now).await,
        JobState::AwaitingApproval
        | JobState::Succeeded
        | JobState::Partial
        | JobState::Failed
        | JobState::Cancelled => Ok(Step::Rest),
    }
}

pub fn overdue<P: Ports>(app: &App<P>, job: &JobRow, now: i64) -> bool {
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
        .find(|stage| stage.kind == StageKind::Map && stage.state != StageState::Done)
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
    let halt = commands::halt();
    let statement = plans::await_approval(&job.id, 0, &halt, now, app.drive_at(now));
    app.ports.db().batch(vec![statement]).await?;
    webhooks::tell(app, &job.id).await;
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
        return match orchestrator::again(app, loaded, now).await? {
            Some(step) => Ok(step),
            None => finish::maps_done(app, loaded, now).await,
        };
    }
    let Some(stage) = loaded.stages.iter().find(|stage| stage.idx == job.stage) else {
        return fail(app, job, "internal", "the plan has no such stage", now).await;
    };
    if delivery::decide(app, loaded).await? {
        return Ok(Step::Again);
    }
    match next_step(stage.status(), checks_of(loaded, stage)) {
        StageStep::Start => {
            let begin = jobs::start_stage(&job.id, stage.idx, JobState::Running);
            app.ports.db().batch(vec![begin]).await?;
            Ok(Step::Again)
        }
        StageStep::Expand => expand(app, loaded, stage).await,
        StageStep::Call => again_or_rest(batch::pump(app, loaded, stage).await?),
        StageStep::Leave => leave(app, loaded, stage, now).await,
        check => {
            checks::carry_out(app, loaded, stage, check).await?;
            batch::pump(app, loaded, stage).await?;
            Ok(Step::Again)
        }
    }
}

/// The checks that the plan asks for in a stage.
fn checks_of(loaded: &Loaded, stage: &StageRow) -> StageChecks {
    let limits = &loaded.runtime.spec.limits;
    let work = loaded.runtime.stage(stage.idx);
    StageChecks {
        verify: work.is_some_and(|work| work.stage.verify.is_some()),
        redo: work.is_some_and(|work| work.stage.redo_share(limits) > 0.0),
    }
}

/// More of the stage's input becomes tasks, and they are queued.
async fn expand<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
) -> Result<Step, AppError> {
    if carry_over::copy(app, loaded).await? {
        return Ok(Step::Again);
    }
    let job = &loaded.job;
    let before = map_before(loaded, stage.idx);
    let chooses = |runtime: &StageRuntime| {
        let choice = runtime.stage.choice();
        choice.is_some_and(Condition::asks_flags)
    };
    if stage.cursor == 0 && loaded.runtime.stage(stage.idx).is_some_and(chooses) {
        for (of, found) in flags::flags_before(app, loaded, stage.idx).await? {
            write_flags(app, &job.id, of, &found).await?;
        }
    }
    from_results::slice(app, &loaded.runtime, job, stage, before).await?;
    enqueue::pump(app, &job.id).await?;
    Ok(Step::Again)
}

/// On to the next map stage, to another round of planning, or to what comes after the last map stage.
async fn leave<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
    now: i64,
) -> Result<Step, AppError> {
    let job = &loaded.job;
    let next = loaded
        .stages
        .iter()
        .find(|next| next.idx > stage.idx && next.kind == StageKind::Map);
    if let Some(next) = next {
        let go_on = jobs::next_stage(&job.id, stage.idx, next.idx, now, app.drive_at(now));
        app.ports.db().batch(vec![go_on]).await?;
        return Ok(Step::Again);
    }
    match orchestrator::due(app, loaded).await? {
        Some(round) => orchestrator::ask_again(app, loaded, round, now).await,
        None => finish::maps_done(app, loaded, now).await,
    }
}

pub fn again_or_rest(more: bool) -> Result<Step, AppError> {
    Ok(if more { Step::Again } else { Step::Rest })
}

/// The map stage whose results this one reads; `None` for the first.
fn map_before(loaded: &Loaded, idx: u32) -> Option<u32> {
    loaded
        .stages
        .iter()
        .rfind(|stage| stage.idx < idx && stage.kind == StageKind::Map)
        .map(|stage| stage.idx)
}

pub fn last_map(loaded: &Loaded) -> Option<&StageRow> {
    loaded
        .stages
        .iter()
        .rfind(|stage| stage.kind == StageKind::Map)
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
