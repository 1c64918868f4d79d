//! Batches: the tasks that go out in one, its row, and what time, callers and the API bring about with it.
//!
//! A task in a batch is `running`, its lease is the batch's id, and it has no end by the clock: what a batch holds is
//! given up only when it is known that nothing will come of it. The row stands before the call that sends it.

use serde::Serialize;

use crate::core::admission::cache::CacheTtl;
use crate::ports::Statement;
use crate::store::row::{Columns, Row};
use crate::store::{params, sql, to_json};

/// The class that attempts in batches are counted in: no live bucket is filled or drained by them.
pub const CLASS: &str = "batch";

/// A batch's row.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub id: String,
    pub job: String,
    /// Nobody saw yet that it was made.
    pub sending: bool,
    pub remote: Option<String>,
    /// Batches that might have been this one and are not.
    pub strangers: Vec<String>,
    pub requests: u32,
    /// 1: it must be cancelled; 2: the API was told.
    pub cancel: u32,
    pub began_at: i64,
    pub misses: u32,
}

impl Batch {
    pub fn read(row: &Row) -> Batch {
        Batch {
            id: row.text("id"),
            job: row.text("job"),
            sending: row.text("state") == "sending",
            remote: row.maybe_text("remote"),
            strangers: row.json("strangers").unwrap_or_default(),
            requests: row.count("requests"),
            cancel: row.count("cancel"),
            began_at: row.int("began_at"),
            misses: row.count("misses"),
        }
    }
}

/// What a claimed task needs for its request, and a result for its reading; as the claim of live calls has it.
macro_rules! task_columns {
    () => {
        "t.id, t.job, t.stage, t.purpose, t.tier, t.idx, t.ids, t.tries, t.delays, t.covered, t.class, t.key, t.bytes,
  t.worst_nano, t.max_tokens, j.tenant, j.run, j.max_attempts, j.reuse, i.body, i.blob,
  CASE WHEN t.covered > 0 THEN o.body END AS output, CASE WHEN t.covered > 0 THEN o.blob END AS output_blob,
  p.response AS prior, p.response_blob AS prior_blob, p.stop_reason AS prior_stop"
    };
}

const WAITING: &str = concat!(
    "-- waiting_for_batch
SELECT ",
    task_columns!(),
    ", t.form, COALESCE(t.wanted, t.ids) AS wanted, t.attempts,
  t.origin LIKE '%:%' OR (t.attempts > 0 AND EXISTS (SELECT 1 FROM attempts w WHERE w.job = t.job AND w.idx = t.idx
    AND COALESCE(w.error_class, '') NOT IN ('not_sent', 'batch_canceled'))) AS again,
  j.reuse = 1 AND EXISTS (SELECT 1 FROM ledger l WHERE l.tenant = j.tenant AND l.key = t.key AND l.expires_at > ?2) AS free
FROM tasks t JOIN jobs j ON j.id = t.job
  LEFT JOIN inputs i ON i.job = t.job AND i.idx = t.idx
  LEFT JOIN outputs o ON o.job = t.job AND o.idx = t.idx
  LEFT JOIN attempts p ON t.form NOT LIKE 'fresh%' AND p.job = t.job AND p.idx = t.idx
    AND p.n = (SELECT MAX(n) FROM attempts q WHERE q.job = t.job AND q.idx = t.idx
      AND (q.response IS NOT NULL OR q.response_blob IS NOT NULL))
WHERE t.job = ?1 AND t.state IN ('pending', 'queued') AND t.batched = 1 AND t.idx >= ?3 AND t.not_before <= ?2
ORDER BY t.idx LIMIT ?4"
);

/// The next tasks of a job that wait for a batch, from that index on, each with what its request is made of; `free` where
/// the ledger has its answer.
pub fn waiting(job: &str, now: i64, from: u32, most: u32) -> Statement {
    sql(WAITING, params![job, now, from, most])
}

const READING: &str = "-- batch_being_read
SELECT 1 FROM batches WHERE job = ?1 AND state = 'reading' LIMIT 1";

/// A row where results of a batch of this job are being read.
pub fn reading(job: &str) -> Statement {
    sql(READING, params![job])
}

