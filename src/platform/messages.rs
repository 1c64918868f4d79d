//! Batches of a queue become calls of the use cases, and their verdicts go back to the queue.
//!
//! Every message is settled by name: one that is left alone counts as done, and one that makes the
//! handler fail takes its whole batch (and the instance) with it.

use futures::future::join_all;
use worker::{MessageBatch, MessageExt, QueueRetryOptionsBuilder, RawMessage};

use crate::api::read_job;
use crate::app::dispatch::Settle;
use crate::app::{App, dispatch};
use crate::platform::pack::Kind;
use crate::platform::{js, pack};
use crate::ports::{Ports, QueueName};

/// Works through a batch. Called by the queue event.
pub async fn settle<P: Ports>(app: &App<P>, batch: &MessageBatch<()>) {
    let queue = batch.queue();
    let mut texts = Vec::new();
    for message in batch.raw_iter() {
        let body = message.body();
        match body.as_string() {
            Some(text) => texts.push((message, text)),
            // Nobody of ours sent it.
            None => {
                let verdict = dispatch::dead_letter(app, &queue, &js::debug(&body)).await;
                tell(&message, verdict);
            }
        }
    }
    match pack::kind(&queue) {
        Some(Kind::Live(QueueName::Tasks)) => {
            let (messages, bodies): (Vec<_>, Vec<_>) = texts.into_iter().unzip();
            let verdict = dispatch::tasks(app, bodies).await;
            for message in &messages {
                tell(message, verdict);
            }
        }
        Some(Kind::Live(QueueName::Control)) => {
            join_all(texts.iter().map(async |(message, text)| {
                tell(message, dispatch::control(app, text).await);
            }))
            .await;
        }
        Some(Kind::Live(QueueName::Outbound)) => {
            join_all(texts.iter().map(async |(message, text)| {
                tell(message, dispatch::outbound(app, text, read_job).await);
            }))
            .await;
        }
        Some(Kind::DeadLetters) | None => {
            for (message, text) in &texts {
                tell(message, dispatch::dead_letter(app, &queue, text).await);
            }
        }
    }
}

/// Sends a whole batch back: for when nothing can be done with it at present.
pub fn put_off(batch: &MessageBatch<()>, delay_seconds: u32) {
    for message in batch.raw_iter() {
        tell(&message, Settle::Retry { delay_seconds });
    }
}

fn tell(message: &RawMessage, verdict: Settle) {
    match verdict {
        Settle::Ack => message.ack(),
        Settle::Retry { delay_seconds } => message.retry_with_options(
            &QueueRetryOptionsBuilder::new()
                .with_delay_seconds(delay_seconds.min(pack::MAX_DELAY_SECONDS))
                .build(),
        ),
    }
}
