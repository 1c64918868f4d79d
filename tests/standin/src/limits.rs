//! Rate limits: per model class a token bucket each for requests, input tokens
//! and output tokens, refilled continuously and holding less than a minute's
//! worth; and the headers that say so.
//!
//! Requests and input are taken when a call is admitted; output is taken as it
//! is produced, so a bucket can go below zero and then refuses until it is
//! above again. A call larger than a whole bucket is admitted when the bucket
//! is full, and leaves a debt.

use std::{cmp::Reverse, collections::BinaryHeap};

use serde::{Deserialize, Serialize};

use crate::{
    clock,
    error::ApiError,
    faults::{Effects, Fault},
    models::Model,
};

/// Announced where nothing is enforced: far above any bench.
const FREE_REQUESTS: u64 = 100_000;
const FREE_TOKENS: u64 = 100_000_000;
/// In so many slices an answer's output is taken from the bucket.
const SLICES: u64 = 4;

/// Limits per minute; `None` is not enforced.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub rpm: Option<u64>,
    pub itpm: Option<u64>,
    pub otpm: Option<u64>,
    /// The share of a minute's worth that a bucket holds.
    pub burst: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rpm: None,
            itpm: None,
            otpm: None,
            burst: 1.0 / 6.0,
        }
    }
}

#[derive(Clone, Debug)]
struct Bucket {
    limit: u64,
    enforced: bool,
    capacity: f64,
    level: f64,
    at_ms: u64,
}

impl Bucket {
    fn new(limit: Option<u64>, free: u64, burst: f64, now_ms: u64) -> Self {
        let (per_minute, enforced) = limit.map_or((free, false), |l| (l.max(1), true));
        let share = if enforced {
            burst.clamp(0.001, 1.0)
        } else {
            1.0
        };
        let capacity = (per_minute as f64 * share).max(1.0);
        Self {
            limit: per_minute,
            enforced,
            capacity,
            level: capacity,
            at_ms: now_ms,
        }
    }

    fn per_ms(&self) -> f64 {
        self.limit as f64 / 60_000.0
    }

    fn refill(&mut self, now_ms: u64) {
        let passed = now_ms.saturating_sub(self.at_ms);
        self.level = (self.level + passed as f64 * self.per_ms()).min(self.capacity);
        self.at_ms = self.at_ms.max(now_ms);
    }

    fn take(&mut self, amount: u64) {
        self.level -= amount as f64;
        if !self.enforced {
            self.level = self.level.max(0.0);
        }
    }

    /// Milliseconds until the amount would be admitted; `None` if it is now.
    fn wait_ms(&self, amount: f64) -> Option<f64> {
        let needed = amount.min(self.capacity);
        // A hair of tolerance, or rounding of the refill refuses a full bucket.
        if !self.enforced || self.level + 1e-6 >= needed {
            return None;
        }
        Some((needed - self.level) / self.per_ms())
    }

    fn remaining(&self) -> u64 {
        self.level.max(0.0) as u64
    }

    fn full_at_ms(&self) -> u64 {
        self.at_ms + ((self.capacity - self.level).max(0.0) / self.per_ms()).ceil() as u64
    }
}

/// Which limit refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    Requests,
    Input,
    Output,
}

impl Which {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Input => "input tokens",
            Self::Output => "output tokens",
        }
    }
}

/// A refusal by a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub which: Which,
    pub limit: u64,
    pub retry_after_s: u64,
}

impl Refusal {
    /// The 429 in the words of the API.
    pub fn error(&self, organization: &str, model: &Model) -> ApiError {
        ApiError::rate_limit(
            format!(
                "This request would exceed your organization's rate limit of {} {} per minute (org: {organization}, model: {}). For details, refer to: https://docs.claude.com/en/api/rate-limits. You can see the response headers for current usage. Please reduce the prompt length or the maximum tokens requested, or try again later. You may also contact sales at https://claude.com/contact-sales to discuss your options for a rate limit increase.",
                thousands(self.limit),
                self.which.as_str(),
                model.id
            ),
            Some(self.retry_after_s),
        )
    }
}

