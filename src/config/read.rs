//! The variables that there are: their names, defaults and bounds, and what must hold between them.
//!
//! Every one stands in `wrangler.toml` with its default and a comment; the table in the README is the same.

use super::vars::Vars;
use super::{
    Batches, Cache, Caps, Config, ConfigFault, Defaults, Door, Fetching, Intervals, Keep, Tracing,
    Webhooks,
};

/// Who asks, with a page that says more: what operators of servers want to know of a robot.
const USER_AGENT: &str = "Fanwise/0.1 (+https://github.com/fanwise/fanwise)";

/// Cloudflare ends a queue consumer after 15 minutes.
const CONSUMER_MS: u64 = 900_000;
/// Cloudflare allows so many statements of D1 in one invocation.
const STATEMENTS: u64 = 1_000;

impl Config {
    /// Reads variables by name; a missing one has its default.
    pub fn from_vars(get: impl Fn(&str) -> Option<String>) -> Result<Config, Vec<ConfigFault>> {
        let mut vars = Vars::of(&get);
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
        together(&mut vars, &config);
        if vars.faults.is_empty() {
            Ok(config)
        } else {
            Err(vars.faults)
        }
    }
}

/// What must hold between variables.
fn together(vars: &mut Vars<'_>, config: &Config) {
    let intervals = &config.intervals;
    let longest = intervals.work_ms + intervals.call_timeout_ms;
    if longest >= CONSUMER_MS {
        vars.fault(
            "CALL_TIMEOUT_MS",
            format_args!("and WORK_MS are {longest} together, want less than {CONSUMER_MS}"),
        );
    }
    let looks = config.door.events_max_ms / config.door.events_poll_ms.max(1);
    if looks >= STATEMENTS {
        vars.fault(
            "EVENTS_MAX_MS",
            format_args!("is {looks} times EVENTS_POLL_MS, wants less than {STATEMENTS} times"),
        );
    }
}
