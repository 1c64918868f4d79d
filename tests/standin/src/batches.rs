//! Message Batches: the whole life of one, from creation to deletion.
//!
//! Requests are looked at only while the batch runs, in shuffled order and spread
//! over `batch_ms`; a faulty one becomes an `errored` result, never a refusal of
//! the batch. Counts stay in `processing` until all has ended. Cancelling keeps
//! what was answered by then; what is not answered when the batch expires is
//! `expired`.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    calls, clock,
    engine::{Asked, BATCH_CLASS, Engine},
    error::ApiError,
    faults::{Fault, MODES, Strike},
    ids, models,
    pages::page,
    refusals,
    script::{Body, Outcome},
    validate::{self, Kind},
};

const MAX_REQUESTS: usize = 100_000;

/// One request of a batch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    custom_id: String,
    params: Box<RawValue>,
    /// When it is answered.
    #[serde(skip)]
    due_ms: u64,
    #[serde(skip)]
    result: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    requests: Vec<Entry>,
}

#[derive(Debug)]
struct Batch {
    id: String,
    host: String,
    version: &'static str,
    created_ms: u64,
    /// What cancelling it takes.
    cancel_ms: u64,
    expires_ms: u64,
    cancelled_ms: Option<u64>,
    /// In the order in which they are answered.
    entries: Vec<Entry>,
    /// So many of them have results.
    done: usize,
}

/// All batches, oldest first.
#[derive(Debug, Default)]
pub struct Batches {
    all: Vec<Batch>,
}

impl Batch {
    /// Answers up to here; what is due later ends without one.
    fn cutoff_ms(&self) -> u64 {
        self.cancelled_ms.unwrap_or(u64::MAX).min(self.expires_ms)
    }

    fn ends_ms(&self) -> u64 {
        let last = self.entries.last().map_or(self.created_ms, |e| e.due_ms);
        let cancelled = self.cancelled_ms.map(|at| at + self.cancel_ms);
        let cancelled = cancelled.unwrap_or(u64::MAX);
        last.min(self.expires_ms).min(cancelled)
    }

    fn count(&self, kind: &str) -> usize {
        let is = |e: &&Entry| {
            e.result
                .as_ref()
                .is_some_and(|r| r.get("type").is_some_and(|t| t == kind))
        };
        self.entries.iter().filter(is).count()
    }

    fn json(&self, now_ms: u64) -> Value {
        let ended = self.ends_ms() <= now_ms && self.done == self.entries.len();
        let status = match (ended, self.cancelled_ms) {
            (true, _) => "ended",
            (false, Some(_)) => "canceling",
            (false, None) => "in_progress",
        };
        let counts = if ended {
            json!({
                "processing": 0,
                "succeeded": self.count("succeeded"),
                "errored": self.count("errored"),
                "canceled": self.count("canceled"),
                "expired": self.count("expired"),
            })
        } else {
            json!({ "processing": self.entries.len(), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0 })
        };
        let results = format!(
            "http://{}/v1/messages/batches/{}/results",
            self.host, self.id
        );
        json!({
            "id": self.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": counts,
            "created_at": clock::rfc3339_ms(self.created_ms),
            "expires_at": clock::rfc3339_ms(self.expires_ms),
            "ended_at": ended.then(|| clock::rfc3339_ms(self.ends_ms())),
            "cancel_initiated_at": self.cancelled_ms.map(clock::rfc3339_ms),
            "archived_at": null,
            "results_url": ended.then_some(results),
        })
    }
}

/// Reads and checks the body of a creation.
fn read(body: &[u8]) -> Result<Vec<Entry>, ApiError> {
    let entries = match serde_json::from_slice::<Create>(body) {
        Ok(create) => create.requests,
        Err(fault) => return Err(explain(body, &fault)),
    };
    if entries.is_empty() {
        return Err(ApiError::at(
            "requests",
            "List should have at least 1 item after validation, not 0",
        ));
    }
    if entries.len() > MAX_REQUESTS {
        let message = format!(
            "List should have at most {MAX_REQUESTS} items after validation, not {}",
            entries.len()
        );
        return Err(ApiError::at("requests", &message));
    }
    let mut seen = HashSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let id = entry.custom_id.as_str();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if id.is_empty() || id.len() > 64 || !id.chars().all(allowed) {
            return Err(ApiError::at(
                &format!("requests.{index}.custom_id"),
                "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
            ));
        }
        if !seen.insert(id) {
            return Err(ApiError::at(
                &format!("requests.{index}.custom_id"),
                &format!("custom_id must be unique within a batch: '{id}'"),
            ));
        }
    }
    Ok(entries)
}

