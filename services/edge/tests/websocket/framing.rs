//! Frames that break RFC 6455 or the node's limits: a clear end for who sends them, nothing for others.

use relay_edge::Config;

use crate::support::raw::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Raw, TEXT, frame, header};
use crate::support::{Bystanders, Node, Seen};

const CHUNK_BYTES_MAX: usize = 1000;

const VIOLATION: (&str, u16, &str) = ("ERROR: Websocket protocol violation", 1002, "protocol_violation");
const TOO_BIG: (&str, u16, &str) =
    ("ERROR: The message is larger than this node takes", 1009, "chunk_too_big");
const BAD_TEXT: (&str, u16, &str) = ("ERROR: A text message is not UTF-8", 1007, "bad_text");
const UNEXPECTED_TEXT: (&str, u16, &str) =
    ("ERROR: A publisher sends binary messages and the heartbeat, nothing else", 1008, "unexpected_text");

async fn node() -> Node {
    Node::start(Config { chunk_bytes_max: CHUNK_BYTES_MAX, ..Config::default() }).await
}

/// Asserts how the node ends sessions of each kind that send these bytes.
async fn ends(kinds: &[&str], bytes: &[u8], (text, code, reason): (&str, u16, &str)) {
    let node = node().await;
    let mut others = Bystanders::on(&node).await;
    for kind in kinds {
        let mut client = node.open_raw(&format!("/cam/secret/{kind}")).await;
        client.write(bytes).await;
        client.is_refused(text, code, reason).await;
        drop(client);
        node.until_ended(kind, reason, 1).await;
        others.are_undisturbed().await;
    }
    assert_eq!(node.metric("relaycast_sessions", &[]), 2.0);
}

const ALL: &[&str] = &["publish", "receive", "receive-clear-cache", "probe"];

#[tokio::test]
async fn an_unmasked_frame() {
    ends(ALL, &[FIN | BINARY, 3, 1, 2, 3], VIOLATION).await;
}

#[tokio::test]
async fn reserved_bits() {
    for bit in [0x40, 0x20, 0x10] {
        ends(&["publish"], &frame(FIN | bit | BINARY, b"x"), VIOLATION).await;
    }
}

#[tokio::test]
async fn reserved_opcodes() {
    for opcode in [3, 7, 11, 15] {
        ends(&["publish"], &frame(FIN | opcode, b"x"), VIOLATION).await;
    }
}

#[tokio::test]
async fn a_control_frame_of_more_than_125_bytes() {
    ends(ALL, &frame(FIN | PING, &[0; 126]), VIOLATION).await;
}

#[tokio::test]
async fn a_fragmented_control_frame() {
    ends(&["publish"], &frame(PING, b"x"), VIOLATION).await;
}

#[tokio::test]
async fn a_continuation_of_nothing() {
    ends(&["publish"], &frame(FIN | CONTINUATION, b"x"), VIOLATION).await;
}

#[tokio::test]
async fn a_message_within_a_message() {
    ends(&["publish"], &[frame(BINARY, b"x"), frame(FIN | BINARY, b"y")].concat(), VIOLATION).await;
}

#[tokio::test]
async fn a_close_frame_of_one_byte() {
    ends(ALL, &frame(FIN | CLOSE, &[3]), VIOLATION).await;
}

#[tokio::test]
async fn text_that_is_not_utf_8() {
    ends(ALL, &frame(FIN | TEXT, &[0xC3, 0x28]), BAD_TEXT).await;
}

#[tokio::test]
async fn text_from_a_publisher() {
    for text in [&b"hello"[..], b"H", b"hh", b"", b"h\n"] {
        ends(&["publish"], &frame(FIN | TEXT, text), UNEXPECTED_TEXT).await;
    }
}

#[tokio::test]
async fn a_frame_one_byte_over_the_limit_is_refused_by_its_header() {
    ends(&["publish"], &header(FIN | BINARY, CHUNK_BYTES_MAX + 1), TOO_BIG).await;
    ends(&["publish"], &header(FIN | BINARY, usize::MAX >> 1), TOO_BIG).await;
}

#[tokio::test]
async fn fragments_that_are_over_the_limit_together() {
    let bytes = [frame(BINARY, &[1; CHUNK_BYTES_MAX]), frame(FIN | CONTINUATION, &[2; 1])].concat();
    ends(&["publish"], &bytes, TOO_BIG).await;
}

#[tokio::test]
async fn what_a_viewer_sends_has_a_limit_of_its_own() {
    ends(&["receive", "probe"], &header(FIN | BINARY, 4097), TOO_BIG).await;
}

#[tokio::test]
async fn a_message_without_an_end() {
    let node = node().await;
    let mut others = Bystanders::on(&node).await;
    let mut client = node.open_raw("/cam/secret/publish").await;
    client.send(BINARY, b"x").await;
    let fragment = frame(CONTINUATION, &[0; 100]);
    for _ in 0..CHUNK_BYTES_MAX / 100 {
        client.write(&fragment).await;
    }
    let (text, code, reason) = TOO_BIG;
    client.is_refused(text, code, reason).await;
    drop(client);
    node.until_ended("publish", reason, 1).await;
    others.are_undisturbed().await;
}

