//! What a tree of processes used, from `/proc`.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

/// Ticks may count up to two more than was used.
const TICK_SLACK_NS: u64 = 20_000_000;

/// What a process and its descendants used so far.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Usage {
    pub cpu_ns: u64,
    /// Time in which a thread could have run and had no core.
    pub wait_ns: u64,
    pub rss_kb: u64,
    pub processes: u64,
    pub threads: u64,
}

impl Usage {
    /// The tree's use so far; what has ended is not in it.
    pub(crate) fn of(roots: &[i32]) -> Self {
        let mut pids = Vec::new();
        for root in roots {
            descendants(*root, &mut pids);
        }
        pids.into_iter().filter_map(one).fold(Self::default(), Self::plus)
    }

    pub(crate) fn rss_mb(&self) -> f64 {
        self.rss_kb as f64 / 1024.0
    }

    fn plus(self, other: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns + other.cpu_ns,
            wait_ns: self.wait_ns + other.wait_ns,
            rss_kb: self.rss_kb + other.rss_kb,
            processes: self.processes + other.processes,
            threads: self.threads + other.threads,
        }
    }
}

fn descendants(root: i32, found: &mut Vec<i32>) {
    if found.contains(&root) {
        return;
    }
    found.push(root);
    let tasks = fs::read_dir(format!("/proc/{root}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            descendants(child, found);
        }
    }
}

fn one(pid: i32) -> Option<Usage> {
    let home = Path::new("/proc").join(pid.to_string());
    let ticks_ns = ticks_ns(&fs::read_to_string(home.join("stat")).ok()?);
    let mut usage = Usage { processes: 1, rss_kb: rss_kb(&fs::read_to_string(home.join("status")).ok()?), ..Usage::default() };
    for task in fs::read_dir(home.join("task")).ok()?.flatten() {
        usage.threads += 1;
        let schedstat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let mut fields = schedstat.split_whitespace().map(|field| field.parse().unwrap_or(0));
        usage.cpu_ns += fields.next().unwrap_or(0);
        usage.wait_ns += fields.next().unwrap_or(0);
    }
    // schedstat is exact while all threads live; ticks are coarse but keep threads that have ended.
    usage.cpu_ns = usage.cpu_ns.max(ticks_ns.saturating_sub(TICK_SLACK_NS));
    Some(usage)
}

/// User and system time of a process, from its `stat`: fields 14 and 15, counted behind the name in parentheses.
fn ticks_ns(stat: &str) -> u64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11);
    let ticks: u64 = fields.take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second())
}

fn rss_kb(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Usage, rss_kb, ticks_ns};

    #[test]
    fn fields_are_found_behind_a_name_with_spaces() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1";
        assert_eq!(ticks_ns(stat) * rustix::param::clock_ticks_per_second(), 200 * 1_000_000_000);
        assert_eq!(rss_kb("Name:\tx\nVmRSS:\t   1234 kB\n"), 1234);
        assert_eq!((ticks_ns(""), rss_kb("")), (0, 0));
    }

    #[test]
    fn this_process_is_there() {
        let usage = Usage::of(&[std::process::id() as i32]);
        assert!(usage.processes >= 1 && usage.threads >= 1 && usage.rss_kb > 100, "{usage:?}");
        assert_eq!(Usage::of(&[]).processes, 0);
    }
}
