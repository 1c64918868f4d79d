//! A request's body, from bytes to a JSON value.
//!
//! The order keeps the cost of a bad request small: the type by its header, the size by its header, then the bytes
//! up to the cap, then the syntax. Nesting is bounded by the parser (128 levels), so no body can exhaust the stack.

use std::future::ready;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use futures::StreamExt;
use serde_json::Value;
use serde_json::error::Category;

use super::problem::ApiError;
use crate::config::Caps;
use crate::core::value::strict_json;

/// A body that becomes values as a whole. `[0,0,…]` takes 24 times its bytes then (a value has 48), and an isolate has 128 MB.
const SMALL_BYTES: u64 = 2_000_000;

/// Values of a body: an object with one field takes some 300 bytes, so all of them together take no more than 15 MB.
pub const MOST_VALUES: usize = 50_000;

/// The cap of every body but a submit's, whose items stay text.
pub fn small(caps: &Caps) -> u64 {
    caps.body_bytes.min(SMALL_BYTES)
}

fn too_large(cap: u64) -> ApiError {
    let can_be_set = (cap != SMALL_BYTES).then_some("MAX_BODY_BYTES");
    ApiError::too_large(cap, can_be_set)
}

/// How many bytes a body says that it has.
pub fn announced(headers: &HeaderMap, body: &Body) -> Option<u64> {
    let header = headers.get(CONTENT_LENGTH);
    let header = header.and_then(|value| value.to_str().ok()?.parse().ok());
    header.or_else(|| body.size_hint().upper())
}

/// The raw bytes of a JSON body, at most `cap` of them.
pub async fn json_bytes(headers: &HeaderMap, body: Body, cap: u64) -> Result<Vec<u8>, ApiError> {
    must_be_json(headers)?;
    let announced = announced(headers, &body);
    if announced.is_some_and(|length| length > cap) {
        return Err(too_large(cap));
    }
    let cap_len = usize::try_from(cap).unwrap_or(usize::MAX);
    // All of it at once: growing by doubling would hold 32 and 64 MB side by side at the end, in an isolate of
    // 128 MB. Only callers with a token get here, so an announcement that is not kept is no threat.
    let announced = announced.and_then(|length| usize::try_from(length).ok());
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(announced.unwrap_or(0))
        .map_err(|error| ApiError::unavailable(error.to_string()))?;
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| ApiError::invalid_json("The body broke off."))?;
        if bytes.len().saturating_add(chunk.len()) > cap_len {
            return Err(too_large(cap));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The value of a body that may be left out: then it needs no type either.
pub async fn optional_json(
    headers: &HeaderMap,
    body: Body,
    cap: u64,
) -> Result<Option<Value>, ApiError> {
    let filled = |chunk: &Result<Bytes, _>| !chunk.as_ref().is_ok_and(Bytes::is_empty);
    let chunks = body
        .into_data_stream()
        .filter(move |chunk| ready(filled(chunk)));
    let mut chunks = Box::pin(chunks.peekable());
    if chunks.as_mut().peek().await.is_none() {
        return Ok(None);
    }
    let bytes = json_bytes(headers, Body::from_stream(chunks), cap).await?;
    parse(&bytes).map(Some)
}

/// `application/json`, in UTF-8, not compressed.
fn must_be_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = || {
        ApiError::unsupported_media_type("The body must have the content type application/json.")
    };
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else {
        return Err(refused());
    };
    let text = value.to_str().map_err(|_| refused())?;
    let mut parts = text.split(';').map(str::trim);
    if !parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
    {
        return Err(refused());
    }
    let charset = parts
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    if let Some((_, charset)) = charset
        && !charset
            .trim()
            .trim_matches('"')
            .eq_ignore_ascii_case("utf-8")
    {
        return Err(ApiError::unsupported_media_type(
            "The body must be in UTF-8.",
        ));
    }
    let encoding = headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(ApiError::unsupported_media_type(
            "The body must not be compressed.",
        ));
    }
    Ok(())
}

/// The value in the bytes, or where they stop being JSON.
pub fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    strict_json::read(bytes, MOST_VALUES).map_err(|error| not_json(bytes, &error))
}

