//! JSON-RPC 2.0 as MCP uses it: one message to a request, ids that are texts or whole numbers, errors with MCP's codes.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::api::http::body::MOST_VALUES;
use crate::core::value::strict_json;

/// The newest revision: each request stands for itself.
pub const MODERN: &str = "2026-07-28";
/// Those with a handshake, newest first.
pub const HANDSHAKE: [&str; 2] = ["2025-11-25", "2025-06-18"];

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

/// Ids go through languages whose only numbers are doubles: beyond 2^53 one would come back as another.
pub const MOST_ID: i64 = 9_007_199_254_740_991;

/// A text, or a whole number however it is written.
fn id(value: Value) -> Option<Value> {
    if value.is_string() {
        return Some(value);
    }
    let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
    // Exact: every double in this range that is whole is an i64.
    (number.abs() <= MOST_ID as f64).then(|| Value::from(number as i64))
}

/// One message from a body.
pub fn read(bytes: &[u8]) -> Result<Incoming, Fault> {
    let value = strict_json::read(bytes, MOST_VALUES)
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
    let Some(given) = message.remove("id") else {
        return Ok(Incoming::Notification);
    };
    Ok(Incoming::Request(Request {
        id: id(given).ok_or_else(refused)?,
        method,
        params: Value::Object(params),
    }))
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
        let whole = read(br#"{"jsonrpc":"2.0","id":-7.0,"method":"ping"}"#);
        assert!(matches!(whole, Ok(Incoming::Request(request)) if request.id == json!(-7)));
        let note = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(read(note), Ok(Incoming::Notification));
        let cases: [(&str, i64); 9] = [
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
                r#"{"jsonrpc":"2.0","id":-9007199254740992,"method":"ping"}"#,
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
