//! Money: integers of nano-dollars inside, decimal dollars outside.
//!
//! A cached Haiku token costs 10 nano-dollars, so nothing is ever rounded but for display. An `i64` of
//! nano-dollars holds 9.2 billion dollars; sums saturate instead of wrapping.

use serde::{Deserialize, Serialize};

/// One dollar in nano-dollars.
pub const DOLLAR: i64 = 1_000_000_000;

/// An amount in nano-dollars (1e-9 USD).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Nano(pub i64);

impl Nano {
    pub const ZERO: Nano = Nano(0);

    /// Dollars as a caller wrote them; rounded down, so that a cap is never widened by rounding.
    pub fn from_usd_floor(usd: f64) -> Nano {
        // `as` saturates on overflow and turns NaN into 0.
        Nano((usd * DOLLAR as f64).floor() as i64)
    }

    /// Dollars for display, exact to a nano-dollar up to nine million dollars.
    pub fn usd(self) -> f64 {
        self.0 as f64 / DOLLAR as f64
    }

    pub fn plus(self, other: Nano) -> Nano {
        Nano(self.0.saturating_add(other.0))
    }

    pub fn minus(self, other: Nano) -> Nano {
        Nano(self.0.saturating_sub(other.0))
    }

    pub fn times(self, n: u64) -> Nano {
        Nano(self.0.saturating_mul(i64::try_from(n).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_is_rounded_down_and_shown_exactly() {
        assert_eq!(Nano::from_usd_floor(5.0), Nano(5 * DOLLAR));
        assert_eq!(Nano::from_usd_floor(0.000_000_000_9), Nano(0));
        assert_eq!(Nano::from_usd_floor(f64::NAN), Nano(0));
        assert_eq!(Nano(10).usd(), 0.000_000_01);
    }

    #[test]
    fn sums_saturate() {
        assert_eq!(Nano(i64::MAX).plus(Nano(1)), Nano(i64::MAX));
        assert_eq!(Nano(2).times(u64::MAX), Nano(i64::MAX));
    }
}
