//! What a stage needs for its calls, worked out once per job and consumer: its model, its prompt, its schema compiled
//! and made fit for the API.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::ask::Frame;
use super::bodies::sha256_hex;
use super::{App, AppError, ask, check, expand, reduce};
use crate::claude::models::{Catalogue, Model};
use crate::claude::request::{MessagesRequest, Role};
use crate::claude::worker_schema::{default_schema, in_words, wire_format};
use crate::core::cache::{CacheTtl, TokenPrice};
use crate::core::estimate::prompt_tokens_at_least;
use crate::core::plan::{
    Chunk, InputKind, Merge, Output, PLAN_STAGE, ResolvedStage, Spec, StageKind,
};
use crate::core::planner;
use crate::core::purpose::Purpose;
use crate::core::schema::Schema;
use crate::core::size::Answers;
use crate::core::verdict::Form;
use crate::ports::Ports;

/// A job's plan, ready to work with.
#[derive(Debug)]
pub struct Kit {
    pub spec: Spec,
    pub stages: Vec<StageKit>,
    /// Where a dynamic job's plan is made.
    pub plan: Option<StageKit>,
    /// Brings results down to what the synthesis can read; `None` in a plan without one.
    pub reduce: Option<StageKit>,
    /// For each stage: who judges its results; `None` where the plan wants no judge.
    verify: Vec<Option<StageKit>>,
    /// For each stage: the models of its cascade after the first.
    above: Vec<Vec<StageKit>>,
    /// For each stage: who answers once more, model by model of its cascade; empty where the plan wants none.
    redo: Vec<Vec<StageKit>>,
}

/// One stage, ready to work with.
#[derive(Debug)]
pub struct StageKit {
    pub stage: ResolvedStage,
    pub purpose: Purpose,
    /// Which model of the stage's cascade this is.
    pub tier: u32,
    pub model: Model,
    /// Decides what a result is; `None` for a synthesis in plain text.
    pub schema: Option<Schema>,
    frame: Frame,
    /// The schema as the API takes it, made when it is first asked for; `None` where it takes none.
    format: OnceLock<Option<Value>>,
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

impl Kit {
    /// Of a plan that is new: every schema is compiled, so that one that cannot be is known.
    pub fn new<P: Ports>(app: &App<P>, spec: Spec) -> Result<Kit, AppError> {
        let kit = Kit::kept(app, spec)?;
        let all = kit.stages.iter().chain(&kit.plan).chain(&kit.reduce);
        let around = kit.verify.iter().flatten();
        let models = kit.above.iter().chain(&kit.redo).flatten();
        if !all.chain(around).chain(models).all(StageKit::is_usable) {
            let message = "the stage's schema is not usable".to_owned();
            return Err(AppError::Unavailable(message));
        }
        Ok(kit)
    }

