//! An answer as its stage reads it, and what a repair shows of one.

use serde_json::Value;

use crate::app::results::coverage;
use crate::app::stage::runtime::{Prior, StageRuntime, wire_output};
use crate::claude::outcome;
use crate::claude::outcome::Wanted;
use crate::claude::response::StopReason;
use crate::core::plan::spec::StageKind;
use crate::core::task::retry_policy::RequestMode;

/// Why an answer is not whole that was cut off at its most tokens.
pub const TRUNCATED: &str = "truncated";

/// The same of one that holds no JSON.
pub const UNREADABLE: &str = "invalid_json";

/// An answer, read.
pub struct ReadAnswer {
    pub valid: Vec<(String, Value)>,
    pub missing: Vec<String>,
    pub faults: Vec<String>,
    /// Ids that nobody asked about.
    pub invented: Vec<String>,
    pub truncated: bool,
}

/// Reads an answer by the stage's schema. A chunk's or a synthesis' single result has no id.
pub fn read(stage: &StageRuntime, text: &str, stop: &StopReason, ids: &[String]) -> ReadAnswer {
    let single = [String::new()];
    let Some(schema) = &stage.schema else {
        // A synthesis in plain text.
        let whole = !stop.cuts_off() && !text.trim().is_empty();
        return ReadAnswer {
            valid: if whole {
                vec![(String::new(), Value::String(text.to_owned()))]
            } else {
                Vec::new()
            },
            missing: if whole { Vec::new() } else { single.to_vec() },
            faults: if whole {
                Vec::new()
            } else {
                vec![
                    "the answer is empty or was cut off before its end: answer more briefly"
                        .to_owned(),
                ]
            },
            invented: Vec::new(),
            truncated: stop.cuts_off(),
        };
    };
    let output = wire_output(&stage.stage);
    let wanted = Wanted {
        output,
        schema,
        ids: if stage.stage.kind == StageKind::Map {
            ids
        } else {
            &single
        },
    };
    let answer = outcome::read(text, stop, wanted);
    ReadAnswer {
        valid: match answer.chunk {
            Some(chunk) => vec![(String::new(), chunk)],
            None => answer.valid,
        },
        missing: answer.missing,
        faults: answer.faults.iter().map(ToString::to_string).collect(),
        invented: answer.invented,
        truncated: answer.truncated,
    }
}

/// What a call in that form goes on from; `None` where there is nothing.
pub fn prior_of(
    stage: &StageRuntime,
    form: RequestMode,
    answer: String,
    stop: Option<&str>,
    ids: &[String],
) -> Option<Prior> {
    if form.resume {
        let blocks: Vec<Value> = serde_json::from_str(&answer).ok()?;
        return (!blocks.is_empty()).then_some(Prior::Paused(blocks));
    }
    if form.repair {
        return to_repair(stage, answer, stop, ids);
    }
    None
}

/// An answer with its faults, as a repair shows it; `None` where there are none.
pub fn to_repair(
    stage: &StageRuntime,
    answer: String,
    stop: Option<&str>,
    ids: &[String],
) -> Option<Prior> {
    let stop = stop.map_or(StopReason::EndTurn, StopReason::parse);
    let faults = read(stage, &answer, &stop, ids).faults;
    (!faults.is_empty()).then_some(Prior::Faulty { answer, faults })
}

pub fn fault_code(truncated: bool, faults: &[String]) -> &'static str {
    if truncated {
        TRUNCATED
    } else if faults
        .iter()
        .any(|fault| fault.contains("not one JSON document"))
    {
        UNREADABLE
    } else {
        "invalid_output"
    }
}

/// The results in a stored output of `output: item`.
pub fn results_of(output: &Value) -> Vec<(String, Value)> {
    let ids = coverage::covered_ids(output);
    ids.into_iter()
        .zip(output.as_array().into_iter().flatten())
        .filter_map(|(id, result)| Some((id, result.get("output")?.clone())))
        .collect()
}
