//! How answers differ from those of the API, mode by mode: each is switched on, and its effect is seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use common::*;
use serde_json::{Value, json};
use standin::engine::Reply;
use standin::faults::{Fault, MODES};

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

fn streamed(mut body: Value) -> Value {
    body["stream"] = json!(true);
    body
}

fn outputs(reply: &Reply) -> Vec<Value> {
    let results = answered(reply)["results"].as_array().unwrap().clone();
    results.into_iter().map(|r| r["output"].clone()).collect()
}

fn search() -> Value {
    hello_with(json!({
        "max_tokens": 4_000,
        "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}],
    }))
}

#[test]
fn the_readme_lists_every_fault_as_it_is() {
    let readme = include_str!("../README.md");
    for fault in Fault::ALL {
        let kind = if MODES.contains(fault) {
            "mode"
        } else {
            "fault"
        };
        let row = format!("| `{fault}` | {kind} | {} |", fault.about());
        assert!(readme.contains(&row), "README.md lacks the row:\n{row}");
    }
}

#[test]
fn usage_is_missing_zero_or_at_the_start_only() {
    for (mode, plain) in [("usage_missing", Value::Null), ("usage_zero", json!(0))] {
        let mut bench = with(mode);
        let answer = json_of(&bench.messages(&hello()));
        assert_eq!(answer["usage"]["output_tokens"], plain, "{mode}");
        assert_eq!(answer["usage"].is_null(), mode == "usage_missing");
        let events = events(&bench.messages(&streamed(hello())));
        let last = &events[events.len() - 2].1;
        assert_eq!(last["usage"]["output_tokens"], plain, "{mode}");
        assert!(cost(&bench) > 0, "{mode}: it is billed all the same");
    }
    let events = events(&with("usage_start").messages(&streamed(hello())));
    assert_eq!(events[0].1["message"]["usage"]["output_tokens"], 1);
    assert!(events[events.len() - 2].1.get("usage").is_none());
}

#[test]
fn cache_counts_grow_in_a_stream() {
    let mut bench = with("cache_grows");
    let text = "shared words ".repeat(400);
    let body = streamed(hello_with(json!({
        "system": [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}],
    })));
    let events = events(&bench.messages(&body));
    let written = |usage: &Value| usage["cache_creation_input_tokens"].as_u64().unwrap();
    let start = written(&events[0].1["message"]["usage"]);
    let end = written(&events[events.len() - 2].1["usage"]);
    assert_eq!((start, end > 0), (end / 2, true));
}

#[test]
fn nullable_fields_are_null() {
    let usage = json_of(&with("nulls").messages(&hello()))["usage"].clone();
    for field in [
        "cache_creation",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "service_tier",
        "inference_geo",
        "server_tool_use",
    ] {
        assert!(usage[field].is_null(), "{field}: {usage}");
    }
    assert!(usage["input_tokens"].as_u64().unwrap() > 0);
}

#[test]
fn refusals_come_early_or_late_with_their_bill() {
    let (bench, early) = struck("refusal_early", &hello());
    let answer = json_of(&early);
    assert_eq!(
        (&answer["stop_reason"], &answer["content"]),
        (&json!("refusal"), &json!([]))
    );
    assert_eq!(answer["usage"]["output_tokens"], 0);
    assert!(answer["stop_details"]["category"].is_string());
    assert_eq!(cost(&bench), 0);
    let (bench, late) = struck("refusal_mid", &tickets_body());
    let answer = json_of(&late);
    assert_eq!(answer["stop_reason"], "refusal");
    assert!(!answer["content"][0]["text"].as_str().unwrap().is_empty());
    let spent = answer["usage"]["output_tokens"].as_u64().unwrap();
    assert!(spent > 1 && cost(&bench) >= spent * 500);
}

#[test]
fn a_silent_cut_shows_in_its_count_only() {
    let (_, reply) = struck("silent_cut", &tickets_body());
    let answer = json_of(&reply);
    assert_eq!(answer["stop_reason"], "end_turn");
    assert_eq!(answer["usage"]["output_tokens"], 8_000);
    assert!(serde_json::from_str::<Value>(answer["content"][0]["text"].as_str().unwrap()).is_err());
}

