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

/// The rows of a file that has nothing wrong.
fn items(text: &[u8]) -> Vec<Value> {
    let all = csv(text, 7, 1_000);
    assert_eq!(all, csv(text, 10_000, 1_000));
    all.into_iter().map(|(_, row)| row.unwrap()).collect()
}

#[test]
fn rows_are_the_same_however_their_bytes_come() {
    let text = "\u{feff}id,text,n\r\na,\"one, \"\"two\"\"\nthree\",1\r\n\r\n,plain é,2\n\nc,last,3";
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
}

#[test]
fn a_table_is_the_same_in_every_form_that_programs_write() {
    let expected = [
        json!({"id": "007", "text": "one; two, three", "n": "-42"}),
        json!({"text": "Café 字", "n": "+49 170"}),
    ];
    let table = |d: char| {
        format!("id{d}text{d}n\r\n007{d}\"one; two, three\"{d}-42\r\n{d}Café 字{d}+49 170\r\n")
    };
    for text in [
        table(','),
        table(';'),
        table('\t'),
        format!("sep=;\r\n{}", table(';')),
        format!("sep=|\n{}", table('|')),
        format!("\u{feff}{}", table(';')),
        table(';').replace("\r\n", "\r"),
        table(',').replace("\r\n", "\n"),
        // Padded by a spreadsheet, with rows in which nothing stands any more.
        table(',').replace("\r\n", ",,\r\n") + ",,,,\r\n , ,,,\r\n",
    ] {
        assert_eq!(items(text.as_bytes()), expected, "{text:?}");
        let units = text.encode_utf16();
        let utf16: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
        assert_eq!(items(&utf16), expected, "{text:?} as UTF-16");
    }
    assert_eq!(
        items(b"sep=;\nid,x;text\n1;2\n"),
        [json!({"id,x": "1", "text": "2"})]
    );
    assert_eq!(
        items(b"text\none; two\nthree\n"),
        [json!({"text": "one; two"}), json!({"text": "three"})]
    );
}

#[test]
fn blank_rows_are_passed_over_and_counted() {
    let mut reader = Csv::new(1_000);
    let mut rows = Vec::new();
    let text = format!("id,text,n\nA,x,1\n{}", ",,\n".repeat(1_247));
    reader.push(text.as_bytes(), &mut rows);
    reader.finish(&mut rows);
    assert_eq!((rows.len(), reader.blank_rows), (1, 1_247));
}

#[test]
fn bad_rows_are_named_by_their_lines_and_passed_over() {
    let long = "x".repeat(20_000);
    let text = format!("a,b,\n1\n2,2,\n{long},{long},\n\"3\n3\",3,\n1,2,,3\n4,4,,\n5,5,x\n");
    let rows = csv(text.as_bytes(), 100, 5_000);
    let told: Vec<(u64, String)> = rows
        .iter()
        .map(|(line, row)| (*line, row.as_ref().err().cloned().unwrap_or_default()))
        .collect();
    assert_eq!(
        told,
        [
            (2, "has 1 fields, the header names 3".to_owned()),
            (3, String::new()),
            (4, "has more than 5000 bytes or 1000 fields".to_owned()),
            (5, String::new()),
            (7, "has 4 fields, the header names 3".to_owned()),
            (8, String::new()),
            (9, "has a value in column 3, which has no name".to_owned()),
        ]
    );
    let rows = csv(b"a\n\xff\nb\n", 1, 100);
    assert_eq!(rows[0], (2, Err("is not UTF-8".to_owned())));
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
fn a_header_or_a_file_that_cannot_be_used_ends_it() {
    let only = |text: &[u8]| {
        let rows = csv(text, 2, 1_000);
        assert_eq!(rows.len(), 1);
        rows.into_iter().next().unwrap().1.unwrap_err()
    };
    assert_eq!(only(b""), "has no header");
    assert_eq!(only(b"\n\n"), "has no header");
    assert_eq!(only(b",,\n1,2,3\n"), "is the header, which names no column");
    assert_eq!(
        only(b"a, a\n1,2\n"),
        "is the header, which names \"a\" twice"
    );
    assert_eq!(
        only(b"id,text,note,note\n1,2,3,4\n"),
        "is the header, which names \"note\" twice"
    );
    assert!(only(b"PK\x03\x04\x14\0\x06\0xl/x").contains("an .xlsx; save it as CSV"));
    assert!(csv(b"a,b\n", 1, 100).is_empty());
    let wide = vec!["x"; 3_000].join(",");
    assert!(only(wide.as_bytes()).contains("1000 fields"));
}

proptest! {
    #[test]
    fn no_bytes_stop_a_reader(bytes in proptest::collection::vec(any::<u8>(), 0..400), piece in 1_usize..50) {
        for text in [bytes.clone(), [b"a,b\n".to_vec(), bytes].concat()] {
            csv(&text, piece, 64);
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
        let blank = |(x, y): &(String, String)| x.trim().is_empty() && y.trim().is_empty();
        let written: Vec<_> = table.into_iter().filter(|row| !blank(row)).collect();
        prop_assert_eq!(read, written);
    }
}

#[test]
fn records_are_all_rows_as_their_cells() {
    let mut reader = Csv::of_records(1_000, None);
    let mut rows = Vec::new();
    reader.push(b"sep=;\nid;text\n;\n\nA;\"b\nc\"\n", &mut rows);
    reader.finish(&mut rows);
    let found: Vec<_> = rows
        .into_iter()
        .map(|row| (row.line, row.value.unwrap()))
        .collect();
    let expected = [
        (2, serde_json::json!(["id", "text"])),
        (3, serde_json::json!(["", ""])),
        (5, serde_json::json!(["A", "b\nc"])),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_file_that_is_no_text_is_refused_as_a_whole() {
    let mut reader = Csv::new(1_000);
    let mut rows = Vec::new();
    reader.push(
        b"PK\x03\x04\x14\0\x06\0[Content_Types].xml\0\0xl/workbook.xml",
        &mut rows,
    );
    reader.finish(&mut rows);
    let faults: Vec<_> = rows
        .iter()
        .map(|row| (row.path(), row.value.clone()))
        .collect();
    assert_eq!(
        faults,
        [(
            "input".to_owned(),
            Err("is an .xlsx; save it as CSV".to_owned())
        )]
    );
}
