//! What a receiver starts with.

use relay_edge::Config;

use crate::support::media::{flv_delta, flv_init, flv_key, picture};
use crate::support::{Client, Node, Seen};

/// A publisher of FLV: init, a GOP of two tags, and the beginning of the next.
async fn flv(node: &Node) -> Client {
    let mut publisher = node.publish("/cam/secret/publish", &flv_init(1)).await;
    push(node, &mut publisher, &[flv_key(1), flv_delta(2), flv_key(3), flv_delta(4)]).await;
    publisher
}

/// Returns when the node has the chunks.
async fn push(node: &Node, publisher: &mut Client, chunks: &[Vec<u8>]) {
    let before = node.metric("relaycast_chunks_received_total", &[]);
    for chunk in chunks {
        publisher.send(chunk).await;
    }
    node.until("relaycast_chunks_received_total", |count| count >= before + chunks.len() as f64).await;
}

/// Everything that came, without the borders between chunks.
async fn bytes(client: &mut Client, count: usize) -> Vec<u8> {
    let mut bytes = vec![];
    while bytes.len() < count {
        bytes.extend(client.chunk().await);
    }
    bytes
}

#[tokio::test]
async fn an_opaque_stream_has_a_tail_that_is_bounded_in_bytes() {
    // A chunk of 8 bytes costs 144: with its header it takes 16, and what surrounds it 128.
    let node = Node::start(Config { cache_bytes: 3 * 144, ..Config::default() }).await;
    let mut publisher = node.publish("/cam/secret/publish", b"chunk  0").await;
    let chunks: Vec<Vec<u8>> = (1..10).map(|number| format!("chunk  {number}").into_bytes()).collect();
    push(&node, &mut publisher, &chunks).await;
    let mut late = node.open("/cam/secret/receive").await;
    for number in 7..10 {
        assert_eq!(late.chunk().await, format!("chunk  {number}").as_bytes());
    }
    publisher.send(b"live").await;
    assert_eq!(late.chunk().await, b"live");
}

#[tokio::test]
async fn a_late_receiver_of_flv_starts_with_init_and_the_newest_key_frame() {
    let node = Node::start(Config::default()).await;
    let mut publisher = flv(&node).await;
    for query in ["", "?cache=gop", "?cache=unknown"] {
        let mut late = node.open(&format!("/cam/secret/receive{query}")).await;
        let wanted = [flv_init(1), flv_key(3), flv_delta(4)].concat();
        assert_eq!(bytes(&mut late, wanted.len()).await, wanted, "{query}");
    }
    publisher.send(&flv_delta(5)).await;
}

#[tokio::test]
async fn cache_live_starts_with_the_next_key_frame() {
    let node = Node::start(Config::default()).await;
    let mut publisher = flv(&node).await;
    let mut late = node.wait_for("/cam/secret/receive?cache=live").await;
    push(&node, &mut publisher, &[flv_delta(5), flv_key(6), flv_delta(7)]).await;
    let wanted = [flv_init(1), flv_key(6), flv_delta(7)].concat();
    assert_eq!(bytes(&mut late, wanted.len()).await, wanted);
}

#[tokio::test]
async fn cache_init_gives_init_at_once_and_then_the_next_key_frame() {
    let node = Node::start(Config::default()).await;
    let mut publisher = flv(&node).await;
    let mut late = node.open("/cam/secret/receive?cache=init").await;
    assert_eq!(late.chunk().await, flv_init(1));
    push(&node, &mut publisher, &[flv_delta(5), flv_key(6)]).await;
    assert_eq!(late.chunk().await, flv_key(6));
}

