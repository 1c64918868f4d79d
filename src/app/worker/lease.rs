//! The consumer's lease, and what its invocation may still do: its time, its statements, the way to the database.
//!
//! A crash is noticed after `LEASE_MS` and `WATCH_MS` and the delay of a message: 36 + 20 + 2 = 58 s at most. An outage of
//! the database may last longer without a loss: see [`crate::app::job::sweep`].

/// A call begins if it was heard within this (and a round trip) that its task is still to be done.
const HEARD_MS: i64 = 500;
/// The platform ends an invocation after 900 s. Later than this no consumer waits for the database any more.
const LAST_MS: i64 = 840_000;
/// A consumer that holds nothing waits this long for a database that does not answer.
const IDLE_AWAY_MS: i64 = 20_000;
/// New figures count for this share of an average.
const SHARE: f64 = 0.3;

/// A running average in milliseconds; zero before the first.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Average(f64);

impl Average {
    pub fn add(&mut self, ms: i64) {
        let ms = (ms as f64).max(1.0);
        self.0 = if self.0 > 0.0 {
            self.0 + (ms - self.0) * SHARE
        } else {
            ms
        };
    }

    /// The average, or what is assumed before anything was measured.
    pub fn or(&self, unknown: f64) -> f64 {
        if self.0 > 0.0 { self.0 } else { unknown }
    }
}

/// A lease and the budget of its invocation.
pub(super) struct Lease {
    pub id: String,
    pub begun: i64,
    pub renewed: i64,
    /// When it was last heard that the calls in line are still wanted.
    pub heard: i64,
    /// Statements sent to the database: by the worse reading each counts towards the 1,000 of an invocation.
    pub queries: u32,
    /// One round trip to the database.
    pub trip: Average,
}

impl Lease {
    pub fn new(id: String, now: i64) -> Lease {
        Lease {
            id,
            begun: now,
            renewed: now,
            heard: now,
            queries: 0,
            trip: Average::default(),
        }
    }

    pub fn count(&mut self, statements: usize) {
        let statements = u32::try_from(statements).unwrap_or(u32::MAX);
        self.queries = self.queries.saturating_add(statements);
    }

    /// How long until the lease must be renewed.
    pub fn renew_in(&self, now: i64, lease_ms: u64) -> u64 {
        let since = u64::try_from(now - self.renewed).unwrap_or(0);
        (lease_ms / 4).saturating_sub(since)
    }

    /// What is known of the calls in line is as old as the way back of its answer and no older.
    pub fn is_fresh(&self, now: i64) -> bool {
        now - self.heard <= HEARD_MS + self.trip.or(0.0) as i64
    }

    /// The database does not answer since then: whether it is worth to wait for it.
    pub fn may_wait(&self, now: i64, since: i64, holds: bool) -> bool {
        let until = if holds {
            self.begun + LAST_MS
        } else {
            since + IDLE_AWAY_MS
        };
        now < until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_waited_for_while_there_is_something_to_lose() {
        let lease = Lease::new("lease".into(), 0);
        assert!(lease.may_wait(61_000, 1_000, true));
        assert!(!lease.may_wait(61_000, 1_000, false));
        assert!(!lease.may_wait(LAST_MS, LAST_MS - 1_000, true));
    }

    #[test]
    fn an_answer_from_far_away_is_fresh_when_it_comes() {
        let mut lease = Lease::new("lease".into(), 0);
        lease.trip.add(600);
        lease.heard = 600;
        assert!(lease.is_fresh(1_600));
        assert!(!lease.is_fresh(1_800));
    }
}
