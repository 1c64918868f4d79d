//! A submit that extends an earlier job: that job is looked up, and lends its stages.

use std::collections::BTreeMap;

use super::Submit;
use crate::app::expand::carry_over::{identity, stage_of};
use crate::app::stage::loaded::Loaded;
use crate::app::stage::runtime::JobRuntime;
use crate::app::stage::{derived, lineage, loaded};
use crate::app::view::job;
use crate::app::{App, AppError};
use crate::core::plan::carry_over::Extension;
use crate::core::plan::spec::{InputKind, Mode};
use crate::ports::Ports;

pub fn fault(path: &str, message: impl Into<String>) -> AppError {
    AppError::Invalid(vec![(path.to_owned(), message.into())])
}

/// Looks the earlier job up, and gives the submit its stages where it brings none of its own.
pub async fn look_up<P: Ports>(
    app: &App<P>,
    tenant: &str,
    submit: &mut Submit,
) -> Result<Option<Loaded>, AppError> {
    let Some(base) = submit.extends.clone() else {
        return Ok(None);
    };
    let unknown = || {
        fault(
            "extends",
            "names no job of yours; one that was deleted cannot be extended any more",
        )
    };
    match job::owned(app, tenant, &base).await {
        Err(AppError::NotFound(_)) => return Err(unknown()),
        other => other?,
    };
    let base = loaded::load(app, &base).await?.ok_or_else(unknown)?;
    let state = base.job.state;
    if !state.is_terminal() {
        let message = format!(
            "the job is {}: it can be extended once it is over",
            state.as_str()
        );
        return Err(fault("extends", message));
    }
    if submit.stages.is_empty() && submit.mode == Mode::Static {
        if submit.input != base.runtime.spec.input {
            return Err(fault(
                "input",
                "is of another kind than that of the job it extends, whose stages are used",
            ));
        }
        let stages = derived::maps_then_synthesis(&base.runtime);
        submit.stages = stages.map(|runtime| runtime.stage.pinned()).collect();
        // What they look things up in decides about their results too.
        submit.context = submit.context.take().or(base.runtime.spec.context.clone());
        if submit.stages.is_empty() {
            return Err(fault(
                "extends",
                "the job never had a plan; give `stages` or a `recipe`",
            ));
        }
    }
    Ok(Some(base))
}

/// What the job of this plan can take over of the earlier one.
pub fn of(runtime: &JobRuntime, base: &Loaded) -> Result<Extension, AppError> {
    let mut work = BTreeMap::new();
    for (stage, known) in lineage::map_stages(&base.runtime) {
        if !base.runtime.fetches(stage) {
            work.entry(identity(known)).or_insert(stage);
        }
    }
    let extension = Extension {
        job: base.job.id.clone(),
        work,
    };
    let shared = runtime
        .stages
        .iter()
        .any(|runtime| stage_of(&extension, runtime).is_some());
    if !shared && runtime.spec.input != InputKind::Urls {
        return Err(fault(
            "extends",
            "no map stage of that job does the same work: instructions, output_schema, model and output must be the same for results to be taken over; leave out `stages` to use that job's",
        ));
    }
    Ok(extension)
}
