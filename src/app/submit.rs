//! A job comes in: it is written with its input, and one control message is sent.
//!
//! In two steps, because large input is still coming while the plan is known already: [`begin`] gives a draft, whose intake
//! takes the items; [`finish`] makes a job of it. [`submit`] is both at once.

use serde_json::{Map, Value};

use super::estimate::Paces;
use super::intake::Intake;
use super::kit::Kit;
use super::view::JobView;
use super::{App, AppError, estimate, extend, message, notify, query, reduce, synthesise, traces};
use crate::claude::models::Model;
use crate::core::delivery::Delivery;
use crate::core::estimate::prompt_tokens_at_most;
use crate::core::extension::Extension;
use crate::core::money::Nano;
use crate::core::plan::{
    Chunk, InputKind, Item, Limits, Mode, OnBudget, Planning, ResolvedStage, Spec, Stage, StageKind,
};
use crate::core::profile::{Profile, Profiler};
use crate::core::schema::Schema;
use crate::core::webhook::Webhook;
use crate::ports::{Clock, Db, DbError, Ports, Queue};
use crate::store::deliveries;
use crate::store::extend as extend_sql;
use crate::store::jobs::{self, NewJob};
use crate::store::plans::{Round, SynthesisPrice};
use crate::store::reduce as reduce_sql;
use crate::store::row::Columns;
use crate::store::tokens;

