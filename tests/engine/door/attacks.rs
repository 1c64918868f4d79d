//! What an attacker would try, each with what it gets: nothing.

use axum::body::Body;
use axum::http::Request;
use fanwise::ports::Blobs;
use futures::stream;
use serde_json::{Value, json};

use super::{Door, SECRET, body};

fn dump(door: &Door) -> String {
    [
        "schedules",
        "jobs",
        "specs",
        "stages",
        "tasks",
        "attempts",
        "outputs",
        "events",
        "tokens",
    ]
    .map(|table| format!("{:?}", door.world.query(&format!("SELECT * FROM {table}"))))
    .concat()
}

/// All addresses of the document that name something by id, with all their methods and a body that each would take.
fn addresses(door: &Door) -> Vec<(String, String, Value)> {
    let document = door.get("", "/openapi.json").expect(200).json();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if !path.contains("{id}") {
                continue;
            }
            let body = match (operation.get("requestBody"), method.as_str(), path.as_str()) {
                (None, ..) => Value::Null,
                (_, "patch", "/v1/tokens/{id}" | "/v1/schedules/{id}") => json!({"name": "stolen"}),
                (_, "put", _) => json!({"stages": crate::flows::stages(1)}),
                (_, "patch", _) => json!({"metadata": {"stolen": true}}),
                _ => json!({}),
            };
            found.push((method.to_uppercase(), path.clone(), body));
        }
    }
    assert!(found.len() > 12);
    found
}

/// What a caller may have made: a job, a token and a schedule.
struct Made {
    job: String,
    token: String,
    schedule: String,
}

impl Made {
    fn by(door: &Door, token: &str, token_id: &str) -> Made {
        let job = door.submit(token, 2);
        door.finish(&job);
        let schedule = json!({"cron": "0 7 * * *", "paused": true, "job": body(1)});
        let schedule = door
            .call(token, "POST", "/v1/schedules", schedule)
            .expect(201)
            .json();
        Made {
            job,
            token: token_id.to_owned(),
            schedule: schedule["id"].as_str().unwrap().to_owned(),
        }
    }

    /// The id that an address is about.
    fn id(&self, template: &str) -> &str {
        match template.split('/').nth(2) {
            Some("tokens") => &self.token,
            Some("schedules") => &self.schedule,
            _ => &self.job,
        }
    }

    fn path(&self, template: &str) -> String {
        let delivery = format!("msg_{}", "0".repeat(32));
        template
            .replace("{id}", self.id(template))
            .replace("{index}", "0")
            .replace("{delivery}", &delivery)
            .replace("{name}", "x")
    }
}

#[test]
fn another_tenant_s_ids_are_not_there_on_any_address() {
    let door = Door::open(&[]);
    let all = json!(["read", "run", "admin"]);
    let (owner, owner_id) = door.token(json!({"name": "a", "tenant": "acme", "scopes": all}));
    let (thief, _) = door.token(json!({"name": "b", "tenant": "thief", "scopes": all}));
    let made = Made::by(&door, &owner, &owner_id);
    let before = dump(&door);
    for (method, template, body) in addresses(&door) {
        let path = made.path(&template);
        let theirs = door.call(&thief, &method, &path, body.clone()).expect(404);
        // As if it had never been.
        let (_, digits) = made.id(&template).split_once('_').unwrap();
        let nowhere = path.replace(digits, &"0".repeat(32));
        let nothing = door
            .call(&thief, &method, &nowhere, body.clone())
            .expect(404);
        assert_eq!(
            theirs.json()["detail"],
            nothing.json()["detail"],
            "{method} {path}"
        );
    }
    for tool in ["job_status", "job_results", "job_report", "cancel_job"] {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": tool, "arguments": {"job_id": made.job}}});
        let result = door.call(&thief, "POST", "/mcp", call).expect(200).json()["result"].clone();
        assert_eq!(result["isError"], true, "{tool}");
        assert!(
            result["content"][0]["text"]
                .as_str()
                .unwrap()
                .contains("not_found"),
            "{tool}"
        );
    }
    assert_eq!(dump(&door), before);
}

