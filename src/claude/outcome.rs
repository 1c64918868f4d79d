//! What of a worker's answer can be used.
//!
//! The API's schema enforcement makes most answers perfect, but not all: an answer may be cut off,
//! come from a call without a schema, from a gateway that ignores it, or hold wrong ids. So the
//! text is read tolerantly and every result is checked strictly: what is valid is kept even when
//! its neighbours are not, and what is wrong is said in words that a repair call can show.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::Value;

use crate::claude::outcome::documents::Documents;
use crate::claude::response::StopReason;
use crate::claude::worker_schema::{Output, default_schema};
use crate::core::schema::{Fault, MAX_FAULTS, Schema};
use crate::core::value::same_text::{match_ids, visible};

mod documents;
#[cfg(test)]
mod tests;

/// What a worker was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub output: Output,
    /// The stage's whole schema, for one result.
    pub schema: &'a Schema,
    /// The ids of the items it was given.
    pub ids: &'a [String],
}

/// What it gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// `output: item`: the valid results, in the order of the items.
    pub valid: Vec<(String, Value)>,
    /// `output: chunk`: the valid result.
    pub chunk: Option<Value>,
    /// Items without a valid result, in their order; all or none with `output: chunk`.
    pub missing: Vec<String>,
    /// What is wrong, for a repair; at most [`MAX_FAULTS`], and empty if and only if nothing is
    /// missing and nothing was invented.
    pub faults: Vec<Fault>,
    /// Results for ids that were not asked for. They are dropped.
    pub invented: Vec<String>,
    /// The model was stopped before it was done.
    pub truncated: bool,
}

impl Answer {
    /// Whether every item has its result. An answer may be complete and still have faults to log.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

/// Reads an answer's text.
#[must_use]
pub fn read(text: &str, stop: &StopReason, wanted: Wanted<'_>) -> Answer {
    let documents = Documents::find(text);
    let mut answer = match wanted.output {
        Output::Item if stop.cuts_off() => items(&documents, "", wanted),
        Output::Item => items(&documents, text.trim(), wanted),
        Output::Chunk => chunk(&documents, text, stop, wanted),
    };
    answer.truncated = stop.cuts_off();
    if !answer.is_complete() {
        explain(&mut answer, &documents);
    }
    answer.faults.truncate(MAX_FAULTS);
    answer
}

/// Puts what concerns the answer as a whole in front of the single faults.
fn explain(answer: &mut Answer, documents: &Documents) {
    let mut reasons = Vec::new();
    if answer.truncated {
        reasons.push(Fault::new(
            "",
            "the answer was cut off before its end: answer more briefly",
        ));
    }
    if let Some(error) = &documents.error {
        reasons.push(Fault::new(
            "",
            format!("the answer is not one JSON document: {error}"),
        ));
    }
    reasons.append(&mut answer.faults);
    answer.faults = reasons;
}

/// Reads `output: item`.
fn items(documents: &Documents, prose: &str, wanted: Wanted<'_>) -> Answer {
    let mut found: HashMap<&str, Found> = HashMap::new();
    let mut answer = Answer::default();
    let mut results = by_id(entries(documents, prose, wanted));
    let given: Vec<&str> = wanted.ids.iter().map(String::as_str).collect();
    let answered: Vec<&str> = results.iter().map(|(id, _)| id.as_str()).collect();
    let places = match_ids(&given, &answered);
    for ((id, outputs), place) in results.drain(..).zip(places) {
        let Some(id) = place.and_then(|place| given.get(place)) else {
            answer.invented.push(id);
            continue;
        };
        for output in outputs {
            let result = admitted(output, wanted.schema);
            found.entry(id).or_default().add(result);
        }
    }
    let mut silent = Vec::new();
    for id in wanted.ids {
        match found.remove(id.as_str()) {
            Some(Found {
                valid: Some(value),
                conflict: false,
                ..
            }) => answer.valid.push((id.clone(), value)),
            Some(Found { conflict: true, .. }) => {
                answer.missing.push(id.clone());
                answer
                    .faults
                    .push(item_fault(id, &Fault::new("", "has two different results")));
            }
            Some(Found { faults, .. }) => {
                answer.missing.push(id.clone());
                // The first few of each item, so that one item does not crowd out the others.
                answer
                    .faults
                    .extend(faults.iter().take(3).map(|fault| item_fault(id, fault)));
            }
            None => {
                answer.missing.push(id.clone());
                silent.push(id);
            }
        }
    }
    if !silent.is_empty() {
        answer.faults.insert(
            0,
            Fault::new("", format!("there is no result for {}", listed(&silent))),
        );
    }
    if !answer.invented.is_empty() {
        let invented: Vec<&String> = answer.invented.iter().collect();
        let text = format!(
            "there are results for ids that are not among the items: {}",
            listed(&invented)
        );
        answer.faults.push(Fault::new("", text));
    }
    answer
}

/// What was found for one id. Two valid results that differ cancel each other: nothing says which
/// of them is right, and asking again is cheaper than being wrong. A faulty one beside a valid one
/// is an attempt the model itself replaced.
#[derive(Default)]
struct Found {
    valid: Option<Value>,
    conflict: bool,
    faults: Vec<Fault>,
}

impl Found {
    fn add(&mut self, result: Result<Value, Vec<Fault>>) {
        match (result, &self.valid) {
            (Ok(value), None) => self.valid = Some(value),
            (Ok(value), Some(known)) => self.conflict |= value != *known,
            (Err(faults), _) => self.faults = faults,
        }
    }
}

struct Entry {
    id: String,
    output: Value,
}

/// What was answered for each id, the ids as they are written and in their order.
fn by_id(entries: Vec<Entry>) -> Vec<(String, Vec<Value>)> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut results: Vec<(String, Vec<Value>)> = Vec::new();
    for Entry { id, output } in entries {
        let place = *places.entry(id.clone()).or_insert(results.len());
        match results.get_mut(place) {
            Some((_, outputs)) => outputs.push(output),
            None => results.push((id, vec![output])),
        }
    }
    results
}

