//! What a stream-manager tells over HTTP. Normative text: `proto/MANAGER.md`; the types are also what `/openapi.json` is made
//! from.

use serde::{Deserialize, Serialize};

use super::{ChannelState, Track};
use crate::registry::{Capacity, Load, NodeState, Role};
use crate::{ChannelName, Epoch, NodeId, SessionId};

/// Answer of `GET /v1/pick`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Picks {
    /// The nodes to use, the best first: as many as were asked for, or as there are.
    pub picks: Vec<Pick>,
    /// How fresh the knowledge is that this answer rests on.
    pub view: ViewState,
    /// Why these, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

/// A node to use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pick {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub node: NodeId,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where in the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether it has the channel already, as its origin or for other receivers.
    pub carries: bool,
    /// What to connect to.
    pub urls: Urls,
    /// The place is kept for the client for so long, in milliseconds.
    pub reserved_ms: u64,
}

/// Ready to use, but that `{channel}` and `{key}` stand for what the request did not name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Urls {
    /// The websocket: `ws://…` or `wss://…`.
    pub websocket: String,
    /// The node's page, which plays the stream or publishes one, and asks for the key where the request had none. Absent where
    /// clients reach nodes through the stream-manager alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// Where an encoder or a device publishes by RTMP, where the node takes that and the request was for publishing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtmp: Option<String>,
}

/// How fresh a stream-manager's knowledge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ViewState {
    /// Whether the registry answers. While it does not, what was known goes on to count.
    pub registry: Reach,
    /// Whether the backbone is there, over which nodes report.
    pub backbone: Reach,
    /// Milliseconds since anything was heard of any node; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
}

/// Whether something answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Reach {
    /// It does.
    Up,
    /// It does not.
    Down,
}

/// Why a pick came out as it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// Every node that is known, the best first, those that are refused last.
    pub candidates: Vec<Candidate>,
}

/// A node as the placement sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Candidate {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub node: NodeId,
    /// What it would cost to send the client there: the less the better. Absent where it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Of what the score is the sum.
    pub terms: Terms,
    /// Clients that were sent there and have not arrived.
    pub reserved: u64,
    /// Whether it has the channel already.
    pub carries: bool,
    /// Why it cannot be chosen; empty where it can.
    pub refused: Vec<RefusedBecause>,
}

/// What a score is made of. Shares are of what the node can carry, so 1 is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Terms {
    /// Sessions and reservations, of those that it takes.
    pub sessions: f64,
    /// Egress, of what its network takes; 0 where that is not known.
    pub egress: f64,
    /// Processor time.
    pub cpu: f64,
    /// Memory.
    pub memory: f64,
    /// What the fullest of these adds.
    pub worst: f64,
    /// What all of them add together.
    pub sum: f64,
    /// What being new adds.
    pub warm_up: f64,
    /// What being in another region adds.
    pub region: f64,
    /// What having the channel already takes off (negative).
    pub affinity: f64,
}

/// Why a node cannot be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RefusedBecause {
    /// It takes nothing new.
    Draining,
    /// Nothing was heard of it for too long.
    Silent,
    /// It does not take this role.
    Role,
    /// It runs elsewhere, and the region was asked for strictly.
    Region,
    /// The request excludes it.
    Excluded,
    /// It is full.
    Full,
}

/// Answer of `GET /v1/channels`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChannelPage {
    /// By name.
    pub channels: Vec<ClusterChannel>,
    /// The `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A channel of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterChannel {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: ChannelName,
    /// What its publication does.
    pub state: ChannelState,
    /// The node that its publisher is connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub origin: Option<NodeId>,
    /// The last publication; 0 before the first.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub epoch: Epoch,
    /// When it began (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// How the stream is packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Codecs and resolution as far as known.
    pub tracks: Vec<Track>,
    /// Bits per second from the publisher.
    pub bitrate: u64,
    /// Receivers on all nodes; nodes that pull it from another are none.
    pub receivers: u64,
    /// Where it flows, by the name of the node.
    pub nodes: Vec<Carrier>,
}

/// A node that carries a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Carrier {
    /// The node.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub node: NodeId,
    /// What it is to the channel.
    pub part: Part,
    /// Receivers on it.
    pub receivers: u64,
}

/// What a node is to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Part {
    /// Its publisher is there.
    Origin,
    /// It gets it from another.
    Edge,
    /// Receivers wait there, and nobody publishes.
    Waiting,
}

/// Answer of `GET /v1/channels/{channel}/probe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Probe {
    /// The publication.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub epoch: Epoch,
    /// How the stream is packed; absent until its first bytes told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Codecs, resolution and the rest, as far as known.
    pub tracks: Vec<Track>,
}

/// Answer of `GET /v1/nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodePage {
    /// By name.
    pub nodes: Vec<ClusterNode>,
    /// The `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How fresh this is.
    pub view: ViewState,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterNode {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub node: NodeId,
    /// Where clients reach it; absent where they reach it through the stream-manager alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where in the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether it takes new sessions, as it says itself.
    pub state: NodeState,
    /// Whether it says anything.
    pub silent: bool,
    /// What clients may be sent there for.
    pub roles: Vec<Role>,
    /// What it can carry.
    pub capacity: Capacity,
    /// What it carries.
    pub load: Load,
    /// Clients that were sent there and have not arrived.
    pub reserved: u64,
    /// Channels on it.
    pub channels: u64,
    /// Of the program.
    pub version: String,
    /// When this run began (RFC 3339, UTC), by the node's clock.
    pub started_at: String,
    /// Milliseconds since it was heard of.
    pub age_ms: u64,
}

/// Answer of `GET /v1/sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionPage {
    /// By number.
    pub sessions: Vec<ClusterSession>,
    /// The `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub next: Option<SessionId>,
    /// Nodes that did not answer in time: their sessions are missing here.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub missing: Vec<NodeId>,
}

/// A session on some node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterSession {
    /// Where it is.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub node: NodeId,
    /// What the node tells of it.
    #[serde(flatten)]
    pub session: super::Session,
}

/// Answer of `POST /v1/channels/{channel}:close` and `POST /v1/sessions/{session}:kick`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ended {
    /// The node that did it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub node: NodeId,
    /// Sessions that it ended.
    pub sessions: u64,
}

/// Answer of `POST /v1/nodes/{node}:drain` and `:undrain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeStated {
    /// The node.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub node: NodeId,
    /// How it is from now on.
    pub state: NodeState,
}

/// Answer of `GET /v1/capacity`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CapacityReport {
    /// Nodes that take sessions.
    pub nodes: u64,
    /// Nodes on their way out.
    pub draining: u64,
    /// Nodes of which nothing is heard.
    pub silent: u64,
    /// Open sessions, reservations included, and what the nodes in service take.
    pub sessions: Used,
    /// Bits per second to receivers, and what the networks of those nodes take, where that is known of all.
    pub egress: Used,
    /// Channels that are live.
    pub channels_live: u64,
    /// Receivers of all channels.
    pub receivers: u64,
    /// How full the fullest resource of the cluster is, 1 being full.
    pub utilization: f64,
    /// Up to where nodes are to be filled, 1 being full.
    pub utilization_target: f64,
    /// How many nodes of the size of those that there are would be filled to the target; at least 1.
    pub desired_nodes: u64,
}

/// How much of something is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Used {
    /// So much.
    pub used: u64,
    /// Of so much; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
}

/// An error (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// Tells errors apart: `about:blank`, where the status says all there is to say, or `urn:relaycast:problem:NAME`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When to come back, in milliseconds; as `Retry-After`, but finer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}
