//! The queue port on Cloudflare Queues.
//!
//! A body is one text with content type `text`: objects would cross the border as JavaScript `Map`s and
//! arrive as `{}`.

use std::future::Future;

use futures::{StreamExt, TryStreamExt, stream};
use wasm_bindgen::JsValue;
use worker::send::SendFuture;
use worker::{BatchMessageBuilder, QueueContentType, RawMessageBuilder};

use crate::platform::pack;
use crate::ports::{Outgoing, Queue, QueueError, QueueName};

/// Calls of `sendBatch` under way at once. An invocation has six connections in all.
const PARALLEL: usize = 3;

/// The bindings `CONTROL_QUEUE`, `TASKS_QUEUE` and `OUTBOUND_QUEUE`.
#[derive(Clone)]
pub struct Queues {
    control: worker::Queue,
    tasks: worker::Queue,
    outbound: worker::Queue,
}

impl Queues {
    pub fn new(control: worker::Queue, tasks: worker::Queue, outbound: worker::Queue) -> Queues {
        Queues {
            control,
            tasks,
            outbound,
        }
    }

    fn binding(&self, name: QueueName) -> &worker::Queue {
        match name {
            QueueName::Control => &self.control,
            QueueName::Tasks => &self.tasks,
            QueueName::Outbound => &self.outbound,
        }
    }
}

impl Queue for Queues {
    fn send(&self, messages: Vec<Outgoing>) -> impl Future<Output = Result<(), QueueError>> + Send {
        SendFuture::new(send(self.clone(), messages))
    }
}

async fn send(queues: Queues, mut messages: Vec<Outgoing>) -> Result<(), QueueError> {
    let mut calls = Vec::new();
    for name in [QueueName::Control, QueueName::Tasks, QueueName::Outbound] {
        let messages = messages.extract_if(.., |message| message.queue == name);
        let portions = pack::portions(messages.collect(), |message| message.body.len())
            .map_err(|large| QueueError(format!("a message of {} bytes", large.bytes)))?;
        calls.extend(portions.into_iter().map(|portion| (name, portion)));
    }
    stream::iter(calls)
        .map(|(name, portion)| call(queues.binding(name), portion))
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await
}

async fn call(queue: &worker::Queue, portion: Vec<Outgoing>) -> Result<(), QueueError> {
    let mut batch = BatchMessageBuilder::new();
    for message in portion {
        let mut text = RawMessageBuilder::new(JsValue::from_str(&message.body));
        if message.delay_seconds > 0 {
            text = text.delay_seconds(message.delay_seconds.min(pack::MAX_DELAY_SECONDS));
        }
        batch = batch.message(text.build_with_content_type(QueueContentType::Text));
    }
    queue
        .send_raw_batch(batch.build())
        .await
        .map_err(|error| QueueError(error.to_string()))
}
