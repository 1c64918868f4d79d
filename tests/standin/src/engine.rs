//! One call from bytes to the script of its reply: headers, pieces and the
//! times at which they go out. Pure but for its own state; the time is brought
//! by the caller, so that a simulation can play the same API on a virtual clock.
//!
//! Order of judgement, as at the API: size, key, version, body, faults that are
//! about the account, rate limits, then faults that come while answering.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    answer,
    cache::PromptCache,
    clock,
    config::Config,
    error::ApiError,
    faults::{self, Caller, Fault, Strike},
    ids,
    limits::{ClassLimits, Limits},
    message::{self, Ending, Message},
    models::{self, Model, Usage},
    schema, stats, stream,
    validate::{self, Checked, Kind, VERSION_2023, VERSION_2026},
};

/// The largest body of `/v1/messages` and `count_tokens`.
pub const MAX_BODY: usize = 32 * 1024 * 1024;
/// A hang without `ms` lasts as long as the SDKs' time-out.
const HANG_MS: u64 = 600_000;
/// The bucket of `count_tokens`, apart from every model's.
const COUNT_CLASS: &str = "count_tokens";

/// A request as it came in; header names in lower case.
#[derive(Clone, Debug, Default)]
pub struct Incoming {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Incoming {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(k, _)| k == name);
        found.map(|(_, v)| v.as_str()).unwrap_or_default()
    }
}

/// How a reply ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In good order, though perhaps early.
    Clean,
    /// The connection breaks.
    Reset,
}

/// What goes over the wire, and when: times are milliseconds after the request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Name this number when the reply has ended, see [`Engine::ended`].
    pub number: u64,
    /// 0 where the connection breaks before any answer.
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub opens_ms: u64,
    pub pieces: Vec<(u64, Bytes)>,
    pub end: End,
    pub ends_ms: u64,
}

/// The stand-in's state.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    schemas: schema::Cache,
    cache: PromptCache,
    classes: HashMap<&'static str, ClassLimits>,
    stats: stats::Stats,
    number: u64,
    salt: u64,
    seen: HashMap<u64, u64>,
    organization: String,
    workspace: String,
}

/// An answer on its way, before it becomes a script.
struct Outcome {
    status: u16,
    body: Body,
    model: Option<&'static Model>,
    class: Option<&'static str>,
    usage: Usage,
    good: bool,
    strike: Option<Strike>,
    refused: Option<crate::limits::Which>,
    retry_after_s: Option<u64>,
    should_retry: Option<bool>,
    latency_ms: u64,
}

enum Body {
    Json(Value),
    Html(String),
    Stream(Message),
    Nothing,
}

impl Outcome {
    fn new(status: u16, body: Body) -> Self {
        Self {
            status,
            body,
            model: None,
            class: None,
            usage: Usage::default(),
            good: false,
            strike: None,
            refused: None,
            retry_after_s: None,
            should_retry: None,
            latency_ms: 0,
        }
    }

    fn error(error: &ApiError, request_id: &str) -> Self {
        let known = (error.status == 400).then_some(false);
        Self {
            retry_after_s: error.retry_after_s,
            should_retry: error.should_retry.or(known),
            ..Self::new(error.status, Body::Json(error.body(request_id)))
        }
    }
}

