//! Whether the orchestrator's answer is a plan that can be carried out: what it must fit, and what is left to pay for it.
//! Nothing is written here; [`super::planning`] acts on the verdict.

use serde_json::Value;

use crate::app::estimate::{Known, figures};
use crate::app::expand::selected as expand_selected;
use crate::app::stage::lineage;
use crate::app::stage::loaded::Loaded;
use crate::app::stage::runtime::JobRuntime;
use crate::app::{App, AppError, submit};
use crate::claude::models::Model;
use crate::core::estimate::expected;
use crate::core::estimate::profile::Profile;
use crate::core::plan::planner::{Answer, Bounds, PLAN, Reach};
use crate::core::plan::spec::{InputKind, ResolvedStage, Spec, Stage, StageKind};
use crate::core::plan::{planner, selected};
use crate::core::value::money::Nano;
use crate::ports::Ports;
use crate::store::job::jobs::JobRow;

/// What becomes of an answer.
pub(super) enum Judged {
    Sound {
        rationale: String,
        stages: Vec<Stage>,
    },
    Unsound(Vec<String>),
}

/// Whether the answer is a plan that can be carried out, within what is left of the budget.
pub(super) async fn judge<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    profile: &Profile,
    answer: &Value,
) -> Result<Judged, AppError> {
    let answer: Answer = match serde_json::from_value(answer.clone()) {
        Ok(answer) => answer,
        Err(error) => return Ok(Judged::Unsound(vec![error.to_string()])),
    };
    let spec = &loaded.runtime.spec;
    let known: Vec<String> = spec.stages.iter().map(|stage| stage.name.clone()).collect();
    let stages = match planner::stages(&answer, &bounds(app, loaded, profile, &known)?) {
        Ok(stages) => stages,
        Err(faults) => return Ok(Judged::Unsound(faults)),
    };
    let mut all: Vec<Stage> = lineage::map_stages(&loaded.runtime)
        .iter()
        .map(|(_, runtime)| runtime.stage.pinned())
        .collect();
    let before = all.len();
    all.extend(stages.iter().cloned());
    let faults = selected::faults(&all)
        .into_iter()
        .filter_map(|(at, path, text)| {
            let (at, name) = (at.checked_sub(before)?, &all.get(at)?.name);
            Some(format!("stages[{at}] ({name:?}): {path}: {text}"))
        });
    let faults: Vec<String> = faults.collect();
    if !faults.is_empty() {
        return Ok(Judged::Unsound(faults));
    }
    let known_items = chosen(app, loaded, &stages).await?;
    if let Some((name, 0)) = &known_items {
        return Ok(Judged::Unsound(vec![format!(
            "stage {name:?}: not one of the results so far is chosen by its condition"
        )]));
    }
    let resolved = match submit::resolve_stages(app, &stages, reads(spec), &spec.task) {
        Ok(resolved) => resolved,
        Err(AppError::Invalid(faults)) => {
            let faults = faults
                .into_iter()
                .map(|(path, text)| format!("{path}: {text}"));
            return Ok(Judged::Unsound(faults.collect()));
        }
        Err(error) => return Err(error),
    };
    let runtime = with_stages(app, loaded, resolved)?;
    let learned = Known::of(app, &loaded.job.tenant, &runtime).await?;
    let mut figures = figures(
        app,
        &runtime,
        profile,
        &spec.limits,
        &learned,
        known_items.as_ref(),
    );
    // What is done is paid.
    figures.retain(|figure| figure.stage != PLAN && !known.contains(&figure.stage));
    let whole = expected(&figures);
    let likely = whole.likely_usd.unwrap_or(whole.cost_usd.low);
    if let Some(left) = left_usd(&loaded.job)
        && likely > left
    {
        return Ok(Judged::Unsound(vec![format!(
            "it is likely to cost {likely:.2} dollars, and {left:.2} are left: larger chunks, fewer or shorter fields, or the tier \"worker\" make it cheaper"
        )]));
    }
    Ok(Judged::Sound {
        rationale: answer.rationale.trim().to_owned(),
        stages,
    })
}

/// The name of the first of these stages, where it is over some of the results that are there already, and how many those are.
pub(super) async fn chosen<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stages: &[Stage],
) -> Result<Option<(String, u64)>, AppError> {
    let first = stages.iter().find(|stage| stage.kind == StageKind::Map);
    let of = first.and_then(|stage| Some((stage, stage.choice()?)));
    let Some((stage, of)) = of.filter(|_| !loaded.runtime.spec.stages.is_empty()) else {
        return Ok(None);
    };
    let count = expand_selected::count(app, &loaded.runtime, &loaded.job.id, of).await?;
    Ok(Some((stage.name.clone(), count)))
}

/// The plan with these stages added.
pub(super) fn with_stages<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stages: Vec<ResolvedStage>,
) -> Result<JobRuntime, AppError> {
    let mut spec = loaded.runtime.spec.clone();
    spec.stages.extend(stages);
    JobRuntime::new(app, spec)
}

/// What a plan of this job must fit.
pub(super) fn bounds<'a, P: Ports>(
    app: &'a App<P>,
    loaded: &Loaded,
    profile: &'a Profile,
    known: &'a [String],
) -> Result<Bounds<'a>, AppError> {
    let stages = &loaded.runtime.spec.stages;
    bounds_of(
        app,
        profile,
        reads(&loaded.runtime.spec),
        known,
        stages.iter().any(|s| s.kind == StageKind::Synthesis),
    )
}

/// What the next stages of the job read: its input, or results, which are items.
pub(super) fn reads(spec: &Spec) -> InputKind {
    if spec.stages.is_empty() {
        spec.input
    } else {
        InputKind::Items
    }
}

/// The same for a job that is not there yet.
pub fn bounds_of<'a, P: Ports>(
    app: &'a App<P>,
    profile: &'a Profile,
    input: InputKind,
    known: &'a [String],
    has_synthesis: bool,
) -> Result<Bounds<'a>, AppError> {
    let defaults = &app.config.defaults;
    let model = |name: &str| {
        app.models
            .resolve(name)
            .map_err(|unknown| AppError::Internal(unknown.to_string()))
    };
    let id = |name: &'a str| {
        app.models
            .listed(name)
            .map_or(name, |model| model.id.as_str())
    };
    let worker = model(&defaults.worker_model)?;
    let strong = model(&defaults.synthesis_model)?;
    let reach = |model: &Model| Reach {
        input_tokens: model
            .prices
            .long_prompt
            .map_or(u64::MAX, |long| long.above_tokens)
            .min(
                model
                    .context_tokens
                    .saturating_sub(u64::from(defaults.worker_max_tokens)),
            ),
        output_tokens: u64::from(model.max_output_tokens),
        usual_output: defaults.worker_max_tokens.min(model.max_output_tokens),
    };
    Ok(Bounds {
        input,
        profile,
        worker: reach(&worker),
        strong: reach(&strong),
        models: (id(&defaults.worker_model), id(&defaults.synthesis_model)),
        known,
        has_synthesis,
    })
}

/// Dollars that are left of the job's budget, as if nothing had been reused.
pub(super) fn left_usd(job: &JobRow) -> Option<f64> {
    let left = job.limit_nano? - job.spent_nano - job.unknown_nano - job.saved_nano;
    Some(Nano(left.max(0)).usd())
}
