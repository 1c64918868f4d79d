//! Jobs, tasks and results are read. Everything is scoped by tenant: another tenant's job is `NotFound`.

use serde_json::Value;

use super::kit::StageKit;
use super::view::{
    AttemptView, Cost, ErrorView, Halt, ItemCounts, JobView, Progress, TaskCounts, TaskDetail,
    TaskView, Usage,
};
use super::{App, AppError, bodies, drive};
use crate::core::cache::CacheTtl;
use crate::core::forecast::{self, Standing};
use crate::core::money::Nano;
use crate::core::plan::StageKind;
use crate::core::purpose::Purpose;
use crate::core::state::{JobState, TaskState};
use crate::core::time::rfc3339;
use crate::core::verdict::Form;
use crate::ports::{Db, Ports, Statement};
use crate::store::admission::Body;
use crate::store::jobs::{self, object};
use crate::store::listing;
use crate::store::row::{Columns, Row};

/// One job.
pub async fn job<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<JobView, AppError> {
    let statements = vec![listing::job(id, tenant), listing::standing(id, tenant)];
    let mut answers = app.ports.db().batch(statements).await?.into_iter();
    let mut rows = || answers.next().unwrap_or_default().rows;
    let mut view = rows()
        .first()
        .map(job_view)
        .ok_or(AppError::NotFound("job"))?;
    foresee(&mut view.cost, rows().first());
    Ok(view)
}

/// Adds what the job will likely have cost, by how its stages stand.
pub fn foresee(cost: &mut Cost, standing: Option<&Row>) {
    cost.likely_usd = standing.and_then(|standing| {
        let stages: Vec<Standing> = standing.json("stages")?;
        let to_come = forecast::to_come(&stages, &standing.json::<Vec<_>>("rounds")?)?;
        Some(((cost.spent_usd + to_come) * 1e6).round() / 1e6)
    });
}

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
        })
        .collect();
    Ok((views, next))
}

