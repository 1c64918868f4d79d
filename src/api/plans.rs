//! `POST /v1/estimates`, `GET` and `PUT /v1/jobs/{id}/plan`, `POST /v1/jobs/{id}/approve`: what a job will do and what
//! that will take, before anything of it is paid.
//!
//! Stages that a caller puts in place of a plan are checked as those of a submit are, by the same schema and rules.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::auth::Caller;
use super::items::json_len;
use super::params::{JobId, NoQuery};
use super::problem::{ApiError, Faults, Problem};
use super::submit::{PLAN_BYTES, SubmitBody, check_text, whole_numbers};
use super::{Api, body, contract, control, json_text, reply, rules};
use crate::app::plan::{self, EstimateView, PlanView};
use crate::app::view::JobView;
use crate::core::plan::Stage;
use crate::ports::Ports;

/// The stages that take the place of a plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPlan)]
pub struct PlanBody {
    #[schema(min_items = 1, max_items = 64)]
    stages: Vec<Stage>,
}

/// Estimate a job
///
/// Takes the body of a submit and answers what the job would take: calls, tokens, dollars and time, each as a range.
/// Nothing is paid, nothing is written and nothing starts. Answers that were paid for before cost nothing again; that is
/// not foreseen here.
#[utoipa::path(
    post,
    path = "/v1/estimates",
    operation_id = "estimate",
    tag = "plans",
    request_body(content = SubmitBody, content_type = "application/json"),
    responses((status = 200, description = "What it would take", body = EstimateView)),
)]
pub async fn estimate<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let config = &api.app.config;
    let bytes = body::json_bytes(&headers, body, config.caps.body_bytes).await?;
    let (submit, items) = check_text(json_text::sound(&bytes)?, config)?;
    let estimate = plan::estimate_items(&api.app, &caller.tenant, submit, items).await?;
    Ok(reply::ok(&estimate))
}

/// Get a job's plan
///
/// In every state of the job: its stages, what they were expected to take, and how they came about.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/plan",
    operation_id = "getPlan",
    tag = "plans",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    responses((status = 200, description = "The plan", body = PlanView)),
)]
pub async fn get<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(id): JobId,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let plan = plan::plan(&api.app, &caller.tenant, &id).await?;
    Ok(reply::ok(&plan))
}

