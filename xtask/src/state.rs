//! One state directory of a local run: who uses it, what wrangler is told, the secrets, the database.
//!
//! `wrangler.toml` is what production gets. A local run differs from it only here: the Worker's files are a
//! copy, nothing is built by wrangler, and the caller's variables go on top.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::setup::{self, Tools, Turn, digest};
use crate::{build, proc, root, tuning};

/// How long a run that was just killed may hold on to its state.
const LINGER: Duration = Duration::from_secs(5);

/// A directory, locked for one run at a time.
pub struct State {
    dir: PathBuf,
    temporary: bool,
    #[allow(dead_code, reason = "the lock is held as long as the file is open")]
    lock: File,
}

impl State {
    pub fn open(dir: &Path) -> Result<State> {
        Self::open_as(dir, false)
    }

    /// A new one that goes when it is dropped, or when this process ends in whatever way.
    pub fn temporary(name: &str) -> Result<State> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = root::states_dir().join(format!("{name}-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        proc::delete_at_end(&dir)?;
        Self::open_as(&dir, true)
    }

    fn open_as(dir: &Path, temporary: bool) -> Result<State> {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("could not make {}", dir.display()))?;
        let dir = dir
            .canonicalize()
            .with_context(|| format!("could not find {}", dir.display()))?;
        let path = dir.join("lock");
        let lock =
            File::create(&path).with_context(|| format!("could not write {}", path.display()))?;
        let until = Instant::now() + LINGER;
        while lock.try_lock().is_err() {
            if Instant::now() > until {
                bail!(
                    "{} is in use by another run; choose another one with --state-dir",
                    dir.display()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(State {
            dir,
            temporary,
            lock,
        })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("wrangler.log")
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("wrangler.json")
    }

    pub fn secrets(&self) -> PathBuf {
        self.dir.join("secrets.env")
    }

    /// The bearer token of this state: made once, so that a restart does not lock its callers out.
    pub fn token(&self) -> Result<String> {
        let path = self.dir.join("token");
        if let Ok(token) = std::fs::read_to_string(&path) {
            return Ok(token);
        }
        let mut noise = [0_u8; 16];
        std::io::Read::read_exact(
            &mut File::open("/dev/urandom").context("no source of randomness")?,
            &mut noise,
        )
        .context("no randomness")?;
        let token: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
        write_private(&path, &token)?;
        Ok(token)
    }

    /// Lays out all that `wrangler dev` reads, and brings the database up to date.
    pub fn prepare(&self, tools: &Tools, vars: &[(String, String)]) -> Result<()> {
        build::snapshot(&self.dir.join("worker"))?;
        let (secret, open): (Vec<_>, Vec<_>) =
            vars.iter().cloned().partition(|(name, _)| is_secret(name));
        let config = local_config(&production_config()?, &open)?;
        write_private(&self.config(), &config)?;
        write_private(&self.secrets(), &env_file(&secret)?)?;
        self.migrate(tools)
    }

    /// Applies the migrations this state has not seen. The first time it takes a database that has them
    /// all from a store, because a wrangler run costs over two seconds.
    fn migrate(&self, tools: &Tools) -> Result<()> {
        let wanted = format!("{} {}", migrations()?, tools.build_identity());
        let mark = self.dir.join("migrated");
        if std::fs::read_to_string(&mark).is_ok_and(|found| found == wanted) {
            return Ok(());
        }
        let data = self.dir.join("v3/d1");
        if data.exists() {
            apply_migrations(tools, &self.config(), &self.dir)?;
        } else {
            let _turn = Turn::take()?;
            let store = root::tools_dir().join("d1");
            let made = store.join(digest(&[&wanted]));
            if !made.exists() {
                let _ = std::fs::remove_dir_all(&store);
                let half = store.join("half");
                std::fs::create_dir_all(&half)
                    .with_context(|| format!("could not make {}", half.display()))?;
                apply_migrations(tools, &self.config(), &half)?;
                std::fs::rename(half.join("v3/d1"), &made).with_context(|| {
                    format!("could not keep the new database in {}", made.display())
                })?;
            }
            copy_dir(&made, &data)
                .with_context(|| format!("could not copy the database to {}", data.display()))?;
        }
        std::fs::write(&mark, wanted).with_context(|| format!("could not write {}", mark.display()))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

fn production_config() -> Result<String> {
    let path = root::dir().join("wrangler.toml");
    std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
}

/// The configuration for a local run, from production's.
fn local_config(toml: &str, vars: &[(String, String)]) -> Result<String> {
    let mut config: Value = toml::from_str(toml).context("wrangler.toml is not well-formed")?;
    let all = config
        .as_object_mut()
        .ok_or_else(|| anyhow!("wrangler.toml is no table"))?;
    all.remove("build");
    all.insert("main".into(), json!("worker/index.js"));
    let from_root = |value: &mut Value| {
        if let Some(path) = value.as_str() {
            *value = json!(root::dir().join(path));
        }
    };
    let databases = all.get_mut("d1_databases").and_then(Value::as_array_mut);
    for database in databases.into_iter().flatten() {
        if let Some(folder) = database.get_mut("migrations_dir") {
            from_root(folder);
        }
    }
    if let Some(folder) = all
        .get_mut("assets")
        .and_then(|assets| assets.get_mut("directory"))
    {
        from_root(folder);
    }
    let own = all.entry("vars").or_insert_with(|| json!({}));
    if let Some(own) = own.as_object_mut() {
        // Constants join those that the file changes.
        let changed = own.get(tuning::TUNING_JSON).and_then(Value::as_str);
        let changed = changed.map(|text| (tuning::TUNING_JSON.to_owned(), text.to_owned()));
        let given = changed.into_iter().chain(vars.iter().cloned());
        for (name, value) in tuning::fold(given.collect()) {
            own.insert(name, json!(value));
        }
    }
    serde_json::to_string_pretty(&config).context("the configuration is no JSON")
}

/// Whether a variable belongs among the secrets, which wrangler does not print.
fn is_secret(name: &str) -> bool {
    // The headers for a collector of traces hold its key. WORKER_MAX_TOKENS is a constant.
    tuning::find(name).is_none()
        && ["KEY", "TOKEN", "SECRET", "PASSWORD", "OTLP_HEADERS"]
            .iter()
            .any(|word| name.contains(word))
}

/// The form that wrangler's reader takes back to the same value: it expands `$` in any quotes.
fn env_file(secrets: &[(String, String)]) -> Result<String> {
    let mut text = String::new();
    for (name, value) in secrets {
        let quote = ['\'', '`']
            .into_iter()
            .find(|quote| !value.contains(*quote));
        match quote {
            Some(quote) if !value.contains(['\n', '\r', '\\']) => {
                text.push_str(&format!(
                    "{name}={quote}{}{quote}\n",
                    value.replace('$', "\\$")
                ));
            }
            // Never the value itself: this becomes an error message.
            _ => bail!("{name} has a line break, a backslash or too many kinds of quotes"),
        }
    }
    Ok(text)
}

/// Names the set of migrations.
fn migrations() -> Result<String> {
    let folder = root::dir().join("migrations");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .with_context(|| format!("could not read {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let mut parts = Vec::new();
    for file in files {
        parts.push(file.to_string_lossy().into_owned().into_bytes());
        parts.push(
            std::fs::read(&file).with_context(|| format!("could not read {}", file.display()))?,
        );
    }
    Ok(digest(&parts))
}

fn apply_migrations(tools: &Tools, config: &Path, persist_to: &Path) -> Result<()> {
    let mut command = tools.wrangler();
    command
        .args(["d1", "migrations", "apply", "DB", "--local", "--persist-to"])
        .arg(persist_to)
        .arg("--config")
        .arg(config);
    quiet(&mut command, persist_to);
    setup::finish(
        "applying the migrations",
        "migrations",
        &mut command,
        &proc::Cancel::default(),
    )
}

/// wrangler asks nobody, reports to nobody, and writes only below `dir`. What it does for the sake of developer tools is left
/// out: a third of workerd's time and a hundred megabytes went into carrying each line of the log to an inspector that nobody
/// opens, and into a database of traces.
pub fn quiet(command: &mut std::process::Command, dir: &Path) {
    command
        .env("CI", "1")
        .env("NO_COLOR", "1")
        .env("FORCE_COLOR", "0")
        .env("WRANGLER_SEND_METRICS", "false")
        .env("WRANGLER_SEND_ERROR_REPORTS", "false")
        .env("WRANGLER_HIDE_BANNER", "true")
        .env("WRANGLER_LOG_PATH", dir.join("wrangler-logs"))
        .env("WRANGLER_REGISTRY_PATH", dir.join("registry"))
        .env("WRANGLER_CACHE_DIR", dir.join("cache"))
        .env("MINIFLARE_CACHE_DIR", dir.join("cache"))
        .env("CLOUDFLARE_CF_FETCH_ENABLED", "false")
        .env("CLOUDFLARE_LOAD_DEV_VARS_FROM_DOT_ENV", "true")
        .env("CLOUDFLARE_INCLUDE_PROCESS_ENV", "false")
        .env("X_LOCAL_OBSERVABILITY", "false")
        .env("X_LOCAL_EXPLORER", "false")
        // There is no option that turns the inspector's relay off; this says that a debugger of its own is there.
        .env("VSCODE_INSPECTOR_OPTIONS", "{}")
        .env_remove("WRANGLER_LOG");
}

/// A file that only its owner may read.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let _ = std::fs::remove_file(path);
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("could not write {}", path.display()))
}

fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let goal = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &goal)?;
        } else {
            std::fs::copy(entry.path(), &goal)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_local_run_builds_nothing_and_takes_the_callers_variables() {
        let toml = "main = \"build/index.js\"\n[build]\ncommand = \"x\"\n[vars]\nA = \"1\"\nB = \"2\"\n[[d1_databases]]\nbinding = \"DB\"\nmigrations_dir = \"migrations\"\n";
        let config: Value =
            serde_json::from_str(&local_config(toml, &[("B".into(), "3".into())]).unwrap())
                .unwrap();
        assert!(config.get("build").is_none());
        assert_eq!(config["vars"], json!({"A": "1", "B": "3"}));
        assert!(
            Path::new(
                config["d1_databases"][0]["migrations_dir"]
                    .as_str()
                    .unwrap()
            )
            .is_absolute()
        );
    }

    #[test]
    fn constants_of_the_engine_are_given_by_their_names() {
        let toml = "[vars]\nTUNING_JSON = '{\"WATCH_MS\": 5000}'\n";
        let vars = [
            ("LEASE_MS", "3000"),
            ("WORKER_SLOTS", "7"),
            ("WORKER_SLOTS", "9"),
        ];
        let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config: Value = serde_json::from_str(&local_config(toml, &vars).unwrap()).unwrap();
        let tuned: Value =
            serde_json::from_str(config["vars"]["TUNING_JSON"].as_str().unwrap()).unwrap();
        assert_eq!(
            tuned,
            json!({"WATCH_MS": 5000, "LEASE_MS": 3000, "WORKER_SLOTS": 9})
        );
        assert_eq!(config["vars"].as_object().unwrap().len(), 1);
    }

    #[test]
    fn secrets_are_written_so_that_they_are_read_back() {
        let secrets = [("A".into(), "a$b".into()), ("B".into(), "it's".into())];
        assert_eq!(env_file(&secrets).unwrap(), "A='a\\$b'\nB=`it's`\n");
        let error = env_file(&[("TOKEN".into(), "x\ny".into())])
            .unwrap_err()
            .to_string();
        assert!(error.contains("TOKEN") && !error.contains('x'), "{error}");
    }

    #[test]
    fn a_state_has_one_user_at_a_time_and_goes_when_temporary() {
        let state = State::temporary("test").unwrap();
        let dir = state.dir().to_owned();
        assert!(File::open(dir.join("lock")).unwrap().try_lock().is_err());
        assert_eq!(state.token().unwrap(), state.token().unwrap());
        drop(state);
        assert!(!dir.exists());
    }

    #[test]
    fn keys_and_tokens_are_secrets() {
        assert!(is_secret("ANTHROPIC_API_KEY") && is_secret("FANWISE_TOKEN"));
        assert!(is_secret("OTLP_HEADERS") && !is_secret("TRACE_HEADERS"));
        assert!(!is_secret("LEASE_MS") && !is_secret("WORKER_MAX_TOKENS"));
    }
}