/// A name that no stage has would give an empty list, as if the stage had no tasks.
async fn must_have_stage<P: Ports>(app: &App<P>, job: &str, name: &str) -> Result<(), AppError> {
    let loaded = drive::load(app, job)
        .await?
        .ok_or(AppError::NotFound("job"))?;
    let names: Vec<&str> = loaded
        .kit
        .plan
        .iter()
        .chain(&loaded.kit.stages)
        .map(|kit| kit.stage.name.as_str())
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
    let loaded = drive::loaded(app, answers.get(3..).unwrap_or_default())?
        .ok_or(AppError::NotFound("job"))?;
    let input = json_of(bodies::text(app, &Body::read(row, "body", "blob")).await?);
    let output = json_of(bodies::text(app, &Body::read(row, "output", "output_blob")).await?);
    let mut attempts = Vec::new();
    let mut prior: Option<(String, Option<String>)> = None;
    for attempt in rows(2) {
        let response = bodies::text(app, &Body::read(attempt, "response", "response_blob")).await?;
        let request = request(
            loaded.kit.of_model(
                row.count("stage"),
                Purpose::parse(&row.text("purpose")),
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
    kit: Option<&StageKit>,
    attempt: &Row,
    input: &Value,
    prior: Option<&(String, Option<String>)>,
) -> Value {
    let Some(stage_kit) = kit else {
        return Value::Null;
    };
    let form = Form::parse(&attempt.text("form"));
    let ids: Vec<String> = attempt.json("ids").unwrap_or_default();
    let prior = prior.and_then(|(answer, stop)| {
        super::resolve::prior_of(stage_kit, form, answer.clone(), stop.as_deref(), &ids)
    });
    let prior = prior.as_ref();
    let request = match stage_kit.stage.kind {
        StageKind::Map => {
            let items: Vec<Value> = input
                .as_array()
                .map(|items| super::kit::only(items, &ids))
                .unwrap_or_default();
            stage_kit.worker_request(form, &items, prior)
        }
        StageKind::Synthesis => stage_kit.synthesis_request(
            stage_kit.stage.max_tokens,
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
        StageKind::Plan => stage_kit.plan_request(stage_kit.stage.max_tokens, form, input, prior),
    };
    let ttl = attempt
        .maybe_text("cache")
        .and_then(|ttl| CacheTtl::parse(&ttl));
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

/// The job's row, if it is the tenant's.
pub async fn owned<P: Ports>(app: &App<P>, tenant: &str, job: &str) -> Result<Row, AppError> {
    rows(app, listing::owner(job, tenant))
        .await?
        .into_iter()
        .next()
        .ok_or(AppError::NotFound("job"))
}

/// The rows of one statement.
pub async fn rows<P: Ports>(app: &App<P>, statement: Statement) -> Result<Vec<Row>, AppError> {
    let answers = app.ports.db().batch(vec![statement]).await?;
    Ok(answers
        .into_iter()
        .next()
        .map(|answer| answer.rows)
        .unwrap_or_default())
}

/// A stored JSON text; what cannot be read is `null`.
pub fn json_of(text: Option<String>) -> Value {
    text.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or(Value::Null)
}

/// Tasks and items by the counters of a job's row.
pub fn progress(row: &Row) -> Progress {
    let counts: serde_json::Map<String, Value> = row.json("counts").unwrap_or_default();
    let count = |name: &str| counts.get(name).and_then(Value::as_u64).unwrap_or(0);
    let total = row.tokens("items_total");
    // In a later stage a document is counted with each of its slices until all is known.
    let covered = row.tokens("covered_so_far").min(total);
    Progress {
        tasks: TaskCounts {
            total: count("total"),
            pending: count("pending"),
            queued: count("queued"),
            running: count("running"),
            succeeded: count("succeeded"),
            failed: count("failed"),
            skipped: count("skipped"),
            cancelled: count("cancelled"),
        },
        items: ItemCounts {
            total,
            covered,
            missing: total.saturating_sub(covered),
        },
    }
}

/// What its calls have used so far.
pub fn usage(row: &Row) -> Usage {
    Usage {
        calls: row.tokens("calls"),
        input_tokens: row.tokens("input_tokens"),
        output_tokens: row.tokens("output_tokens"),
        cache_read_input_tokens: row.tokens("cache_read_tokens"),
        cache_creation_input_tokens: row.tokens("cache_write_tokens"),
    }
}

/// A job's money by its row.
pub fn cost(row: &Row) -> Cost {
    Cost {
        spent_usd: Nano(row.int("spent_nano")).usd(),
        reserved_usd: Nano(row.int("reserved_nano"))
            .plus(Nano(row.int("unknown_nano")))
            .usd(),
        possibly_paid_usd: Nano(row.int("unknown_nano")).usd(),
        limit_usd: row.maybe_int("limit_nano").map(|nano| Nano(nano).usd()),
        saved_usd: Nano(row.int("saved_nano")).usd(),
        cache_saved_usd: Nano(row.int("cache_saved_nano")).usd(),
        likely_usd: None,
    }
}

fn job_view(row: &Row) -> JobView {
    JobView {
        id: row.text("id"),
        state: row.text("state"),
        run: row.count("run"),
        mode: row.text("mode"),
        task: row.text("task"),
        recipe: row.maybe_text("recipe"),
        extends: row
            .json::<crate::core::extension::Extension>("extends")
            .map(|extension| extension.job),
        created_at: rfc3339(row.int("created_at")),
        updated_at: rfc3339(row.int("updated_at")),
        finished_at: row.maybe_int("finished_at").map(rfc3339),
        stage: row.maybe_text("stage_name"),
        progress: progress(row),
        usage: usage(row),
        cost: cost(row),
        halt: row.json::<Halt>("halt"),
        error: row.json::<ErrorView>("error"),
        metadata: object(row, "metadata"),
    }
}
