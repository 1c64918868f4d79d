//! What has ended and is not written yet, and when it should be.

use super::lease::Average;
use crate::app::attempt::Resolved;
use crate::app::attempt::step::HeadNote;

/// Texts of one settle go in as bound values of at most 2 MB each; what does not fit goes with the next.
const SETTLE_BYTES: usize = 800_000;
/// A call that has ended waits for others: a fiftieth of a call's time costs 2 % at most.
const GATHER_SHARE: f64 = 50.0;
const MOST_GATHER_MS: f64 = 250.0;
/// A consumer that takes nothing more spares its statements, but frees its places for others in time.
const MOST_DRAIN_MS: u64 = 1_000;
/// Statements of one settle without a look, about.
pub(super) const SETTLE_STATEMENTS: u32 = 11;

/// Ends and heads of calls, in order.
#[derive(Default)]
pub(super) struct Gather {
    pub ended: Vec<Resolved>,
    pub heads: Vec<HeadNote>,
    /// When the oldest of `ended` ended.
    since: i64,
    /// How long a call lasts.
    pub call: Average,
}

impl Gather {
    pub fn push(&mut self, one: Resolved, now: i64) {
        if self.ended.is_empty() {
            self.since = now;
        }
        self.ended.push(one);
    }

    /// As much as one transaction may hold.
    pub fn take(&mut self, now: i64) -> (Vec<Resolved>, Vec<HeadNote>) {
        let mut bytes = 0;
        let fits = self.ended.iter().take_while(|one| {
            bytes += one.bytes();
            bytes <= SETTLE_BYTES
        });
        let fits = fits.count().max(1).min(self.ended.len());
        let rest = self.ended.split_off(fits);
        self.since = now;
        (
            std::mem::replace(&mut self.ended, rest),
            std::mem::take(&mut self.heads),
        )
    }

    /// What could not be written is first in line again.
    pub fn put_back(&mut self, ended: Vec<Resolved>, heads: Vec<HeadNote>) {
        self.ended.splice(0..0, ended);
        self.heads.splice(0..0, heads);
    }

    /// How long a call that has ended waits for others.
    pub fn wait_ms(&self, least: u64) -> u64 {
        let share = self.call.or(0.0) / GATHER_SHARE;
        least.max(share.min(MOST_GATHER_MS) as u64)
    }

    /// The same on the way out, with `calls` under way and so many statements left.
    pub fn drain_ms(&self, least: u64, calls: usize, left: u32) -> u64 {
        let settles = (left / SETTLE_STATEMENTS).max(1);
        let wait = self.wait_ms(least);
        if u32::try_from(calls).unwrap_or(u32::MAX) <= settles {
            return wait;
        }
        let spread = self.call.or(1_000.0) / f64::from(settles);
        wait.max((spread as u64).min(MOST_DRAIN_MS))
    }

    pub fn waits_since(&self) -> i64 {
        self.since
    }
}
