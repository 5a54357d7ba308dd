//! NATS that is away, or leads nowhere.

use std::time::Duration;

use relay_proto::api::ChannelState;
use relay_tests::cluster::{Cluster, as_str, node_flags, until_leased, until_misses, until_ready};
use relay_tests::nats::{NatsCluster, NatsRegions};
use relay_tests::node::Node;
use relay_tests::numbered::{Camera, Viewer, flows};
use relay_tests::redis::Redis;
use relay_tests::until;
use relay_tests::wire::Mode;
use tokio::time::Instant;

const HEALED: &str = "relaycast_upstream_gaps_total{outcome=\"healed\"}";
const SKIPPED: &str = "relaycast_upstream_gaps_total{outcome=\"skipped\"}";

/// A connection that is broken is made again within two seconds, and an edge asks within two more.
const BACK_WITHIN: Duration = Duration::from_secs(6);

#[tokio::test]
async fn an_origin_without_a_backbone_is_made_up_for_when_that_is_back() {
    let Cluster { members: [one, two, three], redis: _redis, nats: _nats } = Cluster::start(&[]).await;
    let camera = Camera::start(&one.node, "cam/key", "cam").await;
    let local = Viewer::start(&one.node, "cam/key").await;
    let elsewhere = [Viewer::start(&two.node, "cam/key").await, Viewer::start(&three.node, "cam/key").await];
    flows(&camera, &[&local, &elsewhere[0], &elsewhere[1]]).await;

    one.nats.set(Mode::Cut);
    until_misses(&one.node, "backbone").await;
    assert_eq!(one.node.metric("relaycast_backbone_up").await, 0.0);
    let missed = elsewhere[0].run().next;
    camera.sends(150).await;
    flows(&camera, &[&local]).await;
    for viewer in &elsewhere {
        assert!(viewer.run().next <= missed + 1, "{:?}", viewer.run());
    }
    one.nats.set(Mode::Pass);
    let back = Instant::now();
    until_ready(&one.node).await;
    flows(&camera, &[&local, &elsewhere[0], &elsewhere[1]]).await;
    eprintln!("healed after {:?}, pause {:?}", back.elapsed(), elsewhere[0].run().pause);
    assert!(back.elapsed() < BACK_WITHIN, "{:?}", back.elapsed());
    for viewer in [&local, &elsewhere[0], &elsewhere[1]] {
        viewer.has_seen(&["cam"]);
    }
    for node in [&two.node, &three.node] {
        eprintln!("healed {}", node.metric(HEALED).await);
        assert!(node.metric(HEALED).await <= 1.0);
        assert_eq!(node.metric(SKIPPED).await, 0.0);
    }
    assert_eq!(one.node.metric("relaycast_backbone_up").await, 1.0);
    assert_eq!(one.node.metric("relaycast_leases_lost_total").await, 0.0);
}

#[tokio::test]
async fn an_origin_without_anything_for_longer_than_its_lease_goes_on_where_it_was() {
    let Cluster { members: [one, two], redis, nats: _nats } = Cluster::start(&["--grace=30s"]).await;
    let camera = Camera::start(&one.node, "cam/key", "cam").await;
    let local = Viewer::start(&one.node, "cam/key").await;
    let elsewhere = Viewer::start(&two.node, "cam/key").await;
    flows(&camera, &[&local, &elsewhere]).await;
    one.redis.set(Mode::Cut);
    one.nats.set(Mode::Cut);
    until_leased(&redis, "cam", |lease| !lease.is_live).await;
    until("the edge has missed it for long", async || {
        (two.node.channel("cam").await?.state == ChannelState::Stalled).then_some(())
    })
    .await;
    one.nats.set(Mode::Pass);
    one.redis.set(Mode::Pass);
    flows(&camera, &[&local, &elsewhere]).await;
    local.has_seen(&["cam"]);
    elsewhere.has_seen(&["cam"]);
}

#[tokio::test]
async fn what_an_origin_has_not_cached_any_more_is_skipped_once_and_counted() {
    // A stream that nobody knows is cached for so long.
    let Cluster { members: [one, two], redis: _redis, nats: _nats } =
        Cluster::start(&["--lag-max=500ms"]).await;
    let camera = Camera::start(&one.node, "cam/key", "cam").await;
    let local = Viewer::start(&one.node, "cam/key").await;
    let elsewhere = Viewer::start(&two.node, "cam/key").await;
    flows(&camera, &[&local, &elsewhere]).await;
    let had = elsewhere.run().next;
    one.nats.set(Mode::Cut);
    until_misses(&one.node, "backbone").await;
    camera.sends(200).await;
    let outage = had..camera.sent();
    one.nats.set(Mode::Pass);
    flows(&camera, &[&local, &elsewhere]).await;
    let holes = elsewhere.run().holes;
    eprintln!("holes {holes:?} of {outage:?}");
    // A machine that stands still for longer than an origin caches makes another one later, which counts as well.
    assert_eq!(holes.iter().filter(|(from, _)| outage.contains(from)).count(), 1, "{holes:?} of {outage:?}");
    assert!(two.node.metric(SKIPPED).await >= holes.len() as f64, "{holes:?}");
    assert!(elsewhere.seen().farewell.is_none());
    local.has_seen(&["cam"]);
}

