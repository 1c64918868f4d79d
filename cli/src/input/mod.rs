//! The input of a job on its way up: a file, a folder or standard input becomes the bytes that the Worker takes in.
//!
//! Nothing is held but the row that is being read: what is read is handed to the connection piece by piece, from a thread of its own. Rows keep
//! their lines, so that a fault that the Worker names by its line is found there in the file.

mod columns;
mod files;
mod rows;
mod stream;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, bail};
use fanwise::api::rows::{Csv, Lines};
use serde_json::{Value, json};

use crate::args::{Form, Reading};
use crate::spec::Object;

use self::columns::Columns;

pub use self::stream::{Feed, feed};

/// A file is looked at this far to tell what it is.
const PEEK: usize = 1 << 20;

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
        delimiter: u8,
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
            return files::folder(path, reading);
        }
        let file = open(path)?;
        let (head, _) = peek(file)?;
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
                let list: Vec<Value> =
                    serde_json::from_reader(reader).context("the input is no JSON list")?;
                list.into_iter().try_for_each(|value| {
                    writeln!(into, "{}", columns.of_value(value)).map_err(Into::into)
                })
            }
            Shape::Lines => rows::lines(reader, into),
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
            Shape::Text => return Ok(json!({"text": String::from_utf8(bytes)?})),
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
            let delimiter = if form == Form::Tsv {
                b'\t'
            } else {
                delimiter(head)
            };
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
    let delimiter = delimiter(head);
    let header = columns::header(line, delimiter).ok()?;
    let form = if delimiter == b'\t' {
        Form::Tsv
    } else {
        Form::Csv
    };
    columns::looks_like_a_header(&header).then_some(form)
}

fn first_line(head: &[u8]) -> &[u8] {
    let head = head.strip_prefix("\u{feff}".as_bytes()).unwrap_or(head);
    head.split(|byte| *byte == b'\n')
        .find(|line| !line.trim_ascii().is_empty())
        .unwrap_or_default()
}

/// What stands between the fields of a header most often.
fn delimiter(head: &[u8]) -> u8 {
    let mut counts = [(b',', 0_u32), (b';', 0), (b'\t', 0)];
    let mut quoted = false;
    for byte in first_line(head) {
        quoted ^= *byte == b'"';
        if let Some((_, count)) = counts.iter_mut().find(|(delimiter, _)| delimiter == byte)
            && !quoted
        {
            *count += 1;
        }
    }
    // The comma where none is there: the first of the largest.
    counts
        .into_iter()
        .rev()
        .max_by_key(|(_, count)| *count)
        .map_or(b',', |(byte, _)| byte)
}

/// The beginning, and all of it.
fn peek(mut reader: impl Read + Send + 'static) -> Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut head = vec![0; 1 << 16];
    let mut filled = 0;
    loop {
        if filled == head.len() {
            if filled >= PEEK {
                break;
            }
            head.resize(filled * 2, 0);
        }
        let read = reader.read(head.get_mut(filled..).unwrap_or_default())?;
        filled += read;
        // A header and a row are enough.
        let lines = head
            .iter()
            .take(filled)
            .filter(|byte| **byte == b'\n')
            .count();
        if read == 0 || lines >= 2 {
            break;
        }
    }
    head.truncate(filled);
    let all = io::Cursor::new(head.clone()).chain(reader);
    Ok((head, Box::new(all)))
}

fn open(path: &Path) -> Result<std::fs::File> {
    std::fs::File::open(path).with_context(|| format!("could not read {}", path.display()))
}

fn array(path: &Path) -> Result<Vec<Value>> {
    serde_json::from_reader(BufReader::new(open(path)?))
        .with_context(|| format!("{} is no JSON list", path.display()))
}

/// Tells how much was read.
struct Counted<R> {
    reader: R,
    read: Arc<dyn Fn(u64) + Send + Sync>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        (self.read)(read as u64);
        Ok(read)
    }
}

/// Line after line with its number, without its end.
fn each_line(
    mut reader: impl BufRead,
    mut line: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut buffer = Vec::new();
    let mut number = 0;
    loop {
        buffer.clear();
        if reader.read_until(b'\n', &mut buffer)? == 0 {
            return Ok(());
        }
        number += 1;
        let end = buffer.strip_suffix(b"\n").unwrap_or(&buffer);
        let end = end.strip_suffix(b"\r").unwrap_or(end);
        // A mark of the encoding, which some programs write.
        let end = match number {
            1 => end.strip_prefix("\u{feff}".as_bytes()).unwrap_or(end),
            _ => end,
        };
        line(number, end)?;
    }
}

#[cfg(test)]
mod tests;
