//! What a bridge counts. No label has an unbounded set of values: neither sources nor channels are labels.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Every metric of a bridge.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) sources: IntGaugeVec,
    pub(crate) commands: IntCounterVec,
    pub(crate) failures: IntCounterVec,
    pub(crate) malformed: IntCounterVec,
    pub(crate) messages: IntCounter,
    pub(crate) pictures: IntCounter,
    pub(crate) pictures_dropped: IntCounter,
    pub(crate) telemetry: IntCounter,
    pub(crate) not_sent: IntCounter,
    pub(crate) broker_connected: IntGauge,
    pub(crate) registry_errors: IntCounter,
    pub(crate) not_remembered: IntCounter,
}

impl Metrics {
    /// Registers all of them.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("relaycast_bridge_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(format!("relaycast_bridge_{name}"), help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let sources = IntGaugeVec::new(
            Opts::new("relaycast_bridge_sources", "Sources that this bridge knows, by what they do"),
            &["kind", "state"],
        )?;
        registry.register(Box::new(sources.clone()))?;
        let broker_connected = IntGauge::new(
            "relaycast_bridge_broker_connected",
            "Whether there is a connection to the MQTT broker",
        )?;
        registry.register(Box::new(broker_connected.clone()))?;
        Ok(Self {
            sources,
            commands: counters("commands_total", "What devices were told to do", &["kind", "what"])?,
            failures: counters(
                "failures_total",
                "Reasons for which wanted sources were not live, each time one came up",
                &["reason"],
            )?,
            malformed: counters(
                "malformed_total",
                "Messages of devices that were not as they should be, by what was wrong",
                &["what"],
            )?,
            messages: counter("messages_total", "Messages that came from the broker")?,
            pictures: counter("pictures_total", "Pictures that were handed to a node's connection")?,
            pictures_dropped: counter(
                "pictures_dropped_total",
                "Pictures that a newer one replaced before they were sent, or that had no node",
            )?,
            telemetry: counter("telemetry_total", "Telemetry messages handed on")?,
            not_sent: counter(
                "not_sent_total",
                "Messages to the broker or the backbone that could not be sent",
            )?,
            broker_connected,
            registry_errors: counter("registry_errors_total", "Calls of the registry that failed")?,
            not_remembered: counter(
                "not_remembered_total",
                "Things that the registry was not given to keep, as there are too many",
            )?,
        })
    }
}
