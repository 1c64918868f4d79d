//! The orchestrator's answer: the form it is asked for, what makes a plan sound, and the stages that follow from it.
//!
//! A plan is judged as a whole before anything of it is done, and every fault is put into a sentence that the model can
//! act on. What models can do and cost is passed in as figures; nothing here knows the network, a prompt or a job.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::condition::Condition;
use super::spec::{Chunk, InputKind, Merge, Output, Stage, StageKind};
use crate::core::estimate::lengths::{Prose, value_chars};
use crate::core::estimate::profile::Profile;
use crate::core::estimate::{prompt_tokens_at_most, tokens_at_most};

/// Fields of a result, stages of a plan, and values of a field that may be listed.
const MOST_FIELDS: usize = 24;
const MOST_STAGES: usize = 4;
const MOST_VALUES: usize = 60;
/// Items of one chunk.
const MOST_ITEMS: u64 = 200;
/// Tokens of a slice of a document or page: usual, and within bounds; and how many short documents go together.
const SLICE_TOKENS: u64 = 6_000;
const LEAST_SLICE: u64 = 500;
const MOST_SLICE: u64 = 60_000;
const PACKED: u64 = 20;
/// The most that an answer of planned workers may have: what a chunk of results must fit.
const ANSWER_TOKENS: u64 = 16_384;
/// Unions that the API takes in one schema: so many fields may be null.
const NULLABLE: usize = 16;
/// Names that mean something else.
const RESERVED: [&str; 1] = [PLAN];
/// The stage in which plans are made.
pub const PLAN: &str = "plan";
/// Fields of a stage that an answer may leave out, and that are asked for all the same: models that fill the form as it is
/// sent say in each that they mean none.
const ASKED: [&str; 1] = ["where"];
/// Fields of a stage that are not even asked for in every answer.
const LATER: [&str; 2] = ["of", "with_input"];
/// Around one result in an answer: `{"id":"…","output":…},`.
const AROUND_RESULT: u64 = 70;
/// Tokens of a prompt besides its items, from above.
const FRAME_TOKENS: u64 = 6_000;

/// What the models of a plan can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Tokens of input that one worker's call may have: its context, or where longer prompts become dearer.
    pub input_tokens: u64,
    /// Tokens that a worker's answer may have.
    pub output_tokens: u64,
    /// Of a stage that names no other limit.
    pub usual_output: u32,
}

/// What a plan must fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds<'a> {
    /// What the first map stage reads; results, where stages are there already, are items.
    pub input: InputKind,
    pub profile: &'a Profile,
    /// Of the models for the tiers `worker` and `synthesis`.
    pub worker: Reach,
    pub strong: Reach,
    pub models: (&'a str, &'a str),
    /// Stages that are there already: their names are taken.
    pub known: &'a [String],
    /// A synthesis is there already.
    pub has_synthesis: bool,
}

/// The answer as it is asked for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Answer {
    pub rationale: String,
    pub stages: Vec<Planned>,
}

/// One planned stage.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Planned {
    pub name: String,
    pub kind: StageKind,
    pub instructions: String,
    pub output: Output,
    pub fields: Vec<Field>,
    pub chunk_items: u64,
    pub chunk_tokens: u64,
    pub tier: Tier,
    pub count_by: Vec<String>,
    /// Which results before it are its items; nothing in it: all.
    #[serde(default)]
    pub of: Condition,
    /// Which of them it reads, where it has results of its own; nothing in it: all.
    #[serde(default, rename = "where")]
    pub filter: Condition,
    #[serde(default)]
    pub with_input: bool,
}

/// One field of a result.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Field {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: FieldKind,
    pub values: Vec<String>,
    pub description: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    String,
    Number,
    Integer,
    Boolean,
    Strings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    Worker,
    Synthesis,
}

/// The schema that an answer must fit.
pub fn answer_schema() -> Value {
    form(&[LATER.as_slice(), ASKED.as_slice()].concat())
}

/// The schema that is sent: 0, "", false and [] mean none in every field, and all are required but what only a later stage may say.
pub fn asked_schema() -> Value {
    form(&LATER)
}

