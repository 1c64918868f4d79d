#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::core::net::webhook::{WebhookEvent, WebhookFormat};
use crate::core::plan::spec::{Chunk, Output, StageKind};

fn config() -> Config {
    Config::from_vars(|_| None).unwrap()
}

fn body() -> Value {
    json!({
        "task": "Sort these",
        "input": {"items": ["one", "two"]},
        "stages": [
            {"name": "sort", "kind": "map", "instructions": "Sort."},
            {"name": "report", "kind": "synthesis", "instructions": "Sum up."}
        ]
    })
}

/// `body` with the value at a JSON Pointer changed; what is not there is added to its object.
fn with(pointer: &str, value: Value) -> Value {
    let mut body = body();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
        Value::Object(map) => {
            map.insert(name.to_owned(), value);
        }
        _ => panic!("nothing at {pointer}"),
    }
    body
}

/// A body as a value, which must be told the same as its text is.
fn check(body: Value, config: &Config) -> Result<Submit, ApiError> {
    for text in [
        body.to_string(),
        serde_json::to_string_pretty(&body).unwrap(),
    ] {
        let mut text = text.into_bytes();
        let text = json_text::sound(&mut text).unwrap();
        // Read from the same text: reading a number may round it.
        let of_value = crate::api::validate::submit_body::check(with_exact_items(text), config);
        let of_text = check_text(text, config).map(|(submit, items)| Submit {
            items: items.into_iter().collect(),
            ..submit
        });
        assert_eq!(of_text, of_value, "{text}");
    }
    crate::api::validate::submit_body::check(body, config)
}

/// The value of a body whose items keep the digits of their numbers.
fn with_exact_items(text: &str) -> Value {
    let mut body = json_text::value(text);
    let part = |text, name: &str| {
        let mut fields = json_text::fields(text)?;
        fields.find_map(|(known, value)| (known == name).then_some(value))
    };
    let items = part(text, "input").and_then(|input| json_text::elements(part(input, "items")?));
    if let Some(items) = items {
        let items = items.map(|item| match item.trim_start().starts_with('{') {
            true => json_text::exact_value(item),
            false => json_text::value(item),
        });
        body["input"]["items"] = items.collect();
    }
    body
}

#[test]
fn a_doubled_field_is_refused_by_its_path() {
    let text = r#"{"task": "Sort", "input": {"items": ["x", {"text": "y", "text": "z"}]}}"#;
    let mut text = text.as_bytes().to_vec();
    let problem = json_text::sound(&mut text).unwrap_err();
    let detail = problem.into_problem(String::new()).detail;
    assert!(
        detail.contains("`input.items[1]` has \"text\" twice"),
        "{detail}"
    );
}

fn faults_of(body: Value) -> Vec<(String, String)> {
    match check(body, &config()) {
        Ok(_) => Vec::new(),
        Err(error) => {
            let problem = error.into_problem(String::new());
            assert_eq!(problem.status, 422);
            let pairs = problem.errors.into_iter().map(|f| (f.path, f.message));
            pairs.collect()
        }
    }
}

#[test]
fn the_smallest_body_gets_its_defaults() {
    let submit = check(body(), &config()).unwrap();
    assert_eq!(submit.task, "Sort these");
    assert_eq!(submit.mode, Mode::Static);
    assert_eq!(submit.items.len(), 2);
    assert_eq!(submit.limits, Limits::default());
    assert!(submit.reuse);
    assert!(submit.metadata.is_empty());
    assert_eq!(submit.idempotency, None);
}

