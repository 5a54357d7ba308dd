//! A registry in Redis, and what is asked of it.

use std::time::Duration;

use relay_cluster::registry::redis::{Config, DEFAULT_TIMEOUT};
use relay_cluster::registry::{Claim, RedisRegistry, Terms};
use relay_proto::backbone::Peer;
use relay_proto::{ChannelName, Epoch, Incarnation, KeyHash};

pub(crate) fn config(url: String) -> Config {
    Config { url, cluster: "relaycast".parse().unwrap(), ca_file: None, timeout: DEFAULT_TIMEOUT }
}

pub(crate) fn registry(url: String) -> RedisRegistry {
    RedisRegistry::new(config(url)).unwrap()
}

pub(crate) fn peer(node: &str, incarnation: u64) -> Peer {
    Peer { node: node.parse().unwrap(), incarnation: Incarnation::new(incarnation) }
}

/// The hash of the key with this name.
pub(crate) fn key(name: &str) -> KeyHash {
    KeyHash::of(b"secret", &"any".parse().unwrap(), &name.parse().unwrap())
}

/// A claim for the lease of a channel, for a minute.
pub(crate) fn claim(channel: &str, node: &str) -> Claim {
    let channel: ChannelName = channel.parse().unwrap();
    let terms = Terms { ttl: Duration::from_secs(60), grace: Duration::from_secs(60) };
    Claim { channel, peer: peer(node, 1), key: key("k"), replaces: None, exceeds: Epoch::NONE, terms }
}
