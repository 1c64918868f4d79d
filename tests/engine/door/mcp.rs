//! MCP as its two newest revisions write it, message by message; the official clients are heard elsewhere.

use serde_json::{Value, json};

use super::{Door, Reply, SECRET, body};

const MODERN: &str = "2026-07-28";

/// A request with a handshake behind it.
fn handshake(door: &Door, token: &str, method: &str, params: Value) -> Reply {
    let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let headers = [
        ("mcp-protocol-version", "2025-11-25"),
        ("accept", "application/json, text/event-stream"),
    ];
    door.call_with(token, "POST", "/mcp", &headers, message)
}

/// A request that stands for itself.
fn modern(door: &Door, method: &str, mut params: Value, headers: &[(&str, &str)]) -> Reply {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let message = json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params});
    let name = params["name"].as_str().unwrap_or_default();
    let mut all = vec![
        ("mcp-protocol-version", MODERN),
        ("mcp-method", method),
        ("mcp-name", name),
    ];
    all.retain(|(name, value)| !value.is_empty() && headers.iter().all(|(other, _)| other != name));
    all.extend(headers.iter().filter(|(_, value)| !value.is_empty()));
    door.call_with(SECRET, "POST", "/mcp", &all, message)
}

/// The structured answer of a tool.
fn tool(door: &Door, token: &str, name: &str, arguments: Value) -> Value {
    let params = json!({"name": name, "arguments": arguments});
    let result = handshake(door, token, "tools/call", params)
        .expect(200)
        .json()["result"]
        .clone();
    assert_eq!(result["isError"], false, "{result}");
    let text = result["content"][0]["text"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(text).unwrap(),
        result["structuredContent"]
    );
    result["structuredContent"].clone()
}

/// What a tool says is wrong.
fn fault(door: &Door, token: &str, name: &str, arguments: Value) -> Value {
    let params = json!({"name": name, "arguments": arguments});
    let result = handshake(door, token, "tools/call", params)
        .expect(200)
        .json()["result"]
        .clone();
    assert_eq!(result["isError"], true, "{result}");
    serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap()
}

