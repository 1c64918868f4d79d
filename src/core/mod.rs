//! The pure heart: what a job, a plan and a task are, and every decision about them.
//!
//! Nothing here knows a clock, randomness, the network, a database or the platform; what a decision
//! needs is passed in, and what it decides comes back as a value.
//!
//! - [`plan`]: jobs, stages, limits as callers write them
//! - [`state`]: the two state machines, as total transition functions
//! - [`chunk`]: items into chunks
//! - [`admit`]: which tasks may call Claude now: permits, budget, fairness, breaker
//! - [`verdict`]: what becomes of a task after an answer or an error
//! - [`merge`]: the deterministic fan-in
//! - [`schema`]: JSON Schema, compiled and checked
//! - [`token`]: bearer tokens: text, hash, scopes
//! - [`money`], [`time`], [`ids`]: small shared values

pub mod admit;
pub mod chunk;
pub mod ids;
pub mod merge;
pub mod money;
pub mod plan;
pub mod schema;
pub mod state;
pub mod time;
pub mod token;
pub mod verdict;
