//! What the stand-in was asked and what became of it: the numbers from which
//! *lost*, *paid twice* and *limit used* are read.
//!
//! A *good* answer came whole and was not spoiled by a fault. A body that got
//! more than one good answer was paid twice, unless the first could not have
//! been known: it was in the air when the client was killed (`mark`).

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{faults::Fault, limits::Which, models::Usage};

/// Calls kept with headers and body.
const KEPT_CALLS: usize = 512;
/// Seconds kept per model class.
const KEPT_SECONDS: usize = 3_600;
/// Bodies paid twice that are shown.
const SHOWN: usize = 20;

/// How a call ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The whole answer was handed over, as far as it was meant to be.
    Complete,
    /// The client's connection died first.
    ClientGone,
}

/// One call to the API.
#[derive(Clone, Debug)]
pub struct Call {
    pub number: u64,
    pub at_ms: u64,
    pub path: String,
    pub role: String,
    pub job: String,
    pub task: String,
    pub attempt: String,
    pub model: String,
    pub key: u128,
    pub status: u16,
    pub fault: Option<Fault>,
    pub refused: Option<Which>,
    pub usage: Usage,
    pub cost_nano: u64,
    /// Whole and unspoiled if it arrives.
    pub good: bool,
    pub request_id: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub ended: Option<(Ended, u64)>,
}

/// One second of one model class.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    at_s: u64,
    requests: u64,
    input: u64,
    output: u64,
    refused: u64,
}

#[derive(Clone, Debug, Default)]
struct Task {
    calls: u64,
    good: u64,
    client_gone: u64,
    statuses: BTreeMap<u16, u64>,
}

#[derive(Clone, Debug)]
struct Paid {
    good: u64,
    last_ms: u64,
    uncertain: bool,
    task: String,
}

/// When the calls of one role came: the first, the last, and the last end.
#[derive(Clone, Copy, Debug)]
struct Span {
    first_ms: u64,
    last_ms: u64,
    ended_ms: Option<u64>,
}

/// One request of a batch that was answered.
#[derive(Clone, Debug)]
pub struct BatchAnswer {
    pub custom_id: String,
    /// Equal for equal requests.
    pub key: u128,
    pub cost_nano: u64,
    /// Whole, and spoiled by no fault.
    pub good: bool,
}

/// All counters since the start or the last reset.
#[derive(Debug, Default)]
pub struct Stats {
    since_ms: u64,
    total: u64,
    by_role: BTreeMap<String, u64>,
    spans: BTreeMap<String, Span>,
    by_status: BTreeMap<u16, u64>,
    by_path: BTreeMap<String, u64>,
    open: HashMap<u64, Call>,
    max_in_flight: usize,
    complete: u64,
    good: u64,
    client_gone: u64,
    client_gone_by_role: BTreeMap<String, u64>,
    faults: BTreeMap<Fault, u64>,
    refused: BTreeMap<&'static str, u64>,
    first_refused_ms: Option<u64>,
    last_refused_ms: Option<u64>,
    usage: Usage,
    cost_nano: u64,
    tasks: BTreeMap<String, Task>,
    paid: HashMap<u128, Paid>,
    paid_twice: u64,
    paid_twice_uncertain: u64,
    marks: Vec<u64>,
    seconds: BTreeMap<&'static str, VecDeque<Second>>,
    calls: VecDeque<Call>,
    batches: u64,
    batch_requests: u64,
    batch_results: BTreeMap<String, u64>,
    batch_answers: Vec<BatchAnswer>,
}

impl Stats {
    pub fn new(now_ms: u64) -> Self {
        Self {
            since_ms: now_ms,
            ..Self::default()
        }
    }

    /// Starts afresh; calls in flight stay in flight.
    pub fn reset(&mut self, now_ms: u64) {
        let open = std::mem::take(&mut self.open);
        *self = Self {
            open,
            ..Self::new(now_ms)
        };
        self.max_in_flight = self.open.len();
    }

