//! The snapshot that [`crate::core::admission`] decides on, and the claim that carries its decision out.
//!
//! Reading and writing are two round trips, so another consumer may come between. The claim therefore
//! asserts, inside its own transaction, all that the decision relied on: permits, window, concurrency, budget,
//! day caps, breaker. If one no longer holds, nothing is written and the consumer reads again.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::capabilities::Capabilities;
use super::prefixes::Lead;
use super::{capabilities, prefixes, tally, tasks};
use crate::claude::capabilities::Lacks;
use crate::core::admission::cache::{CacheTtl, Entry};
use crate::core::admission::{Breaker, Bucket, Class, PROBE_AFTER_MS};
use crate::core::task::answer_room::Answers;
use crate::core::task::kind::TaskKind;
use crate::ports::Statement;
use crate::store::account::tokens;
use crate::store::row::{Columns, Row};
use crate::store::{params, sql, to_json};

/// A task that waits, with all that is known about it before it is claimed.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    pub id: i64,
    pub job: String,
    pub stage: u32,
    pub idx: u32,
    pub class: String,
    pub bytes: u64,
    pub max_tokens: u32,
    pub worst_nano: i64,
    pub form: String,
    pub purpose: TaskKind,
    /// Which model of a cascade.
    pub tier: u32,
    /// Its items, and the calls it has had.
    pub items: u32,
    pub attempts: u32,
    /// What its stage's answers were like, and their tokens together.
    pub answers: Answers,
    pub answer_tokens: u64,
    /// Tasks of its stage that wait, itself with them; at least so many where more are still being written.
    pub peers: u64,
    pub free: bool,
}

/// A job at work, with its money.
#[derive(Debug, Clone, PartialEq)]
pub struct AtWork {
    pub id: String,
    pub tenant: String,
    /// The one it works on.
    pub stage: u32,
    /// Calls that were sent by themselves; those in batches stand apart.
    pub in_flight: u32,
    pub in_batches: u32,
    pub concurrency: u32,
    pub max_attempts: u32,
    pub limit_nano: Option<i64>,
    /// Spent, reserved, possibly paid.
    pub used_nano: i64,
    /// Held back for the synthesis.
    pub held_nano: i64,
    /// Spent and reserved today, by this tenant and by the account.
    pub day_tenant: i64,
    pub day_account: i64,
    /// The token that submitted it, unless it is the secret's.
    pub token: Option<TokenAtWork>,
}

/// A token with jobs at work.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenAtWork {
    pub id: String,
    pub in_flight: u32,
    pub concurrency: Option<u32>,
    pub daily_nano: Option<i64>,
    /// Spent and reserved today.
    pub day_nano: i64,
}

// A job in `planning` is at work while it asks the orchestrator: it stands at `PLAN_STAGE` (1000) then. One that stands
// elsewhere is on its way to `running`, with tasks of an earlier run that must wait for that.
const AT_WORK: &str = "-- jobs_at_work
SELECT j.id, j.tenant, j.state, j.stage, j.in_flight - j.in_batches AS in_flight, j.in_batches, j.concurrency, j.max_attempts, j.limit_nano,
  j.spent_nano + j.reserved_nano + j.unknown_nano AS used_nano,
  j.synthesis_fixed_nano, j.synthesis_nano_per_byte, j.synthesis_bytes, j.reduce_nano_per_byte, j.hold_nano,
  j.results, j.result_bytes,
  (SELECT SUM(pending + queued + running + succeeded + failed) FROM stages WHERE job = j.id) AS tasks,
  (SELECT spent_nano + reserved_nano FROM spending WHERE day = ?1 AND tenant = j.tenant) AS day_tenant,
  (SELECT SUM(spent_nano + reserved_nano) FROM spending WHERE day = ?1) AS day_account,
  k.id AS token, k.concurrency AS token_concurrency, k.daily_nano AS token_daily_nano,
  (SELECT SUM(in_flight - in_batches) FROM jobs WHERE token = k.id AND in_flight > 0) AS token_in_flight,
  (SELECT spent_nano + reserved_nano FROM token_days WHERE day = ?1 AND token = k.id) AS token_day_nano
