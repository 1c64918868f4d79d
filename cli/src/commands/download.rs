//! Results and reports as files; the name's extension says which of them, in which form.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;

use crate::api::Api;
use crate::terminal::output::Whole;

/// Whether a file can be what comes of a job; told before anything is paid.
pub fn check_output(path: &Path) -> Result<()> {
    output_kind(path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder
        && !folder.is_dir()
    {
        bail!("there is no folder {}", folder.display());
    }
    Ok(())
}

/// The media type of XLSX workbooks.
pub const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// What a file is to hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    Csv,
    Jsonl,
    Xlsx,
    Markdown,
    Json,
}

pub fn output_kind(path: &Path) -> Result<OutputKind> {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    Ok(match extension.to_lowercase().as_str() {
        "csv" => OutputKind::Csv,
        "jsonl" | "ndjson" => OutputKind::Jsonl,
        "xlsx" => OutputKind::Xlsx,
        "md" | "markdown" => OutputKind::Markdown,
        "json" => OutputKind::Json,
        _ => bail!(
            "{}: results go to .csv, .jsonl or .xlsx, the report to .md or .json",
            path.display()
        ),
    })
}

/// Fetches results or report into a file.
pub async fn save(api: &Api, id: &str, path: &Path) -> Result<()> {
    let kind = output_kind(path)?;
    let (from, accept) = match kind {
        OutputKind::Csv => ("results?format=csv&include=input", "text/csv"),
        OutputKind::Jsonl => ("results?format=jsonl&include=input", "application/x-ndjson"),
        OutputKind::Xlsx => ("results?format=xlsx&include=input", XLSX),
        OutputKind::Markdown => ("report", "text/markdown"),
        OutputKind::Json => ("report", "application/json"),
    };
    save_from(api, &format!("/v1/jobs/{id}/{from}"), accept, path).await
}

/// Fetches an answer into a file, piece by piece; where it breaks off, no file is there.
pub async fn save_from(api: &Api, from: &str, accept: &str, path: &Path) -> Result<()> {
    let response = api.read(from, accept).await?;
    let mut file = Whole::begin(path).await?;
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece
            .with_context(|| format!("the answer broke off; {} was not written", path.display()))?;
        file.write(&piece).await?;
    }
    file.finish().await
}