/// Chunks of items where a stage names none.
const DEFAULT_CHUNK: u32 = 10;
/// Slices of documents and pages where a stage says nothing of tokens: large enough to see what a text is about, small enough
/// that a fast model reads all of it.
const DEFAULT_TOKENS: u32 = 6_000;
const DEFAULT_OVERLAP: u32 = 200;

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
    pub limits: Limits,
    pub reuse: bool,
    pub delivery: Delivery,
    /// Reference material for all stages.
    pub context: Option<String>,
    /// The job whose results are taken over. Where it is named and there are no stages, they are that job's.
    pub extends: Option<String>,
    pub metadata: Map<String, Value>,
    /// Who is told what becomes of the job.
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
    submit: Submit,
) -> Result<Submitted, AppError> {
    let owner = owner.into();
    if let Some(known) = known_job(app, owner.tenant, submit.idempotency.as_ref()).await? {
        return Ok(known);
    }
    let kind = submit.input;
    let mut submit = submit;
    let items = std::mem::take(&mut submit.items);
    let idempotency = submit.idempotency.take();
    let mut draft = begin(app, owner, submit).await?;
    // One by one, each let go as soon as it is on a page: a second and a third copy of 32 MB would not fit an isolate of 128 MB.
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
    kit: Kit,
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
    let base = extend::look_up(app, tenant, &mut submit).await?;
    let kit = kit_of(app, &submit)?;
    let extension = base.map(|base| extend::of(&kit, &base)).transpose()?;
    let id = app.id("job");
    Ok(Draft {
        intake: Intake::new(app, tenant, &id, profiler(submit.mode)),
        id,
        tenant: tenant.to_owned(),
        token: token.map(str::to_owned),
        trace: trace.map(str::to_owned),
        kit,
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
    let (pages, mut statements) = draft.intake.finish().await?;
    let profile = draft.intake.profile();
    let Draft {
        id,
        tenant,
        kit,
        approval,
        ..
    } = &draft;
    let spec = &kit.spec;
    let now = app.ports.clock().now_ms();
    let round = match spec.mode {
        Mode::Static => Some(first_round(app, kit, &profile, now).await?),
        Mode::Dynamic => None,
    };
    let synthesis = synthesis_price(kit);
    let limits = &spec.limits;
    let job = NewJob {
        id,
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
    statements.extend(jobs::insert(&job, &pages));
    if let Some((bytes, nano_per_byte)) = synthesis.tree {
        statements.push(reduce_sql::price(id, bytes, nano_per_byte));
    }
    if let Some(extension) = &draft.extension {
        let kept = jobs::to_json(extension);
        statements.extend(extend_sql::begin(id, tenant, &extension.job, &kept));
    }
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
    if let Err(error) = app.ports.queue().send(vec![message::drive(id, 0)]).await {
        app.log_fault("send_drive", &error.to_string());
    }
    Ok(Submitted {
        job: query::job(app, tenant, id).await?,
        created: true,
    })
}

/// The outcome, unless there are faults of something else; then those of both.
fn with_faults<T>(
    mut faults: Vec<(String, String)>,
    outcome: Result<T, AppError>,
) -> Result<T, AppError> {
    match outcome {
        Ok(value) if faults.is_empty() => Ok(value),
        Ok(_) => Err(AppError::Invalid(faults)),
        Err(AppError::Invalid(more)) => {
            faults.extend(more);
            Err(AppError::Invalid(faults))
        }
        Err(error) => Err(error),
    }
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

/// The plan of a submit, resolved and ready to be reckoned with.
pub fn kit_of<P: Ports>(app: &App<P>, submit: &Submit) -> Result<Kit, AppError> {
    let spec = Spec {
        stages: with_faults(context_faults(app, submit), resolved(app, submit))?,
        limits: resolve_limits(app, &submit.limits),
        task: submit.task.clone(),
        recipe: submit.recipe.clone(),
        mode: submit.mode,
        input: submit.input,
        planning: planning(app, submit)?,
        context: submit.context.clone(),
        reuse: submit.reuse,
        delivery: submit.delivery,
        metadata: submit.metadata.clone(),
    };
    Kit::new(app, spec)
}

/// Reference material stands in every prompt of a stage, and must leave room for what the prompt is about.
fn context_faults<P: Ports>(app: &App<P>, submit: &Submit) -> Vec<(String, String)> {
    let mut faults: Vec<(String, String)> = Vec::new();
    let too_long = |text: &str, model: &str| {
        let model = app.models.resolve(model).ok()?;
        let tokens = prompt_tokens_at_most(text.len() as u64);
        (tokens > model.context_tokens / 2).then(|| {
            let most = model.context_tokens / 2;
            format!(
                "may have {tokens} tokens; half of what {} reads is {most}",
                model.id
            )
        })
    };
    let defaults = &app.config.defaults;
    for (index, stage) in submit.stages.iter().enumerate() {
        let default = match stage.kind {
            StageKind::Map => &defaults.worker_model,
            StageKind::Synthesis | StageKind::Plan => &defaults.synthesis_model,
        };
        let model = stage.model.as_ref().unwrap_or(default);
        let (path, text) = match &stage.context {
            Some(own) => (format!("stages[{index}].context"), own),
            None => match &submit.context {
                Some(shared) => ("context".to_owned(), shared),
                None => continue,
            },
        };
        if let Some(fault) = too_long(text, model)
            && faults.iter().all(|(known, _)| *known != path)
        {
            faults.push((path, fault));
        }
    }
    faults
}

/// Who plans, where the job is dynamic: the model is known and its classes can be opened.
fn planning<P: Ports>(app: &App<P>, submit: &Submit) -> Result<Option<Planning>, AppError> {
    if submit.mode == Mode::Static {
        return Ok(None);
    }
    let wanted = submit.planning.model.as_ref();
    let wanted = wanted.unwrap_or(&app.config.defaults.planning_model);
    let model = app.models.resolve(wanted).map_err(|unknown| {
        AppError::Invalid(vec![("planning.model".to_owned(), unknown.to_string())])
    })?;
    Ok(Some(Planning {
        model: Some(model.id.clone()),
        fallback: submit.planning.fallback,
    }))
}

/// A plan is made from fields and samples; what a given one costs follows from sizes alone.
pub fn profiler(mode: Mode) -> Profiler {
    match mode {
        Mode::Static => Profiler::of_sizes(),
        Mode::Dynamic => Profiler::whole(),
    }
}

/// The plan that the caller, or a recipe, brought.
async fn first_round<P: Ports>(
    app: &App<P>,
    kit: &Kit,
    profile: &Profile,
    now: i64,
) -> Result<Round, AppError> {
    let paces = Paces::known(app).await?;
    let spec = &kit.spec;
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
        expected: Some(estimate::expected(app, kit, profile, &spec.limits, &paces)),
        at: now,
    })
}

/// Whether a submit would be taken, as far as can be told beforehand.
pub fn check<P: Ports>(app: &App<P>, submit: &Submit) -> Result<(), AppError> {
    kit_of(app, submit).map(|_| ())
}

/// Its stages, where nothing is wrong with them nor with its webhook.
fn resolved<P: Ports>(app: &App<P>, submit: &Submit) -> Result<Vec<ResolvedStage>, AppError> {
    let webhook = submit.webhook.as_ref();
    let faults = webhook.map_or_else(Vec::new, |webhook| notify::faults(app, webhook));
    with_faults(faults, resolve_stages(app, &submit.stages, submit.input))
}

/// Every default filled in; faults of all stages at once.
pub fn resolve_stages<P: Ports>(
    app: &App<P>,
    stages: &[Stage],
    input: InputKind,
) -> Result<Vec<ResolvedStage>, AppError> {
    let defaults = &app.config.defaults;
    let mut faults = Vec::new();
    let mut resolved = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        let is_first_map = stage.kind == StageKind::Map
            && stages.iter().take(index).all(|s| s.kind != StageKind::Map);
        let mut fault = |field: &str, message: String| {
            faults.push((format!("stages[{index}].{field}"), message));
        };
        let (model, max_tokens) = match stage.kind {
            StageKind::Map => (&defaults.worker_model, defaults.worker_max_tokens),
            StageKind::Synthesis | StageKind::Plan => {
                (&defaults.synthesis_model, defaults.synthesis_max_tokens)
            }
        };
        let cascade = match cascade(app, stage) {
            Ok(cascade) => cascade,
            Err(wrong) => {
                for (place, message) in wrong {
                    fault(&format!("models[{place}]"), message);
                }
                continue;
            }
        };
        let first = stage.model.as_deref().unwrap_or(model);
        let first = cascade.first().map_or(first, |model| &model.id);
        let model = match app.models.resolve(first) {
            Ok(model) => model,
            Err(unknown) => {
                fault("model", unknown.to_string());
                continue;
            }
        };
        let least = cascade.iter().map(|model| model.max_output_tokens).min();
        let least = least.unwrap_or(model.max_output_tokens);
        let max_tokens = stage.max_tokens.unwrap_or(max_tokens.min(least));
        for model in std::iter::once(model).chain(cascade.iter().skip(1).copied()) {
            if max_tokens > model.max_output_tokens {
                fault(
                    "max_tokens",
                    format!(
                        "{} gives at most {} tokens",
                        model.id, model.max_output_tokens
                    ),
                );
            }
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
            chunk: chunk(stage.chunk, input, is_first_map),
            group_by: stage.group_by.clone(),
            of: stage.of.clone(),
            with_input: stage.with_input.unwrap_or(false),
            model: model.id.clone(),
            models: cascade.iter().map(|model| model.id.clone()).collect(),
            max_tokens,
            effort: stage.effort,
            merge: stage.merge.clone().unwrap_or_default(),
            tools: stage.tools.clone().filter(|tools| !tools.is_empty()),
            verify: stage.verify.filter(|verify| verify.sample > 0.0),
            citations: stage.citations.unwrap_or(false),
            context: stage.context.clone(),
        });
    }
    if faults.is_empty() {
        Ok(resolved)
    } else {
        Err(AppError::Invalid(faults))
    }
}

