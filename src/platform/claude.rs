//! The port to Claude, over the runtime's `fetch`.
//!
//! The API key, and what a gateway wants besides, are added here and nowhere else.

use std::future::Future;
use std::sync::Arc;

use worker::send::SendFuture;
use worker::web_sys::Headers;

use crate::platform::fetch;
use crate::ports::{Claude, TransportError, WireRequest, WireResponse};

/// The endpoint and the key. Has no `Debug`, so that the key cannot get into a log.
#[derive(Clone)]
pub struct ClaudeFetch {
    base_url: Arc<str>,
    opening: Arc<[(String, String)]>,
}

impl ClaudeFetch {
    /// `base_url` is followed by paths that begin with `/`. Without a key its header is left out: some gateways add it
    /// themselves.
    pub fn new(base_url: &str, opening: Vec<(String, String)>) -> ClaudeFetch {
        ClaudeFetch {
            base_url: base_url.trim_end_matches('/').into(),
            opening: opening.into(),
        }
    }
}

impl Claude for ClaudeFetch {
    fn send(
        &self,
        request: WireRequest,
    ) -> impl Future<Output = Result<WireResponse, TransportError>> + Send {
        SendFuture::new(send(self.clone(), request))
    }
}

async fn send(claude: ClaudeFetch, request: WireRequest) -> Result<WireResponse, TransportError> {
    let headers = headers(&claude, &request)?;
    let url = format!("{}{}", claude.base_url, request.path);
    // The base URL is configuration: an answer that points elsewhere is not followed with the key.
    fetch::send(&url, &headers, request.body).await
}

/// The request's headers and the key's. An error names the header, never its value.
fn headers(claude: &ClaudeFetch, request: &WireRequest) -> Result<Headers, TransportError> {
    let refused = |name: &str| TransportError::Connect(format!("{name} is not a valid header"));
    let headers = Headers::new().map_err(|_| refused("none"))?;
    let opening = claude.opening.iter();
    let opening = opening.map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in request.headers.iter().chain(opening) {
        headers.set(name, value).map_err(|_| refused(name))?;
    }
    Ok(headers)
}
