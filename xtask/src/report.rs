//! A finished job as tables and text for a terminal.

use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde_json::Value;

use crate::ui;

/// The widest bar of a frequency table.
const BAR: usize = 30;
/// Missing items shown one by one.
const SHOWN: usize = 10;

/// Frequencies, synthesis, coverage, and what it took; one string for each part.
pub fn render(job: &Value, report: &Value, time: Duration, standin: bool) -> Vec<String> {
    let mut parts = Vec::new();
    let fields = report
        .pointer("/merged/count_by")
        .and_then(Value::as_object);
    for (field, counts) in fields.into_iter().flatten() {
        parts.push(format!("\n{}", frequencies(field, counts)));
    }
    parts.push(format!(
        "\nSynthesis\n\n{}",
        synthesis(report.get("synthesis"))
    ));
    parts.push(format!(
        "\nCoverage\n{}",
        coverage(report.get("coverage").unwrap_or(&Value::Null))
    ));
    parts.push(format!("\n{}", totals(job, time, standin)));
    parts
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table
}

fn align_right(table: &mut Table, columns: &[usize]) {
    for index in columns {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// The most frequent value first.
fn frequencies(field: &str, counts: &Value) -> String {
    let mut rows: Vec<(&str, u64)> = counts
        .as_object()
        .into_iter()
        .flatten()
        .map(|(value, count)| (value.as_str(), count.as_u64().unwrap_or_default()))
        .collect();
    rows.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let total: u64 = rows.iter().map(|row| row.1).sum();
    let most = rows.first().map_or(1, |row| row.1.max(1));
    let mut table = table();
    table.set_header([field, "count", "share", ""]);
    for (value, count) in rows {
        let share = 100.0 * count as f64 / total.max(1) as f64;
        let width = (BAR as u64 * count).div_ceil(most) as usize;
        table.add_row([
            value.to_owned(),
            count.to_string(),
            format!("{share:.1} %"),
            "█".repeat(width),
        ]);
    }
    align_right(&mut table, &[1, 2]);
    table.to_string()
}

fn synthesis(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "(none)".to_owned(),
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(other) => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

fn coverage(coverage: &Value) -> String {
    let number = |name: &str| {
        coverage
            .get(name)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    let (total, covered) = (number("total"), number("covered"));
    let missing: Vec<&Value> = coverage
        .get("missing")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    let flagged = coverage
        .get("flagged")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    let mut overview = table();
    overview.set_header(["items", "covered", "missing", "flagged"]);
    overview.add_row(
        [
            total,
            covered,
            total.saturating_sub(covered),
            flagged as u64,
        ]
        .map(|n| n.to_string()),
    );
    align_right(&mut overview, &[0, 1, 2, 3]);
    let mut text = overview.to_string();
    if !missing.is_empty() {
        let mut list = table();
        list.set_header(["missing", "because"]);
        for item in missing.iter().take(SHOWN) {
            let field = |name: &str| {
                item.get(name)
                    .and_then(Value::as_str)
                    .unwrap_or("?")
                    .to_owned()
            };
            list.add_row([field("id"), field("reason")]);
        }
        if missing.len() > SHOWN {
            list.add_row([format!("and {} more", missing.len() - SHOWN), String::new()]);
        }
        text.push('\n');
        text.push_str(&list.to_string());
    }
    text
}

fn totals(job: &Value, time: Duration, standin: bool) -> String {
    let number = |path: &str| {
        job.pointer(path)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    let state = job
        .pointer("/state")
        .and_then(Value::as_str)
        .unwrap_or("unknown");
    let spent = job
        .pointer("/cost/spent_usd")
        .and_then(Value::as_f64)
        .unwrap_or_default();
    let money = if standin {
        format!(
            "${spent:.4} at Claude's list prices, had Claude answered (the stand-in did: nothing was paid)"
        )
    } else {
        format!("${spent:.4}")
    };
    let mut line = format!(
        "Job {state} in {}: {} calls, {} tokens in, {} out, {money}.",
        ui::took(time),
        number("/usage/calls"),
        number("/usage/input_tokens"),
        number("/usage/output_tokens"),
    );
    if let Some(message) = job.pointer("/error/message").and_then(Value::as_str) {
        line.push_str(&format!("\nError: {message}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_shows_counts_synthesis_coverage_and_cost() {
        let job = json!({"state": "partial", "usage": {"calls": 3, "input_tokens": 10, "output_tokens": 5},
                         "cost": {"spent_usd": 0.0123}});
        let report = json!({
            "synthesis": "Most of it is billing.",
            "merged": {"count_by": {"category": {"login": 1, "billing": 3}}},
            "coverage": {"total": 5, "covered": 4, "missing": [{"id": "T-9", "reason": "refusal"}], "flagged": []},
        });
        let text = render(&job, &report, Duration::from_secs(2), true).join("\n");
        let place = |word: &str| {
            text.find(word)
                .unwrap_or_else(|| panic!("{word} is missing in {text}"))
        };
        assert!(
            place("billing") < place("login"),
            "the most frequent comes first"
        );
        for word in [
            "75.0 %",
            "Most of it is billing.",
            "T-9",
            "refusal",
            "$0.0123",
            "nothing was paid",
        ] {
            place(word);
        }
    }

    #[test]
    fn a_report_without_anything_still_renders() {
        let text = render(&json!({}), &json!({}), Duration::ZERO, false).join("\n");
        assert!(
            text.contains("(none)") && text.contains("unknown"),
            "{text}"
        );
    }
}
