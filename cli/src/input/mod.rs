//! The input of a job on its way up: a file, a folder or standard input becomes the bytes that the Worker takes in.
//!
//! Nothing is held but the row that is being read: what is read is handed to the connection piece by piece, from a thread of its own. Rows keep
//! their lines, so that a fault that the Worker names by its line is found there in the file.

mod columns;
mod files;
mod read;
mod rows;
mod stream;

use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, bail};
use fanwise::api::rows::Lines;
use fanwise::api::table::Csv;
use serde_json::{Value, json};

use crate::args::{Form, Reading};
use crate::spec::Object;

use self::columns::Columns;
use self::read::{Counted, Decoded, decoded, first_line, json, open, peek, text};

pub use self::stream::{Feed, feed};

/// An input that was looked at and can be sent.
pub struct Input {
    source: Source,
    shape: Shape,
    /// What was found, in words.
    pub about: String,
    /// Bytes to be read, where they are known.
    pub bytes: Option<u64>,
}

/// Where it comes from.
enum Source {
    File(PathBuf),
    /// Read once: what was looked at, and the rest.
    Stdin(Mutex<Option<Box<dyn Read + Send>>>),
    /// Documents by their ids.
    Folder(Vec<(String, PathBuf)>),
}

/// What it is.
enum Shape {
    Csv {
        /// What was said to stand between columns; else the reader finds it.
        delimiter: Option<u8>,
        columns: Columns,
    },
    Jsonl {
        columns: Columns,
    },
    /// One JSON list.
    Array {
        columns: Columns,
    },
    Lines,
    Text,
    Documents,
}

impl Input {
    /// Looks at what is there, and decides how it is sent.
    pub fn open(path: &Path, reading: &Reading) -> Result<Input> {
        if path == Path::new("-") {
            let (head, rest) = peek(io::stdin())?;
            let head = decoded(&head).context("standard input cannot be read")?;
            let form = match reading.format {
                Some(form) => form,
                None => sniff(&head).ok_or_else(|| unclear("standard input"))?,
            };
            let shape = shape(form, &head, reading, None)?;
            let about = format!("standard input, {}", shape.about());
            return Ok(Input {
                source: Source::Stdin(Mutex::new(Some(rest))),
                shape,
                about,
                bytes: None,
            });
        }
        let data = std::fs::metadata(path)
            .with_context(|| format!("could not read {}", path.display()))?;
        if data.is_dir() {
            let folder = files::look(path, reading)?;
            return Ok(Input {
                source: Source::Folder(folder.files),
                shape: Shape::Documents,
                about: folder.about,
                bytes: Some(folder.bytes),
            });
        }
        let file = open(path)?;
        let (head, _) = peek(file)?;
        let head = decoded(&head).with_context(|| format!("{} cannot be read", path.display()))?;
        let is_array = || head.trim_ascii_start().first() == Some(&b'[');
        let shape = match reading.format.or_else(|| by_name(path)) {
            Some(Form::Jsonl) if is_json(path) && is_array() => {
                let first: Vec<Value> = array(path)?;
                let columns = Columns::of_values(&first, reading)?;
                Shape::Array { columns }
            }
            Some(Form::Jsonl)
                if is_json(path) && serde_json::from_slice::<Object>(&head).is_ok() =>
            {
                bail!(
                    "{} is a single JSON object; where it is the body of a submit, give it with --job",
                    path.display()
                )
            }
            Some(form) => shape(form, &head, reading, Some(path))?,
            None => {
                let form = sniff(&head).ok_or_else(|| unclear(&path.display().to_string()))?;
                shape(form, &head, reading, Some(path))?
            }
        };
        Ok(Input {
            about: format!("{}, {}", path.display(), shape.about()),
            source: Source::File(path.to_owned()),
            shape,
            bytes: Some(data.len()),
        })
    }

    /// Whether it can be sent a second time.
    pub fn again(&self) -> bool {
        !matches!(self.source, Source::Stdin(_))
    }

