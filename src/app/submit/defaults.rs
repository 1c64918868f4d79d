//! What a submit leaves open is filled in: models, chunks, limits; and what follows from its plan, the price of the synthesis and
//! the classes that its calls draw on. Nothing is read or written here, and all that does not resolve is told at once, by the paths of the
//! submit's body (`stages[0].model`).

use std::borrow::Cow;

use super::Submit;
use crate::app::outbound::webhooks;
use crate::app::results::{reduce_tree, synthesis};
use crate::app::stage::runtime::JobRuntime;
use crate::app::{App, AppError};
use crate::claude::models::Model;
use crate::core::estimate::prompt_tokens_at_most;
use crate::core::plan::condition::Condition;
use crate::core::plan::spec::{
    Chunk, InputKind, Limits, Mode, OnBudget, Planning, ResolvedStage, Spec, Stage, StageKind,
};
use crate::core::plan::told;
use crate::core::schema::Schema;
use crate::ports::Ports;
use crate::store::job::plans::SynthesisPrice;

/// Chunks of items where a stage names none.
const DEFAULT_CHUNK: u32 = 10;
/// Slices of documents and pages where a stage says nothing of tokens: large enough to see what a text is about, small enough
/// that a fast model reads all of it.
const DEFAULT_TOKENS: u32 = 6_000;
const DEFAULT_OVERLAP: u32 = 200;

/// The plan of a submit, resolved and ready to be reckoned with.
pub fn runtime_of<P: Ports>(app: &App<P>, submit: &Submit) -> Result<JobRuntime, AppError> {
    let spec = Spec {
        stages: with_faults(
            context_faults(app, &submit.stages, submit.context.as_deref()),
            resolved(app, submit),
        )?,
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
        blank_rows: submit.blank_rows,
    };
    JobRuntime::new(app, spec)
}

