//! `GET /v1/channels`, and how the media crate's words become the API's.

use std::time::{SystemTime, UNIX_EPOCH};

use relay_proto::api;

use crate::node::Node;

/// The answer of `GET /v1/channels`, as JSON.
pub(crate) fn channels(node: &Node) -> Vec<u8> {
    let stall_timeout = node.config.publisher_stall_timeout;
    let channels = node.channels.list().iter().map(|channel| channel.describe(stall_timeout)).collect();
    // The answer has neither a map with odd keys nor anything else that JSON could refuse.
    serde_json::to_vec(&api::Channels { channels }).unwrap_or_default()
}

pub(crate) fn track(track: &relay_media::Track) -> api::Track {
    api::Track {
        kind: track.kind.name().to_owned(),
        codec: track.codec.clone(),
        width: track.resolution.map(|(width, _)| width),
        height: track.resolution.map(|(_, height)| height),
        sample_rate: track.sample_rate,
        channels: track.channels,
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    // A clock before 1970 is not worth an error.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
