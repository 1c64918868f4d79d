//! Schedules: jobs that come in by themselves.
//!
//! Cron makes a run of each schedule that is due, one for all the times it missed, and a message on the outbound queue
//! starts it: the input is fetched where it lies on the web, and the job is submitted under a key of the run's own, so
//! that a run started twice is one job. Nothing here reads the body of a submit: [`ReadJob`] is handed in by whoever
//! knows how callers write them.

use serde_json::{Value, json};

use super::{Owner, Submit};
use crate::app::outbound::http;
use crate::app::support::{db, messages};
use crate::app::view::{ErrorView, ScheduleRunView, ScheduleView};
use crate::app::{App, AppError, submit};
use crate::config::Config;
use crate::core::net::webhook::wait_ms;
use crate::core::schedule::{Cause, InputFormat, Overlap, RunState, cron};
use crate::core::value::time::rfc3339;
use crate::ports::{Clock, Db, DbError, Outgoing, Ports, Queue, Zones};
use crate::store::account::tokens;
use crate::store::outbound::schedules as sql;
use crate::store::outbound::schedules::{MOST_WAITING, Written};
use crate::store::row::{Columns, Row};

/// Schedules that one sweep looks at, and runs that it sends messages for.
const MOST_DUE: u32 = 50;
/// Due times that are shown ahead, and runs behind.
const SHOWN_NEXT: usize = 5;
const SHOWN_RUNS: u32 = 20;
/// What a run may take beyond the fetching of its input.
const HOLD_MS: u64 = 60_000;
/// An input that cannot be read is tried so often, with waits from the first to the second.
const MOST_TRIES: u32 = 8;
const FIRST_WAIT_MS: u64 = 10_000;
const LONGEST_WAIT_MS: u64 = 900_000;
/// Of the faults of a job that was refused, so many are kept with the run.
const SHOWN_FAULTS: usize = 5;

/// A file that was fetched for a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    pub format: InputFormat,
    pub bytes: Vec<u8>,
}

/// Makes a checked submit of the body that a schedule holds, with the input that was fetched for it. Faults by path.
pub type ReadJob = fn(Value, Option<Fetched>, &Config) -> Result<Submit, Vec<(String, String)>>;

/// A schedule as its caller writes it, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub name: String,
    pub cron: String,
    pub time_zone: String,
    pub overlap: Overlap,
    pub paused: bool,
    /// The body of a submit; with `input_url`, without its `input`.
    pub job: Value,
    pub input_url: Option<String>,
    pub input_format: Option<InputFormat>,
}

/// What is wrong with a schedule that no schema can say, by path.
pub fn faults<P: Ports>(app: &App<P>, schedule: &Schedule) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    let mut fault = |path: &str, message: String| faults.push((path.to_owned(), message));
    let now = app.ports.clock().now_ms();
    let zone = schedule.time_zone.as_str();
    let known = app.ports.zones().offset(zone, now / 1_000).is_some();
    if !known {
        fault(
            "time_zone",
            "is no time zone of the IANA database".to_owned(),
        );
    }
    match cron::parse(&schedule.cron) {
        Err(message) => fault("cron", message),
        Ok(_) if known && next_at(app, schedule, now).is_none() => {
            fault("cron", "never comes".to_owned());
        }
        Ok(_) => {}
    }
    if let Some(url) = &schedule.input_url
        && let Err(refusal) = app.config.fetching.guard.check(url)
    {
        fault("input_url", refusal.to_string());
    }
    faults
}

/// The first time after `after` that it is due.
fn next_at<P: Ports>(app: &App<P>, schedule: &Schedule, after: i64) -> Option<i64> {
    let cron = cron::parse(&schedule.cron).ok()?;
    cron::next(&cron, &offset(app, &schedule.time_zone), after)
}

fn offset<P: Ports>(app: &App<P>, zone: &str) -> impl Fn(i64) -> i32 {
    cron::remembered(move |seconds| app.ports.zones().offset(zone, seconds).unwrap_or(0))
}

