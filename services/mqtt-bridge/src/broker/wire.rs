//! One shape for both versions of the protocol: a client that is asked, and what happens on its connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{NetworkOptions, TlsConfiguration, v5};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::address::{Address, Transport};
use super::{CONNECT_TIMEOUT, OUTGOING_BYTES_MAX, REQUESTS_MAX, Version};
use crate::driver::{Outgoing, Qos};

/// Messages that wait for their acknowledgement. What is sent after them waits until some of them have it.
const UNACKNOWLEDGED_MAX: u16 = 100;

/// What the crate tells to be the number of a message that has none, as it is not acknowledged.
const UNNUMBERED: u16 = 0;

/// Topic and properties of a packet that is sent, beside its payload: a topic has 64 KiB at most.
const HEADER_BYTES_MAX: usize = 65 << 10;

/// How connections are made.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) address: Address,
    pub(super) version: Version,
    /// Where the address needs it.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) client: String,
    pub(super) keep_alive: Duration,
    /// What the broker says when the connection ends without a farewell.
    pub(super) will: Outgoing,
}

/// Asks a connection for something, and never waits.
#[derive(Clone)]
pub(super) enum Client {
    V3(rumqttc::AsyncClient, Followers),
    V5(v5::AsyncClient),
}

/// A connection: drives it, and tells what happens.
pub(super) enum Events {
    V3(Box<rumqttc::EventLoop>, Followers),
    V5(Box<v5::EventLoop>),
}

/// Messages of quality of service 0 that go out right after the one that the crate was handed: it writes each by a call of its
/// own, and there may be one for each of thousands of cameras. Among themselves they keep their order. (The crate's version for MQTT 5
/// lets nobody write beside it.)
#[derive(Debug, Clone, Default)]
pub(super) struct Followers(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    /// Whether the one that they follow is on its way.
    is_led: bool,
    messages: Vec<rumqttc::Publish>,
}

/// What happens on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The broker has let us in.
    Accepted,
    /// A request to subscribe has left, under this number.
    SubscribeSent(u16),
    /// The answer to the request of this number: for each filter, whether it was granted.
    Subscribed(u16, Vec<bool>),
    Message(String, Bytes),
    /// A message whose topic cannot be read.
    Unreadable,
    /// The farewell has left.
    Left,
    /// Nothing that anybody needs to know.
    Nothing,
}

/// Why a connection ended, or did not begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A packet of so many bytes came, which is more than was agreed to.
    TooLarge(usize),
    Other(String),
}

impl Plan {
    /// A connection that is to be made by [`Events::next`], and takes packets of so many bytes.
    pub(super) fn open(&self, packet_bytes_max: usize) -> (Client, Events) {
        match self.version {
            Version::V3_1_1 => self.open_v3(packet_bytes_max),
            Version::V5 => self.open_v5(packet_bytes_max),
        }
    }

    fn open_v3(&self, packet_bytes_max: usize) -> (Client, Events) {
        let mut options = rumqttc::MqttOptions::new(&self.client, self.target(), self.address.port);
        options
            .set_transport(self.transport())
            .set_keep_alive(self.keep_alive)
            .set_clean_session(true)
            .set_inflight(UNACKNOWLEDGED_MAX)
            .set_max_packet_size(packet_bytes_max, OUTGOING_BYTES_MAX + HEADER_BYTES_MAX);
        let Outgoing { topic, qos, payload } = self.will.clone();
        options.set_last_will(rumqttc::LastWill::new(topic, payload, qos.into(), false));
        if let Some(login) = &self.address.login {
            options.set_credentials(&login.user, &login.password);
        }
        let (client, mut events) = rumqttc::AsyncClient::new(options, REQUESTS_MAX);
        events.set_network_options(network());
        let followers = Followers::default();
        (Client::V3(client, followers.clone()), Events::V3(Box::new(events), followers))
    }

    fn open_v5(&self, packet_bytes_max: usize) -> (Client, Events) {
        let mut options = v5::MqttOptions::new(&self.client, self.target(), self.address.port);
        options
            .set_transport(self.transport())
            .set_keep_alive(self.keep_alive)
            .set_clean_start(true)
            .set_connection_timeout(CONNECT_TIMEOUT.as_secs())
            .set_outgoing_inflight_upper_limit(UNACKNOWLEDGED_MAX)
            .set_max_packet_size(Some(u32::try_from(packet_bytes_max).unwrap_or(u32::MAX)))
            .set_network_options(network());
        let Outgoing { topic, qos, payload } = self.will.clone();
        options.set_last_will(v5::mqttbytes::v5::LastWill::new(topic, payload, qos.into(), false, None));
        if let Some(login) = &self.address.login {
            options.set_credentials(&login.user, &login.password);
        }
        let (client, events) = v5::AsyncClient::new(options, REQUESTS_MAX);
        (Client::V5(client), Events::V5(Box::new(events)))
    }