/// The buckets of one model class.
#[derive(Clone, Debug)]
pub struct ClassLimits {
    requests: Bucket,
    input: Bucket,
    output: Bucket,
    /// Output still to be produced: when, and how many tokens.
    pending: BinaryHeap<Reverse<(u64, u64)>>,
}

impl ClassLimits {
    pub fn new(limits: &Limits, now_ms: u64) -> Self {
        Self {
            requests: Bucket::new(limits.rpm, FREE_REQUESTS, limits.burst, now_ms),
            input: Bucket::new(limits.itpm, FREE_TOKENS, limits.burst, now_ms),
            output: Bucket::new(limits.otpm, FREE_TOKENS, limits.burst, now_ms),
            pending: BinaryHeap::new(),
        }
    }

    fn refill(&mut self, now_ms: u64) {
        while let Some(Reverse((at_ms, amount))) = self.pending.peek().copied() {
            if at_ms > now_ms {
                break;
            }
            self.pending.pop();
            self.output.refill(at_ms);
            self.output.take(amount);
        }
        self.requests.refill(now_ms);
        self.input.refill(now_ms);
        self.output.refill(now_ms);
    }

    /// Takes one request and its input, or says which limit refuses it.
    pub fn admit(&mut self, input: u64, now_ms: u64) -> Result<(), Refusal> {
        self.refill(now_ms);
        let checks = [
            (Which::Requests, &self.requests, 1.0),
            (Which::Input, &self.input, input as f64),
            (Which::Output, &self.output, 1.0),
        ];
        for (which, bucket, amount) in checks {
            if let Some(wait_ms) = bucket.wait_ms(amount) {
                return Err(Refusal {
                    which,
                    limit: bucket.limit,
                    retry_after_s: ((wait_ms / 1_000.0).ceil() as u64).max(1),
                });
            }
        }
        self.requests.take(1);
        self.input.take(input);
        Ok(())
    }

    /// Output that will be produced between two moments.
    pub fn produce(&mut self, tokens: u64, from_ms: u64, to_ms: u64) {
        for slice in 1..=SLICES {
            let upto = tokens * slice / SLICES - tokens * (slice - 1) / SLICES;
            let at = from_ms + to_ms.saturating_sub(from_ms) * slice / SLICES;
            if upto > 0 {
                self.pending.push(Reverse((at, upto)));
            }
        }
    }

    /// The twelve `anthropic-ratelimit-*` headers, changed or left out where a fault says so.
    pub fn headers(&mut self, now_ms: u64, effects: &Effects) -> Vec<(&'static str, String)> {
        self.refill(now_ms);
        if effects.has(Fault::NoRateHeaders) {
            return Vec::new();
        }
        // Token counts are announced to the nearest thousand.
        let round = |n: u64| (n + 500) / 1_000 * 1_000;
        let (r, i, o) = (&self.requests, &self.input, &self.output);
        let zero = effects.has(Fault::ZeroRateLimit);
        let number = |n: u64| if zero { 0 } else { n }.to_string();
        let at = clock::rfc3339;
        let values = [
            number(r.limit),
            number(r.remaining()),
            at(r.full_at_ms()),
            number(i.limit),
            number(round(i.remaining())),
            at(i.full_at_ms()),
            number(o.limit),
            number(round(o.remaining())),
            at(o.full_at_ms()),
            number(i.limit + o.limit),
            number(round(i.remaining() + o.remaining())),
            at(i.full_at_ms().max(o.full_at_ms())),
        ];
        let names = match effects.has(Fault::RenamedRateHeaders) {
            true => RENAMED,
            false => NAMES,
        };
        names.into_iter().zip(values).collect()
    }
}

