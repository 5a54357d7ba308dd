//! Accepts connections and owns every one of them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use relay_lifecycle::backoff::{Backoff, entropy};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, warn};

use crate::ingest::rtmp::{self, Tls};
use crate::metrics::{Counted, Refusal};
use crate::node::Node;
use crate::{handshake, session};

/// An idle connection whose other side is gone without a word is noticed by the kernel after about a minute.
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// What the kernel takes for a connection beyond what is on its way. Left alone it takes megabytes: a slow viewer would
/// be half a minute late before its lag is seen, and a frozen one costs memory that no budget counts.
const UNSENT_BYTES_MAX: u32 = 256 << 10;

/// Connections that wait in the kernel to be accepted. The kernel cuts it to its own bound (`net.core.somaxconn`, 4096 on
/// most). What does not fit there tries again only after a second, and all viewers of a node come back at once when
/// another node is gone.
const BACKLOG: u32 = 16_384;

/// How long to wait after the first failure to accept, and at the most: file descriptors come back when sessions end.
const ACCEPT_RETRY: std::ops::RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_secs(1);

/// What connections to an address speak.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// HTTP and websockets.
    Http,
    /// RTMP, of publishers.
    Rtmp,
    /// The same behind TLS.
    Rtmps(Tls),
}

/// How many there may be, whatever they speak.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    sessions: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
}

impl Places {
    pub(crate) fn new(sessions_max: usize, handshakes_max: usize) -> Self {
        Self {
            sessions: Arc::new(Semaphore::new(sessions_max)),
            handshakes: Arc::new(Semaphore::new(handshakes_max)),
        }
    }
}

/// Every address of a node.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) http: Listener,
    pub(crate) rtmp: Option<Listener>,
    pub(crate) rtmps: Option<Listener>,
}

impl Listeners {
    /// Accepts one connection, or buries one that has ended. Safe to cancel.
    pub(crate) async fn turn(&mut self, node: &Arc<Node>) {
        // Whoever is called most often does not keep the others from their turn.
        tokio::select! {
            () = self.http.turn(node) => {}
            () = turn(&mut self.rtmp, node) => {}
            () = turn(&mut self.rtmps, node) => {}
        }
    }

    /// Connections that have not ended.
    pub(crate) fn connections(&self) -> usize {
        let others = [&self.rtmp, &self.rtmps].into_iter().flatten();
        self.http.connections() + others.map(Listener::connections).sum::<usize>()
    }

    /// Drops every connection.
    pub(crate) async fn shutdown(&mut self) {
        self.http.shutdown().await;
        for other in [&mut self.rtmp, &mut self.rtmps].into_iter().flatten() {
            other.shutdown().await;
        }
    }
}

async fn turn(listener: &mut Option<Listener>, node: &Arc<Node>) {
    match listener {
        Some(listener) => listener.turn(node).await,
        None => std::future::pending().await,
    }
}

/// The accepting socket and the tasks of all connections.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    door: Door,
    places: Places,
    tasks: JoinSet<()>,
    backoff: Backoff<fn() -> u64>,
}

