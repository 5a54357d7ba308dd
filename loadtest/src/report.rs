//! What a run came to, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::process::Usage;
use crate::tally::Tally;

/// The numbers at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) at: Duration,
    pub(crate) open: u64,
    pub(crate) refused: u64,
    pub(crate) received: u64,
    pub(crate) bytes: u64,
    pub(crate) lost: u64,
    /// Each of the server's processes with all it started.
    pub(crate) server: Vec<Usage>,
    pub(crate) generator: Usage,
}

/// The numbers at the moments that matter.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) before_connect: Snapshot,
    pub(crate) connected: Snapshot,
    pub(crate) from: Snapshot,
    pub(crate) to: Snapshot,
    /// Messages published in the whole run.
    pub(crate) sent: u64,
}

/// What a run came to. Durations in microseconds, sizes in bytes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    /// Connections that were open when the measurement began.
    pub(crate) connections: u64,
    pub(crate) refused: u64,
    /// From the first connection to the last handshake of all receivers.
    pub(crate) connect_seconds: f64,
    pub(crate) handshake_us: Quantiles,
    /// Length of the measurement.
    pub(crate) seconds: f64,
    /// In the whole run.
    pub(crate) published: u64,
    /// In the measurement.
    pub(crate) delivered: u64,
    pub(crate) messages_per_second: f64,
    pub(crate) bytes_per_second: f64,
    /// In the whole run.
    pub(crate) lost: u64,
    /// By slow and frozen receivers, who do not count as losing.
    pub(crate) left_out: u64,
    pub(crate) reordered: u64,
    pub(crate) duplicated: u64,
    pub(crate) damaged: u64,
    /// From sending to arrival, of every message that was sent in the measurement, however late it came.
    pub(crate) latency_us: Quantiles,
    /// How late the load generator itself was with each of them: what is as large as the latency makes the latency meaningless.
    pub(crate) lateness_us: Quantiles,
    /// From the start of a connection to its first message, of those who came while messages flowed.
    pub(crate) first_message_us: Quantiles,
    /// Handshakes of those who came while all others left at once.
    pub(crate) stampede_us: Quantiles,
    /// Connections that the server ended, by reason.
    pub(crate) ends: BTreeMap<String, u64>,
    pub(crate) server: Option<Cost>,
    /// Processors that the load generator kept busy: near the number of its threads, it is the bottleneck.
    pub(crate) generator_cpus: f64,
}

/// What the server took in the measurement.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cost {
    /// Processors kept busy.
    pub(crate) cpus: f64,
    /// Microseconds of a processor per delivered message; none where nothing was delivered.
    pub(crate) cpu_us_per_message: Option<f64>,
    /// The same of each process, in the order in which they were named.
    pub(crate) cpu_us_per_message_each: Vec<f64>,
    pub(crate) rss_bytes: u64,
    pub(crate) peak_rss_bytes: u64,
    /// Resident bytes at the end of the measurement, divided by the connections.
    pub(crate) rss_bytes_per_connection: Option<f64>,
    pub(crate) switches_per_second: f64,
}

/// Quantiles, in microseconds. All zero where nothing was counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl From<&Histogram<u64>> for Quantiles {
    fn from(nanos: &Histogram<u64>) -> Self {
        if nanos.is_empty() {
            return Self::default();
        }
        let us = |nanos: u64| nanos as f64 / 1e3;
        Self {
            count: nanos.len(),
            p50: us(nanos.value_at_quantile(0.5)),
            p99: us(nanos.value_at_quantile(0.99)),
            p999: us(nanos.value_at_quantile(0.999)),
            max: us(nanos.max()),
        }
    }
}

fn ratio(value: f64, by: u64) -> Option<f64> {
    (by > 0).then(|| value / by as f64)
}

