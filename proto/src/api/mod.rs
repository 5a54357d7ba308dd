//! What a node tells over HTTP. Normative text: `proto/API.md`.

pub mod manager;
pub mod source;

use serde::{Deserialize, Serialize};

use crate::{ChannelName, Epoch, NodeId, SessionId};

/// Answer of `GET /v1/channels`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channels {
    /// The node's channels by name, those without a publisher too.
    pub channels: Vec<Channel>,
}

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Its name.
    pub name: ChannelName,
    /// What its publication does.
    pub state: ChannelState,
    /// How the stream is packed; `None` until its first bytes told.
    pub container: Option<String>,
    /// Codecs and resolution as far as known.
    pub tracks: Vec<Track>,
    /// Receivers attached or waiting on this node.
    pub receivers: u64,
    /// Bits per second from the publisher, over the last seconds.
    pub bitrate: u64,
    /// The last publication; 0 before the first.
    pub epoch: Epoch,
    /// The node that it comes from, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<NodeId>,
    /// When that publication began (RFC 3339, UTC).
    pub started_at: Option<String>,
}

/// Answer of `GET /v1/sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// The node's sessions by number.
    pub sessions: Vec<Session>,
    /// Whether there are more, with greater numbers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// Its number, for whoever wants to end it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub session: SessionId,
    /// `publish`, `receive`, `receive-clear-cache` or `probe`.
    pub kind: String,
    /// Its channel.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub channel: ChannelName,
    /// Bytes that the client took, framing included.
    pub sent_bytes: u64,
    /// When it began (RFC 3339, UTC).
    pub started_at: String,
}

/// What a channel's publication does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChannelState {
    /// Nobody publishes, somebody waits.
    Waiting,
    /// Media flows.
    Live,
    /// A publisher is connected and has sent nothing for a while.
    Stalled,
    /// The publisher vanished; receivers are held for the grace period.
    Held,
}

/// One elementary stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Track {
    /// `video`, `audio` or `data`.
    pub kind: String,
    /// RFC 6381, where it has a string for it.
    pub codec: String,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Samples per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
    /// Audio channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<u32>,
}
