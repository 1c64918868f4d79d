//! From a claimed task to everything that must be written about it: the call is made, its answer read, the verdict
//! taken, and the rows worked out. Only the transaction is left to the consumer.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use serde_json::{Value, json};

use super::call::{self, Begun, Ended};
use super::expand::new_task;
use super::fetch::{self, Gate};
use super::kit::{Kit, Prior, StageKit, nano, only, wire_output};
use super::work::{HeadNote, PrefixNote, Step};
use super::{App, AppError, bodies, coverage, query};
use crate::claude::error::{CallError, ErrorClass, ErrorCode, unusable};
use crate::claude::models::Model;
use crate::claude::outcome::{self, Wanted};
use crate::claude::rate::RateHeaders;
use crate::claude::request::{MessagesRequest, Trace};
use crate::claude::response::{Message, StopReason};
use crate::core::plan::{Output, StageKind};
use crate::core::state::TaskState;
use crate::core::verdict::{End, FETCH, Form, Next, Standing, verdict, wait_ms};
use crate::ports::{Clock, Ports};
use crate::store::admission::Claimed;
use crate::store::batches::CLASS;
use crate::store::inputs::Fetched;
use crate::store::settle::{
    ClosedAttempt, Half, Invented, KeptOutput, LedgerEntry, MovedTask, Saved,
};

/// A value that another place has written and this one cannot read yet: looked at again after this.
pub const NOT_YET_MS: u64 = 5_000;
/// A blob of the ledger outlives the row that names it by this: an entry that can still be found can be read.
const LEDGER_GRACE_S: u64 = 86_400;
/// Why an answer is not whole that was cut off at its most tokens.
const TRUNCATED: &str = "truncated";
/// Of ids that an answer made up, so many are flagged, by so many of their characters.
const INVENTED_KEPT: usize = 100;
const INVENTED_CHARS: usize = 128;

/// Everything that one ended call brings.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub job: String,
    pub idx: u32,
    pub class: String,
    pub attempt: Option<ClosedAttempt>,
    pub output: Option<KeptOutput>,
    pub half: Option<Half>,
    /// What the task has read, before it asks anything.
    pub fetched: Option<Fetched>,
    pub ledger: Vec<LedgerEntry>,
    pub saved: Option<Saved>,
    pub invented: Vec<Invented>,
    /// The text of the answer, where one came, and why it stopped.
    pub response: Option<(String, String)>,
    /// What the task has cost with this call.
    pub paid: i64,
    pub task: MovedTask,
    /// Everything must stop: why, and when it may go on where that is known.
    pub stop: Option<(ErrorCode, String, Option<i64>)>,
    /// It was the breaker's probe, and the account works again.
    pub probe_came_through: bool,
    /// It was the probe and said nothing about the account.
    pub probe_undecided: bool,
    /// The call succeeded, or was refused for load, or by the limiter.
    pub ok: bool,
    pub refused: bool,
    pub limited: bool,
    /// The whole class must wait until then.
    pub slow_until: i64,
    /// Input tokens that the class's bucket held before this call.
    pub held_input: f64,
    /// A prefix that it was to write or read, and that is not kept.
    pub uncached: Option<String>,
    /// A prefix that it was sent ahead with, and could not write for load.
    pub turned_away: Option<String>,
}

impl Resolved {
    /// About what its rows take in one settle: texts twice, since escaping may double them.
    pub fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len) * 2;
        let attempt = self
            .attempt
            .as_ref()
            .map_or(0, |attempt| text(&attempt.response) + text(&attempt.error));
        let output = self.output.as_ref().map_or(0, |output| text(&output.body));
        let ledger: usize = self.ledger.iter().map(|entry| text(&entry.body)).sum();
        let fetched = self.fetched.as_ref().map_or(0, Fetched::bytes);
        attempt.max(output).max(ledger).max(fetched) + self.task.ids.len() * 4 + 1_000
    }
}

/// What a call is made of.
struct Asked {
    /// The items asked for, in wire form; empty for a synthesis.
    items: Vec<Value>,
    ids: Vec<String>,
    /// All items of the task.
    all: Vec<Value>,
    results: String,
    coverage: String,
    /// What the orchestrator is asked; null for others.
    plan: Value,
    prior: Option<Prior>,
    form: Form,
    /// Valid results of earlier attempts.
    kept: Vec<(String, Value)>,
}

/// What its claim says of a call.
#[derive(Debug, Clone, Copy)]
pub struct Admitted {
    /// Requests and input tokens admitted up to and with this call.
    pub mark: [f64; 2],
    /// It writes what others wait to read.
    pub leads: bool,
    /// It is the breaker's probe.
    pub probe: bool,
}

