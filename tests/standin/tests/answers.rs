//! Answers to the calls of the product: its wire form, role by role.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use common::*;
use serde_json::{Value, json};

fn as_role(body: &Value, role: &str) -> standin::engine::Incoming {
    with_header(post("/v1/messages", body), "x-fanwise-role", role)
}

#[test]
fn a_worker_answers_each_item_in_order() {
    let value = answered(&bench().messages(&worker(&tickets(), &ticket_schema())));
    let results = value["results"].as_array().unwrap();
    let told: Vec<_> = results
        .iter()
        .map(|r| {
            let output = &r["output"];
            let field = |name: &str| output[name].as_str().unwrap();
            (
                r["id"].as_str().unwrap(),
                field("primary_category"),
                field("sentiment"),
                field("urgency"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("T-1", "billing", "negative", "high"),
            ("T-2", "feature_request", "positive", "low"),
            ("T-3", "login", "negative", "high"),
        ]
    );
    assert_eq!(results[0]["output"]["issue"], "Charged twice");
}

#[test]
fn the_same_request_gets_the_same_answer() {
    let body = worker(&tickets(), &ticket_schema());
    let mut bench = bench();
    let first = said(&bench.messages(&body));
    bench.now_ms += 1_000_000;
    assert_eq!(said(&bench.messages(&body)), first);
}

#[test]
fn a_chunk_is_answered_as_a_whole() {
    let schema = json!({
        "type": "object",
        "properties": {
            "summary": {"type": "string"},
            "ticket_ids": {"type": "array", "items": {"type": "string"}},
            "mood": {"type": "string", "enum": ["good", "bad", "unclear"]},
        },
        "required": ["summary", "ticket_ids", "mood"],
        "additionalProperties": false,
    });
    let mut body = with_schema(&schema);
    body["messages"][0]["content"] = json!(format!("<items>\n{}\n</items>", tickets()));
    let value = answered(&bench().messages(&body));
    assert_eq!(value["ticket_ids"], json!(["T-1", "T-2", "T-3"]));
    assert!(
        value["summary"]
            .as_str()
            .unwrap()
            .starts_with("I was charged twice")
    );
}

#[test]
fn null_rather_than_a_guess() {
    let nullable = |inner: Value| json!({"anyOf": [inner, {"type": "null"}]});
    let schema = json!({
        "type": "object",
        "properties": {
            "order_number": nullable(json!({"type": "string"})),
            "email": nullable(json!({"type": "string", "format": "email"})),
            "topic": nullable(json!({"type": "string", "enum": ["billing", "login"]})),
        },
        "required": ["order_number", "email", "topic"],
        "additionalProperties": false,
    });
    let items = json!([
        {"id": "a", "text": "Order A-4711: I was charged twice, write to ann@example.com"},
        {"id": "b", "text": "Good morning everybody"},
    ]);
    let value = answered(&bench().messages(&worker(&items, &schema)));
    assert_eq!(
        value["results"][0]["output"],
        json!({"order_number": "A-4711", "email": "ann@example.com", "topic": "billing"})
    );
    assert_eq!(
        value["results"][1]["output"],
        json!({"order_number": null, "email": null, "topic": null})
    );
}

#[test]
fn quotes_are_verbatim() {
    let schema = json!({
        "type": "object",
        "properties": {"quote": {"type": "string"}},
        "required": ["quote"],
        "additionalProperties": false,
    });
    let text = "First  of all,\tthanks. The rest is silence, as they say.";
    let value = answered(&bench().messages(&worker(&json!([{"id": "a", "text": text}]), &schema)));
    let quote = value["results"][0]["output"]["quote"].as_str().unwrap();
    assert!(text.contains(quote) && quote.len() > 10, "{quote}");
}

#[test]
fn a_repair_is_answered_validly() {
    let mut body = worker(&tickets(), &ticket_schema());
    let clean = answered(&bench().messages(&body));
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": "{\"results\": [{\"id\": \"T-1\""}));
    messages.push(json!({"role": "user", "content": "Your output was cut off. Answer again."}));
    assert_eq!(answered(&bench().send(&as_role(&body, "repair"))), clean);
}

#[test]
fn a_schema_in_the_instructions_is_followed() {
    let mut body = hello_with(json!({"max_tokens": 4000}));
    let schema = json!({
        "type": "object",
        "properties": {"results": {"type": "array", "items": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "output": {
                "type": "object",
                "properties": {"stars": {"type": "integer", "minimum": 2, "maximum": 4}},
                "required": ["stars"],
            }},
            "required": ["id", "output"],
        }}},
        "required": ["results"],
    });
    body["system"] = json!(format!("Answer with JSON by this schema:\n{schema}"));
    body["messages"][0]["content"] = json!(format!("<items>\n{}\n</items>", tickets()));
    let value = answered(&bench().send(&as_role(&body, "worker")));
    for result in value["results"].as_array().unwrap() {
        assert!((2..=4).contains(&result["output"]["stars"].as_i64().unwrap()));
    }
}

