//! Typed configuration, from variables and secrets. One error lists all that is wrong.
//!
//! - here: what can be set, by what it is about
//! - [`read`]: the variables by name, with their defaults and bounds
//! - [`vars`]: how one of them is read
//!
//! Secrets never appear here: the API key stays in the platform's adapter, tokens are hashed at once.
//!
//! What a fault says goes to the log and to `/healthz?deep=1`. It repeats a value only where that is too short to be a key
//! (somebody may have put one into the wrong variable), and never an address, which may hold a password.

mod read;
mod vars;

use crate::core::guard::{Guard, PublicUrl};

/// A variable that does not hold what it should.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct ConfigFault {
    pub name: &'static str,
    pub problem: String,
}

/// Caps on what a caller may send, so that one request cannot exhaust the Worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Caps {
    pub body_bytes: u64,
    pub upload_bytes: u64,
    pub items: u32,
    pub item_bytes: u32,
    pub context_bytes: u32,
    pub stages: u32,
}

/// What may be asked of other people's servers, and how long and how much of it is listened to.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetching {
    pub guard: Guard,
    pub user_agent: String,
    /// From the first byte sent to the last byte read, redirects included.
    pub timeout_ms: u64,
    /// Of a page, decompressed.
    pub bytes: usize,
    pub redirects: u32,
    /// Requests at a time in one consumer: those beyond six would only wait for a connection.
    pub at_once: u32,
}

/// How the API's prompt cache is used.
#[derive(Debug, Clone, PartialEq)]
pub struct Cache {
    /// False: no call is marked, as some gateways want it.
    pub enabled: bool,
    /// How long calls wait for the head of the one that writes their prefix, before another one leads.
    pub patience_ms: u64,
}

/// Where a job's limits come from when the caller gives none.
#[derive(Debug, Clone, PartialEq)]
pub struct Defaults {
    pub concurrency: u32,
    pub max_attempts: u32,
    pub max_cost_usd: Option<f64>,
    pub worker_model: String,
    pub synthesis_model: String,
    pub planning_model: String,
    pub worker_max_tokens: u32,
    pub synthesis_max_tokens: u32,
    pub planning_max_tokens: u32,
    /// Rounds of re-planning.
    pub max_rounds: u32,
}

/// Every interval of the engine, in milliseconds; tests set them to tenths of a second.
#[derive(Debug, Clone, PartialEq)]
pub struct Intervals {
    /// How long a consumer may be silent before its tasks go to another.
    pub lease_ms: u64,
    /// While anything is at work, leases that ran out are looked for so often. A crash is noticed after a lease and
    /// this: together they stay well under a minute.
    pub watch_ms: u64,
    /// How long a consumer goes on taking new tasks.
    pub work_ms: u64,
    /// How long a call that has ended waits for others, to be written with them in one transaction.
    pub gather_ms: u64,
    /// The most one call may take from first byte sent to last byte read.
    pub call_timeout_ms: u64,
    /// Between the bytes of an answer.
    pub idle_timeout_ms: u64,
    /// A queued task whose message did not come for so long is sent again.
    pub queued_stale_ms: u64,
    /// A job that nobody moved for so long is looked at by the sweep.
    pub drive_stale_ms: u64,
    /// First step of the exponential backoff, and its ceiling.
    pub backoff_ms: u64,
    pub backoff_max_ms: u64,
    /// How long a tripped breaker waits before it lets a probe out.
    pub breaker_ms: u64,
    /// What a synthesis may take beyond the deadline.
    pub deadline_grace_ms: u64,
}

/// The front door.
#[derive(Debug, Clone, PartialEq)]
pub struct Door {
    /// Web origins whose pages may call; `*` for all. Empty: none.
    pub cors_origins: Vec<String>,
    /// Between two looks at a job that is watched: at most so often goes progress out.
    pub events_poll_ms: u64,
    /// After so long a silence a watcher is told that the stream is alive.
    pub events_heartbeat_ms: u64,
    /// How long one stream of events lasts; watchers connect again.
    pub events_max_ms: u64,
    /// How long a watcher's ticket opens streams.
    pub events_ticket_ms: u64,
}

