#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::claude::headers::rfc3339_ms;
use crate::claude::models::Catalogue;
use crate::claude::request::{RequestBuilder, Role};

/// 2026-11-22T12:00:00Z
const NOW: u64 = 1_795_348_800_000;

fn envelope(kind: &str, message: &str, code: Option<&str>) -> Vec<u8> {
    let details = code.map_or(Value::Null, |code| json!({"error_code": code}));
    json!({"type": "error", "error": {"type": kind, "message": message, "details": details}, "request_id": "req_body"})
        .to_string()
        .into_bytes()
}

fn judged(status: u16, kind: &str, message: &str, code: Option<&str>) -> CallError {
    classify(
        status,
        &Headers::none(),
        &envelope(kind, message, code),
        NOW,
    )
}

const BACKOFF: ErrorClass = ErrorClass::RetryAfter { after_ms: None };
const STOP: ErrorClass = ErrorClass::Stop {
    resumes_at_ms: None,
};

/// Status, type, message and machine code, and what must come of them.
type Case = (
    u16,
    &'static str,
    &'static str,
    Option<&'static str>,
    ErrorClass,
    ErrorCode,
);

#[rustfmt::skip]
fn documented() -> Vec<Case> {
    use ErrorClass::{GiveUp, Reshape};
    use ErrorCode as Code;
    const INVALID: &str = "invalid_request_error";
    vec![
        (400, INVALID, "max_tokens: Field required", None, GiveUp, Code::InvalidRequest),
        (400, INVALID, "prompt is too long: 208904 tokens > 200000 maximum", None, GiveUp, Code::PromptTooLong),
        (400, INVALID, "input length and `max_tokens` exceed context limit: 190000 + 64000 > 200000", None, GiveUp, Code::PromptTooLong),
        (400, INVALID, "Schema is too complex for compilation.", None, Reshape, Code::SchemaRefused),
        (400, INVALID, "output_config.format.schema: For 'integer' type, property 'minimum' is not supported", None, Reshape, Code::SchemaRefused),
        (400, INVALID, "The compiled grammar is too large, which would cause performance issues.", None, Reshape, Code::SchemaRefused),
        (400, INVALID, "Schemas contains too many optional parameters (87)", None, Reshape, Code::SchemaRefused),
        (400, INVALID, "x", Some("organization_on_hold"), STOP, Code::OrganizationOnHold),
        (400, INVALID, "This organization has been disabled.", None, STOP, Code::OrganizationOnHold),
        (400, INVALID, "Your credit balance is too low to access the Anthropic API.", None, STOP, Code::BillingFailed),
        (401, "authentication_error", "invalid x-api-key", None, STOP, Code::AuthenticationFailed),
        (402, "billing_error", "payment failed", None, STOP, Code::BillingFailed),
        (402, "billing_error", "x", Some("linked_organization_spend_limit_reached"), STOP, Code::BillingFailed),
        (403, "permission_error", "Your API key does not have permission", None, STOP, Code::PermissionDenied),
        (403, "permission_error", "Request not allowed", None, BACKOFF, Code::RequestBlocked),
        (403, "forbidden", "Request not allowed", None, BACKOFF, Code::RequestBlocked),
        (403, "permission_error", "x", Some("cmek_key_disabled"), STOP, Code::EncryptionKeyUnusable),
        (404, "not_found_error", "model: claude-nothing", None, GiveUp, Code::ModelNotFound),
        (404, "not_found_error", "Not found", None, GiveUp, Code::NotFound),
        (408, "timeout_error", "x", None, BACKOFF, Code::RequestTimeout),
        (409, "conflict_error", "x", None, BACKOFF, Code::Conflict),
        (413, "request_too_large", "x", None, GiveUp, Code::RequestTooLarge),
        (418, "teapot", "x", None, GiveUp, Code::UnexpectedStatus),
        (429, "rate_limit_error", "This request would exceed your account's rate limit.", None, BACKOFF, Code::RateLimited),
        (429, "rate_limit_error", "x", Some("ramp_limit_exceeded"), BACKOFF, Code::RampLimited),
        (429, "rate_limit_error", "x", Some("contract_spend_limit_reached"), STOP, Code::ContractSpendLimitReached),
        (500, "api_error", "Internal server error", None, BACKOFF, Code::ServerError),
        (502, "api_error", "x", None, BACKOFF, Code::ServerError),
        (503, "api_error", "x", Some("cmek_context_unavailable"), BACKOFF, Code::Unavailable),
        (503, "overloaded_error", "Overloaded", None, BACKOFF, Code::Overloaded),
        (504, "timeout_error", "x", None, BACKOFF, Code::GatewayTimeout),
        (529, "overloaded_error", "Overloaded", None, BACKOFF, Code::Overloaded),
    ]
}