impl Outcome {
    pub(crate) fn new(measured: Measured, tally: &Tally) -> Self {
        let Measured { before_connect, connected, from, to, sent } = measured;
        let seconds = (to.at - from.at).as_secs_f64();
        let delivered = to.received - from.received;
        let server = (!to.server.is_empty()).then(|| {
            let each: Vec<f64> = std::iter::zip(&from.server, &to.server)
                .map(|(from, to)| to.cpu.saturating_sub(from.cpu).as_secs_f64())
                .collect();
            let cpu: f64 = each.iter().sum();
            let (from, to_usage) = (Usage::sum(&from.server), Usage::sum(&to.server));
            Cost {
                cpus: cpu / seconds,
                cpu_us_per_message: ratio(cpu * 1e6, delivered),
                cpu_us_per_message_each: each.iter().filter_map(|cpu| ratio(cpu * 1e6, delivered)).collect(),
                rss_bytes: to_usage.rss,
                peak_rss_bytes: to_usage.peak_rss,
                rss_bytes_per_connection: ratio(to_usage.rss as f64, to.open),
                switches_per_second: to_usage.switches.saturating_sub(from.switches) as f64 / seconds,
            }
        });
        Self {
            connections: from.open,
            refused: to.refused,
            connect_seconds: (connected.at - before_connect.at).as_secs_f64(),
            handshake_us: (&tally.handshake).into(),
            seconds,
            published: sent,
            delivered,
            messages_per_second: delivered as f64 / seconds,
            bytes_per_second: (to.bytes - from.bytes) as f64 / seconds,
            lost: tally.lost,
            left_out: tally.left_out,
            reordered: tally.reordered,
            duplicated: tally.duplicated,
            damaged: tally.damaged,
            latency_us: (&tally.latency).into(),
            lateness_us: (&tally.lateness).into(),
            first_message_us: (&tally.first_message).into(),
            stampede_us: (&tally.stampede).into(),
            ends: tally.ends.clone(),
            server,
            generator_cpus: (to.generator.cpu.saturating_sub(from.generator.cpu)).as_secs_f64() / seconds,
        }
    }

    /// Of a run that delivered so many messages and nothing else.
    #[cfg(test)]
    pub(crate) fn delivered(messages: u64, seconds: f64) -> Self {
        let from = Snapshot::default();
        let to = Snapshot { received: messages, at: Duration::from_secs_f64(seconds), ..Snapshot::default() };
        let measured =
            Measured { before_connect: from.clone(), connected: from.clone(), from, to, sent: messages };
        Self::new(measured, &Tally::new())
    }

    /// Name and value of everything a person wants to know, one a line.
    pub(crate) fn table(&self) -> String {
        let mut rows = Vec::new();
        let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
        row(
            "connections",
            format!("{}, {} refused, in {:.2} s", self.connections, self.refused, self.connect_seconds),
        );
        row("handshake", self.handshake_us.to_string());
        if self.published > 0 {
            row("delivered", format!("{} messages in {:.1} s", self.delivered, self.seconds));
            row(
                "rate",
                format!("{} messages/s, {}/s", count(self.messages_per_second), bytes(self.bytes_per_second)),
            );
            row(
                "lost",
                format!(
                    "{}, {} out of order, {} twice, {} damaged",
                    self.lost, self.reordered, self.duplicated, self.damaged
                ),
            );
            row("latency", self.latency_us.to_string());
        }
        if self.left_out > 0 {
            row("slow and frozen", format!("{} messages left out for them", self.left_out));
        }
        if self.lateness_us.count > 0 {
            row("generator late", self.lateness_us.to_string());
        }
        if self.first_message_us.count > 0 {
            row("first message", self.first_message_us.to_string());
        }
        if self.stampede_us.count > 0 {
            row("in a stampede", format!("{} handshakes, {}", self.stampede_us.count, self.stampede_us));
        }
        if let Some(cost) = &self.server {
            let per_message = cost.cpu_us_per_message.map(|us| format!(", {us:.2} µs per message"));
            row("server CPU", format!("{:.3} processors{}", cost.cpus, per_message.unwrap_or_default()));
            let per_connection =
                cost.rss_bytes_per_connection.map(|each| format!(", {} per connection", bytes(each)));
            row(
                "server memory",
                format!(
                    "{}, at most {}{}",
                    bytes(cost.rss_bytes as f64),
                    bytes(cost.peak_rss_bytes as f64),
                    per_connection.unwrap_or_default()
                ),
            );
            row("server switches", format!("{} per second", count(cost.switches_per_second)));
        }
        row("generator CPU", format!("{:.3} processors", self.generator_cpus));
        for (reason, times) in &self.ends {
            row("ended", format!("{times} × {reason}"));
        }
        rows.iter().fold(String::new(), |mut table, (name, value)| {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{name:<16} {value}");
            table
        })
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |us: f64| format!("{:.2}", us / 1e3);
        write!(
            f,
            "p50 {} ms, p99 {} ms, p99.9 {} ms, max {} ms",
            ms(self.p50),
            ms(self.p99),
            ms(self.p999),
            ms(self.max)
        )
    }
}

/// A number that people can read.
pub(crate) fn count(value: f64) -> String {
    match value {
        0.0..1e4 => format!("{value:.0}"),
        1e4..1e6 => format!("{:.1} k", value / 1e3),
        _ => format!("{:.2} M", value / 1e6),
    }
}

/// A size that people can read.
pub(crate) fn bytes(value: f64) -> String {
    match value {
        0.0..1024.0 => format!("{value:.0} B"),
        1024.0..1_048_576.0 => format!("{:.1} KiB", value / 1024.0),
        1_048_576.0..1_073_741_824.0 => format!("{:.1} MiB", value / 1_048_576.0),
        _ => format!("{:.2} GiB", value / 1_073_741_824.0),
    }
}
