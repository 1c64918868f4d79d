//! A folder of text files: each file is a document, its path in the folder is its id, or as much of the path as an id may have.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fanwise::api::entry::MadeIds;
use serde_json::{Value, json};
use walkdir::WalkDir;

use crate::args::Reading;
use crate::input::read::text;
use crate::spec::Object;

/// The documents of a folder.
pub struct Folder {
    /// By their ids.
    pub files: Vec<(String, PathBuf)>,
    /// What was found, in words.
    pub about: String,
    pub bytes: u64,
}

/// Looks through a folder. Hidden files are none of the input; what is empty or no text is left out, and told.
pub fn look(path: &Path, reading: &Reading) -> Result<Folder> {
    let none = reading.id.is_none() && reading.text.is_none() && reading.columns.is_empty();
    if reading.format.is_some() || !none {
        bail!(
            "{} is a folder: its files are texts, without columns",
            path.display()
        );
    }
    let mut files = Vec::new();
    let mut bytes = 0;
    let mut left_out = Vec::new();
    let mut ids = MadeIds::default();
    let hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    let walk = WalkDir::new(path)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name()));
    for entry in walk {
        let entry = entry?;
        if !entry.file_type().is_file() {
            continue;
        }
        let inside = entry.path().strip_prefix(path).unwrap_or(entry.path());
        let steps: Vec<_> = inside.iter().map(|step| step.to_string_lossy()).collect();
        let id = steps.join("/");
        let read = std::fs::read(entry.path())
            .with_context(|| format!("could not read {}", entry.path().display()))?;
        match text(&read) {
            Ok(text) if text.trim().is_empty() => left_out.push(format!("{id} is empty")),
            Err(problem) => left_out.push(format!("{id} {problem}")),
            Ok(text) => {
                bytes += text.len() as u64;
                files.push((ids.of(&id), entry.into_path()));
            }
        }
    }
    let mut about = format!("{}, {} documents", path.display(), files.len());
    if !left_out.is_empty() {
        let count = left_out.len();
        about.push_str(&format!("; left out {count}: {}", left_out.join(", ")));
    }
    if files.is_empty() {
        bail!("there is no text to send: {about}");
    }
    Ok(Folder {
        files,
        about,
        bytes,
    })
}

/// The whole body of the submit, one document after the other.
pub fn write(
    files: &[(String, PathBuf)],
    spec: &Object,
    into: &mut dyn Write,
    read: &(dyn Fn(u64) + Send + Sync),
) -> Result<()> {
    write!(into, "{{")?;
    for (name, value) in spec {
        write!(into, "{}:{value},", Value::from(name.as_str()))?;
    }
    write!(into, "\"input\":{{\"documents\":[")?;
    for (place, (id, path)) in files.iter().enumerate() {
        let text =
            std::fs::read(path).with_context(|| format!("could not read {}", path.display()));
        let text = text.and_then(|bytes| crate::input::read::text(&bytes))?;
        read(text.len() as u64);
        let comma = if place > 0 { "," } else { "" };
        write!(into, "{comma}{}", json!({"id": id, "text": text}))?;
    }
    Ok(write!(into, "]}}}}")?)
}
