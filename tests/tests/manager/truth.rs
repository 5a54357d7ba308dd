//! Where clients are sent, and whether it was right.

use std::time::Duration;

use relay_proto::api::manager::{Part, Reach, RefusedBecause};
use relay_tests::cluster::{Cluster, INTERVAL, Member, until_ready};
use relay_tests::manager::Manager;
use relay_tests::numbered::{Camera, Viewer, flows};
use relay_tests::until;
use relay_tests::wire::Mode;
use tokio::time::{Instant, sleep};

/// Channels that are published and watched, each where a stream-manager said.
const CHANNELS: usize = 24;

/// How long a node may be silent until nobody is sent there any more: it is told of as soon as one heartbeat is missing.
const NOTICED: Duration = INTERVAL.saturating_mul(2);

#[tokio::test]
async fn every_url_that_is_picked_works_at_once() {
    let Cluster { members, redis, nats } = Cluster::<3>::start(&[]).await;
    let (one, other) = replicas(&redis, &nats, 3).await;
    let mut published = Vec::new();
    for number in 0..CHANNELS {
        let pick = one.pick(&format!("channel=c{number}&role=publish&key=key{number}")).await;
        let camera = Camera::at(&pick.urls.websocket, &format!("camera-{number}")).await;
        camera.sends(1).await;
        // Nobody waits for any heartbeat.
        let pick = other.pick(&format!("channel=c{number}&role=receive&key=key{number}")).await;
        let viewer = Viewer::at(&pick.urls.websocket).await;
        viewer.sees(camera.label(), 0).await;
        published.push((camera, viewer));
    }
    for (camera, viewer) in &published {
        flows(camera, &[viewer]).await;
        viewer.has_seen(&[camera.label()]);
    }
    // Everybody is where they were sent, and no node has all of them.
    let mut sessions = Vec::new();
    for member in &members {
        sessions.push(member.node.metric("relaycast_sessions").await);
    }
    assert_eq!(sessions.iter().sum::<f64>(), 2.0 * CHANNELS as f64);
    eprintln!("sessions: {sessions:?}");
    assert!(sessions.iter().all(|count| *count >= CHANNELS as f64 / 3.0), "{sessions:?}");
    for manager in [&one, &other] {
        until("both replicas know who watches where", async || {
            let channels = manager.channels().await;
            let is_true = channels.len() == CHANNELS && channels.iter().all(|channel| channel.receivers == 1);
            is_true.then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn receivers_are_sent_to_where_the_channel_is_already() {
    let Cluster { members: [first, second, third], redis, nats } = Cluster::start(&[]).await;
    let (manager, _other) = replicas(&redis, &nats, 3).await;
    let camera = Camera::start(&first.node, "cam/key", "camera").await;
    camera.sends(1).await;
    let mut viewers = Vec::new();
    for _ in 0..12 {
        let pick = until("it is known where the channel is", async || {
            Some(manager.pick("channel=cam&role=receive&key=key").await).filter(|pick| pick.carries)
        })
        .await;
        viewers.push(Viewer::at(&pick.urls.websocket).await);
    }
    flows(&camera, &viewers.iter().collect::<Vec<_>>()).await;
    assert_eq!(first.node.metric("relaycast_exports").await, 0.0, "no other node pulls it");
    let channel = until("the viewers are counted", async || {
        manager.channel("cam").await.filter(|channel| channel.receivers == 12)
    })
    .await;
    assert_eq!(channel.origin.as_ref().map(ToString::to_string).as_deref(), Some("n1"));
    assert_eq!(channel.nodes.iter().map(|carrier| carrier.part).collect::<Vec<_>>(), [Part::Origin]);
    drop((second, third));
}

#[tokio::test]
async fn nobody_is_sent_to_a_node_that_drains_or_has_died() {
    let Cluster { members: [first, second, third], redis, nats } =
        Cluster::<3>::start(&["--drain-deadline=5s"]).await;
    let (manager, other) = replicas(&redis, &nats, 3).await;
    // Something to hold up the drain.
    let camera = Camera::start(&first.node, "cam/key", "camera").await;
    let _viewer = Viewer::start(&first.node, "cam/key").await;
    camera.sends(1).await;
    let drained = first.node.drain();
    sleep(INTERVAL).await;
    for _ in 0..50 {
        for manager in [&manager, &other] {
            let pick = manager.pick("channel=x&role=publish").await;
            assert_ne!(pick.node.as_str(), "n1", "it drains");
        }
    }
    second.node.kill();
    let killed = Instant::now();
    sleep(NOTICED).await;
    for _ in 0..50 {
        for manager in [&manager, &other] {
            let pick = manager.pick("channel=x&role=receive").await;
            assert_eq!(pick.node.as_str(), "n3", "{:?} after the others are gone", killed.elapsed());
        }
    }
    let explained = manager.picks("channel=x&role=receive&explain=1").await.unwrap().explanation.unwrap();
    let why = |name: &str| {
        let candidate = explained.candidates.iter().find(|candidate| candidate.node.as_str() == name);
        candidate.map(|candidate| candidate.refused.clone())
    };
    assert_eq!(why("n2"), Some(vec![RefusedBecause::Silent]));
    assert_eq!(why("n3"), Some(vec![]));
    drained.await;
    drop(third);
}

#[tokio::test]
async fn picks_go_on_without_redis_and_say_so() {
    let Cluster { members, mut redis, nats } = Cluster::<2>::start(&[]).await;
    let (manager, _other) = replicas(&redis, &nats, 2).await;
    let camera = Camera::start(&members[0].node, "cam/key", "camera").await;
    camera.sends(1).await;
    assert_eq!(manager.picks("channel=cam&role=receive").await.unwrap().view.registry, Reach::Up);
    redis.kill();
    until("the answer says that the registry is away", async || {
        let picks = manager.picks("channel=cam&role=receive").await.unwrap();
        (picks.view.registry == Reach::Down).then_some(())
    })
    .await;
    // Longer than any record in Redis would have lasted.
    sleep(INTERVAL * 4).await;
    for _ in 0..10 {
        let pick = manager.pick("channel=cam&role=receive&key=key").await;
        let viewer = Viewer::at(&pick.urls.websocket).await;
        flows(&camera, &[&viewer]).await;
    }
    assert_eq!(manager.readyz().await.0, 200);
    redis.restart().await;
    until("the answer says that it is back", async || {
        let picks = manager.picks("channel=cam&role=receive").await.unwrap();
        (picks.view.registry == Reach::Up).then_some(())
    })
    .await;
    drop(members);
}

#[tokio::test]
async fn picks_go_on_while_a_manager_hears_nothing_at_all() {
    let Cluster { members, redis, nats } = Cluster::<2>::start(&[]).await;
    let redis_wire = relay_tests::wire::Wire::to(redis.address()).await;
    let nats_wire = relay_tests::wire::Wire::to(nats.address()).await;
    let manager = Manager::start(redis_wire.address(), nats_wire.address(), &[]).await;
    manager.until_nodes(2).await;
    let camera = Camera::start(&members[0].node, "cam/key", "camera").await;
    camera.sends(1).await;
    until("the channel is known", async || manager.channel("cam").await).await;
    redis_wire.set(Mode::Cut);
    nats_wire.set(Mode::Cut);
    until("the answer says so", async || {
        let view = manager.picks("channel=cam&role=receive").await.unwrap().view;
        (view.registry == Reach::Down && view.backbone == Reach::Down).then_some(())
    })
    .await;
    sleep(INTERVAL * 6).await;
    let picks = manager.picks("channel=cam&role=receive&key=key").await.unwrap();
    assert!(picks.view.age_ms.unwrap() > 1000, "{:?}", picks.view);
    let viewer = Viewer::at(&picks.picks[0].urls.websocket).await;
    flows(&camera, &[&viewer]).await;
    drop(members);
}

#[tokio::test]
async fn a_node_that_comes_is_used_within_a_heartbeat_and_keeps_its_share_after_a_restart() {
    let Cluster { members, redis, nats } = Cluster::<1>::start(&[]).await;
    let (manager, _other) = replicas(&redis, &nats, 1).await;
    let second = Member::start("n2", redis.address(), nats.address(), &[]).await;
    until_ready(&second.node).await;
    manager.until_nodes(2).await;
    second.node.kill();
    let again = Member::start("n2", redis.address(), nats.address(), &[]).await;
    until_ready(&again.node).await;
    until("the new run of the node is picked, at its own address", async || {
        let pick = manager.pick("channel=x&role=publish&key=k").await;
        pick.urls.websocket.contains(&again.node.address().to_string()).then_some(())
    })
    .await;
    drop(members);
}

async fn replicas(
    redis: &relay_tests::redis::Redis,
    nats: &relay_tests::nats::Nats,
    nodes: u64,
) -> (Manager, Manager) {
    let one = Manager::start(redis.address(), nats.address(), &[]).await;
    let other = Manager::start(redis.address(), nats.address(), &[]).await;
    for manager in [&one, &other] {
        manager.until_nodes(nodes).await;
    }
    (one, other)
}
