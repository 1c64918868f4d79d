//! The shortest text that matches a regular expression, for strings whose
//! schema has a `pattern`.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Answers `None` where the pattern is no regular expression, or where nothing
/// printable matches.
pub fn sample(pattern: &str) -> Option<String> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let mut out = String::new();
    write(&hir, &mut out)?;
    Some(out)
}

fn write(hir: &Hir, out: &mut String) -> Option<()> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(()),
        HirKind::Literal(literal) => {
            out.push_str(std::str::from_utf8(&literal.0).ok()?);
            Some(())
        }
        HirKind::Class(class) => {
            out.push(first(class)?);
            Some(())
        }
        HirKind::Repetition(repeat) => {
            // Unbounded repetitions of a non-empty thing read better with one.
            let times = if repeat.min == 0 && repeat.max.is_none() {
                1
            } else {
                repeat.min
            };
            (0..times).try_for_each(|_| write(&repeat.sub, out))
        }
        HirKind::Capture(capture) => write(&capture.sub, out),
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| write(part, out)),
        HirKind::Alternation(choices) => write(choices.first()?, out),
    }
}

/// A letter or digit of the class if it has one, else its first member.
fn first(class: &Class) -> Option<char> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.iter().map(|r| (r.start(), r.end())).collect(),
        Class::Bytes(class) => class
            .iter()
            .map(|r| (char::from(r.start()), char::from(r.end())))
            .collect(),
    };
    let inside = |c: &char| ranges.iter().any(|(from, to)| from <= c && c <= to);
    ['1', 'a', 'A', ' ', '-']
        .into_iter()
        .find(inside)
        .or_else(|| ranges.first().map(|(from, _)| *from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_patterns_have_samples() {
        assert_eq!(sample("^[A-Z]{2}-\\d{3}$").unwrap(), "AA-111");
        assert_eq!(sample("^(yes|no)$").unwrap(), "yes");
        assert_eq!(sample("^\\S+@\\S+$").unwrap(), "1@1");
        assert_eq!(sample("(?=x)"), None);
    }
}
