//! Typed configuration, from variables and secrets. One error lists all that is wrong.
//!
//! Every variable stands in `wrangler.toml` with its default and a comment; the table in the README is the
//! same. Secrets never appear here: the API key stays in the platform's adapter, tokens are hashed at once.
//!
//! What a fault says goes to the log and to `/healthz?deep=1`. It repeats a value only where that is no longer than
//! [`SHOWN`], which no key is (somebody may have put one into the wrong variable), and never an address, which may hold a password.

use std::fmt;

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

/// Who asks, with a page that says more: what operators of servers want to know of a robot.
const USER_AGENT: &str = "Fanwise/0.1 (+https://github.com/fanwise/fanwise)";

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

/// Where OTLP over HTTP takes spans.
const TRACES: &str = "/v1/traces";
/// Characters of the longest value that a fault repeats. Numbers and switches are shorter; the shortest secret that is taken, a key that signs
/// webhooks, has 16.
const SHOWN: usize = 12;
/// Cloudflare ends a queue consumer after 15 minutes.
const CONSUMER_MS: u64 = 900_000;
/// Cloudflare allows so many statements of D1 in one invocation.
const STATEMENTS: u64 = 1_000;

impl Config {
    /// Nano-dollars that any one tenant may spend on a day, where that is bound.
    pub fn day_cap(&self) -> Option<i64> {
        [self.account_daily_usd, self.token_daily_usd]
            .into_iter()
            .flatten()
            .map(|usd| crate::core::money::Nano::from_usd_floor(usd).0)
            .min()
    }

