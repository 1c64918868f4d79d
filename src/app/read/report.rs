//! The report of a job that is over: the synthesis, the merge, and what is missing with the reason.

use std::fmt::Write as _;

use serde_json::Value;

use super::cascade_stats;
use crate::app::results::coverage;
use crate::app::stage::loaded;
use crate::app::stage::loaded::Loaded;
use crate::app::support::{blobs, db};
use crate::app::view::{Coverage, Flagged, Merged, Report, job};
use crate::app::{App, AppError};
use crate::core::job::state::JobState;
use crate::core::plan::spec::StageKind;
use crate::ports::Ports;
use crate::store::read::listing;
use crate::store::row::Columns;
use crate::store::stage::flags;
use crate::store::task::admission::Body;

const FLAGS_PAGE: u32 = 1_000;

/// The report of a terminal job; `Conflict` before that.
pub async fn report<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<Report, AppError> {
    job::owned(app, tenant, id).await?;
    let loaded = loaded::load(app, id)
        .await?
        .ok_or(AppError::NotFound("job"))?;
    if !loaded.job.state.is_terminal() {
        return Err(AppError::Conflict(format!(
            "the job is {}: its report is there once it is over",
            loaded.job.state.as_str()
        )));
    }
    let stored = db::rows(app, listing::merged(id)).await?;
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
        None => crate::app::results::synthesis::prepare(app, &loaded, false)
            .await?
            .merged
            .get("merged")
            .and_then(|merged| serde_json::from_value(merged.clone()).ok())
            .unwrap_or_default(),
    };
    let missing = coverage::missing(app, &loaded).await?;
    let total = u64::from(loaded.job.items_total);
    Ok(Report {
        synthesis: synthesis(app, &loaded).await?,
        merged,
        coverage: Coverage {
            total,
            covered: total.saturating_sub(missing.len() as u64),
            missing,
            blank_rows: loaded.runtime.spec.blank_rows,
            flagged: flagged(app, id).await?,
            note: stored
                .get("note")
                .and_then(Value::as_str)
                .map(str::to_owned),
        },
        cascades: cascade_stats::cascades(app, &loaded).await?,
    })
}

/// What checks found, all of it.
async fn flagged<P: Ports>(app: &App<P>, job: &str) -> Result<Vec<Flagged>, AppError> {
    let mut all = Vec::new();
    let mut after = (-1, String::new(), String::new());
    loop {
        let rows = db::rows(app, flags::flags(job, &after, FLAGS_PAGE)).await?;
        let Some(last) = rows.last() else {
            return Ok(all);
        };
        after = (last.int("stage"), last.text("id"), last.text("flag"));
        all.extend(rows.iter().map(|row| Flagged {
            id: row.text("id"),
            flag: row.text("flag"),
        }));
    }
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
        .find(|stage| stage.kind == StageKind::Synthesis)
    else {
        return Ok(Value::Null);
    };
    let rows = db::rows(app, listing::stage_task(&loaded.job.id, stage.idx)).await?;
    let Some(row) = rows.first() else {
        return Ok(Value::Null);
    };
    let text = blobs::text(app, &Body::read(row, "body", "blob")).await?;
    Ok(db::json_of(text)
        .get_mut("output")
        .map(Value::take)
        .unwrap_or(Value::Null))
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
    for cascade in &report.cascades {
        let _ = write!(
            text,
            "## Models of {}\n\n| model | results | share | calls | cost |\n| --- | ---: | ---: | ---: | ---: |\n",
            cell(&cascade.stage)
        );
        for model in &cascade.models {
            let share = model.share * 100.0;
            let _ = writeln!(
                text,
                "| {} | {} | {share:.1} % | {} | ${:.4} |",
                cell(&model.model),
                model.results,
                model.calls,
                model.cost_usd
            );
        }
        text.push('\n');
    }
    let coverage = &report.coverage;
    let _ = writeln!(
        text,
        "## Coverage\n\n{} of {} items have a result.",
        coverage.covered, coverage.total
    );
    if coverage.blank_rows > 0 {
        let rows = coverage.blank_rows;
        let _ = writeln!(text, "\n{rows} blank rows of the table were passed over.");
    }
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
    if !coverage.flagged.is_empty() {
        text.push_str("\n| flagged | why |\n| --- | --- |\n");
        for flagged in &coverage.flagged {
            let _ = writeln!(text, "| {} | {} |", cell(&flagged.id), cell(&flagged.flag));
        }
    }
    text
}

/// A table cell: no bar or line break of a value may end it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
