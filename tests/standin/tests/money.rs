//! What calls cost and what they count against: limits, prompt caching, batches,
//! and the counters that say what was paid twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use common::*;
use serde_json::{Value, json};
use standin::{Config, stats::Ended};

#[test]
fn every_reply_announces_the_limits() {
    let mut bench = bench();
    for reply in [
        bench.messages(&hello()),
        bench.messages(&json!({})),
        bench.send(&get("/v1/models")),
    ] {
        for what in ["requests", "tokens", "input-tokens", "output-tokens"] {
            for part in ["limit", "remaining", "reset"] {
                let name = format!("anthropic-ratelimit-{what}-{part}");
                assert!(!header(&reply, &name).is_empty(), "{name}");
            }
        }
        assert!(header(&reply, "request-id").starts_with("req_011C"));
        assert_eq!(header(&reply, "anthropic-organization-id").len(), 36);
    }
}

#[test]
fn enforced_limits_refuse_with_the_time_to_wait() {
    let mut bench = bench();
    bench.configure(json!({"limits": {"rpm": 600, "itpm": 60_000, "otpm": 60_000, "burst": 0.01}}));
    assert_eq!(
        header(
            &bench.messages(&hello()),
            "anthropic-ratelimit-requests-remaining"
        ),
        "5"
    );
    for _ in 0..5 {
        assert_eq!(bench.messages(&hello()).status, 200);
    }
    let refused = bench.messages(&hello());
    assert_eq!(
        (refused.status, header(&refused, "retry-after")),
        (429, "1")
    );
    let message = json_of(&refused)["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(message.starts_with("This request would exceed your organization's rate limit of 600 requests per minute (org: "), "{message}");
    assert_eq!(bench.stats()["limiter"]["refused"], 1);
    // Another class has its own bucket.
    assert_eq!(
        bench.messages(&hello_with(json!({"model": OPUS}))).status,
        200
    );
    bench.now_ms += 100;
    assert_eq!(bench.messages(&hello()).status, 200);
}

#[test]
fn failures_after_admission_count_against_the_limits_and_cost_nothing() {
    let mut bench = bench();
    bench.configure(
        json!({"limits": {"rpm": 60, "burst": 1.0}, "rules": [{"fault": "500", "times": 1}]}),
    );
    let failed = bench.messages(&hello());
    assert_eq!(
        (
            failed.status,
            header(&failed, "anthropic-ratelimit-requests-remaining")
        ),
        (500, "59")
    );
    assert_eq!(bench.stats()["cost_nano_usd"], 0);
    bench.messages(&hello());
    // 6 tokens in at 100 nano-dollars, the rest out at 500.
    let stats = bench.stats();
    let output = stats["usage"]["output_tokens"].as_u64().unwrap();
    assert_eq!(
        stats["cost_nano_usd"].as_u64().unwrap(),
        6 * 100 + output * 500
    );
}

fn shared(ttl: Option<&str>, question: &str) -> Value {
    let mut mark = json!({"type": "ephemeral"});
    if let Some(ttl) = ttl {
        mark["ttl"] = json!(ttl);
    }
    hello_with(json!({
        "system": [{"type": "text", "text": "Rules. ".repeat(400), "cache_control": mark}],
        "messages": [{"role": "user", "content": question}],
    }))
}

fn cache_usage(bench: &mut Bench, body: &Value) -> (u64, u64, u64) {
    let usage = json_of(&bench.messages(body))["usage"].clone();
    let of = |key: &str| usage[key].as_u64().unwrap();
    (
        of("input_tokens"),
        of("cache_creation_input_tokens"),
        of("cache_read_input_tokens"),
    )
}

const SHARED: u64 = 1_120;

#[test]
fn a_prefix_is_written_once_and_then_read() {
    let mut bench = bench();
    assert_eq!(
        cache_usage(&mut bench, &shared(None, "What?")),
        (2, SHARED, 0)
    );
    assert_eq!(
        cache_usage(&mut bench, &shared(None, "Why so?")),
        (3, 0, SHARED)
    );
    // Another model, another prefix.
    let mut other = shared(None, "What?");
    other["model"] = json!(OPUS);
    assert_eq!(cache_usage(&mut bench, &other), (2, SHARED, 0));
    // Effort invalidates messages only.
    let mut effort = shared(None, "What?");
    effort["output_config"] = json!({"effort": "low"});
    assert_eq!(cache_usage(&mut bench, &effort), (2, 0, SHARED));
}

#[test]
fn an_entry_lives_five_minutes_from_its_last_use_or_an_hour() {
    for (ttl, minutes) in [(None, 5), (Some("1h"), 60)] {
        let mut bench = bench();
        cache_usage(&mut bench, &shared(ttl, "What?"));
        bench.now_ms += minutes * 60_000 - 1;
        assert_eq!(cache_usage(&mut bench, &shared(ttl, "What?")).2, SHARED);
        bench.now_ms += minutes * 60_000 - 1;
        assert_eq!(cache_usage(&mut bench, &shared(ttl, "What?")).2, SHARED);
        bench.now_ms += minutes * 60_000;
        assert_eq!(
            cache_usage(&mut bench, &shared(ttl, "What?")),
            (2, SHARED, 0)
        );
    }
}

#[test]
fn a_herd_that_comes_cold_pays_for_every_copy() {
    let mut bench = Bench::new(Config {
        latency_ms: 1_000,
        first_byte: 0.3,
        ..Config::default()
    });
    for _ in 0..3 {
        assert_eq!(cache_usage(&mut bench, &shared(None, "What?")).1, SHARED);
    }
    bench.now_ms += 299;
    assert_eq!(cache_usage(&mut bench, &shared(None, "What?")).1, SHARED);
    bench.now_ms += 1;
    assert_eq!(cache_usage(&mut bench, &shared(None, "What?")).2, SHARED);
}

#[test]
fn a_warm_call_pays_for_the_herd() {
    let mut bench = bench();
    let mut warm = shared(None, "-");
    warm["max_tokens"] = json!(0);
    assert_eq!(cache_usage(&mut bench, &warm).1, SHARED);
    let reads: u64 = (0..1_000)
        .map(|n| cache_usage(&mut bench, &shared(None, &format!("Question {n}"))).2)
        .sum();
    assert_eq!(reads, 1_000 * SHARED);
}

#[test]
fn what_is_too_short_is_not_cached_and_no_error() {
    let mut bench = bench();
    let mut short = shared(None, "What?");
    short["system"][0]["text"] = json!("Rules. ".repeat(100));
    assert_eq!(cache_usage(&mut bench, &short), (282, 0, 0));
    assert_eq!(cache_usage(&mut bench, &short), (282, 0, 0));
}

#[test]
fn cached_reads_do_not_count_against_the_input_limit() {
    let mut bench = bench();
    bench.configure(json!({"limits": {"itpm": 60_000, "burst": 0.02}}));
    assert_eq!(cache_usage(&mut bench, &shared(None, "What?")).1, SHARED);
    // 80 of 1,200 tokens are left: enough for ten questions, not for a prompt.
    for _ in 0..10 {
        assert_eq!(cache_usage(&mut bench, &shared(None, "What?")).2, SHARED);
    }
    assert_eq!(
        bench
            .messages(&hello_with(json!({"system": "Rules. ".repeat(400)})))
            .status,
        429
    );
}

fn batch_of(n: usize) -> Value {
    let request = |i: usize| json!({"custom_id": format!("r-{i}"), "params": hello_with(json!({"system": format!("{i}")}))});
    json!({"requests": (0..n).map(request).collect::<Vec<_>>()})
}

#[test]
fn a_batch_runs_its_course() {
    let mut bench = Bench::new(Config {
        batch_ms: 10_000,
        ..Config::default()
    });
    let mut body = batch_of(20);
    body["requests"][3]["params"]["nonsense"] = json!(1);
    body["requests"][4]["params"]["max_tokens"] = json!(0);
    let created = json_of(&bench.send(&post("/v1/messages/batches", &body)));
    let id = created["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("msgbatch_"));
    assert_eq!(
        (&created["processing_status"], &created["results_url"]),
        (&json!("in_progress"), &Value::Null)
    );
    let path = format!("/v1/messages/batches/{id}");
    bench.now_ms += 9_999;
    let running = json_of(&bench.send(&get(&path)));
    assert_eq!(
        running["request_counts"],
        json!({"processing": 20, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0})
    );
    assert_eq!(bench.send(&get(&format!("{path}/results"))).status, 404);
    bench.now_ms += 1;
    let ended = json_of(&bench.send(&get(&path)));
    assert_eq!(ended["processing_status"], "ended");
    assert_eq!(
        ended["request_counts"],
        json!({"processing": 0, "succeeded": 18, "errored": 2, "canceled": 0, "expired": 0})
    );
    assert!(
        ended["results_url"]
            .as_str()
            .unwrap()
            .ends_with(&format!("{path}/results"))
    );
    let results = bench.send(&get(&format!("{path}/results")));
    let lines: Vec<Value> = text(&results)
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let ids: Vec<&str> = lines
        .iter()
        .map(|l| l["custom_id"].as_str().unwrap())
        .collect();
    let mut sorted = ids.clone();
    sorted.sort_by_key(|id| id[2..].parse::<u32>().unwrap());
    assert_ne!(ids, sorted, "results come in an order of their own");
    let of = |id: &str| lines.iter().find(|l| l["custom_id"] == id).unwrap()["result"].clone();
    assert_eq!(
        of("r-3")["error"]["error"]["message"],
        "nonsense: Extra inputs are not permitted"
    );
    assert_eq!(of("r-0")["message"]["usage"]["service_tier"], "batch");
    // Half price.
    let usage = bench.stats()["usage"].clone();
    let full = usage["input_tokens"].as_u64().unwrap() * 100
        + usage["output_tokens"].as_u64().unwrap() * 500;
    assert_eq!(bench.stats()["cost_nano_usd"].as_u64().unwrap(), full / 2);
    let gone = with_header(raw("DELETE", &path, Vec::new()), "x", "");
    assert_eq!(json_of(&bench.send(&gone))["type"], "message_batch_deleted");
    assert_eq!(bench.send(&get(&path)).status, 404);
}

#[test]
fn a_cancelled_batch_keeps_what_was_answered() {
    let mut bench = Bench::new(Config {
        batch_ms: 10_000,
        ..Config::default()
    });
    let created = json_of(&bench.send(&post("/v1/messages/batches", &batch_of(10))));
    let path = format!("/v1/messages/batches/{}", created["id"].as_str().unwrap());
    bench.now_ms += 5_000;
    let cancelling = json_of(&bench.send(&raw("POST", &format!("{path}/cancel"), Vec::new())));
    assert_eq!(cancelling["processing_status"], "canceling");
    let ended = json_of(&bench.send(&get(&path)));
    assert_eq!(
        ended["request_counts"],
        json!({"processing": 0, "succeeded": 5, "errored": 0, "canceled": 5, "expired": 0})
    );
    let ids: Vec<Value> = json_of(&bench.send(&get("/v1/messages/batches?limit=1")))["data"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(ids[0]["id"], created["id"]);
}

#[test]
fn a_batch_that_takes_too_long_expires() {
    let mut bench = Bench::new(Config {
        batch_ms: 100_000,
        batch_expires_ms: 30_000,
        ..Config::default()
    });
    let created = json_of(&bench.send(&post("/v1/messages/batches", &batch_of(10))));
    bench.now_ms += 30_000;
    let ended = json_of(&bench.send(&get(&format!(
        "/v1/messages/batches/{}",
        created["id"].as_str().unwrap()
    ))));
    assert_eq!(ended["request_counts"]["expired"], 7);
}

#[test]
fn a_creation_whose_answer_is_lost_still_created() {
    let mut bench = bench();
    bench.configure(json!({"rules": [{"match": {"path": "/v1/messages/batches"}, "fault": "reset", "times": 1}]}));
    assert_eq!(
        bench
            .send(&post("/v1/messages/batches", &batch_of(3)))
            .status,
        0
    );
    let listed = json_of(&bench.send(&get("/v1/messages/batches")));
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}

#[test]
fn bad_batches_are_refused() {
    let message = |body: Value| {
        json_of(&bench().send(&post("/v1/messages/batches", &body)))["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(message(json!({})), "requests: Field required");
    assert!(message(json!({"requests": []})).contains("at least 1 item"));
    assert_eq!(
        message(json!({"requests": [{"params": {}}]})),
        "requests.0.custom_id: Field required"
    );
    let mut twice = batch_of(2);
    twice["requests"][1]["custom_id"] = json!("r-0");
    assert!(message(twice).contains("must be unique"));
    let mut odd = batch_of(1);
    odd["requests"][0]["custom_id"] = json!("a b");
    assert_eq!(
        message(odd),
        "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"
    );
}

#[test]
fn answers_that_were_paid_twice_are_counted() {
    let mut bench = bench();
    bench.messages(&hello());
    assert_eq!(bench.stats()["paid_twice"]["answers"], 0);
    bench.messages(&hello());
    assert_eq!(bench.stats()["paid_twice"]["answers"], 1);
    // A spoiled answer is not one to keep: asking again pays once.
    let other = hello_with(json!({"system": "other"}));
    bench.configure(json!({"rules": [{"fault": "malformed", "times": 1}]}));
    bench.messages(&other);
    bench.messages(&other);
    assert_eq!(bench.stats()["paid_twice"]["answers"], 1);
}

#[test]
fn what_was_in_the_air_at_a_kill_is_counted_apart() {
    let mut bench = Bench::new(Config {
        latency_ms: 500,
        ..Config::default()
    });
    let body = post("/v1/messages", &hello());
    let reply = bench.engine.handle(&body, 1_000);
    assert_eq!(bench.stats()["in_flight"], 1);
    assert_eq!(bench.engine.stats_mut().mark(1_200, 100), 1);
    bench.engine.ended(reply.number, Ended::Complete, 1_500);
    bench.now_ms = 9_000;
    bench.messages(&hello());
    let stats = bench.stats();
    assert_eq!(
        (
            &stats["paid_twice"]["answers"],
            &stats["paid_twice"]["after_kill"]
        ),
        (&json!(0), &json!(1))
    );
    // The one after that is nobody's excuse.
    bench.messages(&hello());
    assert_eq!(bench.stats()["paid_twice"]["answers"], 1);
}

#[test]
fn calls_are_counted_by_task() {
    let mut bench = bench();
    let mut call = post("/v1/messages", &hello());
    for (name, value) in [
        ("x-fanwise-role", "worker"),
        ("x-fanwise-job", "job_1"),
        ("x-fanwise-task", "4"),
    ] {
        call = with_header(call, name, value);
    }
    bench.configure(json!({"rules": [{"match": {"task": "4"}, "fault": "529", "times": 1}]}));
    bench.send(&call);
    bench.send(&call);
    let gone = bench.engine.handle(&call, bench.now_ms);
    bench
        .engine
        .ended(gone.number, Ended::ClientGone, bench.now_ms);
    let stats = bench.stats();
    assert_eq!(
        stats["tasks"]["job_1/4"],
        json!({"calls": 3, "good": 1, "client_gone": 1, "statuses": {"200": 2, "529": 1}})
    );
    assert_eq!(stats["calls"]["by_role"], json!({"worker": 3}));
    assert_eq!(
        stats["answers"]["client_gone_by_role"],
        json!({"worker": 1})
    );
}
