//! `fanwise deploy`: from a Cloudflare account to a running deployment.
//!
//! Each step looks first and does only what is missing, so it may be run again after any failure and for every new version. What the account
//! has is asked for; nothing is remembered here. With `--dry-run` it looks, and says what it would do.

mod config;
pub mod daily_cap;
pub mod location;
mod secrets;
mod steps;
mod wrangler;

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

use crate::args::DeployArgs;
use crate::deploy::config::Config;
use crate::deploy::location::Location;
use crate::deploy::steps::Deploy;
use crate::deploy::wrangler::Wrangler;
use crate::settings::{self, Settings};
use crate::terminal::output::Out;
use crate::terminal::prompt;

/// A new address may take a moment until it is known everywhere.
const HEALTH_TRIES: u32 = 30;
const HEALTH_WAIT: Duration = Duration::from_secs(2);

/// `known`: the address, where the caller has put a domain of their own before it.
pub async fn run(args: &DeployArgs, known: Option<&str>, out: &Out) -> Result<()> {
    let config = Config::read(&args.dir)?;
    secrets::check()?;
    let mut deploy = Deploy {
        wrangler: Wrangler::new(&args.dir)?,
        config,
        out,
        dry: args.dry_run,
        steps: Vec::new(),
        location: args.location,
        asks: !args.dry_run && !args.yes && prompt::possible(),
    };
    if deploy.asks {
        let prompt = format!(
            "Deploy `{}` from {}? [y]es, [N]o",
            deploy.config.worker()?,
            deploy.config.path.display()
        );
        if prompt::letter(&prompt, "ny").await? != 'y' {
            out.note("nothing was done; --dry-run says what would be");
            return Ok(());
        }
    }
    daily_cap::set(&mut deploy, args.daily_cap).await?;
    match deploy.all(known).await {
        Ok(()) => Ok(()),
        Err(error) => Err(deploy.stopped(error)),
    }
}

