//! A deep look at the deployment: whether what the engine stands on can be reached.

use super::App;
use crate::ports::{Blobs, Db, Ports};
use crate::store::tokens;

/// What was looked at, and what is wrong with it. Problems are for admins: they may hold a database's own words.
pub async fn look<P: Ports>(app: &App<P>) -> Vec<(&'static str, Option<String>)> {
    // A table of the newest kind: it is missing where the migrations were not applied.
    let database = app.ports.db().batch(vec![tokens::any()]).await;
    let blobs = app.ports.blobs().get("health".to_owned()).await;
    vec![
        // Without a valid one there would be no engine to ask.
        ("configuration", None),
        ("database", database.err().map(|error| error.to_string())),
        ("blobs", blobs.err().map(|error| error.to_string())),
    ]
}
