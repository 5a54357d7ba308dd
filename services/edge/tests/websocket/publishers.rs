//! Second publishers: who wins, what the other is told, and that there is never more than one.

use std::time::Duration;

use relay_edge::{Config, PublisherPolicy};
use tokio::task::JoinSet;

use crate::support::raw::{BINARY, FIN, PING, frame};
use crate::support::{Client, Node, Rest, Seen, Staying};

const BUSY: &str = "ERROR: Somebody is already publishing on this channel retry_after_ms=";
const REPLACED: &str = "ERROR: A newer publisher took over this channel";

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
async fn with_reject_a_second_publisher_is_told_that_the_channel_is_busy() {
    let node = Node::start(config(PublisherPolicy::Reject)).await;
    let mut first = node.publish("/cam/secret/publish", b"first").await;
    let mut receiver = node.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"first");
    for key in ["secret", "other"] {
        node.open(&format!("/cam/{key}/publish")).await.is_refused(BUSY, 4409).await;
    }
    first.send(b"second").await;
    assert_eq!(receiver.chunk().await, b"second");
    first.close().await;
    node.until("relaycast_publications", |live| live == 0.0).await;
    let _next = node.publish("/cam/other/publish", b"third").await;
}

#[tokio::test]
async fn with_takeover_the_same_key_replaces_and_another_does_not() {
    let node = Node::start(config(PublisherPolicy::Takeover)).await;
    let mut first = node.publish("/cam/secret/publish", b"first").await;
    let mut receiver = node.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"first");
    node.open("/cam/other/publish").await.is_refused(BUSY, 4409).await;
    let before = node.channel().await.epoch;

    let _second = node.publish("/cam/secret/publish", b"second").await;
    first.is_refused(REPLACED, 4409).await;
    drop(first);
    assert_eq!(receiver.chunk().await, b"second", "receivers go on with the new publisher");
    assert!(node.channel().await.epoch > before);
    assert_eq!(node.metric("relaycast_takeovers_total", &[]), 1.0);
    node.until_ended("publish", "replaced", 1).await;
}

#[tokio::test]
async fn a_publisher_that_answers_a_ping_keeps_the_channel() {
    let node = Node::start(config(PublisherPolicy::TakeoverIfStalled)).await;
    let first = node.publish("/cam/secret/publish", b"first").await.stay();
    node.open("/cam/secret/publish").await.is_refused(BUSY, 4409).await;
    node.open("/cam/other/publish").await.is_refused(BUSY, 4409).await;
    assert_eq!(node.metric("relaycast_takeovers_total", &[]), 0.0);
    drop(first);
}

#[tokio::test]
async fn a_publisher_that_does_not_answer_a_ping_is_replaced_by_the_same_key_only() {
    let node = Node::start(config(PublisherPolicy::TakeoverIfStalled)).await;
    let mut frozen = node.open_raw("/cam/secret/publish").await;
    frozen.chunk(b"first").await;
    node.until("relaycast_chunks_received_total", |count| count == 1.0).await;
    node.open("/cam/other/publish").await.is_refused(BUSY, 4409).await;

    let _second = node.publish("/cam/secret/publish", b"second").await;
    frozen.is_refused(REPLACED, 4409, "replaced").await;
    assert_eq!(node.metric("relaycast_takeovers_total", &[]), 1.0);
}

#[tokio::test]
async fn a_publisher_that_answers_pings_and_sends_no_media_is_replaced() {
    let stalled = Config {
        publisher_stall_timeout: Duration::from_millis(100),
        ..config(PublisherPolicy::TakeoverIfStalled)
    };
    let node = Node::start(stalled).await;
    let first = node.publish("/cam/secret/publish", b"first").await.stay();
    node.until_state(relay_proto::api::ChannelState::Stalled).await;
    let _second = node.publish("/cam/secret/publish", b"second").await;
    first.was_refused(REPLACED, 4409).await;
}

#[tokio::test]
async fn a_publisher_in_the_middle_of_a_long_chunk_keeps_the_channel() {
    let challenge_timeout = Duration::from_secs(10);
    let node = Node::start(Config { challenge_timeout, ..config(PublisherPolicy::TakeoverIfStalled) }).await;
    let mut slow = node.open_raw("/cam/secret/publish").await;
    let chunk = frame(FIN | BINARY, &[7; 100]);
    slow.write(&chunk[..50]).await;
    node.until("relaycast_publications", |live| live == 1.0).await;
    let second = node.open("/cam/secret/publish").await.stay();
    // The ping that the second publisher caused; what the first can answer in the middle of a frame is more of it.
    while slow.frame().await.unwrap().0 != PING {}
    slow.write(&chunk[50..60]).await;
    second.was_refused(BUSY, 4409).await;
}

#[tokio::test]
async fn a_publisher_without_media_is_closed_when_that_is_configured() {
    let publisher_media_timeout = Some(Duration::from_millis(150));
    let node = Node::start(Config { publisher_media_timeout, ..Config::default() }).await;
    let mut publisher = node.publish("/cam/secret/publish", b"first").await;
    publisher.is_refused("ERROR: No media was received from you", 4408).await;
    drop(publisher);
    node.until_ended("publish", "stalled", 1).await;
}

/// A hundred publishers at once on one channel.
async fn hundred(node: &Node) -> JoinSet<Rest> {
    let mut all = JoinSet::new();
    let address = node.address;
    for _ in 0..100 {
        all.spawn(async move {
            let mut client = Client::connect(address, "/cam/secret/publish").await;
            client.rest().await
        });
    }
    all
}

