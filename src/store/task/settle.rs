//! What a consumer writes when calls have ended: one transaction for any number of them.
//!
//! Every statement may run twice (a lost connection leaves it unknown whether the first run landed): attempts
//! close once, tasks move only while this consumer's lease holds them, and the counters follow from the rows by trigger.

use serde::Serialize;
use serde_json::Value;

use crate::ports::Statement;
use crate::store::job::input_pages;
use crate::store::job::input_pages::Fetched;
use crate::store::task::tally;
use crate::store::{params, sql, to_json};

/// The end of one call.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ClosedAttempt {
    pub id: i64,
    pub cost: i64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub cache_saved: i64,
    pub status: Option<u16>,
    pub error_class: Option<String>,
    pub error: Option<String>,
    pub request_id: Option<String>,
    pub stop_reason: Option<String>,
    pub response: Option<String>,
    pub response_blob: Option<String>,
    pub finished_at: i64,
    /// `done`, or `unknown` where it may have been paid and nobody knows what.
    pub state: &'static str,
}

/// Where a task goes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MovedTask {
    pub id: i64,
    /// Attempts at its claim: an older call of the same consumer must not move it.
    pub attempts: u32,
    pub state: &'static str,
    /// JSON array; shorter than before where the task was split.
    pub ids: String,
    pub items: u32,
    /// JSON array of what its next call asks for; `None`: all.
    pub wanted: Option<String>,
    pub covered: u32,
    pub error: Option<String>,
    pub form: String,
    /// Which model of a cascade it asks next, and the class of that.
    pub tier: u32,
    pub class: String,
    pub key: String,
    pub bytes: u64,
    pub max_tokens: u32,
    pub worst_nano: i64,
    pub tries: u32,
    pub delays: u32,
    pub not_before: i64,
    pub finished_at: Option<i64>,
}

/// Results of a task so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeptOutput {
    pub task: i64,
    pub attempts: u32,
    pub body: Option<String>,
    pub blob: Option<String>,
    pub bytes: u64,
}

/// The half that a task gives away.
#[derive(Debug, Clone, PartialEq)]
pub struct Half {
    pub parent: i64,
    pub job: String,
    /// `PARENT:ATTEMPT:ITEMS`.
    pub origin: String,
    pub attempts: u32,
    /// Calls that count against its items already.
    pub tries: u32,
    pub form: &'static str,
    pub task: crate::store::task::tasks::NewTask,
    /// It goes after what waits since before.
    pub not_before: i64,
}

/// A paid result, for whoever asks the same again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LedgerEntry {
    pub tenant: String,
    pub key: String,
    pub body: Option<String>,
    pub blob: Option<String>,
    pub cost: i64,
    pub job: String,
    pub expires_at: i64,
    /// False where a task that has succeeded has its key: then a removal finds it without an index.
    pub listed: bool,
}

/// A free answer that was used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Saved {
    pub task: i64,
    pub tenant: String,
    pub key: String,
    pub job: String,
    pub nano: i64,
}

const CLOSE: &str = "-- close_attempts
UPDATE attempts SET state = e.state, cost_nano = e.cost, input_tokens = e.input_tokens, output_tokens = e.output_tokens,
  cache_read_tokens = e.cache_read, cache_write_tokens = e.cache_write, cache_saved_nano = e.cache_saved, status = e.status,
  error_class = e.error_class, error = e.error, request_id = e.request_id, stop_reason = e.stop_reason,
  response = e.response, response_blob = e.response_blob, finished_at = e.finished_at, counted = counted + ?2
FROM (SELECT value->>'$.id' AS id, value->>'$.state' AS state, value->>'$.cost' AS cost,
    value->>'$.input_tokens' AS input_tokens, value->>'$.output_tokens' AS output_tokens,
    value->>'$.cache_read' AS cache_read, value->>'$.cache_write' AS cache_write, value->>'$.cache_saved' AS cache_saved,
    value->>'$.status' AS status, value->>'$.error_class' AS error_class, value->>'$.error' AS error,
    value->>'$.request_id' AS request_id, value->>'$.stop_reason' AS stop_reason,
    value->>'$.response' AS response, value->>'$.response_blob' AS response_blob,
    value->>'$.finished_at' AS finished_at FROM json_each(?1)) AS e
