//! The report of a job that is over: the synthesis, the merge, and what is missing with the reason.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::drive::{self, Loaded};
use super::view::{Coverage, ErrorView, Merged, Missing, Report};
use super::{App, AppError, bodies, expand, query};
use crate::core::plan::{Output, StageKind};
use crate::core::slice;
use crate::core::state::JobState;
use crate::ports::Ports;
use crate::store::admission::Body;
use crate::store::listing;
use crate::store::row::{Columns, Row};

const PAGE: u32 = 200;
/// Items per look at the input that was never expanded.
const INPUT_PAGE: u32 = 1_000;

/// The report of a terminal job; `Conflict` before that.
pub async fn report<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<Report, AppError> {
    query::owned(app, tenant, id).await?;
    let loaded = drive::load(app, id)
        .await?
        .ok_or(AppError::NotFound("job"))?;
    if !loaded.job.state.is_terminal() {
        return Err(AppError::Conflict(format!(
            "the job is {}: its report is there once it is over",
            loaded.job.state.as_str()
        )));
    }
    let stored = query::rows(app, listing::merged(id)).await?;
    let stored: Value = stored
        .first()
        .and_then(|row| row.json("merged"))
        .unwrap_or(Value::Null);
    let merged: Option<Merged> = stored
        .get("merged")
        .and_then(|merged| serde_json::from_value(merged.clone()).ok());
    let merged = match merged {
        Some(merged) => merged,
        // Cancelled or failed before its maps were done: what is there is merged now.
        None => super::synthesise::prepare(app, &loaded, false)
            .await?
            .merged
            .get("merged")
            .and_then(|merged| serde_json::from_value(merged.clone()).ok())
            .unwrap_or_default(),
    };
    let missing = missing(app, &loaded).await?;
    let total = u64::from(loaded.job.items_total);
    Ok(Report {
        synthesis: synthesis(app, &loaded).await?,
        merged,
        coverage: Coverage {
            total,
            covered: total.saturating_sub(missing.len() as u64),
            missing,
            flagged: Vec::new(),
            note: stored
                .get("note")
                .and_then(Value::as_str)
                .map(str::to_owned),
        },
    })
}

/// What the synthesis of this run said.
async fn synthesis<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<Value, AppError> {
    // An earlier run's synthesis does not speak of this one.
    if !matches!(loaded.job.state, JobState::Succeeded | JobState::Partial) {
        return Ok(Value::Null);
    }
    let Some(stage) = loaded
        .stages
        .iter()
        .find(|stage| stage.kind == StageKind::Synthesis.as_str())
    else {
        return Ok(Value::Null);
    };
    let rows = query::rows(app, listing::stage_task(&loaded.job.id, stage.idx)).await?;
    let Some(row) = rows.first() else {
        return Ok(Value::Null);
    };
    let text = bodies::text(app, &Body::read(row, "body", "blob")).await?;
    Ok(query::json_of(text)
        .get_mut("output")
        .map(Value::take)
        .unwrap_or(Value::Null))
}

/// How many items have their results in every map stage.
pub async fn covered<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<u32, AppError> {
    let mut maps = loaded
        .stages
        .iter()
        .filter(|stage| stage.kind == StageKind::Map.as_str());
    match (maps.next(), maps.next()) {
        // The counter of a single stage is exact; of several, the same item may be missing in more than one.
        (Some(only), None) => Ok(only.items_covered),
        _ => {
            let missing = missing(app, loaded).await?.len();
            let missing = u32::try_from(missing).unwrap_or(u32::MAX);
            Ok(loaded.job.items_total.saturating_sub(missing))
        }
    }
}

