//! Requests: what a worker, a repair or a synthesis is asked, from the stage and the task alone.
//!
//! Nothing that belongs to one job alone (ids, times) enters a prompt, so identical work makes
//! identical requests; and a worker's request depends on nothing but its own chunk and stage. The prompts are files under
//! `prompts/`, compiled in.

use minijinja::{Environment, context};
use serde_json::Value;

use crate::claude::models::Model;
use crate::claude::request::{MessagesRequest, RequestBuilder, Role};
use crate::core::plan::{Output, ResolvedStage};

const WORKER: &str = include_str!("../../prompts/worker.md");
const REPAIR: &str = include_str!("../../prompts/repair.md");
const SYNTHESIS: &str = include_str!("../../prompts/synthesis.md");

/// The tags that fence data off. On lines of their own they stand only where the engine put them.
const TAGS: [&str; 6] = [
    "<items>",
    "</items>",
    "<results>",
    "</results>",
    "<coverage>",
    "</coverage>",
];

/// The system prompt of a map stage's workers.
pub fn worker_frame(stage: &ResolvedStage) -> String {
    render(
        WORKER,
        context! {
            instructions => unfenced(&stage.instructions),
            per_item => stage.output == Output::Item,
        },
    )
}

/// The system prompt of a synthesis.
pub fn synthesis_frame(task: &str, stage: &ResolvedStage) -> String {
    render(
        SYNTHESIS,
        context! { task => unfenced(task), instructions => unfenced(&stage.instructions) },
    )
}

/// A worker's request for some items. `format` is the schema made fit for the API.
pub fn worker(
    stage: &ResolvedStage,
    frame: &str,
    model: &Model,
    format: Option<Value>,
    max_tokens: u32,
    items: &[Value],
) -> MessagesRequest {
    RequestBuilder::new(Role::Worker, model, max_tokens)
        .system(frame)
        .effort(stage.effort)
        .format(format)
        .user(items_message(items))
        .build()
}

/// A synthesis request over prepared input.
pub fn synthesis(
    stage: &ResolvedStage,
    frame: &str,
    model: &Model,
    format: Option<Value>,
    max_tokens: u32,
    results: &str,
    coverage: &str,
) -> MessagesRequest {
    RequestBuilder::new(Role::Synthesis, model, max_tokens)
        .system(frame)
        .effort(stage.effort)
        .format(format)
        .user(synthesis_message(results, coverage))
        .build()
}

/// What is wrong with an answer, as the model is told.
pub fn repair_message(faults: &[String]) -> String {
    let list = faults
        .iter()
        .map(|fault| format!("- {fault}"))
        .collect::<Vec<_>>()
        .join("\n");
    render(REPAIR, context! { faults => unfenced(&list) })
}

/// The same text with every line that is one of our tags made harmless.
pub fn unfenced(text: &str) -> String {
    if !TAGS.iter().any(|tag| text.contains(tag)) {
        return text.to_owned();
    }
    text.split('\n')
        .map(|line| {
            if TAGS.contains(&line.trim()) {
                line.replace('<', "(").replace('>', ")")
            } else {
                line.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// JSON has no line breaks inside its strings, so no text can close the fence.
fn items_message(items: &[Value]) -> String {
    let json = serde_json::to_string(items).unwrap_or_else(|_| "[]".to_owned());
    format!("<items>\n{json}\n</items>")
}

fn synthesis_message(results: &str, coverage: &str) -> String {
    format!("<results>\n{results}\n</results>\n<coverage>\n{coverage}\n</coverage>")
}

fn render(template: &str, values: minijinja::Value) -> String {
    // Templates are compiled in and covered by golden tests: one that does not render never ships.
    Environment::new()
        .render_str(template, values)
        .map(|text| text.trim_end().to_owned())
        .unwrap_or_default()
}