WHERE attempts.id = e.id AND attempts.state <> 'done' AND attempts.state <> e.state";
const KEEP_OUTPUTS: &str = "-- keep_outputs
INSERT INTO outputs (job, idx, body, blob, bytes, counted)
SELECT t.job, t.idx, e.value->>'$.body', e.value->>'$.blob', e.value->>'$.bytes', 1
FROM json_each(?1) e CROSS JOIN tasks t ON t.id = e.value->>'$.task'
WHERE t.lease = ?2 AND t.state = 'running' AND t.attempts = e.value->>'$.attempts'
ON CONFLICT (job, idx) DO UPDATE SET body = excluded.body, blob = excluded.blob, bytes = excluded.bytes,
  counted = outputs.counted + 1";
const SAVE: &str = "-- count_saved
UPDATE jobs SET saved_nano = saved_nano + (SELECT COALESCE(SUM(e.value->>'$.nano'), 0)
  FROM json_each(?1) e CROSS JOIN tasks t ON t.id = e.value->>'$.task'
  WHERE t.lease = ?2 AND t.state = 'running' AND t.job = jobs.id)
WHERE id IN (SELECT value->>'$.job' FROM json_each(?1))";
const SHARE: &str = "-- share_ledger
UPDATE ledger SET shared = 1, listed = 1 WHERE shared = 0 AND (tenant, key) IN (
  SELECT value->>'$.tenant', value->>'$.key' FROM json_each(?1)) AND job NOT IN (SELECT value->>'$.job' FROM json_each(?1))";
const LEDGER: &str = "-- keep_ledger
INSERT INTO ledger (tenant, key, body, blob, cost_nano, job, created_at, expires_at, listed)
SELECT value->>'$.tenant', value->>'$.key', value->>'$.body', value->>'$.blob', value->>'$.cost', value->>'$.job', ?2,
  value->>'$.expires_at', value->>'$.listed' FROM json_each(?1) WHERE true
ON CONFLICT (tenant, key) DO UPDATE SET body = excluded.body, blob = excluded.blob, cost_nano = excluded.cost_nano,
  job = excluded.job, shared = 0, created_at = excluded.created_at, expires_at = excluded.expires_at,
  listed = excluded.listed
WHERE ledger.expires_at <= excluded.created_at";
const SPLIT_TASK: &str = "-- split_task
INSERT INTO tasks (job, stage, idx, ids, items, class, key, bytes, max_tokens, worst_nano, form, origin, grp, label, purpose, level, tier, batched, tries, not_before)
SELECT t.job, t.stage, j.next_index, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?12, ?3, t.grp, t.label || '+' || ?11, t.purpose, t.level, ?13, t.batched, ?14, ?15
FROM tasks t JOIN jobs j ON j.id = t.job
WHERE t.id = ?1 AND t.lease = ?2 AND t.state = 'running' AND t.attempts = ?11
ON CONFLICT DO NOTHING";
const SPLIT_INPUT: &str = "-- split_input
INSERT OR IGNORE INTO inputs (job, idx, body, blob) SELECT job, idx, ?3, ?4 FROM tasks WHERE job = ?1 AND origin = ?2";
const SPLIT_INDEX: &str = "-- split_index
UPDATE jobs SET next_index = next_index + 1
WHERE id = ?1 AND EXISTS (SELECT 1 FROM tasks WHERE job = ?1 AND idx = jobs.next_index)";
/// A task that is given up after a fault of the network or of load says what its answers lacked, where it had any: that is
/// what can be mended.
/// The pluses keep SQLite from walking the tasks of the lease and, for each, all of what is moved.
const MOVE: &str = "-- move_tasks
UPDATE tasks SET state = e.state, ids = e.ids, items = e.items, wanted = e.wanted, covered = e.covered, form = e.form,
  error = CASE WHEN e.state = 'failed' AND e.error->>'$.code' IN ('connection_failed', 'connection_lost', 'timed_out', 'stream_cut',
      'stream_invalid', 'invalid_response', 'server_error', 'unavailable', 'gateway_timeout', 'request_timeout', 'conflict',
      'request_blocked', 'overloaded')
    THEN COALESCE((SELECT json_object('code', a.error_class, 'message', COALESCE(a.error, '')) FROM attempts a
      WHERE a.job = tasks.job AND a.idx = tasks.idx AND a.error_class IN ('invalid_json', 'invalid_output', 'truncated', 'refused',
        'invalid_request', 'schema_refused', 'paused') ORDER BY a.n DESC LIMIT 1), e.error) ELSE e.error END,
  tier = e.tier, class = e.class, key = e.key, bytes = e.bytes, max_tokens = e.max_tokens, worst_nano = e.worst_nano, tries = e.tries, delays = e.delays,
  not_before = e.not_before, finished_at = e.finished_at, lease = NULL, counted = tasks.counted + 1