const RELEASE: &str = "-- release_batched
UPDATE tasks SET batched = 0 WHERE job = ?1 AND state IN ('pending', 'queued') AND batched = 1";
const RELEASE_SOME: &str = "-- release_some
UPDATE tasks SET batched = 0 WHERE id IN (SELECT value FROM json_each(?1)) AND state IN ('pending', 'queued')";

/// All that waits for a batch goes live.
pub fn release(job: &str) -> Statement {
    sql(RELEASE, params![job])
}

/// These go live.
pub fn release_some(tasks: &[i64]) -> Statement {
    sql(RELEASE_SOME, params![to_json(tasks)])
}

const CHOOSE: &str = "-- choose_delivery
UPDATE jobs SET delivery = ?2, choice = ?3 WHERE id = ?1 AND delivery = 'undecided'";
const HOLD_FOR_BATCH: &str = "-- hold_for_batch
UPDATE tasks SET batched = 1 WHERE job = ?1 AND state IN ('pending', 'queued') AND batched = 0 AND form <> 'fetch'
  AND stage IN (SELECT idx FROM stages WHERE job = ?1 AND kind = 'map')
  AND (SELECT delivery FROM jobs WHERE id = ?1) = 'batch'";

/// How the job's calls go out from now on. What waits already, of an earlier run, goes the same way.
pub fn choose(job: &str, delivery: &str, choice: &str) -> Vec<Statement> {
    vec![
        sql(CHOOSE, params![job, delivery, choice]),
        sql(HOLD_FOR_BATCH, params![job]),
    ]
}

const TELL_REFUSED: &str = "-- tell_refused_batch
UPDATE jobs SET choice = json_set(choice, '$.why', choice->>'$.why' || ?3)
WHERE id = (SELECT job FROM batches WHERE id = ?1) AND choice IS NOT NULL AND instr(choice->>'$.why', ?2) = 0";

/// What the caller is told of the job's delivery says too that a batch was refused for good, once.
pub fn tell_refused(batch: &str, why: &str) -> Statement {
    let said = "The API refused a batch for good";
    let more = format!(" {said}, so its calls go out live, at the full price: {why}");
    sql(TELL_REFUSED, params![batch, said, more])
}

const UNDECIDE: &str = "-- undecide_delivery
UPDATE jobs SET choice = NULL, delivery = COALESCE((SELECT CASE spec->>'$.delivery' WHEN 'batch' THEN 'undecided'
  WHEN 'auto' THEN 'undecided' END FROM specs WHERE job = ?1), 'live') WHERE id = ?1";

/// A new run decides anew.
pub fn undecide(job: &str) -> Statement {
    sql(UNDECIDE, params![job])
}

const GO_LIVE: &str = "-- go_live
UPDATE jobs SET delivery = 'live' WHERE id = ?1 AND delivery = 'batch' RETURNING id";
const CANCEL: &str = "-- cancel_batches
UPDATE batches SET cancel = 1, next_at = MIN(next_at, ?2) WHERE job = ?1 AND state <> 'ended' AND cancel = 0";

/// The job's batches are to be cancelled. What they bring all the same is kept.
pub fn cancel(job: &str, now: i64) -> Statement {
    sql(CANCEL, params![job, now])
}

/// What is left goes out live: what waits at once, what is in batches when it comes back.
pub fn go_live(job: &str, now: i64) -> Vec<Statement> {
    vec![sql(GO_LIVE, params![job]), release(job), cancel(job, now)]
}

const REATTACH: &str = "-- reattach_batched
UPDATE tasks SET state = 'running', lease = (SELECT a.lease FROM attempts a
  WHERE a.job = tasks.job AND a.idx = tasks.idx AND a.n = tasks.attempts)
WHERE id IN (SELECT t.id FROM batches b CROSS JOIN attempts a ON a.lease = b.id AND a.state = 'open' AND a.batch IS NOT NULL
    JOIN tasks t ON t.job = a.job AND t.idx = a.idx AND t.attempts = a.n
  WHERE b.job = ?1 AND b.state <> 'ended' AND t.state = 'pending')
RETURNING job, idx, state AS moved_to";

