#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::claude::models::Catalogue;
use crate::claude::worker_schema::{Output, default_schema, in_words, wire_format};

fn model(name: &str) -> Model {
    Catalogue::load(None).unwrap().listed(name).unwrap().clone()
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "category": {"enum": ["billing", "bug"]},
            "urgency": {"type": "integer", "minimum": 1, "maximum": 5}
        },
        "required": ["category"],
        "additionalProperties": false
    })
}

const ITEMS: &str = "<items>\n[{\"id\":\"T-1\",\"text\":\"Größe ☃ \\\"quoted\\\"\"}]\n</items>";

fn worker<'a>(model: &'a Model, output: Output, schema: &Value) -> RequestBuilder<'a> {
    RequestBuilder::new(Role::Worker, model, 4_096)
        .system("You label tickets.")
        .format(wire_format(output, schema).ok())
        .user(ITEMS)
}

/// Compares a body with its file under `tests/golden/requests`; `UPDATE_GOLDEN=1` rewrites it.
fn golden(name: &str, request: &MessagesRequest) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/golden/requests/{name}.json"));
    let body: Value = serde_json::from_slice(&request.body()).unwrap();
    let text = serde_json::to_string_pretty(&body).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text, known,
        "{name} differs from its golden file; UPDATE_GOLDEN=1 rewrites it"
    );
}

#[test]
fn requests_have_their_golden_form() {
    let (haiku, sonnet, opus) = (model("haiku"), model("sonnet"), model("opus"));
    let item = worker(&haiku, Output::Item, &schema()).build();
    golden("worker-item", &item);
    golden(
        "worker-chunk",
        &worker(&haiku, Output::Chunk, &default_schema()).build(),
    );
    golden(
        "worker-sonnet",
        &worker(&sonnet, Output::Item, &schema()).build(),
    );
    golden(
        "worker-opus-high-effort",
        &worker(&opus, Output::Item, &schema())
            .effort(Some(Effort::High))
            .build(),
    );
    golden(
        "worker-haiku-4-5",
        &worker(&model("claude-haiku-4-5"), Output::Item, &schema()).build(),
    );
    golden(
        "worker-repair",
        &item.repair("{\"results\":[]}\n", "There is no result for `T-1`."),
    );
    golden(
        "worker-repair-of-nothing",
        &item.repair(" \n", "The answer is empty."),
    );
    golden(
        "worker-without-format",
        &item.without_format(&in_words(Output::Item, &schema())),
    );
    let cached = RequestBuilder::new(Role::Worker, &haiku, 4_096)
        .system("A long frame.")
        .system("What all look things up in.")
        .user(ITEMS)
        .build()
        .marked(CacheTtl::OneHour);
    golden("worker-cached", &cached);
    let synthesis = RequestBuilder::new(Role::Synthesis, &opus, 8_192)
        .system("You bring results together.")
        .user("<results>\n[]\n</results>\n<coverage>\n{}\n</coverage>")
        .build();
    golden("synthesis-text", &synthesis);
    let search = ServerTool {
        kind: "web_search_20250305".to_owned(),
        name: "web_search".to_owned(),
        max_uses: 3,
        options: serde_json::Map::from_iter([(
            "allowed_domains".to_owned(),
            json!(["example.com"]),
        )]),
    };
    golden(
        "worker-with-search",
        &worker(&haiku, Output::Chunk, &schema())
            .tool(search)
            .build(),
    );
}

#[test]
fn nothing_the_api_no_longer_takes_is_ever_sent() {
    let catalogue = Catalogue::load(None).unwrap();
    let efforts = [
        None,
        Some(Effort::Low),
        Some(Effort::High),
        Some(Effort::Max),
    ];
    for model in catalogue.models() {
        for role in Role::ALL {
            for effort in efforts {
                let request = RequestBuilder::new(role, model, u32::MAX)
                    .effort(effort)
                    .user("x")
                    .build();
                let body: Value = serde_json::from_slice(&request.body()).unwrap();
                for gone in ["temperature", "top_p", "top_k", "tool_choice"] {
                    assert!(body.get(gone).is_none());
                }
                assert_eq!(request.max_tokens, model.max_output_tokens);
                let effort = request
                    .output_config
                    .as_ref()
                    .and_then(|config| config.effort);
                assert!(
                    effort.is_none_or(|effort| model.efforts.contains(&effort)),
                    "{}",
                    model.id
                );
                // Thinking can be held down only up to high effort.
                if request.thinking.is_some() {
                    assert!(
                        effort.is_none_or(|effort| effort <= Effort::High),
                        "{}",
                        model.id
                    );
                }
            }
        }
    }
}

#[test]
fn the_last_turn_is_always_the_users() {
    let haiku = model("haiku");
    let request = worker(&haiku, Output::Item, &schema()).build();
    for request in [
        request.repair("answer", "faults"),
        request.repair("", "faults"),
        request.clone(),
    ] {
        assert_eq!(request.messages.last().unwrap().role, Speaker::User);
    }
}

#[test]
fn what_is_asked_has_one_identity_however_it_is_delivered() {
    let haiku = model("haiku");
    let live = worker(&haiku, Output::Item, &schema()).build();
    let mut batch = live.clone();
    batch.stream = false;
    batch.metadata = Some(Metadata {
        user_id: Some("u".to_owned()),
    });
    batch.max_tokens = 700;
    let batch = batch.marked(CacheTtl::OneHour);
    assert_eq!(live.identity(4_096), batch.identity(4_096));
    assert_ne!(live.identity(4_096), live.identity(700));
    assert_ne!(live.body(), batch.body());
    let identity: Value = serde_json::from_slice(&batch.identity(4_096)).unwrap();
    assert!(identity.get("stream").is_none() && identity.get("metadata").is_none());
    let other = worker(&haiku, Output::Item, &schema())
        .effort(Some(Effort::High))
        .build();
    assert_ne!(live.identity(4_096), other.identity(4_096));
    assert_eq!(live.identity(4_096), live.clone().identity(4_096));
}

