//! Batches that are due are looked at: cancelled where that is wanted, asked how far they are, read when they have ended;
//! and those whose creation nobody saw are looked for.
//!
//! The sweep finds them and sends a message for each; a message takes the batch by moving its next look on. A look that is
//! lost comes again, two at once do no harm, and what it brings is settled as every answer is.

use super::{results, wire};
use crate::app::attempt::{call, settle as ended};
use crate::app::support::{db, log, messages};
use crate::app::{App, AppError};
use crate::claude::batches::{BATCHES_PATH, Page, Remote, Status, read_custom_id};
use crate::claude::error::{CallError, ErrorClass, ErrorCode};
use crate::core::job::delivery::poll_ms;
use crate::ports::{Clock, Db, DbError, Outgoing, Ports, Queue};
use crate::store::row::Columns;
use crate::store::task::batches as sql;
use crate::store::task::batches::{Batch, Lost};

/// Batches that one sweep sends messages for.
const MOST_DUE: u32 = 200;
/// Our clock and the API's may differ by this.
const SKEW_MS: i64 = 60_000;
/// Pages of the list, 100 batches each, that are looked through for one that was lost.
const MOST_PAGES: u32 = 20;
/// Looks in a row at which the API does not know a batch, or its results are not whole, before it is given up.
const MOST_MISSES: u32 = 10;

/// Messages for the batches that are due.
pub async fn due<P: Ports>(app: &App<P>) -> Result<Vec<Outgoing>, AppError> {
    let now = app.ports.clock().now_ms();
    let rows = db::rows(app, sql::due(now, MOST_DUE)).await?;
    Ok(rows
        .iter()
        .map(|row| messages::check_batch(&row.text("id")))
        .collect())
}

/// One look at a batch, unless somebody else has it or it is not due. Harmless to repeat.
pub async fn go_on<P: Ports>(app: &App<P>, id: &str) -> Result<(), AppError> {
    let now = app.ports.clock().now_ms();
    let rows = db::rows(app, sql::take(id, now, held(app, now))).await?;
    let Some(batch) = rows.first().map(Batch::read) else {
        return Ok(());
    };
    let looked = match (batch.sending, batch.remote.clone()) {
        (false, Some(remote)) => look(app, &batch, &remote).await,
        _ => seek(app, &batch).await,
    };
    match looked {
        Ok(()) => Ok(()),
        Err(Missed::Failed(error)) => Err(error),
        Err(Missed::Call(error)) => missed(app, &batch, &error).await,
    }
}

/// Until when nobody else takes a batch that is being looked at.
pub fn held<P: Ports>(app: &App<P>, now: i64) -> i64 {
    now.saturating_add_unsigned(app.config.intervals.idle_timeout_ms.saturating_mul(2))
}

/// Why a look brought nothing.
pub enum Missed {
    Call(CallError),
    Failed(AppError),
}

impl From<CallError> for Missed {
    fn from(error: CallError) -> Missed {
        Missed::Call(error)
    }
}

impl From<AppError> for Missed {
    fn from(error: AppError) -> Missed {
        Missed::Failed(error)
    }
}

impl From<DbError> for Missed {
    fn from(error: DbError) -> Missed {
        Missed::Failed(error.into())
    }
}

/// When it is looked at again.
fn again<P: Ports>(app: &App<P>, batch: &Batch, now: i64) -> i64 {
    let bounds = &app.config.batches;
    // What was cancelled ends soon.
    let most = if batch.cancel > 0 {
        bounds.poll_ms
    } else {
        bounds.poll_max_ms
    };
    now.saturating_add_unsigned(poll_ms(now - batch.began_at, bounds.poll_ms, most))
}

/// A look that failed: the next comes in its time, and an error about the account stops everything.
async fn missed<P: Ports>(app: &App<P>, batch: &Batch, error: &CallError) -> Result<(), AppError> {
    let now = app.ports.clock().now_ms();
    app.log_fault("look_at_batch", &format!("{}: {error}", batch.id));
    let gone = error.code == ErrorCode::NotFound;
    if gone && batch.misses + 1 >= MOST_MISSES {
        return give_up(app, batch, "the API does not know this batch any more", now).await;
    }
    let mut statements = vec![sql::next(&batch.id, again(app, batch, now), gone)];
    if let ErrorClass::Stop { resumes_at_ms } = error.class {
        let until = resumes_at_ms.and_then(|at| i64::try_from(at).ok());
        statements.extend(ended::trip(app, error.code, &error.message, until, now));
    }
    let answers = app.ports.db().batch(statements).await?;
    log::moved(app, &answers, "batch");
    Ok(())
}

/// Nothing more will come of it: what has no result may have been paid, and is asked again.
pub async fn give_up<P: Ports>(
    app: &App<P>,
    batch: &Batch,
    why: &str,
    now: i64,
) -> Result<(), AppError> {
    let lost = Lost {
        paid: true,
        code: "unknown_end",
        why,
        not_before: now,
        delay: true,
        live: false,
    };
    close(app, batch, &lost, now).await
}

async fn close<P: Ports>(
    app: &App<P>,
    batch: &Batch,
    lost: &Lost<'_>,
    now: i64,
) -> Result<(), AppError> {
    let answers = app
        .ports
        .db()
        .batch(sql::lose(&batch.id, now, lost))
        .await?;
    log::moved(app, &answers, "batch");
    app.log_job(
        &batch.job,
        "batch_lost",
        serde_json::json!({"batch": batch.id, "why": lost.why}),
    );
    drive(app, &batch.job).await;
    Ok(())
}

