//! Identifiers: made from a time and random bytes that the caller hands in, so that a simulation makes
//! the same ones again. They sort by the time they were made.

use uuid::Builder;

/// `prefix` and 32 hex digits of a UUID version 7, e.g. `job_0199…`.
pub fn id(prefix: &str, now_ms: i64, random: [u8; 10]) -> String {
    let millis = u64::try_from(now_ms).unwrap_or(0);
    let uuid = Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    format!("{prefix}_{}", uuid.simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_differ_by_randomness() {
        let early = id("job", 1_000, [1; 10]);
        let late = id("job", 2_000, [0; 10]);
        assert!(early < late);
        assert_ne!(id("job", 1_000, [2; 10]), early);
        assert_eq!(early.len(), "job_".len() + 32);
    }
}