/// Replace a job's plan
///
/// While it waits for approval. The stages are checked like those of a submit.
#[utoipa::path(
    put,
    path = "/v1/jobs/{id}/plan",
    operation_id = "replacePlan",
    tag = "plans",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    request_body(content = PlanBody, content_type = "application/json"),
    responses(
        (status = 200, description = "The plan as it is now; it still waits", body = PlanView),
        (status = 409, description = "The job does not wait for approval", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn replace<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(id): JobId,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let config = &api.app.config;
    let bytes = body::json_bytes(&headers, body, body::small(&config.caps)).await?;
    let (stages, mut faults) = stages(body::parse(&bytes)?)?;
    let input = plan::input(&api.app, &caller.tenant, &id).await;
    let kind = input.as_ref().copied().unwrap_or_default();
    rules::check(&stages, kind, &config.caps, &mut faults);
    faults.into_result()?;
    input?;
    let plan = plan::replace(&api.app, &caller.tenant, &id, &stages).await?;
    Ok(reply::ok(&plan))
}

/// The stages in a body, with what is wrong with their form where they can be read all the same.
fn stages(mut value: Value) -> Result<(Vec<Stage>, Faults), ApiError> {
    let mut faults = Faults::default();
    let len = json_len(&value);
    if len > PLAN_BYTES {
        let message = format!("has {len} bytes; at most {PLAN_BYTES} are taken");
        return Err(ApiError::fault("body", message));
    }
    if let Some(map) = value.as_object_mut() {
        whole_numbers(map);
    }
    contract::plan_shape()?.check(&value, &mut faults);
    let body = match PlanBody::deserialize(value) {
        Ok(body) => body,
        Err(error) => {
            if faults.is_empty() {
                faults.add("body", error.to_string());
            }
            return Err(ApiError::invalid(faults));
        }
    };
    Ok((body.stages, faults))
}

/// Approve a job's plan
///
/// The job goes to work. Its deadline moves on by the time it waited.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/approve",
    operation_id = "approvePlan",
    tag = "plans",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    request_body(content = control::Nothing, content_type = "application/json"),
    responses(
        (status = 200, description = "The job, at work", body = JobView),
        (status = 409, description = "The job does not wait for approval", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn approve<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(id): JobId,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    control::nothing(&api, &headers, body).await?;
    let job = plan::approve(&api.app, &caller.tenant, &id).await?;
    Ok(reply::ok(&job))
}

/// What the document shows.
#[cfg(test)]
pub mod examples {
    use serde::Deserialize;
    use serde_json::Value;

    use crate::app::plan::{EstimateView, PlanView, RoundView};
    use crate::core::alternatives;
    use crate::core::estimate::{self, Expected, Figures, Pace, Price, Usual};
    use crate::core::plan::{Mode, Stage};
    use crate::core::recipe;

    /// A plan as the document shows it.
    pub fn plan_example() -> PlanView {
        let rationale = "300 short tickets of one language: one look at each sorts them and names the issue, a report brings the patterns together.";
        let names = ["classify".to_owned(), "report".to_owned()];
        PlanView {
            state: "awaiting_approval".to_owned(),
            mode: Mode::Dynamic,
            source: Some("orchestrator".to_owned()),
            rationale: Some(rationale.to_owned()),
            stages: example_stages(),
            expected: Some(example_figures()),
            delivery: None,
            alternatives: alternatives::table(&example_stages_in_figures(), None),
            rounds: vec![RoundView {
                round: 0,
                source: "orchestrator".to_owned(),
                rationale: Some(rationale.to_owned()),
                stages: names.to_vec(),
                faults: Vec::new(),
                expected: Some(example_figures()),
                at: "2026-11-22T12:00:04.120Z".to_owned(),
            }],
        }
    }

    /// An estimate as the document shows it.
    pub fn estimate_example() -> EstimateView {
        EstimateView {
            mode: Mode::Static,
            items: 300,
            stages: example_stages(),
            expected: example_figures(),
            delivery: None,
            alternatives: alternatives::table(&example_stages_in_figures(), None),
            limit_usd: Some(5.0),
        }
    }

    /// Those of a recipe, so that they are always a plan that works.
    fn example_stages() -> Vec<Stage> {
        let recipe = recipe::find("support-tickets");
        let stages = recipe.into_iter().flat_map(|recipe| &recipe.stages);
        stages
            .filter_map(|stage| Stage::deserialize(Value::Object(stage.clone())).ok())
            .collect()
    }

    fn example_figures() -> Expected {
        estimate::expected(&example_stages_in_figures())
    }

    fn example_stages_in_figures() -> [Figures; 2] {
        let price = |input, output| Price {
            input,
            output,
            cache_write: input * 5 / 4,
            cache_read: input / 10,
            min_cacheable: 512,
            batch_percent: 50,
            long: None,
            dearest_percent: 110,
        };
        let pace = Pace {
            concurrency: 50,
            limits: Some((1_000.0, 2_000_000.0, 400_000.0)),
        };
        let classify = Figures {
            stage: "classify".to_owned(),
            tasks: (30, 30),
            fixed_bytes: 3_900,
            shared_bytes: 2_400,
            format: true,
            item_bytes: (54_000, 54_300),
            answer_chars: (1_200, 2_900),
            usual: Usual {
                tasks: 30,
                bytes: 54_000,
                chars: 2_000,
            },
            max_tokens: 4_096,
            thinking: 0,
            price: price(100, 500),
            more: 1.0,
            fee_nano: 0,
            pace,
            learned: None,
        };
        let report = Figures {
            stage: "report".to_owned(),
            tasks: (1, 1),
            fixed_bytes: 2_600,
            shared_bytes: 2_100,
            format: false,
            item_bytes: (36_000, 87_000),
            answer_chars: (600, 20_000),
            usual: Usual {
                tasks: 1,
                bytes: 60_000,
                chars: 2_500,
            },
            max_tokens: 8_192,
            thinking: 5_000,
            price: price(4_000, 20_000),
            more: 1.0,
            fee_nano: 0,
            pace,
            learned: None,
        };
        [classify, report]
    }
}
