//! A stand-in for a collector of traces: it takes OTLP over HTTP as JSON and keeps what it was told. What it is told is read by
//! OpenTelemetry's own types, so that their makers judge the form.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use tiny_http::{Request, Response, Server};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    Take,
    Refuse(u16),
    /// No answer until [`Collector::let_go`].
    Hold,
}

/// What one request told.
#[derive(Clone)]
pub struct Told {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    pub manner: Manner,
}

#[derive(Default)]
struct Kept {
    next: VecDeque<Manner>,
    told: Vec<Told>,
    held: Vec<Request>,
}

/// It listens until it is dropped.
pub struct Collector {
    server: Arc<Server>,
    kept: Arc<Mutex<Kept>>,
    port: u16,
}

impl Collector {
    /// `manners` for the first requests, in their order; all later ones are taken.
    pub fn start(port: u16, manners: &[Manner]) -> Collector {
        let server = Arc::new(Server::http(("127.0.0.1", port)).unwrap());
        let port = server.server_addr().to_ip().unwrap().port();
        let kept = Arc::new(Mutex::new(Kept {
            next: manners.iter().copied().collect(),
            ..Kept::default()
        }));
        let (listening, keeping) = (Arc::clone(&server), Arc::clone(&kept));
        std::thread::spawn(move || {
            for request in listening.incoming_requests() {
                receive(request, &keeping);
            }
        });
        Collector { server, kept, port }
    }

    /// As `OTLP_ENDPOINT` names it.
    pub fn endpoint(&self) -> String {
        endpoint(self.port)
    }

    pub fn told(&self) -> Vec<Told> {
        self.kept.lock().unwrap().told.clone()
    }

    /// Waits until what it was told is as wanted; that.
    pub fn until(&self, within: Duration, wanted: impl Fn(&[Told]) -> bool) -> Vec<Told> {
        let end = Instant::now() + within;
        loop {
            let told = self.told();
            if wanted(&told) {
                return told;
            }
            assert!(Instant::now() < end, "not in time: {}", bodies(&told));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Answers what is held.
    pub fn let_go(&self, status: u16) {
        for request in self.kept.lock().unwrap().held.drain(..) {
            let _ = request.respond(Response::from_string("").with_status_code(status));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.unblock();
    }
}

/// The same for one that does not listen yet.
pub fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn bodies(told: &[Told]) -> String {
    let lines = told
        .iter()
        .map(|one| format!("{:?} {}\n", one.manner, one.body));
    lines.collect()
}

fn receive(mut request: Request, kept: &Mutex<Kept>) {
    let mut body = String::new();
    let read = request.as_reader().read_to_string(&mut body).is_ok();
    let headers = request.headers().iter().map(|header| {
        let name = header.field.to_string().to_ascii_lowercase();
        (name, header.value.to_string())
    });
    let (path, headers) = (request.url().to_owned(), headers.collect());
    let mut kept = kept.lock().unwrap();
    let manner = match read {
        true => kept.next.pop_front().unwrap_or(Manner::Take),
        false => Manner::Refuse(400),
    };
    kept.told.push(Told {
        path,
        headers,
        body,
        manner,
    });
    let answer = match manner {
        Manner::Take => Response::from_string("{\"partialSuccess\":{}}"),
        Manner::Refuse(status) => Response::from_string("").with_status_code(status),
        Manner::Hold => {
            kept.held.push(request);
            return;
        }
    };
    // Whoever asked may be gone.
    let _ = request.respond(answer);
}

impl Told {
    fn read(&self) -> ExportTraceServiceRequest {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }

    /// What it says of who speaks.
    pub fn resource(&self, key: &str) -> Option<String> {
        let said = self.read();
        let resource = said.resource_spans.first()?.resource.clone()?;
        Some(attribute(&resource.attributes, key)?.to_owned())
    }

    pub fn spans(&self) -> Vec<Span> {
        let said = self.read();
        let scopes = said
            .resource_spans
            .into_iter()
            .flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }
}

/// A text among attributes.
pub fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match value(attributes, key)? {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// A whole number among attributes.
pub fn number(attributes: &[KeyValue], key: &str) -> Option<i64> {
    match value(attributes, key)? {
        any_value::Value::IntValue(number) => Some(*number),
        _ => None,
    }
}

/// A list of texts among attributes.
pub fn list(attributes: &[KeyValue], key: &str) -> Vec<String> {
    let Some(any_value::Value::ArrayValue(list)) = value(attributes, key) else {
        return Vec::new();
    };
    let texts = list.values.iter().filter_map(|value| match &value.value {
        Some(any_value::Value::StringValue(text)) => Some(text.clone()),
        _ => None,
    });
    texts.collect()
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a any_value::Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    let AnyValue { value, .. } = found.value.as_ref()?;
    value.as_ref()
}
