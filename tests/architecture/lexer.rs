//! Rust source as words: names, signs, texts. Comments are left out.
//!
//! Own code, because `syn` as a dependency of the tests would have every derive macro of the tree compiled a second time.

/// One word of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    Name(String),
    /// `::`, or one character.
    Sign(String),
    /// What is between quotes.
    Text(String),
}

impl Word {
    pub fn is(&self, sign: &str) -> bool {
        matches!(self, Word::Sign(own) if own == sign)
    }

    pub fn name(&self) -> Option<&str> {
        match self {
            Word::Name(name) => Some(name),
            _ => None,
        }
    }
}

pub fn words(source: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = rest.trim_start();
        } else if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if rest.starts_with("/*") {
            rest = after_comment(rest);
        } else if let Some((text, after)) = text(rest) {
            words.push(Word::Text(text));
            rest = after;
        } else if first == '\'' {
            rest = after_quote(rest);
        } else if is_name(first) {
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            words.push(Word::Name(rest[..end].to_owned()));
            rest = &rest[end..];
        } else {
            let length = if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            words.push(Word::Sign(rest[..length].to_owned()));
            rest = &rest[length..];
        }
    }
    words
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Block comments may hold others.
fn after_comment(source: &str) -> &str {
    let mut depth = 0;
    let mut rest = source;
    while !rest.is_empty() {
        if rest.starts_with("/*") {
            depth += 1;
            rest = &rest[2..];
        } else if rest.starts_with("*/") {
            depth -= 1;
            rest = &rest[2..];
            if depth == 0 {
                return rest;
            }
        } else {
            rest = &rest[rest.chars().next().map_or(1, char::len_utf8)..];
        }
    }
    rest
}

/// A text with any of the prefixes that there are, and what follows it.
fn text(source: &str) -> Option<(String, &str)> {
    let plain = source.trim_start_matches(['b', 'c']);
    if source.len() - plain.len() > 1 {
        return None;
    }
    let raw = plain.strip_prefix('r').unwrap_or(plain);
    let inner = raw.trim_start_matches('#');
    let hashes = raw.len() - inner.len();
    if raw.len() == plain.len() && hashes > 0 {
        return None;
    }
    let inner = inner.strip_prefix('"')?;
    if raw.len() < plain.len() {
        let end = format!("\"{}", "#".repeat(hashes));
        let (text, after) = inner.split_once(&end)?;
        return Some((text.to_owned(), after));
    }
    let mut escaped = false;
    let end = inner.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some((inner[..end].to_owned(), &inner[end + 1..]))
}

/// A character in quotes is no word, and the quote of a lifetime is none either.
fn after_quote(source: &str) -> &str {
    let inner = &source[1..];
    let mut chars = inner.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), Some(escaped)) => {
            let rest = &inner[1 + escaped.len_utf8()..];
            rest.split_once('\'').map_or("", |(_, after)| after)
        }
        (Some(one), Some('\'')) => &inner[one.len_utf8() + 1..],
        _ => inner,
    }
}

#[test]
fn texts_comments_and_characters_are_told_apart() {
    let source = r##"
        // a comment with "quotes"
        /* one /* in */ another */
        fn f<'a>(x: &'a str) -> char { let t = "a \" b // no comment"; let r = r#"c"d"#; '"' } '\'' '\u{7f}' b"x" end
    "##;
    let words = words(source);
    let texts: Vec<&str> = words
        .iter()
        .filter_map(|word| match word {
            Word::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(texts, [r#"a \" b // no comment"#, r#"c"d"#, "x"]);
    assert_eq!(words.last(), Some(&Word::Name("end".to_owned())));
    assert!(!words.iter().any(|word| word.name() == Some("comment")));
}
