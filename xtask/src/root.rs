//! Where things lie in the project's folder.

use std::path::{Path, PathBuf};

/// The project's folder: the parent of this crate's.
pub fn dir() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// All that set-up brings and all that a local run writes; ignored by git.
pub fn tools_dir() -> PathBuf {
    dir().join(".fanwise")
}

/// The states of local runs, one folder each.
pub fn states_dir() -> PathBuf {
    tools_dir().join("state")
}

/// What the tools said while they ran.
pub fn log_dir() -> PathBuf {
    tools_dir().join("log")
}
