//! What has ended becomes one transaction: the rows of each call, what their classes learn, and what stops or ends jobs.

use serde_json::json;

use super::Resolved;
use super::step::HeadNote;
use crate::app::support::log;
use crate::app::{App, AppError};
use crate::claude::error::ErrorCode;
use crate::claude::rate::Bucket;
use crate::core::job::state::{JobState, TaskState};
use crate::core::value::money::Nano;
use crate::core::value::time::rfc3339;
use crate::ports::{Db, DbError, Ports, Statement};
use crate::store::job::jobs;
use crate::store::task::admission::AtWork;
use crate::store::task::prefixes::Warm;
use crate::store::task::settle::{LedgerEntry, Lesson, Settlement};
use crate::store::task::{capabilities, prefixes, settle as sql, tasks};

/// A breaker that trips again and again waits twice as long each time, up to an hour.
const LONGEST_TRIP_MS: i64 = 3_600_000;
/// A prefix that is not kept is marked again after this: whoever answers may have changed.
const UNCACHED_MS: i64 = 86_400_000;
/// Answers of a stage without one valid result, after which its job pauses: more would cost the same and bring as little.
const MOST_FRUITLESS: u32 = 20;
/// The same refusal for as many tasks has nothing to do with their items.
const SAME_REFUSALS: u32 = 5;
/// The API rounds tokens left to the nearest thousand: so many may not be there.
const ROUNDING: u64 = 500;

/// The jobs of what has ended, each once.
pub fn jobs_of(ended: &[Resolved]) -> Vec<String> {
    let mut jobs: Vec<String> = ended.iter().map(|one| one.job.clone()).collect();
    jobs.sort();
    jobs.dedup();
    jobs
}

/// Everything that must be written, in order.
pub fn statements<P: Ports>(
    app: &App<P>,
    ended: &[Resolved],
    heads: &[HeadNote],
    lease: &str,
    now: i64,
) -> Vec<Statement> {
    let mut settlement = Settlement {
        jobs: jobs_of(ended),
        ..Settlement::default()
    };
    for one in ended {
        settlement.attempts.extend(one.attempt.clone());
        settlement.outputs.extend(one.output.clone());
        settlement.halves.extend(one.half.clone());
        settlement.fetched.extend(one.fetched.clone());
        let kept = one.ledger.iter().cloned().map(|entry| LedgerEntry {
            listed: one.task.state != TaskState::Succeeded.as_str() || one.task.key != entry.key,
            ..entry
        });
        settlement.ledger.extend(kept);
        settlement.saved.extend(one.saved.clone());
        settlement.flags.extend(one.invented.iter().cloned());
        settlement.tasks.push(one.task.clone());
    }
    let mut statements = sql::settle(&settlement, lease, now, app.drive_at(now));
    let mut fruitless: Vec<&str> = ended
        .iter()
        .filter(|one| one.fruitless)
        .map(|one| one.job.as_str())
        .collect();
    fruitless.sort_unstable();
    fruitless.dedup();
    if !fruitless.is_empty() {
        statements.extend(sql::halt_fruitless(
            &fruitless,
            now,
            MOST_FRUITLESS,
            SAME_REFUSALS,
        ));
    }
    for lesson in lessons(ended, heads) {
        statements.extend(sql::learn(&lesson, now));
    }
    statements.extend(prefixes::learn(&of_prefixes(ended, heads, now)));
    let taught = ended.iter().flat_map(|one| one.taught.iter().cloned());
    statements.extend(capabilities::learn(taught.collect(), app.endpoint(), now));
    if let Some((code, message, until)) = ended.iter().find_map(|one| one.stop.as_ref()) {
        statements.extend(trip(app, *code, message, *until, now));
    }
    if ended.iter().any(|one| one.probe_undecided) {
        statements.push(sql::free_probe(lease));
    }
    statements
}

/// An error that no call of this account will survive: everything stops until then.
pub fn trip<P: Ports>(
    app: &App<P>,
    code: ErrorCode,
    message: &str,
    until: Option<i64>,
    now: i64,
) -> Vec<Statement> {
    let until =
        until.unwrap_or_else(|| now.saturating_add_unsigned(app.config.intervals.breaker_ms));
    app.log(
        json!({"event": "breaker_tripped", "code": code.as_str()}),
        json!({}),
    );
    // When it goes on is what the breaker's row says in the end.
    let halt = json!({"reason": "quota", "cause": "breaker", "detail": message});
    sql::trip(code.as_str(), until, &halt, now, LONGEST_TRIP_MS)
}

