//! Whether calls go out in batches, by what a plan is expected to take.

use super::{Known, figures};
use crate::app::App;
use crate::app::stage::derived::maps_then_synthesis;
use crate::app::stage::runtime::JobRuntime;
use crate::core::estimate::profile::Profile;
use crate::core::estimate::{Expected, ExpectedStage, expected_cached};
use crate::core::job::delivery::{Choice, Question, Times, choose};
use crate::core::plan::spec::StageKind;
use crate::ports::{Clock, Ports};

pub fn times<P: Ports>(app: &App<P>) -> Times {
    Times {
        batch_ms: app.config.batches.expected_ms,
        cancel_ms: app.config.batches.cancel_ms,
    }
}

/// What is chosen for a plan, and why; `None` for a job that is plainly live.
pub fn of<P: Ports>(
    app: &App<P>,
    runtime: &JobRuntime,
    profile: &Profile,
    known: &Known,
    deadline_at: Option<i64>,
) -> Option<Choice> {
    let figures = figures(app, runtime, profile, &runtime.spec.limits, known, None);
    over(app, runtime, &expected_cached(&figures), deadline_at)
}

/// The same for what the plan takes if it goes out live.
pub fn over<P: Ports>(
    app: &App<P>,
    runtime: &JobRuntime,
    live: &Expected,
    deadline_at: Option<i64>,
) -> Option<Choice> {
    let spec = &runtime.spec;
    if spec.delivery.is_live() || spec.stages.is_empty() {
        return None;
    }
    Some(choose(&Question {
        asked: spec.delivery,
        now: app.ports.clock().now_ms(),
        deadline_at,
        limit_usd: spec.limits.max_cost_usd,
        expected: live,
        batchable: &batchable(runtime, live),
        percent: percent(runtime),
        times: times(app),
    }))
}

/// For each of the expected stages: whether its calls may go out in batches.
pub fn batchable(runtime: &JobRuntime, expected: &Expected) -> Vec<bool> {
    // The tree of a synthesis has the synthesis' name, and comes before it; what goes to a cascade's dearer model has its name besides.
    let may = |(at, stage): (usize, &ExpectedStage)| {
        let name = stage.stage.split(" (").next().unwrap_or_default();
        let runtime = maps_then_synthesis(runtime).find(|runtime| runtime.stage.name == name);
        runtime.is_some_and(|runtime| runtime.stage.kind == StageKind::Map)
            || (runtime.is_some() && at + 1 < expected.stages.len())
    };
    expected.stages.iter().enumerate().map(may).collect()
}

/// What a batch costs. Models of one plan may differ; the least of their discounts is the one to count on.
pub fn percent(runtime: &JobRuntime) -> u64 {
    let maps = runtime
        .stages
        .iter()
        .filter(|stage| stage.stage.kind == StageKind::Map);
    let percents = maps.map(|stage| stage.model.prices.batch_percent);
    percents.max().unwrap_or(100)
}
