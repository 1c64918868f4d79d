//! What the API refuses, and in which words. Rows whose wording was recorded
//! from the live API say what it said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use common::*;
use serde_json::{Value, json};

/// Status, type and message of the refusal of a request.
fn refusal(incoming: &standin::engine::Incoming) -> (u16, String, String) {
    let reply = bench().send(incoming);
    let body = json_of(&reply);
    assert_eq!(body["type"], "error", "{body}");
    assert_eq!(body["request_id"], header(&reply, "request-id"));
    assert!(body["error"].get("details").is_some());
    let error = &body["error"];
    let text = |key: &str| error[key].as_str().unwrap().to_owned();
    (reply.status, text("type"), text("message"))
}

/// A 400 for `hello` with these fields changed.
fn invalid(changes: Value) -> String {
    let (status, kind, message) = refusal(&post("/v1/messages", &hello_with(changes.clone())));
    assert_eq!(
        (status, kind.as_str()),
        (400, "invalid_request_error"),
        "{changes}: {message}"
    );
    message
}

#[test]
fn keys_and_versions() {
    let ok = post("/v1/messages", &hello());
    let missing = with_header(ok.clone(), "x-api-key", "");
    assert_eq!(
        refusal(&missing),
        (
            401,
            "authentication_error".into(),
            "x-api-key header is required".into()
        )
    );
    assert_eq!(
        bench()
            .send(&with_header(missing, "authorization", "Bearer abc"))
            .status,
        200
    );

    let mut locked = bench();
    locked.configure(json!({"api_key": "right"}));
    let wrong = locked.send(&ok);
    assert_eq!(
        (
            wrong.status,
            json_of(&wrong)["error"]["message"].as_str().unwrap()
        ),
        (401, "invalid x-api-key")
    );
    assert_eq!(
        locked
            .send(&with_header(ok.clone(), "x-api-key", "right"))
            .status,
        200
    );

    let (status, _, message) = refusal(&with_header(ok.clone(), "anthropic-version", ""));
    assert_eq!(
        (status, message.as_str()),
        (400, "anthropic-version: header is required")
    );
    let (_, _, message) = refusal(&with_header(ok, "anthropic-version", "2025-11-01"));
    assert_eq!(
        message,
        "anthropic-version: \"2025-11-01\" is not a valid version"
    );
}

#[test]
fn paths_and_methods() {
    assert_eq!(refusal(&get("/v1/complete")).0, 404);
    assert_eq!(refusal(&get("/v1/messages")).0, 405);
    assert_eq!(
        refusal(&get("/v1/models/gpt-4")),
        (404, "not_found_error".into(), "model: gpt-4".into())
    );
    let (status, kind, message) = refusal(&post(
        "/v1/messages",
        &hello_with(json!({"model": "claude-2"})),
    ));
    assert_eq!(
        (status, kind.as_str(), message.as_str()),
        (404, "not_found_error", "model: claude-2")
    );
}

#[test]
fn bodies_that_are_no_json() {
    let message = |body: &str| refusal(&raw("POST", "/v1/messages", body.as_bytes().to_vec())).2;
    assert_eq!(
        message("{\"model\": \"claude-haiku-5-5\", \"max_to\": "),
        "The request body is not valid JSON: unexpected end of data: line 1 column 41 (char 40)"
    );
    assert!(message("").starts_with(
        "The request body is not valid JSON: unexpected end of data: line 1 column 1"
    ));
    assert!(
        message("{\n  nope}").contains("line 2 column 3 (char 4)"),
        "{}",
        message("{\n  nope}")
    );
    assert!(message("\"\\ud83d\"").contains("The request body is not valid JSON: "));
    assert_eq!(message("[]"), "Input should be an object");
}

#[test]
fn a_body_above_32_megabytes_is_a_413_that_is_not_json() {
    let reply = bench().send(&raw(
        "POST",
        "/v1/messages",
        vec![b' '; 32 * 1024 * 1024 + 1],
    ));
    assert_eq!(reply.status, 413);
    assert_eq!(header(&reply, "content-type"), "text/html");
    assert!(text(&reply).contains("413 Payload Too Large"));
}

