//! The pure heart: what a job, a plan and a task are, and every decision about them.
//!
//! Nothing here knows a clock, randomness, the network, a database or the platform; what a decision
//! needs is passed in, and what it decides comes back as a value.
//!
//! - [`plan`]: jobs, stages, limits as callers write them
//! - [`recipe`]: ready plans, from their files
//! - [`planner`]: the orchestrator's answer, what makes a plan sound; [`plain_plan`]: one that always is
//! - [`amend`]: stages over some of the results before them
//! - [`state`]: the two state machines, as total transition functions
//! - [`chunk`]: items into chunks; [`extension`]: what a job keeps about one that it extends
//! - [`cache`]: which calls share their prefix through the API's cache, and which goes first
//! - [`slice`]: long texts into slices
//! - [`admit`]: which tasks may call Claude now: permits, budget, fairness, breaker
//! - [`pace`]: how many tasks are claimed ahead of need
//! - [`verdict`]: what becomes of a task after an answer or an error
//! - [`merge`]: the deterministic fan-in
//! - [`lengths`]: how long results are, by their schemas
//! - [`profile`]: an input in figures; [`estimate`]: what a plan is expected to take; [`alternatives`]: and in other ways; [`forecast`]: what a job at work will have taken
//! - [`schedule`]: what a schedule is made of
//! - [`webhook`]: who is told, and how a message is signed
//! - [`cron`]: when a schedule is due
//! - [`guard`]: which addresses on the web may be asked
//! - [`delivery`]: live, or in batches
//! - [`readable`]: pages as text
//! - [`schema`]: JSON Schema, compiled and checked
//! - [`token`]: bearer tokens: text, hash, scopes
//! - [`money`], [`time`], [`ids`]: small shared values

pub mod admit;
pub mod alternatives;
pub mod amend;
pub mod cache;
pub mod chunk;
pub mod cite;
pub mod cron;
pub mod delivery;
pub mod estimate;
pub mod extension;
pub mod flags;
pub mod forecast;
pub mod guard;
pub mod ids;
pub mod lengths;
pub mod merge;
pub mod money;
pub mod pace;
pub mod plain_plan;
pub mod plan;
pub mod planner;
pub mod profile;
pub mod purpose;
pub mod readable;
pub mod recipe;
pub mod schedule;
pub mod schema;
pub mod size;
pub mod slice;
pub mod state;
pub mod time;
pub mod token;
pub mod trace;
pub mod verdict;
pub mod webhook;
