//! Redis that is away, empty, slow or another.

use std::time::Duration;

use relay_tests::cluster::{
    Cluster, INTERVAL, as_str, lease, node_flags, until_leased, until_misses, until_ready,
};
use relay_tests::nats::Nats;
use relay_tests::node::Node;
use relay_tests::numbered::{Camera, Viewer, flows};
use relay_tests::redis::RedisSentinel;
use relay_tests::wire::Mode;
use tokio::time::{Instant, sleep};

/// The longest pause between attempts to reach a registry, an interval, and what a busy machine takes.
const BACK_WITHIN: Duration = Duration::from_secs(4);

/// How long a registry is away, unless `RELAYCAST_OUTAGE_SECONDS` says otherwise: twice as long as a lease lasts.
const OUTAGE: Duration = Duration::from_secs(3);

fn outage() -> Duration {
    let seconds = std::env::var("RELAYCAST_OUTAGE_SECONDS");
    seconds.map_or(OUTAGE, |seconds| Duration::from_secs(seconds.parse().expect("a number of seconds")))
}

#[tokio::test]
async fn an_origin_without_a_registry_goes_on_and_has_its_lease_again_when_that_is_back() {
    // Two of these is what is left of a lease when its node is cut off.
    let Cluster { members: [one, two, three], redis, nats: _nats } =
        Cluster::start(&["--registry-interval=1s"]).await;
    let camera = Camera::start(&one.node, "cam/key", "cam").await;
    let local = Viewer::start(&one.node, "cam/key").await;
    let elsewhere = Viewer::start(&three.node, "cam/key").await;
    flows(&camera, &[&local, &elsewhere]).await;
    let before = until_leased(&redis, "cam", |lease| lease.is_live).await;

    one.redis.set(Mode::Cut);
    // The others reach it over the backbone, and find that it lives.
    Camera::open(&two.node, "cam/key", "same").await.ended().await.is(4409, "busy");
    until_misses(&one.node, "registry").await;
    assert_eq!(one.node.metric("relaycast_registry_up").await, 0.0);
    assert_eq!(one.node.metric("relaycast_backbone_up").await, 1.0);
    until_leased(&redis, "cam", |lease| !lease.is_live).await;
    flows(&camera, &[&local, &elsewhere]).await;
    Camera::open(&two.node, "cam/other", "other").await.ended().await.is(4409, "busy");
    Camera::open(&one.node, "more/key", "more").await.ended().await.is(1013, "unavailable");

    one.redis.set(Mode::Pass);
    until_ready(&one.node).await;
    let after = until_leased(&redis, "cam", |lease| lease.is_live).await;
    assert_eq!(after, before);
    flows(&camera, &[&local, &elsewhere]).await;
    local.has_seen(&["cam"]);
    elsewhere.has_seen(&["cam"]);
    assert_eq!(one.node.metric("relaycast_registry_up").await, 1.0);
    assert_eq!(one.node.metric("relaycast_leases").await, 1.0);
    assert_eq!(one.node.metric("relaycast_leases_lost_total").await, 0.0);
    assert_eq!(three.node.metric("relaycast_upstream_gaps_total").await, 0.0);
}

