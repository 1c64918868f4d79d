//! Bodies that have nothing to say.

use axum::body::Body;
use axum::http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;

use super::body_check::{BodyCheck, checked};
use crate::api::http::body;
use crate::api::http::problem::ApiError;
use crate::api::http::state::Api;
use crate::ports::Ports;

static NOTHING: BodyCheck = BodyCheck::of::<Nothing>();

/// Nothing: `{}`, or no body at all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Refuses a body that says anything.
pub async fn nothing<P: Ports>(
    api: &Api<P>,
    headers: &HeaderMap,
    body: Body,
) -> Result<(), ApiError> {
    let cap = body::small(&api.app.config.caps);
    if let Some(value) = body::optional_json(headers, body, cap).await? {
        let Nothing {} = checked(value, NOTHING.schema()?, |_, _| ())?;
    }
    Ok(())
}
