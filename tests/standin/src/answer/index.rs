//! Which words speak for which of several values, and how loudly.

use std::{collections::HashMap, sync::OnceLock};

use super::{
    topics::ISSUES,
    words::{self, Bag, Word},
};

/// Keywords of several values, made ready to be matched with a text. A search
/// in a sorted list costs a fifth of a hash map where nothing is optimised.
#[derive(Debug, Default)]
pub struct Index(Vec<(Word, usize, f32)>);

/// Gathers the keywords of an [`Index`]; of a word given twice for one value,
/// the louder counts.
#[derive(Debug, Default)]
pub struct Builder(HashMap<(Word, usize), f32>);

impl Builder {
    pub fn add(&mut self, word: Word, value: usize, weight: f32) {
        let kept = self.0.entry((word, value)).or_default();
        *kept = kept.max(weight);
    }

    /// A keyword as written in a list: two words together say more than one.
    pub fn add_keyword(&mut self, keyword: &str, value: usize, weight: f32) {
        let factor = if keyword.contains(' ') { 1.4 } else { 1.0 };
        self.add(words::keyword(keyword), value, weight * factor);
    }

    pub fn build(self) -> Index {
        let entries = self.0.into_iter();
        let mut list: Vec<_> = entries
            .map(|((word, at), weight)| (word, at, weight))
            .collect();
        list.sort_by_key(|(word, at, _)| (*word, *at));
        Index(list)
    }
}

impl Index {
    /// The entries of one word.
    fn spoken_by(&self, word: Word) -> &[(Word, usize, f32)] {
        let from = self.0.partition_point(|(w, _, _)| *w < word);
        let rest = self.0.get(from..).unwrap_or_default();
        let length = rest.iter().take_while(|(w, _, _)| *w == word).count();
        rest.get(..length).unwrap_or_default()
    }

    /// The value with most to speak for it among so many, and how much that is.
    pub fn best(&self, bag: &Bag, values: usize) -> (usize, f32) {
        let mut scores = vec![0.0f32; values];
        for (_, at, weight) in bag.iter().flat_map(|word| self.spoken_by(word)) {
            if let Some(score) = scores.get_mut(*at) {
                *score += weight;
            }
        }
        let mut best = (0, 0.0);
        for (at, score) in scores.into_iter().enumerate() {
            if score > best.1 {
                best = (at, score);
            }
        }
        best
    }

    /// All values that a word speaks for more loudly than this, in order.
    pub fn all(&self, bag: &Bag, louder_than: f32) -> Vec<usize> {
        let spoken = bag.iter().flat_map(|word| self.spoken_by(word));
        let loud = spoken.filter(|(_, _, weight)| *weight > louder_than);
        let mut found: Vec<usize> = loud.map(|(_, at, _)| *at).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The common issue that a text speaks of, if it does so clearly: at least by a
/// pair of words, or by two.
pub fn issue(bag: &Bag) -> Option<&'static str> {
    const CLEAR: f32 = 1.4;
    static INDEX: OnceLock<Index> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let mut builder = Builder::default();
        for (at, (_, keywords)) in ISSUES.iter().enumerate() {
            keywords
                .iter()
                .for_each(|k| builder.add_keyword(k, at, 1.0));
        }
        builder.build()
    });
    let (at, score) = index.best(bag, ISSUES.len());
    ISSUES
        .get(at)
        .filter(|_| score >= CLEAR)
        .map(|(label, _)| *label)
}
