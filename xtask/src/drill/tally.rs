//! What a drill's evidence adds up to: which promises held, and how well the limit was used.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::Value;

use crate::ui;

/// A bucket holds ten seconds' worth: for so long after an outage the limit is used up to twice over, which
/// says nothing about a steady run.
const AFTER_OUTAGE_MS: u64 = 10_000;
/// The share of the limit that a run bound by it should use.
const TARGET_USED: f64 = 0.85;
const ESTIMATE: &str = "estimated before it began";

/// From the kill until the Worker answered again.
pub struct Outage {
    pub in_flight: u64,
    pub from_ms: u64,
    pub to_ms: u64,
}

/// What was seen.
pub struct Evidence {
    pub items: Vec<String>,
    /// Tasks that were sent for again.
    pub doubled: u64,
    pub began_ms: u64,
    pub ended_ms: u64,
    pub time: Duration,
    pub ideal: Duration,
    /// `None`: it is no limit that binds the run.
    pub rpm: Option<u64>,
    pub cap_usd: f64,
    pub outages: Vec<Outage>,
    pub job: Value,
    /// What was foretold of it.
    pub estimate: Value,
    pub report: Value,
    /// One JSON object with an `id` in each line.
    pub results: String,
    /// The stand-in's counters.
    pub stats: Value,
    /// Rows of the stand-in: second, requests, input, output, refused.
    pub timeline: Value,
}

/// What it adds up to.
pub struct Tally {
    state: String,
    items: usize,
    calls: u64,
    faults: BTreeMap<String, u64>,
    kills: usize,
    doubled: u64,
    in_flight: u64,
    covered: usize,
    missing: BTreeMap<String, usize>,
    lost: usize,
    twice: u64,
    twice_after_kill: u64,
    refused: u64,
    /// The share of the limit, and the seconds it was measured over.
    used: Option<(f64, usize)>,
    time: Duration,
    ideal: Duration,
    cap: f64,
    ours: f64,
    /// The worst case of calls whose end nobody saw.
    possibly: f64,
    theirs: f64,
    /// What it was to cost, at least and at most.
    estimate: Option<(f64, f64)>,
}

impl Tally {
    pub fn of(seen: &Evidence) -> Tally {
        let count = |path: &str| seen.stats.pointer(path).and_then(Value::as_u64);
        let dollars =
            |value: &Value, path: &str| value.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
        let covered = results(&seen.results);
        let reasons = reasons(&seen.report);
        let mut missing: BTreeMap<String, usize> = BTreeMap::new();
        for reason in reasons.values() {
            *missing.entry(reason.clone()).or_default() += 1;
        }
        let faults = seen.stats.get("faults").and_then(Value::as_object);
        Tally {
            state: text(&seen.job, "state"),
            items: seen.items.len(),
            calls: count("/calls/total").unwrap_or_default(),
            faults: faults
                .into_iter()
                .flatten()
                .filter_map(|(name, n)| Some((name.clone(), n.as_u64()?)))
                .collect(),
            kills: seen.outages.len(),
            doubled: seen.doubled,
            in_flight: seen.outages.iter().map(|outage| outage.in_flight).sum(),
            covered: seen.items.iter().filter(|id| covered.contains(*id)).count(),
            lost: seen
                .items
                .iter()
                .filter(|id| !covered.contains(*id) && !reasons.contains_key(*id))
                .count(),
            missing,
            // Without counters nothing is proven.
            twice: count("/paid_twice/answers").unwrap_or(u64::MAX),
            twice_after_kill: count("/paid_twice/after_kill").unwrap_or_default(),
            refused: count("/limiter/refused").unwrap_or_default(),
            used: used(seen),
            time: seen.time,
            ideal: seen.ideal,
            cap: seen.cap_usd,
            ours: dollars(&seen.job, "/cost/spent_usd"),
            possibly: dollars(&seen.job, "/cost/possibly_paid_usd"),
            theirs: dollars(&seen.stats, "/cost_usd"),
            estimate: range(&seen.estimate),
        }
    }

    /// Whether the stand-in's count lies within the estimate; of a job that ended early it says nothing.
    fn foretold(&self) -> Option<bool> {
        let (low, high) = self.estimate.filter(|_| self.state == "succeeded")?;
        Some((low..=high).contains(&self.theirs))
    }

