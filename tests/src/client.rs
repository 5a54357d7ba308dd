//! Websocket clients that do what the protocol says, and show what they got.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::HANG;

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A publisher that sends what it is told to.
#[derive(Debug)]
pub struct Publisher {
    socket: Socket,
    chunk: Chunk,
}

/// How far the chunk that is being sent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Whole,
    Begun,
}

impl Publisher {
    /// Connects to a URL that ends in `/publish`.
    pub async fn connect(url: &str) -> Self {
        Self { socket: connect(url).await, chunk: Chunk::Whole }
    }

    /// Sends a chunk, or the rest of one that was begun.
    pub async fn chunk(&mut self, rest: Bytes) {
        let message = match self.chunk {
            Chunk::Whole => Message::Binary(rest),
            Chunk::Begun => Message::Frame(Frame::message(rest, OpCode::Data(Data::Continue), true)),
        };
        self.chunk = Chunk::Whole;
        self.send(message).await;
    }

    /// Sends a part of a chunk, as a fragment of its message.
    pub async fn part(&mut self, part: Bytes) {
        let code = match self.chunk {
            Chunk::Whole => Data::Binary,
            Chunk::Begun => Data::Continue,
        };
        self.chunk = Chunk::Begun;
        self.send(Message::Frame(Frame::message(part, OpCode::Data(code), false))).await;
    }

    /// Ends the publication and waits for the node's answer.
    ///
    /// # Panics
    /// When the node hangs.
    pub async fn finish(mut self) {
        let answer = timeout(HANG, async {
            self.socket.close(None).await.unwrap();
            while let Some(Ok(_)) = self.socket.next().await {}
        });
        answer.await.expect("the node answers a close");
    }

    async fn send(&mut self, message: Message) {
        timeout(HANG, self.socket.send(message)).await.expect("the node takes chunks").unwrap();
    }
}

/// A receiver that takes everything as fast as it comes.
#[derive(Debug)]
pub struct Receiver {
    taken: watch::Receiver<usize>,
    leave: oneshot::Sender<()>,
    task: JoinSet<Received>,
}

/// What a receiver got.
#[derive(Debug, Default)]
pub struct Received {
    /// The chunks, joined.
    pub bytes: Vec<u8>,
    /// Every text that is no heartbeat, and how many bytes had come before it.
    pub texts: Vec<(usize, String)>,
    /// Code and reason; `None` when the connection was lost.
    pub close: Option<(u16, String)>,
}

impl Receiver {
    /// Connects to a URL that ends in `/receive` or the like.
    pub async fn connect(url: &str) -> Self {
        let mut socket = connect(url).await;
        let (progress, taken) = watch::channel(0);
        let (leave, mut left) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut received = Received::default();
            loop {
                let message = tokio::select! {
                    message = socket.next() => message,
                    Ok(()) = &mut left => return received,
                };
                match message {
                    Some(Ok(Message::Binary(chunk))) => {
                        received.bytes.extend_from_slice(&chunk);
                        progress.send_replace(received.bytes.len());
                    }
                    Some(Ok(Message::Text(text))) if text.as_str() != "h" => {
                        received.texts.push((received.bytes.len(), text.as_str().to_owned()));
                    }
                    Some(Ok(Message::Close(Some(frame)))) => {
                        received.close = Some((frame.code.into(), frame.reason.as_str().to_owned()));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return received,
                }
            }
        });
        Self { taken, leave, task }
    }

    /// Bytes that have come.
    pub fn taken(&self) -> usize {
        *self.taken.borrow()
    }

    /// Waits until this many bytes have come.
    ///
    /// # Panics
    /// When they do not.
    pub async fn until_taken(&self, bytes: usize) {
        let mut taken = self.taken.clone();
        let reached = timeout(HANG, taken.wait_for(|taken| *taken >= bytes)).await;
        if !matches!(reached, Ok(Ok(_))) {
            panic!("{bytes} bytes are expected, {} have come", self.taken());
        }
    }

    /// Breaks the connection, and tells what had come.
    ///
    /// # Panics
    /// When the session had ended otherwise and hangs.
    pub async fn leaves(mut self) -> Received {
        let _ = self.leave.send(());
        timeout(HANG, self.task.join_next()).await.expect("it ends").unwrap().unwrap()
    }

    /// Waits for the end of the session, whatever it is.
    ///
    /// # Panics
    /// When it hangs.
    pub async fn ended(mut self) -> Received {
        timeout(HANG, self.task.join_next()).await.expect("the session ends").unwrap().unwrap()
    }

    /// Waits for the end of the session, which must come in order because the publisher ended.
    ///
    /// # Panics
    /// When it ends otherwise, or hangs.
    pub async fn all(self) -> Received {
        let received = self.ended().await;
        assert_eq!(received.close, Some((1000, "publisher_ended".to_owned())), "{:?}", received.texts);
        received
    }
}

/// A receiver that shakes hands and takes nothing after that, until it is dropped.
#[derive(Debug)]
pub struct Frozen(#[expect(dead_code, reason = "to be held is all it is for")] Socket);

impl Frozen {
    /// Connects to a URL that ends in `/receive` or the like.
    pub async fn connect(url: &str) -> Self {
        Self(connect(url).await)
    }
}

pub(crate) async fn connect(url: &str) -> Socket {
    let connected = timeout(HANG, connect_async(url)).await.unwrap_or_else(|_| panic!("{url} hangs"));
    connected.unwrap_or_else(|error| panic!("{url}: {error}")).0
}
