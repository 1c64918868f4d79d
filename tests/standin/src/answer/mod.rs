//! The answerer: what the stand-in says to an accepted request. Pure, and the
//! same for the same request, whoever asks and whenever.
//!
//! `read` finds what was asked, `fill` answers a schema from a text by `choice`
//! (enums), `index` and `words`, `plan` plays the orchestrator and `report` the
//! synthesis.

pub mod choice;
pub mod fill;
pub mod index;
pub mod plan;
pub mod read;
pub mod report;
pub mod topics;
pub mod words;

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::{
    schema::{self, Node, Prop},
    validate::Checked,
};
use fill::{Manner, Subject, fill as filled};
use read::Reading;

/// What an answer holds, before it is cut into blocks and tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    Text(String),
    Json(Value),
    Tool { name: String, input: Value },
}

/// Answers as a model that never saw `output_config.format`: it follows a schema in the prompt, and else writes prose.
pub fn unformatted(request: &Checked<'_>, role: &str, drift: bool) -> Content {
    let bare = Checked {
        format: None,
        ..request.clone()
    };
    if Reading::of(request.body, true).written_schema.is_some() {
        // Schemas are looked for in what workers are asked.
        let role = if role.is_empty() { "worker" } else { role };
        return answer(&bare, role, drift);
    }
    let mut content = answer(&bare, role, drift);
    crate::faults::spoil(crate::faults::Fault::Prose, &mut content, 0);
    content
}

/// Whether the request says that results were flagged.
pub fn tells_of_flags(request: &Checked<'_>) -> bool {
    let coverage = Reading::of(request.body, false).coverage;
    coverage.is_some_and(|coverage| coverage.get("flagged").is_some())
}

/// Answers a request. `role` is the `x-fanwise-role` header, or empty; `drift`
/// lets the letter case of enum values slip.
pub fn answer(request: &Checked<'_>, role: &str, drift: bool) -> Content {
    let model = request.body.get("model").and_then(Value::as_str);
    let sure = model.is_some_and(|model| !model.contains("haiku"));
    let drift = Manner { drift, sure };
    let schema = request.format.as_deref();
    let wants_json = matches!(role, "worker" | "repair" | "verify" | "orchestrator");
    let reading = Reading::of(request.body, schema.is_none() && wants_json);
    if let Some((name, schema)) = &request.forced_tool {
        let input = by_schema(&schema.node, &reading, role, drift);
        let name = (*name).to_owned();
        return Content::Tool { name, input };
    }
    if let Some(schema) = schema {
        return Content::Json(by_schema(&schema.node, &reading, role, drift));
    }
    if let Some(written) = &reading.written_schema {
        if let (true, Some(items)) = (reading.written_by_item, &reading.items) {
            return Content::Json(by_item(&schema::compile(written), items, &reading, drift));
        }
        return Content::Json(by_schema(&schema::compile(written), &reading, role, drift));
    }
    if role == "orchestrator" {
        return Content::Json(plan::plan(&reading.asked, reading.results.is_some()));
    }
    if let Some(results) = &reading.results {
        let mut text = report::report(results, reading.coverage.as_ref());
        if cites(request.body) {
            text.push_str(&report::citations(results));
        }
        return Content::Text(text);
    }
    if let Some(items) = &reading.items {
        let ids = reading.ids();
        let results: Vec<Value> = items
            .iter()
            .enumerate()
            .map(|(at, item)| json!({ "id": ids.get(at), "output": { "text": words::excerpt(&read::subject(item, at, &ids).text, 160) } }))
            .collect();
        return Content::Json(json!({ "results": results }));
    }
    let asked = words::excerpt(&reading.asked, 120);
    Content::Text(format!(
        "This is the stand-in for Claude, not a model. You wrote: \"{asked}\""
    ))
}

/// The `id` and `output` of the form `{"results":[{"id","output"}]}`.
fn results_form(node: &Node) -> Option<&[Prop]> {
    let Node::Object(props) = node else {
        return None;
    };
    let [only] = props.as_slice() else {
        return None;
    };
    let (Node::Array(item, _), "results") = (&only.node, only.name.as_str()) else {
        return None;
    };
    let Node::Object(parts) = item.as_ref() else {
        return None;
    };
    let has = |name: &str| parts.iter().any(|p| p.name == name);
    (has("id") && has("output")).then_some(parts)
}

/// A result for each item, where the schema of one was given in words.
fn by_item(node: &Node, items: &[Value], reading: &Reading, drift: Manner) -> Value {
    let ids = reading.ids();
    let results = items.iter().enumerate().map(|(at, item)| {
        let subject = read::subject(item, at, &ids);
        json!({ "id": ids.get(at), "output": filled(node, &subject, drift) })
    });
    json!({ "results": results.collect::<Vec<_>>() })
}

/// Whether the instructions ask for ids in double square brackets.
fn cites(body: &Value) -> bool {
    let system = body.get("system").map(Value::to_string);
    system.is_some_and(|text| text.contains("[["))
}

fn is_plan(node: &Node) -> bool {
    let Node::Object(props) = node else {
        return false;
    };
    let has = |name: &str| props.iter().any(|p| p.name == name);
    has("rationale") && has("stages")
}

fn by_schema(node: &Node, reading: &Reading, role: &str, drift: Manner) -> Value {
    if role == "orchestrator" || is_plan(node) {
        let plan = plan::plan(&reading.asked, reading.results.is_some());
        if schema::fits(node, &plan) {
            return plan;
        }
    }
    let ids = reading.ids();
    if let (Some(parts), Some(items)) = (results_form(node), &reading.items) {
        let results = items.iter().enumerate().map(|(at, item)| {
            let subject = read::subject(item, at, &ids);
            let entry: Map<String, Value> = parts
                .iter()
                .map(|part| {
                    let value = if part.name == "id" {
                        ids.get(at).cloned().unwrap_or_default().into()
                    } else {
                        filled(&part.node, &subject, drift)
                    };
                    (part.name.clone(), value)
                })
                .collect();
            Value::Object(entry)
        });
        return json!({ "results": results.collect::<Vec<_>>() });
    }
    if let Some(items) = &reading.items {
        return filled(node, &read::chunk(items, &ids), drift);
    }
    if let Some(results) = &reading.results {
        let text = report::report(results, reading.coverage.as_ref());
        let plain = text
            .trim_start_matches(report::MARK)
            .replace(['#', '*', '|'], " ");
        let ids = report::ids(results);
        return filled(node, &Subject::new("", plain.trim(), &ids), drift);
    }
    filled(
        node,
        &Subject::new("", Cow::Borrowed(reading.asked.trim()), &[]),
        drift,
    )
}
