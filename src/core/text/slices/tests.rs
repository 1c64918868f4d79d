#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

const SMALL: Size = Size {
    tokens: 32,
    overlap: 8,
};

fn cut(text: &str, size: Size) -> Vec<&str> {
    slices(text, size).map(|s| &text[s.start..s.end]).collect()
}

fn shown(text: &str, size: Size) -> Vec<&str> {
    slices(text, size).map(|s| &text[s.from..s.end]).collect()
}

/// Everything that is promised of any text.
fn check(text: &str, size: Size) {
    let mut end = 0;
    for slice in slices(text, size) {
        assert_eq!(slice.start, end, "a gap, or something twice");
        assert!(slice.end > slice.start, "an empty slice");
        assert!(slice.from <= slice.start);
        let all = &text[slice.from..slice.end];
        let own = &text[slice.start..slice.end];
        let overlap = &text[slice.from..slice.start];
        assert!(tokens(all) <= u64::from(size.tokens) || own.chars().count() == 1);
        assert!(tokens(overlap) <= u64::from(size.overlap.min(size.tokens.div_ceil(2))));
        assert!(slice.start == 0 || !own.starts_with('\n') || !text[..slice.start].ends_with('\r'));
        end = slice.end;
    }
    assert_eq!(end, text.len(), "something is lost");
    if tokens(text) <= u64::from(size.tokens) && !text.is_empty() {
        assert_eq!(slices(text, size).count(), 1);
    }
}

#[test]
fn a_short_text_is_one_slice_and_an_empty_one_none() {
    assert_eq!(cut("A short text.", SMALL), ["A short text."]);
    assert_eq!(slices("", SMALL).count(), 0);
}

#[test]
fn headings_go_before_paragraphs_before_sentences_before_words() {
    let long = "word ".repeat(16);
    let text = format!("{long}\n\nnew paragraph\n# Heading\nmore text {long}");
    assert!(cut(&text, SMALL)[1].starts_with("# Heading\n"));
    let text = format!("{long}\n\nnew paragraph. A sentence\nA line {long}");
    assert!(cut(&text, SMALL)[1].starts_with("new paragraph"));
    let text = format!("{long} end. A sentence, with a clause {long}");
    assert!(cut(&text, SMALL)[1].starts_with("A sentence"));
    let text = format!("{long} \u{201c}he said, then, a clause\u{201d} {long}");
    assert!(cut(&text, SMALL)[1].starts_with("a clause"));
    let text = "abcdefghi ".repeat(30);
    assert!(
        cut(&text, SMALL)
            .iter()
            .all(|slice| slice.starts_with("abc"))
    );
}

#[test]
fn windows_line_ends_are_line_ends() {
    let text = format!("{0}\r\n\r\nNext one {0}", "word ".repeat(20));
    let pieces = cut(&text, SMALL);
    assert!(pieces[1].starts_with("Next one"), "{pieces:?}");
    check(&"\r\n".repeat(500), SMALL);
}

#[test]
fn chinese_is_cut_after_its_own_stops() {
    let text = "这是一个句子。这是另一个很长的句子，它有几个部分。".repeat(10);
    for piece in cut(&text, SMALL) {
        assert!(piece.ends_with('。'), "{piece}");
    }
    check(&text, SMALL);
}

#[test]
fn what_is_one_sign_stays_one() {
    let family = "👩\u{200d}👩\u{200d}👧\u{200d}👦";
    for piece in cut(&family.repeat(20), SMALL) {
        assert!(piece.starts_with('👩') && piece.ends_with('👦'), "{piece}");
    }
    for piece in cut(&"e\u{301}".repeat(200), SMALL) {
        assert!(piece.starts_with('e'));
    }
    for piece in cut(&"👍🏽".repeat(100), SMALL) {
        assert!(piece.starts_with('👍'));
    }
    // A single cluster that is larger than any slice is cut all the same.
    check(&format!("e{}", "\u{301}".repeat(1_000)), SMALL);
    check(&"\u{200d}".repeat(1_000), SMALL);
}

#[test]
fn the_overlap_shows_whole_sentences_where_they_fit() {
    let text = "One two three four five. Six seven. ".repeat(20);
    let size = Size {
        tokens: 40,
        overlap: 12,
    };
    for piece in shown(&text, size).into_iter().skip(1) {
        assert!(
            piece.starts_with("One ") || piece.starts_with("Six "),
            "{piece}"
        );
    }
    let pieces = shown(&text, size);
    let own = cut(&text, size);
    assert!(pieces[1].len() > own[1].len());
    assert!(pieces[1].ends_with(own[1]));
    check(&text, size);
}

#[test]
fn a_megabyte_without_any_boundary_is_cut_in_time() {
    let size = Size {
        tokens: 1_000,
        overlap: 100,
    };
    for c in ["x", " ", "\n", "🙂", "字", "\u{301}"] {
        check(&c.repeat(1_000_000 / c.len()), size);
    }
}

#[test]
fn any_start_goes_on_with_the_same_slices() {
    let text = "Some words. More of them, and\n\nparagraphs.\n".repeat(50);
    let all: Vec<Slice> = slices(&text, SMALL).collect();
    for pair in all.windows(2) {
        assert_eq!(next(&text, pair[0].end, SMALL), Some(pair[1]));
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_and_no_bound_is_passed(
        text in "([a-zA-Z .,!?\n\r\t#]|[\\p{Han}。，]|[😀-😎\u{200d}\u{fe0f}🏻-🏿]|\\PC){0,600}",
        tokens in 16_u32..80,
        overlap in 0_u32..80,
    ) {
        check(&text, Size { tokens, overlap });
    }
}

#[test]
fn a_trail_names_the_headings_above() {
    let mut trail = Trail::default();
    assert_eq!(trail.path("plain text"), None);
    trail.pass("# Book\n\ntext\n## Chapter one ##\n```\n# a comment\n```\n### Deep\n");
    assert_eq!(
        trail.path("more").as_deref(),
        Some("Book > Chapter one > Deep")
    );
    assert_eq!(
        trail
            .path("\n## Chapter two\n\n### Again\ntext\n## Three")
            .as_deref(),
        Some("Book > Chapter two > Again")
    );
    trail.pass("# Next book");
    assert_eq!(trail.path("").as_deref(), Some("Next book"));
    let mut trail = Trail::default();
    trail.pass("Part II\nCHAPTER IV. The sea\nSection 4.2: Waves\nSection by section.\n#hashtag\n");
    assert_eq!(
        trail.path("x").as_deref(),
        Some("Part II > CHAPTER IV. The sea > Section 4.2: Waves")
    );
    let read: Trail = serde_json::from_str(&serde_json::to_string(&trail).unwrap()).unwrap();
    assert_eq!(read, trail);
}

#[test]
fn slices_know_their_document() {
    assert_eq!(slice_id("report.pdf", 3), "report.pdf#3");
    assert_eq!(document_of("report.pdf#3"), "report.pdf");
    assert_eq!(document_of("a#1#2"), "a");
    for id in ["a", "a#", "#", "#1", "a#b", "a#1b", "issue #"] {
        assert!(!is_slice_id(id), "{id}");
        assert_eq!(document_of(id), id);
    }
    assert!(is_slice_id("a#1"));
}

#[test]
fn estimates_are_of_the_right_size() {
    assert_eq!(tokens(""), 0);
    assert_eq!(tokens("four"), 1);
    assert!((20..45).contains(&tokens(
        &"The quick brown fox jumps over the lazy dog. ".repeat(2)
    )));
    assert_eq!(tokens("中文字"), 3);
}
