//! Long texts into slices, at natural boundaries.
//!
//! A text is cut from its beginning on, each slice by what lies within its own window, so that cutting can stop and go
//! on at any boundary with the same outcome. Boundaries are looked for in the second half of the window, the best kind
//! first: before a heading, between paragraphs, lines, sentences, clauses, words, and at last between characters that do
//! not belong together. The slices' own parts follow each other without a gap; what a slice shows of the text before it (the
//! overlap) comes on top and counts towards its size.
//!
//! Sizes are in tokens, estimated: the true figure needs the model's tokeniser, and money is never reserved by this one.

use serde::{Deserialize, Serialize};

/// How large a slice may be, in estimated tokens, and how much of the text before it is shown with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub tokens: u32,
    /// At most half of `tokens`; more is taken as half.
    pub overlap: u32,
}

impl Size {
    fn window(self) -> u64 {
        u64::from(self.tokens.max(LEAST_TOKENS)) * QUARTERS
    }

    fn lead(self) -> u64 {
        (u64::from(self.overlap) * QUARTERS).min(self.window() / 2)
    }
}

/// Below this a window could be smaller than a single cluster of characters.
pub const LEAST_TOKENS: u32 = 16;

/// Weights are in quarters of a token.
const QUARTERS: u64 = 4;

/// The most of a heading that is kept.
const HEADING_BYTES: usize = 200;

/// One slice, as byte positions in the text: `start..end` is its own, `from..start` is the overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    pub from: usize,
    pub start: usize,
    pub end: usize,
}

/// Tokens that a text may have: four ASCII letters, two other letters of alphabets, or one ideograph each. Rounded up.
pub fn tokens(text: &str) -> u64 {
    text.chars().map(weight).sum::<u64>().div_ceil(QUARTERS)
}

fn weight(c: char) -> u64 {
    match c {
        'a'..='z' | 'A'..='Z' | ' ' => 1,
        '\0'..='\u{7f}' => 2,
        // Latin, Greek, Cyrillic and their neighbours.
        '\u{80}'..='\u{7ff}' => 2,
        // Most of what lies beyond the basic plane are emoji and rare signs, of several tokens each.
        '\u{10000}'.. => 8,
        _ => 4,
    }
}

/// The slice that begins at `start`; `None` at the end of the text. `start` is 0 or the end of the slice before.
pub fn next(text: &str, start: usize, size: Size) -> Option<Slice> {
    let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
    let from = lead(text, start, size.lead());
    let shown: u64 = text
        .get(from..start)
        .unwrap_or_default()
        .chars()
        .map(weight)
        .sum();
    let room = size.window().saturating_sub(shown);
    let mut weighed = 0;
    let mut best: Option<(Rank, usize)> = None;
    let mut last = 0;
    for (at, c) in rest.char_indices() {
        if at > 0 {
            last = at;
            if weighed * 2 >= room {
                let rank = rank(text, start + at);
                if rank > Rank::None && best.is_none_or(|(known, _)| rank >= known) {
                    best = Some((rank, at));
                }
            }
        }
        weighed += weight(c);
        if weighed > room && at > 0 {
            // A window without any boundary is one cluster of characters: it is cut all the same.
            let end = best.map_or(last, |(_, at)| at);
            return Some(Slice {
                from,
                start,
                end: start + end,
            });
        }
    }
    Some(Slice {
        from,
        start,
        end: text.len(),
    })
}

/// All slices of a text.
pub fn slices(text: &str, size: Size) -> impl Iterator<Item = Slice> + '_ {
    std::iter::successors(next(text, 0, size), move |slice| {
        next(text, slice.end, size)
    })
}

/// Where what is shown of the text before `start` begins: at a sentence where one begins in the first half of the room,
/// else at a word, else at a character.
fn lead(text: &str, start: usize, room: u64) -> usize {
    let before = text.get(..start).unwrap_or_default();
    let mut weighed = 0;
    let mut earliest = start;
    for (at, c) in before.char_indices().rev() {
        weighed += weight(c);
        if weighed > room {
            break;
        }
        earliest = at;
    }
    let reached = earliest == 0;
    if reached {
        return 0;
    }
    let mut word = None;
    let mut cluster = None;
    let mut passed = 0;
    for (at, c) in before.get(earliest..).unwrap_or_default().char_indices() {
        let here = earliest + at;
        let rank = rank(text, here);
        if rank >= Rank::Sentence && passed * 2 <= room {
            return here;
        }
        if rank >= Rank::Word && word.is_none() {
            word = Some(here);
        }
        if rank > Rank::None && cluster.is_none() {
            cluster = Some(here);
        }
        passed += weight(c);
    }
    word.or(cluster).unwrap_or(start)
}

/// How good a place is to cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Inside of what is one sign to a reader.
    None,
    Character,
    Word,
    Clause,
    Sentence,
    Line,
    Paragraph,
    Heading,
}

