//! Chromium, for `test` alone: the one in PATH, or Debian's.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use super::{debian, which};
use crate::proc::Cancel;

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// The browser's program.
pub fn browser() -> Result<PathBuf> {
    if let Some(found) = NAMES.into_iter().find_map(which) {
        return Ok(found);
    }
    let need = "the tests of event streams and of the page need Chromium in PATH";
    debian::apt_get_install(&["chromium"], need, &Cancel::default())?;
    which("chromium").ok_or_else(|| anyhow!("apt-get installed chromium, but it is not in PATH"))
}
