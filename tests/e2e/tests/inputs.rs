//! Input of every kind through workerd: a long text, pages of a server on this machine, a file.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use e2e::{World, id_of, pages::serve};
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(120);

fn stages(chunk: Value) -> Value {
    json!([{"name": "read", "kind": "map", "instructions": "Say what it is about.", "chunk": chunk,
        "output_schema": {"type": "object", "properties": {"topic": {"type": "string", "enum": ["one", "another"]}},
            "required": ["topic"], "additionalProperties": false}}])
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

    // Three hundred pages, each with its fate.
    let kinds = [
        ("page", 224),
        ("latin", 3),
        ("hop", 20),
        ("long", 9),
        ("dead", 14),
        ("inward", 10),
        ("endless", 5),
        ("bomb", 3),
        ("image", 8),
        ("silent", 3),
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
    assert_eq!(job["progress"]["items"]["covered"], 256);
    let mut expected = Vec::new();
    for (kind, count, reason) in [
        ("dead", 14, "dead_link"),
        ("endless", 5, "page_too_large"),
        ("bomb", 3, "page_too_large"),
        ("image", 8, "wrong_type"),
        ("inward", 10, "url_refused"),
        ("silent", 3, "fetch_timed_out"),
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

    let latin = format!("/v1/jobs/{id}/tasks?item=latin-0");
    let latin = world.client.get(&latin).unwrap().json().unwrap();
    let path = format!("/v1/jobs/{id}/tasks/{}", latin["data"][0]["index"]);
    let task = world.client.get(&path).unwrap().json().unwrap();
    assert_eq!(task["input"][0]["text"], "café");

    // A text of 2,000 printed pages, of 2,500 letters each.
    let mut text = String::new();
    for n in 0..80_000 {
        if n % 400 == 0 {
            text.push_str(&format!("# Chapter {}\n\n", n / 400 + 1));
        }
        text.push_str(&format!(
            "Paragraph {n} says what it says. And it has a second sentence.\n\n"
        ));
    }
    assert!(text.len() > 2_000 * 2_500);
    let job = json!({"task": "Read", "input": {"text": text}, "stages": stages(json!({"tokens": 20_000, "overlap": 500}))});
    let job = world.run_job(&job, WITHIN).unwrap();
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(
        job["progress"]["items"],
        json!({"total": 1, "covered": 1, "missing": 0})
    );
    assert!(job["progress"]["tasks"]["total"].as_u64().unwrap() > 60);

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
