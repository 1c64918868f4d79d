//! The Worker as Wasm and the stand-in as a program, compiled when something changed.
//!
//! cargo itself decides whether something changed: it knows every file that is compiled in. Only when its
//! Wasm differs from the last time do worker-build's further steps run (bindings, wasm-opt, bundle).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use crate::bench::size;
use crate::proc::{self, Cancel};
use crate::setup::{self, Stamp, Tools, Turn, digest, tail};
use crate::{docs, root, ui};

mod names;

/// What wrangler serves.
const OUTPUT: [&str; 2] = ["index.js", "index_bg.wasm"];

/// The Worker with the names of its functions, for who has a trace of numbers from the log, and for [`size`].
pub fn named() -> PathBuf {
    root::tools_dir().join("worker-with-names.wasm")
}

/// `dev`, optimised a little. Compiled once, in about 40 s on 2 cores.
const SWIFT: [&str; 6] = [
    "--config",
    "profile.swift.inherits=\"dev\"",
    "--config",
    "profile.swift.opt-level=1",
    "--profile",
    "swift",
];

/// Both, side by side: the last part of the Worker's build keeps only one core busy.
pub fn all(tools: &Tools) -> Result<PathBuf> {
    both(tools, Pace::Quick)
}

/// Both, for measuring: the stand-in optimised, so that it is not what is measured. `as_built` takes the
/// Worker as it lies in `build/`.
pub fn measured(tools: &Tools, as_built: bool) -> Result<PathBuf> {
    if as_built {
        let _turn = Turn::take()?;
        return standin_within(&Cancel::default(), Pace::Swift);
    }
    both(tools, Pace::Swift)
}

/// Whether the stand-in is to be compiled quickly or to run swiftly.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Quick,
    Swift,
}

fn both(tools: &Tools, pace: Pace) -> Result<PathBuf> {
    let _turn = Turn::take()?;
    let cancel = Cancel::default();
    let (worker, standin) = std::thread::scope(|scope| {
        let standin = scope.spawn(|| standin_within(&cancel, pace).inspect_err(|_| cancel.set()));
        let worker = worker_within(tools, &cancel).inspect_err(|_| cancel.set());
        let standin = standin
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the build stopped unexpectedly")));
        (worker, standin)
    });
    match (worker, standin) {
        (Ok(()), standin) => standin,
        (Err(error), Ok(_)) => Err(error),
        (Err(worker), Err(standin)) => Err(if worker.to_string() == CANCELLED {
            standin
        } else {
            worker
        }),
    }
}

/// The Worker, into `build/`.
pub fn worker(tools: &Tools) -> Result<()> {
    let _turn = Turn::take()?;
    worker_within(tools, &Cancel::default())
}

/// Copies the built Worker, so that a later build does not change it under a running one.
pub fn snapshot(into: &Path) -> Result<()> {
    let _turn = Turn::take()?;
    std::fs::create_dir_all(into).with_context(|| format!("could not make {}", into.display()))?;
    for name in OUTPUT {
        let from = root::dir().join("build").join(name);
        std::fs::copy(&from, into.join(name))
            .with_context(|| format!("could not copy {}", from.display()))?;
    }
    Ok(())
}

/// What the page takes from elsewhere in the repository, as it is: `public/` is served without a build.
const VENDORED: [(&str, &str); 2] = [
    ("node_modules/marked/lib/marked.esm.js", "marked.js"),
    ("samples/support-tickets.jsonl", "sample.jsonl"),
];

/// Copies the page's library and its sample to where the page looks for them.
fn vendor() -> Result<()> {
    let folder = root::dir().join("public/vendor");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("could not make {}", folder.display()))?;
    for (from, name) in VENDORED {
        let from = root::dir().join(from);
        let text = std::fs::read_to_string(&from)
            .with_context(|| format!("could not read {}", from.display()))?;
        // Its map is not served, and browsers with their tools open would ask for it.
        let own = text.lines().filter(|line| !line.starts_with("//# source"));
        let text: String = own.flat_map(|line| [line, "\n"]).collect();
        let path = folder.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        std::fs::write(&path, text)
            .with_context(|| format!("could not write {}", path.display()))?;
    }
    Ok(())
}

