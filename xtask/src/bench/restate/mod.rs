//! Restate, for comparison: a server of its own and a small service (`service.mjs`) that sends the calls which the Worker sent, so many
//! at a time, gathers the answers and asks for the synthesis; once as durable steps of one handler, which is Restate's cheapest
//! form, and once as invocations of their own.
//!
//! Server and SDK come from npm, as `package-lock.json` beside this file pins them, into `.fanwise/restate`. Each round has a server
//! with a state of its own, and a short job goes before the one that is measured.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};

use super::plain::Recorded;
use super::usage::{self, Usage};
use crate::proc::Group;
use crate::setup::{self, Tools, plain, tail};
use crate::standin::Standin;
use crate::state::State;
use crate::{root, ui};

const START: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);
/// A job that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// What has to be there before anything starts.
pub struct Restate {
    tools: Tools,
    server: PathBuf,
    service: PathBuf,
}

/// One round's numbers.
pub struct Measured {
    /// From the submit to the result, calls being steps.
    pub steps: Duration,
    /// The same, calls being invocations.
    pub invocations: Duration,
    /// Of the server, with steps.
    pub server: Option<Usage>,
    /// Of the service, which is a Node of its own.
    pub service: Option<Usage>,
}

impl Restate {
    pub fn prepare(tools: &Tools) -> Result<Restate> {
        let _turn = setup::Turn::take()?;
        let folder = root::tools_dir().join("restate");
        setup::npm_packages(
            "restate",
            "installing Restate into .fanwise/restate, for comparison",
            &[
                ("package.json", include_str!("package.json")),
                ("package-lock.json", include_str!("package-lock.json")),
                ("service.mjs", include_str!("service.mjs")),
            ],
            &folder,
        )?;
        let kind = kind().ok_or_else(|| anyhow!("npm has no Restate for this kind of machine"))?;
        let server = format!("node_modules/@restatedev/restate-server-{kind}/bin/restate-server");
        let server = folder.join(server);
        if !server.is_file() {
            bail!("npm brought no Restate for this kind of machine ({kind})");
        }
        Ok(Restate {
            tools: tools.clone(),
            server,
            service: folder.join("service.mjs"),
        })
    }

    pub fn run(
        &self,
        standin: &Standin,
        recorded: &Recorded,
        count: u32,
        concurrency: u32,
    ) -> Result<Measured> {
        let state = State::temporary("restate")?;
        let dir = state.dir();
        let calls = dir.join("calls.json");
        std::fs::write(&calls, recorded.to_json(standin.url()).to_string())
            .with_context(|| format!("could not write {}", calls.display()))?;
        let mut node = self.tools.command(self.tools.node());
        node.arg(&self.service)
            .arg(&calls)
            // A line for each invocation would be a part of what is measured.
            .env("RESTATE_LOGGING", "WARN");
        let mut service = Child::spawn("Restate's service", &mut node, &dir.join("service.log"))?;
        let port = service.wait_for(port_of)?;

        let [fabric, ingress, admin] = free_ports()?;
        let config = dir.join("restate.toml");
        std::fs::write(&config, configured(dir, fabric, ingress, admin))
            .with_context(|| format!("could not write {}", config.display()))?;
        let mut command = plain(&self.server);
        command.arg("--config-file").arg(&config).current_dir(dir);
        let mut server = Child::spawn("Restate's server", &mut command, &dir.join("server.log"))?;
        let deployment = json!({"uri": format!("http://127.0.0.1:{port}")});
        let admin = format!("http://127.0.0.1:{admin}/deployments");
        server.wait_for(|_| ask(&admin, &deployment, LOOK * 50).ok())?;

        let job = |form: &str, count: u32| -> Result<Duration> {
            let url = format!("http://127.0.0.1:{ingress}/job/{form}");
            let began = Instant::now();
            let wants = json!({"count": count, "concurrency": concurrency});
            let done = ask(&url, &wants, PATIENCE)?;
            if done.get("results").and_then(Value::as_u64) != Some(u64::from(count)) {
                bail!("the job by Restate brought {done}, not {count} results");
            }
            Ok(began.elapsed())
        };
        job("steps", concurrency.min(count))?;
        let before = (server.usage(), service.usage());
        let steps = job("steps", count)?;
        let since = |after: Option<Usage>, before: Option<Usage>| Some(after?.since(before?));
        let used = (
            since(server.usage(), before.0),
            since(service.usage(), before.1),
        );
        Ok(Measured {
            steps,
            invocations: job("invocations", count)?,
            server: used.0,
            service: used.1,
        })
    }
}

