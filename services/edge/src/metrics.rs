//! What the node counts. No label has an unbounded set of values: neither channels nor sessions are labels.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use relay_proto::websocket::{Close, Kind};

/// Every metric of the node.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) sessions: IntGaugeVec,
    pub(crate) sessions_accepted: IntCounter,
    pub(crate) session_ends: IntCounterVec,
    pub(crate) handshakes_refused: IntCounterVec,
    pub(crate) connections: IntGauge,
    pub(crate) channels: IntGauge,
    pub(crate) followers: IntGauge,
    pub(crate) publications: IntCounter,
    pub(crate) publications_live: IntGauge,
    pub(crate) takeovers: IntCounter,
    pub(crate) chunks_received: IntCounter,
    pub(crate) bytes_received: IntCounter,
    pub(crate) chunks_sent: IntCounter,
    pub(crate) bytes_sent: IntCounter,
    pub(crate) skips: IntCounter,
    pub(crate) cache_bytes: IntGauge,
    pub(crate) accept_errors: IntCounter,
    pub(crate) registry_up: IntGauge,
    pub(crate) registry_errors: IntCounter,
    pub(crate) backbone_up: IntGauge,
    pub(crate) leases: IntGauge,
    pub(crate) leases_lost: IntCounter,
    pub(crate) exports: IntGauge,
    pub(crate) exports_behind: IntCounter,
    pub(crate) snapshots: IntCounter,
    pub(crate) upstreams: IntGauge,
    pub(crate) chunks_pulled: IntCounter,
    pub(crate) bytes_pulled: IntCounter,
    pub(crate) gaps: IntCounterVec,
    pub(crate) stale: IntCounter,
    pub(crate) messages_not_understood: IntCounter,
    pub(crate) draining: IntGauge,
    pub(crate) reports_lost: IntCounter,
    pub(crate) facts_lost: IntCounter,
    pub(crate) refusals_untold: IntCounter,
    pub(crate) journal_errors: IntCounter,
}

/// The kind of a session that publishes by RTMP, in metrics and logs.
pub(crate) const RTMP: &str = "rtmp";

/// Why a connection never became a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request was not complete in time.
    Slow,
    /// The request has too many or too long headers.
    TooLarge,
    /// The request is not HTTP, or not a valid websocket handshake.
    Malformed,
    /// The connection ended in the middle of a request.
    Lost,
}

impl Refusal {
    pub(crate) const ALL: [Self; 4] = [Self::Slow, Self::TooLarge, Self::Malformed, Self::Lost];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Lost => "lost",
        }
    }
}

/// One in a gauge for as long as it lives, whatever ends it.
#[derive(Debug)]
pub(crate) struct Counted(IntGauge);

