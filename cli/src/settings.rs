//! The address and the token of the deployment: from the command line, the environment, or the file that `login` writes.
//!
//! The file is in the operating system's folder for configuration. Only its owner can read it, and it is whole at any time.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::args::Common;

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub url: Option<String>,
    pub token: Option<String>,
}

/// The file that `login` writes.
pub fn path() -> Result<PathBuf> {
    let folders = directories::ProjectDirs::from("", "", "fanwise")
        .ok_or_else(|| anyhow!("there is no home folder to keep settings in"))?;
    Ok(folders.config_dir().join("config.toml"))
}

/// What is kept; nothing where there is no file.
pub fn load() -> Result<Settings> {
    let path = path()?;
    match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).with_context(|| {
            format!(
                "{} cannot be read; `fanwise login` writes it anew",
                path.display()
            )
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
        Err(error) => Err(error).with_context(|| format!("could not read {}", path.display())),
    }
}

/// Where to go; the address is there, the token may be missing and is then complained about by the deployment.
pub fn resolve(common: &Common) -> Result<Settings> {
    let given = |value: &Option<String>| value.clone().filter(|text| !text.trim().is_empty());
    let (url, token) = (given(&common.url), given(&common.token));
    if url.is_some() && token.is_some() {
        return Ok(Settings { url, token });
    }
    let kept = load()?;
    // A kept token is for the address that it was kept with.
    let same = url.is_none() || url.as_deref().map(trimmed) == kept.url.as_deref().map(trimmed);
    let settings = Settings {
        token: token.or_else(|| kept.token.clone().filter(|_| same)),
        url: url.or(kept.url),
    };
    if settings.url.is_none() {
        bail!("which deployment? Say `fanwise login`, or give --url or FANWISE_URL");
    }
    Ok(settings)
}

pub fn trimmed(url: &str) -> &str {
    url.trim_end_matches('/')
}

/// Writes the file, readable by its owner alone from its first byte on.
pub fn keep(settings: &Settings) -> Result<PathBuf> {
    let path = path()?;
    let text = toml::to_string(settings)?;
    write_private(&path, text.as_bytes())
        .with_context(|| format!("could not write {}", path.display()))?;
    Ok(path)
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(&new)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}
