//! What all use cases share: one round trip to the database, stored texts, queue messages, log lines.

pub mod blobs;
pub mod db;
pub mod log;
pub mod log_budget;
pub mod messages;
pub mod time_limit;
