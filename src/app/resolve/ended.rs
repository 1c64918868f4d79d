//! What became of a call: its cost, what its answer or failure says of the class and of the account, and how it ended for
//! the verdict.

use serde_json::Value;

use super::conclude::{as_answer, conclude, lacking, ledger_entry};
use super::reading::{fault_code, read};
use super::{Admitted, Asked, Resolved, blank, count};
use crate::app::call::{self, Ended};
use crate::app::kit::{Kit, Prior};
use crate::app::{App, bodies};
use crate::claude::error::{CallError, ErrorClass, ErrorCode, unusable};
use crate::claude::request::MessagesRequest;
use crate::claude::response::{Message, StopReason};
use crate::core::admit::Bucket;
use crate::core::verdict::{End, Form};
use crate::ports::{Clock, Ports};
use crate::store::admission::Claimed;
use crate::store::settle::{ClosedAttempt, Invented};

/// Of ids that an answer made up, so many are flagged, by so many of their characters.
const INVENTED_KEPT: usize = 100;

const INVENTED_CHARS: usize = 128;

/// What became of a call.
pub(super) async fn resolve<P: Ports>(
    app: &App<P>,
    kit: &Kit,
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
    let (given, end, problem) = match result {
        Ok(message) if message.stop_reason == StopReason::PauseTurn => {
            resolved.ok = true;
            resolved.probe_came_through = probe;
            let why = "the model was not done with its tools".to_owned();
            (Vec::new(), End::Paused, Some(("paused", why)))
        }
        Ok(message) => {
            resolved.ok = true;
            resolved.probe_came_through = probe;
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
                // What was cut off after the last wanted result is kept without its stump.
                let kept = match answer.truncated {
                    true => as_answer(stage, &answer.valid),
                    false => Some(text.clone()),
                };
                if let Some(kept) = kept {
                    let key = stage.key(&request);
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
            // It had less room than it may have: the rest is asked for with all of it.
            let end = match missing > 0 && answer.truncated && task.room.is_some() {
                true => End::Cut,
                false => End::Answered { missing },
            };
            (answer.valid, end, problem)
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
    resolved.attempt = Some(attempt);
    resolved
}

/// What a bucket must have held to leave what was left: a hint at its size. The API rounds to the nearest thousand,
/// and nothing left says nothing, for a call larger than the bucket leaves a debt that is not shown.
pub(super) fn held_input(head: Option<&call::Head>, attempt: &ClosedAttempt) -> f64 {
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
pub(super) fn said(asked: &Asked, message: &Message) -> String {
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

pub(super) fn turned_away(error: &CallError) -> bool {
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
pub(super) fn end_of(error: &CallError, missing: u32, refusal: bool) -> End {
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

pub(super) async fn keep_response<P: Ports>(
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
