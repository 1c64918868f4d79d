//! How endpoints differ from the API around the answer: keys, headers, refusals, outages, batches, models.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use common::*;
use serde_json::{Value, json};
use standin::engine::Reply;

const HOUR_MS: u64 = 60 * 60_000;

/// A stand-in with these modes in force.
fn with(modes: &str) -> Bench {
    let mut bench = bench();
    bench.configure(json!({"modes": modes}));
    bench
}

/// One call that this fault strikes.
fn struck(fault: &str, body: &Value) -> (Bench, Reply) {
    let mut bench = bench();
    bench.configure(json!({"rules": [{"fault": fault, "times": 1}]}));
    let reply = bench.messages(body);
    (bench, reply)
}

fn message_of(reply: &Reply) -> String {
    json_of(reply)["error"]["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn cost(bench: &Bench) -> u64 {
    bench.stats()["cost_nano_usd"].as_u64().unwrap()
}

fn tickets_body() -> Value {
    let mut body = worker(&tickets(), &scored());
    body["thinking"] = json!({"type": "disabled"});
    body
}

/// An output with a value of each type.
fn scored() -> Value {
    json!({
        "type": "object",
        "properties": {
            "issue": {"type": "string"},
            "score": {"type": "integer"},
            "urgent": {"type": "boolean"},
        },
        "required": ["issue", "score", "urgent"],
        "additionalProperties": false,
    })
}

fn batch() -> Value {
    json!({"requests": [{"custom_id": "r-0", "params": hello()}]})
}

#[test]
fn rate_headers_are_absent_renamed_or_zero() {
    const LIMIT: &str = "anthropic-ratelimit-requests-limit";
    let of = |mode: &str| with(mode).messages(&hello());
    assert_eq!(header(&of("no_rate_headers"), LIMIT), "");
    let renamed = of("renamed_rate_headers");
    assert_eq!(header(&renamed, LIMIT), "");
    assert_eq!(header(&renamed, &format!("llm_provider-{LIMIT}")), "100000");
    assert_eq!(header(&of("zero_rate_limit"), LIMIT), "0");
    let (mut bench, once) = struck("zero_rate_limit", &hello());
    assert_eq!((once.status, header(&once, LIMIT)), (200, "0"));
    assert_eq!(header(&bench.messages(&hello()), LIMIT), "100000");
}

#[test]
fn retry_headers_are_odd() {
    let (_, huge) = struck("retry_huge", &hello());
    assert_eq!(
        (huge.status, header(&huge, "retry-after")),
        (429, "99999999999")
    );
    let (_, never) = struck("no_retry", &hello());
    assert_eq!(
        (never.status, header(&never, "x-should-retry")),
        (429, "false")
    );
    for (fault, status) in [("529", 529), ("500", 500), ("429", 429)] {
        let mut bench = bench();
        bench.configure(json!({"rules": [{"fault": fault, "should_retry": false}]}));
        let reply = bench.messages(&hello());
        assert_eq!(
            (reply.status, header(&reply, "x-should-retry")),
            (status, "false")
        );
    }
}

#[test]
fn refusals_that_no_input_can_avoid() {
    let status = |fault: &str| struck(fault, &hello()).1;
    let retention = status("retention_400");
    assert_eq!(retention.status, 400);
    assert!(message_of(&retention).contains("data retention"));
    let not_allowed = status("not_allowed");
    assert_eq!(
        (not_allowed.status, message_of(&not_allowed).as_str()),
        (403, "Request not allowed")
    );
    let detail = status("detail_422");
    assert_eq!(detail.status, 422);
    assert!(json_of(&detail)["detail"][0]["msg"].is_string());
    assert!(json_of(&detail).get("error").is_none());
    assert_eq!(
        json_of(&status("bare_message")),
        json!({"message": "upstream failure"})
    );
    assert_eq!(
        json_of(&status("bare_error")),
        json!({"error": "upstream failure"})
    );
    let wrapped = status("code_in_text");
    assert_eq!(wrapped.status, 429);
    assert!(message_of(&wrapped).contains("\"error_code\":\"enforced_spend_limit_reached\""));
    let held = json_of(&status("on_hold"));
    assert!(held["error"]["details"]["appeal_url"].is_string());
}

#[test]
fn gateways_refuse_fields_where_they_are_sent() {
    let full = {
        let mut body = tickets_body();
        body["output_config"]["effort"] = json!("low");
        body
    };
    for (mode, field) in [
        ("format_refused", "output_config.format"),
        ("thinking_refused", "thinking"),
        ("effort_refused", "output_config.effort"),
    ] {
        let refused = with(mode).messages(&full);
        assert_eq!(
            message_of(&refused),
            format!("{field}: Extra inputs are not permitted")
        );
        let bare = hello_with(json!({"model": "claude-haiku-4-5"}));
        assert_eq!(with(mode).messages(&bare).status, 200, "{mode}");
    }
}

#[test]
fn keys_are_read_from_one_header_or_the_other() {
    let status = |mode: &str, headers: &[(&str, &str)]| {
        let mut incoming = with_header(post("/v1/messages", &hello()), "x-api-key", "");
        for (name, value) in headers {
            incoming = with_header(incoming, name, value);
        }
        with(mode).send(&incoming).status
    };
    let (key, bearer) = (("x-api-key", "k"), ("authorization", "Bearer k"));
    assert_eq!(status("", &[key, bearer]), 200);
    assert_eq!(status("two_keys_400", &[key, bearer]), 400);
    assert_eq!(status("two_keys_400", &[key]), 200);
    assert_eq!(
        (
            status("bearer_only", &[key]),
            status("bearer_only", &[bearer])
        ),
        (401, 200)
    );
    assert_eq!(
        (status("key_only", &[bearer]), status("key_only", &[key])),
        (401, 200)
    );
}

#[test]
fn an_outage_is_everywhere_and_ends() {
    let mut bench = bench();
    bench.configure(json!({"rules": [{"fault": "outage", "for_ms": 15_000}]}));
    for incoming in [
        post("/v1/messages", &hello()),
        get("/v1/models"),
        get("/v1/messages/batches"),
    ] {
        let reply = bench.send(&incoming);
        assert_eq!(reply.status, 502);
        assert!(text(&reply).contains("<title>502 Bad Gateway</title>"));
    }
    bench.now_ms += 14_999;
    assert_eq!(bench.messages(&hello()).status, 502);
    bench.now_ms += 1;
    assert_eq!(bench.messages(&hello()).status, 200);
    assert_eq!(bench.stats()["faults"]["outage"], 4);
}

#[test]
fn endpoints_lack_batches_models_or_counting() {
    let count = post(
        "/v1/messages/count_tokens",
        &json!({"model": HAIKU, "messages": hello()["messages"]}),
    );
    for (mode, incoming) in [
        ("no_batches", get("/v1/messages/batches")),
        ("no_models", get("/v1/models")),
        ("no_models", get("/v1/models/claude-haiku-5-5")),
        ("no_count_tokens", count),
    ] {
        assert_eq!(bench().send(&incoming).status, 200, "{mode}");
        assert_eq!(with(mode).send(&incoming).status, 404, "{mode}");
        assert_eq!(with(mode).messages(&hello()).status, 200, "{mode}");
    }
    let mut bench = bench();
    bench.configure(json!({"rules": [{"match": {"path": "/v1/models"}, "fault": "529"}]}));
    assert_eq!(bench.send(&get("/v1/models")).status, 529);
    assert_eq!(bench.messages(&hello()).status, 200);
}

#[test]
fn an_ended_batch_is_cancelled_in_three_ways() {
    for (modes, status) in [
        ("", 200),
        ("cancel_ended_400", 400),
        ("cancel_ended_409", 409),
    ] {
        let mut bench = with(modes);
        let created = json_of(&bench.send(&post("/v1/messages/batches", &batch())));
        let path = format!("/v1/messages/batches/{}", created["id"].as_str().unwrap());
        let cancel = raw("POST", &format!("{path}/cancel"), Vec::new());
        bench.now_ms += HOUR_MS;
        assert_eq!(bench.send(&cancel).status, status, "{modes}");
        assert_eq!(
            json_of(&bench.send(&get(&path)))["processing_status"],
            "ended"
        );
    }
    // One that still runs can be cancelled everywhere.
    let mut bench = with("cancel_ended_400");
    let created = json_of(&bench.send(&post("/v1/messages/batches", &batch())));
    let path = format!(
        "/v1/messages/batches/{}/cancel",
        created["id"].as_str().unwrap()
    );
    assert_eq!(bench.send(&raw("POST", &path, Vec::new())).status, 200);
}

#[test]
fn batches_are_refused_when_created_only() {
    let mut bench = with("human_review");
    let refused = bench.send(&post("/v1/messages/batches", &batch()));
    assert_eq!(refused.status, 400);
    let code = &json_of(&refused)["error"]["details"]["error_code"];
    assert_eq!(code, "workspace_human_review_disabled");
    assert_eq!(bench.send(&get("/v1/messages/batches")).status, 200);
    assert_eq!(bench.messages(&hello()).status, 200);
    bench.configure(json!({"modes": [], "rules": [{"fault": "batch_queue", "match": {"path": "/v1/messages/batches"}}]}));
    let full = bench.send(&post("/v1/messages/batches", &batch()));
    assert_eq!(full.status, 429);
    assert!(message_of(&full).contains("batch queue"));
}

#[test]
fn another_model_may_answer_and_contexts_may_be_small() {
    let mut bench = bench();
    bench.configure(json!({"served_model": OPUS}));
    assert_eq!(json_of(&bench.messages(&hello()))["model"], OPUS);
    let dear = cost(&bench);
    let mut plain = common::bench();
    plain.messages(&hello());
    assert!(
        dear > 10 * cost(&plain),
        "the bill is that of the model that answered"
    );
    bench.configure(json!({"served_model": null, "context_tokens": 300}));
    let long = hello_with(json!({"messages": [{"role": "user", "content": "word ".repeat(400)}]}));
    let refused = bench.messages(&long);
    assert_eq!(
        message_of(&refused),
        "prompt is too long: 800 tokens > 300 maximum"
    );
    let full = hello_with(
        json!({"max_tokens": 400, "messages": [{"role": "user", "content": "word ".repeat(145)}]}),
    );
    assert_eq!(
        json_of(&bench.messages(&full))["stop_reason"],
        "model_context_window_exceeded"
    );
}
