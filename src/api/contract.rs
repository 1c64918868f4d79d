//! The OpenAPI document is served, and bodies are checked by the schemas in it.
//!
//! `openapi.json` is made by the tests from the handlers and types that serve (`openapi.rs`), and a test fails where it is not.

use std::sync::OnceLock;

use axum::response::Response;
use serde_json::Value;
use utoipa::ToSchema;

use super::control::{ChangeBody, Nothing, RetryBody};
use super::plans::PlanBody;
use super::problem::ApiError;
use super::schedules::{ScheduleBody, ScheduleChange};
use super::shape::Shape;
use super::submit::SubmitBody;
use super::{mcp, reply, tokens};

/// The document as it is served.
const TEXT: &str = include_str!("openapi.json");

fn whole() -> Result<Value, serde_json::Error> {
    serde_json::from_str(TEXT)
}

/// The check of a submit's body, all but its `input`, which [`super::items`] reads.
pub fn submit_shape() -> Result<&'static Shape, ApiError> {
    static SHAPE: Made = OnceLock::new();
    let name = SubmitBody::name();
    shape(&SHAPE, &name, |components| {
        if let Some(input) = components.pointer_mut(&format!("/schemas/{name}/properties/input")) {
            *input = Value::Bool(true);
        }
    })
}

/// A schema of the document that stands for itself, with what it refers to under `$defs`.
pub fn standalone(name: &str) -> Value {
    let document = whole().unwrap_or_default();
    let schemas = document.pointer("/components/schemas");
    schemas
        .and_then(Value::as_object)
        .map(|schemas| mcp::tools::with_definitions(schemas, name))
        .unwrap_or_default()
}

/// The check of a body that says nothing.
pub fn nothing_shape() -> Result<&'static Shape, ApiError> {
    static SHAPE: Made = OnceLock::new();
    shape(&SHAPE, &Nothing::name(), |_| ())
}

/// The check of the stages that take the place of a plan.
pub fn plan_shape() -> Result<&'static Shape, ApiError> {
    static SHAPE: Made = OnceLock::new();
    shape(&SHAPE, &PlanBody::name(), |_| ())
}

/// The check of a retry's body.
pub fn retry_shape() -> Result<&'static Shape, ApiError> {
    static SHAPE: Made = OnceLock::new();
    shape(&SHAPE, &RetryBody::name(), |_| ())
}

/// The check of a token to be made.
pub fn make_token_shape() -> Result<&'static Shape, ApiError> {
    static SHAPE: Made = OnceLock::new();
    shape(&SHAPE, &tokens::MakeBody::name(), |_| ())
}

/// The check of a token's change.
pub fn change_token_shape() -> Result<&'static Shape, ApiError> {
    static SHAPE: Made = OnceLock::new();
    shape(&SHAPE, &tokens::PatchBody::name(), |_| ())
}

/// The check of a change's body.
pub fn change_shape() -> Result<&'static Shape, ApiError> {
    static SHAPE: Made = OnceLock::new();
    shape(&SHAPE, &ChangeBody::name(), |_| ())
}

/// The check of a schedule.
pub fn schedule_shape() -> Result<&'static Shape, ApiError> {
    static SHAPE: Made = OnceLock::new();
    shape(&SHAPE, &ScheduleBody::name(), |_| ())
}

/// The check of a schedule's change.
pub fn schedule_change_shape() -> Result<&'static Shape, ApiError> {
    static SHAPE: Made = OnceLock::new();
    shape(&SHAPE, &ScheduleChange::name(), |_| ())
}

type Made = OnceLock<Result<Shape, String>>;

/// A check is made from the document when it is first wanted, and kept.
fn shape(
    made: &'static Made,
    name: &str,
    adapt: impl FnOnce(&mut Value),
) -> Result<&'static Shape, ApiError> {
    made.get_or_init(|| {
        let document = whole().map_err(|e| e.to_string())?;
        let mut components = document.get("components").cloned().unwrap_or_default();
        adapt(&mut components);
        Shape::new(&components, name)
    })
    .as_ref()
    .map_err(|error| ApiError::unavailable(error.as_str()))
}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "service",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub async fn document() -> Response {
    reply::tagged_text(reply::JSON, TEXT)
}
