//! What a caller asks for: the stages of a plan, the limits of a job, and their defaults.
//!
//! These types are the wire form of the submit body (the API layer generates its OpenAPI document from
//! them) and, once [`Stage::resolve`]d, what the engine runs. They know nothing of HTTP.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::condition::Condition;
use crate::core::job::delivery::Delivery;
use crate::core::text::slices::Size;

/// How the work of a job was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The caller gave the stages.
    Static,
    /// The orchestrator model makes them.
    Dynamic,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Static => "static",
            Mode::Dynamic => "dynamic",
        }
    }
}

/// Fan-out or fan-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// One task per chunk.
    Map,
    /// One answer from all that came before.
    Synthesis,
    /// The orchestrator makes the plan, or adds to it. Never written by a caller: a dynamic job has it by itself,
    /// beside the stages of its plan.
    #[serde(skip)]
    Plan,
}

/// The position of the stage in which a dynamic job is planned: beyond every stage that a plan can have.
pub const PLAN_STAGE: u32 = 1_000;

impl StageKind {
    pub fn as_str(self) -> &'static str {
        match self {
            StageKind::Map => "map",
            StageKind::Synthesis => "synthesis",
            StageKind::Plan => "plan",
        }
    }

    pub fn parse(text: &str) -> Option<StageKind> {
        match text {
            "map" => Some(StageKind::Map),
            "synthesis" => Some(StageKind::Synthesis),
            "plan" => Some(StageKind::Plan),
            _ => None,
        }
    }
}

/// The form of a worker's answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// One result for each item of the chunk; the engine adds and checks the ids.
    #[default]
    Item,
    /// One result for the whole chunk.
    Chunk,
}

/// How much one worker sees, in items or in tokens. With both, whichever is reached first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Chunk {
    /// The most items in a chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub items: Option<u32>,
    /// The most tokens in a chunk, estimated: small items are packed up to this number, longer texts are split at
    /// natural boundaries into slices of at most this size.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 50, maximum = 200000)]
    pub tokens: Option<u32>,
    /// Tokens of the text before it that a slice shows again; at most half of `tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100000)]
    pub overlap: Option<u32>,
}

impl Chunk {
    /// By number alone.
    pub fn of_items(items: u32) -> Chunk {
        Chunk {
            items: Some(items),
            ..Chunk::default()
        }
    }

    /// The most items of one chunk.
    pub fn most_items(&self) -> u32 {
        self.items.unwrap_or(PACKED_ITEMS).max(1)
    }

    /// The size of slices, where long texts are split.
    pub fn size(&self) -> Option<Size> {
        self.tokens.map(|tokens| Size {
            tokens,
            overlap: self.overlap.unwrap_or(0),
        })
    }
}

/// Items that are packed into one chunk of `tokens` where nothing is said: each wants its own part of the answer.
const PACKED_ITEMS: u32 = 50;

/// What the input is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// Small things, worked on as they are.
    #[default]
    Items,
    /// Texts of any length, split where they are long.
    Documents,
    /// Addresses: what they hold is read by the workers.
    Urls,
}

/// The deterministic fan-in of a map stage; no model call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Merge {
    /// Fields whose values are counted.
    #[schema(max_items = 32)]
    pub count_by: Vec<String>,
    /// Fields that make two results the same.
    #[schema(max_items = 32)]
    pub dedupe_by: Vec<String>,
}

/// How many results of a stage a second call judges.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// The share of them.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub sample: f64,
}

/// Tools that run on Anthropic's side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tools {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_search: Option<WebTool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_fetch: Option<WebTool>,
}

impl Tools {
    pub fn is_empty(&self) -> bool {
        self.web_search.is_none() && self.web_fetch.is_none()
    }
}

/// How far a worker may use a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebTool {
    /// In one call.
    #[serde(default = "WebTool::default_uses")]
    #[schema(minimum = 1, maximum = 20)]
    pub max_uses: u32,
    /// Only these; not together with `blocked_domains`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub allowed_domains: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub blocked_domains: Vec<String>,
    /// `web_fetch` only: about how much of a page the worker reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 1000000)]
    pub max_content_tokens: Option<u32>,
}

impl WebTool {
    fn default_uses() -> u32 {
        5
    }
}

/// How much work the model puts into an answer, lowest first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

impl Effort {
    pub fn as_str(self) -> &'static str {
        match self {
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::Xhigh => "xhigh",
            Effort::Max => "max",
        }
    }
}