#[test]
fn nothing_behind_the_door_answers_without_a_token() {
    let door = Door::open(&[]);
    let job = door.submit(SECRET, 1);
    let document = door.get("", "/openapi.json").expect(200).json();
    let open = ["/healthz", "/openapi.json"];
    for (template, item) in document["paths"].as_object().unwrap() {
        if open.contains(&template.as_str()) {
            continue;
        }
        let path = template
            .replace("{id}", &job)
            .replace("{index}", "0")
            .replace("{name}", "x");
        for method in item.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let schemes = [
                ("x-api-key", SECRET.to_owned()),
                ("authorization", format!("Basic {SECRET}")),
                ("authorization", SECRET.to_owned()),
                ("authorization", format!("Bearer {SECRET}x")),
                ("cookie", format!("authorization=Bearer {SECRET}")),
            ];
            for (name, value) in &schemes {
                door.call_with("", &method, &path, &[(name, value)], Value::Null)
                    .expect(401);
            }
            for query in [
                "token",
                "access_token",
                "authorization",
                "ticket",
                "api_key",
            ] {
                let path = format!("{path}?{query}={SECRET}");
                door.call("", &method, &path, Value::Null).expect(401);
            }
        }
    }
    door.get("", "/healthz?deep=1").expect(401);
}

#[test]
fn bodies_are_bounded_before_they_are_read() {
    let door = Door::open(&[("MAX_BODY_BYTES", "100000")]);
    let job = door.submit(SECRET, 1);
    let post = |path: &str, headers: &[(&str, &str)], body: Body| {
        let mut request = Request::post(path)
            .header("authorization", format!("Bearer {SECRET}"))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        door.send(request.body(body).unwrap())
    };
    let paths = [
        "/v1/jobs".to_owned(),
        format!("/v1/jobs/{job}/cancel"),
        format!("/v1/jobs/{job}/events"),
        "/v1/tokens".to_owned(),
        "/mcp".to_owned(),
    ];
    for path in &paths {
        // Chunks without end, announced by nobody.
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1_000]));
        assert_eq!(
            post(path, &[], Body::from_stream(endless)).status,
            413,
            "{path}"
        );
        // Announced, and never sent.
        let never = stream::pending::<Result<Vec<u8>, std::io::Error>>();
        let reply = if path.ends_with("cancel") || path.ends_with("/events") {
            post(path, &[], Body::from("x".repeat(100_001)))
        } else {
            post(
                path,
                &[("content-length", "100001")],
                Body::from_stream(never),
            )
        };
        assert_eq!(reply.status, 413, "{path}");
        // Whatever it would be when it is unpacked.
        for encoding in ["gzip", "br", "deflate, gzip", "zstd", "x"] {
            let reply = post(path, &[("content-encoding", encoding)], Body::from("{}"));
            assert_eq!(reply.status, 415, "{path} {encoding}");
        }
        let deep = format!("{}{}", "[".repeat(40_000), "]".repeat(40_000));
        assert_eq!(post(path, &[], Body::from(deep)).status, 400, "{path}");
        let deep = r#"{"a":"#.repeat(15_000);
        assert_eq!(post(path, &[], Body::from(deep)).status, 400, "{path}");
    }
}

#[test]
fn headers_say_what_we_put_in_them() {
    let door = Door::open(&[]);
    for id in ["a\tb", "a b", "é", &"x".repeat(1_000), "<x>", "a;b", "a,b"] {
        let Ok(value) = axum::http::HeaderValue::from_bytes(id.as_bytes()) else {
            continue;
        };
        let request = Request::get("/healthz").header("x-request-id", value);
        let reply = door.send(request.body(Body::empty()).unwrap());
        assert!(reply.header("x-request-id").starts_with("req_"), "{id}");
    }
    // Neither an origin nor a ticket's address repeats what it was not asked to.
    let reply = door.call_with(
        "",
        "GET",
        "/healthz",
        &[("origin", "https://evil.example")],
        Value::Null,
    );
    assert!(!format!("{:?}", reply.headers).contains("evil"));
    let job = door.submit(SECRET, 1);
    let path = format!("/v1/jobs/{job}/events");
    let headers = [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example"),
    ];
    let reply = door
        .call_with(SECRET, "POST", &path, &headers, json!({}))
        .expect(200);
    assert!(reply.json()["url"].as_str().unwrap().starts_with(&path));
}

