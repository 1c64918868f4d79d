//! Prompt caching by the API's rules: entries are written at marks only, are
//! readable once the writer's answer has begun, live five minutes or an hour
//! from their last use, and are found by exact prefix, at a mark or up to
//! twenty blocks before one. What is shorter than the model's minimum is never
//! cached and no error.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::Value;

use crate::{
    models::Usage,
    prompt::{self, Part, Ttl},
    tokens,
    validate::Checked,
};

const LOOKBACK: usize = 20;
/// Entries kept before those that have run out are swept.
const SWEEP_AT: usize = 4_096;

#[derive(Clone, Copy, Debug)]
struct Entry {
    readable_at_ms: u64,
    expires_at_ms: u64,
    ttl: Ttl,
}

/// All cached prefixes.
#[derive(Debug, Default)]
pub struct PromptCache {
    entries: HashMap<u64, Entry>,
}

/// What one call reads and writes.
#[derive(Clone, Debug, Default)]
pub struct Quote {
    pub usage: Usage,
    read: Option<u64>,
    writes: Vec<(u64, Ttl)>,
}

impl Ttl {
    fn ms(self) -> u64 {
        match self {
            Self::FiveMinutes => 5 * 60_000,
            Self::OneHour => 60 * 60_000,
        }
    }
}

impl PromptCache {
    /// What a call would read and write now. Nothing changes until its answer
    /// is certain to begin: see [`Self::commit`].
    pub fn quote(&self, request: &Checked<'_>, now_ms: u64) -> Quote {
        let prompt = &request.prompt;
        let mut quote = Quote {
            usage: Usage {
                input: prompt.tokens,
                ..Usage::default()
            },
            ..Quote::default()
        };
        if prompt.blocks.iter().all(|b| b.mark.is_none()) {
            return quote;
        }
        let prefixes = prefixes(request);
        let marks: Vec<(usize, Ttl)> = prompt
            .blocks
            .iter()
            .enumerate()
            .filter_map(|(at, b)| b.mark.map(|m| (at, m)))
            .collect();
        let read_to = marks.iter().rev().find_map(|(mark, _)| {
            (mark.saturating_sub(LOOKBACK)..=*mark).rev().find(|at| {
                let hash = prefixes.get(*at).map(|p| p.0);
                hash.and_then(|h| self.entries.get(&h))
                    .is_some_and(|e| e.readable_at_ms <= now_ms && now_ms < e.expires_at_ms)
            })
        });
        let mut usage = Usage::default();
        let mut done = 0;
        if let Some((hash, upto)) = read_to.and_then(|at| prefixes.get(at)).copied() {
            usage.read = upto;
            done = upto;
            quote.read = Some(hash);
        }
        for (mark, ttl) in marks
            .into_iter()
            .filter(|(m, _)| read_to.is_none_or(|r| *m > r))
        {
            let Some((hash, upto)) = prefixes.get(mark).copied() else {
                continue;
            };
            if upto < request.model.min_cacheable {
                continue;
            }
            match ttl {
                Ttl::FiveMinutes => usage.write_5m += upto - done,
                Ttl::OneHour => usage.write_1h += upto - done,
            }
            done = upto;
            quote.writes.push((hash, ttl));
        }
        usage.input = prompt.tokens.saturating_sub(done);
        quote.usage = usage;
        quote
    }

    /// Carries a quote out. `first_byte_ms` is when the answer begins, and with
    /// it the entries it writes become readable.
    pub fn commit(&mut self, quote: &Quote, now_ms: u64, first_byte_ms: u64) {
        // Each use starts the clock again, at the request.
        if let Some(entry) = quote.read.and_then(|hash| self.entries.get_mut(&hash)) {
            entry.expires_at_ms = now_ms + entry.ttl.ms();
        }
        for (hash, ttl) in &quote.writes {
            self.write(*hash, *ttl, now_ms, first_byte_ms);
        }
    }

    fn write(&mut self, hash: u64, ttl: Ttl, now_ms: u64, readable_at_ms: u64) {
        if self.entries.len() >= SWEEP_AT {
            self.entries.retain(|_, e| e.expires_at_ms > now_ms);
        }
        let fresh = Entry {
            readable_at_ms,
            expires_at_ms: now_ms + ttl.ms(),
            ttl,
        };
        let entry = self.entries.entry(hash).or_insert(fresh);
        // Of several writers at once, the first answer to begin opens the entry;
        // one that has run out starts afresh.
        if entry.expires_at_ms <= now_ms {
            *entry = fresh;
        } else {
            entry.readable_at_ms = entry.readable_at_ms.min(readable_at_ms);
            entry.expires_at_ms = fresh.expires_at_ms.max(entry.expires_at_ms);
        }
    }
}

/// Per block: the hash of the prefix that ends with it, and its tokens so far.
fn prefixes(request: &Checked<'_>) -> Vec<(u64, u64)> {
    let mut state = DefaultHasher::new();
    request.model.id.hash(&mut state);
    request
        .body
        .get("speed")
        .map(Value::to_string)
        .hash(&mut state);
    let mut in_messages = false;
    let mut raw = 0;
    let mut out = Vec::with_capacity(request.prompt.blocks.len());
    for block in &request.prompt.blocks {
        if block.part == Part::Messages && !in_messages {
            in_messages = true;
            // These leave tools and system cached, and nothing after them.
            request.effort.hash(&mut state);
            for key in ["thinking", "tool_choice"] {
                request.body.get(key).map(Value::to_string).hash(&mut state);
            }
        }
        prompt::mix_block(&mut state, block);
        raw += block.tokens;
        out.push((state.finish(), tokens::for_model(raw, request.model)));
    }
    out
}
