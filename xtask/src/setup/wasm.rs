//! A compiler for wasm32-unknown-unknown.
//!
//! In this order: the toolchain in use has the target; an earlier run made one; rustup can add the target;
//! Debian's packages can make one. The second comes before the third so that a machine without access to
//! Rust's servers does not ask them at every start.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, anyhow};

use super::{debian, plain, run, which};
use crate::proc::{self, Cancel};
use crate::ui;

pub const TARGET: &str = "wasm32-unknown-unknown";

#[derive(Debug, Clone)]
pub struct Wasm {
    /// To be put before everything else in PATH.
    pub path: Vec<PathBuf>,
    /// Further settings of the environment; none means the toolchain in use as it is.
    pub env: Vec<(&'static str, OsString)>,
    pub identity: String,
}

impl Wasm {
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
