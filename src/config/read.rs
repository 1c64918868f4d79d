//! Reads every variable and constant into its field, and checks what must hold between them.

use crate::config::vars::Vars;
use crate::config::{
    Batches, Cache, Caps, Config, ConfigFault, Defaults, Door, Fetching, Intervals, Keep, Tracing,
    Webhooks, table, tuning,
};

/// Cloudflare ends a queue consumer after 15 minutes.
const CONSUMER_MS: u64 = 900_000;
/// Cloudflare allows so many statements of D1 in one invocation.
const STATEMENTS: u64 = 1_000;

impl Config {
    /// Reads variables as a test or a local run gives them: constants by their names too. Of a doubled name the first counts.
    pub fn from_pairs(vars: &[(&str, &str)]) -> Result<Config, Vec<ConfigFault>> {
        let pairs = vars.iter().rev();
        let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let folded = tuning::fold(pairs.collect());
        Config::from_vars(|asked| {
            let found = folded.iter().rev().find(|(name, _)| name == asked);
            found.map(|(_, value)| value.clone())
        })
    }

    /// Reads variables by name; a missing one has its default.
    pub fn from_vars(get: impl Fn(&str) -> Option<String>) -> Result<Config, Vec<ConfigFault>> {
        let mut vars = Vars::of(&get);
        let mut config = Config {
            endpoint: endpoint(&mut vars),
            bearer: vars.one_of(&table::CLAUDE_AUTH) == "bearer",
            caps: caps(&mut vars),
            defaults: defaults(&mut vars),
            intervals: intervals(&mut vars),
            door: door(&mut vars),
            submits_per_minute: vars.int(&table::SUBMITS_PER_MINUTE) as u32,
            fetching: fetching(&mut vars),
            worker_slots: vars.tuned(&tuning::WORKER_SLOTS) as u32,
            connections: vars.tuned(&tuning::CONNECTIONS) as u32,
            max_d1_queries: vars.tuned(&tuning::MAX_D1_QUERIES) as u32,
            governor_start: vars.int(&table::GOVERNOR_START) as u32,
            cache: Cache {
                enabled: vars.switch(&table::PROMPT_CACHE),
                patience_ms: vars.tuned(&tuning::CACHE_PATIENCE_MS),
            },
            account_daily_usd: vars.dollars(&table::ACCOUNT_DAILY_USD),
            tenant_daily_usd: vars.dollars(&table::TENANT_DAILY_USD),
            plans_without_cap: vars.switch(&table::PLANS_WITHOUT_CAP),
            ledger_days: vars.int(&table::LEDGER_DAYS) as u32,
            max_schedules: vars.int(&table::MAX_SCHEDULES) as u32,
            keep: keep(&mut vars),
            batches: batches(&mut vars),
            webhooks: webhooks(&mut vars),
            tracing: tracing(&mut vars),
            storage_bytes: vars.tuned(&tuning::STORAGE_BYTES),
            inline_bytes: vars.tuned(&tuning::INLINE_BYTES) as usize,
            trace_headers: vars.switch(&table::TRACE_HEADERS),
            log_payloads: vars.switch(&table::LOG_PAYLOADS),
            models_json: vars.optional(&table::MODELS_JSON),
            warnings: Vec::new(),
        };
        together(&mut vars, &config);
        config.warnings = vars.warnings;
        if config.account_daily_usd.is_none() && config.tenant_daily_usd.is_none() {
            config.warnings.push(ConfigFault {
                name: table::ACCOUNT_DAILY_USD.name,
                problem: "is not set: jobs without `limits.max_cost_usd` may spend without end"
                    .to_owned(),
            });
        }
        if vars.faults.is_empty() {
            Ok(config)
        } else {
            Err(vars.faults)
        }
    }
}

/// As it is told apart from others; the platform's adapter checks it.
fn endpoint(vars: &mut Vars<'_>) -> String {
    let given = vars.optional(&table::ANTHROPIC_BASE_URL);
    let given = given.unwrap_or_else(|| table::ANTHROPIC_BASE_URL.kind.default_text());
    given.trim().trim_end_matches('/').to_owned()
}

fn caps(vars: &mut Vars<'_>) -> Caps {
    Caps {
        body_bytes: vars.tuned(&tuning::MAX_BODY_BYTES),
        upload_bytes: vars.tuned(&tuning::MAX_UPLOAD_BYTES),
        items: vars.int(&table::MAX_ITEMS) as u32,
        item_bytes: vars.tuned(&tuning::MAX_ITEM_BYTES) as u32,
        context_bytes: vars.tuned(&tuning::MAX_CONTEXT_BYTES) as u32,
        stages: vars.tuned(&tuning::MAX_STAGES) as u32,
    }
}

