//! How a publication ends, and what becomes of its receivers.

use std::time::{Duration, Instant};

use relay_edge::{Config, PublisherPolicy};

use crate::support::media::{flv_delta, flv_init, flv_key};
use crate::support::raw::{BINARY, CLOSE, FIN, HANDSHAKE_HEADERS, frame};
use crate::support::{Client, Node, Seen};

fn ended() -> Seen {
    Seen::Close(1000, "publisher_ended".into())
}

fn lost() -> Seen {
    Seen::Close(1000, "publisher_lost".into())
}

/// Ends a connection without a close frame, and waits until the node has noticed.
async fn vanish(node: &Node, publisher: Client) {
    drop(publisher);
    node.until("relaycast_publications", |live| live == 0.0).await;
}

#[tokio::test]
async fn after_a_clean_end_a_receiver_gets_what_is_left_and_is_closed() {
    let node = Node::start(Config::default()).await;
    let mut receiver = node.wait_for("/cam/secret/receive").await;
    let mut publisher = node.open("/cam/secret/publish").await;
    // More than the sockets between hold, so that something is left when the publisher is gone.
    let count = 200_u8;
    for number in 0..count {
        publisher.send(&vec![number; 64 << 10]).await;
    }
    publisher.close().await;
    node.until("relaycast_publications", |live| live == 0.0).await;
    for number in 0..count {
        assert_eq!(receiver.chunk().await, vec![number; 64 << 10]);
    }
    assert_eq!(receiver.next().await, ended());
}

#[tokio::test]
async fn a_publication_that_is_over_at_once_reaches_who_waited_for_it() {
    let node = Node::start(Config::default()).await;
    let mut receiver = node.wait_for("/cam/secret/receive").await;
    let mut probe = node.wait_for("/cam/secret/probe").await;
    let mut stranger = node.wait_for("/cam/other/receive").await;
    let mut publisher = node.connect().await;
    let request = format!("GET /cam/secret/publish HTTP/1.1\r\n{HANDSHAKE_HEADERS}\r\n");
    let frames = [
        frame(FIN | BINARY, b"one"),
        frame(FIN | BINARY, b"two"),
        frame(FIN | CLOSE, &1000_u16.to_be_bytes()),
    ];
    // In one piece, so that the node can read all of it in one go.
    publisher.write([request.into_bytes(), frames.concat()].concat()).await;
    assert_eq!(receiver.chunk().await, b"one");
    assert_eq!(receiver.chunk().await, b"two");
    assert_eq!(receiver.next().await, ended());
    assert_eq!(probe.chunk().await, b"one");
    stranger.is_refused("ERROR: Invalid streaming key", 4403).await;
}

#[tokio::test]
async fn who_comes_after_the_end_gets_nothing_of_what_was() {
    let node = Node::start(Config::default()).await;
    // Keeps the channel.
    let mut waiting = node.wait_for("/cam/secret/receive").await;
    node.publish("/cam/secret/publish", b"first").await.close().await;
    assert_eq!(waiting.chunk().await, b"first");
    assert_eq!(waiting.next().await, ended());
    let mut late = node.wait_for("/cam/secret/receive").await;
    let _publisher = node.publish("/cam/secret/publish", b"second").await;
    assert_eq!(late.chunk().await, b"second");
}

#[tokio::test]
async fn receivers_of_a_publisher_that_vanished_go_on_with_the_next_one_and_its_init() {
    let node = Node::start(Config::default()).await;
    let mut receiver = node.wait_for("/cam/secret/receive").await;
    let first = [flv_init(1), flv_key(1), flv_delta(2)];
    let mut publisher = node.publish("/cam/secret/publish", &first[0]).await;
    publisher.send(&first[1]).await;
    publisher.send(&first[2]).await;
    for chunk in &first {
        assert_eq!(&receiver.chunk().await, chunk);
    }
    vanish(&node, publisher).await;

    let mut again = node.open("/cam/secret/publish").await;
    let second = [flv_init(2), flv_key(3), flv_delta(4)];
    for chunk in &second {
        again.send(chunk).await;
    }
    for chunk in &second {
        assert_eq!(&receiver.chunk().await, chunk);
    }
    again.close().await;
    assert_eq!(receiver.next().await, ended());
}

#[tokio::test]
async fn an_opaque_stream_is_continued_with_the_first_byte_of_the_next_publisher() {
    let node = Node::start(Config::default()).await;
    let mut publisher = node.publish("/cam/secret/publish", b"one").await;
    let mut receiver = node.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"one");
    publisher.send(b"two").await;
    assert_eq!(receiver.chunk().await, b"two");
    vanish(&node, publisher).await;
    let mut again = node.open("/cam/secret/publish").await;
    again.send(b"three").await;
    again.send(b"four").await;
    assert_eq!(receiver.chunk().await, b"three");
    assert_eq!(receiver.chunk().await, b"four");
}

