//! Tables and lines, row by row, with their columns under the names they go up with.

use std::io::{BufRead, Read as _, Write};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use super::columns::{self, Columns};
use super::each_line;

/// Stands behind the last row while a table is read: within a quote that is still open it becomes part of a field.
const END: &[u8] = b"\0end\0";

/// A table as CSV with commas. Records keep their line breaks, so that lines stay what they are.
pub fn csv(
    reader: impl BufRead,
    delimiter: u8,
    columns: &Columns,
    into: &mut dyn Write,
) -> Result<()> {
    let mut reader = columns::reader(reader.chain(&b"\n"[..]).chain(END), delimiter);
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(into);
    let mut record = csv::ByteRecord::new();
    let mut kept: Option<Vec<bool>> = None;
    let mut line = 1;
    while reader
        .read_byte_record(&mut record)
        .with_context(|| format!("line {line} cannot be read"))?
    {
        match record.iter().next_back() {
            Some(END) if record.len() == 1 => break,
            // All rows behind it have gone into one field.
            Some(last) if last.ends_with(END) => {
                bail!("line {line} has a quote that is never closed");
            }
            _ => {}
        }
        match &kept {
            None => {
                let names: Vec<String> = record
                    .iter()
                    .map(|name| {
                        let name = String::from_utf8(name.to_vec());
                        name.map_err(|_| anyhow!("the header is not UTF-8"))
                    })
                    .collect::<Result<_>>()?;
                let plain = |name: &str| name.trim_start_matches('\u{feff}').to_owned();
                let names: Vec<String> = names.iter().map(|name| plain(name)).collect();
                let sent: Vec<_> = names.iter().map(|name| columns.sent(name)).collect();
                writer.write_record(sent.iter().flatten())?;
                kept = Some(sent.iter().map(Option::is_some).collect());
            }
            // What is beyond the header is sent, too: the Worker says what is wrong with such a row.
            Some(kept) => {
                let cells = record.iter().enumerate();
                let cells = cells.filter(|(at, _)| kept.get(*at).copied().unwrap_or(true));
                writer.write_record(cells.map(|(_, cell)| cell))?;
            }
        }
        line = reader.position().line();
    }
    Ok(writer.flush()?)
}

/// One JSON value to a line.
pub fn jsonl(reader: impl BufRead, columns: &Columns, into: &mut dyn Write) -> Result<()> {
    each_line(reader, |number, line| {
        if line.trim_ascii().is_empty() {
            return Ok(writeln!(into)?);
        }
        let value: Value =
            serde_json::from_slice(line).with_context(|| format!("line {number} is not JSON"))?;
        Ok(writeln!(into, "{}", columns.of_value(value))?)
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
