//! What checks found about results and reports.

use serde::Serialize;

use crate::ports::Statement;
use crate::store::{params, sql, to_json};

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flag {
    pub id: String,
    pub flag: String,
}

const FORGET: &str = "-- forget_flags
DELETE FROM flags WHERE job = ?1 AND stage = ?2 AND flag IN (SELECT value FROM json_each(?3))";

/// Before a check looks again: what it found of these kinds the last time.
pub fn forget(job: &str, stage: u32, kinds: &[&str]) -> Statement {
    sql(FORGET, params![job, stage, to_json(kinds)])
}

const KEEP: &str = "-- keep_flags
INSERT OR IGNORE INTO flags (job, stage, id, flag)
SELECT ?1, ?2, value->>'$.id', value->>'$.flag' FROM json_each(?3)";

/// Writes down what a check found.
pub fn keep(job: &str, stage: u32, flags: &[Flag]) -> Statement {
    sql(KEEP, params![job, stage, to_json(flags)])
}

const FLAGS: &str = "-- flags
SELECT stage, id, flag FROM flags WHERE job = ?1 AND (stage, id, flag) > (?2, ?3, ?4)
ORDER BY stage, id, flag LIMIT ?5";

/// The flags of a job after one of them.
pub fn flags(job: &str, after: &(i64, String, String), limit: u32) -> Statement {
    sql(
        FLAGS,
        params![job, after.0, after.1.as_str(), after.2.as_str(), limit],
    )
}

const KNOWN: &str = "-- known_ids
SELECT DISTINCT e.value AS id FROM tasks t, json_each(t.ids) e
WHERE t.job = ?1 AND t.purpose = 'work' AND e.value IN (SELECT value FROM json_each(?2))
UNION SELECT label FROM tasks WHERE job = ?1 AND purpose = 'work' AND label IN (SELECT value FROM json_each(?2))
UNION SELECT item FROM documents WHERE job = ?1 AND item IN (SELECT value FROM json_each(?2))";

/// Which of these ids are those of items, of their slices, or of results of the job.
pub fn known_ids(job: &str, ids: &[String]) -> Statement {
    sql(KNOWN, params![job, to_json(ids)])
}
