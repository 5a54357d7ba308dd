//! Nodes that die, stop or leave.

use std::time::Duration;

use relay_tests::cluster::{Cluster, until_leased};
use relay_tests::numbered::{Camera, Viewer, flows};
use relay_tests::redis::Reply;
use relay_tests::until;
use relay_tests::wire::Mode;
use tokio::time::Instant;

/// Far less than a lease of the default interval of 2 s lasts.
const QUICKLY: Duration = Duration::from_secs(4);

#[tokio::test]
async fn an_origin_that_is_killed_is_replaced_at_once_wherever_its_publisher_comes_back() {
    // Long: nobody waits for the lease to end.
    let Cluster { members: [one, two, three], redis: _redis, nats: _nats } =
        Cluster::start(&["--registry-interval=5s"]).await;
    let viewer = Viewer::start(&three.node, "cam/key").await;
    let first = Camera::start(&one.node, "cam/key", "first").await;
    flows(&first, &[&viewer]).await;
    one.node.kill();
    let killed = Instant::now();
    let second = Camera::start(&two.node, "cam/key", "second").await;
    flows(&second, &[&viewer]).await;
    viewer.has_seen(&["first", "second"]);
    let run = viewer.run();
    assert!(run.began - killed < QUICKLY, "{:?}", run.began - killed);
    assert_eq!(run.first, 0, "from its first chunk on");
    assert_eq!(three.node.metric("relaycast_stale_messages_total").await, 0.0);
    eprintln!("new epoch {:?} after the kill", run.began - killed);
}

#[tokio::test]
async fn an_origin_that_was_stopped_longer_than_its_lease_finds_itself_replaced() {
    let Cluster { members: [one, two, three], redis, nats: _nats } = Cluster::start(&[]).await;
    let first = Camera::start(&one.node, "cam/key", "first").await;
    let on_one = Viewer::start(&one.node, "cam/key").await;
    let on_two = Viewer::start(&two.node, "cam/key").await;
    let on_three = Viewer::start(&three.node, "cam/key").await;
    flows(&first, &[&on_one, &on_two, &on_three]).await;
    // Nobody on its node would hear of another publisher of this one.
    let unwatched = Camera::start(&one.node, "bare/key", "unwatched").await;
    one.node.stop().await;
    for channel in ["cam", "bare"] {
        until_leased(&redis, channel, |lease| !lease.is_live).await;
    }
    let _other = Camera::start(&two.node, "bare/key", "other").await;
    let second = Camera::start(&two.node, "cam/key", "second").await;
    flows(&second, &[&on_two, &on_three]).await;
    one.node.resume();
    first.ended().await.is(4409, "replaced");
    unwatched.ended().await.is(4409, "replaced");
    flows(&second, &[&on_one, &on_two, &on_three]).await;
    for viewer in [&on_one, &on_two, &on_three] {
        viewer.has_seen(&["first", "second"]);
    }
    // The other it may have heard of from the new origin before.
    assert!(one.node.metric("relaycast_leases_lost_total").await >= 1.0);
    one.node.until_metric("relaycast_leases", 0.0).await;
    assert_eq!(two.node.metric("relaycast_leases").await, 2.0);
    assert_eq!(until_leased(&redis, "cam", |lease| lease.is_live).await.node, "n2");
    until("what the old origin still sent is counted", async || {
        (three.node.metric("relaycast_stale_messages_total").await > 0.0).then_some(())
    })
    .await;
}

/// How long an edge may be silent until its origin forgets it, and the origin's next look.
const FORGOTTEN: Duration = Duration::from_secs(12);

#[tokio::test]
async fn an_edge_that_is_killed_is_forgotten_and_nobody_else_notices() {
    let Cluster { members: [one, two, three], redis, nats: _nats } = Cluster::start(&[]).await;
    let camera = Camera::start(&one.node, "cam/key", "cam").await;
    let other = Camera::start(&one.node, "other/key", "other").await;
    let local = Viewer::start(&one.node, "cam/key").await;
    let elsewhere = Viewer::start(&two.node, "other/key").await;
    let lost = [Viewer::start(&three.node, "cam/key").await, Viewer::start(&three.node, "other/key").await];
    flows(&camera, &[&local, &lost[0]]).await;
    flows(&other, &[&elsewhere, &lost[1]]).await;
    assert_eq!(one.node.metric("relaycast_exports").await, 2.0);
    let wants = async |channel: &str, node: &str| {
        let reply = redis.command(&["ZSCORE", &format!("relaycast:{{{channel}}}:demand"), node]).await;
        reply != Reply::Nil
    };
    assert!(wants("cam", "n3").await && wants("other", "n3").await && wants("other", "n2").await);

    three.node.kill();
    let killed = Instant::now();
    for lost in &lost {
        assert_eq!(lost.ends().await.close, None);
    }
    until("what it wanted has expired", async || {
        // Scores are moments; whoever says what it wants takes away what is over.
        (!wants("cam", "n3").await && !wants("other", "n3").await).then_some(())
    })
    .await;
    eprintln!("demand gone after {:?}", killed.elapsed());
    one.node.until_metric("relaycast_exports", 1.0).await;
    eprintln!("export gone after {:?}", killed.elapsed());
    assert!(killed.elapsed() < FORGOTTEN);
    flows(&camera, &[&local]).await;
    flows(&other, &[&elsewhere]).await;
    local.has_seen(&["cam"]);
    elsewhere.has_seen(&["other"]);
    assert!(wants("other", "n2").await);
    for node in [&one.node, &two.node] {
        assert_eq!(node.readyz().await.0, 200);
        assert_eq!(node.metric("relaycast_upstream_gaps_total").await, 0.0);
    }
}

#[tokio::test]
async fn an_origin_that_drains_says_so_first_and_its_publisher_goes_on_elsewhere() {
    const LOCAL: usize = 20;
    let Cluster { members: [one, two, three], redis, nats: _nats } = Cluster::start(&[]).await;
    let first = Camera::start(&one.node, "cam/key", "first").await;
    let mut local = Vec::new();
    for _ in 0..LOCAL {
        local.push(Viewer::start(&one.node, "cam/key").await);
    }
    let viewer = Viewer::start(&three.node, "cam/key").await;
    flows(&first, &local.iter().chain([&viewer]).collect::<Vec<_>>()).await;
    // So that what comes before the registry's answer can be told from what comes after it.
    one.redis.set(Mode::Delay(Duration::from_millis(100)));
    let mut monitor = redis.client().await;
    assert_eq!(monitor.command(&["MONITOR"]).await.unwrap(), Reply::Text("OK".to_owned()));
    let drained = one.node.drain();
    let (told_at, farewell) = tokio::join!(
        async {
            loop {
                let command = monitor.reply().await.unwrap();
                if command.text().contains("draining") {
                    return Instant::now();
                }
            }
        },
        first.ended()
    );
    let published_until = Instant::now();
    farewell.is(1012, "draining");
    for viewer in &local {
        viewer.ends().await.is(1012, "draining");
        let ended_at = viewer.seen().ended_at.unwrap();
        assert!(told_at <= ended_at, "the registry knows before the receivers");
        assert!(ended_at <= published_until, "the publisher leaves last");
    }
    let second = Camera::start(&two.node, "cam/key", "second").await;
    flows(&second, &[&viewer]).await;
    viewer.has_seen(&["first", "second"]);
    eprintln!("pause of {:?}", viewer.run().began - viewer.seen().runs[0].last);
    drained.await;
    let record = redis.command(&["GET", "relaycast:node:n1"]).await;
    assert_eq!(record, Reply::Nil, "it has left the registry too");
}
