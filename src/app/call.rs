//! One call to Claude, from the head of the answer to its last byte.
//!
//! It comes in two steps, because the head says how the account stands long before the answer is whole: the first
//! ends when the head is there and hands out its rate headers with the rest of the call, the second ends with the message.

use futures::StreamExt;
use futures::future::{BoxFuture, Either, FutureExt, select};

use super::App;
use crate::claude::error::{CallError, TransportFault, classify, not_a_message, transport_error};
use crate::claude::rate::RateHeaders;
use crate::claude::request::{MESSAGES_PATH, MessagesRequest, Trace, headers};
use crate::claude::response::Message;
use crate::claude::stream::{Progress, StreamReader};
use crate::ports::{Claude, Clock, Ports, TransportError, WireRequest, WireResponse};

/// The most of an error's body that is read: an error page says nothing worth more.
const ERROR_BYTES: usize = 64 * 1024;
/// The most of a body that is not a stream.
const BODY_BYTES: usize = 32 * 1024 * 1024;

/// The answer's head.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub at: i64,
    pub status: u16,
    pub rate: RateHeaders,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub struct Ended {
    pub head: Option<Head>,
    pub request_id: Option<String>,
    pub result: Result<Message, CallError>,
}

/// A call under way.
pub enum Begun {
    /// The head is there; the rest goes on.
    Head(Head, BoxFuture<'static, Ended>),
    /// It is over already.
    Over(Box<Ended>),
}

/// Sends a request and waits for the head.
pub async fn begin<P: Ports>(app: App<P>, request: &MessagesRequest, trace: Trace<'_>) -> Begun {
    let clock = app.ports.clock().clone();
    let started = clock.now_ms();
    let wire = WireRequest {
        path: MESSAGES_PATH.into(),
        headers: headers(app.config.trace_headers.then_some(trace))
            .into_iter()
            .collect(),
        body: Some(String::from_utf8(request.body()).unwrap_or_default()),
    };
    let sent = app.ports.claude().send(wire);
    // The whole of the call's time may pass before its head, as with answers that are not streamed.
    let Some(sent) = within(&clock, app.config.intervals.call_timeout_ms, sent).await else {
        return Begun::Over(Box::new(failed(transport_error(
            TransportFault::TimedOut,
            "no answer in time",
        ))));
    };
    let response = match sent {
        Ok(response) => response,
        Err(error) => return Begun::Over(Box::new(failed(of_transport(&error)))),
    };
    let head = Head {
        at: clock.now_ms(),
        status: response.status,
        rate: RateHeaders::read(&response.headers),
    };
    Begun::Head(head.clone(), rest(app, head, response, started).boxed())
}

/// A request beside the messages: the answer's head, and its body to read. Whatever is not a 200 is the error that it
/// says; the time is that of a call's silence.
pub async fn open<P: Ports>(app: &App<P>, wire: WireRequest) -> Result<WireResponse, CallError> {
    let clock = app.ports.clock();
    let sent = app.ports.claude().send(wire);
    let Some(sent) = within(clock, app.config.intervals.call_timeout_ms, sent).await else {
        let fault = TransportFault::TimedOut;
        return Err(transport_error(fault, "no answer in time"));
    };
    let mut response = sent.map_err(|error| of_transport(&error))?;
    if response.status == 200 {
        return Ok(response);
    }
    let body = body(app, clock, &mut response, ERROR_BYTES)
        .await
        .unwrap_or_default();
    Err(classify(
        response.status,
        &response.headers,
        &body,
        now(clock),
    ))
}

/// The same, read to its end.
pub async fn ask<P: Ports>(app: &App<P>, wire: WireRequest) -> Result<Vec<u8>, CallError> {
    let mut response = open(app, wire).await?;
    body(app, app.ports.clock(), &mut response, BODY_BYTES).await
}

/// The next bytes of a body that is read piece by piece; `None` at its end.
pub async fn piece<P: Ports>(
    app: &App<P>,
    response: &mut WireResponse,
) -> Result<Option<Vec<u8>>, CallError> {
    let patience = app.config.intervals.idle_timeout_ms;
    let next = within(app.ports.clock(), patience, response.body.next()).await;
    match next {
        None => Err(transport_error(
            TransportFault::TimedOut,
            "the answer stopped coming",
        )),
        Some(None) => Ok(None),
        Some(Some(bytes)) => bytes.map(Some).map_err(|error| of_transport(&error)),
    }
}

/// The rest of the answer.
async fn rest<P: Ports>(
    app: App<P>,
    head: Head,
    mut response: WireResponse,
    started: i64,
) -> Ended {
    let clock = app.ports.clock().clone();
    let request_id = response.headers.request_id();
    let streamed = response
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.starts_with("text/event-stream"));
    let result = if head.status != 200 {
        let body = body(&app, &clock, &mut response, ERROR_BYTES)
            .await
            .unwrap_or_default();
        Err(classify(head.status, &response.headers, &body, now(&clock)))
    } else if streamed {
        stream(&app, &clock, &mut response, started).await
    } else {
        match body(&app, &clock, &mut response, BODY_BYTES).await {
            Ok(body) => Message::from_json(&body).map_err(|_| not_a_message(&response.headers)),
            Err(error) => Err(error),
        }
    };
    Ended {
        head: Some(head),
        request_id,
        result,
    }
}

