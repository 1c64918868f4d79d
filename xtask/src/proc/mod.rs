//! Child processes, none of which outlives the one that started them.
//!
//! Each child leads a process group of its own, so that its children (npm, node, workerd, esbuild) end
//! with it. All groups are known to this process, which ends them when it returns, fails or is told to
//! stop, and to a guard (`guard.sh`), which ends them when this process had no time to: SIGKILL, a crash,
//! a closed terminal.

mod signals;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpid,
};

pub use signals::on_signals_end_everything;

/// How long a group may take to end by itself. wrangler takes about 0.2 s.
const GRACE: Duration = Duration::from_secs(3);
/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(20);

/// Everything that runs, for the end.
#[derive(Default)]
struct House {
    closing: bool,
    guard: Option<ChildStdin>,
    groups: BTreeMap<i32, String>,
    litter: Vec<PathBuf>,
}

static HOUSE: Mutex<House> = Mutex::new(House {
    closing: false,
    guard: None,
    groups: BTreeMap::new(),
    litter: Vec::new(),
});

/// The house, also after a panic in another thread: its data are simple and always whole.
fn house() -> MutexGuard<'static, House> {
    HOUSE.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// What marks the children of this process in their environment.
fn tag() -> &'static str {
    static TAG: OnceLock<String> = OnceLock::new();
    TAG.get_or_init(|| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        format!("{}-{}", std::process::id(), now.as_nanos())
    })
}

impl House {
    /// Tells the guard; without a guard there is nothing to tell.
    fn note(&mut self, op: &str, what: &str) {
        if let Some(guard) = &mut self.guard {
            let _ = writeln!(guard, "{op} {what}");
        }
    }

    fn post_guard(&mut self) -> Result<()> {
        if self.guard.is_some() {
            return Ok(());
        }
        let mut child = Command::new("sh")
            .args(["-c", include_str!("guard.sh"), "fanwise-guard", tag()])
            .env_remove("FANWISE_RUN")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("could not start the guard of the child processes (sh)")?;
        self.guard = child.stdin.take();
        Ok(())
    }
}

/// A child and all that it starts.
pub struct Group {
    name: String,
    child: Child,
    id: Pid,
    over: bool,
}

impl Group {
    /// Starts `command` as the leader of a new group, with no stdin.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Group> {
        // Held over the spawn, so that an end that comes just now sees the child.
        let mut house = house();
        if house.closing {
            bail!("stopping");
        }
        house.post_guard()?;
        let child = command
            .env("FANWISE_RUN", tag())
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => anyhow!(
                    "{} is not installed or not in PATH",
                    command.get_program().to_string_lossy()
                ),
                _ => anyhow!("{name} could not be started: {error}"),
            })?;
        let id = Pid::from_child(&child);
        house
            .groups
            .insert(id.as_raw_nonzero().get(), name.to_owned());
        house.note("group", &id.as_raw_nonzero().to_string());
        Ok(Group {
            name: name.to_owned(),
            child,
            id,
            over: false,
        })
    }

    /// The leader's process id, which is the group's too.
    pub fn id(&self) -> i32 {
        self.id.as_raw_nonzero().get()
    }

    /// How the leader ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What the leader writes to its stdout, where the command piped it.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Ends the group: politely, and by force after a grace.
    pub fn stop(&mut self) {
        if self.over {
            return;
        }
        let _ = kill_process_group(self.id, Signal::TERM);
        if !self.gone_within(GRACE) {
            let _ = kill_process_group(self.id, Signal::KILL);
            self.gone_within(GRACE);
        }
        self.forget();
    }

    /// Ends the group by SIGKILL, as a crash would.
    pub fn kill(&mut self) {
        if self.over {
            return;
        }
        let _ = kill_process_group(self.id, Signal::KILL);
        self.gone_within(GRACE);
        self.forget();
    }

    fn gone_within(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            // The leader is ours to reap; until then the group counts as alive.
            if self.ended().is_some() && test_kill_process_group(self.id).is_err() {
                return true;
            }
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn forget(&mut self) {
        self.over = true;
        let id = self.id();
        let mut house = house();
        house.groups.remove(&id);
        house.note("ended", &id.to_string());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.id())
    }
}

