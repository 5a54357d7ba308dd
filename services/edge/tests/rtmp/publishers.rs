//! To a channel it is a publisher like any other.

use std::time::Duration;

use relay_edge::{Config, PublisherPolicy};
use relay_proto::api::ChannelState;
use relay_rtmp::client::Event;
use tokio::task::JoinSet;

use crate::pusher::{Pusher, start};
use crate::support::Seen;

const HEADER: &[u8] = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";
const BUSY: &str = "Somebody is already publishing on this channel retry_after_ms=";

/// What becomes of [`Pusher::picture`], if its number of bytes has one digit.
fn tag(time_ms: u8, text: &str) -> Vec<u8> {
    let len = text.len() as u8 + 1;
    [&[9, 0, 0, len, 0, 0, time_ms, 0, 0, 0, 0, 0x12], text.as_bytes(), &[0, 0, 0, 11 + len]].concat()
}

fn config(publisher_policy: PublisherPolicy) -> Config {
    Config {
        publisher_policy,
        // Only what a test is about stalls a publisher.
        publisher_stall_timeout: Duration::from_secs(60),
        challenge_timeout: Duration::from_millis(200),
        ..Config::default()
    }
}

#[tokio::test]
async fn a_stream_reaches_receivers_and_ends_for_them_when_its_publisher_says_so() {
    let node = start(Config::default()).await;
    let mut pusher = Pusher::start(&node, "cam:secret").await;
    pusher.picture(0, "a").await;
    let mut receiver = node.open("/cam/secret/receive").await;
    let mut seen = receiver.chunk().await;
    while seen.len() < HEADER.len() + tag(0, "a").len() {
        seen.extend(receiver.chunk().await);
    }
    assert_eq!(seen, [HEADER, &tag(0, "a")].concat());
    pusher.picture(40, "b").await;
    assert_eq!(receiver.chunk().await, tag(40, "b"), "a chunk a message");
    assert_eq!(node.metric("relaycast_sessions", &["rtmp"]), 1.0);
    assert_eq!(node.sessions().await.len(), 2);
    pusher.end().await;
    assert_eq!(receiver.next().await, Seen::Close(1000, "publisher_ended".to_owned()));
    node.until_ended("rtmp", "client_closed", 1).await;
}

#[tokio::test]
async fn keys_are_taken_in_every_form_and_judged() {
    let node = start(Config::default()).await;
    for (app, name) in [
        ("live", "cam:secret"),
        ("live", "cam?key=secret"),
        ("live", "cam/secret"),
        ("live/cam", "secret"),
        ("any/thing", "cam:secret"),
    ] {
        let mut pusher = Pusher::connect_to(&node, app, name, true).await;
        assert_eq!(pusher.next().await, Some(Event::Started), "{app} {name}");
        pusher.picture(0, "a").await;
        node.until_state(ChannelState::Live).await;
        pusher.end().await;
        node.until("relaycast_publications", |live| live == 0.0).await;
    }
    let (code, why) = Pusher::connect(&node, "cam").await.refusal().await;
    assert_eq!((&*code, &*why), ("NetStream.Publish.BadName", "Invalid channel, key or kind"));
    let _first = Pusher::start(&node, "cam:secret").await;
    let (code, why) = Pusher::connect(&node, "cam:other").await.refusal().await;
    assert_eq!(code, "NetStream.Publish.BadName");
    assert!(why.starts_with(BUSY), "{why}");
    node.until_ended("rtmp", "busy", 1).await;
}

#[tokio::test]
async fn the_channel_of_a_source_takes_the_key_that_was_made_for_it_and_no_other() {
    let node = start(Config::default()).await;
    let source = "source-kerberos-hub-camera";
    let (code, why) = Pusher::connect(&node, &format!("{source}:secret")).await.refusal().await;
    assert_eq!((&*code, &*why), ("NetStream.Publish.BadName", "Invalid streaming key"));
    node.until_ended("rtmp", "wrong_key", 1).await;
}

#[tokio::test]
async fn receivers_of_a_publisher_that_vanished_are_held_and_go_on() {
    let node = start(Config::default()).await;
    let mut first = Pusher::start(&node, "cam:secret").await;
    first.picture(0, "a").await;
    let mut receiver = node.open("/cam/secret/receive").await;
    receiver.chunk().await;
    drop(first);
    node.until_ended("rtmp", "connection_lost", 1).await;
    node.until_state(ChannelState::Held).await;
    let mut second = Pusher::start(&node, "cam:secret").await;
    second.picture(0, "b").await;
    loop {
        if receiver.chunk().await.ends_with(&tag(0, "b")) {
            break;
        }
    }
}