/// The job may have something to do now; lost, the sweep drives it.
pub async fn drive<P: Ports>(app: &App<P>, job: &str) {
    if let Err(error) = app.ports.queue().send(vec![messages::drive(job, 0)]).await {
        app.log_fault("send_drive", &error.to_string());
    }
}

/// Asks how far it is; reads it when it has ended.
async fn look<P: Ports>(app: &App<P>, batch: &Batch, remote: &str) -> Result<(), Missed> {
    let path = format!("{BATCHES_PATH}/{remote}");
    let body = call::ask(app, wire(app, &batch.job, path.clone(), None)).await?;
    let now = app.ports.clock().now_ms();
    match Remote::from_json(&body).map(|remote| remote.status) {
        Some(Status::Ended) => results::read(app, batch, remote).await,
        status => {
            if batch.cancel == 1 {
                if status != Some(Status::Canceling) {
                    cancel(app, batch, format!("{path}/cancel")).await?;
                }
                app.ports.db().batch(vec![sql::told(&batch.id)]).await?;
            }
            let at = again(app, batch, now);
            app.ports
                .db()
                .batch(vec![sql::next(&batch.id, at, false)])
                .await?;
            Ok(())
        }
    }
}

/// Tells the API that nobody wants the rest. A batch may end between two requests, and what the API says to the cancel of
/// an ended one is not documented: any refusal of the request counts as delivered, for the next look reads what there is.
async fn cancel<P: Ports>(app: &App<P>, batch: &Batch, path: String) -> Result<(), Missed> {
    let told = call::ask(app, wire(app, &batch.job, path, Some("{}".into()))).await;
    match told {
        Ok(_) => Ok(()),
        Err(error) if delivered(&error) => {
            app.log_fault("cancel_batch", &format!("{}: {error}", batch.id));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// The request was understood and refused: not an error of the account, of load or of the network.
fn delivered(error: &CallError) -> bool {
    let refused = error
        .status
        .is_some_and(|status| (400..500).contains(&status));
    refused && !error.stops_everything() && !matches!(error.status, Some(408 | 429))
}

/// Looks for a batch whose creation nobody saw: by the time at which it must have been made and the number of its requests.
/// What may be it is known for sure by its results; until then its tasks wait. Where there is none, and none can come any
/// more, it was never made.
async fn seek<P: Ports>(app: &App<P>, batch: &Batch) -> Result<(), Missed> {
    let call_ms = app.config.intervals.call_timeout_ms;
    let from = batch.began_at - SKEW_MS;
    let until = batch.began_at.saturating_add_unsigned(call_ms) + SKEW_MS;
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let cursor = after
            .map(|id| format!("&after_id={id}"))
            .unwrap_or_default();
        let path = format!("{BATCHES_PATH}?limit=100{cursor}");
        let body = call::ask(app, wire(app, &batch.job, path, None)).await?;
        let Some(page) = Page::from_json(&body) else {
            let headers = crate::claude::headers::Headers::none();
            return Err(crate::claude::error::not_a_message(&headers).into());
        };
        let at = |remote: &Remote| {
            let at = remote.created_at_ms.and_then(|at| i64::try_from(at).ok());
            at.unwrap_or(batch.began_at)
        };
        let older = page.batches.iter().any(|remote| at(remote) < from);
        found.extend(page.batches.into_iter().filter(|remote| {
            remote.requests == u64::from(batch.requests)
                && (from..=until).contains(&at(remote))
                && !batch.strangers.contains(&remote.id)
        }));
        after = page.after.filter(|_| !older);
        if after.is_none() {
            break;
        }
    }
    let ids: Vec<String> = found.iter().map(|remote| remote.id.clone()).collect();
    let known = db::rows(app, sql::known(&ids)).await?;
    let known: Vec<String> = known.iter().map(|row| row.text("remote")).collect();
    found.retain(|remote| !known.contains(&remote.id));
    for remote in found.iter().filter(|remote| remote.status == Status::Ended) {
        match whose(app, batch, &remote.id).await? {
            Some(true) => {
                let sent = sql::sent(&batch.id, &remote.id, held(app, app.ports.clock().now_ms()));
                app.ports.db().batch(vec![sent]).await?;
                let seen = serde_json::json!({"batch": batch.id, "remote": remote.id});
                app.log_job(&batch.job, "batch_found", seen);
                return results::read(app, batch, &remote.id).await;
            }
            Some(false) => {
                let stranger = sql::stranger(&batch.id, &remote.id);
                app.ports.db().batch(vec![stranger]).await?;
            }
            None => {}
        }
    }
    let now = app.ports.clock().now_ms();
    let waits = found.iter().any(|remote| remote.status != Status::Ended);
    let over = batch
        .began_at
        .saturating_add_unsigned(call_ms)
        .saturating_add_unsigned(app.config.batches.seek_ms);
    if !waits && now >= over {
        let lost = Lost {
            paid: false,
            code: "not_sent",
            why: "the batch was never made: its creation was not answered, and it is not in the list",
            not_before: now,
            delay: false,
            live: false,
        };
        return Ok(close(app, batch, &lost, now).await?);
    }
    let at = again(app, batch, now);
    let at = if waits { at } else { at.min(over.max(now)) };
    app.ports
        .db()
        .batch(vec![sql::next(&batch.id, at, false)])
        .await?;
    Ok(())
}

/// Whether the first result of an ended batch is of ours; `None` where that cannot be told now.
async fn whose<P: Ports>(
    app: &App<P>,
    batch: &Batch,
    remote: &str,
) -> Result<Option<bool>, Missed> {
    let first = results::first(app, batch, remote).await?;
    Ok(first.map(|id| read_custom_id(&id).is_some_and(|(of, _, _)| of == batch.id)))
}
