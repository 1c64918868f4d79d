//! What a stage needs for its calls, worked out once per job and consumer: its model, its prompt, its schema compiled
//! and made fit for the API.

use serde_json::Value;

use super::{App, AppError, ask, expand};
use crate::claude::models::{Catalogue, Model};
use crate::claude::request::{MessagesRequest, Role};
use crate::claude::worker_schema::{default_schema, in_words, wire_format};
use crate::core::plan::{Chunk, Merge, Output, PLAN_STAGE, ResolvedStage, Spec, StageKind};
use crate::core::planner;
use crate::core::schema::Schema;
use crate::core::verdict::Form;
use crate::ports::Ports;

/// A job's plan, ready to work with.
#[derive(Debug)]
pub struct Kit {
    pub spec: Spec,
    pub stages: Vec<StageKit>,
    /// Where a dynamic job's plan is made.
    pub plan: Option<StageKit>,
}

/// One stage, ready to work with.
#[derive(Debug)]
pub struct StageKit {
    pub stage: ResolvedStage,
    pub model: Model,
    /// Decides what a result is; `None` for a synthesis in plain text.
    pub schema: Option<Schema>,
    frame: String,
    /// The schema as the API takes it; `None` where it takes none.
    format: Option<Value>,
    /// The schema in words, for a request without a format.
    words: String,
}

impl Kit {
    pub fn new<P: Ports>(app: &App<P>, spec: Spec) -> Result<Kit, AppError> {
        let stages = spec
            .stages
            .iter()
            .map(|stage| StageKit::new(app, &spec, stage))
            .collect::<Result<_, _>>()?;
        let plan = planning_stage(app, &spec)
            .map(|stage| StageKit::new(app, &spec, &stage))
            .transpose()?;
        Ok(Kit { spec, stages, plan })
    }

    pub fn stage(&self, index: u32) -> Option<&StageKit> {
        if index == PLAN_STAGE {
            return self.plan.as_ref();
        }
        self.stages.get(usize::try_from(index).ok()?)
    }
}

impl StageKit {
    fn new<P: Ports>(
        app: &App<P>,
        spec: &Spec,
        stage: &ResolvedStage,
    ) -> Result<StageKit, AppError> {
        // Checked when the job came in. One that was taken out of the configuration since is still known as
        // the release has it, so that its jobs end and their results stay readable.
        let model = match app.models.resolve(&stage.model) {
            Ok(model) => model.clone(),
            Err(unknown) => Catalogue::load(None)
                .ok()
                .and_then(|built_in| built_in.resolve(&stage.model).ok().cloned())
                .ok_or_else(|| AppError::Unavailable(unknown.to_string()))?,
        };
        let source = match stage.kind {
            StageKind::Map => Some(stage.output_schema.clone().unwrap_or_else(default_schema)),
            StageKind::Synthesis | StageKind::Plan => stage.output_schema.clone(),
        };
        let schema = source
            .as_ref()
            .map(Schema::compile)
            .transpose()
            .map_err(|_| AppError::Unavailable("the stage's schema is not usable".into()))?;
        let output = wire_output(stage);
        let format = source
            .as_ref()
            .filter(|_| model.structured_outputs)
            .and_then(|source| wire_format(output, source).ok());
        let frame = match stage.kind {
            StageKind::Map => ask::worker_frame(stage),
            StageKind::Synthesis => ask::synthesis_frame(&spec.task, stage),
            StageKind::Plan => ask::orchestrator_frame(),
        };
        Ok(StageKit {
            words: source
                .as_ref()
                .map(|source| ask::unfenced(&in_words(output, source)))
                .unwrap_or_default(),
            stage: stage.clone(),
            model,
            schema,
            frame,
            format,
        })
    }

    /// What a call of this stage in that form is for.
    pub fn role(&self, form: Form) -> Role {
        match self.stage.kind {
            _ if form.repair => Role::Repair,
            StageKind::Map => Role::Worker,
            StageKind::Synthesis => Role::Synthesis,
            StageKind::Plan => Role::Orchestrator,
        }
    }