/// After a retry has revived them: tasks whose last request is still in a batch wait for what that brings, and are not
/// asked again.
pub fn reattach(job: &str) -> Statement {
    sql(REATTACH, params![job])
}

/// One task of a batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Take {
    pub id: i64,
    /// Attempts before this one.
    pub attempts: u32,
    pub role: &'static str,
    pub model: String,
    /// Worst case of its request, in a batch.
    pub worst: i64,
    /// How long its prompt's beginning is to be kept, where it is marked for that.
    pub cache: Option<CacheTtl>,
    /// Parts that it leaves out, as the attempt's row has them.
    pub lacks: Option<String>,
}

/// A batch as it is claimed, before it is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBatch<'a> {
    pub id: &'a str,
    pub job: &'a str,
    pub tenant: &'a str,
    pub now: i64,
    pub day: &'a str,
    /// When somebody else looks after it.
    pub next_at: i64,
    pub held_nano: i64,
    pub tenant_day_nano: Option<i64>,
    pub account_day_nano: Option<i64>,
    pub takes: &'a [Take],
}

const GUARD: &str = "-- guard_batch
INSERT INTO assertions SELECT EXISTS (SELECT 1 FROM jobs j WHERE j.id = ?1 AND j.delivery = 'batch'
  AND j.state IN ('running', 'synthesizing')
  AND (j.limit_nano IS NULL OR j.spent_nano + j.reserved_nano + j.unknown_nano + ?3 + ?2 <= j.limit_nano)
  AND (?5 IS NULL OR ?2 + COALESCE((SELECT spent_nano + reserved_nano FROM spending WHERE day = ?4 AND tenant = j.tenant), 0) <= ?5)
  AND (?6 IS NULL OR ?2 + COALESCE((SELECT SUM(spent_nano + reserved_nano) FROM spending WHERE day = ?4), 0) <= ?6)
  AND NOT EXISTS (SELECT 1 FROM tokens k WHERE k.id = j.token AND ?2 + COALESCE((SELECT spent_nano + reserved_nano
    FROM token_days WHERE day = ?4 AND token = k.id), 0) > k.daily_nano))";
const CLAIM: &str = "-- claim_for_batch
UPDATE tasks SET state = 'running', lease = ?1, queued_at = NULL, attempts = tasks.attempts + 1
FROM (SELECT value->>'$.id' AS id, value->>'$.attempts' AS attempts FROM json_each(?2)) AS e
WHERE tasks.id = e.id AND tasks.state IN ('pending', 'queued') AND tasks.batched = 1 AND tasks.attempts = e.attempts
  AND NOT EXISTS (SELECT 1 FROM jobs j JOIN ledger l ON l.tenant = j.tenant AND l.key = tasks.key
    WHERE j.id = tasks.job AND j.reuse = 1 AND l.expires_at > ?3)
RETURNING job, idx, state AS moved_to";
/// All of them or none: the body that goes out is made already.
const GUARD_ALL: &str = "-- guard_whole_batch
INSERT INTO assertions SELECT (SELECT COUNT(*) FROM attempts WHERE lease = ?1 AND state = 'open' AND batch IS NOT NULL) = ?2";
const OPEN: &str = "-- open_batched_attempts
INSERT INTO attempts (job, idx, n, tenant, stage, lease, form, role, model, class, ids, day, bytes,
  reserved_nano, reserved_input, reserved_output, started_at, batch, cache, token, lacks)
SELECT t.job, t.idx, t.attempts, ?5, t.stage, ?1, t.form, e.value->>'$.role', e.value->>'$.model', 'batch',
  COALESCE(t.wanted, t.ids), ?3, t.bytes, e.value->>'$.worst', 0, 0, ?4, ?1, e.value->>'$.cache', j.token, e.value->>'$.lacks'
FROM json_each(?2) e CROSS JOIN tasks t ON t.id = e.value->>'$.id' JOIN jobs j ON j.id = t.job
WHERE t.lease = ?1 AND t.state = 'running'";
const INSERT: &str = "-- insert_batch
INSERT INTO batches (id, job, tenant, state, requests, began_at, next_at) VALUES (?1, ?2, ?3, 'sending', ?4, ?5, ?6)";

