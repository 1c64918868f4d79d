//! A job as it is stored: its row, its stages, its plan. What a step of the driver leaves behind.

use super::runtime::JobRuntime;
use crate::app::{App, AppError};
use crate::ports::{Answer, Db, Ports};
use crate::store::job::jobs;
use crate::store::job::jobs::{JobRow, StageRow};
use crate::store::row::Columns;

/// What a step left behind.
pub enum Step {
    /// The job stands somewhere else now: look again.
    Again,
    /// Nothing to do before a call ends, a caller acts, or time passes.
    Rest,
    /// The run cannot go on: it ends as failed, for this reason.
    Fail { code: &'static str, message: String },
}

/// A job, its stages and its plan.
pub struct Loaded {
    pub job: JobRow,
    pub stages: Vec<StageRow>,
    pub runtime: JobRuntime,
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
    let runtime = rows(2)
        .first()
        .and_then(|row| row.json("spec"))
        .ok_or_else(|| AppError::Internal("the job's plan is not readable".into()))
        .and_then(|spec| JobRuntime::kept(app, spec))?;
    let stages = rows(1)
        .iter()
        .map(StageRow::read)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| AppError::Internal("a stage's row is not readable".into()))?;
    Ok(Some(Loaded {
        job,
        stages,
        runtime,
    }))
}
