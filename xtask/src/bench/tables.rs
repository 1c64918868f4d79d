//! What was measured, as tables: the median, the runs, and how that stands to the target.

use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use super::{Args, LARGE, Measured, Round, ideal, size};

/// Crates shown one by one.
const CRATES: usize = 15;

const TARGET_RATIO: f64 = 1.2;
const TARGET_ACCEPT_S: f64 = 2.0;
const TARGET_CPU_S: f64 = 3.0;
const TARGET_PEAK_MB: f64 = 400.0;

pub(super) fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let upper = numbers.get(middle).copied()?;
    if numbers.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*numbers.get(middle - 1)?, upper))
}

/// A row of the table: what, the runs, and the target that its median is held against.
struct Row {
    what: String,
    runs: Vec<f64>,
    unit: &'static str,
    target: Option<f64>,
}

impl Row {
    fn cells(&self) -> [String; 5] {
        let middle = median(self.runs.clone());
        let number = |n: f64| format!("{n:.2}");
        let (target, met) = match (self.target, middle) {
            (Some(target), Some(middle)) => (
                format!("at most {target}"),
                if middle <= target { "met" } else { "missed" },
            ),
            (Some(target), None) => (format!("at most {target}"), "n/a"),
            (None, _) => (String::new(), ""),
        };
        let runs: Vec<String> = self.runs.iter().copied().map(number).collect();
        [
            self.what.clone(),
            middle.map_or_else(|| "n/a".into(), |n| format!("{} {}", number(n), self.unit)),
            if runs.len() > 1 {
                runs.join("  ")
            } else {
                String::new()
            },
            target,
            met.to_owned(),
        ]
    }
}

