//! The port to the open web, over the runtime's `fetch`.
//!
//! Whom it may ask is settled before: it takes only addresses that the guard let through, and where a public name leads is
//! the runtime's to check (`global_fetch_strictly_public`).

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use js_sys::{Function, Object, Reflect, Uint8Array};
use wasm_bindgen::prelude::{Closure, wasm_bindgen};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use worker::send::SendFuture;
use worker::web_sys::{Headers, Response};

use crate::core::text::html_to_text::{HIDDEN, Page, Readable};
use crate::platform::{fetch, js};
use crate::ports::{TransportError, Web, WebRequest, WireResponse};

#[wasm_bindgen]
extern "C" {
    /// The runtime's own parser for HTML: at no size, and as fast as C.
    type HTMLRewriter;
    #[wasm_bindgen(constructor)]
    fn new() -> HTMLRewriter;
    #[wasm_bindgen(method)]
    fn on(this: &HTMLRewriter, selector: &str, handlers: &Object) -> HTMLRewriter;
    #[wasm_bindgen(method, js_name = onDocument)]
    fn on_document(this: &HTMLRewriter, handlers: &Object) -> HTMLRewriter;
    #[wasm_bindgen(method, catch)]
    fn transform(this: &HTMLRewriter, response: &Response) -> Result<Response, JsValue>;

    type Element;
    #[wasm_bindgen(method, getter, js_name = tagName)]
    fn tag_name(this: &Element) -> String;
    #[wasm_bindgen(method, catch, js_name = onEndTag)]
    fn on_end_tag(this: &Element, handler: &Function) -> Result<(), JsValue>;

    type EndTag;
    #[wasm_bindgen(method, getter)]
    fn name(this: &EndTag) -> String;

    type TextChunk;
    #[wasm_bindgen(method, getter)]
    fn text(this: &TextChunk) -> String;

    type TextDecoder;
    #[wasm_bindgen(constructor, catch)]
    fn new(label: &str) -> Result<TextDecoder, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn decode(this: &TextDecoder, bytes: &Uint8Array) -> Result<String, JsValue>;
}

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

    fn decode(&self, bytes: &[u8], charset: &str) -> String {
        TextDecoder::new(charset)
            .and_then(|decoder| decoder.decode(&Uint8Array::from(bytes)))
            .unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned())
    }

    fn read_html(&self, html: String) -> impl Future<Output = Result<Page, String>> + Send {
        SendFuture::new(async move { read(&html).await.map_err(|thrown| js::text(&thrown)) })
    }
}

/// Lets the parser run over a page; what it finds goes to a [`Readable`]. The page that it writes is thrown away.
async fn read(html: &str) -> Result<Page, JsValue> {
    let page = Rc::new(RefCell::new(Readable::default()));
    let ends = {
        let page = Rc::clone(&page);
        Closure::<dyn FnMut(EndTag)>::new(move |tag: EndTag| {
            page.borrow_mut().end(&tag.name().to_ascii_lowercase());
        })
    };
    let on_end: Function = ends.as_ref().unchecked_ref::<Function>().clone();
    let begins = {
        let page = Rc::clone(&page);
        Closure::<dyn FnMut(Element)>::new(move |element: Element| {
            let tag = element.tag_name().to_ascii_lowercase();
            page.borrow_mut().begin(&tag);
            if page.borrow().wants_end(&tag) {
                // Some have none, as a `<p/>` of SVG: then nothing is lost.
                let _ = element.on_end_tag(&on_end);
            }
        })
    };
    let texts = {
        let page = Rc::clone(&page);
        Closure::<dyn FnMut(TextChunk)>::new(move |chunk: TextChunk| {
            page.borrow_mut().text(&chunk.text());
        })
    };
    let hides = {
        let page = Rc::clone(&page);
        Closure::<dyn FnMut(Element)>::new(move |_: Element| page.borrow_mut().hide())
    };
    let of_hidden = Object::new();
    Reflect::set(&of_hidden, &"element".into(), hides.as_ref())?;
    let of_elements = Object::new();
    Reflect::set(&of_elements, &"element".into(), begins.as_ref())?;
    let of_document = Object::new();
    Reflect::set(&of_document, &"text".into(), texts.as_ref())?;
    let response = Response::new_with_opt_str(Some(html))?;
    response
        .headers()
        .set("content-type", "text/html; charset=utf-8")?;
    // What hides an element comes before what begins it.
    let parsed = HIDDEN
        .iter()
        .fold(HTMLRewriter::new(), |parser, hidden| {
            parser.on(hidden, &of_hidden)
        })
        .on("*", &of_elements)
        .on_document(&of_document)
        .transform(&response)?;
    JsFuture::from(parsed.array_buffer()?).await?;
    Ok(page.take().finish())
}
