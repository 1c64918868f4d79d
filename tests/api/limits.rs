//! The governor as callers see it.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::fakes::{Fake, TOKEN, send, service_over};

/// 2026-11-22T12:00:00Z, when the fakes' clock stands still.
const NOW: i64 = 1_795_348_800_000;

fn limits(classes: Vec<Value>, breaker: Value) -> Value {
    let ports = Fake {
        rows: [("limits", classes), ("breaker_row", vec![breaker])].into(),
        ..Fake::default()
    };
    let request = Request::get("/v1/limits")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Body::empty());
    let reply = send(&service_over(ports, Some(TOKEN)), request.unwrap());
    assert_eq!(reply.status, 200);
    reply.json()
}

#[test]
fn levels_are_those_of_this_moment() {
    let class = json!({
        "class": "haiku", "seen": 1, "in_flight": 12, "window": 40.5, "slow_until": NOW + 5_000, "at": NOW - 1_000,
        "requests_limit": 600.0, "requests_cap": 100.0, "requests_level": 10.0,
        "input_limit": 6000000.0, "input_cap": 1000000.0, "input_level": 900000.0,
        "output_limit": 60000.0, "output_cap": 10000.0, "output_level": -2000.0,
        "refused": 3,
    });
    let closed = json!({"state": "closed", "reason": null, "until": 0});
    assert_eq!(
        limits(vec![class], closed),
        json!({
            "classes": [{
                "class": "haiku", "seen": true, "in_flight": 12, "window": 40.5,
                "requests": {"limit_per_minute": 600, "free": 19, "capacity": 90, "full_at": "2026-11-22T12:00:07.248Z"},
                "input_tokens": {"limit_per_minute": 6000000, "free": 900000, "capacity": 900000, "full_at": null},
                "output_tokens": {"limit_per_minute": 60000, "free": -1030, "capacity": 9000, "full_at": "2026-11-22T12:00:10.341Z"},
                "refused": 3, "slow_until": "2026-11-22T12:00:05.000Z",
            }],
            "breaker": {"state": "closed", "reason": null, "until": null},
            "storage": null,
            "left_out": [],
        })
    );
}

#[test]
fn a_class_that_was_never_called_and_an_open_breaker() {
    let class = json!({"class": "opus", "seen": 0, "in_flight": 0, "window": null, "slow_until": 0, "at": 0});
    let open = json!({"state": "open", "reason": "billing", "until": NOW + 60_000});
    let unknown = json!({"limit_per_minute": 0, "free": 0, "capacity": 0, "full_at": null});
    assert_eq!(
        limits(vec![class], open),
        json!({
            "classes": [{
                "class": "opus", "seen": false, "in_flight": 0, "window": null,
                "requests": unknown, "input_tokens": unknown, "output_tokens": unknown,
                "refused": 0, "slow_until": null,
            }],
            "breaker": {"state": "open", "reason": "billing", "until": "2026-11-22T12:01:00.000Z"},
            "storage": null,
            "left_out": [],
        })
    );
}
