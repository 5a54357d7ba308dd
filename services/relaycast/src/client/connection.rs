//! One websocket to a node, from the client's side.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use relay_proto::websocket::{HEARTBEAT, IDLE_TIMEOUT, Kind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::address::Address;
use super::verdict::Ended;

/// Resolving, connecting and the handshake together. A node answers a handshake in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the other side has to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the other side has to notice that we hung up.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// Largest message a client takes. Larger than any node's default, because it is the publisher who decides and a
/// receiver that refuses what was relayed helps nobody; bounded all the same.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// Why there is no connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ConnectError {
    /// Nobody answered, or not in time.
    Unreachable(String),
    /// Something answered and does not take us now.
    Later { what: String, hint: Option<Duration> },
    /// What answered is no relay, or refuses for good.
    Refused(String),
}

/// Half of a connection that sends.
#[derive(Debug)]
pub(crate) struct Writer(SplitSink<WebSocketStream<TcpStream>, Message>);

/// Half of a connection that receives. It must be polled for pings to be answered.
#[derive(Debug)]
pub(crate) struct Reader {
    source: SplitStream<WebSocketStream<TcpStream>>,
    heard: Instant,
    ended: Ended,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Incoming {
    Chunk(Bytes),
    /// Neither a heartbeat nor an error.
    Text(String),
    Ended(Ended),
}

/// Connects and shakes hands.
pub(crate) async fn connect(
    address: &Address,
    kind: Kind,
    query: &str,
) -> Result<(Writer, Reader), ConnectError> {
    let attempt = async {
        let stream = TcpStream::connect(address.host_port())
            .await
            .map_err(|error| ConnectError::Unreachable(format!("{address}: {}", plain(&error))))?;
        // Chunks are written whole; waiting for more would only delay them. Without it they merely come later.
        let _ = stream.set_nodelay(true);
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let url = address.expose(kind, query);
        tokio_tungstenite::client_async_with_config(url, stream, Some(config))
            .await
            .map_err(|error| refused(address, error))
    };
    match timeout(CONNECT_TIMEOUT, attempt).await {
        Ok(Ok((socket, _))) => {
            let (sink, source) = socket.split();
            let reader = Reader { source, heard: Instant::now(), ended: Ended::default() };
            Ok((Writer(sink), reader))
        }
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let what = format!("{address}: no answer within {} s", CONNECT_TIMEOUT.as_secs());
            Err(ConnectError::Unreachable(what))
        }
    }
}

/// An error of the system without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text[..1].to_lowercase() + &text[1..]
}

fn refused(address: &Address, error: tungstenite::Error) -> ConnectError {
    match error {
        tungstenite::Error::Http(response) => {
            let status = response.status();
            let hint =
                response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            let what = format!("{address}: the server answered {status}");
            match status.as_u16() {
                429 | 500..=599 => ConnectError::Later { what, hint: hint.map(Duration::from_secs) },
                _ => ConnectError::Refused(format!("{what}: is this a relay?")),
            }
        }
        tungstenite::Error::Io(error) => ConnectError::Unreachable(format!("{address}: {}", plain(&error))),
        error => ConnectError::Refused(format!("{address}: no websocket: {error}")),
    }
}

impl Writer {
    /// Sends a chunk and waits until the system has taken it: this is where back-pressure comes from.
    pub(crate) async fn chunk(&mut self, chunk: Bytes) -> Result<(), Ended> {
        self.send(Message::Binary(chunk)).await
    }

    pub(crate) async fn heartbeat(&mut self) -> Result<(), Ended> {
        self.send(Message::text(HEARTBEAT)).await
    }

    /// Says goodbye and waits for the answer. A connection that is gone already is closed too.
    pub(crate) async fn close(mut self, mut reader: Reader) -> Ended {
        let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let handshake = async {
            let _ = self.0.send(Message::Close(Some(goodbye))).await;
            reader.ended().await
        };
        match timeout(CLOSE_TIMEOUT, handshake).await {
            Ok(ended) => ended,
            Err(_) => Ended::lost(format!("no goodbye within {} s", CLOSE_TIMEOUT.as_secs())),
        }
    }

    /// Ends the connection without a goodbye, and waits until the other side has noticed. What was sent still arrives.
    pub(crate) async fn hang_up(self, reader: Reader) {
        // Both halves are of one connection, so they fit.
        let Ok(socket) = self.0.reunite(reader.source) else { return };
        let mut stream = socket.into_inner();
        let noticed = async {
            stream.shutdown().await?;
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
        };
        // Whoever does not notice in time is left alone: what comes next copes with that.
        let _ = timeout(HANG_UP_TIMEOUT, noticed).await;
    }

    async fn send(&mut self, message: Message) -> Result<(), Ended> {
        self.0.send(message).await.map_err(|error| Ended::lost(socket_error(&error)))
    }
}

impl Reader {
    /// The next thing that matters. May be dropped and called again at any time.
    pub(crate) async fn next(&mut self) -> Incoming {
        loop {
            let message = match timeout_at(self.heard + IDLE_TIMEOUT, self.source.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return self.lost(socket_error(&error)),
                Ok(None) => return self.lost("connection lost".to_owned()),
                Err(_) => {
                    return self
                        .lost(format!("nothing heard from the server for {} s", IDLE_TIMEOUT.as_secs()));
                }
            };
            self.heard = Instant::now();
            match message {
                Message::Binary(chunk) => return Incoming::Chunk(chunk),
                Message::Text(text) if text.as_str() == HEARTBEAT => {}
                Message::Text(text) => {
                    self.ended.take_error(&text);
                    if self.ended.error.is_none() {
                        return Incoming::Text(text.as_str().to_owned());
                    }
                }
                Message::Close(frame) => {
                    if let Some(frame) = frame {
                        self.ended.code = Some(frame.code.into());
                        self.ended.reason = frame.reason.as_str().to_owned();
                    }
                    // Reading on is what sends our answer.
                    let _ = timeout(CLOSE_TIMEOUT, self.source.next()).await;
                    return Incoming::Ended(std::mem::take(&mut self.ended));
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Waits for the end, passing over everything else.
    pub(crate) async fn ended(&mut self) -> Ended {
        loop {
            if let Incoming::Ended(ended) = self.next().await {
                return ended;
            }
        }
    }

    fn lost(&mut self, why: String) -> Incoming {
        let mut ended = std::mem::take(&mut self.ended);
        ended.socket = Some(why);
        Incoming::Ended(ended)
    }
}

fn socket_error(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Io(error) => format!("connection lost: {}", plain(error)),
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            "connection lost".to_owned()
        }
        tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            "connection lost: the server vanished".to_owned()
        }
        error => format!("connection lost: {error}"),
    }
}
