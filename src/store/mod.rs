//! The rows and the SQL, as plain text: the same statements run on D1 and, natively, on SQLite.
//!
//! Functions here build [`Statement`]s or read rows; they decide nothing and await nothing. Each `const`
//! of SQL begins with its own name, so that a slow or failing query can be told from the log. Many rows go in as
//! one JSON text through `json_each`: a round trip and a statement for any number of tasks.
//!
//! - [`row`]: values out of rows
//! - [`job`]: jobs with their input, plans and commands; the sweep; removal
//! - [`stage`]: what one stage takes of another; checks, flags, the tree before a synthesis
//! - [`task`]: tasks, admission, attempts and batches
//! - [`outbound`]: webhook deliveries, traces, schedules
//! - [`account`]: tokens and their budgets
//! - [`read`]: lists, overviews and events for callers

pub mod account;
pub mod job;
pub mod outbound;
pub mod read;
pub mod row;
pub mod stage;
pub mod task;

use serde_json::Value;

use crate::ports::Statement;

/// The migrations, in order: what `wrangler d1 migrations apply` runs, for native databases.
pub const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/0001_schema.sql")];

/// A statement with its values.
pub fn sql(text: &'static str, params: impl Into<Vec<Value>>) -> Statement {
    Statement {
        sql: text,
        params: params.into(),
    }
}

/// JSON of something that always serialises.
pub(crate) fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// The values of one statement: `params![id, 3, Some("x"), None::<i64>]`.
macro_rules! params {
    ($($value:expr),* $(,)?) => { vec![$(serde_json::Value::from($value)),*] };
}
pub(crate) use params;
