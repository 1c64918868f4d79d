//! `Idempotency-Key`: the header, and the hash of a body that goes with it.

use std::fmt::Write;

use axum::http::HeaderMap;

use super::problem::ApiError;

/// 1 to 255 visible ASCII characters, once.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    const NAME: &str = "Idempotency-Key";
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    if values.next().is_some() || !is_key(text) {
        return Err(ApiError::fault(
            NAME,
            "must be given once, with 1 to 255 visible ASCII characters",
        ));
    }
    Ok(Some(text.to_owned()))
}

/// Whether a text may be an idempotency key.
pub fn is_key(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic()) && (1..=255).contains(&text.len())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn idempotency_keys_are_visible_ascii_and_single() {
        let long = "k".repeat(256);
        let cases: [(&[&str], Option<Option<&str>>); 7] = [
            (&[], Some(None)),
            (&["k"], Some(Some("k"))),
            (&[&long[..255]], Some(Some(&long[..255]))),
            (&[&long], None),
            (&[""], None),
            (&["a b"], None),
            (&["a", "a"], None),
        ];
        for (values, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("idempotency-key", HeaderValue::from_str(value).unwrap());
            }
            let outcome = idempotency_key(&headers).ok();
            let expected = expected.map(|key| key.map(str::to_owned));
            assert_eq!(outcome, expected, "{values:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(idempotency_key(&headers).is_err());
    }
}
