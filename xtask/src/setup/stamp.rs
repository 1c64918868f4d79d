//! Remembers what was done, so that it is not done again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::root;

/// A file that holds the exact description of what is installed.
#[derive(Debug)]
pub struct Stamp {
    path: PathBuf,
    wanted: String,
}

impl Stamp {
    pub fn new(name: &str, wanted: impl Into<String>) -> Stamp {
        Stamp {
            path: root::tools_dir().join("stamps").join(name),
            wanted: wanted.into(),
        }
    }

    /// Whether exactly that was done before.
    pub fn holds(&self) -> bool {
        std::fs::read_to_string(&self.path).is_ok_and(|found| found == self.wanted)
    }

    /// To be called before the work: a half-done one must not pass for done.
    pub fn lift(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    pub fn set(&self) -> Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("could not make {}", folder.display()))?;
        }
        std::fs::write(&self.path, &self.wanted)
            .with_context(|| format!("could not write {}", self.path.display()))
    }
}

/// A short name for a content. It tells changes apart and guards nothing, and a new compiler that counts
/// differently only repeats some work, so the standard hasher is enough.
pub fn digest(parts: &[impl AsRef<[u8]>]) -> String {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        part.as_ref().hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}
