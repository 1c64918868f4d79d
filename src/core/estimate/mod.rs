//! What a plan is expected to take: calls, tokens, dollars and time, each as a range.
//!
//! Pure arithmetic over figures that the caller has worked out from prompts, prices and the input's profile. The
//! lower end is a run in which everything goes well and texts are easy; the upper end allows for dense texts, talkative
//! answers and the faults of a bad day (one call in ten fails, one answer in fifty must be mended). Neither end is a
//! promise: the promise is the budget, which is kept by reservation, not by this. Between them stands what is likely: texts and
//! answers of usual length, and hardly a fault. Where earlier calls of the same shape are known, what they took stands in the place
//! of what is usual, and the ends come nearer to it the more of them there were.

pub mod alternatives;
pub mod forecast;
pub mod lengths;
pub mod profile;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Tokens for a byte of a prompt. Of the newest tokenizer it is said that it takes 2.5 characters of English for a token, and that a
/// million of them are 555,000 words, which is 3.2: what is usual lies between. Markup, code and figures take fewer, scripts of
/// several bytes a character more bytes.
const TOKENS_PER_BYTE: (f64, f64) = (0.24, 0.52);
const USUAL_TOKENS_PER_BYTE: f64 = 0.36;
/// What the API puts before a prompt that asks for a schema: a few hundred tokens were seen.
const FORMAT_TOKENS: (f64, f64) = (20.0, 400.0);
const USUAL_FORMAT_TOKENS: f64 = 150.0;
/// Tokens for a character of an answer, which is JSON or prose.
const TOKENS_PER_CHAR: (f64, f64) = (0.24, 0.55);
const USUAL_TOKENS_PER_CHAR: f64 = 0.36;
/// Of what a call may spend on thinking, so much is usual; and what repairs and second tries add to the usual bill.
const USUAL_THINKING: f64 = 0.2;
/// Tokens of a prompt of which half of that is usual.
const MUCH_TO_THINK_OF: f64 = 2_000.0;
/// Of many calls not each thinks for as long as one may: so much of it they may all take, the rest dwindles with their number.
const STEADY_THINKING: f64 = 0.5;
const USUAL_MORE: f64 = 1.03;
/// Calls beyond one for each task: failed ones, repairs and halves, and three more that any small job may meet.
const MORE_CALLS: f64 = 0.3;
const SPARE_CALLS: u64 = 3;
/// What answers that must be mended or asked for again add to tokens and money.
const MORE_TOKENS: f64 = 1.2;
/// Tokens that a model writes in a second, and the wait before its first, in seconds.
const TOKENS_PER_SECOND: (f64, f64) = (40.0, 300.0);
const FIRST_TOKEN: (f64, f64) = (0.1, 4.0);
/// Waits that no figure foresees: backoff, a message that comes late, a consumer that dies and is missed.
const SLACK_SECONDS: f64 = 90.0;
/// How far the tokens of a byte differ between two inputs of one kind, and how far the answers of one shape do on average: the
/// second shrinks with the number of calls that are known.
const SAME_TEXTS: (f64, f64) = (0.8, 1.25);
const SAME_ANSWERS: (f64, f64) = (1.3, 1.5);

/// From `low` to `high`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Span {
    pub low: u64,
    pub high: u64,
}

/// Dollars from `low` to `high`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Dollars)]
pub struct Dollars {
    pub low: f64,
    pub high: f64,
}

/// The expected figures of a whole plan. Answers that are in the ledger already cost nothing and are not foreseen here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Expected {
    pub calls: Span,
    pub input_tokens: Span,
    pub output_tokens: Span,
    pub cost_usd: Dollars,
    /// With texts and answers of usual length and hardly a fault; absent in what was worked out before there was such a figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likely_usd: Option<f64>,
    /// From the first call on, at the limits known when this was worked out, if no other job wants them too.
    pub seconds: Span,
    /// The number of answered calls of earlier jobs with the same shape that the figures rest on; absent if there were
    /// none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub earlier_calls: u64,
    /// Whether the account's rate limits were known for every model of the plan; where not, only the number
    /// of calls side by side bounds the time.
    pub limits_known: bool,
    pub stages: Vec<ExpectedStage>,
}

