//! Prompt caching: what the calls of a stage begin with is paid for once, and nobody waits for that for ever. The stand-in
//! plays the cache by the API's rules: an entry is written at a mark, readable once the writer's answer has begun, and
//! lives five minutes from its last use.

use fanwise::app::job::commands;
use fanwise::core::plan::spec::Limits;
use serde_json::{Map, Value, json};

use crate::flows::{over, stages, texts};
use crate::stages::Story;
use crate::world::{START, TENANT, job};

const MINUTE: i64 = 60_000;

/// Some 4,000 tokens: the stand-in has 2.5 letters to a token.
fn material() -> String {
    "Billing: money. Login: access. Bug: it does not work. Shipping: parcels.\n".repeat(137)
}

/// One item a task, no synthesis. All calls may wait for their heads at once, so that only the cache holds one back.
fn begin(claude: Value, vars: &[(&str, &str)], items: usize, limits: Value) -> Story {
    let mut plan = stages(1);
    plan.as_array_mut().unwrap().truncate(1);
    let body = json!({"stages": plan, "context": material(), "limits": limits});
    let vars = [vars, &[("CONNECTIONS", "1000")]].concat();
    Story::begin(claude, &vars, &texts(items), body)
}

fn attempts(story: &Story) -> Vec<Map<String, Value>> {
    story.world.query(
        "SELECT idx, n, cache, cache_read_tokens AS r, cache_write_tokens AS w, input_tokens AS i, cost_nano, started_at,
           reserved_input, status, error_class FROM attempts ORDER BY started_at, id",
    )
}

fn int(row: &Map<String, Value>, name: &str) -> i64 {
    row[name].as_i64().unwrap()
}

/// Calls that wrote.
fn writers(story: &Story) -> Vec<Map<String, Value>> {
    let mut rows = attempts(story);
    rows.retain(|row| int(row, "w") > 0);
    rows
}

#[test]
fn a_thousand_tasks_pay_for_what_they_share_once() {
    let story = begin(json!({}), &[], 1_000, json!({}));
    let view = story.until_over();
    assert_eq!(
        (view.state.as_str(), view.usage.calls),
        ("succeeded", 1_000)
    );
    let rows = attempts(&story);
    let written: i64 = rows.iter().map(|row| int(row, "w")).sum();
    assert!(written > 4_000, "{written}");
    assert_eq!(writers(&story).len(), 1);
    // All others read the very same, and so says the job.
    for row in rows.iter().filter(|row| int(row, "w") == 0) {
        assert_eq!(
            (int(row, "r"), &row["cache"]),
            (written, &json!("5m")),
            "{row:?}"
        );
    }
    let usage = &view.usage;
    assert_eq!(usage.cache_creation_input_tokens as i64, written);
    assert_eq!(usage.cache_read_input_tokens as i64, written * 999);
    // Haiku's prices: 100 for plain input, 125 to write it, 10 to read it.
    let saved = (written * 999 * 90 - written * 25) as f64 / 1e9;
    assert!(
        (view.cost.cache_saved_usd - saved).abs() < 1e-9,
        "{:?}",
        view.cost
    );
    let stats = story.stats();
    let charged = stats["cost_usd"].as_f64().unwrap();
    assert!((charged - view.cost.spent_usd).abs() < 1e-6, "{charged}");
}

#[test]
fn nobody_else_is_sent_before_the_head_of_the_one_that_writes() {
    let story = begin(json!({}), &[], 60, json!({}));
    story.until_over();
    let rows = attempts(&story);
    // The head comes after 30 % of 200 ms.
    let head = int(&rows[0], "started_at") + 60;
    assert!(int(&rows[0], "w") > 0);
    assert!(rows[1..].iter().all(|row| int(row, "started_at") >= head));
    // And they go at once then, not when its answer is whole.
    let soon = rows
        .iter()
        .filter(|row| int(row, "started_at") < head + 100);
    assert!(soon.count() >= 50);
}