/// Rows of one statement, of some 100 bytes each: a bound text has at most 2 MB.
const ROWS: usize = 10_000;

/// Takes the tasks, opens an attempt for each and writes the batch's row; nothing of it where the job, its budget or one of
/// the tasks is not as it was read.
pub fn claim(batch: &NewBatch<'_>) -> Vec<Statement> {
    let worst = batch
        .takes
        .iter()
        .fold(0_i64, |sum, take| sum.saturating_add(take.worst));
    let requests = batch.takes.len() as u64;
    let mut statements = vec![sql(
        GUARD,
        params![
            batch.job,
            worst,
            batch.held_nano,
            batch.day,
            batch.tenant_day_nano,
            batch.account_day_nano
        ],
    )];
    let portions: Vec<String> = batch.takes.chunks(ROWS).map(to_json).collect();
    for rows in &portions {
        statements.push(sql(CLAIM, params![batch.id, rows.as_str(), batch.now]));
    }
    for rows in portions {
        let values = params![batch.id, rows, batch.day, batch.now, batch.tenant];
        statements.push(sql(OPEN, values));
    }
    statements.push(sql(GUARD_ALL, params![batch.id, requests]));
    let values = params![
        batch.id,
        batch.job,
        batch.tenant,
        requests,
        batch.now,
        batch.next_at
    ];
    statements.push(sql(INSERT, values));
    statements
}

const SENT: &str = "-- batch_sent
UPDATE batches SET state = 'sent', remote = ?2, next_at = ?3, misses = 0 WHERE id = ?1 AND state = 'sending'";

/// It was made, and that is what the API calls it.
pub fn sent(id: &str, remote: &str, next_at: i64) -> Statement {
    sql(SENT, params![id, remote, next_at])
}

const DUE: &str = "-- batches_due
SELECT id FROM batches WHERE state <> 'ended' AND next_at <= ?1 ORDER BY next_at LIMIT ?2";

/// Batches that somebody must look at.
pub fn due(now: i64, most: u32) -> Statement {
    sql(DUE, params![now, most])
}

const TAKE: &str = "-- take_batch
UPDATE batches SET next_at = ?3 WHERE id = ?1 AND state <> 'ended' AND next_at <= ?2 RETURNING *";
const NEXT: &str = "-- look_at_batch
UPDATE batches SET next_at = ?2, misses = CASE ?3 WHEN 1 THEN misses + 1 ELSE 0 END,
  state = CASE state WHEN 'reading' THEN 'sent' ELSE state END WHERE id = ?1 AND state <> 'ended'";
const TOLD: &str = "-- batch_cancelled
UPDATE batches SET cancel = 2 WHERE id = ?1 AND cancel = 1";
const STRANGER: &str = "-- not_this_batch
UPDATE batches SET strangers = json_insert(strangers, '$[#]', ?2) WHERE id = ?1
  AND NOT EXISTS (SELECT 1 FROM json_each(batches.strangers) WHERE value = ?2)";
const READ: &str = "-- read_batch
UPDATE batches SET state = 'reading', next_at = ?2 WHERE id = ?1 AND state <> 'ended'";
const KNOWN: &str = "-- known_batches
SELECT remote FROM batches WHERE remote IN (SELECT value FROM json_each(?1))";

/// Takes a batch that is due for one look; a row comes back to one of all that ask before `until`.
pub fn take(id: &str, now: i64, until: i64) -> Statement {
    sql(TAKE, params![id, now, until])
}

/// Looked at; the next time then. `missed`: it was not where it should be.
pub fn next(id: &str, at: i64, missed: bool) -> Statement {
    sql(NEXT, params![id, at, u32::from(missed)])
}

/// The API was told to cancel it.
pub fn told(id: &str) -> Statement {
    sql(TOLD, params![id])
}

/// What was taken for this batch is another.
pub fn stranger(id: &str, remote: &str) -> Statement {
    sql(STRANGER, params![id, remote])
}

/// Its results are being read; if nothing more is heard of that, somebody else does then.
pub fn read(id: &str, until: i64) -> Statement {
    sql(READ, params![id, until])
}

