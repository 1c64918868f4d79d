//! Looks at watched jobs that the watchers of one instance share: a hundred watchers of a job ask the database about as
//! often as one.
//!
//! A look holds for one interval. When it is older, the first watcher who finds that renews it, and the others go on with
//! what it says until the new one is there: no request waits for the input or output of another one, which the platform
//! does not allow. A watcher who has missed more than a shared look tells reads for itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::app::read::events;
use crate::app::read::events::Pulse;
use crate::app::{App, AppError};
use crate::ports::{Clock, Ports};

/// A watcher whose connection ended while it looked never says so: after this somebody else looks.
const LOST_MS: i64 = 10_000;
/// Looks that are older are dropped, so that jobs without a watcher take no memory.
const KEPT_MS: i64 = 60_000;

/// All of one instance.
#[derive(Clone, Default)]
pub struct Looks(Arc<Mutex<HashMap<(String, String), Look>>>);

struct Look {
    at: i64,
    /// It has the events after this one.
    after: u64,
    /// Since when somebody renews it.
    renewed: Option<i64>,
    pulse: Pulse,
}

impl Looks {
    /// As [`events::pulse`], at most one interval of a watcher old.
    pub async fn pulse<P: Ports>(
        &self,
        app: &App<P>,
        tenant: &str,
        job: &str,
        after: u64,
    ) -> Result<Pulse, AppError> {
        let key = (tenant.to_owned(), job.to_owned());
        let now = app.ports.clock().now_ms();
        if let Some(pulse) = self.known(&key, after, now, app.config.door.events_poll_ms) {
            return Ok(pulse);
        }
        match events::pulse(app, tenant, job, after).await {
            Ok(pulse) => {
                let look = Look {
                    at: app.ports.clock().now_ms(),
                    after,
                    renewed: None,
                    pulse: pulse.clone(),
                };
                self.all().insert(key, look);
                Ok(pulse)
            }
            Err(error) => {
                self.all().remove(&key);
                Err(error)
            }
        }
    }

    /// What a shared look says to a watcher who has seen the events up to `after`; `None`: it is to look itself.
    fn known(
        &self,
        key: &(String, String),
        after: u64,
        now: i64,
        interval_ms: u64,
    ) -> Option<Pulse> {
        let mut all = self.all();
        all.retain(|_, look| now.saturating_sub(look.at) < KEPT_MS);
        // What is over may begin again by a command.
        let usable = |look: &&mut Look| look.after <= after && !look.pulse.over;
        let look = all.get_mut(key).filter(usable)?;
        let fresh = now.saturating_sub(look.at).unsigned_abs() < interval_ms;
        let others = look.renewed.is_some_and(|since| now - since < LOST_MS);
        if !fresh && !others {
            look.renewed = Some(now);
            return None;
        }
        let mut pulse = look.pulse.clone();
        pulse.events.retain(|event| event.seq > after);
        // Its page is read to the end, and more has happened by then.
        if pulse.more && pulse.events.is_empty() {
            return None;
        }
        Some(pulse)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(String, String), Look>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::app::read::events::Event;
    use crate::app::view::{Cost, ItemCounts, Progress, ProgressEvent, TaskCounts, Usage};

    fn pulse(first: u64, last: u64) -> Pulse {
        let event = |seq| Event {
            seq,
            kind: "state".into(),
            body: json!({}),
        };
        Pulse {
            events: (first..=last).map(event).collect(),
            more: false,
            last,
            over: false,
            progress: ProgressEvent {
                state: "running".into(),
                run: 1,
                stage: None,
                progress: Progress {
                    tasks: TaskCounts::default(),
                    items: ItemCounts::default(),
                },
                calls: 0,
                usage: Usage::default(),
                cost: Cost::default(),
            },
        }
    }

    fn key() -> (String, String) {
        ("tenant".into(), "job".into())
    }

    #[test]
    fn a_hundred_watchers_look_once_an_interval() {
        let looks = Looks::default();
        let mut asked = 0;
        for now in [0, 1_000, 2_000] {
            for _ in 0..100 {
                if looks.known(&key(), 2, now, 1_000).is_none() {
                    asked += 1;
                    let look = Look {
                        at: now,
                        after: 2,
                        renewed: None,
                        pulse: pulse(3, 4),
                    };
                    looks.all().insert(key(), look);
                }
            }
        }
        assert_eq!(asked, 3);
    }

    #[test]
    fn while_one_looks_the_others_go_on_with_what_is_known() {
        let looks = Looks::default();
        let look = Look {
            at: 0,
            after: 0,
            renewed: None,
            pulse: pulse(1, 4),
        };
        looks.all().insert(key(), look);
        assert!(looks.known(&key(), 2, 1_500, 1_000).is_none());
        let seen: Vec<u64> = looks
            .known(&key(), 2, 1_500, 1_000)
            .unwrap()
            .events
            .iter()
            .map(|event| event.seq)
            .collect();
        assert_eq!(seen, [3, 4]);
        // The one who looks is gone.
        assert!(looks.known(&key(), 2, 11_500, 1_000).is_none());
    }

    #[test]
    fn a_watcher_who_missed_more_than_a_look_has_reads_alone() {
        let looks = Looks::default();
        let look = Look {
            at: 0,
            after: 3,
            renewed: None,
            pulse: pulse(4, 4),
        };
        looks.all().insert(key(), look);
        assert!(looks.known(&key(), 1, 10, 1_000).is_none());
        assert!(looks.known(&key(), 3, 10, 1_000).is_some());
    }
}