    /// Whether it goes up as a file in a form of several parts, and of which type; else the whole body is JSON.
    pub fn content_type(&self) -> Option<&'static str> {
        match self.shape {
            Shape::Csv { .. } => Some("text/csv"),
            Shape::Jsonl { .. } | Shape::Array { .. } | Shape::Lines => {
                Some("application/x-ndjson")
            }
            Shape::Text => Some("text/plain"),
            Shape::Documents => None,
        }
    }

    /// Writes all of it as it goes up. `spec` is the rest of the body, which documents stand in the midst of; `read` is told of each piece that
    /// was read.
    pub fn write(
        &self,
        spec: &Object,
        into: &mut dyn Write,
        read: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<()> {
        let reader: Box<dyn Read> = match &self.source {
            Source::Folder(files) => return files::write(files, spec, into, read.as_ref()),
            Source::File(path) => Box::new(open(path)?),
            Source::Stdin(rest) => {
                let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
                rest.take()
                    .ok_or_else(|| anyhow!("standard input can be read only once"))?
            }
        };
        let mut reader = BufReader::with_capacity(1 << 16, Counted { reader, read });
        match &self.shape {
            Shape::Csv { delimiter, columns } => rows::csv(reader, *delimiter, columns, into),
            Shape::Jsonl { columns } => rows::jsonl(reader, columns, into),
            Shape::Array { columns } => {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes)?;
                let list: Vec<Value> = json(&text(&bytes)?).context("the input is no JSON list")?;
                list.into_iter().try_for_each(|value| {
                    writeln!(into, "{}", columns.of_value(value)).map_err(Into::into)
                })
            }
            Shape::Lines => rows::lines(BufReader::new(Decoded::new(reader)), into),
            Shape::Text => io::copy(&mut reader, into).map(drop).map_err(Into::into),
            Shape::Documents => Ok(()),
        }
    }

    /// The `input` of a JSON body: for an estimate, which takes no files.
    pub fn as_json(&self) -> Result<Value> {
        let mut bytes = Vec::new();
        self.write(&Object::new(), &mut bytes, Arc::new(|_| ()))?;
        let mut rows = Vec::new();
        match &self.shape {
            Shape::Documents => {
                let body: Value = serde_json::from_slice(&bytes)?;
                return Ok(body.get("input").cloned().unwrap_or_default());
            }
            Shape::Text => return Ok(json!({"text": text(&bytes)?})),
            // Read as the Worker reads them, by its own readers.
            Shape::Csv { .. } => {
                let mut csv = Csv::new(bytes.len());
                csv.push(&bytes, &mut rows);
                csv.finish(&mut rows);
            }
            Shape::Jsonl { .. } | Shape::Array { .. } | Shape::Lines => {
                let mut lines = Lines::new(bytes.len());
                lines.push(&bytes, &mut rows);
                lines.finish(&mut rows);
            }
        }
        let items: Result<Vec<Value>> = rows
            .into_iter()
            .map(|row| {
                row.value
                    .map_err(|problem| anyhow!("line {}: {problem}", row.line))
            })
            .collect();
        Ok(json!({"items": items?}))
    }
}

impl Shape {
    fn about(&self) -> String {
        match self {
            Shape::Csv { columns, .. } => format!("a table; {columns}"),
            Shape::Jsonl { columns } | Shape::Array { columns } => {
                format!("JSON values; {columns}")
            }
            Shape::Lines => "an item on each line".to_owned(),
            Shape::Text => "one text".to_owned(),
            Shape::Documents => "documents".to_owned(),
        }
    }
}

fn shape(form: Form, head: &[u8], reading: &Reading, path: Option<&Path>) -> Result<Shape> {
    Ok(match form {
        Form::Csv | Form::Tsv => {
            let delimiter = (form == Form::Tsv).then_some(b'\t');
            let columns = Columns::of_csv(head, delimiter, reading, path)?;
            Shape::Csv { delimiter, columns }
        }
        Form::Jsonl => Shape::Jsonl {
            columns: Columns::of_jsonl(head, reading, path)?,
        },
        Form::Lines => Shape::Lines,
        Form::Text => Shape::Text,
    })
}

fn by_name(path: &Path) -> Option<Form> {
    let extension = path.extension()?.to_str()?.to_lowercase();
    Some(match extension.as_str() {
        "csv" => Form::Csv,
        "tsv" | "tab" => Form::Tsv,
        "jsonl" | "ndjson" | "json" => Form::Jsonl,
        "txt" | "text" | "md" | "markdown" | "rst" => Form::Text,
        _ => return None,
    })
}

fn is_json(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

fn unclear(what: &str) -> anyhow::Error {
    anyhow!("what is in {what} is not clear: say --format csv, tsv, jsonl, lines or text")
}

/// JSON on its first line, or a table whose columns are named like ids and texts; whatever else it may be is not guessed, because it is
/// paid for.
fn sniff(head: &[u8]) -> Option<Form> {
    let line = first_line(head);
    if let Ok(Value::Object(_) | Value::String(_)) = serde_json::from_slice(line) {
        return Some(Form::Jsonl);
    }
    let header = columns::header(head, None).ok()?;
    columns::looks_like_a_header(&header).then_some(Form::Csv)
}

fn array(path: &Path) -> Result<Vec<Value>> {
    let bytes =
        std::fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    json(&text(&bytes)?).with_context(|| format!("{} is no JSON list", path.display()))
}

#[cfg(test)]
mod tests;
