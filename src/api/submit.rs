//! `POST /v1/jobs`: a body becomes a checked [`Submit`], and the use case does the rest.
//!
//! A body is looked at in this order, and every step adds to one list of faults, so that a caller sees all of
//! them at once:
//!
//! 1. bytes and JSON ([`super::body`], [`super::json_text`]); a fault here ends it
//! 2. the input ([`super::items`], [`super::documents`]), which stays text
//! 3. everything else against the schema in the OpenAPI document ([`super::shape`])
//! 4. what a schema cannot say ([`super::rules`])
//!
//! A body in parts ([`super::upload`]) takes the same steps, its input last.
//!
//! What needs the list of models (aliases, the most tokens a model can write) is the use case's to find.

use std::fmt::Write;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, SchemaType, Type};

use super::auth::Caller;
use super::items::{self, Given, Input, Items, Taken, json_len};
use super::params::NoQuery;
use super::problem::{ApiError, Faults, Problem};
use super::upload::{self, Upload};
use super::{Api, body, contract, json_text, recipes, reply, rules};
use crate::app::submit::{self, Owner, Submit, Submitted};
use crate::app::view::JobView;
use crate::config::Config;
use crate::core::delivery::Delivery;
use crate::core::plan::{InputKind, Limits, Mode, Planning, Stage};
use crate::core::webhook::Webhook;
use crate::ports::Ports;

/// All of the body but `input`: it becomes one row of the database, which holds 2 MB, with defaults filled in.
pub const PLAN_BYTES: u64 = 1_000_000;

/// Metadata is returned with every job of a list, so it stays small.
const METADATA_BYTES: u64 = 4_096;

/// A job to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Submit)]
pub struct SubmitBody {
    /// What the job is for; the synthesis is told. May be left out where a recipe brings one.
    #[schema(pattern = r"\S")]
    task: String,
    /// The name of a ready plan; see `GET /v1/recipes`.
    #[serde(default, rename = "recipe")]
    #[schema(max_length = 64)]
    _recipe: Option<String>,
    // Read apart, by `items::read`: by now it is null.
    #[serde(rename = "input")]
    #[schema(value_type = Input)]
    _input: IgnoredAny,
    /// `static`: the stages are given, here or by a recipe; `dynamic`: the orchestrator model makes them. Without a mode,
    /// a job with stages is static and one without is dynamic.
    #[serde(default)]
    mode: Option<Mode>,
    /// The plan: `map` stages, each reading the results of the one before, and a `synthesis` last if one is wanted. With a
    /// recipe it may be left out; stages given all the same are laid over the recipe's of the same name, field by
    /// field, and faults are named by the places of the recipe's stages.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 64)]
    stages: Option<Vec<Stage>>,
    #[serde(default)]
    limits: Option<Limits>,
    /// False: answers that were paid for before are not used again.
    #[serde(default)]
    reuse: Option<bool>,
    /// How calls go out: `live`, as Message Batches (half the price, answers within 24 hours), or as Fanwise chooses by the
    /// deadline and the budget.
    #[serde(default)]
    delivery: Option<Delivery>,
    /// Reference material that every stage may look things up in, unless it has a `context` of its own. It is paid for once where
    /// the model's prompt cache takes it, and by every call elsewhere.
    #[serde(default)]
    context: Option<String>,
    /// A job of yours that is over: what it found out about items that are the same, by stages that are the same, is taken over
    /// without a call. Without `stages`, those of that job are used.
    #[serde(default)]
    #[schema(pattern = "^job_[0-9a-f]{32}$")]
    extends: Option<String>,
    /// How the plan of a dynamic job is made.
    #[serde(default)]
    planning: Option<Planning>,
    /// True: the plan can be read, replaced, approved or cancelled before anything of it is paid.
    #[serde(default)]
    approval: Option<bool>,
    /// Who is told what becomes of the job.
    #[serde(default)]
    webhook: Option<Webhook>,
    #[serde(default)]
    #[schema(schema_with = metadata_schema)]
    metadata: Option<Map<String, Value>>,
}

pub fn metadata_schema() -> Schema {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        .max_properties(Some(16))
        .description(Some(
            "The caller's own notes, returned with the job; at most 4 KB.",
        ))
        .into()
}

