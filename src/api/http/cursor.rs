//! Cursors: where the next page of a list begins.
//!
//! Opaque to callers: base64url of JSON that names the list and the version, so that a cursor of another list or
//! of an older form is refused instead of misread. Each holds the last entry's own key, not an offset, so
//! entries that come in meanwhile neither shift nor double a page. A forged one is harmless: it only ever says
//! where in the caller's own list to go on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a cursor of one list holds.
pub trait Cursor: Serialize + DeserializeOwned {
    /// Which list, and its version.
    const LIST: &'static str;
}

/// After this job, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfterJob {
    pub created_ms: i64,
    pub id: String,
}

impl Cursor for AfterJob {
    const LIST: &'static str = "jobs.1";
}

/// After this task, by index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfterTask {
    pub index: u32,
}

impl Cursor for AfterTask {
    const LIST: &'static str = "tasks.1";
}

/// After this token, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfterToken {
    pub created_ms: i64,
    pub id: String,
}

impl Cursor for AfterToken {
    const LIST: &'static str = "tokens.1";
}

/// After this schedule, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfterSchedule {
    pub created_ms: i64,
    pub id: String,
}

/// After this task's results, and so many lines of the next task's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfterResult {
    pub task: Option<u32>,
    pub lines: u32,
}

impl Cursor for AfterResult {
    const LIST: &'static str = "results.1";
}

impl Cursor for AfterSchedule {
    const LIST: &'static str = "schedules.1";
}

/// After this delivery, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfterDelivery {
    pub at_ms: i64,
    pub id: String,
}

impl Cursor for AfterDelivery {
    const LIST: &'static str = "deliveries.1";
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<C> {
    l: String,
    k: C,
}

pub fn write<C: Cursor>(key: C) -> String {
    let envelope = Envelope {
        l: C::LIST.to_owned(),
        k: key,
    };
    // Plain structs with text keys: this cannot fail, and an empty cursor would be refused.
    let json = serde_json::to_vec(&envelope).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(json)
}

/// `None` for anything that [`write`] did not make for this list.
pub fn read<C: Cursor>(text: &str) -> Option<C> {
    // Ours are under 150 characters.
    if text.len() > 512 {
        return None;
    }
    let json = URL_SAFE_NO_PAD.decode(text).ok()?;
    let envelope: Envelope<C> = serde_json::from_slice(&json).ok()?;
    (envelope.l == C::LIST).then_some(envelope.k)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let text = write(AfterTask { index: 7 });
        assert_eq!(read(&text), Some(AfterTask { index: 7 }));
        assert_eq!(read::<AfterJob>(&text), None);
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back(created_ms: i64, id in "job_[0-9a-f]{32}") {
            let key = AfterJob { created_ms, id };
            let text = write(key.clone());
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(read(&text), Some(key));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = read::<AfterJob>(&text);
            let _ = read::<AfterTask>(&text);
        }
    }
}
