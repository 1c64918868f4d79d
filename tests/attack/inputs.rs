//! Bad inputs, each with the answer that it must get: `tests/api` sends them to the router, `cargo xtask attack` to the built
//! Worker, and `SECURITY.md` shows them. Needs nothing but the standard library and JSON, because both include this file.

use serde_json::{Value, json};

/// One bad request.
pub struct Attack {
    /// In words, for a table.
    pub kind: &'static str,
    pub method: &'static str,
    pub path: String,
    /// Without the one that carries the token.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Whether it comes with a token that may do everything.
    pub known: bool,
    pub status: u16,
    /// The code of the problem, and where it is, if it is somewhere.
    pub code: &'static str,
    pub place: &'static str,
}

impl Attack {
    /// What it gets, as a table says it.
    pub fn answer(&self) -> String {
        let place = match self.place {
            "" => String::new(),
            place => format!(" at `{place}`"),
        };
        format!("{} `{}`{place}", self.status, self.code)
    }

    /// Its line of the table.
    pub fn row(&self) -> String {
        let bytes = match self.body.len() {
            0 => "-".to_owned(),
            bytes if bytes < 10_000 => format!("{bytes} B"),
            bytes if bytes < 10_000_000 => format!("{} KB", bytes / 1_000),
            bytes => format!("{} MB", bytes / 1_000_000),
        };
        format!("| {} | {bytes} | {} |", self.kind, self.answer())
    }
}

/// The code of a problem, or of an error of JSON-RPC, and the place of its first fault.
pub fn named(problem: &Value) -> (String, String) {
    let text = |pointer: &str| {
        let found = problem.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let of_rpc = problem.pointer("/error/code").map(Value::to_string);
    (
        of_rpc.unwrap_or_else(|| text("/code")),
        text("/errors/0/path"),
    )
}

/// The lines above the first row.
pub const HEAD: &str = "| request | body | answer |\n|---|---:|---|";

const INVALID: (u16, &str) = (422, "invalid_request");

/// All of them.
pub fn attacks() -> Vec<Attack> {
    let mut all = bodies();
    all.extend(schemas());
    all.extend(files());
    all.extend(jobs());
    all.extend(strangers());
    all
}

fn job(changes: &Value) -> Value {
    let mut job = json!({
        "task": "Sort these", "input": {"items": ["one", "two"]},
        "stages": [{"name": "sort", "kind": "map", "instructions": "Sort."}],
        "limits": {"max_cost_usd": 0.01},
    });
    if let (Value::Object(job), Value::Object(changes)) = (&mut job, changes) {
        job.extend(changes.clone());
    }
    job
}

fn post(
    kind: &'static str,
    path: &str,
    body: impl Into<Vec<u8>>,
    (status, code): (u16, &'static str),
    place: &'static str,
) -> Attack {
    Attack {
        kind,
        method: "POST",
        path: path.to_owned(),
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.into(),
        known: true,
        status,
        code,
        place,
    }
}

fn submit(kind: &'static str, changes: &Value, place: &'static str) -> Attack {
    post(kind, "/v1/jobs", job(changes).to_string(), INVALID, place)
}

/// Bodies by their shape.
fn bodies() -> Vec<Attack> {
    let zeros = |count: usize| format!("[{}0]", "0,".repeat(count));
    let stages = format!(
        r#"{{"task":"x","input":{{"items":["a"]}},"stages":{}}}"#,
        zeros(480_000)
    );
    let rpc = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}}"#,
        zeros(900_000)
    );
    let twice = r#"{"task":"x","task":"y","input":{"items":["a"]}}"#;
    vec![
        post(
            "`[` a million times",
            "/v1/jobs",
            "[".repeat(1_000_000),
            (400, "invalid_json"),
            "",
        ),
        post("`\"stages\": [0,0,…]`", "/v1/jobs", stages, INVALID, "body"),
        post("zeros to `/mcp`", "/mcp", rpc, (400, "-32700"), ""),
        post(
            "schedule of zeros",
            "/v1/schedules",
            zeros(1_000_000),
            (413, "too_large"),
            "",
        ),
        post(
            "a name twice in an object",
            "/v1/jobs",
            twice,
            (400, "invalid_json"),
            "",
        ),
        post(
            "estimate of a million items",
            "/v1/estimates",
            job(&json!({"input": {"items": vec!["a"; 1_000_000]}})).to_string(),
            INVALID,
            "input.items",
        ),
        Attack {
            headers: vec![
                ("content-type", "application/json".to_owned()),
                ("content-encoding", "gzip".to_owned()),
            ],
            ..post(
                "compressed body",
                "/v1/jobs",
                vec![0x1f, 0x8b, 8, 0],
                (415, "unsupported_media_type"),
                "",
            )
        },
        Attack {
            headers: vec![("content-type", "application/xml".to_owned())],
            ..post(
                "XML",
                "/v1/jobs",
                "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>",
                (415, "unsupported_media_type"),
                "",
            )
        },
    ]
}

