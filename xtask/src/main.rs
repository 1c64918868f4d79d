//! `cargo xtask`: see the library.

use std::process::ExitCode;

use clap::Parser as _;
use xtask::{cli, proc, ui};

fn main() -> ExitCode {
    let parsed = cli::Cli::parse();
    let result = proc::on_signals_end_everything().and_then(|()| cli::run(parsed));
    while proc::closing() {
        // A signal came: what failed now failed because of it, and its thread ends this process.
        std::thread::park();
    }
    proc::end_everything();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
