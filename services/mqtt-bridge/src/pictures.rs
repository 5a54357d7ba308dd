//! Publishes the pictures of one source to a node, by websocket: each a chunk, as it is.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Whoever has a picture never waits. One picture waits for the socket; a newer one replaces it. │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Whoever has a picture writes it himself, while the socket takes it: thousands of cameras would have thousands of tasks woken
//! for one write each. The task of a connection reads, and writes only what the socket did not take at once.

mod line;
mod picture;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper_rustls::ConfigBuilderExt;
use relay_proto::websocket::{HEARTBEAT, HEARTBEAT_INTERVAL, IDLE_TIMEOUT};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use self::line::{Line, Stream};
pub(crate) use self::picture::Picture;

/// Resolving, connecting, TLS and the handshake together. A node answers in milliseconds.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long something may wait for a node to take it.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// How long a node has to answer a close frame.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A node says heartbeats and errors to a publisher.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// The side of whoever has pictures. Dropping it breaks the connection, so that viewers are held for whoever goes on.
#[derive(Debug)]
pub(crate) struct Pictures(Arc<Slot>);

/// What both sides share.
#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
    /// Something is left to the task of the connection.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The one that waits.
    picture: Option<Picture>,
    closing: Option<Closing>,
    line: Option<Line>,
    /// Whether the handshake is done.
    is_open: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// The publication is over.
    Finish,
    /// Somebody else goes on with it.
    Abandon,
}

/// What became of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It is on its way.
    Kept,
    /// So it is, and an older one is not any more.
    InsteadOfOlder,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As it was to.
    Done,
    /// The node closed it, with the close code and the first word of its reason (`proto/WEBSOCKET.md`).
    Refused { code: u16, reason: String, retry_after_ms: Option<u64> },
    /// There is no connection, or it broke.
    Lost,
}

/// A publisher, and the future that connects and publishes until it ends.
pub(crate) fn publish(url: String) -> (Pictures, impl Future<Output = Ended> + Send) {
    let slot = Arc::<Slot>::default();
    (Pictures(Arc::clone(&slot)), run(url, slot))
}

impl Pictures {
    /// Hands a picture over.
    pub(crate) fn show(&self, picture: Picture) -> Shown {
        let Self(slot) = self;
        let mut state = slot.lock();
        let is_first = state.picture.is_none();
        if let State { line: Some(line), is_open: true, .. } = &mut *state
            && is_first
            && line.is_clear()
        {
            line.send(picture.into_frame(mask()).as_bytes());
            if !line.is_clear() {
                slot.changed.notify_one();
            }
            return Shown::Kept;
        }
        state.picture = Some(picture);
        slot.changed.notify_one();
        if is_first { Shown::Kept } else { Shown::InsteadOfOlder }
    }