impl Engine {
    /// `salt` makes ids of different runs differ; the same salt gives the same.
    pub fn new(config: Config, salt: u64, now_ms: u64) -> Self {
        Self {
            config,
            schemas: schema::Cache::default(),
            cache: PromptCache::default(),
            classes: HashMap::new(),
            stats: stats::Stats::new(now_ms),
            number: 0,
            salt,
            seen: HashMap::new(),
            organization: ids::uuid(0x06),
            workspace: ids::other_id("wrkspc_01", 0x57),
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes a new configuration; changed limits start with full buckets, a
    /// changed seed with a fresh count of repeats.
    pub fn configure(&mut self, config: Config) {
        if config.limits != self.config.limits {
            self.classes.clear();
        }
        if config.seed != self.config.seed {
            self.seen.clear();
        }
        self.config = config;
    }

    pub fn stats(&self) -> &stats::Stats {
        &self.stats
    }

    pub fn stats_mut(&mut self) -> &mut stats::Stats {
        &mut self.stats
    }

    /// Forgets counters, cached prompts and repeats; limits refill.
    pub fn reset(&mut self, now_ms: u64) {
        self.stats.reset(now_ms);
        self.cache = PromptCache::default();
        self.classes.clear();
        self.seen.clear();
    }

    /// A reply's end, as seen by whoever played it.
    pub fn ended(&mut self, number: u64, how: stats::Ended, now_ms: u64) {
        self.stats.end(number, how, now_ms);
    }

    /// Answers one request.
    pub fn handle(&mut self, incoming: &Incoming, now_ms: u64) -> Reply {
        self.number += 1;
        let number = self.number;
        let seed = ids::mix(self.salt ^ number);
        let request_id = ids::request_id(seed);
        let key = ids::fingerprint(&incoming.body);
        let outcome = match self.route(incoming, key, seed, &request_id, now_ms) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::error(&error, &request_id),
        };
        self.finish(incoming, number, key, request_id, outcome, now_ms)
    }

    fn route(
        &mut self,
        incoming: &Incoming,
        key: u128,
        seed: u64,
        request_id: &str,
        now_ms: u64,
    ) -> Result<Outcome, ApiError> {
        if incoming.body.len() > MAX_BODY {
            return Ok(Outcome::new(
                413,
                Body::Html(html(413, "Payload Too Large")),
            ));
        }
        self.authenticate(incoming)?;
        let version = version(incoming)?;
        let path = incoming.path.trim_end_matches('/');
        match (incoming.method.as_str(), path) {
            ("POST", "/v1/messages") => {
                self.messages(incoming, version, key, seed, request_id, now_ms)
            }
            ("POST", "/v1/messages/count_tokens") => self.count_tokens(incoming, version, now_ms),
            ("GET", "/v1/models") => {
                list_models(&incoming.query).map(|v| Outcome::new(200, Body::Json(v)))
            }
            ("GET", other) if other.starts_with("/v1/models/") => {
                let id = other.trim_start_matches("/v1/models/");
                let model =
                    models::find(id).ok_or_else(|| ApiError::not_found(format!("model: {id}")))?;
                Ok(Outcome::new(200, Body::Json(model.json())))
            }
            (_, "/v1/messages" | "/v1/messages/count_tokens" | "/v1/models") => Err(ApiError::new(
                405,
                "invalid_request_error",
                "Method Not Allowed",
            )),
            _ => Err(ApiError::not_found("Not Found")),
        }
    }

    fn authenticate(&self, incoming: &Incoming) -> Result<(), ApiError> {
        let key = incoming.header("x-api-key");
        let bearer = incoming
            .header("authorization")
            .strip_prefix("Bearer ")
            .unwrap_or_default();
        let accepted = |given: &str| self.config.api_key.as_ref().is_none_or(|k| k == given);
        // The header of its own wins where both are sent.
        match (key.trim(), bearer.trim()) {
            ("", "") => Err(ApiError::authentication("x-api-key header is required")),
            ("", token) if accepted(token) => Ok(()),
            ("", _) => Err(ApiError::authentication("Invalid bearer token")),
            (key, _) if accepted(key) => Ok(()),
            _ => Err(ApiError::authentication("invalid x-api-key")),
        }
    }

    fn count_tokens(
        &mut self,
        incoming: &Incoming,
        version: &str,
        now_ms: u64,
    ) -> Result<Outcome, ApiError> {
        let body = validate::parse(&incoming.body)?;
        let betas = incoming.header("anthropic-beta");
        let checked = validate::check(&body, version, betas, Kind::CountTokens, &mut self.schemas)?;
        let tokens = checked.prompt.tokens;
        let model = checked.model;
        let free = Limits::default();
        let class = self
            .classes
            .entry(COUNT_CLASS)
            .or_insert_with(|| ClassLimits::new(&free, now_ms));
        // A bucket of its own, never the one of messages.
        let _ = class.admit(0, now_ms);
        Ok(Outcome {
            model: Some(model),
            class: Some(COUNT_CLASS),
            ..Outcome::new(200, Body::Json(json!({ "input_tokens": tokens })))
        })
    }

    fn messages(
        &mut self,
        incoming: &Incoming,
        version: &str,
        key: u128,
        seed: u64,
        request_id: &str,
        now_ms: u64,
    ) -> Result<Outcome, ApiError> {
        let encoding = incoming.header("content-encoding");
        if !matches!(encoding, "" | "identity") {
            return Err(
                ApiError::invalid(format!("Unsupported content encoding: {encoding}"))
                    .with_code("request_body_encoding_unsupported"),
            );
        }
        let body = validate::parse(&incoming.body)?;
        let betas = incoming.header("anthropic-beta");
        let checked = validate::check(&body, version, betas, Kind::Messages, &mut self.schemas)?;
        let model = checked.model;
        let hash = self.repeat_hash(incoming, key);
        let strike = self.strike(incoming, model, hash);
        let latency_ms = self.latency(hash, strike);
        let mut outcome = match strike.and_then(|s| account_error(&s, &checked, now_ms)) {
            Some(error) => Outcome {
                latency_ms: latency_ms / 10,
                ..Outcome::error(&error, request_id)
            },
            None => self.admitted(
                incoming, &checked, strike, hash, latency_ms, seed, request_id, now_ms,
            ),
        };
        outcome.model = Some(model);
        outcome.class = Some(model.class);
        if outcome.refused.is_none() && outcome.strike.is_none() {
            outcome.strike = strike.filter(|_| outcome.status != 200);
        }
        Ok(outcome)
    }

    /// Limits, then the answer with whatever fault strikes it.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call's whole context, used once"
    )]
    fn admitted(
        &mut self,
        incoming: &Incoming,
        checked: &Checked<'_>,
        strike: Option<Strike>,
        hash: u64,
        latency_ms: u64,
        seed: u64,
        request_id: &str,
        now_ms: u64,
    ) -> Outcome {
        let model = checked.model;
        let first_ms = now_ms + self.first_byte(latency_ms, strike);
        let limits = self.config.limits;
        let class = self
            .classes
            .entry(model.class)
            .or_insert_with(|| ClassLimits::new(&limits, now_ms));
        let quote = self.cache.quote(checked, now_ms);
        let usage = quote.usage;
        if let Err(refusal) = class.admit(usage.limited_input(), now_ms) {
            let error = refusal.error(&self.organization, model);
            return Outcome {
                refused: Some(refusal.which),
                latency_ms: latency_ms / 10,
                ..Outcome::error(&error, request_id)
            };
        }
        let struck = Outcome {
            strike,
            usage,
            latency_ms,
            ..Outcome::new(200, Body::Nothing)
        };
        match strike.map(|s| s.fault) {
            Some(Fault::Reset) => {
                return Outcome {
                    status: 0,
                    ..struck
                };
            }
            Some(Fault::NonJson) => {
                return Outcome {
                    status: 502,
                    body: Body::Html(html(502, "Bad Gateway")),
                    ..struck
                };
            }
            Some(fault) => {
                if let Some(error) = server_error(fault) {
                    return Outcome {
                        strike,
                        usage,
                        latency_ms,
                        ..Outcome::error(&error, request_id)
                    };
                }
            }
            None => {}
        }
        self.cache.commit(&quote, now_ms, first_ms);
        let message = self.answer(incoming, checked, strike, hash, seed, usage);
        let class = self
            .classes
            .entry(model.class)
            .or_insert_with(|| ClassLimits::new(&limits, now_ms));
        class.produce(message.usage.output, first_ms, now_ms + latency_ms);
        let spoiled = strike.is_some_and(|s| s.fault.spoils() || breaks(s.fault));
        Outcome {
            usage: message.usage,
            good: !spoiled
                && matches!(
                    message.stop_reason,
                    "end_turn" | "stop_sequence" | "tool_use"
                ),
            body: if checked.stream {
                Body::Stream(message)
            } else {
                Body::Json(message.json())
            },
            ..struck
        }
    }

    fn answer(
        &self,
        incoming: &Incoming,
        checked: &Checked<'_>,
        strike: Option<Strike>,
        hash: u64,
        seed: u64,
        usage: Usage,
    ) -> Message {
        let fault = strike.map(|s| s.fault);
        let drift = fault == Some(Fault::EnumCase);
        let mut content = answer::answer(checked, incoming.header("x-fanwise-role"), drift);
        if let Some(fault) = fault {
            faults::spoil(fault, &mut content, hash);
        }
        let ending = match fault {
            Some(Fault::Truncate) => Ending::Truncated,
            Some(Fault::Refusal) => Ending::Refused,
            Some(Fault::Empty) => Ending::Empty,
            _ => Ending::Whole,
        };
        message::compose(checked, &content, ending, seed, usage)
    }

    /// A hash of the request and of how often it came: faults repeat with it.
    fn repeat_hash(&mut self, incoming: &Incoming, key: u128) -> u64 {
        let folded = (key >> 64) as u64 ^ key as u64;
        let who = ids::hash(incoming.header("x-fanwise-attempt").as_bytes());
        let call = ids::mix(folded ^ who.rotate_left(7) ^ ids::mix(self.config.seed));
        let times = self.seen.entry(call).or_default();
        *times += 1;
        ids::mix(call ^ *times)
    }

    fn strike(&mut self, incoming: &Incoming, model: &Model, hash: u64) -> Option<Strike> {
        let caller = Caller {
            role: incoming.header("x-fanwise-role"),
            job: incoming.header("x-fanwise-job"),
            task: incoming.header("x-fanwise-task"),
            attempt: incoming.header("x-fanwise-attempt"),
        };
        if !self.config.rules.is_empty() {
            let body = std::str::from_utf8(&incoming.body).unwrap_or_default();
            let by_rule = faults::by_rule(&mut self.config.rules, &caller, model.id, body);
            if by_rule.is_some() {
                return by_rule;
            }
        }
        let fault = self.config.faults.draw(hash)?;
        Some(Strike {
            fault,
            ms: None,
            retry_after_s: None,
        })
    }

    fn latency(&self, hash: u64, strike: Option<Strike>) -> u64 {
        let base = self.config.latency_ms as f64;
        let spread = 1.0 + self.config.jitter * (2.0 * ids::unit(hash ^ 0xa11) - 1.0);
        let usual = (base * spread).round() as u64;
        match strike {
            Some(Strike {
                fault: Fault::Slow,
                ms,
                ..
            }) => ms.unwrap_or(usual * 10),
            Some(Strike {
                fault: Fault::Hang,
                ms,
                ..
            }) => ms.unwrap_or(HANG_MS),
            _ => usual,
        }
    }

    fn first_byte(&self, latency_ms: u64, strike: Option<Strike>) -> u64 {
        let share = match strike.map(|s| s.fault) {
            Some(Fault::SlowFirstByte) => 0.9,
            Some(Fault::Hang) => 1.0,
            _ => self.config.first_byte,
        };
        (latency_ms as f64 * share).round() as u64
    }

    /// Turns an outcome into a script and counts it.
    fn finish(
        &mut self,
        incoming: &Incoming,
        number: u64,
        key: u128,
        request_id: String,
        outcome: Outcome,
        now_ms: u64,
    ) -> Reply {
        let fault = outcome.strike.map(|s| s.fault);
        let mut headers = vec![
            ("request-id", request_id.clone()),
            ("anthropic-organization-id", self.organization.clone()),
            ("anthropic-workspace-id", self.workspace.clone()),
        ];
        let limits = self.config.limits;
        let class = outcome.class.unwrap_or("haiku-5-5");
        let class = self
            .classes
            .entry(class)
            .or_insert_with(|| ClassLimits::new(&limits, now_ms));
        headers.extend(class.headers(now_ms));
        if let Some(seconds) = outcome.retry_after_s {
            headers.push(("retry-after", seconds.to_string()));
        }
        if let Some(retry) = outcome.should_retry {
            headers.push(("x-should-retry", retry.to_string()));
        }
        let latency_ms = outcome.latency_ms;
        let first_ms = self.first_byte(latency_ms, outcome.strike);
        let script = match outcome.body {
            Body::Stream(message) => {
                headers.push((
                    "content-type",
                    "text/event-stream; charset=utf-8".to_owned(),
                ));
                headers.push(("cache-control", "no-cache".to_owned()));
                let parts = stream::pieces(&message, self.config.chunks);
                let spread = (latency_ms - first_ms.min(latency_ms)) as f64;
                let timed = parts
                    .into_iter()
                    .map(|p| (first_ms + (spread * p.share).round() as u64, p.data));
                broken(timed.collect(), fault, &request_id)
            }
            Body::Json(value) => {
                headers.push(("content-type", "application/json".to_owned()));
                let text = value.to_string();
                if fault.is_some_and(breaks) && outcome.status == 200 {
                    let half = text
                        .char_indices()
                        .nth(text.chars().count() / 2)
                        .map_or(0, |(at, _)| at);
                    (
                        vec![(latency_ms, text.get(..half).unwrap_or_default().to_owned())],
                        End::Reset,
                    )
                } else {
                    (vec![(latency_ms, text)], End::Clean)
                }
            }
            Body::Html(text) => {
                headers.push(("content-type", "text/html".to_owned()));
                (vec![(latency_ms, text)], End::Clean)
            }
            Body::Nothing => (Vec::new(), End::Reset),
        };
        let (pieces, end) = script;
        let opens_ms = pieces.first().map_or(first_ms, |p| p.0);
        let ends_ms = pieces.last().map_or(opens_ms, |p| p.0);
        let billed = outcome.status == 200 && outcome.model.is_some();
        let usage = outcome.usage;
        let call = stats::Call {
            number,
            at_ms: now_ms,
            path: incoming.path.clone(),
            role: incoming.header("x-fanwise-role").to_owned(),
            job: incoming.header("x-fanwise-job").to_owned(),
            task: incoming.header("x-fanwise-task").to_owned(),
            attempt: incoming.header("x-fanwise-attempt").to_owned(),
            model: outcome.model.map(|m| m.id).unwrap_or_default().to_owned(),
            key,
            status: outcome.status,
            fault,
            refused: outcome.refused,
            usage: if billed {
                usage
            } else {
                Usage { output: 0, ..usage }
            },
            cost_nano: outcome
                .model
                .filter(|_| billed)
                .map_or(0, |m| m.cost_nano(&usage)),
            good: outcome.good,
            request_id,
            headers: incoming.headers.clone(),
            body: incoming.body.clone(),
            ended: None,
        };
        self.stats
            .begin(call, outcome.class.filter(|c| *c != COUNT_CLASS));
        Reply {
            number,
            status: outcome.status,
            headers,
            opens_ms,
            pieces: pieces
                .into_iter()
                .map(|(at, text)| (at, Bytes::from(text)))
                .collect(),
            end,
            ends_ms,
        }
    }
}