/// What a parser found wrong with the bytes.
pub fn not_json(bytes: &[u8], error: &serde_json::Error) -> ApiError {
    // The parser adds the place itself, except where the input is empty.
    ApiError::invalid_json(match error.classify() {
        Category::Eof if bytes.iter().all(u8::is_ascii_whitespace) => {
            "The body is empty.".to_owned()
        }
        Category::Data => format!("The body cannot be taken: {error}."),
        _ => format!("The body is not valid JSON: {error}."),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::HeaderValue;
    use futures::executor::block_on;
    use futures::stream;

    use super::*;
    use crate::api::http::problem::Code;

    fn typed(content_type: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        headers
    }

    #[test]
    fn only_json_in_utf8_is_read() {
        let cases = [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json;charset=\"utf-8\"", true),
            ("application/json; charset=latin1", false),
            ("application/problem+json", false),
            ("text/plain", false),
            ("application/jsonx", false),
            ("", false),
        ];
        for (content_type, fits) in cases {
            let outcome = must_be_json(&typed(content_type));
            assert_eq!(outcome.is_ok(), fits, "{content_type}");
        }
        assert!(must_be_json(&HeaderMap::new()).is_err());
        let mut headers = typed("application/json");
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(
            must_be_json(&headers).unwrap_err().code,
            Code::UnsupportedMediaType
        );
    }

    #[test]
    fn the_cap_holds_for_bodies_that_announce_nothing() {
        let chunks = || {
            let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 100]));
            Body::from_stream(endless)
        };
        let error = block_on(json_bytes(&typed("application/json"), chunks(), 1_050)).unwrap_err();
        assert_eq!(error.code, Code::TooLarge);
    }

    #[test]
    fn a_body_that_may_be_left_out_is_read_where_it_is_there() {
        let read = |headers: &HeaderMap, chunks: Vec<&'static str>| {
            let chunks = stream::iter(chunks).map(Ok::<_, std::io::Error>);
            block_on(optional_json(headers, Body::from_stream(chunks), 10))
        };
        let json = typed("application/json");
        assert_eq!(read(&HeaderMap::new(), vec![]), Ok(None));
        assert_eq!(read(&HeaderMap::new(), vec!["", ""]), Ok(None));
        let object = serde_json::json!({"a": 1});
        assert_eq!(read(&json, vec!["", "{\"a\"", "", ":1}"]), Ok(Some(object)));
        let code = |outcome: Result<_, ApiError>| outcome.unwrap_err().code;
        let untyped = read(&HeaderMap::new(), vec!["{}"]);
        assert_eq!(code(untyped), Code::UnsupportedMediaType);
        assert_eq!(code(read(&json, vec!["{"])), Code::InvalidJson);
        assert_eq!(code(read(&json, vec!["[1,2,3,", "4,5,6]"])), Code::TooLarge);
    }

    #[test]
    fn an_announced_length_beyond_the_cap_is_refused_unread() {
        let mut headers = typed("application/json");
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("1051"));
        let unread = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let error = block_on(json_bytes(&headers, unread, 1_050)).unwrap_err();
        assert_eq!(error.code, Code::TooLarge);
    }

    #[test]
    fn a_body_that_breaks_off_is_the_callers_fault() {
        let cut = stream::iter([Ok(b"{\"a\"".to_vec()), Err(std::io::Error::other("reset"))]);
        let error = block_on(json_bytes(
            &typed("application/json"),
            Body::from_stream(cut),
            99,
        ))
        .unwrap_err();
        assert_eq!(error.code, Code::InvalidJson);
    }

    #[test]
    fn what_is_not_json_is_placed() {
        let cases: [(&[u8], &str); 6] = [
            (b"", "The body is empty."),
            (b" \n", "The body is empty."),
            (
                b"{\n  \"a\": }",
                "The body is not valid JSON: expected value at line 2 column 8.",
            ),
            (
                b"{} x",
                "The body is not valid JSON: trailing characters at line 1 column 4.",
            ),
            (
                b"[1e400]",
                "The body is not valid JSON: number out of range at line 1 column 6.",
            ),
            (
                b"\"\xff\"",
                "The body is not valid JSON: invalid unicode code point at line 1 column 2.",
            ),
        ];
        for (bytes, expected) in cases {
            let problem = parse(bytes).unwrap_err().into_problem(String::new());
            assert_eq!(problem.detail, expected);
            assert_eq!(problem.status, 400);
        }
    }

    #[test]
    fn deep_nesting_doubled_keys_and_too_many_values_are_refused() {
        let deep = "[".repeat(100_000);
        let problem = parse(deep.as_bytes())
            .unwrap_err()
            .into_problem(String::new());
        assert!(
            problem.detail.contains("recursion limit"),
            "{}",
            problem.detail
        );
        let said = |bytes: &[u8]| parse(bytes).unwrap_err().into_problem(String::new()).detail;
        assert_eq!(
            said(b"{\"a\":1,\"a\":2}"),
            "The body cannot be taken: the object has \"a\" twice at line 1 column 10."
        );
        let zeros = format!("[{}0]", "0,".repeat(MOST_VALUES));
        assert!(said(zeros.as_bytes()).contains("it has more than 50000 values"));
    }
}
