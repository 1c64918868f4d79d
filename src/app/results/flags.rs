//! What the merge found odd about results: written once per look, read by stages that select by it.

use super::aggregate::gather;
use crate::app::stage::loaded::Loaded;
use crate::app::{App, AppError};
use crate::core::results::flags::Flag;
use crate::ports::{Db, Ports};
use crate::store::stage::flags as sql;

/// Flags in one bound text of at most 2 MB.
const FLAGS_PORTION: usize = 5_000;

/// What the merge saw wrong with results, in the place of what it saw the last time.
pub async fn write_flags<P: Ports>(
    app: &App<P>,
    job: &str,
    stage: u32,
    found: &[sql::Flag],
) -> Result<(), AppError> {
    let kinds = Flag::ALL.map(Flag::as_str);
    let mut statements = vec![sql::forget(job, stage, &kinds)];
    for portion in found.chunks(FLAGS_PORTION) {
        statements.push(sql::keep(job, stage, portion));
    }
    app.ports.db().batch(statements).await?;
    Ok(())
}

/// What looks wrong in the map stages before one.
pub async fn flags_before<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: u32,
) -> Result<Vec<(u32, Vec<sql::Flag>)>, AppError> {
    Ok(gather(app, loaded, 0, stage).await?.flags)
}
