//! Reports from merged results: Markdown that states the counts it was given,
//! the coverage, and examples by id. Its first line says who wrote it.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::{Map, Value};

/// The first line of every report.
pub const MARK: &str = "> Written by the stand-in for Claude (a test program), not by a model.";

const EXAMPLES: usize = 5;
const ROWS: usize = 10;
/// Fields with more distinct values than this are texts, not labels.
const LABELS: usize = 24;

/// Counts of one field: value and number, most frequent first.
type Counts = Vec<(String, u64)>;

/// What can be found in results of any form.
#[derive(Debug, Default)]
struct Found<'a> {
    counts: BTreeMap<&'a str, Counts>,
    outputs: Vec<(String, &'a Value)>,
    texts: Vec<&'a str>,
}

/// The report over what a synthesis or reduce call was given.
pub fn report(results: &Value, coverage: Option<&Value>) -> String {
    let mut found = Found::default();
    find(results, &mut found);
    let computed = if found.counts.is_empty() {
        count(&found.outputs)
    } else {
        BTreeMap::new()
    };
    let mut counts: Vec<(&str, &Counts)> = found.counts.iter().map(|(k, v)| (*k, v)).collect();
    counts.extend(computed.iter().map(|(k, v)| (k.as_str(), v)));
    let mut out = format!("{MARK}\n\n# Report\n\n");
    for line in coverage_lines(coverage, found.outputs.len()) {
        let _ = writeln!(out, "{line}");
    }
    for (field, counts) in counts {
        section(&mut out, field, counts);
    }
    if !found.outputs.is_empty() {
        let _ = writeln!(out, "\n## Examples\n");
        for (id, output) in found.outputs.iter().take(EXAMPLES) {
            let _ = writeln!(out, "- **{id}**: {}", one_line(output));
        }
    }
    if !found.texts.is_empty() {
        let _ = writeln!(
            out,
            "\n## Parts\n\n{} partial results were read.\n",
            found.texts.len()
        );
        for text in found.texts.iter().take(EXAMPLES) {
            let line = text
                .lines()
                .find(|l| !l.is_empty() && !l.starts_with(['>', '#']))
                .unwrap_or(text);
            let _ = writeln!(out, "- {}", shorten(line, 160));
        }
    }
    out
}

fn section(out: &mut String, field: &str, counts: &Counts) {
    let total: u64 = counts.iter().map(|(_, n)| n).sum();
    let Some((top, most)) = counts.first() else {
        return;
    };
    let _ = writeln!(out, "\n## {field}\n");
    let _ = writeln!(
        out,
        "The most frequent value is **{top}** with {most} of {total} ({}).\n",
        percent(*most, total)
    );
    let _ = writeln!(out, "| value | count | share |\n|---|---:|---:|");
    for (value, n) in counts.iter().take(ROWS) {
        let _ = writeln!(out, "| {value} | {n} | {} |", percent(*n, total));
    }
    if let Some(rest) = counts.get(ROWS..).filter(|r| !r.is_empty()) {
        let n: u64 = rest.iter().map(|(_, n)| n).sum();
        let _ = writeln!(out, "| {} more | {n} | {} |", rest.len(), percent(n, total));
    }
}

fn percent(part: u64, whole: u64) -> String {
    let share = part.saturating_mul(1_000).checked_div(whole).unwrap_or(0);
    format!("{}.{} %", share / 10, share % 10)
}

fn coverage_lines(coverage: Option<&Value>, outputs: usize) -> Vec<String> {
    let Some(coverage) = coverage else {
        return vec![format!("{outputs} results were given.")];
    };
    if let Some(text) = coverage.as_str() {
        return vec![format!("Coverage: {text}")];
    }
    let number = |key: &str| coverage.get(key).and_then(Value::as_u64);
    let (Some(total), Some(covered)) = (number("total"), number("covered")) else {
        return vec![format!("Coverage: {coverage}")];
    };
    let mut lines = vec![format!(
        "{covered} of {total} items have a result ({}).",
        percent(covered, total)
    )];
    let missing = coverage.get("missing").and_then(Value::as_array);
    if let Some(missing) = missing.filter(|m| !m.is_empty()) {
        let named: Vec<String> = missing
            .iter()
            .take(EXAMPLES)
            .map(|m| {
                match (
                    m.get("id").and_then(Value::as_str),
                    m.get("reason").and_then(Value::as_str),
                ) {
                    (Some(id), Some(reason)) => format!("{id} ({reason})"),
                    (Some(id), None) => id.to_owned(),
                    _ => m.as_str().map_or_else(|| m.to_string(), str::to_owned),
                }
            })
            .collect();
        let more = if missing.len() > EXAMPLES {
            ", …"
        } else {
            ""
        };
        lines.push(format!("Without a result: {}{more}.", named.join(", ")));
    } else if let Some(n) = number("missing").filter(|n| *n > 0) {
        lines.push(format!("{n} items are without a result."));
    }
    lines
}

