//! What is counted of webhooks. An endpoint is a label: there are few, and their names are the operator's.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Every metric.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) on_duty: IntGauge,
    pub(super) journal_errors: IntCounter,
    attempts: IntCounterVec,
    dead: IntCounterVec,
    gaps: IntCounterVec,
    held: IntGaugeVec,
    muted: IntGaugeVec,
}

/// Those of one endpoint.
#[derive(Debug)]
pub(super) struct EndpointMetrics {
    pub(super) delivered: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) refused: IntCounter,
    pub(super) later: IntCounter,
    pub(super) gone: IntCounter,
    pub(super) dead: IntCounter,
    pub(super) gaps: IntCounter,
    pub(super) held: IntGauge,
    pub(super) muted: IntGauge,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters =
            |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
                let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
                registry.register(Box::new(metric.clone()))?;
                Ok(metric)
            };
        let gauges = |name: &str, help: &str| -> Result<IntGaugeVec, prometheus::Error> {
            let metric = IntGaugeVec::new(Opts::new(name, help), &["endpoint"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let on_duty = IntGauge::new(
            "relaycast_webhooks_on_duty",
            "Whether this replica delivers webhooks and buries nodes that vanished.",
        )?;
        registry.register(Box::new(on_duty.clone()))?;
        let journal_errors = IntCounter::new(
            "relaycast_webhooks_journal_errors_total",
            "Calls of the journal for webhooks that were not answered.",
        )?;
        registry.register(Box::new(journal_errors.clone()))?;
        Ok(Self {
            on_duty,
            journal_errors,
            attempts: counters(
                "relaycast_webhooks_attempts_total",
                "Requests to endpoints, by what became of them: delivered, failed, refused, later, gone.",
                &["endpoint", "result"],
            )?,
            dead: counters("relaycast_webhooks_dead_total", "Events that were given up.", &["endpoint"])?,
            gaps: counters(
                "relaycast_webhooks_gaps_total",
                "Times that the journal had forgotten events before they could be delivered.",
                &["endpoint"],
            )?,
            held: gauges("relaycast_webhooks_held", "Events in memory that are not delivered.")?,
            muted: gauges("relaycast_webhooks_muted", "Whether the endpoint has said that it is gone.")?,
        })
    }

    /// With every value at zero, so that a rate over a first event is right.
    pub(super) fn of(&self, endpoint: &str) -> EndpointMetrics {
        let attempts = |result: &str| self.attempts.with_label_values(&[endpoint, result]);
        EndpointMetrics {
            delivered: attempts("delivered"),
            failed: attempts("failed"),
            refused: attempts("refused"),
            later: attempts("later"),
            gone: attempts("gone"),
            dead: self.dead.with_label_values(&[endpoint]),
            gaps: self.gaps.with_label_values(&[endpoint]),
            held: self.held.with_label_values(&[endpoint]),
            muted: self.muted.with_label_values(&[endpoint]),
        }
    }
}