/// Recorded from the live API against `claude-sonnet-5`.
#[test]
fn recorded_field_faults() {
    let object = json!({"type": "object", "properties": {}});
    let rows = [
        (json!({"model": null}), "model: Field required"),
        (json!({"model": 7}), "model: Input should be a valid string"),
        (
            json!({"model": ""}),
            "model: String should have at least 1 character",
        ),
        (json!({"messages": null}), "messages: Field required"),
        (
            json!({"messages": "x"}),
            "messages: Input should be a valid array",
        ),
        (
            json!({"messages": []}),
            "messages: at least one message is required",
        ),
        (json!({"max_tokens": null}), "max_tokens: Field required"),
        (
            json!({"max_tokens": "x"}),
            "max_tokens: Input should be a valid integer",
        ),
        (
            json!({"max_tokens": -1}),
            "max_tokens: must be greater than or equal to 0",
        ),
        (
            json!({"messages": [{"content": "ping"}]}),
            "messages.0.role: Field required",
        ),
        (
            json!({"messages": [{"role": "bogus", "content": "x"}]}),
            "messages: Unexpected role \"bogus\". Allowed roles are \"user\" or \"assistant\"",
        ),
        (
            json!({"messages": [{"role": "user"}]}),
            "messages.0.content: Field required",
        ),
        (
            json!({"messages": [{"role": "user", "content": 7}]}),
            "messages.0.content: Input should be a valid array",
        ),
        (
            json!({"messages": [{"role": "user", "content": []}]}),
            "messages.0: user messages must have non-empty content",
        ),
        (
            json!({"messages": [{"role": "user", "content": [7]}]}),
            "messages.0.content.0: Input should be an object",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{}]}]}),
            "messages.0.content.0.type: Field required",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x", "bogus": 1}]}),
            "messages.0.bogus: Extra inputs are not permitted",
        ),
        (
            json!({"tool_choice": 7}),
            "tool_choice: Input should be an object",
        ),
        (
            json!({"tools": "x"}),
            "tools: Input should be a valid array",
        ),
        (json!({"tools": [7]}), "tools.0: Input should be an object"),
        (
            json!({"tools": [{"name": "", "input_schema": object}]}),
            "tools.0.custom.name: String should have at least 1 character",
        ),
        (
            json!({"tools": [{"name": "  ", "input_schema": object}]}),
            "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
        ),
        (
            json!({"tools": [{"name": "f", "input_schema": object}], "tool_choice": {"type": "tool", "name": "g"}}),
            "Tool 'g' not found in provided tools",
        ),
        (
            json!({"tool_choice": {"type": "any"}}),
            "tool_choice.any may only be specified while providing tools",
        ),
        (
            json!({"tools": [{"name": "f", "input_schema": object, "strict": true}]}),
            "tools.0.custom: For 'object' type, 'additionalProperties' must be explicitly set to false",
        ),
        (
            json!({"system": 7}),
            "system: Input should be a valid array",
        ),
        (
            json!({"system": [7]}),
            "system.0: Input does not match the expected shape.",
        ),
        (
            json!({"thinking": "x"}),
            "thinking: Input should be an object",
        ),
        (
            json!({"output_config": "x"}),
            "output_config: Input does not match the expected shape.",
        ),
        (
            json!({"cache_control": "x"}),
            "cache_control: Input should be an object",
        ),
        (
            json!({"metadata": {"bogus": "x"}}),
            "metadata.bogus: Extra inputs are not permitted",
        ),
        (
            json!({"metadata": {"user_id": 7}}),
            "metadata.user_id: Input should be a valid string",
        ),
        (
            json!({"stop_sequences": "Z"}),
            "stop_sequences: Input should be a valid array",
        ),
        (
            json!({"stop_sequences": [1]}),
            "stop_sequences.0: Input should be a valid string",
        ),
        (
            json!({"service_tier": "x"}),
            "service_tier: Input should be 'auto' or 'standard_only'",
        ),
        (
            json!({"stream": "yes"}),
            "stream: Input should be a valid boolean",
        ),
        (
            json!({"container": "c"}),
            "container: Container identifier can only be provided when using the code execution tool",
        ),
        (
            json!({"inference_geo": "x"}),
            "inference_geo: must be one of ['global', 'us']",
        ),
        (json!({"zzz": 1}), "zzz: Extra inputs are not permitted"),
        // The order in which faults are found.
        (
            json!({"model": 7, "tool_choice": 7}),
            "model: Input should be a valid string",
        ),
        (
            json!({"messages": "x", "system": 7}),
            "messages: Input should be a valid array",
        ),
        (
            json!({"zzz": 1, "inference_geo": 7}),
            "inference_geo: Input should be a valid string",
        ),
        (
            json!({"zzz": 1, "messages": [{"role": "user", "content": []}]}),
            "zzz: Extra inputs are not permitted",
        ),
    ];
    for (changes, message) in rows {
        assert_eq!(invalid(changes.clone()), message, "{changes}");
    }
}

