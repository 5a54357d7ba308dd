//! Notices: TEXT messages to a receiver that asked with `?notices=1`. Each tells what the bytes do not; all are JSON
//! objects with a `type`. A receiver that did not ask never gets one.

use serde::{Deserialize, Serialize};

use crate::Epoch;
use crate::api::Track;

/// One notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Notice {
    /// The next binary message starts with an init: a decoder starts afresh.
    Start(Start),
    /// Chunks were left out because the receiver was behind; the next binary message starts with an init.
    Skip {
        /// Why; `lag` is the only reason so far.
        reason: String,
    },
    /// The publisher vanished; the receiver is held for this long.
    Held {
        /// Milliseconds until the receiver is closed, unless a publisher comes.
        grace_ms: u64,
    },
    /// Once in a while.
    Stats {
        /// Milliseconds since the Unix epoch, by the node's clock.
        server_time_ms: u64,
        /// Receivers of the channel on this node.
        receivers: u64,
    },
}

/// What is about to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The publication.
    pub epoch: Epoch,
    /// `flv`, `mpegts`, `fmp4`, `webm`, `mjpeg`, `h264`, `h265`, `opaque`; of what is sent, not of what was published.
    pub container: String,
    /// For Media Source Extensions, where the container is one they take.
    pub mime: Option<String>,
    /// Codecs and resolution.
    pub tracks: Vec<Track>,
    /// The node that sends.
    pub node: String,
    /// Milliseconds since the Unix epoch, by the node's clock.
    pub server_time_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_pinned() {
        let json = |notice: &Notice| serde_json::to_string(notice).unwrap();
        let start = Notice::Start(Start {
            epoch: Epoch::NONE.next(),
            container: "webm".into(),
            mime: None,
            tracks: vec![],
            node: "n1".into(),
            server_time_ms: 5,
        });
        assert_eq!(
            json(&start),
            r#"{"type":"start","epoch":1,"container":"webm","mime":null,"tracks":[],"node":"n1","server_time_ms":5}"#
        );
        assert_eq!(json(&Notice::Skip { reason: "lag".into() }), r#"{"type":"skip","reason":"lag"}"#);
        assert_eq!(json(&Notice::Held { grace_ms: 15_000 }), r#"{"type":"held","grace_ms":15000}"#);
        assert_eq!(
            json(&Notice::Stats { server_time_ms: 5, receivers: 2 }),
            r#"{"type":"stats","server_time_ms":5,"receivers":2}"#
        );
    }
}
