//! A folder of text files: each file is a document, its path in the folder is its id.

use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use walkdir::WalkDir;

use super::{Input, Shape, Source};
use crate::args::Reading;
use crate::spec::Object;

/// So many files that cannot be sent are named.
const NAMED: usize = 5;

/// Looks through a folder. Hidden files are none of the input; what is empty or no text is left out, and told.
pub fn folder(path: &Path, reading: &Reading) -> Result<Input> {
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
        match String::from_utf8(read) {
            Ok(text) if text.trim().is_empty() => left_out.push(format!("{id} is empty")),
            // A nought byte is in no text.
            Ok(text) if text.contains('\0') => left_out.push(format!("{id} is no text")),
            Err(_) => left_out.push(format!("{id} is no text")),
            Ok(text) => {
                bytes += text.len() as u64;
                files.push((id, entry.into_path()));
            }
        }
    }
    let mut about = format!("{}, {} documents", path.display(), files.len());
    if !left_out.is_empty() {
        let count = left_out.len();
        left_out.truncate(NAMED);
        about.push_str(&format!("; left out {count}: {}", left_out.join(", ")));
        if count > NAMED {
            about.push_str(", …");
        }
    }
    if files.is_empty() {
        bail!("there is no text to send: {about}");
    }
    Ok(Input {
        source: Source::Folder(files),
        shape: Shape::Documents,
        about,
        bytes: Some(bytes),
    })
}

/// The whole body of the submit, one document after the other.
pub fn write(
    files: &[(String, std::path::PathBuf)],
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
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("could not read {}", path.display()))?;
        read(text.len() as u64);
        let comma = if place > 0 { "," } else { "" };
        write!(into, "{comma}{}", json!({"id": id, "text": text}))?;
    }
    Ok(write!(into, "]}}}}")?)
}
