//! What a plan will take, from its prompts, its models' prices, the input's profile and the limits now known. Nothing
//! is called and nothing is written.

use std::collections::HashMap;

use super::kit::{Kit, StageKit};
use super::synthesise::{BYTES_PER_TOKEN, CONTEXT_RESERVE};
use super::{App, AppError, query};
use crate::claude::models::{Model, ThinkingMode};
use crate::claude::request::{Effort, Thinking};
use crate::core::estimate::{self, Expected, Figures, Pace, Price, Prose, value_chars};
use crate::core::plan::{Limits, Output, StageKind};
use crate::core::profile::Profile;
use crate::core::verdict::Form;
use crate::ports::Ports;
use crate::store::admission::ClassRow;
use crate::store::listing;

/// Around one result: `{"id":"…","output":…},`, without the id.
const AROUND_RESULT: u64 = 20;
/// Characters of an id, at least and at most.
const ID_CHARS: (u64, u64) = (1, 48);
/// Around all results of an answer.
const AROUND_ANSWER: u64 = 14;
/// Frequencies and coverage, as a synthesis is told them.
const COVERAGE_BYTES: (u64, u64) = (60, 24_000);
/// A task with its input's profile, and a plan.
const PROFILE_BYTES: (u64, u64) = (500, 40_000);
const PLAN_CHARS: (u64, u64) = (300, 12_000);
/// The least that a text without a schema has.
const SHORT_TEXT: u64 = 10;

/// How fast each class of models may be called, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Paces(HashMap<String, ClassRow>);

impl Paces {
    /// The governor's rows as they stand.
    pub async fn known<P: Ports>(app: &App<P>) -> Result<Paces, AppError> {
        let rows = query::rows(app, listing::limits()).await?;
        let classes = rows.iter().map(ClassRow::read);
        Ok(Paces(
            classes.map(|row| (row.class.name.clone(), row)).collect(),
        ))
    }

