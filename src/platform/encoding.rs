//! Which answers are worth compressing: pure, so that it is tested natively. The runtime does the work: it compresses a body whose
//! response says `content-encoding: gzip`.
//!
//! Cloudflare's edge compresses some types by itself, JSON among them; CSV and JSON lines it does not, and those are the large ones.

/// Below this a packet holds it anyway.
const WORTH: u64 = 1_400;

/// `length` is `None` for a stream. Event streams stay as they are: an event must not wait in a compressor's window.
pub fn pays(accept_encoding: &str, content_type: &str, length: Option<u64>) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    let text = matches!(
        essence,
        "application/json" | "application/x-ndjson" | "text/csv" | "text/markdown"
    );
    text && length.is_none_or(|length| length >= WORTH) && takes_gzip(accept_encoding)
}

fn takes_gzip(accept: &str) -> bool {
    accept.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused = parts
            .filter_map(|part| part.strip_prefix("q="))
            .any(|q| q.parse::<f32>().is_ok_and(|q| q == 0.0));
        (name.eq_ignore_ascii_case("gzip") || name == "*") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_texts_are_compressed_for_who_takes_it() {
        let cases = [
            ("gzip", "application/json", Some(2_000), true),
            ("br, gzip;q=0.5", "text/csv; charset=utf-8", None, true),
            ("*", "application/x-ndjson", None, true),
            ("gzip", "application/json", Some(200), false),
            ("gzip", "text/event-stream", None, false),
            ("gzip;q=0", "application/json", None, false),
            ("identity", "application/json", None, false),
            ("", "application/json", None, false),
            ("xgzip", "application/json", None, false),
        ];
        for (accept, content_type, length, expected) in cases {
            assert_eq!(
                pays(accept, content_type, length),
                expected,
                "{accept} {content_type}"
            );
        }
    }
}
