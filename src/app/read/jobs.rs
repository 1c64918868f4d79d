//! Jobs, tasks and results are read. Everything is scoped by tenant: another tenant's job is `NotFound`.

use serde_json::Value;

use crate::app::stage::loaded;
use crate::app::stage::runtime::StageRuntime;
use crate::app::support::blobs;
use crate::app::support::db::{json_of, rows};
use crate::app::view::job::{job_view, owned};
use crate::app::view::{AttemptView, JobView, TaskDetail, TaskView};
use crate::app::{App, AppError};
use crate::claude::capabilities::Lacks;
use crate::core::admission::cache::CacheTtl;
use crate::core::job::state::{JobState, TaskState};
use crate::core::plan::spec::StageKind;
use crate::core::task::kind::TaskKind;
use crate::core::task::retry_policy::RequestMode;
use crate::core::value::money::Nano;
use crate::core::value::time::rfc3339;
use crate::ports::{Clock, Db, Ports};
use crate::store::job::jobs;
use crate::store::read::listing;
use crate::store::row::{Columns, Row};
use crate::store::task::admission::Body;

/// Jobs, newest first. `after` is what the last page's cursor held: (created_at in ms, id).
pub async fn jobs<P: Ports>(
    app: &App<P>,
    tenant: &str,
    state: Option<JobState>,
    after: Option<(i64, String)>,
    limit: u32,
) -> Result<(Vec<JobView>, Option<(i64, String)>), AppError> {
    let statement = listing::jobs(
        tenant,
        state.map(JobState::as_str),
        after,
        limit.saturating_add(1),
    );
    let mut rows = rows(app, statement).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|row| (row.int("created_at"), row.text("id")));
    Ok((rows.iter().map(job_view).collect(), next))
}

/// Which tasks of a job are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct TasksLike<'a> {
    pub state: Option<TaskState>,
    pub stage: Option<&'a str>,
    /// Of an item, of slices of it, or with a result of this label.
    pub item: Option<&'a str>,
}

/// Tasks of the map stages (or of the stage named) by index; `after` is the last index of the page before.
pub async fn tasks<P: Ports>(
    app: &App<P>,
    tenant: &str,
    job: &str,
    like: TasksLike<'_>,
    after: Option<u32>,
    limit: u32,
) -> Result<(Vec<TaskView>, Option<u32>), AppError> {
    if let Some(name) = like.stage {
        owned(app, tenant, job).await?;
        must_have_stage(app, job, name).await?;
    }
    let after = after.map_or(-1, i64::from);
    let statement = listing::tasks(
        job,
        after,
        like.state.map(TaskState::as_str),
        like.stage,
        like.item,
        limit.saturating_add(1),
    );
    // Whose job it is, and its tasks: one round trip.
    let statements = vec![listing::owner(job, tenant), statement];
    let mut answers = app.ports.db().batch(statements).await?.into_iter();
    if answers.next().unwrap_or_default().rows.is_empty() {
        return Err(AppError::NotFound("job"));
    }
    let mut rows = answers.next().unwrap_or_default().rows;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| more).map(|row| row.count("idx"));
    let now = app.ports.clock().now_ms();
    let views = rows
        .iter()
        .map(|row| TaskView {
            index: row.count("idx"),
            stage: row.text("stage"),
            state: row.text("state"),
            purpose: row.text("purpose"),
            item_ids: row.json("ids").unwrap_or_default(),
            attempts: row.count("attempts"),
            error: row.json("error"),
            not_before: Some(row.int("not_before"))
                .filter(|at| {
                    *at > now && matches!(row.text("state").as_str(), "pending" | "queued")
                })
                .map(rfc3339),
        })
        .collect();
    Ok((views, next))
}

/// A name that no stage has would give an empty list, as if the stage had no tasks.
async fn must_have_stage<P: Ports>(app: &App<P>, job: &str, name: &str) -> Result<(), AppError> {
    let loaded = loaded::load(app, job)
        .await?
        .ok_or(AppError::NotFound("job"))?;
    let names: Vec<&str> = loaded
        .runtime
        .plan
        .iter()
        .chain(&loaded.runtime.stages)
        .map(|runtime| runtime.stage.name.as_str())
        .collect();
    if names.contains(&name) {
        return Ok(());
    }
    Err(AppError::Invalid(vec![(
        "stage".to_owned(),
        format!("is no stage of this job; there are: {}", names.join(", ")),
    )]))
}

