//! Claude as a world has it: the stand-in's engine on its clock, connections that break, and a note of every call.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use fanwise::ports::{Claude, Clock, TransportError, WireRequest, WireResponse};
use futures::StreamExt;
use serde_json::Value;
use standin::engine::{End, Incoming};
use standin::stats::Ended;

use super::{Held, World, db, lock};
use crate::chaos::{Call, Strike};

/// A call that is dropped before its end is seen by Claude as a client that went away.
struct OpenCall {
    world: World,
    number: u64,
    job: String,
    ended: bool,
    _memory: Option<Held>,
}

impl OpenCall {
    fn begin(world: &World, number: u64, job: String, memory: Option<Held>) -> OpenCall {
        // A consumer that stood still beyond its lease may still be calling: its attempt was given up, and another took its place.
        let open = world.open_attempts(&job);
        let mut running = lock(&world.0.running);
        let (now, most) = running.entry(job.clone()).or_default();
        *now += 1;
        *most = (*most).max((*now).min(open));
        if let Some(platform) = world.platform() {
            platform.call_begins(world, &job, *now);
        }
        OpenCall {
            world: world.clone(),
            number,
            job,
            ended: false,
            _memory: memory,
        }
    }

    fn end(&mut self, how: Ended) {
        if !self.ended {
            self.ended = true;
            if let Some((now, _)) = lock(&self.world.0.running).get_mut(&self.job) {
                *now -= 1;
                if let Some(platform) = self.world.platform() {
                    platform.call_ends(&self.world, &self.job, *now);
                }
            }
            let now = self.world.now() as u64;
            self.world.claude().ended(self.number, how, now);
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.end(Ended::ClientGone);
    }
}

impl World {
    /// Attempts of a job that are open, whether their calls have begun or not.
    fn open_attempts(&self, job: &str) -> u32 {
        let conn = lock(&self.0.conn);
        let sql = "SELECT in_flight - in_batches AS open FROM jobs WHERE id = ?1";
        let answer = db::run(&conn, sql, &[Value::from(job)]).unwrap();
        let open = answer.rows.first().and_then(|row| row["open"].as_u64());
        u32::try_from(open.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// The most calls of each job that Claude was at.
    pub fn most_running(&self) -> BTreeMap<String, u32> {
        let running = lock(&self.0.running);
        running
            .iter()
            .map(|(job, (_, most))| (job.clone(), *most))
            .collect()
    }

    /// Notes a call that Claude has just been asked.
    fn note_call(&self, request: &WireRequest, number: u64) {
        let header = |wanted: &str| {
            let mut headers = request.headers.iter();
            let found = headers.find(|(name, _)| *name == wanted);
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        let (limited, cost, stops, input, summary) = {
            let claude = self.claude();
            let Some(call) = claude.stats().open_call(number) else {
                return;
            };
            let stops = call
                .fault
                .is_some_and(|fault| STOPS.contains(&fault.as_str()));
            let fault = call.fault.map_or("", standin::faults::Fault::as_str);
            let limited = call.refused.is_some();
            let summary = format!(
                "call {} {}/{}#{} -> {} {fault}{}",
                call.role,
                call.job,
                call.task,
                call.attempt,
                call.status,
                call.refused.map_or("", |which| which.as_str())
            );
            let input = call.usage.limited_input();
            (limited, call.cost_nano, stops, input, summary)
        };
        self.tell(|| summary);
        let now = self.now();
        let mut chaos = self.chaos();
        if let Some(inspect) = chaos.inspect
            && let Err(problem) = inspect(request.body.as_deref().unwrap_or_default())
        {
            chaos.violations.push(format!("P7: {problem}"));
        }
        if let Some(actor) = &self.1 {
            if actor.stopped_at.load(Ordering::SeqCst) < now {
                let name = &actor.name;
                chaos.violations.push(format!(
                    "P6: {name} called after it was told that everything must stop"
                ));
            }
            if stops {
                // It knows once the answer's end has arrived, which is set there.
                actor.stopped_at.fetch_min(i64::MAX - 1, Ordering::SeqCst);
            }
        }
        let body = request.body.as_deref().unwrap_or_default();
        if request.path == "/v1/messages/batches" {
            // What each of them is charged is known when it is answered.
            let sent: Sent = serde_json::from_str(body).unwrap_or_default();
            for one in sent.requests {
                let mut parts = one.custom_id.rsplitn(3, '-');
                let mut part = || parts.next().unwrap_or_default().to_owned();
                chaos.calls.push(Call {
                    attempt: part(),
                    task: part(),
                    job: header("x-fanwise-job"),
                    key: key_of(one.params.get()),
                    limited: false,
                    cost: 0,
                    input: 0,
                });
            }
            return;
        }
        if request.body.is_none() {
            return;
        }
        // In a batch the same request has no `stream`.
        let key = key_of(&body.replace(",\"stream\":true", ""));
        chaos.calls.push(Call {
            job: header("x-fanwise-job"),
            task: header("x-fanwise-task"),
            attempt: header("x-fanwise-attempt"),
            key,
            limited,
            cost,
            input,
        });
    }
}

/// The body that creates a batch.
#[derive(Default, serde::Deserialize)]
struct Sent {
    requests: Vec<SentOne>,
}

#[derive(serde::Deserialize)]
struct SentOne {
    custom_id: String,
    params: Box<serde_json::value::RawValue>,
}

/// Equal for equal requests.
fn key_of(request: &str) -> u128 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    request.hash(&mut hasher);
    u128::from(hasher.finish())
}

/// Faults that say: nothing of this account will succeed.
const STOPS: [&str; 7] = [
    "spend_limit",
    "contract_spend_limit",
    "usage_limit_400",
    "credit_400",
    "billing",
    "bad_key",
    "on_hold",
];

impl Claude for World {
    async fn send(&self, request: WireRequest) -> Result<WireResponse, TransportError> {
        let lost = || Err(TransportError::Connect("connection lost".into()));
        let strike = self.strike(|rates| rates.claude, || "connect".to_owned());
        match strike {
            Strike::DiesBefore => return self.die().await,
            Strike::FailsBefore => {
                self.sleep(20).await;
                return lost();
            }
            _ => {}
        }
        let mut headers: Vec<(String, String)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        headers.extend(lock(&self.0.opening).iter().cloned());
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let incoming = Incoming {
            method: if request.body.is_some() {
                "POST"
            } else {
                "GET"
            }
            .into(),
            path: path.into(),
            query: query.into(),
            headers,
            body: request.body.clone().unwrap_or_default().into(),
            too_large: false,
        };
        let bytes = request.body.as_ref().map_or(0, String::len);
        let memory = self.platform().map(|platform| platform.holds_call(bytes));
        // Given back with this future: when the head is there, or when nobody waits for it any more.
        let _connection = self.connection().await;
        let begun = self.now();
        let reply = lock(&self.0.claude).handle(&incoming, begun as u64);
        self.note_call(&request, reply.number);
        let job = request.headers.iter();
        let job = job.filter(|(name, _)| *name == "x-fanwise-job");
        let job = job.map(|(_, value)| value.to_owned()).collect();
        // Calls about batches are none that the job's concurrency counts.
        let job = if path == "/v1/messages" {
            job
        } else {
            String::new()
        };
        let mut connection = OpenCall::begin(self, reply.number, job, memory);
        let dies = strike == Strike::DiesAfter;
        let dies_at_head = dies && self.chaos().dice.chance(0.5);
        self.sleep(reply.opens_ms).await;
        if dies_at_head {
            return self.die().await;
        }
        if strike == Strike::FailsAfter {
            return lost();
        }
        if reply.status == 0 {
            connection.end(Ended::Complete);
            return Err(TransportError::Connect("connection reset".into()));
        }
        let world = self.clone();
        let reset = reply.end == End::Reset;
        let stops = reply.status >= 400;
        let last = reply.pieces.len();
        let connection = Arc::new(Mutex::new(connection));
        let pieces = futures::stream::iter(reply.pieces)
            .map(Some)
            .chain(futures::stream::iter([None]))
            .enumerate()
            .then(move |(position, piece)| {
                let world = world.clone();
                let connection = Arc::clone(&connection);
                async move {
                    let at = piece.as_ref().map_or(reply.ends_ms, |(at, _)| *at);
                    let wait = begun + at as i64 - world.now();
                    world.sleep(u64::try_from(wait).unwrap_or(0)).await;
                    if dies && piece.is_none() {
                        return world.die().await;
                    }
                    match piece {
                        Some((_, bytes)) => {
                            // A reader may stop at the last event without waiting for the end.
                            if position + 1 == last && !reset {
                                lock(&connection).end(Ended::Complete);
                            }
                            Some(Ok(bytes.to_vec()))
                        }
                        None => {
                            lock(&connection).end(Ended::Complete);
                            if let Some(actor) = &world.1
                                && stops
                                && actor.stopped_at.load(Ordering::SeqCst) == i64::MAX - 1
                            {
                                actor.stopped_at.store(world.now(), Ordering::SeqCst);
                            }
                            reset.then(|| Err(TransportError::Cut("connection reset".into())))
                        }
                    }
                }
            })
            .filter_map(std::future::ready);
        Ok(WireResponse {
            status: reply.status,
            headers: reply.headers.into_iter().collect(),
            body: pieces.boxed(),
        })
    }
}
