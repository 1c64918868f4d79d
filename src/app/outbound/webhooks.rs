//! What happened to a job is told to the webhook that its caller named.
//!
//! The event itself was written by the transaction that made it happen; here it is sent until somebody took it, each
//! delivery by messages of its own, at least once and for a day at most. A message that comes twice finds that the
//! delivery is not due. What receivers answer is kept for callers who look for a fault.

use serde_json::{Value, json};

use super::http;
use crate::app::support::{db, messages};
use crate::app::view::{DeliveryView, JobView, TryView, WebhookSecret, job};
use crate::app::{App, AppError};
use crate::core::net::webhook::{Webhook, WebhookFormat, slack_text, wait_ms};
use crate::core::value::time::rfc3339;
use crate::ports::{Clock, Db, Outgoing, Ports, Queue};
use crate::store::outbound::deliveries as sql;
use crate::store::outbound::deliveries::{After, Try};
use crate::store::row::{Columns, Row};

/// Overdue deliveries for which one sweep sends messages.
const MOST_DUE: u32 = 100;
/// The last tries of a delivery that are shown: more than a day's.
const SHOWN_TRIES: u32 = 25;
/// Of what a receiver answered, for the log of tries.
const EXCERPT_CHARS: usize = 200;
/// A receiver that is gone for good says so: no further try.
const GONE: u16 = 410;

/// What is wrong with a webhook as a caller wrote it, by path.
pub fn faults<P: Ports>(app: &App<P>, webhook: &Webhook) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    if let Err(refusal) = app.config.fetching.guard.check(&webhook.url) {
        faults.push(("webhook.url".to_owned(), refusal.to_string()));
    }
    if webhook.format == WebhookFormat::Standard && app.signing.is_none() {
        faults.push((
            "webhook.format".to_owned(),
            "cannot be `standard`: this deployment has no WEBHOOK_SIGNING_KEY to sign with"
                .to_owned(),
        ));
    }
    faults
}