#[test]
fn calls_share_a_prefix_just_where_they_differ_after_the_mark() {
    let haiku = model("haiku");
    let request = worker(&haiku, Output::Item, &schema()).build();
    let other = worker(&haiku, Output::Item, &schema())
        .effort(Some(Effort::High))
        .user("something else")
        .build();
    assert_eq!(request.prefix(), other.prefix());
    assert_eq!(request.prefix(), request.repair("{}", "wrong").prefix());
    assert_eq!(
        request.prefix(),
        request.clone().marked(CacheTtl::OneHour).prefix()
    );
    assert_ne!(request.prefix(), request.without_format("words").prefix());
    let sonnet = model("sonnet");
    assert_ne!(
        request.prefix(),
        worker(&sonnet, Output::Item, &schema()).build().prefix()
    );
}

#[test]
fn a_mark_reserves_for_writing_what_stands_before_it() {
    let haiku = model("haiku");
    let plain = worker(&haiku, Output::Item, &schema()).build();
    let marked = plain.clone().marked(CacheTtl::FiveMinutes);
    // The mark itself is nothing that the model reads.
    assert_eq!(marked.input_bound(&haiku), plain.input_bound(&haiku));
    let extra = haiku
        .prices
        .write_extra(plain.prefix_bound(), CacheTtl::FiveMinutes);
    assert_eq!(marked.worst_case(&haiku), plain.worst_case(&haiku) + extra);
    let hour = plain.clone().marked(CacheTtl::OneHour);
    assert!(hour.worst_case(&haiku) > marked.worst_case(&haiku));
    assert!(plain.prefix_bound() < plain.input_bound(&haiku));
}

#[test]
fn a_model_that_cannot_is_not_given_a_format() {
    let mut plain = model("haiku");
    plain.structured_outputs = false;
    let request = worker(&plain, Output::Item, &schema()).build();
    assert!(request.output_config.unwrap().format.is_none());
}

#[test]
fn headers_say_whose_call_it_is_and_never_the_key() {
    let trace = Trace {
        role: Role::Worker,
        job: "job_1\r\nx-evil: 1",
        task: Some("7"),
        attempt: 2,
    };
    let expected = [
        ("anthropic-version", "2026-10-21"),
        ("content-type", "application/json"),
        ("x-fanwise-role", "worker"),
        ("x-fanwise-job", "job_1x-evil:1"),
        ("x-fanwise-task", "7"),
        ("x-fanwise-attempt", "2"),
    ];
    let expected: Vec<_> = expected
        .map(|(name, value)| (name, value.to_owned()))
        .into();
    assert_eq!(headers(Some(trace)), expected);
    assert_eq!(headers(None), expected.get(..2).unwrap());
}

#[test]
fn roles_go_both_ways() {
    for role in Role::ALL {
        assert_eq!(Role::parse(role.as_str()), Some(role));
        assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
    }
    assert_eq!(Role::parse("boss"), None);
}

#[test]
fn the_worst_case_covers_searches_and_what_they_bring_in() {
    let haiku = model("haiku");
    let plain = worker(&haiku, Output::Chunk, &schema()).build();
    let search = ServerTool {
        kind: "web_search_20250305".to_owned(),
        name: "web_search".to_owned(),
        max_uses: 2,
        options: serde_json::Map::new(),
    };
    let searching = worker(&haiku, Output::Chunk, &schema())
        .tool(search)
        .build();
    assert!(searching.input_bound(&haiku) >= plain.input_bound(&haiku) + 2 * haiku.context_tokens);
    assert!(searching.worst_case(&haiku) >= plain.worst_case(&haiku) + 2 * haiku.prices.web_search);
}

#[test]
fn rate_limits_reckon_with_what_a_tool_usually_brings_in() {
    let haiku = model("haiku");
    let plain = worker(&haiku, Output::Chunk, &schema());
    assert_eq!(
        plain.clone().build().usual_input(&haiku),
        plain.clone().build().input_bound(&haiku)
    );
    let searching = plain
        .tool(ServerTool {
            kind: "web_search_20250305".to_owned(),
            name: "web_search".to_owned(),
            max_uses: 2,
            options: serde_json::Map::new(),
        })
        .build();
    let usual = searching.usual_input(&haiku);
    assert!(usual > 50_000 && usual < haiku.context_tokens, "{usual}");
}

#[test]
fn a_paused_turn_is_sent_back_as_it_came() {
    let request = worker(&model("haiku"), Output::Chunk, &schema()).build();
    let blocks =
        [json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}})];
    let body: Value = serde_json::from_slice(&request.resume(&blocks).body()).unwrap();
    assert_eq!(
        body.pointer("/messages/1"),
        Some(&json!({"role": "assistant", "content": blocks}))
    );
    assert_eq!(request.resume(&[]), request);
}

proptest! {
    /// A token is at least one byte: whatever the texts, the bound is no lower than their length.
    #[test]
    fn the_input_bound_covers_every_byte_of_text(system in "\\PC{0,80}", user in "\\PC{1,200}") {
        let haiku = model("haiku");
        let request = RequestBuilder::new(Role::Worker, &haiku, 10).system(&*system).user(&*user).build();
        let bytes = if system.trim().is_empty() { 0 } else { system.len() } + user.len();
        prop_assert!(request.input_bound(&haiku) >= bytes as u64);
        prop_assert_eq!(request.body(), request.clone().body());
    }
}
