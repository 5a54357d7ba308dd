//! What the journal is told of channels, nodes and refusals.

use std::time::Duration;

use relay_cluster::journal::MemoryJournal;
use relay_cluster::{Backbone, Journal};
use relay_edge::{Config, PublisherPolicy};
use relay_proto::backbone::{Command, Peer, Request, Subjects, to_json};
use relay_proto::event::{Event, EventId, EventKind};
use relay_proto::registry::Role;
use tokio::time::{sleep, timeout};

use crate::nodes::{Nodes, config, peer};
use crate::support::HANG;

/// Whoever reads on from event to event.
struct Events<'a> {
    journal: &'a MemoryJournal,
    after: EventId,
    sequence: u64,
}

impl<'a> Events<'a> {
    fn of(journal: &'a MemoryJournal) -> Self {
        Self { journal, after: EventId::FIRST, sequence: 0 }
    }

    async fn next(&mut self) -> Event {
        let next = async {
            loop {
                let reading = self.journal.read(self.after, 1).await.unwrap();
                if let Some(event) = reading.events.into_iter().next() {
                    return event;
                }
                sleep(Duration::from_millis(2)).await;
            }
        };
        let event = timeout(HANG, next).await.expect("an event comes in time");
        self.after = event.id;
        event
    }

    /// The next event of a channel: what, where, why.
    async fn channel(&mut self) -> (EventKind, String, Option<String>) {
        loop {
            let event = self.next().await;
            if event.channel.is_some() {
                self.sequence += 1;
                assert_eq!(event.sequence, self.sequence, "none is missing: {event:?}");
                return (event.kind, event.node.unwrap().to_string(), event.reason);
            }
        }
    }

    async fn is(&mut self, kind: EventKind, node: &str, reason: Option<&str>) {
        assert_eq!(self.channel().await, (kind, node.to_owned(), reason.map(str::to_owned)));
    }

    /// The next event of a node: what, which, why.
    async fn node(&mut self) -> (EventKind, String, Option<String>) {
        loop {
            let event = self.next().await;
            if event.channel.is_none() {
                return (event.kind, event.node.unwrap().to_string(), event.reason);
            }
        }
    }
}

fn stalls_soon() -> Config {
    Config { publisher_stall_timeout: Duration::from_millis(300), ..config() }
}

#[tokio::test]
async fn the_life_of_a_channel_is_told_in_order_whichever_nodes_it_is_on() {
    use EventKind::{
        ChannelEnded, ChannelResumed, ChannelStalled, ChannelStarted, FirstReceiver, LastReceiver,
    };

    let Nodes { nodes: [one, two], journal, .. } = Nodes::start(stalls_soon()).await;
    let mut events = Events::of(&journal);
    let mut receiver = two.open("/cam/secret/receive").await;
    events.is(FirstReceiver, "n2", None).await;
    let mut publisher = one.publish("/cam/secret/publish", b"first").await;
    events.is(ChannelStarted, "n1", None).await;
    assert_eq!(receiver.chunk().await, b"first");
    let mut other = one.open("/cam/secret/receive").await;
    assert_eq!(other.chunk().await, b"first");
    events.is(ChannelStalled, "n1", None).await;
    publisher.send(b"second").await;
    events.is(ChannelResumed, "n1", None).await;
    assert_eq!([receiver.chunk().await, other.chunk().await], [b"second", b"second"]);
    drop(publisher);
    events.is(ChannelEnded, "n1", Some("lost")).await;
    let publisher = two.publish("/cam/secret/publish", b"moved").await;
    events.is(ChannelStarted, "n2", None).await;
    assert_eq!([receiver.chunk().await, other.chunk().await], [b"moved", b"moved"]);
    drop(other);
    publisher.close().await;
    events.is(ChannelEnded, "n2", Some("ended")).await;
    receiver.rest().await;
    let (kind, _, _) = events.channel().await;
    assert_eq!(kind, LastReceiver);
}

#[tokio::test]
async fn a_publication_that_is_replaced_is_told_so_on_whichever_node() {
    use EventKind::{ChannelEnded, ChannelStarted};

    let config = Config { publisher_policy: PublisherPolicy::Takeover, ..config() };
    let Nodes { nodes: [one, two], journal, .. } = Nodes::start(config).await;
    let mut events = Events::of(&journal);
    let first = one.publish("/cam/secret/publish", b"first").await.stay();
    events.is(ChannelStarted, "n1", None).await;
    let second = one.publish("/cam/secret/publish", b"second").await.stay();
    events.is(ChannelEnded, "n1", Some("replaced")).await;
    events.is(ChannelStarted, "n1", None).await;
    let _third = two.publish("/cam/secret/publish", b"third").await;
    events.is(ChannelEnded, "n1", Some("replaced")).await;
    events.is(ChannelStarted, "n2", None).await;
    first.was_refused("ERROR: ", 4409).await;
    second.was_refused("ERROR: ", 4409).await;
}

