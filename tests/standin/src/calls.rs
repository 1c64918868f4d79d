//! The two endpoints that take a prompt: `/v1/messages` and `count_tokens`.

use serde_json::json;

use crate::{
    answer,
    engine::{Asked, COUNT_CLASS, Engine},
    error::ApiError,
    faults::{self, Fault, Strike},
    message::{self, Ending, Message},
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
        let checked = validate::check(&body, version, betas, Kind::CountTokens, &mut self.schemas)?;
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
        let checked = validate::check(&body, version, betas, Kind::Messages, &mut self.schemas)?;
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
        if let Some(error) = fault.and_then(refusals::server_error) {
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
            Some(Fault::NonJson) => {
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
        let message = compose(checked, role, fault, hash, asked.seed, usage);
        let output = message.usage.output;
        self.class(model.class, now_ms)
            .produce(output, first_ms, now_ms + timing.ends_ms);
        let spoiled = fault.is_some_and(|f| f.spoils() || script::breaks(f));
        Outcome {
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

/// The message for an admitted request, spoiled where a fault says so.
pub(crate) fn compose(
    checked: &Checked<'_>,
    role: &str,
    fault: Option<Fault>,
    hash: u64,
    seed: u64,
    usage: Usage,
) -> Message {
    let mut content = answer::answer(checked, role, fault == Some(Fault::EnumCase));
    if let Some(fault) = fault {
        faults::spoil(fault, &mut content, hash);
    }
    let ending = match fault {
        Some(Fault::Truncate) => Ending::Truncated,
        Some(Fault::Refusal) => Ending::Refused,
        Some(Fault::Empty) => Ending::Empty,
        Some(Fault::Pause) if !checked.server_tools.is_empty() => Ending::Paused,
        _ => Ending::Whole,
    };
    message::compose(checked, &content, ending, seed, usage)
}
