//! Whether the calls of a job go out in batches: decided once, when its work begins, with what is known by then. And when
//! a batch job must go live, so that what is left is done by the deadline.

use super::super::drive::Loaded;
use super::super::estimate::{self, Known, maps_then_synthesis};
use super::super::kit::Kit;
use super::super::{App, AppError, log, plan};
use crate::core::delivery::{Choice, Delivery, Question, Times, choose, live_from};
use crate::core::estimate::{Expected, ExpectedStage, expected_cached};
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
    known: &Known,
    deadline_at: Option<i64>,
) -> Option<Choice> {
    let figures = estimate::figures(app, kit, profile, &kit.spec.limits, known, None);
    over(app, kit, &expected_cached(&figures), deadline_at)
}

/// The same for what the plan takes if it goes out live.
pub fn over<P: Ports>(
    app: &App<P>,
    kit: &Kit,
    live: &Expected,
    deadline_at: Option<i64>,
) -> Option<Choice> {
    let spec = &kit.spec;
    if spec.delivery.is_live() || spec.stages.is_empty() {
        return None;
    }
    Some(choose(&Question {
        asked: spec.delivery,
        now: app.ports.clock().now_ms(),
        deadline_at,
        limit_usd: spec.limits.max_cost_usd,
        expected: live,
        batchable: &batchable(kit, live),
        percent: percent(kit),
        times: times(app),
    }))
}

/// For each of the expected stages: whether its calls may go out in batches.
pub fn batchable(kit: &Kit, expected: &Expected) -> Vec<bool> {
    // The tree of a synthesis has the synthesis' name, and comes before it; what goes to a cascade's dearer model has its name besides.
    let may = |(at, stage): (usize, &ExpectedStage)| {
        let name = stage.stage.split(" (").next().unwrap_or_default();
        let kit = maps_then_synthesis(kit).find(|kit| kit.stage.name == name);
        kit.is_some_and(|kit| kit.stage.kind == StageKind::Map)
            || (kit.is_some() && at + 1 < expected.stages.len())
    };
    expected.stages.iter().enumerate().map(may).collect()
}

/// What a batch costs. Models of one plan may differ; the least of their discounts is the one to count on.
pub fn percent(kit: &Kit) -> u64 {
    let maps = kit
        .stages
        .iter()
        .filter(|stage| stage.stage.kind == StageKind::Map);
    let percents = maps.map(|stage| stage.model.prices.batch_percent);
    percents.max().unwrap_or(100)
}

/// Decides, and writes it down, where that is still to be done. True where it was.
pub async fn decide<P: Ports>(app: &App<P>, loaded: &Loaded) -> Result<bool, AppError> {
    let job = &loaded.job;
    if job.delivery != Delivery::UNDECIDED {
        return Ok(false);
    }
    let (_, profile) = plan::history(app, &job.id).await?;
    let known = Known::of(app, &job.tenant, &loaded.kit).await?;
    let choice = of(app, &loaded.kit, &profile, &known, job.deadline_at).unwrap_or_default();
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
