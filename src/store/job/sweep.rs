//! What time alone brings about: leases that ran out, jobs nobody moved, a breaker that may try again, old rows.
//!
//! Two sweeps at once are harmless: each statement moves a row once.

use crate::ports::Statement;
use crate::store::account::tokens;
use crate::store::task::{prefixes, release};
use crate::store::{params, sql};

/// A task whose holders went silent so often is given up: it may be what kills them.
pub const MOST_CRASHES: u32 = 20;

/// Milliseconds in which a consumer renews its leases once the database answers again: it asks every 3 s, and a round trip
/// takes up to 2 s.
const GRACE_MS: i64 = 10_000;

// Where the look before is long ago, the database may have been away: then nobody could renew anything.
const GRACE: &str = "-- grace_leases
UPDATE leases SET until = ?1 + ?2, graced = 1
WHERE until < ?1 AND graced = 0 AND (SELECT looked_at FROM watch WHERE id = 1) < ?1 - ?3";
const LOOKED: &str = "-- looked
UPDATE watch SET looked_at = ?1 WHERE id = 1";
// A lease that ran out is rare: then all tasks of the jobs at work are read, so that no index of leases is written with
// each call.
const LOSE_ATTEMPTS: &str = "-- lose_attempts
UPDATE attempts SET state = 'unknown', finished_at = ?1, error_class = 'unknown_end',
  error = 'the end of this call was not seen: it is possibly paid'
WHERE state = 'open' AND id IN (SELECT a.id FROM tasks t JOIN attempts a ON a.job = t.job AND a.idx = t.idx AND a.n = t.attempts
  WHERE t.job IN (SELECT id FROM jobs WHERE finished_at IS NULL AND EXISTS (SELECT 1 FROM leases WHERE until < ?1))
    AND t.state = 'running' AND t.lease IN (SELECT lease FROM leases WHERE until < ?1))
RETURNING job, idx, n AS lost_attempt";
// More calls in flight than tasks running, or any once a job is over: only then is it worth to read a job's attempts. One
// whose lease has ended has nobody who waits for it.
const LOSE_ORPHANS: &str = "-- lose_orphans
UPDATE attempts SET state = 'unknown', finished_at = ?1, error_class = 'unknown_end',
  error = 'the end of this call was not seen: it is possibly paid'
WHERE state = 'open' AND batch IS NULL AND lease NOT IN (SELECT lease FROM leases) AND job IN (
  SELECT id FROM jobs WHERE finished_at IS NULL AND in_flight - in_batches > (
    SELECT SUM(running) FROM stages WHERE job = jobs.id)
  UNION ALL SELECT id FROM jobs WHERE finished_at > ?1 - 86400000 AND in_flight > in_batches
  UNION ALL SELECT job FROM removals WHERE next_at > 0)
RETURNING job, idx, n AS lost_attempt";
const EXPIRE: &str = "-- expire_leases
UPDATE tasks SET
  state = CASE WHEN crashes + 1 >= ?2 THEN 'failed' ELSE 'pending' END,
  error = CASE WHEN crashes + 1 >= ?2 THEN ?3 END,
  finished_at = CASE WHEN crashes + 1 >= ?2 THEN ?1 END,
  crashes = crashes + 1, lease = NULL, not_before = 0
WHERE job IN (SELECT id FROM jobs WHERE finished_at IS NULL AND EXISTS (SELECT 1 FROM leases WHERE until < ?1))
  AND state = 'running' AND lease IN (SELECT lease FROM leases WHERE until < ?1)
RETURNING job, idx, state AS moved_to";
const FORGET_LEASES: &str = "-- forget_leases
DELETE FROM leases WHERE until < ?1";
const EXPIRED_JOBS: &str = "-- wake_after_expiry
UPDATE jobs SET drive_at = ?1 WHERE finished_at IS NULL AND EXISTS (SELECT 1 FROM leases WHERE until < ?1)
  AND EXISTS (SELECT 1 FROM tasks WHERE job = jobs.id AND state = 'running'
    AND lease IN (SELECT lease FROM leases WHERE until < ?1))";
const DUE: &str = "-- jobs_due
UPDATE jobs SET drive_at = ?2 WHERE finished_at IS NULL AND (drive_at <= ?1 OR deadline_at <= ?1) AND state <> 'awaiting_approval'
RETURNING id";
const HALF_OPEN: &str = "-- half_open_breaker
UPDATE breaker SET state = 'half_open', probe = NULL WHERE id = 1 AND state = 'open' AND until <= ?1";
const LOST_PROBE: &str = "-- lost_probe
UPDATE breaker SET probe = NULL WHERE id = 1 AND state = 'half_open' AND probe IS NOT NULL
  AND probe NOT IN (SELECT lease FROM leases)
  AND NOT EXISTS (SELECT 1 FROM batches WHERE id = breaker.probe AND state <> 'ended')";
const FORGET_LEDGER: &str = "-- forget_ledger
DELETE FROM ledger WHERE (tenant, key) IN (SELECT tenant, key FROM ledger WHERE job = '' AND expires_at < ?1 LIMIT 500)";
const FORGET_EXPIRED: &str = "-- forget_expired
DELETE FROM ledger WHERE (tenant, key) IN (SELECT tenant, key FROM ledger WHERE expires_at < ?1 LIMIT 5000)";
const FORGET_DAYS: &str = "-- forget_days
DELETE FROM spending WHERE day < ?1";

/// Gives up leases that ran out, closes their attempts as possibly paid, and lets the breaker try again.
/// `apart_ms`: where two looks are further apart, leases that ran out meanwhile get a last term.
pub fn look(now: i64, crashed: &str, apart_ms: i64) -> Vec<Statement> {
    vec![
        sql(GRACE, params![now, GRACE_MS, apart_ms]),
        sql(LOOKED, params![now]),
        sql(EXPIRED_JOBS, params![now]),
        sql(LOSE_ATTEMPTS, params![now]),
        sql(EXPIRE, params![now, MOST_CRASHES, crashed]),
        sql(FORGET_LEASES, params![now]),
        sql(LOSE_ORPHANS, params![now]),
        sql(LOST_PROBE, params![]),
        sql(HALF_OPEN, params![now]),
    ]
}

/// Old rows go, and reservations of calls that no server answered.
pub fn forget(now: i64, oldest_day: &str) -> Vec<Statement> {
    vec![
        sql(FORGET_DAYS, params![oldest_day]),
        sql(FORGET_LEDGER, params![now]),
        tokens::forget_days(oldest_day),
        prefixes::forget(now),
        release::due(now),
    ]
}

/// Answers of jobs that are still there, which are not used any more. No index finds them, so this is for when room is
/// scarce.
pub fn forget_expired(now: i64) -> Statement {
    sql(FORGET_EXPIRED, params![now])
}

const WATCH: &str = "-- set_watch
UPDATE watch SET at = ?1 WHERE id = 1 AND at <= ?2 + 1000
  AND (EXISTS (SELECT 1 FROM jobs WHERE state IN ('planning', 'running', 'synthesizing'))
    OR EXISTS (SELECT 1 FROM leases))
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
