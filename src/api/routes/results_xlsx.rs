//! Results as an XLSX workbook of one sheet, written as it goes out.
//!
//! Values stand in the cells themselves, so nothing of the sheet is kept: what the compressor has made of a portion goes out
//! before the next is read. Text is never a formula in this format.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Number, Value};
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

/// What Excel takes at most: rows of a sheet, the header among them, and characters of a cell (UTF-16).
const MOST_ROWS: u32 = 1_048_576;
const MOST_CHARS: usize = 32_767;
/// A number is a double there: more digits would be lost.
const MOST_DIGITS: usize = 15;

const PARTS: [(&str, &str); 4] = [
    (
        "[Content_Types].xml",
        "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\">\
         <Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>\
         <Override PartName=\"/xl/workbook.xml\" ContentType=\"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml\"/>\
         <Override PartName=\"/xl/worksheets/sheet1.xml\" ContentType=\"application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml\"/>\
         </Types>",
    ),
    (
        "_rels/.rels",
        "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">\
         <Relationship Id=\"rId1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument\" Target=\"xl/workbook.xml\"/>\
         </Relationships>",
    ),
    (
        "xl/workbook.xml",
        "<workbook xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\" xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\">\
         <sheets><sheet name=\"Results\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>",
    ),
    (
        "xl/_rels/workbook.xml.rels",
        "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">\
         <Relationship Id=\"rId1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet\" Target=\"worksheets/sheet1.xml\"/>\
         </Relationships>",
    ),
];
const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";
/// The header stays in sight.
const SHEET: &str = "<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\">\
    <sheetViews><sheetView workbookViewId=\"0\"><pane ySplit=\"1\" topLeftCell=\"A2\" activePane=\"bottomLeft\" state=\"frozen\"/></sheetView></sheetViews>\
    <sheetData>";
const SHEET_END: &str = "</sheetData></worksheet>";

/// What the archive has written and nobody has read yet.
#[derive(Debug, Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Pipe {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A workbook that is being written.
pub struct Workbook {
    pipe: Pipe,
    zip: ZipWriter<StreamWriter<Pipe>>,
    rows: u32,
}

impl Workbook {
    /// With its header.
    pub fn begin<'a>(names: impl Iterator<Item = &'a str>) -> io::Result<Workbook> {
        let pipe = Pipe::default();
        // No time: the same results are the same bytes. Sizes follow the data, for they are not known before.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default());
        let mut zip = ZipWriter::new_stream(pipe.clone());
        for (name, text) in PARTS {
            zip.start_file(name, options)?;
            zip.write_all(XML.as_bytes())?;
            zip.write_all(text.as_bytes())?;
        }
        zip.start_file("xl/worksheets/sheet1.xml", options)?;
        zip.write_all(XML.as_bytes())?;
        zip.write_all(SHEET.as_bytes())?;
        let mut workbook = Workbook { pipe, zip, rows: 0 };
        workbook.row(names.map(Value::from))?;
        Ok(workbook)
    }

    /// One more row. Where Excel would not open so many, an error.
    pub fn row(&mut self, values: impl Iterator<Item = Value>) -> io::Result<()> {
        if self.rows == MOST_ROWS {
            return Err(io::Error::other("a sheet has at most 1,048,576 rows"));
        }
        self.rows += 1;
        let mut xml = String::from("<row>");
        for value in values {
            cell(&value, &mut xml);
        }
        xml.push_str("</row>");
        self.zip.write_all(xml.as_bytes())
    }

    /// What was written and not taken yet.
    pub fn take(&self) -> Vec<u8> {
        self.pipe.take()
    }

    /// The rest of it.
    pub fn end(mut self) -> io::Result<Vec<u8>> {
        self.zip.write_all(SHEET_END.as_bytes())?;
        self.zip.finish()?;
        Ok(self.pipe.take())
    }
}

