//! The connections to what all nodes share.

use std::sync::Arc;

use relay_cluster::Links;
use relay_cluster::backbone::{NatsBackbone, nats};
use relay_cluster::journal::RedisJournal;
use relay_cluster::registry::{RedisRegistry, redis};
use relay_proto::NodeId;
use tracing::warn;

use super::settings::Cluster;
use crate::exit::Failure;

/// Checks the addresses, and connects to nobody.
pub(super) fn check(node: &NodeId, cluster: &Cluster) -> Result<(), Failure> {
    RedisRegistry::new(cluster.registry()).map_err(Failure::usage)?;
    cluster.backbone(node).check().map_err(Failure::usage)
}

/// Begins to connect; waits for nobody. A node without a cluster has links to itself.
pub(super) async fn open(node: &NodeId, cluster: Option<Cluster>) -> Result<Links, Failure> {
    let Some(cluster) = cluster else { return Ok(Links::alone()) };
    if cluster.secret.is_none() {
        warn!("no cluster-secret: who can read the registry can find out keys by trying");
    }
    let registry = RedisRegistry::new(cluster.registry()).map_err(Failure::usage)?;
    let journal = RedisJournal::new(cluster.registry()).map_err(Failure::usage)?;
    let backbone = NatsBackbone::start(cluster.backbone(node)).await.map_err(Failure::usage)?;
    Ok(Links {
        registry: Arc::new(registry),
        backbone: Arc::new(backbone),
        journal: Arc::new(journal),
        cluster: cluster.name,
        secret: cluster.secret.unwrap_or_default().into_bytes().into(),
        shared: true,
    })
}

impl Cluster {
    fn registry(&self) -> redis::Config {
        redis::Config {
            url: self.redis.clone(),
            cluster: self.name.clone(),
            ca_file: self.redis_ca_file.clone(),
            timeout: redis::DEFAULT_TIMEOUT,
        }
    }

    fn backbone(&self, node: &NodeId) -> nats::Config {
        nats::Config {
            urls: self.nats.clone(),
            credentials_file: self.nats_credentials_file.clone(),
            ca_file: self.nats_ca_file.clone(),
            name: node.to_string(),
        }
    }
}
