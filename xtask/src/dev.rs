//! `dev`: the Worker on this machine until it is told to stop, with the stand-in unless told otherwise.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::standin::Standin;
use crate::state::State;
use crate::worker::{Options, Worker, tell_errors_of};
use crate::{build, root, setup, ui};

/// Production's cron comes every minute; here somebody is watching.
pub const CRON: Duration = Duration::from_secs(10);
/// Characters of the shortest token that the Worker accepts.
const LEAST_CHARS: usize = 16;
/// Accepted by the stand-in, worth nothing elsewhere.
pub const NO_KEY: &str = "stand-in-needs-no-key";

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where the Worker listens; 0 for any free port
    #[arg(long, default_value_t = 8787)]
    pub port: u16,
    /// Claude's API or a gateway to it; without it, the stand-in answers. The key comes from ANTHROPIC_API_KEY
    #[arg(long, value_name = "URL")]
    pub claude_url: Option<String>,
    /// The bearer token callers need, at least 16 characters; without it, one is made and kept with the state
    #[arg(long, env = "FANWISE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Where the database and all else is kept
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// A variable or a tuning constant of the Worker, as in docs/reference/configuration.md; may be repeated
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub vars: Vec<(String, String)>,
}

/// `NAME=VALUE`.
pub fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("wants NAME=VALUE".into()),
    }
}

pub fn run(args: Args) -> Result<()> {
    let dir = args
        .state_dir
        .unwrap_or_else(|| root::states_dir().join("dev"));
    if args
        .token
        .as_ref()
        .is_some_and(|token| (1..LEAST_CHARS).contains(&token.chars().count()))
    {
        bail!(
            "the Worker accepts no token of fewer than {LEAST_CHARS} characters: give --token a longer one, or none"
        );
    }
    let state = State::open(&dir)?;
    // Before minutes of set-up; once more when it is really needed.
    if args.port != 0 {
        crate::worker::free(args.port)?;
    }
    let tools = setup::prepare()?;
    let program = build::all(&tools)?;
    let mut standin = None;
    let (url, key) = match args.claude_url {
        Some(url) => (url.clone(), real_key(&url)?),
        None => {
            let started = standin.insert(Standin::start(&program, state.dir(), &[])?);
            (started.url().to_owned(), NO_KEY.to_owned())
        }
    };
    let token = match args.token.filter(|token| !token.is_empty()) {
        Some(token) => token,
        None => state.token()?,
    };
    let mut vars = claude_vars(&url, &key, &token);
    vars.extend(args.vars);
    let options = Options {
        port: args.port,
        vars,
        cron: Some(CRON),
        ..Options::default()
    };
    let mut worker = Worker::start(&tools, state, options)?;
    tell_errors_of(worker.log());
    ui::say(format!(
        "  answers come from {}",
        answers_from(standin.is_some(), &url)
    ));
    ui::say(format!("  page {}", worker.url()));
    ui::say(format!("  token {token}"));
    ui::say(format!("  log {}", worker.log().display()));
    ui::print(format!("ready {}", worker.url()));
    loop {
        std::thread::sleep(Duration::from_millis(200));
        worker.check()?;
        if let Some(standin) = &mut standin {
            standin.check()?;
        }
    }
}

/// What every local run tells the Worker.
pub fn claude_vars(url: &str, key: &str, token: &str) -> Vec<(String, String)> {
    vec![
        ("ANTHROPIC_BASE_URL".into(), url.to_owned()),
        ("ANTHROPIC_API_KEY".into(), key.to_owned()),
        ("FANWISE_TOKEN".into(), token.to_owned()),
        // The same again after a restart, so that receivers need not be told anew.
        (
            "WEBHOOK_SIGNING_KEY".into(),
            format!("a local signing key for {token}"),
        ),
        // The local queue runs one consumer at a time, so that one carries every job's concurrency; and nobody
        // here counts its connections and statements.
        ("WORKER_SLOTS".into(), "1000".into()),
        ("CONNECTIONS".into(), "1000".into()),
        ("MAX_D1_QUERIES".into(), "1000000".into()),
    ]
}

pub fn answers_from(standin: bool, url: &str) -> String {
    if standin {
        format!("the stand-in at {url}, not from Claude")
    } else {
        url.to_owned()
    }
}

/// A gateway may do without a key, Claude's own API does not.
fn real_key(url: &str) -> Result<String> {
    match std::env::var("ANTHROPIC_API_KEY") {
        Ok(key) if !key.is_empty() => Ok(key),
        _ if url.contains("api.anthropic.com") => bail!("{url} wants a key; set ANTHROPIC_API_KEY"),
        _ => Ok(NO_KEY.to_owned()),
    }
}

/// Claude's own address, as production has it.
pub fn claude_url() -> Result<String> {
    let path = root::dir().join("wrangler.toml");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read {}", path.display()))?;
    let config: serde_json::Value =
        toml::from_str(&text).context("wrangler.toml is not well-formed")?;
    config
        .pointer("/vars/ANTHROPIC_BASE_URL")
        .and_then(serde_json::Value::as_str)
        .map(str::to_owned)
        .context("wrangler.toml sets no ANTHROPIC_BASE_URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_a_name_and_a_value() {
        assert_eq!(name_and_value("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(name_and_value("A="), Ok(("A".into(), String::new())));
        assert!(name_and_value("=b").is_err());
        assert!(name_and_value("A").is_err());
    }

    #[test]
    fn production_names_claudes_address() {
        assert!(claude_url().is_ok_and(|url| url.starts_with("https://")));
    }
}
