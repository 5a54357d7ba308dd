//! Publishes the pictures of one source to a node, by websocket: each a chunk, as it is.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Whoever has a picture never waits. One picture waits for the socket; a newer one replaces it. │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper_rustls::ConfigBuilderExt;
use relay_proto::websocket::{CHUNK_BYTES_MAX, HEARTBEAT, HEARTBEAT_INTERVAL, IDLE_TIMEOUT};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

/// Resolving, connecting, TLS and the handshake together. A node answers in milliseconds.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long a node may take nothing of a picture.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// How long a node has to answer a close frame.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A node says heartbeats and errors to a publisher.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// The side of whoever has pictures. Dropping it breaks the connection, so that viewers are held for whoever goes on.
#[derive(Debug)]
pub(crate) struct Pictures(Arc<Slot>);

/// The picture that waits.
#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    picture: Option<Bytes>,
    closing: Option<Closing>,
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
    pub(crate) fn show(&self, picture: Bytes) -> Shown {
        let older = self.0.set(|state| state.picture.replace(picture));
        if older.is_some() { Shown::InsteadOfOlder } else { Shown::Kept }
    }

    /// Ends the publication in order: its viewers are told that it is over.
    pub(crate) fn finish(self) {
        self.0.set(|state| state.closing = Some(Closing::Finish));
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        self.0.set(|state| state.closing.get_or_insert(Closing::Abandon).to_owned());
    }
}

enum Next {
    Picture(Bytes),
    Close(Closing),
}

impl Slot {
    fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let before = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
        before
    }

    /// What is to be done next: a picture before the end. Safe to cancel.
    async fn next(&self) -> Next {
        loop {
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(picture) = state.picture.take() {
                    return Next::Picture(picture);
                }
                if let Some(closing) = state.closing {
                    return Next::Close(closing);
                }
            }
            self.changed.notified().await;
        }
    }

    /// Waits for the first picture; `true` when it is over before that.
    async fn awaits_nothing(&self) -> bool {
        loop {
            {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
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
            if let Some(closing) = self.state.lock().unwrap_or_else(PoisonError::into_inner).closing {
                return closing;
            }
            self.changed.notified().await;
        }
    }
}

/// The certificates of the system, read once. `None` where they cannot be.
static TRUST: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| {
    relay_cluster::tls::install_crypto_provider();
    let trust = ClientConfig::builder().with_native_roots().ok()?;
    Some(Arc::new(trust.with_no_client_auth()))
});

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

type Socket = WebSocketStream<Box<dyn Stream>>;

async fn run(url: String, slot: Arc<Slot>) -> Ended {
    // Not before there is something to publish: who only connects looks like a camera that is there.
    if slot.awaits_nothing().await {
        return Ended::Done;
    }
    let mut socket = tokio::select! {
        connected = timeout(CONNECT_WITHIN, connect(&url)) => match connected {
            Ok(Ok(socket)) => socket,
            Ok(Err(ended)) => return ended,
            Err(_) => return Ended::Lost,
        },
        _ = slot.closing() => return Ended::Done,
    };
    let began = Instant::now();
    let mut heartbeat = interval_at(began + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = began;
    loop {
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
                if !sent(&mut socket, Message::text(HEARTBEAT)).await {
                    return last_word(&mut socket).await;
                }
            }
            next = slot.next() => match next {
                Next::Picture(picture) => {
                    if !sent(&mut socket, Message::Binary(picture)).await {
                        return last_word(&mut socket).await;
                    }
                }
                Next::Close(Closing::Abandon) => return Ended::Done,
                Next::Close(Closing::Finish) => return finish(&mut socket).await,
            },
        }
    }
}