/// One stage of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Unique in the plan.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9][A-Za-z0-9_-]*$"
    )]
    pub name: String,
    pub kind: StageKind,
    /// The instructions for the workers, or for the synthesis. `{{task}}` in them becomes the job's `task`. A `map`
    /// stage without instructions works by that task alone; a `synthesis` needs its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(pattern = r"\S", required = false)]
    pub instructions: String,
    /// `map` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// A JSON Schema (draft 2020-12) for one result; without it a result is `{"text": string}`, and a
    /// synthesis is plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub output_schema: Option<Value>,
    /// `map` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<Chunk>,
    /// `map` only: a field of the results before it (of the items, in the first stage). One task has all that have the same
    /// value there; what lacks it is a group too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200, pattern = r"\S")]
    pub group_by: Option<String>,
    /// `map` only, after another one: some of the results before it. The stage amends them: each result is laid over the one that its
    /// item had, and all others go on as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Condition>,
    /// `map` only, after another one: the stage reads only those of the results before it. The items of all others stay covered,
    /// and are absent from its results.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<Condition>,
    /// `map` only, after another one: beside each result, under `input`, its workers see what the worker who gave it had read of it:
    /// the item itself, unless there is a stage over all results in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_input: Option<bool>,
    /// A model id or an alias (`haiku`, `sonnet`, `opus`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 100)]
    pub model: Option<String>,
    /// `map` only, in place of `model`: a cascade, the cheapest first. The next one is asked only for results that fail the
    /// check, are flagged, or say `unsure` in a field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 4)]
    pub models: Option<Vec<String>>,
    /// The most a single answer may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 128000)]
    pub max_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// `map` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
    /// `map` only: Claude's own tools, which its workers may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Tools>,
    /// `map` only: a second call judges a sample of the results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// `synthesis` only: claims name the ids they rest on, as `[[ID]]`; ids that do not exist are flagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub citations: Option<bool>,
    /// Reference material for this stage, in the place of the job's; an empty text: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

/// The policy of a job if the rest of its work does not fit its budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBudget {
    /// Skip the rest, synthesise what there is, end as `partial`.
    #[default]
    Finish,
    /// Pause until the limit is raised.
    Pause,
}

impl OnBudget {
    pub fn as_str(self) -> &'static str {
        match self {
            OnBudget::Finish => "finish",
            OnBudget::Pause => "pause",
        }
    }
}

/// Limits as a caller writes them; what is left out comes from the configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Never passed: the worst case of a call is reserved before it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.0, maximum = 1000000.0)]
    pub max_cost_usd: Option<f64>,
    /// Calls in flight for this job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub concurrency: Option<u32>,
    /// Calls for one task before it is given up; waiting for the rate limit is no attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 20)]
    pub max_attempts: Option<u32>,
    /// From the submit on; runs on through pauses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2592000)]
    pub deadline_seconds: Option<u64>,
    /// The covered share below which a job is `failed` and not `partial`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub min_success_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_budget: Option<OnBudget>,
    /// Rounds of re-planning a dynamic job may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 10)]
    pub max_rounds: Option<u32>,
    /// The share of items that checks may have done again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub redo_ratio: Option<f64>,
}

impl Limits {
    /// `over` wins field by field; used by `PATCH` and `retry`.
    pub fn overlaid(&self, over: &Limits) -> Limits {
        Limits {
            max_cost_usd: over.max_cost_usd.or(self.max_cost_usd),
            concurrency: over.concurrency.or(self.concurrency),
            max_attempts: over.max_attempts.or(self.max_attempts),
            deadline_seconds: over.deadline_seconds.or(self.deadline_seconds),
            min_success_ratio: over.min_success_ratio.or(self.min_success_ratio),
            on_budget: over.on_budget.or(self.on_budget),
            max_rounds: over.max_rounds.or(self.max_rounds),
            redo_ratio: over.redo_ratio.or(self.redo_ratio),
        }
    }
}

/// One unit of input: an id and its fields. A plain text is `{"text": …}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub id: String,
    /// The caller's own fields, in the caller's order, without `id`.
    pub fields: Map<String, Value>,
}

impl Item {
    /// The object that stands between `<items>` and `</items>`: `id` first, then the fields.
    pub fn into_wire(self) -> Value {
        let mut object = Map::with_capacity(self.fields.len() + 1);
        object.insert("id".into(), Value::String(self.id));
        object.extend(self.fields);
        Value::Object(object)
    }
}

/// How the plan of a dynamic job is made, and the policy if that fails.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Planning {
    /// A model id or an alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 100)]
    pub model: Option<String>,
    /// False: the job fails where no sound plan comes; otherwise it gets a plain one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<bool>,
}

/// A job as the engine keeps it: the plan and what cannot change while it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    pub task: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    pub mode: Mode,
    #[serde(default)]
    pub input: InputKind,
    /// Reference material for every stage that has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Resolved: nothing is left to a default. Empty while the plan is still to be made; stages are only ever
    /// added at the end once tasks exist.
    pub stages: Vec<ResolvedStage>,
    /// Of a dynamic job, its model resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planning: Option<Planning>,
    /// As given, defaults filled in; `jobs` holds the figures the engine checks.
    pub limits: Limits,
    pub reuse: bool,
    #[serde(default, skip_serializing_if = "Delivery::is_live")]
    pub delivery: Delivery,
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Rows of the input's table that were passed over, because all of their cells are blank.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub blank_rows: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Spec {
    /// Ids of tasks may be those of slices.
    pub fn slices(&self) -> bool {
        self.stages.iter().any(|stage| stage.chunk.tokens.is_some())
    }
}

