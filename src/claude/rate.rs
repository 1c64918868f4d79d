//! The account's rate limits, as every response announces them.
//!
//! The governor learns from these; nothing about limits is known beforehand. A header that is
//! missing or unreadable leaves its bucket out, never an error: a response that lacks the headers
//! (a gateway's, an error page's) teaches nothing and harms nothing.

use serde::{Deserialize, Serialize};

use crate::claude::headers::{Headers, rfc3339_ms};

/// One limiter's state at the time of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// What the limiter allows per minute.
    pub limit: u64,
    /// What is left now; token counts are rounded to the nearest thousand by the API.
    pub remaining: u64,
    /// When the bucket will be *full* again, in Unix milliseconds. It refills continuously before.
    pub reset_ms: Option<u64>,
}

/// What one response says about the limits of its model class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateHeaders {
    pub requests: Option<Bucket>,
    pub input_tokens: Option<Bucket>,
    pub output_tokens: Option<Bucket>,
}

impl RateHeaders {
    /// Reads `anthropic-ratelimit-{requests,input-tokens,output-tokens}-{limit,remaining,reset}`.
    #[must_use]
    pub fn read(headers: &Headers) -> Self {
        Self {
            requests: bucket(headers, "requests"),
            input_tokens: bucket(headers, "input-tokens"),
            output_tokens: bucket(headers, "output-tokens"),
        }
    }

    /// Whether the response said nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What gateways put before the names of the headers that they pass on.
const PREFIXES: [&str; 2] = ["", "llm_provider-"];

/// A bucket counts only when both numbers are there: one alone would have to be guessed from. A limit of 0 is no limit that
/// anybody could work by: whoever sends it has nothing to say.
fn bucket(headers: &Headers, name: &str) -> Option<Bucket> {
    let of = |prefix: &str| read(headers, &format!("{prefix}anthropic-ratelimit-{name}"));
    PREFIXES.into_iter().find_map(of)
}

fn read(headers: &Headers, name: &str) -> Option<Bucket> {
    let field = |part: &str| format!("{name}-{part}");
    Some(Bucket {
        limit: headers.number(&field("limit")).filter(|limit| *limit > 0)?,
        remaining: headers.number(&field("remaining"))?,
        reset_ms: headers.get(&field("reset")).and_then(rfc3339_ms),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As recorded from the live API: Opus 5.5, Start tier, 2026-10-08.
    fn recorded() -> Headers {
        [
            ("anthropic-ratelimit-requests-limit", "1000"),
            ("anthropic-ratelimit-requests-remaining", "999"),
            ("anthropic-ratelimit-requests-reset", "2026-10-08T21:26:18Z"),
            ("anthropic-ratelimit-input-tokens-limit", "2000000"),
            ("anthropic-ratelimit-input-tokens-remaining", "2000000"),
            (
                "anthropic-ratelimit-input-tokens-reset",
                "2026-10-08T21:26:18Z",
            ),
            ("anthropic-ratelimit-output-tokens-limit", "400000"),
            ("anthropic-ratelimit-output-tokens-remaining", "399000"),
            (
                "anthropic-ratelimit-output-tokens-reset",
                "2026-10-08T21:26:19Z",
            ),
            ("anthropic-ratelimit-tokens-limit", "2400000"),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn a_recorded_response_is_read_whole() {
        let rate = RateHeaders::read(&recorded());
        let reset = 1_791_494_778_000; // 2026-10-08T21:26:18Z
        assert_eq!(
            rate.requests,
            Some(Bucket {
                limit: 1_000,
                remaining: 999,
                reset_ms: Some(reset)
            })
        );
        assert_eq!(
            rate.input_tokens,
            Some(Bucket {
                limit: 2_000_000,
                remaining: 2_000_000,
                reset_ms: Some(reset)
            })
        );
        assert_eq!(
            rate.output_tokens,
            Some(Bucket {
                limit: 400_000,
                remaining: 399_000,
                reset_ms: Some(reset + 1_000)
            })
        );
        assert!(!rate.is_empty());
    }

    #[test]
    fn missing_or_unreadable_numbers_leave_the_bucket_out() {
        for (remaining, limit) in [
            ("-1", "10"),
            ("", "10"),
            ("5", "many"),
            ("5", "99999999999999999999"),
        ] {
            let headers = [
                ("anthropic-ratelimit-requests-limit", limit),
                ("anthropic-ratelimit-requests-remaining", remaining),
            ]
            .into_iter()
            .collect();
            assert_eq!(RateHeaders::read(&headers).requests, None);
        }
        assert!(RateHeaders::read(&Headers::none()).is_empty());
    }

    #[test]
    fn a_limit_of_nothing_is_unreadable_and_a_prefix_is_known() {
        let of = |prefix: &str, limit: &str| {
            let name = |part: &str| format!("{prefix}anthropic-ratelimit-requests-{part}");
            let headers = [(name("limit"), limit), (name("remaining"), "0")];
            RateHeaders::read(&headers.into_iter().collect()).requests
        };
        assert_eq!(of("", "0"), None);
        assert_eq!(of("", "7").map(|bucket| bucket.limit), Some(7));
        assert_eq!(of("llm_provider-", "7").map(|bucket| bucket.limit), Some(7));
    }

    #[test]
    fn an_unreadable_reset_keeps_the_numbers() {
        let headers = [
            ("anthropic-ratelimit-requests-limit", "10"),
            ("anthropic-ratelimit-requests-remaining", "5"),
            ("anthropic-ratelimit-requests-reset", "later"),
        ]
        .into_iter()
        .collect();
        assert_eq!(
            RateHeaders::read(&headers).requests,
            Some(Bucket {
                limit: 10,
                remaining: 5,
                reset_ms: None
            })
        );
    }

    proptest! {
        #[test]
        fn no_headers_panic(pairs in prop::collection::vec(
            ("anthropic-ratelimit-(requests|input-tokens|output-tokens)-(limit|remaining|reset)", "\\PC{0,40}"),
            0..12,
        )) {
            let headers: Headers = pairs.into_iter().collect();
            let _ = RateHeaders::read(&headers);
        }
    }
}
