//! Refusals that faults bring about, in the words of the API.

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
            ApiError::invalid("Your organization is on hold.").with_code("organization_on_hold")
        }
        Fault::MarkRefused
            if checked.is_some_and(|c| c.prompt.blocks.iter().any(|b| b.mark.is_some())) =>
        {
            ApiError::invalid("system.0.cache_control: Extra inputs are not permitted")
        }
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
    Some(error)
}

/// Failures that come after a call was admitted.
pub fn server_error(fault: Fault) -> Option<ApiError> {
    let error = match fault {
        Fault::Internal => ApiError::new(500, "api_error", "Internal server error"),
        Fault::Unavailable => ApiError::new(503, "api_error", "Service temporarily unavailable"),
        Fault::Timeout => ApiError::new(504, "timeout_error", "The request timed out"),
        Fault::Overloaded => ApiError::overloaded(),
        _ => return None,
    };
    Some(error)
}

/// A page as the network in front of the API sends it.
pub fn html(status: u16, title: &str) -> String {
    format!(
        "<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n\
         <center><h1>{status} {title}</h1></center>\r\n\
         <hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
    )
}
