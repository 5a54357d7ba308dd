//! What is published on one node is received on another.

use std::time::Duration;

use relay_edge::Config;
use tokio::task::JoinSet;

use crate::nodes::{Nodes, config};
use crate::support::{Client, Seen};

#[tokio::test]
async fn a_receiver_on_another_node_gets_the_whole_stream_when_it_was_there_first() {
    let Nodes { nodes: [one, two], .. } = Nodes::start(config()).await;
    let mut receiver = two.wait_for("/cam/secret/receive").await;
    let mut publisher = one.publish("/cam/secret/publish", b"first").await;
    for number in 0..100_u32 {
        // Some are longer than a message.
        publisher.send(&vec![number as u8; 1 + 53 * number as usize]).await;
    }
    assert_eq!(receiver.chunk().await, b"first");
    for number in 0..100_u32 {
        assert_eq!(receiver.chunk().await, vec![number as u8; 1 + 53 * number as usize]);
    }
    publisher.close().await;
    assert_eq!(receiver.next().await, Seen::Close(1000, "publisher_ended".into()));
}

#[tokio::test]
async fn a_receiver_that_comes_later_starts_with_what_is_cached() {
    let Nodes { nodes: [one, two], .. } = Nodes::start(config()).await;
    let mut publisher = one.publish("/cam/secret/publish", b"first").await;
    publisher.send(b"second").await;
    one.until("relaycast_chunks_received_total", |count| count == 2.0).await;
    let mut receiver = two.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"first");
    assert_eq!(receiver.chunk().await, b"second");
    publisher.send(b"third").await;
    assert_eq!(receiver.chunk().await, b"third");
    let channel = two.channel().await;
    assert_eq!(channel.origin.map(|node| node.to_string()).as_deref(), Some("n1"));
    assert_eq!(channel.epoch, one.channel().await.epoch);
}

#[tokio::test]
async fn a_key_is_checked_on_every_node() {
    let Nodes { nodes: [one, two], .. } = Nodes::start(config()).await;
    let early = two.wait_for("/cam/wrong/receive").await.stay();
    let _publisher = one.publish("/cam/secret/publish", b"first").await;
    early.was_refused("ERROR: Invalid streaming key", 4403).await;
    two.open("/cam/other/receive").await.is_refused("ERROR: Invalid streaming key", 4403).await;
    two.open("/cam/other/probe").await.is_refused("ERROR: Invalid streaming key", 4403).await;
    assert_eq!(two.open("/cam/secret/receive").await.chunk().await, b"first");
}

#[tokio::test]
async fn a_thousand_receivers_at_once_make_one_upstream_and_the_last_ends_it() {
    let Nodes { nodes: [one, two], .. } = Nodes::start(config()).await;
    let _publisher = one.publish("/cam/secret/publish", b"first").await;
    let mut all = JoinSet::new();
    let address = two.address;
    for _ in 0..1000 {
        all.spawn(async move {
            let mut client = Client::connect(address, "/cam/secret/receive").await;
            assert_eq!(client.chunk().await, b"first");
            client
        });
    }
    let clients: Vec<Client> = all.join_all().await;
    assert_eq!(two.metric("relaycast_upstreams", &[]), 1.0);
    assert_eq!(one.metric("relaycast_exports", &[]), 1.0);
    assert_eq!(one.metric("relaycast_snapshots_total", &[]), 1.0);
    assert_eq!(two.channel().await.receivers, 1000);
    drop(clients);
    two.until("relaycast_upstreams", |count| count == 0.0).await;
    one.until("relaycast_exports", |count| count == 0.0).await;
    two.until("relaycast_channels", |count| count == 0.0).await;
}

#[tokio::test]
async fn an_origin_publishes_only_while_another_node_asks() {
    let Nodes { nodes: [one, two], .. } = Nodes::start(config()).await;
    let mut publisher = one.publish("/cam/secret/publish", b"first").await;
    let mut own = one.open("/cam/secret/receive").await;
    assert_eq!(own.chunk().await, b"first");
    assert_eq!(one.metric("relaycast_exports", &[]), 0.0);
    for _ in 0..3 {
        let mut receiver = two.open("/cam/secret/receive").await;
        receiver.chunk().await;
        publisher.send(b"more").await;
        while receiver.chunk().await != b"more" {}
        assert_eq!(one.metric("relaycast_exports", &[]), 1.0);
        receiver.close().await;
        one.until("relaycast_exports", |count| count == 0.0).await;
    }
}

#[tokio::test]
async fn who_comes_back_within_the_linger_finds_the_upstream_there() {
    let upstream_linger = Duration::from_secs(60);
    let Nodes { nodes: [one, two], .. } = Nodes::start(Config { upstream_linger, ..config() }).await;
    let _publisher = one.publish("/cam/secret/publish", b"first").await;
    for _ in 0..5 {
        let mut receiver = two.open("/cam/secret/receive").await;
        assert_eq!(receiver.chunk().await, b"first");
        receiver.close().await;
    }
    assert_eq!(one.metric("relaycast_snapshots_total", &[]), 1.0);
    assert_eq!(two.metric("relaycast_upstreams", &[]), 1.0);
}