/// Whether it went out in time.
async fn sent(socket: &mut Socket, message: Message) -> bool {
    matches!(timeout(WRITE_WITHIN, socket.send(message)).await, Ok(Ok(())))
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

async fn connect(url: &str) -> Result<Socket, Ended> {
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
        // Written at once, whatever it is.
        .write_buffer_size(0)
        .max_write_buffer_size(2 * CHUNK_BYTES_MAX);
    match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
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
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use tokio_tungstenite::accept_async;

    use super::*;

    /// Stands for a node.
    struct Node(TcpListener);

    type Publisher = WebSocketStream<TcpStream>;

    impl Node {
        async fn start() -> Self {
            Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
        }

        fn url(&self) -> String {
            format!("ws://{}/source-a/key/publish", self.0.local_addr().unwrap())
        }

        async fn publisher(&self) -> Publisher {
            accept_async(self.0.accept().await.unwrap().0).await.unwrap()
        }
    }

    fn start(url: String) -> (Pictures, JoinSet<Ended>) {
        let (pictures, run) = publish(url);
        let mut tasks = JoinSet::new();
        tasks.spawn(run);
        (pictures, tasks)
    }

    async fn ended(mut tasks: JoinSet<Ended>) -> Ended {
        tasks.join_next().await.unwrap().unwrap()
    }

    async fn chunk(publisher: &mut Publisher) -> Bytes {
        match publisher.next().await {
            Some(Ok(Message::Binary(chunk))) => chunk,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn pictures_are_chunks_as_they_are_and_the_end_is_told() {
        let node = Node::start().await;
        let (pictures, tasks) = start(node.url());
        assert_eq!(pictures.show(Bytes::from_static(b"one")), Shown::Kept);
        let mut publisher = node.publisher().await;
        assert_eq!(chunk(&mut publisher).await, "one");
        assert_eq!(pictures.show(Bytes::from(vec![7; 100_000])), Shown::Kept);
        assert_eq!(chunk(&mut publisher).await, vec![7; 100_000]);
        pictures.show(Bytes::from_static(b"last"));
        pictures.finish();
        assert_eq!(chunk(&mut publisher).await, "last");
        let goodbye = publisher.next().await.unwrap().unwrap();
        assert!(matches!(goodbye, Message::Close(Some(CloseFrame { code: CloseCode::Normal, .. }))));
        drop(publisher);
        assert_eq!(ended(tasks).await, Ended::Done);
    }

    #[tokio::test]
    async fn of_pictures_that_wait_the_newest_is_sent() {
        let node = Node::start().await;
        let (pictures, _tasks) = start(node.url());
        assert_eq!(pictures.show(Bytes::from_static(b"one")), Shown::Kept);
        assert_eq!(pictures.show(Bytes::from_static(b"two")), Shown::InsteadOfOlder);
        let mut publisher = node.publisher().await;
        assert_eq!(chunk(&mut publisher).await, "two");
    }

    #[tokio::test]
    async fn whoever_is_dropped_says_no_goodbye() {
        let node = Node::start().await;
        let (pictures, tasks) = start(node.url());
        pictures.show(Bytes::from_static(b"one"));
        let mut publisher = node.publisher().await;
        assert_eq!(chunk(&mut publisher).await, "one");
        drop(pictures);
        assert_eq!(ended(tasks).await, Ended::Done);
        assert!(!matches!(publisher.next().await, Some(Ok(_))));
    }

    #[tokio::test]
    async fn why_the_node_closes_is_told() {
        let node = Node::start().await;
        let (pictures, tasks) = start(node.url());
        pictures.show(Bytes::from_static(b"one"));
        let mut publisher = node.publisher().await;
        let busy = CloseFrame { code: 4409.into(), reason: "busy retry_after_ms=250".into() };
        publisher.close(Some(busy)).await.unwrap();
        let reason = "busy".to_owned();
        assert_eq!(ended(tasks).await, Ended::Refused { code: 4409, reason, retry_after_ms: Some(250) });
    }

    #[tokio::test]
    async fn where_nobody_is_there_it_is_lost() {
        let node = Node::start().await;
        let url = node.url();
        drop(node);
        let (pictures, tasks) = start(url);
        pictures.show(Bytes::from_static(b"one"));
        assert_eq!(ended(tasks).await, Ended::Lost);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_takes_nothing_is_given_up_and_nobody_waited_for_it() {
        let node = Node::start().await;
        let (pictures, tasks) = start(node.url());
        pictures.show(Bytes::from_static(b"one"));
        let publisher = node.publisher().await;
        let picture = Bytes::from(vec![0; 8 << 20]);
        let began = Instant::now();
        for _ in 0..100 {
            pictures.show(picture.clone());
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(ended(tasks).await, Ended::Lost);
        assert!(began.elapsed() >= WRITE_WITHIN);
        drop(publisher);
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_go_out_and_a_silent_node_is_given_up() {
        let node = Node::start().await;
        let (pictures, tasks) = start(node.url());
        pictures.show(Bytes::from_static(b"one"));
        let mut publisher = node.publisher().await;
        assert_eq!(chunk(&mut publisher).await, "one");
        let began = Instant::now();
        let mut heartbeats = 0;
        while let Some(Ok(message)) = publisher.next().await {
            assert_eq!(message, Message::text(HEARTBEAT));
            heartbeats += 1;
        }
        assert_eq!(heartbeats, 2);
        assert_eq!(ended(tasks).await, Ended::Lost);
        assert!(began.elapsed() >= IDLE_TIMEOUT);
    }
}
