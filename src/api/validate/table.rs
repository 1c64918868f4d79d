//! Tables row by row, as their bytes come: what Excel, LibreOffice, Google Sheets and databases export as CSV.
//!
//! The reader holds one row at a time. A row that cannot be read is told with its line, and the reader goes on after it; only
//! a file that is no text or a header that cannot be used ends the reading.

use std::collections::HashSet;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use serde_json::{Map, Value};

use super::encoding::Decoder;
use super::rows::Row;

/// Columns of a file: each is a field of every item.
const MOST_COLUMNS: usize = 1_000;

/// Bytes that may come before the first two lines have ended.
const START_BYTES: usize = 65_536;

/// A table with a header; a line's end may be CRLF, LF or CR. Between columns stand commas, semicolons or tabs, whichever the
/// first lines (or `sep=;`) say.
pub struct Csv {
    decoder: Decoder,
    /// The beginning, until it says what stands between columns.
    start: Option<Start>,
    /// Every row comes as its cells, the header and blank ones too.
    records: bool,
    /// Rows that were passed over, for all of their cells were blank.
    pub blank_rows: u64,
    reader: Reader,
    /// The most bytes of a row.
    cap: usize,
    /// The columns' names; an empty one is of a column that must stay empty.
    header: Option<Vec<String>>,
    record: Vec<u8>,
    filled: usize,
    ends: Vec<usize>,
    fields: usize,
    /// Line of the next byte, and of the record's first.
    line: u64,
    begun_at: Option<u64>,
    /// The rest of this record is not kept: it is too long.
    too_long: bool,
    broken: bool,
}

/// The beginning of a file.
#[derive(Default)]
struct Start {
    bytes: Vec<u8>,
    /// It is looked at when it has so many bytes.
    look_at: usize,
    /// What stands between columns, where the caller knows it.
    delimiter: Option<u8>,
}

impl Csv {
    pub fn new(cap: usize) -> Csv {
        Csv {
            decoder: Decoder::default(),
            start: Some(Start::default()),
            records: false,
            blank_rows: 0,
            reader: Reader::new(),
            cap,
            header: None,
            record: vec![0; 4_096],
            filled: 0,
            ends: vec![0; 64],
            fields: 0,
            line: 1,
            begun_at: None,
            too_long: false,
            broken: false,
        }
    }

    /// A reader whose rows are lists of their cells: for a table that is sent on.
    pub fn of_records(cap: usize, delimiter: Option<u8>) -> Csv {
        Csv {
            start: Some(Start {
                delimiter,
                ..Start::default()
            }),
            records: true,
            ..Csv::new(cap)
        }
    }

    /// More bytes of the file.
    pub fn push(&mut self, bytes: &[u8], rows: &mut Vec<Row>) {
        let decoded = match self.decoder.push(bytes) {
            Ok(decoded) => decoded,
            Err(message) => return self.refuse(message, rows),
        };
        let Some(start) = &mut self.start else {
            return self.read(&decoded, rows);
        };
        start.bytes.extend_from_slice(&decoded);
        // Looked at again only when it has doubled, so that small pieces do not make it much work.
        if start.bytes.len() < start.look_at {
            return;
        }
        start.look_at = start.bytes.len() * 2;
        if start.bytes.len() >= START_BYTES || has_two_lines(&start.bytes) {
            self.begin(rows);
        }
    }

    fn refuse(&mut self, message: String, rows: &mut Vec<Row>) {
        if !std::mem::replace(&mut self.broken, true) {
            rows.push(Row {
                line: 0,
                value: Err(message),
            });
        }
    }

    /// The first lines are there: they say how to read all of them.
    fn begin(&mut self, rows: &mut Vec<Row>) {
        let Some(start) = self.start.take() else {
            return;
        };
        let mut bytes = start.bytes.as_slice();
        let delimiter = match sep_line(bytes) {
            Some((delimiter, length)) => {
                let line = bytes.get(..length).unwrap_or_default();
                self.count_lines(line);
                bytes = bytes.get(length..).unwrap_or_default();
                delimiter
            }
            None => start.delimiter.unwrap_or_else(|| delimiter(bytes)),
        };
        self.reader = ReaderBuilder::new().delimiter(delimiter).build();
        self.read(bytes, rows);
    }

