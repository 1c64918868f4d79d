//! The mechanical rules of the house language: length of lines and pages, and words that readers stumble over.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::markdown::WIDTH;
use super::pages;
use crate::root;

/// Words and phrases that this project once used in a sense of its own. Standard English says it better.
const TICS: [&str; 15] = [
    "so many",
    "so long",
    "so often",
    "whoever",
    "nobody",
    "of it is told",
    "is told",
    "are told",
    "is brought",
    "are brought",
    "is taken",
    "are taken",
    "stands",
    "wants a",
    "a look at",
];

/// A sentence that begins so hides its actor. Questions may.
const OPENINGS: [&str; 3] = ["What", "Who", "Of"];

/// How long a page may be, by the beginning of its path.
const LONGEST: [(&str, usize); 3] = [
    ("README.md", 200),
    ("ARCHITECTURE.md", 200),
    ("docs/guide/", 250),
];

/// Every break of a rule in the documents, with its place.
pub fn faults() -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let more = [
        "samples/README.md",
        ".github/ISSUE_TEMPLATE/bug.md",
        ".github/ISSUE_TEMPLATE/feature.md",
    ];
    let mut documents = pages::all()?;
    for path in more {
        documents.push(pages::Page::read(path)?);
    }
    for page in &documents {
        let name = page.path.display().to_string();
        in_document(&name, &page.text, &mut faults);
    }
    for path in SPOKEN {
        sources(&root::dir().join(path), &mut faults)?;
    }
    Ok(faults)
}

/// Sources whose texts people read: the page and problem details. Help texts and descriptions of the API are in the reference,
/// which is checked as a document.
const SPOKEN: [&str; 2] = ["public/js", "src/api"];

fn sources(path: &Path, faults: &mut Vec<String>) -> Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            sources(&entry?.path(), faults)?;
        }
        return Ok(());
    }
    let text = || {
        std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
    };
    let name = path
        .strip_prefix(root::dir())
        .unwrap_or(path)
        .display()
        .to_string();
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("js") => in_page(&name, &text()?, faults),
        Some("rs") if path.file_stem().is_some_and(|stem| stem != "tests") => {
            in_source(&name, &text()?, faults);
        }
        _ => {}
    }
    Ok(())
}

/// The page's texts: every line that is no comment.
fn in_page(name: &str, text: &str, faults: &mut Vec<String>) {
    for (index, line) in text.lines().enumerate() {
        if !line.trim_start().starts_with(['/', '*']) {
            faults.extend(tics(line).map(|tic| format!("{name}:{}: \"{tic}\"", index + 1)));
        }
    }
}

fn in_document(name: &str, text: &str, faults: &mut Vec<String>) {
    let lines = text.lines().count();
    for (prefix, longest) in LONGEST {
        if name.starts_with(prefix) && lines > longest {
            faults.push(format!("{name}: {lines} lines; it may have {longest}"));
        }
    }
    let mut fenced = false;
    let mut before = String::new();
    for (index, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", index + 1);
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            before.clear();
            continue;
        }
        let exempt = line.starts_with('|') || line.contains("](") || line.contains("://");
        if line.chars().count() > WIDTH && !exempt {
            faults.push(format!("{place}: longer than {WIDTH} characters"));
        }
        if fenced {
            continue;
        }
        let prose = without_code(line);
        faults.extend(tics(&prose).map(|tic| format!("{place}: \"{tic}\"")));
        if let Some(opening) = opens_badly(&prose, &before) {
            faults.push(format!("{place}: a sentence begins with \"{opening}\""));
        }
        before = prose;
    }
}

/// Only string literals: comments are for who reads the code.
fn in_source(name: &str, text: &str, faults: &mut Vec<String>) {
    let production = text.split("#[cfg(test)]").next().unwrap_or("");
    for (index, line) in production.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for literal in line.split('"').skip(1).step_by(2) {
            faults.extend(tics(literal).map(|tic| format!("{name}:{}: \"{tic}\"", index + 1)));
        }
    }
}

/// The line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

fn tics(text: &str) -> impl Iterator<Item = &'static str> {
    let text = text.to_lowercase();
    let boundary = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    TICS.into_iter().filter(move |tic| {
        text.match_indices(tic).any(|(place, found)| {
            boundary(text.get(..place).and_then(|head| head.chars().last()))
                && boundary(
                    text.get(place + found.len()..)
                        .and_then(|rest| rest.chars().next()),
                )
        })
    })
}

/// The opening word, where a sentence of this line begins with one of [`OPENINGS`] and is no question.
fn opens_badly(line: &str, before: &str) -> Option<&'static str> {
    let line = line.trim_start_matches(['-', '*', '>', ' ']);
    if line.starts_with(['#', '|']) {
        return None;
    }
    let fresh = before.trim().is_empty() || before.trim_end().ends_with(['.', '!', '?', ':']);
    let mut sentences: Vec<&str> = line.split(". ").collect();
    if !fresh && !sentences.is_empty() {
        sentences.remove(0);
    }
    OPENINGS.into_iter().find(|opening| {
        sentences.iter().any(|sentence| {
            sentence
                .strip_prefix(opening)
                .is_some_and(|rest| rest.starts_with(' ') && !sentence.contains('?'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(name: &str, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        in_document(name, text, &mut faults);
        faults
    }

    #[test]
    fn tics_are_found_as_whole_words_and_outside_of_code() {
        assert_eq!(
            faults_of("a.md", "Nobody knows.\n`nobody` standstill\n"),
            ["a.md:1: \"nobody\""]
        );
        assert_eq!(
            faults_of("a.md", "It is told twice.\n"),
            ["a.md:1: \"is told\""]
        );
    }

    #[test]
    fn sentences_name_their_actor_first() {
        assert_eq!(faults_of("a.md", "What is it?\n"), Vec::<String>::new());
        assert_eq!(
            faults_of("a.md", "It ends. What remains goes live.\n"),
            ["a.md:1: a sentence begins with \"What\""]
        );
        assert_eq!(
            faults_of("a.md", "the rest of a line\nOf a sentence.\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn long_lines_and_long_pages_are_found_but_tables_are_exempt() {
        let long = "word ".repeat(30);
        assert_eq!(faults_of("a.md", &long).len(), 1);
        assert_eq!(faults_of("a.md", &format!("| {long} |")).len(), 0);
        assert_eq!(faults_of("docs/guide/a.md", &"x\n".repeat(251)).len(), 1);
    }
}
