//! Publishers by RTMP: what a connection does from its first byte to its last. Normative text: `proto/RTMP.md`.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ To its channel it is a publisher like any other: lease, policy, grace, bans, drain and the    │
//! │ line at its end are the same. One message becomes one chunk.                                  │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

mod carrier;
mod line;
mod link;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use relay_cluster::registry::Release;
use relay_proto::registry::Role;
use relay_proto::rtmp::PublishTarget;
use relay_proto::websocket::{Close, ERROR_PREFIX, Kind};
use relay_proto::{KeyHash, SessionId};
use relay_rtmp::server::{Event, Limits};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::info;

use self::carrier::Carrier;
pub(crate) use self::line::Line;
use self::link::{Link, Received};
pub use self::tls::CertificateError;
pub(crate) use self::tls::{Tls, acceptor};
use crate::auth;
use crate::batch::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX};
use crate::channel::{Channel, Publication};
use crate::incumbent::Incumbent;
use crate::keeper::{CLOSE_TIMEOUT, Ended};
use crate::lease::Tenure;
use crate::metrics::{Counted, RTMP, Refusal};
use crate::node::Node;
use crate::publisher;
use crate::session::refuses;

/// A connection from its first byte on, until it has ended.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(
    node: Arc<Node>,
    stream: S,
    peer: SocketAddr,
    handshakes: OwnedSemaphorePermit,
    sessions: Arc<Semaphore>,
) {
    let limits = Limits {
        message_bytes_max: node.config.chunk_bytes_max.saturating_sub(carrier::AROUND_BYTES),
        room_before: carrier::ROOM_BEFORE,
        room_after: carrier::ROOM_AFTER,
    };
    let mut link = Link::new(stream, limits);
    let asked = timeout(node.config.handshake_timeout, ask(&node, &mut link, &sessions)).await;
    let asked = match asked {
        Ok(Ok(asked)) => asked,
        Ok(Err(refusal)) => return refused(&node, refusal),
        Err(_) => return refused(&node, Refusal::Slow),
    };
    let (has_room, permit) = match sessions.try_acquire_owned() {
        Ok(permit) => {
            drop(handshakes);
            (true, permit)
        }
        // A session that is only told that there is no room still counts as a handshake.
        Err(_) => (false, handshakes),
    };
    let mut session =
        Session { node, link, peer, id: SessionId::new(0), at: Instant::now(), admitted: false };
    session.id = session.node.session_id();
    session.run(asked, has_room).await;
    drop(session);
    drop(permit);
}

fn refused(node: &Node, refusal: Refusal) {
    node.metrics.handshakes_refused.with_label_values(&[refusal.name()]).inc();
}

/// What the client wants, or with what it was turned away before it could say so.
type Asked = Result<PublishTarget, Close>;

/// Up to the command that says what is to be published.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    node: &Node,
    link: &mut Link<S>,
    sessions: &Semaphore,
) -> Result<Asked, Refusal> {
    let mut application = String::new();
    loop {
        match link.next().await {
            Received::Event(Event::Connect { app }) => {
                let close = if node.service.is_leaving() {
                    Close::Draining { retry_after_ms: node.retry_after_ms() }
                } else if sessions.available_permits() == 0 {
                    Close::Full { retry_after_ms: node.retry_after_ms() }
                } else {
                    application = app;
                    link.server().accept_connection();
                    continue;
                };
                return Ok(Err(close));
            }
            Received::Event(Event::Publish { name }) => {
                return Ok(PublishTarget::parse(&application, &name).ok_or(Close::InvalidTarget));
            }
            Received::Event(Event::Media(_) | Event::Unpublish) => {}
            Received::Lost => return Err(Refusal::Lost),
            Received::Broken(relay_rtmp::Error::TooLong | relay_rtmp::Error::TooMuch) => {
                return Err(Refusal::TooLarge);
            }
            Received::Broken(_) => return Err(Refusal::Malformed),
        }
    }
}

