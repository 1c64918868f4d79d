//! Ports that hold nothing, a router over them, and a client that reads whole answers.

use std::collections::BTreeMap;
use std::future::{Future, pending, ready};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use chrono::{DateTime, Offset as _, TimeZone};
use fanwise::api::auth::Auth;
use fanwise::api::{Api, router};
use fanwise::app::App;
use fanwise::claude::models::Catalogue;
use fanwise::config::Config;
use fanwise::core::net::webhook::SigningKey;
use fanwise::core::text::html_to_text::Page;
use fanwise::ports::{
    Answer, BlobError, Blobs, Claude, Clock, Db, DbError, Entropy, Keys, Log, Outgoing, Ports,
    Queue, QueueError, Statement, TransportError, Web, WebRequest, WireRequest, WireResponse,
    Zones,
};
use futures::executor::block_on;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

pub const TOKEN: &str = "the-token-of-tests";

/// 2026-11-22T12:00:00Z
const NOW: i64 = 1_795_348_800_000;

/// A statement's name and values.
pub type Ran = (String, Vec<Value>);

/// All edges in one: an empty database (or one that is away, or answers with the same rows always), a clock that
/// stands still.
#[derive(Clone, Default)]
pub struct Fake {
    pub db_is_away: bool,
    /// Every guard refuses.
    pub guarded: bool,
    /// What a statement answers, by the name on its first line.
    pub rows: BTreeMap<&'static str, Vec<Value>>,
    /// The statements that were run, by name.
    pub ran: Arc<Mutex<Vec<Ran>>>,
    /// What was put into the blob store.
    pub blobs: Arc<Mutex<Vec<String>>>,
    pub log: Arc<Mutex<Vec<Value>>>,
    pub drawn: Arc<Mutex<u8>>,
}

impl Fake {
    fn answers(&self, statements: Vec<Statement>) -> Result<Vec<Answer>, DbError> {
        if self.db_is_away {
            return Err(DbError::Unavailable("D1_ERROR: secret internals".into()));
        }
        let named = statements.into_iter().map(|statement| {
            let (name, _) = statement.sql.split_once('\n').unwrap();
            (name.replace("-- ", ""), statement.params)
        });
        let named: Vec<Ran> = named.collect();
        if self.guarded && named.iter().any(|(name, _)| name.contains("guard")) {
            return Err(DbError::Guard("guard".into()));
        }
        self.ran.lock().unwrap().extend(named.iter().cloned());
        // No token has used up its submits.
        let submits = vec![json!({"level": 1})];
        let answer = |name: &str| Answer {
            rows: self
                .rows
                .get(name)
                .or((name == "take_submit").then_some(&submits))
                .into_iter()
                .flatten()
                .filter_map(|row| row.as_object().cloned())
                .collect(),
            rows_read: 0,
            size: None,
        };
        Ok(named.iter().map(|(name, _)| answer(name)).collect())
    }
}

impl Db for Fake {
    fn batch(
        &self,
        statements: Vec<Statement>,
    ) -> impl Future<Output = Result<Vec<Answer>, DbError>> + Send {
        ready(self.answers(statements))
    }
}

impl Blobs for Fake {
    fn put(&self, _: String, body: String) -> impl Future<Output = Result<(), BlobError>> + Send {
        self.blobs.lock().unwrap().push(body);
        ready(Ok(()))
    }

    fn put_for(
        &self,
        key: String,
        body: String,
        _: u64,
    ) -> impl Future<Output = Result<(), BlobError>> + Send {
        self.put(key, body)
    }

    fn get(&self, _: String) -> impl Future<Output = Result<Option<String>, BlobError>> + Send {
        ready(Ok(None))
    }

    fn delete(&self, _: String) -> impl Future<Output = Result<(), BlobError>> + Send {
        ready(Ok(()))
    }

    fn list(
        &self,
        _: String,
        _: Option<String>,
    ) -> impl Future<Output = Result<Keys, BlobError>> + Send {
        ready(Ok(Keys::default()))
    }
}

