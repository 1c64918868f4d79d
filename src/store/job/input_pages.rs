//! Input as it comes in, in pages and parts, and what expansion and fetching cut from it.
//!
//! The blobs of large input are stored while it is still coming. Until its job is inserted nobody sees them: a removal
//! stands for them from the beginning, so that what breaks off is taken away like a job that was deleted.

use serde::Serialize;
use serde_json::Value;

use super::removals::What;
use crate::core::task::retry_policy::FETCH;
use crate::ports::Statement;
use crate::store::task::tasks::NewTask;
use crate::store::{params, sql, to_json};

/// A part of an item's text, in a blob.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewPart {
    /// The item's position.
    pub item: u32,
    pub n: u32,
    pub blob: String,
}

const BEGIN: &str = "-- begin_intake
INSERT OR IGNORE INTO removals (job, what, tenant, since, next_at) VALUES (?1, ?2, ?3, ?4, ?5)";

/// From here on blobs may be stored for a job that is not there: unless it is inserted before `until`, they go.
pub fn begin(job: &str, tenant: &str, now: i64, until: i64) -> Statement {
    sql(BEGIN, params![job, What::Job.as_str(), tenant, now, until])
}

const INSERT_PARTS: &str = "-- insert_parts
INSERT INTO parts (job, item, n, blob)
SELECT ?1, value->>'$.item', value->>'$.n', value->>'$.blob' FROM json_each(?2)";

/// The parts of long texts; with the job.
pub fn insert_parts(job: &str, parts: &[NewPart]) -> Option<Statement> {
    (!parts.is_empty()).then(|| sql(INSERT_PARTS, params![job, to_json(parts)]))
}

const GUARD: &str = "-- guard_intake
INSERT INTO assertions SELECT EXISTS (SELECT 1 FROM removals WHERE job = ?1 AND what = ?2 AND next_at > ?3)";
const END: &str = "-- end_intake
DELETE FROM removals WHERE job = ?1 AND what = ?2";

/// What was written is the job's: in the batch that inserts it, which fails where it is being taken away already.
pub fn end(job: &str, now: i64) -> Vec<Statement> {
    let what = What::Job.as_str();
    vec![
        sql(GUARD, params![job, what, now]),
        sql(END, params![job, what]),
    ]
}

const ABANDON: &str = "-- abandon_intake
UPDATE removals SET next_at = ?3 WHERE job = ?1 AND what = ?2";

/// Nothing will come of it: due for removal at once.
pub fn abandon(job: &str, now: i64) -> Statement {
    sql(ABANDON, params![job, What::Job.as_str(), now])
}

const PARTS: &str = "-- parts
SELECT item, blob FROM parts WHERE job = ?1 AND item >= ?2 AND item < ?3 ORDER BY item, n";

/// The parts of the items `from..to`.
pub fn parts(job: &str, from: u32, to: u32) -> Statement {
    sql(PARTS, params![job, from, to])
}

/// A task that stands for one slice, and the item it was cut from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Owned {
    pub idx: u32,
    pub document: String,
}

/// An item in slices, and how many.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sliced {
    pub item: String,
    pub slices: u32,
}

const TO_FETCH: &str = "-- tasks_to_fetch
UPDATE tasks SET form = ?4, batched = 0 WHERE job = ?1 AND idx >= ?2 AND idx < ?3";

/// With a slice of expansion, after its tasks: `count` of them from `first` on read a page before they call.
pub fn to_fetch(job: &str, first: u32, count: u32) -> Statement {
    let end = first.saturating_add(count);
    sql(TO_FETCH, params![job, first, end, FETCH])
}

const WITHIN: &str = "-- set_within
UPDATE stages SET within = ?3 WHERE job = ?1 AND idx = ?2";
const OWN: &str = "-- own_slices
UPDATE tasks SET document = e.document
FROM (SELECT value->>'$.idx' AS idx, value->>'$.document' AS document FROM json_each(?2)) AS e
WHERE tasks.job = ?1 AND tasks.idx = e.idx";
const DOCUMENTS: &str = "-- insert_documents
INSERT OR IGNORE INTO documents (job, stage, item, slices)
SELECT ?1, ?2, value->>'$.item', value->>'$.slices' FROM json_each(?3)";

/// With a slice of expansion, after its tasks: where inside an item it ended, which of its tasks are slices, and the items that
/// they were cut from.
pub fn expanded(
    job: &str,
    stage: u32,
    within: Option<&Value>,
    owned: &[Owned],
    sliced: &[Sliced],
) -> Vec<Statement> {
    let within = within.map(Value::to_string);
    let mut statements = vec![sql(WITHIN, params![job, stage, within])];
    if !owned.is_empty() {
        statements.push(sql(OWN, params![job, to_json(owned)]));
        statements.push(sql(DOCUMENTS, params![job, stage, to_json(sliced)]));
    }
    statements
}