/// Sends the messages for what has just happened to a job. Lost, the sweep sends them.
pub async fn tell<P: Ports>(app: &App<P>, job: &str) {
    let now = app.ports.clock().now_ms();
    let sent = match db::rows(app, sql::due_of_job(job, now)).await {
        Ok(rows) if rows.is_empty() => return,
        Ok(rows) => app
            .ports
            .queue()
            .send(messages(&rows))
            .await
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = sent {
        app.log_fault("tell", &format!("{job}: {error}"));
    }
}

/// What cron finds undelivered.
pub async fn due<P: Ports>(app: &App<P>) -> Result<Vec<Outgoing>, AppError> {
    let now = app.ports.clock().now_ms();
    let rows = db::rows(app, sql::due(now, MOST_DUE)).await?;
    Ok(messages(&rows))
}

fn messages(rows: &[Row]) -> Vec<Outgoing> {
    rows.iter()
        .map(|row| messages::deliver(&row.text("id"), 0))
        .collect()
}

/// One try of one delivery.
pub async fn deliver<P: Ports>(app: &App<P>, id: &str) -> Result<(), AppError> {
    let clock = app.ports.clock();
    let began = clock.now_ms();
    let hooks = &app.config.webhooks;
    // 1. Taken: nobody else tries before this try must have ended. A crash leaves it to the sweep after that.
    let held = began.saturating_add_unsigned(hooks.timeout_ms.saturating_mul(2));
    let rows = db::rows(app, sql::claim(id, began, held)).await?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    // 2. What is sent is the same in each try: a lost answer here changes nothing.
    let payload = payload(app, row).await?;
    // 3. Sent. A receiver that got it twice knows it by its id.
    let sent = send(app, row, payload).await;
    // 4. Written down. Lost, it is sent once more.
    let now = clock.now_ms();
    let (after, error, status) = match sent {
        Ok(receipt) if (200..300).contains(&receipt.status) => {
            (After::Delivered, None, Some(receipt.status))
        }
        Ok(receipt) => {
            let excerpt: String = receipt.excerpt.chars().take(EXCERPT_CHARS).collect();
            let error = format!("the server answered {}: {excerpt}", receipt.status);
            let after = match receipt.status {
                GONE => After::GivenUp,
                _ => next(app, row, now, receipt.retry_after_ms),
            };
            (after, Some(error), Some(receipt.status))
        }
        Err(error) => (next(app, row, now, None), Some(error), None),
    };
    let one = Try {
        n: row.count("tries"),
        at: began,
        ms: now - began,
        status,
        error,
    };
    let statements = sql::settle(id, &one, after, now);
    app.ports.db().batch(statements).await?;
    app.log_job(
        &row.text("job"),
        "delivery",
        json!({"delivery": id, "try": one.n, "status": one.status, "ms": one.ms}),
    );
    if let After::Again { at } = after {
        let wait = u64::try_from(at - now).unwrap_or(0);
        let again = messages::deliver(id, messages::delay_seconds(wait));
        if let Err(error) = app.ports.queue().send(vec![again]).await {
            app.log_fault("send_deliver", &error.to_string());
        }
    }
    Ok(())
}

/// When to try again, or that it was long enough.
fn next<P: Ports>(app: &App<P>, row: &Row, now: i64, asked_for: Option<u64>) -> After {
    let hooks = &app.config.webhooks;
    let since = row.int("since");
    let wait = wait_ms(
        since,
        now,
        hooks.backoff_ms,
        hooks.backoff_max_ms,
        app.dice(),
    );
    let wait = wait.max(asked_for.unwrap_or(0).min(hooks.backoff_max_ms));
    let at = now.saturating_add_unsigned(wait);
    if at > since.saturating_add_unsigned(hooks.retry_ms) {
        After::GivenUp
    } else {
        After::Again { at }
    }
}

/// The body: made at the first try and kept.
async fn payload<P: Ports>(app: &App<P>, row: &Row) -> Result<String, AppError> {
    if let Some(payload) = row.maybe_text("payload") {
        return Ok(payload);
    }
    let mut job = job::job(app, &row.text("tenant"), &row.text("job")).await?;
    // The job may have gone on since; the event is about then.
    job.run = row.count("run");
    job.state = row.text("state");
    job.error = row.json("error");
    job.updated_at = rfc3339(row.int("at"));
    if row.text("event") == "job.finished" {
        job.finished_at = Some(job.updated_at.clone());
        job.halt = None;
    }
    let body = match format(row) {
        WebhookFormat::Standard => standard(&row.text("event"), &job),
        WebhookFormat::Slack => slack(&job),
    };
    let frozen = db::rows(app, sql::freeze(&row.text("id"), &body.to_string())).await?;
    frozen
        .first()
        .and_then(|row| row.maybe_text("payload"))
        .ok_or(AppError::NotFound("delivery"))
}

fn format(row: &Row) -> WebhookFormat {
    WebhookFormat::parse(&row.text("format")).unwrap_or_default()
}

fn standard(event: &str, job: &JobView) -> Value {
    json!({"type": event, "timestamp": job.updated_at, "data": job})
}

fn slack(job: &JobView) -> Value {
    let items = &job.progress.items;
    let mut text = format!(
        "*{}*: {} of {} items, ${:.2}\n{}\n`{}`",
        job.state,
        items.covered,
        items.total,
        job.cost.spent_usd,
        slack_text(&job.task.chars().take(300).collect::<String>()),
        job.id,
    );
    let halt = job.halt.as_ref().map(|halt| &halt.detail);
    if let Some(why) = job.error.as_ref().map(|error| &error.message).or(halt) {
        text.push('\n');
        text.push_str(&slack_text(why));
    }
    json!({"text": text})
}

/// What the receiver answered, or why it was not asked or did not answer.
async fn send<P: Ports>(app: &App<P>, row: &Row, payload: String) -> Result<http::Receipt, String> {
    // Checked again: the operator may have changed what is let through since the job came in.
    let url = app.config.fetching.guard.check(&row.text("url"));
    let url = url.map_err(|refusal| format!("the address {refusal}"))?;
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    if format(row) == WebhookFormat::Standard {
        let Some(signing) = &app.signing else {
            return Err("this deployment has no WEBHOOK_SIGNING_KEY to sign with".to_owned());
        };
        let id = row.text("id");
        let seconds = app.ports.clock().now_ms().div_euclid(1_000);
        let key = signing.of_tenant(&row.text("tenant"));
        headers.extend([
            (
                "webhook-signature".to_owned(),
                key.sign(&id, seconds, &payload),
            ),
            ("webhook-timestamp".to_owned(), seconds.to_string()),
            ("webhook-id".to_owned(), id),
        ]);
    }
    http::post(app, &url, headers, payload, app.config.webhooks.timeout_ms)
        .await
        .map_err(|error| match error {
            http::WebError::TimedOut(ms) => {
                format!("no answer within {ms} ms (WEBHOOK_TIMEOUT_MS)")
            }
            other => other.to_string(),
        })
}

/// What was delivered for a job, newest first, and where the next page begins.
pub async fn list<P: Ports>(
    app: &App<P>,
    tenant: &str,
    job: &str,
    after: Option<(i64, String)>,
    limit: u32,
) -> Result<(Vec<DeliveryView>, Option<(i64, String)>), AppError> {
    job::owned(app, tenant, job).await?;
    let mut rows = db::rows(app, sql::list(job, after, limit.saturating_add(1))).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|row| (row.int("at"), row.text("id")));
    Ok((views(app, &rows).await?, next))
}