/// The models of a stage's cascade, or what is wrong with them by their places; none where one model does it all.
fn cascade<'a, P: Ports>(
    app: &'a App<P>,
    stage: &Stage,
) -> Result<Vec<&'a Model>, Vec<(usize, String)>> {
    let mut models: Vec<&Model> = Vec::new();
    let mut wrong = Vec::new();
    for (place, name) in stage.models.iter().flatten().enumerate() {
        let model = match app.models.resolve(name) {
            Ok(model) => model,
            Err(unknown) => {
                wrong.push((place, unknown.to_string()));
                continue;
            }
        };
        if models.iter().any(|known| known.id == model.id) {
            wrong.push((place, format!("names {} a second time", model.id)));
        }
        if let Some(before) = models.last() {
            let price = |model: &Model| model.prices.standard.output;
            if price(model) < price(before) {
                wrong.push((place, format!("{} is cheaper than {}, which would be asked before it: a cascade begins with the cheapest", model.id, before.id)));
            }
            if before.structured_outputs && !model.structured_outputs {
                wrong.push((
                    place,
                    format!(
                        "{} cannot be held to a schema, as {} before it can",
                        model.id, before.id
                    ),
                ));
            }
            if model.context_tokens < before.context_tokens {
                wrong.push((
                    place,
                    format!(
                        "{} reads {} tokens, {} before it {}: what that one was asked might not fit",
                        model.id, model.context_tokens, before.id, before.context_tokens
                    ),
                ));
            }
        }
        models.push(model);
    }
    if wrong.is_empty() {
        Ok(models)
    } else {
        Err(wrong)
    }
}