fn with_schema(kind: &'static str, schema: Value, place: &'static str) -> Attack {
    let stages =
        json!([{"name": "sort", "kind": "map", "instructions": "Sort.", "output_schema": schema}]);
    submit(kind, &json!({"stages": stages}), place)
}

/// Schemas that would be dear to compile or to check.
fn schemas() -> Vec<Attack> {
    let properties = |count: usize| -> Value {
        let names = (0..count).map(|n| {
            (
                format!("p{n}"),
                json!({"type": "string", "pattern": r"(\pL{40}){5}"}),
            )
        });
        Value::Object(names.collect())
    };
    vec![
        with_schema(
            "pattern of 4,000 characters",
            json!({"type": "object", "properties": {"a": {"pattern": r"\d".repeat(2_000)}}}),
            "stages[0].output_schema.properties.a.pattern",
        ),
        with_schema(
            "20 patterns `(\\pL{40}){5}`",
            json!({"type": "object", "properties": properties(20)}),
            "stages[0].output_schema.properties.p0.pattern",
        ),
        with_schema(
            "schema that refers to itself",
            json!({"$ref": "#"}),
            "stages[0].output_schema",
        ),
        with_schema(
            "schema of another server",
            json!({"$ref": "http://169.254.169.254/latest"}),
            "stages[0].output_schema.$ref",
        ),
    ]
}

const BOUNDARY: &str = "----------bad";

fn parts(
    kind: &'static str,
    boundary: &str,
    body: impl Into<Vec<u8>>,
    place: &'static str,
) -> Attack {
    let kind_of_body = format!("multipart/form-data; boundary={boundary}");
    Attack {
        headers: vec![("content-type", kind_of_body)],
        ..post(kind, "/v1/jobs", body, INVALID, place)
    }
}

fn file(kind: &'static str, content_type: &str, content: &[u8], place: &'static str) -> Attack {
    let spec = json!({"task": "Sort", "stages": [{"name": "sort", "kind": "map", "instructions": "Sort."}]});
    let head = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"spec\"\r\n\r\n{spec}\r\n--{BOUNDARY}\r\n\
         content-disposition: form-data; name=\"input\"\r\ncontent-type: {content_type}\r\n\r\n"
    );
    let end = format!("\r\n--{BOUNDARY}--\r\n");
    parts(
        kind,
        BOUNDARY,
        [head.as_bytes(), content, end.as_bytes()].concat(),
        place,
    )
}