/// The form of an answer, in which these fields of a stage may be left out.
fn form(left_out: &[&str]) -> Value {
    let text = json!({"type": "string"});
    let closed = |properties: Value| {
        let required: Vec<&String> = properties
            .as_object()
            .map(|map| {
                map.keys()
                    .filter(|name| !left_out.contains(&name.as_str()))
                    .collect()
            })
            .unwrap_or_default();
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    };
    let field = closed(json!({
        "name": text,
        "type": {"enum": ["string", "number", "integer", "boolean", "strings"]},
        "values": {"type": "array", "items": text},
        "description": text,
    }));
    let of = closed(json!({
        "field": text,
        "values": {"type": "array", "items": text},
        "flagged": {"type": "boolean"},
    }));
    let texts = json!({"type": "array", "items": text});
    let filter = closed(json!({
        "field": text,
        "in": texts,
        "not_in": texts,
        "min": {"type": "number"},
        "max": {"type": "number"},
        "exists": {"type": "boolean"},
        "flagged": {"type": "boolean"},
    }));
    let stage = closed(json!({
        "name": text,
        "kind": {"enum": ["map", "synthesis"]},
        "instructions": text,
        "output": {"enum": ["item", "chunk"]},
        "fields": {"type": "array", "items": field},
        "chunk_items": {"type": "integer"},
        "chunk_tokens": {"type": "integer"},
        "tier": {"enum": ["worker", "synthesis"]},
        "count_by": {"type": "array", "items": text},
        "of": of,
        "where": filter,
        "with_input": {"type": "boolean"},
    }));
    closed(json!({"rationale": text, "stages": {"type": "array", "items": stage}}))
}

/// The stages of a plan, or everything that is wrong with it. Without stages an answer is sound only where there are
/// some already: then it means "go on".
pub fn stages(answer: &Answer, bounds: &Bounds<'_>) -> Result<Vec<Stage>, Vec<String>> {
    let mut faults = Vec::new();
    order(&answer.stages, bounds, &mut faults);
    let mut stages = Vec::with_capacity(answer.stages.len());
    for (position, planned) in answer.stages.iter().enumerate() {
        let mut found = Vec::new();
        name(planned, position, answer, bounds, &mut found);
        stages.push(stage(planned, bounds, &mut found));
        let named = format!("stages[{position}] ({:?})", planned.name);
        faults.extend(found.into_iter().map(|fault| format!("{named}: {fault}")));
    }
    if faults.is_empty() {
        Ok(stages)
    } else {
        Err(faults)
    }
}

/// At least one map, at most one synthesis, and that last.
fn order(planned: &[Planned], bounds: &Bounds<'_>, faults: &mut Vec<String>) {
    let first = bounds.known.is_empty();
    let count = |kind| planned.iter().filter(|stage| stage.kind == kind).count();
    if first && count(StageKind::Map) == 0 {
        faults.push("a plan needs a stage of kind \"map\"".to_owned());
    }
    if planned.len() > MOST_STAGES {
        let have = planned.len();
        faults.push(format!(
            "has {have} stages; at most {MOST_STAGES} are allowed"
        ));
    }
    let syntheses = count(StageKind::Synthesis);
    if bounds.has_synthesis && syntheses > 0 {
        faults.push(
            "the report's stage is there already; only stages of kind \"map\" can be added"
                .to_owned(),
        );
    } else if syntheses > 1 {
        faults.push("there can be only one stage of kind \"synthesis\"".to_owned());
    } else if syntheses == 1
        && planned
            .last()
            .is_some_and(|stage| stage.kind != StageKind::Synthesis)
    {
        faults.push("the stage of kind \"synthesis\" must be the last".to_owned());
    }
}

fn name(
    planned: &Planned,
    position: usize,
    answer: &Answer,
    bounds: &Bounds<'_>,
    faults: &mut Vec<String>,
) {
    let name = planned.name.as_str();
    let plain = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !plain {
        faults.push(
            "a name is made of 1 to 64 letters, digits, _ and -, beginning with a letter or digit"
                .to_owned(),
        );
    }
    let taken = RESERVED.contains(&name)
        || bounds.known.iter().any(|known| known == name)
        || answer.stages.iter().take(position).any(|s| s.name == name);
    if taken {
        faults.push("the name is taken: choose another".to_owned());
    }
    if planned.kind == StageKind::Synthesis && planned.instructions.trim().is_empty() {
        faults.push("has no instructions".to_owned());
    }
}