/// Nothing for null, numbers and truth values as such, anything nested as JSON.
fn cell(value: &Value, xml: &mut String) {
    match value {
        Value::Null => xml.push_str("<c/>"),
        Value::Bool(is) => {
            xml.push_str("<c t=\"b\"><v>");
            xml.push(if *is { '1' } else { '0' });
            xml.push_str("</v></c>");
        }
        Value::Number(number) => {
            let digits = number.to_string();
            if digits.bytes().filter(u8::is_ascii_digit).count() > MOST_DIGITS
                && number
                    .as_f64()
                    .is_none_or(|double| Number::from_f64(double).as_ref() != Some(number))
            {
                return text(&digits, xml);
            }
            xml.push_str("<c><v>");
            xml.push_str(&digits);
            xml.push_str("</v></c>");
        }
        Value::String(one) => text(one, xml),
        nested => text(&nested.to_string(), xml),
    }
}

fn text(text: &str, xml: &mut String) {
    xml.push_str("<c t=\"inlineStr\"><is><t xml:space=\"preserve\">");
    let mut room = MOST_CHARS;
    for (at, one) in text.char_indices() {
        let Some(less) = room.checked_sub(one.len_utf16()) else {
            break;
        };
        room = less;
        match one {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            // As itself it would be read as a line feed.
            '\r' => xml.push_str("&#13;"),
            // The format's own way to write characters that XML has not; so what only looks like that is written so too.
            '_' if is_escape(text.get(at..).unwrap_or_default()) => xml.push_str("_x005F_"),
            '\t' | '\n' => xml.push(one),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                xml.push_str(&format!("_x{:04X}_", u32::from(one)));
            }
            _ => xml.push(one),
        }
    }
    xml.push_str("</t></is></c>");
}

/// `_x000D_` and the like.
fn is_escape(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.get(1) == Some(&b'x')
        && bytes.get(6) == Some(&b'_')
        && bytes
            .get(2..6)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::io::{Cursor, Read};

    use serde_json::json;
    use zip::ZipArchive;

    use super::*;

    fn sheet(rows: &[Vec<Value>]) -> String {
        let mut workbook = Workbook::begin(["id", "a<b"].into_iter()).unwrap();
        let mut bytes = Vec::new();
        for row in rows {
            workbook.row(row.iter().cloned()).unwrap();
            bytes.extend(workbook.take());
        }
        bytes.extend(workbook.end().unwrap());
        let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(archive.len(), 5);
        let mut xml = String::new();
        let mut part = archive.by_name("xl/worksheets/sheet1.xml").unwrap();
        part.read_to_string(&mut xml).unwrap();
        xml
    }

    fn one(value: Value) -> String {
        let mut xml = String::new();
        cell(&value, &mut xml);
        xml
    }

    fn written(text: &str) -> String {
        format!("<c t=\"inlineStr\"><is><t xml:space=\"preserve\">{text}</t></is></c>")
    }

    #[test]
    fn a_sheet_is_a_header_and_rows() {
        let xml = sheet(&[vec![json!("x"), json!(1.5)], vec![json!(null), json!(true)]]);
        let rows: Vec<&str> = xml.split("<row>").skip(1).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(
            rows[0],
            format!("{}{}</row>", written("id"), written("a&lt;b"))
        );
        assert_eq!(rows[1], format!("{}<c><v>1.5</v></c></row>", written("x")));
        assert!(rows[2].starts_with("<c/><c t=\"b\"><v>1</v></c></row>"));
    }

    #[test]
    fn numbers_keep_their_digits() {
        assert_eq!(one(json!(-42)), "<c><v>-42</v></c>");
        assert_eq!(
            one(json!(9_007_199_254_740_993_i64)),
            written("9007199254740993")
        );
        assert_eq!(one(json!(0.1)), "<c><v>0.1</v></c>");
        assert_eq!(one(json!([1, "a"])), written("[1,\"a\"]"));
    }

    #[test]
    fn every_text_comes_back_as_it_was() {
        assert_eq!(one(json!("=1+1")), written("=1+1"));
        assert_eq!(one(json!("a\r\n\u{1}b")), written("a&#13;\n_x0001_b"));
        assert_eq!(one(json!("_x000D_ _x")), written("_x005F_x000D_ _x"));
        let long = "ä".repeat(40_000);
        assert_eq!(one(json!(long)), written(&"ä".repeat(MOST_CHARS)));
    }
}
