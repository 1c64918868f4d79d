//! The commands of README and guides, run in order against a local Worker with the stand-in; shown output is compared.
//!
//! A code block says by its first line what it is:
//!
//! | block | meaning |
//! |---|---|
//! | `sh` | runs in bash; must succeed. Blocks of a page share variables and a folder |
//! | `sh exit=3` | the same, and must end with that code |
//! | `text output`, `json output`, … | what the `sh` block before it prints. `…` stands for anything in a line; a line `…` for any lines |
//! | `json file=job.json`, `csv file=…` | a file that later blocks use |
//! | `json part` | a part of a submit: laid over a small job, it must get an estimate |
//! | any other language | shown, not run |
//!
//! A comment `<!-- not run: REASON -->` before an `sh` block leaves it out.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::pages::{Fence, GROUPS, Page};
use crate::client::Client;
use crate::dev::{NO_KEY, claude_vars};
use crate::proc::Group;
use crate::setup::{Tools, plain, tail};
use crate::standin::Standin;
use crate::state::State;
use crate::worker::{Options, Worker};
use crate::{build, root, ui};

/// The address and the token that the documents write.
const SHOWN_URL: &str = "http://127.0.0.1:8787";
const SHOWN_TOKEN: &str = "a-token-for-this-machine";
/// A page's commands end within this time; the longest waits for a batch.
const PATIENCE: Duration = Duration::from_secs(240);
/// Batches and schedules wait for cron, which production calls every minute.
const CRON: Duration = Duration::from_secs(2);
/// Short, so that batches and watchers do not make the suite slow.
const VARS: [(&str, &str); 3] = [
    ("BATCH_POLL_MS", "500"),
    ("EVENTS_POLL_MS", "500"),
    // An invocation may look fewer than 1,000 times.
    ("EVENTS_MAX_MS", "400000"),
];

/// What became of all pages: checks that passed, and what failed in words.
#[derive(Default)]
pub struct Played {
    pub passed: u64,
    pub failed: Vec<String>,
}

