//! Stages over some of the results before them: which those are, what becomes of them, and what makes such a stage sound.
//!
//! A stage with `where` reads those of the results before it that its condition chooses, and has results of its own.
//!
//! A stage with `of` *amends*. Its results do not stand for themselves: each is laid over the result that its item had before, field by
//! field, and every result that was not chosen, or whose follow-up brought nothing, stays as it was. So whoever reads the
//! results of the last map stage reads all of them, and a follow-up can add to what is known but never lose any of it.

use serde_json::{Map, Value};

use super::condition;
use super::condition::{About, Condition};
use super::spec::{Merge, Output, Stage, StageKind};

/// A result after a follow-up: what it had, with the fields of the new one in the place of those of the same name. What has no
/// fields is replaced.
pub fn over(before: Value, new: Value) -> Value {
    match (before, new) {
        (Value::Object(mut fields), Value::Object(new)) => {
            fields.extend(new);
            Value::Object(fields)
        }
        (_, new) => new,
    }
}

/// Of stages in the order of their work, by whether each is a map stage and amends: the stage whose results the one at `at` works
/// with, and those that amend them up to and with `at`. A stage that does not amend has results of its own.
pub fn lineage(stages: &[(u32, bool)], at: u32) -> (u32, Vec<u32>) {
    let upto = stages.iter().filter(|(index, _)| *index <= at);
    let mut base = at;
    let mut amends = Vec::new();
    for (index, amending) in upto.rev() {
        base = *index;
        if !amending {
            break;
        }
        amends.push(*index);
    }
    amends.reverse();
    (base, amends)
}

/// What is counted of a result that a stage has amended: what was counted before too.
#[must_use]
pub fn merged_with(before: &Merge, own: &Merge) -> Merge {
    let mut count_by = before.count_by.clone();
    for field in &own.count_by {
        if !count_by.contains(field) {
            count_by.push(field.clone());
        }
    }
    let dedupe_by = if own.dedupe_by.is_empty() {
        before.dedupe_by.clone()
    } else {
        own.dedupe_by.clone()
    };
    Merge {
        count_by,
        dedupe_by,
    }
}

/// The schema of a result after a follow-up, as far as it names fields.
pub fn schema_over(before: Option<&Value>, new: Option<&Value>) -> Value {
    let text = || serde_json::json!({"type": "string"});
    let fields = |schema: Option<&Value>| -> Map<String, Value> {
        match schema {
            None => Map::from_iter([("text".to_owned(), text())]),
            Some(schema) => schema
                .get("properties")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
        }
    };
    let open = |schema: Option<&Value>| {
        schema.is_some_and(|schema| schema.get("additionalProperties") != Some(&Value::Bool(false)))
    };
    let mut all = fields(before);
    all.extend(fields(new));
    serde_json::json!({
        "type": "object", "properties": all, "additionalProperties": open(before) || open(new),
    })
}

/// A fault of a stage: which one, the path within it, and a sentence.
pub type Fault = (usize, String, String);

const MAPS_ONLY: &str = "only a `map` stage has this";
const NO_RESULTS: &str =
    "the first map stage reads the input: there are no results yet to choose from";
const OF_NOTHING: &str = "chooses nothing: give `field` and `values`, or `flagged`";
const WHERE_NOTHING: &str = "chooses nothing: give `field` with `in`, `not_in`, `min`, `max` or `exists`; or `flagged`, `any` or `all`";

/// The results that a stage reads: whose they are, what they look like, and whether each is of one item.
struct Before<'a> {
    name: &'a str,
    schema: Option<Value>,
    output: Output,
}

/// What is wrong with the stages over some results among these, which stand in the order of their work.
pub fn faults(stages: &[Stage]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut before: Option<Before<'_>> = None;
    for (at, stage) in stages.iter().enumerate() {
        let mut fault = |path: String, message: String| faults.push((at, path, message));
        if stage.kind != StageKind::Map {
            let given = [
                ("of", stage.of.is_some()),
                ("where", stage.filter.is_some()),
                ("with_input", stage.with_input == Some(true)),
            ];
            for (name, _) in given.into_iter().filter(|(_, given)| *given) {
                fault(name.to_owned(), MAPS_ONLY.to_owned());
            }
            continue;
        }
        match &before {
            None => first(stage, &mut fault),
            Some(before) => later(stage, before, &mut fault),
        }
        before = Some(match before {
            Some(before) if stage.of.is_some() => Before {
                schema: Some(schema_over(
                    before.schema.as_ref(),
                    stage.output_schema.as_ref(),
                )),
                ..before
            },
            _ => Before {
                name: &stage.name,
                schema: stage.output_schema.clone(),
                output: stage.output.unwrap_or_default(),
            },
        });
    }
    faults
}

/// A stage that reads the input has nothing to choose from.
fn first(stage: &Stage, fault: &mut dyn FnMut(String, String)) {
    if stage.of.is_some() {
        fault("of".into(), NO_RESULTS.into());
    }
    if stage.filter.is_some() {
        fault("where".into(), NO_RESULTS.into());
    }
    if stage.with_input == Some(true) {
        let message = "the first map stage reads the input anyway";
        fault("with_input".into(), message.into());
    }
}