#[test]
fn a_body_with_every_field_is_read_whole() {
    let full = json!({
        "task": "t", "recipe": null, "mode": "static", "delivery": "auto", "approval": false, "reuse": false,
        "planning": {"model": "claude-opus-5-5", "fallback": true}, "context": null, "extends": null,
        "webhook": {"url": "https://a.dev/x", "events": ["job.paused"], "format": "slack"},
        "metadata": {"team": "support"},
        "input": {"items": [{"id": "a", "n": 1}], "text": null, "documents": null, "urls": null},
        "limits": {"max_cost_usd": 5, "concurrency": 7.0, "max_attempts": 3, "deadline_seconds": 60,
            "min_success_ratio": 1, "on_budget": "pause", "max_rounds": 0, "redo_ratio": 0.05},
        "stages": [
            {"name": "m", "kind": "map", "instructions": "i", "output": "chunk", "output_schema": {"type": "object"},
             "chunk": {"items": 3.0, "tokens": null, "overlap": null}, "model": "haiku", "max_tokens": 100.0, "effort": "xhigh",
             "merge": {"count_by": ["a"], "dedupe_by": ["b"]},
             "group_by": null, "verify": null, "citations": null, "tools": {}, "models": [], "context": null},
            {"name": "s", "kind": "synthesis", "instructions": "i", "output_schema": null, "chunk": null, "output": null, "merge": null}
        ]
    });
    let submit = check(full, &config()).unwrap();
    assert!(!submit.reuse);
    assert_eq!(submit.limits.concurrency, Some(7));
    assert_eq!(submit.limits.max_cost_usd, Some(5.0));
    let stage = &submit.stages[0];
    assert_eq!(stage.kind, StageKind::Map);
    assert_eq!(stage.output, Some(Output::Chunk));
    assert_eq!(stage.chunk, Some(Chunk::of_items(3)));
    assert_eq!(stage.max_tokens, Some(100));
    assert_eq!(submit.metadata["team"], "support");
    let webhook = submit.webhook.unwrap();
    assert_eq!(webhook.events, [WebhookEvent::Paused]);
    assert_eq!(webhook.format, WebhookFormat::Slack);
    // Told the end, signed, where nothing else is said.
    let webhook = with("/webhook", json!({"url": "https://a.dev/x"}));
    let webhook = check(webhook, &config()).unwrap().webhook.unwrap();
    assert_eq!(webhook.events, [WebhookEvent::Finished]);
    assert_eq!(webhook.format, WebhookFormat::Standard);
}