/// One stage as a caller would write it; what is wrong goes to `faults`.
pub(super) fn stage(planned: &Planned, bounds: &Bounds<'_>, faults: &mut Vec<String>) -> Stage {
    let schema = schema(&planned.fields, faults);
    let (reach, model) = match planned.tier {
        Tier::Worker => (bounds.worker, bounds.models.0),
        Tier::Synthesis => (bounds.strong, bounds.models.1),
    };
    let instructions = planned.instructions.trim();
    let mut stage = Stage {
        output_schema: schema,
        of: planned.of.planned(),
        filter: planned.filter.planned(),
        with_input: planned.with_input.then_some(true),
        model: Some(model.to_owned()),
        ..Stage::new(&planned.name, planned.kind, instructions)
    };
    if planned.kind == StageKind::Synthesis {
        // The report is the strong model's work, whatever tier is named.
        stage.model = Some(bounds.models.1.to_owned());
        if planned.chunk_items > 0 || planned.chunk_tokens > 0 {
            faults.push(
                "a synthesis reads all results at once: chunk_items and chunk_tokens must be 0"
                    .to_owned(),
            );
        }
        return stage;
    }
    if planned.fields.is_empty() {
        faults.push("a map stage needs fields: without them its results cannot be compared".into());
    }
    for field in &planned.count_by {
        if !planned.fields.iter().any(|known| known.name == *field) {
            faults.push(format!(
                "count_by names {field:?}, which is none of its fields"
            ));
        }
    }
    let (items, chunk) = match bounds.input {
        InputKind::Items if planned.chunk_tokens == 0 => {
            let items = chunk_items(planned, faults);
            let most = u32::try_from(items).unwrap_or(u32::MAX);
            (items, Chunk::of_items(most))
        }
        _ => slices(planned, bounds, faults),
    };
    let result = stage.output_schema.as_ref().map_or(0, |schema| {
        // Results of a chunk are not all as long as they can be: the middle, in dense tokens.
        let (least, most) = value_chars(schema, Prose::Brief);
        tokens_at_most(u64::midpoint(least, most) + AROUND_RESULT)
    });
    let needed = match planned.output {
        Output::Item => result.saturating_mul(items),
        Output::Chunk => result,
    };
    let most = reach.output_tokens.min(ANSWER_TOKENS);
    if needed > most {
        let fit = most / result.max(1);
        faults.push(match planned.output {
            Output::Item if fit > 0 => format!(
                "{items} results of about {result} tokens each do not fit the {most} tokens of an answer: at most {fit} items a chunk"
            ),
            _ => format!("a result of about {result} tokens does not fit the {most} tokens of an answer: fewer fields"),
        });
    }
    // What is cut by tokens is cut to fit.
    if chunk.tokens.is_none() {
        fits_input(items, bounds.profile, reach, faults);
    }
    stage.output = Some(planned.output);
    stage.chunk = Some(chunk);
    stage.max_tokens = Some(answer_room(needed, reach));
    stage.merge = (!planned.count_by.is_empty()).then(|| Merge {
        count_by: planned.count_by.clone(),
        dedupe_by: Vec::new(),
    });
    stage
}

/// Items of a chunk, where they are named.
fn chunk_items(planned: &Planned, faults: &mut Vec<String>) -> u64 {
    match planned.chunk_items {
        0 => {
            faults.push("a map stage needs chunk_items or chunk_tokens".to_owned());
            1
        }
        items => {
            if items > MOST_ITEMS {
                faults.push(format!("chunk_items is {items}; at most {MOST_ITEMS}"));
            }
            items
        }
    }
}

/// What is cut by tokens, as they are named or as is usual: long items, documents, pages. And how many a chunk may hold.
fn slices(planned: &Planned, bounds: &Bounds<'_>, faults: &mut Vec<String>) -> (u64, Chunk) {
    let tokens = match (planned.chunk_items, planned.chunk_tokens) {
        (0, 0) => {
            faults.push("a map stage needs chunk_items or chunk_tokens".to_owned());
            SLICE_TOKENS
        }
        (_, 0) => SLICE_TOKENS,
        (0, tokens) => tokens.clamp(LEAST_SLICE, MOST_SLICE),
        _ => {
            faults.push("chunk_items and chunk_tokens cannot both be given: one is 0".to_owned());
            SLICE_TOKENS
        }
    };
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let named = (planned.chunk_items > 0).then_some(planned.chunk_items.min(MOST_ITEMS));
    let profile = bounds.profile;
    let average = prompt_tokens_at_most(profile.bytes / u64::from(profile.items.max(1)));
    let items = match bounds.input {
        InputKind::Urls => 1,
        _ => named.unwrap_or((tokens / average.max(1)).clamp(1, PACKED)),
    };
    let chunk = Chunk {
        items: Some(small(items)),
        tokens: Some(small(tokens)),
        overlap: Some(small(tokens / 25)),
    };
    (items, chunk)
}