    /// Of a plan that a job has had since it came in.
    pub fn kept<P: Ports>(app: &App<P>, spec: Spec) -> Result<Kit, AppError> {
        let shared = spec.context.as_deref().and_then(material);
        let make = |stage: &ResolvedStage, purpose| {
            StageKit::new(app, &spec, shared.as_ref(), stage, purpose)
        };
        let stages = spec
            .stages
            .iter()
            .map(|stage| make(stage, Purpose::Work))
            .collect::<Result<_, _>>()?;
        let plan = planning_stage(app, &spec)
            .map(|stage| make(&stage, Purpose::Work))
            .transpose()?;
        let reduce = reduce::stage(&spec, app.config.defaults.worker_max_tokens)
            .map(|stage| make(&stage, Purpose::Reduce))
            .transpose()?;
        let verify = spec
            .stages
            .iter()
            .map(|stage| {
                let judge = stage.verify.map(|_| check::judge(stage));
                judge.map(|stage| make(&stage, Purpose::Verify)).transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let models = |purpose: Purpose, of: &dyn Fn(&ResolvedStage) -> std::ops::Range<u32>| {
            let tiers = |stage: &ResolvedStage| {
                of(stage)
                    .map(|tier| make(&stage.at_tier(tier), purpose))
                    .collect::<Result<Vec<_>, _>>()
            };
            spec.stages.iter().map(tiers).collect::<Result<Vec<_>, _>>()
        };
        let above = models(Purpose::Work, &|stage| 1..stage.tiers())?;
        let redo = models(Purpose::Redo, &|stage| {
            let wanted = stage.kind == StageKind::Map && stage.redo_share(&spec.limits) > 0.0;
            0..if wanted { stage.tiers() } else { 0 }
        })?;
        Ok(Kit {
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
    pub fn of(&self, stage: u32, purpose: Purpose, tier: u32) -> Option<&StageKit> {
        let at = usize::try_from(stage).ok()?;
        let tier = usize::try_from(tier).ok()?;
        match (purpose, tier.checked_sub(1)) {
            (Purpose::Work, None) => self.stage(stage),
            (Purpose::Work, Some(tier)) => self.above.get(at)?.get(tier),
            (Purpose::Reduce, _) => self.reduce.as_ref(),
            (Purpose::Verify, _) => self.verify.get(at)?.as_ref(),
            (Purpose::Redo, _) => self.redo.get(at)?.get(tier),
        }
    }

    /// Who is asked next for what this model could not do.
    pub fn above(&self, stage: u32, purpose: Purpose, tier: u32) -> Option<&StageKit> {
        match purpose {
            Purpose::Work | Purpose::Redo => self.of(stage, purpose, tier.saturating_add(1)),
            Purpose::Verify | Purpose::Reduce => None,
        }
    }

    /// The models of a stage's cascade after its first.
    pub fn dearer(&self, stage: &StageKit) -> &[StageKit] {
        let same = |kit: &StageKit| kit.stage.name == stage.stage.name;
        let at = self.stages.iter().position(same);
        at.and_then(|at| self.above.get(at))
            .map_or(&[], Vec::as_slice)
    }

    /// The same by the model that a call was made to.
    pub fn of_model(&self, stage: u32, purpose: Purpose, model: &str) -> Option<&StageKit> {
        (0..=self.stage(stage)?.stage.tiers())
            .filter_map(|tier| self.of(stage, purpose, tier))
            .find(|kit| kit.model.id == model)
            .or_else(|| self.of(stage, purpose, 0))
    }

    /// The workers of this stage read the pages that the input names.
    pub fn fetches(&self, index: u32) -> bool {
        let first_map = self
            .stages
            .iter()
            .position(|kit| kit.stage.kind == StageKind::Map);
        self.spec.input == InputKind::Urls && first_map == usize::try_from(index).ok()
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
        shared: Option<&Arc<str>>,
        stage: &ResolvedStage,
        purpose: Purpose,
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
        let schema = source.map(Schema::found_sound);
        let prompt = match (stage.kind, purpose) {
            (_, Purpose::Reduce) => ask::reduce_frame(&spec.task, stage),
            (_, Purpose::Verify) => ask::verify_frame(stage),
            (_, Purpose::Redo) => ask::redo_frame(stage),
            (StageKind::Map, _) => ask::worker_frame(stage),
            (StageKind::Synthesis, _) => ask::synthesis_frame(&spec.task, stage),
            (StageKind::Plan, _) => ask::orchestrator_frame(shared.is_some()),
        };
        let context = match &stage.context {
            Some(own) => material(own),
            None => shared.cloned(),
        };
        Ok(StageKit {
            words: OnceLock::new(),
            stage: stage.clone(),
            purpose,
            tier: tier_of(stage),
            model,
            schema,
            frame: Frame { prompt, context },
            format: OnceLock::new(),
            prefixes: app.config.cache.enabled.then(Default::default),
        })
    }

    /// What calls in that form begin with, where the API would keep it.
    pub fn prefix(&self, form: Form) -> Option<&Prefix> {
        let [with_format, plain] = self.prefixes.as_ref()?;
        let known = if form.plain { plain } else { with_format };
        let made = || {
            self.shared_prefix(Form {
                plain: form.plain,
                ..Form::FRESH
            })
        };
        known.get_or_init(made).as_ref()
    }

    fn shared_prefix(&self, form: Form) -> Option<Prefix> {
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
            && self.purpose == Purpose::Work
            && self.tier == 0
            && self.stage.tools.is_none();
        let room = answers.room(self.stage.max_tokens).filter(|_| alike)?;
        let unused = self.stage.max_tokens.saturating_sub(room);
        Some((room, nano(self.model.prices.least_saved(unused))))
    }

    /// A task of so many items is split before it is sent.
    pub fn splits(&self, answers: &Answers, items: u32) -> bool {
        self.purpose == Purpose::Work
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
        let context = self.frame.context.as_ref().map_or(0, |text| text.len());
        (self.frame.prompt.len() + context) as u64
    }

    fn format(&self) -> Option<&Value> {
        let made = || {
            self.schema
                .as_ref()
                // Search results come with citations, which the API does not give together with a schema.
                .filter(|_| self.model.structured_outputs && self.stage.tools.is_none())
                .and_then(|schema| wire_format(wire_output(&self.stage), schema.source()).ok())
        };
        self.format.get_or_init(made).as_ref()
    }

    fn words(&self) -> &str {
        let made = || {
            self.schema.as_ref().map_or_else(String::new, |schema| {
                ask::unfenced(&in_words(wire_output(&self.stage), schema.source()))
            })
        };
        self.words.get_or_init(made)
    }

    /// What a call of this stage in that form is for.
    pub fn role(&self, form: Form) -> Role {
        match (self.stage.kind, self.purpose) {
            _ if form.repair => Role::Repair,
            (_, Purpose::Reduce) => Role::Reduce,
            (_, Purpose::Verify) => Role::Verify,
            (StageKind::Map, _) => Role::Worker,
            (StageKind::Synthesis, _) => Role::Synthesis,
            (StageKind::Plan, _) => Role::Orchestrator,
        }
    }

    /// A worker's request for some items, `prior` being the answer to repair.
    pub fn worker_request(
        &self,
        form: Form,
        items: &[Value],
        prior: Option<&Prior>,
    ) -> MessagesRequest {
        let ask = match self.purpose {
            Purpose::Reduce => ask::reduce,
            Purpose::Work | Purpose::Verify | Purpose::Redo => ask::worker,
        };
        let request = ask(
            self.role(Form::FRESH),
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
        form: Form,
        results: &str,
        coverage: &str,
        prior: Option<&Prior>,
    ) -> MessagesRequest {
        let request = ask::synthesis(
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
        form: Form,
        input: &Value,
        prior: Option<&Prior>,
    ) -> MessagesRequest {
        let request = ask::orchestrator(
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
        form: Form,
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
                request.repair(&ask::unfenced(answer), &ask::repair_message(faults))
            }
            Some(Prior::Paused(blocks)) => request.resume(blocks),
            None => request,
        }
    }

    /// What the ledger knows the request by.
    pub fn key(&self, request: &MessagesRequest) -> String {
        expand::ledger_key(
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
    Some(ResolvedStage {
        name: planner::PLAN.to_owned(),
        kind: StageKind::Plan,
        instructions: String::new(),
        output: Output::Chunk,
        output_schema: Some(planner::answer_schema()),
        chunk: Chunk::of_items(1),
        group_by: None,
        of: None,
        with_input: false,
        model: planning
            .model
            .clone()
            .unwrap_or_else(|| defaults.planning_model.clone()),
        models: Vec::new(),
        max_tokens: defaults.planning_max_tokens,
        effort: None,
        merge: Merge::default(),
        tools: None,
        verify: None,
        citations: false,
        context: None,
    })
}

/// A text as its stages are shown it; `None` where there is nothing to show.
fn material(text: &str) -> Option<Arc<str>> {
    (!text.trim().is_empty()).then(|| ask::context(text).into())
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
