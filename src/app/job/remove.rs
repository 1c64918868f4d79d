//! Jobs are taken away, by their callers or with age; and what is old is forgotten.
//!
//! A removal begins in one step, after which nobody sees the job any more, and goes on in slices: each turn takes what
//! it can and leaves the rest to a message to itself, or to the sweep. Every slice may run twice.

use futures::future::join_all;

use crate::app::support::{blobs, db, messages};
use crate::app::view::job;
use crate::app::{App, AppError};
use crate::core::job::state::terminal_job_states;
use crate::ports::{Blobs, Clock, Db, DbError, Outgoing, Ports, Queue, Statement};
use crate::store::job::commands::guard;
use crate::store::job::removals as sql;
use crate::store::job::removals::What;
use crate::store::outbound::deliveries;
use crate::store::row::Columns;
use crate::store::stage::carry_over;

/// A consumer gives up its turn after this long; what is left goes on with the next message.
const TURN_MS: i64 = 20_000;
/// KV may show a key, or show it still, for so long after it was written or deleted.
const KV_MS: u64 = 60_000;
/// Jobs that one sweep begins to take away, and removals that it asks for again: each brings a message.
const MOST_BEGUN: u32 = 50;
/// Blobs deleted at a time: six connections may wait in one invocation, more would only queue.
const DELETES: usize = 6;

/// Deletes a job that is over. From the moment this returns it is not found anywhere; its rows and blobs go from then
/// on, and with them the ledger entries that it paid for and no other job used.
pub async fn delete<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<(), AppError> {
    let now = app.ports.clock().now_ms();
    let mut batch = vec![guard(id, tenant, &terminal_job_states())];
    batch.extend(sql::begin(id, now, app.drive_at(now)));
    match app.ports.db().batch(batch).await {
        Ok(_) => {}
        Err(DbError::Guard(_)) => {
            let state = job::owned(app, tenant, id).await?.text("state");
            return Err(AppError::Conflict(format!(
                "a job that is {state} cannot be deleted; cancel it first"
            )));
        }
        Err(error) => return Err(error.into()),
    }
    app.log_job(id, "deleted", serde_json::json!({"tenant": tenant}));
    // Lost or refused, the sweep finds the removal all the same.
    if let Err(error) = app
        .ports
        .queue()
        .send(vec![messages::remove(id, What::Job)])
        .await
    {
        app.log_fault("send_remove", &error.to_string());
    }
    Ok(())
}

/// What the sweep does about age: a fixed number of statements, whatever there is. Answers with a message for each
/// removal that is due.
pub async fn age<P: Ports>(app: &App<P>) -> Result<Vec<Outgoing>, AppError> {
    const DAY_MS: i64 = 86_400_000;
    let now = app.ports.clock().now_ms();
    let keep = &app.config.keep;
    let before = |days: u32| (days > 0).then(|| now - i64::from(days) * DAY_MS);
    let mut statements: Vec<Statement> = Vec::new();
    if let Some(before) = before(keep.job_days) {
        statements.extend(sql::age_jobs(before, now, MOST_BEGUN));
    }
    if let Some(before) = before(keep.answer_days) {
        statements.extend(sql::age_answers(before, now, MOST_BEGUN));
    }
    statements.extend(before(keep.idempotency_days).map(sql::age_idempotency));
    statements.extend(before(keep.dead_letter_days).map(sql::age_dead_letters));
    statements.extend(
        before(keep.delivery_days)
            .into_iter()
            .flat_map(deliveries::age),
    );
    statements.push(sql::due(now, app.drive_at(now), MOST_BEGUN));
    let answers = app.ports.db().batch(statements).await?;
    let due = answers.last().map(|answer| answer.rows.as_slice());
    Ok(due
        .unwrap_or_default()
        .iter()
        .filter_map(|row| {
            let what = What::parse(&row.text("what"))?;
            Some(messages::remove(&row.text("job"), what))
        })
        .collect())
}

/// What one turn may still ask of the database and the blob store together: an invocation has a bounded number of both.
struct Turn {
    left: u64,
    until: i64,
}

impl Turn {
    fn spend<P: Ports>(&mut self, app: &App<P>, requests: usize) -> Result<(), Stop> {
        let requests = requests as u64;
        if self.left < requests || app.ports.clock().now_ms() > self.until {
            return Err(Stop::TurnOver);
        }
        self.left -= requests;
        Ok(())
    }
}

enum Stop {
    TurnOver,
    Failed(AppError),
}

impl From<AppError> for Stop {
    fn from(error: AppError) -> Stop {
        Stop::Failed(error)
    }
}