/// What is wrong with a body that does not read as a creation.
fn explain(body: &[u8], fault: &serde_json::Error) -> ApiError {
    let value = match validate::parse(body) {
        Ok(value) => value,
        Err(error) => return error,
    };
    let Some(requests) = value.get("requests") else {
        return ApiError::at("requests", "Field required");
    };
    let Some(list) = requests.as_array() else {
        return ApiError::at("requests", "Input should be a valid array");
    };
    for (index, entry) in list.iter().enumerate() {
        for field in ["custom_id", "params"] {
            let path = format!("requests.{index}.{field}");
            match entry.get(field) {
                None => return ApiError::at(&path, "Field required"),
                Some(id) if field == "custom_id" && !id.is_string() => {
                    return ApiError::at(&path, "Input should be a valid string");
                }
                Some(_) => {}
            }
        }
    }
    ApiError::invalid(fault.to_string())
}

impl Engine {
    /// Faults that strike a call about batches before it has an effect.
    fn batch_fault(&mut self, asked: &Asked<'_>) -> (Option<Strike>, Option<Outcome>) {
        let hash = self.repeat_hash(asked);
        let strike = self.strike(asked, "", hash);
        let error = strike.and_then(|s| {
            refusals::account_error(&s, None, asked.now_ms).or_else(|| refusals::server_error(&s))
        });
        let creates = asked.incoming.method == "POST"
            && asked.incoming.path.trim_end_matches('/') == "/v1/messages/batches";
        let queue = || {
            let faults = self.effects(strike.map(|s| s.fault));
            faults.each().find_map(refusals::batch_error)
        };
        let error = error.or_else(|| creates.then(queue).flatten());
        let timing = self.timing(hash, strike);
        let outcome = error.map(|e| Outcome {
            strike,
            timing: timing.quick(),
            class: Some(BATCH_CLASS),
            ..Outcome::error(&e, asked.request_id)
        });
        (strike, outcome)
    }

    /// An answer about batches, lost on the way where a fault says so.
    fn batch_answer(&self, body: Body, strike: Option<Strike>) -> Outcome {
        let struck = strike.filter(|s| {
            matches!(
                s.fault,
                Fault::Reset | Fault::NonJson | Fault::Outage | Fault::Cut | Fault::ResetMid
            )
        });
        let mut outcome = match struck.map(|s| s.fault) {
            Some(Fault::Reset) => Outcome::new(0, Body::Nothing),
            Some(Fault::NonJson | Fault::Outage) => {
                Outcome::new(502, Body::Html(refusals::html(502, "Bad Gateway")))
            }
            _ => Outcome::new(200, body),
        };
        outcome.strike = struck;
        outcome.timing = self.timing(0, None).quick();
        outcome.class = Some(BATCH_CLASS);
        outcome
    }

    pub(crate) fn create_batch(
        &mut self,
        asked: &Asked<'_>,
        version: &'static str,
    ) -> Result<Outcome, ApiError> {
        let mut entries = read(&asked.incoming.body)?;
        let (strike, refused) = self.batch_fault(asked);
        if let Some(refused) = refused {
            return Ok(refused);
        }
        entries
            .sort_by_cached_key(|e| ids::mix(asked.key as u64 ^ ids::hash(e.custom_id.as_bytes())));
        let total = entries.len() as u64;
        for (rank, entry) in (1u64..).zip(entries.iter_mut()) {
            entry.due_ms = asked.now_ms + self.config.batch_ms * rank / total;
        }
        let batch = Batch {
            id: ids::other_id("msgbatch_01", asked.seed),
            host: asked.incoming.header("host").to_owned(),
            version,
            created_ms: asked.now_ms,
            cancel_ms: self.config.batch_cancel_ms,
            expires_ms: asked.now_ms + self.config.batch_expires_ms,
            cancelled_ms: None,
            entries,
            done: 0,
        };
        let shown = batch.json(asked.now_ms);
        self.stats.batch_created(total);
        self.batches.all.push(batch);
        Ok(self.batch_answer(Body::Json(shown), strike))
    }

