//! A job comes in: it is written with its input, and one control message is sent.

use std::iter::Peekable;

use serde_json::{Map, Value};

use super::bodies::{job_prefix, sha256_hex};
use super::view::JobView;
use super::{App, AppError, ask, kit, message, query};
use crate::core::money::Nano;
use crate::core::plan::{
    Chunk, Item, Limits, Mode, OnBudget, ResolvedStage, Spec, Stage, StageKind,
};
use crate::core::schema::Schema;
use crate::ports::{Blobs, Clock, Db, DbError, Ports, Queue};
use crate::store::jobs::{self, NewJob, NewPage};
use crate::store::row::Columns;

/// Up to here the input of a job stands in the database, in pages of `inline_bytes`: all of them go in as one bound
/// text of at most 2 MB, and escaping may double it.
const INLINE_INPUT: usize = 400_000;
/// Above, in blobs of this size: a slice of expansion reads one or two of them.
const BLOB_PAGE: usize = 1_000_000;
/// Blobs stored at a time: six connections may wait in one invocation, more would only queue.
const PUTS: usize = 6;
/// Chunks of items where a stage names none.
const DEFAULT_CHUNK: u32 = 10;

/// A checked submit: the shapes are right and every value is within its bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Submit {
    pub task: String,
    pub mode: Mode,
    pub stages: Vec<Stage>,
    /// Ids are unique and none is empty; at least one item.
    pub items: Vec<Item>,
    pub limits: Limits,
    pub reuse: bool,
    pub metadata: Map<String, Value>,
    /// The caller's `Idempotency-Key` with the SHA-256 (hex) of the body it came with.
    pub idempotency: Option<(String, String)>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    pub job: JobView,
    /// False where the idempotency key named a job that was there already.
    pub created: bool,
}

/// Writes the job, its input and its stages in one step, then sends the control message. When it
/// returns, the job is durable and will run even if the message is lost.
///
/// Models, `max_tokens` and schemas are resolved here; what does not resolve is `Invalid` with the paths
/// of the submit body (`stages[0].model`).
pub async fn submit<P: Ports>(
    app: &App<P>,
    tenant: &str,
    submit: Submit,
) -> Result<Submitted, AppError> {
    if let Some(known) = known_job(app, tenant, submit.idempotency.as_ref()).await? {
        return Ok(known);
    }
    let spec = Spec {
        stages: resolve_stages(app, &submit.stages)?,
        limits: resolve_limits(app, &submit.limits),
        task: submit.task,
        recipe: None,
        mode: submit.mode,
        reuse: submit.reuse,
        metadata: submit.metadata,
    };
    let now = app.ports.clock().now_ms();
    let id = app.id("job");
    let items_total = u32::try_from(submit.items.len()).unwrap_or(u32::MAX);
    let pages = pages(app, &id, submit.items).await?;
    let (synthesis_fixed_nano, synthesis_nano_per_byte) = synthesis_price(app, &spec);
    let limits = &spec.limits;
    let job = NewJob {
        id: &id,
        tenant,
        now,
        deadline_at: limits
            .deadline_seconds
            .map(|s| now.saturating_add_unsigned(s.saturating_mul(1_000))),
        drive_at: now.saturating_add_unsigned(app.config.intervals.drive_stale_ms),
        concurrency: limits
            .concurrency
            .unwrap_or(app.config.defaults.concurrency),
        max_attempts: limits
            .max_attempts
            .unwrap_or(app.config.defaults.max_attempts),
        min_success_ratio: limits.min_success_ratio.unwrap_or(0.0),
        limit_nano: limits.max_cost_usd.map(|usd| Nano::from_usd_floor(usd).0),
        synthesis_fixed_nano,
        synthesis_nano_per_byte,
        items_total,
        spec: &spec,
        idempotency: submit.idempotency.as_ref(),
        classes: classes(app, &spec),
    };
    match app.ports.db().batch(jobs::insert(&job, &pages)).await {
        Ok(_) => {}
        // Somebody came with the same key meanwhile.
        Err(DbError::Guard(_)) => {
            return known_job(app, tenant, submit.idempotency.as_ref())
                .await?
                .ok_or_else(|| AppError::Unavailable("the job could not be written".into()));
        }
        Err(error) => return Err(error.into()),
    }
    app.log_job(
        &id,
        "submitted",
        serde_json::json!({"tenant": tenant, "items": job.items_total}),
    );
    // Lost or refused, the sweep finds the job all the same.
    if let Err(error) = app.ports.queue().send(vec![message::drive(&id, 0)]).await {
        app.log_fault("send_drive", &error.to_string());
    }
    Ok(Submitted {
        job: query::job(app, tenant, &id).await?,
        created: true,
    })
}

