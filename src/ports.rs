//! The edges of the engine: a few small traits that the platform, the tests and the simulation implement.
//!
//! Each says what is durable when it returns. Futures are `Send` so that the same use cases serve axum
//! natively and in the Worker (where the adapters wrap what JavaScript gives them).

use std::borrow::Cow;
use std::future::Future;

use futures::stream::BoxStream;
use serde_json::{Map, Value};

use crate::claude::headers::Headers;
use crate::core::net::url_guard::PublicUrl;
use crate::core::text::html_to_text::Page;

/// One SQL statement with its bound values: `Null`, `Bool`, `Number` or `String`, nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub sql: &'static str,
    pub params: Vec<Value>,
}

/// What one statement answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    pub rows: Vec<Map<String, Value>>,
    /// Rows the database had to read, where it says so (D1 does, and bills by it).
    pub rows_read: u64,
    /// Bytes of the whole database after the statement, where it says so.
    pub size: Option<u64>,
}

/// Why the database did not answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DbError {
    /// An assertion inside the batch did not hold; nothing of the batch was written.
    #[error("guard failed: {0}")]
    Guard(String),
    /// It may or may not have been written; try again later.
    #[error("the database is not reachable: {0}")]
    Unavailable(String),
    /// It can take no more at present; send less.
    #[error("the database is overloaded: {0}")]
    Overloaded(String),
    /// It has reached its largest size: nothing that adds to it is written until something is deleted.
    #[error("the database is full: {0}")]
    Full(String),
    /// The statement itself is wrong: a fault of ours.
    #[error("the database refused a statement: {0}")]
    Refused(String),
}

/// The truth: D1 in production, SQLite natively.
pub trait Db: Clone + Send + Sync + 'static {
    /// Runs all statements in one transaction, in order. When it returns `Ok`, all of it is durable; on
    /// `Guard` and `Refused` nothing is; on `Unavailable` nobody knows, so every batch must be safe to
    /// run twice.
    fn batch(
        &self,
        statements: Vec<Statement>,
    ) -> impl Future<Output = Result<Vec<Answer>, DbError>> + Send;
}

/// Why a blob was not read or written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the blob store is not reachable: {0}")]
pub struct BlobError(pub String);

/// Some of the keys that begin alike, and where to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    pub keys: Vec<String>,
    /// `None`: those were the last.
    pub next: Option<String>,
}

/// Large immutable values: KV in production. Eventually consistent: `None` means "not yet", never "empty".
pub trait Blobs: Clone + Send + Sync + 'static {
    /// Durable when it returns, readable elsewhere up to a minute later.
    fn put(&self, key: String, body: String) -> impl Future<Output = Result<(), BlobError>> + Send;
    /// The same, and gone by itself some time after so many seconds (at least 60). Put again, it is kept anew.
    fn put_for(
        &self,
        key: String,
        body: String,
        seconds: u64,
    ) -> impl Future<Output = Result<(), BlobError>> + Send;
    fn get(&self, key: String) -> impl Future<Output = Result<Option<String>, BlobError>> + Send;
    fn delete(&self, key: String) -> impl Future<Output = Result<(), BlobError>> + Send;
    /// The keys that begin with `prefix`, at most 1,000 at a time; `after` is the `next` of the page before. What was
    /// put or deleted in the last minute may be missing, or still be there.
    fn list(
        &self,
        prefix: String,
        after: Option<String>,
    ) -> impl Future<Output = Result<Keys, BlobError>> + Send;
}

/// Which queue a message goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueName {
    /// Small steps that move a job on.
    Control,
    /// Tasks that wait for a worker.
    Tasks,
    /// What waits for other people's servers, so that nothing of ours waits behind them.
    Outbound,
}

/// A message with the seconds it should wait.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    pub queue: QueueName,
    pub body: String,
    pub delay_seconds: u32,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the queue did not take the message: {0}")]
pub struct QueueError(pub String);

/// Messages that arrive at least once, in any order, or (locally, after a kill) not at all.
pub trait Queue: Clone + Send + Sync + 'static {
    /// Taken over by the queue when it returns; on an error some may have been.
    fn send(&self, messages: Vec<Outgoing>) -> impl Future<Output = Result<(), QueueError>> + Send;
}

