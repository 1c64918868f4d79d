//! Jobs, tasks, results and reports are read. Everything is scoped by tenant: another tenant's job is
//! `NotFound`.

use super::view::{JobView, Page, Report, ResultLine, TaskDetail, TaskView};
use super::{App, AppError};
use crate::core::plan::Output;
use crate::core::state::{JobState, TaskState};
use crate::ports::Ports;

/// One job.
pub async fn job<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<JobView, AppError> {
    let _ = (app, tenant, id);
    Err(AppError::NotFound("job"))
}

/// Jobs, newest first. `after` is what the last page's cursor held: (created_at in ms, id).
pub async fn jobs<P: Ports>(
    app: &App<P>,
    tenant: &str,
    state: Option<JobState>,
    after: Option<(i64, String)>,
    limit: u32,
) -> Result<(Vec<JobView>, Option<(i64, String)>), AppError> {
    let _ = (app, tenant, state, after, limit);
    Ok((Vec::new(), None))
}

/// Tasks of the map stages (or of the stage named) by index; `after` is the last index of the page before.
pub async fn tasks<P: Ports>(
    app: &App<P>,
    tenant: &str,
    job: &str,
    state: Option<TaskState>,
    stage: Option<&str>,
    after: Option<u32>,
    limit: u32,
) -> Result<(Vec<TaskView>, Option<u32>), AppError> {
    let _ = (app, tenant, job, state, stage, after, limit);
    Ok((Vec::new(), None))
}

/// One task whole.
pub async fn task<P: Ports>(
    app: &App<P>,
    tenant: &str,
    job: &str,
    index: u32,
) -> Result<TaskDetail, AppError> {
    let _ = (app, tenant, job, index);
    Err(AppError::NotFound("task"))
}

/// Which stage's results a caller wants, found before the first page is streamed.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultsOf {
    pub job: String,
    pub stage: u32,
    /// The stage's `output`, and its [`ResolvedStage::columns`](crate::core::plan::ResolvedStage::columns).
    pub output: Output,
    pub columns: Option<Vec<String>>,
}

/// The stage of that name, or the last map stage.
pub async fn results_of<P: Ports>(
    app: &App<P>,
    tenant: &str,
    job: &str,
    stage: Option<&str>,
) -> Result<ResultsOf, AppError> {
    let _ = (app, tenant, job, stage);
    Err(AppError::NotFound("job"))
}

/// The next results after task `after`, a bounded page at a time. The second value is where the next page
/// begins, `None` after the last; a page may be empty and not the last (its tasks brought nothing).
pub async fn results_page<P: Ports>(
    app: &App<P>,
    of: &ResultsOf,
    after: Option<u32>,
) -> Result<(Vec<ResultLine>, Option<u32>), AppError> {
    let _ = (app, of, after);
    Ok((Vec::new(), None))
}

/// The report of a terminal job; `Conflict` before that.
pub async fn report<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<Report, AppError> {
    let _ = (app, tenant, id);
    Err(AppError::NotFound("job"))
}

/// The report as Markdown: the synthesis, then the frequencies and the coverage.
pub async fn report_markdown<P: Ports>(
    app: &App<P>,
    tenant: &str,
    id: &str,
) -> Result<String, AppError> {
    let _ = (app, tenant, id);
    Err(AppError::NotFound("job"))
}

/// A page of anything, kept here so that the API need not know how cursors come about.
pub type JobsPage = Page<JobView>;
