//! What a plan will take, from its prompts, its models' prices, the input's profile, the limits now known, and what earlier stages of
//! the same shape took. Nothing is called and nothing is written.
//!
//! [`figures`] turns a plan into figures, with a room each for what reaches a stage ([`flow`]), for maps ([`map`]) and for what stands
//! around them ([`report`]); [`learned`] has what earlier stages took; what the figures come to is worked out in
//! [`crate::core::estimate`].

pub mod delivery;
mod map_stage;

mod figures;
mod flow;
pub mod learned;
mod report;

use std::collections::HashMap;

pub use self::figures::figures;
pub use self::learned::{Earlier, shapes};
use crate::app::stage::runtime::{JobRuntime, StageRuntime};
use crate::app::{App, AppError};
use crate::core::estimate::alternatives::Alternative;
use crate::core::estimate::profile::Profile;
use crate::core::estimate::{Expected, Figures, Pace, alternatives, expected_cached};
use crate::core::job::delivery::{Delivery, in_batches};
use crate::core::plan::spec::{Limits, ResolvedStage, StageKind};
use crate::ports::{Db, Ports};
use crate::store::job::measures;
use crate::store::read::listing;
use crate::store::task::admission::ClassRow;

/// What an estimate goes by besides the plan and its input: how fast each class of models may be called, and what earlier stages of
/// the shapes of these took, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Known {
    classes: HashMap<String, ClassRow>,
    tenant: String,
    earlier: HashMap<String, Earlier>,
}

impl Known {
    /// As it stands: one round trip, and of each stage a few rows.
    pub async fn of<P: Ports>(
        app: &App<P>,
        tenant: &str,
        runtime: &JobRuntime,
    ) -> Result<Known, AppError> {
        let shapes: Vec<String> = shapes(tenant, runtime)
            .into_iter()
            .map(|(_, shape)| shape)
            .collect();
        let statements = vec![listing::limits(), measures::earlier(&shapes)];
        let mut answers = app.ports.db().batch(statements).await?.into_iter();
        let mut rows = || answers.next().unwrap_or_default().rows;
        let classes = rows().iter().map(ClassRow::read).collect::<Vec<_>>();
        let earlier = rows().iter().map(Earlier::read).collect();
        Ok(Known {
            classes: classes
                .into_iter()
                .map(|row| (row.class.name.clone(), row))
                .collect(),
            tenant: tenant.to_owned(),
            earlier,
        })
    }

    fn earlier(&self, runtime: &StageRuntime) -> Option<&Earlier> {
        if self.earlier.is_empty() {
            return None;
        }
        self.earlier.get(&learned::shape(&self.tenant, runtime)?)
    }

    fn pace(&self, class: &str, concurrency: u32, governor_start: u32) -> Pace {
        let known = self.classes.get(class).map(|row| &row.class);
        let known = known.filter(|class| class.seen);
        let Some(class) = known else {
            return Pace {
                concurrency: concurrency.min(governor_start).max(1),
                limits: None,
            };
        };
        let window = class.window.map_or(u32::MAX, |window| window as u32);
        let limits = (class.requests.limit, class.input.limit, class.output.limit);
        Pace {
            concurrency: concurrency.min(window).max(1),
            limits: (limits.0 > 0.0).then_some(limits),
        }
    }
}

/// What the job's plan is expected to take, as its calls will go out.
pub fn expected<P: Ports>(
    app: &App<P>,
    runtime: &JobRuntime,
    profile: &Profile,
    known: &Known,
    deadline_at: Option<i64>,
) -> Expected {
    let figures = figures(app, runtime, profile, &runtime.spec.limits, known, None);
    delivered(app, runtime, &figures, deadline_at)
}

/// What these stages of the plan are expected to take, live or in batches.
pub fn delivered<P: Ports>(
    app: &App<P>,
    runtime: &JobRuntime,
    figures: &[Figures],
    deadline_at: Option<i64>,
) -> Expected {
    let live = expected_cached(figures);
    let Some(choice) = delivery::over(app, runtime, &live, deadline_at) else {
        return live;
    };
    if choice.chosen != Delivery::Batch {
        return live;
    }
    let batchable = delivery::batchable(runtime, &live);
    in_batches(
        live,
        &batchable,
        delivery::percent(runtime),
        deadline_at.is_some(),
    )
}

/// What the job costs in other ways.
pub fn alternatives<P: Ports>(
    app: &App<P>,
    runtime: &JobRuntime,
    profile: &Profile,
    limits: &Limits,
    known: &Known,
) -> Result<Vec<Alternative>, AppError> {
    let with = |stages: Vec<ResolvedStage>| -> Result<Vec<Figures>, AppError> {
        let mut spec = runtime.spec.clone();
        spec.stages = stages;
        let runtime = JobRuntime::new(app, spec)?;
        Ok(figures(app, &runtime, profile, limits, known, None))
    };
    let stages = &runtime.spec.stages;
    let alone = stages.iter().map(|stage| ResolvedStage {
        model: stage.models.last().unwrap_or(&stage.model).clone(),
        models: Vec::new(),
        ..stage.clone()
    });
    let single = with(alone.collect())?;
    let cheap = app.models.resolve(&app.config.defaults.worker_model).ok();
    let before = |stage: &ResolvedStage| {
        let (cheap, own) = (cheap.as_ref()?, app.models.resolve(&stage.model).ok()?);
        let dearer = own.prices.standard.output > cheap.prices.standard.output;
        let fits = stage.max_tokens <= cheap.max_output_tokens
            && own.context_tokens >= cheap.context_tokens;
        let first = stage.kind == StageKind::Map && !stage.is_cascade() && dearer && fits;
        first.then(|| vec![cheap.id.clone(), own.id.clone()])
    };
    let mut any = stages.iter().any(ResolvedStage::is_cascade);
    let cascades = stages.iter().map(|stage| match before(stage) {
        Some(models) => {
            any = true;
            ResolvedStage {
                model: models.first().unwrap_or(&stage.model).clone(),
                models,
                ..stage.clone()
            }
        }
        None => stage.clone(),
    });
    let cascades: Vec<ResolvedStage> = cascades.collect();
    let cascade = any.then(|| with(cascades)).transpose()?;
    Ok(alternatives::table(&single, cascade.as_deref()))
}