#[test]
fn the_handshake_agrees_on_a_version() {
    let door = Door::open(&[]);
    for (wanted, agreed) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2024-11-05", "2025-11-25"),
        ("2031-01-01", "2025-11-25"),
    ] {
        let params = json!({"protocolVersion": wanted, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let reply = door
            .call(SECRET, "POST", "/mcp", message)
            .expect(200)
            .json();
        assert_eq!(reply["result"]["protocolVersion"], agreed);
        assert_eq!(reply["result"]["serverInfo"]["name"], "fanwise");
        assert_eq!(reply["id"], 0);
    }
    let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert!(
        door.call(SECRET, "POST", "/mcp", note)
            .expect(202)
            .text
            .is_empty()
    );
    assert_eq!(
        handshake(&door, SECRET, "ping", json!({})).json()["result"],
        json!({})
    );
    let unknown = handshake(&door, SECRET, "prompts/list", json!({}))
        .expect(200)
        .json();
    assert_eq!(unknown["error"]["code"], -32_601);
    let get = door.get(SECRET, "/mcp").expect(405);
    assert_eq!(get.header("allow"), "POST, OPTIONS");
    let other = door.call_with(
        SECRET,
        "POST",
        "/mcp",
        &[("mcp-protocol-version", "1999-01-01")],
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
    );
    let error = other.expect(400).json()["error"].clone();
    assert_eq!(error["code"], -32_022);
    assert_eq!(
        error["data"]["supported"],
        json!([MODERN, "2025-11-25", "2025-06-18"])
    );
}

#[test]
fn the_newest_revision_needs_no_handshake_and_must_agree_with_itself() {
    let door = Door::open(&[]);
    let found = modern(&door, "server/discover", json!({}), &[])
        .expect(200)
        .json();
    assert_eq!(found["id"], "a");
    let result = &found["result"];
    assert_eq!(result["supportedVersions"], json!([MODERN]));
    assert_eq!(
        (&result["resultType"], &result["cacheScope"]),
        (&json!("complete"), &json!("public"))
    );
    assert_eq!(
        result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "fanwise"
    );
    let listed = modern(&door, "tools/list", json!({}), &[])
        .expect(200)
        .json();
    assert!(listed["result"]["ttlMs"].as_u64().unwrap() > 0);
    let call = json!({"name": "job_status", "arguments": {"job_id": "job_1"}});
    let called = modern(&door, "tools/call", call.clone(), &[])
        .expect(200)
        .json();
    assert_eq!(called["result"]["isError"], true);
    assert_eq!(called["result"]["resultType"], "complete");
    for (headers, code) in [
        ([("mcp-method", "tools/list")], -32_020),
        ([("mcp-method", "")], -32_020),
        ([("mcp-name", "cancel_job")], -32_020),
        ([("mcp-name", "")], -32_020),
    ] {
        let reply = modern(&door, "tools/call", call.clone(), &headers)
            .expect(400)
            .json();
        assert_eq!(reply["error"]["code"], code, "{headers:?}");
    }
    for method in ["initialize", "ping", "prompts/list"] {
        let reply = modern(&door, method, json!({}), &[]).expect(404).json();
        assert_eq!(reply["error"]["code"], -32_601);
    }
    let bare = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let headers = [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/list"),
    ];
    let reply = door
        .call_with(SECRET, "POST", "/mcp", &headers, bare)
        .expect(400)
        .json();
    assert_eq!(reply["error"]["code"], -32_602);
}

#[test]
fn an_agent_runs_a_job_from_the_call_to_the_report() {
    let door = Door::open(&[]);
    let mut arguments = body(30);
    arguments["idempotency_key"] = json!("agent-1");
    let job = tool(&door, SECRET, "run_job", arguments.clone());
    let id = job["job_id"].as_str().unwrap().to_owned();
    assert_eq!(job["state"], "queued");
    assert!(job["next"].as_str().unwrap().contains("job_status"));
    assert_eq!(
        tool(&door, SECRET, "run_job", arguments.clone())["job_id"],
        job["job_id"]
    );
    arguments["task"] = json!("Another");
    assert_eq!(
        fault(&door, SECRET, "run_job", arguments)["code"],
        "idempotency_key_reused"
    );
    let early = fault(&door, SECRET, "job_report", json!({"job_id": id}));
    assert_eq!(early["code"], "conflict");
    door.finish(&id);
    let status = tool(&door, SECRET, "job_status", json!({"job_id": id}));
    assert_eq!(status["state"], "succeeded");
    assert!(status["next"].as_str().unwrap().contains("job_report"));
    let report = tool(&door, SECRET, "job_report", json!({"job_id": id}));
    assert_eq!(report["coverage"]["covered"], 30);
    assert_eq!(report["shortened"], false);
    assert!(report["synthesis"].as_str().unwrap().len() > 50);
    let counted = report["count_by"]["primary_category"].as_object().unwrap();
    assert_eq!(
        counted.values().map(|n| n.as_u64().unwrap()).sum::<u64>(),
        30
    );
    let mut ids = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let mut arguments = json!({"job_id": id, "limit": 7});
        if !cursor.is_null() {
            arguments["cursor"] = cursor;
        }
        let page = tool(&door, SECRET, "job_results", arguments);
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 7);
        ids.extend(
            data.iter()
                .map(|line| line["id"].as_str().unwrap().to_owned()),
        );
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    let all: Vec<String> = (1..=30).map(|n| format!("item-{n}")).collect();
    assert_eq!(ids, all);
    assert_eq!(
        fault(&door, SECRET, "cancel_job", json!({"job_id": id}))["code"],
        "conflict"
    );
}

