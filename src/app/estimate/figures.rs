//! A plan in figures, stage by stage: from its prompts, its models' prices, the input's profile, the schemas, and what earlier
//! stages of the same shape took. What each stage brings is what the next one reads.

use super::Known;
use super::flow::{Flow, reads};
use super::learned::Earlier;
use super::map_stage::{Place, map};
use super::report::{planning, synthesis, tree};
use crate::app::App;
use crate::app::stage::derived::maps_then_synthesis;
use crate::app::stage::runtime::{JobRuntime, StageRuntime};
use crate::claude::models::{Model, ThinkingMode};
use crate::claude::request::{Effort, MessagesRequest, Thinking};
use crate::core::estimate;
use crate::core::estimate::profile::Profile;
use crate::core::estimate::{Figures, Learned, Pace, Price, Usual};
use crate::core::plan::planner::PLAN;
use crate::core::plan::selected::schema_over;
use crate::core::plan::spec::{InputKind, Limits, Output, StageKind};
use crate::ports::Ports;

/// The least that a text without a schema has.
pub(super) const SHORT_TEXT: u64 = 10;
/// Of a page as text: at most, and as usual.
const PAGE_BYTES: u64 = 60_000;
const USUAL_PAGE: u64 = 8_000;

/// What the job's plan takes, stage by stage. `chosen`: how many results a stage over some of them has, where that is known: those are
/// there already.
pub fn figures<P: Ports>(
    app: &App<P>,
    runtime: &JobRuntime,
    profile: &Profile,
    limits: &Limits,
    known: &Known,
    chosen: Option<&(String, u64)>,
) -> Vec<Figures> {
    let concurrency = limits
        .concurrency
        .unwrap_or(app.config.defaults.concurrency);
    let items = u64::from(profile.items);
    // What the next stage reads: the input, then what the stages before bring.
    let mut flow = Flow {
        items: (items, items),
        // A comma each.
        bytes: (profile.bytes, profile.bytes + items),
        usual: (items, profile.bytes),
        written: None,
        schema: None,
    };
    if runtime.spec.input == InputKind::Urls {
        // Nobody knows before they are read; and of dead links nothing is paid.
        flow.items.0 = 0;
        flow.bytes = (0, items * PAGE_BYTES);
        flow.usual = (items, items * USUAL_PAGE);
    }
    let input = flow.clone();
    let mut figures = Vec::with_capacity(runtime.stages.len() + 1);
    figures.extend(runtime.plan.as_ref().map(|stage| {
        let pace = known.pace(&stage.model.class, 1, app.config.governor_start);
        let earlier = known.earlier(stage);
        let rounds = u64::from(limits.max_rounds.unwrap_or(0));
        planning(stage, rounds, earlier, pace)
    }));
    for stage in maps_then_synthesis(runtime) {
        let pace = known.pace(&stage.model.class, concurrency, app.config.governor_start);
        let earlier = known.earlier(stage);
        match stage.stage.kind {
            StageKind::Map => {
                // What a cascade asks again, it asks of others.
                let redo = match stage.stage.is_cascade() {
                    true => 0.0,
                    false => stage.stage.redo_share(limits),
                };
                let counted = chosen.filter(|(name, _)| *name == stage.stage.name);
                let counted = counted.map(|(_, items)| *items);
                let read = reads(&stage.stage, &flow, &input, counted, earlier, items);
                let place = Place {
                    profile: figures.iter().all(is_planning).then_some(profile),
                    items,
                    redo,
                    pace,
                };
                let (figure, results) = map(stage, &read, earlier, &place);
                figures.push(figure);
                for dearer in runtime.dearer(stage) {
                    let start = app.config.governor_start;
                    let place = Place {
                        redo: 0.0,
                        pace: known.pace(&dearer.model.class, concurrency, start),
                        ..place
                    };
                    let (whole, _) = map(dearer, &read, None, &place);
                    let share = stage.stage.redo_share(limits);
                    figures.push(estimate::handed_on(whole, &dearer.model.id, share));
                }
                flow = match stage.stage.amends() {
                    true => Flow {
                        items: flow.items,
                        bytes: (flow.bytes.0, flow.bytes.1 + results.bytes.1),
                        usual: (flow.usual.0, flow.usual.1 + results.usual.1),
                        written: flow
                            .written
                            .zip(results.written)
                            .map(|(a, b)| a.saturating_add(b)),
                        schema: Some(schema_over(flow.schema.as_ref(), results.schema.as_ref())),
                    },
                    false => results,
                };
            }
            StageKind::Synthesis | StageKind::Plan => {
                figures.extend(tree(
                    runtime,
                    stage,
                    &flow,
                    known,
                    concurrency,
                    app.config.governor_start,
                ));
                figures.push(synthesis(stage, &flow, limits, earlier, items, pace));
            }
        }
    }
    figures
}

