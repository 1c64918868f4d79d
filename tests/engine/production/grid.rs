//! The cells of `cargo xtask bench --production`, and the lines that it reads.

use serde::Deserialize;
use serde_json::{Value, json};

use super::bill;
use super::cell::Cell;

/// What is written before each line that is meant for `xtask`: one cell, and the figures of the whole run.
const MARK: &str = "production: ";
const WHOLE: &str = "production-whole: ";
/// The settings, as JSON.
const SETTINGS: &str = "FANWISE_PRODUCTION";
/// Tasks whose rows are counted: the meter takes time, and rows for a task are the same for many.
const METERED: usize = 1_000;

/// What `xtask` asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// Fields of the one cell; without any, the whole grid.
    cell: Option<Value>,
    seed: Option<u64>,
    consumers: Option<u32>,
    /// Laid over every cell.
    with: Value,
}

/// Each has its fields of [`Cell`]; the first one is the one whose costs are counted.
fn cells() -> Vec<Value> {
    vec![
        json!({"call_ms": 10_000, "ttft_ms": 600}),
        json!({"call_ms": 30_000, "ttft_ms": 600}),
        json!({"call_ms": 4_000, "ttft_ms": 600}),
        json!({"call_ms": 1_500, "ttft_ms": 700}),
        json!({"call_ms": 200, "ttft_ms": 60, "rtt_ms": 5}),
        json!({"call_ms": 200, "ttft_ms": 60, "rtt_ms": 30}),
        json!({"call_ms": 200, "ttft_ms": 60, "rtt_ms": 100}),
        json!({"call_ms": 10_000, "ttft_ms": 600, "rtt_ms": 600}),
        json!({"call_ms": 10_000, "ttft_ms": 600, "jobs": 20, "items": 500}),
        json!({"call_ms": 10_000, "ttft_ms": 600, "concurrency": 1_000, "items": 10_000}),
    ]
}

/// Lays one object over another, field by field.
fn lay_over(own: &mut Value, more: &Value) {
    match (own, more) {
        (Value::Object(own), Value::Object(more)) => {
            for (name, value) in more {
                lay_over(own.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (own, more) => *own = more.clone(),
    }
}

impl Settings {
    fn cells(&self) -> Vec<Cell> {
        let fields = match &self.cell {
            Some(cell) => vec![cell.clone()],
            None => cells(),
        };
        let cell = |mut fields: Value| -> Cell {
            if let Some(seed) = self.seed {
                lay_over(&mut fields, &json!({"seed": seed}));
            }
            if let Some(consumers) = self.consumers {
                let more = json!({"model": {"queues": {"consumers": consumers}}});
                lay_over(&mut fields, &more);
            }
            lay_over(&mut fields, &self.with);
            let mut cell: Cell = serde_json::from_value(fields).unwrap();
            cell.ttft_ms = cell.ttft_ms.min(cell.call_ms);
            cell
        };
        fields.into_iter().map(cell).collect()
    }
}

#[test]
#[ignore = "takes minutes; `cargo xtask bench --production` runs it"]
fn grid() {
    let text = std::env::var(SETTINGS).unwrap_or_else(|_| "{}".to_owned());
    let settings: Settings = serde_json::from_str(&text).unwrap();
    let cells = settings.cells();
    let mut outcomes = Vec::new();
    for cell in &cells {
        // This is native: the time that a cell takes is real.
        #[allow(clippy::disallowed_methods)]
        let began = std::time::Instant::now();
        let outcome = cell.play().outcome;
        println!("\n{MARK}{}", serde_json::to_string(&outcome).unwrap());
        eprintln!("{:.1} s of this machine", began.elapsed().as_secs_f64());
        outcomes.push(outcome);
    }
    let mut metered = cells[0].clone();
    metered.items = metered.items.min(METERED);
    let bill = bill::of(&metered);
    for (name, rows) in &bill.rows {
        eprintln!("{rows:>7.2} rows for a task: {name}");
    }
    eprintln!(
        "{:>7.2} rows for a task are deleted with the job",
        bill.rows_removed_per_task
    );
    let peak = outcomes.iter().map(|one| one.isolate_peak_mb);
    let whole = json!({
        "rows_written_per_task": bill.rows_written_per_task,
        "d1_ms_per_task": outcomes[0].d1_ms_per_task,
        "platform_usd_per_10000": bill.usd_per_10000,
        "isolate_peak_mb": peak.fold(0.0, f64::max),
    });
    println!("\n{WHOLE}{whole}");
}