/// A stage with every default filled in and its model known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResolvedStage {
    pub name: String,
    pub kind: StageKind,
    /// As the caller wrote them; [`told`](super::told::instructions) says what the workers read.
    #[serde(default)]
    pub instructions: String,
    #[serde(default)]
    pub output: Output,
    #[serde(default)]
    pub output_schema: Option<Value>,
    pub chunk: Chunk,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Condition>,
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<Condition>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_input: bool,
    /// A model id, never an alias.
    pub model: String,
    /// All models of a cascade, `model` first; empty where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    pub max_tokens: u32,
    #[serde(default)]
    pub effort: Option<Effort>,
    #[serde(default)]
    pub merge: Merge,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Tools>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub citations: bool,
    /// Its own, in the place of the job's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

impl Stage {
    /// A stage with nothing but its name, kind and instructions.
    pub fn new(name: &str, kind: StageKind, instructions: &str) -> Stage {
        Stage {
            name: name.to_owned(),
            kind,
            instructions: instructions.to_owned(),
            output: None,
            output_schema: None,
            chunk: None,
            group_by: None,
            of: None,
            filter: None,
            with_input: None,
            model: None,
            models: None,
            max_tokens: None,
            effort: None,
            merge: None,
            tools: None,
            verify: None,
            citations: None,
            context: None,
        }
    }
}

impl ResolvedStage {
    /// A stage with nothing but its name, kind and model.
    pub fn new(name: &str, kind: StageKind, model: &str, max_tokens: u32) -> ResolvedStage {
        ResolvedStage {
            name: name.to_owned(),
            kind,
            instructions: String::new(),
            output: Output::default(),
            output_schema: None,
            chunk: Chunk::of_items(1),
            group_by: None,
            of: None,
            filter: None,
            with_input: false,
            model: model.to_owned(),
            models: Vec::new(),
            max_tokens,
            effort: None,
            merge: Merge::default(),
            tools: None,
            verify: None,
            citations: false,
            context: None,
        }
    }

    /// How many models may be asked, one after the other.
    pub fn tiers(&self) -> u32 {
        u32::try_from(self.models.len()).unwrap_or(u32::MAX).max(1)
    }

    /// The first model's results may go to another.
    pub fn is_cascade(&self) -> bool {
        self.tiers() > 1
    }

    /// The same stage, as its cascade's model of that tier is asked.
    #[must_use]
    pub fn at_tier(&self, tier: u32) -> ResolvedStage {
        let named = usize::try_from(tier)
            .ok()
            .and_then(|tier| self.models.get(tier));
        ResolvedStage {
            model: named.unwrap_or(&self.model).clone(),
            ..self.clone()
        }
    }

    /// It adds to results of the stages before, and has none of its own.
    pub fn amends(&self) -> bool {
        self.kind == StageKind::Map && self.of.is_some()
    }

    /// Which of the results before it the stage reads; `None`: all.
    pub fn choice(&self) -> Option<&Condition> {
        self.of.as_ref().or(self.filter.as_ref())
    }

    /// The share of results that may be asked for once more. A cascade is there for that: all of them, where the job names
    /// no share.
    pub fn redo_share(&self, limits: &Limits) -> f64 {
        let unnamed = if self.is_cascade() { 1.0 } else { 0.0 };
        limits.redo_ratio.unwrap_or(unnamed)
    }

    /// The stage as a caller writes it: submitted again, it makes the very same calls.
    pub fn pinned(&self) -> Stage {
        let map = self.kind == StageKind::Map;
        Stage {
            name: self.name.clone(),
            kind: self.kind,
            instructions: self.instructions.clone(),
            output: map.then_some(self.output),
            output_schema: self.output_schema.clone(),
            // A group decides itself how large it is.
            chunk: (map && self.group_by.is_none()).then_some(self.chunk),
            group_by: self.group_by.clone(),
            of: self.of.clone(),
            filter: self.filter.clone(),
            with_input: self.with_input.then_some(true),
            model: (!self.is_cascade()).then(|| self.model.clone()),
            models: self.is_cascade().then(|| self.models.clone()),
            max_tokens: Some(self.max_tokens),
            effort: self.effort,
            merge: (map && self.merge != Merge::default()).then(|| self.merge.clone()),
            tools: self.tools.clone(),
            verify: self.verify,
            citations: self.citations.then_some(true),
            context: self.context.clone(),
        }
    }
}