    /// Reads variables by name; a missing one has its default.
    pub fn from_vars(get: impl Fn(&str) -> Option<String>) -> Result<Config, Vec<ConfigFault>> {
        let mut vars = Vars {
            get: &get,
            faults: Vec::new(),
        };
        let config = Config {
            caps: Caps {
                // A Worker has 128 MB; a parsed body takes several times its size.
                body_bytes: vars.int("MAX_BODY_BYTES", 33_554_432, 1_024, 104_857_600),
                // Streamed: what is held of it is a few pages. The platform takes no larger body on most plans.
                upload_bytes: vars.int("MAX_UPLOAD_BYTES", 104_857_600, 1_024, 524_288_000),
                items: vars.int("MAX_ITEMS", 100_000, 1, 100_000) as u32,
                item_bytes: vars.int("MAX_ITEM_BYTES", 400_000, 16, 1_000_000) as u32,
                // Of it, each call under way holds two copies.
                context_bytes: vars.int("MAX_CONTEXT_BYTES", 262_144, 0, 500_000) as u32,
                stages: vars.int("MAX_STAGES", 16, 1, 64) as u32,
            },
            defaults: Defaults {
                concurrency: vars.int("DEFAULT_CONCURRENCY", 50, 1, 1_000) as u32,
                max_attempts: vars.int("DEFAULT_MAX_ATTEMPTS", 5, 1, 20) as u32,
                max_cost_usd: vars.dollars("DEFAULT_MAX_COST_USD"),
                worker_model: vars.text("WORKER_MODEL", "claude-haiku-5-5"),
                synthesis_model: vars.text("SYNTHESIS_MODEL", "claude-opus-5-5"),
                planning_model: vars.text("PLANNING_MODEL", "claude-opus-5-5"),
                worker_max_tokens: vars.int("WORKER_MAX_TOKENS", 4_096, 16, 128_000) as u32,
                synthesis_max_tokens: vars.int("SYNTHESIS_MAX_TOKENS", 8_192, 16, 128_000) as u32,
                planning_max_tokens: vars.int("PLANNING_MAX_TOKENS", 12_288, 1_024, 128_000) as u32,
                max_rounds: vars.int("DEFAULT_MAX_ROUNDS", 1, 0, 10) as u32,
            },
            intervals: Intervals {
                lease_ms: vars.int("LEASE_MS", 25_000, 200, 600_000),
                watch_ms: vars.int("WATCH_MS", 20_000, 1_000, 600_000),
                work_ms: vars.int("WORK_MS", 240_000, 100, 600_000),
                gather_ms: vars.int("GATHER_MS", 10, 0, 1_000),
                call_timeout_ms: vars.int("CALL_TIMEOUT_MS", 480_000, 100, 600_000),
                idle_timeout_ms: vars.int("IDLE_TIMEOUT_MS", 90_000, 100, 600_000),
                queued_stale_ms: vars.int("QUEUED_STALE_MS", 60_000, 200, 86_400_000),
                drive_stale_ms: vars.int("DRIVE_STALE_MS", 60_000, 200, 86_400_000),
                backoff_ms: vars.int("BACKOFF_MS", 500, 1, 60_000),
                backoff_max_ms: vars.int("BACKOFF_MAX_MS", 30_000, 1, 3_600_000),
                breaker_ms: vars.int("BREAKER_MS", 300_000, 100, 86_400_000),
                deadline_grace_ms: vars.int("DEADLINE_GRACE_MS", 120_000, 0, 3_600_000),
            },
            door: Door {
                cors_origins: vars.origins("CORS_ORIGINS"),
                events_poll_ms: vars.int("EVENTS_POLL_MS", 1_000, 500, 60_000),
                events_heartbeat_ms: vars.int("EVENTS_HEARTBEAT_MS", 15_000, 500, 600_000),
                events_max_ms: vars.int("EVENTS_MAX_MS", 900_000, 500, 3_600_000),
                events_ticket_ms: vars.int("EVENTS_TICKET_MS", 1_800_000, 1_000, 86_400_000),
            },
            submits_per_minute: vars.int("SUBMITS_PER_MINUTE", 600, 1, 1_000_000) as u32,
            fetching: Fetching {
                guard: vars.guard("FETCH_ALLOW_HOSTS"),
                user_agent: vars.text("FETCH_USER_AGENT", USER_AGENT),
                timeout_ms: vars.int("FETCH_TIMEOUT_MS", 20_000, 100, 120_000),
                bytes: vars.int("FETCH_MAX_BYTES", 2_000_000, 1_024, 10_000_000) as usize,
                redirects: vars.int("FETCH_MAX_REDIRECTS", 5, 0, 20) as u32,
                at_once: vars.int("FETCH_AT_ONCE", 4, 1, 6) as u32,
            },
            worker_slots: vars.int("WORKER_SLOTS", 50, 1, 1_000) as u32,
            connections: vars.int("CONNECTIONS", 6, 1, 1_000) as u32,
            max_d1_queries: vars.int("MAX_D1_QUERIES", 600, 50, 1_000_000) as u32,
            governor_start: vars.int("GOVERNOR_START", 50, 1, 1_000) as u32,
            cache: Cache {
                enabled: vars.switch("PROMPT_CACHE", true),
                patience_ms: vars.int("CACHE_PATIENCE_MS", 20_000, 100, 600_000),
            },
            account_daily_usd: vars.dollars("ACCOUNT_DAILY_USD"),
            token_daily_usd: vars.dollars("TOKEN_DAILY_USD"),
            ledger_days: vars.int("LEDGER_DAYS", 30, 0, 365) as u32,
            max_schedules: vars.int("MAX_SCHEDULES", 100, 0, 10_000) as u32,
            keep: Keep {
                job_days: vars.int("KEEP_JOB_DAYS", 90, 0, 3_650) as u32,
                answer_days: vars.int("KEEP_ANSWER_DAYS", 30, 0, 3_650) as u32,
                idempotency_days: vars.int("KEEP_IDEMPOTENCY_DAYS", 30, 0, 3_650) as u32,
                dead_letter_days: vars.int("KEEP_DEAD_LETTER_DAYS", 30, 0, 3_650) as u32,
                delivery_days: vars.int("KEEP_DELIVERY_DAYS", 30, 0, 3_650) as u32,
            },
            batches: Batches {
                least: vars.int("BATCH_LEAST", 20, 1, 100_000) as u32,
                // Each is a row or two in the transaction that claims them.
                most_requests: vars.int("BATCH_MAX_REQUESTS", 10_000, 1, 100_000) as u32,
                // Held whole, and once more while it is sent, in an isolate of 128 MB.
                most_bytes: vars.int("BATCH_MAX_BYTES", 16_000_000, 1_000, 256_000_000),
                poll_ms: vars.int("BATCH_POLL_MS", 60_000, 100, 86_400_000),
                poll_max_ms: vars.int("BATCH_POLL_MAX_MS", 600_000, 100, 86_400_000),
                expected_ms: vars.int("BATCH_EXPECTED_MS", 3_600_000, 100, 86_400_000),
                cancel_ms: vars.int("BATCH_CANCEL_MS", 300_000, 0, 86_400_000),
                seek_ms: vars.int("BATCH_SEEK_MS", 120_000, 0, 86_400_000),
            },
            webhooks: Webhooks {
                timeout_ms: vars.int("WEBHOOK_TIMEOUT_MS", 15_000, 100, 60_000),
                backoff_ms: vars.int("WEBHOOK_BACKOFF_MS", 5_000, 10, 3_600_000),
                backoff_max_ms: vars.int("WEBHOOK_BACKOFF_MAX_MS", 14_400_000, 10, 43_200_000),
                retry_ms: vars.int("WEBHOOK_RETRY_MS", 86_400_000, 0, 604_800_000),
            },
            tracing: Tracing {
                endpoint: vars.collector("OTLP_ENDPOINT"),
                timeout_ms: vars.int("OTLP_TIMEOUT_MS", 10_000, 100, 60_000),
                tasks: vars.int("OTLP_TASKS", 200, 1, 1_000) as u32,
            },
            inline_bytes: vars.int("INLINE_BYTES", 65_536, 256, 1_000_000) as usize,
            trace_headers: vars.switch("TRACE_HEADERS", true),
            log_payloads: vars.switch("LOG_PAYLOADS", false),
            models_json: vars.optional("MODELS_JSON"),
        };
        vars.together(&config);
        if vars.faults.is_empty() {
            Ok(config)
        } else {
            Err(vars.faults)
        }
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

struct Vars<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<ConfigFault>,
}

impl Vars<'_> {
    /// An empty variable counts as not set, so that `wrangler.toml` can list every one of them.
    fn optional(&self, name: &str) -> Option<String> {
        (self.get)(name).filter(|value| !value.trim().is_empty())
    }

