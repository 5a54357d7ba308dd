//! What becomes of a node's connection when servers are slow, frozen, killed, full or do not know it. Real servers.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod support;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use relay_cluster::Backbone;
use relay_cluster::backbone::nats::{Config, ConfigError, OUTGOING_BYTES_MAX, WAITING_MAX};
use relay_cluster::backbone::{Contact, Disconnected, NatsBackbone, PublishError, RequestError};
use relay_tests::certificates::Transport;
use relay_tests::nats::{Login, Nats, NatsCluster, Options};
use support::backbone::{SOON, config, connect, next, next_number, reach, until};
use tokio::time::timeout;

/// A dead server is given up after three ping intervals, and a busy machine takes its time.
const NOTICED_WITHIN: Duration = Duration::from_secs(8);

fn payload(number: u64) -> Bytes {
    number.to_string().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_come_in_order() {
    let server = Nats::start().await;
    let (one, other) = (connect(&server.url()).await, connect(&server.url()).await);
    let mut messages = other.subscribe("t.a").await.unwrap();
    reach(&one, "t.a", &mut messages).await;
    let publishing = async {
        for number in 0..10_000u64 {
            // Small ones are copied by the library, large ones are not.
            let mut message = vec![0; if number % 3 == 0 { 6000 } else { 100 }];
            message[..8].copy_from_slice(&number.to_be_bytes());
            one.publish("t.a", None, message.into()).await.unwrap();
        }
    };
    let reading = async {
        for number in 0..10_000u64 {
            assert_eq!(next(&mut messages).await.payload[..8], number.to_be_bytes());
        }
    };
    tokio::join!(publishing, reading);
    assert_eq!(other.contact().borrow().generation, 1);
}

#[tokio::test]
async fn a_node_that_is_gone_is_missed_at_once() {
    let server = Nats::start().await;
    let (one, other) = (connect(&server.url()).await, connect(&server.url()).await);
    let asked = other.subscribe("t.ask").await.unwrap();
    let unanswered = Duration::from_millis(100);
    let settled =
        async { while one.request("t.ask", Bytes::new(), unanswered).await != Err(RequestError::Timeout) {} };
    timeout(SOON, settled).await.unwrap();
    drop((asked, other));
    let begun = Instant::now();
    let missed = async {
        while one.request("t.ask", Bytes::new(), unanswered).await != Err(RequestError::NoResponders) {}
    };
    timeout(SOON, missed).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_node_starts_without_a_server_and_finds_it_when_it_comes() {
    let mut server = Nats::start_with(Options { max_payload: Some(4096), ..Options::default() }).await;
    server.kill();
    let backbone =
        NatsBackbone::start(config(&server.url())).now_or_never().expect("nothing is waited for").unwrap();
    assert_eq!(*backbone.contact().borrow(), Contact { connected: false, generation: 0 });
    assert_eq!(backbone.message_bytes_max(), 1 << 20);
    assert_eq!(backbone.publish("t.a", None, payload(1)).now_or_never(), Some(Err(Disconnected.into())));
    assert!(backbone.subscribe("t.a").now_or_never().unwrap().is_err());
    server.restart().await;
    until(&backbone, |contact| contact.connected && contact.generation == 1).await;
    assert_eq!(backbone.message_bytes_max(), 4096);
    assert_eq!(backbone.publish("t.a", None, vec![0; 4097].into()).await, Err(PublishError::TooLong));
    backbone.publish("t.a", None, vec![0; 4096].into()).await.unwrap();
}

#[tokio::test]
async fn subscriptions_outlive_a_server_and_nothing_is_kept_for_the_next() {
    let mut server = Nats::start().await;
    let (one, other) = (connect(&server.url()).await, connect(&server.url()).await);
    let mut messages = other.subscribe("t.a").await.unwrap();
    reach(&one, "t.a", &mut messages).await;
    let dropped = other.subscribe("t.dropped").await.unwrap();
    let before = other.contact().borrow().generation;
    server.kill();
    until(&one, |contact| !contact.connected).await;
    until(&other, |contact| !contact.connected).await;
    for number in 100..200 {
        let refused = one.publish("t.a", None, payload(number)).now_or_never();
        assert_eq!(refused, Some(Err(Disconnected.into())));
    }
    let refused = one.request("t.a", payload(200), SOON).now_or_never();
    assert_eq!(refused, Some(Err(Disconnected.into())));
    drop(dropped);
    server.restart().await;
    until(&one, |contact| contact.connected).await;
    let after = until(&other, |contact| contact.connected).await;
    assert!(after.generation > before, "{before} → {after:?}");
    // Nothing but its own is heard: what was refused is not sent later.
    reach(&one, "t.a", &mut messages).await;
    one.publish("t.a", None, payload(300)).await.unwrap();
    assert_eq!(next_number(&mut messages).await, 300);
    assert_eq!(one.request("t.dropped", Bytes::new(), SOON).await, Err(RequestError::NoResponders));
}

#[tokio::test]
async fn what_waits_for_an_answer_ends_with_the_connection() {
    let mut server = Nats::start().await;
    let one = connect(&server.url()).await;
    let _asked = one.subscribe("t.ask").await.unwrap();
    let begun = Instant::now();
    let killed = async {
        // Once the request is with the server.
        let mut heard = one.subscribe("t.ask").await.unwrap();
        next(&mut heard).await;
        server.kill();
    };
    let (_, answered) = tokio::join!(killed, async {
        tokio::task::yield_now().await;
        one.request("t.ask", Bytes::new(), SOON).await
    });
    assert_eq!(answered, Err(Disconnected.into()));
    assert!(begun.elapsed() < SOON / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_one_of_three_servers_dies_messages_go_on_through_the_others() {
    let mut cluster = NatsCluster::start().await;
    let servers = cluster.servers();
    // One server is told to each: of the others it learns.
    let (one, other) = (connect(&servers[0].url()).await, connect(&servers[1].url()).await);
    let mut messages = other.subscribe("t.a").await.unwrap();
    reach(&one, "t.a", &mut messages).await;
    for killed in [0, 1] {
        let begun = Instant::now();
        cluster.server_mut(killed).kill();
        reach(&one, "t.a", &mut messages).await;
        assert!(begun.elapsed() < NOTICED_WITHIN, "server {killed}: {:?}", begun.elapsed());
    }
    for end in [&one, &other] {
        // Whoever went to the second server first has moved twice.
        let Contact { generation, .. } = until(end, |contact| contact.connected).await;
        assert!((2..=3).contains(&generation), "{generation}");
    }
    for number in 100..1100 {
        one.publish("t.a", None, payload(number)).await.unwrap();
    }
    for number in 100..1100 {
        assert_eq!(next_number(&mut messages).await, number);
    }
}

#[tokio::test]
async fn when_one_of_two_servers_freezes_its_nodes_go_to_the_other() {
    let cluster = NatsCluster::of(2).await;
    let servers = cluster.servers();
    let (one, other) = (connect(&servers[0].url()).await, connect(&servers[1].url()).await);
    let mut messages = other.subscribe("t.a").await.unwrap();
    reach(&one, "t.a", &mut messages).await;
    servers[0].stop().await;
    let begun = Instant::now();
    // Twice as long, since the frozen one may be asked first.
    until(&one, |contact| contact.connected && contact.generation == 2).await;
    eprintln!("another server was found after {:?}", begun.elapsed());
    assert!(begun.elapsed() < 2 * NOTICED_WITHIN, "{:?}", begun.elapsed());
    reach(&one, "t.a", &mut messages).await;
    assert_eq!(other.contact().borrow().generation, 1, "nothing changed for who was on the other");
}

#[tokio::test]
async fn a_frozen_server_is_given_up_and_taken_up_again() {
    let server = Nats::start().await;
    let one = connect(&server.url()).await;
    let mut messages = one.subscribe("t.a").await.unwrap();
    server.stop().await;
    let begun = Instant::now();
    until(&one, |contact| !contact.connected).await;
    eprintln!("a frozen server was noticed after {:?}", begun.elapsed());
    assert!(begun.elapsed() < NOTICED_WITHIN, "{:?}", begun.elapsed());
    assert_eq!(one.publish("t.a", None, payload(1)).await, Err(Disconnected.into()));
    server.resume();
    until(&one, |contact| contact.connected && contact.generation == 2).await;
    one.publish("t.a", None, payload(2)).await.unwrap();
    assert_eq!(next_number(&mut messages).await, 2);
}

#[tokio::test]
async fn what_waits_for_a_frozen_server_is_bounded_and_then_refused() {
    const MESSAGE_BYTES: usize = 256 << 10;
    // What the kernel takes for both ends of a connection, with Linux' defaults: 4 and 6 MiB.
    const SOCKET_BYTES: usize = 10 << 20;
    let server = Nats::start().await;
    let one = connect(&server.url()).await;
    server.stop().await;
    let mut taken = 0;
    let refused = loop {
        match timeout(SOON, one.publish("t.a", None, vec![0; MESSAGE_BYTES].into())).await.unwrap() {
            Ok(()) => taken += MESSAGE_BYTES,
            Err(error) => break error,
        }
        assert!(taken <= OUTGOING_BYTES_MAX as usize + SOCKET_BYTES, "{taken} bytes");
    };
    eprintln!("{taken} bytes were taken");
    assert_eq!(refused, Disconnected.into());
    server.resume();
    until(&one, |contact| contact.connected && contact.generation == 2).await;
    // All of the room is there again: as much passes as is allowed to wait.
    let mut messages = one.subscribe("t.b").await.unwrap();
    for _ in 0..2 * OUTGOING_BYTES_MAX as usize / MESSAGE_BYTES {
        one.publish("t.b", None, vec![0; MESSAGE_BYTES].into()).await.unwrap();
        next(&mut messages).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_loses_messages_and_nobody_else_does() {
    let server = Nats::start().await;
    let (one, other) = (connect(&server.url()).await, connect(&server.url()).await);
    let mut slow = other.subscribe("t.a").await.unwrap();
    let mut quick = other.subscribe("t.a").await.unwrap();
    reach(&one, "t.a", &mut quick).await;
    while slow.next().now_or_never().is_some() {}
    let last = WAITING_MAX as u64 + 1000;
    for number in 0..last {
        one.publish("t.a", None, payload(number)).await.unwrap();
        assert_eq!(next_number(&mut quick).await, number);
    }
    let contact = until(&other, |contact| contact.generation > 1).await;
    assert!(contact.connected);
    assert_eq!(one.contact().borrow().generation, 1, "the publisher lost nothing");
    for number in 0..WAITING_MAX as u64 {
        assert_eq!(next_number(&mut slow).await, number);
    }
    one.publish("t.a", None, payload(last)).await.unwrap();
    assert_eq!(next_number(&mut slow).await, last);
}

async fn with_user(user: &str, password: &str) -> Nats {
    let login = Some(Login { user: user.to_owned(), password: password.to_owned() });
    Nats::start_with(Options { login, ..Options::default() }).await
}

#[tokio::test]
async fn a_server_with_users_takes_the_right_one() {
    let server = with_user("relay", "p@ss:w0rd/").await;
    let one = connect(&server.url_as("relay", "p%40ss%3Aw0rd%2F")).await;
    one.publish("t.a", None, payload(1)).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_logged_once_and_never_shown() {
    let server = with_user("relay", "right").await;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let one = NatsBackbone::start(config(&server.url_as("relay", "hunter2"))).await.unwrap();
    let refusals = |log: &Log, from: &str| {
        let text = log.text();
        text.lines().filter(|line| line.contains(from) && line.contains("uthorization violation")).count()
    };
    // The library says so of each attempt.
    let refused_thrice = async {
        while refusals(&log, "async_nats") < 6 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, refused_thrice).await.expect("a server that refuses is asked again");
    assert_eq!(*one.contact().borrow(), Contact { connected: false, generation: 0 });
    assert_eq!(refusals(&log, "relay_cluster"), 1, "{}", log.text());
    assert!(!log.text().contains("hunter2") && !format!("{one:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_server_is_believed_only_with_a_certificate_of_the_right_authority() {
    let options = Options { transport: Transport::Tls, ..Options::default() };
    let (server, other) = (Nats::start_with(options.clone()).await, Nats::start_with(options).await);
    let url = server.url();
    let trusting = |ca_file| async { NatsBackbone::start(Config { ca_file, ..config(&url) }).await.unwrap() };
    let (system, wrong) = (trusting(None).await, trusting(Some(other.authority())).await);
    let right = trusting(Some(server.authority())).await;
    until(&right, |contact| contact.connected).await;
    let mut messages = right.subscribe("t.a").await.unwrap();
    right.publish("t.a", None, payload(1)).await.unwrap();
    assert_eq!(next_number(&mut messages).await, 1);
    // They were there first, and had their time.
    for backbone in [&system, &wrong] {
        assert_eq!(backbone.contact().borrow().generation, 0);
    }
}

#[tokio::test]
async fn files_that_are_not_there_are_named() {
    let mut without_credentials = config("nats://127.0.0.1");
    without_credentials.credentials_file = Some("no/such.creds".into());
    let error = NatsBackbone::start(without_credentials).await.unwrap_err();
    assert!(
        matches!(error, ConfigError::CredentialsFile { .. })
            && error.to_string().starts_with("no/such.creds: ")
    );
    let mut without_ca = config("tls://127.0.0.1");
    without_ca.ca_file = Some("no/such.pem".into());
    let error = NatsBackbone::start(without_ca).await.unwrap_err();
    assert!(matches!(error, ConfigError::CaFile { .. }) && error.to_string().starts_with("no/such.pem: "));
}

/// Log lines of a test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
