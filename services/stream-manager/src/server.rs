//! Accepts connections and owns every one of them, from the first byte to the last.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use relay_lifecycle::backoff::{Backoff, entropy};
use relay_lifecycle::drain::{Drain, Phase};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, error, warn};

use crate::http::Http;
use crate::lazy::Lazy;
use crate::metrics::Counted;
use crate::socket::Timed;

/// Connections that wait in the kernel to be accepted, which it cuts to its own bound. What does not fit there tries again
/// only after a second.
const BACKLOG: u32 = 4096;

/// How long to wait after the first failure to accept, and at the most: file descriptors come back when connections end.
const ACCEPT_RETRY: std::ops::RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_secs(1);

/// Silence before a complete request head, and between two requests: longer than a browser or a pool of connections mostly
/// pauses, and short enough that those who hold connections for nothing make room.
const HEAD_WITHIN: Duration = Duration::from_secs(15);

/// Request line and headers together, and what is buffered of an answer: a browser with many cookies stays far below.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Headers of one request.
const HEADERS_MAX: usize = 64;

/// How long requests that run may take when the process leaves: longer than a node is waited for.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// The accepting socket and the tasks of all connections.
#[derive(Debug)]
pub(crate) struct Server {
    socket: TcpListener,
    http: Arc<Http>,
    permits: Arc<Semaphore>,
    connections: JoinSet<()>,
    write_within: Duration,
}

impl Server {
    /// `write_within` is how long a write may find no room.
    pub(crate) fn new(
        socket: TcpListener,
        http: Http,
        connections_max: usize,
        write_within: Duration,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        Self { socket, http: Arc::new(http), permits, connections: JoinSet::new(), write_within }
    }

    /// Accepts until the drain begins. Safe to cancel.
    pub(crate) async fn accept(&mut self, drain: &Drain) {
        let mut backoff = Backoff::new(*ACCEPT_RETRY.start(), *ACCEPT_RETRY.end(), entropy);
        let mut begun = drain.clone();
        loop {
            let accept = async {
                // A full house leaves further connections in the kernel's queue.
                let permit = Arc::clone(&self.permits).acquire_owned().await;
                (permit, self.socket.accept().await)
            };
            tokio::select! {
                biased;
                () = begun.reached(Phase::Draining) => return,
                (permit, accepted) = accept => match (permit, accepted) {
                    (Ok(permit), Ok((stream, peer))) => {
                        backoff.reset();
                        // An answer is one write, and nothing is gained by keeping its last packet back. Without it, only
                        // slower.
                        let _ = stream.set_nodelay(true);
                        let http = Arc::clone(&self.http);
                        let stream = Timed::new(stream, self.write_within);
                        self.connections.spawn(connection(http, stream, peer, permit, drain.clone()));
                    }
                    (_, Err(error)) => {
                        self.http.replica().metrics.accept_errors.inc();
                        warn!(%error, "connection not accepted");
                        tokio::time::sleep(backoff.next()).await;
                    }
                    (Err(_closed), _) => {}
                },
                Some(ended) = self.connections.join_next() => report(ended),
            }
        }
    }

    /// Accepts nothing more, and lets requests that run come to their end for a while.
    pub(crate) async fn shutdown(self, mut drain: Drain) {
        let Self { socket, mut connections, .. } = self;
        drop(socket);
        let emptied = timeout(DRAIN_WITHIN, async {
            loop {
                tokio::select! {
                    biased;
                    () = drain.reached(Phase::Cut) => return false,
                    ended = connections.join_next() => match ended {
                        Some(ended) => report(ended),
                        None => return true,
                    },
                }
            }
        });
        if emptied.await != Ok(true) {
            warn!(connections = connections.len(), "drain cut short");
        }
        connections.shutdown().await;
    }
}

/// Takes the address.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A process that restarts takes its address back from the connections that are still on their way out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn connection(
    http: Arc<Http>,
    stream: Timed,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    mut drain: Drain,
) {
    let _counted = Counted::new(&http.replica().metrics.connections);
    let http = &*http;
    let relay = Mutex::new(None);
    let service = service_fn(async |request| Ok::<_, Infallible>(http.answer(request, peer, &relay).await));
    let connection = http1::Builder::new()
        .timer(Lazy::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = drain.reached(Phase::Draining) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended");
    }
    let upgraded = relay.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(relay) = upgraded {
        relay.run(drain, DRAIN_WITHIN / 2).await;
    }
    drop(permit);
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(panic) = ended
        && panic.is_panic()
    {
        error!(error = %panic, "a connection's task panicked");
    }
}

#[cfg(test)]
mod tests {
    use relay_cluster::{Journal, Links};
    use relay_lifecycle::drain;
    use relay_proto::backbone::Peer;
    use relay_proto::event::Fact;
    use relay_proto::{Epoch, Incarnation};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::config::Config;
    use crate::http::PICK;
    use crate::metrics::Metrics;
    use crate::replica::Replica;
    use crate::urls::Public;

    /// More than the kernel takes for a client that reads nothing.
    const EPOCHS: u64 = 30_000;

    async fn fill(journal: &dyn Journal) {
        let peer = Peer { node: "n1".parse().unwrap(), incarnation: Incarnation::new(1) };
        let fact = |epoch| Fact::Live {
            channel: "c".repeat(128).parse().unwrap(),
            epoch: Epoch::new(epoch),
            peer: peer.clone(),
        };
        for first in (1..EPOCHS).step_by(500) {
            let facts: Vec<Fact> = (first..first + 500).map(fact).collect();
            journal.record(&facts).await.unwrap();
        }
    }

    #[tokio::test]
    async fn who_follows_and_takes_nothing_is_let_go_and_who_takes_a_little_is_not() {
        let links = Links::alone();
        fill(&*links.journal).await;
        let metrics = Metrics::register(&prometheus::Registry::new(), PICK).unwrap();
        let config = Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::default() };
        let socket = listen(config.listen).unwrap();
        let address = socket.local_addr().unwrap();
        let replica = Arc::new(Replica::new(config, links, metrics, Public::new(None, address)));
        let http = Http::new(Arc::clone(&replica));
        let mut server = Server::new(socket, http, 9, Duration::from_millis(500));
        let (_trigger, drain) = drain::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { server.accept(&drain).await });
        let client = async || {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            let mut stream = socket.connect(address).await.unwrap();
            stream.write_all(b"GET /v1/events?after=0-0 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            stream
        };
        let followers = |count| {
            let gauge = replica.metrics.sse_clients.clone();
            async move {
                while gauge.get() != count {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        };
        let (stalled, mut slow) = (client().await, client().await);
        followers(2).await;
        let take = async {
            loop {
                slow.read_exact(&mut [0; 16 << 10]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = take => {}
            () = followers(1) => {}
        }
        // It goes on.
        slow.read_exact(&mut [0; 16 << 10]).await.unwrap();
        drop(stalled);
    }
}
