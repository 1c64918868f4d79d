//! One call from bytes to the script of its reply: headers, pieces and the
//! times at which they go out. Pure but for its own state; the time is brought
//! by the caller, so that a simulation can play the same API on a virtual clock.
//!
//! Order of judgement, as at the API: size, key, version, body, faults that are
//! about the account, rate limits, then faults that come while answering.

use std::collections::HashMap;

use bytes::Bytes;

pub use crate::script::{End, Reply};
use crate::{
    batches::Batches,
    cache::PromptCache,
    config::Config,
    error::ApiError,
    faults::{self, Caller, Effects, Fault, Rule, Strike},
    ids,
    limits::{ClassLimits, Limits},
    models, refusals,
    script::{Body, Outcome, Timing},
    stats,
    tokens::Tokenizer,
    validate::{Terms, VERSION_2023, VERSION_2026},
};

/// The largest body of `/v1/messages` and `count_tokens`.
pub const MAX_BODY: usize = 32 * 1024 * 1024;
/// The largest body that creates a batch.
const MAX_BATCH: usize = 256 * 1024 * 1024;
/// So much of a body is kept for `GET /control/calls`.
const KEPT_BODY: usize = 1024 * 1024;
/// A hang without `ms` lasts as long as the SDKs' time-out.
const HANG_MS: u64 = 600_000;
/// The bucket of `count_tokens`, apart from every model's.
pub(crate) const COUNT_CLASS: &str = "count_tokens";
/// The bucket of calls about batches.
pub(crate) const BATCH_CLASS: &str = "batches";

/// A request as it came in; header names in lower case.
#[derive(Clone, Debug, Default)]
pub struct Incoming {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// The body was larger than any endpoint takes and was not kept.
    pub too_large: bool,
}

impl Incoming {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(k, _)| k == name);
        found.map(|(_, v)| v.as_str()).unwrap_or_default()
    }
}

/// One call's context.
pub(crate) struct Asked<'a> {
    pub incoming: &'a Incoming,
    /// Stands for the body: equal bodies are the same request.
    pub key: u128,
    pub seed: u64,
    pub request_id: &'a str,
    pub now_ms: u64,
}

/// The stand-in's state.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) terms: Terms,
    pub(crate) cache: PromptCache,
    pub(crate) batches: Batches,
    classes: HashMap<&'static str, ClassLimits>,
    pub(crate) stats: stats::Stats,
    number: u64,
    salt: u64,
    seen: HashMap<u64, u64>,
    pub(crate) organization: String,
    workspace: String,
}

impl Engine {
    /// `salt` makes ids of different runs differ; the same salt gives the same.
    pub fn new(config: Config, salt: u64, now_ms: u64) -> Self {
        let mut engine = Self {
            terms: Terms::default(),
            config,
            cache: PromptCache::default(),
            batches: Batches::default(),
            classes: HashMap::new(),
            stats: stats::Stats::new(now_ms),
            number: 0,
            salt,
            seen: HashMap::new(),
            organization: ids::uuid(0x06),
            workspace: ids::other_id("wrkspc_01", 0x57),
        };
        engine.set_terms();
        engine
    }

    /// What requests are checked by, as the configuration has it.
    fn set_terms(&mut self) {
        self.terms.context_tokens = self.config.context_tokens;
        self.terms.tokenizer = match self.config.modes.has(Fault::TokensByClass) {
            true => Tokenizer::ByClass,
            false => Tokenizer::Even,
        };
    }

