//! Variables, secrets and bindings become an engine, or a list of all that is wrong with them.

use std::cell::RefCell;
use std::sync::Arc;

use axum::Router;
use js_sys::{JSON, Reflect};
use serde_json::json;
use wasm_bindgen::JsValue;
use worker::{Env, Url};

use crate::api::auth::Auth;
use crate::api::{Api, router};
use crate::app::App;
use crate::claude::models::Catalogue;
use crate::claude::request::opening_headers;
use crate::config;
use crate::config::{Config, ConfigFault};
use crate::core::net::header_list::header_list;
use crate::core::net::webhook::SigningKey;
use crate::platform::WorkerPorts;
use crate::platform::claude::ClaudeFetch;
use crate::platform::clock::EdgeClock;
use crate::platform::d1::D1;
use crate::platform::entropy::WebCrypto;
use crate::platform::kv::Kv;
use crate::platform::log::Console;
use crate::platform::queue::Queues;
use crate::platform::web::WebFetch;
use crate::ports::Log;

/// Where Claude answers when nothing else is said.
const ANTHROPIC: &str = "https://api.anthropic.com";

/// What all events of an instance work with. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub app: App<WorkerPorts>,
    pub router: Router,
}

thread_local! {
    /// Made once: an instance lives with one environment from its start to its end (a new variable or secret is a new
    /// deployment), and to read that and to set all routes up takes longer than most answers do. The environment it was made from
    /// stands beside it, so that it would be made anew for another one.
    static MADE: RefCell<Option<(JsValue, Engine)>> = const { RefCell::new(None) };
}

impl Engine {
    /// The engine for one invocation that works on jobs: its lines are counted, and the caller ends its log.
    pub fn for_invocation(&self) -> App<WorkerPorts> {
        let mut app = self.app.clone();
        app.ports.log = Console::of_invocation();
        app
    }
}

/// The engine of this instance. Called by each event; faults are written to the log, by name and problem.
pub fn engine(env: &Env) -> Result<Engine, Vec<ConfigFault>> {
    let same: JsValue = AsRef::<JsValue>::as_ref(env).clone();
    let known = MADE.with_borrow(|made| {
        made.as_ref()
            .filter(|(of, _)| *of == same)
            .map(|(_, engine)| engine.clone())
    });
    if let Some(engine) = known {
        return Ok(engine);
    }
    let app = build(env).inspect_err(|faults| {
        Console::default().line(json!({
            "level": "error",
            "event": "misconfigured",
            "faults": config::describe(faults),
        }));
    })?;
    let router = router(Api {
        app: app.clone(),
        auth: auth(env),
    });
    let engine = Engine { app, router };
    MADE.set(Some((same, engine.clone())));
    Ok(engine)
}

fn build(env: &Env) -> Result<App<WorkerPorts>, Vec<ConfigFault>> {
    let mut faults = Vec::new();
    let config = Config::from_vars(|name| variable(env, name))
        .map_err(|wrong| faults.extend(wrong))
        .ok();
    let patch = variable(env, "MODELS_JSON").filter(|text| !text.trim().is_empty());
    let models = Catalogue::load(patch.as_deref())
        .map_err(|error| faults.push(fault("MODELS_JSON", &error.to_string())))
        .ok();
    let bearer = config.as_ref().is_some_and(|config| config.bearer);
    let claude = claude(env, bearer, &mut faults);
    if let (Some(config), Some(models)) = (&config, &models) {
        let defaults = &config.defaults;
        let names = [
            ("WORKER_MODEL", defaults.worker_model.as_str()),
            ("SYNTHESIS_MODEL", defaults.synthesis_model.as_str()),
            ("PLANNING_MODEL", defaults.planning_model.as_str()),
        ];
        let unknown = models.unknown(&names).into_iter();
        faults.extend(unknown.map(|(name, problem)| fault(name, &problem)));
    }
    let mut binding = |name: &'static str, found: bool| {
        if !found {
            faults.push(fault(name, "is not bound; see wrangler.toml"));
        }
    };
    let db = env.d1("DB").ok();
    binding("DB", db.is_some());
    let kv = env.kv("KV").ok();
    binding("KV", kv.is_some());
    let control = env.queue("CONTROL_QUEUE").ok();
    binding("CONTROL_QUEUE", control.is_some());
    let tasks = env.queue("TASKS_QUEUE").ok();
    binding("TASKS_QUEUE", tasks.is_some());
    let outbound = env.queue("OUTBOUND_QUEUE").ok();
    binding("OUTBOUND_QUEUE", outbound.is_some());
    let signing = signing(env).map_err(|fault| faults.push(fault)).ok();
    let otlp_headers = header_list(&variable(env, "OTLP_HEADERS").unwrap_or_default())
        .map_err(|problem| faults.push(fault("OTLP_HEADERS", &problem)))
        .ok();

    let (Some(config), Some(models), Some(claude), Some(signing), Some(otlp_headers)) =
        (config, models, claude, signing, otlp_headers)
    else {
        return Err(faults);
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    let (Some(db), Some(kv), Some(control), Some(tasks), Some(outbound)) =
        (db, kv, control, tasks, outbound)
    else {
        return Err(faults);
    };
    Ok(App {
        ports: WorkerPorts {
            db: D1::new(db),
            blobs: Kv::new(kv),
            queue: Queues::new(control, tasks, outbound),
            claude,
            web: WebFetch,
            clock: EdgeClock,
            entropy: WebCrypto,
            log: Console::default(),
        },
        config: Arc::new(config),
        models: Arc::new(models),
        signing,
        otlp_headers,
    })
}

