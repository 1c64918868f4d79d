//! The engine's inner figures: their values, their bounds, and the arithmetic behind them.
//!
//! They are constants, because each one depends on others and on limits of the platform. Tests and local runs change
//! some of them with one variable, `TUNING_JSON`: an object of names and whole numbers.
//!
//! `xtask` compiles this file too, so it uses nothing of the crate.

use serde_json::{Map, Value};

/// The variable that changes constants.
pub const TUNING_JSON: &str = "TUNING_JSON";

/// One constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    pub name: &'static str,
    pub value: u64,
    pub least: u64,
    pub most: u64,
    /// One sentence.
    pub says: &'static str,
}

/// `/// Sentence.` and `NAME = value, least..=most;`: a constant for each, and [`TUNING`] with all of them.
macro_rules! tuning {
    ($(#[doc = $says:literal] $name:ident = $value:literal, $least:literal ..= $most:literal;)+) => {
        $(#[doc = $says] pub const $name: Tuning = Tuning {
            name: stringify!($name), value: $value, least: $least, most: $most, says: $says,
        };)+
        /// All of them, in the order of the reference page.
        pub const TUNING: &[Tuning] = &[$($name),+];
    };
}

tuning! {
    // A Worker has 128 MB, and a parsed body takes several times its size: 128 / 32 = 4 copies.
    /// Bytes of the body of a submit or an estimate.
    MAX_BODY_BYTES = 33_554_432, 1_024..=104_857_600;
    // Streamed: a few pages of it are in memory. Most plans of the platform take a body of at most 100 MB, which is
    // 100,000,000 bytes.
    /// Bytes of a body that comes as a file.
    MAX_UPLOAD_BYTES = 100_000_000, 1_024..=524_288_000;
    // A row of D1 has at most 2 MB, and an item is in its page and in the input of its task.
    /// Bytes of one item, as JSON.
    MAX_ITEM_BYTES = 400_000, 16..=1_000_000;
    // Each call under way holds two copies: 50 calls x 2 x 256 KiB = 25 MiB of 128 MB.
    /// Bytes of the reference material (`context`) of a job, and of a stage.
    MAX_CONTEXT_BYTES = 262_144, 0..=500_000;
    // Of D1. Submits are refused above 80 % of it.
    /// Most bytes of the database.
    STORAGE_BYTES = 10_000_000_000, 100_000..=10_000_000_000;
    /// Stages of a plan.
    MAX_STAGES = 16, 1..=64;

    /// Most tokens of one answer where a map stage names no limit.
    WORKER_MAX_TOKENS = 4_096, 16..=128_000;
    /// Most tokens of one answer where a synthesis names no limit.
    SYNTHESIS_MAX_TOKENS = 8_192, 16..=128_000;
    // MAX_STAGES stages of 768 tokens each: 16 x 768 = 12,288.
    /// Most tokens of a plan.
    PLANNING_MAX_TOKENS = 12_288, 1_024..=128_000;
    /// How often the plan of a dynamic job may be changed after a stage, where its caller names no limit.
    DEFAULT_MAX_ROUNDS = 1, 0..=10;

    // The platform allows 1,000 statements an invocation, and a look is one: EVENTS_MAX_MS / EVENTS_POLL_MS = 900 must
    // stay below.
    /// Milliseconds between two reads of a job that is watched: the minimum interval between progress events.
    EVENTS_POLL_MS = 1_000, 500..=60_000;
    // Many proxies close a connection after 60 s of silence: four heartbeats.
    /// Milliseconds of silence after which a watcher gets a heartbeat.
    EVENTS_HEARTBEAT_MS = 15_000, 500..=600_000;
    /// Milliseconds that one stream of events lasts. Watchers connect again.
    EVENTS_MAX_MS = 900_000, 500..=3_600_000;
    // Two streams: 2 x EVENTS_MAX_MS.
    /// Milliseconds that the ticket of a watcher opens streams.
    EVENTS_TICKET_MS = 1_800_000, 1_000..=86_400_000;

    /// Calls in flight inside one consumer.
    WORKER_SLOTS = 50, 1..=1_000;
    // The platform gives an invocation six connections that wait for a response head. Four wait for Claude, so that a
    // database call and a message never do.
    /// Calls of one consumer that may wait for the response head.
    CONNECTIONS = 4, 1..=1_000;
    // The platform allows 1,000 an invocation, and what is in flight must still be settled: 400 / 50 slots = 8 for each.
    /// Statements after which a consumer hands over to another one.
    MAX_D1_QUERIES = 600, 50..=1_000_000;
    // Shorter than LEASE_MS: another call leads before the tasks of a silent leader expire.
    /// Milliseconds that calls wait for the response head of the one that writes their prefix, before another one leads.
    CACHE_PATIENCE_MS = 20_000, 100..=600_000;

    // A crash is noticed within a minute: LEASE_MS + WATCH_MS + 2 s for a message = 58 s.
    /// Milliseconds that a consumer may be silent before its tasks go to another one.
    LEASE_MS = 36_000, 200..=600_000;
    /// Milliseconds between two searches for leases that ran out, while anything is at work.
    WATCH_MS = 20_000, 1_000..=600_000;
    // The platform adds consumers when one ends, so each works for a short time. It ends a consumer after 900,000 ms, its
    // last call included: 60,000 + 480,000 = 540,000. Where calls are short a consumer ends within 30,000 ms, which a new
    // version of the Worker leaves it.
    /// Milliseconds that a consumer goes on to claim new tasks.
    WORK_MS = 60_000, 100..=600_000;
    // A fiftieth of a call where that is longer, up to 250 ms.
    /// Milliseconds that a call that has ended waits for others, to be written with them in one transaction.
    GATHER_MS = 10, 0..=1_000;
    /// Milliseconds that one call may last, from the first byte sent to the last byte read.
    CALL_TIMEOUT_MS = 480_000, 100..=600_000;
    // A gateway that does not stream sends the head with the end of the answer. The wait may be longer than LEASE_MS: heads
    // have four of six connections, so that a renewal never waits for one.
    /// Milliseconds that one call may wait for the response head.
    HEAD_TIMEOUT_MS = 75_000, 100..=600_000;
    /// Milliseconds between two bytes of an answer.
    IDLE_TIMEOUT_MS = 90_000, 100..=600_000;
    // The sweep runs once a minute.
    /// Milliseconds after which the message of a queued task counts as lost.
    QUEUED_STALE_MS = 60_000, 200..=86_400_000;
    /// Milliseconds after which the sweep moves a job on that no message moved.
    DRIVE_STALE_MS = 60_000, 200..=86_400_000;
    // Doubles each time: 0.5, 1, 2, … 16, 30 s.
    /// Milliseconds before the first repetition of a failed call.
    BACKOFF_MS = 500, 1..=60_000;
    /// Milliseconds before a repetition, at most.
    BACKOFF_MAX_MS = 30_000, 1..=3_600_000;
    // Doubles each time in a row, up to an hour: 5, 10, 20, 40, 60 minutes.
    /// Milliseconds that no call goes out after the account reached its limit or Claude refused its key.
    BREAKER_MS = 300_000, 100..=86_400_000;
    /// Milliseconds that a synthesis may last beyond the deadline of its job.
    DEADLINE_GRACE_MS = 120_000, 0..=3_600_000;

    /// Milliseconds for one page, redirects included.
    FETCH_TIMEOUT_MS = 20_000, 100..=120_000;
    // FETCH_AT_ONCE x 2 MB, and as much again for the text: 16 MB of 128 MB.
    /// Bytes of a page, decompressed.
    FETCH_MAX_BYTES = 2_000_000, 1_024..=10_000_000;
    /// Redirects of one page. Each address is checked again.
    FETCH_MAX_REDIRECTS = 5, 0..=20;
    // Pages and calls to Claude share the CONNECTIONS: two of four.
    /// Pages that one consumer reads at a time.
    FETCH_AT_ONCE = 2, 1..=6;

    // A row of D1 has at most 2 MB. 16 rows of this size are a megabyte of an answer.
    /// Bytes above which a body goes to the key-value store.
    INLINE_BYTES = 65_536, 256..=1_000_000;
    /// Days that the keys of submits are kept. 0: for ever.
    KEEP_IDEMPOTENCY_DAYS = 30, 0..=3_650;
    /// Days that messages are kept that no consumer could settle. 0: for ever.
    KEEP_DEAD_LETTER_DAYS = 30, 0..=3_650;
    /// Days that webhook deliveries are kept, from the last try on. 0: for ever.
    KEEP_DELIVERY_DAYS = 30, 0..=3_650;

    // A batch halves the price of what is in it and may last BATCH_EXPECTED_MS: for fewer calls that is not worth the wait.
    /// Repetitions that must wait together to go out in a batch of their own. Fewer go live.
    BATCH_LEAST = 20, 1..=100_000;
    // Each is a row or two in the transaction that claims them. The API takes 100,000.
    /// Requests of one batch.
    BATCH_MAX_REQUESTS = 10_000, 1..=100_000;
    // Held whole, and once more while it is sent: 32 MB of 128 MB. The API takes 256 MB.
    /// Bytes of one batch.
    BATCH_MAX_BYTES = 16_000_000, 1_000..=256_000_000;
    // The wait is an eighth of the age of the batch, within these bounds. Cron runs once a minute.
    /// Milliseconds between two reads of a batch, at least.
    BATCH_POLL_MS = 60_000, 100..=86_400_000;
    /// Milliseconds between two reads of a batch, at most.
    BATCH_POLL_MAX_MS = 600_000, 100..=86_400_000;
    // The API says that most batches end within an hour.
    /// Milliseconds in which most batches end, for the choice between batches and live calls.
    BATCH_EXPECTED_MS = 3_600_000, 100..=86_400_000;
    /// Milliseconds that cancelling a batch may last. The rest is cancelled this long before it must go live.
    BATCH_CANCEL_MS = 300_000, 0..=86_400_000;
    // A batch that is not in the list so long after its creation could have ended was not created.
    /// Milliseconds beyond CALL_TIMEOUT_MS for which a batch is searched whose creation was not answered.
    BATCH_SEEK_MS = 120_000, 0..=86_400_000;

    /// Milliseconds for one try of a webhook.
    WEBHOOK_TIMEOUT_MS = 15_000, 100..=60_000;
    // Doubles each time: 5, 10, … 10,240 s are 12 waits and 5.7 hours, then four hours each: 16 waits in WEBHOOK_RETRY_MS.
    /// Milliseconds before the second try of a webhook or of traces.
    WEBHOOK_BACKOFF_MS = 5_000, 10..=3_600_000;
    /// Milliseconds between two tries, at most.
    WEBHOOK_BACKOFF_MAX_MS = 14_400_000, 10..=43_200_000;
    /// Milliseconds for which a delivery is tried.
    WEBHOOK_RETRY_MS = 86_400_000, 0..=604_800_000;

    /// Milliseconds for one request to the collector of traces.
    OTLP_TIMEOUT_MS = 10_000, 100..=60_000;
    // A span has about a kilobyte, and a task has one for itself and one for each call: 200 x 2 KB = 400 KB a request.
    /// Tasks in one request to the collector of traces.
    OTLP_TASKS = 200, 1..=1_000;
}

