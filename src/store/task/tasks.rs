//! Tasks: written by expansion, queued by the pump, leased by consumers.

use serde::Serialize;
use serde_json::{Value, json};

use crate::core::job::state::{TaskEvent, task_states_that_accept};
use crate::core::task::kind::TaskKind;
use crate::ports::Statement;
use crate::store::{params, sql, to_json};

/// A task as expansion writes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewTask {
    /// JSON array of item ids.
    pub ids: String,
    pub items: u32,
    pub class: String,
    /// What the ledger knows its first request by.
    pub key: String,
    /// Upper bound of its input in tokens.
    pub bytes: u64,
    pub max_tokens: u32,
    pub worst_nano: i64,
    /// What the worker gets: inline, or the key of a blob.
    pub body: Option<String>,
    pub blob: Option<String>,
    /// The group it works on.
    pub grp: Option<String>,
    /// It has one result for all its items, which needs an id of its own.
    pub labelled: bool,
    /// Which model of a cascade it asks first.
    pub tier: u32,
    /// Its items, as its worker gets them.
    #[serde(skip)]
    pub wire: Vec<Value>,
    /// Its results, where an earlier job gave them: it is done.
    #[serde(skip)]
    pub taken: Option<Taken>,
}

/// Results that are taken over, and what they had cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    pub body: Option<String>,
    pub blob: Option<String>,
    pub bytes: u64,
    pub nano: i64,
}

const GUARD_CURSOR: &str = "-- guard_cursor
INSERT INTO assertions SELECT EXISTS (SELECT 1 FROM stages s JOIN jobs j ON j.id = s.job
  WHERE s.job = ?1 AND s.idx = ?2 AND s.cursor = ?3 AND s.expanded = 0 AND s.state = 'running'
    AND j.next_index = ?4 AND j.state IN ('planning', 'running', 'synthesizing'))";
const INSERT_TASKS: &str = "-- insert_tasks
INSERT INTO tasks (job, stage, idx, ids, items, class, key, bytes, max_tokens, worst_nano, purpose, level, grp, label, tier, batched, counted)
SELECT ?1, ?2, ?3 + e.key, value->>'$.ids', value->>'$.items', value->>'$.class', value->>'$.key',
  value->>'$.bytes', value->>'$.max_tokens', value->>'$.worst_nano', ?5, ?6, value->>'$.grp',
  CASE WHEN value->>'$.labelled' = 1
    THEN COALESCE(substr(value->>'$.grp', 1, 100) || '#', 'chunk-') || (s.made + e.key + 1) END, value->>'$.tier',
  j.delivery = 'batch' AND (s.kind = 'map' OR ?5 = 'reduce'), 1
FROM json_each(?4) e CROSS JOIN stages s ON s.job = ?1 AND s.idx = ?2 JOIN jobs j ON j.id = ?1";
const INSERT_INPUTS: &str = "-- insert_inputs
INSERT INTO inputs (job, idx, body, blob)
SELECT ?1, ?2 + key, value->>'$.body', value->>'$.blob' FROM json_each(?3)";
const MOVE_CURSOR: &str = "-- move_cursor
UPDATE stages SET cursor = ?3, expanded = ?4, made = made + ?5, pending = pending + ?5 WHERE job = ?1 AND idx = ?2";
const TAKE_INDEXES: &str = "-- take_indexes
UPDATE jobs SET next_index = next_index + ?2, updated_at = ?3, drive_at = ?4 WHERE id = ?1
RETURNING id AS expanded_job, next_index - ?2 AS first, ?2 AS tasks";

/// Where a slice of expansion begins and ends.
pub struct Slice<'a> {
    pub job: &'a str,
    pub stage: u32,
    pub cursor: u32,
    pub next_cursor: u32,
    pub next_index: u32,
    pub last: bool,
    pub purpose: TaskKind,
    /// Of the tree, where its tasks are of one.
    pub level: u32,
    pub now: i64,
    pub drive_at: i64,
}

