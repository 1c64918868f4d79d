//! The stand-in for Claude as a running process.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::client::Client;
use crate::proc::Group;
use crate::setup::{plain, tail};

const START: Duration = Duration::from_secs(20);

/// A running stand-in. Dropped, it ends.
pub struct Standin {
    group: Group,
    url: String,
}

impl Standin {
    /// Starts it on a free port; what it says goes to `standin.log` in `dir`. `args` are its own options,
    /// for example `--latency-ms 200`.
    pub fn start(program: &Path, dir: &Path, args: &[String]) -> Result<Standin> {
        let log = dir.join("standin.log");
        let out =
            File::create(&log).with_context(|| format!("could not write {}", log.display()))?;
        let mut command = plain(program);
        command
            .args(["--port", "0"])
            .args(args)
            .stderr(out.try_clone().context("could not share the log file")?)
            .stdout(out);
        let mut group = Group::spawn("the stand-in", &mut command)?;
        let until = Instant::now() + START;
        loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(url) = listening(&said) {
                return Ok(Standin { group, url });
            }
            if group.ended().is_some() || Instant::now() > until {
                bail!(
                    "the stand-in could not start (all of it: {}):\n{}",
                    log.display(),
                    tail(&said, 10)
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it counted: calls, in flight, for each task.
    pub fn stats(&self) -> Result<Value> {
        Client::new(&self.url, None).get("/control/stats")?.json()
    }

    /// Forgets what it counted.
    pub fn reset(&self) -> Result<()> {
        Client::new(&self.url, None)
            .post("/control/reset", &Value::Null)?
            .ok()
            .map(drop)
    }

    /// An error, in a sentence, once it does not run any more.
    pub fn check(&mut self) -> Result<()> {
        match self.group.ended() {
            Some(status) => bail!("the stand-in ended unexpectedly ({status})"),
            None => Ok(()),
        }
    }
}

/// From its line `standin listening on URL`.
fn listening(said: &str) -> Option<String> {
    said.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .find_map(|line| line.trim_end().strip_prefix("standin listening on "))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_a_whole_line() {
        assert_eq!(
            listening("x\nstandin listening on http://127.0.0.1:5\n"),
            Some("http://127.0.0.1:5".into())
        );
        assert_eq!(listening("standin listening on http://127.0.0.1:5"), None);
    }
}
