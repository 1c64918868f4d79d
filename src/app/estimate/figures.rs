//! A plan in figures, stage by stage: from its prompts, its models' prices, the input's profile, the schemas, and what earlier
//! stages of the same shape took. What each stage brings is what the next one reads.

use serde_json::Value;

use super::learned::Earlier;
use super::{Known, maps_then_synthesis};
use crate::app::kit::{Kit, StageKit};
use crate::app::synthesise::context_bytes;
use crate::app::{App, reduce};
use crate::claude::models::{Model, ThinkingMode};
use crate::claude::request::{Effort, MessagesRequest, Thinking};
use crate::core::amend::{Of, schema_over};
use crate::core::estimate::{
    self, Figures, Learned, Pace, Price, Usual, bytes_read, margin, prompt_tokens_at_most,
};
use crate::core::lengths::{Prose, average_chars, value_chars};
use crate::core::plan::{Chunk, InputKind, Limits, Output, ResolvedStage, StageKind, WebTool};
use crate::core::profile::Profile;
use crate::core::verdict::Form;
use crate::ports::Ports;

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
/// Results that the orchestrator is shown when the plan is thought over: as usual, and at most.
const DIGEST_BYTES: (u64, u64) = (8_000, 24_000);
const PLAN_CHARS: (u64, u64) = (300, 12_000);
/// The least that a text without a schema has.
const SHORT_TEXT: u64 = 10;
/// A report without a schema usually has so many characters, one more for each so many bytes of results, and no more than so many.
const USUAL_REPORT: (u64, u64, u64) = (800, 20, 6_000);
/// What is usual of these: a reader's part of it, an id, frequencies and coverage, a page, a profile, a plan, a text of a worker.
const USUAL_PART: u64 = 2_500;
const USUAL_ID: u64 = 8;
const USUAL_COVERAGE: u64 = 400;
const USUAL_PAGE: u64 = 8_000;
const USUAL_PROFILE: u64 = 5_000;
const USUAL_PLAN: u64 = 2_500;
const USUAL_TEXT: u64 = 150;

/// What reaches a stage: items and their bytes, at least and at most.
#[derive(Debug, Clone)]
struct Flow {
    items: (u64, u64),
    bytes: (u64, u64),
    /// As usual: items, and bytes of all.
    usual: (u64, u64),
    /// Tokens that it has at most where it was written by workers: an answer has no more when it is read than it may have had.
    written: Option<u64>,
    /// The schema of what are results.
    schema: Option<Value>,
}

impl Flow {
    /// Bytes at most of what is read, as dense as text can be.
    fn dense(&self) -> u64 {
        self.bytes.1.min(self.written.map_or(u64::MAX, bytes_read))
    }
}

