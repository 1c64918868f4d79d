//! The variables that an operator sets: name, type, default, bounds and a sentence, each declared once.
//!
//! Reading them, the `[vars]` of `wrangler.toml`, `docs/reference/configuration.md` and the faults in
//! `/healthz?deep=1` come from this table. The inner figures of the engine are in [`super::tuning`].

/// What a variable holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Int {
        default: u64,
        least: u64,
        most: u64,
    },
    /// Dollars, from 0 to a million. Empty: no cap.
    Dollars,
    Text {
        default: &'static str,
    },
    /// The id or an alias of a model.
    Model {
        default: &'static str,
    },
    Switch {
        default: bool,
    },
    /// One of some words.
    OneOf {
        default: &'static str,
        of: &'static [&'static str],
    },
    /// `HOST:PORT`, with commas between.
    Hosts,
    /// Web origins with commas between, or `*`.
    Origins,
    /// An http or https address, read by the platform's adapter or as an OTLP endpoint.
    Url {
        default: &'static str,
    },
    /// A JSON object. Empty: none.
    Json,
}

impl Kind {
    /// As `wrangler.toml` has it.
    pub fn default_text(self) -> String {
        match self {
            Kind::Int { default, .. } => default.to_string(),
            Kind::Switch { default } => default.to_string(),
            Kind::Text { default }
            | Kind::Model { default }
            | Kind::Url { default }
            | Kind::OneOf { default, .. } => default.to_owned(),
            Kind::Dollars | Kind::Hosts | Kind::Origins | Kind::Json => String::new(),
        }
    }

    /// What it accepts, for a reader.
    pub fn range(self) -> String {
        match self {
            Kind::Int { least, most, .. } => format!("{least} to {most}"),
            Kind::Dollars => "0 to 1000000".into(),
            Kind::Text { .. } => "text".into(),
            Kind::Model { .. } => "id or alias of a model".into(),
            Kind::Switch { .. } => "true, false".into(),
            Kind::OneOf { of, .. } => of.join(", "),
            Kind::Hosts => "`HOST:PORT`, with commas between".into(),
            Kind::Origins => "origins with commas between, or `*`".into(),
            Kind::Url { .. } => "http or https URL".into(),
            Kind::Json => "JSON object".into(),
        }
    }
}

/// One variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    pub name: &'static str,
    pub kind: Kind,
    /// A sentence or two.
    pub says: &'static str,
}

/// A group of variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    pub title: &'static str,
    pub variables: &'static [Variable],
}

/// A secret of the deployment: never in a file, and read by the platform's adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Secret {
    pub name: &'static str,
    pub says: &'static str,
}