FROM jobs j LEFT JOIN tokens k ON k.id = j.token WHERE j.state IN ('planning', 'running', 'synthesizing') AND (j.state <> 'planning' OR j.stage = 1000) AND (j.deadline_at IS NULL
  OR j.deadline_at + CASE j.state WHEN 'synthesizing' THEN ?3 ELSE 0 END > ?2) AND j.id = COALESCE(?4, j.id)
ORDER BY j.in_flight - j.in_batches, j.created_at LIMIT 64";
const WAITING: &str = "-- waiting_tasks
SELECT t.id, t.job, t.stage, t.idx, t.class, t.bytes, t.max_tokens, t.worst_nano, t.form, t.purpose, t.tier, t.items, t.attempts, s.answers, s.answer_tokens,
  s.longest, s.cut_items, s.whole_items, s.pending + s.queued + (s.expanded = 0) * 1000 AS peers,
  t.form = 'fetch' OR (at_work.reuse = 1 AND EXISTS (SELECT 1 FROM ledger l
    WHERE l.tenant = at_work.tenant AND l.key = t.key AND l.expires_at > ?1)) AS free
FROM (SELECT id, tenant, reuse, CASE WHEN ?3 > 0 THEN (SELECT w.idx FROM tasks w WHERE w.job = jobs.id
        AND w.state IN ('pending', 'queued') AND w.batched = 0 AND w.not_before = 0 ORDER BY w.idx LIMIT 1) END AS first,
      CASE WHEN ?3 > 0 THEN (SELECT w.idx FROM tasks w WHERE w.job = jobs.id
        AND w.state IN ('pending', 'queued') AND w.batched = 0 AND w.not_before = 0 ORDER BY w.idx DESC LIMIT 1) END AS last
    FROM jobs WHERE state IN ('planning', 'running', 'synthesizing') AND (state <> 'planning' OR stage = 1000)
    ORDER BY in_flight - in_batches, created_at LIMIT 64) at_work CROSS JOIN tasks t ON t.id IN (
    SELECT c.id FROM tasks c WHERE c.job = at_work.id AND c.state IN ('pending', 'queued') AND c.batched = 0 AND c.not_before <= ?1
      AND (c.not_before, c.idx) >= (0, COALESCE(first + CAST(?3 * (last - first) AS INTEGER), 0))
    ORDER BY c.not_before, c.idx LIMIT ?2)
  JOIN stages s ON s.job = t.job AND s.idx = t.stage
ORDER BY t.job, t.not_before, t.idx";
const CLASSES: &str = "-- classes
SELECT * FROM classes";
const BREAKER: &str = "-- breaker
SELECT state, until, probe FROM breaker WHERE id = 1";
const NEXT_DUE: &str = "-- next_due
SELECT MIN((SELECT MIN(t.not_before) FROM tasks t
    WHERE t.job = j.id AND t.state IN ('pending', 'queued') AND t.batched = 0 AND t.not_before > ?1)) AS due,
  MAX(EXISTS (SELECT 1 FROM tasks t WHERE t.job = j.id AND t.state IN ('pending', 'queued') AND t.batched = 0)) AS waiting
FROM jobs j WHERE j.state IN ('planning', 'running', 'synthesizing') AND (j.state <> 'planning' OR j.stage = 1000)";

/// The statements of a snapshot; [`read`] takes their answers. Of each job it brings `per_job` tasks, from that `share` of
/// the way between its first and its last on: consumers that look at different tasks do not take each other's.
pub fn snapshot(
    now: i64,
    day: &str,
    (per_job, share): (u32, f64),
    grace_ms: i64,
) -> Vec<Statement> {
    vec![
        sql(AT_WORK, params![day, now, grace_ms, None::<String>]),
        sql(WAITING, params![now, per_job, share]),
        sql(CLASSES, params![]),
        sql(BREAKER, params![]),
        sql(NEXT_DUE, params![now]),
        prefixes::known(now),
        capabilities::in_force(now),
    ]
}

/// One job's money and the breaker's row, for what is not admitted call by call; [`read_one`] takes their answers.
pub fn one(job: &str, now: i64, day: &str, grace_ms: i64) -> Vec<Statement> {
    vec![
        sql(AT_WORK, params![day, now, grace_ms, job]),
        sql(BREAKER, params![]),
    ]
}

/// `None` where the job is not at work.
pub fn read_one(answers: &[crate::ports::Answer]) -> Option<(AtWork, Breaker)> {
    let first = |n: usize| answers.get(n).and_then(|answer| answer.rows.first());
    Some((
        at_work(first(0)?),
        first(1).map_or(Breaker::Closed, read_breaker),
    ))
}

