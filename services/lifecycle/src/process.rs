//! Metrics of the process itself: CPU, memory, file descriptors, and which build it is.
//!
//! Read from `/proc` at each scrape, under the names that every Prometheus dashboard knows. Where there is no `/proc`
//! they are absent rather than zero.

use std::fs;

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
