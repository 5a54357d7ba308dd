//! Receivers that cannot keep up: they hurt themselves, are counted, and are closed with a reason.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use relay_edge::Config;
use tokio::task::JoinSet;

use crate::support::media::{flv_init, flv_key_of, picture_of};
use crate::support::raw::{FIN, PONG, Raw, frame};
use crate::support::{Client, Node, Seen};

/// More than the sockets between a node and a client that does not read ever hold.
const FLOOD_BYTES: usize = 8 << 20;

const CHUNK_BYTES: usize = 16 << 10;

const FLOOD_CHUNKS: u32 = (FLOOD_BYTES / CHUNK_BYTES) as u32;

/// A chunk that carries a number.
fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut chunk = number.to_be_bytes().to_vec();
    chunk.resize(len, 0);
    chunk
}

/// The number in a chunk, at the place where its kind of stream has it.
fn number(chunk: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*chunk[at..].first_chunk().unwrap())
}

async fn until_received(node: &Node, chunks: u32) {
    node.until("relaycast_chunks_received_total", |count| count == f64::from(chunks)).await;
}

async fn next_chunk(receiver: &mut Raw) -> Vec<u8> {
    match receiver.next().await {
        Seen::Chunk(chunk) => chunk,
        other => panic!("a chunk is expected, not {other:?}"),
    }
}

#[tokio::test]
async fn a_frozen_receiver_changes_nothing_for_200_healthy_ones_and_is_closed() {
    const HEALTHY: u32 = 200;
    const CHUNKS: u32 = 100;
    let write_timeout = Duration::from_millis(500);
    let node = Node::start(Config { write_timeout, ..Config::default() }).await;
    let frozen = node.connect_narrow().await.upgrade("/cam/secret/receive").await;
    node.until_labelled("relaycast_sessions", &["receive"], |open| open == 1.0).await;
    let mut publisher = node.open("/cam/secret/publish").await;
    for _ in 0..FLOOD_CHUNKS {
        publisher.send(&[0; CHUNK_BYTES]).await;
    }
    until_received(&node, FLOOD_CHUNKS).await;

    let mut healthy = JoinSet::new();
    for _ in 0..HEALTHY {
        let mut receiver = Client::connect(node.address, "/cam/secret/receive?cache=live").await;
        healthy.spawn(async move {
            for wanted in 0..CHUNKS {
                assert_eq!(number(&receiver.chunk().await, 0), wanted);
            }
            receiver
        });
    }
    node.until_labelled("relaycast_sessions", &["receive"], |open| open >= f64::from(HEALTHY)).await;
    for wanted in 0..CHUNKS {
        publisher.send(&numbered(wanted, 1000)).await;
        tokio::task::yield_now().await;
    }
    let healthy = healthy.join_all().await;
    assert_eq!(node.metric("relaycast_skips_total", &[]), 0.0);
    node.until_ended("receive", "too_slow", 1).await;
    assert_eq!(node.metric("relaycast_sessions", &["receive"]), f64::from(HEALTHY));
    drop((frozen, healthy));
}

#[tokio::test]
async fn a_receiver_that_fell_out_of_the_ring_goes_on_at_the_newest_join_point() {
    // Two chunks make a picture; the second half has an odd number.
    let half = |number: u32| {
        let picture = picture_of(&numbered(number / 2 * 2, 2 * CHUNK_BYTES));
        let (first, second) = picture.split_at(CHUNK_BYTES);
        if number.is_multiple_of(2) { first.to_vec() } else { second.to_vec() }
    };
    let at = picture_of(&[]).len() - 2;
    let node = Node::start(Config { cache_bytes: 512 << 10, ..Config::default() }).await;
    let mut slow = node.connect_narrow().await.upgrade("/cam/secret/receive").await;
    node.until_labelled("relaycast_sessions", &["receive"], |open| open == 1.0).await;
    let mut publisher = node.open("/cam/secret/publish").await;
    for number in 0..FLOOD_CHUNKS {
        publisher.send(&half(number)).await;
    }
    until_received(&node, FLOOD_CHUNKS).await;

    let (mut next, mut holes) = (0, vec![]);
    while next < FLOOD_CHUNKS {
        let chunk = next_chunk(&mut slow).await;
        if chunk != half(next) {
            let joined = number(&chunk, at);
            assert!(
                joined > next && chunk == half(joined),
                "in order, and a hole ends where a picture begins"
            );
            holes.push(joined);
            next = joined;
        }
        next += 1;
    }
    assert_eq!(holes, [FLOOD_CHUNKS - 2], "one hole, up to the newest picture");
    assert_eq!(node.metric("relaycast_skips_total", &[]), 1.0);
    publisher.send(&half(next)).await;
    assert!(next_chunk(&mut slow).await == half(next), "live again");
}

