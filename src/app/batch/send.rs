//! Waiting tasks become a batch: their requests are built, the tasks are claimed in one guarded transaction that writes the
//! batch's row, and then it is sent.
//!
//! Why a death at any await here is harmless:
//! 1. reading: nothing is written;
//! 2. claim: the row stands, and whoever looks after it finds out whether the batch was ever made ([`super::watch`]);
//! 3. the call: the same;
//! 4. the record of its id: the same.

use std::collections::HashMap;

use super::wire;
use crate::app::attempt::{call, settle as ended};
use crate::app::stage::loaded::Loaded;
use crate::app::stage::runtime::{StageRuntime, nano};
use crate::app::support::log;
use crate::app::{App, AppError, attempt};
use crate::claude::batches::{BATCHES_PATH, Body, Remote, custom_id};
use crate::claude::capabilities::Part;
use crate::claude::error::{CallError, ErrorClass};
use crate::core::admission::Breaker;
use crate::core::admission::cache::{CacheTtl, Entry};
use crate::core::job::delivery::{Go, MOST_DELAYS, Waiting, go};
use crate::core::task::retry_policy::{RequestMode, Wait, wait_ms};
use crate::core::value::money::Nano;
use crate::core::value::time::day;
use crate::ports::{Clock, Db, DbError, Ports};
use crate::store::job::jobs::StageRow;
use crate::store::row::Columns;
use crate::store::task::admission::{AtWork, Claimed};
use crate::store::task::batches::{Lost, NewBatch, Take};
use crate::store::task::capabilities::Capabilities;
use crate::store::task::{admission, batches as sql, capabilities, prefixes, settle};

/// Tasks that one look reads with their inputs, of at most 64 KB inline each.
const PAGE: u32 = 100;
/// Tasks that do not fit the budget, and are passed over in search of smaller ones.
const PASSED_OVER: u32 = 64;

/// What was put together.
#[derive(Default)]
struct Load {
    body: Body,
    takes: Vec<Take>,
    waiting: Vec<Waiting>,
    /// They go live: the ledger has their answers, or batches did not.
    live: Vec<i64>,
    /// There is more than one batch holds.
    full: bool,
    /// The least of what did not fit the money, at its worst.
    short: Option<i64>,
    read: u32,
}

/// A batch takes longer than the five minutes that an entry of the prompt cache lives without a use.
const MARK: CacheTtl = CacheTtl::OneHour;

/// Whether requests of a batch are marked for the prompt cache. Nobody can be sent ahead in a batch: the API runs its requests as it
/// likes, and those that begin together each write. So it is a bet, which is not made again where it was lost.
struct Marks {
    /// Tasks of the stage that wait.
    calls: u64,
    /// What is known of prefixes.
    known: HashMap<String, Entry>,
    /// Parts of requests that models do not take.
    lacks: Capabilities,
    now: i64,
}

impl Marks {
    fn pay(&self, stage: &StageRuntime, form: RequestMode) -> bool {
        stage.prefix(form).is_some_and(|prefix| {
            let least = prefix.price.least_calls(MARK);
            let lost = self
                .known
                .get(&prefix.id)
                .is_some_and(|entry| entry.off_until > self.now);
            !lost && least.is_some_and(|least| self.calls >= least)
        })
    }
}

