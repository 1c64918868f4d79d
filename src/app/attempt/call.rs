//! One call to Claude, from the head of the answer to its last byte.
//!
//! It comes in two steps, because the head says how the account stands long before the answer is whole: the first
//! ends when the head is there and hands out its rate headers with the rest of the call, the second ends with the message.

use futures::StreamExt;
use futures::future::{BoxFuture, Either, FutureExt, select};

use crate::app::App;
use crate::app::support::time_limit::within;
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

/// After the last event of a message its body ends at once. It is read to there, because a connection whose answer was
/// not read to its end carries no other; so long at most.
const END_MS: u64 = 100;

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
    let wire = WireRequest {
        path: MESSAGES_PATH.into(),
        headers: headers(app.config.trace_headers.then_some(trace))
            .into_iter()
            .collect(),
        body: Some(String::from_utf8(request.body()).unwrap_or_default()),
    };
    let sent = app.ports.claude().send(wire);
    let intervals = &app.config.intervals;
    let mut patience = Patience::new(
        clock.clone(),
        intervals.call_timeout_ms,
        intervals.idle_timeout_ms,
    );
    let Some(sent) = patience.head(sent, intervals.head_timeout_ms).await else {
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
    Begun::Head(head.clone(), rest(app, head, response, patience).boxed())
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
    let body = body(&mut silence(app), &mut response, ERROR_BYTES)
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
    body(&mut silence(app), &mut response, BODY_BYTES).await
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
    mut patience: Patience<P::Clock>,
) -> Ended {
    let clock = app.ports.clock().clone();
    let request_id = response.headers.request_id();
    let streamed = response
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.starts_with("text/event-stream"));
    let result = if head.status != 200 {
        let body = body(&mut patience, &mut response, ERROR_BYTES)
            .await
            .unwrap_or_default();
        Err(classify(head.status, &response.headers, &body, now(&clock)))
    } else if streamed {
        stream(&mut patience, &mut response).await
    } else {
        match body(&mut patience, &mut response, BODY_BYTES).await {
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

async fn stream<C: Clock>(
    patience: &mut Patience<C>,
    response: &mut WireResponse,
) -> Result<Message, CallError> {
    let mut reader = StreamReader::new(response.headers.clone());
    loop {
        let Some(chunk) = patience.next(response.body.next()).await else {
            let mut error = transport_error(TransportFault::TimedOut, "the answer stopped coming");
            error.usage = reader.usage_so_far();
            return Err(error);
        };
        match chunk {
            Some(Ok(bytes)) => {
                if reader.push(&bytes, now(&patience.clock))? == Progress::Done {
                    // Whatever comes now, the message is whole.
                    let _ = within(&patience.clock, END_MS, response.body.next()).await;
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
async fn body<C: Clock>(
    patience: &mut Patience<C>,
    response: &mut WireResponse,
    most: usize,
) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::new();
    loop {
        let Some(chunk) = patience.next(response.body.next()).await else {
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

/// How long a call is waited for: so long from its beginning, and so long in silence. One timer serves for all of its
/// pieces, since setting and clearing one costs more than reading a piece: where it fires early it is set again.
struct Patience<C: Clock> {
    clock: C,
    /// The end of the call's time.
    until: i64,
    idle_ms: u64,
    /// When the timer fires.
    fires: i64,
    timer: BoxFuture<'static, ()>,
}

impl<C: Clock> Patience<C> {
    fn new(clock: C, whole_ms: u64, idle_ms: u64) -> Self {
        let now = clock.now_ms();
        let ms = whole_ms.min(idle_ms);
        Patience {
            until: now.saturating_add_unsigned(whole_ms),
            idle_ms,
            fires: now.saturating_add_unsigned(ms),
            timer: timer(&clock, ms),
            clock,
        }
    }

    /// Waits for the head; `None` where the time was up first. A call that waits for it has one of the few connections of
    /// its invocation.
    async fn head<F: Future>(&mut self, future: F, head_ms: u64) -> Option<F::Output> {
        let until = self.clock.now_ms().saturating_add_unsigned(head_ms);
        self.wait(future, self.until.min(until)).await
    }

    /// Waits for the next piece.
    async fn next<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let silence = self.clock.now_ms().saturating_add_unsigned(self.idle_ms);
        self.wait(future, self.until.min(silence)).await
    }

    async fn wait<F: Future>(&mut self, future: F, until: i64) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        loop {
            if self.fires > until {
                self.set(until);
            }
            match select(future.as_mut(), self.timer.as_mut()).await {
                Either::Left((output, _)) => return Some(output),
                Either::Right(_) if self.clock.now_ms() >= until => return None,
                Either::Right(_) => self.set(until),
            }
        }
    }

    fn set(&mut self, until: i64) {
        let ms = u64::try_from(until - self.clock.now_ms()).unwrap_or(0);
        self.fires = until;
        self.timer = timer(&self.clock, ms.max(1));
    }
}

/// With a body that may take as long as it comes.
fn silence<P: Ports>(app: &App<P>) -> Patience<P::Clock> {
    let idle = app.config.intervals.idle_timeout_ms;
    Patience::new(app.ports.clock().clone(), u64::MAX, idle)
}

fn timer<C: Clock>(clock: &C, ms: u64) -> BoxFuture<'static, ()> {
    let clock = clock.clone();
    async move { clock.sleep(ms).await }.boxed()
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