#[test]
fn every_documented_error_has_its_class_and_code() {
    for (status, kind, message, code, class, expected) in documented() {
        let error = judged(status, kind, message, code);
        assert_eq!(
            (error.class, error.code),
            (class, expected),
            "{status} {kind} {message}"
        );
        assert_eq!(error.status, Some(status));
        assert_eq!(error.request_id.as_deref(), Some("req_body"));
        assert!(!error.possibly_paid, "the API says it failed: {status}");
        let slow = matches!(expected, ErrorCode::Overloaded | ErrorCode::RampLimited);
        assert_eq!(error.slow_class, slow, "{status} {kind}");
    }
}

#[test]
fn spend_limits_say_when_the_account_works_again() {
    let month = rfc3339_ms("2026-12-01T00:00:00Z");
    let tier = judged(
        429,
        "rate_limit_error",
        "x",
        Some("enforced_spend_limit_reached"),
    );
    assert_eq!(tier.code, ErrorCode::SpendLimitReached);
    assert_eq!(
        tier.class,
        ErrorClass::Stop {
            resumes_at_ms: month
        }
    );
    assert!(tier.stops_everything());

    let text = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.";
    let own = judged(400, "invalid_request_error", text, None);
    assert_eq!(own.code, ErrorCode::UsageLimitReached);
    assert_eq!(
        own.class,
        ErrorClass::Stop {
            resumes_at_ms: month
        }
    );
    let workspace = "You have reached your specified workspace API usage limits.";
    assert_eq!(
        judged(400, "invalid_request_error", workspace, None).class,
        STOP
    );
}

#[test]
fn the_servers_time_is_kept() {
    let headers: Headers = [("retry-after", "12"), ("request-id", "req_head")]
        .into_iter()
        .collect();
    let error = classify(429, &headers, &envelope("rate_limit_error", "x", None), NOW);
    assert_eq!(
        error.class,
        ErrorClass::RetryAfter {
            after_ms: Some(12_000)
        }
    );
    assert_eq!(error.request_id.as_deref(), Some("req_head"));
}

#[test]
fn the_servers_advice_overrules_the_status_but_not_a_spend_limit() {
    let yes: Headers = [("x-should-retry", "true")].into_iter().collect();
    let no: Headers = [("x-should-retry", "false")].into_iter().collect();
    let at = |status, headers: &Headers, kind, code| {
        classify(status, headers, &envelope(kind, "x", code), NOW).class
    };
    assert_eq!(at(400, &yes, "invalid_request_error", None), BACKOFF);
    assert_eq!(at(403, &yes, "permission_error", None), BACKOFF);
    // It speaks of the SDK's quick retries there, not of the request.
    for (status, kind) in [
        (500, "api_error"),
        (429, "rate_limit_error"),
        (529, "overloaded_error"),
    ] {
        assert_eq!(at(status, &no, kind, None), BACKOFF, "{status}");
    }
    assert_eq!(at(409, &no, "conflict_error", None), ErrorClass::GiveUp);
    assert_eq!(
        at(400, &no, "invalid_request_error", None),
        ErrorClass::GiveUp
    );
    assert!(matches!(
        at(
            429,
            &yes,
            "rate_limit_error",
            Some("enforced_spend_limit_reached")
        ),
        ErrorClass::Stop { .. }
    ));
    let odd: Headers = [("x-should-retry", "maybe")].into_iter().collect();
    assert_eq!(at(500, &odd, "api_error", None), BACKOFF);
}

#[test]
fn bodies_that_are_not_the_apis_are_tolerated_and_quoted_without_keys() {
    for body in [
        "",
        "<html>502 Bad Gateway sk-ant-secret</html>",
        "null",
        "[]",
        "{\"error\":\"text\"}",
        "{\"error\":{}}",
    ] {
        let error = classify(502, &Headers::none(), body.as_bytes(), NOW);
        assert_eq!(error.code, ErrorCode::ServerError, "{body}");
        assert!(error.message.starts_with("HTTP 502"), "{}", error.message);
        assert!(!error.message.contains("sk-ant-"), "{}", error.message);
        assert!(
            !error.possibly_paid,
            "a gateway that gave no answer bills none"
        );
        let late = classify(524, &Headers::none(), body.as_bytes(), NOW);
        assert!(late.possibly_paid, "the model may have gone on");
    }
    let error = classify(413, &Headers::none(), b"<html>", NOW);
    assert_eq!(
        (error.class, error.code),
        (ErrorClass::GiveUp, ErrorCode::RequestTooLarge)
    );
    let error = classify(403, &Headers::none(), b"<html>", NOW);
    assert_eq!(
        (error.class, error.code),
        (BACKOFF, ErrorCode::RequestBlocked),
        "not the key's fault"
    );
}

#[test]
fn errors_in_a_stream_are_judged_by_their_type() {
    let cases = [
        ("overloaded_error", ErrorCode::Overloaded, BACKOFF),
        ("api_error", ErrorCode::ServerError, BACKOFF),
        ("rate_limit_error", ErrorCode::RateLimited, BACKOFF),
        ("timeout_error", ErrorCode::GatewayTimeout, BACKOFF),
        (
            "authentication_error",
            ErrorCode::AuthenticationFailed,
            STOP,
        ),
        ("something_new", ErrorCode::ServerError, BACKOFF),
        // The request was taken, so it is the structured output that failed.
        (
            "invalid_request_error",
            ErrorCode::SchemaRefused,
            ErrorClass::Reshape,
        ),
    ];
    for (kind, code, class) in cases {
        let data = String::from_utf8(envelope(kind, "Invalid request data", None)).unwrap();
        let error = stream_error(&data, &Headers::none(), NOW);
        assert_eq!((error.code, error.class), (code, class), "{kind}");
        assert!(error.possibly_paid);
        assert_eq!(error.status, Some(200));
    }
}

