//! The open web of a world: servers with what each address answers, and the record of what they were asked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use fanwise::core::text::html_to_text::{HIDDEN, Page, Readable};
use fanwise::ports::{Clock, TransportError, WebRequest, WireResponse};
use futures::{StreamExt, stream};

use crate::world::World;

/// What an address answers.
#[derive(Debug, Clone)]
pub struct Site {
    /// 0: nobody is there.
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Before the head comes.
    pub opens_ms: u64,
    pub end: End,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Whole,
    Cut,
    /// The same bytes again and again.
    Endless,
    /// Nothing more comes, and no end.
    Silent,
}

impl Site {
    pub fn new(status: u16) -> Site {
        Site {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            opens_ms: 5,
            end: End::Whole,
        }
    }

    pub fn page(content_type: &str, body: &str) -> Site {
        Site {
            body: body.into(),
            ..Site::new(200).header("Content-Type", content_type)
        }
    }

    pub fn redirect(location: &str) -> Site {
        Site::new(302).header("Location", location)
    }

    pub fn header(mut self, name: &str, value: &str) -> Site {
        self.headers.push((name.to_lowercase(), value.to_owned()));
        self
    }

    pub fn ending(self, end: End) -> Site {
        Site { end, ..self }
    }

    pub fn after(self, opens_ms: u64) -> Site {
        Site { opens_ms, ..self }
    }

    /// The answer as it goes over the wire.
    pub fn answer(self, world: World) -> Result<WireResponse, TransportError> {
        if self.status == 0 {
            return Err(TransportError::Connect("no such host".into()));
        }
        let first = stream::iter([Ok(self.body.clone())]);
        let body = match self.end {
            End::Whole => first.boxed(),
            End::Cut => first
                .chain(stream::iter([Err(TransportError::Cut("reset".into()))]))
                .boxed(),
            End::Endless => stream::repeat_with(move || Ok(self.body.clone())).boxed(),
            End::Silent => first
                .chain(stream::once(async move {
                    // Longer than anybody waits.
                    world.sleep(86_400_000).await;
                    Ok(Vec::new())
                }))
                .boxed(),
        };
        Ok(WireResponse {
            status: self.status,
            headers: self.headers.into_iter().collect(),
            body,
        })
    }
}

/// As the runtime's decoder does it.
pub fn decode(bytes: &[u8], charset: &str) -> String {
    let encoding = encoding_rs::Encoding::for_label(charset.as_bytes());
    let encoding = encoding.unwrap_or(encoding_rs::UTF_8);
    encoding.decode_with_bom_removal(bytes).0.into_owned()
}

/// As the runtime's parser does it: it is the same one.
pub fn read_html(html: &str) -> Page {
    use lol_html::html_content::{Element, EndTag, TextChunk};
    use lol_html::{EndTagHandler, RewriteStrSettings, doc_text, element, rewrite_str};
    let page = Rc::new(RefCell::new(Readable::default()));
    let (begins, texts) = (Rc::clone(&page), Rc::clone(&page));
    let mut settings = RewriteStrSettings::new();
    for hidden in HIDDEN {
        let hides = Rc::clone(&page);
        settings =
            settings.append_element_content_handler(element!(hidden, move |_: &mut Element| {
                hides.borrow_mut().hide();
                Ok(())
            }));
    }
    let settings = settings
        .append_element_content_handler(element!("*", move |element: &mut Element| {
            let tag = element.tag_name();
            begins.borrow_mut().begin(&tag);
            let ends = Rc::clone(&begins);
            if begins.borrow().wants_end(&tag)
                && let Some(handlers) = element.end_tag_handlers()
            {
                let handler: EndTagHandler = Box::new(move |tag: &mut EndTag| {
                    ends.borrow_mut().end(&tag.name());
                    Ok(())
                });
                handlers.push(handler);
            }
            Ok(())
        }))
        .append_document_content_handler(doc_text!(move |chunk: &mut TextChunk| {
            texts.borrow_mut().text(chunk.as_str());
            Ok(())
        }));
    rewrite_str(html, settings).unwrap();
    page.take().finish()
}

/// All servers.
#[derive(Default)]
pub struct Sites {
    /// What each address answers, in turn; the last answer stays.
    answers: BTreeMap<String, Vec<Site>>,
    pub asked: Vec<WebRequest>,
}

impl Sites {
    pub fn set(&mut self, url: &str, site: Site) {
        self.set_all(url, vec![site]);
    }

    pub fn set_all(&mut self, url: &str, mut sites: Vec<Site>) {
        sites.reverse();
        self.answers.insert(url.to_owned(), sites);
    }

    /// How often an address was asked.
    pub fn count(&self, url: &str) -> usize {
        let asked = self.asked.iter();
        asked.filter(|request| request.url.as_str() == url).count()
    }

    /// What the address answers now; an unknown one is not there.
    pub fn asked(&mut self, request: WebRequest) -> Site {
        let answers = self.answers.get_mut(request.url.as_str());
        self.asked.push(request);
        match answers {
            Some(answers) if answers.len() > 1 => answers.pop(),
            Some(answers) => answers.last().cloned(),
            None => None,
        }
        .unwrap_or(Site::new(0))
    }
}