#[tokio::test]
async fn who_answers_a_ping_keeps_the_channel_and_who_does_not_is_replaced() {
    let node = start(config(PublisherPolicy::TakeoverIfStalled)).await;
    let mut first = Pusher::start(&node, "cam:secret").await;
    let mut second = Pusher::connect(&node, "cam:secret").await;
    let (pinged, refused) = tokio::join!(first.next(), second.refusal());
    assert_eq!(pinged, Some(Event::Pinged));
    assert!(refused.1.starts_with(BUSY), "{refused:?}");
    drop(first);
    node.until("relaycast_publications", |live| live == 0.0).await;

    let mut frozen = Pusher::connect_to(&node, "live", "cam:secret", false).await;
    assert_eq!(frozen.next().await, Some(Event::Started));
    let _third = Pusher::start(&node, "cam:secret").await;
    let (code, why) = frozen.refusal().await;
    assert_eq!(code, "NetConnection.Connect.Closed");
    assert_eq!(why, "A newer publisher took over this channel");
}

#[tokio::test]
async fn a_websocket_and_rtmp_take_over_from_each_other() {
    let node = start(config(PublisherPolicy::Takeover)).await;
    let mut socket = node.publish("/cam/secret/publish", b"first").await;
    let mut pusher = Pusher::start(&node, "cam:secret").await;
    socket.is_refused("ERROR: A newer publisher took over this channel", 4409).await;
    let _socket = node.publish("/cam/secret/publish", b"second").await;
    assert_eq!(pusher.refusal().await.1, "A newer publisher took over this channel");
    node.until_ended("rtmp", "replaced", 1).await;
}

#[tokio::test]
async fn a_publisher_without_media_is_closed_when_that_is_configured() {
    let publisher_media_timeout = Some(Duration::from_millis(150));
    let node = start(Config { publisher_media_timeout, ..Config::default() }).await;
    let mut pusher = Pusher::start(&node, "cam:secret").await;
    pusher.picture(0, "a").await;
    assert_eq!(pusher.refusal().await.1, "No media was received from you");
    node.until_ended("rtmp", "stalled", 1).await;
}

#[tokio::test]
async fn a_drain_sends_publishers_away_and_lets_nobody_in() {
    let node = start(Config::default()).await;
    let mut pusher = Pusher::start(&node, "cam:secret").await;
    pusher.picture(0, "a").await;
    node.until_state(ChannelState::Live).await;
    node.trigger.advance();
    let (_, why) = pusher.refusal().await;
    assert!(why.starts_with("The node is leaving service retry_after_ms="), "{why}");
    drop(pusher);
    node.ended().await;
}

#[tokio::test]
async fn without_room_for_a_session_a_publisher_is_told_so() {
    let node = start(Config { sessions_max: 1, ..Config::default() }).await;
    let _first = Pusher::start(&node, "cam:secret").await;
    let (code, why) = Pusher::connect(&node, "other:secret").await.refusal().await;
    assert_eq!(code, "NetConnection.Connect.Rejected");
    assert!(why.starts_with("No room for another session retry_after_ms="), "{why}");
    node.open("/cam/secret/receive").await.is_refused("ERROR: No room for another session", 1013).await;
}

#[tokio::test]
async fn two_hundred_publishers_at_once_all_publish() {
    let node = start(Config::default()).await;
    let mut pushers = Vec::new();
    for number in 0..200 {
        pushers.push(Pusher::connect(&node, &format!("cam{number}:secret")).await);
    }
    let mut all = JoinSet::new();
    for mut pusher in pushers {
        all.spawn(async move {
            assert_eq!(pusher.next().await, Some(Event::Started));
            pusher.picture(0, "a").await;
            pusher
        });
    }
    let pushers = all.join_all().await;
    // A header and a tag of each.
    node.until("relaycast_chunks_received_total", |chunks| chunks == 400.0).await;
    assert_eq!(node.metric("relaycast_publications", &[]), 200.0);
    drop(pushers);
    node.until("relaycast_sessions", |sessions| sessions == 0.0).await;
}

#[tokio::test]
async fn of_a_hundred_publishers_of_one_channel_one_publishes() {
    let node = start(config(PublisherPolicy::Reject)).await;
    let mut all = JoinSet::new();
    for _ in 0..100 {
        let mut pusher = Pusher::connect(&node, "cam:secret").await;
        all.spawn(async move { (pusher.next().await == Some(Event::Started), pusher) });
    }
    let all = all.join_all().await;
    assert_eq!(all.iter().filter(|(publishes, _)| *publishes).count(), 1);
}
