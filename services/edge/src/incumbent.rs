//! The publisher that has a channel, as others see it.

use std::time::Duration;

use relay_proto::websocket::Close;
use tokio::time::timeout;

use crate::remote::Remote;

/// What others can do to a publisher: see whether it lives, and end it.
#[derive(Debug)]
pub(crate) struct Incumbent(Remote);

impl Incumbent {
    pub(crate) fn new(publisher: impl Into<Remote>) -> Self {
        Self(publisher.into())
    }

    /// The publisher's session is to end with this.
    pub(crate) fn dismiss(&self, close: Close) {
        self.0.dismiss(close);
    }

    /// Pings, and tells whether anything was heard in time.
    pub(crate) async fn answers(&self, within: Duration) -> bool {
        let heard = self.0.heard().next();
        self.0.ping();
        timeout(within, heard).await.is_ok()
    }
}
