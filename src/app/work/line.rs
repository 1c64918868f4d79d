//! Calls under way and calls in line: what each says next, which begins when a place becomes free, and which is not sent
//! any more.

use std::sync::atomic::Ordering;

use futures::StreamExt;
use futures::future::{BoxFuture, Either, FutureExt, select};

use super::Consumer;
use crate::app::call::Head;
use crate::app::resolve::{self, Resolved};
use crate::core::cache::CacheTtl;
use crate::ports::Ports;
use crate::store::admission::Claimed;

/// A call begins if it was heard within this that its task is still to be done: the platform gives an invocation six
/// connections, so one that was claimed may wait in line while its job is cancelled.
const HEARD_MS: i64 = 500;

/// Bytes of requests that one consumer may have open. A call holds about ten times its request (the input as it was read and taken
/// apart, the request as text, once more as JavaScript has it), so these are 40 of an isolate's 128 MB. Most calls are far
/// smaller; those of a tree before a synthesis have 200 KB each.
pub(super) const OPEN_BYTES: u64 = 4_000_000;

/// What a call under way says next.
pub enum Step {
    /// The head is there: what it teaches, and the rest of the call.
    Head(HeadNote, BoxFuture<'static, Step>),
    /// Over, with everything that must be written.
    End(Box<Resolved>),
}

/// What a call says, since when it is under way (`None` of what is not sent), whether it waited for its head, and the bytes that it
/// asks.
pub(super) struct Said {
    pub since: Option<i64>,
    pub bytes: u64,
    pub first: bool,
    pub step: Step,
}

/// What was never sent has ended.
pub(super) fn unsent(step: Step, bytes: u64) -> Said {
    Said {
        since: None,
        bytes,
        first: false,
        step,
    }
}

/// A call that waits for a connection or for its place: nothing of it is sent yet.
pub(super) struct InLine {
    pub task: Claimed,
    pub call: BoxFuture<'static, Step>,
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

impl<P: Ports> Consumer<'_, P> {
    pub(super) fn take(&mut self, said: Said) {
        if said.first {
            self.opening = self.opening.saturating_sub(1);
        }
        match said.step {
            Step::Head(note, rest) => {
                if !self.seen.contains(&note.class) {
                    self.seen.push(note.class.clone());
                    self.news = true;
                }
                self.news |= note.prefix.as_ref().is_some_and(|prefix| prefix.leads);
                self.heads.push(note);
                let (since, bytes) = (said.since, said.bytes);
                let rest = rest.map(move |step| Said {
                    since,
                    bytes,
                    first: false,
                    step,
                });
                self.calls.push(rest.boxed());
            }
            Step::End(resolved) => {
                self.open_bytes = self.open_bytes.saturating_sub(said.bytes);
                if let Some(since) = said.since {
                    self.pace
                        .call(u64::try_from(self.now() - since).unwrap_or(0));
                    if let Some(running) = self.running.get_mut(&resolved.job) {
                        *running = running.saturating_sub(1);
                    }
                }
                if resolved.stop.is_some() {
                    self.stopped = true;
                    self.stop.store(true, Ordering::Relaxed);
                }
                if self.ended.is_empty() {
                    self.ended_at = self.now();
                }
                self.ended.push(*resolved);
            }
        }
        self.open_line();
    }

    /// Begins as many calls as there are places and connections for, if it was heard just now that they are still wanted.
    pub(super) fn open_line(&mut self) {
        while self.now() - self.heard <= HEARD_MS
            && let Some(next) = self.next_in_line().and_then(|at| self.line.remove(at))
        {
            self.opening += 1;
            let since = self.now();
            let bytes = next.task.bytes;
            *self.running.entry(next.task.job).or_default() += 1;
            let call = next.call.map(move |step| Said {
                since: Some(since),
                bytes,
                first: true,
                step,
            });
            self.calls.push(call.boxed());
        }
    }

    /// The first that has a place and a connection.
    pub(super) fn next_in_line(&self) -> Option<usize> {
        let slots = usize::try_from(self.app.config.worker_slots).unwrap_or(usize::MAX);
        if self.opening >= self.app.config.connections || self.calls.len() >= slots {
            return None;
        }
        self.line.iter().position(|one| {
            let share = self.shares.get(&one.task.job);
            share.is_none_or(|share| self.running(&one.task.job) < *share)
        })
    }

    /// Calls could begin, once it is known again that they may.
    pub(super) fn line_waits(&self) -> bool {
        self.next_in_line().is_some()
    }

    /// Calls that have not begun are not sent any more.
    pub(super) fn leave_line(&mut self, which: impl Fn(&Claimed) -> bool, why: &str, ms: u64) {
        for waiting in std::mem::take(&mut self.line) {
            if which(&waiting.task) {
                let step = resolve::give_back_for(self.app, &waiting.task, why, ms);
                self.take(unsent(step, waiting.task.bytes));
            } else {
                self.line.push_back(waiting);
            }
        }
    }

    /// Waits for the next thing that a call says, or for the timer.
    pub(super) async fn next_event(&mut self, timer: impl Future<Output = ()> + Send) {
        let mut timer = std::pin::pin!(timer);
        if self.calls.is_empty() {
            timer.await;
            return;
        }
        if let Either::Left((Some(step), _)) = select(self.calls.next(), timer.as_mut()).await {
            self.take(step);
        }
    }

    /// Takes whatever else has been said meanwhile.
    pub(super) fn take_ready(&mut self) {
        while let Some(Some(step)) = self.calls.next().now_or_never() {
            self.take(step);
        }
    }

    /// Runs a database call while the calls to Claude go on.
    pub(super) async fn meanwhile<T>(&mut self, future: impl Future<Output = T> + Send) -> T {
        let mut future = std::pin::pin!(future);
        loop {
            if self.calls.is_empty() {
                return future.await;
            }
            match select(future.as_mut(), self.calls.next()).await {
                Either::Left((output, _)) => return output,
                Either::Right((step, _)) => {
                    if let Some(step) = step {
                        self.take(step);
                    }
                }
            }
        }
    }
}
