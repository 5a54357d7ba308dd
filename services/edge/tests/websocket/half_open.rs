//! Peers that are gone without a word, or half gone.

use std::time::Duration;

use relay_edge::Config;
use tokio::io::AsyncWriteExt;

use crate::support::{Bystanders, Node, Seen};

fn config() -> Config {
    Config {
        heartbeat_interval: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(400),
        ..Config::default()
    }
}

#[tokio::test]
async fn a_publisher_that_stops_answering_is_found_and_its_receivers_are_kept_for_the_next() {
    let node = Node::start(config()).await;
    let mut vanished = node.open_raw("/cam/secret/publish").await;
    vanished.chunk(b"first").await;
    let mut receiver = node.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"first");
    let receiver = receiver.stay();
    node.until("relaycast_publications", |live| live == 0.0).await;
    let mut again = node.publish("/cam/secret/publish", b"second").await;
    again.send(b"third").await;
    again.close().await;
    let (chunks, ..) = receiver.ended().await;
    assert_eq!(chunks, [b"second".to_vec(), b"third".to_vec()]);
    drop(vanished);
    node.until_ended("publish", "idle", 1).await;
}

#[tokio::test]
async fn a_viewer_whose_kernel_takes_everything_and_who_never_answers_is_found() {
    let node = Node::start(config()).await;
    let mut publisher = node.open_raw("/cam/secret/publish").await;
    let mut viewer = node.open_raw("/cam/secret/receive").await;
    // Bytes that are sent to it are no sign of life.
    let refusal = loop {
        publisher.chunk(b"chunk").await;
        match viewer.next().await {
            Seen::Chunk(chunk) => assert_eq!(chunk, b"chunk"),
            other => break other,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(refusal, Seen::Text("ERROR: Nothing was heard from you".into()));
    drop(viewer);
    node.until_ended("receive", "idle", 1).await;
}

#[tokio::test]
async fn a_client_that_closes_its_half_is_gone_whatever_its_kind() {
    let node = Node::start(Config::default()).await;
    let mut others = Bystanders::on(&node).await;
    for kind in ["publish", "receive", "receive-clear-cache", "probe"] {
        let mut client = node.open_raw(&format!("/cam-{kind}/secret/{kind}")).await;
        client.stream.shutdown().await.unwrap();
        client.everything().await;
        node.until_ended(kind, "connection_lost", 1).await;
    }
    others.are_undisturbed().await;
}

#[tokio::test]
async fn a_connection_that_is_reset_is_counted_as_lost() {
    let node = Node::start(Config::default()).await;
    let mut others = Bystanders::on(&node).await;
    for kind in ["publish", "receive", "probe"] {
        let client = node.open_raw(&format!("/cam-{kind}/secret/{kind}")).await;
        client.stream.set_zero_linger().unwrap();
        drop(client);
        node.until_ended(kind, "connection_lost", 1).await;
    }
    others.are_undisturbed().await;
    node.until("relaycast_connections", |open| open == 2.0).await;
}

/// The kernel tells of each connection which timer runs (`tr` of `/proc/net/tcp`): 2 is keepalive.
#[tokio::test]
async fn the_kernel_looks_after_connections_on_which_nothing_happens() {
    let node = Node::start(Config::default()).await;
    let client = node.wait_for("/cam/secret/receive").await;
    let here = format!(":{:04X}", node.address.port());
    let keepalive = async {
        loop {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let mut accepted = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
            let established = |fields: &Vec<&str>| fields[1].ends_with(&here) && fields[3] == "01";
            if accepted.any(|fields| established(&fields) && fields[5].starts_with("02:")) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(crate::support::HANG, keepalive).await.is_ok());
    drop(client);
}
