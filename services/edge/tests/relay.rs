//! Publish, receive, probe: what the four kinds do.

mod support;

use relay_edge::Config;
use support::{Node, Seen};

#[tokio::test]
async fn a_receiver_that_waited_gets_the_bytes_that_were_published() {
    let node = Node::start(Config::default()).await;
    let mut receiver = node.open("/cam/secret/receive").await;
    node.until_labelled("relaycast_sessions", &["receive"], |open| open == 1.0).await;
    let mut publisher = node.open("/cam/secret/publish").await;
    for chunk in [&b"one"[..], b"two", &[3; 70_000]] {
        publisher.send(chunk).await;
        assert_eq!(receiver.chunk().await, chunk);
    }
    publisher.close().await;
    assert_eq!(receiver.next().await, Seen::Close(1000, "publisher_ended".into()));
}

#[tokio::test]
async fn a_late_receiver_of_an_opaque_stream_gets_the_cached_tail() {
    let node = Node::start(Config::default()).await;
    let mut publisher = node.publish("/cam/secret/publish", b"first").await;
    let mut receiver = node.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"first");
    publisher.send(b"second").await;
    assert_eq!(receiver.chunk().await, b"second");
}

#[tokio::test]
async fn a_probe_gets_one_chunk() {
    let node = Node::start(Config::default()).await;
    let mut probe = node.open("/cam/secret/probe").await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    assert_eq!(probe.chunk().await, b"first");
    assert_eq!(probe.next().await, Seen::Close(1000, "probe_answered".into()));
}