/// The part of one stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExpectedStage {
    pub stage: String,
    pub tasks: Span,
    pub calls: Span,
    pub input_tokens: Span,
    pub output_tokens: Span,
    pub cost_usd: Dollars,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likely_usd: Option<f64>,
    pub seconds: Span,
    #[serde(default, skip_serializing_if = "is_none")]
    pub earlier_calls: u64,
}

// Serde hands over a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// What a model charges, in nano-dollars per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    pub input: u64,
    pub output: u64,
    /// Of what is written to the prompt cache, and read from it.
    pub cache_write: u64,
    pub cache_read: u64,
    /// A prefix of fewer tokens is not cached.
    pub min_cacheable: u64,
    /// Of a batch, in percent of the above.
    pub batch_percent: u64,
    /// From so many tokens of input on, a whole call costs these instead: threshold, input, output.
    pub long: Option<(u64, u64, u64)>,
    /// The dearest region, in percent of the above.
    pub dearest_percent: u64,
}

impl Price {
    fn of_call(&self, input: f64, output: f64) -> f64 {
        let (of_input, of_output) = match self.long {
            Some((above, of_input, of_output)) if input > above as f64 => (of_input, of_output),
            _ => (self.input, self.output),
        };
        input * of_input as f64 + output * of_output as f64
    }
}

/// How fast calls may follow one another.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    /// Calls side by side, at least 1.
    pub concurrency: u32,
    /// Per minute, where they are known: requests, input tokens, output tokens.
    pub limits: Option<(f64, f64, f64)>,
}

/// What is usual between least and most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usual {
    pub tasks: u64,
    /// Bytes that all requests together add to what is fixed.
    pub bytes: u64,
    /// Characters of one answer.
    pub chars: u64,
}

/// What earlier calls of the same shape took: the same model, told the same in the same form, for as much input each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Learned {
    pub calls: u64,
    /// Tokens for a byte of a request.
    pub input: f64,
    /// Tokens of a call's answer, with its thinking.
    pub output: f64,
}

/// By how much an average over other calls may differ from one over so many.
pub fn margin(calls: u64) -> f64 {
    SAME_ANSWERS.0 + SAME_ANSWERS.1 / (calls.max(1) as f64).sqrt()
}

/// One stage, in figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    pub stage: String,
    /// At least and at most.
    pub tasks: (u64, u64),
    /// Bytes of a request without its items.
    pub fixed_bytes: u64,
    /// The part of them with which all requests begin alike.
    pub shared_bytes: u64,
    /// A schema is sent.
    pub format: bool,
    /// Bytes that all requests together add to that, at least and at most.
    pub item_bytes: (u64, u64),
    /// Characters of one answer, at least and at most.
    pub answer_chars: (u64, u64),
    pub usual: Usual,
    pub max_tokens: u32,
    /// Tokens that one call may spend on thinking.
    pub thinking: u32,
    pub price: Price,
    /// What checks around the stage multiply its upper end by, at least 1.
    pub more: f64,
    /// Besides tokens, for one call at most.
    pub fee_nano: u64,
    pub pace: Pace,
    pub learned: Option<Learned>,
}

impl Figures {
    /// Dollars that the prompt cache saves: at the lower end of what the stage takes, as usual, and at the upper end. What all calls
    /// share is written once, at most `writes` times, and otherwise read; at the lower end it is there already.
    pub fn saved_by_cache(&self, calls: Span, writes: u64) -> (f64, f64, f64) {
        let least = self.shared_bytes as f64 * TOKENS_PER_BYTE.0;
        if least < self.price.min_cacheable as f64 {
            return (0.0, 0.0, 0.0);
        }
        let of = |calls: u64, writes: u64, per_byte: f64| {
            let shared = self.shared_bytes as f64 * per_byte;
            let writes = writes.min(calls);
            let reads = (calls - writes) as f64;
            let price = &self.price;
            let won = reads * price.input.saturating_sub(price.cache_read) as f64;
            let lost = writes as f64 * price.cache_write.saturating_sub(price.input) as f64;
            ((won - lost) * shared / 1e9).max(0.0)
        };
        let [lowest, usual, highest] = self.per_byte();
        (
            of(calls.low, 0, lowest),
            of(self.usual.tasks, 1, usual),
            // Calls beyond one for each task read no less, but not all of them are sent in full.
            of(self.tasks.1, writes, highest),
        )
    }

