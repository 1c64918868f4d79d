//! How full the database is: read off its answers, shown to operators, and asked before a job comes in.

use crate::app::{App, AppError};
use crate::core::value::storage::Storage;
use crate::ports::{Answer, Db, Ports};
use crate::store::account::tokens;

/// As these answers say; the last one knows best.
pub fn of<P: Ports>(app: &App<P>, answers: &[Answer]) -> Option<Storage> {
    let used = answers.iter().rev().find_map(|answer| answer.size)?;
    Some(Storage::new(used, app.config.storage_bytes))
}

/// An error where no further job comes in.
pub async fn room<P: Ports>(app: &App<P>) -> Result<(), AppError> {
    let answers = app.ports.db().batch(vec![tokens::any()]).await?;
    match of(app, &answers).filter(|storage| storage.is_scarce()) {
        Some(Storage { used, capacity }) => Err(AppError::StorageFull { used, capacity }),
        None => Ok(()),
    }
}
