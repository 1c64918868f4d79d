//! The questions that documents leave open, each with what Fanwise assumes, the call that settles it, and the verdict.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::exchange::{Exchange, Session};
use crate::root;

const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";
const BATCHES: &str = "/v1/messages/batches";
const EFFORTS: &[&str] = &["low", "medium", "high", "xhigh", "max"];
const THINKING: &[&str] = &["adaptive", "between_tools", "disabled"];
const POLL: Duration = Duration::from_secs(5);
/// Documented for tests of refusals. In parts, so that reading this file refuses nothing.
const REFUSE_ME: &str = concat!(
    "ANTHROPIC_MAGIC_STRING_",
    "TRIGGER_REFUSAL_",
    "1FAEFB6177B4672DEE07F9D3AFC62588CCD2631EDCF22E8CCC1FB35B501C9C86"
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Agrees,
    Differs,
    /// The call did not settle it.
    Open,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Differs => "DIFFERS",
            Self::Open => "open",
        }
    }

    fn of(agrees: bool) -> Self {
        if agrees { Self::Agrees } else { Self::Differs }
    }
}

/// What one question came to.
#[derive(Clone, Debug)]
pub struct Finding {
    pub question: &'static str,
    pub assumed: &'static str,
    pub seen: String,
    pub verdict: Verdict,
}

impl Finding {
    fn new(
        question: &'static str,
        assumed: &'static str,
        seen: impl Into<String>,
        verdict: Verdict,
    ) -> Self {
        Self {
            question,
            assumed,
            seen: seen.into(),
            verdict,
        }
    }
}

pub fn ask_all(session: &mut Session, model: &str, batch: Duration) -> Result<Vec<Finding>> {
    let mut findings = vec![models(session)?];
    findings.push(tokens_and_bytes(session, model)?);
    findings.extend(plain_call(session)?);
    findings.extend(streamed_call(session)?);
    findings.push(both_keys(session, model)?);
    findings.push(bad_bearer(session, model)?);
    findings.push(warming(session, model)?);
    findings.push(refusal(session, model)?);
    findings.push(web_search(session, model)?);
    findings.push(ended_batch(session, model, batch)?);
    findings.push(rate_limited(session));
    Ok(findings)
}

fn hello(model: &str, more: &Value) -> Value {
    let mut body = json!({
        "model": model,
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "Answer with one word: yes."}],
    });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    body
}

/// The table of models, against the list that the endpoint gives.
fn models(session: &mut Session) -> Result<Finding> {
    let path = root::dir().join("src/claude/models.json");
    let table = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read {}", path.display()))?;
    let table: Value = serde_json::from_str(&table).context("models.json is not well-formed")?;
    let listed = session.call("models", "/v1/models?limit=100", &Value::Null)?;
    if listed.status == 401 {
        bail!("the key was refused ({})", listed.outcome());
    }
    const QUESTION: &str = "models, limits, efforts and thinking modes";
    const ASSUMED: &str = "as in src/claude/models.json";
    let value = listed.value();
    let Some(theirs) = value.get("data").and_then(Value::as_array) else {
        return Ok(Finding::new(
            QUESTION,
            ASSUMED,
            listed.outcome(),
            Verdict::Open,
        ));
    };
    let ours = table.get("models").and_then(Value::as_object);
    let mut faults = Vec::new();
    for (id, ours) in ours.into_iter().flatten() {
        // A list has dated ids only, where there are any.
        let named = |m: &&Value| {
            let listed = m.get("id").and_then(Value::as_str).unwrap_or_default();
            listed == id
                || listed
                    .strip_prefix(id)
                    .is_some_and(|rest| rest.starts_with("-20"))
        };
        match theirs.iter().find(named) {
            Some(theirs) => faults.extend(model_faults(id, ours, theirs)),
            None => faults.push(format!("{id} is not listed")),
        }
    }
    let verdict = Verdict::of(faults.is_empty());
    let seen = match faults.is_empty() {
        true => format!("{} models listed", theirs.len()),
        false => faults.join("; "),
    };
    Ok(Finding::new(QUESTION, ASSUMED, seen, verdict))
}

