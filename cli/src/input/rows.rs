//! Tables and lines, row by row, with their columns under the names they go up with. They are read by the Worker's own
//! readers, so both see the same rows; each goes up on the line on which it begins in the file.

use std::io::{BufRead, Write};

use anyhow::{Context as _, Result, bail};
use fanwise::api::rows::{Lines, Row};
use fanwise::api::table::Csv;
use serde_json::Value;

use crate::input::columns::Columns;
use crate::input::read::each_line;

/// Bytes of the longest row: more than the Worker accepts, which then says what it accepts.
pub const LONGEST_ROW: usize = 1 << 26;

/// A reader of the Worker.
pub trait Rows {
    fn push(&mut self, bytes: &[u8], rows: &mut Vec<Row>);
    fn finish(&mut self, rows: &mut Vec<Row>);
}

impl Rows for Csv {
    fn push(&mut self, bytes: &[u8], rows: &mut Vec<Row>) {
        Csv::push(self, bytes, rows);
    }

    fn finish(&mut self, rows: &mut Vec<Row>) {
        Csv::finish(self, rows);
    }
}

impl Rows for Lines {
    fn push(&mut self, bytes: &[u8], rows: &mut Vec<Row>) {
        Lines::push(self, bytes, rows);
    }

    fn finish(&mut self, rows: &mut Vec<Row>) {
        Lines::finish(self, rows);
    }
}

/// Row after row with its line, until one cannot be read or is not wanted.
pub fn each_row(
    mut input: impl BufRead,
    mut reader: impl Rows,
    mut row: impl FnMut(u64, Value) -> Result<bool>,
) -> Result<()> {
    let mut rows = Vec::new();
    loop {
        let piece = input.fill_buf()?;
        let read = piece.len();
        match read {
            0 => reader.finish(&mut rows),
            _ => reader.push(piece, &mut rows),
        }
        input.consume(read);
        for Row { line, value } in rows.drain(..) {
            match value {
                Err(problem) if line == 0 => bail!("the input {problem}"),
                Err(problem) => bail!("line {line} {problem}"),
                Ok(value) => {
                    if !row(line, value)? {
                        return Ok(());
                    }
                }
            }
        }
        if read == 0 {
            return Ok(());
        }
    }
}

/// The cells of a row of a table.
pub fn cells(row: Value) -> Vec<String> {
    let Value::Array(cells) = row else {
        return Vec::new();
    };
    let text = |cell| match cell {
        Value::String(text) => text,
        other => other.to_string(),
    };
    cells.into_iter().map(text).collect()
}

/// Writes each row on its line.
struct OnLines<'a> {
    into: &'a mut dyn Write,
    /// The line that is written next.
    next: u64,
}

impl OnLines<'_> {
    fn write(&mut self, line: u64, row: &[u8]) -> Result<()> {
        while self.next < line {
            self.into.write_all(b"\n")?;
            self.next += 1;
        }
        self.into.write_all(row)?;
        self.next += row.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(())
    }
}

/// A table as CSV with commas. Blank rows go up too: the Worker counts them.
pub fn csv(
    reader: impl BufRead,
    delimiter: Option<u8>,
    columns: &Columns,
    into: &mut dyn Write,
) -> Result<()> {
    let mut out = OnLines { into, next: 1 };
    let mut kept: Option<Vec<bool>> = None;
    let table = Csv::of_records(LONGEST_ROW, delimiter);
    each_row(reader, table, |line, row| {
        let cells = cells(row);
        let record = match &kept {
            None => {
                let sent: Vec<_> = cells.iter().map(|name| columns.sent(name.trim())).collect();
                kept = Some(sent.iter().map(Option::is_some).collect());
                record(sent.into_iter().flatten())?
            }
            // What is beyond the header is sent, too: the Worker says what is wrong with such a row.
            Some(kept) => {
                let cells = cells.iter().enumerate();
                let cells = cells.filter(|(at, _)| kept.get(*at).copied().unwrap_or(true));
                record(cells.map(|(_, cell)| cell.as_str()))?
            }
        };
        out.write(line, &record)?;
        Ok(true)
    })
}

fn record<'a>(cells: impl Iterator<Item = &'a str>) -> Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .from_writer(Vec::new());
    writer.write_record(cells)?;
    writer.into_inner().context("a row could not be written")
}

/// One JSON value to a line.
pub fn jsonl(reader: impl BufRead, columns: &Columns, into: &mut dyn Write) -> Result<()> {
    let mut out = OnLines { into, next: 1 };
    each_row(reader, Lines::new(LONGEST_ROW), |line, value| {
        let text = format!("{}\n", columns.of_value(value));
        out.write(line, text.as_bytes())?;
        Ok(true)
    })
}

/// Each line is a text.
pub fn lines(reader: impl BufRead, into: &mut dyn Write) -> Result<()> {
    each_line(reader, |number, line| {
        let text =
            std::str::from_utf8(line).with_context(|| format!("line {number} is not UTF-8"))?;
        if text.trim().is_empty() {
            return Ok(writeln!(into)?);
        }
        Ok(writeln!(into, "{}", Value::from(text))?)
    })
}
