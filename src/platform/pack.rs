//! Messages in the portions that Queues takes in one call; pure, so that it is tested natively.

use crate::ports::QueueName;

/// At most so many messages in one `sendBatch`.
const MAX_MESSAGES: usize = 100;
/// And at most so many bytes: 256 KB, a KB being 1,000 bytes. The local emulation allows more.
const MAX_BYTES: usize = 256_000;
/// Of one message: 128 KB.
const MAX_MESSAGE_BYTES: usize = 128_000;
/// What Queues counts for its own notes on a message ("up to about 100 bytes").
const OVERHEAD: usize = 100;

/// The longest delay Queues knows: a day. A message that comes earlier than wished is sent on again.
pub const MAX_DELAY_SECONDS: u32 = 86_400;

/// A message is too large for the queue: ours carry references, so it is a fault of ours.
#[derive(Debug, PartialEq)]
pub struct TooLarge {
    pub bytes: usize,
}

/// Splits messages into calls, in order. `size` is the length of a body in bytes.
pub fn portions<T>(messages: Vec<T>, size: impl Fn(&T) -> usize) -> Result<Vec<Vec<T>>, TooLarge> {
    let mut portions = Vec::new();
    let mut portion = Vec::new();
    let mut bytes = 0;
    for message in messages {
        let own = size(&message).saturating_add(OVERHEAD);
        if own > MAX_MESSAGE_BYTES {
            return Err(TooLarge { bytes: own });
        }
        if portion.len() == MAX_MESSAGES || bytes + own > MAX_BYTES {
            portions.push(std::mem::take(&mut portion));
            bytes = 0;
        }
        bytes += own;
        portion.push(message);
    }
    if !portion.is_empty() {
        portions.push(portion);
    }
    Ok(portions)
}

/// What the messages of a queue are, by the queue's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Live(QueueName),
    DeadLetters,
}

/// Queue names are an account's, so a second deployment has others (`fanwise-staging-tasks`): only the
/// telling part is looked at. `None`: no queue of ours.
pub fn kind(queue: &str) -> Option<Kind> {
    if queue.contains("dlq") {
        Some(Kind::DeadLetters)
    } else if queue.contains("control") {
        Some(Kind::Live(QueueName::Control))
    } else if queue.contains("tasks") {
        Some(Kind::Live(QueueName::Tasks))
    } else if queue.contains("outbound") {
        Some(Kind::Live(QueueName::Outbound))
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_to_send_is_no_call() {
        assert_eq!(portions(Vec::<usize>::new(), |n| *n).unwrap().len(), 0);
    }

    #[test]
    fn a_message_over_the_limit_is_refused() {
        assert!(portions(vec![MAX_MESSAGE_BYTES - OVERHEAD], |n| *n).is_ok());
        assert_eq!(
            portions(vec![1, MAX_MESSAGE_BYTES], |n| *n),
            Err(TooLarge {
                bytes: MAX_MESSAGE_BYTES + OVERHEAD
            })
        );
    }

    #[test]
    fn queues_are_known_by_the_telling_part_of_their_name() {
        assert_eq!(
            kind("fanwise-control"),
            Some(Kind::Live(QueueName::Control))
        );
        assert_eq!(kind("fanwise-tasks"), Some(Kind::Live(QueueName::Tasks)));
        assert_eq!(
            kind("fanwise-staging-tasks"),
            Some(Kind::Live(QueueName::Tasks))
        );
        assert_eq!(
            kind("fanwise-outbound"),
            Some(Kind::Live(QueueName::Outbound))
        );
        assert_eq!(kind("fanwise-control-dlq"), Some(Kind::DeadLetters));
        assert_eq!(kind("fanwise-tasks-dlq"), Some(Kind::DeadLetters));
        assert_eq!(kind("orders"), None);
    }

    proptest! {
        #[test]
        fn all_messages_in_order_and_no_call_over_the_limits(
            sizes in proptest::collection::vec(0..=MAX_MESSAGE_BYTES - OVERHEAD, 0..400)
        ) {
            let calls = portions(sizes.clone(), |n| *n).unwrap();
            for call in &calls {
                prop_assert!(!call.is_empty() && call.len() <= MAX_MESSAGES);
                let bytes: usize = call.iter().map(|n| n + OVERHEAD).sum();
                prop_assert!(bytes <= MAX_BYTES);
            }
            prop_assert_eq!(calls.concat(), sizes);
        }
    }
}
