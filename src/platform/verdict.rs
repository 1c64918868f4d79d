//! What an error of D1 means for the engine, read off its text: D1 has no codes.
//!
//! Sources: the D1 documentation ("Debug D1", "Retry queries", "Limits") and SQLite's result codes, which
//! D1 appends to its messages. The order of the questions matters: "overloaded" errors also say "reset".

use crate::ports::DbError;

/// The message of the trigger behind the `assertions` table.
const ASSERTION: &str = "batch assertion failed";

/// Says of these that less should be sent. A reset for memory or time comes from too much at once too.
const OVERLOADED: [&str; 10] = [
    "overloaded",
    "too many requests queued",
    "exceeded its cpu time limit",
    "exceeded its memory limit",
    "exceeded timeout which caused object to be reset",
    "too many api requests by single worker invocation",
    "too many subrequests",
    "sqlite_busy",
    "sqlite_locked",
    "sqlite_nomem",
];

/// To send less does not help: something must be deleted.
const FULL: [&str; 3] = ["maximum db size", "sqlite_full", "database or disk is full"];

/// Nobody knows whether it was written. Everything that is not recognised counts as this, too: a batch
/// is safe to run twice, but not safe to be forgotten.
const UNAVAILABLE: [&str; 6] = [
    "network connection lost",
    "caused object to be reset",
    "reset because its code was updated",
    "cannot resolve d1 db",
    "client disconnected",
    "sqlite_ioerr",
];

/// The statement or its values are wrong; SQLite or the binding refused them and wrote nothing.
const REFUSED: [&str; 13] = [
    "d1_type_error",
    "sqlite_constraint",
    "sqlite_error",
    "sqlite_auth",
    "sqlite_mismatch",
    "sqlite_range",
    "sqlite_toobig",
    "constraint failed",
    "syntax error",
    "no such table",
    "no such column",
    "wrong number of parameter bindings",
    "too many sql variables",
];

/// Sorts an error of D1. Called by the adapter for whatever a batch threw.
pub fn of_d1(text: &str) -> DbError {
    let lower = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let text = text.to_owned();
    if lower.contains(ASSERTION) {
        DbError::Guard(text)
    } else if says(&FULL) {
        DbError::Full(text)
    } else if says(&OVERLOADED) {
        DbError::Overloaded(text)
    } else if says(&UNAVAILABLE) {
        DbError::Unavailable(text)
    } else if says(&REFUSED) {
        DbError::Refused(text)
    } else {
        DbError::Unavailable(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_of_d1_has_one_meaning() {
        let guard: fn(String) -> DbError = DbError::Guard;
        let overloaded: fn(String) -> DbError = DbError::Overloaded;
        let full: fn(String) -> DbError = DbError::Full;
        let unavailable: fn(String) -> DbError = DbError::Unavailable;
        let refused: fn(String) -> DbError = DbError::Refused;
        let cases = [
            (
                "D1_ERROR: batch assertion failed: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_TRIGGER)",
                guard,
            ),
            (
                "D1_ERROR: UNIQUE constraint failed: jobs.id: SQLITE_CONSTRAINT",
                refused,
            ),
            (
                "D1_ERROR: no such column: x at offset 7: SQLITE_ERROR",
                refused,
            ),
            (
                "D1_ERROR: Wrong number of parameter bindings for SQL query.",
                refused,
            ),
            (
                "D1_TYPE_ERROR: Type 'bigint' not supported for value '1'",
                refused,
            ),
            ("D1_ERROR: string or blob too big: SQLITE_TOOBIG", refused),
            (
                "D1_ERROR: D1 DB is overloaded. Requests queued for too long.",
                overloaded,
            ),
            (
                "D1_ERROR: D1 DB is overloaded. Too many requests queued.",
                overloaded,
            ),
            (
                "D1_ERROR: D1 DB exceeded its CPU time limit and was reset.",
                overloaded,
            ),
            (
                "D1_ERROR: D1 DB storage operation exceeded timeout which caused object to be reset.",
                overloaded,
            ),
            ("D1_ERROR: Exceeded maximum DB size.", full),
            ("D1_ERROR: database or disk is full: SQLITE_FULL", full),
            ("D1_ERROR: Network connection lost.", unavailable),
            (
                "D1_ERROR: Internal error in D1 DB storage caused object to be reset.",
                unavailable,
            ),
            (
                "D1_ERROR: D1 DB reset because its code was updated.",
                unavailable,
            ),
            ("D1_ERROR: something nobody has seen yet", unavailable),
            ("", unavailable),
        ];
        for (text, meaning) in cases {
            assert_eq!(of_d1(text), meaning(text.to_owned()), "{text}");
        }
    }
}