/// Submit a job
///
/// It is checked and stored, and runs from then on. With an `Idempotency-Key`, sending the same body again
/// answers with the same job.
#[utoipa::path(
    post,
    path = "/v1/jobs",
    operation_id = "submitJob",
    tag = "jobs",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Names this submit: the same key with the same body gives the same job, with another body 409.", min_length = 1, max_length = 255, pattern = "^[!-~]+$"),
        ("traceparent" = Option<String>, Header, description = "The trace that the job becomes part of, as W3C Trace Context writes it. One that is malformed counts as none.", example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ),
    request_body(content((SubmitBody = "application/json"), (Upload = "multipart/form-data"))),
    responses(
        (status = 202, description = "Accepted", body = JobView, headers(("location" = String, description = "The job's address"))),
        (status = 200, description = "The job that this key and body made before", body = JobView, headers(("location" = String, description = "The job's address"))),
        (status = 409, description = "The key came with another body before", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token submits too often", body = Problem, content_type = "application/problem+json", headers(("retry-after" = u64, description = "Seconds until it may go on"))),
    ),
)]
pub async fn submit<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let key = idempotency_key(&headers)?;
    caller.may_submit(&api.app).await?;
    let trace = headers.get("traceparent");
    let owner = Owner {
        trace: trace.and_then(|value| value.to_str().ok()),
        ..caller.owner()
    };
    if upload::is_multipart(&headers) {
        let submitted = upload::submit(&api.app, owner, &headers, body, key).await?;
        return answer(submitted);
    }
    let config = &api.app.config;
    let bytes = body::json_bytes(&headers, body, config.caps.body_bytes).await?;
    let idempotency = key.map(|key| (key, hex(&Sha256::digest(&bytes))));
    let (submit, items) = check_text(json_text::sound(&bytes)?, config)?;
    let submit = Submit {
        idempotency,
        ..submit
    };
    answer(submit::submit_items(&api.app, owner, submit, items).await?)
}

fn answer(submitted: Submitted) -> Result<Response, ApiError> {
    let status = if submitted.created {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    let location = HeaderValue::try_from(format!("/v1/jobs/{}", submitted.job.id))
        .map_err(|error| ApiError::unavailable(error.to_string()))?;
    let mut response = reply::with(status, &submitted.job);
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// 1 to 255 visible ASCII characters, once.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    const NAME: &str = "Idempotency-Key";
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    if values.next().is_some() || !is_key(text) {
        return Err(ApiError::fault(
            NAME,
            "must be given once, with 1 to 255 visible ASCII characters",
        ));
    }
    Ok(Some(text.to_owned()))
}

/// Whether a text may be an idempotency key.
pub fn is_key(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic()) && (1..=255).contains(&text.len())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A submit without its idempotency key, or everything that is wrong with it.
pub fn check(mut value: Value, config: &Config) -> Result<Submit, ApiError> {
    let input = value.as_object_mut().and_then(|map| map.get_mut("input"));
    let input = input.map(|input| Given::Value(input.take()));
    let (submit, items) = with_input(value, input, config)?;
    Ok(Submit {
        items: items.into_iter().collect(),
        ..submit
    })
}

/// The same of a sound text, whose input stays text: the submit has no items.
pub fn check_text<'a>(text: &'a str, config: &'a Config) -> Result<(Submit, Items<'a>), ApiError> {
    let Some(fields) = json_text::fields(text) else {
        // What is wrong is that it is no object, whatever else it holds.
        let value = match text.trim_ascii_start().starts_with('[') {
            true => Value::Array(Vec::new()),
            false => json_text::value(text),
        };
        return with_input(value, None, config);
    };
    let mut input = None;
    let mut rest: Vec<(String, &str)> = Vec::new();
    let mut bytes = 0;
    for (name, text) in fields {
        if name == "input" {
            input = Some(Given::Text(text));
            rest.push((name, "null"));
        } else {
            bytes += name.len() + text.len();
            rest.push((name, text));
        }
    }
    // White space counts here, which hardly anybody sends; as values it all would take many times its bytes.
    if bytes as u64 > PLAN_BYTES * 2 {
        return Err(too_long(bytes as u64));
    }
    let rest = rest
        .into_iter()
        .map(|(name, text)| (name, json_text::value(text)));
    with_input(Value::Object(rest.collect()), input, config)
}

fn with_input<'a>(
    value: Value,
    input: Option<Given<'a>>,
    config: &'a Config,
) -> Result<(Submit, Items<'a>), ApiError> {
    let mut faults = Faults::default();
    let mut taken = Taken::default();
    if let (Some(map), Some(input)) = (value.as_object(), input) {
        taken = items::read(input, &config.caps, splits(map), &mut faults);
    }
    let submit = plan(value, taken.kind, config, faults)?;
    Ok((submit, taken.items))
}