    /// What shapes the answer to a call that this fault struck.
    pub(crate) fn effects(&self, struck: Option<Fault>) -> Effects {
        Effects {
            struck,
            modes: self.config.modes.clone(),
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
        self.set_terms();
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
        self.batches = Batches::default();
        self.classes.clear();
        self.seen.clear();
    }

    /// A reply's end, as seen by whoever played it.
    pub fn ended(&mut self, number: u64, how: stats::Ended, now_ms: u64) {
        self.stats.end(number, how, now_ms);
    }

    /// A seed of its own for every call and every request of a batch.
    pub(crate) fn next_seed(&mut self) -> u64 {
        self.number += 1;
        ids::mix(self.salt ^ self.number)
    }

    /// Answers one request.
    pub fn handle(&mut self, incoming: &Incoming, now_ms: u64) -> Reply {
        let seed = self.next_seed();
        let request_id = ids::request_id(seed);
        let asked = Asked {
            incoming,
            key: ids::fingerprint(&incoming.body),
            seed,
            request_id: &request_id,
            now_ms,
        };
        let outcome = match self.route(&asked) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::error(&error, &request_id),
        };
        self.finish(&asked, outcome)
    }

    fn route(&mut self, asked: &Asked<'_>) -> Result<Outcome, ApiError> {
        let incoming = asked.incoming;
        let path = incoming.path.trim_end_matches('/');
        let most = if path == "/v1/messages/batches" {
            MAX_BATCH
        } else {
            MAX_BODY
        };
        if incoming.too_large || incoming.body.len() > most {
            let page = refusals::html(413, "Payload Too Large");
            return Ok(Outcome::new(413, Body::Html(page)));
        }
        if let Some(strike) = self.outage(asked) {
            let page = Body::Html(refusals::html(502, "Bad Gateway"));
            let outcome = Outcome::new(502, page);
            return Ok(Outcome {
                strike: Some(strike),
                timing: self.timing(0, None).quick(),
                ..outcome
            });
        }
        self.authenticate(incoming)?;
        let version = version(incoming)?;
        let not_allowed = || {
            Err(ApiError::new(
                405,
                "invalid_request_error",
                "Method Not Allowed",
            ))
        };
        let closed = |mode, start: &str| self.config.modes.has(mode) && path.starts_with(start);
        if closed(Fault::NoBatches, "/v1/messages/batches")
            || closed(Fault::NoModels, "/v1/models")
            || closed(Fault::NoCountTokens, "/v1/messages/count_tokens")
        {
            return Err(ApiError::not_found("Not Found"));
        }
        if path.starts_with("/v1/models")
            && let Some(outcome) = self.other_fault(asked)
        {
            return Ok(outcome);
        }
        match (incoming.method.as_str(), path) {
            ("POST", "/v1/messages") => self.messages(asked, version),
            ("POST", "/v1/messages/count_tokens") => self.count_tokens(asked, version),
            (method, "/v1/messages/batches") => match method {
                "POST" => self.create_batch(asked, version),
                "GET" => self.list_batches(asked),
                _ => not_allowed(),
            },
            ("GET", "/v1/models") => models::list(&incoming.query).map(Outcome::json),
            (_, "/v1/messages" | "/v1/messages/count_tokens" | "/v1/models") => not_allowed(),
            (method, other) => {
                if let Some(rest) = other.strip_prefix("/v1/messages/batches/") {
                    return self.one_batch(asked, method, rest);
                }
                let model = other
                    .strip_prefix("/v1/models/")
                    .filter(|_| method == "GET");
                let Some(id) = model else {
                    return Err(ApiError::not_found("Not Found"));
                };
                let model = models::find(id);
                let model = model.ok_or_else(|| ApiError::not_found(format!("model: {id}")))?;
                Ok(Outcome::json(model.json()))
            }
        }
    }

