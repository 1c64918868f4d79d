//! The bytes of a file as UTF-8, whatever encoding it was saved in; and files that are no text, by their names.
//!
//! Excel saves "Unicode Text" as UTF-16. Where no mark says so, the zeros of its plain letters do. What is neither UTF-8 nor
//! UTF-16 goes on as it is: the readers name the line that they cannot read.

use std::borrow::Cow;

/// Bytes that are looked at before the first of them goes on.
const LOOKED_AT: usize = 4_096;

/// A file's bytes, piece by piece.
#[derive(Default)]
pub struct Decoder {
    /// The beginning, until there is enough to be looked at.
    start: Vec<u8>,
    encoding: Option<Encoding>,
}

enum Encoding {
    /// Or something else that the readers will refuse.
    Utf8,
    Utf16(Utf16),
}

impl Decoder {
    /// What can be read so far.
    ///
    /// # Errors
    /// Where the file is no text: what it is, and what to do.
    pub fn push<'a>(&mut self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        match &mut self.encoding {
            Some(Encoding::Utf8) => Ok(Cow::Borrowed(bytes)),
            Some(Encoding::Utf16(utf16)) => Ok(Cow::Owned(utf16.push(bytes))),
            None => {
                self.start.extend_from_slice(bytes);
                if self.start.len() < LOOKED_AT {
                    return Ok(Cow::Borrowed(&[]));
                }
                self.begin().map(Cow::Owned)
            }
        }
    }

    /// What is left of a file that ends here.
    ///
    /// # Errors
    /// As of [`Decoder::push`].
    pub fn finish(&mut self) -> Result<Vec<u8>, String> {
        let mut left = match self.encoding {
            None => self.begin()?,
            Some(_) => Vec::new(),
        };
        if let Some(Encoding::Utf16(utf16)) = &mut self.encoding {
            left.extend(utf16.finish());
        }
        Ok(left)
    }

    fn begin(&mut self) -> Result<Vec<u8>, String> {
        let start = std::mem::take(&mut self.start);
        if let Some(name) = binary(&start) {
            return Err(name);
        }
        let (encoding, mark) = match start.as_slice() {
            [0xff, 0xfe, ..] => (Some(false), 2),
            [0xfe, 0xff, ..] => (Some(true), 2),
            [0xef, 0xbb, 0xbf, ..] => (None, 3),
            _ => (by_zeros(&start)?, 0),
        };
        let rest = start.get(mark..).unwrap_or_default();
        let Some(big_endian) = encoding else {
            self.encoding = Some(Encoding::Utf8);
            return Ok(rest.to_vec());
        };
        let mut utf16 = Utf16 {
            big_endian,
            half: None,
            high: None,
        };
        let read = utf16.push(rest);
        self.encoding = Some(Encoding::Utf16(utf16));
        Ok(read)
    }
}

/// Whether UTF-16 without a mark begins with the high byte; `None` where no zeros say that it is UTF-16.
fn by_zeros(start: &[u8]) -> Result<Option<bool>, String> {
    let zeros = |from: usize| {
        start
            .iter()
            .skip(from)
            .step_by(2)
            .filter(|b| **b == 0)
            .count()
    };
    match (zeros(0), zeros(1)) {
        (0, 0) => Ok(None),
        (even, odd) if odd >= even.saturating_mul(4) => Ok(Some(false)),
        (even, odd) if even >= odd.saturating_mul(4) => Ok(Some(true)),
        _ => Err("is a binary file; save it as CSV, JSON lines or plain text".to_owned()),
    }
}

/// What begins like this is a file of that kind.
const KINDS: [(&[u8], &str, &str); 9] = [
    (b"%PDF", "a PDF", "plain text"),
    (b"\xd0\xcf\x11\xe0", "an .xls or .doc", "CSV or plain text"),
    (b"\x1f\x8b", "a gzip archive", "a file without compression"),
    (b"7z\xbc\xaf", "a 7z archive", "a file without compression"),
    (b"\x89PNG", "a PNG picture", "plain text"),
    (b"\xff\xd8\xff", "a JPEG picture", "plain text"),
    (b"PAR1", "a Parquet file", "CSV or JSON lines"),
    (
        b"SQLite format 3",
        "an SQLite database",
        "CSV or JSON lines",
    ),
    (b"{\\rtf", "an .rtf", "plain text"),
];

/// What is in an archive of this kind.
const ARCHIVES: [(&[u8], &str, &str); 6] = [
    (b"opendocument.spreadsheet", "an .ods", "CSV"),
    (b"opendocument.text", "an .odt", "plain text"),
    (b"xl/", "an .xlsx", "CSV"),
    (b"word/", "a .docx", "plain text"),
    (b"ppt/", "a .pptx", "plain text"),
    (b"epub", "an .epub", "plain text"),
];

