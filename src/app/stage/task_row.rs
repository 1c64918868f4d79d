//! A task as expansion writes it.

use serde_json::Value;

use super::runtime::{StageRuntime, nano};
use crate::app::support::blobs::sha256_hex;
use crate::app::support::{blobs, log};
use crate::app::{App, AppError};
use crate::core::plan::spec::Output;
use crate::core::task::retry_policy::RequestMode;
use crate::ports::{Db, DbError, Ports, Statement};
use crate::store;
use crate::store::task::tasks::NewTask;

/// Writes a slice. False where somebody else was faster.
pub async fn write<P: Ports>(app: &App<P>, statements: Vec<Statement>) -> Result<bool, AppError> {
    match app.ports.db().batch(statements).await {
        Ok(answers) => {
            log::moved(app, &answers, "expanded");
            Ok(true)
        }
        Err(DbError::Guard(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A task's row, for items in their wire form; its first request will have that form.
pub async fn new_task<P: Ports>(
    app: &App<P>,
    stage: &StageRuntime,
    job: &str,
    form: RequestMode,
    items: &[Value],
) -> Result<NewTask, AppError> {
    let request = stage.worker_request(form, items, None);
    let ids: Vec<&str> = items
        .iter()
        .filter_map(|item| item.get("id")?.as_str())
        .collect();
    let (body, blob) = blobs::keep(app, &blobs::job_prefix(job), store::to_json(items)).await?;
    Ok(NewTask {
        items: u32::try_from(ids.len()).unwrap_or(u32::MAX),
        ids: serde_json::json!(ids).to_string(),
        class: stage.model.class.clone(),
        key: stage.key(&request),
        bytes: request.usual_input(&stage.model),
        max_tokens: request.max_tokens,
        worst_nano: nano(request.worst_case(&stage.model)),
        body,
        blob,
        grp: None,
        labelled: stage.stage.output == Output::Chunk,
        tier: stage.tier,
        wire: items.to_vec(),
        taken: None,
    })
}

/// What the ledger knows a request by: what is asked, and the whole schema that decides what an answer is.
pub fn ledger_key(identity: &[u8], schema: Option<&Value>) -> String {
    let mut bytes = identity.to_vec();
    bytes.push(0);
    if let Some(schema) = schema {
        bytes.extend_from_slice(schema.to_string().as_bytes());
    }
    sha256_hex(&bytes)
}
