//! Files row by row, as their bytes come: one JSON value to a line, and plain text. Tables are read by
//! [`super::table`].
//!
//! Readers hold one row at a time. A row that cannot be read is told with its line, and the reader goes on after it.

use serde_json::Value;

use super::encoding::Decoder;
use crate::api::http::body::MOST_VALUES;
use crate::core::value::strict_json;

/// A row, or what is wrong with it, and the line on which it begins, counted from 1; 0 where it is the whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub line: u64,
    pub value: Result<Value, String>,
}

impl Row {
    /// Its place, as faults name it.
    pub fn path(&self) -> String {
        match self.line {
            0 => "input".to_owned(),
            line => format!("input line {line}"),
        }
    }
}

/// One JSON value to a line; blank lines are passed over.
pub struct Lines {
    decoder: Decoder,
    broken: bool,
    cap: usize,
    buffer: Vec<u8>,
    line: u64,
    too_long: bool,
}

impl Lines {
    pub fn new(cap: usize) -> Lines {
        Lines {
            decoder: Decoder::default(),
            broken: false,
            cap,
            buffer: Vec::new(),
            line: 1,
            too_long: false,
        }
    }

    pub fn push(&mut self, bytes: &[u8], rows: &mut Vec<Row>) {
        match self.decoder.push(bytes) {
            Ok(decoded) => self.read(&decoded, rows),
            Err(problem) => self.refuse(problem, rows),
        }
    }

    /// Nothing more comes of this file.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    fn refuse(&mut self, problem: String, rows: &mut Vec<Row>) {
        if !std::mem::replace(&mut self.broken, true) {
            rows.push(Row {
                line: 0,
                value: Err(problem),
            });
        }
    }

    fn read(&mut self, mut bytes: &[u8], rows: &mut Vec<Row>) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.keep(bytes.get(..end).unwrap_or_default());
            self.end_line(rows);
            self.line += 1;
            bytes = bytes.get(end + 1..).unwrap_or_default();
        }
        self.keep(bytes);
    }

    pub fn finish(&mut self, rows: &mut Vec<Row>) {
        match self.decoder.finish() {
            Ok(rest) => self.read(&rest, rows),
            Err(problem) => self.refuse(problem, rows),
        }
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
            strict_json::mend_surrogates(&mut self.buffer);
            let line = self.buffer.trim_ascii();
            if line.is_empty() {
                return;
            }
            json_line(line)
        };
        self.buffer.clear();
        rows.push(Row {
            line: self.line,
            value,
        });
    }
}

fn json_line(line: &[u8]) -> Result<Value, String> {
    let exact = std::str::from_utf8(line).map(strict_json::exact);
    let line = exact.as_ref().map_or(line, |text| text.as_bytes());
    strict_json::read(line, MOST_VALUES).map_err(|error| {
        // The parser counts lines of its own, of which there is one.
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        match error.classify() {
            serde_json::error::Category::Data => format!("cannot be taken: {text}"),
            _ => format!("is not valid JSON: {text} at column {}", error.column()),
        }
    })
}

/// A text, whose characters may be cut by the pieces it comes in.
#[derive(Default)]
pub struct Text {
    decoder: Decoder,
    /// The beginning of a character.
    rest: Vec<u8>,
}

impl Text {
    /// What can be read of the text so far, after what was read before.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn push(&mut self, bytes: &[u8]) -> Result<String, String> {
        let decoded = self.decoder.push(bytes)?;
        self.rest.extend_from_slice(&decoded);
        self.read()
    }

    /// The last of it.
    ///
    /// # Errors
    /// As of [`Text::push`].
    pub fn finish(&mut self) -> Result<String, String> {
        let rest = self.decoder.finish()?;
        self.rest.extend(rest);
        let read = self.read()?;
        if self.rest.is_empty() {
            Ok(read)
        } else {
            Err(NOT_TEXT.to_owned())
        }
    }

    fn read(&mut self) -> Result<String, String> {
        let valid = match std::str::from_utf8(&self.rest) {
            Ok(text) => text.len(),
            // Cut inside of a character: at most three bytes wait for the rest of it.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(NOT_TEXT.to_owned()),
        };
        let rest = self.rest.split_off(valid);
        let text = std::mem::replace(&mut self.rest, rest);
        String::from_utf8(text).map_err(|_| NOT_TEXT.to_owned())
    }
}

const NOT_TEXT: &str = "is not UTF-8";

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

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
    fn lines_are_the_same_however_their_bytes_come() {
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
    fn bad_lines_are_named_and_passed_over() {
        let long = "x".repeat(20_000);
        let text = format!("{{\"a\":}}\n\"{long}\"\nnull\n{{\"id\":1,\"id\":2}}\n");
        let rows = lines(text.as_bytes(), 64, 5_000);
        let problems: Vec<Option<&str>> = rows
            .iter()
            .map(|(_, row)| row.as_ref().err().map(String::as_str))
            .collect();
        assert_eq!(
            problems,
            [
                Some("is not valid JSON: expected value at column 6"),
                Some("has more than 5000 bytes"),
                None,
                Some("cannot be taken: the object has \"id\" twice"),
            ]
        );
    }

    #[test]
    fn digits_and_half_characters_are_kept_or_mended() {
        let text = br#"{"huge":12345678901234567890123,"cut":"cut \ud83d"}"#;
        let expected = json!({"huge": "12345678901234567890123", "cut": "cut \u{fffd}"});
        assert_eq!(lines(text, 5, 1_000), [(1, Ok(expected))]);
    }

    #[test]
    fn characters_may_be_cut_anywhere() {
        let read = |bytes: &[u8], piece| {
            let mut reader = Text::default();
            let mut text = String::new();
            for bytes in bytes.chunks(piece) {
                text += &reader.push(bytes)?;
            }
            Ok::<_, String>(text + &reader.finish()?)
        };
        let text = "\u{feff}aé字🙂\u{feff}z";
        let long = "aé字🙂".repeat(2_000);
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for piece in 1..6 {
            assert_eq!(read(text.as_bytes(), piece).unwrap(), "aé字🙂\u{feff}z");
            assert_eq!(read(&utf16, piece).unwrap(), "aé字🙂\u{feff}z");
            assert_eq!(read(long.as_bytes(), piece).unwrap(), long);
        }
        for bytes in [&b"a\xff"[..], b"a\xc3"] {
            assert_eq!(read(bytes, 5), Err("is not UTF-8".to_owned()));
        }
        assert!(read(b"%PDF-1.7", 5).unwrap_err().contains("a PDF"));
    }

    proptest! {
        #[test]
        fn no_bytes_stop_a_reader(text in proptest::collection::vec(any::<u8>(), 0..400), piece in 1_usize..50) {
            lines(&text, piece, 64);
            let mut reader = Text::default();
            for bytes in text.chunks(piece) {
                if reader.push(bytes).is_err() {
                    break;
                }
            }
        }
    }
}