/// The endpoint and its key, checked for what would otherwise fail with every single call. What is wrong is added to `faults`; both may hold
/// a secret, so neither is repeated.
fn claude(env: &Env, bearer: bool, faults: &mut Vec<ConfigFault>) -> Option<ClaudeFetch> {
    let base_url = variable(env, "ANTHROPIC_BASE_URL").unwrap_or_else(|| ANTHROPIC.to_owned());
    let base_url = base_url.trim();
    let parsed = Url::parse(base_url).ok().filter(|url| {
        matches!(url.scheme(), "https" | "http")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if parsed.is_none() {
        faults.push(fault(
            "ANTHROPIC_BASE_URL",
            "wants an http(s) URL without user, query and fragment",
        ));
    }
    let key = variable(env, "ANTHROPIC_API_KEY");
    let key = key.as_deref().map(str::trim).filter(|key| !key.is_empty());
    let sound = key.is_none_or(|key| key.bytes().all(|byte| byte.is_ascii_graphic()));
    if !sound {
        faults.push(fault(
            "ANTHROPIC_API_KEY",
            "holds a character that no header may carry",
        ));
    }
    let more = header_list(&variable(env, "CLAUDE_HEADERS").unwrap_or_default())
        .map_err(|problem| faults.push(fault("CLAUDE_HEADERS", &problem)))
        .ok()?;
    let opening = opening_headers(key, bearer, &more);
    (parsed.is_some() && sound).then(|| ClaudeFetch::new(base_url, opening))
}

/// What webhooks are signed with, where it is set.
fn signing(env: &Env) -> Result<Option<SigningKey>, ConfigFault> {
    let Some(secret) = variable(env, "WEBHOOK_SIGNING_KEY").filter(|text| !text.trim().is_empty())
    else {
        return Ok(None);
    };
    let wants = format!("wants at least {} characters", SigningKey::MIN_BYTES);
    SigningKey::new(&secret)
        .map(Some)
        .ok_or_else(|| fault("WEBHOOK_SIGNING_KEY", &wants))
}

/// A variable or secret as text. `wrangler.toml` can also hold numbers, booleans and tables: they arrive
/// as such and are written out.
pub fn variable(env: &Env, name: &str) -> Option<String> {
    let value = Reflect::get(env, &JsValue::from_str(name)).ok()?;
    if value.is_undefined() || value.is_null() {
        return None;
    }
    value
        .as_string()
        .or_else(|| JSON::stringify(&value).ok()?.as_string())
}

fn fault(name: &'static str, problem: &str) -> ConfigFault {
    ConfigFault {
        name,
        problem: problem.to_owned(),
    }
}

/// The token that everybody starts with.
pub fn auth(env: &Env) -> Auth {
    Auth::new(variable(env, "FANWISE_TOKEN").as_deref())
}
