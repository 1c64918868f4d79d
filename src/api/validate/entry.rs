//! What the entries of all lists in `input` share: which lists there are, and ids.

use std::collections::HashSet;

use serde_json::Value;

use crate::core::plan::spec::InputKind;
use crate::core::text::slices::is_slice_id;

/// The longest id, in characters: it stands in every prompt, row and answer.
pub const ID_CHARS: usize = 128;

/// The lists that there can be in `input`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    Items,
    Documents,
    Urls,
}

impl List {
    pub fn path(self) -> &'static str {
        match self {
            List::Items => "input.items",
            List::Documents => "input.documents",
            List::Urls => "input.urls",
        }
    }

    pub fn kind(self) -> InputKind {
        match self {
            List::Items => InputKind::Items,
            List::Documents => InputKind::Documents,
            List::Urls => InputKind::Urls,
        }
    }
}

pub fn default_id(position: usize) -> String {
    format!("item-{}", position.saturating_add(1))
}

/// The id in an entry. Languages without a type of their own for ids write whole numbers; those become text.
pub fn given_id(id: Option<Value>) -> Result<Option<String>, &'static str> {
    match id {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) => checked_id(id).map(Some),
        Some(Value::Number(id)) if !id.is_f64() => Ok(Some(id.to_string())),
        Some(_) => Err("must be a string or a whole number"),
    }
}

/// An id that may stand in prompts and rows.
fn checked_id(id: String) -> Result<String, &'static str> {
    if id.is_empty() {
        Err("must not be empty")
    } else if id.chars().nth(ID_CHARS).is_some() {
        Err("must have at most 128 characters")
    } else if id.chars().any(char::is_control) {
        Err("must not hold control characters")
    } else {
        Ok(id)
    }
}

/// Ids made of the names and paths of files: each satisfies the rule for ids, and differs from the others.
#[derive(Default)]
pub struct MadeIds(HashSet<String>);

impl MadeIds {
    /// The name as it is where it may be an id; else as much of its end as may be one.
    pub fn of(&mut self, name: &str) -> String {
        let plain = name.chars().map(|c| if c.is_control() { '_' } else { c });
        let mut plain: String = plain.collect();
        if let Some((before, number)) = plain.rsplit_once('#').filter(|_| is_slice_id(&plain)) {
            plain = format!("{before}_{number}");
        }
        let mut id = ending(&plain, "");
        for count in 2.. {
            if self.0.insert(id.clone()) {
                break;
            }
            id = ending(&plain, &format!("-{count}"));
        }
        id
    }
}

/// As much of the end of a name as an id with that suffix may have.
fn ending(name: &str, suffix: &str) -> String {
    let room = ID_CHARS.saturating_sub(suffix.len());
    let length = name.chars().count();
    if length <= room {
        return format!("{name}{suffix}");
    }
    let kept: String = name.chars().skip(length + 1 - room).collect();
    format!("\u{2026}{kept}{suffix}")
}

/// What is wrong with an id that a slice could have.
pub fn slice_fault(id: &str) -> Option<&'static str> {
    is_slice_id(id).then_some("must not end in `#` and a number: slices are named so")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_ids_satisfy_the_rule_and_differ() {
        let mut ids = MadeIds::default();
        let long = "é".repeat(300);
        let names = [
            "a/b.md",
            "note#3",
            "note_3",
            "tab\there",
            &long,
            &format!("x{long}"),
            "a/b.md",
        ];
        let made: Vec<String> = names.iter().map(|name| ids.of(name)).collect();
        assert_eq!(made.first().map(String::as_str), Some("a/b.md"));
        for id in &made {
            assert_eq!(checked_id(id.clone()).as_deref(), Ok(id.as_str()));
            assert_eq!(slice_fault(id), None, "{id}");
        }
        let different: HashSet<&String> = made.iter().collect();
        assert_eq!(different.len(), names.len(), "{made:?}");
    }
}
