//! What the sessions of one node share.

use std::sync::Arc;
use std::time::Duration;

use relay_lifecycle::backoff::entropy;
use relay_proto::SessionId;
use relay_proto::websocket::Kind;
use tokio::time::{Instant, sleep};

use crate::beside::Beside;
use crate::channels::Channels;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::service::{Leaving, Pace, Service};
use crate::sessions::Sessions;

/// What the sessions of one node share.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) channels: Channels,
    pub(crate) cluster: Cluster,
    pub(crate) sessions: Sessions,
    pub(crate) service: Service,
    pub(crate) beside: Beside,
}

/// Bounds of the hint after which a refused or drained client comes back, in milliseconds.
const RETRY_AFTER_MS: std::ops::Range<u64> = 500..3_000;

impl Node {
    pub(crate) fn new(
        config: Config,
        metrics: Arc<Metrics>,
        channels: Channels,
        cluster: Cluster,
        service: Service,
    ) -> Self {
        Self {
            config,
            metrics,
            channels,
            cluster,
            sessions: Sessions::default(),
            service,
            beside: Beside::default(),
        }
    }

    pub(crate) fn session_id(&self) -> SessionId {
        SessionId::new(entropy())
    }

    /// When a client that is sent away should come back: at a random moment, so that they do not all come at once.
    pub(crate) fn retry_after_ms(&self) -> u32 {
        let ms = random_below(RETRY_AFTER_MS.end - RETRY_AFTER_MS.start) + RETRY_AFTER_MS.start;
        u32::try_from(ms).unwrap_or(u32::MAX)
    }

    /// A random delay for something that so many do at once, so that they do not: a millisecond for each, up to the registry's
    /// interval.
    pub(crate) fn spread(&self, count: i64) -> Duration {
        let within = Duration::from_millis(count.unsigned_abs()).min(self.config.registry_interval);
        Duration::from_millis(random_below(
            u64::try_from(within.as_millis()).unwrap_or(u64::MAX).saturating_add(1),
        ))
    }

    /// Waits until no chunk of this node is on its way to another.
    pub(crate) async fn exports_ended(&self) {
        const LOOK_INTERVAL: Duration = Duration::from_millis(10);

        while self.metrics.exports.get() > 0 {
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// When a session of this kind leaves, and the hint for its client.
    pub(crate) fn leave_at(&self, plan: Leaving, kind: Kind) -> Option<(Instant, u32)> {
        let Leaving::Paced(Pace { receivers_within, publishers_within }) = plan else { return None };
        let (after, within) = match kind {
            Kind::Publish => (receivers_within, publishers_within),
            Kind::Receive | Kind::ReceiveClearCache | Kind::Probe => (Duration::ZERO, receivers_within),
        };
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let delay = after + Duration::from_millis(random_below(within_ms.saturating_add(1)));
        Some((Instant::now() + delay, self.retry_after_ms()))
    }
}

/// Even enough for jitter.
fn random_below(bound: u64) -> u64 {
    entropy() % bound.max(1)
}

#[cfg(test)]
impl Node {
    /// One without sockets.
    pub(crate) fn alone(links: relay_cluster::Links) -> Arc<Self> {
        use relay_cluster::registry::Terms;
        use relay_lifecycle::readiness::Readiness;
        use relay_proto::Incarnation;
        use relay_proto::backbone::Peer;

        use crate::budget::CacheBudget;
        use crate::chronicle::Chronicle;
        use crate::feed::Resources;
        use crate::gop::Limits;

        let config = Config::default();
        let metrics = Arc::new(Metrics::register(&prometheus::Registry::new()).unwrap());
        let peer = Peer { node: config.node_id.clone(), incarnation: Incarnation::new(7) };
        let chronicle = Arc::new(Chronicle::new(peer.clone(), Arc::clone(&metrics)));
        let resources = Resources {
            limits: Limits { bytes_max: 1 << 20, lag_ms_max: 10_000, age_ms_max: 60_000 },
            budget: Arc::new(CacheBudget::new(1 << 20)),
            metrics: Arc::clone(&metrics),
            started: Instant::now(),
        };
        let channels = Channels::new(resources, Arc::clone(&chronicle));
        let terms = Terms { ttl: config.registry_interval * 3, grace: config.grace };
        let service = Service::new(&Readiness::new(), metrics.draining.clone(), chronicle);
        Arc::new(Self::new(config, metrics, channels, Cluster::new(peer, links, terms), service))
    }
}
