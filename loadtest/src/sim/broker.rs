//! The connection of one device to the broker: MQTT 3.1.1, kept for ever, with its subscriptions made anew each time.

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// The largest packet that the protocol knows: whoever tests with large ones wants to see them arrive.
const PACKET_BYTES_MAX: usize = 268_435_455;

/// Messages of one device that wait to be sent: more than one picture in chunks. What is more is dropped, as devices do.
pub(crate) const REQUESTS_MAX: usize = 256;

/// Messages that came and were not looked at yet. What is more waits in the broker.
const UNHEARD_MAX: usize = 64;

/// How long until a lost connection is made again. Devices take seconds up to a minute; whoever waits for a simulated one
/// has not so much time.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What agents of Kerberos ask for; docks are not known to ask for less.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How long a broker may take to let a device in, in seconds. Thousands knock at once.
const CONNECT_SECONDS: u64 = 30;

/// Where the broker is, and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    host: String,
    port: u16,
    login: Option<(String, String)>,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, .. } = self;
        f.debug_struct("Address").field("host", host).field("port", port).finish_non_exhaustive()
    }
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let rest = url
            .strip_prefix("mqtt://")
            .or_else(|| url.strip_prefix("tcp://"))
            .ok_or("a URL such as mqtt://USER:PASSWORD@HOST:1883 is wanted; neither TLS nor websockets")?;
        let (login, place) =
            rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        let place = place.trim_end_matches('/');
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| "the port is no number up to 65535")?)
            }
            _ => (place, 1883),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("there is no host");
        }
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            (user.to_owned(), password.to_owned())
        });
        Ok(Self { host: host.to_owned(), port, login })
    }
}

/// How a device makes its connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client_id: String,
    /// Whether the broker forgets it when it leaves.
    pub(crate) clean: bool,
    pub(crate) filters: Vec<String>,
    /// How many messages may wait to be sent.
    pub(crate) requests: usize,
}

/// What comes from the broker.
#[derive(Debug)]
pub(crate) enum Heard {
    /// There is a connection, and the broker has taken the subscriptions.
    Connected,
    /// There is none any more, or none could be made.
    Lost(String),
    /// A message.
    Message { topic: String, payload: Bytes },
}

/// A connection. It ends when this is dropped, without farewell.
#[derive(Debug)]
pub(crate) struct Connection {
    client: AsyncClient,
    heard: mpsc::Receiver<Heard>,
    _driver: tokio::task::JoinSet<()>,
}

impl Connection {
    pub(crate) fn open(address: &Address, session: Session) -> Self {
        let mut options = MqttOptions::new(session.client_id, address.host.clone(), address.port);
        options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
        options.set_keep_alive(KEEP_ALIVE).set_clean_session(session.clean);
        if let Some((user, password)) = &address.login {
            options.set_credentials(user, password);
        }
        let (client, mut events) = AsyncClient::new(options, session.requests);
        events.network_options.set_connection_timeout(CONNECT_SECONDS);
        let (sender, heard) = mpsc::channel(UNHEARD_MAX);
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(drive(events, client.clone(), session.filters, sender));
        Self { client, heard, _driver: driver }
    }

    /// What comes next.
    pub(crate) async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            // The driver goes on as long as somebody hears it.
            None => std::future::pending().await,
        }
    }

    /// Hands a message over to be sent; whether there was room for it.
    pub(crate) fn publish(&self, topic: &str, qos: QoS, payload: impl Into<Vec<u8>>) -> bool {
        self.client.try_publish(topic, qos, false, payload).is_ok()
    }
}

/// Until nobody hears it.
async fn drive(mut events: EventLoop, client: AsyncClient, filters: Vec<String>, heard: mpsc::Sender<Heard>) {
    let mut unanswered = 0;
    loop {
        let heard_now = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                unanswered = filters.len();
                for filter in &filters {
                    // There is room: what waited for the old connection was dropped with it.
                    let _ = client.try_subscribe(filter, QoS::AtLeastOnce);
                }
                if filters.is_empty() { Heard::Connected } else { continue }
            }
            Ok(Event::Incoming(Packet::SubAck(_))) if unanswered > 0 => {
                unanswered -= 1;
                if unanswered > 0 {
                    continue;
                }
                Heard::Connected
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                Heard::Message { topic: publish.topic, payload: publish.payload }
            }
            Ok(_) => continue,
            Err(error) => {
                // What waited is stale by the time there is a connection again.
                events.clean();
                events.pending.clear();
                if heard.send(Heard::Lost(error.to_string())).await.is_err() {
                    return;
                }
                sleep(RETRY_AFTER).await;
                continue;
            }
        };
        if heard.send(heard_now).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_the_broker_and_perhaps_who_we_are() {
        let plain: Address = "mqtt://broker".parse().unwrap();
        assert_eq!(plain, Address { host: "broker".into(), port: 1883, login: None });
        let full: Address = "mqtt://ann:p:w@[::1]:99/".parse().unwrap();
        let login = Some(("ann".to_owned(), "p:w".to_owned()));
        assert_eq!(full, Address { host: "::1".into(), port: 99, login });
        for wrong in ["broker:1883", "mqtts://broker", "mqtt://:1883", "mqtt://broker:x", "mqtt://"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
        assert!(!format!("{full:?}").contains("p:w"));
    }
}
