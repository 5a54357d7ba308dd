//! What nodes tell stream-managers, and stream-managers each other, over the backbone. Normative text: `proto/BACKBONE.md`.

use serde::{Deserialize, Serialize};

use crate::NodeId;
use crate::api::Channel;
use crate::backbone::Peer;
use crate::registry::NodeRecord;

/// The longest part of a report: far below what a server takes, and enough for hundreds of channels.
pub const REPORT_BYTES_MAX: usize = 64 << 10;

/// On `CLUSTER.reports`. JSON with a `report`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// With every heartbeat: the node and all its channels, in as many parts as it takes.
    Whole {
        /// As in the registry.
        record: Box<NodeRecord>,
        /// Number of the heartbeat; all parts of one have the same.
        round: u64,
        /// Which part this is, from 0 on.
        part: u32,
        /// How many there are; at least 1.
        parts: u32,
        /// Channels of this part. What no part of a round has, the node does not carry any more.
        channels: Vec<Channel>,
    },
    /// At once, when a channel changes that others act upon: its publication, its state, whether anybody receives it here.
    Channel {
        /// Who carries it.
        #[serde(flatten)]
        peer: Peer,
        /// What it is now. `waiting` without receivers: the node does not carry it any more.
        channel: Channel,
    },
    /// The run of the node is over.
    Gone {
        /// Which.
        #[serde(flatten)]
        peer: Peer,
    },
}

/// On `CLUSTER.picks`: where a stream-manager has sent clients a moment ago, so that the others count them too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picks {
    /// The stream-manager; it passes over its own.
    pub by: Peer,
    /// Nodes, each once.
    pub picks: Vec<Picked>,
}

/// How many clients were sent to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picked {
    /// The node.
    pub node: NodeId,
    /// How many.
    pub count: u32,
}
