//! A publisher by RTMP over a socket.

use relay_edge::Config;
use relay_rtmp::client::{Client, Event, Publish};
use relay_rtmp::{Media, MediaKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{HANG, Node};

/// A node that takes RTMP.
pub(crate) async fn start(config: Config) -> Node {
    Node::start(Config { rtmp_listen: Some(([127, 0, 0, 1], 0).into()), ..config }).await
}

pub(crate) struct Pusher {
    stream: TcpStream,
    /// Read and not taken.
    ahead: Vec<u8>,
    pub(crate) client: Client,
}

impl Pusher {
    /// Connects, and says what it wants to publish.
    pub(crate) async fn connect(node: &Node, name: &str) -> Self {
        Self::connect_to(node, "live", name, true).await
    }

    pub(crate) async fn connect_to(node: &Node, app: &str, name: &str, answers_pings: bool) -> Self {
        let stream = TcpStream::connect(node.rtmp.unwrap()).await.unwrap();
        let publish = Publish { app: app.to_owned(), name: name.to_owned(), answers_pings };
        Self { stream, ahead: Vec::new(), client: Client::new(publish, 7) }
    }

    /// The same, up to the word that it may begin.
    pub(crate) async fn start(node: &Node, name: &str) -> Self {
        let mut pusher = Self::connect(node, name).await;
        assert_eq!(pusher.next().await, Some(Event::Started));
        pusher
    }

    /// Sends what is to be sent, and waits for the next thing the node says; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        timeout(HANG, async {
            loop {
                let mut input = &self.ahead[..];
                let event = self.client.take(&mut input).unwrap();
                self.ahead = input.to_vec();
                self.flush().await;
                if event.is_some() {
                    return event;
                }
                if let Ok(0) | Err(_) = self.stream.read_buf(&mut self.ahead).await {
                    return None;
                }
            }
        })
        .await
        .expect("something is said in time")
    }

    /// Why it is refused, or ended.
    pub(crate) async fn refusal(&mut self) -> (String, String) {
        loop {
            match self.next().await {
                Some(Event::Refused { code, why }) => return (code, why),
                Some(Event::Pinged) => {}
                other => panic!("a refusal is expected, not {other:?}"),
            }
        }
    }

    pub(crate) async fn flush(&mut self) {
        let bytes = std::mem::take(self.client.output());
        // A node that has closed says why in what it sent before.
        let _ = self.stream.write_all(&bytes).await;
    }

    pub(crate) async fn send(&mut self, kind: MediaKind, time_ms: u32, body: &[u8]) {
        self.client.send_media(Media { kind, time_ms, body: body.to_vec() });
        self.flush().await;
    }

    /// A picture that is none.
    pub(crate) async fn picture(&mut self, time_ms: u32, text: &str) {
        self.send(MediaKind::Video, time_ms, &[&[0x12], text.as_bytes()].concat()).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Ends the stream as encoders do, and waits for the node to take note.
    pub(crate) async fn end(mut self) {
        self.client.end();
        assert_eq!(self.next().await, Some(Event::Ended));
    }
}
