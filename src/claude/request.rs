//! One request to the Messages API: its exact wire form, how it is built, and its headers.
//!
//! The same request always gives the same bytes: fields stand in the order of the types below and
//! a schema keeps the order of its keys. [`MessagesRequest::identity`] is what the pay-once key is
//! hashed from, so nothing that belongs to one job or one moment may enter a request; that goes
//! into headers ([`Trace`]).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::claude::models::{Deliberation, Model, Nano};
pub use crate::core::admission::cache::CacheTtl;
pub use crate::core::plan::spec::Effort;
use crate::core::text::expansion::expanded_bytes;

/// The version every request names.
pub const API_VERSION: &str = "2026-10-21";
/// Where a request goes, below the base URL.
pub const MESSAGES_PATH: &str = "/v1/messages";
/// The API refuses longer bodies.
pub const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// A structured output or a tool puts text of the API's own before the prompt. It was never
/// published how much; a few hundred tokens were seen, so this is a generous upper bound.
const HIDDEN_TOKENS: u64 = 1_024;
/// What one use of a web tool brings in, on the high side.
const TOKENS_PER_USE: u64 = 25_000;

/// The body of `POST /v1/messages`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MessagesRequest {
    pub model: String,
    pub max_tokens: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub system: Vec<TextBlock>,
    pub messages: Vec<Turn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_config: Option<OutputConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ServerTool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
}

/// A block of text, in the system prompt or in a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "text")]
pub struct TextBlock {
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheControl>,
}

impl TextBlock {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            cache_control: None,
        }
    }
}

/// One turn of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Turn {
    pub role: Speaker,
    pub content: Vec<Content>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    User,
    Assistant,
}

/// What a turn holds: text, or a block handed back exactly as the API gave it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Content {
    Text(TextBlock),
    Raw(Value),
}

impl Turn {
    #[must_use]
    pub fn user(text: impl Into<String>) -> Self {
        Self {
            role: Speaker::User,
            content: vec![Content::Text(TextBlock::new(text))],
        }
    }

    #[must_use]
    pub fn assistant(text: impl Into<String>) -> Self {
        Self {
            role: Speaker::Assistant,
            content: vec![Content::Text(TextBlock::new(text))],
        }
    }
}

/// A cache breakpoint: everything up to and including its block is one prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "ephemeral")]
pub struct CacheControl {
    pub ttl: CacheTtl,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct OutputConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<OutputFormat>,
}

/// The answer must be JSON of this schema, which must be fit for the API
/// ([`crate::claude::api_schema::adapt`]).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename = "json_schema")]
pub struct OutputFormat {
    pub schema: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Thinking {
    Adaptive,
    BetweenTools,
    Disabled,
}

/// A tool that runs on Anthropic's side. Its uses are always bounded: each may bring in as much
/// input as the context holds, and that must be reserved for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerTool {
    /// Name and version, as `web_search_20250305`.
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub max_uses: u32,
    /// Whatever else the tool takes.
    #[serde(flatten)]
    pub options: serde_json::Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

/// What a call is for; sent as `x-fanwise-role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Orchestrator,
    Worker,
    Repair,
    Reduce,
    Synthesis,
    Verify,
}