    fn authenticate(&self, incoming: &Incoming) -> Result<(), ApiError> {
        let key = incoming.header("x-api-key");
        let bearer = incoming
            .header("authorization")
            .strip_prefix("Bearer ")
            .unwrap_or_default();
        let accepted = |given: &str| self.config.api_key.as_ref().is_none_or(|k| k == given);
        let has = |mode| self.config.modes.has(mode);
        let (key, bearer) = (key.trim(), bearer.trim());
        if has(Fault::TwoKeys) && !key.is_empty() && !bearer.is_empty() {
            return Err(ApiError::invalid(
                "Only one of x-api-key and authorization may be sent.",
            ));
        }
        let read = match (has(Fault::BearerOnly), has(Fault::KeyOnly)) {
            (true, _) => ("", bearer),
            (_, true) => (key, ""),
            _ => (key, bearer),
        };
        // The header of its own wins where both are sent.
        match read {
            ("", "") => Err(ApiError::authentication("x-api-key header is required")),
            ("", token) if accepted(token) => Ok(()),
            ("", _) => Err(ApiError::authentication("Invalid bearer token")),
            (key, _) if accepted(key) => Ok(()),
            _ => Err(ApiError::authentication("invalid x-api-key")),
        }
    }

    /// A hash of the request and of how often it came: faults repeat with it.
    pub(crate) fn repeat_hash(&mut self, asked: &Asked<'_>) -> u64 {
        let folded = (asked.key >> 64) as u64 ^ asked.key as u64;
        let path = ids::hash(asked.incoming.path.as_bytes());
        let attempt = ids::hash(asked.incoming.header("x-fanwise-attempt").as_bytes());
        let seed = ids::mix(self.config.seed);
        let call = ids::mix(folded ^ path.rotate_left(23) ^ attempt.rotate_left(7) ^ seed);
        self.again(call)
    }

    /// A hash of a hash and of how often it was asked for.
    pub(crate) fn again(&mut self, call: u64) -> u64 {
        let times = self.seen.entry(call).or_default();
        *times += 1;
        ids::mix(call ^ *times)
    }

    /// The fault that strikes this call: a rule's, else one by share.
    pub(crate) fn strike(&mut self, asked: &Asked<'_>, model: &str, hash: u64) -> Option<Strike> {
        let by_rule = self.by_rule(asked, model, |r| r.fault != Fault::Outage);
        by_rule.or_else(|| self.config.faults.draw(hash).map(Strike::by_share))
    }

    fn by_rule(
        &mut self,
        asked: &Asked<'_>,
        model: &str,
        wanted: impl Fn(&Rule) -> bool,
    ) -> Option<Strike> {
        if self.config.rules.is_empty() {
            return None;
        }
        let incoming = asked.incoming;
        let caller = Caller {
            role: incoming.header("x-fanwise-role"),
            job: incoming.header("x-fanwise-job"),
            task: incoming.header("x-fanwise-task"),
            attempt: incoming.header("x-fanwise-attempt"),
            model,
            path: &incoming.path,
        };
        let body = std::str::from_utf8(&incoming.body).unwrap_or_default();
        let rules = &mut self.config.rules;
        faults::by_rule(rules, &caller, body, asked.now_ms, wanted)
    }

    /// An outage, whatever is called.
    fn outage(&mut self, asked: &Asked<'_>) -> Option<Strike> {
        self.by_rule(asked, "", |r| r.fault == Fault::Outage)
    }

    /// A refusal of a call that asks no model, such as one about models: only by a rule that names its path.
    pub(crate) fn other_fault(&mut self, asked: &Asked<'_>) -> Option<Outcome> {
        let strike = self.by_rule(asked, "", |r| {
            r.fault != Fault::Outage && r.matches.path.is_some()
        })?;
        let error = refusals::account_error(&strike, None, asked.now_ms)
            .or_else(|| refusals::server_error(&strike))?;
        Some(Outcome {
            strike: Some(strike),
            timing: self.timing(0, Some(strike)).quick(),
            ..Outcome::error(&error, asked.request_id)
        })
    }

