//! What nodes tell stream-managers.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use relay_cluster::Backbone;
use relay_cluster::backbone::{MemoryBackbone, Subscription};
use relay_edge::Config;
use relay_proto::api::{Channel, ChannelState};
use relay_proto::backbone::Subjects;
use relay_proto::registry::{NodeRecord, NodeState};
use relay_proto::report::{Report, read};
use tokio::time::timeout;

use crate::nodes::{Nodes, config};
use crate::support::HANG;
use crate::support::media::picture;

/// A stream-manager's ear.
struct Reports(Subscription);

impl Reports {
    async fn of(backbone: &MemoryBackbone) -> Self {
        let subject = Subjects::new("relaycast".parse().unwrap()).reports();
        Self(backbone.subscribe(&subject).await.unwrap())
    }

    async fn next(&mut self) -> Report {
        let message = timeout(HANG, self.0.next()).await.expect("a report comes in time").unwrap();
        assert!(message.payload.len() <= 1000, "no longer than the backbone takes");
        read(&message.payload).unwrap()
    }

    /// The next that this node tells of a channel and that is as wanted. The first heartbeat may come in between, and then it
    /// is in there.
    async fn channel(&mut self, node: &str, wanted: impl Fn(&Channel) -> bool) -> Channel {
        loop {
            let (of, channels) = match self.next().await {
                Report::Channel { peer, channel } => (peer.node, vec![channel]),
                Report::Whole { record, channels, .. } => (record.node, channels),
                Report::Gone { .. } => continue,
            };
            if of.as_str() == node
                && let Some(channel) = channels.into_iter().find(&wanted)
            {
                return channel;
            }
        }
    }

    /// The next round of this node, all parts of it.
    async fn whole(&mut self, node: &str) -> (NodeRecord, Vec<Channel>) {
        let mut gathered = Vec::new();
        loop {
            if let Report::Whole { record, part, parts, channels, .. } = self.next().await
                && record.node.as_str() == node
            {
                if part == 0 {
                    gathered.clear();
                }
                gathered.extend(channels);
                if part + 1 == parts {
                    return (*record, gathered);
                }
            }
        }
    }

    /// The next whole report of this node that is as wanted.
    async fn until(
        &mut self,
        node: &str,
        wanted: impl Fn(&NodeRecord, &[Channel]) -> bool,
    ) -> (NodeRecord, Vec<Channel>) {
        let reached = timeout(HANG, async {
            loop {
                let (record, channels) = self.whole(node).await;
                if wanted(&record, &channels) {
                    return (record, channels);
                }
            }
        });
        reached.await.expect("it is told in time")
    }
}

/// No heartbeat comes to the help of what should be told at once.
fn silent() -> Config {
    Config {
        registry_interval: Duration::from_secs(600),
        publisher_stall_timeout: Duration::from_millis(300),
        ..config()
    }
}

#[tokio::test]
async fn every_change_of_a_channel_is_told_by_every_node_that_has_it() {
    let Nodes { nodes: [one, two], ends, .. } = Nodes::start(silent()).await;
    let mut reports = Reports::of(&ends[1]).await;
    let mut others = Reports::of(&ends[1]).await;
    let mut receiver = two.open("/cam/secret/receive").await;
    let waiting = others.channel("n2", |_| true).await;
    assert_eq!((waiting.state, waiting.receivers, waiting.epoch.number()), (ChannelState::Waiting, 1, 0));

    let mut publisher = one.publish("/cam/secret/publish", &picture(1)).await;
    let live = reports.channel("n1", |channel| channel.state == ChannelState::Live).await;
    assert_eq!((live.receivers, live.origin), (0, None));
    let known = reports.channel("n1", |channel| channel.container.is_some()).await;
    assert_eq!((known.container.as_deref(), known.tracks.len()), (Some("mjpeg"), 1));
    assert_eq!(receiver.chunk().await, picture(1));
    publisher.send(&picture(2)).await;
    let pulled = others.channel("n2", |channel| channel.container.is_some()).await;
    assert_eq!((pulled.receivers, pulled.epoch), (1, live.epoch));
    assert_eq!(pulled.origin.unwrap().as_str(), "n1");

    let stalled = reports.channel("n1", |channel| channel.state == ChannelState::Stalled).await;
    assert_eq!(stalled.epoch, live.epoch);
    publisher.send(&picture(3)).await;
    let resumed = reports.channel("n1", |channel| channel.state == ChannelState::Live).await;
    assert_eq!(resumed.epoch, live.epoch);

    drop(publisher);
    reports.channel("n1", |channel| channel.state == ChannelState::Held).await;
    others.channel("n2", |channel| channel.state == ChannelState::Held).await;
    let publisher = one.publish("/cam/secret/publish", &picture(4)).await;
    reports.channel("n1", |again| again.state == ChannelState::Live && again.epoch > live.epoch).await;
    others.channel("n2", |again| again.state == ChannelState::Live && again.epoch > live.epoch).await;

    publisher.close().await;
    reports.channel("n1", |over| over.state == ChannelState::Waiting && over.receivers == 0).await;
    receiver.rest().await;
    others.channel("n2", |over| over.state == ChannelState::Waiting && over.receivers == 0).await;
}