/// Which of these are known to be ours already.
pub fn known(remotes: &[String]) -> Statement {
    sql(KNOWN, params![to_json(remotes)])
}

const OPEN_OF: &str = "-- open_of_batch
SELECT idx, n FROM attempts WHERE lease = ?1 AND state = 'open' AND batch IS NOT NULL";

/// Which requests of a batch have no result yet.
pub fn open_of(id: &str) -> Statement {
    sql(OPEN_OF, params![id])
}

const RESULTS: &str = concat!(
    "-- results_of_batch
SELECT ",
    task_columns!(),
    ", a.id AS attempt, a.n AS attempts, a.idx AS attempt_idx, a.form, a.ids AS wanted, a.model, a.cache, a.lacks,
  (SELECT SUM(cost_nano) FROM attempts c WHERE c.job = a.job AND c.idx = a.idx) AS paid_nano
FROM json_each(?2) e CROSS JOIN attempts a ON a.job = ?1 AND a.idx = e.value->>0 AND a.n = e.value->>1
  LEFT JOIN tasks t ON t.job = a.job AND t.idx = a.idx
  LEFT JOIN jobs j ON j.id = a.job
  LEFT JOIN inputs i ON i.job = a.job AND i.idx = a.idx
  LEFT JOIN outputs o ON o.job = a.job AND o.idx = a.idx
  LEFT JOIN attempts p ON a.form NOT LIKE 'fresh%' AND p.job = a.job AND p.idx = a.idx
    AND p.n = (SELECT MAX(n) FROM attempts q WHERE q.job = a.job AND q.idx = a.idx AND q.n < a.n
      AND (q.response IS NOT NULL OR q.response_blob IS NOT NULL))
WHERE a.lease = ?3 AND a.state = 'open'"
);

/// The attempts (index, number) of a batch with their tasks, as they asked. `id` is null where the task is gone with its
/// job.
pub fn results(job: &str, batch: &str, attempts: &[(u32, u32)]) -> Statement {
    sql(RESULTS, params![job, to_json(attempts), batch])
}

const CLOSE: &str = "-- close_batched
UPDATE attempts SET state = ?2, finished_at = ?3, error_class = ?4, error = ?5 WHERE lease = ?1 AND state = 'open' AND batch IS NOT NULL
RETURNING job, idx, CASE state WHEN 'unknown' THEN n END AS lost_attempt";
const GIVE_BACK: &str = "-- give_back_batched
UPDATE tasks SET state = 'pending', lease = NULL, not_before = ?2, delays = delays + ?3,
  batched = CASE WHEN ?4 = 1 THEN 0 ELSE batched END
WHERE job = (SELECT job FROM batches WHERE id = ?1) AND lease = ?1 AND state = 'running'
RETURNING job, idx, state AS moved_to";
const END: &str = "-- end_batch
UPDATE batches SET state = 'ended', ended_at = ?2, note = COALESCE(?3, note) WHERE id = ?1 AND state <> 'ended'";

/// What becomes of a batch of which nothing will come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lost<'a> {
    /// Its requests may have been answered for money all the same.
    pub paid: bool,
    /// Code and words for the attempts.
    pub code: &'a str,
    pub why: &'a str,
    /// When its tasks may go again.
    pub not_before: i64,
    /// It counts as one more batch that did not answer them.
    pub delay: bool,
    /// They go live.
    pub live: bool,
}

/// Its requests are closed, its tasks wait again, and nobody looks at it any more.
pub fn lose(id: &str, now: i64, lost: &Lost<'_>) -> Vec<Statement> {
    let state = if lost.paid { "unknown" } else { "done" };
    vec![
        sql(CLOSE, params![id, state, now, lost.code, lost.why]),
        sql(
            GIVE_BACK,
            params![
                id,
                lost.not_before,
                u32::from(lost.delay),
                u32::from(lost.live)
            ],
        ),
        end(id, now, Some(lost.why)),
    ]
}

/// Everything of it is read.
pub fn end(id: &str, now: i64, note: Option<&str>) -> Statement {
    sql(END, params![id, now, note])
}
