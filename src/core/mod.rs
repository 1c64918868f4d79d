//! The pure heart: what a job, a plan and a task are, and every decision about them.
//!
//! Nothing here knows a clock, randomness, the network, a database or the platform; what a decision
//! needs is passed in, and what it decides comes back as a value.
//!
//! Each part imports only parts below it. From bottom to top: `value`, `net`, `text`, `schema`, `schedule`, `estimate`,
//! `job`, `plan`, `results`, `task`, `admission`, `mod.rs`.
//!
//! 1. [`value`]: ids, money, time, tokens, categories
//! 2. [`net`]: URLs that may be fetched, signed webhooks, traces
//! 3. [`text`]: slices of long texts, HTML to text, citations
//! 4. [`schema`]: JSON Schema, compiled and checked
//! 5. [`schedule`]: cron expressions and schedules
//! 6. [`estimate`]: expected tokens, cost and time
//! 7. [`job`]: the state machines; live or batch delivery
//! 8. [`plan`]: stages, limits, recipes, the orchestrator's answer
//! 9. [`results`]: merged results and their flags
//! 10. [`task`]: kinds of tasks, the room for an answer, the retry policy
//! 11. [`admission`]: which tasks may call Claude now

pub mod admission;
pub mod estimate;
pub mod job;
pub mod net;
pub mod plan;
pub mod results;
pub mod schedule;
pub mod schema;
pub mod task;
pub mod text;
pub mod value;
