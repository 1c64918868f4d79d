//! Whether the calls of a job go out in batches: decided once, when its work begins, with what is known by then. And when
//! a batch job must go live, so that what is left is done by the deadline.

use super::super::drive::Loaded;
use super::super::estimate::{self, Paces, maps_then_synthesis};
use super::super::kit::Kit;
use super::super::{App, AppError, log, plan};
use crate::core::delivery::{Choice, Delivery, Question, Times, choose, live_from};
use crate::core::plan::StageKind;
use crate::core::profile::Profile;
use crate::ports::{Clock, Db, Ports};
use crate::store::batches as sql;

fn times<P: Ports>(app: &App<P>) -> Times {
    Times {
        batch_ms: app.config.batches.expected_ms,
        cancel_ms: app.config.batches.cancel_ms,
    }
}

/// What is chosen for a plan, and why; `None` for a job that is plainly live.
pub fn of<P: Ports>(
    app: &App<P>,
    kit: &Kit,
    profile: &Profile,
    paces: &Paces,
    deadline_at: Option<i64>,
) -> Option<Choice> {
    let spec = &kit.spec;
    if spec.delivery.is_live() || spec.stages.is_empty() {
        return None;
    }
    let expected = estimate::expected(app, kit, profile, &spec.limits, paces);
    // The tree of a synthesis has the synthesis' name, and comes before it.
    let batchable: Vec<bool> = expected
        .stages
        .iter()
        .enumerate()
        .map(|(at, stage)| {
            let kit = maps_then_synthesis(kit).find(|kit| kit.stage.name == stage.stage);
            kit.is_some_and(|kit| kit.stage.kind == StageKind::Map)
                || (kit.is_some() && at + 1 < expected.stages.len())
        })
        .collect();
    // Models of one plan may differ; the least of their discounts is the one to count on.
    let percent = kit
        .stages
        .iter()
        .filter(|stage| stage.stage.kind == StageKind::Map)
        .map(|stage| stage.model.prices.batch_percent)
        .max();
    Some(choose(&Question {
        asked: spec.delivery,
        now: app.ports.clock().now_ms(),
        deadline_at,
        limit_usd: spec.limits.max_cost_usd,
        expected: &expected,
        batchable: &batchable,
        percent: percent.unwrap_or(100),
        times: times(app),
    }))
}

/// Decides, and writes it down, where that is still to be done. True where it was.
pub async fn decide<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<bool, AppError> {
    let job = &loaded.job;
    if job.delivery != Delivery::UNDECIDED {
        return Ok(false);
    }
    let (_, profile) = plan::history(app, &job.id).await?;
    let paces = Paces::known(app).await?;
    let choice = of(app, &loaded.kit, &profile, &paces, job.deadline_at).unwrap_or_default();
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
        .filter(|stage| stage.kind == StageKind::Map.as_str() || stage.level > 0);
    let shares: Vec<f64> = maps
        .map(|stage| {
            if stage.state == "done" {
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
