//! Why a use case did not do what it was asked to do.

use crate::core::value::storage;
use crate::ports::DbError;

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
    /// Something that no retry cures: a stored value that this version cannot read. The sweep and the dead letters
    /// record it; the caller is told that the fault is on this side.
    #[error("internal fault: {0}")]
    Internal(String),
    /// A stored value cannot be read yet, or the database is away; the caller may try again.
    #[error("try again: {0}")]
    Unavailable(String),
    /// The database has no room for another job.
    #[error("the database holds {used} of {capacity} bytes: delete jobs, or lower KEEP_JOB_DAYS")]
    StorageFull { used: u64, capacity: u64 },
}

impl From<DbError> for AppError {
    fn from(error: DbError) -> AppError {
        match error {
            DbError::Full(_) => AppError::StorageFull {
                used: storage::CAPACITY,
                capacity: storage::CAPACITY,
            },
            other => AppError::Unavailable(other.to_string()),
        }
    }
}