/// The kind of boundary before the character at `at`.
fn rank(text: &str, at: usize) -> Rank {
    let (Some(before), Some(after)) = (text.get(..at), text.get(at..)) else {
        return Rank::None;
    };
    let (Some(previous), Some(c)) = (before.chars().next_back(), after.chars().next()) else {
        return Rank::None;
    };
    if belongs_to_what_is_before(previous, c) {
        return Rank::None;
    }
    if previous == '\n' {
        let line = after.split('\n').next().unwrap_or_default();
        if line.trim().is_empty() {
            // The blank line belongs to what is above it.
            return Rank::Character;
        }
        if heading(line).is_some() {
            return Rank::Heading;
        }
        let above = before.trim_end_matches([' ', '\t', '\r']);
        let above = above.strip_suffix('\n').unwrap_or(above);
        return match above.trim_end_matches([' ', '\t', '\r']).ends_with('\n') {
            true => Rank::Paragraph,
            false => Rank::Line,
        };
    }
    if c.is_whitespace() {
        return Rank::Character;
    }
    if previous.is_whitespace() {
        let word = before.trim_end().trim_end_matches(CLOSING);
        return match word.chars().next_back() {
            Some('.' | '!' | '?' | '\u{2026}' | '\u{6d4}' | '\u{964}' | '\u{61f}') => {
                Rank::Sentence
            }
            Some(',' | ';' | ':') => Rank::Clause,
            Some(_) => Rank::Word,
            None => Rank::Character,
        };
    }
    // Scripts without blanks between their words.
    if CLOSING.contains(&c) {
        return Rank::Character;
    }
    match before.trim_end_matches(CLOSING).chars().next_back() {
        Some('\u{3002}' | '\u{ff01}' | '\u{ff1f}' | '\u{ff0e}') => Rank::Sentence,
        Some('\u{3001}' | '\u{ff0c}' | '\u{ff1b}' | '\u{ff1a}') => Rank::Clause,
        _ => Rank::Character,
    }
}

/// What may stand between a sentence's end and the next one.
const CLOSING: &[char] = &[
    '"', '\'', ')', ']', '\u{2019}', '\u{201d}', '\u{bb}', '\u{300d}', '\u{300f}', '\u{ff09}',
];

/// Signs that are drawn with the one before them: combining marks, joiners, variation selectors, skin tones, the second half of a flag,
/// and the line feed of a carriage return.
fn belongs_to_what_is_before(previous: char, c: char) -> bool {
    let extends = matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}' | '\u{6d6}'..='\u{6dc}' | '\u{900}'..='\u{903}' | '\u{93a}'..='\u{94f}'
        | '\u{980}'..='\u{983}' | '\u{9bc}'..='\u{9cd}' | '\u{bbe}'..='\u{bcd}' | '\u{e31}' | '\u{e34}'..='\u{e3a}'
        | '\u{e47}'..='\u{e4e}' | '\u{1160}'..='\u{11ff}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{200d}' | '\u{20d0}'..='\u{20ff}' | '\u{3099}' | '\u{309a}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{fe20}'..='\u{fe2f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}');
    let flag = |c: char| ('\u{1f1e6}'..='\u{1f1ff}').contains(&c);
    extends
        || previous == '\u{200d}'
        || (previous == '\r' && c == '\n')
        || (flag(previous) && flag(c))
}

/// The level and text of a line that is a heading: Markdown's, or one that begins with the word for a part of a book.
fn heading(line: &str) -> Option<(u8, &str)> {
    let line = line.trim_end();
    let marks = line.bytes().take_while(|byte| *byte == b'#').count();
    if (1..=6).contains(&marks) {
        let text = line.get(marks..)?;
        let text = text
            .starts_with(' ')
            .then(|| text.trim().trim_end_matches('#').trim_end())?;
        return (!text.is_empty()).then_some((u8::try_from(marks).ok()?, text));
    }
    let mut words = line.split_whitespace();
    let level = match words.next()?.to_lowercase().as_str() {
        "part" | "book" | "volume" => 1,
        "chapter" | "appendix" => 2,
        "section" => 3,
        _ => return None,
    };
    let number = words.next()?.trim_end_matches(['.', ':', ')']);
    let is_number = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
        || number.bytes().all(|byte| b"IVXLC".contains(&byte))
        || number.len() == 1;
    let short = line.len() <= 100 && !line.ends_with(['.', ',', ';']);
    (is_number && short).then_some((level, line))
}

/// The headings above a place in a text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    above: Vec<(u8, String)>,
    /// Inside a fence of code, where `#` begins a comment.
    fenced: bool,
}

impl Trail {
    /// Goes on over a piece of the text, which begins where a line does or goes on within one.
    pub fn pass(&mut self, text: &str) {
        for line in text.lines() {
            self.line(line);
        }
    }

    fn line(&mut self, line: &str) {
        if line.trim_start().starts_with("```") {
            self.fenced = !self.fenced;
        }
        let Some((level, text)) = heading(line).filter(|_| !self.fenced) else {
            return;
        };
        let text = text
            .get(..text.floor_char_boundary(HEADING_BYTES))
            .unwrap_or_default();
        self.above.retain(|(known, _)| *known < level);
        self.above.push((level, text.to_owned()));
    }

    /// The headings that a piece of text stands under, with those it begins with: `Part I > Chapter 2`.
    pub fn path(&self, text: &str) -> Option<String> {
        let mut here = self.clone();
        for line in text.lines() {
            if !line.trim().is_empty() && (heading(line).is_none() || here.fenced) {
                break;
            }
            here.line(line);
        }
        let names: Vec<&str> = here.above.iter().map(|(_, text)| text.as_str()).collect();
        (!names.is_empty()).then(|| names.join(" > "))
    }
}

/// The id of a document's slice, counted from 1.
pub fn slice_id(document: &str, number: u32) -> String {
    format!("{document}#{number}")
}

/// Whether an id has the form of a slice's: such ids are refused where texts are split.
pub fn is_slice_id(id: &str) -> bool {
    document_of(id) != id
}

/// The item that a slice (or a slice of one) was cut from; of any other id, itself.
pub fn document_of(id: &str) -> &str {
    let mut id = id;
    while let Some((document, number)) = id.rsplit_once('#')
        && !number.is_empty()
        && !document.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        id = document;
    }
    id
}

#[cfg(test)]
mod tests;
