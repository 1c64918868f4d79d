//! The tree of reduce tasks before a synthesis: its levels, what they brought, and what is held back meanwhile.
//!
//! Its tasks belong to the synthesis stage, which counts and fans in one level after the other.

use crate::ports::Statement;
use crate::store::{params, sql};

const PRICE: &str = "-- price_tree
UPDATE jobs SET synthesis_bytes = ?2, reduce_nano_per_byte = ?3 WHERE id = ?1";

/// What the hold for the synthesis must know: from which size of results on there is a tree, and what it costs a byte.
pub fn price(job: &str, synthesis_bytes: u64, nano_per_byte: i64) -> Statement {
    sql(PRICE, params![job, synthesis_bytes, nano_per_byte])
}

const BEGIN: &str = "-- begin_tree
UPDATE stages SET state = 'running', level = 1, cursor = 0, expanded = 0,
  look = (SELECT next_index FROM jobs WHERE id = ?1) WHERE job = ?1 AND idx = ?2";
const HOLD: &str = "-- hold_for_synthesis
UPDATE jobs SET hold_nano = ?2 WHERE id = ?1";

/// The first level begins. `hold`: nano-dollars kept for the synthesis itself.
pub fn begin(job: &str, stage: u32, hold: i64) -> Vec<Statement> {
    vec![
        sql(BEGIN, params![job, stage]),
        sql(HOLD, params![job, hold]),
    ]
}

const GUARD: &str = "-- guard_level
INSERT INTO assertions SELECT EXISTS (SELECT 1 FROM stages WHERE job = ?1 AND idx = ?2 AND level = ?3 AND expanded = 1
  AND pending + queued + running = 0)";

/// Ends the batch unless that level is the current one, and done.
pub fn guard(job: &str, stage: u32, level: u32) -> Statement {
    sql(GUARD, params![job, stage, level])
}

const NEXT: &str = "-- next_level
UPDATE stages SET state = 'running', level = level + 1, cursor = 0, expanded = 0 WHERE job = ?1 AND idx = ?2";

/// After [`guard`]: the level above begins.
pub fn next(job: &str, stage: u32) -> Statement {
    sql(NEXT, params![job, stage])
}

/// After [`guard`]: nothing is held back any more, for the synthesis itself is next.
pub fn release(job: &str) -> Statement {
    sql(HOLD, params![job, None::<i64>])
}

const SIZE: &str = "-- size_of_level
SELECT COUNT(*) AS tasks, COALESCE(SUM(t.covered > 0), 0) AS done, COALESCE(SUM(o.bytes), 0) AS bytes,
  COALESCE(SUM(CASE WHEN t.covered = 0 THEN t.items END), 0) AS lost
FROM tasks t LEFT JOIN outputs o ON o.job = t.job AND o.idx = t.idx
WHERE t.job = ?1 AND t.stage = ?2 AND t.idx >= ?3 AND t.purpose = 'reduce' AND t.level = ?4";

/// How many tasks a level has and had done, the bytes they brought, and how many of the inputs of the rest are lost.
pub fn size(job: &str, stage: u32, look: u32, level: u32) -> Statement {
    sql(SIZE, params![job, stage, look, level])
}

const OUTPUTS: &str = "-- outputs_of_level
SELECT idx, label, body, blob FROM (
  SELECT t.idx, t.label, o.body, o.blob, SUM(o.bytes) OVER (ORDER BY t.idx ROWS UNBOUNDED PRECEDING) - o.bytes AS ahead
  FROM (SELECT job, idx, label FROM tasks WHERE job = ?1 AND stage = ?2 AND idx >= ?3 AND purpose = 'reduce' AND level = ?4
      AND covered > 0 ORDER BY idx LIMIT ?5) t
    JOIN outputs o ON o.job = t.job AND o.idx = t.idx)
WHERE ahead < ?6 ORDER BY idx";

/// What a level brought, from task `from` on: at most `most`, and no further one once there are so many bytes.
pub fn outputs(job: &str, stage: u32, from: u32, level: u32, most: u32, bytes: u64) -> Statement {
    sql(OUTPUTS, params![job, stage, from, level, most, bytes])
}
