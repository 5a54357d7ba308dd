//! Metrics of the process itself: CPU, memory, file descriptors, and which build it is.
//!
//! Read from `/proc` at each scrape, under the names that every Prometheus dashboard knows. Where there is no `/proc`
//! they are absent rather than zero. [`Usage`] tells what share of the machine that is.

use std::fs;
use std::path::Path;
use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntGauge, IntGaugeVec, Opts, Registry};

/// Kernel clock ticks a second as user space sees them; fixed at 100 on every Linux that Rust's tier 1 and 2 run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Registers the metrics of this process and `relaycast_build_info`.
///
/// # Errors
/// When the registry already has metrics of these names.
pub fn register(registry: &Registry, version: &str) -> prometheus::Result<()> {
    registry.register(Box::new(Process::new()?))?;
    let build = IntGaugeVec::new(
        Opts::new("relaycast_build_info", "Always 1; the labels say which build this is."),
        &["version", "target"],
    )?;
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    build.with_label_values(&[version, &target]).set(1);
    registry.register(Box::new(build))
}

#[derive(Debug)]
struct Process {
    cpu: Counter,
    resident: IntGauge,
    threads: IntGauge,
    fds: IntGauge,
    fds_max: IntGauge,
    start: Gauge,
}

impl Process {
    fn new() -> prometheus::Result<Self> {
        Ok(Self {
            cpu: cpu_counter()?,
            resident: IntGauge::new("process_resident_memory_bytes", "Resident memory in bytes.")?,
            threads: IntGauge::new("process_threads", "Operating system threads.")?,
            fds: IntGauge::new("process_open_fds", "Open file descriptors.")?,
            fds_max: IntGauge::new("process_max_fds", "Limit of open file descriptors.")?,
            start: Gauge::new("process_start_time_seconds", "Start in seconds since the Unix epoch.")?,
        })
    }
}

fn cpu_counter() -> prometheus::Result<Counter> {
    Counter::new("process_cpu_seconds_total", "User and system CPU time in seconds.")
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        let parts: [&dyn Collector; 6] =
            [&self.cpu, &self.resident, &self.threads, &self.fds, &self.fds_max, &self.start];
        parts.into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
            // A counter only advances, and two scrapes may run at once: each has its own, advanced once from zero.
            if let Ok(cpu) = cpu_counter() {
                cpu.inc_by(stat.cpu_ticks / TICKS_PER_SECOND);
                families.extend(cpu.collect());
            }
            let boot = fs::read_to_string("/proc/stat").ok();
            if let Some(boot) = boot.as_deref().and_then(|text| field(text, "btime ")) {
                self.start.set(boot as f64 + stat.start_ticks / TICKS_PER_SECOND);
                families.extend(self.start.collect());
            }
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            if let Some(kibibytes) = field(&status, "VmRSS:") {
                self.resident.set(kibibytes.saturating_mul(1024));
                families.extend(self.resident.collect());
            }
            if let Some(threads) = field(&status, "Threads:") {
                self.threads.set(threads);
                families.extend(self.threads.collect());
            }
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // Less the descriptor that lists them.
            self.fds.set(i64::try_from(entries.count()).unwrap_or(i64::MAX).saturating_sub(1));
            families.extend(self.fds.collect());
        }
        let limits = fs::read_to_string("/proc/self/limits").ok();
        if let Some(limit) = limits.as_deref().and_then(|text| field(text, "Max open files")) {
            self.fds_max.set(limit);
            families.extend(self.fds_max.collect());
        }
        families
    }
}

/// The first number of the line that starts with `name`.
fn field(text: &str, name: &str) -> Option<i64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// The fields of `/proc/self/stat` that are used, in ticks.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    start_ticks: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the command in parentheses and may itself hold spaces and parentheses.
        let after = &text[text.rfind(')')? + 1..];
        let fields: Vec<&str> = after.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
        Some(Self { cpu_ticks: number(11)? + number(12)?, start_ticks: number(19)? })
    }
}

/// What share of the machine this process uses, from one reading to the next.
#[derive(Debug)]
pub struct Usage {
    processors: u32,
    memory_bytes: Option<u64>,
    /// When it was read last, and the processor time up to then.
    last: Option<(Instant, f64)>,
}

/// A reading of [`Usage`]. What cannot be read is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Thousandths of the processors' time since the last reading.
    pub cpu_permille: u32,
    /// Thousandths of the memory that the process may use.
    pub memory_permille: u32,
}

impl Usage {
    /// Of a process that may use so many processors. What memory it may use is read now: no limit is expected to change.
    pub fn new(processors: u32) -> Self {
        Self {
            processors,
            memory_bytes: memory_bytes(),
            last: cpu_ticks().map(|ticks| (Instant::now(), ticks)),
        }
    }