impl Role {
    pub const ALL: [Self; 6] = [
        Self::Orchestrator,
        Self::Worker,
        Self::Repair,
        Self::Reduce,
        Self::Synthesis,
        Self::Verify,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Orchestrator => "orchestrator",
            Self::Worker => "worker",
            Self::Repair => "repair",
            Self::Reduce => "reduce",
            Self::Synthesis => "synthesis",
            Self::Verify => "verify",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Work on data gets as little thinking as the model allows; judgement gets what its makers
    /// set. A repair belongs to a worker, and must think as it does.
    fn deliberation(self, model: &Model, effort: Option<Effort>) -> Deliberation {
        match self {
            Self::Worker | Self::Repair | Self::Verify => model.plain_work(effort),
            Self::Orchestrator | Self::Reduce | Self::Synthesis => model.judgement(effort),
        }
    }
}

/// Builds a request; the model decides about thinking, effort and how much may come out.
///
/// ```
/// # use fanwise::claude::{models::Catalogue, request::{RequestBuilder, Role}};
/// # let models = Catalogue::load(None).unwrap();
/// let model = models.listed("haiku").unwrap();
/// let request = RequestBuilder::new(Role::Worker, model, 4096)
///     .system("You label tickets.")
///     .user("<items>\n[]\n</items>")
///     .build();
/// assert_eq!(request.model, "claude-haiku-5-5");
/// ```
#[derive(Debug, Clone)]
pub struct RequestBuilder<'a> {
    role: Role,
    model: &'a Model,
    max_tokens: u32,
    effort: Option<Effort>,
    system: Vec<TextBlock>,
    messages: Vec<Turn>,
    format: Option<Value>,
    tools: Vec<ServerTool>,
}

impl<'a> RequestBuilder<'a> {
    /// `max_tokens` is cut to what the model can give, and is at least 1.
    #[must_use]
    pub fn new(role: Role, model: &'a Model, max_tokens: u32) -> Self {
        Self {
            role,
            model,
            max_tokens: max_tokens.clamp(1, model.max_output_tokens),
            effort: None,
            system: Vec::new(),
            messages: Vec::new(),
            format: None,
            tools: Vec::new(),
        }
    }

    /// Adds a block to the system prompt. Blank text is left out, as the API refuses it.
    #[must_use]
    pub fn system(mut self, text: impl Into<String>) -> Self {
        let text = text.into();
        if !text.trim().is_empty() {
            self.system.push(TextBlock::new(text));
        }
        self
    }

    /// Adds a user turn.
    #[must_use]
    pub fn user(mut self, text: impl Into<String>) -> Self {
        self.messages.push(Turn::user(text));
        self
    }

    /// The caller's wish for effort; see [`Model::plain_work`] for what becomes of it.
    #[must_use]
    pub fn effort(mut self, effort: Option<Effort>) -> Self {
        self.effort = effort;
        self
    }

    /// Asks for JSON of an adapted schema. Left out where the model cannot.
    #[must_use]
    pub fn format(mut self, schema: Option<Value>) -> Self {
        self.format = schema.filter(|_| self.model.structured_outputs);
        self
    }

    #[must_use]
    pub fn tool(mut self, tool: ServerTool) -> Self {
        self.tools.push(tool);
        self
    }

    /// The finished request. It streams, as answers above some 21,000 tokens must.
    #[must_use]
    pub fn build(self) -> MessagesRequest {
        let Deliberation { thinking, effort } = self.role.deliberation(self.model, self.effort);
        let format = self.format.map(|schema| OutputFormat { schema });
        let output_config =
            (effort.is_some() || format.is_some()).then_some(OutputConfig { effort, format });
        MessagesRequest {
            model: self.model.id.clone(),
            max_tokens: self.max_tokens,
            system: self.system,
            messages: self.messages,
            output_config,
            thinking,
            tools: self.tools,
            metadata: None,
            stream: true,
        }
    }
}

impl MessagesRequest {
    /// The bytes to send. Equal requests give equal bytes.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        // Cannot fail: every map key of these types is a string.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The bytes that say *what* is asked, without how it is delivered (`stream`, `metadata`, cache breakpoints): the
    /// hash of these is the pay-once key, the same for a live call and for one in a batch. `limit` stands in the place of
    /// `max_tokens`: what the caller allows, however much of it this call was given.
    #[must_use]
    pub fn identity(&self, limit: u32) -> Vec<u8> {
        let mut bare = self.unmarked();
        if bare.stream || bare.metadata.is_some() || bare.max_tokens != limit {
            let bare = bare.to_mut();
            bare.stream = false;
            bare.metadata = None;
            bare.max_tokens = limit;
        }
        bare.body()
    }

