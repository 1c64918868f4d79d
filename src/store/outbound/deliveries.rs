//! Webhooks and what is delivered to them.
//!
//! Events are written by a trigger on `jobs`, in the transaction that ends or halts a run: nothing here makes one.

use crate::core::net::webhook::Webhook;
use crate::ports::Statement;
use crate::store::job::removals::SLICE_ROWS;
use crate::store::{params, sql, to_json};

const INSERT: &str = "-- insert_webhook
INSERT INTO webhooks (job, tenant, url, events, format) VALUES (?1, ?2, ?3, ?4, ?5)";

/// Who is told about a job; in the batch that makes the job.
pub fn insert(job: &str, tenant: &str, webhook: &Webhook) -> Statement {
    sql(
        INSERT,
        params![
            job,
            tenant,
            webhook.url.as_str(),
            to_json(&webhook.events),
            webhook.format.as_str()
        ],
    )
}

const DUE_OF_JOB: &str = "-- deliveries_due_of_job
SELECT id FROM deliveries WHERE job = ?1 AND status = 'pending' AND next_at <= ?2";
const DUE: &str = "-- deliveries_due
SELECT id FROM deliveries WHERE status = 'pending' AND next_at <= ?1 ORDER BY next_at LIMIT ?2";

/// What must be told about one job now.
pub fn due_of_job(job: &str, now: i64) -> Statement {
    sql(DUE_OF_JOB, params![job, now])
}

/// What must be told now, the longest overdue first.
pub fn due(now: i64, most: u32) -> Statement {
    sql(DUE, params![now, most])
}

const CLAIM: &str = "-- claim_delivery
UPDATE deliveries SET tries = tries + 1, next_at = ?3 WHERE id = ?1 AND status = 'pending' AND next_at <= ?2
RETURNING *, (SELECT url FROM webhooks WHERE job = deliveries.job) AS url,
  (SELECT format FROM webhooks WHERE job = deliveries.job) AS format";

/// Takes a delivery that is due for one try; a row comes back to one of all that ask before `until`.
pub fn claim(id: &str, now: i64, until: i64) -> Statement {
    sql(CLAIM, params![id, now, until])
}

const FREEZE: &str = "-- freeze_payload
UPDATE deliveries SET payload = COALESCE(payload, ?2) WHERE id = ?1 RETURNING payload";

/// What the first try sends is what every try sends.
pub fn freeze(id: &str, payload: &str) -> Statement {
    sql(FREEZE, params![id, payload])
}

/// How one try ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Try {
    pub n: u32,
    pub at: i64,
    pub ms: i64,
    pub status: Option<u16>,
    pub error: Option<String>,
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Delivered,
    Again { at: i64 },
    GivenUp,
}

const RECORD: &str = "-- record_try
INSERT OR REPLACE INTO delivery_tries (delivery, n, job, at, ms, status, error)
SELECT id, ?2, job, ?3, ?4, ?5, ?6 FROM deliveries WHERE id = ?1";
const DELIVERED: &str = "-- delivered
UPDATE deliveries SET status = 'delivered', closed_at = ?2 WHERE id = ?1 AND status = 'pending'";
const AGAIN: &str = "-- deliver_again
UPDATE deliveries SET next_at = ?3 WHERE id = ?1 AND status = 'pending' AND tries = ?2";
const GIVEN_UP: &str = "-- delivery_given_up
UPDATE deliveries SET status = 'failed', closed_at = ?3 WHERE id = ?1 AND status = 'pending' AND tries = ?2";

/// Writes a try down. A late failure changes nothing where another try has begun; a success always counts.
pub fn settle(id: &str, one: &Try, after: After, now: i64) -> Vec<Statement> {
    let record = sql(
        RECORD,
        params![id, one.n, one.at, one.ms, one.status, one.error.clone()],
    );
    let settled = match after {
        After::Delivered => sql(DELIVERED, params![id, now]),
        After::Again { at } => sql(AGAIN, params![id, one.n, at]),
        After::GivenUp => sql(GIVEN_UP, params![id, one.n, now]),
    };
    vec![record, settled]
}

const REDELIVER: &str = "-- redeliver
UPDATE deliveries SET status = 'pending', since = ?3, next_at = ?3, closed_at = NULL WHERE id = ?1 AND job = ?2
RETURNING id";

/// Begins again, whatever became of it; a row comes back where there is such a delivery.
pub fn redeliver(id: &str, job: &str, now: i64) -> Statement {
    sql(REDELIVER, params![id, job, now])
}

const LIST: &str = "-- deliveries_page
SELECT d.*, w.url, w.format FROM deliveries d JOIN webhooks w ON w.job = d.job
WHERE d.job = ?1 AND (?2 IS NULL OR (d.at, d.id) < (?2, ?3)) ORDER BY d.at DESC, d.id DESC LIMIT ?4";
const ONE: &str = "-- delivery
SELECT d.*, w.url, w.format FROM deliveries d JOIN webhooks w ON w.job = d.job WHERE d.job = ?1 AND d.id = ?2";
const TRIES: &str = "-- delivery_tries
SELECT * FROM delivery_tries t WHERE delivery IN (SELECT value FROM json_each(?1))
  AND n > (SELECT tries FROM deliveries WHERE id = t.delivery) - ?2 ORDER BY delivery, n";

/// Deliveries of a job, newest first.
pub fn list(job: &str, after: Option<(i64, String)>, limit: u32) -> Statement {
    let (at, id) = after.unzip();
    sql(LIST, params![job, at, id, limit])
}

/// One delivery of a job.
pub fn one(job: &str, id: &str) -> Statement {
    sql(ONE, params![job, id])
}

/// The last `most` tries of each of these deliveries, the oldest first.
pub fn tries(ids: &[String], most: u32) -> Statement {
    sql(TRIES, params![to_json(ids), most])
}

const AGE_TRIES: &str = "-- age_delivery_tries
DELETE FROM delivery_tries WHERE delivery IN (
  SELECT id FROM deliveries WHERE closed_at < ?1 ORDER BY closed_at LIMIT ?2)";
const AGE: &str = "-- age_deliveries
DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE closed_at < ?1 ORDER BY closed_at LIMIT ?2)";

/// Forgets deliveries that were closed before.
pub fn age(before: i64) -> Vec<Statement> {
    vec![
        sql(AGE_TRIES, params![before, SLICE_ROWS]),
        sql(AGE, params![before, SLICE_ROWS]),
    ]
}