    fn read(&mut self, mut bytes: &[u8], rows: &mut Vec<Row>) {
        while !bytes.is_empty() && !self.broken {
            if self.begun_at.is_none() {
                // Blank lines between records, and the second half of a CRLF.
                let blank = bytes
                    .iter()
                    .take_while(|b| matches!(b, b'\r' | b'\n'))
                    .count();
                self.count_lines(bytes.get(..blank).unwrap_or_default());
                bytes = bytes.get(blank..).unwrap_or_default();
                if bytes.is_empty() {
                    return;
                }
                self.begun_at = Some(self.line);
            }
            let read = self.step(bytes, rows);
            self.count_lines(bytes.get(..read).unwrap_or_default());
            bytes = bytes.get(read..).unwrap_or_default();
        }
    }

    /// The file ends here.
    pub fn finish(&mut self, rows: &mut Vec<Row>) {
        match self.decoder.finish() {
            Ok(rest) => match &mut self.start {
                Some(start) => {
                    start.bytes.extend(rest);
                    self.begin(rows);
                }
                None => self.read(&rest, rows),
            },
            Err(message) => self.refuse(message, rows),
        }
        if self.begun_at.is_some() && !self.broken {
            // Ends the record, unless a quote is still open: then what came after it has gone into one field, rows and all.
            self.step(b"\n", rows);
        }
        if let Some(line) = self.begun_at.take().filter(|_| !self.broken) {
            rows.push(Row {
                line,
                value: Err("has a quote that is never closed".to_owned()),
            });
            return;
        }
        if self.header.is_none() && !self.records && !self.broken {
            rows.push(Row {
                line: self.line,
                value: Err("has no header".to_owned()),
            });
        }
    }

    /// Nothing more comes of this file.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    fn count_lines(&mut self, bytes: &[u8]) {
        self.line += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    }

    /// Goes on with the record; an empty input ends it. Answers with how many bytes were read.
    fn step(&mut self, bytes: &[u8], rows: &mut Vec<Row>) -> usize {
        let (Some(output), Some(ends)) = (
            self.record.get_mut(self.filled..),
            self.ends.get_mut(self.fields..),
        ) else {
            return bytes.len();
        };
        let (result, read, written, ended) = self.reader.read_record(bytes, output, ends);
        self.filled += written;
        self.fields += ended;
        match result {
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::OutputFull => {
                if self.record.len() > self.cap {
                    self.too_long = true;
                    self.filled = 0;
                } else {
                    self.record.resize(self.record.len() * 2, 0);
                }
            }
            ReadRecordResult::OutputEndsFull => {
                if self.ends.len() > MOST_COLUMNS {
                    self.too_long = true;
                    self.fields = 0;
                } else {
                    self.ends.resize(self.ends.len() * 2, 0);
                }
            }
            ReadRecordResult::Record => self.end_record(rows),
            ReadRecordResult::End => self.begun_at = None,
        }
        read
    }

    fn end_record(&mut self, rows: &mut Vec<Row>) {
        let line = self.begun_at.take().unwrap_or(self.line);
        let read = if std::mem::take(&mut self.too_long) {
            Err(format!(
                "has more than {} bytes or {MOST_COLUMNS} fields",
                self.cap
            ))
        } else {
            self.fields()
        };
        self.filled = 0;
        self.fields = 0;
        if self.records {
            let value = read.map(|cells| cells.into_iter().map(Value::String).collect());
            rows.push(Row { line, value });
            return;
        }
        let value = match (&self.header, read) {
            (_, Err(problem)) => Err(problem),
            (None, Ok(names)) => match header(names) {
                Ok(names) => {
                    self.header = Some(names);
                    return;
                }
                Err(problem) => Err(problem),
            },
            (Some(_), Ok(fields)) if fields.iter().all(|field| field.trim().is_empty()) => {
                self.blank_rows += 1;
                return;
            }
            (Some(header), Ok(fields)) => item(header, fields),
        };
        self.broken |= self.header.is_none();
        rows.push(Row { line, value });
    }

    fn fields(&self) -> Result<Vec<String>, String> {
        let mut from = 0;
        let ends = self.ends.get(..self.fields).unwrap_or_default();
        ends.iter()
            .map(|end| {
                let bytes = self.record.get(from..*end).unwrap_or_default();
                from = *end;
                String::from_utf8(bytes.to_vec()).map_err(|_| "is not UTF-8".to_owned())
            })
            .collect()
    }
}

