//! Where a job's time goes, from outside: when it was handed in, when the stand-in saw its first and last calls, and when the job
//! says that it was over.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use serde_json::Value;

/// In seconds, one after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phases {
    pub to_first_call: f64,
    /// From the first call for an item to the end of the last one.
    pub items: f64,
    pub to_synthesis: f64,
    pub synthesis: f64,
    pub to_end: f64,
}

impl Phases {
    /// From the stand-in's counters and the job as it ended.
    pub fn of(submitted_ms: u64, stats: &Value, job: &Value) -> Result<Phases> {
        let span = |role: &str, name: &str| {
            stats
                .pointer(&format!("/calls/spans/{role}/{name}"))
                .and_then(Value::as_u64)
                .ok_or_else(|| anyhow!("the stand-in saw no {name} of role {role}"))
        };
        let finished = job
            .get("finished_at")
            .and_then(Value::as_str)
            .and_then(unix_ms)
            .ok_or_else(|| anyhow!("the job does not say when it ended: {job}"))?;
        let seconds = |from: u64, to: u64| (to as f64 - from as f64) / 1_000.0;
        let (first, last) = (span("worker", "first_ms")?, span("worker", "ended_ms")?);
        let (asked, answered) = (
            span("synthesis", "first_ms")?,
            span("synthesis", "ended_ms")?,
        );
        Ok(Phases {
            to_first_call: seconds(submitted_ms, first),
            items: seconds(first, last),
            to_synthesis: seconds(last, asked),
            synthesis: seconds(asked, answered),
            to_end: seconds(answered, finished),
        })
    }

    pub fn whole(&self) -> Duration {
        let sum =
            self.to_first_call + self.items + self.to_synthesis + self.synthesis + self.to_end;
        Duration::from_secs_f64(sum.max(0.0))
    }
}

pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn unix_ms(text: &str) -> Option<u64> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(time.timestamp_millis()).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_phases_are_the_whole() {
        let stats = json!({"calls": {"spans": {
            "worker": {"first_ms": 1_300, "last_ms": 5_000, "ended_ms": 5_200},
            "synthesis": {"first_ms": 5_400, "last_ms": 5_400, "ended_ms": 5_600},
        }}});
        let job = json!({"finished_at": "1970-01-01T00:00:05.700Z"});
        let phases = Phases::of(1_000, &stats, &job).unwrap();
        assert_eq!(phases.whole(), Duration::from_millis(4_700));
        assert!((phases.items - 3.9).abs() < 1e-9);
        assert!(Phases::of(1_000, &json!({}), &job).is_err());
    }
}