    /// What the crate takes for the host: of websockets, the whole URL.
    fn target(&self) -> String {
        self.address.websocket_url().unwrap_or_else(|| self.address.host.clone())
    }

    fn transport(&self) -> rumqttc::Transport {
        let tls =
            || TlsConfiguration::Rustls(Arc::clone(self.tls.as_ref().expect("made for an address with TLS")));
        match self.address.transport {
            Transport::Tcp => rumqttc::Transport::Tcp,
            Transport::Tls => rumqttc::Transport::Tls(tls()),
            Transport::Websocket(_) => rumqttc::Transport::Ws,
            Transport::TlsWebsocket(_) => rumqttc::Transport::Wss(tls()),
        }
    }
}

fn network() -> NetworkOptions {
    let mut options = NetworkOptions::new();
    options.set_tcp_nodelay(true);
    options.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
    options
}

impl Client {
    /// Whether there was room for it.
    pub(super) fn publish(&self, Outgoing { topic, qos, payload }: Outgoing) -> bool {
        match self {
            Self::V3(client, followers) if qos == Qos::AtMostOnce => {
                followers.publish(client, rumqttc::Publish::new(topic, qos.into(), payload))
            }
            Self::V3(client, _) => client.try_publish(topic, qos.into(), false, payload).is_ok(),
            Self::V5(client) => client.try_publish(topic, qos.into(), false, payload).is_ok(),
        }
    }

    /// Whether there was room for it.
    pub(super) fn subscribe(&self, filters: &[String]) -> bool {
        match self {
            Self::V3(client, _) => {
                let qos = rumqttc::QoS::AtLeastOnce;
                let filters = filters.iter().map(|filter| rumqttc::SubscribeFilter::new(filter.clone(), qos));
                client.try_subscribe_many(filters).is_ok()
            }
            Self::V5(client) => {
                let qos = v5::mqttbytes::QoS::AtLeastOnce;
                let filters =
                    filters.iter().map(|filter| v5::mqttbytes::v5::Filter::new(filter.clone(), qos));
                client.try_subscribe_many(filters).is_ok()
            }
        }
    }

    /// Says farewell after all that was published. Whether there was room for it.
    pub(super) fn leave(&self) -> bool {
        match self {
            Self::V3(client, _) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        }
    }
}

impl Events {
    /// Drives the connection until something happens. Not cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Event, Failure> {
        match self {
            Self::V3(events, followers) => {
                let event = events.poll().await.map_err(failure_v3)?;
                if event == rumqttc::Event::Outgoing(rumqttc::Outgoing::Publish(UNNUMBERED)) {
                    followers.follow(events).await?;
                }
                Ok(event_v3(event))
            }
            Self::V5(events) => events.poll().await.map(event_v5).map_err(failure_v5),
        }
    }
}

impl Followers {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first is the crate's, which wakes the connection; those that come before it has left follow it. Whether there was
    /// room for it.
    fn publish(&self, client: &rumqttc::AsyncClient, message: rumqttc::Publish) -> bool {
        let mut queue = self.lock();
        if !queue.is_led {
            queue.is_led = client.try_publish(message.topic, message.qos, false, message.payload).is_ok();
            return queue.is_led;
        }
        let has_room = queue.messages.len() < REQUESTS_MAX;
        if has_room {
            queue.messages.push(message);
        }
        has_room
    }

    /// The first has left: so do the others.
    async fn follow(&self, events: &mut rumqttc::EventLoop) -> Result<(), Failure> {
        let Queue { messages, .. } = std::mem::take(&mut *self.lock());
        let Some(network) = events.network.as_mut().filter(|_| !messages.is_empty()) else { return Ok(()) };
        for message in messages {
            in_time(network.write(rumqttc::Packet::Publish(message))).await?;
        }
        in_time(network.flush()).await
    }
}

async fn in_time(write: impl Future<Output = Result<(), rumqttc::StateError>>) -> Result<(), Failure> {
    let written = timeout(CONNECT_TIMEOUT, write).await;
    written.map_err(|_| Failure::Other(TOO_SLOW.to_owned()))?.map_err(|error| failure_v3(error.into()))
}

fn event_v3(event: rumqttc::Event) -> Event {
    use rumqttc::{Packet, SubscribeReasonCode};

    match event {
        rumqttc::Event::Incoming(Packet::ConnAck(_)) => Event::Accepted,
        rumqttc::Event::Incoming(Packet::SubAck(answer)) => {
            let granted = answer.return_codes.iter().map(|code| *code != SubscribeReasonCode::Failure);
            Event::Subscribed(answer.pkid, granted.collect())
        }
        rumqttc::Event::Incoming(Packet::Publish(publish)) => Event::Message(publish.topic, publish.payload),
        rumqttc::Event::Outgoing(outgoing) => sent(&outgoing),
        rumqttc::Event::Incoming(_) => Event::Nothing,
    }
}

