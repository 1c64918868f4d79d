//! What became of a call: its cost, what its answer or failure says of the class and of the account, and how it ended for
//! the verdict.

use serde_json::Value;

use super::answer::{ReadAnswer, UNREADABLE, fault_code, read};
use super::call::Ended;
use super::transition::{as_answer, conclude, lacking, ledger_entry};
use super::{Admitted, Asked, Resolved, blank, call, count};
use crate::app::App;
use crate::app::stage::runtime::{JobRuntime, Prior, StageRuntime};
use crate::app::support::blobs;
use crate::claude::capabilities::{Part, refused};
use crate::claude::error::{CallError, ErrorClass, ErrorCode, unusable};
use crate::claude::request::MessagesRequest;
use crate::claude::response::{Message, StopReason};
use crate::core::admission::Bucket;
use crate::core::task::retry_policy::{End, RequestMode};
use crate::ports::{Clock, Ports};
use crate::store::task::admission::Claimed;
use crate::store::task::capabilities::Taught;
use crate::store::task::settle::{ClosedAttempt, Invented};

/// Blocks in a row after which one task's calls show that the place is at fault. With the waits between them they last
/// minutes.
const MOST_BLOCKED: u32 = 8;
/// How often in a row a task that gets no answer is sent again before that costs it an attempt.
const FREE_FAILURES: u32 = 3;
/// A class that is down for longer than this costs attempts: the task itself may be what no server answers.
const FREE_DOWN_MS: i64 = 180_000;

/// Of ids that an answer made up, so many are flagged, by so many of their characters.
const INVENTED_KEPT: usize = 100;

const INVENTED_CHARS: usize = 128;

