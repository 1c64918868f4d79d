//! What a fault does to the content of an answer.

use serde_json::{Map, Value, json};

use super::kinds::Fault;
use crate::{
    answer::{Content, plan},
    ids,
};

/// Puts an id that does not exist in the place of the first one that a report names.
fn cite_nothing(text: &mut String, hash: u64) -> bool {
    let Some((begin, rest)) = text.split_once("[[") else {
        return false;
    };
    let Some((_, end)) = rest.split_once("]]") else {
        return false;
    };
    *text = format!("{begin}[[invented-{}]]{end}", hash % 1_000);
    true
}

/// Spoils an answer's content. Answers whether the fault found something to
/// spoil.
pub fn spoil(fault: Fault, content: &mut Content, hash: u64) -> bool {
    let value = match content {
        Content::Json(value) => value,
        Content::Text(text) if fault == Fault::InventedId => return cite_nothing(text, hash),
        _ => {
            return matches!(
                fault,
                Fault::Truncate
                    | Fault::Refusal
                    | Fault::RefusalMid
                    | Fault::SilentCut
                    | Fault::Empty
            );
        }
    };
    match fault {
        Fault::Prose => {
            *content = Content::Text(prose(value));
            true
        }
        Fault::Malformed => {
            let whole = value.to_string();
            let half: String = whole.chars().take(whole.chars().count() * 2 / 3).collect();
            *content = Content::Text(format!("Sure, here is the result:\n```json\n{half}"));
            true
        }
        Fault::SchemaMiss => match results(value).and_then(|list| chosen(list, hash)) {
            Some(entry) => entry.get_mut("output").is_some_and(miss),
            None => miss(value),
        },
        Fault::DuplicateId => results(value).is_some_and(|list| {
            let copy = chosen(list, hash).cloned();
            list.extend(copy);
            !list.is_empty()
        }),
        Fault::MissingId => results(value).is_some_and(|list| {
            let at = place(list.len(), hash);
            at.map(|at| list.remove(at)).is_some()
        }),
        Fault::InventedId => results(value)
            .and_then(|list| chosen(list, hash))
            .is_some_and(|entry| {
                entry.get_mut("id").is_some_and(|id| {
                    *id = json!(format!("invented-{}", hash % 1_000));
                    true
                })
            }),
        Fault::Shuffled => results(value).is_some_and(|list| {
            list.reverse();
            list.len() > 1
        }),
        Fault::FormatLoose => each_output(value, &loosen),
        Fault::NumberStrings => each_output(value, &numbers_to_strings),
        Fault::Stringified => each_output(value, &|output| {
            if !output.is_string() {
                *output = Value::String(output.to_string());
            }
        }),
        Fault::BadPlan => plan::unsound(value),
        Fault::DearPlan => plan::dear(value),
        Fault::MoreStages => plan::longer(value, hash),
        Fault::FollowUp => plan::follow_up(value, hash),
        // Case drift happens where the answer is made.
        Fault::EnumCase | Fault::Truncate | Fault::Refusal | Fault::Empty => true,
        _ => false,
    }
}

/// The answer as a person would write it: no JSON in it.
fn prose(value: &Value) -> String {
    let mut words = String::from("Here is what I found.");
    each_text(value, &mut |text| {
        words.push(' ');
        words.push_str(text);
    });
    words
}

fn each_text(value: &Value, take: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => take(text),
        Value::Array(list) => list.iter().for_each(|v| each_text(v, take)),
        Value::Object(map) => map.values().for_each(|v| each_text(v, take)),
        _ => {}
    }
}

fn results(value: &mut Value) -> Option<&mut Vec<Value>> {
    value.get_mut("results")?.as_array_mut()
}

fn place(length: usize, hash: u64) -> Option<usize> {
    let length = u64::try_from(length).ok().filter(|l| *l > 0)?;
    usize::try_from(ids::mix(hash) % length).ok()
}

fn chosen(list: &mut [Value], hash: u64) -> Option<&mut Value> {
    let at = place(list.len(), hash)?;
    list.get_mut(at)
}

/// Takes the first property away and gives an unknown one.
fn miss(value: &mut Value) -> bool {
    let Some(map) = value.as_object_mut() else {
        *value = Value::Object(Map::new());
        return true;
    };
    let first = map.keys().next().cloned();
    first.is_some_and(|key| {
        map.shift_remove(&key);
        map.insert("unasked".to_owned(), json!(42));
        true
    })
}

/// Changes the output of each result, or the whole value where there are no results.
fn each_output(value: &mut Value, change: &dyn Fn(&mut Value)) -> bool {
    match results(value) {
        Some(list) => list
            .iter_mut()
            .filter_map(|entry| entry.get_mut("output"))
            .for_each(change),
        None => match value.as_object_mut() {
            Some(map) => map.values_mut().for_each(change),
            None => change(value),
        },
    }
    true
}

/// A value of another type for each that is not a text: what a model answers that was not held to a schema.
fn loosen(value: &mut Value) {
    match value {
        Value::Number(n) => *value = format!("about {n}").into(),
        Value::Bool(yes) => *value = (if *yes { "yes" } else { "no" }).into(),
        Value::Null => *value = "none".into(),
        Value::String(text) => *value = json!([text]),
        Value::Array(list) => {
            *value = list.first().cloned().unwrap_or_else(|| "none".into());
        }
        Value::Object(map) => map.values_mut().for_each(loosen),
    }
}

fn numbers_to_strings(value: &mut Value) {
    match value {
        Value::Number(n) => *value = n.to_string().into(),
        Value::Array(list) => list.iter_mut().for_each(numbers_to_strings),
        Value::Object(map) => map.values_mut().for_each(numbers_to_strings),
        _ => {}
    }
}