/// Sends a delivery again, whatever became of it, with the same id and body; tries go on for another day.
pub async fn redeliver<P: Ports>(
    app: &App<P>,
    tenant: &str,
    job: &str,
    id: &str,
) -> Result<DeliveryView, AppError> {
    job::owned(app, tenant, job).await?;
    let now = app.ports.clock().now_ms();
    let found = db::rows(app, sql::redeliver(id, job, now)).await?;
    if found.is_empty() {
        return Err(AppError::NotFound("delivery"));
    }
    tell(app, job).await;
    let rows = db::rows(app, sql::one(job, id)).await?;
    let views = views(app, &rows).await?;
    views
        .into_iter()
        .next()
        .ok_or(AppError::NotFound("delivery"))
}

/// The key with which the tenant's receivers check signatures.
pub fn secret<P: Ports>(app: &App<P>, tenant: &str) -> Result<WebhookSecret, AppError> {
    let signing = app.signing.as_ref().ok_or_else(|| {
        AppError::Conflict(
            "this deployment has no WEBHOOK_SIGNING_KEY, so nothing is signed".to_owned(),
        )
    })?;
    Ok(WebhookSecret {
        secret: signing.of_tenant(tenant).secret(),
    })
}

async fn views<P: Ports>(app: &App<P>, rows: &[Row]) -> Result<Vec<DeliveryView>, AppError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = rows.iter().map(|row| row.text("id")).collect();
    let tries = db::rows(app, sql::tries(&ids, SHOWN_TRIES)).await?;
    Ok(rows.iter().map(|row| view(row, &tries)).collect())
}

fn view(row: &Row, tries: &[Row]) -> DeliveryView {
    let id = row.text("id");
    let status = row.text("status");
    let closed = row.maybe_int("closed_at").map(rfc3339);
    let (delivered, pending) = (status == "delivered", status == "pending");
    DeliveryView {
        run: row.count("run"),
        event: row.text("event"),
        state: row.text("state"),
        created_at: rfc3339(row.int("at")),
        target: origin(&row.text("url")),
        format: row.text("format"),
        next_try_at: pending.then(|| rfc3339(row.int("next_at"))),
        delivered_at: closed.filter(|_| delivered),
        tries: tries
            .iter()
            .filter(|one| one.text("delivery") == id)
            .map(|one| TryView {
                n: one.count("n"),
                at: rfc3339(one.int("at")),
                ms: one.tokens("ms"),
                status: one.maybe_int("status").and_then(|s| u16::try_from(s).ok()),
                error: one.maybe_text("error"),
            })
            .collect(),
        status,
        id,
    }
}

/// All of an address that may be shown: what follows the host may be a secret.
fn origin(url: &str) -> String {
    url::Url::parse(url)
        .map(|url| url.origin().ascii_serialization())
        .unwrap_or_default()
}
