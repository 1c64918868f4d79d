//! Deterministic checks of a stage's results: which of them look wrong, whatever they say.
//!
//! Results come one at a time, in any order; of each only its id, a length and a few hashes are kept, so a hundred thousand of
//! them take some megabytes.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Texts are compared from this length on: shorter ones are alike by chance.
const FREE_TEXT_CHARS: usize = 40;
/// A result is far shorter with less than a tenth of the median, where that is long enough to say something.
const FAR_SHORTER: u32 = 10;
const LONG_MEDIAN_CHARS: u32 = 40;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flag {
    /// Every text in it is blank, every list empty, every other value null.
    Empty,
    /// Far shorter than what the stage's results have in general.
    Short,
    /// A free text of it stands in another item's result too.
    SameText,
    /// It was chosen for a follow-up that brought nothing: it is as it was before.
    NotFollowedUp,
    /// A field of it says so, in a stage whose results may go to a better model.
    Unsure,
}

impl Flag {
    pub const ALL: [Flag; 5] = [
        Flag::Empty,
        Flag::Short,
        Flag::SameText,
        Flag::Unsure,
        Flag::NotFollowedUp,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Flag::Empty => "empty",
            Flag::Short => "short",
            Flag::SameText => "same_text",
            Flag::Unsure => "unsure",
            Flag::NotFollowedUp => "not_followed_up",
        }
    }
}

/// Takes results one at a time.
#[derive(Debug, Default)]
pub struct Checker {
    /// Results may say that they are unsure.
    cascade: bool,
    results: Vec<Seen>,
    /// Their ids, one behind the other: a text of its own for each would take three times as much.
    ids: String,
    /// Free texts by hash, with the first result that has each.
    texts: HashMap<[u8; 8], u32>,
}

#[derive(Debug)]
struct Seen {
    /// Where its id ends.
    id_end: usize,
    /// Characters of its texts; `None` where it has none to compare.
    chars: Option<u32>,
    empty: bool,
    same: bool,
    unsure: bool,
}

