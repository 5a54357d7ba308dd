//! One connection's life after its handshake: authorize, then publisher, receiver or probe, then a reason to close.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use relay_proto::SessionId;
use relay_proto::websocket::{Close, Kind, ParseTargetError, Target};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::info;

use crate::metrics::Counted;
use crate::node::{Leaving, Node};
use crate::socket::{Flow, Inbound, InboundLimits, Outlet, Received};
use crate::{probe, publisher, receiver, socket};

/// How long a client has to take the close frame and answer it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest message from a client that has nothing to send but heartbeats.
const IDLE_MESSAGE_BYTES_MAX: usize = 4 << 10;

/// Held by every receiver all the time, so it is small; enough for any heartbeat or pong.
const IDLE_READ_BUFFER_BYTES: usize = 256;

/// A publisher's: a chunk of a common size in one read.
const PUBLISHER_READ_BUFFER_BYTES: usize = 64 << 10;

/// A connection whose websocket handshake is done.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: tokio::net::TcpStream,
    /// Read beyond the handshake.
    pub(crate) read_ahead: Vec<u8>,
    pub(crate) peer: SocketAddr,
    pub(crate) ask: Result<Target, Refused>,
}

/// A websocket that is refused as soon as it is open, because only there a browser can read why.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    pub(crate) kind: Kind,
    pub(crate) close: Close,
}

impl From<ParseTargetError> for Refused {
    fn from(_: ParseTargetError) -> Self {
        // Without a valid target the session counts as what most are.
        Self { kind: Kind::Receive, close: Close::InvalidTarget }
    }
}

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

/// What the roles share: both halves of the socket and the deadlines of the protocol.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) node: Arc<Node>,
    pub(crate) inbound: Inbound,
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) keeper: Keeper,
}

/// Runs a session from its handshake to its end.
pub(crate) async fn run(node: Arc<Node>, accepted: Accepted, permit: Option<OwnedSemaphorePermit>) {
    let id = node.session_id();
    let Accepted { stream, read_ahead, peer, ask } = accepted;
    let kind = match &ask {
        Ok(target) => target.kind,
        Err(refused) => refused.kind,
    };
    let limits = match kind {
        Kind::Publish => InboundLimits {
            message_bytes_max: node.config.chunk_bytes_max,
            read_buffer_bytes: PUBLISHER_READ_BUFFER_BYTES,
        },
        Kind::Receive | Kind::ReceiveClearCache | Kind::Probe => InboundLimits {
            message_bytes_max: IDLE_MESSAGE_BYTES_MAX,
            read_buffer_bytes: IDLE_READ_BUFFER_BYTES,
        },
    };
    let (inbound, outlet) = socket::split(stream, read_ahead, &limits);
    let keeper = Keeper::new(&node, kind, Arc::clone(&outlet));
    let opened = Opened { id, peer, kind, at: Instant::now() };
    let channel = ask.as_ref().ok().map(|target| target.channel.clone());
    let mut session = Session { node: Arc::clone(&node), inbound, outlet, keeper };

    let counted = Counted::new(node.metrics.sessions.with_label_values(&[kind.name()]));
    let ended = match ask {
        Err(refused) => refused.close.into(),
        Ok(_) if permit.is_none() => Close::Full { retry_after_ms: node.retry_after_ms() }.into(),
        Ok(_) if node.is_leaving() => Close::Draining { retry_after_ms: node.retry_after_ms() }.into(),
        Ok(target) => session.serve(&target).await,
    };
    session.end(ended).await;
    drop(counted);
    opened.log_end(&node, &session, channel.as_ref().map_or("", |name| name.as_str()), ended);
}

impl Session {
    async fn serve(&mut self, target: &Target) -> Ended {
        let channel = self.node.channels.open(&target.channel);
        match target.kind {
            Kind::Publish => publisher::run(self, &channel, &target.key).await,
            Kind::Receive | Kind::ReceiveClearCache => receiver::run(self, &channel, target).await,
            Kind::Probe => probe::run(self, &channel, &target.key).await,
        }
    }

