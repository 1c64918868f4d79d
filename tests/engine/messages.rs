//! What comes out of the queues may be anything: somebody else's message, one of a version to come, one that nobody could
//! settle. No message breaks a consumer, and none vanishes.

use fanwise::app::dispatch;
use fanwise::app::dispatch::Settle;
use fanwise::app::support::messages::{Message, Received};
use fanwise::ports::QueueName;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::flows::{over, stages, texts};
use crate::world::{START, World, job};

const MINUTE: i64 = 60_000;

fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~äλ\u{0}]{0,12}".prop_map(Value::from),
        prop::collection::vec(any::<i64>(), 0..4).prop_map(Value::from),
        Just(json!({"a": {"b": []}})),
    ]
}

/// Fields of all kinds of messages, with values that fit and values that do not; and texts that are no message at all.
fn bodies(job: String) -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "v", "kind", "job", "tasks", "batch", "what", "delivery", "schedule", "due_at", "x",
    ]);
    let value = prop_oneof![
        3 => odd(),
        1 => Just(json!(1)),
        1 => Just(json!(job)),
        3 => prop::sample::select(vec![
            "drive", "check_leases", "check_batch", "remove", "wake", "warm", "deliver", "trace", "start",
        ]).prop_map(Value::from),
        1 => prop::sample::select(vec!["job", "answers"]).prop_map(Value::from),
        1 => Just(json!([0, 1, u32::MAX])),
        1 => prop::sample::select(vec![i64::MIN, -1, 0, i64::MAX]).prop_map(Value::from),
    ];
    let fields = prop::collection::vec((name, value), 0..6).prop_map(|fields| {
        let fields = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        Value::Object(fields.collect()).to_string()
    });
    let cut = (fields.clone(), any::<prop::sample::Index>()).prop_map(|(text, at)| {
        let at = at.index(text.chars().count() + 1);
        text.chars().take(at).collect()
    });
    prop_oneof![
        4 => fields,
        1 => cut,
        1 => any::<String>(),
        1 => "[\\[\\]{}\":,a-z0-9]{0,40}",
        1 => (1_000_usize..4_000).prop_map(|depth| "[".repeat(depth)),
    ]
}

/// Whether the consumer of that queue knows the message.
fn known(queue: usize, body: &str) -> bool {
    let Received::Message(message) = Message::read(body) else {
        return false;
    };
    [QueueName::Control, QueueName::Tasks, QueueName::Outbound].get(queue) == Some(&message.queue())
}

#[test]
fn no_message_breaks_a_consumer_and_none_vanishes() {
    let world = World::new(1, standin::Config::default());
    let app = world.app(&[]);
    let body = json!({"stages": stages(1), "webhook": {"url": "https://example.com/hook"}});
    let id = world.submit(&app, job(&texts(2), body)).job.id;
    let letters = || {
        let row =
            &world.query("SELECT COUNT(*) AS n, MAX(length(body)) AS most FROM dead_letters")[0];
        (
            row["n"].as_i64().unwrap(),
            row["most"].as_i64().unwrap_or(0),
        )
    };
    let mut runner = TestRunner::new(Config::with_cases(1_000));
    let cases = (0_usize..4, bodies(id.clone()));
    let played = runner.run(&cases, |(queue, body)| {
        let before = letters().0;
        let (app, text) = (app.clone(), body.clone());
        let settle = world.block_on(async move {
            match queue {
                0 => dispatch::control(&app, &text).await,
                1 => dispatch::tasks(&app, vec![text]).await,
                2 => dispatch::outbound(&app, &text, fanwise::api::read_job).await,
                _ => dispatch::dead_letter(&app, "fanwise-tasks-dlq", &text).await,
            }
        });
        if queue < 3 && Message::read(&body) == Received::Later {
            // It stays in the queue for the version that knows it.
            prop_assert!(
                matches!(settle, Settle::Retry { .. }),
                "queue {}: {}",
                queue,
                body
            );
            prop_assert_eq!(letters().0, before);
            return Ok(());
        }
        prop_assert_eq!(settle, Settle::Ack, "queue {}: {}", queue, body);
        let (now, longest) = letters();
        prop_assert_eq!(
            now - before,
            i64::from(!known(queue, &body)),
            "queue {}: {}",
            queue,
            body
        );
        prop_assert!(longest <= 2_000);
        Ok(())
    });
    played.unwrap();
}

/// A message that failed ten times is written down with its time; what it stood for goes on without it.
#[test]
fn a_dead_letter_is_recorded_and_its_job_goes_on() {
    let world = World::new(1, standin::Config::default());
    let app = world.app(&[]);
    let body = json!({"stages": stages(1)});
    let id = world.submit(&app, job(&texts(3), body)).job.id;
    assert_eq!(world.forget_messages(), 1);
    let drive = json!({"v": 1, "kind": "drive", "job": id}).to_string();
    let (consumer, text) = (app.clone(), drive.clone());
    let settle = world.block_on(async move {
        dispatch::dead_letter(&consumer, "fanwise-control-dlq", &text).await
    });
    assert_eq!(settle, Settle::Ack);
    let kept = &world.query("SELECT queue, body, at FROM dead_letters")[0];
    assert_eq!(kept["queue"], "fanwise-control-dlq");
    assert_eq!(kept["body"], drive);
    assert!(kept["at"].as_i64().unwrap() >= START);
    let lines = world.log_lines();
    let line = lines.iter().find(|line| line["event"] == "dead_letter");
    assert_eq!(
        line,
        Some(&json!({"event": "dead_letter", "queue": "fanwise-control-dlq"}))
    );
    world.run(&app, MINUTE, 10 * MINUTE, || over(&world, &id));
    let state = &world.query("SELECT state FROM jobs")[0];
    assert_eq!(state["state"], "succeeded");
}