#[tokio::test]
async fn a_channel_goes_elsewhere_only_when_its_node_has_neither_lease_nor_voice() {
    let Cluster { members: [one, two, three], redis, nats: _nats } = Cluster::start(&[]).await;
    let first = Camera::start(&one.node, "cam/key", "first").await;
    // Nobody on its node would hear of another publisher of this one.
    let unwatched = Camera::start(&one.node, "bare/key", "first").await;
    let local = Viewer::start(&one.node, "cam/key").await;
    let elsewhere =
        [Viewer::start(&three.node, "cam/key").await, Viewer::start(&three.node, "bare/key").await];
    flows(&first, &[&local, &elsewhere[0]]).await;
    flows(&unwatched, &[&elsewhere[1]]).await;
    one.redis.set(Mode::Cut);
    for channel in ["cam", "bare"] {
        until_leased(&redis, channel, |lease| !lease.is_live).await;
    }
    for key in ["key", "other"] {
        Camera::open(&two.node, &format!("cam/{key}"), key).await.ended().await.is(4409, "busy");
    }
    flows(&first, &[&local, &elsewhere[0]]).await;
    one.nats.set(Mode::Cut);
    until_misses(&one.node, "backbone").await;
    let second = Camera::start(&two.node, "cam/key", "second").await;
    let other = Camera::start(&two.node, "bare/key", "second").await;
    flows(&second, &[&elsewhere[0]]).await;
    flows(&other, &[&elsewhere[1]]).await;
    flows(&first, &[&local]).await;
    // They go on in vain until their node hears of it; nobody else gets what they send.
    one.nats.set(Mode::Pass);
    first.ended().await.is(4409, "replaced");
    unwatched.ended().await.is(4409, "replaced");
    flows(&second, &[&local, &elsewhere[0]]).await;
    one.redis.set(Mode::Pass);
    for viewer in [&local, &elsewhere[0], &elsewhere[1]] {
        viewer.has_seen(&["first", "second"]);
    }
    one.node.until_metric("relaycast_leases", 0.0).await;
    assert_eq!(two.node.metric("relaycast_leases").await, 2.0);
}

#[tokio::test]
async fn streams_flow_while_redis_is_dead_and_everything_is_known_again_when_it_is_back() {
    let Cluster { members, mut redis, nats: _nats } = Cluster::<3>::start(&[]).await;
    let nodes = members.each_ref().map(|member| &member.node);
    let (mut cameras, mut viewers, mut leases) = (Vec::new(), Vec::new(), Vec::new());
    for (number, node) in nodes.iter().enumerate() {
        let channel = format!("cam{number}");
        let camera = Camera::start(node, &format!("{channel}/key"), &channel).await;
        for node in &nodes {
            let viewer = Viewer::start(node, &format!("{channel}/key")).await;
            flows(&camera, &[&viewer]).await;
            viewers.push(viewer);
        }
        leases.push(until_leased(&redis, &channel, |lease| lease.is_live).await);
        cameras.push(camera);
    }
    let flow = async || {
        for (camera, viewers) in cameras.iter().zip(viewers.chunks(nodes.len())) {
            flows(camera, &viewers.iter().collect::<Vec<_>>()).await;
        }
    };
    redis.kill();
    let killed = Instant::now();
    for node in &nodes {
        until_misses(node, "registry").await;
    }
    eprintln!("noticed after {:?}", killed.elapsed());
    let refused = Camera::open(nodes[0], "more/key", "more").await.ended().await;
    refused.is(1013, "unavailable");
    assert!(refused.texts[0].contains("retry_after_ms="), "{refused:?}");
    // Time is what is tested: leases end meanwhile.
    while killed.elapsed() < outage() {
        flow().await;
        sleep(INTERVAL / 10).await;
    }
    redis.restart().await;
    let back = Instant::now();
    for node in &nodes {
        until_ready(node).await;
    }
    for (number, before) in leases.iter().enumerate() {
        let after = until_leased(&redis, &format!("cam{number}"), |lease| lease.is_live).await;
        assert_eq!(after, *before);
    }
    eprintln!("all known again after {:?}", back.elapsed());
    assert!(back.elapsed() < BACK_WITHIN, "{:?}", back.elapsed());
    flow().await;
    for (number, viewers) in viewers.chunks(nodes.len()).enumerate() {
        for viewer in viewers {
            viewer.has_seen(&[&format!("cam{number}")]);
        }
    }
    for node in &nodes {
        assert_eq!(node.metric("relaycast_leases").await, 1.0);
        assert_eq!(node.metric("relaycast_leases_lost_total").await, 0.0);
        assert_eq!(node.metric("relaycast_upstream_gaps_total").await, 0.0);
    }
    let more = Camera::start(nodes[0], "more/key", "more").await;
    flows(&more, &[&Viewer::start(nodes[1], "more/key").await]).await;
}