/// Days that things are kept once they are over; 0: for ever.
#[derive(Debug, Clone, PartialEq)]
pub struct Keep {
    /// Jobs with all that belongs to them, from their end on.
    pub job_days: u32,
    /// What models said in the attempts of a job, from its end on.
    pub answer_days: u32,
    /// Keys of submits.
    pub idempotency_days: u32,
    /// Messages that nobody could settle.
    pub dead_letter_days: u32,
    /// What was delivered to webhooks, from the last try on.
    pub delivery_days: u32,
}

/// How calls go out in batches.
#[derive(Debug, Clone, PartialEq)]
pub struct Batches {
    /// What is asked again goes in a batch of its own only if so many wait together; fewer go live.
    pub least: u32,
    /// Of one batch.
    pub most_requests: u32,
    pub most_bytes: u64,
    /// Between two looks at a batch: an eighth of its age, within these.
    pub poll_ms: u64,
    pub poll_max_ms: u64,
    /// In which most batches end, as the choice between batches and live calls reckons.
    pub expected_ms: u64,
    /// What cancelling a batch may take: so long before it must go live is what is left cancelled.
    pub cancel_ms: u64,
    /// A batch whose creation was not answered and that is not in the list so long after it could have been made, was not.
    pub seek_ms: u64,
}

/// How webhooks are called, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhooks {
    /// For one try, from the first byte sent to the last byte read.
    pub timeout_ms: u64,
    /// The first wait between tries, and the longest.
    pub backoff_ms: u64,
    pub backoff_max_ms: u64,
    /// How long a delivery is tried.
    pub retry_ms: u64,
}

/// Where traces go, and in which pieces.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// None: nothing is traced. It is the operator's own, so no guard but the platform's stands before it.
    pub endpoint: Option<PublicUrl>,
    /// For one request, from the first byte sent to the last byte read.
    pub timeout_ms: u64,
    /// Tasks that one request tells about; each with its calls, about a kilobyte a span.
    pub tasks: u32,
}

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub caps: Caps,
    pub defaults: Defaults,
    pub intervals: Intervals,
    pub door: Door,
    /// Submits of one token in a minute.
    pub submits_per_minute: u32,
    pub fetching: Fetching,
    /// Calls in flight inside one consumer invocation.
    pub worker_slots: u32,
    /// Of those, how many may wait for their answer's head: an invocation has six connections for that.
    pub connections: u32,
    /// Statements after which a consumer takes nothing more: an invocation may send 1,000, and what it has in flight
    /// must still be settled.
    pub max_d1_queries: u32,
    /// Calls in flight in a class whose rate headers have not been seen yet.
    pub governor_start: u32,
    pub cache: Cache,
    /// For the whole account, and for each token, per UTC day.
    pub account_daily_usd: Option<f64>,
    pub token_daily_usd: Option<f64>,
    /// How long a paid result is kept for reuse.
    pub ledger_days: u32,
    /// Schedules of one tenant.
    pub max_schedules: u32,
    /// How long what is over is kept.
    pub keep: Keep,
    pub batches: Batches,
    pub webhooks: Webhooks,
    pub tracing: Tracing,
    /// Bodies above this go to the blob store.
    pub inline_bytes: usize,
    /// The headers that tell which task a call belongs to.
    pub trace_headers: bool,
    /// Payloads in the log.
    pub log_payloads: bool,
    /// Models and prices that replace or add to the built-in ones (JSON).
    pub models_json: Option<String>,
}

impl Config {
    /// Nano-dollars that any one tenant may spend on a day, where that is bound.
    pub fn day_cap(&self) -> Option<i64> {
        [self.account_daily_usd, self.token_daily_usd]
            .into_iter()
            .flatten()
            .map(|usd| crate::core::money::Nano::from_usd_floor(usd).0)
            .min()
    }
}