FROM (SELECT value->>'$.id' AS id, value->>'$.state' AS state, value->>'$.ids' AS ids, value->>'$.items' AS items,
    value->>'$.wanted' AS wanted, value->>'$.attempts' AS attempts,
    value->>'$.covered' AS covered, value->>'$.error' AS error, value->>'$.form' AS form,
    value->>'$.tier' AS tier, value->>'$.class' AS class, value->>'$.key' AS key, value->>'$.bytes' AS bytes, value->>'$.max_tokens' AS max_tokens,
    value->>'$.worst_nano' AS worst_nano, value->>'$.tries' AS tries, value->>'$.delays' AS delays,
    value->>'$.not_before' AS not_before, value->>'$.finished_at' AS finished_at FROM json_each(?1)) AS e
WHERE tasks.id = e.id AND +tasks.lease = ?2 AND +tasks.state = 'running' AND tasks.attempts = e.attempts
RETURNING job, idx, state AS moved_to";
/// An update for each settle would cost two rows: one in six of the time that a job may stand still is enough.
const TOUCH: &str = "-- touch_jobs
UPDATE jobs SET updated_at = ?2, drive_at = ?3
WHERE id IN (SELECT value FROM json_each(?1)) AND finished_at IS NULL AND drive_at < ?3 - (?3 - ?2) / 6";

/// An id that an answer has a result for and nobody asked about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Invented {
    pub job: String,
    pub stage: u32,
    pub id: String,
}

const INVENTED: &str = "-- flag_invented
INSERT OR IGNORE INTO flags (job, stage, id, flag)
SELECT value->>'$.job', value->>'$.stage', value->>'$.id', 'invented_id' FROM json_each(?1)";

/// Everything of one settle, but what the classes learn and the fan-in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settlement {
    pub attempts: Vec<ClosedAttempt>,
    pub outputs: Vec<KeptOutput>,
    pub halves: Vec<Half>,
    pub fetched: Vec<Fetched>,
    pub ledger: Vec<LedgerEntry>,
    pub saved: Vec<Saved>,
    pub tasks: Vec<MovedTask>,
    /// Ids that answers made up.
    pub flags: Vec<Invented>,
    /// The jobs they belong to.
    pub jobs: Vec<String>,
}

/// The statements of a settle, in an order in which what depends on the lease comes before the tasks move.
pub fn settle(settlement: &Settlement, lease: &str, now: i64, drive_at: i64) -> Vec<Statement> {
    let mut statements = Vec::new();
    statements.extend(tally::settled(settlement, lease, now));
    if !settlement.attempts.is_empty() {
        statements.push(sql(CLOSE, params![to_json(&settlement.attempts), 1]));
    }
    if !settlement.ledger.is_empty() {
        statements.push(sql(LEDGER, params![to_json(&settlement.ledger), now]));
    }
    if !settlement.outputs.is_empty() {
        statements.push(sql(
            KEEP_OUTPUTS,
            params![to_json(&settlement.outputs), lease],
        ));
    }
    if !settlement.saved.is_empty() {
        let saved = to_json(&settlement.saved);
        statements.push(sql(SAVE, params![saved.as_str(), lease]));
        statements.push(sql(SHARE, params![saved]));
    }
    for page in &settlement.fetched {
        statements.extend(input_pages::fetched(page, lease));
    }
    for half in &settlement.halves {
        let task = &half.task;
        let (job, origin) = (half.job.as_str(), half.origin.as_str());
        statements.push(sql(
            SPLIT_TASK,
            params![
                half.parent,
                lease,
                origin,
                task.ids.as_str(),
                task.items,
                task.class.as_str(),
                task.key.as_str(),
                task.bytes,
                task.max_tokens,
                task.worst_nano,
                half.attempts,
                half.form,
                task.tier,
                half.tries,
                half.not_before
            ],
        ));
        statements.push(sql(
            SPLIT_INPUT,
            params![job, origin, task.body.clone(), task.blob.clone()],
        ));
        statements.push(sql(SPLIT_INDEX, params![job]));
    }
    if !settlement.flags.is_empty() {
        statements.push(sql(INVENTED, params![to_json(&settlement.flags)]));
    }
    if !settlement.tasks.is_empty() {
        statements.push(sql(MOVE, params![to_json(&settlement.tasks), lease]));
    }
    if !settlement.jobs.is_empty() {
        statements.push(sql(
            TOUCH,
            params![to_json(&settlement.jobs), now, drive_at],
        ));
    }
    statements
}

