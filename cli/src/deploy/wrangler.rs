//! `wrangler` as a program: asked for something, or run while the person watches. It gets no terminal, so it never asks back.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

/// What is shown of a failure.
const TAIL: usize = 1_500;

pub struct Wrangler {
    dir: PathBuf,
    path: OsString,
}

/// What it said.
pub struct Said {
    pub ok: bool,
    pub text: String,
    pub errors: String,
}

impl Said {
    /// Both kinds of output, without colours.
    pub fn all(&self) -> String {
        let both = format!("{}\n{}", self.text, self.errors);
        anstream::adapter::strip_str(&both).to_string()
    }

    fn tail(&self) -> String {
        let all = self.all();
        let all = all.trim();
        let from = all.char_indices().rev().nth(TAIL).map_or(0, |(at, _)| at);
        all.get(from..).unwrap_or(all).to_owned()
    }
}

impl Wrangler {
    /// In the folder of `wrangler.toml`; the project's own wrangler first, because its version is pinned.
    pub fn new(dir: &Path) -> Result<Wrangler> {
        let dir = dir
            .canonicalize()
            .with_context(|| format!("there is no folder {}", dir.display()))?;
        let there = std::env::var_os("PATH").unwrap_or_default();
        let own = std::iter::once(dir.join("node_modules/.bin"));
        let path = std::env::join_paths(own.chain(std::env::split_paths(&there)))?;
        Ok(Wrangler { dir, path })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        command
            .args(args)
            .current_dir(&self.dir)
            .env("PATH", &self.path)
            .env("WRANGLER_SEND_METRICS", "false")
            .kill_on_drop(true);
        command
    }

    /// The first in the path; a child's `PATH` is not where a program is looked for everywhere.
    fn program(&self) -> PathBuf {
        std::env::split_paths(&self.path)
            .map(|folder| folder.join("wrangler"))
            .find(|program| program.is_file())
            .unwrap_or_else(|| PathBuf::from("wrangler"))
    }

    /// Runs it in silence; `input` goes to its standard input.
    pub async fn ask(&self, args: &[&str], input: Option<&str>) -> Result<Said> {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        let mut child = command.spawn().map_err(missing)?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            // One that does not read is judged by how it ends.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = child.wait_with_output().await?;
        Ok(Said {
            ok: output.status.success(),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The same; a failure is an error with its last words.
    pub async fn must(&self, args: &[&str], input: Option<&str>) -> Result<Said> {
        let said = self.ask(args, input).await?;
        if !said.ok {
            bail!("`wrangler {}` failed:\n{}", args.join(" "), said.tail());
        }
        Ok(said)
    }

    /// What it says as JSON; some versions say something before.
    pub async fn json(&self, args: &[&str]) -> Result<Value> {
        let said = self.must(args, None).await?;
        let from = said.text.find(['[', '{']).unwrap_or(0);
        serde_json::from_str(said.text.get(from..).unwrap_or_default())
            .with_context(|| format!("`wrangler {}` gave no JSON", args.join(" ")))
    }

    /// Runs it before the person's eyes; what it said, too.
    pub async fn show(&self, args: &[&str]) -> Result<Said> {
        let mut command = self.command(args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(missing)?;
        let mut text = String::new();
        if let Some(stdout) = child.stdout.take() {
            let mut lines = BufReader::new(stdout).lines();
            while let Some(line) = lines.next_line().await? {
                eprintln!("  {line}");
                text.push_str(&line);
                text.push('\n');
            }
        }
        let ok = child.wait().await?.success();
        if !ok {
            bail!(
                "`wrangler {}` failed; what it said is above",
                args.join(" ")
            );
        }
        Ok(Said {
            ok,
            text,
            errors: String::new(),
        })
    }

    /// Hands the terminal over: `wrangler login` opens a browser and waits.
    pub async fn hand_over(&self, args: &[&str]) -> Result<()> {
        let status = self.command(args).status().await.map_err(missing)?;
        if !status.success() {
            bail!("`wrangler {}` failed", args.join(" "));
        }
        Ok(())
    }
}

fn missing(error: std::io::Error) -> anyhow::Error {
    let found = error.kind() != std::io::ErrorKind::NotFound;
    let error = anyhow::Error::new(error);
    match found {
        true => error.context("wrangler could not be started"),
        false => error.context(
            "there is no wrangler: `cargo xtask setup` brings it, or `npm install -g wrangler`",
        ),
    }
}