fn defaults(vars: &mut Vars<'_>) -> Defaults {
    Defaults {
        concurrency: vars.int(&table::DEFAULT_CONCURRENCY) as u32,
        max_attempts: vars.int(&table::DEFAULT_MAX_ATTEMPTS) as u32,
        max_cost_usd: vars.dollars(&table::DEFAULT_MAX_COST_USD),
        worker_model: vars.text(&table::WORKER_MODEL),
        synthesis_model: vars.text(&table::SYNTHESIS_MODEL),
        planning_model: vars.text(&table::PLANNING_MODEL),
        worker_max_tokens: vars.tuned(&tuning::WORKER_MAX_TOKENS) as u32,
        synthesis_max_tokens: vars.tuned(&tuning::SYNTHESIS_MAX_TOKENS) as u32,
        planning_max_tokens: vars.tuned(&tuning::PLANNING_MAX_TOKENS) as u32,
        max_rounds: vars.tuned(&tuning::DEFAULT_MAX_ROUNDS) as u32,
    }
}

fn intervals(vars: &mut Vars<'_>) -> Intervals {
    Intervals {
        lease_ms: vars.tuned(&tuning::LEASE_MS),
        watch_ms: vars.tuned(&tuning::WATCH_MS),
        work_ms: vars.tuned(&tuning::WORK_MS),
        gather_ms: vars.tuned(&tuning::GATHER_MS),
        call_timeout_ms: vars.tuned(&tuning::CALL_TIMEOUT_MS),
        head_timeout_ms: vars.tuned(&tuning::HEAD_TIMEOUT_MS),
        idle_timeout_ms: vars.tuned(&tuning::IDLE_TIMEOUT_MS),
        queued_stale_ms: vars.tuned(&tuning::QUEUED_STALE_MS),
        drive_stale_ms: vars.tuned(&tuning::DRIVE_STALE_MS),
        backoff_ms: vars.tuned(&tuning::BACKOFF_MS),
        backoff_max_ms: vars.tuned(&tuning::BACKOFF_MAX_MS),
        breaker_ms: vars.tuned(&tuning::BREAKER_MS),
        deadline_grace_ms: vars.tuned(&tuning::DEADLINE_GRACE_MS),
    }
}

fn door(vars: &mut Vars<'_>) -> Door {
    Door {
        cors_origins: vars.origins(&table::CORS_ORIGINS),
        events_poll_ms: vars.tuned(&tuning::EVENTS_POLL_MS),
        events_heartbeat_ms: vars.tuned(&tuning::EVENTS_HEARTBEAT_MS),
        events_max_ms: vars.tuned(&tuning::EVENTS_MAX_MS),
        events_ticket_ms: vars.tuned(&tuning::EVENTS_TICKET_MS),
    }
}

fn fetching(vars: &mut Vars<'_>) -> Fetching {
    Fetching {
        guard: vars.guard(&table::FETCH_ALLOW_HOSTS),
        user_agent: vars.text(&table::FETCH_USER_AGENT),
        timeout_ms: vars.tuned(&tuning::FETCH_TIMEOUT_MS),
        bytes: vars.tuned(&tuning::FETCH_MAX_BYTES) as usize,
        redirects: vars.tuned(&tuning::FETCH_MAX_REDIRECTS) as u32,
        at_once: vars.tuned(&tuning::FETCH_AT_ONCE) as u32,
    }
}

fn keep(vars: &mut Vars<'_>) -> Keep {
    Keep {
        job_days: vars.int(&table::KEEP_JOB_DAYS) as u32,
        answer_days: vars.int(&table::KEEP_ANSWER_DAYS) as u32,
        idempotency_days: vars.tuned(&tuning::KEEP_IDEMPOTENCY_DAYS) as u32,
        dead_letter_days: vars.tuned(&tuning::KEEP_DEAD_LETTER_DAYS) as u32,
        delivery_days: vars.tuned(&tuning::KEEP_DELIVERY_DAYS) as u32,
    }
}

fn batches(vars: &mut Vars<'_>) -> Batches {
    Batches {
        least: vars.tuned(&tuning::BATCH_LEAST) as u32,
        most_requests: vars.tuned(&tuning::BATCH_MAX_REQUESTS) as u32,
        most_bytes: vars.tuned(&tuning::BATCH_MAX_BYTES),
        poll_ms: vars.tuned(&tuning::BATCH_POLL_MS),
        poll_max_ms: vars.tuned(&tuning::BATCH_POLL_MAX_MS),
        expected_ms: vars.tuned(&tuning::BATCH_EXPECTED_MS),
        cancel_ms: vars.tuned(&tuning::BATCH_CANCEL_MS),
        seek_ms: vars.tuned(&tuning::BATCH_SEEK_MS),
    }
}

fn webhooks(vars: &mut Vars<'_>) -> Webhooks {
    Webhooks {
        timeout_ms: vars.tuned(&tuning::WEBHOOK_TIMEOUT_MS),
        backoff_ms: vars.tuned(&tuning::WEBHOOK_BACKOFF_MS),
        backoff_max_ms: vars.tuned(&tuning::WEBHOOK_BACKOFF_MAX_MS),
        retry_ms: vars.tuned(&tuning::WEBHOOK_RETRY_MS),
    }
}

fn tracing(vars: &mut Vars<'_>) -> Tracing {
    Tracing {
        endpoint: vars.collector(&table::OTLP_ENDPOINT),
        timeout_ms: vars.tuned(&tuning::OTLP_TIMEOUT_MS),
        tasks: vars.tuned(&tuning::OTLP_TASKS) as u32,
    }
}

/// What must hold between constants.
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