const PASS_ON: &str = "-- pass_on
UPDATE alarm SET passed_at = ?1 WHERE id = 1 AND passed_at <= ?2 RETURNING passed_at";

/// One row comes back where no consumer has woken others since `before`: then this one may.
pub fn pass_on(now: i64, before: i64) -> Statement {
    sql(PASS_ON, params![now, before])
}

/// How many statements [`snapshot`] has.
pub const SNAPSHOT: usize = 7;

/// A snapshot as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    pub jobs: Vec<AtWork>,
    pub waiting: Vec<Waiting>,
    pub classes: Vec<ClassRow>,
    pub breaker: Breaker,
    /// Beginnings of prompts in the API's cache, by id.
    pub prefixes: HashMap<String, Entry>,
    /// Parts of requests that models do not take.
    pub capabilities: Capabilities,
    /// When the next task that is held back may go.
    pub due: Option<i64>,
    /// Any task waits at all.
    pub any_waiting: bool,
}

/// A class's row: the governor's part, and what was learned.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassRow {
    pub class: Class,
    /// The most tokens that a byte of any request took, once known.
    pub tokens_per_byte: Option<f64>,
    /// The bytes of the largest of them.
    pub known_bytes: f64,
    pub refused: u64,
}

impl ClassRow {
    pub fn read(row: &Row) -> ClassRow {
        let bucket = |name: &str| Bucket {
            limit: row.real(&format!("{name}_limit")),
            cap: row.real(&format!("{name}_cap")),
            level: row.real(&format!("{name}_level")),
        };
        let most = row.real("learned_most");
        ClassRow {
            class: Class {
                name: row.text("class"),
                seen: row.flag("seen"),
                in_flight: row.count("in_flight"),
                window: row.maybe_real("window"),
                slow_until: row.int("slow_until"),
                down: row.flag("down"),
                at: row.int("at"),
                requests: bucket("requests"),
                input: bucket("input"),
                output: bucket("output"),
            },
            tokens_per_byte: (most > 0.0).then_some(most),
            known_bytes: row.real("learned_size"),
            refused: row.tokens("refused"),
        }
    }
}

/// Reads the answers of [`snapshot`], in its order.
pub fn read(answers: &[crate::ports::Answer]) -> Read {
    let rows = |n: usize| {
        answers
            .get(n)
            .map(|a| a.rows.as_slice())
            .unwrap_or_default()
    };
    let breaker = rows(3).first();
    let due = rows(4).first();
    Read {
        jobs: rows(0).iter().map(at_work).collect(),
        waiting: rows(1).iter().map(waiting).collect(),
        classes: rows(2).iter().map(ClassRow::read).collect(),
        breaker: breaker.map_or(Breaker::Closed, read_breaker),
        due: due.and_then(|row| row.maybe_int("due")),
        any_waiting: due.is_some_and(|row| row.flag("waiting")),
        prefixes: rows(5).iter().map(prefixes::read).collect(),
        capabilities: Capabilities::read(rows(6)),
    }
}

/// The breaker's row.
pub fn read_breaker(row: &Row) -> Breaker {
    match row.text("state").as_str() {
        "open" => Breaker::Open {
            until: row.int("until"),
        },
        "half_open" => Breaker::HalfOpen {
            probing: row.maybe_text("probe").is_some(),
        },
        _ => Breaker::Closed,
    }
}

/// For the synthesis: `max_tokens`, and its input at the average size of a result so far; where that is more than it can
/// read, the tree that brings it down, and the synthesis over what comes out of it. At most 30 % of the cap.
fn held(row: &Row) -> i64 {
    let Some(limit) = row.maybe_int("limit_nano") else {
        return 0;
    };
    if row.text("state") != "running" {
        // While the tree is worked on; nothing once the synthesis itself waits.
        return row.int("hold_nano");
    }
    let results = row.int("results").max(1);
    let bytes = row
        .int("result_bytes")
        .saturating_mul(row.int("tasks").max(1))
        / results;
    let most = row.maybe_int("synthesis_bytes").unwrap_or(i64::MAX);
    let (tree, read) = if bytes > most {
        // Each level leaves an eighth at the most: all levels read one seventh more than the first.
        let levels = bytes.saturating_add(bytes / 7);
        let tree = row.int("reduce_nano_per_byte").saturating_mul(levels);
        (tree, most.min(bytes / 8))
    } else {
        (0, bytes)
    };
    let wanted = row
        .int("synthesis_nano_per_byte")
        .saturating_mul(read)
        .saturating_add(row.int("synthesis_fixed_nano"))
        .saturating_add(tree);
    wanted.min(limit / 10 * 3)
}