#[tokio::test]
async fn a_channel_whose_origin_is_killed_is_lost_and_goes_on_elsewhere() {
    use EventKind::{ChannelEnded, ChannelStarted, FirstReceiver, LastReceiver};

    let Nodes { nodes: [one, two], journal, registry, .. } = Nodes::start(config()).await;
    let mut events = Events::of(&journal);
    let mut receiver = one.wait_for("/cam/secret/receive").await;
    events.is(FirstReceiver, "n1", None).await;
    let _publisher = one.publish("/cam/secret/publish", b"first").await;
    events.is(ChannelStarted, "n1", None).await;
    assert_eq!(receiver.chunk().await, b"first");
    let gone = peer(&registry, "n1").await;
    one.kill();
    // As a stream-manager does for a node that has vanished.
    journal.bury(&gone).await.unwrap();
    let mut both = [events.channel().await, events.channel().await];
    both.sort_by_key(|(kind, ..)| kind.name());
    assert_eq!(
        both,
        [(ChannelEnded, "n1".to_owned(), Some("lost".to_owned())), (LastReceiver, "n1".to_owned(), None)]
    );
    let _again = two.publish("/cam/secret/publish", b"second").await;
    events.is(ChannelStarted, "n2", None).await;
}

#[tokio::test]
async fn an_operator_ends_a_publication_as_its_publisher_would() {
    let Nodes { nodes: [one], ends, journal, .. } = Nodes::start(config()).await;
    let mut events = Events::of(&journal);
    let publisher = one.publish("/cam/secret/publish", b"first").await.stay();
    events.is(EventKind::ChannelStarted, "n1", None).await;
    let all = Subjects::new("relaycast".parse().unwrap()).all();
    let close = Command::CloseChannel { channel: "cam".parse().unwrap() };
    ends[0].request(&all, to_json(&close).into(), HANG).await.unwrap();
    events.is(EventKind::ChannelEnded, "n1", Some("ended")).await;
    publisher.was_refused("ERROR: ", 1008).await;
}

#[tokio::test]
async fn what_becomes_of_a_node_is_told() {
    let Nodes { nodes: [one], ends, journal, registry } = Nodes::start(config()).await;
    let mut events = Events::of(&journal);
    let told = |kind, reason: Option<&str>| (kind, "n1".to_owned(), reason.map(str::to_owned));
    assert_eq!(events.node().await, told(EventKind::NodeJoined, None));
    let Peer { node, incarnation } = peer(&registry, "n1").await;
    let subject = Subjects::new("relaycast".parse().unwrap()).node(&node, incarnation);
    ends[0].request(&subject, to_json(&Request::Drain).into(), HANG).await.unwrap();
    assert_eq!(events.node().await, told(EventKind::NodeDraining, None));
    ends[0].request(&subject, to_json(&Request::Undrain).into(), HANG).await.unwrap();
    let (kind, ..) = events.node().await;
    assert_eq!(kind, EventKind::NodeJoined);
    let publisher = one.publish("/cam/secret/publish", b"first").await.stay();
    one.trigger.advance();
    assert_eq!(events.node().await, told(EventKind::NodeDraining, None));
    publisher.was_refused("ERROR: ", 1012).await;
    one.ended().await;
    assert_eq!(events.node().await, told(EventKind::NodeLeft, None));
    let mut events = Events::of(&journal);
    events.is(EventKind::ChannelStarted, "n1", None).await;
    events.is(EventKind::ChannelEnded, "n1", Some("lost")).await;
}

#[tokio::test]
async fn who_is_refused_is_told_and_so_is_why() {
    let config = Config { receivers_per_channel_max: 1, ..config() };
    let Nodes { nodes: [one], journal, .. } = Nodes::start(config).await;
    let mut events = Events::of(&journal);
    let _publisher = one.publish("/cam/secret/publish", b"first").await;
    let mut receiver = one.open("/cam/secret/receive").await;
    receiver.chunk().await;
    for (path, code) in [
        ("/cam/secret/receive", 1013),
        ("/cam/wrong/probe", 4403),
        ("/cam/wrong/publish", 4409),
        ("/cam/secret/nonsense", 4404),
    ] {
        one.open(path).await.is_refused("ERROR: ", code).await;
    }
    let mut refused = Vec::new();
    while refused.len() < 4 {
        let event = events.next().await;
        if event.kind == EventKind::AdmissionRefused {
            assert_eq!(event.node.as_ref().unwrap().as_str(), "n1");
            let channel = event.channel.map(|channel| channel.to_string());
            refused.push((channel, event.role.unwrap(), event.reason.unwrap()));
        }
    }
    let cam = || Some("cam".to_owned());
    assert_eq!(
        refused,
        [
            (cam(), Role::Receive, "full".to_owned()),
            (cam(), Role::Receive, "wrong_key".to_owned()),
            (cam(), Role::Publish, "busy".to_owned()),
            (None, Role::Receive, "invalid_target".to_owned()),
        ]
    );
    // A client that has seen its stream and leaves was not refused.
    drop(receiver);
    for _ in 0..30 {
        one.open("/cam/wrong/probe").await.is_refused("ERROR: ", 4403).await;
    }
    assert!(one.metric("relaycast_refusals_untold_total", &[]) > 0.0, "no more than so many in a second");
}
