//! What models at endpoints do not take of a request: read with a snapshot, learned by settles, reset by an admin.
//!
//! A refusal that names a part says it once for all. A format that is ignored shows in answers: each that does not have
//! it counts one, each that is right takes one back, and at [`MOST_DOUBTS`] the part is left out. The count has a floor,
//! so an endpoint that changes is noticed after some twenty answers. What was learned holds for a day, then one call
//! tries again.

use std::collections::HashMap;

use serde::Serialize;

use crate::claude::capabilities::{Lacks, Part};
use crate::ports::Statement;
use crate::store::row::{Columns, Row};
use crate::store::{params, sql, to_json};

/// Answers without the format, beyond those that had it, after which none is asked for.
const MOST_DOUBTS: i64 = 3;
/// The most that good answers are counted.
const FLOOR: i64 = -20;
/// How long a part is left out before one call tries it again.
const OFF_MS: i64 = 86_400_000;

const IN_FORCE: &str = "-- capabilities
SELECT endpoint, model, part FROM capabilities WHERE off_until > ?1";
const LEARNED: &str = "-- learned_capabilities
SELECT endpoint, model, part, off_until, at, reason FROM capabilities WHERE off_until > ?1 ORDER BY endpoint, model, part";
const RESET: &str = "-- reset_capabilities
DELETE FROM capabilities";
const LEARN: &str = "-- learn_capabilities
INSERT INTO capabilities (endpoint, model, part, doubts, off_until, at, reason)
SELECT ?2, value->>'$.model', value->>'$.part', MAX(?5, MIN(?4, value->>'$.doubts')),
  CASE WHEN value->>'$.doubts' >= ?4 THEN ?6 ELSE 0 END, ?3, value->>'$.reason' FROM json_each(?1) WHERE true
ON CONFLICT (endpoint, model, part) DO UPDATE SET
  doubts = MAX(?5, MIN(?4, doubts + excluded.doubts)),
  off_until = CASE WHEN doubts + excluded.doubts >= ?4 AND off_until <= ?3 THEN ?6 ELSE off_until END,
  at = excluded.at, reason = COALESCE(excluded.reason, reason)
WHERE doubts <> MAX(?5, MIN(?4, doubts + excluded.doubts)) OR (doubts + excluded.doubts >= ?4 AND off_until <= ?3)";
const REFUSED: &str = "-- learn_refusals
INSERT INTO capabilities (endpoint, model, part, doubts, off_until, at, reason)
SELECT ?2, value->>'$.model', value->>'$.part', ?4, ?5, ?3, value->>'$.reason' FROM json_each(?1) WHERE true
ON CONFLICT (endpoint, model, part) DO UPDATE SET
  doubts = excluded.doubts, off_until = excluded.off_until, at = excluded.at, reason = excluded.reason";

/// What is left out now, by endpoint and model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Capabilities(HashMap<(String, String), Lacks>);

impl Capabilities {
    pub fn read(rows: &[Row]) -> Capabilities {
        let mut all: HashMap<_, Lacks> = HashMap::new();
        for row in rows {
            if let Some(part) = Part::parse(&row.text("part")) {
                let lacks = all.entry((row.text("endpoint"), row.text("model")));
                let lacks = lacks.or_default();
                *lacks = lacks.with(part);
            }
        }
        Capabilities(all)
    }

    /// What calls of that model leave out.
    pub fn of(&self, endpoint: &str, model: &str) -> Lacks {
        if self.0.is_empty() {
            return Lacks::default();
        }
        let key = (endpoint.to_owned(), model.to_owned());
        self.0.get(&key).copied().unwrap_or_default()
    }
}

/// The parts that are left out now; [`Capabilities::read`] takes the rows.
pub fn in_force(now: i64) -> Statement {
    sql(IN_FORCE, params![now])
}

/// The same with when and why.
pub fn learned(now: i64) -> Statement {
    sql(LEARNED, params![now])
}

/// All of it is forgotten.
pub fn reset() -> Statement {
    sql(RESET, params![])
}

/// What a call shows of its model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Taught {
    pub model: String,
    #[serde(serialize_with = "name")]
    pub part: Part,
    /// The endpoint says itself that it does not take it.
    #[serde(skip)]
    pub refused: bool,
    /// 1 where the answer did not have it, -1 where all was well.
    pub doubts: i64,
    pub reason: Option<String>,
}

fn name<S: serde::Serializer>(part: &Part, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(part.as_str())
}

/// What these calls show, written down.
pub fn learn(taught: Vec<Taught>, endpoint: &str, now: i64) -> Vec<Statement> {
    let until = now.saturating_add(OFF_MS);
    let mut refused: Vec<Taught> = Vec::new();
    let mut seen: Vec<Taught> = Vec::new();
    for one in taught {
        let known = if one.refused { &mut refused } else { &mut seen };
        let same = |other: &&mut Taught| other.model == one.model && other.part == one.part;
        match known.iter_mut().find(same) {
            Some(other) => {
                other.doubts += one.doubts;
                other.reason = one.reason.or(other.reason.take());
            }
            None => known.push(one),
        }
    }
    seen.retain(|one| one.doubts != 0);
    let mut statements = Vec::new();
    if !seen.is_empty() {
        let values = params![to_json(&seen), endpoint, now, MOST_DOUBTS, FLOOR, until];
        statements.push(sql(LEARN, values));
    }
    if !refused.is_empty() {
        let values = params![to_json(&refused), endpoint, now, MOST_DOUBTS, until];
        statements.push(sql(REFUSED, values));
    }
    statements
}
