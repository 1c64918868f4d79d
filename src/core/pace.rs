//! How many tasks a consumer claims before it has places for them.
//!
//! Between the end of one call and the beginning of the next stand two transactions. Where a call takes a fraction of a second that
//! is a good part of it, and the place stands empty meanwhile. So a consumer claims a few tasks more than it may call for, as many as
//! end during such a turn, and the next call begins in the moment in which one ends. Where calls take many seconds that is none at all:
//! a task that is claimed holds money and permits, and a crash makes it look like a call whose end nobody saw.

/// New figures count for so much.
const SHARE: f64 = 0.2;

/// Running averages, in milliseconds; zero before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    call_ms: f64,
    turn_ms: f64,
}

impl Pace {
    /// A call has ended after so long.
    pub fn call(&mut self, ms: u64) {
        average(&mut self.call_ms, ms);
    }

    /// From what had ended to calls that could begin in its place, the transactions took so long.
    pub fn turn(&mut self, ms: u64) {
        average(&mut self.turn_ms, ms);
    }

    /// Calls that end within `ms` and a turn, of so many in flight.
    pub fn ends(&self, in_flight: u32, ms: u64) -> u32 {
        if self.call_ms <= 0.0 {
            return 0;
        }
        let ends = f64::from(in_flight) * (self.turn_ms + ms as f64) / self.call_ms;
        ends as u32
    }
}

fn average(of: &mut f64, ms: u64) {
    let ms = (ms as f64).max(1.0);
    *of = if *of == 0.0 {
        ms
    } else {
        *of + (ms - *of) * SHARE
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(call_ms: u64, turn_ms: u64) -> Pace {
        let mut pace = Pace::default();
        pace.call(call_ms);
        pace.turn(turn_ms);
        pace
    }

    #[test]
    fn short_calls_are_claimed_ahead_and_long_ones_are_not() {
        assert_eq!(pace(200, 40).ends(50, 0), 10);
        assert_eq!(pace(200, 40).ends(50, 60), 25);
        assert_eq!(pace(2_000, 40).ends(50, 60), 2);
        assert_eq!(pace(10_000, 40).ends(50, 60), 0);
        assert_eq!(pace(1, 60_000).ends(1_000, 0), 60_000_000);
    }

    #[test]
    fn nothing_is_claimed_ahead_before_a_call_has_ended() {
        assert_eq!(Pace::default().ends(50, 100), 0);
        let mut pace = Pace::default();
        pace.turn(50);
        assert_eq!(pace.ends(50, 100), 0);
    }

    #[test]
    fn one_slow_call_changes_little() {
        let mut pace = pace(200, 40);
        pace.call(10_200);
        assert_eq!(pace.ends(50, 0), 0);
        for _ in 0..20 {
            pace.call(200);
        }
        assert!(pace.ends(50, 0) >= 6);
    }
}