    /// What is used, the processors since the last time.
    pub fn read(&mut self) -> Used {
        let now = Instant::now();
        let ticks = cpu_ticks();
        let before = std::mem::replace(&mut self.last, ticks.map(|ticks| (now, ticks)));
        let cpu_permille = match (before, ticks) {
            (Some((since, before)), Some(ticks)) => {
                let available = (now - since).as_secs_f64() * f64::from(self.processors.max(1));
                permille((ticks - before) / TICKS_PER_SECOND, available)
            }
            _ => 0,
        };
        let resident = fs::read_to_string("/proc/self/status").ok();
        let resident = resident.as_deref().and_then(|status| field(status, "VmRSS:"));
        let memory_permille = match (resident, self.memory_bytes) {
            (Some(kibibytes), Some(bytes)) => permille(kibibytes as f64 * 1024.0, bytes as f64),
            _ => 0,
        };
        Used { cpu_permille, memory_permille }
    }
}

/// Ticks are coarse: over a short while they may tell of more than there was.
fn permille(used: f64, of: f64) -> u32 {
    if of > 0.0 { (used / of * 1000.0).round().clamp(0.0, 1000.0) as u32 } else { 0 }
}

fn cpu_ticks() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    Stat::parse(&stat).map(|stat| stat.cpu_ticks)
}

/// Bytes of memory that this process may use: those of the machine, or what its control groups leave it.
fn memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(|text| field(text, "MemTotal:"));
    let machine = machine.and_then(|kibibytes| u64::try_from(kibibytes).ok()?.checked_mul(1024));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = group_limit(&groups, |path| fs::read_to_string(Path::new("/sys/fs/cgroup").join(path)).ok());
    machine.into_iter().chain(limit).min()
}

/// The lowest memory limit of the groups that `/proc/self/cgroup` names, and of those that they are in. Version 2 has one
/// tree; version 1 has one for memory. A container that does not see the groups around it sees its own at the root.
fn group_limit(groups: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (tree, file) = match controllers {
            "" => ("", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => ("memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        let groups = Path::new(path.trim_start_matches('/')).ancestors();
        // "max", which is no limit, does not parse.
        groups
            .filter_map(|group| read(Path::new(tree).join(group).join(file).to_str()?)?.trim().parse().ok())
            .min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 3 0 9000 100 25 0";
        assert_eq!(Stat::parse(text), Some(Stat { cpu_ticks: 200.0, start_ticks: 9000.0 }));
        assert_eq!(Stat::parse("7 (x"), None);
        assert_eq!(Stat::parse("7 (x) S 1"), None);
    }

    #[test]
    fn the_lowest_limit_of_all_groups_counts() {
        let limit = |groups: &str, files: &[(&str, &str)]| {
            group_limit(groups, |path| {
                files.iter().find(|(name, _)| *name == path).map(|(_, text)| format!("{text}\n"))
            })
        };
        let pod = "0::/kube/pod/box\n";
        assert_eq!(
            limit(pod, &[("kube/pod/box/memory.max", "max"), ("kube/pod/memory.max", "512")]),
            Some(512)
        );
        assert_eq!(
            limit(pod, &[("kube/pod/box/memory.max", "64"), ("kube/pod/memory.max", "512")]),
            Some(64)
        );
        assert_eq!(limit("0::/\n", &[("memory.max", "9")]), Some(9));
        let old = "5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n";
        assert_eq!(limit(old, &[("memory/memory.limit_in_bytes", "7"), ("cpu/memory.max", "1")]), Some(7));
        assert_eq!(limit(old, &[("memory/docker/a/memory.limit_in_bytes", "5")]), Some(5));
        for none in ["", "0::/a\n", "nonsense\n", "1:name=systemd:/\n"] {
            assert_eq!(limit(none, &[("memory.limit_in_bytes", "3")]), None, "{none:?}");
        }
    }

    #[test]
    fn shares_stay_between_nothing_and_everything() {
        assert_eq!(permille(0.5, 2.0), 250);
        assert_eq!(permille(3.0, 2.0), 1000);
        assert_eq!(permille(-1.0, 2.0), 0);
        assert_eq!(permille(1.0, 0.0), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_that_computes_uses_processor_and_memory() {
        let mut usage = Usage::new(1);
        let began = Instant::now();
        let mut kept = Vec::new();
        while began.elapsed() < std::time::Duration::from_millis(300) {
            kept.push(std::hint::black_box(kept.len()));
        }
        let used = usage.read();
        assert!(used.cpu_permille > 0 && used.cpu_permille <= 1000, "{used:?}");
        assert!(memory_bytes().unwrap() > 1 << 20);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_measured() {
        let registry = Registry::new();
        register(&registry, "1.2.3").unwrap();
        let families = registry.gather();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name).unwrap();
            let metric = &family.get_metric()[0];
            metric.get_gauge().get_value() + metric.get_counter().get_value()
        };
        assert!(value("process_resident_memory_bytes") > 1024.0 * 1024.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_start_time_seconds") > 1.6e9);
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert_eq!(value("relaycast_build_info"), 1.0);
    }
}
