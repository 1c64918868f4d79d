//! The other edges of a world: the open web, the clock, chance, the log; and all of them together.

use std::task::Poll;

use chrono::{DateTime, Offset as _, TimeZone};
use fanwise::core::text::html_to_text::Page;
use fanwise::ports::{
    Clock, Entropy, Log, Ports, TransportError, Web, WebRequest, WireResponse, Zones,
};
use serde_json::Value;

use super::{World, lock};
use crate::chaos::Strike;

impl Web for World {
    async fn send(&self, request: WebRequest) -> Result<WireResponse, TransportError> {
        let strike = self.strike(
            |rates| rates.web,
            || format!("web {}", request.url.as_str()),
        );
        match strike {
            Strike::DiesBefore => return self.die().await,
            Strike::FailsBefore => return Err(TransportError::Connect("connection lost".into())),
            _ => {}
        }
        let site = self.sites().asked(request);
        self.sleep(site.opens_ms).await;
        match strike {
            Strike::DiesAfter => return self.die().await,
            Strike::FailsAfter => return Err(TransportError::Connect("connection lost".into())),
            _ => {}
        }
        site.answer(self.clone())
    }

    fn decode(&self, bytes: &[u8], charset: &str) -> String {
        crate::sites::decode(bytes, charset)
    }

    async fn read_html(&self, html: String) -> Result<Page, String> {
        Ok(crate::sites::read_html(&html))
    }
}

impl Clock for World {
    fn now_ms(&self) -> i64 {
        self.now()
    }

    fn sleep(&self, ms: u64) -> impl Future<Output = ()> + Send {
        let world = self.clone();
        let mut key = None;
        std::future::poll_fn(move |context| {
            let mut time = lock(&world.0.time);
            let (at, _) = *key.get_or_insert_with(|| {
                time.sequence += 1;
                (time.now + ms as i64, time.sequence)
            });
            if at <= time.now {
                return Poll::Ready(());
            }
            if let Some(key) = key {
                time.timers.insert(key, context.waker().clone());
            }
            Poll::Pending
        })
    }
}

impl Zones for World {
    fn offset(&self, zone: &str, seconds: i64) -> Option<i32> {
        let zone: chrono_tz::Tz = zone.parse().ok()?;
        let at = DateTime::from_timestamp(seconds, 0)?.naive_utc();
        Some(zone.offset_from_utc_datetime(&at).fix().local_minus_utc())
    }
}

impl Entropy for World {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next_random().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

impl Log for World {
    fn line(&self, record: Value) {
        lock(&self.0.log).push(record);
    }
}

impl Ports for World {
    type Db = World;
    type Blobs = World;
    type Queue = World;
    type Claude = World;
    type Web = World;
    type Clock = World;
    type Zones = World;
    type Entropy = World;
    type Log = World;

    fn db(&self) -> &World {
        self
    }
    fn blobs(&self) -> &World {
        self
    }
    fn queue(&self) -> &World {
        self
    }
    fn claude(&self) -> &World {
        self
    }
    fn web(&self) -> &World {
        self
    }
    fn clock(&self) -> &World {
        self
    }
    fn zones(&self) -> &World {
        self
    }
    fn entropy(&self) -> &World {
        self
    }
    fn log(&self) -> &World {
        self
    }
}
