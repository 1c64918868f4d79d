//! What each model of a cascade did, and what it saved to ask the cheap one first. Worked out from the rows when a report
//! is read; nothing is counted along the way.

use crate::app::stage::loaded::Loaded;
use crate::app::stage::runtime::StageRuntime;
use crate::app::support::db;
use crate::app::view::{Cascade, ModelShare};
use crate::app::{App, AppError};
use crate::claude::models::{Model, Rates};
use crate::core::value::money::Nano;
use crate::ports::Ports;
use crate::store::row::{Columns, Row};
use crate::store::stage::checks as sql;

/// The cascades of a job's plan.
pub async fn cascades<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<Vec<Cascade>, AppError> {
    let mut all = Vec::new();
    for (stage, runtime) in (0_u32..).zip(&loaded.runtime.stages) {
        if runtime.stage.is_cascade() {
            all.push(cascade(app, loaded, stage, runtime).await?);
        }
    }
    Ok(all)
}

async fn cascade<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
    stage: u32,
    runtime: &StageRuntime,
) -> Result<Cascade, AppError> {
    let job = &loaded.job.id;
    let results = db::rows(app, sql::results_by_tier(job, stage)).await?;
    let replaced = db::rows(app, sql::replaced_by_tier(job, stage)).await?;
    let calls = db::rows(app, sql::calls_by_model(job, stage)).await?;
    let of = |rows: &[Row], column: &str, tier: u32| -> u64 {
        let rows = rows.iter().filter(|row| row.count(column) == tier);
        rows.map(|row| row.tokens("items")).sum()
    };
    let mut models = Vec::new();
    for (tier, model) in (0_u32..).zip(&runtime.stage.models) {
        let own = of(&results, "tier", tier) + of(&replaced, "now", tier);
        let row = calls.iter().filter(|row| row.text("model") == *model);
        models.push(ModelShare {
            model: model.clone(),
            results: own.saturating_sub(of(&replaced, "was", tier)),
            share: 0.0,
            calls: row.clone().map(|row| row.tokens("calls")).sum(),
            cost_usd: Nano(row.map(|row| row.int("cost")).sum()).usd(),
        });
    }
    let all: u64 = models.iter().map(|model| model.results).sum();
    for model in &mut models {
        model.share = model.results as f64 / all.max(1) as f64;
    }
    let spent: i64 = calls.iter().map(|row| row.int("cost")).sum();
    let last = runtime.stage.models.last();
    let last = last.and_then(|last| app.models.resolve(last).ok());
    let first = calls
        .iter()
        .find(|row| row.text("model") == runtime.model.id);
    let instead = match (first, last) {
        (Some(first), Some(last)) => instead(first, &runtime.model, &last),
        _ => 0.0,
    };
    Ok(Cascade {
        stage: runtime.stage.name.clone(),
        models,
        saved_usd: Nano((instead - spent as f64) as i64).usd(),
    })
}

/// Nano-dollars that the first model's own calls would have cost with the last one: by the list prices of both, so that what
/// made them cheaper or dearer than those (a batch, a region) counts for both alike.
fn instead(row: &Row, first: &Model, last: &Model) -> f64 {
    let tokens = |name: &str| row.tokens(name) as f64;
    let list = |rates: &Rates| {
        tokens("input") * rates.input as f64
            + tokens("cache_read") * rates.cache_read as f64
            + tokens("cache_write") * rates.cache_write_5m as f64
            + tokens("output") * rates.output as f64
    };
    let listed = list(&first.prices.standard);
    if listed <= 0.0 {
        return 0.0;
    }
    row.int("first_cost") as f64 / listed * list(&last.prices.standard)
}