fn worker_within(tools: &Tools, cancel: &Cancel) -> Result<()> {
    vendor()?;
    docs::site::write()?;
    let step = ui::Step::begin("worker", "compiling it to WebAssembly");
    let mut cargo = tools.wasm_command("cargo");
    cargo.args([
        "build",
        "--locked",
        "--package",
        "fanwise-edge",
        "--lib",
        "--release",
        "--target",
        "wasm32-unknown-unknown",
    ]);
    let said = compile("the Worker", "worker", &mut cargo, cancel)?;
    let wasm = artifact(&said, "fanwise_edge", ".wasm")
        .ok_or_else(|| anyhow!("cargo did not say where it put the Wasm"))?;
    let bytes =
        std::fs::read(&wasm).with_context(|| format!("could not read {}", wasm.display()))?;
    let stamp = Stamp::new(
        "worker",
        digest(&[&bytes, tools.build_identity().as_bytes()]),
    );
    let output = root::dir().join("build");
    let there = OUTPUT.iter().all(|name| output.join(name).is_file()) && named().is_file();
    if !(stamp.holds() && there) {
        stamp.lift();
        let mut command = tools.worker_build();
        // The folder for the result counts from the package's.
        command.args(["--release", "--out-dir", "../build", "edge"]);
        setup::finish("worker-build", "worker-build", &mut command, cancel)?;
        names::move_out(&output, &named())?;
        stamp.set()?;
    }
    step.done();
    let size = size::of(&output, &named())?;
    ui::say(format!(
        "     the Worker is {:.2} MB, {:.3} MB gzipped",
        size.raw as f64 / 1e6,
        size.gzipped as f64 / 1e6
    ));
    Ok(())
}

fn standin_within(cancel: &Cancel, pace: Pace) -> Result<PathBuf> {
    let step = ui::Step::begin("stand-in", "compiling it");
    let mut cargo = setup::plain("cargo");
    cargo
        .args([
            "build",
            "--locked",
            "--package",
            "standin",
            "--bin",
            "standin",
        ])
        .current_dir(root::dir());
    if pace == Pace::Swift {
        // A profile of its own, or the two kinds would push each other out of one folder.
        cargo.args(SWIFT);
    }
    let said = compile("the stand-in", "standin", &mut cargo, cancel)?;
    let program = executable(&said, "standin")
        .ok_or_else(|| anyhow!("cargo did not say where it put the stand-in"))?;
    step.done();
    Ok(program)
}

/// The command line `fanwise`, for this machine.
pub fn cli() -> Result<PathBuf> {
    let _turn = Turn::take()?;
    let step = ui::Step::begin("cli", "compiling it");
    let mut cargo = setup::plain("cargo");
    cargo
        .args(["build", "--locked", "--package", "fanwise-cli"])
        .current_dir(root::dir());
    let said = compile("the command line", "cli", &mut cargo, &Cancel::default())?;
    let program = executable(&said, "fanwise")
        .ok_or_else(|| anyhow!("cargo did not say where it put the command line"))?;
    step.done();
    Ok(program)
}

const CANCELLED: &str = "stopped, because another build failed";

/// Runs cargo so that it names what it made; answers all it said.
fn compile(what: &str, log: &str, cargo: &mut Command, cancel: &Cancel) -> Result<String> {
    let path = root::log_dir().join(format!("{log}.log"));
    cargo.arg("--message-format=json-render-diagnostics");
    match proc::run(what, cargo, &path, cancel)? {
        Ok(()) => std::fs::read_to_string(&path)
            .with_context(|| format!("could not read {}", path.display())),
        Err(failed) if failed.cancelled => bail!(CANCELLED),
        Err(failed) => {
            let words: Vec<&str> = failed
                .said
                .lines()
                .filter(|line| !line.starts_with('{'))
                .collect();
            bail!(
                "{what} does not compile (all of it: {}):\n{}",
                path.display(),
                tail(&words.join("\n"), 40)
            )
        }
    }
}

fn artifacts(said: &str, name: &str) -> impl Iterator<Item = Value> {
    said.lines()
        .filter(|line| line.starts_with('{'))
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(move |message| {
            message.get("reason").and_then(Value::as_str) == Some("compiler-artifact")
                && message.pointer("/target/name").and_then(Value::as_str) == Some(name)
        })
}

fn artifact(said: &str, name: &str, ending: &str) -> Option<PathBuf> {
    artifacts(said, name)
        .filter_map(|message| message.get("filenames")?.as_array().cloned())
        .flatten()
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .find(|file| file.to_string_lossy().ends_with(ending))
}

fn executable(said: &str, name: &str) -> Option<PathBuf> {
    artifacts(said, name).find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = concat!(
        "   Compiling standin v0.1.0\n",
        r#"{"reason":"compiler-artifact","target":{"name":"fanwise"},"filenames":["/t/libfanwise.rlib","/t/fanwise.wasm"],"executable":null}"#,
        "\n",
        r#"{"reason":"compiler-artifact","target":{"name":"standin"},"filenames":["/t/standin"],"executable":"/t/standin"}"#,
        "\n",
    );

    #[test]
    fn cargo_says_where_things_are() {
        assert_eq!(
            artifact(SAID, "fanwise", ".wasm"),
            Some("/t/fanwise.wasm".into())
        );
        assert_eq!(executable(SAID, "standin"), Some("/t/standin".into()));
        assert_eq!(executable(SAID, "fanwise"), None);
    }
}
