//! `GET /v1/jobs/{id}/tasks` and `GET /v1/jobs/{id}/tasks/{index}`.

use axum::extract::State;
use axum::response::Response;

use crate::api::http::auth::Caller;
use crate::api::http::cursor::AfterTask;
use crate::api::http::params::{JobId, NoQuery, Query, TaskPath};
use crate::api::http::problem::ApiError;
use crate::api::http::state::Api;
use crate::api::http::{cursor, reply};
use crate::app::read::jobs;
use crate::app::view::{Page, TaskDetail, TaskView};
use crate::core::job::state::TaskState;
use crate::ports::Ports;

/// List a job's tasks
///
/// By index.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/tasks",
    operation_id = "listTasks",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$"),
        ("state" = Option<TaskState>, Query, description = "Only tasks in this state."),
        ("stage" = Option<String>, Query, description = "Only tasks of the stage with this name."),
        ("item" = Option<String>, Query, description = "Only tasks that have this item, a slice of it, or the result that bears this label."),
        ("limit" = Option<u32>, Query, description = "Entries on a page.", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of tasks", body = Page<TaskView>)),
)]
pub async fn list<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(job): JobId,
    mut query: Query,
) -> Result<Response, ApiError> {
    let state = query.state(&TaskState::ALL.map(TaskState::as_str), TaskState::parse);
    let stage = query.text("stage");
    let item = query.text("item");
    let limit = query.limit();
    let after = query.cursor().map(|AfterTask { index }| index);
    query.end()?;
    let (data, next) = jobs::tasks(
        &api.app,
        &caller.tenant,
        &job,
        jobs::TasksLike {
            state,
            stage: stage.as_deref(),
            item: item.as_deref(),
        },
        after,
        limit,
    )
    .await?;
    let next_cursor = next.map(|index| cursor::write(AfterTask { index }));
    Ok(reply::ok(&Page { data, next_cursor }))
}

/// Get a task whole
///
/// Its input, its output, and every attempt with request and response.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/tasks/{index}",
    operation_id = "getTask",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$"),
        ("index" = u32, Path, description = "The task's index in the job"),
    ),
    responses((status = 200, description = "The task", body = TaskDetail)),
)]
pub async fn get<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    TaskPath { job, index }: TaskPath,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let task = jobs::task(&api.app, &caller.tenant, &job, index).await?;
    Ok(reply::tagged(&task))
}