#[tokio::test]
async fn when_nobody_comes_back_receivers_are_closed_without_an_error() {
    let grace = Duration::from_millis(200);
    let node = Node::start(Config { grace, ..Config::default() }).await;
    let publisher = node.publish("/cam/secret/publish", b"one").await;
    let mut receiver = node.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"one");
    let dropped = Instant::now();
    drop(publisher);
    assert_eq!(receiver.next().await, lost());
    assert!(dropped.elapsed() >= grace);
    drop(receiver);
    node.until_ended("receive", "publisher_lost", 1).await;
}

#[tokio::test]
async fn a_publisher_that_vanishes_twice_has_the_grace_period_twice() {
    let grace = Duration::from_millis(400);
    let node = Node::start(Config { grace, ..Config::default() }).await;
    let publisher = node.publish("/cam/secret/publish", b"one").await;
    let mut receiver = node.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"one");
    vanish(&node, publisher).await;
    let again = node.publish("/cam/secret/publish", b"two").await;
    assert_eq!(receiver.chunk().await, b"two");
    let dropped = Instant::now();
    drop(again);
    assert_eq!(receiver.next().await, lost());
    assert!(dropped.elapsed() >= grace, "the second drop starts a period of its own");
}

#[tokio::test]
async fn a_receiver_that_comes_while_others_are_held_gets_the_next_publication() {
    let node = Node::start(Config::default()).await;
    vanish(&node, node.publish("/cam/secret/publish", b"one").await).await;
    let mut late = node.wait_for("/cam/secret/receive").await;
    let _again = node.publish("/cam/secret/publish", b"two").await;
    assert_eq!(late.chunk().await, b"two");
}

#[tokio::test]
async fn a_publisher_that_is_cut_for_what_it_did_has_vanished_for_its_receivers() {
    let node = Node::start(Config { chunk_bytes_max: 1000, ..Config::default() }).await;
    let mut publisher = node.publish("/cam/secret/publish", b"one").await;
    let mut receiver = node.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"one");
    publisher.send(&[0; 1001]).await;
    publisher.is_refused("ERROR: The message is larger than this node takes", 1009).await;
    let _again = node.publish("/cam/secret/publish", b"two").await;
    assert_eq!(receiver.chunk().await, b"two");
}

#[tokio::test]
async fn after_a_takeover_not_a_byte_of_the_old_publisher_follows_the_new_init() {
    let node = Node::start(Config { publisher_policy: PublisherPolicy::Takeover, ..Config::default() }).await;
    let mut receiver = node.wait_for("/cam/secret/receive").await;
    let mut old = node.publish("/cam/secret/publish", &flv_init(1)).await;
    assert_eq!(receiver.chunk().await, flv_init(1));
    let mut new = node.publish("/cam/secret/publish", &flv_init(2)).await;
    // Whatever the old one still sends goes nowhere.
    let _ = old.try_send(&flv_delta(9)).await;
    new.send(&flv_key(3)).await;
    assert_eq!(receiver.chunk().await, flv_init(2));
    assert_eq!(receiver.chunk().await, flv_key(3));
    new.close().await;
    assert_eq!(receiver.next().await, ended());
}

#[tokio::test]
async fn a_publisher_that_closes_in_trouble_is_waited_for() {
    let node = Node::start(Config::default()).await;
    let mut receiver = node.wait_for("/cam/secret/receive").await;
    for code in [1011, 4499] {
        let mut publisher = node.publish("/cam/secret/publish", b"before").await;
        assert_eq!(receiver.chunk().await, b"before");
        publisher.close_with(code).await;
        node.until("relaycast_publications", |live| live == 0.0).await;
    }
    let mut publisher = node.open("/cam/secret/publish").await;
    publisher.send(b"after").await;
    assert_eq!(receiver.chunk().await, b"after");
    publisher.close_with(1001).await;
    assert_eq!(receiver.next().await, ended());
}

#[tokio::test]
async fn what_is_left_of_a_publication_is_bounded_for_who_hardly_takes_any() {
    // Longer than the second after which the gauge follows, so that it is seen full before it is seen empty.
    let moment = Duration::from_millis(1500);
    let node = Node::start(Config { lag_max: moment, cache_age: moment, ..Config::default() }).await;
    let viewer = node.connect_narrow().await.upgrade("/cam/secret/receive").await;
    node.until_labelled("relaycast_sessions", &["receive"], |open| open == 1.0).await;
    let mut publisher = node.open("/cam/secret/publish").await;
    for _ in 0..100 {
        publisher.send(&[7; 64 << 10]).await;
    }
    node.until("relaycast_cache_bytes", |cached| cached > 4.0 * 1024.0 * 1024.0).await;
    publisher.close().await;
    let trickle = async {
        let mut some = vec![0; 1 << 10];
        loop {
            viewer.stream.readable().await.unwrap();
            let _ = viewer.stream.try_read(&mut some);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = trickle => {}
        () = node.until("relaycast_cache_bytes", |cached| cached < 128.0 * 1024.0) => {}
    }
}