/// Where one row differs from what the endpoint says of the model; what it does not say is no fault.
fn model_faults(id: &str, ours: &Value, theirs: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, listed) in [
        ("context_tokens", "max_input_tokens"),
        ("max_output_tokens", "max_tokens"),
    ] {
        let (ours, theirs) = (ours.get(name), theirs.get(listed));
        if theirs.is_some_and(|t| !t.is_null()) && ours != theirs {
            faults.push(format!(
                "{id}: {name} is {}",
                theirs.unwrap_or(&Value::Null)
            ));
        }
    }
    let lists: [(&str, &str, &[&str]); 2] = [
        ("/efforts", "effort", EFFORTS),
        ("/thinking/modes", "thinking/types", THINKING),
    ];
    for (pointer, listed, names) in lists {
        let ours = ours.pointer(pointer).and_then(Value::as_array);
        for name in names {
            let path = format!("/capabilities/{listed}/{name}/supported");
            let Some(supported) = theirs.pointer(&path).and_then(Value::as_bool) else {
                continue;
            };
            if ours.is_some_and(|list| list.iter().any(|v| v == name)) != supported {
                let not = if supported { "" } else { "not " };
                faults.push(format!("{id}: {name} is {not}supported"));
            }
        }
    }
    faults
}

/// Reservations count a token for each byte where they know nothing better.
fn tokens_and_bytes(session: &mut Session, model: &str) -> Result<Finding> {
    let text =
        "Zahlen 48151623, \u{4f60}\u{597d}, aGVsbG8gd29ybGQ=, {\"a\":[1,2]} e\u{301} ".repeat(40);
    let body = json!({"model": model, "messages": [{"role": "user", "content": text}]});
    let counted = session.call("count_tokens", COUNT, &body)?;
    const QUESTION: &str = "tokens of mixed text";
    const ASSUMED: &str = "at most one a byte";
    let value = counted.value();
    let Some(tokens) = value.get("input_tokens").and_then(Value::as_u64) else {
        return Ok(Finding::new(
            QUESTION,
            ASSUMED,
            counted.outcome(),
            Verdict::Open,
        ));
    };
    let bytes = text.len() as u64;
    let seen = format!("{tokens} tokens of {bytes} bytes");
    Ok(Finding::new(
        QUESTION,
        ASSUMED,
        seen,
        Verdict::of(tokens <= bytes),
    ))
}

/// One ordinary call of a worker, with a schema.
fn plain_call(session: &mut Session) -> Result<Vec<Finding>> {
    let schema = json!({
        "type": "object", "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"], "additionalProperties": false,
    });
    let body = hello(
        "claude-haiku-5-5",
        &json!({
            "thinking": {"type": "disabled"},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": schema}},
        }),
    );
    let call = session.call("a call with a schema", MESSAGES, &body)?;
    let message = call.value();
    let blocks = message.get("content").and_then(Value::as_array);
    let text = blocks
        .into_iter()
        .flatten()
        .find_map(|b| b.get("text").and_then(Value::as_str));
    let formed = text.and_then(|t| serde_json::from_str::<Value>(t).ok());
    let kept = formed.is_some_and(|v| v.get("yes").is_some_and(Value::is_boolean));
    let fields = [
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    ];
    let usage = message.get("usage");
    let missing: Vec<&str> = fields
        .into_iter()
        .filter(|f| usage.and_then(|u| u.get(*f)).is_none())
        .collect();
    let limit = |kind: &str| call.header(&format!("anthropic-ratelimit-{kind}-limit"));
    let limits = ["requests", "input-tokens", "output-tokens"].map(limit);
    Ok(vec![
        Finding::new(
            "Haiku 5.5 with a schema and thinking off",
            "both are taken, the answer follows the schema",
            text.map_or_else(|| call.outcome(), str::to_owned),
            Verdict::of(kept),
        ),
        Finding::new(
            "counts in the usage",
            "all four are numbers",
            match missing.is_empty() {
                true => usage.map(Value::to_string).unwrap_or_default(),
                false => format!("missing: {}", missing.join(", ")),
            },
            Verdict::of(missing.is_empty()),
        ),
        Finding::new(
            "rate limit headers",
            "limits of requests, input tokens and output tokens, none of them 0",
            format!("{limits:?}"),
            Verdict::of(limits.iter().all(|l| l.is_some_and(|l| l != "0"))),
        ),
    ])
}