/// The items without a result in some map stage, in the order of their tasks, each once with the first reason.
pub async fn missing<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<Vec<Missing>, AppError> {
    let mut missing = Vec::new();
    for (index, kit) in super::synthesise::map_stages(&loaded.kit) {
        let mut after = -1;
        loop {
            let rows =
                query::rows(app, listing::missing(&loaded.job.id, index, after, PAGE)).await?;
            let Some(last) = rows.last() else { break };
            after = i64::from(last.count("idx"));
            for row in &rows {
                missing.extend(missing_of(app, row, kit.stage.output).await?);
            }
        }
        let Some(stage) = loaded.stages.iter().find(|stage| stage.idx == index) else {
            continue;
        };
        missing.extend(never_begun(app, loaded, stage.cursor).await?);
    }
    if loaded.kit.spec.slices() {
        // What is missing of a document is the document.
        for one in &mut missing {
            one.id.truncate(slice::document_of(&one.id).len());
        }
    }
    let mut named = HashSet::new();
    missing.retain(|one| named.insert(one.id.clone()));
    Ok(missing)
}

/// The items of one task that it has no result for.
async fn missing_of<P: Ports>(
    app: &App<P>,
    row: &Row,
    output: Output,
) -> Result<Vec<Missing>, AppError> {
    let ids: Vec<String> = row.json("ids").unwrap_or_default();
    if output == Output::Chunk && row.count("covered") > 0 {
        return Ok(Vec::new());
    }
    let covered: HashSet<String> = if row.count("covered") > 0 {
        let text = bodies::text(app, &Body::read(row, "body", "blob")).await?;
        covered_ids(&query::json_of(text)).into_iter().collect()
    } else {
        HashSet::new()
    };
    let reason = row
        .json::<ErrorView>("error")
        .map_or_else(|| row.text("state"), |error| error.code);
    Ok(ids
        .into_iter()
        .filter(|id| !covered.contains(id))
        .map(|id| Missing {
            id,
            reason: reason.clone(),
        })
        .collect())
}

/// The ids in a stored list of results.
pub fn covered_ids(output: &Value) -> Vec<String> {
    output
        .as_array()
        .map(|results| {
            results
                .iter()
                .filter_map(|result| Some(result.get("id")?.as_str()?.to_owned()))
                .collect()
        })
        .unwrap_or_default()
}

/// Items that no task was ever made for, because the job ended first.
async fn never_begun<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    cursor: u32,
) -> Result<Vec<Missing>, AppError> {
    let total = loaded.job.items_total;
    let mut missing = Vec::new();
    let mut from = cursor;
    while from < total {
        let to = from.saturating_add(INPUT_PAGE).min(total);
        for item in expand::items(app, &loaded.job.id, from, to).await? {
            if let Some(id) = item.get("id").and_then(Value::as_str) {
                missing.push(Missing {
                    id: id.to_owned(),
                    reason: "not_started".to_owned(),
                });
            }
        }
        from = to;
    }
    Ok(missing)
}

/// The report as Markdown: the synthesis, then the frequencies and the coverage.
pub async fn markdown<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<String, AppError> {
    Ok(to_markdown(&report(app, tenant, id).await?))
}

fn to_markdown(report: &Report) -> String {
    let mut text = match &report.synthesis {
        Value::Null => String::new(),
        Value::String(text) => format!("{}\n\n", text.trim_end()),
        other => {
            let json = serde_json::to_string_pretty(other).unwrap_or_default();
            format!("```json\n{json}\n```\n\n")
        }
    };
    for (field, counts) in &report.merged.count_by {
        let _ = write!(
            text,
            "## {}\n\n| value | count |\n| --- | ---: |\n",
            cell(field)
        );
        let mut counts: Vec<_> = counts.iter().collect();
        counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for (value, count) in counts {
            let _ = writeln!(text, "| {} | {count} |", cell(value));
        }
        text.push('\n');
    }
    let coverage = &report.coverage;
    let _ = writeln!(
        text,
        "## Coverage\n\n{} of {} items have a result.",
        coverage.covered, coverage.total
    );
    if let Some(note) = &coverage.note {
        let _ = writeln!(text, "\nNote: {note}.");
    }
    if !coverage.missing.is_empty() {
        text.push_str("\n| missing item | reason |\n| --- | --- |\n");
        for missing in &coverage.missing {
            let _ = writeln!(
                text,
                "| {} | {} |",
                cell(&missing.id),
                cell(&missing.reason)
            );
        }
    }
    text
}

/// A table cell: no bar or line break of a value may end it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