#[test]
fn texts_and_blocks() {
    let user = |blocks: Value| json!({"messages": [{"role": "user", "content": blocks}]});
    assert_eq!(
        invalid(user(json!([{"type": "text", "text": ""}]))),
        "messages: text content blocks must be non-empty"
    );
    assert_eq!(
        invalid(user(json!("  \n"))),
        "messages: text content blocks must contain non-whitespace text"
    );
    assert_eq!(
        invalid(user(
            json!([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "scope": 1}}])
        )),
        "messages.0.content.0.text.cache_control.ephemeral.scope: Extra inputs are not permitted"
    );
    assert_eq!(
        invalid(user(
            json!([{"type": "server_tool_use", "id": "x", "name": "n", "input": {}}])
        )),
        "messages.0.content.0.server_tool_use.id: String should match pattern '^srvtoolu_[a-zA-Z0-9_]+$'"
    );
    assert!(
        invalid(user(json!([{"type": "nonsense"}])))
            .contains("Input tag 'nonsense' found using 'type'")
    );
    let marked = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
    assert_eq!(
        invalid(user(json!([marked, marked, marked, marked, marked]))),
        "A maximum of 4 blocks with cache_control may be provided. Found 5."
    );
}

#[test]
fn sampling_parameters_by_version() {
    for key in ["temperature", "top_p", "top_k"] {
        assert_eq!(
            invalid(json!({ key: 1 })),
            format!("{key}: Extra inputs are not permitted")
        );
    }
    let older = |changes: Value| {
        let body = hello_with(changes);
        bench().send(&with_header(
            post("/v1/messages", &body),
            "anthropic-version",
            "2023-06-01",
        ))
    };
    assert_eq!(older(json!({"temperature": 1.0, "top_p": 1.0})).status, 200);
    let refused = older(json!({"temperature": 0}));
    assert_eq!(refused.status, 400);
    assert_eq!(
        json_of(&refused)["error"]["message"],
        "`temperature` is deprecated for this model."
    );
    assert_eq!(
        older(json!({"model": "claude-sonnet-4-6", "temperature": 0.2})).status,
        200
    );
    let range = older(json!({"model": "claude-sonnet-4-6", "temperature": 2}));
    assert_eq!(
        json_of(&range)["error"]["message"],
        "temperature: range: 0..1"
    );
}

#[test]
fn lengths() {
    assert_eq!(
        invalid(json!({"model": OPUS, "max_tokens": 200_000})),
        "max_tokens: 200000 > 128000, which is the maximum allowed number of output tokens for claude-opus-5-5"
    );
    let long = "word ".repeat(200_000);
    let message = invalid(
        json!({"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": long}]}),
    );
    assert_eq!(
        message,
        "prompt is too long: 307693 tokens > 200000 maximum"
    );
}

#[test]
fn a_conversation_ends_with_the_user_on_newer_models() {
    let prefilled =
        json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    assert_eq!(
        invalid(json!({"messages": prefilled})),
        "This model does not support assistant message prefill. The conversation must end with a user message."
    );
    let older = hello_with(json!({"model": "claude-haiku-4-5", "messages": prefilled}));
    assert_eq!(bench().messages(&older).status, 200);
}