/// One stream with thinking as the model has it by default.
fn streamed_call(session: &mut Session) -> Result<Vec<Finding>> {
    let body = hello(
        "claude-haiku-5-5",
        &json!({"stream": true, "max_tokens": 1_024, "thinking": {"type": "adaptive"}}),
    );
    let call = session.call("a stream", MESSAGES, &body)?;
    let events = call.events();
    let kind = |event: &Value| event.get("type").and_then(Value::as_str).map(str::to_owned);
    let last = events.last().and_then(kind);
    let finish = events
        .iter()
        .rfind(|e| kind(e).as_deref() == Some("message_delta"));
    let output = finish.and_then(|e| e.pointer("/usage/output_tokens")?.as_u64());
    let mut found = vec![Finding::new(
        "the end of a stream",
        "message_delta with output_tokens, then message_stop",
        format!("{last:?} after output_tokens {output:?}"),
        Verdict::of(output.is_some() && last.as_deref() == Some("message_stop")),
    )];
    let thought = events.iter().any(|e| {
        e.pointer("/content_block/type")
            .is_some_and(|t| t == "thinking")
    });
    let words = events.iter().any(|e| {
        e.pointer("/delta/thinking")
            .and_then(Value::as_str)
            .is_some_and(|t| !t.is_empty())
    });
    let verdict = match thought {
        true => Verdict::of(!words),
        false => Verdict::Open,
    };
    let seen = match (thought, words) {
        (false, _) => "it did not think",
        (true, false) => "a thinking block without text",
        (true, true) => "the text of the thinking",
    };
    found.push(Finding::new(
        "thinking without `display`",
        "its text is omitted",
        seen,
        verdict,
    ));
    Ok(found)
}

/// Never both at once, says the client; what happens otherwise decides how a wrong setting shows.
fn both_keys(session: &mut Session, model: &str) -> Result<Finding> {
    let call = session.call_with_both("both auth headers", MESSAGES, &hello(model, &json!({})))?;
    Ok(Finding::new(
        "x-api-key and authorization together",
        "taken",
        call.outcome(),
        Verdict::of(call.status == 200),
    ))
}

fn bad_bearer(session: &mut Session, model: &str) -> Result<Finding> {
    let wrong = [("authorization", "Bearer sk-ant-wrong")];
    let call = session.call_with(
        "a wrong Bearer key",
        MESSAGES,
        &hello(model, &json!({})),
        &wrong,
    )?;
    let kind = call.value();
    let kind = kind.pointer("/error/type").and_then(Value::as_str);
    let agrees = call.status == 401 && kind == Some("authentication_error");
    Ok(Finding::new(
        "a wrong Bearer key",
        "401 authentication_error",
        call.outcome(),
        Verdict::of(agrees),
    ))
}

fn warming(session: &mut Session, model: &str) -> Result<Finding> {
    let body = hello(model, &json!({"max_tokens": 0, "stream": true}));
    let call = session.call("max_tokens 0 with stream", MESSAGES, &body)?;
    Ok(Finding::new(
        "max_tokens 0 in a stream",
        "400",
        call.outcome(),
        Verdict::of(call.status == 400),
    ))
}

