//! The rows and the SQL, as plain text: the same statements run on D1 and, natively, on SQLite.
//!
//! Functions here build [`Statement`]s or read rows; they decide nothing and await nothing. Each `const`
//! of SQL begins with its own name, so that a slow or failing query can be told from the log. Many rows go in as
//! one JSON text through `json_each`: a round trip and a statement for any number of tasks.
//!
//! - [`row`]: reading values out of rows
//! - [`jobs`]: jobs, specs, pages and stages
//! - [`inputs`]: input as it comes in, and what is cut from it
//! - [`tasks`]: expanding, queueing, leases
//! - [`follow`]: what a later map stage reads of the one before
//! - [`amend`]: stages over some of the results before them
//! - [`extend`]: what a job takes over of an earlier one
//! - [`reduce`]: the tree before a synthesis
//! - [`checks`], [`flags`]: checks of results, and what they found
//! - [`admission`]: the snapshot that admission decides on, and the claim that carries it out
//! - [`batches`]: batches, and the tasks that are in them
//! - [`prefixes`]: what is known of prompts' beginnings in the API's cache
//! - [`settle`]: what a consumer writes when calls have ended
//! - [`sweep`]: what time alone brings about
//! - [`control`]: what callers' commands write
//! - [`plans`]: rounds of planning, the stages they bring, approval
//! - [`deliveries`]: webhooks and what they are told
//! - [`schedules`]: schedules and their runs
//! - [`measures`]: what stages took, by what they have in common
//! - [`removals`]: jobs that are taken away, and what is forgotten with age
//! - [`listing`]: what callers read
//! - [`tokens`]: who may call, and how often
//! - [`events`]: what watchers of a job are told

pub mod admission;
pub mod amend;
pub mod batches;
pub mod checks;
pub mod control;
pub mod deliveries;
pub mod events;
pub mod extend;
pub mod flags;
pub mod follow;
pub mod inputs;
pub mod jobs;
pub mod listing;
pub mod measures;
pub mod overview;
pub mod plans;
pub mod prefixes;
pub mod reduce;
pub mod removals;
pub mod row;
pub mod schedules;
pub mod settle;
pub mod sweep;
pub mod tasks;
pub mod tokens;
pub mod traces;

use serde_json::Value;

use crate::ports::Statement;

/// The migrations, in order: what `wrangler d1 migrations apply` runs, for native databases.
pub const MIGRATIONS: [&str; 16] = [
    include_str!("../../migrations/0001_jobs.sql"),
    include_str!("../../migrations/0002_plans.sql"),
    include_str!("../../migrations/0003_inputs.sql"),
    include_str!("../../migrations/0004_stages.sql"),
    include_str!("../../migrations/0005_door.sql"),
    include_str!("../../migrations/0006_afterwards.sql"),
    include_str!("../../migrations/0009_watch.sql"),
    include_str!("../../migrations/0011_calls.sql"),
    include_str!("../../migrations/0013_cache.sql"),
    include_str!("../../migrations/0014_batches.sql"),
    include_str!("../../migrations/0015_tiers.sql"),
    include_str!("../../migrations/0016_tracing.sql"),
    include_str!("../../migrations/0017_sizes.sql"),
    include_str!("../../migrations/0018_named.sql"),
    include_str!("../../migrations/0019_amends.sql"),
    include_str!("../../migrations/0020_measures.sql"),
];

/// A statement with its values.
pub fn sql(text: &'static str, params: impl Into<Vec<Value>>) -> Statement {
    Statement {
        sql: text,
        params: params.into(),
    }
}

/// The values of one statement: `params![id, 3, Some("x"), None::<i64>]`.
macro_rules! params {
    ($($value:expr),* $(,)?) => { vec![$(serde_json::Value::from($value)),*] };
}
pub(crate) use params;