/// Writes a new schedule; one that is not paused is due from now on.
pub async fn create<P: Ports>(
    app: &App<P>,
    owner: impl Into<Owner<'_>>,
    schedule: &Schedule,
) -> Result<ScheduleView, AppError> {
    let Owner { tenant, token, .. } = owner.into();
    let id = app.id("sched");
    let most = app.config.max_schedules;
    let written = |row: &Written<'_>| {
        let mut statements = sql::insert(row, most);
        statements.extend(token.map(|token| tokens::own_schedule(row.id, token)));
        statements
    };
    match write(app, tenant, &id, schedule, written).await {
        Ok(_) => get(app, tenant, &id).await,
        Err(DbError::Guard(_)) => Err(AppError::Conflict(format!(
            "there are {most} schedules already, and no more are allowed (MAX_SCHEDULES)"
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Takes the place of what was there. What it missed while it was paused, or was due by its old expression, is not caught up.
pub async fn replace<P: Ports>(
    app: &App<P>,
    tenant: &str,
    id: &str,
    schedule: &Schedule,
) -> Result<ScheduleView, AppError> {
    let written = |row: &Written<'_>| vec![sql::replace(row)];
    let found = write(app, tenant, id, schedule, written).await?;
    if !found {
        return Err(AppError::NotFound("schedule"));
    }
    get(app, tenant, id).await
}

/// Whether a row came back.
async fn write<P: Ports>(
    app: &App<P>,
    tenant: &str,
    id: &str,
    schedule: &Schedule,
    statements: impl FnOnce(&Written<'_>) -> Vec<crate::ports::Statement>,
) -> Result<bool, DbError> {
    let now = app.ports.clock().now_ms();
    let job = schedule.job.to_string();
    let row = Written {
        id,
        tenant,
        name: &schedule.name,
        cron: &schedule.cron,
        time_zone: &schedule.time_zone,
        overlap: schedule.overlap,
        paused: schedule.paused,
        job: &job,
        input_url: schedule.input_url.as_deref(),
        input_format: schedule.input_format.map(InputFormat::as_str),
        next_at: next_at(app, schedule, now),
        now,
    };
    let answers = app.ports.db().batch(statements(&row)).await?;
    Ok(answers.last().is_some_and(|answer| !answer.rows.is_empty()))
}

/// Takes it away; the jobs that it started stay.
pub async fn delete<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<(), AppError> {
    let mut statements = vec![tokens::forget_schedule(id, tenant)];
    statements.extend(sql::delete(id, tenant));
    let answers = app.ports.db().batch(statements).await?;
    match answers.last() {
        Some(answer) if !answer.rows.is_empty() => Ok(()),
        _ => Err(AppError::NotFound("schedule")),
    }
}

/// One schedule, with what it submits.
pub async fn get<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<ScheduleView, AppError> {
    let rows = db::rows(app, sql::one(id, tenant)).await?;
    let views = views(app, &rows).await?;
    views
        .into_iter()
        .next()
        .ok_or(AppError::NotFound("schedule"))
}

/// As it is written, to be changed in part.
pub async fn load<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<Schedule, AppError> {
    let rows = db::rows(app, sql::one(id, tenant)).await?;
    rows.first().map(read).ok_or(AppError::NotFound("schedule"))
}

fn read(row: &Row) -> Schedule {
    Schedule {
        name: row.text("name"),
        cron: row.text("cron"),
        time_zone: row.text("time_zone"),
        overlap: Overlap::parse(&row.text("overlap")).unwrap_or_default(),
        paused: row.flag("paused"),
        job: row.json("body").unwrap_or_default(),
        input_url: row.maybe_text("input_url"),
        input_format: row
            .maybe_text("input_format")
            .and_then(|text| InputFormat::parse(&text)),
    }
}

/// Schedules without what they submit, newest first, and where the next page begins.
pub async fn list<P: Ports>(
    app: &App<P>,
    tenant: &str,
    after: Option<(i64, String)>,
    limit: u32,
) -> Result<(Vec<ScheduleView>, Option<(i64, String)>), AppError> {
    let mut rows = db::rows(app, sql::list(tenant, after, limit.saturating_add(1))).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|row| (row.int("created_at"), row.text("id")));
    Ok((views(app, &rows).await?, next))
}

async fn views<P: Ports>(app: &App<P>, rows: &[Row]) -> Result<Vec<ScheduleView>, AppError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = rows.iter().map(|row| row.text("id")).collect();
    let runs = db::rows(app, sql::runs(&ids, SHOWN_RUNS)).await?;
    Ok(rows.iter().map(|row| view(app, row, &runs)).collect())
}

fn view<P: Ports>(app: &App<P>, row: &Row, runs: &[Row]) -> ScheduleView {
    let id = row.text("id");
    let schedule = read(row);
    let next = row.maybe_int("next_at").filter(|_| !schedule.paused);
    let next_runs = match (next, cron::parse(&schedule.cron)) {
        (Some(next), Ok(cron)) => {
            let offset = offset(app, &schedule.time_zone);
            let later = cron::next_runs(&cron, &offset, next, SHOWN_NEXT - 1);
            std::iter::once(next).chain(later).map(rfc3339).collect()
        }
        _ => Vec::new(),
    };
    ScheduleView {
        name: schedule.name,
        cron: schedule.cron,
        time_zone: schedule.time_zone,
        overlap: schedule.overlap,
        paused: schedule.paused,
        job: row.maybe_text("body").is_some().then_some(schedule.job),
        input_url: schedule.input_url,
        input_format: schedule.input_format,
        next_runs,
        last_runs: runs
            .iter()
            .filter(|run| run.text("schedule") == id)
            .map(run_view)
            .collect(),
        created_at: rfc3339(row.int("created_at")),
        updated_at: rfc3339(row.int("updated_at")),
        id,
    }
}

fn run_view(row: &Row) -> ScheduleRunView {
    ScheduleRunView {
        due_at: rfc3339(row.int("due_at")),
        cause: row.text("cause"),
        state: row.text("state"),
        job: row.maybe_text("job_id"),
        reason: row.json("reason"),
        ended_at: row.maybe_int("ended_at").map(rfc3339),
    }
}

/// Makes a run at once, paused or not and whatever is at work.
pub async fn run_now<P: Ports>(
    app: &App<P>,
    tenant: &str,
    id: &str,
) -> Result<ScheduleRunView, AppError> {
    let now = app.ports.clock().now_ms();
    let answers = app.ports.db().batch(sql::run_now(id, tenant, now)).await?;
    let run = answers.last().and_then(|answer| answer.rows.first());
    let run = run
        .filter(|run| run.text("tenant") == tenant)
        .ok_or(AppError::NotFound("schedule"))?;
    // Lost, the sweep sends it.
    if let Err(error) = app.ports.queue().send(vec![messages::start(id, now)]).await {
        app.log_fault("send_start", &error.to_string());
    }
    Ok(run_view(run))
}

/// What cron does: schedules that are due get their runs, and runs that wait get messages.
pub async fn due<P: Ports>(app: &App<P>) -> Result<Vec<Outgoing>, AppError> {
    let now = app.ports.clock().now_ms();
    let rows = db::rows(app, sql::due(now, MOST_DUE)).await?;
    let full = reason(
        "too_many_waiting",
        format!("{MOST_WAITING} runs were waiting already"),
    );
    let mut statements = Vec::new();
    for row in &rows {
        let cron = cron::parse(&row.text("cron")).ok();
        let zone = row.text("time_zone");
        // The next time from now on: all that was missed meanwhile is one run.
        let next = cron.and_then(|cron| cron::next(&cron, &offset(app, &zone), now));
        statements.extend(sql::fall_due(
            &row.text("id"),
            row.int("next_at"),
            next,
            &full,
            now,
        ));
    }
    statements.push(sql::waiting(now, MOST_DUE));
    let answers = app.ports.db().batch(statements).await?;
    let waiting = answers.last().map(|answer| answer.rows.as_slice());
    Ok(waiting
        .unwrap_or_default()
        .iter()
        .map(|row| messages::start(&row.text("schedule"), row.int("due_at")))
        .collect())
}

fn reason(code: &str, message: impl Into<String>) -> Value {
    json!(ErrorView {
        code: code.to_owned(),
        message: message.into(),
    })
}

/// What becomes of a run that was looked at.
enum Outcome {
    Started(String),
    Not(RunState, Value),
    Later { until: i64, reason: Value },
}

/// One message: a run is started, left out, or put off.
pub async fn start<P: Ports>(
    app: &App<P>,
    schedule: &str,
    due_at: i64,
    read_job: ReadJob,
) -> Result<(), AppError> {
    let now = app.ports.clock().now_ms();
    // 1. Held: nobody else starts a run of this schedule meanwhile. A crash leaves it to the sweep after that.
    let hold = app.config.fetching.timeout_ms.saturating_add(HOLD_MS);
    let until = now.saturating_add_unsigned(hold);
    let answers = app
        .ports
        .db()
        .batch(sql::hold(schedule, due_at, now, until))
        .await?;
    let row = |n: usize| answers.get(n).and_then(|answer| answer.rows.first());
    let (Some(run), Some(row)) = (row(0), row(1)) else {
        return Ok(());
    };
    // 2. Started, under a key of its own: a second time it is the same job.
    let outcome = match overlapping(app, run, row, now) {
        Some(outcome) => outcome,
        None => submitted(app, schedule, run, row, read_job).await?,
    };
    // 3. Written down. Lost, step 2 comes again.
    let now = app.ports.clock().now_ms();
    let (statement, line) = match &outcome {
        Outcome::Started(job) => (
            sql::end_run(schedule, due_at, RunState::Started, Some(job), None, now),
            json!({"job": job}),
        ),
        Outcome::Not(state, reason) => (
            sql::end_run(schedule, due_at, *state, None, Some(reason), now),
            json!({"state": state, "code": reason.get("code")}),
        ),
        Outcome::Later { until, reason } => (
            sql::put_off(schedule, due_at, *until, reason),
            json!({"state": "waiting", "code": reason.get("code")}),
        ),
    };
    app.ports.db().batch(vec![statement]).await?;
    app.log(
        json!({"event": "schedule_run", "schedule": schedule, "due_at": due_at}),
        line,
    );
    Ok(())
}

/// What the schedule's policy says to a run while another's job is at work.
fn overlapping<P: Ports>(app: &App<P>, run: &Row, row: &Row, now: i64) -> Option<Outcome> {
    if run.text("cause") != json!(Cause::Cron) {
        return None;
    }
    let at_work = row.maybe_text("at_work");
    let other = at_work.as_deref().unwrap_or("another run's job");
    match read(row).overlap {
        Overlap::Skip if at_work.is_some() => Some(Outcome::Not(
            RunState::Skipped,
            reason("overlap", format!("{other} was still at work")),
        )),
        Overlap::Queue if at_work.is_some() || row.flag("before") => Some(Outcome::Later {
            until: app.drive_at(now),
            reason: reason("overlap", format!("waits for {other}")),
        }),
        _ => None,
    }
}

async fn submitted<P: Ports>(
    app: &App<P>,
    schedule: &str,
    run: &Row,
    row: &Row,
    read_job: ReadJob,
) -> Result<Outcome, AppError> {
    let written = read(row);
    let fetched = match &written.input_url {
        Some(url) => match fetch(app, url, written.input_format).await {
            Ok(fetched) => Some(fetched),
            Err((reason, again)) => return Ok(unread(app, run, reason, again)),
        },
        None => None,
    };
    let refused = |faults: Vec<(String, String)>| {
        let shown: Vec<String> = faults
            .iter()
            .take(SHOWN_FAULTS)
            .map(|(path, message)| format!("{path}: {message}"))
            .collect();
        Outcome::Not(
            RunState::Failed,
            reason("invalid_request", shown.join("; ")),
        )
    };
    let mut submit = match read_job(written.job, fetched, &app.config) {
        Ok(submit) => submit,
        Err(faults) => return Ok(refused(faults)),
    };
    // No caller's key holds a blank. Runs of one key are of one body, whatever the web answers the second time.
    let due_at = run.int("due_at");
    submit.idempotency = Some((format!("{schedule} {due_at}"), schedule.to_owned()));
    // Its jobs are counted to the token that made it, so that nobody passes that token's caps by a schedule.
    let made_by = db::rows(app, tokens::of_schedule(schedule)).await?;
    let token = made_by.first().map(|row| row.text("token"));
    if let Some(token) = &token {
        let now = app.ports.clock().now_ms();
        if db::rows(app, tokens::find(token, now)).await?.is_empty() {
            // It would go on under caps that nobody can change any more.
            app.ports.db().batch(vec![sql::stop(schedule, now)]).await?;
            let message = format!(
                "the token {token} that made this schedule is revoked or has expired; the schedule is paused"
            );
            let reason = reason("token_ended", message);
            return Ok(Outcome::Not(RunState::Failed, reason));
        }
    }
    let tenant = row.text("tenant");
    let owner = Owner {
        trace: None,
        tenant: &tenant,
        token: token.as_deref(),
    };
    match submit::submit(app, owner, submit).await {
        Ok(submitted) => Ok(Outcome::Started(submitted.job.id)),
        Err(AppError::Invalid(faults)) => Ok(refused(faults)),
        Err(error) => Err(error),
    }
}

/// Another try, or the end of it.
fn unread<P: Ports>(app: &App<P>, run: &Row, reason: Value, again: Option<u64>) -> Outcome {
    let now = app.ports.clock().now_ms();
    match again {
        Some(asked_for) if run.count("tries") < MOST_TRIES => {
            let due_at = run.int("due_at");
            let wait = wait_ms(due_at, now, FIRST_WAIT_MS, LONGEST_WAIT_MS, app.dice());
            let wait = wait.max(asked_for.min(LONGEST_WAIT_MS));
            Outcome::Later {
                until: now.saturating_add_unsigned(wait),
                reason,
            }
        }
        _ => Outcome::Not(RunState::Failed, reason),
    }
}

/// The file, or why not and, where another try may do, after how long at least.
async fn fetch<P: Ports>(
    app: &App<P>,
    url: &str,
    format: Option<InputFormat>,
) -> Result<Fetched, (Value, Option<u64>)> {
    let readable = |content_type: &str| format.is_some() || InputFormat::of(content_type).is_some();
    let page = http::get(app, url, readable).await.map_err(|error| {
        let again = error.again().map(Option::unwrap_or_default);
        (reason(error.code(), error.to_string()), again)
    })?;
    let format = format.or_else(|| InputFormat::of(&page.content_type));
    Ok(Fetched {
        // Another type was refused above.
        format: format.unwrap_or(InputFormat::Text),
        bytes: page.bytes,
    })
}
