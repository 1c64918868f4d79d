//! The window: calls under way, calls in line, how many more may be claimed, and which are not sent any more.
//!
//! An invocation has six connections that may wait for a response head, and by the worse reading its database calls need
//! one of them. So [`CONNECTIONS`](crate::config::tuning::CONNECTIONS) of the calls wait for their heads at a time,
//! and a consumer claims as many tasks as it can send within one round trip to the database: more would keep others from
//! sending them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;

use futures::StreamExt;
use futures::future::{BoxFuture, Either, FutureExt, select};
use futures::stream::FuturesUnordered;

use super::Consumer;
use super::lease::Average;
use crate::app::attempt;
use crate::app::attempt::step::Step;
use crate::app::attempt::unsent_calls::Places;
use crate::ports::Ports;
use crate::store::task::admission::Claimed;

/// Bytes of requests that one consumer may have open. A call holds about ten times its request (the input as it was read and taken
/// apart, the request as text, once more as JavaScript has it), so these are 40 of an isolate's 128 MB. Most calls are far
/// smaller; those of a tree before a synthesis have 200 KB each.
pub(super) const OPEN_BYTES: u64 = 4_000_000;
/// Milliseconds to the head of an answer, before any has come.
const UNKNOWN_HEAD_MS: f64 = 500.0;
/// The line is at most this many times as long as there are places for heads.
const MOST_LINED: f64 = 8.0;

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

/// A call that waits for a connection: nothing of it is sent yet.
pub(super) struct InLine {
    pub task: Claimed,
    pub call: BoxFuture<'static, Step>,
}

/// Calls that have begun, and calls in line.
#[derive(Default)]
pub(super) struct Window {
    pub calls: FuturesUnordered<BoxFuture<'static, Said>>,
    /// Claimed, and not begun before one of those ahead has its head or has ended.
    pub line: VecDeque<InLine>,
    /// Claimed calls that have not gone out.
    pub places: Places,
    /// Calls that have begun and wait for their heads.
    pub opening: u32,
    /// Bytes of what the calls ask that have begun or stand in line.
    pub open_bytes: u64,
    /// Some were not claimed for the sake of memory.
    pub crowded: bool,
    /// Tasks that were claimed and are not settled: those whose leases are renewed.
    pub held: HashSet<i64>,
    /// From the first byte sent to the head.
    pub head: Average,
    /// Calls of each job that have begun and not ended.
    pub running: HashMap<String, u32>,
    /// The most of each job that may run here. A place is given to a consumer by a claim that found the job below its
    /// concurrency, and kept while it has a task for it; so all consumers together never run more than the job may,
    /// whatever they have claimed ahead.
    pub places_of: HashMap<String, u32>,
}

impl Window {
    /// Tasks that may be claimed: as many as go out within one round trip of `trip_ms`, where `connections` calls may wait
    /// for their heads at a time.
    pub fn free(&self, slots: u32, connections: u32, trip_ms: f64) -> u32 {
        let line = u32::try_from(self.line.len()).unwrap_or(u32::MAX);
        let busy = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        let turnover = (trip_ms / self.head.or(UNKNOWN_HEAD_MS)).min(MOST_LINED);
        let soon = (f64::from(connections) * (1.0 + turnover)).ceil() as u32;
        let lined = soon.saturating_sub(self.opening.saturating_add(line));
        slots.saturating_sub(busy.saturating_add(line)).min(lined)
    }

    pub fn running(&self, job: &str) -> u32 {
        self.running.get(job).copied().unwrap_or(0)
    }

    /// Calls of a job that run or stand in line.
    pub fn open(&self, job: &str) -> u32 {
        let line = self.line.iter().filter(|one| one.task.job == job).count();
        self.running(job) + u32::try_from(line).unwrap_or(u32::MAX)
    }

    pub fn places_of(&self, job: &str) -> u32 {
        self.places_of.get(job).copied().unwrap_or(0)
    }

    /// Before a settle is sent: what has ended gives its place back, unless another task has it.
    pub fn give_places(&mut self) {
        let mut places = std::mem::take(&mut self.places_of);
        for (job, most) in &mut places {
            *most = (*most).min(self.open(job));
        }
        places.retain(|_, most| *most > 0);
        self.places_of = places;
    }

    /// A claim of `claimed` tasks left `in_flight` open: those that found the job below its concurrency have places.
    pub fn claimed(&mut self, job: &str, claimed: u32, in_flight: u32, concurrency: u32) {
        let before = in_flight.saturating_sub(claimed);
        let granted = concurrency.saturating_sub(before).min(claimed);
        *self.places_of.entry(job.to_owned()).or_default() += granted;
    }

    /// A look found `in_flight` open, `own` of them here: the places that no other can have are here.
    pub fn looked(&mut self, job: &str, own: u32, in_flight: u32, concurrency: u32) {
        let others = in_flight.saturating_sub(own);
        let here = concurrency.saturating_sub(others).min(own);
        let places = self.places_of.entry(job.to_owned()).or_default();
        *places = (*places).max(here);
    }

