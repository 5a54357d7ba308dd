//! A node in this process on a free port, and clients that speak to it over real sockets.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

pub(crate) mod media;
pub(crate) mod raw;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use relay_cluster::Links;
use relay_edge::{Config, Edge};
use relay_lifecycle::drain::{self, Trigger};
use relay_lifecycle::readiness::Readiness;
use relay_proto::api;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Nothing that these tests wait for takes this long; what does hangs.
pub(crate) const HANG: Duration = Duration::from_secs(20);

/// A running node.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) rtmp: Option<SocketAddr>,
    pub(crate) rtmps: Option<SocketAddr>,
    pub(crate) trigger: Trigger,
    pub(crate) metrics: prometheus::Registry,
    pub(crate) readiness: Readiness,
    task: JoinHandle<()>,
}

impl Node {
    /// Starts a node with these settings, on a free port.
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_among(config, Links::alone()).await
    }

    /// The same, as one of several.
    pub(crate) async fn start_among(config: Config, links: Links) -> Self {
        let metrics = prometheus::Registry::new();
        let readiness = Readiness::new();
        let config = Config { listen: ([127, 0, 0, 1], 0).into(), ..config };
        let edge = Edge::bind(config, links, &metrics, &readiness).await.unwrap();
        let (address, rtmp, rtmps) = (edge.local_addr(), edge.rtmp_addr(), edge.rtmps_addr());
        let (trigger, drain) = drain::channel();
        #[expect(clippy::disallowed_methods, reason = "the test owns the task and awaits it")]
        let task = tokio::spawn(edge.run(drain));
        Self { address, rtmp, rtmps, trigger, metrics, readiness, task }
    }

    /// Connects to `/channel/key/kind`.
    pub(crate) async fn open(&self, path: &str) -> Client {
        Client::connect(self.address, path).await
    }

    /// Connects and publishes one chunk, so that the channel is surely live once this returns.
    pub(crate) async fn publish(&self, path: &str, first: &[u8]) -> Client {
        let before = self.metric("relaycast_chunks_received_total", &[]);
        let mut publisher = self.open(path).await;
        publisher.send(first).await;
        self.until("relaycast_chunks_received_total", |count| count > before).await;
        publisher
    }

    /// Connects a receiver or probe to a channel without a publisher, and returns when it waits there.
    pub(crate) async fn wait_for(&self, path: &str) -> Client {
        let opened =
            || self.metric("relaycast_sessions", &[]) + self.metric("relaycast_session_ends_total", &[]);
        let before = opened();
        let client = self.open(path).await;
        let waits = async {
            while opened() <= before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(HANG, waits).await.expect("the session begins in time");
        client
    }

    /// Waits until sessions of this kind have ended for this reason so many times.
    pub(crate) async fn until_ended(&self, kind: &str, reason: &str, times: u32) {
        self.until_labelled("relaycast_session_ends_total", &[kind, reason], |ended| {
            ended == f64::from(times)
        })
        .await;
    }

    /// Every metric as Prometheus reads it.
    pub(crate) fn metrics_text(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.metrics.gather()).unwrap()
    }

    /// What `GET /v1/channels` tells.
    pub(crate) async fn channels(&self) -> Vec<api::Channel> {
        let answer = self.connect().await.ask("GET /v1/channels HTTP/1.1\r\nHost: x\r\n").await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<api::Channels>(body).unwrap().channels
    }

    /// The numbers that `GET /v1/sessions` tells.
    pub(crate) async fn sessions(&self) -> Vec<relay_proto::SessionId> {
        let answer = self.connect().await.ask("GET /v1/sessions?channel=cam HTTP/1.1\r\nHost: x\r\n").await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let sessions = serde_json::from_str::<api::Sessions>(body).unwrap().sessions;
        assert!(sessions.iter().all(|session| session.channel.as_str() == "cam"), "{sessions:?}");
        sessions.into_iter().map(|session| session.session).collect()
    }

    /// What `GET /v1/channels` tells of the only channel.
    pub(crate) async fn channel(&self) -> api::Channel {
        let mut channels = self.channels().await;
        assert_eq!(channels.len(), 1, "{channels:?}");
        channels.remove(0)
    }

    /// Waits until the only channel is in this state.
    pub(crate) async fn until_state(&self, state: api::ChannelState) {
        let reached = timeout(HANG, async { while self.channel().await.state != state {} });
        assert!(reached.await.is_ok(), "{:?}", self.channel().await);
    }

    /// The sum of a metric over its labels that contain all of `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let families = self.metrics.gather();
        let family = families.iter().find(|family| family.name() == name).expect("the metric exists");
        family
            .get_metric()
            .iter()
            .filter(|metric| {
                labels.iter().all(|label| metric.get_label().iter().any(|pair| pair.value() == *label))
            })
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }

    /// Waits until a metric, summed over its labels, is as wanted.
    pub(crate) async fn until(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        self.until_labelled(name, &[], wanted).await;
    }

    /// The same, for some labels. Metrics are read in process, so this polls; each turn lets the node run.
    pub(crate) async fn until_labelled(&self, name: &str, labels: &[&str], wanted: impl Fn(f64) -> bool) {
        let reached = timeout(HANG, async {
            while !wanted(self.metric(name, labels)) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(reached.await.is_ok(), "{name} {labels:?} stays at {}", self.metric(name, labels));
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) fn kill(self) {
        self.task.abort();
    }

    /// Waits for the end of the node after a drain.
    pub(crate) async fn ended(self) {
        timeout(HANG, self.task).await.unwrap().unwrap();
    }
}

/// A websocket client.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What a client sees, heartbeats and pings left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Chunk(Vec<u8>),
    Text(String),
    Close(u16, String),
    /// The connection ended without a close frame.
    Lost,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, path: &str) -> Self {
        let (socket, _) =
            timeout(HANG, connect_async(format!("ws://{address}{path}"))).await.unwrap().unwrap();
        Self { socket }
    }

    pub(crate) async fn send(&mut self, chunk: &[u8]) {
        self.socket.send(Message::Binary(Bytes::copy_from_slice(chunk))).await.unwrap();
    }

    /// The same, where the node may have closed already.
    pub(crate) async fn try_send(
        &mut self,
        chunk: &[u8],
    ) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        self.socket.send(Message::Binary(Bytes::copy_from_slice(chunk))).await
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next thing that is neither heartbeat nor ping.
    pub(crate) async fn next(&mut self) -> Seen {
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
    pub(crate) async fn chunk(&mut self) -> Vec<u8> {
        match self.next().await {
            Seen::Chunk(chunk) => chunk,
            other => panic!("a chunk is expected, not {other:?}"),
        }
    }

    /// Everything up to the close frame: the chunks, the texts, and code and reason of the close.
    pub(crate) async fn rest(&mut self) -> Rest {
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
    pub(crate) async fn is_refused(&mut self, text: &str, code: u16) {
        let (chunks, texts, close) = self.rest().await;
        assert_eq!(chunks, Vec::<Vec<u8>>::new());
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].starts_with(text), "{texts:?}");
        assert_eq!(close.map(|(code, _)| code), Some(code));
    }

    /// Everything up to the end, read by a task of its own: pings are answered while the test does something else.
    pub(crate) fn stay(mut self) -> Staying {
        #[expect(clippy::disallowed_methods, reason = "aborted when the test drops it")]
        Staying(tokio::spawn(async move { self.rest().await }))
    }

    /// Sends a close frame with this code.
    pub(crate) async fn close_with(&mut self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        self.socket.close(Some(frame)).await.unwrap();
    }

    /// Closes cleanly and waits for the other side.
    pub(crate) async fn close(mut self) {
        self.socket.close(None).await.unwrap();
        while let Some(Ok(_)) = timeout(HANG, self.socket.next()).await.unwrap() {}
    }
}

