//! The deterministic fan-in of a map stage: frequencies and distinct results, counted here and never by a model.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::core::plan::spec::Merge;
use crate::core::value::category::name;
use crate::core::value::same_text::nfc;

/// All fields together may take so many values; beyond that the rest of a field are counted together. The
/// merge is one row of at most 2 MB and stands in it twice: 4,000 values of 200 characters are 800 KB.
const MOST_VALUES: usize = 4_000;
/// What the rest are counted as.
pub const OTHER: &str = "(other)";

/// Takes results one at a time, in any order, in bounded memory.
#[derive(Debug, Clone)]
pub struct Merger {
    merge: Merge,
    /// Fields that are counted only where a result has them.
    present: Vec<String>,
    counts: BTreeMap<String, Counts>,
    seen: HashSet<[u8; 16]>,
    results: u64,
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Merged {
    /// field → value → how often.
    pub count_by: BTreeMap<String, BTreeMap<String, u64>>,
    /// Results that differ in the `dedupe_by` fields; `None` where none are named.
    pub distinct: Option<u64>,
    pub results: u64,
}

impl Merger {
    pub fn new(merge: &Merge) -> Merger {
        Merger {
            counts: merge
                .count_by
                .iter()
                .map(|field| (field.clone(), Counts::new()))
                .collect(),
            merge: merge.clone(),
            present: Vec::new(),
            seen: HashSet::new(),
            results: 0,
        }
    }

    /// These fields are counted only where a result has them: most results were never asked for them.
    #[must_use]
    pub fn where_present(mut self, fields: &[String]) -> Merger {
        self.present = fields.to_vec();
        self
    }

    /// Counts one result. False where it is the same as an earlier one in the `dedupe_by` fields.
    pub fn add(&mut self, output: &Value) -> bool {
        self.results += 1;
        let most = MOST_VALUES / self.counts.len().max(1);
        for (field, counts) in &mut self.counts {
            match output.get(field) {
                // Each element of a list counts; an empty list counts as nothing at all.
                None if self.present.contains(field) => {}
                Some(Value::Array(values)) => values.iter().for_each(|v| count(counts, v, most)),
                other => count(counts, other.unwrap_or(&Value::Null), most),
            }
        }
        if self.merge.dedupe_by.is_empty() {
            return true;
        }
        let mut hash = Sha256::new();
        for field in &self.merge.dedupe_by {
            let value = output.get(field).unwrap_or(&Value::Null);
            hash.update([u8::from(value.is_string())]);
            let value = match value {
                Value::Number(_) => name(value),
                Value::String(text) => nfc(text).into_owned(),
                other => other.to_string(),
            };
            hash.update(value.len().to_le_bytes());
            hash.update(value.as_bytes());
        }
        let digest = hash.finalize();
        let mut key = [0; 16];
        key.iter_mut().zip(digest.iter()).for_each(|(k, d)| *k = *d);
        self.seen.insert(key)
    }

    pub fn finish(self) -> Merged {
        Merged {
            distinct: (!self.merge.dedupe_by.is_empty())
                .then(|| u64::try_from(self.seen.len()).unwrap_or(u64::MAX)),
            count_by: self
                .counts
                .into_iter()
                .map(|(field, counts)| (field, named(counts)))
                .collect(),
            results: self.results,
        }
    }
}

/// Whether it is a text, and its name → how often.
type Counts = BTreeMap<(bool, String), u64>;

fn count(counts: &mut Counts, value: &Value, most: usize) {
    let key = (value.is_string(), name(value));
    let key = if counts.len() >= most && !counts.contains_key(&key) {
        (true, OTHER.to_owned())
    } else {
        key
    };
    *counts.entry(key).or_default() += 1;
}

/// Where the text `1` and the number 1 both occur, the text is written in quotes.
fn named(counts: Counts) -> BTreeMap<String, u64> {
    let mut named = BTreeMap::new();
    for ((is_text, name), count) in counts {
        let name = match is_text && named.contains_key(&name) {
            true => Value::String(name).to_string(),
            false => name,
        };
        *named.entry(name).or_default() += count;
    }
    named
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_two_types_are_two_and_one_number_is_one() {
        let merge = Merge {
            count_by: vec!["n".to_owned()],
            dedupe_by: vec!["n".to_owned()],
        };
        let outputs = [
            json!(1),
            json!(1.0),
            json!(1),
            json!("1"),
            json!("é"),
            json!("e\u{301}"),
        ];
        let outputs: Vec<Value> = outputs.into_iter().map(|n| json!({"n": n})).collect();
        let merged = merged(merge, &outputs);
        let counts: Vec<(&str, u64)> = merged.count_by["n"]
            .iter()
            .map(|(name, count)| (name.as_str(), *count))
            .collect();
        assert_eq!(counts, [("\"1\"", 1), ("1", 3), ("é", 2)]);
        assert_eq!(merged.distinct, Some(3));
    }

    fn merged(merge: Merge, outputs: &[Value]) -> Merged {
        let mut merger = Merger::new(&merge);
        outputs.iter().for_each(|output| {
            merger.add(output);
        });
        merger.finish()
    }

    #[test]
    fn values_are_counted_with_null_apart_and_lists_by_element() {
        let merge = Merge {
            count_by: vec!["kind".into(), "tags".into()],
            ..Merge::default()
        };
        let out = merged(
            merge,
            &[
                json!({"kind": "bug", "tags": ["a", "b"]}),
                json!({"kind": null, "tags": []}),
                json!({"tags": ["a"]}),
                json!({"kind": "bug", "tags": null}),
                json!({"kind": true, "tags": [1]}),
            ],
        );
        assert_eq!(
            json!(out.count_by),
            json!({"kind": {"bug": 2, "null": 2, "true": 1}, "tags": {"a": 2, "b": 1, "1": 1, "null": 1}})
        );
        assert_eq!((out.results, out.distinct), (5, None));
    }

    #[test]
    fn duplicates_are_told_by_their_fields_alone() {
        let merge = Merge {
            dedupe_by: vec!["a".into(), "b".into()],
            ..Merge::default()
        };
        let out = merged(
            merge,
            &[
                json!({"a": "x", "b": "yz", "c": 1}),
                json!({"a": "x", "b": "yz", "c": 2}),
                json!({"a": "xy", "b": "z", "c": 1}),
            ],
        );
        assert_eq!(out.distinct, Some(2));
    }

    #[test]
    fn a_field_of_boundless_values_stays_bounded() {
        let merge = Merge {
            count_by: vec!["id".into()],
            ..Merge::default()
        };
        let outputs: Vec<Value> = (0..MOST_VALUES + 500).map(|n| json!({"id": n})).collect();
        let out = merged(merge, &outputs);
        assert_eq!(out.count_by["id"].len(), MOST_VALUES + 1);
        assert_eq!(out.count_by["id"][OTHER], 500);
    }
}