#[tokio::test]
async fn what_one_receiver_starts_with_changes_nothing_for_another() {
    let node = Node::start(Config::default()).await;
    let mut publisher = flv(&node).await;
    let mut first = node.open("/cam/secret/receive").await;
    let wanted = [flv_init(1), flv_key(3), flv_delta(4)].concat();
    assert_eq!(bytes(&mut first, wanted.len()).await, wanted);
    let _live = node.wait_for("/cam/secret/receive?cache=live").await;
    let mut init = node.open("/cam/secret/receive?cache=init").await;
    assert_eq!(init.chunk().await, flv_init(1));
    let mut last = node.open("/cam/secret/receive").await;
    assert_eq!(bytes(&mut last, wanted.len()).await, wanted);
    publisher.send(&flv_delta(5)).await;
    assert_eq!(first.chunk().await, flv_delta(5));
    assert_eq!(last.chunk().await, flv_delta(5));
}

#[tokio::test]
async fn receive_clear_cache_is_served_from_the_cache_and_then_clears_it_for_later_ones() {
    let node = Node::start(Config::default()).await;
    let mut publisher = flv(&node).await;
    let mut clearing = node.open("/cam/secret/receive-clear-cache").await;
    let wanted = [flv_init(1), flv_key(3), flv_delta(4)].concat();
    assert_eq!(bytes(&mut clearing, wanted.len()).await, wanted);

    let mut init = node.open("/cam/secret/receive?cache=init").await;
    assert_eq!(init.chunk().await, flv_init(1), "init stays");
    let mut late = node.wait_for("/cam/secret/receive").await;
    push(&node, &mut publisher, &[flv_delta(5), flv_key(6), flv_delta(7)]).await;
    let next = [flv_init(1), flv_key(6), flv_delta(7)].concat();
    assert_eq!(bytes(&mut late, next.len()).await, next, "nothing of the GOP that was cleared");
    let mut later = node.open("/cam/secret/receive").await;
    assert_eq!(bytes(&mut later, next.len()).await, next, "caching goes on");
    let undisturbed = [flv_delta(5), flv_key(6), flv_delta(7)].concat();
    assert_eq!(bytes(&mut clearing, undisturbed.len()).await, undisturbed);
}

#[tokio::test]
async fn who_finds_the_cache_cleared_takes_nothing_from_others_who_wait() {
    let node = Node::start(Config::default()).await;
    let mut publisher = flv(&node).await;
    let mut clearing = node.open("/cam/secret/receive-clear-cache").await;
    assert_eq!(bytes(&mut clearing, flv_init(1).len()).await, flv_init(1));
    let mut waiting = [
        node.wait_for("/cam/secret/receive-clear-cache").await,
        node.wait_for("/cam/secret/receive-clear-cache").await,
        node.wait_for("/cam/secret/receive").await,
    ];
    push(&node, &mut publisher, &[flv_key(6), flv_delta(7)]).await;
    let next = [flv_init(1), flv_key(6), flv_delta(7)].concat();
    for receiver in &mut waiting {
        assert_eq!(bytes(receiver, next.len()).await, next);
    }
    let mut later = node.open("/cam/secret/receive").await;
    assert_eq!(bytes(&mut later, next.len()).await, next, "it came after what was to be cleared");
}

#[tokio::test]
async fn the_tail_of_an_opaque_stream_can_be_cleared() {
    let node = Node::start(Config::default()).await;
    let mut publisher = node.publish("/cam/secret/publish", b"one").await;
    assert_eq!(node.open("/cam/secret/receive-clear-cache").await.chunk().await, b"one");
    let mut late = node.wait_for("/cam/secret/receive").await;
    publisher.send(b"two").await;
    assert_eq!(late.chunk().await, b"two");
}

#[tokio::test]
async fn the_cache_is_cleared_once_and_not_with_each_publication_that_follows() {
    let node = Node::start(Config::default()).await;
    let publisher = node.publish("/cam/secret/publish", &[flv_init(1), flv_key(1)].concat()).await;
    let mut clearing = node.open("/cam/secret/receive-clear-cache").await;
    let first = [flv_init(1), flv_key(1)].concat();
    assert_eq!(bytes(&mut clearing, first.len()).await, first);
    drop(publisher);
    node.until("relaycast_publications", |live| live == 0.0).await;

    let second = [flv_init(2), flv_key(2)].concat();
    let _again = node.publish("/cam/secret/publish", &second).await;
    assert_eq!(bytes(&mut clearing, second.len()).await, second);
    let mut late = node.open("/cam/secret/receive").await;
    assert_eq!(bytes(&mut late, second.len()).await, second);
}

