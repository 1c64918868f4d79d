//! Taking jobs away, whole or in part, and forgetting what is old.
//!
//! A removal begins by deleting the row in `jobs`: every other statement starts from there, so the job is gone for
//! callers and for the engine at once. What is left of it is nobody's, and goes in slices that may run twice. A new
//! table with rows of a job belongs into [`SLICES`].

use crate::ports::Statement;
use crate::store::{params, sql, to_json};

/// Rows of one table that one statement deletes: with 64 KB in each, 32 MB are let go in one transaction.
pub const SLICE_ROWS: u32 = 500;

/// What a removal takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// All of a job.
    Job,
    /// What models said in its attempts; that they were made, and what they cost, stays.
    Answers,
}

impl What {
    pub fn as_str(self) -> &'static str {
        match self {
            What::Job => "job",
            What::Answers => "answers",
        }
    }

    pub fn parse(text: &str) -> Option<What> {
        match text {
            "job" => Some(What::Job),
            "answers" => Some(What::Answers),
            _ => None,
        }
    }
}

const REMOVE: &str = "-- remove_job
INSERT OR IGNORE INTO removals (job, what, tenant, since, next_at) SELECT id, 'job', tenant, ?2, ?3 FROM jobs WHERE id = ?1";
const REMOVE_KEY: &str = "-- remove_idempotency
DELETE FROM idempotency WHERE job = ?1";
const REMOVE_ROW: &str = "-- remove_job_row
DELETE FROM jobs WHERE id = ?1";

/// Begins to remove one job; after [`super::control::guard`]. The key of its submit is free again at once.
pub fn begin(job: &str, now: i64, next_at: i64) -> Vec<Statement> {
    vec![
        sql(REMOVE, params![job, now, next_at]),
        sql(REMOVE_KEY, params![job]),
        sql(REMOVE_ROW, params![job]),
    ]
}

const AGE_JOBS: &str = "-- age_jobs
INSERT OR IGNORE INTO removals (job, what, tenant, since, next_at)
SELECT id, 'job', tenant, ?2, ?2 FROM jobs WHERE finished_at < ?1 ORDER BY finished_at LIMIT ?3";
const AGE_KEYS: &str = "-- age_keys_of_jobs
DELETE FROM idempotency WHERE job IN (SELECT job FROM removals WHERE what = 'job' AND next_at = ?1)";
const AGE_ROWS: &str = "-- age_job_rows
DELETE FROM jobs WHERE id IN (SELECT job FROM removals WHERE what = 'job' AND next_at = ?1)";

/// Begins to remove jobs that ended before `before`, the oldest first. They are due at once.
pub fn age_jobs(before: i64, now: i64, most: u32) -> Vec<Statement> {
    vec![
        sql(AGE_JOBS, params![before, now, most]),
        sql(AGE_KEYS, params![now]),
        sql(AGE_ROWS, params![now]),
    ]
}

const AGE_ANSWERS: &str = "-- age_answers
INSERT OR IGNORE INTO removals (job, what, tenant, since, next_at)
SELECT id, 'answers', tenant, ?2, ?2 FROM jobs WHERE finished_at < ?1 AND answers_kept = 1 ORDER BY finished_at LIMIT ?3";
const ANSWERS_AGED: &str = "-- answers_aged
UPDATE jobs SET answers_kept = 0 WHERE answers_kept = 1
  AND id IN (SELECT job FROM removals WHERE what = 'answers' AND next_at = ?1)";

/// Begins to forget what models said in jobs that ended before `before`.
pub fn age_answers(before: i64, now: i64, most: u32) -> Vec<Statement> {
    vec![
        sql(AGE_ANSWERS, params![before, now, most]),
        sql(ANSWERS_AGED, params![now]),
    ]
}

const AGE_IDEMPOTENCY: &str = "-- age_idempotency
DELETE FROM idempotency WHERE (tenant, key) IN (
  SELECT tenant, key FROM idempotency WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)";
const AGE_DEAD_LETTERS: &str = "-- age_dead_letters
DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE at < ?1 ORDER BY at LIMIT ?2)";

/// Forgets keys of submits.
pub fn age_idempotency(before: i64) -> Statement {
    sql(AGE_IDEMPOTENCY, params![before, SLICE_ROWS])
}

/// Forgets messages that nobody could settle.
pub fn age_dead_letters(before: i64) -> Statement {
    sql(AGE_DEAD_LETTERS, params![before, SLICE_ROWS])
}

const DUE: &str = "-- removals_due
UPDATE removals SET next_at = ?2 WHERE (job, what) IN (
  SELECT job, what FROM removals WHERE next_at <= ?1 ORDER BY next_at LIMIT ?3) RETURNING job, what";

