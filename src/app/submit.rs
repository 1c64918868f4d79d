//! A job comes in: it is written with its input, and one control message is sent.

use serde_json::{Map, Value};

use super::view::JobView;
use super::{App, AppError};
use crate::core::plan::{Item, Limits, Mode, Stage};
use crate::ports::Ports;

/// A checked submit: the shapes are right and every value is within its bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Submit {
    pub task: String,
    pub mode: Mode,
    pub stages: Vec<Stage>,
    /// Ids are unique and none is empty; at least one item.
    pub items: Vec<Item>,
    pub limits: Limits,
    pub reuse: bool,
    pub metadata: Map<String, Value>,
    /// The caller's `Idempotency-Key` with the SHA-256 (hex) of the body it came with.
    pub idempotency: Option<(String, String)>,
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
    tenant: &str,
    submit: Submit,
) -> Result<Submitted, AppError> {
    let _ = (app, tenant, submit);
    Err(AppError::Unavailable("not there yet".into()))
}
