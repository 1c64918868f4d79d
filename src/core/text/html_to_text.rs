//! A page becomes text that a model can read: tags go, structure stays as Markdown's plainest marks.
//!
//! The parsing itself is done outside (by the runtime's own parser in the Worker): it says which elements begin and end and
//! which text lies between, and this makes lines of it. Ends may be missing for elements that are left open.

use std::borrow::Cow;

/// The elements that the parser must tell the end of.
pub const WITH_ENDS: [&str; 42] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "button",
    "canvas",
    "dd",
    "div",
    "dl",
    "dt",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "iframe",
    "li",
    "main",
    "math",
    "nav",
    "noscript",
    "object",
    "ol",
    "p",
    "pre",
    "script",
    "section",
    "style",
    "svg",
    "table",
    "template",
    "title",
    "tr",
    "ul",
];

/// Elements whose texts nobody reads on the page: code, drawings, menus. The two that are text to the parser come
/// first: left open, they reach to the end.
const DROPPED: [&str; 11] = [
    "script", "style", "noscript", "template", "svg", "math", "iframe", "object", "canvas", "nav",
    "title",
];

/// What a browser does not show. Each is a selector of the runtime's parser.
pub const HIDDEN: [&str; 5] = [
    "[hidden]",
    "[style*=\"display:none\" i]",
    "[style*=\"display: none\" i]",
    "[style*=\"visibility:hidden\" i]",
    "[style*=\"visibility: hidden\" i]",
];

/// Elements without an end: nothing lies inside of them.
const WITHOUT_INSIDE: [&str; 9] = [
    "br", "col", "embed", "hr", "img", "input", "link", "meta", "wbr",
];

/// Elements whose end may be left out: the next one of their kind ends them.
const ENDED_BY_NEXT: [&str; 9] = ["p", "li", "dt", "dd", "tr", "td", "th", "option", "tbody"];

/// Elements to be dropped that are open at a time: more lie inside of one that goes with all that it holds.
const MOST_OPEN: usize = 64;

/// Elements of a page. Each costs up to three calls between the runtime's parser and this, some 10 microseconds together: a
/// page with more would hold up the isolate for over a second.
pub const MOST_ELEMENTS: usize = 100_000;

/// Whether a page has more elements than are read, counted without a parser.
pub fn has_too_many_elements(html: &str) -> bool {
    let starts = html.as_bytes().windows(2);
    let starts =
        starts.filter(|pair| matches!(pair, [b'<', letter] if letter.is_ascii_alphabetic()));
    starts.take(MOST_ELEMENTS + 1).count() > MOST_ELEMENTS
}

/// What a page holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub title: Option<String>,
    pub text: String,
}

/// An element that will be dropped, and how things stood when it began.
#[derive(Debug)]
struct Open {
    tag: String,
    hidden: bool,
    text: usize,
    blank: bool,
    breaks: usize,
}

/// Puts a page together.
#[derive(Debug, Default)]
pub struct Readable {
    title: Option<String>,
    text: String,
    /// Text as it stands in the source, entities and all, since the last tag.
    raw: String,
    /// Elements that will be dropped, innermost last.
    open: Vec<Open>,
    preformatted: u32,
    /// A blank is wanted before the next word.
    blank: bool,
    /// Line breaks wanted before the next word.
    breaks: usize,
    /// The line has a mark and no word yet.
    marked: bool,
    /// The cell that begins is not the first of its row.
    in_row: bool,
    /// The element that begins next is one of [`HIDDEN`].
    hides: bool,
}

impl Readable {
    /// The element that begins next is not shown, nor what lies inside of it.
    pub fn hide(&mut self) {
        self.hides = true;
    }

    /// Whether the end of such an element must be told.
    pub fn wants_end(&self, tag: &str) -> bool {
        WITH_ENDS.contains(&tag) || self.open.iter().any(|open| open.tag == tag)
    }

