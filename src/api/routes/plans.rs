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

use crate::api::http::auth::Caller;
use crate::api::http::params::{JobId, NoQuery};
use crate::api::http::problem::{ApiError, Faults, Problem};
use crate::api::http::state::Api;
use crate::api::http::{body, in_flight, reply};
use crate::api::validate::body_check::BodyCheck;
use crate::api::validate::empty_body::{Nothing, nothing};
use crate::api::validate::json_text::json_len;
use crate::api::validate::numbers::whole_numbers;
use crate::api::validate::submit_body::{PLAN_BYTES, SubmitBody, check_text};
use crate::api::validate::{json_text, plan_rules};
use crate::app::account::tokens::Spends;
use crate::app::planning::commands;
use crate::app::planning::commands::{EstimateView, PlanView};
use crate::app::view::JobView;
use crate::core::plan::spec::Stage;
use crate::ports::{Clock, Ports};

static PLAN: BodyCheck = BodyCheck::of::<PlanBody>();

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
    responses(
        (status = 200, description = "The estimate", body = EstimateView),
        (status = 429, description = "The token submits and estimates too often", body = Problem, content_type = "application/problem+json", headers(("retry-after" = u64, description = "Seconds until it may go on"))),
    ),
)]
pub async fn estimate<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.may_submit(&api.app).await?;
    let config = &api.app.config;
    let cap = config.caps.body_bytes;
    let bytes = body::announced(&headers, &body).unwrap_or(cap).min(cap);
    let _room = in_flight::reserve(bytes, api.app.ports.clock().now_ms())?;
    let mut bytes = body::json_bytes(&headers, body, cap).await?;
    let (submit, items) = check_text(json_text::sound(&mut bytes)?, config)?;
    let estimate = commands::estimate_items(&api.app, &caller.tenant, submit, items).await?;
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
    let plan = commands::plan(&api.app, &caller.tenant, &id).await?;
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
    let input = commands::input(&api.app, &caller.tenant, &id).await;
    let kind = input.as_ref().copied().unwrap_or_default();
    plan_rules::check(&stages, kind, &config.caps, &mut faults);
    faults.into_result()?;
    input?;
    caller.may_spend(&api.app, Spends::Job(&id)).await?;
    let plan = commands::replace(&api.app, &caller.tenant, &id, &stages).await?;
    Ok(reply::ok(&plan))
}

/// The stages in a body, with what is wrong with their form where they can be read all the same.
fn stages(mut value: Value) -> Result<(Vec<Stage>, Faults), ApiError> {
    let mut faults = Faults::default();
    let len = json_len(&value);
    if len > PLAN_BYTES {
        let message = format!("has {len} bytes; at most {PLAN_BYTES} are allowed");
        return Err(ApiError::fault("body", message));
    }
    if let Some(map) = value.as_object_mut() {
        whole_numbers(map);
    }
    PLAN.schema()?.check(&value, &mut faults);
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
    request_body(content = Nothing, content_type = "application/json"),
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
    nothing(&api, &headers, body).await?;
    caller.may_spend(&api.app, Spends::Job(&id)).await?;
    let job = commands::approve(&api.app, &caller.tenant, &id).await?;
    Ok(reply::ok(&job))
}

/// What the document shows.
#[cfg(test)]
pub mod examples {
    use serde::Deserialize;
    use serde_json::Value;

    use crate::app::planning::commands::{EstimateView, PlanView, RoundView};
    use crate::core::estimate;
    use crate::core::estimate::{Expected, Figures, Pace, Price, Usual, alternatives};
    use crate::core::plan::recipe;
    use crate::core::plan::spec::{Mode, Stage};

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
