//! Who may receive.

use relay_edge::{Config, ReceivePolicy};

use crate::support::{Node, Seen};

const WRONG: &str = "ERROR: Invalid streaming key";

#[tokio::test]
async fn a_waiting_receiver_with_a_wrong_key_gets_the_error_and_not_one_byte_of_data() {
    let node = Node::start(Config::default()).await;
    let mut right = node.wait_for("/cam/secret/receive").await;
    let mut wrong = node.open_raw("/cam/Secret/receive").await;
    let mut clearing = node.open_raw("/cam/secre/receive-clear-cache?cache=init").await;
    node.until("relaycast_sessions", |open| open == 3.0).await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    wrong.is_refused(WRONG, 4403, "wrong_key").await;
    clearing.is_refused(WRONG, 4403, "wrong_key").await;
    assert_eq!(right.chunk().await, b"first");
}

#[tokio::test]
async fn a_late_receiver_with_a_wrong_key_is_refused_at_once() {
    let node = Node::start(Config::default()).await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    for path in ["/cam/secret1/receive", "/cam/x/receive-clear-cache", "/cam/secreT/receive?cache=init"] {
        node.open_raw(path).await.is_refused(WRONG, 4403, "wrong_key").await;
    }
    let mut right = node.open("/cam/secret/receive").await;
    assert_eq!(right.chunk().await, b"first", "who was refused cleared nothing");
}

#[tokio::test]
async fn a_probe_with_a_wrong_key_is_refused_live_and_waiting() {
    let node = Node::start(Config::default()).await;
    let mut waiting = node.open_raw("/cam/other/probe").await;
    node.until_labelled("relaycast_sessions", &["probe"], |open| open == 1.0).await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    waiting.is_refused(WRONG, 4403, "wrong_key").await;
    node.open_raw("/cam/other/probe").await.is_refused(WRONG, 4403, "wrong_key").await;
    drop(waiting);
    node.until_ended("probe", "wrong_key", 2).await;
}

#[tokio::test]
async fn a_receiver_of_one_publication_is_checked_against_the_key_of_the_next() {
    let grace = std::time::Duration::from_millis(1);
    let node = Node::start(Config { grace, ..Config::default() }).await;
    let mut early = node.wait_for("/cam/second/receive").await;
    drop(node.publish("/cam/second/publish", b"first").await);
    assert_eq!(early.chunk().await, b"first");
    assert_eq!(early.next().await, Seen::Close(1000, "publisher_lost".into()));
    drop(early);
    let mut waiting = node.open_raw("/cam/second/receive").await;
    node.until_labelled("relaycast_session_ends_total", &["publisher_lost"], |ended| ended == 1.0).await;
    let _publisher = node.publish("/cam/third/publish", b"other").await;
    waiting.is_refused(WRONG, 4403, "wrong_key").await;
}

#[tokio::test]
async fn an_open_node_admits_whatever_the_key() {
    let node = Node::start(Config { receive_policy: ReceivePolicy::Open, ..Config::default() }).await;
    let mut waiting = node.wait_for("/cam/whatever/receive").await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    assert_eq!(waiting.chunk().await, b"first");
    assert_eq!(node.open("/cam/another/receive").await.chunk().await, b"first");
    assert_eq!(node.open("/cam/another/probe").await.chunk().await, b"first");
}

#[tokio::test]
async fn a_key_is_neither_in_the_metrics_nor_in_the_api() {
    let node = Node::start(Config::default()).await;
    let _publisher = node.publish("/cam/S3cretOfTheCamera/publish", b"first").await;
    let mut receiver = node.open("/cam/S3cretOfTheCamera/receive?notices=1").await;
    assert!(matches!(receiver.next().await, Seen::Text(notice) if !notice.contains("S3cret")));
    node.open("/cam/Wr0ngKeyOfAViewer/receive").await.is_refused(WRONG, 4403).await;
    let metrics = node.metrics_text();
    assert!(metrics.contains("relaycast_sessions"));
    let api = format!("{:?}", node.channels().await);
    for text in [metrics, api] {
        assert!(!text.contains("S3cret") && !text.contains("Wr0ng"), "{text}");
    }
}
