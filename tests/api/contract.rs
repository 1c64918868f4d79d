//! The OpenAPI document says what is served, and what it says is served.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

use crate::fakes::{TOKEN, call, send, service};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn document() -> Value {
    let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
    let reply = send(&service(), request);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "application/json");
    reply.json()
}

/// An address that the path's template stands for.
fn address(template: &str) -> String {
    if template.starts_with("/v1/schedules/") {
        return template.replace("{id}", "sched_0199c1d2e3f47a5b8c6d7e8f90a1b2c3");
    }
    template
        .replace("{id}", "job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3")
        .replace("{delivery}", "msg_0199c1d2e3f47a5b8c6d7e8f90a1b2c3_1")
        .replace("{index}", "0")
        .replace("{name}", "support-tickets")
}

#[test]
fn every_path_and_method_of_the_document_is_routed_and_no_other() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    for (template, item) in document["paths"].as_object().unwrap() {
        let documented: BTreeSet<String> = METHODS
            .iter()
            .filter(|method| item.get(**method).is_some())
            .map(|method| method.to_uppercase())
            .collect();
        assert!(!documented.is_empty(), "{template}");
        let options = call("OPTIONS", &address(template));
        assert_eq!(options.status, 204, "{template}");
        let allowed: BTreeSet<String> = options
            .header("allow")
            .split(", ")
            .filter(|method| !["HEAD", "OPTIONS"].contains(method))
            .map(str::to_owned)
            .collect();
        assert_eq!(allowed, documented, "{template}");
        for method in METHODS {
            let reply = call(&method.to_uppercase(), &address(template));
            let routed = reply.status != 405;
            assert_eq!(
                routed,
                item.get(method).is_some(),
                "{method} {template}: {}",
                reply.status
            );
            if routed {
                let status = reply.status.as_str();
                let known = &item[method]["responses"][status];
                assert!(
                    !known.is_null(),
                    "{method} {template}: {status} is not documented"
                );
            }
        }
    }
}

/// What the router has, read from its source: a route that the document forgot would not be found otherwise.
#[test]
fn every_route_is_in_the_document() {
    let source = include_str!("../../src/api/router.rs");
    let document = document();
    let documented: BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let (v1, open): (Vec<&str>, Vec<&str>) = {
        let (before, after) = source.split_once("Router::new()").unwrap();
        assert!(!before.contains(".route("));
        let (v1, open) = after.split_once("Router::new()").unwrap();
        (paths_in(v1), paths_in(open))
    };
    let prefixed = v1.iter().map(|path| format!("/v1{path}"));
    let routed: BTreeSet<String> = prefixed
        .chain(open.iter().map(|path| (*path).to_owned()))
        .collect();
    assert_eq!(
        routed.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        documented
    );
}

fn paths_in(source: &str) -> Vec<&str> {
    source
        .split(".route(")
        .skip(1)
        .map(|rest| rest.split('"').nth(1).unwrap())
        .collect()
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| walk(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    walk(&document, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn every_operation_is_named_secured_and_carries_its_errors() {
    let document = document();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} twice");
            assert!(operation["summary"].is_string(), "{name}");
            let responses = operation["responses"].as_object().unwrap();
            let secured = operation.get("security").is_none();
            let behind_the_door = path.starts_with("/v1/") || path == "/mcp";
            assert_eq!(secured, behind_the_door, "{name}");
            if secured {
                for status in ["401", "403", "422", "503"] {
                    assert!(responses.contains_key(status), "{name}: {status}");
                }
            }
            if path.contains('{') {
                assert!(responses.contains_key("404"), "{name}");
            }
            if ["post", "patch"].contains(&method.as_str())
                && operation.get("requestBody").is_some()
            {
                for status in ["400", "413", "415"] {
                    assert!(responses.contains_key(status), "{name}: {status}");
                }
            }
        }
    }
    assert_eq!(document["security"], serde_json::json!([{"bearer": []}]));
    assert_eq!(
        document["components"]["securitySchemes"]["bearer"],
        serde_json::json!({"type": "http", "scheme": "bearer"})
    );
}

#[test]
fn only_the_bodies_of_commands_may_be_left_out() {
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(body) = operation.get("requestBody") else {
                continue;
            };
            let command = [
                "/approve",
                "/cancel",
                "/events",
                "/pause",
                "/resume",
                "/retry",
                "/redeliver",
                "/release",
                "/run",
            ]
            .iter()
            .any(|end| path.ends_with(end));
            assert_eq!(body["required"], !command, "{method} {path}");
        }
    }
}

#[test]
fn the_submit_example_is_accepted() {
    let document = document();
    let example = document
        .pointer("/paths/~1v1~1jobs/post/requestBody/content/application~1json/example")
        .unwrap();
    let request = Request::post("/v1/jobs")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json; charset=utf-8")
        .body(Body::from(example.to_string()));
    let reply = send(&service(), request.unwrap());
    // Past every check: what follows needs a database.
    assert!(
        ![400, 413, 415, 422].contains(&reply.status.as_u16()),
        "{}",
        reply.json()
    );
}