/// Closes attempts whose tasks are gone.
pub fn close(attempts: &[ClosedAttempt]) -> Statement {
    sql(CLOSE, params![to_json(attempts), 0])
}

/// What the calls that ended teach about one class.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lesson {
    pub class: String,
    /// The latest rate headers: when they came, and per bucket limit, remaining.
    pub headers_at: i64,
    pub requests: Option<(f64, f64)>,
    pub input: Option<(f64, f64)>,
    pub output: Option<(f64, f64)>,
    /// Requests and input tokens admitted up to and with the call that brought them.
    pub mark: [f64; 2],
    /// Calls that succeeded, and that were refused for load.
    pub ok: u32,
    pub refused: u32,
    /// Of those, by the limiter.
    pub limited: u32,
    /// Calls that got no answer from the server, and calls that got one, if only a refusal.
    pub failed: u32,
    pub alive: u32,
    /// No new call of this class before.
    pub slow_until: i64,
    /// The most input tokens its bucket is known to have held.
    pub held_input: f64,
    /// Attempts that this settle closes and that ended after those headers came, which therefore do not know of all
    /// their output. From the second header on our own count does.
    pub ended_since: Vec<i64>,
}

// Three calls in a row without an answer: the class is down. Probes go one at a time, after 0.5 s, 1 s, 2 s, … at most a
// minute. Calls that were in flight before end while the next probe is awaited, and do not count as probes.
const LEARN: &str = "-- learn
UPDATE classes SET
  requests_limit = IFNULL(?4, requests_limit), requests_cap = MAX(requests_cap, IFNULL(?5, 0)),
  requests_level = CASE WHEN ?4 IS NULL THEN requests_level ELSE MIN(MAX(MAX(requests_cap, ?5) * 0.9, 1.0),
    CASE seen WHEN 1 THEN requests_level + requests_limit * 0.97 / 60000.0 * MAX(0, ?2 - at) ELSE 1e18 END,
    ?5 + ?4 * 0.97 / 60000.0 * MAX(0, ?2 - ?3) - MAX(0.0, requests_admitted - ?6)) END,
  input_limit = IFNULL(?7, input_limit), input_cap = MAX(input_cap, IFNULL(?8, 0), ?12),
  input_mark = CASE WHEN ?7 IS NULL THEN input_mark ELSE MAX(input_mark, ?9) END,
  input_level = CASE WHEN ?7 IS NULL THEN input_level ELSE MIN(MAX(MAX(input_cap, ?8) * 0.9, 1.0),
    CASE WHEN seen = 1 AND ?9 < input_mark THEN input_level + input_limit * 0.97 / 60000.0 * MAX(0, ?2 - at)
    ELSE ?8 + ?7 * 0.97 / 60000.0 * MAX(0, ?2 - ?3) - MAX(0.0, input_admitted - ?9) END) END,
  output_limit = IFNULL(?10, output_limit), output_cap = MAX(output_cap, IFNULL(?11, 0)),
  output_level = CASE WHEN ?10 IS NULL THEN output_level ELSE MIN(MAX(MAX(output_cap, ?11) * 0.9, 1.0),
    CASE seen WHEN 1 THEN output_level + output_limit * 0.97 / 60000.0 * MAX(0, ?2 - at) ELSE 1e18 END,
    ?11 + ?10 * 0.97 / 60000.0 * MAX(0, ?2 - ?3) - output_open - CASE seen WHEN 1 THEN 0 ELSE COALESCE((
      SELECT SUM(CASE a.state WHEN 'done' THEN a.output_tokens ELSE a.reserved_output END)
      FROM json_each(?17) e CROSS JOIN attempts a ON a.id = e.value), 0) END) END,
  at = CASE WHEN ?4 IS NULL THEN at ELSE MAX(at, ?2) END, seen = MAX(seen, ?4 IS NOT NULL),
  slow_until = CASE WHEN ?19 > 0 AND down > 0 THEN ?13
    WHEN ?19 = 0 AND ?18 > 0 AND failures + ?18 >= 3 AND slow_until <= ?2 THEN MAX(?13, ?2 + MIN(60000, 500 << MIN(down, 7)))
    ELSE MAX(slow_until, ?13) END,
  down = CASE WHEN ?19 > 0 THEN 0 WHEN ?18 > 0 AND failures + ?18 >= 3 AND slow_until <= ?2 THEN down + 1 ELSE down END,
  down_since = CASE WHEN ?19 > 0 THEN 0 WHEN down_since = 0 AND ?18 > 0 AND failures + ?18 >= 3 THEN ?2 ELSE down_since END,
  failures = CASE WHEN ?19 > 0 THEN 0 ELSE failures + ?18 END, refused = refused + ?16,
  window = (SELECT CASE WHEN w > 1000 THEN NULL WHEN w < 1 THEN 1.0 ELSE w END
    FROM (SELECT COALESCE(window, CASE WHEN ?15 > 0 THEN in_flight + ?14 + ?15 END) + 0.25 * ?14 - 0.5 * ?15 AS w))
