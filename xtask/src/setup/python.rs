//! Python, for `test` alone: a virtual environment with the official SDK, as `tests/requirements.txt` pins it.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};

use super::{digest, plain, read, run, stamp::Stamp};
use crate::proc::{self, Cancel};
use crate::{root, ui};

/// What the newest pandas, numpy and httpx2 want.
const OLDEST: (u32, u32) = (3, 11);

/// The environment's interpreter.
pub fn python() -> Result<PathBuf> {
    let folder = root::tools_dir().join("venv");
    let wanted = root::dir().join("tests/requirements.txt");
    let interpreter = folder.join("bin/python");
    let found = proc::ask(plain("python3").arg("--version")).ok_or_else(|| {
        anyhow!("python3 is not installed or not in PATH; the tests need version 3.11 or newer")
    })?;
    if parse_version(&found).is_none_or(|version| version < OLDEST) {
        bail!("the python3 in PATH is {found}; the tests need version 3.11 or newer");
    }
    let stamp = Stamp::new("python", digest(&[&found, &read(&wanted)?]));
    if stamp.holds() && interpreter.is_file() {
        return Ok(interpreter);
    }
    stamp.lift();
    let cancel = Cancel::default();
    let step = ui::Step::begin("python", "installing the official SDK into .fanwise/venv");
    let mut venv = plain("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&folder);
    if let Err(failed) = run::attempt("python3 -m venv", "venv", &mut venv, &cancel)? {
        if failed.said.contains("ensurepip") {
            bail!(
                "this Python cannot make virtual environments (Debian, Ubuntu: apt-get install python3-venv)"
            );
        }
        return Err(run::explain(
            "python3 -m venv",
            &root::log_dir().join("venv.log"),
            &failed,
        ));
    }
    let mut pip = plain(&interpreter);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--requirement",
    ])
    .arg(&wanted);
    run::finish("pip install", "pip", &mut pip, &cancel)?;
    stamp.set()?;
    step.done();
    Ok(interpreter)
}

/// `Python 3.11.7`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("Python ")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse_version("Python 3.9.2") < Some(OLDEST));
        assert!(parse_version("Python 3.12.1") > Some(OLDEST));
    }
}
