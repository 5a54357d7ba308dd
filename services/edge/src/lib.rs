//! One relay node.
//!
//! [`Edge::bind`] takes the sockets, [`Edge::run`] serves until the drain is over. The path of a chunk reads top to
//! bottom: [`listener`] accepts, [`handshake`] turns HTTP into a websocket, [`session`] gives it a role, [`publisher`]
//! reads ([`inbound`]), [`feed`] keeps ([`gop`]) and hands on ([`fanout`]), [`follower`] is where a receiver stands, and
//! [`outlet`] writes. Who may publish is [`lease`]'s business; to other nodes [`carry`] takes what is published here, and
//! [`upstream`] pulls what is wanted here. Nothing on the path of a chunk waits for any of them.

mod answer;
mod auth;
mod batch;
mod beside;
mod budget;
mod carry;
mod channel;
mod channels;
mod chronicle;
mod chunk;
mod clock;
mod cluster;
mod config;
mod demand;
mod export;
mod fanout;
mod feed;
mod fmp4;
mod follower;
mod gop;
mod handshake;
mod heard;
mod heartbeat;
mod inbound;
mod incumbent;
mod ingest;
mod keeper;
mod lease;
mod listener;
mod metrics;
mod news;
mod node;
mod origin;
mod outlet;
mod page;
mod probe;
mod publisher;
mod receiver;
mod remote;
mod report;
mod service;
mod session;
mod sessions;
mod socket;
mod talk;
mod upstream;
mod utf8;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use relay_cluster::Links;
use relay_cluster::registry::Terms;
use relay_lifecycle::backoff::entropy;
use relay_lifecycle::drain::{Drain, Phase};
use relay_lifecycle::readiness::Readiness;
use relay_proto::Incarnation;
use relay_proto::backbone::Peer;
use relay_proto::event::NodePhase;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tracing::{info, warn};

pub use auth::ReceivePolicy;
pub use config::{Config, ConfigError, DEFAULT_NODE_ID, PublisherPolicy, Rtmps};
pub use ingest::rtmp::CertificateError;

use crate::budget::CacheBudget;
use crate::channels::Channels;
use crate::chronicle::Chronicle;
use crate::cluster::Cluster;
use crate::feed::Resources;
use crate::gop::Limits;
use crate::heartbeat::Heartbeat;
use crate::ingest::rtmp::acceptor;
use crate::listener::{Door, Listener, Listeners, Places};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::service::{Pace, Service};

/// A node that is bound and not yet serving.
#[derive(Debug)]
pub struct Edge {
    node: Arc<Node>,
    listeners: Listeners,
    budget: Arc<CacheBudget>,
    addresses: Addresses,
    heartbeat: Arc<Heartbeat>,
    tasks: TasksGuard,
}

/// The addresses that were taken.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    http: SocketAddr,
    rtmp: Option<SocketAddr>,
    rtmps: Option<SocketAddr>,
}

/// Ends the tasks of the cluster together with the node: they hold what holds them.
#[derive(Debug)]
struct TasksGuard(Arc<Node>);

impl Drop for TasksGuard {
    fn drop(&mut self) {
        self.0.cluster.abort();
    }
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The certificate for RTMPS cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A metric of this name is registered already.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// How many intervals of the registry a lease lasts without being renewed: two renewals may be lost.
const LEASE_INTERVALS: u32 = 3;

/// How long the last messages to other nodes may take when the node leaves.
const EXPORTS_WITHIN: Duration = Duration::from_secs(1);

/// How long the journal may take for what is still to be told then.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// How often the node looks after what nobody else looks after.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

impl Edge {
    /// Checks the settings, registers the metrics and takes the address.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(
        config: Config,
        links: Links,
        registry: &prometheus::Registry,
        readiness: &Readiness,
    ) -> Result<Self, BindError> {
        config.check()?;
        let metrics = Arc::new(Metrics::register(registry)?);
        let (listeners, addresses) = listen(&config)?;
        let budget = Arc::new(CacheBudget::new(config.cache_bytes_total));
        let peer = Peer { node: config.node_id.clone(), incarnation: Incarnation::new(entropy()) };
        let chronicle = Arc::new(Chronicle::new(peer.clone(), Arc::clone(&metrics)));
        let resources = Resources {
            limits: Limits {
                bytes_max: config.cache_bytes,
                lag_ms_max: u64::try_from(config.lag_max.as_millis()).unwrap_or(u64::MAX),
                age_ms_max: u64::try_from(config.cache_age.as_millis()).unwrap_or(u64::MAX),
            },
            budget: Arc::clone(&budget),
            metrics: Arc::clone(&metrics),
            started: Instant::now(),
        };
        let channels = Channels::new(resources, Arc::clone(&chronicle));
        let terms = Terms { ttl: config.registry_interval * LEASE_INTERVALS, grace: config.grace };
        let url = config.advertise_url.clone().unwrap_or_else(|| format!("ws://{}", addresses.http));
        let rtmp = addresses.rtmp.map(|address| format!("rtmp://{address}"));
        let rtmp = rtmp.or_else(|| addresses.rtmps.map(|address| format!("rtmps://{address}")));
        let rtmp = rtmp.map(|own| config.rtmp_advertise_url.clone().unwrap_or(own));
        let needed_by = links.shared.then_some(readiness);
        let cluster = Cluster::new(peer, links, terms);
        let service = Service::new(readiness, metrics.draining.clone(), chronicle);
        let node = Arc::new(Node::new(config, metrics, channels, cluster, service));
        let heartbeat = Arc::new(Heartbeat::new(&node, url, rtmp, needed_by));
        let tasks = TasksGuard(Arc::clone(&node));
        Ok(Self { node, listeners, budget, addresses, heartbeat, tasks })
    }

