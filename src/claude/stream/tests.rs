#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: u64 = 1_795_348_800_000;

fn line(data: &Value) -> String {
    format!(
        "event: {}\ndata: {data}\n\n",
        data["type"].as_str().unwrap()
    )
}

/// An answer with everything in it: thinking first, text in pieces, a tool, pings, what is new.
fn events() -> Vec<Value> {
    vec![
        json!({"type": "message_start", "message": {
            "type": "message", "id": "msg_01", "role": "assistant", "model": "claude-haiku-5-5", "content": [],
            "stop_reason": null, "stop_details": null,
            "usage": {"input_tokens": 25, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 900, "output_tokens": 1, "service_tier": "standard"}
        }}),
        json!({"type": "ping"}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hmm {\"results\""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "abc"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "{\"größe\": \"☃"}}),
        json!({"type": "something_new", "index": 1, "x": 1}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "\"}"}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "citations_delta", "citation": {"url": "https://example.com"}}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{\"a\":"}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": " 1}"}}),
        json!({"type": "content_block_stop", "index": 2}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 77, "output_tokens_details": {"thinking_tokens": 9}}}),
        json!({"type": "message_stop"}),
    ]
}

fn body(events: &[Value]) -> String {
    events.iter().map(line).collect()
}

fn headers() -> Headers {
    [("request-id", "req_011")].into_iter().collect()
}

fn read(text: &str) -> Result<Message, CallError> {
    let mut reader = StreamReader::new(headers());
    reader.push(text.as_bytes(), NOW)?;
    reader.finish()
}

#[test]
fn a_paused_turn_is_kept_block_by_block_for_the_model_to_go_on_from() {
    let mut events = events();
    let end = events.len() - 2;
    events[end]["delta"]["stop_reason"] = json!("pause_turn");
    let message = read(&body(&events)).unwrap();
    assert_eq!(
        message.turn,
        [
            json!({"type": "thinking", "thinking": "hmm {\"results\"", "signature": "abc"}),
            json!({"type": "text", "text": "{\"größe\": \"☃\"}", "citations": [{"url": "https://example.com"}]}),
            json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}),
        ]
    );
    assert!(read(&body(&self::events())).unwrap().turn.is_empty());
}

#[test]
fn a_whole_stream_becomes_a_message() {
    let message = read(&body(&events())).unwrap();
    assert_eq!(message.id, "msg_01");
    assert_eq!(message.model, "claude-haiku-5-5");
    assert_eq!(message.text(), "{\"größe\": \"☃\"}");
    assert_eq!(message.stop_reason, StopReason::EndTurn);
    assert_eq!(
        message.content[1],
        Block::ToolUse {
            id: "toolu_1".into(),
            name: "f".into(),
            input: json!({"a": 1})
        }
    );
    assert!(matches!(&message.content[0], Block::Text { citations, .. } if citations.len() == 1));
    let usage = &message.usage;
    assert_eq!(
        (
            usage.input_tokens,
            usage.cache_read_input_tokens,
            usage.output_tokens
        ),
        (25, 900, 77)
    );
    assert_eq!(usage.output_tokens_details.thinking_tokens, 9);
    assert_eq!(usage.service_tier.as_deref(), Some("standard"));
}

#[test]
fn streamed_and_plain_give_the_same_message() {
    let plain = json!({
        "id": "msg_01", "type": "message", "model": "claude-haiku-5-5",
        "content": [
            {"type": "thinking", "thinking": "hmm", "signature": "abc"},
            {"type": "text", "text": "{\"größe\": \"☃\"}", "citations": [{"url": "https://example.com"}]},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
        ],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 25, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 900,
                  "output_tokens": 77, "output_tokens_details": {"thinking_tokens": 9}, "service_tier": "standard"}
    });
    let plain = Message::from_json(plain.to_string().as_bytes()).unwrap();
    assert_eq!(read(&body(&events())).unwrap(), plain);
}