fn refusal(session: &mut Session, model: &str) -> Result<Finding> {
    let body = hello(
        model,
        &json!({"messages": [{"role": "user", "content": REFUSE_ME}]}),
    );
    let call = session.call("a refusal", MESSAGES, &body)?;
    let value = call.value();
    let reason = value.get("stop_reason").and_then(Value::as_str);
    let output = value
        .pointer("/usage/output_tokens")
        .and_then(Value::as_u64);
    let details = value.get("stop_details").cloned().unwrap_or_default();
    let seen = match reason {
        Some(reason) => format!("{reason}, output_tokens {output:?}, stop_details {details}"),
        None => call.outcome(),
    };
    const QUESTION: &str = "a refusal before any output";
    const ASSUMED: &str = "200 with stop_reason refusal and no output tokens";
    let verdict = match reason {
        Some("refusal") => Verdict::of(output.is_none_or(|n| n == 0)),
        _ => Verdict::Open,
    };
    Ok(Finding::new(QUESTION, ASSUMED, seen, verdict))
}

fn web_search(session: &mut Session, model: &str) -> Result<Finding> {
    let tool = json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 1});
    let more = json!({"max_tokens": 512, "tools": [tool],
        "messages": [{"role": "user", "content": "Search the web once for: example domain. Then say done."}]});
    let call = session.call("web search", MESSAGES, &hello(model, &more))?;
    let value = call.value();
    let uses = value.pointer("/usage/server_tool_use/web_search_requests");
    let uses = uses.and_then(Value::as_u64);
    const QUESTION: &str = "web search with an account that allows it";
    const ASSUMED: &str = "200, uses counted in usage.server_tool_use";
    let (seen, verdict) = match (call.status, uses) {
        (200, Some(uses)) => (format!("{uses} uses counted"), Verdict::of(uses <= 1)),
        (200, None) => ("it did not search".to_owned(), Verdict::Open),
        _ => (
            format!("not allowed here: {}", call.outcome()),
            Verdict::Open,
        ),
    };
    Ok(Finding::new(QUESTION, ASSUMED, seen, verdict))
}

/// A batch of one request, waited for; then it is cancelled.
fn ended_batch(session: &mut Session, model: &str, wait: Duration) -> Result<Finding> {
    const QUESTION: &str = "cancelling a batch that has ended";
    const ASSUMED: &str = "200 or a 4xx, and the batch stays ended";
    let open = |seen: String| Ok(Finding::new(QUESTION, ASSUMED, seen, Verdict::Open));
    let requests =
        json!({"requests": [{"custom_id": "verify-1", "params": hello(model, &json!({}))}]});
    let created = session.call("a batch", BATCHES, &requests)?;
    let value = created.value();
    let Some(id) = value.get("id").and_then(Value::as_str) else {
        return open(format!("no batch: {}", created.outcome()));
    };
    let path = format!("{BATCHES}/{id}");
    let until = Instant::now() + wait;
    while !has_ended(&session.call("the batch", &path, &Value::Null)?) {
        if Instant::now() > until {
            return open(format!("it had not ended after {} s", wait.as_secs()));
        }
        // A short wait is one of a test.
        std::thread::sleep(POLL.min(wait / 100));
    }
    let cancel = session.call("cancel", &format!("{path}/cancel"), &json!({}))?;
    let ended = has_ended(&session.call("after cancel", &path, &Value::Null)?);
    let taken = cancel.status == 200 || (400..500).contains(&cancel.status);
    let seen = format!("{}; ended: {ended}", cancel.outcome());
    Ok(Finding::new(
        QUESTION,
        ASSUMED,
        seen,
        Verdict::of(taken && ended),
    ))
}

fn has_ended(call: &Exchange) -> bool {
    call.value()
        .get("processing_status")
        .is_some_and(|status| status == "ended")
}

/// A 429 is not provoked; one that came is in the fixture, with its headers.
fn rate_limited(session: &Session) -> Finding {
    const QUESTION: &str = "headers of a 429";
    const ASSUMED: &str = "retry-after in seconds";
    let seen = session.exchanges().iter().find(|e| e.status == 429);
    let Some(call) = seen else {
        return Finding::new(
            QUESTION,
            ASSUMED,
            "no call was refused for its rate",
            Verdict::Open,
        );
    };
    let after = call.header("retry-after");
    let seconds = after.is_some_and(|text| text.parse::<u64>().is_ok());
    let seen = format!("retry-after {after:?}: {}", call.outcome());
    Finding::new(QUESTION, ASSUMED, seen, Verdict::of(seconds))
}
