//! Citations of a report are looked up: an id that no item and no result of the job has is flagged.

use std::collections::HashSet;

use serde_json::Value;

use crate::app::support::db;
use crate::app::{App, AppError};
use crate::core::text::citations;
use crate::ports::{Db, Ports};
use crate::store::row::Columns;
use crate::store::stage::flags as sql;
use crate::store::stage::flags::Flag;

/// The flag of an id that does not exist.
pub const UNKNOWN: &str = "unknown_citation";
/// Ids looked up at a time.
const PORTION: usize = 500;

/// Flags what the report of this stage names and the job does not have. Done twice, it finds the same.
pub async fn check<P: Ports>(
    app: &App<P>,
    job: &str,
    stage: u32,
    report: &Value,
) -> Result<(), AppError> {
    let cited = citations::cited(report);
    let mut statements = vec![sql::forget(job, stage, &[UNKNOWN])];
    for ids in cited.chunks(PORTION) {
        let rows = db::rows(app, sql::known_ids(job, ids)).await?;
        let known: HashSet<String> = rows.iter().map(|row| row.text("id")).collect();
        let unknown: Vec<Flag> = ids
            .iter()
            .filter(|id| !known.contains(*id))
            .map(|id| Flag {
                id: id.clone(),
                flag: UNKNOWN.to_owned(),
            })
            .collect();
        if !unknown.is_empty() {
            statements.push(sql::keep(job, stage, &unknown));
        }
    }
    app.ports.db().batch(statements).await?;
    Ok(())
}