/// README and all guides; `only` plays the pages whose path contains it.
pub fn play(tools: &Tools, standin: &Path, only: Option<&str>) -> Result<Played> {
    let state = State::temporary("documents")?;
    let claude = Standin::start(standin, state.dir(), &[])?;
    let mut vars = claude_vars(claude.url(), NO_KEY, SHOWN_TOKEN);
    vars.extend(VARS.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let options = Options {
        port: 0,
        vars,
        cron: Some(CRON),
        ..Options::default()
    };
    let folder = state.dir().join("reader");
    let mut worker = Worker::start(tools, state, options)?;
    let world = World::new(&worker.url())?;
    world.pages(&folder, only, || worker.check())
}

/// The same against a Worker that runs already, with the token `secret`.
pub fn play_against(url: &str, only: Option<&str>) -> Result<Played> {
    let folder = root::states_dir().join("documents-reader");
    World::new(url)?.pages(&folder, only, || Ok(()))
}

struct World {
    client: Client,
    path: String,
}

impl World {
    fn new(url: &str) -> Result<World> {
        let cli = build::cli()?;
        Ok(World {
            client: Client::new(url, Some(SHOWN_TOKEN)),
            path: format!(
                "{}:{}",
                cli.parent().unwrap_or(Path::new(".")).display(),
                std::env::var("PATH").unwrap_or_default()
            ),
        })
    }

    /// Every page in reading order, each in a new folder; `well` fails when the Worker has ended.
    fn pages(
        &self,
        folder: &Path,
        only: Option<&str>,
        mut well: impl FnMut() -> Result<()>,
    ) -> Result<Played> {
        let guides = GROUPS.first().map_or(&[][..], |group| group.pages);
        let mut played = Played::default();
        for path in std::iter::once(&"README.md").chain(guides) {
            if only.is_some_and(|only| !path.contains(only)) {
                continue;
            }
            let page = Page::read(path)?;
            let began = Instant::now();
            let before = played.failed.len();
            self.play(&page, folder, &mut played)?;
            well()?;
            let verdict = if played.failed.len() == before {
                "ok"
            } else {
                "FAILED"
            };
            ui::print(format!("{verdict:7} {path} {}", ui::took(began.elapsed())));
        }
        let _ = std::fs::remove_dir_all(folder);
        Ok(played)
    }

    fn play(&self, page: &Page, folder: &Path, played: &mut Played) -> Result<()> {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder)?;
        std::os::unix::fs::symlink(root::dir().join("samples"), folder.join("samples"))?;
        let fences = page.fences();
        for fence in &fences {
            if let Some(fault) = self.part(fence) {
                played.failed.push(at(page, fence, &fault));
            } else if fence.words.iter().any(|word| word == "part") {
                played.passed += 1;
            }
        }
        let script = script(&fences, self.client.base());
        if script.blocks == 0 {
            return Ok(());
        }
        let status = self.bash(&script.text, folder)?;
        compare(page, &fences, folder, status, played);
        Ok(())
    }

    /// A fragment of a submit gets an estimate, which reads and checks all of it and pays nothing.
    fn part(&self, fence: &Fence) -> Option<String> {
        if fence.language != "json" {
            return None;
        }
        let text = match serde_json::from_str::<Value>(&fence.text) {
            Ok(value) => value,
            // A fragment is written without the braces around it.
            Err(_) => match serde_json::from_str(&format!("{{{}}}", fence.text)) {
                Ok(value) => value,
                Err(_) if fence.words.iter().any(|word| word == "output") => return None,
                Err(error) => return Some(format!("is not JSON: {error}")),
            },
        };
        if !fence.words.iter().any(|word| word == "part") {
            return None;
        }
        let body = laid_over_a_job(text);
        let answer = self.client.post("/v1/estimates", &body).ok()?;
        (answer.status != 200).then(|| format!("is refused: {}", answer.body))
    }

    fn bash(&self, script: &str, folder: &Path) -> Result<Option<i32>> {
        // An answer of 400 or more is a failure of the command, also where a page shows none of it.
        std::fs::write(folder.join(".curlrc"), "fail-with-body\n")?;
        let path = folder.join("script.sh");
        std::fs::write(&path, script)?;
        let mut command = plain("bash");
        command
            .arg(&path)
            .current_dir(folder)
            .env("PATH", &self.path)
            .env("HOME", folder)
            .env("XDG_CONFIG_HOME", folder)
            .env("NO_COLOR", "1")
            .env("FANWISE_URL", self.client.base())
            .env("FANWISE_TOKEN", SHOWN_TOKEN)
            .stdin(std::process::Stdio::null());
        let mut group = Group::spawn("bash", &mut command)?;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = group.ended() {
                return Ok(status.code());
            }
            if Instant::now() > until {
                group.kill();
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A small job that takes any part of a body: a part that is a stage becomes its second stage.
fn laid_over_a_job(part: Value) -> Value {
    let classify = json!({"name": "classify", "kind": "map", "instructions": "Classify.", "output": "item",
        "output_schema": {"type": "object", "properties": {
            "category": {"type": "string", "enum": ["billing", "bug", "refund", "unsure"]},
            "urgency": {"type": "string", "enum": ["low", "high"]}},
            "required": ["category", "urgency"], "additionalProperties": false}});
    let mut job = json!({"task": "Find out what customers complain about",
        "input": {"items": ["I was charged twice.", "The app crashes."]}, "stages": [classify]});
    let stage = part.get("kind").is_some() && part.get("name").is_some();
    let fields = part.as_object().cloned().unwrap_or_default();
    if stage {
        if let Some(stages) = job.get_mut("stages").and_then(Value::as_array_mut) {
            stages.push(part);
        }
        return job;
    }
    let of_a_stage = ["models", "verify", "tools", "chunk", "context", "merge"];
    for (name, value) in fields {
        let target = if of_a_stage.contains(&name.as_str()) {
            job.pointer_mut("/stages/0")
        } else {
            Some(&mut job)
        };
        if let Some(object) = target.and_then(Value::as_object_mut) {
            object.insert(name, value);
        }
    }
    if job.get("recipe").is_some() || job.get("mode").is_some() {
        // Those bring their own stages.
        if let Some(object) = job.as_object_mut()
            && object
                .get("stages")
                .and_then(|stages| stages.pointer("/0/name"))
                == Some(&json!("classify"))
            && object.get("recipe").is_none()
        {
            object.remove("stages");
        }
    }
    job
}

struct Script {
    text: String,
    blocks: usize,
}

fn runs(fence: &Fence) -> bool {
    fence.language == "sh" && fence.not_run.is_none()
}

fn file_of(fence: &Fence) -> Option<&str> {
    fence
        .words
        .iter()
        .find_map(|word| word.strip_prefix("file="))
}

fn exit_of(fence: &Fence) -> i32 {
    fence
        .words
        .iter()
        .find_map(|word| word.strip_prefix("exit="))
        .and_then(|code| code.parse().ok())
        .unwrap_or(0)
}

/// All blocks of a page as one script: output of block N goes to `out.N` and `err.N`, its exit code to `code.N`.
fn script(fences: &[Fence], url: &str) -> Script {
    let mut text = "set -o pipefail\n".to_owned();
    let mut blocks = 0;
    for (index, fence) in fences.iter().enumerate() {
        if let Some(name) = file_of(fence) {
            let _ = writeln!(
                text,
                "cat > '{name}' <<'END_OF_FILE'\n{}END_OF_FILE",
                fence.text
            );
        } else if runs(fence) {
            blocks += 1;
            let commands = fence.text.replace(SHOWN_URL, url);
            // A block that must succeed stops at its first failure.
            let strict = if exit_of(fence) == 0 { "-e" } else { "+e" };
            let _ = writeln!(
                text,
                "set {strict}\n{{\n{commands}\n}} >out.{index} 2>err.{index}\ncode=$?\n\
                 echo $code >code.{index}\n[ $code = {} ] || exit 1",
                exit_of(fence)
            );
        }
    }
    Script { text, blocks }
}

/// Holds what the blocks printed against what the page shows.
fn compare(page: &Page, fences: &[Fence], folder: &Path, status: Option<i32>, played: &mut Played) {
    let read = |name: String| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let mut last = None;
    for (index, fence) in fences.iter().enumerate() {
        if runs(fence) {
            let code = read(format!("code.{index}"));
            if code.trim() != exit_of(fence).to_string() {
                let how = match (code.trim(), status) {
                    ("", None) => "did not end in time".to_owned(),
                    ("", _) => "did not run to its end".to_owned(),
                    (code, _) => format!("ended with {code}"),
                };
                let said = read(format!("err.{index}")) + &read(format!("out.{index}"));
                played
                    .failed
                    .push(at(page, fence, &format!("{how}:\n{}", tail(&said, 20))));
                return;
            }
            played.passed += 1;
            last = Some(index);
        } else if fence.words.iter().any(|word| word == "output") {
            let Some(index) = last else { continue };
            let printed = read(format!("out.{index}"));
            if matches(&fence.text, &printed) {
                played.passed += 1;
            } else {
                let fault = format!("shows another output than:\n{}", tail(&printed, 40));
                played.failed.push(at(page, fence, &fault));
            }
        }
    }
}

fn at(page: &Page, fence: &Fence, fault: &str) -> String {
    format!("{}:{}: the block {fault}", page.path.display(), fence.line)
}

/// Whether a printed text is the shown one. A line `…` stands for any number of lines, `…` in a line for any text.
fn matches(shown: &str, printed: &str) -> bool {
    let shown: Vec<&str> = shown.trim_end().lines().map(str::trim_end).collect();
    let printed: Vec<&str> = printed.trim_end().lines().map(str::trim_end).collect();
    lines_match(&shown, &printed)
}

fn lines_match(shown: &[&str], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first.trim() == "…" => {
            (0..=printed.len()).any(|skip| lines_match(rest, printed.get(skip..).unwrap_or(&[])))
        }
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, others)| line_matches(first, line) && lines_match(rest, others)),
    }
}

