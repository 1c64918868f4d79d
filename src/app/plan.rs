//! Plans as callers see and change them: what a job will do, what that is expected to take, who decided it and why;
//! and what a submit would take, before there is a job.

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::drive::{self, Loaded};
use super::estimate::{self, Known};
use super::kit::Kit;
use super::submit::{self, Submit};
use super::view::JobView;
use super::{App, AppError, batch, control, extend, judge, query};
use crate::core::alternatives::Alternative;
use crate::core::delivery::Choice;
use crate::core::estimate::Expected;
use crate::core::plan::{InputKind, Item, Mode, Stage};
use crate::core::profile::Profile;
use crate::core::state::{JobEvent, JobState, job_states_that_accept};
use crate::core::time::rfc3339;
use crate::core::{plain_plan, planner};
use crate::ports::{Clock, Db, Ports};
use crate::store::measures;
use crate::store::plans::{self, Round};
use crate::store::row::Columns;

/// A job's plan.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = Plan)]
pub struct PlanView {
    #[schema(value_type = JobState)]
    pub state: String,
    pub mode: Mode,
    /// Who made the plan: `caller`, `recipe`, `orchestrator`, or `default` where no sound plan came; `null`
    /// while it is still being made.
    pub source: Option<String>,
    /// Why it is as it is, in the words of who made it.
    pub rationale: Option<String>,
    /// In the order in which they are worked on; empty while the plan is being made. Submitted again as `stages`,
    /// with the same task and input, they make the same calls.
    pub stages: Vec<Stage>,
    /// What was expected when the plan was made.
    pub expected: Option<Expected>,
    /// How calls go out and why, unless the job is plainly `live`: what was chosen when the work began, or what would be
    /// chosen if it began now.
    pub delivery: Option<Choice>,
    /// What the plan would cost in other ways, at the limits known now; empty while it is being made.
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
    /// What was wrong with answers of the orchestrator that were not used.
    pub faults: Vec<String>,
    /// What these stages were expected to take.
    pub expected: Option<Expected>,
    #[schema(format = DateTime)]
    pub at: String,
}

/// What a job would take.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[cfg_attr(not(target_arch = "wasm32"), derive(serde::Deserialize))]
#[schema(as = Estimate)]
pub struct EstimateView {
    pub mode: Mode,
    /// Items of the input.
    pub items: u32,
    /// What the figures are for. Of a dynamic job, whose plan is made by a paid call, it is the plain plan that
    /// stands in where no other comes, and the planning is counted too.
    pub stages: Vec<Stage>,
    pub expected: Expected,
    /// How calls would go out, and why, unless the job is plainly `live`.
    pub delivery: Option<Choice>,
    /// What the same costs in other ways.
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
    extend::look_up(app, tenant, &mut submit).await?;
    let mut kit = submit::kit_of(app, &submit)?;
    let mut profiler = submit::profiler(submit.mode, &kit);
    for item in items {
        let item = item.into_wire();
        profiler.add(&item, item.to_string().len() as u64);
    }
    let profile = profiler.finish();
    if submit.mode == Mode::Dynamic {
        let bounds = judge::bounds_of(app, &profile, submit.input, &[], false)?;
        let stages = plain_plan::stages(&submit.task, &bounds);
        let mut spec = kit.spec.clone();
        spec.stages = submit::resolve_stages(app, &stages, submit.input)?;
        kit = Kit::new(app, spec)?;
    }
    let known = Known::of(app, tenant, &kit).await?;
    let spec = &kit.spec;
    let deadline_at = submit::deadline_at(&spec.limits, app.ports.clock().now_ms());
    Ok(EstimateView {
        mode: submit.mode,
        items: profile.items,
        stages: pinned(&kit),
        expected: estimate::expected(app, &kit, &profile, &known, deadline_at),
        delivery: batch::choice::of(app, &kit, &profile, &known, deadline_at).map(Choice::shown),
        alternatives: estimate::alternatives(app, &kit, &profile, &spec.limits, &known)?,
        limit_usd: spec.limits.max_cost_usd,
    })
}