/// Files, and what comes around them.
fn files() -> Vec<Attack> {
    let xlsx = b"PK\x03\x04\x14\0\x06\0[Content_Types].xml\0\0xl/workbook.xml";
    let rows = format!("text\n{}", "a\n".repeat(950_000));
    let quote = format!("id,text\n1,\"{}", "a\n".repeat(500_000));
    vec![
        parts(
            "preamble before the parts",
            BOUNDARY,
            "x\r\n".repeat(1_000_000),
            "body",
        ),
        parts(
            "headers of a part",
            BOUNDARY,
            format!("--{BOUNDARY}\r\n{}", "x-a: b\r\n".repeat(300_000)),
            "body",
        ),
        parts(
            "boundary of 5,000 characters",
            &"b".repeat(5_000),
            "",
            "content-type",
        ),
        file(
            "950,000 rows of one letter",
            "text/csv",
            rows.as_bytes(),
            "input",
        ),
        file(
            "quote that is never closed",
            "text/csv",
            quote.as_bytes(),
            "input line 2",
        ),
        file("`.xlsx` sent as CSV", "text/csv", xlsx, "input"),
        file("`.xlsx` sent as text", "text/plain", xlsx, "input"),
        file("zeros sent as CSV", "text/csv", &[0; 100_000], "input"),
        file(
            "two columns of one name",
            "text/csv",
            b"id,note,note\n1,a,b\n",
            "input line 1",
        ),
        file(
            "JSON lines that are none",
            "application/x-ndjson",
            b"{\"text\":\"a\"}\n{oops\n",
            "input line 2",
        ),
    ]
}

/// Jobs that would cost money, or reach what is not public.
fn jobs() -> Vec<Attack> {
    let ids: Vec<Value> = (0..50_000)
        .map(|_| json!({"id": "a", "text": "b"}))
        .collect();
    let schedule = |cron: &str| json!({"cron": cron, "job": job(&json!({}))}).to_string();
    let hook = |url: &str| json!({"webhook": {"url": url}});
    vec![
        submit(
            "plan by Claude without a cap",
            &json!({"stages": null, "limits": {}}),
            "limits.max_cost_usd",
        ),
        submit(
            "50,000 items of one id",
            &json!({"input": {"items": ids}}),
            "input.items[1].id",
        ),
        submit(
            "id with a line break",
            &json!({"input": {"items": [{"id": "a\nb", "text": "c"}]}}),
            "input.items[0].id",
        ),
        submit(
            "budget below nothing",
            &json!({"limits": {"max_cost_usd": -1}}),
            "limits.max_cost_usd",
        ),
        submit(
            "webhook to this machine",
            &hook("https://127.0.0.1/"),
            "webhook.url",
        ),
        submit(
            "webhook to the metadata of a cloud",
            &hook("https://[::ffff:169.254.169.254]/"),
            "webhook.url",
        ),
        post(
            "`0 0 31 4,6,9,11 *`",
            "/v1/schedules",
            schedule("0 0 31 4,6,9,11 *"),
            INVALID,
            "cron",
        ),
        post(
            "`0 0 30 2 *`",
            "/v1/schedules",
            schedule("0 0 30 2 *"),
            INVALID,
            "cron",
        ),
    ]
}

fn get(kind: &'static str, path: &str, answer: (u16, &'static str)) -> Attack {
    Attack {
        method: "GET",
        headers: Vec::new(),
        ..post(kind, path, "", answer, "")
    }
}

/// Callers without a right.
fn strangers() -> Vec<Attack> {
    let refused = (401, "unauthorized");
    let unknown = |attack: Attack| Attack {
        known: false,
        ..attack
    };
    let with = |header: &'static str, value: &str, attack: Attack| Attack {
        headers: vec![(header, value.to_owned())],
        known: false,
        ..attack
    };
    let token = format!("Bearer fw_{}_{}", "0".repeat(32), "0".repeat(64));
    vec![
        unknown(get("no token", "/v1/jobs", refused)),
        unknown(get("token in the query", "/v1/jobs?token=secret", refused)),
        with(
            "authorization",
            &token,
            get("token that was never made", "/v1/jobs", refused),
        ),
        unknown(get("deep look without a token", "/healthz?deep=1", refused)),
        get(
            "job that never was",
            "/v1/jobs/job_00000000000000000000000000000000",
            (404, "not_found"),
        ),
        get(
            "path that climbs",
            "/v1/jobs/..%2f..%2fetc%2fpasswd",
            (404, "not_found"),
        ),
        Attack {
            place: "cursor",
            ..get("cursor that was not given", "/v1/jobs?cursor=AAAA", INVALID)
        },
        Attack {
            method: "PUT",
            ..get(
                "method that is not there",
                "/v1/jobs",
                (405, "method_not_allowed"),
            )
        },
    ]
}
