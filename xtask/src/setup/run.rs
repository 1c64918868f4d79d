//! Runs one command of the set-up and turns its failure into one clear sentence.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, anyhow, bail};

use crate::proc::{self, Cancel, Failed};
use crate::root;

/// What a step says that was stopped because another one failed.
pub const CANCELLED: &str = "stopped, because another step failed";

/// Runs it, its words going to `.fanwise/log/LOG.log`. `what` completes the sentence "… failed".
pub fn finish(what: &str, log: &str, command: &mut Command, cancel: &Cancel) -> Result<()> {
    let path = root::log_dir().join(format!("{log}.log"));
    match proc::run(what, command, &path, cancel)? {
        Ok(()) => Ok(()),
        Err(failed) => Err(explain(what, &path, &failed)),
    }
}

/// Like [`finish`], for a command whose failure is not the end.
pub fn attempt(
    what: &str,
    log: &str,
    command: &mut Command,
    cancel: &Cancel,
) -> Result<Result<(), Failed>> {
    let path = root::log_dir().join(format!("{log}.log"));
    let outcome = proc::run(what, command, &path, cancel)?;
    if matches!(&outcome, Err(failed) if failed.cancelled) {
        bail!(CANCELLED);
    }
    Ok(outcome)
}

/// One sentence for people; the last lines of the log where the cause is not a known one.
pub fn explain(what: &str, log: &Path, failed: &Failed) -> anyhow::Error {
    if failed.cancelled {
        return anyhow!(CANCELLED);
    }
    let log = log.display();
    match cause(&failed.said) {
        Some(cause) => anyhow!("{what} failed: {cause} (details: {log})"),
        None => anyhow!(
            "{what} failed (all of it: {log}):\n{}",
            tail(&failed.said, 12)
        ),
    }
}

/// The causes that have a simple name. Every program words them in its own way.
fn cause(said: &str) -> Option<&'static str> {
    const NETWORK: &[&str] = &[
        "ENOTFOUND",
        "EAI_AGAIN",
        "ECONNREFUSED",
        "ECONNRESET",
        "ENETUNREACH",
        "ETIMEDOUT",
        "Could not resolve",
        "Couldn't resolve host",
        "Temporary failure resolving",
        "Temporary failure in name resolution",
        "Name or service not known",
        "Failed to connect to",
        "Could not connect to server",
        "failed to download from",
        "download of config.json failed",
        "Failed to establish a new connection",
        "could not download file",
        "Connection refused",
        "Network is unreachable",
    ];
    const CAUSES: &[(&[&str], &str)] = &[
        (&["No space left on device", "ENOSPC"], "the disk is full"),
        (
            &["linker `cc` not found", "failed to find tool \"cc\""],
            "there is no C compiler; install one (Debian, Ubuntu: apt-get install build-essential)",
        ),
        (
            &[
                "Could not find directory of OpenSSL",
                "openssl development headers",
                "libssl-dev",
            ],
            "the OpenSSL headers are missing; install them (Debian, Ubuntu: apt-get install libssl-dev pkg-config)",
        ),
        (
            &[
                "Could not get lock",
                "Unable to acquire the dpkg frontend lock",
            ],
            "another program is installing packages; try again when it is done",
        ),
        (
            &["Permission denied", "EACCES"],
            "a file may not be written by this user",
        ),
        (
            NETWORK,
            "the package registry cannot be reached; is there a network?",
        ),
    ];
    CAUSES
        .iter()
        .find(|(signs, _)| signs.iter().any(|sign| said.contains(sign)))
        .map(|(_, cause)| *cause)
}

/// The last lines that say something.
pub fn tail(said: &str, count: usize) -> String {
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = lines.len().saturating_sub(count);
    lines.get(from..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_causes_have_a_sentence() {
        for said in [
            "npm error code EAI_AGAIN",
            "error: failed to download from `x`",
            "Temporary failure resolving 'deb'",
        ] {
            assert!(
                cause(said).is_some_and(|text| text.contains("network")),
                "{said}"
            );
        }
        assert!(cause("No space left on device").is_some_and(|text| text.contains("disk")));
        assert_eq!(cause("error[E0308]: mismatched types"), None);
    }

    #[test]
    fn the_tail_is_the_end_without_blanks() {
        assert_eq!(tail("a\n\nb\nc\n\n", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
    }
}