fn later(stage: &Stage, before: &Before<'_>, fault: &mut dyn FnMut(String, String)) {
    let name = before.name;
    if stage.with_input == Some(true) && before.output == Output::Chunk {
        let message = format!(
            "a result of `{name}` is made of many items: there is no single one to show beside it"
        );
        fault("with_input".into(), message);
    }
    let about = About {
        stage: name,
        schema: before.schema.as_ref(),
    };
    if let Some(of) = &stage.of {
        amending(stage, fault);
        condition::faults(&of.of_stage(), "of", &about, OF_NOTHING, fault);
    }
    if let Some(filter) = &stage.filter {
        condition::faults(filter, "where", &about, WHERE_NOTHING, fault);
    }
}

/// What goes with `of`.
fn amending(stage: &Stage, fault: &mut dyn FnMut(String, String)) {
    if stage.output == Some(Output::Chunk) {
        let message =
            "a stage over some results amends each of them, so it gives one for each: `item`";
        fault("output".into(), message.into());
    }
    if stage.group_by.is_some() {
        let message = "is not taken with `of`: each chosen result is amended by itself";
        fault("group_by".into(), message.into());
    }
    if stage.filter.is_some() {
        let message = "is not taken with `of`, which takes the same conditions";
        fault("where".into(), message.into());
    }
}

impl Stage {
    /// Which of the results before it the stage reads; `None`: all.
    pub fn choice(&self) -> Option<&Condition> {
        self.of.as_ref().or(self.filter.as_ref())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_follow_up_adds_to_a_result_and_takes_nothing_away() {
        let after = over(json!({"a": 1, "b": 2}), json!({"b": 3, "c": 4}));
        assert_eq!(after, json!({"a": 1, "b": 3, "c": 4}));
        assert_eq!(over(json!([1]), json!({"a": 1})), json!({"a": 1}));
        assert_eq!(over(json!({"a": 1}), json!("x")), json!("x"));
    }

    #[test]
    fn a_stage_goes_back_to_the_results_that_it_amends() {
        let stages = [(0, false), (2, true), (3, true), (4, false), (5, true)];
        assert_eq!(lineage(&stages, 0), (0, vec![]));
        assert_eq!(lineage(&stages, 2), (0, vec![2]));
        assert_eq!(lineage(&stages, 3), (0, vec![2, 3]));
        assert_eq!(lineage(&stages, 4), (4, vec![]));
        assert_eq!(lineage(&stages, 5), (4, vec![5]));
    }

    #[test]
    fn every_fault_of_a_follow_up_is_named() {
        let stage = |more: Value| {
            let mut stage = json!({"name": "s", "kind": "map", "instructions": "x"});
            stage
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            serde_json::from_value::<Stage>(stage).unwrap()
        };
        let first = json!({"output_schema": {"type": "object", "additionalProperties": false, "properties": {
            "cause": {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}, "free": {"type": "string"}}}});
        let some = |of: Value| json!({"of": of});
        let told = |stages: &[Value]| -> Vec<(usize, String)> {
            let stages: Vec<Stage> = stages.iter().cloned().map(stage).collect();
            faults(&stages)
                .into_iter()
                .map(|(at, path, _)| (at, path))
                .collect()
        };
        let good = [
            some(json!({"field": "cause", "values": ["A", "null"]})),
            some(json!({"field": "free", "values": ["whatever"]})),
            some(json!({"flagged": true})),
            json!({"with_input": true}),
            json!({"where": {"field": "cause", "not_in": ["a"]}, "group_by": "cause"}),
        ];
        for stage in good {
            assert_eq!(told(&[first.clone(), stage.clone()]), [], "{stage}");
        }
        let bad = [
            (
                some(json!({"field": "cause", "values": ["c"]})),
                "of.values",
            ),
            (some(json!({"field": "cause"})), "of.values"),
            (some(json!({"field": "none", "values": ["a"]})), "of.field"),
            (some(json!({"values": ["a"]})), "of.field"),
            (some(json!({})), "of"),
            (
                json!({"of": {"flagged": true}, "group_by": "cause"}),
                "group_by",
            ),
            (
                json!({"of": {"flagged": true}, "output": "chunk"}),
                "output",
            ),
            (json!({"kind": "synthesis", "of": {"flagged": true}}), "of"),
            (
                json!({"kind": "synthesis", "where": {"flagged": true}}),
                "where",
            ),
            (json!({"where": {"field": "none", "min": 1}}), "where.field"),
            (
                json!({"of": {"flagged": true}, "where": {"flagged": false}}),
                "where",
            ),
            (
                json!({"kind": "synthesis", "with_input": true}),
                "with_input",
            ),
        ];
        for (stage, path) in bad {
            assert_eq!(
                told(&[first.clone(), stage.clone()]),
                [(1, path.to_owned())],
                "{stage}"
            );
        }
        assert_eq!(
            told(&[some(json!({"flagged": true}))]),
            [(0, "of".to_owned())]
        );
        assert_eq!(
            told(&[json!({"where": {"flagged": true}})]),
            [(0, "where".to_owned())]
        );
        assert_eq!(
            told(&[json!({"with_input": true})]),
            [(0, "with_input".to_owned())]
        );
        let chunk = json!({"output": "chunk"});
        assert_eq!(
            told(&[chunk, json!({"with_input": true})]),
            [(1, "with_input".to_owned())]
        );
        // What one follow-up adds, the next may choose by.
        let more = json!({"of": {"flagged": true}, "output_schema": {"type": "object", "additionalProperties": false,
            "properties": {"deep": {"enum": ["x"]}}}});
        let next = some(json!({"field": "deep", "values": ["x"]}));
        assert_eq!(told(&[first.clone(), more, next.clone()]), []);
        assert_eq!(told(&[first, next]), [(1, "of.field".to_owned())]);
    }
}
