//! Files row by row, as their bytes come: CSV, one JSON value to a line, plain text.
//!
//! Readers hold one row at a time. A row that cannot be read is told with its line, and the reader goes on after it; only
//! a header that cannot be used ends the reading.

use csv_core::{ReadRecordResult, Reader};
use serde_json::{Map, Value};

/// A row, or what is wrong with it, and the line on which it begins, counted from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub line: u64,
    pub value: Result<Value, String>,
}

/// Columns of a file: each is a field of every item.
const MOST_COLUMNS: usize = 1_000;

/// CSV by RFC 4180, with a header; a line's end may be CRLF or LF.
pub struct Csv {
    reader: Reader,
    /// The most bytes of a row.
    cap: usize,
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

impl Csv {
    pub fn new(cap: usize) -> Csv {
        Csv {
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

    /// More bytes of the file.
    pub fn push(&mut self, mut bytes: &[u8], rows: &mut Vec<Row>) {
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
        if self.header.is_none() && !self.broken {
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
        let value = match (&self.header, read) {
            (_, Err(problem)) => Err(problem),
            (None, Ok(names)) => match header(names) {
                Ok(names) => {
                    self.header = Some(names);
                    return;
                }
                Err(problem) => Err(problem),
            },
            (Some(header), Ok(fields)) if header.len() != fields.len() => Err(format!(
                "has {} fields, the header names {}",
                fields.len(),
                header.len()
            )),
            (Some(header), Ok(fields)) => Ok(item(header, fields)),
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

/// What other tables have between their columns.
const NOT_COMMAS: [char; 2] = [';', '\t'];

fn header(mut names: Vec<String>) -> Result<Vec<String>, String> {
    if let Some(first) = names.first_mut()
        && let Some(rest) = first.strip_prefix('\u{feff}')
    {
        *first = rest.to_owned();
    }
    if let [only] = names.as_slice()
        && only.contains(NOT_COMMAS)
    {
        return Err(format!(
            "is the header, whose only column is {only:?}: there must be commas between columns"
        ));
    }
    for (position, name) in names.iter().enumerate() {
        if name.trim().is_empty() {
            return Err(format!(
                "is the header, whose column {} has no name",
                position + 1
            ));
        }
        if names.iter().take(position).any(|other| other == name) {
            return Err(format!("is the header, which names {name:?} twice"));
        }
    }
    Ok(names)
}

/// A row's fields by their columns' names. An `id` that says nothing is none.
fn item(header: &[String], fields: Vec<String>) -> Value {
    let pairs = header.iter().zip(fields);
    let pairs = pairs.filter(|(name, field)| !(name.as_str() == "id" && field.is_empty()));
    let map: Map<String, Value> = pairs
        .map(|(name, field)| (name.clone(), Value::String(field)))
        .collect();
    Value::Object(map)
}

/// One JSON value to a line; blank lines are passed over.
pub struct Lines {
    cap: usize,
    buffer: Vec<u8>,
    line: u64,
    too_long: bool,
}

impl Lines {
    pub fn new(cap: usize) -> Lines {
        Lines {
            cap,
            buffer: Vec::new(),
            line: 1,
            too_long: false,
        }
    }

    pub fn push(&mut self, mut bytes: &[u8], rows: &mut Vec<Row>) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.keep(bytes.get(..end).unwrap_or_default());
            self.end_line(rows);
            self.line += 1;
            bytes = bytes.get(end + 1..).unwrap_or_default();
        }
        self.keep(bytes);
    }

    pub fn finish(&mut self, rows: &mut Vec<Row>) {
        self.end_line(rows);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > self.cap {
            self.too_long = true;
            self.buffer.clear();
        }
        if !self.too_long {
            self.buffer.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self, rows: &mut Vec<Row>) {
        let value = if std::mem::take(&mut self.too_long) {
            Err(format!("has more than {} bytes", self.cap))
        } else {
            let mut line = self.buffer.trim_ascii();
            if self.line == 1 {
                line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            }
            if line.is_empty() {
                return;
            }
            serde_json::from_slice(line).map_err(|error| {
                // The parser counts lines of its own, of which there is one.
                let text = error.to_string();
                let text = text.split(" at line ").next().unwrap_or_default();
                format!("is not valid JSON: {text} at column {}", error.column())
            })
        };
        self.buffer.clear();
        rows.push(Row {
            line: self.line,
            value,
        });
    }
}

/// UTF-8, whose characters may be cut by the pieces it comes in.
#[derive(Default)]
pub struct Text {
    /// The beginning of a character.
    rest: Vec<u8>,
    begun: bool,
}

/// Bytes that are no UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub struct NotText;

impl Text {
    /// What can be read of the text so far, after what was read before.
    pub fn push(&mut self, bytes: &[u8]) -> Result<String, NotText> {
        self.rest.extend_from_slice(bytes);
        let valid = match std::str::from_utf8(&self.rest) {
            Ok(text) => text.len(),
            // Cut inside of a character: at most three bytes wait for the rest of it.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(NotText),
        };
        let rest = self.rest.split_off(valid);
        let text = std::mem::replace(&mut self.rest, rest);
        let text = String::from_utf8(text).map_err(|_| NotText)?;
        let first = !self.begun;
        self.begun |= !text.is_empty();
        match text.strip_prefix('\u{feff}').filter(|_| first) {
            Some(text) => Ok(text.to_owned()),
            None => Ok(text),
        }
    }

    pub fn finish(&self) -> Result<(), NotText> {
        self.rest.is_empty().then_some(()).ok_or(NotText)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn csv(text: &[u8], piece: usize, cap: usize) -> Vec<(u64, Result<Value, String>)> {
        let mut reader = Csv::new(cap);
        let mut rows = Vec::new();
        for bytes in text.chunks(piece) {
            reader.push(bytes, &mut rows);
        }
        reader.finish(&mut rows);
        rows.into_iter().map(|row| (row.line, row.value)).collect()
    }

    fn lines(text: &[u8], piece: usize, cap: usize) -> Vec<(u64, Result<Value, String>)> {
        let mut reader = Lines::new(cap);
        let mut rows = Vec::new();
        for bytes in text.chunks(piece) {
            reader.push(bytes, &mut rows);
        }
        reader.finish(&mut rows);
        rows.into_iter().map(|row| (row.line, row.value)).collect()
    }

    #[test]
    fn rows_are_the_same_however_their_bytes_come() {
        let text =
            "\u{feff}id,text,n\r\na,\"one, \"\"two\"\"\nthree\",1\r\n\r\n,plain é,2\n\nc,last,3";
        let expected = vec![
            (
                2,
                Ok(json!({"id": "a", "text": "one, \"two\"\nthree", "n": "1"})),
            ),
            (5, Ok(json!({"text": "plain é", "n": "2"}))),
            (7, Ok(json!({"id": "c", "text": "last", "n": "3"}))),
        ];
        for piece in [1, 2, 3, 7, 1_000] {
            assert_eq!(csv(text.as_bytes(), piece, 1_000), expected, "{piece}");
        }
        let text = "{\"a\":1}\r\n\n \"é\" \n{\"b\":2}";
        let expected = vec![
            (1, Ok(json!({"a": 1}))),
            (3, Ok(json!("é"))),
            (4, Ok(json!({"b": 2}))),
        ];
        for piece in [1, 2, 3, 1_000] {
            assert_eq!(lines(text.as_bytes(), piece, 1_000), expected, "{piece}");
        }
    }

    #[test]
    fn bad_rows_are_named_by_their_lines_and_passed_over() {
        let long = "x".repeat(20_000);
        let text = format!("a,b\n1\n2,2\n{long},{long}\n\"3\n3\",3\n1,2,3\n4,4\n");
        let rows = csv(text.as_bytes(), 100, 5_000);
        let told: Vec<(u64, String)> = rows
            .iter()
            .map(|(line, row)| (*line, row.as_ref().err().cloned().unwrap_or_default()))
            .collect();
        assert_eq!(
            told,
            [
                (2, "has 1 fields, the header names 2".to_owned()),
                (3, String::new()),
                (4, "has more than 5000 bytes or 1000 fields".to_owned()),
                (5, String::new()),
                (7, "has 3 fields, the header names 2".to_owned()),
                (8, String::new()),
            ]
        );
        let rows = csv(b"a\n\xff\nb\n", 1, 100);
        assert_eq!(rows[0], (2, Err("is not UTF-8".to_owned())));
        let text = format!("{{\"a\":}}\n\"{long}\"\nnull\n");
        let rows = lines(text.as_bytes(), 64, 5_000);
        assert_eq!(
            rows[0],
            (
                1,
                Err("is not valid JSON: expected value at column 6".to_owned())
            )
        );
        assert_eq!(rows[1], (2, Err("has more than 5000 bytes".to_owned())));
        assert_eq!(rows[2], (3, Ok(Value::Null)));
    }

    #[test]
    fn a_quote_that_is_never_closed_swallows_no_rows() {
        for (text, line) in [
            ("a,b\n1,1\n2,\"x\n3,3\n", 3),
            ("a,b\n1,\"x", 2),
            ("a,\"b\n1,1\n", 1),
        ] {
            for piece in [1, 4, 100] {
                let rows = csv(text.as_bytes(), piece, 1_000);
                let told = (line, Err("has a quote that is never closed".to_owned()));
                assert_eq!(rows.last(), Some(&told), "{text:?}");
            }
        }
        // Closed at the very end, it is like any other.
        for text in ["a,b\n1,\"x\"", "a,b\n1,\"x\"\r", "a,b\n1,\"x\"\r\n\r\n"] {
            let rows = csv(text.as_bytes(), 3, 1_000);
            assert_eq!(rows, [(2, Ok(json!({"a": "1", "b": "x"})))], "{text:?}");
        }
    }

    #[test]
    fn a_header_that_cannot_be_used_ends_it() {
        let only = |text: &[u8]| {
            let rows = csv(text, 2, 1_000);
            assert_eq!(rows.len(), 1);
            rows.into_iter().next().unwrap().1.unwrap_err()
        };
        assert_eq!(only(b""), "has no header");
        assert_eq!(only(b"\n\n"), "has no header");
        assert_eq!(
            only(b"a,,b\n1,2,3\n"),
            "is the header, whose column 2 has no name"
        );
        assert_eq!(
            only(b"a,a\n1,2\n"),
            "is the header, which names \"a\" twice"
        );
        assert_eq!(
            only(b"a;b\n1;2\n"),
            "is the header, whose only column is \"a;b\": there must be commas between columns"
        );
        assert!(only(b"a\tb\n1\t2\n").contains("commas"));
        assert!(csv(b"a,b\n", 1, 100).is_empty());
        let wide = vec!["x"; 3_000].join(",");
        assert!(only(wide.as_bytes()).contains("1000 fields"));
    }

    #[test]
    fn characters_may_be_cut_anywhere() {
        let text = "\u{feff}aé字🙂\u{feff}z";
        for piece in 1..6 {
            let mut reader = Text::default();
            let read: String = text
                .as_bytes()
                .chunks(piece)
                .map(|bytes| reader.push(bytes).unwrap())
                .collect();
            assert_eq!(read, "aé字🙂\u{feff}z");
            assert_eq!(reader.finish(), Ok(()));
        }
        let mut reader = Text::default();
        assert_eq!(reader.push(b"a\xff"), Err(NotText));
        let mut reader = Text::default();
        assert_eq!(reader.push(b"a\xc3"), Ok("a".to_owned()));
        assert_eq!(reader.finish(), Err(NotText));
    }

    proptest! {
        #[test]
        fn no_bytes_stop_a_reader(bytes in proptest::collection::vec(any::<u8>(), 0..400), piece in 1_usize..50) {
            for text in [bytes.clone(), [b"a,b\n".to_vec(), bytes].concat()] {
                csv(&text, piece, 64);
                lines(&text, piece, 64);
                let mut reader = Text::default();
                for bytes in text.chunks(piece) {
                    if reader.push(bytes).is_err() {
                        break;
                    }
                }
            }
        }

        #[test]
        fn what_was_written_is_read(table in proptest::collection::vec(("[a-z\"\n\r, é]{1,8}", "\\PC{0,8}"), 1..20), piece in 1_usize..50) {
            let mut text = b"x,y\n".to_vec();
            for (a, b) in &table {
                let quoted = |field: &str| format!("\"{}\"", field.replace('"', "\"\""));
                text.extend(format!("{},{}\r\n", quoted(a), quoted(b)).bytes());
            }
            let rows = csv(&text, piece, 1_000);
            let read: Vec<(String, String)> = rows
                .into_iter()
                .map(|(_, row)| {
                    let row = row.unwrap();
                    let field = |name: &str| row[name].as_str().unwrap().to_owned();
                    (field("x"), field("y"))
                })
                .collect();
            prop_assert_eq!(read, table);
        }
    }
}
