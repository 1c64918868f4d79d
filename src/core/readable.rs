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
}

impl Readable {
    /// An element begins; `tag` in lower case.
    pub fn begin(&mut self, tag: &str) {
        self.flush();
        if DROPPED.contains(&tag) {
            self.open.push(Open {
                tag: tag.to_owned(),
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
            let there = self.text.bytes().rev().take_while(|b| *b == b'\n').count();
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

/// The name of the character set: by the bytes' own mark, the header, or what the page says of itself.
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
        return None;
    }
    let head = bytes.get(..bytes.len().min(1_024)).unwrap_or_default();
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let (_, rest) = head.split_once("charset=")?;
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
