//! A job comes in: it is written with its input, and one control message is sent.
//!
//! In two steps, because large input is still coming while the plan is known already: [`begin`] gives a draft, whose intake
//! takes the items; [`finish`] makes a job of it. [`submit`] is both at once. What the caller leaves open, [`resolve`] fills in.

pub mod defaults;
pub mod extends;
pub mod input_pages;
pub mod schedules;

use serde_json::{Map, Value};

pub use self::defaults::{
    check, classes, may_add_stages, replaced, resolve_stages, runtime_of, synthesis_price,
};
use self::input_pages::Intake;
use crate::app::account::storage;
use crate::app::estimate::Known;
use crate::app::outbound::traces;
use crate::app::stage::derived;
use crate::app::stage::runtime::JobRuntime;
use crate::app::support::messages;
use crate::app::view::{JobView, job};
use crate::app::{App, AppError, estimate};
use crate::core::estimate::profile::{Profile, Profiler};
use crate::core::job::delivery::Delivery;
use crate::core::net::webhook::Webhook;
use crate::core::plan::carry_over::Extension;
use crate::core::plan::spec::{InputKind, Item, Limits, Mode, Planning, Stage};
use crate::core::value::money::Nano;
use crate::ports::{Clock, Db, DbError, Ports, Queue};
use crate::store;
use crate::store::account::tokens;
use crate::store::job::jobs::NewJob;
use crate::store::job::plans::Round;
use crate::store::job::{jobs as job_jobs, measures};
use crate::store::outbound::deliveries;
use crate::store::row::Columns;
use crate::store::stage::{carry_over as carry_over_sql, reduce_tree as reduce_tree_sql};

/// A checked submit: the shapes are right and every value is within its bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Submit {
    pub task: String,
    /// The recipe that the stages come from.
    pub recipe: Option<String>,
    pub mode: Mode,
    /// Empty where the mode is dynamic.
    pub stages: Vec<Stage>,
    pub planning: Planning,
    /// The plan must be approved before anything of it is done.
    pub approval: bool,
    pub input: InputKind,
    /// Ids are unique and none is empty; at least one item, except for a draft's, whose items come later. Where texts
    /// are split, no id has the form of a slice's.
    pub items: Vec<Item>,
    /// Rows of the input's table that are no items, because all of their cells are blank.
    pub blank_rows: u64,
    pub limits: Limits,
    pub reuse: bool,
    pub delivery: Delivery,
    /// Reference material for all stages.
    pub context: Option<String>,
    /// The job whose results are taken over. Where it is named and there are no stages, they are that job's.
    pub extends: Option<String>,
    pub metadata: Map<String, Value>,
    /// The address that is notified about the job.
    pub webhook: Option<Webhook>,
    /// The caller's `Idempotency-Key` with the SHA-256 (hex) of the body it came with.
    pub idempotency: Option<(String, String)>,
}

/// Whose job it becomes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Owner<'a> {
    pub tenant: &'a str,
    /// The token it is counted to; `None`: the secret's.
    pub token: Option<&'a str>,
    /// The `traceparent` of the request, as it came.
    pub trace: Option<&'a str>,
}

impl<'a> From<&'a str> for Owner<'a> {
    /// A tenant's job that no token is answerable for.
    fn from(tenant: &'a str) -> Owner<'a> {
        Owner {
            tenant,
            token: None,
            trace: None,
        }
    }
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
    owner: impl Into<Owner<'_>>,
    mut submit: Submit,
) -> Result<Submitted, AppError> {
    let items = std::mem::take(&mut submit.items);
    submit_items(app, owner, submit, items).await
}