impl Queue for Fake {
    fn send(&self, _: Vec<Outgoing>) -> impl Future<Output = Result<(), QueueError>> + Send {
        ready(Ok(()))
    }
}

impl Claude for Fake {
    fn send(
        &self,
        _: WireRequest,
    ) -> impl Future<Output = Result<WireResponse, TransportError>> + Send {
        pending()
    }
}

impl Web for Fake {
    fn send(
        &self,
        _: WebRequest,
    ) -> impl Future<Output = Result<WireResponse, TransportError>> + Send {
        pending()
    }

    fn decode(&self, bytes: &[u8], _: &str) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn read_html(&self, _: String) -> impl Future<Output = Result<Page, String>> + Send {
        pending()
    }
}

impl Clock for Fake {
    fn now_ms(&self) -> i64 {
        NOW
    }

    fn sleep(&self, _: u64) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

impl Zones for Fake {
    fn offset(&self, zone: &str, seconds: i64) -> Option<i32> {
        let zone: chrono_tz::Tz = zone.parse().ok()?;
        let at = DateTime::from_timestamp(seconds, 0)?.naive_utc();
        Some(zone.offset_from_utc_datetime(&at).fix().local_minus_utc())
    }
}

impl Entropy for Fake {
    fn fill(&self, bytes: &mut [u8]) {
        let mut drawn = self.drawn.lock().unwrap();
        *drawn = drawn.wrapping_add(1);
        bytes.fill(*drawn);
    }
}

impl Log for Fake {
    fn line(&self, record: Value) {
        self.log.lock().unwrap().push(record);
    }
}

impl Ports for Fake {
    type Db = Fake;
    type Blobs = Fake;
    type Queue = Fake;
    type Claude = Fake;
    type Web = Fake;
    type Clock = Fake;
    type Zones = Fake;
    type Entropy = Fake;
    type Log = Fake;

    fn db(&self) -> &Fake {
        self
    }
    fn blobs(&self) -> &Fake {
        self
    }
    fn queue(&self) -> &Fake {
        self
    }
    fn claude(&self) -> &Fake {
        self
    }
    fn web(&self) -> &Fake {
        self
    }
    fn clock(&self) -> &Fake {
        self
    }
    fn zones(&self) -> &Fake {
        self
    }
    fn entropy(&self) -> &Fake {
        self
    }
    fn log(&self) -> &Fake {
        self
    }
}

/// A router over the fakes, with [`TOKEN`] as the token.
pub fn service() -> Router {
    service_over(Fake::default(), Some(TOKEN))
}

pub fn service_over(ports: Fake, token: Option<&str>) -> Router {
    service_with(ports, token, &[])
}

/// With variables of its own.
pub fn service_with(ports: Fake, token: Option<&str>, vars: &[(&str, &str)]) -> Router {
    let mut all = vars.to_vec();
    all.push(("MAX_BODY_BYTES", "8000000"));
    let config = Config::from_pairs(&all);
    router(Api {
        app: App {
            ports,
            config: Arc::new(config.unwrap()),
            models: Arc::new(Catalogue::load(None).unwrap()),
            signing: SigningKey::new("the signing key of the tests"),
            otlp_headers: Vec::new(),
        },
        auth: Auth::new(token),
    })
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Sends any request and reads the answer to its end.
pub fn send(service: &Router, request: Request<Body>) -> Reply {
    block_on(async {
        let response = service.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    })
}

/// With the token, without a body.
pub fn call(method: &str, path: &str) -> Reply {
    let request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(path)
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Body::empty());
    send(&service(), request.unwrap())
}

/// With the token, and a body of the given type.
pub fn post(path: &str, content_type: &str, body: impl Into<Body>) -> Reply {
    send(&service(), with_body("POST", path, content_type, body))
}

pub fn with_body(
    method: &str,
    path: &str,
    content_type: &str,
    body: impl Into<Body>,
) -> Request<Body> {
    Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(path)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", content_type)
        .header("x-request-id", "r1")
        .body(body.into())
        .unwrap()
}
