//! The questions to Claude, asked of the stand-in: it agrees, and what differs is seen.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use serde_json::{Value, json};
use standin::{Config, Standin};
use xtask::verify_claude::{Finding, Session, Verdict, findings, fixture};

const MODEL: &str = "claude-haiku-4-5";

fn asked(changes: Value) -> (Vec<Finding>, Value) {
    let mut all = json!({"batch_ms": 1});
    all.as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    let standin = Standin::start(Config::default().with(&all).unwrap()).unwrap();
    let mut session = Session::new(&standin.url(), "sk-test");
    let findings = findings(&mut session, MODEL, Duration::from_secs(10)).unwrap();
    let fixture = fixture(&session, &findings);
    (findings, fixture)
}

fn verdict(findings: &[Finding], question: &str) -> Verdict {
    let found = findings.iter().find(|f| f.question.contains(question));
    found.unwrap().verdict
}

#[test]
fn the_stand_in_agrees_with_what_is_assumed() {
    let (findings, fixture) = asked(json!({"api_key": "sk-test"}));
    for finding in &findings {
        let open = finding.question == "headers of a 429";
        let wanted = if open { Verdict::Open } else { Verdict::Agrees };
        assert_eq!(finding.verdict, wanted, "{finding:?}");
    }
    let exchanges = fixture["exchanges"].as_array().unwrap();
    assert!((10..=20).contains(&exchanges.len()), "{}", exchanges.len());
    assert!(
        !fixture.to_string().contains("sk-test"),
        "the key is in the fixture"
    );
    let first = &exchanges[2]["response"]["headers"];
    assert!(first["anthropic-ratelimit-requests-limit"].is_string());
}

#[test]
fn what_differs_is_seen() {
    let modes = "usage_missing,zero_rate_limit,prose,two_keys_400,cancel_ended_409";
    let (findings, _) = asked(json!({"modes": modes}));
    for question in [
        "with a schema",
        "counts in the usage",
        "rate limit headers",
        "together",
    ] {
        assert_eq!(verdict(&findings, question), Verdict::Differs, "{question}");
    }
    assert_eq!(
        verdict(&findings, "cancelling"),
        Verdict::Agrees,
        "a 4xx is expected"
    );
    let refused = json!({"rules": [{"fault": "429", "retry_after_s": 7, "times": 1}]});
    assert_eq!(verdict(&asked(refused).0, "429"), Verdict::Agrees);
}

#[test]
fn an_endpoint_without_batches_and_models_leaves_questions_open() {
    let (findings, _) = asked(json!({"modes": "no_batches,no_models,no_count_tokens"}));
    for question in ["models", "mixed text", "cancelling"] {
        assert_eq!(verdict(&findings, question), Verdict::Open, "{question}");
    }
}