/// A task's call, as steps.
pub async fn call<P: Ports>(
    app: App<P>,
    kit: Arc<Kit>,
    task: Claimed,
    admitted: Admitted,
    stop: Arc<AtomicBool>,
    gate: Arc<Gate>,
) -> Step {
    if task.form == FETCH {
        return fetch::call(app, kit, task, gate).await;
    }
    let Some(stage) = kit.of(task.stage, task.purpose, task.tier) else {
        return give_back(&app, &task, "the stage's plan is not readable");
    };
    let asked = match asked(&app, stage, &task).await {
        Ok(asked) => asked,
        Err(error) => return give_back(&app, &task, &error.to_string()),
    };
    let request = request(stage, &task, &asked);
    if task.attempt.is_none() {
        return known(&app, stage, task.clone(), asked, &request).await;
    }
    // The reservation was made for the request as it was when the task was written. Should a new version of the
    // prompts or prices ask for more, the task goes back with the new figure instead of passing the cap.
    let request = sent(request, &task);
    if nano(request.worst_case(&stage.model)) > task.reserved_nano {
        let mut step = give_back(&app, &task, "its request has become dearer");
        if let Step::End(resolved) = &mut step {
            price(&mut resolved.task, stage, &request);
            resolved.task.not_before = app.ports.clock().now_ms();
        }
        return step;
    }
    // Another call of this consumer may have been told so while this one was claimed, or read what it asks.
    if stop.load(Ordering::Relaxed) {
        return give_back(&app, &task, "everything must stop");
    }
    let trace = Trace {
        role: stage.role(asked.form),
        job: &task.job,
        task: Some(&task.idx.to_string()),
        attempt: task.attempts,
    };
    let prefix = task.cache.and_then(|ttl| {
        Some(PrefixNote {
            id: stage.prefix(asked.form)?.id.clone(),
            ttl,
            sent_at: app.ports.clock().now_ms(),
            leads: admitted.leads,
        })
    });
    match call::begin(app.clone(), &request, trace).await {
        Begun::Over(ended) => {
            let resolved = resolve(&app, &kit, task, asked, request, *ended, admitted).await;
            Step::End(Box::new(resolved))
        }
        Begun::Head(head, rest) => {
            let note = HeadNote {
                class: task.class.clone(),
                head,
                mark: admitted.mark,
                prefix,
            };
            let rest = async move {
                let ended = rest.await;
                Step::End(Box::new(
                    resolve(&app, &kit, task, asked, request, ended, admitted).await,
                ))
            };
            Step::Head(note, rest.boxed())
        }
    }
}

/// What a task asks now, for one who sends it in a batch.
pub async fn question<P: Ports>(
    app: &App<P>,
    stage: &StageKit,
    task: &Claimed,
) -> Result<MessagesRequest, AppError> {
    let asked = asked(app, stage, task).await?;
    Ok(request(stage, task, &asked))
}

/// What became of a call that was sent in a batch. `task` is as it was claimed for it.
pub async fn batched<P: Ports>(
    app: &App<P>,
    kit: &Kit,
    task: Claimed,
    result: Result<Message, CallError>,
) -> Result<Resolved, AppError> {
    let stage = kit
        .of(task.stage, task.purpose, task.tier)
        .ok_or_else(|| AppError::Unavailable("the stage's plan is not readable".into()))?;
    let asked = asked(app, stage, &task).await?;
    let request = request(stage, &task, &asked);
    let ended = Ended {
        head: result.is_ok().then(|| call::Head {
            at: app.ports.clock().now_ms(),
            status: 200,
            rate: RateHeaders::default(),
        }),
        request_id: result.as_ref().err().and_then(|e| e.request_id.clone()),
        result,
    };
    let admitted = Admitted {
        mark: [0.0; 2],
        leads: false,
        probe: false,
    };
    let mut resolved = resolve(app, kit, task, asked, request, ended, admitted).await;
    // No class of live calls learns of it.
    CLASS.clone_into(&mut resolved.class);
    Ok(resolved)
}

/// The end of a call whose task is gone: what it cost, and nothing else.
pub fn paid<P: Ports>(
    app: &App<P>,
    attempt: i64,
    model: &str,
    result: &Result<Message, CallError>,
) -> ClosedAttempt {
    let mut attempt = ClosedAttempt {
        id: attempt,
        finished_at: app.ports.clock().now_ms(),
        state: "done",
        ..ClosedAttempt::default()
    };
    match (result, app.models.resolve(model)) {
        (Ok(message), Ok(model)) => count(&mut attempt, model, message),
        // It was paid, and nobody knows its price any more.
        (Ok(_), Err(_)) => attempt.state = "unknown",
        (Err(error), _) => {
            attempt.error_class = Some(error.code.as_str().to_owned());
            attempt.error = Some(error.message.clone());
            if error.possibly_paid {
                attempt.state = "unknown";
            }
        }
    }
    attempt
}

