//! Plans as callers see and change them: what a job will do, what that is expected to take, who decided it and why;
//! and what a submit would take, before there is a job.

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::feasibility;
use super::history::history;
use crate::app::estimate::{Known, delivery as estimate_delivery};
use crate::app::stage::loaded::Loaded;
use crate::app::stage::runtime::JobRuntime;
use crate::app::stage::{command, derived, loaded};
use crate::app::submit::{Submit, extends};
use crate::app::view::{JobView, job};
use crate::app::{App, AppError, estimate, submit};
use crate::core::estimate::Expected;
use crate::core::estimate::alternatives::Alternative;
use crate::core::job::delivery::Choice;
use crate::core::job::state::{JobEvent, JobState, job_states_that_accept};
use crate::core::plan::spec::{InputKind, Item, Mode, Stage};
use crate::core::plan::{fallback, planner};
use crate::core::value::time::rfc3339;
use crate::ports::{Clock, Ports};
use crate::store::job::plans::Round;
use crate::store::job::{measures, plans};

/// A job's plan.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = Plan)]
pub struct PlanView {
    #[schema(value_type = JobState)]
    pub state: String,
    pub mode: Mode,
    /// The maker of the plan: `caller`, `recipe`, `orchestrator`, or `default` if no usable plan came; `null` while it
    /// is being made.
    pub source: Option<String>,
    /// Why it is as it is, in the words of who made it.
    pub rationale: Option<String>,
    /// In the order in which they are worked on; empty while the plan is being made. Submitted again as `stages`,
    /// with the same task and input, they make the same calls.
    pub stages: Vec<Stage>,
    /// The expected figures at the time when the plan was made.
    pub expected: Option<Expected>,
    /// How calls go out and why, unless the job is plainly `live`: what was chosen when the work began, or what would be
    /// chosen if it began now.
    pub delivery: Option<Choice>,
    /// The plan done in other ways, at the limits known now; empty while it is being made.
    pub alternatives: Vec<Alternative>,
    /// How it came about: the plan, and each time it was thought over after a stage.
    pub rounds: Vec<RoundView>,
}

/// One time that stages were given, made or added.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = Round)]
pub struct RoundView {
    /// 0 is the plan that the job began with.
    pub round: u32,
    pub source: String,
    pub rationale: Option<String>,
    /// The names of the stages that it brought; none means: on to the synthesis.
    pub stages: Vec<String>,
    /// The faults of the orchestrator's answers that were not used.
    pub faults: Vec<String>,
    /// The expected figures of these stages.
    pub expected: Option<Expected>,
    #[schema(format = DateTime)]
    pub at: String,
}

/// The estimate of a job.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = Estimate)]
pub struct EstimateView {
    pub mode: Mode,
    /// Items of the input.
    pub items: u32,
    /// The stages that the figures are for. For a dynamic job, whose plan needs a paid call, these are the stages of
    /// the plain plan, and the planning is counted too.
    pub stages: Vec<Stage>,
    pub expected: Expected,
    /// How calls would go out, and why, unless the job is plainly `live`.
    pub delivery: Option<Choice>,
    /// The same job done in other ways.
    pub alternatives: Vec<Alternative>,
    /// The job's cap.
    pub limit_usd: Option<f64>,
}

/// What the job of this submit would take. Nothing is called and nothing is written.
pub async fn estimate<P: Ports>(
    app: &App<P>,
    tenant: &str,
    mut submit: Submit,
) -> Result<EstimateView, AppError> {
    let items = std::mem::take(&mut submit.items);
    estimate_items(app, tenant, submit, items).await
}

/// The same with these items instead of the submit's own, one after the other.
pub async fn estimate_items<P: Ports>(
    app: &App<P>,
    tenant: &str,
    mut submit: Submit,
    items: impl IntoIterator<Item = Item>,
) -> Result<EstimateView, AppError> {
    extends::look_up(app, tenant, &mut submit).await?;
    let mut runtime = submit::runtime_of(app, &submit)?;
    let mut profiler = submit::profiler(submit.mode, &runtime);
    for item in items {
        let item = item.into_wire();
        profiler.add(&item, item.to_string().len() as u64);
    }
    let profile = profiler.finish();
    if submit.mode == Mode::Dynamic {
        let bounds = feasibility::bounds_of(app, &profile, submit.input, &[], false)?;
        let stages = fallback::stages(&bounds);
        let mut spec = runtime.spec.clone();
        spec.stages = submit::resolve_stages(app, &stages, submit.input, &submit.task)?;
        runtime = JobRuntime::new(app, spec)?;
    }
    let known = Known::of(app, tenant, &runtime).await?;
    let spec = &runtime.spec;
    let deadline_at = submit::deadline_at(&spec.limits, app.ports.clock().now_ms());
    Ok(EstimateView {
        mode: submit.mode,
        items: profile.items,
        stages: pinned(&runtime),
        expected: estimate::expected(app, &runtime, &profile, &known, deadline_at),
        delivery: estimate_delivery::of(app, &runtime, &profile, &known, deadline_at)
            .map(Choice::shown),
        alternatives: estimate::alternatives(app, &runtime, &profile, &spec.limits, &known)?,
        limit_usd: spec.limits.max_cost_usd,
    })
}

