//! All at once.

use std::time::Duration;

use relay_tests::cluster::{Cluster, Member, until_leased, until_misses, until_ready};
use relay_tests::numbered::{Camera, Viewer, flows};
use tokio::time::Instant;

/// Both connections are made again within two seconds, and an edge asks within two more.
const BACK_WITHIN: Duration = Duration::from_secs(8);

#[tokio::test]
async fn when_redis_nats_and_an_origin_are_killed_at_once_all_recover() {
    let Cluster { members: [one, two, three], mut redis, mut nats } = Cluster::start(&["--grace=30s"]).await;
    let first = Camera::start(&one.node, "cam/key", "first").await;
    let other = Camera::start(&two.node, "other/key", "other").await;
    let viewer = Viewer::start(&three.node, "cam/key").await;
    let across = Viewer::start(&three.node, "other/key").await;
    let local = Viewer::start(&two.node, "other/key").await;
    flows(&first, &[&viewer]).await;
    flows(&other, &[&across, &local]).await;
    let before = until_leased(&redis, "other", |lease| lease.is_live).await;

    redis.kill();
    nats.kill();
    one.node.kill();
    for member in [&two, &three] {
        until_misses(&member.node, "registry").await;
        until_misses(&member.node, "backbone").await;
    }
    flows(&other, &[&local]).await;
    Camera::open(&two.node, "cam/key", "first").await.ended().await.is(1013, "unavailable");

    redis.restart().await;
    nats.restart().await;
    let one = Member::start("n1", redis.address(), nats.address(), &["--grace=30s"]).await;
    let back = Instant::now();
    for member in [&one, &two, &three] {
        until_ready(&member.node).await;
    }
    eprintln!("ready after {:?}", back.elapsed());
    let second = Camera::start(&one.node, "cam/key", "second").await;
    flows(&second, &[&viewer]).await;
    flows(&other, &[&across, &local]).await;
    eprintln!("all flows after {:?}", back.elapsed());
    assert!(back.elapsed() < BACK_WITHIN, "{:?}", back.elapsed());
    viewer.has_seen(&["first", "second"]);
    across.has_seen(&["other"]);
    local.has_seen(&["other"]);
    assert_eq!(until_leased(&redis, "other", |lease| lease.is_live).await, before);
    assert_eq!(two.node.metric("relaycast_leases_lost_total").await, 0.0);
    assert_eq!(one.node.metric("relaycast_leases").await, 1.0);
    assert_eq!(three.node.metric("relaycast_upstreams").await, 2.0);
}