#[tokio::test]
async fn a_redis_that_has_forgotten_everything_is_told_again_within_an_interval() {
    let Cluster { members: [one, two, three], redis, nats: _nats } = Cluster::start(&[]).await;
    let camera = Camera::start(&one.node, "cam/key", "cam").await;
    let viewer = Viewer::start(&three.node, "cam/key").await;
    flows(&camera, &[&viewer]).await;
    let mut client = redis.client().await;
    let before = lease(&mut client, "cam").await.unwrap();
    redis.flush_all().await;
    let flushed = Instant::now();
    let after = until_leased(&redis, "cam", |lease| lease.is_live).await;
    eprintln!("lease again after {:?}", flushed.elapsed());
    assert!(flushed.elapsed() < 2 * INTERVAL, "{:?}", flushed.elapsed());
    assert_eq!(after, before);
    for key in ["key", "other"] {
        Camera::open(&two.node, &format!("cam/{key}"), key).await.ended().await.is(4409, "busy");
    }
    flows(&camera, &[&viewer]).await;
    viewer.has_seen(&["cam"]);
    for node in [&one.node, &two.node, &three.node] {
        assert_eq!(node.readyz().await.0, 200);
        assert_eq!(node.metric("relaycast_leases_lost_total").await, 0.0);
    }
}

#[tokio::test]
async fn a_slow_redis_makes_publishers_wait_and_nothing_else() {
    const DELAY: Duration = Duration::from_millis(200);
    let Cluster { members: [one, two, three], redis, nats: _nats } = Cluster::start(&[]).await;
    let members = [&one, &two, &three];
    let early = Camera::start(&one.node, "early/key", "early").await;
    let watching = Viewer::start(&two.node, "early/key").await;
    flows(&early, &[&watching]).await;
    for member in members {
        member.redis.set(Mode::Delay(DELAY));
    }
    let begun = Instant::now();
    let late = Camera::start(&one.node, "late/key", "late").await;
    assert!(begun.elapsed() >= 2 * DELAY, "{:?}", begun.elapsed());
    eprintln!("published after {:?}", begun.elapsed());
    let viewer = Viewer::start(&three.node, "late/key").await;
    flows(&late, &[&viewer]).await;
    eprintln!("received after {:?}", begun.elapsed());
    // Leases would have ended by now, if renewals did not come through.
    early.sends(300).await;
    for channel in ["early", "late"] {
        assert!(until_leased(&redis, channel, |_| true).await.is_live);
    }
    flows(&early, &[&watching]).await;
    flows(&late, &[&viewer]).await;
    watching.has_seen(&["early"]);
    viewer.has_seen(&["late"]);
    for member in members {
        assert_eq!(member.node.readyz().await.0, 200);
        assert_eq!(member.node.metric("relaycast_registry_errors_total").await, 0.0);
    }
    // Who was cut off gets through again, too.
    one.redis.set(Mode::Cut);
    until_misses(&one.node, "registry").await;
    one.redis.set(Mode::Delay(DELAY));
    until_ready(&one.node).await;
}

#[tokio::test]
async fn when_sentinel_names_another_master_nodes_go_there() {
    let (mut redis, nats) = (RedisSentinel::start().await, Nats::start().await);
    let url = format!("redis+sentinel://{}/{}", redis.address(), RedisSentinel::MASTER);
    let mut nodes = Vec::new();
    for name in ["n1", "n2"] {
        let node = Node::start(&as_str(&node_flags(name, &url, &nats.url(), &[]))).await;
        until_ready(&node).await;
        nodes.push(node);
    }
    let camera = Camera::start(&nodes[0], "cam/key", "cam").await;
    let viewer = Viewer::start(&nodes[1], "cam/key").await;
    flows(&camera, &[&viewer]).await;
    let before = until_leased(redis.master(), "cam", |lease| lease.is_live).await;
    redis.kill_master();
    for node in &nodes {
        until_misses(node, "registry").await;
    }
    flows(&camera, &[&viewer]).await;
    redis.until_promoted().await;
    let promoted = Instant::now();
    for node in &nodes {
        until_ready(node).await;
    }
    assert_eq!(until_leased(redis.replica(), "cam", |lease| lease.is_live).await, before);
    eprintln!("recovered {:?} after the failover", promoted.elapsed());
    assert!(promoted.elapsed() < BACK_WITHIN, "{:?}", promoted.elapsed());
    flows(&camera, &[&viewer]).await;
    viewer.has_seen(&["cam"]);
    Camera::open(&nodes[1], "cam/other", "other").await.ended().await.is(4409, "busy");
}
