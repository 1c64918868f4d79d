//! What a plan will take, from its prompts, its models' prices, the input's profile and the limits now known. Nothing
//! is called and nothing is written.

use std::collections::HashMap;

use super::kit::{Kit, StageKit};
use super::synthesise::context_bytes;
use super::{App, AppError, query, reduce};
use crate::claude::models::{Model, ThinkingMode};
use crate::claude::request::{Effort, Thinking};
use crate::core::alternatives::{self, Alternative};
use crate::core::amend::schema_over;
use crate::core::estimate::{self, Expected, Figures, Pace, Price, Usual};
use crate::core::lengths::{Prose, usual_chars, value_chars};
use crate::core::plan::{Chunk, InputKind, Limits, Output, ResolvedStage, StageKind, WebTool};
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
/// Frequencies and coverage, as a synthesis is told them: at least, at most, and for each item that may be missing.
const COVERAGE_BYTES: (u64, u64, u64) = (60, 4_000, 100);
/// Missing items that are named.
const NAMED: u64 = 200;
/// Of a page as text, at most; and of what one use of a tool brings.
const PAGE_BYTES: u64 = 60_000;
const TOOL_BYTES: u64 = 40_000;
/// A task with its input's profile, and a plan.
const PROFILE_BYTES: (u64, u64) = (500, 40_000);
const PLAN_CHARS: (u64, u64) = (300, 12_000);
/// The least that a text without a schema has.
const SHORT_TEXT: u64 = 10;
/// What is usual of these: a report without a schema, an id, frequencies and coverage, a page, a profile, a plan, a text of a worker.
const USUAL_REPORT: u64 = 2_500;
const USUAL_ID: u64 = 8;
const USUAL_COVERAGE: u64 = 400;
const USUAL_PAGE: u64 = 8_000;
const USUAL_PROFILE: u64 = 5_000;
const USUAL_PLAN: u64 = 2_500;
const USUAL_TEXT: u64 = 150;

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

/// What reaches a stage: items and their bytes, at least and at most.
#[derive(Debug, Clone)]
struct Flow {
    items: (u64, u64),
    bytes: (u64, u64),
    /// Usual bytes of all.
    usual: u64,
    /// The schema of what are results.
    schema: Option<serde_json::Value>,
}

/// What the job's plan is expected to take.
pub fn expected<P: Ports>(
    app: &App<P>,
    kit: &Kit,
    profile: &Profile,
    limits: &Limits,
    paces: &Paces,
) -> Expected {
    estimate::expected_cached(&figures(app, kit, profile, limits, paces, None))
}