fn version(incoming: &Incoming) -> Result<&'static str, ApiError> {
    match incoming.header("anthropic-version") {
        "" => Err(ApiError::invalid("anthropic-version: header is required")),
        VERSION_2026 => Ok(VERSION_2026),
        VERSION_2023 | "2023-01-01" => Ok(VERSION_2023),
        other => Err(ApiError::invalid(format!(
            "anthropic-version: \"{other}\" is not a valid version"
        ))),
    }
}

/// Faults that break the wire in the middle of an answer.
fn breaks(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Cut | Fault::ResetMid | Fault::ErrorEvent | Fault::Garbage
    )
}

/// A stream with its second half replaced by a fault.
fn broken(
    mut pieces: Vec<(u64, String)>,
    fault: Option<Fault>,
    request_id: &str,
) -> (Vec<(u64, String)>, End) {
    let Some(fault) = fault.filter(|f| breaks(*f)) else {
        return (pieces, End::Clean);
    };
    let kept = (pieces.len() / 2).max(1);
    let at = pieces.get(kept).map_or(0, |p| p.0);
    pieces.truncate(kept);
    match fault {
        Fault::ErrorEvent => {
            pieces.push((
                at,
                stream::error_event(&ApiError::overloaded().body(request_id)),
            ));
            (pieces, End::Clean)
        }
        Fault::Garbage => {
            pieces.push((at, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"ind\n\n\u{0}<html>upstream</html>\n\n".to_owned()));
            (pieces, End::Clean)
        }
        Fault::ResetMid => (pieces, End::Reset),
        _ => (pieces, End::Clean),
    }
}

