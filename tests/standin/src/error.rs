//! Refusals as the API words them: status, type, message and the machine code
//! that some carry in `details`.

use serde_json::{Value, json};

/// One refusal. `retry_after_s` becomes the `retry-after` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub status: u16,
    pub kind: &'static str,
    pub message: String,
    pub code: Option<&'static str>,
    pub retry_after_s: Option<u64>,
    /// Sent as `x-should-retry` where the API would say so.
    pub should_retry: Option<bool>,
    /// Sent instead of the API's envelope.
    pub bare: Option<Value>,
    /// Where the caller may ask for a review of the refusal.
    pub appeal_url: Option<&'static str>,
}

impl ApiError {
    pub fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            code: None,
            retry_after_s: None,
            should_retry: None,
            bare: None,
            appeal_url: None,
        }
    }

    /// A refusal by something before the API, in a form of its own.
    pub fn bare(status: u16, body: Value) -> Self {
        Self {
            bare: Some(body),
            ..Self::new(status, "api_error", "")
        }
    }

    /// A 400, the most common refusal.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// A 400 at a path, as `path: message`.
    pub fn at(path: &str, message: &str) -> Self {
        Self::invalid(format!("{path}: {message}"))
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "not_found_error", message)
    }

    pub fn authentication(message: impl Into<String>) -> Self {
        Self::new(401, "authentication_error", message)
    }

    pub fn rate_limit(message: impl Into<String>, retry_after_s: Option<u64>) -> Self {
        Self {
            retry_after_s,
            ..Self::new(429, "rate_limit_error", message)
        }
    }

    pub fn overloaded() -> Self {
        Self::new(529, "overloaded_error", "Overloaded")
    }

    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The error object alone, as in an SSE `error` event or a batch result.
    pub fn error_json(&self) -> Value {
        let details = self.code.map(|code| match self.appeal_url {
            Some(url) => json!({ "error_code": code, "appeal_url": url }),
            None => json!({ "error_code": code }),
        });
        json!({ "details": details, "type": self.kind, "message": self.message })
    }

    /// The whole envelope.
    pub fn body(&self, request_id: &str) -> Value {
        if let Some(body) = &self.bare {
            return body.clone();
        }
        json!({ "type": "error", "error": self.error_json(), "request_id": request_id })
    }
}
