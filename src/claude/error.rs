//! Every way a call can fail, and the one decision what to do about it.
//!
//! [`classify`] reads a response that is not 200, [`stream_error`] an error event in the middle of
//! a stream, [`transport_error`] a call that got no whole response, [`unusable`] a 200 that cannot
//! be used. All end in a [`CallError`]: its class says what to do, its code names the cause in an
//! attempt's row and never changes its spelling. Machine codes and types of the API decide;
//! wording only where the API gives nothing else, because it may change.

use serde::{Deserialize, Serialize};

pub use crate::claude::error::codes::ErrorCode;
use crate::claude::error::envelope::{Envelope, short};
use crate::claude::headers::Headers;
use crate::claude::request::MessagesRequest;
use crate::claude::response::{Message, StopReason, Usage};

mod codes;
mod envelope;
#[cfg(test)]
mod tests;

/// What to do about a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "snake_case")]
pub enum ErrorClass {
    /// Ask again at once: nothing suggests that waiting would help.
    RetryNow,
    /// Ask again after this long, or after the usual backoff where the server named no time.
    RetryAfter { after_ms: Option<u64> },
    /// Ask again without the schema: it was refused, our own check must do.
    Reshape,
    /// This request will never succeed.
    GiveUp,
    /// No request of this account will succeed: the breaker trips, and nobody's attempt is used
    /// up. `resumes_at_ms` is when the account works again, where that is known.
    Stop { resumes_at_ms: Option<u64> },
}

/// A call that brought no usable message.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct CallError {
    pub class: ErrorClass,
    pub code: ErrorCode,
    /// One short sentence for people; holds no secrets.
    pub message: String,
    pub status: Option<u16>,
    pub request_id: Option<String>,
    /// Overload or too steep a ramp: the whole model class must slow down, not this task alone.
    pub slow_class: bool,
    /// The model may have worked for money although we have nothing to show for it.
    pub possibly_paid: bool,
    /// What had been counted when it broke off, where anything was.
    pub usage: Option<Usage>,
}

impl CallError {
    pub(crate) fn new(class: ErrorClass, code: ErrorCode, message: impl AsRef<str>) -> Self {
        Self {
            class,
            code,
            message: short(message.as_ref()),
            status: None,
            request_id: None,
            slow_class: false,
            possibly_paid: false,
            usage: None,
        }
    }
}

impl CallError {
    /// Fits the error to the request it answers: asking again without a schema makes sense only
    /// where one was sent, otherwise the request is simply invalid.
    #[must_use]
    pub fn for_request(mut self, request: &MessagesRequest) -> Self {
        let had_format = request
            .output_config
            .as_ref()
            .is_some_and(|config| config.format.is_some());
        if self.class == ErrorClass::Reshape && !had_format {
            self.class = ErrorClass::GiveUp;
            self.code = ErrorCode::InvalidRequest;
        } else if self.class == ErrorClass::GiveUp
            && self.code == ErrorCode::InvalidRequest
            && had_format
        {
            // Endpoints word their refusals of a format in many ways: one call without it costs less than to give up.
            self.class = ErrorClass::Reshape;
            self.code = ErrorCode::SchemaRefused;
        }
        self
    }

    /// Whether the breaker must trip.
    #[must_use]
    pub fn stops_everything(&self) -> bool {
        matches!(self.class, ErrorClass::Stop { .. })
    }

    fn retry(code: ErrorCode, after_ms: Option<u64>, message: impl AsRef<str>) -> Self {
        Self::new(ErrorClass::RetryAfter { after_ms }, code, message)
    }

    fn give_up(code: ErrorCode, message: impl AsRef<str>) -> Self {
        Self::new(ErrorClass::GiveUp, code, message)
    }

    fn stop(code: ErrorCode, resumes_at_ms: Option<u64>, message: impl AsRef<str>) -> Self {
        Self::new(ErrorClass::Stop { resumes_at_ms }, code, message)
    }

    fn slowing_the_class(mut self) -> Self {
        self.slow_class = true;
        self
    }

