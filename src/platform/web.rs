//! The port to the open web, over the runtime's `fetch`.
//!
//! Whom it may ask is settled before: it takes only addresses that the guard let through, and where a public name leads is
//! the runtime's to check (`global_fetch_strictly_public`).

use std::future::Future;

use worker::send::SendFuture;
use worker::web_sys::Headers;

use crate::ports::{TransportError, Web, WebRequest, WireResponse};

use super::fetch;

/// `fetch`, as it is.
#[derive(Clone)]
pub struct WebFetch;

impl Web for WebFetch {
    fn send(
        &self,
        request: WebRequest,
    ) -> impl Future<Output = Result<WireResponse, TransportError>> + Send {
        SendFuture::new(async move {
            let refused =
                |name: &str| TransportError::Connect(format!("{name} is not a valid header"));
            let headers = Headers::new().map_err(|_| refused("none"))?;
            for (name, value) in request.headers.iter() {
                headers.set(name, value).map_err(|_| refused(name))?;
            }
            fetch::send(request.url.as_str(), &headers, request.body).await
        })
    }
}
