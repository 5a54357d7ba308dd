//! What happened, as webhooks tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use relay_proto::event::{Event, EventKind};
use relay_tests::cluster::Cluster;
use relay_tests::manager::Manager;
use relay_tests::numbered::{Camera, Viewer, flows};
use relay_tests::seed::Seed;
use relay_tests::sink::Sink;
use relay_tests::until;
use tempfile::NamedTempFile;

/// Of a hundred requests the sink refuses so many.
const REFUSED_PERCENT: u8 = 30;

/// Channels, and how often each is published in turn.
const CHANNELS: usize = 12;
const LIVES: usize = 3;

#[tokio::test]
async fn events_are_complete_and_in_order_though_the_sink_fails_and_a_replica_is_killed() {
    let mut seed = Seed::from_environment();
    let sink = Sink::start(REFUSED_PERCENT, &mut seed).await;
    let (_file, webhooks) = webhooks(&sink, "events = [\"channel.*\", \"receivers.*\"]");
    let Cluster { members, redis, nats } = Cluster::<2>::start(&["--upstream-linger=100ms"]).await;
    let first = Manager::start(redis.address(), nats.address(), &[&webhooks]).await;
    first.until_nodes(2).await;
    let second = Manager::start(redis.address(), nats.address(), &[&webhooks]).await;
    second.until_nodes(2).await;

    let mut managers = vec![first, second];
    for life in 0..LIVES {
        let mut open = Vec::new();
        for number in 0..CHANNELS {
            let (here, there) = (&members[number % 2].node, &members[(number + life) % 2].node);
            let name = format!("c{number}/key");
            let camera = Camera::start(here, &name, &format!("c{number}-{life}")).await;
            let viewer = Viewer::start(there, &name).await;
            flows(&camera, &[&viewer]).await;
            open.push((camera, viewer));
        }
        if life == 1 {
            // The one that came first delivers; what it has in hand is the other's now.
            until("something was delivered", async || (!sink.taken().events.is_empty()).then_some(())).await;
            managers.remove(0).kill();
        }
        for (camera, viewer) in open {
            camera.finish().await;
            viewer.ends().await.is(1000, "publisher_ended");
        }
        // A receiver that is gone is gone everywhere before the next life begins.
        for member in &members {
            member.node.until_metric("relaycast_sessions", 0.0).await;
        }
    }

    let expected = CHANNELS * LIVES * 4;
    until("every event has come", async || {
        let distinct: BTreeSet<_> = sink.taken().events.iter().map(|event| event.id).collect();
        (distinct.len() >= expected).then_some(())
    })
    .await;
    let taken = sink.taken();
    let mut seen = BTreeSet::new();
    let firsts: Vec<&Event> = taken.events.iter().filter(|event| seen.insert(event.id)).collect();
    eprintln!(
        "{} deliveries of {} events, {} refused",
        taken.events.len() as u64 + taken.refused,
        firsts.len(),
        taken.refused
    );
    assert!(taken.refused > 0, "the sink was to fail");
    assert_eq!(firsts.len(), expected);
    let mut channels: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    for event in firsts {
        channels.entry(event.channel.as_ref().unwrap().to_string()).or_default().push(event);
    }
    for (name, events) in &channels {
        let sequences: Vec<_> = events.iter().map(|event| event.sequence).collect();
        assert_eq!(sequences, (1..=4 * LIVES as u64).collect::<Vec<_>>(), "{name}: {events:?}");
        let lives = kinds(events, [EventKind::ChannelStarted, EventKind::ChannelEnded]);
        assert!(alternate(&lives, EventKind::ChannelStarted), "{name}: {lives:?}");
        let audience = kinds(events, [EventKind::FirstReceiver, EventKind::LastReceiver]);
        assert!(alternate(&audience, EventKind::FirstReceiver), "{name}: {audience:?}");
        let epochs: Vec<_> = events
            .iter()
            .filter(|event| event.kind == EventKind::ChannelStarted)
            .map(|event| event.epoch)
            .collect();
        assert!(epochs.is_sorted() && epochs.iter().all(Option::is_some), "{name}: {epochs:?}");
    }
}

/// A file that names the sink, and the flag that names the file.
fn webhooks(sink: &Sink, filter: &str) -> (NamedTempFile, String) {
    let mut file = NamedTempFile::new().unwrap();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let url = sink.url();
    writeln!(file, "[[webhook]]\nname = \"sink\"\nurl = \"{url}\"\nsecret = \"{secret}\"\n{filter}").unwrap();
    let flag = format!("--webhooks-file={}", file.path().display());
    (file, flag)
}

fn kinds(events: &[&Event], wanted: [EventKind; 2]) -> Vec<EventKind> {
    events.iter().map(|event| event.kind).filter(|kind| wanted.contains(kind)).collect()
}

/// Whether two kinds take turns, from this one on, and as often the one as the other.
fn alternate(kinds: &[EventKind], first: EventKind) -> bool {
    kinds.len().is_multiple_of(2)
        && kinds.iter().enumerate().all(|(index, kind)| (*kind == first) == (index % 2 == 0))
}

#[tokio::test]
async fn what_a_dead_node_carried_is_told_to_be_over() {
    let mut seed = Seed::from_environment();
    let sink = Sink::start(0, &mut seed).await;
    let (_file, webhooks) = webhooks(&sink, "");
    let Cluster { members: [first, second], redis, nats } = Cluster::start(&[]).await;
    let manager = Manager::start(redis.address(), nats.address(), &[&webhooks]).await;
    manager.until_nodes(2).await;
    let camera = Camera::start(&first.node, "cam/key", "camera").await;
    let viewer = Viewer::start(&first.node, "cam/key").await;
    flows(&camera, &[&viewer]).await;
    until("the start is told", async || {
        sink.taken().events.iter().any(|event| event.kind == EventKind::FirstReceiver).then_some(())
    })
    .await;
    first.node.kill();
    let of = |wanted: EventKind| sink.taken().events.into_iter().find(|event| event.kind == wanted);
    let ended = until("the end is told", async || of(EventKind::ChannelEnded)).await;
    assert_eq!((ended.reason.as_deref(), ended.node.unwrap().as_str()), (Some("lost"), "n1"));
    until("nobody watches", async || of(EventKind::LastReceiver)).await;
    let lost = until("the node is told to be lost", async || of(EventKind::NodeLost)).await;
    assert_eq!(lost.node.unwrap().as_str(), "n1");
    // The stream comes back elsewhere.
    let again = Camera::start(&second.node, "cam/key", "again").await;
    again.sends(1).await;
    until("the new publication is told", async || {
        let started =
            sink.taken().events.into_iter().filter(|event| event.kind == EventKind::ChannelStarted).count();
        (started == 2).then_some(())
    })
    .await;
}
