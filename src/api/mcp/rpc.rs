//! JSON-RPC 2.0 as MCP uses it: one message to a request, ids that are texts or whole numbers, errors with MCP's codes.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{HANDSHAKE, MODERN};

const PARSE_ERROR: i64 = -32_700;
const INVALID_REQUEST: i64 = -32_600;
const METHOD_NOT_FOUND: i64 = -32_601;
const INVALID_PARAMS: i64 = -32_602;
const HEADER_MISMATCH: i64 = -32_020;
const UNSUPPORTED_VERSION: i64 = -32_022;

/// A message that wants an answer.
#[derive(Debug, PartialEq)]
pub struct Request {
    pub id: Value,
    pub method: String,
    /// An object; empty where there was none.
    pub params: Value,
}

#[derive(Debug, PartialEq)]
pub enum Incoming {
    Request(Request),
    Notification,
}

/// Why a request has no result.
#[derive(Debug, PartialEq, Serialize)]
pub struct Fault {
    code: i64,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl Fault {
    fn new(code: i64, message: impl Into<String>) -> Fault {
        Fault {
            code,
            message: message.into(),
            data: None,
        }
    }

    pub fn no_such_method(method: &str) -> Fault {
        let method: String = method.chars().take(100).collect();
        Fault::new(
            METHOD_NOT_FOUND,
            format!("there is no method {method:?} here"),
        )
    }

    pub fn invalid_params(message: impl Into<String>) -> Fault {
        Fault::new(INVALID_PARAMS, message)
    }

    pub fn header_mismatch(message: &str) -> Fault {
        Fault::new(HEADER_MISMATCH, message)
    }

    pub fn unsupported_version(requested: &str) -> Fault {
        let supported: Vec<&str> = [MODERN].into_iter().chain(HANDSHAKE).collect();
        Fault {
            data: Some(json!({"supported": supported, "requested": requested})),
            ..Fault::new(UNSUPPORTED_VERSION, "unsupported protocol version")
        }
    }

    pub fn status(&self) -> StatusCode {
        match self.code {
            METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// One message from a body.
pub fn read(bytes: &[u8]) -> Result<Incoming, Fault> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Fault::new(PARSE_ERROR, format!("the body is not JSON: {error}")))?;
    let refused = || {
        let message = "the body must be one JSON-RPC request or notification";
        Fault::new(INVALID_REQUEST, message)
    };
    let Value::Object(mut message) = value else {
        return Err(refused());
    };
    let method = match message.remove("method") {
        Some(Value::String(method)) => method,
        _ => return Err(refused()),
    };
    let params = match message.remove("params") {
        Some(Value::Object(params)) => params,
        None | Some(Value::Null) => Map::new(),
        Some(_) => return Err(refused()),
    };
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(refused());
    }
    match message.remove("id") {
        None => Ok(Incoming::Notification),
        Some(id) if id.is_string() || id.is_i64() || id.is_u64() => {
            Ok(Incoming::Request(Request {
                id,
                method,
                params: Value::Object(params),
            }))
        }
        Some(_) => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_is_read_and_nothing_else() {
        let request = read(br#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#);
        let expected = Request {
            id: json!("a"),
            method: "ping".into(),
            params: json!({}),
        };
        assert_eq!(request, Ok(Incoming::Request(expected)));
        let note = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(read(note), Ok(Incoming::Notification));
        let cases: [(&str, i64); 8] = [
            ("{", PARSE_ERROR),
            ("[]", INVALID_REQUEST),
            ("null", INVALID_REQUEST),
            (
                r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
                INVALID_REQUEST,
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
                INVALID_REQUEST,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
                INVALID_REQUEST,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, INVALID_REQUEST),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
                INVALID_REQUEST,
            ),
        ];
        for (text, code) in cases {
            let fault = read(text.as_bytes()).map_err(|fault| fault.code);
            assert_eq!(fault, Err(code), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(read(deep.as_bytes()).map_err(|f| f.code), Err(PARSE_ERROR));
    }
}
