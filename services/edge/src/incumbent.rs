//! The publisher that has a channel, as others see it.

use std::sync::Arc;
use std::time::Duration;

use relay_proto::websocket::Close;
use tokio::time::timeout;

use crate::outlet::Outlet;

/// What others can do to a publisher: see whether it lives, and end it.
#[derive(Debug)]
pub(crate) struct Incumbent(Arc<Outlet>);

impl Incumbent {
    pub(crate) fn new(outlet: &Arc<Outlet>) -> Self {
        Self(Arc::clone(outlet))
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