    pub(crate) fn list_batches(&mut self, asked: &Asked<'_>) -> Result<Outcome, ApiError> {
        let (strike, refused) = self.batch_fault(asked);
        if let Some(refused) = refused {
            return Ok(refused);
        }
        for index in 0..self.batches.all.len() {
            self.advance(index, asked.now_ms, usize::MAX);
        }
        let newest: Vec<&Batch> = self.batches.all.iter().rev().collect();
        let page = page(&newest, &asked.incoming.query, |b| &b.id)?;
        let shown: Vec<Value> = page.list.iter().map(|b| b.json(asked.now_ms)).collect();
        let body = json!({
            "data": shown,
            "has_more": page.has_more,
            "first_id": page.list.first().map(|b| &b.id),
            "last_id": page.list.last().map(|b| &b.id),
        });
        Ok(self.batch_answer(Body::Json(body), strike))
    }

    /// `GET`, `DELETE`, `/cancel` and `/results` of one batch.
    pub(crate) fn one_batch(
        &mut self,
        asked: &Asked<'_>,
        method: &str,
        rest: &str,
    ) -> Result<Outcome, ApiError> {
        let (id, action) = rest.split_once('/').unwrap_or((rest, ""));
        let (strike, refused) = self.batch_fault(asked);
        if let Some(refused) = refused {
            return Ok(refused);
        }
        let now_ms = asked.now_ms;
        let found = self.batches.all.iter().position(|b| b.id == id);
        let index =
            found.ok_or_else(|| ApiError::not_found(format!("Message Batch {id} not found.")))?;
        self.advance(index, now_ms, usize::MAX);
        let modes = self.config.modes.clone();
        let Some(batch) = self.batches.all.get_mut(index) else {
            return Err(ApiError::not_found(id));
        };
        let ended = batch.ends_ms() <= now_ms;
        let body = match (method, action) {
            ("GET", "") => Body::Json(batch.json(now_ms)),
            ("GET", "results") if !ended => {
                return Err(ApiError::not_found(format!(
                    "Message Batch {id} has no results yet."
                )));
            }
            ("GET", "results") => Body::Lines(batch.lines()),
            ("POST", "cancel") if ended && modes.has(Fault::CancelEnded400) => {
                return Err(ApiError::invalid(format!(
                    "Message Batch {id} cannot be canceled because it has already ended."
                )));
            }
            ("POST", "cancel") if ended && modes.has(Fault::CancelEnded409) => {
                let message = format!("Message Batch {id} has already ended.");
                return Err(ApiError::new(409, "conflict_error", message));
            }
            ("POST", "cancel") => {
                if !ended && batch.cancelled_ms.is_none() {
                    batch.cancelled_ms = Some(now_ms);
                }
                // Shown as it is at this moment: canceling, even where nothing is
                // left to wait for.
                let mut shown = batch.json(now_ms.saturating_sub(1));
                if let (false, Some(map)) = (ended, shown.as_object_mut()) {
                    map.insert("processing_status".to_owned(), json!("canceling"));
                }
                Body::Json(shown)
            }
            ("DELETE", "") if !ended => {
                return Err(ApiError::invalid(format!(
                    "Message Batch {id} is still being processed; cancel it before deleting it."
                )));
            }
            ("DELETE", "") => {
                self.batches.all.remove(index);
                Body::Json(json!({ "id": id, "type": "message_batch_deleted" }))
            }
            (_, "" | "results" | "cancel") => {
                return Err(ApiError::new(
                    405,
                    "invalid_request_error",
                    "Method Not Allowed",
                ));
            }
            _ => return Err(ApiError::not_found("Not Found")),
        };
        Ok(self.batch_answer(body, strike))
    }

    /// Answers requests of running batches that are due, at most so many: called
    /// between calls, so that the end of a large batch does not hold up others.
    pub fn work(&mut self, now_ms: u64, most: usize) {
        for index in 0..self.batches.all.len() {
            self.advance(index, now_ms, most);
        }
    }