/// Only the first map reads the input: documents and pages, which it must be able to split, and one page at a time, for it is not
/// known before it is read.
fn chunk(given: Option<Chunk>, input: InputKind, is_first_map: bool) -> Chunk {
    if input == InputKind::Items || !is_first_map {
        return given.unwrap_or(Chunk::of_items(DEFAULT_CHUNK));
    }
    let mut chunk = given.unwrap_or_default();
    if chunk.tokens.is_none() {
        chunk.tokens = Some(DEFAULT_TOKENS);
        chunk.overlap = chunk.overlap.or(Some(DEFAULT_OVERLAP));
    }
    if input == InputKind::Urls {
        chunk.items = Some(1);
    }
    chunk
}

fn resolve_limits<P: Ports>(app: &App<P>, limits: &Limits) -> Limits {
    let defaults = &app.config.defaults;
    Limits {
        max_cost_usd: limits.max_cost_usd.or(defaults.max_cost_usd),
        concurrency: limits.concurrency.or(Some(defaults.concurrency)),
        max_attempts: limits.max_attempts.or(Some(defaults.max_attempts)),
        min_success_ratio: limits.min_success_ratio.or(Some(0.0)),
        on_budget: limits.on_budget.or(Some(OnBudget::Finish)),
        max_rounds: limits.max_rounds.or(Some(defaults.max_rounds)),
        ..limits.clone()
    }
}

/// What the hold for the synthesis of a plan must know.
pub fn synthesis_price(kit: &Kit) -> SynthesisPrice {
    let Some((_, synthesis)) = synthesise::stage_of(kit) else {
        return SynthesisPrice {
            fixed_nano: 0,
            nano_per_byte: 0,
            tree: None,
        };
    };
    let (fixed_nano, per_million) = synthesise::prices(synthesis);
    let tree = kit.reduce.as_ref().map(|reader| {
        let bytes = synthesise::context_bytes(synthesis);
        (bytes, reduce::nano_per_byte(reader))
    });
    SynthesisPrice {
        fixed_nano,
        nano_per_byte: per_million / 1_000_000 + 1,
        tree,
    }
}

/// The model classes that the plan's calls draw on.
pub fn classes<P: Ports>(app: &App<P>, spec: &Spec) -> Vec<String> {
    let planning = spec.planning.iter().filter_map(|p| p.model.as_ref());
    let mut classes: Vec<String> = spec
        .stages
        .iter()
        .flat_map(|stage| std::iter::once(&stage.model).chain(&stage.models))
        .chain(planning)
        .filter_map(|model| app.models.resolve(model).ok())
        .map(|model| model.class.clone())
        .collect();
    classes.sort();
    classes.dedup();
    classes
}