#[tokio::test]
async fn a_nats_that_is_started_again_is_made_up_for() {
    let Cluster { members: [one, two, three], redis: _redis, mut nats } = Cluster::start(&[]).await;
    let camera = Camera::start(&one.node, "cam/key", "cam").await;
    let local = Viewer::start(&one.node, "cam/key").await;
    let elsewhere = [Viewer::start(&two.node, "cam/key").await, Viewer::start(&three.node, "cam/key").await];
    let all = [&local, &elsewhere[0], &elsewhere[1]];
    flows(&camera, &all).await;
    nats.kill();
    for member in [&one, &two, &three] {
        until_misses(&member.node, "backbone").await;
    }
    camera.sends(100).await;
    flows(&camera, &[&local]).await;
    nats.restart().await;
    let back = Instant::now();
    flows(&camera, &all).await;
    eprintln!("healed after {:?}", back.elapsed());
    assert!(back.elapsed() < BACK_WITHIN, "{:?}", back.elapsed());
    for member in [&one, &two, &three] {
        until_ready(&member.node).await;
        assert_eq!(member.node.metric("relaycast_backbone_up").await, 1.0);
        assert_eq!(member.node.metric(SKIPPED).await, 0.0);
    }
    for viewer in all {
        viewer.has_seen(&["cam"]);
    }
}

#[tokio::test]
async fn one_of_three_nats_servers_may_die() {
    let (redis, mut nats) = (Redis::start().await, NatsCluster::start().await);
    let urls = nats.urls().join(",");
    let mut nodes = Vec::new();
    for name in ["n1", "n2", "n3"] {
        let node = Node::start(&as_str(&node_flags(name, &redis.url(), &urls, &[]))).await;
        until_ready(&node).await;
        nodes.push(node);
    }
    let camera = Camera::start(&nodes[0], "cam/key", "cam").await;
    let mut viewers = Vec::new();
    for node in &nodes {
        viewers.push(Viewer::start(node, "cam/key").await);
    }
    let viewers: Vec<_> = viewers.iter().collect();
    flows(&camera, &viewers).await;
    // The one that the origin speaks to.
    let mut found = None;
    for (index, server) in nats.servers().iter().enumerate() {
        let told = server.monitor("/connz").await;
        let mut connections = told["connections"].as_array().into_iter().flatten();
        if connections.any(|connection| connection["name"] == "n1") {
            found = Some(index);
        }
    }
    let index = found.expect("it is connected");
    let killed = Instant::now();
    nats.server_mut(index).kill();
    flows(&camera, &viewers).await;
    for (viewer, node) in viewers.iter().zip(&nodes) {
        viewer.has_seen(&["cam"]);
        until_ready(node).await;
        assert_eq!(node.metric(SKIPPED).await, 0.0);
    }
    eprintln!("went on after {:?}, pause {:?}", killed.elapsed(), viewers[2].run().pause);
    assert!(killed.elapsed() < BACK_WITHIN, "{:?}", killed.elapsed());
}

#[tokio::test]
async fn a_stream_crosses_regions_and_goes_on_when_their_link_is_back() {
    let (redis, mut regions) = (Redis::start().await, NatsRegions::start().await);
    let (mut nodes, urls) = (Vec::new(), [regions.a.url(), regions.b.url()]);
    for (name, (region, url)) in ["n1", "n2"].iter().zip(["a", "b"].iter().zip(&urls)) {
        let flags = [format!("--region={region}")];
        let node = Node::start(&as_str(&node_flags(name, &redis.url(), url, &as_str(&flags)))).await;
        until_ready(&node).await;
        nodes.push(node);
    }
    let camera = Camera::start(&nodes[0], "cam/key", "cam").await;
    let local = Viewer::start(&nodes[0], "cam/key").await;
    let across = Viewer::start(&nodes[1], "cam/key").await;
    flows(&camera, &[&local, &across]).await;
    // The other end of the link, with all that it knew of who wants what where.
    regions.b.kill();
    until_misses(&nodes[1], "backbone").await;
    until("the link is down", async || {
        let told = regions.a.monitor("/gatewayz").await;
        told["inbound_gateways"]["b"].as_array().is_none_or(Vec::is_empty).then_some(())
    })
    .await;
    camera.sends(100).await;
    flows(&camera, &[&local]).await;
    assert_eq!(nodes[0].readyz().await.0, 200);
    regions.b.restart().await;
    let back = Instant::now();
    flows(&camera, &[&local, &across]).await;
    eprintln!("went on after {:?}", back.elapsed());
    until_ready(&nodes[1]).await;
    local.has_seen(&["cam"]);
    across.has_seen(&["cam"]);
    assert_eq!(nodes[1].metric(SKIPPED).await, 0.0);
}
