//! What the server's processes took from the machine, as `/proc` tells it (proc(5)).

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

/// What processes took so far.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Usage {
    /// Time on a processor, in user and in kernel mode.
    pub(crate) cpu: Duration,
    /// Resident bytes now.
    pub(crate) rss: u64,
    /// Most resident bytes ever.
    pub(crate) peak_rss: u64,
    /// Times a thread gave up its processor, or lost it.
    pub(crate) switches: u64,
}

impl Usage {
    pub(crate) fn sum(all: &[Self]) -> Self {
        all.iter().fold(Self::default(), |sum, each| Self {
            cpu: sum.cpu + each.cpu,
            rss: sum.rss + each.rss,
            peak_rss: sum.peak_rss + each.peak_rss,
            switches: sum.switches + each.switches,
        })
    }
}

/// What each of these processes, with all it started, took. A process counts once, and as nothing when it has ended.
pub(crate) fn usage(roots: &[u32]) -> Vec<Usage> {
    with_descendants(roots).into_iter().map(sum).collect()
}

/// What this process alone took.
pub(crate) fn own() -> Usage {
    sum([std::process::id()])
}

fn sum(pids: impl IntoIterator<Item = u32>) -> Usage {
    let mut sum = Usage::default();
    for pid in pids {
        let folder = format!("/proc/{pid}");
        let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        sum.rss += kib(&status, "VmRSS:");
        sum.peak_rss += kib(&status, "VmHWM:");
        for thread in entries(Path::new(&format!("{folder}/task"))) {
            let folder = format!("{folder}/task/{thread}");
            sum.cpu += on_cpu(&folder);
            let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
            sum.switches +=
                number(&status, "voluntary_ctxt_switches:") + number(&status, "nonvoluntary_ctxt_switches:");
        }
    }
    sum
}

/// Nanoseconds from the scheduler where it tells them: clock ticks are samples of 10 ms.
fn on_cpu(thread: &str) -> Duration {
    let schedstat = fs::read_to_string(format!("{thread}/schedstat")).unwrap_or_default();
    let nanos = schedstat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

fn with_descendants(roots: &[u32]) -> Vec<BTreeSet<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in entries(Path::new("/proc")) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name, in parentheses, may hold spaces; after it come the state and the parent.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut counted = BTreeSet::new();
    let family = |root: &u32| {
        let mut found = BTreeSet::new();
        let mut open = vec![*root];
        while let Some(pid) = open.pop() {
            if counted.insert(pid) {
                found.insert(pid);
                open.extend(children.get(&pid).into_iter().flatten());
            }
        }
        found
    };
    roots.iter().map(family).collect()
}

fn entries(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn kib(status: &str, name: &str) -> u64 {
    number(status, name) << 10
}

fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_took_something() {
        let mut sum = 0u64;
        let own = [std::process::id()];
        let before = usage(&own)[0];
        while usage(&own)[0].cpu < before.cpu + Duration::from_millis(5) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(before.rss > 100 << 10 && before.peak_rss >= before.rss);
    }

    #[test]
    fn children_count_once() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let families = with_descendants(&[std::process::id(), child.id()]);
        assert!(families[0].contains(&child.id()) && families[1].is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_is_gone_took_nothing() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(usage(&[child.id()])[0].cpu, Duration::ZERO);
    }
}