#[test]
fn a_format_is_ignored_in_three_ways() {
    let said_by = |mode: &str, body: &Value| said(&with(mode).messages(body));
    let json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
    assert!(!json(&said_by("prose", &tickets_body())));
    assert!(!json(&said_by("format_ignored", &tickets_body())));
    // A schema in the prompt helps where only the field is ignored.
    let mut in_words = tickets_body();
    let schema = in_words["output_config"]["format"]["schema"].to_string();
    in_words["system"] = json!(format!("Answer with JSON of this schema:\n{schema}"));
    in_words["output_config"] = json!({"effort": "low"});
    assert!(json(&said_by("format_ignored", &{
        let mut body = in_words.clone();
        body["output_config"] = tickets_body()["output_config"].clone();
        body
    })));
    assert!(!json(&said_by("prose", &in_words)));
    let loose = outputs(&with("format_loose").messages(&tickets_body()));
    assert!(
        loose
            .iter()
            .all(|o| o["score"].is_string() && o["urgent"].is_string())
    );
}

#[test]
fn values_come_as_strings() {
    let numbers = outputs(&with("number_strings").messages(&tickets_body()));
    assert_eq!(numbers.len(), 3);
    for output in &numbers {
        assert!(output["score"].as_str().unwrap().parse::<i64>().is_ok());
        assert!(output["urgent"].is_boolean());
    }
    let whole = outputs(&with("stringified").messages(&tickets_body()));
    let inner: Value = serde_json::from_str(whole[0].as_str().unwrap()).unwrap();
    assert!(inner["score"].is_i64());
}

#[test]
fn streams_end_and_speak_as_gateways_write_them() {
    let of = |modes: &str| text(&with(modes).messages(&streamed(hello())));
    assert!(!of("no_last_blank").ends_with("\n\n") && of("no_last_blank").ends_with("}\n"));
    assert!(!of("no_message_stop").contains("message_stop"));
    assert!(of("no_message_stop").contains("message_delta"));
    let both = of("no_message_stop,no_last_blank");
    assert!(
        both.trim_end()
            .lines()
            .last()
            .unwrap()
            .contains("\"message_delta\"")
    );
    assert!(of("done_marker").ends_with("data: [DONE]\n\n"));
    let middle = of("done_middle");
    let place = |needle: &str| middle.find(needle).unwrap();
    assert!(place("[DONE]") < place("message_delta"));
    let named = of("event_message");
    assert!(
        named
            .lines()
            .filter(|l| l.starts_with("event:"))
            .all(|l| l == "event: message")
    );
    let unknown = of("unknown_events");
    assert!(
        ["event: advice", "advisor_note", "note_delta"]
            .iter()
            .all(|n| unknown.contains(n))
    );
    let empty = json_of(&with("empty_blocks").messages(&hello()))["content"].clone();
    let texts: Vec<&str> = empty
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|b| b["text"].as_str())
        .collect();
    assert_eq!((texts.len(), texts[0], texts[2]), (3, "", ""));
}

#[test]
fn texts_cite_and_tools_fail() {
    let cited = json_of(&with("citations").messages(&search()));
    let blocks = cited["content"].as_array().unwrap();
    let text = blocks.iter().find(|b| b["type"] == "text").unwrap();
    assert_eq!(text["citations"][0]["type"], "web_search_result_location");
    let events = events(&with("citations").messages(&streamed(search())));
    assert!(
        events
            .iter()
            .any(|(_, d)| d["delta"]["type"] == "citations_delta")
    );
    let failed = json_of(&with("tool_error").messages(&search()));
    let blocks = failed["content"].as_array().unwrap();
    let result = blocks
        .iter()
        .find(|b| b["type"] == "web_search_tool_result")
        .unwrap();
    assert_eq!(result["content"]["type"], "web_search_tool_result_error");
    assert_eq!(result["content"]["error_code"], "max_uses_exceeded");
    assert!(failed["usage"]["server_tool_use"].is_null());
}

#[test]
fn web_tools_are_checked() {
    let refused = |tool: Value| {
        let reply = bench().messages(&hello_with(json!({"tools": [tool]})));
        (reply.status, message_of(&reply))
    };
    let search = |more: Value| {
        let mut tool = json!({"type": "web_search_20250305", "name": "web_search"});
        tool.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        tool
    };
    assert_eq!(
        refused(search(
            json!({"max_uses": 3, "allowed_domains": ["a.dev/x"]})
        ))
        .0,
        200
    );
    assert_eq!(
        refused(search(json!({"name": "search"}))).1,
        "tools.0.web_search_20250305.name: Input should be 'web_search'"
    );
    let unknown = refused(json!({"type": "web_search_20240101", "name": "web_search"}));
    assert!(
        unknown
            .1
            .contains("does not match any of the expected tags")
    );
    assert!(
        refused(search(json!({"max_uses": 0})))
            .1
            .contains("greater than 0")
    );
    assert!(
        refused(search(json!({"max_content_tokens": 5})))
            .1
            .ends_with("Extra inputs are not permitted")
    );
    assert!(
        refused(search(json!({"allowed_domains": ["https://a.dev"]})))
            .1
            .contains("scheme")
    );
    let both = json!({"allowed_domains": ["a.dev"], "blocked_domains": ["b.dev"]});
    assert!(refused(search(both)).1.contains("only one of"));
    let newer = |more: Value| {
        let mut tool = search(more);
        tool["type"] = json!("web_search_20260209");
        refused(tool)
    };
    assert!(newer(json!({})).1.contains("code execution tool"));
    assert_eq!(newer(json!({"allowed_callers": ["direct"]})).0, 200);
    let fetch =
        json!({"type": "web_fetch_20250910", "name": "web_fetch", "max_content_tokens": 900});
    assert_eq!(refused(fetch).0, 200);
}

