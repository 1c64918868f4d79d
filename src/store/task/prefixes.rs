//! What is known of the beginnings that prompts share in the API's cache: read with a snapshot, written by claims and
//! settles.
//!
//! A row belongs to no job: whoever asks with the same beginning, in whichever job, finds the entry there. It is a memory
//! of what was done, never the truth about the cache, which keeps or loses entries as it likes.

use serde::Serialize;

use crate::core::admission::cache::{CacheTtl, Entry};
use crate::ports::Statement;
use crate::store::row::{Columns, Row};
use crate::store::{params, sql, to_json};

/// What is known of a lead is of use for so long; rows that say nothing any more are not read, and go with the next sweep.
const MEMORY_MS: i64 = 3_600_000;

const PREFIXES: &str = "-- prefixes
SELECT p.*, EXISTS (SELECT 1 FROM attempts a WHERE a.id = p.leader AND a.state = 'open') AS leading FROM prefixes p
WHERE p.known_until > ?1";

/// All that matter now; [`read`] takes the rows.
pub fn known(now: i64) -> Statement {
    sql(PREFIXES, params![now])
}

/// A prefix by its id.
pub fn read(row: &Row) -> (String, Entry) {
    let entry = Entry {
        ttl: CacheTtl::parse(&row.text("ttl")).unwrap_or_default(),
        warm_until: row.int("warm_until"),
        led_at: row.int("led_at"),
        leading: row.flag("leading"),
        leads: row.count("leads"),
        off_until: row.int("off_until"),
    };
    (row.text("prefix"), entry)
}

/// A call that is sent ahead of all others with its prefix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lead {
    pub task: i64,
    pub prefix: String,
    pub ttl: &'static str,
}

const GUARD: &str = "-- guard_leads
INSERT INTO assertions SELECT NOT EXISTS (SELECT 1 FROM json_each(?1) e
  CROSS JOIN prefixes p ON p.prefix = e.value->>'$.prefix' LEFT JOIN attempts a ON a.id = p.leader
  WHERE p.warm_until > ?2 OR (a.state = 'open' AND p.led_at > ?3))";
const LEAD: &str = "-- lead
INSERT INTO prefixes (prefix, ttl, leader, led_at, leads, known_until)
SELECT e.value->>'$.prefix', e.value->>'$.ttl', a.id, ?3, 1, ?4 FROM json_each(?1) e
  CROSS JOIN tasks t ON t.id = e.value->>'$.task'
  CROSS JOIN attempts a ON a.job = t.job AND a.idx = t.idx AND a.n = t.attempts AND a.lease = ?2 AND a.state = 'open'
WHERE true
ON CONFLICT (prefix) DO UPDATE SET ttl = excluded.ttl, leader = excluded.leader, led_at = excluded.led_at, leads = leads + 1,
  known_until = MAX(known_until, excluded.known_until)";

/// Ends the batch if another call leads one of these by now, or has led it. `since`: leads that are waited for began later.
pub fn guard(leads: &[Lead], now: i64, since: i64) -> Statement {
    sql(GUARD, params![to_json(&leads), now, since])
}

/// After the attempts of that lease were opened: these lead.
pub fn lead(leads: &[Lead], lease: &str, now: i64) -> Statement {
    let known = now.saturating_add(MEMORY_MS);
    sql(LEAD, params![to_json(&leads), lease, now, known])
}

/// What a settle teaches about prefixes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lesson {
    pub warm: Vec<Warm>,
    /// Led by calls that were turned away for load, which says nothing about the cache.
    pub turned_away: Vec<String>,
    /// Not marked before that time.
    pub off: Vec<String>,
    pub off_until: i64,
}

/// The answer to a marked call has begun.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Warm {
    pub prefix: String,
    pub until: i64,
}

const WARM: &str = "-- warm_prefixes
UPDATE prefixes SET warm_until = MAX(warm_until, e.until), known_until = MAX(known_until, e.until), leads = 0
FROM (SELECT value->>'$.prefix' AS prefix, value->>'$.until' AS until FROM json_each(?1)) AS e
WHERE prefixes.prefix = e.prefix";
const TURNED_AWAY: &str = "-- leads_turned_away
UPDATE prefixes SET leads = MAX(0, leads - 1) WHERE prefix IN (SELECT value FROM json_each(?1))";
const OFF: &str = "-- prefixes_off
INSERT INTO prefixes (prefix, ttl, leader, led_at, off_until, known_until) SELECT value, '5m', 0, 0, ?2, ?2 FROM json_each(?1) WHERE true
ON CONFLICT (prefix) DO UPDATE SET off_until = excluded.off_until, known_until = MAX(known_until, excluded.known_until)";

pub fn learn(lesson: &Lesson) -> Vec<Statement> {
    let mut statements = Vec::new();
    if !lesson.warm.is_empty() {
        statements.push(sql(WARM, params![to_json(&lesson.warm)]));
    }
    if !lesson.turned_away.is_empty() {
        statements.push(sql(TURNED_AWAY, params![to_json(&lesson.turned_away)]));
    }
    if !lesson.off.is_empty() {
        statements.push(sql(OFF, params![to_json(&lesson.off), lesson.off_until]));
    }
    statements
}

const FORGET: &str = "-- forget_prefixes
DELETE FROM prefixes WHERE known_until < ?1";

/// What says nothing any more goes.
pub fn forget(now: i64) -> Statement {
    sql(FORGET, params![now])
}
