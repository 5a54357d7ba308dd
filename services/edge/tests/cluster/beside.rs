//! What is told beside a picture: telemetry and the state of a source, to whoever follows.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use relay_cluster::backbone::{MemoryBackbone, Subscription};
use relay_cluster::{Backbone, Links};
use relay_edge::Config;
use relay_proto::backbone::{Command, Peer, Subjects, from_json, to_json};
use relay_proto::source::{Source, SourceId, SourceKeys, SourceReason, SourceState, SourcesReport};
use relay_proto::telemetry::{Telemetry, TelemetryAsk};
use relay_proto::{ChannelName, Incarnation, KeyHash};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::nodes::{Nodes, SECRET, config};
use crate::support::raw::Raw;
use crate::support::{HANG, Node};

fn subjects() -> Subjects {
    Subjects::new("relaycast".parse().unwrap())
}

fn id() -> SourceId {
    "kerberos/hub-key/camera".parse().unwrap()
}

/// The channel of a source with its key to watch, and that to publish.
fn source_channel() -> (ChannelName, SourceKeys) {
    let channel = id().channel();
    let keys = SourceKeys::of(SECRET, &channel).unwrap();
    (channel, keys)
}

/// One who follows, past the head of the answer.
async fn follow(node: &Node, channel: &str, key: &str) -> Raw {
    let mut follower = node.connect().await;
    follower.write(format!("GET /v1/channels/{channel}/events?key={key} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    let head = follower.head().await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"), "{head}");
    follower.until("retry: ").await;
    follower
}

/// One who follows what a source is said to do.
async fn follow_source(node: &Node) -> Raw {
    let (channel, keys) = source_channel();
    follow(node, channel.as_str(), keys.watch.expose()).await
}

async fn refused(node: &Node, path: &str, status: &str) {
    let answer = node.connect().await.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n")).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
}

async fn tell(end: &MemoryBackbone, channel: &ChannelName, topic: &str, value: serde_json::Value) {
    let telemetry = Telemetry { topic: topic.to_owned(), at_ms: 7, value };
    end.publish(&subjects().telemetry(channel), None, to_json(&telemetry).into()).await.unwrap();
}

fn bridge() -> Peer {
    Peer { node: "bridge".parse().unwrap(), incarnation: Incarnation::new(1) }
}

async fn report(end: &MemoryBackbone, state: SourceState, reason: Option<SourceReason>) {
    let id = id();
    let (channel, kind) = (id.channel(), id.kind());
    let bridge = Some("bridge".parse().unwrap());
    let source = Source { id, channel, kind, state, reason, node: None, bridge, online: Some(true) };
    say(end, &SourcesReport::One { by: self::bridge(), source }).await;
}

async fn say(end: &MemoryBackbone, report: &SourcesReport) {
    end.publish(&subjects().sources(), None, to_json(report).into()).await.unwrap();
}

async fn asks(end: &MemoryBackbone) -> Subscription {
    end.subscribe(&subjects().telemetry_asks()).await.unwrap()
}

/// The next ask: who asks listens already.
async fn asked(asks: &mut Subscription) -> TelemetryAsk {
    let message = timeout(HANG, asks.next()).await.unwrap().unwrap();
    from_json(&message.payload).unwrap()
}

#[tokio::test]
async fn who_is_banned_is_told_nothing_more() {
    let Nodes { nodes: [node], ends: [end], .. } = Nodes::start(config()).await;
    let (channel, keys) = source_channel();
    let mut follower = follow_source(&node).await;
    let mut device = follow(&node, channel.as_str(), keys.publish.expose()).await;
    let key = KeyHash::of(SECRET, &channel, &keys.watch);
    let ban = Command::BanKey { channel: channel.clone(), key, ttl_ms: 60_000 };
    end.publish(&subjects().all(), None, to_json(&ban).into()).await.unwrap();
    follower.everything().await;
    refused(&node, &format!("/v1/channels/{channel}/events?key={}", keys.watch.expose()), "403").await;
    tell(&end, &channel, "battery", json!({"percent": 80})).await;
    device.until("80}}").await;
}

