//! What nodes know of each other: keys, records and scripts of the Redis registry. Normative text: `proto/REGISTRY.md`.

use serde::{Deserialize, Serialize};

use crate::source::SourceId;
use crate::{ChannelName, Epoch, Incarnation, KeyHash, NodeId};

/// Prefix of keys and subjects where nobody chose one.
pub const DEFAULT_CLUSTER: &str = "relaycast";

/// How long a registry remembers the epoch of a channel after its lease ended: 1 h. Longer than a clock is set back, and no
/// longer, since whoever may publish may do so under any number of names.
pub const REMEMBERED_MS: u64 = 60 * 60 * 1000;

/// Keys that a channel can have banned at a time.
pub const BANS_MAX: usize = 256;

/// Nodes that a registry tells of: four times the largest cluster that is planned for, and an answer of about 2 MiB.
pub const NODES_MAX: usize = 4096;

/// Leases of sources, or texts of them, that one call asks for: a script keeps all others waiting, and this many take it about
/// a millisecond.
pub const SOURCES_AT_ONCE: usize = 256;

/// Texts that are remembered of devices: one of each gateway of the largest fleet that is planned for, and what operators asked
/// for.
pub const MEMORIES_MAX: usize = 4096;

/// The longest text that is remembered: what a gateway can do takes 2 KiB for each camera.
pub const MEMORY_BYTES_MAX: usize = 64 << 10;

/// The highest epoch: what a script, which counts in doubles, still tells from its neighbours. In microseconds since the Unix
/// epoch that is the year 2255.
pub const EPOCH_MAX: Epoch = Epoch::new((1 << 53) - 1);

/// Compare-and-set on a channel's lease; each script says its keys and arguments in its first lines.
pub mod script {
    /// Grants a lease, or tells who has it.
    pub const ACQUIRE: &str = include_str!("acquire.lua");
    /// Keeps a lease.
    pub const RENEW: &str = include_str!("renew.lua");
    /// Gives a lease back.
    pub const RELEASE: &str = include_str!("release.lua");
    /// Notes demand, and tells of lease, bans and demand.
    pub const ATTEND: &str = include_str!("attend.lua");
    /// Refuses a key for a time.
    pub const BAN: &str = include_str!("ban.lua");
    /// Removes a node's record.
    pub const WITHDRAW: &str = include_str!("withdraw.lua");
    /// Notes a node, and tells of all.
    pub const NODES: &str = include_str!("nodes.lua");
    /// Takes sources, or keeps them.
    pub const HOLD_SOURCES: &str = include_str!("hold_sources.lua");
    /// Gives sources back.
    pub const RELEASE_SOURCES: &str = include_str!("release_sources.lua");
    /// Keeps a text, or tells all.
    pub const REMEMBER: &str = include_str!("remember.lua");
    /// Tells what is kept under some names.
    pub const RECALL: &str = include_str!("recall.lua");
}

/// The keys of one cluster. Whatever a script touches of a channel has one hash tag, so that Redis Cluster keeps it together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    cluster: NodeId,
}

impl Keys {
    /// The keys of the cluster of this name.
    pub const fn new(cluster: NodeId) -> Self {
        Self { cluster }
    }

    /// Hash: the channel's lease, and the epoch of its last one.
    pub fn lease(&self, channel: &ChannelName) -> String {
        self.of_channel(channel, "lease")
    }

    /// Sorted set: nodes that have receivers for the channel, by when that ends.
    pub fn demand(&self, channel: &ChannelName) -> String {
        self.of_channel(channel, "demand")
    }

    /// Sorted set: banned key hashes of the channel, by when that ends.
    pub fn bans(&self, channel: &ChannelName) -> String {
        self.of_channel(channel, "bans")
    }

    /// String: the record of a node.
    pub fn node(&self, node: &NodeId) -> String {
        format!("{}:node:{node}", self.cluster)
    }

    /// Sorted set: the nodes, by when their records end.
    pub fn nodes(&self) -> String {
        format!("{}:nodes", self.cluster)
    }

    /// String: the run of a bridge that has the source.
    pub fn source(&self, source: &SourceId) -> String {
        self.of_sources(&format!("lease:{source}"))
    }

    /// Hash: what is remembered of devices, by name; and sorted set: the names, by when that ends.
    pub fn memories(&self) -> [String; 2] {
        [self.of_sources("memories"), self.of_sources("memory-ends")]
    }

    fn of_sources(&self, what: &str) -> String {
        // With a point, which no channel has in its name.
        format!("{}:{{.sources}}:{what}", self.cluster)
    }

    fn of_channel(&self, channel: &ChannelName, what: &str) -> String {
        format!("{}:{{{channel}}}:{what}", self.cluster)
    }
}