    /// The promises that did not hold.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if self.lost > 0 {
            broken.push(format!("{} items lost", self.lost));
        }
        if self.twice > 0 {
            broken.push(format!("{} answers paid twice", self.twice));
        }
        if self.ours + self.possibly > self.cap || self.theirs > self.cap {
            broken.push("over the budget".to_owned());
        }
        if self.refused > 1 {
            broken.push(format!("{} calls refused by the limiter", self.refused));
        }
        if self.used.is_some_and(|(share, _)| share < TARGET_USED) {
            broken.push("the limit was not used".to_owned());
        }
        if self.foretold() == Some(false) {
            broken.push("the cost is not within the estimate".to_owned());
        }
        broken
    }

    pub fn table(&self) -> Table {
        let struck: u64 = self.faults.values().sum();
        let missing: usize = self.missing.values().sum();
        let (used, used_enough) = match self.used {
            Some((share, seconds)) => (
                format!("{:.1} % over {seconds} s", 100.0 * share),
                share >= TARGET_USED,
            ),
            None => ("n/a: no such part".to_owned(), true),
        };
        let time = format!(
            "{}, {:.2} x the ideal {}",
            ui::took(self.time),
            self.time.as_secs_f64() / self.ideal.as_secs_f64().max(1e-3),
            ui::took(self.ideal)
        );
        let kills = format!("{} ({} calls in flight)", self.kills, self.in_flight);
        let ours = format!("${:.4}, and ${:.4} possibly", self.ours, self.possibly);
        let rows = [
            told("items", self.items),
            told("job", &self.state),
            told("calls", self.calls),
            told("faults injected", listed(struck, &self.faults)),
            told("kills", kills),
            told("tasks sent for again", self.doubled),
            told("covered", self.covered),
            told("missing, with a reason", listed(missing, &self.missing)),
            judged("lost", self.lost, "0", self.lost == 0),
            judged("paid twice", self.twice, "0", self.twice == 0),
            told("  in flight at a kill", self.twice_after_kill),
            judged(
                "refused by the limiter",
                self.refused,
                "none after the first",
                self.refused <= 1,
            ),
            judged(
                "limit used, steady part",
                used,
                "at least 85 %",
                used_enough,
            ),
            told("time", time),
            judged(
                "spent by our count",
                ours,
                &format!("at most ${:.2}", self.cap),
                self.ours + self.possibly <= self.cap,
            ),
            judged(
                "spent by the stand-in's count",
                format!("${:.4}", self.theirs),
                "at most ours",
                self.theirs <= self.ours + self.possibly + 1e-9,
            ),
        ];
        let foretold = match self.estimate {
            Some((low, high)) => format!("${low:.4} to ${high:.4}"),
            None => "n/a".to_owned(),
        };
        let foretold = match self.foretold() {
            Some(holds) => judged(ESTIMATE, foretold, "holds the stand-in's count", holds),
            None => told(ESTIMATE, foretold),
        };
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header(["", "", "target", ""]);
        for row in rows.into_iter().chain([foretold]) {
            table.add_row(row);
        }
        table
    }
}

fn told(what: &str, value: impl ToString) -> [String; 4] {
    [what.into(), value.to_string(), String::new(), String::new()]
}

fn judged(what: &str, value: impl ToString, target: &str, holds: bool) -> [String; 4] {
    let verdict = if holds { "met" } else { "missed" };
    [
        what.into(),
        value.to_string(),
        target.into(),
        verdict.into(),
    ]
}

/// The share of the limit that was used in the middle of the run, outages and what follows them left out;
/// and over how many seconds. None where nothing is left.
fn used(seen: &Evidence) -> Option<(f64, usize)> {
    let rpm = seen.rpm?;
    let length = seen.ended_ms.saturating_sub(seen.began_ms);
    let from = seen.began_ms + length / 5;
    let to = seen.ended_ms.saturating_sub(length / 5);
    let steady = |second: u64| {
        let (start, end) = (second * 1_000, (second + 1) * 1_000);
        let quiet =
            |outage: &Outage| end <= outage.from_ms || start >= outage.to_ms + AFTER_OUTAGE_MS;
        start >= from && end <= to && seen.outages.iter().all(quiet)
    };
    let seconds: BTreeSet<u64> = (from / 1_000..=to / 1_000).filter(|s| steady(*s)).collect();
    if seconds.is_empty() {
        return None;
    }
    let rows = seen.timeline.as_array().into_iter().flatten();
    let requests: u64 = rows
        .filter_map(|row| Some((row.get(0)?.as_u64()?, row.get(1)?.as_u64()?)))
        .filter(|(second, _)| seconds.contains(second))
        .map(|(_, requests)| requests)
        .sum();
    let offered = seconds.len() as f64 * rpm as f64 / 60.0;
    Some((requests as f64 / offered.max(1e-9), seconds.len()))
}

/// The dollars of an answer of `/v1/estimates`.
fn range(estimate: &Value) -> Option<(f64, f64)> {
    let dollars = estimate.pointer("/expected/cost_usd")?;
    let of = |name: &str| dollars.get(name)?.as_f64();
    Some((of("low")?, of("high")?))
}

/// The ids that have a result.
fn results(lines: &str) -> BTreeSet<String> {
    lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|line| text(&line, "id"))
        .collect()
}