/// A sentence about a file that is no text, by how it begins.
fn binary(start: &[u8]) -> Option<String> {
    let named = |kind: &str, instead: &str| format!("is {kind}; save it as {instead}");
    if start.starts_with(b"PK\x03\x04") {
        let holds = |name: &[u8]| start.windows(name.len()).any(|part| part == name);
        let found = ARCHIVES.iter().find(|(name, ..)| holds(name));
        return Some(match found {
            Some((_, kind, instead)) => named(kind, instead),
            None if holds(b"[Content_Types].xml") => {
                named("an Office document", "CSV or plain text")
            }
            None => named("a zip archive", "a file without compression"),
        });
    }
    KINDS
        .iter()
        .find(|(mark, ..)| start.starts_with(mark))
        .map(|(_, kind, instead)| named(kind, instead))
}

/// UTF-16, whose units and pairs may be cut by the pieces it comes in.
struct Utf16 {
    big_endian: bool,
    half: Option<u8>,
    high: Option<u16>,
}

impl Utf16 {
    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut read = String::with_capacity(bytes.len());
        for byte in bytes {
            let Some(first) = self.half.take() else {
                self.half = Some(*byte);
                continue;
            };
            let unit = match self.big_endian {
                true => u16::from_be_bytes([first, *byte]),
                false => u16::from_le_bytes([first, *byte]),
            };
            self.unit(unit, &mut read);
        }
        read.into_bytes()
    }

    fn unit(&mut self, unit: u16, read: &mut String) {
        let is_high = (0xd800..0xdc00).contains(&unit);
        let high = self.high.take();
        if is_high {
            read.extend(high.map(|_| char::REPLACEMENT_CHARACTER));
            self.high = Some(unit);
            return;
        }
        let units = high.into_iter().chain([unit]);
        let decoded = char::decode_utf16(units);
        read.extend(decoded.map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
    }

    fn finish(&mut self) -> Vec<u8> {
        let cut = self.half.take().is_some() || self.high.take().is_some();
        let end = if cut { "\u{fffd}" } else { "" };
        end.into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], piece: usize) -> Result<Vec<u8>, String> {
        let mut decoder = Decoder::default();
        let mut read = Vec::new();
        for piece in bytes.chunks(piece) {
            read.extend_from_slice(&decoder.push(piece)?);
        }
        read.extend(decoder.finish()?);
        Ok(read)
    }

    #[test]
    fn text_is_the_same_in_every_encoding() {
        let long = "id\ttext\r\nA-1\tCafé 🙂\r\n".repeat(400);
        for text in ["", "a", "id\ttext\r\nA-1\tCafé 🙂 字\r\n", &long] {
            let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            for bytes in [
                text.as_bytes().to_vec(),
                [b"\xef\xbb\xbf", text.as_bytes()].concat(),
                [b"\xff\xfe", le.as_slice()].concat(),
                [b"\xfe\xff", be.as_slice()].concat(),
                le,
                be,
            ] {
                for piece in [1, 3, 5_000, 100_000] {
                    let read = decoded(&bytes, piece).unwrap();
                    assert_eq!(String::from_utf8(read).unwrap(), text);
                }
            }
        }
        let cut = b"\xff\xfea\0\x3d\xd8b\0\x3d";
        assert_eq!(decoded(cut, 2).unwrap(), "a\u{fffd}b\u{fffd}".as_bytes());
        assert_eq!(decoded(b"caf\xe9", 2).unwrap(), b"caf\xe9");
    }

    #[test]
    fn files_that_are_no_text_are_refused_by_name() {
        let xlsx = b"PK\x03\x04\x14\0\x06\0[Content_Types].xml\0\0xl/workbook.xml";
        for (bytes, name) in [
            (&xlsx[..], "is an .xlsx; save it as CSV"),
            (
                b"PK\x03\x04..word/document.xml",
                "is a .docx; save it as plain text",
            ),
            (
                b"PK\x03\x04..a.txt",
                "is a zip archive; save it as a file without compression",
            ),
            (b"%PDF-1.7\n", "is a PDF; save it as plain text"),
            (
                b"\xd0\xcf\x11\xe0\xa1\xb1",
                "is an .xls or .doc; save it as CSV or plain text",
            ),
            (
                b"\0\0\x01\x02\0\0\0\x03",
                "is a binary file; save it as CSV, JSON lines or plain text",
            ),
        ] {
            assert_eq!(decoded(bytes, 3).unwrap_err(), name);
        }
    }
}
