//! `GET /v1/jobs/{id}/events`: a job's life as server-sent events, and `POST` on the same address: a ticket for browsers.
//!
//! Events that are history (`state`, `task_failed`, `done`) have ids, and a watcher that comes back with `Last-Event-ID`
//! gets all that it missed. `progress` is how things stand now: it has no id, and the newest one takes the place of all others, so
//! however many tasks there are, there is at most one for each look. Who comes back after `done` gets 204, upon which an
//! `EventSource` stays away.

use std::fmt::Write;
use std::future::Future;
use std::io;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use crate::api::http::auth::Caller;
use crate::api::http::params::{JobId, NoQuery, Query, origin};
use crate::api::http::problem::ApiError;
use crate::api::http::state::Api;
use crate::api::http::{reply, ticket};
use crate::api::routes::looks::Looks;
use crate::api::validate::empty_body::{Nothing, nothing};
use crate::app::read::events::{Event, Pulse};
use crate::app::view::{EventsUrl, job};
use crate::app::{App, AppError};
use crate::config::Door;
use crate::core::job::state::JobState;
use crate::core::value::time::rfc3339;
use crate::ports::{Clock, Ports};

pub const CONTENT_TYPE: &str = "text/event-stream";
/// The kinds that are made here; the others are rows.
const PROGRESS: &str = "progress";
const DONE: &str = "done";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Looks in a row that may fail before the stream ends; its watcher comes back.
const FAILURES: u32 = 5;

/// One event of the stream.
#[derive(ToSchema)]
#[schema(as = WatchEvent)]
#[allow(dead_code, reason = "only the document uses it")]
pub struct WatchEvent {
    /// Absent from `progress`.
    #[schema(rename = "id", required = false, value_type = String)]
    _id: String,
    #[schema(rename = "event", schema_with = kind_schema)]
    _event: String,
    /// JSON, by the kind.
    #[schema(rename = "data")]
    _data: String,
}

#[allow(dead_code, reason = "only the document uses it")]
fn kind_schema() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(["state", "task_failed", PROGRESS, DONE]))
        .into()
}

/// Watch a job
///
/// Server-sent events. `state`: the job changed its state (`state`, `run`, `halt`, `error`, `at`). `task_failed`: a
/// task was given up (`task`, `stage`, `items` without a result, `item_ids` of the first three of them, `error`, `at`),
/// the first hundred of each stage; the rest are in the list of tasks. `progress`: counts, usage and cost, when they
/// have changed, at most two a second. `done`: the job is over, and so is the stream. All but `progress` have ids, and
/// are sent again to a client that connects with `Last-Event-ID`; 204 says that nothing is left to send. A stream lasts
/// at most `EVENTS_MAX_MS`; if it ends without `done`, connect again.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/events",
    operation_id = "watchJob",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that came.", pattern = "^[0-9]{0,15}$"),
        ("ticket" = Option<String>, Query, description = "In place of a token, for an `EventSource`, which cannot send headers; from `POST` on this address."),
    ),
    responses(
        (status = 200, description = "The events", content_type = "text/event-stream", body = WatchEvent),
        (status = 204, description = "The job is over and all of its events were sent before"),
    ),
)]
pub async fn watch<P: Ports>(
    State(api): State<Api<P>>,
    Extension(looks): Extension<Looks>,
    caller: Caller,
    JobId(job): JobId,
    mut query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // The guard has looked at it already.
    let _ = query.text("ticket");
    query.end()?;
    let after = last_event_id(&headers)?;
    let seen = after.unwrap_or(0);
    let first = looks.pulse(&api.app, &caller.tenant, &job, seen).await?;
    if first.over && after.is_some_and(|after| after >= first.last) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let door = api.app.config.door.clone();
    let watched = Watched {
        app: api.app,
        looks,
        tenant: caller.tenant,
        job,
    };
    let feed = Feed::new(watched, door, seen, first);
    let stream = stream::try_unfold(feed, Feed::step);
    Ok(reply::typed(CONTENT_TYPE, Body::from_stream(stream)))
}