/// A connection that has said what it wants.
struct Session<S> {
    node: Arc<Node>,
    link: Link<S>,
    peer: SocketAddr,
    id: SessionId,
    at: Instant,
    admitted: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Session<S> {
    async fn run(&mut self, asked: Asked, has_room: bool) {
        let node = Arc::clone(&self.node);
        let counted = Counted::new(node.metrics.sessions.with_label_values(&[RTMP]));
        let ended = match &asked {
            Err(close) => (*close).into(),
            Ok(_) if !has_room => Close::Full { retry_after_ms: node.retry_after_ms() }.into(),
            Ok(_) if node.service.is_leaving() => {
                Close::Draining { retry_after_ms: node.retry_after_ms() }.into()
            }
            Ok(target) => self.serve(target).await,
        };
        if let Ended::Close(close) = ended {
            if !self.admitted && refuses(close) {
                let channel = asked.as_ref().ok().map(|target| &target.channel);
                node.channels.chronicle().refused(channel, Role::Publish, close.name());
            }
            self.tell(close);
            // Whoever does not take it in time has its connection dropped.
            let _ = timeout(CLOSE_TIMEOUT.min(node.config.write_timeout), self.link.close()).await;
        }
        drop(counted);
        self.log_end(asked.as_ref().map_or("", |target| target.channel.as_str()), ended);
    }

    async fn serve(&mut self, target: &PublishTarget) -> Ended {
        let node = Arc::clone(&self.node);
        let channel = node.channels.open(&target.channel);
        let key = node.cluster.hash(&target.channel, &target.key);
        if node.sessions.is_banned(&target.channel, key) {
            return Close::Banned.into();
        }
        let line = Arc::clone(self.link.line());
        let _listed = node.sessions.list(self.id, Kind::Publish, &target.channel, key, &line);
        if let Err(close) = auth::publishing(node.cluster.secret(), &target.channel, &target.key) {
            return close.into();
        }
        match self.publish(&channel, key, &line).await {
            Ok(ended) => ended,
            Err(close) => close.into(),
        }
    }

    /// Publishes up to the end. The error is why it never began.
    async fn publish(
        &mut self,
        channel: &Arc<Channel>,
        key: KeyHash,
        line: &Arc<Line>,
    ) -> Result<Ended, Close> {
        let node = Arc::clone(&self.node);
        let mut leaves = std::pin::pin!(leaves(&node));
        let tenure = tokio::select! {
            biased;
            acquired = Tenure::acquire(&node, channel, key) => acquired?,
            close = line.dismissed() => return Err(close),
            close = &mut leaves => return Err(close),
        };
        let (tenure, publication) =
            publisher::begin(&node, channel, key, tenure, Incumbent::new(line)).await?;
        self.admitted = true;
        node.metrics.sessions_accepted.inc();
        self.link.server().accept_stream();
        let stalled = publisher::stalled(publication.feed(), node.config.publisher_media_timeout);
        let otherwise = async {
            tokio::select! {
                biased;
                close = line.dismissed() => close,
                close = leaves => close,
                close = line.keep(node.config.heartbeat_interval, node.config.idle_timeout) => close,
                () = stalled => Close::Stalled,
                close = tenure.keep() => close,
            }
        };
        let (ended, release) = self.take_stream(publication, line, otherwise).await;
        tenure.release(release).await;
        Ok(ended)
    }

    async fn take_stream(
        &mut self,
        mut publication: Publication,
        line: &Line,
        otherwise: impl Future<Output = Close>,
    ) -> (Ended, Release) {
        let mut carrier = Carrier::default();
        // Looked at only when something of it has news, and not with every chunk.
        let mut otherwise: FuturesUnordered<_> = std::iter::once(otherwise).collect();
        loop {
            let blocked_until = self.link.blocked_since().map(|since| since + self.node.config.write_timeout);
            let received = tokio::select! {
                biased;
                received = self.link.next() => received,
                () = line.pinged() => {
                    let ms = self.at.elapsed().as_millis();
                    self.link.server().ping(u32::try_from(ms).unwrap_or(u32::MAX));
                    continue;
                }
                Some(close) = otherwise.next() => {
                    let ended = close.into();
                    return (ended, publisher::conclude(publication, ended));
                }
                () = until(blocked_until) => {
                    let ended = Close::TooSlow.into();
                    return (ended, publisher::conclude(publication, ended));
                }
            };
            let gathered = gather(&mut self.link, &mut carrier, &mut publication, received);
            publication.deliver();
            match gathered {
                Ok(()) => {}
                Err(Last::Unpublished) => {
                    publication.finish();
                    return (Close::ClientClosed.into(), Release::Free);
                }
                Err(Last::Ended(ended)) => return (ended, publisher::conclude(publication, ended)),
            }
        }
    }

    /// Tells the client why, if it can be told.
    fn tell(&mut self, close: Close) {
        let Some(text) = close.error_text() else { return };
        let why = text.strip_prefix(ERROR_PREFIX).unwrap_or(&text);
        let server = self.link.server();
        // Of the three what fits where the client is.
        server.reject_connection(why);
        server.refuse_stream(why);
        server.dismiss(why);
    }

    /// The one line that every session leaves.
    fn log_end(&self, channel: &str, ended: Ended) {
        let (reason, code) = match ended {
            Ended::Close(close) => (close.name(), close.code()),
            Ended::ConnectionLost => ("connection_lost", 1006),
        };
        self.node.metrics.session_ends.with_label_values(&[RTMP, reason]).inc();
        info!(
            session = %self.id,
            kind = RTMP,
            channel,
            peer = %self.peer,
            reason,
            code,
            duration_ms = u64::try_from(self.at.elapsed().as_millis()).unwrap_or(u64::MAX),
            received_bytes = self.link.received_bytes(),
            sent_bytes = self.link.line().sent_bytes(),
            "session ended"
        );
    }
}

/// What ends a stream.
enum Last {
    /// The client said so.
    Unpublished,
    Ended(Ended),
}

/// Keeps what came, and everything that is there already, so that a node that is behind sends it together.
fn gather<S: AsyncRead + AsyncWrite + Unpin>(
    link: &mut Link<S>,
    carrier: &mut Carrier,
    publication: &mut Publication,
    mut received: Received,
) -> Result<(), Last> {
    let (mut chunks, mut bytes) = (0, 0);
    loop {
        match received {
            Received::Event(Event::Media(media)) => carrier.take(media, |chunk| {
                chunks += 1;
                bytes += chunk.payload().len();
                publication.append(chunk);
            }),
            Received::Event(Event::Unpublish) => return Err(Last::Unpublished),
            Received::Event(Event::Connect { .. } | Event::Publish { .. }) => {}
            Received::Lost => return Err(Last::Ended(Ended::ConnectionLost)),
            Received::Broken(relay_rtmp::Error::TooLong | relay_rtmp::Error::TooMuch) => {
                return Err(Last::Ended(Close::ChunkTooBig.into()));
            }
            Received::Broken(relay_rtmp::Error::Unread) => return Err(Last::Ended(Close::TooSlow.into())),
            Received::Broken(_) => return Err(Last::Ended(Close::ProtocolViolation.into())),
        }
        if chunks >= BATCH_FRAMES_MAX || bytes >= BATCH_BYTES_MAX {
            return Ok(());
        }
        match link.try_next() {
            Some(next) => received = next,
            None => return Ok(()),
        }
    }
}

/// Waits until it is this session's turn to leave the node.
async fn leaves(node: &Node) -> Close {
    let mut leaving = node.service.leaving();
    let mut leave = None;
    loop {
        tokio::select! {
            biased;
            // Also while a moment is set: the node may come back before that.
            changed = leaving.changed() => {
                let plan = *leaving.borrow();
                match changed {
                    Ok(()) => leave = node.leave_at(plan, Kind::Publish),
                    Err(_) => return Close::Draining { retry_after_ms: node.retry_after_ms() },
                }
            }
            () = until(leave.map(|(at, _)| at)) => {
                let retry_after_ms = leave.map_or(0, |(_, hint)| hint);
                return Close::Draining { retry_after_ms };
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    /// Somebody looks again long before.
    const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

    sleep_until(at.unwrap_or_else(|| Instant::now() + NEVER)).await;
    if at.is_none() {
        std::future::pending::<()>().await;
    }
}
