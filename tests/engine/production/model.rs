//! The settings of the model. Where the platform's behaviour is unknown, the default is the worse reading.

use serde::Deserialize;

/// All settings of a platform.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    pub database: Database,
    pub limits: Limits,
    pub queues: Queues,
    pub isolates: Isolates,
    /// Milliseconds of an operation of KV, and of a send to a queue.
    pub edge_ms: (u64, u64),
    /// When a new version is deployed, in milliseconds after the beginning.
    pub deploys_ms: Vec<i64>,
}

impl Default for Model {
    fn default() -> Model {
        Model {
            database: Database::default(),
            limits: Limits::default(),
            queues: Queues::default(),
            isolates: Isolates::default(),
            edge_ms: (10, 40),
            deploys_ms: Vec::new(),
        }
    }
}

/// D1: one SQLite database with one thread, some way off.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// There and back, without work and without a queue.
    pub rtt_ms: u64,
    /// Each trip differs evenly by this share to both sides.
    pub jitter: f64,
    /// The thread's time for a batch, in microseconds, and for each step of SQLite's machine, in nanoseconds.
    pub batch_us: i64,
    pub step_ns: i64,
    /// A batch that would wait longer for the thread is refused as overload.
    pub queue_most_ms: i64,
    /// From and until, in milliseconds after the beginning: nothing arrives, and no answer comes back.
    pub outages_ms: Vec<(i64, i64)>,
    /// The share of answers that are lost after the commit.
    pub lost_answers: f64,
    /// The largest size of the file; beyond it nothing can be written.
    pub full_bytes: Option<u64>,
}

impl Default for Database {
    fn default() -> Database {
        Database {
            rtt_ms: 30,
            jitter: 0.2,
            batch_us: 300,
            step_ns: 30,
            queue_most_ms: 10_000,
            outages_ms: Vec::new(),
            lost_answers: 0.0,
            full_bytes: None,
        }
    }
}

/// What one invocation may do.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Queries to the database.
    pub queries: u32,
    /// Each statement of a batch is a query; otherwise the batch is one.
    pub statements_count: bool,
    /// Requests that wait for the head of their answer.
    pub connections: u32,
    /// Database calls take a connection, too.
    pub d1_takes_connection: bool,
    /// Operations of KV.
    pub kv_operations: u32,
    pub wall_ms: i64,
    /// What is left to an invocation after a deploy.
    pub notice_ms: i64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            queries: 1_000,
            statements_count: true,
            connections: 6,
            d1_takes_connection: true,
            kv_operations: 1_000,
            wall_ms: 15 * 60_000,
            notice_ms: 30_000,
        }
    }
}

/// How messages come.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queues {
    /// The most consumers of one queue.
    pub consumers: u32,
    /// One consumer at first, and another only when a batch ends while messages wait; otherwise all at once.
    pub ramp: bool,
    /// From a send to the delivery, beyond the message's own delay.
    pub delivery_ms: (u64, u64),
    /// The most messages of a batch, as `wrangler.toml` has them.
    pub control_batch: usize,
    pub tasks_batch: usize,
    pub outbound_batch: usize,
}

impl Default for Queues {
    fn default() -> Queues {
        let [control_batch, tasks_batch, outbound_batch] = batch_sizes();
        Queues {
            consumers: 250,
            ramp: true,
            delivery_ms: (100, 500),
            control_batch,
            tasks_batch,
            outbound_batch,
        }
    }
}

/// `max_batch_size` of each queue in the deployment's file.
fn batch_sizes() -> [usize; 3] {
    let file: toml::Table = include_str!("../../../wrangler.toml").parse().unwrap();
    let consumers = file["queues"]["consumers"].as_array().unwrap();
    ["fanwise-control", "fanwise-tasks", "fanwise-outbound"].map(|name| {
        let consumer = consumers
            .iter()
            .find(|one| one["queue"].as_str() == Some(name));
        consumer.unwrap()["max_batch_size"].as_integer().unwrap() as usize
    })
}

/// Memory, in which several invocations may be.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Isolates {
    pub bytes: u64,
    /// Invocations that share one.
    pub invocations: usize,
    /// Held before any request: the module, its tables, the runtime's own heap.
    pub idle_bytes: u64,
    /// A call holds its request this many times: the input as read and taken apart, the request as text, and once more
    /// as JavaScript has it.
    pub call_factor: u64,
    /// A batch holds its values and its answer this many times: as Rust, as JavaScript, and on the wire.
    pub batch_factor: u64,
}

impl Default for Isolates {
    fn default() -> Isolates {
        Isolates {
            bytes: 128_000_000,
            invocations: 3,
            idle_bytes: 10_000_000,
            call_factor: 10,
            batch_factor: 3,
        }
    }
}