/// Removals that wait for somebody to go on with them; each comes back once per interval.
pub fn due(now: i64, next: i64, most: u32) -> Statement {
    sql(DUE, params![now, next, most])
}

const FIND: &str = "-- removal
SELECT tenant, since FROM removals WHERE job = ?1 AND what = ?2";

/// A removal that is not done yet.
pub fn find(job: &str, what: What) -> Statement {
    sql(FIND, params![job, what.as_str()])
}

/// One statement for each table that holds rows of a job, deleting [`SLICE_ROWS`] of them: ?1 the job, ?2 how many.
/// Attempts whose end is not known yet stay: when they close, the governor and the day's spending must learn of it.
/// What another job drew from the ledger stays too.
const SLICES: [&str; 23] = [
    // Before their tasks, and of the same ones.
    "-- remove_answers_of_tasks
DELETE FROM ledger WHERE job = ?1 AND shared = 0
  AND tenant = (SELECT tenant FROM removals WHERE job = ?1 AND what = 'job')
  AND key IN (SELECT key FROM tasks WHERE id IN (SELECT id FROM tasks WHERE job = ?1 LIMIT ?2))",
    "-- remove_tasks
DELETE FROM tasks WHERE id IN (SELECT id FROM tasks WHERE job = ?1 LIMIT ?2)",
    "-- remove_inputs
DELETE FROM inputs WHERE job = ?1 AND idx IN (SELECT idx FROM inputs WHERE job = ?1 LIMIT ?2)",
    "-- remove_outputs
DELETE FROM outputs WHERE job = ?1 AND idx IN (SELECT idx FROM outputs WHERE job = ?1 LIMIT ?2)",
    "-- remove_attempts
DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE job = ?1 AND state <> 'open' LIMIT ?2)",
    "-- remove_batches
DELETE FROM batches WHERE id IN (SELECT id FROM batches WHERE job = ?1 AND state = 'ended' LIMIT ?2)",
    "-- remove_ledger
DELETE FROM ledger WHERE (tenant, key) IN (SELECT tenant, key FROM ledger WHERE job = ?1 AND listed = 1 AND shared = 0 LIMIT ?2)",
    "-- remove_events
DELETE FROM events WHERE job = ?1 AND seq IN (SELECT seq FROM events WHERE job = ?1 LIMIT ?2)",
    "-- remove_pages
DELETE FROM pages WHERE job = ?1 AND first IN (SELECT first FROM pages WHERE job = ?1 LIMIT ?2)",
    "-- remove_plans
DELETE FROM plans WHERE job = ?1 AND round IN (SELECT round FROM plans WHERE job = ?1 LIMIT ?2)",
    "-- remove_bundles
DELETE FROM bundles WHERE job = ?1 AND (stage, grp, seq) IN (SELECT stage, grp, seq FROM bundles WHERE job = ?1 LIMIT ?2)",
    "-- remove_amended
DELETE FROM amended WHERE job = ?1 AND (stage, base, task) IN (SELECT stage, base, task FROM amended WHERE job = ?1 LIMIT ?2)",
    "-- remove_flags
DELETE FROM flags WHERE job = ?1 AND (stage, id, flag) IN (SELECT stage, id, flag FROM flags WHERE job = ?1 LIMIT ?2)",
    "-- remove_redone
DELETE FROM redone WHERE job = ?1 AND (stage, id) IN (SELECT stage, id FROM redone WHERE job = ?1 LIMIT ?2)",
    "-- remove_earlier
DELETE FROM earlier WHERE job = ?1 AND (stage, key) IN (SELECT stage, key FROM earlier WHERE job = ?1 LIMIT ?2)",
    "-- remove_parts
DELETE FROM parts WHERE job = ?1 AND (item, n) IN (SELECT item, n FROM parts WHERE job = ?1 LIMIT ?2)",
    "-- remove_documents
DELETE FROM documents WHERE job = ?1 AND (stage, item) IN (SELECT stage, item FROM documents WHERE job = ?1 LIMIT ?2)",
    "-- remove_stages
DELETE FROM stages WHERE job = ?1 AND idx IN (SELECT idx FROM stages WHERE job = ?1 LIMIT ?2)",
    "-- remove_spec
DELETE FROM specs WHERE job IN (SELECT job FROM specs WHERE job = ?1 LIMIT ?2)",
    "-- remove_webhook
DELETE FROM webhooks WHERE job IN (SELECT job FROM webhooks WHERE job = ?1 LIMIT ?2)",
    "-- remove_trace