/// The job that an idempotency key stands for already.
async fn known_job<P: Ports>(
    app: &App<P>,
    tenant: &str,
    idempotency: Option<&(String, String)>,
) -> Result<Option<Submitted>, AppError> {
    let Some((key, hash)) = idempotency else {
        return Ok(None);
    };
    let answers = app
        .ports
        .db()
        .batch(vec![jobs::idempotent(tenant, key)])
        .await?;
    let Some(row) = answers.first().and_then(|answer| answer.rows.first()) else {
        return Ok(None);
    };
    if row.text("body_hash") != *hash {
        return Err(AppError::IdempotencyKeyReused);
    }
    Ok(Some(Submitted {
        job: query::job(app, tenant, &row.text("job")).await?,
        created: false,
    }))
}

/// Every default filled in; faults of all stages at once.
fn resolve_stages<P: Ports>(
    app: &App<P>,
    stages: &[Stage],
) -> Result<Vec<ResolvedStage>, AppError> {
    let defaults = &app.config.defaults;
    let mut faults = Vec::new();
    let mut resolved = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        let mut fault = |field: &str, message: String| {
            faults.push((format!("stages[{index}].{field}"), message));
        };
        let (model, max_tokens) = match stage.kind {
            StageKind::Map => (&defaults.worker_model, defaults.worker_max_tokens),
            StageKind::Synthesis => (&defaults.synthesis_model, defaults.synthesis_max_tokens),
        };
        let model = match app.models.resolve(stage.model.as_ref().unwrap_or(model)) {
            Ok(model) => model,
            Err(unknown) => {
                fault("model", unknown.to_string());
                continue;
            }
        };
        let max_tokens = stage
            .max_tokens
            .unwrap_or(max_tokens.min(model.max_output_tokens));
        if max_tokens > model.max_output_tokens {
            fault(
                "max_tokens",
                format!(
                    "{} gives at most {} tokens",
                    model.id, model.max_output_tokens
                ),
            );
        }
        if let Some(schema) = &stage.output_schema
            && let Err(problems) = Schema::compile(schema)
        {
            for problem in problems {
                fault("output_schema", problem.to_string());
            }
        }
        resolved.push(ResolvedStage {
            name: stage.name.clone(),
            kind: stage.kind,
            instructions: stage.instructions.clone(),
            output: stage.output.unwrap_or_default(),
            output_schema: stage.output_schema.clone(),
            chunk: stage.chunk.unwrap_or(Chunk {
                items: DEFAULT_CHUNK,
            }),
            group_by: stage.group_by.clone(),
            model: model.id.clone(),
            max_tokens,
            effort: stage.effort,
            merge: stage.merge.clone().unwrap_or_default(),
        });
    }
    if faults.is_empty() {
        Ok(resolved)
    } else {
        Err(AppError::Invalid(faults))
    }
}

fn resolve_limits<P: Ports>(app: &App<P>, limits: &Limits) -> Limits {
    let defaults = &app.config.defaults;
    Limits {
        max_cost_usd: limits.max_cost_usd.or(defaults.max_cost_usd),
        concurrency: limits.concurrency.or(Some(defaults.concurrency)),
        max_attempts: limits.max_attempts.or(Some(defaults.max_attempts)),
        min_success_ratio: limits.min_success_ratio.or(Some(0.0)),
        on_budget: limits.on_budget.or(Some(OnBudget::Finish)),
        ..limits.clone()
    }
}

/// What the job's synthesis costs at worst, whatever it reads, and per byte that it reads.
fn synthesis_price<P: Ports>(app: &App<P>, spec: &Spec) -> (i64, i64) {
    let Some(stage) = spec.stages.iter().find(|s| s.kind == StageKind::Synthesis) else {
        return (0, 0);
    };
    let Ok(model) = app.models.resolve(&stage.model) else {
        return (0, 0);
    };
    let frame = ask::synthesis_frame(&spec.task, stage);
    let request = ask::synthesis(stage, &frame, model, None, stage.max_tokens, "", "");
    let per_million = model.prices.worst_case(1_000_000, 0, None);
    (
        kit::nano(request.worst_case(model)),
        kit::nano(per_million.div_ceil(1_000_000)),
    )
}