    /// The same request with a cache breakpoint after its system prompt: schema, tools, frame, instructions and context are
    /// one prefix, and nothing that differs from call to call comes before it.
    #[must_use]
    pub fn marked(mut self, ttl: CacheTtl) -> Self {
        if let Some(block) = self.system.last_mut() {
            block.cache_control = Some(CacheControl { ttl });
        }
        self
    }

    fn unmarked(&self) -> Cow<'_, Self> {
        if self.cache_ttl().is_none() {
            return Cow::Borrowed(self);
        }
        let mut bare = self.clone();
        for block in &mut bare.system {
            block.cache_control = None;
        }
        Cow::Owned(bare)
    }

    /// Everything up to where [`Self::marked`] puts its breakpoint, as bytes that tell one prefix from another: the
    /// request without what follows. Thinking and effort do not belong to it.
    #[must_use]
    pub fn prefix(&self) -> Vec<u8> {
        let mut bare = self.clone();
        for block in &mut bare.system {
            block.cache_control = None;
        }
        bare.max_tokens = 0;
        bare.messages.clear();
        bare.thinking = None;
        bare.stream = false;
        bare.metadata = None;
        if let Some(config) = &mut bare.output_config {
            config.effort = None;
        }
        bare.body()
    }

    /// The same request with the model's own answer and what is wrong with it. It never ends on an
    /// assistant turn, which the API would refuse; an empty answer is left out for the same reason.
    #[must_use]
    pub fn repair(&self, answer: &str, faults: &str) -> Self {
        let mut request = self.clone();
        if !answer.trim().is_empty() {
            request.messages.push(Turn::assistant(answer.trim_end()));
        }
        request.messages.push(Turn::user(faults));
        request
    }

    /// The same request with the model's own turn so far, for it to go on with: after a pause of a server tool. The one
    /// request that ends on an assistant turn.
    #[must_use]
    pub fn resume(&self, blocks: &[Value]) -> Self {
        let mut request = self.clone();
        if !blocks.is_empty() {
            request.messages.push(Turn {
                role: Speaker::Assistant,
                content: blocks.iter().cloned().map(Content::Raw).collect(),
            });
        }
        request
    }

    /// The same request without a schema for the API to enforce: for one it refused, with the
    /// schema's text given to the model instead.
    #[must_use]
    pub fn without_format(&self, schema_text: &str) -> Self {
        let mut request = self.clone();
        if let Some(config) = &mut request.output_config {
            config.format = None;
        }
        request
            .output_config
            .take_if(|config| *config == OutputConfig::default());
        request.system.push(TextBlock::new(schema_text));
        request
    }

    /// No request of these bytes has more input tokens: a token is at least one byte (of the text as a tokenizer may
    /// normalise it), and what the API itself puts in is allowed for. Server tools bring in input of their own, round by
    /// round, up to a full context each.
    #[must_use]
    pub fn input_bound(&self, model: &Model) -> u64 {
        let rounds: u64 = self.tools.iter().map(|tool| u64::from(tool.max_uses)).sum();
        len(&self.unmarked().body())
            .saturating_add(self.expansion())
            .saturating_add(self.hidden())
            .saturating_add(rounds.saturating_mul(model.context_tokens))
    }

    /// The same for what [`Self::prefix`] says: no more tokens than these are ever written to the cache, or read from it.
    #[must_use]
    pub fn prefix_bound(&self) -> u64 {
        len(&self.prefix())
            .saturating_add(self.system.iter().map(|block| gain(&block.text)).sum())
            .saturating_add(self.hidden())
    }

    /// Bytes that its texts gain where a tokenizer normalises them.
    fn expansion(&self) -> u64 {
        let system = self.system.iter().map(|block| gain(&block.text));
        let turns = self.messages.iter().flat_map(|turn| &turn.content);
        let turns = turns.map(|content| match content {
            Content::Text(block) => gain(&block.text),
            Content::Raw(value) => gain(&value.to_string()),
        });
        system.chain(turns).sum()
    }

    fn hidden(&self) -> u64 {
        let config = self.output_config.as_ref();
        let format = config.is_some_and(|config| config.format.is_some());
        if format || !self.tools.is_empty() {
            HIDDEN_TOKENS
        } else {
            0
        }
    }

    /// The size that rate limits are reckoned with: as [`MessagesRequest::input_bound`], but for each use of a tool what it
    /// usually brings in. With the bound, a call with tools would be larger than every bucket.
    #[must_use]
    pub fn usual_input(&self, model: &Model) -> u64 {
        let uses: u64 = self.tools.iter().map(|tool| u64::from(tool.max_uses)).sum();
        self.input_bound(model)
            .saturating_sub(uses.saturating_mul(model.context_tokens))
            .saturating_add(uses.saturating_mul(TOKENS_PER_USE))
    }

    /// What must be reserved before this is sent: no response to it can cost more.
    #[must_use]
    pub fn worst_case(&self, model: &Model) -> Nano {
        let marked = self
            .cache_ttl()
            .map_or(0, |ttl| model.prices.write_extra(self.prefix_bound(), ttl));
        model
            .prices
            .worst_case(self.input_bound(model), self.max_tokens, None)
            .saturating_add(marked)
            .saturating_add(self.worst_searches(model))
    }

    /// The part of it that searches may cost.
    pub(crate) fn worst_searches(&self, model: &Model) -> Nano {
        let searches: u64 = self
            .tools
            .iter()
            .filter(|tool| tool.name == "web_search")
            .map(|tool| u64::from(tool.max_uses))
            .sum();
        searches.saturating_mul(model.prices.web_search)
    }

    /// The longest time to live of the breakpoints in the request.
    #[must_use]
    pub fn cache_ttl(&self) -> Option<CacheTtl> {
        let system = self.system.iter();
        let turns = self.messages.iter().flat_map(|turn| &turn.content);
        let turns = turns.filter_map(|content| match content {
            Content::Text(block) => Some(block),
            Content::Raw(_) => None,
        });
        system
            .chain(turns)
            .filter_map(|block| block.cache_control.map(|control| control.ttl))
            .max()
    }
}

