//! A compiler for wasm32-unknown-unknown out of Debian's packages, for machines that reach package
//! registries but not Rust's servers.
//!
//! Debian carries a current compiler (`rustc-web`) with the sources of the standard library. A standard
//! library for Wasm is compiled from them once, into `.fanwise/rust`, a sysroot of its own: its native half
//! is links to Debian's, and a two-line `rustc` in front names it to the compiler. So nothing under `/usr`
//! changes but the packages, and root is needed only while those are missing.

use std::ffi::OsString;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context as _, Result, anyhow, bail};

use super::wasm::{self, TARGET, Wasm};
use super::{plain, run, stamp::Stamp, which};
use crate::proc::{self, Cancel};
use crate::{root, ui};

const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];
const LINKER: &str = "wasm-ld-22";
/// How the standard library is compiled; a change of that makes it anew.
const FORM: &str = "with bitcode";
/// Of Debian's compiler; `rust-version` in `Cargo.toml`.
const OLDEST: (u32, u32) = (1, 91);
const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
const RUSTLIB: &str = "/usr/lib/rustlib";

fn sysroot() -> PathBuf {
    root::tools_dir().join("rust")
}

/// What an earlier run made, if the compiler is still the one it was made for.
pub fn made_before() -> Option<Wasm> {
    let version = compiler()?;
    which(LINKER)?;
    stamp(&version).holds().then(|| toolchain(version))
}

/// `why` says what stood in the way of the usual way.
pub fn make(why: &str, cancel: &Cancel) -> Result<Wasm> {
    if missing().is_some() {
        install(why, cancel)?;
    }
    let version = compiler()
        .ok_or_else(|| anyhow!("{RUSTC} does not run, though its package is installed"))?;
    if parse_version(&version).is_none_or(|found| found < OLDEST) {
        bail!(
            "{why}, and Debian's rustc-web here is older than the needed {}.{}: {version}",
            OLDEST.0,
            OLDEST.1
        );
    }
    let step = ui::Step::begin(
        "rust",
        format!("compiling the standard library for {TARGET} into .fanwise/rust"),
    );
    let stamp = stamp(&version);
    stamp.lift();
    lay_out(&sysroot()).context("could not lay out .fanwise/rust")?;
    let made = toolchain(version);
    compile_std(&made, cancel)?;
    stamp.set()?;
    step.done();
    Ok(made)
}

fn stamp(version: &str) -> Stamp {
    Stamp::new("rust", format!("{version} {FORM}"))
}

fn toolchain(version: String) -> Wasm {
    let bin = sysroot().join("bin");
    Wasm {
        env: vec![
            // cargo takes the one beside it or in PATH unless told; a user's configuration may tell otherwise.
            ("RUSTC", bin.join("rustc").into_os_string()),
            (wasm::LINKER, OsString::from(LINKER)),
        ],
        path: vec![bin],
        identity: format!("debian {version} {FORM}"),
    }
}

/// The packages' own compiler, not one that rustup put first in PATH.
fn compiler() -> Option<String> {
    proc::ask(plain(RUSTC).env_remove("LD_LIBRARY_PATH").arg("--version"))
}

/// The first thing that is not there.
fn missing() -> Option<&'static str> {
    let sources = Path::new(RUSTLIB).join("src/rust/library/std/Cargo.toml");
    if !Path::new(RUSTC).is_file() {
        Some("rustc-web")
    } else if !Path::new(CARGO).is_file() {
        Some("cargo-web")
    } else if !sources.is_file() {
        Some("rust-web-src")
    } else if which(LINKER).is_none() {
        Some("lld-22")
    } else {
        None
    }
}

fn install(why: &str, cancel: &Cancel) -> Result<()> {
    apt_get_install(
        &PACKAGES,
        &format!("no compiler for {TARGET}: {why}"),
        cancel,
    )?;
    match missing() {
        Some(package) => {
            bail!("apt-get installed its packages, but what {package} should bring is not there")
        }
        None => Ok(()),
    }
}

