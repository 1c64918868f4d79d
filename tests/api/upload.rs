//! Jobs whose input comes as a file: what is taken in, and every fault with its line.

use axum::body::Body;
use axum::http::Request;
use futures::stream;
use serde_json::{Value, json};

use crate::fakes::{Fake, Reply, TOKEN, send, service_over};

const BOUNDARY: &str = "XboundaryX";

fn spec(chunk: Value) -> String {
    json!({
        "task": "Sort these",
        "stages": [{"name": "sort", "kind": "map", "instructions": "Sort.", "chunk": chunk}],
    })
    .to_string()
}

fn part(name: &str, content_type: &str, content: &str) -> String {
    format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f\"\r\nContent-Type: {content_type}\r\n\r\n{content}\r\n"
    )
}

fn body_of(parts: &[String]) -> String {
    format!("{}--{BOUNDARY}--\r\n", parts.concat())
}

fn request(body: Body) -> Request<Body> {
    Request::builder()
        .method("POST")
        .uri("/v1/jobs")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header(
            "content-type",
            format!("multipart/form-data; boundary={BOUNDARY}"),
        )
        .header("idempotency-key", "k")
        .body(body)
        .unwrap()
}

/// A database in which the job that was inserted is found.
fn ports() -> Fake {
    Fake {
        rows: [(
            "job_view",
            vec![
                json!({"id": "job_1", "state": "queued", "run": 1, "mode": "static", "task": "t"}),
            ],
        )]
        .into(),
        ..Fake::default()
    }
}

fn upload(ports: &Fake, parts: &[String]) -> Reply {
    let body = body_of(parts);
    // As a network would bring it: in pieces that end anywhere.
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = body
        .as_bytes()
        .chunks(13)
        .map(|piece| Ok(piece.to_vec()))
        .collect();
    let body = Body::from_stream(stream::iter(pieces));
    send(&service_over(ports.clone(), Some(TOKEN)), request(body))
}

fn csv(content: &str) -> [String; 2] {
    [
        part("spec", "application/json", &spec(json!({"items": 5}))),
        part("input", "text/csv", content),
    ]
}

fn ran(ports: &Fake, name: &str) -> Option<Vec<Value>> {
    let ran = ports.ran.lock().unwrap();
    let found = ran.iter().find(|(known, _)| known == name);
    found.map(|(_, params)| params.clone())
}

/// The items on the pages that were written.
fn items(ports: &Fake) -> Vec<Value> {
    let pages = ran(ports, "insert_pages").expect("no pages were written");
    let pages: Vec<Value> = serde_json::from_str(pages[1].as_str().unwrap()).unwrap();
    let bodies = pages.iter().map(|page| page["body"].as_str().unwrap());
    bodies
        .flat_map(|body| serde_json::from_str::<Vec<Value>>(body).unwrap())
        .collect()
}