/// What the job's plan takes, stage by stage. `chosen`: how many results a stage over some of them has, where that is known: those are
/// there already.
pub fn figures<P: Ports>(
    app: &App<P>,
    kit: &Kit,
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
    if kit.spec.input == InputKind::Urls {
        // Nobody knows before they are read; and of dead links nothing is paid.
        flow.items.0 = 0;
        flow.bytes = (0, items * PAGE_BYTES);
        flow.usual = (items, items * USUAL_PAGE);
    }
    let input = flow.clone();
    let mut figures = Vec::with_capacity(kit.stages.len() + 1);
    figures.extend(kit.plan.as_ref().map(|stage| {
        let pace = known.pace(&stage.model.class, 1, app.config.governor_start);
        let earlier = known.earlier(stage);
        let rounds = u64::from(limits.max_rounds.unwrap_or(0));
        planning(stage, rounds, earlier, pace)
    }));
    for stage in maps_then_synthesis(kit) {
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
                for dearer in kit.dearer(stage) {
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
                    kit,
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

fn is_planning(figures: &Figures) -> bool {
    figures.stage == crate::core::planner::PLAN
}

/// What a stage reads of what the stages before bring: some of it, or beside it what it was made of.
fn reads(
    stage: &ResolvedStage,
    flow: &Flow,
    input: &Flow,
    counted: Option<u64>,
    earlier: Option<&Earlier>,
    items: u64,
) -> Flow {
    let mut read = flow.clone();
    if stage.amends() {
        // How many are chosen nobody knows before they are there.
        read.items = counted.map_or((0, flow.items.1), |items| (items, items));
        let share = |bytes: u64, of: u64| part(bytes, read.items.1, of);
        read.bytes = match counted {
            Some(_) => (
                share(flow.bytes.0, flow.items.1),
                share(flow.bytes.1, flow.items.0).min(flow.bytes.1),
            ),
            None => (0, flow.bytes.1),
        };
        let likely = || match earlier.and_then(Earlier::items_of_each) {
            Some(share) => (items as f64 * share).round() as u64,
            None => {
                let share = stage.of.as_ref().map_or(1.0, |of| chosen_share(of, flow));
                (flow.usual.0 as f64 * share).ceil() as u64
            }
        };
        let usual = counted.unwrap_or_else(likely).min(flow.items.1);
        read.usual = (usual, part(flow.usual.1, usual, flow.usual.0));
    }
    if stage.with_input {
        read.usual.1 += part(input.usual.1, read.usual.0, input.usual.0).min(input.usual.1);
        read.bytes.1 = read.bytes.1.saturating_add(input.bytes.1);
        let shown = prompt_tokens_at_most(input.bytes.1);
        read.written = read.written.map(|tokens| tokens.saturating_add(shown));
    }
    read
}

/// So much of it as `of` is of `whole`.
fn part(of_all: u64, of: u64, whole: u64) -> u64 {
    let part = u128::from(of_all) * u128::from(of) / u128::from(whole.max(1));
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// Of the results before it, so many a stage over some of them is likely to choose: as many of the values that its field may have
/// as it names; hardly any that a check flags.
fn chosen_share(of: &Of, flow: &Flow) -> f64 {
    const FLAGGED: f64 = 0.05;
    let flagged = if of.flagged { FLAGGED } else { 1.0 };
    let Some(field) = &of.field else {
        return flagged;
    };
    let all = property(flow, field).and_then(values);
    let named = all.map_or(0.5, |all| of.values.len() as f64 / all.max(1) as f64);
    named.min(1.0).min(flagged)
}

/// How many groups there are: at least, at most, and as usual, as far as the schema of what is grouped, or the profile of the input,
/// tells.
fn groups(field: &str, input: &Flow, profile: Option<&Profile>) -> ((u64, u64), u64) {
    let least = input.items.0.min(1);
    let within = |groups: u64| groups.min(input.items.1).max(least);
    if let Some(known) = profile.and_then(|profile| profile.different(field)) {
        return ((within(known), within(known)), within(known));
    }
    match property(input, field).and_then(values) {
        // A value, or none.
        Some(values) => ((least, within(values + 1)), within(values)),
        // Between one group and one for each item: by the size of the number, in the middle.
        None => (
            (least, within(input.items.1)),
            within((input.usual.0 as f64).sqrt().ceil() as u64),
        ),
    }
}

fn property<'a>(flow: &'a Flow, field: &str) -> Option<&'a Value> {
    flow.schema.as_ref()?.pointer("/properties")?.get(field)
}

/// How many tasks the chunks of a stage make, and how many items one may have.
fn chunks(chunk: Chunk, input: &Flow, packs: bool) -> ((u64, u64), u64) {
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
    // Boundaries come before a slice is full, and every item may end with a short one. Items that are smaller than a slice are packed:
    // of any two tasks that follow each other, the second begins where the first had no room left.
    let cut = input.bytes.1.div_ceil(step.max(1));
    let packed = 2 * cut + input.items.1.div_ceil(per_call) + 1;
    let apart = cut + input.items.1;
    (
        (low, if packs { packed.min(apart) } else { apart }),
        per_call,
    )
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

/// How many values a property can have, where they are listed or counted.
fn values(property: &Value) -> Option<u64> {
    let listed = |property: &Value| {
        let bound = |name: &str| property.get(name)?.as_i64();
        if property.get("type").is_some_and(|kind| kind == "boolean") {
            return Some(2);
        }
        if let (Some(least), Some(most)) = (bound("minimum"), bound("maximum"))
            && property.get("type").is_some_and(|kind| kind == "integer")
        {
            return u64::try_from(most.checked_sub(least)?.checked_add(1)?).ok();
        }
        let values = property.get("enum")?.as_array()?;
        u64::try_from(values.len()).ok()
    };
    listed(property).or_else(|| {
        let forms = property.get("anyOf")?.as_array()?;
        forms.iter().find_map(listed)
    })
}

/// What a map stage is reckoned with besides what it reads.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Of the input, where it is what the stage reads.
    profile: Option<&'a Profile>,
    /// Of the input, for what earlier stages took of each of theirs.
    items: u64,
    /// The share of results that is asked for once more.
    redo: f64,
    pace: Pace,
}

/// A map stage over `input`, and what it hands on.
fn map(
    kit: &StageKit,
    input: &Flow,
    earlier: Option<&Earlier>,
    place: &Place<'_>,
) -> (Figures, Flow) {
    let stage = &kit.stage;
    // A judge reads items and results, and what is flagged is asked for once more.
    let checks = stage.verify.map_or(0.0, |verify| verify.sample * 2.0) + place.redo;
    let ((mut tasks, per_call), usual_tasks) = match &stage.group_by {
        Some(field) => {
            let (tasks, usual) = groups(field, input, place.profile);
            ((tasks, input.items.1), usual)
        }
        None => {
            // As far as is known: what is larger than a slice is cut.
            let small = |size: u32| {
                let largest = place.profile.map(|profile| profile.largest);
                largest.is_some_and(|largest| largest <= u64::from(size) * 2)
            };
            let packs = stage.chunk.tokens.is_some_and(small);
            let (tasks, per_call) = chunks(stage.chunk, input, packs);
            ((tasks, per_call), usual_tasks(stage, tasks, input))
        }
    };
    let grouped = stage.group_by.is_some().then_some(earlier).flatten();
    let usual_tasks = match grouped.and_then(Earlier::calls_of_each) {
        Some((share, calls)) if tasks.0 < tasks.1 => {
            let usual = (place.items as f64 * share).ceil();
            // More input has more of the same groups, and some new ones.
            let most = (usual * margin(calls)).ceil() as u64 + 1;
            tasks.1 = tasks.1.min(most).max(tasks.0);
            (usual as u64).clamp(tasks.0, tasks.1)
        }
        _ => usual_tasks,
    };
    // What is cut by tokens has a result for each slice.
    let results = match stage.chunk.tokens {
        Some(_) => (input.items.0, input.items.1.saturating_add(tasks.1)),
        None => input.items,
    };
    let result = result_chars(stage);
    let around = |chars: u64, id: u64| chars + AROUND_RESULT + id;
    let one = (around(result.0, ID_CHARS.0), around(result.2, ID_CHARS.1));
    let usual_one = around(result.1, USUAL_ID);
    let usual_results = match (stage.output, stage.chunk.tokens) {
        (Output::Chunk, _) => usual_tasks,
        (Output::Item, Some(_)) => input.usual.0.max(usual_tasks),
        (Output::Item, None) => input.usual.0,
    };
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
            (
                (result.0, result.2),
                tasks,
                (tasks.0 * one.0, tasks.1 * one.1 + ids),
            )
        }
    };
    let request = kit.worker_request(Form::FRESH, &[], None);
    let mut figures = Figures {
        stage: stage.name.clone(),
        tasks,
        usual: Usual {
            tasks: usual_tasks,
            bytes: again(stage.chunk, input.usual.1) + tool_bytes(stage, usual_tasks) / 4,
            chars: AROUND_ANSWER + usual_results * usual_one / usual_tasks.max(1),
        },
        fixed_bytes: request.body().len() as u64,
        shared_bytes: kit.shared_bytes(),
        format: request
            .output_config
            .as_ref()
            .is_some_and(|config| config.format.is_some()),
        item_bytes: (
            input.bytes.0,
            again(stage.chunk, input.dense()) + tool_bytes(stage, tasks.1),
        ),
        answer_chars: answer,
        max_tokens: stage.max_tokens,
        thinking: thinking(kit, request.thinking),
        price: price(&kit.model),
        more: 1.0 + checks,
        fee_nano: uses(stage).0 * kit.model.prices.web_search,
        pace: place.pace,
        learned: None,
    };
    let on_top = on_top(kit, &request);
    figures.learned = earlier.and_then(|earlier| learned(earlier, &figures, on_top, stage.output));
    // Around the answers stand their labels, and the ids that they rest on.
    let around = prompt_tokens_at_most(bytes.1.min(items.1 * (AROUND_RESULT + 2 * ID_CHARS.1)));
    let written = tasks.1.saturating_mul(u64::from(stage.max_tokens));
    let mut out = Flow {
        items,
        bytes,
        usual: (usual_results, usual_results * usual_one),
        written: Some(written.saturating_add(around)),
        schema: stage.output_schema.clone(),
    };
    if let Some(learned) = figures.learned {
        // As an answer's tokens, thinking apart, which is read by nobody.
        let all = (learned.output * usual_tasks as f64) as u64;
        out.usual.1 = estimate::bytes_of(all).clamp(bytes.0, bytes.1.max(bytes.0));
    }
    (figures, out)
}