/// Installs Debian's packages, or says why that cannot be and what to do by hand. `need` is the first half
/// of that sentence.
pub fn apt_get_install(packages: &[&str], need: &str, cancel: &Cancel) -> Result<()> {
    // dpkg has one lock for all; so have we.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let names = packages.join(" ");
    if which("apt-get").is_none() {
        bail!(
            "{need}, and this is not a Debian system, whose packages {names} would help; install what is missing \
             in your system's way and try again"
        );
    }
    let rights = Rights::find().ok_or_else(|| {
        anyhow!(
            "{need}, and Debian's packages need root; run once as root: \
             apt-get install --no-install-recommends {names}"
        )
    })?;
    let _turn = ONE_AT_A_TIME.lock();
    let step = ui::Step::begin("apt", format!("installing {names}"));
    run::finish(
        "apt-get update",
        "apt-update",
        rights.apt_get().arg("update"),
        cancel,
    )?;
    // Stopped half-way, it would leave packages half-configured; a fault elsewhere can wait for it.
    let unhurried = Cancel::default();
    let mut install = rights.apt_get();
    // Never at the price of a package that is there: Debian's plain rustc would have to go.
    install
        .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
        .args(packages);
    if let Err(failed) = run::attempt("apt-get install", "apt", &mut install, &unhurried)? {
        if failed.said.contains("Unable to locate package")
            || failed.said.contains("has no installation candidate")
        {
            bail!("{need}, and this Debian does not have the packages {names}");
        }
        return Err(run::explain(
            "apt-get install",
            &root::log_dir().join("apt.log"),
            &failed,
        ));
    }
    step.done();
    Ok(())
}

/// How to become root.
enum Rights {
    Root,
    Sudo,
}

impl Rights {
    fn find() -> Option<Rights> {
        if rustix::process::geteuid().is_root() {
            return Some(Rights::Root);
        }
        // Without a password: nobody may be there to type one.
        proc::ask(plain("sudo").args(["-n", "true"])).map(|_| Rights::Sudo)
    }

    fn apt_get(&self) -> Command {
        let mut command = match self {
            Rights::Root => plain("apt-get"),
            Rights::Sudo => {
                let mut sudo = plain("sudo");
                sudo.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
                sudo
            }
        };
        command.env("DEBIAN_FRONTEND", "noninteractive").args([
            "-o",
            "DPkg::Lock::Timeout=60",
            "-o",
            "Acquire::Retries=2",
        ]);
        command
    }
}

/// The folders and links of the sysroot; what an earlier attempt left is replaced.
fn lay_out(sysroot: &Path) -> Result<()> {
    if sysroot.exists() {
        std::fs::remove_dir_all(sysroot)?;
    }
    let bin = sysroot.join("bin");
    let rustlib = sysroot.join("lib/rustlib");
    std::fs::create_dir_all(&bin)?;
    std::fs::create_dir_all(rustlib.join(TARGET).join("lib"))?;
    for entry in std::fs::read_dir(RUSTLIB)?.flatten() {
        if entry.file_name() != TARGET {
            symlink(entry.path(), rustlib.join(entry.file_name()))?;
        }
    }
    symlink(CARGO, bin.join("cargo"))?;
    let rustc = bin.join("rustc");
    let quoted = sysroot.display().to_string().replace('\'', "'\\''");
    std::fs::write(
        &rustc,
        format!("#!/bin/sh\nexec {RUSTC} --sysroot '{quoted}' \"$@\"\n"),
    )?;
    std::fs::set_permissions(&rustc, PermissionsExt::from_mode(0o755))?;
    Ok(())
}

/// Compiles std for an empty crate and moves it where rustc looks for it.
fn compile_std(made: &Wasm, cancel: &Cancel) -> Result<()> {
    let work = root::tools_dir().join("rust-build");
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(work.join("src"))?;
    std::fs::write(work.join("src/lib.rs"), "#![no_std]\n")?;
    std::fs::write(
        work.join("Cargo.toml"),
        "[package]\nname = \"nothing\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n",
    )?;
    let mut path = made.path.clone();
    path.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let mut build = plain(CARGO);
    made.apply(&mut build);
    build
        .args([
            "build",
            "--release",
            "--target",
            TARGET,
            "-Zbuild-std=std,panic_abort,proc_macro",
        ])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", std::env::join_paths(path)?)
        .env("CARGO_TARGET_DIR", work.join("target"))
        // As Rust's own is made: what the Worker does not use of it falls away when all crates are optimised as one.
        .env("RUSTFLAGS", "-Cembed-bitcode=yes")
        .current_dir(&work);
    run::finish(
        "compiling the standard library",
        "rust-std",
        &mut build,
        cancel,
    )?;
    let goal = sysroot().join("lib/rustlib").join(TARGET).join("lib");
    let made_in = work.join("target").join(TARGET).join("release/deps");
    for entry in std::fs::read_dir(&made_in)?.flatten() {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text.ends_with(".rlib") && !text.starts_with("libnothing-") {
            std::fs::copy(entry.path(), goal.join(&name))?;
        }
    }
    let _ = std::fs::remove_dir_all(&work);
    Ok(())
}

/// `rustc 1.96.0 (…)`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("rustc ")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_compiler_are_read() {
        assert_eq!(
            parse_version("rustc 1.96.0 (ac68faa20 2026-05-25)"),
            Some((1, 96))
        );
        assert_eq!(parse_version("cargo 1.96.0"), None);
    }
}