    fn text(&self, name: &str, default: &str) -> String {
        self.optional(name).unwrap_or_else(|| default.to_owned())
    }

    fn int(&mut self, name: &'static str, default: u64, least: u64, most: u64) -> u64 {
        let Some(text) = self.optional(name) else {
            return default;
        };
        match text.trim().parse::<u64>() {
            Ok(value) if (least..=most).contains(&value) => value,
            _ => {
                self.fault(
                    name,
                    format_args!(
                        "{}, wants a whole number from {least} to {most}",
                        held(&text)
                    ),
                );
                default
            }
        }
    }

    fn dollars(&mut self, name: &'static str) -> Option<f64> {
        let text = self.optional(name)?;
        match text.trim().parse::<f64>() {
            Ok(value) if value.is_finite() && (0.0..=1e6).contains(&value) => Some(value),
            _ => {
                self.fault(
                    name,
                    format_args!("{}, wants dollars from 0 to 1000000", held(&text)),
                );
                None
            }
        }
    }

    fn guard(&mut self, name: &'static str) -> Guard {
        let list = self.optional(name).unwrap_or_default();
        Guard::new(&list).unwrap_or_else(|place| {
            self.fault(
                name,
                format_args!("its entry {place} is not HOST:PORT, several of them by commas"),
            );
            Guard::default()
        })
    }

    /// An OTLP endpoint as OpenTelemetry's own variable has it: `/v1/traces` is added where it is not there.
    fn collector(&mut self, name: &'static str) -> Option<PublicUrl> {
        let text = self.optional(name)?;
        let url = text.trim().trim_end_matches('/');
        let whole = match url.ends_with(TRACES) {
            true => url.to_owned(),
            false => format!("{url}{TRACES}"),
        };
        let endpoint = PublicUrl::of_operator(&whole);
        if endpoint.is_none() {
            // The value may hold a password: it is not repeated.
            self.fault(
                name,
                format_args!("wants an http(s) URL without user, query and fragment"),
            );
        }
        endpoint
    }

    fn switch(&mut self, name: &'static str, default: bool) -> bool {
        match self.optional(name).as_deref().map(str::trim) {
            None => default,
            Some("true" | "1" | "on") => true,
            Some("false" | "0" | "off") => false,
            Some(text) => {
                let held = held(text);
                self.fault(name, format_args!("{held}, wants true or false"));
                default
            }
        }
    }

    /// What must hold between variables.
    fn together(&mut self, config: &Config) {
        let intervals = &config.intervals;
        let longest = intervals.work_ms + intervals.call_timeout_ms;
        if longest >= CONSUMER_MS {
            self.fault(
                "CALL_TIMEOUT_MS",
                format_args!("and WORK_MS are {longest} together, want less than {CONSUMER_MS}"),
            );
        }
        let looks = config.door.events_max_ms / config.door.events_poll_ms.max(1);
        if looks >= STATEMENTS {
            self.fault(
                "EVENTS_MAX_MS",
                format_args!("is {looks} times EVENTS_POLL_MS, wants less than {STATEMENTS} times"),
            );
        }
    }

    /// Web origins as browsers send them, with commas between; or `*`.
    fn origins(&mut self, name: &'static str) -> Vec<String> {
        let text = self.optional(name).unwrap_or_default();
        let given = text.split(',').map(str::trim).filter(|one| !one.is_empty());
        let origins: Vec<String> = given.map(str::to_owned).collect();
        for (place, _) in (1..).zip(&origins).filter(|(_, origin)| !is_origin(origin)) {
            self.fault(
                name,
                format_args!("its entry {place} is neither `*` nor an origin like https://app.example.com, in lower case; several of them by commas"),
            );
        }
        origins
    }

    fn fault(&mut self, name: &'static str, problem: fmt::Arguments<'_>) {
        self.faults.push(ConfigFault {
            name,
            problem: problem.to_string(),
        });
    }
}

/// What a variable holds, as a fault may say it.
fn held(text: &str) -> String {
    match text.chars().count() {
        count if count > SHOWN => format!("holds {count} characters"),
        _ => format!("is {text:?}"),
    }
}

/// `*`, or a scheme and a host, perhaps with a port: just what a browser's `Origin` header holds.
fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:[]".contains(&b);
    text == "*" || host.is_some_and(|host| !host.is_empty() && host.bytes().all(plain))
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
        let file: toml::Table = include_str!("../wrangler.toml").parse().unwrap();
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