/// The plan of a job, in any state.
pub async fn plan<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<PlanView, AppError> {
    job::owned(app, tenant, id).await?;
    let loaded = load(app, id).await?;
    let (rounds, profile) = history(app, id).await?;
    let spec = &loaded.runtime.spec;
    let known = Known::of(app, tenant, &loaded.runtime).await?;
    let alternatives = if spec.stages.is_empty() {
        Vec::new()
    } else {
        estimate::alternatives(app, &loaded.runtime, &profile, &spec.limits, &known)?
    };
    let deadline_at = loaded.job.deadline_at;
    let delivery = match &loaded.job.choice {
        Some(choice) => Some(choice.clone()),
        None => estimate_delivery::of(app, &loaded.runtime, &profile, &known, deadline_at),
    };
    let delivery = delivery.map(Choice::shown);
    Ok(view(&loaded, rounds, alternatives, delivery))
}

/// What a job reads, which decides what stages it may have.
pub async fn input<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<InputKind, AppError> {
    job::owned(app, tenant, id).await?;
    Ok(load(app, id).await?.runtime.spec.input)
}

/// Puts other stages in the place of a plan that waits for approval.
pub async fn replace<P: Ports>(
    app: &App<P>,
    tenant: &str,
    id: &str,
    stages: &[Stage],
) -> Result<PlanView, AppError> {
    job::owned(app, tenant, id).await?;
    let loaded = load(app, id).await?;
    let (_, profile) = history(app, id).await?;
    let now = app.ports.clock().now_ms();
    let reserved = stages.iter().position(|stage| stage.name == planner::PLAN);
    if let (Some(at), Some(_)) = (reserved, &loaded.runtime.plan) {
        return Err(AppError::Invalid(vec![(
            format!("stages[{at}].name"),
            "is the name of the stage in which this job was planned".to_owned(),
        )]));
    }
    let mut spec = loaded.runtime.spec.clone();
    let split = spec.mode == Mode::Dynamic || spec.slices();
    spec.stages = submit::replaced(app, stages, &spec)?;
    if spec.slices() && !split {
        // Ids of items might be mistaken for those of slices; that is checked when a job comes in.
        return Err(AppError::Invalid(vec![(
            "stages".to_owned(),
            "cannot split items by tokens where the job as it came in did not".to_owned(),
        )]));
    }
    let runtime = JobRuntime::new(app, spec)?;
    let spec = &runtime.spec;
    let known = Known::of(app, tenant, &runtime).await?;
    let round = Round {
        round: 0,
        source: "caller".to_owned(),
        rationale: None,
        stages: stages.iter().map(|stage| stage.name.clone()).collect(),
        faults: Vec::new(),
        expected: Some(estimate::expected(
            app,
            &runtime,
            &profile,
            &known,
            loaded.job.deadline_at,
        )),
        at: now,
    };
    let mut statements = plans::set_stages(
        id,
        &spec.stages,
        0,
        &submit::classes(app, spec),
        submit::synthesis_price(&runtime),
    );
    statements.push(measures::set_shapes(
        id,
        &estimate::shapes(tenant, &runtime),
    ));
    statements.push(plans::keep(id, &round));
    command::act(
        app,
        tenant,
        id,
        "replace_plan",
        &job_states_that_accept(JobEvent::Approved),
        statements,
    )
    .await?;
    plan(app, tenant, id).await
}

/// Lets a plan that waits for it go to work.
pub async fn approve<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<JobView, AppError> {
    let now = app.ports.clock().now_ms();
    command::act(
        app,
        tenant,
        id,
        "approve",
        &job_states_that_accept(JobEvent::Approved),
        vec![plans::approve(id, now)],
    )
    .await?;
    command::drive_soon(app, id).await;
    job::job(app, tenant, id).await
}

/// Why a job that waits for approval stands still.
pub fn halt() -> serde_json::Value {
    json!({
        "reason": "approval",
        "detail": "the plan waits for its approval; it can be read and replaced meanwhile",
        "resumes_at": null,
    })
}

async fn load<P: Ports>(app: &App<P>, id: &str) -> Result<Loaded, AppError> {
    loaded::load(app, id)
        .await?
        .ok_or(AppError::NotFound("job"))
}

fn view(
    loaded: &Loaded,
    rounds: Vec<Round>,
    alternatives: Vec<Alternative>,
    delivery: Option<Choice>,
) -> PlanView {
    let first = rounds.first();
    PlanView {
        state: loaded.job.state.as_str().to_owned(),
        mode: loaded.runtime.spec.mode,
        source: first.map(|round| round.source.clone()),
        rationale: first.and_then(|round| round.rationale.clone()),
        expected: first.and_then(|round| round.expected.clone()),
        alternatives,
        stages: pinned(&loaded.runtime),
        delivery,
        rounds: rounds
            .into_iter()
            .map(|round| RoundView {
                round: round.round,
                source: round.source,
                rationale: round.rationale,
                stages: round.stages,
                faults: round.faults,
                expected: round.expected,
                at: rfc3339(round.at),
            })
            .collect(),
    }
}

/// The stages in the form of a submit.
fn pinned(runtime: &JobRuntime) -> Vec<Stage> {
    derived::maps_then_synthesis(runtime)
        .map(|runtime| runtime.stage.pinned())
        .collect()
}
