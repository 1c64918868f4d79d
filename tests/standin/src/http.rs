//! The engine on a socket: reads requests, plays scripts by the clock, and
//! notices when a client goes away.
//!
//! Each connection is served by hyper itself rather than by `axum::serve`,
//! because a fault may close it without any answer, which a router cannot say.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use futures_util::Stream;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep},
};
use tower::ServiceExt;

use crate::{
    control,
    engine::{End, Engine, Incoming, Reply},
    stats::Ended,
};

/// Bodies above this are not even read: the largest that any endpoint takes.
const MAX_KEPT: usize = 256 * 1024 * 1024;

/// The engine, shared by all connections. One lock: a call holds it for less
/// than a millisecond, and the program runs on one thread.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<Engine>>);

impl Shared {
    pub fn new(engine: Engine) -> Self {
        Self(Arc::new(Mutex::new(engine)))
    }

    /// A panic elsewhere leaves counters that are still worth reading.
    pub fn lock(&self) -> MutexGuard<'_, Engine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Listens on the loopback address; port 0 takes a free one.
pub async fn listen(port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves until the future is dropped.
pub async fn serve(listener: TcpListener, shared: Shared) {
    let router = Router::new()
        .merge(control::routes())
        .fallback(any(api))
        .with_state(shared.clone());
    tokio::spawn(work_on_batches(shared));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, router.clone()));
            }
            // Out of file descriptors, most likely: others must end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Answers what is due in batches bit by bit, so that no poll has to do it all.
async fn work_on_batches(shared: Shared) {
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        shared.lock().work(now_ms(), 10);
    }
}

/// Marks a response that is not to be sent: the connection closes instead.
#[derive(Clone, Copy, Debug)]
struct NoAnswer;

async fn connection(stream: TcpStream, router: Router) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            let response = match router.oneshot(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            if response.extensions().get::<NoAnswer>().is_some() {
                return Err(io::Error::from(io::ErrorKind::ConnectionReset));
            }
            Ok::<Response, io::Error>(response)
        }
    });
    // Broken connections end here; the call's own guard has counted them.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Tells the engine how a call ended, also when the client went away and hyper
/// dropped everything.
struct Guard {
    shared: Shared,
    number: u64,
    done: bool,
}

impl Guard {
    fn complete(&mut self) {
        if !self.done {
            self.done = true;
            self.shared
                .lock()
                .ended(self.number, Ended::Complete, now_ms());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.done {
            self.done = true;
            self.shared
                .lock()
                .ended(self.number, Ended::ClientGone, now_ms());
        }
    }
}

/// Every path that is not under `/control`.
async fn api(State(shared): State<Shared>, request: Request) -> Result<Response, Infallible> {
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    let (body, too_large) = match to_bytes(body, MAX_KEPT).await {
        Ok(bytes) => (bytes, false),
        Err(_) => (Bytes::new(), true),
    };
    let headers = parts.headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    });
    let incoming = Incoming {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body,
        too_large,
    };
    let reply = shared.lock().handle(&incoming, now_ms());
    let guard = Guard {
        shared,
        number: reply.number,
        done: false,
    };
    Ok(play(reply, guard, start).await)
}

async fn play(reply: Reply, mut guard: Guard, start: Instant) -> Response {
    if reply.opens_ms > 0 {
        tokio::time::sleep_until(start + Duration::from_millis(reply.opens_ms)).await;
    }
    let Ok(status) = StatusCode::from_u16(reply.status) else {
        guard.complete();
        let mut response = StatusCode::OK.into_response();
        response.extensions_mut().insert(NoAnswer);
        return response;
    };
    // A whole answer at once has a length; anything else is streamed.
    let mut pieces = reply.pieces;
    let body = match (pieces.len(), reply.end) {
        (0, End::Clean) => {
            guard.complete();
            Body::empty()
        }
        (1, End::Clean) => {
            let (_, data) = pieces.remove(0);
            guard.complete();
            Body::from(data)
        }
        _ => Body::from_stream(Script {
            pieces: pieces.into_iter(),
            next: None,
            end: reply.end,
            start,
            sleep: Box::pin(tokio::time::sleep_until(start)),
            guard,
        }),
    };
    let mut response = (status, body).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A body that sends each piece when its time has come.
struct Script {
    pieces: std::vec::IntoIter<(u64, Bytes)>,
    /// What the timer waits for; nothing once all pieces are out.
    next: Option<Bytes>,
    end: End,
    start: Instant,
    sleep: Pin<Box<Sleep>>,
    guard: Guard,
}

/// Before a connection breaks, what was sent is given this long to leave: hyper
/// throws away what it still holds.
const FLUSH: Duration = Duration::from_millis(5);

impl Stream for Script {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.next.is_none() {
            if let Some((at_ms, data)) = this.pieces.next() {
                let due = this.start + Duration::from_millis(at_ms);
                this.sleep.as_mut().reset(due);
                this.next = Some(data);
            } else if this.end == End::Clean {
                this.guard.complete();
                return Poll::Ready(None);
            } else if !this.guard.done {
                this.guard.complete();
                this.sleep.as_mut().reset(Instant::now() + FLUSH);
            }
        }
        if this.sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        match this.next.take() {
            Some(data) => Poll::Ready(Some(Ok(data))),
            None => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
        }
    }
}
