//! Many runs as few numbers: per server and profile the median of each figure over the rounds.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::compare::server::Server;
use crate::plan::Profile;
use crate::report::{Outcome, bytes, count};

/// What is compared. Each profile is run for one or more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Microseconds of server CPU per delivered message.
    CpuPerMessage,
    /// Delivered messages per second.
    Rate,
    /// Delivered bytes per second.
    ByteRate,
    /// Milliseconds.
    P99,
    /// Resident bytes of the server.
    Memory,
    /// Resident bytes of the server per connection.
    MemoryPerConnection,
}

impl Figure {
    /// What a profile is run for.
    pub(crate) fn of(profile: Profile) -> &'static [Self] {
        match profile {
            Profile::Event => &[Self::CpuPerMessage, Self::P99, Self::Memory],
            Profile::Small => &[Self::Rate],
            Profile::Bulk => &[Self::ByteRate],
            Profile::Idle => &[Self::MemoryPerConnection],
            _ => &[Self::CpuPerMessage, Self::P99],
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::CpuPerMessage => "CPU per message",
            Self::Rate => "messages per second",
            Self::ByteRate => "bytes per second",
            Self::P99 => "latency p99",
            Self::Memory => "memory",
            Self::MemoryPerConnection => "memory per connection",
        }
    }

    /// Whether more is better.
    pub(crate) const fn is_more_better(self) -> bool {
        matches!(self, Self::Rate | Self::ByteRate)
    }

    fn value(self, outcome: &Outcome) -> Option<f64> {
        let server = outcome.server.as_ref();
        match self {
            Self::CpuPerMessage => server.and_then(|cost| cost.cpu_us_per_message),
            Self::Rate => Some(outcome.messages_per_second),
            Self::ByteRate => Some(outcome.bytes_per_second),
            Self::P99 => (outcome.latency_us.count > 0).then_some(outcome.latency_us.p99 / 1e3),
            Self::Memory => server.map(|cost| cost.rss_bytes as f64),
            Self::MemoryPerConnection => server.and_then(|cost| cost.rss_bytes_per_connection),
        }
    }

    pub(crate) fn text(self, value: f64) -> String {
        match self {
            Self::CpuPerMessage => format!("{value:.2} µs"),
            Self::Rate => format!("{}/s", count(value)),
            Self::ByteRate => format!("{}/s", bytes(value)),
            Self::P99 => format!("{value:.2} ms"),
            Self::Memory | Self::MemoryPerConnection => bytes(value),
        }
    }
}

/// One figure of several servers.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) profile: Profile,
    pub(crate) figure: Figure,
    pub(crate) values: Vec<(Server, f64)>,
}

impl Compared {
    fn of(&self, wanted: Server) -> Option<f64> {
        self.values.iter().find(|(server, _)| *server == wanted).map(|(_, value)| *value)
    }
}

/// The outcomes of all rounds.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    outcomes: BTreeMap<(usize, Server), Vec<Outcome>>,
    profiles: Vec<Profile>,
}

impl Summary {
    pub(crate) fn add(&mut self, profile: Profile, server: Server, outcome: Outcome) {
        let index = self.profiles.iter().position(|known| *known == profile).unwrap_or_else(|| {
            self.profiles.push(profile);
            self.profiles.len() - 1
        });
        self.outcomes.entry((index, server)).or_default().push(outcome);
    }

    /// Every figure that was measured, with the value of each server.
    pub(crate) fn figures(&self) -> Vec<Compared> {
        let mut figures = Vec::new();
        for (index, profile) in self.profiles.iter().enumerate() {
            for figure in Figure::of(*profile) {
                let values = Server::ALL.into_iter().filter_map(|server| {
                    let outcomes = self.outcomes.get(&(index, server))?;
                    Some((server, median(outcomes.iter().filter_map(|outcome| figure.value(outcome)))?))
                });
                figures.push(Compared { profile: *profile, figure: *figure, values: values.collect() });
            }
        }
        figures
    }

    /// A table in Markdown: servers down, figures across, each with its ratio to the ceiling's.
    pub(crate) fn table(&self) -> String {
        let figures = self.figures();
        let mut table = String::from("| server |");
        for Compared { profile, figure, .. } in &figures {
            let _ = write!(table, " {}: {} |", profile.name(), figure.name());
        }
        table += "\n|---|";
        table += &"---|".repeat(figures.len());
        for server in Server::ALL {
            if !figures.iter().any(|compared| compared.of(server).is_some()) {
                continue;
            }
            let _ = write!(table, "\n| {server} |");
            for compared in &figures {
                let figure = compared.figure;
                let cell = match (compared.of(server), compared.of(Server::Ceiling)) {
                    (None, _) => "–".to_owned(),
                    (Some(value), Some(ceiling)) if server != Server::Ceiling && ceiling > 0.0 => {
                        format!("{} ({:.2} ×)", figure.text(value), value / ceiling)
                    }
                    (Some(value), _) => figure.text(value),
                };
                let _ = write!(table, " {cell} |");
            }
        }
        table + "\n"
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
    }

    #[test]
    fn what_a_server_was_not_asked_is_left_out() {
        let mut summary = Summary::default();
        summary.add(Profile::Small, Server::Ceiling, Outcome::delivered(100, 1.0));
        summary.add(Profile::Small, Server::Relaycast, Outcome::delivered(400, 1.0));
        summary.add(Profile::Small, Server::Relaycast, Outcome::delivered(200, 1.0));
        summary.add(Profile::Bulk, Server::Ceiling, Outcome::delivered(100, 1.0));
        let table = summary.table();
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), 4, "{table}");
        assert!(rows[2].starts_with("| ceiling | 100/s |"), "{table}");
        assert!(rows[3].starts_with("| Relaycast | 300/s (3.00 ×) | – |"), "{table}");
    }
}
