//! What one invocation may still write to the log. The platform keeps 256 KB of each and drops the rest without a word.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Bytes of ordinary lines: 256 KB less what warnings, errors and the last line need, and less what the platform adds.
const ORDINARY: usize = 200_000;
/// Bytes of all lines.
const ALL: usize = 240_000;
/// What the platform keeps with each line, as its time and level.
const EACH: usize = 40;

/// The lines of one invocation: those that fit are written, the others are counted by event.
#[derive(Debug, Default)]
pub struct LogBudget {
    used: usize,
    left_out: BTreeMap<String, u64>,
}

impl LogBudget {
    /// Whether this line, of so many bytes, is written.
    pub fn admit(&mut self, record: &Value, bytes: usize) -> bool {
        let urgent = matches!(
            record.get("level").and_then(Value::as_str),
            Some("warn" | "error")
        );
        let most = if urgent { ALL } else { ORDINARY };
        if self.used + bytes + EACH <= most {
            self.used += bytes + EACH;
            return true;
        }
        let event = record.get("event").and_then(Value::as_str);
        let count = self.left_out.entry(event.unwrap_or("other").to_owned());
        *count.or_default() += 1;
        false
    }

    /// The last line, where lines were left out: how many of which event.
    pub fn end(&mut self) -> Option<Value> {
        let left_out = std::mem::take(&mut self.left_out);
        (!left_out.is_empty())
            .then(|| json!({"level": "warn", "event": "log_full", "left_out": left_out}))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_do_not_fit_are_counted_and_errors_still_fit() {
        let mut budget = LogBudget::default();
        let line = json!({"event": "attempt"});
        let mut written = 0;
        for _ in 0..2_000 {
            written += usize::from(budget.admit(&line, 260));
        }
        assert_eq!(written, ORDINARY / 300);
        assert!(budget.admit(&json!({"event": "fault", "level": "error"}), 300));
        let end = budget.end().unwrap();
        assert_eq!(end["left_out"]["attempt"], 2_000 - written);
        assert!(written * 300 + 340 + end.to_string().len() < 256_000);
        assert_eq!(budget.end(), None);
    }
}
