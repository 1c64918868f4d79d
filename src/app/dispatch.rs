//! Messages arrive. Nothing here ever fails towards the platform: each message is settled, one way or the other.

use serde_json::json;

use crate::app::batch::watch;
use crate::app::job::{driver, remove, sweep};
use crate::app::outbound::{traces, webhooks};
use crate::app::submit::schedules;
use crate::app::submit::schedules::ReadJob;
use crate::app::support::messages::{Message, Received};
use crate::app::{App, AppError, worker};
use crate::ports::{Clock, Db, Ports};
use crate::store::job::sweep as sql;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    Ack,
    Retry { delay_seconds: u32 },
}

/// A later try of a message whose work could not be done: the database was away, a blob is not readable yet.
const LATER: Settle = Settle::Retry { delay_seconds: 5 };
/// A step of a job that failed is tried once more after this.
const AGAIN_MS: u64 = 200;
/// A deployment reaches all consumers within a minute: by then one that knows the message takes it.
const FOR_ANOTHER: Settle = Settle::Retry { delay_seconds: 60 };

/// One message of the control queue. Replay is harmless: [`driver::drive`] looks where the job stands, a second
/// [`sweep::look`] finds nothing, and rows are deleted once.
pub async fn control<P: Ports>(app: &App<P>, body: &str) -> Settle {
    let done = match Message::read(body) {
        Received::Message(Message::Drive { job }) => drive(app, &job).await,
        Received::Message(Message::CheckLeases) => sweep::look(app).await,
        Received::Message(Message::CheckBatch { batch }) => watch::go_on(app, &batch).await,
        Received::Message(Message::Remove { job, what }) => remove::go_on(app, &job, what).await,
        other => return not_mine(app, "control", body, &other).await,
    };
    settle(app, "control", body, done)
}

/// An answer of the database that was lost must not cost a job the seconds of a later try.
async fn drive<P: Ports>(app: &App<P>, job: &str) -> Result<(), AppError> {
    match driver::drive(app, job).await {
        Ok(()) => Ok(()),
        Err(_) => {
            app.ports.clock().sleep(AGAIN_MS).await;
            driver::drive(app, job).await
        }
    }
}

/// A batch of the tasks queue. Replay is harmless: tasks are taken by lease, and one that is done is not taken again.
pub async fn tasks<P: Ports>(app: &App<P>, bodies: Vec<String>) -> Settle {
    let mut any = false;
    let mut others = Settle::Ack;
    for body in &bodies {
        match Message::read(body) {
            Received::Message(Message::Wake { .. }) => any = true,
            Received::Message(Message::Warm) => {}
            // The platform settles a batch as a whole: one message that is left in the queue leaves them all, and a
            // second wake-up is harmless.
            other => match not_mine(app, "tasks", body, &other).await {
                Settle::Ack => {}
                retry => others = retry,
            },
        }
    }
    if !any {
        return others;
    }
    match settle(app, "tasks", "", worker::work(app).await) {
        Settle::Ack => others,
        retry => retry,
    }
}

/// One message of the outbound queue. Replay is harmless: a delivery or a slice of a trace is tried only when it is
/// due, and a run of a schedule is one job however often it is started. `read_job` reads the body that a schedule holds.
pub async fn outbound<P: Ports>(app: &App<P>, body: &str, read_job: ReadJob) -> Settle {
    let done = match Message::read(body) {
        Received::Message(Message::Deliver { delivery }) => webhooks::deliver(app, &delivery).await,
        Received::Message(Message::Start { schedule, due_at }) => {
            schedules::start(app, &schedule, due_at, read_job).await
        }
        Received::Message(Message::Trace { job }) => traces::export(app, &job).await,
        other => return not_mine(app, "outbound", body, &other).await,
    };
    settle(app, "outbound", body, done)
}

fn settle<P: Ports>(app: &App<P>, queue: &str, body: &str, done: Result<(), AppError>) -> Settle {
    match done {
        // Gone with its job.
        Ok(()) | Err(AppError::NotFound(_)) => Settle::Ack,
        Err(error) => {
            app.log_fault(queue, &format!("{body}: {error}"));
            LATER
        }
    }
}

/// A message of a later version stays in the queue; one that this queue does not carry has its fate recorded.
async fn not_mine<P: Ports>(app: &App<P>, queue: &str, body: &str, received: &Received) -> Settle {
    match received {
        Received::Later => {
            app.log_fault(queue, "a later version of the Worker wrote this message");
            FOR_ANOTHER
        }
        Received::Message(_) | Received::Unknown => dead_letter(app, queue, body).await,
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
