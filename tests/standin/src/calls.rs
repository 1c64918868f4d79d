//! The two endpoints that take a prompt: `/v1/messages` and `count_tokens`.

use serde_json::json;

use crate::{
    answer,
    engine::{Asked, COUNT_CLASS, Engine},
    error::ApiError,
    faults::{self, Effects, Fault, MODES, Strike},
    message::{self, Draft, Ending, Message},
    models::Usage,
    refusals,
    script::{self, Body, Outcome, Timing},
    validate::{self, Checked, Kind},
};

impl Engine {
    pub(crate) fn count_tokens(
        &mut self,
        asked: &Asked<'_>,
        version: &str,
    ) -> Result<Outcome, ApiError> {
        let body = validate::parse(&asked.incoming.body)?;
        let betas = asked.incoming.header("anthropic-beta");
        let checked = validate::check(&body, version, betas, Kind::CountTokens, &mut self.terms)?;
        if let Some(outcome) = self.other_fault(asked) {
            return Ok(outcome);
        }
        let tokens = checked.prompt.tokens;
        // A bucket of its own, never the one of messages.
        let _ = self.class(COUNT_CLASS, asked.now_ms).admit(0, asked.now_ms);
        Ok(Outcome {
            class: Some(COUNT_CLASS),
            ..Outcome::json(json!({ "input_tokens": tokens }))
        })
    }

    pub(crate) fn messages(
        &mut self,
        asked: &Asked<'_>,
        version: &str,
    ) -> Result<Outcome, ApiError> {
        let encoding = asked.incoming.header("content-encoding");
        if !matches!(encoding, "" | "identity") {
            let message = format!("Unsupported content encoding: {encoding}");
            return Err(ApiError::invalid(message).with_code("request_body_encoding_unsupported"));
        }
        let body = validate::parse(&asked.incoming.body)?;
        let betas = asked.incoming.header("anthropic-beta");
        let checked = validate::check(&body, version, betas, Kind::Messages, &mut self.terms)?;
        let mut modes = MODES.iter().filter(|m| self.config.modes.has(**m));
        if let Some(error) = modes.find_map(|m| refusals::unknown_field(*m, &checked)) {
            return Err(error);
        }
        let hash = self.repeat_hash(asked);
        let strike = self.strike(asked, checked.model.id, hash);
        let timing = self.timing(hash, strike);
        let early = strike.and_then(|s| refusals::account_error(&s, Some(&checked), asked.now_ms));
        let outcome = match early {
            Some(error) => Outcome {
                strike,
                timing: timing.quick(),
                ..Outcome::error(&error, asked.request_id)
            },
            None => self.admitted(asked, &checked, strike, timing, hash),
        };
        Ok(Outcome {
            model: Some(checked.model),
            class: Some(checked.model.class),
            ..outcome
        })
    }