#[test]
fn each_fault_is_named_where_it_is() {
    let synthesis = json!({"name": "report", "kind": "synthesis", "instructions": "x"});
    let chunked = json!({"name": "sort", "kind": "map", "instructions": "x", "group_by": "kind", "chunk": {"items": 1}});
    let grouping = json!({"name": "more", "kind": "map", "instructions": "x", "group_by": "kind"});
    let following =
        |of: Value| json!({"name": "more", "kind": "map", "instructions": "x", "of": of});
    let grouped_synthesis =
        json!({"name": "more", "kind": "synthesis", "instructions": "x", "group_by": "kind"});
    let cases = [
        (json!([]), "body", "must be an object, is an array"),
        (json!("x"), "body", "must be an object, is a string"),
        (
            with("/task", json!(7)),
            "task",
            "must be a string, is a number",
        ),
        (with("/task", json!(" ")), "task", "must not be blank"),
        (with("/more", json!(1)), "more", "is not a known field"),
        (
            with("/mode", json!("quick")),
            "mode",
            "must be one of `static`, `dynamic`",
        ),
        (
            with("/mode", json!("dynamic")),
            "mode",
            "the stages of a `dynamic` job are made for it: leave out `stages` and `recipe`",
        ),
        (
            with("/input", json!(null)),
            "input",
            "must be an object with exactly one of `items`, `text`, `documents`, `urls`",
        ),
        (with("/stages", json!([])), "stages", "must not be empty"),
        (
            with("/stages", json!([synthesis])),
            "stages",
            "needs a `map` stage",
        ),
        (
            with("/stages/0", chunked),
            "stages[0].chunk",
            "is not taken with `group_by`: one task has one group",
        ),
        (
            with("/stages/1", grouping),
            "stages[1].group_by",
            "is no field of the results of `sort`",
        ),
        (
            with("/stages/0/of", json!({"flagged": true})),
            "stages[0].of",
            "the first map stage reads the input: there are no results yet to choose from",
        ),
        (
            with(
                "/stages/1",
                following(json!({"field": "kind", "values": ["a"]})),
            ),
            "stages[1].of.field",
            "is no field of the results of `sort`",
        ),
        (
            with("/stages/1", following(json!({"flagged": false}))),
            "stages[1].of",
            "chooses nothing: give `field` and `values`, or `flagged`",
        ),
        (
            with(
                "/stages/1",
                following(json!({"field": "text", "values": []})),
            ),
            "stages[1].of.values",
            "needs at least one value of the field",
        ),
        (
            with("/stages/1", following(json!({"some": 1}))),
            "stages[1].of.some",
            "is not a known field",
        ),
        (
            with("/stages/1", grouped_synthesis),
            "stages[1].group_by",
            "only a `map` stage has this",
        ),
        (
            with("/stages/1/name", json!("sort")),
            "stages[1].name",
            "is the name of stages[0] too",
        ),
        (
            with("/stages/0/name", json!("a b")),
            "stages[0].name",
            "must match ^[A-Za-z0-9][A-Za-z0-9_-]*$",
        ),
        (
            with("/stages/0/kind", json!("fold")),
            "stages[0].kind",
            "must be one of `map`, `synthesis`",
        ),
        (
            with("/stages/0/instructions", json!("\n")),
            "stages[0].instructions",
            "must not be blank",
        ),
        (
            with("/stages/1", json!({"name": "report", "kind": "synthesis"})),
            "stages[1].instructions",
            "is required",
        ),
        (
            with("/stages/0/color", json!("red")),
            "stages[0].color",
            "is not a known field",
        ),
        (
            with("/stages/0/chunk", json!({"items": 0})),
            "stages[0].chunk.items",
            "must be at least 1, is 0",
        ),
        (
            with("/stages/0/chunk", json!({"items": 1001})),
            "stages[0].chunk.items",
            "must be at most 1000, is 1001",
        ),
        (
            with("/stages/0/chunk", json!({"items": 1.5})),
            "stages[0].chunk.items",
            "must be a whole number, is a number",
        ),
        (
            with("/stages/0/chunk", json!(5)),
            "stages[0].chunk",
            "must be an object, is a number",
        ),
        (
            with("/stages/0/chunk", json!({"tokens": 49})),
            "stages[0].chunk.tokens",
            "must be at least 50, is 49",
        ),
        (
            with("/stages/0/chunk", json!({"tokens": 100, "overlap": 51})),
            "stages[0].chunk.overlap",
            "must be at most half of `tokens`, which is 50",
        ),
        (
            with("/stages/0/chunk", json!({"items": 5, "overlap": 1})),
            "stages[0].chunk.overlap",
            "needs `tokens`",
        ),
        (
            with("/stages/0/chunk", json!({})),
            "stages[0].chunk",
            "needs `items` or `tokens`",
        ),
        (
            with("/stages/1/chunk", json!({"items": 2})),
            "stages[1].chunk",
            "only a `map` stage has this",
        ),
        (
            with("/stages/1/output", json!("item")),
            "stages[1].output",
            "only a `map` stage has this",
        ),
        (
            with("/stages/1/merge", json!({})),
            "stages[1].merge",
            "only a `map` stage has this",
        ),
        (
            with("/stages/0/merge", json!({"count_by": ["text", " "]})),
            "stages[0].merge.count_by[1]",
            "must be the name of a field",
        ),
        (
            with("/stages/0/verify", json!({"sample": 2})),
            "stages[0].verify.sample",
            "must be at most 1, is 2",
        ),
        (
            with("/stages/1/verify", json!({"sample": 0.1})),
            "stages[1].verify",
            "only a `map` stage has this",
        ),
        (
            with("/stages/0/citations", json!(true)),
            "stages[0].citations",
            "only a `synthesis` has this",
        ),
        (
            with("/stages/0/tools", json!({"web_search": {"max_uses": 0}})),
            "stages[0].tools.web_search.max_uses",
            "must be at least 1, is 0",
        ),
        (
            with("/stages/0/tools", json!({"code": {}})),
            "stages[0].tools.code",
            "is not a known field",
        ),
        (
            with(
                "/stages/0/tools",
                json!({"web_fetch": {"allowed_domains": ["a"], "blocked_domains": ["b"]}}),
            ),
            "stages[0].tools.web_fetch.blocked_domains",
            "is not taken with `allowed_domains`",
        ),
        (
            with(
                "/stages/0/tools",
                json!({"web_search": {"allowed_domains": ["a.dev", "https://b.dev"]}}),
            ),
            "stages[0].tools.web_search.allowed_domains[1]",
            "must be a domain, such as example.com or example.com/blog, without https://",
        ),
        (
            with(
                "/stages/0/tools",
                json!({"web_fetch": {"blocked_domains": ["a.dev/x/*", "*.b.dev"]}}),
            ),
            "stages[0].tools.web_fetch.blocked_domains[1]",
            "must be a domain, such as example.com or example.com/blog, without https://",
        ),
        (
            with("/stages/0/merge", json!({"dedupe_by": ["no_such_field"]})),
            "stages[0].merge.dedupe_by[0]",
            "is no field of the stage's results",
        ),
        (
            with("/stages/0/output_schema", json!({"type": "objekt"})),
            "stages[0].output_schema.type",
            "",
        ),
        (
            with("/stages/0/output_schema", json!("x")),
            "stages[0].output_schema",
            "must be an object, is a string",
        ),
        (
            with("/limits", json!({"concurrency": 1001})),
            "limits.concurrency",
            "must be at most 1000, is 1001",
        ),
        (
            with("/limits", json!({"max_cost_usd": -1})),
            "limits.max_cost_usd",
            "must be at least 0, is -1",
        ),
        (
            with("/limits", json!({"budget": 1})),
            "limits.budget",
            "is not a known field",
        ),
        (
            with("/limits", json!([])),
            "limits",
            "must be an object, is an array",
        ),
        (
            with("/recipe", json!("soup")),
            "recipe",
            "is not known; there are: code-review, competitor-pages, content-qa, financial-documents, product-catalog, research-papers, support-tickets",
        ),
        (
            with("/recipe", json!("support-tickets")),
            "stages[0].name",
            "names no stage of the recipe `support-tickets`, which has: classify, report",
        ),
        (
            with("/delivery", json!("weekly")),
            "delivery",
            "must be one of `live`, `batch`, `auto`",
        ),
        (with("/extends", json!("my job")), "extends", ""),
        (
            with("/stages/1/models", json!(["haiku", "opus"])),
            "stages[1].models",
            "only a `map` stage has this",
        ),
        (
            with("/stages/0/models", json!("haiku")),
            "stages[0].models",
            "must be an array, is a string",
        ),
        (
            with("/approval", json!("yes")),
            "approval",
            "must be a boolean, is a string",
        ),
        (with("/webhook", json!({})), "webhook.url", "is required"),
        (
            with("/webhook", json!({"url": "https://a.dev/", "secret": "x"})),
            "webhook.secret",
            "is not a known field",
        ),
        (
            with("/webhook", json!({"url": "https://a.dev/", "events": []})),
            "webhook.events",
            "must not be empty",
        ),
        (
            with(
                "/webhook",
                json!({"url": "https://a.dev/", "events": ["job.begun"]}),
            ),
            "webhook.events[0]",
            "must be one of `job.finished`, `job.paused`, `job.awaiting_approval`",
        ),
        (
            with(
                "/webhook",
                json!({"url": "https://a.dev/", "format": "teams"}),
            ),
            "webhook.format",
            "must be one of `standard`, `slack`",
        ),
        (
            with("/metadata", json!([])),
            "metadata",
            "must be an object, is an array",
        ),
        (
            with("/metadata", json!({"a": "x".repeat(4_096)})),
            "metadata",
            "must have at most 4096 bytes as JSON",
        ),
        (
            with(
                "/metadata",
                (0..17).map(|n| (n.to_string(), json!(n))).collect(),
            ),
            "metadata",
            "must have at most 16 fields, has 17",
        ),
        (with("/task", json!("x".repeat(1_000_000))), "body", ""),
    ];
    for (body, path, message) in cases {
        let faults = faults_of(body);
        assert_eq!(faults.len(), 1, "{path}: {faults:?}");
        assert_eq!(faults[0].0, path);
        if !message.is_empty() {
            assert_eq!(faults[0].1, message, "{path}");
        }
    }
}