/// The plan of a job, in any state.
pub async fn plan<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<PlanView, AppError> {
    query::owned(app, tenant, id).await?;
    let loaded = load(app, id).await?;
    let (rounds, profile) = history(app, id).await?;
    let spec = &loaded.kit.spec;
    let known = Known::of(app, tenant, &loaded.kit).await?;
    let alternatives = if spec.stages.is_empty() {
        Vec::new()
    } else {
        estimate::alternatives(app, &loaded.kit, &profile, &spec.limits, &known)?
    };
    let deadline_at = loaded.job.deadline_at;
    let delivery = match &loaded.job.choice {
        Some(choice) => Some(choice.clone()),
        None => batch::choice::of(app, &loaded.kit, &profile, &known, deadline_at),
    };
    let delivery = delivery.map(Choice::shown);
    Ok(view(&loaded, rounds, alternatives, delivery))
}

/// What a job reads, which decides what stages it may have.
pub async fn input<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<InputKind, AppError> {
    query::owned(app, tenant, id).await?;
    Ok(load(app, id).await?.kit.spec.input)
}

/// Puts other stages in the place of a plan that waits for approval.
pub async fn replace<P: Ports>(
    app: &App<P>,
    tenant: &str,
    id: &str,
    stages: &[Stage],
) -> Result<PlanView, AppError> {
    query::owned(app, tenant, id).await?;
    let loaded = load(app, id).await?;
    let (_, profile) = history(app, id).await?;
    let now = app.ports.clock().now_ms();
    let reserved = stages.iter().position(|stage| stage.name == planner::PLAN);
    if let (Some(at), Some(_)) = (reserved, &loaded.kit.plan) {
        return Err(AppError::Invalid(vec![(
            format!("stages[{at}].name"),
            "is the name of the stage in which this job was planned".to_owned(),
        )]));
    }
    let mut spec = loaded.kit.spec.clone();
    let split = spec.mode == Mode::Dynamic || spec.slices();
    spec.stages = submit::replaced(app, stages, &spec)?;
    if spec.slices() && !split {
        // Ids of items might be mistaken for those of slices; that is checked when a job comes in.
        return Err(AppError::Invalid(vec![(
            "stages".to_owned(),
            "cannot split items by tokens where the job as it came in did not".to_owned(),
        )]));
    }
    let kit = Kit::new(app, spec)?;
    let spec = &kit.spec;
    let known = Known::of(app, tenant, &kit).await?;
    let round = Round {
        round: 0,
        source: "caller".to_owned(),
        rationale: None,
        stages: stages.iter().map(|stage| stage.name.clone()).collect(),
        faults: Vec::new(),
        expected: Some(estimate::expected(
            app,
            &kit,
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
        submit::synthesis_price(&kit),
    );
    statements.push(measures::set_shapes(id, &estimate::shapes(tenant, &kit)));
    statements.push(plans::keep(id, &round));
    control::act(
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
    control::act(
        app,
        tenant,
        id,
        "approve",
        &job_states_that_accept(JobEvent::Approved),
        vec![plans::approve(id, now)],
    )
    .await?;
    control::drive_soon(app, id).await;
    query::job(app, tenant, id).await
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
    drive::load(app, id).await?.ok_or(AppError::NotFound("job"))
}

/// The rounds of a job, and the profile of its input.
pub async fn history<P: Ports>(app: &App<P>, id: &str) -> Result<(Vec<Round>, Profile), AppError> {
    let answers = app.ports.db().batch(plans::load(id)).await?;
    let rounds = answers
        .first()
        .map(|answer| plans::rounds(&answer.rows))
        .unwrap_or_default();
    let profile = answers
        .get(1)
        .and_then(|answer| answer.rows.first())
        .and_then(|row| row.json("profile"))
        .unwrap_or_default();
    Ok((rounds, profile))
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
        mode: loaded.kit.spec.mode,
        source: first.map(|round| round.source.clone()),
        rationale: first.and_then(|round| round.rationale.clone()),
        expected: first.and_then(|round| round.expected.clone()),
        alternatives,
        stages: pinned(&loaded.kit),
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
fn pinned(kit: &Kit) -> Vec<Stage> {
    estimate::maps_then_synthesis(kit)
        .map(|kit| kit.stage.pinned())
        .collect()
}