    /// An element begins; `tag` in lower case.
    pub fn begin(&mut self, tag: &str) {
        self.flush();
        let mut hidden = std::mem::take(&mut self.hides) && !WITHOUT_INSIDE.contains(&tag);
        if self.open.iter().any(|open| open.hidden && open.tag == tag) {
            match ENDED_BY_NEXT.contains(&tag) {
                true => self.drop_element(tag),
                // Its end must not be taken for that of the hidden one.
                false => hidden = true,
            }
        }
        if (hidden || DROPPED.contains(&tag)) && self.open.len() < MOST_OPEN {
            self.open.push(Open {
                tag: tag.to_owned(),
                hidden,
                text: self.text.len(),
                blank: self.blank,
                breaks: self.breaks,
            });
        }
        match tag {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.break_lines(2);
                let level = tag.bytes().last().map_or(1, |digit| digit - b'0');
                self.mark(&"#".repeat(usize::from(level)));
            }
            "li" => {
                self.break_lines(1);
                self.mark("-");
            }
            "tr" => {
                self.break_lines(1);
                self.in_row = false;
            }
            "td" | "th" => self.begin_cell(),
            "br" => self.break_lines(1),
            "pre" => {
                self.break_lines(2);
                self.preformatted += 1;
            }
            "hr" => self.break_lines(2),
            "dt" | "dd" | "option" | "button" | "tbody" | "thead" => self.break_lines(1),
            _ if is_block(tag) => self.break_lines(2),
            _ => {}
        }
    }

    /// Between the cells of a row stands a bar.
    fn begin_cell(&mut self) {
        if std::mem::replace(&mut self.in_row, true) && self.breaks == 0 {
            self.text.push_str(" |");
            self.blank = true;
        }
    }

    /// One of [`WITH_ENDS`] (or any other) ends.
    pub fn end(&mut self, tag: &str) {
        self.flush();
        if tag == "pre" {
            self.preformatted = self.preformatted.saturating_sub(1);
        }
        if matches!(tag, "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "li") {
            self.drop_mark();
        }
        self.drop_element(tag);
        match tag {
            "li" | "tr" | "dt" | "dd" | "button" => self.break_lines(1),
            _ if is_block(tag) => self.break_lines(2),
            _ => {}
        }
    }

    /// Takes back what was written since an element began that nobody reads.
    fn drop_element(&mut self, tag: &str) {
        let Some(at) = self.open.iter().rposition(|open| open.tag == tag) else {
            return;
        };
        let Some(begun) = self.open.drain(at..).next() else {
            return;
        };
        let dropped = self.text.split_off(begun.text.min(self.text.len()));
        if !dropped.is_empty() {
            self.marked = false;
            self.blank = begun.blank;
            self.breaks = begun.breaks;
        }
        if tag == "title" && self.open.is_empty() && self.title.is_none() {
            self.title = title_of(&dropped);
        }
    }

    /// More of the text between two tags, as it stands in the source.
    pub fn text(&mut self, piece: &str) {
        self.raw.push_str(piece);
    }

    /// The page as it was put together.
    pub fn finish(mut self) -> Page {
        self.flush();
        self.drop_mark();
        let endless = self
            .open
            .iter()
            .find(|open| matches!(open.tag.as_str(), "script" | "style" | "title"));
        if let Some(open) = endless {
            self.text.truncate(open.text);
        }
        self.text.truncate(self.text.trim_end().len());
        Page {
            title: self.title,
            text: self.text,
        }
    }

    fn flush(&mut self) {
        if self.raw.is_empty() {
            return;
        }
        let raw = std::mem::take(&mut self.raw);
        let text = html_escape::decode_html_entities(&raw);
        if self.preformatted > 0 {
            self.settle_breaks();
            self.text.push_str(&text.replace('\r', ""));
            return;
        }
        let starts_blank = text.starts_with(char::is_whitespace);
        self.blank |= starts_blank;
        for word in text.split_whitespace() {
            self.settle_breaks();
            self.text.push_str(word);
            self.blank = true;
        }
        if !text.trim().is_empty() {
            self.blank = text.ends_with(char::is_whitespace);
        }
    }

    /// Writes the breaks or the blank that are due before a word.
    fn settle_breaks(&mut self) {
        let at_start = self.text.is_empty();
        if !at_start && self.breaks > 0 {
            // Not one more than are wanted is counted: a page of nothing but line breaks would be counted again at each.
            let end = self.text.bytes().rev().take(self.breaks);
            let there = end.take_while(|b| *b == b'\n').count();
            let wanted = self.breaks.saturating_sub(there);
            self.text.push_str(&"\n".repeat(wanted));
        } else if !at_start && self.blank && !self.text.ends_with(char::is_whitespace) {
            self.text.push(' ');
        }
        self.breaks = 0;
        self.blank = false;
        self.marked = false;
    }

    fn break_lines(&mut self, count: usize) {
        // A paragraph in a list's item begins beside the mark.
        if self.marked {
            self.blank = true;
            return;
        }
        self.breaks = self.breaks.max(count);
        self.blank = false;
    }

    /// A mark at the beginning of a line, which stays only if words follow: of two in a row the second does.
    fn mark(&mut self, mark: &str) {
        self.drop_mark();
        self.settle_breaks();
        self.text.push_str(mark);
        self.marked = true;
        self.blank = true;
    }

    fn drop_mark(&mut self) {
        if std::mem::take(&mut self.marked) {
            let line = self.text.rfind('\n').map_or(0, |at| at + 1);
            self.text.truncate(line);
            self.blank = false;
        }
    }
}

