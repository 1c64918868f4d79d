//! The plain plan: sound for any task and any input, it stands in where no plan of the orchestrator's does. What it tells
//! its workers are files under `prompts/`.

use super::condition::Condition;
use super::planner;
use super::planner::{Bounds, Field, FieldKind, Planned, Tier};
use super::spec::{InputKind, Output, Stage, StageKind};
use crate::core::estimate::prompt_tokens_at_most;

const READ: &str = include_str!("../../../prompts/default-read.md");
const REPORT: &str = include_str!("../../../prompts/default-report.md");

/// A plan that is sound for any task: each item is read for what it says about the task, and a report brings that
/// together. It stands in where no plan of the orchestrator's does.
pub fn stages(bounds: &Bounds<'_>) -> Vec<Stage> {
    let field = |name: &str, kind, values: &[&str], description: &str| Field {
        name: name.to_owned(),
        kind,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        description: description.to_owned(),
    };
    let fields = vec![
        field(
            "relevance",
            FieldKind::String,
            &["high", "some", "none"],
            "How much the item says about the task.",
        ),
        field(
            "topic",
            FieldKind::String,
            &[],
            "What it is about, in one to four words, so that like items share it.",
        ),
        field(
            "findings",
            FieldKind::Strings,
            &[],
            "What it contributes to the task, each in one sentence that stands alone; none if it contributes nothing.",
        ),
        field(
            "note",
            FieldKind::String,
            &[],
            "What a reader should know before relying on it; null where there is nothing.",
        ),
    ];
    let average =
        prompt_tokens_at_most(bounds.profile.bytes / u64::from(bounds.profile.items.max(1)));
    let mut planned = Planned {
        name: "read".to_owned(),
        kind: StageKind::Map,
        instructions: READ.trim_end().to_owned(),
        output: Output::Item,
        fields,
        chunk_items: match bounds.input {
            InputKind::Items => (8_000 / average.max(1)).clamp(1, 10),
            InputKind::Documents | InputKind::Urls => 1,
        },
        chunk_tokens: 0,
        tier: Tier::Worker,
        count_by: vec!["relevance".to_owned(), "topic".to_owned()],
        of: Condition::default(),
        filter: Condition::default(),
        with_input: false,
    };
    let mut stages = Vec::new();
    // Fewer items until nothing is wrong: one always fits.
    loop {
        let mut faults = Vec::new();
        let read = planner::stage(&planned, bounds, &mut faults);
        if faults.is_empty() || planned.chunk_items <= 1 {
            stages.push(read);
            break;
        }
        planned.chunk_items /= 2;
    }
    stages.push(Stage {
        model: Some(bounds.models.1.to_owned()),
        ..Stage::new("report", StageKind::Synthesis, REPORT.trim_end())
    });
    stages
}
