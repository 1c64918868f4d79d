//! Bytes of a text as a tokenizer may see it.
//!
//! A token is at least one byte, of the text that the tokenizer splits. Some normalise the text by NFKC first, and that
//! makes more of a few characters: the sign of an Arabic phrase becomes eighteen letters.

use icu_normalizer::ComposingNormalizerBorrowed;

/// Bytes of a text, each character with what it has after NFKC where that is more.
#[must_use]
pub fn expanded_bytes(text: &str) -> u64 {
    if text.is_ascii() {
        return text.len() as u64;
    }
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    let bytes = text.chars().map(|c| {
        let own = c.len_utf8();
        if c.is_ascii() {
            return own as u64;
        }
        let mut one = [0; 4];
        let expanded = nfkc.normalize(c.encode_utf8(&mut one)).len();
        own.max(expanded) as u64
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_counts_as_what_it_becomes() {
        assert_eq!(expanded_bytes("plain"), 5);
        assert_eq!(expanded_bytes("h\u{e9}"), 3);
        // One that becomes shorter counts as it is written.
        assert_eq!(expanded_bytes("\u{ff21}"), 3);
        // Eighteen characters, and fifteen of them are letters of two bytes.
        assert_eq!(expanded_bytes("\u{fdfa}"), 33);
    }
}
