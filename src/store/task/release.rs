//! Reservations of calls that are possibly paid are released: after the written rule, or because a person says so.
//!
//! The rule is in `docs/operate/cost.md`. A call whose end was not seen and that got no response head, or a gateway's
//! timeout, is released [`AFTER_MS`] after its end, once its job is over. A call that had begun to answer waits for a
//! person. So do one whose consumer crashed, and one whose tokens the endpoint did not report.

use crate::ports::Statement;
use crate::store::{params, sql};

/// Longer than an invocation lives: a consumer that was away would have reported the real end by then.
const AFTER_MS: i64 = 900_000;

const DUE: &str = "-- release_due
UPDATE attempts SET state = 'done' WHERE id IN (SELECT a.id FROM attempts a INDEXED BY attempts_unheard
  WHERE a.state = 'unknown' AND a.batch IS NULL AND a.error_class <> 'unknown_end' AND IFNULL(a.status, 599) >= 500
    AND a.finished_at <= ?1 AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = a.job AND j.finished_at IS NULL)
  LIMIT 500)";
const ALL: &str = "-- release_job
UPDATE attempts SET state = 'done' WHERE job = ?1 AND state = 'unknown'
  AND EXISTS (SELECT 1 FROM jobs WHERE id = ?1 AND tenant = ?2)";

/// What the rule releases by now.
pub fn due(now: i64) -> Statement {
    sql(DUE, params![now.saturating_sub(AFTER_MS)])
}

/// All of a job that is possibly paid counts as not paid.
pub fn all(job: &str, tenant: &str) -> Statement {
    sql(ALL, params![job, tenant])
}