fn faults(parts: &[String]) -> Vec<String> {
    let ports = ports();
    let reply = upload(&ports, parts);
    assert_eq!(reply.status, 422, "{}", reply.json());
    assert_eq!(ran(&ports, "insert_job"), None);
    let errors = reply.json()["errors"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    errors
        .iter()
        .map(|fault| format!("{}: {}", text(&fault["path"]), text(&fault["message"])))
        .collect()
}

#[test]
fn each_row_of_a_csv_is_an_item() {
    let ports = ports();
    let reply = upload(
        &ports,
        &csv("id,text,lang\r\nT-1,\"one, two\",en\r\n,three,de\r\n"),
    );
    assert_eq!(reply.status, 202, "{}", reply.json());
    assert_eq!(
        items(&ports),
        [
            json!({"id": "T-1", "text": "one, two", "lang": "en"}),
            json!({"id": "item-2", "text": "three", "lang": "de"}),
        ]
    );
}

#[test]
fn each_line_of_json_is_an_item_and_a_text_is_one_document() {
    let ports_of_lines = ports();
    let lines = [
        part("spec", "application/json", &spec(json!({"items": 5}))),
        part(
            "input",
            "application/x-ndjson",
            "\"plain\"\n\n{\"id\":\"b\",\"n\":1}\n",
        ),
    ];
    assert_eq!(upload(&ports_of_lines, &lines).status, 202);
    assert_eq!(
        items(&ports_of_lines),
        [
            json!({"id": "item-1", "text": "plain"}),
            json!({"id": "b", "n": 1})
        ]
    );
    let ports = ports();
    let text = [
        part("spec", "application/json", &spec(json!({"tokens": 500}))),
        part("input", "text/plain; charset=utf-8", "A long tëxt."),
    ];
    assert_eq!(upload(&ports, &text).status, 202);
    assert_eq!(
        items(&ports),
        [json!({"id": "text", "text": "A long tëxt."})]
    );
    let spec = ran(&ports, "insert_spec").unwrap();
    let spec: Value = serde_json::from_str(spec[1].as_str().unwrap()).unwrap();
    assert_eq!(spec["input"], "documents");
    assert_eq!(spec["stages"][0]["chunk"], json!({"tokens": 500}));
}

#[test]
fn the_key_stands_for_what_was_sent_not_for_how_it_was_wrapped() {
    let hash = |body: String| {
        let ports = ports();
        send(
            &service_over(ports.clone(), Some(TOKEN)),
            request(Body::from(body)),
        );
        ran(&ports, "insert_idempotency").unwrap()[2].clone()
    };
    let body = body_of(&csv("text\na\n"));
    let first = hash(body.clone());
    // No file name: the same plan and file.
    assert_eq!(first, hash(body.replace("; filename=\"f\"", "")));
    assert_ne!(first, hash(body_of(&csv("text\nb\n"))));
}

#[test]
fn large_files_go_into_blobs_as_they_come() {
    let ports = ports();
    let text = "x".repeat(1_000);
    let rows: String = (0..4_000).map(|n| format!("T-{n},{text}\n")).collect();
    let reply = upload(&ports, &csv(&format!("id,text\n{rows}")));
    assert_eq!(reply.status, 202, "{}", reply.json());
    let blobs = ports.blobs.lock().unwrap();
    assert!((3..=5).contains(&blobs.len()), "{}", blobs.len());
    assert!(blobs.iter().all(|blob| blob.len() <= 1_000_000));
    // What stands for them until the job is there goes with its insertion.
    let names: Vec<String> = {
        let ran = ports.ran.lock().unwrap();
        ran.iter().map(|(name, _)| name.clone()).collect()
    };
    let at = |name: &str| names.iter().position(|known| known == name);
    assert!(at("begin_intake") < at("insert_job"));
    assert!(at("end_intake") < at("insert_job") && at("guard_intake") < at("end_intake"));
    let job = ran(&ports, "insert_job").unwrap();
    assert!(job.contains(&json!(4_000)), "{job:?}");
}

#[test]
fn every_bad_row_is_named_by_its_line() {
    // Line 7 is blank, and skipped.
    let rows = "id,text\na,one\nb\na,two\n\"c\nc\",three\n,\nitem-8,x\nitem-1,ok\n";
    assert_eq!(
        faults(&csv(rows)),
        [
            "input line 3: has 1 fields, the header names 2",
            "input line 4.id: the id \"a\" is that of line 2 too (an item without an id has `item-N` by its place)",
            "input line 5.id: must not hold control characters",
        ]
    );
    let lines = [
        part("spec", "application/json", &spec(json!({"tokens": 100}))),
        part(
            "input",
            "application/x-ndjson",
            "{\"a\":1}\n{\n5\n{\"id\":\"x#1\",\"a\":1}",
        ),
    ];
    assert_eq!(
        faults(&lines),
        [
            "input line 2: is not valid JSON: EOF while parsing an object at column 1",
            "input line 3: must be a string or an object",
            "input line 4.id: must not end in `#` and a number: slices are named so",
        ]
    );
    assert_eq!(
        faults(&csv("id,id\na,b\n")),
        ["input line 1: is the header, which names \"id\" twice"]
    );
    assert_eq!(
        faults(&csv("id,text\n")),
        ["input: holds no items: the first line of CSV is its header"]
    );
    let many: String = (0..300).map(|_| "a,b,c\n").collect();
    assert_eq!(faults(&csv(&format!("id,text\n{many}"))).len(), 100);
    let blank = [
        part("spec", "application/json", &spec(json!({"tokens": 100}))),
        part("input", "text/plain", " \n "),
    ];
    assert_eq!(faults(&blank), ["input: is empty"]);
}

#[test]
fn what_was_stored_of_a_bad_file_is_given_up_at_once() {
    let ports = ports();
    let text = "x".repeat(1_000);
    let rows: String = (0..9_000).map(|n| format!("T-{n},{text}\n")).collect();
    let reply = upload(&ports, &csv(&format!("id,text\n{rows}T-1,again\n")));
    assert_eq!(reply.status, 422);
    assert!(ran(&ports, "begin_intake").is_some());
    assert!(ran(&ports, "abandon_intake").is_some());
    assert_eq!(ran(&ports, "insert_job"), None);
}

#[test]
fn parts_that_are_missing_or_too_many_are_named() {
    let spec_part = part("spec", "application/json", &spec(json!({"items": 5})));
    let input = part("input", "text/csv", "id,text\na,b\n");
    let cases = [
        (
            vec![input.clone(), spec_part.clone()],
            "spec: must come before the part `input`",
        ),
        (
            vec![spec_part.clone()],
            "input: is required, as a part of the body",
        ),
        (vec![], "spec: is required, as a part of the body"),
        (
            vec![spec_part.clone(), spec_part.clone()],
            "spec: is there twice",
        ),
        (
            vec![part("file", "text/csv", "x")],
            "file: is not a known part; there are `spec` and `input`",
        ),
        (
            vec![
                part(
                    "spec",
                    "application/json",
                    &spec(json!({"items": 5})).replace("{\"task\"", "{\"input\":{},\"task\""),
                ),
                input.clone(),
            ],
            "spec.input: must be left out: the input is a part of its own",
        ),
    ];
    for (parts, fault) in cases {
        assert_eq!(faults(&parts), [fault]);
    }
    assert_eq!(
        faults(&[spec_part.clone(), part("input", "application/pdf", "x")]),
        ["input: must have the content type text/csv, application/x-ndjson or text/plain"]
    );
    let reply = upload(&ports(), &[part("spec", "application/json", "{"), input]);
    assert_eq!(reply.status, 400);
    let service = service_over(ports(), Some(TOKEN));
    let cut = body_of(&csv("id,text\na,b\n"));
    let reply = send(
        &service,
        request(Body::from(cut[..cut.len() - 30].to_owned())),
    );
    assert_eq!(reply.status, 422, "{}", reply.json());
}

/// The parser searches all that came again with each piece, so what comes before a part's content is bounded.
#[test]
fn what_comes_before_the_content_of_a_part_is_bounded() {
    let filler = "x".repeat(40_000);
    let preamble = format!(
        "{filler}{}",
        body_of(&[part("spec", "application/json", &spec(json!({"items": 1})))])
    );
    let headers = format!("--{BOUNDARY}\r\nX-Filler: {filler}\r\n\r\n{{}}\r\n--{BOUNDARY}--\r\n");
    for text in [preamble, headers] {
        let pieces = text.as_bytes().chunks(100);
        let pieces: Vec<_> = pieces
            .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
            .collect();
        let body = Body::from_stream(stream::iter(pieces));
        let reply = send(&service_over(ports(), Some(TOKEN)), request(body));
        assert_eq!(reply.status, 422);
        let said = reply.json().to_string();
        assert!(said.contains("16384 bytes"), "{said}");
    }
    let long = "b".repeat(71);
    let mut request = request(Body::from("x"));
    let kind = format!("multipart/form-data; boundary={long}");
    request
        .headers_mut()
        .insert("content-type", kind.parse().unwrap());
    let said = send(&service_over(ports(), Some(TOKEN)), request)
        .json()
        .to_string();
    assert!(said.contains("more than 70 characters"), "{said}");
}
