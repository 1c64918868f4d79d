//! A program in a pseudo-terminal: what stands on its screen, and keys that are pressed.

use std::collections::BTreeMap;
use std::io::{Read as _, Write};
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// Rows and columns.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub NonZeroU16, pub NonZeroU16);

impl Size {
    /// Wide enough for every line of the command line.
    pub const USUAL: Size = Size(NonZeroU16::new(40).unwrap(), NonZeroU16::new(110).unwrap());
}

/// Lines that have left the screen and can still be read.
const SCROLLBACK: usize = 1_000;

pub struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    // Closing it ends what runs in it.
    _master: Box<dyn MasterPty + Send>,
}

struct Seen {
    parser: vt100::Parser,
    bytes: Vec<u8>,
    ended: bool,
}

/// The lines as they are seen: one that fills its row is not run into the next.
fn lines(parser: &vt100::Parser) -> String {
    let (_, columns) = parser.screen().size();
    let rows = parser.screen().rows(0, columns.get());
    let rows: Vec<String> = rows.map(|row| row.trim_end().to_owned()).collect();
    rows.join("\n").trim_end().to_owned()
}

impl Terminal {
    /// Starts a program with nothing but this environment.
    pub fn start(
        program: &Path,
        args: &[&str],
        env: &BTreeMap<String, String>,
    ) -> Result<Terminal> {
        let here = std::env::current_dir()?;
        Terminal::of_size(Size::USUAL, &here, program, args, env)
    }

    /// The same in a folder.
    pub fn of_size(
        Size(rows, columns): Size,
        folder: &Path,
        program: &Path,
        args: &[&str],
        env: &BTreeMap<String, String>,
    ) -> Result<Terminal> {
        let pair = native_pty_system().openpty(PtySize {
            rows: rows.get(),
            cols: columns.get(),
            pixel_width: 0,
            pixel_height: 0,
        })?;
        let mut command = CommandBuilder::new(program);
        command.args(args);
        command.cwd(folder);
        command.env_clear();
        command.env("TERM", "xterm-256color");
        for (name, value) in env {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command)?;
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader()?;
        let keys = pair.master.take_writer()?;
        let seen = Arc::new((
            Mutex::new(Seen {
                parser: vt100::Parser::new(rows, columns, SCROLLBACK),
                bytes: Vec::new(),
                ended: false,
            }),
            Condvar::new(),
        ));
        let told = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            loop {
                let read = reader.read(&mut buffer).unwrap_or(0);
                let mut seen = told.0.lock().unwrap_or_else(PoisonError::into_inner);
                let piece = buffer.get(..read).unwrap_or_default();
                seen.parser.process(piece);
                seen.bytes.extend_from_slice(piece);
                seen.ended = read == 0;
                told.1.notify_all();
                if seen.ended {
                    return;
                }
            }
        });
        Ok(Terminal {
            child,
            keys,
            seen,
            _master: pair.master,
        })
    }

    /// What stands on the screen now.
    pub fn screen(&self) -> String {
        let seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines(&seen.parser)
    }

    /// The same with colours, cell by cell.
    pub fn cells(&self) -> vt100::Screen {
        let seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.parser.screen().clone()
    }

    /// Everything that ever came, control sequences included.
    pub fn bytes(&self) -> String {
        let seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&seen.bytes).into_owned()
    }

    /// Waits until the screen is as wanted; the screen.
    pub fn until(&self, within: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + within;
        let mut seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let screen = lines(&seen.parser);
            if wanted(&screen) {
                return Ok(screen);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if seen.ended || left.is_zero() {
                bail!("the screen never was as wanted; in the end:\n{screen}");
            }
            seen = self
                .seen
                .1
                .wait_timeout(seen, left)
                .map_err(|_| anyhow!("the reader is gone"))?
                .0;
        }
    }

    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes())?;
        Ok(self.keys.flush()?)
    }

    /// Waits for the program's end; its exit code.
    pub fn exit_code(&mut self, within: Duration) -> Result<u32> {
        let deadline = Instant::now() + within;
        let mut seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !seen.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let screen = lines(&seen.parser);
                bail!("the program goes on and on:\n{screen}");
            }
            seen = self
                .seen
                .1
                .wait_timeout(seen, left)
                .map_err(|_| anyhow!("the reader is gone"))?
                .0;
        }
        drop(seen);
        Ok(self.child.wait()?.exit_code())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}