fn is_block(tag: &str) -> bool {
    matches!(
        tag,
        "address"
            | "article"
            | "aside"
            | "blockquote"
            | "body"
            | "div"
            | "dl"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "head"
            | "header"
            | "main"
            | "nav"
            | "ol"
            | "p"
            | "pre"
            | "section"
            | "table"
            | "ul"
    )
}

/// The most of a title that is kept.
const TITLE_BYTES: usize = 300;

fn title_of(text: &str) -> Option<String> {
    let title = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let title = title
        .get(..title.floor_char_boundary(TITLE_BYTES))
        .unwrap_or_default();
    (!title.is_empty()).then(|| title.to_owned())
}

/// How the bytes of a page are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Html,
    /// Plain text, Markdown, JSON, CSV, …: as it is.
    Text,
}

/// The kind of a content type; `None` for what is not read.
pub fn kind_of(content_type: &str) -> Option<Kind> {
    let essence = content_type.split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    match essence.as_str() {
        "text/html" | "application/xhtml+xml" => Some(Kind::Html),
        "text/plain"
        | "text/markdown"
        | "text/x-markdown"
        | "text/csv"
        | "text/tab-separated-values"
        | "application/json"
        | "application/x-ndjson"
        | "application/ld+json"
        | "application/yaml"
        | "text/yaml" => Some(Kind::Text),
        other if other.ends_with("+json") => Some(Kind::Text),
        _ => None,
    }
}

/// What browsers take bytes for that say nothing of themselves: UTF-8, unless most of their letters beyond ASCII are none in it.
fn unnamed<'a>(bytes: &[u8]) -> Option<Cow<'a, str>> {
    let (mut letters, mut broken) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        letters += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        // A page that was cut may end inside of a letter.
        broken += usize::from(!chunk.invalid().is_empty());
    }
    (broken > letters).then(|| "windows-1252".into())
}

/// What these bytes are that are no page, whatever their type says.
pub fn not_a_page(bytes: &[u8]) -> Option<&'static str> {
    let kinds = [
        (&b"%PDF"[..], "a PDF"),
        (b"PK\x03\x04", "an archive or an Office document"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x89PNG", "a picture"),
        (b"\xff\xd8\xff", "a picture"),
    ];
    let found = kinds.iter().find(|(mark, _)| bytes.starts_with(mark));
    found.map(|(_, kind)| *kind)
}

/// Whether a text is what its bytes are not: one letter in twenty is a mark of what could not be read.
pub fn is_garbled(text: &str) -> bool {
    let unread = |c: &char| matches!(*c, char::REPLACEMENT_CHARACTER | '\0');
    let unread = text.chars().filter(unread).count();
    unread > 0 && unread.saturating_mul(20) > text.chars().count()
}

