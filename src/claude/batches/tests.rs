#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::claude::error::ErrorClass;
use crate::claude::models::Catalogue;
use crate::claude::request::{RequestBuilder, Role};
use crate::claude::response::Usage;

fn request(text: &str) -> MessagesRequest {
    let models = Catalogue::load(None).unwrap();
    let model = models.listed("haiku").unwrap();
    RequestBuilder::new(Role::Worker, model, 100)
        .user(text)
        .build()
}

#[test]
fn a_body_holds_each_request_as_the_ledger_knows_it() {
    let mut body = Body::default();
    assert!(body.is_empty());
    for n in 1..=3 {
        body.push(&custom_id("batch_0a", n, 1), &request("hello \"you\"\n"));
    }
    assert_eq!(body.requests(), 3);
    let len = body.len();
    let text = body.finish();
    assert_eq!(text.len(), len);
    let value: Value = serde_json::from_str(&text).unwrap();
    let requests = value["requests"].as_array().unwrap();
    assert_eq!(requests[1]["custom_id"], "batch_0a-2-1");
    assert_eq!(requests[2]["params"]["max_tokens"], 100);
    // A batch refuses a request that streams.
    assert_eq!(requests[2]["params"].get("stream"), None);
}

#[test]
fn a_custom_id_is_read_as_it_was_made_and_fits_the_api() {
    let id = custom_id(&format!("batch_{}", "0".repeat(32)), u32::MAX, u32::MAX);
    assert!(id.len() <= 64, "{id}");
    assert!(
        id.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    );
    assert_eq!(read_custom_id("batch_0a-17-2"), Some(("batch_0a", 17, 2)));
    for other in [
        "",
        "a",
        "a-b",
        "a-b-c",
        "request-1",
        "--",
        "b-1-",
        "b--1-1x",
    ] {
        assert_eq!(read_custom_id(other), None, "{other}");
    }
}

#[test]
fn a_batch_is_read_as_the_api_describes_it() {
    let value = json!({
        "id": "msgbatch_01", "type": "message_batch", "processing_status": "in_progress",
        "request_counts": {"processing": 5, "succeeded": 1, "errored": 1, "canceled": 0, "expired": 2},
        "created_at": "2026-11-22T12:00:00.500Z", "results_url": null});
    let remote = Remote::read(&value).unwrap();
    assert_eq!((remote.status, remote.requests), (Status::InProgress, 9));
    assert_eq!(remote.created_at_ms, Some(1_795_348_800_500));
    let of = |field: &str, to: Value| {
        let mut value = value.clone();
        value[field] = to;
        Remote::read(&value)
    };
    assert_eq!(
        of("processing_status", json!("ended")).unwrap().status,
        Status::Ended
    );
    // It will stand in a path.
    for id in ["", "../v1/models", "a b", "é"] {
        assert_eq!(of("id", json!(id)), None);
    }
    assert_eq!(Remote::from_json(b"<html>"), None);
    let page = json!({"data": [value, {"id": 1}], "has_more": true}).to_string();
    let page = Page::from_json(page.as_bytes()).unwrap();
    assert_eq!(page.batches.len(), 1);
    assert_eq!(page.after.as_deref(), Some("msgbatch_01"));
}

fn line(result: Value) -> Option<Line> {
    let text = json!({"custom_id": "b-1-1", "result": result}).to_string();
    Line::read(text.as_bytes(), 0)
}

#[test]
fn every_kind_of_result_is_judged_as_a_live_answer_would_be() {
    let message = json!({"id": "msg_1", "model": "m", "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 10, "output_tokens": 2}});
    let message = line(json!({"type": "succeeded", "message": message}))
        .unwrap()
        .result
        .unwrap();
    assert_eq!(message.text(), "hi");
    // Half the price even where a gateway has left it out.
    assert_eq!(message.usage.service_tier.as_deref(), Some("batch"));
    let error = |kind: &str, text: &str| {
        let error =
            json!({"type": "error", "error": {"type": kind, "message": text}, "request_id": null});
        line(json!({"type": "errored", "error": error}))
            .unwrap()
            .result
            .unwrap_err()
    };
    let overloaded = error("overloaded_error", "Overloaded");
    assert_eq!(overloaded.code, ErrorCode::Overloaded);
    assert!(!overloaded.possibly_paid);
    assert_eq!(
        error("invalid_request_error", "prompt is too long: 2 > 1").code,
        ErrorCode::PromptTooLong
    );
    assert_eq!(
        error(
            "invalid_request_error",
            "Schema is too complex for compilation."
        )
        .class,
        ErrorClass::Reshape
    );
    assert!(error("billing_error", "pay").stops_everything());
    assert_eq!(error("api_error", "x").code, ErrorCode::ServerError);
    for (kind, code) in [
        ("expired", ErrorCode::BatchExpired),
        ("canceled", ErrorCode::BatchCanceled),
    ] {
        let error = line(json!({"type": kind})).unwrap().result.unwrap_err();
        assert_eq!(error.code, code);
        assert!(!error.possibly_paid);
    }
    let odd = line(json!({"type": "succeeded", "message": {}}));
    assert!(odd.unwrap().result.unwrap_err().possibly_paid);
    assert_eq!(line(json!({"type": "new"})), None);
    assert_eq!(Line::read(b"{", 0), None);
}

proptest! {
    /// Wherever the chunks end, the lines are the same.
    #[test]
    fn lines_do_not_depend_on_chunks(text in "[a\n]{0,60}", cuts in prop::collection::vec(0_usize..60, 0..6)) {
        let mut cuts = cuts;
        cuts.sort_unstable();
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        let mut from = 0;
        for cut in cuts.into_iter().map(|cut| cut.min(text.len())).chain([text.len()]) {
            lines.push(&text.as_bytes()[from..cut], |line| seen.push(line.to_vec())).unwrap();
            from = cut;
        }
        lines.finish(|line| seen.push(line.to_vec()));
        let whole: Vec<Vec<u8>> = text.split('\n').map(|line| line.as_bytes().to_vec()).collect();
        // The last piece is a line only where it holds anything.
        let expected: Vec<Vec<u8>> = match whole.split_last() {
            Some((last, head)) if last.is_empty() => head.to_vec(),
            _ => whole,
        };
        prop_assert_eq!(seen, expected);
    }

    /// Nothing that a result reports within the bounds of its request costs more than was reserved.
    #[test]
    fn the_reservation_is_an_upper_bound(
        text in "[a-z ]{1,4000}", input in 0.0_f64..=1.0, output in 0_u64..=100, us in any::<bool>(), name in 0_usize..30,
    ) {
        let models = Catalogue::load(None).unwrap();
        let all: Vec<_> = models.models().collect();
        let model = all[name % all.len()];
        let request = RequestBuilder::new(Role::Worker, model, 100).user(text).build();
        let usage = Usage {
            input_tokens: (request.input_bound(model) as f64 * input) as u64,
            output_tokens: output,
            service_tier: Some("batch".to_owned()),
            inference_geo: us.then(|| "us".to_owned()),
            ..Usage::default()
        };
        let cost = model.prices.cost(&usage);
        prop_assert!(cost <= request.worst_case_in_batch(model));
        prop_assert!(request.worst_case_in_batch(model) <= request.worst_case(model) + 2);
    }
}

#[test]
fn an_endless_line_is_an_error_and_not_a_heap() {
    let mut lines = Lines::default();
    let megabyte = vec![b'a'; 1024 * 1024];
    let ended = (0..10).find(|_| lines.push(&megabyte, |_| {}).is_err());
    assert_eq!(ended, Some(8));
}