/// Deletes `path`, a folder below [`crate::root::states_dir`], when this process ends.
pub fn delete_at_end(path: &Path) -> Result<()> {
    let mut house = house();
    house.post_guard()?;
    house.note("litter", &path.display().to_string());
    house.litter.push(path.to_owned());
    Ok(())
}

/// Whether the end has begun; failures seen after that are its consequences.
pub fn closing() -> bool {
    house().closing
}

/// Ends every group and clears up. Nothing can be started after this.
pub fn end_everything() {
    let (groups, litter) = {
        let mut house = house();
        house.closing = true;
        let groups: Vec<Pid> = house
            .groups
            .keys()
            .filter_map(|id| Pid::from_raw(*id))
            .collect();
        (groups, std::mem::take(&mut house.litter))
    };
    let signal = |signal| {
        for group in &groups {
            let _ = kill_process_group(*group, signal);
        }
    };
    signal(Signal::TERM);
    let until = Instant::now() + GRACE;
    let gone = |group: &Pid| {
        // Reaps the leader; whoever holds its `Child` will not look any more.
        let _ = waitpid(Some(*group), WaitOptions::NOHANG);
        test_kill_process_group(*group).is_err()
    };
    while !groups.iter().all(gone) && Instant::now() < until {
        std::thread::sleep(LOOK);
    }
    signal(Signal::KILL);
    for path in litter {
        let _ = std::fs::remove_dir_all(path);
    }
}

/// Stops several commands together: the first failure of one makes the others pointless.
#[derive(Default)]
pub struct Cancel(AtomicBool);

impl Cancel {
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A command that was run to its end and failed.
#[derive(Debug)]
pub struct Failed {
    pub status: Option<ExitStatus>,
    /// All it said.
    pub said: String,
    pub cancelled: bool,
}

/// Runs a command to its end, all that it says going to the file `log`.
pub fn run(
    name: &str,
    command: &mut Command,
    log: &Path,
    cancel: &Cancel,
) -> Result<Result<(), Failed>> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("could not make {}", folder.display()))?;
    }
    let out = File::create(log).with_context(|| format!("could not write {}", log.display()))?;
    let err = out.try_clone().context("could not share the log file")?;
    let mut group = Group::spawn(name, command.stdout(out).stderr(err))?;
    loop {
        if cancel.is_set() {
            group.stop();
            return Ok(Err(Failed {
                status: None,
                said: String::new(),
                cancelled: true,
            }));
        }
        if let Some(status) = group.ended() {
            if status.success() {
                return Ok(Ok(()));
            }
            let said = std::fs::read(log).unwrap_or_default();
            return Ok(Err(Failed {
                status: Some(status),
                said: String::from_utf8_lossy(&said).into_owned(),
                cancelled: false,
            }));
        }
        std::thread::sleep(LOOK);
    }
}

/// What a quick command prints, if it succeeds.
pub fn ask(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_group_ends_with_all_that_it_started() {
        let mut group = Group::spawn(
            "nest",
            shell("sleep 300 & sleep 300 & wait").stdout(Stdio::null()),
        )
        .unwrap();
        let id = group.id;
        assert!(group.ended().is_none());
        group.stop();
        assert!(test_kill_process_group(id).is_err());
    }

    #[test]
    fn a_group_whose_leader_was_killed_still_ends() {
        let mut group = Group::spawn("nest", &mut shell("sleep 300 & kill -9 $$")).unwrap();
        let id = group.id;
        while group.ended().is_none() {
            std::thread::sleep(LOOK);
        }
        assert!(
            test_kill_process_group(id).is_ok(),
            "the grandchild lives on"
        );
        group.kill();
        assert!(test_kill_process_group(id).is_err());
    }

    #[test]
    fn a_stubborn_group_is_killed() {
        let mut group = Group::spawn(
            "deaf",
            &mut shell("trap '' TERM; echo; while :; do sleep 0.1; done"),
        )
        .unwrap();
        let id = group.id;
        group.stop();
        assert!(test_kill_process_group(id).is_err());
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Group::spawn("x", &mut Command::new("no-such-program")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no-such-program is not installed or not in PATH"
        );
    }
}
