//! Typed configuration, from variables and secrets. One error lists all that is wrong.
//!
//! - here: the values, by what they are about
//! - [`table`]: the variables of an operator, each declared once
//! - [`tuning`]: the inner figures of the engine, each declared once
//! - [`read`]: which value comes from which declaration, and what must hold between them
//! - [`vars`]: how one of them is read
//! - `documents`: what is made of the declarations: `wrangler.toml`, the reference page
//!
//! Secrets never appear here: the API key stays in the platform's adapter, tokens are hashed at once.
//!
//! What a fault says goes to the log and to `/healthz?deep=1`. It repeats a value only where that is too short to be a key
//! (somebody may have put one into the wrong variable), and never an address, which may hold a password.

#[cfg(test)]
mod documents;
mod read;
pub mod table;
pub mod tuning;
mod vars;

use crate::core::net::url_guard::{Guard, PublicUrl};

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
    /// this: together they stay under two minutes.
    pub watch_ms: u64,
    /// How long a consumer goes on taking new tasks.
    pub work_ms: u64,
    /// How long a call that has ended waits for others, to be written with them in one transaction.
    pub gather_ms: u64,
    /// The most one call may take from first byte sent to last byte read.
    pub call_timeout_ms: u64,
    /// The most a call may wait for the head of its answer.
    pub head_timeout_ms: u64,
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
    /// The base URL of Claude's API. It holds no secret: addresses with one are refused.
    pub endpoint: String,
    /// The key goes as a bearer token, not in `x-api-key`.
    pub bearer: bool,
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
    /// For the whole account, and for each tenant, per UTC day.
    pub account_daily_usd: Option<f64>,
    pub tenant_daily_usd: Option<f64>,
    /// A job whose plan Claude makes needs neither a cap nor an approval.
    pub plans_without_cap: bool,
    /// How long a paid result is kept for reuse.
    pub ledger_days: u32,
    /// Schedules of one tenant.
    pub max_schedules: u32,
    /// How long what is over is kept.
    pub keep: Keep,
    pub batches: Batches,
    pub webhooks: Webhooks,
    pub tracing: Tracing,
    /// Most bytes of the database.
    pub storage_bytes: u64,
    /// Bodies above this go to the blob store.
    pub inline_bytes: usize,
    /// The headers that tell which task a call belongs to.
    pub trace_headers: bool,
    /// Payloads in the log.
    pub log_payloads: bool,
    /// Models and prices that replace or add to the built-in ones (JSON).
    pub models_json: Option<String>,
    /// What an operator should change although it works: old names.
    pub warnings: Vec<ConfigFault>,
}

impl Config {
    /// Nano-dollars that any one tenant may spend on a day, where that is bound.
    pub fn day_cap(&self) -> Option<i64> {
        [self.account_daily_usd, self.tenant_daily_usd]
            .into_iter()
            .flatten()
            .map(|usd| crate::core::value::money::Nano::from_usd_floor(usd).0)
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
        let faults = Config::from_pairs(&[
            ("WORKER_SLOTS", "many"),
            ("ACCOUNT_DAILY_USD", "-1"),
            ("TRACE_HEADERS", "perhaps"),
            ("LEASE_MS", " "),
            ("FETCH_ALLOW_HOSTS", "127.0.0.1:9922, localhost"),
        ])
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

    #[test]
    fn one_variable_changes_constants_and_names_what_it_does_not_know() {
        let config = Config::from_pairs(&[("TUNING_JSON", r#"{"LEASE_MS": 1000}"#)]).unwrap();
        assert_eq!(config.intervals.lease_ms, 1_000);
        let wrong = r#"{"LEASE": 1, "LEASE_MS": true, "WATCH": 2, "sk-ant-hunter2-hunter2": 3}"#;
        let faults = Config::from_pairs(&[("TUNING_JSON", wrong)]).unwrap_err();
        let [names, value] = faults.try_into().unwrap();
        assert_eq!(names.name, "TUNING_JSON");
        let problem =
            "has unknown names: LEASE, WATCH, one of 22 characters; known are MAX_BODY_BYTES, ";
        assert!(names.problem.starts_with(problem), "{}", names.problem);
        let value = value.to_string();
        assert!(value.starts_with("LEASE_MS: is \"true\", wants"), "{value}");
        for text in ["[]", "1", "{", "sk-ant-hunter2"] {
            let faults = Config::from_pairs(&[("TUNING_JSON", text)]).unwrap_err();
            assert_eq!(describe(&faults), "TUNING_JSON: is no JSON object");
        }
    }

    /// It would have no effect, and who set it would not know.
    #[test]
    fn a_constant_that_is_set_as_a_variable_is_refused() {
        let faults = Config::from_vars(|name| (name == "LEASE_MS").then(|| "1000".into()));
        let text = describe(&faults.unwrap_err());
        assert_eq!(text, "LEASE_MS: is no variable, set it in TUNING_JSON");
    }

    #[test]
    fn an_old_name_is_read_with_a_warning() {
        let config = Config::from_pairs(&[("TOKEN_DAILY_USD", "2")]).unwrap();
        assert_eq!(config.tenant_daily_usd, Some(2.0));
        let warned = "TOKEN_DAILY_USD: is the old name of TENANT_DAILY_USD: rename it";
        assert_eq!(describe(&config.warnings), warned);
        let both = [("TOKEN_DAILY_USD", "2"), ("TENANT_DAILY_USD", "3")];
        let config = Config::from_pairs(&both).unwrap();
        assert_eq!(config.tenant_daily_usd, Some(3.0));
        assert!(describe(&config.warnings).contains("is not read"));
        let wrong = Config::from_pairs(&[("TOKEN_DAILY_USD", "-2")]).unwrap_err();
        assert!(
            describe(&wrong).starts_with("TENANT_DAILY_USD: is "),
            "{wrong:?}"
        );
    }
}
