//! The catalogue of models: limits, thinking modes and prices.
//!
//! The data is `models.json`, dated and compiled in; configuration lays a JSON merge patch
//! (RFC 7396) over it, so that a new model or price needs no new build. Money is counted in
//! integer nano-dollars: a dollar per million tokens is 1,000 of them per token, and the cheapest
//! token there is (a cached one of Haiku 5.5) costs 10.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::claude::request::{CacheTtl, Effort, Thinking};
use crate::claude::response::Usage;
use crate::core::admission::cache::TokenPrice;

/// Billionths of a dollar. A `u64` holds 18 thousand million dollars of them.
pub type Nano = u64;

const BUILT_IN: &str = include_str!("models.json");

/// All models we know how to call.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    /// The day the compiled-in data was taken.
    pub as_of: String,
    models: BTreeMap<String, Model>,
    aliases: BTreeMap<String, String>,
}

/// The row for every name that has none of its own: an endpoint may have more models than anyone would list.
pub const ANY: &str = "*";
/// A name that a row stands for goes into requests, rows and headers.
const LONGEST_NAME: usize = 128;

/// The file's form. Unknown fields are refused: a misspelt price must not pass for a free one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    as_of: String,
    aliases: BTreeMap<String, String>,
    models: BTreeMap<String, Value>,
}

impl Catalogue {
    /// The compiled-in data, with a merge patch from configuration laid over it: `null` removes,
    /// objects merge, everything else replaces.
    ///
    /// # Errors
    /// When the patch is no JSON object or the outcome is no catalogue; the text says where.
    pub fn load(patch: Option<&str>) -> Result<Self, CatalogueError> {
        let mut data: Value = serde_json::from_str(BUILT_IN).map_err(CatalogueError::new)?;
        if let Some(patch) = patch {
            let patch: Value = serde_json::from_str(patch).map_err(CatalogueError::new)?;
            if !patch.is_object() {
                return Err(CatalogueError("it must be a JSON object".to_owned()));
            }
            merge(&mut data, patch);
        }
        let file = File::deserialize(data).map_err(CatalogueError::new)?;
        let mut models = BTreeMap::new();
        let mut faults = Vec::new();
        for (id, row) in file.models {
            match Model::of_row(&id, row) {
                Ok(model) => {
                    models.insert(id, model);
                }
                Err(fault) => faults.push(format!("model `{id}`: {fault}")),
            }
        }
        for (alias, target) in &file.aliases {
            let wrong = faults.iter().any(|fault| fault.contains(target.as_str()));
            if !models.contains_key(target) && !wrong {
                faults.push(format!(
                    "alias `{alias}` points to `{target}`, which is no model"
                ));
            }
        }
        if !faults.is_empty() {
            return Err(CatalogueError(faults.join("; ")));
        }
        Ok(Self {
            as_of: file.as_of,
            models,
            aliases: file.aliases,
        })
    }

    /// The model of an id or alias.
    ///
    /// # Errors
    /// When there is none; the error names those there are.
    pub fn resolve(&self, name: &str) -> Result<Cow<'_, Model>, UnknownModel> {
        if let Some(model) = self.listed(name) {
            return Ok(Cow::Borrowed(model));
        }
        let sound = !name.is_empty()
            && name.len() <= LONGEST_NAME
            && name.bytes().all(|byte| byte.is_ascii_graphic());
        match self.models.get(ANY).filter(|_| sound) {
            Some(any) => Ok(Cow::Owned(any.named(name))),
            None => Err(UnknownModel {
                name: name.chars().take(64).collect(),
                known: self.models.keys().cloned().collect(),
            }),
        }
    }

    /// The model of an id or alias that has a row of its own.
    #[must_use]
    pub fn listed(&self, name: &str) -> Option<&Model> {
        let id = self.aliases.get(name).map_or(name, String::as_str);
        self.models.get(id).filter(|_| id != ANY)
    }

    /// All models with rows of their own, by id.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.models.values().filter(|model| model.id != ANY)
    }

    /// Which of these names are no models, each with what is wrong with it.
    #[must_use]
    pub fn unknown<'n>(&self, names: &[(&'n str, &str)]) -> Vec<(&'n str, String)> {
        let wrong = |(of, name): &(&'n str, &str)| {
            let unknown = self.resolve(name).err()?;
            Some((*of, unknown.to_string()))
        };
        names.iter().filter_map(wrong).collect()
    }
}

/// Configuration that makes no catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model catalogue cannot be read: {0}")]
pub struct CatalogueError(String);