    /// A worker's request for some items, `prior` being the answer to repair.
    pub fn worker_request(
        &self,
        form: Form,
        items: &[Value],
        prior: Option<&Prior>,
    ) -> MessagesRequest {
        let request = ask::worker(
            &self.stage,
            &self.frame,
            &self.model,
            self.format.clone(),
            self.stage.max_tokens,
            items,
        );
        self.formed(request, form, prior)
    }

    /// A synthesis request over prepared results and coverage.
    pub fn synthesis_request(
        &self,
        max_tokens: u32,
        form: Form,
        results: &str,
        coverage: &str,
        prior: Option<&Prior>,
    ) -> MessagesRequest {
        let request = ask::synthesis(
            &self.stage,
            &self.frame,
            &self.model,
            self.format.clone(),
            max_tokens,
            results,
            coverage,
        );
        self.formed(request, form, prior)
    }

    /// What the orchestrator is asked: `input` holds the message, and the answer that could not be carried out with
    /// what is wrong with it, where there was one.
    pub fn plan_request(
        &self,
        max_tokens: u32,
        form: Form,
        input: &Value,
        prior: Option<&Prior>,
    ) -> MessagesRequest {
        let request = ask::orchestrator(
            &self.stage,
            &self.frame,
            &self.model,
            self.format.clone(),
            max_tokens,
            input,
        );
        self.formed(request, form, prior)
    }

    fn formed(
        &self,
        request: MessagesRequest,
        form: Form,
        prior: Option<&Prior>,
    ) -> MessagesRequest {
        let unsendable = self.format.is_none() && self.schema.is_some();
        let request = if form.plain || unsendable {
            request.without_format(&self.words)
        } else {
            request
        };
        match prior.filter(|_| form.repair) {
            Some(prior) => request.repair(
                &ask::unfenced(&prior.answer),
                &ask::repair_message(&prior.faults),
            ),
            None => request,
        }
    }

    /// What the ledger knows the request by.
    pub fn key(&self, request: &MessagesRequest) -> String {
        expand::ledger_key(
            &request.identity(),
            self.schema.as_ref().map(Schema::source),
        )
    }
}

/// The stage in which a dynamic job is planned.
fn planning_stage<P: Ports>(app: &App<P>, spec: &Spec) -> Option<ResolvedStage> {
    let planning = spec.planning.as_ref()?;
    let defaults = &app.config.defaults;
    Some(ResolvedStage {
        name: planner::PLAN.to_owned(),
        kind: StageKind::Plan,
        instructions: String::new(),
        output: Output::Chunk,
        output_schema: Some(planner::answer_schema()),
        chunk: Chunk { items: 1 },
        group_by: None,
        model: planning
            .model
            .clone()
            .unwrap_or_else(|| defaults.planning_model.clone()),
        max_tokens: defaults.planning_max_tokens,
        effort: None,
        merge: Merge::default(),
    })
}

/// An answer that could not be used whole, and what is wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior {
    pub answer: String,
    pub faults: Vec<String>,
}

/// How a stage's answers are wrapped: a synthesis is one result.
pub fn wire_output(stage: &ResolvedStage) -> Output {
    match stage.kind {
        StageKind::Map => stage.output,
        StageKind::Synthesis | StageKind::Plan => Output::Chunk,
    }
}

/// The items of those ids, in the input's order.
pub fn only(items: &[Value], ids: &[String]) -> Vec<Value> {
    let wanted: std::collections::HashSet<&str> = ids.iter().map(String::as_str).collect();
    items
        .iter()
        .filter(|item| {
            item.get("id")
                .and_then(Value::as_str)
                .is_some_and(|id| wanted.contains(id))
        })
        .cloned()
        .collect()
}

/// The client's unsigned nano-dollars as the engine's.
pub fn nano(nano: u64) -> i64 {
    i64::try_from(nano).unwrap_or(i64::MAX)
}