#[tokio::test]
async fn telemetry_is_asked_for_once_and_the_last_of_each_topic_told_to_who_comes_later() {
    let Nodes { nodes: [node], ends: [end], .. } = Nodes::start(config()).await;
    let (channel, _) = source_channel();
    let mut asks = asks(&end).await;
    let mut first = follow_source(&node).await;
    let ask = asked(&mut asks).await;
    assert_eq!((ask.channel, ask.by.node.as_str()), (channel.clone(), "n1"));
    tell(&end, &channel, "battery", json!({"percent": 80})).await;
    tell(&end, &channel, "position", json!({"lat": 1.5, "text": "a\nb"})).await;
    tell(&end, &channel, "battery", json!({"percent": 79})).await;
    first.until("event: telemetry\ndata: ").await;
    first.until(r#"{"topic":"battery","at_ms":7,"value":{"percent":79}}"#).await;

    let mut second = follow_source(&node).await;
    let told = second.until("79}}").await;
    assert!(told.contains(r#""a\nb""#) && !told.contains("80"), "{told}");
    tell(&end, &channel, "battery", json!({"percent": 78})).await;
    first.until("78}}").await;
    second.until("78}}").await;

    drop((first, second));
    node.until("relaycast_followers", |count| count == 0.0).await;
    let mut again = follow_source(&node).await;
    assert_eq!(asked(&mut asks).await.channel, channel, "nothing is kept when nobody follows");
    tell(&end, &channel, "battery", json!({"percent": 77})).await;
    let told = again.until("77}}").await;
    assert!(!told.contains("78") && !told.contains("position"), "{told}");
}

#[tokio::test]
async fn who_waits_is_told_what_the_source_does_and_why() {
    let Nodes { nodes: [node], ends: [end], .. } = Nodes::start(config()).await;
    let mut asks = asks(&end).await;
    let mut first = follow_source(&node).await;
    asked(&mut asks).await;
    // When the node listens to bridges does not show, so a bridge says it until it is heard.
    let said = async || loop {
        report(&end, SourceState::Starting, None).await;
        sleep(Duration::from_millis(5)).await;
    };
    tokio::select! {
        _ = said() => {}
        told = first.until("event: source\ndata: {\"kind\":\"kerberos\",\"state\":\"starting\",\"online\":true}\n\n") => {
            assert!(!told.contains("hub-key"));
        }
    }
    let mut second = follow_source(&node).await;
    second.until(r#""starting""#).await;
    report(&end, SourceState::Starting, Some(SourceReason::NoMedia)).await;
    for follower in [&mut first, &mut second] {
        follower.until(r#""state":"starting","reason":"no_media""#).await;
    }
    say(&end, &SourcesReport::Gone { by: bridge() }).await;
    first.until("event: source\ndata: null\n\n").await;
}

#[tokio::test]
async fn who_may_not_receive_may_not_follow() {
    let Nodes { nodes: [node], .. } = Nodes::start(config()).await;
    let (channel, keys) = source_channel();
    refused(&node, &format!("/v1/channels/{channel}/events?key=wrong"), "403").await;
    refused(&node, &format!("/v1/channels/{channel}/events"), "400").await;
    refused(&node, "/v1/channels/cam/events?key=a.b", "400").await;
    refused(&node, "/v1/channels/c.m/events?key=secret", "400").await;
    follow(&node, channel.as_str(), keys.publish.expose()).await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    refused(&node, "/v1/channels/cam/events?key=other", "403").await;
    follow(&node, "cam", "secret").await;
}

#[tokio::test]
async fn of_a_vacant_channel_nothing_is_told_until_a_publication_shows_the_key_right() {
    let Nodes { nodes: [node], ends: [end], .. } = Nodes::start(config()).await;
    let mut asks = asks(&end).await;
    let channel: ChannelName = "cam".parse().unwrap();
    let mut right = follow(&node, "cam", "secret").await;
    asked(&mut asks).await;
    let mut wrong = follow(&node, "cam", "guess").await;
    tell(&end, &channel, "battery", json!(80)).await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    right.until(r#""value":80"#).await;
    let told = wrong.everything().await;
    assert!(!told.contains("battery") && told.ends_with("0\r\n\r\n"), "{told}");
}

#[tokio::test]
async fn a_drain_ends_who_follows() {
    let Nodes { nodes: [node], .. } = Nodes::start(config()).await;
    let mut follower = follow_source(&node).await;
    node.trigger.advance();
    let told = follower.everything().await;
    assert!(told.ends_with("0\r\n\r\n"), "it ends in order: {told}");
    node.ended().await;
}

#[tokio::test]
async fn what_another_publisher_of_another_version_says_is_passed_over() {
    let Nodes { nodes: [node], ends: [end], .. } = Nodes::start(config()).await;
    let (channel, _) = source_channel();
    let mut asks = asks(&end).await;
    let mut follower = follow_source(&node).await;
    asked(&mut asks).await;
    end.publish(&subjects().telemetry(&channel), None, b"{\"topic\":7}"[..].into()).await.unwrap();
    tell(&end, &channel, "battery", json!(80)).await;
    follower.until(r#""value":80"#).await;
    assert_eq!(node.metric("relaycast_messages_not_understood_total", &[]), 1.0);
}

#[tokio::test]
async fn who_takes_nothing_is_cut() {
    let end = Arc::new(MemoryBackbone::new());
    let links = Links { backbone: Arc::new(end.join()), secret: Arc::from(SECRET), ..Links::alone() };
    let config = Config { write_timeout: Duration::from_millis(50), ..config() };
    let node = Node::start_among(config, links).await;
    let (channel, keys) = source_channel();
    let mut asks = asks(&end).await;
    let mut slow = node.connect_narrow().await;
    slow.write(format!(
        "GET /v1/channels/{channel}/events?key={} HTTP/1.1\r\nHost: x\r\n\r\n",
        keys.watch.expose()
    ))
    .await;
    let mut quick = follow_source(&node).await;
    asked(&mut asks).await;
    assert_eq!(node.metric("relaycast_followers", &[]), 2.0);
    let long = "x".repeat(60 << 10);
    for turn in 0..400 {
        tell(&end, &channel, "picture", json!([long, turn])).await;
        quick.until(&format!("{turn}]}}")).await;
    }
    // A keep-alive is due after 15 s, and what it is written to has been full since then.
    let cut = async {
        while node.metric("relaycast_followers", &[]) > 1.0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(2 * HANG, cut).await.expect("the slow one is cut");
    tell(&end, &channel, "picture", json!("goes on")).await;
    quick.until("goes on").await;
}
