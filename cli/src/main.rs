//! `fanwise`, the command line of a Fanwise deployment.
//!
//! It speaks the HTTP API and nothing else, with the Worker's own types. What is for programs goes to standard output, what is
//! for the person who waits goes to standard error.
//!
//! - [`args`]: the command line itself
//! - [`commands`]: one file for each group of commands
//! - [`deploy`]: from an account to a deployment
//! - [`api`]: the HTTP client, and errors in full
//! - [`settings`]: the address and token of the deployment
//! - [`spec`]: the body of a submit, from files and `--set`
//! - [`input`]: CSV, JSON lines, folders and standard input as they are uploaded
//! - [`terminal`]: tables, colours, questions, progress

mod api;
mod args;
mod commands;
mod deploy;
mod input;
#[cfg(test)]
mod reference;
mod settings;
mod spec;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::api::Api;
use crate::args::{Cli, Command};
use crate::commands::{
    control, job_id, jobs, login, plans, results, run, schedules, service, tokens, watch,
};
use crate::terminal::output::{self, Out};

/// Errors of every kind; 2 is clap's, for a command line it does not understand.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    cli.common = cli.common.or_else_from(|name| std::env::var(name).ok());
    let out = Out::new(cli.common.json);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(cli, &out));
            // A question that nobody answered must not keep the process.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(FAILED)
        }
    }
}

/// The exit code: 0, or the state in which a job has ended.
async fn dispatch(cli: Cli, out: &Out) -> anyhow::Result<u8> {
    let common = &cli.common;
    // What needs no deployment.
    match &cli.command {
        Command::Login(args) => return login::run(common, args, out).await.map(|()| 0),
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(*shell, &mut command, "fanwise", &mut std::io::stdout());
            return Ok(0);
        }
        Command::Man { dir } => return service::man(dir.as_deref()).map(|()| 0),
        Command::Deploy(args) => {
            let known = common.url.as_deref();
            return deploy::run(args, known, out).await.map(|()| 0);
        }
        _ => {}
    }
    let api = Api::new(settings::resolve(common)?)?;
    match cli.command {
        Command::Run(args) => run::run(&api, args, out).await,
        Command::Watch { job } => {
            let job = job_id::resolve(&api, &job).await?;
            watch::to_end(&api, &job, &[], out).await
        }
        Command::Jobs(args) => jobs::list(&api, &args, out).await.map(|()| 0),
        Command::Show { job } => jobs::show(&api, &job, out).await.map(|()| 0),
        Command::Tasks(args) => jobs::tasks(&api, &args, out).await.map(|()| 0),
        Command::Task { index, job } => jobs::task(&api, &job, index, out).await.map(|()| 0),
        Command::Results(args) => results::results(&api, &args, out).await.map(|()| 0),
        Command::Report(args) => results::report(&api, &args, out).await.map(|()| 0),
        Command::Retry(args) => control::retry(&api, &args, out).await,
        Command::Resume(args) => control::resume(&api, &args, out).await,
        Command::Cancel { job } => control::plain(&api, &job, "cancel", out).await,
        Command::Pause { job } => control::plain(&api, &job, "pause", out).await,
        Command::Approve { job } => control::plain(&api, &job, "approve", out).await,
        Command::Delete { job, yes } => control::delete(&api, &job, yes, out).await.map(|()| 0),
        Command::Plan(args) => plans::plan(&api, &args, out).await.map(|()| 0),
        Command::Estimate(args) => plans::estimate(&api, args, out).await.map(|()| 0),
        Command::Schedules(args) => schedules::run(&api, args, out).await.map(|()| 0),
        Command::Tokens(args) => tokens::run(&api, args, out).await.map(|()| 0),
        Command::Recipes { name } => service::recipes(&api, name.as_deref(), out)
            .await
            .map(|()| 0),
        Command::Limits => service::limits(&api, out).await.map(|()| 0),
        Command::Login(_)
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::Deploy(_) => Ok(0),
    }
}
