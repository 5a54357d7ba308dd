//! Where webhooks end: an HTTP server that keeps what it took, and refuses as often as it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use relay_proto::event::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::seed::Seed;

/// Longer than any event.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// A sink. Dropping it ends the server.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
    _task: JoinSet<()>,
}

/// What came.
#[derive(Debug, Default, Clone)]
pub struct Taken {
    /// Events that were taken, in the order in which they were.
    pub events: Vec<Event>,
    /// Requests that were refused.
    pub refused: u64,
}

impl Sink {
    /// Starts one that refuses so many of a hundred requests.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start(refuses_percent: u8, seed: &mut Seed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken: Arc<Mutex<Taken>> = Arc::default();
        let (mut task, ours) = (JoinSet::new(), Arc::clone(&taken));
        let mut dice = fastrand::Rng::with_seed(seed.u64(..));
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let dice = fastrand::Rng::with_seed(dice.u64(..));
                connections.spawn(serve(stream, Arc::clone(&ours), refuses_percent, dice));
            }
        });
        Self { address, taken, _task: task }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// What came up to now.
    pub fn taken(&self) -> Taken {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One connection, request after request.
async fn serve(
    mut stream: TcpStream,
    taken: Arc<Mutex<Taken>>,
    refuses_percent: u8,
    mut dice: fastrand::Rng,
) {
    let mut buffer = Vec::new();
    loop {
        let Some(body) = request(&mut stream, &mut buffer).await else { return };
        let refuses = dice.u8(..100) < refuses_percent;
        {
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            if refuses {
                taken.refused += 1;
            } else {
                taken.events.push(serde_json::from_slice(&body).expect("a webhook's body is an event"));
            }
        }
        let status = if refuses { "500 Internal Server Error" } else { "204 No Content" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The body of the next request; `None` when the connection has ended.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        let head = buffer.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4);
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let length: usize = length.expect("a webhook tells the length of its body");
            if buffer.len() >= head + length {
                let body = buffer[head..head + length].to_vec();
                buffer.drain(..head + length);
                return Some(body);
            }
        }
        assert!(buffer.len() < REQUEST_BYTES_MAX, "a request without end");
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
