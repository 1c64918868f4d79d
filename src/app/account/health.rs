//! A deep look at the deployment: whether what the engine stands on can be reached.

use crate::app::App;
use crate::app::account::storage;
use crate::core::value::storage::Storage;
use crate::ports::{Blobs, Db, Ports};
use crate::store::account::tokens;

/// What was looked at, and what is wrong with it, with how full the database is. Problems are for admins: they may hold a
/// database's own words.
pub async fn look<P: Ports>(
    app: &App<P>,
) -> (Vec<(&'static str, Option<String>)>, Option<Storage>) {
    // Fails where the migrations were not applied.
    let database = app.ports.db().batch(vec![tokens::any()]).await;
    let blobs = app.ports.blobs().get("health".to_owned()).await;
    let storage = database
        .as_ref()
        .ok()
        .and_then(|answers| storage::of(app, answers));
    let full = storage.filter(|storage| storage.is_scarce());
    let full = full.map(|storage| {
        let Storage { used, capacity } = storage;
        format!("holds {used} of {capacity} bytes and takes no further job: delete jobs, or lower KEEP_JOB_DAYS")
    });
    let checks = vec![
        // Without a valid one there would be no engine to ask.
        ("configuration", None),
        ("database", database.err().map(|error| error.to_string())),
        ("storage", full),
        ("blobs", blobs.err().map(|error| error.to_string())),
    ];
    (checks, storage)
}