/// What is learned of prefixes. The same one is marked by many calls: the newest says it for all.
fn of_prefixes(ended: &[Resolved], heads: &[HeadNote], now: i64) -> prefixes::Lesson {
    let mut warm: Vec<Warm> = Vec::new();
    let begun = heads.iter().filter(|note| note.head.status == 200);
    for note in begun.filter_map(|note| note.prefix.as_ref()) {
        let until = note.ttl.readable_until(note.sent_at);
        match warm.iter_mut().find(|known| known.prefix == note.id) {
            Some(known) => known.until = known.until.max(until),
            None => warm.push(Warm {
                prefix: note.id.clone(),
                until,
            }),
        }
    }
    let of = |which: fn(&Resolved) -> &Option<String>| {
        let mut ids: Vec<String> = ended.iter().filter_map(|one| which(one).clone()).collect();
        ids.sort();
        ids.dedup();
        ids
    };
    prefixes::Lesson {
        warm,
        turned_away: of(|one| &one.turned_away),
        off: of(|one| &one.uncached),
        off_until: now.saturating_add(UNCACHED_MS),
    }
}

/// What each class learns: the newest head, and how its calls fared.
fn lessons(ended: &[Resolved], heads: &[HeadNote]) -> Vec<Lesson> {
    let mut lessons: Vec<Lesson> = Vec::new();
    let mut of = |class: &str| -> usize {
        lessons
            .iter()
            .position(|lesson| lesson.class == class)
            .unwrap_or_else(|| {
                lessons.push(Lesson {
                    class: class.to_owned(),
                    ..Lesson::default()
                });
                lessons.len() - 1
            })
    };
    let places: Vec<usize> = heads.iter().map(|note| of(&note.class)).collect();
    let ends: Vec<usize> = ended.iter().map(|one| of(&one.class)).collect();
    for (note, place) in heads.iter().zip(places) {
        let Some(lesson) = lessons.get_mut(place) else {
            continue;
        };
        if note.head.rate.is_empty() || note.mark[0] < lesson.mark[0] {
            continue;
        }
        let pair = |bucket: Option<Bucket>, rounding: u64| {
            bucket.map(|bucket| {
                let left = bucket.remaining.saturating_sub(rounding);
                (bucket.limit as f64, left as f64)
            })
        };
        lesson.headers_at = note.head.at;
        lesson.mark = note.mark;
        lesson.requests = pair(note.head.rate.requests, 0);
        lesson.input = pair(note.head.rate.input_tokens, ROUNDING);
        lesson.output = pair(note.head.rate.output_tokens, ROUNDING);
    }
    for (one, place) in ended.iter().zip(ends) {
        if let Some(lesson) = lessons.get_mut(place) {
            lesson.ok += u32::from(one.ok);
            lesson.refused += u32::from(one.refused);
            lesson.limited += u32::from(one.limited);
            lesson.failed += u32::from(one.failed);
            lesson.alive += u32::from(one.alive);
            lesson.slow_until = lesson.slow_until.max(one.slow_until);
            lesson.held_input = lesson.held_input.max(one.held_input);
            let attempt = one.attempt.as_ref();
            let since = attempt.filter(|attempt| attempt.finished_at >= lesson.headers_at);
            lesson.ended_since.extend(since.map(|attempt| attempt.id));
        }
    }
    lessons
}