fn too_long(bytes: u64) -> ApiError {
    let message = format!("has {bytes} bytes besides `input`; at most {PLAN_BYTES} are taken");
    ApiError::fault("body", message)
}

/// A submit whose input was read already, or everything that is wrong with it; `faults` are those of the input. It has no items.
pub fn plan(
    value: Value,
    input: InputKind,
    config: &Config,
    mut faults: Faults,
) -> Result<Submit, ApiError> {
    let mut value = value;
    let mut recipe = None;
    if let Some(map) = value.as_object_mut() {
        recipe = recipes::apply(map, &mut faults);
        whole_numbers(map);
    }
    let plan_len = json_len(&value);
    if plan_len > PLAN_BYTES {
        faults.add(
            "body",
            format!("has {plan_len} bytes besides `input`; at most {PLAN_BYTES} are taken"),
        );
        return Err(ApiError::invalid(faults));
    }
    check_metadata(&value, &mut faults);
    contract::submit_shape()?.check(&value, &mut faults);
    // What is out of range can still be read, so that the rules add their faults to the list; what cannot be
    // read has been named already.
    let body = match SubmitBody::deserialize(value) {
        Ok(body) => body,
        Err(error) => {
            if faults.is_empty() {
                faults.add("body", error.to_string());
            }
            return Err(ApiError::invalid(faults));
        }
    };
    let has_stages = body.stages.is_some() || body.extends.is_some();
    let mode = rules::mode(body.mode, has_stages, &mut faults);
    if body.extends.is_some() && body.reuse == Some(false) {
        faults.add(
            "reuse",
            "is not taken as false with `extends`, which takes over what was paid before",
        );
    }
    let stages = body.stages.unwrap_or_default();
    rules::check(&stages, input, &config.caps, &mut faults);
    rules::context(
        "context",
        body.context.as_deref(),
        &config.caps,
        &mut faults,
    );
    faults.into_result()?;
    Ok(Submit {
        task: body.task,
        recipe: recipe.map(str::to_owned),
        mode,
        stages,
        planning: body.planning.unwrap_or_default(),
        approval: body.approval.unwrap_or(false),
        input,
        items: Vec::new(),
        limits: body.limits.unwrap_or_default(),
        reuse: body.reuse.unwrap_or(true),
        delivery: body.delivery.unwrap_or_default(),
        context: body.context,
        extends: body.extends,
        metadata: body.metadata.unwrap_or_default(),
        webhook: body.webhook,
        idempotency: None,
    })
}

/// Whether texts of this plan may be split: by tokens, or as a plan that is still to be made may want it.
pub fn splits(body: &Map<String, Value>) -> bool {
    let stages = body.get("stages").and_then(Value::as_array);
    let by_tokens = |stage: &Value| stage.pointer("/chunk/tokens").is_some_and(|t| !t.is_null());
    stages.is_none_or(|stages| stages.iter().any(by_tokens))
        || body.get("mode").is_some_and(|mode| mode == "dynamic")
}

/// The cap on a body's `metadata`; how many fields it may have is said by its schema.
pub fn check_metadata(body: &Value, faults: &mut Faults) {
    if let Some(metadata) = body.get("metadata")
        && json_len(metadata) > METADATA_BYTES
    {
        faults.add(
            "metadata",
            format!("must have at most {METADATA_BYTES} bytes as JSON"),
        );
    }
}

/// To JSON Schema `5.0` is a whole number, to serde it is not: the fields that want one get `5`.
pub fn whole_numbers(body: &mut Map<String, Value>) {
    let limits = body.get_mut("limits").and_then(Value::as_object_mut);
    limits.into_iter().for_each(all_whole);
    let stages = body.get_mut("stages").and_then(Value::as_array_mut);
    for stage in stages.into_iter().flatten() {
        if let Some(tokens) = stage.get_mut("max_tokens") {
            whole(tokens);
        }
        if let Some(chunk) = stage.get_mut("chunk").and_then(Value::as_object_mut) {
            all_whole(chunk);
        }
    }
}

pub fn all_whole(map: &mut Map<String, Value>) {
    map.values_mut().for_each(whole);
}

fn whole(value: &mut Value) {
    // Exact up to 2^53; every bound lies far below.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(number) = value.as_f64()
        && value.is_f64()
        && number.fract() == 0.0
        && (0.0..EXACT).contains(&number)
    {
        *value = Value::from(number as u64);
    }
}

#[cfg(test)]
#[path = "submit_tests.rs"]
mod tests;