impl CatalogueError {
    fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// A model name nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown model `{name}`; known are {}", known.join(", "))]
pub struct UnknownModel {
    pub name: String,
    pub known: Vec<String>,
}

/// JSON merge patch, RFC 7396. The depth is bounded by the parser's own limit of 128.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(target) = target.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// One model, as far as a caller must know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What the API calls it; the key in the file.
    pub id: String,
    /// Models of one class share the account's rate limits.
    pub class: String,
    pub context_tokens: u64,
    pub max_output_tokens: u32,
    /// A shorter prefix is never cached, without an error.
    pub min_cacheable_tokens: u64,
    pub thinking: ThinkingModes,
    /// Efforts the model takes, lowest first; empty where it has no such parameter.
    pub efforts: Vec<Effort>,
    pub default_effort: Option<Effort>,
    pub structured_outputs: bool,
    pub prices: Prices,
    /// What a reader of the file should know.
    pub note: Option<String>,
}

/// A model as the file has it. What is left out is what a model has that is known by nothing but its sizes and price.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// The family, for readers.
    #[serde(default, rename = "line")]
    _line: Option<String>,
    /// Left out: the model's own.
    #[serde(default)]
    class: Option<String>,
    context_tokens: u64,
    max_output_tokens: u32,
    #[serde(default = "usual_minimum")]
    min_cacheable_tokens: u64,
    #[serde(default)]
    thinking: ThinkingModes,
    #[serde(default)]
    efforts: Vec<Effort>,
    #[serde(default)]
    default_effort: Option<Effort>,
    /// An endpoint that ignores or refuses formats is found out.
    #[serde(default = "yes")]
    structured_outputs: bool,
    /// Nano-dollars per token.
    #[serde(default)]
    prices: Option<Prices>,
    /// The same as people write them; it wins.
    #[serde(default)]
    usd_per_mtok: Option<Usd>,
    #[serde(default)]
    note: Option<String>,
}

fn usual_minimum() -> u64 {
    1_024
}

fn yes() -> bool {
    true
}

/// Dollars per million tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Usd {
    input: f64,
    output: f64,
    #[serde(default)]
    cache_write_5m: Option<f64>,
    #[serde(default)]
    cache_write_1h: Option<f64>,
    #[serde(default)]
    cache_read: Option<f64>,
    #[serde(default = "whole")]
    batch_percent: u64,
    #[serde(default = "whole")]
    us_percent: u64,
    /// Dollars for a thousand searches.
    #[serde(default)]
    web_searches: Option<f64>,
}

fn whole() -> u64 {
    100
}

/// Dollars for a thousand searches, as Claude's API takes them.
const USUAL_SEARCHES: f64 = 10.0;
/// More than any token costs: such a price is one in another unit.
const MOST_USD: f64 = 100_000.0;

impl Usd {
    /// Rounded up to whole nano-dollars per token. A cache write that is left out costs what it costs at Claude, a read as
    /// much as plain input.
    fn prices(&self) -> Result<Prices, String> {
        let nano = |field: &str, usd: f64| {
            if usd.is_finite() && (0.0..=MOST_USD).contains(&usd) {
                Ok((usd * 1_000.0 - 1e-6).ceil().max(0.0) as Nano)
            } else {
                Err(format!("usd_per_mtok.{field}: {usd} is no price"))
            }
        };
        let or = |given: Option<f64>, factor: f64| given.unwrap_or(self.input * factor);
        Ok(Prices {
            standard: Rates {
                input: nano("input", self.input)?,
                output: nano("output", self.output)?,
                cache_write_5m: nano("cache_write_5m", or(self.cache_write_5m, 1.25))?,
                cache_write_1h: nano("cache_write_1h", or(self.cache_write_1h, 2.0))?,
                cache_read: nano("cache_read", or(self.cache_read, 1.0))?,
            },
            long_prompt: None,
            batch_percent: self.batch_percent,
            us_percent: self.us_percent,
            // A thousand of them, so a thousandth of a dollar is a million nano-dollars each.
            web_search: nano("web_searches", self.web_searches.unwrap_or(USUAL_SEARCHES))?
                .saturating_mul(1_000),
        })
    }
}

/// Which modes a model takes, and the one it has when a request names none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThinkingModes {
    pub default: ThinkingMode,
    pub modes: Vec<ThinkingMode>,
}

