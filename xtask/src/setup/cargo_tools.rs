//! worker-build and wasm-bindgen, compiled from crates.io into `.fanwise/tools`.
//!
//! worker-build would fetch ready-made binaries from GitHub. Compiled here they need no other server, and
//! as debug builds they take a third of the time; they work for seconds in a build of minutes.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};

use super::{debian, locked_version, plain, read, run, stamp::Stamp};
use crate::proc::{self, Cancel};
use crate::{root, ui};

/// The tool that belongs to the `worker` crate of `Cargo.toml`.
const WORKER_BUILD: &str = "0.8.7";

#[derive(Debug, Clone)]
pub struct CargoTools {
    pub worker_build: PathBuf,
    pub wasm_bindgen: PathBuf,
    pub identity: String,
}

pub fn prepare(cancel: &Cancel) -> Result<CargoTools> {
    let folder = root::tools_dir().join("tools");
    let lock = read(&root::dir().join("Cargo.lock"))?;
    // The program and the library speak a format that is no other version's.
    let bindgen = locked_version(&lock, "wasm-bindgen")
        .ok_or_else(|| anyhow!("Cargo.lock names no wasm-bindgen"))?;
    let worker_build = Tool {
        package: "worker-build",
        program: "worker-build",
        version: WORKER_BUILD.to_owned(),
    };
    let wasm_bindgen = Tool {
        package: "wasm-bindgen-cli",
        program: "wasm-bindgen",
        version: bindgen,
    };
    // Shared, because half of what they compile is the same.
    let build = root::tools_dir().join("tools-build");
    let mut installed = false;
    for tool in [&worker_build, &wasm_bindgen] {
        installed |= tool.prepare(&folder, &build, cancel)?;
    }
    if installed {
        // Half a gigabyte that nobody needs again.
        let _ = std::fs::remove_dir_all(&build);
    }
    Ok(CargoTools {
        identity: format!("{} {}", worker_build.label(), wasm_bindgen.label()),
        worker_build: folder.join("bin").join(worker_build.program),
        wasm_bindgen: folder.join("bin").join(wasm_bindgen.program),
    })
}

/// worker-build links OpenSSL on Linux, whose headers a fresh machine may lack.
fn have_openssl(cancel: &Cancel) -> Result<()> {
    if !cfg!(target_os = "linux") || std::env::var_os("OPENSSL_DIR").is_some() {
        return Ok(());
    }
    if proc::ask(plain("pkg-config").args(["--exists", "openssl"])).is_some() {
        return Ok(());
    }
    let need = "worker-build needs the headers of OpenSSL and pkg-config";
    debian::apt_get_install(&["libssl-dev", "pkg-config"], need, cancel)
}

struct Tool {
    package: &'static str,
    program: &'static str,
    version: String,
}

impl Tool {
    fn label(&self) -> String {
        format!("{} {}", self.package, self.version)
    }

    /// Whether anything had to be done.
    fn prepare(
        &self,
        folder: &std::path::Path,
        build: &std::path::Path,
        cancel: &Cancel,
    ) -> Result<bool> {
        let stamp = Stamp::new(self.package, self.label());
        if stamp.holds() && folder.join("bin").join(self.program).is_file() {
            return Ok(false);
        }
        stamp.lift();
        have_openssl(cancel)?;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("could not make {}", folder.display()))?;
        let step = ui::Step::begin(
            self.label(),
            "compiling it from crates.io into .fanwise/tools",
        );
        let what = format!("installing {}", self.label());
        let locked = run::attempt(
            &what,
            self.package,
            &mut self.install(folder, build, true),
            cancel,
        )?;
        match locked {
            Ok(()) => {}
            // A mirror can lack the newest patch of some dependency; then the newest it has must do.
            Err(failed) if failed.said.contains("failed to select a version") => {
                run::finish(
                    &what,
                    self.package,
                    &mut self.install(folder, build, false),
                    cancel,
                )?;
            }
            Err(failed) => {
                let log = root::log_dir().join(format!("{}.log", self.package));
                return Err(run::explain(&what, &log, &failed));
            }
        }
        stamp.set()?;
        step.done();
        Ok(true)
    }

    fn install(
        &self,
        folder: &std::path::Path,
        build: &std::path::Path,
        locked: bool,
    ) -> std::process::Command {
        let mut command = plain("cargo");
        command
            .args([
                "install",
                self.package,
                "--version",
                &format!("={}", self.version),
            ])
            .args([
                "--bin",
                self.program,
                "--debug",
                "--no-default-features",
                "--force",
                "--root",
            ])
            .arg(folder)
            .arg("--target-dir")
            .arg(build)
            .args(locked.then_some("--locked"))
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            // Not in the project's folder, whose settings are for the project.
            .current_dir(folder);
        command
    }
}
