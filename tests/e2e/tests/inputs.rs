//! Input of every kind through workerd: a long text, pages of a server on this machine, a file.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use e2e::{World, id_of};
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(120);

/// A server of pages, good and bad; it runs until the test ends.
fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // Whoever asked may be gone before the answer's end.
                let _ = answer(stream);
            });
        }
    });
    port
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (kind, number) = path
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or_default();
    let page = |text: &str| {
        let html = format!(
            "<html><head><title>Page {number}</title><style>p {{}}</style></head><body><nav>Menu</nav><h1>Page</h1>{text}</body></html>"
        );
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{html}",
            html.len()
        )
    };
    let redirect = |to: &str| {
        format!(
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    };
    let answer = match kind {
        "page" => page(&format!("<p>Page {number} is about caf&eacute;s &amp; bars.</p>")),
        "long" => page(&"<p>A paragraph of some length, which says little.</p>".repeat(1_000)),
        "hop" => redirect(&format!("/page/{number}")),
        "inward" => redirect("http://169.254.169.254/latest/meta-data/"),
        "image" => "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 3\r\nConnection: close\r\n\r\nPNG".to_owned(),
        "endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")?;
            loop {
                stream.write_all(&[b'x'; 4_096])?;
            }
        }
        "silent" => {
            // Until the other side gives up.
            stream.read_to_end(&mut Vec::new())?;
            return Ok(());
        }
        _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
    };
    stream.write_all(answer.as_bytes())
}

fn stages(chunk: Value) -> Value {
    json!([{"name": "read", "kind": "map", "instructions": "Say what it is about.", "chunk": chunk}])
}

fn missing(world: &World, id: &str) -> Vec<(String, String)> {
    let report = world.client.report(id).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let missing = report["coverage"]["missing"].as_array().unwrap().iter();
    let mut missing: Vec<(String, String)> = missing
        .map(|m| (text(&m["id"]), text(&m["reason"])))
        .collect();
    missing.sort();
    missing
}

#[test]
fn texts_pages_and_files_are_worked_on() {
    let port = serve();
    let world = World::builder()
        .var("FETCH_ALLOW_HOSTS", format!("127.0.0.1:{port}"))
        .var("FETCH_TIMEOUT_MS", 1_000)
        .var("BACKOFF_MS", 50)
        .start()
        .unwrap();

    // Pages, each with its fate.
    let kinds = [
        ("page", 40),
        ("hop", 5),
        ("long", 2),
        ("dead", 5),
        ("inward", 3),
        ("endless", 3),
        ("image", 3),
        ("silent", 2),
    ];
    let mut urls = Vec::new();
    for (kind, count) in kinds {
        for n in 0..count {
            urls.push(json!({"id": format!("{kind}-{n}"), "url": format!("http://127.0.0.1:{port}/{kind}/{n}")}));
        }
    }
    urls.push(json!({"id": "other-port", "url": "http://127.0.0.1:1/"}));
    let job = json!({"task": "Read", "input": {"urls": urls}, "stages": stages(json!({"tokens": 2_000})), "limits": {"max_attempts": 2}});
    let job = world.run_job(&job, WITHIN).unwrap();
    let id = id_of(&job).unwrap();
    assert_eq!(job["state"], "partial", "{job}");
    assert_eq!(job["progress"]["items"]["covered"], 47);
    let mut expected = Vec::new();
    for (kind, count, reason) in [
        ("dead", 5, "dead_link"),
        ("endless", 3, "page_too_large"),
        ("image", 3, "wrong_type"),
        ("inward", 3, "url_refused"),
        ("silent", 2, "fetch_timed_out"),
    ] {
        expected.extend((0..count).map(|n| (format!("{kind}-{n}"), reason.to_owned())));
    }
    expected.push(("other-port".into(), "url_refused".into()));
    expected.sort();
    assert_eq!(missing(&world, &id), expected);
    let task = world
        .client
        .get(&format!("/v1/jobs/{id}/tasks/0"))
        .unwrap()
        .json()
        .unwrap();
    let read = &task["input"][0];
    assert_eq!(read["title"], "Page 0");
    assert_eq!(read["text"], "# Page\n\nPage 0 is about cafés & bars.");

    // A long text.
    let mut text = String::new();
    for n in 0..12_000 {
        if n % 100 == 0 {
            text.push_str(&format!("# Chapter {}\n\n", n / 100 + 1));
        }
        text.push_str(&format!(
            "Paragraph {n} says what it says. And it has a second sentence.\n\n"
        ));
    }
    let job = json!({"task": "Read", "input": {"text": text}, "stages": stages(json!({"tokens": 20_000, "overlap": 500}))});
    let job = world.run_job(&job, WITHIN).unwrap();
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(
        job["progress"]["items"],
        json!({"total": 1, "covered": 1, "missing": 0})
    );
    assert!(job["progress"]["tasks"]["total"].as_u64().unwrap() > 8);

    // A file.
    let spec = json!({"task": "Read", "stages": stages(json!({"items": 200}))});
    let rows: String = (0..3_000)
        .map(|n| format!("T-{n},\"Case {n}, and what was said\"\r\n"))
        .collect();
    let body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"spec\"\r\n\r\n{spec}\r\n--b\r\nContent-Disposition: form-data; name=\"input\"; filename=\"t.csv\"\r\nContent-Type: text/csv\r\n\r\nid,text\r\n{rows}\r\n--b--\r\n"
    );
    let kind = ("content-type", "multipart/form-data; boundary=b");
    let answer = world
        .client
        .send("POST", "/v1/jobs", &[kind], body.as_bytes())
        .unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    let job = world
        .client
        .finished(&id_of(&answer.json().unwrap()).unwrap(), WITHIN)
        .unwrap();
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(job["progress"]["items"]["covered"], 3_000);
}
