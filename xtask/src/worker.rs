//! The Worker under `wrangler dev`: start, kill, restart, cron. Used by every command that runs it and by
//! the end-to-end tests.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use crate::client::Client;
use crate::proc::Group;
use crate::setup::{Tools, tail};
use crate::state::{State, quiet};
use crate::ui;

/// wrangler needs about 2 s; a machine busy with a build, several times that.
const START: Duration = Duration::from_secs(90);
/// A Worker that says for so long that it is not well (a wrong variable, say) will not get well by itself.
const REFUSAL: Duration = Duration::from_secs(15);
/// A port of a run that was just killed may take a moment to become free.
const PORT_LINGER: Duration = Duration::from_secs(3);
/// How long a crashed workerd may take to answer again: wrangler starts a new one, which mostly works.
const RECOVERY: Duration = Duration::from_secs(10);
/// What wrangler writes when it has to.
const CRASHED: &str = "runtime crashed unexpectedly";
/// The code of its answers where a variable is wrong.
const MISCONFIGURED: &str = "\"misconfigured\"";
const LOOK: Duration = Duration::from_millis(50);

#[derive(Default)]
pub struct Options {
    /// 0 for any that is free.
    pub port: u16,
    /// Configuration and secrets, on top of `wrangler.toml`.
    pub vars: Vec<(String, String)>,
    /// How often the scheduled handler is called; production's cron does it every minute, local runs have none.
    pub cron: Option<Duration>,
    /// Whether one that is configured wrongly is started all the same.
    pub unwell: bool,
}

/// A running Worker. Dropped, it ends.
pub struct Worker {
    tools: Tools,
    state: State,
    options: Options,
    group: Option<Group>,
    port: u16,
    cron: Option<Cron>,
    /// How much of the log [`Worker::check`] has read.
    log_read: u64,
    crashed_at: Option<Instant>,
}

impl Worker {
    /// Starts it and waits until it answers.
    pub fn start(tools: &Tools, state: State, options: Options) -> Result<Worker> {
        let port = options.port;
        let mut worker = Worker {
            tools: tools.clone(),
            state,
            options,
            group: None,
            port,
            cron: None,
            log_read: 0,
            crashed_at: None,
        };
        worker.launch()?;
        Ok(worker)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn log(&self) -> PathBuf {
        self.state.log()
    }

    /// The process group of wrangler and both of its workerds.
    pub fn group_id(&self) -> Option<i32> {
        self.group.as_ref().map(Group::id)
    }

    /// An error, in a sentence, once it does not run any more.
    pub fn check(&mut self) -> Result<()> {
        let log = self.state.log();
        let Some(group) = &mut self.group else {
            bail!("the Worker was stopped");
        };
        if let Some(status) = group.ended() {
            bail!(
                "wrangler ended unexpectedly ({status}); its log: {}",
                log.display()
            );
        }
        let said = read_from(&log, self.log_read);
        let whole = said.rfind('\n').map_or(0, |end| end + 1);
        self.log_read += whole as u64;
        if said.get(..whole).unwrap_or_default().contains(CRASHED) {
            self.crashed_at = Some(Instant::now());
        }
        if let Some(at) = self.crashed_at {
            if Client::new(&self.url(), None).healthy() {
                self.crashed_at = None;
            } else if at.elapsed() > RECOVERY {
                bail!(
                    "workerd crashed and does not answer any more; wrangler's log: {}",
                    log.display()
                );
            }
        }
        Ok(())
    }

    /// SIGKILL to wrangler and workerd, as a crash of the machine would look to them.
    pub fn kill(&mut self) {
        self.cron = None;
        if let Some(mut group) = self.group.take() {
            group.kill();
        }
    }

    pub fn stop(&mut self) {
        self.cron = None;
        if let Some(mut group) = self.group.take() {
            group.stop();
        }
    }

    /// Starts it again on the same port and state, after [`Worker::kill`] or [`Worker::stop`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        self.launch()
    }

    /// Calls the scheduled handler once.
    pub fn trigger_cron(&self) -> Result<()> {
        trigger_cron(&Client::new(&self.url(), None))
    }

    fn launch(&mut self) -> Result<()> {
        let dir = self.state.dir().to_owned();
        self.state.prepare(&self.tools, &self.options.vars)?;
        if self.port != 0 {
            free(self.port)?;
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.state.log())
            .with_context(|| format!("could not write {}", self.state.log().display()))?;
        let began_at = log.metadata().map(|meta| meta.len()).unwrap_or_default();
        let mut command = self.tools.wrangler();
        command
            .args([
                "dev",
                "--local",
                "--ip",
                "127.0.0.1",
                "--inspector-port",
                "0",
            ])
            .args([
                "--show-interactive-dev-session=false",
                "--port",
                &self.port.to_string(),
            ])
            .arg("--config")
            .arg(self.state.config())
            .arg("--env-file")
            .arg(self.state.secrets())
            .arg("--persist-to")
            .arg(&dir)
            .current_dir(&dir)
            .stderr(log.try_clone().context("could not share the log file")?)
            .stdout(log);
        quiet(&mut command, &dir);
        self.group = Some(Group::spawn("wrangler dev", &mut command)?);
        self.log_read = began_at;
        self.crashed_at = None;
        let ready = self.wait_until_ready(began_at);
        if let Err(error) = ready {
            self.stop();
            return Err(error);
        }
        if let Some(every) = self.options.cron {
            self.cron = Some(Cron::start(self.url(), every));
        }
        Ok(())
    }

