//! `errors.md` and `coverage-reasons.md`: every stable code with a sentence and a remedy.
//!
//! The table is `codes.toml`. Tests hold it against the sources in both directions: each code there occurs in `src`, and each code
//! that `src` can give is there.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::docs::markdown::{generated, paragraph, table};

const TABLE: &str = include_str!("codes.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codes {
    /// Codes of problem documents.
    pub problem: Vec<Entry>,
    /// Why an item has no result, or a job failed.
    pub reason: Vec<Entry>,
    pub flag: Vec<Entry>,
    /// Why a job stands still.
    pub halt: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub code: String,
    /// HTTP status, of problems alone.
    pub status: Option<u16>,
    /// Heading under which reasons are listed.
    pub group: Option<String>,
    /// One sentence: what happened.
    pub sentence: String,
    /// One sentence: what to do.
    pub remedy: String,
}

pub fn codes() -> Result<Codes> {
    toml::from_str(TABLE).context("codes.toml is not well-formed")
}

pub fn errors() -> Result<String> {
    let codes = codes()?;
    let mut text = generated("`xtask/src/docs/reference/codes.toml`");
    text.push_str("# Errors\n\n");
    text.push_str(&paragraph(
        "An error is a problem document (RFC 9457, `application/problem+json`). Branch on `code`: it is stable. `detail` is a \
         sentence for people. `errors` lists each fault of a request with its path, at most 100 of them.",
    ));
    text.push_str(
        "\n```json\n{\n  \"type\": \"about:blank\", \"title\": \"Unprocessable Entity\", \"status\": 422,\n  \
         \"detail\": \"The request has a fault.\", \"code\": \"invalid_request\", \"request_id\": \"req_1\",\n  \
         \"errors\": [{ \"path\": \"stages[0].chunk.items\", \"message\": \"must be at least 1, is 0\" }]\n}\n```\n\n",
    );
    text.push_str(&paragraph(
        "Every response has `x-request-id`: yours, if you send one of 1 to 64 letters, digits, `.`, `_` and `-`, else a new \
         one. The Worker's log has the cause under the same id.",
    ));
    text.push('\n');
    let rows: Vec<Vec<String>> = codes
        .problem
        .iter()
        .map(|entry| {
            vec![
                entry
                    .status
                    .map_or(String::new(), |status| status.to_string()),
                format!("`{}`", entry.code),
                entry.sentence.clone(),
                entry.remedy.clone(),
            ]
        })
        .collect();
    text.push_str(&table(
        &["status", "code", "what happened", "what to do"],
        &rows,
    ));
    text.push('\n');
    text.push_str(&paragraph(
        "A job or a task that went wrong has codes of its own: see [Coverage reasons](coverage-reasons.md).",
    ));
    Ok(text)
}