#[test]
fn faults_of_all_parts_come_at_once() {
    let faults = faults_of(json!({
        "task": " ", "recipe": "x", "colour": 1,
        "input": {"items": ["", "ok"]},
        "stages": [
            {"name": "a", "kind": "synthesis", "instructions": "x"},
            {"name": "a", "kind": "map", "instructions": "x", "chunk": {"items": 0}, "group_by": ["x"]}
        ],
        "limits": {"concurrency": 0}
    }));
    let mut paths: Vec<&str> = faults.iter().map(|(path, _)| path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "colour",
            "input.items[0]",
            "limits.concurrency",
            "recipe",
            "stages[1].chunk.items",
            "stages[1].group_by",
            "task",
        ]
    );
    let faults = faults_of(json!({
        "task": "t",
        "input": {"items": [""]},
        "stages": [
            {"name": "a", "kind": "synthesis", "instructions": "x"},
            {"name": "a", "kind": "map", "instructions": "x", "chunk": {"items": 0}}
        ],
    }));
    let paths: Vec<&str> = faults.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "input.items[0]",
            "stages[1].chunk.items",
            "stages[0].kind",
            "stages[1].name"
        ]
    );
}

#[test]
fn what_is_missing_is_named() {
    let mut faults = faults_of(json!({}));
    faults.sort_unstable();
    let expected = ["input", "task"].map(|p| (p.to_owned(), "is required".to_owned()));
    assert_eq!(faults, expected);
    let stages = faults_of(with("/stages", json!([{}])));
    let expected = ["kind", "name"].map(|p| (format!("stages[0].{p}"), "is required".to_owned()));
    let mut stages = stages;
    stages.sort_unstable();
    assert_eq!(stages, expected);
}