    /// Ends the publication in order: its viewers are told that it is over.
    pub(crate) fn finish(self) {
        self.0.close(Closing::Finish);
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        self.0.close(Closing::Abandon);
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was said first counts.
    fn close(&self, closing: Closing) {
        self.lock().closing.get_or_insert(closing);
        self.changed.notify_one();
    }

    /// Waits for the first picture; `true` when it is over before that.
    async fn awaits_nothing(&self) -> bool {
        loop {
            {
                let state = self.lock();
                if state.picture.is_some() || state.closing.is_some() {
                    return state.picture.is_none();
                }
            }
            self.changed.notified().await;
        }
    }

    /// Done when the publication is over.
    async fn closing(&self) -> Closing {
        loop {
            if let Some(closing) = self.lock().closing {
                return closing;
            }
            self.changed.notified().await;
        }
    }

    /// Done when nothing waits any more.
    async fn drained(&self) -> io::Result<()> {
        std::future::poll_fn(|context| self.lock().poll_drain(context)).await
    }
}

impl State {
    /// Whether something waits for the socket.
    fn waits(&self) -> bool {
        self.picture.is_some() || self.line.as_ref().is_some_and(|line| !line.is_clear())
    }

    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(line) = &mut self.line else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        loop {
            ready!(line.poll_drain(context))?;
            match self.picture.take() {
                Some(picture) => line.send(picture.into_frame(mask()).as_bytes()),
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// A new one for each frame, which nobody can foretell from those before: it is hashed with keys that the system drew.
fn mask() -> [u8; 4] {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static FRAMES: AtomicU64 = AtomicU64::new(0);
    let [a, b, c, d, ..] = KEYS.hash_one(FRAMES.fetch_add(1, Ordering::Relaxed)).to_ne_bytes();
    [a, b, c, d]
}

/// The line as tungstenite sees it. What it writes waits with all else; when it is gone, so is the connection.
struct Wire(Arc<Slot>);

impl Wire {
    fn poll<T>(&self, poll: impl FnOnce(&mut Line) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut self.0.lock().line {
            Some(line) => poll(line),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(|line| line.poll_read(context, buffer))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(|line| line.poll_send(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|line| line.poll_drain(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|line| line.poll_shutdown(context))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        (state.line, state.is_open) = (None, false);
    }
}

/// The certificates of the system, read once. `None` where they cannot be.
static TRUST: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| {
    relay_cluster::tls::install_crypto_provider();
    let trust = ClientConfig::builder().with_native_roots().ok()?;
    Some(Arc::new(trust.with_no_client_auth()))
});

type Socket = WebSocketStream<Wire>;

async fn run(url: String, slot: Arc<Slot>) -> Ended {
    // Not before there is something to publish: who only connects looks like a camera that is there.
    if slot.awaits_nothing().await {
        return Ended::Done;
    }
    let mut socket = tokio::select! {
        connected = timeout(CONNECT_WITHIN, connect(&url, &slot)) => match connected {
            Ok(Ok(socket)) => socket,
            Ok(Err(ended)) => return ended,
            Err(_) => return Ended::Lost,
        },
        _ = slot.closing() => return Ended::Done,
    };
    slot.lock().is_open = true;
    let began = Instant::now();
    let mut heartbeat = interval_at(began + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = began;
    let mut waits_since = None;
    loop {
        let (waits, closing) = {
            let state = slot.lock();
            (state.waits(), state.closing)
        };
        match closing {
            Some(Closing::Abandon) => return Ended::Done,
            Some(Closing::Finish) if !waits => return finish(&mut socket).await,
            _ => {}
        }
        waits_since = waits.then(|| waits_since.unwrap_or_else(Instant::now));
        let drained = async {
            match waits_since {
                Some(since) => matches!(timeout_at(since + WRITE_WITHIN, slot.drained()).await, Ok(Ok(()))),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            message = socket.next() => match message {
                Some(Ok(Message::Close(frame))) => {
                    // The answer is ready, and goes out with the next write.
                    let _ = timeout(CLOSE_WITHIN, socket.flush()).await;
                    return refused(frame);
                }
                Some(Ok(_)) => heard = Instant::now(),
                Some(Err(_)) | None => return Ended::Lost,
            },
            () = sleep_until(heard + IDLE_TIMEOUT) => return Ended::Lost,
            _ = heartbeat.tick() => {
                if socket.feed(Message::text(HEARTBEAT)).await.is_err() {
                    return last_word(&mut socket).await;
                }
            }
            is_drained = drained => {
                if !is_drained {
                    return last_word(&mut socket).await;
                }
            }
            () = slot.changed.notified() => {}
        }
    }
}

/// Why the node closed it may lie in the socket still.
async fn last_word(socket: &mut Socket) -> Ended {
    let word = async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Close(frame) = message {
                return refused(frame);
            }
        }
        Ended::Lost
    };
    timeout(CLOSE_WITHIN, word).await.unwrap_or(Ended::Lost)
}

async fn finish(socket: &mut Socket) -> Ended {
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = timeout(CLOSE_WITHIN, async {
        let _ = socket.send(Message::Close(Some(goodbye))).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    Ended::Done
}

fn refused(frame: Option<CloseFrame>) -> Ended {
    let Some(CloseFrame { code, reason }) = frame else { return Ended::Lost };
    let mut words = reason.split(' ');
    let name = words.next().unwrap_or_default().to_owned();
    let retry_after_ms = words.find_map(|word| word.strip_prefix("retry_after_ms=")?.parse().ok());
    Ended::Refused { code: code.into(), reason: name, retry_after_ms }
}

async fn connect(url: &str, slot: &Arc<Slot>) -> Result<Socket, Ended> {
    let request = url.into_client_request().map_err(|_| Ended::Lost)?;
    let uri = request.uri();
    let host = uri.host().ok_or(Ended::Lost)?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let is_tls = uri.scheme_str() == Some("wss");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|_| Ended::Lost)?;
    // A picture is written whole; waiting for more would only delay it.
    let _ = stream.set_nodelay(true);
    let stream: Box<dyn Stream> = if is_tls {
        let name = ServerName::try_from(host).map_err(|_| Ended::Lost)?;
        let trust = TRUST.as_ref().ok_or(Ended::Lost)?;
        let connector = TlsConnector::from(Arc::clone(trust));
        Box::new(connector.connect(name, stream).await.map_err(|_| Ended::Lost)?)
    } else {
        Box::new(stream)
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        // A node says little to a publisher, and there is one of these for each camera.
        .read_buffer_size(MESSAGE_BYTES_MAX)
        // The line keeps what the socket does not take.
        .write_buffer_size(0);
    slot.lock().line = Some(Line::new(stream));
    let wire = Wire(Arc::clone(slot));
    match tokio_tungstenite::client_async_with_config(request, wire, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => Err(Ended::Refused {
            code: answer.status().as_u16(),
            reason: "no_websocket".to_owned(),
            retry_after_ms: None,
        }),
        Err(_) => Err(Ended::Lost),
    }
}

#[cfg(test)]
mod tests;