#[test]
fn another_job_finds_what_an_earlier_one_wrote() {
    let story = begin(json!({}), &[], 30, json!({}));
    story.until_over();
    let mut plan = stages(1);
    plan.as_array_mut().unwrap().truncate(1);
    let others: Vec<String> = (0..30)
        .map(|n| format!("The invoice {n} is wrong"))
        .collect();
    let body = json!({"stages": plan, "context": material()});
    let id = story.world.submit(&story.app, job(&others, body)).job.id;
    story
        .world
        .run(&story.app, 10_000, 10 * MINUTE, || over(&story.world, &id));
    assert_eq!(attempts(&story).len(), 60);
    assert_eq!(writers(&story).len(), 1);
}

#[test]
fn an_identical_job_costs_nothing_however_its_calls_were_marked() {
    let story = begin(json!({}), &[], 20, json!({}));
    story.until_over();
    let mut plan = stages(1);
    plan.as_array_mut().unwrap().truncate(1);
    let body = json!({"stages": plan, "context": material()});
    let plain = story.world.app(&[("PROMPT_CACHE", "off")]);
    let id = story.world.submit(&plain, job(&texts(20), body)).job.id;
    story
        .world
        .run(&plain, 10_000, 10 * MINUTE, || over(&story.world, &id));
    assert_eq!(attempts(&story).len(), 20);
}

#[test]
fn without_the_cache_nothing_is_marked_and_nobody_waits() {
    let story = begin(json!({}), &[("PROMPT_CACHE", "off")], 40, json!({}));
    let view = story.until_over();
    let rows = attempts(&story);
    assert!(rows.iter().all(|row| row["cache"].is_null()));
    assert_eq!(view.cost.cache_saved_usd, 0.0);
    let first = int(&rows[0], "started_at");
    assert!(
        rows.iter()
            .filter(|row| int(row, "started_at") == first)
            .count()
            > 30
    );
}

#[test]
fn what_one_task_alone_would_read_is_not_written() {
    let story = begin(json!({}), &[], 1, json!({}));
    story.until_over();
    assert!(attempts(&story)[0]["cache"].is_null());
}

#[test]
fn a_context_can_be_a_stage_s_own_or_none() {
    let mut plan = stages(1);
    plan[0]["context"] = json!("");
    plan[1]["context"] = json!("A word of our own.");
    let body = json!({"stages": plan, "context": material()});
    let story = Story::begin(json!({}), &[], &texts(4), body);
    story.until_over();
    let calls = story.world.claude().stats().calls(100, true);
    for call in calls.as_array().unwrap() {
        let system = call["body"]["system"].to_string();
        assert!(!system.contains("parcels"));
        let own = system.contains("A word of our own.");
        assert_eq!(own, call["role"] == "synthesis", "{system}");
    }
}

#[test]
fn when_what_was_written_has_aged_one_call_writes_it_again() {
    let story = begin(json!({}), &[], 200, json!({"concurrency": 5}));
    story.until_done(0, 50);
    let (app, id) = (story.app.clone(), story.id.clone());
    story
        .world
        .block_on(async move { commands::pause(&app, TENANT, &id).await.unwrap() });
    let until = story.world.now() + 10 * MINUTE;
    story.world.run(&story.app, 10_000, 20 * MINUTE, || {
        story.world.now() >= until
    });
    let (app, id) = (story.app.clone(), story.id.clone());
    story
        .world
        .block_on(async move { commands::resume(&app, TENANT, &id).await.unwrap() });
    assert_eq!(story.until_over().state, "succeeded");
    let wrote = writers(&story);
    assert_eq!(wrote.len(), 2, "{wrote:?}");
    assert!(int(&wrote[1], "started_at") >= until);
}

