//! Inputs of every kind, from a temporary folder to the bytes that go up.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::BodyExt as _;

use super::*;

/// A folder that is gone when the test is.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let name = format!("fanwise-cli-{}", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn sent(input: &Input) -> String {
    let mut bytes = Vec::new();
    input
        .write(&Object::new(), &mut bytes, Arc::new(|_| ()))
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

fn open(path: &Path) -> Input {
    Input::open(path, &Reading::default()).unwrap()
}

fn refused(path: &Path, reading: &Reading) -> String {
    match Input::open(path, reading) {
        Ok(input) => input
            .write(&Object::new(), &mut Vec::new(), Arc::new(|_| ()))
            .map_or_else(|error| format!("{error:#}"), |()| "nothing".to_owned()),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn columns_of_a_table_are_found_by_their_names() {
    let folder = Folder::new();
    let path = folder.file(
        "a.csv",
        "Ticket_ID,Body,plan\n7,\"It, \"\"broke\"\"\nagain\",pro\n8,Fine,\n",
    );
    let input = open(&path);
    assert_eq!(input.content_type(), Some("text/csv"));
    assert!(
        input.about.ends_with("a table; id: Ticket_ID, text: Body"),
        "{}",
        input.about
    );
    // The line break in a field stays, so the Worker's lines are the file's.
    assert_eq!(
        sent(&input),
        "id,text,plan\n7,\"It, \"\"broke\"\"\nagain\",pro\n8,Fine,\n"
    );
}

#[test]
fn a_quote_that_is_never_closed_swallows_no_rows() {
    let folder = Folder::new();
    let path = folder.file("a.csv", "id;text\n1;fine\n2;\"open\n3;lost\n");
    let told = refused(&path, &Reading::default());
    assert_eq!(told, "line 3 has a quote that is never closed");
    for end in ["", "\n", "\r\n"] {
        let path = folder.file("b.csv", format!("id,text\n1,\"closed\"{end}"));
        assert_eq!(sent(&open(&path)), "id,text\n1,closed\n");
    }
}

#[test]
fn a_column_that_repeats_is_no_id() {
    let folder = Folder::new();
    let input = open(&folder.file("a.csv", "customer_id,text\n7,a\n7,b\n"));
    assert!(input.about.contains("id: by place"), "{}", input.about);
    assert_eq!(sent(&input), "customer_id,text\n7,a\n7,b\n");
}

#[test]
fn columns_are_named_chosen_and_left_as_they_are() {
    let folder = Folder::new();
    let path = folder.file("a.csv", "nr;frage;body;secret\nA;wie?;lang;x\n");
    let reading = Reading {
        id: Some("nr".into()),
        text: Some("frage".into()),
        columns: vec!["body".into()],
        ..Reading::default()
    };
    let input = Input::open(&path, &reading).unwrap();
    assert_eq!(sent(&input), "id,text,body\nA,wie?,lang\n");
    let as_is = Reading {
        as_is: true,
        ..Reading::default()
    };
    let input = Input::open(&path, &as_is).unwrap();
    assert_eq!(sent(&input), "nr,frage,body,secret\nA,wie?,lang,x\n");
}

#[test]
fn what_cannot_be_meant_is_told_with_the_remedy() {
    let folder = Folder::new();
    let csv = folder.file("a.csv", "id,text,body\n1,a,b\n");
    let named = |id: Option<&str>, text: Option<&str>| Reading {
        id: id.map(str::to_owned),
        text: text.map(str::to_owned),
        ..Reading::default()
    };
    let cases = [
        (
            refused(&csv, &named(Some("key"), None)),
            "there is no column \"key\"; there are: id, text, body",
        ),
        (refused(&csv, &named(None, Some("body"))), "would be `text`"),
        (
            refused(&csv, &named(Some("text"), Some("text"))),
            "both the id and the text",
        ),
        (
            refused(
                &folder.file("a.log", "once upon, a time\n"),
                &named(None, None),
            ),
            "say --format",
        ),
        (
            refused(
                &folder.file("bad.jsonl", "{\"text\":\"a\"}\n{oops\n"),
                &named(None, None),
            ),
            "line 2 is not valid JSON",
        ),
        (
            refused(
                &folder.file("one.json", "{\"task\":\"t\"}"),
                &named(None, None),
            ),
            "give it with --job",
        ),
        (
            refused(&folder.0.join("none.csv"), &named(None, None)),
            "could not read",
        ),
        (
            refused(&folder.0.clone(), &named(Some("id"), None)),
            "is a folder",
        ),
    ];
    for (said, expected) in cases {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn json_lines_and_lists_keep_their_lines_and_get_their_names() {
    let folder = Folder::new();
    let lines = folder.file(
        "a.jsonl",
        "\u{feff}{\"id\":7,\"message\":\"hi\"}\n\n{\"id\":8,\"message\":\"ho\"}\n",
    );
    let input = open(&lines);
    assert_eq!(input.content_type(), Some("application/x-ndjson"));
    assert_eq!(
        sent(&input),
        "{\"id\":\"7\",\"text\":\"hi\"}\n\n{\"id\":\"8\",\"text\":\"ho\"}\n"
    );
    let list = folder.file("a.json", "[\"plain\", \"texts\"]");
    assert_eq!(sent(&open(&list)), "\"plain\"\n\"texts\"\n");
    let plain = Reading {
        format: Some(Form::Lines),
        ..Reading::default()
    };
    let path = folder.file("a", "one\n\ntwo \"2\"\r\n");
    let input = Input::open(&path, &plain).unwrap();
    assert_eq!(sent(&input), "\"one\"\n\n\"two \\\"2\\\"\"\n");
}

#[test]
fn a_folder_becomes_documents_by_their_paths() {
    let folder = Folder::new();
    folder.file("b/two.md", "# Two");
    folder.file("a.txt", "one \"1\"");
    folder.file(".hidden", "no");
    folder.file("empty.txt", " \n");
    folder.file("image.png", b"\x89PNG\x00\xff");
    let input = open(&folder.0);
    assert_eq!(input.content_type(), None);
    assert!(
        input
            .about
            .ends_with("2 documents; left out 2: empty.txt is empty, image.png is a PNG picture; save it as plain text"),
        "{}",
        input.about
    );
    let mut bytes = Vec::new();
    let mut spec = Object::new();
    spec.insert("task".into(), json!("read \"them\""));
    let read = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&read);
    input
        .write(
            &spec,
            &mut bytes,
            Arc::new(move |n| _ = counted.fetch_add(n, Ordering::Relaxed)),
        )
        .unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        body,
        json!({"task": "read \"them\"", "input": {"documents": [
            {"id": "a.txt", "text": "one \"1\""}, {"id": "b/two.md", "text": "# Two"}]}})
    );
    assert_eq!(Some(read.load(Ordering::Relaxed)), input.bytes);
}

#[test]
fn tables_of_every_program_go_up_alike_on_their_own_lines() {
    let folder = Folder::new();
    let plain = "id,text,note\nA-1,hello,\n,,\nA-2,\"a\nb\",x\n";
    let utf16 = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let unicode_text = "id\ttext\tnote\r\nA-1\thello\t\r\n\t\t\r\nA-2\t\"a\nb\"\tx\r\n";
    let cases: [(&str, Vec<u8>); 5] = [
        ("plain.csv", plain.into()),
        ("marked.csv", ["\u{feff}", plain].concat().into()),
        ("german.csv", plain.replace(',', ";").into()),
        (
            "unicode.csv",
            [b"\xff\xfe", utf16(unicode_text).as_slice()].concat(),
        ),
        ("unmarked.txt.tsv", utf16(unicode_text)),
    ];
    for (name, bytes) in cases {
        assert_eq!(sent(&open(&folder.file(name, bytes))), plain, "{name}");
    }
    // Excel's first line goes, its place stays, so that lines are the file's.
    let path = folder.file("sep.csv", format!("sep=;\n{}", plain.replace(',', ";")));
    assert_eq!(sent(&open(&path)), format!("\n{plain}"));
}

#[test]
fn files_that_are_no_text_are_refused_by_name() {
    let folder = Folder::new();
    let xlsx = b"PK\x03\x04\x14\0\x06\0[Content_Types].xml\0\0xl/workbook.xml";
    for name in ["a.xlsx", "a.csv", "a.jsonl", "a.txt"] {
        let told = refused(&folder.file(name, xlsx), &Reading::default());
        assert!(told.ends_with("is an .xlsx; save it as CSV"), "{told}");
    }
}

#[test]
fn long_numbers_keep_their_digits() {
    let folder = Folder::new();
    let value = r#"{"id":12345678901234567890123,"p":0.12345678901234567891}"#;
    let kept = r#"{"id":"12345678901234567890123","text":"0.12345678901234567891"}"#;
    let lines = folder.file("a.jsonl", value);
    assert_eq!(sent(&open(&lines)), format!("{kept}\n"));
    let list = folder.file("a.json", format!("[{value}]"));
    assert_eq!(sent(&open(&list)), format!("{kept}\n"));
}

#[test]
fn ids_made_of_paths_are_ids_that_the_worker_accepts() {
    let folder = Folder::new();
    let deep = format!("{}/{}.txt", "d".repeat(100), "f".repeat(100));
    for name in ["note#3", "note_3", &deep] {
        folder.file(name, "text");
    }
    let Source::Folder(files) = open(&folder.0).source else {
        unreachable!("a folder is one");
    };
    let ids: Vec<&str> = files.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids.len(), 3);
    assert!(
        ids.contains(&"note_3") && ids.contains(&"note_3-2"),
        "{ids:?}"
    );
    let long = ids.iter().find(|id| id.ends_with("f.txt")).unwrap();
    assert_eq!(long.chars().count(), 128);
}

#[test]
fn an_estimate_reads_rows_as_the_worker_does() {
    let folder = Folder::new();
    let input = open(&folder.file("a.tsv", "id\tquestion\nx\ta, b\n"));
    assert_eq!(
        input.as_json().unwrap(),
        json!({"items": [{"id": "x", "text": "a, b"}]})
    );
    let input = open(&folder.file("a.txt", "all of it\n"));
    assert_eq!(input.as_json().unwrap(), json!({"text": "all of it\n"}));
}

#[test]
fn standard_input_is_told_by_its_first_line() {
    for (head, form) in [
        ("{\"text\":\"a\"}\n", Some(Form::Jsonl)),
        ("\"a\"\n", Some(Form::Jsonl)),
        ("id,name\n1,a\n", Some(Form::Csv)),
        ("key\ttext\n", Some(Form::Csv)),
        ("Dear team, this is a text about it\n", None),
        ("", None),
    ] {
        assert_eq!(sniff(head.as_bytes()), form, "{head}");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_to_its_end_breaks_off() {
    let feed = feed(|into| {
        into.write_all(&vec![b'x'; 100_000])?;
        bail!("line 3 is not JSON")
    });
    let (body, failed) = feed.parts();
    assert!(body.collect().await.is_err());
    assert_eq!(
        Feed::failure(&failed).unwrap().to_string(),
        "line 3 is not JSON"
    );
}
