//! What a stage needs for its calls, worked out once per job and consumer: its model, its prompt, its schema compiled
//! and made fit for the API.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::prompts::Frame;
use super::{derived, prompts, task_row};
use crate::app::support::blobs::sha256_hex;
use crate::app::{App, AppError};
use crate::claude::capabilities::Lacks;
use crate::claude::models::{Catalogue, Model};
use crate::claude::request::{MessagesRequest, Role};
use crate::claude::worker_schema::{default_schema, in_words, wire_format};
use crate::core::admission::cache::{CacheTtl, TokenPrice};
use crate::core::estimate::prompt_tokens_at_least;
use crate::core::plan::planner;
use crate::core::plan::spec::{InputKind, Output, PLAN_STAGE, ResolvedStage, Spec, StageKind};
use crate::core::schema::Schema;
use crate::core::task::answer_room::Answers;
use crate::core::task::kind::TaskKind;
use crate::core::task::retry_policy::RequestMode;
use crate::ports::Ports;

/// A job's plan, ready to work with.
#[derive(Debug)]
pub struct JobRuntime {
    pub spec: Spec,
    pub stages: Vec<StageRuntime>,
    /// Where a dynamic job's plan is made.
    pub plan: Option<StageRuntime>,
    /// Brings results down to what the synthesis can read; `None` in a plan without one.
    pub reduce: Option<StageRuntime>,
    /// For each stage: who judges its results; `None` where the plan wants no judge.
    verify: Vec<Option<StageRuntime>>,
    /// For each stage: the models of its cascade after the first.
    above: Vec<Vec<StageRuntime>>,
    /// For each stage: who answers once more, model by model of its cascade; empty where the plan wants none.
    redo: Vec<Vec<StageRuntime>>,
}

/// One stage, ready to work with.
#[derive(Debug)]
pub struct StageRuntime {
    pub stage: ResolvedStage,
    pub purpose: TaskKind,
    /// Which model of the stage's cascade this is.
    pub tier: u32,
    pub model: Model,
    /// Decides what a result is; `None` for a synthesis in plain text.
    pub schema: Option<Schema>,
    frame: Frame,
    /// The schema as the API takes it, made when it is first asked for; `None` where it takes none.
    format: OnceLock<Option<Value>>,
    /// The same, to check answers by.
    promised: OnceLock<Option<Schema>>,
    /// The schema in words, for a request without a format.
    words: OnceLock<String>,
    /// What its calls begin with, with a format and without, where the API would keep it.
    /// `None`: nothing is ever marked.
    prefixes: Option<[OnceLock<Option<Prefix>>; 2]>,
}

/// What the calls of a stage have in common from the first byte on.
#[derive(Debug, Clone, PartialEq)]
pub struct Prefix {
    /// Tells it from every other prefix of every model, whichever job it is of.
    pub id: String,
    /// Tokens that it has at most.
    pub bound: u64,
    pub price: TokenPrice,
    /// What a mark adds to the worst case of a call, by time to live.
    pub extra: [i64; 2],
}

impl JobRuntime {
    /// Of a plan that is new: every schema is compiled, so that one that cannot be is known.
    pub fn new<P: Ports>(app: &App<P>, spec: Spec) -> Result<JobRuntime, AppError> {
        let runtime = JobRuntime::kept(app, spec)?;
        let all = runtime
            .stages
            .iter()
            .chain(&runtime.plan)
            .chain(&runtime.reduce);
        let around = runtime.verify.iter().flatten();
        let models = runtime.above.iter().chain(&runtime.redo).flatten();
        if !all.chain(around).chain(models).all(StageRuntime::is_usable) {
            let message = "the stage's schema is not usable".to_owned();
            return Err(AppError::Internal(message));
        }
        Ok(runtime)
    }