#[test]
fn thinking_by_model() {
    let status = |model: &str, thinking: Value, effort: Option<&str>| {
        let mut body =
            hello_with(json!({"model": model, "thinking": thinking, "max_tokens": 4000}));
        if let Some(effort) = effort {
            body["output_config"] = json!({"effort": effort});
        }
        let reply = bench().messages(&body);
        (
            reply.status,
            json_of(&reply)["error"]["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    let (disabled, adaptive, between) = (
        json!({"type": "disabled"}),
        json!({"type": "adaptive"}),
        json!({"type": "between_tools"}),
    );
    let budget = json!({"type": "enabled", "budget_tokens": 2048});
    assert_eq!(status(HAIKU, disabled.clone(), None).0, 200);
    assert_eq!(status(HAIKU, disabled.clone(), Some("high")).0, 200);
    assert_eq!(status(HAIKU, disabled.clone(), Some("max")).0, 400);
    assert_eq!(status(HAIKU, between.clone(), None).0, 400);
    assert_eq!(status("claude-sonnet-5-5", disabled.clone(), None).0, 400);
    assert_eq!(status("claude-sonnet-5-5", between.clone(), None).0, 200);
    assert_eq!(status("claude-sonnet-5-5", between, Some("xhigh")).0, 400);
    assert!(
        status(OPUS, disabled, None)
            .1
            .starts_with("\"thinking.type.disabled\" is not supported for this model.")
    );
    assert_eq!(
        status(OPUS, budget.clone(), None).1,
        "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior."
    );
    assert_eq!(
        status("claude-haiku-4-5", adaptive.clone(), None).1,
        "adaptive thinking is not supported on this model"
    );
    assert_eq!(status("claude-haiku-4-5", budget, None).0, 200);
    assert_eq!(status("claude-opus-4-8", adaptive, None).0, 200);
    let small = json!({"type": "enabled", "budget_tokens": 100});
    assert_eq!(
        status("claude-haiku-4-5", small, None).1,
        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
    );
}

#[test]
fn forced_tools_by_model() {
    let tools = json!([{"name": "f", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}]);
    for choice in [json!({"type": "any"}), json!({"type": "tool", "name": "f"})] {
        assert_eq!(
            invalid(json!({"model": OPUS, "tools": tools, "tool_choice": choice})),
            "tool_choice: type \"tool\" and \"any\" are not supported for this model."
        );
        let reply = bench().messages(&hello_with(json!({"tools": tools, "tool_choice": choice})));
        assert_eq!(json_of(&reply)["stop_reason"], "tool_use");
    }
    let count = hello_with(
        json!({"model": OPUS, "tools": tools, "tool_choice": {"type": "any"}, "max_tokens": null}),
    );
    assert_eq!(refusal(&post("/v1/messages/count_tokens", &count)).0, 400);
}

#[test]
fn count_tokens_takes_no_max_tokens() {
    let body =
        hello_with(json!({"max_tokens": null, "system": "You are a scientist", "model": OPUS}));
    let reply = bench().send(&post("/v1/messages/count_tokens", &body));
    assert_eq!(json_of(&reply), json!({"input_tokens": 14}));
    let (_, _, message) = refusal(&post("/v1/messages/count_tokens", &hello()));
    assert_eq!(message, "max_tokens: Extra inputs are not permitted");
}

/// Whatever is sent, there is an answer, and never a failure of the stand-in's.
#[test]
fn damaged_bodies_are_refused_or_answered() {
    let whole = worker(&tickets(), &ticket_schema())
        .to_string()
        .into_bytes();
    let mut bench = bench();
    let mut state = 1u64;
    let mut roll = |sides: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % sides
    };
    for _ in 0..2_000 {
        let mut body = whole.clone();
        for _ in 0..=roll(3) {
            let at = roll(body.len().max(1));
            match roll(4) {
                0 => body.truncate(at.max(1)),
                1 => body[at] = b"{}[]\":,0nt\\ \xff"[roll(13)],
                2 if body.len() > 1 => {
                    body.remove(at);
                }
                _ => body.insert(at, b"\"{[,"[roll(4)]),
            }
        }
        let reply = bench.send(&raw("POST", "/v1/messages", body));
        assert!(matches!(reply.status, 200 | 400 | 404), "{}", reply.status);
    }
}