impl Counted {
    pub(crate) fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Every kind of session.
    pub(crate) fn session_kinds() -> impl Iterator<Item = &'static str> {
        Kind::ALL.into_iter().map(Kind::name).chain([RTMP])
    }

    /// Registers everything, with every label value at zero, so that a rate over a first event is right.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let counters =
            |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
                let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
                registry.register(Box::new(metric.clone()))?;
                Ok(metric)
            };
        let sessions =
            IntGaugeVec::new(Opts::new("relaycast_sessions", "Open sessions by kind."), &["kind"])?;
        registry.register(Box::new(sessions.clone()))?;
        let metrics = Self {
            sessions,
            sessions_accepted: counter(
                "relaycast_sessions_accepted_total",
                "Sessions that were let in: publishers that publish, receivers and probes that have or await a stream.",
            )?,
            session_ends: counters(
                "relaycast_session_ends_total",
                "Sessions that ended, by kind and by reason of the end.",
                &["kind", "reason"],
            )?,
            handshakes_refused: counters(
                "relaycast_handshakes_refused_total",
                "Connections that never became a session, by reason.",
                &["reason"],
            )?,
            connections: gauge(
                "relaycast_connections",
                "Open TCP connections, handshakes and page requests included.",
            )?,
            channels: gauge("relaycast_channels", "Channels on this node, those without a publisher too.")?,
            followers: gauge("relaycast_followers", "Clients that follow what is told beside a picture.")?,
            publications: counter("relaycast_publications_total", "Publications that began.")?,
            publications_live: gauge("relaycast_publications", "Publications that run.")?,
            takeovers: counter("relaycast_takeovers_total", "Publishers replaced by a newer one.")?,
            chunks_received: counter("relaycast_chunks_received_total", "Chunks taken from publishers.")?,
            bytes_received: counter(
                "relaycast_received_bytes_total",
                "Payload bytes taken from publishers.",
            )?,
            chunks_sent: counter(
                "relaycast_chunks_sent_total",
                "Chunks given to receivers, each receiver counted.",
            )?,
            bytes_sent: counter("relaycast_sent_bytes_total", "Bytes of these chunks, framing included.")?,
            skips: counter(
                "relaycast_skips_total",
                "Times a receiver fell so far behind that chunks were left out up to a join point.",
            )?,
            cache_bytes: gauge("relaycast_cache_bytes", "Bytes that the rings of all channels hold.")?,
            accept_errors: counter(
                "relaycast_accept_errors_total",
                "Connections that could not be accepted.",
            )?,
            registry_up: gauge("relaycast_registry_up", "Whether the last heartbeat reached the registry.")?,
            registry_errors: counter(
                "relaycast_registry_errors_total",
                "Calls of the registry that it did not answer.",
            )?,
            backbone_up: gauge("relaycast_backbone_up", "Whether the backbone is connected.")?,
            leases: gauge("relaycast_leases", "Leases of channels that this node has.")?,
            leases_lost: counter(
                "relaycast_leases_lost_total",
                "Leases that somebody else had when they were to be renewed.",
            )?,
            exports: gauge("relaycast_exports", "Publications of this node whose chunks go to other nodes.")?,
            exports_behind: counter(
                "relaycast_exports_behind_total",
                "Chunks that the backbone did not take before they were too old.",
            )?,
            snapshots: counter("relaycast_snapshots_total", "Snapshots that were sent to other nodes.")?,
            upstreams: gauge(
                "relaycast_upstreams",
                "Channels that are wanted here, and pulled where another node has their publisher.",
            )?,
            chunks_pulled: counter("relaycast_pulled_chunks_total", "Chunks taken from other nodes.")?,
            bytes_pulled: counter("relaycast_pulled_bytes_total", "Payload bytes taken from other nodes.")?,
            gaps: counters(
                "relaycast_upstream_gaps_total",
                "Times that chunks were lost between nodes: healed, they came after all; skipped, receivers went on at a \
                 join point.",
                &["outcome"],
            )?,
            stale: counter(
                "relaycast_stale_messages_total",
                "Messages of origins that have been replaced, which are passed over.",
            )?,
            messages_not_understood: counter(
                "relaycast_messages_not_understood_total",
                "Messages of other nodes that are of another version, or malformed.",
            )?,
            draining: gauge("relaycast_draining", "Whether the node is out of service, or on its way.")?,
            reports_lost: counter(
                "relaycast_reports_lost_total",
                "Reports to stream-managers that the backbone did not take.",
            )?,
            facts_lost: counter(
                "relaycast_facts_lost_total",
                "What happened and the journal was not told of, because it was away for too long.",
            )?,
            refusals_untold: counter(
                "relaycast_refusals_untold_total",
                "Refused sessions that the journal was not told of, because there were too many at once.",
            )?,
            journal_errors: counter(
                "relaycast_journal_errors_total",
                "Calls of the journal that it did not answer.",
            )?,
        };
        for outcome in ["healed", "skipped"] {
            metrics.gaps.with_label_values(&[outcome]);
        }
        for kind in Self::session_kinds() {
            metrics.sessions.with_label_values(&[kind]);
            for close in Close::ALL {
                metrics.session_ends.with_label_values(&[kind, close.name()]);
            }
            metrics.session_ends.with_label_values(&[kind, "connection_lost"]);
        }
        for refusal in Refusal::ALL {
            metrics.handshakes_refused.with_label_values(&[refusal.name()]);
        }
        Ok(metrics)
    }
}
