//! Tells the registry of this node, and the node whether registry and backbone are there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use relay_lifecycle::process::{Usage, Used};
use relay_lifecycle::readiness::{Latch, Readiness};
use relay_proto::registry::{Capacity, Load, NodeRecord};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use crate::clock::unix_ms;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::talk::ANSWER_TIMEOUT;

/// What a heartbeat says, and what became of the last one.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    node: Arc<Node>,
    url: String,
    rtmp: Option<String>,
    started_ms: u64,
    processors: u32,
    state: Mutex<State>,
    /// The last record, for the reports.
    records: watch::Sender<Option<Arc<NodeRecord>>>,
    /// One heartbeat at a time, so that none overtakes a newer one.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    registry: Part,
    backbone: Part,
    /// Bytes to receivers when the rates were taken last, and when that was.
    sent_bytes: u64,
    at: Instant,
    usage: Usage,
    rates: Rates,
}

/// What takes a while to be measured.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    egress: u64,
    used: Used,
}

impl State {
    /// The rates of the time since they were taken last, or those of then where that was just now: a heartbeat that is sent
    /// out of turn has no time to measure anything.
    fn rates(&mut self, sent_bytes: u64, window_min: Duration) -> Rates {
        let elapsed = self.at.elapsed();
        if elapsed >= window_min {
            let bytes = sent_bytes.saturating_sub(std::mem::replace(&mut self.sent_bytes, sent_bytes));
            let egress = u128::from(bytes) * 8 * 1000 / elapsed.as_millis().max(1);
            self.at = Instant::now();
            self.rates = Rates { egress: u64::try_from(egress).unwrap_or(u64::MAX), used: self.usage.read() };
        }
        self.rates
    }
}

/// Something that the node needs and may lose.
#[derive(Debug)]
struct Part {
    name: &'static str,
    up: prometheus::IntGauge,
    /// Whose readiness depends on it.
    needed_by: Option<Readiness>,
    /// While it is missing.
    missing: Option<Latch>,
}

impl Part {
    fn new(needed_by: Option<&Readiness>, name: &'static str, up: prometheus::IntGauge) -> Self {
        let missing = needed_by.map(|readiness| readiness.latch(name));
        Self { name, up, needed_by: needed_by.cloned(), missing }
    }

    fn is(&mut self, there: bool) {
        self.up.set(i64::from(there));
        let Some(readiness) = &self.needed_by else { return };
        match (there, self.missing.take()) {
            (true, Some(latch)) => {
                latch.ready();
                info!(part = self.name, "reached");
            }
            (false, None) => {
                self.missing = Some(readiness.latch(self.name));
                warn!(part = self.name, "lost");
            }
            (_, missing) => self.missing = missing,
        }
    }
}

impl Heartbeat {
    pub(crate) fn new(
        node: &Arc<Node>,
        url: String,
        rtmp: Option<String>,
        needed_by: Option<&Readiness>,
    ) -> Self {
        let processors = std::thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
        Self {
            node: Arc::clone(node),
            url,
            rtmp,
            started_ms: unix_ms(),
            processors,
            state: Mutex::new(State {
                registry: Part::new(needed_by, "registry", node.metrics.registry_up.clone()),
                backbone: Part::new(needed_by, "backbone", node.metrics.backbone_up.clone()),
                sent_bytes: 0,
                at: Instant::now(),
                usage: Usage::new(processors),
                rates: Rates::default(),
            }),
            records: watch::Sender::new(None),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Beats for as long as it is polled.
    pub(crate) async fn run(&self) {
        let mut beat = interval(self.node.config.registry_interval);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut contact = self.node.cluster.backbone.contact();
        loop {
            let connected = contact.borrow_and_update().connected;
            self.lock().backbone.is(connected);
            tokio::select! {
                _ = contact.changed() => {}
                _ = beat.tick() => self.beat().await,
            }
        }
    }

    /// One heartbeat.
    pub(crate) async fn beat(&self) {
        let _turn = self.turn.lock().await;
        let record = Arc::new(self.record());
        // Before the registry is asked: that may take a while, and whoever hears the reports does without it.
        self.records.send_replace(Some(Arc::clone(&record)));
        let cluster = &self.node.cluster;
        match timeout(ANSWER_TIMEOUT, cluster.registry.announce(&record, cluster.terms.ttl)).await {
            Ok(Ok(displaced)) => {
                self.lock().registry.is(true);
                if let Some(other) = displaced.filter(|other| other.incarnation != record.incarnation) {
                    warn!(node = %other.node, url = other.url, "another node of this name was here: names must differ");
                }
            }
            failed => {
                self.node.metrics.registry_errors.inc();
                self.lock().registry.is(false);
                if let Ok(Err(error)) = failed {
                    warn!(%error, "heartbeat failed");
                }
            }
        }
    }

    /// The record of each heartbeat.
    pub(crate) fn records(&self) -> watch::Receiver<Option<Arc<NodeRecord>>> {
        self.records.subscribe()
    }

    /// The node has left.
    pub(crate) async fn withdraw(&self) {
        let cluster = &self.node.cluster;
        // Otherwise its record ends by itself.
        let _ = timeout(ANSWER_TIMEOUT, cluster.registry.withdraw(&cluster.peer)).await;
    }

    fn record(&self) -> NodeRecord {
        let Self { node, .. } = self;
        let metrics = &node.metrics;
        let count = |gauge: i64| u64::try_from(gauge).unwrap_or(0);
        let sessions: i64 =
            Metrics::session_kinds().map(|kind| metrics.sessions.with_label_values(&[kind]).get()).sum();
        let receivers: usize = node.channels.list().iter().map(|channel| channel.receivers()).sum();
        let sent = metrics.bytes_sent.get();
        let Rates { egress, used } = self.lock().rates(sent, node.config.registry_interval / 2);
        NodeRecord {
            node: node.cluster.peer.node.clone(),
            incarnation: node.cluster.peer.incarnation,
            url: self.url.clone(),
            rtmp: self.rtmp.clone(),
            region: node.config.region.clone(),
            zone: node.config.zone.clone(),
            state: node.service.state(),
            roles: node.config.roles.clone(),
            capacity: Capacity {
                egress: node.config.egress_max,
                sessions: node.config.sessions_max as u64,
                processors: self.processors,
            },
            load: Load {
                sessions: count(sessions),
                publications: count(metrics.publications_live.get()),
                receivers: receivers as u64,
                upstreams: count(metrics.upstreams.get()),
                egress,
                accepted: metrics.sessions_accepted.get(),
                cpu_permille: used.cpu_permille,
                memory_permille: used.memory_permille,
            },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.started_ms,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