/// What a client sees up to the end: the chunks, the texts, and code and reason of the close.
pub(crate) type Rest = (Vec<Vec<u8>>, Vec<String>, Option<(u16, String)>);

/// A client that is read by a task of its own. Dropping it drops the connection.
pub(crate) struct Staying(JoinHandle<Rest>);

impl Staying {
    /// What [`Client::rest`] tells, when it has ended.
    pub(crate) async fn ended(mut self) -> Rest {
        timeout(HANG, &mut self.0).await.expect("the session ends in time").unwrap()
    }

    /// Asserts that the session ended with this error and close code.
    pub(crate) async fn was_refused(self, text: &str, code: u16) {
        let (_, texts, close) = self.ended().await;
        assert!(texts.len() == 1 && texts[0].starts_with(text), "{texts:?}");
        assert_eq!(close.map(|(code, _)| code), Some(code));
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A publisher and a receiver that have nothing to do with what a test does to their node.
pub(crate) struct Bystanders {
    publisher: Client,
    receiver: Client,
    number: u32,
}

impl Bystanders {
    pub(crate) async fn on(node: &Node) -> Self {
        let publisher = node.publish("/bystanders/key/publish", b"first").await;
        let mut receiver = node.open("/bystanders/key/receive").await;
        assert_eq!(receiver.chunk().await, b"first");
        Self { publisher, receiver, number: 0 }
    }

    /// Asserts that what one of them sends reaches the other.
    pub(crate) async fn are_undisturbed(&mut self) {
        self.number += 1;
        let chunk = self.number.to_string();
        self.publisher.send(chunk.as_bytes()).await;
        assert_eq!(self.receiver.chunk().await, chunk.as_bytes());
    }
}

/// What this process holds in memory, node and clients together.
pub(crate) fn resident_bytes() -> usize {
    // In pages; the second number is the resident ones.
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
