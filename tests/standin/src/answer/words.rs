//! Words: how texts, names and keyword lists are compared.
//!
//! A word is the hash of its stem (lower case, common endings off, at most
//! seven letters), so that "charged", "charges" and "charge" are one. No
//! regular expressions and no strings per word: this runs for every item of
//! every call.

/// A stem's hash.
pub type Word = u64;

const STEM_BYTES: usize = 7;

/// The words of a text and its pairs of neighbours, sorted, each once.
#[derive(Clone, Debug, Default)]
pub struct Bag(Vec<Word>);

impl Bag {
    pub fn of(text: &str) -> Self {
        let mut all: Vec<Word> = Vec::with_capacity(text.len() / 3);
        let mut last = None;
        each(text, |part| {
            let word = stem(part);
            all.push(word);
            if let Some(before) = last.replace(word) {
                all.push(pair(before, word));
            }
        });
        all.sort_unstable();
        all.dedup();
        Self(all)
    }

    pub fn has(&self, word: Word) -> bool {
        self.0.binary_search(&word).is_ok()
    }

    pub fn iter(&self) -> impl Iterator<Item = Word> + '_ {
        self.0.iter().copied()
    }
}

/// Calls back with each run of letters and digits; apostrophes join.
fn each<'t>(text: &'t str, mut found: impl FnMut(&'t str)) {
    let mut start = None;
    for (at, byte) in text.bytes().enumerate() {
        let inside = byte.is_ascii_alphanumeric() || byte >= 0x80 || byte == b'\'';
        match (inside, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                if let Some(part) = text.get(from..at) {
                    found(part);
                }
                start = None;
            }
            _ => {}
        }
    }
    if let Some(part) = start.and_then(|from| text.get(from..)) {
        found(part);
    }
}

/// The stem's hash (FNV-1a) of one word.
pub fn stem(word: &str) -> Word {
    let mut letters = [0u8; 24];
    let mut length = 0;
    for byte in word.bytes().filter(|b| *b != b'\'') {
        if let Some(slot) = letters.get_mut(length) {
            *slot = byte.to_ascii_lowercase();
            length += 1;
        }
    }
    let kept = letters.get(..length).unwrap_or_default();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in cut(kept) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

/// Takes endings off and keeps the first letters.
fn cut(word: &[u8]) -> &[u8] {
    const ENDINGS: &[&[u8]] = &[
        b"ations", b"ation", b"ments", b"ment", b"ings", b"ing", b"ied", b"ies", b"ed", b"es",
        b"ly", b"al", b"s", b"y", b"e",
    ];
    let mut kept = word;
    for ending in ENDINGS {
        if let Some(rest) = kept.strip_suffix(*ending)
            && rest.len() >= 3
        {
            kept = rest;
            break;
        }
    }
    // "cancelled" and "cancel", "shipping" and "ship".
    if let [start @ .., a, b] = kept
        && a == b
        && start.len() >= 2
        && !matches!(a, b's' | b'o' | b'e')
        && kept.len() < word.len()
    {
        kept = kept.get(..kept.len() - 1).unwrap_or(kept);
    }
    kept.strip_suffix(b"e")
        .filter(|k| k.len() >= 3)
        .unwrap_or(kept)
        .get(..STEM_BYTES)
        .unwrap_or(
            kept.strip_suffix(b"e")
                .filter(|k| k.len() >= 3)
                .unwrap_or(kept),
        )
}

/// Two neighbours as one word.
pub fn pair(a: Word, b: Word) -> Word {
    a.rotate_left(17) ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A keyword as written in a list: one word, or two that stand together.
pub fn keyword(text: &str) -> Word {
    let mut parts = text.split(' ').map(stem);
    match (parts.next(), parts.next()) {
        (Some(a), Some(b)) => pair(a, b),
        (Some(a), None) => a,
        _ => 0,
    }
}

/// `primaryCategory` or `Primary category` as `primary_category`.
pub fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut lower_before = false;
    for c in name.chars() {
        if c.is_alphanumeric() {
            if c.is_uppercase() && lower_before {
                out.push('_');
            }
            lower_before = c.is_lowercase() || c.is_ascii_digit();
            out.extend(c.to_lowercase());
        } else {
            if !out.is_empty() && !out.ends_with('_') {
                out.push('_');
            }
            lower_before = false;
        }
    }
    out.truncate(out.trim_end_matches('_').len());
    out
}

/// The words of a name, without those that say nothing.
pub fn of_name(name: &str) -> Vec<Word> {
    const EMPTY: &[&str] = &[
        "is", "has", "was", "are", "to", "the", "of", "a", "an", "or", "and", "my", "by", "for",
        "in", "on", "into", "via", "about", "needs", "need", "contains", "mentions", "requires",
        "get", "getting", "wants",
    ];
    let snake = snake(name);
    snake
        .split('_')
        .filter(|p| !p.is_empty() && !EMPTY.contains(p))
        .map(stem)
        .collect()
}

/// A range that a description states: "1 to 5", "between 0 and 1", "1-10".
pub fn range_in(text: &str) -> Option<(f64, f64)> {
    let mut before: Option<f64> = None;
    let mut joined = false;
    for token in
        text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | ';' | '[' | ']'))
    {
        let token = token.trim_end_matches('.');
        if let Some(range) = token
            .split_once("..")
            .or_else(|| token.split_once('-'))
            .or_else(|| token.split_once('–'))
            && let (Ok(low), Ok(high)) = (range.0.parse::<f64>(), range.1.parse::<f64>())
        {
            return (low < high).then_some((low, high));
        }
        match (token.parse::<f64>(), before) {
            (Ok(high), Some(low)) if joined && low < high => return Some((low, high)),
            (Ok(number), _) => {
                before = Some(number);
                joined = false;
            }
            (Err(_), Some(_)) if matches!(token, "to" | "and" | "through" | "-" | "–") => {
                joined = true
            }
            (Err(_), _) if !token.is_empty() => before = None,
            _ => {}
        }
    }
    None
}