/// A process and what it says.
struct Child {
    name: &'static str,
    group: Group,
    log: PathBuf,
}

impl Child {
    fn spawn(name: &'static str, command: &mut Command, log: &Path) -> Result<Child> {
        let out =
            File::create(log).with_context(|| format!("could not write {}", log.display()))?;
        let err = out.try_clone().context("could not share the log file")?;
        Ok(Child {
            name,
            group: Group::spawn(name, command.stdout(out).stderr(err))?,
            log: log.to_owned(),
        })
    }

    /// Waits until `ready` makes something of what it has said.
    fn wait_for<T>(&mut self, ready: impl Fn(&str) -> Option<T>) -> Result<T> {
        let until = Instant::now() + START;
        loop {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(found) = ready(&said) {
                return Ok(found);
            }
            if self.group.ended().is_some() || Instant::now() > until {
                bail!("{} could not start:\n{}", self.name, tail(&said, 10));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn usage(&self) -> Option<Usage> {
        usage::of_group(self.group.id())
    }
}

/// As npm names machines.
fn kind() -> Option<String> {
    let os = match std::env::consts::OS {
        "linux" => "linux",
        "macos" => "darwin",
        _ => return None,
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        _ => return None,
    };
    Some(format!("{os}-{processor}"))
}

/// Everything else as it comes.
fn configured(dir: &Path, fabric: u16, ingress: u16, admin: u16) -> String {
    let base = Value::from(dir.join("data").display().to_string());
    format!(
        "listen-mode = \"tcp\"\nbind-address = \"127.0.0.1:{fabric}\"\nadvertised-address = \"http://127.0.0.1:{fabric}\"\n\
         base-dir = {base}\ndisable-telemetry = true\n\
         [ingress]\nbind-address = \"127.0.0.1:{ingress}\"\n[admin]\nbind-address = \"127.0.0.1:{admin}\"\n"
    )
}

/// Ports that nobody listened on a moment ago, each another one.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port is free")?;
        *port = listener
            .local_addr()
            .context("a port has no number")?
            .port();
        held.push(listener);
    }
    Ok(ports)
}

/// From its line `listening on PORT`.
fn port_of(said: &str) -> Option<u16> {
    said.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .find_map(|line| line.trim_end().strip_prefix("listening on "))?
        .parse()
        .ok()
}

fn ask(url: &str, body: &Value, within: Duration) -> Result<Value> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(within))
        .proxy(None)
        .build()
        .new_agent();
    let mut answer = agent
        .post(url)
        .header("content-type", "application/json")
        .send(body.to_string())
        .with_context(|| format!("POST {url}"))?;
    let text = answer
        .body_mut()
        .read_to_string()
        .with_context(|| format!("POST {url}"))?;
    serde_json::from_str(&text).with_context(|| format!("POST {url}: not JSON: {text}"))
}

/// Said once: what is not there is not compared with.
pub fn left_out(error: &anyhow::Error) {
    ui::say(format!(
        "  Restate is left out of the comparison: {error:#}"
    ));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_service_s_port_is_read_from_a_whole_line() {
        assert_eq!(port_of("x\nlistening on 8123\n"), Some(8123));
        assert_eq!(port_of("listening on 81"), None);
    }

    #[test]
    fn ports_differ() {
        let [a, b, c] = free_ports().unwrap();
        assert!(a != b && b != c && a != c);
    }

    #[test]
    fn the_server_s_configuration_is_well_formed() {
        let text = configured(Path::new("/tmp/a \"b\""), 1, 2, 3);
        let config: Value = toml::from_str(&text).unwrap();
        let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str);
        assert_eq!(text("/base-dir"), Some("/tmp/a \"b\"/data"));
        assert_eq!(text("/admin/bind-address"), Some("127.0.0.1:3"));
    }
}
