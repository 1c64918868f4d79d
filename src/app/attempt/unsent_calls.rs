//! How much had been admitted when a call went out: what its head says is left is read against that.
//!
//! A claim admits several calls at once. They go out in the order in which what they ask has been read, from a row or a
//! blob, so one may go long before another that was claimed before it; and what the API says is left of a bucket knows nothing
//! of a call that has not gone. So what counts as admitted with a call is all that was by its claim, less the calls that
//! still wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests and input tokens that a class has admitted so far.
pub type Total = [f64; 2];

/// The calls of a consumer that were admitted and have not gone out.
#[derive(Debug, Clone, Default)]
pub struct Places(Arc<Mutex<Vec<Due>>>);

#[derive(Debug, Clone, PartialEq)]
struct Due {
    attempt: i64,
    class: String,
    input: f64,
    by_claim: Total,
}

impl Places {
    /// A call that was admitted, with the input tokens reserved for it, and all that its class had admitted by then.
    pub fn take(&self, attempt: i64, class: &str, input: f64, by_claim: Total) -> Place {
        let due = Due {
            attempt,
            class: class.to_owned(),
            input,
            by_claim,
        };
        self.due().push(due.clone());
        Place {
            all: self.clone(),
            due,
        }
    }

    fn due(&self) -> MutexGuard<'_, Vec<Due>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call's place among those that have not gone out. Whoever drops it does not go.
#[derive(Debug)]
pub struct Place {
    all: Places,
    due: Due,
}

impl Place {
    /// The call goes out now: what was admitted up to and with it.
    pub fn go(self) -> Total {
        let own = &self.due;
        let [requests, input] = own.by_claim;
        let all = self.all.due();
        let waiting = all.iter().filter(|other| {
            // Those of later claims are not in its sum.
            other.attempt != own.attempt
                && other.class == own.class
                && other.by_claim[0] <= requests
        });
        waiting.fold([requests, input], |[requests, input], other| {
            [requests - 1.0, input - other.input]
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all
            .due()
            .retain(|other| other.attempt != self.due.attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_gone_is_not_counted_whatever_order_calls_go_in() {
        let places = Places::default();
        let by_claim = [13.0, 1_300.0];
        let [first, second, third] =
            [1, 2, 3].map(|attempt| places.take(attempt, "haiku", 100.0, by_claim));
        let other = places.take(4, "opus", 50.0, [1.0, 50.0]);
        // The last one goes first: neither of the others is part of what its head tells of.
        assert_eq!(third.go(), [11.0, 1_100.0]);
        let later = places.take(5, "haiku", 40.0, [14.0, 1_340.0]);
        assert_eq!(first.go(), [12.0, 1_200.0]);
        // One that is given back never goes; its permits stay admitted.
        drop(second);
        assert_eq!(later.go(), [14.0, 1_340.0]);
        assert_eq!(other.go(), [1.0, 50.0]);
    }
}