async fn stream<P: Ports>(
    app: &App<P>,
    clock: &P::Clock,
    response: &mut WireResponse,
    started: i64,
) -> Result<Message, CallError> {
    let mut reader = StreamReader::new(response.headers.clone());
    loop {
        let left = app
            .config
            .intervals
            .call_timeout_ms
            .saturating_sub(u64::try_from(clock.now_ms() - started).unwrap_or(0));
        let patience = left.min(app.config.intervals.idle_timeout_ms);
        let Some(chunk) = within(clock, patience, response.body.next()).await else {
            let mut error = transport_error(TransportFault::TimedOut, "the answer stopped coming");
            error.usage = reader.usage_so_far();
            return Err(error);
        };
        match chunk {
            Some(Ok(bytes)) => {
                if reader.push(&bytes, now(clock))? == Progress::Done {
                    return reader.finish();
                }
            }
            Some(Err(error)) => {
                let usage = reader.usage_so_far();
                let mut error = of_transport(&error);
                error.usage = usage;
                return Err(error);
            }
            None => return reader.finish(),
        }
    }
}

/// A body up to `most` bytes; what is longer is cut there.
async fn body<P: Ports>(
    app: &App<P>,
    clock: &P::Clock,
    response: &mut WireResponse,
    most: usize,
) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::new();
    loop {
        let next = response.body.next();
        let Some(chunk) = within(clock, app.config.intervals.idle_timeout_ms, next).await else {
            return Err(transport_error(
                TransportFault::TimedOut,
                "the answer stopped coming",
            ));
        };
        match chunk {
            Some(Ok(chunk)) => bytes.extend_from_slice(&chunk),
            Some(Err(error)) => return Err(of_transport(&error)),
            None => return Ok(bytes),
        }
        if bytes.len() > most {
            bytes.truncate(most);
            return Ok(bytes);
        }
    }
}

/// `None` where the time was up first; the future is dropped then, which ends the call.
pub async fn within<C: Clock, F: Future>(clock: &C, ms: u64, future: F) -> Option<F::Output> {
    let mut sleep = std::pin::pin!(clock.sleep(ms));
    let mut future = std::pin::pin!(future);
    match select(future.as_mut(), sleep.as_mut()).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

fn of_transport(error: &TransportError) -> CallError {
    match error {
        TransportError::Connect(detail) => transport_error(TransportFault::Lost, detail),
        TransportError::Cut(detail) => transport_error(TransportFault::Lost, detail),
    }
}

fn failed(error: CallError) -> Ended {
    Ended {
        head: None,
        request_id: None,
        result: Err(error),
    }
}

fn now<C: Clock>(clock: &C) -> u64 {
    u64::try_from(clock.now_ms()).unwrap_or(0)
}