fn header(names: Vec<String>) -> Result<Vec<String>, String> {
    let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    if names.iter().all(String::is_empty) {
        return Err("is the header, which names no column".to_owned());
    }
    let mut known = HashSet::new();
    for name in names.iter().filter(|name| !name.is_empty()) {
        if !known.insert(name) {
            return Err(format!("is the header, which names {name:?} twice"));
        }
    }
    Ok(names)
}

/// A row's fields by their columns' names. An `id` that says nothing is none, and columns without a name (a spreadsheet writes
/// them where something stood once) must be empty.
fn item(header: &[String], fields: Vec<String>) -> Result<Value, String> {
    let most = fields.iter().rposition(|field| !field.trim().is_empty());
    if fields.len() < header.len() || most.is_some_and(|most| most >= header.len()) {
        return Err(format!(
            "has {} fields, the header names {}",
            fields.len(),
            header.len()
        ));
    }
    let mut map = Map::new();
    for (position, (name, field)) in header.iter().zip(fields).enumerate() {
        match name.as_str() {
            "" if field.trim().is_empty() => {}
            "" => {
                let column = position + 1;
                return Err(format!("has a value in column {column}, which has no name"));
            }
            "id" if field.is_empty() => {}
            _ => {
                map.insert(name.clone(), Value::String(field));
            }
        }
    }
    Ok(Value::Object(map))
}

/// What may stand between columns.
const DELIMITERS: [u8; 3] = *b",;\t";

/// What a first line `sep=;` says, and how long it is. Excel writes and reads it.
fn sep_line(start: &[u8]) -> Option<(u8, usize)> {
    let line = first_line(start);
    let rest = start.get(line.len()..).unwrap_or_default();
    let end = rest
        .iter()
        .take(2)
        .take_while(|b| matches!(b, b'\r' | b'\n'))
        .count();
    let named = line
        .strip_prefix(b"sep=")
        .or_else(|| line.strip_prefix(b"\"sep="))?;
    match named {
        [delimiter] | [delimiter, b'"'] => Some((*delimiter, line.len() + end)),
        _ => None,
    }
}

fn first_line(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|b| matches!(b, b'\r' | b'\n'));
    bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default()
}

/// What stands between columns: what gives the first two lines the same number of fields, and most of them.
fn delimiter(start: &[u8]) -> u8 {
    let score = |delimiter: u8| {
        let counts = fields_of_lines(start, delimiter);
        let header = counts.first().copied().unwrap_or(1);
        let agrees = header > 1 && counts.iter().take(2).all(|count| *count == header);
        (agrees, header)
    };
    let mut best = (b',', score(b','));
    for delimiter in DELIMITERS {
        let found = score(delimiter);
        if found > best.1 {
            best = (delimiter, found);
        }
    }
    best.0
}

fn has_two_lines(start: &[u8]) -> bool {
    fields_of_lines(start, b',').len() > 2
}

/// How many fields the first lines have that are not blank: two, and one more where a third begins.
fn fields_of_lines(start: &[u8], delimiter: u8) -> Vec<usize> {
    let mut counts = Vec::new();
    let mut fields = 1;
    let mut any = false;
    let mut quoted = false;
    for byte in start {
        match byte {
            b'"' => {
                quoted = !quoted;
                any = true;
            }
            b'\r' | b'\n' if !quoted => {
                if std::mem::take(&mut any) {
                    counts.push(fields);
                }
                fields = 1;
            }
            other => {
                if counts.len() == 2 {
                    counts.push(1);
                    return counts;
                }
                any = true;
                if *other == delimiter && !quoted {
                    fields += 1;
                }
            }
        }
    }
    if any && counts.len() < 2 {
        counts.push(fields);
    }
    counts
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
