//! The clock port: `Date.now()`, which on Cloudflare only moves with I/O, and timers.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use worker::Delay;
use worker::send::SendFuture;

use crate::ports::Clock;

/// `setTimeout` takes a signed 32-bit number of milliseconds (24.8 days) and fires at once beyond it.
const LONGEST_MS: u64 = i32::MAX as u64;

/// The runtime's time.
#[derive(Clone, Copy)]
pub struct EdgeClock;

impl Clock for EdgeClock {
    fn now_ms(&self) -> i64 {
        js_sys::Date::now() as i64
    }

    /// Dropping the future clears the timer, so that it does not keep the invocation alive.
    fn sleep(&self, ms: u64) -> impl Future<Output = ()> + Send {
        SendFuture::new(async move {
            let mut left = ms;
            loop {
                let step = left.min(LONGEST_MS);
                // `Delay` wakes whoever polled it first. The set around it wakes whoever polled last, as
                // a future must.
                let mut timer: FuturesUnordered<Delay> =
                    std::iter::once(Delay::from(Duration::from_millis(step))).collect();
                timer.next().await;
                left -= step;
                if left == 0 {
                    return;
                }
            }
        })
    }
}