const SET_INPUT: &str = "-- keep_fetched
UPDATE inputs SET body = ?3, blob = ?4 WHERE (job, idx) IN (
  SELECT job, idx FROM tasks WHERE id = ?1 AND lease = ?2 AND state = 'running' AND attempts = ?5)";
/// Pages are read at once; what is asked about them goes as the job's calls do.
const BATCH_FETCHED: &str = "-- batch_fetched
UPDATE tasks SET batched = 1 WHERE id = ?1 AND lease = ?2 AND state = 'running' AND attempts = ?3
  AND (SELECT delivery FROM jobs WHERE id = tasks.job) = 'batch'";
const SET_DOCUMENT: &str = "-- own_fetched
UPDATE tasks SET document = ?3 WHERE id = ?1 AND lease = ?2 AND state = 'running' AND attempts = ?4";
const DOCUMENT: &str = "-- insert_fetched
INSERT OR IGNORE INTO documents (job, stage, item, slices)
SELECT job, stage, ?3, ?4 FROM tasks WHERE id = ?1 AND lease = ?2 AND state = 'running' AND attempts = ?5";
const MORE_TASKS: &str = "-- slices_of_fetched
INSERT INTO tasks (job, stage, idx, ids, items, class, key, bytes, max_tokens, worst_nano, document, origin, label, batched)
SELECT t.job, t.stage, j.next_index + e.key, e.value->>'$.ids', e.value->>'$.items', e.value->>'$.class', e.value->>'$.key',
  e.value->>'$.bytes', e.value->>'$.max_tokens', e.value->>'$.worst_nano', ?4, t.idx || '#' || (?5 + e.key),
  t.label || '+' || (?5 + e.key), j.delivery = 'batch'
FROM json_each(?3) e CROSS JOIN tasks t ON t.id = ?1 JOIN jobs j ON j.id = t.job
WHERE t.lease = ?2 AND t.state = 'running' AND t.attempts = ?6
ON CONFLICT DO NOTHING";
const MORE_INPUTS: &str = "-- inputs_of_fetched
INSERT OR IGNORE INTO inputs (job, idx, body, blob)
SELECT n.job, n.idx, e.value->>'$.body', e.value->>'$.blob'
FROM json_each(?2) e CROSS JOIN tasks t ON t.id = ?1
  JOIN tasks n ON n.job = t.job AND n.origin = t.idx || '#' || (?3 + e.key)";
const NEXT_INDEX: &str = "-- index_after_fetched
UPDATE jobs SET next_index = MAX(next_index, (SELECT MAX(idx) + 1 FROM tasks WHERE job = ?1)) WHERE id = ?1";

/// What a task has read: its own input, and tasks of their own for the slices beyond the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    pub task: i64,
    pub attempts: u32,
    pub job: String,
    pub body: Option<String>,
    pub blob: Option<String>,
    /// Where it is in slices: the item, and the others of them.
    pub document: Option<(String, Vec<NewTask>)>,
}

impl Fetched {
    /// About what its rows take, escaped.
    pub fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len) * 2;
        let more: usize = self
            .document
            .iter()
            .flat_map(|(_, tasks)| tasks)
            .map(|task| text(&task.body) + 1_000)
            .sum();
        text(&self.body) + more
    }
}

/// Bytes of rows in one statement: a bound text has at most 2 MB.
const STATEMENT_BYTES: usize = 800_000;

/// Keeps what was read, while the lease holds; before the task moves on.
pub fn fetched(page: &Fetched, lease: &str) -> Vec<Statement> {
    let mut statements = vec![
        sql(
            SET_INPUT,
            params![
                page.task,
                lease,
                page.body.as_deref(),
                page.blob.as_deref(),
                page.attempts
            ],
        ),
        sql(BATCH_FETCHED, params![page.task, lease, page.attempts]),
    ];
    let Some((item, tasks)) = &page.document else {
        return statements;
    };
    statements.push(sql(
        SET_DOCUMENT,
        params![page.task, lease, item.as_str(), page.attempts],
    ));
    statements.push(sql(
        DOCUMENT,
        params![
            page.task,
            lease,
            item.as_str(),
            tasks.len() as u64 + 1,
            page.attempts
        ],
    ));
    let mut number = 2_u32;
    let mut rest = tasks.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest
            .iter()
            .take_while(|task| {
                bytes += task.body.as_ref().map_or(0, String::len) * 2 + 1_000;
                bytes <= STATEMENT_BYTES
            })
            .count()
            .max(1);
        let (now, later) = rest.split_at(fits.min(rest.len()));
        let rows = to_json(now);
        statements.push(sql(
            MORE_TASKS,
            params![
                page.task,
                lease,
                rows.as_str(),
                item.as_str(),
                number,
                page.attempts
            ],
        ));
        statements.push(sql(MORE_INPUTS, params![page.task, rows, number]));
        statements.push(sql(NEXT_INDEX, params![page.job.as_str()]));
        number = number.saturating_add(u32::try_from(now.len()).unwrap_or(u32::MAX));
        rest = later;
    }
    statements
}
