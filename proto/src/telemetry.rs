//! Numbers beside a picture: what a publisher or a dock tells over MQTT, on its way to who watches. Normative text:
//! `proto/SOURCES.md`.

use serde::{Deserialize, Serialize};

use crate::ChannelName;
use crate::backbone::Peer;

/// The longest message, with all around it: numbers to be shown, not files.
pub const TELEMETRY_BYTES_MAX: usize = 64 << 10;

/// On `CLUSTER.telemetry.CHANNEL`: what was published on a topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// The topic.
    pub topic: String,
    /// When it came, in milliseconds since the Unix epoch, by the bridge's clock.
    pub at_ms: u64,
    /// JSON as it was published.
    pub value: serde_json::Value,
}

/// On `CLUSTER.telemetry-asks`: somebody begins to look at the channel, so tell the last of each topic again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelemetryAsk {
    /// The channel.
    pub channel: ChannelName,
    /// Who asks.
    pub by: Peer,
}