#[test]
fn reading_is_free_of_the_input_limit_and_the_governor_knows() {
    // Without the cache 200 calls of some 4,700 tokens would take nine minutes at this limit.
    let limits = json!({"limits": {"rpm": 10_000, "itpm": 100_000, "otpm": 1_000_000}});
    let story = begin(limits, &[], 200, json!({}));
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    let refused = story.world.query("SELECT SUM(refused) AS n FROM classes");
    assert_eq!(int(&refused[0], "n"), 0);
    let took = story.world.now() - START;
    assert!(took < 2 * MINUTE, "{took}");
    // What is reserved for a reader is what comes after the prefix.
    for row in attempts(&story).iter().filter(|row| int(row, "r") > 0) {
        assert!(int(row, "reserved_input") < 1_500, "{row:?}");
        assert!(int(row, "reserved_input") >= int(row, "i"), "{row:?}");
    }
}

#[test]
fn a_lead_that_fails_makes_room_for_another_one() {
    let fault = json!({"rules": [{"match": {"role": "worker"}, "fault": "reset", "times": 1}]});
    let story = begin(fault, &[], 50, json!({}));
    assert_eq!(story.until_over().state, "succeeded");
    assert_eq!(writers(&story).len(), 1);
    assert_eq!(attempts(&story).len(), 51);
}

#[test]
fn a_lead_that_was_turned_away_for_load_does_not_count() {
    let fault =
        json!({"rules": [{"match": {"role": "worker"}, "fault": "overloaded", "times": 5}]});
    let story = begin(fault, &[], 50, json!({}));
    assert_eq!(story.until_over().state, "succeeded");
    let rows = attempts(&story);
    assert!(
        rows.iter().all(|row| row["cache"] == "5m"),
        "some went without"
    );
    assert_eq!(writers(&story).len(), 1);
}

#[test]
fn calls_whose_heads_do_not_come_hold_nobody_for_good() {
    for hanging in [1, 3] {
        let fault =
            json!({"rules": [{"match": {"role": "worker"}, "fault": "hang", "times": hanging}]});
        let vars = [("CACHE_PATIENCE_MS", "5000"), ("CALL_TIMEOUT_MS", "400000")];
        let story = begin(fault, &vars, 50, json!({}));
        story.until_done(0, 50 - hanging);
        // All but those that hang: after so many times the patience, not after a call's whole time.
        let took = story.world.now() - START;
        assert!(took >= hanging * 5_000, "{took}");
        assert!(took < hanging * 5_000 + 15_000, "{took}");
        let plain = attempts(&story)
            .iter()
            .filter(|row| row["cache"].is_null())
            .count();
        if hanging == 3 {
            // Three in a row are enough: the others go as if there were no cache.
            assert_eq!(plain, 47);
        } else {
            assert_eq!((plain, writers(&story).len()), (0, 1));
        }
        assert_eq!(story.until_over().state, "succeeded");
    }
}

#[test]
fn a_consumer_that_dies_with_the_lead_takes_nobody_along() {
    let slow = json!({"latency_ms": 10_000});
    let story = begin(slow, &[], 30, json!({}));
    let open = || {
        !story
            .world
            .query("SELECT 1 FROM attempts WHERE state = 'open'")
            .is_empty()
    };
    story.world.run(&story.app, 10_000, MINUTE, open);
    // Its head has not come.
    story.world.kill_consumers();
    let view = story.until_over();
    assert_eq!(view.state, "succeeded");
    // Its end was not seen: it is possibly paid, what it would have written with it.
    let unknown = story
        .world
        .query("SELECT reserved_nano, cache FROM attempts WHERE state = 'unknown'");
    assert_eq!((unknown.len(), &unknown[0]["cache"]), (1, &json!("5m")));
    let possibly = (view.cost.possibly_paid_usd * 1e9).round() as i64;
    assert_eq!(possibly, int(&unknown[0], "reserved_nano"));
    assert!(writers(&story).len() <= 1);
}

#[test]
fn a_gateway_that_takes_no_marks_gets_none() {
    let fault = json!({"rules": [{"match": {"role": "worker"}, "fault": "mark_refused"}]});
    let story = begin(fault, &[], 30, json!({"max_attempts": 1}));
    assert_eq!(story.until_over().state, "succeeded");
    let rows = attempts(&story);
    let marked = rows.iter().filter(|row| !row["cache"].is_null());
    assert_eq!((marked.count(), rows.len()), (1, 31));
}

