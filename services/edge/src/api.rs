//! How the media crate's words and the clock's become the API's.

use std::time::{SystemTime, UNIX_EPOCH};

use relay_proto::api;

/// A track in the API's words.
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