/// What the job costs in other ways.
pub fn alternatives<P: Ports>(
    app: &App<P>,
    kit: &Kit,
    profile: &Profile,
    limits: &Limits,
    paces: &Paces,
) -> Result<Vec<Alternative>, AppError> {
    let with = |stages: Vec<ResolvedStage>| -> Result<Vec<Figures>, AppError> {
        let mut spec = kit.spec.clone();
        spec.stages = stages;
        let kit = Kit::new(app, spec)?;
        Ok(figures(app, &kit, profile, limits, paces, None))
    };
    let stages = &kit.spec.stages;
    let alone = stages.iter().map(|stage| ResolvedStage {
        model: stage.models.last().unwrap_or(&stage.model).clone(),
        models: Vec::new(),
        ..stage.clone()
    });
    let single = with(alone.collect())?;
    let cheap = app.models.resolve(&app.config.defaults.worker_model).ok();
    let before = |stage: &ResolvedStage| {
        let (cheap, own) = (cheap?, app.models.resolve(&stage.model).ok()?);
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

/// The same, stage by stage, in figures. `chosen`: how many results a stage over some of them has, where that is known: those are
/// there already.
pub fn figures<P: Ports>(
    app: &App<P>,
    kit: &Kit,
    profile: &Profile,
    limits: &Limits,
    paces: &Paces,
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
        usual: profile.bytes,
        schema: None,
    };
    if kit.spec.input == InputKind::Urls {
        // Nobody knows before they are read; and of dead links nothing is paid.
        flow.items.0 = 0;
        flow.bytes = (0, items * PAGE_BYTES);
        flow.usual = items * USUAL_PAGE;
    }
    let input = flow.clone();
    let mut figures = Vec::with_capacity(kit.stages.len() + 1);
    figures.extend(kit.plan.as_ref().map(|stage| {
        let pace = paces.of(&stage.model.class, 1, app.config.governor_start);
        planning(stage, pace)
    }));
    for stage in maps_then_synthesis(kit) {
        let pace = paces.of(&stage.model.class, concurrency, app.config.governor_start);
        match stage.stage.kind {
            StageKind::Map => {
                // What a cascade asks again, it asks of others.
                let redo = match stage.stage.is_cascade() {
                    true => 0.0,
                    false => stage.stage.redo_share(limits),
                };
                let known = chosen.filter(|(name, _)| *name == stage.stage.name);
                let read = reads(&stage.stage, &flow, &input, known.map(|(_, items)| *items));
                let (figure, results) = map(stage, &read, redo, pace);
                figures.push(figure);
                for dearer in kit.dearer(stage) {
                    let start = app.config.governor_start;
                    let pace = paces.of(&dearer.model.class, concurrency, start);
                    let (whole, _) = map(dearer, &read, 0.0, pace);
                    let share = stage.stage.redo_share(limits);
                    figures.push(estimate::handed_on(whole, &dearer.model.id, share));
                }
                flow = match stage.stage.amends() {
                    true => Flow {
                        items: flow.items,
                        bytes: (flow.bytes.0, flow.bytes.1 + results.bytes.1),
                        usual: flow.usual + results.usual,
                        schema: Some(schema_over(flow.schema.as_ref(), results.schema.as_ref())),
                    },
                    false => results,
                };
            }
            StageKind::Synthesis | StageKind::Plan => {
                figures.extend(tree(
                    kit,
                    stage,
                    &flow,
                    paces,
                    concurrency,
                    app.config.governor_start,
                ));
                figures.push(synthesis(stage, &flow, limits, pace));
            }
        }
    }
    figures
}

/// What a stage reads of what the stages before bring: some of it, or beside it what it was made of.
fn reads(stage: &ResolvedStage, flow: &Flow, input: &Flow, chosen: Option<u64>) -> Flow {
    let mut read = flow.clone();
    if stage.amends() {
        // How many are chosen nobody knows before they are there.
        read.items = chosen.map_or((0, flow.items.1), |items| (items, items));
        let share = |bytes: u64, of: u64| {
            let bytes = u128::from(bytes) * u128::from(read.items.1) / u128::from(of.max(1));
            u64::try_from(bytes).unwrap_or(u64::MAX)
        };
        read.bytes = match chosen {
            Some(_) => (
                share(flow.bytes.0, flow.items.1),
                share(flow.bytes.1, flow.items.0).min(flow.bytes.1),
            ),
            None => (0, flow.bytes.1),
        };
        let part = u128::from(flow.usual) * u128::from(middle(read.items))
            / u128::from(middle(flow.items).max(1));
        read.usual = u64::try_from(part).unwrap_or(u64::MAX);
    }
    if stage.with_input {
        let part = u128::from(input.usual) * u128::from(middle(read.items))
            / u128::from(middle(flow.items).max(1));
        read.usual += u64::try_from(part).unwrap_or(u64::MAX).min(input.usual);
        read.bytes.1 = read.bytes.1.saturating_add(input.bytes.1);
    }
    read
}

fn middle(of: (u64, u64)) -> u64 {
    u64::midpoint(of.0, of.1)
}

/// In the order in which they are worked on, wherever re-planning has put them.
pub fn maps_then_synthesis(kit: &Kit) -> impl Iterator<Item = &StageKit> {
    let of = |kind| move |stage: &&StageKit| stage.stage.kind == kind;
    let maps = kit.stages.iter().filter(of(StageKind::Map));
    maps.chain(kit.stages.iter().filter(of(StageKind::Synthesis)))
}

/// How many groups there are, at least and at most, as far as the schema of what is grouped tells.
fn groups(field: &str, input: &Flow) -> (u64, u64) {
    let named = input
        .schema
        .as_ref()
        .and_then(|schema| schema.pointer("/properties")?.get(field));
    let most = match named {
        // A value, or none.
        Some(property) => values(property).map_or(input.items.1, |values| values + 1),
        None => input.items.1,
    };
    (input.items.0.min(1), input.items.1.min(most))
}

/// How many tasks the chunks of a stage make, and how many items one may have.
fn chunks(chunk: Chunk, input: &Flow) -> ((u64, u64), u64) {
    let per_call = u64::from(chunk.most_items());
    let Some(size) = chunk.size() else {
        let tasks = (
            input.items.0.div_ceil(per_call),
            input.items.1.div_ceil(per_call),
        );
        return (tasks, per_call);
    };
    // A token is reckoned at four letters when texts are cut, or at one sign of a script that writes in signs.
    let whole = u64::from(size.tokens) * 4;
    let step = u64::from(size.tokens - size.overlap.min(size.tokens / 2)) * 2;
    let low = input
        .bytes
        .0
        .div_ceil(whole)
        .max(input.items.0.div_ceil(per_call));
    // Boundaries come before a slice is full, and every item may end with a short one.
    let high = input.bytes.1.div_ceil(step.max(1)) + input.items.1;
    ((low, high), per_call)
}

/// Bytes with what slices show again.
fn again(chunk: Chunk, bytes: u64) -> u64 {
    let Some(size) = chunk.size() else {
        return bytes;
    };
    let tokens = u64::from(size.tokens.max(1));
    bytes
        + bytes.saturating_mul(u64::from(size.overlap))
            / (tokens - u64::from(size.overlap.min(size.tokens / 2))).max(1)
}

/// Searches and pages that one call may have.
fn uses(stage: &ResolvedStage) -> (u64, u64) {
    let most = |tool: &Option<WebTool>| tool.as_ref().map_or(0, |tool| u64::from(tool.max_uses));
    let tools = stage.tools.as_ref();
    tools.map_or((0, 0), |tools| {
        (most(&tools.web_search), most(&tools.web_fetch))
    })
}

/// What searches and fetched pages may add to prompts.
fn tool_bytes(stage: &ResolvedStage, tasks: u64) -> u64 {
    let (searches, pages) = uses(stage);
    tasks
        .saturating_mul(searches + pages)
        .saturating_mul(TOOL_BYTES)
}

/// How many values a property can have, where they are listed.
fn values(property: &serde_json::Value) -> Option<u64> {
    let listed = |property: &serde_json::Value| {
        let values = property.get("enum")?.as_array()?;
        u64::try_from(values.len()).ok()
    };
    listed(property).or_else(|| {
        let forms = property.get("anyOf")?.as_array()?;
        forms.iter().find_map(listed)
    })
}

/// A map stage over `input`, and what it hands on.
fn map(kit: &StageKit, input: &Flow, redo: f64, pace: Pace) -> (Figures, Flow) {
    let stage = &kit.stage;
    // A judge reads items and results, and what is flagged is asked for once more.
    let checks = stage.verify.map_or(0.0, |verify| verify.sample * 2.0) + redo;
    let (tasks, per_call) = match &stage.group_by {
        Some(field) => (groups(field, input), input.items.1),
        None => chunks(stage.chunk, input),
    };
    // What is cut by tokens has a result for each slice.
    let results = match stage.chunk.tokens {
        Some(_) => (input.items.0, input.items.1.saturating_add(tasks.1)),
        None => input.items,
    };
    let result = result_chars(kit);
    let one = (
        result.0 + AROUND_RESULT + ID_CHARS.0,
        result.1 + AROUND_RESULT + ID_CHARS.1,
    );
    let (answer, items, bytes) = match stage.output {
        Output::Item => {
            // A short last chunk makes the average call smaller.
            let each = (input.items.0 / tasks.1.max(1), input.items.1.min(per_call));
            let answer = (
                AROUND_ANSWER + each.0 * one.0,
                AROUND_ANSWER + each.1 * one.1,
            );
            let bytes = (results.0 * one.0, results.1 * one.1);
            (answer, results, bytes)
        }
        Output::Chunk => {
            // Each result names the items it rests on.
            let ids = (ID_CHARS.1 + 3) * input.items.1;
            (result, tasks, (tasks.0 * one.0, tasks.1 * one.1 + ids))
        }
    };
    let request = kit.worker_request(Form::FRESH, &[], None);
    let usual_tasks = usual_tasks(stage, tasks, input);
    let usual_result = match &stage.output_schema {
        Some(schema) => usual_chars(schema, Prose::Brief),
        None => USUAL_TEXT,
    } + AROUND_RESULT
        + USUAL_ID;
    let usual_results = match (stage.output, stage.chunk.tokens) {
        (Output::Chunk, _) => usual_tasks,
        (Output::Item, Some(_)) => middle(input.items).max(usual_tasks),
        (Output::Item, None) => middle(input.items),
    };
    let figures = Figures {
        stage: stage.name.clone(),
        tasks,
        usual: Usual {
            tasks: usual_tasks,
            bytes: again(stage.chunk, input.usual) + tool_bytes(stage, usual_tasks) / 4,
            chars: AROUND_ANSWER + usual_results * usual_result / usual_tasks.max(1),
        },
        fixed_bytes: request.body().len() as u64,
        shared_bytes: kit.shared_bytes(),
        format: request
            .output_config
            .as_ref()
            .is_some_and(|config| config.format.is_some()),
        item_bytes: (
            input.bytes.0,
            again(stage.chunk, input.bytes.1) + tool_bytes(stage, tasks.1),
        ),
        answer_chars: answer,
        max_tokens: stage.max_tokens,
        thinking: thinking(kit, request.thinking),
        price: price(&kit.model),
        more: 1.0 + checks,
        fee_nano: uses(stage).0 * kit.model.prices.web_search,
        pace,
    };
    let schema = stage.output_schema.clone();
    let out = Flow {
        items,
        bytes,
        usual: usual_results * usual_result,
        schema,
    };
    (figures, out)
}

/// How many tasks a stage usually has: of what is cut by tokens as its bytes come to, of the rest the middle.
fn usual_tasks(stage: &ResolvedStage, tasks: (u64, u64), input: &Flow) -> u64 {
    match stage.chunk.size().filter(|_| stage.group_by.is_none()) {
        Some(size) => {
            let cut = input.usual.div_ceil((u64::from(size.tokens) * 3).max(1));
            let packed = middle(input.items).div_ceil(u64::from(stage.chunk.most_items()));
            cut.max(packed).clamp(tasks.0, tasks.1.max(tasks.0))
        }
        None => middle(tasks),
    }
}

/// A synthesis over all results, or the sample of them that fits.
fn synthesis(kit: &StageKit, results: &Flow, limits: &Limits, pace: Pace) -> Figures {
    let stage = &kit.stage;
    let request = kit.synthesis_request(stage.max_tokens, Form::FRESH, "", "", None);
    let room = context_bytes(kit);
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
        tasks: (1, 1),
        usual: Usual {
            tasks: 1,
            bytes: results.usual.min(room) + USUAL_COVERAGE,
            chars: stage
                .output_schema
                .as_ref()
                .map_or(USUAL_REPORT, |schema| usual_chars(schema, Prose::Long)),
        },
        fixed_bytes: request.body().len() as u64,
        shared_bytes: kit.shared_bytes(),
        format: request
            .output_config
            .as_ref()
            .is_some_and(|config| config.format.is_some()),
        item_bytes: (
            least + COVERAGE_BYTES.0,
            results.bytes.1.min(room)
                + COVERAGE_BYTES.1
                + COVERAGE_BYTES.2 * results.items.1.min(NAMED),
        ),
        answer_chars: answer,
        max_tokens: stage.max_tokens,
        thinking: thinking(kit, request.thinking),
        price: price(&kit.model),
        more: 1.0,
        fee_nano: 0,
        pace,
    }
}

