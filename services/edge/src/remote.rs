//! A session as others see it, whatever it speaks.

use std::sync::Arc;

use relay_proto::websocket::Close;

use crate::heard::Heard;
use crate::ingest::rtmp::Line;
use crate::outlet::Outlet;

/// What others can do to a session: see whether it lives, and end it. Not on the path of a chunk.
#[derive(Debug, Clone)]
pub(crate) enum Remote {
    /// A websocket.
    Websocket(Arc<Outlet>),
    /// A publisher by RTMP.
    Rtmp(Arc<Line>),
}

impl From<&Arc<Outlet>> for Remote {
    fn from(outlet: &Arc<Outlet>) -> Self {
        Self::Websocket(Arc::clone(outlet))
    }
}

impl From<&Arc<Line>> for Remote {
    fn from(line: &Arc<Line>) -> Self {
        Self::Rtmp(Arc::clone(line))
    }
}

impl Remote {
    /// The session is to end with this. The first who asks is heard.
    pub(crate) fn dismiss(&self, close: Close) {
        match self {
            Self::Websocket(outlet) => outlet.dismiss(close),
            Self::Rtmp(line) => line.dismiss(close),
        }
    }

    /// When the last byte came.
    pub(crate) fn heard(&self) -> &Heard {
        match self {
            Self::Websocket(outlet) => outlet.heard(),
            Self::Rtmp(line) => line.heard(),
        }
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&self) {
        match self {
            Self::Websocket(outlet) => outlet.ping(),
            Self::Rtmp(line) => line.ping(),
        }
    }

    /// Bytes that the socket took.
    pub(crate) fn sent_bytes(&self) -> u64 {
        match self {
            Self::Websocket(outlet) => outlet.sent_bytes(),
            Self::Rtmp(line) => line.sent_bytes(),
        }
    }
}