/// Sends the next batch of a stage's waiting tasks. True where there is more to send at once.
pub async fn send<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: &StageRow,
) -> Result<bool, AppError> {
    let job = &loaded.job;
    let now = app.ports.clock().now_ms();
    let grace = i64::try_from(app.config.intervals.deadline_grace_ms).unwrap_or(i64::MAX);
    let mut statements = admission::one(&job.id, now, &day(now), grace);
    statements.push(sql::reading(&job.id));
    statements.push(sql::waiting(&job.id, now, 0, 1));
    statements.push(prefixes::known(now));
    statements.push(capabilities::in_force(now));
    let answers = app.ports.db().batch(statements).await?;
    let Some((token_budget, breaker)) = admission::read_one(&answers) else {
        return Ok(false);
    };
    let any = |n: usize| answers.get(n).is_some_and(|answer| !answer.rows.is_empty());
    if !any(3) {
        return Ok(false);
    }
    let probe = match breaker {
        Breaker::Closed => false,
        Breaker::HalfOpen { probing: false } => true,
        Breaker::HalfOpen { probing: true } => return Ok(false),
        // It came to work after the breaker had opened.
        Breaker::Open { .. } => {
            ended::halted(app, &[&job.id], now).await?;
            return Ok(false);
        }
    };
    let reading = any(2);
    let batch = app.id("batch");
    let marks = Marks {
        calls: u64::from(stage.pending) + u64::from(stage.queued),
        known: answers
            .get(4)
            .map(|answer| answer.rows.iter().map(prefixes::read).collect())
            .unwrap_or_default(),
        lacks: answers
            .get(5)
            .map(|answer| Capabilities::read(&answer.rows))
            .unwrap_or_default(),
        now,
    };
    let mut load = gather(app, loaded, &batch, money(app, &token_budget), &marks).await?;
    match go(&load.waiting, app.config.batches.least, reading) {
        Go::Wait => return Ok(false),
        Go::Live => {
            let ids = load.takes.iter().map(|take| take.id);
            load.live.extend(ids);
            load.takes.clear();
        }
        Go::Batch => {}
    }
    if !load.live.is_empty() {
        let release = sql::release_some(&load.live);
        app.ports.db().batch(vec![release]).await?;
    }
    if load.takes.is_empty() {
        if let Some(least) = load.short
            && load.live.is_empty()
            && token_budget.in_flight + token_budget.in_batches == 0
        {
            exhausted(app, &token_budget, stage, least, now).await?;
        }
        return Ok(!load.live.is_empty());
    }
    let claim = NewBatch {
        id: &batch,
        job: &job.id,
        tenant: &job.tenant,
        now,
        day: &day(now),
        next_at: now.saturating_add_unsigned(
            app.config
                .intervals
                .call_timeout_ms
                .min(app.config.intervals.lease_ms.saturating_mul(2)),
        ),
        held_nano: token_budget.held_nano,
        tenant_day_nano: cap(app.config.tenant_daily_usd),
        account_day_nano: cap(app.config.account_daily_usd),
        takes: &load.takes,
    };
    let mut statements = admission::guard_breaker(&batch, probe);
    statements.extend(sql::claim(&claim));
    match app.ports.db().batch(statements).await {
        Ok(answers) => log::moved(app, &answers, "claimed"),
        // Somebody was faster, or money or state are not what they were: looked at again.
        Err(DbError::Guard(_)) => return Ok(true),
        Err(error) => return Err(error.into()),
    }
    let requests = load.body.requests();
    let full = load.full;
    let request = wire(app, &job.id, BATCHES_PATH, Some(load.body.finish()));
    let made = match call::ask(app, request).await {
        Ok(body) => Remote::from_json(&body).ok_or(None),
        Err(error) => Err(Some(error)),
    };
    let sent = record(app, &job.id, &batch, probe, made).await?;
    app.log_job(
        &job.id,
        "batch",
        serde_json::json!({"batch": batch, "requests": requests, "sent": sent}),
    );
    Ok((sent && full) || !load.live.is_empty())
}

/// Nano-dollars that may be reserved; `None`: as many as one likes.
fn money<P: Ports>(app: &App<P>, token_budget: &AtWork) -> Option<i64> {
    let token = token_budget.token.as_ref();
    [
        token_budget
            .limit_nano
            .map(|limit| limit - token_budget.used_nano - token_budget.held_nano),
        cap(app.config.tenant_daily_usd).map(|cap| cap - token_budget.day_tenant),
        cap(app.config.account_daily_usd).map(|cap| cap - token_budget.day_account),
        token.and_then(|token| Some(token.daily_nano? - token.day_nano)),
    ]
    .into_iter()
    .flatten()
    .min()
}

fn cap(usd: Option<f64>) -> Option<i64> {
    usd.map(|usd| Nano::from_usd_floor(usd).0)
}

/// Puts a batch together, as large as its bounds and the money allow.
async fn gather<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    batch: &str,
    money: Option<i64>,
    marks: &Marks,
) -> Result<Load, AppError> {
    let now = marks.now;
    let bounds = &app.config.batches;
    let job = &loaded.job;
    let mut load = Load::default();
    let (mut left, mut over, mut from) = (money, 0, 0);
    loop {
        let answers = app
            .ports
            .db()
            .batch(vec![sql::waiting(&job.id, now, from, PAGE)])
            .await?;
        let rows = answers.into_iter().next().unwrap_or_default().rows;
        load.read += 1;
        for row in &rows {
            let task = Claimed::read(row);
            from = task.idx.saturating_add(1);
            if row.flag("free") || task.delays >= MOST_DELAYS {
                load.live.push(task.id);
                continue;
            }
            let Some(stage) = loaded.runtime.of(task.stage, task.purpose, task.tier) else {
                continue;
            };
            // A stored value that cannot be read yet goes with the next batch.
            let Ok(request) = attempt::question(app, stage, &task).await else {
                continue;
            };
            let lacks = marks.lacks.of(app.endpoint(), &stage.model.id);
            let request = stage.without(request, lacks);
            let plain = nano(request.worst_case_in_batch(&stage.model));
            let (mut request, mut worst, mut cache) = (request, plain, None);
            let taken = !lacks.has(Part::Cache);
            if taken && marks.pay(stage, RequestMode::parse(&task.form)) {
                let marked = request.clone().marked(MARK);
                let dearer = nano(marked.worst_case_in_batch(&stage.model));
                // What is left may still do without a mark.
                if left.is_none_or(|left| dearer <= left) {
                    (request, worst, cache) = (marked, dearer, Some(MARK));
                }
            }
            let id = custom_id(batch, task.idx, task.attempts.saturating_add(1));
            let bytes = load.body.len() + request.body().len() + id.len() + 64;
            if bytes as u64 > bounds.most_bytes || load.body.requests() >= bounds.most_requests {
                if load.body.is_empty() {
                    // Larger than a whole batch may be.
                    load.live.push(task.id);
                    continue;
                }
                load.full = true;
                return Ok(load);
            }
            if left.is_some_and(|left| worst > left) {
                load.short = Some(load.short.map_or(plain, |least| least.min(plain)));
                over += 1;
                if over >= PASSED_OVER {
                    return Ok(load);
                }
                continue;
            }
            left = left.map(|left| left - worst);
            load.body.push(&id, &request);
            load.waiting.push(Waiting {
                again: row.flag("again"),
            });
            load.takes.push(Take {
                id: task.id,
                attempts: task.attempts,
                role: stage.role(RequestMode::parse(&task.form)).as_str(),
                model: stage.model.id.clone(),
                worst,
                cache,
                lacks: lacks.as_text(),
            });
        }
        // What is read is bounded as what a consumer asks is: the rest goes in the next.
        if load.read >= app.config.max_d1_queries / 2 {
            load.full = true;
            return Ok(load);
        }
        if (rows.len() as u64) < u64::from(PAGE) {
            return Ok(load);
        }
    }
}

