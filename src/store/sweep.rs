//! What time alone brings about: leases that ran out, jobs nobody moved, a breaker that may try again, old rows.
//!
//! Two sweeps at once are harmless: each statement moves a row once.

use super::{params, prefixes, sql, tokens};
use crate::ports::Statement;

/// A task whose holders went silent so often is given up: it may be what kills them.
pub const MOST_CRASHES: u32 = 20;

const LOSE_ATTEMPTS: &str = "-- lose_attempts
UPDATE attempts SET state = 'unknown', finished_at = ?1, error_class = 'unknown_end',
  error = 'the end of this call was not seen: it is possibly paid'
WHERE state = 'open' AND id IN (SELECT a.id FROM tasks t JOIN attempts a ON a.job = t.job AND a.idx = t.idx AND a.n = t.attempts
  WHERE t.state = 'running' AND t.lease_until < ?1)
RETURNING job, idx, n AS lost_attempt";
const LOSE_ORPHANS: &str = "-- lose_orphans
UPDATE attempts SET state = 'unknown', finished_at = ?1, error_class = 'unknown_end',
  error = 'the end of this call was not seen: it is possibly paid'
WHERE state = 'open' AND started_at < ?2 AND batch IS NULL
RETURNING job, idx, n AS lost_attempt";
const EXPIRE: &str = "-- expire_leases
UPDATE tasks SET
  state = CASE WHEN crashes + 1 >= ?2 THEN 'failed' ELSE 'pending' END,
  error = CASE WHEN crashes + 1 >= ?2 THEN ?3 END,
  finished_at = CASE WHEN crashes + 1 >= ?2 THEN ?1 END,
  crashes = crashes + 1, lease = NULL, lease_until = NULL, not_before = 0
WHERE state = 'running' AND lease_until < ?1
RETURNING job, idx, state AS moved_to";
const EXPIRED_JOBS: &str = "-- wake_after_expiry
UPDATE jobs SET drive_at = ?1 WHERE id IN (
  SELECT job FROM tasks INDEXED BY tasks_leased WHERE state = 'running' AND lease_until < ?1) AND finished_at IS NULL";
const DUE: &str = "-- jobs_due
UPDATE jobs SET drive_at = ?2 WHERE finished_at IS NULL AND (drive_at <= ?1 OR deadline_at <= ?1) AND state <> 'awaiting_approval'
RETURNING id";
const HALF_OPEN: &str = "-- half_open_breaker
UPDATE breaker SET state = 'half_open', probe = NULL WHERE id = 1 AND state = 'open' AND until <= ?1";
const LOST_PROBE: &str = "-- lost_probe
UPDATE breaker SET probe = NULL WHERE id = 1 AND state = 'half_open' AND probe IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM tasks WHERE lease = breaker.probe AND state = 'running')";
const FORGET_LEDGER: &str = "-- forget_ledger
DELETE FROM ledger WHERE (tenant, key) IN (SELECT tenant, key FROM ledger WHERE expires_at < ?1 LIMIT 500)";
const FORGET_DAYS: &str = "-- forget_days
DELETE FROM spending WHERE day < ?1";

/// Gives up leases that ran out, closes their attempts as possibly paid, and lets the breaker try again.
/// `orphaned_before`: an attempt that began earlier and is still open has nobody who waits for it.
pub fn look(now: i64, orphaned_before: i64, crashed: &str) -> Vec<Statement> {
    vec![
        sql(EXPIRED_JOBS, params![now]),
        sql(LOSE_ATTEMPTS, params![now]),
        sql(EXPIRE, params![now, MOST_CRASHES, crashed]),
        sql(LOSE_ORPHANS, params![now, orphaned_before]),
        sql(LOST_PROBE, params![]),
        sql(HALF_OPEN, params![now]),
    ]
}

/// Old rows go.
pub fn forget(now: i64, oldest_day: &str) -> Vec<Statement> {
    vec![
        sql(FORGET_DAYS, params![oldest_day]),
        sql(FORGET_LEDGER, params![now]),
        tokens::forget_days(oldest_day),
        prefixes::forget(now),
    ]
}

const WATCH: &str = "-- set_watch
UPDATE watch SET at = ?1 WHERE id = 1 AND at <= ?2 + 1000
  AND (EXISTS (SELECT 1 FROM jobs WHERE state IN ('planning', 'running', 'synthesizing'))
    OR EXISTS (SELECT 1 FROM tasks WHERE state = 'running'))
RETURNING at";

/// One row comes back where something is at work and no message is on its way that will look at it: then one must be
/// sent that arrives at `at`. A message may come up to a second early.
pub fn watch(at: i64, now: i64) -> Statement {
    sql(WATCH, params![at, now])
}

/// Jobs that nobody moved in time; each comes back once per interval.
pub fn due(now: i64, next: i64) -> Statement {
    sql(DUE, params![now, next])
}

const DEAD_LETTER: &str = "-- dead_letter
INSERT INTO dead_letters (queue, body, at) VALUES (?1, ?2, ?3)";

/// Records a message that no consumer could settle.
pub fn dead_letter(queue: &str, body: &str, now: i64) -> Statement {
    sql(DEAD_LETTER, params![queue, body, now])
}
