//! The connections of an invocation: a fair semaphore. Who comes first is served first, whatever it waits for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

/// A semaphore that its permits share.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: u32,
    next: u64,
    waiting: VecDeque<(u64, Option<Waker>)>,
}

impl State {
    /// The first in line may look whether it is its turn.
    fn wake_first(&mut self) {
        if self.free > 0
            && let Some((_, waker)) = self.waiting.front_mut()
            && let Some(waker) = waker.take()
        {
            waker.wake();
        }
    }
}

impl Pool {
    pub fn new(permits: u32) -> Pool {
        Pool(Arc::new(Mutex::new(State {
            free: permits,
            next: 0,
            waiting: VecDeque::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Waits for a permit, which is given back when it is dropped.
    pub async fn take(&self) -> Permit {
        let place = {
            let mut state = self.state();
            state.next += 1;
            let place = state.next;
            state.waiting.push_back((place, None));
            place
        };
        // Dropped while it waits, it leaves the line.
        let waiting = Waiting { pool: self, place };
        std::future::poll_fn(|context| {
            let mut state = self.state();
            let first = state.waiting.front().is_some_and(|(at, _)| *at == place);
            if first && state.free > 0 {
                state.free -= 1;
                return Poll::Ready(());
            }
            let own = state.waiting.iter_mut().find(|(at, _)| *at == place);
            if let Some((_, waker)) = own {
                *waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
        drop(waiting);
        Permit(self.clone())
    }
}

struct Waiting<'a> {
    pool: &'a Pool,
    place: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.waiting.retain(|(at, _)| *at != self.place);
        state.wake_first();
    }
}

/// A connection in use.
#[derive(Debug)]
pub struct Permit(Pool);

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.free += 1;
        state.wake_first();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::Pool;

    #[test]
    fn permits_are_given_in_the_order_in_which_they_were_asked_for() {
        let pool = Pool::new(1);
        let first = pool.take().now_or_never().unwrap();
        let mut second = Box::pin(pool.take());
        let mut third = Box::pin(pool.take());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(
            third.as_mut().now_or_never().is_none(),
            "it is not its turn"
        );
        drop(second);
        assert!(third.as_mut().now_or_never().is_some());
        assert!(pool.take().now_or_never().is_some(), "given back unused");
    }
}
