//! Texts that look or mean the same: composed forms, and ids that a model writes a little differently.

use std::borrow::Cow;
use std::collections::HashMap;

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

/// The text canonically composed: `e` with an accent is `é`.
pub fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

/// For each answered id the place of the given one that it means, if there is one.
///
/// In steps, each only for ids that the steps before left over on both sides: the same; the same but for white space around it and
/// canonical form; but for compatible forms, dashes and invisible characters; but for case; but for quotes around it and zeros
/// before it. A step counts only where it leads from one answered id to one given: what is ambiguous stays unmatched, and two
/// given ids that a step cannot tell apart are left to the steps before it. A single answer to a single item needs no id.
pub fn match_ids(given: &[&str], answered: &[&str]) -> Vec<Option<usize>> {
    let mut places = vec![None; answered.len()];
    let mut taken = vec![false; given.len()];
    for step in STEPS {
        let mut by_key: HashMap<String, (Vec<usize>, Vec<usize>)> = HashMap::new();
        for (place, text) in given.iter().enumerate() {
            by_key.entry(step(text)).or_default().0.push(place);
        }
        for (position, text) in answered.iter().enumerate() {
            if places.get(position).is_some_and(Option::is_none)
                && let Some((_, answers)) = by_key.get_mut(&step(text))
            {
                answers.push(position);
            }
        }
        for (of_given, of_answers) in by_key.values() {
            if let ([given], [answer]) = (of_given.as_slice(), of_answers.as_slice())
                && let (Some(place), Some(taken)) = (places.get_mut(*answer), taken.get_mut(*given))
                && !*taken
            {
                *place = Some(*given);
                *taken = true;
            }
        }
    }
    if let ([_], [place]) = (given, places.as_mut_slice())
        && place.is_none()
    {
        *place = Some(0);
    }
    places
}

const STEPS: [fn(&str) -> String; 5] = [exact, trimmed, compatible, folded, bare];

fn exact(id: &str) -> String {
    id.to_owned()
}

fn trimmed(id: &str) -> String {
    nfc(id.trim()).into_owned()
}

/// Compatible characters decomposed, every dash plain, and without what nobody sees.
fn compatible(id: &str) -> String {
    let seen: String = id.chars().filter(|c| !is_invisible(*c)).map(dash).collect();
    let plain = DecomposingNormalizerBorrowed::new_nfkd()
        .normalize(seen.trim())
        .into_owned();
    plain.chars().map(dash).collect()
}

fn folded(id: &str) -> String {
    compatible(id).to_lowercase()
}

fn bare(id: &str) -> String {
    let folded = folded(id);
    let quotes = [
        '"', '\'', '`', '\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}', '[', ']',
    ];
    let bare = folded.trim_matches(quotes).trim();
    match bare.bytes().all(|b| b.is_ascii_digit()) {
        true => bare.trim_start_matches('0').to_owned(),
        false => bare.to_owned(),
    }
}

fn dash(c: char) -> char {
    match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' => '-',
        other => other,
    }
}

/// Characters without width, and those that turn the direction of text.
pub fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
    ) || c.is_control()
}

/// The text with every invisible character written as its escape, for messages.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_invisible) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().flat_map(|c| {
        let escape = is_invisible(c).then(|| c.escape_unicode());
        let plain = escape.is_none().then_some(c);
        escape.into_iter().flatten().chain(plain)
    });
    Cow::Owned(escaped.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_matched_in_steps() {
        let given = ["A-2 ", "007", "T-1", "T\u{2011}1", "Café", "x"];
        let answered = ["A-2", "7", "t-1", "T-1", "Cafe\u{301}", "\"X\""];
        let places = match_ids(&given, &answered);
        // `T-1` is exact; `t-1` may be either of the two that only a dash tells apart.
        assert_eq!(places, [Some(0), Some(1), None, Some(2), Some(4), Some(5)]);
    }

    #[test]
    fn two_given_ids_that_hardly_differ_are_matched_exactly() {
        for (given, answered) in [
            (["T-1", "t-1"], ["T-1", "T-1 "]),
            (["a", "a "], ["a", " a"]),
            (["é", "e\u{301}"], ["é", "é "]),
            (["7", "007"], ["7", "07"]),
        ] {
            let exact = match_ids(&given, &given);
            assert_eq!(exact, [Some(0), Some(1)], "{given:?}");
            assert_eq!(
                match_ids(&given, &answered),
                [Some(0), None],
                "{answered:?}"
            );
        }
    }

    #[test]
    fn what_is_ambiguous_stays_unmatched_and_near_ids_are_matched_exactly() {
        let given = ["a", "A", "a "];
        assert_eq!(
            match_ids(&given, &["A", "a ", "a"]),
            [Some(1), Some(2), Some(0)]
        );
        assert_eq!(match_ids(&["a", "A"], &["\u{200b}a", "b"]), [Some(0), None]);
        assert_eq!(match_ids(&["ab", "AB"], &["Ab"]), [None]);
        assert_eq!(
            match_ids(&["x", "y"], &["x", "x"]),
            [None, None],
            "twice is not once"
        );
        assert_eq!(match_ids(&["x"], &["something else"]), [Some(0)]);
        assert_eq!(match_ids(&["x"], &["a", "b"]), [None, None]);
        assert_eq!(match_ids(&[], &[]), []);
    }

    #[test]
    fn messages_show_what_nobody_sees() {
        assert_eq!(visible("a\u{202e}b\u{7}"), "a\\u{202e}b\\u{7}");
        assert!(matches!(visible("Café"), Cow::Borrowed(_)));
    }
}
