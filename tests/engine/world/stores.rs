//! Blobs and queues of a world, with what becomes of what is in them: late, lost, doubled.

use std::sync::atomic::Ordering;

use fanwise::ports::{BlobError, Blobs, Keys, Outgoing, Queue, QueueError};

use super::{Access, Blob, Message, World, lock, name};
use crate::chaos::Strike;

impl World {
    async fn place(&self, key: String, body: String, until: i64) -> Result<(), BlobError> {
        let lost = || Err(BlobError("network connection lost".into()));
        let strike = self.strike(|rates| rates.blob, || format!("put {key}"));
        self.blob_access(Access::Put, &key, body.len()).await?;
        match strike {
            Strike::DiesBefore => return self.die().await,
            Strike::FailsBefore => return lost(),
            _ => {}
        }
        let readable = {
            let mut chaos = self.chaos();
            let lag = chaos.rates.lag;
            self.now()
                + if chaos.dice.chance(lag) {
                    chaos.dice.range(1_000, 60_000) as i64
                } else {
                    0
                }
        };
        let body = if self.0.forgetful.load(Ordering::SeqCst) {
            String::new()
        } else {
            body
        };
        lock(&self.0.blobs)
            .entry(key)
            .and_modify(|known| known.until = until)
            .or_insert(Blob {
                body,
                readable,
                until,
            });
        match strike {
            Strike::DiesAfter => self.die().await,
            Strike::FailsAfter => lost(),
            _ => Ok(()),
        }
    }

    /// A blob that can be read now.
    pub fn blob(&self, key: &str) -> Option<String> {
        let now = self.now();
        lock(&self.0.blobs)
            .get(key)
            .filter(|blob| (blob.readable..blob.until).contains(&now))
            .map(|blob| blob.body.clone())
    }
}

impl Blobs for World {
    async fn put(&self, key: String, body: String) -> Result<(), BlobError> {
        self.place(key, body, i64::MAX).await
    }

    async fn put_for(&self, key: String, body: String, seconds: u64) -> Result<(), BlobError> {
        let until = self.now() + seconds as i64 * 1_000;
        self.place(key, body, until).await
    }

    async fn get(&self, key: String) -> Result<Option<String>, BlobError> {
        let strike = self.strike(|rates| rates.blob, || format!("get {key}"));
        let found = self.blob_access(Access::Get, &key, 0).await?;
        match strike {
            Strike::DiesBefore | Strike::DiesAfter => self.die().await,
            Strike::FailsBefore => Err(BlobError("network connection lost".into())),
            _ => Ok(self.blob(&key).filter(|_| found)),
        }
    }

    async fn delete(&self, key: String) -> Result<(), BlobError> {
        self.blob_access(Access::Delete, &key, 0).await?;
        lock(&self.0.blobs).remove(&key);
        Ok(())
    }

    /// A few at a time, so that going on is tried.
    async fn list(&self, prefix: String, after: Option<String>) -> Result<Keys, BlobError> {
        const PAGE: usize = 5;
        self.blob_access(Access::List, &prefix, 0).await?;
        let after = after.unwrap_or_default();
        let now = self.now();
        let mut keys: Vec<String> = lock(&self.0.blobs)
            .iter()
            .filter(|(key, blob)| {
                let there = (blob.readable..blob.until).contains(&now);
                key.starts_with(&prefix) && **key > after && there
            })
            .map(|(key, _)| key.clone())
            .take(PAGE + 1)
            .collect();
        let more = keys.len() > PAGE;
        keys.truncate(PAGE);
        Ok(Keys {
            next: keys.last().filter(|_| more).cloned(),
            keys,
        })
    }
}

impl Queue for World {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<(), QueueError> {
        let strike = self.strike(
            |rates| rates.send,
            || {
                let to: Vec<String> = messages
                    .iter()
                    .map(|m| format!("{}+{}s", name(m.queue), m.delay_seconds))
                    .collect();
                format!("send {}", to.join(" "))
            },
        );
        self.queue_takes(&messages).await?;
        match strike {
            Strike::DiesBefore => return self.die().await,
            Strike::FailsBefore => return Err(QueueError("network connection lost".into())),
            _ => {}
        }
        let half = messages.len().div_ceil(2);
        for (position, message) in messages.into_iter().enumerate() {
            if strike == Strike::FailsAfter && position >= half {
                break;
            }
            let copies: Vec<i64> = {
                let mut chaos = self.chaos();
                let rates = chaos.rates.clone();
                let copies = if chaos.dice.chance(rates.lost) {
                    0
                } else {
                    1 + u64::from(chaos.dice.chance(rates.doubled))
                };
                (0..copies)
                    .map(|_| {
                        if chaos.dice.chance(rates.delayed) {
                            chaos.dice.range(100, 90_000) as i64
                        } else {
                            0
                        }
                    })
                    .collect()
            };
            if copies.len() != 1 {
                self.tell(|| format!("  a message comes {} times", copies.len()));
            }
            for late in copies {
                let delay = i64::from(message.delay_seconds) * 1_000 + late + self.delivery_ms();
                self.enqueue(
                    Message {
                        queue: message.queue,
                        body: message.body.clone(),
                        tries: 0,
                    },
                    delay,
                );
            }
        }
        match strike {
            Strike::DiesAfter => self.die().await,
            Strike::FailsAfter => Err(QueueError("network connection lost".into())),
            _ => Ok(()),
        }
    }
}
