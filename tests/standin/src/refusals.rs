//! Refusals that faults bring about, in the words of the API.

use serde_json::json;

use crate::{
    clock,
    error::ApiError,
    faults::{Fault, Strike},
    validate::Checked,
};

const RATE: &str = "This request would exceed your account's rate limit. Please try again later.";
const CREDIT: &str = "Your credit balance is too low to access the Anthropic API. \
    Please go to Plans & Billing to upgrade or purchase credits.";
const BILLING: &str =
    "There is an issue with your organization's billing. Please update your payment details.";
const RETENTION: &str = "This model is not available to your organization because of its data retention settings. \
    Contact your administrator.";
const PERMISSION: &str = "Your API key does not have permission to use the specified resource.";

/// Refusals that are about the account or the request, before any limit.
pub fn account_error(
    strike: &Strike,
    checked: Option<&Checked<'_>>,
    now_ms: u64,
) -> Option<ApiError> {
    let month = clock::next_month(now_ms);
    let retry = Some(strike.retry_after_s.unwrap_or(1));
    let error = match strike.fault {
        Fault::RateLimit => ApiError::rate_limit(RATE, retry),
        Fault::Ramp => {
            let model = checked.map_or("any", |c| c.model.id);
            let message = format!(
                "This request would exceed your organization's maximum usage increase rate for \
                 input tokens per minute (model: {model}). Please scale up your input tokens \
                 usage more gradually to stay within the acceleration limit. For details, refer \
                 to: https://docs.claude.com/en/api/rate-limits."
            );
            ApiError::rate_limit(message, retry).with_code("ramp_limit_exceeded")
        }
        Fault::SpendLimit => {
            let message = format!(
                "You have reached your API usage limits: your organization has crossed its \
                 monthly API usage threshold, set based on your organization's API tier. You \
                 will regain access on {month} at 00:00 UTC."
            );
            ApiError::rate_limit(message, None).with_code("enforced_spend_limit_reached")
        }
        Fault::ContractSpendLimit => {
            let message = "You have reached the spend limit of your contract.";
            ApiError::rate_limit(message, None).with_code("contract_spend_limit_reached")
        }
        Fault::UsageLimit => ApiError::invalid(format!(
            "You have reached your specified API usage limits. You will regain access on \
             {month} at 00:00 UTC."
        )),
        Fault::Credit => ApiError::invalid(CREDIT),
        Fault::Billing => ApiError::new(402, "billing_error", BILLING),
        Fault::BadKey => ApiError::authentication("invalid x-api-key"),
        Fault::Permission => ApiError::new(403, "permission_error", PERMISSION),
        Fault::OnHold => {
            let error = ApiError::invalid("Your organization is on hold.");
            ApiError {
                appeal_url: Some("https://claude.com/appeal"),
                ..error.with_code("organization_on_hold")
            }
        }
        Fault::NotAllowed => ApiError::new(403, "permission_error", "Request not allowed"),
        Fault::Retention => ApiError::invalid(RETENTION),
        Fault::Detail => ApiError::bare(
            422,
            json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "output_config"],
                "msg": "Extra inputs are not permitted"}]}),
        ),
        Fault::CodeInText => {
            let message = "litellm.RateLimitError: AnthropicException - {\"type\":\"error\",\"error\":\
                {\"details\":{\"error_code\":\"enforced_spend_limit_reached\"},\"type\":\"rate_limit_error\",\
                \"message\":\"You have reached your API usage limits.\"}}";
            ApiError::bare(
                429,
                json!({"error": {"message": message, "type": null, "param": null, "code": "429"}}),
            )
        }
        Fault::RetryHuge => ApiError::rate_limit(RATE, Some(99_999_999_999)),
        Fault::NoRetry => ApiError {
            should_retry: Some(false),
            ..ApiError::rate_limit(RATE, retry)
        },
        Fault::MarkRefused
        | Fault::FormatRefused
        | Fault::ThinkingRefused
        | Fault::EffortRefused => unknown_field(strike.fault, checked?)?,
        Fault::SchemaRefused => ApiError::invalid("Schema is too complex for compilation."),
        Fault::TooLong => {
            let context = checked.map_or(1_000_000, |c| c.model.context);
            let tokens = context + checked.map_or(1, |c| c.prompt.tokens);
            ApiError::invalid(format!(
                "prompt is too long: {tokens} tokens > {context} maximum"
            ))
        }
        Fault::TooLarge => {
            ApiError::new(413, "request_too_large", "Request exceeds the maximum size")
        }
        _ => return None,
    };
    Some(ApiError {
        should_retry: strike.should_retry.or(error.should_retry),
        ..error
    })
}

/// Fields that some gateways refuse, each where the request has it.
pub fn unknown_field(fault: Fault, checked: &Checked<'_>) -> Option<ApiError> {
    let has = |pointer: &str| checked.body.pointer(pointer).is_some_and(|v| !v.is_null());
    let marked = || checked.prompt.blocks.iter().any(|b| b.mark.is_some());
    let (found, path) = match fault {
        Fault::MarkRefused => (marked(), "system.0.cache_control"),
        Fault::FormatRefused => (has("/output_config/format"), "output_config.format"),
        Fault::ThinkingRefused => (has("/thinking"), "thinking"),
        Fault::EffortRefused => (has("/output_config/effort"), "output_config.effort"),
        _ => return None,
    };
    found.then(|| ApiError::at(path, "Extra inputs are not permitted"))
}

/// Refusals of the creation of a batch.
pub fn batch_error(fault: Fault) -> Option<ApiError> {
    match fault {
        Fault::HumanReview => Some(
            ApiError::invalid("Human review is disabled for this workspace; batches need it.")
                .with_code("workspace_human_review_disabled"),
        ),
        Fault::BatchQueue => Some(ApiError::rate_limit(
            "This request would exceed your organization's limit of requests in the batch queue. \
             Please wait until some of your batches have ended.",
            None,
        )),
        _ => None,
    }
}

/// Failures that come after a call was admitted.
pub fn server_error(strike: &Strike) -> Option<ApiError> {
    let error = match strike.fault {
        Fault::Internal => ApiError::new(500, "api_error", "Internal server error"),
        Fault::Unavailable => ApiError::new(503, "api_error", "Service temporarily unavailable"),
        Fault::Timeout => ApiError::new(504, "timeout_error", "The request timed out"),
        Fault::Overloaded => ApiError::overloaded(),
        Fault::BareMessage => ApiError::bare(500, json!({"message": "upstream failure"})),
        Fault::BareError => ApiError::bare(500, json!({"error": "upstream failure"})),
        _ => return None,
    };
    Some(ApiError {
        should_retry: strike.should_retry,
        retry_after_s: strike.retry_after_s,
        ..error
    })
}

/// A page as the network in front of the API sends it.
pub fn html(status: u16, title: &str) -> String {
    format!(
        "<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n\
         <center><h1>{status} {title}</h1></center>\r\n\
         <hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
    )
}