/// A constant for each variable, and [`TOPICS`] with all of them.
macro_rules! variables {
    ($($title:literal { $(#[doc = $says:literal] $name:ident = $kind:expr;)+ })+) => {
        $($(#[doc = $says] pub const $name: Variable = Variable {
            name: stringify!($name), kind: $kind, says: $says,
        };)+)+
        /// All of them, in the order of `wrangler.toml` and of the reference page.
        pub const TOPICS: &[Topic] = &[$(Topic { title: $title, variables: &[$($name),+] }),+];
    };
}

const fn int(default: u64, least: u64, most: u64) -> Kind {
    Kind::Int {
        default,
        least,
        most,
    }
}

variables! {
    "Claude" {
        /// Address of the API of Claude, or of any endpoint that speaks it.
        ANTHROPIC_BASE_URL = Kind::Url { default: "https://api.anthropic.com" };
        /// How the key is sent: in the header `x-api-key`, or as `bearer` in the header `authorization`. One of them is sent, never both.
        CLAUDE_AUTH = Kind::OneOf { default: "x-api-key", of: &["x-api-key", "bearer"] };
        /// Model of a map stage that names none.
        WORKER_MODEL = Kind::Model { default: "claude-haiku-5-5" };
        /// Model of a synthesis that names none.
        SYNTHESIS_MODEL = Kind::Model { default: "claude-opus-5-5" };
        /// Model that makes the plan of a dynamic job that names none.
        PLANNING_MODEL = Kind::Model { default: "claude-opus-5-5" };
        /// Merge patch (RFC 7396) over the built-in models and prices in src/claude/models.json. Keep each model that a stored job uses.
        MODELS_JSON = Kind::Json;
        /// Prompts that begin alike go through the prompt cache of the API.
        PROMPT_CACHE = Kind::Switch { default: true };
        /// Calls in flight in a rate limit pool whose headers were never seen. Where a gateway strips the headers, this bound stays.
        GOVERNOR_START = int(50, 1, 1_000);
        /// Calls carry the headers x-fanwise-*, which name job, task and attempt.
        TRACE_HEADERS = Kind::Switch { default: true };
    }
    "Money and limits" {
        /// Dollars that all jobs together may spend on a UTC day. Jobs pause until the next day. Empty: no cap.
        ACCOUNT_DAILY_USD = Kind::Dollars;
        /// Dollars that the jobs of one tenant may spend on a UTC day, all its tokens together. Each token can have its own cap. Empty: no cap.
        TENANT_DAILY_USD = Kind::Dollars;
        /// Budget of a job whose caller sets none. Empty: no cap.
        DEFAULT_MAX_COST_USD = Kind::Dollars;
        /// Jobs whose plan Claude makes may run with neither `limits.max_cost_usd` nor `approval`.
        PLANS_WITHOUT_CAP = Kind::Switch { default: false };
        /// Calls in flight of a job whose caller sets no limit.
        DEFAULT_CONCURRENCY = int(50, 1, 1_000);
        /// Attempts for each task of a job whose caller sets no limit.
        DEFAULT_MAX_ATTEMPTS = int(5, 1, 20);
        /// Items of one job.
        MAX_ITEMS = int(100_000, 1, 100_000);
        /// Schedules of one tenant.
        MAX_SCHEDULES = int(100, 0, 10_000);
        /// Submits of one token in a minute. Above it callers get 429.
        SUBMITS_PER_MINUTE = int(600, 1, 1_000_000);
    }
    "Other servers" {
        /// Web origins whose pages may call the API. Empty: none.
        CORS_ORIGINS = Kind::Origins;
        /// Hosts that Fanwise may fetch from although they are not public. For tests: every caller of the deployment can reach them then.
        FETCH_ALLOW_HOSTS = Kind::Hosts;
        /// User-Agent header of requests to the servers of other people.
        FETCH_USER_AGENT = Kind::Text { default: "Fanwise/0.2 (+https://github.com/fanwise/fanwise)" };
        /// Collector of traces that speaks OTLP over HTTP. Its key is the secret OTLP_HEADERS. Empty: nothing is traced.
        OTLP_ENDPOINT = Kind::Url { default: "" };
    }
    "Storage and log" {
        /// Days that a paid answer is kept for reuse. 0: no answer is kept.
        LEDGER_DAYS = int(30, 0, 365);
        /// Days that a job is kept after its end, with everything that belongs to it. 0: for ever.
        KEEP_JOB_DAYS = int(90, 0, 3_650);
        /// Days that the texts of models are kept in the attempts of a job after its end. Results and figures stay. 0: for ever.
        KEEP_ANSWER_DAYS = int(30, 0, 3_650);
        /// The log has what models wrote.
        LOG_PAYLOADS = Kind::Switch { default: false };
    }
    "Tuning" {
        /// Changes inner figures of the engine, by name. They depend on each other and on limits of the platform.
        TUNING_JSON = Kind::Json;
    }
}

/// Names that are still read, each with the name that replaces it.
pub const RENAMED: &[(&str, Variable)] = &[("TOKEN_DAILY_USD", TENANT_DAILY_USD)];

/// All secrets.
pub const SECRETS: &[Secret] = &[
    Secret {
        name: "ANTHROPIC_API_KEY",
        says: "Key of the API of Claude. Without it no key is sent, for gateways that add their own.",
    },
    Secret {
        name: "CLAUDE_HEADERS",
        says: "More headers for each call to Claude's endpoint, as some gateways want them: `name=value`, with commas between.",
    },
    Secret {
        name: "FANWISE_TOKEN",
        says: "Bearer token of the operator, which makes the others, at least 16 characters. Without it only tokens made before are accepted.",
    },
    Secret {
        name: "OTLP_HEADERS",
        says: "Headers for the collector of traces: `name=value`, with commas between.",
    },
    Secret {
        name: "WEBHOOK_SIGNING_KEY",
        says: "Key that webhooks are signed with, at least 16 characters. Without it only webhooks in the format of Slack are accepted.",
    },
];
