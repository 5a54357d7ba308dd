//! One connection's life after its handshake: authorize, then publisher, receiver or probe, then a reason to close.

use std::net::SocketAddr;
use std::sync::Arc;

use relay_proto::SessionId;
use relay_proto::registry::Role;
use relay_proto::websocket::{Close, Kind, ParseTargetError, Target};
use tokio::time::Instant;
use tracing::info;

use crate::demand::Wanted;
use crate::keeper::{Ended, Keeper, Session};
use crate::metrics::Counted;
use crate::node::Node;
use crate::socket::{self, InboundLimits, Traffic};
use crate::{auth, probe, publisher, receiver, upstream};

/// Largest message from a client that has nothing to send but heartbeats.
const IDLE_MESSAGE_BYTES_MAX: usize = 4 << 10;

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

/// A session from its handshake to its end.
///
/// Built outside of the task's future, and run in place: what an `async fn` takes by value it holds twice.
pub(crate) struct Opened {
    session: Session,
    ask: Result<Target, Refused>,
    id: SessionId,
    peer: SocketAddr,
    kind: Kind,
    at: Instant,
}

/// Begins a session.
pub(crate) fn open(node: &Arc<Node>, accepted: Accepted) -> Opened {
    let Accepted { stream, read_ahead, peer, ask } = accepted;
    let kind = match &ask {
        Ok(target) => target.kind,
        Err(refused) => refused.kind,
    };
    let limits = match kind {
        Kind::Publish => {
            InboundLimits { message_bytes_max: node.config.chunk_bytes_max, traffic: Traffic::Chunks }
        }
        Kind::Receive | Kind::ReceiveClearCache | Kind::Probe => {
            InboundLimits { message_bytes_max: IDLE_MESSAGE_BYTES_MAX, traffic: Traffic::SignsOfLife }
        }
    };
    let (inbound, outlet) = socket::split(stream, read_ahead, &limits);
    let keeper = Keeper::new(node, kind, Arc::clone(&outlet));
    let session = Session { node: Arc::clone(node), inbound, outlet, keeper, admitted: false };
    Opened { session, ask, id: node.session_id(), peer, kind, at: Instant::now() }
}

impl Session {
    async fn serve(&mut self, id: SessionId, target: &Target) -> Ended {
        let channel = self.node.channels.open(&target.channel);
        let key = self.node.cluster.hash(&target.channel, &target.key);
        let node = Arc::clone(&self.node);
        if node.sessions.is_banned(&target.channel, key) {
            return Close::Banned.into();
        }
        let _listed = node.sessions.list(id, target.kind, &target.channel, key, &self.outlet);
        let secret = node.cluster.secret();
        if target.kind == Kind::Publish {
            if let Err(close) = auth::publishing(secret, &target.channel, &target.key) {
                return close.into();
            }
            // Boxed: the largest role would set the size of every task, and there are far more receivers.
            return Box::pin(publisher::run(self, &channel, key)).await;
        }
        let policy = node.config.receive_policy;
        // Before the channel is wanted. A ban is for the key that was presented, so this is for nothing but to be let in.
        let key = match auth::receiving(policy, secret, &target.channel, &target.key) {
            Ok(key) => key,
            Err(close) => return close.into(),
        };
        let _wanted = Wanted::new(&channel, || {
            node.cluster.spawn(upstream::run(Arc::clone(&node), Arc::clone(&channel)));
        });
        match target.kind {
            Kind::Probe => probe::run(self, &channel, key).await,
            Kind::Receive | Kind::ReceiveClearCache | Kind::Publish => {
                receiver::run(self, &channel, target, key).await
            }
        }
    }
}

/// Whether a session that ends with this before it was let in was refused, and did not only end.
pub(crate) const fn refuses(close: Close) -> bool {
    matches!(
        close,
        Close::InvalidTarget
            | Close::OriginNotAllowed
            | Close::WrongKey
            | Close::Banned
            | Close::Full { .. }
            | Close::Draining { .. }
            | Close::Busy { .. }
            | Close::Unavailable { .. }
            | Close::Replaced
    )
}

impl Opened {
    /// Runs it to its end. Without room for it the client is told so.
    pub(crate) async fn run(&mut self, has_room: bool) {
        let node = &self.session.node;
        let counted = Counted::new(node.metrics.sessions.with_label_values(&[self.kind.name()]));
        let ended = match &self.ask {
            Err(refused) => refused.close.into(),
            Ok(_) if !has_room => Close::Full { retry_after_ms: node.retry_after_ms() }.into(),
            Ok(_) if node.service.is_leaving() => {
                Close::Draining { retry_after_ms: node.retry_after_ms() }.into()
            }
            Ok(target) => self.session.serve(self.id, target).await,
        };
        self.tell_refusal(ended);
        self.session.end(ended).await;
        drop(counted);
        self.log_end(ended);
    }

    /// The journal is told of who was not let in.
    fn tell_refusal(&self, ended: Ended) {
        let Ended::Close(close) = ended else { return };
        // Who waits for a publisher may learn only then that its key is another.
        if close != Close::WrongKey && (self.session.admitted || !refuses(close)) {
            return;
        }
        let role = match self.kind {
            Kind::Publish => Role::Publish,
            Kind::Receive | Kind::ReceiveClearCache | Kind::Probe => Role::Receive,
        };
        let channel = self.ask.as_ref().ok().map(|target| &target.channel);
        self.session.node.channels.chronicle().refused(channel, role, close.name());
    }

    /// The one line that every session leaves.
    fn log_end(&self, ended: Ended) {
        let Session { node, inbound, outlet, .. } = &self.session;
        let channel = self.ask.as_ref().map_or("", |target| target.channel.as_str());
        let (reason, code) = match ended {
            Ended::Close(close) => (close.name(), close.code()),
            // What RFC 6455 calls an end without a close frame.
            Ended::ConnectionLost => ("connection_lost", 1006),
        };
        let kind = self.kind.name();
        let sent = outlet.sent_bytes();
        node.metrics.session_ends.with_label_values(&[kind, reason]).inc();
        info!(
            session = %self.id,
            kind,
            channel,
            peer = %self.peer,
            reason,
            code,
            duration_ms = u64::try_from(self.at.elapsed().as_millis()).unwrap_or(u64::MAX),
            received_bytes = inbound.received_bytes(),
            sent_bytes = sent,
            "session ended"
        );
    }
}
