//! A job is watched: from its first event to `done`, with a break between, and from a browser.

use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Door, SECRET};
use crate::world::World;

/// The blocks of a stream as `(id, event, data)`.
fn events(text: &str) -> Vec<(Option<u64>, String, Value)> {
    let blocks = text
        .split_terminator("\n\n")
        .filter(|block| block.contains("event: "));
    blocks
        .map(|block| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            (
                field("id: ").map(|id| id.parse().unwrap()),
                field("event: ").unwrap().to_owned(),
                serde_json::from_str(field("data: ").unwrap()).unwrap(),
            )
        })
        .collect()
}

fn states(events: &[(Option<u64>, String, Value)]) -> Vec<&str> {
    let states = events.iter().filter(|(_, event, _)| event == "state");
    states
        .map(|(.., data)| data["state"].as_str().unwrap())
        .collect()
}

#[test]
fn a_finished_job_is_told_from_the_first_event_to_done_and_then_no_more() {
    let door = Door::open(&[]);
    let job = door.submit(SECRET, 3);
    door.finish(&job);
    let path = format!("/v1/jobs/{job}/events");
    let reply = door.get(SECRET, &path).expect(200);
    assert_eq!(reply.header("content-type"), "text/event-stream");
    let told = events(&reply.text);
    assert_eq!(
        states(&told),
        ["queued", "planning", "running", "synthesizing", "succeeded"]
    );
    let (id, event, data) = told.last().unwrap();
    assert_eq!((*id, event.as_str()), (Some(5), "done"));
    assert_eq!(data["state"], "succeeded");
    assert_eq!(data["tasks"]["succeeded"], 3);
    let first = &told[0].2;
    assert_eq!(
        first["at"].as_str().map(|at| &at[..20]),
        Some("2026-11-22T12:00:00.")
    );
    // Whoever lost the line at event 3 gets the rest, and all of it.
    let again = |last: &str| {
        door.call_with(
            SECRET,
            "GET",
            &path,
            &[("last-event-id", last)],
            Value::Null,
        )
    };
    assert_eq!(
        states(&events(&again("3").text)),
        ["synthesizing", "succeeded"]
    );
    assert_eq!(events(&again("4").text).last().unwrap().0, Some(5));
    again("5").expect(204);
    again("x").expect(422);
    let head = door.call(SECRET, "HEAD", &path, Value::Null).expect(200);
    assert!(head.text.is_empty());
    // A new run goes on where the last one ended.
    let cancelled = door.submit(SECRET, 2);
    let path = format!("/v1/jobs/{cancelled}/events");
    door.call(
        SECRET,
        "POST",
        &format!("/v1/jobs/{cancelled}/cancel"),
        Value::Null,
    )
    .expect(200);
    assert_eq!(
        states(&events(&door.get(SECRET, &path).text)),
        ["queued", "cancelled"]
    );
    door.call(
        SECRET,
        "POST",
        &format!("/v1/jobs/{cancelled}/retry"),
        Value::Null,
    )
    .expect(200);
    door.finish(&cancelled);
    let reply = door.call_with(SECRET, "GET", &path, &[("last-event-id", "2")], Value::Null);
    let told = events(&reply.text);
    assert_eq!(states(&told)[0], "queued");
    assert_eq!(told[0].2["run"], 2);
    assert_eq!(told.last().unwrap().1, "done");
}

#[test]
fn a_job_at_work_sends_progress_for_each_look_and_not_for_each_task() {
    let door = Door::open(&[]);
    let job = door.submit(SECRET, 1_000);
    let path = format!("/v1/jobs/{job}/events");
    // The engine and the watcher share the world's clock.
    let (router, world) = (door.router.clone(), door.world.clone());
    let request = axum::http::Request::get(&path)
        .header("authorization", format!("Bearer {SECRET}"))
        .body(axum::body::Body::empty())
        .unwrap();
    let began = world.now();
    let heard: Arc<Mutex<Option<String>>> = Arc::default();
    let told = Arc::clone(&heard);
    let watcher = async move {
        let response = router.oneshot(request).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        *told.lock().unwrap() = Some(String::from_utf8(bytes.to_vec()).unwrap());
    };
    let done = || heard.lock().unwrap().is_some();
    world.run_beside(&door.app, 10_000, 3_600_000, done, watcher);
    let seconds = (world.now() - began) / 1_000;
    let told = events(&heard.lock().unwrap().take().unwrap());
    let progress: Vec<u64> = told
        .iter()
        .filter(|(_, event, _)| event == "progress")
        .map(|(.., data)| data["tasks"]["succeeded"].as_u64().unwrap())
        .collect();
    assert!(
        progress.len() > 2 && progress.len() as i64 <= 2 * (seconds + 1),
        "{progress:?} in {seconds} s"
    );
    assert!(progress.is_sorted(), "{progress:?}");
    let (_, event, data) = told.last().unwrap();
    assert_eq!(
        (event.as_str(), &data["tasks"]["succeeded"]),
        ("done", &json!(1_000))
    );
    let now = door.get(SECRET, &format!("/v1/jobs/{job}")).json();
    assert!(now["usage"]["output_tokens"].as_u64() > Some(0));
    assert_eq!(data["usage"], now["usage"]);
}