    fn of(&self, class: &str, concurrency: u32, governor_start: u32) -> Pace {
        let known = self.0.get(class).map(|row| &row.class);
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

/// What reaches a stage: how many items and how many bytes, at least and at most.
#[derive(Debug, Clone, Copy)]
struct Flow {
    items: u64,
    bytes: (u64, u64),
}

/// What the job's plan is expected to take.
pub fn expected<P: Ports>(
    app: &App<P>,
    kit: &Kit,
    profile: &Profile,
    limits: &Limits,
    paces: &Paces,
) -> Expected {
    estimate::expected(&figures(app, kit, profile, limits, paces))
}

/// The same, stage by stage, in figures.
pub fn figures<P: Ports>(
    app: &App<P>,
    kit: &Kit,
    profile: &Profile,
    limits: &Limits,
    paces: &Paces,
) -> Vec<Figures> {
    let concurrency = limits
        .concurrency
        .unwrap_or(app.config.defaults.concurrency);
    let input = Flow {
        items: u64::from(profile.items),
        // A comma each.
        bytes: (profile.bytes, profile.bytes + u64::from(profile.items)),
    };
    let mut results = input;
    let mut figures = Vec::with_capacity(kit.stages.len() + 1);
    figures.extend(kit.plan.as_ref().map(|stage| {
        let pace = paces.of(&stage.model.class, 1, app.config.governor_start);
        planning(stage, pace)
    }));
    for stage in maps_then_synthesis(kit) {
        let pace = paces.of(&stage.model.class, concurrency, app.config.governor_start);
        let (figure, out) = match stage.stage.kind {
            StageKind::Map => map(stage, input, pace),
            StageKind::Synthesis | StageKind::Plan => {
                (synthesis(stage, results, limits, pace), results)
            }
        };
        results = out;
        figures.push(figure);
    }
    figures
}

/// In the order in which they are worked on, wherever re-planning has put them.
pub fn maps_then_synthesis(kit: &Kit) -> impl Iterator<Item = &StageKit> {
    let of = |kind| move |stage: &&StageKit| stage.stage.kind == kind;
    let maps = kit.stages.iter().filter(of(StageKind::Map));
    maps.chain(kit.stages.iter().filter(of(StageKind::Synthesis)))
}

/// A map stage over `input`, and what it hands on.
fn map(kit: &StageKit, input: Flow, pace: Pace) -> (Figures, Flow) {
    let stage = &kit.stage;
    let per_call = u64::from(stage.chunk.items.max(1));
    let tasks = input.items.div_ceil(per_call);
    let result = result_chars(kit);
    let one = (
        result.0 + AROUND_RESULT + ID_CHARS.0,
        result.1 + AROUND_RESULT + ID_CHARS.1,
    );
    let (answer, out) = match stage.output {
        Output::Item => {
            // A short last chunk makes the average call smaller.
            let items = (input.items / tasks.max(1), input.items.min(per_call));
            let answer = (
                AROUND_ANSWER + items.0 * one.0,
                AROUND_ANSWER + items.1 * one.1,
            );
            let bytes = (input.items * one.0, input.items * one.1);
            (
                answer,
                Flow {
                    items: input.items,
                    bytes,
                },
            )
        }
        Output::Chunk => {
            let ids = (
                ID_CHARS.0 * input.items,
                (ID_CHARS.1 + 3) * input.items + one.1 * tasks,
            );
            let bytes = (ids.0 + result.0 * tasks, ids.1);
            (
                result,
                Flow {
                    items: tasks,
                    bytes,
                },
            )
        }
    };
    let request = kit.worker_request(Form::FRESH, &[], None);
    let figures = Figures {
        stage: stage.name.clone(),
        tasks,
        fixed_bytes: request.body().len() as u64,
        format: request
            .output_config
            .as_ref()
            .is_some_and(|config| config.format.is_some()),
        item_bytes: input.bytes,
        answer_chars: answer,
        max_tokens: stage.max_tokens,
        thinking: thinking(kit, request.thinking),
        price: price(&kit.model),
        pace,
    };
    (figures, out)
}

/// A synthesis over all results, or the sample of them that fits.
fn synthesis(kit: &StageKit, results: Flow, limits: &Limits, pace: Pace) -> Figures {
    let stage = &kit.stage;
    let request = kit.synthesis_request(stage.max_tokens, Form::FRESH, "", "", None);
    let room = kit
        .model
        .context_tokens
        .saturating_sub(u64::from(stage.max_tokens) + CONTEXT_RESERVE)
        .saturating_mul(BYTES_PER_TOKEN);
    // A budget may leave room for a sample only.
    let least = if limits.max_cost_usd.is_some() {
        0
    } else {
        results.bytes.0.min(room)
    };
    let answer = match &stage.output_schema {
        Some(schema) => value_chars(schema, Prose::Long),
        None => (SHORT_TEXT, u64::MAX),
    };
    Figures {
        stage: stage.name.clone(),
        tasks: 1,
        fixed_bytes: request.body().len() as u64,
        format: request
            .output_config
            .as_ref()
            .is_some_and(|config| config.format.is_some()),
        item_bytes: (
            least + COVERAGE_BYTES.0,
            results.bytes.1.min(room) + COVERAGE_BYTES.1,
        ),
        answer_chars: answer,
        max_tokens: stage.max_tokens,
        thinking: thinking(kit, request.thinking),
        price: price(&kit.model),
        pace,
    }
}

/// Making the plan: a profile in, a plan out.
fn planning(kit: &StageKit, pace: Pace) -> Figures {
    let none = serde_json::Value::Null;
    let request = kit.plan_request(kit.stage.max_tokens, Form::FRESH, &none, None);
    Figures {
        stage: kit.stage.name.clone(),
        tasks: 1,
        fixed_bytes: request.body().len() as u64,
        format: true,
        item_bytes: PROFILE_BYTES,
        answer_chars: PLAN_CHARS,
        max_tokens: kit.stage.max_tokens,
        thinking: thinking(kit, request.thinking),
        price: price(&kit.model),
        pace,
    }
}

/// Characters of one result of a map stage.
fn result_chars(kit: &StageKit) -> (u64, u64) {
    match &kit.stage.output_schema {
        Some(schema) => value_chars(schema, Prose::Brief),
        // A text of any length.
        None => (
            SHORT_TEXT,
            value_chars(&serde_json::json!({"type": "string"}), Prose::Long).1,
        ),
    }
}

/// What a call may spend on thinking; it is paid as output.
fn thinking(kit: &StageKit, asked: Option<Thinking>) -> u32 {
    let modes = &kit.model.thinking;
    let thinks = match asked {
        Some(Thinking::Adaptive) => true,
        Some(_) => false,
        None => modes.default == ThinkingMode::Adaptive,
    };
    if !thinks {
        return 0;
    }
    let effort = kit.stage.effort.or(match kit.stage.kind {
        StageKind::Map => Some(Effort::Low),
        StageKind::Synthesis | StageKind::Plan => kit.model.default_effort,
    });
    match effort {
        Some(Effort::Low) => 1_500,
        Some(Effort::Medium) | None => 5_000,
        Some(Effort::High) => 12_000,
        Some(Effort::Xhigh) => 24_000,
        Some(Effort::Max) => 64_000,
    }
}

fn price(model: &Model) -> Price {
    let prices = &model.prices;
    Price {
        input: prices.standard.input,
        output: prices.standard.output,
        long: prices
            .long_prompt
            .map(|long| (long.above_tokens, long.rates.input, long.rates.output)),
        dearest_percent: prices.us_percent.max(100),
    }
}