/// Get a ticket to watch a job
///
/// An address that a browser's `EventSource` can open, which cannot send a token: it holds a ticket that reads the events of this
/// job for a while, and nothing else.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/events",
    operation_id = "watchTicket",
    tag = "jobs",
    params(("id" = String, Path, description = "The job", pattern = "^job_[0-9a-f]{32}$")),
    request_body(content = Nothing, content_type = "application/json"),
    responses((status = 200, description = "Where to watch", body = EventsUrl)),
)]
pub async fn ticket<P: Ports>(
    State(api): State<Api<P>>,
    caller: Caller,
    JobId(job): JobId,
    _: NoQuery,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    nothing(&api, &headers, body).await?;
    job::owned(&api.app, &caller.tenant, &job).await?;
    let now = api.app.ports.clock().now_ms();
    let expires_at = now.saturating_add_unsigned(api.app.config.door.events_ticket_ms);
    let ticket = ticket::issue(&caller.signing, caller.token.as_deref(), &job, expires_at)
        .ok_or_else(|| ApiError::unavailable("no ticket could be signed"))?;
    Ok(reply::ok(&EventsUrl {
        url: format!("{}/v1/jobs/{job}/events?ticket={ticket}", origin(&uri)),
        expires_at: rfc3339(expires_at),
    }))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    // What is not plain ASCII is no number either.
    let text = value.to_str().unwrap_or("?");
    let plain = (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(id) if plain && values.next().is_none() => Ok(Some(id)),
        // What an EventSource sends before it has seen an id.
        _ if text.is_empty() => Ok(None),
        _ => Err(ApiError::fault(
            LAST_EVENT_ID,
            "must be the id of an event of this stream",
        )),
    }
}

/// What is watched, and by which clock.
trait Source {
    fn pulse(&self, after: u64) -> impl Future<Output = Result<Pulse, AppError>> + Send;
    fn sleep(&self, ms: u64) -> impl Future<Output = ()> + Send;
    fn now_ms(&self) -> i64;
}

struct Watched<P: Ports> {
    app: App<P>,
    looks: Looks,
    tenant: String,
    job: String,
}

impl<P: Ports> Source for Watched<P> {
    fn pulse(&self, after: u64) -> impl Future<Output = Result<Pulse, AppError>> + Send {
        self.looks.pulse(&self.app, &self.tenant, &self.job, after)
    }

    fn sleep(&self, ms: u64) -> impl Future<Output = ()> + Send {
        self.app.ports.clock().sleep(ms)
    }

    fn now_ms(&self) -> i64 {
        self.app.ports.clock().now_ms()
    }
}

/// Where a stream stands.
struct Feed<S> {
    source: S,
    door: Door,
    /// Looked already, before the head was sent.
    first: Option<Pulse>,
    /// The last event that was sent.
    after: u64,
    /// The last progress that was sent.
    progress: Option<String>,
    began: i64,
    /// When anything was sent last.
    sent: i64,
    failures: u32,
    /// Events are left that the last look had no room for.
    hurry: bool,
    done: bool,
}

impl<S: Source> Feed<S> {
    fn new(source: S, door: Door, after: u64, first: Pulse) -> Feed<S> {
        let now = source.now_ms();
        Feed {
            // An id that we never gave out must not hide what is to come.
            after: after.min(first.last),
            first: Some(first),
            source,
            door,
            progress: None,
            began: now,
            sent: now,
            failures: 0,
            hurry: false,
            done: false,
        }
    }

    /// The next piece of the stream: everything that one look brings.
    async fn step(mut self) -> io::Result<Option<(String, Feed<S>)>> {
        while !self.done {
            let mut text = String::new();
            let first = self.first.take();
            if first.is_some() {
                // How long a watcher waits before it connects again.
                let _ = write!(text, "retry: {}\n\n", self.door.events_poll_ms);
            }
            match self.look(first).await {
                Ok(pulse) => {
                    self.failures = 0;
                    self.tell(pulse, &mut text);
                }
                // Cut off without `done`, so the watcher comes back and goes on where it was.
                Err(AppError::Unavailable(_)) if self.failures < FAILURES => self.failures += 1,
                Err(_) => self.done = true,
            }
            let now = self.source.now_ms();
            let silent = now.saturating_sub(self.sent).unsigned_abs();
            if text.is_empty() && silent >= self.door.events_heartbeat_ms {
                text.push_str(": still here\n\n");
            }
            if now.saturating_sub(self.began).unsigned_abs() >= self.door.events_max_ms {
                self.done = true;
            }
            if !text.is_empty() {
                self.sent = now;
                return Ok(Some((text, self)));
            }
        }
        Ok(None)
    }

