//! The obvious design of a relay, to compare with: a broadcast channel per stream, and a task per receiver that waits
//! for it and sends each chunk.
//!
//! ```text
//! naive PORT
//!
//! ws://127.0.0.1:PORT/CHANNEL/KEY/publish    each binary message is published
//! ws://127.0.0.1:PORT/CHANNEL/KEY/receive    receives them
//! ```
//!
//! A receiver that falls behind misses chunks and goes on with the oldest that is still there.

use std::collections::HashMap;
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Sender, WeakSender};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

/// Chunks that wait for a receiver: 32 MiB of chunks of 8 KiB.
const LAG_CHUNKS_MAX: usize = 4096;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
type Socket = WebSocketStream<TcpStream>;

#[tokio::main]
async fn main() -> Result<()> {
    let port = std::env::args().nth(1).ok_or("usage: naive PORT")?.parse()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let streams = Arc::new(Streams::default());
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (tcp, _) = accepted?;
                sessions.spawn(serve(tcp, Arc::clone(&streams)));
            }
            // How a session ended is nobody's business here, only that it is forgotten.
            Some(_) = sessions.join_next() => {}
        }
    }
}

/// The streams that somebody publishes or receives.
#[derive(Debug, Default)]
struct Streams(Mutex<HashMap<String, WeakSender<Bytes>>>);

impl Streams {
    fn join(&self, name: &str) -> Sender<Bytes> {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chunks) = streams.get(name).and_then(WeakSender::upgrade) {
            return chunks;
        }
        streams.retain(|_, chunks| chunks.strong_count() > 0);
        let (chunks, _) = broadcast::channel(LAG_CHUNKS_MAX);
        streams.insert(name.to_owned(), chunks.downgrade());
        chunks
    }
}

enum Role {
    Publisher,
    Receiver,
}

/// Reads `/CHANNEL/KEY/KIND`.
fn parse(path: &str) -> Option<(String, Role)> {
    let mut parts = path.strip_prefix('/')?.split('/');
    let (channel, _key, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let role = match kind {
        "publish" => Role::Publisher,
        "receive" => Role::Receiver,
        _ => return None,
    };
    parts.next().is_none().then(|| (channel.to_owned(), role))
}

async fn serve(tcp: TcpStream, streams: Arc<Streams>) -> Result<()> {
    tcp.set_nodelay(true)?;
    let mut asked = None;
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let read_path = |request: &Request, response: Response| {
        asked = parse(request.uri().path());
        if asked.is_some() { Ok(response) } else { Err(not_found()) }
    };
    let socket = accept_hdr_async(tcp, read_path).await?;
    let (channel, role) = asked.ok_or("a handshake without a path")?;
    let chunks = streams.join(&channel);
    match role {
        Role::Publisher => publish(socket, &chunks).await,
        Role::Receiver => receive(socket, &chunks).await,
    }
}

fn not_found() -> ErrorResponse {
    let mut response = ErrorResponse::new(None);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

async fn publish(mut socket: Socket, chunks: &Sender<Bytes>) -> Result<()> {
    while let Some(message) = socket.next().await {
        if let Message::Binary(bytes) = message? {
            // An error means that nobody receives.
            let _ = chunks.send(bytes);
        }
    }
    Ok(())
}

async fn receive(mut socket: Socket, chunks: &Sender<Bytes>) -> Result<()> {
    let mut chunks = chunks.subscribe();
    loop {
        tokio::select! {
            chunk = chunks.recv() => match chunk {
                Ok(bytes) => socket.send(Message::Binary(bytes)).await?,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
            // Reading answers pings and notices the end.
            message = socket.next() => match message {
                Some(message) => drop(message?),
                None => return Ok(()),
            },
        }
    }
}
