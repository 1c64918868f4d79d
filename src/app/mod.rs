//! The use cases, generic over [`crate::ports`]: what a user or an event asks for, from beginning to end.
//!
//! - [`submit`]: a job comes in
//! - [`query`]: jobs, tasks, results and reports are read
//! - [`view`]: what callers see

use crate::config::Config;
use crate::ports::{DbError, Ports};

pub mod query;
pub mod submit;
pub mod view;

/// The engine: its edges and its configuration. Cheap to clone.
#[derive(Clone)]
pub struct App<P: Ports> {
    pub ports: P,
    pub config: std::sync::Arc<Config>,
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