/// What became of a call.
pub async fn resolve<P: Ports>(
    app: &App<P>,
    runtime: &JobRuntime,
    task: Claimed,
    asked: Asked,
    request: MessagesRequest,
    ended: Ended,
    admitted: Admitted,
) -> Resolved {
    let Admitted {
        input,
        leads,
        probe,
        ..
    } = admitted;
    let mut resolved = blank(&task);
    let Some(stage) = runtime.of(task.stage, task.purpose, task.tier) else {
        return resolved;
    };
    let above = runtime.above(task.stage, task.purpose, task.tier);
    let now = app.ports.clock().now_ms();
    let mut attempt = ClosedAttempt {
        id: task.attempt.unwrap_or_default(),
        status: ended.head.as_ref().map(|head| head.status),
        request_id: ended.request_id.clone(),
        finished_at: now,
        state: "done",
        ..ClosedAttempt::default()
    };
    let most = task
        .room
        .unwrap_or(request.max_tokens)
        .min(request.max_tokens);
    let result = match ended.result {
        Ok(mut message) => {
            cut_if_full(&mut message, most);
            count(app, &mut attempt, &stage.model, &message);
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
    let (given, end, problem) = match result {
        Ok(message) if message.stop_reason == StopReason::PauseTurn => {
            resolved.ok = true;
            resolved.alive = true;
            resolved.probe_came_through = probe;
            let why = "the model was not done with its tools".to_owned();
            (Vec::new(), End::Paused, Some(("paused", why)))
        }
        Ok(message) => {
            resolved.ok = true;
            resolved.alive = true;
            resolved.probe_came_through = probe;
            let text = message.text();
            let answer = read(stage, &text, &message.stop_reason, &asked.ids);
            resolved
                .taught
                .extend(shown(stage, &request, asked.form, &answer, &text));
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
            let again = asked.form != RequestMode::FRESH || asked.ids != task.ids;
            if again && answer.missing.is_empty() && task.reuse && app.config.ledger_days > 0 {
                // What was cut off after the last wanted result is kept without its stump.
                let kept = match answer.truncated {
                    true => as_answer(stage, &answer.valid),
                    false => Some(text.clone()),
                };
                if let Some(kept) = kept {
                    let key = match task.lacks.is_empty() {
                        true => stage.key(&request),
                        false => stage.key(&super::request(stage, &task, &asked)),
                    };
                    let entry = ledger_entry(app, &task, key, kept, attempt.cost).await;
                    resolved.ledger.extend(entry);
                }
            }
            // A repair asks for items again that have their result already.
            let missing = lacking(&answer.missing, &asked.kept);
            let problem = (missing > 0).then(|| {
                let code = fault_code(answer.truncated, &answer.faults);
                (code, answer.faults.join("; "))
            });
            if let Some((code, faults)) = &problem {
                attempt.error_class = Some((*code).to_owned());
                attempt.error = Some(faults.clone());
            }
            let unreadable = problem
                .as_ref()
                .is_some_and(|(code, _)| *code == UNREADABLE);
            // It had less room than it may have: the rest is asked for with all of it.
            let end = match missing > 0 && answer.truncated && task.room.is_some() {
                true => End::Cut,
                false if unreadable => End::Void { missing },
                false => End::Answered { missing },
            };
            (answer.valid, end, problem)
        }
        Err((error, message)) => {
            let error = if_it_persists(error, task.delays);
            let parts = refused(&error, &request);
            let code = match parts.is_empty() {
                true => error.code,
                false => ErrorCode::PartRefused,
            };
            attempt.error_class = Some(code.as_str().to_owned());
            attempt.error = Some(error.message.clone());
            let missing = lacking(&asked.ids, &asked.kept).max(1);
            let mut end = end_of(&error, missing, message.is_some());
            let prefix = task.cache.and_then(|_| stage.prefix(asked.form));
            (resolved.failed, resolved.alive) = signs(&error, ended.head.as_ref());
            let down = task.down_since > 0 && now - task.down_since < FREE_DOWN_MS;
            if let End::Failed { after_ms } = end
                && resolved.failed
                && (down || task.delays < FREE_FAILURES)
            {
                // The class's own probes decide when the next call goes.
                let after_ms = if down { after_ms.or(Some(0)) } else { after_ms };
                end = End::TurnedAway { after_ms };
            }
            for part in parts {
                // Not every endpoint takes all of a request: the same again without that part, at no attempt's cost.
                end = End::TurnedAway { after_ms: Some(0) };
                resolved.taught.push(Taught {
                    model: stage.model.id.clone(),
                    part,
                    refused: true,
                    doubts: 1,
                    reason: Some(error.message.clone()),
                });
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
            resolved.refused =
                turned_away(&error) || resolved.failed || matches!(end, End::Failed { .. });
            resolved.limited = error.code == ErrorCode::RateLimited;
            if message.is_none() {
                resolved.held_input = lacked_input(ended.head.as_ref(), input);
            }
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
            let problem = Some((error.code.as_str(), error.message));
            (Vec::new(), end, problem)
        }
    };
    conclude(
        app,
        (stage, above),
        &task,
        &asked,
        given,
        end,
        problem,
        &mut resolved,
    )
    .await;
    let refused = attempt
        .status
        .is_some_and(|status| (400..500).contains(&status) && status != 429);
    let spoke = attempt.stop_reason.is_some() || refused;
    // It is asked once more without what was refused, at no attempt's cost.
    let again = [ErrorCode::PartRefused, ErrorCode::SchemaRefused].map(ErrorCode::as_str);
    let class = attempt.error_class.as_deref();
    let counts = class.is_some_and(|class| !again.contains(&class));
    resolved.fruitless = spoke && counts && (refused || resolved.task.covered == 0);
    resolved.attempt = Some(attempt);
    resolved
}

/// An answer that took all of its room was cut, whatever its stop reason says: some servers call that an end. Where it holds
/// every result all the same, nothing is missing and nothing is asked again.
fn cut_if_full(message: &mut Message, most: u32) {
    let ended = matches!(
        message.stop_reason,
        StopReason::EndTurn | StopReason::Other(_)
    );
    if ended && most > 0 && message.usage.output_tokens >= u64::from(most) {
        message.stop_reason = StopReason::MaxTokens;
    }
}

/// Whether the endpoint keeps the format, as the first answer to a request with one shows. A repair is shown the schema
/// in words as well, so its answer says nothing.
fn shown(
    stage: &StageRuntime,
    sent: &MessagesRequest,
    form: RequestMode,
    answer: &ReadAnswer,
    text: &str,
) -> Option<Taught> {
    let formatted = sent
        .output_config
        .as_ref()
        .is_some_and(|config| config.format.is_some());
    if !formatted || form.repair || form.resume || answer.truncated {
        return None;
    }
    let doubts = if !answer.valid.is_empty() {
        -1
    } else if stage.has_format(text) {
        0
    } else {
        1
    };
    Some(Taught {
        model: stage.model.id.clone(),
        part: Part::Format,
        refused: false,
        doubts,
        reason: answer.faults.first().filter(|_| doubts > 0).cloned(),
    })
}

/// Whether a failed call shows that the server does not answer, or that it does.
fn signs(error: &CallError, head: Option<&call::Head>) -> (bool, bool) {
    let status = head.map(|head| head.status);
    let answered = status.is_some_and(|status| status < 500 || status == 529);
    let silent = matches!(
        error.code,
        ErrorCode::ConnectionFailed
            | ErrorCode::ConnectionLost
            | ErrorCode::TimedOut
            | ErrorCode::ServerError
            | ErrorCode::Unavailable
            | ErrorCode::GatewayTimeout
    );
    (silent && !answered, answered)
}

/// What a bucket must have held to leave what was left: a hint at its size. The API rounds to the nearest thousand,
/// and nothing left says nothing, for a call larger than the bucket leaves a debt that is not shown.
pub fn held_input(head: Option<&call::Head>, attempt: &ClosedAttempt) -> f64 {
    let left = head.and_then(|head| head.rate.input_tokens);
    left.filter(|left| left.remaining > 0).map_or(0.0, |left| {
        (left.remaining.saturating_sub(500) + attempt.input_tokens + attempt.cache_write) as f64
    })
}

/// What is left would not do for such a call: no sign that the bucket is as small as that. A class whose first header comes with
/// a refusal, or after calls that failed without one, would else send the next call when no more is there again.
fn lacked_input(head: Option<&call::Head>, reserved: f64) -> f64 {
    let left = head.and_then(|head| head.rate.input_tokens);
    left.filter(|left| (left.remaining as f64) < reserved)
        .map_or(0.0, |_| Bucket::cap_for(reserved))
}

/// What an answer leaves for the next call to go on from: its text, or after a pause all blocks of the turn so far.
pub fn said(asked: &Asked, message: &Message) -> String {
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

pub fn turned_away(error: &CallError) -> bool {
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

/// A call that is blocked (403 `Request not allowed`) costs no attempt and is sent again later. When that does not help,
/// all of the account's calls wait, and jobs say why.
pub fn if_it_persists(error: CallError, delays: u32) -> CallError {
    if error.code != ErrorCode::RequestBlocked || delays < MOST_BLOCKED {
        return error;
    }
    let message = format!(
        "the API does not accept calls from where this Worker runs ({}): deploy again with another --location, or set \
         ANTHROPIC_BASE_URL to a gateway",
        error.message
    );
    CallError {
        class: ErrorClass::Stop {
            resumes_at_ms: None,
        },
        message,
        ..error
    }
}

/// The error's class as the verdict knows it.
pub fn end_of(error: &CallError, missing: u32, refusal: bool) -> End {
    if refusal {
        return End::Refused { missing };
    }
    match error.class {
        ErrorClass::RetryAfter { after_ms }
            if turned_away(error) || error.code == ErrorCode::RequestBlocked =>
        {
            End::TurnedAway { after_ms }
        }
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

pub async fn keep_response<P: Ports>(
    app: &App<P>,
    task: &Claimed,
    attempt: &mut ClosedAttempt,
    text: String,
) {
    match blobs::keep(app, &blobs::answers_prefix(&task.job), text).await {
        Ok((body, blob)) => {
            attempt.response = body;
            attempt.response_blob = blob;
        }
        Err(error) => app.log_fault("keep_response", &error.to_string()),
    }
}
