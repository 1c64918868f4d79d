//! What a caller's commands write.

use serde_json::{Map, Value};

use crate::core::job::state::JobState;
use crate::core::plan::spec::{Limits, OnBudget};
use crate::ports::Statement;
use crate::store::{params, sql, to_json};

const GUARD: &str = "-- guard_command
INSERT INTO assertions SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ?1 AND tenant = ?2
  AND state IN (SELECT value FROM json_each(?3)))";

/// Ends the batch unless the tenant's job is in one of the states.
pub fn guard(id: &str, tenant: &str, states: &[&'static str]) -> Statement {
    sql(GUARD, params![id, tenant, to_json(states)])
}

const END: &str = "-- end_job
UPDATE jobs SET state = ?2, halt = NULL, resume_state = NULL, updated_at = ?3, finished_at = ?3 WHERE id = ?1
RETURNING id, state AS moved_to, run";

/// After [`guard`].
pub fn end(id: &str, to: JobState, now: i64) -> Statement {
    sql(END, params![id, to.as_str(), now])
}

const NEXT_RUN: &str = "-- next_run
UPDATE jobs SET state = 'queued', run = run + 1, stage = 0, covered = NULL, hold_nano = NULL, error = NULL, halt = NULL, resume_state = NULL,
  finished_at = NULL, updated_at = ?2, drive_at = ?2 WHERE id = ?1
RETURNING id, state AS moved_to, run";
const REOPEN_MAPS: &str = "-- reopen_maps
UPDATE stages SET state = 'waiting', phase = 'work',
  expanded = (idx = f.first AND cursor >= f.items_total AND NOT EXISTS (
    SELECT 1 FROM bundles b WHERE b.job = ?1 AND b.stage = stages.idx)),
  cursor = CASE idx WHEN f.first THEN cursor ELSE 0 END
FROM (SELECT items_total, (SELECT MIN(idx) FROM stages WHERE job = ?1 AND kind = 'map') AS first
  FROM jobs WHERE id = ?1) AS f
WHERE job = ?1 AND kind = 'map'";
const REOPEN_SYNTHESIS: &str = "-- reopen_synthesis
UPDATE stages SET state = 'waiting', cursor = 0, expanded = 0, level = 0 WHERE job = ?1 AND kind IN ('synthesis', 'plan')";

/// After [`guard`]: the job waits for its next run.
pub fn next_run(id: &str, now: i64) -> Statement {
    sql(NEXT_RUN, params![id, now])
}

/// Map stages go on where they stopped; later ones look again at what the earlier bring, and take what they have not
/// taken yet.
pub fn reopen_maps(id: &str) -> Statement {
    sql(REOPEN_MAPS, params![id])
}

/// A new run has a synthesis of its own, and plans anew where no plan came.
pub fn reopen_synthesis(id: &str) -> Statement {
    sql(REOPEN_SYNTHESIS, params![id])
}

const LIMITS: &str = "-- limits_of_job
SELECT p.spec->'$.limits' AS limits FROM specs p JOIN jobs j ON j.id = p.job WHERE j.id = ?1 AND j.tenant = ?2";

/// The limits as the job keeps them.
pub fn limits(id: &str, tenant: &str) -> Statement {
    sql(LIMITS, params![id, tenant])
}

const SET_LIMITS: &str = "-- set_limits
UPDATE jobs SET limit_nano = ?2, concurrency = COALESCE(?3, concurrency), max_attempts = COALESCE(?4, max_attempts),
  min_success_ratio = COALESCE(?5, min_success_ratio), on_budget = COALESCE(?6, on_budget), deadline_at = ?7,
  updated_at = ?8 WHERE id = ?1";
const KEEP_LIMITS: &str = "-- keep_limits
UPDATE specs SET spec = json_set(spec, '$.limits', json(?2)) WHERE job = ?1";

/// What the engine checks.
pub fn set_limits(
    id: &str,
    limits: &Limits,
    limit_nano: Option<i64>,
    deadline_at: Option<i64>,
    now: i64,
) -> Statement {
    sql(
        SET_LIMITS,
        params![
            id,
            limit_nano,
            limits.concurrency,
            limits.max_attempts,
            limits.min_success_ratio,
            limits.on_budget.map(OnBudget::as_str),
            deadline_at,
            now
        ],
    )
}

/// What callers are shown.
pub fn keep_limits(id: &str, limits: &Limits) -> Statement {
    sql(KEEP_LIMITS, params![id, to_json(limits)])
}

const METADATA: &str = "-- set_metadata
UPDATE specs SET metadata = ?2 WHERE job = ?1";

/// The caller's own notes.
pub fn metadata(id: &str, metadata: &Map<String, Value>) -> Statement {
    sql(METADATA, params![id, to_json(metadata)])
}
