//! Stages over some of the results before them: which those are, what becomes of them, and what makes such a stage sound.
//!
//! Such a stage *amends*. Its results do not stand for themselves: each is laid over the result that its item had before, field by
//! field, and every result that was not chosen, or whose follow-up brought nothing, stays as it was. So whoever reads the
//! results of the last map stage reads all of them, and a follow-up can add to what is known but never lose any of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::merge::name;
use super::plan::{Merge, Output, Stage, StageKind};

/// Which results of the stages before are a stage's items. With a field and `flagged`, both must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Of {
    /// A field of those results. One that is a list is chosen by any of its elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200, pattern = r"\S")]
    pub field: Option<String>,
    /// The values that choose a result, whatever their letter case; `null` for what has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub values: Vec<String>,
    /// Only results that a check flagged.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub flagged: bool,
}

impl Of {
    /// Whether a result is chosen.
    pub fn chooses(&self, output: &Value, flagged: bool) -> bool {
        let Some(field) = &self.field else {
            return flagged && self.flagged;
        };
        if self.flagged && !flagged {
            return false;
        }
        match output.get(field) {
            Some(Value::Array(list)) => list.iter().any(|value| self.has(value)),
            other => self.has(other.unwrap_or(&Value::Null)),
        }
    }

    fn has(&self, value: &Value) -> bool {
        let found = name(value).to_lowercase();
        self.values
            .iter()
            .any(|wanted| wanted.trim().to_lowercase() == found)
    }
}

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
pub type Fault = (usize, &'static str, String);

/// What is wrong with the follow-ups among these stages, which stand in the order of their work.
pub fn faults(stages: &[Stage]) -> Vec<Fault> {
    let mut faults = Vec::new();
    // Of the results that the next stage reads: whose they are, what they look like, and whether each is of one item.
    let mut before: Option<(&str, Option<Value>, Output)> = None;
    for (at, stage) in stages.iter().enumerate() {
        let mut fault = |path, message: String| faults.push((at, path, message));
        let with_input = stage.with_input == Some(true);
        if stage.kind != StageKind::Map {
            if stage.of.is_some() {
                fault("of", "only a `map` stage has this".to_owned());
            }
            if with_input {
                fault("with_input", "only a `map` stage has this".to_owned());
            }
            continue;
        }
        match &before {
            None if stage.of.is_some() => fault(
                "of",
                "the first map stage reads the input: there are no results yet to choose from"
                    .to_owned(),
            ),
            None if with_input => fault(
                "with_input",
                "the first map stage reads the input anyway".to_owned(),
            ),
            Some((name, _, Output::Chunk)) if with_input => fault(
                "with_input",
                format!(
                    "a result of `{name}` is made of many items: there is no single one to show beside it"
                ),
            ),
            _ => {}
        }
        if let (Some(of), Some((name, schema, _))) = (&stage.of, &before) {
            chosen(stage, of, name, schema.as_ref(), &mut fault);
        }
        before = Some(match (&stage.of, before) {
            (Some(_), Some((name, schema, output))) => {
                let after = schema_over(schema.as_ref(), stage.output_schema.as_ref());
                (name, Some(after), output)
            }
            _ => (
                &stage.name,
                stage.output_schema.clone(),
                stage.output.unwrap_or_default(),
            ),
        });
    }
    faults
}

fn chosen(
    stage: &Stage,
    of: &Of,
    name: &str,
    schema: Option<&Value>,
    fault: &mut impl FnMut(&'static str, String),
) {
    if stage.output == Some(Output::Chunk) {
        fault(
            "output",
            "a stage over some results amends each of them, so it gives one for each: `item`"
                .into(),
        );
    }
    if stage.group_by.is_some() {
        fault(
            "group_by",
            "is not taken with `of`: each chosen result is amended by itself".into(),
        );
    }
    let Some(field) = &of.field else {
        if !of.values.is_empty() {
            fault("of.field", "is required where values are given".into());
        } else if !of.flagged {
            fault(
                "of",
                "chooses nothing: give `field` and `values`, or `flagged`".into(),
            );
        }
        return;
    };
    if of.values.is_empty() {
        fault("of.values", "needs at least one value of the field".into());
    }
    let Some(named) = property(schema, field) else {
        fault(
            "of.field",
            format!("is no field of the results of `{name}`"),
        );
        return;
    };
    let Some(listed) = named.as_ref().and_then(values) else {
        return;
    };
    for value in &of.values {
        let wanted = value.trim().to_lowercase();
        if wanted != super::merge::NULL && !listed.iter().any(|v| v.to_lowercase() == wanted) {
            fault(
                "of.values",
                format!(
                    "{value:?} is none of the values that `{field}` can have: {}",
                    listed.join(", ")
                ),
            );
        }
    }
}

/// The schema of a field; `None` where there can be no such field, an inner `None` where nothing is known of it.
fn property(schema: Option<&Value>, field: &str) -> Option<Option<Value>> {
    let Some(schema) = schema else {
        return (field == "text").then_some(None);
    };
    if let Some(known) = schema.get("properties").and_then(|all| all.get(field)) {
        return Some(Some(known.clone()));
    }
    (schema.get("additionalProperties") != Some(&Value::Bool(false))).then_some(None)
}

/// The values that a field can have, or the elements of its list, where they are listed.
fn values(property: &Value) -> Option<Vec<String>> {
    if let Some(listed) = property.get("enum").and_then(Value::as_array) {
        return Some(listed.iter().map(name).collect());
    }
    let forms = property.get("anyOf").and_then(Value::as_array);
    let mut forms = forms.into_iter().flatten();
    forms
        .find_map(values)
        .or_else(|| property.get("items").and_then(values))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> Of {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn results_are_chosen_by_a_value_by_a_flag_or_by_both() {
        let cause = of(json!({"field": "cause", "values": ["Billing", "null"]}));
        assert!(cause.chooses(&json!({"cause": "billing"}), false));
        assert!(cause.chooses(&json!({"cause": ["login", "BILLING"]}), false));
        assert!(cause.chooses(&json!({"cause": null}), false));
        assert!(
            cause.chooses(&json!({}), false),
            "what is not there is null"
        );
        assert!(!cause.chooses(&json!({"cause": "login"}), true));
        assert!(!cause.chooses(&json!({"cause": []}), true));
        let flagged = of(json!({"flagged": true}));
        assert!(flagged.chooses(&json!(1), true) && !flagged.chooses(&json!(1), false));
        let both = of(json!({"field": "n", "values": ["3"], "flagged": true}));
        assert!(both.chooses(&json!({"n": 3}), true));
        assert!(!both.chooses(&json!({"n": 3}), false) && !both.chooses(&json!({"n": 4}), true));
        assert!(!Of::default().chooses(&json!({}), true));
    }

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
        let told = |stages: &[Value]| -> Vec<(usize, &'static str)> {
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
                json!({"kind": "synthesis", "with_input": true}),
                "with_input",
            ),
        ];
        for (stage, path) in bad {
            assert_eq!(
                told(&[first.clone(), stage.clone()]),
                [(1, path)],
                "{stage}"
            );
        }
        assert_eq!(told(&[some(json!({"flagged": true}))]), [(0, "of")]);
        assert_eq!(told(&[json!({"with_input": true})]), [(0, "with_input")]);
        let chunk = json!({"output": "chunk"});
        assert_eq!(
            told(&[chunk, json!({"with_input": true})]),
            [(1, "with_input")]
        );
        // What one follow-up adds, the next may choose by.
        let more = json!({"of": {"flagged": true}, "output_schema": {"type": "object", "additionalProperties": false,
            "properties": {"deep": {"enum": ["x"]}}}});
        let next = some(json!({"field": "deep", "values": ["x"]}));
        assert_eq!(told(&[first.clone(), more, next.clone()]), []);
        assert_eq!(told(&[first, next]), [(1, "of.field")]);
    }
}