macro_rules! names {
    ($prefix:literal) => {
        [
            concat!($prefix, "anthropic-ratelimit-requests-limit"),
            concat!($prefix, "anthropic-ratelimit-requests-remaining"),
            concat!($prefix, "anthropic-ratelimit-requests-reset"),
            concat!($prefix, "anthropic-ratelimit-input-tokens-limit"),
            concat!($prefix, "anthropic-ratelimit-input-tokens-remaining"),
            concat!($prefix, "anthropic-ratelimit-input-tokens-reset"),
            concat!($prefix, "anthropic-ratelimit-output-tokens-limit"),
            concat!($prefix, "anthropic-ratelimit-output-tokens-remaining"),
            concat!($prefix, "anthropic-ratelimit-output-tokens-reset"),
            concat!($prefix, "anthropic-ratelimit-tokens-limit"),
            concat!($prefix, "anthropic-ratelimit-tokens-remaining"),
            concat!($prefix, "anthropic-ratelimit-tokens-reset"),
        ]
    };
}

const NAMES: [&str; 12] = names!("");
/// As LiteLLM hands them on.
const RENAMED: [&str; 12] = names!("llm_provider-");

/// 30000 as `30,000`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(rpm: u64, itpm: u64, otpm: u64, burst: f64) -> ClassLimits {
        let limits = Limits {
            rpm: Some(rpm),
            itpm: Some(itpm),
            otpm: Some(otpm),
            burst,
        };
        ClassLimits::new(&limits, 0)
    }

    #[test]
    fn a_minute_admits_the_limit_and_the_burst_no_more() {
        let mut class = class(600, 1_000_000, 1_000_000, 0.1);
        let admitted = (0..60_000)
            .step_by(10)
            .filter(|now| class.admit(10, *now).is_ok())
            .count();
        assert_eq!(admitted, 60 + 599);
    }

    #[test]
    fn retry_after_is_when_it_is_admitted() {
        let mut class = class(60, 1_000_000, 1_000_000, 1.0 / 60.0);
        class.admit(1, 0).unwrap();
        let refusal = class.admit(1, 0).unwrap_err();
        assert_eq!(
            (refusal.which, refusal.limit, refusal.retry_after_s),
            (Which::Requests, 60, 1)
        );
        assert!(class.admit(1, 1_000).is_ok());
    }

    #[test]
    fn a_prompt_above_the_burst_waits_for_a_full_bucket_and_leaves_a_debt() {
        let mut class = class(1_000, 60_000, 1_000_000, 0.1);
        class.admit(10_000, 0).unwrap();
        assert_eq!(class.admit(1, 3_999).unwrap_err().which, Which::Input);
        assert!(class.admit(1, 4_001).is_ok());
    }

    #[test]
    fn output_counts_as_it_is_produced() {
        let mut class = class(1_000, 1_000_000, 6_000, 1.0 / 6.0);
        class.admit(1, 0).unwrap();
        class.produce(2_000, 0, 1_000);
        assert!(class.admit(1, 100).is_ok());
        assert_eq!(class.admit(1, 1_000).unwrap_err().which, Which::Output);
        assert!(class.admit(1, 12_000).is_ok());
    }

    #[test]
    fn headers_tell_the_truth() {
        let mut class = class(60, 120_000, 60_000, 0.5);
        class.admit(10_000, 0).unwrap();
        let headers: std::collections::HashMap<_, _> =
            class.headers(0, &Effects::default()).into_iter().collect();
        assert_eq!(headers["anthropic-ratelimit-requests-limit"], "60");
        assert_eq!(headers["anthropic-ratelimit-requests-remaining"], "29");
        assert_eq!(
            headers["anthropic-ratelimit-input-tokens-remaining"],
            "50000"
        );
        assert_eq!(
            headers["anthropic-ratelimit-input-tokens-reset"],
            "1970-01-01T00:00:05Z"
        );
        assert_eq!(headers["anthropic-ratelimit-tokens-limit"], "180000");
    }

    #[test]
    fn without_limits_nothing_is_refused() {
        let mut class = ClassLimits::new(&Limits::default(), 0);
        assert!((0..200_000).all(|_| class.admit(1_000, 0).is_ok()));
    }

    #[test]
    fn numbers_are_written_with_commas() {
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(999), "999");
    }
}