#[tokio::test]
async fn a_receiver_joins_in_the_middle_of_a_chunk() {
    let node = Node::start(Config::default()).await;
    let stream = [picture(1), picture(2), picture(3)].concat();
    // The third picture begins within the second chunk.
    let cut = 2 * picture(1).len() - 5;
    let mut waiting = node.wait_for("/cam/secret/receive").await;
    let mut publisher = node.publish("/cam/secret/publish", &stream[..cut]).await;
    push(&node, &mut publisher, &[stream[cut..].to_vec()]).await;
    let mut late = node.open("/cam/secret/receive").await;
    assert_eq!(late.chunk().await, picture(3));
    publisher.send(&picture(4)).await;
    assert_eq!(late.chunk().await, picture(4));
    for chunk in [&stream[..cut], &stream[cut..], &picture(4)] {
        assert_eq!(waiting.chunk().await, chunk, "a live receiver gets the chunks as they were published");
    }
}

#[tokio::test]
async fn chunk_borders_are_not_changed_for_a_live_receiver_wherever_they_lie() {
    let node = Node::start(Config::default()).await;
    let mut receiver = node.wait_for("/cam/secret/receive").await;
    let mut publisher = node.open("/cam/secret/publish").await;
    let stream = [flv_init(1), flv_key(1), flv_delta(2), flv_key(3), picture(4)].concat();
    for size in [1, 2, 7, 50] {
        for chunk in stream.chunks(size) {
            publisher.send(chunk).await;
        }
        for chunk in stream.chunks(size) {
            assert_eq!(receiver.chunk().await, chunk);
        }
    }
}

#[tokio::test]
async fn an_empty_chunk_is_a_chunk() {
    let node = Node::start(Config::default()).await;
    let mut receiver = node.wait_for("/cam/secret/receive").await;
    let mut publisher = node.publish("/cam/secret/publish", b"").await;
    publisher.send(b"one").await;
    publisher.send(b"").await;
    publisher.send(b"two").await;
    for chunk in [&b""[..], b"one", b"", b"two"] {
        assert_eq!(receiver.chunk().await, chunk);
    }
}

#[tokio::test]
async fn a_probe_of_a_known_container_gets_what_tells_the_codec() {
    let node = Node::start(Config::default()).await;
    let _flv = node.publish("/flv/secret/publish", &[flv_init(1), flv_key(1), flv_delta(2)].concat()).await;
    let mut probe = node.open("/flv/secret/probe").await;
    assert!(probe.chunk().await.starts_with(&flv_init(1)));
    assert_eq!(probe.next().await, Seen::Close(1000, "probe_answered".into()));

    let _mjpeg = node.publish("/mjpeg/secret/publish", &picture(1)).await;
    let mut probe = node.open("/mjpeg/secret/probe").await;
    assert_eq!(probe.chunk().await, picture(1));
    assert_eq!(probe.next().await, Seen::Close(1000, "probe_answered".into()));
}

#[tokio::test]
async fn a_probe_waits_until_the_stream_tells_what_it_is() {
    let node = Node::start(Config::default()).await;
    let mut probe = node.wait_for("/cam/secret/probe").await;
    let init = flv_init(1);
    let mut publisher = node.open("/cam/secret/publish").await;
    for byte in &init {
        publisher.send(&[*byte]).await;
    }
    let answer = probe.chunk().await;
    assert!(init.starts_with(&answer) && answer.len() > init.len() - 5, "{answer:?}");
}
