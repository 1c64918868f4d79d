//! What a later map stage reads of the one before, and what a stage that groups keeps on the way.

use serde::Serialize;

use crate::ports::Statement;
use crate::store::task::tasks;
use crate::store::task::tasks::{NewTask, Slice};
use crate::store::{params, sql, to_json};

const TO_GIVE: &str = "-- results_to_give
SELECT idx, label, state, given, body, blob FROM (
  SELECT t.idx, t.label, t.state, t.given, o.body, o.blob,
    SUM(o.bytes) OVER (ORDER BY t.idx ROWS UNBOUNDED PRECEDING) - o.bytes AS ahead
  FROM (SELECT job, idx, label, state, given FROM tasks
      WHERE job = ?1 AND stage = ?2 AND idx >= ?3 AND covered > 0 AND given IS NOT '*'
      AND purpose = 'work' ORDER BY idx LIMIT ?4) t
    JOIN outputs o ON o.job = t.job AND o.idx = t.idx)
WHERE ahead < ?5 ORDER BY idx";

/// Outputs of a stage from task `from` on that the next stage has not taken whole: at most `most`, and no further one once
/// there are so many bytes.
pub fn to_give(job: &str, stage: u32, from: u32, most: u32, bytes: u64) -> Statement {
    sql(TO_GIVE, params![job, stage, from, most, bytes])
}

/// Which results of a task the next stage has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Given {
    pub idx: u32,
    /// `*`, or a JSON array of ids.
    pub given: String,
}

/// Items of one group, found in one slice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bundle {
    pub grp: String,
    /// JSON array.
    pub body: String,
    pub bytes: u64,
}

const GIVE: &str = "-- give_results
UPDATE tasks SET given = e.given
FROM (SELECT value->>'$.idx' AS idx, value->>'$.given' AS given FROM json_each(?2)) AS e
WHERE tasks.job = ?1 AND tasks.idx = e.idx";

/// A slice whose items are results of an earlier stage: tasks and what they took, in one.
pub fn expand(slice: &Slice<'_>, tasks: &[NewTask], given: &[Given]) -> Vec<Statement> {
    let mut statements = tasks::expand(slice, tasks);
    if !given.is_empty() {
        statements.push(sql(GIVE, params![slice.job, to_json(given)]));
    }
    statements
}

const BUNDLE: &str = "-- keep_bundles
INSERT INTO bundles (job, stage, grp, seq, body, bytes)
SELECT ?1, ?2, value->>'$.grp', COALESCE((SELECT MAX(seq) FROM bundles WHERE job = ?1 AND stage = ?2), 0) + 1 + key,
  value->>'$.body', value->>'$.bytes' FROM json_each(?3)";

/// A slice that finds out who belongs where: no task yet.
pub fn bundle(slice: &Slice<'_>, bundles: &[Bundle], given: &[Given]) -> Vec<Statement> {
    let mut statements = expand(slice, &[], given);
    statements.push(sql(
        BUNDLE,
        params![slice.job, slice.stage, to_json(bundles)],
    ));
    statements
}

const BUNDLES: &str = "-- bundles
SELECT grp, seq, body, bytes FROM (
  SELECT grp, seq, body, bytes, SUM(bytes) OVER (ORDER BY grp, seq ROWS UNBOUNDED PRECEDING) - bytes AS ahead
  FROM (SELECT grp, seq, body, bytes FROM bundles WHERE job = ?1 AND stage = ?2 ORDER BY grp, seq LIMIT ?3))
WHERE ahead < ?4 ORDER BY grp, seq";

/// Bundles group by group: at most `most`, and no further one once there are so many bytes.
pub fn bundles(job: &str, stage: u32, most: u32, bytes: u64) -> Statement {
    sql(BUNDLES, params![job, stage, most, bytes])
}

const TAKE_BUNDLES: &str = "-- take_bundles
DELETE FROM bundles WHERE job = ?1 AND stage = ?2
  AND (grp, seq) IN (SELECT value->>'$[0]', value->>'$[1]' FROM json_each(?3))";
const REST: &str = "-- rest_of_group
INSERT INTO bundles (job, stage, grp, seq, body, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// A slice of whole groups, and what is left of one that is larger than a slice, as its first bundle.
pub fn expand_groups(
    slice: &Slice<'_>,
    tasks: &[NewTask],
    taken: &[(String, i64)],
    rest: Option<(&Bundle, i64)>,
) -> Vec<Statement> {
    let mut statements = tasks::expand(slice, tasks);
    statements.push(sql(
        TAKE_BUNDLES,
        params![slice.job, slice.stage, to_json(taken)],
    ));
    if let Some((bundle, seq)) = rest {
        statements.push(sql(
            REST,
            params![
                slice.job,
                slice.stage,
                bundle.grp.as_str(),
                seq,
                bundle.body.as_str(),
                bundle.bytes
            ],
        ));
    }
    statements
}

const NOT_GIVEN: &str = "-- results_not_given
SELECT t.idx, t.label, t.given, o.body, o.blob FROM tasks t JOIN outputs o ON o.job = t.job AND o.idx = t.idx
WHERE t.job = ?1 AND t.stage = ?2 AND t.idx > ?3 AND t.covered > 0 AND t.given IS NOT '*'
  AND t.purpose = 'work' ORDER BY t.idx LIMIT ?4";

/// Outputs of a stage of which the next has not taken everything, after task `after`.
pub fn not_given(job: &str, stage: u32, after: i64, limit: u32) -> Statement {
    sql(NOT_GIVEN, params![job, stage, after, limit])
}

const WAITING_BUNDLES: &str = "-- waiting_bundles
SELECT grp, seq, body FROM bundles WHERE job = ?1 AND stage = ?2 AND (grp, seq) > (?3, ?4) ORDER BY grp, seq LIMIT ?5";

/// Bundles whose tasks were never written, after one.
pub fn waiting_bundles(job: &str, stage: u32, after: (&str, i64), limit: u32) -> Statement {
    sql(
        WAITING_BUNDLES,
        params![job, stage, after.0, after.1, limit],
    )
}

const LABELLED: &str = "-- items_of_labels
SELECT label, ids FROM tasks WHERE job = ?1 AND stage = ?2 AND label IN (SELECT value FROM json_each(?3))";

/// What the results of those ids were made of.
pub fn labelled(job: &str, stage: u32, labels: &[String]) -> Statement {
    sql(LABELLED, params![job, stage, to_json(labels)])
}

const COVERED: &str = "-- keep_covered
UPDATE jobs SET covered = ?2 WHERE id = ?1";

/// How many input items have a result in every map stage.
pub fn covered(job: &str, covered: u32) -> Statement {
    sql(COVERED, params![job, covered])
}
