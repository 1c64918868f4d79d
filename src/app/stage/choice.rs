//! Which results a condition chooses, by what they say and by what checks have flagged.

use std::collections::HashSet;

use serde_json::Value;

use crate::app::support::db;
use crate::app::{App, AppError};
use crate::core::plan::condition::Condition;
use crate::ports::Ports;
use crate::store::row::Columns;
use crate::store::stage::selected as sql;

/// Which of these ids were flagged in any of these stages.
pub async fn flagged<P: Ports>(
    app: &App<P>,
    job: &str,
    stages: &[u32],
    ids: &[&str],
) -> Result<HashSet<String>, AppError> {
    let rows = db::rows(app, sql::flagged(job, stages, ids)).await?;
    Ok(rows.iter().map(|row| row.text("id")).collect())
}

/// A result that may be chosen: the task that gave it, its id, and what it is.
pub type Candidate = (u32, String, Value);

/// Leaves those of the results that a condition chooses; the others come back. They are of these stages.
pub async fn choose<P: Ports>(
    app: &App<P>,
    job: &str,
    by: &Condition,
    stages: &[u32],
    results: &mut Vec<Candidate>,
) -> Result<Vec<Candidate>, AppError> {
    let ids: Vec<&str> = results.iter().map(|(_, id, _)| id.as_str()).collect();
    let flags = match by.asks_flags() {
        true => flagged(app, job, stages, &ids).await?,
        false => HashSet::new(),
    };
    let all = std::mem::take(results);
    let (chosen, left) = all
        .into_iter()
        .partition(|(_, id, output)| by.chooses(output, flags.contains(id)));
    *results = chosen;
    Ok(left)
}