/// Walks results of any form for counts, outputs with ids, and partial texts.
fn find<'a>(value: &'a Value, found: &mut Found<'a>) {
    match value {
        Value::Object(map) => {
            if let Some(fields) = map.get("count_by").and_then(Value::as_object) {
                for (field, counts) in fields {
                    if let Some(list) = counts.as_object().and_then(counted) {
                        found.counts.entry(field).or_insert(list);
                    }
                }
            }
            if let Some(output) = map.get("output") {
                let id = match map.get("id").or_else(|| map.get("task")) {
                    Some(Value::String(id)) => id.clone(),
                    Some(other) => other.to_string(),
                    None => (found.outputs.len() + 1).to_string(),
                };
                found.outputs.push((id, output));
                return;
            }
            map.iter()
                .filter(|(k, _)| *k != "count_by")
                .for_each(|(_, v)| find(v, found));
        }
        Value::Array(list) => {
            for entry in list {
                match entry {
                    Value::String(text) => found.texts.push(text),
                    other => find(other, found),
                }
            }
        }
        Value::String(text) if text.len() > 80 => found.texts.push(text),
        _ => {}
    }
}

fn counted(map: &Map<String, Value>) -> Option<Counts> {
    let mut list: Counts = map
        .iter()
        .map(|(value, n)| Some((value.clone(), n.as_u64()?)))
        .collect::<Option<_>>()?;
    sort(&mut list);
    Some(list)
}

fn sort(list: &mut Counts) {
    list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
}

/// Own counts over the outputs, for label-like fields.
fn count(outputs: &[(String, &Value)]) -> BTreeMap<String, Counts> {
    let mut all: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for (field, value) in outputs.iter().filter_map(|(_, o)| o.as_object()).flatten() {
        let label = match value {
            Value::String(text) if text.len() <= 40 => text.clone(),
            Value::Bool(flag) => flag.to_string(),
            Value::Null => "null".to_owned(),
            _ => continue,
        };
        *all.entry(field.clone())
            .or_default()
            .entry(label)
            .or_default() += 1;
    }
    all.retain(|_, counts| {
        counts.len() <= LABELS && (counts.len() * 2 <= outputs.len() || counts.len() <= 3)
    });
    all.into_iter()
        .map(|(field, counts)| {
            let mut list: Counts = counts.into_iter().collect();
            sort(&mut list);
            (field, list)
        })
        .collect()
}

fn one_line(output: &Value) -> String {
    match output {
        Value::Object(map) => {
            let parts: Vec<String> = map
                .iter()
                .map(|(key, value)| match value {
                    Value::String(text) => format!("{key}: {text}"),
                    other => format!("{key}: {other}"),
                })
                .collect();
            shorten(&parts.join("; "), 200)
        }
        other => shorten(&other.to_string(), 200),
    }
}

fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let cut: String = text.chars().take(limit).collect();
    format!("{cut}…")
}

/// Examples with the ids they rest on.
pub fn citations(results: &Value) -> String {
    let mut out = "\n## Sources\n\n".to_owned();
    for id in ids(results).iter().take(EXAMPLES) {
        let _ = writeln!(out, "- This was seen here. [[{id}]]");
    }
    out
}

fn named_ids(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(list) = map.get("ids").and_then(Value::as_array) {
                found.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            map.values().for_each(|v| named_ids(v, found));
        }
        Value::Array(list) => list.iter().for_each(|v| named_ids(v, found)),
        _ => {}
    }
}

/// The ids a report's input speaks of: those that findings name, which are handed on, else those of the results.
pub fn ids(results: &Value) -> Vec<String> {
    let mut named = Vec::new();
    named_ids(results, &mut named);
    if !named.is_empty() {
        return named;
    }
    let mut found = Found::default();
    find(results, &mut found);
    found.outputs.into_iter().map(|(id, _)| id).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_states_the_counts_and_the_coverage() {
        let results = json!({
            "merged": {"count_by": {"primary_category": {"login": 10, "billing": 30}}},
            "sample": [{"id": "T-7", "output": {"issue": "charged twice"}}]
        });
        let coverage =
            json!({"total": 41, "covered": 40, "missing": [{"id": "T-9", "reason": "refused"}]});
        let text = report(&results, Some(&coverage));
        assert!(text.starts_with(MARK));
        for part in [
            "40 of 41 items have a result (97.5 %)",
            "T-9 (refused)",
            "**billing** with 30 of 40 (75.0 %)",
            "| login | 10 | 25.0 % |",
            "**T-7**: issue: charged twice",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn ids_of_findings_are_handed_on() {
        let finding = json!({"finding": "Charged twice.", "ids": ["T-7", "T-9"]});
        let findings = json!({"results": [{"id": "chunk-1", "output": {"findings": [finding]}}]});
        assert_eq!(ids(&findings), ["T-7", "T-9"]);
        let results = json!({"results": [{"id": "T-7", "output": {"mood": "bad"}}]});
        assert_eq!(ids(&results), ["T-7"]);
    }

    #[test]
    fn without_counts_it_counts_the_labels_itself() {
        let results = json!([
            {"id": "a", "output": {"mood": "bad", "issue": "one"}},
            {"id": "b", "output": {"mood": "bad", "issue": "two"}},
            {"id": "c", "output": {"mood": "good", "issue": "three"}},
            {"id": "d", "output": {"mood": "bad", "issue": "four"}},
        ]);
        let text = report(&results, None);
        assert!(text.contains("**bad** with 3 of 4"), "{text}");
        assert!(!text.contains("## issue"), "{text}");
    }
}