fn at_work(row: &Row) -> AtWork {
    AtWork {
        id: row.text("id"),
        tenant: row.text("tenant"),
        stage: row.count("stage"),
        in_flight: row.count("in_flight"),
        in_batches: row.count("in_batches"),
        concurrency: row.count("concurrency"),
        max_attempts: row.count("max_attempts"),
        limit_nano: row.maybe_int("limit_nano"),
        used_nano: row.int("used_nano"),
        held_nano: held(row),
        day_tenant: row.int("day_tenant"),
        day_account: row.int("day_account"),
        token: row.maybe_text("token").map(|id| TokenAtWork {
            id,
            in_flight: row.count("token_in_flight"),
            concurrency: row
                .maybe_int("token_concurrency")
                .map(|_| row.count("token_concurrency")),
            daily_nano: row.maybe_int("token_daily_nano"),
            day_nano: row.int("token_day_nano"),
        }),
    }
}

fn waiting(row: &Row) -> Waiting {
    Waiting {
        id: row.int("id"),
        job: row.text("job"),
        stage: row.count("stage"),
        idx: row.count("idx"),
        class: row.text("class"),
        bytes: row.tokens("bytes"),
        max_tokens: row.count("max_tokens"),
        worst_nano: row.int("worst_nano"),
        form: row.text("form"),
        purpose: TaskKind::parse(&row.text("purpose")),
        tier: row.count("tier"),
        items: row.count("items"),
        attempts: row.count("attempts"),
        answers: answers(row),
        answer_tokens: row.tokens("answer_tokens"),
        peers: row.tokens("peers"),
        free: row.flag("free"),
    }
}

/// What a stage's row says of its answers.
pub fn answers(row: &Row) -> Answers {
    Answers {
        count: row.tokens("answers"),
        longest: row.tokens("longest"),
        cut_items: row.maybe_int("cut_items").map(|_| row.count("cut_items")),
        whole_items: row.count("whole_items"),
    }
}

/// One task to claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Take {
    pub id: i64,
    pub job: String,
    pub class: String,
    pub role: &'static str,
    pub model: String,
    pub input: f64,
    pub output: f64,
    /// What is reserved for its call.
    pub worst_nano: i64,
    pub held_nano: i64,
    /// Room for its answer, where that is less than all it may have.
    pub room: Option<u32>,
    /// Tasks of its job that may be claimed beyond its concurrency, by a consumer that calls for no more than that.
    pub ahead: u32,
    pub free: bool,
    /// It reads a page, and is free for that.
    pub reads: bool,
    /// How long its prompt's beginning is to be kept, where the call is marked for that.
    pub cache: Option<CacheTtl>,
    /// The beginning that it goes ahead with.
    pub leads: Option<String>,
    /// Parts that its request leaves out.
    pub lacks: Lacks,
}

/// The whole claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim<'a> {
    pub lease: &'a str,
    pub now: i64,
    pub until: i64,
    pub day: &'a str,
    pub takes: Vec<Take>,
    /// The single call is the breaker's probe.
    pub probe: bool,
    pub governor_start: u32,
    pub tenant_day_nano: Option<i64>,
    pub account_day_nano: Option<i64>,
    /// Leads that are waited for began after this.
    pub leads_since: i64,
    /// Some of the jobs are of tokens with rows of their own.
    pub tokens: bool,
}

// A class that was idle for long has at least what this claim wants, which is a single call where its levels are short.
const REFILL_IDLE: &str = "-- refill_idle_classes
UPDATE classes SET
  requests_level = MAX(requests_level, e.calls),
  input_level = MAX(input_level, MIN(e.input, MAX(input_cap * 0.9, 1.0))),
  output_level = MAX(output_level, MIN(e.output, MAX(output_cap * 0.9, 1.0)))
