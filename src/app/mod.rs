//! The use cases, generic over [`crate::ports`]: what a user or an event asks for, from beginning to end.
//!
//! - [`submit`], [`intake`]: a job comes in, with its input
//! - [`drive`]: a job is moved on: planned, expanded, fanned in, ended
//! - [`planning`]: the orchestrator makes a plan, and adds to it; [`judge`]: whether it can be carried out
//! - [`plan`]: plans are read, replaced, approved; [`estimate`]: what one will take
//! - [`expand`]: items become tasks, by number or, with [`slice`], by tokens; [`follow`]: so do the results of an earlier stage
//! - [`coverage`]: which items have their results in every stage, and why others do not
//! - [`pump`]: waiting tasks are queued
//! - [`consume`]: messages arrive
//! - [`work`]: tasks are claimed, called for and settled; [`call`] is one call, [`resolve`] its outcome, [`settle`] what is written
//! - [`batch`]: tasks go out in batches, and their results come back
//! - [`gather`]: results are read, counted and looked at; [`synthesise`]: and handed to the synthesis; [`reduce`]: by way of a tree, where they are too many; [`sample`]: what is shown of them
//! - [`check`]: results are judged, and asked for once more where they look wrong
//! - [`cite`]: what a report rests on is looked up
//! - [`sweep`]: what cron puts right
//! - [`schedules`]: jobs that come in by themselves
//! - [`notify`]: what happened is told to webhooks
//! - [`remove`]: jobs are taken away, and what is old is forgotten
//! - [`control`]: pause, resume, cancel, retry, new limits
//! - [`tokens`]: who may call
//! - [`events`]: what watchers of a job are told; [`health`]: whether all of it works
//! - [`fetch`]: tasks that read a page first; [`web`]: pages are read, webhooks called
//! - [`query`], [`report`]: jobs, tasks, results and reports are read; [`limits`]: what the account allows
//! - [`ask`], [`kit`]: what is asked of Claude, and what a stage needs for it
//! - [`bodies`], [`message`], [`view`], [`log`]: stored texts, queue messages, what callers see, what the log says

use std::sync::Arc;

use serde_json::{Value, json};

use crate::claude::models::Catalogue;
use crate::config::Config;
use crate::core::ids;
use crate::core::webhook::SigningKey;
use crate::ports::{Clock, DbError, Entropy, Log, Ports};

pub mod ask;
pub mod batch;
pub mod bodies;
pub mod call;
pub mod check;
pub mod cite;
pub mod consume;
pub mod control;
pub mod coverage;
pub mod drive;
pub mod estimate;
pub mod events;
pub mod expand;
pub mod extend;
pub mod fetch;
pub mod follow;
pub mod gather;
pub mod health;
pub mod intake;
pub mod judge;
pub mod kit;
pub mod limits;
pub mod log;
pub mod message;
pub mod notify;
pub mod overview;
pub mod places;
pub mod plan;
pub mod planning;
pub mod pump;
pub mod query;
pub mod reduce;
pub mod remove;
pub mod report;
pub mod resolve;
pub mod results;
pub mod sample;
pub mod schedules;
pub mod settle;
pub mod shares;
pub mod slice;
pub mod submit;
pub mod sweep;
pub mod synthesise;
pub mod tokens;
pub mod traces;
pub mod view;
pub mod web;
pub mod work;

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

/// Why a use case did not do what it was asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AppError {
    /// No such job or task for this tenant.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The job's state does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// The same idempotency key came with another body.
    #[error("this Idempotency-Key was used with another body")]
    IdempotencyKeyReused,
    /// A value the caller gave is wrong: path and message of each fault.
    #[error("the request is not valid")]
    Invalid(Vec<(String, String)>),
    /// A stored value cannot be read yet, or the database is away; the caller may try again.
    #[error("try again: {0}")]
    Unavailable(String),
}

impl From<DbError> for AppError {
    fn from(error: DbError) -> AppError {
        AppError::Unavailable(error.to_string())
    }
}

impl<P: Ports> App<P> {
    /// A new id, sortable by time.
    pub fn id(&self, prefix: &str) -> String {
        let mut random = [0; 10];
        self.ports.entropy().fill(&mut random);
        ids::id(prefix, self.ports.clock().now_ms(), random)
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
