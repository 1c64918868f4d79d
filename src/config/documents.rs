//! What is made of the declarations, and whether it is up to date: the variables in `wrangler.toml`, and the reference page.
//!
//! After a change of the table or of a constant: `UPDATE_GOLDEN=1 cargo test -p fanwise --lib config`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::path::Path;

use super::table::{Kind, RENAMED, SECRETS, TOPICS, Variable};
use super::tuning::TUNING;
use super::{Config, describe};

const WIDTH: usize = 120;
/// The line of `wrangler.toml` from which on all is generated.
const MARK: &str = "# From here on generated from src/config/table.rs.";

/// Words in lines that begin with `#`.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            lines += &line;
            lines.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line += word;
    }
    lines + &line + "\n"
}

fn variables() -> impl Iterator<Item = &'static Variable> {
    TOPICS.iter().flat_map(|topic| topic.variables)
}

/// The generated part of `wrangler.toml`.
fn vars_block() -> String {
    let mut text = format!(
        "{MARK}\n# After a change there: UPDATE_GOLDEN=1 cargo test -p fanwise --lib config\n#\n"
    );
    text += "# Secrets are not here. Set them with `wrangler secret put NAME`:\n";
    for secret in SECRETS {
        let _ = writeln!(text, "#   {}", secret.name);
    }
    text += "[vars]\n";
    for topic in TOPICS {
        let _ = writeln!(
            text,
            "# {} {}",
            topic.title,
            "-".repeat(WIDTH - 3 - topic.title.len())
        );
        for variable in topic.variables {
            text += &comment(&format!(
                "{} Accepts: {}.",
                variable.says.trim(),
                variable.kind.range()
            ));
            let _ = writeln!(
                text,
                "{} = {:?}",
                variable.name,
                variable.kind.default_text()
            );
        }
    }
    text
}

fn shown(kind: Kind) -> String {
    match kind.default_text() {
        empty if empty.is_empty() => "empty".into(),
        text => format!("`{text}`"),
    }
}

/// `docs/reference/configuration.md`.
fn page() -> String {
    let mut text = String::from(
        "<!-- Generated from src/config. After a change there: UPDATE_GOLDEN=1 cargo test -p fanwise --lib config -->\n\n\
         # Configuration\n\n\
         Set variables in `wrangler.toml` under `[vars]`. An empty value counts as not set. If a value is wrong, every\n\
         request gets the error `misconfigured`, and `/healthz?deep=1` and the log name each wrong variable and the values\n\
         that it accepts.\n",
    );
    for topic in TOPICS {
        let _ = write!(
            text,
            "\n## {}\n\n| variable | default | accepts | meaning |\n|---|---|---|---|\n",
            topic.title
        );
        for one in topic.variables {
            let (name, says) = (one.name, one.says.trim());
            let _ = writeln!(
                text,
                "| `{name}` | {} | {} | {says} |",
                shown(one.kind),
                one.kind.range()
            );
        }
    }
    text += "\n`TUNING_JSON` is an object, for example `{\"LEASE_MS\": 30000}`. Its names are [below](#tuning-constants).\n";
    text += "\n### Old names\n\nAn old name is still read, and `/healthz?deep=1` asks to rename it.\n\n| old name | name |\n|---|---|\n";
    for (old, renamed) in RENAMED {
        let _ = writeln!(text, "| `{old}` | `{}` |", renamed.name);
    }
    text += "\n## Secrets\n\nSet secrets with `wrangler secret put NAME`. They are in no file.\n\n| secret | meaning |\n|---|---|\n";
    for secret in SECRETS {
        let _ = writeln!(text, "| `{}` | {} |", secret.name, secret.says);
    }
    text += "\n## Tuning constants\n\n\
        These figures depend on each other and on limits of the platform, so production needs no change of them. The\n\
        arithmetic is in `src/config/tuning.rs`. `TUNING_JSON` changes some of them by name, and\n\
        `cargo xtask dev --var NAME=VALUE` does it for one.\n\n\
        | constant | value | accepts | meaning |\n|---|---|---|---|\n";
    for one in TUNING {
        let (name, value, least, most) = (one.name, one.value, one.least, one.most);
        let _ = writeln!(
            text,
            "| `{name}` | {value} | {least} to {most} | {} |",
            one.says.trim()
        );
    }
    text += "\n`WORK_MS` + `CALL_TIMEOUT_MS` must be less than 900000, after which Cloudflare ends a queue consumer.\n\
        `EVENTS_MAX_MS` must be less than 1,000 times `EVENTS_POLL_MS`, because D1 takes 1,000 statements an invocation.\n";
    text
}

/// Compares a file with what it should hold; with `UPDATE_GOLDEN` it is written.
fn check(path: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, wanted, "{} is not up to date", path.display());
}

#[test]
fn the_deployment_s_file_has_every_variable_with_its_default_and_its_sentence() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("wrangler.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let (own, _) = text.split_once(MARK).unwrap();
    let wanted = format!("{own}{}", vars_block());
    check("wrangler.toml", &wanted);
    let file: toml::Table = wanted.parse().unwrap();
    let vars = file.get("vars").and_then(toml::Value::as_table).unwrap();
    let config = Config::from_vars(|name| Some(vars.get(name)?.as_str()?.to_owned()));
    assert_eq!(config, Config::from_vars(|_| None));
    assert_eq!(vars.len(), variables().count());
}

#[test]
fn the_reference_page_is_up_to_date() {
    check("docs/reference/configuration.md", &page());
}

/// A declaration that nothing reads would be documented and have no effect.
#[test]
fn every_declared_variable_and_constant_is_read() {
    let asked = std::cell::RefCell::new(Vec::new());
    let config = Config::from_vars(|name| {
        asked.borrow_mut().push(name.to_owned());
        None
    });
    assert_eq!(describe(&config.err().unwrap_or_default()), "");
    let asked = asked.into_inner();
    // The platform's adapter reads the address of the API.
    for one in variables().filter(|one| one.name != "ANTHROPIC_BASE_URL") {
        assert!(asked.iter().any(|name| name == one.name), "{}", one.name);
    }
    for one in TUNING {
        let faults = Config::from_pairs(&[(one.name, "many")]).unwrap_err();
        let problem = format!(
            "is \"many\", wants a whole number from {} to {}",
            one.least, one.most
        );
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(
            (faults[0].name, faults[0].problem.as_str()),
            (one.name, problem.as_str())
        );
    }
}

#[test]
fn names_are_declared_once_and_sentences_end() {
    let mut names: Vec<&str> = variables().map(|one| one.name).collect();
    names.extend(TUNING.iter().map(|one| one.name));
    names.extend(SECRETS.iter().map(|one| one.name));
    names.extend(RENAMED.iter().map(|(old, _)| *old));
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(variables().count() <= 28, "an operator reads all of them");
    for one in variables() {
        assert!(one.says.trim().ends_with('.'), "{}", one.name);
    }
}