DELETE FROM traces WHERE job IN (SELECT job FROM traces WHERE job = ?1 LIMIT ?2)",
    "-- remove_delivery_tries
DELETE FROM delivery_tries WHERE (delivery, n) IN (SELECT delivery, n FROM delivery_tries WHERE job = ?1 LIMIT ?2)",
    "-- remove_deliveries
DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE job = ?1 LIMIT ?2)",
];
const DISOWN: &str = "-- disown_ledger
UPDATE ledger SET job = '' WHERE job = ?1 AND listed = 1 AND shared = 1";
const DISOWN_RUN: &str = "-- disown_run
UPDATE schedule_runs SET job_id = NULL WHERE job_id = ?1";
/// The largest tables: where these are empty, the others are.
const LEFT: &str = "-- left_of_job
SELECT EXISTS (SELECT 1 FROM tasks WHERE job = ?1) OR EXISTS (SELECT 1 FROM inputs WHERE job = ?1)
  OR EXISTS (SELECT 1 FROM outputs WHERE job = ?1) OR EXISTS (SELECT 1 FROM pages WHERE job = ?1)
  OR EXISTS (SELECT 1 FROM flags WHERE job = ?1) OR EXISTS (SELECT 1 FROM redone WHERE job = ?1)
  OR EXISTS (SELECT 1 FROM earlier WHERE job = ?1) OR EXISTS (SELECT 1 FROM amended WHERE job = ?1)
  OR EXISTS (SELECT 1 FROM plans WHERE job = ?1) OR EXISTS (SELECT 1 FROM bundles WHERE job = ?1) OR EXISTS (SELECT 1 FROM parts WHERE job = ?1) OR EXISTS (SELECT 1 FROM documents WHERE job = ?1)
  OR EXISTS (SELECT 1 FROM ledger WHERE job = ?1 AND listed = 1) OR EXISTS (SELECT 1 FROM delivery_tries WHERE job = ?1)
  OR EXISTS (SELECT 1 FROM attempts WHERE job = ?1 AND state <> 'open') AS some,
  EXISTS (SELECT 1 FROM attempts WHERE job = ?1 AND state = 'open')
    OR EXISTS (SELECT 1 FROM batches WHERE job = ?1 AND state <> 'ended') AS open";

/// The next slice of a job's rows; the last statement answers with what is left: `some` to take at once, `open` calls
/// to wait for.
pub fn slice(job: &str) -> Vec<Statement> {
    let mut statements: Vec<Statement> = SLICES
        .iter()
        .map(|text| sql(text, params![job, SLICE_ROWS]))
        .collect();
    statements.push(sql(DISOWN, params![job]));
    statements.push(sql(DISOWN_RUN, params![job]));
    statements.push(sql(LEFT, params![job]));
    statements
}

const FORGET_ANSWERS: &str = "-- forget_answers
UPDATE attempts SET response = NULL, response_blob = NULL WHERE job = ?1 AND idx >= ?2 AND idx < ?3 AND state <> 'open'
  AND (response IS NOT NULL OR response_blob IS NOT NULL)";
const MORE_ANSWERS: &str = "-- more_answers
SELECT EXISTS (SELECT 1 FROM attempts WHERE job = ?1 AND idx >= ?2) AS more";

/// Takes the answers out of the attempts of [`SLICE_ROWS`] tasks from `from` on; the last statement says whether
/// there are `more` tasks.
pub fn forget_answers(job: &str, from: u32) -> Vec<Statement> {
    let to = from.saturating_add(SLICE_ROWS);
    vec![
        sql(FORGET_ANSWERS, params![job, from, to]),
        sql(MORE_ANSWERS, params![job, to]),
    ]
}

const NAMED_BLOBS: &str = "-- named_blobs
SELECT blob FROM ledger WHERE tenant = ?1 AND blob IN (SELECT value FROM json_each(?2))";

/// Which of these blobs a ledger entry still names.
pub fn named_blobs(tenant: &str, blobs: &[String]) -> Statement {
    sql(NAMED_BLOBS, params![tenant, to_json(blobs)])
}

const DONE: &str = "-- removal_done
DELETE FROM removals WHERE job = ?1 AND what = ?2";
const LATER: &str = "-- removal_later
UPDATE removals SET next_at = ?3 WHERE job = ?1 AND what = ?2";

/// Nothing is left.
pub fn done(job: &str, what: What) -> Statement {
    sql(DONE, params![job, what.as_str()])
}

/// The sweep asks again then.
pub fn later(job: &str, what: What, at: i64) -> Statement {
    sql(LATER, params![job, what.as_str(), at])
}
