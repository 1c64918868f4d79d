//! `bench --cost`: what one workload costs in different ways, by the price table.
//!
//! The bills are those of whole jobs: a native test (`tests/engine/bill.rs`) runs the engine, with its real SQL, against the
//! stand-in, whose usage is counted by the API's rules. In workerd the same calls would take an hour and come to the same bill. Here
//! only the table is made of it, and what is promised is held against it.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Deserialize;

use crate::setup::plain;
use crate::{root, ui};

/// What the test writes before each line that is meant for us.
const MARK: &str = "bill: ";
const NAIVE: &str = "naive";
const CHUNKED: &str = "chunked, cached";
const CHEAPEST: &str = "chunked, cached, batch";
const AGAIN: &str = "re-run";
const EXTENSION: &str = "extension of 1 %";

/// A way, and what it came to in dollars.
#[derive(Debug, Clone, Deserialize)]
struct Bill {
    way: String,
    map: f64,
    synthesis: f64,
    calls: u64,
    cached_tokens: u64,
}

impl Bill {
    fn whole(&self) -> f64 {
        self.map + self.synthesis
    }
}

pub fn run(items: u32) -> Result<()> {
    ui::say(format!(
        "{items} items in every way; this takes some minutes"
    ));
    let began = Instant::now();
    let output = plain("cargo")
        .args(["test", "--package", "fanwise", "--test", "engine"])
        .args(["bill::whole", "--", "--exact", "--ignored", "--nocapture"])
        .env("FANWISE_BILL_ITEMS", items.to_string())
        .current_dir(root::dir())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo could not be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("a job of the table failed:\n{text}");
    }
    let bills = read(&text)?;
    ui::print(table(&bills).to_string());
    ui::print(format!("{}, compiling included", ui::took(began.elapsed())));
    let missed = missed(&bills)?;
    if missed.is_empty() {
        return Ok(());
    }
    bail!("{}", missed.join("; "))
}

/// What the test said, among the lines of its harness.
fn read(text: &str) -> Result<Vec<Bill>> {
    let lines = text.lines().filter_map(|line| line.split_once(MARK));
    lines
        .map(|(_, json)| serde_json::from_str(json).with_context(|| format!("not a bill: {json}")))
        .collect()
}

fn named<'a>(bills: &'a [Bill], way: &str) -> Result<&'a Bill> {
    let bill = bills.iter().find(|bill| bill.way == way);
    bill.with_context(|| format!("the test says nothing of `{way}`"))
}

fn table(bills: &[Bill]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "way",
        "calls",
        "map",
        "synthesis",
        "together",
        "of naive",
        "tokens read from the cache",
    ]);
    let naive = bills.first().map_or(0.0, Bill::whole);
    for bill in bills {
        let share = bill.whole() / naive.max(f64::MIN_POSITIVE) * 100.0;
        table.add_row([
            bill.way.clone(),
            bill.calls.to_string(),
            format!("${:.4}", bill.map),
            format!("${:.4}", bill.synthesis),
            format!("${:.4}", bill.whole()),
            format!("{share:.1} %"),
            bill.cached_tokens.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The promises that the bills do not keep.
fn missed(bills: &[Bill]) -> Result<Vec<String>> {
    let naive = named(bills, NAIVE)?.whole();
    let chunked = named(bills, CHUNKED)?;
    let cheapest = named(bills, CHEAPEST)?;
    let again = named(bills, AGAIN)?;
    let extension = named(bills, EXTENSION)?;
    let mut missed = Vec::new();
    if cheapest.whole() > 0.35 * naive {
        missed.push(format!(
            "cached and as a batch it costs {:.1} % of naive; at most 35 % is promised",
            cheapest.whole() / naive * 100.0
        ));
    }
    if again.calls > 0 || again.whole() > 0.0 {
        missed.push(format!(
            "the same job again costs ${:.4}; nothing is promised",
            again.whole()
        ));
    }
    if extension.map > 0.02 * chunked.map {
        missed.push(format!(
            "an extension of 1 % costs {:.2} % besides its synthesis; at most 2 % is promised",
            extension.map / chunked.map * 100.0
        ));
    }
    Ok(missed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bills(extension: f64) -> Vec<Bill> {
        let line = |way: &str, map: f64, calls: u64| {
            format!(
                "bill: {{\"way\":\"{way}\",\"map\":{map},\"synthesis\":0.1,\"calls\":{calls},\"cached_tokens\":0}}\n"
            )
        };
        let text = format!(
            "running 1 test\n{}{}bill: {{\"way\":\"re-run\",\"map\":0,\"synthesis\":0,\"calls\":0,\"cached_tokens\":0}}\n{}test bill::whole ... ok\n",
            line(NAIVE, 10.0, 100),
            line(CHUNKED, 2.0, 10) + &line(CHEAPEST, 1.0, 10),
            line(EXTENSION, extension, 1),
        );
        read(&text).unwrap()
    }

    #[test]
    fn a_promise_that_is_not_kept_is_named() {
        assert!(missed(&bills(0.04)).unwrap().is_empty());
        assert!(missed(&bills(0.05)).unwrap().concat().contains("2.50 %"));
        assert!(missed(&bills(0.04).split_off(1)).is_err());
    }
}