#[test]
fn a_synthesis_is_a_report_that_says_who_wrote_it() {
    let results =
        json!({"count_by": {"primary_category": {"billing": 120, "login": 80, "bug": 100}}});
    let coverage =
        json!({"total": 301, "covered": 300, "missing": [{"id": "T-9", "reason": "refused"}]});
    let content =
        format!("Sum up.\n<results>\n{results}\n</results>\n<coverage>\n{coverage}\n</coverage>");
    let body = hello_with(
        json!({"model": OPUS, "max_tokens": 8000, "messages": [{"role": "user", "content": content}]}),
    );
    let text = said(&bench().send(&as_role(&body, "synthesis")));
    assert!(
        text.lines()
            .next()
            .unwrap()
            .contains("Written by the stand-in"),
        "{text}"
    );
    assert!(
        text.contains("**billing** with 120 of 300 (40.0 %)"),
        "{text}"
    );
    assert!(
        text.contains("300 of 301 items") && text.contains("T-9 (refused)"),
        "{text}"
    );
}

#[test]
fn a_synthesis_with_a_schema_follows_it() {
    let schema = json!({
        "type": "object",
        "properties": {"headline": {"type": "string"}, "findings": {"type": "array", "items": {"type": "string"}}},
        "required": ["headline", "findings"],
        "additionalProperties": false,
    });
    let mut body = with_schema(&schema);
    body["messages"][0]["content"] =
        json!("<results>\n{\"count_by\":{\"a\":{\"x\":1}}}\n</results>");
    let value = answered(&bench().send(&as_role(&body, "synthesis")));
    assert!(!value["headline"].as_str().unwrap().is_empty());
}

/// The form in which the orchestrator is asked for a plan.
fn plan_schema() -> Value {
    let string = json!({"type": "string"});
    let strings = json!({"type": "array", "items": string});
    let field = json!({
        "type": "object",
        "properties": {
            "name": string,
            "type": {"type": "string", "enum": ["string", "number", "integer", "boolean", "strings"]},
            "values": strings,
            "description": string,
        },
        "required": ["name", "type", "values", "description"],
        "additionalProperties": false,
    });
    let number = json!({"type": "number"});
    let boolean = json!({"type": "boolean"});
    let condition = json!({
        "type": "object",
        "properties": {
            "field": string, "in": strings, "not_in": strings, "min": number, "max": number, "exists": boolean, "flagged": boolean,
        },
        "required": ["field", "in", "not_in", "min", "max", "exists", "flagged"],
        "additionalProperties": false,
    });
    let stage = json!({
        "type": "object",
        "properties": {
            "name": string,
            "kind": {"type": "string", "enum": ["map", "synthesis"]},
            "instructions": string,
            "output": {"type": "string", "enum": ["item", "chunk"]},
            "fields": {"type": "array", "items": field},
            "chunk_items": {"type": "integer"},
            "chunk_tokens": {"type": "integer"},
            "tier": {"type": "string", "enum": ["worker", "synthesis"]},
            "count_by": strings,
            "where": condition,
        },
        "required": ["name", "kind", "instructions", "output", "fields", "chunk_items", "chunk_tokens", "tier", "count_by", "where"],
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": {"rationale": string, "stages": {"type": "array", "items": stage}},
        "required": ["rationale", "stages"],
        "additionalProperties": false,
    })
}

#[test]
fn the_orchestrator_plans_a_map_and_a_synthesis() {
    for (task, fields) in [
        (
            "Identify the recurring issue patterns in these support tickets",
            4,
        ),
        ("Rate these product reviews", 4),
        ("Find the risks in this contract document", 3),
        ("Do something with these rows", 4),
    ] {
        let mut body = with_schema(&plan_schema());
        body["messages"][0]["content"] = json!(task);
        let plan = answered(&bench().send(&as_role(&body, "orchestrator")));
        let stages = plan["stages"].as_array().unwrap();
        assert_eq!(stages[0]["kind"], "map", "{task}");
        assert_eq!(
            stages[0]["fields"].as_array().unwrap().len(),
            fields,
            "{task}"
        );
        assert_eq!(stages[1]["kind"], "synthesis");
        let names: Vec<&Value> = stages[0]["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| &f["name"])
            .collect();
        for counted in stages[0]["count_by"].as_array().unwrap() {
            assert!(names.contains(&counted), "{counted}");
        }
        assert!(
            stages[0]["chunk_items"].as_u64().unwrap()
                + stages[0]["chunk_tokens"].as_u64().unwrap()
                > 0
        );
    }
}

#[test]
fn asked_again_with_results_the_orchestrator_is_done() {
    let mut body = with_schema(&plan_schema());
    body["messages"][0]["content"] =
        json!("Any more stages?\n<results>\n{\"count_by\":{}}\n</results>");
    let plan = answered(&bench().send(&as_role(&body, "orchestrator")));
    assert_eq!(plan["stages"], json!([]));
}