WHERE class = ?1 AND (?20 = 1 OR window IS NOT NULL OR failures > 0 OR down > 0)";

/// What a class learns; after the attempts are closed. A bucket that a response does not speak of is
/// never bound: its limit is taken as boundless once the class is seen.
pub fn learn(lesson: &Lesson, now: i64) -> Option<Statement> {
    let spoken = lesson.requests.is_some() || lesson.input.is_some() || lesson.output.is_some();
    let load = lesson.ok + lesson.refused + lesson.alive > 0 || lesson.slow_until > 0;
    // Good answers alone change nothing of a class without troubles.
    let troubles = lesson.refused + lesson.limited + lesson.failed > 0 || lesson.slow_until > 0;
    let changes = spoken || troubles || lesson.held_input > 0.0;
    if !spoken && !load && lesson.held_input <= 0.0 {
        return None;
    }
    let bucket = |pair: Option<(f64, f64)>| spoken.then(|| pair.unwrap_or((1e12, 1e12)));
    let (requests, input, output) = (
        bucket(lesson.requests),
        bucket(lesson.input),
        bucket(lesson.output),
    );
    let limit = |pair: Option<(f64, f64)>| pair.map(|(limit, _)| limit);
    let left = |pair: Option<(f64, f64)>| pair.map(|(_, left)| left);
    Some(sql(
        LEARN,
        params![
            lesson.class.as_str(),
            now,
            lesson.headers_at,
            limit(requests),
            left(requests),
            lesson.mark[0],
            limit(input),
            left(input),
            lesson.mark[1],
            limit(output),
            left(output),
            lesson.held_input,
            lesson.slow_until,
            lesson.ok,
            lesson.refused,
            lesson.limited,
            to_json(&lesson.ended_since),
            lesson.failed,
            lesson.alive,
            u32::from(changes)
        ],
    ))
}

const TRIP: &str = "-- trip_breaker
UPDATE breaker SET state = 'open', reason = ?1,
  until = MAX(?2, CASE state WHEN 'open' THEN until ELSE ?3 + MIN(?4, (?2 - ?3) * (1 << MIN(trips, 10))) END),
  trips = trips + (state <> 'open'), probe = NULL WHERE id = 1";
const HALT_ALL: &str = "-- halt_all
UPDATE jobs SET resume_state = state, state = 'paused', updated_at = ?2, halt = ?1
WHERE state IN ('queued', 'planning', 'running', 'synthesizing')
RETURNING id, state AS moved_to, run, 'breaker' AS why";
const HALT_LATE: &str = "-- halt_late
UPDATE jobs SET resume_state = state, state = 'paused', updated_at = ?2, halt = (SELECT json_object('reason', 'quota',
  'cause', 'breaker', 'detail', 'no call of this account goes out at present: ' || COALESCE(reason, '')) FROM breaker WHERE id = 1)