impl Listener {
    pub(crate) fn bind(address: SocketAddr, door: Door, places: &Places) -> io::Result<Self> {
        Ok(Self {
            socket: listen(address)?,
            door,
            places: places.clone(),
            tasks: JoinSet::new(),
            backoff: Backoff::new(*ACCEPT_RETRY.start(), *ACCEPT_RETRY.end(), entropy),
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts one connection, or buries one that has ended. Safe to cancel.
    pub(crate) async fn turn(&mut self, node: &Arc<Node>) {
        let handshake = async {
            // A full house of handshakes leaves further connections in the kernel's queue.
            let permit = Arc::clone(&self.places.handshakes).acquire_owned().await;
            (permit, self.socket.accept().await)
        };
        tokio::select! {
            biased;
            (permit, accepted) = handshake => match (permit, accepted) {
                (Ok(permit), Ok((stream, peer))) => {
                    self.backoff.reset();
                    prepare(&stream, node);
                    let (node, sessions) = (Arc::clone(node), Arc::clone(&self.places.sessions));
                    match &self.door {
                        Door::Http => self.tasks.spawn(connection(node, stream, peer, permit, sessions)),
                        Door::Rtmp => self.tasks.spawn(push(node, stream, peer, permit, sessions)),
                        Door::Rtmps(tls) => {
                            self.tasks.spawn(secured(node, stream, tls.clone(), peer, permit, sessions))
                        }
                    };
                }
                (_, Err(error)) => {
                    node.metrics.accept_errors.inc();
                    warn!(%error, "connection not accepted");
                    tokio::time::sleep(self.backoff.next()).await;
                }
                (Err(_closed), _) => {}
            },
            // Last: when thousands leave at once, whoever comes must not wait until all of them are buried.
            Some(ended) = self.tasks.join_next() => report(ended),
        }
    }

    /// Connections that have not ended.
    pub(crate) fn connections(&self) -> usize {
        self.tasks.len()
    }

    /// Drops every connection.
    pub(crate) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A node that restarts takes its address back from the connections that are still on their way out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// From the first byte to the last. What only the handshake needs is boxed with it and gone when it is over: a session may
/// last for days, and there are thousands.
fn connection(
    node: Arc<Node>,
    stream: TcpStream,
    peer: SocketAddr,
    handshakes: OwnedSemaphorePermit,
    sessions: Arc<Semaphore>,
) -> impl Future<Output = ()> + Send {
    let counted = Counted::new(node.metrics.connections.clone());
    let handshake = Box::pin(handshake::run(Arc::clone(&node), stream, peer, handshakes));
    async move {
        let _counted = counted;
        let Some((accepted, handshakes)) = handshake.await else { return };
        let mut opened = session::open(&node, accepted);
        let (has_room, permit) = match sessions.try_acquire_owned() {
            Ok(permit) => {
                drop(handshakes);
                (true, permit)
            }
            // A session that is only told that there is no room still counts as a handshake.
            Err(_) => (false, handshakes),
        };
        opened.run(has_room).await;
        // Before the permit, which stands for its socket.
        drop(opened);
        drop(permit);
    }
}

/// A connection of a publisher by RTMP.
async fn push(
    node: Arc<Node>,
    stream: TcpStream,
    peer: SocketAddr,
    handshakes: OwnedSemaphorePermit,
    sessions: Arc<Semaphore>,
) {
    let _counted = Counted::new(node.metrics.connections.clone());
    Box::pin(rtmp::run(node, stream, peer, handshakes, sessions)).await;
}

/// The same behind TLS.
async fn secured(
    node: Arc<Node>,
    stream: TcpStream,
    tls: Tls,
    peer: SocketAddr,
    handshakes: OwnedSemaphorePermit,
    sessions: Arc<Semaphore>,
) {
    let _counted = Counted::new(node.metrics.connections.clone());
    let refusal = match timeout(node.config.handshake_timeout, tls.0.accept(stream)).await {
        Ok(Ok(stream)) => return Box::pin(rtmp::run(node, stream, peer, handshakes, sessions)).await,
        Ok(Err(_)) => Refusal::Malformed,
        Err(_) => Refusal::Slow,
    };
    node.metrics.handshakes_refused.with_label_values(&[refusal.name()]).inc();
}

/// Options that find half-open and slow connections and keep small messages from waiting.
fn prepare(stream: &TcpStream, node: &Node) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
    let set = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(node.config.tcp_user_timeout)))
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX));
    if let Err(error) = set {
        // The connection works without; the timeouts of the protocol find it too, only later.
        warn!(%error, "socket options not set");
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(panic) = ended
        && panic.is_panic()
    {
        error!(error = %panic, "a connection's task panicked");
    }
}
