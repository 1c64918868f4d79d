//! Lines for people. Everything goes to stderr, so that stdout holds results alone.

use std::io::Write as _;
use std::time::{Duration, Instant};

/// Says one line. A closed stderr is no reason to stop.
pub fn say(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr(), "{}", line.as_ref());
}

/// Prints one line of a result.
pub fn print(line: impl AsRef<str>) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{}", line.as_ref());
    let _ = out.flush();
}

/// Something that takes a while: says what it is, and how long it took.
pub struct Step {
    name: String,
    began: Instant,
}

impl Step {
    pub fn begin(name: impl Into<String>, what: impl AsRef<str>) -> Step {
        let name = name.into();
        say(format!("  .. {name}: {}", what.as_ref()));
        Step {
            name,
            began: Instant::now(),
        }
    }

    pub fn done(self) {
        say(format!(
            "  ok {} ({})",
            self.name,
            took(self.began.elapsed())
        ));
    }
}

/// `7.3 s`, `2 min 5 s`.
pub fn took(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        assert_eq!(took(Duration::from_millis(7_340)), "7.3 s");
        assert_eq!(took(Duration::from_secs(125)), "2 min 5 s");
    }
}