WHERE id IN (SELECT value FROM json_each(?1)) AND state IN ('planning', 'running', 'synthesizing')
  AND (SELECT state FROM breaker WHERE id = 1) = 'open'
RETURNING id, state AS moved_to, run, 'breaker' AS why";
// Also of those that were halted before: a breaker that trips again stays open for longer than they were told.
const TELL_WHEN: &str = "-- tell_when
UPDATE jobs SET halt = json_set(halt, '$.resumes_at', strftime('%Y-%m-%dT%H:%M:%fZ',
  (SELECT until FROM breaker WHERE id = 1) / 1000.0, 'unixepoch'))
WHERE state = 'paused' AND halt->>'$.cause' = 'breaker'";

// Both conditions speak of a stage that has no valid result at all. The fault that was seen most often says why.
const HALT_FRUITLESS: &str = "-- halt_fruitless
UPDATE jobs SET resume_state = state, state = 'paused', updated_at = ?2, halt = (SELECT json_object('reason', 'answers',
    'detail', n || ' of ' || s.fruitless || ' answers of the stage ' || s.name || ' without a valid result said: ' ||
      COALESCE(f.error, f.error_class), 'resumes_at', NULL)
  FROM stages s, (SELECT error, error_class, COUNT(*) AS n FROM attempts
    WHERE job = jobs.id AND stage = jobs.stage AND error_class IS NOT NULL AND (stop_reason IS NOT NULL OR error_class IN (
      'invalid_request', 'model_not_found', 'not_found'))
    GROUP BY error_class, error ORDER BY n DESC LIMIT 1) f
  WHERE s.job = jobs.id AND s.idx = jobs.stage)
WHERE id IN (SELECT value FROM json_each(?1)) AND state IN ('planning', 'running', 'synthesizing')
  AND EXISTS (SELECT 1 FROM stages s WHERE s.job = jobs.id AND s.idx = jobs.stage AND s.items_covered = 0 AND s.succeeded = 0
    AND (s.fruitless >= ?3 OR s.fruitless >= ?4 AND EXISTS (SELECT 1 FROM attempts a WHERE a.job = jobs.id AND a.stage = s.idx
      AND a.error_class IN ('invalid_request', 'model_not_found', 'not_found') GROUP BY a.error HAVING COUNT(DISTINCT a.idx) >= ?4)))
RETURNING id, state AS moved_to, run, 'answers' AS why";
// Halves are not counted: one bad item makes many of them. A good answer in between shows that the input matters.
const HALT_REFUSED: &str = "-- halt_refused
WITH due AS (SELECT j.id AS job, s.idx AS stage, s.name FROM json_each(?1) e CROSS JOIN jobs j ON j.id = e.value
    CROSS JOIN stages s ON s.job = j.id AND s.idx = j.stage AND s.refusals >= ?3),
  good AS MATERIALIZED (SELECT d.job, MAX(a.id) AS id FROM due d CROSS JOIN attempts a ON a.job = d.job AND a.stage = d.stage
    WHERE a.stop_reason IS NOT NULL AND a.error_class IS NULL GROUP BY d.job),
  same AS MATERIALIZED (SELECT d.job, d.name, a.error, COUNT(DISTINCT a.idx) AS n FROM due d LEFT JOIN good g ON g.job = d.job
    CROSS JOIN attempts a ON a.job = d.job AND a.stage = d.stage AND a.id > IFNULL(g.id, 0)
      AND a.error_class IN ('invalid_request', 'model_not_found', 'not_found')
    CROSS JOIN tasks t ON t.job = a.job AND t.idx = a.idx AND t.origin IS NULL
    GROUP BY d.job, a.error HAVING COUNT(DISTINCT a.idx) >= ?3)
UPDATE jobs SET resume_state = state, state = 'paused', updated_at = ?2, halt = (SELECT json_object('reason', 'answers',
  'detail', n || ' tasks of the stage ' || name || ' in a row were refused, whatever their items: ' || error, 'resumes_at', NULL)
  FROM same WHERE same.job = jobs.id ORDER BY n DESC LIMIT 1)
