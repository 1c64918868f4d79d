//! Counters of the hot path: one statement counts all that a claim or a settle changes, see table `tallies`.

use serde_json::{Value, json};

use super::settle::Settlement;
use crate::ports::Statement;
use crate::store::{params, sql};

const TALLY: &str = "-- tally
INSERT INTO tallies (what, list, lease, day, at) VALUES (?1, ?2, ?3, ?4, ?5)";

/// After the tasks of a claim are taken and their attempts written.
pub fn claimed(takes: &str, lease: &str, day: &str, now: i64) -> Statement {
    sql(TALLY, params!["claimed", takes, lease, day, now])
}

/// Before a settle closes attempts, keeps outputs and moves tasks: the numbers of each, without its texts.
pub fn settled(settlement: &Settlement, lease: &str, now: i64) -> Option<Statement> {
    let attempts: Vec<Value> = settlement
        .attempts
        .iter()
        .map(|one| {
            json!({"id": one.id, "state": one.state, "cost": one.cost, "input_tokens": one.input_tokens,
                "output_tokens": one.output_tokens, "cache_read": one.cache_read, "cache_write": one.cache_write,
                "cache_saved": one.cache_saved, "status": one.status, "error_class": one.error_class,
                "stop_reason": one.stop_reason})
        })
        .collect();
    let outputs: Vec<Value> = settlement
        .outputs
        .iter()
        .map(|one| json!({"task": one.task, "attempts": one.attempts, "bytes": one.bytes}))
        .collect();
    let tasks: Vec<Value> = settlement
        .tasks
        .iter()
        .map(|one| json!({"id": one.id, "attempts": one.attempts, "state": one.state, "covered": one.covered}))
        .collect();
    if attempts.is_empty() && outputs.is_empty() && tasks.is_empty() {
        return None;
    }
    let list = json!({"attempts": attempts, "outputs": outputs, "tasks": tasks}).to_string();
    Some(sql(TALLY, params!["settled", list, lease, "", now]))
}
