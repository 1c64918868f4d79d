//! Whether the calls of a job go out in batches: decided once, when its work begins, with what is known by then. And when
//! a batch job must go live, so that what is left is done by the deadline.

use crate::app::estimate::Known;
use crate::app::estimate::delivery::{of, times};
use crate::app::planning::history;
use crate::app::stage::loaded::Loaded;
use crate::app::support::log;
use crate::app::{App, AppError};
use crate::core::job::delivery::{Delivery, live_from};
use crate::core::job::stage_step::StageState;
use crate::core::plan::spec::StageKind;
use crate::ports::{Clock, Db, Ports};
use crate::store::task::batches as sql;

/// Decides, and writes it down, where that is still to be done. True where it was.
pub async fn decide<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<bool, AppError> {
    let job = &loaded.job;
    if job.delivery != Delivery::UNDECIDED {
        return Ok(false);
    }
    let (_, profile) = history::history(app, &job.id).await?;
    let known = Known::of(app, &job.tenant, &loaded.runtime).await?;
    let choice = of(app, &loaded.runtime, &profile, &known, job.deadline_at).unwrap_or_default();
    let text = serde_json::to_string(&choice).unwrap_or_default();
    let chosen = choice.chosen.as_str();
    app.ports
        .db()
        .batch(sql::choose(&job.id, chosen, &text))
        .await?;
    app.log_job(
        &job.id,
        "delivery",
        serde_json::json!({"asked": choice.asked, "chosen": chosen, "why": choice.why}),
    );
    Ok(true)
}

/// A job that is to go live does: what waits for a batch is let go. True where that is news.
pub async fn hold<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<bool, AppError> {
    let job = &loaded.job;
    if job.delivery == Delivery::Live.as_str() {
        // What comes back from batches that were cancelled waits for another that never goes.
        app.ports.db().batch(vec![sql::release(&job.id)]).await?;
        return Ok(false);
    }
    let now = app.ports.clock().now_ms();
    let due = job.deadline_at.zip(job.choice.as_ref());
    let due = due.is_some_and(|(deadline_at, choice)| {
        live_from(deadline_at, choice.left, open(loaded), times(app)) <= now
    });
    if !due {
        return Ok(false);
    }
    let answers = app.ports.db().batch(sql::go_live(&job.id, now)).await?;
    log::moved(app, &answers, "deadline_near");
    app.log_job(&job.id, "gone_live", serde_json::json!({}));
    Ok(true)
}

/// The share of the work that is not done yet, stage by stage.
fn open(loaded: &Loaded) -> f64 {
    let maps = loaded
        .stages
        .iter()
        .filter(|stage| stage.kind == StageKind::Map || stage.level > 0);
    let shares: Vec<f64> = maps
        .map(|stage| {
            if stage.state == StageState::Done {
                return 0.0;
            }
            let all =
                stage.open() + stage.succeeded + stage.failed + stage.skipped + stage.cancelled;
            if stage.expanded && all > 0 {
                f64::from(stage.open()) / f64::from(all)
            } else {
                1.0
            }
        })
        .collect();
    if shares.is_empty() {
        return 1.0;
    }
    shares.iter().sum::<f64>() / shares.len() as f64
}