/// The constant of that name.
pub fn find(name: &str) -> Option<&'static Tuning> {
    TUNING.iter().find(|one| one.name == name)
}

/// Moves the names of constants into `TUNING_JSON`, beside what it holds. Of a doubled name the last one counts.
///
/// A value that is no number stays a text, so that the Worker names it. If `TUNING_JSON` holds no object, all stays as it
/// is, and the Worker says that.
pub fn fold(vars: Vec<(String, String)>) -> Vec<(String, String)> {
    let given = vars.iter().rev().find(|(name, _)| name == TUNING_JSON);
    let given = given.map_or("", |(_, value)| value.trim());
    let parsed = match given {
        "" => Ok(Map::new()),
        text => serde_json::from_str::<Map<String, Value>>(text),
    };
    let Ok(mut tuned) = parsed else {
        return vars;
    };
    let mut rest = Vec::new();
    for (name, value) in vars {
        if find(&name).is_some() {
            let text = value.trim();
            // An empty variable counts as not set.
            if text.is_empty() {
                tuned.remove(&name);
                continue;
            }
            let number = text.parse::<u64>().map(Value::from);
            tuned.insert(name, number.unwrap_or_else(|_| Value::from(text)));
        } else if name != TUNING_JSON {
            rest.push((name, value));
        }
    }
    if !tuned.is_empty() {
        rest.push((TUNING_JSON.to_owned(), Value::Object(tuned).to_string()));
    }
    rest
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn folded(vars: &[(&str, &str)]) -> Vec<(String, String)> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        fold(vars.iter().map(pair).collect())
    }

    #[test]
    fn every_constant_is_within_its_own_bounds_and_named_once() {
        for one in TUNING {
            assert!((one.least..=one.most).contains(&one.value), "{}", one.name);
            assert!(one.says.trim().ends_with('.'), "{}", one.name);
            assert_eq!(
                TUNING.iter().filter(|other| other.name == one.name).count(),
                1
            );
        }
    }

    #[test]
    fn old_names_move_into_one_variable_and_the_last_of_doubled_ones_counts() {
        let vars = [
            ("WORKER_SLOTS", "1000"),
            ("CORS_ORIGINS", "*"),
            ("TUNING_JSON", r#"{"LEASE_MS": 1000, "WORKER_SLOTS": 7}"#),
            ("LEASE_MS", " 3000 "),
            ("BACKOFF_MS", "soon"),
        ];
        let [origins, tuned] = folded(&vars).try_into().unwrap();
        assert_eq!(origins, ("CORS_ORIGINS".to_owned(), "*".to_owned()));
        assert_eq!(tuned.0, "TUNING_JSON");
        let tuned: Value = serde_json::from_str(&tuned.1).unwrap();
        let wanted =
            serde_json::json!({"LEASE_MS": 3000, "WORKER_SLOTS": 1000, "BACKOFF_MS": "soon"});
        assert_eq!(tuned, wanted);
    }

    #[test]
    fn nothing_is_added_or_lost_where_there_is_nothing_to_fold() {
        assert!(folded(&[("LEASE_MS", ""), ("TUNING_JSON", " ")]).is_empty());
        let odd = [("TUNING_JSON", "[1]"), ("LEASE_MS", "1000")];
        assert_eq!(folded(&odd).len(), 2);
    }
}
