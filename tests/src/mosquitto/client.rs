//! A client of a broker that waits for what it asks for.

use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Outgoing, Packet, QoS};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Login;
use crate::HANG;

/// The largest packet that the protocol knows.
const PACKET_BYTES_MAX: usize = 268_435_455;

/// More messages than a test leaves unread.
const UNREAD_MAX: usize = 16_384;

/// Requests that wait to be sent.
const REQUESTS_MAX: usize = 64;

/// A connection.
#[derive(Debug)]
pub struct Client {
    requests: AsyncClient,
    answers: mpsc::Receiver<Answer>,
    messages: mpsc::Receiver<Message>,
    _driver: JoinSet<()>,
}

/// What came to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: String,
    /// What it says.
    pub payload: Vec<u8>,
    /// Whether it was published before the subscription.
    pub retained: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Connected,
    Subscribed,
    Published,
    Left,
}

impl Client {
    /// Connects, and waits until the broker has let it in.
    ///
    /// # Panics
    /// When it does not.
    pub async fn connect(address: SocketAddr, login: Option<&Login>) -> Self {
        let id = format!("test-{:016x}", fastrand::u64(..));
        let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
        options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
        // Its broker may be stopped for a while.
        options.set_keep_alive(Duration::from_secs(600));
        if let Some(Login { user, password }) = login {
            options.set_credentials(user, password);
        }
        let (requests, events) = AsyncClient::new(options, REQUESTS_MAX);
        let (answered, answers) = mpsc::channel(UNREAD_MAX);
        let (came, messages) = mpsc::channel(UNREAD_MAX);
        let mut driver = JoinSet::new();
        driver.spawn(drive(events, answered, came));
        let mut client = Self { requests, answers, messages, _driver: driver };
        client.expect(&Answer::Connected).await;
        client
    }

    /// Subscribes with quality of service 2, so that nothing that is published is lost or comes twice, and waits until the
    /// broker has taken it.
    ///
    /// # Panics
    /// When it does not.
    pub async fn subscribe(&mut self, filter: &str) {
        self.requests.subscribe(filter, QoS::ExactlyOnce).await.unwrap();
        self.expect(&Answer::Subscribed).await;
    }

    /// Publishes, and waits until the broker has it.
    ///
    /// # Panics
    /// When it does not take it.
    pub async fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.send(topic, payload.into(), false).await;
    }

    /// Publishes a message that subscribers of later get too.
    ///
    /// # Panics
    /// When the broker does not take it.
    pub async fn retain(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.send(topic, payload.into(), true).await;
    }

    async fn send(&mut self, topic: &str, payload: Vec<u8>, retain: bool) {
        self.requests.publish(topic, QoS::AtLeastOnce, retain, payload).await.unwrap();
        self.expect(&Answer::Published).await;
    }

    /// The next message.
    ///
    /// # Panics
    /// When none comes, or the connection is lost.
    pub async fn next(&mut self) -> Message {
        let message = timeout(HANG, self.messages.recv()).await.expect("a message comes in time");
        message.expect("the broker keeps the connection")
    }

    /// The next message for which `find` finds something. Those before it are dropped.
    ///
    /// # Panics
    /// When none comes, or the connection is lost.
    pub async fn find<T>(&mut self, mut find: impl FnMut(&Message) -> Option<T>) -> T {
        loop {
            if let Some(found) = find(&self.next().await) {
                return found;
            }
        }
    }

    async fn expect(&mut self, expected: &Answer) {
        let answer = timeout(HANG, self.answers.recv()).await.expect("the broker answers in time");
        assert_eq!(answer.as_ref(), Some(expected), "the broker keeps the connection");
    }

    /// Says farewell, and waits until that has left.
    ///
    /// # Panics
    /// When there is no connection any more.
    pub async fn leave(mut self) {
        self.requests.disconnect().await.unwrap();
        self.expect(&Answer::Left).await;
    }
}

/// Until the connection is lost: a test that expects more finds that out.
async fn drive(mut events: EventLoop, answered: mpsc::Sender<Answer>, came: mpsc::Sender<Message>) {
    while let Ok(event) = events.poll().await {
        let answer = match event {
            Event::Incoming(Packet::ConnAck(_)) => Answer::Connected,
            Event::Incoming(Packet::SubAck(_)) => Answer::Subscribed,
            Event::Incoming(Packet::PubAck(_)) => Answer::Published,
            Event::Outgoing(Outgoing::Disconnect) => Answer::Left,
            Event::Incoming(Packet::Publish(publish)) => {
                let payload = publish.payload.to_vec();
                let message = Message { topic: publish.topic, payload, retained: publish.retain };
                if came.send(message).await.is_err() {
                    return;
                }
                continue;
            }
            _ => continue,
        };
        if answered.send(answer).await.is_err() {
            return;
        }
    }
}