    pub(crate) fn timing(&self, hash: u64, strike: Option<Strike>) -> Timing {
        let base = self.config.latency_ms as f64;
        let spread = 1.0 + self.config.jitter * (2.0 * ids::unit(hash ^ 0xa11) - 1.0);
        let usual = (base * spread).round() as u64;
        let ms = strike.and_then(|s| s.ms);
        let (ends_ms, share) = match strike.map(|s| s.fault) {
            Some(Fault::Slow) => (ms.unwrap_or(usual * 10), self.config.first_byte),
            Some(Fault::Hang) => (ms.unwrap_or(HANG_MS), 1.0),
            Some(Fault::SlowFirstByte) => (usual, 0.9),
            _ => (usual, self.config.first_byte),
        };
        Timing {
            opens_ms: (ends_ms as f64 * share).round() as u64,
            ends_ms,
        }
    }

    pub(crate) fn class(&mut self, class: &'static str, now_ms: u64) -> &mut ClassLimits {
        let limits = match class {
            // Their own buckets, never enforced here.
            COUNT_CLASS | BATCH_CLASS => Limits::default(),
            _ => self.config.limits,
        };
        self.classes
            .entry(class)
            .or_insert_with(|| ClassLimits::new(&limits, now_ms))
    }

    /// Turns an outcome into a script and counts it.
    fn finish(&mut self, asked: &Asked<'_>, outcome: Outcome) -> Reply {
        let incoming = asked.incoming;
        let mut headers = vec![
            ("request-id", asked.request_id.to_owned()),
            ("anthropic-organization-id", self.organization.clone()),
            ("anthropic-workspace-id", self.workspace.clone()),
            ("content-type", outcome.content_type().to_owned()),
        ];
        let class = outcome.class.unwrap_or(COUNT_CLASS);
        let effects = self.effects(outcome.strike.map(|s| s.fault));
        let limits = self.class(class, asked.now_ms);
        headers.extend(limits.headers(asked.now_ms, &effects));
        if let Some(seconds) = outcome.retry_after_s {
            headers.push(("retry-after", seconds.to_string()));
        }
        if let Some(retry) = outcome.should_retry {
            headers.push(("x-should-retry", retry.to_string()));
        }
        let (pieces, end) = outcome.script(self.config.chunks, asked.request_id);
        let answered = self.config.served_model.as_deref().and_then(models::find);
        let billed = outcome
            .model
            .filter(|_| outcome.status == 200 && !outcome.free)
            .map(|asked| answered.unwrap_or(asked));
        let call = stats::Call {
            number: self.number,
            at_ms: asked.now_ms,
            path: incoming.path.clone(),
            role: incoming.header("x-fanwise-role").to_owned(),
            job: incoming.header("x-fanwise-job").to_owned(),
            task: incoming.header("x-fanwise-task").to_owned(),
            attempt: incoming.header("x-fanwise-attempt").to_owned(),
            model: outcome.model.map(|m| m.id).unwrap_or_default().to_owned(),
            key: ids::question(&incoming.body),
            status: outcome.status,
            fault: outcome.strike.map(|s| s.fault),
            refused: outcome.refused,
            usage: outcome.usage,
            cost_nano: billed.map_or(0, |m| m.cost_nano(&outcome.usage)),
            good: outcome.good,
            request_id: asked.request_id.to_owned(),
            headers: incoming.headers.clone(),
            body: kept(&incoming.body),
            ended: None,
        };
        let limited = outcome
            .class
            .filter(|c| !matches!(*c, COUNT_CLASS | BATCH_CLASS));
        self.stats.begin(call, limited);
        Reply {
            number: self.number,
            status: outcome.status,
            headers,
            opens_ms: pieces.first().map_or(outcome.timing.opens_ms, |p| p.0),
            ends_ms: pieces.last().map_or(outcome.timing.opens_ms, |p| p.0),
            pieces: pieces
                .into_iter()
                .map(|(at, text)| (at, Bytes::from(text)))
                .collect(),
            end,
        }
    }
}

/// What is kept of a body to be looked at: all of it unless it is huge.
fn kept(body: &Bytes) -> Bytes {
    match body.get(..KEPT_BODY) {
        Some(start) => Bytes::copy_from_slice(start),
        None => body.clone(),
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