#[test]
fn what_is_too_short_for_whoever_answers_is_marked_once() {
    // The catalogue thinks it long enough, the stand-in does not.
    let short = (
        "MODELS_JSON",
        r#"{"models": {"claude-haiku-5-5": {"min_cacheable_tokens": 100}}}"#,
    );
    let mut plan = stages(1);
    plan.as_array_mut().unwrap().truncate(1);
    let story = Story::begin(
        json!({}),
        &[short],
        &texts(40),
        json!({"stages": plan, "limits": {"concurrency": 5}}),
    );
    assert_eq!(story.until_over().state, "succeeded");
    let rows = attempts(&story);
    assert!(rows.iter().all(|row| int(row, "r") + int(row, "w") == 0));
    // Its own, and those that went before its end was known.
    assert!(rows.last().unwrap()["cache"].is_null());
}

#[test]
fn a_cap_holds_with_what_is_written_and_read() {
    for cap in [0.0045, 0.006, 0.02] {
        let story = begin(json!({}), &[], 100, json!({"max_cost_usd": cap}));
        let view = story.until_over();
        let charged = story.stats()["cost_usd"].as_f64().unwrap();
        assert!(charged <= cap, "{charged} of {cap}");
        assert!(view.usage.calls > 0);
    }
}

#[test]
fn readers_of_a_tree_share_what_they_begin_with() {
    let small = (
        "MODELS_JSON",
        r#"{"models": {"claude-opus-5-5": {"context_tokens": 20700}, "claude-haiku-5-5": {"context_tokens": 24000}}}"#,
    );
    let mut plan = stages(10);
    plan[0]["max_tokens"] = json!(1_000);
    plan[0]["context"] = json!("");
    let body = json!({"stages": plan, "context": &material()[..3_000]});
    let story = Story::begin(json!({}), &[small], &texts(1_200), body);
    assert_eq!(story.until_over().state, "succeeded");
    let rows = story.world.query(
        "SELECT SUM(cache_write_tokens > 0) AS wrote, SUM(cache_read_tokens > 0) AS read, COUNT(*) AS calls
         FROM attempts WHERE role = 'reduce'",
    );
    let (wrote, read, calls) = (
        int(&rows[0], "wrote"),
        int(&rows[0], "read"),
        int(&rows[0], "calls"),
    );
    assert!(calls >= 3, "{calls}");
    assert_eq!((wrote, read), (1, calls - 1));
    let none = story
        .world
        .query("SELECT 1 FROM attempts WHERE role <> 'reduce' AND cache IS NOT NULL");
    assert!(none.is_empty());
}

#[test]
fn a_retry_of_what_a_budget_left_out_goes_on_with_the_cache() {
    let story = begin(
        json!({}),
        &[],
        60,
        json!({"max_cost_usd": 0.008, "concurrency": 2}),
    );
    let first = story.until_over();
    assert_eq!(first.state, "partial", "{first:?}");
    story.retry(Limits {
        max_cost_usd: Some(1.0),
        ..Limits::default()
    });
    assert_eq!(story.until_over().state, "succeeded");
    assert_eq!(writers(&story).len(), 1);
}

#[test]
fn what_was_expected_holds_what_it_cost() {
    let story = begin(json!({}), &[], 300, json!({}));
    let view = story.until_over();
    let rows = story
        .world
        .query("SELECT expected FROM plans WHERE round = 0");
    let expected: Value = serde_json::from_str(rows[0]["expected"].as_str().unwrap()).unwrap();
    let (low, high) = (&expected["cost_usd"]["low"], &expected["cost_usd"]["high"]);
    let range = low.as_f64().unwrap()..high.as_f64().unwrap();
    assert!(
        range.contains(&view.cost.spent_usd),
        "{range:?} {:?}",
        view.cost
    );
    // And the lower end is one that only the cache comes near.
    let without = view.cost.spent_usd + view.cost.cache_saved_usd;
    assert!(range.start < without / 4.0, "{range:?} {without}");
}
