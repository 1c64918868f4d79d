//! A deterministic tokenizer: about 2.5 characters a token, as the tokenizer
//! of Claude 4.7 and later has in English; the older one makes 30 % fewer.
//!
//! A character outside ASCII costs more (3 bytes: 0.8 tokens), and a text never
//! has more tokens than bytes, which is the bound clients may rely on.
//!
//! By class, tokens per byte differ as real tokenizers' do: 0.2 for English, 0.47 for Chinese, 1 for digits. Characters
//! that normalisation by NFKC expands then break the bound of one token a byte.

use serde_json::Value;

use crate::models::Model;

/// How texts are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tokenizer {
    /// About 2.5 characters a token, whatever the text.
    #[default]
    Even,
    /// By the class of each part of a text.
    ByClass,
}

impl Tokenizer {
    /// Tokens of one text, rounded up.
    pub fn count(self, text: &str) -> u64 {
        match self {
            Self::Even => count(text),
            Self::ByClass => by_class(text),
        }
    }

    /// Tokens of a JSON value: its texts, keys and numbers.
    pub fn count_json(self, value: &Value) -> u64 {
        match value {
            Value::Null | Value::Bool(_) => 1,
            Value::Number(n) => self.count(&n.to_string()),
            Value::String(s) => self.count(s),
            Value::Array(list) => list.iter().map(|v| self.count_json(v)).sum::<u64>() + 1,
            Value::Object(map) => {
                let parts = map.iter().map(|(k, v)| self.count(k) + self.count_json(v));
                parts.sum::<u64>() + 1
            }
        }
    }

    /// How many bytes of a text fit into so many tokens; never inside a character.
    pub fn fitting(self, text: &str, tokens: u64) -> usize {
        if self == Self::Even {
            let end = text.char_indices().nth(chars_for(tokens));
            return end.map_or(text.len(), |(at, _)| at);
        }
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let fits = |end: &usize| text.get(..*end).is_some_and(|t| self.count(t) <= tokens);
        if fits(&text.len()) {
            return text.len();
        }
        let at = ends.partition_point(fits);
        at.checked_sub(1)
            .and_then(|at| ends.get(at))
            .copied()
            .unwrap_or(0)
    }
}

/// A run of letters and digits from this length on is data, not a word.
const LONG_RUN: usize = 32;

/// Thousandths of a token, by class; the rates are those of real tokenizers on such texts.
fn by_class(text: &str) -> u64 {
    let in_run = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-');
    let mut milli = 0;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| in_run(c) != in_run(first));
        let (run, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        let chars: u64 = run.chars().map(char_milli).sum();
        let data =
            in_run(first) && run.len() >= LONG_RUN && run.bytes().any(|b| b.is_ascii_digit());
        // Base64 has 0.8 tokens a byte.
        milli += if data {
            chars.max(run.len() as u64 * 800)
        } else {
            chars
        };
    }
    milli.div_ceil(1_000)
}

fn char_milli(c: char) -> u64 {
    match c {
        '0'..='9' => 1_000,
        'a'..='z' | 'A'..='Z' | ' ' | '\n' | '.' | ',' => 200,
        '\0'..='\x7f' => 700,
        '\u{300}'..='\u{36f}' => 2_000,
        // Normalised by NFKC, one of these becomes eighteen characters.
        '\u{fdfa}' => 15_000,
        '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}' => 3_200,
        '\u{3300}'..='\u{33ff}' => 5_000,
        c => match c.len_utf8() {
            2 => 1_060,
            3 => 1_400,
            _ => 3_000,
        },
    }
}

/// Tokens of one text with the newer tokenizer, rounded up.
pub fn count(text: &str) -> u64 {
    let chars = text.chars().count();
    let extra = text.len() - chars;
    ((2 * chars + extra) as u64).div_ceil(5)
}

/// Characters that fit into so many tokens, for cutting an answer at
/// `max_tokens`. The inverse of [`count`] for ASCII.
pub fn chars_for(tokens: u64) -> usize {
    usize::try_from(tokens.saturating_mul(5) / 2).unwrap_or(usize::MAX)
}

/// Tokens the given model sees for what the newer tokenizer counts.
pub fn for_model(tokens: u64, model: &Model) -> u64 {
    if model.new_tokenizer {
        tokens
    } else {
        (tokens * 10).div_ceil(13)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_example_has_fourteen_tokens() {
        assert_eq!(count("Hello, Claude") + count("You are a scientist"), 14);
    }

    #[test]
    fn never_more_tokens_than_bytes() {
        for text in ["", "a", "é", "日本", "🙂🙂", "plain text"] {
            assert!(count(text) <= text.len() as u64, "{text}");
        }
        assert_eq!(count(""), 0);
    }

    #[test]
    fn a_cut_text_fits_its_tokens() {
        for tokens in 0..50 {
            let text = "x".repeat(chars_for(tokens));
            assert!(count(&text) <= tokens);
        }
    }

    #[test]
    fn by_class_tokens_per_byte_differ() {
        let rate = |text: &str| Tokenizer::ByClass.count(text) as f64 / text.len() as f64;
        let english = rate(&"The quick brown fox jumps over the lazy dog. ".repeat(20));
        let digits = rate(&"4711,42,1999,".repeat(50));
        let base64 = rate("aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29ybGQ0aGVsbG8=");
        let chinese = rate(&"\u{4f60}\u{597d}".repeat(50));
        assert!((0.19..0.22).contains(&english), "{english}");
        assert!((0.7..=1.0).contains(&digits), "{digits}");
        assert!((0.79..0.9).contains(&base64), "{base64}");
        assert!((0.4..0.5).contains(&chinese), "{chinese}");
        assert_eq!(Tokenizer::ByClass.count(&"\u{fdfa}".repeat(200)), 3_000);
    }

    #[test]
    fn what_fits_has_no_more_tokens() {
        for tokens in 0..60 {
            for text in ["plain words and 1234 digits", "\u{4f60}\u{597d} mixed 99"] {
                let end = Tokenizer::ByClass.fitting(text, tokens);
                assert!(Tokenizer::ByClass.count(&text[..end]) <= tokens);
            }
        }
    }
}