/// The readers that bring results down to what the synthesis can read, where they may be too many.
fn tree(
    kit: &Kit,
    synthesis: &StageKit,
    results: &Flow,
    paces: &Paces,
    concurrency: u32,
    governor_start: u32,
) -> Option<Figures> {
    let reader = kit.reduce.as_ref()?;
    let room = context_bytes(synthesis);
    if results.bytes.1 <= room {
        return None;
    }
    let request = reader.worker_request(Form::FRESH, &[], None);
    // Each level leaves an eighth: all of them read a seventh more than the first.
    let most = results.bytes.1 + results.bytes.1 / 7;
    let least = if results.bytes.0 > room {
        results.bytes.0
    } else {
        0
    };
    let part = (reduce::room(reader) as u64).max(1);
    Some(Figures {
        stage: synthesis.stage.name.clone(),
        tasks: (least.div_ceil(part), most.div_ceil(part) + 1),
        usual: match results.usual > room {
            true => Usual {
                tasks: results.usual.div_ceil(part),
                bytes: results.usual + results.usual / 7,
                chars: USUAL_REPORT,
            },
            false => Usual::default(),
        },
        fixed_bytes: request.body().len() as u64,
        shared_bytes: reader.shared_bytes(),
        format: false,
        item_bytes: (least, most),
        answer_chars: (SHORT_TEXT, u64::MAX),
        max_tokens: reader.stage.max_tokens,
        thinking: thinking(reader, request.thinking),
        price: price(&reader.model),
        more: 1.0,
        fee_nano: 0,
        pace: paces.of(&reader.model.class, concurrency, governor_start),
    })
}

/// Making the plan: a profile in, a plan out.
fn planning(kit: &StageKit, pace: Pace) -> Figures {
    let none = serde_json::Value::Null;
    let request = kit.plan_request(kit.stage.max_tokens, Form::FRESH, &none, None);
    Figures {
        stage: kit.stage.name.clone(),
        tasks: (1, 1),
        usual: Usual {
            tasks: 1,
            bytes: USUAL_PROFILE,
            chars: USUAL_PLAN,
        },
        fixed_bytes: request.body().len() as u64,
        shared_bytes: kit.shared_bytes(),
        format: true,
        item_bytes: PROFILE_BYTES,
        answer_chars: PLAN_CHARS,
        max_tokens: kit.stage.max_tokens,
        thinking: thinking(kit, request.thinking),
        price: price(&kit.model),
        more: 1.0,
        fee_nano: 0,
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