/// Whether a result says, in any of its fields, the one word by which a worker of a cascade hands its item on.
pub fn is_unsure(output: &Value) -> bool {
    match output {
        Value::String(text) => text.trim().eq_ignore_ascii_case("unsure"),
        Value::Array(list) => list.iter().any(is_unsure),
        Value::Object(map) => map.values().any(is_unsure),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

impl Checker {
    /// For results of a stage, whose models may be a cascade.
    pub fn of(cascade: bool) -> Checker {
        Checker {
            cascade,
            ..Checker::default()
        }
    }

    pub fn add(&mut self, id: &str, output: &Value) {
        let number = u32::try_from(self.results.len()).unwrap_or(u32::MAX);
        let mut look = Look {
            empty: true,
            ..Look::default()
        };
        look.at(output, "");
        let mut same = false;
        for hash in look.texts {
            let first = *self.texts.entry(hash).or_insert(number);
            if first != number {
                same = true;
                if let Some(first) = self.results.get_mut(first as usize) {
                    first.same = true;
                }
            }
        }
        self.ids.push_str(id);
        let chars = u32::try_from(look.chars).unwrap_or(u32::MAX);
        self.results.push(Seen {
            id_end: self.ids.len(),
            chars: look.any_text.then_some(chars),
            empty: look.empty,
            same,
            unsure: self.cascade && is_unsure(output),
        });
    }

    /// How many there were.
    pub fn results(&self) -> usize {
        self.results.len()
    }

    /// What was found, in the order of the results.
    pub fn finish(self) -> Vec<(String, Flag)> {
        let mut lengths: Vec<u32> = self.results.iter().filter_map(|seen| seen.chars).collect();
        lengths.sort_unstable();
        let median = lengths.get(lengths.len() / 2).copied().unwrap_or(0);
        let mut found = Vec::new();
        let mut id_begin = 0;
        for seen in self.results {
            let id = self.ids.get(id_begin..seen.id_end).unwrap_or_default();
            id_begin = seen.id_end;
            let short = median >= LONG_MEDIAN_CHARS
                && seen
                    .chars
                    .is_some_and(|chars| chars.saturating_mul(FAR_SHORTER) < median);
            let flags = [
                (Flag::Unsure, seen.unsure),
                (Flag::Empty, seen.empty),
                (Flag::Short, short && !seen.empty),
                (Flag::SameText, seen.same),
            ];
            for (flag, _) in flags.into_iter().filter(|(_, holds)| *holds) {
                found.push((id.to_owned(), flag));
            }
        }
        found
    }
}

#[derive(Default)]
struct Look {
    chars: usize,
    any_text: bool,
    empty: bool,
    texts: Vec<[u8; 8]>,
}

impl Look {
    fn at(&mut self, value: &Value, path: &str) {
        match value {
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) => self.empty = false,
            Value::String(text) => {
                let text = text.trim();
                let chars = text.chars().count();
                self.any_text = true;
                self.chars += chars;
                self.empty &= text.is_empty();
                if chars > FREE_TEXT_CHARS {
                    self.texts.push(hash(path, text));
                }
            }
            Value::Array(list) => list.iter().for_each(|one| self.at(one, path)),
            Value::Object(map) => {
                for (name, one) in map {
                    self.at(one, name);
                }
            }
        }
    }
}

fn hash(path: &str, text: &str) -> [u8; 8] {
    let digest = Sha256::new()
        .chain_update(path.len().to_le_bytes())
        .chain_update(path)
        .chain_update(text)
        .finalize();
    let mut key = [0; 8];
    key.iter_mut().zip(digest.iter()).for_each(|(k, d)| *k = *d);
    key
}

/// Whether a result belongs to a sample of that share: the same for the same id, whatever comes before it.
pub fn sampled(id: &str, share: f64) -> bool {
    let key = hash("sample", id);
    let at = u32::from_le_bytes([key[0], key[1], key[2], key[3]]);
    f64::from(at) < share * (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(results: &[(&str, Value)]) -> Vec<(String, Flag)> {
        let mut checker = Checker::default();
        for (id, output) in results {
            checker.add(id, output);
        }
        checker.finish()
    }

    #[test]
    fn outliers_are_told_from_the_rest() {
        let long = |n: usize| json!({"why": format!("number {n}: {}", "because of this and that ".repeat(5))});
        let results = [
            ("a", long(1)),
            ("b", long(2)),
            ("c", json!({"why": "short"})),
            ("d", json!({"why": " ", "tags": []})),
            ("e", long(1)),
        ];
        let flags = found(&results);
        assert_eq!(
            flags,
            [
                ("a".to_owned(), Flag::SameText),
                ("c".to_owned(), Flag::Short),
                ("d".to_owned(), Flag::Empty),
                ("e".to_owned(), Flag::SameText),
            ]
        );
    }

    #[test]
    fn labels_and_numbers_are_no_outliers() {
        let results: Vec<(&str, Value)> = vec![
            ("a", json!({"kind": "bug", "n": 1})),
            ("b", json!({"kind": "bug", "n": 0})),
            ("c", json!({"kind": "x", "n": 0})),
            ("d", json!({"ok": false})),
        ];
        assert_eq!(found(&results), []);
        assert_eq!(
            found(&[("a", json!({"kind": null}))]),
            [("a".to_owned(), Flag::Empty)]
        );
    }

    #[test]
    fn only_the_word_itself_says_unsure_and_only_in_a_cascade() {
        let of = |cascade: bool, output: Value| {
            let mut checker = Checker::of(cascade);
            checker.add("a", &output);
            checker.finish()
        };
        let unsure = vec![("a".to_owned(), Flag::Unsure)];
        assert_eq!(of(true, json!({"kind": " Unsure "})), unsure);
        assert_eq!(of(true, json!({"n": 1, "tags": ["x", "unsure"]})), unsure);
        assert_eq!(of(false, json!({"kind": "unsure"})), []);
        assert_eq!(of(true, json!({"kind": "unsure of it"})), []);
        assert_eq!(of(true, json!({"unsure": "no"})), []);
    }

    #[test]
    fn a_sample_is_the_share_it_says() {
        let hits = (0..10_000)
            .filter(|n| sampled(&format!("item-{n}"), 0.1))
            .count();
        assert!((900..1_100).contains(&hits), "{hits}");
        assert!(sampled("x", 1.0) && !sampled("x", 0.0));
    }
}
