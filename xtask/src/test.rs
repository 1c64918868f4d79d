//! `test`: every test the project has, and a summary.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, anyhow, bail};

use crate::bench::size;
use crate::clients::{self, Hosted};
use crate::docs::snippets;
use crate::proc::{self, Group};
use crate::setup::{self, Tools, plain};
use crate::standin::Standin;
use crate::state::State;
use crate::{build, root, ui};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only the suites whose name contains this: native, deny, size, sdk, client, mcp, schemathesis, page, documents, e2e
    #[arg(long)]
    pub only: Option<String>,
}

/// How one suite went.
#[derive(Debug, Default)]
struct Outcome {
    name: &'static str,
    passed: u64,
    failed: u64,
    ignored: u64,
    time: String,
}

pub fn run(args: &Args) -> Result<()> {
    let wanted = |name: &str| args.only.as_deref().is_none_or(|only| name.contains(only));
    let tools = setup::prepare()?;
    let program = build::all(&tools)?;
    let mut outcomes = Vec::new();
    if wanted("native") {
        let mut cargo = plain("cargo");
        // The end-to-end tests are natively compiled too, but need workerd; they come last.
        cargo.args([
            "test",
            "--locked",
            "--workspace",
            "--exclude",
            "e2e",
            "--no-fail-fast",
        ]);
        outcomes.push(suite("native", &mut cargo)?);
    }
    if wanted("deny") {
        outcomes.push(deny()?);
    }
    if wanted("size") {
        outcomes.push(weight()?);
    }
    if wanted("sdk python") {
        let python = setup::python()?;
        outcomes.push(sdk(&program, "sdk python", &mut plain(python), "run.py")?);
    }
    if wanted("sdk typescript") {
        outcomes.push(sdk(
            &program,
            "sdk typescript",
            &mut tools.command("node"),
            "run.mjs",
        )?);
    }
    if wanted("sdk types") {
        let mut node = tools.command("node");
        outcomes.push(sdk(&program, "sdk types", &mut node, "types.mjs")?);
    }
    if wanted("client python") {
        let hosted = Hosted::start(&tools, &program, &[])?;
        let mut client = clients::client_python(&hosted)?;
        outcomes.push(suite("client python", &mut client)?);
    }
    if wanted("client typescript") {
        let hosted = Hosted::start(&tools, &program, &clients::CLIENT_VARS)?;
        let mut client = clients::client_typescript(&tools, &hosted)?;
        outcomes.push(suite("client typescript", &mut client)?);
    }
    if wanted("mcp python") {
        let hosted = Hosted::start(&tools, &program, &[])?;
        outcomes.push(suite("mcp python", &mut clients::mcp_python(&hosted)?)?);
    }
    if wanted("mcp typescript") {
        let hosted = Hosted::start(&tools, &program, &[])?;
        let mut client = clients::mcp_typescript(&tools, &hosted);
        outcomes.push(suite("mcp typescript", &mut client)?);
    }
    if wanted("schemathesis") {
        let hosted = Hosted::start(&tools, &program, &clients::SCHEMATHESIS_VARS)?;
        let mut client = clients::schemathesis(&hosted)?;
        outcomes.push(suite("schemathesis", &mut client)?);
    }
    if wanted("page") {
        let hosted = Hosted::with_cron(&tools, &program)?;
        outcomes.push(suite(
            "page",
            &mut clients::page(&tools, &hosted, "run.mjs")?,
        )?);
    }
    if wanted("documents") {
        outcomes.push(documents(&tools, &program)?);
    }
    if wanted("e2e") {
        outcomes.push(suite("e2e", &mut end_to_end(&tools))?);
    }
    summary(&outcomes)
}

/// Where dependencies come from, under which licences, in how many copies; and what is known against them, where the list of
/// advisories can be had.
fn deny() -> Result<Outcome> {
    let name = "deny";
    if proc::ask(plain("cargo").args(["deny", "--version"])).is_none() {
        ui::say("\n== deny\nnot checked: `cargo install --locked cargo-deny` brings it");
        return Ok(Outcome {
            name,
            ignored: 1,
            ..Outcome::default()
        });
    }
    let check = |what: &[&str]| {
        let mut cargo = plain("cargo");
        cargo.args(["deny", "--locked", "check"]).args(what);
        cargo
    };
    let mut outcome = suite(name, &mut check(&["bans", "licenses", "sources"]))?;
    let reachable = proc::ask(plain("cargo").args(["deny", "fetch", "db"])).is_some();
    if reachable {
        let known = suite(name, &mut check(&["advisories"]))?;
        outcome.passed += known.passed;
        outcome.failed += known.failed;
    } else {
        ui::say("advisories: not checked, the list cannot be reached");
        outcome.ignored += 1;
    }
    Ok(outcome)
}

/// The Worker keeps within its weight.
fn weight() -> Result<Outcome> {
    let size = size::of(&root::dir().join("build"), &build::named())?;
    let fits = size.gzipped <= size::LIMIT_BYTES;
    ui::say(format!(
        "\n== size\nthe Worker has {} bytes gzipped, and may have {}{}",
        size.gzipped,
        size::LIMIT_BYTES,
        if fits {
            ""
        } else {
            "; `cargo xtask bench --size` says where they are"
        }
    ));
    Ok(Outcome {
        name: "size",
        passed: u64::from(fits),
        failed: u64::from(!fits),
        ..Outcome::default()
    })
}

/// The commands of README and guides, run against a Worker.
fn documents(tools: &Tools, program: &Path) -> Result<Outcome> {
    let began = Instant::now();
    ui::say("\n== documents");
    let (passed, failed) = snippets::play(tools, program, None)?.told()?;
    Ok(Outcome {
        name: "documents",
        passed,
        failed,
        time: ui::took(began.elapsed()),
        ..Outcome::default()
    })
}

