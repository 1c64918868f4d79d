//! A small HTTP client for the Worker's API, as the commands and the end-to-end tests need it. It speaks
//! to this machine, and `verify-claude` to Claude.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use ureq::http::{HeaderMap, Request};

/// No answer of a local Worker takes longer, a stream of results included.
const TIMEOUT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(5);
/// A result of 100,000 items is larger than ureq's own cap of 10 MB.
const LARGEST_ANSWER: u64 = 1 << 30;

#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

/// A response, whatever its status.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body)
            .with_context(|| format!("not JSON (status {}): {}", self.status, self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The answer, if it is a good one; else the sentence of its problem document.
    pub fn ok(self) -> Result<Answer> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let problem = self.json().unwrap_or_default();
        let detail = problem
            .get("detail")
            .or_else(|| problem.get("title"))
            .and_then(Value::as_str);
        bail!(
            "the Worker answered {}: {}",
            self.status,
            detail.unwrap_or(&self.body)
        )
    }
}

impl Client {
    pub fn new(base: &str, token: Option<&str>) -> Client {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // Tests ask with every method, the wrong ones too.
            .allow_non_standard_methods(true)
            .proxy(None)
            .build()
            .new_agent();
        Client {
            agent,
            base: base.to_owned(),
            token: token.map(str::to_owned),
        }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The same Worker, asked with another token or none.
    pub fn with_token(&self, token: Option<&str>) -> Client {
        Client {
            token: token.map(str::to_owned),
            ..self.clone()
        }
    }

    /// Any request; `headers` come on top of the token.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let what = || format!("{method} {}{path}", self.base);
        let request = request.body(body).with_context(what)?;
        let mut response = self.agent.run(request).with_context(what)?;
        let bytes = response
            .body_mut()
            .with_config()
            .limit(LARGEST_ANSWER)
            .read_to_vec()
            .with_context(what)?;
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }

    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, &[], &[])
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string().as_bytes(),
        )
    }

    /// What `/healthz` answers, if it answers soon: its status and body. A workerd that came back wrong
    /// takes requests and never answers.
    pub fn health(&self) -> Option<(u16, String)> {
        let request = self.agent.get(format!("{}/healthz", self.base));
        let mut answer = request
            .config()
            .timeout_global(Some(SOON))
            .build()
            .call()
            .ok()?;
        let body = answer.body_mut().read_to_string().ok()?;
        Some((answer.status().as_u16(), body))
    }

    pub fn healthy(&self) -> bool {
        self.health().is_some_and(|(status, _)| status == 200)
    }

    /// Hands a job in; the job.
    pub fn submit(&self, body: &Value) -> Result<Value> {
        self.post("/v1/jobs", body)?.ok()?.json()
    }

    pub fn job(&self, id: &str) -> Result<Value> {
        self.get(&format!("/v1/jobs/{id}"))?.ok()?.json()
    }

    pub fn report(&self, id: &str) -> Result<Value> {
        self.get(&format!("/v1/jobs/{id}/report"))?.ok()?.json()
    }

    /// Polls a job until it is terminal; an error with its last form if that takes too long.
    pub fn finished(&self, id: &str, within: Duration) -> Result<Value> {
        let until = Instant::now() + within;
        loop {
            let job = self.job(id)?;
            if is_terminal(&job) {
                return Ok(job);
            }
            if Instant::now() > until {
                bail!(
                    "job {id} is not terminal after {} s: {job}",
                    within.as_secs()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Whether nothing more happens to this job by itself.
pub fn is_terminal(job: &Value) -> bool {
    let state = job.get("state").and_then(Value::as_str);
    matches!(
        state,
        Some("succeeded" | "partial" | "failed" | "cancelled")
    )
}