#[test]
fn progress_says_done_at_the_end_and_later_bytes_change_nothing() {
    let mut reader = StreamReader::new(headers());
    let all = events();
    let (last, before) = all.split_last().unwrap();
    assert_eq!(
        reader.push(body(before).as_bytes(), NOW),
        Ok(Progress::More)
    );
    assert_eq!(reader.push(line(last).as_bytes(), NOW), Ok(Progress::Done));
    let late = json!({"type": "error", "error": {"type": "api_error", "message": "late"}});
    assert_eq!(reader.push(line(&late).as_bytes(), NOW), Ok(Progress::Done));
    assert_eq!(reader.finish().unwrap().text(), "{\"größe\": \"☃\"}");
}

#[test]
fn a_stream_without_its_end_is_cut_wherever_it_broke() {
    let all = events();
    let stop = all.len() - 2;
    for kept in 0..=stop {
        let error = read(&body(&all[..kept])).unwrap_err();
        assert_eq!(error.code, ErrorCode::StreamCut);
        assert_eq!(error.class, ErrorClass::RetryNow);
        assert!(error.possibly_paid);
        assert_eq!(error.request_id.as_deref(), Some("req_011"));
        assert_eq!(error.usage.is_some(), kept > 0);
    }
    // The event with the stop reason was cut in its middle.
    let text = body(&all[..=stop]);
    let cut = text.trim_end().trim_end_matches('}');
    assert_eq!(read(cut).unwrap_err().code, ErrorCode::StreamCut);
}

#[test]
fn a_message_with_its_stop_reason_is_whole_without_the_last_lines() {
    let all = events();
    let whole = read(&body(&all)).unwrap();
    assert!(whole.counted);
    let without_stop = body(&all[..all.len() - 1]);
    for text in [
        body(&all).trim_end(),
        &without_stop,
        without_stop.trim_end(),
    ] {
        assert_eq!(read(text).unwrap(), whole);
    }
    // A block that was not closed may lack its end.
    let mut open = all.clone();
    open.remove(all.len() - 3);
    assert_eq!(
        read(&body(&open[..open.len() - 1])).unwrap_err().code,
        ErrorCode::StreamCut
    );
}

#[test]
fn events_of_any_name_are_read_by_their_data() {
    let whole = read(&body(&events())).unwrap();
    let mut named = String::new();
    for event in events() {
        named.push_str(&format!("event: message\ndata: {event}\n\n"));
    }
    assert_eq!(read(&named).unwrap(), whole);
    for place in [3, 16] {
        let (before, after) = (body(&events()[..place]), body(&events()[place..]));
        assert_eq!(
            read(&(before + "data: [DONE]\n\n" + &after)).unwrap(),
            whole
        );
    }
}

#[test]
fn what_was_reported_before_the_answer_is_no_count() {
    let stop = events().len() - 2;
    let cases = [
        (json!({"output_tokens": 77}), true),
        (json!(null), false),
        (json!({"output_tokens": 0}), false),
        (json!({"output_tokens": "many"}), false),
    ];
    for (usage, counted) in cases {
        let mut all = events();
        all[stop]["usage"] = usage.clone();
        let message = read(&body(&all)).unwrap();
        assert_eq!(message.counted, counted, "{usage}");
        assert!(counted || message.usage.output_tokens == 0, "{usage}");
    }
    // A refusal before any output may be free; the same zeros for an answer are no count.
    let zeros = json!({"input_tokens": 0, "output_tokens": 0});
    for (reason, content, counted) in [
        ("refusal", json!([]), true),
        ("end_turn", json!([{"type": "text", "text": "x"}]), false),
        ("end_turn", json!([]), false),
    ] {
        let value =
            json!({"type": "message", "content": content, "stop_reason": reason, "usage": zeros});
        assert_eq!(
            Message::from_value(&value).unwrap().counted,
            counted,
            "{value}"
        );
    }
    let bare = json!({"type": "message", "content": [{"type": "text", "text": "x"}]});
    assert!(!Message::from_value(&bare).unwrap().counted);
}

