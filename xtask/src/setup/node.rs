//! What npm brings, as `package-lock.json` pins it: wrangler with workerd, esbuild, wasm-opt, a Node new
//! enough for them, and the official SDK that judges the stand-in.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};

use super::{digest, plain, read, run, stamp::Stamp};
use crate::proc::{self, Cancel};
use crate::{root, ui};

/// Runs npm itself; what runs wrangler is pinned.
const OLDEST_FOR_NPM: (u32, u32) = (20, 0);
/// wrangler's own floor, for machines whose kind of processor has no Node on npm.
const OLDEST_FOR_WRANGLER: (u32, u32) = (22, 12);

#[derive(Debug, Clone)]
pub struct Node {
    pub node: PathBuf,
    pub wrangler: PathBuf,
    pub wasm_opt: PathBuf,
    pub esbuild: PathBuf,
    pub identity: String,
}

pub fn prepare(cancel: &Cancel) -> Result<Node> {
    let root = root::dir();
    let modules = root.join("node_modules");
    let lock = read(&root.join("package-lock.json"))?;
    let identity = digest(&[&read(&root.join("package.json"))?, &lock]);
    let stamp = Stamp::new("node", &identity);
    let wrangler = modules.join("wrangler/wrangler-dist/cli.js");
    if !stamp.holds() || !wrangler.is_file() {
        stamp.lift();
        let found = version(&mut plain("node")).ok_or_else(|| {
            anyhow!(
                "Node is not installed or not in PATH; version {} or newer is needed",
                OLDEST_FOR_NPM.0
            )
        })?;
        if found < OLDEST_FOR_NPM {
            bail!(
                "the Node in PATH is {}.{}; version {} or newer is needed",
                found.0,
                found.1,
                OLDEST_FOR_NPM.0
            );
        }
        let step = ui::Step::begin(
            "npm",
            "installing wrangler, workerd, esbuild, wasm-opt and Node 22 into node_modules",
        );
        run::finish("npm ci", "npm", &mut npm_ci(root), cancel)?;
        stamp.set()?;
        step.done();
    }
    Ok(Node {
        node: pinned_node(&modules)?,
        wrangler,
        wasm_opt: modules.join(".bin/wasm-opt"),
        esbuild: modules.join(".bin/esbuild"),
        identity,
    })
}

/// Exactly the lock file. None of the packages needs its install script, so none is run; npm's long
/// waits between tries would hide for a minute that there is no network.
fn npm_ci(folder: &Path) -> Command {
    let mut command = plain("npm");
    command
        .args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ])
        .args([
            "--fetch-retries=3",
            "--fetch-retry-mintimeout=1000",
            "--fetch-retry-maxtimeout=5000",
        ])
        .current_dir(folder);
    command
}

/// Lays `files` (`package.json` and `package-lock.json` among them) out in a folder of their own and has npm bring what they
/// pin, unless just that was done before. `what` says it to who waits.
pub fn packages(name: &str, what: &str, files: &[(&str, &str)], folder: &Path) -> Result<()> {
    let parts: Vec<&str> = files.iter().map(|(_, text)| *text).collect();
    let stamp = Stamp::new(name, digest(&parts));
    if stamp.holds() && folder.join("node_modules").is_dir() {
        return Ok(());
    }
    stamp.lift();
    let step = ui::Step::begin("npm", what);
    std::fs::create_dir_all(folder)
        .with_context(|| format!("could not make {}", folder.display()))?;
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text)
            .with_context(|| format!("could not write {}", path.display()))?;
    }
    let log = format!("npm-{name}");
    run::finish("npm ci", &log, &mut npm_ci(folder), &Cancel::default())?;
    stamp.set()?;
    step.done();
    Ok(())
}

/// The Node that npm brought; where npm has none for this machine, the one in PATH if it is new enough.
fn pinned_node(modules: &Path) -> Result<PathBuf> {
    let pinned = modules.join(".bin/node");
    if pinned.is_file() {
        return Ok(pinned);
    }
    match (super::which("node"), version(&mut plain("node"))) {
        (Some(path), Some(found)) if found >= OLDEST_FOR_WRANGLER => Ok(path),
        _ => bail!(
            "npm has no Node for this kind of machine, and the one in PATH is older than {}.{}, which wrangler needs",
            OLDEST_FOR_WRANGLER.0,
            OLDEST_FOR_WRANGLER.1
        ),
    }
}

fn version(node: &mut Command) -> Option<(u32, u32)> {
    parse_version(&proc::ask(node.arg("--version"))?)
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse_version("v20.20.2"), Some((20, 20)));
        assert!(parse_version("v22.12.0") >= Some(OLDEST_FOR_WRANGLER));
        assert!(parse_version("v22.9.0") < Some(OLDEST_FOR_WRANGLER));
        assert_eq!(parse_version("node"), None);
    }
}
