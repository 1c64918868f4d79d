//! The hooks of a platform with limits: a world without one is as quick and as patient as a local run.
//!
//! A platform belongs to an invocation ([`crate::chaos::Actor::platform`]). Each port of the world asks it before and
//! after its own work, so that chaos and a platform can strike the same effect.

use std::any::Any;
use std::fmt::Debug;

use fanwise::ports::{Answer, BlobError, Clock as _, DbError, Outgoing, QueueError, Statement};
use futures::future::BoxFuture;

use super::World;

/// Whatever is held until it is dropped: a connection, memory.
pub type Held = Box<dyn Any + Send + Sync>;

/// One operation of the blob store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Get,
    Put,
    Delete,
    List,
}

/// What an invocation of the platform does to the ports.
pub trait Platform: Debug + Send + Sync {
    /// A batch is on its way to the database; returns when the database may run it.
    fn batch_goes<'a>(
        &'a self,
        world: &'a World,
        statements: &'a [Statement],
    ) -> BoxFuture<'a, Result<Held, DbError>>;

    /// The batch has run (or was refused); returns when its answer is back.
    fn batch_returns<'a>(
        &'a self,
        world: &'a World,
        trip: Held,
        statements: &'a [Statement],
        result: Result<Vec<Answer>, DbError>,
    ) -> BoxFuture<'a, Result<Vec<Answer>, DbError>>;

    /// An operation of the blob store. `Ok(false)` where a value must not be found yet.
    fn blob<'a>(
        &'a self,
        world: &'a World,
        access: Access,
        key: &'a str,
        bytes: usize,
    ) -> BoxFuture<'a, Result<bool, BlobError>>;

    /// Messages go to a queue.
    fn sends<'a>(
        &'a self,
        world: &'a World,
        messages: &'a [Outgoing],
    ) -> BoxFuture<'a, Result<(), QueueError>>;

    /// Milliseconds that a queue takes to deliver a message, beyond its own delay.
    fn delivery_ms(&self) -> i64;

    /// A connection for a request, held until the head of its answer is there.
    fn connects<'a>(&'a self, world: &'a World) -> BoxFuture<'a, Held>;

    /// Memory for a call to Claude, held until the call has ended.
    fn holds_call(&self, bytes: usize) -> Held;

    /// Claude was sent a call of a job, which `running` calls are now at.
    fn call_begins(&self, world: &World, job: &str, running: u32);
    fn call_ends(&self, world: &World, job: &str, running: u32);
}

impl World {
    /// The invocation that acts here.
    pub(super) fn platform(&self) -> Option<&dyn Platform> {
        self.1.as_ref()?.platform.as_deref()
    }

    pub(super) async fn batch_goes(&self, statements: &[Statement]) -> Result<Held, DbError> {
        match self.platform() {
            Some(platform) => platform.batch_goes(self, statements).await,
            None => {
                self.sleep(self.latency()).await;
                Ok(Box::new(()))
            }
        }
    }

    pub(super) async fn batch_returns(
        &self,
        trip: Held,
        statements: &[Statement],
        result: Result<Vec<Answer>, DbError>,
    ) -> Result<Vec<Answer>, DbError> {
        match self.platform() {
            Some(platform) => platform.batch_returns(self, trip, statements, result).await,
            None => {
                self.sleep(self.latency()).await;
                result
            }
        }
    }

    pub(super) async fn blob_access(
        &self,
        access: Access,
        key: &str,
        bytes: usize,
    ) -> Result<bool, BlobError> {
        match self.platform() {
            Some(platform) => platform.blob(self, access, key, bytes).await,
            None => {
                if access != Access::Delete {
                    self.sleep(self.latency()).await;
                }
                Ok(true)
            }
        }
    }

    pub(super) async fn queue_takes(&self, messages: &[Outgoing]) -> Result<(), QueueError> {
        match self.platform() {
            Some(platform) => platform.sends(self, messages).await,
            None => {
                self.sleep(self.latency().min(5)).await;
                Ok(())
            }
        }
    }

    pub(super) fn delivery_ms(&self) -> i64 {
        self.platform().map_or(0, Platform::delivery_ms)
    }

    pub(super) async fn connection(&self) -> Option<Held> {
        match self.platform() {
            Some(platform) => Some(platform.connects(self).await),
            None => None,
        }
    }
}