impl<'a> Slice<'a> {
    /// The one task that a stage has, all of it in one slice.
    pub fn of_one(job: &'a str, stage: u32, next_index: u32, now: i64, drive_at: i64) -> Slice<'a> {
        Slice {
            job,
            stage,
            cursor: 0,
            next_cursor: 1,
            next_index,
            last: true,
            purpose: TaskKind::Work,
            level: 0,
            now,
            drive_at,
        }
    }
}

/// Writes a slice of tasks. Expanding the same slice twice fails on the guard.
pub fn expand(slice: &Slice<'_>, tasks: &[NewTask]) -> Vec<Statement> {
    let rows = to_json(tasks);
    vec![
        sql(
            GUARD_CURSOR,
            params![slice.job, slice.stage, slice.cursor, slice.next_index],
        ),
        sql(
            INSERT_TASKS,
            params![
                slice.job,
                slice.stage,
                slice.next_index,
                rows.as_str(),
                slice.purpose.as_str(),
                slice.level
            ],
        ),
        sql(INSERT_INPUTS, params![slice.job, slice.next_index, rows]),
        sql(
            MOVE_CURSOR,
            params![
                slice.job,
                slice.stage,
                slice.next_cursor,
                u32::from(slice.last),
                tasks.len() as u64
            ],
        ),
        sql(
            TAKE_INDEXES,
            params![slice.job, tasks.len() as u64, slice.now, slice.drive_at],
        ),
    ]
}

const TAKE_OUTPUTS: &str = "-- take_outputs
INSERT INTO outputs (job, idx, body, blob, bytes)
SELECT ?1, value->>'$.idx', value->>'$.body', value->>'$.blob', value->>'$.bytes' FROM json_each(?2)";
const TAKE_TASKS: &str = "-- take_tasks
UPDATE tasks SET state = 'succeeded', covered = items, finished_at = ?3, verified = 1, taken_nano = e.nano
FROM (SELECT value->>'$.idx' AS idx, value->>'$.nano' AS nano FROM json_each(?2)) AS e
WHERE tasks.job = ?1 AND tasks.idx = e.idx AND tasks.state = 'pending'";
const TAKE_SAVED: &str = "-- count_taken
UPDATE jobs SET saved_nano = saved_nano + ?2 WHERE id = ?1";
/// Results go in as bound texts of at most 2 MB; escaping may double what they have.
const TAKEN_BYTES: usize = 600_000;

/// After a slice whose first task is `first`, and after all else that is written about its tasks: those whose results were
/// taken over are done.
pub fn take(job: &str, first: u32, tasks: &[NewTask], now: i64) -> Vec<Statement> {
    let mut portions: Vec<Vec<Value>> = Vec::new();
    let (mut saved, mut bytes) = (0_i64, TAKEN_BYTES);
    for (idx, task) in (first..).zip(tasks) {
        let Some(taken) = &task.taken else { continue };
        saved = saved.saturating_add(taken.nano);
        let own = taken.body.as_ref().map_or(0, String::len) + 200;
        if bytes + own > TAKEN_BYTES {
            portions.push(Vec::new());
            bytes = 0;
        }
        bytes += own;
        let row = json!({"idx": idx, "body": taken.body, "blob": taken.blob, "bytes": taken.bytes, "nano": taken.nano});
        if let Some(portion) = portions.last_mut() {
            portion.push(row);
        }
    }
    let mut statements = Vec::new();
    for rows in &portions {
        let rows = to_json(rows);
        statements.push(sql(TAKE_OUTPUTS, params![job, rows.as_str()]));
        statements.push(sql(TAKE_TASKS, params![job, rows, now]));
    }
    if !portions.is_empty() {
        statements.push(sql(TAKE_SAVED, params![job, saved]));
    }
    statements
}

const QUEUE: &str = "-- queue_tasks
UPDATE tasks SET state = 'queued', queued_at = ?2 WHERE id IN (
  SELECT id FROM tasks WHERE job = ?1 AND state IN ('pending', 'queued') AND batched = 0 AND not_before <= ?2
    AND state = 'pending'
  ORDER BY not_before, idx
  LIMIT MAX(0, COALESCE((SELECT concurrency - (in_flight - in_batches) - (SELECT SUM(queued) FROM stages WHERE job = ?1)
    FROM jobs WHERE id = ?1 AND state IN ('planning', 'running', 'synthesizing') AND (state <> 'planning' OR stage = 1000)), 0)))
RETURNING job, idx, state AS moved_to";

/// Marks as many waiting tasks as the job has places for; a message must then be sent for them.
pub fn queue(job: &str, now: i64) -> Statement {
    sql(QUEUE, params![job, now])
}

const RENEW: &str = "-- renew_leases
INSERT INTO leases (lease, until) VALUES (?1, ?2) ON CONFLICT (lease) DO UPDATE
  SET until = excluded.until, graced = 0";
const HOLD: &str = "-- hold_lease
INSERT INTO leases (lease, until) VALUES (?1, ?2)
ON CONFLICT (lease) DO UPDATE SET until = excluded.until, graced = 0 WHERE until - ?3 < (excluded.until - ?3) / 10 * 7";

/// Keeps the tasks of a consumer that is alive: one row, however many they are.
pub fn renew(lease: &str, until: i64) -> Statement {
    sql(RENEW, params![lease, until])
}

/// With a claim. Renewals keep an end that is there; only what they have not kept is written.
pub fn hold(lease: &str, until: i64, now: i64) -> Statement {
    sql(HOLD, params![lease, until, now])
}

const UNWANTED: &str = "-- unwanted_tasks
SELECT e.value AS id FROM json_each(?1) e LEFT JOIN tasks t ON t.id = e.value AND t.lease = ?2 AND t.state = 'running'
  LEFT JOIN jobs j ON j.id = t.job AND j.state IN ('planning', 'running', 'synthesizing') AND (j.state <> 'planning' OR j.stage = 1000)
WHERE j.id IS NULL";

/// Which of these tasks are not this lease's any more, or of a job that is not at work.
pub fn unwanted(tasks: &[i64], lease: &str) -> Statement {
    sql(UNWANTED, params![to_json(tasks), lease])
}

const CLOSE_OPEN: &str = "-- close_open_tasks
UPDATE tasks SET state = ?2, error = ?3, finished_at = ?4, lease = NULL
WHERE job = ?1 AND state IN (SELECT value FROM json_each(?5))";

/// Ends every open task of a job at once: by cancel, deadline or budget.
pub fn close_open(job: &str, event: TaskEvent, error: &serde_json::Value, now: i64) -> Statement {
    let to = if event == TaskEvent::Cancelled {
        "cancelled"
    } else {
        "skipped"
    };
    sql(
        CLOSE_OPEN,
        params![
            job,
            to,
            error.to_string(),
            now,
            to_json(&task_states_that_accept(event))
        ],
    )
}

const SKIP_WAITING: &str = "-- skip_waiting_tasks
UPDATE tasks SET state = 'skipped', error = ?3, finished_at = ?4
WHERE job = ?1 AND stage = ?2 AND state IN ('pending', 'queued')
  AND worst_nano - CASE WHEN attempts = 0 AND purpose = 'work' AND tier = 0 AND batched = 0 THEN ?6 ELSE 0 END > ?5
  AND NOT EXISTS (SELECT 1 FROM ledger l JOIN jobs j ON j.id = ?1
    WHERE l.tenant = j.tenant AND l.key = tasks.key AND l.expires_at > ?4 AND j.reuse = 1)";

/// Ends the tasks of a stage that nobody holds and whose next call may cost more than `left`; a first call costs `saved` less.
pub fn skip_waiting(
    job: &str,
    stage: u32,
    error: &serde_json::Value,
    now: i64,
    left: i64,
    saved: i64,
) -> Statement {
    sql(
        SKIP_WAITING,
        params![job, stage, error.to_string(), now, left, saved],
    )
}

const DONE_STAGES: &str = "-- done_stages
UPDATE stages SET state = 'done' WHERE job = ?1 AND state = 'running' AND expanded = 1
  AND pending + queued + running = 0 RETURNING job";

/// Closes the job's stage if its last task has ended: the fan-in. Of all that ask, one gets a row back.
pub fn fan_in(job: &str) -> Statement {
    sql(DONE_STAGES, params![job])
}

const COUNTS: &str = "-- task_counts
SELECT job AS counted_job, SUM(pending) AS pending, SUM(queued) AS queued, SUM(running) AS running,
  SUM(succeeded) AS succeeded, SUM(failed) AS failed, SUM(skipped) AS skipped, SUM(cancelled) AS cancelled
FROM stages WHERE job = ?1 GROUP BY job";

/// How many of a job's tasks are in which state, for the log of a step that may have moved all of them.
pub fn counts(job: &str) -> Statement {
    sql(COUNTS, params![job])
}

const REVIVE: &str = "-- revive_tasks
UPDATE tasks SET state = 'pending', error = NULL, tries = 0, delays = 0, crashes = 0, not_before = 0,
  finished_at = NULL, lease = NULL
WHERE job = ?1 AND state IN ('failed', 'skipped', 'cancelled')
  AND stage IN (SELECT idx FROM stages WHERE job = ?1 AND kind = 'map')";

/// Gives every task that brought nothing another chance.
pub fn revive(job: &str) -> Statement {
    sql(REVIVE, params![job])
}

const REQUEUE_STALE: &str = "-- requeue_stale
UPDATE tasks SET queued_at = ?2 WHERE job = ?1 AND state = 'queued' AND queued_at < ?3
RETURNING idx";

/// Queued tasks whose message did not come in time; another must be sent.
pub fn requeue_stale(job: &str, now: i64, before: i64) -> Statement {
    sql(REQUEUE_STALE, params![job, now, before])
}

const ALARM: &str = "-- set_alarm
UPDATE alarm SET at = ?1 WHERE id = 1 AND (at <= ?2 + 1000 OR at > ?1) RETURNING at";

/// One row comes back where no message is on its way that arrives between a second from now and `at`: then one
/// must be sent. Without this every consumer that finds nothing to do would send a successor, and each doubled
/// delivery would be a consumer more for ever.
pub fn alarm(at: i64, now: i64) -> Statement {
    sql(ALARM, params![at, now])
}
