//! Rounds of planning, and the profile of a job's input.

use crate::app::{App, AppError};
use crate::core::estimate::profile::Profile;
use crate::ports::{Db, Ports};
use crate::store::job::plans;
use crate::store::job::plans::Round;
use crate::store::row::Columns;

/// The rounds of a job, and the profile of its input.
pub async fn history<P: Ports>(app: &App<P>, id: &str) -> Result<(Vec<Round>, Profile), AppError> {
    let answers = app.ports.db().batch(plans::load(id)).await?;
    let rounds = answers
        .first()
        .map(|answer| plans::rounds(&answer.rows))
        .unwrap_or_default();
    let profile = answers
        .get(1)
        .and_then(|answer| answer.rows.first())
        .and_then(|row| row.json("profile"))
        .unwrap_or_default();
    Ok((rounds, profile))
}