    /// Limits, then the answer with whatever fault strikes it.
    fn admitted(
        &mut self,
        asked: &Asked<'_>,
        checked: &Checked<'_>,
        strike: Option<Strike>,
        timing: Timing,
        hash: u64,
    ) -> Outcome {
        let (model, now_ms) = (checked.model, asked.now_ms);
        let quote = self.cache.quote(checked, now_ms);
        let usage = quote.usage;
        let admitted = self
            .class(model.class, now_ms)
            .admit(usage.limited_input(), now_ms);
        if let Err(refusal) = admitted {
            let error = refusal.error(&self.organization, model);
            return Outcome {
                refused: Some(refusal.which),
                timing: timing.quick(),
                ..Outcome::error(&error, asked.request_id)
            };
        }
        let fault = strike.map(|s| s.fault);
        if let Some(error) = strike.as_ref().and_then(refusals::server_error) {
            // The request and its input count against the limits; nothing is
            // billed.
            let failed = Outcome::error(&error, asked.request_id);
            return Outcome {
                strike,
                usage,
                timing,
                ..failed
            };
        }
        match fault {
            Some(Fault::Reset) => {
                return Outcome {
                    strike,
                    usage,
                    timing,
                    ..Outcome::new(0, Body::Nothing)
                };
            }
            Some(Fault::NonJson | Fault::Outage) => {
                let page = Body::Html(refusals::html(502, "Bad Gateway"));
                return Outcome {
                    strike,
                    usage,
                    timing,
                    ..Outcome::new(502, page)
                };
            }
            _ => {}
        }
        let first_ms = now_ms + timing.opens_ms;
        self.cache.commit(&quote, now_ms, first_ms);
        let role = asked.incoming.header("x-fanwise-role");
        let effects = self.effects(fault);
        let name = self.config.served_model.clone();
        let message = compose(checked, role, (effects, name), (hash, asked.seed), usage);
        let output = message.usage.output;
        self.class(model.class, now_ms)
            .produce(output, first_ms, now_ms + timing.ends_ms);
        let spoiled = spoils(checked, &message.effects) || fault.is_some_and(script::breaks);
        Outcome {
            free: message.free,
            usage: message.usage,
            good: !spoiled && message.is_whole(),
            strike,
            timing,
            ..Outcome::new(
                200,
                if checked.stream {
                    Body::Stream(message)
                } else {
                    Body::Json(message.json())
                },
            )
        }
    }
}

/// The text with which refusals are tested at the API. In parts, so that reading this file refuses nothing.
const REFUSE_ME: &str = concat!(
    "ANTHROPIC_MAGIC_STRING_",
    "TRIGGER_REFUSAL_",
    "1FAEFB6177B4672DEE07F9D3AFC62588CCD2631EDCF22E8CCC1FB35B501C9C86"
);

fn asks_for_refusal(checked: &Checked<'_>) -> bool {
    let last = checked.prompt.blocks.last().map(|b| b.value);
    let text = last.and_then(|v| v.as_str().or_else(|| v.get("text")?.as_str()));
    text.is_some_and(|t| t.contains(REFUSE_ME))
}

/// Whether an answer is not one to keep, though it came whole.
pub(crate) fn spoils(checked: &Checked<'_>, effects: &Effects) -> bool {
    let unformed = effects.has(Fault::Prose) || effects.has(Fault::FormatIgnored);
    effects.spoil() || unformed && checked.format.is_some()
}

/// The message for an admitted request, spoiled where a fault or a mode says so. `name` is what the answer calls the
/// model; `hash` decides where it is spoiled, `seed` makes its ids.
pub(crate) fn compose(
    checked: &Checked<'_>,
    role: &str,
    (effects, name): (Effects, Option<String>),
    (hash, seed): (u64, u64),
    input: Usage,
) -> Message {
    let drift = effects.struck == Some(Fault::EnumCase);
    let mut content = match effects.has(Fault::FormatIgnored) && checked.format.is_some() {
        true => answer::unformatted(checked, role, drift),
        false => answer::answer(checked, role, drift),
    };
    for fault in effects.each() {
        let hash = match fault {
            Fault::FollowUp if !answer::tells_of_flags(checked) => answer::plan::unflagged(hash),
            _ => hash,
        };
        faults::spoil(fault, &mut content, hash);
    }
    let ending = match effects.struck {
        _ if asks_for_refusal(checked) => Ending::RefusedEarly,
        Some(Fault::Truncate) => Ending::Truncated,
        Some(Fault::Refusal) => Ending::Refused,
        Some(Fault::RefusalEarly) => Ending::RefusedEarly,
        Some(Fault::RefusalMid) => Ending::RefusedMid,
        Some(Fault::SilentCut) => Ending::SilentlyCut,
        Some(Fault::Empty) => Ending::Empty,
        Some(Fault::Pause) if !checked.server_tools.is_empty() => Ending::Paused,
        _ => Ending::Whole,
    };
    let draft = Draft {
        content,
        ending,
        effects,
        seed,
        input,
        name,
    };
    message::compose(checked, draft)
}