FROM (SELECT value->>'$.class' AS class, value->>'$.calls' AS calls, value->>'$.input' AS input, value->>'$.output' AS output
  FROM json_each(?1)) AS e
WHERE classes.class = e.class AND in_flight = 0 AND ?2 - at >= ?3";
/// What a bucket holds at ?2. The tally of a claim writes the same (migrations, trigger tally_claimed).
macro_rules! level {
    ($name:literal) => {
        concat!(
            "MAX(MIN(c.",
            $name,
            "_level, 0.0), MIN(MAX(c.",
            $name,
            "_cap * 0.9, 1.0), c.",
            $name,
            "_level + c.",
            $name,
            "_limit * 0.97 / 60000.0 * MAX(0, ?2 - c.at)))"
        )
    };
}
const GUARD_CLASSES: &str = concat!(
    "-- guard_classes
INSERT INTO assertions SELECT NOT EXISTS (
  SELECT 1 FROM json_each(?1) e JOIN classes c ON c.class = e.value->>'$.class' WHERE
    c.slow_until > ?2
    OR (c.window IS NOT NULL AND c.in_flight + e.value->>'$.calls' > MAX(1.0, c.window))
    OR (c.seen = 0 AND c.in_flight + e.value->>'$.calls' > ?3)
    OR (c.down > 0 AND c.in_flight + e.value->>'$.calls' > 1)
    OR (c.seen = 1 AND (
      (e.value->>'$.input' > MAX(c.input_cap * 0.9, 1.0) AND c.in_flight > 0) OR
      ",
    level!("requests"),
    " + 0.001 < MIN(e.value->>'$.calls', MAX(c.requests_cap * 0.9, 1.0))
      OR ",
    level!("input"),
    " + 0.001 < MIN(e.value->>'$.input', MAX(c.input_cap * 0.9, 1.0))
      OR ",
    level!("output"),
    " + 0.001 < MIN(e.value->>'$.output', MAX(c.output_cap * 0.9, 1.0)))))"
);
const GUARD_JOBS: &str = "-- guard_jobs
INSERT INTO assertions SELECT NOT EXISTS (
  SELECT 1 FROM json_each(?1) e LEFT JOIN jobs j ON j.id = e.value->>'$.job' WHERE
    j.id IS NULL OR j.state NOT IN ('planning', 'running', 'synthesizing') OR (j.state = 'planning' AND j.stage <> 1000)
    OR (e.value->>'$.calls' > 0 AND j.spent_nano + j.reserved_nano + j.unknown_nano
      + e.value->>'$.held' + e.value->>'$.worst' > j.limit_nano)
    OR (e.value->>'$.calls' > 0 AND COALESCE((SELECT spent_nano + reserved_nano FROM spending
      WHERE day = ?2 AND tenant = j.tenant), 0) + (SELECT SUM(o.value->>'$.worst') FROM json_each(?1) o
      CROSS JOIN jobs k ON k.id = o.value->>'$.job' WHERE k.tenant = j.tenant) > ?3))";
const GUARD_DAY: &str = "-- guard_day
INSERT INTO assertions SELECT COALESCE((SELECT SUM(spent_nano + reserved_nano) FROM spending
  WHERE day = ?1), 0) + ?2 <= ?3";
const GUARD_BREAKER: &str = "-- guard_breaker
INSERT INTO assertions SELECT state = 'closed' OR (?1 = 1 AND state = 'half_open' AND probe IS NULL)
FROM breaker WHERE id = 1";
const PROBE: &str = "-- take_probe
UPDATE breaker SET probe = ?1 WHERE id = 1 AND state = 'half_open' AND probe IS NULL";
// Of a job as many go as it has places for. What was to read a page when it was looked at may have read it by now, and what was to ask something may have its answer: either
// is left for the next look.
const CLAIM: &str = "-- claim_tasks
UPDATE tasks SET state = 'running', lease = ?1, attempts = tasks.attempts + (e.free = 0),
  counted = tasks.counted + (e.free = 0), queued_at = CASE WHEN e.free = 0 AND tasks.state = 'queued' THEN -1 END
FROM (SELECT value->>'$.id' AS id, value->>'$.free' AS free, value->>'$.reads' AS reads, value->>'$.ahead' AS ahead,
    ROW_NUMBER() OVER (PARTITION BY value->>'$.job', value->>'$.free' ORDER BY key) AS nth FROM json_each(?2)) AS e
WHERE tasks.id = e.id AND tasks.state IN ('pending', 'queued') AND tasks.not_before <= ?3
  AND (e.free = 1 OR e.nth <= (SELECT j.concurrency + e.ahead - j.in_flight + j.in_batches FROM jobs j WHERE j.id = tasks.job))
  AND e.reads = (tasks.form = 'fetch')
  AND (e.free = 1 OR NOT EXISTS (SELECT 1 FROM jobs j JOIN ledger l ON l.tenant = j.tenant AND l.key = tasks.key
    WHERE j.id = tasks.job AND j.reuse = 1 AND l.expires_at > ?3))";
const OPEN: &str = "-- open_attempts
INSERT INTO attempts (job, idx, n, tenant, stage, lease, form, role, model, class, ids, day, bytes,
  reserved_nano, reserved_input, reserved_output, started_at, cache, max_tokens, token, counted, mark, lacks)
SELECT t.job, t.idx, t.attempts, j.tenant, t.stage, ?1, t.form, e.value->>'$.role', e.value->>'$.model', t.class, COALESCE(t.wanted, t.ids), ?3, t.bytes,
  e.value->>'$.worst', e.value->>'$.input', e.value->>'$.output', ?4, e.value->>'$.cache', e.value->>'$.room',
  j.token, 1, (SELECT input_admitted FROM classes c WHERE c.class = t.class)
    + SUM(e.value->>'$.input') OVER (PARTITION BY t.class ORDER BY e.key), e.value->>'$.lacks'
FROM json_each(?2) e CROSS JOIN tasks t ON t.id = e.value->>'$.id' JOIN jobs j ON j.id = t.job
WHERE e.value->>'$.free' = 0 AND t.lease = ?1 AND t.state = 'running'";
const CLAIMED: &str = "-- claimed_tasks
SELECT t.id, t.job, t.stage, t.purpose, t.tier, t.idx, t.state AS moved_to, t.ids, COALESCE(t.wanted, t.ids) AS wanted, t.form, t.tries, t.attempts, t.delays, t.covered, t.class, t.key,
  t.bytes, t.worst_nano, t.max_tokens, j.tenant, j.run, j.max_attempts, j.reuse, j.in_flight - j.in_batches AS in_flight, j.concurrency, a.id AS attempt, a.reserved_nano, a.cache, a.lacks, a.max_tokens AS room, (SELECT down_since FROM classes c WHERE c.class = t.class) AS down_since, i.body, i.blob,
  CASE WHEN t.covered > 0 THEN o.body END AS output, CASE WHEN t.covered > 0 THEN o.blob END AS output_blob,
  CASE WHEN e.value->>'$.free' = 1 THEN l.body END AS known, CASE WHEN e.value->>'$.free' = 1 THEN l.blob END AS known_blob,
  l.cost_nano AS known_cost, l.job AS known_job,
  (SELECT SUM(cost_nano) FROM attempts c WHERE c.job = t.job AND c.idx = t.idx) AS paid_nano,
  CASE WHEN t.form NOT LIKE 'fresh%' THEN p.response END AS prior, CASE WHEN t.form NOT LIKE 'fresh%' THEN p.response_blob END AS prior_blob,
  p.stop_reason AS prior_stop
FROM json_each(?2) e CROSS JOIN tasks t ON t.id = e.value->>'$.id'
  JOIN jobs j ON j.id = t.job
  LEFT JOIN attempts a ON a.job = t.job AND a.idx = t.idx AND a.n = t.attempts AND a.state = 'open' AND a.lease = ?1
  LEFT JOIN inputs i ON i.job = t.job AND i.idx = t.idx
  LEFT JOIN outputs o ON o.job = t.job AND o.idx = t.idx
  LEFT JOIN ledger l ON l.tenant = j.tenant AND l.key = t.key
  LEFT JOIN attempts p ON t.form NOT LIKE 'fresh%' AND p.job = t.job AND p.idx = t.idx
    AND p.n = (SELECT MAX(n) FROM attempts q WHERE q.job = t.job AND q.idx = t.idx
      AND (q.response IS NOT NULL OR q.response_blob IS NOT NULL))
WHERE t.lease = ?1 AND t.state = 'running'";
const ADMITTED: &str = "-- admitted_so_far
SELECT class, requests_admitted, input_admitted FROM classes
WHERE class IN (SELECT value->>'$.class' FROM json_each(?1))";

/// The statements of a claim. The last two answer with the tasks that were taken and with what their
/// classes have admitted so far.
pub fn claim(claim: &Claim<'_>) -> Vec<Statement> {
    let calls: Vec<&Take> = claim.takes.iter().filter(|take| !take.free).collect();
    let classes = totals(&calls, |take| &take.class, "class");
    let jobs = totals(
        &claim.takes.iter().collect::<Vec<_>>(),
        |take| &take.job,
        "job",
    );
    let takes: Vec<Value> = claim
        .takes
        .iter()
        .map(|take| {
            json!({"id": take.id, "job": take.job, "ahead": take.ahead, "free": u32::from(take.free), "reads": u32::from(take.reads),
                   "role": take.role, "model": take.model,
                   "input": take.input.ceil() as i64, "output": take.output.ceil() as i64,
                   "worst": take.worst_nano, "room": take.room, "cache": take.cache.map(CacheTtl::as_str),
                   "lacks": take.lacks.as_text()})
        })
        .collect();
    let takes = Value::Array(takes).to_string();
    let leads: Vec<Lead> = calls
        .iter()
        .filter_map(|take| {
            Some(Lead {
                task: take.id,
                prefix: take.leads.clone()?,
                ttl: take.cache?.as_str(),
            })
        })
        .collect();
    let mut statements = Vec::with_capacity(14);
    if !calls.is_empty() {
        statements.push(sql(
            REFILL_IDLE,
            params![classes.as_str(), claim.now, PROBE_AFTER_MS],
        ));
        statements.push(sql(
            GUARD_CLASSES,
            params![classes.as_str(), claim.now, claim.governor_start],
        ));
        statements.extend(guard_breaker(claim.lease, claim.probe));
        if !leads.is_empty() {
            statements.push(prefixes::guard(&leads, claim.now, claim.leads_since));
        }
        if let Some(cap) = claim.account_day_nano {
            let worst: i64 = calls.iter().map(|take| take.worst_nano).sum();
            statements.push(sql(GUARD_DAY, params![claim.day, worst, cap]));
        }
    }
    if claim.tokens {
        statements.push(tokens::guard(&jobs, claim.day));
    }
    statements.push(sql(
        GUARD_JOBS,
        params![jobs, claim.day, claim.tenant_day_nano],
    ));
    statements.push(sql(CLAIM, params![claim.lease, takes.as_str(), claim.now]));
    statements.push(tasks::hold(claim.lease, claim.until, claim.now));
    if !calls.is_empty() {
        statements.push(sql(
            OPEN,
            params![claim.lease, takes.as_str(), claim.day, claim.now],
        ));
        statements.push(tally::claimed(&takes, claim.lease, claim.day, claim.now));
        if !leads.is_empty() {
            statements.push(prefixes::lead(&leads, claim.lease, claim.now));
        }
    }
    statements.push(sql(CLAIMED, params![claim.lease, takes]));
    statements.push(sql(ADMITTED, params![classes]));
    statements
}

/// Ends the batch unless calls may go out; the breaker's probe is taken by that lease.
pub fn guard_breaker(lease: &str, probe: bool) -> Vec<Statement> {
    let mut statements = vec![sql(GUARD_BREAKER, params![u32::from(probe)])];
    if probe {
        statements.push(sql(PROBE, params![lease]));
    }
    statements
}

/// What is wanted of each class or job: calls, tokens, money. Free answers count for neither.
fn totals<'a>(takes: &[&'a Take], by: impl Fn(&'a Take) -> &'a String, name: &str) -> String {
    let mut groups: Vec<(&String, u32, f64, f64, i64, i64, u32)> = Vec::new();
    for take in takes {
        let key = by(take);
        let at = groups
            .iter()
            .position(|group| group.0 == key)
            .unwrap_or_else(|| {
                groups.push((key, 0, 0.0, 0.0, 0, 0, 0));
                groups.len() - 1
            });
        if let Some(group) = groups.get_mut(at).filter(|_| !take.free) {
            group.1 += 1;
            group.2 += take.input;
            group.3 += take.output;
            group.4 = group.4.saturating_add(take.worst_nano);
            group.5 = take.held_nano;
            group.6 = take.ahead;
        }
    }
    let rows: Vec<Value> = groups
        .into_iter()
        .map(|(key, calls, input, output, worst, held, ahead)| {
            json!({name: key, "calls": calls, "input": input, "output": output, "worst": worst, "held": held, "ahead": ahead})
        })
        .collect();
    to_json(&rows)
}

/// A claimed task, with everything its call needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    pub id: i64,
    pub job: String,
    pub tenant: String,
    pub run: u32,
    pub stage: u32,
    pub purpose: TaskKind,
    /// Which model of a cascade it asks.
    pub tier: u32,
    pub idx: u32,
    pub ids: Vec<String>,
    /// The items that this call asks for.
    pub wanted: Vec<String>,
    pub form: String,
    pub class: String,
    pub key: String,
    pub tries: u32,
    pub attempts: u32,
    pub delays: u32,
    pub max_attempts: u32,
    pub max_tokens: u32,
    pub bytes: u64,
    pub worst_nano: i64,
    pub covered: u32,
    pub reuse: bool,
    /// Of its job: open attempts with this claim's, and how many calls may be in flight.
    pub in_flight: u32,
    pub concurrency: u32,
    /// The row of its open attempt; `None` for a free answer.
    pub attempt: Option<i64>,
    /// What was reserved for it.
    pub reserved_nano: i64,
    /// How long its prompt's beginning is to be kept, where the call is marked for that.
    pub cache: Option<CacheTtl>,
    /// Room for its answer, where that is less than all it may have.
    pub room: Option<u32>,
    /// Parts that its request leaves out.
    pub lacks: Lacks,
    /// Since when its class gets no answers; 0 where it gets them.
    pub down_since: i64,
    pub input: Body,
    /// Valid results of earlier attempts.
    pub output: Body,
    /// The ledger's answer, for a free one, with what it cost and who paid.
    pub known: Body,
    pub known_cost: i64,
    /// What its earlier attempts cost.
    pub paid_nano: i64,
    pub known_job: Option<String>,
    /// The answer to repair, and why it stopped.
    pub prior: Body,
    pub prior_stop: Option<String>,
}

/// A text that is inline, in a blob, or not there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Body {
    pub inline: Option<String>,
    pub blob: Option<String>,
}