pub(super) fn speed(args: &Args, measured: &Measured) -> String {
    let ideal = ideal(args.items(), args.concurrency(), args.latency_ms).as_secs_f64();
    let row = |what: String, unit, target, of: &dyn Fn(&Round) -> Option<f64>| Row {
        what,
        runs: measured.rounds.iter().filter_map(of).collect(),
        unit,
        target,
    };
    let per_thousand = 1_000.0 / f64::from(args.items());
    let rows = [
        row("submit to the end of the job".into(), "s", None, &|r| {
            Some(r.job.as_secs_f64())
        }),
        row(
            format!("  against the ideal {ideal:.1} s"),
            "x",
            Some(TARGET_RATIO),
            &|r| Some(r.job.as_secs_f64() / ideal),
        ),
        row("  of it, to the first call".into(), "s", None, &|r| {
            Some(r.phases.to_first_call)
        }),
        row(
            format!("  calls for items, {} in all", args.items()),
            "s",
            None,
            &|r| Some(r.phases.items),
        ),
        row("  to the synthesis".into(), "s", None, &|r| {
            Some(r.phases.to_synthesis)
        }),
        row("  the synthesis".into(), "s", None, &|r| {
            Some(r.phases.synthesis)
        }),
        row("  to the end".into(), "s", None, &|r| Some(r.phases.to_end)),
        row("the same calls by a plain client".into(), "s", None, &|r| {
            Some(r.plain.as_secs_f64())
        }),
        row(
            format!("  against the ideal {ideal:.1} s"),
            "x",
            None,
            &|r| Some(r.plain.as_secs_f64() / ideal),
        ),
        row(
            "  the job against the plain client".into(),
            "x",
            None,
            &|r| Some(r.job.as_secs_f64() / r.plain.as_secs_f64()),
        ),
        row(
            "the same calls as steps by Restate".into(),
            "s",
            None,
            &|r| Some(r.restate.as_ref()?.steps.as_secs_f64()),
        ),
        row(
            format!("  against the ideal {ideal:.1} s"),
            "x",
            None,
            &|r| Some(r.restate.as_ref()?.steps.as_secs_f64() / ideal),
        ),
        row("  the job against Restate".into(), "x", None, &|r| {
            Some(r.job.as_secs_f64() / r.restate.as_ref()?.steps.as_secs_f64())
        }),
        row(
            "  CPU of its server and service per 1,000 tasks".into(),
            "s",
            None,
            &|r| {
                let restate = r.restate.as_ref()?;
                let cpu = restate.server?.cpu + restate.service?.cpu;
                Some(cpu.as_secs_f64() * per_thousand)
            },
        ),
        row("  peak memory of its server".into(), "MB", None, &|r| {
            Some(r.restate.as_ref()?.server?.peak_bytes as f64 / 1e6)
        }),
        row("  peak memory of its service".into(), "MB", None, &|r| {
            Some(r.restate.as_ref()?.service?.peak_bytes as f64 / 1e6)
        }),
        row("  as invocations of their own".into(), "s", None, &|r| {
            Some(r.restate.as_ref()?.invocations.as_secs_f64())
        }),
        Row {
            what: format!("{LARGE} items accepted"),
            runs: measured
                .accepted
                .iter()
                .map(Duration::as_secs_f64)
                .collect(),
            unit: "s",
            target: Some(TARGET_ACCEPT_S),
        },
        row(
            "CPU of workerd per 1,000 tasks".into(),
            "s",
            Some(TARGET_CPU_S),
            &|r| Some(r.usage?.cpu.as_secs_f64() * per_thousand),
        ),
        row(
            "peak memory of workerd so far".into(),
            "MB",
            Some(TARGET_PEAK_MB),
            &|r| Some(r.usage?.peak_bytes as f64 / 1e6),
        ),
        Row {
            what: "  before the first job".into(),
            runs: measured
                .idle
                .map(|usage| usage.peak_bytes as f64 / 1e6)
                .into_iter()
                .collect(),
            unit: "MB",
            target: None,
        },
        Row {
            what: "first request of a fresh isolate".into(),
            runs: measured.first.into_iter().collect(),
            unit: "ms",
            target: None,
        },
        Row {
            what: "later requests".into(),
            runs: measured.later.into_iter().collect(),
            unit: "ms",
            target: None,
        },
        Row {
            what: "Worker, gzipped".into(),
            runs: vec![measured.size.gzipped as f64 / 1e6],
            unit: "MB",
            target: Some(size::LIMIT_BYTES as f64 / 1e6),
        },
    ];
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["measured", "median", "runs", "target", ""]);
    // What was left out is no row; a target shows all the same.
    for row in rows
        .iter()
        .filter(|row| !row.runs.is_empty() || row.target.is_some())
    {
        table.add_row(row.cells());
    }
    right(&mut table, 1);
    format!(
        "\n{} items, one per task, {} ms of latency, {} calls at a time, {} rounds\n{table}",
        args.items(),
        args.latency_ms,
        args.concurrency(),
        args.rounds
    )
}

pub(super) fn weights(size: &size::Size) -> String {
    let code: u64 = size.crates.iter().map(|(_, bytes)| bytes).sum();
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["code of", "kB", "share"]);
    let mut add = |what: String, bytes: u64| {
        let share = 100.0 * bytes as f64 / code.max(1) as f64;
        table.add_row([
            what,
            format!("{:.1}", bytes as f64 / 1e3),
            format!("{share:.1} %"),
        ]);
    };
    for (name, bytes) in size.crates.iter().take(CRATES) {
        add(name.clone(), *bytes);
    }
    let rest: &[(String, u64)] = size.crates.get(CRATES..).unwrap_or_default();
    if !rest.is_empty() {
        let bytes = rest.iter().map(|(_, bytes)| bytes).sum();
        add(format!("{} others", rest.len()), bytes);
    }
    right(&mut table, 1);
    right(&mut table, 2);
    format!(
        "\nThe Worker is {:.2} MB, gzipped {:.3} MB of at most {:.1} MB: code {:.2} MB, data {:.2} MB\n{table}",
        size.raw as f64 / 1e6,
        size.gzipped as f64 / 1e6,
        size::LIMIT_BYTES as f64 / 1e6,
        code as f64 / 1e6,
        size.data as f64 / 1e6,
    )
}

fn right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn a_missed_target_is_told() {
        let row = Row {
            what: "x".into(),
            runs: vec![1.0, 3.0, 2.0],
            unit: "s",
            target: Some(1.5),
        };
        assert_eq!(
            row.cells(),
            ["x", "2.00 s", "1.00  3.00  2.00", "at most 1.5", "missed"]
        );
    }
}
