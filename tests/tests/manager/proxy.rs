//! Clients that reach the stream-manager alone.

use std::time::Duration;

use bytes::Bytes;
use relay_tests::client::{Frozen, Publisher, Receiver};
use relay_tests::cluster::Cluster;
use relay_tests::manager::Manager;
use relay_tests::numbered::{Camera, Viewer, flows};
use relay_tests::{http, until};
use tokio::time::Instant;

/// Of 1 MiB each: more than all sockets between them hold.
const CHUNKS: usize = 64;

#[tokio::test]
async fn one_address_serves_all_nodes() {
    let Cluster { members: [first, second], redis, nats } = Cluster::start(&[]).await;
    let manager = Manager::start(redis.address(), nats.address(), &["--addresses=proxied"]).await;
    manager.until_nodes(2).await;
    let pick = manager.pick("channel=cam&role=publish&key=key&exclude=n2").await;
    assert_eq!(pick.urls.websocket, format!("ws://{}/n/n1/cam/key/publish", manager.address()));
    let camera = Camera::at(&pick.urls.websocket, "camera").await;
    camera.sends(1).await;
    let direct = Viewer::start(&first.node, "cam/key").await;
    let there =
        Viewer::at(&manager.pick("channel=cam&role=receive&key=key&exclude=n1").await.urls.websocket).await;
    flows(&camera, &[&direct, &there]).await;
    there.has_seen(&["camera"]);
    // Whatever the node says comes through, word for word.
    let refused = Viewer::at(&format!("ws://{}/n/n2/cam/wrong/receive", manager.address())).await;
    refused.ends().await.is(4403, "wrong_key");
    let odd = Viewer::at(&format!("ws://{}/n/n2/cam/key/watch", manager.address())).await;
    odd.ends().await.is(4404, "invalid_target");
    // Only registered nodes, and only streams.
    for (path, status) in [
        ("/n/n3/cam/key/receive", 426),
        ("/n/n1/cam/key/receive", 426),
        ("/n/n1/v1/channels", 404),
        ("/n/127.0.0.1:80/cam/key/receive", 404),
    ] {
        assert_eq!(http::get(manager.address(), path).await.0, status, "{path}");
    }
    let (status, body) = http::get_with(
        manager.address(),
        "/n/n3/cam/key/receive",
        &[("Upgrade", "websocket"), ("Connection", "Upgrade")],
    )
    .await;
    assert_eq!(status, 404, "{body}");
    // Its end reaches everybody.
    camera.finish().await;
    there.ends().await.is(1000, "publisher_ended");
    until("nothing is left of it", async || {
        let (_, metrics) = manager.metrics().await;
        metrics.contains("relaycast_manager_proxied 0\n").then_some(())
    })
    .await;
    drop(second);
}

#[tokio::test]
async fn a_dead_node_ends_what_is_relayed_to_it_and_is_told_of() {
    let Cluster { members: [first, second], redis, nats } = Cluster::start(&[]).await;
    let manager = Manager::start(redis.address(), nats.address(), &["--addresses=proxied"]).await;
    manager.until_nodes(2).await;
    let camera = Camera::start(&second.node, "cam/key", "camera").await;
    let url = |node: &str| format!("ws://{}/n/{node}/cam/key/receive", manager.address());
    let viewer = Viewer::at(&url("n1")).await;
    flows(&camera, &[&viewer]).await;
    first.node.kill();
    let killed = Instant::now();
    assert_eq!(viewer.ends().await.close, None);
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    let handshake = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let (status, body) = http::get_with(manager.address(), "/n/n1/cam/key/receive", &handshake).await;
    assert_eq!(status, 504, "{body}");
    // As whoever has tried it in vain asks: no heartbeat of it is missing yet.
    let pick = manager.pick("channel=cam&role=receive&key=key&exclude=n1").await;
    let viewer = Viewer::at(&pick.urls.websocket).await;
    flows(&camera, &[&viewer]).await;
}

#[tokio::test]
async fn a_slow_client_slows_nobody_but_itself() {
    let Cluster { members: [node], redis, nats } = Cluster::start(&["--write-timeout=2s"]).await;
    let manager = Manager::start(redis.address(), nats.address(), &["--addresses=proxied"]).await;
    manager.until_nodes(1).await;
    let mut publisher = Publisher::connect(&node.node.url("cam/key/publish")).await;
    let url = format!("ws://{}/n/n1/cam/key/receive", manager.address());
    let _frozen = Frozen::connect(&url).await;
    let viewer = Receiver::connect(&url).await;
    node.node.until_receivers("cam", 2).await;
    let chunk = Bytes::from(vec![7; 1 << 20]);
    let mut sent = 0;
    for _ in 0..CHUNKS {
        publisher.chunk(chunk.clone()).await;
        sent += chunk.len();
        viewer.until_taken(sent).await;
    }
    // What the frozen one does not take waits with the node, which has noticed.
    node.node.logs("too_slow").await;
    publisher.finish().await;
    assert_eq!(viewer.all().await.bytes.len(), sent);
}
