//! One round trip to the database, and values out of what comes back.

use serde_json::Value;

use crate::app::{App, AppError};
use crate::ports::{Db, Ports, Statement};
use crate::store::row::Row;

/// The rows of one statement.
pub async fn rows<P: Ports>(app: &App<P>, statement: Statement) -> Result<Vec<Row>, AppError> {
    let answers = app.ports.db().batch(vec![statement]).await?;
    Ok(answers
        .into_iter()
        .next()
        .map(|answer| answer.rows)
        .unwrap_or_default())
}

/// A stored JSON text; what cannot be read is `null`.
pub fn json_of(text: Option<String>) -> Value {
    text.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or(Value::Null)
}