/// A call as it goes over the wire; the key is added by the adapter, so that it can never be logged here.
#[derive(Debug, Clone, PartialEq)]
pub struct WireRequest {
    /// Below the base URL, with its query.
    pub path: Cow<'static, str>,
    pub headers: Headers,
    /// With a body it is a `POST`, without one a `GET`.
    pub body: Option<String>,
}

/// The head of an answer and the bytes that follow.
pub struct WireResponse {
    pub status: u16,
    /// Names in lower case.
    pub headers: Headers,
    pub body: BoxStream<'static, Result<Vec<u8>, TransportError>>,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TransportError {
    /// Nothing was sent, or no head came back.
    #[error("no connection: {0}")]
    Connect(String),
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Cut(String),
}

/// Claude, or whatever speaks its API.
pub trait Claude: Clone + Send + Sync + 'static {
    /// Returns when the head of the answer is there. Dropping the future or the body ends the call.
    fn send(
        &self,
        request: WireRequest,
    ) -> impl Future<Output = Result<WireResponse, TransportError>> + Send;
}

/// What is asked of somebody else's server. Only an address that the guard let through can be named.
#[derive(Debug, Clone, PartialEq)]
pub struct WebRequest {
    pub url: PublicUrl,
    pub headers: Headers,
    /// With a body it is a `POST`, without one a `GET`.
    pub body: Option<String>,
}

/// The open web: pages to read, webhooks to call.
pub trait Web: Clone + Send + Sync + 'static {
    /// One hop: a redirect comes back as the answer it is, for the guard to see where it leads. Returns when the head
    /// is there; dropping the future or the body ends the request. Knows no limits of its own: see [`crate::app::outbound::http`].
    fn send(
        &self,
        request: WebRequest,
    ) -> impl Future<Output = Result<WireResponse, TransportError>> + Send;

    /// The text that bytes stand for in a character set (by its label of the Encoding standard; UTF-8 where it is unknown). What
    /// is no text becomes U+FFFD.
    fn decode(&self, bytes: &[u8], charset: &str) -> String;

    /// Reads HTML by the platform's parser.
    fn read_html(&self, html: String) -> impl Future<Output = Result<Page, String>> + Send;
}

/// Time.
pub trait Clock: Clone + Send + Sync + 'static {
    fn now_ms(&self) -> i64;
    fn sleep(&self, ms: u64) -> impl Future<Output = ()> + Send;
}

/// The world's time zones.
pub trait Zones: Clone + Send + Sync + 'static {
    /// Seconds that the clocks of a zone of the IANA database are ahead of UTC at an instant (in seconds since the epoch);
    /// `None` for a name that is no zone.
    fn offset(&self, zone: &str, seconds: i64) -> Option<i32>;
}

/// Randomness.
pub trait Entropy: Clone + Send + Sync + 'static {
    fn fill(&self, bytes: &mut [u8]);
}

/// One line of structured log.
pub trait Log: Clone + Send + Sync + 'static {
    fn line(&self, record: Value);
}

/// All edges together; what the use cases are generic over.
pub trait Ports: Clone + Send + Sync + 'static {
    type Db: Db;
    type Blobs: Blobs;
    type Queue: Queue;
    type Claude: Claude;
    type Web: Web;
    type Clock: Clock;
    type Zones: Zones;
    type Entropy: Entropy;
    type Log: Log;

    fn db(&self) -> &Self::Db;
    fn blobs(&self) -> &Self::Blobs;
    fn queue(&self) -> &Self::Queue;
    fn claude(&self) -> &Self::Claude;
    fn web(&self) -> &Self::Web;
    fn clock(&self) -> &Self::Clock;
    fn zones(&self) -> &Self::Zones;
    fn entropy(&self) -> &Self::Entropy;
    fn log(&self) -> &Self::Log;

    /// Bytes of memory that the engine's process has taken since it began, where the platform can tell.
    fn memory(&self) -> Option<u64> {
        None
    }
}