impl Deploy<'_> {
    async fn all(&mut self, known: Option<&str>) -> Result<()> {
        let deploy = self;
        let logged_in = deploy.login().await?;
        deploy.database(logged_in).await?;
        deploy.namespace(logged_in).await?;
        deploy.queues(logged_in).await?;
        deploy.write_ids()?;
        deploy.migrate().await?;
        let token = secrets::set(deploy, logged_in).await?;
        let address = deploy.deploy(known).await?;
        let Some(address) = address else {
            deploy.say("look", "GET /healthz at the address that wrangler prints");
            return deploy.end(None);
        };
        deploy.health(&address).await?;
        deploy.keep(&address, token)?;
        deploy.end(Some(&address))
    }

    /// Says how far it came. What is done stays done, and the next run begins with what is missing.
    fn stopped(&self, error: anyhow::Error) -> anyhow::Error {
        let done = self.steps.len().saturating_sub(1);
        let at = self
            .steps
            .last()
            .and_then(|step| step.get("step")?.as_str());
        match at {
            Some(at) => error.context(format!(
                "stopped at `{at}`, after {done} steps; run `fanwise deploy` again to go on from there"
            )),
            None => error,
        }
    }

    async fn login(&mut self) -> Result<bool> {
        let said = self.wrangler.ask(&["whoami", "--json"], None).await?;
        if said.ok {
            let from = said.text.find('{').unwrap_or(0);
            let who: Value =
                serde_json::from_str(said.text.get(from..).unwrap_or_default()).unwrap_or_default();
            let accounts = who.get("accounts").and_then(Value::as_array);
            let accounts = accounts.map(Vec::as_slice).unwrap_or_default();
            let chosen = std::env::var_os("CLOUDFLARE_ACCOUNT_ID").is_some()
                || self.config.document.contains_key("account_id");
            if accounts.len() > 1 && !chosen {
                let lines = accounts.iter().map(|account| {
                    let text = |key| account.get(key).and_then(Value::as_str).unwrap_or_default();
                    format!("\n  {}  {}", text("id"), text("name"))
                });
                bail!(
                    "this login has several accounts; name one in CLOUDFLARE_ACCOUNT_ID:{}",
                    lines.collect::<String>()
                );
            }
            let name = accounts
                .first()
                .and_then(|account| account.get("name")?.as_str());
            self.there(&format!("login to {}", name.unwrap_or("Cloudflare")));
            return Ok(true);
        }
        self.say("log in", "wrangler login");
        if self.dry {
            return Ok(false);
        }
        if !prompt::possible() {
            bail!(
                "nobody is logged in: `wrangler login`, or CLOUDFLARE_API_TOKEN where there is no browser"
            );
        }
        self.wrangler.hand_over(&["login"]).await?;
        Ok(true)
    }

    async fn database(&mut self, logged_in: bool) -> Result<()> {
        let name = self.config.text("d1_databases", "database_name")?;
        let list = ["d1", "list", "--json"];
        let find = |list: &Value| find(list, "name", &name, "uuid");
        let mut id = match logged_in {
            true => find(&self.wrangler.json(&list).await?),
            false => None,
        };
        match id {
            Some(_) => {
                self.there(&format!("database {name}"));
                self.place(self.location)?;
            }
            None => {
                let location = self.choose().await?;
                let mut create = vec!["d1", "create", name.as_str()];
                if let Some(location) = location {
                    create.extend(["--location", location.code()]);
                }
                self.act("make the database", &create, None).await?;
                if !self.dry {
                    id = find(&self.wrangler.json(&list).await?);
                    id.as_ref().ok_or_else(|| {
                        anyhow!("the database {name} was made, and is not listed")
                    })?;
                }
            }
        }
        self.config.set("d1_databases", "database_id", id);
        Ok(())
    }

    /// The region of a new database. It is in the file before the database is made, so that an interruption between the
    /// two loses nothing.
    async fn choose(&mut self) -> Result<Option<Location>> {
        let mut chosen = self.location;
        if chosen.is_none() && self.asks {
            let regions = Location::ALL.map(Location::name);
            let at =
                prompt::one_of("Where are its users? The database never moves", &regions).await?;
            chosen = Location::ALL.get(at).copied();
        }
        if chosen.is_none() {
            self.out.note(
                "no --location: Cloudflare makes the database near this machine, and the Worker runs near each caller",
            );
        }
        self.place(chosen)?;
        Ok(chosen)
    }

    fn place(&mut self, location: Option<Location>) -> Result<()> {
        let Some(location) = location else {
            return Ok(());
        };
        if self.config.place(location.placement()) {
            let region = location.placement();
            self.say(
                "write",
                &format!("placement.region = {region:?} into wrangler.toml"),
            );
            if !self.dry {
                self.config.write()?;
            }
        }
        Ok(())
    }

    async fn namespace(&mut self, logged_in: bool) -> Result<()> {
        let title = format!("{}-kv", self.config.worker()?);
        let list = ["kv", "namespace", "list"];
        let find = |list: &Value| find(list, "title", &title, "id");
        // One that an earlier deploy made has its id in the file already, under whatever title.
        if let Ok(id) = self.config.text("kv_namespaces", "id") {
            self.there(&format!("key-value namespace {id}"));
            return Ok(());
        }
        let mut id = match logged_in {
            true => find(&self.wrangler.json(&list).await?),
            false => None,
        };
        match id {
            Some(_) => self.there(&format!("key-value namespace {title}")),
            None => {
                let create = ["kv", "namespace", "create", &title];
                self.act("make the key-value namespace", &create, None)
                    .await?;
                if !self.dry {
                    id = find(&self.wrangler.json(&list).await?);
                    id.as_ref().ok_or_else(|| {
                        anyhow!("the namespace {title} was made, and is not listed")
                    })?;
                }
            }
        }
        self.config.set("kv_namespaces", "id", id);
        Ok(())
    }

    async fn queues(&mut self, logged_in: bool) -> Result<()> {
        for queue in self.config.queues() {
            let there = logged_in
                && self
                    .wrangler
                    .ask(&["queues", "info", &queue], None)
                    .await?
                    .ok;
            if there {
                self.there(&format!("queue {queue}"));
            } else {
                self.act("make the queue", &["queues", "create", &queue], None)
                    .await?;
            }
        }
        Ok(())
    }

    fn write_ids(&mut self) -> Result<()> {
        let path = self.config.path.clone();
        if self.dry {
            if !self.config.is_complete() || self.config.changed() {
                self.say(
                    "write",
                    &format!("the ids of database and namespace into {}", path.display()),
                );
            }
            return Ok(());
        }
        if self.config.changed() {
            self.say(
                "write",
                &format!("the ids of database and namespace into {}", path.display()),
            );
            self.config.write()?;
        }
        Ok(())
    }

    /// Before the code that wants the tables.
    async fn migrate(&mut self) -> Result<()> {
        let binding = self.config.text("d1_databases", "binding")?;
        let args = ["d1", "migrations", "apply", &binding, "--remote"];
        self.say(
            "bring the tables up to date",
            &format!("wrangler {}", args.join(" ")),
        );
        if !self.dry {
            self.wrangler.show(&args).await?;
        }
        Ok(())
    }

    async fn deploy(&mut self, known: Option<&str>) -> Result<Option<String>> {
        self.say("compile and deploy", "wrangler deploy");
        if self.dry {
            return Ok(None);
        }
        let said = self.wrangler.show(&["deploy"]).await?;
        let known = known.map(|url| url.trim_end_matches('/').to_owned());
        let address = known.or_else(|| address(&said.text)).ok_or_else(|| {
            anyhow!("it is deployed, but wrangler printed no address; where it is reached by a route, say --url")
        })?;
        Ok(Some(address))
    }

    async fn health(&mut self, address: &str) -> Result<()> {
        let url = format!("{address}/healthz");
        self.say("look", &format!("GET {url}"));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .build()?;
        let mut last = String::new();
        for _ in 0..HEALTH_TRIES {
            match client.get(&url).send().await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => {
                    last = format!(
                        "{} {}",
                        response.status(),
                        response.text().await.unwrap_or_default()
                    )
                }
                Err(error) => last = format!("{:#}", anyhow!(error.without_url())),
            }
            tokio::time::sleep(HEALTH_WAIT).await;
        }
        bail!("it is deployed, but {url} does not answer well: {last}")
    }

    fn keep(&mut self, address: &str, token: Option<String>) -> Result<()> {
        // An earlier try may have come as far as the token.
        let kept = settings::load().unwrap_or_default();
        let begun = kept.token.filter(|_| kept.url.is_none());
        let Some(token) = token.or(begun) else {
            return Ok(());
        };
        let settings = Settings {
            url: Some(address.to_owned()),
            token: Some(token),
        };
        let path = settings::keep(&settings)?;
        self.say("keep", &format!("its address in {}", path.display()));
        Ok(())
    }
}

