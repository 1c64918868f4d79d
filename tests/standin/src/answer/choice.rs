//! Choosing one value of an enum for a text: keyword lists and the values' own
//! words, a rare word counting more than one that many values share.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    index::{Builder, Index},
    topics::{FALLBACKS, TOPICS},
    words::{self, Bag, Word},
};

/// An enum made ready. Built once per schema, asked once per item.
#[derive(Debug)]
pub struct Choice {
    pub values: Vec<Value>,
    index: Index,
    fallback: Option<usize>,
    /// `yes`/`no` enums are decided by the field's name, as booleans are.
    pub yes_no: Option<(usize, usize)>,
    pub name_words: Vec<Word>,
}

impl Choice {
    pub fn new(name: &str, values: &[Value]) -> Self {
        let names: Vec<String> = values
            .iter()
            .map(|v| v.as_str().map(words::snake).unwrap_or_default())
            .collect();
        let own: Vec<Vec<Word>> = names.iter().map(|n| words::of_name(n)).collect();
        let mut shared: HashMap<Word, f32> = HashMap::new();
        for word in own.iter().flatten() {
            *shared.entry(*word).or_default() += 1.0;
        }
        let mut index = Builder::default();
        for (at, (name, parts)) in names.iter().zip(&own).enumerate() {
            if FALLBACKS.iter().take(14).any(|f| f == name) {
                continue;
            }
            let weights: Vec<f32> = parts
                .iter()
                .map(|w| 1.0 / shared.get(w).copied().unwrap_or(1.0).sqrt())
                .collect();
            // Long names match more words by chance: their weight is spread.
            let spread = weights.iter().sum::<f32>().max(1.0).sqrt();
            for (word, weight) in parts.iter().zip(&weights) {
                index.add(*word, at, 1.6 * weight / spread);
            }
            for pair in parts.windows(2) {
                if let [a, b] = pair {
                    index.add(words::pair(*a, *b), at, 1.2 / spread);
                }
            }
            for (keys, keywords) in TOPICS {
                let weight = if keys.contains(&name.as_str()) {
                    1.0
                } else if let Some((_, w)) = parts
                    .iter()
                    .zip(&weights)
                    .find(|(p, _)| keys.iter().any(|k| words::stem(k) == **p))
                {
                    0.7 * w / spread
                } else {
                    continue;
                };
                keywords
                    .iter()
                    .for_each(|k| index.add_keyword(k, at, weight));
            }
        }
        let fallback = FALLBACKS
            .iter()
            .find_map(|f| names.iter().position(|n| n == f));
        let position = |list: &[&str]| names.iter().position(|n| list.contains(&n.as_str()));
        let yes_no = position(&["yes", "true"]).zip(position(&["no", "false"]));
        Self {
            values: values.to_vec(),
            index: index.build(),
            fallback,
            yes_no,
            name_words: words::of_name(name),
        }
    }

    /// The value for a text, and whether anything in the text spoke for it.
    pub fn pick(&self, bag: &Bag) -> (usize, bool) {
        if let Some((yes, no)) = self.yes_no {
            let said = self.name_words.iter().any(|w| bag.has(*w));
            return (if said { yes } else { no }, said);
        }
        let (at, score) = self.index.best(bag, self.values.len());
        if score > 0.0 {
            (at, true)
        } else {
            (self.fallback.unwrap_or(0), false)
        }
    }

    /// All values that the text speaks for, in the enum's order.
    pub fn all(&self, bag: &Bag) -> Vec<usize> {
        self.index.all(bag, 0.5)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pick(values: &[&str], text: &str) -> String {
        let values: Vec<Value> = values.iter().map(|v| json!(v)).collect();
        let choice = Choice::new("category", &values);
        let (at, _) = choice.pick(&Bag::of(text));
        choice.values[at].as_str().unwrap().to_owned()
    }

    const CATEGORIES: &[&str] = &[
        "billing",
        "login",
        "bug",
        "performance",
        "shipping",
        "feature_request",
        "cancellation",
        "other",
    ];

    #[test]
    fn tickets_land_where_a_person_would_put_them() {
        for (text, expected) in [
            (
                "I was charged twice for my March invoice, please refund me.",
                "billing",
            ),
            (
                "I can't log in, the password reset link never comes.",
                "login",
            ),
            ("The app crashes with an error message when I save.", "bug"),
            (
                "The dashboard is very slow, it takes forever to load.",
                "performance",
            ),
            (
                "My package has not arrived, the tracking number shows nothing.",
                "shipping",
            ),
            (
                "It would be great if you could add dark mode.",
                "feature_request",
            ),
            (
                "Please cancel my subscription and close my account.",
                "cancellation",
            ),
            ("Hello there.", "other"),
        ] {
            assert_eq!(pick(CATEGORIES, text), expected, "{text}");
        }
    }

    #[test]
    fn sentiment_and_urgency() {
        let mood = &["positive", "neutral", "negative"];
        assert_eq!(pick(mood, "I love it, great work!"), "positive");
        assert_eq!(
            pick(mood, "This is unacceptable, I am furious."),
            "negative"
        );
        assert_eq!(pick(mood, "Where do I find the manual?"), "neutral");
        let urgency = &["low", "medium", "high"];
        assert_eq!(
            pick(urgency, "We need this fixed asap, production is blocked."),
            "high"
        );
        assert_eq!(pick(urgency, "No rush, just an idea."), "low");
        assert_eq!(pick(urgency, "The export has a wrong header."), "medium");
    }

    #[test]
    fn own_words_decide_where_no_list_does() {
        let values = &["card_arrival", "card_linking", "exchange_rate", "age_limit"];
        assert_eq!(pick(values, "When will my card arrive?"), "card_arrival");
        assert_eq!(
            pick(values, "What exchange rate do you use?"),
            "exchange_rate"
        );
        assert_eq!(
            pick(values, "How do I link my card to the app?"),
            "card_linking"
        );
    }
}
