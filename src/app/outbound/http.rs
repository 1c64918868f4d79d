//! Other people's servers: a page is read, a webhook is called.
//!
//! Everything that bounds such a request is here: the guard at every hop, the time, the redirects, the size and the
//! type of what comes back. The port below knows none of it.

use futures::StreamExt;

use crate::app::App;
use crate::app::support::time_limit::within;
use crate::claude::headers::Headers;
use crate::core::net::url_guard::{PublicUrl, Refusal};
use crate::ports::{Clock, Ports, TransportError, Web, WebRequest, WireResponse};

/// Why a page was not read. [`WebError::code`] is stable and stands in the coverage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    /// By the guard, at the first hop or at a later one.
    #[error("the address {0}")]
    Refused(#[from] Refusal),
    #[error("a redirect leads to an address that {0}")]
    RefusedRedirect(Refusal),
    #[error("it was redirected more than {0} times")]
    TooManyRedirects(u32),
    #[error("the server answered {0}")]
    DeadLink(u16),
    /// It may answer later, perhaps after so long.
    #[error("the server answered {status}")]
    Later { status: u16, after_ms: Option<u64> },
    #[error("it has more than {0} bytes (FETCH_MAX_BYTES)")]
    TooLarge(usize),
    #[error("its type is {0:?}, which is not read")]
    WrongType(String),
    #[error("it was not there within {0} ms (FETCH_TIMEOUT_MS)")]
    TimedOut(u64),
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("it cannot be read as HTML: {0}")]
    Unreadable(String),
    #[error("it holds no text")]
    Empty,
}

impl WebError {
    pub fn code(&self) -> &'static str {
        match self {
            WebError::Refused(_) | WebError::RefusedRedirect(_) => "url_refused",
            WebError::TooManyRedirects(_) => "too_many_redirects",
            WebError::DeadLink(_) => "dead_link",
            WebError::Later { .. } => "site_unavailable",
            WebError::TooLarge(_) => "page_too_large",
            WebError::WrongType(_) => "wrong_type",
            WebError::TimedOut(_) => "fetch_timed_out",
            WebError::Unreachable(_) => "unreachable",
            WebError::Unreadable(_) => "unreadable_page",
            WebError::Empty => "empty_page",
        }
    }

    /// Another try may do; `Some(Some(ms))` where the server said when.
    pub fn again(&self) -> Option<Option<u64>> {
        match self {
            WebError::Later { after_ms, .. } => Some(*after_ms),
            WebError::TimedOut(_) | WebError::Unreachable(_) => Some(None),
            _ => None,
        }
    }
}

impl From<TransportError> for WebError {
    fn from(error: TransportError) -> WebError {
        WebError::Unreachable(error.to_string())
    }
}

/// A page as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Where it was found in the end.
    pub url: PublicUrl,
    /// As the server named it, parameters included; empty where it named none.
    pub content_type: String,
    pub bytes: Vec<u8>,
}

/// Reads a page. `wanted` looks at the content type before the body is taken.
pub async fn get<P: Ports>(
    app: &App<P>,
    url: &str,
    wanted: impl Fn(&str) -> bool + Send,
) -> Result<Page, WebError> {
    let url = app.config.fetching.guard.check(url)?;
    let ms = app.config.fetching.timeout_ms;
    within(app.ports.clock(), ms, read(app, url, wanted))
        .await
        .unwrap_or(Err(WebError::TimedOut(ms)))
}

async fn read<P: Ports>(
    app: &App<P>,
    mut url: PublicUrl,
    wanted: impl Fn(&str) -> bool + Send,
) -> Result<Page, WebError> {
    let fetching = &app.config.fetching;
    let mut redirects = 0;
    let response = loop {
        let headers = [
            ("user-agent", fetching.user_agent.as_str()),
            ("accept", ACCEPT),
        ];
        let request = WebRequest {
            url: url.clone(),
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: None,
        };
        let response = app.ports.web().send(request).await?;
        let Some(location) = redirect(&response) else {
            break response;
        };
        if redirects == fetching.redirects {
            return Err(WebError::TooManyRedirects(fetching.redirects));
        }
        redirects += 1;
        let next = fetching.guard.follow(&url, location);
        url = next.map_err(WebError::RefusedRedirect)?;
    };
    if let Some(error) = refused(&response, app.ports.clock().now_ms()) {
        return Err(error);
    }
    let content_type = response.headers.get("content-type").unwrap_or_default();
    let content_type = content_type.to_owned();
    if !wanted(&content_type) {
        return Err(WebError::WrongType(content_type));
    }
    // Of a compressed body the header gives another length; what counts is what is read.
    Ok(Page {
        url,
        content_type,
        bytes: body(response, fetching.bytes).await?,
    })
}

/// What is read with pleasure, in that order.
const ACCEPT: &str =
    "text/html, text/markdown, text/plain;q=0.9, application/json;q=0.9, */*;q=0.1";

/// Where the answer sends us.
fn redirect(response: &WireResponse) -> Option<&str> {
    matches!(response.status, 301 | 302 | 303 | 307 | 308)
        .then(|| response.headers.get("location"))
        .flatten()
}

/// What a status that is no success says.
fn refused(response: &WireResponse, now: i64) -> Option<WebError> {
    match response.status {
        200 | 203 => None,
        status @ (408 | 425 | 429 | 500..) => Some(WebError::Later {
            status,
            after_ms: response
                .headers
                .retry_after_ms(u64::try_from(now).unwrap_or(0)),
        }),
        status => Some(WebError::DeadLink(status)),
    }
}

async fn body(mut response: WireResponse, most: usize) -> Result<Vec<u8>, WebError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.body.next().await {
        let chunk = chunk?;
        if bytes.len() + chunk.len() > most {
            return Err(WebError::TooLarge(most));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What a server said to a `POST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub status: u16,
    /// When it wants to be asked again, where it said so.
    pub retry_after_ms: Option<u64>,
    /// The beginning of its answer, for people who look for a fault.
    pub excerpt: String,
}

/// The most of an answer to a `POST` that is read.
const EXCERPT_BYTES: usize = 1_024;

/// Sends a body once, within `timeout_ms`. Any status is a receipt; a redirect is not followed: what is signed is meant
/// for the address that was named. The user agent is added here.
pub async fn post<P: Ports>(
    app: &App<P>,
    url: &PublicUrl,
    headers: Vec<(String, String)>,
    body: String,
    timeout_ms: u64,
) -> Result<Receipt, WebError> {
    let clock = app.ports.clock();
    let agent = (
        "user-agent".to_owned(),
        app.config.fetching.user_agent.clone(),
    );
    let request = WebRequest {
        url: url.clone(),
        headers: headers.into_iter().chain([agent]).collect::<Headers>(),
        body: Some(body),
    };
    let exchange = async {
        let mut response = app.ports.web().send(request).await?;
        let mut excerpt = Vec::new();
        while excerpt.len() < EXCERPT_BYTES
            && let Some(Ok(chunk)) = response.body.next().await
        {
            let room = EXCERPT_BYTES - excerpt.len();
            excerpt.extend(chunk.into_iter().take(room));
        }
        let now = u64::try_from(clock.now_ms()).unwrap_or(0);
        Ok(Receipt {
            status: response.status,
            retry_after_ms: response.headers.retry_after_ms(now),
            excerpt: String::from_utf8_lossy(&excerpt).into_owned(),
        })
    };
    within(clock, timeout_ms, exchange)
        .await
        .unwrap_or(Err(WebError::TimedOut(timeout_ms)))
}