/// What is known of a stage by its request alone; the rest is nothing yet.
pub(super) fn of_request(runtime: &StageRuntime, request: &MessagesRequest, pace: Pace) -> Figures {
    let config = request.output_config.as_ref();
    Figures {
        stage: runtime.stage.name.clone(),
        tasks: (0, 0),
        usual: Usual::default(),
        fixed_bytes: request.body().len() as u64,
        shared_bytes: runtime.shared_bytes(),
        format: config.is_some_and(|config| config.format.is_some()),
        item_bytes: (0, 0),
        answer_chars: (0, 0),
        max_tokens: runtime.stage.max_tokens,
        thinking: thinking(runtime, request.thinking),
        price: price(&runtime.model),
        more: 1.0,
        fee_nano: 0,
        pace,
        learned: None,
    }
}

fn is_planning(figures: &Figures) -> bool {
    figures.stage == PLAN
}

/// What earlier calls took, where those to come are as large: of other texts other answers may come.
pub(super) fn learned(
    earlier: &Earlier,
    figures: &Figures,
    on_top: u64,
    output: Output,
) -> Option<Learned> {
    let tasks = figures.usual.tasks.max(1);
    let now = figures.usual.bytes as f64 / tasks as f64;
    let learned = earlier.learned(on_top)?;
    // What all requests begin with alike says nothing about how much each reads.
    let then = earlier.bytes_of_call()? - (figures.fixed_bytes + on_top) as f64;
    let size = now.max(1.0) / then.max(1.0);
    let alike = (0.5..=2.0).contains(&size);
    // Chunks that are not full have shorter answers, as many shorter as they have fewer items.
    let fuller = match output {
        Output::Item => size.clamp(0.25, 1.0),
        Output::Chunk => 1.0,
    };
    let few = (0.25..0.5).contains(&size) && output == Output::Item;
    (alike || few).then_some(Learned {
        output: learned.output * fuller,
        ..learned
    })
}

/// What a request counts as beyond its bytes, for what the API puts in.
pub(super) fn on_top(runtime: &StageRuntime, request: &MessagesRequest) -> u64 {
    let bytes = request.body().len() as u64;
    request.input_bound(&runtime.model).saturating_sub(bytes)
}

/// What a call may spend on thinking; it is paid as output.
fn thinking(runtime: &StageRuntime, asked: Option<Thinking>) -> u32 {
    let modes = &runtime.model.thinking;
    let thinks = match asked {
        Some(Thinking::Adaptive) => true,
        Some(_) => false,
        None => modes.default == ThinkingMode::Adaptive,
    };
    if !thinks {
        return 0;
    }
    let effort = runtime.stage.effort.or(match runtime.stage.kind {
        StageKind::Map => Some(Effort::Low),
        StageKind::Synthesis | StageKind::Plan => runtime.model.default_effort,
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
        cache_write: prices.standard.cache_write_5m,
        cache_read: prices.standard.cache_read,
        min_cacheable: model.min_cacheable_tokens,
        batch_percent: prices.batch_percent,
        long: prices
            .long_prompt
            .map(|long| (long.above_tokens, long.rates.input, long.rates.output)),
        dearest_percent: prices.us_percent.max(100),
    }
}
