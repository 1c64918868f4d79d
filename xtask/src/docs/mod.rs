//! `docs`: the generated reference, the HTML of the Worker's `/docs`, and the checks of every document.
//!
//! - [`pages`]: which documents there are, in the order in which people read them, and their code blocks
//! - [`reference`]: the pages under `docs/reference/`, from the sources they describe
//! - [`snippets`]: runs the commands of README and guides against a local Worker
//! - [`language`]: the mechanical rules of the house language
//! - [`site`]: the documents as HTML with a search, into `public/docs/`

pub mod language;
pub mod markdown;
pub mod pages;
pub mod reference;
pub mod site;
pub mod snippets;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::setup::{self, plain};
use crate::{build, root, ui};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Change nothing; fail where a generated page is out of date or a document breaks a rule
    #[arg(long)]
    pub check: bool,
    /// Run the commands of README and guides, or of the pages whose path contains NAME
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", conflicts_with = "check")]
    pub play: Option<String>,
    /// With --play: against this Worker, as `cargo xtask dev --token secret` runs it
    #[arg(long, requires = "play")]
    pub url: Option<String>,
}

pub fn run(args: &Args) -> Result<()> {
    if args.check {
        return check();
    }
    if let Some(only) = &args.play {
        return play(only, args.url.as_deref());
    }
    for (path, text) in reference::all()? {
        write(&path, &text)?;
    }
    command_line()?;
    site::write()?;
    check()
}

fn play(only: &str, url: Option<&str>) -> Result<()> {
    let played = match url {
        Some(url) => snippets::play_against(url, Some(only))?,
        None => {
            let tools = setup::prepare()?;
            let standin = build::all(&tools)?;
            snippets::play(&tools, &standin, Some(only))?
        }
    };
    let (passed, failed) = played.told()?;
    ui::print(format!("{passed} passed, {failed} failed"));
    if failed > 0 {
        bail!("commands of the documents fail");
    }
    Ok(())
}

/// Everything that needs no Worker: the generated pages are those of today's sources, and the documents keep the rules.
pub fn check() -> Result<()> {
    let mut faults = stale()?;
    faults.extend(language::faults()?);
    faults.extend(pages::broken_links()?);
    if faults.is_empty() {
        ui::say("the documents are in order");
        return Ok(());
    }
    bail!(
        "the documents have {} faults:\n{}",
        faults.len(),
        faults.join("\n")
    )
}

/// Generated pages whose text differs from what the sources give now.
pub fn stale() -> Result<Vec<String>> {
    let mut stale = Vec::new();
    for (path, text) in reference::all()? {
        let found = std::fs::read_to_string(root::dir().join(&path)).unwrap_or_default();
        if found != text {
            stale.push(format!(
                "{}: out of date; run `cargo xtask docs`",
                path.display()
            ));
        }
    }
    Ok(stale)
}

/// The command line's page comes from the crate that owns its words: a test there renders and compares it. In the profile of
/// `cargo build`, with which it shares all that it is made of.
fn command_line() -> Result<()> {
    let status = plain("cargo")
        .args(["test", "--quiet", "--profile", "dev"])
        .args(["--package", "fanwise-cli", "--bin", "fanwise", "reference"])
        .env("UPDATE_GOLDEN", "1")
        .current_dir(root::dir())
        .stdout(std::process::Stdio::null())
        .status()
        .context("could not start cargo")?;
    if !status.success() {
        bail!("the reference of the command line could not be made");
    }
    Ok(())
}

fn write(path: &PathBuf, text: &str) -> Result<()> {
    let path = root::dir().join(path);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("could not make {}", folder.display()))?;
    }
    if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    std::fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn generated_pages_are_those_of_the_sources() {
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            for (path, text) in reference::all().unwrap() {
                write(&path, &text).unwrap();
            }
        }
        assert_eq!(stale().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn documents_keep_the_rules_of_the_language() {
        assert_eq!(language::faults().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn links_between_documents_lead_somewhere() {
        assert_eq!(pages::broken_links().unwrap(), Vec::<String>::new());
    }
}