    /// Tokens of a request's byte: at least, as usual, and at most.
    fn per_byte(&self) -> [f64; 3] {
        match &self.learned {
            Some(learned) => [SAME_TEXTS.0, 1.0, SAME_TEXTS.1].map(|far| learned.input * far),
            None => [TOKENS_PER_BYTE.0, USUAL_TOKENS_PER_BYTE, TOKENS_PER_BYTE.1],
        }
    }

    /// Tokens of one call of the average size, put in and taken out: at least, as usual, and at most.
    fn call(&self) -> [(f64, f64); 3] {
        let bytes = |tasks: u64, item_bytes: u64| {
            self.fixed_bytes as f64 + item_bytes as f64 / (tasks as f64).max(1.0)
        };
        let per_byte = self.per_byte();
        // What is learned of a request's bytes has the form in it.
        let format = if self.format && self.learned.is_none() {
            [FORMAT_TOKENS.0, USUAL_FORMAT_TOKENS, FORMAT_TOKENS.1]
        } else {
            [0.0; 3]
        };
        let input = [
            bytes(self.tasks.0, self.item_bytes.0) * per_byte[0] + format[0],
            bytes(self.usual.tasks, self.usual.bytes) * per_byte[1] + format[1],
            bytes(self.tasks.1, self.item_bytes.1) * per_byte[2] + format[2],
        ];
        let output = match &self.learned {
            Some(learned) => {
                let margin = margin(learned.calls);
                [
                    learned.output / margin,
                    learned.output,
                    learned.output * margin,
                ]
            }
            None => {
                let chars = |chars: u64, per_char: f64| chars as f64 * per_char;
                let thinking = f64::from(self.thinking);
                // Of little there is little to think about.
                let usual = USUAL_THINKING * input[1] / (input[1] + MUCH_TO_THINK_OF);
                let all =
                    STEADY_THINKING + (1.0 - STEADY_THINKING) / (self.tasks.1.max(1) as f64).sqrt();
                [
                    chars(self.answer_chars.0, TOKENS_PER_CHAR.0),
                    chars(self.usual.chars, USUAL_TOKENS_PER_CHAR) + thinking * usual,
                    chars(self.answer_chars.1, TOKENS_PER_CHAR.1) + thinking * all,
                ]
            }
        };
        let most = f64::from(self.max_tokens);
        [
            (input[0], output[0].min(most)),
            (input[1], output[1].min(most)),
            (input[2], output[2].min(most)),
        ]
    }

    /// What this stage takes.
    fn expected(&self) -> ExpectedStage {
        let tasks = (self.tasks.0 as f64, self.tasks.1 as f64);
        let [least, usual, most] = self.call();
        let (input, output) = ((least.0, most.0), (least.1, most.1));
        // One usual call more than their share, so that a single repair of a single call is within the range.
        let more =
            |usual: f64, most: f64| tasks.1 * MORE_TOKENS * self.more * most + usual.min(most);
        let dearest = self.price.dearest_percent as f64 / 100.0;
        let calls = Span {
            low: self.tasks.0,
            high: if self.tasks.1 == 0 {
                0
            } else {
                (tasks.1 * (self.more + MORE_CALLS)).ceil() as u64 + SPARE_CALLS
            },
        };
        let cost_usd = Dollars {
            low: dollars(tasks.0 * self.price.of_call(input.0, output.0)),
            high: dollars(
                more(
                    self.price.of_call(usual.0, usual.1),
                    self.price.of_call(most.0, most.1) + self.fee_nano as f64,
                ) * dearest,
            ),
        };
        ExpectedStage {
            stage: self.stage.clone(),
            tasks: Span {
                low: self.tasks.0,
                high: self.tasks.1,
            },
            calls,
            input_tokens: span(tasks.0 * input.0, more(usual.0, most.0)),
            output_tokens: span(tasks.0 * output.0, more(usual.1, most.1)),
            cost_usd,
            likely_usd: Some(self.likely(usual).max(cost_usd.low).min(cost_usd.high)),
            seconds: self.seconds(calls, input, output),
            earlier_calls: self.learned.map_or(0, |learned| learned.calls),
        }
    }