    /// Waits while there is nothing to do but to stay alive. Safe to cancel.
    pub(crate) async fn idle(&mut self) -> Ended {
        loop {
            tokio::select! {
                biased;
                ended = self.keeper.upkeep() => return ended,
                received = self.inbound.next() => {
                    if let Some(ended) = self.keeper.take(&received) {
                        return ended;
                    }
                }
                () = self.outlet.woken() => self.keeper.flush(),
            }
        }
    }

    /// Closes the websocket as RFC 6455, section 7.1 wants it: our close frame, the client's, then the connection.
    async fn end(&mut self, ended: Ended) {
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
    heartbeat_interval: Duration,
    idle_timeout: Duration,
    write_timeout: Duration,
    next_heartbeat: Instant,
    heard: watch::Receiver<Instant>,
    blocked: bool,
    leaving: watch::Receiver<Leaving>,
    leave_at: Option<(Instant, u32)>,
    kind: Kind,
    node: Arc<Node>,
}

impl Keeper {
    fn new(node: &Arc<Node>, kind: Kind, outlet: Arc<Outlet>) -> Self {
        let now = Instant::now();
        Self {
            heard: outlet.heard(),
            outlet,
            heartbeat_interval: node.config.heartbeat_interval,
            idle_timeout: node.config.idle_timeout,
            write_timeout: node.config.write_timeout,
            next_heartbeat: now + node.config.heartbeat_interval,
            blocked: false,
            leaving: node.leaving(),
            leave_at: None,
            kind,
            node: Arc::clone(node),
        }
    }

    /// Something came from the client. Tells whether it ends the session.
    pub(crate) fn take(&self, received: &Received) -> Option<Ended> {
        match received {
            Received::Binary(_) | Received::Heartbeat | Received::Text | Received::Sign => None,
            Received::Closed(_) => Some(Close::ClientClosed.into()),
            Received::Lost => Some(Ended::ConnectionLost),
            Received::Invalid(close) => Some((*close).into()),
        }
    }

    /// Sends what is pending; [`Keeper::upkeep`] sends the rest when the socket takes it.
    pub(crate) fn flush(&mut self) {
        self.blocked = self.outlet.flush() == Flow::Blocked;
    }

    /// Keeps the session alive; returns when it must end. Safe to cancel.
    pub(crate) async fn upkeep(&mut self) -> Ended {
        loop {
            let now = Instant::now();
            let silent_until = *self.heard.borrow() + self.idle_timeout;
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
                self.next_heartbeat = now + self.heartbeat_interval;
            }
            let mut next = self.next_heartbeat.min(silent_until);
            if let Some((at, _)) = self.leave_at {
                next = next.min(at);
            }
            if let Some(since) = self.outlet.blocked_since() {
                let deadline = since + self.write_timeout;
                if now >= deadline {
                    return Close::TooSlow.into();
                }
                next = next.min(deadline);
            }
            tokio::select! {
                biased;
                changed = self.leaving.changed(), if self.leave_at.is_none() => {
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

struct Opened {
    id: SessionId,
    peer: SocketAddr,
    kind: Kind,
    at: Instant,
}

impl Opened {
    /// The one line that every session leaves.
    fn log_end(&self, node: &Node, session: &Session, channel: &str, ended: Ended) {
        let (reason, code) = match ended {
            Ended::Close(close) => (close.name(), close.code()),
            // What RFC 6455 calls an end without a close frame.
            Ended::ConnectionLost => ("connection_lost", 1006),
        };
        let kind = self.kind.name();
        let sent = session.outlet.sent_bytes();
        node.metrics.session_ends.with_label_values(&[kind, reason]).inc();
        info!(
            session = %self.id,
            kind,
            channel,
            peer = %self.peer,
            reason,
            code,
            duration_ms = u64::try_from(self.at.elapsed().as_millis()).unwrap_or(u64::MAX),
            received_bytes = session.inbound.received_bytes(),
            sent_bytes = sent,
            "session ended"
        );
    }
}
