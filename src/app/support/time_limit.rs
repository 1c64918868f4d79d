//! A time limit for anything that is awaited.

use futures::future::{Either, select};

use crate::ports::Clock;

/// `None` where the time was up first; the future is dropped then, which ends the call.
pub async fn within<C: Clock, F: Future>(clock: &C, ms: u64, future: F) -> Option<F::Output> {
    let mut sleep = std::pin::pin!(clock.sleep(ms));
    let mut future = std::pin::pin!(future);
    match select(future.as_mut(), sleep.as_mut()).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
