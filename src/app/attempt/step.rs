//! A call under way says what comes next: its head, or its end.

use futures::future::BoxFuture;

use super::Resolved;
use super::call::Head;
use crate::core::admission::cache::CacheTtl;

/// What a call under way says next.
pub enum Step {
    /// The head is there: what it teaches, and the rest of the call.
    Head(HeadNote, BoxFuture<'static, Step>),
    /// Over, with everything that must be written.
    End(Box<Resolved>),
}

/// What the head of an answer teaches about its class.
pub struct HeadNote {
    pub class: String,
    pub head: Head,
    /// Requests and input tokens admitted up to and with this call.
    pub mark: [f64; 2],
    /// The beginning of its prompt, where it is marked.
    pub prefix: Option<PrefixNote>,
}

/// What a marked call says about its prefix once its answer begins.
#[derive(Debug, Clone, PartialEq)]
pub struct PrefixNote {
    pub id: String,
    pub ttl: CacheTtl,
    pub sent_at: i64,
    /// Others wait for this one.
    pub leads: bool,
}