/// What earlier calls took, where those to come are as large: of other texts other answers may come.
fn learned(earlier: &Earlier, figures: &Figures, on_top: u64, output: Output) -> Option<Learned> {
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
fn on_top(kit: &StageKit, request: &MessagesRequest) -> u64 {
    let bytes = request.body().len() as u64;
    request.input_bound(&kit.model).saturating_sub(bytes)
}

/// How many tasks a stage usually has: of what is cut by tokens as its bytes come to, of the rest by its items.
fn usual_tasks(stage: &ResolvedStage, tasks: (u64, u64), input: &Flow) -> u64 {
    let packed = input.usual.0.div_ceil(u64::from(stage.chunk.most_items()));
    let usual = match stage.chunk.size() {
        Some(size) => {
            let cut = input.usual.1.div_ceil((u64::from(size.tokens) * 3).max(1));
            cut.max(packed)
        }
        None => packed,
    };
    usual.clamp(tasks.0, tasks.1.max(tasks.0))
}

/// A synthesis over all results, or the sample of them that fits.
fn synthesis(
    kit: &StageKit,
    results: &Flow,
    limits: &Limits,
    earlier: Option<&Earlier>,
    items: u64,
    pace: Pace,
) -> Figures {
    let stage = &kit.stage;
    let request = kit.synthesis_request(stage.max_tokens, Form::FRESH, "", "", None);
    let room = context_bytes(kit);
    // A budget may leave room for a sample only.
    let least = if limits.max_cost_usd.is_some() {
        0
    } else {
        results.bytes.0.min(room)
    };
    let (answer, usual) = match &stage.output_schema {
        Some(schema) => (
            value_chars(schema, Prose::Long),
            average_chars(schema, Prose::Long).0,
        ),
        None => {
            // As long as what is asked for, and as what there is to say.
            let asked = stage.instructions.len() as u64;
            let usual = USUAL_REPORT.0 + asked + results.usual.1 / USUAL_REPORT.1;
            ((SHORT_TEXT, u64::MAX), usual.min(USUAL_REPORT.2))
        }
    };
    let mut figures = Figures {
        stage: stage.name.clone(),
        tasks: (1, 1),
        usual: Usual {
            tasks: 1,
            bytes: results.usual.1.min(room) + USUAL_COVERAGE,
            chars: usual,
        },
        fixed_bytes: request.body().len() as u64,
        shared_bytes: kit.shared_bytes(),
        format: request
            .output_config
            .as_ref()
            .is_some_and(|config| config.format.is_some()),
        item_bytes: (
            least + COVERAGE_BYTES.0,
            results.dense().min(room)
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
        learned: None,
    };
    let on_top = on_top(kit, &request);
    let fixed = figures.fixed_bytes + on_top;
    let before = earlier.and_then(|earlier| Some((earlier, earlier.read_of_each(fixed)?)));
    if let Some((earlier, (read, calls))) = before {
        // So many bytes of results for each item of the input there were.
        let own = read * items as f64;
        let (least, most) = figures.item_bytes;
        let within = |bytes: f64| (bytes as u64).clamp(least, most);
        let margin = margin(calls);
        figures.usual.bytes = within(own);
        figures.item_bytes = (within(own / margin), within(own * margin));
        figures.learned = learned(earlier, &figures, on_top, Output::Chunk);
    }
    figures
}

/// The readers that bring results down to what the synthesis can read, where they may be too many.
fn tree(
    kit: &Kit,
    synthesis: &StageKit,
    results: &Flow,
    known: &Known,
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
    let dense = results.dense();
    let least = if results.bytes.0 > room {
        results.bytes.0
    } else {
        0
    };
    let part = (reduce::room(reader) as u64).max(1);
    Some(Figures {
        stage: synthesis.stage.name.clone(),
        tasks: (least.div_ceil(part), most.div_ceil(part) + 1),
        usual: match results.usual.1 > room {
            true => Usual {
                tasks: results.usual.1.div_ceil(part),
                bytes: results.usual.1 + results.usual.1 / 7,
                chars: USUAL_PART,
            },
            false => Usual::default(),
        },
        fixed_bytes: request.body().len() as u64,
        shared_bytes: reader.shared_bytes(),
        format: false,
        item_bytes: (least, dense + dense / 7),
        answer_chars: (SHORT_TEXT, u64::MAX),
        max_tokens: reader.stage.max_tokens,
        thinking: thinking(reader, request.thinking),
        price: price(&reader.model),
        more: 1.0,
        fee_nano: 0,
        pace: known.pace(&reader.model.class, concurrency, governor_start),
        learned: None,
    })
}

/// Making the plan: a profile in, a plan out; and thinking it over, when it is shown what came of it.
fn planning(kit: &StageKit, rounds: u64, earlier: Option<&Earlier>, pace: Pace) -> Figures {
    let none = Value::Null;
    let request = kit.plan_request(kit.stage.max_tokens, Form::FRESH, &none, None);
    let mut figures = Figures {
        stage: kit.stage.name.clone(),
        tasks: (1, 1 + rounds),
        usual: Usual {
            tasks: 1 + rounds.min(1),
            bytes: USUAL_PROFILE + rounds.min(1) * (USUAL_PROFILE + DIGEST_BYTES.0),
            chars: USUAL_PLAN,
        },
        fixed_bytes: request.body().len() as u64,
        shared_bytes: kit.shared_bytes(),
        format: true,
        item_bytes: (
            PROFILE_BYTES.0,
            PROFILE_BYTES.1 + rounds * (PROFILE_BYTES.1 + DIGEST_BYTES.1),
        ),
        answer_chars: PLAN_CHARS,
        max_tokens: kit.stage.max_tokens,
        thinking: thinking(kit, request.thinking),
        price: price(&kit.model),
        more: 1.0,
        fee_nano: 0,
        pace,
        learned: None,
    };
    let on_top = on_top(kit, &request);
    figures.learned = earlier.and_then(|earlier| learned(earlier, &figures, on_top, Output::Chunk));
    figures
}

/// Characters of one result of a map stage: at least, as usual, and on average at most.
fn result_chars(stage: &ResolvedStage) -> (u64, u64, u64) {
    let prose = match stage.output {
        Output::Item => Prose::Brief,
        Output::Chunk => Prose::Gathered,
    };
    match &stage.output_schema {
        Some(schema) => {
            let (usual, most) = average_chars(schema, prose);
            (value_chars(schema, prose).0, usual, most)
        }
        // A text of any length.
        None => {
            let any = serde_json::json!({"type": "string"});
            (SHORT_TEXT, USUAL_TEXT, value_chars(&any, Prose::Long).1)
        }
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
