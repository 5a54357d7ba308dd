//! Against a real Mosquitto.

use std::fs;

use relay_tests::HANG;
use relay_tests::certificates::Transport;
use relay_tests::mosquitto::{Client, Login, Mosquitto, Options};
use tempfile::TempDir;

use super::*;

const BOTH: [Version; 2] = [Version::V3_1_1, Version::V5];

fn settings(broker: &Mosquitto, version: Version) -> Settings {
    Settings {
        url: broker.url(),
        version,
        ca_file: None,
        keep_alive: DEFAULT_KEEP_ALIVE,
        name: "b1".parse().unwrap(),
    }
}

fn connect(settings: Settings, filters: &[&str]) -> (Publisher, Inbox) {
    let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
    Broker::connect(settings, filters).unwrap()
}

async fn connected(settings: Settings, filters: &[&str]) -> (Publisher, Inbox) {
    let (publisher, mut inbox) = connect(settings, filters);
    assert_eq!(next(&mut inbox).await, Heard::Connected);
    (publisher, inbox)
}

async fn next(inbox: &mut Inbox) -> Heard {
    timeout(HANG, inbox.next()).await.expect("something is heard in time")
}

/// Drives the connection while a test does something else.
async fn driving<T>(inbox: &mut Inbox, other: impl Future<Output = T>) -> T {
    tokio::select! {
        done = timeout(HANG, other) => done.expect("the other side is done in time"),
        heard = inbox.next() => panic!("not expected: {heard:?}"),
    }
}

async fn message(inbox: &mut Inbox) -> (String, Bytes) {
    match next(inbox).await {
        Heard::Message { topic, payload } => (topic, payload),
        other => panic!("no message: {other:?}"),
    }
}

async fn lost(inbox: &mut Inbox) -> String {
    match next(inbox).await {
        Heard::Lost { reason } => reason,
        other => panic!("not lost: {other:?}"),
    }
}

fn outgoing(topic: &str, qos: Qos, payload: &str) -> Outgoing {
    Outgoing { topic: topic.to_owned(), qos, payload: Bytes::copy_from_slice(payload.as_bytes()) }
}

async fn listener(broker: &Mosquitto, filter: &str) -> Client {
    let mut client = broker.client().await;
    client.subscribe(filter).await;
    client
}

#[tokio::test]
async fn messages_go_both_ways_with_either_version() {
    let broker = Mosquitto::start().await;
    for version in BOTH {
        let mut other = listener(&broker, "out/#").await;
        let (publisher, mut inbox) = connected(settings(&broker, version), &["in/+", "else/#"]).await;
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            publisher.publish(outgoing("out/a", qos, "hello")).unwrap();
            let got = driving(&mut inbox, other.next()).await;
            assert_eq!((got.topic.as_str(), got.payload.as_slice()), ("out/a", b"hello".as_slice()));
            assert!(!got.retained);
        }
        other.publish("in/x", "one").await;
        assert_eq!(message(&mut inbox).await, ("in/x".to_owned(), Bytes::from_static(b"one")));
        other.publish("else/x/y", "").await;
        assert_eq!(message(&mut inbox).await, ("else/x/y".to_owned(), Bytes::new()));
    }
}

