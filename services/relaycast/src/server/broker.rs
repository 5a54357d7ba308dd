//! The MQTT broker inside of `standalone`, for devices and programs on a laptop. It asks nobody who they are, so it listens on this
//! machine alone unless somebody says otherwise.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::ports::{Otherwise, free};

/// The largest payload: as much as the bridge takes, which is more than any camera sends.
const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// Clients at a time: what a laptop is for.
const CONNECTIONS_MAX: usize = 1024;

/// Messages that a client has not acknowledged.
const INFLIGHT_MAX: usize = 100;

/// How long a client may take to say who it is.
const CONNECT_WITHIN_MS: u16 = 5_000;

/// Packets that are handed to a client at a time.
const OUTGOING_MAX: u64 = 200;

/// What is kept of a topic for those who read slowly, in bytes of each part, and parts. Whoever falls further behind loses messages.
const SEGMENT_BYTES: usize = 8 << 20;
const SEGMENTS: usize = 2;

/// How long the broker may take to listen: it does so in a thread of its own, and says nothing.
const LISTENS_WITHIN: Duration = Duration::from_secs(5);

/// How often it is looked at whether it does.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Starts a broker, whose threads end with the process, and waits until it listens.
pub(super) async fn start(listen: SocketAddr, otherwise: Otherwise) -> io::Result<SocketAddr> {
    // The broker takes it by itself, and would only log that it cannot.
    let listen = free(listen, otherwise)?;
    let connections = rumqttd::ConnectionSettings {
        connection_timeout_ms: CONNECT_WITHIN_MS,
        max_payload_size: PAYLOAD_BYTES_MAX,
        max_inflight_count: INFLIGHT_MAX,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = rumqttd::ServerSettings {
        name: "mqtt".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = rumqttd::RouterConfig {
        max_connections: CONNECTIONS_MAX,
        max_outgoing_packet_count: OUTGOING_MAX,
        max_segment_size: SEGMENT_BYTES,
        max_segment_count: SEGMENTS,
        ..rumqttd::RouterConfig::default()
    };
    let config = rumqttd::Config {
        router,
        v4: Some(HashMap::from([("mqtt".to_owned(), server)])),
        ..rumqttd::Config::default()
    };
    std::thread::Builder::new().name("mqtt-broker".to_owned()).spawn(move || {
        // Ends with the process, or says why not by not listening.
        let _ = rumqttd::Broker::new(config).start();
    })?;
    let until = Instant::now() + LISTENS_WITHIN;
    loop {
        match TcpStream::connect(listen).await {
            Ok(_) => return Ok(listen),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => sleep(LOOK_INTERVAL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
    use tokio::task::JoinSet;

    use super::*;

    fn anywhere() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn what_is_published_comes_to_who_is_subscribed() {
        let address = start(anywhere(), Otherwise::Fail).await.unwrap();
        let client = |name: &str| {
            let mut options = MqttOptions::new(name, address.ip().to_string(), address.port());
            options.set_max_packet_size(1 << 20, 1 << 20);
            AsyncClient::new(options, 10)
        };
        let (subscriber, mut inbox) = client("a");
        subscriber.subscribe("cameras/+", QoS::AtLeastOnce).await.unwrap();
        while !matches!(inbox.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
        let (publisher, mut outbox) = client("b");
        let picture = vec![7; 100_000];
        publisher.publish("cameras/cam1", QoS::AtMostOnce, false, picture.clone()).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { while outbox.poll().await.is_ok() {} });
        let message = loop {
            if let Event::Incoming(Packet::Publish(message)) = inbox.poll().await.unwrap() {
                break message;
            }
        };
        assert_eq!((message.topic.as_str(), message.payload.to_vec()), ("cameras/cam1", picture));
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_told_or_given_up_for_another() {
        let taken = std::net::TcpListener::bind(anywhere()).unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(start(address, Otherwise::Fail).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let other = start(address, Otherwise::TakeAnother).await.unwrap();
        assert_ne!(other.port(), address.port());
    }
}
