//! `pictures`: what the README shows, taken anew from what is built; one file for each thing that is shown.

mod cli;
mod page;

use anyhow::{Context as _, Result};

use crate::{build, root, setup, ui};

/// All pictures of the README.
pub fn run() -> Result<()> {
    let tools = setup::prepare()?;
    let program = build::all(&tools)?;
    let folder = root::dir().join("docs/pictures");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("could not make {}", folder.display()))?;
    page::take(&tools, &program, &folder)?;
    cli::take(&tools, &program, &folder)?;
    ui::say(format!("  the pictures are in {}", folder.display()));
    Ok(())
}
