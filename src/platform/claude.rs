//! The port to Claude, over the runtime's `fetch`.
//!
//! The API key is added here and nowhere else. A call is tied to an abort controller that fires when the
//! future or the body is dropped, so that a call nobody waits for does not run on (and cost) in secret.

use std::future::Future;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use js_sys::{Array, IteratorNext, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use worker::send::{SendFuture, SendWrapper};
use worker::web_sys::{
    AbortController, Headers, ReadableStream, ReadableStreamDefaultReader, RequestInit,
    RequestRedirect, Response, WorkerGlobalScope,
};

use crate::ports::{Claude, TransportError, WireRequest, WireResponse};

use super::js;

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

/// A call under way; dropped before its end it is aborted.
struct Call {
    controller: AbortController,
    ended: bool,
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.controller.abort();
        }
    }
}

async fn send(claude: ClaudeFetch, request: WireRequest) -> Result<WireResponse, TransportError> {
    let connect = |thrown: JsValue| TransportError::Connect(js::text(&thrown));
    let init = RequestInit::new();
    init.set_method("POST");
    // The base URL is configuration: an answer that points elsewhere is not followed with the key.
    init.set_redirect(RequestRedirect::Manual);
    init.set_headers(&headers(&claude, &request)?.into());
    init.set_body(&Uint8Array::from(request.body.as_bytes()));
    let mut call = Call {
        controller: AbortController::new().map_err(connect)?,
        ended: false,
    };
    init.set_signal(Some(&call.controller.signal()));

    let url = format!("{}{}", claude.base_url, request.path);
    drop(request);
    let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
    let fetched = JsFuture::from(scope.fetch_with_str_and_init(&url, &init)).await;
    let response: Response = match fetched.and_then(JsCast::dyn_into) {
        Ok(response) => response,
        Err(thrown) => {
            call.ended = true;
            return Err(connect(thrown));
        }
    };
    Ok(WireResponse {
        status: response.status(),
        headers: entries(&response.headers()).collect(),
        body: match response.body() {
            Some(body) => chunks(call, body),
            None => {
                call.ended = true;
                stream::empty().boxed()
            }
        },
    })
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

/// Names and values of a response's headers, names in lower case.
fn entries(headers: &Headers) -> impl Iterator<Item = (String, String)> {
    headers.entries().into_iter().filter_map(|entry| {
        let entry: Array = entry.ok()?.dyn_into().ok()?;
        let name = entry.get(0).as_string()?;
        Some((name.to_ascii_lowercase(), entry.get(1).as_string()?))
    })
}

/// A body that is being read.
struct Reading {
    call: Call,
    reader: ReadableStreamDefaultReader,
}

/// The body's bytes as they come. Ends after the first error.
fn chunks(call: Call, body: ReadableStream) -> BoxStream<'static, Result<Vec<u8>, TransportError>> {
    let reading = Reading {
        call,
        reader: body.get_reader().unchecked_into(),
    };
    stream::unfold(Some(SendWrapper::new(reading)), |reading| {
        SendFuture::new(async move {
            let mut reading = reading?;
            match next(&reading.reader).await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(reading))),
                Ok(None) => {
                    reading.call.ended = true;
                    None
                }
                Err(thrown) => Some((Err(TransportError::Cut(js::text(&thrown))), None)),
            }
        })
    })
    .boxed()
}

/// The next piece, `None` at the end.
async fn next(reader: &ReadableStreamDefaultReader) -> Result<Option<Vec<u8>>, JsValue> {
    // A read resolves to `{done, value}`, just like an iterator's step.
    let step: IteratorNext = JsFuture::from(reader.read()).await?.unchecked_into();
    if step.done() {
        return Ok(None);
    }
    let bytes: Uint8Array = step.value().dyn_into()?;
    Ok(Some(bytes.to_vec()))
}