    /// Dollars, where all is as usual.
    fn likely(&self, call: (f64, f64)) -> f64 {
        let call = self.price.of_call(call.0, call.1);
        // Checks are for some of the results.
        let more = USUAL_MORE * f64::midpoint(1.0, self.more);
        dollars(self.usual.tasks as f64 * more * (call + self.fee_nano as f64 / 2.0))
    }

    /// The slowest of what bounds it: calls side by side, and each rate limit.
    fn seconds(&self, calls: Span, input: (f64, f64), output: (f64, f64)) -> Span {
        let side_by_side = f64::from(self.pace.concurrency.max(1));
        let waves = |calls: u64| (calls as f64 / side_by_side).ceil();
        let one = (
            FIRST_TOKEN.0 + output.0 / TOKENS_PER_SECOND.1,
            FIRST_TOKEN.1 + output.1 / TOKENS_PER_SECOND.0,
        );
        let by_rate = |calls: u64, input: f64, output: f64| {
            let Some((requests, inputs, outputs)) = self.pace.limits else {
                return 0.0;
            };
            let calls = calls as f64;
            let minutes = |used: f64, limit: f64| if limit > 0.0 { used / limit } else { 0.0 };
            60.0 * minutes(calls, requests)
                .max(minutes(calls * input, inputs))
                .max(minutes(calls * output, outputs))
        };
        // The buckets may be full at the start, which saves up to a minute's worth.
        let low = (waves(calls.low) * one.0).max(by_rate(calls.low, input.0, output.0) - 60.0);
        let high = waves(calls.high) * one.1 + by_rate(calls.high, input.1, output.1);
        let slack = if calls.high == 0 { 0.0 } else { SLACK_SECONDS };
        span(low, high + slack)
    }
}

/// Of what a cascade's model is asked, so much is usually handed on to the next one, and so much at the least may be: what fails is
/// handed on whatever the share of flagged results that may be asked for again.
const HANDED_ON: f64 = 0.2;
const FAILING: f64 = 0.1;

/// The part of a dearer model of a cascade, from what the whole stage would take of it: nothing where the model before it
/// manages everything; all of it where it manages nothing.
pub fn handed_on(whole: Figures, model: &str, share: f64) -> Figures {
    let share = share.clamp(0.0, 1.0);
    let most = |of: u64| (of as f64 * share.max(FAILING)).ceil() as u64;
    let usual = |of: u64| (of as f64 * share * HANDED_ON).ceil() as u64;
    Figures {
        stage: format!("{} ({model})", whole.stage),
        // Failed answers go on task by task, with few items each.
        tasks: (0, most(whole.tasks.1)),
        item_bytes: (0, most(whole.item_bytes.1)),
        usual: Usual {
            tasks: usual(whole.usual.tasks),
            bytes: usual(whole.usual.bytes),
            ..whole.usual
        },
        ..whole
    }
}

