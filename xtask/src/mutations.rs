//! `simulate --mutations`: whether the simulation would notice. For each promise the engine is broken on purpose, one line at a
//! time (`tests/engine/simulation/mutations.toml`), and the stories are played until one breaks.
//!
//! SQL is broken where the world hands it to SQLite, so nothing is compiled for it. Rust is broken in a copy of the sources
//! in `.fanwise/mutations`; the project's own are never touched.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, Result, anyhow, bail};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Deserialize;

use crate::proc::Group;
use crate::setup::plain;
use crate::{root, ui};

const LIST: &str = "tests/engine/simulation/mutations.toml";
/// Compiling included. A broken engine may well turn in circles.
const LONGEST: Duration = Duration::from_secs(900);

#[derive(Deserialize)]
struct Listed {
    mutation: Vec<Mutation>,
}

/// One line, broken.
#[derive(Deserialize)]
struct Mutation {
    promise: String,
    what: String,
    file: String,
    from: String,
    to: String,
    /// What is broken is Rust, and must be compiled.
    #[serde(default)]
    rust: bool,
    /// No story can come by it: this test is played.
    test: Option<String>,
}

/// What noticed it: a story that broke, and what was said of it.
struct Caught {
    /// Its kind and seed.
    story: String,
    by: String,
}

/// Plays up to `seeds` stories against each mutation of a promise that contains `only`.
pub fn run(seeds: u64, only: Option<&str>) -> Result<()> {
    let list = listed()?;
    let wanted = |mutation: &&Mutation| {
        only.is_none_or(|only| mutation.promise == only || mutation.what.contains(only))
    };
    let mut copy = None;
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["promise", "broken", "caught by", "story"]);
    let mut missed = Vec::new();
    for mutation in list.iter().filter(wanted) {
        let step = ui::Step::begin(&mutation.promise, &mutation.what);
        let caught = if mutation.rust {
            let copy = match &mut copy {
                Some(copy) => copy,
                none => none.insert(Copy::make()?),
            };
            copy.with(mutation, || mutation.play(copy.dir(), seeds, &[]))?
        } else {
            // That it stands there, once.
            mutation.apply(&fs::read_to_string(root::dir().join(&mutation.file))?)?;
            let broken = [
                ("FANWISE_BREAK_SQL", mutation.from.as_str()),
                ("FANWISE_BREAK_INTO", mutation.to.as_str()),
            ];
            mutation.play(root::dir(), seeds, &broken)?
        };
        step.done();
        let (by, seed) = match caught {
            Some(caught) => (caught.by, caught.story),
            None => {
                missed.push(mutation.what.as_str());
                ("nothing".to_owned(), format!("not by {seeds} of each"))
            }
        };
        ui::say(format!("     {seed}: {by}"));
        table.add_row([&mutation.promise, &mutation.what, &by, &seed]);
    }
    ui::print(table.to_string());
    if !missed.is_empty() {
        bail!("not noticed: {}", missed.join("; "));
    }
    Ok(())
}

fn listed() -> Result<Vec<Mutation>> {
    let text = fs::read_to_string(root::dir().join(LIST)).with_context(|| LIST.to_owned())?;
    let listed: Listed = toml::from_str(&text).with_context(|| LIST.to_owned())?;
    Ok(listed.mutation)
}

/// A copy of the sources. Files that are as they were keep their times, so that little is compiled again.
struct Copy(PathBuf);

impl Copy {
    fn make() -> Result<Copy> {
        let dir = root::tools_dir().join("mutations");
        let listed = plain("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(root::dir())
            .output()
            .context("git could not list the sources")?;
        for name in String::from_utf8_lossy(&listed.stdout).split('\0') {
            let from = root::dir().join(name);
            if !name.is_empty() && from.is_file() {
                place(&dir.join(name), &fs::read(&from)?)?;
            }
        }
        Ok(Copy(dir))
    }

    fn dir(&self) -> &Path {
        &self.0
    }

    /// Runs `body` while the mutation holds.
    fn with<T>(&self, mutation: &Mutation, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let path = self.0.join(&mutation.file);
        let whole = fs::read_to_string(&path).with_context(|| mutation.file.clone())?;
        place(&path, mutation.apply(&whole)?.as_bytes())?;
        let result = body();
        place(&path, whole.as_bytes())?;
        result
    }
}

impl Mutation {
    fn apply(&self, whole: &str) -> Result<String> {
        match whole.matches(&self.from).count() {
            1 => Ok(whole.replace(&self.from, &self.to)),
            times => bail!("{}: stands {times} times in {}", self.what, self.file),
        }
    }
}

impl Mutation {
    fn play(&self, dir: &Path, seeds: u64, broken: &[(&str, &str)]) -> Result<Option<Caught>> {
        match &self.test {
            None => play(dir, seeds, broken),
            Some(test) => play_test(dir, test, broken),
        }
    }
}

/// Writes a file unless it says that already.
fn place(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes).with_context(|| path.display().to_string())
}

