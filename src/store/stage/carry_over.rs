//! What a job that extends an earlier one copies of it, and takes over.

use serde::Serialize;

use crate::ports::Statement;
use crate::store::{params, sql, to_json};

const GUARD_BASE: &str = "-- guard_base
INSERT INTO assertions SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ?1 AND tenant = ?2)";
const EXTEND: &str = "-- extend_job
UPDATE jobs SET extends = ?2, extends_job = ?3 WHERE id = ?1";

/// With the job: which one it extends. Ends the batch where that has been deleted meanwhile.
pub fn begin(job: &str, tenant: &str, base: &str, extension: &str) -> Vec<Statement> {
    vec![
        sql(GUARD_BASE, params![base, tenant]),
        sql(EXTEND, params![job, extension, base]),
    ]
}

const RESULTS: &str = "-- results_to_copy
SELECT idx, ids, input, input_blob, body, blob, nano FROM (
  SELECT t.idx, t.ids, i.body AS input, i.blob AS input_blob, o.body, o.blob,
    COALESCE(NULLIF((SELECT SUM(cost_nano) FROM attempts a WHERE a.job = t.job AND a.idx = t.idx), 0), t.taken_nano,
      (SELECT cost_nano FROM ledger l WHERE l.tenant = ?2 AND l.key = t.key), 0) AS nano,
    SUM(o.bytes + COALESCE(LENGTH(i.body), 200000)) OVER (ORDER BY t.idx ROWS UNBOUNDED PRECEDING)
      - o.bytes - COALESCE(LENGTH(i.body), 200000) AS ahead
  FROM (SELECT job, idx, ids, key, taken_nano FROM tasks WHERE job = ?1 AND stage = ?3 AND idx >= ?4 AND covered > 0
      AND purpose = 'work' ORDER BY idx LIMIT ?5) t
    JOIN outputs o ON o.job = t.job AND o.idx = t.idx JOIN inputs i ON i.job = t.job AND i.idx = t.idx)
WHERE ahead < ?6 ORDER BY idx";

/// Results of a stage of the earlier job with what they were made of, and what they had cost: from task `from` on at most
/// `most` tasks, and no further one once there are so many bytes.
pub fn results(job: &str, tenant: &str, stage: u32, from: u32, most: u32, bytes: u64) -> Statement {
    sql(RESULTS, params![job, tenant, stage, from, most, bytes])
}

const GUARD: &str = "-- guard_extending
INSERT INTO assertions SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ?1 AND state = 'running' AND extends_job IS NOT NULL)";
const GUARD_AT: &str = "-- guard_copying
INSERT INTO assertions SELECT EXISTS (SELECT 1 FROM stages s JOIN jobs j ON j.id = s.job
  WHERE s.job = ?1 AND s.idx = ?2 AND s.earlier = ?3 AND j.state = 'running' AND j.extends_job IS NOT NULL)";

/// Ends the batch unless the job is at work and still reads the one it extends.
pub fn guard(job: &str) -> Statement {
    sql(GUARD, params![job])
}

/// The same, and has copied for that stage up to this task.
pub fn guard_at(job: &str, stage: u32, from: i64) -> Statement {
    sql(GUARD_AT, params![job, stage, from])
}

/// A result by what it was made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Copied {
    pub key: String,
    pub body: Option<String>,
    pub blob: Option<String>,
    pub nano: i64,
}

const COPY: &str = "-- copy_results
INSERT OR IGNORE INTO earlier (job, stage, key, body, blob, nano)
SELECT ?1, ?2, value->>'$.key', value->>'$.body', value->>'$.blob', value->>'$.nano' FROM json_each(?3)";
const COPIED_TO: &str = "-- copied_to
UPDATE stages SET earlier = ?3 WHERE job = ?1 AND idx = ?2";
const ALL_COPIED: &str = "-- all_copied
UPDATE jobs SET extends_job = NULL WHERE id = ?1";

/// Keeps results of the earlier job for a stage; of two with the same key the first.
pub fn copy(job: &str, stage: u32, copied: &[Copied]) -> Statement {
    sql(COPY, params![job, stage, to_json(copied)])
}

/// From which task on the next look copies; `None`: there is nothing more.
pub fn copied_to(job: &str, stage: u32, next: Option<u32>) -> Statement {
    let next = next.map_or(-1, i64::from);
    sql(COPIED_TO, params![job, stage, next])
}

/// Nothing more is read of the earlier job.
pub fn all_copied(job: &str) -> Statement {
    sql(ALL_COPIED, params![job])
}

const KNOWN: &str = "-- known_results
SELECT e.key, e.body, e.blob, e.nano FROM json_each(?3) k CROSS JOIN earlier e
  ON e.job = ?1 AND e.stage = ?2 AND e.key = k.value";

/// What is known of these.
pub fn known(job: &str, stage: u32, keys: &[String]) -> Statement {
    sql(KNOWN, params![job, stage, to_json(keys)])
}

const HELD: &str = "-- extended_still
SELECT EXISTS (SELECT 1 FROM jobs WHERE extends_job = ?1 AND finished_at IS NULL) AS held";

/// Whether another job still copies of this one.
pub fn held(job: &str) -> Statement {
    sql(HELD, params![job])
}