#[test]
fn paths_lead_where_they_say_and_nowhere_else() {
    let door = Door::open(&[]);
    let job = door.submit(SECRET, 1);
    for path in [
        format!("/v1//jobs/{job}"),
        format!("/v1/./jobs/{job}"),
        format!("/v1/x/../jobs/{job}"),
        format!("/v1/%2e%2e/v1/jobs/{job}"),
        format!("/V1/jobs/{job}"),
        format!("/v1/jobs/{job}/"),
        format!("/v1/jobs/{job}%00"),
        format!("/v1/jobs/{job}%2freport"),
        format!("/v1/jobs/{job};x=1"),
        format!("/v1/jobs/{}", job.to_uppercase()),
        "/v1/jobs/..%2f..%2ftokens".to_owned(),
        "/v1/%74okens".to_owned(),
        "//v1/tokens".to_owned(),
        "/v1/tokens/".to_owned(),
        "/mcp/".to_owned(),
    ] {
        let request =
            Request::get(path.as_str()).header("authorization", format!("Bearer {SECRET}"));
        let Ok(request) = request.body(Body::empty()) else {
            continue;
        };
        assert_eq!(door.send(request).status, 404, "{path}");
        let bare = Request::get(path.as_str()).body(Body::empty()).unwrap();
        assert!([401, 404].contains(&door.send(bare).status), "{path}");
    }
}

#[test]
fn a_cursor_that_we_did_not_make_says_nothing_new() {
    use base64::Engine;
    let door = Door::open(&[]);
    let (owner, _) = door.token(json!({"name": "a", "tenant": "acme"}));
    let mine = door.submit(SECRET, 1);
    let theirs = door.submit(&owner, 1);
    let forged =
        |json: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json.to_string());
    // Rightly formed: it only says where in one's own list to go on.
    let beyond = json!({"l": "jobs.1", "k": {"created_ms": i64::MAX, "id": theirs}});
    let page = door
        .get(SECRET, &format!("/v1/jobs?cursor={}", forged(beyond)))
        .expect(200)
        .json();
    let ids: Vec<&Value> = page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["id"])
        .collect();
    assert_eq!(ids, [&json!(mine)]);
    for wrong in [
        json!({"l": "jobs.1", "k": {"created_ms": 0, "id": "x", "tenant": "acme"}}),
        json!({"l": "jobs.2", "k": {"created_ms": 0, "id": "x"}}),
        json!({"l": "tokens.1", "k": {"created_ms": 0, "id": "x"}}),
        json!({"l": "jobs.1", "k": {"created_ms": "0 OR 1=1", "id": "x"}}),
        json!(["jobs.1"]),
    ] {
        let path = format!("/v1/jobs?cursor={}", forged(wrong));
        door.get(SECRET, &path).expect(422);
    }
    let quoted = json!({"l": "jobs.1", "k": {"created_ms": i64::MAX, "id": "' OR '1'='1"}});
    let page = door
        .get(SECRET, &format!("/v1/jobs?cursor={}", forged(quoted)))
        .expect(200)
        .json();
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
}

#[test]
fn the_same_key_is_the_same_job_and_another_body_a_conflict() {
    let door = Door::open(&[]);
    let (other, _) = door.token(json!({"name": "b", "tenant": "other"}));
    let submit = |token: &str, key: &str, items: usize| {
        door.call_with(
            token,
            "POST",
            "/v1/jobs",
            &[("idempotency-key", key)],
            body(items),
        )
    };
    let first = submit(SECRET, "k", 1).expect(202).json();
    let again = submit(SECRET, "k", 1).expect(200);
    assert_eq!(again.json()["id"], first["id"]);
    assert!(
        again
            .header("location")
            .ends_with(first["id"].as_str().unwrap())
    );
    let reply = submit(SECRET, "k", 2).expect(409);
    assert_eq!(reply.json()["code"], "idempotency_key_reused");
    // A key is a tenant's own.
    let theirs = submit(&other, "k", 1).expect(202).json();
    assert_ne!(theirs["id"], first["id"]);
}

#[test]
fn no_secret_is_in_any_answer_or_log() {
    let door = Door::open(&[]);
    let (token, id) = door.token(json!({"name": "a", "scopes": ["read", "run", "admin"]}));
    let made = Made::by(&door, &token, &id);
    let mut texts = vec![format!("{:?}", door.world.log_lines())];
    for (method, template, body) in addresses(&door) {
        let path = made.path(&template);
        if method != "DELETE" {
            texts.push(door.call(&token, &method, &path, body).text);
        }
    }
    texts.push(door.get(SECRET, "/healthz?deep=1").expect(200).text);
    let hash = fanwise::core::value::token::TokenHash::of(&token).to_hex();
    for text in texts {
        for secret in [SECRET, crate::world::KEY, token.as_str(), hash.as_str()] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    // The blob store is asked by no key of a caller's making.
    let world = door.world.clone();
    let none = door
        .world
        .block_on(async move { world.get("health".to_owned()).await });
    assert_eq!(none, Ok(None));
}