    async fn look(&mut self, first: Option<Pulse>) -> Result<Pulse, AppError> {
        if let Some(pulse) = first {
            return Ok(pulse);
        }
        if !std::mem::take(&mut self.hurry) {
            self.source.sleep(self.door.events_poll_ms).await;
        }
        self.source.pulse(self.after).await
    }

    fn tell(&mut self, pulse: Pulse, text: &mut String) {
        let ends = pulse.over && !pulse.more;
        let last = pulse.events.len().saturating_sub(1);
        for (at, event) in pulse.events.iter().enumerate() {
            self.after = event.seq;
            // The id of a job's end goes to `done`: who has seen it has seen everything.
            let id = !(ends && at == last && is_end(event));
            write(
                text,
                id.then_some(event.seq),
                &event.kind,
                &event.body.to_string(),
            );
        }
        self.hurry = pulse.more;
        let progress = serde_json::to_string(&pulse.progress).unwrap_or_default();
        if ends {
            write(text, Some(self.after), DONE, &progress);
            self.done = true;
        } else if self.progress.as_ref() != Some(&progress) {
            write(text, None, PROGRESS, &progress);
            self.progress = Some(progress);
        }
    }
}

fn is_end(event: &Event) -> bool {
    let state = event.body.get("state").and_then(Value::as_str);
    event.kind == "state"
        && state
            .and_then(JobState::parse)
            .is_some_and(JobState::is_terminal)
}