#[tokio::test]
async fn what_is_lost_between_nodes_is_fetched_from_the_origin() {
    let Nodes { nodes: [one, two], ends, .. } = Nodes::start(config()).await;
    let mut publisher = one.publish("/cam/secret/publish", b"0").await;
    let mut receiver = two.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"0");
    ends[1].set_connected(false);
    for number in 1..50_u32 {
        publisher.send(number.to_string().as_bytes()).await;
    }
    one.until("relaycast_chunks_received_total", |count| count == 50.0).await;
    ends[1].set_connected(true);
    for number in 1..50_u32 {
        assert_eq!(receiver.chunk().await, number.to_string().as_bytes());
    }
    two.until_labelled("relaycast_upstream_gaps_total", &["healed"], |count| count == 1.0).await;
    assert_eq!(two.metric("relaycast_upstream_gaps_total", &["skipped"]), 0.0);
}

#[tokio::test]
async fn what_the_origin_has_no_more_is_left_out_and_counted() {
    let cache_bytes = 4 << 10;
    let Nodes { nodes: [one, two], ends, .. } = Nodes::start(Config { cache_bytes, ..config() }).await;
    let mut publisher = one.publish("/cam/secret/publish", b"0").await;
    // Enough for the stream to be known as opaque.
    let chunk = |number: u32| format!("{number:0>1000}").into_bytes();
    for number in 1..=100 {
        publisher.send(&chunk(number)).await;
    }
    one.until("relaycast_chunks_received_total", |count| count == 101.0).await;
    let mut receiver = two.open("/cam/secret/receive").await;
    while receiver.chunk().await != chunk(100) {}
    ends[1].set_connected(false);
    for number in 101..=200 {
        publisher.send(&chunk(number)).await;
    }
    one.until("relaycast_chunks_received_total", |count| count == 201.0).await;
    ends[1].set_connected(true);
    let mut number: u32 = String::from_utf8(receiver.chunk().await).unwrap().parse().unwrap();
    assert!(number > 150, "{number}: older ones are not cached any more");
    while number < 200 {
        number += 1;
        assert_eq!(receiver.chunk().await, chunk(number), "no further hole");
    }
    assert_eq!(two.metric("relaycast_upstream_gaps_total", &["skipped"]), 1.0);
}

#[tokio::test]
async fn a_probe_is_answered_on_another_node() {
    let Nodes { nodes: [one, two], .. } = Nodes::start(config()).await;
    let mut probe = two.wait_for("/cam/secret/probe").await;
    let _publisher = one.publish("/cam/secret/publish", &[7; 100_000]).await;
    assert!(!probe.chunk().await.is_empty());
    two.until("relaycast_upstreams", |count| count == 0.0).await;
}

#[tokio::test]
async fn an_edge_finds_the_origin_without_the_registry() {
    let Nodes { nodes: [one, two], registry, .. } = Nodes::start(config()).await;
    let mut publisher = one.publish("/cam/secret/publish", b"first").await;
    registry.set_outage(true);
    let mut receiver = two.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"first");
    publisher.send(b"second").await;
    assert_eq!(receiver.chunk().await, b"second");
}

#[tokio::test]
async fn an_edge_that_finds_nowhere_to_start_starts_as_soon_as_there_is() {
    let cache_bytes = 500_000;
    let Nodes { nodes: [one, two], .. } = Nodes::start(Config { cache_bytes, ..config() }).await;
    let mut publisher = one.publish("/cam/secret/publish", &[b'x'; 5000]).await;
    for _ in 0..400 {
        publisher.send(&[b'y'; 5000]).await;
    }
    one.until("relaycast_chunks_received_total", |count| count == 401.0).await;
    // From now on nobody starts with what is cached.
    let mut clears = one.open("/cam/secret/receive-clear-cache").await;
    clears.chunk().await;
    let mut receiver = two.open("/cam/secret/receive").await;
    two.until("relaycast_upstreams", |count| count == 1.0).await;
    let sends = async {
        loop {
            publisher.send(&[b'z'; 500]).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        chunk = receiver.chunk() => assert_eq!(chunk, [b'z'; 500]),
        () = sends => {}
    }
}

#[tokio::test]
async fn who_comes_when_the_linger_ends_is_served_like_anybody() {
    let upstream_linger = Duration::from_millis(20);
    let Nodes { nodes: [one, two], .. } = Nodes::start(Config { upstream_linger, ..config() }).await;
    let _publisher = one.publish("/cam/secret/publish", b"first").await;
    for delay_ms in 0..40 {
        let mut receiver = two.open("/cam/secret/receive").await;
        assert_eq!(receiver.chunk().await, b"first");
        receiver.close().await;
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
}
