//! The regular expressions of a schema: bounded, translated once, and measured before they are compiled.
//!
//! JSON Schema means the expressions of ECMAScript; the engine below reads those of Rust. The checker under us translates
//! class by class and parses the whole expression again for each, so its work grows with the square of the length. Here all
//! classes are translated in one pass, and the checker then finds nothing left to translate. How large a compiled
//! expression becomes has little to do with its length (`(\pL{40}){5}` has 12 characters and takes 18 MB), so each is
//! compiled under a size limit, and all of a schema together have a budget.

use regex_automata::nfa::thompson;
use regex_syntax::ast::{self, Ast, ClassPerl, ClassPerlKind, ClassSetItem, LiteralKind};

/// Characters of one pattern.
pub(super) const MAX_CHARS: usize = 1_000;
/// Patterns of one schema.
pub(super) const MAX_COUNT: usize = 100;
/// Bytes that all patterns of a schema take once compiled, forwards; the engine keeps about three times as much.
/// `^\pL{1,100}$` takes 1.2 MB.
pub(super) const MAX_BYTES: usize = 2_000_000;

/// What is left for the patterns of one schema.
pub(super) struct Budget {
    count: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            count: MAX_COUNT,
            bytes: MAX_BYTES,
        }
    }
}

impl Budget {
    /// The pattern as the engine reads it. The error is a sentence without its subject's place.
    pub(super) fn translate(&mut self, pattern: &str) -> Result<String, String> {
        if pattern.chars().nth(MAX_CHARS).is_some() {
            return Err(format!("a pattern has at most {MAX_CHARS} characters"));
        }
        self.count = self
            .count
            .checked_sub(1)
            .ok_or_else(|| format!("a schema has at most {MAX_COUNT} patterns"))?;
        let too_large = || {
            format!(
                "the patterns of a schema take at most {} MB once compiled; write shorter repetitions",
                MAX_BYTES / 1_000_000
            )
        };
        if self.bytes == 0 {
            // What comes after one that was too large is not looked at: each would cost the whole budget again.
            return Err(too_large());
        }
        let pattern = translated(pattern)?;
        let config = thompson::Config::new().nfa_size_limit(Some(self.bytes));
        let compiled = thompson::Compiler::new().configure(config).build(&pattern);
        let compiled = match compiled {
            Ok(compiled) => compiled,
            Err(error) if error.size_limit().is_some() => {
                self.bytes = 0;
                return Err(too_large());
            }
            Err(error) => return Err(format!("is no pattern that can be used here: {error}")),
        };
        self.bytes = self
            .bytes
            .checked_sub(compiled.memory_usage())
            .ok_or_else(too_large)?;
        Ok(pattern)
    }
}

/// ECMAScript's classes and `\cX` written as the engine means them.
pub(super) fn translated(pattern: &str) -> Result<String, String> {
    let pattern = control_letters(pattern);
    let ast = ast::parse::Parser::new()
        .parse(&pattern)
        .map_err(|error| format!("is no pattern that can be used here: {}", error.kind()))?;
    let mut classes = ast::visit(&ast, Classes::default()).map_err(str::to_owned)?;
    classes.sort_unstable_by_key(|(from, ..)| *from);
    let mut out = String::with_capacity(pattern.len() * 2);
    let mut done = 0;
    for (from, to, with) in classes {
        out.push_str(pattern.get(done..from).unwrap_or_default());
        out.push_str(with);
        done = to;
    }
    out.push_str(pattern.get(done..).unwrap_or_default());
    Ok(out)
}

/// `\cA` is the control character 1. The parser knows no such escape.
fn control_letters(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let mut ahead = rest.clone();
        match (ahead.next(), ahead.next()) {
            (Some('c'), Some(letter)) if letter.is_ascii_alphabetic() => {
                out.push(char::from(letter as u8 % 32));
                rest = ahead;
            }
            (Some(escaped), _) => {
                out.extend(['\\', escaped]);
                rest.next();
            }
            (None, _) => out.push('\\'),
        }
    }
    out
}