/// What all stages take together, one after the other.
pub fn expected(stages: &[Figures]) -> Expected {
    let mut whole = Expected {
        limits_known: stages.iter().all(|stage| stage.pace.limits.is_some()),
        ..Expected::default()
    };
    for stage in stages.iter().map(Figures::expected) {
        for (sum, part) in [
            (&mut whole.calls, stage.calls),
            (&mut whole.input_tokens, stage.input_tokens),
            (&mut whole.output_tokens, stage.output_tokens),
            (&mut whole.seconds, stage.seconds),
        ] {
            sum.low = sum.low.saturating_add(part.low);
            sum.high = sum.high.saturating_add(part.high);
        }
        whole.cost_usd.low = rounded(whole.cost_usd.low + stage.cost_usd.low);
        whole.cost_usd.high = rounded(whole.cost_usd.high + stage.cost_usd.high);
        let likely = whole.likely_usd.unwrap_or(0.0) + stage.likely_usd.unwrap_or(0.0);
        whole.likely_usd = Some(rounded(likely));
        whole.earlier_calls += stage.earlier_calls;
        whole.stages.push(stage);
    }
    whole
}

/// The same where what the calls of a stage share goes through the prompt cache: the lower end finds it there, and does
/// not wait for permits that reading it does not take. The upper end stays, for it may be that no call finds anything.
pub fn expected_cached(stages: &[Figures]) -> Expected {
    let mut whole = expected(stages);
    for (part, figures) in whole.stages.iter_mut().zip(stages) {
        let (saved, usually, _) = figures.saved_by_cache(part.calls, 1);
        if saved <= 0.0 && usually <= 0.0 {
            continue;
        }
        let low = rounded((part.cost_usd.low - saved).max(0.0));
        whole.cost_usd.low = rounded(whole.cost_usd.low - part.cost_usd.low + low);
        part.cost_usd.low = low;
        let likely = part.likely_usd.unwrap_or(0.0);
        let lower = rounded((likely - usually).max(low));
        part.likely_usd = Some(lower);
        whole.likely_usd = Some(rounded(whole.likely_usd.unwrap_or(0.0) - likely + lower));
        let waves = part
            .calls
            .low
            .div_ceil(u64::from(figures.pace.concurrency.max(1)));
        let seconds = part.seconds.low.min((waves as f64 * FIRST_TOKEN.0) as u64);
        whole.seconds.low = whole.seconds.low.saturating_sub(part.seconds.low - seconds);
        part.seconds.low = seconds;
    }
    whole
}

/// Dollars to the millionth: more digits would pretend to know more.
fn rounded(usd: f64) -> f64 {
    (usd * 1e6).round() / 1e6
}

fn dollars(nano: f64) -> f64 {
    rounded(nano / 1e9)
}

fn span(low: f64, high: f64) -> Span {
    // `as` saturates.
    Span {
        low: low.max(0.0).floor() as u64,
        high: high.max(0.0).ceil() as u64,
    }
}

/// Tokens that so many characters of an answer may take at most.
pub fn tokens_at_most(chars: u64) -> u64 {
    (chars as f64 * TOKENS_PER_CHAR.1).ceil() as u64
}

/// Tokens that so many bytes of a prompt may take at most.
pub fn prompt_tokens_at_most(bytes: u64) -> u64 {
    (bytes as f64 * TOKENS_PER_BYTE.1).ceil() as u64
}

/// Bytes that so many tokens are at the least: a text of them is read for no more than it was written.
pub fn bytes_read(tokens: u64) -> u64 {
    (tokens as f64 / TOKENS_PER_BYTE.1).ceil() as u64
}

/// Bytes that so many tokens of an answer usually are.
pub fn bytes_of(tokens: u64) -> u64 {
    (tokens as f64 / USUAL_TOKENS_PER_CHAR).ceil() as u64
}

/// Tokens that so many bytes of a prompt have at the least.
pub fn prompt_tokens_at_least(bytes: u64) -> u64 {
    (bytes as f64 * TOKENS_PER_BYTE.0).floor() as u64
}

/// Tokens that a byte of a prompt takes, as the orchestrator is told: the middle of the range.
pub fn usual_tokens_per_byte() -> f64 {
    f64::midpoint(TOKENS_PER_BYTE.0, TOKENS_PER_BYTE.1)
}

#[cfg(test)]
pub(super) mod tests;
