//! `bench --production`: the engine under a model of production.
//!
//! The cells are played by a native test (`tests/engine/production`) on a virtual clock: the engine with its SQL behind a
//! database that is far away, limits for each invocation, many consumers and slow delivery. Here only the table or the JSON
//! is made of it.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde_json::{Map, Value, json};

use crate::proc::Group;
use crate::setup::plain;
use crate::{root, ui};

/// What the test writes before each line that is meant for us.
const MARK: &str = "production: ";
/// Before the figures of the whole run.
const WHOLE: &str = "production-whole: ";
const LOOK: Duration = Duration::from_millis(50);
/// The columns of the grid in the JSON.
const GRID: [&str; 12] = [
    "call_ms",
    "ttft_ms",
    "rtt_ms",
    "concurrency",
    "items",
    "jobs",
    "ratio",
    "unknown",
    "crashes",
    "paid_twice",
    "wasted_claims",
    "longest_gap_ms",
];

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The engine under a model of production, natively: all cells, or the one that the options describe
    #[arg(long, conflicts_with_all = ["size", "door", "cost"])]
    pub production: bool,
    /// With --production: one JSON object instead of a table
    #[arg(long, requires = "production")]
    pub json: bool,
    /// With --production: of dice, ids and jitter
    #[arg(long, requires = "production", default_value_t = 1)]
    pub seed: u64,
    /// With --production: how long a call takes
    #[arg(long, requires = "production", value_parser = clap::value_parser!(u64).range(1..))]
    pub call_ms: Option<u64>,
    /// With --production: until the head of an answer (0.6 s, at most the whole call)
    #[arg(long, requires = "production")]
    pub ttft_ms: Option<u64>,
    /// With --production: to the database and back
    #[arg(long, requires = "production")]
    pub rtt_ms: Option<u64>,
    /// With --production: jobs at the same time
    #[arg(long, requires = "production", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub jobs: Option<u32>,
    /// With --production: the most consumers of a queue
    #[arg(long, requires = "production", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub consumers: Option<u32>,
    /// With --production: other settings of the cells, as JSON (`{"vars": [["WORKER_SLOTS", "10"]], "model": {"queues":
    /// {"ramp": false}}}`; tests/engine/production/model.rs has them all)
    #[arg(long, requires = "production")]
    pub with: Option<String>,
}

impl Args {
    /// One cell, where an option says so.
    fn cell(&self, items: Option<u32>, concurrency: Option<u32>) -> Option<Map<String, Value>> {
        let cell: Map<String, Value> = [
            ("call_ms", self.call_ms.map(Value::from)),
            ("ttft_ms", self.ttft_ms.map(Value::from)),
            ("rtt_ms", self.rtt_ms.map(Value::from)),
            ("jobs", self.jobs.map(Value::from)),
            ("items", items.map(Value::from)),
            ("concurrency", concurrency.map(Value::from)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
        (!cell.is_empty()).then_some(cell)
    }
}

pub fn run(args: &Args, items: Option<u32>, concurrency: Option<u32>) -> Result<()> {
    let with: Value = match &args.with {
        Some(text) => serde_json::from_str(text).context("--with is not JSON")?,
        None => json!({}),
    };
    let settings = json!({
        "cell": args.cell(items, concurrency),
        "seed": args.seed,
        "consumers": args.consumers,
        "with": with,
    });
    let began = Instant::now();
    let (cells, whole) = play(&settings)?;
    if args.json {
        let grid: Vec<Value> = cells.iter().map(cell_of).collect();
        let mut object = Map::from_iter([("grid".to_owned(), Value::from(grid))]);
        object.extend(whole);
        ui::print(Value::Object(object).to_string());
        return Ok(());
    }
    ui::print(table(&cells).to_string());
    for (name, value) in &whole {
        ui::print(format!("{name}: {:.2}", value.as_f64().unwrap_or(0.0)));
    }
    ui::print(format!("{}, compiling included", ui::took(began.elapsed())));
    Ok(())
}

/// Plays the cells; each comes as a line as soon as it is over.
fn play(settings: &Value) -> Result<(Vec<Value>, Map<String, Value>)> {
    let mut cargo = plain("cargo");
    cargo
        .args([
            "test",
            "--locked",
            "--package",
            "fanwise",
            "--test",
            "engine",
        ])
        .args(["production::grid::grid", "--", "--exact", "--ignored"])
        .arg("--nocapture")
        .env("FANWISE_PRODUCTION", settings.to_string())
        .current_dir(root::dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut group = Group::spawn("the model of production", &mut cargo)?;
    let stdout = group
        .stdout()
        .ok_or_else(|| anyhow!("cargo has no output"))?;
    let mut cells = Vec::new();
    let mut whole = Map::new();
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        // The test's harness may have begun the line.
        if let Some((_, json)) = line.split_once(MARK) {
            let cell: Value = serde_json::from_str(json)?;
            ui::say(format!("  {}", brief(&cell)));
            cells.push(cell);
        } else if let Some((_, json)) = line.split_once(WHOLE) {
            whole = serde_json::from_str(json)?;
        } else if line.contains("panicked") || line.starts_with("error") {
            ui::say(&line);
        }
    }
    let status = loop {
        match group.ended() {
            Some(status) => break status,
            None => std::thread::sleep(LOOK),
        }
    };
    if !status.success() || cells.is_empty() {
        bail!("the model of production could not be played");
    }
    Ok((cells, whole))
}

fn cell_of(cell: &Value) -> Value {
    let fields = GRID.iter().map(|name| {
        let value = cell.get(name).cloned().unwrap_or(Value::Null);
        ((*name).to_owned(), value)
    });
    Value::Object(fields.collect())
}

fn text(cell: &Value, name: &str) -> String {
    match cell.get(name) {
        Some(Value::Number(number)) if number.is_f64() => {
            format!("{:.2}", number.as_f64().unwrap_or(0.0))
        }
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// One line while it goes on.
fn brief(cell: &Value) -> String {
    let t = |name| text(cell, name);
    format!(
        "{} x {} items, {} at once, calls {}/{} ms, RTT {} ms: ratio {}",
        t("jobs"),
        t("items"),
        t("concurrency"),
        t("call_ms"),
        t("ttft_ms"),
        t("rtt_ms"),
        t("ratio"),
    )
}

fn table(cells: &[Value]) -> Table {
    const MORE: [&str; 3] = ["not_sent", "lost_answers", "finished"];
    let names = GRID.iter().chain(&MORE);
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(names.clone().map(|name| name.replace('_', " ")));
    for cell in cells {
        table.add_row(names.clone().map(|name| text(cell, name)));
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_a_cell_has_the_promised_fields_and_no_others() {
        let cell = json!({"call_ms": 10_000, "ratio": 1.1, "killed": 3});
        let cell = cell_of(&cell);
        let names: Vec<&String> = cell.as_object().unwrap().keys().collect();
        assert_eq!(names, GRID.to_vec());
        assert_eq!(cell["ratio"], 1.1);
    }
}