#[tokio::test]
async fn after_a_skip_a_receiver_with_notices_is_told_and_starts_with_the_init() {
    let node = Node::start(Config { cache_bytes: 512 << 10, ..Config::default() }).await;
    let mut slow = node.connect_narrow().await.upgrade("/cam/secret/receive?notices=1").await;
    node.until_labelled("relaycast_sessions", &["receive"], |open| open == 1.0).await;
    let mut publisher = node.open("/cam/secret/publish").await;
    publisher.send(&flv_init(1)).await;
    for number in 1..FLOOD_CHUNKS {
        publisher.send(&flv_key_of(&numbered(number, CHUNK_BYTES))).await;
    }
    until_received(&node, FLOOD_CHUNKS).await;
    loop {
        match slow.next().await {
            Seen::Text(text) if text == r#"{"type":"skip","reason":"lag"}"# => break,
            Seen::Chunk(_) | Seen::Text(_) => {}
            other => panic!("a skip is expected, not {other:?}"),
        }
    }
    assert!(next_chunk(&mut slow).await.starts_with(&flv_init(1)));
    let newest = flv_key_of(&numbered(FLOOD_CHUNKS - 1, CHUNK_BYTES));
    assert!(next_chunk(&mut slow).await == newest, "the newest key frame");
}

#[tokio::test]
async fn a_receiver_of_an_opaque_stream_that_fell_out_goes_on_with_the_newest_bytes() {
    let node = Node::start(Config { cache_bytes: 512 << 10, ..Config::default() }).await;
    let mut slow = node.connect_narrow().await.upgrade("/cam/secret/receive").await;
    node.until_labelled("relaycast_sessions", &["receive"], |open| open == 1.0).await;
    let mut publisher = node.open("/cam/secret/publish").await;
    for number in 0..FLOOD_CHUNKS {
        publisher.send(&numbered(number, CHUNK_BYTES)).await;
    }
    until_received(&node, FLOOD_CHUNKS).await;
    // What was on its way when the socket was full comes in order and without a hole.
    let mut next = 0;
    while node.metric("relaycast_skips_total", &[]) == 0.0 {
        assert_eq!(number(&next_chunk(&mut slow).await, 0), next);
        next += 1;
    }
    // With the whole ring ahead of it, and not at its oldest end, where it would fall out again with the next chunk.
    for number in FLOOD_CHUNKS..FLOOD_CHUNKS + 3 {
        publisher.send(&numbered(number, CHUNK_BYTES)).await;
    }
    let mut last = number(&next_chunk(&mut slow).await, 0);
    while last == next {
        next += 1;
        last = number(&next_chunk(&mut slow).await, 0);
    }
    assert_eq!(last, FLOOD_CHUNKS);
    assert_eq!(number(&next_chunk(&mut slow).await, 0), FLOOD_CHUNKS + 1);
    assert_eq!(node.metric("relaycast_skips_total", &[]), 1.0);
}