    /// Every variable that is wrong, as a deep look names them.
    fn misconfigured(&self) -> anyhow::Error {
        let vars = self.options.vars.iter();
        let token = vars.rev().find(|(name, _)| name == "FANWISE_TOKEN");
        let client = Client::new(&self.url(), token.map(|(_, token)| token.as_str()));
        let told = client
            .get("/healthz?deep=1")
            .and_then(|answer| answer.json());
        let told = told.unwrap_or_default();
        let checks = told.get("checks").and_then(Value::as_array);
        let faults: Vec<String> = checks
            .into_iter()
            .flatten()
            .filter_map(|check| {
                let text = |field: &str| check.get(field).and_then(Value::as_str);
                Some(format!("{}: {}", text("name")?, text("problem")?))
            })
            .collect();
        match faults.is_empty() {
            true => anyhow!(
                "the Worker is not configured rightly; its log says what is wrong: {}",
                self.state.log().display()
            ),
            false => anyhow!(
                "the Worker is not configured rightly: {}",
                faults.join("; ")
            ),
        }
    }

    fn wait_until_ready(&mut self, began_at: u64) -> Result<()> {
        let began = Instant::now();
        let log = self.state.log();
        loop {
            let said = read_from(&log, began_at);
            let Some(group) = &mut self.group else {
                bail!("the Worker was stopped");
            };
            if let Some(status) = group.ended() {
                bail!(
                    "wrangler could not start the Worker ({status}; all of it: {}):\n{}",
                    log.display(),
                    last_lines(&said)
                );
            }
            if let Some(port) = ready_port(&said) {
                self.port = port;
                match Client::new(&self.url(), None).health() {
                    Some((200, _)) => return Ok(()),
                    Some((503, body)) if body.contains(MISCONFIGURED) => {
                        return match self.options.unwell {
                            true => Ok(()),
                            false => Err(self.misconfigured()),
                        };
                    }
                    Some((status, body)) if began.elapsed() > REFUSAL => {
                        bail!("the Worker answers, but is not well ({status}): {body}");
                    }
                    _ => {}
                }
            }
            if began.elapsed() > START {
                bail!(
                    "the Worker does not answer (all of it: {}):\n{}",
                    log.display(),
                    last_lines(&said)
                );
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Whether nobody listens there at this moment.
pub fn free_now(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// An error in a sentence if somebody listens there.
pub fn free(port: u16) -> Result<()> {
    let until = Instant::now() + PORT_LINGER;
    while !free_now(port) {
        if Instant::now() > until {
            bail!("port {port} is in use by another program; choose another one with --port");
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// From wrangler's line `Ready on http://127.0.0.1:PORT`.
fn ready_port(said: &str) -> Option<u16> {
    let (_, rest) = said.split_once("Ready on http://127.0.0.1:")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    // A line that is still being written has no end yet.
    rest.get(digits.len()..)?
        .starts_with('\n')
        .then(|| digits.parse().ok())?
}

fn read_from(path: &std::path::Path, from: u64) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let _ = file.seek(SeekFrom::Start(from));
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last lines of a log for a terminal, without colours of their own.
fn last_lines(said: &str) -> String {
    tail(&anstream::adapter::strip_str(said).to_string(), 15)
}

fn trigger_cron(client: &Client) -> Result<()> {
    // The path that wrangler 4.155 names in its own log.
    let answer = client.get("/cdn-cgi/local/scheduled?cron=*+*+*+*+*")?;
    if answer.status == 200 {
        Ok(())
    } else {
        Err(anyhow!(
            "the scheduled handler answered {}: {}",
            answer.status,
            answer.body
        ))
    }
}

/// Stands in for the cron of production. Its failures are in wrangler's log; the next tick comes anyway.
struct Cron(Arc<AtomicBool>);

impl Cron {
    fn start(url: String, every: Duration) -> Cron {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            let client = Client::new(&url, None);
            while !stopped.load(Ordering::SeqCst) {
                let _ = trigger_cron(&client);
                let next = Instant::now() + every;
                while Instant::now() < next && !stopped.load(Ordering::SeqCst) {
                    std::thread::sleep(LOOK.min(every));
                }
            }
        });
        Cron(stop)
    }
}

impl Drop for Cron {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Repeats the errors of wrangler's log on stderr, a few at a time; the log has them all.
pub fn tell_errors_of(log: PathBuf) {
    const AT_ONCE: usize = 5;
    std::thread::spawn(move || {
        let mut seen = File::open(&log)
            .and_then(|file| file.metadata())
            .map_or(0, |meta| meta.len());
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let said = read_from(&log, seen);
            // Only whole lines; the rest is read again.
            let whole = said.rfind('\n').map_or(0, |end| end + 1);
            seen += whole as u64;
            let plain =
                anstream::adapter::strip_str(said.get(..whole).unwrap_or_default()).to_string();
            let errors: Vec<&str> = plain.lines().filter(|line| is_error(line)).collect();
            for line in errors.iter().take(AT_ONCE) {
                ui::say(format!("wrangler: {}", line.trim()));
            }
            if errors.len() > AT_ONCE {
                ui::say(format!(
                    "wrangler: and {} more in {}",
                    errors.len() - AT_ONCE,
                    log.display()
                ));
            }
        }
    });
}

fn is_error(line: &str) -> bool {
    ["[ERROR]", "wrangler:error", "Uncaught"]
        .iter()
        .any(|sign| line.contains(sign))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_a_whole_line() {
        assert_eq!(
            ready_port("x\n[wrangler:info] Ready on http://127.0.0.1:8787\n"),
            Some(8787)
        );
        assert_eq!(ready_port("Ready on http://127.0.0.1:87"), None);
        assert_eq!(ready_port("Starting local server...\n"), None);
    }

    #[test]
    fn a_port_in_use_is_told() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = free(port).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("port {port} is in use by another program; choose another one with --port")
        );
    }
}