    /// A call was admitted or refused; its end comes later.
    pub fn begin(&mut self, call: Call, class: Option<&'static str>) {
        self.total += 1;
        let role = if call.role.is_empty() {
            "none"
        } else {
            &call.role
        };
        *self.by_role.entry(role.to_owned()).or_default() += 1;
        let span = self.spans.entry(role.to_owned()).or_insert(Span {
            first_ms: call.at_ms,
            last_ms: call.at_ms,
            ended_ms: None,
        });
        span.last_ms = span.last_ms.max(call.at_ms);
        *self.by_status.entry(call.status).or_default() += 1;
        *self.by_path.entry(call.path.clone()).or_default() += 1;
        if let Some(fault) = call.fault {
            *self.faults.entry(fault).or_default() += 1;
        }
        if let Some(which) = call.refused {
            *self.refused.entry(which.as_str()).or_default() += 1;
            self.first_refused_ms.get_or_insert(call.at_ms);
            self.last_refused_ms = Some(call.at_ms);
        }
        if let Some(class) = class {
            self.second(class, &call);
        }
        if call.status == 200 {
            self.bill(&call.usage, call.cost_nano);
        }
        if !call.task.is_empty() {
            let task = self
                .tasks
                .entry(format!("{}/{}", call.job, call.task))
                .or_default();
            task.calls += 1;
            *task.statuses.entry(call.status).or_default() += 1;
        }
        self.open.insert(call.number, call);
        self.max_in_flight = self.max_in_flight.max(self.open.len());
    }

    /// A call in flight, by its number.
    pub fn open_call(&self, number: u64) -> Option<&Call> {
        self.open.get(&number)
    }

    fn bill(&mut self, usage: &Usage, cost_nano: u64) {
        self.usage.input += usage.input;
        self.usage.write_5m += usage.write_5m;
        self.usage.write_1h += usage.write_1h;
        self.usage.read += usage.read;
        self.usage.output += usage.output;
        self.usage.thinking += usage.thinking;
        self.cost_nano += cost_nano;
    }

    /// Every request of a batch that was answered and billed, in that order.
    pub fn batch_answers(&self) -> &[BatchAnswer] {
        &self.batch_answers
    }

    pub fn batch_created(&mut self, requests: u64) {
        self.batches += 1;
        self.batch_requests += requests;
    }

    /// One request of a batch has its result of the given type.
    pub fn batch_result(&mut self, kind: &str) {
        *self.batch_results.entry(kind.to_owned()).or_default() += 1;
    }

    /// One request of a batch was answered and billed.
    pub fn batch_answer(
        &mut self,
        id: &str,
        key: u128,
        usage: &Usage,
        cost_nano: u64,
        good: bool,
        now_ms: u64,
    ) {
        self.batch_answers.push(BatchAnswer {
            custom_id: id.to_owned(),
            key,
            cost_nano,
            good,
        });
        self.bill(usage, cost_nano);
        if good {
            self.pay(key, "batch", now_ms, now_ms);
        }
    }

    fn second(&mut self, class: &'static str, call: &Call) {
        let list = self.seconds.entry(class).or_default();
        let at_s = call.at_ms / 1_000;
        if list.back().is_none_or(|s| s.at_s < at_s) {
            list.push_back(Second {
                at_s,
                ..Second::default()
            });
            if list.len() > KEPT_SECONDS {
                list.pop_front();
            }
        }
        if let Some(second) = list.back_mut() {
            if call.refused.is_some() {
                second.refused += 1;
            } else if call.usage.prompt() > 0 {
                second.requests += 1;
                second.input += call.usage.limited_input();
                second.output += call.usage.output;
            }
        }
    }

    /// A call's end.
    pub fn end(&mut self, number: u64, how: Ended, now_ms: u64) {
        let Some(mut call) = self.open.remove(&number) else {
            return;
        };
        call.ended = Some((how, now_ms));
        if let Some(span) = self.spans.get_mut(&call.role) {
            span.ended_ms = span.ended_ms.max(Some(now_ms));
        }
        let task_key = format!("{}/{}", call.job, call.task);
        match how {
            Ended::ClientGone => {
                self.client_gone += 1;
                *self
                    .client_gone_by_role
                    .entry(call.role.clone())
                    .or_default() += 1;
                if let Some(task) = self.tasks.get_mut(&task_key) {
                    task.client_gone += 1;
                }
            }
            Ended::Complete => {
                self.complete += 1;
                if call.good {
                    self.good += 1;
                    if let Some(task) = self.tasks.get_mut(&task_key) {
                        task.good += 1;
                    }
                    if call.role != "warm" {
                        self.pay(call.key, &task_key, call.at_ms, now_ms);
                    }
                }
            }
        }
        self.calls.push_back(call);
        if self.calls.len() > KEPT_CALLS {
            self.calls.pop_front();
        }
    }