    /// The first in line whose job has a place here.
    pub fn next(&self) -> Option<usize> {
        self.line
            .iter()
            .position(|one| self.running(&one.task.job) < self.places_of(&one.task.job))
    }
}

impl<P: Ports> Consumer<'_, P> {
    pub(super) fn take(&mut self, said: Said) {
        let now = self.now();
        if said.first {
            self.window.opening = self.window.opening.saturating_sub(1);
        }
        match said.step {
            Step::Head(note, rest) => {
                if let Some(since) = said.since {
                    self.window.head.add(now - since);
                }
                if !self.seen.contains(&note.class) {
                    self.seen.push(note.class.clone());
                    self.news = true;
                }
                self.news |= note.prefix.as_ref().is_some_and(|prefix| prefix.leads);
                self.gather.heads.push(note);
                let (since, bytes) = (said.since, said.bytes);
                let rest = rest.map(move |step| Said {
                    since,
                    bytes,
                    first: false,
                    step,
                });
                self.window.calls.push(rest.boxed());
            }
            Step::End(resolved) => {
                let window = &mut self.window;
                window.open_bytes = window.open_bytes.saturating_sub(said.bytes);
                if let Some(since) = said.since {
                    self.gather.call.add(now - since);
                    if let Some(running) = window.running.get_mut(&resolved.job) {
                        *running = running.saturating_sub(1);
                    }
                }
                if resolved.stop.is_some() {
                    self.stopped = true;
                    self.stop.store(true, Ordering::Relaxed);
                }
                self.gather.push(*resolved, now);
            }
        }
        self.open_line();
    }

    /// Calls that may wait for their heads: pages that are being read have connections, too.
    pub(super) fn connections(&self) -> u32 {
        let most = self.app.config.connections;
        most.saturating_sub(self.gate.busy()).max(1)
    }

    /// Tasks that may be claimed now, those that take the place of calls that end soon included.
    pub(super) fn free_slots(&self) -> u32 {
        let slots = self.app.config.worker_slots;
        let soon = (f64::from(slots) * self.turnover()) as u32;
        let slots = slots.saturating_add(soon);
        let trip = self.lease.trip.or(0.0);
        self.window.free(slots, self.connections(), trip)
    }

    /// Begins as many calls as there are connections for, if it was heard just now that they are still wanted.
    pub(super) fn open_line(&mut self) {
        let now = self.now();
        while self.lease.is_fresh(now)
            && self.line_waits()
            && let Some(next) = (self.window.next()).and_then(|at| self.window.line.remove(at))
        {
            self.window.opening += 1;
            let bytes = next.task.bytes;
            *self.window.running.entry(next.task.job).or_default() += 1;
            let call = next.call.map(move |step| Said {
                since: Some(now),
                bytes,
                first: true,
                step,
            });
            self.window.calls.push(call.boxed());
        }
    }

    /// Calls could begin, once it is known again that they may.
    pub(super) fn line_waits(&self) -> bool {
        let slots = usize::try_from(self.app.config.worker_slots).unwrap_or(usize::MAX);
        self.window.next().is_some()
            && self.window.opening < self.connections()
            && self.window.calls.len() < slots
    }

    /// Calls that have not begun are not sent any more.
    pub(super) fn leave_line(&mut self, which: impl Fn(&Claimed) -> bool, why: &str, ms: u64) {
        for waiting in std::mem::take(&mut self.window.line) {
            if which(&waiting.task) {
                let step = attempt::give_back_for(self.app, &waiting.task, why, ms);
                self.take(unsent(step, waiting.task.bytes));
            } else {
                self.window.line.push_back(waiting);
            }
        }
    }

    /// Waits for the next thing that a call says, or for the timer.
    pub(super) async fn next_event(&mut self, timer: impl Future<Output = ()> + Send) {
        let mut timer = std::pin::pin!(timer);
        if self.window.calls.is_empty() {
            timer.await;
            return;
        }
        if let Either::Left((Some(step), _)) =
            select(self.window.calls.next(), timer.as_mut()).await
        {
            self.take(step);
        }
    }

    /// Takes whatever else has been said meanwhile.
    pub(super) fn take_ready(&mut self) {
        while let Some(Some(step)) = self.window.calls.next().now_or_never() {
            self.take(step);
        }
    }

    /// Runs a database call while the calls to Claude go on.
    pub(super) async fn meanwhile<T>(&mut self, future: impl Future<Output = T> + Send) -> T {
        let mut future = std::pin::pin!(future);
        loop {
            if self.window.calls.is_empty() {
                return future.await;
            }
            match select(future.as_mut(), self.window.calls.next()).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_claims_what_it_can_send_within_a_round_trip() {
        let mut window = Window::default();
        assert_eq!(window.free(50, 4, 30.0), 5);
        window.head.add(600);
        assert_eq!(window.free(50, 4, 600.0), 8);
        window.opening = 4;
        assert_eq!(window.free(50, 4, 600.0), 4);
        assert_eq!(window.free(3, 4, 600.0), 3);
    }
}
