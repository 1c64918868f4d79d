//! The use cases, generic over [`crate::ports`]: each thing that a user or an event asks for, from start to end.
//!
//! Each part imports only parts below it. From bottom to top: `error.rs`, `mod.rs`, `support`, `view`, `account`,
//! `outbound`, `stage`, `results`, `expand`, `estimate`, `submit`, `planning`, `attempt`, `batch`, `worker`, `job`,
//! `read`, `dispatch.rs`. (`tests/architecture` reads the imports.)
//!
//! 1. [`support`]: the database round trip, stored texts, queue messages, log lines
//! 2. [`view`]: the JSON that callers see
//! 3. [`account`]: tokens, limits and health of the deployment
//! 4. [`outbound`]: requests to other servers: pages, webhooks, a trace collector
//! 5. [`stage`]: a job as it is stored, and what its stages need for their calls
//! 6. [`results`]: results are read, checked, counted and brought to the synthesis
//! 7. [`expand`]: items, documents and earlier results become tasks
//! 8. [`estimate`]: expected calls, tokens, cost and time of a plan
//! 9. [`submit`]: a job comes in, from a caller or a schedule
//! 10. [`planning`]: a plan is made by Claude, checked, replaced, approved
//! 11. [`attempt`]: one call to Claude, and every row that follows from it
//! 12. [`batch`]: calls go out as Message Batches, and their results come back
//! 13. [`worker`]: a consumer claims tasks, calls and settles until nothing is left
//! 14. [`job`]: a job is driven, commanded, swept, removed
//! 15. [`read`]: callers read jobs, tasks, reports and events
//! 16. [`dispatch`]: a queue message finds its use case

use std::sync::Arc;

use serde_json::{Value, json};

pub use crate::app::error::AppError;
use crate::claude::models::Catalogue;
use crate::config::Config;
use crate::core::net::webhook::SigningKey;
use crate::core::value::ids;
use crate::ports::{Clock, Entropy, Log, Ports};

mod error;

pub mod account;
pub mod attempt;
pub mod batch;
pub mod dispatch;
pub mod estimate;
pub mod expand;
pub mod job;
pub mod outbound;
pub mod planning;
pub mod read;
pub mod results;
pub mod stage;
pub mod submit;
pub mod support;
pub mod view;
pub mod worker;

/// The engine: its edges, its configuration and the models it knows. Cheap to clone.
#[derive(Clone)]
pub struct App<P: Ports> {
    pub ports: P,
    pub config: Arc<Config>,
    pub models: Arc<Catalogue>,
    /// What webhooks are signed with; without it, none is that should be.
    pub signing: Option<SigningKey>,
    /// What the collector of traces wants besides: mostly a key.
    pub otlp_headers: Vec<(String, String)>,
}

impl<P: Ports> App<P> {
    /// A new id, sortable by time.
    pub fn id(&self, prefix: &str) -> String {
        let mut random = [0; 10];
        self.ports.entropy().fill(&mut random);
        ids::id(prefix, self.ports.clock().now_ms(), random)
    }

    /// Where calls go: what is learned of a model is learned for its endpoint.
    pub fn endpoint(&self) -> &str {
        &self.config.endpoint
    }

    /// A random number in 0..1.
    pub fn dice(&self) -> f64 {
        let mut random = [0; 4];
        self.ports.entropy().fill(&mut random);
        f64::from(u32::from_le_bytes(random)) / (f64::from(u32::MAX) + 1.0)
    }

    /// When the sweep should look at a job that was moved just now.
    pub fn drive_at(&self, now: i64) -> i64 {
        now.saturating_add_unsigned(self.config.intervals.drive_stale_ms)
    }

    /// A job changed: one line with its id.
    pub fn log_job(&self, job: &str, event: &str, more: Value) {
        self.log(json!({"event": event, "job": job}), more);
    }

    /// Something outside did not work; the engine goes on.
    pub fn log_fault(&self, what: &str, message: &str) {
        self.log(
            json!({"event": "fault", "what": what, "message": message}),
            Value::Null,
        );
    }

    /// A line of `first`'s and `more`'s fields.
    pub fn log(&self, mut first: Value, more: Value) {
        if let (Value::Object(line), Value::Object(more)) = (&mut first, more) {
            line.extend(more);
        }
        self.ports.log().line(first);
    }
}