#[tokio::test]
async fn a_receiver_that_skips_again_and_again_is_closed() {
    let node = Node::start(Config { cache_bytes: 512 << 10, skips_max: 1, ..Config::default() }).await;
    let mut slow = node.connect_narrow().await.upgrade("/cam/secret/receive").await;
    node.until_labelled("relaycast_sessions", &["receive"], |open| open == 1.0).await;
    let mut publisher = node.open("/cam/secret/publish").await;
    let mut sent = 0;
    let mut flood = async || {
        for _ in 0..FLOOD_CHUNKS {
            publisher.send(&picture_of(&numbered(sent, CHUNK_BYTES))).await;
            sent += 1;
        }
        until_received(&node, sent).await;
        sent - 1
    };
    let newest = flood().await;
    while next_chunk(&mut slow).await != picture_of(&numbered(newest, CHUNK_BYTES)) {}
    assert_eq!(node.metric("relaycast_skips_total", &[]), 1.0);
    flood().await;
    let refusal = loop {
        match slow.next().await {
            Seen::Chunk(_) => {}
            other => break other,
        }
    };
    assert_eq!(refusal, Seen::Text("ERROR: Your connection is too slow for this stream".into()));
    assert_eq!(slow.next().await, Seen::Close(4499, "too_slow".into()));
    drop(slow);
    node.until_ended("receive", "too_slow", 1).await;
    assert_eq!(node.metric("relaycast_skips_total", &[]), 2.0);
}

#[tokio::test]
async fn a_frozen_receiver_costs_the_kernel_no_more_than_a_moment_of_the_stream() {
    let node = Node::start(Config::default()).await;
    let _frozen = node.connect_narrow().await.upgrade("/cam/secret/receive").await;
    node.until_labelled("relaycast_sessions", &["receive"], |open| open == 1.0).await;
    let mut publisher = node.open("/cam/secret/publish").await;
    for _ in 0..FLOOD_CHUNKS {
        publisher.send(&[0; CHUNK_BYTES]).await;
    }
    until_received(&node, FLOOD_CHUNKS).await;
    let taken = node.metric("relaycast_chunks_sent_total", &[]) * CHUNK_BYTES as f64;
    assert!(taken <= f64::from(1 << 20), "{taken} bytes are on their way to somebody who does not read");
}

#[tokio::test]
async fn a_receiver_that_takes_little_but_takes_it_is_not_closed() {
    let write_timeout = Duration::from_secs(1);
    let node = Node::start(Config { write_timeout, ..Config::default() }).await;
    let mut slow = node.connect_narrow().await.upgrade("/cam/secret/receive").await;
    node.until_labelled("relaycast_sessions", &["receive"], |open| open == 1.0).await;
    let mut publisher = node.open("/cam/secret/publish").await;
    for number in 0..FLOOD_CHUNKS {
        publisher.send(&numbered(number, CHUNK_BYTES)).await;
    }
    // A chunk each 10 ms, for twice as long as a socket may take nothing.
    let began = std::time::Instant::now();
    let mut next = 0;
    while began.elapsed() < 2 * write_timeout || next < 20 {
        assert_eq!(number(&next_chunk(&mut slow).await, 0), next);
        next += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(node.metric("relaycast_sessions", &["receive"]), 1.0);
}

/// Bytes of frames that mean nothing, without end, from a thread of its own.
fn flood(stream: std::net::TcpStream, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let stop = Arc::clone(stop);
    let pongs = frame(FIN | PONG, b"").repeat(10_000);
    stream.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        let mut stream = stream;
        while !stop.load(Ordering::Relaxed) && stream.write_all(&pongs).is_ok() {}
    })
}

#[tokio::test]
async fn who_sends_without_end_leaves_others_their_turn() {
    // Node and clients share one thread here: if the flood kept it, nothing below would ever happen.
    let node = Node::start(Config::default()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let waiting = node.connect().await.upgrade("/cam/secret/receive").await;
    let refused = node.connect().await.upgrade("/cam/secret/nonsense").await;
    let floods = [waiting, refused].map(|client| flood(client.stream.into_std().unwrap(), &stop));
    let mut publisher = node.publish("/other/secret/publish", b"first").await;
    let mut receiver = node.open("/other/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"first");
    for _ in 0..100 {
        publisher.send(b"more").await;
        assert_eq!(receiver.chunk().await, b"more");
    }
    stop.store(true, Ordering::Relaxed);
    node.trigger.advance();
    node.trigger.advance();
    node.ended().await;
    for flood in floods {
        flood.join().unwrap();
    }
}
