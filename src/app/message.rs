//! What goes through the queues: small texts of JSON that name a job and, for tasks, which of them.
//!
//! A message is a reference and a reminder, never a payload: losing or doubling one changes nothing that the sweep and
//! the leases do not put right.

use serde::{Deserialize, Serialize};

use crate::ports::{Outgoing, QueueName};
use crate::store::removals::What;

/// How many tasks one message stands for: as many as one consumer takes up at once while its first
/// calls wait for their heads (six connections at a time), and 250 consumers can carry 6,250.
pub const TASKS_PER_MESSAGE: usize = 25;

/// Move this job on, whatever it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drive {
    pub v: u32,
    pub job: String,
}

/// Take away the rest of a job, or part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remove {
    pub v: u32,
    pub remove: String,
    /// [`What`](crate::store::removals::What) of it.
    pub what: String,
}

/// Try this delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    pub v: u32,
    pub delivery: String,
}

/// Tell the collector about a job's run that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    pub v: u32,
    pub trace: String,
}

/// Start this run of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    pub v: u32,
    pub schedule: String,
    pub due_at: i64,
}

/// Look at this batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookAtBatch {
    pub v: u32,
    pub batch: String,
}

/// There is work for a consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    pub v: u32,
    /// The tasks it stands for; none where it only says that something falls due.
    #[serde(default)]
    pub job: Option<String>,
    #[serde(default)]
    pub tasks: Vec<u32>,
}

/// Look for leases that ran out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    pub v: u32,
    pub look: String,
}

/// A control message that looks for leases that ran out, after so many seconds.
pub fn look(delay_seconds: u32) -> Outgoing {
    Outgoing {
        queue: QueueName::Control,
        body: json(&Look {
            v: 1,
            look: "leases".to_owned(),
        }),
        delay_seconds,
    }
}

/// A control message for a batch.
pub fn batch(id: &str) -> Outgoing {
    Outgoing {
        queue: QueueName::Control,
        body: json(&LookAtBatch {
            v: 1,
            batch: id.to_owned(),
        }),
        delay_seconds: 0,
    }
}

/// A control message for a job.
pub fn drive(job: &str, delay_seconds: u32) -> Outgoing {
    Outgoing {
        queue: QueueName::Control,
        body: json(&Drive {
            v: 1,
            job: job.to_owned(),
        }),
        delay_seconds,
    }
}

/// A message for a removal that is under way.
pub fn remove(job: &str, what: What) -> Outgoing {
    Outgoing {
        queue: QueueName::Control,
        body: json(&Remove {
            v: 1,
            remove: job.to_owned(),
            what: what.as_str().to_owned(),
        }),
        delay_seconds: 0,
    }
}

/// A message for one try of one delivery.
pub fn deliver(delivery: &str, delay_seconds: u32) -> Outgoing {
    Outgoing {
        queue: QueueName::Outbound,
        body: json(&Deliver {
            v: 1,
            delivery: delivery.to_owned(),
        }),
        delay_seconds,
    }
}

/// A message for the next slice of a trace.
pub fn trace(job: &str, delay_seconds: u32) -> Outgoing {
    Outgoing {
        queue: QueueName::Outbound,
        body: json(&Trace {
            v: 1,
            trace: job.to_owned(),
        }),
        delay_seconds,
    }
}

/// A message for a run of a schedule.
pub fn start(schedule: &str, due_at: i64) -> Outgoing {
    Outgoing {
        queue: QueueName::Outbound,
        body: json(&Start {
            v: 1,
            schedule: schedule.to_owned(),
            due_at,
        }),
        delay_seconds: 0,
    }
}

/// Messages for tasks that were just queued.
pub fn wake_for(job: &str, tasks: &[u32]) -> Vec<Outgoing> {
    tasks
        .chunks(TASKS_PER_MESSAGE)
        .map(|tasks| Outgoing {
            queue: QueueName::Tasks,
            body: json(&Wake {
                v: 1,
                job: Some(job.to_owned()),
                tasks: tasks.to_vec(),
            }),
            delay_seconds: 0,
        })
        .collect()
}

/// A message for whatever falls due after so many seconds.
pub fn wake_later(delay_seconds: u32) -> Outgoing {
    Outgoing {
        queue: QueueName::Tasks,
        body: json(&Wake {
            v: 1,
            job: None,
            tasks: Vec::new(),
        }),
        delay_seconds,
    }
}

/// A queue counts in whole seconds, up to a day.
pub fn delay_seconds(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(1_000))
        .unwrap_or(u32::MAX)
        .min(86_400)
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
