//! A whole job at a glance, for who draws it: the state of every task in a few bytes each run of equals, why some have no
//! result, and what its calls came to over time.
//!
//! Both answers stay small however large the job is; what they cost is the rows that are read for them.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use utoipa::ToSchema;

use crate::app::view::job;
use crate::app::{App, AppError};
use crate::core::plan::spec::StageKind;
use crate::core::task::kind::TaskKind;
use crate::core::value::money::Nano;
use crate::core::value::time::rfc3339;
use crate::ports::{Clock, Db, Ports};
use crate::store::read::overview as sql;
use crate::store::row::{Columns, Row};

/// What a screen can show side by side.
const BUCKETS: u32 = 120;
const FAULTS: u32 = 100;

/// The states of all tasks of a job.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TaskStates {
    /// In the order in which they are worked on.
    pub stages: Vec<StageStates>,
    /// Why tasks of the map stages have no result, or not for all of their items, so far; most items first.
    pub reasons: Vec<MissingReason>,
}

/// The tasks of one stage.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StageStates {
    pub stage: String,
    /// `map`, `synthesis`, or `plan`: where a dynamic job is planned.
    pub kind: String,
    /// `waiting`, `running` or `done`.
    pub state: String,
    pub parts: Vec<StatesPart>,
}

/// Tasks that follow one another.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StatesPart {
    #[schema(value_type = TaskKind)]
    pub purpose: String,
    /// The index of the first task.
    pub first: u32,
    /// How many in a row, and in which state, over and over: `p`ending, `q`ueued, `r`unning, `s`ucceeded, `f`ailed,
    /// s`k`ipped, `c`ancelled.
    #[schema(pattern = "^([1-9][0-9]*[pqrsfkc])+$", examples("1200s3f50r8747p"))]
    pub states: String,
}

/// One reason for missing results.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MissingReason {
    /// As in the report's coverage.
    pub code: String,
    pub tasks: u64,
    /// Items of these tasks that have no result.
    pub items: u64,
}

/// The calls of a job over time.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Timeline {
    /// When its first call began; `null` while there was none.
    #[schema(format = DateTime)]
    pub from: Option<String>,
    /// How long a bucket is. There are at most some 120, so a longer job has longer ones.
    pub bucket_ms: u64,
    /// Those in which calls ended.
    pub buckets: Vec<TimeBucket>,
    /// The last hundred calls that failed, newest first.
    pub faults: Vec<FaultView>,
}

/// Calls that ended in one stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct TimeBucket {
    /// Counted from `from`, the first is 0.
    pub bucket: u64,
    /// All that ended.
    pub calls: u64,
    /// The number of failed calls among them, by error class.
    pub faults: BTreeMap<String, u64>,
    pub cost_usd: f64,
    /// Those read from and written to a cache, too.
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct FaultView {
    pub task: u32,
    /// The number of the call within its task.
    pub number: u32,
    pub stage: String,
    pub role: String,
    pub model: String,
    pub error_class: String,
    pub error: Option<String>,
    /// The HTTP status.
    pub status: Option<u16>,
    #[schema(format = DateTime)]
    pub at: String,
}

/// The states of all tasks.
pub async fn states<P: Ports>(
    app: &App<P>,
    tenant: &str,
    job: &str,
) -> Result<TaskStates, AppError> {
    job::owned(app, tenant, job).await?;
    let mut answers = app.ports.db().batch(sql::states(job)).await?.into_iter();
    let mut next = || answers.next().unwrap_or_default().rows;
    let (stages, parts, reasons) = (next(), next(), next());
    let mut stages: Vec<(u32, StageStates)> = stages.iter().map(stage).collect();
    for row in &parts {
        let of = row.count("stage");
        if let Some((_, stage)) = stages.iter_mut().find(|(index, _)| *index == of) {
            stage.parts.push(StatesPart {
                purpose: row.text("purpose"),
                first: row.count("first"),
                states: runs(&row.text("letters")),
            });
        }
    }
    // Planning comes first, wherever its row stands, and the synthesis after stages that were added to its plan.
    let place = |kind: &str| {
        let order = [StageKind::Plan, StageKind::Map, StageKind::Synthesis];
        order.iter().position(|known| known.as_str() == kind)
    };
    stages.sort_by_key(|(index, stage)| (place(&stage.kind), *index));
    Ok(TaskStates {
        stages: stages.into_iter().map(|(_, stage)| stage).collect(),
        reasons: reasons
            .iter()
            .map(|row| MissingReason {
                code: row.text("code"),
                tasks: row.tokens("tasks"),
                items: row.tokens("items"),
            })
            .collect(),
    })
}

