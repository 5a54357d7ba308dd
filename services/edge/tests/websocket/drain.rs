//! Leaving service in order.

use std::time::{Duration, Instant};

use relay_edge::Config;
use relay_lifecycle::drain::Phase;

use crate::support::{Node, Staying};

const LEAVING: &str = "ERROR: The node is leaving service retry_after_ms=";

/// Asserts that a session was told to come back, and when.
async fn was_drained(session: Staying) {
    let (_, texts, close) = session.ended().await;
    assert!(texts.len() == 1 && texts[0].starts_with(LEAVING), "{texts:?}");
    let (code, reason) = close.unwrap();
    assert_eq!(code, 1012);
    let hint: u32 = reason.strip_prefix("draining retry_after_ms=").unwrap().parse().unwrap();
    assert!((500..3_000).contains(&hint), "{hint}");
}

/// No deadline that a test waits for.
fn config() -> Config {
    let long = Duration::from_secs(600);
    Config { drain_deadline: long, handshake_timeout: long, ..Config::default() }
}

async fn until_leaving(node: &Node) {
    while node.readiness.check().is_ok() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn receivers_leave_before_publishers_and_all_are_told_to_come_back() {
    let node = Node::start(Config::default()).await;
    let publisher = node.publish("/cam/secret/publish", b"first").await.stay();
    let mut receivers = vec![];
    for _ in 0..20 {
        receivers.push(node.wait_for("/cam/secret/receive").await.stay());
    }
    receivers.push(node.wait_for("/none/secret/receive").await.stay());
    receivers.push(node.wait_for("/none/secret/probe").await.stay());
    assert_eq!(node.readiness.check(), Ok(()));

    let began = Instant::now();
    assert_eq!(node.trigger.advance(), Phase::Draining);
    was_drained(publisher).await;
    // Two milliseconds for each connection.
    assert!(began.elapsed() >= Duration::from_millis(46), "publishers stay until receivers had their time");
    for receiver in receivers {
        was_drained(receiver).await;
    }
    assert_eq!(node.readiness.check(), Err(vec!["draining"]));
    node.ended().await;
}

#[tokio::test]
async fn a_node_without_sessions_leaves_at_once() {
    let node = Node::start(config()).await;
    node.trigger.advance();
    node.ended().await;
}

#[tokio::test]
async fn who_comes_during_the_drain_is_sent_elsewhere() {
    let node = Node::start(config()).await;
    // Keeps the node from being done: a client may still be about to send its request.
    let mut undecided = node.connect().await;
    node.until("relaycast_connections", |open| open == 1.0).await;
    node.trigger.advance();
    until_leaving(&node).await;
    for kind in ["publish", "receive", "receive-clear-cache", "probe"] {
        was_drained(node.open(&format!("/cam/secret/{kind}")).await.stay()).await;
    }
    undecided.write("GET /v1/channels HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = undecided.everything().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "what was asked for is answered: {answer}");
    node.ended().await;
}

#[tokio::test]
async fn a_page_that_polls_does_not_hold_up_the_drain() {
    let node = Node::start(config()).await;
    let mut page = node.connect().await;
    for _ in 0..2 {
        page.write("GET /v1/channels HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(page.answer().await.starts_with("HTTP/1.1 200 "));
    }
    node.trigger.advance();
    until_leaving(&node).await;
    page.write("GET /v1/channels HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(page.everything().await.starts_with("HTTP/1.1 200 "), "answered, and then closed");
    node.ended().await;
}

#[tokio::test]
async fn at_the_deadline_the_node_leaves_whoever_is_still_there() {
    let drain_deadline = Duration::from_millis(300);
    let node = Node::start(Config { drain_deadline, ..Config::default() }).await;
    let mut silent = node.connect().await;
    let mut frozen = node.open_raw("/cam/secret/receive").await;
    node.until("relaycast_connections", |open| open == 2.0).await;
    let began = Instant::now();
    node.trigger.advance();
    node.ended().await;
    assert!(began.elapsed() >= drain_deadline);
    silent.everything().await;
    frozen.everything().await;
}

#[tokio::test]
async fn a_second_signal_ends_the_drain() {
    let node = Node::start(config()).await;
    let _silent = node.connect().await;
    node.until("relaycast_connections", |open| open == 1.0).await;
    assert_eq!(node.trigger.advance(), Phase::Draining);
    assert_eq!(node.trigger.advance(), Phase::Cut);
    node.ended().await;
}
