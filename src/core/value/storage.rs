//! How full the database is, and from where on it takes no further job.

/// Most bytes of a database of D1.
pub const CAPACITY: u64 = 10_000_000_000;
/// Above this share no job comes in, so that the calls under way can still be written down.
const SHARE_PERCENT: u64 = 80;

/// How full it is, where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    pub used: u64,
    pub capacity: u64,
}

impl Storage {
    /// `capacity`: [`CAPACITY`], or less for tests.
    pub fn new(used: u64, capacity: u64) -> Storage {
        Storage { used, capacity }
    }

    /// From here on expired rows are deleted before anything else, and no job comes in.
    pub fn is_scarce(self) -> bool {
        self.used > self.capacity / 100 * SHARE_PERCENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_fifths_are_for_jobs() {
        assert!(!Storage::new(8_000_000_000, CAPACITY).is_scarce());
        assert!(Storage::new(8_000_000_001, CAPACITY).is_scarce());
    }
}