    pub(crate) fn possibly_paid(mut self, usage: Option<Usage>) -> Self {
        self.possibly_paid = true;
        self.usage = usage;
        self
    }
}

/// Judges a response whose status is not 200. `body` may be anything: gateways answer in HTML.
#[must_use]
pub fn classify(status: u16, headers: &Headers, body: &[u8], now_ms: u64) -> CallError {
    let envelope = Envelope::read(body);
    let message = match &envelope {
        Some(envelope) => envelope.message.clone(),
        None => match envelope::words(body) {
            Some(words) => format!("HTTP {status}: {words}"),
            None => format!("HTTP {status} without a readable error"),
        },
    };
    let verdict = Verdict {
        status,
        after_ms: headers
            .retry_after_ms(now_ms)
            .map(|ms| ms.min(LONGEST_WAIT_MS)),
        now_ms,
        envelope: envelope.as_ref(),
        message: &message,
    };
    let advice = headers.get("x-should-retry");
    let mut error = verdict
        .account()
        .unwrap_or_else(|| verdict.follow(advice, verdict.by_status()));
    error.status = Some(status);
    error.request_id = headers.request_id().or_else(|| {
        envelope
            .as_ref()
            .and_then(|envelope| envelope.request_id.clone())
    });
    // A status that is no 200 came before any output, and the API bills none of those. A gateway's own timeout says only
    // that it waited no longer: the model may well have gone on, so that stays possibly paid.
    error.possibly_paid = matches!(status, 504 | 522 | 524) && envelope.is_none();
    error
}

/// Judges an `error` event that came after status 200. `data` is the event's JSON.
#[must_use]
pub fn stream_error(data: &str, headers: &Headers, now_ms: u64) -> CallError {
    let envelope = Envelope::read(data.as_bytes());
    let status = envelope.as_ref().map_or(500, Envelope::status);
    let message = match &envelope {
        Some(envelope) => envelope.message.clone(),
        None => "the stream reported an error that cannot be read".to_owned(),
    };
    let verdict = Verdict {
        status,
        // The headers came with the 200, before anything was wrong: they name no time to wait.
        after_ms: None,
        now_ms,
        envelope: envelope.as_ref(),
        message: &message,
    };
    let mut error = verdict.account().unwrap_or_else(|| {
        let error = verdict.by_status();
        // The request was accepted and the model had begun: what can still be invalid about it is
        // the structured output (seen where quotes in the text upset the grammar).
        if error.code == ErrorCode::InvalidRequest {
            return CallError::new(ErrorClass::Reshape, ErrorCode::SchemaRefused, &message);
        }
        error
    });
    error.status = Some(200);
    error.request_id = headers.request_id().or_else(|| {
        envelope
            .as_ref()
            .and_then(|envelope| envelope.request_id.clone())
    });
    error.possibly_paid = true;
    error
}

/// Judges the error of one request of a batch: as the same error of a live call, and nothing of it is paid. `error` is the
/// envelope as JSON.
#[must_use]
pub fn batch_error(error: &str, now_ms: u64) -> CallError {
    let envelope = Envelope::read(error.as_bytes());
    let message = match &envelope {
        Some(envelope) => envelope.message.clone(),
        None => "the batch reported an error that cannot be read".to_owned(),
    };
    let verdict = Verdict {
        status: envelope.as_ref().map_or(500, Envelope::status),
        after_ms: None,
        now_ms,
        envelope: envelope.as_ref(),
        message: &message,
    };
    let mut error = verdict.account().unwrap_or_else(|| verdict.by_status());
    error.request_id = envelope.and_then(|envelope| envelope.request_id);
    error
}

/// A request that its batch never came to: it costs nothing and may be asked again at once.
#[must_use]
pub fn not_answered(code: ErrorCode) -> CallError {
    let why = match code {
        ErrorCode::BatchExpired => "the batch ended before this request was answered",
        _ => "the batch was cancelled before this request was answered",
    };
    CallError::retry(code, Some(0), why)
}

