//! The stable names of failures: what attempts' rows, logs and users see.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One line per code keeps the name and the spelling together, and both directions in step.
macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// Why a call failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $name,)+ }

        impl ErrorCode {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stored spelling; it never changes.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The inverse of [`ErrorCode::as_str`].
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

error_codes! {
    /// Requests, input or output tokens per minute.
    RateLimited = "rate_limited",
    /// Usage grew too fast.
    RampLimited = "ramp_limited",
    Overloaded = "overloaded",
    ServerError = "server_error",
    Unavailable = "unavailable",
    /// The API, or something before it, waited too long for the model.
    GatewayTimeout = "gateway_timeout",
    RequestTimeout = "request_timeout",
    Conflict = "conflict",
    /// Something before the API turned the request away, without an opinion on the account.
    RequestBlocked = "request_blocked",
    /// No connection: nothing was sent.
    ConnectionFailed = "connection_failed",
    /// The connection broke before the response was whole.
    ConnectionLost = "connection_lost",
    /// We stopped waiting.
    TimedOut = "timed_out",
    /// The stream ended before the message did.
    StreamCut = "stream_cut",
    /// The stream is not what the API documents.
    StreamInvalid = "stream_invalid",
    /// Status 200 with a body that is no message.
    InvalidResponse = "invalid_response",
    /// The schema is not one the API takes, or too complex for it.
    SchemaRefused = "schema_refused",
    /// A part of the request that the endpoint does not take: it is left out from then on.
    PartRefused = "part_refused",
    InvalidRequest = "invalid_request",
    PromptTooLong = "prompt_too_long",
    RequestTooLarge = "request_too_large",
    ModelNotFound = "model_not_found",
    NotFound = "not_found",
    /// The model would not answer.
    Refused = "refused",
    UnexpectedStatus = "unexpected_status",
    /// A batch ended before it came to this request, at the end of its day or because it was cancelled.
    BatchExpired = "batch_expired",
    BatchCanceled = "batch_canceled",
    AuthenticationFailed = "authentication_failed",
    BillingFailed = "billing_failed",
    PermissionDenied = "permission_denied",
    /// The monthly cap of the account's tier.
    SpendLimitReached = "spend_limit_reached",
    ContractSpendLimitReached = "contract_spend_limit_reached",
    /// A limit the account's owner set.
    UsageLimitReached = "usage_limit_reached",
    OrganizationOnHold = "organization_on_hold",
    /// The workspace's own encryption key cannot be used.
    EncryptionKeyUnusable = "encryption_key_unusable",
}

impl ErrorCode {
    /// Whether a request with fewer items might succeed: one bad item must not sink the others.
    #[must_use]
    pub const fn depends_on_input(self) -> bool {
        matches!(
            self,
            Self::Refused | Self::PromptTooLong | Self::RequestTooLarge | Self::InvalidRequest
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no error code"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_goes_both_ways_and_is_snake_case() {
        let mut seen = HashSet::new();
        for code in ErrorCode::ALL {
            let text = code.as_str();
            assert_eq!(ErrorCode::parse(text), Some(*code));
            assert!(seen.insert(text), "{text} twice");
            assert!(
                text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{text}"
            );
        }
        assert_eq!(ErrorCode::parse("nonsense"), None);
    }
}