/// One at a time: each starts a Worker, and timings on few cores are theirs to keep.
fn end_to_end(tools: &Tools) -> Command {
    let mut cargo = tools.command("cargo");
    cargo.args([
        "test",
        "--locked",
        "--package",
        "e2e",
        "--",
        "--test-threads",
        "1",
    ]);
    cargo
}

/// The official SDK as client of a stand-in of its own.
fn sdk(
    program: &Path,
    name: &'static str,
    interpreter: &mut Command,
    script: &str,
) -> Result<Outcome> {
    let state = State::temporary("sdk")?;
    let standin = Standin::start(program, state.dir(), &[])?;
    let path = root::dir().join("tests/standin/sdk").join(script);
    interpreter
        .arg(path)
        .args(["--base-url", standin.url()])
        .env("STANDIN_URL", standin.url());
    suite(name, interpreter)
}

/// Runs it, shows what it says, and counts.
fn suite(name: &'static str, command: &mut Command) -> Result<Outcome> {
    let began = Instant::now();
    ui::say(format!("\n== {name}"));
    command
        .current_dir(root::dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut group = Group::spawn(name, command)?;
    let stdout = group
        .stdout()
        .ok_or_else(|| anyhow!("{name} has no output"))?;
    let mut outcome = Outcome {
        name,
        ..Outcome::default()
    };
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        ui::print(&line);
        outcome.count(&line);
    }
    let status = loop {
        match group.ended() {
            Some(status) => break status,
            None => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    };
    if status.success() {
        // A script that counts nothing is one test.
        outcome.passed += u64::from(outcome.passed + outcome.failed == 0);
    } else {
        outcome.failed = outcome.failed.max(1);
    }
    outcome.time = ui::took(began.elapsed());
    Ok(outcome)
}

impl Outcome {
    /// Adds up cargo's lines `test result: ok. 7 passed; 0 failed; …`, the plain `7 passed, 0 failed`, and
    /// `7 of 8 checks passed`.
    fn count(&mut self, line: &str) {
        if let Some((passed, all)) = checks(line) {
            self.passed += passed;
            self.failed += all.saturating_sub(passed);
            return;
        }
        let Some(counts) = line.strip_prefix("test result:").or_else(|| {
            let plain = line.trim();
            plain
                .starts_with(|first: char| first.is_ascii_digit())
                .then_some(plain)
        }) else {
            return;
        };
        if !counts.contains(" passed") {
            return;
        }
        let mut before = 0;
        for word in counts
            .split([' ', ';', ',', '.'])
            .filter(|word| !word.is_empty())
        {
            match word {
                "passed" => self.passed += before,
                "failed" => self.failed += before,
                "ignored" => self.ignored += before,
                number => before = number.parse().unwrap_or_default(),
            }
        }
    }
}

fn checks(line: &str) -> Option<(u64, u64)> {
    let (passed, rest) = line.split_once(" of ")?;
    let (all, _) = rest.split_once(" checks passed")?;
    Some((passed.parse().ok()?, all.parse().ok()?))
}

fn summary(outcomes: &[Outcome]) -> Result<()> {
    let sum = |part: fn(&Outcome) -> u64| outcomes.iter().map(part).sum::<u64>();
    let (passed, failed) = (sum(|o| o.passed), sum(|o| o.failed));
    ui::print("");
    for outcome in outcomes {
        let verdict = if outcome.failed == 0 { "ok" } else { "FAILED" };
        ui::print(format!(
            "{verdict:7} {:17} {:5} passed {:3} failed {:3} ignored  {}",
            outcome.name, outcome.passed, outcome.failed, outcome.ignored, outcome.time
        ));
    }
    ui::print(format!("{passed} passed, {failed} failed"));
    if failed > 0 {
        bail!("there are failures");
    }
    if passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// npm then takes what was looked at, and nothing that has its name.
    #[test]
    fn every_npm_package_has_its_hash_and_comes_from_the_registry() {
        let list = [
            "package-lock.json",
            "tests/clients/runtimes/package-lock.json",
            "xtask/src/bench/restate/package-lock.json",
        ];
        for path in list {
            let text = std::fs::read_to_string(root::dir().join(path)).unwrap();
            let lock: serde_json::Value = serde_json::from_str(&text).unwrap();
            let packages = lock.get("packages").unwrap().as_object().unwrap();
            // Where no address is noted, npm asks the registry that it is configured for; the hash is checked all the same.
            let from_registry = |address: &str| {
                address.is_empty() || address.starts_with("https://registry.npmjs.org/")
            };
            let from_elsewhere = packages.iter().filter(|(name, package)| {
                let text = |field: &str| {
                    package
                        .get(field)
                        .and_then(|text| text.as_str())
                        .unwrap_or_default()
                };
                name.contains("node_modules/")
                    && package.get("link").is_none()
                    && !(from_registry(text("resolved"))
                        && text("integrity").starts_with("sha512-"))
            });
            let names: Vec<_> = from_elsewhere.map(|(name, _)| name).collect();
            assert!(names.is_empty(), "{path}: {names:?}");
        }
    }

    #[test]
    fn counts_of_all_kinds_of_lines_are_added_up() {
        let mut outcome = Outcome::default();
        for line in [
            "running 7 tests",
            "test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured",
            "4 passed, 1 failed",
            "12 things happened",
            "5 of 6 checks passed with anthropic 2.12.0",
        ] {
            outcome.count(line);
        }
        assert_eq!(
            (outcome.passed, outcome.failed, outcome.ignored),
            (18, 5, 1)
        );
    }
}