    fn pay(&mut self, key: u128, task: &str, began_ms: u64, now_ms: u64) {
        // Begun before a kill and ended after it: nobody was there to read it.
        let last = self.marks.last();
        let uncertain = last.is_some_and(|mark| began_ms <= *mark && *mark <= now_ms);
        let paid = self.paid.entry(key).or_insert(Paid {
            good: 0,
            last_ms: 0,
            uncertain: false,
            task: task.to_owned(),
        });
        if paid.good > 0 {
            if paid.uncertain {
                self.paid_twice_uncertain += 1;
            } else {
                self.paid_twice += 1;
            }
        }
        paid.good += 1;
        paid.last_ms = now_ms;
        paid.uncertain = uncertain;
    }

    /// The client is being killed now: answers of the last `grace_ms` may not
    /// have been recorded there. Answers the number in flight.
    pub fn mark(&mut self, now_ms: u64, grace_ms: u64) -> usize {
        self.marks.push(now_ms);
        let from = now_ms.saturating_sub(grace_ms);
        for paid in self.paid.values_mut().filter(|p| p.last_ms >= from) {
            paid.uncertain = true;
        }
        self.open.len()
    }

    /// The counters as JSON; per task only where asked, as there may be many.
    pub fn json(&self, now_ms: u64, with_tasks: bool) -> Value {
        let named = |map: &BTreeMap<Fault, u64>| -> Value {
            map.iter()
                .map(|(k, v)| (k.as_str().to_owned(), json!(v)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let numbered = |map: &BTreeMap<u16, u64>| -> Value {
            map.iter()
                .map(|(k, v)| (k.to_string(), json!(v)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let twice = self.paid.iter().filter(|(_, p)| p.good > 1).take(SHOWN);
        let shown: Vec<Value> = twice
            .map(|(key, p)| json!({"key": format!("{key:032x}"), "task": p.task, "good": p.good}))
            .collect();
        let spans: serde_json::Map<String, Value> = self
            .spans
            .iter()
            .map(|(role, span)| {
                let span = json!({"first_ms": span.first_ms, "last_ms": span.last_ms, "ended_ms": span.ended_ms});
                (role.clone(), span)
            })
            .collect();
        let mut out = json!({
            "since_ms": self.since_ms,
            "now_ms": now_ms,
            "calls": {
                "total": self.total,
                "by_role": self.by_role,
                "spans": spans,
                "by_status": numbered(&self.by_status),
                "by_path": self.by_path,
            },
            "in_flight": self.open.len(),
            "max_in_flight": self.max_in_flight,
            "answers": {
                "complete": self.complete,
                "good": self.good,
                "client_gone": self.client_gone,
                "client_gone_by_role": self.client_gone_by_role,
            },
            "paid_twice": {
                "answers": self.paid_twice,
                "after_kill": self.paid_twice_uncertain,
                "bodies": shown,
            },
            "limiter": {
                "refused": self.refused.values().sum::<u64>(),
                "by_limit": self.refused,
                "first_refused_ms": self.first_refused_ms,
                "last_refused_ms": self.last_refused_ms,
            },
            "faults": named(&self.faults),
            "usage": {
                "input_tokens": self.usage.input,
                "cache_creation_input_tokens": self.usage.write_5m + self.usage.write_1h,
                "cache_read_input_tokens": self.usage.read,
                "output_tokens": self.usage.output,
                "thinking_tokens": self.usage.thinking,
            },
            "cost_nano_usd": self.cost_nano,
            "cost_usd": self.cost_nano as f64 / 1e9,
            "batches": {
                "created": self.batches,
                "requests": self.batch_requests,
                "results": self.batch_results,
            },
            "kills": self.marks,
            "rates": self.rates(),
        });
        if let (Some(map), true) = (out.as_object_mut(), with_tasks) {
            let tasks = self.tasks.iter().map(|(key, task)| {
                let value = json!({
                    "calls": task.calls,
                    "good": task.good,
                    "client_gone": task.client_gone,
                    "statuses": numbered(&task.statuses),
                });
                (key.clone(), value)
            });
            map.insert("tasks".to_owned(), Value::Object(tasks.collect()));
        }
        out
    }

    /// Per class the minutes, and the best sixty seconds in a row of each count.
    fn rates(&self) -> Value {
        let mut out = serde_json::Map::new();
        for (class, seconds) in &self.seconds {
            let mut minutes: BTreeMap<u64, Second> = BTreeMap::new();
            for second in seconds {
                let minute = minutes.entry(second.at_s / 60).or_default();
                minute.requests += second.requests;
                minute.input += second.input;
                minute.output += second.output;
                minute.refused += second.refused;
            }
            let minutes: Vec<Value> = minutes
                .iter()
                .map(|(at, m)| json!({"minute_ms": at * 60_000, "requests": m.requests, "input_tokens": m.input, "output_tokens": m.output, "refused": m.refused}))
                .collect();
            let peak = |of: fn(&Second) -> u64| {
                let mut sum = 0;
                let mut best = 0;
                let mut from = seconds.iter().peekable();
                for second in seconds {
                    sum += of(second);
                    while let Some(old) = from.next_if(|o| o.at_s + 60 <= second.at_s) {
                        sum -= of(old);
                    }
                    best = best.max(sum);
                }
                best
            };
            out.insert(
                (*class).to_owned(),
                json!({
                    "minutes": minutes,
                    "peak_60s": {"requests": peak(|s| s.requests), "input_tokens": peak(|s| s.input), "output_tokens": peak(|s| s.output)},
                }),
            );
        }
        Value::Object(out)
    }

    /// One row per second of one class: second, requests, input, output, refused.
    pub fn timeline(&self, class: &str) -> Value {
        let rows = self.seconds.get(class).into_iter().flatten();
        rows.map(|s| json!([s.at_s, s.requests, s.input, s.output, s.refused]))
            .collect()
    }

    /// The last calls, newest first; those in flight come before ended ones.
    pub fn calls(&self, limit: usize, with_bodies: bool) -> Value {
        let mut open: Vec<&Call> = self.open.values().collect();
        open.sort_by_key(|c| std::cmp::Reverse(c.number));
        let all = open.into_iter().chain(self.calls.iter().rev());
        all.take(limit).map(|c| c.json(with_bodies)).collect()
    }
}

impl Call {
    fn json(&self, with_body: bool) -> Value {
        let (ended, ended_at_ms) = match self.ended {
            None => ("open", None),
            Some((Ended::Complete, at)) => ("complete", Some(at)),
            Some((Ended::ClientGone, at)) => ("client_gone", Some(at)),
        };
        let headers: serde_json::Map<String, Value> = self
            .headers
            .iter()
            // Keys are not shown, not even here.
            .filter(|(k, _)| k != "x-api-key" && k != "authorization")
            .map(|(k, v)| (k.clone(), json!(v)))
            .collect();
        let mut out = json!({
            "number": self.number,
            "at_ms": self.at_ms,
            "path": self.path,
            "role": self.role,
            "job": self.job,
            "task": self.task,
            "attempt": self.attempt,
            "model": self.model,
            "key": format!("{:032x}", self.key),
            "status": self.status,
            "fault": self.fault,
            "good": self.good,
            "request_id": self.request_id,
            "cost_nano_usd": self.cost_nano,
            "ended": ended,
            "ended_at_ms": ended_at_ms,
            "headers": headers,
        });
        if let (Some(map), true) = (out.as_object_mut(), with_body) {
            let body = serde_json::from_slice(&self.body).unwrap_or_else(|_| {
                Value::String(String::from_utf8_lossy(&self.body).into_owned())
            });
            map.insert("body".to_owned(), body);
        }
        out
    }
}