/// The results in an answer. If one document holds them all, as it should, only that one counts
/// (the last, if the model began anew); otherwise whatever looks like a result does.
fn entries(documents: &Documents, prose: &str, wanted: Wanted<'_>) -> Vec<Entry> {
    for list in documents.lists().rev() {
        let entries: Vec<Entry> = list
            .iter()
            .filter_map(|value| entry(value, wanted))
            .collect();
        if !entries.is_empty() {
            return entries;
        }
    }
    let values = documents.found.iter().map(|found| &found.value);
    let entries: Vec<Entry> = values.filter_map(|value| entry(value, wanted)).collect();
    // One item needs no id to be told from others.
    match (entries.as_slice(), wanted.ids, documents.found.as_slice()) {
        ([], [id], [only]) if wanted.schema.admit(only.value.clone()).is_ok() => vec![Entry {
            id: id.clone(),
            output: only.value.clone(),
        }],
        // A stage without a schema of its own wants text.
        ([], [id], []) if wants_text(wanted.schema) && !prose.is_empty() => vec![Entry {
            id: id.clone(),
            output: Value::String(prose.to_owned()),
        }],
        _ => entries,
    }
}

/// One result: `{"id", "output"}`, or the output's fields beside the id, where those are valid.
fn entry(value: &Value, wanted: Wanted<'_>) -> Option<Entry> {
    let fields = value.as_object()?;
    let id = match fields.get("id")? {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => return None,
    };
    if let Some(output) = fields.get("output") {
        return Some(Entry {
            id,
            output: output.clone(),
        });
    }
    let mut flat = fields.clone();
    flat.shift_remove("id");
    let output = Value::Object(flat);
    let output = if wanted.schema.admit(output.clone()).is_ok() {
        output
    } else {
        value.clone()
    };
    Some(Entry { id, output })
}

/// Reads `output: chunk`: the last document that is valid, or else what is wrong with the last.
fn chunk(documents: &Documents, text: &str, stop: &StopReason, wanted: Wanted<'_>) -> Answer {
    let mut answer = Answer::default();
    for found in documents.found.iter().rev() {
        match admitted(found.value.clone(), wanted.schema) {
            Ok(value) => {
                answer.chunk = Some(value);
                answer.faults.clear();
                return answer;
            }
            Err(faults) if answer.faults.is_empty() => answer.faults = faults,
            Err(_) => {}
        }
    }
    // Without a schema of its own a stage wants text, and text it got.
    let prose = documents.found.is_empty() && !stop.cuts_off() && !text.trim().is_empty();
    if prose && wants_text(wanted.schema) {
        answer.chunk = Some(serde_json::json!({"text": text.trim()}));
        return answer;
    }
    answer.missing = wanted.ids.to_vec();
    answer
}

fn wants_text(schema: &Schema) -> bool {
    *schema.source() == default_schema()
}

/// A result as it is valid, after the repairs that cannot change its meaning: letter case of
/// listed strings, bare text where `{"text"}` was wanted, and texts that hold the JSON of what was wanted.
fn admitted(output: Value, schema: &Schema) -> Result<Value, Vec<Fault>> {
    if output.is_string() && wants_text(schema) {
        return Ok(serde_json::json!({"text": output}));
    }
    let faults = match schema.admit(output.clone()) {
        Ok(value) => return Ok(value),
        Err(faults) => faults,
    };
    // Only where the whole result is valid then: a text that was meant as a text never comes here.
    let unwrapped = unwrap(output, schema, &faults);
    unwrapped
        .and_then(|value| schema.admit(value).ok())
        .ok_or(faults)
}

/// The result with what its faults point at read as JSON, where that is text: some models give numbers, lists or whole
/// results as strings.
fn unwrap(mut output: Value, schema: &Schema, faults: &[Fault]) -> Option<Value> {
    let parsed = |value: &Value| {
        let parsed: Value = serde_json::from_str(value.as_str()?).ok()?;
        (!parsed.is_string()).then_some(parsed)
    };
    if output.is_string() {
        let value = parsed(&output)?;
        return match schema.admit(value.clone()) {
            Ok(value) => Some(value),
            Err(faults) => unwrap(value, schema, &faults).filter(|value| !value.is_string()),
        };
    }
    let mut found = false;
    for fault in faults {
        if let Some(place) = output.pointer_mut(&fault.path)
            && let Some(value) = parsed(place)
        {
            *place = value;
            found = true;
        }
    }
    found.then_some(output)
}

/// A fault of one item's result, found by id: the model knows ids, and positions shift.
fn item_fault(id: &str, fault: &Fault) -> Fault {
    let id: String = id
        .replace('~', "~0")
        .replace('/', "~1")
        .chars()
        .take(100)
        .collect();
    Fault::new(
        format!("/results/{id}/output{}", fault.path),
        &fault.message,
    )
}

/// Some ids, and how many more there are.
fn listed(ids: &[&String]) -> String {
    const MOST: usize = 10;
    let mut text = String::new();
    for (index, id) in ids.iter().take(MOST).enumerate() {
        let id: String = id.chars().take(40).collect();
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}`{}`", visible(&id));
    }
    if ids.len() > MOST {
        let _ = write!(text, " and {} more", ids.len() - MOST);
    }
    text
}