/// How a call came to have no whole response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportFault {
    /// No connection; nothing was sent.
    NotSent,
    /// It broke before the response was whole, or nobody can tell when.
    Lost,
    /// We stopped waiting.
    TimedOut,
}

/// Judges a call that ended without a whole response. `detail` must hold no secrets.
#[must_use]
pub fn transport_error(fault: TransportFault, detail: &str) -> CallError {
    let (code, paid) = match fault {
        TransportFault::NotSent => (ErrorCode::ConnectionFailed, false),
        TransportFault::Lost => (ErrorCode::ConnectionLost, true),
        TransportFault::TimedOut => (ErrorCode::TimedOut, true),
    };
    let mut error = CallError::retry(code, None, detail);
    error.possibly_paid = paid;
    error
}

/// Judges a status 200 whose body is no message.
#[must_use]
pub fn not_a_message(headers: &Headers) -> CallError {
    let mut error = CallError::retry(
        ErrorCode::InvalidResponse,
        None,
        "status 200 with a body that is no message",
    )
    .possibly_paid(None);
    error.status = Some(200);
    error.request_id = headers.request_id();
    error
}

/// The error in a message that is whole but no answer: a refusal. It was paid for.
#[must_use]
pub fn unusable(message: &Message) -> Option<CallError> {
    if message.stop_reason != StopReason::Refusal {
        return None;
    }
    let refusal = message.refusal.clone().unwrap_or_default();
    let category = refusal.category.unwrap_or_else(|| "no category".to_owned());
    let text = match refusal.explanation {
        Some(explanation) => format!("the model refused ({category}): {explanation}"),
        None => format!("the model refused ({category})"),
    };
    let mut error = CallError::give_up(ErrorCode::Refused, text);
    error.status = Some(200);
    error.usage = Some(message.usage.clone());
    Some(error)
}

/// Limits are per minute: who says "in 3,000 years" is asked again in an hour. What lasts longer, as a spending limit does, has
/// a code of its own.
const LONGEST_WAIT_MS: u64 = 3_600_000;

/// Machine codes that change what is done about an error.
const CODES: &[&str] = &[
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
    "organization_on_hold",
    "linked_organization_billing_unavailable",
    "linked_organization_spend_limit_reached",
    "cmek_key_disabled",
    "cmek_key_network_blocked",
    "cmek_network_blocked",
    "ramp_limit_exceeded",
];

/// Everything the decision rests on.
struct Verdict<'a> {
    status: u16,
    after_ms: Option<u64>,
    now_ms: u64,
    envelope: Option<&'a Envelope>,
    message: &'a str,
}