/// Refusals that are about the account or the request, before any limit.
fn account_error(strike: &Strike, checked: &Checked<'_>, now_ms: u64) -> Option<ApiError> {
    let month = clock::next_month(now_ms);
    let retry = Some(strike.retry_after_s.unwrap_or(1));
    Some(match strike.fault {
        Fault::RateLimit => ApiError::rate_limit("This request would exceed your account's rate limit. Please try again later.", retry),
        Fault::Ramp => ApiError::rate_limit(
            format!(
                "This request would exceed your organization's maximum usage increase rate for input tokens per minute (model: {}). Please scale up your input tokens usage more gradually to stay within the acceleration limit. For details, refer to: https://docs.claude.com/en/api/rate-limits.",
                checked.model.id
            ),
            retry,
        )
        .with_code("ramp_limit_exceeded"),
        Fault::SpendLimit => ApiError::rate_limit(
            format!("You have reached your API usage limits: your organization has crossed its monthly API usage threshold, set based on your organization's API tier. You will regain access on {month} at 00:00 UTC."),
            None,
        )
        .with_code("enforced_spend_limit_reached"),
        Fault::ContractSpendLimit => ApiError::rate_limit("You have reached the spend limit of your contract.", None)
            .with_code("contract_spend_limit_reached"),
        Fault::UsageLimit => ApiError::invalid(format!("You have reached your specified API usage limits. You will regain access on {month} at 00:00 UTC.")),
        Fault::Credit => ApiError::invalid("Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."),
        Fault::Billing => ApiError::new(402, "billing_error", "There is an issue with your organization's billing. Please update your payment details."),
        Fault::BadKey => ApiError::authentication("invalid x-api-key"),
        Fault::Permission => ApiError::new(403, "permission_error", "Your API key does not have permission to use the specified resource."),
        Fault::OnHold => ApiError::invalid("Your organization is on hold.").with_code("organization_on_hold"),
        Fault::SchemaRefused => ApiError::invalid("Schema is too complex for compilation."),
        Fault::TooLong => {
            let context = checked.model.context;
            ApiError::invalid(format!("prompt is too long: {} tokens > {context} maximum", context + checked.prompt.tokens))
        }
        Fault::TooLarge => ApiError::new(413, "request_too_large", "Request exceeds the maximum size"),
        _ => return None,
    })
}