/// The name of the character set: by the bytes' own mark, the header, what the page says of itself, or its letters.
pub fn charset<'a>(content_type: &'a str, bytes: &'a [u8]) -> Option<Cow<'a, str>> {
    for (mark, name) in [
        (&b"\xef\xbb\xbf"[..], "utf-8"),
        (b"\xfe\xff", "utf-16be"),
        (b"\xff\xfe", "utf-16le"),
    ] {
        if bytes.starts_with(mark) {
            return Some(name.into());
        }
    }
    let parameters = content_type.split(';').skip(1);
    let named = parameters
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .map(|(_, value)| value.trim().trim_matches('"'));
    if let Some(name) = named.filter(|name| !name.is_empty()) {
        return Some(name.into());
    }
    if kind_of(content_type) != Some(Kind::Html) {
        return unnamed(bytes);
    }
    let head = bytes.get(..bytes.len().min(1_024)).unwrap_or_default();
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let Some((_, rest)) = head.split_once("charset=") else {
        return unnamed(bytes);
    };
    let name: String = rest
        .trim_start_matches(['"', '\'', ' '])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "-_:.".contains(*c))
        .collect();
    (!name.is_empty()).then(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_hides_is_left_out() {
        let read = |events: &[&str]| {
            let mut page = Readable::default();
            for event in events {
                match event.split_at(1) {
                    ("<", tag) => page.begin(tag),
                    ("-", tag) => {
                        page.hide();
                        page.begin(tag);
                    }
                    (">", tag) if page.wants_end(tag) => page.end(tag),
                    (">", _) => {}
                    _ => page.text(event),
                }
            }
            page.finish().text
        };
        let nested = ["a ", "-span", "<span", "no", ">span", "no", ">span", "b"];
        assert_eq!(read(&nested), "a b");
        let block = [
            "<p", "a", ">p", "-div", "<div", "no", ">div", "<p", "no", ">p", ">div", "<p", "b",
            ">p",
        ];
        assert_eq!(read(&block), "a\n\nb");
        // Left open, it ends with the next of its kind; what has no inside hides nothing.
        assert_eq!(
            read(&["-p", "no", "<p", "a", ">p", "-input", "b"]),
            "a\n\nb"
        );
        // Never closed at all, it hides nothing: better too much than nothing.
        assert_eq!(read(&["-div", "a"]), "a");
    }

    #[test]
    fn bytes_that_say_nothing_of_themselves_are_read_as_browsers_do() {
        let html = "text/html";
        let old = b"<p>Caf\xe9 \x96 cr\xe8me</p>";
        assert_eq!(charset(html, old).as_deref(), Some("windows-1252"));
        assert_eq!(
            charset("text/plain", b"Caf\xe9").as_deref(),
            Some("windows-1252")
        );
        for utf8 in ["<p>Café crème</p>", "plain", ""] {
            assert_eq!(charset(html, utf8.as_bytes()), None, "{utf8}");
        }
        // One broken byte in a page of another script spoils no letter of it.
        let mixed = [" \u{5b57}".repeat(40).as_bytes(), b"\xff"].concat();
        assert_eq!(charset(html, &mixed), None);
        assert_eq!(not_a_page(b"%PDF-1.7"), Some("a PDF"));
        assert_eq!(not_a_page(b"<html>"), None);
        assert!(is_garbled("\u{fffd}\0ab"));
        assert!(!is_garbled(&format!("{}\u{fffd}", "a long text ".repeat(9))) && !is_garbled(""));
    }

    /// What a parser would say of a page: `<tag` begins, `>tag` ends, all else is text.
    fn read(events: &[&str]) -> Page {
        let mut page = Readable::default();
        for event in events {
            if let Some(tag) = event.strip_prefix('<') {
                page.begin(tag);
            } else if let Some(tag) = event.strip_prefix('>') {
                page.end(tag);
            } else {
                page.text(event);
            }
        }
        page.finish()
    }

    fn text(events: &[&str]) -> String {
        read(events).text
    }

    #[test]
    fn structure_stays_as_plain_marks() {
        let page = read(&[
            "<html",
            "<head",
            "<title",
            " A \n page &amp; more",
            ">title",
            "<script",
            "var a;",
            ">script",
            ">head",
            "\n",
            "<body",
            "<nav",
            "<a",
            "Home",
            ">nav",
            "<h1",
            "The",
            "<b",
            " title",
            ">h1",
            "<p",
            "One ",
            "<i",
            "two",
            " three.",
            "<br",
            "Four",
            ">p",
            "\n ",
            "<ul",
            "<li",
            "a",
            ">li",
            "<li",
            "<p",
            "b",
            ">p",
            ">li",
            ">ul",
            "<table",
            "<tr",
            "<th",
            "x",
            "<th",
            "y",
            ">tr",
            "<tr",
            "<td",
            "1",
            "<td",
            "2",
            ">tr",
            ">table",
            "<pre",
            "a\n  b",
            ">pre",
            "end",
            ">body",
        ]);
        assert_eq!(page.title.as_deref(), Some("A page & more"));
        assert_eq!(
            page.text,
            "# The title\n\nOne two three.\nFour\n\n- a\n- b\n\nx | y\n1 | 2\n\na\n  b\n\nend"
        );
    }

    #[test]
    fn marks_without_words_go_and_nested_ones_are_one() {
        assert_eq!(text(&["a", "<h2", ">h2", "<p", "b"]), "a\n\nb");
        assert_eq!(
            text(&[
                "<ul", "<li", "<h3", "a", ">h3", ">li", "<li", ">li", ">ul", "b"
            ]),
            "### a\n\nb"
        );
        assert_eq!(text(&["a", "<p", "---", "<p", "b"]), "a\n\n---\n\nb");
        let code = ["<p", "a", ">p", "<script", "x()", ">script", "b"];
        assert_eq!(text(&code), "a\n\nb");
        let menu = ["a", "<nav", "<ul", "<li", ">nav", "b", "<h2", ">h2", "c"];
        assert_eq!(text(&menu), "a\n\nb\n\nc");
    }

    #[test]
    fn words_keep_together_across_tags_and_pieces() {
        assert_eq!(text(&["un", "<b", "believ", "able"]), "unbelievable");
        assert_eq!(text(&["&am", "p;&#x41;&nbsp;&eacute;"]), "&A \u{e9}");
        assert_eq!(text(&["a", "<b", " b", "<i", "\n", "<u", "c"]), "a b c");
        assert_eq!(text(&["&lt;script&gt;"]), "<script>");
    }

    #[test]
    fn what_is_left_open_takes_nothing_with_it_that_people_can_read() {
        assert_eq!(
            text(&["a", "<nav", "menu", "<p", "text"]),
            "a\n\nmenu\n\ntext"
        );
        assert_eq!(
            text(&["a", "<svg", "<title", "drawn", ">title", ">svg", "b"]),
            "ab"
        );
        assert_eq!(text(&["a", "<script", "if (a<b) {}"]), "a");
        assert_eq!(text(&[">p", ">nav", "a", ">script"]), "a");
        assert_eq!(
            read(&["<svg", "<title", "drawn", ">title", ">svg"]).title,
            None
        );
        assert_eq!(read(&[]), Page::default());
    }

    #[test]
    fn types_and_character_sets_are_found_where_they_stand() {
        assert_eq!(kind_of("text/html; charset=x"), Some(Kind::Html));
        assert_eq!(kind_of("Application/LD+JSON"), Some(Kind::Text));
        assert_eq!(kind_of("application/vnd.api+json"), Some(Kind::Text));
        for other in [
            "",
            "image/png",
            "application/pdf",
            "application/octet-stream",
            "text/css",
        ] {
            assert_eq!(kind_of(other), None, "{other}");
        }
        let of = |kind, bytes| charset(kind, bytes).map(Cow::into_owned);
        assert_eq!(
            of("text/html; charset=\"ISO-8859-1\"", b""),
            Some("ISO-8859-1".into())
        );
        assert_eq!(
            of("text/html", b"<META charset='windows-1251'>"),
            Some("windows-1251".into())
        );
        let meta = b"<meta http-equiv=content-type content=\"text/html; charset=shift_jis\">";
        assert_eq!(of("text/html", meta), Some("shift_jis".into()));
        assert_eq!(of("text/plain", meta), None);
        assert_eq!(
            of("text/html;charset=latin1", b"\xef\xbb\xbfx"),
            Some("utf-8".into())
        );
        assert_eq!(of("text/html", b"<p>"), None);
    }
}