impl Verdict<'_> {
    /// Errors about the account rather than the request. They come first, since the API gives them
    /// statuses that mean something else: a self-set limit is a 400, a tier's cap a 429.
    fn account(&self) -> Option<CallError> {
        let stop = |code, resumes_at_ms| Some(CallError::stop(code, resumes_at_ms, self.message));
        match self.error_code().unwrap_or_default() {
            "enforced_spend_limit_reached" => {
                return stop(
                    ErrorCode::SpendLimitReached,
                    envelope::next_month_ms(self.now_ms),
                );
            }
            "contract_spend_limit_reached" => {
                return stop(ErrorCode::ContractSpendLimitReached, None);
            }
            "organization_on_hold" => return stop(ErrorCode::OrganizationOnHold, None),
            "linked_organization_billing_unavailable"
            | "linked_organization_spend_limit_reached" => {
                return stop(ErrorCode::BillingFailed, None);
            }
            "cmek_key_disabled" | "cmek_key_network_blocked" | "cmek_network_blocked" => {
                return stop(ErrorCode::EncryptionKeyUnusable, None);
            }
            _ => {}
        }
        // These three have no machine code.
        if !matches!(self.status, 400 | 403 | 429) {
            return None;
        }
        let text = self.message.to_ascii_lowercase();
        if text.contains("reached your specified") && text.contains("usage limits") {
            let regained = envelope::regained_at_ms(self.message);
            return stop(ErrorCode::UsageLimitReached, regained);
        }
        if text.contains("credit balance is too low") {
            return stop(ErrorCode::BillingFailed, None);
        }
        if text.contains("organization has been disabled") {
            return stop(ErrorCode::OrganizationOnHold, None);
        }
        None
    }

    /// The machine code: in its own field, or inside the message, where gateways put it that wrap the API's error in theirs.
    fn error_code(&self) -> Option<&str> {
        let given = self
            .envelope
            .and_then(|envelope| envelope.error_code.as_deref());
        given.or_else(|| {
            CODES
                .iter()
                .copied()
                .find(|code| self.message.contains(code))
        })
    }

    /// The server's own advice overrules the status, in both directions. But "do not retry" on load or a fault of the
    /// server speaks of the SDK's quick retries: it is no verdict on the request.
    fn follow(&self, advice: Option<&str>, mut error: CallError) -> CallError {
        match (advice, error.class) {
            (Some("true"), ErrorClass::GiveUp | ErrorClass::Stop { .. }) => {
                error.class = ErrorClass::RetryAfter {
                    after_ms: self.after_ms,
                };
            }
            (Some("false"), ErrorClass::RetryAfter { .. } | ErrorClass::RetryNow)
                if self.status != 429 && self.status < 500 =>
            {
                error.class = ErrorClass::GiveUp;
            }
            _ => {}
        }
        error
    }

    fn by_status(&self) -> CallError {
        let retry = |code| CallError::retry(code, self.after_ms, self.message);
        let give_up = |code| CallError::give_up(code, self.message);
        let stop = |code| CallError::stop(code, None, self.message);
        let kind = self.envelope.map_or("", |envelope| &envelope.kind);
        match self.status {
            400 | 422 => self.bad_request(),
            401 => stop(ErrorCode::AuthenticationFailed),
            402 => stop(ErrorCode::BillingFailed),
            // "Request not allowed" is said by the edge to a caller it does not like just now; the
            // key is not at fault, so it must not trip the breaker.
            403 if kind == "permission_error" && !self.message.contains("Request not allowed") => {
                stop(ErrorCode::PermissionDenied)
            }
            403 => retry(ErrorCode::RequestBlocked),
            404 if self.message.starts_with("model:") => give_up(ErrorCode::ModelNotFound),
            404 => give_up(ErrorCode::NotFound),
            408 => retry(ErrorCode::RequestTimeout),
            409 => retry(ErrorCode::Conflict),
            413 => give_up(ErrorCode::RequestTooLarge),
            429 => match self.error_code() {
                Some("ramp_limit_exceeded") => retry(ErrorCode::RampLimited).slowing_the_class(),
                _ => retry(ErrorCode::RateLimited),
            },
            529 => retry(ErrorCode::Overloaded).slowing_the_class(),
            500..=599 if kind == "overloaded_error" => {
                retry(ErrorCode::Overloaded).slowing_the_class()
            }
            503 => retry(ErrorCode::Unavailable),
            504 | 522 | 524 => retry(ErrorCode::GatewayTimeout),
            500..=599 => retry(ErrorCode::ServerError),
            _ => give_up(ErrorCode::UnexpectedStatus),
        }
    }

    /// A 400 has no machine code for what is wrong; the path it begins with, or the wording, has
    /// to do. Whatever is not recognised is an invalid request, which is always true.
    fn bad_request(&self) -> CallError {
        let text = self.message.to_ascii_lowercase();
        let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
        if has(&[
            "output_config.format",
            "output_format",
            "schema is too complex",
            "compiled grammar",
            "grammar compilation",
            "schemas contains too many",
            "json_schema",
        ]) {
            return CallError::new(ErrorClass::Reshape, ErrorCode::SchemaRefused, self.message);
        }
        if has(&[
            "prompt is too long",
            "exceed context limit",
            "exceeds the context",
        ]) {
            return CallError::give_up(ErrorCode::PromptTooLong, self.message);
        }
        CallError::give_up(ErrorCode::InvalidRequest, self.message)
    }
}
