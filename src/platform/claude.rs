//! The port to Claude, over the runtime's `fetch`.
//!
//! The API key is added here and nowhere else.

use std::future::Future;
use std::sync::Arc;

use worker::send::SendFuture;
use worker::web_sys::Headers;

use crate::ports::{Claude, TransportError, WireRequest, WireResponse};

use super::fetch;

/// The endpoint and the key. Has no `Debug`, so that the key cannot get into a log.
#[derive(Clone)]
pub struct ClaudeFetch {
    base_url: Arc<str>,
    api_key: Option<Arc<str>>,
}

impl ClaudeFetch {
    /// `base_url` is followed by paths that begin with `/`. Without a key the header is left out: some
    /// gateways add it themselves.
    pub fn new(base_url: &str, api_key: Option<&str>) -> ClaudeFetch {
        ClaudeFetch {
            base_url: base_url.trim_end_matches('/').into(),
            api_key: api_key.map(Into::into),
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

/// The request's headers and the key. An error names the header, never its value.
fn headers(claude: &ClaudeFetch, request: &WireRequest) -> Result<Headers, TransportError> {
    let refused = |name: &str| TransportError::Connect(format!("{name} is not a valid header"));
    let headers = Headers::new().map_err(|_| refused("none"))?;
    let key = claude.api_key.as_deref().map(|key| ("x-api-key", key));
    for (name, value) in request.headers.iter().chain(key) {
        headers.set(name, value).map_err(|_| refused(name))?;
    }
    Ok(headers)
}
