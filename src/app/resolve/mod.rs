//! From a claimed task to everything that must be written about it: the call is made, its answer read, the verdict
//! taken, and the rows worked out. Only the transaction is left to the consumer.

mod conclude;
mod ended;
mod reading;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use serde_json::{Value, json};

use self::conclude::{conclude, price, split};
use self::ended::resolve;
pub use self::reading::prior_of;
use self::reading::{read, results_of};
use super::call::{self, Begun, Ended};
use super::fetch::{self, Gate};
use super::kit::{Kit, Prior, StageKit, nano, retain};
use super::places::Place;
use super::work::{HeadNote, PrefixNote, Step};
use super::{App, AppError, bodies, query};
use crate::claude::error::{CallError, ErrorCode};
use crate::claude::models::Model;
use crate::claude::rate::RateHeaders;
use crate::claude::request::{MessagesRequest, Trace};
use crate::claude::response::{Message, StopReason};
use crate::core::plan::StageKind;
use crate::core::state::TaskState;
use crate::core::verdict::{End, FETCH, Form};
use crate::ports::{Clock, Ports};
use crate::store::admission::Claimed;
use crate::store::batches::CLASS;
use crate::store::inputs::Fetched;
use crate::store::settle::{
    ClosedAttempt, Half, Invented, KeptOutput, LedgerEntry, MovedTask, Saved,
};

/// A value that another place has written and this one cannot read yet: looked at again after this.
pub const NOT_YET_MS: u64 = 5_000;

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
    /// The prefix that it was marked with, in a batch.
    pub marked: Option<String>,
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
    /// All items of the task in wire form, as a JSON array; empty for a synthesis. A text, for a call waits long: as values, many small
    /// items take ten to twenty times as much.
    input: String,
    /// The items asked for.
    ids: Vec<String>,
    results: String,
    coverage: String,
    /// What the orchestrator is asked; null for others.
    plan: Value,
    prior: Option<Prior>,
    form: Form,
    /// Valid results of earlier attempts.
    kept: Vec<(String, Value)>,
}

impl Asked {
    /// Those of its items.
    fn only(&self, ids: &[String]) -> Vec<Value> {
        let mut items: Vec<Value> = serde_json::from_str(&self.input).unwrap_or_default();
        retain(&mut items, ids);
        items
    }
}

/// What its claim says of a call.
#[derive(Debug)]
pub struct Admitted {
    /// Its place among the calls that have not gone out, where it is a call of its own.
    pub place: Option<Place>,
    /// Input tokens that were reserved for it.
    pub input: f64,
    /// It writes what others wait to read.
    pub leads: bool,
    /// Nothing is asked: its items become two tasks.
    pub splits: bool,
    /// It is the breaker's probe.
    pub probe: bool,
}

/// A task's call, as steps.
pub async fn call<P: Ports>(
    app: App<P>,
    kit: Arc<Kit>,
    task: Claimed,
    mut admitted: Admitted,
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
    if admitted.splits && task.known.is_none() {
        return divide(&app, stage, &task, &asked).await;
    }
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
    let mark = admitted.place.take().map_or([0.0; 2], Place::go);
    match call::begin(app.clone(), &request, trace).await {
        Begun::Over(ended) => {
            let resolved = resolve(&app, &kit, task, asked, request, *ended, admitted).await;
            Step::End(Box::new(resolved))
        }
        Begun::Head(head, rest) => {
            let note = HeadNote {
                class: task.class.clone(),
                head,
                mark,
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
        place: None,
        input: 0.0,
        leads: false,
        splits: false,
        probe: false,
    };
    let marked = task.cache.and_then(|_| stage.prefix(asked.form));
    let mut resolved = resolve(app, kit, task, asked, request, ended, admitted).await;
    resolved.marked = marked.map(|prefix| prefix.id.clone());
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
    let input = bodies::text(app, &task.input).await?.unwrap_or_default();
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
    let mut asked = Asked {
        input: String::new(),
        ids,
        results: String::new(),
        coverage: String::new(),
        plan: Value::Null,
        prior,
        form,
        kept,
    };
    match stage.stage.kind {
        StageKind::Map => asked.input = input,
        StageKind::Plan => asked.plan = query::json_of(Some(input)),
        StageKind::Synthesis => {
            let mut input = query::json_of(Some(input));
            let mut text = |name: &str| match input.get_mut(name).map(Value::take) {
                Some(Value::String(text)) => text,
                _ => String::new(),
            };
            asked.results = text("results");
            asked.coverage = text("coverage");
        }
    }
    Ok(asked)
}

fn request(stage: &StageKit, task: &Claimed, asked: &Asked) -> MessagesRequest {
    match stage.stage.kind {
        StageKind::Map => {
            stage.worker_request(asked.form, &asked.only(&asked.ids), asked.prior.as_ref())
        }
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

/// The request as it goes out: with a mark where its prompt's beginning is to be kept, and the room that its answer is given.
fn sent(mut request: MessagesRequest, task: &Claimed) -> MessagesRequest {
    if let Some(room) = task.room {
        request.max_tokens = room.min(request.max_tokens);
    }
    match task.cache {
        Some(ttl) => request.marked(ttl),
        None => request,
    }
}

/// Half of a task's items become a task of their own before anything is asked.
async fn divide<P: Ports>(app: &App<P>, stage: &StageKit, task: &Claimed, asked: &Asked) -> Step {
    let mut resolved = blank(task);
    match split(app, stage, task, asked, &asked.ids, &mut resolved.task).await {
        Ok((half, mine)) => {
            resolved.half = Some(half);
            resolved.task.wanted = Some(json!(mine).to_string());
            let items = asked.only(&mine);
            let next = stage.worker_request(asked.form, &items, None);
            price(&mut resolved.task, stage, &next);
            Step::End(Box::new(resolved))
        }
        Err(error) => give_back(app, task, &error.to_string()),
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
    // What a request goes on from is the last answer there is. That may be newer than the one its key was made of: its task
    // had lost the lease by then. What the ledger has for the key is paid for and complete all the same.
    let form = Form::parse(&task.form);
    let asked_for = form.repair || form.resume || stage.key(request) == task.key;
    if !asked_for || !answer.missing.is_empty() {
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
        marked: None,
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
