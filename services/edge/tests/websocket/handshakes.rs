//! Handshakes that are slow, endless or wrong, and what happens where there is no room.

use std::time::Duration;

use relay_edge::Config;

use crate::support::raw::HANDSHAKE_HEADERS;
use crate::support::{Bystanders, Node, Seen};

/// Time for a request that a test does not complete.
const SHORT: Duration = Duration::from_millis(200);

async fn until_refused(node: &Node, reason: &str, times: u32) {
    node.until_labelled("relaycast_handshakes_refused_total", &[reason], |count| count == f64::from(times))
        .await;
    assert_eq!(
        node.metric("relaycast_handshakes_refused_total", &[]),
        f64::from(times),
        "{reason} and no other"
    );
}

/// Asserts how a whole request is answered and counted.
async fn answered(request: &[u8], status: &str, reason: &str) -> String {
    let node = Node::start(Config::default()).await;
    let mut others = Bystanders::on(&node).await;
    let mut client = node.connect().await;
    // The node may have seen enough before everything is written.
    let _ = client.try_write(request).await;
    let answer = client.everything().await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
    until_refused(&node, reason, 1).await;
    others.are_undisturbed().await;
    answer
}

/// A handshake with one line replaced, that asks for the connection to end.
async fn with_header(line: &str, replacement: &str) -> String {
    let headers = HANDSHAKE_HEADERS.replace(line, replacement);
    assert_ne!(headers, HANDSHAKE_HEADERS);
    let close = if headers.contains("Connection") { "" } else { "Connection: close\r\n" };
    let request = format!("GET /cam/secret/receive HTTP/1.1\r\n{headers}{close}\r\n");
    let node = Node::start(Config { handshake_timeout: SHORT, ..Config::default() }).await;
    let mut client = node.connect().await;
    client.write(request).await;
    let head = client.head().await;
    node.until_labelled("relaycast_handshakes_refused_total", &["malformed"], |count| count == 1.0).await;
    head
}

#[tokio::test]
async fn who_says_nothing_is_cut_by_the_deadline() {
    let node = Node::start(Config { handshake_timeout: SHORT, ..Config::default() }).await;
    let mut others = Bystanders::on(&node).await;
    let mut silent = node.connect().await;
    silent.everything().await;
    until_refused(&node, "slow", 1).await;
    others.are_undisturbed().await;
    node.until("relaycast_connections", |open| open == 2.0).await;
}

#[tokio::test]
async fn headers_that_come_byte_by_byte_without_an_end_are_cut_by_the_deadline() {
    let node = Node::start(Config { handshake_timeout: SHORT, ..Config::default() }).await;
    let mut others = Bystanders::on(&node).await;
    let mut slow = node.connect().await;
    slow.write("GET /cam/secret/receive HTTP/1.1\r\nX: ").await;
    while slow.try_write("x").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    until_refused(&node, "slow", 1).await;
    others.are_undisturbed().await;
}

#[tokio::test]
async fn a_handshake_that_takes_its_time_within_the_deadline_is_accepted() {
    let node = Node::start(Config::default()).await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    let mut slow = node.connect().await;
    for byte in format!("GET /cam/secret/receive HTTP/1.1\r\n{HANDSHAKE_HEADERS}\r\n").bytes() {
        slow.write([byte]).await;
        tokio::task::yield_now().await;
    }
    assert!(slow.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(slow.next().await, Seen::Chunk(b"first".to_vec()));
}

#[tokio::test]
async fn an_endless_header_is_refused() {
    let request = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(1 << 20));
    answered(request.as_bytes(), "431", "too_large").await;
}

#[tokio::test]
async fn a_hundred_thousand_headers_are_refused() {
    let request = format!("GET /cam/secret/receive HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(100_000));
    answered(request.as_bytes(), "431", "too_large").await;
}

#[tokio::test]
async fn more_headers_than_anybody_sends_are_refused() {
    let request = format!("GET /cam/secret/receive HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(65));
    answered(request.as_bytes(), "431", "too_large").await;
}

#[tokio::test]
async fn an_endless_path_is_refused() {
    let node = Node::start(Config::default()).await;
    let mut client = node.connect().await;
    let _ = client.try_write(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20))).await;
    let answer = client.everything().await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    until_refused(&node, "too_large", 1).await;
}

