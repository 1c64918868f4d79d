//! What a job has cost, what it has not, and what it used, in words: as `show`, `run` and `watch` say it.

use fanwise::app::view::{Cost, Usage};

use crate::terminal::output::{number, plural, usd};

/// What was saved, each way in its words. What was written into the prompt cache costs more than it saves until it is read.
pub fn saved(cost: &Cost) -> Vec<String> {
    let mut parts = Vec::new();
    if cost.saved_usd > 0.0 {
        parts.push(format!("{} saved by reuse", usd(cost.saved_usd)));
    }
    parts.extend(by_cache(cost));
    parts
}

/// The prompt cache's part of it.
pub fn by_cache(cost: &Cost) -> Option<String> {
    let dollars = cost.cache_saved_usd;
    // Less than the last place that is shown is nothing yet.
    if dollars.abs() < 0.000_05 {
        return None;
    }
    Some(match dollars > 0.0 {
        true => format!("{} saved by the prompt cache", usd(dollars)),
        false => format!("{} put into the prompt cache", usd(-dollars)),
    })
}

/// All that was spent and is held, and what was saved.
pub fn whole(cost: &Cost) -> String {
    let mut text = usd(cost.spent_usd);
    if let Some(limit) = cost.limit_usd {
        text.push_str(&format!(" of {}", usd(limit)));
    }
    if let Some(likely) = cost.likely_usd {
        text.push_str(&format!(", likely {} in the end", usd(likely)));
    }
    let held = [
        ("reserved", cost.reserved_usd),
        ("possibly paid", cost.possibly_paid_usd),
    ];
    let held = held.iter().filter(|(_, dollars)| *dollars > 0.0);
    let held = held.map(|(what, dollars)| format!("{} {what}", usd(*dollars)));
    for part in held.chain(saved(cost)) {
        text.push_str(&format!(", {part}"));
    }
    text
}

/// Calls and tokens; what came from the prompt cache and went into it is input too.
pub fn used(usage: &Usage) -> String {
    let (read, written) = (
        usage.cache_read_input_tokens,
        usage.cache_creation_input_tokens,
    );
    let cache = match (read, written) {
        (0, 0) => String::new(),
        _ => format!(
            " ({} read from the prompt cache, {} written to it)",
            number(read),
            number(written)
        ),
    };
    format!(
        "{}, {} tokens in{cache}, {} out",
        plural(usage.calls, "call"),
        number(usage.input_tokens + read + written),
        number(usage.output_tokens)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_told_with_what_was_held_and_saved() {
        let cost = Cost {
            spent_usd: 0.42,
            reserved_usd: 0.03,
            limit_usd: Some(5.0),
            saved_usd: 0.2,
            cache_saved_usd: 1.5,
            ..Cost::default()
        };
        assert_eq!(
            whole(&cost),
            "$0.42 of $5.00, $0.03 reserved, $0.20 saved by reuse, $1.50 saved by the prompt cache"
        );
        assert_eq!(whole(&Cost::default()), "$0.00");
    }

    #[test]
    fn what_the_cache_has_cost_so_far_is_no_saving() {
        let cost = |cache_saved_usd| Cost {
            cache_saved_usd,
            ..Cost::default()
        };
        let said = by_cache(&cost(-0.0021));
        assert_eq!(said.as_deref(), Some("$0.0021 put into the prompt cache"));
        assert_eq!(by_cache(&cost(0.000_04)), None);
        assert_eq!(by_cache(&cost(0.0)), None);
    }

    #[test]
    fn tokens_of_the_cache_are_input_too() {
        let usage = Usage {
            calls: 3,
            input_tokens: 100,
            output_tokens: 7,
            cache_read_input_tokens: 2_000,
            cache_creation_input_tokens: 1_000,
        };
        assert_eq!(
            used(&usage),
            "3 calls, 3,100 tokens in (2,000 read from the prompt cache, 1,000 written to it), 7 out"
        );
        let plain = Usage {
            cache_read_input_tokens: 0,
            cache_creation_input_tokens: 0,
            ..usage
        };
        assert_eq!(used(&plain), "3 calls, 100 tokens in, 7 out");
    }
}