fn event_v5(event: v5::Event) -> Event {
    use v5::mqttbytes::v5::{Packet, SubscribeReasonCode};

    match event {
        v5::Event::Incoming(Packet::ConnAck(_)) => Event::Accepted,
        v5::Event::Incoming(Packet::SubAck(answer)) => {
            let granted =
                answer.return_codes.iter().map(|code| matches!(code, SubscribeReasonCode::Success(_)));
            Event::Subscribed(answer.pkid, granted.collect())
        }
        v5::Event::Incoming(Packet::Publish(publish)) => match String::from_utf8(publish.topic.into()) {
            Ok(topic) => Event::Message(topic, publish.payload),
            Err(_) => Event::Unreadable,
        },
        v5::Event::Outgoing(outgoing) => sent(&outgoing),
        v5::Event::Incoming(_) => Event::Nothing,
    }
}

fn sent(outgoing: &rumqttc::Outgoing) -> Event {
    match outgoing {
        rumqttc::Outgoing::Subscribe(number) => Event::SubscribeSent(*number),
        rumqttc::Outgoing::Disconnect => Event::Left,
        _ => Event::Nothing,
    }
}

fn failure_v3(error: rumqttc::ConnectionError) -> Failure {
    use rumqttc::{ConnectReturnCode as Code, ConnectionError as Error, StateError, mqttbytes};

    Failure::Other(match error {
        Error::MqttState(StateError::Deserialization(mqttbytes::Error::PayloadSizeLimitExceeded(bytes))) => {
            return Failure::TooLarge(bytes);
        }
        Error::MqttState(StateError::AwaitPingResp) => NO_ANSWER.to_owned(),
        Error::MqttState(StateError::ConnectionAborted) => CLOSED.to_owned(),
        // It prints the packet, which may have anything.
        Error::NotConnAck(_) => NOT_MQTT.to_owned(),
        Error::NetworkTimeout => TOO_SLOW.to_owned(),
        Error::ConnectionRefused(code) => refused(match code {
            Code::BadUserNamePassword => "bad user name or password",
            Code::NotAuthorized => {
                "not authorised: user name or password are missing or wrong, or may not connect"
            }
            Code::BadClientId => "bad client id",
            Code::ServiceUnavailable => "service unavailable",
            Code::RefusedProtocolVersion => WRONG_VERSION,
            Code::Success => "no reason given",
        }),
        other => other.to_string(),
    })
}

fn failure_v5(error: v5::ConnectionError) -> Failure {
    use v5::mqttbytes::v5::ConnectReturnCode as Code;
    use v5::{ConnectionError as Error, StateError, mqttbytes};

    Failure::Other(match error {
        Error::MqttState(StateError::Deserialization(mqttbytes::Error::PayloadSizeLimitExceeded {
            pkt_size,
            ..
        })) => return Failure::TooLarge(pkt_size),
        Error::MqttState(StateError::IncomingPacketTooLarge { pkt_size, .. }) => {
            return Failure::TooLarge(pkt_size);
        }
        Error::MqttState(StateError::AwaitPingResp) => NO_ANSWER.to_owned(),
        Error::MqttState(StateError::ConnectionAborted) => CLOSED.to_owned(),
        // The code alone: the text is the broker's, and may have anything.
        Error::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            format!("the broker ended the connection: {reason_code:?}")
        }
        Error::NotConnAck(_) => NOT_MQTT.to_owned(),
        Error::Timeout(_) => TOO_SLOW.to_owned(),
        Error::ConnectionRefused(code) => refused(match code {
            Code::BadUserNamePassword => "bad user name or password",
            Code::NotAuthorized => {
                "not authorised: user name or password are missing or wrong, or may not connect"
            }
            Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => WRONG_VERSION,
            code => return Failure::Other(format!("the broker refused: {code:?}")),
        }),
        other => other.to_string(),
    })
}

const NO_ANSWER: &str = "the broker does not answer any more";
const CLOSED: &str = "the broker closed the connection";
const NOT_MQTT: &str = "the broker answered with something else than it has to";
const WRONG_VERSION: &str = "it does not speak this version of the protocol";
pub(super) const TOO_SLOW: &str = "the broker did not answer in time";

fn refused(why: &str) -> String {
    format!("the broker refused: {why}")
}

impl From<Qos> for rumqttc::QoS {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce,
            Qos::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl From<Qos> for v5::mqttbytes::QoS {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce,
            Qos::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}