/// The same with these items instead of the submit's own, which are as [`Submit`] says. Each is let go of as soon as it is on a page, so
/// that they need not all be there at once.
pub async fn submit_items<P: Ports>(
    app: &App<P>,
    owner: impl Into<Owner<'_>>,
    mut submit: Submit,
    items: impl IntoIterator<Item = Item>,
) -> Result<Submitted, AppError> {
    let owner = owner.into();
    if let Some(known) = known_job(app, owner.tenant, submit.idempotency.as_ref()).await? {
        return Ok(known);
    }
    let kind = submit.input;
    let idempotency = submit.idempotency.take();
    let mut draft = begin(app, owner, submit).await?;
    for item in items {
        match kind {
            InputKind::Documents => draft.intake.add_document(item).await?,
            InputKind::Items | InputKind::Urls => draft.intake.add(item).await?,
        }
    }
    finish(app, draft, idempotency).await
}

/// A job whose plan is known and whose items are still coming.
pub struct Draft<P: Ports> {
    pub intake: Intake<P>,
    id: String,
    tenant: String,
    token: Option<String>,
    trace: Option<String>,
    runtime: JobRuntime,
    approval: bool,
    extension: Option<Extension>,
    webhook: Option<Webhook>,
}

/// Resolves the plan; the submit's items and idempotency key are not looked at.
pub async fn begin<'a, P: Ports>(
    app: &App<P>,
    owner: impl Into<Owner<'a>>,
    mut submit: Submit,
) -> Result<Draft<P>, AppError> {
    let Owner {
        tenant,
        token,
        trace,
    } = owner.into();
    storage::room(app).await?;
    let base = extends::look_up(app, tenant, &mut submit).await?;
    let runtime = defaults::accepted(app, &submit)?;
    let extension = base.map(|base| extends::of(&runtime, &base)).transpose()?;
    let id = app.id("job");
    let first = runtime.spec.stages.first();
    let grouped = first.and_then(|stage| stage.group_by.clone());
    Ok(Draft {
        intake: Intake::new(app, tenant, &id, profiler(submit.mode, &runtime), grouped),
        id,
        tenant: tenant.to_owned(),
        token: token.map(str::to_owned),
        trace: trace.map(str::to_owned),
        runtime,
        approval: submit.approval,
        extension,
        webhook: submit.webhook,
    })
}

