//! Brings every tool, pinned and from package registries, into folders that git ignores.
//!
//! Each part looks first whether its work is done (a stamp names exactly what was installed) and says in
//! one line what it does when it is not. The parts do not depend on each other and wait mostly for the
//! network or one core, so they run side by side. The first fault stops the others.

mod browser;
mod cargo_tools;
mod debian;
mod node;
mod python;
mod run;
mod stamp;
mod wasm;

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};

use crate::proc::Cancel;
use crate::{root, ui};

pub use browser::browser;
pub use node::packages as npm_packages;
pub use python::python;
pub use run::{finish, tail};
pub use stamp::{Stamp, digest};

/// Where the tools are, once they are there.
#[derive(Debug, Clone)]
pub struct Tools {
    node: node::Node,
    wasm: wasm::Wasm,
    cargo_tools: cargo_tools::CargoTools,
    /// Whether all crates of the Worker can be optimised as one.
    as_one: bool,
}

/// Sets up everything but Python. Quick when nothing is missing.
pub fn prepare() -> Result<Tools> {
    let _turn = Turn::take()?;
    let cancel = Cancel::default();
    // The first cause is kept: the others fail because of it.
    let guard = |result: Result<_>| {
        if result.is_err() {
            cancel.set();
        }
        result
    };
    let (node, wasm, tools) = std::thread::scope(|scope| {
        let node = scope.spawn(|| node::prepare(&cancel).inspect_err(|_| cancel.set()));
        let wasm = scope.spawn(|| wasm::prepare(&cancel).inspect_err(|_| cancel.set()));
        let tools = guard(cargo_tools::prepare(&cancel));
        (join(node), join(wasm), tools)
    });
    let faults: Vec<anyhow::Error> = [
        node.as_ref().err(),
        wasm.as_ref().err(),
        tools.as_ref().err(),
    ]
    .into_iter()
    .flatten()
    .map(|error| anyhow!("{error:#}"))
    .collect();
    match (node, wasm, tools) {
        (Ok(node), Ok(wasm), Ok(cargo_tools)) => {
            let mut tools = Tools {
                node,
                wasm,
                cargo_tools,
                as_one: true,
            };
            let rustc = tools.wasm_command(tools.wasm.rustc());
            tools.as_one = wasm::optimises_as_one(&tools.wasm, rustc, &cancel)?;
            if !tools.as_one {
                ui::say(
                    "     the standard library for Wasm here cannot be optimised with the rest: the Worker becomes a little larger",
                );
            }
            Ok(tools)
        }
        _ => Err(first_cause(faults)),
    }
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread
        .join()
        .unwrap_or_else(|_| Err(anyhow!("set-up stopped unexpectedly")))
}

fn first_cause(mut faults: Vec<anyhow::Error>) -> anyhow::Error {
    let cause = faults
        .iter()
        .position(|fault| fault.to_string() != run::CANCELLED);
    match cause.or((!faults.is_empty()).then_some(0)) {
        Some(index) => faults.swap_remove(index),
        None => anyhow!("set-up failed"),
    }
}

/// Two commands started at the same time must not install the same tools twice into the same place.
pub struct Turn(#[allow(dead_code, reason = "the lock is held as long as the file is open")] File);

impl Turn {
    pub fn take() -> Result<Turn> {
        let folder = root::tools_dir();
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("could not make {}", folder.display()))?;
        let path = folder.join("setup.lock");
        let file =
            File::create(&path).with_context(|| format!("could not write {}", path.display()))?;
        if file.try_lock().is_err() {
            ui::say("  .. waiting for another `cargo xtask` to finish its set-up");
            file.lock()
                .with_context(|| format!("could not lock {}", path.display()))?;
        }
        Ok(Turn(file))
    }
}

impl Tools {
    /// A command that sees the pinned Node before any other.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = plain(program);
        command.env("PATH", self.path(&[])).current_dir(root::dir());
        command
    }

    /// The pinned Node itself.
    pub fn node(&self) -> &Path {
        &self.node.node
    }

    /// `wrangler`, without the launcher that would only start a second Node.
    pub fn wrangler(&self) -> Command {
        let mut command = self.command(&self.node.node);
        command.arg("--no-warnings").arg(&self.node.wrangler);
        command
    }

    /// A command that compiles to Wasm: the right cargo first in PATH, and worker-build's own downloads
    /// replaced by what the registries gave.
    pub fn wasm_command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = plain(program);
        self.wasm.apply(&mut command);
        command
            .env("PATH", self.path(&self.wasm.path))
            .env("WASM_BINDGEN_BIN", &self.cargo_tools.wasm_bindgen)
            .env("WASM_OPT_BIN", &self.node.wasm_opt)
            .env("ESBUILD_BIN", &self.node.esbuild)
            // worker-build sets it for its own cargo; a cargo called by hand must build the same.
            .env("WASM_BINDGEN_USE_JS_SYS", "1")
            .current_dir(root::dir());
        if !self.as_one {
            command.env("CARGO_PROFILE_RELEASE_LTO", "off");
        }
        command
    }

    pub fn worker_build(&self) -> Command {
        self.wasm_command(&self.cargo_tools.worker_build)
    }

    /// Names everything that takes part in a build besides the sources.
    pub fn build_identity(&self) -> String {
        format!(
            "{}\n{}\n{}",
            self.node.identity, self.wasm.identity, self.cargo_tools.identity
        )
    }

    fn path(&self, first: &[PathBuf]) -> OsString {
        let own = [root::dir().join("node_modules/.bin")];
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let all = first
            .iter()
            .cloned()
            .chain(own)
            .chain(std::env::split_paths(&inherited));
        std::env::join_paths(all).unwrap_or(inherited)
    }
}

/// A command without what `cargo run` put into the environment for xtask itself: a cargo below us would
/// take it for its own.
pub fn plain(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let of_this_crate = text == "CARGO"
            || text == "OUT_DIR"
            || [
                "CARGO_PKG_",
                "CARGO_MANIFEST_",
                "CARGO_BIN_",
                "CARGO_CRATE_",
                "CARGO_PRIMARY_",
            ]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        if of_this_crate {
            command.env_remove(&name);
        }
    }
    command
}

/// The first file of that name in PATH.
pub fn which(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// `name` from a `Cargo.lock`.
fn locked_version(lock: &str, name: &str) -> Option<String> {
    let wanted = format!("name = \"{name}\"");
    let mut lines = lock.lines();
    lines.find(|line| *line == wanted)?;
    let version = lines.next()?.strip_prefix("version = \"")?;
    version.strip_suffix('"').map(str::to_owned)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_the_version_of_wasm_bindgen() {
        let lock = "[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4.80\"\n\n[[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\n";
        assert_eq!(locked_version(lock, "wasm-bindgen").unwrap(), "0.2.130");
        assert_eq!(locked_version(lock, "serde"), None);
    }

    #[test]
    fn the_cause_is_told_and_not_its_consequence() {
        let faults = vec![anyhow!(run::CANCELLED), anyhow!("no network")];
        assert_eq!(first_cause(faults).to_string(), "no network");
    }
}