#[test]
fn an_agent_chooses_a_recipe_and_knows_the_cost_before() {
    let door = Door::open(&[]);
    let recipes = tool(&door, SECRET, "list_recipes", json!({}))["recipes"].clone();
    let names: Vec<&str> = recipes
        .as_array()
        .unwrap()
        .iter()
        .map(|recipe| recipe["recipe"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"support-tickets"), "{names:?}");
    let wanted = json!({"recipe": "support-tickets", "input": {"items": crate::flows::texts(30)}});
    let estimate = tool(&door, SECRET, "estimate_job", wanted.clone());
    let cost = &estimate["expected"]["cost_usd"];
    assert!(
        cost["low"].as_f64().unwrap() < cost["high"].as_f64().unwrap(),
        "{estimate}"
    );
    assert!(door.world.query("SELECT id FROM jobs").is_empty());
    let id = tool(&door, SECRET, "run_job", wanted)["job_id"]
        .as_str()
        .unwrap()
        .to_owned();
    door.finish(&id);
    let spent = tool(&door, SECRET, "job_status", json!({"job_id": id}))["cost"]["spent_usd"]
        .as_f64()
        .unwrap();
    assert!(spent <= cost["high"].as_f64().unwrap(), "{spent} of {cost}");
}

#[test]
fn pages_of_results_break_within_a_task_and_lose_nothing() {
    let door = Door::open(&[]);
    let mut wanted = body(50);
    wanted["stages"] = crate::flows::stages(20);
    let id = tool(&door, SECRET, "run_job", wanted)["job_id"]
        .as_str()
        .unwrap()
        .to_owned();
    door.finish(&id);
    let mut ids = Vec::new();
    let mut cursor = None::<String>;
    for _ in 0..20 {
        let mut arguments = json!({"job_id": id, "limit": 8});
        if let Some(cursor) = &cursor {
            arguments["cursor"] = json!(cursor);
        }
        let page = tool(&door, SECRET, "job_results", arguments);
        let data = page["data"].as_array().unwrap();
        ids.extend(
            data.iter()
                .map(|line| line["id"].as_str().unwrap().to_owned()),
        );
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    let all: Vec<String> = (1..=50).map(|n| format!("item-{n}")).collect();
    assert_eq!(ids, all);
}

#[test]
fn what_is_wrong_is_told_to_the_model() {
    let door = Door::open(&[("SUBMITS_PER_MINUTE", "2")]);
    let told = fault(
        &door,
        SECRET,
        "run_job",
        json!({"task": "", "input": {"items": []}, "stages": [], "colour": 1}),
    );
    assert_eq!(told["code"], "invalid_request");
    let paths: Vec<&str> = told["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["path"].as_str().unwrap())
        .collect();
    assert!(
        ["task", "input.items", "stages", "colour"]
            .iter()
            .all(|path| paths.contains(path)),
        "{paths:?}"
    );
    assert_eq!(
        fault(&door, SECRET, "job_status", json!({"job_id": "job_1"}))["code"],
        "not_found"
    );
    assert_eq!(
        fault(&door, SECRET, "job_status", json!({"id": "x"}))["code"],
        "invalid_request"
    );
    tool(&door, SECRET, "run_job", body(1));
    assert_eq!(
        fault(&door, SECRET, "run_job", body(1))["code"],
        "rate_limited"
    );
    // An estimate reads as much as a submit does.
    assert_eq!(
        fault(&door, SECRET, "estimate_job", body(1))["code"],
        "rate_limited"
    );
    let (reader, _) = door.token(json!({"name": "r", "scopes": ["read"]}));
    assert_eq!(
        fault(&door, &reader, "run_job", body(1))["code"],
        "forbidden"
    );
    let (runner, _) = door.token(json!({"name": "r", "scopes": ["run"]}));
    let job = tool(&door, &runner, "run_job", body(1))["job_id"].clone();
    assert_eq!(
        fault(&door, &runner, "job_status", json!({"job_id": job}))["code"],
        "forbidden"
    );
    let nothing = handshake(&door, SECRET, "tools/call", json!({"name": "rm"}))
        .expect(200)
        .json();
    assert_eq!(nothing["error"]["code"], -32_602);
    handshake(&door, "wrong", "tools/list", json!({})).expect(401);
}

#[test]
fn a_page_of_a_foreign_origin_cannot_call() {
    let door = Door::open(&[("CORS_ORIGINS", "https://app.example.com")]);
    let list = |origin: &str| {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        door.call_with(SECRET, "POST", "/mcp", &[("origin", origin)], message)
            .status
    };
    assert_eq!(list("https://app.example.com"), 200);
    assert_eq!(list("https://evil.example"), 403);
    assert_eq!(list("null"), 403);
}