#[test]
fn ten_thousand_items_are_checked_in_one_pass() {
    let items: Vec<Value> = (0..10_000)
        .map(|n| json!({"id": format!("T-{n}"), "text": "The export stops at 90 %."}))
        .collect();
    let submit = check(with("/input", json!({"items": items})), &config()).unwrap();
    assert_eq!(submit.items.len(), 10_000);
}

/// Bodies that look right often enough to get past the first checks.
fn bodyish() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "",
            " ",
            "map",
            "synthesis",
            "item",
            "a",
            "static",
            "dynamic",
            "live",
            "pause",
            "\u{0}"
        ])
        .prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    scalar.prop_recursive(6, 60, 6, |inner| {
        let name = prop::sample::select(vec![
            "task", "input", "items", "documents", "urls", "url", "overlap", "stages", "name", "kind", "instructions", "output", "output_schema", "chunk", "tokens",
            "merge", "count_by", "limits", "concurrency", "max_cost_usd", "metadata", "mode", "id", "text", "type", "$ref", "x",
        ]);
        prop_oneof![
            3 => prop::collection::vec((name, inner.clone()), 0..6)
                .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into()),
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::from),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever comes, it is taken or refused with at least one fault; and what the schema lets through is read.
    #[test]
    fn no_body_panics(value in bodyish(), place in prop::sample::select(vec![
        "", "/task", "/input", "/input/items", "/stages", "/stages/0", "/stages/0/chunk", "/stages/0/output_schema", "/limits", "/metadata",
    ])) {
        let body = if place.is_empty() { value } else { with(place, value) };
        if let Err(error) = check(body, &config()) {
            let problem = error.into_problem(String::new());
            prop_assert_eq!(problem.status, 422);
            prop_assert!(!problem.errors.is_empty());
        }
    }
}

#[test]
fn what_is_counted_may_be_a_field_of_the_results_that_a_stage_amends() {
    let schema = |field: &str| json!({"type": "object", "properties": {field: {"type": "string"}}, "additionalProperties": false});
    let stages = |count_by: &str| {
        json!({"task": "t", "input": {"items": ["x"]}, "stages": [
            {"name": "a", "kind": "map", "instructions": "i", "output_schema": schema("cause")},
            {"name": "b", "kind": "map", "instructions": "i", "output_schema": schema("why"), "of": {"flagged": true},
                "merge": {"count_by": [count_by]}},
        ]})
    };
    assert!(check(stages("cause"), &config()).is_ok());
    assert!(check(stages("why"), &config()).is_ok());
    assert!(check(stages("what"), &config()).is_err());
}