#[tokio::test]
async fn a_channel_that_is_held_no_longer_is_told() {
    let Nodes { nodes: [one], ends, .. } =
        Nodes::start(Config { grace: Duration::from_millis(500), ..silent() }).await;
    let mut reports = Reports::of(&ends[0]).await;
    drop(one.publish("/cam/secret/publish", b"first").await);
    reports.channel("n1", |channel| channel.state == ChannelState::Held).await;
    reports.channel("n1", |channel| channel.state == ChannelState::Waiting).await;
}

#[tokio::test]
async fn a_whole_report_names_exactly_what_the_node_carries() {
    let Nodes { nodes: [one, two], ends, .. } = Nodes::start(config()).await;
    let mut reports = Reports::of(&ends[0]).await;
    let mut publishers = Vec::new();
    let mut names = BTreeSet::new();
    for number in 0..12 {
        publishers.push(one.publish(&format!("/cam{number}/secret/publish"), &picture(1)).await);
        names.insert(format!("cam{number}"));
    }
    let _waiting = one.wait_for("/nobody/secret/receive").await;
    names.insert("nobody".to_owned());
    let mut pulling = two.open("/cam3/secret/receive").await;
    assert_eq!(pulling.chunk().await, picture(1));
    let named = |channels: &[Channel]| -> BTreeSet<String> {
        channels.iter().map(|channel| channel.name.as_str().to_owned()).collect()
    };
    let (record, channels) = reports.until("n1", |_, channels| named(channels) == names).await;
    assert_eq!(channels.len(), names.len(), "each once");
    assert_eq!((record.state, record.load.publications), (NodeState::InService, 12));
    let (_, channels) = reports.until("n2", |_, channels| !channels.is_empty()).await;
    assert_eq!((channels[0].name.as_str(), channels.len()), ("cam3", 1));

    pulling.close().await;
    reports.until("n2", |_, channels| channels.is_empty()).await;
    drop(publishers.split_off(1));
    one.until("relaycast_publications", |live| live == 1.0).await;
    publishers.remove(0).close().await;
    let held: BTreeSet<_> = names.into_iter().filter(|name| name != "cam0").collect();
    reports.until("n1", |_, channels| named(channels) == held).await;
}

#[tokio::test]
async fn who_is_let_in_is_counted_and_who_is_refused_is_not() {
    let Nodes { nodes: [one], ends, .. } = Nodes::start(config()).await;
    let mut reports = Reports::of(&ends[0]).await;
    let accepted = |expected| move |record: &NodeRecord, _: &[Channel]| record.load.accepted == expected;
    let publisher = one.publish("/cam/secret/publish", &picture(1)).await;
    reports.until("n1", accepted(1)).await;
    let mut receiver = one.open("/cam/secret/receive").await;
    receiver.chunk().await;
    one.open("/cam/secret/probe").await.rest().await;
    let _waiting = one.wait_for("/nobody/secret/receive").await;
    reports.until("n1", accepted(4)).await;
    one.open("/cam/other/receive").await.is_refused("ERROR: ", 4403).await;
    one.open("/cam/other/probe").await.is_refused("ERROR: ", 4403).await;
    one.open("/cam/other/publish").await.is_refused("ERROR: ", 4409).await;
    drop((publisher, receiver));
    let (record, _) = reports.until("n1", |record, _| record.load.sessions == 1).await;
    assert_eq!(record.load.accepted, 4, "nor is anybody counted out");
}

#[tokio::test]
async fn a_node_that_leaves_says_so_last() {
    let Nodes { nodes: [one, _two], ends, registry } = Nodes::start(config()).await;
    let mut reports = Reports::of(&ends[1]).await;
    let publisher = one.publish("/cam/secret/publish", &picture(1)).await.stay();
    reports.channel("n1", |channel| channel.state == ChannelState::Live).await;
    one.trigger.advance();
    let (record, _) = reports.until("n1", |record, _| record.state == NodeState::Draining).await;
    publisher.was_refused("ERROR: The node is leaving service", 1012).await;
    one.ended().await;
    loop {
        if let Report::Gone { peer } = reports.next().await {
            assert_eq!((peer.node.as_str(), peer.incarnation), ("n1", record.incarnation));
            break;
        }
    }
    let left = relay_cluster::Registry::nodes(&*registry).await.unwrap();
    assert_eq!(left.iter().map(|record| record.node.as_str()).collect::<Vec<_>>(), ["n2"]);
}