#[tokio::test]
async fn garbage_is_refused() {
    answered(b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03 a TLS hello\r\n\r\n", "400", "malformed").await;
    answered(b"RTSP OPTIONS *\r\n\r\n", "400", "malformed").await;
}

#[tokio::test]
async fn a_handshake_without_a_nonce_is_refused() {
    let nonce = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for replacement in ["", "Sec-WebSocket-Key: \r\n", "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n"] {
        let head = with_header(nonce, replacement).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    }
}

#[tokio::test]
async fn a_handshake_of_another_version_is_told_the_right_one() {
    let version = "Sec-WebSocket-Version: 13\r\n";
    for replacement in ["", "Sec-WebSocket-Version: 8\r\n", "Sec-WebSocket-Version: 14\r\n"] {
        let head = with_header(version, replacement).await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 400 "), "{head}");
        assert!(head.contains("\r\nsec-websocket-version: 13\r\n"), "{head}");
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_ask_for_an_upgrade_of_the_connection_is_refused() {
    let head = with_header("Connection: Upgrade\r\n", "Connection: keep-alive\r\n").await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}

#[tokio::test]
async fn http_1_0_cannot_be_upgraded() {
    let node = Node::start(Config::default()).await;
    let mut client = node.connect().await;
    client.write(format!("GET /cam/secret/receive HTTP/1.0\r\n{HANDSHAKE_HEADERS}\r\n")).await;
    let answer = client.everything().await;
    assert!(answer.starts_with("HTTP/1.0 400 ") || answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    until_refused(&node, "malformed", 1).await;
}

#[tokio::test]
async fn who_leaves_in_the_middle_of_a_request_is_counted_as_lost() {
    let node = Node::start(Config::default()).await;
    let mut client = node.connect().await;
    client.write("GET /cam/secret/receive HTT").await;
    node.until("relaycast_connections", |open| open == 1.0).await;
    drop(client);
    until_refused(&node, "lost", 1).await;
    node.until("relaycast_connections", |open| open == 0.0).await;
}

#[tokio::test]
async fn a_browser_that_keeps_its_connection_after_an_answer_was_not_slow() {
    let node = Node::start(Config { handshake_timeout: SHORT, ..Config::default() }).await;
    let mut browser = node.connect().await;
    for _ in 0..2 {
        browser.write("GET /v1/channels HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(browser.answer().await.starts_with("HTTP/1.1 200 "));
    }
    browser.everything().await;
    node.until("relaycast_connections", |open| open == 0.0).await;
    assert_eq!(node.metric("relaycast_handshakes_refused_total", &[]), 0.0);
}

#[tokio::test]
async fn where_handshakes_are_at_their_bound_the_next_one_waits_for_its_turn() {
    let handshakes_max = 2;
    let node = Node::start(Config { handshakes_max, ..Config::default() }).await;
    let mut others = Bystanders::on(&node).await;
    let first = node.connect().await;
    let _second = node.connect().await;
    node.until("relaycast_connections", |open| open == 4.0).await;
    let mut third = node.connect().await;
    third.write(format!("GET /cam/secret/receive HTTP/1.1\r\n{HANDSHAKE_HEADERS}\r\n")).await;
    others.are_undisturbed().await;
    assert_eq!(node.metric("relaycast_connections", &[]), 4.0, "it stays in the kernel's queue");
    drop(first);
    assert!(third.head().await.starts_with("HTTP/1.1 101 "));
}

#[tokio::test]
async fn where_sessions_are_at_their_bound_the_next_one_is_told_when_to_come_back() {
    let node = Node::start(Config { sessions_max: 2, ..Config::default() }).await;
    let mut others = Bystanders::on(&node).await;
    for kind in ["publish", "receive", "probe"] {
        let mut refused = node.open(&format!("/cam/secret/{kind}")).await;
        let (chunks, texts, close) = refused.rest().await;
        assert!(chunks.is_empty());
        assert!(texts[0].starts_with("ERROR: No room for another session retry_after_ms="), "{texts:?}");
        let (code, reason) = close.unwrap();
        assert_eq!(code, 1013);
        let hint: u32 = reason.strip_prefix("full retry_after_ms=").unwrap().parse().unwrap();
        assert!((500..3_000).contains(&hint), "{hint}");
        drop(refused);
        node.until_ended(kind, "full", 1).await;
    }
    others.are_undisturbed().await;
    drop(others);
    node.until("relaycast_connections", |open| open == 0.0).await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
}

#[tokio::test]
async fn where_receivers_of_a_channel_are_at_their_bound_another_channel_has_room() {
    let node = Node::start(Config { receivers_per_channel_max: 2, ..Config::default() }).await;
    let _first = node.wait_for("/cam/secret/receive").await;
    let second = node.wait_for("/cam/secret/receive-clear-cache").await;
    node.open("/cam/secret/receive").await.is_refused("ERROR: No room for another session", 1013).await;
    let _probe = node.wait_for("/cam/secret/probe").await;
    let _elsewhere = node.wait_for("/other/secret/receive").await;
    drop(second);
    node.until_labelled("relaycast_sessions", &["receive-clear-cache"], |open| open == 0.0).await;
    let mut third = node.wait_for("/cam/secret/receive").await;
    let _publisher = node.publish("/cam/secret/publish", b"first").await;
    assert_eq!(third.chunk().await, b"first");
}