    /// The address that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses.http
    }

    /// The address that was taken for RTMP.
    pub fn rtmp_addr(&self) -> Option<SocketAddr> {
        self.addresses.rtmp
    }

    /// The address that was taken for RTMP behind TLS.
    pub fn rtmps_addr(&self) -> Option<SocketAddr> {
        self.addresses.rtmps
    }

    /// Serves until the drain is over.
    pub async fn run(mut self, mut drain: Drain) {
        let mut housekeeping = interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Before anybody can say so.
        let leaving = self.node.service.leaving();
        self.node.cluster.spawn(origin::serve(Arc::clone(&self.node)));
        self.node.cluster.spawn(report::run(Arc::clone(&self.node), self.heartbeat.records()));
        self.node.cluster.spawn(chronicle::run(Arc::clone(&self.node)));
        self.node.cluster.spawn(beside::sources(Arc::clone(&self.node)));
        self.node.cluster.spawn(service::follow(
            Arc::clone(&self.node),
            leaving,
            Arc::clone(&self.heartbeat),
        ));
        let heartbeat = Arc::clone(&self.heartbeat);
        self.node.cluster.spawn(async move { heartbeat.run().await });
        loop {
            tokio::select! {
                biased;
                () = drain.reached(Phase::Draining) => break,
                _ = housekeeping.tick() => self.keep_house(),
                () = self.listeners.turn(&self.node) => {}
            }
        }
        self.leave(drain).await;
    }

    fn keep_house(&self) {
        self.node.channels.sweep(Instant::now(), self.node.config.publisher_stall_timeout);
        self.node.cluster.reap();
        self.node.metrics.cache_bytes.set(i64::try_from(self.budget.used()).unwrap_or(i64::MAX));
    }

    /// The drain: unready, no new sessions, the cluster told, receivers away one by one, then publishers, then whoever is
    /// left.
    async fn leave(mut self, mut drain: Drain) {
        let deadline = Instant::now() + self.node.config.drain_deadline;
        self.node.service.leave_for_good();
        self.heartbeat.beat().await;
        let pace = Pace::of(self.listeners.connections(), self.node.config.drain_deadline);
        info!(
            connections = self.listeners.connections(),
            receivers_within_ms = u64::try_from(pace.receivers_within.as_millis()).unwrap_or(u64::MAX),
            deadline_ms = u64::try_from(self.node.config.drain_deadline.as_millis()).unwrap_or(u64::MAX),
            "drain began"
        );
        self.node.service.pace(pace);
        let (listeners, node) = (&mut self.listeners, self.node);
        // Still accepting: clients behind a balancer that has not noticed are told to go elsewhere rather than refused.
        let emptied = timeout_at(deadline, async {
            while listeners.connections() > 0 {
                tokio::select! {
                    biased;
                    () = drain.reached(Phase::Cut) => return false,
                    () = listeners.turn(&node) => {}
                }
            }
            true
        })
        .await;
        if emptied != Ok(true) {
            warn!(connections = listeners.connections(), "drain cut short");
        }
        listeners.shutdown().await;
        // Other nodes are to hear how the last publications ended.
        let _ = timeout(EXPORTS_WITHIN, node.exports_ended()).await;
        node.channels.chronicle().node(NodePhase::Left);
        let _ = timeout(TOLD_WITHIN, node.channels.chronicle().told()).await;
        node.cluster.shutdown().await;
        self.heartbeat.withdraw().await;
        report::gone(&node).await;
        drop(self.tasks);
        info!("drain ended");
    }
}

/// Takes every address.
fn listen(config: &Config) -> Result<(Listeners, Addresses), BindError> {
    let places = Places::new(config.sessions_max, config.handshakes_max);
    let bind = |address: SocketAddr, door: Door| {
        Listener::bind(address, door, &places)
            .and_then(|listener| Ok((listener.local_addr()?, listener)))
            .map_err(|source| BindError::Listen { address, source })
    };
    let (http, http_listener) = bind(config.listen, Door::Http)?;
    let rtmp = config.rtmp_listen.map(|address| bind(address, Door::Rtmp)).transpose()?;
    let rtmps = match &config.rtmps {
        Some(rtmps) => Some(bind(rtmps.listen, Door::Rtmps(acceptor(&rtmps.certificate, &rtmps.key)?))?),
        None => None,
    };
    let (rtmp, rtmp_listener) = rtmp.unzip();
    let (rtmps, rtmps_listener) = rtmps.unzip();
    let listeners = Listeners { http: http_listener, rtmp: rtmp_listener, rtmps: rtmps_listener };
    Ok((listeners, Addresses { http, rtmp, rtmps }))
}

#[cfg(feature = "bench")]
pub mod bench;

/// For the fuzz target only.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// Reads a client's frames in one piece and in small ones, into chunks and by a buffer, and checks that the same was
    /// received, and is by another implementation.
    pub fn inbound(bytes: &[u8], piece: usize, direct_min: usize) {
        const MESSAGE_BYTES_MAX: usize = 1000;

        crate::inbound::script::check(bytes, MESSAGE_BYTES_MAX, piece, direct_min);
    }
}