/// A chunk must fit a worker's context, and should not make the call dearer than it need be.
fn fits_input(items: u64, profile: &Profile, reach: Reach, faults: &mut Vec<String>) {
    let room = reach.input_tokens.saturating_sub(FRAME_TOKENS);
    let average = prompt_tokens_at_most(profile.bytes / u64::from(profile.items.max(1)));
    let largest = prompt_tokens_at_most(profile.largest);
    let chunk = average
        .saturating_mul(items.saturating_sub(1))
        .saturating_add(largest);
    if items > 1 && chunk > room {
        let fit = 1 + room.saturating_sub(largest) / average.max(1);
        faults.push(format!(
            "{items} items have up to {chunk} tokens, more than the {room} that one call should read: at most {fit} items a chunk"
        ));
    }
}

/// Room for an answer: as usual, or more where its results need it.
fn answer_room(needed: u64, reach: Reach) -> u32 {
    let wanted = needed.saturating_add(256).next_multiple_of(256);
    let most = reach.output_tokens.min(ANSWER_TOKENS);
    u32::try_from(wanted.min(most))
        .unwrap_or(u32::MAX)
        .max(reach.usual_output)
}

/// The schema of a result with these fields; `None` where there are none.
///
/// Each may be null, so that no worker has to guess, within the unions that the API takes: numbers and truth values
/// first, for which nothing else says "none". Beyond, a text may be empty; a list may always be.
fn schema(fields: &[Field], faults: &mut Vec<String>) -> Option<Value> {
    if fields.is_empty() {
        return None;
    }
    if fields.len() > MOST_FIELDS {
        let have = fields.len();
        faults.push(format!(
            "has {have} fields; at most {MOST_FIELDS} are allowed"
        ));
    }
    let plain = |field: &Field| {
        matches!(
            field.kind,
            FieldKind::Number | FieldKind::Integer | FieldKind::Boolean
        )
    };
    let mut left = NULLABLE;
    let mut nullable = vec![false; fields.len()];
    for wanted in [true, false] {
        for (field, nullable) in fields.iter().zip(&mut nullable) {
            if left > 0 && field.kind != FieldKind::Strings && plain(field) == wanted {
                *nullable = true;
                left -= 1;
            }
        }
    }
    let mut properties = Map::new();
    for (field, nullable) in fields.iter().zip(nullable) {
        check_field(field, properties.contains_key(&field.name), faults);
        properties.insert(field.name.clone(), property(field, nullable));
    }
    let required: Vec<&String> = properties.keys().collect();
    let required = json!(required);
    Some(json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    }))
}

fn check_field(field: &Field, doubled: bool, faults: &mut Vec<String>) {
    let name = &field.name;
    let plain = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !plain {
        faults.push(format!(
            "field {name:?}: a name is made of 1 to 64 letters, digits and _"
        ));
    }
    if name == "id" {
        faults.push("field \"id\": every result has its id already".to_owned());
    }
    if doubled {
        faults.push(format!("field {name:?} is there twice"));
    }
    let texts = matches!(field.kind, FieldKind::String | FieldKind::Strings);
    if !field.values.is_empty() && !texts {
        faults.push(format!("field {name:?}: only texts can have values"));
    }
    if field.values.len() > MOST_VALUES {
        faults.push(format!("field {name:?}: at most {MOST_VALUES} values"));
    }
    let mut seen = std::collections::BTreeSet::new();
    if field
        .values
        .iter()
        .any(|value| value.trim().is_empty() || !seen.insert(value.to_lowercase()))
    {
        faults.push(format!(
            "field {name:?}: its values must be different and none blank"
        ));
    }
}

/// One property. A list of values beyond what may be null gets the empty text as one more.
fn property(field: &Field, nullable: bool) -> Value {
    let text = || {
        if field.values.is_empty() {
            return json!({"type": "string"});
        }
        let mut values = field.values.clone();
        if !nullable && field.kind == FieldKind::String {
            values.push(String::new());
        }
        json!({"type": "string", "enum": values})
    };
    let form = match field.kind {
        FieldKind::String => text(),
        FieldKind::Number => json!({"type": "number"}),
        FieldKind::Integer => json!({"type": "integer"}),
        FieldKind::Boolean => json!({"type": "boolean"}),
        FieldKind::Strings => json!({"type": "array", "items": text()}),
    };
    let mut property = if nullable {
        json!({"anyOf": [form, {"type": "null"}]})
    } else {
        form
    };
    if let Value::Object(map) = &mut property
        && !field.description.trim().is_empty()
    {
        map.insert("description".into(), field.description.trim().into());
    }
    property
}

#[cfg(test)]
mod tests;