#[test]
fn a_job_whose_tasks_all_fail_tells_of_the_first_hundred() {
    let rules = json!({"rules": [{"match": {"role": "worker"}, "fault": "too_long"}]});
    let claude = standin::Config::default().with(&rules).unwrap();
    let door = Door::over(World::new(5, claude), &[]);
    let job = door.submit(SECRET, 300);
    door.finish(&job);
    let told = events(&door.get(SECRET, &format!("/v1/jobs/{job}/events")).text);
    let failed: Vec<&Value> = told
        .iter()
        .filter(|(_, event, _)| event == "task_failed")
        .map(|(.., data)| data)
        .collect();
    assert!((100..=101).contains(&failed.len()), "{}", failed.len());
    assert_eq!(failed[0]["stage"], "classify");
    assert_eq!(failed[0]["items"], 1);
    // Who has no result is named, the first of them.
    let task = failed[0]["task"].as_u64().unwrap();
    let path = format!("/v1/jobs/{job}/tasks/{task}");
    let ids = door.get(SECRET, &path).json()["item_ids"].clone();
    assert_eq!(failed[0]["item_ids"], ids);
    assert!(failed[0]["error"]["code"].is_string());
    assert_eq!(told.last().unwrap().2["tasks"]["failed"], 300);
    let ids: Vec<u64> = told.iter().filter_map(|(id, ..)| *id).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_ticket_opens_the_events_of_one_job_for_a_while_and_nothing_else() {
    let door = Door::open(&[("EVENTS_TICKET_MS", "60000")]);
    let (token, id) = door.token(json!({"name": "a", "tenant": "acme"}));
    let job = door.submit(&token, 1);
    let other = door.submit(&token, 1);
    door.finish(&job);
    door.finish(&other);
    let ticket_for = |token: &str| {
        let reply = door.call(
            token,
            "POST",
            &format!("/v1/jobs/{job}/events"),
            Value::Null,
        );
        reply.expect(200).json()["url"].as_str().unwrap().to_owned()
    };
    let url = ticket_for(&token);
    let told = events(&door.get("", &url).expect(200).text);
    assert_eq!(told.last().unwrap().1, "done");
    let ticket = url.split_once('?').unwrap().1;
    for path in [
        format!("/v1/jobs/{other}/events?{ticket}"),
        format!("/v1/jobs/{job}?{ticket}"),
        format!("/v1/jobs/{job}/report?{ticket}"),
        format!("/v1/jobs/{job}/events/?{ticket}"),
        format!("/v1/jobs?{ticket}"),
        // Longer for himself, as another, or twice.
        url.replace(".1795", ".2795"),
        url.replace(&id, "operator"),
        format!("{url}&{ticket}"),
        format!("{url}0"),
    ] {
        assert_ne!(path, url);
        door.get("", &path).expect(401);
    }
    let post = format!("/v1/jobs/{job}/events?{ticket}");
    door.call("", "POST", &post, Value::Null).expect(401);
    // It ends with its time, and with the token that it came from.
    door.world.advance_to(door.world.now() + 60_000);
    door.get("", &url).expect(401);
    let url = ticket_for(&token);
    door.get("", &url).expect(200);
    door.call(SECRET, "DELETE", &format!("/v1/tokens/{id}"), Value::Null)
        .expect(204);
    door.get("", &url).expect(401);
    let mine = door.submit(SECRET, 1);
    let reply = door
        .call(
            SECRET,
            "POST",
            &format!("/v1/jobs/{mine}/events"),
            json!({}),
        )
        .expect(200);
    door.finish(&mine);
    door.get("", reply.json()["url"].as_str().unwrap())
        .expect(200);
}

#[test]
fn what_has_not_changed_is_not_sent_again() {
    let door = Door::open(&[]);
    let job = door.submit(SECRET, 1);
    door.finish(&job);
    for path in [
        format!("/v1/jobs/{job}"),
        format!("/v1/jobs/{job}/report"),
        format!("/v1/jobs/{job}/tasks/0"),
        "/openapi.json".to_owned(),
    ] {
        let first = door.get(SECRET, &path).expect(200);
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with("W/\"") && tag.len() > 20, "{path}: {tag}");
        let ask = |tag: &str| {
            door.call_with(SECRET, "GET", &path, &[("if-none-match", tag)], Value::Null)
        };
        let again = ask(&tag).expect(304);
        assert_eq!(
            (again.text.as_str(), again.header("etag")),
            ("", tag.as_str())
        );
        assert!(!again.header("x-request-id").is_empty());
        ask("\"other\"").expect(200);
    }
    let path = format!("/v1/jobs/{job}");
    let tag = door.get(SECRET, &path).header("etag").to_owned();
    door.call(SECRET, "PATCH", &path, json!({"metadata": {"a": 1}}))
        .expect(200);
    door.call_with(
        SECRET,
        "GET",
        &path,
        &[("if-none-match", &tag)],
        Value::Null,
    )
    .expect(200);
    let report = format!("{path}/report");
    let markdown = door.call_with(
        SECRET,
        "GET",
        &report,
        &[("accept", "text/markdown")],
        Value::Null,
    );
    assert_ne!(
        markdown.header("etag"),
        door.get(SECRET, &report).header("etag")
    );
}
