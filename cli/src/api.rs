//! The HTTP client: requests with the token, answers as the Worker's types, errors with all that the Worker says.
//!
//! Reading is tried again where the connection or the deployment fails for a moment; what changes something is not, because
//! nobody knows whether it happened, except a submit, whose key makes it safe.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use fanwise::api::problem::{MAX_LISTED, Problem};
use fanwise::app::view::Page;
use reqwest::header::{ACCEPT, HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::settings::Settings;

/// Waits between tries.
const TRIES: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// A deployment may say when to come back; longer than this nobody is kept waiting.
const LONGEST_WAIT: u64 = 20;
/// The longest silence of an answer. A watched job says something every 15 s (`EVENTS_HEARTBEAT_MS`) unless configured otherwise; who
/// is cut off connects again.
const SILENCE: Duration = Duration::from_secs(120);
/// What an answer that is no problem document may show of itself.
const SHOWN: usize = 400;
/// Entries of a page; the API's largest.
pub const PAGE: usize = 200;

#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

/// The deployment said no, and why.
#[derive(Debug)]
pub struct Refused {
    pub status: StatusCode,
    /// None where the answer was no problem document: something between here and there gave it.
    pub problem: Option<Problem>,
    text: String,
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(problem) = &self.problem else {
            return write!(f, "{}: {}", self.status, self.text.trim());
        };
        write!(f, "{}", problem.detail)?;
        for fault in &problem.errors {
            write!(f, "\n  {}: {}", fault.path, fault.message)?;
        }
        if problem.errors.len() >= MAX_LISTED {
            write!(f, "\n  …")?;
        }
        // The code as it stands on the wire.
        let code = serde_json::to_value(problem.code).ok();
        let code = code.as_ref().and_then(Value::as_str).unwrap_or_default();
        let (status, id) = (self.status.as_u16(), &problem.request_id);
        write!(f, "\n({status} {code}, request {id})")
    }
}

impl Api {
    pub fn new(settings: Settings) -> Result<Api> {
        // Once for the process; a second time is of no matter.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = settings.url.unwrap_or_default();
        let base = Url::parse(&url)
            .ok()
            .filter(|base| matches!(base.scheme(), "http" | "https") && base.has_host())
            .ok_or_else(|| {
                anyhow!(
                    "{url:?} is no address; it should look like https://fanwise.example.workers.dev"
                )
            })?;
        let http = reqwest::Client::builder()
            .user_agent(concat!("fanwise-cli/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(SILENCE)
            // A token must not go anywhere else.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Api {
            http,
            base,
            token: settings.token,
        })
    }

    pub fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base()));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// One request; an answer that is no success becomes an error.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let sent = request.send().await;
        check(sent.map_err(|error| self.unreachable(error))?).await
    }

    fn unreachable(&self, error: reqwest::Error) -> anyhow::Error {
        let connect = error.is_connect();
        let error = anyhow::Error::new(error.without_url());
        match connect {
            true => error.context(format!("{} cannot be reached", self.base())),
            false => error.context(format!("{} did not answer", self.base())),
        }
    }

    /// Reads, again and again where that can help.
    pub async fn read(&self, path: &str, accept: &str) -> Result<Response> {
        let mut waits = TRIES.into_iter();
        loop {
            let request = self.request(Method::GET, path).header(ACCEPT, accept);
            let sent = request.send().await;
            let wait = match &sent {
                Ok(response) if !is_passing(response.status()) => None,
                Ok(response) => {
                    let first = waits.next();
                    first.map(|first| retry_after(response.headers()).unwrap_or(first))
                }
                Err(_) => waits.next(),
            };
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return check(sent.map_err(|error| self.unreachable(error))?).await,
            }
        }
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        json(self.read(path, "application/json").await?).await
    }

    /// A command without or with a body.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = self.send(request).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        json(response).await
    }

    pub async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value> {
        self.call(Method::POST, path, body).await
    }

    /// The first `most` entries of a list, as they came; `path` has a query already or none.
    pub async fn list(&self, path: &str, most: usize) -> Result<Vec<Value>> {
        let mut entries: Vec<Value> = Vec::new();
        let mut cursor: Option<String> = None;
        while entries.len() < most {
            let limit = (most - entries.len()).min(PAGE);
            let mark = if path.contains('?') { '&' } else { '?' };
            let mut page = format!("{path}{mark}limit={limit}");
            if let Some(cursor) = &cursor {
                page.push_str(&format!("&cursor={cursor}"));
            }
            let page: Page<Value> = typed(self.get(&page).await?)?;
            entries.extend(page.data);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(entries)
    }
}

/// An answer that is no success is an error.
pub async fn check(response: Response) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    let problem = serde_json::from_str(&text).ok();
    let detail = serde_json::from_str::<Value>(&text).ok();
    let detail = detail
        .as_ref()
        .and_then(|value| value.get("detail")?.as_str());
    Err(Refused {
        status,
        problem,
        text: detail.unwrap_or(&text).chars().take(SHOWN).collect(),
    }
    .into())
}

/// Whether the next try may go better.
pub fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .parse::<u64>()
        .ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST_WAIT)))
}

pub async fn json(response: Response) -> Result<Value> {
    let text = response.text().await.context("the answer broke off")?;
    serde_json::from_str(&text).with_context(|| {
        format!(
            "the answer is no JSON; it begins with {:?}",
            text.chars().take(80).collect::<String>()
        )
    })
}

/// An answer as the Worker's own type.
pub fn typed<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value)
        .context("the deployment answers in a form that this version of fanwise does not know")
}

/// A text as a part of a path or query.
pub fn quoted(text: &str) -> impl fmt::Display + '_ {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}
