//! A caller's command: one guarded transaction, and a message that moves the job on.

use serde_json::json;

use crate::app::support::{log, messages};
use crate::app::view::job;
use crate::app::{App, AppError};
use crate::ports::{Db, DbError, Ports, Queue, Statement};
use crate::store::job::commands as sql;
use crate::store::row::Columns;

/// Runs the statements if the tenant's job is in one of the states.
pub async fn act<P: Ports>(
    app: &App<P>,
    tenant: &str,
    id: &str,
    what: &str,
    states: &[&'static str],
    statements: Vec<Statement>,
) -> Result<(), AppError> {
    let mut batch = vec![sql::guard(id, tenant, states)];
    batch.extend(statements);
    match app.ports.db().batch(batch).await {
        Ok(answers) => {
            app.log_job(id, what, json!({}));
            log::moved(app, &answers, what);
            Ok(())
        }
        Err(DbError::Guard(_)) => {
            let state = job::owned(app, tenant, id).await?.text("state");
            Err(AppError::Conflict(format!(
                "a job that is {state} cannot {what}; that takes one that is {}",
                states.join(", ")
            )))
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks for the job to be moved on; lost, the sweep finds it.
pub async fn drive_soon<P: Ports>(app: &App<P>, id: &str) {
    if let Err(error) = app.ports.queue().send(vec![messages::drive(id, 0)]).await {
        app.log_fault("send_drive", &error.to_string());
    }
}
