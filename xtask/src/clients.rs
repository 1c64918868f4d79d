//! Clients against a running Worker: our own for Python and TypeScript, the official MCP SDKs, and schemathesis, which asks
//! everything that the OpenAPI document says can be asked.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::client::Client;
use crate::dev::{self, NO_KEY, claude_vars};
use crate::root;
use crate::setup::{self, Tools, plain};
use crate::standin::Standin;
use crate::state::State;
use crate::worker::{Options, Worker};

/// A Worker of its own for one client.
pub struct Hosted {
    // Ended in this order: the Worker first, so that it does not see its Claude vanish.
    worker: Worker,
    standin: Standin,
    token: String,
}

impl Hosted {
    /// Beside it runs a cron that comes often: schedules that are run by hand wait for nothing else.
    pub fn with_cron(tools: &Tools, program: &Path) -> Result<Hosted> {
        Self::begin(tools, program, &[], Some(dev::CRON))
    }

    pub fn start(tools: &Tools, program: &Path, vars: &[(&str, &str)]) -> Result<Hosted> {
        Self::begin(tools, program, vars, None)
    }

    fn begin(
        tools: &Tools,
        program: &Path,
        vars: &[(&str, &str)],
        cron: Option<Duration>,
    ) -> Result<Hosted> {
        let state = State::temporary("clients")?;
        let token = state.token()?;
        let standin = Standin::start(program, state.dir(), &[])?;
        let mut all = claude_vars(standin.url(), NO_KEY, &token);
        all.extend(
            vars.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let options = Options {
            port: 0,
            vars: all,
            cron,
            ..Options::default()
        };
        Ok(Hosted {
            worker: Worker::start(tools, state, options)?,
            standin,
            token,
        })
    }

    /// Where it is and who may call, as the command line finds it in its environment.
    pub fn login(&self) -> [(String, String); 2] {
        [
            ("FANWISE_URL".to_owned(), self.worker.url()),
            ("FANWISE_TOKEN".to_owned(), self.token.clone()),
        ]
    }

    /// How the stand-in behaves from now on.
    pub fn claude(&self, changes: &Value) -> Result<()> {
        Client::new(self.standin.url(), None)
            .post("/control/config", changes)?
            .ok()?;
        Ok(())
    }

    /// Tells a client where it is and who may call.
    fn tell(&self, command: &mut Command) {
        command.envs(self.login());
    }
}

/// Our client for Python: its own tests, then those against this Worker.
pub fn client_python(hosted: &Hosted) -> Result<Command> {
    let mut command = plain(setup::python()?);
    command
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .arg(root::dir().join("clients/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("STANDIN_URL", hosted.standin.url());
    hosted.tell(&mut command);
    Ok(command)
}

/// The web origin from which Chromium runs our client for TypeScript.
pub const CLIENT_VARS: [(&str, &str); 1] = [("CORS_ORIGINS", "http://client.test")];

/// Our client for TypeScript, in Node, Deno, Bun, workerd and Chromium.
pub fn client_typescript(tools: &Tools, hosted: &Hosted) -> Result<Command> {
    let runtimes = root::tools_dir().join("runtimes");
    setup::npm_packages(
        "runtimes",
        "installing Deno and Bun into .fanwise/runtimes",
        &[
            (
                "package.json",
                include_str!("../../tests/clients/runtimes/package.json"),
            ),
            (
                "package-lock.json",
                include_str!("../../tests/clients/runtimes/package-lock.json"),
            ),
        ],
        &runtimes,
    )?;
    let mut command = tools.command("node");
    command
        .arg(root::dir().join("clients/typescript/tests/run.mjs"))
        .env("RUNTIMES", runtimes)
        .env("CHROMIUM", setup::browser()?)
        .env("STANDIN_URL", hosted.standin.url());
    hosted.tell(&mut command);
    Ok(command)
}

/// The official MCP SDK for Python.
pub fn mcp_python(hosted: &Hosted) -> Result<Command> {
    let mut command = plain(setup::python()?);
    command.arg(root::dir().join("tests/clients/mcp_client.py"));
    hosted.tell(&mut command);
    Ok(command)
}

/// The official MCP SDKs for TypeScript.
pub fn mcp_typescript(tools: &Tools, hosted: &Hosted) -> Command {
    let mut command = tools.command("node");
    command.arg(root::dir().join("tests/clients/mcp_client.mjs"));
    hosted.tell(&mut command);
    command
}

/// The page in headless Chromium, by a script of `tests/page`.
pub fn page(tools: &Tools, hosted: &Hosted, script: &str) -> Result<Command> {
    let mut command = tools.command("node");
    command
        .arg(root::dir().join("tests/page").join(script))
        .env("CHROMIUM", setup::browser()?)
        .env("STANDIN_URL", hosted.standin.url());
    hosted.tell(&mut command);
    Ok(command)
}

/// Streams that end soon: schemathesis reads each to its end.
pub const SCHEMATHESIS_VARS: [(&str, &str); 2] =
    [("EVENTS_MAX_MS", "500"), ("EVENTS_POLL_MS", "500")];

/// Every check, every phase; how is in `tests/clients/schemathesis.toml`.
pub fn schemathesis(hosted: &Hosted) -> Result<Command> {
    let python = setup::python()?;
    let program = python
        .parent()
        .context("the Python environment has no folder")?
        .join("schemathesis");
    let mut command = plain(program);
    command
        .args(["--no-color", "--config-file"])
        .arg(root::dir().join("tests/clients/schemathesis.toml"))
        .args(["run", "--checks", "all"])
        .arg(format!("{}/openapi.json", hosted.worker.url()));
    hosted.tell(&mut command);
    Ok(command)
}