/// The stories that are played: plain ones, those whose consumers meet, and those that have everything in them.
const KINDS: [&str; 3] = ["static", "crowd", "wide"];

/// A story that broke, if any did.
fn play(dir: &Path, seeds: u64, broken: &[(&str, &str)]) -> Result<Option<Caught>> {
    for kind in KINDS {
        let test = format!("simulation::{kind}_jobs_keep_the_promises");
        let mut variables = vec![
            ("SIM_STORIES", format!("{kind}:{seeds}")),
            ("SIM_FAILURES", 1.to_string()),
        ];
        variables.extend(
            broken
                .iter()
                .map(|(name, text)| (*name, (*text).to_owned())),
        );
        if let Some((story, by)) = play_one(dir, &test, &variables)? {
            let story = format!("{kind}:{story}");
            return Ok(Some(Caught { story, by }));
        }
    }
    Ok(None)
}

/// A test of the engine in that folder.
fn engine(dir: &Path, test: &str) -> Command {
    let mut cargo = plain("cargo");
    cargo
        .args([
            "test",
            "--locked",
            "--package",
            "fanwise",
            "--test",
            "engine",
        ])
        .args([test, "--", "--exact", "--nocapture"])
        .env("CARGO_TARGET_DIR", target_dir(dir))
        .current_dir(dir)
        .stderr(Stdio::null());
    cargo
}

/// Whether that test fails.
fn play_test(dir: &Path, test: &str, broken: &[(&str, &str)]) -> Result<Option<Caught>> {
    let mut cargo = engine(dir, test);
    let output = cargo.envs(broken.iter().copied()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = if said.contains("test result: FAILED. 0 passed; 1 failed") {
        true
    } else if said.contains("test result: ok. 1 passed") {
        false
    } else {
        bail!("{test} could not be run against the broken engine");
    };
    Ok(failed.then(|| Caught {
        story: "a test".to_owned(),
        by: test.to_owned(),
    }))
}

/// The lowest story of one kind that broke: its seed, and what was said of it.
fn play_one(dir: &Path, test: &str, variables: &[(&str, String)]) -> Result<Option<(u64, String)>> {
    let mut cargo = engine(dir, test);
    cargo
        .envs(variables.iter().map(|(name, text)| (name, text)))
        .stdout(Stdio::piped());
    let mut group = Group::spawn("the simulation", &mut cargo)?;
    let stdout = group
        .stdout()
        .ok_or_else(|| anyhow!("the simulation has no output"))?;
    let reader = thread::spawn(move || {
        let mut broken = BTreeMap::new();
        let mut played = false;
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            played |= line.contains(" stories in ");
            broken.extend(violation(&line));
        }
        (played, broken)
    });
    let until = Instant::now() + LONGEST;
    while group.ended().is_none() {
        if Instant::now() > until {
            drop(group);
            let by = format!("no end within {} s", LONGEST.as_secs());
            return Ok(Some((0, by)));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let (played, mut broken) = reader
        .join()
        .map_err(|_| anyhow!("the output could not be read"))?;
    if !played {
        bail!("the broken engine does not compile, or its simulation could not run");
    }
    Ok(broken.pop_first())
}

/// `seed 17: P3: …`
fn violation(line: &str) -> Option<(u64, String)> {
    let (seed, by) = line.strip_prefix("seed ")?.split_once(": ")?;
    let by: String = by.chars().take(100).collect();
    Some((seed.parse().ok()?, by))
}

/// The copy has one of its own, for cargo takes equal packages of equal names for one and the same, wherever they stand: what was
/// broken would be run for the project's own from then on.
fn target_dir(dir: &Path) -> PathBuf {
    if dir != root::dir() {
        return root::tools_dir().join("mutations-target");
    }
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| dir.join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Or the list would rot unseen.
    #[test]
    fn every_mutation_can_be_made() -> Result<()> {
        let list = listed()?;
        assert!(list.len() > 20);
        for mutation in &list {
            let whole = fs::read_to_string(root::dir().join(&mutation.file))?;
            assert_ne!(mutation.apply(&whole)?, whole);
        }
        Ok(())
    }

    #[test]
    fn what_is_broken_is_compiled_where_nothing_else_is() {
        let own = target_dir(root::dir());
        assert_ne!(target_dir(&root::tools_dir().join("mutations")), own);
    }

    #[test]
    fn a_story_s_line_is_read() {
        let line = "seed 17: P3: 5 is more than 4";
        assert_eq!(
            violation(line),
            Some((17, "P3: 5 is more than 4".to_owned()))
        );
        assert_eq!(violation("17 stories in 3.0 s: 5 items"), None);
    }
}