    fn advance(&mut self, index: usize, now_ms: u64, most: usize) {
        for _ in 0..most {
            let Some(batch) = self.batches.all.get_mut(index) else {
                return;
            };
            let (cutoff, over, version, done) = (
                batch.cutoff_ms(),
                batch.ends_ms() <= now_ms,
                batch.version,
                batch.done,
            );
            let Some(entry) = batch.entries.get_mut(done) else {
                return;
            };
            let (due_ms, cancelled) = (entry.due_ms, batch.cancelled_ms.is_some());
            let result = if due_ms <= cutoff && due_ms <= now_ms {
                // Taken out while it is answered: the answer needs the engine.
                let params = std::mem::replace(&mut entry.params, RawValue::NULL.to_owned());
                let id = entry.custom_id.clone();
                self.answer_entry(&id, &params, version, due_ms)
            } else if over {
                let kind = if cancelled { "canceled" } else { "expired" };
                json!({ "type": kind })
            } else {
                return;
            };
            self.stats.batch_result(
                result
                    .get("type")
                    .and_then(Value::as_str)
                    .unwrap_or_default(),
            );
            if let Some(batch) = self.batches.all.get_mut(index) {
                if let Some(entry) = batch.entries.get_mut(done) {
                    entry.result = Some(result);
                }
                batch.done += 1;
            }
        }
    }

    fn answer_entry(
        &mut self,
        id: &str,
        params: &RawValue,
        version: &'static str,
        now_ms: u64,
    ) -> Value {
        let key = ids::fingerprint(params.get().as_bytes());
        let errored = |error: &ApiError| {
            let error = json!({ "type": "error", "error": error.error_json(), "request_id": null });
            json!({ "type": "errored", "error": error })
        };
        let body = match validate::parse(params.get().as_bytes()) {
            Ok(body) => body,
            Err(error) => return errored(&error),
        };
        let checked = match validate::check(&body, version, "", Kind::BatchItem, &mut self.terms) {
            Ok(checked) => checked,
            Err(error) => return errored(&error),
        };
        let mut modes = MODES.iter().filter(|m| self.config.modes.has(**m));
        if let Some(error) = modes.find_map(|m| refusals::unknown_field(*m, &checked)) {
            return errored(&error);
        }
        let seed = self.next_seed();
        let hash = self.again(key as u64 ^ ids::mix(self.config.seed));
        let fault = self.config.faults.draw(hash);
        match fault {
            Some(Fault::Expired) => return json!({ "type": "expired" }),
            Some(Fault::RateLimit | Fault::Ramp) => return errored(&ApiError::overloaded()),
            Some(fault) => {
                let strike = Strike::by_share(fault);
                let error = refusals::server_error(&strike).or_else(|| match fault {
                    Fault::Retention => refusals::account_error(&strike, Some(&checked), now_ms),
                    _ => None,
                });
                if let Some(error) = error {
                    return errored(&error);
                }
            }
            None => {}
        }
        let quote = self.cache.quote(&checked, now_ms);
        let readable = match self.config.batch_cold {
            true => now_ms + self.config.batch_ms,
            false => now_ms,
        };
        self.cache.commit(&quote, now_ms, readable);
        let named = (self.effects(fault), self.config.served_model.clone());
        let mut message = calls::compose(&checked, "", named, (hash, seed), quote.usage);
        message.service_tier = "batch";
        let good = message.is_whole() && !calls::spoils(&checked, &message.effects);
        let model = models::find(&message.name).unwrap_or(checked.model);
        // Half price for all of it.
        let cost = match message.free {
            true => 0,
            false => model.cost_nano(&message.usage) / 2,
        };
        self.stats
            .batch_answer(id, key, &message.usage, cost, good, now_ms);
        json!({ "type": "succeeded", "message": message.json() })
    }
}

impl Batch {
    /// The results as lines, in an order of their own.
    fn lines(&self) -> Vec<String> {
        let mut order: Vec<&Entry> = self.entries.iter().collect();
        order.sort_by_cached_key(|e| ids::mix(ids::hash(e.custom_id.as_bytes()) ^ self.created_ms));
        let line = |e: &Entry| {
            format!(
                "{}\n",
                json!({ "custom_id": e.custom_id, "result": e.result })
            )
        };
        order.into_iter().map(line).collect()
    }
}