impl Body {
    pub fn read(row: &Row, inline: &str, blob: &str) -> Body {
        Body {
            inline: row.maybe_text(inline),
            blob: row.maybe_text(blob),
        }
    }

    pub fn is_none(&self) -> bool {
        self.inline.is_none() && self.blob.is_none()
    }
}

impl Claimed {
    pub fn read(row: &Row) -> Claimed {
        Claimed {
            id: row.int("id"),
            job: row.text("job"),
            tenant: row.text("tenant"),
            run: row.count("run"),
            stage: row.count("stage"),
            purpose: TaskKind::parse(&row.text("purpose")),
            tier: row.count("tier"),
            idx: row.count("idx"),
            ids: row.json("ids").unwrap_or_default(),
            wanted: row.json("wanted").unwrap_or_default(),
            form: row.text("form"),
            class: row.text("class"),
            key: row.text("key"),
            tries: row.count("tries"),
            attempts: row.count("attempts"),
            delays: row.count("delays"),
            max_attempts: row.count("max_attempts"),
            max_tokens: row.count("max_tokens"),
            bytes: row.tokens("bytes"),
            worst_nano: row.int("worst_nano"),
            covered: row.count("covered"),
            reuse: row.flag("reuse"),
            in_flight: row.count("in_flight"),
            concurrency: row.count("concurrency"),
            attempt: row.maybe_int("attempt"),
            reserved_nano: row.int("reserved_nano"),
            cache: row
                .maybe_text("cache")
                .and_then(|ttl| CacheTtl::parse(&ttl)),
            room: row.maybe_int("room").map(|_| row.count("room")),
            lacks: Lacks::parse(&row.text("lacks")),
            down_since: row.int("down_since"),
            input: Body::read(row, "body", "blob"),
            output: Body::read(row, "output", "output_blob"),
            known: Body::read(row, "known", "known_blob"),
            known_cost: row.int("known_cost"),
            paid_nano: row.int("paid_nano"),
            known_job: row.maybe_text("known_job"),
            prior: Body::read(row, "prior", "prior_blob"),
            prior_stop: row.maybe_text("prior_stop"),
        }
    }
}