/// Why each missing item is missing; one without a reason is not in it.
fn reasons(report: &Value) -> BTreeMap<String, String> {
    let missing = report
        .pointer("/coverage/missing")
        .and_then(Value::as_array);
    missing
        .into_iter()
        .flatten()
        .map(|item| (text(item, "id"), text(item, "reason")))
        .filter(|(_, reason)| !reason.is_empty())
        .collect()
}

fn text(value: &Value, name: &str) -> String {
    let found = value.get(name).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

/// `12 (429: 5, 500: 7)`.
fn listed<N: std::fmt::Display>(
    sum: impl std::fmt::Display,
    parts: &BTreeMap<String, N>,
) -> String {
    if parts.is_empty() {
        return sum.to_string();
    }
    let parts: Vec<String> = parts
        .iter()
        .map(|(name, n)| format!("{name}: {n}"))
        .collect();
    format!("{sum} ({})", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn evidence() -> Evidence {
        Evidence {
            items: ["a", "b", "c"].map(str::to_owned).to_vec(),
            doubled: 0,
            began_ms: 0,
            ended_ms: 100_000,
            time: Duration::from_secs(100),
            ideal: Duration::from_secs(50),
            rpm: Some(600),
            cap_usd: 1.0,
            outages: Vec::new(),
            job: json!({"state": "partial", "cost": {"spent_usd": 0.5}}),
            estimate: Value::Null,
            report: json!({"coverage": {"missing": [{"id": "b", "reason": "refusal"}]}}),
            results: "{\"id\":\"a\",\"output\":{}}\n{\"id\":\"c\"}\n".into(),
            stats: json!({"paid_twice": {"answers": 0}, "cost_usd": 0.4}),
            // Ten requests in each second of the run.
            timeline: (0..100).map(|s| json!([s, 10, 0, 0, 0])).collect(),
        }
    }

    #[test]
    fn a_clean_run_breaks_nothing() {
        let tally = Tally::of(&evidence());
        assert!(tally.broken().is_empty(), "{:?}", tally.broken());
        assert_eq!((tally.covered, tally.lost), (2, 0));
        assert_eq!(tally.used, Some((1.0, 60)));
        assert!(tally.table().to_string().contains("refusal: 1"));
    }

    #[test]
    fn an_item_without_result_and_reason_is_lost() {
        let nameless = json!({"coverage": {"missing": [{"id": "b", "reason": ""}]}});
        for report in [Value::Null, nameless] {
            let tally = Tally::of(&Evidence {
                report,
                ..evidence()
            });
            assert_eq!(tally.broken(), ["1 items lost"]);
        }
    }

    #[test]
    fn what_is_paid_twice_or_over_the_budget_is_broken() {
        let stats = |stats| {
            Tally::of(&Evidence {
                stats,
                ..evidence()
            })
            .broken()
        };
        assert_eq!(
            stats(json!({"paid_twice": {"answers": 2, "after_kill": 9}})),
            ["2 answers paid twice"]
        );
        assert_eq!(
            stats(json!({"paid_twice": {"answers": 0, "after_kill": 9}})),
            Vec::<String>::new()
        );
        assert_eq!(
            stats(json!({"paid_twice": {"answers": 0}, "cost_usd": 1.5})),
            ["over the budget"]
        );
        assert_eq!(stats(json!({})).len(), 1, "no counters prove nothing");
    }

    #[test]
    fn the_cost_of_a_whole_job_is_held_against_its_estimate() {
        let broken = |state: &str, low: f64, high: f64| {
            let estimate = json!({"expected": {"cost_usd": {"low": low, "high": high}}});
            let job = json!({"state": state, "cost": {"spent_usd": 0.5}});
            let tally = Tally::of(&Evidence {
                estimate,
                job,
                ..evidence()
            });
            assert!(tally.table().to_string().contains(&format!("${low:.4} to")));
            tally.broken()
        };
        let none = Vec::<String>::new();
        assert_eq!(broken("succeeded", 0.3, 0.4), none);
        let outside = ["the cost is not within the estimate"];
        assert_eq!(broken("succeeded", 0.41, 0.9), outside);
        assert_eq!(broken("succeeded", 0.1, 0.39), outside);
        assert_eq!(broken("partial", 0.41, 0.9), none);
    }

    #[test]
    fn outages_and_their_aftermath_are_not_steady() {
        let outage = |from_ms, to_ms| Outage {
            in_flight: 0,
            from_ms,
            to_ms,
        };
        let used = |outages| {
            used(&Evidence {
                outages,
                ..evidence()
            })
        };
        assert_eq!(used(vec![outage(40_000, 50_000)]), Some((1.0, 40)));
        assert_eq!(used(vec![outage(10_000, 90_000)]), None);
    }
}
