//! Publishers that meet on different nodes.

use std::time::Duration;

use relay_edge::{Config, PublisherPolicy};
use tokio::task::JoinSet;

use crate::nodes::{Nodes, config};
use crate::support::{Client, Seen};

#[tokio::test]
async fn of_publishers_on_two_nodes_the_one_that_lives_keeps_the_channel() {
    let Nodes { nodes: [one, two], .. } = Nodes::start(config()).await;
    let first = one.publish("/cam/secret/publish", b"first").await.stay();
    two.open("/cam/secret/publish").await.is_refused("ERROR: Somebody is already publishing", 4409).await;
    two.open("/cam/other/publish").await.is_refused("ERROR: Somebody is already publishing", 4409).await;
    drop(first);
}

#[tokio::test]
async fn a_publisher_that_stalls_is_taken_over_from_another_node() {
    let Nodes { nodes: [one, two], .. } = Nodes::start(config()).await;
    let stalled = one.open_raw("/cam/secret/publish").await;
    one.until("relaycast_publications", |live| live == 1.0).await;
    let mut receiver = one.open("/cam/secret/receive").await;
    let _second = two.publish("/cam/secret/publish", b"second").await;
    one.until_ended("publish", "replaced", 1).await;
    assert_eq!(receiver.chunk().await, b"second", "whoever is left on the first node goes on");
    drop(stalled);
}

#[tokio::test]
async fn a_publisher_whose_node_is_gone_comes_back_at_once_whatever_the_policy() {
    for publisher_policy in
        [PublisherPolicy::Reject, PublisherPolicy::Takeover, PublisherPolicy::TakeoverIfStalled]
    {
        let Nodes { nodes: [one, two, three], .. } =
            Nodes::start(Config { publisher_policy, ..config() }).await;
        let mut receiver = three.wait_for("/cam/secret/receive").await;
        let _publisher = one.publish("/cam/secret/publish", b"first").await;
        assert_eq!(receiver.chunk().await, b"first");
        one.kill();
        two.open("/cam/other/publish").await.is_refused("ERROR: Somebody is already publishing", 4409).await;
        let _again = two.publish("/cam/secret/publish", b"second").await;
        assert_eq!(receiver.chunk().await, b"second");
    }
}

#[tokio::test]
async fn of_a_hundred_publishers_on_three_nodes_exactly_one_publishes() {
    for publisher_policy in [PublisherPolicy::Reject, PublisherPolicy::Takeover] {
        let Nodes { nodes, .. } = Nodes::<3>::start(Config { publisher_policy, ..config() }).await;
        let mut all = JoinSet::new();
        for number in 0..100 {
            let address = nodes[number % 3].address;
            all.spawn(async move {
                let mut client = Client::connect(address, "/cam/secret/publish").await;
                client.rest().await
            });
        }
        for _ in 0..99 {
            let (_, texts, close) = all.join_next().await.unwrap().unwrap();
            assert_eq!(close.map(|(code, _)| code), Some(4409), "{texts:?}");
        }
        let live: f64 = nodes.iter().map(|node| node.metric("relaycast_publications", &[])).sum();
        let leases: f64 = nodes.iter().map(|node| node.metric("relaycast_leases", &[])).sum();
        assert_eq!((live, leases), (1.0, 1.0));
        assert!(all.try_join_next().is_none(), "the one is still there");
    }
}

#[tokio::test]
async fn a_stranger_does_not_get_a_channel_that_the_registry_has_forgotten() {
    // So long that nothing is renewed while the test runs.
    let registry_interval = Duration::from_secs(600);
    for publisher_policy in
        [PublisherPolicy::Reject, PublisherPolicy::Takeover, PublisherPolicy::TakeoverIfStalled]
    {
        let config = Config { publisher_policy, registry_interval, ..config() };
        let Nodes { nodes: [one, two], registry, .. } = Nodes::start(config).await;
        let mut publisher = one.publish("/cam/secret/publish", b"first").await;
        let mut receiver = two.open("/cam/secret/receive").await;
        assert_eq!(receiver.chunk().await, b"first");
        registry.forget_everything();
        for node in [&one, &two] {
            node.open("/cam/other/publish")
                .await
                .is_refused("ERROR: Somebody is already publishing", 4409)
                .await;
        }
        if publisher_policy == PublisherPolicy::Reject {
            two.open("/cam/secret/publish")
                .await
                .is_refused("ERROR: Somebody is already publishing", 4409)
                .await;
        }
        publisher.send(b"second").await;
        assert_eq!(receiver.chunk().await, b"second");
    }
}

#[tokio::test]
async fn a_publication_that_is_taken_over_by_one_without_a_chunk_ends_elsewhere_too() {
    let grace = Duration::from_millis(500);
    let publisher_policy = PublisherPolicy::Takeover;
    let Nodes { nodes: [one, two, three], ends, .. } =
        Nodes::start(Config { grace, publisher_policy, ..config() }).await;
    let _first = one.publish("/cam/secret/publish", b"first").await;
    let mut receiver = three.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"first");
    ends[0].set_connected(false);
    let second = two.open("/cam/secret/publish").await;
    two.until("relaycast_publications", |live| live == 1.0).await;
    drop(second);
    assert_eq!(receiver.next().await, Seen::Close(1000, "publisher_lost".into()));
}
