//! Faults by rule: "these calls get this fault, a number of times or for a while".

use serde::{Deserialize, Serialize};

use super::kinds::Fault;

/// Calls that a rule is about; what is not given matches all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    pub job: Option<String>,
    pub task: Option<String>,
    pub role: Option<String>,
    pub attempt: Option<String>,
    pub model: Option<String>,
    /// The path called, such as `/v1/messages/batches`; with a `*` at its end, all that begin so.
    pub path: Option<String>,
    /// An item of this id is in the input.
    pub item_id: Option<String>,
    /// The body contains this text, as written in its JSON.
    pub text: Option<String>,
}

/// "These calls get this fault, so many times."
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(default, rename = "match")]
    pub matches: Match,
    pub fault: Fault,
    /// Left to strike; without it, for ever.
    #[serde(default)]
    pub times: Option<u64>,
    /// For `hang` and `slow`.
    #[serde(default)]
    pub ms: Option<u64>,
    #[serde(default)]
    pub retry_after_s: Option<u64>,
    /// Sent as `x-should-retry` with a refusal.
    #[serde(default)]
    pub should_retry: Option<bool>,
    /// How long it strikes, from the first call on; then it is over.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// When it is over: set by the first call.
    #[serde(default)]
    pub until_ms: Option<u64>,
}

/// Who is calling, by the `x-fanwise-*` headers; empty where not sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller<'a> {
    pub role: &'a str,
    pub job: &'a str,
    pub task: &'a str,
    pub attempt: &'a str,
    pub model: &'a str,
    pub path: &'a str,
}

/// A fault that strikes, with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    pub fault: Fault,
    pub ms: Option<u64>,
    pub retry_after_s: Option<u64>,
    pub should_retry: Option<bool>,
}

impl Strike {
    pub fn by_share(fault: Fault) -> Self {
        Self {
            fault,
            ms: None,
            retry_after_s: None,
            should_retry: None,
        }
    }
}

impl Rule {
    /// An outage of this length, from the first call on.
    pub fn outage(for_ms: u64) -> Self {
        Self {
            matches: Match::default(),
            fault: Fault::Outage,
            times: None,
            ms: None,
            retry_after_s: None,
            should_retry: None,
            for_ms: Some(for_ms),
            until_ms: None,
        }
    }

    fn covers(&self, caller: &Caller<'_>, body: &str) -> bool {
        let m = &self.matches;
        let same =
            |wanted: &Option<String>, given: &str| wanted.as_ref().is_none_or(|w| w == given);
        let holds = |text: &str| body.contains(text);
        same(&m.job, caller.job)
            && same(&m.task, caller.task)
            && same(&m.role, caller.role)
            && same(&m.attempt, caller.attempt)
            && same(&m.model, caller.model)
            && m.path.as_ref().is_none_or(|wanted| match wanted.strip_suffix('*') {
                Some(start) => caller.path.starts_with(start),
                None => wanted == caller.path,
            })
            && m.text.as_ref().is_none_or(|t| holds(t))
            // Items stand as JSON inside a JSON string, compact or spaced.
            && m.item_id.as_ref().is_none_or(|id| {
                holds(&format!("\\\"id\\\":\\\"{id}\\\"")) || holds(&format!("\\\"id\\\": \\\"{id}\\\""))
            })
    }
}

/// The first rule that covers the call and that `wanted` admits; one that is used up or over is removed.
pub fn by_rule(
    rules: &mut Vec<Rule>,
    caller: &Caller<'_>,
    body: &str,
    now_ms: u64,
    wanted: impl Fn(&Rule) -> bool,
) -> Option<Strike> {
    rules.retain(|r| r.until_ms.is_none_or(|until| now_ms < until));
    let at = rules
        .iter()
        .position(|r| r.times != Some(0) && wanted(r) && r.covers(caller, body))?;
    let rule = rules.get_mut(at)?;
    if let (Some(for_ms), None) = (rule.for_ms, rule.until_ms) {
        rule.until_ms = Some(now_ms + for_ms);
    }
    let strike = Strike {
        fault: rule.fault,
        ms: rule.ms,
        retry_after_s: rule.retry_after_s,
        should_retry: rule.should_retry,
    };
    if let Some(times) = rule.times.as_mut() {
        *times -= 1;
        if *times == 0 {
            rules.remove(at);
        }
    }
    Some(strike)
}