impl From<DbError> for Stop {
    fn from(error: DbError) -> Stop {
        Stop::Failed(error.into())
    }
}

/// Goes on with a removal as far as one turn goes.
pub async fn go_on<P: Ports>(app: &App<P>, job: &str, what: What) -> Result<(), AppError> {
    let now = app.ports.clock().now_ms();
    let mut turn = Turn {
        left: u64::from(app.config.max_d1_queries),
        until: now + TURN_MS,
    };
    let taken = match what {
        What::Job => whole(app, job, &mut turn).await,
        What::Answers => answers(app, job, &mut turn).await,
    };
    match taken {
        Ok(()) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
        Err(Stop::TurnOver) => app
            .ports
            .queue()
            .send(vec![messages::remove(job, what)])
            .await
            .map_err(|error| AppError::Unavailable(error.to_string())),
    }
}

async fn whole<P: Ports>(app: &App<P>, job: &str, turn: &mut Turn) -> Result<(), Stop> {
    let found = db::rows(app, sql::find(job, What::Job)).await?;
    let Some(removal) = found.first() else {
        return Ok(());
    };
    // Nobody sees the job any more, but one that extends it still copies of it.
    let held = db::rows(app, carry_over::held(job)).await?;
    if held.first().is_some_and(|row| row.flag("held")) {
        let at = app.drive_at(app.ports.clock().now_ms());
        app.ports
            .db()
            .batch(vec![sql::later(job, What::Job, at)])
            .await?;
        return Ok(());
    }
    let open = loop {
        let slice = sql::slice(job);
        turn.spend(app, slice.len())?;
        let answers = app.ports.db().batch(slice).await?;
        let left = answers.last().and_then(|answer| answer.rows.first());
        if !left.is_some_and(|left| left.flag("some")) {
            break left.is_some_and(|left| left.flag("open"));
        }
    };
    let tenant = removal.text("tenant");
    let own = format!("{}/", blobs::job_prefix(job));
    remove_blobs(app, own, None, turn).await?;
    let paid = format!("{}/", blobs::ledger_prefix(&tenant, job));
    remove_blobs(app, paid, Some(&tenant), turn).await?;
    // A call that was in the air when the job was cancelled may bring a blob yet, and the list may lag behind: the last
    // look is taken when neither can be.
    let intervals = &app.config.intervals;
    let settled = removal.int("since").saturating_add_unsigned(
        intervals.call_timeout_ms + intervals.lease_ms.saturating_mul(2) + KV_MS,
    );
    let now = app.ports.clock().now_ms();
    let next = if open || now < settled {
        sql::later(job, What::Job, settled.max(app.drive_at(now)))
    } else {
        app.log_job(job, "removed", serde_json::json!({}));
        sql::done(job, What::Job)
    };
    app.ports.db().batch(vec![next]).await?;
    Ok(())
}

async fn answers<P: Ports>(app: &App<P>, job: &str, turn: &mut Turn) -> Result<(), Stop> {
    let mut from = 0;
    loop {
        let slice = sql::forget_answers(job, from);
        turn.spend(app, slice.len())?;
        let answers = app.ports.db().batch(slice).await?;
        let last = answers.last().and_then(|answer| answer.rows.first());
        if !last.is_some_and(|row| row.flag("more")) {
            break;
        }
        from += sql::SLICE_ROWS;
    }
    remove_blobs(app, format!("{}/", blobs::answers_prefix(job)), None, turn).await?;
    app.ports
        .db()
        .batch(vec![sql::done(job, What::Answers)])
        .await?;
    Ok(())
}

/// Deletes the blobs under a prefix, but those that a ledger entry of that tenant still names.
async fn remove_blobs<P: Ports>(
    app: &App<P>,
    prefix: String,
    ledger_of: Option<&str>,
    turn: &mut Turn,
) -> Result<(), Stop> {
    let lost = |error: crate::ports::BlobError| AppError::Unavailable(error.to_string());
    let mut after = None;
    loop {
        turn.spend(app, 2)?;
        let page = app.ports.blobs().list(prefix.clone(), after).await;
        let mut page = page.map_err(lost)?;
        if let Some(tenant) = ledger_of.filter(|_| !page.keys.is_empty()) {
            let named = db::rows(app, sql::named_blobs(tenant, &page.keys)).await?;
            let named: Vec<String> = named.iter().map(|row| row.text("blob")).collect();
            page.keys.retain(|key| !named.contains(key));
        }
        for keys in page.keys.chunks(DELETES) {
            turn.spend(app, keys.len())?;
            let deletes = keys.iter().map(|key| app.ports.blobs().delete(key.clone()));
            for deleted in join_all(deletes).await {
                deleted.map_err(lost)?;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