/// All faults on one line each, for the log and the health check.
pub fn describe(faults: &[ConfigFault]) -> String {
    faults
        .iter()
        .map(ConfigFault::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_gives_the_defaults() {
        let config = Config::from_vars(|_| None).unwrap();
        assert_eq!(config.worker_slots, 50);
        assert_eq!(config.defaults.max_cost_usd, None);
    }

    /// What stands in `wrangler.toml` is every variable there is, with its default.
    #[test]
    fn the_deployment_s_file_names_every_variable_with_its_default() {
        let file: toml::Table = include_str!("../../wrangler.toml").parse().unwrap();
        let vars = file.get("vars").and_then(toml::Value::as_table).unwrap();
        let asked = std::cell::RefCell::new(Vec::new());
        let config = Config::from_vars(|name| {
            asked.borrow_mut().push(name.to_owned());
            Some(vars.get(name)?.as_str()?.to_owned())
        });
        assert_eq!(config, Config::from_vars(|_| None));
        let mut asked = asked.into_inner();
        // Read by the platform's adapter.
        asked.push("ANTHROPIC_BASE_URL".into());
        let mut listed: Vec<String> = vars.keys().cloned().collect();
        asked.sort();
        listed.sort();
        assert_eq!(listed, asked);
    }

    #[test]
    fn origins_are_what_browsers_send() {
        let config = |text: &'static str| {
            Config::from_vars(move |name| (name == "CORS_ORIGINS").then(|| text.into()))
        };
        let several = "https://app.example.com, http://localhost:5173,";
        assert_eq!(
            config(several).unwrap().door.cors_origins,
            ["https://app.example.com", "http://localhost:5173"]
        );
        for wrong in [
            "app.example.com",
            "https://",
            "https://a/",
            "https://A.b",
            "https://*.a",
        ] {
            assert_eq!(config(wrong).unwrap_err().len(), 1, "{wrong}");
        }
    }

    #[test]
    fn every_wrong_value_is_named_at_once() {
        let faults = Config::from_vars(|name| match name {
            "WORKER_SLOTS" => Some("many".into()),
            "ACCOUNT_DAILY_USD" => Some("-1".into()),
            "TRACE_HEADERS" => Some("perhaps".into()),
            "LEASE_MS" => Some(" ".into()),
            "FETCH_ALLOW_HOSTS" => Some("127.0.0.1:9922, localhost".into()),
            _ => None,
        })
        .unwrap_err();
        let text = describe(&faults);
        let names = [
            "WORKER_SLOTS",
            "ACCOUNT_DAILY_USD",
            "TRACE_HEADERS",
            "FETCH_ALLOW_HOSTS",
        ];
        for name in names {
            assert!(text.contains(name), "{text}");
        }
        assert_eq!(faults.len(), names.len());
        assert!(text.contains(r#"WORKER_SLOTS: is "many","#), "{text}");
    }

    /// Whatever variable a secret was put into by mistake, or is part of.
    #[test]
    fn no_fault_repeats_a_secret() {
        let secrets = [
            "sixteen-letters!",
            "https://user:hunter2-hunter2@example.com",
        ];
        for secret in secrets {
            let faults = Config::from_vars(|_| Some(secret.into())).unwrap_err();
            let text = describe(&faults);
            assert!(faults.len() > 50, "{text}");
            assert!(
                !text.contains(secret) && !text.contains("hunter2"),
                "{text}"
            );
        }
        let list = "a.example:1, user:hunter2@b.example:2";
        for name in ["FETCH_ALLOW_HOSTS", "CORS_ORIGINS"] {
            let faults = Config::from_vars(|asked| (asked == name).then(|| list.into()));
            let text = describe(&faults.unwrap_err());
            assert!(text.contains("its entry 2 is"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
