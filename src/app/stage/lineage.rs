//! Which stages have results of their own, and which lay theirs over those of an earlier one.

use std::collections::HashMap;

use serde_json::Value;

use super::outputs::outputs;
use super::runtime::{JobRuntime, StageRuntime};
use crate::app::support::{blobs, db};
use crate::app::{App, AppError};
use crate::core::plan::selected as plan_selected;
use crate::core::plan::spec::StageKind;
use crate::ports::Ports;
use crate::store::row::{Columns, Row};
use crate::store::stage::selected as sql;
use crate::store::task::admission::Body;

/// The map stages of a plan with their indexes.
pub fn map_stages(runtime: &JobRuntime) -> Vec<(u32, &StageRuntime)> {
    (0u32..)
        .zip(&runtime.stages)
        .filter(|(_, stage)| stage.stage.kind == StageKind::Map)
        .collect()
}

/// The stage whose results a map stage of the plan works with, and those that amend them, up to and with itself.
pub fn lineage(runtime: &JobRuntime, stage: u32) -> (u32, Vec<u32>) {
    let maps: Vec<(u32, bool)> = map_stages(runtime)
        .iter()
        .map(|(index, runtime)| (*index, runtime.stage.amends()))
        .collect();
    plan_selected::lineage(&maps, stage)
}

/// What stages have brought for some results, by id, in the order of the stages. As texts: JSON taken apart has ten times
/// the bytes.
#[derive(Debug, Default)]
pub struct Amendments(HashMap<String, Vec<String>>);

impl Amendments {
    /// Of results of these tasks.
    pub async fn of<P: Ports>(
        app: &App<P>,
        job: &str,
        stages: &[u32],
        tasks: &[Row],
    ) -> Result<Amendments, AppError> {
        let mut all = Amendments::default();
        let tasks: Vec<u32> = tasks.iter().map(|task| task.count("idx")).collect();
        for stage in stages.iter().filter(|_| !tasks.is_empty()) {
            for row in db::rows(app, sql::brought(job, *stage, &tasks)).await? {
                let text = blobs::text(app, &Body::read(&row, "body", "blob")).await?;
                for (id, output) in outputs(db::json_of(text), "") {
                    all.0.entry(id).or_default().push(output.to_string());
                }
            }
        }
        Ok(all)
    }

    /// What the last of them brought for a result.
    pub fn get(&self, id: &str) -> Option<Value> {
        serde_json::from_str(self.0.get(id)?.last()?).ok()
    }

    /// The result with all that was brought for it laid over it.
    pub fn over(&self, id: &str, output: Value) -> Value {
        let brought = self.0.get(id).into_iter().flatten();
        brought
            .filter_map(|text| serde_json::from_str(text).ok())
            .fold(output, plan_selected::over)
    }
}