/// Failures that come after a call was admitted.
fn server_error(fault: Fault) -> Option<ApiError> {
    Some(match fault {
        Fault::Internal => ApiError::new(500, "api_error", "Internal server error"),
        Fault::Unavailable => ApiError::new(503, "api_error", "Service temporarily unavailable"),
        Fault::Timeout => ApiError::new(504, "timeout_error", "The request timed out"),
        Fault::Overloaded => ApiError::overloaded(),
        _ => return None,
    })
}

fn html(status: u16, title: &str) -> String {
    format!(
        "<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n<center><h1>{status} {title}</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
    )
}

/// `GET /v1/models` with `limit`, `after_id` and `before_id`.
fn list_models(query: &str) -> Result<Value, ApiError> {
    let param = |name: &str| {
        query
            .split('&')
            .filter_map(|p| p.split_once('='))
            .find(|(k, _)| *k == name)
            .map(|(_, v)| v)
    };
    let limit = match param("limit") {
        None => 20,
        Some(text) => match text.parse::<usize>() {
            Ok(n @ 1..=1_000) => n,
            _ => return Err(ApiError::at("limit", "Input should be between 1 and 1000")),
        },
    };
    let all = models::MODELS;
    let position = |id: &str| all.iter().position(|m| m.id == id);
    let from = param("after_id").and_then(position).map_or(0, |at| at + 1);
    let to = param("before_id").and_then(position).unwrap_or(all.len());
    let range = all.get(from..to.max(from)).unwrap_or_default();
    let page = range.get(..limit.min(range.len())).unwrap_or_default();
    Ok(json!({
        "data": page.iter().map(Model::json).collect::<Vec<_>>(),
        "has_more": page.len() < range.len(),
        "first_id": page.first().map(|m| m.id),
        "last_id": page.last().map(|m| m.id),
    }))
}