#[test]
fn an_error_event_ends_the_stream_with_what_was_counted() {
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded", "details": null}});
    let text = body(&events()[..8]) + &line(&overloaded);
    let mut reader = StreamReader::new(headers());
    let error = reader.push(text.as_bytes(), NOW).unwrap_err();
    assert_eq!(error.code, ErrorCode::Overloaded);
    assert!(error.slow_class && error.possibly_paid);
    assert_eq!(error.usage.as_ref().unwrap().input_tokens, 25);
    assert_eq!(reader.push(b"", NOW), Err(error.clone()));
    assert_eq!(reader.finish(), Err(error));
}

#[test]
fn an_error_is_one_with_and_without_an_event_name() {
    for prefix in ["event: error\n", ""] {
        let text = format!(
            "{prefix}data: {{\"type\":\"error\",\"error\":{{\"type\":\"api_error\",\"message\":\"x\"}}}}\n\n"
        );
        assert_eq!(read(&text).unwrap_err().code, ErrorCode::ServerError);
    }
    assert_eq!(
        read("event: error\ndata: not json\n\n").unwrap_err().code,
        ErrorCode::ServerError
    );
}

#[test]
fn a_refusal_in_the_stream_is_a_message() {
    let mut all = events();
    all[16] = json!({"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": "cyber", "explanation": "no"}}, "usage": {"output_tokens": 3}});
    let message = read(&body(&all)).unwrap();
    assert_eq!(message.stop_reason, StopReason::Refusal);
    assert_eq!(message.refusal.unwrap().category.as_deref(), Some("cyber"));
}

#[test]
fn what_breaks_the_documented_form_is_an_invalid_stream() {
    let start = &events()[0];
    let cases = [
        "event: message_start\ndata: {\n\n".to_owned(),
        line(&json!({"type": "message_stop"})),
        line(start) + &line(start),
        line(start) + &line(&json!({"type": "content_block_delta", "index": 9, "delta": {}})),
        line(&json!({"type": "message_delta", "delta": {}})),
    ];
    for text in cases {
        let error = read(&text).unwrap_err();
        assert_eq!(error.code, ErrorCode::StreamInvalid, "{text}");
        assert!(matches!(error.class, ErrorClass::RetryAfter { .. }));
    }
}

#[test]
fn unknown_events_may_hold_anything() {
    let text = body(&events()[..2]) + "event: new\ndata: not json\n\n" + &body(&events()[2..]);
    assert!(read(&text).is_ok());
}

proptest! {
    #[test]
    fn where_the_chunks_end_does_not_matter(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let text = body(&events());
        let bytes = text.as_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let mut reader = StreamReader::new(headers());
        for pair in at.windows(2) {
            reader.push(&bytes[pair[0]..pair[1]], NOW).unwrap();
        }
        prop_assert_eq!(reader.finish().unwrap(), read(&text).unwrap());
    }

    /// Events dropped, doubled, moved, their bytes changed: a message or an error, never a panic,
    /// and never a message after an error.
    #[test]
    fn mutated_streams_never_panic(
        order in prop::collection::vec(0usize..18, 0..30),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let all = events();
        let picked: Vec<Value> = order.iter().map(|index| all[*index].clone()).collect();
        let mut bytes = body(&picked).into_bytes();
        if !bytes.is_empty() {
            for (place, byte) in noise {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        let mut reader = StreamReader::new(headers());
        let pushed = reader.push(&bytes, NOW);
        let finished = reader.finish();
        if finished.is_ok() {
            prop_assert!(pushed.is_ok());
        }
    }

    #[test]
    fn any_json_as_an_event_is_survived(
        name in "message_start|content_block_start|content_block_delta|message_delta|message_stop|error|",
        field in "message|content_block|delta|usage|index|error",
        value in prop_oneof![Just(json!(null)), Just(json!(-1)), Just(json!([1])), Just(json!({"type": "text", "text": 5})), Just(json!({"usage": "x"}))],
    ) {
        let mut assembler = MessageAssembler::default();
        assembler.push(&SseEvent { name: "message_start".into(), data: events()[0].to_string() }).unwrap();
        let data = json!({"type": name, field: value}).to_string();
        let _ = assembler.push(&SseEvent { name, data });
        let _ = assembler.finish();
    }
}
