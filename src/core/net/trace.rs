//! Traces as OpenTelemetry has them: where a trace comes from, ids that are the same however often they are made, and spans in
//! the form of OTLP over JSON.
//!
//! A trace is that of the request that submitted the job, where it named one (W3C `traceparent`), or the job's own.
//! Ids follow from what a span is about, so a span that is told twice is the same span.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Where a job's trace comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// 32 hexadecimal digits.
    pub trace: String,
    /// 16 of them: the span in which the job was submitted.
    pub span: String,
    /// Whether it is recorded where it comes from; what is not is not told here either.
    pub sampled: bool,
}

impl Parent {
    /// Reads a `traceparent`. What is malformed is none: the standard wants a trace begun anew then, not a refusal.
    pub fn parse(text: &str) -> Option<Parent> {
        let text = text.trim();
        let (known, rest) = text.split_at_checked(55)?;
        let [version, trace, span, flags] = known.split('-').collect::<Vec<_>>()[..] else {
            return None;
        };
        let hex = |text: &str, length: usize| {
            let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            text.len() == length && text.bytes().all(digit)
        };
        let something = |text: &str| text.bytes().any(|b| b != b'0');
        // Later versions may add fields.
        let whole = rest.is_empty() || (version != "00" && rest.starts_with('-'));
        let sound = hex(version, 2)
            && version != "ff"
            && hex(trace, 32)
            && hex(span, 16)
            && hex(flags, 2)
            && something(trace)
            && something(span);
        (whole && sound).then(|| Parent {
            trace: trace.to_owned(),
            span: span.to_owned(),
            sampled: u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1),
        })
    }
}

/// The trace of a job that no request named one for: the digits of its id.
pub fn trace_of(job: &str) -> String {
    let digits = job.rsplit('_').next().unwrap_or_default();
    match digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => digits.to_ascii_lowercase(),
        false => hex(&Sha256::digest(job), 16),
    }
}

/// The id of a span, by what it is about.
pub fn span_of(about: &str) -> String {
    hex(&Sha256::digest(about), 8)
}

fn hex(bytes: &[u8], most: usize) -> String {
    let digits = bytes.iter().take(most);
    digits.map(|byte| format!("{byte:02x}")).collect()
}

/// As OTLP numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Internal = 1,
    Client = 3,
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: Option<String>,
    pub name: String,
    pub kind: Kind,
    /// Milliseconds since the epoch.
    pub began: i64,
    pub ended: i64,
    attributes: Vec<Value>,
    error: Option<String>,
}

impl Span {
    pub fn new(trace: &str, about: &str, name: String, began: i64, ended: i64) -> Span {
        Span {
            trace: trace.to_owned(),
            id: span_of(about),
            parent: None,
            name,
            kind: Kind::Internal,
            began,
            // Clocks of two isolates may differ by a little.
            ended: ended.max(began),
            attributes: Vec::new(),
            error: None,
        }
    }

    pub fn below(mut self, about: &str) -> Span {
        self.parent = Some(span_of(about));
        self
    }

    pub fn text(&mut self, key: &str, value: impl Into<String>) {
        let value: String = value.into();
        if !value.is_empty() {
            self.add(key, json!({"stringValue": value}));
        }
    }

    pub fn texts(&mut self, key: &str, values: &[String]) {
        let values: Vec<Value> = values.iter().map(|v| json!({"stringValue": v})).collect();
        if !values.is_empty() {
            self.add(key, json!({"arrayValue": {"values": values}}));
        }
    }

    /// JSON has no whole numbers of 64 bits, so they go as texts.
    pub fn int(&mut self, key: &str, value: i64) {
        self.add(key, json!({"intValue": value.to_string()}));
    }

    pub fn float(&mut self, key: &str, value: f64) {
        self.add(key, json!({"doubleValue": value}));
    }

    fn add(&mut self, key: &str, value: Value) {
        self.attributes.push(json!({"key": key, "value": value}));
    }

    /// It failed; `class` is stable and of few kinds.
    pub fn failed(&mut self, class: &str, message: &str) {
        self.text("error.type", class);
        self.error = Some(message.to_owned());
    }

    fn wire(&self) -> Value {
        let nano = |ms: i64| format!("{ms}000000");
        let mut span = json!({
            "traceId": self.trace,
            "spanId": self.id,
            "name": self.name,
            "kind": self.kind as u8,
            "startTimeUnixNano": nano(self.began),
            "endTimeUnixNano": nano(self.ended),
            "attributes": self.attributes,
        });
        if let (Some(map), Some(parent)) = (span.as_object_mut(), &self.parent) {
            map.insert("parentSpanId".to_owned(), json!(parent));
        }
        if let (Some(map), Some(message)) = (span.as_object_mut(), &self.error) {
            map.insert("status".to_owned(), json!({"code": 2, "message": message}));
        }
        span
    }
}

/// The body of a request to a collector.
pub fn request(spans: &[Span]) -> Value {
    let spans: Vec<Value> = spans.iter().map(Span::wire).collect();
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let version = env!("CARGO_PKG_VERSION");
    json!({"resourceSpans": [{
        "resource": {"attributes": [text("service.name", "fanwise"), text("service.version", version)]},
        "scopeSpans": [{"scope": {"name": "fanwise", "version": version}, "spans": spans}],
    }]})
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_traceparent_is_read_by_the_letter() {
        let parent = Parent::parse(&format!("00-{TRACE}-00f067aa0ba902b7-01")).unwrap();
        assert_eq!(
            (parent.trace.as_str(), parent.span.as_str()),
            (TRACE, "00f067aa0ba902b7")
        );
        assert!(parent.sampled);
        assert!(
            !Parent::parse(&format!("00-{TRACE}-00f067aa0ba902b7-00"))
                .unwrap()
                .sampled
        );
        // A later version may say more.
        assert!(Parent::parse(&format!("01-{TRACE}-00f067aa0ba902b7-01-more")).is_some());
        for wrong in [
            String::new(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-0g"),
            "ä".repeat(40),
        ] {
            assert_eq!(Parent::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ids_have_the_length_of_the_standard_and_do_not_change() {
        assert_eq!(trace_of(&format!("job_{TRACE}")), TRACE);
        assert_eq!(trace_of("odd").len(), 32);
        assert_eq!(span_of("a"), span_of("a"));
        assert_ne!(span_of("a"), span_of("b"));
        assert_eq!(span_of("a").len(), 16);
    }

    #[test]
    fn a_span_is_written_as_otlp_has_it() {
        let mut span = Span::new(TRACE, "task", "chat m".to_owned(), 1_000, 999).below("job");
        span.kind = Kind::Client;
        span.int("n", 7);
        span.texts("reasons", &["end_turn".to_owned()]);
        span.text("nothing", "");
        span.failed("overloaded", "the API is overloaded");
        let body = request(&[span]);
        assert_eq!(
            body.pointer("/resourceSpans/0/scopeSpans/0/spans/0")
                .unwrap(),
            &json!({
                "traceId": TRACE, "spanId": span_of("task"), "parentSpanId": span_of("job"), "name": "chat m", "kind": 3,
                "startTimeUnixNano": "1000000000", "endTimeUnixNano": "1000000000",
                "attributes": [
                    {"key": "n", "value": {"intValue": "7"}},
                    {"key": "reasons", "value": {"arrayValue": {"values": [{"stringValue": "end_turn"}]}}},
                    {"key": "error.type", "value": {"stringValue": "overloaded"}}],
                "status": {"code": 2, "message": "the API is overloaded"},
            })
        );
    }
}