/// What a node tells of itself with every heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its name.
    pub node: NodeId,
    /// Which run of it this is.
    pub incarnation: Incarnation,
    /// Where clients reach it: `ws://…` or `wss://…`, without a path.
    pub url: String,
    /// Where encoders and devices publish by RTMP: `rtmp://HOST:PORT` or `rtmps://HOST:PORT`. Absent where the node does not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtmp: Option<String>,
    /// Where it runs, as the operator calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where in the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether it takes new sessions.
    pub state: NodeState,
    /// What clients may be sent here for.
    #[serde(default = "both_roles")]
    pub roles: Vec<Role>,
    /// What it can carry.
    pub capacity: Capacity,
    /// What it carries.
    pub load: Load,
    /// Of the program.
    pub version: String,
    /// When this run began, in milliseconds since the Unix epoch, by the node's clock.
    pub started_ms: u64,
}

/// Whether a node takes new sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum NodeState {
    /// It does.
    InService,
    /// It is on its way out.
    Draining,
}

/// What a client comes for, as far as choosing a node is concerned: a probe is a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Role {
    /// To send a stream.
    Publish,
    /// To get one.
    Receive,
}

/// A record that does not tell its roles is of a node that takes both.
fn both_roles() -> Vec<Role> {
    vec![Role::Publish, Role::Receive]
}

/// What a node can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Capacity {
    /// Open sessions.
    pub sessions: u64,
    /// Processors that it may use.
    pub processors: u32,
    /// Bits per second to receivers, where somebody said how much its network takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<u64>,
}

/// What a node carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Load {
    /// Open sessions of all kinds.
    pub sessions: u64,
    /// Publications of its own.
    pub publications: u64,
    /// Receivers, attached or waiting.
    pub receivers: u64,
    /// Channels pulled from other nodes.
    pub upstreams: u64,
    /// Bits per second to receivers, over the last heartbeat interval.
    pub egress: u64,
    /// Sessions that have begun since the start of this run, whether they are still open or not: whoever sent somebody here
    /// sees by it that they came.
    pub accepted: u64,
    /// Thousandths of its processors' time that the process used over the last heartbeat interval.
    pub cpu_permille: u32,
    /// Thousandths of the memory that it may use which the process has resident.
    pub memory_permille: u32,
}

/// A channel's lease as the registry tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Who has or had it.
    pub node: NodeId,
    /// Which run of that node.
    pub incarnation: Incarnation,
    /// The publication.
    pub epoch: Epoch,
    /// Keyed hash of the publisher's key.
    pub key: KeyHash,
    /// Milliseconds for which it is live from now on unless renewed; 0 when it is not.
    pub live_ms: u64,
    /// Milliseconds for which the channel is kept for that key from now on.
    pub held_ms: u64,
}

impl LeaseRecord {
    /// Whether somebody publishes under it.
    pub const fn is_live(&self) -> bool {
        self.live_ms > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_pinned() {
        let keys = Keys::new(DEFAULT_CLUSTER.parse().unwrap());
        let channel = "cam-1".parse().unwrap();
        assert_eq!(keys.lease(&channel), "relaycast:{cam-1}:lease");
        assert_eq!(keys.demand(&channel), "relaycast:{cam-1}:demand");
        assert_eq!(keys.bans(&channel), "relaycast:{cam-1}:bans");
        assert_eq!(keys.node(&"n1".parse().unwrap()), "relaycast:node:n1");
        assert_eq!(keys.nodes(), "relaycast:nodes");
        let source = "kerberos/hub/cam1".parse().unwrap();
        assert_eq!(keys.source(&source), "relaycast:{.sources}:lease:kerberos/hub/cam1");
        let memories = ["relaycast:{.sources}:memories", "relaycast:{.sources}:memory-ends"];
        assert_eq!(keys.memories(), memories);
    }

    #[test]
    fn the_record_of_a_node_is_pinned() {
        let record = NodeRecord {
            node: "n1".parse().unwrap(),
            incarnation: Incarnation::new(0xAB),
            url: "ws://10.0.0.1:8080".to_owned(),
            rtmp: None,
            region: Some("eu".to_owned()),
            zone: None,
            state: NodeState::InService,
            roles: both_roles(),
            capacity: Capacity { sessions: 100, processors: 2, egress: Some(1000) },
            load: Load {
                sessions: 3,
                publications: 1,
                receivers: 2,
                upstreams: 0,
                egress: 8,
                accepted: 9,
                cpu_permille: 10,
                memory_permille: 11,
            },
            version: "0.1.0".to_owned(),
            started_ms: 5,
        };
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(
            json,
            "{\"node\":\"n1\",\"incarnation\":\"00000000000000ab\",\"url\":\"ws://10.0.0.1:8080\",\"region\":\"eu\",\
             \"state\":\"in_service\",\"roles\":[\"publish\",\"receive\"],\"capacity\":{\"sessions\":100,\"processors\":2,\
             \"egress\":1000},\"load\":{\"sessions\":3,\"publications\":1,\"receivers\":2,\"upstreams\":0,\"egress\":8,\
             \"accepted\":9,\"cpu_permille\":10,\"memory_permille\":11},\"version\":\"0.1.0\",\"started_ms\":5}"
        );
        assert_eq!(serde_json::from_str::<NodeRecord>(&json).unwrap(), record);
    }
}
