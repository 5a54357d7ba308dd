//! The publisher that has a channel, as others see it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::outlet::Outlet;

/// What others can do to a publisher: see whether it lives, and replace it.
#[derive(Debug)]
pub(crate) struct Incumbent {
    outlet: Arc<Outlet>,
    replaced: watch::Sender<bool>,
}

impl Incumbent {
    pub(crate) fn new(outlet: &Arc<Outlet>) -> Self {
        Self { outlet: Arc::clone(outlet), replaced: watch::Sender::new(false) }
    }

    /// A newer publisher has the channel.
    pub(crate) fn replace(&self) {
        self.replaced.send_replace(true);
    }

    /// Pings, and tells whether anything was heard in time.
    pub(crate) async fn answers(&self, within: Duration) -> bool {
        let heard = self.outlet.heard().next();
        self.outlet.ping();
        timeout(within, heard).await.is_ok()
    }

    /// Waits until a newer publisher has the channel. Safe to cancel.
    pub(crate) async fn replaced(&self) {
        // The sender is here, so the wait cannot fail.
        let _ = self.replaced.subscribe().wait_for(|replaced| *replaced).await;
    }
}
