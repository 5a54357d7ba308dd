//! A node in this process on a free port, and clients that speak to it over real sockets.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use relay_edge::{Config, Edge};
use relay_lifecycle::drain::{self, Trigger};
use relay_lifecycle::readiness::Readiness;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Nothing that these tests wait for takes this long; what does hangs.
pub const HANG: Duration = Duration::from_secs(20);

/// A running node.
pub struct Node {
    pub address: SocketAddr,
    pub trigger: Trigger,
    pub metrics: prometheus::Registry,
    pub readiness: Readiness,
    task: JoinHandle<()>,
}

impl Node {
    /// Starts a node with these settings, on a free port.
    pub async fn start(config: Config) -> Self {
        let metrics = prometheus::Registry::new();
        let readiness = Readiness::new();
        let config = Config { listen: ([127, 0, 0, 1], 0).into(), ..config };
        let edge = Edge::bind(config, &metrics, &readiness).await.unwrap();
        let address = edge.local_addr();
        let (trigger, drain) = drain::channel();
        #[expect(clippy::disallowed_methods, reason = "the test owns the task and awaits it")]
        let task = tokio::spawn(edge.run(drain));
        Self { address, trigger, metrics, readiness, task }
    }

    /// Connects to `/channel/key/kind`.
    pub async fn open(&self, path: &str) -> Client {
        let (socket, _) =
            timeout(HANG, connect_async(format!("ws://{}{path}", self.address))).await.unwrap().unwrap();
        Client { socket }
    }

    /// Connects and publishes one chunk, so that the channel is surely live once this returns.
    pub async fn publish(&self, path: &str, first: &[u8]) -> Client {
        let mut publisher = self.open(path).await;
        publisher.send(first).await;
        self.until("relaycast_chunks_received_total", |count| count >= 1.0).await;
        publisher
    }

    /// The sum of a metric over its labels that contain all of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let families = self.metrics.gather();
        let family = families.iter().find(|family| family.get_name() == name).expect("the metric exists");
        family
            .get_metric()
            .iter()
            .filter(|metric| {
                labels.iter().all(|label| metric.get_label().iter().any(|pair| pair.get_value() == *label))
            })
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }

    /// Waits until a metric, summed over its labels, is as wanted.
    pub async fn until(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        self.until_labelled(name, &[], wanted).await;
    }

    /// The same, for some labels. Metrics are read in process, so this polls; each turn lets the node run.
    pub async fn until_labelled(&self, name: &str, labels: &[&str], wanted: impl Fn(f64) -> bool) {
        let reached = timeout(HANG, async {
            while !wanted(self.metric(name, labels)) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(reached.await.is_ok(), "{name} {labels:?} stays at {}", self.metric(name, labels));
    }

    /// Waits for the end of the node after a drain.
    pub async fn ended(self) {
        timeout(HANG, self.task).await.unwrap().unwrap();
    }
}

/// A websocket client.
pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What a client sees, heartbeats and pings left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Chunk(Vec<u8>),
    Text(String),
    Close(u16, String),
    /// The connection ended without a close frame.
    Lost,
}

impl Client {
    pub async fn send(&mut self, chunk: &[u8]) {
        self.socket.send(Message::Binary(Bytes::copy_from_slice(chunk))).await.unwrap();
    }

    pub async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next thing that is neither heartbeat nor ping.
    pub async fn next(&mut self) -> Seen {
        timeout(HANG, async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Binary(chunk))) => return Seen::Chunk(chunk.to_vec()),
                    Some(Ok(Message::Text(text))) if text.as_str() == "h" => {}
                    Some(Ok(Message::Text(text))) => return Seen::Text(text.as_str().to_owned()),
                    Some(Ok(Message::Close(Some(frame)))) => {
                        return Seen::Close(frame.code.into(), frame.reason.as_str().to_owned());
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Seen::Lost,
                }
            }
        })
        .await
        .expect("something is seen in time")
    }

    /// The next chunk.
    pub async fn chunk(&mut self) -> Vec<u8> {
        match self.next().await {
            Seen::Chunk(chunk) => chunk,
            other => panic!("a chunk is expected, not {other:?}"),
        }
    }

    /// Everything up to the close frame: the chunks, the texts, and code and reason of the close.
    pub async fn rest(&mut self) -> (Vec<Vec<u8>>, Vec<String>, Option<(u16, String)>) {
        let (mut chunks, mut texts) = (vec![], vec![]);
        loop {
            match self.next().await {
                Seen::Chunk(chunk) => chunks.push(chunk),
                Seen::Text(text) => texts.push(text),
                Seen::Close(code, reason) => return (chunks, texts, Some((code, reason))),
                Seen::Lost => return (chunks, texts, None),
            }
        }
    }

    /// Asserts that the session ends with this error and close code, without a single chunk.
    pub async fn is_refused(&mut self, text: &str, code: u16) {
        let (chunks, texts, close) = self.rest().await;
        assert_eq!(chunks, Vec::<Vec<u8>>::new());
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].starts_with(text), "{texts:?}");
        assert_eq!(close.map(|(code, _)| code), Some(code));
    }

    /// Closes cleanly and waits for the other side.
    pub async fn close(mut self) {
        self.socket.close(None).await.unwrap();
        while let Some(Ok(_)) = timeout(HANG, self.socket.next()).await.unwrap() {}
    }
}
