//! What workerd and others took: CPU time and the most memory they held, as Linux tells. Elsewhere there is no answer.

use std::path::Path;
use std::time::Duration;

/// Of several processes together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    pub cpu: Duration,
    /// The sum of each one's peak, so never less than the peak of the sum.
    pub peak_bytes: u64,
}

impl Usage {
    /// What was taken since then; peaks have no beginning.
    pub fn since(self, before: Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(before.cpu),
            ..self
        }
    }
}

/// Of all workerds of one process group: wrangler runs two, the Worker's own and one in front of it. None where there is no
/// `/proc` or no workerd in the group.
pub fn of_workerd(group: i32) -> Option<Usage> {
    of(group, Some("workerd"))
}

/// Of a whole process group.
pub fn of_group(group: i32) -> Option<Usage> {
    of(group, None)
}

fn of(group: i32, named: Option<&str>) -> Option<Usage> {
    let mut all = Usage::default();
    let mut found = false;
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let path = entry.path();
        let Ok(stat) = std::fs::read_to_string(path.join("stat")) else {
            continue;
        };
        let Some(ticks) = ticks(&stat, group, named) else {
            continue;
        };
        found = true;
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        all.cpu += Duration::from_secs_f64(ticks as f64 / per_second as f64);
        all.peak_bytes += peak_bytes(&path).unwrap_or_default();
    }
    found.then_some(all)
}

/// The load averages of the last 1, 5 and 15 minutes: what else the machine did.
pub fn load() -> Option<String> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let averages: Vec<&str> = text.split_whitespace().take(3).collect();
    Some(averages.join(", "))
}

/// User and system time of a process of that group, and of that name where one is asked for, from `/proc/PID/stat`.
fn ticks(stat: &str, group: i32, named: Option<&str>) -> Option<u64> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    // After the name: state, parent, group, then ten fields up to the times.
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let field = |index: usize| fields.get(index)?.parse::<i64>().ok();
    if named.is_some_and(|named| named != name) || field(2)? != i64::from(group) {
        return None;
    }
    u64::try_from(field(11)? + field(12)?).ok()
}

fn peak_bytes(process: &Path) -> Option<u64> {
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (workerd) S 7 99 99 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 9 0 1 2 3";

    #[test]
    fn times_are_read_for_a_workerd_of_the_group_alone() {
        let workerd = Some("workerd");
        assert_eq!(ticks(STAT, 99, workerd), Some(200));
        assert_eq!(ticks(STAT, 98, workerd), None);
        let node = STAT.replace("workerd", "node (x)");
        assert_eq!(ticks(&node, 99, workerd), None);
        assert_eq!(ticks(&node, 99, None), Some(200));
        assert_eq!(ticks("", 99, None), None);
    }
}