fn classes<P: Ports>(app: &App<P>, spec: &Spec) -> Vec<String> {
    let mut classes: Vec<String> = spec
        .stages
        .iter()
        .filter_map(|stage| app.models.resolve(&stage.model).ok())
        .map(|model| model.class.clone())
        .collect();
    classes.sort();
    classes.dedup();
    classes
}

/// The input in pages of whole items; large ones are in the blob store when this returns.
///
/// Items are taken one by one and let go as soon as their text is on a page, and a page as soon as it is stored: what
/// is held beside the items still to come is [`INLINE_INPUT`] or [`PUTS`] pages, not a second and a third copy of
/// 32 MB in an isolate of 128 MB.
async fn pages<P: Ports>(
    app: &App<P>,
    id: &str,
    items: Vec<Item>,
) -> Result<Vec<NewPage>, AppError> {
    let mut texts = items.into_iter().map(|item| item.into_wire().to_string());
    // Where the input belongs is known once so much of it has been read.
    let mut head = Vec::new();
    let mut bytes = 0;
    while bytes <= INLINE_INPUT
        && let Some(text) = texts.next()
    {
        bytes += text.len();
        head.push(text);
    }
    let in_blobs = bytes > INLINE_INPUT;
    let page_bytes = if in_blobs {
        BLOB_PAGE
    } else {
        app.config.inline_bytes
    };
    let mut texts = head.into_iter().chain(texts).peekable();
    let mut pages = Vec::new();
    let mut blobs = Vec::with_capacity(PUTS);
    let mut first = 0;
    while let Some((count, body)) = page(&mut texts, page_bytes) {
        let in_blob = in_blobs || body.len() > app.config.inline_bytes;
        let key = in_blob.then(|| format!("{}/{}", job_prefix(id), sha256_hex(body.as_bytes())));
        let (blob, body) = match key {
            Some(key) => {
                blobs.push((key.clone(), body));
                (Some(key), None)
            }
            None => (None, Some(body)),
        };
        pages.push(NewPage {
            first,
            count,
            body,
            blob,
        });
        first = first.saturating_add(count);
        if blobs.len() == PUTS {
            put_all(app, &mut blobs).await?;
        }
    }
    put_all(app, &mut blobs).await?;
    Ok(pages)
}

/// The next items as one JSON array of at most so many bytes, and how many they are; at least one, where any is left.
fn page(
    texts: &mut Peekable<impl Iterator<Item = String>>,
    page_bytes: usize,
) -> Option<(u32, String)> {
    let mut body = format!("[{}", texts.next()?);
    let mut count = 1_u32;
    // With the comma before it and the bracket after it.
    while let Some(text) = texts.next_if(|text| body.len() + text.len() + 2 <= page_bytes) {
        body.push(',');
        body.push_str(&text);
        count = count.saturating_add(1);
    }
    body.push(']');
    Some((count, body))
}

/// Stores the blobs side by side and lets go of them.
async fn put_all<P: Ports>(
    app: &App<P>,
    blobs: &mut Vec<(String, String)>,
) -> Result<(), AppError> {
    let puts = blobs
        .drain(..)
        .map(|(key, body)| app.ports.blobs().put(key, body));
    for put in futures::future::join_all(puts).await {
        put.map_err(|error| AppError::Unavailable(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pages_of(texts: &[&str], page_bytes: usize) -> Vec<(u32, String)> {
        let mut texts = texts.iter().map(|text| (*text).to_owned()).peekable();
        std::iter::from_fn(|| page(&mut texts, page_bytes)).collect()
    }

    #[test]
    fn a_page_is_full_to_the_byte_and_never_over() {
        let pages = |bytes| pages_of(&["11", "22", "33"], bytes);
        assert_eq!(pages(10), [(3, "[11,22,33]".to_owned())]);
        let two_and_one = [(2, "[11,22]".to_owned()), (1, "[33]".to_owned())];
        assert_eq!(pages(9), two_and_one);
        assert_eq!(pages(7), two_and_one);
        assert_eq!(pages(6).len(), 3);
    }

    #[test]
    fn an_item_larger_than_a_page_has_one_of_its_own() {
        let pages = pages_of(&["1", "22222222", "3"], 5);
        let counts: Vec<u32> = pages.iter().map(|(count, _)| *count).collect();
        assert_eq!(counts, [1, 1, 1]);
        assert_eq!(pages_of(&[], 5), []);
    }
}