/// Nothing of what waits fits the money, and nothing is under way that could give some back.
async fn exhausted<P: Ports>(
    app: &App<P>,
    token_budget: &AtWork,
    stage: &StageRow,
    least: i64,
    now: i64,
) -> Result<(), AppError> {
    let own = token_budget
        .limit_nano
        .map(|limit| limit - token_budget.used_nano - token_budget.held_nano);
    if own.is_some() && own == money(app, token_budget) {
        let left = own.unwrap_or_default();
        return ended::over_budget(
            app,
            &token_budget.id,
            stage.idx,
            token_budget.limit_nano,
            left,
            now,
        )
        .await;
    }
    ended::over_day(app, token_budget, stage.idx, Some(least), now).await?;
    Ok(())
}

/// What became of the call. True where the batch is known to have been made.
async fn record<P: Ports>(
    app: &App<P>,
    job: &str,
    batch: &str,
    probe: bool,
    made: Result<Remote, Option<CallError>>,
) -> Result<bool, AppError> {
    let now = app.ports.clock().now_ms();
    let mut statements = Vec::new();
    let mut sent = false;
    match made {
        Ok(remote) => {
            sent = true;
            // The first look comes with the next sweep.
            statements.push(sql::sent(batch, &remote.id, now));
            if probe {
                statements.extend(settle::close_breaker(now));
            }
        }
        Err(error) => {
            let refused = error.as_ref().filter(|error| is_refusal(error));
            match refused {
                Some(error) => statements.extend(refusal(app, batch, error, now)),
                // It may have been made all the same: looked for among all batches.
                None => statements.push(sql::next(batch, now, false)),
            }
            let stops = error.as_ref().is_some_and(CallError::stops_everything);
            if probe && !stops {
                statements.push(settle::free_probe(batch));
            }
            let told = error.map_or("an answer that is no batch".to_owned(), |e| e.to_string());
            app.log_fault("create_batch", &format!("{job} {batch}: {told}"));
        }
    }
    let answers = app.ports.db().batch(statements).await?;
    log::moved(app, &answers, "batch");
    Ok(sent)
}

/// The API says itself that no batch was made. Of its own errors only those about the request can be trusted so far: one
/// from inside may have come after it was made.
fn is_refusal(error: &CallError) -> bool {
    error
        .status
        .is_some_and(|status| (400..500).contains(&status))
}

/// No batch was made: its tasks wait for the next, or go live where there never will be one.
fn refusal<P: Ports>(
    app: &App<P>,
    batch: &str,
    error: &CallError,
    now: i64,
) -> Vec<crate::ports::Statement> {
    let intervals = &app.config.intervals;
    let wait = match error.class {
        ErrorClass::RetryNow => 0,
        ErrorClass::RetryAfter { after_ms } => {
            let wait = after_ms.map_or(Wait::Backoff(10), Wait::For);
            wait_ms(
                wait,
                app.dice(),
                intervals.backoff_ms,
                intervals.backoff_max_ms,
            )
        }
        _ => 0,
    };
    let live = matches!(error.class, ErrorClass::GiveUp | ErrorClass::Reshape);
    let why = error.to_string();
    let mut statements = sql::lose(
        batch,
        now,
        &Lost {
            paid: false,
            code: "not_sent",
            why: &why,
            not_before: now.saturating_add_unsigned(wait),
            delay: false,
            live,
        },
    );
    if live {
        statements.push(sql::tell_refused(batch, &why));
    }
    if let ErrorClass::Stop { resumes_at_ms } = error.class {
        let until = resumes_at_ms.and_then(|at| i64::try_from(at).ok());
        statements.extend(ended::trip(app, error.code, &error.message, until, now));
    }
    statements
}
