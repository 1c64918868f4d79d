//! From a claimed task to everything that must be written about it: the call is made, its answer read, the verdict
//! taken, and the rows worked out. Only the transaction is left to the consumer.

pub mod answer;
pub mod call;
pub mod fetch_page;
pub mod log;
pub mod outcome;
pub mod settle;
pub mod step;
pub mod transition;
pub mod unsent_calls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use serde_json::{Value, json};

pub use self::answer::prior_of;
use self::answer::{read, results_of};
use self::call::{Begun, Ended};
use self::fetch_page::Gate;
use self::outcome::resolve;
use self::step::{HeadNote, PrefixNote, Step};
use self::transition::{conclude, price, split};
use self::unsent_calls::Place;
use crate::app::stage::runtime::{JobRuntime, Prior, StageRuntime, nano, retain};
use crate::app::support::{blobs, db};
use crate::app::{App, AppError};
use crate::claude::error::{CallError, ErrorCode};
use crate::claude::models::Model;
use crate::claude::rate::RateHeaders;
use crate::claude::request::{MessagesRequest, Trace};
use crate::claude::response::{Message, StopReason};
use crate::core::job::state::TaskState;
use crate::core::plan::spec::StageKind;
use crate::core::task::retry_policy::{End, FETCH, RequestMode};
use crate::ports::{Clock, Ports};
use crate::store::job::input_pages::Fetched;
use crate::store::task::admission::Claimed;
use crate::store::task::batches::CLASS;
use crate::store::task::capabilities::Taught;
use crate::store::task::settle::{
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
    /// It got no answer from the server; it got one, if only a refusal.
    pub failed: bool,
    pub alive: bool,
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
    /// It was answered, or refused for good, and its task still has no result.
    pub fruitless: bool,
    /// What it shows of what its model takes.
    pub taught: Vec<Taught>,
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
pub struct Asked {
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
    form: RequestMode,
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
    runtime: Arc<JobRuntime>,
    task: Claimed,
    mut admitted: Admitted,
    stop: Arc<AtomicBool>,
    gate: Arc<Gate>,
) -> Step {
    if task.form == FETCH {
        return fetch_page::call(app, runtime, task, gate).await;
    }
    let Some(stage) = runtime.of(task.stage, task.purpose, task.tier) else {
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
    let request = sent(stage.without(request, task.lacks), &task);
    if nano(request.worst_case(&stage.model)) > task.reserved_nano {
        let mut step = give_back(&app, &task, "its request has become dearer");
        if let Step::End(resolved) = &mut step {
            let whole = self::request(stage, &task, &asked);
            price(&mut resolved.task, stage, &whole);
            let row = &mut resolved.task;
            let reduced = stage.without(whole, task.lacks);
            row.bytes = row.bytes.max(reduced.usual_input(&stage.model));
            row.worst_nano = row.worst_nano.max(nano(reduced.worst_case(&stage.model)));
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
            let resolved = resolve(&app, &runtime, task, asked, request, *ended, admitted).await;
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
                    resolve(&app, &runtime, task, asked, request, ended, admitted).await,
                ))
            };
            Step::Head(note, rest.boxed())
        }
    }
}

/// What a task asks now, for one who sends it in a batch.
pub async fn question<P: Ports>(
    app: &App<P>,
    stage: &StageRuntime,
    task: &Claimed,
) -> Result<MessagesRequest, AppError> {
    let asked = asked(app, stage, task).await?;
    Ok(request(stage, task, &asked))
}

/// What became of a call that was sent in a batch. `task` is as it was claimed for it.
pub async fn batched<P: Ports>(
    app: &App<P>,
    runtime: &JobRuntime,
    task: Claimed,
    result: Result<Message, CallError>,
) -> Result<Resolved, AppError> {
    let stage = runtime
        .of(task.stage, task.purpose, task.tier)
        .ok_or_else(|| AppError::Unavailable("the stage's plan is not readable".into()))?;
    let asked = asked(app, stage, &task).await?;
    let request = stage.without(request(stage, &task, &asked), task.lacks);
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
    let mut resolved = resolve(app, runtime, task, asked, request, ended, admitted).await;
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
        (Ok(message), Ok(model)) => count(app, &mut attempt, &model, message),
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
    stage: &StageRuntime,
    task: &Claimed,
) -> Result<Asked, AppError> {
    let input = blobs::text(app, &task.input).await?.unwrap_or_default();
    let mut form = RequestMode::parse(&task.form);
    let kept = match blobs::text(app, &task.output).await? {
        Some(text) => results_of(&db::json_of(Some(text))),
        None => Vec::new(),
    };
    let ids = task.wanted.clone();
    let prior = blobs::text(app, &task.prior).await?;
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
        StageKind::Plan => asked.plan = db::json_of(Some(input)),
        StageKind::Synthesis => {
            let mut input = db::json_of(Some(input));
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

fn request(stage: &StageRuntime, task: &Claimed, asked: &Asked) -> MessagesRequest {
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
async fn divide<P: Ports>(
    app: &App<P>,
    stage: &StageRuntime,
    task: &Claimed,
    asked: &Asked,
) -> Step {
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
    stage: &StageRuntime,
    task: Claimed,
    asked: Asked,
    request: &MessagesRequest,
) -> Step {
    let text = match blobs::text(app, &task.known).await {
        Ok(text) => text.unwrap_or_default(),
        Err(error) => return give_back(app, &task, &error.to_string()),
    };
    let answer = read(stage, &text, &StopReason::EndTurn, &asked.ids);
    let mut resolved = blank(&task);
    // What a request goes on from is the last answer there is. That may be newer than the one its key was made of: its task
    // had lost the lease by then. What the ledger has for the key is paid for and complete all the same.
    let form = RequestMode::parse(&task.form);
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

/// What the answer took and costs, at the price of the model that gave it. Where the endpoint did not say what it took, the
/// call stays booked at its upper bound, as possibly paid.
fn count<P: Ports>(app: &App<P>, attempt: &mut ClosedAttempt, asked: &Model, message: &Message) {
    let usage = &message.usage;
    let model = served(app, asked, message);
    if message.counted {
        attempt.cost = nano(model.prices.cost(usage));
    } else {
        attempt.state = "unknown";
    }
    attempt.input_tokens = usage.input_tokens;
    attempt.output_tokens = usage.output_tokens;
    attempt.cache_read = usage.cache_read_input_tokens;
    attempt.cache_write = usage.cache_creation_input_tokens;
    attempt.cache_saved = model.prices.cache_saved(usage);
    attempt.stop_reason = Some(message.stop_reason.as_str().to_owned());
}

/// The model that answered: gateways may serve another than was asked for.
fn served<'a, P: Ports>(app: &'a App<P>, asked: &'a Model, message: &Message) -> &'a Model {
    if message.model.is_empty() || message.model == asked.id {
        return asked;
    }
    // The row for any model says nothing of this one: whoever asked for another has that one's price.
    match app.models.listed(&message.model) {
        Some(model) => model,
        None => {
            let (asked_for, model) = (&asked.id, &message.model);
            let what = format!(
                "{model} answered for {asked_for}; its price is not known, so the price of {asked_for} counts"
            );
            app.log_fault("served_model", &what);
            asked
        }
    }
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
        failed: false,
        alive: false,
        slow_until: 0,
        held_input: 0.0,
        marked: None,
        uncached: None,
        turned_away: None,
        fruitless: false,
        taught: Vec::new(),
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
