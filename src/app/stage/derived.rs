//! Stages that a plan implies: the judge of a stage's results, the tree before a synthesis.

use serde_json::{Value, json};

use super::runtime::{JobRuntime, StageRuntime};
use crate::core::plan::spec::{Merge, Output, ResolvedStage, Spec, StageKind};

/// The stage of a judge: the work's own model looks at it once more.
pub fn verify_stage(stage: &ResolvedStage) -> ResolvedStage {
    ResolvedStage {
        output: Output::Item,
        output_schema: Some(json!({
            "type": "object",
            "properties": {"verdict": {"type": "string", "enum": ["right", "wrong"]}, "reason": {"type": "string"}},
            "required": ["verdict", "reason"],
            "additionalProperties": false
        })),
        group_by: None,
        tools: None,
        models: Vec::new(),
        ..stage.clone()
    }
}

/// The stage of a plan's readers; `None` for a plan without a synthesis.
pub fn reduce_stage(spec: &Spec, max_tokens: u32) -> Option<ResolvedStage> {
    let of = |kind| spec.stages.iter().rfind(move |stage| stage.kind == kind);
    let map = of(StageKind::Map)?;
    Some(ResolvedStage {
        kind: StageKind::Map,
        output: Output::Chunk,
        output_schema: Some(findings()),
        chunk: map.chunk,
        model: map.model.clone(),
        models: Vec::new(),
        max_tokens,
        effort: None,
        merge: Merge::default(),
        ..of(StageKind::Synthesis)?.clone()
    })
}

pub fn findings() -> Value {
    json!({
        "type": "object",
        "properties": {"findings": {"type": "array", "items": {
            "type": "object",
            "properties": {"finding": {"type": "string"}, "ids": {"type": "array", "items": {"type": "string"}}},
            "required": ["finding", "ids"],
            "additionalProperties": false
        }}},
        "required": ["findings"],
        "additionalProperties": false
    })
}

/// In the order in which they are worked on, wherever re-planning has put them.
pub fn maps_then_synthesis(runtime: &JobRuntime) -> impl Iterator<Item = &StageRuntime> {
    let of = |kind| move |stage: &&StageRuntime| stage.stage.kind == kind;
    let maps = runtime.stages.iter().filter(of(StageKind::Map));
    maps.chain(runtime.stages.iter().filter(of(StageKind::Synthesis)))
}
