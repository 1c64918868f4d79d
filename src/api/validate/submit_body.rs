//! The body of a submit: a body becomes a checked [`Submit`].
//!
//! A body is looked at in this order, and every step adds to one list of faults, so that a caller sees all of
//! them at once:
//!
//! 1. bytes and JSON ([`crate::api::http::body`], [`json_text`]); a fault here ends it
//! 2. the input ([`items`], [`crate::api::validate::documents`]), which stays text
//! 3. everything else against the schema in the OpenAPI document ([`crate::api::validate::schema_check`])
//! 4. what a schema cannot say ([`plan_rules`])
//!
//! What needs the list of models (aliases, the most tokens a model can write) is the use case's to find.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::body_check::BodyCheck;
use super::items::{Given, Input, Items, Taken};
use super::json_text::json_len;
use super::metadata::{check_metadata, metadata_schema};
use super::numbers::whole_numbers;
use super::{items, json_text, plan_rules, recipe};
use crate::api::http::body::MOST_VALUES;
use crate::api::http::problem::{ApiError, Faults};
use crate::app::submit::Submit;
use crate::config::Config;
use crate::core::job::delivery::Delivery;
use crate::core::net::webhook::Webhook;
use crate::core::plan::spec::{InputKind, Limits, Mode, Planning, Stage};

/// All of the body but `input`: it becomes one row of the database, which holds 2 MB, with defaults filled in.
pub const PLAN_BYTES: u64 = 1_000_000;

/// All but `input`, which [`items`] reads.
static SUBMIT: BodyCheck = BodyCheck::with::<SubmitBody>(|components, name| {
    if let Some(input) = components.pointer_mut(&format!("/schemas/{name}/properties/input")) {
        *input = Value::Bool(true);
    }
});

/// A job to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Submit)]
pub struct SubmitBody {
    /// The purpose of the job, for the synthesis. May be left out if a recipe brings one.
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
    /// A finished job of yours: its results for unchanged items and unchanged stages are copied without a call. Without
    /// `stages`, those of that job are used.
    #[serde(default)]
    #[schema(pattern = "^job_[0-9a-f]{32}$")]
    extends: Option<String>,
    /// How the plan of a dynamic job is made.
    #[serde(default)]
    planning: Option<Planning>,
    /// True: the plan can be read, replaced, approved or cancelled before anything of it is paid.
    #[serde(default)]
    approval: Option<bool>,
    /// The address that is notified about the job.
    #[serde(default)]
    webhook: Option<Webhook>,
    #[serde(default)]
    #[schema(schema_with = metadata_schema)]
    metadata: Option<Map<String, Value>>,
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
    let values: usize = rest.iter().map(|(_, text)| json_text::values(text)).sum();
    if values > MOST_VALUES {
        let message = format!("has more than {MOST_VALUES} values besides `input`");
        return Err(ApiError::fault("body", message));
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
    let message = format!("has {bytes} bytes besides `input`; at most {PLAN_BYTES} are allowed");
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
        recipe = recipe::apply(map, &mut faults);
        whole_numbers(map);
    }
    let plan_len = json_len(&value);
    if plan_len > PLAN_BYTES {
        faults.add(
            "body",
            format!("has {plan_len} bytes besides `input`; at most {PLAN_BYTES} are allowed"),
        );
        return Err(ApiError::invalid(faults));
    }
    check_metadata(&value, &mut faults);
    SUBMIT.schema()?.check(&value, &mut faults);
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
    let mode = plan_rules::mode(body.mode, has_stages, &mut faults);
    if body.extends.is_some() && body.reuse == Some(false) {
        faults.add(
            "reuse",
            "is not taken as false with `extends`, which takes over what was paid before",
        );
    }
    let stages = body.stages.unwrap_or_default();
    plan_rules::check(&stages, input, &config.caps, &mut faults);
    plan_rules::context(
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
        blank_rows: 0,
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

#[cfg(test)]
mod tests;