/// In a list of objects, a field of the one that has this name.
fn find(list: &Value, key: &str, name: &str, field: &str) -> Option<String> {
    let mut entries = list.as_array()?.iter();
    let found = entries.find(|entry| entry.get(key).and_then(Value::as_str) == Some(name))?;
    Some(found.get(field)?.as_str()?.to_owned())
}

/// Where it runs now, by what wrangler printed: an address of workers.dev, or a domain of one's own.
fn address(text: &str) -> Option<String> {
    let plain = anstream::adapter::strip_str(text).to_string();
    let words = || plain.split_whitespace();
    let whole = words().find(|word| word.starts_with("https://") && word.contains(".workers.dev"));
    if let Some(url) = whole {
        return Some(url.trim_end_matches('/').to_owned());
    }
    let domain = plain
        .lines()
        .find_map(|line| line.trim().strip_suffix("(custom domain)"));
    domain.map(|domain| format!("https://{}", domain.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_what_wrangler_prints() {
        let said = "Uploaded fanwise (4.1 sec)\nDeployed fanwise triggers (1.2 sec)\n  https://fanwise.acme.workers.dev\n  schedule: * * * * *\n";
        assert_eq!(
            address(said).as_deref(),
            Some("https://fanwise.acme.workers.dev")
        );
        let own = "Deployed fanwise triggers\n  jobs.acme.com (custom domain)\n";
        assert_eq!(address(own).as_deref(), Some("https://jobs.acme.com"));
        assert_eq!(address("Uploaded fanwise"), None);
    }
}