WHERE id IN (SELECT job FROM same) AND state IN ('planning', 'running', 'synthesizing')
RETURNING id, state AS moved_to, run, 'answers' AS why";
const JUDGED: &str = "-- judged_fruitless
UPDATE stages SET fruitless = 0, refusals = 0 WHERE (fruitless > 0 OR refusals > 0) AND (job, idx) IN (SELECT id, stage FROM jobs
  WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'paused' AND halt->>'$.reason' = 'answers')";

/// Pauses those of the jobs whose stage has no valid result after `most` answers, or the same refusal for `same` tasks in a
/// row.
/// Resumed, a stage has as many answers again.
pub fn halt_fruitless(jobs: &[&str], now: i64, most: u32, same: u32) -> Vec<Statement> {
    vec![
        sql(HALT_FRUITLESS, params![to_json(&jobs), now, most, same]),
        sql(HALT_REFUSED, params![to_json(&jobs), now, same]),
        sql(JUDGED, params![to_json(&jobs)]),
    ]
}

/// Opens the breaker, pauses every job at work, and writes into each halt when the breaker will try again.
pub fn trip(reason: &str, until: i64, halt: &Value, now: i64, longest_ms: i64) -> Vec<Statement> {
    vec![
        sql(TRIP, params![reason, until, now, longest_ms]),
        sql(HALT_ALL, params![halt.to_string(), now]),
        sql(TELL_WHEN, params![]),
    ]
}

/// Halts jobs that came to work while the breaker is open.
pub fn halt_late(jobs: &[&String], now: i64) -> Vec<Statement> {
    vec![
        sql(HALT_LATE, params![to_json(jobs), now]),
        sql(TELL_WHEN, params![]),
    ]
}

const BREAKER: &str = "-- breaker_row
SELECT * FROM breaker WHERE id = 1";

/// The breaker's row.
pub fn breaker() -> Statement {
    sql(BREAKER, params![])
}

const CLOSE_BREAKER: &str = "-- close_breaker
UPDATE breaker SET state = 'closed', reason = NULL, trips = 0, probe = NULL, until = 0 WHERE id = 1 AND state = 'half_open'";
const FREE_PROBE: &str = "-- free_probe
UPDATE breaker SET probe = NULL WHERE id = 1 AND state = 'half_open' AND probe = ?1";
const RESUME_HALTED: &str = "-- resume_halted
UPDATE jobs SET state = resume_state, resume_state = NULL, halt = NULL, updated_at = ?1, drive_at = ?1
WHERE state = 'paused' AND resume_state IS NOT NULL AND halt->>'$.reason' = 'quota' AND halt->>'$.cause' = 'breaker'
  AND (SELECT state FROM breaker WHERE id = 1) <> 'open'
RETURNING id, state AS moved_to, run, 'breaker' AS why";

/// The probe came through: closed for all; the jobs that go on come back.
pub fn close_breaker(now: i64) -> Vec<Statement> {
    vec![
        sql(CLOSE_BREAKER, params![]),
        sql(RESUME_HALTED, params![now]),
    ]
}

/// The probe ended without saying anything about the account: another may go.
pub fn free_probe(lease: &str) -> Statement {
    sql(FREE_PROBE, params![lease])
}

/// Jobs that the breaker halted go on, unless it is open.
pub fn resume_halted(now: i64) -> Statement {
    sql(RESUME_HALTED, params![now])
}

const GUARD_BUDGET: &str = "-- guard_budget
INSERT INTO assertions SELECT EXISTS (SELECT 1 FROM jobs
  WHERE id = ?1 AND limit_nano IS ?2 AND stage = ?3 AND in_flight = 0)";

/// Ends the batch if the limit was changed, the job has gone on to another stage, or something is in flight again.
pub fn guard_budget(job: &str, limit: Option<i64>, stage: u32) -> Statement {
    sql(GUARD_BUDGET, params![job, limit, stage])
}

const HALF_OPEN: &str = "-- half_open_now
UPDATE breaker SET state = 'half_open', probe = NULL WHERE id = 1 AND state = 'open'";

/// A caller wants to know whether the account works again.
pub fn half_open() -> Statement {
    sql(HALF_OPEN, params![])
}