#[test]
fn efforts_and_thinking_are_those_of_the_model() {
    let status = |model: &str, effort: &str, thinking: Value| {
        let mut body = hello_with(json!({"model": model, "output_config": {"effort": effort}}));
        if !thinking.is_null() {
            body["thinking"] = thinking;
        }
        bench().messages(&body).status
    };
    let disabled = json!({"type": "disabled"});
    assert_eq!(status("claude-sonnet-4-6", "max", Value::Null), 200);
    assert_eq!(status("claude-sonnet-4-6", "xhigh", Value::Null), 400);
    assert_eq!(status("claude-opus-5", "high", disabled.clone()), 200);
    assert_eq!(status("claude-opus-5", "max", disabled.clone()), 400);
    assert_eq!(status("claude-sonnet-5", "max", disabled), 200);
    // From Claude 4.7 on the text of thinking is left out unless it is asked for.
    let thought = |thinking: Value| {
        let body = hello_with(json!({"thinking": thinking}));
        json_of(&bench().messages(&body))["content"][0].clone()
    };
    let plain = thought(json!({"type": "adaptive"}));
    assert_eq!(
        (&plain["type"], &plain["thinking"]),
        (&json!("thinking"), &json!(""))
    );
    assert!(!plain["signature"].as_str().unwrap().is_empty());
    let shown = thought(json!({"type": "adaptive", "display": "summarized"}));
    assert_ne!(shown["thinking"], "");
}

#[test]
fn warming_takes_nothing_that_asks_for_an_answer() {
    let status = |more: Value| {
        let mut body = hello_with(json!({"max_tokens": 0}));
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        bench().messages(&body).status
    };
    assert_eq!(status(json!({})), 200);
    assert_eq!(status(json!({"stream": true})), 400);
    assert_eq!(
        status(json!({"output_config": tickets_body()["output_config"]})),
        400
    );
    let tools = json!([{"name": "sort", "input_schema": ticket_schema()}]);
    assert_eq!(
        status(json!({"tools": tools, "tool_choice": {"type": "any"}})),
        400
    );
}

#[test]
fn tokens_per_byte_depend_on_the_text() {
    let tokens = |bench: &mut Bench, text: &str| {
        let body = json!({"model": HAIKU, "messages": [{"role": "user", "content": text}]});
        let reply = bench.send(&post("/v1/messages/count_tokens", &body));
        json_of(&reply)["input_tokens"].as_u64().unwrap() as f64 / text.len() as f64
    };
    let (english, digits) = ("plain words ".repeat(50), "48151623".repeat(75));
    let mut even = bench();
    assert_eq!(tokens(&mut even, &english), tokens(&mut even, &digits));
    let mut by_class = with("tokens_by_class");
    assert!(tokens(&mut by_class, &digits) > 4.0 * tokens(&mut by_class, &english));
    let expanded = tokens(&mut by_class, &"\u{fdfa}".repeat(100));
    assert!(
        expanded > 1.0,
        "NFKC makes more tokens than bytes: {expanded}"
    );
    // The bill goes by the same count.
    let body = hello_with(json!({"messages": [{"role": "user", "content": digits}]}));
    assert_eq!(
        json_of(&by_class.messages(&body))["usage"]["input_tokens"],
        600
    );
}

#[test]
fn modes_combine_and_calls_cannot_have_those_of_endpoints() {
    let reply = with("prose,usage_zero,no_rate_headers").messages(&tickets_body());
    assert_eq!(json_of(&reply)["usage"]["input_tokens"], 0);
    assert!(serde_json::from_str::<Value>(&said(&reply)).is_err());
    let config = bench();
    let fault = config
        .engine
        .config()
        .with(&json!({"rules": [{"fault": "no_models"}]}));
    assert!(fault.unwrap_err().contains("set it in `modes`"));
    let fault = config.engine.config().with(&json!({"modes": ["529"]}));
    assert!(fault.unwrap_err().contains("no mode"));
}