fn gain(text: &str) -> u64 {
    expanded_bytes(text).saturating_sub(len(text.as_bytes()))
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Which call of which job this is: for gateways, stand-ins and logs, never for the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace<'a> {
    pub role: Role,
    pub job: &'a str,
    pub task: Option<&'a str>,
    pub attempt: u32,
}

/// The headers that open an endpoint: the key in the one header that it reads, and what a gateway wants besides. They are
/// secrets, so whoever sends adds them. Both ways to send a key at once are refused by some endpoints, so a key is left out
/// where the operator's own headers have one.
#[must_use]
pub fn opening_headers(
    key: Option<&str>,
    bearer: bool,
    more: &[(String, String)],
) -> Vec<(String, String)> {
    let own = |name: &str| {
        more.iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
    };
    let carried = own("x-api-key") || own("authorization");
    let key = key.filter(|_| !carried).map(|key| match bearer {
        true => ("authorization".to_owned(), format!("Bearer {key}")),
        false => ("x-api-key".to_owned(), key.to_owned()),
    });
    key.into_iter().chain(more.iter().cloned()).collect()
}

/// All headers of a request but the key's.
#[must_use]
pub fn headers(trace: Option<Trace<'_>>) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("anthropic-version", API_VERSION.to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    if let Some(trace) = trace {
        headers.push(("x-fanwise-role", trace.role.as_str().to_owned()));
        headers.push(("x-fanwise-job", printable(trace.job)));
        if let Some(task) = trace.task {
            headers.push(("x-fanwise-task", printable(task)));
        }
        headers.push(("x-fanwise-attempt", trace.attempt.to_string()));
    }
    headers
}

/// A header's value may hold nothing else, whatever an id is made of.
fn printable(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_graphic)
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests;