#[tokio::test]
async fn who_sends_on_and_on_after_a_refusal_still_learns_why() {
    let node = node().await;
    let mut client = node.open_raw("/cam/secret/publish").await;
    client.write(header(FIN | BINARY, 4 << 20)).await;
    // Far more than the sockets between hold: this returns because the node reads.
    client.write(vec![0; 4 << 20]).await;
    client.is_refused(TOO_BIG.0, TOO_BIG.1, TOO_BIG.2).await;
}

/// A publisher of raw frames, and a receiver that waits for what it sends.
async fn relayed(bytes: &[u8], chunks: &[&[u8]]) -> Raw {
    let node = node().await;
    let mut receiver = node.wait_for("/cam/secret/receive").await;
    let mut publisher = node.open_raw("/cam/secret/publish").await;
    publisher.write(bytes).await;
    for chunk in chunks {
        assert_eq!(receiver.next().await, Seen::Chunk(chunk.to_vec()));
    }
    publisher
}

#[tokio::test]
async fn a_frame_at_the_limit_is_relayed() {
    let chunk = [7; CHUNK_BYTES_MAX];
    relayed(&frame(FIN | BINARY, &chunk), &[&chunk]).await;
}

#[tokio::test]
async fn fragments_at_the_limit_with_pings_between_are_one_chunk() {
    let bytes = [
        frame(BINARY, &[1; 400]),
        frame(FIN | PING, b"are you there"),
        frame(CONTINUATION, &[]),
        frame(CONTINUATION, &[2; 400]),
        frame(FIN | PONG, b""),
        frame(FIN | CONTINUATION, &[3; 200]),
        frame(FIN | BINARY, b"next"),
    ];
    let chunk = [&[1; 400][..], &[2; 400], &[3; 200]].concat();
    let mut publisher = relayed(&bytes.concat(), &[&chunk, b"next"]).await;
    assert_eq!(publisher.frame().await, Some((PONG, b"are you there".to_vec())));
}

#[tokio::test]
async fn frames_that_arrive_byte_by_byte_are_frames() {
    let node = node().await;
    let mut receiver = node.wait_for("/cam/secret/receive").await;
    let mut publisher = node.open_raw("/cam/secret/publish").await;
    publisher.stream.set_nodelay(true).unwrap();
    for byte in [frame(BINARY, b"one "), frame(FIN | CONTINUATION, b"chunk")].concat() {
        publisher.write([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(receiver.chunk().await, b"one chunk");
}

#[tokio::test]
async fn frames_in_one_piece_with_the_handshake_are_not_lost() {
    let node = node().await;
    let mut receiver = node.wait_for("/cam/secret/receive").await;
    let mut publisher = node.connect().await;
    let request =
        format!("GET /cam/secret/publish HTTP/1.1\r\n{}\r\n", crate::support::raw::HANDSHAKE_HEADERS);
    publisher.write([request.as_bytes(), &frame(FIN | BINARY, b"first")].concat()).await;
    assert!(publisher.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(receiver.chunk().await, b"first");
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload_whatever_the_kind() {
    let node = node().await;
    for kind in ALL {
        let mut client = node.open_raw(&format!("/cam/secret/{kind}")).await;
        client.send(FIN | PING, &[9; 125]).await;
        assert_eq!(client.frame().await, Some((PONG, vec![9; 125])), "{kind}");
        client.send(FIN | CLOSE, &1000_u16.to_be_bytes()).await;
        assert_eq!(client.next().await, Seen::Close(1000, "client_closed".into()));
        drop(client);
        node.until_ended(kind, "client_closed", 1).await;
    }
}

#[tokio::test]
async fn who_pings_and_never_reads_costs_a_bounded_number_of_answers() {
    let node = node().await;
    let mut others = Bystanders::on(&node).await;
    let mut client = node.connect_narrow().await.upgrade("/cam/secret/receive").await;
    let pings = frame(FIN | PING, &[0; 125]).repeat(1000);
    // 12 MB of answers that nobody takes.
    for _ in 0..100 {
        client.write(&pings).await;
    }
    others.are_undisturbed().await;
    assert_eq!(node.metric("relaycast_sessions", &[]), 3.0);
}

#[tokio::test]
async fn what_a_viewer_sends_is_not_relayed() {
    let node = node().await;
    let mut others = Bystanders::on(&node).await;
    let mut viewer = node.open("/bystanders/key/receive").await;
    assert_eq!(viewer.chunk().await, b"first");
    viewer.send(b"binary").await;
    viewer.text("some text").await;
    others.are_undisturbed().await;
    assert_eq!(viewer.chunk().await, b"1");
}
