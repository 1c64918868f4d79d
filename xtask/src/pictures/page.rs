//! The README's pictures of the page, taken by headless Chromium of a job that the stand-in answers.

use std::path::Path;

use anyhow::{Result, bail};

use crate::clients::{self, Hosted};
use crate::setup::Tools;

/// Takes them into `folder`.
pub fn take(tools: &Tools, program: &Path, folder: &Path) -> Result<()> {
    let hosted = Hosted::with_cron(tools, program)?;
    let status = clients::page(tools, &hosted, "pictures.mjs")?
        .arg(folder)
        .status()?;
    if !status.success() {
        bail!("the pictures of the page were not taken ({status})");
    }
    Ok(())
}
