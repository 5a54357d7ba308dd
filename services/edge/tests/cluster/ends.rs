//! How publications end and go on when they are received on another node.

use std::time::Duration;

use futures_util::StreamExt;
use relay_cluster::registry::{Acquired, Attendance, Claim, Terms};
use relay_cluster::{Backbone, Registry};
use relay_edge::Config;
use relay_proto::backbone::{
    Envelope, Head, Kind, Origin, Peer, Request, Subjects, cut, from_json, head_body,
};
use relay_proto::{Epoch, Incarnation, KeyHash};

use crate::nodes::{Nodes, SECRET, config};
use crate::support::Seen;

#[tokio::test]
async fn receivers_elsewhere_go_on_with_the_next_epoch_wherever_that_begins() {
    let Nodes { nodes: [one, two, three], .. } = Nodes::start(config()).await;
    let mut receiver = three.wait_for("/cam/secret/receive").await;
    for round in 0..4 {
        let origin = if round % 2 == 0 { &one } else { &two };
        let mut publisher = origin.publish("/cam/secret/publish", format!("{round}.0").as_bytes()).await;
        publisher.send(format!("{round}.1").as_bytes()).await;
        assert_eq!(receiver.chunk().await, format!("{round}.0").as_bytes());
        assert_eq!(receiver.chunk().await, format!("{round}.1").as_bytes());
        drop(publisher);
        origin.until("relaycast_publications", |live| live == 0.0).await;
    }
}

#[tokio::test]
async fn receivers_elsewhere_are_held_for_the_grace_period_and_no_longer() {
    let grace = Duration::from_millis(500);
    let Nodes { nodes: [one, two], .. } = Nodes::start(Config { grace, ..config() }).await;
    let publisher = one.publish("/cam/secret/publish", b"first").await;
    let mut receiver = two.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"first");
    let began = std::time::Instant::now();
    drop(publisher);
    assert_eq!(receiver.next().await, Seen::Close(1000, "publisher_lost".into()));
    assert!(began.elapsed() >= grace);
}

#[tokio::test]
async fn an_origin_that_falls_silent_is_given_up_after_the_grace_period() {
    let grace = Duration::from_millis(800);
    let Nodes { nodes: [one, two], ends, .. } = Nodes::start(Config { grace, ..config() }).await;
    let mut publisher = one.publish("/cam/secret/publish", b"first").await;
    let mut receiver = two.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"first");
    ends[0].set_connected(false);
    assert_eq!(receiver.next().await, Seen::Close(1000, "publisher_lost".into()));
    // Its own receivers have not noticed anything.
    let mut own = one.open("/cam/secret/receive").await;
    assert_eq!(own.chunk().await, b"first");
    publisher.send(b"second").await;
    assert_eq!(own.chunk().await, b"second");
    // Nor is it too late for others when it is back.
    ends[0].set_connected(true);
    let mut again = two.open("/cam/secret/receive").await;
    assert_eq!(again.chunk().await, b"first");
}

#[tokio::test]
async fn a_publication_that_ends_while_the_edge_is_cut_off_ends_there_too() {
    let Nodes { nodes: [one, two], ends, .. } = Nodes::start(config()).await;
    let mut publisher = one.publish("/cam/secret/publish", b"first").await;
    let mut receiver = two.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"first");
    ends[1].set_connected(false);
    publisher.send(b"last").await;
    publisher.close().await;
    ends[1].set_connected(true);
    assert_eq!(receiver.chunk().await, b"last");
    assert_eq!(receiver.next().await, Seen::Close(1000, "publisher_ended".into()));
}

#[tokio::test]
async fn streams_flow_on_while_the_registry_is_away_or_has_forgotten_everything() {
    let Nodes { nodes: [one, two], registry, .. } = Nodes::start(config()).await;
    let mut publisher = one.publish("/cam/secret/publish", b"0").await;
    let mut receiver = two.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"0");
    registry.set_outage(true);
    for number in 1..20_u32 {
        publisher.send(number.to_string().as_bytes()).await;
        assert_eq!(receiver.chunk().await, number.to_string().as_bytes());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    one.open("/other/secret/publish").await.is_refused("ERROR: The cluster cannot say", 1013).await;
    assert!(one.readiness.check().is_err());
    registry.set_outage(false);
    registry.forget_everything();
    one.until("relaycast_registry_up", |up| up == 1.0).await;
    publisher.send(b"after").await;
    assert_eq!(receiver.chunk().await, b"after");
    // Its lease is announced again, so that nobody else gets the channel.
    let cam = "cam".parse().unwrap();
    while registry.attend(&cam, Attendance::Look).await.unwrap().lease.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    two.open("/cam/other/publish").await.is_refused("ERROR: Somebody is already publishing", 4409).await;
    assert_eq!(one.readiness.check(), Ok(()));
}

/// An origin whose answers do not come through, though its chunks do.
#[tokio::test]
async fn chunks_that_come_are_a_sign_of_life() {
    let grace = Duration::from_millis(800);
    let Nodes { nodes: [edge], registry, ends, .. } = Nodes::start(Config { grace, ..config() }).await;
    let backbone = ends[0].join();
    let subjects = Subjects::new("relaycast".parse().unwrap());
    let channel = "cam".parse().unwrap();
    let key = KeyHash::of(SECRET, &channel, &"secret".parse().unwrap());
    let peer = Peer { node: "busy".parse().unwrap(), incarnation: Incarnation::new(9) };
    let terms = Terms { ttl: Duration::from_secs(600), grace };
    let mut requests = backbone.subscribe(&subjects.node(&peer.node, peer.incarnation)).await.unwrap();
    let claim = Claim {
        channel: channel.clone(),
        peer: peer.clone(),
        key,
        replaces: None,
        exceeds: Epoch::NONE,
        terms,
    };
    let Acquired::Granted(epoch) = registry.acquire(&claim).await.unwrap() else { panic!("it is free") };
    let mut receiver = edge.wait_for("/cam/secret/receive").await;

    let request = requests.next().await.unwrap();
    assert!(matches!(from_json(&request.payload), Ok(Request::Snapshot { .. })));
    let head = Head { origin: Origin { peer, key }, container: None, first: 0, end: 0, join: None };
    let envelope = |kind, seq| Envelope::new(kind, epoch, seq);
    for message in cut(envelope(Kind::Head, 0), &head_body(&head, b"", b""), 1000) {
        backbone.publish(request.reply.as_deref().unwrap(), None, message).await.unwrap();
    }
    // For much longer than the grace period.
    for seq in 0..60 {
        for message in cut(envelope(Kind::Chunk, seq), b"chunk", 1000) {
            backbone.publish(&subjects.chunks(&channel), None, message).await.unwrap();
        }
        assert_eq!(receiver.chunk().await, b"chunk");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_origin_that_comes_back_within_the_grace_goes_on_where_it_was() {
    let Nodes { nodes: [one, two], ends, registry, .. } = Nodes::start(config()).await;
    let mut publisher = one.publish("/cam/secret/publish", b"0").await;
    let mut receiver = two.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"0");
    ends[0].set_connected(false);
    registry.forget_everything();
    for number in 1..30_u32 {
        publisher.send(number.to_string().as_bytes()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ends[0].set_connected(true);
    for number in 1..30_u32 {
        assert_eq!(receiver.chunk().await, number.to_string().as_bytes(), "in order, and nothing twice");
    }
}