    /// Of a plan that a job has had since it came in.
    pub fn kept<P: Ports>(app: &App<P>, spec: Spec) -> Result<JobRuntime, AppError> {
        let shared = spec.context.as_deref().and_then(material);
        let make = |stage: &ResolvedStage, purpose| {
            StageRuntime::new(app, &spec, shared.as_ref(), stage, purpose)
        };
        let stages = spec
            .stages
            .iter()
            .map(|stage| make(stage, TaskKind::Work))
            .collect::<Result<_, _>>()?;
        let plan = planning_stage(app, &spec)
            .map(|stage| make(&stage, TaskKind::Work))
            .transpose()?;
        let reduce = derived::reduce_stage(&spec, app.config.defaults.worker_max_tokens)
            .map(|stage| make(&stage, TaskKind::Reduce))
            .transpose()?;
        let verify = spec
            .stages
            .iter()
            .map(|stage| {
                let judge = stage.verify.map(|_| derived::verify_stage(stage));
                judge
                    .map(|stage| make(&stage, TaskKind::Verify))
                    .transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let models = |purpose: TaskKind, of: &dyn Fn(&ResolvedStage) -> std::ops::Range<u32>| {
            let tiers = |stage: &ResolvedStage| {
                of(stage)
                    .map(|tier| make(&stage.at_tier(tier), purpose))
                    .collect::<Result<Vec<_>, _>>()
            };
            spec.stages.iter().map(tiers).collect::<Result<Vec<_>, _>>()
        };
        let above = models(TaskKind::Work, &|stage| 1..stage.tiers())?;
        let redo = models(TaskKind::Redo, &|stage| {
            let wanted = stage.kind == StageKind::Map && stage.redo_share(&spec.limits) > 0.0;
            0..if wanted { stage.tiers() } else { 0 }
        })?;
        Ok(JobRuntime {
            stages,
            plan,
            reduce,
            verify,
            above,
            redo,
            spec,
        })
    }

    /// What a task of that stage needs, for what it is there for and the model of a cascade that it has come to.
    pub fn of(&self, stage: u32, purpose: TaskKind, tier: u32) -> Option<&StageRuntime> {
        let at = usize::try_from(stage).ok()?;
        let tier = usize::try_from(tier).ok()?;
        match (purpose, tier.checked_sub(1)) {
            (TaskKind::Work, None) => self.stage(stage),
            (TaskKind::Work, Some(tier)) => self.above.get(at)?.get(tier),
            (TaskKind::Reduce, _) => self.reduce.as_ref(),
            (TaskKind::Verify, _) => self.verify.get(at)?.as_ref(),
            (TaskKind::Redo, _) => self.redo.get(at)?.get(tier),
        }
    }

    /// Who is asked next for what this model could not do.
    pub fn above(&self, stage: u32, purpose: TaskKind, tier: u32) -> Option<&StageRuntime> {
        match purpose {
            TaskKind::Work | TaskKind::Redo => self.of(stage, purpose, tier.saturating_add(1)),
            TaskKind::Verify | TaskKind::Reduce => None,
        }
    }

    /// The models of a stage's cascade after its first.
    pub fn dearer(&self, stage: &StageRuntime) -> &[StageRuntime] {
        let same = |runtime: &StageRuntime| runtime.stage.name == stage.stage.name;
        let at = self.stages.iter().position(same);
        at.and_then(|at| self.above.get(at))
            .map_or(&[], Vec::as_slice)
    }

    /// The same by the model that a call was made to.
    pub fn of_model(&self, stage: u32, purpose: TaskKind, model: &str) -> Option<&StageRuntime> {
        (0..=self.stage(stage)?.stage.tiers())
            .filter_map(|tier| self.of(stage, purpose, tier))
            .find(|runtime| runtime.model.id == model)
            .or_else(|| self.of(stage, purpose, 0))
    }

    /// The workers of this stage read the pages that the input names.
    pub fn fetches(&self, index: u32) -> bool {
        let first_map = self
            .stages
            .iter()
            .position(|runtime| runtime.stage.kind == StageKind::Map);
        self.spec.input == InputKind::Urls && first_map == usize::try_from(index).ok()
    }

    pub fn stage(&self, index: u32) -> Option<&StageRuntime> {
        if index == PLAN_STAGE {
            return self.plan.as_ref();
        }
        self.stages.get(usize::try_from(index).ok()?)
    }
}

impl StageRuntime {
    fn new<P: Ports>(
        app: &App<P>,
        spec: &Spec,
        shared: Option<&Arc<str>>,
        stage: &ResolvedStage,
        purpose: TaskKind,
    ) -> Result<StageRuntime, AppError> {
        // Checked when the job came in. One that was taken out of the configuration since is still known as
        // the release has it, so that its jobs end and their results stay readable.
        let model = match app.models.resolve(&stage.model) {
            Ok(model) => model.into_owned(),
            Err(unknown) => Catalogue::load(None)
                .ok()
                .and_then(|built_in| built_in.listed(&stage.model).cloned())
                .ok_or_else(|| AppError::Internal(unknown.to_string()))?,
        };
        let source = match stage.kind {
            StageKind::Map => Some(stage.output_schema.clone().unwrap_or_else(default_schema)),
            StageKind::Synthesis | StageKind::Plan => stage.output_schema.clone(),
        };
        let schema = source.map(Schema::found_sound);
        let prompt = match (stage.kind, purpose) {
            (_, TaskKind::Reduce) => prompts::reduce_frame(&spec.task, stage),
            (_, TaskKind::Verify) => prompts::verify_frame(&spec.task, stage),
            (_, TaskKind::Redo) => prompts::redo_frame(&spec.task, stage),
            (StageKind::Map, _) => prompts::worker_frame(&spec.task, stage),
            (StageKind::Synthesis, _) => prompts::synthesis_frame(&spec.task, stage),
            (StageKind::Plan, _) => prompts::orchestrator_frame(shared.is_some()),
        };
        let context = match &stage.context {
            Some(own) => material(own),
            None => shared.cloned(),
        };
        Ok(StageRuntime {
            words: OnceLock::new(),
            stage: stage.clone(),
            purpose,
            tier: tier_of(stage),
            model,
            schema,
            frame: Frame { prompt, context },
            format: OnceLock::new(),
            promised: OnceLock::new(),
            prefixes: app.config.cache.enabled.then(Default::default),
        })
    }

    /// What calls in that form begin with, where the API would keep it.
    pub fn prefix(&self, form: RequestMode) -> Option<&Prefix> {
        let [with_format, plain] = self.prefixes.as_ref()?;
        let known = if form.plain { plain } else { with_format };
        let made = || {
            self.shared_prefix(RequestMode {
                plain: form.plain,
                ..RequestMode::FRESH
            })
        };
        known.get_or_init(made).as_ref()
    }

    fn shared_prefix(&self, form: RequestMode) -> Option<Prefix> {
        let request = self.worker_request(form, &[], None);
        let texts: usize = request.system.iter().map(|block| block.text.len()).sum();
        let texts = u64::try_from(texts).unwrap_or(u64::MAX);
        let tokens = prompt_tokens_at_least(texts);
        if tokens < self.model.min_cacheable_tokens {
            return None;
        }
        let bound = request.prefix_bound();
        Some(Prefix {
            id: sha256_hex(&request.prefix()),
            bound,
            price: self.model.prices.prefix(),
            extra: CacheTtl::ALL.map(|ttl| nano(self.model.prices.write_extra(bound, ttl))),
        })
    }

    /// Room for a task's first answer, where that is less than the stage allows, and by how much less its call may cost then.
    /// Only where many answers are alike: not for a dearer model's few, nor for what tools bring.
    pub fn room(&self, answers: &Answers) -> Option<(u32, i64)> {
        let alike = self.stage.kind == StageKind::Map
            && self.purpose == TaskKind::Work
            && self.tier == 0
            && self.stage.tools.is_none();
        let room = answers.room(self.stage.max_tokens).filter(|_| alike)?;
        let unused = self.stage.max_tokens.saturating_sub(room);
        Some((room, nano(self.model.prices.least_saved(unused))))
    }

    /// A task of so many items is split before it is sent.
    pub fn splits(&self, answers: &Answers, items: u32) -> bool {
        self.purpose == TaskKind::Work
            && self.stage.kind == StageKind::Map
            && self.stage.output == Output::Item
            && answers.too_many(items)
    }

    /// Its results can be judged.
    pub fn is_usable(&self) -> bool {
        self.schema.as_ref().is_none_or(Schema::is_usable)
    }

    /// Bytes with which all requests of the stage begin alike, as far as they are cached together.
    pub fn shared_bytes(&self) -> u64 {
        if self.prefixes.is_none() {
            return 0;
        }
        self.shown_bytes()
    }

    /// Bytes of what every prompt of the stage shows first.
    pub fn shown_bytes(&self) -> u64 {
        let context = self.frame.context.as_ref().map_or(0, |text| text.len());
        (self.frame.prompt.len() + context) as u64
    }

    fn format(&self) -> Option<&Value> {
        let made = || {
            self.schema
                .as_ref()
                // Search results come with citations, which the API does not give together with a schema.
                .filter(|_| self.model.structured_outputs && self.stage.tools.is_none())
                .and_then(|schema| {
                    let asked = match self.stage.kind {
                        StageKind::Plan => Cow::Owned(planner::asked_schema()),
                        StageKind::Map | StageKind::Synthesis => Cow::Borrowed(schema.source()),
                    };
                    wire_format(wire_output(&self.stage), &asked).ok()
                })
        };
        self.format.get_or_init(made).as_ref()
    }

    fn words(&self) -> &str {
        let made = || {
            self.schema.as_ref().map_or_else(String::new, |schema| {
                prompts::unfenced(&in_words(wire_output(&self.stage), schema.source()))
            })
        };
        self.words.get_or_init(made)
    }

    /// What a call of this stage in that form is for.
    pub fn role(&self, form: RequestMode) -> Role {
        match (self.stage.kind, self.purpose) {
            _ if form.repair => Role::Repair,
            (_, TaskKind::Reduce) => Role::Reduce,
            (_, TaskKind::Verify) => Role::Verify,
            (StageKind::Map, _) => Role::Worker,
            (StageKind::Synthesis, _) => Role::Synthesis,
            (StageKind::Plan, _) => Role::Orchestrator,
        }
    }

    /// A worker's request for some items, `prior` being the answer to repair.
    pub fn worker_request(
        &self,
        form: RequestMode,
        items: &[Value],
        prior: Option<&Prior>,
    ) -> MessagesRequest {
        let ask = match self.purpose {
            TaskKind::Reduce => prompts::reduce,
            TaskKind::Work | TaskKind::Verify | TaskKind::Redo => prompts::worker,
        };
        let request = ask(
            self.role(RequestMode::FRESH),
            &self.stage,
            &self.frame,
            &self.model,
            self.format().cloned(),
            self.stage.max_tokens,
            items,
        );
        self.formed(request, form, prior)
    }

    /// A synthesis request over prepared results and coverage.
    pub fn synthesis_request(
        &self,
        max_tokens: u32,
        form: RequestMode,
        results: &str,
        coverage: &str,
        prior: Option<&Prior>,
    ) -> MessagesRequest {
        let request = prompts::synthesis(
            &self.stage,
            &self.frame,
            &self.model,
            self.format().cloned(),
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
        form: RequestMode,
        input: &Value,
        prior: Option<&Prior>,
    ) -> MessagesRequest {
        let request = prompts::orchestrator(
            &self.stage,
            &self.frame,
            &self.model,
            self.format().cloned(),
            max_tokens,
            input,
        );
        self.formed(request, form, prior)
    }

    fn formed(
        &self,
        request: MessagesRequest,
        form: RequestMode,
        prior: Option<&Prior>,
    ) -> MessagesRequest {
        let unsendable = self.format().is_none() && self.schema.is_some();
        let request = if form.plain || unsendable {
            request.without_format(self.words())
        } else {
            request
        };
        match prior.filter(|_| form.repair || form.resume) {
            Some(Prior::Faulty { answer, faults }) => {
                let said = prompts::repair_message(faults);
                // Not every endpoint keeps the format: the schema is shown where the prompt does not have it.
                let said = match self.schema.is_some() && !form.plain && !unsendable {
                    true => format!("{said}\n\n{}", self.words()),
                    false => said,
                };
                request.repair(&prompts::unfenced(answer), &said)
            }
            Some(Prior::Paused(blocks)) => request.resume(blocks),
            None => request,
        }
    }

    /// The request as the endpoint takes it. Its key stays that of the whole request, so what was learned of an endpoint
    /// changes no key.
    pub fn without(&self, request: MessagesRequest, lacks: Lacks) -> MessagesRequest {
        if lacks.is_empty() {
            return request;
        }
        lacks.applied(request, || Cow::Borrowed(self.words()))
    }

    /// Whether an answer has the format that its request asked for.
    pub fn has_format(&self, answer: &str) -> bool {
        let made = || self.format().cloned().map(Schema::found_sound);
        let Some(format) = self.promised.get_or_init(made) else {
            return true;
        };
        serde_json::from_str(answer).is_ok_and(|value| format.admit(value).is_ok())
    }

    /// What the ledger knows the request by.
    pub fn key(&self, request: &MessagesRequest) -> String {
        task_row::ledger_key(
            &request.identity(self.stage.max_tokens),
            self.schema.as_ref().map(Schema::source),
        )
    }
}

/// The place of a stage's model in its cascade.
fn tier_of(stage: &ResolvedStage) -> u32 {
    let at = stage.models.iter().position(|model| *model == stage.model);
    at.and_then(|at| u32::try_from(at).ok()).unwrap_or(0)
}

/// The stage in which a dynamic job is planned.
fn planning_stage<P: Ports>(app: &App<P>, spec: &Spec) -> Option<ResolvedStage> {
    let planning = spec.planning.as_ref()?;
    let defaults = &app.config.defaults;
    let model = planning.model.as_ref();
    let model = model.unwrap_or(&defaults.planning_model);
    let most = defaults.planning_max_tokens;
    Some(ResolvedStage {
        output: Output::Chunk,
        output_schema: Some(planner::answer_schema()),
        ..ResolvedStage::new(planner::PLAN, StageKind::Plan, model, most)
    })
}

/// A text as its stages are shown it; `None` where there is nothing to show.
fn material(text: &str) -> Option<Arc<str>> {
    (!text.trim().is_empty()).then(|| prompts::context(text).into())
}

/// An answer that the next call goes on from.
#[derive(Debug, Clone, PartialEq)]
pub enum Prior {
    /// It could not be used whole: what it was, and what is wrong with it.
    Faulty { answer: String, faults: Vec<String> },
    /// The model had not done with its tools: its blocks so far, as the API gave them.
    Paused(Vec<Value>),
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
    let wanted = named(ids);
    let items = items.iter().filter(|item| wanted(item));
    items.cloned().collect()
}

/// The same without a copy.
pub fn retain(items: &mut Vec<Value>, ids: &[String]) {
    let wanted = named(ids);
    items.retain(wanted);
}

/// Whether an item has one of these ids.
fn named(ids: &[String]) -> impl Fn(&Value) -> bool {
    let wanted: HashSet<&str> = ids.iter().map(String::as_str).collect();
    move |item| {
        let id = item.get("id").and_then(Value::as_str);
        id.is_some_and(|id| wanted.contains(id))
    }
}

/// The client's unsigned nano-dollars as the engine's.
pub fn nano(nano: u64) -> i64 {
    i64::try_from(nano).unwrap_or(i64::MAX)
}