/// One task whole.
pub async fn task<P: Ports>(
    app: &App<P>,
    tenant: &str,
    job: &str,
    index: u32,
) -> Result<TaskDetail, AppError> {
    // Whose job it is, the task with its attempts, and the plan: one round trip.
    let mut statements = vec![listing::owner(job, tenant)];
    statements.extend(listing::task(job, index));
    statements.extend(jobs::load(job));
    let answers = app.ports.db().batch(statements).await?;
    let rows = |n: usize| answers.get(n).map_or(&[][..], |answer| &answer.rows);
    if rows(0).is_empty() {
        return Err(AppError::NotFound("job"));
    }
    let row = rows(1).first().ok_or(AppError::NotFound("task"))?;
    let loaded = loaded::loaded(app, answers.get(3..).unwrap_or_default())?
        .ok_or(AppError::NotFound("job"))?;
    let input = json_of(blobs::text(app, &Body::read(row, "body", "blob")).await?);
    let output = json_of(blobs::text(app, &Body::read(row, "output", "output_blob")).await?);
    let mut attempts = Vec::new();
    let mut prior: Option<(String, Option<String>)> = None;
    for attempt in rows(2) {
        let response = blobs::text(app, &Body::read(attempt, "response", "response_blob")).await?;
        let request = request(
            loaded.runtime.of_model(
                row.count("stage"),
                TaskKind::parse(&row.text("purpose")),
                &attempt.text("model"),
            ),
            attempt,
            &input,
            prior.as_ref(),
        );
        attempts.push(attempt_view(attempt, request, response.clone()));
        prior = response
            .map(|text| (text, attempt.maybe_text("stop_reason")))
            .or(prior);
    }
    Ok(TaskDetail {
        index,
        stage: row.text("stage_name"),
        state: row.text("state"),
        purpose: row.text("purpose"),
        item_ids: row.json("ids").unwrap_or_default(),
        error: row.json("error"),
        input,
        output,
        attempts,
    })
}

/// The body that an attempt sent, built again: the same stage and items give the same request.
fn request(
    runtime: Option<&StageRuntime>,
    attempt: &Row,
    input: &Value,
    prior: Option<&(String, Option<String>)>,
) -> Value {
    let Some(stage_runtime) = runtime else {
        return Value::Null;
    };
    let form = RequestMode::parse(&attempt.text("form"));
    let ids: Vec<String> = attempt.json("ids").unwrap_or_default();
    let prior = prior.and_then(|(answer, stop)| {
        crate::app::attempt::prior_of(stage_runtime, form, answer.clone(), stop.as_deref(), &ids)
    });
    let prior = prior.as_ref();
    let request = match stage_runtime.stage.kind {
        StageKind::Map => {
            let items: Vec<Value> = input
                .as_array()
                .map(|items| crate::app::stage::runtime::only(items, &ids))
                .unwrap_or_default();
            stage_runtime.worker_request(form, &items, prior)
        }
        StageKind::Synthesis => stage_runtime.synthesis_request(
            stage_runtime.stage.max_tokens,
            form,
            input
                .get("results")
                .and_then(Value::as_str)
                .unwrap_or_default(),
            input
                .get("coverage")
                .and_then(Value::as_str)
                .unwrap_or_default(),
            prior,
        ),
        StageKind::Plan => {
            stage_runtime.plan_request(stage_runtime.stage.max_tokens, form, input, prior)
        }
    };
    let ttl = attempt
        .maybe_text("cache")
        .and_then(|ttl| CacheTtl::parse(&ttl));
    let lacks = Lacks::parse(&attempt.text("lacks"));
    let request = stage_runtime.without(request, lacks);
    let mut request = match ttl {
        Some(ttl) => request.marked(ttl),
        None => request,
    };
    if attempt.maybe_int("max_tokens").is_some() {
        request.max_tokens = attempt.count("max_tokens");
    }
    serde_json::from_slice(&request.body()).unwrap_or(Value::Null)
}

fn attempt_view(row: &Row, request: Value, response: Option<String>) -> AttemptView {
    AttemptView {
        number: row.count("n"),
        state: row.text("state"),
        role: row.text("role"),
        model: row.text("model"),
        request,
        response,
        stop_reason: row.maybe_text("stop_reason"),
        status: row.maybe_int("status").and_then(|s| u16::try_from(s).ok()),
        error_class: row.maybe_text("error_class"),
        error: row.maybe_text("error"),
        request_id: row.maybe_text("request_id"),
        input_tokens: row.tokens("input_tokens"),
        output_tokens: row.tokens("output_tokens"),
        cache_read_input_tokens: row.tokens("cache_read_tokens"),
        cache_creation_input_tokens: row.tokens("cache_write_tokens"),
        cost_usd: Nano(row.int("cost_nano")).usd(),
        started_at: rfc3339(row.int("started_at")),
        finished_at: row.maybe_int("finished_at").map(rfc3339),
    }
}
