//! The form of streamed answers, and what each fault does to the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use common::*;
use serde_json::{Value, json};
use standin::{Config, engine::End, faults::Fault};

fn streamed() -> Value {
    let mut body = worker(&tickets(), &ticket_schema());
    body["stream"] = json!(true);
    body
}

fn names(reply: &standin::engine::Reply) -> Vec<String> {
    let mut names: Vec<String> = events(reply).into_iter().map(|(name, _)| name).collect();
    names.dedup();
    names
}

#[test]
fn events_come_in_the_order_of_the_api() {
    let reply = bench().messages(&streamed());
    assert_eq!(
        header(&reply, "content-type"),
        "text/event-stream; charset=utf-8"
    );
    assert_eq!(
        names(&reply),
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    let events = events(&reply);
    for (name, data) in &events {
        assert_eq!(&data["type"], name);
    }
    let start = &events[0].1["message"];
    assert_eq!(start["content"], json!([]));
    assert_eq!(start["stop_reason"], Value::Null);
    assert_eq!(start["usage"]["output_tokens"], 1);
    let thinking: Vec<&Value> = events
        .iter()
        .filter(|(_, d)| d["index"] == 0)
        .map(|(_, d)| d)
        .collect();
    assert_eq!(thinking[0]["content_block"]["type"], "thinking");
    assert_eq!(
        thinking[thinking.len() - 2]["delta"]["type"],
        "signature_delta"
    );
}

#[test]
fn a_stream_says_what_the_plain_answer_says() {
    let mut bench = bench();
    let mut body = streamed();
    let reply = bench.messages(&body);
    let text: String = events(&reply)
        .iter()
        .filter_map(|(_, d)| d["delta"]["text"].as_str().map(str::to_owned))
        .collect();
    let usage = events(&reply)
        .iter()
        .find(|(n, _)| n == "message_delta")
        .unwrap()
        .1["usage"]
        .clone();
    body["stream"] = json!(false);
    let plain = bench.messages(&body);
    assert_eq!(text, said(&plain));
    for key in ["input_tokens", "output_tokens", "output_tokens_details"] {
        assert_eq!(usage[key], json_of(&plain)["usage"][key], "{key}");
    }
}

#[test]
fn a_tool_call_is_streamed_as_partial_json() {
    let body = hello_with(json!({
        "stream": true,
        "tools": [{"name": "sort", "input_schema": ticket_schema()}],
        "tool_choice": {"type": "any"},
    }));
    let events = events(&bench().messages(&body));
    let partial: String = events
        .iter()
        .filter_map(|(_, d)| d["delta"]["partial_json"].as_str())
        .collect();
    let input: Value = serde_json::from_str(&partial).unwrap();
    assert!(input.get("urgency").is_some());
    assert_eq!(
        events[events.len() - 2].1["delta"]["stop_reason"],
        "tool_use"
    );
}

#[test]
fn omitted_thinking_is_only_a_signature() {
    let body =
        hello_with(json!({"stream": true, "thinking": {"type": "adaptive", "display": "omitted"}}));
    let events = events(&bench().messages(&body));
    let kinds: Vec<&str> = events
        .iter()
        .filter(|(_, d)| d["index"] == 0)
        .filter_map(|(_, d)| d["delta"]["type"].as_str())
        .collect();
    assert_eq!(kinds, ["signature_delta"]);
}

#[test]
fn thinking_eats_max_tokens() {
    let mut bench = bench();
    let usage = |bench: &mut Bench, max: u64| {
        let mut body = worker(&tickets(), &ticket_schema());
        body["max_tokens"] = json!(max);
        json_of(&bench.messages(&body))
    };
    // Medium effort thinks 24 tokens.
    let thought = usage(&mut bench, 20);
    assert_eq!(thought["content"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&thought["stop_reason"], &thought["usage"]["output_tokens"]),
        (&json!("max_tokens"), &json!(20))
    );
    let cut = usage(&mut bench, 40);
    assert_eq!(
        (&cut["stop_reason"], &cut["usage"]["output_tokens"]),
        (&json!("max_tokens"), &json!(40))
    );
    assert!(
        cut["content"][1]["text"]
            .as_str()
            .unwrap()
            .starts_with("{\"results\"")
    );
    assert_eq!(usage(&mut bench, 4_000)["stop_reason"], "end_turn");
}

#[test]
fn no_tokens_at_all_only_warm_the_cache() {
    let reply = bench().messages(&hello_with(json!({"max_tokens": 0})));
    let message = json_of(&reply);
    assert_eq!(message["content"], json!([]));
    assert_eq!(
        (&message["stop_reason"], &message["usage"]["output_tokens"]),
        (&json!("max_tokens"), &json!(0))
    );
}

#[test]
fn stop_sequences_stop() {
    let message = json_of(&bench().messages(&hello_with(json!({"stop_sequences": ["stand"]}))));
    assert_eq!(
        (&message["stop_reason"], &message["stop_sequence"]),
        (&json!("stop_sequence"), &json!("stand"))
    );
    assert!(
        !message["content"][1]["text"]
            .as_str()
            .unwrap()
            .contains("stand")
    );
}

#[test]
fn pieces_are_spread_over_the_latency() {
    let mut bench = Bench::new(Config {
        latency_ms: 1_000,
        first_byte: 0.4,
        ..Config::default()
    });
    let reply = bench.messages(&streamed());
    assert_eq!((reply.opens_ms, reply.ends_ms), (400, 1_000));
    let times: Vec<u64> = reply.pieces.iter().map(|(at, _)| *at).collect();
    assert!(times.len() > 5 && times.is_sorted(), "{times:?}");
    let mut body = streamed();
    body["stream"] = json!(false);
    assert_eq!(bench.messages(&body).opens_ms, 1_000);
}

#[test]
fn jitter_has_the_latency_as_its_mean() {
    let mut bench = Bench::new(Config {
        latency_ms: 1_000,
        jitter: 0.5,
        ..Config::default()
    });
    let times: Vec<u64> = (0..400)
        .map(|n| {
            bench
                .messages(&hello_with(json!({"system": n.to_string()})))
                .ends_ms
        })
        .collect();
    let mean = times.iter().sum::<u64>() / 400;
    assert!((950..1_050).contains(&mean), "{mean}");
    assert!(times.iter().all(|t| (500..=1_500).contains(t)));
    assert!(times.iter().any(|t| *t < 600) && times.iter().any(|t| *t > 1_400));
}

/// The reply to a call struck by a fault.
fn struck(fault: Fault, stream: bool) -> standin::engine::Reply {
    let mut bench = Bench::new(Config {
        latency_ms: 100,
        ..Config::default()
    });
    bench.configure(json!({"rules": [{"fault": fault.as_str(), "times": 1}]}));
    let mut body = streamed();
    body["stream"] = json!(stream);
    let reply = bench.messages(&body);
    assert_eq!(bench.stats()["faults"][fault.as_str()], 1, "{fault}");
    assert_eq!(bench.messages(&body).status, 200, "{fault} struck twice");
    reply
}

#[test]
fn faults_of_the_account_and_the_server() {
    let rows = [
        (Fault::RateLimit, 429, "rate_limit_error", None),
        (
            Fault::Ramp,
            429,
            "rate_limit_error",
            Some("ramp_limit_exceeded"),
        ),
        (
            Fault::SpendLimit,
            429,
            "rate_limit_error",
            Some("enforced_spend_limit_reached"),
        ),
        (
            Fault::ContractSpendLimit,
            429,
            "rate_limit_error",
            Some("contract_spend_limit_reached"),
        ),
        (Fault::UsageLimit, 400, "invalid_request_error", None),
        (Fault::Credit, 400, "invalid_request_error", None),
        (
            Fault::OnHold,
            400,
            "invalid_request_error",
            Some("organization_on_hold"),
        ),
        (Fault::Billing, 402, "billing_error", None),
        (Fault::BadKey, 401, "authentication_error", None),
        (Fault::Permission, 403, "permission_error", None),
        (Fault::TooLarge, 413, "request_too_large", None),
        (Fault::TooLong, 400, "invalid_request_error", None),
        (Fault::SchemaRefused, 400, "invalid_request_error", None),
        (Fault::Internal, 500, "api_error", None),
        (Fault::Unavailable, 503, "api_error", None),
        (Fault::Timeout, 504, "timeout_error", None),
        (Fault::Overloaded, 529, "overloaded_error", None),
    ];
    for (fault, status, kind, code) in rows {
        let reply = struck(fault, true);
        let body = json_of(&reply);
        assert_eq!(
            (reply.status, body["error"]["type"].as_str().unwrap()),
            (status, kind),
            "{fault}"
        );
        let told = body["error"]["details"]["error_code"].as_str();
        assert_eq!(told, code, "{fault}");
        let waits = matches!(fault, Fault::RateLimit | Fault::Ramp);
        assert_eq!(
            header(&reply, "retry-after"),
            if waits { "1" } else { "" },
            "{fault}"
        );
    }
    assert!(
        text(&struck(Fault::UsageLimit, true))
            .contains("You have reached your specified API usage limits.")
    );
    assert!(text(&struck(Fault::NonJson, true)).starts_with("<html>"));
}

#[test]
fn faults_of_the_wire() {
    assert_eq!(struck(Fault::Reset, true).status, 0);
    let cut = struck(Fault::Cut, true);
    assert_eq!(cut.end, End::Clean);
    assert!(!text(&cut).contains("message_stop") && text(&cut).contains("message_start"));
    assert_eq!(struck(Fault::ResetMid, true).end, End::Reset);
    assert_eq!(struck(Fault::ResetMid, false).end, End::Reset);
    let error = struck(Fault::ErrorEvent, true);
    let (name, data) = events(&error).pop().unwrap();
    assert_eq!(
        (name.as_str(), data["error"]["type"].as_str().unwrap()),
        ("error", "overloaded_error")
    );
    assert!(text(&struck(Fault::Garbage, true)).contains("<html>upstream"));
    assert_eq!(struck(Fault::Slow, true).ends_ms, 1_000);
    assert_eq!(struck(Fault::Hang, true).opens_ms, 600_000);
    assert_eq!(struck(Fault::SlowFirstByte, true).opens_ms, 90);
}

#[test]
fn faults_of_the_answer() {
    let clean = tickets().as_array().unwrap().len();
    let results = |fault| -> Vec<Value> {
        answered(&struck(fault, false))["results"]
            .as_array()
            .unwrap()
            .clone()
    };
    assert!(serde_json::from_str::<Value>(&said(&struck(Fault::Malformed, false))).is_err());
    assert_eq!(results(Fault::DuplicateId).len(), clean + 1);
    assert_eq!(results(Fault::MissingId).len(), clean - 1);
    assert!(
        results(Fault::InventedId)
            .iter()
            .any(|r| r["id"].as_str().unwrap().starts_with("invented-"))
    );
    assert!(
        results(Fault::SchemaMiss)
            .iter()
            .any(|r| r["output"].get("unasked").is_some())
    );
    assert_eq!(results(Fault::Shuffled)[0]["id"], "T-3");
    assert_eq!(
        results(Fault::EnumCase)[0]["output"]["primary_category"],
        "Billing"
    );
    let refused = json_of(&struck(Fault::Refusal, false));
    assert_eq!(
        (&refused["stop_reason"], &refused["stop_details"]["type"]),
        (&json!("refusal"), &json!("refusal"))
    );
    assert_eq!(said(&struck(Fault::Empty, false)), "");
    let truncated = json_of(&struck(Fault::Truncate, false));
    assert_eq!(truncated["stop_reason"], "max_tokens");
}

#[test]
fn faults_by_share_repeat_with_the_seed() {
    let run = |seed: u64| {
        let mut bench = bench();
        bench.configure(json!({"seed": seed, "faults": "429=0.1,500=0.1,cut=0.05,malformed=0.05"}));
        let statuses: Vec<u16> = (0..300)
            .map(|n| {
                bench
                    .messages(&hello_with(json!({"system": format!("call {n}")})))
                    .status
            })
            .collect();
        (statuses, bench.stats()["faults"].clone())
    };
    let (first, faults) = run(1);
    assert_eq!(run(1).0, first);
    assert_ne!(run(2).0, first);
    assert!(
        (15..50).contains(&faults["429"].as_u64().unwrap()),
        "{faults}"
    );
    // A retry of the same body is another draw: nothing fails for ever.
    let mut bench = bench();
    bench.configure(json!({"faults": "500=0.5"}));
    assert!((0..20).any(|_| bench.messages(&hello()).status == 200));
}