/// Reference material stands in every prompt of a stage, and must leave room for what the prompt is about.
fn context_faults<P: Ports>(
    app: &App<P>,
    stages: &[Stage],
    shared: Option<&str>,
) -> Vec<(String, String)> {
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
    for (index, stage) in stages.iter().enumerate() {
        let default = match stage.kind {
            StageKind::Map => &defaults.worker_model,
            StageKind::Synthesis | StageKind::Plan => &defaults.synthesis_model,
        };
        // Of a cascade no later model reads less.
        let first = stage.models.iter().flatten().next();
        let model = first.or(stage.model.as_ref()).unwrap_or(default);
        let (path, text) = match &stage.context {
            Some(own) => (format!("stages[{index}].context"), own.as_str()),
            None => match shared {
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

/// Whether a submit would be taken, as far as can be told beforehand.
pub fn check<P: Ports>(app: &App<P>, submit: &Submit) -> Result<(), AppError> {
    accepted(app, submit).map(|_| ())
}

/// The plan of a submit that may become a job.
pub fn accepted<P: Ports>(app: &App<P>, submit: &Submit) -> Result<JobRuntime, AppError> {
    with_faults(uncapped(app, submit), runtime_of(app, submit))
}

/// Texts of items reach the orchestrator, which chooses stages, models and the number of calls. So its choice needs a
/// bound that no text can move: a cap, or a person who approves the plan. Stages that it adds later are approved by
/// nobody.
fn uncapped<P: Ports>(app: &App<P>, submit: &Submit) -> Vec<(String, String)> {
    let capped = resolve_limits(app, &submit.limits).max_cost_usd.is_some();
    if submit.mode == Mode::Static || capped || app.config.plans_without_cap {
        return Vec::new();
    }
    let problem = match (submit.approval, submit.limits.max_rounds.unwrap_or(0)) {
        (true, 0) => return Vec::new(),
        (true, _) => {
            "is required with `limits.max_rounds`, because nobody approves the stages that Claude adds: set it, or \
             set `max_rounds` to 0"
        }
        (false, _) => {
            "is required where Claude makes the plan: set it, or set `approval` to true to approve the plan first"
        }
    };
    vec![("limits.max_cost_usd".to_owned(), problem.to_owned())]
}

/// Whether stages may be added to a planned job without a person who approves them.
pub fn may_add_stages<P: Ports>(app: &App<P>, limit_nano: Option<i64>) -> bool {
    limit_nano.is_some() || app.config.plans_without_cap
}

/// Stages in the place of a plan's.
pub fn replaced<P: Ports>(
    app: &App<P>,
    stages: &[Stage],
    spec: &Spec,
) -> Result<Vec<ResolvedStage>, AppError> {
    with_faults(
        context_faults(app, stages, spec.context.as_deref()),
        resolve_stages(app, stages, spec.input, &spec.task),
    )
}

/// Its stages, where nothing is wrong with them nor with its webhook.
fn resolved<P: Ports>(app: &App<P>, submit: &Submit) -> Result<Vec<ResolvedStage>, AppError> {
    let webhook = submit.webhook.as_ref();
    let faults = webhook.map_or_else(Vec::new, |webhook| webhooks::faults(app, webhook));
    let stages = resolve_stages(app, &submit.stages, submit.input, &submit.task);
    with_faults(faults, stages)
}

/// Every default filled in; faults of all stages at once.
pub fn resolve_stages<P: Ports>(
    app: &App<P>,
    stages: &[Stage],
    input: InputKind,
    task: &str,
) -> Result<Vec<ResolvedStage>, AppError> {
    let defaults = &app.config.defaults;
    let mut faults = Vec::new();
    let mut told = 0;
    let mut resolved = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        let is_first_map = stage.kind == StageKind::Map
            && stages.iter().take(index).all(|s| s.kind != StageKind::Map);
        let mut fault = |field: &str, message: String| {
            faults.push((format!("stages[{index}].{field}"), message));
        };
        told += told::len(task, &stage.instructions);
        if told > told::MOST_BYTES {
            let most = told::MOST_BYTES;
            let message = format!(
                "with the task in their places, the instructions up to here have {told} bytes; at most {most} are allowed"
            );
            fault("instructions", message);
        }
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
        // Of a context that the usual answer would half fill it takes a quarter, unless the caller wants more.
        let quarter = u32::try_from(model.context_tokens / 4).unwrap_or(u32::MAX);
        let small = model.context_tokens < u64::from(max_tokens) * 2;
        let usual = if small { quarter.max(1) } else { max_tokens };
        let default = usual.min(least);
        let max_tokens = stage.max_tokens.unwrap_or(default);
        if stage.kind == StageKind::Synthesis {
            // Its own prompt adds about as much to the instructions.
            let prompt = stage.instructions.len() as u64 + 1_000;
            let room = synthesis::room_of(model.context_tokens, max_tokens, prompt);
            if room < synthesis::LEAST_RESULT_BYTES {
                let message = format!(
                    "{} reads {} tokens; an answer of {max_tokens} tokens and the prompt leave no room for results: \
                     choose a model with a larger context, or smaller `max_tokens`",
                    model.id, model.context_tokens
                );
                fault("model", message);
            }
        }
        for model in std::iter::once(&model).chain(cascade.iter().skip(1)) {
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
            of: stage.of.as_ref().map(Condition::of_stage),
            filter: stage.filter.clone(),
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
) -> Result<Vec<Cow<'a, Model>>, Vec<(usize, String)>> {
    let mut models: Vec<Cow<'a, Model>> = Vec::new();
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
            if price(&model) < price(before) {
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
pub fn synthesis_price(runtime: &JobRuntime) -> SynthesisPrice {
    let Some((_, synthesis)) = synthesis::stage_of(runtime) else {
        return SynthesisPrice {
            fixed_nano: 0,
            nano_per_byte: 0,
            tree: None,
        };
    };
    let (fixed_nano, per_million) = synthesis::prices(synthesis);
    let tree = runtime.reduce.as_ref().map(|reader| {
        let bytes = synthesis::context_bytes(synthesis);
        (bytes, reduce_tree::nano_per_byte(reader))
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
