//! Exit codes. 1 and 2 are set by `main` and by clap.

/// Interrupted, as shells count it.
pub const INTERRUPTED: u8 = 130;

/// The exit code of a job that is over.
pub fn of_state(state: &str) -> u8 {
    match state {
        "succeeded" => 0,
        "partial" => 3,
        "failed" => 4,
        "cancelled" => 5,
        _ => 1,
    }
}
