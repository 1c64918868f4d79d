//! Messages arrive. Nothing here ever fails towards the platform: each message is settled, one way or the other.

use serde_json::json;

use super::message::{Deliver, Drive, Look, LookAtBatch, Remove, Start, Trace, Wake};
use super::schedules::{self, ReadJob};
use super::{App, AppError, batch, drive, notify, remove, sweep, traces, work};
use crate::ports::{Clock, Db, Ports};
use crate::store::removals::What;
use crate::store::sweep as sql;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    Ack,
    Retry { delay_seconds: u32 },
}

/// A later try of a message whose work could not be done: the database was away, a blob is not readable yet.
const LATER: Settle = Settle::Retry { delay_seconds: 5 };

/// One message of the control queue. Replay is harmless: [`drive::drive`] looks where the job stands, and a second
/// [`sweep::look`] finds nothing.
pub async fn control<P: Ports>(app: &App<P>, body: &str) -> Settle {
    if serde_json::from_str::<Look>(body).is_ok() {
        return match sweep::look(app).await {
            Ok(()) => Settle::Ack,
            Err(error) => {
                app.log_fault("look", &error.to_string());
                LATER
            }
        };
    }
    if let Ok(message) = serde_json::from_str::<LookAtBatch>(body) {
        return match batch::watch::go_on(app, &message.batch).await {
            Ok(()) => Settle::Ack,
            Err(error) => {
                app.log_fault("batch", &format!("{}: {error}", message.batch));
                LATER
            }
        };
    }
    let Ok(message) = serde_json::from_str::<Drive>(body) else {
        return removal(app, body).await;
    };
    match drive::drive(app, &message.job).await {
        Ok(()) => Settle::Ack,
        Err(error) => {
            app.log_fault("drive", &format!("{}: {error}", message.job));
            LATER
        }
    }
}

/// The other kind of control message. Replay is harmless: rows are deleted once.
async fn removal<P: Ports>(app: &App<P>, body: &str) -> Settle {
    let message = serde_json::from_str::<Remove>(body).ok();
    let known = message.and_then(|message| Some((What::parse(&message.what)?, message.remove)));
    let Some((what, job)) = known else {
        return dead_letter(app, "control", body).await;
    };
    match remove::go_on(app, &job, what).await {
        Ok(()) => Settle::Ack,
        Err(error) => {
            app.log_fault("remove", &format!("{job}: {error}"));
            LATER
        }
    }
}

/// A batch of the tasks queue. Replay is harmless: tasks are taken by lease, and one that is done is not taken again.
pub async fn tasks<P: Ports>(app: &App<P>, bodies: Vec<String>) -> Settle {
    let mut any = false;
    for body in &bodies {
        if serde_json::from_str::<Wake>(body).is_ok() {
            any = true;
        } else {
            dead_letter(app, "tasks", body).await;
        }
    }
    if !any {
        return Settle::Ack;
    }
    match work::work(app).await {
        Ok(()) => Settle::Ack,
        Err(error) => {
            app.log_fault("work", &error.to_string());
            LATER
        }
    }
}

/// One message of the outbound queue. Replay is harmless: a delivery or a slice of a trace is tried only when it is due, and a run of a
/// schedule is one job however often it is started. `read_job` reads the body that a schedule holds.
pub async fn outbound<P: Ports>(app: &App<P>, body: &str, read_job: ReadJob) -> Settle {
    let done = if let Ok(message) = serde_json::from_str::<Deliver>(body) {
        notify::deliver(app, &message.delivery).await
    } else if let Ok(message) = serde_json::from_str::<Start>(body) {
        schedules::start(app, &message.schedule, message.due_at, read_job).await
    } else if let Ok(message) = serde_json::from_str::<Trace>(body) {
        traces::export(app, &message.trace).await
    } else {
        return dead_letter(app, "outbound", body).await;
    };
    match done {
        // Gone with its job.
        Ok(()) | Err(AppError::NotFound(_)) => Settle::Ack,
        Err(error) => {
            app.log_fault("outbound", &format!("{body}: {error}"));
            LATER
        }
    }
}

/// A message nobody could settle: its fate is recorded. What it stood for is found by the sweep.
pub async fn dead_letter<P: Ports>(app: &App<P>, queue: &str, body: &str) -> Settle {
    let body: String = body.chars().take(2_000).collect();
    app.log(json!({"event": "dead_letter", "queue": queue}), json!({}));
    let statement = sql::dead_letter(queue, &body, app.ports.clock().now_ms());
    match app.ports.db().batch(vec![statement]).await {
        Ok(_) => Settle::Ack,
        Err(error) => {
            app.log_fault("dead_letter", &error.to_string());
            LATER
        }
    }
}
