//! A whole job at a glance: the states of all its tasks, why some have no result, and what its calls came to over time.
//! Each is one aggregate, so that what travels does not grow with the rows that are read.

use crate::ports::Statement;
use crate::store::{params, sql};

/// One row for each unbroken row of task numbers of one stage and purpose, however many tasks that is: a hundred thousand
/// letters are a twentieth of what a row of D1 may hold.
const STATES: &str = "-- task_states
SELECT stage, purpose, MIN(idx) AS first, group_concat(letter, '' ORDER BY idx) AS letters
FROM (SELECT idx, stage, purpose,
    CASE state WHEN 'pending' THEN 'p' WHEN 'queued' THEN 'q' WHEN 'running' THEN 'r' WHEN 'succeeded' THEN 's'
      WHEN 'failed' THEN 'f' WHEN 'skipped' THEN 'k' ELSE 'c' END AS letter,
    idx - ROW_NUMBER() OVER (PARTITION BY stage, purpose ORDER BY idx) AS island
  FROM tasks WHERE job = ?1)
GROUP BY stage, purpose, island ORDER BY first";
const STAGES: &str = "-- stage_states
SELECT idx, name, kind, state FROM stages WHERE job = ?1 ORDER BY idx";
const REASONS: &str = "-- missing_reasons
SELECT COALESCE(error->>'$.code', state) AS code, COUNT(*) AS tasks, SUM(items - covered) AS items,
  MAX(error->>'$.message') AS message
FROM tasks WHERE job = ?1 AND state IN ('failed', 'skipped', 'cancelled') AND purpose = 'work'
GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT 100";

/// Three answers: stages, runs of letters, reasons.
pub fn states(job: &str) -> Vec<Statement> {
    [STAGES, STATES, REASONS]
        .map(|text| sql(text, params![job]))
        .into()
}

/// Why items have no result, most of them first, each with the words of one task.
pub fn reasons(job: &str) -> Statement {
    sql(REASONS, params![job])
}

/// `?2`: now, up to which open calls reach; `?3`: the most buckets. At least a second wide, so that a short job is not
/// drawn as noise.
macro_rules! span {
    () => {
        "WITH span AS (SELECT MIN(started_at) AS a, MAX(COALESCE(finished_at, ?2)) AS z FROM attempts WHERE job = ?1),
w AS (SELECT a, MAX(1000, (z - a) / ?3 + 1) AS width FROM span WHERE a IS NOT NULL)\n"
    };
}
const BUCKETS: &str = concat!(
    "-- attempt_buckets\n",
    span!(),
    "SELECT w.a AS origin, w.width, (t.finished_at - w.a) / w.width AS bucket, t.error_class, COUNT(t.id) AS calls,
  SUM(t.cost_nano) AS cost_nano, SUM(t.input_tokens + t.cache_read_tokens + t.cache_write_tokens) AS input_tokens,
  SUM(t.output_tokens) AS output_tokens
FROM w LEFT JOIN attempts t ON t.job = ?1 AND t.finished_at IS NOT NULL
GROUP BY 3, 4 ORDER BY 3, 4"
);
const FAULTS: &str = "-- attempt_faults
SELECT t.idx, t.n, s.name AS stage, t.role, t.model, t.error_class, t.error, t.status, t.finished_at
FROM attempts t JOIN stages s ON s.job = t.job AND s.idx = t.stage
WHERE t.job = ?1 AND t.error_class IS NOT NULL AND t.finished_at IS NOT NULL
ORDER BY t.finished_at DESC, t.id DESC LIMIT ?2";

/// Two answers: calls by time and fault, and the last faults.
pub fn timeline(job: &str, now: i64, buckets: u32, faults: u32) -> Vec<Statement> {
    vec![
        sql(BUCKETS, params![job, now, buckets]),
        sql(FAULTS, params![job, faults]),
    ]
}