fn stage(row: &Row) -> (u32, StageStates) {
    let stage = StageStates {
        stage: row.text("name"),
        kind: row.text("kind"),
        state: row.text("state"),
        parts: Vec::new(),
    };
    (row.count("idx"), stage)
}

/// `ssssff` as `4s2f`.
fn runs(letters: &str) -> String {
    let mut text = String::new();
    let mut letters = letters.chars().peekable();
    let mut count = 0_u32;
    while let Some(letter) = letters.next() {
        count += 1;
        if letters.peek() != Some(&letter) {
            // A String takes everything.
            let _ = write!(text, "{count}{letter}");
            count = 0;
        }
    }
    text
}

/// The calls of a job over time.
pub async fn timeline<P: Ports>(
    app: &App<P>,
    tenant: &str,
    job: &str,
) -> Result<Timeline, AppError> {
    job::owned(app, tenant, job).await?;
    let now = app.ports.clock().now_ms();
    let statements = sql::timeline(job, now, BUCKETS, FAULTS);
    let mut answers = app.ports.db().batch(statements).await?.into_iter();
    let rows = answers.next().unwrap_or_default().rows;
    let faults = answers.next().unwrap_or_default().rows;
    Ok(Timeline {
        from: rows
            .first()
            .and_then(|row| row.maybe_int("origin"))
            .map(rfc3339),
        bucket_ms: rows.first().map_or(1_000, |row| row.tokens("width")),
        buckets: buckets(&rows),
        faults: faults.iter().map(fault).collect(),
    })
}

/// Rows of one bucket differ in how their calls ended.
fn buckets(rows: &[Row]) -> Vec<TimeBucket> {
    let mut buckets: BTreeMap<u64, (TimeBucket, i64)> = BTreeMap::new();
    for row in rows {
        let Some(at) = row.maybe_int("bucket") else {
            continue;
        };
        let at = at.max(0).unsigned_abs();
        let (bucket, nano) = buckets.entry(at).or_default();
        bucket.bucket = at;
        bucket.calls += row.tokens("calls");
        bucket.input_tokens += row.tokens("input_tokens");
        bucket.output_tokens += row.tokens("output_tokens");
        *nano = nano.saturating_add(row.int("cost_nano"));
        if let Some(class) = row.maybe_text("error_class") {
            *bucket.faults.entry(class).or_default() += row.tokens("calls");
        }
    }
    let dollars = |(mut bucket, nano): (TimeBucket, i64)| {
        bucket.cost_usd = Nano(nano).usd();
        bucket
    };
    buckets.into_values().map(dollars).collect()
}

fn fault(row: &Row) -> FaultView {
    FaultView {
        task: row.count("idx"),
        number: row.count("n"),
        stage: row.text("stage"),
        role: row.text("role"),
        model: row.text("model"),
        error_class: row.text("error_class"),
        error: row.maybe_text("error"),
        status: row.maybe_int("status").and_then(|s| u16::try_from(s).ok()),
        at: rfc3339(row.int("finished_at")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_neighbours_are_counted() {
        for (letters, text) in [
            ("", ""),
            ("p", "1p"),
            ("ssssff", "4s2f"),
            ("sfs", "1s1f1s"),
            (&"p".repeat(100_000), "100000p"),
        ] {
            assert_eq!(runs(letters), text);
        }
    }
}