/// Waits until 99 of a hundred have ended for `reason`, and asserts that one publishes.
async fn one_is_left(node: &Node, mut all: JoinSet<Rest>, reason: &str) -> JoinSet<Rest> {
    for _ in 0..99 {
        let (_, texts, close) = all.join_next().await.unwrap().unwrap();
        assert_eq!(close.as_ref().map(|(code, _)| *code), Some(4409), "{texts:?}");
        assert!(close.unwrap().1.starts_with(reason), "{texts:?}");
    }
    node.until_ended("publish", reason, 99).await;
    assert_eq!(node.metric("relaycast_publications", &[]), 1.0);
    assert_eq!(node.metric("relaycast_sessions", &["publish"]), 1.0);
    assert!(all.try_join_next().is_none(), "the one is still there");
    all
}

#[tokio::test]
async fn of_a_hundred_at_once_reject_accepts_exactly_one() {
    let node = Node::start(config(PublisherPolicy::Reject)).await;
    let all = hundred(&node).await;
    let _one = one_is_left(&node, all, "busy").await;
    assert_eq!(node.metric("relaycast_publications_total", &[]), 1.0);
}

#[tokio::test]
async fn of_a_hundred_at_once_takeover_leaves_exactly_one() {
    let node = Node::start(config(PublisherPolicy::Takeover)).await;
    let all = hundred(&node).await;
    let _one = one_is_left(&node, all, "replaced").await;
    assert_eq!(node.metric("relaycast_takeovers_total", &[]), 99.0);
    assert_eq!(node.channel().await.epoch.number(), 100);
}

#[tokio::test]
async fn of_a_hundred_at_once_takeover_if_stalled_accepts_exactly_one() {
    let challenge_timeout = Duration::from_secs(20);
    let node = Node::start(Config { challenge_timeout, ..config(PublisherPolicy::TakeoverIfStalled) }).await;
    let all = hundred(&node).await;
    let _one = one_is_left(&node, all, "busy").await;
    assert_eq!(node.metric("relaycast_publications_total", &[]), 1.0);
}

#[tokio::test]
async fn of_a_hundred_that_find_a_frozen_publisher_exactly_one_takes_over() {
    // Long enough for all to be there before the first runs out of patience.
    let challenge_timeout = Duration::from_secs(1);
    let node = Node::start(Config { challenge_timeout, ..config(PublisherPolicy::TakeoverIfStalled) }).await;
    let frozen = node.open_raw("/cam/secret/publish").await;
    node.until("relaycast_publications", |live| live == 1.0).await;
    let all = hundred(&node).await;
    node.until_ended("publish", "busy", 99).await;
    drop(frozen);
    node.until_labelled("relaycast_sessions", &["publish"], |open| open == 1.0).await;
    let _one = one_is_left(&node, all, "busy").await;
    assert_eq!(node.metric("relaycast_takeovers_total", &[]), 1.0);
}

#[tokio::test]
async fn during_the_grace_period_the_channel_is_kept_for_the_key_that_vanished() {
    for policy in [PublisherPolicy::Reject, PublisherPolicy::Takeover, PublisherPolicy::TakeoverIfStalled] {
        let node = Node::start(config(policy)).await;
        drop(node.publish("/cam/secret/publish", b"first").await);
        node.until("relaycast_publications", |live| live == 0.0).await;
        node.open("/cam/other/publish").await.is_refused(BUSY, 4409).await;
        let _again = node.publish("/cam/secret/publish", b"second").await;
        assert_eq!(node.channel().await.epoch.number(), 2);
    }
}

#[tokio::test]
async fn after_the_grace_period_the_channel_is_anybodys() {
    let grace = Duration::from_millis(1);
    let node = Node::start(Config { grace, ..config(PublisherPolicy::Reject) }).await;
    let mut receiver = node.wait_for("/cam/secret/receive").await;
    drop(node.publish("/cam/secret/publish", b"first").await);
    assert_eq!(receiver.chunk().await, b"first");
    assert_eq!(receiver.next().await, Seen::Close(1000, "publisher_lost".into()));
    let _other = node.publish("/cam/other/publish", b"second").await;
}

#[tokio::test]
async fn a_clean_end_keeps_the_channel_for_nobody() {
    let node = Node::start(config(PublisherPolicy::Reject)).await;
    node.publish("/cam/secret/publish", b"first").await.close().await;
    let _other = node.publish("/cam/other/publish", b"second").await;
}

#[tokio::test]
async fn the_epoch_grows_even_when_nobody_was_there_between() {
    let node = Node::start(config(PublisherPolicy::Reject)).await;
    let mut last = 0;
    for _ in 0..3 {
        let publisher = node.publish("/cam/secret/publish", b"first").await;
        let epoch = node.channel().await.epoch.number();
        assert!(epoch > last, "{epoch} after {last}");
        last = epoch;
        publisher.close().await;
        node.until("relaycast_channels", |channels| channels == 0.0).await;
    }
}

#[tokio::test]
async fn a_publisher_that_is_replaced_again_and_again_leaves_nothing_behind() {
    let node = Node::start(config(PublisherPolicy::Takeover)).await;
    let mut replaced: Vec<Staying> = vec![];
    for _ in 0..20 {
        replaced.push(node.publish("/cam/secret/publish", &[7; 1000]).await.stay());
    }
    let last = replaced.pop().unwrap();
    for publisher in replaced {
        publisher.was_refused(REPLACED, 4409).await;
    }
    drop(last);
    node.until("relaycast_sessions", |open| open == 0.0).await;
    assert_eq!(node.metric("relaycast_publications", &[]), 0.0);
}