#[test]
fn reshaping_is_for_requests_with_a_schema() {
    let models = Catalogue::load(None).unwrap();
    let builder = RequestBuilder::new(Role::Worker, models.listed("haiku").unwrap(), 100).user("x");
    let refused = judged(
        400,
        "invalid_request_error",
        "Schema is too complex for compilation.",
        None,
    );
    let with = builder
        .clone()
        .format(Some(json!({"type": "object"})))
        .build();
    assert_eq!(
        refused.clone().for_request(&with).class,
        ErrorClass::Reshape
    );
    let without = refused.for_request(&builder.build());
    assert_eq!(
        (without.class, without.code),
        (ErrorClass::GiveUp, ErrorCode::InvalidRequest)
    );
}

#[test]
fn transport_faults_tell_what_may_have_been_paid() {
    let cases = [
        (TransportFault::NotSent, ErrorCode::ConnectionFailed, false),
        (TransportFault::Lost, ErrorCode::ConnectionLost, true),
        (TransportFault::TimedOut, ErrorCode::TimedOut, true),
    ];
    for (fault, code, paid) in cases {
        let error = transport_error(fault, "network connection lost");
        assert_eq!(
            (error.code, error.class, error.possibly_paid),
            (code, BACKOFF, paid)
        );
        assert_eq!(
            error.to_string(),
            format!("{code}: network connection lost")
        );
    }
    assert!(not_a_message(&Headers::none()).possibly_paid);
}

#[test]
fn a_refusal_is_paid_for_and_final() {
    let body = json!({"content": [], "stop_reason": "refusal", "usage": {"output_tokens": 4},
        "stop_details": {"type": "refusal", "category": "bio", "explanation": "not this"}});
    let error = unusable(&Message::from_value(&body).unwrap()).unwrap();
    assert_eq!(
        (error.code, error.class),
        (ErrorCode::Refused, ErrorClass::GiveUp)
    );
    assert_eq!(error.message, "the model refused (bio): not this");
    assert_eq!(error.usage.unwrap().output_tokens, 4);
    assert!(error.code.depends_on_input());
    let fine = json!({"content": [], "stop_reason": "end_turn", "usage": {}});
    assert_eq!(unusable(&Message::from_value(&fine).unwrap()), None);
}

#[test]
fn a_code_inside_the_message_counts() {
    let message = r#"litellm.RateLimitError: {\"error_code\":\"enforced_spend_limit_reached\"}"#;
    let body = serde_json::json!({"error": {"message": message, "type": "None", "code": "429"}});
    let error = classify(429, &Headers::none(), body.to_string().as_bytes(), NOW);
    assert_eq!(error.code, ErrorCode::SpendLimitReached);
    assert!(error.stops_everything());
}

#[test]
fn other_servers_errors_say_what_they_said() {
    let body = br#"{"detail":[{"loc":["body","output_config"],"msg":"Extra inputs"}]}"#;
    let error = classify(422, &Headers::none(), body, NOW);
    assert_eq!(error.code, ErrorCode::InvalidRequest);
    assert!(error.message.contains("Extra inputs"), "{}", error.message);
}

#[test]
fn classes_are_stored_and_read_back() {
    for class in [
        BACKOFF,
        ErrorClass::RetryNow,
        ErrorClass::Reshape,
        ErrorClass::GiveUp,
        ErrorClass::Stop {
            resumes_at_ms: Some(5),
        },
    ] {
        let text = serde_json::to_string(&class).unwrap();
        assert_eq!(serde_json::from_str::<ErrorClass>(&text).unwrap(), class);
    }
}

proptest! {
    #[test]
    fn no_response_panics_and_no_key_gets_out(
        status in any::<u16>(),
        names in prop::collection::vec(("(request-id|retry-after|retry-after-ms|x-should-retry|x)", "\\PC{0,30}"), 0..4),
        kind in "(overloaded_error|invalid_request_error|permission_error|\\PC{0,10})",
        message in "\\PC{0,80}(regain access on |usage limits|sk-ant-api03-xyz)?\\PC{0,40}",
        raw in prop::option::of(prop::collection::vec(any::<u8>(), 0..100)),
        now in any::<u64>(),
    ) {
        let headers: Headers = names.into_iter().collect();
        let body = raw.unwrap_or_else(|| envelope(&kind, &message, None));
        let error = classify(status, &headers, &body, now);
        prop_assert!(!error.message.contains("sk-ant-"));
        prop_assert!(error.message.chars().count() <= 300);
        let _ = stream_error(&String::from_utf8_lossy(&body), &headers, now);
    }
}
