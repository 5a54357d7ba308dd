//! What a run must reach: the load test as a gate.

use crate::report::Outcome;

/// What a run must reach; whatever is not given is not asked.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Thresholds (exit code 1 where one is missed)")]
pub(crate) struct Thresholds {
    /// Messages lost in the whole run
    #[arg(long, value_name = "NUMBER")]
    max_lost: Option<u64>,

    /// Handshakes refused
    #[arg(long, value_name = "NUMBER")]
    max_refused: Option<u64>,

    /// 99 of 100 messages are faster
    #[arg(long, value_name = "DURATION")]
    max_p99: Option<humantime::Duration>,

    /// 999 of 1000 messages are faster
    #[arg(long, value_name = "DURATION")]
    max_p999: Option<humantime::Duration>,

    /// Messages delivered per second
    #[arg(long, value_name = "NUMBER")]
    min_rate: Option<f64>,

    /// Microseconds of server CPU per delivered message
    #[arg(long, value_name = "NUMBER")]
    max_cpu_us: Option<f64>,

    /// Resident bytes of the server per connection
    #[arg(long, value_name = "BYTES")]
    max_memory: Option<f64>,

    /// Seconds until all receivers are connected
    #[arg(long, value_name = "NUMBER")]
    max_connect_seconds: Option<f64>,
}

impl Thresholds {
    /// What the outcome misses, in words. What was not measured is missed.
    pub(crate) fn missed(&self, outcome: &Outcome) -> Vec<String> {
        let mut missed = Vec::new();
        let mut check = |name: &str, is_bound_below: bool, bound: Option<f64>, value: Option<f64>| {
            let Some(bound) = bound else { return };
            let (relation, holds) = if is_bound_below {
                ("at least", value.is_some_and(|value| value >= bound))
            } else {
                ("at most", value.is_some_and(|value| value <= bound))
            };
            if !holds {
                let value = value.map_or("not measured".to_owned(), |value| format!("{value:.2}"));
                missed.push(format!("{name} is {value}, wanted {relation} {bound:.2}"));
            }
        };
        let latency = |value| (outcome.latency_us.count > 0).then_some(value);
        let us = |duration: &humantime::Duration| duration.as_secs_f64() * 1e6;
        let server = outcome.server.as_ref();
        check("lost messages", false, self.max_lost.map(|max| max as f64), Some(outcome.lost as f64));
        check(
            "refused handshakes",
            false,
            self.max_refused.map(|max| max as f64),
            Some(outcome.refused as f64),
        );
        check("latency p99 (µs)", false, self.max_p99.as_ref().map(us), latency(outcome.latency_us.p99));
        check("latency p99.9 (µs)", false, self.max_p999.as_ref().map(us), latency(outcome.latency_us.p999));
        check("messages per second", true, self.min_rate, Some(outcome.messages_per_second));
        check(
            "server CPU per message (µs)",
            false,
            self.max_cpu_us,
            server.and_then(|cost| cost.cpu_us_per_message),
        );
        check(
            "server memory per connection (bytes)",
            false,
            self.max_memory,
            server.and_then(|cost| cost.rss_bytes_per_connection),
        );
        check("connect time (s)", false, self.max_connect_seconds, Some(outcome.connect_seconds));
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome::delivered(10, 1.0)
    }

    #[test]
    fn nothing_asked_is_nothing_missed() {
        assert!(Thresholds::default().missed(&outcome()).is_empty());
    }

    #[test]
    fn a_bound_holds_at_the_bound_and_not_beyond() {
        let at = Thresholds { min_rate: Some(10.0), max_lost: Some(0), ..Thresholds::default() };
        assert!(at.missed(&outcome()).is_empty());
        let beyond = Thresholds { min_rate: Some(10.1), ..Thresholds::default() };
        assert_eq!(beyond.missed(&outcome()), ["messages per second is 10.00, wanted at least 10.10"]);
    }

    #[test]
    fn what_was_not_measured_is_missed() {
        let cpu = Thresholds { max_cpu_us: Some(1.0), ..Thresholds::default() };
        let missed = cpu.missed(&outcome());
        assert_eq!(missed, ["server CPU per message (µs) is not measured, wanted at most 1.00"]);
    }
}