/// Requests name none.
impl Default for ThinkingModes {
    fn default() -> Self {
        ThinkingModes {
            default: ThinkingMode::Disabled,
            modes: vec![ThinkingMode::Disabled],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingMode {
    Adaptive,
    BetweenTools,
    Disabled,
}

/// The two fields of a request that say how much a model should think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deliberation {
    pub thinking: Option<Thinking>,
    pub effort: Option<Effort>,
}

impl Model {
    fn of_row(id: &str, row: Value) -> Result<Model, String> {
        let row = Row::deserialize(row).map_err(|error| error.to_string())?;
        let prices = match (row.usd_per_mtok, row.prices) {
            (Some(usd), _) => usd.prices()?,
            (None, Some(prices)) => prices,
            (None, None) => return Err("missing field `usd_per_mtok`".to_owned()),
        };
        let model = Model {
            id: id.to_owned(),
            class: row.class.unwrap_or_else(|| id.to_owned()),
            context_tokens: row.context_tokens,
            max_output_tokens: row.max_output_tokens,
            min_cacheable_tokens: row.min_cacheable_tokens,
            thinking: row.thinking,
            efforts: row.efforts,
            default_effort: row.default_effort,
            structured_outputs: row.structured_outputs,
            prices,
            note: row.note,
        };
        model.check()?;
        Ok(model)
    }

    /// The row of [`ANY`] for that model. Without a class of its own it has the model's.
    fn named(&self, id: &str) -> Model {
        let class = if self.class == ANY { id } else { &self.class };
        Model {
            id: id.to_owned(),
            class: class.to_owned(),
            ..self.clone()
        }
    }

    fn check(&self) -> Result<(), String> {
        let fault = |text: &str| Err(text.to_owned());
        if self.max_output_tokens == 0 || self.context_tokens == 0 {
            return fault("its limits must be above 0");
        }
        if !self.thinking.modes.contains(&self.thinking.default) {
            return fault("its default thinking mode is not among its modes");
        }
        if self
            .default_effort
            .is_some_and(|effort| !self.efforts.contains(&effort))
        {
            return fault("its default effort is not among its efforts");
        }
        Ok(())
    }

    /// How to ask for plain work on data (extraction, classification): as little thinking as the
    /// model allows, because thinking costs output tokens and eats into `max_tokens`.
    ///
    /// Asking for more than low effort is asking for thought: then the model's own mode stays, and
    /// the effort alone steers it. Efforts a model does not have become the nearest it has.
    #[must_use]
    pub fn plain_work(&self, effort: Option<Effort>) -> Deliberation {
        let effort = self.nearest(effort.unwrap_or(Effort::Low));
        if effort.is_some_and(|effort| effort > Effort::Low) {
            return Deliberation {
                thinking: None,
                effort,
            };
        }
        let least = [
            (ThinkingMode::Disabled, Thinking::Disabled),
            (ThinkingMode::BetweenTools, Thinking::BetweenTools),
        ]
        .into_iter()
        .find(|(mode, _)| self.thinking.modes.contains(mode));
        let thinking = least
            .filter(|(mode, _)| *mode != self.thinking.default)
            .map(|(_, thinking)| thinking);
        Deliberation { thinking, effort }
    }

    /// How to ask for judgement (planning, synthesis): as the model's makers set it, unless the
    /// caller names an effort.
    #[must_use]
    pub fn judgement(&self, effort: Option<Effort>) -> Deliberation {
        Deliberation {
            thinking: None,
            effort: effort.and_then(|effort| self.nearest(effort)),
        }
    }

    /// The highest effort the model has that is not above the one asked for, else its lowest.
    fn nearest(&self, effort: Effort) -> Option<Effort> {
        let below = self.efforts.iter().filter(|known| **known <= effort).max();
        below.or_else(|| self.efforts.iter().min()).copied()
    }
}

/// Nano-dollars per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    pub input: Nano,
    pub output: Nano,
    pub cache_write_5m: Nano,
    pub cache_write_1h: Nano,
    pub cache_read: Nano,
}

/// What a model costs in every case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub standard: Rates,
    #[serde(default)]
    pub long_prompt: Option<LongPrompt>,
    /// What a batch costs, in percent of the above.
    pub batch_percent: u64,
    /// What a call that ran in the US region costs, in percent of the above.
    pub us_percent: u64,
    /// One web search, in nano-dollars.
    pub web_search: Nano,
}

/// Other rates for the whole request once its input exceeds so many tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongPrompt {
    pub above_tokens: u64,
    pub rates: Rates,
}

