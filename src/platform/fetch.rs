//! One request by the runtime's `fetch`, for all ports that speak HTTP.
//!
//! A request is tied to an abort controller that fires when the future or the body is dropped, so that one
//! nobody waits for does not run on (and cost) in secret. Redirects are never followed here.

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

use crate::platform::js;
use crate::ports::{TransportError, WireResponse};

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

/// Sends a request, a `POST` where it has a body; returns with the answer's head.
pub async fn send(
    url: &str,
    headers: &Headers,
    body: Option<String>,
) -> Result<WireResponse, TransportError> {
    let connect = |thrown: JsValue| TransportError::Connect(js::text(&thrown));
    let init = RequestInit::new();
    init.set_method(if body.is_some() { "POST" } else { "GET" });
    init.set_redirect(RequestRedirect::Manual);
    init.set_headers(headers.as_ref());
    if let Some(body) = body {
        init.set_body(&Uint8Array::from(body.as_bytes()));
    }
    let mut call = Call {
        controller: AbortController::new().map_err(connect)?,
        ended: false,
    };
    init.set_signal(Some(&call.controller.signal()));

    let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
    let fetched = JsFuture::from(scope.fetch_with_str_and_init(url, &init)).await;
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