/// Makes a job of a draft whose items are all there. `idempotency` as in [`Submit`].
pub async fn finish<P: Ports>(
    app: &App<P>,
    mut draft: Draft<P>,
    idempotency: Option<(String, String)>,
) -> Result<Submitted, AppError> {
    let known = known_job(app, &draft.tenant, idempotency.as_ref()).await;
    if !matches!(known, Ok(None)) {
        draft.intake.abandon().await;
    }
    if let Some(known) = known? {
        return Ok(known);
    }
    if draft.intake.lacking().is_some() {
        draft.intake.abandon().await;
        // One group of all that there is: hardly what was meant, and mostly a name that was written wrongly.
        return Err(AppError::Invalid(vec![(
            "stages[0].group_by".to_owned(),
            "is a field that no item of the input has".to_owned(),
        )]));
    }
    draft.runtime.spec.blank_rows += draft.intake.blank_rows;
    let (pages, mut statements) = draft.intake.finish().await?;
    let profile = draft.intake.profile();
    let Draft {
        id,
        tenant,
        runtime,
        approval,
        ..
    } = &draft;
    let spec = &runtime.spec;
    let now = app.ports.clock().now_ms();
    let round = match spec.mode {
        Mode::Static => Some(first_round(app, runtime, &profile, tenant, now).await?),
        Mode::Dynamic => None,
    };
    let synthesis = synthesis_price(runtime);
    let limits = &spec.limits;
    let job = NewJob {
        id,
        tenant,
        now,
        deadline_at: deadline_at(limits, now),
        drive_at: now.saturating_add_unsigned(app.config.intervals.drive_stale_ms),
        concurrency: limits
            .concurrency
            .unwrap_or(app.config.defaults.concurrency),
        max_attempts: limits
            .max_attempts
            .unwrap_or(app.config.defaults.max_attempts),
        min_success_ratio: limits.min_success_ratio.unwrap_or(0.0),
        limit_nano: limits.max_cost_usd.map(|usd| Nano::from_usd_floor(usd).0),
        synthesis_fixed_nano: synthesis.fixed_nano,
        synthesis_nano_per_byte: synthesis.nano_per_byte,
        items_total: draft.intake.items,
        approval: *approval,
        spec,
        profile: &profile,
        round: round.as_ref(),
        idempotency: idempotency.as_ref(),
        classes: classes(app, spec),
    };
    statements.extend(job_jobs::insert(&job, &pages));
    if let Some((bytes, nano_per_byte)) = synthesis.tree {
        statements.push(reduce_tree_sql::price(id, bytes, nano_per_byte));
    }
    if let Some(extension) = &draft.extension {
        let kept = store::to_json(extension);
        statements.extend(carry_over_sql::begin(id, tenant, &extension.job, &kept));
    }
    statements.push(measures::set_shapes(id, &estimate::shapes(tenant, runtime)));
    let webhook = draft.webhook.as_ref();
    statements.extend(webhook.map(|webhook| deliveries::insert(id, tenant, webhook)));
    let token = draft.token.as_deref();
    statements.extend(token.map(|token| tokens::own(id, token)));
    statements.extend(traces::begin(app, id, draft.trace.as_deref()));
    match app.ports.db().batch(statements).await {
        Ok(_) => {}
        // Somebody came with the same key meanwhile.
        Err(DbError::Guard(_)) => {
            let known = known_job(app, tenant, idempotency.as_ref()).await;
            draft.intake.abandon().await;
            return known?
                .ok_or_else(|| AppError::Unavailable("the job could not be written".into()));
        }
        Err(error) => return Err(error.into()),
    }
    app.log_job(
        id,
        "submitted",
        serde_json::json!({"tenant": tenant, "items": job.items_total}),
    );
    // Lost or refused, the sweep finds the job all the same.
    let calls = job.items_total.min(job.concurrency);
    let mut first = vec![messages::drive(id, 0)];
    first.extend(messages::warm_up(usize::try_from(calls).unwrap_or(0)));
    if let Err(error) = app.ports.queue().send(first).await {
        app.log_fault("send_drive", &error.to_string());
    }
    Ok(Submitted {
        job: job::job(app, tenant, id).await?,
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
        .batch(vec![job_jobs::idempotent(tenant, key)])
        .await?;
    let Some(row) = answers.first().and_then(|answer| answer.rows.first()) else {
        return Ok(None);
    };
    if row.text("body_hash") != *hash {
        return Err(AppError::IdempotencyKeyReused);
    }
    Ok(Some(Submitted {
        job: job::job(app, tenant, &row.text("job")).await?,
        created: false,
    }))
}

/// When a job that comes in now must be done.
pub fn deadline_at(limits: &Limits, now: i64) -> Option<i64> {
    let seconds = limits.deadline_seconds?;
    Some(now.saturating_add_unsigned(seconds.saturating_mul(1_000)))
}

/// A plan is made from fields and samples; what a given one costs follows from sizes alone, and from how many groups there are.
pub fn profiler(mode: Mode, runtime: &JobRuntime) -> Profiler {
    let first = || derived::maps_then_synthesis(runtime).next();
    match mode {
        Mode::Static => {
            Profiler::grouped_by(first().and_then(|first| first.stage.group_by.as_deref()))
        }
        Mode::Dynamic => Profiler::whole(),
    }
}

/// The plan that the caller, or a recipe, brought.
async fn first_round<P: Ports>(
    app: &App<P>,
    runtime: &JobRuntime,
    profile: &Profile,
    tenant: &str,
    now: i64,
) -> Result<Round, AppError> {
    let known = Known::of(app, tenant, runtime).await?;
    let spec = &runtime.spec;
    let deadline_at = deadline_at(&spec.limits, now);
    Ok(Round {
        round: 0,
        source: if spec.recipe.is_some() {
            "recipe"
        } else {
            "caller"
        }
        .to_owned(),
        rationale: None,
        stages: spec.stages.iter().map(|stage| stage.name.clone()).collect(),
        faults: Vec::new(),
        expected: Some(estimate::expected(
            app,
            runtime,
            profile,
            &known,
            deadline_at,
        )),
        at: now,
    })
}