/// The rest of the work in that stage does not fit the job's budget: it is skipped, or the job pauses, as the caller
/// wished. Harmless if the limit was raised meanwhile, or the stage left behind: the guard ends it.
pub async fn over_budget<P: Ports>(
    app: &App<P>,
    job: &str,
    stage: u32,
    limit: Option<i64>,
    left: i64,
    now: i64,
) -> Result<(), AppError> {
    let Some(loaded) = crate::app::stage::loaded::load(app, job).await? else {
        return Ok(());
    };
    let detail = &format!(
        "the rest of the work does not fit max_cost_usd: a call of it may cost more than the ${:.4} that are left for it",
        Nano(left.max(0)).usd()
    );
    if loaded.job.on_budget == crate::core::plan::spec::OnBudget::Pause {
        let halt = json!({"reason": "budget", "detail": detail, "resumes_at": null});
        let statements = vec![
            sql::guard_budget(job, limit, stage),
            jobs::pause(job, &halt, now),
        ];
        return exhausted(app, statements).await;
    }
    let mut statements = skip_rest(&loaded, stage, limit, left, detail, now);
    if loaded.job.state == JobState::Running {
        statements.push(jobs::stop_expansion(job, stage));
    }
    statements.extend([tasks::fan_in(job), tasks::counts(job)]);
    exhausted(app, statements).await
}

/// The tasks of a stage that may cost more than `left` are skipped.
fn skip_rest(
    loaded: &crate::app::stage::loaded::Loaded,
    stage: u32,
    limit: Option<i64>,
    left: i64,
    detail: &str,
    now: i64,
) -> Vec<Statement> {
    let job = loaded.job.id.as_str();
    let reason = json!({"code": "budget", "message": detail});
    // What fits with less room for its answer is not skipped.
    let at = loaded.stages.iter().find(|row| row.idx == stage);
    let saved = at
        .zip(loaded.runtime.stage(stage))
        .and_then(|(row, runtime)| runtime.room(&row.answers))
        .map_or(0, |(_, saved)| saved);
    vec![
        sql::guard_budget(job, limit, stage),
        tasks::skip_waiting(job, stage, &reason, now, left, saved),
    ]
}

/// Nothing happens where the job has changed meanwhile.
async fn exhausted<P: Ports>(app: &App<P>, statements: Vec<Statement>) -> Result<(), AppError> {
    match app.ports.db().batch(statements).await {
        Ok(answers) => {
            log::moved(app, &answers, "over_budget");
            Ok(())
        }
        Err(DbError::Guard(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// These jobs came to work after the breaker had opened: they pause as those do that it halted then. Harmless if it
/// has closed meanwhile: nothing is written.
pub async fn halted<P: Ports>(app: &App<P>, jobs: &[&String], now: i64) -> Result<(), AppError> {
    let statements = sql::halt_late(jobs, now);
    let answers = app.ports.db().batch(statements).await?;
    log::moved(app, &answers, "breaker");
    Ok(())
}

/// The day's cap is used up: the job pauses until the next UTC day. Where even the `least` of what waits may cost more than the
/// cap of a whole day it would wait for ever: such tasks are skipped, whatever the caller wished for the end of the job's own
/// budget, and the rest goes on (true). A token's own budget is not meant: whoever gave it can give more, and the job waits for that.
pub async fn over_day<P: Ports>(
    app: &App<P>,
    token_budget: &AtWork,
    stage: u32,
    least: Option<i64>,
    now: i64,
) -> Result<bool, AppError> {
    let job = token_budget.id.as_str();
    let cap = app.config.day_cap();
    if let Some(cap) = cap.filter(|cap| least.is_some_and(|least| least > *cap)) {
        let Some(loaded) = crate::app::stage::loaded::load(app, job).await? else {
            return Ok(false);
        };
        let detail = "one call may cost more than the spending cap of a whole day";
        let mut statements = skip_rest(&loaded, stage, token_budget.limit_nano, cap, detail, now);
        statements.extend([tasks::fan_in(job), tasks::counts(job)]);
        exhausted(app, statements).await?;
        return Ok(true);
    }
    const DAY_MS: i64 = 86_400_000;
    let tomorrow = (now / DAY_MS + 1) * DAY_MS;
    let halt = json!({
        "reason": "quota", "cause": "day", "detail": "the spending cap of this UTC day is used up",
        "resumes_at": rfc3339(tomorrow), "resumes_at_ms": tomorrow,
    });
    let answers = app
        .ports
        .db()
        .batch(vec![
            jobs::pause(job, &halt, now),
            // Nothing to look at before.
            jobs::drive_at(job, tomorrow),
        ])
        .await?;
    log::moved(app, &answers, "over_day");
    Ok(false)
}
