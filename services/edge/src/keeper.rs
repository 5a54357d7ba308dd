//! What the roles of a session share: both halves of its socket, and the deadlines of the protocol.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use relay_proto::websocket::{Close, Kind};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::inbound::Received;
use crate::node::Node;
use crate::outlet::{Flow, Outlet};
use crate::service::Leaving;
use crate::socket::Inbound;

/// How long a client has to take the close frame and answer it.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The websocket is to be closed with this.
    Close(Close),
    /// The connection is gone, nobody is left to tell.
    ConnectionLost,
}

impl From<Close> for Ended {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

impl Ended {
    /// What came from the client ends the session, or does not.
    pub(crate) fn by(received: &Received) -> Option<Self> {
        match received {
            Received::Binary(_) | Received::Heartbeat | Received::Text | Received::Sign => None,
            Received::Closed(_) => Some(Close::ClientClosed.into()),
            Received::Lost => Some(Self::ConnectionLost),
            Received::Invalid(close) => Some((*close).into()),
        }
    }
}

/// What the roles share: both halves of the socket and the deadlines of the protocol.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) node: Arc<Node>,
    pub(crate) inbound: Inbound,
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) keeper: Keeper,
    pub(crate) admitted: bool,
}

impl Session {
    /// The client is let in. Counts once, however often it is said.
    pub(crate) fn admit(&mut self) {
        if !std::mem::replace(&mut self.admitted, true) {
            self.node.metrics.sessions_accepted.inc();
        }
    }

    /// Waits while there is nothing to do but to stay alive. Safe to cancel.
    pub(crate) async fn idle(&mut self) -> Ended {
        let mut kept = pin!(self.keeper.keep());
        loop {
            tokio::select! {
                biased;
                ended = &mut kept => return ended,
                received = self.inbound.next() => {
                    if let Some(ended) = Ended::by(&received) {
                        return ended;
                    }
                }
            }
        }
    }

    /// Closes the websocket as RFC 6455, section 7.1 wants it: our close frame, the client's, then the connection.
    pub(crate) async fn end(&mut self, ended: Ended) {
        if let Ended::Close(close) = ended {
            self.outlet.close(close);
            // Whoever does not take the close frame in time has its connection dropped.
            let _ = timeout(CLOSE_TIMEOUT.min(self.node.config.write_timeout), async {
                self.outlet.flushed().await;
                self.outlet.shut();
                self.inbound.drain().await;
            })
            .await;
        }
    }
}

/// The deadlines of the protocol: heartbeat, silence, a blocked socket, the node's drain.
#[derive(Debug)]
pub(crate) struct Keeper {
    outlet: Arc<Outlet>,
    next_heartbeat: Instant,
    blocked: bool,
    leaving: watch::Receiver<Leaving>,
    leave_at: Option<(Instant, u32)>,
    kind: Kind,
    node: Arc<Node>,
}

impl Keeper {
    pub(crate) fn new(node: &Arc<Node>, kind: Kind, outlet: Arc<Outlet>) -> Self {
        let now = Instant::now();
        Self {
            outlet,
            next_heartbeat: now + node.config.heartbeat_interval,
            blocked: false,
            leaving: node.service.leaving(),
            leave_at: None,
            kind,
            node: Arc::clone(node),
        }
    }

    /// Sends what is pending; [`Keeper::upkeep`] sends the rest when the socket takes it.
    pub(crate) fn flush(&mut self) {
        self.blocked = self.outlet.flush() == Flow::Blocked;
    }

    /// Keeps a session alive that sends nothing of its own accord; returns when it must end. Safe to cancel.
    pub(crate) async fn keep(&mut self) -> Ended {
        self.flush();
        let outlet = Arc::clone(&self.outlet);
        loop {
            tokio::select! {
                biased;
                ended = self.upkeep() => return ended,
                () = outlet.woken() => self.flush(),
            }
        }
    }

    /// Keeps the session alive; returns when it must end. Safe to cancel.
    pub(crate) async fn upkeep(&mut self) -> Ended {
        loop {
            if let Some(close) = self.outlet.dismissed() {
                return close.into();
            }
            let now = Instant::now();
            let silent_until = self.outlet.heard().last() + self.node.config.idle_timeout;
            if now >= silent_until {
                return Close::Idle.into();
            }
            if let Some((at, retry_after_ms)) = self.leave_at
                && now >= at
            {
                return Close::Draining { retry_after_ms }.into();
            }
            if now >= self.next_heartbeat {
                self.outlet.heartbeat();
                self.next_heartbeat = now + self.node.config.heartbeat_interval;
            }
            let mut next = self.next_heartbeat.min(silent_until);
            if let Some((at, _)) = self.leave_at {
                next = next.min(at);
            }
            let write_timeout = self.node.config.write_timeout;
            let pending_timeout = self.node.config.lag_max.max(write_timeout);
            if let Some(at) = self.outlet.too_slow_at(write_timeout, pending_timeout) {
                if now >= at {
                    return Close::TooSlow.into();
                }
                next = next.min(at);
            }
            tokio::select! {
                biased;
                // Also while a moment is set: the node may come back before that.
                changed = self.leaving.changed() => {
                    let plan = *self.leaving.borrow();
                    match changed {
                        Ok(()) => self.leave_at = self.node.leave_at(plan, self.kind),
                        Err(_) => return Ended::ConnectionLost,
                    }
                }
                () = self.outlet.writable(), if self.blocked => self.flush(),
                () = sleep_until(next) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use relay_cluster::Links;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::service::Pace;
    use crate::socket::{InboundLimits, Traffic, split};

    #[tokio::test(start_paused = true)]
    async fn a_session_that_was_to_leave_stays_when_the_node_comes_back() {
        let node = Node::alone(Links::alone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let limits = InboundLimits { message_bytes_max: 1, traffic: Traffic::SignsOfLife };
        let (_inbound, outlet) = split(stream, vec![], &limits);
        let mut keeper = Keeper::new(&node, Kind::Publish, outlet);
        let seconds = Duration::from_secs;
        let pace = Pace { receivers_within: seconds(10), publishers_within: seconds(5) };
        let is_draining = |ended| matches!(ended, Ok(Ended::Close(Close::Draining { .. })));

        node.service.drain();
        assert!(
            timeout(seconds(1), keeper.upkeep()).await.is_err(),
            "nobody leaves before the cluster knows"
        );
        node.service.pace(pace);
        assert!(timeout(seconds(5), keeper.upkeep()).await.is_err(), "receivers first");
        assert!(keeper.leave_at.is_some());
        node.service.undrain();
        assert!(timeout(seconds(20), keeper.upkeep()).await.is_err(), "it stays");
        node.service.drain();
        node.service.pace(pace);
        assert!(timeout(seconds(5), keeper.upkeep()).await.is_err());
        node.service.leave_for_good();
        assert!(timeout(seconds(1), keeper.upkeep()).await.is_err());
        node.service.pace(pace);
        let began = Instant::now();
        assert!(is_draining(timeout(seconds(15), keeper.upkeep()).await));
        assert!(began.elapsed() >= seconds(10), "by the newest plan");
    }
}
