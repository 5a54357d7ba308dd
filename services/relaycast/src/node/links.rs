//! The connections to what all nodes share.

use std::sync::Arc;

use relay_cluster::backbone::nats;
use relay_cluster::backbone::{Backbone, NatsBackbone};
use relay_cluster::registry::{RedisRegistry, redis};
use relay_edge::Links;
use relay_proto::NodeId;
use tracing::warn;

use super::settings::Cluster;
use crate::exit::Failure;

/// Reads the addresses and begins to connect; waits for nobody. A node without a cluster has links to itself.
pub(super) async fn open(node: &NodeId, cluster: Option<Cluster>) -> Result<Links, Failure> {
    let Some(cluster) = cluster else { return Ok(Links::alone()) };
    if cluster.secret.is_none() {
        warn!("no cluster-secret: who can read the registry can find out keys by trying");
    }
    let registry = RedisRegistry::new(redis::Config {
        url: cluster.redis,
        cluster: cluster.name.clone(),
        ca_file: cluster.redis_ca_file,
        timeout: redis::DEFAULT_TIMEOUT,
    });
    let backbone = NatsBackbone::start(nats::Config {
        urls: cluster.nats,
        credentials_file: cluster.nats_credentials_file,
        ca_file: cluster.nats_ca_file,
        name: node.to_string(),
    });
    let backbone: Arc<dyn Backbone> = Arc::new(backbone.await.map_err(Failure::usage)?);
    Ok(Links {
        registry: Arc::new(registry.map_err(Failure::usage)?),
        backbone,
        cluster: cluster.name,
        secret: cluster.secret.unwrap_or_default().into_bytes().into(),
        shared: true,
    })
}