/// One event. `data` is JSON without line breaks.
fn write(text: &mut String, id: Option<u64>, kind: &str, data: &str) {
    if let Some(id) = id {
        let _ = writeln!(text, "id: {id}");
    }
    // A String takes everything.
    let _ = write!(text, "event: {kind}\ndata: {data}\n\n");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::collections::VecDeque;
    use std::future::ready;
    use std::sync::Mutex;

    use axum::http::HeaderValue;
    use futures::TryStreamExt;
    use futures::executor::block_on;
    use serde_json::json;

    use super::*;
    use crate::app::view::{Cost, ItemCounts, Progress, ProgressEvent, TaskCounts, Usage};
    use crate::config::Config;

    /// Hands out these looks one by one; sleeping moves its clock.
    struct Script {
        looks: Mutex<VecDeque<Result<Pulse, AppError>>>,
        asked: Mutex<Vec<String>>,
        now: Mutex<i64>,
    }

    impl Source for &Script {
        fn pulse(&self, after: u64) -> impl Future<Output = Result<Pulse, AppError>> + Send {
            self.asked.lock().unwrap().push(format!("after {after}"));
            ready(self.looks.lock().unwrap().pop_front().unwrap())
        }

        fn sleep(&self, ms: u64) -> impl Future<Output = ()> + Send {
            *self.now.lock().unwrap() += ms as i64;
            ready(())
        }

        fn now_ms(&self) -> i64 {
            *self.now.lock().unwrap()
        }
    }

    fn state(seq: u64, name: &str) -> Event {
        Event {
            seq,
            kind: "state".into(),
            body: json!({"state": name}),
        }
    }

    /// The job in a state, with some of its tasks done.
    fn look(name: &str, done: u64, events: Vec<Event>, last: u64) -> Pulse {
        Pulse {
            more: events.last().is_some_and(|event| event.seq < last),
            events,
            last,
            over: JobState::parse(name).unwrap().is_terminal(),
            progress: ProgressEvent {
                state: name.into(),
                run: 1,
                stage: None,
                progress: Progress {
                    tasks: TaskCounts {
                        succeeded: done,
                        ..TaskCounts::default()
                    },
                    items: ItemCounts::default(),
                },
                calls: done,
                usage: Usage::default(),
                cost: Cost::default(),
            },
        }
    }

    /// What is sent, as `id kind succeeded`, and the looks.
    fn watched(
        vars: &[(&str, &str)],
        after: u64,
        first: Pulse,
        rest: Vec<Result<Pulse, AppError>>,
    ) -> (Vec<String>, Vec<String>, i64) {
        let config = Config::from_pairs(vars);
        let script = Script {
            looks: Mutex::new(rest.into()),
            asked: Mutex::default(),
            now: Mutex::default(),
        };
        let feed = Feed::new(&script, config.unwrap().door, after, first);
        let text: Vec<String> =
            block_on(stream::try_unfold(feed, Feed::step).try_collect()).unwrap();
        let text = text.concat();
        let told = text.split_terminator("\n\n").map(|block| {
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or("-").to_owned()
            };
            if block.starts_with(':') || block.starts_with("retry") {
                return block.to_owned();
            }
            let data: Value = serde_json::from_str(&field("data: ")).unwrap();
            let what = data.pointer("/tasks/succeeded").unwrap_or(&data["state"]);
            format!("{} {} {what}", field("id: "), field("event: "))
        });
        let told = told.collect();
        (
            told,
            script.asked.into_inner().unwrap(),
            script.now.into_inner().unwrap(),
        )
    }

    #[test]
    fn a_job_is_told_from_its_first_event_to_done() {
        let (told, asked, now) = watched(
            &[],
            0,
            look(
                "running",
                0,
                vec![state(1, "queued"), state(2, "running")],
                2,
            ),
            vec![
                Ok(look("running", 5, vec![], 2)),
                Ok(look("running", 5, vec![], 2)),
                Ok(look(
                    "succeeded",
                    9,
                    vec![state(3, "synthesizing"), state(4, "succeeded")],
                    4,
                )),
            ],
        );
        assert_eq!(
            told,
            [
                "retry: 1000",
                "1 state \"queued\"",
                "2 state \"running\"",
                "- progress 0",
                "- progress 5",
                "3 state \"synthesizing\"",
                "- state \"succeeded\"",
                "4 done 9",
            ]
        );
        assert_eq!((asked, now), (vec!["after 2".to_owned(); 3], 3_000));
    }

    #[test]
    fn what_does_not_fit_one_look_follows_at_once() {
        let (told, asked, now) = watched(
            &[],
            0,
            look("failed", 1, vec![state(1, "queued")], 3),
            vec![Ok(look(
                "failed",
                1,
                vec![state(2, "running"), state(3, "failed")],
                3,
            ))],
        );
        assert_eq!(told[1..3], ["1 state \"queued\"", "- progress 1"]);
        assert_eq!(
            told[3..],
            ["2 state \"running\"", "- state \"failed\"", "3 done 1"]
        );
        assert_eq!((asked, now), (vec!["after 1".to_owned()], 0));
    }

    #[test]
    fn silence_is_broken_and_a_stream_ends_in_time() {
        let still = || Ok(look("paused", 1, vec![], 2));
        let vars = [("EVENTS_HEARTBEAT_MS", "2000"), ("EVENTS_MAX_MS", "5000")];
        let (told, asked, now) = watched(
            &vars,
            2,
            look("paused", 1, vec![], 2),
            (0..5).map(|_| still()).collect(),
        );
        assert_eq!(
            told,
            [
                "retry: 1000",
                "- progress 1",
                ": still here",
                ": still here"
            ]
        );
        assert_eq!((asked.len(), now), (5, 5_000));
    }

    #[test]
    fn an_id_that_was_never_given_out_hides_nothing() {
        let (told, asked, _) = watched(
            &[],
            999,
            look("running", 1, vec![], 2),
            vec![Ok(look("failed", 1, vec![state(3, "failed")], 3))],
        );
        assert_eq!(asked, ["after 2"]);
        assert_eq!(told.last().unwrap(), "3 done 1");
    }

    #[test]
    fn a_database_that_is_away_is_waited_for_and_then_left() {
        let away = || Err(AppError::Unavailable("away".into()));
        let (told, ..) = watched(
            &[],
            2,
            look("running", 1, vec![], 2),
            vec![
                away(),
                away(),
                Ok(look("running", 2, vec![], 2)),
                away(),
                away(),
                away(),
                away(),
                away(),
                away(),
            ],
        );
        assert_eq!(told, ["retry: 1000", "- progress 1", "- progress 2"]);
    }

    #[test]
    fn ids_are_plain_numbers() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                LAST_EVENT_ID,
                HeaderValue::from_bytes(text.as_bytes()).unwrap(),
            );
            last_event_id(&headers).map_err(|error| error.code.status().as_u16())
        };
        assert_eq!(read("7"), Ok(Some(7)));
        assert_eq!(read(""), Ok(None));
        for wrong in ["-1", "+1", "1.0", "x", "é", "1234567890123456"] {
            assert_eq!(read(wrong), Err(422), "{wrong}");
        }
        assert_eq!(last_event_id(&HeaderMap::new()), Ok(None));
    }
}