/// What the task asks now, in the form it has come to. A repair asks for the very items of the answer it mends.
async fn asked<P: Ports>(
    app: &App<P>,
    stage: &StageKit,
    task: &Claimed,
) -> Result<Asked, AppError> {
    let input = query::json_of(bodies::text(app, &task.input).await?);
    let mut form = Form::parse(&task.form);
    let kept = match bodies::text(app, &task.output).await? {
        Some(text) => results_of(&query::json_of(Some(text))),
        None => Vec::new(),
    };
    let ids = task.wanted.clone();
    let prior = bodies::text(app, &task.prior).await?;
    let prior =
        prior.and_then(|answer| prior_of(stage, form, answer, task.prior_stop.as_deref(), &ids));
    // Nothing to show: it is simply asked afresh.
    form.repair &= prior.is_some();
    form.resume &= prior.is_some();
    let of_input = |ids: &[String]| {
        input
            .as_array()
            .map(|items| only(items, ids))
            .unwrap_or_default()
    };
    let text = |name: &str| {
        input
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Ok(Asked {
        items: of_input(&ids),
        all: of_input(&task.ids),
        results: text("results"),
        coverage: text("coverage"),
        plan: match stage.stage.kind {
            StageKind::Plan => input,
            StageKind::Map | StageKind::Synthesis => Value::Null,
        },
        ids,
        prior,
        form,
        kept,
    })
}

fn request(stage: &StageKit, task: &Claimed, asked: &Asked) -> MessagesRequest {
    match stage.stage.kind {
        StageKind::Map => stage.worker_request(asked.form, &asked.items, asked.prior.as_ref()),
        StageKind::Synthesis => stage.synthesis_request(
            task.max_tokens,
            asked.form,
            &asked.results,
            &asked.coverage,
            asked.prior.as_ref(),
        ),
        StageKind::Plan => stage.plan_request(
            task.max_tokens,
            asked.form,
            &asked.plan,
            asked.prior.as_ref(),
        ),
    }
}

/// The request as it goes out: with a mark where its prompt's beginning is to be kept.
fn sent(request: MessagesRequest, task: &Claimed) -> MessagesRequest {
    match task.cache {
        Some(ttl) => request.marked(ttl),
        None => request,
    }
}

/// The ledger has the answer: read and checked like any other, and paid for by nobody.
async fn known<P: Ports>(
    app: &App<P>,
    stage: &StageKit,
    task: Claimed,
    asked: Asked,
    request: &MessagesRequest,
) -> Step {
    let text = match bodies::text(app, &task.known).await {
        Ok(text) => text.unwrap_or_default(),
        Err(error) => return give_back(app, &task, &error.to_string()),
    };
    let answer = read(stage, &text, &StopReason::EndTurn, &asked.ids);
    let mut resolved = blank(&task);
    if stage.key(request) != task.key || !answer.missing.is_empty() {
        // Not what the ledger was asked for, or no longer valid: the next claim makes a call.
        price(&mut resolved.task, stage, request);
        resolved.task.key = String::new();
        resolved.task.not_before = app.ports.clock().now_ms();
        return Step::End(Box::new(resolved));
    }
    resolved.saved = Some(Saved {
        task: task.id,
        tenant: task.tenant.clone(),
        key: task.key.clone(),
        job: task.job.clone(),
        nano: task.known_cost,
    });
    let given = answer.valid;
    conclude(
        app,
        (stage, None),
        &task,
        &asked,
        given,
        End::Answered { missing: 0 },
        None,
        &mut resolved,
    )
    .await;
    Step::End(Box::new(resolved))
}

/// What became of a call.
async fn resolve<P: Ports>(
    app: &App<P>,
    kit: &Kit,
    task: Claimed,
    asked: Asked,
    request: MessagesRequest,
    ended: Ended,
    admitted: Admitted,
) -> Resolved {
    let Admitted { leads, probe, .. } = admitted;
    let mut resolved = blank(&task);
    let Some(stage) = kit.of(task.stage, task.purpose, task.tier) else {
        return resolved;
    };
    let above = kit.above(task.stage, task.purpose, task.tier);
    let now = app.ports.clock().now_ms();
    let mut attempt = ClosedAttempt {
        id: task.attempt.unwrap_or_default(),
        status: ended.head.as_ref().map(|head| head.status),
        request_id: ended.request_id.clone(),
        finished_at: now,
        state: "done",
        ..ClosedAttempt::default()
    };
    let result = match ended.result {
        Ok(message) => {
            count(&mut attempt, &stage.model, &message);
            if task.cache.is_some() && attempt.cache_read + attempt.cache_write == 0 {
                // Shorter than the model wants it, or not kept by whoever answers: a mark brings nothing.
                resolved.uncached = stage.prefix(asked.form).map(|prefix| prefix.id.clone());
            }
            resolved.paid = task.paid_nano.saturating_add(attempt.cost);
            let said = said(&asked, &message);
            resolved.response = Some((said.clone(), message.stop_reason.as_str().to_owned()));
            resolved.held_input = held_input(ended.head.as_ref(), &attempt);
            keep_response(app, &task, &mut attempt, said).await;
            match unusable(&message) {
                Some(refusal) => Err((refusal, Some(message))),
                None => Ok(message),
            }
        }
        Err(error) => Err((error.for_request(&request), None)),
    };
    match result {
        Ok(message) => {
            resolved.ok = true;
            resolved.probe_came_through = probe;
            if message.stop_reason == StopReason::PauseTurn {
                let problem = Some(("paused", "the model was not done with its tools".to_owned()));
                let end = End::Paused;
                conclude(
                    app,
                    (stage, above),
                    &task,
                    &asked,
                    Vec::new(),
                    end,
                    problem,
                    &mut resolved,
                )
                .await;
                resolved.attempt = Some(attempt);
                return resolved;
            }
            let text = message.text();
            let answer = read(stage, &text, &message.stop_reason, &asked.ids);
            resolved.invented = answer
                .invented
                .iter()
                .take(INVENTED_KEPT)
                .map(|id| Invented {
                    job: task.job.clone(),
                    stage: task.stage,
                    id: id.chars().take(INVENTED_CHARS).collect(),
                })
                .collect();
            // The very request may come again too: another job's repair of the same answer.
            let again = asked.form != Form::FRESH || asked.ids != task.ids;
            if again && answer.missing.is_empty() && task.reuse && app.config.ledger_days > 0 {
                let key = stage.key(&request);
                let entry = ledger_entry(app, &task, key, text.clone(), attempt.cost).await;
                resolved.ledger.extend(entry);
            }
            // A repair asks for items again that have their result already.
            let missing = lacking(&answer.missing, &asked.kept);
            if missing > 0 {
                let code = fault_code(answer.truncated, &answer.faults);
                attempt.error_class = Some(code.to_owned());
                attempt.error = Some(answer.faults.join("; "));
            }
            let problem = (missing > 0).then(|| {
                (
                    fault_code(answer.truncated, &answer.faults),
                    answer.faults.join("; "),
                )
            });
            conclude(
                app,
                (stage, above),
                &task,
                &asked,
                answer.valid,
                End::Answered { missing },
                problem,
                &mut resolved,
            )
            .await;
        }
        Err((error, message)) => {
            attempt.error_class = Some(error.code.as_str().to_owned());
            attempt.error = Some(error.message.clone());
            let missing = lacking(&asked.ids, &asked.kept).max(1);
            let mut end = end_of(&error, missing, message.is_some());
            let prefix = task.cache.and_then(|_| stage.prefix(asked.form));
            if let Some(prefix) = prefix
                && error.code == ErrorCode::InvalidRequest
                && error.message.contains("cache_control")
            {
                // Not every gateway takes a mark: the same again without one, at no attempt's cost.
                resolved.uncached = Some(prefix.id.clone());
                end = End::TurnedAway { after_ms: Some(0) };
            }
            if leads && matches!(end, End::TurnedAway { .. }) {
                resolved.turned_away = prefix.map(|prefix| prefix.id.clone());
            }
            if message.is_none() && error.possibly_paid {
                attempt.state = "unknown";
                if let Some(usage) = &error.usage {
                    attempt.input_tokens = usage.input_tokens;
                    attempt.output_tokens = usage.output_tokens;
                }
            }
            // An outage must not burn every task's attempts: it shrinks the class's window as overload does.
            resolved.refused = turned_away(&error) || matches!(end, End::Failed { .. });
            resolved.limited = error.code == ErrorCode::RateLimited;
            if error.code == ErrorCode::RampLimited
                && let ErrorClass::RetryAfter { after_ms } = error.class
            {
                resolved.slow_until = now.saturating_add_unsigned(after_ms.unwrap_or(1_000));
            }
            if let ErrorClass::Stop { resumes_at_ms } = error.class {
                resolved.stop = Some((
                    error.code,
                    error.message.clone(),
                    resumes_at_ms.and_then(|at| i64::try_from(at).ok()),
                ));
            } else {
                // A refusal is an answer: the account works.
                resolved.probe_came_through = probe && message.is_some();
                resolved.probe_undecided = probe && message.is_none();
            }
            let problem = Some((error.code.as_str(), error.message.clone()));
            conclude(
                app,
                (stage, above),
                &task,
                &asked,
                Vec::new(),
                end,
                problem,
                &mut resolved,
            )
            .await;
        }
    }
    resolved.attempt = Some(attempt);
    resolved
}

/// What a bucket must have held to leave what was left: a hint at its size. The API rounds to the nearest thousand,
/// and nothing left says nothing, for a call larger than the bucket leaves a debt that is not shown.
fn held_input(head: Option<&call::Head>, attempt: &ClosedAttempt) -> f64 {
    let left = head.and_then(|head| head.rate.input_tokens);
    left.filter(|left| left.remaining > 0).map_or(0.0, |left| {
        (left.remaining.saturating_sub(500) + attempt.input_tokens + attempt.cache_write) as f64
    })
}

/// What an answer leaves for the next call to go on from: its text, or after a pause all blocks of the turn so far.
fn said(asked: &Asked, message: &Message) -> String {
    if message.stop_reason != StopReason::PauseTurn {
        return message.text();
    }
    let mut blocks = match &asked.prior {
        Some(Prior::Paused(blocks)) => blocks.clone(),
        _ => Vec::new(),
    };
    blocks.extend(message.turn.iter().cloned());
    Value::Array(blocks).to_string()
}

fn turned_away(error: &CallError) -> bool {
    error.slow_class
        || matches!(
            error.code,
            ErrorCode::RateLimited
                | ErrorCode::RampLimited
                | ErrorCode::Overloaded
                | ErrorCode::BatchExpired
                | ErrorCode::BatchCanceled
        )
}

/// The error's class as the verdict knows it.
fn end_of(error: &CallError, missing: u32, refusal: bool) -> End {
    if refusal {
        return End::Refused { missing };
    }
    match error.class {
        ErrorClass::RetryAfter { after_ms } if turned_away(error) => End::TurnedAway { after_ms },
        ErrorClass::RetryNow => End::Failed { after_ms: Some(0) },
        ErrorClass::RetryAfter { after_ms } => End::Failed { after_ms },
        ErrorClass::Reshape => End::Reshape,
        ErrorClass::GiveUp => End::Hopeless {
            fewer_may: error.code.depends_on_input(),
            wanted: missing,
        },
        ErrorClass::Stop { .. } => End::Stopped,
    }
}

/// The verdict, as rows. `above`: who is asked where this model cannot do it.
#[allow(clippy::too_many_arguments)]
async fn conclude<P: Ports>(
    app: &App<P>,
    (stage, above): (&StageKit, Option<&StageKit>),
    task: &Claimed,
    asked: &Asked,
    given: Vec<(String, Value)>,
    end: End,
    problem: Option<(&str, String)>,
    resolved: &mut Resolved,
) {
    let now = app.ports.clock().now_ms();
    let mut results = asked.kept.clone();
    for (id, output) in given {
        // What was valid before stays as it is.
        if !results.iter().any(|(known, _)| *known == id) {
            results.push((id, output));
        }
    }
    let news = results.len() > asked.kept.len();
    let covered: HashSet<&str> = results.iter().map(|(id, _)| id.as_str()).collect();
    let left: Vec<String> = asked
        .ids
        .iter()
        .filter(|id| !covered.contains(id.as_str()))
        .cloned()
        .collect();
    let output = wire_output(&stage.stage);
    let per_item = output == Output::Item;
    let row = &mut resolved.task;
    row.covered = if per_item {
        u32::try_from(covered.len()).unwrap_or(u32::MAX)
    } else if results.is_empty() {
        0
    } else {
        row.items
    };
    if news {
        results.sort_by_key(|(id, _)| task.ids.iter().position(|known| known == id));
        let text = query::stored_output(output, results.clone()).to_string();
        let bytes = text.len() as u64;
        match bodies::keep(app, &bodies::job_prefix(&task.job), text).await {
            Ok((body, blob)) => {
                resolved.output = Some(KeptOutput {
                    task: task.id,
                    attempts: task.attempts,
                    body,
                    blob,
                    bytes,
                });
            }
            Err(error) => {
                // Without its results the task is not done: the ledger, or a new call, brings them again.
                row.covered = task_covered(task, asked);
                row.state = TaskState::Pending.as_str();
                row.not_before = now.saturating_add_unsigned(NOT_YET_MS);
                app.log_fault("keep_output", &error.to_string());
                return;
            }
        }
    }
    let standing = Standing {
        form: asked.form,
        tries: task.tries,
        max_attempts: task.max_attempts,
        delays: task.delays,
        // What was cut off is cut off by a dearer model too: fewer items help.
        dearer: above.is_some() && problem.as_ref().is_none_or(|(code, _)| *code != TRUNCATED),
    };
    let mut next_stage = stage;
    // What the next call asks for: what is left; a repair, the same again.
    let mut remaining = left.clone();
    let (form, next_state) = match verdict(standing, end) {
        Next::Done => {
            row.state = TaskState::Succeeded.as_str();
            row.finished_at = Some(now);
            row.wanted = None;
            if task.attempt.is_some() && task.reuse && app.config.ledger_days > 0 {
                if let Some((keys, text)) = whole_result(stage, task, asked, &results) {
                    for key in keys {
                        let entry = ledger_entry(app, task, key, text.clone(), resolved.paid).await;
                        resolved.ledger.extend(entry);
                    }
                }
            }
            return;
        }
        Next::Again {
            form,
            tries,
            delays,
            wait,
        } => {
            let intervals = &app.config.intervals;
            let ms = wait_ms(
                wait,
                app.dice(),
                intervals.backoff_ms,
                intervals.backoff_max_ms,
            );
            row.tries = tries;
            row.delays = delays;
            row.not_before = if ms == 0 {
                0
            } else {
                now.saturating_add_unsigned(ms)
            };
            (form, TaskState::Pending)
        }
        Next::Split if left.len() > 1 => {
            let (mine, theirs) = left.split_at(left.len().div_ceil(2));
            match half(app, stage, task, asked, theirs).await {
                Ok(half) => {
                    resolved.half = Some(half);
                    remaining = mine.to_vec();
                    let gone: HashSet<&String> = theirs.iter().collect();
                    let ids: Vec<&String> =
                        task.ids.iter().filter(|id| !gone.contains(id)).collect();
                    row.items = u32::try_from(ids.len()).unwrap_or(u32::MAX);
                    row.ids = json!(ids).to_string();
                    row.tries = 0;
                    row.delays = 0;
                    (asked.form.afresh(), TaskState::Pending)
                }
                Err(error) => {
                    app.log_fault("split", &error.to_string());
                    row.not_before = now.saturating_add_unsigned(NOT_YET_MS);
                    (asked.form, TaskState::Pending)
                }
            }
        }
        // What has its result stays with the model that gave it; the rest is a task of its own, of the next model.
        Next::Up if let Some(above) = above.filter(|_| row.covered > 0) => {
            match half(app, above, task, asked, &left).await {
                Ok(half) => {
                    resolved.half = Some(half);
                    let gone: HashSet<&String> = left.iter().collect();
                    let ids: Vec<&String> =
                        task.ids.iter().filter(|id| !gone.contains(id)).collect();
                    row.items = u32::try_from(ids.len()).unwrap_or(u32::MAX);
                    row.ids = json!(ids).to_string();
                    row.wanted = None;
                    row.state = TaskState::Succeeded.as_str();
                    row.finished_at = Some(now);
                    return;
                }
                Err(error) => {
                    app.log_fault("hand_up", &error.to_string());
                    row.not_before = now.saturating_add_unsigned(NOT_YET_MS);
                    (asked.form, TaskState::Pending)
                }
            }
        }
        Next::Up if let Some(above) = above => {
            row.tier = above.tier;
            row.class = above.model.class.clone();
            row.tries = 0;
            row.delays = 0;
            next_stage = above;
            (asked.form.afresh(), TaskState::Pending)
        }
        Next::Split | Next::Up | Next::GiveUp => {
            let (code, message) = problem
                .clone()
                .unwrap_or(("invalid_output", "no valid result".to_owned()));
            row.error = Some(json!({"code": code, "message": message}).to_string());
            row.finished_at = Some(now);
            row.tries = 0;
            (asked.form.afresh(), TaskState::Failed)
        }
    };
    if form.repair || form.resume {
        remaining = asked.ids.clone();
    }
    row.state = next_state.as_str();
    row.form = form.as_str().to_owned();
    row.wanted = Some(json!(remaining).to_string());
    // What the next call asks is known now, so what it may cost is too.
    let next = Asked {
        prior: next_prior(stage, form, asked, &remaining, resolved),
        items: only(&asked.all, &remaining),
        all: Vec::new(),
        ids: remaining,
        results: asked.results.clone(),
        coverage: asked.coverage.clone(),
        plan: asked.plan.clone(),
        form,
        kept: Vec::new(),
    };
    let next = request(next_stage, task, &next);
    price(&mut resolved.task, next_stage, &next);
}

/// What the next call will show of this one, word for word as that call will work it out from the stored answer: the
/// ledger knows a repair by it too.
fn next_prior(
    stage: &StageKit,
    form: Form,
    asked: &Asked,
    remaining: &[String],
    resolved: &Resolved,
) -> Option<Prior> {
    match &resolved.response {
        Some((answer, stop)) => prior_of(stage, form, answer.clone(), Some(stop), remaining),
        None => asked.prior.clone().filter(|_| form.repair || form.resume),
    }
}

fn task_covered(task: &Claimed, asked: &Asked) -> u32 {
    let kept = u32::try_from(asked.kept.len()).unwrap_or(u32::MAX);
    if task.output.is_none() { 0 } else { kept }
}

/// The half of a task's open items that goes its own way.
async fn half<P: Ports>(
    app: &App<P>,
    stage: &StageKit,
    task: &Claimed,
    asked: &Asked,
    ids: &[String],
) -> Result<Half, AppError> {
    let items = only(&asked.items, ids);
    let form = asked.form.afresh();
    Ok(Half {
        parent: task.id,
        job: task.job.clone(),
        origin: format!("{}:{}", task.idx, task.attempts),
        attempts: task.attempts,
        form: form.as_str(),
        task: new_task(app, stage, &task.job, form, &items).await?,
    })
}

/// Bytes, worst case and key of the task's next call.
fn price(row: &mut MovedTask, stage: &StageKit, request: &MessagesRequest) {
    row.bytes = request.usual_input(&stage.model);
    row.max_tokens = request.max_tokens;
    row.worst_nano = nano(request.worst_case(&stage.model));
    row.key = stage.key(request);
}

/// The task's whole result, under what its first request was: whoever asks the same again, from the start, has it
/// however many repairs it took. The half of a task whose schema the API refused begins without the schema, so there are
/// two such starts then.
fn whole_result(
    stage: &StageKit,
    task: &Claimed,
    asked: &Asked,
    results: &[(String, Value)],
) -> Option<(Vec<String>, String)> {
    let request = |form| match stage.stage.kind {
        StageKind::Map => stage.worker_request(form, &asked.all, None),
        StageKind::Synthesis => {
            stage.synthesis_request(task.max_tokens, form, &asked.results, &asked.coverage, None)
        }
        StageKind::Plan => stage.plan_request(task.max_tokens, form, &asked.plan, None),
    };
    let text = match (wire_output(&stage.stage), results) {
        (Output::Item, results) => {
            json!({"results": query::stored_output(Output::Item, results.to_vec())}).to_string()
        }
        (Output::Chunk, [(_, Value::String(text))]) if stage.schema.is_none() => text.clone(),
        (Output::Chunk, [(_, output)]) => output.to_string(),
        (Output::Chunk, _) => return None,
    };
    let mut keys = vec![stage.key(&request(Form::FRESH))];
    if asked.form.plain {
        keys.push(stage.key(&request(asked.form.afresh())));
    }
    Some((keys, text))
}

async fn ledger_entry<P: Ports>(
    app: &App<P>,
    task: &Claimed,
    key: String,
    text: String,
    cost: i64,
) -> Option<LedgerEntry> {
    let prefix = bodies::ledger_prefix(&task.tenant, &task.job);
    // A result that cannot be kept for reuse is still a result.
    let days = i64::from(app.config.ledger_days);
    let seconds = LEDGER_GRACE_S + u64::from(app.config.ledger_days) * 86_400;
    let (body, blob) = bodies::keep_for(app, &prefix, text, seconds).await.ok()?;
    Some(LedgerEntry {
        tenant: task.tenant.clone(),
        key,
        body,
        blob,
        cost,
        job: task.job.clone(),
        expires_at: app.ports.clock().now_ms().saturating_add(days * 86_400_000),
    })
}

/// How many of these have no result yet.
fn lacking(ids: &[String], kept: &[(String, Value)]) -> u32 {
    let known: HashSet<&str> = kept.iter().map(|(id, _)| id.as_str()).collect();
    let count = ids.iter().filter(|id| !known.contains(id.as_str())).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

async fn keep_response<P: Ports>(
    app: &App<P>,
    task: &Claimed,
    attempt: &mut ClosedAttempt,
    text: String,
) {
    match bodies::keep(app, &bodies::answers_prefix(&task.job), text).await {
        Ok((body, blob)) => {
            attempt.response = body;
            attempt.response_blob = blob;
        }
        Err(error) => app.log_fault("keep_response", &error.to_string()),
    }
}

fn count(attempt: &mut ClosedAttempt, model: &Model, message: &Message) {
    let usage = &message.usage;
    attempt.cost = nano(model.prices.cost(usage));
    attempt.input_tokens = usage.input_tokens;
    attempt.output_tokens = usage.output_tokens;
    attempt.cache_read = usage.cache_read_input_tokens;
    attempt.cache_write = usage.cache_creation_input_tokens;
    attempt.cache_saved = model.prices.cache_saved(usage);
    attempt.stop_reason = Some(message.stop_reason.as_str().to_owned());
}

/// An answer, read.
struct ReadAnswer {
    valid: Vec<(String, Value)>,
    missing: Vec<String>,
    faults: Vec<String>,
    /// Ids that nobody asked about.
    invented: Vec<String>,
    truncated: bool,
}

/// Reads an answer by the stage's schema. A chunk's or a synthesis' single result has no id.
fn read(stage: &StageKit, text: &str, stop: &StopReason, ids: &[String]) -> ReadAnswer {
    let single = [String::new()];
    let Some(schema) = &stage.schema else {
        // A synthesis in plain text.
        let whole = !stop.cuts_off() && !text.trim().is_empty();
        return ReadAnswer {
            valid: if whole {
                vec![(String::new(), Value::String(text.to_owned()))]
            } else {
                Vec::new()
            },
            missing: if whole { Vec::new() } else { single.to_vec() },
            faults: if whole {
                Vec::new()
            } else {
                vec![
                    "the answer is empty or was cut off before its end: answer more briefly"
                        .to_owned(),
                ]
            },
            invented: Vec::new(),
            truncated: stop.cuts_off(),
        };
    };
    let output = wire_output(&stage.stage);
    let wanted = Wanted {
        output,
        schema,
        ids: if stage.stage.kind == StageKind::Map {
            ids
        } else {
            &single
        },
    };
    let answer = outcome::read(text, stop, wanted);
    ReadAnswer {
        valid: match answer.chunk {
            Some(chunk) => vec![(String::new(), chunk)],
            None => answer.valid,
        },
        missing: answer.missing,
        faults: answer.faults.iter().map(ToString::to_string).collect(),
        invented: answer.invented,
        truncated: answer.truncated,
    }
}

/// What a call in that form goes on from; `None` where there is nothing.
pub fn prior_of(
    stage: &StageKit,
    form: Form,
    answer: String,
    stop: Option<&str>,
    ids: &[String],
) -> Option<Prior> {
    if form.resume {
        let blocks: Vec<Value> = serde_json::from_str(&answer).ok()?;
        return (!blocks.is_empty()).then_some(Prior::Paused(blocks));
    }
    if form.repair {
        return to_repair(stage, answer, stop, ids);
    }
    None
}

/// An answer with its faults, as a repair shows it; `None` where there are none.
fn to_repair(
    stage: &StageKit,
    answer: String,
    stop: Option<&str>,
    ids: &[String],
) -> Option<Prior> {
    let stop = stop.map_or(StopReason::EndTurn, StopReason::parse);
    let faults = read(stage, &answer, &stop, ids).faults;
    (!faults.is_empty()).then_some(Prior::Faulty { answer, faults })
}

fn fault_code(truncated: bool, faults: &[String]) -> &'static str {
    if truncated {
        TRUNCATED
    } else if faults
        .iter()
        .any(|fault| fault.contains("not one JSON document"))
    {
        "invalid_json"
    } else {
        "invalid_output"
    }
}

/// The results in a stored output of `output: item`.
fn results_of(output: &Value) -> Vec<(String, Value)> {
    let ids = coverage::covered_ids(output);
    ids.into_iter()
        .zip(output.as_array().into_iter().flatten())
        .filter_map(|(id, result)| Some((id, result.get("output")?.clone())))
        .collect()
}

/// The task as it was: to be claimed again, with nothing counted.
pub fn blank(task: &Claimed) -> Resolved {
    Resolved {
        job: task.job.clone(),
        idx: task.idx,
        class: task.class.clone(),
        attempt: None,
        output: None,
        half: None,
        fetched: None,
        ledger: Vec::new(),
        saved: None,
        invented: Vec::new(),
        response: None,
        paid: 0,
        task: MovedTask {
            id: task.id,
            attempts: task.attempts,
            state: TaskState::Pending.as_str(),
            ids: json!(task.ids).to_string(),
            wanted: Some(json!(task.wanted).to_string()),
            items: u32::try_from(task.ids.len()).unwrap_or(u32::MAX),
            covered: task.covered,
            error: None,
            form: task.form.clone(),
            tier: task.tier,
            class: task.class.clone(),
            key: task.key.clone(),
            bytes: task.bytes,
            max_tokens: task.max_tokens,
            worst_nano: task.worst_nano,
            tries: task.tries,
            delays: task.delays,
            not_before: 0,
            finished_at: None,
        },
        stop: None,
        probe_came_through: false,
        probe_undecided: false,
        ok: false,
        refused: false,
        limited: false,
        slow_until: 0,
        held_input: 0.0,
        uncached: None,
        turned_away: None,
    }
}

/// Nothing was sent: the attempt closes without cost, and the task waits a little.
pub fn give_back<P: Ports>(app: &App<P>, task: &Claimed, why: &str) -> Step {
    give_back_for(app, task, why, NOT_YET_MS)
}

/// The same, for a task that waits so long.
pub fn give_back_for<P: Ports>(app: &App<P>, task: &Claimed, why: &str, ms: u64) -> Step {
    let now = app.ports.clock().now_ms();
    let mut resolved = blank(task);
    resolved.task.not_before = now.saturating_add_unsigned(ms);
    resolved.attempt = task.attempt.map(|id| ClosedAttempt {
        id,
        state: "done",
        error_class: Some("not_sent".to_owned()),
        error: Some(why.to_owned()),
        finished_at: now,
        ..ClosedAttempt::default()
    });
    Step::End(Box::new(resolved))
}