/// The first number written in a text.
pub fn number_in(text: &str) -> Option<f64> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let rest = text.get(start..)?;
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(rest.len());
    rest.get(..end)?.trim_end_matches('.').parse().ok()
}

/// The first sentence, cut at a word so that it has at most `limit` characters.
pub fn excerpt(text: &str, limit: usize) -> String {
    let text = text.trim();
    let end = text
        .char_indices()
        .find(|(at, c)| {
            let next = text.get(at + c.len_utf8()..).and_then(|r| r.chars().next());
            matches!(c, '.' | '!' | '?' | '\n') && *at > 12 && next.is_none_or(char::is_whitespace)
        })
        .map_or(text.len(), |(at, _)| at);
    let mut out = String::new();
    for word in text.get(..end).unwrap_or(text).split_whitespace() {
        if !out.is_empty() && out.chars().count() + word.chars().count() + 1 > limit {
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    if out.chars().count() > limit {
        out = out.chars().take(limit).collect();
    }
    out
}

/// The sentences of a text, at most so many.
pub fn sentences(text: &str, most: usize) -> Vec<&str> {
    text.split_inclusive(['.', '!', '?', '\n'])
        .map(str::trim)
        .filter(|s| s.len() > 8)
        .take(most)
        .collect()
}

/// The longest distinct words of a text in the order they stand: its topics.
pub fn topics(text: &str, most: usize) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    each(text, |word| {
        let lower = word.to_lowercase();
        if word.len() > 5 && word.len() < 25 && found.len() < most && !found.contains(&lower) {
            found.push(lower);
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_are_one() {
        for (a, b) in [
            ("charged", "charge"),
            ("cancelled", "cancel"),
            ("cancellation", "cancel"),
            ("Shipping", "ship"),
            ("arrival", "arrive"),
            ("crashes", "crash"),
            ("deliveries", "delivery"),
        ] {
            assert_eq!(stem(a), stem(b), "{a} {b}");
        }
        assert_ne!(stem("ship"), stem("shop"));
    }

    #[test]
    fn names_and_ranges() {
        assert_eq!(snake("primaryCategory"), "primary_category");
        assert_eq!(snake("Refund not showing-up?"), "refund_not_showing_up");
        assert_eq!(range_in("a score from 1 to 5."), Some((1.0, 5.0)));
        assert_eq!(range_in("confidence (0-1)"), Some((0.0, 1.0)));
        assert_eq!(range_in("between 0.5 and 2"), Some((0.5, 2.0)));
        assert_eq!(range_in("the 3 main points"), None);
        assert_eq!(number_in("Order 4711, 3 items"), Some(4711.0));
    }

    #[test]
    fn excerpts_end_at_words() {
        assert_eq!(
            excerpt("The app crashes when I open it. Help!", 80),
            "The app crashes when I open it"
        );
        assert_eq!(excerpt("one two three four", 8), "one two");
        assert_eq!(excerpt("日本語日本語日本語", 4), "日本語日");
    }
}