/// Where classes begin and end, and what is written instead.
#[derive(Default)]
struct Classes(Vec<(usize, usize, &'static str)>);

impl Classes {
    fn class(&mut self, class: &ClassPerl) {
        let with = match (&class.kind, class.negated) {
            (ClassPerlKind::Digit, false) => "[0-9]",
            (ClassPerlKind::Digit, true) => "[^0-9]",
            (ClassPerlKind::Word, false) => "[A-Za-z0-9_]",
            (ClassPerlKind::Word, true) => "[^A-Za-z0-9_]",
            (ClassPerlKind::Space, false) => SPACES,
            (ClassPerlKind::Space, true) => NO_SPACES,
        };
        let span = class.span;
        self.0.push((span.start.offset, span.end.offset, with));
    }
}

/// White space and line ends of ECMAScript: tab to carriage return, U+FEFF, and the category Zs with both separators.
const SPACES: &str = r"[\t-\r\x{FEFF}\p{Zs}\x{2028}\x{2029}]";
const NO_SPACES: &str = r"[^\t-\r\x{FEFF}\p{Zs}\x{2028}\x{2029}]";

impl ast::Visitor for Classes {
    type Output = Vec<(usize, usize, &'static str)>;
    type Err = &'static str;

    fn finish(self) -> Result<Self::Output, Self::Err> {
        Ok(self.0)
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Self::Err> {
        if let ClassSetItem::Perl(class) = item {
            self.class(class);
        }
        Ok(())
    }

    fn visit_post(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        match ast {
            Ast::ClassPerl(class) => self.class(class),
            Ast::Literal(literal) => {
                if matches!(
                    literal.kind,
                    LiteralKind::Special(ast::SpecialLiteralKind::Bell)
                ) {
                    return Err("`\\a` is no escape of ECMAScript");
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The format `regex` of a value: whether it could be a pattern.
pub(super) fn is_pattern(value: &serde_json::Value) -> Result<(), Box<dyn std::error::Error>> {
    let Some(text) = value.as_str() else {
        return Ok(());
    };
    if text.chars().nth(MAX_CHARS).is_some() {
        return Err(format!("a pattern has at most {MAX_CHARS} characters").into());
    }
    translated(text).map(|_| ()).map_err(Into::into)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_control_letters_are_those_of_ecmascript() {
        for (pattern, expected) in [
            (r"ab\cAcde\cBfg", "ab\u{1}cde\u{2}fg"),
            (r"\\comment", r"\\comment"),
            (r"ab\def", "ab[0-9]ef"),
            (r"ab[a-z\d]ef", "ab[a-z[0-9]]ef"),
            (r"\D\w", "[^0-9][A-Za-z0-9_]"),
            (r"ab[a-z\D]ef", "ab[a-z[^0-9]]ef"),
            (
                "[\\sé]\\d",
                "[[\\t-\\r\\x{FEFF}\\p{Zs}\\x{2028}\\x{2029}]é][0-9]",
            ),
        ] {
            assert_eq!(translated(pattern).unwrap(), expected, "{pattern}");
            assert_eq!(translated(expected).unwrap(), expected, "translated twice");
        }
        for pattern in [r"\c\n", r"abc\adef", "(", "(?=a)"] {
            assert!(translated(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_budget_ends_by_number_by_length_and_by_compiled_size() {
        let mut budget = Budget::default();
        for _ in 0..MAX_COUNT {
            budget.translate("^a+$").unwrap();
        }
        assert!(
            budget
                .translate("^a+$")
                .unwrap_err()
                .contains("at most 100")
        );
        assert!(Budget::default().translate(&"a".repeat(1_001)).is_err());
        assert!(Budget::default().translate(&"é".repeat(1_000)).is_ok());
        assert!(Budget::default().translate(r"^\pL{1,100}$").is_ok());
        assert!(
            Budget::default()
                .translate(r"(\pL{40}){5}")
                .unwrap_err()
                .contains("2 MB")
        );
        let mut budget = Budget::default();
        let taken = (0..20)
            .take_while(|_| budget.translate(r"\pL{40}").is_ok())
            .count();
        assert!((1..20).contains(&taken), "{taken}");
    }
}
