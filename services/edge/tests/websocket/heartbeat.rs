//! The heartbeat, and who is cut for silence.

use std::time::Duration;

use relay_edge::Config;

use crate::support::raw::{BINARY, FIN, PING, PONG, Raw, TEXT, header};
use crate::support::{Node, Seen};

const IDLE_TIMEOUT: Duration = Duration::from_millis(400);

/// More heartbeats than fit into the idle timeout.
const MANY: usize = 14;

fn config() -> Config {
    Config { heartbeat_interval: Duration::from_millis(50), idle_timeout: IDLE_TIMEOUT, ..Config::default() }
}

#[tokio::test]
async fn publishers_waiting_and_served_sessions_all_get_a_text_h_and_a_ping() {
    let node = Node::start(config()).await;
    let _publisher = node.publish("/live/secret/publish", b"first").await.stay();
    for path in ["/cam/secret/publish", "/none/secret/receive", "/none/secret/probe", "/live/secret/receive"]
    {
        let mut client = node.open_raw(path).await;
        let (mut texts, mut pings) = (0, 0);
        while texts < 2 || pings < 2 {
            match client.frame().await.expect("a session that is kept alive") {
                (TEXT, text) => {
                    assert_eq!(text, b"h");
                    texts += 1;
                }
                (PING, _) => pings += 1,
                (BINARY, _) => {}
                other => panic!("{path}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn the_heartbeat_of_a_publisher_is_not_relayed() {
    let node = Node::start(Config::default()).await;
    let mut receiver = node.open_raw("/cam/secret/receive").await;
    let mut publisher = node.open("/cam/secret/publish").await;
    publisher.text("h").await;
    publisher.send(b"chunk").await;
    assert_eq!(receiver.frame().await, Some((BINARY, b"chunk".to_vec())));
}

#[tokio::test]
async fn who_is_silent_is_cut_whatever_its_kind() {
    let node = Node::start(config()).await;
    for (path, kind) in [
        ("/cam/secret/publish", "publish"),
        ("/none/secret/receive", "receive"),
        ("/none/secret/receive-clear-cache", "receive-clear-cache"),
        ("/none/secret/probe", "probe"),
    ] {
        let mut silent = node.open_raw(path).await;
        silent.is_refused("ERROR: Nothing was heard from you", 4408, "idle").await;
        drop(silent);
        node.until_ended(kind, "idle", 1).await;
    }
}

/// Answers each ping until many came.
async fn answer_pings(client: &mut Raw, opcode: u8, payload: &[u8]) {
    for _ in 0..MANY {
        loop {
            match client.frame().await.expect("not cut") {
                (PING, _) => break,
                (opcode, payload) => assert_eq!((opcode, &payload[..]), (TEXT, &b"h"[..])),
            }
        }
        client.send(FIN | opcode, payload).await;
    }
}

#[tokio::test]
async fn a_viewer_that_only_answers_pings_is_not_cut() {
    let node = Node::start(config()).await;
    let mut viewer = node.open_raw("/cam/secret/receive").await;
    answer_pings(&mut viewer, PONG, b"").await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    assert_eq!(viewer.next().await, Seen::Chunk(b"first".to_vec()));
}

#[tokio::test]
async fn a_viewer_that_only_knows_the_letter_is_not_cut() {
    let node = Node::start(config()).await;
    let mut viewer = node.open_raw("/cam/secret/receive").await;
    answer_pings(&mut viewer, TEXT, b"h").await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    assert_eq!(viewer.next().await, Seen::Chunk(b"first".to_vec()));
}

#[tokio::test]
async fn a_publisher_whose_chunk_is_on_its_way_for_long_is_not_cut() {
    let node = Node::start(config()).await;
    let receiver = node.wait_for("/cam/secret/receive").await.stay();
    let mut publisher = node.open_raw("/cam/secret/publish").await;
    publisher.write(header(FIN | BINARY, MANY)).await;
    // Within a frame there is no place for an answer to a ping.
    for _ in 0..MANY {
        while publisher.frame().await.expect("not cut").0 != PING {}
        publisher.write(b"x").await;
    }
    publisher.send(FIN | 8, &1000u16.to_be_bytes()).await;
    let (chunks, _, close) = receiver.ended().await;
    assert_eq!(chunks.len(), 1);
    assert_eq!(close, Some((1000, "publisher_ended".into())));
}

#[tokio::test]
async fn a_viewer_that_is_behind_is_pinged_as_well_as_told() {
    let heartbeat_interval = Duration::from_millis(50);
    let node = Node::start(Config { heartbeat_interval, ..Config::default() }).await;
    let mut viewer = node.connect_narrow().await.upgrade("/cam/secret/receive").await;
    node.until_labelled("relaycast_sessions", &["receive"], |open| open == 1.0).await;
    let mut publisher = node.publish("/cam/secret/publish", &[7; 4 << 20]).await;
    // Far more than the sockets hold is on its way when the next heartbeats are due.
    let mut other = node.open_raw("/other/secret/receive").await;
    for _ in 0..3 {
        while other.frame().await.unwrap().0 != TEXT {}
    }
    publisher.send(b"more").await;
    while viewer.frame().await.unwrap().0 != BINARY {}
    assert_eq!(viewer.frame().await.unwrap().0, TEXT);
    assert_eq!(viewer.frame().await.unwrap().0, PING);
}
