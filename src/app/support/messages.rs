//! Queue messages: small JSON texts that name a job and, for tasks, which of them.
//!
//! A message is a reference and a reminder, never a payload: losing or doubling one changes nothing that the sweep and
//! the leases do not put right. It is tagged and versioned, because during an upgrade two versions of the Worker read
//! the same queue: a consumer leaves a message of a later version in the queue for the other one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ports::{Outgoing, QueueName};
use crate::store::job::removals::What;

/// The version that this Worker writes. A new kind or a changed field raises it.
const VERSION: u64 = 1;

/// Tasks that one message stands for: four calls of a consumer wait for their heads at a time, and by then as many more
/// have their turn. 250 consumers are woken for 2,000 tasks.
pub const TASKS_PER_MESSAGE: usize = 8;
/// The most messages that only announce work.
const MOST_WARM: usize = 16;

/// Everything that a queue of Fanwise carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Message {
    /// Move this job on.
    Drive { job: String },
    /// Look for leases that ran out.
    CheckLeases,
    /// Look at this batch.
    CheckBatch { batch: String },
    /// Remove the rest of a job, or part of it.
    Remove { job: String, what: What },
    /// There is work for a consumer: these tasks, or, with none, whatever falls due.
    Wake {
        #[serde(default)]
        job: Option<String>,
        #[serde(default)]
        tasks: Vec<u32>,
    },
    /// Work will come soon; there is none yet.
    Warm,
    /// Try this webhook delivery.
    Deliver { delivery: String },
    /// Send the next slice of a job's trace.
    Trace { job: String },
    /// Start this run of a schedule.
    Start { schedule: String, due_at: i64 },
}

#[derive(Serialize)]
struct Versioned<'a> {
    v: u64,
    #[serde(flatten)]
    message: &'a Message,
}

/// A text from a queue.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    Message(Message),
    /// From a later version of the Worker.
    Later,
    /// Not one of ours.
    Unknown,
}

impl Message {
    pub fn read(body: &str) -> Received {
        let Ok(value) = serde_json::from_str::<Value>(body) else {
            return Received::Unknown;
        };
        match value.get("v").and_then(Value::as_u64) {
            Some(version) if version > VERSION => Received::Later,
            Some(_) => match serde_json::from_value(value) {
                Ok(message) => Received::Message(message),
                Err(_) => Received::Unknown,
            },
            None => Received::Unknown,
        }
    }

    /// The queue that its consumer reads.
    pub fn queue(&self) -> QueueName {
        match self {
            Message::Drive { .. }
            | Message::CheckLeases
            | Message::CheckBatch { .. }
            | Message::Remove { .. } => QueueName::Control,
            Message::Wake { .. } | Message::Warm => QueueName::Tasks,
            Message::Deliver { .. } | Message::Trace { .. } | Message::Start { .. } => {
                QueueName::Outbound
            }
        }
    }

    fn after(&self, delay_seconds: u32) -> Outgoing {
        let versioned = Versioned {
            v: VERSION,
            message: self,
        };
        Outgoing {
            queue: self.queue(),
            body: serde_json::to_string(&versioned).unwrap_or_default(),
            delay_seconds,
        }
    }
}

/// Looks for leases that ran out, after this delay.
pub fn check_leases(delay_seconds: u32) -> Outgoing {
    Message::CheckLeases.after(delay_seconds)
}

pub fn check_batch(id: &str) -> Outgoing {
    let batch = id.to_owned();
    Message::CheckBatch { batch }.after(0)
}

pub fn drive(job: &str, delay_seconds: u32) -> Outgoing {
    let job = job.to_owned();
    Message::Drive { job }.after(delay_seconds)
}

/// Goes on with a removal.
pub fn remove(job: &str, what: What) -> Outgoing {
    let job = job.to_owned();
    Message::Remove { job, what }.after(0)
}

/// One try of one delivery.
pub fn deliver(delivery: &str, delay_seconds: u32) -> Outgoing {
    let delivery = delivery.to_owned();
    Message::Deliver { delivery }.after(delay_seconds)
}

/// The next slice of a trace.
pub fn trace(job: &str, delay_seconds: u32) -> Outgoing {
    let job = job.to_owned();
    Message::Trace { job }.after(delay_seconds)
}

/// A run of a schedule.
pub fn start(schedule: &str, due_at: i64) -> Outgoing {
    let schedule = schedule.to_owned();
    Message::Start { schedule, due_at }.after(0)
}

/// Messages without work, for `calls` that will go out at once. The platform adds a consumer when one ends while other
/// messages wait: these end as soon as they come, so that there are consumers when the work is there.
pub fn warm_up(calls: usize) -> Vec<Outgoing> {
    vec![Message::Warm.after(0); (calls / TASKS_PER_MESSAGE).min(MOST_WARM)]
}

/// Messages for tasks that were just queued.
pub fn wake_for(job: &str, tasks: &[u32]) -> Vec<Outgoing> {
    tasks
        .chunks(TASKS_PER_MESSAGE)
        .map(|tasks| {
            let (job, tasks) = (Some(job.to_owned()), tasks.to_vec());
            Message::Wake { job, tasks }.after(0)
        })
        .collect()
}

/// A message for whatever falls due after this delay.
pub fn wake_later(delay_seconds: u32) -> Outgoing {
    let (job, tasks) = (None, Vec::new());
    Message::Wake { job, tasks }.after(delay_seconds)
}

/// A queue counts in whole seconds, up to a day.
pub fn delay_seconds(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(1_000))
        .unwrap_or(u32::MAX)
        .min(86_400)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let all = [
            Message::Drive { job: "j".into() },
            Message::CheckLeases,
            Message::CheckBatch { batch: "b".into() },
            Message::Remove {
                job: "j".into(),
                what: What::Answers,
            },
            Message::Wake {
                job: Some("j".into()),
                tasks: vec![1, 2],
            },
            Message::Wake {
                job: None,
                tasks: Vec::new(),
            },
            Message::Warm,
            Message::Deliver {
                delivery: "d".into(),
            },
            Message::Trace { job: "j".into() },
            Message::Start {
                schedule: "s".into(),
                due_at: 5,
            },
        ];
        for message in all {
            let sent = message.after(0);
            assert_eq!(sent.queue, message.queue());
            assert_eq!(Message::read(&sent.body), Received::Message(message));
        }
    }

    #[test]
    fn the_wire_form_is_fixed_for_two_versions_share_a_queue() {
        assert_eq!(drive("j", 0).body, r#"{"v":1,"kind":"drive","job":"j"}"#);
        assert_eq!(
            wake_for("j", &[3])[0].body,
            r#"{"v":1,"kind":"wake","job":"j","tasks":[3]}"#
        );
    }

    #[test]
    fn a_later_version_is_left_for_the_worker_that_knows_it() {
        let later = r#"{"v":2,"kind":"split","of":["j"]}"#;
        assert_eq!(Message::read(later), Received::Later);
        for unknown in [
            "",
            "[]",
            r#"{"kind":"drive","job":"j"}"#,
            r#"{"v":1,"kind":"x"}"#,
        ] {
            assert_eq!(Message::read(unknown), Received::Unknown, "{unknown}");
        }
    }
}