impl Prices {
    /// What a call cost, from what it used. Rounded up to a whole nano-dollar.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Nano {
        let rates = self.rates(usage.total_input());
        let hour = usage
            .cache_creation
            .ephemeral_1h_input_tokens
            .min(usage.cache_creation_input_tokens);
        // What is not said to be kept for an hour is kept for five minutes, the default.
        let five_minutes = usage.cache_creation_input_tokens - hour;
        let mut tokens = [
            times(usage.input_tokens, rates.input),
            times(five_minutes, rates.cache_write_5m),
            times(hour, rates.cache_write_1h),
            times(usage.cache_read_input_tokens, rates.cache_read),
            times(usage.output_tokens, rates.output),
        ]
        .into_iter()
        .fold(0, u128::saturating_add);
        if usage.service_tier.as_deref() == Some("batch") {
            tokens = percent(tokens, self.batch_percent);
        }
        if usage.inference_geo.as_deref() == Some("us") {
            tokens = percent(tokens, self.us_percent);
        }
        let searches = times(usage.server_tool_use.web_search_requests, self.web_search);
        saturate(tokens.saturating_add(searches))
    }

    /// The most a call can cost: every byte of input a token, at the dearest rate that can apply,
    /// and `max_tokens` of output. Whatever the response reports within those counts, its
    /// [`Prices::cost`] is no higher.
    ///
    /// `ttl` is the time to live of the cache breakpoints in the request, if any: writing costs
    /// more than plain input. The region's surcharge is always in, since a workspace may set it
    /// without the request saying so.
    #[must_use]
    pub fn worst_case(&self, input_bound: u64, max_tokens: u32, ttl: Option<CacheTtl>) -> Nano {
        let most = |rates: &Rates| {
            let input = match ttl {
                None => rates.input,
                Some(CacheTtl::FiveMinutes) => rates.input.max(rates.cache_write_5m),
                Some(CacheTtl::OneHour) => rates
                    .input
                    .max(rates.cache_write_5m)
                    .max(rates.cache_write_1h),
            };
            // A read is a discount in every table so far; it need not be in one from configuration.
            times(input_bound, input.max(rates.cache_read))
                .saturating_add(times(u64::from(max_tokens), rates.output))
        };
        let long = self
            .long_prompt
            .filter(|long| input_bound > long.above_tokens)
            .map_or(0, |long| most(&long.rates));
        let tokens = most(&self.standard).max(long);
        saturate(tokens.max(percent(tokens, self.us_percent)))
    }

    /// By how much [`Prices::worst_case`] is less, at the least, with so many fewer tokens of output.
    #[must_use]
    pub fn least_saved(&self, tokens: u32) -> Nano {
        let long = self.long_prompt.map_or(u64::MAX, |long| long.rates.output);
        saturate(times(u64::from(tokens), self.standard.output.min(long)))
    }

    /// What a breakpoint adds to [`Prices::worst_case`] without one: each token before it may be written, at more than the
    /// price of plain input. `prefix_bound` tokens are before it at most.
    #[must_use]
    pub fn write_extra(&self, prefix_bound: u64, ttl: CacheTtl) -> Nano {
        let most = |rates: &Rates| {
            let write = match ttl {
                CacheTtl::FiveMinutes => rates.cache_write_5m,
                CacheTtl::OneHour => rates.cache_write_5m.max(rates.cache_write_1h),
            };
            times(prefix_bound, write.saturating_sub(rates.input))
        };
        let long = self.long_prompt.map_or(0, |long| most(&long.rates));
        let tokens = most(&self.standard).max(long);
        saturate(tokens.max(percent(tokens, self.us_percent)))
    }

    /// What a token of a shared prefix costs; in a long prompt all of it is dearer alike.
    #[must_use]
    pub fn prefix(&self) -> TokenPrice {
        TokenPrice {
            plain: self.standard.input,
            write_5m: self.standard.cache_write_5m,
            write_1h: self.standard.cache_write_1h,
            read: self.standard.cache_read,
        }
    }

    /// What the cache saved in a call: its cost, had all its input been plain, less its cost. Below zero for one that wrote.
    #[must_use]
    pub fn cache_saved(&self, usage: &Usage) -> i64 {
        let plain = Usage {
            input_tokens: usage.total_input(),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: 0,
            ..usage.clone()
        };
        let nano = |usage| i64::try_from(self.cost(usage)).unwrap_or(i64::MAX);
        nano(&plain).saturating_sub(nano(usage))
    }

    fn rates(&self, total_input: u64) -> &Rates {
        match &self.long_prompt {
            Some(long) if total_input > long.above_tokens => &long.rates,
            _ => &self.standard,
        }
    }
}

fn times(tokens: u64, rate: Nano) -> u128 {
    u128::from(tokens) * u128::from(rate)
}

/// Rounded up, so that no fraction of a nano-dollar is ever lost to us.
fn percent(amount: u128, percent: u64) -> u128 {
    amount.saturating_mul(u128::from(percent)).div_ceil(100)
}

fn saturate(amount: u128) -> Nano {
    Nano::try_from(amount).unwrap_or(Nano::MAX)
}

#[cfg(test)]
mod tests;
