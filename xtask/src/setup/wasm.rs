//! A compiler for wasm32-unknown-unknown.
//!
//! In this order: the toolchain in use has the target; an earlier run made one; rustup can add the target;
//! Debian's packages can make one. The second comes before the third so that a machine without access to
//! Rust's servers does not ask them at every start.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};

use super::stamp::Stamp;
use super::{debian, plain, run, which};
use crate::proc::{self, Cancel};
use crate::{root, ui};

pub const TARGET: &str = "wasm32-unknown-unknown";
/// What tells cargo of a linker.
pub const LINKER: &str = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER";

#[derive(Debug, Clone)]
pub struct Wasm {
    /// To be put before everything else in PATH.
    pub path: Vec<PathBuf>,
    /// Further settings of the environment; none means the toolchain in use as it is.
    pub env: Vec<(&'static str, OsString)>,
    pub identity: String,
}

impl Wasm {
    /// The compiler itself.
    pub fn rustc(&self) -> OsString {
        self.setting("RUSTC").unwrap_or_else(|| "rustc".into())
    }

    fn setting(&self, name: &str) -> Option<OsString> {
        let named = self.env.iter().find(|(known, _)| *known == name);
        named.map(|(_, value)| value.clone())
    }

    pub fn apply(&self, command: &mut Command) {
        if self.env.is_empty() {
            return;
        }
        for name in ["RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH", "RUSTC", "RUSTDOC"] {
            command.env_remove(name);
        }
        for (name, value) in &self.env {
            command.env(name, value);
        }
    }
}

/// Whether a module can be optimised as one, standard library included: not where that was compiled without the compiler's
/// intermediate form, as some systems' packages are. Asked once for each compiler.
pub fn optimises_as_one(wasm: &Wasm, mut rustc: Command, cancel: &Cancel) -> Result<bool> {
    let able = Stamp::new("as-one", format!("yes {}", wasm.identity));
    let unable = Stamp::new("as-one", format!("no {}", wasm.identity));
    if able.holds() || unable.holds() {
        return Ok(able.holds());
    }
    let folder = root::tools_dir().join("as-one");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("could not make {}", folder.display()))?;
    let source = folder.join("probe.rs");
    std::fs::write(
        &source,
        "#[unsafe(no_mangle)]\npub extern \"C\" fn probe() -> usize { std::env::args().count() }\n",
    )
    .with_context(|| format!("could not write {}", source.display()))?;
    if let Some(linker) = wasm.setting(LINKER) {
        rustc.arg("-C").arg({
            let mut option = OsString::from("linker=");
            option.push(linker);
            option
        });
    }
    rustc
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "cdylib",
            "--target",
            TARGET,
        ])
        .args(["-Copt-level=z", "-Clto=fat", "--out-dir"])
        .arg(&folder)
        .arg(&source);
    let done = run::attempt("optimising as one", "as-one", &mut rustc, cancel)?;
    let _ = std::fs::remove_dir_all(&folder);
    let stamp = if done.is_ok() { able } else { unable };
    stamp.set()?;
    Ok(done.is_ok())
}

pub fn prepare(cancel: &Cancel) -> Result<Wasm> {
    if let Some(identity) = in_use() {
        return Ok(Wasm {
            path: Vec::new(),
            env: Vec::new(),
            identity,
        });
    }
    if let Some(made) = debian::made_before() {
        return Ok(made);
    }
    let rustup = match which("rustup") {
        None => "rustup is not installed".to_owned(),
        Some(_) => {
            let step = ui::Step::begin("rustup", format!("adding the target {TARGET}"));
            let mut add = plain("rustup");
            add.args(["target", "add", TARGET]);
            match run::attempt("rustup target add", "rustup", &mut add, cancel)? {
                Ok(()) => {
                    step.done();
                    let identity = in_use().ok_or_else(|| {
                        anyhow!("rustup added {TARGET}, but rustc does not find it")
                    })?;
                    return Ok(Wasm {
                        path: Vec::new(),
                        env: Vec::new(),
                        identity,
                    });
                }
                Err(_) => {
                    ui::say(
                        "     rustup cannot reach Rust's servers; Debian's packages can do it too",
                    );
                    "rustup cannot add the target here".to_owned()
                }
            }
        }
    };
    debian::make(&rustup, cancel)
}

/// The version of the toolchain in use, if it has the target.
fn in_use() -> Option<String> {
    let folder = proc::ask(plain("rustc").args(["--print", "target-libdir", "--target", TARGET]))?;
    let has_std = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"));
    has_std
        .then(|| proc::ask(plain("rustc").arg("--version")))
        .flatten()
}