fn line_matches(shown: &str, printed: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(place) => rest = rest.get(place + part.len()..).unwrap_or(""),
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl Played {
    /// Says what failed; how many checks passed and failed.
    pub fn told(&self) -> Result<(u64, u64)> {
        for fault in &self.failed {
            ui::print(fault);
        }
        if self.passed == 0 && self.failed.is_empty() {
            bail!("no page has a command");
        }
        Ok((self.passed, self.failed.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ellipsis_stands_for_anything() {
        assert!(matches("a … c\n", "a b c\n"));
        assert!(matches("first\n…\nlast\n", "first\nx\ny\nlast\n"));
        assert!(matches("a…\n…", "abc\n"));
        assert!(!matches("a … d\n", "a b c\n"));
        assert!(!matches("first\nlast\n", "first\nx\nlast\n"));
        assert!(!matches("", "more\n"));
    }

    #[test]
    fn parts_become_a_whole_job() {
        let stage =
            laid_over_a_job(json!({"name": "why", "kind": "map", "instructions": "Say why."}));
        assert_eq!(stage.pointer("/stages/1/name"), Some(&json!("why")));
        let cascade = laid_over_a_job(json!({"models": ["haiku", "sonnet"]}));
        assert_eq!(
            cascade.pointer("/stages/0/models/1"),
            Some(&json!("sonnet"))
        );
        let limits = laid_over_a_job(json!({"limits": {"max_cost_usd": 1}}));
        assert_eq!(limits.pointer("/limits/max_cost_usd"), Some(&json!(1)));
    }

    #[test]
    fn a_script_writes_files_and_keeps_each_blocks_output() {
        let fence = |language: &str, words: &[&str], text: &str| Fence {
            line: 1,
            language: language.into(),
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            text: text.into(),
            not_run: None,
        };
        let script = script(
            &[
                fence("json", &["file=job.json"], "{}\n"),
                fence("sh", &["exit=3"], "curl http://127.0.0.1:8787/healthz\n"),
            ],
            "http://127.0.0.1:9999",
        );
        assert_eq!(script.blocks, 1);
        assert!(script.text.contains("cat > 'job.json'"));
        assert!(script.text.contains("curl http://127.0.0.1:9999/healthz"));
        assert!(script.text.contains("[ $code = 3 ] || exit 1"));
    }
}