#[tokio::test]
async fn tls_and_websockets_carry_messages_and_a_stranger_is_not_trusted() {
    for (transport, websockets) in [(Transport::Tls, false), (Transport::Plain, true), (Transport::Tls, true)]
    {
        let options = Options { transport, websockets, ..Options::default() };
        let broker = Mosquitto::start_with(options).await;
        let stranger = TempDir::new().unwrap();
        for version in BOTH {
            let mut with_ca = settings(&broker, version);
            if transport == Transport::Tls {
                let others = relay_tests::certificates::Certificates::make(stranger.path()).await;
                with_ca.ca_file = Some(others.authority());
                let (_, mut inbox) = connect(with_ca.clone(), &[]);
                let reason = lost(&mut inbox).await;
                assert!(reason.to_lowercase().contains("certificate"), "{reason}");
                with_ca.ca_file = Some(broker.authority());
            }
            let (_publisher, mut inbox) = connected(with_ca, &["in"]).await;
            let mut other = broker.client().await;
            // More than a record of TLS or a frame takes. Mosquitto 2.0 writes 4 KiB to a websocket ten times a second.
            let payload = vec![7; if websockets { 20_000 } else { 300_000 }];
            other.publish("in", payload.clone()).await;
            assert_eq!(message(&mut inbox).await.1, payload);
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_as_such_and_without_it() {
    let login = |user: &str, password: &str| Login { user: user.to_owned(), password: password.to_owned() };
    let options = Options { logins: vec![login("relay", "right")], ..Options::default() };
    let broker = Mosquitto::start_with(options).await;
    for version in BOTH {
        connected(settings(&broker, version), &["in"]).await;
        let wrong = Settings { url: broker.url_as("relay", "hunter2"), ..settings(&broker, version) };
        let (publisher, mut inbox) = connect(wrong, &["in"]);
        // It goes on trying: somebody may repair the broker.
        for _ in 0..2 {
            let reason = lost(&mut inbox).await;
            assert!(reason.contains("user name or password"), "{reason}");
            assert!(!reason.contains("hunter2") && !reason.contains("relay"), "{reason}");
        }
        assert_eq!(publisher.publish(outgoing("out", Qos::AtMostOnce, "")), Err(NotSent::Disconnected));
    }
}

#[tokio::test]
async fn a_filter_that_is_forbidden_is_told_and_the_others_work() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("security.json");
    let allow = |kind: &str, topic: &str| serde_json::json!({ "acltype": kind, "topic": topic, "priority": 0, "allow": true });
    let acls = [
        allow("publishClientSend", "#"),
        allow("publishClientReceive", "#"),
        allow("subscribePattern", "allowed/#"),
    ];
    let security = serde_json::json!({
        "defaultACLAccess": {
            "publishClientSend": false, "publishClientReceive": false, "subscribe": false, "unsubscribe": true,
        },
        "roles": [{ "rolename": "some", "acls": acls }],
        "groups": [{ "groupname": "anybody", "roles": [{ "rolename": "some" }], "clients": [] }],
        "anonymousGroup": "anybody",
        "clients": [],
    });
    fs::write(&file, security.to_string()).unwrap();
    let plugin = "plugin /usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so".to_owned();
    let lines = vec![plugin, format!("plugin_opt_config_file {}", file.display())];
    let broker = Mosquitto::start_with(Options { lines, ..Options::default() }).await;
    for version in BOTH {
        // More than one request takes, and forbidden in both.
        let mut filters = vec!["forbidden/a"];
        filters.extend(["allowed/1", "allowed/2", "allowed/3", "allowed/4", "allowed/5", "allowed/6"]);
        filters.extend(["allowed/7", "forbidden/b", "allowed/8"]);
        let (_publisher, mut inbox) = connect(settings(&broker, version), &filters);
        for filter in ["forbidden/a", "forbidden/b"] {
            assert_eq!(next(&mut inbox).await, Heard::Forbidden { filter: filter.to_owned() });
        }
        assert_eq!(next(&mut inbox).await, Heard::Connected);
        broker.client().await.publish("allowed/8", "x").await;
        assert_eq!(message(&mut inbox).await.0, "allowed/8");
    }
}

#[tokio::test]
async fn a_broker_that_was_killed_is_subscribed_to_again_and_gets_nothing_that_was_meant_for_before() {
    let mut broker = Mosquitto::start().await;
    for version in BOTH {
        let (publisher, mut inbox) = connected(settings(&broker, version), &["in"]).await;
        broker.kill();
        lost(&mut inbox).await;
        assert_eq!(publisher.publish(outgoing("out", Qos::AtLeastOnce, "old")), Err(NotSent::Disconnected));
        broker.restart().await;
        let mut other = listener(&broker, "out").await;
        while next(&mut inbox).await != Heard::Connected {}
        publisher.publish(outgoing("out", Qos::AtLeastOnce, "new")).unwrap();
        assert_eq!(driving(&mut inbox, other.next()).await.payload, b"new");
        other.publish("in", "x").await;
        assert_eq!(message(&mut inbox).await.0, "in");
    }
}

async fn hangs(version: Version) {
    let broker = Mosquitto::start().await;
    let settings = Settings { keep_alive: KEEP_ALIVE_MIN, ..settings(&broker, version) };
    let (_publisher, mut inbox) = connected(settings, &["in"]).await;
    broker.stop().await;
    assert_eq!(lost(&mut inbox).await, "the broker does not answer any more");
    broker.resume();
    while next(&mut inbox).await != Heard::Connected {}
}

#[tokio::test]
async fn a_broker_that_hangs_is_left() {
    // At the same time: it takes twice the keep-alive.
    tokio::join!(hangs(Version::V3_1_1), hangs(Version::V5));
}

#[tokio::test]
async fn waiting_for_the_next_can_be_given_up_at_any_moment() {
    let broker = Mosquitto::start().await;
    let mut other = broker.client().await;
    for version in BOTH {
        let (_publisher, mut inbox) = connect(settings(&broker, version), &["in"]);
        // Given up each time the connection cannot go on at once, from the very beginning.
        let mut patient = async || {
            loop {
                tokio::select! {
                    biased;
                    heard = inbox.next() => return heard,
                    () = tokio::task::yield_now() => {}
                }
            }
        };
        assert_eq!(timeout(HANG, patient()).await.unwrap(), Heard::Connected);
        for number in 0..100 {
            other.publish("in", format!("{number}")).await;
        }
        for number in 0..100 {
            let payload = Bytes::from(format!("{number}"));
            let heard = timeout(HANG, patient()).await.unwrap();
            assert_eq!(heard, Heard::Message { topic: "in".to_owned(), payload });
        }
    }
}

#[tokio::test]
async fn a_message_at_the_bound_is_taken_and_one_byte_more_costs_itself_alone() {
    let broker = Mosquitto::start().await;
    let mut other = broker.client().await;
    for version in BOTH {
        let (_publisher, mut inbox) = connected(settings(&broker, version), &["in"]).await;
        other.publish("in", vec![1; MESSAGE_BYTES_MAX]).await;
        assert_eq!(message(&mut inbox).await.1.len(), MESSAGE_BYTES_MAX);
        for bytes in [MESSAGE_BYTES_MAX + 1, 10_000_000] {
            other.publish("in", vec![1; bytes]).await;
            assert_eq!(next(&mut inbox).await, Heard::TooLarge { bytes });
        }
        other.publish("in", "small").await;
        assert_eq!(message(&mut inbox).await.1, "small");
    }
}

#[tokio::test]
async fn a_packet_that_no_connection_survives_does_not_keep_the_bridge_out() {
    let broker = Mosquitto::start().await;
    let mut other = broker.client().await;
    let bytes = 4 * MESSAGE_BYTES_MAX + (1 << 20);
    // A broker that knows the bound keeps it back.
    {
        let (_publisher, mut inbox) = connected(settings(&broker, Version::V5), &["in"]).await;
        other.publish("in", vec![1; bytes]).await;
        other.publish("in", "small").await;
        assert_eq!(message(&mut inbox).await.1, "small");
    }
    let (_publisher, mut inbox) = connected(settings(&broker, Version::V3_1_1), &["in"]).await;
    other.publish("in", vec![1; bytes]).await;
    assert!(matches!(next(&mut inbox).await, Heard::TooLarge { .. }));
    assert!(lost(&mut inbox).await.contains("too much"));
    assert_eq!(next(&mut inbox).await, Heard::Connected);
    // Retained, it comes with each subscription.
    other.retain("in", vec![1; bytes + 1]).await;
    let mut losses = 0;
    loop {
        match next(&mut inbox).await {
            Heard::TooLarge { bytes: of } if of == bytes + 1 => break,
            Heard::Lost { .. } => losses += 1,
            _ => {}
        }
    }
    assert_eq!(losses, 2);
    other.publish("in", "small").await;
    assert_eq!(message(&mut inbox).await.1, "small");
}

#[tokio::test]
async fn others_see_when_the_bridge_comes_leaves_and_dies() {
    let broker = Mosquitto::start().await;
    let mut other = listener(&broker, "relaycast/bridge/b1").await;
    for version in BOTH {
        let (publisher, mut inbox) = connected(settings(&broker, version), &["in"]).await;
        assert_eq!(driving(&mut inbox, other.next()).await.payload, b"online");
        publisher.publish(outgoing("relaycast/bridge/b1", Qos::AtMostOnce, "last words")).unwrap();
        inbox.leave().await;
        assert_eq!(other.next().await.payload, b"last words");
        assert_eq!(other.next().await.payload, b"offline");
        assert_eq!(publisher.publish(outgoing("out", Qos::AtMostOnce, "")), Err(NotSent::Disconnected));

        let (_publisher, mut inbox) = connected(settings(&broker, version), &["in"]).await;
        assert_eq!(driving(&mut inbox, other.next()).await.payload, b"online");
        drop(inbox);
        let will = other.next().await;
        assert_eq!((will.payload.as_slice(), will.retained), (b"offline".as_slice(), false));
    }
    // Whoever comes later finds nothing.
    let mut late = listener(&broker, "#").await;
    late.publish("now", "").await;
    assert_eq!(late.next().await.topic, "now");
}

#[tokio::test]
async fn two_of_a_name_do_not_throw_each_other_out() {
    let broker = Mosquitto::start().await;
    let (_one, mut first) = connected(settings(&broker, Version::V3_1_1), &["in"]).await;
    let (_two, mut second) = connected(settings(&broker, Version::V3_1_1), &["in"]).await;
    broker.client().await.publish("in", "x").await;
    assert_eq!(message(&mut first).await.0, "in");
    assert_eq!(message(&mut second).await.0, "in");
}

#[tokio::test]
async fn a_thousand_messages_come_in_order() {
    let broker = Mosquitto::start().await;
    for version in BOTH {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            let (publisher, mut inbox) = connected(settings(&broker, version), &["loop"]).await;
            let numbers: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
            let (burst, single) = numbers.split_at(900);
            for number in burst {
                publisher.publish(outgoing("loop", qos, number)).unwrap();
            }
            for number in burst {
                assert_eq!(message(&mut inbox).await.1, number);
            }
            // While others are on their way.
            for (two, came) in single.chunks(2).zip(single) {
                for number in two {
                    publisher.publish(outgoing("loop", qos, number)).unwrap();
                }
                assert_eq!(message(&mut inbox).await.1, came);
            }
            for number in &single[single.len() / 2..] {
                assert_eq!(message(&mut inbox).await.1, number);
            }
        }
    }
}

#[tokio::test]
async fn what_is_retained_is_taken_as_any() {
    let broker = Mosquitto::start().await;
    broker.client().await.retain("in", "kept").await;
    let (_publisher, mut inbox) = connected(settings(&broker, Version::V3_1_1), &["in"]).await;
    assert_eq!(message(&mut inbox).await.1, "kept");
}

#[tokio::test]
async fn a_full_queue_is_told_at_once_and_what_no_broker_takes_too() {
    let broker = Mosquitto::start().await;
    for version in BOTH {
        let (publisher, mut inbox) = connected(settings(&broker, version), &[]).await;
        for topic in ["", "a/+", "a/#"] {
            let sent = publisher.publish(outgoing(topic, Qos::AtMostOnce, ""));
            assert_eq!(sent, Err(NotSent::Invalid), "{topic}");
        }
        let of = |bytes: usize| Outgoing {
            topic: "out".to_owned(),
            qos: Qos::AtLeastOnce,
            payload: Bytes::from(vec![1; bytes]),
        };
        assert_eq!(publisher.publish(of(OUTGOING_BYTES_MAX + 1)), Err(NotSent::Invalid));
        let mut other = listener(&broker, "out").await;
        publisher.publish(of(OUTGOING_BYTES_MAX)).unwrap();
        assert_eq!(driving(&mut inbox, other.next()).await.payload.len(), OUTGOING_BYTES_MAX);
        // Nobody drives the connection meanwhile.
        let sent = (0..).find_map(|sent| publisher.publish(of(1)).err().map(|error| (sent, error)));
        let (sent, error) = sent.unwrap();
        assert_eq!(error, NotSent::Full);
        assert!((REQUESTS_MAX - 1..=REQUESTS_MAX).contains(&sent), "{sent}");
    }
}

#[test]
fn settings_that_cannot_work_are_found_before_anything_connects() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let fine = Settings {
        url: "mqtts://u:hunter2@h".to_owned(),
        version: Version::V5,
        ca_file: None,
        keep_alive: DEFAULT_KEEP_ALIVE,
        name: "b1".parse().unwrap(),
    };
    assert!(!format!("{fine:?}").contains("hunter2"));
    let error = |settings: Settings, filters: Vec<String>| Broker::connect(settings, filters).unwrap_err();
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = fine.clone();
        change(&mut settings);
        error(settings, Vec::new())
    };
    let ca = |settings: &mut Settings| settings.ca_file = Some(path.clone());
    assert!(matches!(with(&ca), SettingsError::Ca(_)));
    fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(matches!(with(&ca), SettingsError::Ca(_)));
    drop(file);
    assert!(matches!(with(&ca), SettingsError::CaFile { .. }));
    let plain = with(&|settings| {
        ca(settings);
        "mqtt://h".clone_into(&mut settings.url);
    });
    assert!(matches!(plain, SettingsError::CaWithoutTls));
    for keep_alive in [Duration::ZERO, Duration::from_millis(4999), Duration::from_secs(65_536)] {
        let wrong = with(&|settings| settings.keep_alive = keep_alive);
        assert!(matches!(wrong, SettingsError::KeepAlive));
    }
    let wrong = with(&|settings| "mqtt://u:hunter2@h:x".clone_into(&mut settings.url));
    assert!(matches!(wrong, SettingsError::Address(AddressError::Port)));
    assert!(!format!("{wrong} {wrong:?}").contains("hunter2"));
    let plain = Settings { url: "mqtt://h".to_owned(), ..fine };
    assert!(matches!(error(plain.clone(), vec!["a/#/b".to_owned()]), SettingsError::Filter(_)));
    assert!(matches!(error(plain, vec!["a".to_owned(); FILTERS_MAX + 1]), SettingsError::TooManyFilters));
}

#[test]
fn versions_have_names() {
    for version in BOTH {
        assert_eq!(version.to_string().parse(), Ok(version));
    }
    assert_eq!("3".parse::<Version>(), Err(UnknownVersion));
}