pub fn reasons() -> Result<String> {
    let codes = codes()?;
    let mut text = generated("`xtask/src/docs/reference/codes.toml`");
    text.push_str("# Coverage reasons\n\n");
    text.push_str(&paragraph(
        "A report names each item without a result under `coverage.missing`, with one of these reasons. The same codes are in \
         `error.code` of tasks, attempts and jobs. `fanwise retry` (or `POST /v1/jobs/{id}/retry`) does what is missing and \
         keeps everything else.",
    ));
    let mut groups: Vec<&str> = Vec::new();
    for entry in &codes.reason {
        let group = entry.group.as_deref().unwrap_or_default();
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    for group in groups {
        let entries = codes
            .reason
            .iter()
            .filter(|entry| entry.group.as_deref().unwrap_or_default() == group);
        text.push_str(&format!("\n## {group}\n\n{}", rows("reason", entries)));
    }
    text.push_str("\n## Flags\n\n");
    text.push_str(&paragraph(
        "`coverage.flagged` names results that look wrong. A flagged result still counts as covered.",
    ));
    text.push('\n');
    text.push_str(&rows("flag", codes.flag.iter()));
    text.push_str("\n## Why a job waits\n\n");
    text.push_str(&paragraph(
        "`halt.reason` of a job. `halt.detail` says more, and `halt.resumes_at` when Fanwise tries again by itself.",
    ));
    text.push('\n');
    text.push_str(&rows("reason", codes.halt.iter()));
    Ok(text)
}

fn rows<'a>(head: &str, entries: impl Iterator<Item = &'a Entry>) -> String {
    let rows: Vec<Vec<String>> = entries
        .map(|entry| {
            vec![
                format!("`{}`", entry.code),
                entry.sentence.clone(),
                entry.remedy.clone(),
            ]
        })
        .collect();
    table(&[head, "what happened", "what to do"], &rows)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::root;

    /// The sources without their tests, one text.
    fn sources() -> String {
        let mut text = String::new();
        read(&root::dir().join("src"), &mut text);
        text
    }

    fn read(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, text);
            } else if path.extension().is_some_and(|ending| ending == "rs")
                && path.file_stem().is_some_and(|stem| stem != "tests")
            {
                let whole = std::fs::read_to_string(&path).unwrap();
                text.push_str(whole.split("#[cfg(test)]\nmod tests").next().unwrap_or(""));
            }
        }
    }

    /// The literal after each occurrence of `before`, if it is spelt like a code.
    fn after(text: &str, before: &str) -> BTreeSet<String> {
        text.split(before)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .filter(|word| {
                !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            })
            .map(str::to_owned)
            .collect()
    }

    /// Codes that the sources can give to tasks, items and jobs.
    fn given() -> BTreeSet<String> {
        let text = sources();
        let mut codes = BTreeSet::new();
        for before in [
            "\"code\": \"",
            "code: \"",
            "Next::Problem(\"",
            "NOT_STARTED: &str = \"",
        ] {
            codes.extend(after(&text, before));
        }
        // The codes of failed calls, and those of pages, are lists of their own.
        let calls = text.split("error_codes! {").nth(1).unwrap();
        codes.extend(after(calls.split("\n}").next().unwrap(), " = \""));
        let pages = text.split("impl WebError {").nth(1).unwrap();
        codes.extend(after(pages.split("pub fn again").next().unwrap(), "=> \""));
        codes
    }

    #[test]
    fn every_code_has_a_sentence_and_a_remedy() {
        let codes = codes().unwrap();
        let mut seen = BTreeSet::new();
        for entry in codes
            .problem
            .iter()
            .chain(&codes.reason)
            .chain(&codes.flag)
            .chain(&codes.halt)
        {
            for text in [&entry.sentence, &entry.remedy] {
                assert!(
                    text.ends_with('.') && text.len() > 5,
                    "{}: {text}",
                    entry.code
                );
            }
        }
        for entry in &codes.reason {
            assert!(seen.insert(&entry.code), "{} twice", entry.code);
            assert!(entry.group.is_some(), "{} has no group", entry.code);
        }
    }

    #[test]
    fn problems_are_those_of_the_api() {
        let document = super::super::openapi().unwrap();
        let api: BTreeSet<&str> = document
            .pointer("/components/schemas/Code/enum")
            .and_then(Value::as_array)
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let codes = codes().unwrap();
        let ours: BTreeSet<&str> = codes
            .problem
            .iter()
            .map(|entry| entry.code.as_str())
            .collect();
        assert_eq!(ours, api);
    }

    #[test]
    fn reasons_are_those_that_the_sources_give() {
        let codes = codes().unwrap();
        let listed: BTreeSet<String> = codes
            .reason
            .iter()
            .map(|entry| entry.code.clone())
            .collect();
        let missing: Vec<String> = given().difference(&listed).cloned().collect();
        assert_eq!(
            missing,
            Vec::<String>::new(),
            "in src, but not in codes.toml"
        );
        let text = sources();
        let stale: Vec<&String> = listed
            .iter()
            .chain(codes.flag.iter().map(|entry| &entry.code))
            .filter(|code| {
                !text.contains(&format!("\"{code}\"")) && !text.contains(&format!("'{code}'"))
            })
            .collect();
        assert_eq!(
            stale,
            Vec::<&String>::new(),
            "in codes.toml, but not in src"
        );
    }
}
