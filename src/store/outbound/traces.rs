//! What is told to a collector of traces: which runs are due, their rows slice by slice, and how far it has come.

use crate::ports::Statement;
use crate::store::{params, sql};

const INSERT: &str = "-- insert_trace
INSERT INTO traces (job, parent) VALUES (?1, ?2)";

/// A job is traced; in the batch that makes the job.
pub fn insert(job: &str, parent: Option<&str>) -> Statement {
    sql(INSERT, params![job, parent])
}

const DUE_OF_JOB: &str = "-- trace_due_of_job
SELECT job FROM traces WHERE job = ?1 AND next_at <= ?2";
const DUE: &str = "-- traces_due
SELECT job FROM traces WHERE next_at <= ?1 ORDER BY next_at LIMIT ?2";

/// Whether one job's run is to be told now.
pub fn due_of_job(job: &str, now: i64) -> Statement {
    sql(DUE_OF_JOB, params![job, now])
}

/// What is to be told now, the longest overdue first.
pub fn due(now: i64, most: u32) -> Statement {
    sql(DUE, params![now, most])
}

const CLAIM: &str = "-- claim_trace
UPDATE traces SET tries = tries + 1, next_at = ?3 WHERE job = ?1 AND next_at <= ?2 RETURNING *";

/// Takes the next slice of a run for one try; a row comes back to one of all that ask before `until`.
pub fn claim(job: &str, now: i64, until: i64) -> Statement {
    sql(CLAIM, params![job, now, until])
}

const TASKS: &str = "-- trace_tasks
SELECT t.idx, t.state, t.purpose, t.items, t.attempts, t.finished_at, json_extract(t.error, '$.code') AS error_code,
  s.name AS stage_name, s.idx AS stage
FROM tasks t JOIN stages s ON s.job = t.job AND s.idx = t.stage
WHERE t.job = ?1 AND t.idx > ?2 AND (t.finished_at IS NULL OR t.finished_at > ?3)
ORDER BY t.idx LIMIT ?4";
const ATTEMPTS: &str = "-- trace_attempts
SELECT idx, n, state, role, model, cost_nano, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, status,
  error_class, request_id, stop_reason, started_at, finished_at
FROM attempts WHERE job = ?1 AND started_at > ?3 AND idx > ?2 AND idx <= (SELECT MAX(idx) FROM (
  SELECT idx FROM tasks WHERE job = ?1 AND idx > ?2 AND (finished_at IS NULL OR finished_at > ?3) ORDER BY idx LIMIT ?4))
ORDER BY idx, n";

/// Tasks of a run after one, and the calls that were made for them.
pub fn slice(job: &str, after: i64, since: i64, tasks: u32) -> [Statement; 2] {
    [
        sql(TASKS, params![job, after, since, tasks]),
        sql(ATTEMPTS, params![job, after, since, tasks]),
    ]
}

const JOB: &str = "-- trace_job
SELECT j.state, j.in_flight, j.created_at, j.items_total, j.calls, j.input_tokens, j.output_tokens, j.cache_read_tokens, j.cache_write_tokens,
  j.spent_nano, j.tenant, json_extract(j.error, '$.code') AS error_code, json_extract(p.spec, '$.recipe') AS recipe
FROM jobs j JOIN specs p ON p.job = j.id WHERE j.id = ?1";
const STAGES: &str = "-- trace_stages
SELECT s.idx, s.name, s.kind, s.succeeded, s.failed, s.skipped, s.cancelled, a.began, t.first, t.ended
FROM stages s
LEFT JOIN (SELECT stage, MIN(started_at) AS began FROM attempts WHERE job = ?1 AND started_at > ?2 GROUP BY stage) a
  ON a.stage = s.idx
LEFT JOIN (SELECT stage, MIN(finished_at) AS first, MAX(finished_at) AS ended FROM tasks
  WHERE job = ?1 AND finished_at > ?2 GROUP BY stage) t ON t.stage = s.idx
WHERE s.job = ?1 ORDER BY s.idx";

/// The job and its stages.
pub fn frame(job: &str, since: i64) -> [Statement; 2] {
    [sql(JOB, params![job]), sql(STAGES, params![job, since])]
}

const ADVANCE: &str = "-- trace_told
UPDATE traces SET after = ?4, tries = 0, began = ?5, next_at = ?5 WHERE job = ?1 AND run = ?2 AND after = ?3 AND next_at IS NOT NULL";
const DONE: &str = "-- trace_whole
UPDATE traces SET since = ended, next_at = NULL WHERE job = ?1 AND run = ?2";
const AGAIN: &str = "-- trace_again
UPDATE traces SET next_at = ?4 WHERE job = ?1 AND run = ?2 AND tries = ?3 AND next_at IS NOT NULL";
const GIVE_UP: &str = "-- trace_given_up
UPDATE traces SET since = ended, next_at = NULL WHERE job = ?1 AND run = ?2 AND tries = ?3";

/// A slice is told: its tasks are those after `from` up to `to`. A run that began anew meanwhile is not touched.
pub fn advance(job: &str, run: u32, from: i64, to: i64, now: i64) -> Statement {
    sql(ADVANCE, params![job, run, from, to, now])
}

/// All of a run is told.
pub fn done(job: &str, run: u32) -> Statement {
    sql(DONE, params![job, run])
}

/// The collector did not take it: once more at `at`.
pub fn again(job: &str, run: u32, tries: u32, at: i64) -> Statement {
    sql(AGAIN, params![job, run, tries, at])
}

/// It never did.
pub fn give_up(job: &str, run: u32, tries: u32) -> Statement {
    sql(GIVE_UP, params![job, run, tries])
}
