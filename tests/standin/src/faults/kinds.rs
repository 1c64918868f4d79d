//! The names of all faults, which of them can be modes, and the set of those in force for one answer.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! faults {
    ($($name:ident $text:literal $about:literal),* $(,)?) => {
        /// Every kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Fault { $(#[doc = $about] $name),* }

        impl Fault {
            /// All kinds, in the order in which shares are laid out.
            pub const ALL: &[Fault] = &[$(Fault::$name),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Fault::$name => $text),* }
            }

            pub fn about(self) -> &'static str {
                match self { $(Fault::$name => $about),* }
            }
        }
    };
}

faults! {
    RateLimit "429" "429 with retry-after, as if a limit were passed",
    Internal "500" "500 api_error",
    Unavailable "503" "503 api_error",
    Timeout "504" "504 timeout_error",
    Overloaded "529" "529 overloaded_error",
    Ramp "ramp" "429 ramp_limit_exceeded with retry-after",
    SpendLimit "spend_limit" "429 enforced_spend_limit_reached without retry-after",
    ContractSpendLimit "contract_spend_limit" "429 contract_spend_limit_reached without retry-after",
    UsageLimit "usage_limit_400" "400: the limit the organisation set itself",
    Credit "credit_400" "400: credit balance too low",
    Billing "billing" "402 billing_error",
    BadKey "bad_key" "401 authentication_error",
    Permission "permission" "403 permission_error",
    OnHold "on_hold" "400 organization_on_hold",
    SchemaRefused "schema_refused" "400: schema too complex",
    TooLong "too_long" "400: prompt is too long",
    TooLarge "413" "413 with a body that is not JSON",
    NonJson "non_json" "502 with an HTML body",
    Reset "reset" "connection closed before any answer",
    ResetMid "reset_mid" "connection broken in the middle of the answer",
    Cut "cut" "stream ends cleanly without message_stop",
    ErrorEvent "error_event" "an error event in the middle of the stream",
    Garbage "garbage" "lines that are no events in the middle of the stream",
    Hang "hang" "no answer for `ms` (default ten minutes)",
    Slow "slow" "ten times the latency, or `ms`",
    SlowFirstByte "slow_first_byte" "nothing until nine tenths of the time",
    Malformed "malformed" "prose and broken JSON instead of JSON",
    SchemaMiss "schema_miss" "JSON that misses the schema",
    Truncate "truncate" "cut at half with stop_reason max_tokens",
    Refusal "refusal" "stop_reason refusal",
    Empty "empty" "no content",
    EnumCase "enum_case" "enum values in other letter case",
    DuplicateId "duplicate_id" "one result twice",
    MissingId "missing_id" "one result left out",
    InventedId "invented_id" "one result, or one citation, under an id that does not exist",
    Shuffled "shuffled" "results in another order",
    Pause "pause" "a turn with a server tool stops with pause_turn, to be gone on with",
    Expired "expired" "a batch's request expires unanswered",
    BadPlan "bad_plan" "a plan that cannot be carried out",
    DearPlan "dear_plan" "a plan with one strong call for each item",
    MoreStages "more_stages" "one more map stage in a plan, also where none was needed",
    FollowUp "follow_up" "one more map stage in a plan, over some of the results before it",
    MarkRefused "mark_refused" "400: a request with cache_control, as some gateways refuse it",
    FormatRefused "format_refused" "400: a request with output_config.format",
    ThinkingRefused "thinking_refused" "400: a request with thinking",
    EffortRefused "effort_refused" "400: a request with output_config.effort",
    NotAllowed "not_allowed" "403: Request not allowed",
    Retention "retention_400" "400 whatever the input: the organization's data retention excludes the model",
    HumanReview "human_review" "400 workspace_human_review_disabled when a batch is created",
    BatchQueue "batch_queue" "429 when a batch is created: too many requests are queued",
    Detail "detail_422" "422 with {\"detail\": [...]} instead of the API's envelope",
    BareMessage "bare_message" "500 with {\"message\": ...} instead of the API's envelope",
    BareError "bare_error" "500 with {\"error\": \"...\"} instead of the API's envelope",
    CodeInText "code_in_text" "429 with enforced_spend_limit_reached inside the text of its message",
    RetryHuge "retry_huge" "429 with retry-after: 99999999999",
    NoRetry "no_retry" "429 with x-should-retry: false",
    Outage "outage" "502 with an HTML body on every path, batches and models too",
    RefusalEarly "refusal_early" "stop_reason refusal before any output: not billed",
    RefusalMid "refusal_mid" "stop_reason refusal after half of the answer: billed up to there",
    SilentCut "silent_cut" "cut at half; stop_reason end_turn, though output_tokens is max_tokens",
    ToolError "tool_error" "each server tool answers with an error; it counts no use",
    Prose "prose" "prose, whatever form was asked for",
    FormatIgnored "format_ignored" "output_config.format is ignored; a schema in the prompt is followed, else prose",
    FormatLoose "format_loose" "JSON with values of wrong types",
    NumberStrings "number_strings" "every number as a string",
    Stringified "stringified" "each result's output as a string of JSON",
    Citations "citations" "the text cites a source",
    UsageMissing "usage_missing" "no usage at all",
    UsageZero "usage_zero" "usage with every count 0",
    UsageStart "usage_start" "a stream with usage in message_start only",
    CacheGrows "cache_grows" "a stream whose message_start reports half of the cache counts",
    Nulls "nulls" "every field that may be null is null",
    NoLastBlank "no_last_blank" "a stream without the last blank line",
    NoMessageStop "no_message_stop" "a stream that ends after message_delta",
    DoneMarker "done_marker" "a stream with data: [DONE] after its end",
    DoneMiddle "done_middle" "a stream with data: [DONE] before message_delta",
    EventMessage "event_message" "a stream whose events are all named message",
    UnknownEvents "unknown_events" "a stream with events, deltas and blocks of unknown types",
    EmptyBlocks "empty_blocks" "an empty text block before and after the text",
    NoRateHeaders "no_rate_headers" "no rate limit headers",
    RenamedRateHeaders "renamed_rate_headers" "rate limit headers with the prefix llm_provider-",
    ZeroRateLimit "zero_rate_limit" "rate limit headers with a limit of 0 and 0 remaining",
    CancelEnded400 "cancel_ended_400" "400 when a batch that has ended is cancelled",
    CancelEnded409 "cancel_ended_409" "409 when a batch that has ended is cancelled",
    NoBatches "no_batches" "404 on every path about batches",
    NoModels "no_models" "404 on /v1/models",
    NoCountTokens "no_count_tokens" "404 on /v1/messages/count_tokens",
    TwoKeys "two_keys_400" "400: both x-api-key and authorization were sent",
    BearerOnly "bearer_only" "401 without authorization: Bearer; x-api-key is not read",
    KeyOnly "key_only" "401 without x-api-key; authorization is not read",
    TokensByClass "tokens_by_class" "tokens per byte depend on the class of text: language, script, code, digits, base64",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Fault {
    pub fn parse(text: &str) -> Option<Self> {
        let text = match text {
            "rate_limit" => "429",
            "overloaded" => "529",
            "invalid_json" => "malformed",
            "case_drift" => "enum_case",
            other => other,
        };
        Self::ALL.iter().copied().find(|f| f.as_str() == text)
    }

    /// Whether the answer, though it came whole, is not one to keep.
    pub fn spoils(self) -> bool {
        matches!(
            self,
            Self::Malformed
                | Self::SchemaMiss
                | Self::Truncate
                | Self::Refusal
                | Self::RefusalEarly
                | Self::RefusalMid
                | Self::SilentCut
                | Self::Empty
                | Self::DuplicateId
                | Self::MissingId
                | Self::InventedId
                | Self::FormatLoose
                | Self::NumberStrings
                | Self::Stringified
        )
    }
}

/// Faults that can be in force for all calls at once, several together: how one endpoint differs from the API.
pub const MODES: &[Fault] = &[
    Fault::MarkRefused,
    Fault::FormatRefused,
    Fault::ThinkingRefused,
    Fault::EffortRefused,
    Fault::HumanReview,
    Fault::Prose,
    Fault::FormatIgnored,
    Fault::FormatLoose,
    Fault::NumberStrings,
    Fault::Stringified,
    Fault::ToolError,
    Fault::Citations,
    Fault::UsageMissing,
    Fault::UsageZero,
    Fault::UsageStart,
    Fault::CacheGrows,
    Fault::Nulls,
    Fault::NoLastBlank,
    Fault::NoMessageStop,
    Fault::DoneMarker,
    Fault::DoneMiddle,
    Fault::EventMessage,
    Fault::UnknownEvents,
    Fault::EmptyBlocks,
    Fault::NoRateHeaders,
    Fault::RenamedRateHeaders,
    Fault::ZeroRateLimit,
    Fault::CancelEnded400,
    Fault::CancelEnded409,
    Fault::NoBatches,
    Fault::NoModels,
    Fault::NoCountTokens,
    Fault::TwoKeys,
    Fault::BearerOnly,
    Fault::KeyOnly,
    Fault::TokensByClass,
];

/// Modes that are about the endpoint and not about one call: as a fault of one call they do nothing.
pub const ONLY_MODES: &[Fault] = &[
    Fault::CancelEnded400,
    Fault::CancelEnded409,
    Fault::NoBatches,
    Fault::NoModels,
    Fault::NoCountTokens,
    Fault::TwoKeys,
    Fault::BearerOnly,
    Fault::KeyOnly,
    Fault::TokensByClass,
];

/// The modes of a configuration, each once.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Modes(BTreeSet<Fault>);

impl Modes {
    /// Reads `usage_zero,prose`.
    pub fn parse(spec: &str) -> Result<Self, String> {
        let names = spec.split(',').map(str::trim).filter(|n| !n.is_empty());
        Self::of(names)
    }

    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut out = BTreeSet::new();
        for name in names {
            let fault = Fault::parse(name).filter(|f| MODES.contains(f));
            out.insert(fault.ok_or_else(|| {
                let names: Vec<&str> = MODES.iter().map(|f| f.as_str()).collect();
                format!("'{name}' is no mode; modes: {}", names.join(", "))
            })?);
        }
        Ok(Self(out))
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }
}

impl<'de> Deserialize<'de> for Modes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Spec(String),
            List(Vec<String>),
        }
        match Form::deserialize(deserializer)? {
            Form::Spec(spec) => Self::parse(&spec),
            Form::List(list) => Self::of(list.iter().map(String::as_str)),
        }
        .map_err(de::Error::custom)
    }
}

/// All that shapes one answer: the fault that struck the call, and the modes in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    pub struck: Option<Fault>,
    pub modes: Modes,
}

impl Effects {
    pub fn has(&self, fault: Fault) -> bool {
        self.struck == Some(fault) || self.modes.has(fault)
    }

    /// Whether the answer, though it came whole, is not one to keep.
    pub fn spoil(&self) -> bool {
        let modes = self.modes.0.iter().copied();
        self.struck.into_iter().chain(modes).any(Fault::spoils)
    }

    /// Every fault in force, the one that struck first.
    pub fn each(&self) -> impl Iterator<Item = Fault> + '_ {
        self.struck.into_iter().chain(self.modes.0.iter().copied())
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("unknown fault '{text}'; known: {}", known())))
    }
}

pub(super) fn known() -> String {
    let names: Vec<&str> = Fault::ALL.iter().map(|f| f.as_str()).collect();
    names.join(", ")
}
