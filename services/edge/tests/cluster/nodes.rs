//! A cluster of nodes that a test can cut apart.

use std::sync::Arc;
use std::time::Duration;

use relay_cluster::backbone::MemoryBackbone;
use relay_cluster::journal::MemoryJournal;
use relay_cluster::registry::MemoryRegistry;
use relay_cluster::{Links, Registry};
use relay_edge::Config;
use relay_proto::backbone::Peer;
use tokio::time::{sleep, timeout};

use crate::support::{HANG, Node};

/// Nodes `n1`, `n2` and so on.
pub(crate) struct Nodes<const N: usize> {
    pub(crate) nodes: [Node; N],
    pub(crate) registry: Arc<MemoryRegistry>,
    pub(crate) ends: [Arc<MemoryBackbone>; N],
    pub(crate) journal: Arc<MemoryJournal>,
}

/// Short times, so that what expires does so within a test.
pub(crate) fn config() -> Config {
    Config {
        registry_interval: Duration::from_millis(200),
        upstream_linger: Duration::from_millis(200),
        challenge_timeout: Duration::from_millis(500),
        ..Config::default()
    }
}

impl<const N: usize> Nodes<N> {
    pub(crate) async fn start(config: Config) -> Self {
        let registry = Arc::new(MemoryRegistry::new());
        let backbone = MemoryBackbone::new();
        let journal = Arc::new(MemoryJournal::new());
        // Little, so that chunks are cut.
        let ends = std::array::from_fn(|_| Arc::new(backbone.join().with_message_bytes_max(1000)));
        let mut nodes = Vec::new();
        for (number, end) in (1..).zip(&ends) {
            nodes.push(start(config.clone(), &format!("n{number}"), &registry, end, &journal).await);
        }
        let nodes = nodes.try_into().unwrap_or_else(|_| panic!("as many as were wanted"));
        Self { nodes, registry, ends, journal }
    }
}

impl Nodes<0> {
    /// Another node, beside the one that has this end of the backbone.
    pub(crate) async fn join(
        config: Config,
        name: &str,
        registry: &Arc<MemoryRegistry>,
        end: &MemoryBackbone,
    ) -> Node {
        start(config, name, registry, &Arc::new(end.join()), &Arc::new(MemoryJournal::new())).await
    }
}

async fn start(
    config: Config,
    name: &str,
    registry: &Arc<MemoryRegistry>,
    end: &Arc<MemoryBackbone>,
    journal: &Arc<MemoryJournal>,
) -> Node {
    let links = Links {
        registry: Arc::clone(registry) as _,
        backbone: Arc::clone(end) as _,
        journal: Arc::clone(journal) as _,
        secret: Arc::from(SECRET),
        shared: true,
        ..Links::alone()
    };
    Node::start_among(Config { node_id: name.parse().unwrap(), ..config }, links).await
}

/// The run of the node of this name, once the registry knows of it.
pub(crate) async fn peer(registry: &MemoryRegistry, name: &str) -> Peer {
    let found = async {
        loop {
            let nodes = registry.nodes().await.unwrap();
            if let Some(record) = nodes.into_iter().find(|record| record.node.as_str() == name) {
                return Peer { node: record.node, incarnation: record.incarnation };
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(HANG, found).await.expect("the node is known in time")
}

/// What keys are hashed with.
pub(crate) const SECRET: &[u8] = b"secret";
