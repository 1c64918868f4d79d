//! Ctrl-C and its relatives: everything that was started ends first, then this process.

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// From now on a signal ends all children and then this process, with the status shells expect. A second
/// signal does not wait for the children; the guard ends them.
pub fn on_signals_end_everything() -> Result<()> {
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]).context("could not listen for signals")?;
    std::thread::spawn(move || {
        let mut seen = false;
        for signal in signals.forever() {
            if seen {
                std::process::exit(128 + signal);
            }
            seen = true;
            std::thread::spawn(move || {
                if signal == SIGINT {
                    crate::ui::say("stopping");
                }
                super::end_everything();
                std::process::exit(128 + signal);
            });
        }
    });
    Ok(())
}
